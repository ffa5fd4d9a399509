//! Data points that are made of several series: histograms with bounds, and summaries.
//!
//! A histogram needs its count. Its buckets' counts, which a target gives cumulatively, become those of each bucket alone; the
//! last one, without an upper bound, is what is left of the count. What does not add up is rejected, all of its series together.

use super::encode::Temporality;
use super::fields::{self, data, histogram_point, point, summary_point};
use super::plan::{Cell, Kind, Part};
use super::point::{Points, Scratch, Times};
use super::wire::{Size, Wire};
use crate::model::{Value, is_stale};
use crate::net::text::escaped;
use crate::pipeline::reason;

/// Rejected: the series of a histogram that has no count, or whose buckets do not add up.
pub(super) const BAD_HISTOGRAM: &str = "bad_histogram";
/// Rejected: the series of a summary that has no count, or one that is none.
pub(super) const BAD_SUMMARY: &str = "bad_summary";

/// The parts of one data point, besides its buckets or quantiles.
#[derive(Debug, Default)]
struct Parts {
    /// With its series.
    sum: Option<(f64, u32)>,
    /// With its series.
    count: Option<(f64, u32)>,
    /// The marker of the count is there.
    has_ended: bool,
    /// Markers of parts.
    ended: u64,
}

/// Why there is no data point.
enum Flaw {
    /// It is rejected, for what is wrong with it.
    Bad(&'static str),
    /// It is the first one, and differences are sent.
    First,
}

impl Points<'_, '_> {
    /// Writes the data points of a cell that has one for each time.
    pub fn cell<W: Wire>(&mut self, out: &mut Vec<u8>, number: u32, kind: Kind) -> u32 {
        let (sorted, cell) = (self.sorted, self.plan.cells[number as usize]);
        let positions = sorted.positions(number);
        if positions.is_empty() {
            return 0;
        }
        let is_native = |at: u32| self.plan.slot(self.scrape.points.get(at as usize).series).part == Part::Native;
        if positions.first().is_some_and(|at| is_native(*at)) {
            return positions.iter().map(|&at| u32::from(self.native::<W>(out, &cell, at))).sum();
        }
        if !sorted.has_own_times {
            return u32::from(self.composite::<W>(out, &cell, kind, self.scrape.at_ms, positions));
        }
        let mut timed = std::mem::take(&mut self.scratch.timed);
        timed.clear();
        timed.extend(positions.iter().map(|&at| (self.scrape.time_ms(&self.scrape.points.get(at as usize)), at)));
        timed.sort_by_key(|(time_ms, _)| *time_ms);
        let mut written = 0;
        for same in timed.chunk_by(|(one, _), (other, _)| one == other) {
            let positions: Vec<u32> = same.iter().map(|(_, at)| *at).collect();
            let time_ms = same.first().map_or(self.scrape.at_ms, |(time_ms, _)| *time_ms);
            written += u32::from(self.composite::<W>(out, &cell, kind, time_ms, &positions));
        }
        self.scratch.timed = timed;
        written
    }

    /// Writes one data point of the points at these positions, which have one time.
    fn composite<W: Wire>(&mut self, out: &mut Vec<u8>, cell: &Cell, kind: Kind, at_ms: i64, at: &[u32]) -> bool {
        let parts = self.parts(at);
        let is_alive = parts.ended < at.len() as u64;
        if !is_alive && !parts.has_ended {
            // Some of its buckets are gone; what it is now, the others say.
            self.losses.skip(reason::STALE_MARKER, parts.ended);
            return false;
        }
        let begin = out.len();
        let written = W::entry(out, data::POINTS, Size::Small, |out| match (is_alive, kind) {
            (false, _) => {
                self.ended::<W>(out, cell, kind, at_ms);
                Ok(())
            }
            (true, Kind::Histogram) => self.histogram::<W>(out, cell, &parts, at_ms),
            (true, _) => self.summary::<W>(out, cell, &parts, at_ms),
        });
        match written {
            Ok(()) => self.taken.extend(at.iter().map(|at| self.start + at)),
            Err(flaw) => {
                out.truncate(begin);
                self.leave_out(flaw, cell, kind, at);
            }
        }
        out.len() > begin
    }

