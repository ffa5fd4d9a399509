//! Which label set is which series of a target, and the chunks that hold them.
//!
//! A *slot* is a label set; a *series* is a label set under one family's metadata, numbered through the target's
//! [`SeriesSet`]. Nearly always they are one to one. When a target changes a series' TYPE or HELP, the slot stays and gets a
//! new series, so that liveness is judged by labels and metadata are never stale.
//!
//! Invariants
//! - Equality of label sets is proven by comparing them, never by a hash alone.
//! - Numbers stay what they are until [`Interner::compact`], which gives a map from old to new.
//! - Chunks grow geometrically: a set of n series has about log₂ n of them.

use std::sync::Arc;

use hashbrown::HashTable;

use super::context::Keys;
use crate::model::{Chunk, ChunkBuilder, Family, Labels, METRIC_NAME, MetricType, SeriesSet};

/// No slot, no series.
pub(super) const NONE: u32 = u32::MAX;

/// A label set as bytes: name, then label names and values in order, each ended by a byte that UTF-8 does not have.
fn encode<'l>(out: &mut Vec<u8>, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) {
    out.extend_from_slice(name.as_bytes());
    for (name, value) in labels {
        out.push(0xff);
        out.extend_from_slice(name.as_bytes());
        out.push(0xff);
        out.extend_from_slice(value.as_bytes());
    }
}

/// Whether `encoded` is this label set.
fn is_encoding<'l>(mut encoded: &[u8], name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) -> bool {
    let mut eat = |mark: &[u8], text: &str| {
        let rest = encoded.strip_prefix(mark).and_then(|rest| rest.strip_prefix(text.as_bytes()));
        rest.map(|rest| encoded = rest).is_some()
    };
    if !eat(b"", name) {
        return false;
    }
    for (name, value) in labels {
        if !eat(b"\xff", name) || !eat(b"\xff", value) {
            return false;
        }
    }
    encoded.is_empty()
}

struct OwnFamily {
    name: Box<str>,
    help: Box<str>,
    unit: Box<str>,
    kind: MetricType,
}

impl OwnFamily {
    fn new(family: Family<'_>) -> Self {
        Self { name: family.name.into(), help: family.help.into(), unit: family.unit.into(), kind: family.kind }
    }

    fn get(&self) -> Family<'_> {
        Family { name: &self.name, help: &self.help, kind: self.kind, unit: &self.unit }
    }
}

/// A chunk in the making, and what has to be read back from it before it is made.
struct Pending {
    builder: ChunkBuilder,
    families: Vec<OwnFamily>,
    index: HashTable<(u64, u32)>,
    last_family: u32,
    /// The label sets of its series, one after another, and where each starts.
    labels: Vec<u8>,
    starts: Vec<u32>,
    family_of: Vec<u32>,
}

impl Pending {
    fn new() -> Self {
        Self {
            builder: ChunkBuilder::default(),
            families: Vec::new(),
            index: HashTable::new(),
            last_family: 0,
            labels: Vec::new(),
            starts: Vec::new(),
            family_of: Vec::new(),
        }
    }

    fn family(&mut self, keys: &Keys, family: Family<'_>) -> u32 {
        if self.families.get(self.last_family as usize).is_some_and(|last| last.get() == family) {
            return self.last_family;
        }
        let hash = keys.hash(keys.seed(), family.name.as_bytes());
        let is_it = |held: &(u64, u32)| held.0 == hash && self.families[held.1 as usize].get() == family;
        self.last_family = match self.index.find(hash, is_it) {
            Some(&(_, at)) => at,
            None => {
                let at = self.builder.family(family);
                self.families.push(OwnFamily::new(family));
                self.index.insert_unique(hash, (hash, at), |held| held.0);
                at
            }
        };
        self.last_family
    }

    fn get(&self, at: usize) -> (&[u8], Family<'_>) {
        let end = self.starts.get(at + 1).map_or(self.labels.len(), |&end| end as usize);
        let family = &self.families[self.family_of[at] as usize];
        (&self.labels[self.starts[at] as usize..end], family.get())
    }

    fn push<'l>(
        &mut self,
        keys: &Keys,
        family: Family<'_>,
        name: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) {
        let family = self.family(keys, family);
        self.builder.push(family, name, labels);
        self.family_of.push(family);
    }
}

/// The series of one target.
pub(super) struct Interner {
    keys: Keys,
    /// For each slot a series of its label set: the latest that was made.
    slots: Vec<u32>,
    hashes: Vec<u64>,
    index: HashTable<u32>,
    set: Arc<SeriesSet>,
    pending: Pending,
    scratch: Vec<u8>,
}

