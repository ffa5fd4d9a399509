//! Native histograms.

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;

use super::*;
use crate::model::{ChunkBuilder, Family, Histogram, HistogramSpan as Span, MetricType, PointsBuilder, SeriesSet};

fn scrape(at_ms: i64, histogram: Histogram) -> Arc<Scrape> {
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "h", kind: MetricType::Histogram, ..Family::default() });
    let mut points = PointsBuilder::default();
    let labels = [("instance", "i"), ("job", "j"), ("path", "/")];
    points.push_histogram(chunk.push(family, "h", labels.into_iter()), histogram, None);
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
        at_ms,
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

fn exponential() -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 12.0,
        sum: 99.5,
        positive_spans: [Span { offset: -1, length: 2 }, Span { offset: 2, length: 1 }].into(),
        positive_counts: [1.0, 2.0, 3.0].into(),
        negative_spans: [Span { offset: 5, length: 1 }].into(),
        negative_counts: [4.0].into(),
        ..Histogram::stale()
    }
}

fn point(sent: &[ResourceMetrics]) -> &ExponentialHistogramDataPoint {
    match &metric(sent, "h").data {
        Some(Data::ExponentialHistogram(data)) => {
            assert_eq!((data.aggregation_temporality, data.data_points.len()), (2, 1));
            &data.data_points[0]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exponential_one_is_one_of_otlps() {
    for encoder in [encoder(), delta()] {
        let (sent, _) = Lane::new(encoder).send(&[scrape(AT_MS, exponential())]);
        let point = point(&sent);
        assert_eq!((point.scale, point.count, point.sum, point.zero_count), (3, 12, Some(99.5), 2));
        assert_eq!((point.zero_threshold, texts(&point.attributes)), (0.001, vec!["path=/".to_owned()]));
        let positive = point.positive.as_ref().unwrap();
        assert_eq!((positive.offset, &positive.bucket_counts[..]), (-2, &[1, 2, 0, 0, 3][..]));
        let negative = point.negative.as_ref().unwrap();
        assert_eq!((negative.offset, &negative.bucket_counts[..]), (4, &[4][..]));
    }
}

#[test]
fn what_no_float_can_be_is_left_out_and_not_counted() {
    let spans = [Span { offset: 8192, length: 2 }].into();
    let histogram = Histogram { positive_spans: spans, positive_counts: [3.0, 5.0].into(), ..exponential() };
    let (sent, _) = Lane::new(encoder()).send(&[scrape(AT_MS, histogram)]);
    assert_eq!((point(&sent).count, &point(&sent).positive.as_ref().unwrap().bucket_counts[..]), (9, &[3][..]));
}

#[test]
fn one_with_bounds_of_its_own_is_a_histogram_with_bounds() {
    let custom = Histogram {
        schema: -53,
        count: 6.0,
        sum: 3.0,
        positive_spans: [Span { offset: 1, length: 2 }].into(),
        positive_counts: [2.0, 4.0].into(),
        custom_bounds: [0.5, 1.0].into(),
        ..Histogram::stale()
    };
    let (sent, _) = Lane::new(encoder()).send(&[scrape(AT_MS, custom)]);
    let point = histogram(&sent, "h");
    assert_eq!(
        (&point.bucket_counts[..], &point.explicit_bounds[..], point.count),
        (&[0, 2, 4][..], &[0.5, 1.0][..], 6)
    );
    assert_eq!(texts(&point.attributes), ["path=/"]);
}

#[test]
fn markers_starts_and_what_has_no_place() {
    let mut lane = Lane::new(encoder());
    lane.send(&[scrape(AT_MS, exponential())]);
    let (sent, _) = lane.send(&[scrape(AT_MS + 1000, exponential())]);
    assert_eq!(seconds(point(&sent).start_time_unix_nano), Some(0.0));
    let (sent, _) = lane.send(&[scrape(AT_MS + 2000, Histogram { count: 1.0, ..exponential() })]);
    assert_eq!(seconds(point(&sent).start_time_unix_nano), Some(1.0), "it has begun anew");
    let (sent, _) = lane.send(&[scrape(AT_MS + 3000, Histogram::stale())]);
    assert_eq!((point(&sent).flags, point(&sent).count), (1, 0));
    for histogram in [Histogram { is_gauge: true, ..exponential() }, Histogram { is_float: true, ..exponential() }] {
        let (sent, encoded) = lane.send(&[scrape(AT_MS, histogram)]);
        assert_eq!((sent.len(), encoded.skipped), (0, Reasons::from([(reason::UNSUPPORTED_TYPE, 1)])));
    }
    let broken = Histogram { zero_count: f64::NAN, ..exponential() };
    let (_, encoded) = lane.send(&[scrape(AT_MS, broken)]);
    assert_eq!(encoded.rejected[0].why, "the native histogram h has counts that are none, and is not sent");
}
