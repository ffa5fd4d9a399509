//! Relabelling: Prometheus' rules over a label set.

use crate::model::Labels;

/// What one rule does, as it is typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSpec {
    /// `source_labels`.
    pub source_labels: Vec<String>,
    /// `separator`; `;`.
    pub separator: Option<String>,
    /// `target_label`.
    pub target_label: Option<String>,
    /// `regex`; `(.*)`.
    pub regex: Option<String>,
    /// `modulus`.
    pub modulus: Option<u64>,
    /// `replacement`; `$1`.
    pub replacement: Option<String>,
    /// `action`; `replace`. Any case.
    pub action: Option<String>,
}

/// One checked, compiled rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    spec: RuleSpec,
}

/// A list of rules, applied in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Applies all rules; `false` when one of them drops the label set.
    pub fn apply(&self, _labels: &mut Labels<'_>) -> bool {
        true
    }
}
