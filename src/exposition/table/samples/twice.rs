//! What a scrape has twice: several samples of one series, and series of the body that are the target's own too.

use std::collections::HashMap;

use super::super::slots::{TIMED, WAS_LIVE};
use super::{NONE, Samples};

impl Samples {
    /// Where a series has several points: leaves out those of a time that it has already, and puts the rest into the order
    /// of time, in the places that they have. Gives how many it left out.
    pub(in super::super) fn settle_repeats(&mut self) -> u64 {
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
        self.reorder(&order);
        (keys.len() - order.len()) as u64
    }

    /// Adds one of the target's own series, behind the body's; one of the body that has the same labels gives way to it. It is
    /// never live as the body's are: it ends with the target alone.
    pub(in super::super) fn report(&mut self, series: u32, value: f64) {
        let slot = self.aliases.slot_of(series);
        let stamp = &mut self.stamps[slot as usize];
        if *stamp & !(WAS_LIVE | TIMED) == self.live {
            self.live_count -= u64::from(*stamp & TIMED == 0);
            *stamp |= TIMED;
            self.replaced.push(self.aliases.series_of(slot));
            self.is_plain = false;
        }
        if self.aliases.series_of(slot) != series {
            // It is the one that stays when garbage is left out.
            self.aliases.series.insert(slot, series);
        }
        self.reported.push(series);
        match self.is_even {
            true => self.points.push_value(value),
            false => self.points.push_float(series, value, None),
        }
    }

    /// Whether a series of the body gives way to one of the target's own.
    pub(in super::super) fn is_replaced(&self, series: u32) -> bool {
        self.replaced.contains(&series)
    }

    /// Leaves out the body's samples of series that the target's own replace.
    pub(super) fn leave_out_replaced(&mut self) {
        if self.replaced.is_empty() {
            return;
        }
        let end = self.points.len() - self.reported.len();
        let keys = self.points.keys().enumerate();
        let stays = keys.filter(|(at, (series, _))| *at >= end || !self.replaced.contains(series));
        let order: Vec<u32> = stays.map(|(at, _)| at as u32).collect();
        self.reorder(&order);
        self.replaced.clear();
    }

    fn reorder(&mut self, order: &[u32]) {
        self.points.reorder(order);
        if self.exemplars.is_empty() {
            return;
        }
        let places: HashMap<u32, u32> = (0u32..).zip(order).map(|(new, &old)| (old, new)).collect();
        self.exemplars.retain_mut(|(at, _)| places.get(at).map(|&new| *at = new).is_some());
    }
}
