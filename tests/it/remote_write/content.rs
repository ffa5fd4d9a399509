//! What besides floats goes over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::WriteMessage;
use promferry::model::{
    ChunkBuilder, Exemplar, Family, Histogram, HistogramSpan, Labels, MetricType, Origin, PointsBuilder, STALE_NAN,
    STALE_NAN_BITS, Scrape, SeriesSet,
};
use promferry::pipeline::Reasons;

use super::{AT_MS, Outcome, Tls, VERSIONS, start};
use crate::support::remote_write::messages::{Count, ResetHint};
use crate::support::remote_write::{Step, Stored, WriteServer};

fn histogram() -> Histogram {
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 6.0,
        sum: 12.25,
        is_float: false,
        is_gauge: true,
        positive_spans: [HistogramSpan { offset: 1, length: 2 }].into(),
        positive_counts: [3.0, 2.0].into(),
        negative_spans: Box::default(),
        negative_counts: Box::default(),
        custom_bounds: Box::default(),
    }
}

/// A counter, a native histogram and one with bounds of its own, with an exemplar; the counter ends in the second.
fn scrapes() -> Vec<Arc<Scrape>> {
    let mut chunk = ChunkBuilder::default();
    let labels = [("job", "test")];
    let counter = chunk.family(Family { name: "done", help: "Things done.", kind: MetricType::Counter, unit: "" });
    let native = chunk.family(Family { name: "took", help: "", kind: MetricType::Histogram, unit: "seconds" });
    let done = chunk.push(counter, "done_total", labels.into_iter());
    let took = chunk.push(native, "took", labels.into_iter());
    let bounded = chunk.push(native, "bounded", labels.into_iter());
    let set = Arc::new(SeriesSet::new(vec![chunk.finish()]));
    let origin = Arc::new(Origin { key: 7, labels: Labels::new(), url: "https://test/".to_owned() });
    let trace: Labels<'_> = [("trace_id", "abc")].into_iter().collect();
    let exemplar = Exemplar { series: done, labels: trace.into_owned(), value: 1.0, at_ms: Some(AT_MS - 5) };
    let scrape = |nth: i64, points: &mut PointsBuilder| {
        Arc::new(Scrape {
            origin: origin.clone(),
            at_ms: AT_MS + 1000 * nth,
            series: set.clone(),
            points: points.finish(),
            exemplars: [exemplar.clone()].into(),
            created: [promferry::model::Created { series: done, at_ms: AT_MS - 60_000 }].into(),
            is_last: false,
        })
    };
    let mut points = PointsBuilder::default();
    points.push_float(done, 5.0, None);
    points.push_histogram(took, histogram(), None);
    let custom = Histogram { schema: -53, custom_bounds: [1.0, 2.0, 3.0].into(), ..histogram() };
    points.push_histogram(bounded, custom, None);
    let first = scrape(0, &mut points);
    points.push_float(done, STALE_NAN, None);
    points.push_histogram(took, Histogram::stale(), None);
    vec![first, scrape(1, &mut points)]
}

async fn run(message: WriteMessage, script: Vec<Step>, has_extras: bool) -> Outcome {
    let tls = Tls::new();
    let server = WriteServer::start(Some(tls.server()), script).await;
    let mut settings = tls.settings(&server, message);
    settings.send_exemplars = has_extras;
    settings.send_native_histograms = has_extras;
    settings.metadata_interval = has_extras.then_some(Duration::from_secs(60));
    let scrapes = scrapes();
    let output = start(&settings, 10_000);
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    Outcome { server, scrapes, counts }
}

/// The samples of each series by its name.
fn by_name(outcome: &Outcome) -> BTreeMap<String, Vec<(i64, Stored)>> {
    let tsdb = outcome.server.tsdb();
    assert_eq!(tsdb.violations, [""; 0]);
    tsdb.series.iter().map(|(labels, samples)| (labels[0].1.clone(), samples.clone())).collect()
}

