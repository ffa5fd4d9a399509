//! The predicting table from outside: what real and made-up bodies read as, whatever came before and in whatever pieces.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use promferry::exposition::{Admission, Admit, Counts, Parsed, Refusal, Settings, Table};
use promferry::model::{Labels, METRIC_NAME, Value};

/// Keeps every line, but what a test's rule says.
struct Rule(fn(&mut Labels<'_>) -> Admission);

impl Admit for Rule {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        (self.0)(labels)
    }
}

fn table() -> Table {
    table_with(Settings::default(), |_| Admission::Keep)
}

fn table_with(settings: Settings, rule: fn(&mut Labels<'_>) -> Admission) -> Table {
    let own = [("instance", "i"), ("job", "j")].into_iter().collect();
    Table::new(settings, Box::new(Rule(rule)), own)
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
