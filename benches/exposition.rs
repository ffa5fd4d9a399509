//! How many samples a second one thread reads, and how many bytes a target's table and series take.
//!
//! Every target has 120 bodies in which all values that move in real programs move, their lengths too, so that neither the
//! branch predictor nor the cache learns them by heart. For each body a line a kind: `steady` (120 bodies in turn, one table),
//! `churning` (the same, and one series in a hundred has at each scrape a name that never was before), `never_seen` (a new
//! table for each body), and what is kept of a steady target.
//!
//!     cargo bench --bench exposition                       # a body that is made up here
//!     CORPUS=DIR cargo bench --bench exposition            # and each *.prom and *.om of a folder
//!     BODY=FILE cargo bench --bench exposition             # that one only
//!     KIND=steady …                                        # that kind only, for a profiler
//!     SCRAPES=500 …                                        # so many instead of a time, for counting instructions
//!     WRITE_BODIES=DIR …                                   # also writes the 120 bodies, one behind the other, for other parsers

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use promferry::exposition::{Admission, Admit, Format, Settings, Table};
use promferry::memory::Accounts;
use promferry::model::Labels;

const BODIES: usize = 120;
/// What a connection hands over at a time.
const PIECE_BYTES: usize = 16 << 10;
/// The best of so many rounds counts, each of at least this time.
const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    // `cargo test --benches` runs this too: it measures only when it is asked to.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(file) = std::env::var_os("BODY") {
        measure_file(Path::new(&file));
        return;
    }
    measure("made_up", Format::Text, &made_up());
    let Some(corpus) = std::env::var_os("CORPUS") else { return };
    let entries = fs::read_dir(corpus).expect("CORPUS is a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom" || extension == "om"));
    files.sort();
    for file in files {
        measure_file(&file);
    }
}

fn measure_file(path: &Path) {
    let body = fs::read_to_string(path).expect("a body that is text");
    let is_openmetrics = path.extension().is_some_and(|extension| extension == "om");
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    measure(&name, if is_openmetrics { Format::OpenMetrics } else { Format::Text }, &body);
}

fn measure(name: &str, format: Format, body: &str) {
    let bodies = vary(body);
    if let Some(folder) = std::env::var_os("WRITE_BODIES") {
        fs::write(Path::new(&folder).join(name), bodies.concat()).expect("a folder to write to");
    }
    let say = |kind: &str, rate: f64| println!("{name:32} {kind:11} {:8.2} M samples/s", rate / 1e6);

    let kind = std::env::var("KIND").ok();
    let is_asked = |name: &str| kind.as_deref().is_none_or(|kind| kind == name);
    if is_asked("steady") {
        let mut table = new_table();
        say("steady", rate(|number| scrape(&mut table, format, &bodies[number % BODIES])));
    }
    if is_asked("churning") {
        let mut table = new_table();
        let mut churning: Vec<Churning> = bodies.iter().map(|body| Churning::new(body)).collect();
        let scrape = |number: usize| {
            let body = &mut churning[number % BODIES];
            body.rename(number);
            scrape(&mut table, format, &body.text)
        };
        say("churning", rate(scrape));
    }
    if is_asked("never_seen") {
        say("never_seen", rate(|number| scrape(&mut new_table(), format, &bodies[number % BODIES])));
    }
    if is_asked("memory") {
        say_memory(name, format, &bodies);
    }
}

/// What accounts say of one steady target, beside the values.
fn say_memory(name: &str, format: Format, bodies: &[Vec<u8>]) {
    let before = Accounts::now();
    let mut table = new_table();
    let samples = (0..20).map(|number| scrape(&mut table, format, &bodies[number])).last().unwrap_or(1) as f64;
    let after = Accounts::now();
    let (tables, series) = (after.tables - before.tables, after.series - before.series);
    println!(
        "{name:32} {:11} {:8.1} bytes a series: table {:.1}, labels and metadata {:.1}",
        "memory",
        (tables + series) as f64 / samples,
        tables as f64 / samples,
        series as f64 / samples
    );
}

