//! What is known of a target's events before any value is: which series share one, and all of its text but time and values.
//!
//! A plan is made once for a series set and extended when the set is, at the cost of the new series alone. Text that
//! repeats (a dimension with its value, an envelope, a metric's name) is escaped and kept once; a series costs about forty
//! bytes.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::layout::{Dimensions, Layout, Refusal};
use crate::model::{Origin, SeriesRef, SeriesSet};
use crate::output::json::{Fragments, string};

/// Metrics of one event, at most: an event that is refused costs no more.
const EVENT_METRICS_MAX: u32 = 256;

/// The events of one target's series.
#[derive(Default)]
pub(super) struct Plan {
    set: u64,
    chunks: Vec<u64>,
    series: Vec<Place>,
    /// Series by group and key: no event holds a field twice.
    taken: HashTable<u32>,
    groups: Vec<Group>,
    /// The youngest group of each envelope and dimensions.
    groups_by_text: HashTable<u32>,
    /// Fragments of all groups' dimensions, one group after another.
    pairs: Vec<u32>,
    fragments: Fragments,
    hasher: RandomState,
}

/// Where a series' value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Into an event.
    Slot(Slot),
    /// Nowhere.
    Refused(Refusal),
}

/// Where in an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    /// Which event.
    pub group: u32,
    /// The fragment of its metric's name.
    key: u32,
}

/// Series that share an event when they share a time.
#[derive(Clone, Copy)]
pub(super) struct Group {
    envelope: u32,
    pairs_start: u32,
    pairs_len: u32,
    metrics: u32,
    /// The number of the index that it goes to.
    pub index: u32,
}

impl Plan {
    /// Makes the plan fit `set`: extends it by the set's new chunks, or, where the set is no extension of the one before,
    /// makes it anew.
    pub(super) fn fit(&mut self, set: &SeriesSet, origin: &Origin, layout: &Layout) {
        if self.set == set.id() {
            return;
        }
        let is_extension = self.chunks.len() <= set.chunks().len()
            && self.chunks.iter().zip(set.chunks()).all(|(known, chunk)| *known == chunk.id());
        if !is_extension {
            *self = Self::default();
        }
        let mut dimensions = Dimensions::new();
        for chunk in &set.chunks()[self.chunks.len()..] {
            for series in chunk.iter() {
                self.add(series, origin, layout, &mut dimensions);
            }
            self.chunks.push(chunk.id());
        }
        self.set = set.id();
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// A group by its number.
    pub(super) fn group(&self, at: u32) -> Group {
        self.groups[at as usize]
    }

    /// Where the value of a series goes.
    pub(super) fn place(&self, series: u32) -> Place {
        self.series[series as usize]
    }

    /// What stands before a value.
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        self.fragments.get(slot.key)
    }

    /// What stands between an event's time and its first value.
    pub(super) fn opening(&self, group: &Group) -> impl Iterator<Item = &[u8]> {
        let pairs = self.group_pairs(group).iter().copied();
        std::iter::once(group.envelope).chain(pairs).map(|at| self.fragments.get(at))
    }

    fn group_pairs(&self, group: &Group) -> &[u32] {
        &self.pairs[group.pairs_start as usize..][..group.pairs_len as usize]
    }

    fn add<'a>(&mut self, series: SeriesRef<'a>, origin: &Origin, layout: &Layout, dimensions: &mut Dimensions<'a>) {
        let index = match layout.index_number(series, origin) {
            Ok(index) => index,
            Err(refusal) => return self.series.push(Place::Refused(refusal)),
        };
        layout.dimensions(series, dimensions);
        let key = self.fragments.intern(|out| layout.key(out, series.name()));
        let envelope = self.fragments.intern(|out| layout.envelope(out, series, origin, index));
        let start = self.pairs.len();
        for (name, value) in dimensions.iter() {
            let pair = self.fragments.intern(|out| {
                string(out, name);
                out.push(b':');
                string(out, value);
                out.push(b',');
            });
            self.pairs.push(pair);
        }
        let pairs_len = (self.pairs.len() - start) as u32;
        let wanted = Group { envelope, pairs_start: start as u32, pairs_len, metrics: 0, index };
        let slot = self.slot(wanted, key);
        if self.groups[slot.group as usize].pairs_start as usize != start {
            self.pairs.truncate(start);
        }
        self.series.push(Place::Slot(slot));
    }

    /// A slot for a metric in the youngest group like this one, or in a new one where that has no room for it.
    fn slot(&mut self, wanted: Group, key: u32) -> Slot {
        let number = self.series.len() as u32;
        let hash = self.group_hash(&wanted);
        let is_same = |&at: &u32| {
            let held = &self.groups[at as usize];
            held.envelope == wanted.envelope && self.group_pairs(held) == self.group_pairs(&wanted)
        };
        let found = self.groups_by_text.find(hash, is_same).copied();
        if let Some(group) = found {
            let slot = Slot { group, key };
            if self.groups[group as usize].metrics < EVENT_METRICS_MAX && self.take(slot, number) {
                self.groups[group as usize].metrics += 1;
                return slot;
            }
        }
        let group = self.groups.len() as u32;
        let shared = found.map_or(wanted, |found| self.groups[found as usize]);
        self.groups.push(Group { metrics: 1, ..shared });
        let mut index = std::mem::take(&mut self.groups_by_text);
        match found.and_then(|found| index.find_mut(hash, |&at| at == found)) {
            Some(youngest) => *youngest = group,
            None => {
                index.insert_unique(hash, group, |&at| self.group_hash(&self.groups[at as usize]));
            }
        }
        self.groups_by_text = index;
        let slot = Slot { group, key };
        self.take(slot, number);
        slot
    }

    fn group_hash(&self, group: &Group) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(group.envelope);
        for &pair in self.group_pairs(group) {
            hasher.write_u32(pair);
        }
        hasher.finish()
    }

    /// Gives a field of a group to the series with this number, or says that another one has it.
    fn take(&mut self, slot: Slot, number: u32) -> bool {
        let hash = self.hasher.hash_one(slot);
        let place = Place::Slot(slot);
        if self.taken.find(hash, |&other| self.series[other as usize] == place).is_some() {
            return false;
        }
        let (series, hasher) = (&self.series, &self.hasher);
        let again = |&other: &u32| match series.get(other as usize) {
            Some(Place::Slot(other)) => hasher.hash_one(other),
            // The series in hand, which is not in the table yet; refused ones never are.
            Some(Place::Refused(_)) | None => hash,
        };
        self.taken.insert_unique(hash, number, again);
        true
    }
}
