//! The data points of one metric after another, and what all of them have: times, attributes, exemplars.

use super::encode::{Encoder, Losses, Sorted, Temporality};
use super::fields::{self, data, exemplar, metric, number_point, point};
use super::labels::pair;
use super::plan::{Cell, Kind, Part, Plan};
use super::wire::{Field, Size, Wire};
use crate::model::{Scrape, Value, is_stale, part_label};
use crate::output::cumulative::{Ahead, Step, key_in_target};
use crate::pipeline::reason;

/// Writes the data points of one scrape.
pub(super) struct Points<'w, 'a> {
    pub encoder: &'w Encoder,
    pub scrape: &'w Scrape,
    pub plan: &'w Plan,
    pub sorted: &'w Sorted,
    pub ahead: &'w mut Ahead<'a>,
    pub losses: &'w mut Losses,
    /// The numbers of the points that were written.
    pub taken: &'w mut Vec<u32>,
    /// The number of the scrape's first point.
    pub start: u32,
    /// By the number of a `_created` series, whether what it is about is there.
    pub used: Vec<bool>,
    pub scratch: Scratch,
    /// No series has another sample behind these in the request.
    pub is_last: bool,
}

/// Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Times and positions of the points of one cell.
    pub timed: Vec<(i64, u32)>,
    /// Bounds, values and series of buckets or quantiles.
    pub parts: Vec<(f64, f64, u32)>,
    pub counts: Vec<u64>,
    pub bounds: Vec<f64>,
}

/// When a data point is, and since when it counts, in nanoseconds since 1970; 0 is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    start: u64,
    time: u64,
}

/// Nanoseconds.
fn nanoseconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}

impl Times {
    /// Of milliseconds; 0 is an unknown start. A sample that is older than the one before has no time to count.
    pub fn new(start_ms: i64, time_ms: i64) -> Self {
        Self { start: nanoseconds(start_ms.min(time_ms)), time: nanoseconds(time_ms) }
    }

    pub fn write<W: Wire>(self, out: &mut Vec<u8>) {
        if self.start > 0 {
            W::fixed64(out, point::START, self.start);
        }
        W::fixed64(out, point::TIME, self.time);
    }
}

/// What a counter says.
enum Said {
    /// Its series has ended.
    Ended,
    /// A value, and since when.
    Value(f64, i64),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

impl Points<'_, '_> {
    /// Writes a metric with the points of its cells. Returns how many data points there are; where there is none, nothing is
    /// written.
    pub fn metric<W: Wire>(&mut self, out: &mut Vec<u8>, cells: &[u32]) -> u32 {
        let Some(first) = cells.first().map(|cell| self.plan.cells[*cell as usize]) else { return 0 };
        if cells.iter().all(|cell| self.sorted.positions(*cell).is_empty()) {
            return 0;
        }
        let described = &self.plan.metrics[first.metric as usize];
        let kind = described.kind;
        let of_kind = match kind {
            Kind::Gauge => metric::GAUGE,
            Kind::Sum { .. } => metric::SUM,
            Kind::Histogram => metric::HISTOGRAM,
            Kind::ExponentialHistogram => metric::EXPONENTIAL_HISTOGRAM,
            Kind::Summary => metric::SUMMARY,
        };
        let begin = out.len();
        let written = W::entry(out, fields::scope_metrics::METRICS, Size::Large, |out| {
            out.extend_from_slice(&described.header);
            W::message(out, of_kind, Size::Large, |out| {
                let written = W::list(out, data::POINTS, |out| match kind {
                    Kind::Gauge | Kind::Sum { .. } => self.numbers::<W>(out, cells, kind),
                    _ => cells.iter().map(|cell| self.cell::<W>(out, *cell, kind)).sum(),
                });
                if let Some(temporality) = self.temporality(kind) {
                    W::number(out, data::TEMPORALITY, temporality);
                }
                if kind == Kind::MONOTONIC {
                    W::yes(out, data::IS_MONOTONIC);
                }
                written
            })
        });
        if written == 0 {
            out.truncate(begin);
        }
        written
    }

    /// Differences are made of counters and of histograms with bounds. What does not only rise is told as it is, and so are
    /// native histograms.
    fn temporality(&self, kind: Kind) -> Option<u32> {
        let is_delta = self.encoder.temporality == Temporality::Delta;
        match kind {
            Kind::Gauge | Kind::Summary => None,
            Kind::MONOTONIC | Kind::Histogram if is_delta => Some(fields::DELTA),
            _ => Some(fields::CUMULATIVE),
        }
    }

    fn numbers<W: Wire>(&mut self, out: &mut Vec<u8>, cells: &[u32], kind: Kind) -> u32 {
        let sorted = self.sorted;
        let mut written = 0;
        for &at in cells.iter().flat_map(|cell| sorted.positions(*cell)) {
            written += u32::from(self.number::<W>(out, at, kind));
        }
        written
    }

