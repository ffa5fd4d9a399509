//! What one request is made of: scrapes, or parts of scrapes, that are sent together.
//!
//! A scrape that is too large for a request is divided by its label sets' group hash, never by position: samples whose
//! labels differ only in name (or bucket) always stay together, which time series data streams need, and which keeps
//! histograms whole.
//!
//! Invariant: `waiting` stands for the samples of `slices`, no more and no less, and whatever is settled leaves both.

use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::disk::Record;
use super::ledger::{Settlement, Waiting};
use crate::model::{Point, Scrape, SeriesRef};

/// A scrape, or a part of one, in a batch.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The scrape, shared.
    pub scrape: Arc<Scrape>,
    /// The positions of its points that are meant, rising; `None` for all.
    selected: Option<Arc<[u32]>>,
}

/// Bits of a group's hash that divide it. The low ones choose lanes and table slots elsewhere; these are independent.
const DIVIDING_BITS: Range<u32> = 32..64;

impl Slice {
    /// All of a scrape.
    pub fn whole(scrape: Arc<Scrape>) -> Self {
        Self { scrape, selected: None }
    }

    /// The points of a scrape at these positions, which rise and are below its number of points.
    pub fn of(scrape: Arc<Scrape>, positions: Vec<u32>) -> Self {
        let is_whole = positions.len() == scrape.points.len();
        Self { selected: (!is_whole).then(|| positions.into()), scrape }
    }

    /// How many samples it has.
    pub fn samples(&self) -> u64 {
        self.selected.as_ref().map_or(self.scrape.samples(), |selected| selected.len()) as u64
    }

    /// The positions of its points in the scrape, rising; `None` for all.
    pub fn selected(&self) -> Option<&[u32]> {
        self.selected.as_deref()
    }

    /// Where the point with this number in the slice is in the scrape; `None` behind the last.
    pub fn position(&self, number: usize) -> Option<usize> {
        match &self.selected {
            None => (number < self.scrape.samples()).then_some(number),
            Some(selected) => selected.get(number).map(|&at| at as usize),
        }
    }

    /// The positions of its points in the scrape, rising.
    pub fn positions(&self) -> impl Iterator<Item = u32> + Clone {
        let selected = self.selected();
        let all = if selected.is_none() { 0..self.scrape.samples() as u32 } else { 0..0 };
        all.chain(selected.unwrap_or_default().iter().copied())
    }

    /// The samples, in the scrape's order, each with its series.
    pub fn points(&self) -> impl Iterator<Item = (Point<'_>, SeriesRef<'_>)> {
        self.positions().map(|at| {
            let point = self.scrape.points.get(at as usize);
            let series = self.scrape.series.get(point.series);
            (point, series)
        })
    }

    /// Two parts that are each smaller, or `None` where only one label set is left.
    fn divide(&self) -> Option<[Slice; 2]> {
        let group = |&at: &u32| self.scrape.series.get(self.scrape.points.get(at as usize).series).group();
        DIVIDING_BITS.into_iter().find_map(|bit| {
            let (left, right): (Vec<u32>, Vec<u32>) = self.positions().partition(|at| group(at) >> bit & 1 == 0);
            let is_divided = !left.is_empty() && !right.is_empty();
            is_divided.then(|| [left, right].map(|positions| Slice::of(self.scrape.clone(), positions)))
        })
    }
}

/// How often a request was tried before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// 0 for the first.
    pub number: u32,
    /// An attempt before this one may have been received, though no answer said so.
    pub is_maybe_resend: bool,
}

/// What is sent in one request. It is frozen: a resend carries the same samples, less those that are settled.
#[derive(Debug)]
pub struct Batch {
    /// Its scrapes, oldest first.
    pub slices: Vec<Slice>,
    /// The ledger's token for all of its samples.
    pub waiting: Waiting,
    /// When its oldest scrape came into the queue.
    pub oldest: Instant,
    /// What was tried with it so far.
    pub attempt: Attempt,
    /// Where it is on disk, if it is; parts of a batch share it.
    pub record: Option<Arc<Record>>,
}

