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
    if is_part_of(family.name.as_bytes(), family.kind, sample.as_bytes()) {
        family
    } else {
        Family { name: sample, ..Family::default() }
    }
}

/// Whether a sample of this name belongs to the family with that name and type.
pub(super) fn is_part_of(family: &[u8], kind: MetricType, sample: &[u8]) -> bool {
    let suffix = sample.strip_prefix(family).filter(|_| !family.is_empty());
    suffix.is_some_and(|suffix| suffix.is_empty() || has_part(kind, suffix))
}

fn has_part(kind: MetricType, suffix: &[u8]) -> bool {
    let parts: &[&[u8]] = match kind {
        MetricType::Histogram => &[b"_bucket", b"_sum", b"_count", b"_created"],
        MetricType::GaugeHistogram => &[b"_bucket", b"_gsum", b"_gcount", b"_sum", b"_count"],
        MetricType::Summary => &[b"_sum", b"_count", b"_created"],
        MetricType::Counter => &[b"_total", b"_created"],
        MetricType::Info => &[b"_info"],
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[],
    };
    parts.contains(&suffix)
}
