//! A batch as the body of a `_bulk` request: two lines a document.
//!
//! Samples of one target's scrape that share a label set (and, in Telegraf's shapes, a measurement) and a time are one
//! document, never two. What JSON cannot say (NaN, infinities), stale markers and native histograms are left out and
//! counted; a document without a value is not written. Items' samples, skipped and rejected ones add up to the batch's,
//! always.
//!
//! An id of ours is the document's time and a hash of its labels, its measurement and the names of all its metrics: it is
//! the same in every process, and for a batch that comes back from the disk.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::index::{Destinations, IndexName, OWN_TIME_REACH_MS, Routing, utc};
use super::plan::{Group, Plan};
use super::shapes::Shape;
use crate::config::checked::BulkAction;
use crate::model::{Points, Value};
use crate::output::json::{Skipped, string};
use crate::pipeline::{Batch, Compression, Encoded, Item, Rejection, Slice};

/// Marks an item whose samples all have timestamps of their own.
pub(super) const OWN_TIME: u32 = 1;

/// Rejected: its labels name one index more than there may be.
const INDEX_LIMIT: &str = "index_limit";

/// Only what tells the fate of each item: a tenth of the whole answer.
const QUERY: &str = "_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

/// How documents are written.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// What they look like.
    pub shape: Shape,
    /// Where they go.
    pub index: IndexName,
    /// How many indices labels may name.
    pub indexes_max: usize,
    /// What is done with them.
    pub action: BulkAction,
    /// What decides their shards.
    pub routing: Option<Routing>,
    /// The ingest pipeline.
    pub pipeline: Option<String>,
    /// How the body is compressed.
    pub compression: Compression,
}

/// What the receiver takes, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Documents get ids of ours.
    pub ids: bool,
    /// Documents say what decides their shards.
    pub routing: bool,
    /// Our dynamic templates are in force, and can be called by name.
    pub templates: bool,
    /// What is no data stream is refused.
    pub require_data_stream: bool,
    /// There may be failure stores.
    pub failure_store: bool,
}

/// Plans of the targets that were seen lately, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    plans: HashMap<u64, Kept>,
    batches: u64,
    destinations: Destinations,
    scratch: Scratch,
    bytes_a_sample: usize,
}

#[derive(Default)]
struct Kept {
    plan: Plan,
    /// The number of the last batch that it was used for.
    used: u64,
}

/// The points of one scrape by group: linked lists in two columns.
#[derive(Default)]
struct Scratch {
    /// A group's first point.
    first: Vec<u32>,
    /// The point after this one in its group.
    next: Vec<u32>,
    /// Points of one group with their times.
    timed: Vec<(i64, u32)>,
}

/// Ends a linked list.
const NONE: u32 = u32::MAX;

impl Encoder {
    /// Makes the request of a batch.
    pub fn encode(&self, dialect: Dialect, cache: &mut Cache, batch: &Batch) -> Encoded {
        let expected_bytes = batch.samples() as usize * (cache.bytes_a_sample + cache.bytes_a_sample / 16);
        let mut documents = Documents::new(self, dialect, expected_bytes);
        for slice in &batch.slices {
            let kept = cache.plans.entry(slice.scrape.origin.key).or_default();
            kept.used = cache.batches;
            kept.plan.fit(&slice.scrape.series, &slice.scrape.origin, self, &mut cache.destinations);
            documents.add(slice, &kept.plan, &cache.destinations, &mut cache.scratch);
            if slice.scrape.is_last {
                cache.plans.remove(&slice.scrape.origin.key);
            }
        }
        cache.forget_unused();
        let samples: usize = documents.items.iter().map(|item| item.samples as usize).sum();
        if samples > 0 {
            cache.bytes_a_sample = documents.body.len().div_ceil(samples);
        }
        Encoded {
            path_and_query: self.path_and_query(dialect),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]),
            body: documents.body,
            items: documents.items,
            points: documents.points,
            skipped: documents.skipped.into_reasons(),
            rejected: self.rejections(documents.refused),
            compression: self.compression,
        }
    }
}

impl Encoder {
    fn path_and_query(&self, dialect: Dialect) -> String {
        let mut out = match self.index.fixed() {
            Some(name) => format!("/{}/{QUERY}", escape(name)),
            None => format!("/{QUERY}"),
        };
        if dialect.failure_store {
            out.push_str(",items.*.failure_store");
        }
        if let Some(pipeline) = &self.pipeline {
            out.push_str(&format!("&pipeline={}", escape(pipeline)));
        }
        if let Some(routing) = self.fixed_routing(dialect) {
            out.push_str(&format!("&routing={}", escape(routing)));
        }
        if dialect.require_data_stream {
            out.push_str("&require_data_stream=true");
        }
        out
    }

    /// The routing that is the same for all documents.
    fn fixed_routing(&self, dialect: Dialect) -> Option<&str> {
        self.routing.as_ref().filter(|_| dialect.routing).and_then(Routing::fixed)
    }

