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
    match sample.strip_prefix(family.name) {
        Some(suffix) if !family.name.is_empty() && has_part(family.kind, suffix) => family,
        _ => Family { name: sample, ..Family::default() },
    }
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
