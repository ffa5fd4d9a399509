//! What a lane has said about families: with remote write 1.0, types, help and units are messages of their own, which are not sent
//! with every request.
//!
//! Time goes in rounds of `send_interval`, by the times of scrapes. In each, a family is said once, whichever target it is of.
//! Only what was settled counts as said.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::merge::Group;
use crate::model::Family;

/// Families that are said in a round, at most; 16 bytes each. There is nothing said about others.
const FAMILIES_MAX: usize = 100_000;

/// Bytes of texts that one request has of it; what is more goes with the next ones.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// Targets that are remembered as said in a round, at most; 32 bytes each. Others are looked at with each request.
const TARGETS_MAX: usize = 100_000;

/// What was said in the round at hand.
#[derive(Debug, Default)]
pub struct Said {
    /// When the round began, milliseconds since 1970.
    since_ms: i64,
    families: HashSet<u64>,
    /// Targets whose families were all said, and the series set that was looked at.
    targets: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Said {
    fn is_over(&self, now_ms: i64, interval_ms: u64) -> bool {
        // Also where the clock was put back.
        now_ms.abs_diff(self.since_ms) >= interval_ms
    }

    /// What is to be said about these targets, as much as one request may have of it.
    pub(super) fn due<'s>(&self, groups: &[Group<'s>], interval_ms: u64) -> Vec<Family<'s>> {
        let is_over = self.is_over(newest_ms(groups), interval_ms);
        let is_said = |group: &&Group<'_>| {
            !is_over && self.targets.get(&group.widest.origin.key) == Some(&group.widest.series.id())
        };
        let (mut due, mut known, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for family in groups.iter().filter(|group| !is_said(group)).flat_map(families) {
            let hash = self.hash(family);
            let is_new = is_over || !self.families.contains(&hash) && self.families.len() < FAMILIES_MAX;
            if is_new && known.insert(hash) {
                bytes += family.name.len() + family.help.len() + family.unit.len();
                if bytes > REQUEST_BYTES_MAX && !due.is_empty() {
                    break;
                }
                due.push(family);
            }
        }
        due
    }

    /// A request about these targets is through. `has_metadata` is whether it had what was due; one of which that was divided off
    /// has it not.
    pub(super) fn settled(&mut self, groups: &[Group<'_>], interval_ms: u64, has_metadata: bool) {
        let due: Vec<u64> = self.due(groups, interval_ms).into_iter().map(|family| self.hash(family)).collect();
        if has_metadata == due.is_empty() {
            return;
        }
        let now_ms = newest_ms(groups);
        if has_metadata && self.is_over(now_ms, interval_ms) {
            self.since_ms = now_ms;
            self.families.clear();
            self.targets.clear();
        }
        self.families.extend(due);
        for group in groups {
            let (key, set) = (group.widest.origin.key, group.widest.series.id());
            let has_room = self.targets.len() < TARGETS_MAX;
            if has_room
                && self.targets.get(&key) != Some(&set)
                && families(group).all(|family| self.families.contains(&self.hash(family)))
            {
                self.targets.insert(key, set);
            }
        }
    }

    fn hash(&self, family: Family<'_>) -> u64 {
        self.hasher.hash_one((family.name, family.help, family.kind, family.unit))
    }
}

fn newest_ms(groups: &[Group<'_>]) -> i64 {
    groups.iter().map(|group| group.widest.at_ms).max().unwrap_or_default()
}

/// The families of a target's series that have more to say than a name.
fn families<'s>(group: &Group<'s>) -> impl Iterator<Item = Family<'s>> + use<'s> {
    let chunks = group.widest.series.chunks().iter();
    let all = chunks.flat_map(|chunk| (0..chunk.families() as u32).map(|number| chunk.family(number)));
    all.filter(|family| *family != Family { name: family.name, ..Family::default() })
}
