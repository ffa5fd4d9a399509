//! The payload of a record: the scrapes of a batch as labels and typed points, so that any later encoding can be made of it.
//!
//! Everything that an encoder looks at comes back exactly: bits of floats, times, families, exemplars, and, for each label
//! set of which a sample is kept, *all* series of the scrape's set that share its group, in their order, also those that
//! have no sample. A resend after a restart is then the same bytes as before it.
//!
//! Format, version 1. Numbers are LEB128 (signed ones in zigzag), texts a length and UTF-8:
//! ```text
//! texts:    count, text…                                 each distinct text once
//! pairs:    count, (name, value)…                        numbers of texts
//! chunks:   count, (families, series)…
//!   families: count, (name, help, unit, type byte)…      numbers of texts
//!   series:   count, (family, name, count, pair…)…
//! sets:     count, (count, chunk…)…                      the chunks of a series set
//! origins:  count, (key as 8 bytes, url, labels)…        labels: count, (name, value)… as texts in place
//! slices:   count, (origin, set, at_ms, flags, points, exemplars)…
//!   points:    count, (difference of the series' number to the one after the last, [0 | 1, own_ms], value)…
//!   value:     0..=8: so many bytes, the high end of the float's bits, follow; 9: a native histogram
//!   exemplars: count, (series, labels, value as 8 bytes, 0 | 1, at_ms)…
//! ```
//! What is read is not trusted: a count is checked against the bytes that are left before anything is allocated for it, and
//! no text is copied more than once for each time that it is written.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::model::{
    Chunk, ChunkBuilder, Exemplar, Family, Histogram, HistogramSpan, Labels, METRIC_NAME, MetricType, Origin,
    PointsBuilder, Scrape, SeriesSet, Value,
};
use crate::pipeline::Slice;

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

