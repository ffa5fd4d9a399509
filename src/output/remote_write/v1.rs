//! `prometheus.WriteRequest`, of remote write 1.0: prompb/remote.proto and prompb/types.proto of Prometheus.

use prost::encoding::encode_varint;

use super::merge::Run;
use super::rendered::{Pieces, Rendered, Shelf};
use super::sample::Fields;
use crate::model::{Chunk, Family, METRIC_NAME, MetricType, SeriesRef};
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
    pub const EXEMPLAR_LABELS: u32 = 1;
    pub const EXEMPLAR_VALUE: u32 = 2;
    pub const EXEMPLAR_TIME: u32 = 3;
    pub const METADATA_TYPE: u32 = 1;
    pub const METADATA_FAMILY: u32 = 2;
    pub const METADATA_HELP: u32 = 4;
    pub const METADATA_UNIT: u32 = 5;
}

/// Where samples stand.
const FIELDS: Fields = Fields { floats: number::SAMPLES, histograms: number::HISTOGRAMS, has_start: false };

/// What the first byte of a field says: its number, and that bytes follow.
pub(super) const fn bytes_key(number: u32) -> u8 {
    (number << 3 | 2) as u8
}

/// A target's chunks as they stand in messages.
#[derive(Default)]
pub struct Plan(Shelf);

impl Plan {
    /// Puts in what a series needs that was not there yet.
    pub(super) fn add(&mut self, series: SeriesRef<'_>) {
        let chunk = series.chunk();
        if self.0.chunks.last().is_none_or(|last| last.chunk != chunk.id()) {
            self.0.chunks.push(render(chunk));
        }
    }
}

fn render(chunk: &Chunk) -> Rendered {
    let names =
        Pieces::each(chunk.metrics(), |out, metric| label(out, number::LABELS, METRIC_NAME, chunk.metric(metric).0));
    let pairs = Pieces::each(chunk.pairs(), |out, pair| {
        let (name, value) = chunk.pair(pair);
        label(out, number::LABELS, name, value);
    });
    Rendered::new(chunk, names, pairs, Pieces::default())
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
    /// Where the last chunk stands in its plan.
    at: usize,
}

impl Writer {
    /// Writes one series with its samples.
    pub fn series(&mut self, body: &mut Vec<u8>, plan: &Plan, run: &Run<'_, '_>) {
        self.tail.clear();
        let tail = &mut self.tail;
        // Floats go right into the body.
        let floats_len = FIELDS.len(run.samples);
        if floats_len.is_none() {
            FIELDS.write(tail, run.samples);
        }
        for (time_ms, exemplar) in run.exemplars {
            nested(tail, number::EXEMPLARS, |out| {
                exemplar.labels.iter().for_each(|(name, value)| label(out, number::EXEMPLAR_LABELS, name, value));
                fixed64(out, number::EXEMPLAR_VALUE, exemplar.value.to_bits());
                varint(out, number::EXEMPLAR_TIME, *time_ms as u64);
            });
        }
        // A plan has all chunks of the series that are written by it.
        let Some(rendered) = plan.0.of(run.series.chunk(), &mut self.at) else { return };
        body.push(bytes_key(number::TIMESERIES));
        encode_varint((rendered.labels_len(run.series) + floats_len.unwrap_or(0) + tail.len()) as u64, body);
        rendered.labels(body, run.series);
        if floats_len.is_some() {
            FIELDS.write(body, run.samples);
        }
        body.extend_from_slice(tail);
    }
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
