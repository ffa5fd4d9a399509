//! Hands each scrape to every output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::ledger::{Ledger, Settlement, reason};
use crate::model::{
    Chunk, ChunkBuilder, Created, Exemplar, Labels, METRIC_NAME, PointsBuilder, Scrape, SeriesSet, Value,
};

/// Where an output takes scrapes in. Must never wait.
pub trait Intake: Send + Sync {
    /// Takes one scrape in, and counts it.
    fn offer(&self, scrape: &Arc<Scrape>);
}

/// Every output's intake. A reload replaces the list; a scrape in flight goes to the list that it met.
#[derive(Default)]
pub struct Fanout {
    outputs: RwLock<Arc<[Arc<dyn Intake>]>>,
}

impl Fanout {
    /// A fan-out to these outputs.
    pub fn new(outputs: Vec<Arc<dyn Intake>>) -> Arc<Self> {
        Arc::new(Self { outputs: RwLock::new(outputs.into()) })
    }

    /// From now on, scrapes go to these.
    pub fn replace(&self, outputs: Vec<Arc<dyn Intake>>) {
        *self.outputs.write().unwrap_or_else(PoisonError::into_inner) = outputs.into();
    }

    /// Hands a scrape to every output. Never waits.
    pub fn offer(&self, scrape: &Arc<Scrape>) {
        let outputs = self.outputs.read().unwrap_or_else(PoisonError::into_inner).clone();
        for output in outputs.iter() {
            output.offer(scrape);
        }
    }
}

impl Intake for super::Queue {
    fn offer(&self, scrape: &Arc<Scrape>) {
        self.push(scrape);
    }
}

/// Rules over a label set, `__name__` included; `false` drops the series.
pub type Rules = dyn Fn(&mut Labels<'_>) -> bool + Send + Sync;

/// An output's `write_relabel_configs`: its own view of each series set, made once for each chunk.
///
/// Series that rules make equal stay two series here: the receiver sees a repeated sample, and says so.
pub struct Projection {
    rules: Box<Rules>,
    ledger: Arc<Ledger>,
    next: Arc<dyn Intake>,
    /// The last view of each target, by the origin's key.
    views: Mutex<HashMap<u64, Arc<View>>>,
}

/// A series set as an output sees it.
struct View {
    of: u64,
    chunks: Vec<ChunkView>,
    series: Arc<SeriesSet>,
    /// New number by old number.
    numbers: Box<[Option<u32>]>,
}

#[derive(Clone)]
struct ChunkView {
    of: u64,
    chunk: Arc<Chunk>,
    /// Position in `chunk` by position in the original.
    positions: Arc<[Option<u32>]>,
}

impl Projection {
    /// Puts `rules` before `next`; samples that they drop are skipped in `ledger`.
    pub fn new(rules: Box<Rules>, ledger: Arc<Ledger>, next: Arc<dyn Intake>) -> Arc<Self> {
        Arc::new(Self { rules, ledger, next, views: Mutex::default() })
    }

    fn view(&self, scrape: &Scrape) -> Arc<View> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let held = views.get(&scrape.origin.key).filter(|_| !scrape.is_last).cloned();
        if let Some(view) = held.as_ref().filter(|view| view.of == scrape.series.id()) {
            return view.clone();
        }
        let known = held.as_ref().map_or(&[][..], |view| &view.chunks);
        let view = Arc::new(self.look_at(&scrape.series, known));
        if scrape.is_last {
            views.remove(&scrape.origin.key);
        } else {
            views.insert(scrape.origin.key, view.clone());
        }
        view
    }

    fn look_at(&self, series: &SeriesSet, known: &[ChunkView]) -> View {
        let chunks: Vec<ChunkView> = series
            .chunks()
            .iter()
            .map(|chunk| {
                known.iter().find(|view| view.of == chunk.id()).cloned().unwrap_or_else(|| self.project(chunk))
            })
            .collect();
        let mut start = 0;
        let mut numbers = Vec::with_capacity(series.len());
        for view in &chunks {
            numbers.extend(view.positions.iter().map(|at| at.map(|at| start + at)));
            start += view.chunk.len() as u32;
        }
        let projected = SeriesSet::new(chunks.iter().map(|view| view.chunk.clone()).collect());
        View { of: series.id(), chunks, series: Arc::new(projected), numbers: numbers.into() }
    }

    fn project(&self, chunk: &Chunk) -> ChunkView {
        let mut builder = ChunkBuilder::default();
        let mut families = HashMap::new();
        let positions = chunk
            .iter()
            .map(|series| {
                let mut labels: Labels = series.labels().collect();
                labels.set(METRIC_NAME, series.name());
                if !(self.rules)(&mut labels) {
                    return None;
                }
                let name = labels.remove(METRIC_NAME)?;
                let family = series.family();
                let index = *families.entry((family.name, family.kind)).or_insert_with(|| builder.family(family));
                Some(builder.push(index, &name, labels.iter()))
            })
            .collect();
        ChunkView { of: chunk.id(), chunk: builder.finish(), positions }
    }
}

