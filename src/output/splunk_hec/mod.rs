//! Splunk's HTTP Event Collector, for metrics; docs/splunk.md is its manual.
//!
//! Promises
//! - Samples of one label set and time are one event, and a metric's own labels are dimensions, whatever they are called:
//!   what index, host, source and source type an event has, the configuration says.
//! - An event that is refused is rejected alone, with its reason. Those before it are indexed and are not sent again.
//! - Nothing counts as delivered that was not taken, and, with `ack`, that the indexer has not acknowledged.
//!
//! Leaves out on purpose: telling what a resend doubles. A collector cannot know, so that is counted as maybe doubled.

mod acks;
mod answer;
mod check;
mod classify;
mod encode;
mod layout;
mod plan;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::http::{Receivers, all_well};
use crate::config::checked;
use crate::net::credentials::Credentials;
use crate::pipeline::{
    Answer, Attempt, Batch, Compression, Confirming, Encoded, Failure, Judgement, Ordering, Output, Receipt, Request,
};
use acks::Acks;
use answer::Route;
use encode::{Cache, Encoder};
use layout::Layout;

pub use check::check;

/// How long the first look at all receivers may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

const HEALTH_PATH: &str = "/services/collector/health/1.0";
const ACK_PATH: &str = "/services/collector/ack";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// Requests of a lane that wait for their acknowledgement at most.
const UNACKNOWLEDGED_MAX: usize = 256;

/// The output.
#[derive(Debug)]
pub struct SplunkHec {
    receivers: Receivers,
    encoder: Encoder,
    /// A GUID that no other process and output has.
    channel: String,
    /// Numbers of the one channel cannot be told apart: each request gets a channel of its own.
    is_channel_split: AtomicBool,
    /// Where acknowledgements are waited for: for how long, and which are out.
    acks: Option<(Duration, Mutex<Acks>)>,
}

