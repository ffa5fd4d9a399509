//! A batch as an `ExportMetricsServiceRequest`: a `ResourceMetrics` for each resource of each scrape.
//!
//! In protobuf each of these is an item, as they stand in the body one behind the other; in JSON the body is one item. Samples of
//! items, skipped and rejected ones add up to the batch's, always.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::fields::{self, resource_metrics, scope_metrics};
use super::labels::{AttributeValue, Attributes, LabelRules, Role, Rules, attribute, taken};
use super::plan::{NONE, Part, Plan, Planning};
use super::point::{Points, Scratch};
use super::wire::{Json, Proto, Size, Wire};
use crate::model::{Exemplar, Point, Scrape, Value};
use crate::output::cumulative::{Ahead, Cumulative};
use crate::output::expected::Expected;
use crate::output::json::Plans;
use crate::pipeline::{Compression, Encoded, Item, Reasons, Rejection, Slice, reason};

/// Skipped: a sample that says something of others, which are not there.
pub(super) const METADATA_ONLY: &str = "metadata_only";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::output) enum Format {
    Protobuf,
    Json,
}

/// What sums and histograms say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::output) enum Temporality {
    /// All since they began to count.
    Cumulative,
    /// How much they rose since the last sample.
    Delta,
}

/// Makes requests.
#[derive(Debug)]
pub(in crate::output) struct Encoder {
    pub format: Format,
    pub temporality: Temporality,
    /// Whether what a target does not say of when a series began to count is taken from its samples.
    pub observes_starts: bool,
    pub compression: Compression,
    /// Path below the receiver's URL.
    pub path: String,
    pub(super) labels: LabelRules,
    /// Limits of a receiver.
    pub(super) rules: Option<Box<dyn Rules>>,
}

/// What is known of targets, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    plans: Plans<Plan>,
    sorted: Sorted,
    expected: Expected,
}

/// What becomes of samples that are not sent.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub skipped: Reasons,
    pub rejected: Vec<Rejection>,
    /// Numbers of points that the state must know of.
    pub noted: Vec<u32>,
}

impl Losses {
    pub fn skip(&mut self, reason: &'static str, samples: u64) {
        if samples > 0 {
            *self.skipped.entry(reason).or_default() += samples;
        }
    }

    /// The first one of a reason is explained.
    pub fn reject(&mut self, reason: &'static str, samples: u64, why: impl FnOnce() -> String) {
        match self.rejected.iter_mut().find(|rejected| rejected.reason == reason) {
            Some(rejected) => rejected.samples += samples,
            None => self.rejected.push(Rejection { reason, samples, why: why() }),
        }
    }
}

impl Encoder {
    /// Makes the request of a batch's slices. `state` is what was settled before.
    pub fn encode(&self, state: &Cumulative, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        match self.format {
            Format::Protobuf => self.encode_as::<Proto>(state, cache, slices),
            Format::Json => self.encode_as::<Json>(state, cache, slices),
        }
    }

    fn encode_as<W: Wire>(&self, state: &Cumulative, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        let samples: u64 = slices.iter().map(Slice::samples).sum();
        let mut body = Body {
            encoder: self,
            ahead: state.ahead(),
            items: Vec::new(),
            points: Vec::with_capacity(samples as usize),
            losses: Losses::default(),
            start: 0,
            is_last: false,
        };
        let last: HashMap<u64, usize, RandomState> =
            (0..).zip(slices).map(|(at, slice)| (slice.scrape.origin.key, at)).collect();
        let planning = Planning { labels: &self.labels, rules: self.rules.as_deref() };
        let mut out = Vec::with_capacity(cache.expected.bytes(samples));
        let mut write = |out: &mut Vec<u8>| {
            for (at, slice) in slices.iter().enumerate() {
                let scrape = &*slice.scrape;
                body.is_last = last.get(&scrape.origin.key) == Some(&at);
                let plan = cache.plans.of(scrape, |plan, series| planning.add::<W>(plan, scrape, series));
                body.add::<W>(out, slice, plan, &mut cache.sorted);
                cache.plans.written(scrape);
            }
        };
        match self.format {
            Format::Protobuf => write(&mut out),
            Format::Json => W::fragment(&mut out, |out| W::list(out, fields::RESOURCE_METRICS, write)),
        }
        cache.plans.end_batch();
        cache.expected.note(out.len(), body.points.len());
        body.finish(out)
    }
}

