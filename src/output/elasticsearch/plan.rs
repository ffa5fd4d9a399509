//! What is known of a target's documents before any value is: which series share one, and all of its text but the values.
//!
//! A plan is made once for a series set and extended when the set is, at the cost of the new series alone. Text that
//! repeats (a label with its value, a field's name) is escaped and kept once; a series costs about forty bytes.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use md5::{Digest, Md5};

use super::encode::Encoder;
use super::index::Destinations;
use super::shapes::{Pairs, template_beside_pattern};
use crate::model::{Origin, SeriesRef, SeriesSet};
use crate::output::json::{Fragments, string};

/// The documents of one target's series.
#[derive(Default)]
pub(super) struct Plan {
    set: u64,
    chunks: Vec<u64>,
    series: Vec<Slot>,
    /// By series: the fragment that names its dynamic template, where its name alone would choose another; else [`NONE`].
    templates: Vec<u32>,
    /// Series by group and key: no document holds a field twice.
    taken: HashTable<u32>,
    groups: Vec<Group>,
    groups_by_labels: HashTable<u32>,
    /// Fragments of all groups' labels, one group after another.
    pairs: Vec<u32>,
    fragments: Fragments,
    hasher: RandomState,
}

/// Where a series' value goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    /// Which document.
    pub group: u32,
    /// The fragment of its field's name.
    pub key: u32,
}

/// No fragment; no destination.
const NONE: u32 = u32::MAX;

/// Series that share a document when they share a time.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pairs_start: u32,
    pairs_len: u32,
    /// The fragment of the measurement's name.
    measurement: u32,
    /// Counts the groups of equal labels: rules can make two series equal, and neither may be lost.
    copy: u32,
    /// The fragment of what decides its shard.
    routing: u32,
    /// Where its documents go; `None` where that would be one index too many.
    pub destination: Option<u32>,
    /// Whether any of its series has a dynamic template of its own.
    pub has_templates: bool,
    /// A hash of its measurement and labels: the same in every process and version.
    identity: u128,
    /// The hash by which a scrape is divided: equal for all series of the group.
    pub part: u64,
    /// A hash of the names of all fields, whatever their order.
    pub names: u64,
}

