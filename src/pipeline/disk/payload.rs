//! The payload of a record: the scrapes of a batch as labels and typed points, so that any later encoding can be made of it.
//!
//! Everything that an encoder looks at comes back exactly: bits of floats, times, families, exemplars, created timestamps,
//! and, for each label set of which a sample is kept, *all* series of the scrape's set that share its group, in their order, also those that
//! have no sample. A resend after a restart is then the same bytes as before it.
//!
//! Format, version 2. Numbers are LEB128 (signed ones in zigzag), texts a length and UTF-8:
//! ```text
//! texts:    count, text…                                 each distinct text once
//! pairs:    count, (name, value)…                        numbers of texts
//! chunks:   count, (families, series)…
//!   families: count, (name, help, unit, type byte)…      numbers of texts
//!   series:   count, (family, name, count, pair…)…
//! sets:     count, (count, chunk…)…                      the chunks of a series set
//! origins:  count, (key as 8 bytes, url, labels)…        labels: count, (name, value)… as texts in place
//! slices:   count, (origin, set, at_ms, flags, points, exemplars, [created])…
//!   points:    count, (difference of the series' number to the one after the last, [0 | 1, own_ms], value)…
//!   value:     0..=8: so many bytes, the high end of the float's bits, follow; 9: a native histogram
//!   exemplars: count, (series, labels, value as 8 bytes, 0 | 1, at_ms)…
//!   created:   count, (series, at_ms)…                   only with its flag
//! ```
//! Version 1 is the same without `created`, whose flag it never sets.
//!
//! What is read is not trusted: a count is checked against the bytes that are left before anything is allocated for it, and
//! the series that come of it are limited to [`SERIES_BYTES_MAX`].

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::model::{Chunk, Created, Exemplar, Histogram, Labels, MetricType, Origin, SeriesSet, Value};
use crate::pipeline::Slice;

mod read;

pub use read::read;

/// Bytes of memory that the series of one record take, at most: a text that is written once may stand in many chunks.
pub const SERIES_BYTES_MAX: usize = 256 << 20;

/// What is wrong with a payload, and at which of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct PayloadError {
    at: usize,
    what: &'static str,
}

/// The value tag of a native histogram; below it stands the number of bytes of a float.
const HISTOGRAM: u8 = 9;

const FLAG_IS_LAST: u8 = 1;
const FLAG_HAS_OWN_TIMES: u8 = 2;
const FLAG_HAS_CREATED: u8 = 4;

const KINDS: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// Appends the payload of these slices to `out`; those without a sample are left out. Returns the bytes of memory that its
/// series take: above [`SERIES_BYTES_MAX`] it would not be read back.
pub fn write(slices: &[Slice], out: &mut Vec<u8>) -> usize {
    let slices: Vec<&Slice> = slices.iter().filter(|slice| slice.samples() > 0).collect();
    let mut tables = Tables::default();
    for slice in &slices {
        tables.groups.extend(slice.points().map(|(_, series)| series.group()));
    }
    let mut tail = Vec::new();
    number(&mut tail, slices.len() as u64);
    for slice in slices {
        tables.slice(slice, &mut tail);
    }
    number(out, tables.texts.len() as u64);
    for held in &tables.texts {
        text(out, held);
    }
    number(out, tables.pairs.len() as u64);
    for (name, value) in &tables.pairs {
        number(out, u64::from(*name));
        number(out, u64::from(*value));
    }
    for (count, bytes) in [
        (tables.chunks.len(), &tables.chunk_bytes),
        (tables.sets.len(), &tables.set_bytes),
        (tables.origins.len(), &tables.origin_bytes),
    ] {
        number(out, count as u64);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&tail);
    tables.series_bytes
}

type Map<K, V> = HashMap<K, V, RandomState>;

/// What slices share, each written once.
#[derive(Default)]
struct Tables<'a> {
    /// The groups of all samples of the record.
    groups: HashSet<u64, RandomState>,
    texts: Vec<&'a str>,
    text_numbers: Map<&'a str, u32>,
    pairs: Vec<(u32, u32)>,
    pair_numbers: Map<(u32, u32), u32>,
    /// By the chunk's id.
    chunks: Map<u64, KeptChunk>,
    chunk_bytes: Vec<u8>,
    /// In memory.
    series_bytes: usize,
    /// By the set's id: its number, and the new number of each of its series, or `NONE`.
    sets: Map<u64, (u32, Arc<[u32]>)>,
    set_bytes: Vec<u8>,
    /// By address: slices share them.
    origins: Map<*const Origin, u32>,
    origin_bytes: Vec<u8>,
}

