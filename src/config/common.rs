//! What stands in several sections: relabel rules, labels, names.

use std::collections::HashMap;

use super::fields::{Fields, Placed};
use super::values::{self, Complaint};
use crate::model::Labels;
use crate::relabel::{Rule, RuleSpec, Rules};

/// `relabel_configs`, `metric_relabel_configs` or `write_relabel_configs`.
pub fn rules(fields: &Fields<'_>, name: &str) -> Rules {
    let rules = fields.sections(name).into_iter().filter_map(|rule| {
        let problems_before = rule.problem_count();
        let texts = |placed: Vec<Placed>| placed.into_iter().map(|placed| placed.text).collect();
        let spec = RuleSpec {
            source_labels: texts(rule.texts("source_labels")),
            separator: rule.optional_text("separator"),
            target_label: rule.optional_text("target_label"),
            regex: rule.optional_text("regex"),
            modulus: rule.read_optional("modulus", values::count),
            replacement: rule.optional_text("replacement"),
            action: rule.optional_text("action"),
        };
        match Rule::new(spec) {
            // What could not be read would only be told again, as missing.
            _ if rule.problem_count() > problems_before => None,
            Ok(rule) => Some(rule),
            Err(error) => {
                rule.note(error.key(), &error);
                None
            }
        }
    });
    Rules::new(rules.collect())
}

/// `external_labels` or `labels`.
pub fn labels(fields: &Fields<'_>, name: &str) -> Labels<'static> {
    let mut labels = Labels::new();
    for Placed { key, text, at } in fields.text_map(name) {
        match key.as_str() {
            "" => fields.note_at(at, format!("{name}: a label without a name")),
            "__name__" => fields.note_at(at, format!("{name}: __name__ is the name of the metric, not a label to set")),
            _ => labels.set(key, text),
        }
    }
    labels
}

/// A name that stands on one line of a log.
pub fn name_text(text: &str) -> Result<String, Complaint> {
    match text {
        "" => Err("is empty".to_owned()),
        _ if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Notes every entry whose text for `name` another has already; says where.
pub fn refuse_same(entries: &[Fields<'_>], name: &str) {
    // Port 0 is any port that is free.
    let may_repeat = |text: &str| text.is_empty() || (name == "listen" && text.ends_with(":0"));
    let mut first: HashMap<String, &Fields<'_>> = HashMap::new();
    for entry in entries {
        let Some(text) = entry.optional_text(name).filter(|text| !may_repeat(text)) else { continue };
        match first.get(&text) {
            Some(other) => {
                let line = other.place_of(name).line;
                let place = if other.file() == entry.file() { String::new() } else { format!(" of {}", other.file()) };
                entry.note_value(name, &text, format!("is used twice; the first is on line {line}{place}"));
            }
            None => {
                first.insert(text, entry);
            }
        }
    }
}