/// A body that is being written.
struct Body<'e> {
    encoder: &'e Encoder,
    ahead: Ahead<'e>,
    items: Vec<Item>,
    points: Vec<u32>,
    losses: Losses,
    /// The number of the first point of the scrape in hand.
    start: u32,
    /// The scrape in hand is the last one of its target.
    is_last: bool,
}

impl Body<'_> {
    fn add<W: Wire>(&mut self, out: &mut Vec<u8>, slice: &Slice, plan: &Plan, sorted: &mut Sorted) {
        let scrape = &*slice.scrape;
        let infos = infos(scrape, plan);
        let rules = self.encoder.rules.as_deref();
        let most = if rules.is_some() { self.attributes_of_infos(scrape, &infos) } else { 0 };
        sorted.sort(slice, plan, &mut self.losses, rules, most);
        let mut order = &plan.order[..];
        while let Some(&first) = order.first() {
            let resource = plan.metrics[plan.cells[first as usize].metric as usize].resource;
            let is_of = |cell: &u32| plan.metrics[plan.cells[*cell as usize].metric as usize].resource == resource;
            let (cells, rest) = order.split_at(order.partition_point(is_of));
            order = rest;
            let before = self.points.len();
            let attributes = self.resource(plan, resource, scrape, of_resource(&infos, resource));
            let written = self.item::<W>(out, (scrape, plan), sorted, cells, &attributes);
            if let Some(item) = written {
                self.take_beside(plan, sorted, resource);
                let samples = (self.points.len() - before) as u32;
                self.items.push(Item { samples, ..item });
            }
        }
        self.losses.skip(METADATA_ONLY, (sorted.beside.len() - sorted.beside_taken) as u64);
        self.start += scrape.samples() as u32;
    }

    /// How many attributes the `target_info` of one resource has, at most.
    fn attributes_of_infos(&self, scrape: &Scrape, infos: &[(u32, u32)]) -> usize {
        let is_attribute = |label: &(&str, &str)| self.encoder.labels.role(label.0) == Role::Attribute;
        let attributes = |series| scrape.series.get(series).labels().filter(is_attribute).count();
        let of_each = infos.chunk_by(|one, other| one.0 == other.0);
        of_each.map(|of| of.iter().map(|&(_, series)| attributes(series)).sum()).max().unwrap_or(0)
    }

    /// The attributes of a resource: those that are known of the target, and those of its `target_info`.
    fn resource(&self, plan: &Plan, resource: u32, scrape: &Scrape, infos: &[(u32, u32)]) -> Attributes {
        let known = &plan.resources[resource as usize];
        let mut attributes = known.clone();
        if infos.is_empty() {
            return attributes;
        }
        // A target may have very many of them.
        let mut held: HashSet<Cow<'_, str>, RandomState> = known.iter().map(|(name, _)| name.as_str().into()).collect();
        let is_attribute = |label: &(&str, &str)| self.encoder.labels.role(label.0) == Role::Attribute;
        for &(_, series) in infos {
            for (name, value) in scrape.series.get(series).labels().filter(is_attribute) {
                let Some((name, value)) = taken(self.encoder.rules.as_deref(), name, value) else { continue };
                if !value.is_empty() && held.insert(name.clone()) {
                    attributes.push((name.into_owned(), AttributeValue::Text(value.into_owned())));
                }
            }
        }
        attributes
    }

    /// Writes the data points of these cells, which are of one resource. `None` where there is none; the item lacks its samples.
    fn item<W: Wire>(
        &mut self,
        out: &mut Vec<u8>,
        (scrape, plan): (&Scrape, &Plan),
        sorted: &mut Sorted,
        cells: &[u32],
        attributes: &Attributes,
    ) -> Option<Item> {
        let begin = out.len();
        let (used, scratch) = (std::mem::take(&mut sorted.used), std::mem::take(&mut sorted.scratch));
        let mut points = Points {
            encoder: self.encoder,
            scrape,
            plan,
            sorted: &*sorted,
            ahead: &mut self.ahead,
            losses: &mut self.losses,
            taken: &mut self.points,
            start: self.start,
            used,
            scratch,
            is_last: self.is_last && !sorted.has_own_times,
        };
        let written = W::entry(out, fields::RESOURCE_METRICS, Size::Large, |out| {
            W::message(out, resource_metrics::RESOURCE, Size::Small, |out| {
                W::list(out, fields::resource::ATTRIBUTES, |out| {
                    attributes
                        .iter()
                        .for_each(|(key, value)| attribute::<W>(out, fields::resource::ATTRIBUTES, key, value));
                });
            });
            W::list(out, resource_metrics::SCOPE_METRICS, |out| scopes::<W>(out, &mut points, plan, cells))
        });
        (sorted.used, sorted.scratch) = (points.used, points.scratch);
        if written == 0 {
            out.truncate(begin);
            return None;
        }
        Some(Item { end: out.len(), samples: 0, mark: written })
    }

    /// What says something of the data points of an item goes with it.
    fn take_beside(&mut self, plan: &Plan, sorted: &mut Sorted, resource: u32) {
        let before = self.points.len();
        for &(_, at, series) in beside_of(&sorted.beside, resource) {
            let is_said = match plan.slot(series).part {
                Part::Created(number) => sorted.used.get(number as usize) == Some(&true),
                _ => true,
            };
            if is_said {
                self.points.push(self.start + at);
            }
        }
        sorted.beside_taken += self.points.len() - before;
    }

    fn finish(self, out: Vec<u8>) -> Encoded {
        let Self { encoder, mut items, points, losses, .. } = self;
        let content_type = match encoder.format {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        };
        if encoder.format == Format::Json {
            let (samples, mark) = items.iter().fold((0, 0), |(s, m), item| (s + item.samples, m + item.mark));
            items = if items.is_empty() { items } else { vec![Item { end: out.len(), samples, mark }] };
        }
        let body = if items.is_empty() { Bytes::new() } else { out.into() };
        Encoded {
            path_and_query: encoder.path.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]),
            body,
            items,
            points,
            skipped: losses.skipped,
            rejected: losses.rejected,
            noted: losses.noted,
            compression: encoder.compression,
            ..Encoded::default()
        }
    }
}

