//! The unit that flows: one scrape of one target.

use std::sync::Arc;

use super::{Histogram, Labels, SeriesSet};
use crate::memory::{Charge, Kind};

/// The bits of the NaN that ends a series (Prometheus, `model/value`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The NaN that ends a series.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether `value` is the stale marker, and not just some NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Milliseconds since 1970 by the wall clock.
pub fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Where a scrape came from, as everything downstream of the scrape needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A hash of the target's identity, the same in every run: it chooses lanes and offsets.
    pub key: u64,
    /// The target's final labels, `job` and `instance` among them.
    pub labels: Labels<'static>,
    /// The URL that is scraped, without credentials.
    pub url: String,
}

/// One scrape of one target: immutable, made once, shared by all outputs.
#[derive(Debug)]
pub struct Scrape {
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The scrape's time, milliseconds since 1970; above that of the target's scrape before.
    pub at_ms: i64,
    /// What the points are about; shared with the scrapes before and after it.
    pub series: Arc<SeriesSet>,
    /// The values, in the order of the exposition; the target's own series (`up` and its like) last.
    pub points: Points,
    /// Exemplars, beside the points: counted apart.
    pub exemplars: Box<[Exemplar]>,
    /// When series began to count, where the exposition says so apart from its samples (protobuf): shared with the scrape
    /// before when nothing of it changed.
    pub created: Arc<[Created]>,
    /// This is the target's last scrape: it holds stale markers only, and the target is forgotten after it.
    pub is_last: bool,
}

impl Scrape {
    /// The time of a point: its own, or the scrape's.
    pub fn time_ms(&self, point: &Point<'_>) -> i64 {
        point.own_ms.unwrap_or(self.at_ms)
    }

    /// Samples in it: a float or a native histogram is one, stale markers included.
    pub fn samples(&self) -> usize {
        self.points.len()
    }

    /// Bytes that it keeps in memory by itself; the series set is counted by whoever keeps it alive.
    pub fn own_bytes(&self) -> usize {
        size_of::<Self>()
            + self.points.bytes()
            + self.exemplars.len() * size_of::<Exemplar>()
            + self.created.len() * size_of::<Created>()
    }
}

/// A trace that stands for a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Which series, as an index into the scrape's set.
    pub series: u32,
    /// Its labels, `trace_id` and the like.
    pub labels: Labels<'static>,
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds, if it says so.
    pub at_ms: Option<i64>,
}

/// When a series began to count ("created timestamp").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Which series, as an index into the scrape's set.
    pub series: u32,
    /// Since when, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A value of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number, which may be a NaN, an infinity or the stale marker.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Histogram),
}

impl Value<'_> {
    /// Whether this ends its series.
    pub fn is_stale(&self) -> bool {
        match self {
            Value::Float(value) => is_stale(*value),
            Value::Histogram(histogram) => is_stale(histogram.sum),
        }
    }
}

/// A value, the series it belongs to, and its own time if the exposition gave one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// Index into the scrape's [`SeriesSet`].
    pub series: u32,
    /// The sample's own timestamp in milliseconds, or `None` for the scrape's.
    pub own_ms: Option<i64>,
    /// What was measured.
    pub value: Value<'a>,
}

/// Stands for "no timestamp of its own" in the packed column.
const NO_TIME: i64 = i64::MIN;

/// The values of one scrape: columns, twelve bytes a float without its own timestamp.
#[derive(Debug, Default)]
pub struct Points {
    series: Box<[u32]>,
    floats: Box<[f64]>,
    /// Empty when no point has a timestamp of its own.
    own_ms: Box<[i64]>,
    /// Position and value, by position; such a point's float is unused.
    histograms: Box<[(u32, Histogram)]>,
    /// Stands for their scrape as well, which may have five owners and is charged once.
    charge: Charge,
}

impl Points {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The point at `at`, which must be below [`len`](Self::len).
    pub fn get(&self, at: usize) -> Point<'_> {
        let value = match self.histograms.binary_search_by_key(&(at as u32), |(position, _)| *position) {
            Ok(found) => Value::Histogram(&self.histograms[found].1),
            Err(_) => Value::Float(self.floats[at]),
        };
        let own_ms = self.own_ms.get(at).copied().filter(|&ms| ms != NO_TIME);
        Point { series: self.series[at], own_ms, value }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Point<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Bytes that they keep in memory.
    pub fn bytes(&self) -> usize {
        let histograms: usize = self
            .histograms
            .iter()
            .map(|(_, h)| {
                size_of::<(u32, Histogram)>()
                    + 8 * (h.positive_counts.len() + h.negative_counts.len() + h.custom_bounds.len())
            })
            .sum();
        self.series.len() * 12 + self.own_ms.len() * 8 + histograms
    }
}

