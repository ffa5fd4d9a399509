//! Reading a payload back. Nothing in it is trusted.

use std::sync::Arc;

use super::{FLAG_HAS_CREATED, FLAG_HAS_OWN_TIMES, FLAG_IS_LAST, HISTOGRAM, KINDS, PayloadError, SERIES_BYTES_MAX};
use crate::model::{
    Chunk, ChunkBuilder, Created, Exemplar, Family, Histogram, HistogramSpan, Labels, METRIC_NAME, Origin,
    PointsBuilder, Scrape, SeriesSet,
};
use crate::pipeline::Slice;

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
    let mut series_bytes = 0;
    let chunks = reader.list(2, |reader| {
        let chunk = reader.chunk(&texts, &pairs)?;
        series_bytes += chunk.bytes();
        match series_bytes <= SERIES_BYTES_MAX {
            true => Ok(chunk),
            false => Err(reader.error("the series take too much memory")),
        }
    })?;
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
        let created = match flags & FLAG_HAS_CREATED {
            0 => Vec::new(),
            _ => self.list(2, |reader| Ok(Created { series: reader.series_of(series)?, at_ms: reader.signed()? }))?,
        };
        let (points, is_last) = (points.finish(), flags & FLAG_IS_LAST != 0);
        let scrape = Scrape {
            origin: origin.clone(),
            at_ms,
            series: series.clone(),
            points,
            exemplars: exemplars.into(),
            created: created.into(),
            is_last,
        };
        Ok(Slice::whole(Arc::new(scrape)))
    }

    fn exemplar(&mut self, series: &SeriesSet) -> Result<Exemplar> {
        let series = self.series_of(series)?;
        let labels = self.labels()?;
        let value = f64::from_bits(u64::from_le_bytes(self.array()?));
        Ok(Exemplar { series, labels, value, at_ms: self.optional_time()? })
    }

    /// The series that something beside the samples is of.
    fn series_of(&mut self, series: &SeriesSet) -> Result<u32> {
        let number = u32::try_from(self.number()?).ok().filter(|&number| (number as usize) < series.len());
        number.ok_or(self.error("the series of an exemplar, or of a created timestamp, is not there"))
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
