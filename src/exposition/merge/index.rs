//! How one target's series stand in an exposition: by family, a metric's samples together, buckets ascending.
//!
//! An [`Index`] is made once for a [`SeriesSet`] and format, and kept until the target's set changes: four bytes a series, and
//! four a place. It depends on the series alone, never on their values.
//!
//! Invariants
//! - Places of one family are contiguous, and in it those of one metric (a label set without `le` or `quantile`).
//! - Two series with the same name and labels share a place: at most one of them is served.
//! - A sample stands under its family's type only when its name and labels fit that type in that format; else it is a
//!   family of its own name, of unknown type.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::super::write::{Format, is_bare_label_name, is_bare_metric_name};
use crate::model::{MetricType, SeriesRef, SeriesSet};

/// No place, no point.
pub(super) const NONE: u32 = u32::MAX;

/// A target's series in the order in which they are served.
#[derive(Debug)]
pub struct Index {
    of: u64,
    pub(super) families: Box<[LocalFamily]>,
    /// The place of each series, by its number.
    pub(super) places: Box<[u32]>,
    /// A series of each place.
    pub(super) series: Box<[u32]>,
}

/// A family of one target.
#[derive(Debug)]
pub(super) struct LocalFamily {
    /// One of its series, of which its name and metadata are taken.
    series: u32,
    /// Bytes that the sample's name has more than the family's.
    suffix: u8,
    pub(super) kind: MetricType,
    pub(super) start: u32,
    pub(super) end: u32,
    /// No name in it needs quotes.
    pub(super) is_bare: bool,
}

impl LocalFamily {
    /// The name that it is served under.
    pub(super) fn name<'s>(&self, set: &'s SeriesSet) -> &'s str {
        stem(set.get(self.series).name(), self.suffix)
    }

    pub(super) fn help<'s>(&self, set: &'s SeriesSet) -> &'s str {
        set.get(self.series).family().help
    }

    pub(super) fn unit<'s>(&self, set: &'s SeriesSet) -> &'s str {
        set.get(self.series).family().unit
    }

    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

fn stem(name: &str, suffix: u8) -> &str {
    &name[..name.len() - usize::from(suffix)]
}

/// The names beside its own that a family of this type lays claim to.
pub(super) fn suffixes(format: Format, kind: MetricType) -> &'static [&'static str] {
    match (format, kind) {
        (Format::Text, MetricType::Histogram) => &["_bucket", "_sum", "_count"],
        (Format::Text, MetricType::Summary) => &["_sum", "_count"],
        (Format::Text, _) => &[],
        (_, MetricType::Counter) => &["_total", "_created"],
        (_, MetricType::Histogram) => &["_bucket", "_sum", "_count", "_created"],
        (_, MetricType::GaugeHistogram) => &["_bucket", "_gsum", "_gcount"],
        (_, MetricType::Summary) => &["_sum", "_count", "_created"],
        (_, MetricType::Info) => &["_info"],
        (_, MetricType::Gauge | MetricType::StateSet | MetricType::Unknown) => &[],
    }
}

/// The label that tells the samples of one metric apart.
pub(super) fn inner_label(kind: MetricType, family: &str) -> &str {
    match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        MetricType::StateSet => family,
        // No label has an empty name.
        _ => "",
    }
}

/// Whether name and labels may stand without quotes.
pub(super) fn is_bare(series: &SeriesRef<'_>) -> bool {
    is_bare_metric_name(series.name()) && series.labels().all(|(name, _)| is_bare_label_name(name))
}

/// The role of a `_created` sample.
const CREATED: u8 = 3;

/// How a sample stands under its family.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fit {
    kind: MetricType,
    suffix: u8,
    /// The order of a metric's samples: buckets and quantiles, sum, count, created.
    role: u8,
    /// The bound of a bucket, or the quantile.
    bound: f64,
}

impl Fit {
    /// A family of its own.
    const fn alone(kind: MetricType) -> Self {
        Self { kind, suffix: 0, role: 0, bound: 0.0 }
    }