/// Writes cells of one resource. Returns how many data points there are.
fn scopes<W: Wire>(out: &mut Vec<u8>, points: &mut Points<'_, '_>, plan: &Plan, cells: &[u32]) -> u32 {
    let metric_of = |cell: &u32| plan.cells[*cell as usize].metric;
    let scope_of = |cell: &u32| plan.metrics[metric_of(cell) as usize].scope;
    let mut total = 0;
    for of_scope in cells.chunk_by(|one, other| scope_of(one) == scope_of(other)) {
        let Some(scope) = of_scope.first().and_then(|cell| plan.scopes.get(scope_of(cell) as usize)) else { continue };
        let begin = out.len();
        let written = W::entry(out, resource_metrics::SCOPE_METRICS, Size::Large, |out| {
            W::message(out, scope_metrics::SCOPE, Size::Small, |out| out.extend_from_slice(&scope.content));
            W::text(out, scope_metrics::SCHEMA_URL, &scope.schema_url);
            W::list(out, scope_metrics::METRICS, |out| {
                let of_metrics = of_scope.chunk_by(|one, other| metric_of(one) == metric_of(other));
                of_metrics.map(|cells| points.metric::<W>(out, cells)).sum::<u32>()
            })
        });
        if written == 0 {
            out.truncate(begin);
        }
        total += written;
    }
    total
}

