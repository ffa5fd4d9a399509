//! Whatever a target says.

use super::*;

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

const TYPES: [&str; 6] = ["counter", "gauge", "histogram", "summary", "untyped", "histogram"];
const SUFFIXES: [&str; 8] = ["", "_bucket", "_bucket", "_bucket", "_count", "_sum", "_created", "_total"];
const LABELS: [&str; 9] = [
    "le=\"1\"",
    "le=\"2.5\"",
    "le=\"+Inf\"",
    "le=\"x\"",
    "quantile=\"0.5\"",
    "job=\"other\"",
    "a=\"é\\n\"",
    "otel_scope_name=\"s\"",
    "",
];
const VALUES: [&str; 12] =
    ["0", "1", "2", "3", "7", "1.5", "-1", "NaN", "+Inf", "-Inf", "1e300", "18446744073709551616"];

fn body(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(4) {
        let family = random.of(&["f", "g", "h_count", "target"]);
        text += &format!("# TYPE {family} {}\n", random.of(&TYPES));
        for _ in 0..random.below(9) {
            let name = if random.below(9) == 0 {
                "target_info".to_owned()
            } else {
                format!("{family}{}", random.of(&SUFFIXES))
            };
            let labels = random.of(&LABELS);
            let time =
                if random.below(12) == 0 { format!(" {}", AT_MS - random.below(3) as i64) } else { String::new() };
            text += &format!("{name}{{{labels}}} {}{time}\n", random.of(&VALUES));
        }
    }
    text
}

#[test]
fn each_sample_is_in_one_place_and_what_is_sent_can_be_read() {
    for (seed, encoder) in (1..).zip([encoder, delta, plain].into_iter().cycle().take(90)) {
        let (mut random, mut target, mut lane) = (Random(seed), Target::new(), Lane::new(encoder()));
        let mut scrapes = Vec::new();
        for round in 1..8 {
            scrapes.push(target.read(AT_MS + 1000 * round, Exposition::Text, body(&mut random).as_bytes()));
            if random.below(3) > 0 {
                let (sent, _) = lane.send(&std::mem::take(&mut scrapes));
                for metric in metrics(&sent) {
                    assert!(points_of(metric) > 0, "an empty metric: {metric:?}");
                    check(metric);
                }
            }
        }
    }
}

/// What must hold of sums and histograms.
fn check(metric: &Metric) {
    let data = match &metric.data {
        Some(Data::Sum(data)) => {
            let is_well = |point: &NumberDataPoint| point.start_time_unix_nano <= point.time_unix_nano;
            return assert!(data.data_points.iter().all(is_well), "{data:?}");
        }
        Some(Data::Histogram(data)) => data,
        _ => return,
    };
    for point in data.data_points.iter().filter(|point| point.flags == 0) {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert!(point.explicit_bounds.is_sorted_by(|one, other| one < other), "{point:?}");
        assert!(point.start_time_unix_nano <= point.time_unix_nano);
    }
}
