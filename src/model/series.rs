//! A target's table of series: label sets and families, their text stored once, shared between scrapes.
//!
//! A [`SeriesSet`] is a list of immutable [`Chunk`]s. New series come as a new chunk; the old ones stay shared with every
//! scrape that is still queued. Series are numbered through all chunks.
//!
//! Invariants
//! - A number, once given, means the same label set for as long as the set is extended and not rebuilt.
//! - Label names of a series are sorted, unique, and never `__name__`; values are never empty.
//! - `hash` and `group` depend on the labels alone: they are the same in every process and in every chunk.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;

use crate::memory::{Charge, Kind};

/// What a family measures; decides how outputs write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only ever rises, until it starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum`, `_count`, or a native histogram.
    Histogram,
    /// A histogram that may go down (OpenMetrics).
    GaugeHistogram,
    /// Quantiles, `_sum`, `_count`.
    Summary,
    /// Labels with the value 1 (OpenMetrics).
    Info,
    /// One series a state (OpenMetrics).
    StateSet,
    /// Untyped.
    #[default]
    Unknown,
}

impl MetricType {
    /// The word for it in text format 0.0.4, which knows five types.
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram | Self::Unknown => "untyped",
        }
    }

    /// The word for it in OpenMetrics 1.0.
    pub fn as_openmetrics(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word of either format.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "untyped" | "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// A family's metadata, as a chunk is given it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family<'a> {
    /// The family's name: that of the `# TYPE` line, or the metric's own where there is none.
    pub name: &'a str,
    /// The text of `# HELP`, unescaped; empty where there is none.
    pub help: &'a str,
    /// The type, or [`MetricType::Unknown`].
    pub kind: MetricType,
    /// The unit (OpenMetrics); empty where there is none.
    pub unit: &'a str,
}

/// A family as it is read back from a chunk.
pub type FamilyRef<'a> = Family<'a>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slice {
    start: u32,
    len: u32,
}

impl Slice {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

#[derive(Debug)]
struct FamilyEntry {
    name: Slice,
    help: Slice,
    unit: Slice,
    kind: MetricType,
}

#[derive(Debug)]
struct SeriesEntry {
    name: Slice,
    /// Where its labels start in `Chunk::labels`; they end where the next series' start.
    labels: u32,
    family: u32,
    hash: u64,
    group: u64,
}

/// Some series that came together: immutable, shared.
#[derive(Debug)]
pub struct Chunk {
    id: u64,
    text: Box<str>,
    families: Box<[FamilyEntry]>,
    /// Distinct (name, value) pairs: most labels repeat from series to series.
    pairs: Box<[(Slice, Slice)]>,
    /// Indices into `pairs`, all series' one after another.
    labels: Box<[u32]>,
    series: Box<[SeriesEntry]>,
    charge: Charge,
}

impl Chunk {
    /// A number that no other chunk of this process has: a key for what is cached about it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many series it holds.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The series at `at`, which must be below [`len`](Self::len).
    pub fn get(&self, at: usize) -> SeriesRef<'_> {
        SeriesRef { chunk: self, at }
    }

    /// All of its series.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SeriesRef<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// How many distinct labels its series have.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// The name and value of a label by its number, which must be below [`pairs`](Self::pairs).
    pub fn pair(&self, number: u32) -> (&str, &str) {
        let (name, value) = self.pairs[number as usize];
        (self.str(name), self.str(value))
    }

    /// How many families it holds.
    pub fn families(&self) -> usize {
        self.families.len()
    }

    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.len()
            + size_of_val(&*self.families)
            + size_of_val(&*self.pairs)
            + size_of_val(&*self.labels)
            + size_of_val(&*self.series)
    }

    fn str(&self, slice: Slice) -> &str {
        &self.text[slice.range()]
    }
}

/// One series of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct SeriesRef<'a> {
    chunk: &'a Chunk,
    at: usize,
}

