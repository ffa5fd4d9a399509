//! Histograms of client_model, and the native ones among them as [`model::Histogram`](crate::model::Histogram).
//!
//! A native histogram is validated as Prometheus does (`model/histogram`, `Validate`), so that what is passed on is what any
//! receiver accepts: spans and counts agree, no bucket and no count is negative, the buckets sum up to the count (to no more
//! than it where the sum is NaN; not checked for floats, which round). Limits on spans and buckets come on top.
//!
//! Custom buckets (schema −53): client_model has no field for their bounds. They are those of the classic buckets in the
//! same message, which is what Prometheus makes custom buckets of; without any, the one bucket is that of all observations.

use super::super::text::LineExemplar;
use super::family::{read_exemplar, timestamp_ms};
use super::wire::{Error, Field, Message};
use crate::model::{self, HistogramSpan as Span};

/// Spans of one side of a histogram, at most.
pub const SPANS_MAX: usize = 4096;

/// Buckets of one side of a histogram, at most: of one with schema 8, a quarter of all that a float can fall into.
pub const BUCKETS_MAX: usize = 65_536;

/// Exemplars of one native histogram, at most; those behind them are not read. client_golang has ten.
pub const EXEMPLARS_MAX: usize = 100;

/// The schema of custom buckets.
const CUSTOM_BUCKETS: i32 = -53;

/// A `Histogram`, without its buckets.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    pub(super) message: Message<'a>,
    pub(super) sum: f64,
    pub(super) created_ms: Option<i64>,
    count: u64,
    float_count: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    float_zero_count: f64,
    has_spans: bool,
    has_buckets: bool,
    has_exemplars: bool,
    has_float_counts: bool,
    has_deltas: bool,
}

impl<'a> Histogram<'a> {
    pub(super) fn read(message: Message<'a>) -> Result<Self, Error> {
        let mut read = Self {
            message,
            sum: 0.0,
            created_ms: None,
            count: 0,
            float_count: 0.0,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            float_zero_count: 0.0,
            has_spans: false,
            has_buckets: false,
            has_exemplars: false,
            has_float_counts: false,
            has_deltas: false,
        };
        let mut rest = message;
        while let Some(field) = rest.next()? {
            match field.number {
                1 => read.count = field.uint64()?,
                2 => read.sum = field.double()?,
                3 => read.has_buckets = true,
                4 => read.float_count = field.double()?,
                5 => read.schema = field.sint32()?,
                6 => read.zero_threshold = field.double()?,
                7 => read.zero_count = field.uint64()?,
                8 => read.float_zero_count = field.double()?,
                9 | 12 => read.has_spans = true,
                10 | 13 => read.has_deltas = true,
                11 | 14 => read.has_float_counts = true,
                15 => read.created_ms = timestamp_ms(&field)?,
                16 => read.has_exemplars = true,
                _ => {}
            }
        }
        Ok(read)
    }

    /// Whether it says that it is a native histogram; it may be a classic one too.
    pub fn is_native(&self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.zero_count > 0 || self.float_zero_count > 0.0
    }

    /// Whether it has buckets of a classic histogram.
    pub fn is_classic(&self) -> bool {
        self.has_buckets
    }

    /// All observations, for the classic histogram.
    pub(super) fn count(&self) -> f64 {
        if self.float_count > 0.0 { self.float_count } else { self.count as f64 }
    }

    fn is_float(&self) -> bool {
        self.float_count > 0.0 || self.float_zero_count > 0.0 || (self.has_float_counts && !self.has_deltas)
    }

