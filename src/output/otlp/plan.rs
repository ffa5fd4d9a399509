//! What is known of a target's data points before any value is: which series are one, of which metric, scope and resource.
//!
//! - A *cell* is a list of data points of one metric: of a counter or gauge, all of its series; of a histogram or summary, one
//!   label set, whose series are the parts of one data point.
//! - A *metric* is a name with its type and description, in a scope of a resource.
//!
//! A series costs twelve bytes, and a distinct label its text once more.

mod kind;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::fields;
use super::labels::{Attributes, ChunkLabels, LabelRules, Role, Rules, SCOPE_PREFIX, add_text, attribute, pair};
use super::unit::ucum;
use super::wire::{Size, Wire};
use crate::model::{Origin, Scrape, SeriesRef, part_label};
use kind::Meaning;

pub(super) use kind::{BAD_SERIES, Kind, is_counted};

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// Bytes of a description that are sent: it stands at each metric of each scope and resource.
const DESCRIPTION_BYTES_MAX: usize = 4096;

/// What a series is a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// The cell; of a `_created` or `target_info` series, the resource.
    pub place: u32,
    pub part: Part,
}

/// What a series is in its data point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// All of it. With the number of what says since when it counts, or [`NONE`].
    Number(u32),
    /// A bucket, by the number of its upper bound.
    Bucket(u32),
    /// A quantile, by its number.
    Quantile(u32),
    /// The sum of a histogram or a summary.
    Sum,
    /// The count of a histogram or a summary.
    Count,
    /// A native histogram: of the cell if it is exponential, of the one behind it if it has bounds of its own.
    Native,
    /// Since when another one counts, by the number of that.
    Created(u32),
    /// `target_info`.
    Info,
    /// Of no type that can be said: skipped.
    Unsupported,
    /// It cannot be sent, by the number of the reason.
    Refused(u8),
}

/// A list of data points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub metric: u32,
    /// Of a histogram or summary, a series that has its labels.
    pub series: u32,
    /// Of a histogram or summary, what says since when it counts, or [`NONE`].
    pub created: u32,
}

/// A name with a type, in a scope of a resource.
#[derive(Debug)]
pub(super) struct Metric {
    pub resource: u32,
    pub scope: u32,
    pub kind: Kind,
    /// Name, description, unit and metadata, written; shared between scopes and resources, of which a target may have many.
    pub header: Arc<[u8]>,
    /// The cell of its points, where that is one.
    cell: u32,
}

/// An instrumentation scope, written.
#[derive(Debug, Default, PartialEq, Hash)]
pub(super) struct Scope {
    pub content: Vec<u8>,
    pub schema_url: String,
}

/// The data points of one target.
#[derive(Debug, Default)]
pub(super) struct Plan {
    slots: Vec<Slot>,
    bounds: Vec<f64>,
    bound_numbers: HashMap<u64, u32, RandomState>,
    pub cells: Vec<Cell>,
    /// The cells by resource, scope and metric.
    pub order: Vec<u32>,
    pub metrics: Vec<Metric>,
    metric_index: HashTable<u32>,
    cell_index: HashTable<u32>,
    pub resources: Vec<Attributes>,
    resource_index: HashTable<u32>,
    pub scopes: Vec<Scope>,
    scope_index: HashTable<u32>,
    chunks: Vec<ChunkLabels>,
    /// The `_created` series, each with its number as its place in the list.
    pub created: Vec<u32>,
    /// The `target_info` series.
    pub infos: Vec<u32>,
    reasons: Vec<&'static str>,
    hasher: RandomState,
    last: Last,
}

/// What the series that was added last had: mostly the next one has the same.
#[derive(Debug, Default)]
struct Last {
    resource: (Vec<u32>, u32),
    scope: (Vec<u32>, u32),
    /// Chunk, family's number, resource, scope, and the metric of that.
    metric: Option<(u64, u32, u32, u32, u32)>,
    name: String,
    header: Arc<[u8]>,
    labels: Vec<u32>,
}

/// How plans are made.
#[derive(Clone, Copy)]
pub(super) struct Planning<'p> {
    pub labels: &'p LabelRules,
    pub rules: Option<&'p dyn Rules>,
}

