//! Remote write, and OTLP, to a real Prometheus: PromQL gives exactly what was scraped, staleness included, and an outage leaves nothing out
//! of order and nothing twice.

use std::collections::BTreeMap;

use crate::main_job;
use crate::support::elasticsearch::now_ms;
use crate::support::exporter::Exporter;
use crate::support::fake_target::{FakeTarget, Step, answer};
use crate::support::prometheus::{Prometheus, Version};
use crate::support::protobuf::{COUNTER, HISTOGRAM, Message, family};
use crate::support::samples::{Samples, Series, assert_same};
use crate::support::world::{Process, World, until, written};

/// The two messages, as the configuration names them.
const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";

/// How samples get there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By remote write with this message.
    RemoteWrite(&'static str),
    /// By OTLP over HTTP, whose receiver is a reader of OTLP that is not ours.
    Otlp,
}

async fn exporter(world: &World, body: impl Fn(u64) -> String + Send + 'static) -> Exporter {
    Exporter::start(world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca)), body).await
}

/// Scrapes these targets five times a second, to a file and to Prometheus; `more` are lines of the latter's output.
fn configure(world: &World, targets: &[String], prometheus: &Prometheus, way: Way, more: &str) {
    let url = prometheus.url();
    let output = match way {
        Way::RemoteWrite(message) => format!(
            "remote_write: {{url: \"{url}\", protobuf_message: {message}, send_exemplars: true, send_native_histograms: true}}"
        ),
        Way::Otlp => format!("otlp: {{urls: [\"http://{}\"], path: /api/v1/otlp/v1/metrics}}", prometheus.address),
    };
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s, external_labels: {{site: here}}, scrape_native_histograms: true}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: {targets:?}}}]
outputs:
  - name: lines
    file: {{path: samples.jsonl}}
  - name: prometheus
    {output}
    batch: {{flush_interval: 300ms, flush_jitter: 0s}}
{more}
admin: {{listen: "127.0.0.1:0"}}
"#
    ));
}

async fn everything_arrives(version: Version, way: Way) {
    let world = World::new();
    let Some(prometheus) = Prometheus::start(world.folder(), version).await else { return };
    let steady = exporter(&world, main_job::body).await;
    let changing = |nth| if nth <= 4 { format!("stays {nth}\nvanishes {nth}\n") } else { format!("stays {nth}\n") };
    let changing = exporter(&world, changing).await;
    let failing = exporter(&world, |nth| format!("fails {nth}\n")).await;
    let addresses = [&steady, &changing, &failing].map(|target| target.address.to_string());
    configure(&world, &addresses, &prometheus, way, "");
    let process = world.run().await;
    let scraped = async |target: &Exporter, times: usize| {
        until("scrapes", async || (target.bodies().len() >= times).then_some(())).await;
    };
    scraped(&failing, 4).await;
    drop(failing);
    scraped(&steady, steady.bodies().len() + 8).await;
    scraped(&changing, 8).await;
    let ended = process.terminate().await;
    let lines = written(&world.path("samples.jsonl"));
    let mut stored = prometheus.samples().await;
    // By OTLP, what a resource says beside `job` and `instance` comes as this.
    stored.retain(|(series, _), _| way != Way::Otlp || series.name != "target_info");
    assert_same(&lines, &stored);
    let markers = ended.count("lines", "skipped");
    assert!(markers >= 2, "what vanished and what fails end with markers: {:?}", ended.log.of("drained"));
    assert_eq!(ended.count("prometheus", "delivered"), lines.len() as u64 + markers);
    assert_eq!(ended.count("prometheus", "offered"), ended.count("prometheus", "delivered"));

    let last_ms = |name: &str| times(&lines, name).last().copied().unwrap();
    let now = lines.keys().map(|(_, at_ms)| *at_ms).max().unwrap();
    for name in ["vanishes", "fails"] {
        assert_eq!(prometheus.query(name, last_ms(name)).await.len(), 1, "{name} was there");
        assert_eq!(prometheus.query(name, now).await, BTreeMap::new(), "{name} is stale");
    }
    let up: Vec<_> = prometheus.query("up", now).await.into_iter().collect();
    let values =
        addresses.map(|address| up.iter().find(|(series, _)| series.label("instance") == address).unwrap().1.clone());
    assert_eq!(values, ["1", "1", "0"]);
    assert!(up.iter().all(|(series, _)| series.label("site") == "here" && series.label("job") == "platform"));
    let rises = prometheus.query("increase(requests_total{code=\"500\"}[1m]) > 0", now).await;
    assert_eq!(rises.len(), 1);
    assert_untroubled(&prometheus).await;
}

/// The times of a metric's samples, in order.
fn times(samples: &Samples, name: &str) -> Vec<i64> {
    let mut times: Vec<_> = samples.keys().filter(|(series, _)| series.name == name).map(|(_, at_ms)| *at_ms).collect();
    times.sort_unstable();
    times
}

