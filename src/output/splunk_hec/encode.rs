//! A batch as the body of a request to `/services/collector/event`: one event after another, a line each.
//!
//! Samples of one target's scrape that share envelope, dimensions and time are one event. What JSON cannot say (NaN,
//! infinities), stale markers and native histograms are left out and counted as skipped; what Splunk would not take is left
//! out and counted as rejected. Items' samples, skipped and rejected ones add up to the batch's, always.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::layout::{Dimensions, Layout};
use super::plan::{Plan, add};
use crate::model::{Origin, Points, SeriesRef, Value};
use crate::output::expected::Expected;
use crate::output::json::{Groups, Plans, Skipped, number};
use crate::pipeline::{Compression, Encoded, Item, Rejection, Slice};

/// Where events go.
pub(super) const EVENT_PATH: &str = "/services/collector/event";

/// How events are written.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pub layout: Layout,
    /// How the body is compressed.
    pub compression: Compression,
}

/// What is known of targets, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    plans: Plans<Plan>,
    groups: Groups,
    expected: Expected,
}

impl Encoder {
    /// Makes the request of a batch's slices.
    pub(super) fn encode(&self, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        let samples: u64 = slices.iter().map(Slice::samples).sum();
        let mut events = Events::new(&self.layout, samples as usize, cache.expected.bytes(samples));
        for slice in slices {
            let mut dimensions = Dimensions::new();
            let plan = cache.plans.of(&slice.scrape, |plan, series| {
                add(plan, series, &slice.scrape.origin, &self.layout, &mut dimensions);
            });
            events.add(slice, plan, &mut cache.groups);
            cache.plans.written(&slice.scrape);
        }
        cache.plans.end_batch();
        cache.expected.note(events.body.len(), events.points.len());
        Encoded {
            path_and_query: EVENT_PATH.to_owned(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: events.body.into(),
            items: events.items,
            points: events.points,
            skipped: events.skipped.into_reasons(),
            rejected: events.rejected,
            compression: self.compression,
            ..Encoded::default()
        }
    }
}

/// A body that is being written.
struct Events<'e> {
    layout: &'e Layout,
    body: Vec<u8>,
    items: Vec<Item>,
    points: Vec<u32>,
    /// The number of the first point of the scrape in hand.
    start: u32,
    skipped: Skipped,
    rejected: Vec<Rejection>,
    /// The start of an event, and the time in it.
    opening: (Option<i64>, Vec<u8>),
}

impl<'e> Events<'e> {
    fn new(layout: &'e Layout, samples: usize, expected_bytes: usize) -> Self {
        Self {
            layout,
            body: Vec::with_capacity(expected_bytes),
            items: Vec::new(),
            points: Vec::with_capacity(samples),
            start: 0,
            skipped: Skipped::default(),
            rejected: Vec::new(),
            opening: (None, Vec::new()),
        }
    }

    fn add(&mut self, slice: &Slice, plan: &Plan, groups: &mut Groups) {
        let scrape = &slice.scrape;
        groups.list(slice, plan, &mut self.skipped, |reason, series| {
            refuse(&mut self.rejected, self.layout, reason, scrape.series.get(series), &scrape.origin);
        });
        let is_multi_metric = self.layout.is_multi_metric;
        groups.each(scrape, |group, time_ms, at| match is_multi_metric {
            true => self.event(plan, group, time_ms, &scrape.points, at),
            false => at.chunks(1).for_each(|at| self.event(plan, group, time_ms, &scrape.points, at)),
        });
        self.start += scrape.points.len() as u32;
    }

    /// Writes one event of the points at these positions of `points`.
    fn event(&mut self, plan: &Plan, group: u32, time_ms: i64, points: &Points, at: &[u32]) {
        let group = plan.group(group);
        if self.opening.0 != Some(time_ms) {
            self.opening = (Some(time_ms), opening(time_ms));
        }
        let body = &mut self.body;
        body.extend_from_slice(&self.opening.1);
        body.extend_from_slice(plan.text(group.tag.text));
        for dimension in plan.labels(group) {
            body.extend_from_slice(dimension);
        }
        for &at in at {
            let point = points.get(at as usize);
            // Nothing else was listed.
            let Value::Float(value) = point.value else { continue };
            body.extend_from_slice(plan.key(point.series));
            number(body, value);
            body.push(b',');
        }
        self.points.extend(at.iter().map(|at| self.start + at));
        body.pop();
        body.extend_from_slice(b"}}\n");
        self.items.push(Item { end: body.len(), samples: at.len() as u32, mark: group.own.index });
    }
}

/// Counts a sample that Splunk would not take; the first one of a reason is explained.
fn refuse(
    rejected: &mut Vec<Rejection>,
    layout: &Layout,
    reason: &'static str,
    series: SeriesRef<'_>,
    origin: &Origin,
) {
    match rejected.iter_mut().find(|rejected| rejected.reason == reason) {
        Some(rejected) => rejected.samples += 1,
        None => rejected.push(Rejection { reason, samples: 1, why: layout.explain(reason, series, origin) }),
    }
}

/// `{"time":1798859045.006`: epoch seconds, with exactly the milliseconds, and never an exponent.
fn opening(ms: i64) -> Vec<u8> {
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    format!("{{\"time\":{sign}{seconds}.{rest:03}").into_bytes()
}

#[cfg(test)]
mod tests;