/// Collects the points of a scrape; kept from scrape to scrape so that its memory is reused.
#[derive(Debug, Default)]
pub struct PointsBuilder {
    series: Vec<u32>,
    floats: Vec<f64>,
    own_ms: Vec<i64>,
    histograms: Vec<(u32, Histogram)>,
}

impl PointsBuilder {
    /// Bytes of memory that are reused.
    pub fn reserved_bytes(&self) -> usize {
        self.series.capacity() * 4 + self.floats.capacity() * 8 + self.own_ms.capacity() * 8
    }

    /// Adds a float.
    pub fn push_float(&mut self, series: u32, value: f64, own_ms: Option<i64>) {
        self.push_time(own_ms);
        self.series.push(series);
        self.floats.push(value);
    }

    /// Adds a native histogram.
    pub fn push_histogram(&mut self, series: u32, value: Histogram, own_ms: Option<i64>) {
        self.histograms.push((self.series.len() as u32, value));
        self.push_float(series, 0.0, own_ms);
    }

    /// How many points were added.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Forgets all points and keeps the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.floats.clear();
        self.own_ms.clear();
        self.histograms.clear();
    }

    /// The series and own time of each point, in order; for finding repeated ones.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (u32, Option<i64>)> {
        self.series
            .iter()
            .enumerate()
            .map(|(at, &series)| (series, self.own_ms.get(at).copied().filter(|&ms| ms != NO_TIME)))
    }

    /// Puts the points into the order that `order` lists, leaving out positions that it does not name.
    pub fn reorder(&mut self, order: &[u32]) {
        let mut from = std::mem::take(self);
        let mut histograms: Vec<Option<(u32, Histogram)>> = from.histograms.drain(..).map(Some).collect();
        for &at in order {
            let own_ms = from.own_ms.get(at as usize).copied().filter(|&ms| ms != NO_TIME);
            let held = histograms.iter_mut().find(|held| held.as_ref().is_some_and(|(position, _)| *position == at));
            match held.and_then(Option::take) {
                Some((_, histogram)) => self.push_histogram(from.series[at as usize], histogram, own_ms),
                None => self.push_float(from.series[at as usize], from.floats[at as usize], own_ms),
            }
        }
    }

    /// The points as they will be kept; the builder is empty afterwards and keeps its memory.
    pub fn finish(&mut self) -> Points {
        let mut points = Points {
            series: self.series.as_slice().into(),
            floats: self.floats.as_slice().into(),
            own_ms: self.own_ms.as_slice().into(),
            histograms: std::mem::take(&mut self.histograms).into(),
            charge: Charge::default(),
        };
        points.charge = Charge::new(Kind::Samples, size_of::<Scrape>() + points.bytes());
        self.clear();
        points
    }

    fn push_time(&mut self, own_ms: Option<i64>) {
        // The column starts to exist with the first time that is not the scrape's.
        if own_ms.is_some() && self.own_ms.is_empty() {
            self.own_ms.resize(self.series.len(), NO_TIME);
        }
        if own_ms.is_some() || !self.own_ms.is_empty() {
            self.own_ms.push(own_ms.unwrap_or(NO_TIME));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_keep_order_times_and_kinds() {
        let mut builder = PointsBuilder::default();
        builder.push_float(3, 1.5, None);
        builder.push_float(1, STALE_NAN, Some(-7));
        builder.push_histogram(2, Histogram::stale(), None);
        builder.reorder(&[2, 1, 0]);
        let points = builder.finish();
        let read: Vec<_> = points.iter().map(|p| (p.series, p.own_ms, p.value.is_stale())).collect();
        assert_eq!(read, [(2, None, true), (1, Some(-7), true), (3, None, false)]);
        assert!(builder.is_empty());
        assert!(matches!(points.get(0).value, Value::Histogram(_)));
    }

    #[test]
    fn an_own_time_of_the_very_first_point_is_kept() {
        let mut builder = PointsBuilder::default();
        builder.push_float(0, 1.0, Some(5));
        builder.push_float(1, 2.0, None);
        let points = builder.finish();
        assert_eq!(points.iter().map(|p| p.own_ms).collect::<Vec<_>>(), [Some(5), None]);
    }
}
