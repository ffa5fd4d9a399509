//! Requests of remote write 2.0 as an independent reader sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;

use super::super::messages::{Count, RequestV2, TimeSeriesV2};
use super::tests::{Target, encoder, exemplar, native, whole};
use super::*;
use crate::model::{ChunkBuilder, Created, Exemplar, Family, Histogram, MetricType, PointsBuilder, Scrape, SeriesSet};

const AT_MS: i64 = 1_798_859_045_006;

/// One series as it is meant.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, f64, i64)>,
    help: String,
}

fn encoded(cache: &mut Cache, slices: &[Slice]) -> (Encoded, RequestV2) {
    let encoder = encoder(WriteMessage::V2);
    let encoded = encoder.encode(&State::default(), cache, slices);
    let fresh = encoder.encode(&State::default(), &mut Cache::default(), slices);
    assert_eq!((&encoded.body, &encoded.points), (&fresh.body, &fresh.points), "what was cached makes no difference");
    let read = RequestV2::decode(&*encoded.body).unwrap();
    assert_eq!(read.symbols[0], "");
    assert_eq!(read.symbols.iter().collect::<BTreeSet<_>>().len(), read.symbols.len(), "each once: {:?}", read.symbols);
    let head = RequestV2::decode(&encoded.body[..encoded.head]).unwrap();
    assert_eq!((head.symbols, head.timeseries.len()), (read.symbols.clone(), 0), "the table stands first");
    for (at, series) in read.timeseries.iter().enumerate() {
        assert_eq!(RequestV2::decode(encoded.item(at)).unwrap().timeseries, std::slice::from_ref(series));
        assert!(series.samples.is_empty() != series.histograms.is_empty(), "one kind a series: {series:?}");
        let names: Vec<_> = series.labels_refs.iter().step_by(2).map(|&name| &read.symbols[name as usize]).collect();
        assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()), "{names:?}");
    }
    (encoded, read)
}

fn meant(request: &RequestV2, series: &TimeSeriesV2) -> Series {
    let text = |&number: &u32| request.symbols[number as usize].clone();
    Series {
        labels: series.labels_refs.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        samples: series.samples.iter().map(|one| (one.timestamp, one.value, one.start_timestamp)).collect(),
        help: text(&series.metadata.map_or(0, |metadata| metadata.help_ref)),
    }
}

fn all(request: &RequestV2) -> Vec<Series> {
    request.timeseries.iter().map(|series| meant(request, series)).collect()
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        samples: samples.iter().map(|&(time_ms, value)| (time_ms, value, 0)).collect(),
        help: "Help.".to_owned(),
    }
}

