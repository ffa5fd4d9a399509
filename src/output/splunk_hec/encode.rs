//! A batch as the body of a request to `/services/collector/event`: one event after another, a line each.
//!
//! Samples of one target's scrape that share envelope, dimensions and time are one event. What JSON cannot say (NaN,
//! infinities), stale markers and native histograms are left out and counted as skipped; what Splunk would not take is left
//! out and counted as rejected. Items' samples, skipped and rejected ones add up to the batch's, always.

use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::layout::{Layout, Refusal};
use super::plan::{Place, Plan};
use crate::model::{Points, Value};
use crate::output::json::{Groups, Skipped, number};
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

/// Plans of the targets that were seen lately, and memory that is used again.
#[derive(Default)]
pub struct Cache {
    plans: HashMap<u64, Kept>,
    batches: u64,
    groups: Groups,
    bytes_a_sample: usize,
}

#[derive(Default)]
struct Kept {
    plan: Plan,
    /// The number of the last batch that it was used for.
    used: u64,
}

impl Encoder {
    /// Makes the request of a batch's slices.
    pub(super) fn encode(&self, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        let samples: u64 = slices.iter().map(Slice::samples).sum();
        let expected_bytes = samples as usize * (cache.bytes_a_sample + cache.bytes_a_sample / 16);
        let mut events = Events::new(&self.layout, expected_bytes);
        for slice in slices {
            let origin = &slice.scrape.origin;
            let kept = cache.plans.entry(origin.key).or_default();
            kept.used = cache.batches;
            kept.plan.fit(&slice.scrape.series, origin, &self.layout);
            events.add(slice, &kept.plan, &mut cache.groups);
            if slice.scrape.is_last {
                cache.plans.remove(&origin.key);
            }
        }
        cache.forget_unused();
        if !events.points.is_empty() {
            cache.bytes_a_sample = events.body.len().div_ceil(events.points.len());
        }
        Encoded {
            path_and_query: EVENT_PATH.to_owned(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: events.body,
            items: events.items,
            points: events.points,
            skipped: events.skipped.into_reasons(),
            rejected: events.rejected,
            compression: self.compression,
        }
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
    fn new(layout: &'e Layout, expected_bytes: usize) -> Self {
        Self {
            layout,
            body: Vec::with_capacity(expected_bytes),
            items: Vec::new(),
            points: Vec::new(),
            start: 0,
            skipped: Skipped::default(),
            rejected: Vec::new(),
            opening: (None, Vec::new()),
        }
    }

    fn add(&mut self, slice: &Slice, plan: &Plan, groups: &mut Groups) {
        let scrape = &slice.scrape;
        groups.begin(plan.groups(), scrape.points.len());
        let mut look = |at: u32| {
            let point = scrape.points.get(at as usize);
            if !self.skipped.takes(point.value) {
                return;
            }
            match plan.place(point.series) {
                Place::Slot(slot) => groups.put_first(slot.group, at, point.own_ms.is_some()),
                Place::Refused(refusal) => self.refuse(refusal, slice, point.series),
            }
        };
        match slice.selected() {
            None => (0..scrape.points.len() as u32).rev().for_each(&mut look),
            Some(selected) => selected.iter().rev().copied().for_each(&mut look),
        }
        let is_multi_metric = self.layout.is_multi_metric;
        groups.each(scrape, |group, time_ms, at| match is_multi_metric {
            true => self.event(plan, group, time_ms, &scrape.points, at),
            false => at.chunks(1).for_each(|at| self.event(plan, group, time_ms, &scrape.points, at)),
        });
        self.start += scrape.points.len() as u32;
    }

    fn refuse(&mut self, refusal: Refusal, slice: &Slice, series: u32) {
        let reason = refusal.reason();
        match self.rejected.iter_mut().find(|rejected| rejected.reason == reason) {
            Some(rejected) => rejected.samples += 1,
            None => {
                let why = self.layout.explain(refusal, slice.scrape.series.get(series), &slice.scrape.origin);
                self.rejected.push(Rejection { reason, samples: 1, why });
            }
        }
    }

    /// Writes one event of the points at these positions of `points`.
    fn event(&mut self, plan: &Plan, group: u32, time_ms: i64, points: &Points, at: &[u32]) {
        let group = plan.group(group);
        if self.opening.0 != Some(time_ms) {
            self.opening = (Some(time_ms), opening(time_ms));
        }
        let body = &mut self.body;
        body.extend_from_slice(&self.opening.1);
        for text in plan.opening(&group) {
            body.extend_from_slice(text);
        }
        for &at in at {
            let point = points.get(at as usize);
            // Nothing else was listed.
            let (Value::Float(value), Place::Slot(slot)) = (point.value, plan.place(point.series)) else { continue };
            body.extend_from_slice(plan.key(slot));
            number(body, value);
            body.push(b',');
            self.points.push(self.start + at);
        }
        body.pop();
        body.extend_from_slice(b"}}\n");
        self.items.push(Item { end: body.len(), samples: at.len() as u32, mark: group.index });
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
