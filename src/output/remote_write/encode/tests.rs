//! Requests as an independent reader sees them.

use std::sync::Arc;

use prost::Message;

use super::super::messages::{
    BucketSpan, Count, Exemplar as ReadExemplar, Histogram as ReadHistogram, Label, MetricMetadata, ResetHint,
    TimeSeries, WriteRequest, ZeroCount,
};
use super::*;
use crate::model::{
    ChunkBuilder, Exemplar, Family, Histogram, HistogramSpan, Labels, MetricType, Origin, PointsBuilder, STALE_NAN,
    STALE_NAN_BITS, Scrape, SeriesSet,
};
use crate::net::{Scheme, Url};

const AT_MS: i64 = 1_798_859_045_006;

pub(super) fn encoder(message: WriteMessage) -> Encoder {
    Encoder {
        path_and_query: "/api/v1/write?a=b".to_owned(),
        message,
        has_exemplars: true,
        has_histograms: true,
        metadata_interval_ms: None,
    }
}

/// A target's table, and what scrapes of it are made of.
pub(super) struct Target {
    origin: Arc<Origin>,
    pub set: Arc<SeriesSet>,
}

impl Target {
    /// One series for each name and labels.
    pub fn new(key: u64, series: &[(&str, &[(&str, &str)])]) -> Self {
        let mut chunk = ChunkBuilder::default();
        for (name, labels) in series {
            let family = chunk.family(Family { name, help: "Help.", kind: MetricType::Gauge, unit: "" });
            chunk.push(family, name, labels.iter().copied());
        }
        let origin = Origin { key, labels: Labels::new(), url: String::new() };
        Self { origin: Arc::new(origin), set: Arc::new(SeriesSet::new(vec![chunk.finish()])) }
    }

    pub fn with_set(key: u64, set: Arc<SeriesSet>) -> Self {
        Self { set, ..Self::new(key, &[]) }
    }

    /// The same with series that came later.
    pub fn extended(&self, series: &[(&str, &[(&str, &str)])]) -> Self {
        let more = Self::new(self.origin.key, series);
        let chunks = self.set.chunks().iter().chain(more.set.chunks()).cloned().collect();
        Self { origin: self.origin.clone(), set: Arc::new(SeriesSet::new(chunks)) }
    }

    /// A scrape with these values: series, value, own time.
    pub fn scrape(&self, at_ms: i64, values: &[(u32, f64, Option<i64>)]) -> Scrape {
        let mut points = PointsBuilder::default();
        values.iter().for_each(|&(series, value, own_ms)| points.push_float(series, value, own_ms));
        self.with(at_ms, &mut points)
    }

    pub fn with(&self, at_ms: i64, points: &mut PointsBuilder) -> Scrape {
        Scrape {
            origin: self.origin.clone(),
            at_ms,
            series: self.set.clone(),
            points: points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        }
    }
}

pub(super) fn whole(scrapes: impl IntoIterator<Item = Scrape>) -> Vec<Slice> {
    scrapes.into_iter().map(|scrape| Slice::whole(Arc::new(scrape))).collect()
}

fn encoded(encoder: &Encoder, slices: &[Slice]) -> (Encoded, WriteRequest) {
    let encoded = encoder.encode(&State::default(), &mut Cache::default(), slices);
    let again = encoder.encode(&State::default(), &mut Cache::default(), slices);
    assert_eq!((&encoded.body, &encoded.points), (&again.body, &again.points), "it is pure");
    let read = WriteRequest::decode(&*encoded.body).unwrap();
    (encoded, read)
}

fn labels(series: &TimeSeries) -> Vec<(&str, &str)> {
    series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect()
}

fn samples(series: &TimeSeries) -> Vec<(i64, f64)> {
    series.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect()
}

