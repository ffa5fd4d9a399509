//! The predicting table from outside: what real and made-up bodies read as, whatever came before and in whatever pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use promferry::exposition::{Admission, Admit, Counts, Format, Parsed, Refusal, Settings, Table, openmetrics};
use promferry::model::{Labels, METRIC_NAME, Value};

use super::support::protobuf::{COUNTER, Message, SUMMARY};

/// Keeps every line, but what a test's rule says.
struct Rule(fn(&mut Labels<'_>) -> Admission);

impl Admit for Rule {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        (self.0)(labels)
    }
}

/// Keeps every line, with these labels added, and says so.
struct Adding(Labels<'static>);

impl Admit for Adding {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        for (name, value) in self.0.iter() {
            if let Some(theirs) = labels.remove(name) {
                labels.set(format!("exported_{name}"), theirs);
            }
            labels.set(name, value);
        }
        Admission::Keep
    }

    fn only_adds(&self) -> Option<&Labels<'static>> {
        Some(&self.0)
    }
}

/// The same, and says nothing.
struct Silent(Adding);

impl Admit for Silent {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        self.0.admit(labels)
    }
}

fn table() -> Table {
    Table::new(Settings::default(), Box::new(Adding(Labels::new())), own_labels())
}

fn own_labels() -> Labels<'static> {
    [("instance", "i"), ("job", "j")].into_iter().collect()
}

fn table_with(settings: Settings, rule: fn(&mut Labels<'_>) -> Admission) -> Table {
    Table::new(settings, Box::new(Rule(rule)), own_labels())
}

/// One good scrape, in pieces of `piece` bytes.
fn scrape_in(table: &mut Table, body: &[u8], piece: usize) -> (Counts, Parsed) {
    table.begin(AT_MS);
    for bytes in body.chunks(piece.max(1)) {
        table.feed(bytes).expect("within limits");
    }
    let counts = table.finish_body().expect("within limits");
    table.accept();
    (counts, table.take())
}

fn scrape(table: &mut Table, body: &str) -> (Counts, Parsed) {
    scrape_in(table, body.as_bytes(), usize::MAX)
}

const AT_MS: i64 = 1_700_000_000_000;

/// A sample a line: type, family, help, series, value, time.
fn lines(parsed: &Parsed) -> Vec<String> {
    let line = |point: promferry::model::Point<'_>| {
        let series = parsed.series.get(point.series);
        let family = series.family();
        let labels: Labels<'_> = series.labels().chain([(METRIC_NAME, series.name())]).collect();
        let value = match point.value {
            value if value.is_stale() => "stale".to_owned(),
            Value::Float(value) => format!("{value:?}"),
            Value::Histogram(_) => "histogram".to_owned(),
        };
        let mut line = format!("{} {} {labels} {value}", family.kind.as_openmetrics(), family.name);
        if let Some(ms) = point.own_ms {
            write!(line, " @{ms}").expect("strings take all");
        }
        if !family.help.is_empty() {
            write!(line, " # {}", family.help.escape_debug()).expect("strings take all");
        }
        line
    };
    parsed.points.iter().map(line).collect()
}

/// Series and value only.
fn values(parsed: &Parsed) -> Vec<String> {
    let line = |point: promferry::model::Point<'_>| {
        let series = parsed.series.get(point.series);
        let labels: Vec<String> = series.labels().map(|(name, value)| format!("{name}={value}")).collect();
        let value = match point.value {
            value if value.is_stale() => "stale".to_owned(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(_) => "histogram".to_owned(),
        };
        format!("{}{{{}}} {value}", series.name(), labels.join(","))
    };
    parsed.points.iter().map(line).collect()
}

// ---- real programs -------------------------------------------------------------------------------------------------

/// A sample of `expected/FILE.json`, comparable: values by bits with one NaN, `le` and `quantile` as numbers.
type Expected = (String, BTreeMap<String, String>, String, Option<i64>);

fn comparable(name: &str, labels: impl Iterator<Item = (String, String)>, value: f64, ms: Option<i64>) -> Expected {
    let as_number = |name: &str, value: String| match (name, value.parse::<f64>()) {
        ("le" | "quantile", Ok(number)) => format!("{number:?}"),
        _ => value,
    };
    let labels = labels
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let value = as_number(&name, value);
            (name, value)
        })
        .collect();
    let value = if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") };
    (name.to_owned(), labels, value, ms)
}

fn expected_of(corpus: &Path, file: &str) -> serde_json::Value {
    let plain = corpus.join("expected").join(format!("{file}.json"));
    let text = match fs::read(&plain) {
        Ok(text) => text,
        Err(_) => {
            let packed = fs::read(plain.with_extension("json.gz")).expect("an expected file for each body");
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect("a gzip file");
            text
        }
    };
    serde_json::from_slice(&text).expect("JSON")
}

fn expected_samples(expected: &serde_json::Value) -> Vec<Expected> {
    let sample = |sample: &serde_json::Value| {
        let labels = sample[1].as_object().expect("labels").iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("a string").to_owned()));
        let value = sample[2].as_str().expect("a value as text").parse().expect("a number");
        let ms = sample[3]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok())
            .or(sample[3].as_f64())
            .map(|seconds| (seconds * 1000.0).round() as i64);
        comparable(sample[0].as_str().expect("a name"), labels, value, ms)
    };
    let mut samples: Vec<Expected> = expected["samples"].as_array().expect("samples").iter().map(sample).collect();
    samples.sort();
    samples
}

fn read_samples(parsed: &Parsed) -> Vec<Expected> {
    let sample = |point: promferry::model::Point<'_>| {
        let series = parsed.series.get(point.series);
        let labels = series.labels().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let Value::Float(value) = point.value else { panic!("text has no native histograms") };
        comparable(series.name(), labels, value, point.own_ms)
    };
    let mut samples: Vec<Expected> = parsed.points.iter().map(sample).collect();
    samples.sort();
    samples
}

fn corpus_bodies() -> Option<Vec<PathBuf>> {
    let corpus = PathBuf::from(std::env::var_os("CORPUS")?);
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpus).expect("CORPUS is a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    files.sort();
    Some(files)
}

