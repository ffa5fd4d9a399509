//! The points of one scrape by the item that they become part of.

use super::{Outline, Skipped};
use crate::model::Scrape;
use crate::pipeline::Slice;

/// The points of one scrape, those of each group together, and memory that is used again.
#[derive(Default)]
pub struct Groups {
    /// The group of each point of the scrape; [`NONE`] of one that has no place.
    groups: Vec<u32>,
    /// Where in `positions` a group's points end.
    ends: Vec<u32>,
    /// Positions of points in the scrape, in order within a group, one group after another.
    positions: Vec<u32>,
    /// Points of one group with their times.
    timed: Vec<(i64, u32)>,
    /// Positions of those that share one.
    same: Vec<u32>,
    has_own_times: bool,
}

/// No group.
const NONE: u32 = u32::MAX;

impl Groups {
    /// Sorts the points of a slice by group. What JSON cannot say is counted in `skipped`; `refused` gets the reason and the
    /// series of each point that has no place. Returns whether any of the rest has a timestamp of its own.
    pub fn list<G>(
        &mut self,
        slice: &Slice,
        outline: &Outline<G>,
        skipped: &mut Skipped,
        mut refused: impl FnMut(&'static str, u32),
    ) -> bool {
        let points = &slice.scrape.points;
        self.groups.clear();
        self.groups.resize(points.len(), NONE);
        self.ends.clear();
        self.ends.resize(outline.groups(), 0);
        self.has_own_times = false;
        let look = |at: u32| {
            let point = points.get(at as usize);
            if !skipped.takes(point.value) {
                return;
            }
            match outline.slot(point.series) {
                Ok(slot) => {
                    self.has_own_times |= point.own_ms.is_some();
                    self.ends[slot.group as usize] += 1;
                    self.groups[at as usize] = slot.group;
                }
                Err(reason) => refused(reason, point.series),
            }
        };
        match slice.selected() {
            None => (0..points.len() as u32).for_each(look),
            Some(selected) => selected.iter().copied().for_each(look),
        }
        self.sort();
        self.has_own_times
    }

    /// From how many points each group has to where they are: a counting sort.
    fn sort(&mut self) {
        let mut start = 0;
        for count in &mut self.ends {
            start += std::mem::replace(count, start);
        }
        // Where a group starts moves to where it ends.
        self.positions.resize(start as usize, 0);
        for (at, &group) in (0..).zip(&self.groups).filter(|(_, group)| **group != NONE) {
            let end = &mut self.ends[group as usize];
            self.positions[*end as usize] = at;
            *end += 1;
        }
    }

    /// Hands out group, time and positions of the points that share both, group by group.
    pub fn each(&mut self, scrape: &Scrape, mut found: impl FnMut(u32, i64, &[u32])) {
        let mut start = 0;
        for (group, &end) in (0..).zip(&self.ends) {
            let of_group = &self.positions[start as usize..end as usize];
            start = end;
            if !self.has_own_times {
                if !of_group.is_empty() {
                    found(group, scrape.at_ms, of_group);
                }
                continue;
            }
            self.timed.clear();
            self.timed.extend(of_group.iter().map(|&at| (scrape.time_ms(&scrape.points.get(at as usize)), at)));
            self.timed.sort_by_key(|(time_ms, _)| *time_ms);
            for same in self.timed.chunk_by(|(left, _), (right, _)| left == right) {
                self.same.clear();
                self.same.extend(same.iter().map(|(_, at)| *at));
                found(group, same.first().map_or(scrape.at_ms, |(time_ms, _)| *time_ms), &self.same);
            }
        }
    }
}
