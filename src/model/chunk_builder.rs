//! Makes a [`Chunk`], and is the place where label sets are compared while it is being made.
//!
//! Series that come one behind the other are alike: a label is first compared with the one in its place of the series before,
//! which costs no hash. Otherwise each label is hashed once, and what a label set hashes to is put together from its labels.

mod find;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, RandomState};
use hashbrown::HashTable;

use self::find::add_text;
use super::chunk::{FamilyEntry, Metric, SeriesEntry, Slice, fold, pair_hash, part_label};
use super::labels::same;
use super::{Chunk, Family, room};
use crate::memory::{Charge, Kind};

/// No number.
const NONE: u32 = u32::MAX;

/// What is known of a distinct label while a chunk is made.
#[derive(Clone, Copy)]
struct PairHashes {
    /// Keyed: for tables.
    key: u64,
    /// The same in every process: for groups.
    fixed: u64,
}

/// Makes a chunk. Text that repeats is stored once.
pub struct ChunkBuilder {
    seed: u64,
    /// UTF-8, as all that it is made of.
    text: Vec<u8>,
    families: Vec<FamilyEntry>,
    family_index: HashTable<(u64, u32)>,
    metrics: Vec<Metric>,
    /// The hash of each metric's name.
    metric_keys: Vec<u64>,
    metric_index: HashTable<u32>,
    last_metric: u32,
    label_names: HashTable<(u64, Slice)>,
    pairs: Vec<(Slice, Slice)>,
    pair_hashes: Vec<PairHashes>,
    pair_index: HashTable<u32>,
    /// Which label took the place of each: mostly the same one again.
    next_pairs: Vec<u32>,
    labels: Vec<u32>,
    series: Vec<SeriesEntry>,
    /// The labels of the series that was looked at last, and of the one before.
    prepared: PreparedLabels,
    before: Vec<u32>,
    /// The hash of the name that was looked at last, and whether that is the last metric's.
    name_key: u64,
    is_last_name: bool,
}

/// The labels of a series that was looked at.
#[derive(Default)]
pub(crate) struct PreparedLabels {
    pairs: Vec<u32>,
    /// The sum of their keys.
    key: u64,
    /// Their group, where a family's part label is this.
    group: Option<(Option<&'static str>, u64)>,
}

impl Default for ChunkBuilder {
    fn default() -> Self {
        Self::with_seed(RandomState::default().hash_one(0u8))
    }
}

impl ChunkBuilder {
    /// One whose label sets hash as those of every other builder with this seed, see [`prepare`](Self::prepare).
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self {
            seed,
            text: Vec::new(),
            families: Vec::new(),
            family_index: HashTable::new(),
            metrics: Vec::new(),
            metric_keys: Vec::new(),
            metric_index: HashTable::new(),
            last_metric: 0,
            label_names: HashTable::new(),
            pairs: Vec::new(),
            pair_hashes: Vec::new(),
            pair_index: HashTable::new(),
            next_pairs: Vec::new(),
            labels: Vec::new(),
            series: Vec::new(),
            prepared: PreparedLabels::default(),
            before: Vec::new(),
            name_key: 0,
            is_last_name: false,
        }
    }

    /// How many series it has so far.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// How many distinct labels it has so far.
    pub(crate) fn distinct_labels(&self) -> usize {
        self.pairs.len()
    }

    /// Whether it has none yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds a family and returns its index, for [`push`](Self::push). The caller adds each family once.
    pub fn family(&mut self, family: Family<'_>) -> u32 {
        let [name, help, unit] =
            [family.name, family.help, family.unit].map(|text| add_text(&mut self.text, text.as_bytes()));
        self.families.push(FamilyEntry { name, help, unit, kind: family.kind });
        (self.families.len() - 1) as u32
    }