#[test]
fn labels_are_sorted_with_the_name_among_them() {
    let target = Target::new(
        7,
        &[("up", &[]), ("a", &[("job", "x")]), ("b", &[("A", "1"), ("Z", "2"), ("a", "3")]), ("c", &[("Z", "ö\n")])],
    );
    let (request, read) = encoded(
        &encoder(WriteMessage::V1),
        &whole([target.scrape(AT_MS, &[(0, 1.0, None), (1, 2.0, None), (2, 3.0, None), (3, 4.0, None)])]),
    );
    let found: Vec<_> = read.timeseries.iter().map(labels).collect();
    let expected: [&[(&str, &str)]; 4] = [
        &[("__name__", "up")],
        &[("__name__", "a"), ("job", "x")],
        &[("A", "1"), ("Z", "2"), ("__name__", "b"), ("a", "3")],
        &[("Z", "ö\n"), ("__name__", "c")],
    ];
    assert_eq!(found, expected);
    assert_eq!(request.path_and_query, "/api/v1/write?a=b");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    assert_eq!(request.headers[VERSION], "0.1.0");
    assert_eq!((request.compression, request.head), (Compression::Snappy, 0));
    // As long as it has to be, and no longer.
    assert_eq!(request.body, read.encode_to_vec());
}

#[test]
fn long_texts_keep_their_lengths() {
    for len in [1, 100, 127, 128, 200, 16_383, 16_384, 70_000] {
        let (name, value) = ("n".repeat(len), "v".repeat(len));
        let target = Target::new(7, &[(&name, &[("l", &value)])]);
        let (request, read) = encoded(&encoder(WriteMessage::V1), &whole([target.scrape(AT_MS, &[(0, 1.5, None)])]));
        assert_eq!(labels(&read.timeseries[0]), [("__name__", name.as_str()), ("l", value.as_str())]);
        assert_eq!(request.body, read.encode_to_vec());
    }
}

#[test]
fn scrapes_of_a_target_are_merged_and_values_are_as_they_are() {
    let target = Target::new(7, &[("a", &[]), ("b", &[])]);
    let grown = target.extended(&[("c", &[])]);
    let other = Target::new(8, &[("a", &[("job", "other")])]);
    let values = [1.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, STALE_NAN];
    let mut scrapes: Vec<Scrape> =
        (0..).zip(&values).map(|(at, &value)| target.scrape(AT_MS + at, &[(0, value, None)])).collect();
    scrapes.insert(1, other.scrape(5, &[(0, 9.0, None)]));
    scrapes.push(grown.scrape(AT_MS + 10, &[(2, 3.0, None), (1, 2.0, None), (0, 1.0, None)]));
    let (request, read) = encoded(&encoder(WriteMessage::V1), &whole(scrapes));
    let [a, b, c, other] = &read.timeseries[..] else { panic!("{read:?}") };
    let bits: Vec<_> = a.samples.iter().map(|sample| (sample.timestamp - AT_MS, sample.value.to_bits())).collect();
    let expected: Vec<_> = (0..).zip(values).chain([(10, 1.0)]).map(|(at, value)| (at, value.to_bits())).collect();
    assert_eq!(bits, expected);
    assert_eq!(bits[5].1, STALE_NAN_BITS);
    assert_eq!((samples(b), samples(c)), (vec![(AT_MS + 10, 2.0)], vec![(AT_MS + 10, 3.0)]));
    assert_eq!((labels(other)[1], samples(other)), (("job", "other"), vec![(5, 9.0)]));

    let items: Vec<_> = request.items.iter().map(|item| (item.samples, item.mark)).collect();
    assert_eq!(items, [(7, 0), (1, 0), (1, 0), (1, 0)]);
    assert_eq!(request.points, [0, 2, 3, 4, 5, 6, 9, 8, 7, 1], "as the batch numbers them");
    assert_eq!(request.items.last().unwrap().end, request.body.len());
    // Each item is a message of its own.
    for (at, series) in read.timeseries.iter().enumerate() {
        let alone = WriteRequest::decode(request.item(at)).unwrap().timeseries;
        assert_eq!(format!("{alone:?}"), format!("{:?}", [series]));
    }
}

