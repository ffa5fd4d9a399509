//! What the stages cost that have no bench of their own: how many samples (or, compressing, bytes) a second one thread does.
//!
//! - `parse`: OpenMetrics and protobuf, a steady target and bodies never seen. The text format is in `exposition`.
//! - `relabel`: one new series through `metric_relabel_configs`; and a scrape through `write_relabel_configs` that are known.
//! - `compress`: bodies of Elasticsearch and Splunk at several levels; what they come to is printed. Sending does level 1.
//! - `lines`: what the file output writes.
//! - `expose`: ten targets of a thousand samples rendered as one exposition, for the first time and again.
//!
//! ```text
//! cargo bench --bench stages
//! CORPUS=DIR cargo bench --bench stages -- compress     # also bodies made of the *.prom files of a folder
//! ```

#[allow(dead_code)] // What only the bench of encoders needs.
mod common;
#[path = "../tests/it/support/protobuf.rs"]
#[allow(dead_code)] // What only tests write.
mod protobuf;

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use promferry::config::checked::{self, DocumentShape};
use promferry::exposition::{Admission, Admit, Format, Settings, Table, json, write};
use promferry::model::{Labels, METRIC_NAME, Origin, Scrape, Value};
use promferry::output::expose::Expose;
use promferry::pipeline::{Batch, Intake, Ledger, Output, Projection, Slice};
use promferry::relabel::{Rule, RuleSpec, Rules};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;

use common::{batches, elasticsearch, splunk};
use protobuf::{COUNTER, GAUGE, HISTOGRAM, Message, family};

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = parse, relabel, compress, lines, expose
}
criterion_main!(benches);

/// Bodies of a target that is read.
const BODIES: usize = 60;
/// What a connection hands over at a time.
const PIECE_BYTES: usize = 16 << 10;
/// Families of each type in a body that is read.
const FAMILIES: u64 = 20;
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, f64::INFINITY];

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    bench_format(&mut group, "openmetrics", Format::OpenMetrics, openmetrics_body);
    bench_format(&mut group, "protobuf", Format::Protobuf, |round| protobuf_body(round, classic_histogram));
    bench_format(&mut group, "protobuf native", Format::Protobuf, |round| protobuf_body(round, native_histogram));
    group.finish();
}

fn bench_format(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    format: Format,
    body: impl Fn(u64) -> (Vec<u8>, usize),
) {
    let (bodies, samples): (Vec<_>, Vec<_>) = (0..BODIES as u64).map(body).unzip();
    group.throughput(Throughput::Elements(samples[0] as u64));
    let mut rounds = bodies.iter().cycle();
    let mut next = || rounds.next().expect("a cycle");
    group.bench_function(BenchmarkId::new("steady", name), |bencher| {
        let mut table = new_table();
        assert_eq!(read(&mut table, format, next()).samples(), samples[0]);
        bencher.iter(|| read(&mut table, format, next()));
    });
    group.bench_function(BenchmarkId::new("never seen", name), |bencher| {
        bencher.iter(|| read(&mut new_table(), format, next()));
    });
}

struct KeepAll;

impl Admit for KeepAll {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        labels.set("instance", "10.0.16.4:9100");
        labels.set("job", "bench");
        Admission::Keep
    }
}

fn new_table() -> Table {
    let settings = Settings { native_histograms: true, ..Settings::default() };
    Table::new(settings, Box::new(KeepAll), Labels::new())
}

fn read(table: &mut Table, format: Format, body: &[u8]) -> Scrape {
    table.begin(1_798_859_045_000);
    table.read_as(format);
    for piece in body.chunks(PIECE_BYTES) {
        table.feed(piece).expect("no limits");
    }
    table.finish_body().expect("no limits");
    table.accept();
    let parsed = table.take();
    Scrape {
        origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
        at_ms: 1_798_859_045_000,
        series: parsed.series,
        points: parsed.points,
        exemplars: parsed.exemplars,
        created: parsed.created,
        is_last: false,
    }
}

