//! The output to Splunk Observability Cloud: what samples become, which of them it would not take, and how it answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{OutputKind, Signalfx as Settings};
use promferry::config::{self, Source};
use promferry::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet};
use promferry::net::credentials::Credentials;
use promferry::output::signalfx::{Cache, Signalfx, State};
use promferry::pipeline::{Batch, Ledger, Output as _, Slice};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::certificates::Ca;
use crate::support::delivery::{Delivery, Target, options};
use crate::support::signalfx::{IngestServer, TOKEN};

const AT_MS: i64 = 1_798_859_045_006;

fn load(folder: &TempDir, keys: &str) -> Result<Settings, String> {
    let path = folder.path().join("promferry.yml");
    std::fs::write(&path, format!("outputs:\n  - name: splunk\n    signalfx: {{{keys}}}\n")).unwrap();
    let config = config::load(&Source::File(path), &|_| None).map_err(|problems| problems.to_string())?;
    match &config.outputs[0].kind {
        OutputKind::Signalfx(settings) => Ok((**settings).clone()),
        other => panic!("{other:?}"),
    }
}

struct World {
    folder: TempDir,
    server: IngestServer,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ca = Ca::new();
        ca.write_to(folder.path());
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let server = IngestServer::start(ca.server(&["ingest"]).server_config(None)).await;
        Self { folder, server }
    }

    fn output(&self, more: &str) -> Signalfx {
        let keys = format!(
            "url: \"https://{}\", token_file: token, tls_config: {{ca_file: ca.crt, server_name: ingest}}{more}",
            self.server.address
        );
        Signalfx::new(&load(&self.folder, &keys).unwrap(), &Credentials::new(Duration::ZERO))
    }
}

const DATAPOINTS: &str = ", protocol: datapoints";

struct Made {
    chunk: ChunkBuilder,
    points: PointsBuilder,
}

impl Made {
    fn new() -> Self {
        Self { chunk: ChunkBuilder::default(), points: PointsBuilder::default() }
    }

    fn with(mut self, kind: MetricType, family: &str, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        let labels = labels.iter().copied().collect::<Labels<'_>>();
        let family = self.chunk.family(Family { name: family, kind, ..Family::default() });
        let series = self.chunk.push(family, name, labels.iter());
        self.points.push_float(series, value, None);
        self
    }

    fn gauge(self, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        self.with(MetricType::Gauge, name, name, labels, value)
    }

