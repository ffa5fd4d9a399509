//! From the labels that a target wrote to a series' final labels: `honor_labels`, relabelling, which names may be, limits,
//! external labels.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::checked::{Limits, NameValidation, ScrapeConfig};
use crate::exposition::write::{is_bare_label_name, is_bare_metric_name};
use crate::exposition::{Admission, Admit};
use crate::model::{Labels, METRIC_NAME};
use crate::target::Target;

/// The admission of one target's series.
pub(super) struct Rules {
    target: Arc<Target>,
    /// What is added to the labels of a line that has none of these, if that is all that happens to it.
    only_adds: Option<Labels<'static>>,
}

impl Rules {
    pub(super) fn new(target: Arc<Target>) -> Self {
        let ScrapeConfig { metric_relabel, limits, negotiation, .. } = &*target.config;
        let has_limits = limits.labels > 0 || limits.label_name_bytes > 0 || limits.label_value_bytes > 0;
        let looks_at_lines =
            !metric_relabel.is_empty() || has_limits || negotiation.validation == NameValidation::Legacy;
        let only_adds = (!looks_at_lines).then(|| own_labels(&target)).filter(|added| added.get(METRIC_NAME).is_none());
        Self { target, only_adds }
    }

    fn config(&self) -> &ScrapeConfig {
        &self.target.config
    }
}

impl Admit for Rules {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        let config = self.config();
        for (name, value) in self.target.origin.labels.iter() {
            if config.honor_labels && labels.get(name).is_some() {
                continue;
            }
            if let Some(theirs) = labels.remove(name) {
                let mut exported = format!("exported_{name}");
                while labels.get(&exported).is_some() || self.target.origin.labels.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                labels.set(exported, theirs);
            }
            labels.set(name, value);
        }
        if !config.metric_relabel.apply(labels) {
            return Admission::Drop;
        }
        let names = match config.negotiation.validation {
            NameValidation::Utf8 => Ok(()),
            NameValidation::Legacy => check_names(labels),
        };
        if let Err(reason) = names.and_then(|()| check(labels, &config.limits)) {
            return Admission::Refuse(reason);
        }
        add_external(labels, &config.external_labels);
        Admission::Keep
    }

    fn only_adds(&self) -> Option<&Labels<'static>> {
        self.only_adds.as_ref()
    }
}

/// The labels of a target's own series.
pub(super) fn own_labels(target: &Target) -> Labels<'static> {
    let mut labels = target.origin.labels.clone();
    for (name, value) in target.config.external_labels.iter() {
        if labels.get(name).is_none() {
            labels.set(name.to_owned(), value.to_owned());
        }
    }
    labels
}

fn add_external<'l>(labels: &mut Labels<'l>, external: &'l Labels<'static>) {
    for (name, value) in external.iter() {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
}

/// As Prometheus, what relabelling made of the names counts.
fn check_names(labels: &Labels<'_>) -> Result<(), String> {
    for (name, value) in labels.iter() {
        let (what, checked, is_valid) = match name {
            METRIC_NAME => ("metric", value, is_bare_metric_name(value)),
            _ => ("label", name, is_bare_label_name(name)),
        };
        if !is_valid {
            let short = shortened(checked);
            return Err(format!(
                "the {what} name \"{short}\" is none that metric_name_validation_scheme: legacy allows; \
                 metric_relabel_configs can rename or drop it"
            ));
        }
    }
    Ok(())
}

/// As Prometheus, the limits count what a series has after relabelling, its name included.
fn check(labels: &Labels<'_>, limits: &Limits) -> Result<(), String> {
    let exceeded = |limit: usize, is: usize| limit > 0 && is > limit;
    if exceeded(limits.labels, labels.len()) {
        return Err(format!("a series has {} labels, more than label_limit {} allows", labels.len(), limits.labels));
    }
    if limits.label_name_bytes == 0 && limits.label_value_bytes == 0 {
        return Ok(());
    }
    for (name, value) in labels.iter() {
        let short = shortened(name);
        if exceeded(limits.label_name_bytes, name.len()) {
            let (is, limit) = (name.len(), limits.label_name_bytes);
            return Err(format!(
                "the label name \"{short}\" has {is} bytes, more than label_name_length_limit {limit} allows"
            ));
        }
        if exceeded(limits.label_value_bytes, value.len()) {
            let (is, limit) = (value.len(), limits.label_value_bytes);
            return Err(format!(
                "the value of label \"{short}\" has {is} bytes, more than label_value_length_limit {limit} allows"
            ));
        }
    }
    Ok(())
}

fn shortened(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 60;
    let escaped = text.escape_debug().take(CHARS_MAX + 1).collect::<String>();
    if escaped.chars().count() > CHARS_MAX {
        Cow::Owned(escaped.chars().take(CHARS_MAX).chain(['…']).collect())
    } else {
        Cow::Owned(escaped)
    }
}