/// The `target_info` series of a scrape, each with its resource: those that are there, or, where none is, those that are gone
/// now, whose markers belong to the same resource as before.
fn infos(scrape: &Scrape, plan: &Plan) -> Vec<(u32, u32)> {
    if plan.infos.is_empty() {
        return Vec::new();
    }
    let infos = scrape.points.iter().filter(|point| plan.slot(point.series).part == Part::Info);
    let mut found: Vec<(u32, bool, u32)> =
        infos.map(|point| (plan.slot(point.series).place, point.value.is_stale(), point.series)).collect();
    found.sort_unstable();
    let of_each = found.chunk_by(|one, other| one.0 == other.0);
    // Those that are there come first.
    let first = |of: &[(u32, bool, u32)]| of.first().map(|(_, is_stale, _)| *is_stale);
    of_each
        .flat_map(|of| of.iter().filter(move |(_, is_stale, _)| Some(*is_stale) == first(of)))
        .map(|(resource, _, series)| (*resource, *series))
        .collect()
}

/// Those of one resource, in a list that is sorted by it.
fn of_resource(infos: &[(u32, u32)], resource: u32) -> &[(u32, u32)] {
    let from = infos.partition_point(|(of, _)| *of < resource);
    let to = infos.partition_point(|(of, _)| *of <= resource);
    &infos[from..to]
}

/// The same of samples that say something of others.
fn beside_of(beside: &[(u32, u32, u32)], resource: u32) -> &[(u32, u32, u32)] {
    let from = beside.partition_point(|(of, _, _)| *of < resource);
    let to = beside.partition_point(|(of, _, _)| *of <= resource);
    &beside[from..to]
}

/// The points of one scrape by cell, and memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// The cell of each point of the scrape, or [`NONE`].
    cell_of: Vec<u32>,
    /// Where in `positions` a cell's points end.
    ends: Vec<u32>,
    /// Positions of points in the scrape, in order within a cell, one cell after another.
    positions: Vec<u32>,
    /// Resources, positions and series of samples that say something of others; sorted.
    beside: Vec<(u32, u32, u32)>,
    /// How many of them are in an item.
    beside_taken: usize,
    /// By the number of a `_created` series, since when, in milliseconds; 0 where it does not say so.
    created: Vec<i64>,
    /// By series, the same of what is said apart from samples.
    created_apart: Vec<i64>,
    /// Series and numbers of exemplars, by series.
    exemplars: Vec<(u32, u32)>,
    /// By the number of a `_created` series, whether what it is about is there.
    used: Vec<bool>,
    scratch: Scratch,
    pub has_own_times: bool,
}

impl Sorted {
    /// `infos` is how many attributes the `target_info` of a resource has, at most.
    fn sort(&mut self, slice: &Slice, plan: &Plan, losses: &mut Losses, rules: Option<&dyn Rules>, infos: usize) {
        let scrape = &*slice.scrape;
        self.cell_of.clear();
        self.cell_of.resize(scrape.points.len(), NONE);
        self.ends.clear();
        self.ends.resize(plan.cells.len(), 0);
        self.created.clear();
        self.created.resize(plan.created.len(), 0);
        self.used.clear();
        self.used.resize(plan.created.len(), false);
        self.has_own_times = false;
        self.beside.clear();
        self.beside_taken = 0;
        let mut look = |at: u32| {
            let point = scrape.points.get(at as usize);
            let slot = plan.slot(point.series);
            self.has_own_times |= point.own_ms.is_some();
            let cell = match (slot.part, point.value) {
                (Part::Number(_) | Part::Bucket(_) | Part::Sum | Part::Count | Part::Quantile(_), Value::Float(_)) => {
                    slot.place
                }
                (Part::Native, Value::Histogram(histogram)) if !histogram.is_float && !histogram.is_gauge => {
                    slot.place + u32::from(histogram.schema == super::native::CUSTOM_BOUNDS)
                }
                _ => return self.place_beside(at, &point, scrape, plan, losses, rules),
            };
            if let Some(rules) = rules.filter(|_| infos > 0) {
                let series = scrape.series.get(point.series);
                if let Some(reason) = rules.refuses(series, infos) {
                    return losses.reject(reason, 1, || rules.explain(reason, series, infos));
                }
            }
            self.ends[cell as usize] += 1;
            self.cell_of[at as usize] = cell;
        };
        match slice.selected() {
            None => (0..scrape.points.len() as u32).for_each(&mut look),
            Some(selected) => selected.iter().copied().for_each(&mut look),
        }
        self.beside.sort_unstable();
        self.place();
        self.list_beside(scrape);
    }