    fn rejections(&self, refused: u64) -> Vec<Rejection> {
        let why = || {
            format!(
                "their labels name more than {} indices, which is elasticsearch.max_indexes; see \"index\"",
                self.indexes_max
            )
        };
        Vec::from_iter((refused > 0).then(|| Rejection { reason: INDEX_LIMIT, samples: refused, why: why() }))
    }
}

impl Cache {
    /// A plan that so many batches had no use for is forgotten: a target's last scrape, which takes the plan with it, may
    /// have gone to another lane.
    const UNUSED_BATCHES_MAX: u64 = 4096;

    fn forget_unused(&mut self) {
        self.batches += 1;
        if self.batches.is_multiple_of(Self::UNUSED_BATCHES_MAX / 4) {
            let oldest = self.batches.saturating_sub(Self::UNUSED_BATCHES_MAX);
            self.plans.retain(|_, kept| kept.used >= oldest);
        }
    }
}

/// A body that is being written.
struct Documents<'e> {
    encoder: &'e Encoder,
    dialect: Dialect,
    body: Vec<u8>,
    items: Vec<Item>,
    points: Vec<u32>,
    /// The number of the first point of the scrape in hand.
    start: u32,
    skipped: Skipped,
    /// Samples that have no index to go to.
    refused: u64,
    /// The start of the line above a document, and the destination and period that its index name is for.
    action: (Option<(u32, i64)>, Vec<u8>),
    /// The start of a document, and the time in it.
    opening: (Option<i64>, Vec<u8>),
}

/// The points of a document.
struct Document<'a> {
    group: &'a Group,
    time_ms: i64,
    /// The time that chooses the index.
    index_ms: i64,
    mark: u32,
}

impl<'e> Documents<'e> {
    fn new(encoder: &'e Encoder, dialect: Dialect, expected_bytes: usize) -> Self {
        Self {
            encoder,
            dialect,
            body: Vec::with_capacity(expected_bytes),
            items: Vec::new(),
            points: Vec::new(),
            start: 0,
            skipped: Skipped::default(),
            refused: 0,
            action: (None, Vec::new()),
            opening: (None, Vec::new()),
        }
    }

    fn add(&mut self, slice: &Slice, plan: &Plan, to: &Destinations, scratch: &mut Scratch) {
        let points = &slice.scrape.points;
        let has_own_times = self.link(slice, plan, scratch);
        let at_ms = slice.scrape.at_ms;
        for number in 0..plan.groups() as u32 {
            let first = scratch.first[number as usize];
            if first == NONE {
                continue;
            }
            let group = &plan.group(number);
            let next = |&at: &u32| Some(scratch.next[at as usize]).filter(|&at| at != NONE);
            let listed = std::iter::successors(Some(first), next);
            let Some(destination) = group.destination else {
                self.refused += listed.count() as u64;
                continue;
            };
            if !has_own_times {
                let document = Document { group, time_ms: at_ms, index_ms: at_ms, mark: 0 };
                self.prepare(&document, destination, to);
                self.document(plan, &document, points, listed);
                continue;
            }
            scratch.timed.clear();
            scratch.timed.extend(listed.map(|at| (slice.scrape.time_ms(&points.get(at as usize)), at)));
            scratch.timed.sort_by_key(|(time_ms, _)| *time_ms);
            for run in scratch.timed.chunk_by(|(left, _), (right, _)| left == right) {
                let document = timed(group, at_ms, run, points);
                self.prepare(&document, destination, to);
                self.document(plan, &document, points, run.iter().map(|(_, at)| *at));
            }
        }
        self.start += points.len() as u32;
    }

    /// Lists the points of each group, in order. Returns whether any has a time of its own.
    fn link(&mut self, slice: &Slice, plan: &Plan, scratch: &mut Scratch) -> bool {
        let points = &slice.scrape.points;
        scratch.first.clear();
        scratch.first.resize(plan.groups(), NONE);
        scratch.next.clear();
        scratch.next.resize(points.len(), NONE);
        let mut has_own_times = false;
        let mut look = |at: u32| {
            let point = points.get(at as usize);
            let group = plan.slot(point.series).group as usize;
            if self.skipped.takes(point.value) {
                has_own_times |= point.own_ms.is_some();
                scratch.next[at as usize] = std::mem::replace(&mut scratch.first[group], at);
            }
        };
        match slice.selected() {
            None => (0..points.len() as u32).rev().for_each(look),
            Some(selected) => selected.iter().rev().copied().for_each(&mut look),
        }
        has_own_times
    }

    /// Writes one document of the points at these positions of `points`.
    fn document(
        &mut self,
        plan: &Plan,
        document: &Document<'_>,
        points: &Points,
        at: impl Iterator<Item = u32> + Clone,
    ) {
        let shape = &self.encoder.shape;
        self.action(plan, document, at.clone().map(|at| points.get(at as usize).series));
        let body = &mut self.body;
        body.extend_from_slice(&self.opening.1);
        if shape.has_names_hash() {
            body.extend_from_slice(b"\"_metric_names_hash\":\"");
            hex(body, document.group.names);
            body.extend_from_slice(b"\",");
        }
        body.extend_from_slice(shape.open_labels());
        let start = body.len();
        for label in plan.labels(document.group) {
            body.extend_from_slice(label);
        }
        if body.len() > start {
            body.pop();
        }
        shape.open_fields(body, plan.measurement(document.group));
        let mut samples = 0;
        for at in at {
            let point = points.get(at as usize);
            // Nothing else was listed.
            let Value::Float(value) = point.value else { continue };
            body.extend_from_slice(plan.key(plan.slot(point.series)));
            number(body, value);
            body.push(b',');
            self.points.push(self.start + at);
            samples += 1;
        }
        body.pop();
        body.extend_from_slice(shape.close());
        self.items.push(Item { end: body.len(), samples, mark: document.mark });
    }

