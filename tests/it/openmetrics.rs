//! OpenMetrics text from outside: the rules of the strict reader, and what real and made-up bodies read as.

mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use promferry::exposition::text::Sample;
use promferry::exposition::{BadLine, openmetrics};
use promferry::model::FamilyRef;
use tokio::io::AsyncWriteExt as _;

use crate::support::random::Random;
use crate::support::world::command;

const LINE_LENGTH_MAX: usize = 1 << 20;

/// `kind family [unit] labels value @ms # exemplar # help`.
fn line(sample: &Sample<'_>, family: &FamilyRef<'_>) -> String {
    let time = |ms: Option<i64>| ms.map(|ms| format!(" @{ms}")).unwrap_or_default();
    let unit = if family.unit.is_empty() { String::new() } else { format!(" [{}]", family.unit) };
    let mut line = format!("{} {}{unit} {}", family.kind.as_openmetrics(), family.name, sample.labels);
    write!(line, " {:?}{}", sample.value, time(sample.own_ms)).expect("strings take all");
    if let Some(exemplar) = &sample.exemplar {
        let (labels, at) = (&exemplar.labels, time(exemplar.at_ms));
        write!(line, " # {labels} {:?}{at}", exemplar.value).expect("strings take all");
    }
    if !family.help.is_empty() {
        write!(line, " # {}", family.help.escape_debug()).expect("strings take all");
    }
    line
}

/// What the readers give.
type Told<'r, 's, 'f> = Result<(&'r Sample<'s>, FamilyRef<'f>), BadLine>;

/// What a text reads as, and what is wrong with it: leniently, or strictly.
fn read(text: &[u8], is_strict: bool) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    let each = |read: Told<'_, '_, '_>| match read {
        Ok((sample, family)) => lines.push(line(sample, &family)),
        Err(error) => bad.push(error.to_string()),
    };
    let result = if is_strict {
        openmetrics::parse_strict(text, LINE_LENGTH_MAX, each)
    } else {
        openmetrics::parse_all(text, LINE_LENGTH_MAX, each)
    };
    result.expect("a text in memory, of short lines");
    (lines, bad)
}

// ---- real programs -------------------------------------------------------------------------------------------------

fn corpus_bodies() -> Vec<PathBuf> {
    let Some(corpus) = std::env::var_os("CORPUS") else {
        println!("skipped: CORPUS is not set");
        return Vec::new();
    };
    let entries = fs::read_dir(corpus).expect("CORPUS is a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "om"));
    files.sort();
    assert!(!files.is_empty(), "CORPUS holds no *.om");
    files
}

fn expected_of(body: &Path) -> serde_json::Value {
    let name = body.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let plain = body.with_file_name("expected").join(format!("{name}.json"));
    let text = fs::read(&plain).or_else(|_| -> io::Result<Vec<u8>> {
        let packed = fs::read(plain.with_extension("json.gz"))?;
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text)?;
        Ok(text)
    });
    serde_json::from_slice(&text.expect("an expected file for each body")).expect("JSON")
}

/// Labels with `le` and `quantile` as numbers, and without those that have no value.
fn comparable<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> BTreeMap<String, String> {
    let as_number = |name: &str, value: &str| match (name, value.parse::<f64>()) {
        ("le" | "quantile", Ok(number)) => format!("{number:?}"),
        _ => value.to_owned(),
    };
    let there = labels.filter(|(name, value)| !value.is_empty() && *name != "__name__");
    there.map(|(name, value)| (name.to_owned(), as_number(name, value))).collect()
}

fn object(value: &serde_json::Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().expect("labels").iter();
    comparable(pairs.map(|(name, value)| (name.as_str(), value.as_str().expect("a string"))))
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_str().expect("a number as text").parse().expect("a number")
}

fn ms(value: &serde_json::Value) -> Option<i64> {
    (!value.is_null()).then(|| (number(value) * 1000.0).round() as i64)
}

/// One NaN, and a zero with its sign.
fn bits(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
}

