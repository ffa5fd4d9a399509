//! Stamps of slots: in which scrape a label set was last seen, and what that counts for.

use std::collections::HashMap;

/// No scrape: nothing is live.
pub(super) const NEVER: u32 = u32::MAX;
/// Stamps are multiples of this, and two bits: whether the sample does not count for staleness, ...
pub(super) const STEP: u32 = 4;
pub(super) const TIMED: u32 = 1;
/// ... and whether the slot was live when it was stamped.
pub(super) const WAS_LIVE: u32 = 2;

/// What is counted of one scrape.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// Series that the last good scrape did not have.
    pub(super) added: u64,
    /// Series that were live before and are there again.
    pub(super) carried: u64,
    /// Series that are live after it.
    pub(super) live: u64,
    /// Whether some series has more than one sample.
    pub(super) repeats: bool,
}

impl Tally {
    /// Counts a slot that this scrape has not seen yet; gives its new stamp.
    #[inline(always)]
    pub(super) fn see(&mut self, stamp: u32, (now, live, last_good): (u32, u32, u32), is_timed: bool) -> u32 {
        let was_live = stamp & !WAS_LIVE == live;
        self.carried += u64::from(was_live);
        self.live += u64::from(!is_timed);
        self.added += u64::from(stamp < last_good);
        now | (u32::from(is_timed) * TIMED) | (u32::from(was_live) * WAS_LIVE)
    }

    /// Counts another sample of a slot; gives its new stamp. One sample that counts for staleness is enough.
    pub(super) fn see_again(&mut self, stamp: u32, is_timed: bool) -> u32 {
        self.repeats = true;
        let counts_now = !is_timed && stamp & TIMED != 0;
        self.live += u64::from(counts_now);
        if counts_now { stamp & !TIMED } else { stamp }
    }
}

/// Slots that have had several series.
#[derive(Default)]
pub(super) struct Aliases {
    pub(super) slots: HashMap<u32, u32>,
    /// The series that a slot's last sample was given to.
    pub(super) series: HashMap<u32, u32>,
}

impl Aliases {
    #[inline]
    pub(super) fn slot_of(&self, series: u32) -> u32 {
        if self.slots.is_empty() { series } else { self.slots.get(&series).copied().unwrap_or(series) }
    }

    #[inline]
    pub(super) fn series_of(&self, slot: u32) -> u32 {
        if self.series.is_empty() { slot } else { self.series.get(&slot).copied().unwrap_or(slot) }
    }
}