impl Group {
    /// What tells its documents from those of other groups: a hash of labels, measurement and the names of all fields.
    pub(super) fn identity(&self) -> u128 {
        // An odd factor loses nothing of the names' hash, and spreads it over all bits.
        self.identity ^ u128::from(self.names).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

impl Plan {
    /// Makes the plan fit `set`: extends it by the set's new chunks, or, where the set is no extension of the one before,
    /// makes it anew.
    pub(super) fn fit(&mut self, set: &SeriesSet, origin: &Origin, encoder: &Encoder, to: &mut Destinations) {
        if self.set == set.id() {
            return;
        }
        let is_extension = self.chunks.len() <= set.chunks().len()
            && self.chunks.iter().zip(set.chunks()).all(|(known, chunk)| *known == chunk.id());
        if !is_extension {
            *self = Self::default();
        }
        let mut labels = Pairs::new();
        for chunk in &set.chunks()[self.chunks.len()..] {
            for series in chunk.iter() {
                self.add(series, origin, encoder, &mut labels, to);
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
    pub(super) fn slot(&self, series: u32) -> Slot {
        self.series[series as usize]
    }

    /// `"name":` of a field.
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        self.fragments.get(slot.key)
    }

    /// The measurement's name, a JSON string.
    pub(super) fn measurement(&self, group: &Group) -> &[u8] {
        self.fragments.get(group.measurement)
    }

    /// `"name":"value",` of each label.
    pub(super) fn labels(&self, group: &Group) -> impl Iterator<Item = &[u8]> {
        self.group_pairs(group).iter().map(|&pair| self.fragments.get(pair))
    }

    /// What decides the shard of a group's documents, a JSON string; `None` where nothing does.
    pub(super) fn routing(&self, group: &Group) -> Option<&[u8]> {
        (group.routing != NONE).then(|| self.fragments.get(group.routing))
    }

    /// `"metrics.name":"template",` of a series whose name alone would choose another template.
    pub(super) fn template(&self, series: u32) -> Option<&[u8]> {
        let template = self.templates[series as usize];
        (template != NONE).then(|| self.fragments.get(template))
    }

    fn group_pairs(&self, group: &Group) -> &[u32] {
        &self.pairs[group.pairs_start as usize..][..group.pairs_len as usize]
    }

    fn add<'a>(
        &mut self,
        series: SeriesRef<'a>,
        origin: &'a Origin,
        encoder: &'a Encoder,
        labels: &mut Pairs<'a>,
        to: &mut Destinations,
    ) {
        let place = encoder.shape.place(series, origin, labels);
        let key = self.fragments.intern(|out| {
            string(out, &place.field);
            out.push(b':');
        });
        let template = template_beside_pattern(series).filter(|_| encoder.shape.has_names_hash());
        let template = template.map(|template| {
            self.fragments.intern(|out| {
                string(out, &format!("metrics.{}", place.field));
                out.extend_from_slice(format!(":\"{template}\",").as_bytes());
            })
        });
        let measurement = self.fragments.intern(|out| string(out, place.measurement));
        let start = self.pairs.len();
        for (name, value) in labels.iter() {
            let pair = self.fragments.intern(|out| {
                string(out, name);
                out.push(b':');
                string(out, value);
                out.push(b',');
            });
            self.pairs.push(pair);
        }
        let number = self.series.len() as u32;
        let routing = encoder.routing.as_ref().map(|routing| routing.with(labels)).filter(|text| !text.is_empty());
        let mut wanted = Group {
            pairs_start: start as u32,
            pairs_len: (self.pairs.len() - start) as u32,
            measurement,
            copy: 0,
            routing: routing.map_or(NONE, |text| self.fragments.intern(|out| string(out, &text))),
            destination: to.of(&encoder.index, labels, encoder.indexes_max),
            has_templates: false,
            identity: 0,
            part: series.group(),
            names: 0,
        };
        let slot = loop {
            let slot = Slot { group: self.group_like(wanted), key };
            if self.take(slot, number) {
                break slot;
            }
            wanted.copy += 1;
        };
        self.templates.push(template.unwrap_or(NONE));
        let group = &mut self.groups[slot.group as usize];
        group.has_templates |= template.is_some();
        group.names = group.names.wrapping_add(name_hash(place.field.as_bytes()));
        if group.pairs_start as usize != start {
            self.pairs.truncate(start);
        }
    }

    /// The group with the same labels, measurement, part and copy; it is made where there is none.
    fn group_like(&mut self, wanted: Group) -> u32 {
        let hash = self.group_hash(&wanted);
        let is_same = |&at: &u32| {
            let held = &self.groups[at as usize];
            (held.measurement, held.copy, held.part) == (wanted.measurement, wanted.copy, wanted.part)
                && self.group_pairs(held) == self.group_pairs(&wanted)
        };
        if let Some(&found) = self.groups_by_labels.find(hash, is_same) {
            return found;
        }
        let at = self.groups.len() as u32;
        // Copies of a group may hold the same names, and must not be one point to the receiver.
        let identity = self.identity(&wanted);
        self.groups.push(Group { names: u64::from(wanted.copy), identity, ..wanted });
        let mut index = std::mem::take(&mut self.groups_by_labels);
        index.insert_unique(hash, at, |&at| self.group_hash(&self.groups[at as usize]));
        self.groups_by_labels = index;
        at
    }

    /// It becomes a part of ids, so it must be the same in every process and version: of the JSON text of the measurement
    /// and the labels, in the order of their names.
    fn identity(&self, group: &Group) -> u128 {
        let mut hash = Md5::new();
        hash.update(self.measurement(group));
        for label in self.labels(group) {
            hash.update(label);
        }
        u128::from_be_bytes(hash.finalize().into())
    }

    fn group_hash(&self, group: &Group) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(group.measurement);
        hasher.write_u32(group.copy);
        hasher.write_u64(group.part);
        for &pair in self.group_pairs(group) {
            hasher.write_u32(pair);
        }
        hasher.finish()
    }

    /// Gives a field of a group to the next series, or says that another one has it.
    fn take(&mut self, slot: Slot, number: u32) -> bool {
        let hash = self.hasher.hash_one(slot);
        if self.taken.find(hash, |&other| self.series[other as usize] == slot).is_some() {
            return false;
        }
        self.series.push(slot);
        self.taken.insert_unique(hash, number, |&other| self.hasher.hash_one(self.series[other as usize]));
        true
    }
}

/// A hash of a field's name that is the same in every process and version: it becomes part of a series' identity in the
/// receiver. FNV-1a, then the finaliser of MurmurHash3, so that sums of it stay apart.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    let mut hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}
