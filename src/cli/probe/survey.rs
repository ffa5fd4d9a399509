//! What a scrape is made of: samples by family, values by label.

use std::collections::{HashMap, HashSet};

use crate::exposition::Parsed;
use crate::model::{MetricType, Value};

/// Label names whose values are counted.
const NAMES_MAX: usize = 1000;
/// Values that are told apart, over all names: some 40 MB.
const VALUES_MAX: usize = 1_000_000;

/// What a scrape is made of.
pub(super) struct Survey<'s> {
    /// Families, those with the most samples first, then by name.
    pub(super) families: Vec<FamilyCount<'s>>,
    /// Labels, those with the most values first, then by name.
    pub(super) labels: Vec<LabelCount<'s>>,
    /// Distinct label sets.
    pub(super) series: usize,
    /// Native histograms among the samples.
    pub(super) native_histograms: usize,
    /// Samples with a time of their own.
    pub(super) timed: usize,
    /// Exemplars beside the samples.
    pub(super) exemplars: usize,
}

/// A family, and how much of the scrape it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FamilyCount<'s> {
    pub(super) name: &'s str,
    pub(super) kind: MetricType,
    pub(super) has_help: bool,
    pub(super) samples: usize,
}

/// A label, and how many values it has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelCount<'s> {
    pub(super) name: &'s str,
    pub(super) values: usize,
    /// The first of them.
    pub(super) example: &'s str,
    /// There may be more values: too many were counted before.
    pub(super) is_cut: bool,
}

struct Values<'s> {
    seen: HashSet<&'s str>,
    example: &'s str,
    is_cut: bool,
}

impl<'s> Survey<'s> {
    /// Counts. What is kept is bounded by the samples, whose memory is limited, and by the limits above.
    pub(super) fn of(parsed: &'s Parsed) -> Self {
        let mut families: HashMap<&str, FamilyCount<'s>> = HashMap::new();
        let (mut native_histograms, mut timed) = (0, 0);
        for point in parsed.points.iter() {
            let family = parsed.series.get(point.series).family();
            let count = families.entry(family.name).or_insert(FamilyCount {
                name: family.name,
                kind: family.kind,
                has_help: !family.help.is_empty(),
                samples: 0,
            });
            count.samples += 1;
            native_histograms += usize::from(matches!(point.value, Value::Histogram(_)));
            timed += usize::from(point.own_ms.is_some());
        }
        let mut families: Vec<_> = families.into_values().collect();
        families.sort_by(|a, b| b.samples.cmp(&a.samples).then(a.name.cmp(b.name)));
        let labels = labels(parsed, VALUES_MAX);
        let (series, exemplars) = (parsed.series.len(), parsed.exemplars.len());
        Self { families, labels, series, native_histograms, timed, exemplars }
    }
}

fn labels(parsed: &Parsed, values_max: usize) -> Vec<LabelCount<'_>> {
    let mut names: HashMap<&str, Values<'_>> = HashMap::new();
    let mut kept = 0;
    for series in parsed.series.iter() {
        for (name, value) in series.labels() {
            if names.len() >= NAMES_MAX && !names.contains_key(name) {
                continue;
            }
            let values =
                names.entry(name).or_insert_with(|| Values { seen: HashSet::new(), example: value, is_cut: false });
            if kept < values_max {
                kept += usize::from(values.seen.insert(value));
            } else {
                values.is_cut |= !values.seen.contains(value);
            }
        }
    }
    let counted = names.into_iter().map(|(name, Values { seen, example, is_cut })| LabelCount {
        name,
        values: seen.len(),
        example,
        is_cut,
    });
    let mut labels: Vec<_> = counted.collect();
    labels.sort_by(|a, b| b.values.cmp(&a.values).then(a.name.cmp(b.name)));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{AsIs, Settings, Table};
    use crate::model::Labels;

    fn parsed(body: &str) -> Parsed {
        let mut table = Table::new(Settings::default(), Box::<AsIs>::default(), Labels::new());
        table.begin(0);
        table.feed(body.as_bytes()).unwrap();
        table.finish_body().unwrap();
        table.accept();
        table.take()
    }

    #[test]
    fn families_and_labels_are_counted_most_first() {
        let body =
            "# HELP a text\n# TYPE a counter\na_total{x=\"1\",y=\"z\"} 1\na_total{x=\"2\",y=\"z\"} 1\nb 1 1700\n";
        let parsed = parsed(body);
        let survey = Survey::of(&parsed);
        let family = |name, kind, has_help, samples| FamilyCount { name, kind, has_help, samples };
        let expected = [family("a", MetricType::Counter, true, 2), family("b", MetricType::Unknown, false, 1)];
        assert_eq!(survey.families, expected);
        let label = |name, values, example| LabelCount { name, values, example, is_cut: false };
        assert_eq!(survey.labels, [label("x", 2, "1"), label("y", 1, "z")]);
        assert_eq!((survey.series, survey.timed, survey.native_histograms, survey.exemplars), (3, 1, 0, 0));
    }

    #[test]
    fn no_more_values_are_kept_than_allowed() {
        let body: String = (0..10).map(|n| format!("a{{x=\"{n}\"}} 1\n")).collect();
        let parsed = parsed(&body);
        assert_eq!(labels(&parsed, 4), [LabelCount { name: "x", values: 4, example: "0", is_cut: true }]);
        assert!(!labels(&parsed, 10)[0].is_cut);
    }
}
