//! Native histograms: exponential ones, or, where they have bounds of their own, histograms with bounds.
//!
//! Prometheus numbers buckets by their upper bounds and OTLP by their lower ones, so an offset is one less. Buckets beyond what a
//! float can be are left out, and the count is that of what is left. Prometheus' buckets are sparse and OTLP's are not: where
//! that would make too many of them, two neighbours become one, at half the resolution, until there are few enough.

use super::fields::{self, data, exponential_point, histogram_point, point};
use super::histogram::{BAD_HISTOGRAM, whole};
use super::plan::Cell;
use super::point::{Points, Times};
use super::wire::{Field, Size, Wire};
use crate::model::{Histogram, HistogramSpan, Value, is_stale};
use crate::net::text::escaped;

/// The schema of a native histogram with bounds of its own.
pub(super) const CUSTOM_BOUNDS: i32 = -53;

/// Buckets of one side of a data point at most, empty ones included.
const BUCKETS_MAX: i64 = 4096;

/// One bucket: its number, by its upper bound, and its count.
type Bucket = (i64, u64);

impl Points<'_, '_> {
    /// Writes the data point of the native histogram at this position.
    pub fn native<W: Wire>(&mut self, out: &mut Vec<u8>, cell: &Cell, at: u32) -> bool {
        let point = self.scrape.points.get(at as usize);
        let Value::Histogram(histogram) = point.value else { return false };
        let at_ms = self.scrape.time_ms(&point);
        let made = if is_stale(histogram.sum) {
            W::entry(out, data::POINTS, Size::Small, |out| {
                Times::new(0, at_ms).write::<W>(out);
                W::number(out, exponential_point::FLAGS, fields::NO_RECORDED_VALUE);
                self.attributes::<W>(out, exponential_point::ATTRIBUTES, cell.series, None);
            });
            true
        } else if histogram.schema == CUSTOM_BOUNDS {
            self.with_bounds::<W>(out, cell, point.series, at_ms, histogram)
        } else {
            self.exponential::<W>(out, cell, point.series, at_ms, histogram)
        };
        if made {
            self.taken.push(self.start + at);
        } else {
            let name = self.scrape.series.get(cell.series).family().name;
            let why = || format!("the native histogram {} has counts that are none, and is not sent", escaped(name));
            self.losses.reject(BAD_HISTOGRAM, 1, why);
        }
        made
    }

    fn times(&mut self, cell: &Cell, series: u32, at_ms: i64, count: f64) -> Times {
        let start_ms = match self.created_ms(cell.created, series, at_ms) {
            0 => self.observed_ms(series, count, at_ms),
            created_ms => created_ms,
        };
        Times::new(start_ms, at_ms)
    }

    fn exponential<W: Wire>(
        &mut self,
        out: &mut Vec<u8>,
        cell: &Cell,
        series: u32,
        at_ms: i64,
        histogram: &Histogram,
    ) -> bool {
        let sides = [
            buckets(&histogram.positive_spans, &histogram.positive_counts),
            buckets(&histogram.negative_spans, &histogram.negative_counts),
        ];
        let ([Some(mut positive), Some(mut negative)], Some(zero)) = (sides, whole(histogram.zero_count)) else {
            return false;
        };
        for side in [&mut positive, &mut negative] {
            side.retain(|(number, _)| *number <= last_number(histogram.schema));
        }
        let counts = positive.iter().chain(&negative).map(|(_, count)| *count);
        let Some(count) = counts.chain([zero]).try_fold(0u64, u64::checked_add) else { return false };
        let scale = narrowed(histogram.schema, &mut positive, &mut negative);
        let times = self.times(cell, series, at_ms, histogram.count);
        W::entry(out, data::POINTS, Size::Small, |out| {
            times.write::<W>(out);
            W::fixed64(out, point::COUNT, count);
            W::double(out, point::SUM, histogram.sum);
            W::signed(out, exponential_point::SCALE, scale);
            W::fixed64(out, exponential_point::ZERO_COUNT, zero);
            self.side::<W>(out, exponential_point::POSITIVE, &positive);
            self.side::<W>(out, exponential_point::NEGATIVE, &negative);
            W::double(out, exponential_point::ZERO_THRESHOLD, histogram.zero_threshold);
            self.attributes::<W>(out, exponential_point::ATTRIBUTES, cell.series, None);
            self.exemplars::<W>(out, exponential_point::EXEMPLARS, self.sorted.exemplars(series));
        });
        true
    }

    fn side<W: Wire>(&mut self, out: &mut Vec<u8>, field: Field, buckets: &[Bucket]) {
        let Some((first, _)) = buckets.first() else { return };
        let dense = &mut self.scratch.counts;
        dense.clear();
        for (number, count) in buckets {
            // There are few enough of them: see `narrowed`.
            dense.resize(usize::try_from(number - first).unwrap_or(0), 0);
            dense.push(*count);
        }
        W::message(out, field, Size::Small, |out| {
            W::signed(out, exponential_point::OFFSET, i32::try_from(first - 1).unwrap_or(0));
            W::uint64s(out, exponential_point::COUNTS, dense);
        });
    }

