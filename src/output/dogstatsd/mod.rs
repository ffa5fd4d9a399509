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

use super::cumulative::{Cumulative, key_in_target};
use crate::config::checked;
use crate::model::Value;
use crate::pipeline::{
    Answer, Attempt, Batch, Encoded, Failure, Fate, Judgement, Next, Ordering, Output, Request, Verdict,
};
pub use encode::Cache;
use encode::{COUNTED, Encoder};
use link::{Datagrams, Link, Trouble};

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

    /// The answer's body is how many bytes of the request's the kernel took, whole items; with a `+` where it may be more.
    async fn send(&self, _url: usize, request: Request) -> Result<Answer, Failure> {
        let mut link = self.link.lock().await;
        let (mut taken, mut sent) = (0, 0);
        for datagram in Datagrams::new(&request.body, self.payload_bytes_max) {
            if link.is_due() {
                match link.confirm().await {
                    Ok(()) => taken = sent,
                    Err(trouble) => return told(trouble, taken, sent),
                }
            }
            match link.send(&datagram).await {
                Ok(()) => sent += datagram.len(),
                Err(trouble) => return told(trouble, taken, sent),
            }
        }
        match link.confirm().await {
            Ok(()) => Ok(answer(StatusCode::OK, sent.to_string())),
            Err(trouble) => told(trouble, taken, sent),
        }
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        if answer.status == StatusCode::PAYLOAD_TOO_LARGE {
            let said = "the kernel takes no datagram of this size; see max_payload".to_owned();
            let problem = Some(("too_large", said));
            return Judgement { verdict: Verdict::TooLarge, problem, ..Judgement::delivered() };
        }
        let said = std::str::from_utf8(&answer.body).unwrap_or_default();
        let taken = said.trim_end_matches('+').parse().unwrap_or(0);
        let fate = |end| if end <= taken { Fate::Delivered } else { Fate::Retry };
        match encoded.items.last().is_none_or(|last| last.end <= taken) {
            true => Judgement::delivered(),
            false => Judgement {
                verdict: Verdict::Each(encoded.items.iter().map(|item| fate(item.end)).collect()),
                is_maybe_received: said.ends_with('+'),
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
                self.0.advance(key_in_target(scrape, &series), value, scrape.time_ms(&point));
            }
        }
    }
}

/// What comes of a request of which so many bytes are known to be taken, and so many were sent, before there was trouble.
fn told(trouble: Trouble, taken: usize, sent: usize) -> Result<Answer, Failure> {
    let is_in_doubt = trouble.is_of_before && sent > taken;
    match if trouble.is_of_before { taken } else { sent } {
        0 if trouble.is_too_large => Ok(answer(StatusCode::PAYLOAD_TOO_LARGE, String::new())),
        0 => Err(Failure {
            kind: trouble.kind,
            message: trouble.message,
            is_maybe_received: trouble.is_maybe_received || is_in_doubt,
        }),
        // What is wrong is told when the rest is sent again, which is at once.
        taken => Ok(answer(StatusCode::OK, format!("{taken}{}", if is_in_doubt { "+" } else { "" }))),
    }
}

fn answer(status: StatusCode, taken: String) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(taken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::DogstatsdAddress;
    use crate::pipeline::Item;

    fn trouble(is_of_before: bool, is_too_large: bool) -> Trouble {
        Trouble { kind: "k", message: "m".to_owned(), is_maybe_received: false, is_of_before, is_too_large }
    }

    /// What is said of three items of ten bytes each: delivered or not, and whether the rest may have been received.
    fn judged(trouble: Trouble, taken: usize, sent: usize) -> Option<(Vec<bool>, bool)> {
        let settings = checked::Dogstatsd {
            address: DogstatsdAddress::Udp { host: "127.0.0.1".to_owned(), port: 1 },
            max_payload: 1432,
            namespace: String::new(),
            tags: Vec::new(),
            exclude_labels: Vec::new(),
            timestamps: false,
            buckets: true,
            quantiles: true,
            mappings: Vec::new(),
        };
        let items = [10, 20, 30].map(|end| Item { end, samples: 1, mark: 0 }).to_vec();
        let encoded = Encoded { items, ..Encoded::default() };
        let answer = told(trouble, taken, sent).ok()?;
        let judged = Dogstatsd::new(&settings).classify(&encoded, Attempt::default(), &answer);
        match judged.verdict {
            Verdict::Each(fates) => {
                let is_delivered = fates.iter().map(|fate| *fate == Fate::Delivered).collect();
                Some((is_delivered, judged.is_maybe_received))
            }
            Verdict::TooLarge => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_known_to_be_taken_is_delivered() {
        assert_eq!(judged(trouble(false, false), 10, 20), Some((vec![true, true, false], false)));
        assert_eq!(
            judged(trouble(true, false), 10, 20),
            Some((vec![true, false, false], true)),
            "a refusal comes late"
        );
        assert_eq!(judged(trouble(true, false), 20, 20), Some((vec![true, true, false], false)));
        assert_eq!(judged(trouble(false, true), 0, 0), None);
        let failure =
            |sent| told(trouble(true, false), 0, sent).map(|_| ()).map_err(|failure| failure.is_maybe_received);
        assert_eq!((failure(0), failure(10)), (Err(false), Err(true)));
    }
}