    fn number<W: Wire>(&mut self, out: &mut Vec<u8>, at: u32, kind: Kind) -> bool {
        let point = self.scrape.points.get(at as usize);
        let Value::Float(value) = point.value else { return false };
        let at_ms = self.scrape.time_ms(&point);
        let said = match kind {
            _ if is_stale(value) => Said::Ended,
            Kind::MONOTONIC => self.counter(point.series, value, at_ms),
            _ => Said::Value(value, 0),
        };
        let (value, start_ms) = match said {
            Said::Value(value, start_ms) => (Some(value), start_ms),
            Said::Ended => (None, 0),
            Said::Nothing(reason) => {
                self.losses.skip(reason, 1);
                if reason == reason::FIRST_DELTA {
                    self.losses.noted.push(self.start + at);
                }
                return false;
            }
        };
        let times = Times::new(start_ms, at_ms);
        W::entry(out, data::POINTS, Size::Small, |out| {
            times.write::<W>(out);
            match value {
                Some(value) => W::double(out, number_point::DOUBLE, value),
                None => W::number(out, number_point::FLAGS, fields::NO_RECORDED_VALUE),
            }
            self.attributes::<W>(out, number_point::ATTRIBUTES, point.series, None);
            if kind == Kind::MONOTONIC && self.sorted.has_exemplars() {
                self.exemplars::<W>(out, number_point::EXEMPLARS, self.sorted.exemplars(point.series));
            }
        });
        self.taken.push(self.start + at);
        true
    }

    fn counter(&mut self, series: u32, value: f64, at_ms: i64) -> Said {
        let Part::Number(created) = self.plan.slot(series).part else { return Said::Value(value, 0) };
        let created_ms = self.created_ms(created, series, at_ms);
        match self.encoder.temporality {
            Temporality::Cumulative if created_ms > 0 => Said::Value(value, created_ms),
            Temporality::Cumulative => Said::Value(value, self.observed_ms(series, value, at_ms)),
            Temporality::Delta if value.is_nan() => Said::Nothing(reason::NAN),
            Temporality::Delta if value.is_infinite() => Said::Nothing(reason::INFINITE),
            Temporality::Delta => {
                let key = self.key(series);
                match self.step(key, value, at_ms).rise {
                    Some((rise, last_ms)) => Said::Value(rise, last_ms),
                    None => Said::Nothing(reason::FIRST_DELTA),
                }
            }
        }
    }

    /// What a series is remembered by.
    pub fn key(&self, series: u32) -> u64 {
        key_in_target(self.scrape, &self.scrape.series.get(series))
    }

    /// The next sample of a series.
    pub fn step(&mut self, key: u64, value: f64, at_ms: i64) -> Step {
        match self.is_last {
            true => self.ahead.last_step(key, value, at_ms),
            false => self.ahead.step(key, value, at_ms),
        }
    }

    /// Since when the target says that a series counts; 0 where it does not, or says what cannot be.
    pub fn created_ms(&mut self, created: u32, series: u32, at_ms: i64) -> i64 {
        if let Some(used) = self.used.get_mut(created as usize) {
            *used = true;
        }
        let created_ms = self.sorted.created_ms(created, series);
        if (1..=at_ms).contains(&created_ms) { created_ms } else { 0 }
    }

    /// Since when a series counts by its samples; 0 where that is not wanted.
    pub fn observed_ms(&mut self, series: u32, value: f64, at_ms: i64) -> i64 {
        if !self.encoder.observes_starts || value.is_nan() {
            return 0;
        }
        let key = self.key(series);
        self.step(key, value, at_ms).start_ms
    }

    /// Writes the attributes of a series, but the label of its part.
    #[inline]
    pub fn attributes<W: Wire>(&self, out: &mut Vec<u8>, field: Field, series: u32, part: Option<&str>) {
        let labels = self.plan.labels_of(series);
        let series = self.scrape.series.get(series);
        W::list(out, field, |out| {
            for &pair in series.pairs() {
                let fragment = labels.fragment(pair);
                if !fragment.is_empty() && (part.is_none() || part != Some(series.chunk().pair(pair).0)) {
                    W::written(out, field, fragment);
                }
            }
        });
    }

    /// The same of a cell whose data points have several series.
    pub fn cell_attributes<W: Wire>(&self, out: &mut Vec<u8>, field: Field, cell: &Cell) {
        let kind = self.scrape.series.get(cell.series).family().kind;
        self.attributes::<W>(out, field, cell.series, part_label(kind));
    }

    /// Writes exemplars, by their numbers.
    pub fn exemplars<W: Wire>(&self, out: &mut Vec<u8>, field: Field, numbers: impl Iterator<Item = u32> + Clone) {
        if numbers.clone().next().is_none() {
            return;
        }
        W::list(out, field, |out| {
            for number in numbers {
                let held = &self.scrape.exemplars[number as usize];
                W::entry(out, field, Size::Small, |out| {
                    if let Some(at_ms) = held.at_ms {
                        W::fixed64(out, exemplar::TIME, nanoseconds(at_ms));
                    }
                    W::double(out, exemplar::DOUBLE, held.value);
                    let mut is_first = [true; 2];
                    W::list(out, exemplar::ATTRIBUTES, |out| {
                        for (name, value) in held.labels.iter().filter(|label| id_of(*label).is_none()) {
                            W::entry(out, exemplar::ATTRIBUTES, Size::Tiny, |out| pair::<W>(out, name, value));
                        }
                    });
                    for (field, id) in held.labels.iter().filter_map(id_of) {
                        let at = usize::from(field.number == exemplar::SPAN_ID.number);
                        if std::mem::take(&mut is_first[at]) {
                            W::id(out, field, &id);
                        }
                    }
                });
            }
        });
    }
}

/// The identifier of a trace or a span, where a label is one: so many hexadecimal digits, not all of them zero.
fn id_of((name, value): (&str, &str)) -> Option<(Field, Vec<u8>)> {
    let (field, bytes) = match name {
        "trace_id" => (exemplar::TRACE_ID, 16),
        "span_id" => (exemplar::SPAN_ID, 8),
        _ => return None,
    };
    if value.len() != 2 * bytes {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let byte = |two: &[u8]| match two {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    let id: Vec<u8> = value.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
    id.iter().any(|byte| *byte != 0).then_some((field, id))
}