#[test]
fn texts_stand_once_and_scrapes_are_merged() {
    let target = Target::new(7, &[("a", &[("job", "a")]), ("b", &[("A", "1"), ("job", "b")])]);
    let other = Target::new(3, &[("a", &[("job", "__name__")])]);
    let slices = whole([
        target.scrape(AT_MS, &[(0, 1.0, None), (1, 2.0, None)]),
        other.scrape(AT_MS, &[(0, 3.0, None)]),
        target.scrape(AT_MS + 5, &[(0, 4.0, None)]),
    ]);
    let (request, read) = encoded(&mut Cache::default(), &slices);
    let expected = [
        series(&[("__name__", "a"), ("job", "__name__")], &[(AT_MS, 3.0)]),
        series(&[("__name__", "a"), ("job", "a")], &[(AT_MS, 1.0), (AT_MS + 5, 4.0)]),
        series(&[("A", "1"), ("__name__", "b"), ("job", "b")], &[(AT_MS, 2.0)]),
    ];
    assert_eq!(all(&read), expected);
    assert_eq!(request.points, [2, 0, 3, 1]);
    assert_eq!(request.headers["content-type"], "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    assert_eq!(request.headers[VERSION], "2.0.0");
    assert_eq!(request.body, read.encode_to_vec(), "as long as it has to be, and no longer");
}

#[test]
fn a_steady_table_is_used_again_and_an_unsteady_one_is_not() {
    let target = Target::new(7, &[("a", &[]), ("b", &[("l", "1")])]);
    let grown = target.extended(&[("c", &[("l", "2")])]);
    let other = Target::new(3, &[("d", &[])]);
    let mut cache = Cache::default();
    let mut trace = 0;
    let mut scrape = |target: &Target, at_ms| {
        trace += 1;
        let exemplars = [exemplar(0, &format!("trace-{trace}"), None)];
        Scrape { exemplars: exemplars.into(), ..target.scrape(at_ms, &[(0, 1.0, None)]) }
    };
    let rounds: [&[&Target]; 7] =
        [&[&target], &[&target], &[&target, &other], &[&other, &target], &[&grown, &target], &[&target], &[&other]];
    for (round, targets) in (0..).zip(rounds) {
        let slices = whole(targets.iter().map(|target| scrape(target, AT_MS + round)));
        let (_, read) = encoded(&mut cache, &slices);
        assert!(read.symbols.iter().filter(|symbol| symbol.starts_with("trace-")).count() <= targets.len());
    }
}

#[test]
fn a_part_of_a_scrape_has_the_texts_that_it_needs() {
    let target = Target::new(7, &[("a", &[("l", "1")]), ("b", &[("l", "2")]), ("c", &[("l", "3")])]);
    let scrape = Arc::new(target.scrape(AT_MS, &[(0, 1.0, None), (1, 2.0, None), (2, 3.0, None)]));
    let mut cache = Cache::default();
    let (_, whole) = encoded(&mut cache, &[Slice::whole(scrape.clone())]);
    assert_eq!(whole.symbols.len(), 10);
    let (request, read) = encoded(&mut cache, &[Slice::of(scrape, vec![1])]);
    assert_eq!(read.symbols, ["", "__name__", "b", "l", "2", "Help."]);
    assert_eq!(all(&read), [series(&[("__name__", "b"), ("l", "2")], &[(AT_MS, 2.0)])]);
    assert_eq!(request.points, [1]);
}

#[test]
fn series_say_type_help_unit_and_since_when() {
    let mut chunk = ChunkBuilder::default();
    let mut points = PointsBuilder::default();
    let kinds = [
        (MetricType::Unknown, 0),
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
    let created = |series, at_ms| Created { series, at_ms };
    let first = Scrape { created: [created(3, 700), created(1, 500)].into(), ..target.with(AT_MS, &mut points) };
    let restarted =
        Scrape { created: [created(1, 900)].into(), ..target.scrape(AT_MS + 1, &[(1, 2.0, None), (3, 2.0, None)]) };
    let (_, read) = encoded(&mut Cache::default(), &whole([first, restarted]));
    for (series, (_, number)) in read.timeseries.iter().zip(kinds) {
        let metadata = series.metadata.unwrap();
        let said = [metadata.help_ref, metadata.unit_ref].map(|number| read.symbols[number as usize].as_str());
        assert_eq!((metadata.kind, said), (number, ["Some help.", "seconds"]));
    }
    assert_eq!(read.timeseries[8].metadata, None);
    let starts =
        |at: usize| -> Vec<i64> { read.timeseries[at].samples.iter().map(|one| one.start_timestamp).collect() };
    assert_eq!((starts(0), starts(1), starts(3)), (vec![0], vec![500, 900], vec![700, 0]));
}

#[test]
fn histograms_and_exemplars_are_of_2_0() {
    let target = Target::new(7, &[("h", &[])]);
    let mut points = PointsBuilder::default();
    let bounds = Histogram { schema: -53, custom_bounds: [1.0, 2.5].into(), ..native(false) };
    points.push_histogram(0, bounds, None);
    points.push_histogram(0, native(true), Some(AT_MS + 1));
    points.push_float(0, 1.0, Some(AT_MS + 2));
    let scrape = Scrape {
        created: [Created { series: 0, at_ms: 77 }].into(),
        exemplars: [exemplar(0, "h", Some(5)), Exemplar { labels: Default::default(), ..exemplar(0, "", None) }].into(),
        ..target.with(AT_MS, &mut points)
    };
    let (request, read) = encoded(&mut Cache::default(), &whole([scrape]));
    let [histograms, floats] = &read.timeseries[..] else { panic!("{read:?}") };
    let [first, second] = &histograms.histograms[..] else { panic!("{histograms:?}") };
    assert_eq!((first.schema, &first.custom_values[..], first.start_timestamp), (-53, &[1.0, 2.5][..], 77));
    assert_eq!((second.count, second.timestamp, second.start_timestamp), (Some(Count::Float(21.0)), AT_MS + 1, 77));
    let labels = |refs: &[u32]| refs.iter().map(|&number| read.symbols[number as usize].clone()).collect::<Vec<_>>();
    let [own, bare] = &histograms.exemplars[..] else { panic!("{histograms:?}") };
    assert_eq!((labels(&own.labels_refs), own.timestamp, own.value), (vec!["trace_id".into(), "h".into()], 5, 0.5));
    assert_eq!((bare.labels_refs.len(), bare.timestamp), (0, AT_MS));
    assert_eq!((floats.samples.len(), floats.exemplars.len()), (1, 0));
    let items: Vec<_> = request.items.iter().map(|item| (item.samples, item.mark)).collect();
    assert_eq!(items, [(2, mark::HISTOGRAMS), (1, mark::FLOATS)]);
    assert!(request.skipped.is_empty());
}

#[test]
fn a_lane_that_knows_better_speaks_1_0() {
    let target = Target::new(7, &[("a", &[])]);
    let state = State { is_v1_only: true, ..State::default() };
    let slices = whole([target.scrape(AT_MS, &[(0, 1.0, None)])]);
    let encoded = encoder(WriteMessage::V2).encode(&state, &mut Cache::default(), &slices);
    assert_eq!((encoded.headers[VERSION].as_bytes(), encoded.head), (&b"0.1.0"[..], 0));
}

#[test]
fn parts_of_two_sets_that_share_a_chunk_have_all_of_their_labels() {
    // As where a table's last chunks were made one between two scrapes, and its first one stayed.
    let target = Target::new(7, &[("a", &[("l", "1")]), ("b", &[("l", "2")])]);
    let (before, after) = (target.extended(&[("c", &[("l", "3")])]), target.extended(&[("d", &[("l", "4")])]));
    let part = |scrape: Scrape, positions| Slice::of(Arc::new(scrape), positions);
    let slices = [
        part(before.scrape(AT_MS, &[(0, 1.0, None), (2, 2.0, None)]), vec![0]),
        part(after.scrape(AT_MS + 1, &[(0, 3.0, None), (1, 4.0, None), (2, 5.0, None)]), vec![0, 1]),
    ];
    let (_, read) = encoded(&mut Cache::default(), &slices);
    let expected = [
        series(&[("__name__", "a"), ("l", "1")], &[(AT_MS, 1.0)]),
        series(&[("__name__", "a"), ("l", "1")], &[(AT_MS + 1, 3.0)]),
        series(&[("__name__", "b"), ("l", "2")], &[(AT_MS + 1, 4.0)]),
    ];
    assert_eq!(all(&read), expected);
}
