//! A label set while it is being made: sorted, each name once, no empty value.
//!
//! Owned (`Labels<'static>`) where it is kept, borrowed from a line and a target where it is only passed through on its way
//! into a [`Chunk`](super::Chunk). Relabelling works on either.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// Labels sorted by name. An empty value means that the label is absent (as in Prometheus), so none is ever held.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Labels<'a> {
    /// No labels.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of `name`, or `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).ok().map(|at| self.0[at].1.as_ref())
    }

    /// The value of `name`, taken as empty where the label is absent, as relabelling does.
    pub fn get_or_empty(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric's name, or nothing.
    pub fn metric_name(&self) -> &str {
        match self.0.first() {
            // Label names are mostly lower case, and come after an underscore.
            Some((name, value)) if same(name.as_bytes(), METRIC_NAME.as_bytes()) => value,
            _ => self.get_or_empty(METRIC_NAME),
        }
    }

    /// Adds a label whose name comes behind all those that are there, and whose value is not empty.
    pub(crate) fn push(&mut self, name: &'a str, value: &'a str) {
        debug_assert!(!value.is_empty() && self.0.last().is_none_or(|(last, _)| last.as_ref() < name), "in order");
        self.0.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }

    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        match self.position(&name) {
            Ok(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Ok(at) => self.0[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Removes `name` and returns the value that it had.
    pub fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.position(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps the labels for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Forgets all labels and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// No labels, with the memory of these.
    pub fn recycle<'b>(mut self) -> Labels<'b> {
        self.0.clear();
        // Nothing is collected, into the same memory.
        Labels(self.0.into_iter().map(|(name, value)| (owned(name), owned(value))).collect())
    }

    /// Name and value, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many labels there are, the metric's name among them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same labels, owning their text.
    pub fn into_owned(self) -> Labels<'static> {
        Labels(
            self.0
                .into_iter()
                .map(|(name, value)| (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned())))
                .collect(),
        )
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        // More than nearly any series has.
        const FEW: usize = 16;
        if self.0.len() > FEW {
            return self.0.binary_search_by(|(held, _)| held.as_ref().cmp(name));
        }
        // Exposition lines bring their labels nearly sorted: look at the end first.
        for (at, (held, _)) in self.0.iter().enumerate().rev() {
            match order(held.as_bytes(), name.as_bytes()) {
                Ordering::Less => return Err(at + 1),
                Ordering::Equal => return Ok(at),
                Ordering::Greater => {}
            }
        }
        Err(0)
    }
}

/// Whether two texts are the same: a comparison for short ones, without a call.
#[inline(always)]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(a), Some(b)) if one.len() <= 16 => (begin(one), a) == (begin(other), b),
        (None, _) => begin(one) == begin(other),
        _ => one == other,
    }
}

/// How two texts compare: mostly their first bytes say so.
#[inline(always)]
fn order(one: &[u8], other: &[u8]) -> Ordering {
    match begin(one).cmp(&begin(other)) {
        Ordering::Equal if one.len().max(other.len()) <= 8 => one.len().cmp(&other.len()),
        Ordering::Equal => one.cmp(other),
        decided => decided,
    }
}

/// The first eight bytes as a number that compares as they do. What is shorter has zeroes behind it.
#[inline(always)]
fn begin(bytes: &[u8]) -> u64 {
    if let Some(first) = bytes.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u64::from(u32::from_be_bytes(*first)) << 32 | u64::from(u32::from_be_bytes(*last)) << (8 * (8 - len));
    }
    let at = |byte: u8, place: usize| u64::from(byte) << (56 - 8 * place);
    match *bytes {
        [a] => at(a, 0),
        [a, b] => at(a, 0) | at(b, 1),
        [a, b, c] => at(a, 0) | at(b, 1) | at(c, 2),
        _ => 0,
    }
}

fn owned<'b>(text: Cow<'_, str>) -> Cow<'b, str> {
    Cow::Owned(text.into_owned())
}

impl<'a, N: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>> FromIterator<(N, V)> for Labels<'a> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }
}

impl fmt::Display for Labels<'_> {
    /// As Prometheus writes a label set: `{a="b",c="d"}`, with control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}=\"{}\"", name.escape_debug(), value.escape_debug())?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_compare_as_they_do_elsewhere() {
        let texts = [
            "",
            "\0",
            "a",
            "a\0",
            "ab",
            "abc",
            "abcd",
            "abcde",
            "abcdefg",
            "abcdefgh",
            "abcdefgi",
            "abcdefgh\0",
            "abcdefghijklmnop",
            "abcdefghijklmnoq",
            "abcdefghijklmnopq",
            "b",
            "é",
            "aé",
        ];
        for one in texts {
            for other in texts {
                let (one, other) = (one.as_bytes(), other.as_bytes());
                assert_eq!((order(one, other), same(one, other)), (one.cmp(other), one == other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn stay_sorted_and_hold_no_empty_value() {
        let mut labels: Labels = [("b", "2"), ("a", "1"), ("c", "")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{a="1",b="2"}"#);
        labels.set("a", "");
        labels.set("aa", "x\n\"");
        assert_eq!(labels.to_string(), r#"{aa="x\n\"",b="2"}"#);
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.remove("b").as_deref(), Some("2"));
    }
}
