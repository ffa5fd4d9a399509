//! The comments in force: which family a sample belongs to, and what a `# HELP`, `# TYPE` or `# UNIT` line makes of it.

use crate::model::{Family, MetricType};

/// A family as the comments so far describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    name: String,
    kind: MetricType,
    help: String,
    unit: String,
}

impl Metadata {
    /// A `# HELP` line; the rest stays when it is about the same family.
    pub(super) fn set_help(&mut self, name: &str, help: &str) {
        self.enter(name);
        help.clone_into(&mut self.help);
    }

    /// A `# TYPE` line; the rest stays when it is about the same family.
    pub(super) fn set_kind(&mut self, name: &str, kind: MetricType) {
        self.enter(name);
        self.kind = kind;
    }

    /// A `# UNIT` line; the rest stays when it is about the same family.
    pub(super) fn set_unit(&mut self, name: &str, unit: &str) {
        self.enter(name);
        unit.clone_into(&mut self.unit);
    }

    fn enter(&mut self, name: &str) {
        if self.name != name {
            *self = Self { name: name.to_owned(), ..Self::default() };
        }
    }

    /// The family that a sample belongs to: this one, or an untyped one of the sample's own name.
    pub(super) fn family_of<'a>(&'a self, sample: &'a str) -> Family<'a> {
        let family = Family { name: &self.name, help: &self.help, kind: self.kind, unit: &self.unit };
        family_of(family, sample)
    }
}

/// The family that a sample belongs to: this one, or an untyped one of the sample's own name.
pub(super) fn family_of<'a>(family: Family<'a>, sample: &'a str) -> Family<'a> {
    if is_part_of(family, sample) { family } else { Family { name: sample, ..Family::default() } }
}

/// Whether a sample belongs to this family.
pub(super) fn is_part_of(family: Family<'_>, sample: &str) -> bool {
    let suffix = sample.strip_prefix(family.name).filter(|_| !family.name.is_empty());
    suffix.is_some_and(|suffix| has_part(family.kind, suffix))
}

fn has_part(kind: MetricType, suffix: &str) -> bool {
    let parts: &[&str] = match kind {
        MetricType::Histogram => &["_bucket", "_sum", "_count", "_created"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count", "_created"],
        MetricType::Counter => &["_total", "_created"],
        MetricType::Info => &["_info"],
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[],
    };
    suffix.is_empty() || parts.contains(&suffix)
}
