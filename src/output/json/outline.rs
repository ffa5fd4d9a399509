//! What is known of a target's items (documents, events) before any value is: which series share one, and all of its text but
//! time and values.
//!
//! Text that repeats (a label with its value, a field's name) is escaped and kept once; a series costs about forty bytes.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::string;

/// The items of one target's series. `G` is what its output knows of a group besides.
pub struct Outline<G> {
    series: Vec<Slot>,
    /// Why series have no place: the words that their slots number.
    reasons: Vec<&'static str>,
    /// Series by group and key: no item holds a field twice.
    taken: HashTable<u32>,
    groups: Vec<Group<G>>,
    groups_by_text: HashTable<u32>,
    /// Fragments of all groups' labels, one group after another.
    pairs: Vec<u32>,
    /// Fragments of the labels that were read last.
    labels: Vec<u32>,
    fragments: Fragments,
    hasher: RandomState,
}

/// Where in which item a series' value goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Which item; [`NOWHERE`] for a series that has no place.
    pub group: u32,
    /// The fragment before its value; without a place, the number of the reason.
    pub key: u32,
}

const NOWHERE: u32 = u32::MAX;

/// What tells a group from others with the same labels.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The fragment of the text that goes with the labels: in Elasticsearch the measurement's name, for Splunk the event's
    /// envelope.
    pub text: u32,
    /// Counts the groups that are equal in all else: rules can make two series equal, and neither may be lost.
    pub copy: u32,
    /// The hash by which a scrape is divided, where series that differ in it must not share an item; else 0.
    pub part: u64,
}

/// Series that share an item when they share a time.
pub struct Group<G> {
    /// What tells it from others.
    pub tag: Tag,
    pairs_start: u32,
    pairs_len: u32,
    /// What the output knows of it besides.
    pub own: G,
}

impl<G> Default for Outline<G> {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            reasons: Vec::new(),
            taken: HashTable::new(),
            groups: Vec::new(),
            groups_by_text: HashTable::new(),
            pairs: Vec::new(),
            labels: Vec::new(),
            fragments: Fragments::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<G> Outline<G> {
    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// A group by its number.
    pub fn group(&self, at: u32) -> &Group<G> {
        &self.groups[at as usize]
    }

    /// What the output knows of a group, to be changed.
    pub fn own(&mut self, at: u32) -> &mut G {
        &mut self.groups[at as usize].own
    }

    /// Where the value of a series goes.
    ///
    /// # Errors
    /// The reason that [`refuse`](Self::refuse) was given.
    pub fn slot(&self, series: u32) -> Result<Slot, &'static str> {
        let slot = self.series[series as usize];
        if slot.group == NOWHERE { Err(self.reasons[slot.key as usize]) } else { Ok(slot) }
    }

    /// What stands before the value of a series that has a place.
    pub fn key(&self, series: u32) -> &[u8] {
        self.fragments.get(self.series[series as usize].key)
    }

    /// A text by the number that [`intern`](Self::intern) gave.
    pub fn text(&self, fragment: u32) -> &[u8] {
        self.fragments.get(fragment)
    }

    /// `"name":"value",` of all labels of a group, in few pieces: the labels that a target's series share stand together.
    pub fn labels(&self, group: &Group<G>) -> impl Iterator<Item = &[u8]> {
        let runs = self.group_pairs(group).chunk_by(|left, right| left + 1 == *right);
        runs.map(|run| self.fragments.run(run))
    }

    /// The number of the text that `write` appends.
    pub fn intern(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        self.fragments.intern(write)
    }

    /// Reads the labels of the series that is added next, in the order in which they are written.
    pub fn read_labels<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        self.labels.clear();
        for (name, value) in labels {
            self.labels.push(self.fragments.intern(|out| {
                string(out, name);
                out.push(b':');
                string(out, value);
                out.push(b',');
            }));
        }
    }

    /// `"name":"value",` of each label that was read last.
    pub fn labels_read(&self) -> impl Iterator<Item = &[u8]> {
        self.labels.iter().map(|&pair| self.fragments.get(pair))
    }

    /// The group with this tag and the labels that were read last; where there is none it is made, with what `own` says of it.
    pub fn group_like(&mut self, tag: Tag, own: impl FnOnce(&Self) -> G) -> u32 {
        let hash = self.group_hash(tag, &self.labels);
        let is_same = |&at: &u32| {
            let held = &self.groups[at as usize];
            held.tag == tag && self.group_pairs(held) == self.labels
        };
        if let Some(&found) = self.groups_by_text.find(hash, is_same) {
            return found;
        }
        let at = self.groups.len() as u32;
        let (pairs_start, pairs_len) = (self.pairs.len() as u32, self.labels.len() as u32);
        let own = own(self);
        self.pairs.extend_from_slice(&self.labels);
        self.groups.push(Group { tag, pairs_start, pairs_len, own });
        let mut index = std::mem::take(&mut self.groups_by_text);
        index.insert_unique(hash, at, |&at| {
            let group = &self.groups[at as usize];
            self.group_hash(group.tag, self.group_pairs(group))
        });
        self.groups_by_text = index;
        at
    }

    /// Gives a place to the next series, or says that another one has it.
    pub fn take(&mut self, slot: Slot) -> bool {
        let hash = self.hasher.hash_one(slot);
        if self.taken.find(hash, |&other| self.series[other as usize] == slot).is_some() {
            return false;
        }
        let number = self.series.len() as u32;
        self.series.push(slot);
        self.taken.insert_unique(hash, number, |&other| self.hasher.hash_one(self.series[other as usize]));
        true
    }

    /// Leaves the next series without a place, for a reason that is a word of the ledger.
    pub fn refuse(&mut self, reason: &'static str) {
        let known = self.reasons.iter().position(|known| *known == reason);
        let key = known.unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        });
        self.series.push(Slot { group: NOWHERE, key: key as u32 });
    }

    fn group_pairs(&self, group: &Group<G>) -> &[u32] {
        &self.pairs[group.pairs_start as usize..][..group.pairs_len as usize]
    }

    fn group_hash(&self, tag: Tag, pairs: &[u32]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(tag.text);
        hasher.write_u32(tag.copy);
        hasher.write_u64(tag.part);
        for &pair in pairs {
            hasher.write_u32(pair);
        }
        hasher.finish()
    }
}

/// Texts, each kept once, one after another.
#[derive(Default)]
struct Fragments {
    text: Vec<u8>,
    ends: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: RandomState,
}

impl Fragments {
    /// The text of a number that [`intern`](Self::intern) gave.
    fn get(&self, at: u32) -> &[u8] {
        self.run(&[at])
    }

    /// The texts of numbers that follow one another, of which there is at least one.
    #[inline]
    fn run(&self, numbers: &[u32]) -> &[u8] {
        let (first, last) = (numbers[0] as usize, numbers[numbers.len() - 1] as usize);
        let start = if first == 0 { 0 } else { self.ends[first - 1] as usize };
        &self.text[start..self.ends[last] as usize]
    }

    /// The number of the text that `write` appends.
    fn intern(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
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
