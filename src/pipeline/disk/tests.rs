//! A queue on a real folder, opened and opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::model::{
    Chunk, ChunkBuilder, Exemplar, Family, Histogram, HistogramSpan, Labels, MetricType, Origin, PointsBuilder,
    STALE_NAN, Scrape, SeriesSet, Value,
};
use crate::pipeline::{Ledger, Settlement, Slice, reason};

const LIMITS: Limits =
    Limits { bytes: 64 << 20, age: Duration::from_secs(3600), overflow: Overflow::DropOldest, is_synced: false };

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A scrape of one gauge for each value, `m0`, `m1` and so on.
fn scrape(values: &[f64]) -> Arc<Scrape> {
    let mut builder = ChunkBuilder::default();
    let mut points = PointsBuilder::default();
    for (at, value) in values.iter().enumerate() {
        let name = format!("m{at}");
        let family = builder.family(Family { name: &name, kind: MetricType::Gauge, ..Family::default() });
        let number = builder.push(family, &name, [("n", name.as_str())].into_iter());
        points.push_float(number, *value, None);
    }
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 7, labels: Labels::new(), url: "https://h/metrics".into() }),
        at_ms: 1_000,
        series: Arc::new(SeriesSet::new(vec![builder.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        is_last: false,
    })
}

fn batch_of(ledger: &Arc<Ledger>, slices: Vec<Slice>) -> Batch {
    let samples = slices.iter().map(Slice::samples).sum();
    Batch::new(slices, ledger.offer(samples), Instant::now())
}

fn batch(ledger: &Arc<Ledger>, values: &[f64]) -> Batch {
    batch_of(ledger, vec![Slice::whole(scrape(values))])
}

fn values(batch: &Batch) -> Vec<f64> {
    let value = |value| if let Value::Float(value) = value { value } else { panic!("a float was written") };
    batch.slices.iter().flat_map(|slice| slice.points()).map(|(point, _)| value(point.value)).collect()
}

fn open(folder: &Path, lanes: usize) -> (Arc<Ledger>, Arc<Disk>) {
    let ledger = Ledger::new("test");
    (ledger.clone(), Disk::open(folder, LIMITS, lanes, &ledger).unwrap())
}

fn deliver(mut batch: Batch) {
    let settlement = Settlement::delivered(batch.waiting.samples());
    batch.settle(&settlement);
}

#[test]
fn what_is_written_comes_back_after_a_restart_and_what_is_settled_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let (ledger, disk) = open(&path, 1);
    for value in [1.0, 2.0, 3.0] {
        let mut batch = batch(&ledger, &[value]);
        disk.write(0, &mut batch).unwrap();
        disk.put_back(batch).unwrap();
    }
    assert_eq!((disk.state().records, disk.state().samples), (3, 3));
    let taken = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!(values(&taken), [1.0]);
    deliver(taken);
    assert_eq!(disk.state().records, 2);
    disk.close();
    drop(disk);
    let counts = ledger.snapshot();
    assert_eq!((counts.waiting, counts.settled.delivered, counts.imbalance()), (2, 1, 0));

    let (ledger, disk) = open(&path, 1);
    assert_eq!(ledger.snapshot().restored, 2);
    let newest = disk.take(0, Pick::Newest).unwrap();
    let oldest = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!((values(&newest), values(&oldest)), (vec![3.0], vec![2.0]));
    assert!(disk.take(0, Pick::Oldest).is_none() && !disk.is_drained(0));
    deliver(newest);
    deliver(oldest);
    assert!(disk.is_drained(0));
    disk.maintain();
    assert_eq!(disk.state(), DiskState::default());
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "in a steady state nothing is on disk");
}
