//! Where a builder finds metrics, families and labels again, or adds them.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::hash_table::Entry;

use super::super::Family;
use super::super::chunk::{Metric, Slice, pair_hash};
use super::super::labels::same;
use super::{ChunkBuilder, NONE, PairHashes};

impl ChunkBuilder {
    /// The metric of this name, which was looked at last, in a family.
    pub(super) fn metric_in(&mut self, family: u32, name: &[u8]) -> u32 {
        let Self { metrics, metric_keys, text, families, .. } = self;
        let is_it = |metric: &Metric| metric.family == family && same(metric.name.bytes(text), name);
        if metrics.get(self.last_metric as usize).is_some_and(is_it) {
            return self.last_metric;
        }
        let hash = self.name_key;
        let entry = self.metric_index.entry(hash, |&at| is_it(&metrics[at as usize]), |&at| metric_keys[at as usize]);
        match entry {
            Entry::Occupied(held) => *held.get(),
            Entry::Vacant(place) => {
                let at = metrics.len() as u32;
                place.insert(at);
                // A gauge or counter is named as its family.
                let of_family = families[family as usize].name;
                let name = if same(of_family.bytes(text), name) { of_family } else { add_text(text, name) };
                metrics.push(Metric { name, family });
                metric_keys.push(hash);
                at
            }
        }
    }

    /// The number of a family, of which a series of this name was looked at last.
    pub(super) fn find_family(&mut self, family: Family<'_>, name: &[u8]) -> u32 {
        let last = self.families.len().wrapping_sub(1);
        if self.families.get(last).is_some_and(|last| last.is(&self.text, family)) {
            return last as u32;
        }
        let is_named_alike = same(family.name.as_bytes(), name);
        let hash = if is_named_alike { self.name_key } else { self.hash(family.name.as_bytes()) };
        let is_it = |&(_, at): &(u64, u32)| self.families[at as usize].is(&self.text, family);
        let at = self.families.len() as u32;
        match self.family_index.entry(hash, is_it, |held| held.0) {
            Entry::Occupied(held) => return held.get().1,
            Entry::Vacant(place) => place.insert((hash, at)),
        };
        self.family(family)
    }

    /// The number of a label that a series has at `place`.
    #[inline]
    pub(super) fn pair(&mut self, place: usize, name: &[u8], value: &[u8]) -> u32 {
        let alike = self.before.get(place).copied();
        let held_name = alike.map(|pair| self.pairs[pair as usize].0).filter(|held| same(held.bytes(&self.text), name));
        match (alike, held_name) {
            (Some(pair), Some(_)) if same(self.pairs[pair as usize].1.bytes(&self.text), value) => pair,
            _ => self.find_pair(held_name, name, value),
        }
    }

    pub(super) fn find_pair(&mut self, held_name: Option<Slice>, name: &[u8], value: &[u8]) -> u32 {
        let key = self.pair_key(name, value);
        let is_it = |&at: &u32| {
            let (held, text) = self.pairs[at as usize];
            same(text.bytes(&self.text), value) && same(held.bytes(&self.text), name)
        };
        if let Some(&at) = self.pair_index.find(key, is_it) {
            return at;
        }
        let held_name = held_name.unwrap_or_else(|| self.label_name(name));
        self.add_pair(held_name, value, PairHashes { key, fixed: pair_hash(name, value) })
    }

    pub(super) fn add_pair(&mut self, name: Slice, value: &[u8], hashes: PairHashes) -> u32 {
        let pair = (name, add_text(&mut self.text, value));
        let at = self.pairs.len() as u32;
        self.pairs.push(pair);
        self.pair_hashes.push(hashes);
        self.next_pairs.push(NONE);
        let key = hashes.key;
        self.pair_index.insert_unique(key, at, |&held| self.pair_hashes[held as usize].key);
        at
    }

    #[inline]
    pub(super) fn pair_key(&self, name: &[u8], value: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, SharedSeed::global_random());
        hasher.write(name);
        hasher.write(value);
        hasher.finish()
    }

    pub(super) fn label_name(&mut self, name: &[u8]) -> Slice {
        let hash = self.hash(name);
        if let Some(&(_, held)) = self.label_names.find(hash, |(_, held)| held.bytes(&self.text) == name) {
            return held;
        }
        let slice = add_text(&mut self.text, name);
        self.label_names.insert_unique(hash, (hash, slice), |held| held.0);
        slice
    }

    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, SharedSeed::global_random());
        hasher.write(text);
        hasher.finish()
    }
}

pub(super) fn add_text(text: &mut Vec<u8>, more: &[u8]) -> Slice {
    let slice = Slice { start: text.len() as u32, len: more.len() as u32 };
    text.extend_from_slice(more);
    slice
}