#[test]
fn reads_real_bodies_as_the_reference_parser_does() {
    for path in corpus_bodies().iter().filter(|path| !path.ends_with("rust-client-invalid.om")) {
        let (body, expected) = (fs::read(path).expect("a body"), expected_of(path));
        let sample = |sample: &serde_json::Value| {
            let exemplar = sample.get(4).filter(|exemplar| !exemplar.is_null());
            let exemplar = exemplar.map(|it| (object(&it[0]), bits(number(&it[1])), ms(&it[2])));
            let name = sample[0].as_str().expect("a name").to_owned();
            (name, object(&sample[1]), bits(number(&sample[2])), ms(&sample[3]), exemplar)
        };
        let samples: Vec<_> = expected["samples"].as_array().expect("samples").iter().map(sample).collect();
        let word = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let families = expected["families"].as_array().expect("families").iter();
        let families: Vec<[String; 4]> =
            families.map(|family| [word(&family[0]), word(&family[1]), word(&family[2]), word(&family[3])]).collect();
        let mut read = Vec::new();
        let each = |line: Told<'_, '_, '_>| {
            let (sample, family) = line.unwrap_or_else(|bad| panic!("{}: {bad}", path.display()));
            let exemplar = sample.exemplar.as_ref();
            let exemplar = exemplar.map(|it| (comparable(it.labels.iter()), bits(it.value), it.at_ms));
            let labels = comparable(sample.labels.iter());
            let kind = family.kind.as_openmetrics();
            let family = [family.name, kind, family.help, family.unit].map(str::to_owned);
            assert!(families.contains(&family), "{}: {family:?}", path.display());
            read.push((sample.name.to_string(), labels, bits(sample.value), sample.own_ms, exemplar));
        };
        openmetrics::parse_all(body.as_slice(), LINE_LENGTH_MAX, each).expect("a text in memory");
        assert_eq!(read.len(), samples.len(), "{}", path.display());
        for expected in &samples {
            assert!(read.contains(expected), "{}: {expected:?}", path.display());
        }
    }
}

/// What the strict reader says of real programs: all that are listed here break a rule of the specification.
#[test]
fn real_bodies_break_few_rules() {
    for path in corpus_bodies() {
        let body = fs::read(&path).expect("a body");
        let broken: &[&str] = match path.file_name().and_then(|name| name.to_str()).expect("a plain name") {
            // A gauge and a counter of one name: MetricFamily names are unique within a MetricSet.
            "go-utf8.om" | "go-utf8-allow.om" => &["# HELP go_memst", "# TYPE go_memst"],
            // A raw line break in HELP.
            "rust-client-invalid.om" => &["."],
            _ => &[],
        };
        let (_, bad) = read(&body, true);
        assert_eq!(bad.len(), broken.len(), "{}: {bad:?}", path.display());
        for (bad, broken) in bad.iter().zip(broken) {
            assert!(bad.contains(&format!(": \"{broken}")), "{}: {bad}", path.display());
        }
    }
}

// ---- peculiarities, by name ----------------------------------------------------------------------------------------

fn golden_bodies() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openmetrics");
    let entries = fs::read_dir(folder).expect("the golden files");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "om"));
    files.sort();
    files
}

/// A sample a line, then `!` and what is wrong leniently, then `strict!` and what is wrong strictly.
#[test]
fn golden_files_read_as_written() {
    let files = golden_bodies();
    assert!(files.len() >= 10, "{} golden files", files.len());
    for path in files {
        let body = fs::read(&path).expect("a body");
        let (mut lines, bad) = read(&body, false);
        lines.extend(bad.iter().map(|bad| format!("! {bad}")));
        lines.extend(read(&body, true).1.iter().map(|bad| format!("strict! {bad}")));
        let expected = fs::read_to_string(path.with_extension("expected")).expect("an expected file");
        assert_eq!(lines.join("\n") + "\n", expected, "{}", path.display());
    }
}

// ---- both readers --------------------------------------------------------------------------------------------------

/// What is put into a body somewhere: what rules are about.
const PIECES: [&str; 30] = [
    "\n",
    " ",
    "#",
    "\"",
    "\\",
    "{",
    "}",
    ",",
    "=",
    "+",
    "-",
    ".",
    "e",
    "1",
    "0",
    "9",
    "_",
    "NaN",
    "+Inf",
    " # {} 1",
    "\t",
    "\r",
    "\0",
    "é",
    "# EOF\n",
    "_total",
    "_bucket",
    "le=\"1\"",
    "# TYPE a gauge\n",
    "# HELP a x\n",
];

/// Another body, one to three changes away.
fn mutated(body: &[u8], random: &mut Random) -> Vec<u8> {
    let mut body = body.to_vec();
    let mut below = |limit: usize| random.below(limit as u64) as usize;
    for _ in 0..=below(2) {
        let at = below(body.len());
        let line_of = |at: usize| {
            let start = body[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |found| found + 1);
            let end = body[at..].iter().position(|&byte| byte == b'\n').map_or(body.len(), |len| at + len + 1);
            start..end
        };
        match below(6) {
            0 => {
                body.remove(at);
            }
            1 => body[at] ^= 1 << below(8),
            2 => {
                let line = line_of(at);
                body.drain(line);
            }
            3 => {
                let (line, to) = (body[line_of(at)].to_vec(), line_of(below(body.len())).start);
                body.splice(to..to, line);
            }
            _ => {
                let piece = PIECES[below(PIECES.len())].as_bytes();
                body.splice(at..at, piece.iter().copied());
            }
        }
        if body.is_empty() {
            body.extend_from_slice(b"# EOF\n");
        }
    }
    body
}

