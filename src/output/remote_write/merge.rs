//! A batch's samples by series: consecutive scrapes of a target have the same series, whose labels are then written once for all
//! of them.
//!
//! Promises
//! - Samples of a series come in time order, those of the same time in the order of the scrapes. Where a target's table was
//!   rebuilt between two scrapes, a series comes twice, the older samples first.
//! - Each sample of the batch comes once, or is counted as skipped.

use std::collections::HashMap;
use std::sync::Arc;

use super::exemplars::Placed;
use crate::model::{Chunk, Created, Exemplar, Scrape, SeriesRef, SeriesSet, Value};
use crate::pipeline::Slice;

/// Which native histograms are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Histograms {
    None,
    /// All but those with bounds of their own, which remote write 1.0 has no field for.
    Exponential,
    All,
}

impl Histograms {
    #[inline]
    fn takes(self, value: Value<'_>) -> bool {
        match (value, self) {
            (Value::Float(_), _) | (_, Self::All) => true,
            (Value::Histogram(_), Self::None) => false,
            (Value::Histogram(histogram), Self::Exponential) => histogram.schema != CUSTOM_BOUNDS,
        }
    }
}

/// The schema of native histograms with bounds of their own.
const CUSTOM_BOUNDS: i32 = -53;

/// One sample of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'s> {
    pub time_ms: i64,
    pub value: Value<'s>,
    /// Its number in the batch: see [`Batch::keep`](crate::pipeline::Batch::keep).
    pub number: u32,
    /// Since when its series counts, in milliseconds; 0 where that is not known.
    pub start_ms: i64,
    /// The scrape that it is of, by its place in [`Group::parts`].
    part: u32,
}

impl Sample<'_> {
    fn is_histogram(&self) -> bool {
        matches!(self.value, Value::Histogram(_))
    }
}

/// Samples of one series and of one kind, in time order, and what came beside them.
pub(super) struct Run<'r, 's> {
    pub series: SeriesRef<'s>,
    /// At least one; either floats or histograms.
    pub samples: &'r [Sample<'s>],
    /// In time order, with their times.
    pub exemplars: &'r [(i64, &'s Exemplar)],
}

impl Run<'_, '_> {
    /// Whether its samples are histograms.
    pub fn is_histograms(&self) -> bool {
        self.samples.first().is_some_and(Sample::is_histogram)
    }
}

/// Scrapes of one target whose series are numbered alike.
pub(super) struct Group<'s> {
    /// The one with the longest set: it has all series.
    pub widest: &'s Scrape,
    /// Each with the number of its scrape's first point, oldest first.
    parts: Vec<(u32, &'s Slice)>,
}

/// The slices of a batch by target, in the order in which targets first come.
pub(super) fn groups(slices: &[Slice]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut of_target = HashMap::with_capacity(slices.len());
    let mut start = 0;
    for slice in slices {
        let scrape = &*slice.scrape;
        let part = (start, slice);
        start += scrape.points.len() as u32;
        let known = of_target.get(&scrape.origin.key).map(|&at: &usize| &mut groups[at]);
        match known.and_then(|group| Some((wider(group.widest, scrape)?, group))) {
            Some((widest, group)) => {
                group.widest = widest;
                group.parts.push(part);
            }
            None => {
                of_target.insert(scrape.origin.key, groups.len());
                groups.push(Group { widest: scrape, parts: vec![part] });
            }
        }
    }
    groups
}

/// Of two scrapes the one with the longer set, where that is an extension of the other.
fn wider<'s>(left: &'s Scrape, right: &'s Scrape) -> Option<&'s Scrape> {
    let (short, long) = match left.series.len() <= right.series.len() {
        true => (left, right),
        false => (right, left),
    };
    is_extension(&short.series, &long.series).then_some(long)
}

fn is_extension(short: &Arc<SeriesSet>, long: &Arc<SeriesSet>) -> bool {
    let is_same = |(left, right): (&Arc<Chunk>, &Arc<Chunk>)| Arc::ptr_eq(left, right);
    Arc::ptr_eq(short, long)
        || short.chunks().len() <= long.chunks().len() && short.chunks().iter().zip(long.chunks()).all(is_same)
}

/// Which names and labels of a chunk are used in a batch, by their numbers.
pub(super) struct Used {
    pub names: Vec<bool>,
    pub pairs: Vec<bool>,
}

impl Used {
    /// Puts in what others use of the same chunk.
    pub fn add(&mut self, other: &Used) {
        self.names.iter_mut().zip(&other.names).for_each(|(all, other)| *all |= other);
        self.pairs.iter_mut().zip(&other.pairs).for_each(|(all, other)| *all |= other);
    }
}

impl<'s> Group<'s> {
    /// Whether all of each of its scrapes is meant.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|(_, slice)| slice.selected().is_none())
    }

    /// What its samples use, for each chunk of its set.
    pub fn used(&self) -> Vec<Used> {
        let set = &self.widest.series;
        let nothing =
            |chunk: &Arc<Chunk>| Used { names: vec![false; chunk.metrics()], pairs: vec![false; chunk.pairs()] };
        let mut used: Vec<Used> = set.chunks().iter().map(nothing).collect();
        let mut is_used = vec![false; set.len()];
        for (_, slice) in &self.parts {
            slice.positions().for_each(|at| is_used[slice.scrape.points.get(at as usize).series as usize] = true);
        }
        let mut is_used = is_used.into_iter();
        for (chunk, used) in set.chunks().iter().zip(&mut used) {
            for (series, _) in chunk.iter().zip(&mut is_used).filter(|(_, is_used)| *is_used) {
                used.names[series.metric_number() as usize] = true;
                series.pairs().iter().for_each(|&pair| used.pairs[pair as usize] = true);
            }
        }
        used
    }
}

