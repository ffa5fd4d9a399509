//! How many samples a second one thread reads: a steady target, a body never seen, and one with 1 % of its series changing.
//!
//! Every target has 120 bodies in which all values that move in real programs move, their lengths too, so that neither the
//! branch predictor nor the cache learns them by heart. Bodies are made up here; with `CORPUS` set to a folder of `*.prom`
//! files, real ones are read as well.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use promferry::exposition::{Admission, Admit, Settings, Table};
use promferry::model::Labels;

const BODIES: usize = 120;
/// What a connection hands over at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Files of the corpus that differ most in kind.
const FILES: [&str; 5] =
    ["node-exporter.prom", "etcd.prom", "prometheus-2.42.prom", "victoria-metrics.prom", "netdata.prom"];

struct KeepAll;

impl Admit for KeepAll {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        labels.set("instance", "10.0.16.4:9100");
        labels.set("job", "bench");
        Admission::Keep
    }
}

fn table() -> Table {
    Table::new(Settings::default(), Box::new(KeepAll), Labels::new())
}

fn scrape(table: &mut Table, body: &[u8]) -> usize {
    table.begin(0);
    for piece in body.chunks(PIECE_BYTES) {
        table.feed(piece).expect("no limits");
    }
    table.finish_body().expect("no limits");
    table.accept();
    black_box(table.take()).points.len()
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A body of the usual mixture: counters, gauges, histograms, 1000 samples.
fn made_up() -> String {
    let mut text = String::new();
    for family in 0..20 {
        let _ = write!(
            text,
            "# HELP app_requests_{family}_total Requests that were answered.\n# TYPE app_requests_{family}_total counter\n"
        );
        for n in 0..20 {
            let _ = writeln!(
                text,
                "app_requests_{family}_total{{code=\"{}\",method=\"GET\",path=\"/v2/thing/{n}\"}} {}",
                200 + n % 5,
                n * 7919 + 3
            );
        }
        let _ = write!(text, "# HELP app_queue_{family} Waiting now.\n# TYPE app_queue_{family} gauge\n");
        for n in 0..14 {
            let _ = writeln!(text, "app_queue_{family}{{shard=\"{n}\"}} {}.25", n * 31 + 2);
        }
        let _ = write!(
            text,
            "# HELP app_latency_{family}_seconds Latency.\n# TYPE app_latency_{family}_seconds histogram\n"
        );
        for le in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "+Inf"] {
            let _ = writeln!(text, "app_latency_{family}_seconds_bucket{{le=\"{le}\"}} 417");
        }
        let _ = write!(text, "app_latency_{family}_seconds_sum 17.125\napp_latency_{family}_seconds_count 417\n");
    }
    text
}

/// `BODIES` variants of a body: values above one move.
fn vary(body: &str) -> Vec<Vec<u8>> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    (0..BODIES)
        .map(|_| {
            let mut text = String::with_capacity(body.len() + body.len() / 8);
            for line in body.lines() {
                vary_line(&mut text, line, &mut random);
            }
            text.into_bytes()
        })
        .collect()
}

fn vary_line(text: &mut String, line: &str, random: &mut Random) {
    let start = match line.rfind('}') {
        Some(brace) => brace + 1,
        None => line.find(' ').unwrap_or(0),
    };
    let mut words = line[start..].split_whitespace();
    let value = words.next().and_then(|word| word.parse::<f64>().ok());
    match value.filter(|value| *value > 1.0 && value.is_finite() && !line.starts_with('#')) {
        None => text.push_str(line),
        Some(value) => {
            let factor = 1 + random.next() % 100;
            let is_whole = value == value.trunc() && value < 1e12;
            text.push_str(&line[..start]);
            let _ = if is_whole {
                write!(text, " {}", value as u64 * factor)
            } else {
                write!(text, " {}", value * factor as f64 / 7.0)
            };
            if let Some(time) = words.next() {
                let _ = write!(text, " {time}");
            }
        }
    }
    text.push('\n');
}

/// The same bodies with one sample in a hundred under a name that only one body has.
fn churn(bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let churn_one = |(number, body): (usize, &Vec<u8>)| {
        let text = String::from_utf8(body.clone()).expect("made of text");
        let mut changed = String::with_capacity(text.len() + 64);
        for (at, line) in text.lines().enumerate() {
            let is_sample = !line.is_empty() && !line.starts_with('#');
            if is_sample && at % 100 == number % 100 {
                let _ = write!(changed, "new_{number}_");
            }
            changed.push_str(line);
            changed.push('\n');
        }
        changed.into_bytes()
    };
    bodies.iter().enumerate().map(churn_one).collect()
}

fn bench_target(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, body: &str) {
    let bodies = vary(body);
    let churning = churn(&bodies);
    group.throughput(Throughput::Elements(scrape(&mut table(), &bodies[0]) as u64));
    for (kind, bodies) in [("steady", &bodies), ("churning", &churning)] {
        let mut table = table();
        let mut next = 0;
        group.bench_function(BenchmarkId::new(kind, name), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % BODIES;
                scrape(&mut table, &bodies[next])
            });
        });
    }
    let mut next = 0;
    group.bench_function(BenchmarkId::new("never_seen", name), |bencher| {
        bencher.iter(|| {
            next = (next + 1) % BODIES;
            scrape(&mut table(), &bodies[next])
        });
    });
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    bench_target(&mut group, "made_up", &made_up());
    if let Some(corpus) = std::env::var_os("CORPUS") {
        for file in FILES {
            let body = fs::read_to_string(std::path::Path::new(&corpus).join(file)).expect("a file of the corpus");
            bench_target(&mut group, file.trim_end_matches(".prom"), &body);
        }
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
