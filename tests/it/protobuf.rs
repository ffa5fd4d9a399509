//! Reading delimited protobuf: what real programs serve, what the types mean, and bodies that are wrong in every way.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use promferry::exposition::protobuf::{self, BUCKETS_MAX, EXEMPLARS_MAX, Reading, SPANS_MAX, Sample};
use promferry::exposition::text::{self, LineExemplar};
use promferry::exposition::{Admission, Admit, BadLine, Counts, Format, Parsed, Settings, Table, write};
use promferry::model::{Exemplar, FamilyRef, Histogram, HistogramSpan, Labels, METRIC_NAME, Point, STALE_NAN, Value};
use serde_json::Value as Json;

use crate::support::protobuf::{COUNTER, GAUGE, GAUGE_HISTOGRAM, HISTOGRAM, Message, SUMMARY, UNTYPED, body, family};

/// Everything there is to read, or what a scrape reads.
fn settings(native: bool, classic_too: bool) -> Settings {
    Settings { native_histograms: native, classic_histograms_too: classic_too, ..Settings::default() }
}

/// A sample a line; an error of one metric as a line of its own.
fn lines(body: &[u8], settings: &Settings) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let each = |read: Result<(&Sample<'_>, FamilyRef<'_>), protobuf::Error>| match read {
        Ok((sample, family)) => lines.push(line(sample, family)),
        Err(error) => lines.push(format!("! {error}")),
    };
    protobuf::parse_all(body, settings, each).map(|()| lines).map_err(|error| error.to_string())
}

fn line(sample: &Sample<'_>, family: FamilyRef<'_>) -> String {
    let mut line = format!("{} {} # {:?} {:?}", family.kind.as_openmetrics(), family.name, family.help, family.unit);
    write!(line, " | {} ", sample.labels).expect("strings take all");
    match sample.value() {
        Value::Float(value) => write!(line, "{value:?}"),
        Value::Histogram(value) => write!(line, "{}", histogram(value)),
    }
    .expect("strings take all");
    if let Some(ms) = sample.own_ms {
        write!(line, " @{ms}").expect("strings take all");
    }
    if let Some(ms) = sample.created_ms {
        write!(line, " since {ms}").expect("strings take all");
    }
    for LineExemplar { labels, value, at_ms } in &sample.exemplars {
        write!(line, " * {labels} {value:?} {at_ms:?}").expect("strings take all");
    }
    line
}

fn histogram(h: &Histogram) -> String {
    let side = |spans: &[HistogramSpan], counts: &[f64]| {
        let spans: Vec<_> = spans.iter().map(|span| (span.offset, span.length)).collect();
        format!("{spans:?}{counts:?}")
    };
    format!(
        "schema {} count {:?} sum {:?} zero {:?} {:?} positive {} negative {} bounds {:?} float {} gauge {}",
        h.schema,
        h.count,
        h.sum,
        h.zero_threshold,
        h.zero_count,
        side(&h.positive_spans, &h.positive_counts),
        side(&h.negative_spans, &h.negative_counts),
        h.custom_bounds,
        h.is_float,
        h.is_gauge
    )
}

/// The samples behind the family, without what [`family`] always has.
fn samples(body: &[u8], settings: &Settings) -> Vec<String> {
    let short = |line: String| line.split_once(" | ").map_or(line.clone(), |(_, sample)| sample.to_owned());
    lines(body, settings).expect("well-formed").into_iter().map(short).collect()
}

/// The only error of a body, of which nothing is read.
fn refusal(body: &[u8]) -> String {
    let read = lines(body, &settings(true, true));
    match read {
        Err(error) => error,
        Ok(lines) => match lines.as_slice() {
            [only] => only.strip_prefix("! ").unwrap_or_else(|| panic!("{only} was read")).to_owned(),
            lines => panic!("{lines:?} were read"),
        },
    }
}

// ---- real programs -------------------------------------------------------------------------------------------------

fn corpus_bodies() -> Option<Vec<PathBuf>> {
    let corpus = PathBuf::from(std::env::var_os("CORPUS")?);
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpus).expect("CORPUS is a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pb"));
    files.sort();
    assert!(!files.is_empty(), "CORPUS holds no *.pb");
    Some(files)
}

fn expected_families(path: &Path) -> Vec<Json> {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let plain = path.with_file_name("expected").join(format!("{name}.json"));
    let text = fs::read(&plain).unwrap_or_else(|_| {
        let packed = fs::read(plain.with_extension("json.gz")).expect("an expected file for each body");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect("a gzip file");
        text
    });
    serde_json::from_slice::<Json>(&text).expect("JSON").as_array().expect("families").clone()
}

/// A number of protojson: a number, or as text, or the word for what JSON does not have.
fn number(json: &Json) -> f64 {
    match json {
        Json::Null => 0.0,
        Json::String(text) => match text.as_str() {
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            text => text.parse().expect("a number"),
        },
        number => number.as_f64().expect("a number"),
    }
}

fn time_ms(json: &Json) -> Option<i64> {
    let at: jiff::Timestamp = json.as_str()?.parse().expect("a time");
    Some(at.as_millisecond())
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn labels(json: &Json) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    list(&json["label"]).iter().map(|pair| (text(&pair["name"]), text(&pair["value"]))).collect()
}

/// The lines that `families` should read as, made by another way than the reader's.
fn expected_lines(families: &[Json], native: bool, classic_too: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for family in families {
        for metric in list(&family["metric"]) {
            expected_metric(family, metric, native, classic_too, &mut |line| lines.push(line));
        }
    }
    lines
}

fn exemplar(json: &Json) -> LineExemplar<'static> {
    let labels = labels(json).into_iter().collect();
    LineExemplar { labels, value: number(&json["value"]), at_ms: time_ms(&json["timestamp"]) }
}