#[test]
fn reads_real_bodies_as_the_reference_parser_does() {
    let Some(files) = corpus_bodies() else {
        println!("skipped: CORPUS is not set");
        return;
    };
    assert!(!files.is_empty(), "CORPUS holds no *.prom");
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        let expected = expected_of(path.parent().expect("a folder"), name);
        let samples = expected_samples(&expected);
        let body = fs::read(&path).expect("a body");
        for piece in [1, 7, 1021, usize::MAX] {
            let mut table = table();
            let (counts, first) = scrape_in(&mut table, &body, piece);
            assert_eq!(counts.first_bad_lines, [], "{name}");
            assert_eq!(counts.samples_scraped as usize, samples.len(), "{name}");
            let read = read_samples(&first);
            let differing = read.iter().zip(&samples).find(|(read, expected)| read != expected);
            assert_eq!(differing, None, "{name}");
            let (again, second) = scrape_in(&mut table, &body, piece.saturating_mul(3));
            assert_eq!(again, Counts { series_added: 0, ..counts }, "{name}");
            assert_eq!(lines(&second), lines(&first), "{name}");
            assert!(Arc::ptr_eq(&first.series, &second.series), "{name}: a steady target shares its series");
            check_families(&expected, &first, name);
        }
    }
}

/// Each series is of the family that the reference parser has of that name, where it has one.
fn check_families(expected: &serde_json::Value, parsed: &Parsed, file: &str) {
    let families: BTreeMap<&str, (&str, &str)> = expected["families"]
        .as_array()
        .expect("families")
        .iter()
        .map(|family| {
            let word = |at: usize| family[at].as_str().expect("a string");
            (word(0), (word(1), word(2)))
        })
        .collect();
    for point in parsed.points.iter() {
        let family = parsed.series.get(point.series).family();
        let (kind, help) = families.get(family.name).unwrap_or_else(|| panic!("{file}: no family {}", family.name));
        assert_eq!(family.kind.as_openmetrics(), *kind, "{file}: {}", family.name);
        assert_eq!(family.help.trim_end(), help.trim_end(), "{file}: {}", family.name);
    }
}

// ---- peculiarities, by name ----------------------------------------------------------------------------------------

#[test]
fn golden_files_read_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("tests/golden") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "prom") {
            continue;
        }
        let body = fs::read(&path).expect("a body");
        let expected = fs::read_to_string(path.with_extension("expected")).expect("an expected file");
        let mut table = table();
        for piece in [usize::MAX, 1, 5] {
            let (counts, parsed) = scrape_in(&mut table, &body, piece);
            let mut read = lines(&parsed).join("\n") + "\n";
            for bad in &counts.first_bad_lines {
                writeln!(read, "! {bad}").expect("strings take all");
            }
            if counts.duplicates > 0 {
                writeln!(read, "! {} duplicates", counts.duplicates).expect("strings take all");
            }
            assert_eq!(read, expected, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 10, "{count} golden files");
}

// ---- prediction ----------------------------------------------------------------------------------------------------

/// Marsaglia's xorshift64: the same numbers at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

const VALUES: [&str; 12] =
    ["0", "1", "-0.0", "NaN", "+Inf", "1.5e-7", "12345678901234567890", "1e5x", "", "7 1700000000001", "8 -5", "9 "];

fn some_line(random: &mut Random) -> String {
    let name = ["a", "b_bucket", "b_sum", "c", "a_total"][random.below(5)];
    let labels =
        ["", "{}", "{x=\"1\"}", "{x=\"1\",}", "{ y=\"2\", x=\"1\"}", "{x=\"1\",y=\"2\"}", "{le=\"1\"}", "{le=\"1.0\"}"]
            [random.below(8)];
    let family = ["a", "b", "c"][random.below(3)];
    match random.below(8) {
        0 => format!("# TYPE {family} {}", ["counter", "gauge", "histogram", "nonsense"][random.below(4)]),
        1 => format!("# HELP {family} text {}", random.below(3)),
        2 => ["", "# comment", "broken{", "{\"quoted.name\"} 1", "a{x=\"}\"} 3\r"][random.below(5)].to_owned(),
        _ => format!("{name}{labels} {}", VALUES[random.below(VALUES.len())]),
    }
}

fn mutate(body: &mut Vec<String>, random: &mut Random) {
    for _ in 0..random.below(4) {
        let (at, other) = (random.below(body.len()), random.below(body.len()));
        match random.below(5) {
            0 => body.swap(at, other),
            1 if body.len() > 5 => drop(body.remove(at)),
            2 => body.insert(at, body[other].clone()),
            3 => body[at] = some_line(random),
            _ => {
                let value = VALUES[random.below(VALUES.len())];
                let start = body[at].rfind(' ').map_or(body[at].len(), |blank| blank + 1);
                body[at].replace_range(start.., value);
            }
        }
    }
}

#[test]
fn a_body_reads_the_same_whatever_came_before_it() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..60 {
        let mut body: Vec<String> = (0..40).map(|_| some_line(&mut random)).collect();
        let mut table = table();
        let mut live = Vec::new();
        for _ in 0..40 {
            // Now and then it stays the same for a while, until the table counts the target as steady.
            if random.below(3) > 0 {
                mutate(&mut body, &mut random);
            }
            let text = body.join("\n");
            for _ in 0..[0, 0, 0, 1, 9, 12][random.below(6)] {
                let (_, parsed) = scrape_in(&mut table, text.as_bytes(), 1 + random.below(200));
                live = check_staleness(&live, &parsed, &text);
            }
            if random.below(8) == 0 {
                // One that comes to no end, or fails.
                table.begin(AT_MS);
                table.feed(&text.as_bytes()[..random.below(text.len() + 1)]).expect("within limits");
                if random.below(2) == 0 {
                    table.fail();
                    let ended = table.take();
                    assert!(ended.points.iter().all(|point| point.value.is_stale()), "{text}");
                    live = Vec::new();
                }
            }
            let (counts, parsed) = scrape_in(&mut table, text.as_bytes(), 1 + random.below(200));
            let (fresh_counts, fresh) = scrape(&mut self::table(), &text);
            let read: Vec<String> = lines(&parsed).into_iter().filter(|line| !line.contains(" stale")).collect();
            assert_eq!(read, lines(&fresh), "{text}");
            assert_eq!(Counts { series_added: 0, ..counts }, Counts { series_added: 0, ..fresh_counts }, "{text}");
            live = check_staleness(&live, &parsed, &text);
        }
    }
}

