//! What a metric is called: the name and labels that an envelope's names and tags come to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::messages::{DeprecatedTag, Envelope, value};
use crate::model::{Labels, MetricType};

/// A metric's family, type and labels: immutable, in three pieces of memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub kind: MetricType,
    /// The family's name, then name and value of each label, the labels sorted.
    text: Box<str>,
    /// Where each of these ends in the text.
    ends: Box<[u32]>,
}

/// What had to be done to names and tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flaws {
    pub is_name_modified: bool,
    /// Tags' names in which characters became `_`.
    pub modified_tags: u16,
    /// Tags that were left out.
    pub invalid_tags: u16,
}

/// A part of an envelope that is one metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'e> {
    pub kind: MetricType,
    /// The name as it came.
    pub name: &'e str,
    /// A gauge's unit, or nothing.
    pub unit: &'e str,
}

/// What a family of timers is called.
const TIMER_SUFFIX: &str = "_seconds";

impl Row {
    /// The row of a part of an envelope; `None` where it has no name. `source` is what the envelope's source was taken to be.
    pub fn new(
        envelope: &Envelope,
        part: Part<'_>,
        source: &str,
        defaults: &[(String, String)],
        timer_tags: &[String],
    ) -> Option<(Self, Flaws)> {
        if part.name.is_empty() {
            return None;
        }
        let mut tags: BTreeMap<&str, Cow<'_, str>> = BTreeMap::new();
        tags.extend(envelope.tags.iter().map(|tag| (tag.name.as_str(), Cow::Borrowed(tag.value.as_str()))));
        tags.extend(envelope.deprecated_tags.iter().map(|tag| (tag.name.as_str(), text_of(tag))));
        if part.kind == MetricType::Histogram {
            tags.retain(|name, _| timer_tags.iter().any(|kept| kept == name));
        }
        for (name, value) in defaults {
            tags.entry(name).or_insert(Cow::Borrowed(value));
        }
        let mut flaws = Flaws::default();
        let mut labels = Labels::new();
        for (name, value) in &tags {
            let label = sanitised(name, false);
            let is_modified = label != *name;
            // A histogram's series have a label `le` of their own. Of two tags that come to one label, the first stays.
            let is_taken = part.kind == MetricType::Histogram && label == "le" || labels.get(&label).is_some();
            if name.starts_with("__") || value.is_empty() || label.is_empty() || is_taken {
                flaws.invalid_tags = flaws.invalid_tags.saturating_add(1);
                continue;
            }
            flaws.modified_tags = flaws.modified_tags.saturating_add(u16::from(is_modified));
            labels.set(label, value.as_ref());
        }
        for (name, value) in [("source_id", source), ("instance_id", &envelope.instance_id)] {
            if !tags.contains_key(name) && !value.is_empty() {
                labels.set(name, value);
            }
        }
        if !part.unit.is_empty() {
            labels.set("unit", part.unit);
        }
        labels.set("loggregator_name", STANDARD.encode(part.name));
        let mut name = sanitised(part.name, true);
        flaws.is_name_modified = name != part.name;
        if part.kind == MetricType::Histogram {
            name.to_mut().push_str(TIMER_SUFFIX);
        }
        Some((Self::of(part.kind, &name, &labels), flaws))
    }

    fn of(kind: MetricType, name: &str, labels: &Labels<'_>) -> Self {
        let mut text = String::from(name);
        let mut ends = Vec::with_capacity(1 + 2 * labels.len());
        ends.push(text.len() as u32);
        for piece in labels.iter().flat_map(|(name, value)| [name, value]) {
            text.push_str(piece);
            // An envelope is far smaller than that: see `ENVELOPE_BYTES_MAX`.
            ends.push(text.len() as u32);
        }
        Self { kind, text: text.into(), ends: ends.into() }
    }

    /// The family's name.
    pub fn name(&self) -> &str {
        self.piece(0)
    }

    /// The labels, sorted by name.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        (0..self.ends.len() / 2).map(|at| (self.piece(1 + 2 * at), self.piece(2 + 2 * at)))
    }

    /// Bytes of memory that it has, besides itself.
    pub fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends)
    }

    /// All of it, for hashing.
    pub fn parts(&self) -> (&str, &[u32]) {
        (&self.text, &self.ends)
    }

    fn piece(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }
}

/// The source of an envelope: what it says, or its tag `origin`. Whether it is the latter.
pub(super) fn source_of(envelope: &Envelope) -> (&str, bool) {
    if !envelope.source_id.is_empty() {
        return (&envelope.source_id, false);
    }
    // Where a key comes twice, the last one counts.
    if let Some(tag) = envelope.tags.iter().rfind(|tag| tag.name == "origin") {
        return (&tag.value, true);
    }
    match envelope.deprecated_tags.iter().rfind(|tag| tag.name == "origin") {
        None => ("", false),
        Some(tag) => match tag.value.as_ref().and_then(|value| value.data.as_ref()) {
            Some(value::Data::Text(text)) => (text, true),
            _ => ("", true),
        },
    }
}

/// A tag's value as Go's `strconv` writes it.
fn text_of(tag: &DeprecatedTag) -> Cow<'_, str> {
    match tag.value.as_ref().and_then(|value| value.data.as_ref()) {
        None => Cow::Borrowed(""),
        Some(value::Data::Text(text)) => Cow::Borrowed(text),
        Some(value::Data::Integer(integer)) => Cow::Owned(integer.to_string()),
        Some(value::Data::Decimal(decimal)) if decimal.is_infinite() => {
            Cow::Borrowed(if *decimal > 0.0 { "+Inf" } else { "-Inf" })
        }
        Some(value::Data::Decimal(decimal)) => {
            let mut text = String::new();
            // Writing into a `String` does not fail.
            let _ = write!(text, "{decimal}");
            Cow::Owned(text)
        }
    }
}

/// `text` as a name of a metric, which may have colons, or of a label: other characters become `_`, and one that begins with a
/// digit gets a `_` in front.
fn sanitised(text: &str, is_metric: bool) -> Cow<'_, str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || is_metric && c == ':';
    let begins_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
    if text.chars().all(is_fine) && !begins_with_digit {
        return Cow::Borrowed(text);
    }
    let front = if begins_with_digit { "_" } else { "" };
    let changed = text.chars().map(|c| if is_fine(c) { c } else { '_' });
    Cow::Owned(front.chars().chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sanitised() {
        assert_eq!(sanitised("http.total-requests", true), "http_total_requests");
        assert_eq!(sanitised("a:b", true), "a:b");
        assert_eq!(sanitised("a:b", false), "a_b");
        assert_eq!(sanitised("5xx", false), "_5xx");
        assert_eq!(sanitised("größe", true), "gr__e");
    }

    #[test]
    fn old_tags_are_written_as_go_writes_them() {
        let written = |data| {
            let tag = DeprecatedTag { name: String::new(), value: Some(super::super::Value { data }) };
            text_of(&tag).into_owned()
        };
        assert_eq!(written(None), "");
        assert_eq!(written(Some(value::Data::Integer(-7))), "-7");
        assert_eq!(written(Some(value::Data::Decimal(1e21))), "1000000000000000000000");
        assert_eq!(written(Some(value::Data::Decimal(0.1))), "0.1");
        assert_eq!(written(Some(value::Data::Decimal(f64::NEG_INFINITY))), "-Inf");
        assert_eq!(written(Some(value::Data::Decimal(f64::NAN))), "NaN");
    }
}