/// Samples a second of `scrape`, which is given a running number and gives how many samples it read.
fn rate(mut scrape: impl FnMut(usize) -> usize) -> f64 {
    let mut number = 0;
    let mut best: f64 = 0.0;
    if let Some(scrapes) = std::env::var("SCRAPES").ok().and_then(|text| text.parse().ok()) {
        let began = Instant::now();
        let samples: usize = (0..scrapes).map(scrape).sum();
        return samples as f64 / began.elapsed().as_secs_f64();
    }
    for _ in 0..=ROUNDS {
        let (began, mut samples) = (Instant::now(), 0);
        while began.elapsed() < ROUND {
            samples += scrape(number);
            number += 1;
        }
        best = best.max(samples as f64 / began.elapsed().as_secs_f64());
    }
    best
}

/// As a scrape without relabelling does.
struct AddTwo(Labels<'static>);

impl Admit for AddTwo {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        labels.set("instance", "10.0.16.4:9100");
        labels.set("job", "bench");
        Admission::Keep
    }

    fn only_adds(&self) -> Option<&Labels<'static>> {
        Some(&self.0)
    }
}

fn new_table() -> Table {
    let added = [("instance", "10.0.16.4:9100"), ("job", "bench")].into_iter().collect();
    Table::new(Settings::default(), Box::new(AddTwo(added)), Labels::new())
}

/// Gives how many samples the body has: not the stale markers.
fn scrape(table: &mut Table, format: Format, body: &[u8]) -> usize {
    table.begin(0);
    table.read_as(format);
    for piece in body.chunks(PIECE_BYTES) {
        table.feed(piece).expect("no limits");
    }
    let counts = table.finish_body().expect("no limits");
    table.accept();
    black_box(table.take());
    counts.samples_scraped as usize
}

/// A body in which one sample in a hundred can be given a new name.
struct Churning {
    text: Vec<u8>,
    /// Where the digits in those names are.
    places: Vec<usize>,
}

impl Churning {
    fn new(body: &[u8]) -> Self {
        let (mut text, mut places, mut samples) = (Vec::with_capacity(body.len() + 64), Vec::new(), 0);
        for line in body.split_inclusive(|&byte| byte == b'\n') {
            if line.first().is_some_and(|first| first.is_ascii_alphabetic()) {
                if samples % 100 == 50 {
                    text.extend_from_slice(b"new_00000000_");
                    places.push(text.len() - 9);
                }
                samples += 1;
            }
            text.extend_from_slice(line);
        }
        Self { text, places }
    }

    fn rename(&mut self, number: usize) {
        let digits = format!("{number:08}");
        for &at in &self.places {
            self.text[at..at + 8].copy_from_slice(digits.as_bytes());
        }
    }
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
    // What stands behind the value stays: a time, an exemplar.
    let series = line.find(" # {").map_or(line, |exemplar| &line[..exemplar]);
    let start = match series.rfind('}') {
        Some(brace) => brace + 1,
        None => series.find(' ').unwrap_or(0),
    };
    let start = start + line[start..].len() - line[start..].trim_start().len();
    let word = line[start..].split_whitespace().next().unwrap_or_default();
    let value = word.parse::<f64>().ok().filter(|value| *value > 1.0 && value.is_finite() && !line.starts_with('#'));
    let Some(value) = value else {
        text.push_str(line);
        text.push('\n');
        return;
    };
    let factor = 1 + random.next() % 100;
    text.push_str(&line[..start]);
    if word.contains('e') {
        // As Go writes it: a sign and two digits.
        let written = format!("{:e}", value * factor as f64);
        let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
        let _ = write!(text, "{digits}e+{exponent:0>2}");
    } else if value == value.trunc() && value < 1e12 {
        let _ = write!(text, "{}", value as u64 * factor);
    } else {
        let _ = write!(text, "{}", value * factor as f64 / 7.0);
    }
    text.push_str(&line[start + word.len()..]);
    text.push('\n');
}