#[test]
fn what_is_read_strictly_is_read_the_same_leniently() {
    let bodies: Vec<Vec<u8>> = golden_bodies().iter().map(|path| fs::read(path).expect("a body")).collect();
    let good: Vec<&Vec<u8>> = bodies.iter().filter(|body| read(body, true).1.is_empty()).collect();
    assert!(good.len() >= 5, "{} bodies that break no rule", good.len());
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let body = mutated(good[random.below(good.len() as u64) as usize], &mut random);
        let (lines, bad) = read(&body, true);
        if bad.is_empty() {
            accepted += 1;
            assert_eq!(read(&body, false), (lines, bad), "{}", String::from_utf8_lossy(&body));
        }
    }
    assert!((1000..19_000).contains(&accepted), "{accepted} of 20000 texts break no rule");
}

// ---- the command ---------------------------------------------------------------------------------------------------

/// `promferry parse` of this: exit code, stdout, stderr.
async fn parse(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&[&["parse"][..], arguments].concat());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("promferry starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).await.expect("it reads all");
    drop(stdin);
    let ended = child.wait_with_output().await.expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (ended.status.code().expect("no signal"), text(ended.stdout), text(ended.stderr))
}

#[tokio::test]
async fn parse_reads_openmetrics_strictly() {
    let good = "# TYPE a counter\na_total{b=\"c\"} 1 1.5 # {d=\"e\"} 0.5 2\na_created{b=\"c\"} 7 1.5\n# EOF\n";
    let told = "2 samples, all lines read\n".to_owned();
    for format in ["openmetrics", "auto"] {
        assert_eq!(parse(good, &["--format", format]).await, (0, told.clone(), String::new()), "{format}");
    }
    let (code, out, err) = parse(good, &["--json"]).await;
    let json = "{\"name\":\"a_total\",\"labels\":{\"b\":\"c\"},\"value\":\"1\",\"timestamp_ms\":1500,\
                \"exemplars\":[{\"labels\":{\"d\":\"e\"},\"value\":\"0.5\",\"timestamp_ms\":2000}]}\n\
                {\"name\":\"a_created\",\"labels\":{\"b\":\"c\"},\"value\":\"7\",\"timestamp_ms\":1500}\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, json, ""));

    let (code, out, err) = parse("# TYPE a counter\na_total -1\n\n# EOF\n", &["--format", "openmetrics"]).await;
    let problems = "stdin:2:9: \"-1\" stands where a counter's value (not negative, not NaN) was expected\n\
                    stdin:3:1: the end of the line stands where a sample or metadata (blank lines are not allowed) was expected\n\
                    0 samples; lines that cannot be read: 2\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", problems));
}

#[tokio::test]
async fn parse_takes_a_text_without_eof_for_the_text_format() {
    let text = "a 1 1700000000000\n\n# a comment\nb 2";
    assert_eq!(parse(text, &[]).await, (0, "2 samples, all lines read\n".to_owned(), String::new()));
    let (code, _, err) = parse("a 1\n", &["--format", "openmetrics"]).await;
    assert_eq!(code, 1);
    assert!(err.starts_with("stdin:2:1: the end of the text stands where \"# EOF\" was expected\n"), "{err}");
    // Whoever says so has it read as text all the same.
    let text = "a{b=\"c\",} 1\n# EOF\n";
    assert_eq!(parse(text, &["--format", "text"]).await.0, 0);
    assert_eq!(parse(text, &["--format", "auto"]).await.0, 1);
}

#[tokio::test]
async fn parse_tells_a_hundred_bad_lines_and_counts_the_rest() {
    let text: String = (0..150).map(|at| format!("bad{at}\n")).collect();
    let (code, _, err) = parse(&text, &["--format", "text"]).await;
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!((code, lines.len()), (1, 101));
    assert!(lines[99].starts_with("stdin:100:"), "{}", lines[99]);
    assert_eq!(lines[100], "0 samples; lines that cannot be read: 150");
}

/// Labels of an exemplar that are as long as the line allows cost no more than they are long.
#[test]
fn an_exemplar_has_a_limited_number_of_labels() {
    let labels: Vec<String> = (0..100_000).rev().map(|at| format!("l{at:06}=\"\"")).collect();
    let text = format!("a 1 # {{{}}} 1\n# EOF\n", labels.join(","));
    let mut bad = Vec::new();
    openmetrics::parse_all(text.as_bytes(), 1 << 21, |read| bad.extend(read.err())).expect("a text in memory");
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].expected, "\"}\" (a sample has at most 512 labels)");
}