impl SplunkHec {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::SplunkHec, credentials: &Credentials) -> Self {
        Self {
            receivers: Receivers::new(&settings.http, credentials),
            encoder: Encoder {
                layout: Layout::new(settings),
                compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
            },
            channel: crate::random::guid(),
            is_channel_split: AtomicBool::new(false),
            acks: settings.ack_timeout.map(|timeout| (timeout, Mutex::new(Acks::new(timeout)))),
        }
    }

    fn acks(&self) -> Option<MutexGuard<'_, Acks>> {
        // A panic cannot leave a table half-changed.
        self.acks.as_ref().map(|(_, acks)| acks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks one receiver how it is, and whether it acknowledges where that is wanted. `None` when all is well.
    async fn look_at(&self, url: usize) -> Option<String> {
        let request = Request { path_and_query: HEALTH_PATH.to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
        let doubt = match self.receivers.send(url, Method::GET, request).await {
            Ok(answer) => unhealthy(&answer),
            Err(failure) => Some(failure.message),
        };
        if doubt.is_some() || self.acks.is_none() {
            return doubt;
        }
        let route = Route { channel: &self.channel, cookies: "" };
        self.ask(url, &[0], route).await.err().map(|failure| failure.message)
    }

    /// Asks one receiver which of these numbers it has acknowledged.
    async fn ask(&self, url: usize, numbers: &[u64], route: Route<'_>) -> Result<Vec<bool>, Failure> {
        let path_and_query = format!("{ACK_PATH}?channel={}", route.channel);
        let listed: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let body = Bytes::from(format!("{{\"acks\":[{}]}}", listed.join(",")));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let mut request = on_channel(Request { path_and_query, headers, body }, route.channel);
        if let Some(cookies) = HeaderValue::from_str(route.cookies).ok().filter(|cookies| !cookies.is_empty()) {
            request = request.with_header(COOKIE, cookies);
        }
        let answer = self.receivers.send(url, Method::POST, request).await?;
        let found = answer.status.is_success().then(|| answer::acknowledged(&answer.body, numbers)).flatten();
        found.ok_or_else(|| classify::unacknowledged(&answer))
    }
}

fn on_channel(request: Request, channel: &str) -> Request {
    // A GUID has nothing that a header may not have.
    match HeaderValue::from_str(channel) {
        Ok(channel) => request.with_header(CHANNEL, channel),
        Err(_) => request,
    }
}

impl Output for SplunkHec {
    type State = ();
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::Free
    }

    fn urls(&self) -> Vec<String> {
        self.receivers.urls()
    }

    async fn start(&self) -> Result<(), String> {
        let silence = "says nothing of its health";
        all_well(&self.receivers.look_at_each(START_TIME_MAX, silence, |url| self.look_at(url)).await)
    }

    fn encode(&self, (): &(), cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encoder.encode(cache, &batch.slices)
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        let request = match self.is_channel_split.load(Relaxed) {
            false => on_channel(request, &self.channel),
            true => on_channel(request, &crate::random::guid()),
        };
        let channel = request.headers.get(CHANNEL).cloned();
        let mut answer = self.receivers.send(url, Method::POST, request).await?;
        // It goes with the answer, as what leads back to who gave it.
        channel.and_then(|channel| answer.headers.insert(CHANNEL, channel));
        if let Some((mut acks, receipt)) = self.acks().zip(answer::receipt(&answer))
            && !acks.given(url, &receipt)
        {
            self.is_channel_split.store(true, Relaxed);
        }
        Ok(answer)
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        classify::classify(&self.encoder.layout, self.acks.is_some(), encoded, answer)
    }

    fn confirming(&self) -> Option<Confirming> {
        self.acks.as_ref().map(|(timeout, _)| Confirming { timeout: *timeout, requests_max: UNACKNOWLEDGED_MAX })
    }

    async fn confirm(&self, url: usize, receipts: &[Receipt]) -> Result<Vec<bool>, Failure> {
        let Some(route) = receipts.first().map(|receipt| receipt.route.as_str()) else { return Ok(Vec::new()) };
        let is_known: Vec<bool> = match self.acks() {
            Some(acks) => receipts.iter().map(|receipt| acks.is_known(url, receipt)).collect(),
            None => Vec::new(),
        };
        let known: Vec<&Receipt> = receipts.iter().zip(&is_known).filter(|(_, is)| **is).map(|(one, _)| one).collect();
        if known.is_empty() {
            return Err(ambiguous());
        }
        let numbers: Vec<u64> = known.iter().map(|receipt| receipt.number).collect();
        let mut confirmed = self.ask(url, &numbers, Route::of(route)).await?;
        if let Some(mut acks) = self.acks() {
            for (receipt, is_confirmed) in known.iter().zip(&mut confirmed).filter(|(_, is_confirmed)| **is_confirmed) {
                // The number may have been given once more in the meantime.
                *is_confirmed = acks.is_known(url, receipt);
                if *is_confirmed {
                    acks.confirmed(url, receipt);
                }
            }
        }
        let mut confirmed = confirmed.into_iter();
        Ok(is_known.into_iter().map(|is_known| is_known && confirmed.next() == Some(true)).collect())
    }
}

/// What is out cannot be told apart.
fn ambiguous() -> Failure {
    Failure {
        kind: "stickiness",
        message:
            "gave one acknowledgement number to two requests: there are several indexers behind this address, or one \
                  was restarted; both are sent again after ack_timeout. Acknowledgements need a balancer that leads back by \
                  a cookie, or the indexers' own addresses in urls"
                .to_owned(),
        is_maybe_received: false,
    }
}

/// What is wrong with a collector by its answer about its health.
fn unhealthy(answer: &Answer) -> Option<String> {
    let code = answer::read(&answer.body).map(|said| said.code);
    match (answer.status.as_u16(), code) {
        (200, Some(17)) => None,
        (_, Some(code)) if let Some((_, does)) = classify::explain(code) => {
            Some(format!("{does} ({})", answer::words(answer)))
        }
        (404 | 405, _) => Some(format!("has no collector at this address; see urls ({})", answer::words(answer))),
        _ => Some(format!(
            "does not say how its collector is; see urls, and proxies between ({})",
            answer::words(answer)
        )),
    }
}
