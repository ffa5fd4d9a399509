//! Splunk Observability Cloud, formerly SignalFx: OTLP, or the ingest's own datapoints. docs/signalfx.md is the manual.
//!
//! Promises
//! - Its limits on names and dimensions are applied here, each with a counted reason: the ingest lets go of what is beyond them
//!   without saying so.
//! - Samples of one series arrive in order, and datapoints with rising times.
//! - What can be put right, such as a token, is waited for.
//!
//! Leaves out on purpose: events, properties and tags of dimensions, which its other APIs take.

mod classify;
mod datapoints;
mod limits;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};

use super::cumulative::Cumulative;
use super::http::Receivers;
use super::otlp::{Otlp, Rules};
use crate::config::checked::{self, OtlpProtocol, OtlpTemporality, SignalfxProtocol};
use crate::model::{MetricType, SeriesRef, Value, part_label};
use crate::net::credentials::Credentials;
use crate::pipeline::{
    Answer, Attempt, Batch, Compression, Encoded, Failure, Fate, Judgement, Ordering, Output, Reasons, Request, Slice,
    Verdict, reason,
};

/// How long the first look at the ingest may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// Where OTLP goes.
const OTLP_PATH: &str = "/v2/datapoint/otlp";

/// Dimensions that the attributes of a target's resource become, at most, whatever labels its series have.
const RESOURCE_DIMENSIONS: usize = 5;

/// The output.
#[derive(Debug)]
pub struct Signalfx(Spoken);

#[derive(Debug)]
enum Spoken {
    Otlp(Box<Otlp>),
    Datapoints { receivers: Box<Receivers>, compression: Compression },
}

/// What is remembered from one request to the next, one a lane.
#[derive(Default)]
pub struct State {
    otlp: <Otlp as Output>::State,
    /// The last times of series whose samples have times of their own.
    times: Cumulative,
}

/// What is known of targets.
#[derive(Default)]
pub struct Cache {
    otlp: <Otlp as Output>::Cache,
    datapoints: datapoints::Cache,
}

impl Signalfx {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::Signalfx, credentials: &Credentials) -> Self {
        Self(match settings.protocol {
            SignalfxProtocol::Otlp => {
                Spoken::Otlp(Box::new(Otlp::with_rules(&otlp(settings), credentials, Some(Box::new(Limits)))))
            }
            SignalfxProtocol::Datapoints => Spoken::Datapoints {
                receivers: Box::new(Receivers::new(&settings.http, credentials)),
                compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
            },
        })
    }

    /// Looks whether the ingest takes the token: sends it a request without any datapoint.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        let (path, headers, body) = match self.0 {
            Spoken::Otlp(_) => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                (OTLP_PATH, HeaderMap::from_iter([(CONTENT_TYPE, protobuf)]), Bytes::new())
            }
            Spoken::Datapoints { .. } => (datapoints::PATH, datapoints::headers(), Bytes::from_static(b"{}")),
        };
        let sent = self.send(0, Request { path_and_query: path.to_owned(), headers, body });
        let doubt = match tokio::time::timeout(START_TIME_MAX, sent).await {
            Ok(Ok(answer)) => {
                self.judge(&Encoded::default(), Attempt::default(), &answer).problem.map(|(_, said)| said)
            }
            Ok(Err(failure)) => Some(failure.message),
            Err(_) => Some("says nothing within 5s".to_owned()),
        };
        let url = self.urls().concat();
        doubt.map_or(Ok(()), |doubt| Err(format!("{url}: {doubt}")))
    }

    /// What OTLP would give up on is waited for here; how many points of a request were refused is said alike.
    fn judge(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        match &self.0 {
            Spoken::Otlp(otlp) if answer.status.is_success() => otlp.classify(encoded, attempt, answer),
            _ => classify::classify(answer),
        }
    }
}

fn otlp(settings: &checked::Signalfx) -> checked::Otlp {
    let named = |(label, attribute): (&str, &str)| (label.to_owned(), attribute.to_owned());
    checked::Otlp {
        protocol: OtlpProtocol::HttpProtobuf,
        http: settings.http.clone(),
        path: OTLP_PATH.to_owned(),
        temporality: OtlpTemporality::Cumulative,
        observes_starts: true,
        prometheus_compatible: true,
        resource_labels: [("instance", "service.instance.id"), ("job", "service.name")].map(named).to_vec(),
        resource_attributes: Vec::new(),
    }
}

