//! Some series that came together: immutable, shared, every text stored once.
//!
//! Invariants
//! - Label names of a series are sorted, unique, and never `__name__`; values are never empty.
//! - `hash` and `group` depend on the labels alone: they are the same in every process and in every chunk.
//!
//! A series costs sixteen bytes and four for each of its labels, besides texts, distinct labels (sixteen bytes each) and
//! distinct names.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::{Family, FamilyRef, MetricType};
use crate::memory::Charge;

/// A piece of a chunk's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Slice {
    pub(super) fn of(self, text: &str) -> &str {
        &text[self.start as usize..(self.start + self.len) as usize]
    }

    /// The same of bytes, which takes no look at where characters begin.
    #[inline(always)]
    pub(super) fn bytes(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..(self.start + self.len) as usize]
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FamilyEntry {
    pub(super) name: Slice,
    pub(super) help: Slice,
    pub(super) unit: Slice,
    pub(super) kind: MetricType,
}

impl FamilyEntry {
    /// Whether it is this one.
    pub(super) fn is(self, text: &[u8], family: Family<'_>) -> bool {
        self.kind == family.kind
            && self.name.bytes(text) == family.name.as_bytes()
            && self.help.bytes(text) == family.help.as_bytes()
            && self.unit.bytes(text) == family.unit.as_bytes()
    }

    pub(super) fn of(self, text: &str) -> Family<'_> {
        Family { name: self.name.of(text), help: self.help.of(text), kind: self.kind, unit: self.unit.of(text) }
    }
}

/// A name of series, in a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: Slice,
    pub(super) family: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesEntry {
    pub(super) metric: u32,
    /// Where its labels start in `Chunk::labels`; they end where the next series' start.
    pub(super) labels: u32,
    /// In halves, so that the entry needs no padding.
    pub(super) group: [u32; 2],
}

/// Some series that came together: immutable, shared.
#[derive(Debug)]
pub struct Chunk {
    pub(super) id: u64,
    pub(super) text: Box<str>,
    pub(super) families: Box<[FamilyEntry]>,
    pub(super) metrics: Box<[Metric]>,
    /// Distinct (name, value) pairs: most labels repeat from series to series.
    pub(super) pairs: Box<[(Slice, Slice)]>,
    /// Indices into `pairs`, all series' one after another.
    pub(super) labels: Box<[u32]>,
    pub(super) series: Box<[SeriesEntry]>,
    pub(super) charge: Charge,
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
        (name.of(&self.text), value.of(&self.text))
    }

    /// How many families it holds.
    pub fn families(&self) -> usize {
        self.families.len()
    }

    /// The metadata of a family by its number, which must be below [`families`](Self::families).
    pub fn family(&self, number: u32) -> FamilyRef<'_> {
        self.families[number as usize].of(&self.text)
    }

    /// How many distinct names its series have; one that stands in two families counts twice.
    pub fn metrics(&self) -> usize {
        self.metrics.len()
    }

    /// A name of series by its number, which must be below [`metrics`](Self::metrics), and the number of its family.
    pub fn metric(&self, number: u32) -> (&str, u32) {
        let metric = &self.metrics[number as usize];
        (metric.name.of(&self.text), metric.family)
    }

    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.len()
            + size_of_val(&*self.families)
            + size_of_val(&*self.metrics)
            + size_of_val(&*self.pairs)
            + size_of_val(&*self.labels)
            + size_of_val(&*self.series)
    }
}

/// One series of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct SeriesRef<'a> {
    chunk: &'a Chunk,
    at: usize,
}

impl<'a> SeriesRef<'a> {
    /// The chunk that it is of.
    pub fn chunk(&self) -> &'a Chunk {
        self.chunk
    }

    /// The metric's name.
    pub fn name(&self) -> &'a str {
        self.metric().name.of(&self.chunk.text)
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
        self.chunk.families[self.family_number() as usize].of(&self.chunk.text)
    }

    /// The number of its name in the chunk: see [`Chunk::metric`].
    pub fn metric_number(&self) -> u32 {
        self.entry().metric
    }

    /// The number of its family in the chunk, below [`Chunk::families`].
    pub fn family_number(&self) -> u32 {
        self.metric().family
    }

    /// A hash of the name and all labels. Made anew at each call.
    pub fn hash(&self) -> u64 {
        let mut hasher = fixed_hasher();
        hasher.write(self.name().as_bytes());
        for (name, value) in self.labels() {
            for text in [name, value] {
                hasher.write_u8(0xff);
                hasher.write(text.as_bytes());
            }
        }
        hasher.finish()
    }

    /// A hash of the labels without the name, and without `le` or `quantile` under a histogram or summary: what is equal in it
    /// may become one document, and is never split over two requests.
    pub fn group(&self) -> u64 {
        let [high, low] = self.entry().group;
        u64::from(high) << 32 | u64::from(low)
    }

    fn entry(&self) -> &'a SeriesEntry {
        &self.chunk.series[self.at]
    }

    fn metric(&self) -> &'a Metric {
        &self.chunk.metrics[self.entry().metric as usize]
    }
}

/// A fixed seed: equal label sets hash alike in every process, which lanes and document ids rely on. Not for tables that an
/// outsider's text can fill: those are keyed per process.
fn fixed_hasher() -> impl Hasher {
    FixedState::with_seed(0x70726f_6d66657272).build_hasher()
}

/// A label's part of the hash of a group, the same in every process.
pub(super) fn pair_hash(name: &[u8], value: &[u8]) -> u64 {
    let mut hasher = fixed_hasher();
    hasher.write(name);
    hasher.write_u8(0xff);
    hasher.write(value);
    hasher.finish()
}

/// Puts the hashes of labels together, in their order.
pub(super) fn fold(before: u64, hash: u64) -> u64 {
    let product = u128::from(before ^ hash) * u128::from(0x9e37_79b9_7f4a_7c15_u64 ^ hash.rotate_left(32) | 1);
    product as u64 ^ (product >> 64) as u64
}

/// The name of the label that a family's series differ in by their part, and not by what they are about.
pub(crate) fn part_label(kind: MetricType) -> Option<&'static str> {
    match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => Some("le"),
        MetricType::Summary => Some("quantile"),
        _ => None,
    }
}