    fn with_bounds<W: Wire>(
        &mut self,
        out: &mut Vec<u8>,
        cell: &Cell,
        series: u32,
        at_ms: i64,
        histogram: &Histogram,
    ) -> bool {
        let buckets = buckets(&histogram.positive_spans, &histogram.positive_counts);
        let (Some(buckets), Some(count)) = (buckets, whole(histogram.count)) else { return false };
        let counts = &mut self.scratch.counts;
        counts.clear();
        counts.resize(histogram.custom_bounds.len() + 1, 0);
        for (number, count) in buckets {
            let held = usize::try_from(number).ok().and_then(|at| counts.get_mut(at));
            let Some(held) = held else { return false };
            *held = count;
        }
        let times = self.times(cell, series, at_ms, histogram.count);
        W::entry(out, data::POINTS, Size::Small, |out| {
            times.write::<W>(out);
            W::fixed64(out, point::COUNT, count);
            W::double(out, point::SUM, histogram.sum);
            W::fixed64s(out, histogram_point::BUCKET_COUNTS, &self.scratch.counts);
            if !histogram.custom_bounds.is_empty() {
                W::doubles(out, histogram_point::EXPLICIT_BOUNDS, &histogram.custom_bounds);
            }
            self.attributes::<W>(out, histogram_point::ATTRIBUTES, cell.series, None);
            self.exemplars::<W>(out, histogram_point::EXEMPLARS, self.sorted.exemplars(series));
        });
        true
    }
}

/// The buckets of spans, by their numbers; those that are empty are left out. `None` where counts are none, or missing.
fn buckets(spans: &[HistogramSpan], counts: &[f64]) -> Option<Vec<Bucket>> {
    let (mut made, mut number, mut rest) = (Vec::with_capacity(counts.len()), 0i64, counts.iter());
    for span in spans {
        number += i64::from(span.offset);
        for _ in 0..span.length {
            let count = whole(*rest.next()?)?;
            if count > 0 {
                made.push((number, count));
            }
            number += 1;
        }
    }
    Some(made)
}

/// The number of the last bucket that holds floats: the one behind it is for the infinities.
fn last_number(schema: i32) -> i64 {
    match schema {
        0..=20 => 1024 << schema,
        -10..0 => 1024 >> -schema,
        _ => i64::MAX,
    }
}

/// Halves the resolution until both sides have few enough buckets. Returns the scale that is left.
fn narrowed(schema: i32, positive: &mut Vec<Bucket>, negative: &mut Vec<Bucket>) -> i32 {
    let width = |side: &[Bucket]| side.first().zip(side.last()).map_or(0, |(first, last)| last.0 - first.0 + 1);
    let mut scale = schema;
    while width(positive).max(width(negative)) > BUCKETS_MAX {
        scale -= 1;
        for side in [&mut *positive, &mut *negative] {
            side.iter_mut().for_each(|(number, _)| *number = (*number + 1) >> 1);
            side.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    earlier.1 += later.1;
                }
                is_same
            });
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbered_from_where_the_one_before_ends() {
        let spans = [HistogramSpan { offset: -2, length: 2 }, HistogramSpan { offset: 3, length: 2 }];
        assert_eq!(buckets(&spans, &[1.0, 0.0, 3.0, 4.0]).unwrap(), [(-2, 1), (3, 3), (4, 4)]);
        assert_eq!(buckets(&spans, &[1.0]), None);
        assert_eq!(buckets(&spans, &[1.0, 0.5, 1.0, 1.0]), None);
    }

    #[test]
    fn far_apart_buckets_are_brought_together_and_none_is_lost() {
        // Halving the resolution maps the bucket (2^(1/2), 2] of scale 1, number 2, to (1, 2] of scale 0, number 1.
        let mut few = vec![(1, 5), (2, 6)];
        assert_eq!(narrowed(1, &mut few, &mut Vec::new()), 1);
        let mut far = vec![(-262_144, 1), (1, 2), (2, 3), (262_144, 4)];
        let scale = narrowed(8, &mut far, &mut Vec::new());
        assert_eq!((scale, far), (0, vec![(-1024, 1), (1, 5), (1024, 4)]));
        let mut hostile = vec![(i64::from(i32::MIN), 1), (i64::from(i32::MAX), 1)];
        narrowed(8, &mut hostile, &mut Vec::new());
        assert!(hostile[1].0 - hostile[0].0 < BUCKETS_MAX);
    }

    #[test]
    fn the_last_bucket_ends_where_floats_end() {
        assert_eq!([0, 3, -4].map(last_number), [1024, 8192, 64]);
    }
}