    fn of(format: Format, series: &SeriesRef<'_>) -> Self {
        let (family, name) = (series.family(), series.name());
        let part = name.strip_prefix(family.name).filter(|_| !family.name.is_empty()).unwrap_or("?");
        let fit = |role, bound| Self { kind: family.kind, suffix: part.len() as u8, role, bound };
        let bound = |label| series.label(label).and_then(parse_bound);
        // What is of the whole metric has no bound.
        let whole = |role| series.label(inner_label(family.kind, family.name)).is_none().then(|| fit(role, 0.0));
        match (family.kind, format) {
            (MetricType::Histogram, _) | (MetricType::GaugeHistogram, Format::OpenMetrics) => match part {
                "_bucket" => bound("le").map(|bound| fit(0, bound)),
                "_sum" | "_count" if family.kind == MetricType::Histogram => whole(1 + (part == "_count") as u8),
                "_gsum" | "_gcount" if family.kind == MetricType::GaugeHistogram => {
                    whole(1 + (part == "_gcount") as u8)
                }
                "_created" if format == Format::OpenMetrics && family.kind == MetricType::Histogram => whole(CREATED),
                _ => None,
            },
            (MetricType::Summary, _) => match part {
                "" => bound("quantile").filter(|q| (0.0..=1.0).contains(q)).map(|q| fit(0, q)),
                "_sum" | "_count" => whole(1 + (part == "_count") as u8),
                "_created" if format == Format::OpenMetrics => whole(CREATED),
                _ => None,
            },
            (MetricType::Counter, Format::OpenMetrics) => match part {
                "_created" => Some(fit(CREATED, 0.0)),
                _ => trimmed(MetricType::Counter, name, "_total"),
            },
            (MetricType::Counter, Format::Text) if part == "_created" => Some(Self::alone(MetricType::Gauge)),
            (MetricType::Info, Format::OpenMetrics) => trimmed(MetricType::Info, name, "_info"),
            (MetricType::StateSet, Format::OpenMetrics) => {
                series.label(name).map(|_| Self::alone(MetricType::StateSet))
            }
            (MetricType::Info | MetricType::StateSet, Format::Text) => Some(Self::alone(MetricType::Gauge)),
            (MetricType::Counter | MetricType::Gauge, _) => Some(Self::alone(family.kind)),
            (MetricType::GaugeHistogram | MetricType::Unknown, _) => None,
        }
        .unwrap_or(Self::alone(MetricType::Unknown))
    }
}

fn trimmed(kind: MetricType, name: &str, suffix: &str) -> Option<Fit> {
    let stem = name.strip_suffix(suffix)?;
    (!stem.is_empty()).then_some(Fit { kind, suffix: suffix.len() as u8, role: 0, bound: 0.0 })
}

/// Whether OpenMetrics lets this sample of a family of this type have an exemplar of that value: the total of a counter, and
/// a bucket that the value fell into.
pub(super) fn takes_exemplar(kind: MetricType, series: &SeriesRef<'_>, value: f64) -> bool {
    match kind {
        MetricType::Counter => series.name().ends_with("_total"),
        MetricType::Histogram | MetricType::GaugeHistogram => {
            series.name().ends_with("_bucket")
                && series.label("le").and_then(parse_bound).is_some_and(|bound| value <= bound)
        }
        _ => false,
    }
}

fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ => text.parse().ok().filter(|bound: &f64| bound.is_finite()),
    }
}

/// A hash of the labels without `inner`, with this process' key.
pub(super) fn metric_hash(keys: &RandomState, series: &SeriesRef<'_>, inner: &str) -> u64 {
    let mut hasher = keys.build_hasher();
    for (name, value) in series.labels().filter(|(name, _)| *name != inner) {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// Whether two series are samples of one metric.
pub(super) fn is_same_metric<'s>(left: &SeriesRef<'s>, right: &SeriesRef<'s>, inner: &str) -> bool {
    let outer = |series: &SeriesRef<'s>| series.labels().filter(move |(name, _)| *name != inner);
    outer(left).eq(outer(right))
}

/// A series on its way into the index.
struct Entry {
    family: u32,
    metric: u32,
    role: u8,
    bound: f64,
    series: u32,
}

/// The state that a sample of a state set is about; nothing in other families.
fn state<'s>(set: &'s SeriesSet, families: &[LocalFamily], entry: &Entry) -> &'s str {
    let family = &families[entry.family as usize];
    match family.kind {
        MetricType::StateSet => set.get(entry.series).label(family.name(set)).unwrap_or_default(),
        _ => "",
    }
}

/// A label set of a family, without the inner label.
struct Metric {
    family: u32,
    /// The first of its series.
    first: u32,
    hash: u64,
    has_infinity: bool,
    /// It has more than the time at which it began.
    has_value: bool,
}

struct Builder<'s> {
    format: Format,
    set: &'s SeriesSet,
    keys: RandomState,
    families: Vec<LocalFamily>,
    by_name: HashTable<(u64, u32)>,
    metrics: Vec<Metric>,
    by_labels: HashTable<u32>,
    entries: Vec<Entry>,
    last_family: u32,
}

impl Index {
    /// Whether it was made of this very set.
    pub fn is_of(&self, set: &SeriesSet) -> bool {
        self.of == set.id()
    }

    /// Orders the series of `set`.
    pub fn new(format: Format, set: &SeriesSet) -> Self {
        let mut builder = Builder {
            format,
            set,
            keys: RandomState::default(),
            families: Vec::new(),
            by_name: HashTable::new(),
            metrics: Vec::with_capacity(set.len()),
            by_labels: HashTable::with_capacity(set.len()),
            entries: Vec::with_capacity(set.len()),
            last_family: 0,
        };
        for (number, series) in set.iter().enumerate() {
            builder.add(number as u32, &series, Fit::of(format, &series));
        }
        builder.part_with_incomplete_metrics();
        builder.finish()
    }
}