/// Memory that is used again from group to group, and from batch to batch.
#[derive(Default)]
pub struct Room {
    /// By series: how many samples it has, then where they end in `order`.
    ends: Vec<u32>,
    /// Samples by series, each as its scrape's place and its own in that.
    order: Vec<(u32, u32)>,
}

impl Room {
    /// Hands out the samples of a group, series by series, and of `exemplars`, which are sorted by series, those of each. Histograms that are not wanted are counted in `skipped`.
    pub(super) fn each<'s>(
        &mut self,
        group: &Group<'s>,
        histograms: Histograms,
        exemplars: &[Placed<'s>],
        skipped: &mut u64,
        mut found: impl FnMut(Run<'_, 's>),
    ) {
        self.sort(group, histograms, skipped);
        let mut exemplars = exemplars.iter().peekable();
        let starts = starts(group);
        let has_starts = starts.iter().any(|starts| !starts.is_empty());
        let mut samples: Vec<Sample<'s>> = Vec::new();
        let mut own_exemplars: Vec<(i64, &'s Exemplar)> = Vec::new();
        let (mut series, mut from) = (0, 0);
        for chunk in group.widest.series.chunks() {
            let ends = &self.ends[series as usize..series as usize + chunk.len()];
            for (at, &end) in ends.iter().enumerate() {
                let of_series = &self.order[from as usize..end as usize];
                from = end;
                let number = series + at as u32;
                if of_series.is_empty() {
                    continue;
                }
                samples.clear();
                samples.extend(of_series.iter().map(|&(part, position)| group.sample(part, position)));
                if !samples.is_sorted_by_key(|sample| sample.time_ms) {
                    samples.sort_by_key(|sample| sample.time_ms);
                }
                own_exemplars.clear();
                while exemplars.next_if(|(of, ..)| *of < number).is_some() {}
                while let Some(&(_, at_ms, exemplar)) = exemplars.next_if(|(of, ..)| *of == number) {
                    own_exemplars.push((at_ms, exemplar));
                }
                if has_starts {
                    samples
                        .iter_mut()
                        .for_each(|sample| sample.start_ms = start_of(&starts[sample.part as usize], number));
                }
                let mut beside = &own_exemplars[..];
                for samples in samples.chunk_by(|left, right| left.is_histogram() == right.is_histogram()) {
                    found(Run { series: chunk.get(at), samples, exemplars: beside });
                    beside = &[];
                }
            }
            series += chunk.len() as u32;
        }
    }

    /// Puts the samples into the order of their series' numbers: a counting sort.
    fn sort(&mut self, group: &Group<'_>, histograms: Histograms, skipped: &mut u64) {
        self.ends.clear();
        self.ends.resize(group.widest.series.len(), 0);
        let mut taken = 0;
        for (_, slice) in &group.parts {
            let points = &slice.scrape.points;
            slice.positions().for_each(|at| {
                let point = points.get(at as usize);
                if histograms.takes(point.value) {
                    self.ends[point.series as usize] += 1;
                    taken += 1;
                } else {
                    *skipped += 1;
                }
            });
        }
        let mut start = 0;
        for count in &mut self.ends {
            start += std::mem::replace(count, start);
        }
        // Where a series starts moves to where it ends.
        self.order.clear();
        self.order.resize(taken, (0, 0));
        for (part, (_, slice)) in (0..).zip(&group.parts) {
            let points = &slice.scrape.points;
            slice.positions().for_each(|at| {
                let point = points.get(at as usize);
                if histograms.takes(point.value) {
                    let end = &mut self.ends[point.series as usize];
                    self.order[*end as usize] = (part, at);
                    *end += 1;
                }
            });
        }
    }
}

impl<'s> Group<'s> {
    /// What is meant of each of its scrapes, oldest first.
    pub fn slices(&self) -> impl Iterator<Item = &'s Slice> {
        self.parts.iter().map(|(_, slice)| *slice)
    }

    /// Its scrapes, oldest first.
    pub fn scrapes(&self) -> impl Iterator<Item = &'s Scrape> {
        self.slices().map(|slice| &*slice.scrape)
    }

    #[inline]
    fn sample(&self, part: u32, position: u32) -> Sample<'s> {
        let (start, slice) = self.parts[part as usize];
        let scrape = &*slice.scrape;
        let point = scrape.points.get(position as usize);
        Sample { time_ms: scrape.time_ms(&point), value: point.value, number: start + position, start_ms: 0, part }
    }
}

/// For each scrape since when series count, by their numbers.
fn starts(group: &Group<'_>) -> Vec<Vec<Created>> {
    let of_scrape = |scrape: &Scrape| {
        let mut starts = scrape.created.to_vec();
        starts.sort_by_key(|created| created.series);
        starts
    };
    group.scrapes().map(of_scrape).collect()
}

fn start_of(starts: &[Created], series: u32) -> i64 {
    match starts.binary_search_by_key(&series, |created| created.series) {
        Ok(found) => starts[found].at_ms,
        Err(_) => 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A float.
    pub fn sample(value: f64, time_ms: i64, start_ms: i64) -> Sample<'static> {
        Sample { time_ms, value: Value::Float(value), number: 0, start_ms, part: 0 }
    }
}