/// Appends the payload of these slices to `out`.
pub fn write(slices: &[Slice], out: &mut Vec<u8>) {
    let mut tables = Tables::default();
    for slice in slices {
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
        out.push(flag(scrape.is_last, FLAG_IS_LAST) | flag(has_own_times, FLAG_HAS_OWN_TIMES));
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
        exemplars(slice, &numbers, out);
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

/// The exemplars of the series that have a sample in the slice.
fn exemplars(slice: &Slice, numbers: &[u32], out: &mut Vec<u8>) {
    let all = &slice.scrape.exemplars;
    let with_sample: HashSet<u32, RandomState> = match all.is_empty() {
        true => HashSet::default(),
        false => slice.points().map(|(point, _)| point.series).collect(),
    };
    let kept: Vec<&Exemplar> = all.iter().filter(|exemplar| with_sample.contains(&exemplar.series)).collect();
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

/// Reads a payload back; each slice is a whole scrape.
pub fn read(bytes: &[u8]) -> Result<Vec<Slice>, PayloadError> {
    let mut reader = Reader { bytes, at: 0 };
    let texts = reader.list(1, Reader::text)?;
    let pairs = reader.list(2, |reader| {
        let (name, value) = (reader.one_of(&texts)?, reader.one_of(&texts)?);
        match *name != METRIC_NAME && !value.is_empty() {
            true => Ok((name, value)),
            false => Err(reader.error("no label has this name, or no value")),
        }
    })?;
    let chunks = reader.list(2, |reader| reader.chunk(&texts, &pairs))?;
    let mut seen = vec![0; chunks.len()];
    let mut set_number = 0;
    let sets = reader.list(1, |reader| {
        set_number += 1;
        reader.set(&chunks, &mut seen, set_number)
    })?;
    let origins = reader.list(10, Reader::origin)?;
    let slices = reader.list(6, |reader| {
        let origin = reader.one_of(&origins)?;
        let series = reader.one_of(&sets)?;
        reader.slice(origin, series)
    })?;
    match reader.at == bytes.len() {
        true => Ok(slices),
        false => Err(reader.error("nothing is expected here")),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

type Result<T, E = PayloadError> = std::result::Result<T, E>;

impl<'b> Reader<'b> {
    fn error(&self, what: &'static str) -> PayloadError {
        PayloadError { at: self.at, what }
    }

    fn take(&mut self, bytes: usize) -> Result<&'b [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..bytes).ok_or(self.error("the payload ends too early"))?;
        self.at += bytes;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or(self.error("the payload ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number has more than 64 bits"))
    }

    fn signed(&mut self) -> Result<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn small<T: TryFrom<i64>>(&mut self) -> Result<T> {
        T::try_from(self.signed()?).map_err(|_| self.error("a number is out of range"))
    }

    /// The length of a list of which each item takes at least so many bytes.
    fn count(&mut self, item_bytes: usize) -> Result<usize> {
        let count = self.number()?;
        let left = self.bytes.len() - self.at;
        let fits = usize::try_from(count).ok().filter(|count| *count <= left / item_bytes);
        fits.ok_or(self.error("a list has more items than bytes are left"))
    }

    fn list<T>(&mut self, item_bytes: usize, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        // A vector grows with what is there: memory for a count alone is never taken.
        (0..self.count(item_bytes)?).map(|_| item(self)).collect()
    }

    fn text(&mut self) -> Result<&'b str> {
        let length = self.count(1)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| self.error("a text is not UTF-8"))
    }

    fn one_of<'l, T>(&mut self, list: &'l [T]) -> Result<&'l T> {
        let number = self.number()?;
        let found = usize::try_from(number).ok().and_then(|at| list.get(at));
        found.ok_or(self.error("a number refers to nothing"))
    }

    fn labels(&mut self) -> Result<Labels<'static>> {
        let mut last = None;
        let mut labels = Labels::new();
        for _ in 0..self.count(2)? {
            let (name, value) = (self.text()?, self.text()?);
            if last.is_some_and(|last| last >= name) || value.is_empty() {
                return Err(self.error("labels are not sorted, or one is empty"));
            }
            last = Some(name);
            labels.set(name.to_owned(), value.to_owned());
        }
        Ok(labels)
    }

    fn chunk(&mut self, texts: &[&str], pairs: &[(&&str, &&str)]) -> Result<Arc<Chunk>> {
        let mut builder = ChunkBuilder::default();
        let families = self.list(4, |reader| {
            let name = reader.one_of(texts)?;
            let help = reader.one_of(texts)?;
            let unit = reader.one_of(texts)?;
            let kind = reader.byte()?;
            let kind = *KINDS.get(usize::from(kind)).ok_or(reader.error("no type has this number"))?;
            Ok(builder.family(Family { name, help, kind, unit }))
        })?;
        for _ in 0..self.count(3)? {
            let family = *self.one_of(&families)?;
            let name = *self.one_of(texts)?;
            let labels = self.list(1, |reader| reader.one_of(pairs))?;
            if !labels.is_sorted_by(|(left, _), (right, _)| left < right) {
                return Err(self.error("labels are not sorted"));
            }
            builder.push(family, name, labels.iter().map(|(name, value)| (**name, **value)));
        }
        Ok(builder.finish())
    }

    /// No chunk is twice in a set: its length is bounded by what is in the payload.
    fn set(&mut self, chunks: &[Arc<Chunk>], seen: &mut [u32], number: u32) -> Result<Arc<SeriesSet>> {
        let chunks = self.list(1, |reader| {
            let at = reader.number()? as usize;
            match (chunks.get(at), seen.get_mut(at)) {
                (Some(chunk), Some(seen)) if *seen != number => {
                    *seen = number;
                    Ok(chunk.clone())
                }
                _ => Err(reader.error("a set has a chunk twice, or one that is not there")),
            }
        })?;
        Ok(Arc::new(SeriesSet::new(chunks)))
    }

    fn origin(&mut self) -> Result<Arc<Origin>> {
        let key = u64::from_le_bytes(self.array()?);
        let url = self.text()?.to_owned();
        Ok(Arc::new(Origin { key, labels: self.labels()?, url }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.error("the payload ends too early"))
    }

    fn slice(&mut self, origin: &Arc<Origin>, series: &Arc<SeriesSet>) -> Result<Slice> {
        let at_ms = self.signed()?;
        let flags = self.byte()?;
        let mut points = PointsBuilder::default();
        let mut expected = 0i64;
        for _ in 0..self.count(2)? {
            let number = expected.checked_add(self.signed()?).filter(|&number| (number as u64) < series.len() as u64);
            let number = number.ok_or(self.error("a sample's series is not there"))?;
            expected = number + 1;
            let own_ms = if flags & FLAG_HAS_OWN_TIMES == 0 { None } else { self.optional_time()? };
            match self.byte()? {
                HISTOGRAM => points.push_histogram(number as u32, self.histogram()?, own_ms),
                used => points.push_float(number as u32, self.float_of(used)?, own_ms),
            }
        }
        let exemplars = self.list(11, |reader| reader.exemplar(series))?;
        let (points, is_last) = (points.finish(), flags & FLAG_IS_LAST != 0);
        let scrape = Scrape {
            origin: origin.clone(),
            at_ms,
            series: series.clone(),
            points,
            exemplars: exemplars.into(),
            is_last,
        };
        Ok(Slice::whole(Arc::new(scrape)))
    }

    fn exemplar(&mut self, series: &SeriesSet) -> Result<Exemplar> {
        let number = u32::try_from(self.number()?).ok().filter(|&number| (number as usize) < series.len());
        let series = number.ok_or(self.error("an exemplar's series is not there"))?;
        let labels = self.labels()?;
        let value = f64::from_bits(u64::from_le_bytes(self.array()?));
        Ok(Exemplar { series, labels, value, at_ms: self.optional_time()? })
    }

    fn optional_time(&mut self) -> Result<Option<i64>> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.signed().map(Some),
            _ => Err(self.error("a time is there or not")),
        }
    }

    fn float(&mut self) -> Result<f64> {
        let used = self.byte()?;
        self.float_of(used)
    }

    fn float_of(&mut self, used: u8) -> Result<f64> {
        let mut bits = [0; 8];
        let room = bits.get_mut(..usize::from(used)).ok_or(self.error("a float has more than 8 bytes"))?;
        room.copy_from_slice(self.take(usize::from(used))?);
        Ok(f64::from_be_bytes(bits))
    }

    fn histogram(&mut self) -> Result<Histogram> {
        let flags = self.byte()?;
        let schema = self.small()?;
        let [zero_threshold, zero_count, count, sum] = [self.float()?, self.float()?, self.float()?, self.float()?];
        let spans = |reader: &mut Self| {
            reader.list(2, |reader| {
                let offset = reader.small()?;
                let length = u32::try_from(reader.number()?).map_err(|_| reader.error("a span is too long"))?;
                Ok(HistogramSpan { offset, length })
            })
        };
        let [positive_spans, negative_spans] = [spans(self)?.into(), spans(self)?.into()];
        let mut floats = || self.list(1, Self::float);
        let [positive_counts, negative_counts, custom_bounds] = [floats()?.into(), floats()?.into(), floats()?.into()];
        Ok(Histogram {
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            is_float: flags & 1 != 0,
            is_gauge: flags & 2 != 0,
            positive_spans,
            positive_counts,
            negative_spans,
            negative_counts,
            custom_bounds,
        })
    }
}
