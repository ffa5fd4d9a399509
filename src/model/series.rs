//! A target's table of series: label sets and families, their text stored once, shared between scrapes.
//!
//! A [`SeriesSet`] is a list of immutable [`Chunk`]s. New series come as a new chunk; the old ones stay shared with every
//! scrape that is still queued. Series are numbered through all chunks.
//!
//! Invariant: a number, once given, means the same label set for as long as the set is extended and not rebuilt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Chunk, SeriesRef};

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

#[cfg(test)]
mod tests {
    use super::super::ChunkBuilder;
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
        let chunk = &set.chunks()[0];
        assert_eq!((chunk.metrics(), chunk.metric(set.get(1).metric_number())), (2, ("b", 0)));
        assert_eq!(chunk.family(0), set.get(1).family());
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