    /// The native histogram, checked.
    pub fn native(&self, is_gauge: bool) -> Result<model::Histogram, Error> {
        let is_float = self.is_float();
        let negative = self.side(9, if is_float { 11 } else { 10 }, is_float)?;
        let positive = self.side(12, if is_float { 14 } else { 13 }, is_float)?;
        let custom_bounds = if self.schema == CUSTOM_BUCKETS { self.custom_bounds()? } else { Vec::new() };
        if let Err(reason) = self.check(&negative, &positive, &custom_bounds) {
            return Err(Error::metric(self.message.at(), format!("a native histogram {reason}; it is left out")));
        }
        Ok(model::Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: if is_float { self.float_zero_count } else { self.zero_count as f64 },
            count: if is_float { self.float_count } else { self.count as f64 },
            sum: self.sum,
            is_float,
            is_gauge,
            positive_spans: positive.spans.into(),
            positive_counts: positive.counts.into(),
            negative_spans: negative.spans.into(),
            negative_counts: negative.counts.into(),
            custom_bounds: custom_bounds.into(),
        })
    }

    /// Gives the exemplars of the native histogram: its own, else those of the classic buckets; only those with a time.
    pub fn each_exemplar(&self, mut each: impl FnMut(LineExemplar<'a>)) -> Result<(), Error> {
        let (mut rest, mut count) = (self.message, 0);
        while count < EXEMPLARS_MAX
            && let Some(field) = rest.next_of(if self.has_exemplars { 16 } else { 3 })?
        {
            let mut message = field.message()?;
            if !self.has_exemplars {
                match message.next_of(3)? {
                    Some(field) => message = field.message()?,
                    None => continue,
                }
            }
            if let Some(exemplar) = read_exemplar(message)?.filter(|exemplar| exemplar.at_ms.is_some()) {
                each(exemplar);
                count += 1;
            }
        }
        Ok(())
    }

    /// Spans and absolute counts of one side.
    fn side(&self, spans: u32, counts: u32, is_float: bool) -> Result<Side, Error> {
        let (mut side, mut rest, mut last) = (Side::default(), self.message, 0i64);
        while let Some(field) = rest.next()? {
            if field.number == spans {
                limit(&field, side.spans.len(), SPANS_MAX, "spans")?;
                side.spans.push(span(field.message()?)?);
            } else if field.number == counts && is_float {
                field.each_double(|count| {
                    limit(&field, side.counts.len(), BUCKETS_MAX, "buckets")?;
                    // A NaN is not below zero, as in Prometheus.
                    side.has_negative |= count < 0.0;
                    side.counts.push(count);
                    Ok(())
                })?;
            } else if field.number == counts {
                field.each_sint64(|delta| {
                    limit(&field, side.counts.len(), BUCKETS_MAX, "buckets")?;
                    // Out of range is what is below zero, and what a hostile delta makes of it.
                    let count = last.checked_add(delta).filter(|&count| count >= 0);
                    side.has_negative |= count.is_none();
                    last = count.unwrap_or(0);
                    side.sum += last as u128;
                    side.counts.push(last as f64);
                    Ok(())
                })?;
            }
        }
        Ok(side)
    }

    /// The bounds of the classic buckets, but the infinite one.
    fn custom_bounds(&self) -> Result<Vec<f64>, Error> {
        let (mut bounds, mut rest) = (Vec::new(), self.message);
        while let Some(field) = rest.next_of(3)? {
            limit(&field, bounds.len(), BUCKETS_MAX, "buckets")?;
            let bound = match field.message()?.next_of(2)? {
                Some(field) => field.double()?,
                None => 0.0,
            };
            bounds.push(bound);
        }
        bounds.pop_if(|bound| *bound == f64::INFINITY);
        Ok(bounds)
    }

    /// What is wrong with it, as the end of a sentence.
    fn check(&self, negative: &Side, positive: &Side, bounds: &[f64]) -> Result<(), String> {
        let has_zero_bucket = self.zero_count != 0 || self.float_zero_count != 0.0 || self.zero_threshold != 0.0;
        match self.schema {
            -4..=8 => {
                negative.check("negative", true)?;
                positive.check("positive", true)?;
            }
            CUSTOM_BUCKETS if has_zero_bucket || !negative.spans.is_empty() || !negative.counts.is_empty() => {
                return Err("with custom buckets has a zero bucket or negative ones".to_owned());
            }
            CUSTOM_BUCKETS => {
                let buckets = positive.check("positive", false)?;
                if !bounds.windows(2).all(|pair| pair[0] < pair[1]) || bounds.iter().any(|bound| !bound.is_finite()) {
                    return Err("with custom buckets has classic ones whose bounds do not rise".to_owned());
                }
                if buckets > bounds.len() as i64 + 1 {
                    let has = bounds.len();
                    return Err(format!(
                        "has {buckets} custom buckets and only {has} bounds, those of its classic buckets"
                    ));
                }
            }
            schema => return Err(format!("has schema {schema}, which is none of -4 to 8 and -53")),
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err(format!("has {} as the width of its zero bucket", self.zero_threshold));
        }
        if self.is_float() {
            let is_negative = self.float_count < 0.0 || self.float_zero_count < 0.0;
            return if is_negative { Err("has a count below zero".to_owned()) } else { Ok(()) };
        }
        let (sum, count) = (negative.sum + positive.sum + u128::from(self.zero_count), u128::from(self.count));
        let is_too_small = if self.sum.is_nan() { sum > count } else { sum != count };
        if is_too_small {
            Err(format!("has {sum} observations in its buckets and {count} as their count"))
        } else {
            Ok(())
        }
    }
}

/// The buckets above or below zero.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    counts: Vec<f64>,
    has_negative: bool,
    /// Of integers, their sum.
    sum: u128,
}

impl Side {
    /// Checks it, and gives how many buckets there are from the first index on, gaps included.
    fn check(&self, side: &str, may_start_below: bool) -> Result<i64, String> {
        let (mut buckets, mut end) = (0u64, 0i64);
        for (at, span) in self.spans.iter().enumerate() {
            if span.offset < 0 && !(at == 0 && may_start_below) {
                return Err(format!("goes back by {} in a {side} span", -i64::from(span.offset)));
            }
            buckets += u64::from(span.length);
            end += i64::from(span.offset) + i64::from(span.length);
        }
        let has = self.counts.len();
        if buckets != has as u64 {
            return Err(format!("has {side} spans of {buckets} buckets and {has} of them"));
        }
        if i32::try_from(end).is_err() {
            return Err(format!("has {side} buckets with numbers above {}", i32::MAX));
        }
        if self.has_negative {
            return Err(format!("has a {side} bucket with a count below zero"));
        }
        Ok(end)
    }
}

/// A `BucketSpan`.
fn span(mut message: Message<'_>) -> Result<Span, Error> {
    let mut span = Span { offset: 0, length: 0 };
    while let Some(field) = message.next()? {
        match field.number {
            1 => span.offset = field.sint32()?,
            2 => span.length = field.uint32()?,
            _ => {}
        }
    }
    Ok(span)
}

fn limit(field: &Field<'_>, has: usize, max: usize, what: &str) -> Result<(), Error> {
    if has < max {
        return Ok(());
    }
    Err(Error::metric(field.at, format!("a native histogram has more than {max} {what}; it is left out")))
}