/// Values of a counter, of a gauge, and of a histogram's bucket, that move from round to round.
fn count(round: u64, number: u64) -> u64 {
    (round + 1) * (number * 7919 + 3)
}

fn level(round: u64, number: u64) -> f64 {
    count(round, number) as f64 / 7.0
}

/// A body, and how many samples it has.
fn openmetrics_body(round: u64) -> (Vec<u8>, usize) {
    let mut text = String::new();
    for family in 0..FAMILIES {
        let _ = write!(text, "# HELP app_requests_{family} Answered.\n# TYPE app_requests_{family} counter\n");
        for n in 0..20 {
            let code = 200 + n % 5;
            let value = count(round, n);
            let _ = write!(text, "app_requests_{family}_total{{code=\"{code}\",path=\"/v2/thing/{n}\"}} {value}");
            let exemplar = if n % 10 == 0 { " # {trace_id=\"4bf92f3577b34da6\"} 1.0 1798859044.5\n" } else { "\n" };
            text.push_str(exemplar);
        }
        let _ = write!(text, "# HELP app_queue_{family} Waiting now.\n# TYPE app_queue_{family} gauge\n");
        for n in 0..14 {
            let _ = writeln!(text, "app_queue_{family}{{shard=\"{n}\"}} {}", level(round, n));
        }
        let name = format!("app_latency_{family}_seconds");
        let _ = write!(text, "# HELP {name} Latency.\n# TYPE {name} histogram\n# UNIT {name} seconds\n");
        for (n, bound) in (0..).zip(BOUNDS) {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {}", count(round, n));
        }
        let _ = write!(text, "{name}_sum {}\n{name}_count {}\n", level(round, 99), count(round, 13));
    }
    text.push_str("# EOF\n");
    (text.into_bytes(), FAMILIES as usize * (20 + 14 + BOUNDS.len() + 2))
}

/// The same in protobuf. `histogram` makes one of its rounds, and says how many samples it has.
fn protobuf_body(round: u64, histogram: impl Fn(u64) -> (Message, usize)) -> (Vec<u8>, usize) {
    let (mut body, mut samples) = (Vec::new(), 0);
    for at in 0..FAMILIES {
        let mut counters = family(&format!("app_requests_{at}_total"), COUNTER);
        for n in 0..20 {
            let labels =
                Message::new().label("code", &(200 + n % 5).to_string()).label("path", &format!("/v2/thing/{n}"));
            counters = counters.message(4, labels.message(3, Message::new().double(1, count(round, n) as f64)));
        }
        let mut gauges = family(&format!("app_queue_{at}"), GAUGE);
        for n in 0..14 {
            let labels = Message::new().label("shard", &n.to_string());
            gauges = gauges.message(4, labels.message(2, Message::new().double(1, level(round, n))));
        }
        let (value, of_histogram) = histogram(round);
        let histograms =
            family(&format!("app_latency_{at}_seconds"), HISTOGRAM).message(4, Message::new().message(7, value));
        for family in [counters, gauges, histograms] {
            body.extend(family.delimited());
        }
        samples += 20 + 14 + of_histogram;
    }
    (body, samples)
}

fn classic_histogram(round: u64) -> (Message, usize) {
    let mut value = Message::new().uint(1, count(round, 13)).double(2, level(round, 99));
    for (n, bound) in (0..).zip(BOUNDS) {
        value = value.message(3, Message::new().uint(1, count(round, n)).double(2, bound));
    }
    (value, BOUNDS.len() + 2)
}

fn native_histogram(round: u64) -> (Message, usize) {
    let counts: Vec<u64> = (0..30).map(|n| (n * 7 + round) % 40).collect();
    let before = std::iter::once(&0).chain(&counts);
    let deltas: Vec<i64> = counts.iter().zip(before).map(|(count, before)| *count as i64 - *before as i64).collect();
    let value = Message::new()
        .uint(1, round + counts.iter().sum::<u64>())
        .double(2, level(round, 99))
        .sint(5, 3)
        .double(6, 1e-128)
        .uint(7, round)
        .span(12, -20, 20)
        .span(12, 3, 10)
        .packed_sints(13, &deltas);
    (value, 1)
}