    /// A point that is in no cell.
    fn place_beside(
        &mut self,
        at: u32,
        point: &Point<'_>,
        scrape: &Scrape,
        plan: &Plan,
        losses: &mut Losses,
        rules: Option<&dyn Rules>,
    ) {
        let name = || crate::net::text::escaped(scrape.series.get(point.series).name());
        let slot = plan.slot(point.series);
        match (slot.part, point.value) {
            (Part::Created(_) | Part::Info, value) if value.is_stale() => losses.skip(reason::STALE_MARKER, 1),
            (Part::Created(number), Value::Float(seconds)) => {
                self.created[number as usize] = (seconds * 1000.0) as i64;
                self.beside.push((slot.place, at, point.series));
            }
            (Part::Info, Value::Float(_)) => self.beside.push((slot.place, at, point.series)),
            (Part::Refused(number), _) => {
                let reason = plan.reason(number);
                losses.reject(reason, 1, || match rules.filter(|_| reason != super::plan::BAD_SERIES) {
                    Some(rules) => rules.explain(reason, scrape.series.get(point.series), 0),
                    None => format!(
                        "{} is of a histogram or a summary, and is no part of one: it lacks a bound, or has none that is a \
                         number",
                        name()
                    ),
                });
            }
            (Part::Native, Value::Float(value)) if crate::model::is_stale(value) => {
                losses.skip(reason::STALE_MARKER, 1)
            }
            (Part::Native, Value::Float(_)) => losses.reject(super::plan::BAD_SERIES, 1, || {
                format!("{} is of a histogram, and is none of its parts, nor a native histogram", name())
            }),
            _ => losses.skip(reason::UNSUPPORTED_TYPE, 1),
        }
    }

    /// From how many points each cell has to where they are: a counting sort.
    fn place(&mut self) {
        let mut start = 0;
        for count in &mut self.ends {
            start += std::mem::replace(count, start);
        }
        // Where a cell starts moves to where it ends.
        self.positions.resize(start as usize, 0);
        for (at, &cell) in (0..).zip(&self.cell_of).filter(|(_, cell)| **cell != NONE) {
            let end = &mut self.ends[cell as usize];
            self.positions[*end as usize] = at;
            *end += 1;
        }
    }

    /// What stands beside the points.
    fn list_beside(&mut self, scrape: &Scrape) {
        self.created_apart.clear();
        if !scrape.created.is_empty() {
            self.created_apart.resize(scrape.series.len(), 0);
            for created in scrape.created.iter() {
                if let Some(held) = self.created_apart.get_mut(created.series as usize) {
                    *held = created.at_ms;
                }
            }
        }
        self.exemplars.clear();
        self.exemplars
            .extend((0..).zip(&scrape.exemplars).map(|(at, exemplar): (u32, &Exemplar)| (exemplar.series, at)));
        self.exemplars.sort_unstable();
    }

    /// The positions of a cell's points.
    pub fn positions(&self, cell: u32) -> &[u32] {
        let cell = cell as usize;
        let start = cell.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.positions[start as usize..self.ends[cell] as usize]
    }

    /// Since when a series counts, by what the target says: by its `_created` series, or apart from samples. 0 where it does
    /// not say so.
    pub fn created_ms(&self, number: u32, series: u32) -> i64 {
        let of_series = self.created.get(number as usize).copied().unwrap_or(0);
        if of_series > 0 { of_series } else { self.created_apart.get(series as usize).copied().unwrap_or(0) }
    }

    /// The exemplars of a series, by their numbers.
    pub fn exemplars(&self, series: u32) -> impl Iterator<Item = u32> + Clone {
        let from = if self.exemplars.is_empty() { 0 } else { self.exemplars.partition_point(|(of, _)| *of < series) };
        self.exemplars[from..].iter().take_while(move |(of, _)| *of == series).map(|(_, at)| *at)
    }

    /// Whether there is any exemplar.
    pub fn has_exemplars(&self) -> bool {
        !self.exemplars.is_empty()
    }
}

#[cfg(test)]
mod tests;
