//! What outputs remember of series that only ever rise, from one request to the next: since when they count, and their last
//! value, which a difference is taken from.
//!
//! An output keeps a [`Cumulative`] as the state of a lane. While a request is made, an [`Ahead`] on top of it knows the samples of
//! that request too; [`Cumulative::advance`] is called for each of them when the request is settled, in the same order.
//!
//! Promises
//! - A value below the last one is a reset: the series counts since its last time, and the difference is the value itself.
//! - A series that was not heard of for [`FORGOTTEN_AFTER_MS`] is forgotten, and at most [`SERIES_MAX`] are remembered; a series
//!   beyond them is always new.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::model::{Scrape, SeriesRef, wall_ms};

/// Series that are remembered in one lane, at most: 32 bytes each.
pub(super) const SERIES_MAX: usize = 2_000_000;

/// A series that had no sample for so long is forgotten.
pub(super) const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// Skipped: a sample that is not newer than the one before, to a receiver that takes such ones for something else.
pub(super) const NOT_NEWER: &str = "not_newer";

/// Between two looks at what may be forgotten.
const SWEEP_EVERY_MS: i64 = 600_000;

/// A series as it was when its last sample was settled.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    key: u64,
    start_ms: i64,
    at_ms: i64,
    value: f64,
}

/// What a series of one target is remembered by: targets are kept apart, whatever labels are left of their series.
pub(super) fn key_in_target(scrape: &Scrape, series: &SeriesRef<'_>) -> u64 {
    series.hash() ^ scrape.origin.key.rotate_left(32)
}

/// How a sample continues its series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Since when it counts: the time of the first sample that was seen, or of the last one before a reset.
    pub start_ms: i64,
    /// By how much it rose since the last sample, and when that was; `None` for the first.
    pub rise: Option<(f64, i64)>,
}

/// What is remembered, one a lane. Keys are hashes of label sets, such as [`SeriesRef::hash`](crate::model::SeriesRef::hash) gives.
#[derive(Debug, Default)]
pub(super) struct Cumulative {
    seen: HashTable<Seen>,
    hasher: RandomState,
    /// The time of the newest sample that is not of the future.
    now_ms: i64,
    swept_ms: i64,
}

impl Cumulative {
    /// For making one request.
    pub fn ahead(&self) -> Ahead<'_> {
        Ahead { settled: self, own: Cumulative::default() }
    }

    /// Notes a sample that is settled.
    pub fn advance(&mut self, key: u64, value: f64, at_ms: i64) {
        let seen = self.next(self.last(key), key, value, at_ms).0;
        self.put(seen);
        // A target says of itself which time it is: one that is ahead must not age the others.
        self.now_ms = self.now_ms.max(at_ms.min(wall_ms()));
        if self.now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY_MS {
            self.swept_ms = self.now_ms;
            let oldest = self.now_ms.saturating_sub(FORGOTTEN_AFTER_MS);
            // While there is room, those that say to be of the future stay: their clock is wrong, and they rise all the same.
            let is_full = self.seen.len() >= SERIES_MAX;
            let newest = if is_full { self.now_ms.saturating_add(FORGOTTEN_AFTER_MS) } else { i64::MAX };
            self.seen.retain(|seen| (oldest..=newest).contains(&seen.at_ms));
        }
    }

    fn last(&self, key: u64) -> Option<Seen> {
        self.seen.find(self.hasher.hash_one(key), |seen| seen.key == key).copied()
    }

    fn put(&mut self, new: Seen) {
        let hash = self.hasher.hash_one(new.key);
        let has_room = self.seen.len() < SERIES_MAX;
        match self.seen.find_mut(hash, |seen| seen.key == new.key) {
            Some(seen) => *seen = new,
            None if has_room => {
                self.seen.insert_unique(hash, new, |seen| self.hasher.hash_one(seen.key));
            }
            None => {}
        }
    }

    fn next(&self, last: Option<Seen>, key: u64, value: f64, at_ms: i64) -> (Seen, Step) {
        let (start_ms, rise) = match last {
            None => (at_ms, None),
            Some(last) if value < last.value => (last.at_ms, Some((value, last.at_ms))),
            Some(last) => (last.start_ms, Some((value - last.value, last.at_ms))),
        };
        (Seen { key, start_ms, at_ms, value }, Step { start_ms, rise })
    }
}