impl<'a> SeriesRef<'a> {
    /// The metric's name.
    pub fn name(&self) -> &'a str {
        self.chunk.str(self.entry().name)
    }

    /// The labels without the name, sorted.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let chunk = self.chunk;
        self.pairs().iter().map(move |&pair| chunk.pair(pair))
    }

    /// The numbers of these labels in the chunk: see [`Chunk::pair`].
    pub fn pairs(&self) -> &'a [u32] {
        let chunk = self.chunk;
        let end = chunk.series.get(self.at + 1).map_or(chunk.labels.len(), |next| next.labels as usize);
        &chunk.labels[self.entry().labels as usize..end]
    }

    /// The value of a label, or `None`.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.labels().find(|(held, _)| *held == name).map(|(_, value)| value)
    }

    /// Its family's metadata.
    pub fn family(&self) -> FamilyRef<'a> {
        let family = &self.chunk.families[self.entry().family as usize];
        Family {
            name: self.chunk.str(family.name),
            help: self.chunk.str(family.help),
            kind: family.kind,
            unit: self.chunk.str(family.unit),
        }
    }

    /// The number of its family in the chunk, below [`Chunk::families`].
    pub fn family_number(&self) -> u32 {
        self.entry().family
    }

    /// A hash of the name and all labels.
    pub fn hash(&self) -> u64 {
        self.entry().hash
    }

    /// A hash of the labels without the name, and without `le` or `quantile` under a histogram or summary: what is equal in it
    /// may become one document, and is never split over two requests.
    pub fn group(&self) -> u64 {
        self.entry().group
    }

    fn entry(&self) -> &'a SeriesEntry {
        &self.chunk.series[self.at]
    }
}

/// Makes a chunk. Text that repeats is stored once.
#[derive(Default)]
pub struct ChunkBuilder {
    text: String,
    strings: HashTable<Slice>,
    hasher: RandomState,
    families: Vec<FamilyEntry>,
    pairs: Vec<(Slice, Slice)>,
    /// Indices into `pairs`, by their text: a label that was seen before costs one look.
    pair_index: HashTable<u32>,
    labels: Vec<u32>,
    series: Vec<SeriesEntry>,
}

impl ChunkBuilder {
    /// How many series it has so far.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether it has none yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds a family and returns its index, for [`push`](Self::push). The caller adds each family once.
    pub fn family(&mut self, family: Family<'_>) -> u32 {
        let entry = FamilyEntry {
            name: self.intern(family.name),
            help: self.intern(family.help),
            unit: self.intern(family.unit),
            kind: family.kind,
        };
        self.families.push(entry);
        (self.families.len() - 1) as u32
    }

    /// Adds a series and returns its index in this chunk. `labels` are sorted, unique, not empty, and without `__name__`.
    pub fn push<'l>(
        &mut self,
        family: u32,
        name: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) -> u32 {
        let hash = series_hash(name, labels.clone());
        let group = group_hash(self.families[family as usize].kind, labels.clone());
        let entry = SeriesEntry { name: self.intern(name), labels: self.labels.len() as u32, family, hash, group };
        self.series.push(entry);
        for (name, value) in labels {
            let pair = self.pair(name, value);
            self.labels.push(pair);
        }
        (self.series.len() - 1) as u32
    }

    /// The chunk.
    pub fn finish(self) -> Arc<Chunk> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut chunk = Chunk {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            text: self.text.into(),
            families: self.families.into(),
            pairs: self.pairs.into(),
            labels: self.labels.into(),
            series: self.series.into(),
            charge: Charge::default(),
        };
        chunk.charge = Charge::new(Kind::Series, chunk.bytes());
        Arc::new(chunk)
    }

    fn pair(&mut self, name: &str, value: &str) -> u32 {
        let hash = self.hasher.hash_one((name, value));
        let text = |(name, value): (Slice, Slice)| (&self.text[name.range()], &self.text[value.range()]);
        if let Some(&at) = self.pair_index.find(hash, |&at| text(self.pairs[at as usize]) == (name, value)) {
            return at;
        }
        let pair = (self.intern(name), self.intern(value));
        self.pairs.push(pair);
        let Self { text, pairs, pair_index, hasher, .. } = self;
        let at = (pairs.len() - 1) as u32;
        let again = |&at: &u32| {
            let (name, value): (Slice, Slice) = pairs[at as usize];
            hasher.hash_one((&text[name.range()], &text[value.range()]))
        };
        pair_index.insert_unique(hash, at, again);
        at
    }

    fn intern(&mut self, text: &str) -> Slice {
        let (held, hasher) = (&mut self.text, &self.hasher);
        let at = |held: &str, slice: &Slice| hasher.hash_one(&held[slice.range()]);
        let hash = hasher.hash_one(text);
        if let Some(&slice) = self.strings.find(hash, |slice| &held[slice.range()] == text) {
            return slice;
        }
        let slice = Slice { start: held.len() as u32, len: text.len() as u32 };
        held.push_str(text);
        self.strings.insert_unique(hash, slice, |slice| at(held, slice));
        slice
    }
}