/// It never had to refuse anything.
async fn assert_untroubled(prometheus: &Prometheus) {
    for name in ["prometheus_tsdb_out_of_order_samples_total", "prometheus_tsdb_out_of_bound_samples_total"] {
        assert_eq!(prometheus.metric(name).await, 0.0, "{name}");
    }
    assert_quiet(prometheus);
}

/// It said nothing of errors.
fn assert_quiet(prometheus: &Prometheus) {
    let log = prometheus.log();
    let bad: Vec<_> = log.lines().filter(|line| line.contains("level=error") || line.contains("level=ERROR")).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[tokio::test]
async fn prometheus_2_has_exactly_what_was_scraped() {
    everything_arrives(Version::Two, Way::RemoteWrite(V1)).await;
}

#[tokio::test]
async fn prometheus_3_has_exactly_what_was_scraped() {
    everything_arrives(Version::Three, Way::RemoteWrite(V1)).await;
}

#[tokio::test]
async fn prometheus_3_has_exactly_what_was_scraped_by_remote_write_2() {
    everything_arrives(Version::Three, Way::RemoteWrite(V2)).await;
}

#[tokio::test]
async fn a_prometheus_that_knows_remote_write_1_alone_is_spoken_to_in_it() {
    everything_arrives(Version::Two, Way::RemoteWrite(V2)).await;
}

#[tokio::test]
async fn prometheus_3_has_exactly_what_was_scraped_by_otlp() {
    everything_arrives(Version::Three, Way::Otlp).await;
}

/// A native histogram, and a counter with an exemplar, which both count since a minute before.
fn native_body(since_ms: u64) -> Vec<u8> {
    let native = Message::new()
        .uint(1, 12)
        .double(2, -4.5)
        .sint(5, 3)
        .double(6, 0.001)
        .uint(7, 2)
        .span(9, -2, 1)
        .sint(10, 1)
        .span(12, 1, 2)
        .span(12, 3, 1)
        .sint(13, 2)
        .sint(13, 3)
        .sint(13, -3)
        .time_ms(15, since_ms);
    let exemplar = Message::new().label("trace_id", "abc").double(2, 0.5).time_ms(3, since_ms + 59_000);
    let counter = Message::new().double(1, 7.0).message(2, exemplar).time_ms(3, since_ms);
    let histogram = family("native_seconds", HISTOGRAM).message(4, Message::new().message(7, native));
    let counter = family("traced_total", COUNTER).message(4, Message::new().message(3, counter));
    [histogram.delimited(), counter.delimited()].concat()
}

async fn native_arrives(message: &'static str) {
    let world = World::new();
    let Some(prometheus) = Prometheus::start(world.folder(), Version::Three).await else { return };
    let since_ms = now_ms() - 60_000;
    let header = "content-type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n";
    let step = Step::Answer(answer("200 OK", header, &native_body(since_ms as u64)));
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let target = FakeTarget::start_tls(tls, step).await;
    configure(&world, &[target.address.to_string()], &prometheus, Way::RemoteWrite(message), "");
    let process = world.run().await;
    until("scrapes", async || (target.heads().len() >= 4).then_some(())).await;
    let ended = process.terminate().await;
    assert_eq!(ended.count("prometheus", "offered"), ended.count("prometheus", "delivered"));
    let now = now_ms();
    let one = async |expression: &str| {
        let found: Vec<_> = prometheus.query(expression, now).await.into_values().collect();
        assert_eq!(found.len(), 1, "{expression}: {found:?}");
        found[0].clone()
    };
    assert_eq!(one("histogram_count(native_seconds)").await, "12");
    assert_eq!(one("histogram_sum(native_seconds)").await, "-4.5");
    // The fourth to twelfth observations lie above zero: in the buckets 1, 2 and 6 of schema 3.
    let upper = 2f64.powf(6.0 / 8.0);
    let largest: f64 = one("histogram_quantile(1, native_seconds)").await.parse().unwrap();
    assert!((largest - upper).abs() < 1e-9, "{largest} {upper}");
    assert_eq!(one("histogram_fraction(-Inf, -0.5, native_seconds) * 12").await, "1");
    assert_eq!(one("traced_total").await, "7");
    let window = [("query", "traced_total"), ("start", "0"), ("end", "9999999999")];
    let exemplars = prometheus.api("query_exemplars", &window).await;
    let exemplar = &exemplars[0]["exemplars"][0];
    assert_eq!((&exemplar["labels"]["trace_id"], &exemplar["value"]), (&"abc".into(), &"0.5".into()), "{exemplars}");
    let first = times(&prometheus.samples().await, "traced_total")[0];
    assert_eq!(
        first == since_ms,
        message == V2,
        "with remote write 2 it knows since when a counter counts: {first} {since_ms}"
    );
    // Each time that it is told since when a series counts, it counts a sample of that time, but for the first, as out of order.
    assert_quiet(&prometheus);
}

#[tokio::test]
async fn native_histograms_and_exemplars_arrive_by_remote_write_1() {
    native_arrives(V1).await;
}

#[tokio::test]
async fn native_histograms_exemplars_and_start_times_arrive_by_remote_write_2() {
    native_arrives(V2).await;
}

/// The numbers of the scrapes that Prometheus has of each target, in the order of their times.
async fn numbers(prometheus: &Prometheus) -> BTreeMap<Series, Vec<u64>> {
    let mut numbers = BTreeMap::<_, Vec<u64>>::new();
    let samples = prometheus.samples().await;
    let mut counted: Vec<_> = samples.into_iter().filter(|((series, _), _)| series.name == "scrape_number").collect();
    counted.sort_by_key(|((_, at_ms), _)| *at_ms);
    for ((series, _), value) in counted {
        numbers.entry(series).or_default().push(value.parse().unwrap());
    }
    numbers
}

async fn until_failing(process: &Process, scrapes: f64) {
    let offered = process.metric("promferry_output_samples_offered_total").await;
    until("samples wait", async || {
        let outputs = process.outputs().await;
        let is_failing = outputs["prometheus"]["failing"].is_string();
        let more = process.metric("promferry_output_samples_offered_total").await - offered;
        (is_failing && more >= scrapes * 24.0).then_some(())
    })
    .await;
}

async fn an_outage_leaves_nothing_out_of_order_and_nothing_twice(version: Version, message: &'static str) {
    let world = World::new();
    let Some(mut prometheus) = Prometheus::start(world.folder(), version).await else { return };
    let mut targets = Vec::new();
    for _ in 0..4 {
        targets.push(exporter(&world, |nth| format!("# TYPE scrape_number counter\nscrape_number {nth}\n")).await);
    }
    let addresses: Vec<_> = targets.iter().map(|target| target.address.to_string()).collect();
    configure(&world, &addresses, &prometheus, Way::RemoteWrite(message), "    queue: {disk: {path: queue}}");
    let process = world.run().await;
    until("it delivers", async || {
        let delivered = process.outputs().await["prometheus"]["ledger"]["delivered"].as_u64().unwrap_or_default();
        (delivered > 100).then_some(())
    })
    .await;
    prometheus.kill().await;
    until_failing(&process, 4.0).await;
    // What waits goes to the disk, and comes from there.
    let ended = process.terminate().await;
    assert_eq!(ended.count("prometheus", "dropped"), 0);
    let process = world.run().await;
    until_failing(&process, 8.0).await;
    let before_kill: Vec<_> = targets.iter().map(|target| target.bodies().len() as u64).collect();
    process.kill().await;
    let process = world.run().await;
    prometheus.resume().await;
    until("nothing waits", async || {
        let outputs = process.outputs().await;
        let (output, scraped) = (&outputs["prometheus"], targets[0].bodies().len() as u64);
        (output["failing"].is_null() && output["disk"]["samples"] == 0 && scraped > before_kill[0] + 5).then_some(())
    })
    .await;
    let mut ended = process.terminate().await;
    if ended.count("prometheus", "waiting") > 0 {
        // What came last may have gone to the disk behind what was there.
        let process = world.run().await;
        until("nothing waits", async || {
            let outputs = process.outputs().await;
            (outputs["prometheus"]["disk"]["samples"] == 0).then_some(())
        })
        .await;
        ended = process.terminate().await;
    }
    for field in ["rejected", "dropped", "waiting"] {
        assert_eq!(ended.count("prometheus", field), 0, "{field}");
    }
    let numbers = numbers(&prometheus).await;
    assert_eq!(numbers.len(), targets.len());
    for (target, before_kill) in targets.iter().zip(before_kill) {
        let (_, numbers) =
            numbers.iter().find(|(series, _)| series.label("instance") == target.address.to_string()).unwrap();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "in order, and each once: {numbers:?}");
        let missing: Vec<_> = (1..=target.bodies().len() as u64).filter(|number| !numbers.contains(number)).collect();
        // A scrape that is under way at an end is given up; what was not flushed when it was killed is lost: 300 ms, and what a busy
        // machine takes on top.
        let is_of_kill = |number: &u64| (before_kill.saturating_sub(4)..=before_kill + 1).contains(number);
        let others = missing.iter().filter(|number| !is_of_kill(number)).count();
        assert!(others <= 3, "{missing:?} of {before_kill}");
    }
    assert_untroubled(&prometheus).await;
}

#[tokio::test]
async fn an_outage_of_prometheus_2_leaves_nothing_out_of_order_and_nothing_twice() {
    an_outage_leaves_nothing_out_of_order_and_nothing_twice(Version::Two, V1).await;
}

#[tokio::test]
async fn an_outage_of_prometheus_3_leaves_nothing_out_of_order_and_nothing_twice() {
    an_outage_leaves_nothing_out_of_order_and_nothing_twice(Version::Three, V2).await;
}