#[test]
fn own_times_are_put_in_order() {
    let target = Target::new(7, &[("a", &[])]);
    let scrapes = [
        target.scrape(AT_MS, &[(0, 1.0, Some(30)), (0, 2.0, Some(10))]),
        target.scrape(AT_MS + 1, &[(0, 3.0, Some(20)), (0, 4.0, Some(10))]),
        target.scrape(AT_MS + 2, &[(0, 5.0, None), (0, 6.0, Some(-1))]),
    ];
    let (request, read) = encoded(&encoder(WriteMessage::V1), &whole(scrapes));
    let expected = [(-1, 6.0), (10, 2.0), (10, 4.0), (20, 3.0), (30, 1.0), (AT_MS + 2, 5.0)];
    assert_eq!(samples(&read.timeseries[0]), expected);
    assert_eq!(request.points, [5, 1, 3, 2, 0, 4]);
}

#[test]
fn a_rebuilt_table_comes_behind_the_one_before() {
    let (before, after) = (Target::new(7, &[("a", &[]), ("b", &[])]), Target::new(7, &[("b", &[]), ("a", &[])]));
    let scrapes = [
        before.scrape(1, &[(0, 1.0, None), (1, 2.0, None)]),
        before.scrape(2, &[(0, 3.0, None)]),
        after.scrape(3, &[(0, 4.0, None), (1, 5.0, None)]),
        after.scrape(4, &[(1, 6.0, None)]),
    ];
    let (_, read) = encoded(&encoder(WriteMessage::V1), &whole(scrapes));
    let found: Vec<_> = read.timeseries.iter().map(|series| (labels(series)[0].1, samples(series))).collect();
    let expected = [
        ("a", vec![(1, 1.0), (2, 3.0)]),
        ("b", vec![(2 - 1, 2.0)]),
        ("b", vec![(3, 4.0)]),
        ("a", vec![(3, 5.0), (4, 6.0)]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_what_is_selected_is_written() {
    let target = Target::new(7, &[("a", &[]), ("b", &[]), ("c", &[])]);
    let scrape = || Arc::new(target.scrape(1, &[(0, 1.0, None), (1, 2.0, None), (2, 3.0, None)]));
    let slices = [Slice::of(scrape(), vec![1]), Slice::of(scrape(), Vec::new()), Slice::of(scrape(), vec![0, 2])];
    let (request, read) = encoded(&encoder(WriteMessage::V1), &slices);
    let names: Vec<_> = read.timeseries.iter().map(|series| labels(series)[0].1).collect();
    assert_eq!((names, request.points), (vec!["a", "b", "c"], vec![6, 1, 8]));
}

pub(super) fn native(is_float: bool) -> Histogram {
    let span = |offset, length| HistogramSpan { offset, length };
    Histogram {
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: 0.0,
        count: 21.0,
        sum: -3.5,
        is_float,
        is_gauge: false,
        positive_spans: [span(-2, 2), span(1, 1)].into(),
        positive_counts: [5.0, 2.0, 9.0].into(),
        negative_spans: [span(0, 1)].into(),
        negative_counts: [5.0].into(),
        custom_bounds: Box::default(),
    }
}

#[test]
fn native_histograms_are_integers_by_deltas_or_floats() {
    let target = Target::new(7, &[("h", &[])]);
    let mut points = PointsBuilder::default();
    points.push_histogram(0, native(false), None);
    points.push_histogram(0, Histogram { is_gauge: true, ..native(true) }, Some(AT_MS + 1));
    points.push_float(0, 4.0, Some(AT_MS + 2));
    points.push_histogram(0, Histogram::stale(), Some(AT_MS + 3));
    let bounds = Histogram { schema: -53, custom_bounds: [1.0, 2.0].into(), ..native(false) };
    points.push_histogram(0, bounds, Some(AT_MS + 4));
    let slices = whole([target.with(AT_MS, &mut points)]);
    let (request, read) = encoded(&encoder(WriteMessage::V1), &slices);

    let span = |offset, length| BucketSpan { offset, length };
    let whole_numbers = ReadHistogram {
        count: Some(Count::Int(21)),
        sum: -3.5,
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: Some(ZeroCount::Int(0)),
        negative_spans: vec![span(0, 1)],
        negative_deltas: vec![5],
        positive_spans: vec![span(-2, 2), span(1, 1)],
        positive_deltas: vec![5, -3, 7],
        timestamp: AT_MS,
        ..Default::default()
    };
    let floats = ReadHistogram {
        count: Some(Count::Float(21.0)),
        zero_count: Some(ZeroCount::Float(0.0)),
        negative_deltas: Vec::new(),
        negative_counts: vec![5.0],
        positive_deltas: Vec::new(),
        positive_counts: vec![5.0, 2.0, 9.0],
        reset_hint: ResetHint::Gauge.into(),
        timestamp: AT_MS + 1,
        ..whole_numbers.clone()
    };
    let [first, second, third] = &read.timeseries[..] else { panic!("a series for each kind in turn: {read:?}") };
    assert_eq!((&first.histograms[..], samples(first)), (&[whole_numbers, floats][..], vec![]));
    assert_eq!((samples(second), second.histograms.len()), (vec![(AT_MS + 2, 4.0)], 0));
    assert_eq!((third.histograms.len(), third.histograms[0].sum.to_bits()), (1, STALE_NAN_BITS));
    let items: Vec<_> = request.items.iter().map(|item| (item.samples, item.mark)).collect();
    assert_eq!(items, [(2, mark::HISTOGRAMS), (1, mark::FLOATS), (1, mark::HISTOGRAMS)]);
    assert_eq!(request.skipped, Reasons::from([(reason::UNSUPPORTED_TYPE, 1)]), "custom bounds are not in 1.0");

    let none = Encoder { has_histograms: false, ..encoder(WriteMessage::V1) };
    let (request, read) = encoded(&none, &slices);
    assert_eq!((request.points, read.timeseries.len()), (vec![2], 1));
    assert_eq!(request.skipped, Reasons::from([(reason::UNSUPPORTED_TYPE, 4)]));
}

pub(super) fn exemplar(series: u32, trace: &str, at_ms: Option<i64>) -> Exemplar {
    let labels: Labels<'_> = [("trace_id", trace)].into_iter().collect();
    Exemplar { series, labels: labels.into_owned(), value: 0.5, at_ms }
}

#[test]
fn exemplars_go_with_their_series_once_while_they_stay_the_same() {
    let target = Target::new(7, &[("a", &[]), ("b", &[])]);
    let scrape = |at_ms, exemplars: Vec<Exemplar>| Scrape {
        exemplars: exemplars.into(),
        ..target.scrape(at_ms, &[(0, 1.0, None), (1, 1.0, None)])
    };
    let slices = whole([
        scrape(AT_MS, vec![exemplar(1, "x", None), exemplar(0, "late", Some(9)), exemplar(0, "early", Some(8))]),
        scrape(AT_MS + 1, vec![exemplar(1, "x", None)]),
        scrape(AT_MS + 2, vec![exemplar(1, "y", None), exemplar(1, "z", Some(AT_MS + 1))]),
    ]);
    let (_, read) = encoded(&encoder(WriteMessage::V1), &slices);
    let expected = |trace: &str, timestamp| ReadExemplar {
        labels: vec![Label { name: "trace_id".to_owned(), value: trace.to_owned() }],
        value: 0.5,
        timestamp,
    };
    assert_eq!(read.timeseries[0].exemplars, [expected("early", 8), expected("late", 9)]);
    let of_second = [expected("x", AT_MS), expected("z", AT_MS + 1), expected("y", AT_MS + 2)];
    assert_eq!(read.timeseries[1].exemplars, of_second);

    // An exemplar goes where its series goes.
    let part = [Slice::of(slices[0].scrape.clone(), vec![1])];
    let (_, read) = encoded(&encoder(WriteMessage::V1), &part);
    assert_eq!(read.timeseries.len(), 1);
    assert_eq!(read.timeseries[0].exemplars, [expected("x", AT_MS)]);
    let none = Encoder { has_exemplars: false, ..encoder(WriteMessage::V1) };
    assert!(encoded(&none, &slices).1.timeseries.iter().all(|series| series.exemplars.is_empty()));
}

#[test]
fn metadata_is_said_once_a_round() {
    const INTERVAL_MS: u64 = 60_000;
    let encoder = Encoder { metadata_interval_ms: Some(INTERVAL_MS), ..encoder(WriteMessage::V1) };
    let (one, other) = (Target::new(1, &[("a", &[]), ("b", &[])]), Target::new(2, &[("b", &[]), ("c", &[])]));
    let mut state = State::default();
    let names = |state: &State, slices: &[Slice]| -> Vec<String> {
        let encoded = encoder.encode(state, &mut Cache::default(), slices);
        let read = WriteRequest::decode(&*encoded.body).unwrap();
        let is_counted = encoded.items.iter().filter(|item| item.samples == 0).all(|item| item.mark == mark::METADATA);
        assert!(is_counted && encoded.items.len() == read.timeseries.len() + read.metadata.len());
        read.metadata.into_iter().map(|metadata| metadata.metric_family_name).collect()
    };
    let batch =
        |targets: &[&Target], at_ms| whole(targets.iter().map(|target| target.scrape(at_ms, &[(0, 1.0, None)])));
    let first = batch(&[&one], AT_MS);
    assert_eq!(names(&state, &first), ["a", "b"]);
    assert_eq!(names(&state, &first), ["a", "b"], "what is not settled is not said");
    state.said.settled(&groups(&first), INTERVAL_MS, true);
    assert_eq!(names(&state, &first), [""; 0]);

    let second = batch(&[&other, &one, &other], AT_MS + 1000);
    assert_eq!(names(&state, &second), ["c"], "what another target has said is said");
    state.said.settled(&groups(&second), INTERVAL_MS, false);
    assert_eq!(names(&state, &second), ["c"], "it was divided off");
    state.said.settled(&groups(&second), INTERVAL_MS, true);
    let grown = one.extended(&[("d", &[])]);
    assert_eq!(names(&state, &batch(&[&grown], AT_MS + 2000)), ["d"], "a target with new series is looked at again");
    assert_eq!(names(&state, &batch(&[&one], AT_MS + 60_000 - 1)), [""; 0]);
    assert_eq!(names(&state, &batch(&[&one], AT_MS + 60_000)), ["a", "b"], "another round");
    assert_eq!(names(&state, &batch(&[&one], AT_MS - 60_000)), ["a", "b"], "the clock was put back");
}

#[test]
fn metadata_has_type_help_and_unit() {
    let encoder = Encoder { metadata_interval_ms: Some(1), ..encoder(WriteMessage::V1) };
    let mut chunk = ChunkBuilder::default();
    let mut points = PointsBuilder::default();
    let kinds = [
        (MetricType::Counter, 1),
        (MetricType::Gauge, 2),
        (MetricType::Histogram, 3),
        (MetricType::GaugeHistogram, 4),
        (MetricType::Summary, 5),
        (MetricType::Info, 6),
        (MetricType::StateSet, 7),
    ];
    for (kind, number) in kinds {
        let name = format!("f{number}");
        let family = chunk.family(Family { name: &name, help: "Some help.", kind, unit: "seconds" });
        points.push_float(chunk.push(family, &name, std::iter::empty()), 1.0, None);
    }
    let bare = chunk.family(Family { name: "bare", ..Family::default() });
    points.push_float(chunk.push(bare, "bare", std::iter::empty()), 1.0, None);
    let target = Target::with_set(7, Arc::new(SeriesSet::new(vec![chunk.finish()])));
    let (_, read) = encoded(&encoder, &whole([target.with(AT_MS, &mut points)]));
    let expected = kinds.map(|(_, kind)| MetricMetadata {
        kind,
        metric_family_name: format!("f{kind}"),
        help: "Some help.".to_owned(),
        unit: "seconds".to_owned(),
    });
    assert_eq!(read.metadata, expected, "nothing is said of a family that only has a name");
}

#[test]
fn an_exemplar_is_sent_once_while_it_stays_the_same() {
    let target = Target::new(7, &[("a", &[])]);
    let encoder = encoder(WriteMessage::V1);
    let mut state = State::default();
    let mut sent = |at_ms, exemplars: Vec<Exemplar>| -> Vec<(String, i64)> {
        let scrape = Scrape { exemplars: exemplars.into(), ..target.scrape(at_ms, &[(0, 1.0, None)]) };
        let slices = whole([scrape]);
        let encoded = encoder.encode(&state, &mut Cache::default(), &slices);
        state.exemplars.settled(&groups(&slices));
        let read = WriteRequest::decode(&*encoded.body).unwrap();
        let found = read.timeseries[0].exemplars.iter().map(|one| (one.labels[0].value.clone(), one.timestamp));
        found.collect()
    };
    let one = |trace: &str, at_ms| (trace.to_owned(), at_ms);
    assert_eq!(sent(AT_MS, vec![exemplar(0, "x", None)]), [one("x", AT_MS)]);
    assert_eq!(sent(AT_MS + 1, vec![exemplar(0, "x", None)]), []);
    assert_eq!(sent(AT_MS + 2, vec![exemplar(0, "y", None)]), [one("y", AT_MS + 2)]);
    // Those with times of their own: several of a native histogram, of which some are new.
    let (early, late) = (exemplar(0, "e", Some(AT_MS + 3)), exemplar(0, "l", Some(AT_MS + 4)));
    assert_eq!(sent(AT_MS + 5, vec![late.clone(), early.clone()]), [one("e", AT_MS + 3), one("l", AT_MS + 4)]);
    assert_eq!(sent(AT_MS + 6, vec![late.clone(), early.clone()]), []);
    let newer = exemplar(0, "l", Some(AT_MS + 6));
    assert_eq!(sent(AT_MS + 7, vec![newer, late, early]), [one("l", AT_MS + 6)]);
}

#[test]
fn a_lot_of_metadata_goes_with_several_requests() {
    const FAMILIES: usize = 20;
    let mut chunk = ChunkBuilder::default();
    let help = "h".repeat(100 << 10);
    for number in 0..FAMILIES {
        let name = format!("f{number}");
        let family = chunk.family(Family { name: &name, help: &help, ..Family::default() });
        chunk.push(family, &name, std::iter::empty());
    }
    let target = Target::with_set(7, Arc::new(SeriesSet::new(vec![chunk.finish()])));
    let encoder = Encoder { metadata_interval_ms: Some(60_000), ..encoder(WriteMessage::V1) };
    let mut state = State::default();
    let mut said = Vec::new();
    for nth in 0..12 {
        let slices = whole([target.scrape(AT_MS + nth, &[(0, 1.0, None)])]);
        let encoded = encoder.encode(&state, &mut Cache::default(), &slices);
        let read = WriteRequest::decode(&*encoded.body).unwrap();
        assert!(read.metadata.len() <= 2, "{}", read.metadata.len());
        state.said.settled(&groups(&slices), 60_000, !read.metadata.is_empty());
        said.extend(read.metadata.into_iter().map(|metadata| metadata.metric_family_name));
    }
    let expected: Vec<String> = (0..FAMILIES).map(|number| format!("f{number}")).collect();
    assert_eq!(said, expected);
}

#[test]
fn a_small_batch_with_long_texts_makes_no_room_for_gigabytes() {
    let help = "h".repeat(200 << 10);
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "a", help: &help, kind: MetricType::Gauge, unit: "" });
    chunk.push(family, "a", std::iter::empty());
    let long = Target::with_set(7, Arc::new(SeriesSet::new(vec![chunk.finish()])));
    let short = Target::new(8, &[("b", &[])]);
    let encoder = Encoder { metadata_interval_ms: Some(60_000), ..encoder(WriteMessage::V1) };
    let mut cache = Cache::default();
    encoder.encode(&State::default(), &mut cache, &whole([long.scrape(AT_MS, &[(0, 1.0, None)])]));
    let values: Vec<_> = (0..4000).map(|at| (0, 1.0, Some(AT_MS + at))).collect();
    let next = encoder.encode(&State::default(), &mut cache, &whole([short.scrape(AT_MS, &values)]));
    let room = next.body.try_into_mut().unwrap().capacity();
    assert!(room <= 32 << 20, "{room}");
}

#[test]
fn a_query_is_not_in_what_is_printed_for_debugging() {
    let encoder = Encoder { path_and_query: "/write?key=hush".to_owned(), ..encoder(WriteMessage::V1) };
    assert!(!format!("{encoder:?}").contains("hush"));
    let url = Url { scheme: Scheme::Https, host: "h".into(), port: 1, path_and_query: "/write?key=hush".into() };
    assert_eq!(format!("{url:?}"), "https://h:1/write");
}