/// What is left of slices without samples that are no numbers, and these by reason. OTLP could say them, and the ingest would
/// let go of them.
fn numbers(slices: &[Slice]) -> (Vec<Slice>, Reasons) {
    let mut skipped = Reasons::new();
    let without = |slice: &Slice| {
        let points = &slice.scrape.points;
        let is_number = |at: &u32| no_number(points.get(*at as usize).value).is_none();
        if slice.positions().all(|at| is_number(&at)) {
            return slice.clone();
        }
        for reason in slice.positions().filter_map(|at| no_number(points.get(at as usize).value)) {
            *skipped.entry(reason).or_default() += 1;
        }
        Slice::of(slice.scrape.clone(), slice.positions().filter(is_number).collect())
    };
    let left = slices.iter().map(without).collect();
    (left, skipped)
}

fn no_number(value: Value<'_>) -> Option<&'static str> {
    match value {
        _ if value.is_stale() => Some(reason::STALE_MARKER),
        Value::Float(value) if value.is_nan() => Some(reason::NAN),
        Value::Float(value) if value.is_infinite() => Some(reason::INFINITE),
        Value::Float(_) | Value::Histogram(_) => None,
    }
}

/// Dimensions that a series has beside its labels. Some labels are none: those that are the resource's already, and the bound of a
/// bucket, so all parts of a histogram are refused, or none.
fn dimensions_beside(series: SeriesRef<'_>, infos: usize) -> usize {
    let kind = series.family().kind;
    let part = part_label(kind).filter(|_| kind != MetricType::GaugeHistogram);
    let no_dimensions = [Some("job"), Some("instance"), part].into_iter().flatten();
    RESOURCE_DIMENSIONS + infos - no_dimensions.filter(|label| series.label(label).is_some()).count()
}

/// The ingest's limits, for OTLP.
#[derive(Debug)]
struct Limits;

impl Rules for Limits {
    fn refuses(&self, series: SeriesRef<'_>, infos: usize) -> Option<&'static str> {
        limits::refuses(&series, dimensions_beside(series, infos))
    }

    fn explain(&self, reason: &'static str, series: SeriesRef<'_>, infos: usize) -> String {
        limits::explain(reason, &series, dimensions_beside(series, infos))
    }

    fn attribute<'a>(&self, name: &'a str, value: &'a str) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        Some((limits::dimension(name), Cow::Borrowed(value)))
    }
}

impl Output for Signalfx {
    type State = State;
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        match &self.0 {
            Spoken::Otlp(otlp) => otlp.urls(),
            Spoken::Datapoints { receivers, .. } => receivers.urls(),
        }
    }

    async fn start(&self) -> Result<(), String> {
        self.check().await
    }

    fn encode(&self, state: &State, cache: &mut Cache, batch: &Batch) -> Encoded {
        match &self.0 {
            Spoken::Otlp(otlp) => {
                let (slices, skipped) = numbers(&batch.slices);
                let mut encoded = otlp.encode_slices(&state.otlp, &mut cache.otlp, &slices);
                for (reason, samples) in skipped {
                    *encoded.skipped.entry(reason).or_default() += samples;
                }
                encoded
            }
            Spoken::Datapoints { compression, .. } => {
                datapoints::encode(*compression, &state.times, &mut cache.datapoints, &batch.slices)
            }
        }
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        match &self.0 {
            Spoken::Otlp(otlp) => otlp.send(url, request).await,
            Spoken::Datapoints { receivers, .. } => receivers.send(url, Method::POST, request).await,
        }
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        self.judge(encoded, attempt, answer)
    }

    /// A datapoint that comes twice counts twice in rollups of its second.
    fn is_idempotent(&self) -> bool {
        false
    }

    fn settle(&self, state: &mut State, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        match &self.0 {
            Spoken::Otlp(otlp) => otlp.settle(&mut state.otlp, batch, encoded, verdict),
            Spoken::Datapoints { .. } if *verdict == Verdict::All(Fate::Delivered) => {
                for (scrape, point, series) in batch.points_at(&encoded.points) {
                    if let (Value::Float(value), Some(_)) = (point.value, point.own_ms) {
                        state.times.advance(series.hash(), value, scrape.time_ms(&point));
                    }
                }
            }
            Spoken::Datapoints { .. } => {}
        }
    }

    fn settle_noted(&self, state: &mut State, batch: &Batch, encoded: &Encoded) {
        if let Spoken::Otlp(otlp) = &self.0 {
            otlp.settle_noted(&mut state.otlp, batch, encoded);
        }
    }
}
