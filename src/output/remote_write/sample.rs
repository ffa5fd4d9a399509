//! Samples of a series: `Sample{double value = 1; int64 timestamp = 2; int64 start_timestamp = 3}`, the last of which is of remote
//! write 2.0, and native histograms.
//!
//! Nearly all that is written is samples: one is put together in registers, and copied with a size that is known beforehand.

use prost::encoding::{encode_varint, encoded_len_varint};

use super::histogram;
use super::merge::Sample;
use crate::model::Value;
use crate::output::protobuf::nested;

// The first bytes of fields: the number, and what follows.
const VALUE: u8 = 1 << 3 | 1;
const TIME: u8 = 2 << 3;
const START: u8 = 3 << 3;

/// Bytes of a sample with a time of six bytes and without a start: key, length, value with its key, time with its key.
const USUAL_LEN: usize = 2 + 9 + 7;

/// Which fields of a series hold samples, and whether they say since when they count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub floats: u32,
    pub histograms: u32,
    pub has_start: bool,
}

impl Fields {
    /// How long these samples, which are of one kind, will be; `None` where only writing them tells.
    #[inline]
    pub fn len(self, samples: &[Sample<'_>]) -> Option<usize> {
        let mut len = 0;
        for sample in samples {
            match sample.value {
                Value::Histogram(_) => return None,
                Value::Float(_) if is_usual(sample.time_ms) => len += USUAL_LEN + self.start_len(sample),
                Value::Float(_) => {
                    len += 2 + 9 + 1 + encoded_len_varint(sample.time_ms as u64) + self.start_len(sample)
                }
            }
        }
        Some(len)
    }

    fn start_len(self, sample: &Sample<'_>) -> usize {
        let is_said = self.has_start && sample.start_ms != 0;
        if is_said { 1 + encoded_len_varint(sample.start_ms as u64) } else { 0 }
    }

    /// Writes samples.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, samples: &[Sample<'_>]) {
        for sample in samples {
            match sample.value {
                Value::Float(value) if is_usual(sample.time_ms) && self.start_len(sample) == 0 => {
                    usual(out, self.floats, value, sample.time_ms);
                }
                Value::Float(value) => self.unusual(out, value, sample),
                Value::Histogram(value) => nested(out, self.histograms, |out| {
                    histogram::write(out, value, sample.time_ms, if self.has_start { sample.start_ms } else { 0 });
                }),
            }
        }
    }

    fn unusual(self, out: &mut Vec<u8>, value: f64, sample: &Sample<'_>) {
        nested(out, self.floats, |out| {
            out.push(VALUE);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
            out.push(TIME);
            encode_varint(sample.time_ms as u64, out);
            if self.start_len(sample) > 0 {
                out.push(START);
                encode_varint(sample.start_ms as u64, out);
            }
        });
    }
}

/// Whether a time has six bytes: from 1971 to 2109.
#[inline]
fn is_usual(time_ms: i64) -> bool {
    (1 << 35..1 << 42).contains(&time_ms)
}

#[inline]
fn usual(out: &mut Vec<u8>, number: u32, value: f64, time_ms: i64) {
    let mut sample = [0; 24];
    sample[0] = (number << 3 | 2) as u8;
    sample[1] = (USUAL_LEN - 2) as u8;
    sample[2] = VALUE;
    sample[3..11].copy_from_slice(&value.to_bits().to_le_bytes());
    sample[11] = TIME;
    // Seven bits a byte, all bytes at once; each but the last says that another follows.
    let spread = |at: u32| (time_ms as u64 >> (7 * at) & 0x7f) << (8 * at);
    let time = spread(0) | spread(1) | spread(2) | spread(3) | spread(4) | spread(5) | 0x80_8080_8080;
    sample[12..20].copy_from_slice(&time.to_le_bytes());
    let len = out.len() + USUAL_LEN;
    out.extend_from_slice(&sample);
    out.truncate(len);
}

#[cfg(test)]
mod tests {
    use super::super::merge::tests::sample;
    use super::*;

    #[test]
    fn times_of_all_lengths_are_written_as_their_length_says() {
        let times =
            [0, 1, 127, 128, (1 << 35) - 1, 1 << 35, 1_798_859_045_006, (1 << 42) - 1, 1 << 42, i64::MAX, -1, i64::MIN];
        for has_start in [false, true] {
            let fields = Fields { floats: 2, histograms: 3, has_start };
            for (time_ms, start_ms) in times.iter().flat_map(|&time| times.map(|start| (time, start))) {
                let sample = sample(-0.5, time_ms, start_ms);
                let mut expected = Vec::new();
                fields.unusual(&mut expected, -0.5, &sample);
                let mut found = Vec::new();
                fields.write(&mut found, &[sample]);
                assert_eq!(found, expected, "{time_ms} {start_ms}");
                assert_eq!(fields.len(&[sample]), Some(found.len()));
            }
        }
    }
}
