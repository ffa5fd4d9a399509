//! OTLP, for OpenTelemetry Collectors and all that take what they send; docs/otlp.md is the manual.
//!
//! Promises
//! - What a target says is what is sent: names, values, times and types. What OTLP has no word for is skipped or rejected with a
//!   reason, and counted.
//! - A series that counts has a start, also where its target does not say so; the start moves when the series begins anew.
//! - With differences, what could not be delivered is in the next one, unless the receiver has refused it.
//! - Samples of one series arrive in order: a request that failed is tried again before anything of its lane that came later.
//!
//! Leaves out on purpose: telling what a resend doubles. A receiver cannot know, so that is counted as maybe doubled.

mod answer;
mod classify;
mod encode;
mod fields;
mod histogram;
mod labels;
mod native;
mod plan;
mod point;
mod receiver;
mod state;
mod unit;
mod wire;

use std::time::Duration;

use bytes::Bytes;

use super::cumulative::Cumulative;
use super::http::all_well;
use crate::config::checked::{self, OtlpProtocol, OtlpTemporality};
use crate::net::credentials::Credentials;
use crate::net::text::duration;
use crate::pipeline::{
    Answer, Attempt, Batch, Compression, Encoded, Failure, Fate, Judgement, Ordering, Output, Request, Slice, Verdict,
};
use encode::{Cache, Encoder, Format, Temporality};
use labels::LabelRules;
use receiver::Way;
use state::State;

pub(super) use answer::is_page;
pub(super) use labels::Rules;

/// How long the first look at all receivers may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// The output.
#[derive(Debug)]
pub struct Otlp {
    way: Way,
    encoder: Encoder,
}

impl Otlp {
    /// Connects to nothing and reads no file yet.
    pub fn new(settings: &checked::Otlp, credentials: &Credentials) -> Self {
        Self::with_rules(settings, credentials, None)
    }

    /// The same for a receiver that has limits of its own.
    pub(super) fn with_rules(
        settings: &checked::Otlp,
        credentials: &Credentials,
        rules: Option<Box<dyn Rules>>,
    ) -> Self {
        let labels = settings.resource_labels.iter().filter(|(_, attribute)| !attribute.is_empty());
        let encoder = Encoder {
            format: match settings.protocol {
                OtlpProtocol::HttpProtobuf | OtlpProtocol::Grpc => Format::Protobuf,
                OtlpProtocol::HttpJson => Format::Json,
            },
            temporality: match settings.temporality {
                OtlpTemporality::Cumulative => Temporality::Cumulative,
                OtlpTemporality::Delta => Temporality::Delta,
            },
            observes_starts: settings.observes_starts,
            compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
            path: settings.path.clone(),
            labels: LabelRules {
                is_compatible: settings.prometheus_compatible,
                resource_labels: labels.cloned().collect(),
                resource_attributes: settings.resource_attributes.clone(),
            },
            rules,
        };
        Self { way: Way::new(settings, credentials), encoder }
    }

    /// Looks whether the receivers take requests: sends each of them one without any metrics.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        let urls = self.way.urls();
        let share = START_TIME_MAX / urls.len().max(1) as u32;
        let mut doubts = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let looked = tokio::time::timeout(share, self.look_at(at)).await;
            let silent = || Some(format!("says nothing within {}", duration(share)));
            doubts.extend(looked.unwrap_or_else(|_| silent()).map(|doubt| format!("{url}: {doubt}")));
        }
        all_well(&doubts)
    }

    /// Makes the request of these slices, which may be less than their batch has.
    pub(super) fn encode_slices(&self, state: &State, cache: &mut Cache, slices: &[Slice]) -> Encoded {
        self.encoder.encode(&state.0, cache, slices)
    }

    async fn look_at(&self, url: usize) -> Option<String> {
        let empty = self.encoder.encode(&Cumulative::default(), &mut Cache::default(), &[]);
        let body = if self.encoder.format == Format::Json { Bytes::from_static(b"{}") } else { Bytes::new() };
        let request = Request { path_and_query: empty.path_and_query.clone(), headers: empty.headers.clone(), body };
        match self.way.send(url, request).await {
            Ok(answer) => self.judge(&empty, &answer).problem.map(|(_, problem)| problem),
            Err(failure) => Some(failure.message),
        }
    }

    fn judge(&self, encoded: &Encoded, answer: &Answer) -> Judgement {
        match self.way.is_grpc() {
            true => classify::grpc(encoded, answer),
            false => classify::http(encoded, answer),
        }
    }
}

impl Output for Otlp {
    type State = State;
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        self.way.urls()
    }

    async fn start(&self) -> Result<(), String> {
        self.check().await
    }

    fn encode(&self, state: &State, cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encode_slices(state, cache, &batch.slices)
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        self.way.send(url, request).await
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        self.judge(encoded, answer)
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn settle_noted(&self, state: &mut State, batch: &Batch, encoded: &Encoded) {
        state::settle(&mut state.0, self.encoder.temporality, batch, &encoded.noted);
    }

    fn settle(&self, state: &mut State, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        let is_known = match verdict {
            Verdict::All(Fate::Delivered | Fate::Duplicate(_)) | Verdict::Partly { .. } => true,
            // It was refused and has been all the same: its series goes on from there. A difference is told with the next.
            Verdict::All(Fate::Rejected(_)) => self.encoder.temporality == Temporality::Cumulative,
            _ => false,
        };
        let needs_state = self.encoder.observes_starts || self.encoder.temporality == Temporality::Delta;
        if is_known && needs_state {
            state::settle(&mut state.0, self.encoder.temporality, batch, &encoded.points);
        }
    }
}