#[test]
fn an_openmetrics_body_reads_as_by_the_grammar_whatever_came_before_it() {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let tails = ["", " 1.5", " 1.5 # {a=\"b\"} 2", " # {} 3 4e3", " # {x=\"}\"} 5", " #", " # {} 1 2 3"];
    for _ in 0..40 {
        let mut body: Vec<String> = (0..30).map(|_| some_line(&mut random)).collect();
        let mut table = table();
        for _ in 0..40 {
            if random.below(3) > 0 {
                mutate(&mut body, &mut random);
                let at = random.below(body.len());
                body[at] = match random.below(3) {
                    0 => format!("# UNIT {} s", ["a", "b", "c"][random.below(3)]),
                    _ => format!("a{{x=\"{}\"}} {}{}", random.below(3), random.below(100), tails[random.below(7)]),
                };
            }
            let text = format!("{}\n# EOF\n", body.join("\n"));
            table.begin(AT_MS);
            table.read_as(Format::OpenMetrics);
            let piece = 1 + random.below(200);
            text.as_bytes().chunks(piece).for_each(|bytes| table.feed(bytes).expect("within limits"));
            let counts = table.finish_body().expect("complete");
            table.accept();
            let parsed = table.take();
            let read: Vec<String> = lines(&parsed).into_iter().filter(|line| !line.contains(" stale")).collect();

            let (mut samples, mut bad) = (Vec::new(), 0);
            openmetrics::parse_all(text.as_bytes(), 1 << 20, |line| match line {
                Ok((sample, _)) => samples.push((sample.labels.to_string(), sample.own_ms)),
                Err(_) => bad += 1,
            })
            .expect("a text in memory");
            assert_eq!((counts.samples_scraped as usize, counts.bad_lines), (samples.len(), bad), "{text}");
            if counts.duplicates == 0 {
                let points = parsed.points.iter().filter(|point| !point.value.is_stale());
                let sample = |point: promferry::model::Point<'_>| {
                    let series = parsed.series.get(point.series);
                    let labels: Labels<'_> = series.labels().chain([(METRIC_NAME, series.name())]).collect();
                    // Not the family: a series that comes twice, under other metadata, has those of the first.
                    (labels.to_string(), point.own_ms)
                };
                let mut read: Vec<_> = points.map(sample).collect();
                read.sort();
                samples.sort();
                assert_eq!(read, samples, "{text}");
            }
            let mut fresh = self::table();
            fresh.begin(AT_MS);
            fresh.read_as(Format::OpenMetrics);
            fresh.feed(text.as_bytes()).expect("within limits");
            fresh.finish_body().expect("complete");
            fresh.accept();
            let fresh = fresh.take();
            assert_eq!(read, lines(&fresh), "{text}");
            assert_eq!(exemplars(&parsed), exemplars(&fresh), "{text}");
        }
    }
}

fn exemplars(parsed: &Parsed) -> Vec<String> {
    let line = |exemplar: &promferry::model::Exemplar| {
        let series = parsed.series.get(exemplar.series);
        format!("{} {:?} {} {:?}", series.name(), exemplar.labels, exemplar.value, exemplar.at_ms)
    };
    parsed.exemplars.iter().map(line).collect()
}

/// Markers are for exactly the series that are gone; a series whose line is bad may stay unmarked. Gives those live now.
fn check_staleness(live: &[String], parsed: &Parsed, text: &str) -> Vec<String> {
    let is_timed: std::collections::HashSet<u32> =
        parsed.points.iter().filter(|point| point.own_ms.is_some()).map(|point| point.series).collect();
    let mut now = Vec::new();
    let mut marked = Vec::new();
    for (point, line) in parsed.points.iter().zip(values(parsed)) {
        let series = line.rsplit_once(' ').expect("a value").0.to_owned();
        if point.value.is_stale() {
            marked.push(series);
        } else {
            now.push((series, is_timed.contains(&point.series)));
        }
    }
    for series in &marked {
        assert!(now.iter().all(|(seen, _)| seen != series), "{series} is there and stale: {text}");
    }
    let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
    for series in live {
        let is_there = now.iter().any(|(seen, _)| seen == series) || marked.contains(series);
        assert!(is_there || text.contains(&name(series)), "{series} vanished without a marker: {text}");
    }
    now.into_iter().filter(|(_, is_timed)| !is_timed).map(|(series, _)| series).collect()
}

/// Counts the lines that it is shown.
#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

impl Admit for Counting {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        self.0.fetch_add(1, Ordering::Relaxed);
        Admission::Keep
    }
}

#[test]
fn only_new_lines_are_shown_to_admission() {
    let shown = Arc::new(AtomicUsize::new(0));
    let mut table = Table::new(Settings::default(), Box::new(Counting(Arc::clone(&shown))), Labels::new());
    let mut scrape_shows = |text: &str| {
        let before = shown.load(Ordering::Relaxed);
        scrape(&mut table, text);
        shown.load(Ordering::Relaxed) - before
    };
    let family =
        |name: &str| format!("# HELP {name} Help.\n# TYPE {name} gauge\n{name}{{x=\"1\"}} 1\n{name}{{x=\"2\"}} 2\n");
    let [a, b, c] = [family("a"), family("b"), family("c")];
    assert_eq!(scrape_shows(&format!("{a}{b}")), 4);
    assert_eq!(scrape_shows(&format!("{a}{b}")), 0);
    assert_eq!(scrape_shows(&format!("{b}{a}").replace(" 1\n", " 17.5\n")), 0, "the order does not matter");
    assert_eq!(scrape_shows(&format!("{a}{c}{b}")), 2);
    assert_eq!(scrape_shows(&format!("{a}{c}{b}").replace('\n', "\r\n")), 0, "nor do line breaks");
    assert_eq!(scrape_shows(&b), 0);
    assert_eq!(scrape_shows(&format!("{a}{b}{c}")), 0, "what was away for a while is still known");
    assert_eq!(scrape_shows(&format!("{a}{b}").replace("Help.", "Other.")), 4, "comments are a part of the key");
}