    /// Writes the line above a document of these series.
    fn action(&mut self, plan: &Plan, document: &Document<'_>, series: impl Iterator<Item = u32>) {
        let Self { encoder, dialect, body, .. } = self;
        body.extend_from_slice(&self.action.1);
        if dialect.ids {
            body.extend_from_slice(b"\"_id\":\"");
            id(body, document);
            body.extend_from_slice(b"\",");
        }
        if dialect.routing
            && encoder.fixed_routing(*dialect).is_none()
            && let Some(routing) = plan.routing(document.group)
        {
            body.extend_from_slice(b"\"routing\":");
            body.extend_from_slice(routing);
            body.push(b',');
        }
        if dialect.templates && document.group.has_templates {
            let start = body.len();
            for template in series.filter_map(|series| plan.template(series)) {
                let open: &[u8] = if body.len() == start { b"\"dynamic_templates\":{" } else { b"" };
                body.extend_from_slice(open);
                body.extend_from_slice(template);
            }
            if body.len() > start {
                body.pop();
                body.extend_from_slice(b"},");
            }
        }
        if body.ends_with(b",") {
            body.pop();
        }
        body.extend_from_slice(b"}}\n");
    }

    /// Makes the start of the action line and the time anew where they differ from the last document's.
    fn prepare(&mut self, document: &Document<'_>, destination: u32, to: &Destinations) {
        let (index, action) = (&self.encoder.index, self.encoder.action);
        let wanted = (destination, IndexName::period(document.index_ms));
        if self.action.0 != Some(wanted) {
            let name = (index.fixed().is_none()).then(|| to.name(destination, document.index_ms));
            self.action = (Some(wanted), action_start(action, name.as_deref()));
        }
        if self.opening.0 != Some(document.time_ms) {
            self.opening = (Some(document.time_ms), opening(document.time_ms));
        }
    }
}

/// A document of points that share a time.
fn timed<'a>(group: &'a Group, at_ms: i64, run: &[(i64, u32)], points: &Points) -> Document<'a> {
    let time_ms = run.first().map_or(at_ms, |(time_ms, _)| *time_ms);
    let is_near = time_ms.checked_sub(at_ms).is_some_and(|apart| apart.unsigned_abs() <= OWN_TIME_REACH_MS as u64);
    let is_own = run.iter().all(|(_, at)| points.get(*at as usize).own_ms.is_some());
    Document {
        group,
        time_ms,
        index_ms: if is_near { time_ms } else { at_ms },
        mark: if is_own { OWN_TIME } else { 0 },
    }
}

/// `{"create":{"_index":"name",`, without the name where the URL has it.
fn action_start(action: BulkAction, index: Option<&str>) -> Vec<u8> {
    let mut line = match action {
        BulkAction::Create => b"{\"create\":{".to_vec(),
        BulkAction::Index => b"{\"index\":{".to_vec(),
    };
    if let Some(index) = index {
        line.extend_from_slice(b"\"_index\":");
        string(&mut line, index);
        line.push(b',');
    }
    line
}

/// Appends a document's id. The time comes first: ids of one time are neighbours in the receiver's index of ids.
fn id(out: &mut Vec<u8>, document: &Document<'_>) {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&document.time_ms.to_be_bytes());
    bytes[8..].copy_from_slice(&document.group.identity().to_be_bytes());
    let mut text = [0; 32];
    // 24 bytes are 32 characters, always.
    let length = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
    out.extend_from_slice(&text[..length]);
}

/// `{"@timestamp":"2027-01-02T03:04:05.006Z",`. A time beyond the calendar is written as the number that it is; the
/// receiver judges it.
fn opening(ms: i64) -> Vec<u8> {
    match utc(ms) {
        Some(time) => format!(
            "{{\"@timestamp\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z\",",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        ),
        None => format!("{{\"@timestamp\":{ms},"),
    }
    .into_bytes()
}

/// Appends a finite float so that it reads back as the same one, always with a point or an exponent: `1` would make a
/// dynamic mapping take the field for a whole number, and cut off what follows.
fn number(out: &mut Vec<u8>, value: f64) {
    // Whole numbers are the usual case. Up to 2^53 they convert exactly; a negative zero must keep its sign.
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() <= 1 << 53 && (whole != 0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        out.extend_from_slice(b".0");
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

fn hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend((0..16).rev().map(|at| DIGITS[(value >> (4 * at)) as usize & 15]));
}

/// A text as one segment of a URL's path, or as a value of its query.
pub(super) fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
