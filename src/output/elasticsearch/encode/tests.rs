//! Documents read back as JSON, against the scrapes that they were made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::*;
use crate::config::checked::{DocumentShape, TelegrafTags};
use crate::model::{
    Chunk, ChunkBuilder, Family, Histogram, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet,
};
use crate::pipeline::{Ledger, Reasons, disk, reason};

/// 2027-01-02T03:04:05.006Z.
const AT_MS: i64 = 1_798_859_045_006;

/// Family, type, series' name, labels.
type Row<'a> = (&'a str, MetricType, &'a str, &'a [(&'a str, &'a str)]);

fn chunk(rows: &[Row<'_>]) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::default();
    for (family, kind, name, labels) in rows {
        let family = builder.family(Family { name: family, kind: *kind, ..Family::default() });
        builder.push(family, name, labels.iter().copied());
    }
    builder.finish()
}

fn scrape(key: u64, series: &Arc<SeriesSet>, points: &mut PointsBuilder) -> Arc<Scrape> {
    let url = "https://10.0.0.1:9100/metrics".to_owned();
    Arc::new(Scrape {
        origin: Arc::new(Origin { key, labels: Labels::new(), url }),
        at_ms: AT_MS,
        series: series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

/// A scrape of these series, with these values.
fn of(rows: &[Row<'_>], values: &[f64]) -> Arc<Scrape> {
    let mut points = PointsBuilder::default();
    for (at, value) in values.iter().enumerate() {
        points.push_float(at as u32, *value, None);
    }
    scrape(1, &Arc::new(SeriesSet::new(vec![chunk(rows)])), &mut points)
}

fn batch(slices: Vec<Slice>) -> Batch {
    let samples = slices.iter().map(Slice::samples).sum();
    Batch::new(slices, Ledger::new("test").offer(samples), Instant::now())
}

fn whole(scrapes: &[Arc<Scrape>]) -> Batch {
    batch(scrapes.iter().cloned().map(Slice::whole).collect())
}

fn tags() -> TelegrafTags {
    TelegrafTags { measurement: "prometheus".into(), host: true, url: true }
}

fn encoder(document: DocumentShape, index: &str) -> Encoder {
    Encoder {
        shape: Shape::new(document, &tags(), "vm-1".into()),
        index: IndexName::new(index),
        indexes_max: 100,
        action: BulkAction::Create,
        routing: None,
        pipeline: None,
        compression: Compression::None,
    }
}

/// Encodes a batch, checks that nothing is lost, and returns (action, document) of each item.
fn documents(encoder: &Encoder, cache: &mut Cache, batch: &Batch) -> (Vec<(Json, Json)>, Encoded) {
    let encoded = encoder.encode(Dialect::default(), cache, batch);
    assert_eq!(encoded.samples() + encoded.skipped.values().sum::<u64>(), batch.samples());
    assert_eq!(encoded.items.last().map_or(0, |item| item.end), encoded.body.len());
    let read = |at: usize| {
        let text = std::str::from_utf8(encoded.item(at)).expect("UTF-8");
        let lines: Vec<&str> = text.strip_suffix('\n').expect("ends its line").split('\n').collect();
        let [action, document] = lines[..] else { panic!("two lines: {text}") };
        let parse = |line: &str| serde_json::from_str::<Json>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        (parse(action), parse(document))
    };
    ((0..encoded.items.len()).map(read).collect(), encoded)
}

fn lines(shape: DocumentShape, scrape: Arc<Scrape>) -> Vec<String> {
    let encoded = encoder(shape, "m").encode(Dialect::default(), &mut Cache::default(), &whole(&[scrape]));
    let text = String::from_utf8(encoded.body.into()).unwrap();
    text.lines().skip(1).step_by(2).map(str::to_owned).collect()
}

const REQUESTS: &[(&str, &str)] = &[("code", "200"), ("instance", "a:1")];

#[test]
fn a_label_set_is_one_document() {
    let rows: &[Row<'_>] = &[
        ("requests_total", MetricType::Counter, "requests_total", REQUESTS),
        ("load", MetricType::Gauge, "load", &[("instance", "a:1")]),
        ("errors_total", MetricType::Counter, "errors_total", REQUESTS),
    ];
    assert_eq!(
        lines(DocumentShape::TimeSeries, of(rows, &[7.0, 0.25, -1e300])),
        [
            "{\"@timestamp\":\"2027-01-02T03:04:05.006Z\",\"_metric_names_hash\":\"a0fdaa46afbf6f25\",\
             \"labels\":{\"code\":\"200\",\"instance\":\"a:1\"},\"metrics\":{\"requests_total\":7.0,\"errors_total\":-1e+300}}",
            "{\"@timestamp\":\"2027-01-02T03:04:05.006Z\",\"_metric_names_hash\":\"7a5625fafd2d011d\",\
             \"labels\":{\"instance\":\"a:1\"},\"metrics\":{\"load\":0.25}}",
        ]
    );
}

#[test]
fn the_documents_in_the_manual_are_real() {
    let (c, h) = (MetricType::Counter, MetricType::Histogram);
    let target: &[(&str, &str)] = &[("instance", "10.0.16.4:9100"), ("job", "app")];
    let code: &[(&str, &str)] = &[("code", "200"), ("instance", "10.0.16.4:9100"), ("job", "app")];
    let bucket = |le| [("instance", "10.0.16.4:9100"), ("job", "app"), ("le", le)];
    let (first, last) = (bucket("0.1"), bucket("+Inf"));
    let rows: &[Row<'_>] = &[
        ("requests_total", c, "requests_total", code),
        ("errors_total", c, "errors_total", code),
        ("latency_seconds", h, "latency_seconds_bucket", &first),
        ("latency_seconds", h, "latency_seconds_bucket", &last),
        ("latency_seconds", h, "latency_seconds_sum", target),
        ("latency_seconds", h, "latency_seconds_count", target),
    ];
    let manual = include_str!("../../../../docs/elasticsearch.md");
    let mut sections = manual.split("\n### `").skip(1);
    for (name, shape, shown) in [
        ("timeseries`", DocumentShape::TimeSeries, 4),
        ("telegraf`", DocumentShape::Telegraf, 3),
        ("telegraf_v1`", DocumentShape::TelegrafV1, 2),
        ("metricbeat`", DocumentShape::Metricbeat, 2),
    ] {
        let section = sections.next().unwrap();
        assert!(section.starts_with(name), "{section}");
        let written: Vec<String> = lines(shape, of(rows, &[1027.0, 3.0, 1.0, 3.0, 1.5, 3.0]))
            .into_iter()
            .map(|line| line.replace("10.0.0.1", "10.0.16.4"))
            .collect();
        let documents: Vec<&str> = section.lines().filter(|line| line.starts_with("{\"@timestamp")).collect();
        assert_eq!(documents.len(), shown);
        for document in documents {
            assert!(written.iter().any(|line| line == document), "{document}\nis none of\n{}", written.join("\n"));
        }
    }
}

fn histogram_and_summary() -> Arc<Scrape> {
    let (h, s) = (MetricType::Histogram, MetricType::Summary);
    let rows: &[Row<'_>] = &[
        ("lat", h, "lat_bucket", &[("le", "0.1"), ("path", "/")]),
        ("lat", h, "lat_bucket", &[("le", "1.0"), ("path", "/")]),
        ("lat", h, "lat_bucket", &[("le", "+Inf"), ("path", "/")]),
        ("lat", h, "lat_sum", &[("path", "/")]),
        ("lat", h, "lat_count", &[("path", "/")]),
        ("gc", s, "gc", &[("quantile", "0.5")]),
        ("gc", s, "gc_sum", &[]),
        ("gc", s, "gc_count", &[]),
    ];
    of(rows, &[1.0, 2.0, 3.0, 1.5, 3.0, 0.5, 1.75, 9.0])
}

#[test]
fn telegrafs_tags_and_measurement_can_be_others() {
    let rows: &[Row<'_>] = &[("load", MetricType::Gauge, "load", &[("a", "1"), ("url", "mine")])];
    let tags = TelegrafTags { measurement: "c\"f".into(), host: false, url: false };
    let encoder = Encoder {
        shape: Shape::new(DocumentShape::Telegraf, &tags, "vm-1".into()),
        ..encoder(DocumentShape::Telegraf, "m")
    };
    let encoded = encoder.encode(Dialect::default(), &mut Cache::default(), &whole(&[of(rows, &[0.25])]));
    let text = String::from_utf8(encoded.body.into()).unwrap();
    assert_eq!(
        text.lines().nth(1),
        Some(
            r#"{"@timestamp":"2027-01-02T03:04:05.006Z","tag":{"a":"1","url":"mine"},"measurement_name":"c\"f","c\"f":{"load":0.25}}"#
        )
    );
}

#[test]
fn telegraf_version_2_has_a_document_a_bucket() {
    let head = "{\"@timestamp\":\"2027-01-02T03:04:05.006Z\",\"tag\":{\"host\":\"vm-1\",";
    let rest = "\"url\":\"https://10.0.0.1:9100/metrics\"},\"measurement_name\":\"prometheus\",\"prometheus\":{";
    assert_eq!(
        lines(DocumentShape::Telegraf, histogram_and_summary()),
        [
            format!("{head}\"le\":\"0.1\",\"path\":\"/\",{rest}\"lat_bucket\":1.0}}}}"),
            format!("{head}\"le\":\"1\",\"path\":\"/\",{rest}\"lat_bucket\":2.0}}}}"),
            format!("{head}\"le\":\"+Inf\",\"path\":\"/\",{rest}\"lat_bucket\":3.0}}}}"),
            format!("{head}\"path\":\"/\",{rest}\"lat_sum\":1.5,\"lat_count\":3.0}}}}"),
            format!("{head}\"quantile\":\"0.5\",{rest}\"gc\":0.5}}}}"),
            format!("{head}{rest}\"gc_sum\":1.75,\"gc_count\":9.0}}}}"),
        ]
    );
}

#[test]
fn telegraf_version_1_has_a_document_a_histogram() {
    let tail = "\"url\":\"https://10.0.0.1:9100/metrics\"},\"measurement_name\":";
    assert_eq!(
        lines(DocumentShape::TelegrafV1, histogram_and_summary()),
        [
            format!(
                "{{\"@timestamp\":\"2027-01-02T03:04:05.006Z\",\"tag\":{{\"host\":\"vm-1\",\"path\":\"/\",{tail}\"lat\",\
                 \"lat\":{{\"0.1\":1.0,\"1\":2.0,\"+Inf\":3.0,\"sum\":1.5,\"count\":3.0}}}}"
            ),
            format!(
                "{{\"@timestamp\":\"2027-01-02T03:04:05.006Z\",\"tag\":{{\"host\":\"vm-1\",{tail}\"gc\",\
                 \"gc\":{{\"0.5\":0.5,\"sum\":1.75,\"count\":9.0}}}}"
            ),
        ]
    );
}

#[test]
fn telegraf_has_the_same_documents_for_openmetrics_and_for_text() {
    let (c, g, h, i) = (MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Info);
    let inf: &[(&str, &str)] = &[("le", "+Inf")];
    let openmetrics: &[Row<'_>] = &[
        ("c", c, "c_total", &[]),
        ("c", c, "c_created", &[]),
        ("h", h, "h_bucket", inf),
        ("h", h, "h_sum", &[]),
        ("h", h, "h_created", &[]),
        ("i", i, "i_info", &[("v", "1")]),
    ];
    let text: &[Row<'_>] = &[
        ("c_total", c, "c_total", &[]),
        ("c_created", g, "c_created", &[]),
        ("h", h, "h_bucket", inf),
        ("h", h, "h_sum", &[]),
        ("h_created", g, "h_created", &[]),
        ("i_info", g, "i_info", &[("v", "1")]),
    ];
    for (shape, documents) in [(DocumentShape::Telegraf, 6), (DocumentShape::TelegrafV1, 5)] {
        let found = [openmetrics, text].map(|rows| lines(shape, of(rows, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
        assert_eq!(found[0], found[1]);
        assert_eq!(found[0].len(), documents);
    }
}

#[test]
fn telegraf_names_a_field_by_its_type_and_keeps_a_measurement_apart() {
    let labels: &[(&str, &str)] = &[("host", "from-label"), ("url", "x")];
    let rows: &[Row<'_>] = &[
        ("c_total", MetricType::Counter, "c_total", labels),
        ("g", MetricType::Gauge, "g", labels),
        ("u", MetricType::Unknown, "u", labels),
    ];
    let tags = "\"tag\":{\"host\":\"from-label\",\"url\":\"https://10.0.0.1:9100/metrics\"}";
    let found = lines(DocumentShape::TelegrafV1, of(rows, &[1.0, 2.0, 3.0]));
    assert!(found[0].ends_with(&format!("{tags},\"measurement_name\":\"c_total\",\"c_total\":{{\"counter\":1.0}}}}")));
    assert!(found[1].ends_with("\"g\":{\"gauge\":2.0}}"), "{found:?}");
    assert!(found[2].ends_with("\"u\":{\"value\":3.0}}"), "{found:?}");
    assert_eq!(lines(DocumentShape::Telegraf, of(rows, &[1.0, 2.0, 3.0])).len(), 3, "as Telegraf, one a metric");
}

#[test]
fn what_json_cannot_say_is_left_out_and_counted() {
    let rows: &[Row<'_>] = &[
        ("a", MetricType::Gauge, "a", &[("x", "1")]),
        ("b", MetricType::Gauge, "b", &[("x", "1")]),
        ("c", MetricType::Gauge, "c", &[("x", "2")]),
        ("d", MetricType::Gauge, "d", &[("x", "3")]),
        ("e", MetricType::Gauge, "e", &[("x", "4")]),
        ("f", MetricType::Histogram, "f", &[("x", "1")]),
        ("g", MetricType::Histogram, "g", &[("x", "1")]),
    ];
    let series = Arc::new(SeriesSet::new(vec![chunk(rows)]));
    let mut points = PointsBuilder::default();
    for (at, value) in [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, STALE_NAN].into_iter().enumerate() {
        points.push_float(at as u32, value, None);
    }
    points.push_histogram(5, Histogram { sum: 1.0, ..Histogram::stale() }, None);
    points.push_histogram(6, Histogram::stale(), None);
    let mut cache = Cache::default();
    let encoder = encoder(DocumentShape::TimeSeries, "m");
    let (found, encoded) = documents(&encoder, &mut cache, &whole(&[scrape(1, &series, &mut points)]));
    assert_eq!(found.len(), 1, "a document without a value is not written: {found:?}");
    assert_eq!(
        encoded.skipped,
        Reasons::from([
            (reason::NAN, 1),
            (reason::INFINITE, 2),
            (reason::STALE_MARKER, 2),
            (reason::UNSUPPORTED_TYPE, 1)
        ])
    );
    // The hash names all metrics of the label set: it must not flip when one of them turns NaN.
    points.push_float(0, 5.0, None);
    let (with_a, _) = documents(&encoder, &mut cache, &whole(&[scrape(1, &series, &mut points)]));
    assert_eq!(with_a[0].1["_metric_names_hash"], found[0].1["_metric_names_hash"]);
}

#[test]
fn times_of_their_own_are_documents_of_their_own() {
    let rows: &[Row<'_>] =
        &[("a", MetricType::Gauge, "a", &[]), ("b", MetricType::Gauge, "b", &[]), ("c", MetricType::Gauge, "c", &[])];
    let series = Arc::new(SeriesSet::new(vec![chunk(rows)]));
    let mut points = PointsBuilder::default();
    points.push_float(0, 1.0, Some(AT_MS - 500));
    points.push_float(1, 2.0, None);
    points.push_float(2, 3.0, Some(AT_MS - 500));
    points.push_float(0, 4.0, Some(AT_MS));
    points.push_float(2, 5.0, Some(i64::MAX));
    let scrape = scrape(1, &series, &mut points);
    let encoder = encoder(DocumentShape::TimeSeries, "m-%Y.%m.%d-%H");
    let (found, encoded) = documents(&encoder, &mut Cache::default(), &whole(&[scrape]));
    let read: Vec<_> =
        found.iter().map(|(_, doc)| (doc["@timestamp"].to_string(), doc["metrics"].to_string())).collect();
    let expected = [
        ("\"2027-01-02T03:04:04.506Z\"", "{\"a\":1.0,\"c\":3.0}"),
        ("\"2027-01-02T03:04:05.006Z\"", "{\"a\":4.0,\"b\":2.0}"),
        ("9223372036854775807", "{\"c\":5.0}"),
    ];
    assert_eq!(read, expected.map(|(time, metrics)| (time.to_owned(), metrics.to_owned())));
    assert_eq!(encoded.items.iter().map(|item| item.mark).collect::<Vec<_>>(), [OWN_TIME, 0, OWN_TIME]);
}

#[test]
fn the_index_is_named_by_the_samples_time_unless_that_is_far_off() {
    let series = Arc::new(SeriesSet::new(vec![chunk(&[("a", MetricType::Gauge, "a", &[])])]));
    let mut points = PointsBuilder::default();
    for own_ms in [None, Some(AT_MS - 6 * 3_600_000), Some(AT_MS - OWN_TIME_REACH_MS - 1), Some(i64::MIN + 1)] {
        points.push_float(0, 1.0, own_ms);
    }
    let batch = whole(&[scrape(1, &series, &mut points)]);
    let (found, encoded) = documents(&encoder(DocumentShape::TimeSeries, "m-%Y.%m.%d"), &mut Cache::default(), &batch);
    let names: Vec<_> = found.iter().map(|(action, _)| action["create"]["_index"].as_str().unwrap()).collect();
    assert_eq!(names, ["m-2027.01.02", "m-2027.01.02", "m-2027.01.01", "m-2027.01.02"]);
    assert_eq!(encoded.path_and_query.split('?').next(), Some("/_bulk"));

    let (found, encoded) = documents(&encoder(DocumentShape::TimeSeries, "m-é"), &mut Cache::default(), &batch);
    assert_eq!(found[0].0, serde_json::json!({"create": {}}));
    assert_eq!(encoded.path_and_query.split('?').next(), Some("/m-%C3%A9/_bulk"));
}

#[test]
fn series_that_rules_made_equal_are_both_kept() {
    let rows: &[Row<'_>] = &[
        ("a", MetricType::Gauge, "a", &[("x", "1")]),
        ("a", MetricType::Gauge, "a", &[("x", "1")]),
        ("b", MetricType::Gauge, "b", &[("x", "1")]),
    ];
    let encoder = encoder(DocumentShape::TimeSeries, "m");
    let (found, _) = documents(&encoder, &mut Cache::default(), &whole(&[of(rows, &[1.0, 2.0, 3.0])]));
    let metrics: Vec<_> = found.iter().map(|(_, doc)| doc["metrics"].to_string()).collect();
    assert_eq!(metrics, ["{\"a\":1.0,\"b\":3.0}", "{\"a\":2.0}"]);
    assert_ne!(found[0].1["_metric_names_hash"], found[1].1["_metric_names_hash"]);
}

#[test]
fn a_set_that_grows_keeps_its_documents_and_a_new_one_starts_over() {
    let first = chunk(&[("a", MetricType::Gauge, "a", &[("x", "1")])]);
    let second = chunk(&[("b", MetricType::Gauge, "b", &[("x", "1")]), ("c", MetricType::Gauge, "c", &[("x", "2")])]);
    let encoder = encoder(DocumentShape::TimeSeries, "m");
    let mut cache = Cache::default();
    let mut encode = |chunks: Vec<Arc<Chunk>>, is_last: bool| {
        let series = Arc::new(SeriesSet::new(chunks));
        let mut points = PointsBuilder::default();
        for number in 0..series.len() as u32 {
            points.push_float(number, f64::from(number), None);
        }
        let mut scrape = scrape(1, &series, &mut points);
        Arc::get_mut(&mut scrape).unwrap().is_last = is_last;
        let (found, _) = documents(&encoder, &mut cache, &whole(&[scrape]));
        (found.iter().map(|(_, doc)| doc["metrics"].to_string()).collect::<Vec<_>>(), cache.plans.len())
    };
    assert_eq!(encode(vec![first.clone()], false), (vec!["{\"a\":0.0}".to_owned()], 1));
    let grown = vec!["{\"a\":0.0,\"b\":1.0}".to_owned(), "{\"c\":2.0}".to_owned()];
    assert_eq!(encode(vec![first.clone(), second.clone()], false), (grown, 1));
    assert_eq!(encode(vec![first], false), (vec!["{\"a\":0.0}".to_owned()], 1));
    let other = vec!["{\"b\":0.0}".to_owned(), "{\"c\":1.0}".to_owned()];
    assert_eq!(encode(vec![second], true), (other, 0), "the last scrape of a target takes its plan with it");
}

#[test]
fn plans_of_targets_that_went_without_a_word_are_forgotten() {
    let encoder = encoder(DocumentShape::TimeSeries, "m");
    let mut cache = Cache::default();
    let series = Arc::new(SeriesSet::new(vec![chunk(&[("a", MetricType::Gauge, "a", &[])])]));
    for key in 0..10 * Plans::<Plan>::UNUSED_BATCHES_MAX {
        encoder.encode(Dialect::default(), &mut cache, &whole(&[scrape(key, &series, &mut PointsBuilder::default())]));
    }
    assert!(cache.plans.len() as u64 <= 2 * Plans::<Plan>::UNUSED_BATCHES_MAX, "{}", cache.plans.len());
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A chunk of made-up series; names, kinds and labels repeat, and some series are equal.
fn made_up_chunk(random: &mut Random) -> Arc<Chunk> {
    let kinds =
        [MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Summary, MetricType::Unknown];
    let mut builder = ChunkBuilder::default();
    for _ in 0..1 + random.below(20) {
        let number = random.below(6);
        let family = format!("f{number}\"é");
        let kind = kinds[number as usize % kinds.len()];
        let index = builder.family(Family { name: &family, kind, ..Family::default() });
        let name = format!("{family}{}", random.pick(&["", "_sum", "_count", "_bucket", "_total"]));
        let mut labels: Labels<'_> = Labels::new();
        for name in ["a", "le", "quantile", "url", "z\n\\"] {
            if random.below(3) == 0 {
                labels.set(name, *random.pick(&["1", "1.0", "+Inf", "x\u{1}\"y\\", "ü"]));
            }
        }
        builder.push(index, &name, labels.iter());
    }
    builder.finish()
}

fn made_up_scrape(random: &mut Random, chunks: &mut Vec<Arc<Chunk>>) -> Arc<Scrape> {
    if chunks.is_empty() || random.below(3) == 0 {
        chunks.push(made_up_chunk(random));
    }
    let series = Arc::new(SeriesSet::new(chunks.clone()));
    let mut points = PointsBuilder::default();
    let values = [0.0, 1.0, -2.5, 1e21, f64::NAN, f64::INFINITY, STALE_NAN];
    for number in 0..series.len() as u32 {
        match random.below(12) {
            0 => {}
            1 => points.push_histogram(number, Histogram::stale(), None),
            2 => points.push_float(number, *random.pick(&values), Some(AT_MS - random.below(3) as i64)),
            _ => points.push_float(number, *random.pick(&values), None),
        }
    }
    scrape(random.below(3), &series, &mut points)
}

/// (time, labels, name, value) of every sample that a document can hold.
type Facts = BTreeMap<(String, String, String, String), usize>;

fn facts_of_scrape(slice: &Slice, facts: &mut Facts) {
    for (point, series) in slice.points() {
        let Value::Float(value) = point.value else { continue };
        if value.is_finite() {
            let labels: BTreeMap<_, _> = series.labels().collect();
            let time = String::from_utf8(opening(slice.scrape.time_ms(&point))).unwrap();
            let labels = serde_json::to_string(&labels).unwrap();
            *facts.entry((time, labels, series.name().to_owned(), format!("{value:?}"))).or_default() += 1;
        }
    }
}

fn facts_of_document(document: &Json, facts: &mut Facts) {
    let time = format!("{{\"@timestamp\":{},", document["@timestamp"]);
    let labels: BTreeMap<&String, &Json> = document["labels"].as_object().unwrap().iter().collect();
    let labels = serde_json::to_string(&labels).unwrap();
    for (name, value) in document["metrics"].as_object().unwrap() {
        let value = format!("{:?}", value.as_f64().unwrap());
        *facts.entry((time.clone(), labels.clone(), name.clone(), value)).or_default() += 1;
    }
}

#[test]
fn every_sample_of_any_scrape_is_in_one_document_or_skipped() {
    let mut random = Random(0x5eed);
    let mut caches: [Cache; 3] = Default::default();
    let shapes = [DocumentShape::TimeSeries, DocumentShape::Telegraf, DocumentShape::TelegrafV1];
    let mut chunks = Vec::new();
    for round in 0..250 {
        if random.below(8) == 0 {
            chunks.clear();
        }
        let scrapes: Vec<_> = (0..1 + random.below(3)).map(|_| made_up_scrape(&mut random, &mut chunks)).collect();
        let of = 1u64 << random.below(3);
        let parts = |scrape: &Arc<Scrape>| -> Vec<Slice> {
            let group = |at: &u32| scrape.series.get(scrape.points.get(*at as usize).series).group() >> 32;
            let part = |index| {
                let positions = (0..scrape.points.len() as u32).filter(|at| group(at) % of == index);
                Slice::of(scrape.clone(), positions.collect())
            };
            (0..of).map(part).collect()
        };
        let batch = batch(scrapes.iter().flat_map(parts).collect());
        for (shape, cache) in shapes.into_iter().zip(&mut caches) {
            let (found, encoded) = documents(&encoder(shape, "m"), cache, &batch);
            let fresh = encoder(shape, "m").encode(Dialect::default(), &mut Cache::default(), &batch);
            assert_eq!(fresh.body, encoded.body, "what is cached changes nothing (round {round})");
            let distinct: BTreeSet<_> = encoded.points.iter().collect();
            assert_eq!(
                (distinct.len(), encoded.points.len()),
                (encoded.samples() as usize, encoded.samples() as usize)
            );
            for (at, (_, document)) in found.iter().enumerate() {
                // A field that is written twice would be one here.
                let fields = match shape {
                    DocumentShape::TimeSeries => &document["metrics"],
                    DocumentShape::Metricbeat => &document["prometheus"]["metrics"],
                    DocumentShape::Telegraf => &document["prometheus"],
                    DocumentShape::TelegrafV1 => &document[document["measurement_name"].as_str().unwrap()],
                };
                assert_eq!(fields.as_object().unwrap().len(), encoded.items[at].samples as usize, "{document}");
            }
            if shape == DocumentShape::TimeSeries {
                let (mut sent, mut expected) = (Facts::new(), Facts::new());
                found.iter().for_each(|(_, document)| facts_of_document(document, &mut sent));
                batch.slices.iter().for_each(|slice| facts_of_scrape(slice, &mut expected));
                assert_eq!(sent, expected, "round {round}");
            }
        }
    }
}

#[test]
fn no_two_documents_of_a_scrape_are_one_point_of_a_time_series() {
    let mut random = Random(0xfeed);
    for _ in 0..300 {
        let scrape = made_up_scrape(&mut random, &mut Vec::new());
        let batch = whole(&[scrape]);
        let (found, _) = documents(&encoder(DocumentShape::TimeSeries, "m"), &mut Cache::default(), &batch);
        let points: BTreeSet<_> = found
            .iter()
            .map(|(_, doc)| ["@timestamp", "labels", "_metric_names_hash"].map(|key| doc[key].to_string()))
            .collect();
        assert_eq!(points.len(), found.len(), "{found:#?}");
    }
}

/// The action lines of a scrape, in this dialect.
fn actions(encoder: &Encoder, dialect: Dialect, scrape: &Arc<Scrape>) -> Vec<Json> {
    let encoded = encoder.encode(dialect, &mut Cache::default(), &whole(std::slice::from_ref(scrape)));
    let text = String::from_utf8(encoded.body.into()).unwrap();
    text.lines().step_by(2).map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

const WITH_IDS: Dialect =
    Dialect { ids: true, routing: false, templates: false, require_data_stream: false, failure_store: false };

fn ids(shape: DocumentShape, scrape: &Arc<Scrape>) -> Vec<String> {
    let actions = actions(&encoder(shape, "m"), WITH_IDS, scrape);
    actions.iter().map(|action| action["create"]["_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_id_is_the_same_in_every_process_and_version() {
    // A change of these is a change of what every user has stored: a resend across the update would be a second document.
    let rows: &[Row<'_>] = &[
        ("requests_total", MetricType::Counter, "requests_total", REQUESTS),
        ("load", MetricType::Gauge, "load", &[("instance", "a:1")]),
    ];
    assert_eq!(
        ids(DocumentShape::TimeSeries, &of(rows, &[1.0, 2.0])),
        ["AAABotRauI7Sl-G1ZnvoIc_M7ZlZJiWi", "AAABotRauI5l_sa48EyCQZxsKp2-FsmU"]
    );
}

#[test]
fn an_id_depends_on_labels_and_names_and_time_and_on_nothing_else() {
    let (c, target) = (MetricType::Counter, &[("instance", "a:1")]);
    let rows: &[Row<'_>] =
        &[("a_total", c, "a_total", REQUESTS), ("b_total", c, "b_total", REQUESTS), ("up", c, "up", target)];
    let shape = DocumentShape::Telegraf;
    let first = ids(shape, &of(rows, &[1.0, 2.0, 3.0]));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "each document has its own");
    assert_eq!(ids(shape, &of(rows, &[9.0, 9.0, 9.0])), first, "values do not matter");
    assert_eq!(ids(shape, &of(rows, &[f64::NAN, 2.0, 3.0])), first[1..], "neither does that one is missing");

    // The same series in another order, as a table that was rebuilt, or read back from the disk, has them.
    let turned: Vec<Row<'_>> = rows.iter().rev().copied().collect();
    let mut other = ids(shape, &of(&turned, &[3.0, 2.0, 1.0]));
    other.sort_unstable();
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(other, sorted);

    let mut later = Arc::into_inner(of(rows, &[1.0, 2.0, 3.0])).unwrap();
    later.at_ms += 1;
    let later = Arc::new(later);
    assert!(ids(shape, &later).iter().all(|id| !first.contains(id)));
}

#[test]
fn a_batch_that_comes_back_from_the_disk_is_the_same_request() {
    use crate::pipeline::disk::payload;
    let mut random = Random(0xd15c);
    let dialect = Dialect { ids: true, templates: true, ..Dialect::default() };
    for round in 0..100 {
        let slice = Slice::whole(made_up_scrape(&mut random, &mut Vec::new()));
        let mut kept = Vec::new();
        payload::write(std::slice::from_ref(&slice), &mut kept);
        let restored = payload::read(&kept).expect("what was written");
        for shape in [DocumentShape::TimeSeries, DocumentShape::Telegraf, DocumentShape::TelegrafV1] {
            let encoder = encoder(shape, "m-{{a}}");
            let body = |slices: Vec<Slice>| {
                let encoded = encoder.encode(dialect, &mut Cache::default(), &batch(slices));
                let lines = String::from_utf8(encoded.body.into()).unwrap();
                let lines: Vec<&str> = lines.lines().collect();
                lines.chunks(2).map(<[&str]>::concat).collect::<BTreeSet<_>>()
            };
            assert_eq!(body(restored.clone()), body(vec![slice.clone()]), "{shape:?}, round {round}");
        }
    }
}

#[test]
fn only_metrics_whose_type_and_name_disagree_are_typed_one_by_one() {
    let (c, g, h) = (MetricType::Counter, MetricType::Gauge, MetricType::Histogram);
    let (labels, other): (&[_], &[_]) = (&[("a", "1")], &[("a", "2")]);
    let rows: &[Row<'_>] = &[
        ("requests_total", c, "requests_total", labels),
        ("bytes", c, "bytes", labels),
        ("queue_count", g, "queue_count", labels),
        ("load", g, "load", labels),
        ("un.typed", MetricType::Unknown, "un.typed", labels),
        ("load", g, "load", other),
        ("lat", h, "lat_sum", other),
    ];
    let typed = Dialect { templates: true, ..Dialect::default() };
    let actions = |shape| actions(&encoder(shape, "m"), typed, &of(rows, &[1.0; 7]));
    let expected = serde_json::json!({"create": {"dynamic_templates":
        {"metrics.bytes": "promferry_counter", "metrics.queue_count": "promferry_gauge"}}});
    let none = serde_json::json!({"create": {}});
    assert_eq!(actions(DocumentShape::TimeSeries), [expected, none.clone()]);
    assert!(actions(DocumentShape::Metricbeat).iter().all(|action| *action == none));
}

#[test]
fn labels_choose_indices_up_to_a_limit_and_what_is_beyond_is_counted() {
    let (g, name) = (MetricType::Gauge, "load");
    let rows: &[Row<'_>] = &[
        (name, g, name, &[("a", "X")]),
        (name, g, name, &[("a", "y")]),
        (name, g, name, &[("a", "z")]),
        (name, g, name, &[]),
    ];
    let mut encoder = encoder(DocumentShape::TimeSeries, "m-{{a}}-%Y");
    encoder.indexes_max = 2;
    (encoder.routing, encoder.pipeline) = (Some(Routing::new("r-{{a}}")), Some("p/1".to_owned()));
    let dialect = Dialect { routing: true, require_data_stream: true, failure_store: true, ..Dialect::default() };
    let batch = whole(&[of(rows, &[1.0, 2.0, 3.0, f64::NAN])]);
    let encoded = encoder.encode(dialect, &mut Cache::default(), &batch);
    assert_eq!(encoded.samples(), 2);
    let [Rejection { reason: "index_limit", samples: 1, why }] = encoded.rejected.as_slice() else {
        panic!("{:?}", encoded.rejected)
    };
    assert!(why.contains("more than 2 indices"), "{why}");
    assert_eq!(encoded.skipped, Reasons::from([("nan", 1)]));
    let text = String::from_utf8(encoded.body.into()).unwrap();
    let actions: Vec<&str> = text.lines().step_by(2).collect();
    assert_eq!(
        actions,
        [r#"{"create":{"_index":"m-x-2027","routing":"r-X"}}"#, r#"{"create":{"_index":"m-y-2027","routing":"r-y"}}"#]
    );
    assert_eq!(
        encoded.path_and_query,
        "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store\
         &pipeline=p%2F1&require_data_stream=true"
    );
    encoder.routing = Some(Routing::new("one"));
    let encoded = encoder.encode(dialect, &mut Cache::default(), &batch);
    assert!(encoded.path_and_query.contains("&routing=one"));
    assert!(!String::from_utf8(encoded.body.into()).unwrap().contains("routing"));
}

#[test]
fn a_batch_that_was_on_disk_is_the_same_request() {
    let mut random = Random(0xd15c);
    let mut chunks = Vec::new();
    let encoders = [DocumentShape::TimeSeries, DocumentShape::TelegrafV1].map(|shape| encoder(shape, "m"));
    let dialect = Dialect { ids: true, ..Dialect::default() };
    let mut partly = 0;
    for round in 0..200 {
        if random.below(8) == 0 {
            chunks.clear();
        }
        let scrapes: Vec<_> = (0..1 + random.below(3)).map(|_| made_up_scrape(&mut random, &mut chunks)).collect();
        let of = 1 + random.below(3);
        let part = |scrape: &Arc<Scrape>| {
            let group = |at: &u32| scrape.series.get(scrape.points.get(*at as usize).series).group() >> 32;
            Slice::of(scrape.clone(), (0..scrape.points.len() as u32).filter(|at| group(at) % of == 0).collect())
        };
        let batch = batch(scrapes.iter().map(part).collect());
        partly += usize::from(batch.slices.iter().any(|slice| slice.selected().is_some()));
        let mut payload = Vec::new();
        disk::payload::write(&batch.slices, &mut payload);
        let restored = self::batch(disk::payload::read(&payload).unwrap());
        assert_eq!(restored.samples(), batch.samples());
        for encoder in &encoders {
            let [before, after] =
                [&batch, &restored].map(|batch| encoder.encode(dialect, &mut Cache::default(), batch));
            assert_eq!(String::from_utf8_lossy(&after.body), String::from_utf8_lossy(&before.body), "round {round}");
            assert_eq!(after.skipped, before.skipped);
        }
    }
    assert!(partly > 50, "{partly} batches were parts");
}
