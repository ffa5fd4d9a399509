//! One attempt to deliver a parcel: send, hear, settle, and wait where the receiver needs time.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use tokio::time::Instant;

use super::parcel::Parcel;
use super::{
    Compression, Encoded, Fate, Judgement, Lane, Next, Output, Request, SenderOptions, SenderStatus, Shared, Verdict,
    Work,
};
use crate::model::wall_ms;
use crate::pipeline::ledger::reason;
use crate::telemetry::Edge;

/// Sends a parcel once. Returns what is still to be done about it, after the wait that it needs.
pub(super) async fn deliver<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, mut parcel: Parcel) -> Vec<Work> {
    if parcel.batch.oldest + shared.queue.limits().age <= Instant::now() {
        parcel.batch.drop_all(reason::TOO_OLD);
        return Vec::new();
    }
    let url = shared.endpoints().pick();
    let request = parcel.request(compress);
    shared.health().sent(request.body.len());
    match shared.output.send(url, request).await {
        Ok(answer) => {
            let judgement = shared.output.classify(&parcel.encoded, parcel.batch.attempt, &answer);
            settle(shared, lane, parcel, url, judgement).await
        }
        Err(failure) => {
            parcel.batch.attempt.is_maybe_resend |= failure.is_maybe_received;
            let message = format!("{}: {}", shared.urls[url], failure.message);
            wait(shared, &mut parcel, url, failure.kind, &message, Next::Backoff).await;
            vec![Work::Parcel(Box::new(parcel))]
        }
    }
}

async fn settle<O: Output>(
    shared: &Shared<O>,
    lane: &mut Lane<O>,
    mut parcel: Parcel,
    url: usize,
    judgement: Judgement,
) -> Vec<Work> {
    let Judgement { mut verdict, is_maybe_received, next, problem } = judgement;
    parcel.batch.attempt.is_maybe_resend |= is_maybe_received;
    if matches!(&verdict, Verdict::Each(fates) if fates.len() != parcel.encoded.items.len()) {
        verdict = Verdict::All(Fate::Retry);
    }
    shared.output.settle(&mut lane.state, &parcel.encoded, &verdict);
    let (kind, message) = problem.unwrap_or(("", String::new()));
    let message = format!("{}: {message}", shared.urls[url]);
    let settlement = super::parcel::settlement(&parcel.encoded, &verdict);
    if parcel.batch.attempt.is_maybe_resend && !shared.output.is_idempotent() {
        shared.queue.ledger().maybe_doubled(settlement.delivered);
    }
    let is_delivery = settlement.delivered > 0 || !settlement.duplicate.is_empty();
    for (reason, samples) in settlement.rejected {
        if shared.queue.ledger().is_new_loss(reason) {
            tracing::error!(output = shared.options.name, samples, reason, error = message, "samples rejected");
        }
    }
    if verdict == Verdict::TooLarge {
        match next {
            Next::Now => shared.endpoints().succeeded(url),
            // Too large for the receiver as busy as it is now: the halves are more requests, not fewer.
            Next::After(_) | Next::Backoff => wait(shared, &mut parcel, url, kind, &message, next).await,
        }
        let samples = parcel.encoded.samples();
        let halves = parcel.halve();
        if halves.is_none() && shared.queue.ledger().is_new_loss(reason::TOO_LARGE) {
            let reason = reason::TOO_LARGE;
            tracing::error!(output = shared.options.name, samples, reason, error = message, "samples rejected");
        }
        return halves.map(Vec::from).unwrap_or_default();
    }
    if is_delivery {
        shared.health().delivered();
    }
    let is_whole_retry = verdict == Verdict::All(Fate::Retry);
    match parcel.settle(&verdict) {
        None => {
            shared.endpoints().succeeded(url);
            shared.health().settled();
            Vec::new()
        }
        Some(mut parcel) => {
            if !is_whole_retry {
                shared.endpoints().succeeded(url);
            }
            wait(shared, &mut parcel, url, kind, &message, next).await;
            vec![Work::Parcel(Box::new(parcel))]
        }
    }
}

/// Notes a failure, and waits before the next attempt: not at all when another receiver is ready.
async fn wait<O: Output>(
    shared: &Shared<O>,
    parcel: &mut Parcel,
    url: usize,
    kind: &'static str,
    message: &str,
    next: Next,
) {
    let retry_after = match next {
        Next::After(asked) => Some(asked.min(SenderOptions::RETRY_AFTER_MAX)),
        Next::Now | Next::Backoff => None,
    };
    let another_is_ready = shared.endpoints().failed(url, retry_after) && shared.urls.len() > 1;
    shared.health().failed(kind, message, shared.queue.ledger().snapshot().waiting);
    let options = &shared.options;
    let number = parcel.batch.attempt.number;
    parcel.batch.attempt.number += 1;
    if another_is_ready {
        return;
    }
    let limit = options.backoff_first.saturating_mul(1 << number.min(16)).min(options.backoff_max);
    let pause = retry_after
        .map(|asked| asked + crate::random::below(options.backoff_first))
        .unwrap_or_else(|| crate::random::below(limit));
    // A sample is not sent after its age: no use in waiting longer than that.
    let too_old = parcel.batch.oldest + shared.queue.limits().age;
    tokio::time::sleep_until((Instant::now() + pause).min(too_old)).await;
}

fn compress(encoded: &Encoded) -> Request {
    let mut headers = encoded.headers.clone();
    let body = match encoded.compression {
        Compression::None => Bytes::copy_from_slice(&encoded.body),
        Compression::Gzip => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let room = Vec::with_capacity(encoded.body.len() / 8 + 64);
            let mut encoder = GzEncoder::new(room, flate2::Compression::fast());
            // Writing into a `Vec` does not fail.
            let _ = encoder.write_all(&encoded.body);
            Bytes::from(encoder.finish().unwrap_or_default())
        }
    };
    Request { path_and_query: encoded.path_and_query.clone(), headers, body }
}

/// Whether an output delivers, told once at each edge.
pub(super) struct Health {
    output: String,
    status: Arc<Mutex<SenderStatus>>,
    trouble: Edge,
}

impl Health {
    pub(super) fn new(output: String, status: Arc<Mutex<SenderStatus>>) -> Self {
        Self { output, status, trouble: Edge::default() }
    }

    fn status(&self) -> std::sync::MutexGuard<'_, SenderStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, bytes: usize) {
        let mut status = self.status();
        status.requests += 1;
        status.bytes += bytes as u64;
    }

    fn failed(&mut self, kind: &'static str, message: &str, waiting: u64) {
        let mut status = self.status();
        status.failures += 1;
        status.failing = Some(message.to_owned());
        drop(status);
        if self.trouble.is_news(kind) {
            tracing::warn!(
                output = self.output,
                error = message,
                waiting,
                "output cannot deliver; samples wait and are sent again"
            );
        }
    }

    /// The receiver has taken something.
    fn delivered(&self) {
        self.status().delivered_ms = Some(wall_ms());
    }

    /// A request is settled, one way or the other.
    fn settled(&mut self) {
        self.status().failing = None;
        if let Some(ended) = self.trouble.fine() {
            tracing::info!(output = self.output, after_s = ended.lasted.as_secs(), "output delivers again");
        }
    }
}
