//! The table read as scrapes.
//!
//! Promises
//! - Families are sorted by name, series by their labels, as the original has them: fewer labels first, then by the values.
//! - While no metric comes or goes, consecutive scrapes share their set of series, and a scrape costs its values.
//! - Where one does, all is sorted anew: about a microsecond a metric, outside of the lock that clients wait for.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::Collected;
use super::row::Row;
use super::state::{BOUNDS, Reading, Timings};
use crate::model::{
    Chunk, ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet,
};

/// What the original says of every metric.
const HELP: &str = "Metrics Agent collected metric";

/// The buckets of a timer, as they are written.
const BUCKETS: [&str; BOUNDS.len() + 1] = ["0.01", "0.2", "1", "15", "60", "+Inf"];

/// Reads a table as scrapes of one target. Consecutive scrapes share their set of series while the metrics stay the same.
#[derive(Debug)]
pub struct View {
    collected: Arc<Collected>,
    origin: Arc<Origin>,
    /// Whether a metric that goes ends with a stale marker.
    marks_gone: bool,
    held: Mutex<Held>,
}

/// The metrics as they were at the scrape before.
#[derive(Debug, Default)]
struct Held {
    /// That of the table; `None` before the first scrape.
    generation: Option<u64>,
    /// The metrics' numbers in the table, in order.
    numbers: Vec<u32>,
    /// In the same order; empty where nobody marks what is gone.
    rows: Vec<Arc<Row>>,
    series: Option<Arc<SeriesSet>>,
    column: Arc<[u32]>,
}

impl View {
    /// For the exporter: the metrics as they are, without more labels.
    pub fn bare(collected: Arc<Collected>) -> Self {
        let origin = Arc::new(Origin { key: 0, labels: Labels::new(), url: String::new() });
        Self { collected, origin, marks_gone: false, held: Mutex::default() }
    }

    /// For outputs: a target's scrapes. Its labels (`job`, `instance`, …) are on every series that has no such label, and a
    /// metric that goes ends with a stale marker.
    pub fn target(collected: Arc<Collected>, origin: Arc<Origin>) -> Self {
        Self { collected, origin, marks_gone: true, held: Mutex::default() }
    }

    /// What the table holds now. `at_ms` is above that of the scrape before.
    pub fn scrape(&self, at_ms: i64) -> Arc<Scrape> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut points = PointsBuilder::default();
        let mut met: Vec<(Arc<Row>, u32, Reading)> = Vec::new();
        let known = held.generation.map(|generation| (generation, held.numbers.as_slice()));
        let generation = self.collected.read(
            known,
            |reading| push(&mut points, reading),
            |number, row, reading| met.push((row.clone(), number, reading)),
        );
        if held.generation != Some(generation) {
            met.sort_unstable_by(|(one, ..), (other, ..)| order(one, other));
            met.iter().for_each(|(.., reading)| push(&mut points, *reading));
            return self.changed(&mut held, generation, met, points, at_ms);
        }
        let Held { series: Some(series), column, .. } = &*held else {
            return self.changed(&mut held, generation, met, points, at_ms);
        };
        let points = points.finish_as(column);
        self.made(at_ms, series.clone(), points)
    }

    /// A scrape of other metrics than the one before. `points` are the values of `met`.
    fn changed(
        &self,
        held: &mut Held,
        generation: u64,
        met: Vec<(Arc<Row>, u32, Reading)>,
        mut points: PointsBuilder,
        at_ms: i64,
    ) -> Arc<Scrape> {
        let rows: Vec<Arc<Row>> = met.iter().map(|(row, ..)| row.clone()).collect();
        let chunk = self.chunk(rows.iter());
        let mut chunks = vec![chunk.clone()];
        points.name(0..chunk.len() as u32);
        if self.marks_gone {
            let gone = self.chunk(gone(&held.rows, &rows));
            for series in 0..gone.len() {
                points.push_float((chunk.len() + series) as u32, STALE_NAN, None);
            }
            if !gone.is_empty() {
                chunks.push(gone);
            }
        }
        let steady = Arc::new(SeriesSet::new(vec![chunk.clone()]));
        let series = if chunks.len() > 1 { Arc::new(SeriesSet::new(chunks)) } else { steady.clone() };
        let points = points.finish();
        // What is shared is charged to the scrape that made it, unless that one has more.
        let is_shared = points.len() == chunk.len();
        *held = Held {
            generation: Some(generation),
            numbers: met.iter().map(|(_, number, _)| *number).collect(),
            rows: if self.marks_gone { rows } else { Vec::new() },
            series: Some(steady),
            column: if is_shared { points.series().clone() } else { (0..chunk.len() as u32).collect() },
        };
        self.made(at_ms, series, points)
    }

    fn made(&self, at_ms: i64, series: Arc<SeriesSet>, points: crate::model::Points) -> Arc<Scrape> {
        Arc::new(Scrape {
            origin: self.origin.clone(),
            at_ms,
            series,
            points,
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }

    /// The series of these metrics, with the target's labels.
    fn chunk<'r>(&self, rows: impl Iterator<Item = &'r Arc<Row>>) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::default();
        let mut family: Option<(u32, &str, MetricType)> = None;
        for row in rows {
            let name = row.name();
            let number = match family {
                Some((number, held, kind)) if held == name && kind == row.kind => number,
                _ => builder.family(Family { name, help: HELP, kind: row.kind, unit: "" }),
            };
            family = Some((number, name, row.kind));
            let mut labels: Labels<'_> = row.labels().collect();
            for (name, value) in
                self.origin.labels.iter().filter(|(name, _)| row.labels().all(|(held, _)| held != *name))
            {
                labels.set(name, value);
            }
            if row.kind != MetricType::Histogram {
                builder.push(number, name, labels.iter());
                continue;
            }
            let bucket = format!("{name}_bucket");
            for bound in BUCKETS {
                labels.set("le", bound);
                builder.push(number, &bucket, labels.iter());
            }
            labels.remove("le");
            builder.push(number, &format!("{name}_sum"), labels.iter());
            builder.push(number, &format!("{name}_count"), labels.iter());
        }
        builder.finish()
    }
}

/// Adds the values of a metric, in the order of its series.
fn push(points: &mut PointsBuilder, reading: Reading) {
    match reading {
        Reading::Number(value) => points.push_value(value),
        Reading::Timings(Timings { counts, sum }) => {
            let mut below = 0u64;
            for count in counts {
                below += count;
                points.push_value(below as f64);
            }
            points.push_value(sum);
            points.push_value(below as f64);
        }
    }
}

/// As the original sorts what it writes: families by name, their metrics by how many labels they have, then by the values. Rows
/// that are equal in this have the same series, also where their types differ: a family has one type at a time.
fn order(one: &Row, other: &Row) -> Ordering {
    let by_values = || one.labels().map(|(_, value)| value).cmp(other.labels().map(|(_, value)| value));
    one.name()
        .cmp(other.name())
        .then_with(|| one.labels().len().cmp(&other.labels().len()))
        .then_with(by_values)
        .then_with(|| one.labels().cmp(other.labels()))
}

/// What is in `before` and not in `now`; both are sorted.
fn gone<'r>(before: &'r [Arc<Row>], now: &'r [Arc<Row>]) -> impl Iterator<Item = &'r Arc<Row>> {
    let mut now = now.iter().peekable();
    before.iter().filter(move |row| {
        while now.next_if(|next| order(next, row) == Ordering::Less).is_some() {}
        now.peek().is_none_or(|next| order(next, row) != Ordering::Equal)
    })
}