/// Rules as many have them: what is not wanted, a label made of another, a label less.
fn three_rules() -> Rules {
    let text = |text: &str| Some(text.to_owned());
    let specs = [
        RuleSpec {
            source_labels: vec![METRIC_NAME.to_owned()],
            regex: text("go_.*|process_.*|scrape_duration_seconds"),
            action: text("drop"),
            ..RuleSpec::default()
        },
        RuleSpec {
            source_labels: vec!["path".to_owned()],
            regex: text("/v2/([^/]+)/.*"),
            target_label: text("resource"),
            ..RuleSpec::default()
        },
        RuleSpec { regex: text("index|pod_template_hash"), action: text("labeldrop"), ..RuleSpec::default() },
    ];
    Rules::new(specs.map(|spec| Rule::new(spec).expect("a rule")).into())
}

struct Nowhere;

impl Intake for Nowhere {
    fn offer(&self, scrape: &Arc<Scrape>) {
        black_box(scrape.points.len());
    }
}

fn relabel(criterion: &mut Criterion) {
    let batches = batches();
    let scrapes: Vec<&Arc<Scrape>> = batches.iter().map(|batch| &batch.slices[0].scrape).collect();
    let series = &scrapes[0].series;
    let mut group = criterion.benchmark_group("relabel");
    group.throughput(Throughput::Elements(series.len() as u64));
    for (name, rules) in [("no rule", Rules::default()), ("three rules", three_rules())] {
        group.bench_function(BenchmarkId::new("new series", name), |bencher| {
            bencher.iter(|| {
                for number in 0..series.len() as u32 {
                    let series = series.get(number);
                    let mut labels: Labels = series.labels().collect();
                    labels.set(METRIC_NAME, series.name());
                    black_box(rules.apply(&mut labels));
                    black_box(labels);
                }
            });
        });
    }
    let rules = three_rules();
    let rules = Box::new(move |labels: &mut Labels<'_>| rules.apply(labels));
    let projection = Projection::new(rules, Ledger::new("bench"), Arc::new(Nowhere));
    let mut rounds = scrapes.iter().cycle();
    group.bench_function(BenchmarkId::new("known series of an output", "three rules"), |bencher| {
        bencher.iter(|| projection.offer(rounds.next().expect("a cycle")));
    });
    group.finish();
}

/// Bodies of a level's bench: as many as do not fit into the caches.
const COMPRESSED_BODIES: usize = 8;

fn compress(criterion: &mut Criterion) {
    let made_up: Vec<Batch> = batches().into_iter().take(COMPRESSED_BODIES).collect();
    bench_bodies(criterion, "made up", &made_up);
    if let Some(folder) = std::env::var_os("CORPUS") {
        bench_bodies(criterion, "corpus", &[corpus(Path::new(&folder))]);
    }
}

fn bench_bodies(criterion: &mut Criterion, origin: &str, batches: &[Batch]) {
    fn bodies<O: Output<State = ()>>(output: &O, batches: &[Batch]) -> Vec<bytes::Bytes> {
        batches.iter().map(|batch| output.encode(&(), &mut O::Cache::default(), batch).body).collect()
    }
    let mut group = criterion.benchmark_group("compress");
    for (output, bodies) in [
        ("elasticsearch", bodies(&elasticsearch(DocumentShape::TimeSeries), batches)),
        ("splunk", bodies(&splunk(true), batches)),
    ] {
        group.throughput(Throughput::Bytes(bodies[0].len() as u64));
        for level in [1, 2, 3, 6] {
            let name = format!("{output} {origin} level {level}");
            let (plain, packed) = (bodies[0].len(), gzip(&bodies[0], level).len());
            println!("{name}: {plain} bytes become {packed}, {:.1} to 1", plain as f64 / packed as f64);
            let mut rounds = bodies.iter().cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| gzip(rounds.next().expect("a cycle"), level));
            });
        }
    }
    group.finish();
}

