//! The points of the scrape that is being read, and which series are live.
//!
//! "Seen in this scrape" is a stamp on the label set (slot), so that nothing has to be cleared between scrapes and a steady
//! scrape need not walk its series to learn that none is gone.

use super::intern::NONE;
use crate::model::{PointsBuilder, STALE_NAN};

/// When a label set was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// The series that its last sample was given to.
    pub(super) series: u32,
    /// The stamp of the scrape that it was last seen in.
    seen: u32,
    /// The stamp before that one.
    before: u32,
}

/// No scrape: nothing is live.
const NEVER: u32 = u32::MAX;
/// Stamps are even; the last bit marks a sample that does not count for staleness.
const STEP: u32 = 2;

/// What is counted of one scrape.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// Samples after relabelling.
    pub(super) samples: u64,
    /// Series that the last good scrape did not have.
    pub(super) added: u64,
    /// Series that were live before and are there again.
    carried: u64,
    /// Series that are live after it.
    live: u64,
    /// Whether some series has more than one sample.
    pub(super) repeats: bool,
}

pub(super) struct Samples {
    points: PointsBuilder,
    slots: Vec<Slot>,
    tally: Tally,
    honor_timestamps: bool,
    track_timestamps: bool,
    at_ms: i64,
    /// Whether a scrape has begun and was neither accepted nor failed.
    is_open: bool,
    /// The stamp of this scrape, or of the last one.
    now: u32,
    /// The last good scrape: what is younger is no added series.
    last_good: u32,
    /// The scrape whose series are live, or [`NEVER`]; how many they are.
    live: u32,
    live_count: u64,
    /// Slots whose line was bad.
    held: Vec<u32>,
    /// Own series added so far, and series of the body that they replace.
    reports: usize,
    replaced: Vec<u32>,
}

