//! Events read back as JSON, against the scrapes that they were made of.

use std::sync::Arc;

use serde_json::Value as Json;

use super::*;
use crate::config::checked::Template;
use crate::model::{
    Chunk, ChunkBuilder, Family, Histogram, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet,
};
use crate::pipeline::{Reasons, reason};

/// 2027-01-02T03:04:05.006Z.
const AT_MS: i64 = 1_798_859_045_006;

/// Name, labels.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn chunk(rows: &[Row<'_>]) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::default();
    for (name, labels) in rows {
        let family = builder.family(Family { name, kind: MetricType::Gauge, ..Family::default() });
        builder.push(family, name, labels.iter().copied());
    }
    builder.finish()
}

fn scrape(series: &Arc<SeriesSet>, points: &mut PointsBuilder) -> Arc<Scrape> {
    let labels = Labels::from_iter([("job", "app"), ("tenant", "blue")]).into_owned();
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 1, labels, url: "https://10.0.0.1:9100/metrics".to_owned() }),
        at_ms: AT_MS,
        series: series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

/// A scrape of these series, with the values 1, 2, 3, …
fn of(rows: &[Row<'_>]) -> Arc<Scrape> {
    let mut points = PointsBuilder::default();
    for at in 0..rows.len() {
        points.push_float(at as u32, at as f64 + 1.0, None);
    }
    scrape(&Arc::new(SeriesSet::new(vec![chunk(rows)])), &mut points)
}

fn encoder() -> Encoder {
    let layout = Layout {
        index: Template::default(),
        allowed_indexes: Vec::new(),
        sourcetype: Template::default(),
        source: Template::default(),
        host: Template::default(),
        is_multi_metric: true,
        rename_reserved: false,
    };
    Encoder { layout, compression: Compression::None }
}

fn template(text: &str) -> Template {
    Template::new(text).unwrap()
}

/// Encodes a scrape, and checks that each sample is in an item, skipped or rejected, and where.
fn encode(encoder: &Encoder, cache: &mut Cache, scrape: &Arc<Scrape>) -> Encoded {
    let encoded = encoder.encode(cache, &[Slice::whole(scrape.clone())]);
    let (skipped, rejected): (u64, u64) =
        (encoded.skipped.values().sum(), encoded.rejected.iter().map(|one| one.samples).sum());
    assert_eq!(encoded.samples() + skipped + rejected, scrape.samples() as u64);
    assert_eq!(encoded.items.last().map_or(0, |item| item.end), encoded.body.len());
    assert_eq!(encoded.points.len() as u64, encoded.samples());
    let mut points = encoded.points.iter();
    for at in 0..encoded.items.len() {
        let text = std::str::from_utf8(encoded.item(at)).unwrap();
        let event: Json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        for &point in points.by_ref().take(encoded.items[at].samples as usize) {
            let name = scrape.series.get(scrape.points.get(point as usize).series).name();
            let fields = &event["fields"];
            let is_there = fields.get(format!("metric_name:{name}")).is_some() || fields["metric_name"] == name;
            assert!(is_there, "{name} is said to be in {text}");
        }
    }
    encoded
}

fn lines_of(encoder: &Encoder, scrape: &Arc<Scrape>) -> Vec<String> {
    let encoded = encode(encoder, &mut Cache::default(), scrape);
    String::from_utf8(encoded.body.into()).unwrap().lines().map(str::to_owned).collect()
}

const TARGET: &[(&str, &str)] = &[("instance", "10.0.16.4:9100"), ("job", "app")];

fn of_the_manual() -> Arc<Scrape> {
    let code: &[(&str, &str)] = &[("code", "200"), ("instance", "10.0.16.4:9100"), ("job", "app")];
    let bucket = |le| [("instance", "10.0.16.4:9100"), ("job", "app"), ("le", le)];
    let (first, last) = (bucket("0.1"), bucket("+Inf"));
    let rows: &[Row<'_>] = &[
        ("requests_total", code),
        ("errors_total", code),
        ("latency_seconds_bucket", &first),
        ("latency_seconds_bucket", &last),
        ("latency_seconds_sum", TARGET),
        ("latency_seconds_count", TARGET),
    ];
    let mut points = PointsBuilder::default();
    for (at, value) in [1027.0, 3.0, 1.0, 3.0, 1.5, 3.0].into_iter().enumerate() {
        points.push_float(at as u32, value, None);
    }
    scrape(&Arc::new(SeriesSet::new(vec![chunk(rows)])), &mut points)
}

#[test]
fn the_events_in_the_manual_are_real() {
    let mut multi = encoder();
    multi.layout.host = template("{{instance}}");
    multi.layout.index = template("metrics");
    multi.layout.sourcetype = template("prometheus");
    let mut single = multi.clone();
    single.layout.is_multi_metric = false;
    let (multi, single) = (lines_of(&multi, &of_the_manual()), lines_of(&single, &of_the_manual()));
    assert_eq!((multi.len(), single.len()), (4, 6));
    let manual = include_str!("../../../../docs/splunk.md");
    let shown: Vec<&str> = manual.lines().filter(|line| line.starts_with("{\"time\"")).collect();
    assert_eq!(shown.len(), 5);
    for event in shown {
        assert!(multi.iter().chain(&single).any(|line| line == event), "{event}\nis none of\n{multi:#?}\n{single:#?}");
    }
}

#[test]
fn a_metrics_own_labels_are_dimensions_whatever_they_are_called() {
    let labels: &[(&str, &str)] =
        &[("host", "h"), ("index", "6"), ("source", "s"), ("sourcetype", "t"), ("time", "12")];
    let mut encoder = encoder();
    encoder.layout.host = template("{{job}}/{{tenant}}{{none}}");
    let dimensions = |prefix: &str| -> String {
        labels.iter().map(|(name, value)| format!("\"{prefix}{name}\":\"{value}\",")).collect()
    };
    let event = |dimensions: String| {
        format!(
            "{{\"time\":1798859045.006,\"event\":\"metric\",\"host\":\"app/blue\",\"fields\":{{{dimensions}\"metric_name:up\":1}}}}"
        )
    };
    assert_eq!(lines_of(&encoder, &of(&[("up", labels)])), [event(dimensions(""))]);
    encoder.layout.rename_reserved = true;
    assert_eq!(lines_of(&encoder, &of(&[("up", labels)])), [event(dimensions("label_"))]);
}

#[test]
fn labels_that_splunk_would_drop_or_misread_get_another_name() {
    let labels: &[(&str, &str)] = &[
        ("_raw", "1"),
        ("_value", "2"),
        ("label_raw", "3"),
        ("label_raw_", "4"),
        ("metric_name", "5"),
        ("metric_name:x", "6"),
    ];
    let lines = lines_of(&encoder(), &of(&[("up", labels)]));
    let fields = "\"label_raw__\":\"1\",\"label_value\":\"2\",\"label_raw\":\"3\",\"label_raw_\":\"4\",\
                  \"label_metric_name\":\"5\",\"label_metric_name:x\":\"6\",\"metric_name:up\":1";
    assert_eq!(lines, [format!("{{\"time\":1798859045.006,\"event\":\"metric\",\"fields\":{{{fields}}}}}")]);
}

#[test]
fn names_that_splunk_takes_for_no_metric_are_rejected() {
    let rows: &[Row<'_>] = &[
        ("http.server-duration:rate", &[]),
        ("_private", &[]),
        ("5xx", &[]),
        ("a metric", &[]),
        ("metric_names_total", &[]),
        ("größe", &[]),
    ];
    let encoded = encode(&encoder(), &mut Cache::default(), &of(rows));
    assert_eq!(encoded.points, [0]);
    let [rejected] = encoded.rejected.as_slice() else { panic!("{:?}", encoded.rejected) };
    assert_eq!((rejected.reason, rejected.samples), ("metric_name", 5));
    assert!(
        rejected.why.starts_with("Splunk takes no metric named \"_private\": names have letters, "),
        "{}",
        rejected.why
    );
}

#[test]
fn a_templated_index_is_one_of_those_that_are_allowed() {
    let mut encoder = encoder();
    encoder.layout.index = template("m_{{tenant}}");
    encoder.layout.allowed_indexes = vec!["m_red".to_owned(), "m_blue".to_owned()];
    let rows: &[Row<'_>] =
        &[("a", &[]), ("a", &[("tenant", "red")]), ("b", &[("tenant", "red")]), ("a", &[("tenant", "_internal")])];
    let encoded = encode(&encoder, &mut Cache::default(), &of(rows));
    let text = String::from_utf8(encoded.body.into()).unwrap();
    let indexes: Vec<Json> =
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["index"].clone()).collect();
    assert_eq!(indexes, ["m_blue", "m_red"], "the target's label where the series has none");
    assert_eq!(encoded.items.iter().map(|item| (item.mark, item.samples)).collect::<Vec<_>>(), [(2, 1), (1, 2)]);
    let [rejected] = encoded.rejected.as_slice() else { panic!("{:?}", encoded.rejected) };
    assert_eq!((rejected.reason, rejected.samples), ("index_not_allowed", 1));
    assert_eq!(rejected.why, "the template for index comes to \"m__internal\", which is none of allowed_indexes");
}

#[test]
fn what_json_cannot_say_is_left_out_and_counted() {
    let rows: &[Row<'_>] = &[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[]), ("e", &[]), ("f", &[]), ("g", &[])];
    let series = Arc::new(SeriesSet::new(vec![chunk(rows)]));
    let mut points = PointsBuilder::default();
    for (at, value) in [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, STALE_NAN].into_iter().enumerate() {
        points.push_float(at as u32, value, None);
    }
    points.push_histogram(5, Histogram { sum: 1.0, ..Histogram::stale() }, None);
    points.push_histogram(6, Histogram::stale(), None);
    let encoded = encode(&encoder(), &mut Cache::default(), &scrape(&series, &mut points));
    assert_eq!(encoded.points, [1]);
    let expected = [(reason::NAN, 1), (reason::INFINITE, 2), (reason::STALE_MARKER, 2), (reason::UNSUPPORTED_TYPE, 1)];
    assert_eq!(encoded.skipped, Reasons::from(expected));
}

#[test]
fn times_have_exactly_the_milliseconds_and_are_events_of_their_own() {
    let series = Arc::new(SeriesSet::new(vec![chunk(&[("a", &[]), ("b", &[])])]));
    let mut points = PointsBuilder::default();
    let own = [Some(0), Some(-1), Some(-1_500), Some(5), Some(i64::MAX), Some(i64::MIN + 1), None];
    for own_ms in own {
        points.push_float(0, 1.0, own_ms);
    }
    points.push_float(1, 2.0, Some(5));
    let text = String::from_utf8(encode(&encoder(), &mut Cache::default(), &scrape(&series, &mut points)).body.into())
        .unwrap();
    let time = |line: &str| line.split([':', ',']).nth(1).unwrap().to_owned();
    let expected =
        ["-9223372036854775.807", "-1.500", "-0.001", "0.000", "0.005", "1798859045.006", "9223372036854775.807"];
    assert_eq!(text.lines().map(time).collect::<Vec<_>>(), expected);
    assert!(
        text.contains("{\"time\":0.005,\"event\":\"metric\",\"fields\":{\"metric_name:a\":1,\"metric_name:b\":2}}\n")
    );
}

#[test]
fn an_event_has_so_many_metrics_at_most_and_each_once() {
    let names: Vec<String> = (0..600).map(|number| format!("m{number}")).collect();
    let mut rows: Vec<Row<'_>> = names.iter().map(|name| (name.as_str(), TARGET)).collect();
    // Rules can make two series equal, and neither may be lost.
    rows.push(("m599", TARGET));
    rows.push(("last", TARGET));
    let scrape = of(&rows);
    let samples = |encoder: &Encoder| -> Vec<u32> {
        let encoded = encode(encoder, &mut Cache::default(), &scrape);
        encoded.items.iter().map(|item| item.samples).collect()
    };
    assert_eq!(samples(&encoder()), [256, 256, 88, 2]);
    let mut single = encoder();
    single.layout.is_multi_metric = false;
    assert_eq!(samples(&single), vec![1; 602]);
}

#[test]
fn a_set_that_grows_keeps_its_events_and_a_new_one_starts_over() {
    let (first, second) = (chunk(&[("a", &[("x", "1")])]), chunk(&[("b", &[("x", "1")]), ("c", &[("x", "2")])]));
    let encoder = encoder();
    let mut cache = Cache::default();
    let mut events = |chunks: Vec<Arc<Chunk>>| -> Vec<u32> {
        let set = Arc::new(SeriesSet::new(chunks));
        let mut points = PointsBuilder::default();
        (0..set.len() as u32).for_each(|number| points.push_float(number, 1.0, None));
        let encoded = encode(&encoder, &mut cache, &scrape(&set, &mut points));
        encoded.items.iter().map(|item| item.samples).collect()
    };
    assert_eq!(events(vec![first.clone()]), [1]);
    assert_eq!(events(vec![first.clone(), second.clone()]), [2, 1]);
    assert_eq!(events(vec![second, first]), [2, 1]);
    assert_eq!(cache.plans.len(), 1);
}