impl Planning<'_> {
    /// Adds the next series of a scrape's set.
    pub fn add<W: Wire>(&self, plan: &mut Plan, scrape: &Scrape, series: SeriesRef<'_>) {
        plan.enter_chunk::<W>(self, series);
        let slot = self.slot::<W>(plan, scrape, series);
        plan.slots.push(slot);
        if plan.slots.len() == scrape.series.len() {
            plan.finish(scrape);
        }
    }

    fn slot<W: Wire>(&self, plan: &mut Plan, scrape: &Scrape, series: SeriesRef<'_>) -> Slot {
        if let Some(reason) = self.rules.and_then(|rules| rules.refuses(series, 0)) {
            return plan.refused(reason);
        }
        let meaning = kind::meaning(series, self.labels.is_compatible);
        let (kind, name, part) = match meaning {
            Meaning::Unsupported => return Slot { place: NONE, part: Part::Unsupported },
            Meaning::Refused(reason) => return plan.refused(reason),
            Meaning::Number(kind) => (kind, series.name(), None),
            Meaning::Part(kind, name, part) => (kind, name, Some(part)),
            Meaning::Info => {
                plan.infos.push(plan.slots.len() as u32);
                return Slot { place: self.resource(plan, series, &scrape.origin), part: Part::Info };
            }
            Meaning::Created => {
                let number = plan.created.len() as u32;
                plan.created.push(plan.slots.len() as u32);
                return Slot { place: self.resource(plan, series, &scrape.origin), part: Part::Created(number) };
            }
        };
        let (resource, scope) = (self.resource(plan, series, &scrape.origin), self.scope::<W>(plan, series));
        let metric = self.metric::<W>(plan, series, (resource, scope), kind, name);
        let Some(part) = part else { return Slot { place: plan.number_cell(metric), part: Part::Number(NONE) } };
        let part = match part {
            kind::PointPart::Bucket(bound) => Part::Bucket(plan.bound(bound)),
            kind::PointPart::Quantile(quantile) => Part::Quantile(plan.bound(quantile)),
            kind::PointPart::Sum => Part::Sum,
            kind::PointPart::Count => Part::Count,
            kind::PointPart::Native => {
                // It may have bounds of its own in one scrape and none in the next.
                let explicit = self.metric::<W>(plan, series, (resource, scope), Kind::Histogram, name);
                return plan.native_cells(metric, explicit);
            }
        };
        Slot { place: plan.cell_like(scrape, series, metric), part }
    }

    /// The resource of a series.
    fn resource(&self, plan: &mut Plan, series: SeriesRef<'_>, origin: &Origin) -> u32 {
        plan.look_at(series, Role::Resource);
        if !plan.resources.is_empty() && plan.last.resource.0 == plan.last.labels {
            return plan.last.resource.1;
        }
        let chunk = series.chunk();
        let made = self.labels.resource(plan.last.labels.iter().map(|&pair| chunk.pair(pair)), origin);
        let known = known(&mut plan.resources, &mut plan.resource_index, &plan.hasher, made);
        plan.last.resource = (plan.last.labels.clone(), known);
        known
    }

    /// The scope of a series.
    fn scope<W: Wire>(&self, plan: &mut Plan, series: SeriesRef<'_>) -> u32 {
        plan.look_at(series, Role::Scope);
        if !plan.scopes.is_empty() && plan.last.scope.0 == plan.last.labels {
            return plan.last.scope.1;
        }
        let chunk = series.chunk();
        let labels = plan.last.labels.iter().map(|&number| chunk.pair(number));
        let made = scope::<W>(labels.map(|(name, value)| (name.trim_start_matches(SCOPE_PREFIX), value)));
        let known = known(&mut plan.scopes, &mut plan.scope_index, &plan.hasher, made);
        plan.last.scope = (plan.last.labels.clone(), known);
        known
    }

    /// The metric of a series.
    fn metric<W: Wire>(
        &self,
        plan: &mut Plan,
        series: SeriesRef<'_>,
        (resource, scope): (u32, u32),
        kind: Kind,
        name: &str,
    ) -> u32 {
        let key = (series.chunk().id(), series.family_number(), resource, scope);
        if let Some((chunk, family, of_resource, of_scope, metric)) = plan.last.metric
            && (chunk, family, of_resource, of_scope) == key
            && plan.metrics[metric as usize].kind == kind
            && plan.last.name == name
        {
            return metric;
        }
        let header = header::<W>(series, name, self.labels.is_compatible);
        if *plan.last.header != *header {
            plan.last.header = header.into();
        }
        let header = plan.last.header.clone();
        let hash = plan.hasher.hash_one((resource, scope, kind, &*header));
        let Plan { metrics, metric_index, hasher, .. } = plan;
        let found = metric_index.find(hash, |&held| {
            let held = &metrics[held as usize];
            (held.resource, held.scope, held.kind) == (resource, scope, kind) && held.header == header
        });
        let metric = found.copied().unwrap_or_else(|| {
            let number = metrics.len() as u32;
            metrics.push(Metric { resource, scope, kind, header, cell: NONE });
            metric_index.insert_unique(hash, number, |&held| {
                let held = &metrics[held as usize];
                hasher.hash_one((held.resource, held.scope, held.kind, &*held.header))
            });
            number
        });
        plan.last.metric = Some((key.0, key.1, resource, scope, metric));
        name.clone_into(&mut plan.last.name);
        metric
    }
}

