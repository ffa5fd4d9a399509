//! Prometheus remote write, 1.0 and 2.0; docs/remote-write.md is its manual.
//!
//! Promises
//! - What the specification's senders must do: labels sorted, samples of a series in time order, across failures, restarts and the
//!   disk queue; 429 and 5xx are tried again, and nothing else of what is refused.
//! - A resend of what may have been taken is not counted as refused where the receiver says that it is out of order.
//! - With remote write 2.0, what the receiver says that it wrote is what counts as delivered.
//!
//! Leaves out on purpose: compression other than Snappy's, which the specification demands, and redirects.

mod classify;
mod encode;
mod exemplars;
mod histogram;
mod merge;
#[cfg(test)]
mod messages;
mod metadata;
mod refusal;
mod rendered;
mod sample;
mod v1;
mod v2;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Method};

use super::http::Receivers;
use crate::config::checked::{self, HttpOutput, WriteMessage};
use crate::net::Url;
use crate::net::credentials::Credentials;
use crate::net::text::escaped;
use crate::pipeline::{Answer, Attempt, Batch, Encoded, Failure, Fate, Judgement, Ordering, Output, Request, Verdict};
use encode::{Cache, Encoder, mark};
use exemplars::Sent;
use metadata::Said;

/// How long the first look at the receiver may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// No bytes at all, as Snappy's block format has it.
const EMPTY_BODY: &[u8] = &[0];

/// The output.
#[derive(Debug)]
pub struct RemoteWrite {
    receivers: Receivers,
    encoder: Encoder,
    /// For people: without the query.
    url: String,
    /// Whether it was told that the receiver does not take remote write 2.0.
    is_fallback_told: AtomicBool,
}

/// What a lane knows from one request to the next.
#[derive(Debug, Default)]
pub struct State {
    /// The receiver does not take the message of remote write 2.0.
    is_v1_only: bool,
    said: Said,
    exemplars: Sent,
}

impl RemoteWrite {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::RemoteWrite, credentials: &Credentials) -> Self {
        let target = settings.http.urls.first();
        let path_and_query = target.map(|url| url.path_and_query.clone()).unwrap_or_default();
        // Requests name the whole path: what is joined to a path of the URL's would get a slash in between.
        let bare = target.map(|url| Url { path_and_query: "/".to_owned(), ..url.clone() });
        let http = HttpOutput { urls: bare.into_iter().collect(), ..settings.http.clone() };
        Self {
            receivers: Receivers::new(&http, credentials),
            encoder: Encoder {
                path_and_query,
                message: settings.message,
                has_exemplars: settings.send_exemplars,
                has_histograms: settings.send_native_histograms,
                metadata_interval_ms: settings
                    .metadata_interval
                    .map(|interval| interval.as_millis().try_into().unwrap_or(u64::MAX)),
            },
            url: escaped(&settings.shown_url()),
            is_fallback_told: AtomicBool::new(false),
        }
    }

    /// Looks whether the receiver takes remote write: sends it a request without any series.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        match self.look(self.encoder.message).await {
            Err(Doubt { status: Some(415), .. }) if self.encoder.message == WriteMessage::V2 => {
                self.look(WriteMessage::V1).await
            }
            looked => looked,
        }
        .map_err(|doubt| format!("{}: {}", self.url, doubt.sentence))
    }

    async fn look(&self, message: WriteMessage) -> Result<(), Doubt> {
        let empty = self.encoder.empty(message);
        let request = Request {
            path_and_query: empty.path_and_query.clone(),
            headers: empty.headers.clone(),
            body: Bytes::from_static(EMPTY_BODY),
        };
        let request = request.with_header(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let answer = self.receivers.send(0, Method::POST, request).await;
        let answer = answer.map_err(|failure| Doubt { status: None, sentence: failure.message })?;
        let status = answer.status.as_u16();
        match status {
            // Some have nothing against an empty request, and some have just that.
            200..300 | 400 => Ok(()),
            _ => {
                let judged = classify::classify(&empty, Attempt::default(), &answer);
                let sentence = judged.problem.map_or_else(|| classify::words(&answer), |(_, sentence)| sentence);
                Err(Doubt { status: Some(status), sentence })
            }
        }
    }
}

/// Whether a request is through, taken or refused: what it said beside samples is not said again.
fn is_through(encoded: &Encoded, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::All(fate) => *fate != Fate::Retry,
        Verdict::Partly { .. } => true,
        // There is nothing else in it that could be divided off.
        Verdict::Spoilt(_) => encoded.items.len() == 1,
        Verdict::Each(_) | Verdict::TooLarge | Verdict::Anew | Verdict::Accepted(_) => false,
    }
}

/// Why a look at the receiver is not to anybody's content.
struct Doubt {
    status: Option<u16>,
    sentence: String,
}

impl Output for RemoteWrite {
    type State = State;
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        vec![self.url.clone()]
    }

    async fn start(&self) -> Result<(), String> {
        let silence = || format!("{} says nothing within 5s", self.url);
        tokio::time::timeout(START_TIME_MAX, self.check()).await.unwrap_or_else(|_| Err(silence()))
    }

    fn encode(&self, state: &State, cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encoder.encode(state, cache, &batch.slices)
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        self.receivers.send(url, Method::POST, request).await
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        classify::classify(encoded, attempt, answer)
    }

    /// A sample that is there already is either taken as the same one or refused.
    fn is_idempotent(&self) -> bool {
        true
    }

    fn settle(&self, state: &mut State, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        if *verdict == Verdict::Anew {
            state.is_v1_only = true;
            if !self.is_fallback_told.swap(true, Relaxed) {
                tracing::info!(
                    url = self.url,
                    "the receiver does not take remote write 2.0; 1.0 is spoken from now on"
                );
            }
        }
        if !is_through(encoded, verdict) {
            return;
        }
        let groups = merge::groups(&batch.slices);
        if let Some(interval_ms) = self.encoder.metadata_interval_ms {
            let has_metadata = encoded.items.iter().any(|item| item.mark == mark::METADATA);
            state.said.settled(&groups, interval_ms, has_metadata);
        }
        if self.encoder.has_exemplars {
            state.exemplars.settled(&groups);
        }
    }
}