impl Interner {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            slots: Vec::new(),
            hashes: Vec::new(),
            index: HashTable::new(),
            set: Arc::new(SeriesSet::new(Vec::new())),
            pending: Pending::new(),
            scratch: Vec::new(),
        }
    }

    /// How many series have a number.
    pub(super) fn series_len(&self) -> usize {
        self.set.len() + self.pending.builder.len()
    }

    /// Bytes of memory that it has, besides the chunks, which the scrapes share.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.index.allocation_size()
            + self.scratch.capacity()
    }

    /// The series made so far, those of the current scrape left out until [`flush`](Self::flush).
    pub(super) fn set(&self) -> &Arc<SeriesSet> {
        &self.set
    }

    /// The series and slot of a label set. A known one that comes under another family's metadata gets a new series.
    pub(super) fn intern(&mut self, labels: &Labels<'_>, family: Family<'_>) -> (u32, u32) {
        let name = labels.get_or_empty(METRIC_NAME);
        let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        self.scratch.clear();
        encode(&mut self.scratch, name, others.clone());
        let hash = self.keys.hash(self.keys.seed(), &self.scratch);
        let found = self.index.find(hash, |&slot| self.hashes[slot as usize] == hash && self.is_slot(slot)).copied();
        if let Some(slot) = found {
            let series = self.slots[slot as usize];
            if self.family_of(series) == family {
                return (series, slot);
            }
        }
        let series = self.series_len() as u32;
        self.pending.starts.push(self.pending.labels.len() as u32);
        self.pending.labels.extend_from_slice(&self.scratch);
        self.pending.push(&self.keys, family, name, others);
        if let Some(slot) = found {
            self.slots[slot as usize] = series;
            return (series, slot);
        }
        let slot = self.slots.len() as u32;
        self.slots.push(series);
        self.hashes.push(hash);
        self.index.insert_unique(hash, slot, |&held| self.hashes[held as usize]);
        (series, slot)
    }

    /// Whether `scratch` holds the label set of `slot`.
    fn is_slot(&self, slot: u32) -> bool {
        let series = self.slots[slot as usize] as usize;
        if let Some(at) = series.checked_sub(self.set.len()) {
            return self.pending.get(at).0 == self.scratch;
        }
        let series = self.set.get(series as u32);
        is_encoding(&self.scratch, series.name(), series.labels())
    }

    fn family_of(&self, series: u32) -> Family<'_> {
        match (series as usize).checked_sub(self.set.len()) {
            Some(at) => self.pending.get(at).1,
            None => self.set.get(series).family(),
        }
    }

    /// The set with all series in it; the same as the last time when there is no new one.
    pub(super) fn flush(&mut self) -> Arc<SeriesSet> {
        if !self.pending.builder.is_empty() {
            let made = std::mem::replace(&mut self.pending, Pending::new());
            let mut chunks = self.set.chunks().to_vec();
            chunks.push(made.builder.finish());
            while let [.., before, last] = chunks.as_slice()
                && before.len() < 2 * last.len()
            {
                let merged = merge(&self.keys, before, last);
                chunks.truncate(chunks.len() - 2);
                chunks.push(merged);
            }
            self.set = Arc::new(SeriesSet::new(chunks));
        }
        Arc::clone(&self.set)
    }

    /// Makes the table anew with the slots for which `keep` gives the series to keep, each under one new number, its slot's and
    /// its series'; gives that number of each old slot.
    pub(super) fn compact(&mut self, keep: impl Fn(u32) -> Option<u32>) -> Vec<u32> {
        let old = self.flush();
        let mut made = Self::new(self.keys);
        let renumber = |(slot, &hash): (usize, &u64)| {
            let Some(series) = keep(slot as u32) else { return NONE };
            let (series, number) = (old.get(series), made.slots.len() as u32);
            made.hashes.push(hash);
            made.slots.push(number);
            made.index.insert_unique(hash, number, |&held| made.hashes[held as usize]);
            made.pending.push(&self.keys, series.family(), series.name(), series.labels());
            number
        };
        let numbers = self.hashes.iter().enumerate().map(renumber).collect();
        // Nothing asks for the label sets of these before they are in a chunk.
        made.flush();
        *self = made;
        numbers
    }
}

fn merge(keys: &Keys, first: &Chunk, second: &Chunk) -> Arc<Chunk> {
    let mut merged = Pending::new();
    for series in first.iter().chain(second.iter()) {
        merged.push(keys, series.family(), series.name(), series.labels());
    }
    merged.builder.finish()
}
