//! What was made of targets' series sets, for as long as it is of use.

use std::collections::HashMap;

use crate::model::{Scrape, SeriesRef};

/// The plans of the targets that were seen lately.
///
/// A plan is made once for a series set and extended when the set is, at the cost of the new series alone.
#[derive(Default)]
pub struct Plans<P> {
    by_target: HashMap<u64, Kept<P>>,
    batches: u64,
}

#[derive(Default)]
struct Kept<P> {
    plan: P,
    /// The series set that it fits, and the chunks of it.
    set: u64,
    chunks: Vec<u64>,
    /// The number of the last batch that it was used for.
    used: u64,
}

impl<P: Default> Plans<P> {
    /// A plan that so many batches had no use for is forgotten: a target's last scrape, which takes the plan with it, may
    /// have gone to another lane.
    pub const UNUSED_BATCHES_MAX: u64 = 4096;

    /// The plan of a scrape's target. `add` puts in each series that it lacks, in the order of their numbers: the ones of new
    /// chunks, or, where the set is no extension of the one before, all of them, and the plan is made anew.
    pub fn of<'s>(&mut self, scrape: &'s Scrape, mut add: impl FnMut(&mut P, SeriesRef<'s>)) -> &P {
        let kept = self.by_target.entry(scrape.origin.key).or_default();
        kept.used = self.batches;
        let set = &*scrape.series;
        if kept.set != set.id() {
            let is_extension = kept.chunks.len() <= set.chunks().len()
                && kept.chunks.iter().zip(set.chunks()).all(|(known, chunk)| *known == chunk.id());
            if !is_extension {
                (kept.plan, kept.chunks) = (P::default(), Vec::new());
            }
            for chunk in &set.chunks()[kept.chunks.len()..] {
                chunk.iter().for_each(|series| add(&mut kept.plan, series));
                kept.chunks.push(chunk.id());
            }
            kept.set = set.id();
        }
        &kept.plan
    }

    /// A scrape was written: the last one of a target takes the plan with it.
    pub fn written(&mut self, scrape: &Scrape) {
        if scrape.is_last {
            self.by_target.remove(&scrape.origin.key);
        }
    }

    /// A batch was written: plans without use are forgotten.
    pub fn end_batch(&mut self) {
        self.batches += 1;
        if self.batches.is_multiple_of(Self::UNUSED_BATCHES_MAX / 4) {
            let oldest = self.batches.saturating_sub(Self::UNUSED_BATCHES_MAX);
            self.by_target.retain(|_, kept| kept.used >= oldest);
        }
    }

    /// How many targets have one.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_target.len()
    }
}
