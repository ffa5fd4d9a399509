//! Names that need quotes, for those who do not read quotes: what a name cannot have becomes `_`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::exposition::write::{is_bare_label_name, is_bare_metric_name};
use crate::model::{ChunkBuilder, Family, Labels, Scrape, SeriesRef, SeriesSet};

/// The scrape with names that need no quotes: mostly the very same. Series that are alike then are served once.
pub(super) fn underscored(scrape: Arc<Scrape>) -> Arc<Scrape> {
    if scrape.series.iter().all(|series| is_bare(&series)) {
        return scrape;
    }
    let chunks = scrape.series.chunks().iter().map(|chunk| {
        let mut builder = ChunkBuilder::default();
        let mut families = HashMap::new();
        for series in chunk.iter() {
            let family = *families.entry(series.family_number()).or_insert_with(|| {
                let family = series.family();
                builder.family(Family { name: &escaped(family.name, true), ..family })
            });
            let mut labels = Labels::new();
            for (name, value) in series.labels() {
                labels.set(escaped(name, false), value);
            }
            builder.push(family, &escaped(series.name(), true), labels.iter());
        }
        builder.finish()
    });
    let points = copied(&scrape);
    Arc::new(Scrape {
        origin: scrape.origin.clone(),
        at_ms: scrape.at_ms,
        series: Arc::new(SeriesSet::new(chunks.collect())),
        points,
        exemplars: Box::default(),
        created: Default::default(),
        is_last: scrape.is_last,
    })
}

fn is_bare(series: &SeriesRef<'_>) -> bool {
    is_bare_metric_name(series.name())
        && is_bare_metric_name(series.family().name)
        && series.labels().all(|(name, _)| is_bare_label_name(name))
}

/// Numbers of series are the same in both sets.
fn copied(scrape: &Scrape) -> crate::model::Points {
    use crate::model::{PointsBuilder, Value};
    let mut points = PointsBuilder::default();
    for point in scrape.points.iter() {
        match point.value {
            Value::Float(value) => points.push_float(point.series, value, point.own_ms),
            Value::Histogram(histogram) => points.push_histogram(point.series, histogram.clone(), point.own_ms),
        }
    }
    points.finish()
}

/// A character that a name cannot have becomes `_`, as does a digit in front (Prometheus' common, `EscapeName`).
fn escaped(name: &str, is_metric: bool) -> String {
    let fits = |at: usize, c: char| {
        c.is_ascii_alphabetic() || c == '_' || (c == ':' && is_metric) || (at > 0 && c.is_ascii_digit())
    };
    name.chars().enumerate().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_cannot_have_becomes_an_underscore() {
        for (name, metric, label) in
            [("my.dotted", "my_dotted", "my_dotted"), ("a:b", "a:b", "a_b"), ("1é ", "___", "___"), ("a1", "a1", "a1")]
        {
            assert_eq!((&*escaped(name, true), &*escaped(name, false)), (metric, label));
        }
    }
}
