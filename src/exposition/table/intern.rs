//! Which label set is which series of a target, and the chunks that hold them.
//!
//! A *slot* is a label set; a *series* is a label set under one family's metadata, numbered through the target's
//! [`SeriesSet`]. Nearly always they are one to one, and a slot has the number of its first series. When a target changes a
//! series' TYPE or HELP, the slot stays and gets a new series, so that liveness is judged by labels and metadata are never stale.
//!
//! Invariants
//! - Equality of label sets is proven by comparing them, never by a hash alone.
//! - Numbers stay what they are until [`Interner::compact`], which gives a map from old to new.
//! - Chunks grow geometrically: a set of n series has at most three of each power of four below n.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::keys::Keys;
use crate::model::{Chunk, ChunkBuilder, Family, Labels, METRIC_NAME, PreparedLabels, SeriesSet, label_set_keys, room};

/// No series.
pub(super) const NONE: u32 = u32::MAX;

/// A slot by the hash of its label set.
#[derive(Clone, Copy)]
struct Known {
    // In halves, so that an entry has no padding.
    hash: [u32; 2],
    slot: u32,
}

impl Known {
    fn new(hash: u64, slot: u32) -> Self {
        Self { hash: [(hash >> 32) as u32, hash as u32], slot }
    }

    fn hash(&self) -> u64 {
        u64::from(self.hash[0]) << 32 | u64::from(self.hash[1])
    }
}

/// The series of one target.
pub(super) struct Interner {
    keys: Keys,
    /// Made when a label set is looked for, of all series; a steady target has none.
    index: Option<HashTable<Known>>,
    /// Where a slot has several series: the latest that was made, and the slot of each that is not its slot's first.
    latest: HashMap<u32, u32>,
    slots: HashMap<u32, u32>,
    set: Arc<SeriesSet>,
    pending: ChunkBuilder,
    /// That of the series that was made last.
    last_context: Option<u32>,
}

