//! A native histogram: the message `Histogram`, whose fields have the same numbers in both versions of remote write.

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::model::{Histogram, HistogramSpan};
use crate::output::protobuf::{fixed64, nested, varint, zigzag};

// The numbers of fields.
mod number {
    pub const COUNT_INT: u32 = 1;
    pub const COUNT_FLOAT: u32 = 2;
    pub const SUM: u32 = 3;
    pub const SCHEMA: u32 = 4;
    pub const ZERO_THRESHOLD: u32 = 5;
    pub const ZERO_COUNT_INT: u32 = 6;
    pub const ZERO_COUNT_FLOAT: u32 = 7;
    pub const NEGATIVE: Side = Side { spans: 8, deltas: 9, counts: 10 };
    pub const POSITIVE: Side = Side { spans: 11, deltas: 12, counts: 13 };
    pub const RESET_HINT: u32 = 14;
    pub const TIME: u32 = 15;
    pub const CUSTOM_VALUES: u32 = 16;
    pub const START_TIME: u32 = 17;
    pub const OFFSET: u32 = 1;
    pub const LENGTH: u32 = 2;

    /// Buckets above or below zero.
    #[derive(Clone, Copy)]
    pub struct Side {
        pub spans: u32,
        pub deltas: u32,
        pub counts: u32,
    }
}

/// `RESET_HINT_GAUGE`. What else there is to hint at, the receiver finds out by comparing.
const IS_GAUGE: u64 = 3;

/// Writes the fields. Remote write 1.0 has no start time; 0 is none.
pub(super) fn write(out: &mut Vec<u8>, histogram: &Histogram, time_ms: i64, start_ms: i64) {
    // Of a choice, the field that is meant is written even where it is zero.
    match histogram.is_float {
        true => fixed64(out, number::COUNT_FLOAT, histogram.count.to_bits()),
        false => chosen(out, number::COUNT_INT, histogram.count),
    }
    fixed64(out, number::SUM, histogram.sum.to_bits());
    zigzag(out, number::SCHEMA, histogram.schema.into());
    fixed64(out, number::ZERO_THRESHOLD, histogram.zero_threshold.to_bits());
    match histogram.is_float {
        true => fixed64(out, number::ZERO_COUNT_FLOAT, histogram.zero_count.to_bits()),
        false => chosen(out, number::ZERO_COUNT_INT, histogram.zero_count),
    }
    side(out, number::NEGATIVE, histogram.is_float, &histogram.negative_spans, &histogram.negative_counts);
    side(out, number::POSITIVE, histogram.is_float, &histogram.positive_spans, &histogram.positive_counts);
    varint(out, number::RESET_HINT, if histogram.is_gauge { IS_GAUGE } else { 0 });
    varint(out, number::TIME, time_ms as u64);
    doubles(out, number::CUSTOM_VALUES, &histogram.custom_bounds);
    varint(out, number::START_TIME, start_ms as u64);
}

fn chosen(out: &mut Vec<u8>, number: u32, count: f64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(count as u64, out);
}

fn side(out: &mut Vec<u8>, numbers: number::Side, is_float: bool, spans: &[HistogramSpan], counts: &[f64]) {
    for span in spans {
        nested(out, numbers.spans, |out| {
            zigzag(out, number::OFFSET, span.offset.into());
            varint(out, number::LENGTH, span.length.into());
        });
    }
    if is_float {
        doubles(out, numbers.counts, counts);
    } else if !counts.is_empty() {
        nested(out, numbers.deltas, |out| {
            let mut before = 0;
            for &count in counts {
                let delta = (count as i64).wrapping_sub(before);
                before = count as i64;
                encode_varint(((delta << 1) ^ (delta >> 63)) as u64, out);
            }
        });
    }
}

fn doubles(out: &mut Vec<u8>, number: u32, values: &[f64]) {
    if !values.is_empty() {
        nested(out, number, |out| {
            values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()))
        });
    }
}
