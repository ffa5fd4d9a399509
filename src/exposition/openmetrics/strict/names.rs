//! The names of a text's families, and which of them could produce the same sample name.

use hashbrown::HashMap;

use super::point::suffixes;
use crate::model::MetricType;

/// Families of one text, at most.
const FAMILIES_MAX: usize = 1 << 20;
/// Bytes of the names of all of them, at most.
const NAMES_BYTES_MAX: usize = 64 << 20;

/// The families that a text has had so far.
#[derive(Default)]
pub(super) struct Names {
    kinds: HashMap<Box<str>, MetricType, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Names {
    pub(super) fn contains(&self, family: &str) -> bool {
        self.kinds.contains_key(family)
    }

    /// Whether a sample of such a family could have the name of a sample of another one.
    pub(super) fn clashes(&self, family: &str, kind: MetricType) -> bool {
        suffixes(kind).iter().any(|suffix| self.has_sample(&format!("{family}{suffix}")))
    }

    fn has_sample(&self, sample: &str) -> bool {
        const ALL: [&str; 9] = ["", "_total", "_created", "_sum", "_count", "_bucket", "_gsum", "_gcount", "_info"];
        ALL.iter().any(|suffix| {
            let family = sample.strip_suffix(suffix).and_then(|family| self.kinds.get(family));
            family.is_some_and(|&kind| suffixes(kind).contains(suffix))
        })
    }

    /// Remembers a family; says which limit that breaks.
    pub(super) fn add(&mut self, family: &str, kind: MetricType) -> Option<String> {
        self.bytes += family.len();
        self.kinds.insert(family.into(), kind);
        if self.kinds.len() > FAMILIES_MAX {
            return Some(format!("the text has more than {FAMILIES_MAX} metric families"));
        }
        let is_much = self.bytes > NAMES_BYTES_MAX;
        is_much.then(|| format!("the names of the metric families have more than {NAMES_BYTES_MAX} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_limited_length_together() {
        let mut names = Names::default();
        let name = |nth: u8| char::from(b'a' + nth).to_string().repeat(NAMES_BYTES_MAX / 4);
        assert!((0..4).all(|nth| names.add(&name(nth), MetricType::Gauge).is_none()));
        let told = names.add("e", MetricType::Gauge).expect("too much");
        assert_eq!(told, "the names of the metric families have more than 67108864 bytes");
    }
}