impl Plan {
    /// What the series with this number is a part of.
    #[inline]
    pub fn slot(&self, series: u32) -> Slot {
        self.slots[series as usize]
    }

    /// An upper bound, or a quantile.
    pub fn bound_of(&self, number: u32) -> f64 {
        self.bounds.get(number as usize).copied().unwrap_or(f64::NAN)
    }

    /// The ledger's word for why series are refused.
    pub fn reason(&self, number: u8) -> &'static str {
        self.reasons.get(usize::from(number)).copied().unwrap_or(kind::BAD_SERIES)
    }

    /// The labels of the chunk that has the series with this number.
    #[inline]
    pub fn labels_of(&self, series: u32) -> &ChunkLabels {
        match &self.chunks[..] {
            [one] => one,
            chunks => &chunks[chunks.partition_point(|chunk| chunk.start <= series) - 1],
        }
    }

    fn enter_chunk<W: Wire>(&mut self, planning: &Planning<'_>, series: SeriesRef<'_>) {
        let chunk = series.chunk();
        if self.chunks.last().is_none_or(|last| last.chunk != chunk.id()) {
            let start = self.slots.len() as u32;
            self.chunks.push(ChunkLabels::new::<W>(chunk, start, planning.labels, planning.rules));
            // Numbers of labels are the chunk's own.
            self.last = Last::default();
            self.last.resource.1 = NONE;
            self.last.resource.0 = vec![NONE];
            self.last.scope.0 = vec![NONE];
        }
    }

    /// Lists the labels of a series that have this role, by their numbers.
    fn look_at(&mut self, series: SeriesRef<'_>, role: Role) {
        let Self { last, chunks, .. } = self;
        last.labels.clear();
        if let Some(labels) = chunks.last() {
            last.labels.extend(series.pairs().iter().filter(|&&pair| labels.role(pair) == role));
        }
    }

    fn refused(&mut self, reason: &'static str) -> Slot {
        let at = self.reasons.iter().position(|held| *held == reason).unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        });
        Slot { place: NONE, part: Part::Refused(u8::try_from(at).unwrap_or(u8::MAX)) }
    }

    fn bound(&mut self, bound: f64) -> u32 {
        let Self { bounds, bound_numbers, .. } = self;
        *bound_numbers.entry(bound.to_bits()).or_insert_with(|| {
            bounds.push(bound);
            bounds.len() as u32 - 1
        })
    }

    fn number_cell(&mut self, metric: u32) -> u32 {
        let cell = self.metrics[metric as usize].cell;
        if cell != NONE {
            return cell;
        }
        let cell = self.push_cell(metric, NONE);
        self.metrics[metric as usize].cell = cell;
        cell
    }

    fn push_cell(&mut self, metric: u32, series: u32) -> u32 {
        self.cells.push(Cell { metric, series, created: NONE });
        self.cells.len() as u32 - 1
    }

    /// The cell of a metric whose series have the labels of this one, but the one of the part.
    fn cell_like(&mut self, scrape: &Scrape, series: SeriesRef<'_>, metric: u32) -> u32 {
        let hash = self.hasher.hash_one((metric, series.group()));
        let found = self.cell_index.find(hash, |&held| {
            let held = self.cells[held as usize];
            held.metric == metric && is_like(scrape.series.get(held.series), series)
        });
        if let Some(&cell) = found {
            return cell;
        }
        let cell = self.push_cell(metric, self.slots.len() as u32);
        let Self { cell_index, cells, hasher, .. } = self;
        cell_index.insert_unique(hash, cell, |&held| {
            let held = cells[held as usize];
            hasher.hash_one((held.metric, scrape.series.get(held.series).group()))
        });
        cell
    }

    /// The cell of a native histogram, and behind it the one for when it has bounds of its own.
    fn native_cells(&mut self, metric: u32, explicit: u32) -> Slot {
        let place = self.push_cell(metric, self.slots.len() as u32);
        self.push_cell(explicit, self.slots.len() as u32);
        Slot { place, part: Part::Native }
    }

    /// All series are there: puts the cells in order, and finds what `_created` series are about.
    fn finish(&mut self, scrape: &Scrape) {
        let Self { order, cells, metrics, .. } = self;
        order.clear();
        order.extend(0..cells.len() as u32);
        order.sort_by_key(|&cell| {
            let metric = cells[cell as usize].metric;
            let of = &metrics[metric as usize];
            (of.resource, of.scope, metric, cell)
        });
        if !self.created.is_empty() {
            self.link(scrape);
        }
    }

    fn link(&mut self, scrape: &Scrape) {
        let key = |series: SeriesRef<'_>| self.hasher.hash_one((series.family().name, series.group()));
        let created: HashMap<u64, u32, RandomState> =
            (0..).zip(&self.created).map(|(number, &series)| (key(scrape.series.get(series)), number)).collect();
        let find = |series: u32| {
            let series = scrape.series.get(series);
            let number = *created.get(&key(series))?;
            let found = scrape.series.get(self.created[number as usize]);
            (found.family().name == series.family().name && is_like(found, series)).then_some(number)
        };
        for (at, slot) in (0..).zip(&mut self.slots) {
            if let Part::Number(held @ NONE) = &mut slot.part
                && self.metrics[self.cells[slot.place as usize].metric as usize].kind == Kind::MONOTONIC
            {
                *held = find(at).unwrap_or(NONE);
            }
        }
        for cell in self.cells.iter_mut().filter(|cell| cell.series != NONE && cell.created == NONE) {
            cell.created = find(cell.series).unwrap_or(NONE);
        }
    }
}