struct KeptChunk {
    number: u32,
    /// By old position in the chunk the new one, or `NONE`.
    positions: Vec<u32>,
    kept: u32,
}

const NONE: u32 = u32::MAX;

impl<'a> Tables<'a> {
    fn slice(&mut self, slice: &'a Slice, out: &mut Vec<u8>) {
        let scrape = &slice.scrape;
        let (set, numbers) = self.set(&scrape.series);
        number(out, u64::from(self.origin(&scrape.origin)));
        number(out, u64::from(set));
        signed(out, scrape.at_ms);
        let has_own_times = slice.points().any(|(point, _)| point.own_ms.is_some());
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let with_sample = Sampled::of(slice);
        let created: Vec<&Created> =
            scrape.created.iter().filter(|created| with_sample.holds(created.series)).collect();
        out.push(
            flag(scrape.is_last, FLAG_IS_LAST)
                | flag(has_own_times, FLAG_HAS_OWN_TIMES)
                | flag(!created.is_empty(), FLAG_HAS_CREATED),
        );
        number(out, slice.samples());
        let mut expected = 0;
        for at in slice.positions() {
            let point = scrape.points.get(at as usize);
            let series = i64::from(numbers[point.series as usize]);
            signed(out, series - expected);
            expected = series + 1;
            if has_own_times {
                optional_time(out, point.own_ms);
            }
            match point.value {
                Value::Float(value) => float(out, value),
                Value::Histogram(value) => histogram(out, value),
            }
        }
        exemplars(&scrape.exemplars, &with_sample, &numbers, out);
        if !created.is_empty() {
            number(out, created.len() as u64);
            for Created { series, at_ms } in created {
                number(out, u64::from(numbers[*series as usize]));
                signed(out, *at_ms);
            }
        }
    }

    fn set(&mut self, set: &'a SeriesSet) -> (u32, Arc<[u32]>) {
        if let Some(known) = self.sets.get(&set.id()) {
            return known.clone();
        }
        let mut numbers = Vec::with_capacity(set.len());
        let mut start = 0;
        number(&mut self.set_bytes, set.chunks().len() as u64);
        for chunk in set.chunks() {
            self.chunk(chunk);
            let Some(kept) = self.chunks.get(&chunk.id()) else { continue };
            number(&mut self.set_bytes, u64::from(kept.number));
            numbers.extend(kept.positions.iter().map(|&at| if at == NONE { NONE } else { start + at }));
            start += kept.kept;
        }
        let known = (self.sets.len() as u32, Arc::from(numbers));
        self.sets.insert(set.id(), known.clone());
        known
    }

    /// Writes the series of a chunk that belong to a group of the record, and their families.
    fn chunk(&mut self, chunk: &'a Chunk) {
        if self.chunks.contains_key(&chunk.id()) {
            return;
        }
        let mut positions = vec![NONE; chunk.len()];
        let mut families = vec![NONE; chunk.families()];
        let mut pairs = vec![NONE; chunk.pairs()];
        let (mut family_bytes, mut series_bytes) = (Vec::new(), Vec::new());
        let (mut family_count, mut kept) = (0, 0);
        for (at, series) in chunk.iter().enumerate() {
            if !self.groups.contains(&series.group()) {
                continue;
            }
            positions[at] = kept;
            kept += 1;
            let family = &mut families[series.family_number() as usize];
            if *family == NONE {
                *family = family_count;
                family_count += 1;
                let held = series.family();
                for text in [held.name, held.help, held.unit] {
                    number(&mut family_bytes, u64::from(self.text(text)));
                }
                family_bytes.push(KINDS.iter().position(|kind| *kind == held.kind).unwrap_or(0) as u8);
            }
            number(&mut series_bytes, u64::from(*family));
            number(&mut series_bytes, u64::from(self.text(series.name())));
            number(&mut series_bytes, series.pairs().len() as u64);
            for &pair in series.pairs() {
                let mut known = pairs[pair as usize];
                if known == NONE {
                    known = self.pair(chunk.pair(pair));
                    pairs[pair as usize] = known;
                }
                number(&mut series_bytes, u64::from(known));
            }
        }
        number(&mut self.chunk_bytes, u64::from(family_count));
        self.chunk_bytes.append(&mut family_bytes);
        number(&mut self.chunk_bytes, u64::from(kept));
        self.chunk_bytes.append(&mut series_bytes);
        self.series_bytes += chunk.bytes();
        let number = self.chunks.len() as u32;
        self.chunks.insert(chunk.id(), KeptChunk { number, positions, kept });
    }

