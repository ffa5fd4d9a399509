//! What of a series goes where in an event: its dimensions, the name of its metric, and the event's envelope.
//!
//! What Splunk would drop without a word is renamed or refused here. Metric names have letters, digits, `_`, `.`, `:` and,
//! though its manual does not say so, `-`; they do not begin with a digit or `_` and do not contain `metric_name`. A
//! dimension whose name begins with `_` is not indexed. (Splunk, "Metrics": "Overview of metrics" and "Best practices".)

use std::borrow::Cow;

use crate::config::checked::{SplunkHec, Template};
use crate::model::{Origin, SeriesRef};
use crate::net::text::excerpt;
use crate::output::json::string;

/// Rejected: `index` comes to one that is not allowed.
pub(super) const INDEX_NOT_ALLOWED: &str = "index_not_allowed";
/// Rejected: Splunk takes no metric of this name.
pub(super) const METRIC_NAME: &str = "metric_name";

/// Labels that are named as parts of an event's envelope.
const RESERVED: [&str; 5] = ["host", "index", "source", "sourcetype", "time"];

/// What is put before the name of a label that cannot keep it.
const PREFIX: &str = "label";

/// Characters of a name that are quoted.
const QUOTED_CHARS_MAX: usize = 100;

/// How events are laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub index: Template,
    pub allowed_indexes: Vec<String>,
    pub sourcetype: Template,
    pub source: Template,
    pub host: Template,
    pub is_multi_metric: bool,
    pub rename_reserved: bool,
}

/// Names and values of dimensions.
pub(super) type Dimensions<'a> = Vec<(Cow<'a, str>, &'a str)>;

impl Layout {
    pub fn new(settings: &SplunkHec) -> Self {
        Self {
            index: settings.index.clone(),
            allowed_indexes: settings.allowed_indexes.clone(),
            sourcetype: settings.sourcetype.clone(),
            source: settings.source.clone(),
            host: settings.host.clone(),
            is_multi_metric: settings.multi_metric,
            rename_reserved: settings.rename_reserved,
        }
    }

    /// The number of the index that a series goes to: 0 for the one of all, else that of `allowed_indexes`, from 1.
    ///
    /// # Errors
    /// The reason why it cannot be sent: [`METRIC_NAME`] or [`INDEX_NOT_ALLOWED`].
    pub fn index_number(&self, series: SeriesRef<'_>, origin: &Origin) -> Result<u32, &'static str> {
        if !is_metric_name(series.name()) {
            return Err(METRIC_NAME);
        }
        if self.index.fixed().is_some() {
            return Ok(0);
        }
        let name = filled(&self.index, series, origin);
        let found = self.allowed_indexes.iter().position(|allowed| *allowed == name);
        found.map(|at| at as u32 + 1).ok_or(INDEX_NOT_ALLOWED)
    }

    /// The name of the index with this number; empty for the token's.
    pub fn index_name(&self, number: u32) -> &str {
        match number.checked_sub(1) {
            None => self.index.fixed().unwrap_or_default(),
            Some(at) => self.allowed_indexes.get(at as usize).map_or("", String::as_str),
        }
    }

    /// One sentence about a series that is refused for this reason.
    pub fn explain(&self, reason: &str, series: SeriesRef<'_>, origin: &Origin) -> String {
        let quoted = |text: &str| excerpt(text.as_bytes(), QUOTED_CHARS_MAX);
        match reason {
            METRIC_NAME => format!(
                "Splunk takes no metric named \"{}\": names have letters, digits, \"_\", \".\", \":\" and \"-\", begin with \
                 none of 0-9 and \"_\", and do not contain \"metric_name\"; rename it by write_relabel_configs",
                quoted(series.name())
            ),
            _ => format!(
                "the template for index comes to \"{}\", which is none of allowed_indexes",
                quoted(&filled(&self.index, series, origin))
            ),
        }
    }

    /// Appends what stands between an event's time and its dimensions.
    pub fn envelope(&self, out: &mut Vec<u8>, series: SeriesRef<'_>, origin: &Origin, index_number: u32) {
        out.extend_from_slice(b",\"event\":\"metric\"");
        for (key, template) in [("host", &self.host), ("source", &self.source), ("sourcetype", &self.sourcetype)] {
            member(out, key, &filled(template, series, origin));
        }
        member(out, "index", self.index_name(index_number));
        out.extend_from_slice(b",\"fields\":{");
    }

    /// Makes `dimensions` those of a series, in the order of the labels.
    pub fn dimensions<'a>(&self, series: SeriesRef<'a>, dimensions: &mut Dimensions<'a>) {
        dimensions.clear();
        dimensions.extend(series.labels().map(|(name, value)| (Cow::Borrowed(name), value)));
        for at in 0..dimensions.len() {
            let Some(mut name) = self.renamed(&dimensions[at].0) else { continue };
            while dimensions.iter().any(|(held, _)| *held == name) {
                name.push('_');
            }
            dimensions[at].0 = Cow::Owned(name);
        }
    }

    /// Appends `"metric_name:NAME":`, or what stands for it in the single form.
    pub fn key(&self, out: &mut Vec<u8>, name: &str) {
        // A name that was let through holds nothing that is escaped.
        let (before, after) = match self.is_multi_metric {
            true => ("\"metric_name:", "\":"),
            false => ("\"metric_name\":\"", "\",\"_value\":"),
        };
        for text in [before, name, after] {
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn renamed(&self, name: &str) -> Option<String> {
        if name.starts_with('_') {
            return Some(format!("{PREFIX}{name}"));
        }
        let is_reserved = self.rename_reserved && RESERVED.contains(&name);
        (is_reserved || name.starts_with("metric_name")).then(|| format!("{PREFIX}_{name}"))
    }
}

fn is_metric_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let begins_well = !name.starts_with(|first: char| first.is_ascii_digit() || first == '_');
    !name.is_empty() && begins_well && name.bytes().all(is_fine) && !name.contains("metric_name")
}

/// A template with the labels of a series, or, where it has none of the name, of its target.
fn filled(template: &Template, series: SeriesRef<'_>, origin: &Origin) -> String {
    let mut text = String::new();
    template.fill(&mut text, |name| series.label(name).or_else(|| origin.labels.get(name)).unwrap_or_default());
    text
}

fn member(out: &mut Vec<u8>, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.push(b',');
    string(out, key);
    out.push(b':');
    string(out, value);
}