/// What is remembered, and the samples of the request that is being made.
#[derive(Debug)]
pub(super) struct Ahead<'c> {
    settled: &'c Cumulative,
    own: Cumulative,
}

impl Ahead<'_> {
    /// When the series had its last sample.
    pub fn last_ms(&self, key: u64) -> Option<i64> {
        self.last(key).map(|seen| seen.at_ms)
    }

    /// What its last sample was.
    pub fn last_value(&self, key: u64) -> Option<f64> {
        self.last(key).map(|seen| seen.value)
    }

    /// The last sample of a series in this request; its value is a number.
    pub fn last_step(&self, key: u64, value: f64, at_ms: i64) -> Step {
        self.own.next(self.last(key), key, value, at_ms).1
    }

    /// The next sample of a series; its value is a number.
    pub fn step(&mut self, key: u64, value: f64, at_ms: i64) -> Step {
        let (seen, step) = self.own.next(self.last(key), key, value, at_ms);
        self.own.put(seen);
        step
    }

    fn last(&self, key: u64) -> Option<Seen> {
        self.own.last(key).or_else(|| self.settled.last(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(start_ms: i64, rise: Option<(f64, i64)>) -> Step {
        Step { start_ms, rise }
    }

    #[test]
    fn a_series_rises_from_its_first_sample_and_starts_anew_at_a_reset() {
        let mut state = Cumulative::default();
        let samples = [(10.0, 1000), (12.5, 2000), (3.0, 3000), (3.0, 4000)];
        let expected = [
            step(1000, None),
            step(1000, Some((2.5, 1000))),
            step(2000, Some((3.0, 2000))),
            step(2000, Some((0.0, 3000))),
        ];
        let mut ahead = state.ahead();
        assert_eq!(samples.map(|(value, at_ms)| ahead.step(7, value, at_ms)), expected, "within one request");
        assert_eq!(ahead.step(8, 1.0, 4000), step(4000, None), "another series");
        let one_by_one = samples.map(|(value, at_ms)| {
            let step = state.ahead().step(7, value, at_ms);
            state.advance(7, value, at_ms);
            step
        });
        assert_eq!(one_by_one, expected, "over several");
    }

    #[test]
    fn what_is_not_settled_changes_nothing() {
        let state = Cumulative::default();
        state.ahead().step(7, 1.0, 1000);
        assert_eq!(state.ahead().step(7, 5.0, 2000), step(2000, None));
    }

    #[test]
    fn a_series_that_was_not_heard_of_for_long_is_forgotten() {
        let mut state = Cumulative::default();
        state.advance(1, 1.0, 0);
        state.advance(2, 1.0, FORGOTTEN_AFTER_MS);
        assert_eq!(state.ahead().step(1, 2.0, 0).rise, Some((1.0, 0)));
        state.advance(2, 1.0, FORGOTTEN_AFTER_MS + SWEEP_EVERY_MS);
        assert_eq!(state.ahead().step(1, 2.0, 0).rise, None);
        assert_eq!(state.seen.len(), 1);
    }

    #[test]
    fn a_series_with_times_of_the_future_makes_no_other_forgotten() {
        let mut state = Cumulative::default();
        let now_ms = wall_ms();
        state.advance(1, 1.0, now_ms);
        for year in 1..5 {
            state.advance(2, 1.0, now_ms + year * 365 * 24 * FORGOTTEN_AFTER_MS);
            assert_eq!(state.ahead().step(1, 2.0, now_ms + 1000).rise, Some((1.0, now_ms)), "{year}");
        }
    }
}