fn expected_metric(json: &Json, metric: &Json, native: bool, classic_too: bool, push: &mut impl FnMut(String)) {
    let word = json["type"].as_str().expect("a type");
    let name = json["name"].as_str().expect("a name");
    let kind = if word == "UNTYPED" { "unknown".to_owned() } else { word.to_lowercase().replace('_', "") };
    let head = format!("{kind} {name} # {:?} {:?}", json["help"].as_str().unwrap_or_default(), "");
    let content = &metric[word.to_lowercase().trim_start_matches("gauge_")];
    let own = metric["timestamp_ms"].as_str().map(|ms| format!(" @{ms}")).unwrap_or_default();
    let created = time_ms(&content["created_timestamp"]).map(|ms| format!(" since {ms}")).unwrap_or_default();
    let mut line = |suffix: &str, extra: Option<(&str, f64)>, value: String, exemplars: &[Json]| {
        let mut all = labels(metric);
        all.push(("__name__".to_owned(), format!("{name}{suffix}")));
        if let Some((label, bound)) = extra {
            let mut digits = Vec::new();
            write::openmetrics_float(&mut digits, bound);
            all.push((label.to_owned(), String::from_utf8(digits).expect("digits")));
        }
        let labels: promferry::model::Labels<'_> = all.into_iter().collect();
        let created = if extra.is_some_and(|(label, _)| label == "quantile") { "" } else { &created };
        let mut text = format!("{head} | {labels} {value}{own}{created}");
        for LineExemplar { labels, value, at_ms } in exemplars.iter().map(exemplar) {
            write!(text, " * {labels} {value:?} {at_ms:?}").expect("strings take all");
        }
        push(text);
    };
    let float = |json: &Json| format!("{:?}", number(json));
    match word {
        "SUMMARY" => {
            for quantile in list(&content["quantile"]) {
                line("", Some(("quantile", number(&quantile["quantile"]))), float(&quantile["value"]), &[]);
            }
        }
        "HISTOGRAM" => {
            let is_native = !list(&content["positive_span"]).is_empty() || number(&content["zero_threshold"]) > 0.0;
            if native && is_native {
                line("", None, expected_histogram(content), list(&content["exemplars"]));
                if !classic_too || list(&content["bucket"]).is_empty() {
                    return;
                }
            }
            let mut has_infinity = false;
            for bucket in list(&content["bucket"]) {
                let bound = number(&bucket["upper_bound"]);
                has_infinity |= bound == f64::INFINITY;
                let exemplar = bucket.get("exemplar").map(std::slice::from_ref).unwrap_or_default();
                line("_bucket", Some(("le", bound)), float(&bucket["cumulative_count"]), exemplar);
            }
            if !has_infinity {
                line("_bucket", Some(("le", f64::INFINITY)), float(&content["sample_count"]), &[]);
            }
        }
        _ => {
            let exemplar = content.get("exemplar").map(std::slice::from_ref).unwrap_or_default();
            return line("", None, float(&content["value"]), exemplar);
        }
    }
    line("_sum", None, float(&content["sample_sum"]), &[]);
    line("_count", None, float(&content["sample_count"]), &[]);
}

fn expected_histogram(json: &Json) -> String {
    assert!(json.get("negative_span").is_none(), "no body of the corpus has negative buckets");
    let spans = list(&json["positive_span"])
        .iter()
        .map(|span| HistogramSpan { offset: number(&span["offset"]) as i32, length: number(&span["length"]) as u32 });
    let counts = list(&json["positive_delta"]).iter().scan(0.0, |sum, delta| {
        *sum += number(delta);
        Some(*sum)
    });
    histogram(&Histogram {
        schema: number(&json["schema"]) as i32,
        zero_threshold: number(&json["zero_threshold"]),
        zero_count: number(&json["zero_count"]),
        count: number(&json["sample_count"]),
        sum: number(&json["sample_sum"]),
        positive_spans: spans.collect(),
        positive_counts: counts.collect(),
        ..Histogram::stale()
    })
}

#[test]
fn reads_real_bodies_as_the_reference_decoder_does() {
    let Some(files) = corpus_bodies() else {
        println!("skipped: CORPUS is not set");
        return;
    };
    let mut natives = 0;
    for path in files {
        let (families, body) = (expected_families(&path), fs::read(&path).expect("a body"));
        assert!(protobuf::is_likely(&body), "{}", path.display());
        for (native, classic_too) in [(true, true), (true, false), (false, false)] {
            let read = lines(&body, &settings(native, classic_too)).expect("a real body is read");
            let expected = expected_lines(&families, native, classic_too);
            let differing = read.iter().zip(&expected).find(|(read, expected)| read != expected);
            assert_eq!(differing, None, "{}", path.display());
            assert_eq!(read.len(), expected.len(), "{}", path.display());
            natives += read.iter().filter(|line| line.contains(" schema ")).count();
        }
    }
    assert!(natives >= 16, "{natives} native histograms");
}

/// Values move between captures; which series there are does not, but for those of the process that the captures made.
#[test]
fn the_classic_reading_has_the_series_of_the_text_beside_it() {
    let Some(files) = corpus_bodies() else {
        println!("skipped: CORPUS is not set");
        return;
    };
    for path in files {
        let body = fs::read(&path).expect("a body");
        let mut series = BTreeSet::new();
        let each = |read: Result<(&Sample<'_>, FamilyRef<'_>), protobuf::Error>| {
            series.insert(read.expect("a good metric").0.labels.to_string());
        };
        protobuf::parse_all(body.as_slice(), &settings(false, false), each).expect("a real body is read");
        let beside = fs::read(path.with_extension("prom")).expect("a text beside it");
        let mut of_text = BTreeSet::new();
        let each = |read: Result<(&text::Sample<'_>, FamilyRef<'_>), BadLine>| {
            of_text.insert(read.expect("a good line").0.labels.to_string());
        };
        text::parse_all(beside.as_slice(), 1 << 20, each).expect("a real text is read");
        let only: Vec<_> = series.symmetric_difference(&of_text).collect();
        assert!(only.is_empty(), "{}: {only:#?}", path.display());
    }
}

// ---- what the types mean -------------------------------------------------------------------------------------------

