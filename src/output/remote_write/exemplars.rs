//! Exemplars that go with the samples of a batch, each once.
//!
//! A target shows an exemplar in every scrape until it has another one. Prometheus would take each of them as new where it has the time
//! of the scrape, and refuses one that is older than the newest that it has. So a lane remembers the newest one of each series.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::merge::Group;
use crate::model::{Exemplar, SeriesRef};
use crate::pipeline::Slice;

/// Series whose newest exemplar is remembered in one lane, at most; 32 bytes each. When there are more, all are forgotten.
const SERIES_MAX: usize = 100_000;

/// An exemplar with its series' number and its time.
pub(super) type Placed<'s> = (u32, i64, &'s Exemplar);

/// The newest exemplar of each series that was sent.
#[derive(Debug, Default)]
pub struct Sent {
    newest: HashMap<u64, Newest>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    at_ms: i64,
    hash: u64,
}

impl Sent {
    /// What is to be sent of a group's exemplars, by series and time.
    pub(super) fn due<'s>(&self, group: &Group<'s>) -> Vec<Placed<'s>> {
        self.walk(group, |_, _| {})
    }

    /// What was due of these targets is sent.
    pub(super) fn settled(&mut self, groups: &[Group<'_>]) {
        let mut news = Vec::new();
        for group in groups {
            self.walk(group, |series, newest| news.push((series.hash(), newest)));
        }
        if self.newest.len() + news.len() > SERIES_MAX {
            self.newest.clear();
        }
        self.newest.extend(news.into_iter().take(SERIES_MAX));
    }

    /// Tells of each series that has some due what its newest is then.
    fn walk<'s>(&self, group: &Group<'s>, mut found: impl FnMut(SeriesRef<'s>, Newest)) -> Vec<Placed<'s>> {
        let mut all: Vec<Placed<'s>> = group.slices().flat_map(of_slice).collect();
        all.sort_by_key(|&(series, at_ms, _)| (series, at_ms));
        let mut due = Vec::new();
        for of_series in all.chunk_by(|left, right| left.0 == right.0) {
            let series = group.widest.series.get(of_series[0].0);
            let mut newest = self.newest.get(&series.hash()).copied();
            for &(number, at_ms, exemplar) in of_series {
                let hash = self.hash(exemplar);
                // One without a time of its own is a new one when it is another one.
                let is_new = newest.is_none_or(|newest| {
                    hash != newest.hash && at_ms >= newest.at_ms || exemplar.at_ms.is_some() && at_ms > newest.at_ms
                });
                if is_new {
                    newest = Some(Newest { at_ms, hash });
                    due.push((number, at_ms, exemplar));
                    found(series, Newest { at_ms, hash });
                }
            }
        }
        due
    }

    fn hash(&self, exemplar: &Exemplar) -> u64 {
        let labels: Vec<(&str, &str)> = exemplar.labels.iter().collect();
        self.hasher.hash_one((labels, exemplar.value.to_bits()))
    }
}

/// The exemplars of a slice: those of series that have a sample in it.
fn of_slice(slice: &Slice) -> impl Iterator<Item = Placed<'_>> {
    let scrape = &*slice.scrape;
    let has_some = !scrape.exemplars.is_empty();
    let selected: Option<HashSet<u32>> = slice
        .selected()
        .filter(|_| has_some)
        .map(|selected| selected.iter().map(|&at| scrape.points.get(at as usize).series).collect());
    let is_meant =
        move |exemplar: &&Exemplar| selected.as_ref().is_none_or(|selected| selected.contains(&exemplar.series));
    let placed = |exemplar| -> Placed<'_> {
        let exemplar: &Exemplar = exemplar;
        (exemplar.series, exemplar.at_ms.unwrap_or(scrape.at_ms), exemplar)
    };
    scrape.exemplars.iter().filter(is_meant).map(placed)
}
