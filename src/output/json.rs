//! What outputs that write JSON share: which values it can say, numbers, text that is escaped once, and the samples of a
//! scrape by what they have in common.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::model::{Scrape, Value};
use crate::pipeline::{Reasons, reason};

/// Counts what JSON cannot say.
#[derive(Debug, Default)]
pub struct Skipped {
    nan: u64,
    infinite: u64,
    stale_marker: u64,
    unsupported_type: u64,
}

impl Skipped {
    /// Whether a value can be written; counts it where not.
    pub fn takes(&mut self, value: Value<'_>) -> bool {
        let counter = match value {
            Value::Float(value) if value.is_finite() => return true,
            value if value.is_stale() => &mut self.stale_marker,
            Value::Histogram(_) => &mut self.unsupported_type,
            Value::Float(value) if value.is_nan() => &mut self.nan,
            Value::Float(_) => &mut self.infinite,
        };
        *counter += 1;
        false
    }

    /// The counts that are not zero.
    pub fn into_reasons(self) -> Reasons {
        let all = [
            (reason::NAN, self.nan),
            (reason::INFINITE, self.infinite),
            (reason::STALE_MARKER, self.stale_marker),
            (reason::UNSUPPORTED_TYPE, self.unsupported_type),
        ];
        all.into_iter().filter(|(_, samples)| *samples > 0).collect()
    }
}

/// Appends a finite float so that it reads back as the same one; a whole number has neither point nor exponent.
pub fn number(out: &mut Vec<u8>, value: f64) {
    // Whole numbers are the usual case. Up to 2^53 they convert exactly; a negative zero must keep its sign.
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() <= 1 << 53 && (whole != 0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

/// Appends a JSON string, quotes included.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Writing into a `Vec` does not fail, and neither does a string.
    let _ = serde_json::to_writer(out, text);
}

/// Texts, each kept once, one after another.
#[derive(Default)]
pub struct Fragments {
    text: Vec<u8>,
    ends: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: RandomState,
}

impl Fragments {
    /// The text of a number that [`intern`](Self::intern) gave.
    pub fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[start..self.ends[at] as usize]
    }

    /// The number of the text that `write` appends.
    pub fn intern(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.text.len();
        write(&mut self.text);
        let new = &self.text[start..];
        let hash = self.hasher.hash_one(new);
        if let Some(&found) = self.by_text.find(hash, |&at| self.get(at) == new) {
            self.text.truncate(start);
            return found;
        }
        let at = self.ends.len() as u32;
        self.ends.push(self.text.len() as u32);
        let mut index = std::mem::take(&mut self.by_text);
        index.insert_unique(hash, at, |&at| self.hasher.hash_one(self.get(at)));
        self.by_text = index;
        at
    }
}

/// The points of one scrape by group and time: linked lists in two columns, and memory that is used again.
#[derive(Default)]
pub struct Groups {
    /// A group's first point.
    first: Vec<u32>,
    /// The point after this one in its group.
    next: Vec<u32>,
    has_own_times: bool,
    /// Points of one group with their times.
    timed: Vec<(i64, u32)>,
    /// Positions of what is handed out.
    run: Vec<u32>,
}

/// Ends a linked list.
const NONE: u32 = u32::MAX;

impl Groups {
    /// Begins a scrape of so many points, which fall into so many groups.
    pub fn begin(&mut self, groups: usize, points: usize) {
        self.first.clear();
        self.first.resize(groups, NONE);
        self.next.clear();
        self.next.resize(points, NONE);
        self.has_own_times = false;
    }

    /// Puts the point at a position before all others of its group.
    pub fn put_first(&mut self, group: u32, at: u32, has_own_time: bool) {
        self.has_own_times |= has_own_time;
        self.next[at as usize] = std::mem::replace(&mut self.first[group as usize], at);
    }

    /// Hands out group, time and positions of points that share both, group by group.
    pub fn each(&mut self, scrape: &Scrape, mut found: impl FnMut(u32, i64, &[u32])) {
        for group in 0..self.first.len() {
            let start = self.first[group];
            if start == NONE {
                continue;
            }
            let listed =
                std::iter::successors(Some(start), |&at| Some(self.next[at as usize]).filter(|&at| at != NONE));
            self.run.clear();
            if !self.has_own_times {
                self.run.extend(listed);
                found(group as u32, scrape.at_ms, &self.run);
                continue;
            }
            self.timed.clear();
            self.timed.extend(listed.map(|at| (scrape.time_ms(&scrape.points.get(at as usize)), at)));
            self.timed.sort_by_key(|(time_ms, _)| *time_ms);
            for same in self.timed.chunk_by(|(left, _), (right, _)| left == right) {
                self.run.clear();
                self.run.extend(same.iter().map(|(_, at)| *at));
                found(group as u32, same.first().map_or(scrape.at_ms, |(time_ms, _)| *time_ms), &self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_they_were() {
        let exact =
            [0.0, -0.0, 1.0, -7.0, 0.1, 1e16, 9_007_199_254_740_993.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.5e-7];
        for value in exact {
            let mut out = Vec::new();
            number(&mut out, value);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
}