#[test]
fn each_type_gives_the_series_of_the_text_format() {
    let single = |kind, field| samples(&body(kind, field, Message::new().double(1, 2.5)), &settings(true, false));
    assert_eq!(single(COUNTER, 3), [r#"{__name__="m"} 2.5"#]);
    assert_eq!(single(GAUGE, 2), [r#"{__name__="m"} 2.5"#]);
    assert_eq!(single(UNTYPED, 5), [r#"{__name__="m"} 2.5"#]);
    // A field that is missing has its default.
    assert_eq!(samples(&body(GAUGE, 2, Message::new()), &settings(true, false)), [r#"{__name__="m"} 0.0"#]);
    let quantile = |quantile, value| Message::new().double(1, quantile).double(2, value);
    let summary =
        Message::new().uint(1, 7).double(2, 1.5).message(3, quantile(0.5, f64::NAN)).message(3, quantile(1.0, 3.0));
    assert_eq!(
        samples(&body(SUMMARY, 4, summary.time_ms(4, 1_700_000_000_123)), &settings(true, false)),
        [
            r#"{__name__="m",quantile="0.5"} NaN"#,
            r#"{__name__="m",quantile="1.0"} 3.0"#,
            r#"{__name__="m_sum"} 1.5 since 1700000000123"#,
            r#"{__name__="m_count"} 7.0 since 1700000000123"#,
        ]
    );
    let bucket = |count, bound| Message::new().uint(1, count).double(2, bound);
    let classic = Message::new().uint(1, 7).double(2, 1.5).message(3, bucket(3, 1.0)).message(3, bucket(5, 1e6));
    let expected = [
        r#"{__name__="m_bucket",le="1.0"} 3.0"#,
        r#"{__name__="m_bucket",le="1e+06"} 5.0"#,
        r#"{__name__="m_bucket",le="+Inf"} 7.0"#,
        r#"{__name__="m_sum"} 1.5"#,
        r#"{__name__="m_count"} 7.0"#,
    ];
    assert_eq!(samples(&body(HISTOGRAM, 7, classic.clone()), &settings(true, false)), expected);
    assert_eq!(samples(&body(GAUGE_HISTOGRAM, 7, classic.clone()), &settings(true, false)), expected);
    // An infinite bucket that is there is not added.
    let with_infinity = classic.message(3, bucket(6, f64::INFINITY));
    let read = samples(&body(HISTOGRAM, 7, with_infinity), &settings(true, false));
    assert_eq!(read[2..4], [r#"{__name__="m_bucket",le="+Inf"} 6.0"#, r#"{__name__="m_sum"} 1.5"#]);
    // Counts that are no whole numbers override those that are.
    let floats = Message::new().uint(1, 7).double(4, 7.5).message(3, bucket(3, 1.0).double(4, 3.5));
    let read = samples(&body(HISTOGRAM, 7, floats), &settings(true, false));
    assert_eq!(read[..2], [r#"{__name__="m_bucket",le="1.0"} 3.5"#, r#"{__name__="m_bucket",le="+Inf"} 7.5"#]);
}

#[test]
fn a_family_has_its_help_type_and_unit_wherever_they_stand() {
    let metric =
        Message::new().label("b", "2").label("a", "1").label("e", "").message(2, Message::new().double(1, 1.0));
    let metric = metric.uint(6, 1_700_000_000_001);
    let late =
        Message::new().message(4, metric).text(5, "seconds").uint(3, GAUGE).text(2, "Late.").text(1, "x_seconds");
    assert_eq!(
        lines(&late.delimited(), &settings(true, false)).expect("well-formed"),
        [r#"gauge x_seconds # "Late." "seconds" | {__name__="x_seconds",a="1",b="2"} 1.0 @1700000000001"#]
    );
    // Without a type it is a counter, as protobuf's default has it; a family without metrics is nothing.
    let counter = Message::new().text(1, "c").message(4, Message::new().message(3, Message::new().double(1, 1.0)));
    let two = [Message::new().delimited(), family("empty", GAUGE).delimited(), counter.delimited()].concat();
    assert_eq!(
        lines(&two, &settings(true, false)).expect("well-formed"),
        [r#"counter c # "" "" | {__name__="c"} 1.0"#]
    );
}

/// A target cannot end its series by itself, nor a native histogram by its sum.
#[test]
fn a_stale_marker_is_any_nan() {
    let gauge = body(GAUGE, 2, Message::new().double(1, STALE_NAN));
    let native = body(HISTOGRAM, 7, Message::new().double(2, STALE_NAN).span(12, 0, 0));
    let mut count = 0;
    let each = |read: Result<(&Sample<'_>, FamilyRef<'_>), protobuf::Error>| {
        assert!(!read.expect("a good metric").0.value().is_stale());
        count += 1;
    };
    protobuf::parse_all([gauge, native].concat().as_slice(), &settings(true, false), each).expect("well-formed");
    assert_eq!(count, 2);
}

/// Fields and types that client_model may get one day are passed over.
#[test]
fn fields_that_are_unknown_are_passed_over() {
    let metric = Message::new().message(2, Message::new().double(1, 1.0).uint(99, 1)).bytes(1000, b"?").double(98, 1.0);
    let family = family("g", GAUGE).message(4, metric).raw(&[0x95, 0x06, 1, 2, 3, 4]).text(77, "x");
    assert_eq!(samples(&family.delimited(), &settings(true, false)), [r#"{__name__="g"} 1.0"#]);
}

/// A native histogram with classic buckets: two spans above zero, one below, a zero bucket.
fn native() -> Message {
    Message::new()
        .uint(1, 12)
        .double(2, -4.5)
        .message(3, Message::new().uint(1, 12).double(2, 2.0))
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
        .time_ms(15, 5000)
}

const NATIVE: &str = "schema 3 count 12.0 sum -4.5 zero 0.001 2.0 positive [(1, 2), (3, 1)][2.0, 5.0, 2.0] \
                      negative [(-2, 1)][1.0] bounds [] float false gauge false since 5000";

#[test]
fn a_native_histogram_is_one_sample_and_its_classic_series_where_they_are_wanted() {
    let body = body(HISTOGRAM, 7, native());
    let only = format!(r#"{{__name__="m"}} {NATIVE}"#);
    let classic = [
        r#"{__name__="m_bucket",le="2.0"} 12.0 since 5000"#,
        r#"{__name__="m_bucket",le="+Inf"} 12.0 since 5000"#,
        r#"{__name__="m_sum"} -4.5 since 5000"#,
        r#"{__name__="m_count"} 12.0 since 5000"#,
    ];
    assert_eq!(samples(&body, &settings(true, false)), [only.as_str()]);
    assert_eq!(samples(&body, &settings(false, false)), classic);
    assert_eq!(samples(&body, &settings(false, true)), classic);
    let both: Vec<&str> = [only.as_str()].into_iter().chain(classic).collect();
    assert_eq!(samples(&body, &settings(true, true)), both);
}

#[test]
fn a_native_histogram_without_classic_buckets_is_its_infinite_one() {
    let only = Message::new().uint(1, 2).double(2, 3.0).sint(5, 0).double(6, 0.5).uint(7, 2);
    let body = body(HISTOGRAM, 7, only);
    assert_eq!(
        samples(&body, &settings(false, false)),
        [r#"{__name__="m_bucket",le="+Inf"} 2.0"#, r#"{__name__="m_sum"} 3.0"#, r#"{__name__="m_count"} 2.0"#]
    );
    assert_eq!(samples(&body, &settings(true, true)).len(), 1);
}

/// The span of no length says that a histogram without observations is a native one.
#[test]
fn a_span_of_no_length_makes_a_histogram_native() {
    let read = samples(&body(HISTOGRAM, 7, Message::new().span(12, 0, 0)), &settings(true, false));
    assert_eq!(read.len(), 1);
    assert!(read[0].contains("positive [(0, 0)][]"), "{read:?}");
    assert_eq!(samples(&body(HISTOGRAM, 7, Message::new()), &settings(true, false)).len(), 3);
}

#[test]
fn a_float_histogram_has_absolute_counts_packed_or_not() {
    let float = Message::new().double(4, 4.5).double(2, 9.0).sint(5, -4).double(8, 0.5).span(12, 0, 3);
    let packed = float.clone().packed_doubles(14, &[1.0, 1.5, 1.5]);
    let single = float.double(14, 1.0).double(14, 1.5).double(14, 1.5);
    for histogram in [packed, single] {
        assert_eq!(
            samples(&body(GAUGE_HISTOGRAM, 7, histogram), &settings(true, false)),
            [
                r#"{__name__="m"} schema -4 count 4.5 sum 9.0 zero 0.0 0.5 positive [(0, 3)][1.0, 1.5, 1.5] negative [][] bounds [] float true gauge true"#
            ]
        );
    }
    let integer = Message::new().uint(1, 4).span(9, 0, 2).packed_sints(10, &[1, 2]);
    let read = samples(&body(HISTOGRAM, 7, integer), &settings(true, false));
    assert!(read[0].contains("negative [(0, 2)][1.0, 3.0]"), "{read:?}");
}

/// client_model has no field for the bounds of custom buckets: they are those of the classic ones.
#[test]
fn custom_buckets_have_the_bounds_of_the_classic_ones() {
    let bucket = |count, bound| Message::new().uint(1, count).double(2, bound);
    let custom = |span: u32, deltas: &[i64]| {
        let count =
            deltas.iter().scan(0, |last, delta| Some(std::mem::replace(last, *last + delta) + delta)).sum::<i64>();
        Message::new().uint(1, count as u64).sint(5, -53).span(12, 0, span).packed_sints(13, deltas)
    };
    let full = custom(3, &[1, 1, 1])
        .message(3, bucket(1, 0.5))
        .message(3, bucket(3, 2.0))
        .message(3, bucket(6, f64::INFINITY));
    let read = samples(&body(HISTOGRAM, 7, full), &settings(true, false));
    assert!(read[0].contains("schema -53 count 6.0"), "{read:?}");
    assert!(read[0].contains("positive [(0, 3)][1.0, 2.0, 3.0] negative [][] bounds [0.5, 2.0]"), "{read:?}");
    assert!(samples(&body(HISTOGRAM, 7, custom(1, &[4])), &settings(true, false))[0].contains("bounds []"));
    for (histogram, told) in [
        (custom(2, &[4, 0]), "has 2 custom buckets and only 0 bounds"),
        (custom(2, &[4, 0]).message(3, bucket(1, 2.0)).message(3, bucket(1, 2.0)), "whose bounds do not rise"),
        (custom(2, &[4, 0]).message(3, bucket(1, f64::NAN)), "whose bounds do not rise"),
        (custom(1, &[4]).double(6, 0.1), "has a zero bucket or negative ones"),
        (custom(1, &[4]).span(9, 0, 0), "has a zero bucket or negative ones"),
        (Message::new().sint(5, -53).span(12, -1, 0), "goes back by 1 in a positive span"),
    ] {
        let error = refusal(&body(HISTOGRAM, 7, histogram));
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn exemplars_come_with_the_samples_that_they_are_of() {
    let exemplar = |value: f64| Message::new().label("trace_id", "x").double(2, value);
    let counter = Message::new().double(1, 5.0).message(2, exemplar(1.0).time_ms(3, 1500)).time_ms(3, 1000);
    assert_eq!(
        samples(&body(COUNTER, 3, counter), &settings(true, false)),
        [r#"{__name__="m"} 5.0 since 1000 * {trace_id="x"} 1.0 Some(1500)"#]
    );
    let bucket = |exemplar: Message| Message::new().uint(1, 1).double(2, 1.0).message(3, exemplar);
    let of_buckets = native().message(3, bucket(exemplar(2.0))).message(3, bucket(exemplar(3.0).time_ms(3, 2000)));
    let both = of_buckets.clone().message(16, exemplar(4.0).time_ms(3, 3000)).message(16, exemplar(5.0));
    let stars = |histogram: Message, classic_too| -> Vec<String> {
        let read = samples(&body(HISTOGRAM, 7, histogram), &settings(true, classic_too));
        read.iter().map(|line| line.split(" * ").skip(1).collect::<Vec<_>>().join(" * ")).collect()
    };
    // A native histogram has those with a time: its own, else those of the buckets.
    assert_eq!(stars(of_buckets.clone(), false), [r#"{trace_id="x"} 3.0 Some(2000)"#]);
    assert_eq!(stars(both.clone(), false), [r#"{trace_id="x"} 4.0 Some(3000)"#]);
    let (second, third) = (r#"{trace_id="x"} 2.0 None"#, r#"{trace_id="x"} 3.0 Some(2000)"#);
    assert_eq!(stars(both, true), [r#"{trace_id="x"} 4.0 Some(3000)"#, "", second, third, "", "", ""]);
    // One whose labels make no sense is left out, its sample is not.
    let twice = Message::new().double(1, 5.0).message(2, exemplar(1.0).label("trace_id", "y"));
    assert_eq!(samples(&body(COUNTER, 3, twice), &settings(true, false)), [r#"{__name__="m"} 5.0"#]);
}

// ---- what is wrong -------------------------------------------------------------------------------------------------

fn good() -> Vec<u8> {
    let metric = Message::new().label("a", "b").message(7, native()).uint(6, 5);
    [
        family("first", GAUGE).message(4, Message::new().message(2, Message::new().double(1, 1.0))).delimited(),
        family("second", HISTOGRAM).message(4, metric).delimited(),
    ]
    .concat()
}

#[test]
fn a_body_that_is_cut_anywhere_is_refused() {
    let body = good();
    let all = lines(&body, &settings(true, true)).expect("a good body");
    let first = family("first", GAUGE).message(4, Message::new().message(2, Message::new().double(1, 1.0))).delimited();
    for len in 0..body.len() {
        let read = lines(&body[..len], &settings(true, true));
        match len {
            0 => assert_eq!(read, Ok(Vec::new())),
            len if len == first.len() => assert_eq!(read, Ok(all[..1].to_vec())),
            len => {
                let start = if len < first.len() { 0 } else { first.len() };
                let told = format!("byte {start}: the body ends within a message, of which {} bytes came", len - start);
                assert_eq!(read, Err(told));
            }
        }
    }
}

/// Whatever one byte of a body is changed to, there is an answer.
#[test]
fn a_body_with_any_byte_changed_is_read_or_refused() {
    let body = good();
    let mut refused = 0;
    for at in 0..body.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff, body[at] ^ 0x08, body[at].wrapping_add(1)] {
            let mut changed = body.clone();
            changed[at] = byte;
            refused += usize::from(lines(&changed, &settings(true, true)).is_err());
        }
    }
    assert!(refused > body.len(), "{refused}");
}

#[test]
fn a_truncated_varint_is_refused() {
    let metric = Message::new().message(3, Message::new()).raw(&[0x30, 0xff]);
    let body = family("m", COUNTER).message(4, metric).delimited();
    assert_eq!(refusal(&body), format!("byte {}: a field goes on behind the end of its message", body.len() - 1));
    let endless = family("m", COUNTER).raw(&[0x18]).raw(&[0x80; 10]).raw(&[1]).delimited();
    assert_eq!(refusal(&endless), "byte 14: a number is longer than the ten bytes that 64 bits take");
}

#[test]
fn a_message_longer_than_its_length_is_refused() {
    let inner = Message::new().raw(&[0x0a, 0x7f, b'a']);
    let body = family("m", COUNTER).message(4, inner).delimited();
    let told = format!("byte {}: field 1 says that it has 127 bytes, and its message has 1 more", body.len() - 2);
    assert_eq!(refusal(&body), told);
    let huge = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 20]].concat();
    let max = protobuf::MESSAGE_BYTES_MAX;
    assert_eq!(
        refusal(&huge),
        format!("byte 0: a message of 4294967295 bytes is longer than the {max} bytes that one may have")
    );
}

#[test]
fn a_wrong_wire_type_is_refused() {
    assert_eq!(refusal(&Message::new().uint(1, 5).delimited()), "byte 1: field 1 is no text");
    assert_eq!(
        refusal(&family("m", GAUGE).uint(4, 5).message(4, Message::new()).delimited()).split(':').nth(1),
        Some(" field 4 is no message")
    );
    let value = body(GAUGE, 2, Message::new().uint(1, 5));
    assert!(refusal(&value).ends_with("field 1 is no double"));
    let count = body(HISTOGRAM, 7, Message::new().double(1, 5.0));
    assert!(refusal(&count).ends_with("field 1 is no whole number"));
    let group = family("m", GAUGE).raw(&[0x23, 0x24]).delimited();
    assert!(refusal(&group).contains("35 is no field of protobuf"));
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let body = Message::new().bytes(1, b"m\xff").uint(3, GAUGE).delimited();
    assert_eq!(refusal(&body), "byte 4: field 1 is no text in UTF-8");
    let pair = Message::new().text(1, "a").bytes(2, &[0xc3]);
    let metric = Message::new().message(1, pair).message(2, Message::new());
    let body = family("m", GAUGE).message(4, metric).delimited();
    assert!(refusal(&body).ends_with("field 2 is no text in UTF-8"));
}

#[test]
fn a_family_or_metric_that_makes_no_sense_is_left_out_alone() {
    let gauge = |labels: &[(&str, &str)]| {
        let metric = labels.iter().fold(Message::new(), |metric, (name, value)| metric.label(name, value));
        metric.message(2, Message::new().double(1, 1.0))
    };
    let good = family("good", GAUGE).message(4, gauge(&[])).delimited();
    let le = Message::new().label("le", "1").message(7, Message::new());
    let many: Vec<(String, String)> = (0..513).map(|at| (format!("l{at}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (min, name) = (i64::MIN as u64, "the family \"m\\n\" is of a type that is unknown here");
    for (bad, told) in [
        (Message::new().uint(3, GAUGE).message(4, gauge(&[])), "a family has no name"),
        (family("m\n", 6).message(4, gauge(&[])), name),
        (family("m", COUNTER).message(4, gauge(&[])), "a metric in a family of type counter has no counter"),
        (family("m", GAUGE).message(4, gauge(&[("a", "1"), ("a", "2")])), "the label \"a\" is there twice"),
        (family("m", GAUGE).message(4, gauge(&[("", "1")])), "a label has no name"),
        (family("m", GAUGE).message(4, gauge(&[("__name__", "x")])), "or that of the metric's name"),
        (family("m", GAUGE).message(4, gauge(&many)), "there are more than 512 labels"),
        (family("m", GAUGE).message(4, gauge(&[]).uint(6, min)), "the timestamp of a metric is out of range"),
        (family("m", HISTOGRAM).message(4, le), "a metric has a label \"le\", which its type needs"),
    ] {
        let body = [bad.delimited(), good.clone()].concat();
        let read = samples(&body, &settings(true, true));
        assert_eq!(read.len(), 2, "{read:?}");
        assert!(
            read[0].contains(told) && read[0].ends_with("it is left out") | read[0].ends_with("the metric is left out"),
            "{read:?}"
        );
        assert_eq!(read[1], r#"{__name__="good"} 1.0"#);
    }
}

/// The error of a native histogram: its end, from what it "has" on.
fn histogram_refusal(histogram: Message) -> String {
    let error = refusal(&body(HISTOGRAM, 7, histogram));
    let (_, reason) = error.split_once("a native histogram ").unwrap_or_else(|| panic!("{error}"));
    reason.strip_suffix("; it is left out").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn spans_that_lie_are_refused() {
    let of = |spans: &[(i32, u32)], deltas: &[i64]| {
        let spans = spans.iter().fold(Message::new().uint(1, 3), |all, &(offset, length)| all.span(12, offset, length));
        histogram_refusal(spans.packed_sints(13, deltas))
    };
    assert_eq!(of(&[(0, 2)], &[1, 0, 0]), "has positive spans of 2 buckets and 3 of them");
    assert_eq!(of(&[(0, 4)], &[1, 0, 0]), "has positive spans of 4 buckets and 3 of them");
    assert_eq!(of(&[(0, 2), (-1, 1)], &[1, 0, 0]), "goes back by 1 in a positive span");
    assert_eq!(of(&[(0, 1), (i32::MIN, 2)], &[1, 0, 0]), "goes back by 2147483648 in a positive span");
    assert_eq!(of(&[(i32::MAX, 3)], &[1, 0, 0]), "has positive buckets with numbers above 2147483647");
    assert_eq!(of(&[(1, 1), (i32::MAX, 2)], &[1, 0, 0]), "has positive buckets with numbers above 2147483647");
    assert_eq!(
        of(&[(0, u32::MAX), (0, u32::MAX)], &[1, 0, 0]),
        "has positive spans of 8589934590 buckets and 3 of them"
    );
}

/// A length is what it is, and nothing is made for it.
#[test]
fn a_bucket_length_of_2_to_the_60_is_refused() {
    let span = Message::new().sint(1, 0).uint(2, 1 << 60 | 3);
    let lie = Message::new().uint(1, 3).message(12, span).packed_sints(13, &[1, 0]);
    // As protobuf has it, a uint32 is what is in the lower half.
    assert_eq!(histogram_refusal(lie), "has positive spans of 3 buckets and 2 of them");
    let packed =
        Message::new().uint(1, 3).span(12, 0, 3).raw(&[0x6a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let told = refusal(&body(HISTOGRAM, 7, packed));
    assert!(
        told.ends_with("field 13 says that it has 1152921504606846976 bytes, and its message has 0 more"),
        "{told}"
    );
}

#[test]
fn deltas_that_go_below_zero_are_refused() {
    let of = |deltas: &[i64]| Message::new().uint(1, 3).span(12, 0, deltas.len() as u32).packed_sints(13, deltas);
    assert_eq!(histogram_refusal(of(&[1, -2, 5])), "has a positive bucket with a count below zero");
    assert_eq!(histogram_refusal(of(&[i64::MAX, i64::MAX, i64::MAX])), "has a positive bucket with a count below zero");
    assert_eq!(histogram_refusal(of(&[i64::MIN, i64::MIN])), "has a positive bucket with a count below zero");
    let below = Message::new().uint(1, 3).span(9, 0, 1).sint(10, -1);
    assert_eq!(histogram_refusal(below), "has a negative bucket with a count below zero");
    let float = Message::new().double(4, 3.0).span(12, 0, 1).double(14, -0.5);
    assert_eq!(histogram_refusal(float), "has a positive bucket with a count below zero");
    let zero = Message::new().double(4, 3.0).double(8, -1.0).span(12, 0, 0);
    assert_eq!(histogram_refusal(zero), "has a count below zero");
}

#[test]
fn buckets_sum_up_to_the_count() {
    let of = |count: u64, sum: f64| {
        body(
            HISTOGRAM,
            7,
            Message::new().uint(1, count).double(2, sum).uint(7, 1).span(12, 0, 2).packed_sints(13, &[1, 0]),
        )
    };
    assert_eq!(samples(&of(3, 1.0), &settings(true, false)).len(), 1);
    assert!(refusal(&of(4, 1.0)).contains("has 3 observations in its buckets and 4 as their count"));
    // Observations that are no number are in no bucket.
    assert!(samples(&of(4, f64::NAN), &settings(true, false))[0].contains("count 4.0 sum NaN"));
    assert!(refusal(&of(2, f64::NAN)).contains("has 3 observations in its buckets and 2 as their count"));
    let huge = [i64::MAX, 0, 0, 0];
    let huge = Message::new().uint(1, u64::MAX).uint(7, u64::MAX).span(12, 0, 4).packed_sints(13, &huge);
    assert!(histogram_refusal(huge).starts_with("has 55340232221128654843 observations"));
}

#[test]
fn a_schema_or_a_zero_bucket_that_does_not_exist_is_refused() {
    for schema in [-5, 9, 52, -52, -54, i32::MAX, i32::MIN] {
        let told = histogram_refusal(Message::new().sint(5, i64::from(schema)).span(12, 0, 0));
        assert_eq!(told, format!("has schema {schema}, which is none of -4 to 8 and -53"));
    }
    for width in [f64::NAN, -1.0, f64::INFINITY] {
        let told = histogram_refusal(Message::new().double(6, width).span(12, 0, 0));
        assert_eq!(told, format!("has {width} as the width of its zero bucket"));
    }
}

#[test]
fn thousands_of_spans_and_buckets_have_a_limit() {
    let spans = |count: usize| {
        let spans = (0..count).fold(Message::new().uint(1, count as u64), |all, _| all.span(12, 1, 1));
        spans.packed_sints(13, &[&[1][..], &vec![0; count - 1]].concat())
    };
    assert_eq!(samples(&body(HISTOGRAM, 7, spans(SPANS_MAX)), &settings(true, false)).len(), 1);
    assert_eq!(histogram_refusal(spans(SPANS_MAX + 1)), format!("has more than {SPANS_MAX} spans"));
    let buckets = |count: usize| {
        let deltas = [&[1][..], &vec![0; count - 1]].concat();
        Message::new().uint(1, count as u64).span(12, -9, count as u32).packed_sints(13, &deltas)
    };
    assert_eq!(samples(&body(HISTOGRAM, 7, buckets(BUCKETS_MAX)), &settings(true, false)).len(), 1);
    assert_eq!(histogram_refusal(buckets(BUCKETS_MAX + 1)), format!("has more than {BUCKETS_MAX} buckets"));
    let floats = Message::new().double(4, 1.0).span(12, 0, 0).packed_doubles(14, &vec![0.0; BUCKETS_MAX + 1]);
    assert_eq!(histogram_refusal(floats), format!("has more than {BUCKETS_MAX} buckets"));
}

/// Text that is no protobuf, and the other way round, even where a comment's line break looks like a tag.
#[test]
fn a_text_is_not_taken_for_protobuf() {
    for text in ["", "#\n", "# HELP a b\n", "a 1\n", "\n\n", "#\n\u{1}a\"", "  \n a 1"] {
        assert!(!protobuf::is_likely(text.as_bytes()), "{text:?}");
    }
    assert!(protobuf::is_likely(&good()));
    assert!(protobuf::is_likely(&Message::new().text(1, "a").uint(3, GAUGE).delimited()));
}

// ---- the predicting table ------------------------------------------------------------------------------------------

const AT_MS: i64 = 1_700_000_000_000;

/// Counts the metrics that it is shown.
#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

impl Admit for Counting {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        self.0.fetch_add(1, Ordering::Relaxed);
        Admission::Keep
    }
}

fn table(settings: Settings) -> (Table, Arc<AtomicUsize>) {
    let shown = Arc::default();
    (Table::new(settings, Box::new(Counting(Arc::clone(&shown))), Labels::new()), shown)
}

fn scrape(table: &mut Table, format: Format, body: &[u8], piece: usize) -> Result<(Counts, Parsed), String> {
    table.begin(AT_MS);
    table.read_as(format);
    let fed = body.chunks(piece).try_for_each(|bytes| table.feed(bytes));
    match fed.and_then(|()| table.finish_body()) {
        Ok(counts) => {
            table.accept();
            Ok((counts, table.take()))
        }
        Err(refusal) => {
            table.fail();
            Err(format!("{refusal}, {} markers", table.take().points.len()))
        }
    }
}

fn scrape_protobuf(table: &mut Table, body: &[u8]) -> (Counts, Parsed) {
    scrape(table, Format::Protobuf, body, usize::MAX).expect("well-formed")
}

/// The samples as [`lines`] has them; markers as such.
fn table_lines(parsed: &Parsed) -> Vec<String> {
    let line = |point: Point<'_>| {
        let series = parsed.series.get(point.series);
        let labels: Labels<'_> = series.labels().chain([(METRIC_NAME, series.name())]).collect();
        if point.value.is_stale() {
            let kind = if matches!(point.value, Value::Histogram(_)) { "histogram" } else { "float" };
            return format!("{labels} stale {kind}");
        }
        let reading = match point.value {
            Value::Float(value) => Reading::Float(value),
            Value::Histogram(value) => Reading::Histogram(Box::new(value.clone())),
        };
        let exemplars = parsed.exemplars.iter().filter(|exemplar| exemplar.series == point.series);
        let exemplars =
            exemplars.cloned().map(|Exemplar { labels, value, at_ms, .. }| LineExemplar { labels, value, at_ms });
        let created = parsed.created.iter().find(|created| created.series == point.series);
        let sample = Sample {
            labels,
            reading,
            own_ms: point.own_ms,
            exemplars: exemplars.collect(),
            created_ms: created.map(|created| created.at_ms),
        };
        self::line(&sample, series.family())
    };
    parsed.points.iter().map(line).collect()
}

/// The same without family, for short.
fn table_samples(parsed: &Parsed) -> Vec<String> {
    let short = |line: String| line.split_once(" | ").map_or(line.clone(), |(_, sample)| sample.to_owned());
    table_lines(parsed).into_iter().map(short).collect()
}

#[test]
fn the_table_reads_real_bodies_as_the_plain_reader_does() {
    let Some(files) = corpus_bodies() else {
        println!("skipped: CORPUS is not set");
        return;
    };
    for path in files {
        let body = fs::read(&path).expect("a body");
        for (native, classic_too) in [(true, true), (true, false), (false, false)] {
            let expected = lines(&body, &settings(native, classic_too)).expect("a real body is read");
            for piece in [1, 7, 1021, usize::MAX] {
                let (mut table, shown) = table(settings(native, classic_too));
                let (counts, first) = scrape(&mut table, Format::Protobuf, &body, piece).expect("well-formed");
                assert_eq!(table_lines(&first), expected, "{}", path.display());
                assert_eq!(counts.samples_scraped as usize, expected.len());
                assert_eq!((counts.bad_lines, counts.body_bytes), (0, body.len() as u64));
                assert_eq!(shown.swap(0, Ordering::Relaxed), expected.len());
                for piece in [piece, usize::MAX] {
                    let (again, second) = scrape(&mut table, Format::Protobuf, &body, piece).expect("well-formed");
                    assert_eq!(again, Counts { series_added: 0, ..counts.clone() });
                    assert_eq!(table_lines(&second), expected, "{}", path.display());
                    assert!(Arc::ptr_eq(&first.series, &second.series), "a steady target shares its series");
                    assert!(Arc::ptr_eq(&first.created, &second.created), "and its created timestamps");
                }
                assert_eq!(shown.load(Ordering::Relaxed), 0, "{}: nothing was new", path.display());
            }
        }
    }
}

fn gauges(metrics: &[(&[(&str, &str)], f64)]) -> Vec<u8> {
    let metric = |(labels, value): &(&[(&str, &str)], f64)| {
        let metric = labels.iter().fold(Message::new(), |metric, (name, value)| metric.label(name, value));
        metric.message(2, Message::new().double(1, *value))
    };
    metrics.iter().map(metric).fold(family("g", GAUGE), |family, metric| family.message(4, metric)).delimited()
}

#[test]
fn labels_in_another_order_are_the_same_series() {
    let (mut table, shown) = table(settings(true, false));
    let (_, first) = scrape_protobuf(&mut table, &gauges(&[(&[("a", "1"), ("b", "2")], 1.0)]));
    let swapped = gauges(&[(&[("b", "2"), ("a", "1")], 2.0)]);
    let (counts, second) = scrape_protobuf(&mut table, &swapped);
    assert_eq!(
        (counts.series_added, table_samples(&second)),
        (0, vec![r#"{__name__="g",a="1",b="2"} 2.0"#.to_owned()])
    );
    assert!(Arc::ptr_eq(&first.series, &second.series));
    assert_eq!(shown.load(Ordering::Relaxed), 2, "another order is another line");
    // Both at once: one series, twice.
    let both = gauges(&[(&[("a", "1"), ("b", "2")], 1.0), (&[("b", "2"), ("a", "1")], 2.0)]);
    let (counts, third) = scrape_protobuf(&mut table, &both);
    assert_eq!((counts.duplicates, table_samples(&third)), (1, vec![r#"{__name__="g",a="1",b="2"} 1.0"#.to_owned()]));
    assert_eq!(shown.load(Ordering::Relaxed), 2);
}

/// The parts of a metric are told apart by more than their place, and so are labels that stand apart.
#[test]
fn metrics_and_buckets_that_move_stay_what_they_are() {
    let bucket = |count, bound| Message::new().uint(1, count).double(2, bound);
    let histogram = |buckets: &[(u64, f64)]| {
        let all =
            buckets.iter().fold(Message::new().uint(1, 9), |all, &(count, bound)| all.message(3, bucket(count, bound)));
        body(HISTOGRAM, 7, all)
    };
    let (mut table, _) = table(settings(true, false));
    for buckets in [&[(1, 1.0), (2, 2.0)][..], &[(2, 2.0), (1, 1.0)], &[(3, 2.0)], &[(1, 1.0), (2, 2.0), (3, 3.0)]] {
        let body = histogram(buckets);
        let (_, parsed) = scrape_protobuf(&mut table, &body);
        let mut read = table_samples(&parsed);
        read.retain(|line| !line.contains(" stale "));
        assert_eq!(read, samples(&body, &settings(true, false)));
    }
    let apart = Message::new().label("a", "1").message(2, Message::new().double(1, 3.0)).label("b", "2");
    let apart = family("g", GAUGE).message(4, apart).delimited();
    for _ in 0..2 {
        let (_, parsed) = scrape_protobuf(&mut table, &apart);
        assert_eq!(table_samples(&parsed)[0], r#"{__name__="g",a="1",b="2"} 3.0"#);
    }
}

#[test]
fn a_family_that_changes_what_it_says_of_itself_is_read_anew() {
    let of = |kind, help: &str, unit: &str| {
        let metric = Message::new().label("a", "1").message(7, native());
        Message::new().text(1, "m").text(2, help).uint(3, kind).message(4, metric).text(5, unit).delimited()
    };
    let (mut table, _) = table(settings(true, true));
    for (kind, help, unit) in [
        (HISTOGRAM, "Help.", ""),
        (GAUGE_HISTOGRAM, "Help.", ""),
        (GAUGE_HISTOGRAM, "Help", ".s"),
        (GAUGE_HISTOGRAM, "Help.s", ""),
        (HISTOGRAM, "Help.", ""),
    ] {
        let body = of(kind, help, unit);
        let expected = lines(&body, &settings(true, true)).expect("well-formed");
        for _ in 0..2 {
            assert_eq!(table_lines(&scrape_protobuf(&mut table, &body).1), expected);
        }
    }
}

#[test]
fn the_marker_of_a_native_histogram_is_a_histogram() {
    let (mut table, _) = table(settings(true, true));
    scrape_protobuf(&mut table, &body(HISTOGRAM, 7, native()));
    let (_, parsed) = scrape_protobuf(&mut table, &[]);
    let classic = ["m_bucket\",le=\"2.0\"", "m_bucket\",le=\"+Inf\"", "m_sum\"", "m_count\""];
    let classic = classic.map(|name| format!("{{__name__=\"{name}}} stale float"));
    let expected: Vec<String> = [r#"{__name__="m"} stale histogram"#.to_owned()].into_iter().chain(classic).collect();
    assert_eq!(table_samples(&parsed), expected);
    // It comes again, and the target goes.
    scrape_protobuf(&mut table, &body(HISTOGRAM, 7, native()));
    assert_eq!(table_samples(&table.end()), expected);
}

#[test]
fn a_target_may_alternate_between_text_and_protobuf() {
    let (mut table, shown) = table(settings(true, false));
    let text = "# HELP g Help.\n# TYPE g gauge\ng{a=\"1\"} 1\n";
    let protobuf = gauges(&[(&[("a", "1")], 2.0)]);
    let (_, first) = scrape(&mut table, Format::Text, text.as_bytes(), usize::MAX).expect("well-formed");
    for round in 0..3 {
        let (counts, parsed) = scrape_protobuf(&mut table, &protobuf);
        let expected = lines(&protobuf, &settings(true, false)).expect("well-formed");
        assert_eq!((counts.series_added, table_lines(&parsed)), (0, expected));
        let (counts, parsed) = scrape(&mut table, Format::Text, text.as_bytes(), 3).expect("well-formed");
        assert_eq!((counts.series_added, table_samples(&parsed)), (0, vec![r#"{__name__="g",a="1"} 1.0"#.to_owned()]));
        assert!(Arc::ptr_eq(&first.series, &parsed.series), "round {round}");
    }
    assert_eq!(shown.load(Ordering::Relaxed), 2, "a line of each format, once");
}

/// A series whose metric is left out is not there, and not gone.
#[test]
fn a_metric_that_is_left_out_keeps_its_series() {
    let (mut table, _) = table(settings(true, true));
    let good = body(HISTOGRAM, 7, native());
    let bad = body(HISTOGRAM, 7, native().uint(1, 13));
    scrape_protobuf(&mut table, &good);
    let (counts, parsed) = scrape_protobuf(&mut table, &bad);
    assert_eq!((counts.bad_lines, table_samples(&parsed)), (1, Vec::new()));
    let told = counts.first_bad_lines[0].to_string();
    assert!(
        told.ends_with("a native histogram has 12 observations in its buckets and 13 as their count; it is left out"),
        "{told}"
    );
    let (counts, parsed) = scrape_protobuf(&mut table, &good);
    assert_eq!((counts.series_added, parsed.points.len()), (0, 5));
}

#[test]
fn a_body_whose_bytes_are_wrong_fails_the_scrape() {
    let body = good();
    for piece in [1, 7, usize::MAX] {
        let (mut table, _) = table(settings(true, false));
        scrape_protobuf(&mut table, &body);
        let cut = scrape(&mut table, Format::Protobuf, &body[..body.len() - 1], piece).expect_err("it is cut");
        let read = body.len() - 1 - lines_end(&body);
        let at = lines_end(&body);
        let told = format!("byte {at}: the body ends within a message, of which {read} bytes came");
        assert_eq!(cut, format!("the body is not the protobuf that it is read as: {told}, 1 markers"));
        let wrong = [&body[..], &[1, 7]].concat();
        let refused = scrape(&mut table, Format::Protobuf, &wrong, piece).expect_err("no field has wire type 7");
        assert!(refused.contains(&format!(": byte {}: 7 is no field of protobuf", body.len() + 1)), "{refused}");
        assert_eq!(
            table_lines(&scrape_protobuf(&mut table, &body).1),
            lines(&body, &settings(true, false)).expect("good")
        );
    }
}

/// Where the second message of [`good`] starts.
fn lines_end(good: &[u8]) -> usize {
    usize::from(good[0]) + 1
}

#[test]
fn limits_hold_for_protobuf_too() {
    let body = gauges(&[(&[("a", "1")], 1.0), (&[("a", "2")], 1.0), (&[("a", "3")], 1.0)]);
    let refused = |settings| {
        let (mut table, _) = table(settings);
        scrape(&mut table, Format::Protobuf, &body, usize::MAX).map(|_| ())
    };
    let limited = |sample_limit| Settings { sample_limit, ..Settings::default() };
    assert_eq!(refused(limited(3)), Ok(()));
    assert_eq!(refused(limited(2)), Err("more than 2 samples after relabelling (sample_limit), 0 markers".to_owned()));
    let growth = Settings { growth_max: 1000, ..Settings::default() };
    assert!(refused(growth).expect_err("too much is new").contains("growth_limit, 1000 bytes of memory"));
}

/// A bucket of an integer histogram may be a byte, and is eight when it is read: a body of them is no more than others.
#[test]
fn the_buckets_of_a_body_count_as_growth_each_time() {
    let buckets = vec![0; 10_000];
    let histogram = Message::new().span(12, 0, 10_000).packed_sints(13, &buckets);
    let of = |count: usize| {
        let metric = |family: Message, at: usize| {
            family.message(4, Message::new().label("at", &at.to_string()).message(7, histogram.clone()))
        };
        (0..count).fold(family("h", HISTOGRAM), metric).delimited()
    };
    let growth = Settings { growth_max: 1 << 20, ..settings(true, false) };
    let (mut table, _) = table(growth);
    for _ in 0..2 {
        scrape_protobuf(&mut table, &of(10));
        let error = scrape(&mut table, Format::Protobuf, &of(20), usize::MAX).expect_err("too many buckets");
        assert!(error.contains("more new series, comments, native buckets and lines that come again"), "{error}");
    }
}

#[test]
fn a_native_histogram_has_a_limited_number_of_exemplars() {
    let exemplar = Message::new().double(2, 1.0).time_ms(3, 1000);
    let many = (0..EXEMPLARS_MAX + 1).fold(Message::new().span(12, 0, 0), |all, _| all.message(16, exemplar.clone()));
    let read = samples(&body(HISTOGRAM, 7, many), &settings(true, false));
    assert_eq!(read[0].matches(" * ").count(), EXEMPLARS_MAX);
}

// ---- promferry parse -----------------------------------------------------------------------------------------------

/// Exit code, stdout, stderr.
fn parse(input: &[u8], arguments: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_promferry"));
    command.arg("parse").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    child.stdin.take().expect("a pipe").write_all(input).expect("it is read");
    let ended = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (ended.status.code().expect("a code"), text(ended.stdout), text(ended.stderr))
}

#[test]
fn parse_prints_protobuf_as_json() {
    let exemplar = Message::new().label("trace_id", "x").double(2, 0.5).time_ms(3, 1500);
    let counter = Message::new().double(1, 5.0).message(2, exemplar).time_ms(3, 1000);
    let input = [body(COUNTER, 3, counter), body(HISTOGRAM, 7, native())].concat();
    let expected = r#"{"name":"m","labels":{},"value":"5","created_ms":1000,"exemplars":[{"labels":{"trace_id":"x"},"value":"0.5","timestamp_ms":1500}]}
{"name":"m","labels":{},"histogram":{"schema":3,"count":"12","sum":"-4.5","zero_threshold":"0.001","zero_count":"2","positive_spans":[{"offset":1,"length":2},{"offset":3,"length":1}],"positive_counts":["2","5","2"],"negative_spans":[{"offset":-2,"length":1}],"negative_counts":["1"]},"created_ms":5000}
{"name":"m_bucket","labels":{"le":"2.0"},"value":"12","created_ms":5000}
{"name":"m_bucket","labels":{"le":"+Inf"},"value":"12","created_ms":5000}
{"name":"m_sum","labels":{},"value":"-4.5","created_ms":5000}
{"name":"m_count","labels":{},"value":"12","created_ms":5000}
"#;
    for format in ["protobuf", "auto"] {
        assert_eq!(parse(&input, &["--json", "--format", format]), (0, expected.to_owned(), String::new()));
    }
    assert_eq!(parse(&input, &[]).1, "6 samples, all lines read\n");
    let cut = parse(&input[..input.len() - 1], &["--format", "protobuf"]);
    assert_eq!((cut.0, cut.1.as_str()), (1, ""));
    assert!(cut.2.starts_with("stdin: byte "), "{}", cut.2);
    let nameless = Message::new().message(4, Message::new()).delimited();
    let told = "stdin: byte 1: a family has no name; it is left out\n0 samples; lines that cannot be read: 1\n";
    assert_eq!(parse(&nameless, &["--format", "protobuf"]), (1, String::new(), told.to_owned()));
}
