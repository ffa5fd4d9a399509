//! One family while it is read: its metadata once and first, its metrics each in one piece, its points in the order of time.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashSet;

use super::Place;
use super::line::{Places, Time};
use super::names::Names;
use super::point::{self, Own, Part, Point};
use crate::exposition::BadLine;
use crate::exposition::text::{LineError, Sample};
use crate::model::{FamilyRef, METRIC_NAME, MetricType};

/// Metrics of one family, at most, the states or quantiles of the last one included.
const METRICS_MAX: usize = 4 << 20;

/// The family that is being read.
pub(super) struct Open {
    name: String,
    kind: Option<MetricType>,
    help: Option<String>,
    unit: Option<String>,
    /// Its first line, for what is wrong with all of it.
    first: BadLine,
    /// Whether its samples have begun: its type is known, and metadata comes too late.
    has_begun: bool,
    has_bad_line: bool,
    hasher: foldhash::fast::RandomState,
    /// A hash of each metric's labels: two of a million metrics have the same one by chance in one of 2²⁵ texts.
    metrics: HashSet<u64, foldhash::fast::RandomState>,
    /// The metric of the last sample.
    metric: Option<Metric>,
}

/// The metric that is being read.
struct Metric {
    hash: u64,
    /// The time of its last sample.
    time: Option<Time>,
    point: Point,
}

