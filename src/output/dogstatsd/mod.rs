//! DogStatsD, as Datadog's agent takes it over UDP or a Unix datagram socket: a line a sample, several in a datagram.
//! docs/dogstatsd.md is the manual.
//!
//! Promises
//! - Delivered means that the kernel took the datagram: nobody answers. Where the kernel can tell that nobody listens (a Unix
//!   socket, a port of this machine), samples wait; and how much of a request it took is known to the line, so that only the
//!   rest is sent again.
//! - A counter is sent as its rise since the last sample that was delivered, never as its total. What a failure holds back is in
//!   the next rise. The first sample of a counter has none, and is skipped as `first_delta`.
//! - No text from outside can end a tag, a line or a datagram: see `text`.
//!
//! Leaves out on purpose: the stream socket, aggregation (the agent's work), sets, events and service checks.

mod encode;
mod link;
mod plan;
mod sums;
mod text;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Mutex;

use super::cumulative::Cumulative;
use crate::config::checked;
use crate::model::Value;
use crate::pipeline::{
    Answer, Attempt, Batch, Encoded, Failure, Fate, Judgement, Next, Ordering, Output, Request, Verdict,
};
pub use encode::Cache;
use encode::{COUNTED, Encoder, series_key};
use link::{Datagrams, Link};

/// The output.
#[derive(Debug)]
pub struct Dogstatsd {
    encoder: Encoder,
    address: String,
    payload_bytes_max: usize,
    link: Mutex<Link>,
}

/// The rises of counters, one a lane.
#[derive(Debug, Default)]
pub struct State(Cumulative);

impl Dogstatsd {
    /// Opens no socket yet.
    pub fn new(settings: &checked::Dogstatsd) -> Self {
        Self {
            encoder: Encoder::new(settings),
            address: settings.address.to_string(),
            payload_bytes_max: settings.max_payload,
            link: Mutex::new(Link::new(settings.address.clone())),
        }
    }

    /// Looks whether somebody listens, as far as the kernel knows. Over UDP that takes an empty datagram, which agents pass over.
    ///
    /// # Errors
    /// One sentence.
    pub async fn check(&self) -> Result<(), String> {
        let looked = self.link.lock().await.look().await;
        looked.map_err(|trouble| format!("{}: {}", self.address, trouble.message))
    }
}

impl Output for Dogstatsd {
    type State = State;
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        vec![self.address.clone()]
    }

    async fn start(&self) -> Result<(), String> {
        self.check().await
    }

    fn encode(&self, state: &State, cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encoder.encode(&state.0, cache, &batch.slices)
    }

    /// The answer's body is how many bytes of the request's the kernel took: whole items.
    async fn send(&self, _url: usize, request: Request) -> Result<Answer, Failure> {
        let mut link = self.link.lock().await;
        let mut taken = 0;
        for datagram in Datagrams::new(&request.body, self.payload_bytes_max) {
            match link.send(&datagram).await {
                Ok(()) => taken += datagram.len(),
                // What is wrong is told when the rest is sent again, which is at once.
                Err(_) if taken > 0 => break,
                Err(trouble) if trouble.is_too_large => return Ok(answer(StatusCode::PAYLOAD_TOO_LARGE, 0)),
                Err(trouble) => {
                    return Err(Failure {
                        kind: trouble.kind,
                        message: trouble.message,
                        is_maybe_received: trouble.is_maybe_received,
                    });
                }
            }
        }
        Ok(answer(StatusCode::OK, taken))
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        if answer.status == StatusCode::PAYLOAD_TOO_LARGE {
            let said = "the kernel takes no datagram of this size; see max_payload".to_owned();
            let problem = Some(("too_large", said));
            return Judgement { verdict: Verdict::TooLarge, problem, ..Judgement::delivered() };
        }
        let taken = std::str::from_utf8(&answer.body).ok().and_then(|taken| taken.parse().ok()).unwrap_or(0);
        let fate = |end| if end <= taken { Fate::Delivered } else { Fate::Retry };
        match encoded.items.last().is_none_or(|last| last.end <= taken) {
            true => Judgement::delivered(),
            false => Judgement {
                verdict: Verdict::Each(encoded.items.iter().map(|item| fate(item.end)).collect()),
                is_maybe_received: false,
                next: Next::Now,
                problem: None,
            },
        }
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn settle(&self, state: &mut State, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        let is_delivered = |at: usize| match verdict {
            Verdict::All(fate) => *fate == Fate::Delivered,
            Verdict::Each(fates) => fates.get(at) == Some(&Fate::Delivered),
            _ => false,
        };
        let mut numbers = Vec::new();
        let mut start = 0;
        for (at, item) in encoded.items.iter().enumerate() {
            let end = start + item.samples as usize;
            if item.mark == COUNTED && is_delivered(at) {
                numbers.extend_from_slice(&encoded.points[start..end]);
            }
            start = end;
        }
        state.advance(batch, &numbers);
    }

    fn settle_noted(&self, state: &mut State, batch: &Batch, encoded: &Encoded) {
        state.advance(batch, &encoded.noted);
    }
}

impl State {
    fn advance(&mut self, batch: &Batch, numbers: &[u32]) {
        for (scrape, point, series) in batch.points_at(numbers) {
            if let Value::Float(value) = point.value {
                self.0.advance(series_key(scrape, &series), value, scrape.time_ms(&point));
            }
        }
    }
}

fn answer(status: StatusCode, taken: usize) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(taken.to_string()) }
}
