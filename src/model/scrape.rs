//! The unit that flows: one scrape of one target.

use std::sync::Arc;

use super::{Histogram, Labels, SeriesSet, room};
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
            + self.exemplars.iter().map(Exemplar::bytes).sum::<usize>()
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

impl Exemplar {
    /// Bytes that it keeps in memory, its labels included, of which a target may have sent many.
    fn bytes(&self) -> usize {
        let label = |(name, value): (&str, &str)| 2 * size_of::<String>() + name.len() + value.len();
        size_of::<Self>() + self.labels.iter().map(label).sum::<usize>()
    }
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

/// The values of one scrape: columns, eight bytes a float without its own timestamp, and four more for which series it is of
/// unless the scrape before had the same.
#[derive(Debug, Default)]
pub struct Points {
    series: Arc<[u32]>,
    /// Whether another scrape's points have made the column of series, and are charged for it.
    is_column_shared: bool,
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
    #[inline]
    pub fn get(&self, at: usize) -> Point<'_> {
        let value = if self.histograms.is_empty() { Value::Float(self.floats[at]) } else { self.value(at) };
        let own_ms = self.own_ms.get(at).copied().filter(|&ms| ms != NO_TIME);
        Point { series: self.series[at], own_ms, value }
    }

    fn value(&self, at: usize) -> Value<'_> {
        match self.histograms.binary_search_by_key(&(at as u32), |(position, _)| *position) {
            Ok(found) => Value::Histogram(&self.histograms[found].1),
            Err(_) => Value::Float(self.floats[at]),
        }
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
                    + size_of_val(&*h.positive_spans)
                    + size_of_val(&*h.negative_spans)
                    + 8 * (h.positive_counts.len() + h.negative_counts.len() + h.custom_bounds.len())
            })
            .sum();
        let column = if self.is_column_shared { 0 } else { self.series.len() * 4 };
        column + self.floats.len() * 8 + self.own_ms.len() * 8 + histograms
    }

    /// Which series each point is of: the points of a scrape that has the same in the same order may
    /// [share](PointsBuilder::finish_as) it.
    pub fn series(&self) -> &Arc<[u32]> {
        &self.series
    }
}

/// Collects the points of a scrape.
///
/// Where it is known beforehand of which series the points will be, they are pushed as bare values, and get their series
/// [at the end](Self::finish_as), or [one by one](Self::name) as soon as it turns out otherwise.
#[derive(Debug, Default)]
pub struct PointsBuilder {
    series: Vec<u32>,
    values: Values,
    histograms: Vec<(u32, Histogram)>,
}

/// Values whose series are named later.
#[derive(Debug, Default)]
pub struct Values {
    floats: Vec<f64>,
    /// Shorter than `floats` where the last ones have no time of their own.
    own_ms: Vec<i64>,
}

impl Values {
    /// Adds a float of the scrape's time.
    #[inline(always)]
    pub fn push(&mut self, value: f64) {
        self.floats.push(value);
    }

    /// Adds a float with perhaps a time of its own.
    #[inline]
    pub fn push_timed(&mut self, value: f64, own_ms: Option<i64>) {
        if let Some(own_ms) = own_ms {
            // The column starts to exist with the first time that is not the scrape's.
            self.own_ms.resize(self.floats.len(), NO_TIME);
            self.own_ms.push(own_ms);
        }
        self.floats.push(value);
    }
}

impl PointsBuilder {
    /// Makes room for so many points.
    pub fn reserve(&mut self, points: usize) {
        self.values.floats.reserve_exact(points);
    }

    /// Makes room for so many more points that bring their series.
    pub fn make_room(&mut self, points: usize) {
        room::in_list(&mut self.values.floats, points);
        room::in_list(&mut self.series, points);
    }

