//! The output over DogStatsD: what lines samples become, and that an agent counts what the counters counted, whatever happens
//! to its socket.

mod nomad;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{Dogstatsd as Settings, DogstatsdAddress, OutputKind};
use promferry::config::{self, Source};
use promferry::model::{
    ChunkBuilder, Family, Histogram, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet,
};
use promferry::output::dogstatsd::{Cache, Dogstatsd, State};
use promferry::pipeline::{Batch, Encoded, Ledger, Output as _, Request, SenderOptions, Slice};
use tempfile::TempDir;

use crate::support::delivery::{Delivery, options};
use crate::support::dogstatsd::{Agent, Line, Place, parse};
use crate::support::random::Random;
use crate::support::world::until;

/// The settings that a section of the configuration comes to.
fn settings(keys: &str) -> Settings {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("promferry.yml");
    std::fs::write(&path, format!("outputs:\n  - name: agent\n    dogstatsd: {{{keys}}}\n")).unwrap();
    let config = config::load(&Source::File(path), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    match &config.outputs[0].kind {
        OutputKind::Dogstatsd(settings) => (**settings).clone(),
        other => panic!("{other:?}"),
    }
}

fn at(place: &Place) -> Settings {
    let address = match place {
        Place::Udp(address) => address.to_string(),
        Place::Unix(path) => format!("unix://{}", path.display()),
    };
    settings(&format!("address: \"{address}\""))
}

const START_MS: i64 = 1_798_859_045_006;

/// A scrape of one target.
struct Made {
    origin: u64,
    at_ms: i64,
    chunk: ChunkBuilder,
    points: PointsBuilder,
}

impl Made {
    fn new(origin: u64, at_ms: i64) -> Self {
        Self { origin, at_ms, chunk: ChunkBuilder::default(), points: PointsBuilder::default() }
    }

    fn with(mut self, kind: MetricType, family: &str, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        let labels = labels.iter().copied().collect::<Labels<'_>>();
        let family = self.chunk.family(Family { name: family, kind, ..Family::default() });
        let series = self.chunk.push(family, name, labels.iter());
        self.points.push_float(series, value, None);
        self
    }

    fn counter(self, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        self.with(MetricType::Counter, name, name, labels, value)
    }

    fn gauge(self, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        self.with(MetricType::Gauge, name, name, labels, value)
    }

    fn scrape(mut self) -> Arc<Scrape> {
        Arc::new(Scrape {
            origin: Arc::new(Origin { key: self.origin, labels: Labels::new(), url: String::new() }),
            at_ms: self.at_ms,
            series: Arc::new(SeriesSet::new(vec![self.chunk.finish()])),
            points: self.points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}

/// An output with its state, which a test sends nothing with.
struct Bench {
    output: Dogstatsd,
    state: State,
    cache: Cache,
}

impl Bench {
    fn new(keys: &str) -> Self {
        Self { output: Dogstatsd::new(&settings(keys)), state: State::default(), cache: Cache::default() }
    }

    /// The lines of scrapes that are delivered, and all that is said of what is not sent, by reason.
    fn lines(&mut self, scrapes: &[Arc<Scrape>]) -> (Vec<String>, BTreeMap<&'static str, u64>) {
        let samples = scrapes.iter().map(|scrape| scrape.samples() as u64).sum();
        let ledger = Ledger::new("agent");
        let slices = scrapes.iter().cloned().map(Slice::whole).collect();
        let batch = Batch::new(slices, ledger.offer(samples), tokio::time::Instant::now());
        let encoded = self.output.encode(&self.state, &mut self.cache, &batch);
        self.output.settle_noted(&mut self.state, &batch, &encoded);
        let judged = promferry::pipeline::Judgement::delivered();
        self.output.settle(&mut self.state, &batch, &encoded, &judged.verdict);
        let left_out = left_out(&encoded);
        assert_eq!(encoded.samples() + left_out.values().sum::<u64>(), samples);
        batch.drop_all("abandoned");
        let text = String::from_utf8(encoded.body.to_vec()).unwrap().replace('\0', "\n");
        (text.lines().map(str::to_owned).collect(), left_out)
    }
}

fn left_out(encoded: &Encoded) -> BTreeMap<&'static str, u64> {
    let rejected = encoded.rejected.iter().map(|rejected| (rejected.reason, rejected.samples));
    encoded.skipped.iter().map(|(reason, samples)| (*reason, *samples)).chain(rejected).collect()
}

/// Two scrapes of the same series, the second a second later.
fn twice(first: impl Fn(Made) -> Made, second: impl Fn(Made) -> Made) -> [Arc<Scrape>; 2] {
    [first(Made::new(1, START_MS)).scrape(), second(Made::new(1, START_MS + 1000)).scrape()]
}

#[tokio::test]
async fn gauges_are_values_and_what_counts_is_rises() {
    use MetricType::{GaugeHistogram, Histogram as Buckets, Info, Summary, Unknown};
    let made = |up: f64| {
        move |made: Made| {
            made.counter("requests_total", &[("code", "200")], 10.0 * up)
                .gauge("temperature", &[], -3.5)
                .with(Unknown, "u", "u", &[], 1e7)
                .with(Buckets, "h", "h_bucket", &[("le", "0.5")], up)
                .with(Buckets, "h", "h_bucket", &[("le", "+Inf")], 2.0 * up)
                .with(Buckets, "h", "h_sum", &[], 0.75 * up)
                .with(Buckets, "h", "h_count", &[], 2.0 * up)
                .with(Buckets, "h", "h_created", &[], 1.0)
                .with(Summary, "s", "s", &[("quantile", "0.5")], 0.25)
                .with(Summary, "s", "s_sum", &[], up)
                .with(Summary, "s", "s_count", &[], up)
                .with(GaugeHistogram, "q", "q_bucket", &[("le", "1")], 4.0)
                .with(Info, "b", "b_info", &[("version", "1,2|3")], 1.0)
        }
    };
    let mut bench = Bench::new("tags: {env: prod, code: none}");
    let [first, second] = twice(made(1.0), made(3.0));
    let (lines, left_out) = bench.lines(&[first]);
    let gauges = [
        "temperature:-3.5|g|#env:prod,code:none",
        "u:10000000|g|#env:prod,code:none",
        "h_created:1|g|#env:prod,code:none",
        "s:0.25|g|#env:prod,code:none,quantile:0.5",
        "q_bucket:4|g|#env:prod,code:none,le:1",
        "b_info:1|g|#env:prod,code:none,version:1_2_3",
    ];
    assert_eq!(lines, gauges);
    assert_eq!(left_out, BTreeMap::from([("first_delta", 7)]));
    let (mut lines, left_out) = bench.lines(&[second]);
    lines.retain(|line| !gauges.contains(&line.as_str()));
    let expected = [
        "requests_total:20|c|#env:prod,code:200",
        "h_bucket:2|c|#env:prod,code:none,le:0.5",
        "h_bucket:4|c|#env:prod,code:none,le:+Inf",
        "h_sum:1.5|c|#env:prod,code:none",
        "h_count:4|c|#env:prod,code:none",
        "s_sum:2|c|#env:prod,code:none",
        "s_count:2|c|#env:prod,code:none",
    ];
    assert_eq!((lines, left_out.len()), (expected.map(str::to_owned).to_vec(), 0));

    let mut totals = Bench::new("histograms: totals, summaries: totals, timestamps: true");
    let (_, left_out) = totals.lines(&twice(made(1.0), made(3.0)));
    assert_eq!(left_out, BTreeMap::from([("first_delta", 5), ("detail", 6)]));
    let (lines, _) = totals.lines(&[Made::new(2, START_MS).gauge("g", &[], 1.0).scrape()]);
    assert_eq!(lines, ["g:1|g|T1798859045"]);
}

#[tokio::test]
async fn what_dogstatsd_cannot_say_is_counted_and_why() {
    let mut made = Made::new(1, START_MS)
        .gauge("a", &[], f64::NAN)
        .gauge("b", &[], f64::NEG_INFINITY)
        .gauge("c", &[], STALE_NAN)
        .counter("d", &[], f64::NAN)
        .gauge("_1", &[], 1.0)
        .gauge(&"n".repeat(201), &[], 1.0)
        .gauge("e", &(0..20).map(|_| ("x", "y")).collect::<Vec<_>>(), 1.0);
    let values: Vec<(String, String)> = (0..20).map(|n| (format!("label_{n:02}"), "v".repeat(100))).collect();
    let long: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    made = made.gauge("too_long", &long, 1.0);
    let family = made.chunk.family(Family { name: "n", kind: MetricType::Histogram, ..Family::default() });
    let native = made.chunk.push(family, "n", std::iter::empty());
    made.points.push_histogram(native, Histogram { sum: 1.0, ..Histogram::stale() }, None);
    let (lines, left_out) = Bench::new("").lines(&[made.scrape()]);
    assert_eq!(lines, ["e:1|g|#x:y"]);
    let expected =
        [("infinite", 1), ("name", 2), ("nan", 2), ("stale_marker", 1), ("too_large", 1), ("unsupported_type", 1)];
    assert_eq!(left_out, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_counter_s_rises_survive_resets_and_do_not_mix() {
    let mut bench = Bench::new("exclude_labels: [instance]");
    let at = |origin, second: i64| Made::new(origin, START_MS + second * 1000);
    let one = |second, value| at(1, second).counter("c", &[("instance", "a")], value).scrape();
    let other = |second, value| at(2, second).counter("c", &[("instance", "b")], value).scrape();
    let (lines, _) = bench.lines(&[one(0, 10.0), other(0, 1000.0), one(1, 15.0), other(1, 1001.0)]);
    assert_eq!(lines, ["c:5|c", "c:1|c"]);
    let (lines, _) = bench.lines(&[one(2, 3.0), one(3, 8.0), other(2, 1001.0)]);
    assert_eq!(lines, ["c:3|c", "c:5|c", "c:0|c"]);
    // Two series that write_relabel_configs have made one: no rise can be taken from that.
    let doubled = at(1, 4).counter("c", &[("instance", "a")], 9.0).counter("c", &[("instance", "a")], 700.0).scrape();
    let (lines, left_out) = bench.lines(&[doubled]);
    assert_eq!((lines, left_out), (vec!["c:1|c".to_owned()], BTreeMap::from([("not_newer", 1)])));
}

#[tokio::test]
async fn a_sample_from_before_is_no_reset() {
    let mut bench = Bench::new("");
    let at = |second: i64, value| Made::new(1, START_MS + second * 1000).counter("c", &[], value).scrape();
    let (lines, left_out) = bench.lines(&[at(5, 100.0), at(6, 110.0), at(4, 90.0), at(7, 115.0)]);
    assert_eq!(lines, ["c:10|c", "c:5|c"]);
    assert_eq!(left_out, BTreeMap::from([("first_delta", 1), ("not_newer", 1)]));
}

#[tokio::test]
async fn a_clock_that_is_put_back_far_silences_no_counter() {
    let mut bench = Bench::new("");
    let at = |second: i64, value| Made::new(1, START_MS + second * 1000).counter("c", &[], value).scrape();
    // A day ahead, and then right again.
    let (lines, left_out) = bench.lines(&[at(86_400, 100.0), at(86_410, 110.0), at(20, 120.0), at(30, 125.0)]);
    assert_eq!(lines, ["c:10|c", "c:5|c"]);
    assert_eq!(left_out, BTreeMap::from([("first_delta", 2)]));
    let (lines, left_out) = bench.lines(&[at(40, 126.0)]);
    assert_eq!((lines, left_out), (vec!["c:1|c".to_owned()], BTreeMap::new()));
}

#[tokio::test]
async fn mappings_give_names_types_and_sums() {
    let keys = "namespace: app, mappings: [\
        {regex: up, replacement: agent.poll_failure, multiply: -1, add: 1},\
        {regex: 'mem_(free|used)', replacement: memory.$1},\
        {regex: 'mem_.*', replacement: memory.total, sum: true},\
        {regex: level, replacement: level.rise, type: count},\
        {regex: done_total, replacement: done, type: gauge},\
        {regex: done_total, replacement: done.k, multiply: 0.001}]";
    let mut bench = Bench::new(keys);
    let made = |up, free, used: f64, n: f64| {
        move |made: Made| {
            made.gauge("up", &[("job", "j")], up)
                .gauge("mem_free", &[("node", "1")], free)
                .gauge("mem_free", &[("node", "2")], 1.0)
                .gauge("mem_used", &[("node", "1")], used)
                .gauge("mem_used", &[("node", "2")], 2.0)
                .gauge("level", &[], n)
                .counter("done_total", &[], n)
                .gauge("other", &[], 7.0)
        }
    };
    let [first, second] = twice(made(1.0, 30.0, 70.0, 1000.0), made(0.0, 20.0, f64::NAN, 3000.0));
    let (lines, left_out) = bench.lines(&[first]);
    let expected = [
        "app.agent.poll_failure:0|g|#job:j",
        "app.done:1000|g",
        "app.other:7|g",
        "app.memory.free:30|g|#node:1",
        "app.memory.used:70|g|#node:1",
        "app.memory.total:100|g|#node:1",
        "app.memory.free:1|g|#node:2",
        "app.memory.used:2|g|#node:2",
        "app.memory.total:3|g|#node:2",
    ];
    assert_eq!((lines, left_out), (expected.map(str::to_owned).to_vec(), BTreeMap::from([("first_delta", 1)])));
    let (lines, left_out) = bench.lines(&[second]);
    let expected = [
        "app.agent.poll_failure:1|g|#job:j",
        "app.level.rise:2000|c",
        "app.done:3000|g",
        "app.done.k:2|c",
        "app.other:7|g",
        "app.memory.free:20|g|#node:1",
        "app.memory.free:1|g|#node:2",
        "app.memory.used:2|g|#node:2",
        "app.memory.total:3|g|#node:2",
    ];
    assert_eq!((lines, left_out), (expected.map(str::to_owned).to_vec(), BTreeMap::from([("nan", 1)])));
}

#[tokio::test]
async fn what_is_summed_up_is_sent_as_a_whole_or_not_at_all() {
    let keys = "mappings: [{regex: 'm_(a|b)', replacement: m.$1}, {regex: 'm_.*', replacement: m.all, sum: true}]";
    let made = |at_ms| {
        let made = Made::new(1, at_ms).gauge("m_a", &[("n", "1")], 1.0).gauge("m_a", &[("n", "2")], 10.0);
        made.gauge("m_b", &[("n", "1")], 2.0).gauge("m_b", &[("n", "2")], 20.0).gauge("x", &[], 0.0).scrape()
    };
    let output = Dogstatsd::new(&settings(keys));
    let ledger = Ledger::new("agent");
    let slices = vec![Slice::whole(made(START_MS)), Slice::whole(made(START_MS + 1000))];
    let batch = Batch::new(slices, ledger.offer(10), tokio::time::Instant::now());
    let encoded = output.encode(&State::default(), &mut Cache::default(), &batch);
    let samples: Vec<u32> = encoded.items.iter().map(|item| item.samples).collect();
    assert_eq!(samples, [1, 2, 2, 1, 2, 2]);
    assert_eq!(encoded.item(1), b"m.a:1|g|#n:1\0m.b:2|g|#n:1\0m.all:3|g|#n:1\n");
    // As a batch is divided, so are they: never between the parts of a sum.
    let halves = batch.split().unwrap_or_else(|_| panic!("two scrapes"));
    for half in halves.into_iter().flat_map(|half| half.split().unwrap_or_else(|_| panic!("three label sets"))) {
        let encoded = output.encode(&State::default(), &mut Cache::default(), &half);
        let text = String::from_utf8(encoded.body.to_vec()).unwrap();
        let sums: Vec<&str> = text.split(['\0', '\n']).filter_map(|line| line.strip_prefix("m.all:")).collect();
        assert!(sums.iter().all(|sum| ["3|g|#n:1", "30|g|#n:2"].contains(sum)), "{text}");
        half.drop_all("abandoned");
    }
}

fn hurried() -> SenderOptions {
    SenderOptions { name: "agent".to_owned(), ..options() }
}

/// The scrape of this second of a target with counters that rise by their number, and are reset at second 7.
fn counters(target: u64, second: i64) -> Arc<Scrape> {
    let instance = format!("10.0.0.{target}");
    let made = (1..=50).fold(Made::new(target, START_MS + second * 1000), |made, number| {
        let age = if second < 7 { second + 100 } else { second - 6 };
        let labels = [("instance", instance.as_str()), ("number", &number.to_string())];
        made.counter("c", &labels, (age * number) as f64).gauge("g", &labels, second as f64)
    });
    made.scrape()
}

/// What the agent must have counted between these seconds, the reset at 7 included: the rises, each number's its own.
fn counted(target: u64, from: i64, to: i64) -> BTreeMap<String, f64> {
    let rises = (from + 1..=to).count() as i64;
    (1..=50).map(|n| (format!("c{{instance:10.0.0.{target},number:{n}}}"), (rises * n) as f64)).collect()
}

fn of_target(counts: &BTreeMap<String, f64>, target: u64) -> BTreeMap<String, f64> {
    let mark = format!("instance:10.0.0.{target},");
    counts.iter().filter(|(series, _)| series.contains(&mark)).map(|(s, v)| (s.clone(), *v)).collect()
}

#[tokio::test]
async fn an_agent_counts_what_the_counters_counted_over_a_reset_and_divided_batches() {
    let folder = TempDir::new().unwrap();
    for agent in [Agent::udp(0).await, Agent::unix(&folder.path().join("dsd.socket"))] {
        // Bodies of four kilobytes: a scrape of a hundred samples is divided.
        let options = SenderOptions { body_bytes_max: 4096, ..hurried() };
        let delivery = Delivery::start(Dogstatsd::new(&at(&agent.place)), options);
        for second in 0..12 {
            (1..=3).for_each(|target| delivery.queue.push(&counters(target, second)));
        }
        let counts = delivery.finish().await;
        assert_eq!(counts.settled.skipped, BTreeMap::from([("first_delta", 150)]));
        assert_eq!((counts.settled.delivered, counts.maybe_doubled), (12 * 300 - 150, 0));
        until("all lines", async || (agent.lines().len() == 12 * 300 - 150).then_some(())).await;
        let seen = agent.counts();
        for target in 1..=3 {
            assert_eq!(of_target(&seen, target), counted(target, 0, 11), "{:?}", agent.place);
        }
        assert!(agent.gauges().values().all(|value| *value == 11.0));
        let payload = if matches!(agent.place, Place::Udp(_)) { 1432 } else { 8192 };
        let sizes: Vec<usize> = agent.datagrams().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= payload));
        if payload == 1432 {
            assert!(sizes.iter().any(|size| *size > 1300), "they are filled: {sizes:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_an_agent_is_away() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dsd.socket");
    for is_unix in [false, true] {
        let start = async |port| if is_unix { Agent::unix(&path) } else { Agent::udp(port).await };
        let agent = start(0).await;
        let place = agent.place.clone();
        let port = if let Place::Udp(address) = &place { address.port() } else { 0 };
        let delivery = Delivery::start(Dogstatsd::new(&at(&place)), hurried());
        (0..4).for_each(|second| delivery.queue.push(&counters(1, second)));
        until("the first lines", async || (agent.lines().len() == 350).then_some(())).await;
        let mut lines = agent.stop().await;
        (4..8).for_each(|second| delivery.queue.push(&counters(1, second)));
        delivery.failed_once().await;
        let agent = start(port).await;
        (8..12).for_each(|second| delivery.queue.push(&counters(1, second)));
        let counts = delivery.finish().await;
        assert_eq!(counts.settled.delivered, 1150, "{counts:?}");
        // Over UDP, what a refusal is about is not always known.
        assert!(counts.maybe_doubled == 0 || !is_unix, "{counts:?}");
        until("the other lines", async || (agent.lines().len() == 800).then_some(())).await;
        lines.extend(agent.stop().await);
        let sum = |number: i64| -> f64 {
            let mark = format!("number:{number}");
            lines.iter().filter(|l| l.kind == "c" && l.tags.contains(&mark)).map(|line| line.value).sum()
        };
        let all: Vec<f64> = (1..=50).map(sum).collect();
        assert_eq!(all, counted_values(), "{place:?}");
        assert_eq!(gauges_of(&lines), (0..12).map(f64::from).collect::<Vec<_>>(), "in order, {place:?}");
    }
}

fn counted_values() -> Vec<f64> {
    (1..=50).map(|number| f64::from(11 * number)).collect()
}

/// The values of one gauge, in the order in which they came.
fn gauges_of(lines: &[Line]) -> Vec<f64> {
    let tag = "number:1".to_owned();
    lines.iter().filter(|line| line.kind == "g" && line.tags.contains(&tag)).map(|line| line.value).collect()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_is_waited_for_and_sent_the_rest_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dsd.socket");
    let socket = Agent::bind(&path);
    // More datagrams than the socket has room for, however large that is.
    let settings = Settings { max_payload: 256, ..at(&Place::Unix(path.clone())) };
    let delivery = Delivery::start(Dogstatsd::new(&settings), hurried());
    for second in 0..12 {
        (1..=20).for_each(|target| delivery.queue.push(&counters(target, second)));
    }
    delivery.failed_once().await;
    let agent = Agent::reading(socket, &path);
    let counts = delivery.finish().await;
    let expected = 12 * 20 * 100 - 20 * 50;
    assert_eq!((counts.settled.delivered, counts.maybe_doubled), (expected, 0), "{counts:?}");
    until("all lines", async || (agent.lines().len() as u64 == expected).then_some(())).await;
    let seen = agent.counts();
    for target in 1..=20 {
        assert_eq!(of_target(&seen, target), counted(target, 0, 11));
    }
}

/// Hands one line to an output, as its sender does.
async fn hand(output: &Dogstatsd, line: &'static str) -> Result<usize, String> {
    let request = Request {
        path_and_query: String::new(),
        headers: Default::default(),
        body: bytes::Bytes::from_static(line.as_bytes()),
    };
    let answer = output.send(0, request).await.map_err(|failure| failure.message)?;
    Ok(std::str::from_utf8(&answer.body).unwrap().parse().unwrap())
}

#[tokio::test]
async fn an_agent_that_has_only_started_again_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dsd.socket");
    let agent = Agent::unix(&path);
    let output = Dogstatsd::new(&at(&agent.place));
    assert_eq!(hand(&output, "a:1|g\n").await, Ok(6));
    agent.stop().await;
    let agent = Agent::unix(&path);
    assert_eq!(hand(&output, "b:22|g\n").await, Ok(7));
    until("the line", async || (agent.lines().len() == 1).then_some(())).await;
    agent.stop().await;
    assert_eq!(hand(&output, "c:1|g\n").await, Err("nobody listens on this socket".to_owned()));
}

#[tokio::test]
async fn a_name_s_addresses_are_tried_one_after_the_other() {
    let agent = Agent::udp(0).await;
    let Place::Udp(address) = &agent.place else { panic!("it is at a port") };
    // It may be ::1 first, where nobody listens.
    let output = Dogstatsd::new(&settings(&format!("address: \"localhost:{}\"", address.port())));
    until("a line is taken", async || hand(&output, "a:1|g\n").await.ok()).await;
    until("the line", async || (!agent.lines().is_empty()).then_some(())).await;
}

/// What an output says of an address before anything is sent.
async fn looked(settings: &Settings) -> String {
    Dogstatsd::new(settings).check().await.err().unwrap_or_default()
}

#[tokio::test]
async fn who_does_not_listen_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let unix = |name: &str| at(&Place::Unix(path(name)));
    std::fs::write(path("file"), "").unwrap();
    let _stream = tokio::net::UnixListener::bind(path("stream")).unwrap();
    drop(Agent::bind(&path("stale")));
    for (name, expected) in [
        ("missing", "there is no such socket; is the agent running?"),
        ("file", "this is a file, and no socket"),
        ("stream", "this is a stream socket; the agent's datagram socket is needed (dogstatsd_socket)"),
        ("stale", "nobody listens on this socket"),
    ] {
        assert_eq!(looked(&unix(name)).await, format!("unix://{}: {expected}", path(name).display()));
    }
    let agent = Agent::udp(0).await;
    let udp = at(&agent.place);
    assert_eq!(looked(&udp).await, "");
    assert!(agent.datagrams().is_empty());
    agent.stop().await;
    assert_eq!(looked(&udp).await, format!("{}: nobody listens on this port", udp.address));
    let _agent = Agent::unix(&path("dsd.socket"));
    assert_eq!(looked(&unix("dsd.socket")).await, "");
}

#[test]
fn an_address_is_a_host_and_port_or_a_socket() {
    let complaint = |address: &str| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("promferry.yml");
        std::fs::write(&path, format!("outputs: [{{name: a, dogstatsd: {{address: \"{address}\"}}}}]\n")).unwrap();
        config::load(&Source::File(path), &|_| None).err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    for (address, expected) in [
        ("unixstream:///run/dsd.socket", "is a stream socket, which is not supported"),
        ("unix://dsd.socket", "needs the whole path of a socket"),
        ("udp://127.0.0.1:8125", "has a scheme that is not known"),
        ("localhost", "is not an address"),
        (&format!("unix:///{}", "x".repeat(107)), "has at most 107 bytes"),
    ] {
        assert!(complaint(address).contains(expected), "{}", complaint(address));
    }
    for fine in ["localhost:8125", "[::1]:8125", "unix:///var/run/datadog/dsd.socket"] {
        assert_eq!(complaint(fine), "");
    }
    let DogstatsdAddress::Unix(path) = settings("address: \"unix:///run/a b\"").address else { panic!("a socket") };
    assert_eq!(path, Path::new("/run/a b"));
    assert_eq!((settings("").max_payload, settings("address: \"unix:///x\"").max_payload), (1432, 8192));
}

#[tokio::test]
async fn hostile_labels_end_no_tag_no_line_and_no_datagram() {
    let mut random = Random::new(11);
    let odd =
        ["|", ",", "#", ":", "\n", "\r", "\0", "@0.1", "|g", "é", "\u{202e}", "𝄞", " ", "x", "dd.internal.", "\u{7f}"];
    let mut text = |pieces: u64| -> String {
        (0..=random.below(pieces)).map(|_| odd[random.below(odd.len() as u64) as usize]).collect()
    };
    let agent = Agent::udp(0).await;
    let delivery = Delivery::start(Dogstatsd::new(&at(&agent.place)), hurried());
    for second in 0..20 {
        let mut made = Made::new(1, START_MS + second * 1000);
        for number in 0..50 {
            let labels: Vec<(String, String)> = (0..number % 7).map(|_| (text(4), text(300))).collect();
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            made = made.gauge(&format!("{}g", text(8)), &labels, 1.0);
        }
        delivery.queue.push(&made.scrape());
    }
    let counts = delivery.finish().await;
    let rejected = counts.settled.rejected.values().sum::<u64>();
    assert!(counts.settled.delivered > 800, "{counts:?}");
    assert_eq!(counts.settled.delivered + rejected, 1000);
    until("all lines", async || (agent.lines().len() as u64 == counts.settled.delivered).then_some(())).await;
    // The parser has seen to all the rest.
    let told = agent.datagrams().iter().flat_map(|datagram| parse(datagram)).filter(|line| line.tags.len() > 6).count();
    assert_eq!(told, 0);
}

#[tokio::test]
async fn after_a_restart_counting_begins_anew_with_what_was_on_disk() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("promferry.yml");
    let socket = folder.path().join("dsd.socket");
    let yaml = format!(
        "outputs:\n  - name: agent\n    dogstatsd: {{address: \"unix://{}\"}}\n    \
         batch: {{flush_interval: 1ms, flush_jitter: 0s}}\n    queue: {{disk: {{path: queue}}}}\n",
        socket.display()
    );
    std::fs::write(&path, yaml).unwrap();
    let config = config::load(&Source::File(path), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let credentials = Arc::new(promferry::net::credentials::Credentials::new(Duration::from_secs(1)));
    let run = async || {
        let (_, ready) = tokio::sync::watch::channel(true);
        let output = config.outputs[0].clone();
        promferry::output::Running::start(output, &credentials, ready, Duration::from_secs(8), None).await.unwrap()
    };
    let soon = || tokio::time::Instant::now() + Duration::from_secs(5);
    let first = run().await;
    (0..3).for_each(|second| first.intake.offer(&counters(1, second)));
    until("a failure", async || (first.state().status.failures > 0).then_some(())).await;
    (3..6).for_each(|second| first.intake.offer(&counters(1, second)));
    let (_, counts) = first.shutdown(soon()).await;
    // What was encoded has its first samples settled already; the rest is on disk.
    let settled = counts.settled.total();
    assert_eq!((counts.waiting, counts.imbalance()), (600 - settled, 0), "{counts:?}");
    assert_eq!(counts.settled.skipped.get("first_delta"), (settled > 0).then_some(&settled));

    let agent = Agent::unix(&socket);
    let second = run().await;
    (6..9).for_each(|at| second.intake.offer(&counters(1, at)));
    until("all of it", async || {
        let counts = second.state().counts;
        (counts.offered == 300 && counts.restored > 0 && counts.waiting == 0).then_some(())
    })
    .await;
    let (_, counts) = second.shutdown(soon()).await;
    assert_eq!((counts.restored, counts.imbalance()), (600 - settled, 0), "{counts:?}");
    assert_eq!(counts.settled.skipped, BTreeMap::from([("first_delta", 50)]));
    until("all lines", async || (agent.lines().len() as u64 == counts.settled.delivered).then_some(())).await;
    let from = if settled > 0 { 1 } else { 0 };
    assert_eq!(of_target(&agent.counts(), 1), counted(1, from, 8));
}
