//! What the table holds: metrics, the keys that lead to them, and their accounts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hashbrown::HashTable;

use super::row::{Flaws, Part, Row};
use super::settings::{Counts, SourceCounts};
use crate::memory::{Charge, Kind};
use crate::model::MetricType;

/// What a metric costs besides texts: itself, its row, its key, and its places in three tables with the room that they have.
pub(super) const METRIC_BYTES: usize = 256;
pub(super) const KEY_BYTES: usize = 48;

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// Everything behind the one lock.
#[derive(Debug)]
pub(super) struct State {
    pub counts: Counts,
    pub ignored: HashSet<String>,
    /// By the tags as they came.
    pub keys: HashTable<Key>,
    /// By name and labels: several keys may come to one metric.
    pub rows: HashTable<u32>,
    pub metrics: Vec<Option<Metric>>,
    pub free: Vec<u32>,
    pub families: HashMap<Box<str>, FamilyUse>,
    pub sources: HashMap<String, u32>,
    pub source_counts: Vec<SourceCounts>,
    pub bytes: usize,
    /// Rises when a metric comes or goes.
    pub generation: u64,
    pub charge: Charge,
}

/// A metric under the tags as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub hash: u64,
    pub metric: u32,
    /// When it last came, in seconds since the table was made.
    pub seen_s: u32,
    /// Where its flaws are counted.
    pub source: u32,
    pub flaws: Flaws,
}

#[derive(Debug)]
pub(super) struct Metric {
    pub row: Arc<Row>,
    pub hash: u64,
    /// How many keys lead here: when the last one expires, it goes.
    pub keys: u32,
    pub unit: Box<str>,
    pub value: Stored,
}

#[derive(Debug)]
pub(super) enum Stored {
    Counter(u64),
    Gauge(f64),
    Timer(Box<Timings>),
}

/// Upper bounds of a timer's buckets, in seconds; the last one is +Inf.
pub(super) const BOUNDS: [f64; 5] = [0.01, 0.2, 1.0, 15.0, 60.0];

/// How long something took, each time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Timings {
    /// By bucket, not cumulative.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Seconds.
    pub sum: f64,
}

/// What a metric's value is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Number(f64),
    Timings(Timings),
}

/// The metrics of one family, which have one type.
#[derive(Debug)]
pub(super) struct FamilyUse {
    pub kind: MetricType,
    pub metrics: u32,
}

/// What an envelope adds to a metric.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Counter { delta: u64, total: u64 },
    Gauge(f64),
    Timer { seconds: f64 },
}

impl Stored {
    pub fn new(kind: MetricType) -> Self {
        match kind {
            MetricType::Counter => Self::Counter(0),
            MetricType::Histogram => Self::Timer(Box::default()),
            _ => Self::Gauge(0.0),
        }
    }

    pub fn apply(&mut self, change: Change) {
        match (self, change) {
            // As Loggregator's agents: a total replaces, also by zero, and a delta alone adds.
            (Self::Counter(held), Change::Counter { delta, total: 0 }) if delta != 0 => {
                *held = held.wrapping_add(delta)
            }
            (Self::Counter(held), Change::Counter { total, .. }) => *held = total,
            (Self::Gauge(held), Change::Gauge(value)) => *held = value,
            (Self::Timer(held), Change::Timer { seconds }) => {
                held.counts[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
                held.sum += seconds;
            }
            // A key is of one type.
            _ => {}
        }
    }

    pub fn read(&self) -> Reading {
        match self {
            Self::Counter(total) => Reading::Number(*total as f64),
            Self::Gauge(value) => Reading::Number(*value),
            Self::Timer(timings) => Reading::Timings(**timings),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            ignored: HashSet::new(),
            keys: HashTable::new(),
            rows: HashTable::new(),
            metrics: Vec::new(),
            free: Vec::new(),
            families: HashMap::new(),
            sources: HashMap::new(),
            source_counts: Vec::new(),
            bytes: 0,
            generation: 0,
            charge: Charge::new(Kind::Tables, 0),
        }
    }
}

impl State {
    pub fn drop_for(&mut self, reason: &'static str) {
        *self.counts.dropped.entry(reason).or_default() += 1;
    }

    pub fn count_flaws(&mut self, key: Key, counts_tags: bool) {
        let Some(counts) = self.source_counts.get_mut(key.source as usize) else { return };
        counts.modified_tags += u64::from(key.flaws.is_name_modified);
        if counts_tags {
            counts.modified_tags += u64::from(key.flaws.modified_tags);
            counts.invalid_labels += u64::from(key.flaws.invalid_tags);
        }
    }

    /// The number under which a source is counted.
    pub fn source(&mut self, name: &str, sources_max: usize) -> u32 {
        if let Some(&at) = self.sources.get(name) {
            return at;
        }
        let name = if self.sources.len() < sources_max { name } else { "" };
        if let Some(&at) = self.sources.get(name) {
            return at;
        }
        let at = self.source_counts.len() as u32;
        self.source_counts.push(SourceCounts::default());
        self.sources.insert(name.to_owned(), at);
        at
    }

    pub fn add_metric(&mut self, row: Row, hash: u64, part: Part<'_>) -> u32 {
        self.bytes += METRIC_BYTES + row.bytes() + row.name().len();
        let family = self.families.entry(row.name().into()).or_insert(FamilyUse { kind: part.kind, metrics: 0 });
        family.metrics += 1;
        let metric =
            Metric { row: Arc::new(row), hash, keys: 0, unit: part.unit.into(), value: Stored::new(part.kind) };
        let at = match self.free.pop() {
            Some(at) => {
                self.metrics[at as usize] = Some(metric);
                at
            }
            None => {
                self.metrics.push(Some(metric));
                (self.metrics.len() - 1) as u32
            }
        };
        let metrics = &self.metrics;
        self.rows.insert_unique(hash, at, |&at| metrics[at as usize].as_ref().map_or(0, |metric| metric.hash));
        self.generation += 1;
        at
    }

    /// A key that led to this metric is gone.
    pub fn forget_key(&mut self, at: u32) {
        self.bytes -= KEY_BYTES;
        let Some(Some(metric)) = self.metrics.get_mut(at as usize) else { return };
        metric.keys -= 1;
        if metric.keys > 0 {
            return;
        }
        if let Ok(entry) = self.rows.find_entry(metric.hash, |&held| held == at) {
            entry.remove();
        }
        let name = metric.row.name();
        self.bytes -= METRIC_BYTES + metric.row.bytes() + name.len();
        if let Some(family) = self.families.get_mut(name) {
            family.metrics -= 1;
            if family.metrics == 0 {
                self.families.remove(name);
            }
        }
        self.metrics[at as usize] = None;
        self.free.push(at);
        self.generation += 1;
        self.charge.resize(self.bytes);
    }

    /// Gives memory back where most of the table has gone.
    pub fn shrink(&mut self) {
        if self.keys.len() * 4 < self.keys.capacity() {
            self.keys.shrink_to_fit(|key| key.hash);
            let metrics = &self.metrics;
            self.rows.shrink_to_fit(|&at| metrics[at as usize].as_ref().map_or(0, |metric| metric.hash));
        }
        while matches!(self.metrics.last(), Some(None)) {
            self.metrics.pop();
        }
        if self.metrics.len() * 4 < self.metrics.capacity() {
            self.metrics.shrink_to_fit();
        }
        let len = self.metrics.len();
        self.free.retain(|&at| (at as usize) < len);
    }
}
