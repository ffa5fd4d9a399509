//! Histograms and summaries.

use super::*;

fn sent(lines: &str) -> (Vec<ResourceMetrics>, Encoded) {
    Lane::new(encoder()).send(&[Target::new().scrape(0, lines)])
}

#[test]
fn a_histogram_is_one_point_with_the_counts_of_each_bucket() {
    let (sent, encoded) = sent(
        "# TYPE h histogram\n# HELP h Times.\nh_bucket{a=\"b\",le=\"0.1\"} 1\nh_bucket{a=\"b\",le=\"2.0\"} 4\n\
         h_bucket{a=\"b\",le=\"+Inf\"} 9\nh_count{a=\"b\"} 9\nh_sum{a=\"b\"} 100.5\n\
         h_bucket{a=\"c\",le=\"+Inf\"} 3\nh_count{a=\"c\"} 3\nh_sum{a=\"c\"} 1",
    );
    let Some(Data::Histogram(data)) = &metric(&sent, "h").data else { panic!("a histogram") };
    assert_eq!((data.aggregation_temporality, data.data_points.len(), encoded.items[0].mark), (2, 2, 2));
    let first = &data.data_points[0];
    assert_eq!((first.count, first.sum), (9, Some(100.5)));
    assert_eq!((&first.bucket_counts[..], &first.explicit_bounds[..]), (&[1, 3, 5][..], &[0.1, 2.0][..]));
    assert_eq!(texts(&first.attributes), ["a=b"], "le is no attribute");
    let second = &data.data_points[1];
    assert_eq!((&second.bucket_counts[..], second.explicit_bounds.len()), (&[3][..], 0));
}

#[test]
fn buckets_come_in_any_order_and_the_infinite_one_may_lack() {
    let (sent, _) = sent("# TYPE h histogram\nh_bucket{le=\"2\"} 4\nh_bucket{le=\"-1\"} 1\nh_count 6");
    let point = histogram(&sent, "h");
    assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 3, 2][..], &[-1.0, 2.0][..]));
    assert_eq!(point.sum, None, "it is not made up");
}

#[test]
fn what_does_not_add_up_is_rejected_with_all_of_its_series() {
    let bucket = |value: &str| format!("# TYPE h histogram\nh_bucket{{le=\"1\"}} 3\nh_bucket{{le=\"2\"}} {value}\n");
    for (lines, samples, what) in [
        (bucket("4"), 2, "has no _count"),
        (format!("{}h_count 5", bucket("2")), 3, "has a bucket with less than one below it"),
        (format!("{}h_count 3", bucket("4")), 3, "has less as its _count than in its buckets"),
        (format!("{}h_count 5", bucket("3.5")), 3, "has a bucket whose value is no count"),
        (format!("{}h_count NaN\nh_sum 1", bucket("4")), 4, "has a _count that is no count"),
    ] {
        let (sent, encoded) = sent(&format!("{lines}\n# TYPE g gauge\ng 1"));
        assert_eq!(metrics(&sent).len(), 1, "the rest is sent");
        let [refused] = &encoded.rejected[..] else { panic!("{encoded:?}") };
        assert_eq!((refused.reason, refused.samples), ("bad_histogram", samples));
        assert_eq!(refused.why, format!("the histogram h {what}, and is not sent"));
    }
    let (_, encoded) = sent("# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 3");
    assert_eq!(encoded.rejected[0].why, "the summary s has no _count, and is not sent");
    assert!(encoded.body.is_empty() && encoded.items.is_empty());
}

#[test]
fn a_summary_is_one_point() {
    let (sent, _) = sent(
        "# TYPE s summary\ns{a=\"b\",quantile=\"0.5\"} NaN\ns{a=\"b\",quantile=\"0.9\"} 2\ns_count{a=\"b\"} 7\ns_sum{a=\"b\"} 3",
    );
    let Some(Data::Summary(data)) = &metric(&sent, "s").data else { panic!("a summary") };
    let [point] = &data.data_points[..] else { panic!("{data:?}") };
    assert_eq!((point.count, point.sum, texts(&point.attributes)), (7, 3.0, vec!["a=b".to_owned()]));
    let quantiles: Vec<_> = point.quantile_values.iter().map(|held| (held.quantile, held.value)).collect();
    assert!(quantiles[0].1.is_nan() && quantiles[1] == (0.9, 2.0));
    assert_eq!(seconds(point.start_time_unix_nano), Some(0.0));
}

#[test]
fn a_gauge_histogram_is_skipped_or_plain_gauges() {
    let lines = "# TYPE h gaugehistogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_gcount 1\nh_gsum 1\n# TYPE g gauge\ng 1";
    let (_, encoded) = sent(lines);
    assert_eq!(encoded.skipped, Reasons::from([(reason::UNSUPPORTED_TYPE, 4)]));
    let (sent, encoded) = Lane::new(plain()).send(&[Target::new().scrape(0, lines)]);
    assert_eq!(encoded.skipped.len(), 0);
    let buckets = numbers(metric(&sent, "h_bucket"));
    assert!(texts(&buckets[0].attributes).contains(&"le=1.0".to_owned()));
}

#[test]
fn parts_with_times_of_their_own_are_points_of_their_own() {
    let at = AT_MS / 1000;
    let mut target = Target::new();
    let lines = format!(
        "# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 1 {at}\nh_count 1 {at}\nh_sum 1 {at}\nh_bucket{{le=\"+Inf\"}} 2 {}\n\
         h_count 2 {}\nh_sum 2 {}",
        at + 1,
        at + 1,
        at + 1
    );
    let (sent, _) = Lane::new(encoder()).send(&[target.scrape(5, &lines)]);
    let Some(Data::Histogram(data)) = &metric(&sent, "h").data else { panic!("a histogram") };
    let read: Vec<_> = data.data_points.iter().map(|point| (point.count, seconds(point.time_unix_nano))).collect();
    assert_eq!(read, [(1, Some(0.0)), (2, Some(1.0))]);
}