    /// Adds a float, of the scrape's time, whose series is named later.
    pub fn push_value(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The values so far, for adding many whose series are named later: to be [put back](Self::put_values).
    #[inline]
    pub fn take_values(&mut self) -> Values {
        std::mem::take(&mut self.values)
    }

    /// Puts the values back.
    #[inline]
    pub fn put_values(&mut self, values: Values) {
        self.values = values;
    }

    /// Adds a float with perhaps a time of its own, whose series is named later.
    pub fn push_timed_value(&mut self, value: f64, own_ms: Option<i64>) {
        self.values.push_timed(value, own_ms);
    }

    /// Adds a native histogram whose series is named later.
    pub fn push_histogram_value(&mut self, value: Histogram, own_ms: Option<i64>) {
        self.histograms.push((self.values.floats.len() as u32, value));
        self.push_timed_value(0.0, own_ms);
    }

    /// Names the series of the next point that was pushed as a bare value.
    #[inline]
    pub fn push_series(&mut self, series: u32) {
        if self.series.len() == self.series.capacity() {
            self.series.reserve(self.values.floats.capacity().saturating_sub(self.series.len()));
        }
        self.series.push(series);
    }

    /// Names the series of points that were pushed as bare values, in their order.
    pub fn name(&mut self, series: impl Iterator<Item = u32>) {
        if self.series.capacity() == 0 {
            self.series.reserve(self.values.floats.capacity());
        }
        self.series.extend(series);
    }

    /// The points as they will be kept, all of which were pushed as bare values and are of these series.
    pub fn finish_as(&mut self, series: &Arc<[u32]>) -> Points {
        debug_assert_eq!(series.len(), self.values.floats.len(), "a series for each value");
        self.make(Arc::clone(series), true)
    }

    /// Adds a float.
    pub fn push_float(&mut self, series: u32, value: f64, own_ms: Option<i64>) {
        self.series.push(series);
        self.push_timed_value(value, own_ms);
    }

    /// Adds a native histogram.
    pub fn push_histogram(&mut self, series: u32, value: Histogram, own_ms: Option<i64>) {
        self.series.push(series);
        self.push_histogram_value(value, own_ms);
    }

    /// How many points were added.
    pub fn len(&self) -> usize {
        self.values.floats.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.values.floats.is_empty()
    }

    /// Forgets all points.
    pub fn clear(&mut self) {
        self.series.clear();
        self.values.floats.clear();
        self.values.own_ms.clear();
        self.histograms.clear();
    }

    /// The series and own time of each point, in order; for finding repeated ones.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (u32, Option<i64>)> {
        self.series
            .iter()
            .enumerate()
            .map(|(at, &series)| (series, self.values.own_ms.get(at).copied().filter(|&ms| ms != NO_TIME)))
    }

    /// Puts the points into the order that `order` lists, leaving out positions that it does not name.
    pub fn reorder(&mut self, order: &[u32]) {
        let mut from = std::mem::take(self);
        self.reserve(order.len());
        let mut histograms: Vec<_> = from.histograms.drain(..).map(|(at, value)| (at, Some(value))).collect();
        for &at in order {
            let own_ms = from.values.own_ms.get(at as usize).copied().filter(|&ms| ms != NO_TIME);
            let held = histograms.binary_search_by_key(&at, |(position, _)| *position).ok();
            match held.and_then(|held| histograms[held].1.take()) {
                Some(histogram) => self.push_histogram(from.series[at as usize], histogram, own_ms),
                None => self.push_float(from.series[at as usize], from.values.floats[at as usize], own_ms),
            }
        }
    }

    /// The points as they will be kept; the builder is empty afterwards and has no memory.
    pub fn finish(&mut self) -> Points {
        let series = std::mem::take(&mut self.series);
        self.make(series.into(), false)
    }

    fn make(&mut self, series: Arc<[u32]>, is_column_shared: bool) -> Points {
        let mut made = std::mem::take(self);
        if !made.values.own_ms.is_empty() {
            made.values.own_ms.resize(made.values.floats.len(), NO_TIME);
        }
        let mut points = Points {
            series,
            is_column_shared,
            floats: made.values.floats.into(),
            own_ms: made.values.own_ms.into(),
            histograms: made.histograms.into(),
            charge: Charge::default(),
        };
        points.charge = Charge::new(Kind::Samples, size_of::<Scrape>() + points.bytes());
        points
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
    fn the_spans_of_native_histograms_count_as_memory() {
        let spans = |many: usize| {
            let positive_spans = vec![super::super::HistogramSpan { offset: 0, length: 0 }; many].into();
            let mut builder = PointsBuilder::default();
            builder.push_histogram(0, Histogram { positive_spans, ..Histogram::stale() }, None);
            builder.finish().bytes()
        };
        assert_eq!(spans(4096) - spans(0), 4096 * 8);
    }

    #[test]
    fn the_labels_of_exemplars_count_as_memory() {
        let exemplar = |text: &str| {
            let labels: Labels<'_> = [("a", text)].into_iter().collect();
            Exemplar { series: 0, labels: labels.into_owned(), value: 1.0, at_ms: None }
        };
        assert_eq!(exemplar(&"x".repeat(1001)).bytes() - exemplar("x").bytes(), 1000);
    }

    #[test]
    fn values_may_get_their_series_later() {
        let mut builder = PointsBuilder::default();
        builder.push_value(1.0);
        builder.push_timed_value(2.0, Some(9));
        builder.name([7, 8].into_iter());
        builder.push_float(9, 3.0, None);
        let first = builder.finish();
        let read: Vec<_> = first.iter().map(|p| (p.series, p.own_ms)).collect();
        assert_eq!(read, [(7, None), (8, Some(9)), (9, None)]);
        for value in [1.0, 2.0, 3.0] {
            builder.push_value(value);
        }
        let second = builder.finish_as(first.series());
        assert!(Arc::ptr_eq(first.series(), second.series()));
        assert_eq!((first.bytes(), second.bytes()), (3 * 20, 3 * 8), "the column is counted once");
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