    /// Adds a series and returns its index in this chunk. `labels` are sorted, unique, not empty, and without `__name__`.
    pub fn push<'l>(
        &mut self,
        family: u32,
        name: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) -> u32 {
        self.prepare(name, labels);
        let metric = self.metric_in(family, name.as_bytes());
        self.push_prepared(metric)
    }

    /// The chunk.
    pub fn finish(self) -> Arc<Chunk> {
        charged(Chunk {
            id: next_id(),
            text: into_text(self.text),
            families: self.families.into(),
            metrics: self.metrics.into(),
            pairs: self.pairs.into(),
            labels: self.labels.into(),
            series: self.series.into(),
            charge: Charge::default(),
        })
    }

    /// The chunk; the builder begins anew. Where a chunk is small the next one probably is, and memory is used again.
    pub(crate) fn take(&mut self) -> Arc<Chunk> {
        const SMALL: usize = 256;
        if self.len() > SMALL || self.pairs.len() > SMALL {
            return std::mem::replace(self, Self::with_seed(self.seed)).finish();
        }
        let chunk = charged(Chunk {
            id: next_id(),
            text: into_text(self.text.clone()),
            families: self.families.as_slice().into(),
            metrics: self.metrics.as_slice().into(),
            pairs: self.pairs.as_slice().into(),
            labels: self.labels.as_slice().into(),
            series: self.series.as_slice().into(),
            charge: Charge::default(),
        });
        self.clear();
        chunk
    }

    fn clear(&mut self) {
        self.text.clear();
        self.families.clear();
        self.family_index.clear();
        self.metrics.clear();
        self.metric_keys.clear();
        self.metric_index.clear();
        self.last_metric = 0;
        self.label_names.clear();
        self.pairs.clear();
        self.pair_hashes.clear();
        self.pair_index.clear();
        self.next_pairs.clear();
        self.labels.clear();
        self.series.clear();
        self.prepared.clear();
        self.before.clear();
        self.is_last_name = false;
    }

    /// Makes room for so many more series, of so many bytes.
    pub(crate) fn make_room(&mut self, series: usize, bytes: usize) {
        let (families, pairs) = (series / 2, series / 4);
        room::in_list(&mut self.text, bytes);
        room::in_list(&mut self.series, series);
        room::in_list(&mut self.labels, 4 * series);
        room::in_list(&mut self.families, families);
        room::in_list(&mut self.metrics, families);
        room::in_list(&mut self.metric_keys, families);
        room::in_list(&mut self.pairs, pairs);
        room::in_list(&mut self.pair_hashes, pairs);
        room::in_list(&mut self.next_pairs, pairs);
        room::in_table(&mut self.family_index, families, |held| held.0);
        room::in_table(&mut self.metric_index, families, |&at| self.metric_keys[at as usize]);
        room::in_table(&mut self.pair_index, pairs, |&at| self.pair_hashes[at as usize].key);
    }

    /// Bytes of memory that it has.
    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity()
            + self.families.capacity() * size_of::<FamilyEntry>()
            + self.metrics.capacity() * (size_of::<Metric>() + size_of::<u64>())
            + self.pairs.capacity() * (size_of::<(Slice, Slice)>() + size_of::<PairHashes>() + size_of::<u32>())
            + self.pair_index.allocation_size()
            + self.metric_index.allocation_size()
            + self.labels.capacity() * size_of::<u32>()
            + self.series.capacity() * size_of::<SeriesEntry>()
    }

    /// Looks the labels of a series up, or adds them; gives a keyed hash of its label set.
    pub(crate) fn prepare<'l>(&mut self, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
        std::mem::swap(&mut self.before, &mut self.prepared.pairs);
        self.prepared.clear();
        for (at, (name, value)) in labels.enumerate() {
            let pair = self.pair(at, name.as_bytes(), value.as_bytes());
            self.prepared.pairs.push(pair);
            self.prepared.key = self.prepared.key.wrapping_add(self.pair_hashes[pair as usize].key);
        }
        self.prepare_name(name.as_bytes());
        self.prepared_hash()
    }

    /// The labels that were [prepared](Self::prepare) last.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let pairs = self.prepared.pairs.iter().map(|&pair| self.pairs[pair as usize]);
        pairs.map(|(name, value)| (name.bytes(&self.text), value.bytes(&self.text)))
    }

    /// Puts the labels that were [prepared](Self::prepare) last aside, and others in their place.
    pub(crate) fn swap_prepared(&mut self, labels: &mut PreparedLabels) {
        std::mem::swap(&mut self.prepared, labels);
    }

    /// Gives the label in this place of those [prepared](Self::prepare) last another value, which is UTF-8.
    pub(crate) fn change(&mut self, place: usize, value: &[u8]) {
        let Some(&pair) = self.prepared.pairs.get(place) else { return };
        let (name, _) = self.pairs[pair as usize];
        let bytes = name.bytes(&self.text);
        if self.prepared.group.is_some_and(|(part, _)| part.is_none_or(|part| part.as_bytes() != bytes)) {
            self.prepared.group = None;
        }
        let is_it = |&at: &u32| {
            let (held, text) = self.pairs[at as usize];
            held == name && same(text.bytes(&self.text), value)
        };
        let likely = self.next_pairs[pair as usize];
        let made = if likely != NONE && is_it(&likely) {
            likely
        } else {
            let key = self.pair_key(bytes, value);
            match self.pair_index.find(key, is_it) {
                Some(&at) => at,
                None => {
                    let hashes = PairHashes { key, fixed: pair_hash(bytes, value) };
                    self.add_pair(name, value, hashes)
                }
            }
        };
        self.next_pairs[pair as usize] = made;
        let key = |pair: u32| self.pair_hashes[pair as usize].key;
        self.prepared.key = self.prepared.key.wrapping_sub(key(pair)).wrapping_add(key(made));
        self.prepared.pairs[place] = made;
    }

    /// Looks a name up, which is UTF-8, for the labels [prepared](Self::prepare) last.
    #[inline]
    pub(crate) fn prepare_name(&mut self, name: &[u8]) {
        let last = self.metrics.get(self.last_metric as usize);
        self.is_last_name = last.is_some_and(|last| same(last.name.bytes(&self.text), name));
        let last_key = self.metric_keys.get(self.last_metric as usize);
        self.name_key = last_key.copied().filter(|_| self.is_last_name).unwrap_or_else(|| self.hash(name));
    }

    /// The keyed hash of the labels and name that were looked at last.
    #[inline]
    pub(crate) fn prepared_hash(&self) -> u64 {
        self.name_key.wrapping_add(self.prepared.key)
    }

    /// Adds the series that was [prepared](Self::prepare) last, under this name.
    pub(crate) fn push_as(&mut self, family: Family<'_>, name: &[u8]) {
        let family = self.find_family(family, name);
        let metric = self.metric_in(family, name);
        self.push_prepared(metric);
    }

    /// The same under the family of the series before, if there is one.
    #[inline]
    pub(crate) fn push_as_last(&mut self, name: &[u8]) -> bool {
        let Some(last) = self.metrics.get(self.last_metric as usize) else { return false };
        let metric = if self.is_last_name { self.last_metric } else { self.metric_in(last.family, name) };
        self.push_prepared(metric);
        true
    }

    /// Whether the series at `at` has this name and the labels that were [prepared](Self::prepare) last.
    pub(crate) fn is_prepared(&self, at: usize, name: &[u8]) -> bool {
        let entry = &self.series[at];
        let end = self.series.get(at + 1).map_or(self.labels.len(), |next| next.labels as usize);
        self.metrics[entry.metric as usize].name.bytes(&self.text) == name
            && self.labels[entry.labels as usize..end] == *self.prepared.pairs
    }

    /// Whether this is the family of the series at `at`.
    pub(crate) fn is_family_at(&self, at: usize, family: Family<'_>) -> bool {
        let metric = &self.metrics[self.series[at].metric as usize];
        self.families[metric.family as usize].is(&self.text, family)
    }

    /// Adds the series of `chunk` for which `keep` holds, by their index in it.
    pub(crate) fn append(&mut self, chunk: &Chunk, keep: impl Fn(usize) -> bool) {
        let mut metrics = vec![NONE; chunk.metrics.len()];
        let mut pairs = vec![NONE; chunk.pairs.len()];
        for (at, entry) in chunk.series.iter().enumerate().filter(|(at, _)| keep(*at)) {
            let series = chunk.get(at);
            let metric = &mut metrics[entry.metric as usize];
            if *metric == NONE {
                let name = series.name().as_bytes();
                self.prepare_name(name);
                let family = self.find_family(series.family(), name);
                *metric = self.metric_in(family, name);
            }
            self.series.push(SeriesEntry { metric: *metric, labels: self.labels.len() as u32, group: entry.group });
            for (place, &pair) in series.pairs().iter().enumerate() {
                let held = &mut pairs[pair as usize];
                if *held == NONE {
                    let (name, value) = chunk.pair(pair);
                    *held = self.pair(place, name.as_bytes(), value.as_bytes());
                }
                self.labels.push(*held);
            }
        }
    }

    fn push_prepared(&mut self, metric: u32) -> u32 {
        let family = self.metrics[metric as usize].family;
        let group = self.group(part_label(self.families[family as usize].kind));
        let group = [(group >> 32) as u32, group as u32];
        self.series.push(SeriesEntry { metric, labels: self.labels.len() as u32, group });
        self.labels.extend_from_slice(&self.prepared.pairs);
        (self.last_metric, self.is_last_name) = (metric, true);
        (self.series.len() - 1) as u32
    }

    /// The group of the labels that were prepared last, in a family with this part: mostly that of the series before.
    fn group(&mut self, part: Option<&'static str>) -> u64 {
        if let Some((held, group)) = self.prepared.group
            && held == part
        {
            return group;
        }
        let of_pair = |group, &pair: &u32| fold(group, self.pair_hashes[pair as usize].fixed);
        let pairs = self.prepared.pairs.iter();
        let group = match part {
            None => pairs.fold(0, of_pair),
            Some(part) => {
                let is_part = |pair: u32| same(self.pairs[pair as usize].0.bytes(&self.text), part.as_bytes());
                pairs.filter(|pair| !is_part(**pair)).fold(0, of_pair)
            }
        };
        self.prepared.group = Some((part, group));
        group
    }
}

