//! Relabelling: Prometheus' rules over a label set.
//!
//! The same rules work on targets, on samples and on what an output sends. Expressions are RE2's and match whole values
//! (`re2`). Label names follow Prometheus 3: any text but the empty one.
//!
//! A rule that cannot work is refused when it is made; applying one never fails.

mod re2;
mod rename;
mod text_case;

use std::borrow::Cow;
use std::fmt;

use md5::{Digest, Md5};

use crate::model::Labels;
use re2::Anchored;
pub use rename::Rename;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

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

/// One checked, compiled rule. Two are equal when they were typed alike.
#[derive(Clone, Debug)]
pub struct Rule {
    spec: RuleSpec,
    action: Action,
    regex: Anchored,
}

/// A list of rules, applied in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(Vec<Rule>);

/// Why a rule cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// No such action.
    #[error("\"{}\" is not an action; choose one of {}", .0.escape_debug(), Action::NAMES)]
    UnknownAction(String),
    /// `target_label` is missing.
    #[error("the action {0} needs a target_label")]
    NoTargetLabel(Action),
    /// `target_label` can never become a label's name.
    #[error(
        "\"{}\" cannot be the target_label of the action {action}; write a label's name, or one with ${{1}} in it",
        .target.escape_debug()
    )]
    BadTargetLabel {
        /// The action.
        action: Action,
        /// What was given.
        target: String,
    },
    /// `hashmod` without `modulus`.
    #[error("the action hashmod needs a modulus above 0")]
    NoModulus,
    /// `replacement` of a `labelmap` can never become a label's name.
    #[error(
        "\"{}\" cannot be the replacement of the action labelmap; write a label's name, or one with ${{1}} in it",
        .0.escape_debug()
    )]
    BadReplacement(String),
    /// A key that the action does not know.
    #[error("the action {action} does not use {key}; it uses only {used}")]
    UnusedKey {
        /// The action.
        action: Action,
        /// The key that was set.
        key: &'static str,
        /// The keys that it uses.
        used: &'static str,
    },
    /// The expression does not compile.
    #[error("\"{}\" is not a regular expression (RE2): {reason}", .regex.escape_debug())]
    BadRegex {
        /// What was given.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RelabelError {
    /// The key that is wrong or missing, so that whoever read the rule can tell where.
    pub fn key(&self) -> &'static str {
        match self {
            Self::UnknownAction(_) => "action",
            Self::NoTargetLabel(_) | Self::BadTargetLabel { .. } => "target_label",
            Self::NoModulus => "modulus",
            Self::BadReplacement(_) => "replacement",
            Self::UnusedKey { key, .. } => key,
            Self::BadRegex { .. } => "regex",
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They are Prometheus' words and mean what its documentation says.
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    const NAMES: &str =
        "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase";

    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "replace" => Self::Replace,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "hashmod" => Self::HashMod,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            _ => return None,
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        })
    }
}

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies all rules; `false` when one of them drops the label set, which is then left half done.
    pub fn apply(&self, labels: &mut Labels<'_>) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Rule {
    /// Checks and compiles a rule.
    pub fn new(spec: RuleSpec) -> Result<Self, RelabelError> {
        let action = match spec.action.as_deref() {
            None => Action::Replace,
            Some(word) => Action::parse(word).ok_or_else(|| RelabelError::UnknownAction(word.to_owned()))?,
        };
        check_target(action, spec.target_label.as_deref().unwrap_or(""))?;
        check_unused(action, &spec)?;
        if action == Action::HashMod && spec.modulus.unwrap_or(0) == 0 {
            return Err(RelabelError::NoModulus);
        }
        let pattern = spec.regex.as_deref().unwrap_or(DEFAULT_REGEX);
        let regex =
            Anchored::new(pattern).map_err(|reason| RelabelError::BadRegex { regex: pattern.to_owned(), reason })?;
        let rule = Self { action, regex, spec };
        if action == Action::LabelMap && !can_become_name(rule.replacement()) {
            return Err(RelabelError::BadReplacement(rule.replacement().to_owned()));
        }
        Ok(rule)
    }

    /// Applies it; `false` when it drops the label set.
    pub fn apply(&self, labels: &mut Labels<'_>) -> bool {
        match self.action {
            Action::Keep => return self.regex.is_match(&self.source(labels)),
            Action::Drop => return !self.regex.is_match(&self.source(labels)),
            Action::KeepEqual => return labels.get_or_empty(self.target()) == self.source(labels),
            Action::DropEqual => return labels.get_or_empty(self.target()) != self.source(labels),
            Action::Replace => self.replace(labels),
            Action::HashMod => {
                let digest: [u8; 16] = Md5::digest(self.source(labels).as_bytes()).into();
                // The last eight bytes, big-endian, are the low half of the digest as one number.
                let hash = u128::from_be_bytes(digest) as u64;
                let modulus = self.spec.modulus.unwrap_or(1).max(1);
                labels.set(self.target().to_owned(), (hash % modulus).to_string());
            }
            Action::Lowercase => {
                let value = text_case::lower(&self.source(labels));
                labels.set(self.target().to_owned(), value);
            }
            Action::Uppercase => {
                let value = text_case::upper(&self.source(labels));
                labels.set(self.target().to_owned(), value);
            }
            Action::LabelMap => self.map(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut Labels<'_>) {
        let source = self.source(labels);
        let Some(groups) = self.regex.groups(&source) else { return };
        let target = match self.target() {
            plain if !plain.contains('$') => Cow::Borrowed(plain),
            template => Cow::Owned(self.regex.expand(template, &groups)),
        };
        if !is_label_name(&target) {
            return;
        }
        let value = self.regex.expand(self.replacement(), &groups);
        // Most rules that run again set what is there already.
        if labels.get_or_empty(&target) != value {
            drop(source);
            labels.set(target.into_owned(), value);
        }
    }

    fn map(&self, labels: &mut Labels<'_>) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| {
                let groups = self.regex.groups(name)?;
                Some((self.regex.expand(self.replacement(), &groups), value.to_owned()))
            })
            .collect();
        for (name, value) in mapped.into_iter().filter(|(name, _)| is_label_name(name)) {
            labels.set(name, value);
        }
    }

    /// The values of the source labels, joined. A missing label is empty.
    fn source<'l>(&self, labels: &'l Labels<'_>) -> Cow<'l, str> {
        match self.spec.source_labels.as_slice() {
            [] => Cow::Borrowed(""),
            [only] => Cow::Borrowed(labels.get_or_empty(only)),
            several => {
                let values: Vec<&str> = several.iter().map(|name| labels.get_or_empty(name)).collect();
                Cow::Owned(values.join(self.spec.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR)))
            }
        }
    }

    fn target(&self) -> &str {
        self.spec.target_label.as_deref().unwrap_or("")
    }

    fn replacement(&self) -> &str {
        self.spec.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT)
    }
}

