//! A batch as lines of DogStatsD. Items' samples, skipped and rejected ones add up to the batch's, always.
//!
//! An item is what becomes of one sample, mostly a line, and ends with a line break. Where it is several lines, they are joined
//! by [`INNER_BREAK`] until they are on their way: an item never goes in two datagrams.

use super::plan::{DETAIL, Line, Meaning, NAME, Naming, Plan};
use super::sums::{Sum, Sums};
use super::text;
use crate::config::checked::{self, Stat};
use crate::model::{Point, Scrape, SeriesRef, Value};
use crate::output::cumulative::{Ahead, Cumulative, FORGOTTEN_AFTER_MS, NOT_NEWER, key_in_target};
use crate::output::json::Plans;
use crate::pipeline::{Encoded, Item, Reasons, Rejection, Slice, reason};

/// The mark of items that say how much a counter rose.
pub const COUNTED: u32 = 1;

/// Between the lines of one item, in a body. No text has it: control characters are replaced.
pub const INNER_BREAK: u8 = 0;

/// How lines are made.
#[derive(Clone, Debug)]
pub struct Encoder {
    naming: Naming,
    tags: Vec<(String, String)>,
    excluded: Vec<String>,
    has_timestamps: bool,
    payload_bytes_max: usize,
}

/// What is known of targets.
#[derive(Default)]
pub struct Cache(Plans<Plan>);

impl Encoder {
    pub fn new(settings: &checked::Dogstatsd) -> Self {
        let naming = Naming {
            namespace: settings.namespace.clone(),
            mappings: settings.mappings.clone(),
            buckets: settings.buckets,
            quantiles: settings.quantiles,
        };
        Self {
            naming,
            tags: settings.tags.clone(),
            excluded: settings.exclude_labels.clone(),
            has_timestamps: settings.timestamps,
            payload_bytes_max: settings.max_payload,
        }
    }

    /// Makes the body of a batch's slices.
    pub fn encode(&self, state: &Cumulative, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        let mut lines = Lines {
            encoder: self,
            ahead: state.ahead(),
            encoded: Encoded::default(),
            body: Vec::new(),
            tail: Vec::new(),
            sums: Sums::default(),
        };
        let mut start = 0;
        for slice in slices {
            let scrape = &slice.scrape;
            let plan = cache.0.of(scrape, |plan: &mut Plan, series| plan.add(series, &self.naming));
            for at in slice.positions() {
                let point = scrape.points.get(at as usize);
                let series = scrape.series.get(point.series);
                lines.sample(start + at, scrape, &point, &series, plan.meaning(point.series));
            }
            lines.sums();
            start += scrape.points.len() as u32;
            cache.0.written(scrape);
        }
        cache.0.end_batch();
        Encoded { body: lines.body.into(), ..lines.encoded }
    }

    /// What stands behind a line's type: tags, and the time.
    fn tail(&self, out: &mut Vec<u8>, series: &SeriesRef<'_>, time_ms: i64) {
        let own = self.tags.iter().filter(|(name, _)| series.label(name).is_none());
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = series.labels().filter(|(name, _)| !self.excluded.iter().any(|excluded| excluded == name));
        let mut separator: &[u8] = b"|#";
        for (name, value) in own.chain(labels) {
            out.extend_from_slice(separator);
            text::tag(out, name, value);
            separator = b",";
        }
        // Agents take no others.
        let seconds = time_ms.div_euclid(1000);
        if self.has_timestamps && seconds > 0 {
            out.extend_from_slice(b"|T");
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        }
    }
}

/// A body that is being written.
struct Lines<'e> {
    encoder: &'e Encoder,
    ahead: Ahead<'e>,
    encoded: Encoded,
    body: Vec<u8>,
    /// What stands behind the type in the lines of the sample in hand.
    tail: Vec<u8>,
    sums: Sums,
}