/// All series that a target has had since its table was last rebuilt.
#[derive(Debug)]
pub struct SeriesSet {
    id: u64,
    chunks: Box<[Arc<Chunk>]>,
    /// The number of each chunk's first series.
    starts: Box<[u32]>,
    len: u32,
}

impl SeriesSet {
    /// A set of these chunks, their series numbered in this order.
    pub fn new(chunks: Vec<Arc<Chunk>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut len = 0;
        let starts = chunks
            .iter()
            .map(|chunk| {
                let start = len;
                len += chunk.len() as u32;
                start
            })
            .collect();
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), chunks: chunks.into(), starts, len }
    }

    /// A number that no other set of this process has: a key for what is cached about it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many series it holds.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its chunks, in order.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// The series with this number, which must be below [`len`](Self::len).
    pub fn get(&self, series: u32) -> SeriesRef<'_> {
        let chunk = self.starts.partition_point(|&start| start <= series) - 1;
        self.chunks[chunk].get((series - self.starts[chunk]) as usize)
    }

    /// All series, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = SeriesRef<'_>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Bytes that it keeps in memory, chunks included: they are shared, so sums over several sets count them twice.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.chunks.iter().map(|chunk| chunk.bytes() + 12).sum::<usize>()
    }
}

/// A fixed seed: equal label sets hash alike in every process, which lanes and document ids rely on. Not for tables that an
/// outsider's text can fill: those are keyed per process.
fn fixed_hasher() -> impl Hasher {
    FixedState::with_seed(0x70726f_6d66657272).build_hasher()
}

fn write_labels<'l>(hasher: &mut impl Hasher, labels: impl Iterator<Item = (&'l str, &'l str)>) {
    for (name, value) in labels {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
}

fn series_hash<'l>(name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
    let mut hasher = fixed_hasher();
    hasher.write(name.as_bytes());
    hasher.write_u8(0xff);
    write_labels(&mut hasher, labels);
    hasher.finish()
}

/// The hash behind [`SeriesRef::group`].
pub fn group_hash<'l>(kind: MetricType, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
    let part = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        _ => "",
    };
    let mut hasher = fixed_hasher();
    write_labels(&mut hasher, labels.filter(|(name, _)| *name != part));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(names: &[&str], kind: MetricType, labels: &[(&str, &str)]) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::default();
        let family = builder.family(Family { name: "f", kind, ..Family::default() });
        for name in names {
            builder.push(family, name, labels.iter().copied());
        }
        builder.finish()
    }

    #[test]
    fn numbers_run_through_all_chunks() {
        let set = SeriesSet::new(vec![
            chunk(&["a", "b"], MetricType::Gauge, &[("x", "1")]),
            chunk(&[], MetricType::Gauge, &[]),
            chunk(&["c"], MetricType::Gauge, &[("x", "1"), ("y", "2")]),
        ]);
        assert_eq!((0..3).map(|n| set.get(n).name()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(set.get(2).labels().collect::<Vec<_>>(), [("x", "1"), ("y", "2")]);
        assert_eq!(set.get(2).label("y"), Some("2"));
        assert_eq!(set.get(1).family().kind, MetricType::Gauge);
    }

    #[test]
    fn a_group_is_the_label_set_without_name_and_bucket() {
        let buckets = chunk(&["f_bucket"], MetricType::Histogram, &[("le", "1.0"), ("x", "1")]);
        let sum = chunk(&["f_sum"], MetricType::Histogram, &[("x", "1")]);
        assert_eq!(buckets.get(0).group(), sum.get(0).group());
        assert_ne!(buckets.get(0).hash(), sum.get(0).hash());
        let gauge = chunk(&["f_bucket"], MetricType::Gauge, &[("le", "1.0"), ("x", "1")]);
        assert_ne!(gauge.get(0).group(), sum.get(0).group());
    }
}