impl Samples {
    pub(super) fn new(honor_timestamps: bool, track_timestamps: bool) -> Self {
        Self {
            points: PointsBuilder::default(),
            slots: Vec::new(),
            tally: Tally::default(),
            honor_timestamps,
            track_timestamps,
            at_ms: 0,
            is_open: false,
            now: STEP,
            last_good: STEP,
            live: NEVER,
            live_count: 0,
            held: Vec::new(),
            reports: 0,
            replaced: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, at_ms: i64) {
        self.next_stamp();
        self.is_open = true;
        self.at_ms = at_ms;
        self.points.clear();
        self.tally = Tally::default();
        self.held.clear();
        self.replaced.clear();
        self.reports = 0;
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn points(&mut self) -> &mut PointsBuilder {
        &mut self.points
    }

    /// How many series are live.
    pub(super) fn live_count(&self) -> usize {
        self.live_count as usize
    }

    /// The live series.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().filter(|slot| slot.seen == self.live).map(|slot| slot.series)
    }

    /// Makes room for a slot that the interner has just made.
    pub(super) fn know(&mut self, slot: u32, series: u32) {
        if slot as usize == self.slots.len() {
            self.slots.push(Slot { series, seen: 0, before: 0 });
        }
    }

    /// Adds a sample of the body.
    #[inline]
    pub(super) fn add(&mut self, series: u32, slot: u32, value: f64, own_ms: Option<i64>) {
        let own_ms = if self.honor_timestamps { own_ms } else { None };
        self.tally.samples += 1;
        let held = &mut self.slots[slot as usize];
        let series = if held.seen < self.now {
            held.series = series;
            self.see(slot, own_ms.is_some() && !self.track_timestamps);
            series
        } else {
            // Which of them stay is decided when all are known.
            self.tally.repeats = true;
            held.series
        };
        self.points.push_float(series, value, own_ms);
    }

    /// Stamps a slot that this scrape has not seen yet.
    #[inline]
    fn see(&mut self, slot: u32, is_timed: bool) {
        let slot = &mut self.slots[slot as usize];
        self.tally.carried += u64::from(slot.seen == self.live);
        self.tally.live += u64::from(!is_timed);
        self.tally.added += u64::from(slot.seen < self.last_good);
        slot.before = slot.seen;
        slot.seen = self.now + u32::from(is_timed);
    }

    /// The line of a series was bad: it is not there, and not gone.
    pub(super) fn hold(&mut self, slot: u32) {
        self.held.push(slot);
    }

    /// Adds one of the target's own series. It is never live as the body's are: it ends with the target alone.
    pub(super) fn report(&mut self, series: u32, slot: u32, value: f64) {
        let held = &mut self.slots[slot as usize];
        if held.seen >= self.now {
            self.replaced.push(held.series);
        }
        *held = Slot { series, seen: self.now + 1, before: held.seen };
        self.reports += 1;
        self.points.push_float(series, value, None);
    }

    /// The scrape is good: adds a marker for every live series that it does not have.
    pub(super) fn accept(&mut self) {
        for at in 0..self.held.len() {
            let slot = self.held[at];
            if self.slots[slot as usize].seen == self.live {
                self.see(slot, false);
            }
        }
        if self.tally.carried != self.live_count {
            // This scrape's stamps are younger, so whoever still bears the old one did not come.
            self.mark_live();
        }
        (self.live, self.live_count, self.last_good) = (self.now, self.tally.live, self.now);
        self.is_open = false;
    }

    /// The scrape has failed: its samples are forgotten, and every live series gets a marker, after which none is live.
    pub(super) fn fail(&mut self) {
        self.points.clear();
        self.abandon();
        self.mark_live();
        (self.live, self.live_count) = (NEVER, 0);
    }

    fn mark_live(&mut self) {
        for slot in self.slots.iter().filter(|slot| slot.seen == self.live) {
            self.points.push_float(slot.series, STALE_NAN, None);
        }
    }

    /// Takes back what an unfinished scrape did to liveness.
    pub(super) fn abandon(&mut self) {
        if !self.is_open {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.seen >= self.now) {
            // Younger than the last good scrape, and not its own: known, and not live.
            slot.seen = if slot.before == self.live { slot.before } else { slot.before.max(self.last_good + 1) };
        }
        self.is_open = false;
    }

    fn next_stamp(&mut self) {
        if self.now > NEVER - 2 * STEP {
            // After two thousand million scrapes: the live ones stay live, the rest become old.
            for slot in &mut self.slots {
                *slot = Slot { seen: if slot.seen == self.live { STEP } else { 0 }, before: 0, ..*slot };
            }
            self.live = if self.live == NEVER { NEVER } else { STEP };
            (self.now, self.last_good) = (STEP, STEP);
        }
        self.now += STEP;
    }

    /// Where a series has several points: leaves out those of a time that it has already, and puts the rest into the order
    /// of time, in the places that they have. Gives how many it left out.
    pub(super) fn settle_repeats(&mut self) -> u64 {
        let keys: Vec<(u32, i64)> =
            self.points.keys().map(|(series, own_ms)| (series, own_ms.unwrap_or(self.at_ms))).collect();
        let mut by_series: Vec<u32> = (0..keys.len() as u32).collect();
        by_series.sort_by_key(|&at| keys[at as usize].0);
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        for group in by_series.chunk_by(|&a, &b| keys[a as usize].0 == keys[b as usize].0).filter(|g| g.len() > 1) {
            let mut by_time = group.to_vec();
            by_time.sort_by_key(|&at| keys[at as usize].1);
            by_time.dedup_by_key(|at| keys[*at as usize].1);
            for (nth, &place) in group.iter().enumerate() {
                order[place as usize] = by_time.get(nth).copied().unwrap_or(NONE);
            }
        }
        order.retain(|&at| at != NONE);
        self.points.reorder(&order);
        (keys.len() - order.len()) as u64
    }

    /// Leaves out the body's samples of series that the target's own replace.
    pub(super) fn leave_out_replaced(&mut self) {
        if self.replaced.is_empty() {
            return;
        }
        let body = self.points.len() - self.reports;
        let keys = self.points.keys().enumerate();
        let stays = keys.filter(|(at, (series, _))| *at >= body || !self.replaced.contains(series));
        let order: Vec<u32> = stays.map(|(at, _)| at as u32).collect();
        self.points.reorder(&order);
        self.replaced.clear();
    }

    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.points.reserved_bytes()
    }

    pub(super) fn slots_len(&self) -> usize {
        self.slots.len()
    }

    /// The series that a slot's last sample was given to.
    pub(super) fn series_of(&self, slot: u32) -> u32 {
        self.slots[slot as usize].series
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.slots[slot as usize].seen == self.live
    }

    /// Keeps the slots to which `numbers` gives a new number, which is also their series' new one.
    pub(super) fn compact(&mut self, numbers: &[u32]) {
        let kept = self.slots.iter().zip(numbers).filter(|(_, number)| **number != NONE);
        self.slots = kept.map(|(slot, &number)| Slot { series: number, ..*slot }).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_survives_the_end_of_the_stamps() {
        let mut samples = Samples::new(true, false);
        samples.now = NEVER - 3 * STEP - 1;
        samples.know(0, 0);
        samples.know(1, 1);
        for round in 0..6 {
            samples.begin(0);
            samples.add(0, 0, 1.0, None);
            if round == 0 {
                samples.add(1, 1, 1.0, None);
            }
            let tally = samples.tally();
            samples.accept();
            let markers = samples.points().len() - usize::from(round == 0) - 1;
            assert_eq!((tally.repeats, markers), (false, usize::from(round == 1)), "round {round}");
            assert_eq!(samples.live().collect::<Vec<_>>(), if round == 0 { vec![0, 1] } else { vec![0] });
        }
        assert!(samples.now < 100, "the stamps have started again");
    }
}