impl Interner {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            index: None,
            latest: HashMap::new(),
            slots: HashMap::new(),
            set: Arc::new(SeriesSet::new(Vec::new())),
            pending: ChunkBuilder::with_seed(keys.seed()),
            last_context: None,
        }
    }

    /// How many series have a number.
    pub(super) fn series_len(&self) -> usize {
        self.set.len() + self.pending.len()
    }

    /// How many distinct labels the series have that were made since the last [`flush`](Self::flush).
    pub(super) fn new_labels(&self) -> usize {
        self.pending.distinct_labels()
    }

    /// Bytes of memory that it has, besides the chunks, which the scrapes share.
    pub(super) fn bytes(&self) -> usize {
        self.index.as_ref().map_or(0, HashTable::allocation_size)
            + self.pending.bytes()
            + (self.latest.capacity() + self.slots.capacity()) * 2 * size_of::<u32>()
    }

    /// The series made so far, those of the current scrape left out until [`flush`](Self::flush).
    pub(super) fn set(&self) -> &Arc<SeriesSet> {
        &self.set
    }

    /// The series and slot of a label set. A known one that comes under another family's metadata gets a new series.
    /// `context` is a number that families with the same one have in common, if there is one.
    pub(super) fn intern<'f>(
        &mut self,
        labels: &Labels<'_>,
        family: impl FnOnce() -> Family<'f>,
        context: Option<u32>,
    ) -> (u32, u32) {
        let name = labels.metric_name();
        let hash = self.pending.prepare(name, labels.iter().filter(|(name, _)| *name != METRIC_NAME));
        self.intern_prepared(name.as_bytes(), hash, family, context)
    }

    /// Gives the label in this place of those of the last call another value, which is UTF-8, for the next one.
    pub(super) fn change_last(&mut self, place: usize, value: &[u8]) {
        self.pending.change(place, value);
    }

    /// Puts the labels of the last call aside, and others in their place.
    pub(super) fn swap_prepared(&mut self, labels: &mut PreparedLabels) {
        self.pending.swap_prepared(labels);
    }

    /// The same of a label set that is the one of the last call but for the name and [changed](Self::change_last) values.
    #[inline]
    pub(super) fn intern_alike<'f>(
        &mut self,
        name: &[u8],
        is_same_name: bool,
        family: impl FnOnce() -> Family<'f>,
        context: Option<u32>,
    ) -> (u32, u32) {
        if !is_same_name {
            self.pending.prepare_name(name);
        }
        let hash = self.pending.prepared_hash();
        self.intern_prepared(name, hash, family, context)
    }

    /// The labels of the last call, sorted, without the name.
    pub(super) fn last_labels(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pending.prepared()
    }

    #[inline]
    fn intern_prepared<'f>(
        &mut self,
        name: &[u8],
        hash: u64,
        family: impl FnOnce() -> Family<'f>,
        context: Option<u32>,
    ) -> (u32, u32) {
        let made = self.series_len() as u32;
        let index = match &mut self.index {
            Some(index) => index,
            empty => empty.insert(make_index(self.keys, &self.set, &self.slots)),
        };
        let (set, pending) = (&self.set, &mut self.pending);
        let is_it = |entry: &Known| {
            entry.hash() == hash
                && match (entry.slot as usize).checked_sub(set.len()) {
                    Some(at) => pending.is_prepared(at, name),
                    None => {
                        let held = set.get(entry.slot);
                        let labels = held.labels().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                        held.name().as_bytes() == name && labels.eq(pending.prepared())
                    }
                }
        };
        let slot = match index.entry(hash, is_it, Known::hash) {
            Entry::Occupied(held) => held.get().slot,
            Entry::Vacant(place) => {
                place.insert(Known::new(hash, made));
                let is_same_family = context.is_some() && self.last_context == context;
                if !(is_same_family && pending.push_as_last(name)) {
                    pending.push_as(family(), name);
                }
                self.last_context = context;
                return (made, made);
            }
        };
        let family = family();
        let latest = self.latest.get(&slot).copied().unwrap_or(slot);
        let is_its = match (latest as usize).checked_sub(set.len()) {
            Some(at) => pending.is_family_at(at, family),
            None => set.get(latest).family() == family,
        };
        if is_its {
            return (latest, slot);
        }
        pending.push_as(family, name);
        self.last_context = None;
        self.latest.insert(slot, made);
        self.slots.insert(made, slot);
        (made, slot)
    }

    /// Makes room for so many new series, of so many bytes.
    pub(super) fn make_room(&mut self, series: usize, bytes: usize) {
        let index = self.index.get_or_insert_with(|| make_index(self.keys, &self.set, &self.slots));
        room::in_table(index, series, Known::hash);
        self.pending.make_room(series, bytes);
    }

    /// Gives back the memory that a steady target does not need.
    pub(super) fn settle(&mut self) {
        self.index = None;
        if self.pending.is_empty() {
            self.pending = ChunkBuilder::with_seed(self.keys.seed());
        }
    }

    /// The set with all series in it; the same as the last time when there is no new one.
    pub(super) fn flush(&mut self) -> Arc<SeriesSet> {
        if !self.pending.is_empty() {
            let mut chunks = self.set.chunks().to_vec();
            chunks.push(self.pending.take());
            while let Some(from) = mergeable(&chunks) {
                let merged = self.merge(&chunks[from..]);
                chunks.truncate(from);
                chunks.push(merged);
            }
            self.set = Arc::new(SeriesSet::new(chunks));
        }
        Arc::clone(&self.set)
    }

    fn merge(&self, chunks: &[Arc<Chunk>]) -> Arc<Chunk> {
        let mut merged = ChunkBuilder::with_seed(self.keys.seed());
        for chunk in chunks {
            merged.append(chunk, |_| true);
        }
        merged.finish()
    }

    /// Makes the table anew with the series for which `keep` holds; gives the new number of each series, or [`NONE`].
    pub(super) fn compact(&mut self, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let old = self.flush();
        let mut made = Self::new(self.keys);
        let mut numbers = Vec::with_capacity(old.len());
        let mut next = 0;
        for chunk in old.chunks() {
            let first = numbers.len() as u32;
            for at in 0..chunk.len() as u32 {
                let is_kept = keep(first + at);
                numbers.push(if is_kept { next } else { NONE });
                next += u32::from(is_kept);
            }
            made.pending.append(chunk, |at| numbers[first as usize + at] != NONE);
        }
        made.flush();
        *self = made;
        numbers
    }
}

/// The index of all series of a set but those that are not their slot's first.
fn make_index(keys: Keys, set: &SeriesSet, slots: &HashMap<u32, u32>) -> HashTable<Known> {
    let mut index = HashTable::with_capacity(set.len());
    let hashes = set.chunks().iter().flat_map(|chunk| label_set_keys(keys.seed(), chunk));
    for (series, hash) in (0..).zip(hashes) {
        if !slots.contains_key(&series) {
            index.insert_unique(hash, Known::new(hash, series), Known::hash);
        }
    }
    index
}

/// Chunks of about one size that may be in a set before they are made one.
const ALIKE_MAX: usize = 4;

/// The first of the last chunks that should be one: as many as there may be of about the size of the last, or smaller.
fn mergeable(chunks: &[Arc<Chunk>]) -> Option<usize> {
    // Sizes that differ less than by a factor of four are about the same.
    let tier = |chunk: &Arc<Chunk>| chunk.len().checked_ilog2().unwrap_or_default() / 2;
    let last = tier(chunks.last()?);
    let alike = chunks.iter().rev().take_while(|chunk| tier(chunk) <= last).count();
    (alike >= ALIKE_MAX).then_some(chunks.len() - alike)
}