impl Open {
    pub(super) fn new(name: &str, place: Place<'_>) -> Self {
        let expected = "a family whose samples no other family could have (all lines of one stand together)";
        Self {
            name: name.to_owned(),
            kind: None,
            help: None,
            unit: None,
            first: place.bad(LineError { at: 0, expected }),
            has_begun: false,
            has_bad_line: false,
            hasher: foldhash::fast::RandomState::default(),
            metrics: HashSet::default(),
            metric: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> MetricType {
        self.kind.unwrap_or_default()
    }

    pub(super) fn family(&self) -> FamilyRef<'_> {
        FamilyRef {
            name: &self.name,
            help: self.help.as_deref().unwrap_or_default(),
            kind: self.kind(),
            unit: self.unit.as_deref().unwrap_or_default(),
        }
    }

    /// Whether a sample of this name belongs to the family.
    pub(super) fn has_part(&self, sample: &str) -> bool {
        self.part_of(sample).is_some()
    }

    fn part_of(&self, sample: &str) -> Option<Part> {
        Part::of(self.kind(), sample.strip_prefix(self.name.as_str())?)
    }

    /// A line was bad that may have been one of its samples: nothing is said of what it lacks.
    pub(super) fn has_bad_line(&mut self) {
        self.has_bad_line = true;
    }

    pub(super) fn set_help(&mut self, text: &str) -> Result<(), LineError> {
        self.is_new(self.help.is_some())?;
        self.help = Some(text.to_owned());
        Ok(())
    }

    pub(super) fn set_kind(&mut self, kind: MetricType, at: usize) -> Result<(), LineError> {
        self.is_new(self.kind.is_some())?;
        if has_no_unit(kind) && self.unit.as_ref().is_some_and(|unit| !unit.is_empty()) {
            return Err(LineError { at, expected: "a type that may have a unit (info and stateset may not)" });
        }
        self.kind = Some(kind);
        Ok(())
    }

    pub(super) fn set_unit(&mut self, unit: &str, at: usize) -> Result<(), LineError> {
        self.is_new(self.unit.is_some())?;
        let before = self.name.strip_suffix(unit).unwrap_or_default();
        if !unit.is_empty() && !before.ends_with('_') {
            return Err(LineError { at, expected: "the unit that the metric name ends with, behind an underscore" });
        }
        if has_no_unit(self.kind()) && !unit.is_empty() {
            return Err(LineError { at, expected: "no unit (info and stateset may not have one)" });
        }
        self.unit = Some(unit.to_owned());
        Ok(())
    }

    fn is_new(&self, is_there: bool) -> Result<(), LineError> {
        let wrong = |expected| Err(LineError { at: 0, expected });
        match () {
            () if self.has_begun => wrong("a sample or another family (metadata stands before the family's samples)"),
            () if is_there => wrong("metadata that the family does not have yet"),
            () => Ok(()),
        }
    }

    /// No more metadata: the family takes its place among the others. Says which limit of them that breaks.
    pub(super) fn begin(&mut self, names: &mut Names, each: &mut impl FnMut(BadLine)) -> Option<String> {
        if std::mem::replace(&mut self.has_begun, true) {
            return None;
        }
        if names.clashes(&self.name, self.kind()) {
            each(self.first.clone());
        }
        names.add(&self.name, self.kind())
    }

    /// Reads a sample, of which [`has_part`](Self::has_part) holds.
    pub(super) fn sample(
        &mut self,
        place: Place<'_>,
        sample: &Sample<'_>,
        places: &Places,
        each: &mut impl FnMut(BadLine),
    ) -> Result<(), LineError> {
        let kind = self.kind();
        let Some(part) = self.part_of(&sample.name) else { return Ok(()) };
        let own = Own::of(part, kind, &self.name, sample, places)?;
        point::check_value(part, kind, sample.value, places.value)?;
        point::check_exemplar(part, &own, sample, places)?;
        let hash = self.hash_of(part, sample);
        let is_same = self.metric.as_ref().is_some_and(|metric| metric.hash == hash);
        if !is_same {
            let may_return = part == Part::Info && places.time_of.is_some();
            if !self.metrics.insert(hash) && !may_return {
                let expected = "a metric that the family does not have yet (all samples of one stand together)";
                return Err(LineError { at: places.labels, expected });
            }
            self.end_point(each);
            self.metric = Some(Metric { hash, time: places.time_of, point: Point::new(kind, place) });
        }
        let Some(metric) = &mut self.metric else { return Ok(()) };
        if metric.is_next_point(part, &own, places)? {
            let point = std::mem::replace(&mut metric.point, Point::new(kind, place));
            if !self.has_bad_line {
                point.end(each);
            }
        }
        metric.time = places.time_of;
        metric.point.add(part, &own, sample.value, places)
    }

    /// The family has no more samples.
    pub(super) fn end(mut self, each: &mut impl FnMut(BadLine)) {
        self.end_point(each);
    }

    fn end_point(&mut self, each: &mut impl FnMut(BadLine)) {
        if let Some(metric) = self.metric.take()
            && !self.has_bad_line
        {
            metric.point.end(each);
        }
    }

    /// The limit that the family has broken.
    pub(super) fn too_much(&self) -> Option<String> {
        let held = self.metrics.len() + self.metric.as_ref().map_or(0, |metric| metric.point.held());
        (held > METRICS_MAX)
            .then(|| format!("the metric family {} has more than {METRICS_MAX} metrics", self.name.escape_debug()))
    }

    fn hash_of(&self, part: Part, sample: &Sample<'_>) -> u64 {
        let own = part.own_label(&self.name);
        let mut hasher = self.hasher.build_hasher();
        for (name, value) in sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME && Some(*name) != own) {
            (name, value).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Metric {
    /// Whether a sample of this metric starts another point of it.
    fn is_next_point(&self, part: Part, own: &Own<'_>, places: &Places) -> Result<bool, LineError> {
        match (&self.time, &places.time_of) {
            (None, None) => Ok(false),
            (Some(_), None) => Err(LineError {
                at: places.value,
                expected: "a value and a timestamp (the metric's sample before has one)",
            }),
            (None, Some(_)) => {
                Err(LineError { at: places.time, expected: "no timestamp (the metric's sample before has none)" })
            }
            (Some(last), Some(time)) if time.is_before(last) => {
                Err(LineError { at: places.time, expected: "a timestamp that is not below the one before" })
            }
            (Some(last), Some(time)) => Ok(last.is_before(time) || self.point.has(part, own)),
        }
    }
}

fn has_no_unit(kind: MetricType) -> bool {
    matches!(kind, MetricType::Info | MetricType::StateSet)
}