impl Intake for Projection {
    fn offer(&self, scrape: &Arc<Scrape>) {
        let view = self.view(scrape);
        let number = |series: u32| view.numbers.get(series as usize).copied().flatten();
        let mut points = PointsBuilder::default();
        for point in scrape.points.iter() {
            let Some(series) = number(point.series) else { continue };
            match point.value {
                Value::Float(value) => points.push_float(series, value, point.own_ms),
                Value::Histogram(value) => points.push_histogram(series, value.clone(), point.own_ms),
            }
        }
        let left_out = (scrape.samples() - points.len()) as u64;
        let mut waiting = self.ledger.offer(left_out);
        waiting.settle(&Settlement { skipped: [(reason::WRITE_RELABEL, left_out)].into(), ..Settlement::default() });
        let exemplars = scrape
            .exemplars
            .iter()
            .filter_map(|exemplar| Some(Exemplar { series: number(exemplar.series)?, ..exemplar.clone() }));
        let created =
            scrape.created.iter().filter_map(|created| Some(Created { series: number(created.series)?, ..*created }));
        self.next.offer(&Arc::new(Scrape {
            origin: scrape.origin.clone(),
            at_ms: scrape.at_ms,
            series: view.series.clone(),
            points: points.finish(),
            exemplars: exemplars.collect(),
            created: created.collect(),
            is_last: scrape.is_last,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, MetricType, Origin};

    struct Kept(Mutex<Vec<Arc<Scrape>>>);

    impl Intake for Kept {
        fn offer(&self, scrape: &Arc<Scrape>) {
            self.0.lock().unwrap().push(scrape.clone());
        }
    }

    fn scrape(series: &Arc<SeriesSet>) -> Arc<Scrape> {
        let mut points = PointsBuilder::default();
        let (mut exemplars, mut created) = (Vec::new(), Vec::new());
        for number in 0..series.len() as u32 {
            points.push_float(number, f64::from(number), None);
            exemplars.push(Exemplar { series: number, labels: Labels::new(), value: f64::from(number), at_ms: None });
            created.push(Created { series: number, at_ms: i64::from(number) });
        }
        Arc::new(Scrape {
            origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
            at_ms: 1,
            series: series.clone(),
            points: points.finish(),
            exemplars: exemplars.into(),
            created: created.into(),
            is_last: false,
        })
    }

    fn chunk(names: &[&str]) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::default();
        let family = builder.family(Family { name: "f", kind: MetricType::Gauge, ..Family::default() });
        for name in names {
            builder.push(family, name, [("x", "1")].into_iter());
        }
        builder.finish()
    }

    #[test]
    fn an_output_sees_its_own_labels_and_counts_what_it_leaves_out() {
        let kept = Arc::new(Kept(Mutex::default()));
        let ledger = Ledger::new("test");
        let rules = |labels: &mut Labels<'_>| {
            labels.set("x", "");
            labels.get(METRIC_NAME) != Some("b")
        };
        let projection = Projection::new(Box::new(rules), ledger.clone(), kept.clone());
        let first = chunk(&["a", "b", "c"]);
        let set = Arc::new(SeriesSet::new(vec![first.clone()]));
        projection.offer(&scrape(&set));
        projection.offer(&scrape(&set));
        projection.offer(&scrape(&Arc::new(SeriesSet::new(vec![first, chunk(&["d"])]))));

        let kept = kept.0.lock().unwrap();
        assert!(Arc::ptr_eq(&kept[0].series, &kept[1].series), "a steady target keeps one view");
        assert!(Arc::ptr_eq(&kept[1].series.chunks()[0], &kept[2].series.chunks()[0]), "a chunk is looked at once");
        let read: Vec<_> = kept[2].points.iter().map(|p| (kept[2].series.get(p.series).name(), p.value)).collect();
        assert_eq!(read, [("a", Value::Float(0.0)), ("c", Value::Float(2.0)), ("d", Value::Float(3.0))]);
        let exemplars: Vec<_> = kept[2].exemplars.iter().map(|held| (held.series, held.value)).collect();
        assert_eq!(exemplars, [(0, 0.0), (1, 2.0), (2, 3.0)]);
        assert_eq!(
            kept[2].created.iter().map(|held| (held.series, held.at_ms)).collect::<Vec<_>>(),
            [(0, 0), (1, 2), (2, 3)]
        );
        assert_eq!(kept[2].series.get(0).labels().len(), 0);
        assert_eq!(ledger.snapshot().settled.skipped.get(reason::WRITE_RELABEL), Some(&3));
    }
}
