//! `prometheus.WriteRequest`, of remote write 1.0: prompb/remote.proto and prompb/types.proto of Prometheus.

use prost::encoding::{encode_varint, encoded_len_varint};

use super::histogram;
use super::merge::Run;
use crate::model::{Chunk, Family, METRIC_NAME, MetricType, SeriesRef, Value};
use crate::output::protobuf::{bytes, fixed64, listed_bytes, nested, varint};

// The numbers of fields.
mod number {
    pub const TIMESERIES: u32 = 1;
    pub const METADATA: u32 = 3;
    pub const LABELS: u32 = 1;
    pub const SAMPLES: u32 = 2;
    pub const EXEMPLARS: u32 = 3;
    pub const HISTOGRAMS: u32 = 4;
    pub const NAME: u32 = 1;
    pub const VALUE: u32 = 2;
    pub const SAMPLE_VALUE: u32 = 1;
    pub const SAMPLE_TIME: u32 = 2;
    pub const EXEMPLAR_LABELS: u32 = 1;
    pub const EXEMPLAR_VALUE: u32 = 2;
    pub const EXEMPLAR_TIME: u32 = 3;
    pub const METADATA_TYPE: u32 = 1;
    pub const METADATA_FAMILY: u32 = 2;
    pub const METADATA_HELP: u32 = 4;
    pub const METADATA_UNIT: u32 = 5;
}

/// What the first byte of a field says: its number, and that bytes follow.
const fn bytes_key(number: u32) -> u8 {
    (number << 3 | 2) as u8
}

/// The labels of a target's chunks as they stand in a message, each distinct one once: a steady series costs copies of these.
#[derive(Default)]
pub struct Plan {
    chunks: Vec<Fragments>,
}

#[derive(Default)]
struct Fragments {
    chunk: u64,
    text: Vec<u8>,
    /// Where the label of each number ends in the text, and whether its name stands before that of the metric's.
    ends: Vec<(u32, bool)>,
}

impl Plan {
    /// Puts in what a series needs that was not there yet.
    pub(super) fn add(&mut self, series: SeriesRef<'_>) {
        let chunk = series.chunk();
        if self.chunks.last().is_none_or(|last| last.chunk != chunk.id()) {
            self.chunks.push(Fragments::new(chunk));
        }
    }

    fn of(&self, chunk: &Chunk) -> Option<&Fragments> {
        self.chunks.iter().find(|fragments| fragments.chunk == chunk.id())
    }
}

impl Fragments {
    fn new(chunk: &Chunk) -> Self {
        let mut fragments = Self { chunk: chunk.id(), ..Self::default() };
        for pair in 0..chunk.pairs() as u32 {
            let (name, value) = chunk.pair(pair);
            label(&mut fragments.text, number::LABELS, name, value);
            fragments.ends.push((fragments.text.len() as u32, name < METRIC_NAME));
        }
        fragments
    }

    /// The label of this number, and whether its name stands before that of the metric's.
    #[inline]
    fn get(&self, pair: u32) -> (&[u8], bool) {
        let start = if pair == 0 { 0 } else { self.ends[pair as usize - 1].0 };
        let (end, is_before) = self.ends[pair as usize];
        (&self.text[start as usize..end as usize], is_before)
    }
}

fn label(out: &mut Vec<u8>, number: u32, name: &str, value: &str) {
    nested(out, number, |out| {
        listed_bytes(out, number::NAME, name.as_bytes());
        listed_bytes(out, number::VALUE, value.as_bytes());
    });
}

/// Writes messages, with memory that is used again.
#[derive(Default)]
pub(super) struct Writer {
    tail: Vec<u8>,
}

impl Writer {
    /// Writes one series with its samples.
    pub fn series(&mut self, body: &mut Vec<u8>, plan: &Plan, run: &Run<'_, '_>) {
        self.tail.clear();
        let tail = &mut self.tail;
        for sample in run.samples {
            match sample.value {
                Value::Float(value) => float(tail, number::SAMPLES, value, sample.time_ms),
                Value::Histogram(value) => {
                    nested(tail, number::HISTOGRAMS, |out| histogram::write(out, value, sample.time_ms));
                }
            }
        }
        for (time_ms, exemplar) in run.exemplars {
            nested(tail, number::EXEMPLARS, |out| {
                exemplar.labels.iter().for_each(|(name, value)| label(out, number::EXEMPLAR_LABELS, name, value));
                fixed64(out, number::EXEMPLAR_VALUE, exemplar.value.to_bits());
                varint(out, number::EXEMPLAR_TIME, *time_ms as u64);
            });
        }
        // A plan has all chunks of the series that are written by it.
        let Some(fragments) = plan.of(run.series.chunk()) else { return };
        let (name, pairs) = (run.series.name(), run.series.pairs());
        let name_len = 1 + encoded_len_varint(name.len() as u64) + name.len();
        let name_label_len = 2 + METRIC_NAME.len() + name_len;
        let labels_len: usize = pairs.iter().map(|&pair| fragments.get(pair).0.len()).sum();
        let len = 1 + encoded_len_varint(name_label_len as u64) + name_label_len + labels_len + tail.len();

        body.push(bytes_key(number::TIMESERIES));
        encode_varint(len as u64, body);
        let mut is_named = false;
        for &pair in pairs {
            let (fragment, is_before) = fragments.get(pair);
            if !is_named && !is_before {
                metric_name(body, name, name_label_len);
                is_named = true;
            }
            body.extend_from_slice(fragment);
        }
        if !is_named {
            metric_name(body, name, name_label_len);
        }
        body.extend_from_slice(tail);
    }
}

fn metric_name(body: &mut Vec<u8>, name: &str, len: usize) {
    body.push(bytes_key(number::LABELS));
    encode_varint(len as u64, body);
    listed_bytes(body, number::NAME, METRIC_NAME.as_bytes());
    listed_bytes(body, number::VALUE, name.as_bytes());
}

/// A `Sample`: `{double value = 1; int64 timestamp = 2}`, in both versions.
#[inline]
pub(super) fn float(out: &mut Vec<u8>, number: u32, value: f64, time_ms: i64) {
    let time_ms = time_ms as u64;
    out.push(bytes_key(number));
    // Below 128 always.
    out.push((9 + 1 + encoded_len_varint(time_ms)) as u8);
    fixed64(out, number::SAMPLE_VALUE, value.to_bits());
    out.push((number::SAMPLE_TIME << 3) as u8);
    encode_varint(time_ms, out);
}

/// Writes the metadata of a family.
pub(super) fn metadata(body: &mut Vec<u8>, family: Family<'_>) {
    nested(body, number::METADATA, |out| {
        varint(out, number::METADATA_TYPE, type_number(family.kind));
        bytes(out, number::METADATA_FAMILY, family.name.as_bytes());
        bytes(out, number::METADATA_HELP, family.help.as_bytes());
        bytes(out, number::METADATA_UNIT, family.unit.as_bytes());
    });
}

/// The number of a type, in both versions.
pub(super) fn type_number(kind: MetricType) -> u64 {
    match kind {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}