impl Batch {
    /// A batch that was not tried yet and is not on disk.
    pub fn new(slices: Vec<Slice>, waiting: Waiting, oldest: Instant) -> Self {
        Self { slices, waiting, oldest, attempt: Attempt::default(), record: None }
    }

    /// How many samples it has.
    pub fn samples(&self) -> u64 {
        self.slices.iter().map(Slice::samples).sum()
    }

    /// Says what became of some of its samples: to the ledger, and to the disk.
    pub fn settle(&mut self, settlement: &Settlement) {
        self.waiting.settle(settlement);
        if let Some(record) = &self.record {
            record.settle(settlement.total());
        }
    }

    /// Drops all of it for one reason.
    pub fn drop_all(mut self, reason: &'static str) {
        let settlement = Settlement::dropped(reason, self.waiting.samples());
        self.settle(&settlement);
    }

    /// Leaves only the points with these numbers, which rise. Points are numbered through the scrapes of all slices: those of the
    /// second scrape start where the first one's end, whatever is selected of them.
    ///
    /// The token is not touched: who calls this has settled or taken out what is left out.
    pub fn keep(&mut self, numbers: &[u32]) {
        let (mut rest, mut start) = (numbers, 0);
        for slice in &mut self.slices {
            let end = start + slice.scrape.samples() as u32;
            let (of_slice, behind) = rest.split_at(rest.partition_point(|&number| number < end));
            *slice = Slice::of(slice.scrape.clone(), of_slice.iter().map(|number| number - start).collect());
            (rest, start) = (behind, end);
        }
    }

    /// The points with these numbers, in any order, each with its scrape and series.
    pub fn points_at(&self, numbers: &[u32]) -> impl Iterator<Item = (&Scrape, Point<'_>, SeriesRef<'_>)> {
        let mut end = 0;
        let ends = self.slices.iter().map(|slice| {
            end += slice.scrape.samples() as u32;
            end
        });
        let ends: Vec<u32> = ends.collect();
        numbers.iter().filter_map(move |&number| {
            let at = ends.partition_point(|&end| end <= number);
            let scrape = &*self.slices.get(at)?.scrape;
            let start = ends[at] - scrape.samples() as u32;
            let point = scrape.points.get((number - start) as usize);
            let series = scrape.series.get(point.series);
            Some((scrape, point, series))
        })
    }

    /// Whether both are parts of one record on disk.
    pub(super) fn is_of_record_of(&self, other: &Batch) -> bool {
        self.record.as_ref().zip(other.record.as_ref()).is_some_and(|(left, right)| Arc::ptr_eq(left, right))
    }

    /// Appends a part that was divided from it. What may be a resend in one part counts so for both.
    pub(super) fn join(&mut self, part: Batch) {
        self.slices.extend(part.slices);
        self.waiting.join(part.waiting);
        self.oldest = self.oldest.min(part.oldest);
        self.attempt.number = self.attempt.number.max(part.attempt.number);
        self.attempt.is_maybe_resend |= part.attempt.is_maybe_resend;
    }

    /// Two batches of about half the size, or the batch itself where it holds one label set of one scrape.
    pub fn split(mut self) -> Result<[Batch; 2], Batch> {
        let held: Vec<Slice> = self.slices.iter().filter(|slice| slice.samples() > 0).cloned().collect();
        let right = match &held[..] {
            // It stays as it is, and so do the numbers of its points.
            [] => return Err(self),
            [slice] => {
                let Some([left, right]) = slice.divide() else { return Err(self) };
                self.slices = vec![left];
                vec![right]
            }
            slices => {
                let (left, right) = slices.split_at(slices.len() / 2);
                self.slices = left.to_vec();
                right.to_vec()
            }
        };
        let samples = right.iter().map(Slice::samples).sum();
        let waiting = self.waiting.take(samples);
        let right =
            Batch { slices: right, waiting, oldest: self.oldest, attempt: self.attempt, record: self.record.clone() };
        Ok([self, right])
    }
}
