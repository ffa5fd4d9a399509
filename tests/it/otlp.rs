//! The OTLP output, through its queue and its sender, to a receiver that is not ours, over mutual TLS.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use promferry::config;
use promferry::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet};
use promferry::net::credentials::Credentials;
use promferry::output::{Running, try_once};
use promferry::pipeline::Counts;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::certificates::Ca;
use crate::support::collector::{Collector, Notes, Say};
use crate::support::exporter::Exporter;
use crate::support::world::{World, until};

/// 2027-01-02T03:04:05.000Z.
const AT_MS: i64 = 1_798_859_045_000;

/// A RetryInfo of one second, in a `google.rpc.Status`.
const ONE_SECOND: &str = "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAE";

/// A folder with certificates.
struct Place {
    folder: TempDir,
    ca: Ca,
    flush_interval: &'static str,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ca = Ca::new();
        ca.write_to(folder.path());
        ca.client("promferry").write_to(folder.path(), "client");
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        Self { folder, ca, flush_interval: "1ms" }
    }

    async fn collector(&self, script: Vec<Say>) -> Collector {
        Collector::start(self.ca.server(&["127.0.0.1"]).server_config(Some(&self.ca)), script).await
    }

    /// An output to this address, with these keys, and these of its queue.
    async fn output(&self, protocol: &str, address: std::net::SocketAddr, keys: &str, queue: &str) -> Running {
        let config = self.config(protocol, address, keys, queue);
        let credentials = Arc::new(Credentials::new(Duration::ZERO));
        let is_ready = watch::channel(true).1;
        Running::start(config.outputs[0].clone(), &credentials, is_ready, Duration::from_secs(8), None).await.unwrap()
    }

    fn config(
        &self,
        protocol: &str,
        address: std::net::SocketAddr,
        keys: &str,
        queue: &str,
    ) -> config::checked::Config {
        let path = if protocol == "grpc" { "" } else { "/otlp/v1/metrics" };
        let yaml = format!(
            "outputs:\n  - name: collector\n    otlp:\n      protocol: {protocol}\n      urls: [\"https://{address}{path}\"]\n      \
             tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}\n      \
             authorization: {{credentials_file: token}}\n      headers: {{x-scope-orgid: mine}}\n{keys}    \
             batch: {{flush_interval: {}, flush_jitter: 0s}}\n    queue: {{{queue}}}\n",
            self.flush_interval
        );
        let file = self.folder.path().join("promferry.yml");
        std::fs::write(&file, yaml).unwrap();
        config::load(&config::Source::File(file), &|_| None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A target with a counter, a gauge, and a histogram of two buckets.
struct Target {
    origin: Arc<Origin>,
    set: Arc<SeriesSet>,
}

const SERIES: u64 = 6;

impl Target {
    fn new(number: u64) -> Self {
        let instance = format!("10.0.0.{number}:9100");
        let labels = Labels::from_iter([("instance", instance.as_str()), ("job", "app")]).into_owned();
        let mut chunk = ChunkBuilder::default();
        let kinds = [("c", MetricType::Counter), ("g", MetricType::Gauge), ("h", MetricType::Histogram)];
        let [c, g, h] = kinds.map(|(name, kind)| chunk.family(Family { name, kind, ..Family::default() }));
        for (family, name, le) in [
            (c, "c_total", ""),
            (g, "g", ""),
            (h, "h_bucket", "1"),
            (h, "h_bucket", "+Inf"),
            (h, "h_count", ""),
            (h, "h_sum", ""),
        ] {
            let mut all = labels.clone();
            all.set("le", le);
            chunk.push(family, name, all.iter());
        }
        let url = format!("https://{instance}/metrics");
        let set = Arc::new(SeriesSet::new(vec![chunk.finish()]));
        Self { origin: Arc::new(Origin { key: number, labels, url }), set }
    }

    /// The scrape with this number, from 1; values rise with it.
    fn scrape(&self, number: i64) -> Arc<Scrape> {
        let mut points = PointsBuilder::default();
        let rising = number as f64;
        for (series, value) in (0..).zip([rising, rising / 2.0, rising, 2.0 * rising, 2.0 * rising, rising]) {
            points.push_float(series, value, None);
        }
        Arc::new(Scrape {
            origin: self.origin.clone(),
            at_ms: AT_MS + 1000 * number,
            series: self.set.clone(),
            points: points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}

async fn finish(running: Running) -> Counts {
    let (_, counts) = running.shutdown(tokio::time::Instant::now() + Duration::from_secs(30)).await;
    assert_eq!((counts.imbalance(), counts.waiting), (0, 0), "{counts:?}");
    counts
}

/// Of each resource the times and values of its counter, in the order in which they came.
fn counters(notes: &Notes) -> BTreeMap<String, Vec<(i64, f64)>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for of in notes.taken.iter().flat_map(|request| &request.resource_metrics) {
        let resource = format!("{:?}", of.resource.as_ref().unwrap().attributes[0].value);
        for metric in of.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            if let Some(Data::Sum(sum)) = &metric.data {
                assert_eq!((&*metric.name, sum.is_monotonic), ("c_total", true));
                let read = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                    let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
                    (((point.time_unix_nano / 1_000_000) as i64 - AT_MS) / 1000, value)
                };
                found.entry(resource.clone()).or_default().extend(sum.data_points.iter().map(read));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_protocol_delivers_with_credentials_and_compression() {
    for (protocol, content_type) in
        [("grpc", "application/grpc"), ("http/protobuf", "application/x-protobuf"), ("http/json", "application/json")]
    {
        for compression in ["gzip", "none"] {
            let place = Place::new();
            let collector = place.collector(Vec::new()).await;
            let keys = format!("      compression: {compression}\n");
            let running = place.output(protocol, collector.address, &keys, "").await;
            (1..=3).for_each(|number| running.intake.offer(&Target::new(1).scrape(number)));
            let counts = finish(running).await;
            assert_eq!((counts.settled.delivered, counts.maybe_doubled), (3 * SERIES, 0));
            let notes = collector.notes();
            let expected = [(1, 1.0), (2, 2.0), (3, 3.0)];
            assert_eq!(counters(&notes).into_values().collect::<Vec<_>>(), [expected]);
            let (version, head) = notes.heads.last().unwrap();
            assert_eq!(*version == http::Version::HTTP_2, protocol == "grpc");
            assert_eq!(
                (&head["content-type"], &head["x-scope-orgid"]),
                (&content_type.parse().unwrap(), &"mine".parse().unwrap())
            );
            assert_eq!(head["authorization"], "Bearer s3cret");
            let encoding = if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" };
            assert_eq!(head.contains_key(encoding), compression == "gzip");
        }
    }
}

#[tokio::test]
async fn what_a_receiver_refuses_of_a_request_is_counted() {
    for protocol in ["grpc", "http/protobuf", "http/json"] {
        let place = Place::new();
        // The first request is the look at the start.
        let collector = place.collector(vec![Say::Partial(0, ""), Say::Partial(1, "too old")]).await;
        let running = place.output(protocol, collector.address, "", "").await;
        running.intake.offer(&Target::new(1).scrape(1));
        let counts = finish(running).await;
        // One of three data points, which are six samples.
        assert_eq!(counts.settled.rejected, [("partial_unattributed", 2)].into(), "{protocol}");
        assert_eq!((counts.settled.delivered, collector.notes().taken.len()), (4, 2), "it is not sent again");
    }
}

#[tokio::test]
async fn what_is_to_be_tried_again_is_in_its_order_and_what_is_not_is_rejected() {
    let scripts = [
        ("grpc", vec![Say::Code(14, "down", ""), Say::Code(8, "busy", ONE_SECOND), Say::Code(10, "aborted", "")], None),
        ("grpc", vec![Say::Code(8, "no room", "")], Some("exhausted")),
        ("grpc", vec![Say::Code(3, "bad", "")], Some("bad_data")),
        ("grpc", vec![Say::Code(16, "who", "")], Some("unauthorized")),
        ("http/protobuf", vec![Say::Status(503, &[]), Say::Status(429, &[("retry-after", "1")])], None),
        ("http/protobuf", vec![Say::Status(400, &[])], Some("bad_data")),
        ("http/protobuf", vec![Say::Status(500, &[])], Some("receiver_failed")),
        ("http/protobuf", vec![Say::Hangup], None),
        ("grpc", vec![Say::Hangup], None),
    ];
    for (protocol, script, rejected) in scripts {
        let place = Place::new();
        let hangups = script.iter().filter(|say| matches!(say, Say::Hangup)).count();
        let waits = script
            .iter()
            .filter(|say| format!("{say:?}").contains("retry-after") || format!("{say:?}").contains(ONE_SECOND));
        let wait = Duration::from_secs(waits.count() as u64);
        let requests = script.len();
        let script = [vec![Say::Partial(0, "")], script].concat();
        let collector = place.collector(script).await;
        let running = place.output(protocol, collector.address, "", "").await;
        until("it has looked", async || (!collector.notes().heads.is_empty()).then_some(())).await;
        let began = std::time::Instant::now();
        let target = Target::new(1);
        running.intake.offer(&target.scrape(1));
        until("the script is over", async || (collector.notes().heads.len() > requests).then_some(())).await;
        running.intake.offer(&target.scrape(2));
        let counts = finish(running).await;
        match rejected {
            Some(reason) => {
                assert_eq!(counts.settled.rejected, [(reason, SERIES)].into(), "{protocol}");
                assert_eq!(counters(&collector.notes()).into_values().collect::<Vec<_>>(), [[(2, 2.0)]]);
            }
            None => {
                assert_eq!(counts.settled.delivered, 2 * SERIES, "{protocol}");
                let mut came = counters(&collector.notes()).into_values().next().unwrap();
                came.dedup();
                assert_eq!(came, [(1, 1.0), (2, 2.0)]);
                assert!(began.elapsed() >= wait, "{protocol}: it waits as it was asked to");
            }
        }
        assert_eq!(counts.maybe_doubled > 0, hangups > 0 || collector.notes().heads.len() > 3 && rejected.is_none());
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_divided_until_it_is_taken() {
    for (protocol, say) in [
        ("grpc", Say::Code(8, "grpc: received message larger than max (5000 vs. 4194304)", "")),
        ("http/protobuf", Say::Status(413, &[])),
        ("http/json", Say::Status(413, &[])),
    ] {
        let place = Place { flush_interval: "300ms", ..Place::new() };
        let collector = place.collector(Vec::new()).await;
        let running = place.output(protocol, collector.address, "      temporality: delta\n", "").await;
        let target = Target::new(1);
        // The first samples are none that differences could be made of: only the gauge is sent.
        running.intake.offer(&target.scrape(1));
        let taken = async || (running.state().counts.settled.delivered == 1).then_some(());
        until("the first scrape is taken", taken).await;
        collector.notes().script.push_back(say);
        (2..=3).for_each(|number| running.intake.offer(&target.scrape(number)));
        let counts = finish(running).await;
        assert_eq!(counts.settled.skipped, [("first_delta", SERIES - 1)].into(), "{protocol}");
        assert_eq!(counts.settled.delivered, 2 * SERIES + 1, "{protocol}: {counts:?}");
        assert_eq!(counters(&collector.notes()).into_values().collect::<Vec<_>>(), [[(2, 1.0), (3, 1.0)]]);
        assert_eq!(collector.notes().heads.len(), 5, "a look, the first, one too large, and its halves");
    }
}

#[tokio::test]
async fn a_restart_in_an_outage_loses_nothing_and_keeps_the_order() {
    for (protocol, temporality) in [("grpc", "cumulative"), ("http/protobuf", "delta")] {
        let place = Place::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let keys = format!("      temporality: {temporality}\n");
        let target = Target::new(1);
        let running = place.output(protocol, address, &keys, "disk: {path: queue}").await;
        for number in 1..=3 {
            running.intake.offer(&target.scrape(number));
            let wait = async || (running.state().status.failures > number as u64).then_some(());
            until("it fails", wait).await;
        }
        let (_, counts) = running.shutdown(tokio::time::Instant::now() + Duration::from_secs(30)).await;
        let skipped: u64 = counts.settled.skipped.values().sum();
        assert_eq!(
            (counts.offered, counts.waiting + skipped, counts.imbalance()),
            (3 * SERIES, 3 * SERIES, 0),
            "{counts:?}"
        );

        let tls = place.ca.server(&["127.0.0.1"]).server_config(Some(&place.ca));
        let collector = Collector::listen(TcpListener::bind(address).await.unwrap(), tls, Vec::new());
        let running = place.output(protocol, address, &keys, "disk: {path: queue}").await;
        running.intake.offer(&target.scrape(4));
        let is_drained = async || {
            let counts = running.state().counts;
            (counts.restored > 0 && counts.offered > 0 && counts.waiting == 0).then_some(())
        };
        until("all of it is delivered", is_drained).await;
        let counts = finish(running).await;
        assert!(place.path().join("queue").is_dir());
        let came = counters(&collector.notes()).into_values().next().unwrap();
        match temporality {
            "cumulative" => {
                assert_eq!(counts.settled.delivered, 4 * SERIES);
                assert_eq!(came, [1.0, 2.0, 3.0, 4.0].map(|value| (value as i64, value)));
            }
            // What the first one's successor is compared with was forgotten at the restart.
            _ => {
                assert_eq!(came.last(), Some(&(4, 1.0)), "{came:?}");
                assert!(came.iter().all(|(_, rose)| *rose == 1.0) && came.is_sorted(), "{came:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_look_says_what_is_wrong() {
    let place = Place::new();
    let credentials = Credentials::new(Duration::ZERO);
    for (protocol, say, expected) in [
        (
            "grpc",
            Say::Code(12, "unknown service", ""),
            Some("takes no OTLP metrics at this address; see urls and protocol (UNIMPLEMENTED: \"unknown service\")"),
        ),
        ("grpc", Say::Partial(0, ""), None),
        (
            "http/json",
            Say::Status(401, &[]),
            Some("does not let us in; see basic_auth, authorization and headers (HTTP status 401: as the script says)"),
        ),
        ("http/protobuf", Say::Partial(0, ""), None),
    ] {
        let collector = place.collector(vec![say]).await;
        let config = place.config(protocol, collector.address, "", "");
        let said = try_once(&config.outputs[0], &credentials).await;
        let expected = expected.map(|what| format!("https://{}/: {what}", collector.address));
        let said = said.err().map(|said| said.replace("/otlp:", "/:"));
        assert_eq!(said, expected);
    }
}

#[tokio::test]
async fn through_the_executable_every_sample_arrives() {
    let world = World::new();
    let server = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let collector = Collector::start(server.clone(), Vec::new()).await;
    let body = |nth| format!("# TYPE c counter\nc_total {nth}\n# TYPE g gauge\ng{{a=\"b\"}} 0.{nth}\n");
    let exporter = Exporter::start(server, body).await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
outputs:
  - name: collector
    otlp:
      protocol: grpc
      urls: ["https://{}"]
      resource_labels: {{source_id: cf.source_id}}
      tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    batch: {{flush_interval: 100ms, flush_jitter: 0s}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        collector.address
    ));
    let process = world.run().await;
    until("the target is scraped five times", async || (exporter.bodies().len() >= 5).then_some(())).await;
    let outputs = process.outputs().await;
    assert_eq!(
        (&outputs["collector"]["kind"], outputs["collector"]["urls"].as_array().unwrap().len()),
        (&"otlp".into(), 1)
    );
    let ended = process.terminate().await;
    assert!(ended.status.success());
    assert_eq!(ended.log.complaints(), Vec::<String>::new());
    let notes = collector.notes();
    let [came] = &counters(&notes).into_values().collect::<Vec<_>>()[..] else { panic!("one resource") };
    let values: Vec<f64> = came.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, (0..values.len()).map(|nth| values[0] + nth as f64).collect::<Vec<_>>());
    let resource = format!("{:?}", notes.taken.last().unwrap().resource_metrics[0].resource);
    for expected in ["cf.source_id", "gorouter", "service.name", "platform", "url.scheme", "https"] {
        assert!(resource.contains(expected), "{resource}");
    }
    assert_eq!(ended.count("collector", "delivered"), ended.count("collector", "offered"));
}

#[test]
fn what_is_detected_is_of_the_resource_under_opentelemetrys_name() {
    let place = Place::new();
    let file = place.path().join("promferry.yml");
    let yaml = "global: {detect: [kubernetes, host]}\noutputs:\n  - name: collector\n    otlp:\n      urls: [\"http://c:4318\"]\n      \
                resource_labels: {host_name: \"\", k8s_pod_name: pod, job: service.namespace}\n";
    std::fs::write(&file, yaml).unwrap();
    let config = config::load(&config::Source::File(file), &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let config::checked::OutputKind::Otlp(otlp) = &config.outputs[0].kind else { panic!("it is OTLP") };
    assert!(otlp.resource_labels.is_sorted());
    let labels: BTreeMap<&str, &str> = otlp.resource_labels.iter().map(|(name, to)| (&**name, &**to)).collect();
    let of = |name| labels.get(name).copied();
    assert_eq!((of("k8s_namespace_name"), of("os_type")), (Some("k8s.namespace.name"), Some("os.type")));
    assert_eq!((of("host_name"), of("k8s_pod_name"), of("job")), (Some(""), Some("pod"), Some("service.namespace")));
    assert_eq!(of("instance"), Some("service.instance.id"));
    assert_eq!(of("bosh_deployment"), None, "it is not looked for");
}