#[test]
fn a_new_line_reads_the_same_beside_a_new_line_that_is_alike() {
    let mut bodies: Vec<Vec<u8>> =
        corpus_bodies().into_iter().flatten().filter_map(|file| fs::read(file).ok()).collect();
    let choice = [
        "# TYPE h histogram",
        "# TYPE s summary",
        "# TYPE g gauge",
        "# TYPE c counter",
        "h_bucket{le=\"1\"} 1",
        "h_bucket{le=\"1.0\"} 1",
        "h_bucket{le=\"+Inf\"} 1",
        "h_bucket{a=\"1\",le=\"5\"} 1",
        "h_bucket{le=\"x\"} 1",
        "h_bucket{le=\"é\"} 1",
        "h_sum 1",
        "h_count{a=\"1\"} 2",
        "s{quantile=\"1\"} 3",
        "s{quantile=\"1e-3\"} 3",
        "g{le=\"1\"} 4",
        "g{le=\"2\",quantile=\"1\"} 4",
        "g{z=\"1\",a=\"2\"} 5",
        "g{z=\"2\",a=\"2\"} 5",
        "g{z=\"2\",a=\"\"} 5",
        "g{z=\"\\\\\",a=\"3\"} 5",
        "g{job=\"j\",z=\"1\"} 6",
        "g{job=\"bench\",z=\"2\"} 6",
        "g{exported_job=\"k\"} 6",
        "g 1 7",
        "g2 1",
        "c_total 7",
        "c{a=\"#\"} 7",
        "c{a=\"} \"} 7",
        "c{a=\"}\",b=\"=\"} x",
        "c{a=\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",b=\"1\"} 7",
        "c{a=\"b\"}  7",
        "c{ a=\"b\"} 7",
        "{\"c\",a=\"b\"} 7",
    ];
    let mut random = Random(17);
    bodies.extend((0..2000).map(|_| {
        let lines = (0..12).map(|_| choice[random.below(choice.len())]);
        let mut body = lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes();
        if random.below(20) == 0 {
            let at = random.below(body.len());
            body[at] = 0xff;
        }
        body
    }));
    let adding = || Adding([("instance", "i:1"), ("job", "bench")].into_iter().collect());
    for body in bodies {
        let read = |admit: Box<dyn Admit + Send>| {
            let mut table = Table::new(Settings::default(), admit, Labels::new());
            let (counts, parsed) = scrape_in(&mut table, &body, 4096);
            let hashes: Vec<_> = parsed
                .points
                .iter()
                .map(|point| parsed.series.get(point.series))
                .map(|series| (series.hash(), series.group()))
                .collect();
            (counts, self::lines(&parsed), hashes)
        };
        assert_eq!(read(Box::new(adding())), read(Box::new(Silent(adding()))), "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn alternating_bodies_stay_right_and_small() {
    let body = |family: usize| -> String {
        (0..500).map(|n| format!("# TYPE f{n} gauge\nf{n}{{body=\"{family}\"}} {n}\n")).collect()
    };
    let (even, odd) = (body(0), body(1));
    let mut table = table();
    let mut sizes = Vec::new();
    for round in 0..60 {
        let text = if round % 2 == 0 { &even } else { &odd };
        let (counts, parsed) = scrape(&mut table, text);
        assert_eq!(counts.samples_scraped, 500);
        let stale = parsed.points.iter().filter(|point| point.value.is_stale()).count();
        assert_eq!(stale, if round == 0 { 0 } else { 500 });
        sizes.push(parsed.series.len());
    }
    assert_eq!(sizes.iter().max(), Some(&1000));
}

#[test]
fn a_steady_target_shares_everything_and_still_notices_each_change() {
    let mut table = table();
    let body = |last: &str| format!("# HELP f Help.\n# TYPE f gauge\nf{{n=\"1\"}} 1\nf{{n=\"2\"}} 2\n{last}g 3\n");
    let mut scrape = |text: &str| {
        table.begin(AT_MS);
        table.feed(text.as_bytes()).expect("within limits");
        let counts = table.finish_body().expect("within limits");
        table.accept();
        table.report("up", "whether it is up", 1.0);
        (counts, table.take())
    };
    let mut before = scrape(&body("")).1;
    for round in 0..30 {
        let (counts, parsed) = scrape(&body(""));
        assert!(Arc::ptr_eq(before.points.series(), parsed.points.series()), "round {round}");
        assert!(Arc::ptr_eq(&before.series, &parsed.series), "round {round}");
        assert_eq!((counts.series_added, parsed.points.len()), (0, 4));
        before = parsed;
    }
    // What was steady for a while, and is not any more.
    let new = values(&scrape(&body("h 4\n")).1);
    assert_eq!(new, ["f{n=1} 1", "f{n=2} 2", "h{} 4", "g{} 3", "up{instance=i,job=j} 1"]);
    let gone = values(&scrape(&body("")).1);
    assert_eq!(gone, ["f{n=1} 1", "f{n=2} 2", "g{} 3", "h{} stale", "up{instance=i,job=j} 1"]);
    for text in [body(""), body("").replace("g 3\n", ""), body("").replace("f{n=\"1\"} 1\n", "")] {
        for _ in 0..20 {
            scrape(&text);
        }
    }
    let (counts, parsed) = scrape(&body(""));
    assert_eq!(values(&parsed), ["f{n=1} 1", "f{n=2} 2", "g{} 3", "up{instance=i,job=j} 1"]);
    assert_eq!((counts.series_added, parsed.series.len()), (1, 5), "no series is made twice");
}

#[test]
fn two_bodies_that_stay_for_a_while_each_are_told_apart() {
    let body = |family: usize| -> String { (0..50).map(|n| format!("f{n}{{body=\"{family}\"}} {n}\n")).collect() };
    let mut table = table();
    for round in 0..200 {
        let family = round / 10 % 2;
        let (counts, parsed) = scrape(&mut table, &body(family));
        let expected: Vec<String> = (0..50).map(|n| format!("f{n}{{body={family}}} {n}")).collect();
        let stale = parsed.points.iter().filter(|point| point.value.is_stale()).count();
        assert_eq!(values(&parsed)[..50], expected, "round {round}");
        assert_eq!(stale, if round > 0 && round % 10 == 0 { 50 } else { 0 }, "round {round}");
        assert_eq!((counts.samples_scraped, parsed.series.len()), (50, if round < 10 { 50 } else { 100 }));
    }
}

#[test]
fn families_may_come_in_another_order_each_time() {
    let family = |n: usize| {
        format!(
            "# HELP f{n} Help.\n# TYPE f{n} counter\nf{n}{{a=\"1\"}} {n}\nf{n}{{a=\"2\"}} {n}\nf{n}{{a=\"3\"}} {n}\n"
        )
    };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut order: Vec<usize> = (0..60).collect();
    let shown = Arc::new(AtomicUsize::new(0));
    let mut table = Table::new(Settings::default(), Box::new(Counting(Arc::clone(&shown))), Labels::new());
    for round in 0..60 {
        for at in 0..order.len() {
            order.swap(at, random.below(60));
        }
        let text: String = order.iter().map(|&n| family(n)).collect();
        let (counts, parsed) = scrape(&mut table, &text);
        let expected: Vec<String> =
            order.iter().flat_map(|n| (1..=3).map(move |a| format!("f{n}{{a={a}}} {n}"))).collect();
        assert_eq!(values(&parsed), expected);
        assert_eq!(counts.series_added, if round == 0 { 180 } else { 0 });
        assert_eq!((parsed.series.len(), shown.load(Ordering::Relaxed)), (180, 180));
    }
}

#[test]
fn the_order_of_labels_does_not_matter() {
    let mut table = table();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..100 {
        let text: String = (0..20)
            .map(|n| {
                let mut labels = [format!("a=\"{n}\""), "b=\"x\"".to_owned(), "c=\"y\"".to_owned()];
                labels.swap(random.below(3), random.below(3));
                format!("f{{{}}} {n}\n", labels.join(","))
            })
            .collect();
        let (counts, parsed) = scrape(&mut table, &text);
        let expected: Vec<String> = (0..20).map(|n| format!("f{{a={n},b=x,c=y}} {n}")).collect();
        assert_eq!(values(&parsed), expected);
        assert_eq!((counts.series_added, parsed.series.len()), (if round == 0 { 20 } else { 0 }, 20));
    }
}

#[test]
fn a_target_whose_series_come_and_go_for_long_stays_small() {
    let mut table = table();
    let mut bytes_max = 0;
    for round in 0..500 {
        // Three hundred that stay, ten that are new and ten that are gone each time.
        let stays = (0..300).map(|n| format!("f{{id=\"{n}\",path=\"/some/where\"}} {n}\n"));
        let comes = (0..10).map(|n| format!("f{{id=\"new-{round}-{n}\",path=\"/some/where\"}} {n}\n"));
        let text: String = stays.chain(comes).collect();
        let (counts, parsed) = scrape(&mut table, &text);
        let stale = parsed.points.iter().filter(|point| point.value.is_stale()).count();
        assert_eq!((parsed.points.len() - stale, stale), (310, if round == 0 { 0 } else { 10 }), "round {round}");
        assert_eq!(counts.series_added, if round == 0 { 310 } else { 10 }, "round {round}");
        assert!(parsed.series.len() < 2 * 310 + 1100 && parsed.series.chunks().len() < 16, "round {round}");
        bytes_max = bytes_max.max(parsed.series.bytes());
    }
    assert!(bytes_max < 150_000, "{bytes_max} bytes for never more than 1720 series");
}

#[test]
fn a_body_may_come_in_any_two_pieces() {
    let text = "# HELP f Help.\n# TYPE f gauge\nf{n=\"1\"} 1.25\nf{n=\"2\"} 2 1700000000001\n\n# any\n# TYPE g counter\ng_total 3\n";
    let mut table = table();
    let expected = lines(&scrape(&mut table, text).1);
    assert_eq!(expected.len(), 3);
    for at in 0..text.len() {
        table.begin(AT_MS);
        table.feed(&text.as_bytes()[..at]).expect("within limits");
        table.feed(&text.as_bytes()[at..]).expect("within limits");
        let counts = table.finish_body().expect("within limits");
        table.accept();
        assert_eq!(lines(&table.take()), expected, "in two at {at}");
        assert_eq!((counts.series_added, counts.bad_lines), (0, 0));
    }
}

#[test]
fn lines_of_one_format_do_not_answer_for_another() {
    let mut table = table();
    let mut scrape = |format: Format, text: &str| {
        table.begin(AT_MS);
        table.read_as(format);
        table.feed(text.as_bytes()).expect("within limits");
        table.finish_body().expect("complete");
        table.accept();
        table.take()
    };
    let body = "# HELP a says \\\"it\\\"\n# TYPE a gauge\n# UNIT a s\na 1 1700000000\nb 2\n# EOF\n";
    for round in 0..40 {
        // Each for as long as it takes to be steady, and in turn.
        let is_text = if round < 24 { round / 12 % 2 == 0 } else { round % 2 == 0 };
        let read = lines(&scrape(if is_text { Format::Text } else { Format::OpenMetrics }, body));
        let expected = match is_text {
            true => r#"gauge a {__name__="a"} 1.0 @1700000000 # says \\\"it\\\""#,
            false => r#"gauge a {__name__="a"} 1.0 @1700000000000 # says \"it\""#,
        };
        assert_eq!(read, [expected, r#"unknown b {__name__="b"} 2.0"#], "round {round}");
    }
}

#[test]
fn an_openmetrics_body_ends_with_its_mark() {
    let mut table = table();
    let mut scrape = |text: &str| {
        table.begin(AT_MS);
        table.read_as(Format::OpenMetrics);
        table.feed(text.as_bytes()).expect("within limits");
        let result = table.finish_body();
        if result.is_ok() {
            table.accept()
        } else {
            table.fail()
        }
        (result, values(&table.take()))
    };
    assert_eq!(scrape("a 1\n"), (Err(Refusal::NoEof), vec![]));
    let (counts, read) = scrape("a 1\n# EOF");
    assert_eq!((counts.map(|counts| counts.bad_lines), read), (Ok(0), vec!["a{} 1".to_owned()]));
    for _ in 0..2 {
        let (counts, read) = scrape("a 1\n# EOF\n\na 2\nb 3\n");
        assert_eq!((counts.map(|counts| counts.bad_lines), read), (Ok(2), vec!["a{} 1".to_owned()]));
    }
    assert_eq!(scrape("a 1\n# EO"), (Err(Refusal::NoEof), vec!["a{} stale".to_owned()]));
}

#[test]
fn exemplars_come_with_lines_that_are_predicted() {
    let shown = Arc::new(AtomicUsize::new(0));
    let mut table = Table::new(Settings::default(), Box::new(Counting(Arc::clone(&shown))), Labels::new());
    for round in 0..20 {
        let text = format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {round} # {{trace_id=\"{round}\"}} 0.5 {round}.5\nh_bucket{{le=\"+Inf\"}} {round}\n\
             # TYPE c counter\nc_total {round} 12.5 # {{}} 1\n# EOF\n"
        );
        table.begin(AT_MS);
        table.read_as(Format::OpenMetrics);
        table.feed(text.as_bytes()).expect("within limits");
        table.finish_body().expect("complete");
        table.accept();
        let parsed = table.take();
        assert_eq!(parsed.points.len(), 3);
        assert_eq!(parsed.points.get(2).own_ms, Some(12_500));
        let expected = [
            format!(r#"h_bucket {{trace_id="{round}"}} 0.5 {:?}"#, Some(round * 1000 + 500)),
            "c_total {} 1 None".to_owned(),
        ];
        assert_eq!(exemplars(&parsed), expected);
    }
    assert_eq!(shown.load(Ordering::Relaxed), 3, "each line is parsed once");
}

#[test]
fn exemplars_of_samples_that_are_left_out_are_left_out() {
    let mut table = table_with(Settings::default(), |labels| match labels.get(METRIC_NAME) {
        Some("secret") => Admission::Drop,
        _ => Admission::Keep,
    });
    for _ in 0..2 {
        table.begin(AT_MS);
        table.read_as(Format::OpenMetrics);
        table.feed(b"secret 1 # {a=\"1\"} 1\nb 1 # {a=\"2\"} 1\nb 2 # {a=\"3\"} 1\n# EOF\n").expect("within limits");
        table.finish_body().expect("complete");
        table.accept();
        assert_eq!(exemplars(&table.take()), [r#"b {a="2"} 1 None"#]);
    }
}

#[test]
fn a_target_that_is_all_new_each_time_does_not_grow() {
    let mut table = table();
    for round in 0..100 {
        let text: String = (0..300).map(|n| format!("# HELP f round {round}\nf{{id=\"{round}-{n}\"}} {n}\n")).collect();
        let (_, parsed) = scrape(&mut table, &text);
        assert_eq!(parsed.points.len(), if round == 0 { 300 } else { 600 });
        assert!(parsed.series.len() < 3000, "{} series in round {round}", parsed.series.len());
        assert!(parsed.series.chunks().len() <= 13, "{} chunks", parsed.series.chunks().len());
    }
}

#[test]
fn few_new_series_come_in_few_chunks_and_keep_the_numbers() {
    let mut table = table();
    let mut text = String::new();
    let mut chunks_max = 0;
    for n in 0..300 {
        writeln!(text, "f{{n=\"{n}\"}} {n}").expect("strings take all");
        let (counts, parsed) = scrape(&mut table, &text);
        assert_eq!(counts.series_added, 1);
        assert_eq!(values(&parsed), (0..=n).map(|n| format!("f{{n={n}}} {n}")).collect::<Vec<_>>());
        chunks_max = chunks_max.max(parsed.series.chunks().len());
    }
    assert!(chunks_max <= 13, "{chunks_max} chunks");
}

// ---- staleness, repeats, limits ------------------------------------------------------------------------------------

#[test]
fn a_series_that_is_gone_gets_one_marker() {
    let mut table = table();
    scrape(&mut table, "a 1\nb 2\n");
    assert_eq!(values(&scrape(&mut table, "b 3\n").1), ["b{} 3", "a{} stale"]);
    assert_eq!(values(&scrape(&mut table, "b 3\n").1), ["b{} 3"]);
    let (counts, parsed) = scrape(&mut table, "a 4\nb 5\n");
    assert_eq!(values(&parsed), ["a{} 4", "b{} 5"]);
    assert_eq!(counts.series_added, 1);
}

#[test]
fn a_failed_scrape_marks_what_was_live_and_nothing_else() {
    let mut table = table();
    scrape(&mut table, "a 1\nb 2\n");
    table.begin(AT_MS);
    table.feed(b"b 2\nnew 1\na").expect("within limits");
    assert_eq!(table.counts().samples_scraped, 2, "what was read before it failed");
    table.fail();
    table.report("up", "whether it is up", 0.0);
    assert_eq!(values(&table.take()), ["a{} stale", "b{} stale", "up{instance=i,job=j} 0"]);
    table.begin(AT_MS);
    table.fail();
    assert!(table.take().points.is_empty(), "a marker is written once");
    let (counts, parsed) = scrape(&mut table, "a 1\nb 2\n");
    assert_eq!(values(&parsed), ["a{} 1", "b{} 2"]);
    assert_eq!(counts.series_added, 0, "a failure does not make known series new");
}

#[test]
fn a_scrape_that_came_to_no_end_is_as_if_it_had_not_been() {
    let mut table = table();
    scrape(&mut table, "a 1\nb 2\n");
    table.begin(AT_MS);
    table.feed(b"a 1\nc 2\n").expect("within limits");
    assert_eq!(values(&scrape(&mut table, "b 2\n").1), ["b{} 2", "a{} stale"]);
    table.begin(AT_MS);
    table.feed(b"b 1\n").expect("within limits");
    assert_eq!(values(&table.end()), ["b{} stale"]);
}

#[test]
fn a_bad_line_of_a_known_series_does_not_end_it() {
    let mut table = table();
    scrape(&mut table, "a 1\nb 2\n");
    let (counts, parsed) = scrape(&mut table, "a what\nb 2\n");
    assert_eq!(values(&parsed), ["b{} 2"]);
    assert_eq!(counts.first_bad_lines[0].to_string(), "line 1, column 3: \"what\" stands where a number was expected");
    assert_eq!(values(&scrape(&mut table, "b 2\n").1), ["b{} 2", "a{} stale"], "it is still live");
    let (_, parsed) = scrape(&mut table, "a x\na 3\nb 2\n");
    assert_eq!(values(&parsed), ["a{} 3", "b{} 2"]);
}

#[test]
fn own_timestamps_keep_series_from_markers_unless_tracked() {
    let body = "a 1 1700000000000\nb 1\n";
    let mut table = table();
    scrape(&mut table, body);
    assert_eq!(values(&scrape(&mut table, "b 1\n").1), ["b{} 1"]);
    let tracked = Settings { track_timestamps_staleness: true, ..Settings::default() };
    let mut table = table_with(tracked, |_| Admission::Keep);
    scrape(&mut table, body);
    assert_eq!(values(&scrape(&mut table, "b 1\n").1), ["b{} 1", "a{} stale"]);
    let ignored = Settings { honor_timestamps: false, ..Settings::default() };
    let mut table = table_with(ignored, |_| Admission::Keep);
    assert_eq!(scrape(&mut table, body).1.points.get(0).own_ms, None);
    assert_eq!(values(&scrape(&mut table, "b 1\n").1), ["b{} 1", "a{} stale"]);
}

#[test]
fn the_first_sample_of_a_series_and_time_wins() {
    let mut table = table();
    let text = "a{x=\"1\",y=\"2\"} 1\nb 5\na{y=\"2\",x=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\n";
    for _ in 0..3 {
        let (counts, parsed) = scrape(&mut table, text);
        assert_eq!(values(&parsed), ["a{x=1,y=2} 1", "b{} 5"]);
        assert_eq!((counts.samples_scraped, counts.samples_post_relabelling, counts.duplicates), (4, 4, 2));
    }
}

#[test]
fn samples_of_several_times_are_kept_in_the_order_of_time() {
    let mut table = table();
    let text = format!("a 3 30\nb 1\na 1 10\na 9 30\na 2 20\nb 2 {AT_MS}\n");
    for _ in 0..2 {
        let (counts, parsed) = scrape(&mut table, &text);
        let read: Vec<_> = parsed.points.iter().map(|point| (point.value, point.own_ms)).collect();
        let point = |value: f64, own_ms| (Value::Float(value), own_ms);
        assert_eq!(read, [point(1.0, Some(10)), point(1.0, None), point(2.0, Some(20)), point(3.0, Some(30))]);
        assert_eq!(counts.duplicates, 2, "the scrape's own time counts too");
    }
}

#[test]
fn relabelling_drops_renames_and_merges() {
    let rule = |labels: &mut Labels<'_>| {
        if labels.get(METRIC_NAME) == Some("secret") {
            return Admission::Drop;
        }
        labels.set("pod", "");
        labels.set("job", "j");
        Admission::Keep
    };
    let mut table = table_with(Settings::default(), rule);
    for _ in 0..2 {
        let (counts, parsed) = scrape(&mut table, "secret 1\na{pod=\"x\"} 2\na{pod=\"y\"} 3\nb 4\n");
        assert_eq!(values(&parsed), ["a{job=j} 2", "b{job=j} 4"]);
        assert_eq!((counts.samples_scraped, counts.samples_post_relabelling, counts.duplicates), (4, 3, 1));
    }
    let (counts, parsed) = scrape(&mut table, "a{pod=\"y\"} 3\nb 4\n");
    assert_eq!(values(&parsed), ["a{job=j} 3", "b{job=j} 4"], "the series goes on under its other line");
    assert_eq!(counts.series_added, 0);
}

#[test]
fn changed_metadata_is_taken_over_without_ending_the_series() {
    let mut table = table();
    scrape(&mut table, "# TYPE a gauge\na 1\nb 1\n");
    for _ in 0..3 {
        let (_, parsed) = scrape(&mut table, "# TYPE a counter\na 2\nb 1\n");
        assert_eq!(lines(&parsed), [r#"counter a {__name__="a"} 2.0"#, r#"unknown b {__name__="b"} 1.0"#]);
        let (_, parsed) = scrape(&mut table, "# TYPE a gauge\na 1\nb 1\n");
        assert_eq!(lines(&parsed), [r#"gauge a {__name__="a"} 1.0"#, r#"unknown b {__name__="b"} 1.0"#]);
        assert_eq!(parsed.series.len(), 3, "one for each of its metadata, and no more");
    }
}

#[test]
fn limits_fail_a_scrape_in_words() {
    let settings = Settings { line_length_max: 20, sample_limit: 2, ..Settings::default() };
    let long = "a{b=\"0123456789\"} 12345\n";
    for piece in [1, 19, 100] {
        for seen_before in [false, true] {
            let mut table = table_with(settings.clone(), |_| Admission::Keep);
            if seen_before {
                scrape(&mut table, "a{b=\"0123456789\"} 1\n");
            }
            table.begin(AT_MS);
            let result = long.as_bytes().chunks(piece).try_for_each(|bytes| table.feed(bytes));
            let refusal = result.expect_err("too long");
            assert_eq!(refusal.to_string(), "line 1 is longer than the 20 bytes that a line may have");
        }
    }
    let mut table = table_with(settings, |_| Admission::Keep);
    table.begin(AT_MS);
    assert_eq!(table.feed(b"a 1\nb 1\nc 1\n"), Err(Refusal::SampleLimit { limit: 2 }));
    let growth_max = 4 * (320 + "# HELP a b".len());
    let mut table = table_with(Settings { growth_max, ..Settings::default() }, |_| Admission::Keep);
    for _ in 0..2 {
        // What was seen before costs nothing more.
        table.begin(AT_MS);
        assert_eq!(table.feed(b"# HELP a b\na 1\nb 1\nc 1\n"), Ok(()));
        table.accept();
    }
    table.begin(AT_MS);
    let refusal = table.feed(b"d 1\n# HELP e b\n# HELP f b\n# HELP g b\n# HELP h b\n").expect_err("too much");
    assert_eq!(refusal, Refusal::Growth { line: 5, max: growth_max });
    let mut table = table_with(Settings::default(), |labels| Admission::Refuse(format!("{labels} has too many")));
    table.begin(AT_MS);
    let refusal = table.feed(b"\na 1\n").expect_err("refused");
    assert_eq!(refusal.to_string(), r#"line 2: {__name__="a"} has too many"#);
}

#[test]
fn labels_that_are_all_new_count_as_growth() {
    let growth_max = 3 << 20;
    let body = |distinct: usize| -> String {
        let line = |line: usize| {
            let labels = (0..50).map(|label| format!("l{label}=\"{}\",", (line * 50 + label) % distinct));
            format!("a{{n=\"{line}\",{}}} 1\n", labels.collect::<String>())
        };
        (0..1000).map(line).collect()
    };
    let read = |body: String| {
        let mut table = table_with(Settings { growth_max, ..Settings::default() }, |_| Admission::Keep);
        table.begin(AT_MS);
        table.feed(body.as_bytes())
    };
    assert_eq!(read(body(50)), Ok(()));
    assert!(matches!(read(body(50_000)), Err(Refusal::Growth { .. })), "each label is kept");
}

#[test]
fn text_without_a_sample_is_told_from_an_empty_body() {
    assert!(!scrape(&mut table(), "").0.has_no_valid_line());
    assert!(!scrape(&mut table(), "# nothing yet\n").0.has_no_valid_line());
    assert!(scrape(&mut table(), "<html>\n<p>no</p>\n").0.has_no_valid_line());
}

#[test]
fn own_series_stay_apart_and_win_over_the_bodys() {
    let mut table = table();
    for up in [1.0, 2.0] {
        table.begin(AT_MS);
        table.feed(b"up{instance=\"i\",job=\"j\"} 7\na 1\n").expect("within limits");
        let counts = table.finish_body().expect("within limits");
        table.accept();
        table.report("up", "whether it is up", up);
        table.report("scrape_samples_scraped", "", counts.samples_scraped as f64);
        let parsed = table.take();
        let expected = ["a{} 1".to_owned(), format!("up{{instance=i,job=j}} {up}")];
        assert_eq!(values(&parsed)[..2], expected);
        assert_eq!(values(&parsed)[2..], ["scrape_samples_scraped{instance=i,job=j} 2"]);
    }
    assert_eq!(table.live_series().map(|series| series.name()).collect::<Vec<_>>(), ["a"]);
    let end = table.end();
    assert_eq!(
        values(&end),
        ["a{} stale", "up{instance=i,job=j} stale", "scrape_samples_scraped{instance=i,job=j} stale"]
    );
    assert!(table.end().points.is_empty());
}

#[test]
fn the_markers_of_a_failed_scrape_are_of_what_was_delivered() {
    let mut table = table();
    scrape(&mut table, "# TYPE a gauge\na 1\n");
    table.begin(AT_MS);
    table.feed(b"# TYPE a counter\na 2\n").expect("within limits");
    table.fail();
    assert_eq!(lines(&table.take()), ["gauge a {__name__=\"a\"} stale"]);
}

#[test]
fn a_series_with_one_sample_of_the_scrapes_time_ends_whatever_stands_before_it() {
    let mut table = table();
    scrape(&mut table, "a 1 1699999999000\na 2\nb 1\n");
    assert_eq!(values(&scrape(&mut table, "b 1\n").1), ["b{} 1", "a{} stale"]);
}

#[test]
fn exemplars_and_created_timestamps_are_of_series_that_have_samples() {
    // The family again, with another help: the label set is there already, and gets no second series.
    let family = |help, value: f64, exemplar| {
        let exemplar = Message::new().label("t", "1").double(2, exemplar);
        let counter = Message::new().double(1, value).message(2, exemplar).time_ms(3, 1_600_000_000_000);
        let metric = |own: u64| Message::new().message(3, counter.clone()).uint(6, own);
        let family = Message::new().text(1, "a").text(2, help).uint(3, COUNTER);
        family.message(4, metric(AT_MS as u64 - value as u64)).delimited()
    };
    let body = [family("one", 1.0, 1.5), family("two", 2.0, 2.5)].concat();
    let mut table = table();
    for round in 0..3 {
        table.begin(AT_MS);
        table.read_as(Format::Protobuf);
        table.feed(&body).expect("within limits");
        table.finish_body().expect("within limits");
        table.accept();
        let parsed = table.take();
        let of: BTreeSet<u32> = parsed.points.iter().map(|point| point.series).collect();
        let exemplars: Vec<u32> = parsed.exemplars.iter().map(|exemplar| exemplar.series).collect();
        let created: Vec<u32> = parsed.created.iter().map(|created| created.series).collect();
        assert_eq!((of.len(), exemplars.len(), created.len()), (1, 2, 1), "round {round}");
        assert!(exemplars.iter().chain(&created).all(|series| of.contains(series)), "round {round}");
    }
}

#[test]
fn the_targets_own_series_keep_their_metadata_when_garbage_is_left_out() {
    let mut table = table();
    let body = |round: u32| {
        let mut body = "# HELP up Of the body.\n# TYPE up counter\nup{instance=\"i\",job=\"j\"} 5\n".to_owned();
        (0..500).for_each(|nth| writeln!(body, "a{{n=\"{round}.{nth}\"}} 1").expect("strings take all"));
        body
    };
    for round in 0..12 {
        table.begin(AT_MS);
        table.feed(body(round).as_bytes()).expect("within limits");
        table.finish_body().expect("within limits");
        table.accept();
        table.report("up", "Own.", 1.0);
        let read = lines(&table.take());
        let up: Vec<&String> = read.iter().filter(|line| line.contains("\"up\"")).collect();
        assert_eq!(up, [r#"gauge up {__name__="up",instance="i",job="j"} 1.0 # Own."#], "round {round}");
    }
}

#[test]
fn samples_that_come_again_and_again_count_as_growth() {
    let summary = |quantiles: usize| {
        // An empty quantile is two bytes.
        let summary = Message::new().raw(&[0x1a, 0].repeat(quantiles));
        Message::new().text(1, "s").uint(3, SUMMARY).message(4, Message::new().message(4, summary)).delimited()
    };
    for (format, body, again) in [
        (Format::Text, b"a 1\n".to_vec(), b"a 1\n".repeat(20_000)),
        (Format::Text, b"a 1\nb 1\n".to_vec(), b"a 1\nb 1\n".repeat(10_000)),
        (Format::Protobuf, summary(1), summary(20_000)),
    ] {
        let mut table = table_with(Settings { growth_max: 1 << 20, ..Settings::default() }, |_| Admission::Keep);
        let mut read = |body: &[u8]| {
            table.begin(AT_MS);
            table.read_as(format);
            let read = table.feed(body).and_then(|()| table.finish_body());
            if read.is_ok() {
                table.accept()
            } else {
                table.fail()
            }
            table.take();
            read.map(|counts| counts.duplicates)
        };
        assert_eq!(read(&body), Ok(0));
        assert!(matches!(read(&again), Err(Refusal::Growth { .. })), "{format:?}");
        let few = &again[..again.len() / 10];
        assert!(format == Format::Protobuf || read(few).is_ok_and(|duplicates| duplicates > 1000), "{format:?}");
        assert_eq!(read(&body), Ok(0));
    }
}
