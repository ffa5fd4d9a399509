//! A batch as the body of a `_bulk` request: two lines a document.
//!
//! Samples of one target's scrape that share a label set (and, in Telegraf's shapes, a measurement) and a time are one
//! document, never two. What JSON cannot say (NaN, infinities), stale markers and native histograms are left out and
//! counted; a document without a value is not written. Items' samples, skipped and rejected ones add up to the batch's,
//! always.
//!
//! An id of ours is the document's time and a hash of its labels, its measurement and the names of all its metrics: it is
//! the same in every process, and for a batch that comes back from the disk.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::index::{Destinations, IndexName, OWN_TIME_REACH_MS, Routing, utc};
use super::plan::{Group, Plan};
use super::shapes::{Pairs, Shape};
use crate::config::checked::BulkAction;
use crate::model::{Points, Scrape, Value};
use crate::output::expected::Expected;
use crate::output::json::{Groups, Plans, Skipped, number_with_point, string};
use crate::pipeline::{Batch, Compression, Encoded, Item, Rejection, Slice};

/// Marks an item whose samples all have timestamps of their own.
pub(super) const OWN_TIME: u32 = 1;

/// Rejected: its labels name one index more than there may be.
pub(super) const INDEX_LIMIT: &str = "index_limit";

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

/// What is known of targets and of indices, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    plans: Plans<Plan>,
    destinations: Destinations,
    groups: Groups,
    expected: Expected,
}

impl Encoder {
    /// Makes the request of a batch.
    pub fn encode(&self, dialect: Dialect, cache: &mut Cache, batch: &Batch) -> Encoded {
        let expected_bytes = cache.expected.bytes(batch.samples());
        let mut documents = Documents::new(self, dialect, batch.samples() as usize, expected_bytes);
        for slice in &batch.slices {
            let mut labels = Pairs::new();
            let plan = cache.plans.of(&slice.scrape, |plan, series| {
                plan.add(series, &slice.scrape.origin, self, &mut labels, &mut cache.destinations);
            });
            documents.add(slice, plan, &cache.destinations, &mut cache.groups);
            cache.plans.written(&slice.scrape);
        }
        cache.plans.end_batch();
        cache.expected.note(documents.body.len(), documents.points.len());
        Encoded {
            path_and_query: self.path_and_query(dialect),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]),
            body: documents.body.into(),
            items: documents.items,
            points: documents.points,
            skipped: documents.skipped.into_reasons(),
            rejected: self.rejections(documents.refused),
            compression: self.compression,
            ..Encoded::default()
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
    fn new(encoder: &'e Encoder, dialect: Dialect, samples: usize, expected_bytes: usize) -> Self {
        Self {
            encoder,
            dialect,
            body: Vec::with_capacity(expected_bytes),
            items: Vec::new(),
            points: Vec::with_capacity(samples),
            start: 0,
            skipped: Skipped::default(),
            refused: 0,
            action: (None, Vec::new()),
            opening: (None, Vec::new()),
        }
    }

    fn add(&mut self, slice: &Slice, plan: &Plan, to: &Destinations, groups: &mut Groups) {
        let scrape = &slice.scrape;
        let has_own_times = groups.list(slice, &plan.outline, &mut self.skipped, |_, _| self.refused += 1);
        groups.each(scrape, |group, time_ms, at| {
            let group = plan.outline.group(group);
            let document = match has_own_times {
                true => timed(group, scrape, time_ms, at),
                false => Document { group, time_ms, index_ms: time_ms, mark: 0 },
            };
            self.prepare(&document, to);
            self.document(plan, &document, &scrape.points, at);
        });
        self.start += scrape.points.len() as u32;
    }

    /// Writes one document of the points at these positions of `points`.
    fn document(&mut self, plan: &Plan, document: &Document<'_>, points: &Points, at: &[u32]) {
        let shape = &self.encoder.shape;
        self.action(plan, document, at.iter().map(|&at| points.get(at as usize).series));
        let body = &mut self.body;
        body.extend_from_slice(&self.opening.1);
        if shape.has_names_hash() {
            body.extend_from_slice(b"\"_metric_names_hash\":\"");
            hex(body, document.group.own.names);
            body.extend_from_slice(b"\",");
        }
        body.extend_from_slice(shape.open_labels());
        let start = body.len();
        for label in plan.outline.labels(document.group) {
            body.extend_from_slice(label);
        }
        if body.len() > start {
            body.pop();
        }
        shape.open_fields(body, plan.outline.text(document.group.tag.text));
        for &at in at {
            let point = points.get(at as usize);
            // Nothing else was listed.
            let Value::Float(value) = point.value else { continue };
            body.extend_from_slice(plan.outline.key(point.series));
            // `1` would make a dynamic mapping take the field for a whole number, and cut off what follows.
            number_with_point(body, value);
            body.push(b',');
        }
        self.points.extend(at.iter().map(|at| self.start + at));
        body.pop();
        body.extend_from_slice(shape.close());
        self.items.push(Item { end: body.len(), samples: at.len() as u32, mark: document.mark });
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
        if dialect.templates && document.group.own.has_templates {
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
    fn prepare(&mut self, document: &Document<'_>, to: &Destinations) {
        let destination = document.group.own.destination;
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

/// A document of points that share group and time, in a scrape with points that have times of their own.
fn timed<'a>(group: &'a Group, scrape: &Scrape, time_ms: i64, at: &[u32]) -> Document<'a> {
    let apart = time_ms.checked_sub(scrape.at_ms);
    let is_near = apart.is_some_and(|apart| apart.unsigned_abs() <= OWN_TIME_REACH_MS as u64);
    let is_own = at.iter().all(|&at| scrape.points.get(at as usize).own_ms.is_some());
    Document {
        group,
        time_ms,
        index_ms: if is_near { time_ms } else { scrape.at_ms },
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
    bytes[8..].copy_from_slice(&document.group.own.identity().to_be_bytes());
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

/// Appends sixteen digits.
fn hex(out: &mut Vec<u8>, value: u64) {
    let digits = value.to_be_bytes().map(|byte| HEX[byte as usize]);
    out.extend_from_slice(digits.as_flattened());
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

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
