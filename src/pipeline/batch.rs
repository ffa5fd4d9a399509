//! What one request is made of: scrapes, or parts of scrapes, that are sent together.
//!
//! A scrape that is too large for a request is divided by its label sets' group hash, never by position: samples whose
//! labels differ only in name (or bucket) always stay together, which time series data streams need, and which keeps
//! histograms whole.

use std::sync::Arc;

use tokio::time::Instant;

use super::ledger::Waiting;
use crate::model::{Point, Scrape, SeriesRef};

/// Which part of a scrape: the groups whose hash leaves `index` when divided by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Below `of`.
    pub index: u32,
    /// A power of two; 1 is the whole scrape.
    pub of: u32,
}

impl Part {
    /// The whole scrape.
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    /// A scrape is divided into at most this many parts; label sets that still share one cannot be told apart by it.
    const OF_MAX: u32 = 1 << 20;

    fn holds(self, group: u64) -> bool {
        // The low bits choose lanes and table slots elsewhere; these are independent of them.
        self.of == 1 || (group >> 32) as u32 & (self.of - 1) == self.index
    }

    fn halves(self) -> Option<[Part; 2]> {
        let of = self.of * 2;
        (of <= Self::OF_MAX).then_some([Part { index: self.index, of }, Part { index: self.index + self.of, of }])
    }
}

/// A scrape, or a part of one, in a batch.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The scrape, shared.
    pub scrape: Arc<Scrape>,
    /// Which part of it.
    pub part: Part,
    /// How many samples that part has.
    pub samples: u64,
}

impl Slice {
    /// All of a scrape.
    pub fn whole(scrape: Arc<Scrape>) -> Self {
        let samples = scrape.samples() as u64;
        Self { scrape, part: Part::WHOLE, samples }
    }

    /// The samples of this part, in the scrape's order, each with its series.
    pub fn points(&self) -> impl Iterator<Item = (Point<'_>, SeriesRef<'_>)> {
        self.scrape
            .points
            .iter()
            .map(|point| (point, self.scrape.series.get(point.series)))
            .filter(|(_, series)| self.part.holds(series.group()))
    }

    /// Whether a group of label sets is in this part.
    pub fn holds(&self, group: u64) -> bool {
        self.part.holds(group)
    }

    /// Two parts that are each smaller, or `None` where only one label set is left.
    fn divide(&self) -> Option<[Slice; 2]> {
        let mut part = self.part;
        loop {
            let [left, right] =
                part.halves()?.map(|part| Slice { scrape: self.scrape.clone(), part, samples: 0 }.counted());
            match (left.samples, right.samples) {
                (0, _) => part = right.part,
                (_, 0) => part = left.part,
                _ => return Some([left, right]),
            }
        }
    }

    fn counted(mut self) -> Self {
        self.samples = self.points().count() as u64;
        self
    }
}

/// What is sent in one request. It is frozen: a resend carries the same samples.
#[derive(Debug)]
pub struct Batch {
    /// Its scrapes, oldest first.
    pub slices: Vec<Slice>,
    /// The ledger's token for all of its samples.
    pub waiting: Waiting,
    /// When its oldest scrape came into the queue.
    pub oldest: Instant,
}

impl Batch {
    /// How many samples it has.
    pub fn samples(&self) -> u64 {
        self.slices.iter().map(|slice| slice.samples).sum()
    }

    /// Two batches of about half the size, or the batch itself where it holds one label set of one scrape.
    pub fn split(mut self) -> Result<[Batch; 2], Batch> {
        let right = if self.slices.len() > 1 {
            self.slices.split_off(self.slices.len() / 2)
        } else {
            let Some([left, right]) = self.slices.first().and_then(Slice::divide) else { return Err(self) };
            self.slices = vec![left];
            vec![right]
        };
        let samples = right.iter().map(|slice| slice.samples).sum();
        let right = Batch { slices: right, waiting: self.waiting.take(samples), oldest: self.oldest };
        Ok([self, right])
    }
}
