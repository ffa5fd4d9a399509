//! A batch as the body of a request: an `EnvelopeBatch` of loggregator.v2, an envelope a sample.
//!
//! Written by hand, from the labels as they are: an envelope is a handful of texts, each with its number and length. Samples,
//! skipped and rejected ones add up to the batch's, always.

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::exposition::write;
use crate::model::{MetricType, Origin, SeriesRef, Value};
use crate::output::protobuf::{bytes, nested};
use crate::pipeline::{Encoded, Item, Reasons, Slice, reason};

/// Skipped: a counter that is below zero or beyond 64 bits, which an envelope cannot say.
const OUT_OF_RANGE: &str = "out_of_range";

/// How envelopes are made.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    /// The source of samples that have none.
    pub source_id: String,
}

/// What a sample becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said<'s> {
    Counter(u64),
    Gauge { unit: &'s str, value: f64 },
}

// The numbers of fields.
mod number {
    pub const BATCH: u32 = 1;
    pub const TIMESTAMP: u32 = 1;
    pub const SOURCE_ID: u32 = 2;
    pub const COUNTER: u32 = 5;
    pub const GAUGE: u32 = 6;
    pub const INSTANCE_ID: u32 = 8;
    pub const TAGS: u32 = 9;
    pub const COUNTER_NAME: u32 = 1;
    pub const COUNTER_TOTAL: u32 = 3;
    pub const GAUGE_METRICS: u32 = 1;
    pub const GAUGE_UNIT: u32 = 1;
    pub const GAUGE_VALUE: u32 = 2;
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

impl Encoder {
    /// Makes the request of a batch's slices.
    pub(super) fn encode(&self, slices: &[Slice]) -> Encoded {
        let mut body = Vec::new();
        let (mut items, mut points) = (Vec::new(), Vec::new());
        let mut skipped = Reasons::new();
        let mut envelope = Vec::new();
        let mut start = 0;
        for slice in slices {
            let scrape = &slice.scrape;
            for at in slice.positions() {
                let point = scrape.points.get(at as usize);
                let series = scrape.series.get(point.series);
                match said(&series, point.value) {
                    Err(reason) => *skipped.entry(reason).or_default() += 1,
                    Ok(said) => {
                        envelope.clear();
                        self.write(&mut envelope, &series, &scrape.origin, said, scrape.time_ms(&point));
                        bytes(&mut body, number::BATCH, &envelope);
                        items.push(Item { end: body.len(), samples: 1, mark: 0 });
                        points.push(start + at);
                    }
                }
            }
            start += scrape.points.len() as u32;
        }
        Encoded {
            path_and_query: super::SEND.to_owned(),
            body: body.into(),
            items,
            points,
            skipped,
            ..Encoded::default()
        }
    }

    fn write(&self, out: &mut Vec<u8>, series: &SeriesRef<'_>, origin: &Origin, said: Said<'_>, time_ms: i64) {
        encode_key(number::TIMESTAMP, WireType::Varint, out);
        // As protobuf has it, a negative number is one of 64 bits.
        encode_varint(time_ms.saturating_mul(1_000_000) as u64, out);
        let of_target = |name| origin.labels.get(name).filter(|value| !value.is_empty());
        let source = series.label("source_id").or_else(|| of_target("source_id")).unwrap_or(&self.source_id);
        bytes(out, number::SOURCE_ID, source.as_bytes());
        if let Some(instance) = of_target("instance_id") {
            bytes(out, number::INSTANCE_ID, instance.as_bytes());
        }
        match said {
            Said::Counter(total) => nested(out, number::COUNTER, |out| {
                bytes(out, number::COUNTER_NAME, series.name().as_bytes());
                encode_key(number::COUNTER_TOTAL, WireType::Varint, out);
                encode_varint(total, out);
            }),
            Said::Gauge { unit, value } => nested(out, number::GAUGE, |out| {
                nested(out, number::GAUGE_METRICS, |out| {
                    bytes(out, number::KEY, series.name().as_bytes());
                    nested(out, number::VALUE, |out| {
                        bytes(out, number::GAUGE_UNIT, unit.as_bytes());
                        encode_key(number::GAUGE_VALUE, WireType::SixtyFourBit, out);
                        out.extend_from_slice(&value.to_le_bytes());
                    });
                });
            }),
        }
        let has_unit = matches!(said, Said::Gauge { unit, .. } if !unit.is_empty());
        let mut bound = Vec::new();
        for (name, value) in series.labels() {
            let is_said = match name {
                "source_id" => true,
                "unit" => has_unit,
                // The target's own: an envelope has a field for the last one, and prom_scraper sends none of the others.
                "job" | "instance" | "instance_id" => origin.labels.get(name) == Some(value),
                _ => false,
            };
            if is_said {
                continue;
            }
            let value = if is_bound(name, series) { rewritten(value, &mut bound) } else { value.as_bytes() };
            nested(out, number::TAGS, |out| {
                bytes(out, number::KEY, name.as_bytes());
                bytes(out, number::VALUE, value);
            });
        }
    }
}

/// What a sample becomes.
///
/// # Errors
/// Why it becomes nothing.
fn said<'s>(series: &SeriesRef<'s>, value: Value<'_>) -> Result<Said<'s>, &'static str> {
    let value = match value {
        _ if value.is_stale() => return Err(reason::STALE_MARKER),
        Value::Histogram(_) => return Err(reason::UNSUPPORTED_TYPE),
        Value::Float(value) => value,
    };
    let (family, kind) = write::text_family(series);
    let part = series.name().strip_prefix(family).unwrap_or_default();
    let gauge = |unit| Ok(Said::Gauge { unit, value });
    match (kind, part) {
        (MetricType::Counter, _) | (MetricType::Histogram, "_bucket" | "_count") | (MetricType::Summary, "_count") => {
            total(value).map(Said::Counter)
        }
        (MetricType::Histogram | MetricType::Summary, _) => gauge(""),
        _ => gauge(series.label("unit").unwrap_or_default()),
    }
}

/// A counter's value without its fraction.
fn total(value: f64) -> Result<u64, &'static str> {
    /// 2^64.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    match value {
        _ if value.is_nan() => Err(reason::NAN),
        _ if value.is_infinite() => Err(reason::INFINITE),
        _ if value <= -1.0 || value >= LIMIT => Err(OUT_OF_RANGE),
        _ => Ok(value as u64),
    }
}

/// Whether a label is the bound of a bucket, or a quantile.
fn is_bound(name: &str, series: &SeriesRef<'_>) -> bool {
    match series.family().kind {
        MetricType::Histogram => name == "le",
        MetricType::Summary => name == "quantile",
        _ => false,
    }
}

/// A bound as Go writes it, who has read it as a number: `1.0` is `1`.
fn rewritten<'b>(value: &'b str, buffer: &'b mut Vec<u8>) -> &'b [u8] {
    let Ok(number) = value.parse::<f64>() else { return value.as_bytes() };
    buffer.clear();
    write::float(buffer, number);
    buffer
}