impl PreparedLabels {
    fn clear(&mut self) {
        self.pairs.clear();
        (self.key, self.group) = (0, None);
    }
}

/// Checks all texts of a chunk in one go: each of them was one, but is kept as bytes while a chunk is made.
fn into_text(text: Vec<u8>) -> Box<str> {
    String::from_utf8(text).expect("made of texts").into()
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn charged(mut chunk: Chunk) -> Arc<Chunk> {
    chunk.charge = Charge::new(Kind::Series, chunk.bytes());
    Arc::new(chunk)
}

/// The keyed hashes of label sets of a chunk, as [`ChunkBuilder::prepare`] gives them under `seed`.
pub(crate) fn label_set_keys(seed: u64, chunk: &Chunk) -> impl Iterator<Item = u64> {
    let builder = ChunkBuilder::with_seed(seed);
    let hash = |name: &str, value: &str| {
        let mut hasher = FoldHasher::with_seed(seed, SharedSeed::global_random());
        hasher.write(name.as_bytes());
        hasher.write(value.as_bytes());
        hasher.finish()
    };
    let pairs: Vec<u64> = (0..chunk.pairs() as u32).map(|at| chunk.pair(at)).map(|(n, v)| hash(n, v)).collect();
    let names: Vec<u64> =
        chunk.metrics.iter().map(|metric| builder.hash(metric.name.of(&chunk.text).as_bytes())).collect();
    chunk.series.iter().zip(chunk.iter()).map(move |(entry, series)| {
        let name = names[entry.metric as usize];
        series.pairs().iter().fold(name, |key: u64, &pair| key.wrapping_add(pairs[pair as usize]))
    })
}
