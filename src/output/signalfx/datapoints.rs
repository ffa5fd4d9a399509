//! A batch in the ingest's own JSON: a list of datapoints for each type. It is one item: the ingest takes all of it or nothing.
//!
//! The item's samples, skipped and rejected ones add up to the batch's, always.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::limits;
use crate::exposition::write;
use crate::model::{MetricType, Point, Scrape, SeriesRef, Value, part_label};
use crate::output::cumulative::{Ahead, Cumulative, NOT_NEWER};
use crate::output::json::{Plans, Skipped, number};
use crate::pipeline::{Compression, Encoded, Item, Rejection, Slice};

/// Where they go.
pub const PATH: &str = "/v2/datapoint";

/// The dimension that a bucket has instead of its label `le`.
const UPPER_BOUND: &str = "upper_bound";

/// What is known of targets.
#[derive(Default)]
pub struct Cache(Plans<Plan>);

/// By number of the series.
#[derive(Default)]
struct Plan(Vec<Result<Meaning, &'static str>>);

/// What a sample of a series is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Gauge,
    Quantile,
    Counter,
    Bucket,
}

impl Meaning {
    fn of(series: &SeriesRef<'_>) -> Self {
        let is_part = part_label(series.family().kind).is_some_and(|part| series.label(part).is_some());
        match write::text_family(series).1 {
            MetricType::Histogram if is_part => Self::Bucket,
            MetricType::Summary if is_part => Self::Quantile,
            MetricType::Counter | MetricType::Histogram | MetricType::Summary => Self::Counter,
            _ => Self::Gauge,
        }
    }
}

/// Makes the request of a batch's slices.
pub fn encode(compression: Compression, state: &Cumulative, cache: &mut Cache, slices: &[Slice]) -> Encoded {
    let mut lists = Lists {
        gauges: Vec::new(),
        counters: Vec::new(),
        points: Vec::new(),
        skipped: Skipped::default(),
        not_newer: 0,
        rejected: Vec::new(),
        ahead: state.ahead(),
    };
    let mut start = 0;
    for slice in slices {
        let scrape = &slice.scrape;
        let plan = cache.0.of(scrape, |plan: &mut Plan, series| {
            plan.0.push(limits::refuses(&series, 0).map_or_else(|| Ok(Meaning::of(&series)), Err));
        });
        for at in slice.positions() {
            let point = scrape.points.get(at as usize);
            lists.add(start + at, scrape, &point, plan.0[point.series as usize]);
        }
        start += scrape.points.len() as u32;
        cache.0.written(scrape);
    }
    cache.0.end_batch();
    lists.finish(compression)
}

/// A body that is being written.
struct Lists<'s> {
    gauges: Vec<u8>,
    counters: Vec<u8>,
    points: Vec<u32>,
    skipped: Skipped,
    not_newer: u64,
    rejected: Vec<Rejection>,
    ahead: Ahead<'s>,
}

impl Lists<'_> {
    fn add(&mut self, at: u32, scrape: &Scrape, point: &Point<'_>, meaning: Result<Meaning, &'static str>) {
        let series = scrape.series.get(point.series);
        if !self.skipped.takes(point.value) {
            return;
        }
        let (Value::Float(value), time_ms) = (point.value, scrape.time_ms(point)) else { return };
        let meaning = match meaning {
            Ok(meaning) => meaning,
            Err(reason) => return self.reject(reason, &series),
        };
        // The scrape's own time is always above the one before.
        if point.own_ms.is_some() {
            let key = series.hash();
            if self.ahead.last_ms(key).is_some_and(|last_ms| last_ms >= time_ms) {
                self.not_newer += 1;
                return;
            }
            self.ahead.step(key, value, time_ms);
        }
        let out = match meaning {
            Meaning::Gauge | Meaning::Quantile => &mut self.gauges,
            Meaning::Counter | Meaning::Bucket => &mut self.counters,
        };
        datapoint(out, &series, meaning, value, time_ms);
        self.points.push(at);
    }

    /// Counts a sample that Splunk would not take; the first one of a reason is explained.
    fn reject(&mut self, reason: &'static str, series: &SeriesRef<'_>) {
        match self.rejected.iter_mut().find(|rejected| rejected.reason == reason) {
            Some(rejected) => rejected.samples += 1,
            None => self.rejected.push(Rejection { reason, samples: 1, why: limits::explain(reason, series, 0) }),
        }
    }

    fn finish(self, compression: Compression) -> Encoded {
        let mut body = Vec::with_capacity(self.gauges.len() + self.counters.len() + 64);
        for (name, list) in [("gauge", &self.gauges), ("cumulative_counter", &self.counters)] {
            // Each datapoint begins with a comma.
            if let Some((_, list)) = list.split_first() {
                body.extend_from_slice(if body.is_empty() { b"{\"" } else { b",\"" });
                body.extend_from_slice(name.as_bytes());
                body.extend_from_slice(b"\":[");
                body.extend_from_slice(list);
                body.push(b']');
            }
        }
        body.push(b'}');
        let samples = self.points.len() as u32;
        let item = Item { end: body.len(), samples, mark: 0 };
        let mut skipped = self.skipped.into_reasons();
        if self.not_newer > 0 {
            skipped.insert(NOT_NEWER, self.not_newer);
        }
        Encoded {
            path_and_query: PATH.to_owned(),
            headers: headers(),
            body: if samples > 0 { body.into() } else { Default::default() },
            items: if samples > 0 { vec![item] } else { Vec::new() },
            points: self.points,
            skipped,
            rejected: self.rejected,
            compression,
            ..Encoded::default()
        }
    }
}

/// What a request has besides the token.
pub fn headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// `,{"metric":"…","value":1,"timestamp":…,"dimensions":{…}}`
fn datapoint(out: &mut Vec<u8>, series: &SeriesRef<'_>, meaning: Meaning, value: f64, time_ms: i64) {
    out.extend_from_slice(b",{\"metric\":");
    text(out, series.name());
    if meaning == Meaning::Quantile {
        // Within the quotes.
        out.pop();
        out.extend_from_slice(b"_quantile\"");
    }
    out.extend_from_slice(b",\"value\":");
    number(out, value);
    out.extend_from_slice(b",\"timestamp\":");
    out.extend_from_slice(itoa::Buffer::new().format(time_ms).as_bytes());
    let mut separator: &[u8] = b",\"dimensions\":{";
    for (name, value) in series.labels() {
        out.extend_from_slice(separator);
        separator = b",";
        match meaning {
            Meaning::Bucket if name == "le" => text(out, UPPER_BOUND),
            _ => text(out, &limits::dimension(name)),
        }
        out.push(b':');
        text(out, value);
    }
    out.extend_from_slice(if separator == b"," { b"}}" } else { b"}" });
}

/// A text in quotes.
fn text(out: &mut Vec<u8>, text: &str) {
    // Writing into a `Vec` does not fail, and a text is always a JSON string.
    let _ = serde_json::to_writer(out, text);
}
