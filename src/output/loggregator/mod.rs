//! Loggregator, through the agent on this machine: samples become v2 envelopes, as with prom_scraper. docs/loggregator.md is the
//! manual.
//!
//! Promises
//! - Delivered means that the agent has answered for the very call that brought the samples. So calls are unary (`Send`): the
//!   streams that prom_scraper uses are answered when they end, if ever, and agents end them with an error.
//! - Samples of one series arrive in order: a call that failed is tried again before anything of its lane that came later.
//! - An agent has a buffer of ten thousand envelopes and lets go of what it cannot hold without saying so: a backlog is sent no
//!   faster than it reads.
//!
//! Leaves out on purpose: telling what a resend doubles. An agent cannot know, so that is counted as maybe doubled.

mod classify;
mod encode;

use std::time::Duration;

use http::HeaderMap;

use crate::config::checked;
use crate::net::credentials::Credentials;
use crate::net::error::Stage;
use crate::net::grpc::{CallError, Client, ClientSettings, Reply};
use crate::pipeline::{Answer, Attempt, Batch, Encoded, Failure, Judgement, Ordering, Output, Request};
use encode::Encoder;

/// The method, which answers for each batch.
const SEND: &str = "/loggregator.v2.Ingress/Send";

/// Bytes of an answer, which has no fields.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long the first look at the agent may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// The output.
#[derive(Debug)]
pub struct Loggregator {
    client: Client,
    encoder: Encoder,
}

impl Loggregator {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::Loggregator, credentials: &Credentials) -> Self {
        let client = Client::new(ClientSettings {
            host: settings.host.clone(),
            port: settings.port,
            tls: Some(credentials.client(&settings.tls)),
            timeout: settings.timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
        });
        Self { client, encoder: Encoder { source_id: settings.source_id.clone() } }
    }

    /// Looks whether the agent takes envelopes: sends it a batch without any.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        match self.call(bytes::Bytes::new()).await {
            Ok(answer) => match classify::classify(0, &answer).problem {
                None => Ok(()),
                Some((_, problem)) => Err(format!("{}: {problem}", self.client.address())),
            },
            Err(failure) => Err(failure.message),
        }
    }

    /// A call that was answered is an answer of HTTP, whatever it says: `grpc-status` is among its header fields.
    async fn call(&self, batch: bytes::Bytes) -> Result<Answer, Failure> {
        let answer = |metadata, body| Answer { status: http::StatusCode::OK, headers: metadata, body };
        match self.client.call(SEND, &HeaderMap::new(), &[batch]).await {
            Ok(Reply { message, metadata }) => Ok(answer(metadata, message)),
            Err(CallError::Status { status, mut metadata, .. }) => {
                status.write_to(&mut metadata);
                Ok(answer(*metadata, bytes::Bytes::new()))
            }
            Err(CallError::Net(error)) => Err(Failure {
                kind: error.kind(),
                message: error.to_string(),
                is_maybe_received: error.stage >= Stage::Header,
            }),
        }
    }
}

impl Output for Loggregator {
    type State = ();
    type Cache = ();

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        vec![self.client.address()]
    }

    async fn start(&self) -> Result<(), String> {
        let silence = || format!("{} says nothing within 5s", self.client.address());
        tokio::time::timeout(START_TIME_MAX, self.check()).await.unwrap_or_else(|_| Err(silence()))
    }

    fn encode(&self, (): &(), (): &mut (), batch: &Batch) -> Encoded {
        self.encoder.encode(&batch.slices)
    }

    async fn send(&self, _url: usize, request: Request) -> Result<Answer, Failure> {
        self.call(request.body).await
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        classify::classify(encoded.items.len(), answer)
    }

    fn is_idempotent(&self) -> bool {
        false
    }
}