fn gzip(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(level));
    encoder.write_all(body).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// One batch of the files of a folder, a target a file, of about 10,000 samples.
fn corpus(folder: &Path) -> Batch {
    let entries = std::fs::read_dir(folder).expect("CORPUS is a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    files.sort();
    let (mut slices, mut samples) = (Vec::new(), 0);
    for file in files {
        let scrape = read(&mut new_table(), Format::Text, &std::fs::read(file).expect("a file"));
        if samples + scrape.samples() <= 10_000 {
            samples += scrape.samples();
            slices.push(Slice::whole(Arc::new(scrape)));
        }
    }
    Batch::new(slices, Ledger::new("bench").offer(samples as u64), Instant::now())
}

fn lines(criterion: &mut Criterion) {
    let batches = batches();
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Elements(batches[0].samples()));
    let mut rounds = batches.iter().cycle();
    let mut out = Vec::new();
    group.bench_function("json", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut lines = json::Lines::default();
            for slice in &rounds.next().expect("a cycle").slices {
                let points = slice.points();
                points.for_each(|(point, series)| {
                    lines.line(&mut out, series, point.value, slice.scrape.time_ms(&point))
                });
            }
            black_box(out.len())
        });
    });
    group.bench_function("text", |bencher| {
        bencher.iter(|| {
            out.clear();
            for slice in &rounds.next().expect("a cycle").slices {
                for (point, series) in slice.points() {
                    let Value::Float(value) = point.value else { continue };
                    write::series(&mut out, series.name(), series.labels());
                    write::value(&mut out, write::Format::Text, value, Some(slice.scrape.time_ms(&point)));
                }
            }
            black_box(out.len())
        });
    });
    group.finish();
}

fn expose(criterion: &mut Criterion) {
    let batches = batches();
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = criterion.benchmark_group("expose");
    group.throughput(Throughput::Elements(batches[0].samples()));
    let headers = |pairs: &[(HeaderName, &'static str)]| -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    };
    let openmetrics = (ACCEPT, "application/openmetrics-text;version=1.0.0");
    for (name, headers) in [
        ("text", headers(&[])),
        ("text, gzip", headers(&[(ACCEPT_ENCODING, "gzip")])),
        ("openmetrics", headers(&[openmetrics])),
    ] {
        let warm = endpoint();
        let mut rounds = batches.iter().cycle();
        // A round of scrapes comes in, and one client reads.
        let mut round = |expose: &Expose| {
            rounds.next().expect("a cycle").slices.iter().for_each(|slice| expose.offer(&slice.scrape));
            render(&runtime, expose, &headers)
        };
        assert!(round(&warm) > 0);
        group.bench_function(BenchmarkId::new("again", name), |bencher| bencher.iter(|| round(&warm)));
        group.bench_function(BenchmarkId::new("for the first time", name), |bencher| {
            bencher.iter_batched(endpoint, |expose| round(&expose), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn endpoint() -> Arc<Expose> {
    let config = checked::Expose {
        listen: ([127, 0, 0, 1], 0).into(),
        path: "/metrics".to_owned(),
        tls: None,
        timestamps: false,
    };
    Expose::new("bench", &config, Ledger::new("bench"), Arc::default(), watch::channel(true).1)
}

/// Bytes of one exposition.
fn render(runtime: &Runtime, expose: &Expose, headers: &HeaderMap) -> usize {
    runtime.block_on(async {
        let response = expose.answer(&Method::GET, "/metrics", headers).await;
        assert!(response.status().is_success());
        let (mut body, mut bytes) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len());
        }
        bytes
    })
}