    fn scrape(mut self, at_ms: i64) -> Arc<Scrape> {
        Arc::new(Scrape {
            origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
            at_ms,
            series: Arc::new(SeriesSet::new(vec![self.chunk.finish()])),
            points: self.points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}

/// What a scrape becomes, and what is left out, by reason.
fn encoded(scrape: Arc<Scrape>) -> (Json, BTreeMap<&'static str, u64>) {
    let folder = TempDir::new().unwrap();
    let settings = load(&folder, &format!("realm: us0, token: t{DATAPOINTS}")).unwrap();
    let output = Signalfx::new(&settings, &Credentials::default());
    let (ledger, samples) = (Ledger::new("splunk"), scrape.samples() as u64);
    let batch = Batch::new(vec![Slice::whole(scrape)], ledger.offer(samples), tokio::time::Instant::now());
    let encoded = output.encode(&State::default(), &mut Cache::default(), &batch);
    batch.drop_all("abandoned");
    let rejected = encoded.rejected.iter().map(|rejected| (rejected.reason, rejected.samples));
    let left_out: BTreeMap<_, _> = encoded.skipped.clone().into_iter().chain(rejected).collect();
    assert_eq!(encoded.samples() + left_out.values().sum::<u64>(), samples);
    let body = if encoded.body.is_empty() { Json::Null } else { serde_json::from_slice(&encoded.body).unwrap() };
    (body, left_out)
}

#[tokio::test]
async fn samples_become_datapoints_of_their_type() {
    use MetricType::{Counter, Histogram as Buckets, Summary, Unknown};
    let (body, left_out) = encoded(
        Made::new()
            .with(Counter, "c_total", "c_total", &[("code", "200"), ("aws_region", "eu"), ("p", "a\"b\n")], 12.5)
            .gauge("g", &[], -3.0)
            .with(Unknown, "u", "u", &[("x y", "z")], 1e300)
            .with(Buckets, "h", "h_bucket", &[("le", "+Inf")], 4.0)
            .with(Buckets, "h", "h_sum", &[], 2.25)
            .with(Buckets, "h", "h_count", &[], 4.0)
            .with(Summary, "s", "s", &[("quantile", "0.99")], 0.5)
            .with(Summary, "s", "s_count", &[], 9.0)
            .scrape(AT_MS),
    );
    let expected = serde_json::json!({
        "gauge": [
            {"metric": "g", "value": -3, "timestamp": AT_MS},
            {"metric": "u", "value": 1e300, "timestamp": AT_MS, "dimensions": {"x_y": "z"}},
            {"metric": "s_quantile", "value": 0.5, "timestamp": AT_MS, "dimensions": {"quantile": "0.99"}},
        ],
        "cumulative_counter": [
            {"metric": "c_total", "value": 12.5, "timestamp": AT_MS,
                "dimensions": {"label_aws_region": "eu", "code": "200", "p": "a\"b\n"}},
            {"metric": "h_bucket", "value": 4, "timestamp": AT_MS, "dimensions": {"upper_bound": "+Inf"}},
            {"metric": "h_sum", "value": 2.25, "timestamp": AT_MS},
            {"metric": "h_count", "value": 4, "timestamp": AT_MS},
            {"metric": "s_count", "value": 9, "timestamp": AT_MS},
        ],
    });
    assert_eq!((body, left_out.len()), (expected, 0));
}

#[tokio::test]
async fn what_splunk_would_not_take_is_counted_and_why() {
    let names: Vec<String> = (0..37).map(|n| format!("label_{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let (body, left_out) = encoded(
        Made::new()
            .gauge("a", &[], f64::NAN)
            .gauge("b", &[], f64::INFINITY)
            .gauge("c", &[], STALE_NAN)
            .gauge(&"n".repeat(257), &[], 1.0)
            .gauge("d", &many, 1.0)
            .gauge("e", &[("x", &"v".repeat(257))], 1.0)
            .gauge("f", &[(&"k".repeat(129), "v")], 1.0)
            .scrape(AT_MS),
    );
    let expected = [
        ("dimension_name", 1),
        ("dimension_value", 1),
        ("dimensions", 1),
        ("infinite", 1),
        ("name", 1),
        ("nan", 1),
        ("stale_marker", 1),
    ];
    assert_eq!((body, left_out), (Json::Null, BTreeMap::from(expected)));
}

#[tokio::test]
async fn all_of_it_arrives_in_order_whatever_the_ingest_says() {
    let world = World::new().await;
    world.server.ingest().failing =
        [(503, "later"), (429, "slower"), (500, "oops"), (401, "who?"), (413, "too much")].into();
    let delivery = Delivery::start_with_lanes(world.output(DATAPOINTS), options(), 2);
    let targets = [Target::new(1, 64), Target::new(2, 64)];
    for second in 0..10 {
        targets.iter().for_each(|target| delivery.queue.push(&target.scrape(AT_MS + second * 1000)));
    }
    let counts = delivery.finish().await;
    assert_eq!((counts.settled.delivered, counts.settled.total()), (1280, 1280), "{counts:?}");
    // The ingest panics at a time that does not rise.
    assert_eq!(world.server.ingest().taken.len(), 1280);
    assert!(counts.maybe_doubled > 0, "after a 500 nobody knows");
    assert!(world.server.ingest().requests.len() >= 3, "413 makes two of one");
}

#[tokio::test]
async fn otlp_is_spoken_by_default_within_the_same_limits() {
    use MetricType::{Counter, Histogram as Buckets};
    let world = World::new().await;
    world.server.ingest().failing = [(401, "who?"), (500, "oops"), (404, "where?")].into();
    let delivery = Delivery::start(world.output(""), options());
    let labels = [("instance", "10.0.0.1:9100"), ("job", "router"), ("aws_region", "eu"), ("a b", "c")];
    let long = "v".repeat(257);
    let made = |n: f64| {
        Made::new()
            .with(Counter, "c_total", "c_total", &labels, n)
            .gauge("g", &labels, n)
            .gauge("too_long", &[("x", &long)], n)
            .gauge("nan", &labels, f64::NAN)
            .gauge("gone", &labels, STALE_NAN)
            .with(Buckets, "h", "h_bucket", &[("job", "router"), ("le", "+Inf")], n)
            .with(Buckets, "h", "h_sum", &[("job", "router")], n)
            .with(Buckets, "h", "h_count", &[("job", "router")], n)
    };
    delivery.queue.push(&made(1.0).scrape(AT_MS));
    delivery.queue.push(&made(2.0).scrape(AT_MS + 1000));
    let counts = delivery.finish().await;
    let rejected = BTreeMap::from([("dimension_value", 2)]);
    let skipped = BTreeMap::from([("nan", 2), ("stale_marker", 2)]);
    assert_eq!((counts.settled.total(), counts.settled.rejected, counts.settled.skipped), (16, rejected, skipped));
    let ingest = world.server.ingest();
    assert!(ingest.requests.iter().all(|path| path == "/v2/datapoint/otlp"));
    let taken: Vec<_> = ingest.taken.iter().filter(|taken| taken.3 == AT_MS && taken.1 != "h").collect();
    let resource = "service.instance.id=10.0.0.1:9100,service.name=router";
    for (kind, name) in [("cumulative_counter", "c_total"), ("gauge", "g")] {
        let found = taken.iter().find(|taken| taken.1 == name).unwrap_or_else(|| panic!("{name}: {taken:?}"));
        assert_eq!(found.0, kind);
        for part in resource.split(',').chain(["label_aws_region=eu", "a_b=c"]) {
            assert!(found.2.split(',').any(|dimension| dimension == part), "{part}: {}", found.2);
        }
    }
    let histograms = ingest.taken.iter().filter(|taken| taken.0 == "histogram").map(|taken| taken.4);
    assert_eq!(histograms.collect::<Vec<_>>(), [1.0, 2.0]);
}

/// What a target says of itself is a dimension of all of its series.
#[tokio::test]
async fn what_has_too_many_dimensions_with_target_info_is_counted() {
    let world = World::new().await;
    let delivery = Delivery::start(world.output(""), options());
    let names: Vec<String> = (0..31).map(|n| format!("l{n}")).collect();
    let some = |n: usize| -> Vec<(&str, &str)> {
        names[..n].iter().map(|name| (name.as_str(), "v")).chain([("job", "j"), ("instance", "i")]).collect()
    };
    let of_info: Vec<(String, &str)> = (0..11).map(|n| (format!("info{n}"), "v")).collect();
    let of_info: Vec<(&str, &str)> = of_info.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let labels = [&of_info[..], &[("job", "j"), ("instance", "i")]].concat();
    let mut bucket = some(20);
    bucket.push(("le", "+Inf"));
    let made = Made::new()
        .with(MetricType::Info, "target", "target_info", &labels, 1.0)
        .gauge("fits", &some(20), 1.0)
        .with(MetricType::Histogram, "h", "h_bucket", &bucket, 1.0)
        .with(MetricType::Histogram, "h", "h_count", &some(20), 1.0)
        .gauge("many", &some(21), 1.0);
    let origin = Arc::new(Origin { key: 1, labels: Labels::new(), url: "https://10.0.0.1:9100/metrics".to_owned() });
    for mut scrape in [made.scrape(AT_MS), Made::new().gauge("fits", &some(31), 2.0).scrape(AT_MS + 1000)] {
        Arc::get_mut(&mut scrape).unwrap().origin = origin.clone();
        delivery.queue.push(&scrape);
    }
    let counts = delivery.finish().await;
    assert_eq!(counts.settled.rejected, BTreeMap::from([("dimensions", 1)]));
    assert_eq!((counts.settled.delivered, counts.settled.total()), (5, 6));
    let ingest = world.server.ingest();
    let most = ingest.taken.iter().map(|taken| taken.2.split(',').count()).max();
    assert_eq!(most, Some(36));
}

#[tokio::test]
async fn one_bad_datapoint_costs_itself_alone() {
    let world = World::new().await;
    world.server.ingest().spoilt_by = Some("bad");
    let delivery = Delivery::start(world.output(DATAPOINTS), options());
    let mut made = Made::new();
    for number in 0..50 {
        let name = if number == 23 { "bad" } else { "good" };
        made = made.gauge(name, &[("number", &number.to_string())], 1.0);
    }
    delivery.queue.push(&made.scrape(AT_MS));
    let counts = delivery.finish().await;
    assert_eq!((counts.settled.delivered, counts.settled.rejected), (49, BTreeMap::from([("invalid", 1)])));
    assert_eq!(world.server.ingest().taken.len(), 49);
}

#[tokio::test]
async fn a_time_that_does_not_rise_is_left_out() {
    let world = World::new().await;
    let delivery = Delivery::start(world.output(DATAPOINTS), options());
    let target = Target::new(1, 8);
    // A target that says the same twice, with its own time, as a cache does.
    for (second, own) in [(0, 0), (1, 0), (2, 1500), (3, 1500), (4, 1000)] {
        delivery.queue.push(&target.scrape_with(AT_MS + second * 1000, Some(AT_MS + own)));
    }
    let counts = delivery.finish().await;
    assert_eq!(counts.settled.skipped, BTreeMap::from([("not_newer", 24)]));
    assert_eq!((counts.settled.delivered, world.server.ingest().taken.len()), (16, 16));
}

#[tokio::test]
async fn a_look_says_what_is_wrong_and_writes_nothing() {
    let world = World::new().await;
    let said = async |output: Signalfx| output.check().await.err().unwrap_or_default();
    assert_eq!((said(world.output(DATAPOINTS)).await, said(world.output("")).await), (String::new(), String::new()));
    assert!(world.server.ingest().taken.is_empty());
    std::fs::write(world.folder.path().join("token"), "stale\n").unwrap();
    let expected = format!(
        "https://{}/: does not know the token; see token and realm (401 Unauthorized: Unauthorized)",
        world.server.address
    );
    assert_eq!((said(world.output(DATAPOINTS)).await, said(world.output("")).await), (expected.clone(), expected));
    world.server.ingest().tokens.push("stale".to_owned());
    assert_eq!(said(world.output(DATAPOINTS)).await, "");
}

#[test]
fn a_receiver_is_a_realm_or_an_address() {
    let folder = TempDir::new().unwrap();
    let url = |keys: &str| load(&folder, &format!("{keys}, token: secret")).unwrap().http.urls[0].to_string();
    assert_eq!(url("realm: eu0"), "https://ingest.eu0.observability.splunkcloud.com:443/");
    assert_eq!(url("url: \"http://gateway:9943/v2/datapoint\""), "http://gateway:9943/");
    assert_eq!(url("url: \"https://gateway/sfx/v2/datapoint/otlp/\""), "https://gateway:443/sfx");
    let complaint = |keys: &str| load(&folder, keys).unwrap_err();
    for (keys, expected) in [
        ("realm: us0", "token is missing in signalfx"),
        ("token: secret", "realm is missing in signalfx"),
        ("token: secret, realm: ingest.us0.signalfx.com", "is an address; write the realm alone"),
        ("token: secret, realm: US0", "is not a realm, such as us0 or eu0"),
        ("token: secret, realm: us0, url: \"http://a\"", "leave one of them out"),
        ("token: secret, realm: us0, access_token: a", "the OpenTelemetry Collector's word"),
        ("token: secret, realm: us0, headers: {X-SF-Token: a}", "write \"token\" or \"token_file\""),
    ] {
        assert!(complaint(keys).contains(expected), "{}", complaint(keys));
        assert!(!complaint(keys).contains("secret"));
    }
    let settings = load(&folder, "realm: us0, token: very-secret").unwrap();
    assert!(!format!("{settings:?}").contains("very-secret"));
}