#[tokio::test]
async fn histograms_stale_markers_and_exemplars_arrive_as_they_are() {
    for message in VERSIONS {
        let outcome = run(message, Vec::new(), true).await;
        let is_v2 = message == WriteMessage::V2;
        let stored = by_name(&outcome);
        let floats = [(AT_MS, Stored::Float(5.0_f64.to_bits())), (AT_MS + 1000, Stored::Float(STALE_NAN_BITS))];
        assert_eq!(stored["done_total"], floats);
        let [(_, Stored::Histogram(first)), (_, Stored::Histogram(end))] = &stored["took"][..] else {
            panic!("{stored:?}")
        };
        assert_eq!((first.count, first.sum, first.schema), (Some(Count::Int(6)), 12.25, 2));
        assert_eq!((&first.positive_deltas[..], first.reset_hint()), (&[3, -1][..], ResetHint::Gauge));
        assert_eq!(end.sum.to_bits(), STALE_NAN_BITS);
        let bounded = stored.get("bounded").map(|samples| samples.len());
        assert_eq!(bounded, is_v2.then_some(1), "bounds of their own are of 2.0 alone");
        let skipped = if is_v2 { Reasons::new() } else { Reasons::from([("unsupported_type", 1)]) };
        assert_eq!(outcome.counts.settled.skipped, skipped);
        outcome.counts_are(if is_v2 { 5 } else { 4 }, Reasons::new(), Reasons::new(), "all kinds");

        let tsdb = outcome.server.tsdb();
        assert_eq!(tsdb.exemplars, [(vec![("trace_id".to_owned(), "abc".to_owned())], AT_MS - 5)]);
        let series = &tsdb.requests[0].series;
        let done = series.iter().find(|series| series.labels[0].1 == "done_total").unwrap();
        let metadata = &tsdb.requests[0].metadata;
        if is_v2 {
            assert_eq!(done.metadata, Some((1, "Things done.".to_owned(), String::new())));
            assert_eq!(done.samples[0].start_timestamp, AT_MS - 60_000);
            assert_eq!(metadata.len(), 0);
        } else {
            let said: Vec<_> =
                metadata.iter().map(|one| (one.metric_family_name.as_str(), one.kind, one.unit.as_str())).collect();
            assert_eq!(said, [("done", 1, ""), ("took", 3, "seconds")]);
            assert_eq!(metadata[0].help, "Things done.");
        }
    }
}

#[tokio::test]
async fn what_is_not_wanted_is_skipped_and_counted() {
    for message in VERSIONS {
        let outcome = run(message, Vec::new(), false).await;
        assert_eq!(by_name(&outcome).into_keys().collect::<Vec<_>>(), ["done_total"]);
        assert_eq!(outcome.counts.settled.skipped, Reasons::from([("unsupported_type", 3)]));
        outcome.counts_are(2, Reasons::new(), Reasons::new(), "floats");
        let tsdb = outcome.server.tsdb();
        assert!(tsdb.exemplars.is_empty() && tsdb.requests[0].metadata.is_empty());
    }
}

#[tokio::test]
async fn metadata_is_said_once_an_interval_whatever_fails() {
    let tls = Tls::new();
    let script = vec![super::says(503, "Retry-After: 0\r\n", "")];
    let server = WriteServer::start(Some(tls.server()), script).await;
    let mut settings = tls.settings(&server, WriteMessage::V1);
    settings.metadata_interval = Some(Duration::from_secs(60));
    let output = start(&settings, 1);
    let scrapes = scrapes();
    for nth in 0..100 {
        let scrape = Scrape {
            origin: scrapes[0].origin.clone(),
            at_ms: AT_MS + 1000 * nth,
            series: scrapes[0].series.clone(),
            points: {
                let mut points = PointsBuilder::default();
                points.push_float(0, nth as f64, None);
                points.finish()
            },
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        };
        output.queue.push(&Arc::new(scrape));
    }
    let counts = output.finish().await;
    assert_eq!(counts.settled.delivered, 100);
    let tsdb = server.tsdb();
    let said: Vec<usize> = tsdb.requests.iter().map(|request| request.metadata.len()).collect();
    // The first request failed, and brought it again; the second round begins after a minute of scrapes.
    let expected = |at: usize| if [0, 1, 61].contains(&at) { 2 } else { 0 };
    assert_eq!(said, (0..101).map(expected).collect::<Vec<_>>());
    assert_eq!(tsdb.violations, [""; 0]);
}