    fn leave_out(&mut self, flaw: Flaw, cell: &Cell, kind: Kind, at: &[u32]) {
        match flaw {
            Flaw::First => {
                self.losses.skip(reason::FIRST_DELTA, at.len() as u64);
                self.losses.noted.extend(at.iter().map(|at| self.start + at));
            }
            Flaw::Bad(what) => {
                let name = self.scrape.series.get(cell.series).family().name;
                let (reason, noun) = match kind {
                    Kind::Summary => (BAD_SUMMARY, "summary"),
                    _ => (BAD_HISTOGRAM, "histogram"),
                };
                let why = || format!("the {noun} {} {what}, and is not sent", escaped(name));
                self.losses.reject(reason, at.len() as u64, why);
            }
        }
    }

    /// Sorts out what the points at these positions are; buckets and quantiles go to `scratch.parts`, by their bounds.
    fn parts(&mut self, at: &[u32]) -> Parts {
        let (mut parts, listed) = (Parts::default(), &mut self.scratch.parts);
        listed.clear();
        for &at in at {
            let point = self.scrape.points.get(at as usize);
            let Value::Float(value) = point.value else { continue };
            let part = self.plan.slot(point.series).part;
            if is_stale(value) {
                parts.ended += 1;
                parts.has_ended |= part == Part::Count;
                continue;
            }
            match part {
                Part::Sum => parts.sum = Some((value, point.series)),
                Part::Count => parts.count = Some((value, point.series)),
                Part::Bucket(bound) | Part::Quantile(bound) => {
                    listed.push((self.plan.bound_of(bound), value, point.series));
                }
                _ => {}
            }
        }
        if !listed.is_sorted_by(|one, other| one.0 <= other.0) {
            listed.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        parts
    }

    fn ended<W: Wire>(&mut self, out: &mut Vec<u8>, cell: &Cell, kind: Kind, at_ms: i64) {
        Times::new(0, at_ms).write::<W>(out);
        let (attributes, flags) = match kind {
            Kind::Summary => (summary_point::ATTRIBUTES, summary_point::FLAGS),
            _ => (histogram_point::ATTRIBUTES, histogram_point::FLAGS),
        };
        W::number(out, flags, fields::NO_RECORDED_VALUE);
        self.cell_attributes::<W>(out, attributes, cell);
    }

    fn histogram<W: Wire>(&mut self, out: &mut Vec<u8>, cell: &Cell, parts: &Parts, at_ms: i64) -> Result<(), Flaw> {
        let (count, series) = parts.count.ok_or(Flaw::Bad("has no _count"))?;
        // What was written before is left out again where this fails: no state is advanced by it.
        let whole_count = whole(count).ok_or(Flaw::Bad("has a _count that is no count"))?;
        self.buckets(whole_count)?;
        let created_ms = self.created_ms(cell.created, series, at_ms);
        let (start_ms, whole_count, sum) = match self.encoder.temporality {
            Temporality::Cumulative => {
                let start_ms = if created_ms > 0 { created_ms } else { self.observed_ms(series, count, at_ms) };
                (start_ms, whole_count, parts.sum.map(|(sum, _)| sum))
            }
            Temporality::Delta => self.difference(parts, (count, series), at_ms)?,
        };
        Times::new(start_ms, at_ms).write::<W>(out);
        W::fixed64(out, point::COUNT, whole_count);
        if let Some(sum) = sum {
            W::double(out, point::SUM, sum);
        }
        W::fixed64s(out, histogram_point::BUCKET_COUNTS, &self.scratch.counts);
        if !self.scratch.bounds.is_empty() {
            W::doubles(out, histogram_point::EXPLICIT_BOUNDS, &self.scratch.bounds);
        }
        self.cell_attributes::<W>(out, histogram_point::ATTRIBUTES, cell);
        if self.sorted.has_exemplars() {
            let buckets = self.scratch.parts.iter();
            let numbers = buckets.flat_map(|(_, _, series)| self.sorted.exemplars(*series));
            self.exemplars::<W>(out, histogram_point::EXEMPLARS, numbers);
        }
        Ok(())
    }

    /// From cumulative counts to those of each bucket, and their bounds.
    fn buckets(&mut self, count: u64) -> Result<(), Flaw> {
        let Scratch { parts, counts, bounds, .. } = &mut self.scratch;
        counts.clear();
        bounds.clear();
        let mut before = 0;
        for &(bound, value, _) in parts.iter().filter(|(bound, _, _)| *bound < f64::INFINITY) {
            let cumulative = whole(value).ok_or(Flaw::Bad("has a bucket whose value is no count"))?;
            if bounds.last() == Some(&bound) {
                // The same bound, written in two ways.
                continue;
            }
            counts.push(cumulative.checked_sub(before).ok_or(Flaw::Bad("has a bucket with less than one below it"))?);
            bounds.push(bound);
            before = cumulative;
        }
        counts.push(count.checked_sub(before).ok_or(Flaw::Bad("has less as its _count than in its buckets"))?);
        Ok(())
    }

    /// The same since the last sample: since when, the count, and the sum. The counts of the buckets become differences too.
    fn difference(
        &mut self,
        parts: &Parts,
        (count, series): (f64, u32),
        at_ms: i64,
    ) -> Result<(i64, u64, Option<f64>), Flaw> {
        let (mut is_reset, mut is_first, mut last_ms) = (false, false, at_ms);
        let mut rises = Vec::with_capacity(self.scratch.parts.len() + 1);
        for at in 0..=self.scratch.parts.len() {
            let (value, series) = self.scratch.parts.get(at).map_or((count, series), |part| (part.1, part.2));
            let key = self.key(series);
            let last = self.ahead.last_value(key);
            is_reset |= last.is_some_and(|last| value < last);
            match self.step(key, value, at_ms).rise {
                Some((_, then_ms)) => last_ms = last_ms.min(then_ms),
                None => is_first = true,
            }
            rises.push(value - last.unwrap_or(0.0));
        }
        let sum = parts.sum.map(|(sum, series)| {
            // Of observations below zero it may fall, and that is no reset.
            let key = self.key(series);
            let last = self.ahead.last_value(key).filter(|last| !last.is_nan());
            self.step(key, sum, at_ms);
            // One that was not there before is the whole sum, and not that of the time since.
            is_first |= last.is_none() && !is_reset && !sum.is_nan();
            sum - last.filter(|_| !is_reset).unwrap_or(0.0)
        });
        if is_first {
            return Err(Flaw::First);
        }
        let count = if is_reset { count } else { rises.pop().unwrap_or(count) };
        if !is_reset {
            for (part, rise) in self.scratch.parts.iter_mut().zip(rises) {
                part.1 = rise;
            }
        }
        let count = whole(count).ok_or(Flaw::Bad("rose by what is no count"))?;
        self.buckets(count)?;
        Ok((last_ms, count, sum))
    }

    fn summary<W: Wire>(&mut self, out: &mut Vec<u8>, cell: &Cell, parts: &Parts, at_ms: i64) -> Result<(), Flaw> {
        let (count, series) = parts.count.ok_or(Flaw::Bad("has no _count"))?;
        let whole_count = whole(count).ok_or(Flaw::Bad("has a _count that is no count"))?;
        let start_ms = match self.created_ms(cell.created, series, at_ms) {
            0 => self.observed_ms(series, count, at_ms),
            created_ms => created_ms,
        };
        Times::new(start_ms, at_ms).write::<W>(out);
        W::fixed64(out, point::COUNT, whole_count);
        W::double(out, point::SUM, parts.sum.map_or(0.0, |(sum, _)| sum));
        if !self.scratch.parts.is_empty() {
            W::list(out, summary_point::QUANTILES, |out| {
                for &(quantile, value, _) in &self.scratch.parts {
                    W::entry(out, summary_point::QUANTILES, Size::Tiny, |out| {
                        W::double(out, summary_point::QUANTILE, quantile);
                        W::double(out, summary_point::VALUE, value);
                    });
                }
            });
        }
        self.cell_attributes::<W>(out, summary_point::ATTRIBUTES, cell);
        Ok(())
    }
}

/// A count: a whole number that is not negative.
pub(super) fn whole(value: f64) -> Option<u64> {
    /// 2^64.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    ((0.0..LIMIT).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}
