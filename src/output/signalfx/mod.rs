//! Splunk Observability Cloud, formerly SignalFx. docs/signalfx.md is the manual.
//!
//! Promises
//! - Its limits on names and dimensions are applied here, each with a counted reason: the ingest lets go of what is beyond them
//!   without saying so.
//! - Samples of one series arrive in order, and with rising times.
//!
//! Leaves out on purpose: events, properties and tags of dimensions, which its other APIs take.

mod classify;
mod datapoints;
mod limits;

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::cumulative::Cumulative;
use super::http::{Receivers, all_well};
use crate::config::checked;
use crate::model::Value;
use crate::net::credentials::Credentials;
use crate::pipeline::{
    Answer, Attempt, Batch, Compression, Encoded, Failure, Fate, Judgement, Ordering, Output, Request, Verdict,
};
pub use datapoints::Cache;

/// How long the first look at the ingest may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// The output.
#[derive(Debug)]
pub struct Signalfx {
    receivers: Receivers,
    compression: Compression,
}

/// The last times of series whose samples have times of their own, one a lane.
#[derive(Debug, Default)]
pub struct State(Cumulative);

impl Signalfx {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::Signalfx, credentials: &Credentials) -> Self {
        Self {
            receivers: Receivers::new(&settings.http, credentials),
            compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
        }
    }

    /// Looks whether the ingest takes the token: sends it a request without any datapoint.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        let looks = self.receivers.look_at_each(START_TIME_MAX, "says nothing", |url| async move {
            let request = Request {
                path_and_query: datapoints::PATH.to_owned(),
                headers: datapoints::headers(),
                body: Bytes::from_static(b"{}"),
            };
            match self.receivers.send(url, Method::POST, request).await {
                Ok(answer) => classify::classify(&answer).problem.map(|(_, problem)| problem),
                Err(failure) => Some(failure.message),
            }
        });
        all_well(&looks.await)
    }
}

impl Output for Signalfx {
    type State = State;
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        self.receivers.urls()
    }

    async fn start(&self) -> Result<(), String> {
        self.check().await
    }

    fn encode(&self, state: &State, cache: &mut Cache, batch: &Batch) -> Encoded {
        datapoints::encode(self.compression, &state.0, cache, &batch.slices)
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        self.receivers.send(url, Method::POST, request).await
    }

    fn classify(&self, _: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        classify::classify(answer)
    }

    /// A datapoint that comes twice counts twice in rollups of its second.
    fn is_idempotent(&self) -> bool {
        false
    }

    fn settle(&self, state: &mut State, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        if *verdict != Verdict::All(Fate::Delivered) {
            return;
        }
        for (scrape, point, series) in batch.points_at(&encoded.points) {
            if let (Value::Float(value), Some(_)) = (point.value, point.own_ms) {
                state.0.advance(series.hash(), value, scrape.time_ms(&point));
            }
        }
    }
}
