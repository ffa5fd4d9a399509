//! Differences.

use super::*;

#[test]
fn a_counter_is_told_by_how_much_it_rose() {
    let (mut target, mut lane) = (Target::new(), Lane::new(delta()));
    let mut told = Vec::new();
    for (at, total) in [(0, "5"), (10, "7.5"), (20, "7.5"), (30, "2"), (40, "NaN"), (50, "3"), (60, "+Inf")] {
        let (sent, encoded) = lane.send(&[target.scrape(at, &format!("# TYPE c counter\nc_total {total}"))]);
        told.push(match metrics(&sent)[..] {
            [metric] => {
                let Some(Data::Sum(sum)) = &metric.data else { panic!("a sum") };
                assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
                let point = &sum.data_points[0];
                Ok((value(point), seconds(point.start_time_unix_nano), seconds(point.time_unix_nano)))
            }
            _ => Err(encoded.skipped.into_keys().next().unwrap()),
        });
    }
    let rose = |by, from, to| Ok((by, Some(from), Some(to)));
    assert_eq!(
        told,
        [
            Err("first_delta"),
            rose(2.5, 0.0, 10.0),
            rose(0.0, 10.0, 20.0),
            rose(2.0, 20.0, 30.0),
            Err("nan"),
            rose(1.0, 30.0, 50.0),
            Err("infinite"),
        ]
    );
}

#[test]
fn what_was_not_settled_is_in_the_next_difference() {
    let (mut target, mut lane) = (Target::new(), Lane::new(delta()));
    let mut scrape = |at, total: i64| target.scrape(at, &format!("# TYPE c counter\nc_total {total}"));
    lane.send(&[scrape(0, 1)]);
    let lost = scrape(10, 3);
    lane.encode(&[lost]);
    let (sent, _) = lane.send(&[scrape(20, 6)]);
    assert_eq!(value(&numbers(metric(&sent, "c_total"))[0]), 5.0);
}

#[test]
fn a_histogram_is_told_by_how_much_its_parts_rose() {
    let (mut target, mut lane) = (Target::new(), Lane::new(delta()));
    let mut of = |at, [low, high, count]: [u64; 3], sum: f64| {
        let lines = format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {low}\nh_bucket{{le=\"2\"}} {high}\nh_bucket{{le=\"+Inf\"}} {count}\nh_count {count}\nh_sum {sum}"
        );
        lane.send(&[target.scrape(at, &lines)])
    };
    let (sent, encoded) = of(0, [1, 2, 3], 4.0);
    assert_eq!((sent.len(), encoded.skipped), (0, Reasons::from([(reason::FIRST_DELTA, 5)])));
    for (at, parts, sum, counts, total, rose) in [
        (10, [1, 4, 8], 3.5, [0, 2, 3], 5, -0.5),
        // It began anew, and one of its buckets has more than before all the same.
        (20, [2, 2, 3], 7.0, [2, 0, 1], 3, 7.0),
        (30, [2, 2, 4], 9.0, [0, 0, 1], 1, 2.0),
    ] {
        let (sent, _) = of(at, parts, sum);
        let point = histogram(&sent, "h");
        assert_eq!((&point.bucket_counts[..], point.count, point.sum), (&counts[..], total, Some(rose)), "at {at}");
        assert_eq!(seconds(point.start_time_unix_nano), Some(at as f64 - 10.0));
        let Some(Data::Histogram(data)) = &metric(&sent, "h").data else { panic!("a histogram") };
        assert_eq!(data.aggregation_temporality, 1);
    }
}

#[test]
fn a_bucket_that_is_new_makes_the_histogram_begin_anew() {
    let (mut target, mut lane) = (Target::new(), Lane::new(delta()));
    let lines = |count: u64, more: &str| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {count}\n{more}h_bucket{{le=\"+Inf\"}} {count}\nh_count {count}"
        )
    };
    lane.send(&[target.scrape(0, &lines(1, ""))]);
    let scrapes = [target.scrape(10, &lines(2, "")), target.scrape(20, &lines(4, "h_bucket{le=\"2\"} 4\n"))];
    let (sent, encoded) = lane.send(&scrapes);
    assert_eq!((histogram(&sent, "h").count, &encoded.skipped), (1, &Reasons::from([(reason::FIRST_DELTA, 4)])));
    let (sent, _) = lane.send(&[target.scrape(30, &lines(7, "h_bucket{le=\"2\"} 7\n"))]);
    assert_eq!((histogram(&sent, "h").count, &histogram(&sent, "h").bucket_counts[..]), (3, &[3, 0, 0][..]));
}

#[test]
fn targets_whose_series_have_the_same_labels_are_kept_apart() {
    let (mut one, mut other) = (Target::new(), Target::with_key(2));
    let counter = |total: i64| format!("# TYPE c counter\nc_total {total}");
    let mut lane = Lane::new(delta());
    lane.send(&[one.scrape(0, &counter(100)), other.scrape(1, &counter(5))]);
    let (sent, _) = lane.send(&[one.scrape(10, &counter(101)), other.scrape(11, &counter(7))]);
    let rises: Vec<f64> = metrics(&sent).iter().map(|metric| value(&numbers(metric)[0])).collect();
    assert_eq!(rises, [1.0, 2.0]);

    let histogram =
        |count: u64| format!("# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {count}\nh_count {count}\nh_sum {count}");
    let mut lane = Lane::new(delta());
    lane.send(&[one.scrape(20, &histogram(100)), other.scrape(21, &histogram(5))]);
    let (sent, _) = lane.send(&[one.scrape(30, &histogram(101)), other.scrape(31, &histogram(7))]);
    let counts = sent.iter().map(|of| self::histogram(std::slice::from_ref(of), "h").count).collect::<Vec<_>>();
    assert_eq!(counts, [1, 2]);

    let mut lane = Lane::new(encoder());
    lane.send(&[one.scrape(40, &counter(100)), other.scrape(41, &counter(5))]);
    let (sent, _) = lane.send(&[one.scrape(50, &counter(101)), other.scrape(51, &counter(7))]);
    let starts = metrics(&sent)
        .iter()
        .map(|metric| seconds(numbers(metric)[0].start_time_unix_nano).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(starts, [40.0, 41.0]);
}

#[test]
fn a_sum_that_is_new_is_not_taken_for_what_it_rose_by() {
    let (mut target, mut lane) = (Target::new(), Lane::new(delta()));
    let mut of = |at, count: u64, sum: &str| {
        let lines = format!("# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {count}\nh_count {count}{sum}");
        lane.send(&[target.scrape(at, &lines)])
    };
    of(0, 1, "");
    assert_eq!(of(10, 2, "\nh_sum 100").1.skipped, Reasons::from([(reason::FIRST_DELTA, 3)]));
    assert_eq!(histogram(&of(20, 3, "\nh_sum 103").0, "h").sum, Some(3.0));
}