/// The place of something in a list in which each is once.
fn known<T: PartialEq + Hash>(list: &mut Vec<T>, index: &mut HashTable<u32>, hasher: &RandomState, made: T) -> u32 {
    let hash = hasher.hash_one(&made);
    if let Some(&held) = index.find(hash, |&held| list[held as usize] == made) {
        return held;
    }
    let number = list.len() as u32;
    list.push(made);
    index.insert_unique(hash, number, |&held| hasher.hash_one(&list[held as usize]));
    number
}

/// Whether two series have the same labels, but for the one of their parts.
fn is_like(one: SeriesRef<'_>, other: SeriesRef<'_>) -> bool {
    fn without_part<'a>(series: SeriesRef<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let part = part_label(series.family().kind);
        series.labels().filter(move |(name, _)| Some(*name) != part)
    }
    without_part(one).eq(without_part(other))
}

/// Name, description, unit and metadata of a series' metric.
fn header<W: Wire>(series: SeriesRef<'_>, name: &str, is_compatible: bool) -> Vec<u8> {
    let (mut out, family) = (Vec::new(), series.family());
    W::text(&mut out, fields::metric::NAME, name);
    W::text(&mut out, fields::metric::DESCRIPTION, beginning(family.help));
    W::text(&mut out, fields::metric::UNIT, if is_compatible { ucum(family.unit) } else { family.unit });
    if is_compatible {
        W::list(&mut out, fields::metric::METADATA, |out| {
            W::entry(out, fields::metric::METADATA, Size::Tiny, |out| {
                pair::<W>(out, "prometheus.type", family.kind.as_openmetrics());
            });
        });
    }
    out
}

/// What is sent of a description.
fn beginning(help: &str) -> &str {
    &help[..help.floor_char_boundary(DESCRIPTION_BYTES_MAX)]
}

/// A scope of these attributes, some of which have fields of their own. One of none is this program.
fn scope<'l, W: Wire>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> Scope {
    let (mut name, mut version, mut made) = (None, None, Scope::default());
    let mut attributes = Attributes::new();
    let mut is_any = false;
    for (label, value) in labels {
        is_any = true;
        match label {
            "name" => name = Some(value),
            "version" => version = Some(value),
            "schema_url" => value.clone_into(&mut made.schema_url),
            _ => add_text(&mut attributes, label, value),
        }
    }
    if !is_any {
        (name, version) = (Some(env!("CARGO_PKG_NAME")), Some(env!("CARGO_PKG_VERSION")));
    }
    W::text(&mut made.content, fields::scope::NAME, name.unwrap_or_default());
    W::text(&mut made.content, fields::scope::VERSION, version.unwrap_or_default());
    if !attributes.is_empty() {
        W::list(&mut made.content, fields::scope::ATTRIBUTES, |out| {
            attributes.iter().for_each(|(key, value)| attribute::<W>(out, fields::scope::ATTRIBUTES, key, value));
        });
    }
    made
}