/// Whether `name` may name a label: anything but the empty text, as in Prometheus 3.
pub fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}

fn check_target(action: Action, target: &str) -> Result<(), RelabelError> {
    use Action::*;
    if !matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual) {
        return Ok(());
    }
    if target.is_empty() {
        return Err(RelabelError::NoTargetLabel(action));
    }
    if action == Replace && target.contains('$') && !can_become_name(target) {
        return Err(RelabelError::BadTargetLabel { action, target: target.to_owned() });
    }
    Ok(())
}

/// Refuses the keys that Prometheus refuses: they show that the rule was meant otherwise.
fn check_unused(action: Action, spec: &RuleSpec) -> Result<(), RelabelError> {
    use Action::*;
    let is_set = |value: &Option<String>, default: &str| value.as_deref().is_some_and(|value| value != default);
    let keys = [
        ("source_labels", !spec.source_labels.is_empty()),
        ("target_label", is_set(&spec.target_label, "")),
        ("regex", is_set(&spec.regex, DEFAULT_REGEX)),
        ("modulus", spec.modulus.unwrap_or(0) != 0),
        ("separator", is_set(&spec.separator, DEFAULT_SEPARATOR)),
        ("replacement", is_set(&spec.replacement, DEFAULT_REPLACEMENT)),
    ];
    let (refused, used): (&[&str], _) = match action {
        KeepEqual | DropEqual => (&["regex", "modulus", "separator", "replacement"], "source_labels and target_label"),
        LabelDrop | LabelKeep => (&["source_labels", "target_label", "modulus", "separator", "replacement"], "regex"),
        Lowercase | Uppercase => (&["replacement"], "source_labels, separator and target_label"),
        _ => (&[], ""),
    };
    match keys.iter().find(|(key, is_set)| *is_set && refused.contains(key)) {
        Some(&(key, _)) => Err(RelabelError::UnusedKey { action, key, used }),
        None => Ok(()),
    }
}

/// Whether a template may give a label's name: braces only around a group, a `$` only before one
/// (Prometheus, `relabelTargetUTF8`).
fn can_become_name(template: &str) -> bool {
    let mut rest = template;
    while let Some(at) = rest.find(['$', '{', '}']) {
        if rest.as_bytes()[at] != b'$' {
            return false;
        }
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, end)) => (name, end),
                None => return false,
            },
            None => after.split_at(after.find(['$', '{', '}']).unwrap_or(after.len())),
        };
        if name.is_empty() || name.contains(['$', '{']) {
            return false;
        }
        rest = end;
    }
    !template.is_empty()
}

#[cfg(test)]
mod tests;