impl Lines<'_> {
    fn sample(&mut self, number: u32, scrape: &Scrape, point: &Point<'_>, series: &SeriesRef<'_>, meaning: &Meaning) {
        let (lines, sum) = match meaning {
            Meaning::Skipped(reason) => return self.skip(reason),
            Meaning::Refused(wrong) => {
                let shown = || series.name().chars().take(text::NAME_CHARS_MAX).collect::<String>();
                return self.reject(NAME, 1, || format!("the name \"{}\" {wrong}", shown().escape_debug()));
            }
            Meaning::Sent { lines, sum } => (lines, sum.as_ref()),
        };
        let time_ms = scrape.time_ms(point);
        self.tail.clear();
        self.encoder.tail(&mut self.tail, series, time_ms);
        let value = match number_of(point.value) {
            Ok(value) => value,
            Err(reason) => {
                if let Some(line) = sum {
                    self.sum_of(series, line).spoil();
                }
                return self.skip(reason);
            }
        };
        let is_counted = lines.iter().any(|line| line.stat == Stat::Count);
        let rise = match is_counted.then(|| self.rise(scrape, series, value, time_ms)) {
            Some(Err(reason)) => return self.skip(reason),
            Some(Ok(rise)) => rise,
            None => None,
        };
        let from = self.body.len();
        for line in lines {
            let Some(value) = line.value(value, rise) else { continue };
            if !value.is_finite() {
                self.body.truncate(from);
                return self.skip(reason::INFINITE);
            }
            write_line(&mut self.body, line.head.as_bytes(), value, line.stat, &self.tail);
            self.body.push(INNER_BREAK);
        }
        if let Some(line) = sum {
            let own = self.body.split_off(from);
            let sum = self.sum_of(series, line);
            sum.own.extend_from_slice(&own);
            sum.points.push(number);
            sum.is_counted |= is_counted;
            sum.add(value * line.multiply + line.add);
        } else if self.body.len() > from {
            self.item(from, &[number], is_counted);
        } else {
            self.encoded.noted.push(number);
            self.skip(reason::FIRST_DELTA);
        }
    }

    /// By how much a counter rose; `None` where this is its first sample.
    fn rise(
        &mut self,
        scrape: &Scrape,
        series: &SeriesRef<'_>,
        value: f64,
        time_ms: i64,
    ) -> Result<Option<f64>, &'static str> {
        let key = key_in_target(scrape, series);
        match self.ahead.last_ms(key) {
            // The clock was wrong then and is right now: the series begins anew, and is not silent until that time comes.
            Some(last_ms) if last_ms.saturating_sub(time_ms) > FORGOTTEN_AFTER_MS => {
                self.ahead.step(key, value, time_ms);
                return Ok(None);
            }
            Some(last_ms) if last_ms >= time_ms => return Err(NOT_NEWER),
            Some(_) | None => {}
        }
        Ok(self.ahead.step(key, value, time_ms).rise.map(|(rise, _)| rise))
    }

    fn sum_of(&mut self, series: &SeriesRef<'_>, line: &Line) -> &mut Sum {
        self.sums.of(series.group(), &line.head, &self.tail)
    }

    /// Ends the item that begins at `from`; one that fits in no datagram is taken back.
    fn item(&mut self, from: usize, points: &[u32], is_counted: bool) {
        if let Some(last) = self.body.last_mut() {
            *last = b'\n';
        }
        let (bytes, limit) = (self.body.len() - from, self.encoder.payload_bytes_max);
        if bytes > limit {
            self.body.truncate(from);
            let why = || format!("{bytes} bytes are said of one sample, and max_payload is {limit}");
            return self.reject(reason::TOO_LARGE, points.len() as u64, why);
        }
        let mark = if is_counted { COUNTED } else { 0 };
        self.encoded.items.push(Item { end: self.body.len(), samples: points.len() as u32, mark });
        self.encoded.points.extend_from_slice(points);
    }

    /// Writes the sums of the slice that has ended.
    fn sums(&mut self) {
        for sum in self.sums.take() {
            let from = self.body.len();
            self.body.extend_from_slice(&sum.own);
            if let Some((head, value, tail)) = sum.line() {
                write_line(&mut self.body, head, value, Stat::Gauge, tail);
                self.body.push(INNER_BREAK);
            }
            match self.body.len() > from {
                true => self.item(from, &sum.points, sum.is_counted),
                // Nothing is left of them: the part that spoilt the sum was not the only one.
                false => sum.points.iter().for_each(|_| self.skip(DETAIL)),
            }
        }
    }

    fn skip(&mut self, reason: &'static str) {
        let skipped: &mut Reasons = &mut self.encoded.skipped;
        *skipped.entry(reason).or_default() += 1;
    }

    fn reject(&mut self, reason: &'static str, samples: u64, why: impl FnOnce() -> String) {
        let rejected = &mut self.encoded.rejected;
        match rejected.iter_mut().find(|rejected| rejected.reason == reason) {
            Some(rejected) => rejected.samples += samples,
            None => rejected.push(Rejection { reason, samples, why: why() }),
        }
    }
}

/// The number that a sample is.
///
/// # Errors
/// Why it is none.
fn number_of(value: Value<'_>) -> Result<f64, &'static str> {
    match value {
        _ if value.is_stale() => Err(reason::STALE_MARKER),
        Value::Histogram(_) => Err(reason::UNSUPPORTED_TYPE),
        Value::Float(value) if value.is_nan() => Err(reason::NAN),
        Value::Float(value) if value.is_infinite() => Err(reason::INFINITE),
        Value::Float(value) => Ok(value),
    }
}

fn write_line(out: &mut Vec<u8>, head: &[u8], value: f64, stat: Stat, tail: &[u8]) {
    out.extend_from_slice(head);
    text::number(out, value);
    out.extend_from_slice(match stat {
        Stat::Gauge => b"|g",
        Stat::Count => b"|c",
    });
    out.extend_from_slice(tail);
}
