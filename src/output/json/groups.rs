//! The points of one scrape by the item that they become part of.

use super::{Outline, Skipped};
use crate::model::Scrape;
use crate::pipeline::Slice;

/// The points of one scrape by group and time: linked lists in two columns, and memory that is used again.
#[derive(Default)]
pub struct Groups {
    /// A group's first point.
    first: Vec<u32>,
    /// The point after this one in its group.
    next: Vec<u32>,
    has_own_times: bool,
    /// Points of one group with their times.
    timed: Vec<(i64, u32)>,
    /// Positions of what is handed out.
    run: Vec<u32>,
}

/// Ends a linked list.
const NONE: u32 = u32::MAX;

impl Groups {
    /// Lists the points of a slice by group. What JSON cannot say is counted in `skipped`; `refused` gets the reason and the
    /// series of each point that has no place, the last point first.
    pub fn list<G>(
        &mut self,
        slice: &Slice,
        outline: &Outline<G>,
        skipped: &mut Skipped,
        mut refused: impl FnMut(&'static str, u32),
    ) {
        let points = &slice.scrape.points;
        self.first.clear();
        self.first.resize(outline.groups(), NONE);
        self.next.clear();
        self.next.resize(points.len(), NONE);
        self.has_own_times = false;
        // Backwards: each point is put before those of its group that were listed.
        let mut look = |at: u32| {
            let point = points.get(at as usize);
            if !skipped.takes(point.value) {
                return;
            }
            match outline.slot(point.series) {
                Ok(slot) => {
                    self.has_own_times |= point.own_ms.is_some();
                    self.next[at as usize] = std::mem::replace(&mut self.first[slot.group as usize], at);
                }
                Err(reason) => refused(reason, point.series),
            }
        };
        match slice.selected() {
            None => (0..points.len() as u32).rev().for_each(look),
            Some(selected) => selected.iter().rev().copied().for_each(&mut look),
        }
    }

    /// Hands out group, time and positions of the points that share both, group by group.
    pub fn each(&mut self, scrape: &Scrape, mut found: impl FnMut(u32, i64, &[u32])) {
        for group in 0..self.first.len() {
            let start = self.first[group];
            if start == NONE {
                continue;
            }
            self.run.clear();
            let mut at = start;
            while at != NONE {
                self.run.push(at);
                at = self.next[at as usize];
            }
            if !self.has_own_times {
                found(group as u32, scrape.at_ms, &self.run);
                continue;
            }
            self.timed.clear();
            self.timed.extend(self.run.iter().map(|&at| (scrape.time_ms(&scrape.points.get(at as usize)), at)));
            self.timed.sort_by_key(|(time_ms, _)| *time_ms);
            for same in self.timed.chunk_by(|(left, _), (right, _)| left == right) {
                self.run.clear();
                self.run.extend(same.iter().map(|(_, at)| *at));
                found(group as u32, same.first().map_or(scrape.at_ms, |(time_ms, _)| *time_ms), &self.run);
            }
        }
    }
}