impl Builder<'_> {
    fn add(&mut self, number: u32, series: &SeriesRef<'_>, fit: Fit) {
        let family = self.family(number, series, fit);
        let metric = self.metric(number, series, family);
        let is_infinite = fit.role == 0 && fit.bound == f64::INFINITY;
        let known = &mut self.metrics[metric as usize];
        known.has_infinity |= is_infinite;
        known.has_value |= fit.role != CREATED;
        self.entries.push(Entry { family, metric, role: fit.role, bound: fit.bound, series: number });
    }

    fn family(&mut self, number: u32, series: &SeriesRef<'_>, fit: Fit) -> u32 {
        let name = stem(series.name(), fit.suffix);
        let (set, families) = (self.set, &mut self.families);
        // A sample apart from its family, where no type was in force, is of that family all the same.
        let is_stray = fit.kind == MetricType::Unknown && series.family().kind == MetricType::Unknown;
        let takes_strays = |kind: MetricType| {
            matches!(kind, MetricType::Counter | MetricType::Gauge) && suffixes(self.format, kind).is_empty()
        };
        let is_kind = |kind: MetricType| kind == fit.kind || (is_stray && takes_strays(kind));
        let is_it = |family: &LocalFamily| is_kind(family.kind) && family.name(set) == name;
        let found = match families.get(self.last_family as usize) {
            Some(last) if is_it(last) => self.last_family,
            _ => {
                let hash = self.keys.hash_one(name);
                match self.by_name.find(hash, |(held, at)| *held == hash && is_it(&families[*at as usize])) {
                    Some(&(_, at)) => at,
                    None => {
                        let at = families.len() as u32;
                        let (series, suffix, kind) = (number, fit.suffix, fit.kind);
                        families.push(LocalFamily { series, suffix, kind, start: 0, end: 0, is_bare: true });
                        self.by_name.insert_unique(hash, (hash, at), |(hash, _)| *hash);
                        at
                    }
                }
            }
        };
        let family = &mut families[found as usize];
        family.is_bare &= is_bare(series);
        // A series that left its old family's metadata behind comes later: what it says is newer.
        if !series.family().help.is_empty() {
            (family.series, family.suffix) = (number, fit.suffix);
        }
        self.last_family = found;
        found
    }

    fn metric(&mut self, number: u32, series: &SeriesRef<'_>, family: u32) -> u32 {
        let local = &self.families[family as usize];
        let inner = inner_label(local.kind, local.name(self.set));
        let hash = metric_hash(&self.keys, series, inner) ^ u64::from(family).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (set, metrics) = (self.set, &mut self.metrics);
        let is_it = |held: &Metric| {
            held.hash == hash && held.family == family && is_same_metric(&set.get(held.first), series, inner)
        };
        if let Some(&at) = self.by_labels.find(hash, |&at| is_it(&metrics[at as usize])) {
            return at;
        }
        let at = metrics.len() as u32;
        metrics.push(Metric { family, first: number, hash, has_infinity: false, has_value: false });
        self.by_labels.insert_unique(hash, at, |&at| metrics[at as usize].hash);
        at
    }

    /// A histogram without a `+Inf` bucket is none, and the time at which a metric began says nothing without the metric:
    /// such samples become families of their own.
    fn part_with_incomplete_metrics(&mut self) {
        let is_incomplete = |builder: &Self, entry: &Entry| {
            let kind = builder.families[entry.family as usize].kind;
            let is_histogram = matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram);
            let metric = &builder.metrics[entry.metric as usize];
            (is_histogram && !metric.has_infinity) || (entry.role == CREATED && !metric.has_value)
        };
        for at in 0..self.entries.len() {
            if is_incomplete(self, &self.entries[at]) {
                let number = self.entries[at].series;
                self.add(number, &self.set.get(number), Fit::alone(MetricType::Unknown));
                self.entries.swap_remove(at);
            }
        }
    }

    fn finish(mut self) -> Index {
        self.entries.sort_unstable_by(|left, right| {
            let key = |entry: &Entry| (entry.family, entry.metric, entry.role);
            key(left)
                .cmp(&key(right))
                .then(left.bound.total_cmp(&right.bound))
                .then_with(|| state(self.set, &self.families, left).cmp(state(self.set, &self.families, right)))
                .then(left.series.cmp(&right.series))
        });
        let mut places = vec![NONE; self.set.len()].into_boxed_slice();
        let mut series = Vec::with_capacity(self.entries.len());
        let mut last: Option<&Entry> = None;
        for entry in &self.entries {
            let is_repeated = last.is_some_and(|last| {
                (last.family, last.metric, last.role, last.bound)
                    == (entry.family, entry.metric, entry.role, entry.bound)
                    && state(self.set, &self.families, last) == state(self.set, &self.families, entry)
            });
            if !is_repeated {
                let family = &mut self.families[entry.family as usize];
                if family.end == 0 {
                    family.start = series.len() as u32;
                }
                series.push(entry.series);
                family.end = series.len() as u32;
            }
            places[entry.series as usize] = series.len() as u32 - 1;
            last = Some(entry);
        }
        Index { of: self.set.id(), families: self.families.into(), places, series: series.into() }
    }
}
