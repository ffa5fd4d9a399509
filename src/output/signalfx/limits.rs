//! What Splunk Observability Cloud takes of names and dimensions. (Splunk, "Metric name, dimension and other data standards".)
//!
//! What can be said otherwise without harm is: characters and beginnings of dimensions' names. What cannot, without taking one
//! series for another, is not sent, for a reason of its own.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::model::SeriesRef;

/// Rejected: the metric's name is too long.
pub const NAME: &str = "name";
/// Rejected: too many dimensions.
pub const DIMENSIONS: &str = "dimensions";
/// Rejected: the name of a dimension is too long, or another label's.
pub const DIMENSION_NAME: &str = "dimension_name";
/// Rejected: the value of a dimension is too long.
pub const DIMENSION_VALUE: &str = "dimension_value";

/// Characters of a metric's name.
const NAME_CHARS_MAX: usize = 256;
/// Characters of a dimension's name.
const DIMENSION_NAME_CHARS_MAX: usize = 128;
/// Characters of a dimension's value.
const DIMENSION_VALUE_CHARS_MAX: usize = 256;
/// Dimensions of a series.
const DIMENSIONS_MAX: usize = 36;

/// What names of dimensions must not begin with: Splunk's own, and those of its integrations.
const RESERVED: [&str; 4] = ["sf_", "aws_", "gcp_", "azure_"];

/// What stands before a name that begins as none may.
const PREFIX: &str = "label_";

/// Why a series cannot be sent with `own` dimensions beside its labels, if it cannot.
pub fn refuses(series: &SeriesRef<'_>, own: usize) -> Option<&'static str> {
    let is_long = |text: &str, limit: usize| text.len() > limit && text.chars().count() > limit;
    if is_long(series.name(), NAME_CHARS_MAX) {
        return Some(NAME);
    }
    if series.labels().len() + own > DIMENSIONS_MAX {
        return Some(DIMENSIONS);
    }
    let mut renamed = false;
    for (name, value) in series.labels() {
        let name = dimension(name);
        renamed |= matches!(name, Cow::Owned(_));
        if is_long(&name, DIMENSION_NAME_CHARS_MAX) {
            return Some(DIMENSION_NAME);
        }
        if is_long(value, DIMENSION_VALUE_CHARS_MAX) {
            return Some(DIMENSION_VALUE);
        }
    }
    let mut names = HashSet::new();
    let is_twice = renamed && !series.labels().all(|(name, _)| names.insert(dimension(name)));
    is_twice.then_some(DIMENSION_NAME)
}

/// One sentence about a series that is refused with `own` dimensions beside its labels.
pub fn explain(reason: &'static str, series: &SeriesRef<'_>, own: usize) -> String {
    let what = match reason {
        NAME => format!("its name has more than {NAME_CHARS_MAX} characters"),
        DIMENSIONS => {
            format!("it has {} labels, and {} are taken", series.labels().len(), DIMENSIONS_MAX.saturating_sub(own))
        }
        DIMENSION_NAME => {
            format!(
                "the name of a label has more than {DIMENSION_NAME_CHARS_MAX} characters, or comes to that of another"
            )
        }
        _ => format!("the value of a label has more than {DIMENSION_VALUE_CHARS_MAX} characters"),
    };
    let shown: String = series.name().chars().take(NAME_CHARS_MAX).collect();
    format!("\"{}\" is not sent: {what}; write_relabel_configs can shorten or drop it", shown.escape_debug())
}

/// The name of a dimension: ASCII letters and digits, `_`, `-` and `.`; other characters become `_`. One that does not begin with
/// a letter, or begins as reserved ones do, gets `label_` in front.
pub fn dimension(name: &str) -> Cow<'_, str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_begun =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && !RESERVED.iter().any(|own| name.starts_with(own));
    if is_begun && name.chars().all(is_fine) {
        return Cow::Borrowed(name);
    }
    let clean = name.chars().map(|c| if is_fine(c) { c } else { '_' });
    Cow::Owned(if is_begun { clean.collect() } else { PREFIX.chars().chain(clean).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkBuilder, Family, Labels};

    #[test]
    fn names_of_dimensions_are_those_that_splunk_takes() {
        for (given, expected) in [
            ("path", "path"),
            ("service.name", "service.name"),
            ("a-b_c", "a-b_c"),
            ("grüße an|alle", "gr__e_an_alle"),
            ("_x", "label__x"),
            ("1st", "label_1st"),
            ("sf_hires", "label_sf_hires"),
            ("aws_region", "label_aws_region"),
            ("awsome", "awsome"),
            ("é", "label__"),
        ] {
            assert_eq!(dimension(given), expected);
        }
    }

    fn refused(name: &str, labels: &[(&str, &str)]) -> Option<&'static str> {
        let mut chunk = ChunkBuilder::default();
        let family = chunk.family(Family::default());
        let labels = labels.iter().copied().collect::<Labels<'_>>();
        chunk.push(family, name, labels.iter());
        let chunk = chunk.finish();
        let series = chunk.get(0);
        let reason = refuses(&series, 0);
        assert!(reason.is_none_or(|reason| explain(reason, &series, 0).contains("is not sent: ")));
        reason
    }

    #[test]
    fn what_would_be_taken_for_another_series_is_not_sent() {
        assert_eq!(refused(&"é".repeat(256), &[("a", &"é".repeat(256)), (&"k".repeat(128), "v")]), None);
        assert_eq!(refused(&"n".repeat(257), &[]), Some(NAME));
        assert_eq!(refused("n", &[("a", &"v".repeat(257))]), Some(DIMENSION_VALUE));
        assert_eq!(refused("n", &[(&"k".repeat(129), "v")]), Some(DIMENSION_NAME));
        assert_eq!(refused("n", &[("_x", "1"), ("label__x", "2")]), Some(DIMENSION_NAME));
        assert_eq!(refused("n", &[("a b", "1"), ("a_c", "2")]), None);
        let many: Vec<String> = (0..37).map(|n| format!("l{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!((refused("n", &many[1..]), refused("n", &many)), (None, Some(DIMENSIONS)));
    }
}