    fn text(&mut self, text: &'a str) -> u32 {
        *self.text_numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            (self.texts.len() - 1) as u32
        })
    }

    fn pair(&mut self, (name, value): (&'a str, &'a str)) -> u32 {
        let pair = (self.text(name), self.text(value));
        *self.pair_numbers.entry(pair).or_insert_with(|| {
            self.pairs.push(pair);
            (self.pairs.len() - 1) as u32
        })
    }

    fn origin(&mut self, origin: &Arc<Origin>) -> u32 {
        let number = self.origins.len() as u32;
        *self.origins.entry(Arc::as_ptr(origin)).or_insert_with(|| {
            let out = &mut self.origin_bytes;
            out.extend_from_slice(&origin.key.to_le_bytes());
            text(out, &origin.url);
            labels(out, &origin.labels);
            number
        })
    }
}

/// The series that have a sample in a slice; none where nothing stands beside the samples.
struct Sampled(HashSet<u32, RandomState>);

impl Sampled {
    fn of(slice: &Slice) -> Self {
        match slice.scrape.exemplars.is_empty() && slice.scrape.created.is_empty() {
            true => Self(HashSet::default()),
            false => Self(slice.points().map(|(point, _)| point.series).collect()),
        }
    }

    fn holds(&self, series: u32) -> bool {
        self.0.contains(&series)
    }
}

/// The exemplars of the series that have a sample in the slice.
fn exemplars(all: &[Exemplar], with_sample: &Sampled, numbers: &[u32], out: &mut Vec<u8>) {
    let kept: Vec<&Exemplar> = all.iter().filter(|exemplar| with_sample.holds(exemplar.series)).collect();
    number(out, kept.len() as u64);
    for exemplar in kept {
        number(out, u64::from(numbers[exemplar.series as usize]));
        labels(out, &exemplar.labels);
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        optional_time(out, exemplar.at_ms);
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn signed(out: &mut Vec<u8>, value: i64) {
    number(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn labels(out: &mut Vec<u8>, labels: &Labels<'_>) {
    number(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        text(out, name);
        text(out, value);
    }
}

fn optional_time(out: &mut Vec<u8>, ms: Option<i64>) {
    out.push(u8::from(ms.is_some()));
    if let Some(ms) = ms {
        signed(out, ms);
    }
}

/// Most values are small whole numbers: the low bytes of their bits are zero.
fn float(out: &mut Vec<u8>, value: f64) {
    let bytes = value.to_bits().to_be_bytes();
    let used = 8 - value.to_bits().trailing_zeros().min(64) as usize / 8;
    out.push(used as u8);
    out.extend_from_slice(&bytes[..used]);
}

fn histogram(out: &mut Vec<u8>, value: &Histogram) {
    out.push(HISTOGRAM);
    out.push(u8::from(value.is_float) | u8::from(value.is_gauge) << 1);
    signed(out, i64::from(value.schema));
    for part in [value.zero_threshold, value.zero_count, value.count, value.sum] {
        float(out, part);
    }
    for spans in [&value.positive_spans, &value.negative_spans] {
        number(out, spans.len() as u64);
        for span in spans {
            signed(out, i64::from(span.offset));
            number(out, u64::from(span.length));
        }
    }
    for floats in [&value.positive_counts, &value.negative_counts, &value.custom_bounds] {
        number(out, floats.len() as u64);
        floats.iter().for_each(|part| float(out, *part));
    }
}

#[cfg(test)]
mod tests;
