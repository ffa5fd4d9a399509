//! A batch as the body of a request: an item for each series, with all of its samples.
//!
//! What the receiver has no field for is left out and counted as skipped. Items' samples and skipped ones add up to the batch's,
//! always.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exemplars::Placed;
use super::merge::{Group, Histograms, Room, Run, groups};
use super::{State, v1, v2};
use crate::config::checked::WriteMessage;
use crate::output::expected::Expected;
use crate::output::json::Plans;
use crate::pipeline::{Compression, Encoded, Item, Reasons, Slice, reason};

/// Says which version is spoken.
pub(super) const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// What an item holds, as its `mark`.
pub(super) mod mark {
    pub const FLOATS: u32 = 0;
    pub const HISTOGRAMS: u32 = 1;
    /// Metadata of a family: no samples.
    pub const METADATA: u32 = 2;
}

/// How messages are written.
#[derive(Clone)]
pub(super) struct Encoder {
    /// The query of the URL may be a secret: it is a part of this.
    pub path_and_query: String,
    pub message: WriteMessage,
    pub has_exemplars: bool,
    pub has_histograms: bool,
    pub metadata_interval_ms: Option<u64>,
}

/// Without the query, which may be a secret.
impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("message", &self.message).finish_non_exhaustive()
    }
}

/// What is known of targets, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    v1: Plans<v1::Plan>,
    v2: v2::Table,
    room: Room,
    expected: Expected,
}

impl Encoder {
    /// The message that a lane in this state speaks.
    pub fn message(&self, state: &State) -> WriteMessage {
        if state.is_v1_only { WriteMessage::V1 } else { self.message }
    }

    /// Makes the request of a batch's slices.
    pub fn encode(&self, state: &State, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        let samples: u64 = slices.iter().map(Slice::samples).sum();
        let groups = groups(slices);
        let message = self.message(state);
        let mut request = Written {
            body: Vec::with_capacity(cache.expected.bytes(samples)),
            head: 0,
            items: Vec::new(),
            points: Vec::with_capacity(samples as usize),
            skipped: 0,
        };
        match message {
            WriteMessage::V1 => self.v1(state, cache, &groups, &mut request),
            WriteMessage::V2 => self.v2(state, cache, groups, &mut request),
        }
        cache.expected.note(request.body.len(), request.points.len());
        let skipped = [(reason::UNSUPPORTED_TYPE, request.skipped)].into_iter().filter(|(_, samples)| *samples > 0);
        Encoded {
            body: request.body.into(),
            head: request.head,
            items: request.items,
            points: request.points,
            skipped: Reasons::from_iter(skipped),
            ..self.empty(message)
        }
    }

    /// A request without anything in it.
    pub fn empty(&self, message: WriteMessage) -> Encoded {
        let (content_type, version) = match message {
            WriteMessage::V1 => ("application/x-protobuf", "0.1.0"),
            WriteMessage::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let headers = [(CONTENT_TYPE, content_type), (VERSION, version)];
        Encoded {
            path_and_query: self.path_and_query.clone(),
            headers: HeaderMap::from_iter(headers.map(|(name, value)| (name, HeaderValue::from_static(value)))),
            compression: Compression::Snappy,
            ..Encoded::default()
        }
    }

    fn v1(&self, state: &State, cache: &mut Cache, groups: &[Group<'_>], request: &mut Written) {
        let histograms = if self.has_histograms { Histograms::Exponential } else { Histograms::None };
        let mut writer = v1::Writer::default();
        let mut skipped = 0;
        for group in groups {
            let plan = cache.v1.of(group.widest, |plan, series| plan.add(series));
            let exemplars = self.exemplars(state, group);
            cache.room.each(group, histograms, &exemplars, &mut skipped, |run| {
                writer.series(&mut request.body, plan, &run);
                request.item(&run);
            });
            group.scrapes().for_each(|scrape| cache.v1.written(scrape));
        }
        cache.v1.end_batch();
        request.skipped = skipped;
        if request.items.is_empty() {
            // It goes along with samples, and not by itself.
            return;
        }
        let due = self.metadata_interval_ms.map(|interval_ms| state.said.due(groups, interval_ms));
        for family in due.into_iter().flatten() {
            v1::metadata(&mut request.body, family);
            request.items.push(Item { end: request.body.len(), samples: 0, mark: mark::METADATA });
        }
    }

    fn exemplars<'s>(&self, state: &State, group: &Group<'s>) -> Vec<Placed<'s>> {
        if self.has_exemplars { state.exemplars.due(group) } else { Vec::new() }
    }

    fn v2(&self, state: &State, cache: &mut Cache, mut groups: Vec<Group<'_>>, request: &mut Written) {
        // Always in the same order, so that steady targets have a steady table.
        groups.sort_by_key(|group| group.widest.origin.key);
        let chunks: Vec<_> = groups.iter().flat_map(|group| group.widest.series.chunks()).collect();
        // What is divided is to become smaller, its table too.
        let mut of_used;
        let table = if groups.iter().all(Group::is_whole) {
            if !cache.v2.is_of(&chunks) {
                cache.v2 = v2::Table::of_chunks(&chunks);
            }
            &mut cache.v2
        } else {
            of_used = v2::Table::of_used(&groups);
            &mut of_used
        };
        let lasting = table.len();
        let exemplars: Vec<_> = groups.iter().map(|group| self.exemplars(state, group)).collect();
        exemplars.iter().flatten().for_each(|(.., exemplar)| table.add_labels(&exemplar.labels));
        request.body.extend_from_slice(table.written());
        request.head = request.body.len();
        let histograms = if self.has_histograms { Histograms::All } else { Histograms::None };
        let mut writer = v2::Writer::default();
        let mut skipped = 0;
        for (group, exemplars) in groups.iter().zip(&exemplars) {
            cache.room.each(group, histograms, exemplars, &mut skipped, |run| {
                writer.series(&mut request.body, table, &run);
                request.item(&run);
            });
        }
        table.truncate(lasting);
        request.skipped = skipped;
    }
}

/// A body that is being written.
struct Written {
    body: Vec<u8>,
    head: usize,
    items: Vec<Item>,
    points: Vec<u32>,
    skipped: u64,
}

impl Written {
    /// The body has one series more.
    fn item(&mut self, run: &Run<'_, '_>) {
        let mark = if run.is_histograms() { mark::HISTOGRAMS } else { mark::FLOATS };
        self.items.push(Item { end: self.body.len(), samples: run.samples.len() as u32, mark });
        self.points.extend(run.samples.iter().map(|sample| sample.number));
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_v2;
