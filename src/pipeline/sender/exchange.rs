//! One attempt to deliver a parcel: send, hear, settle, and wait where the receiver needs time.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use tokio::time::Instant;

use super::backlog::{LONG_WORK_SAMPLES, aside, blocking};
use super::parcel::Parcel;
use super::worker::{Lane, Work};
use super::{
    Answer, Compression, Encoded, Failure, Fate, Judgement, Next, Output, Request, SenderOptions, SenderStatus, Shared,
    Verdict, snappy,
};
use crate::model::wall_ms;
use crate::pipeline::ledger::reason;
use crate::telemetry::Edge;

/// For one batch, so many requests may be spent on finding what spoils it. One bad series among ten thousand takes 14, as each
/// half is tried.
const EXTRA_REQUESTS_MAX: u32 = 200;

/// The same where what spoils it is most likely there already: mostly all of it is, and finding that out brings nothing.
const EXTRA_REQUESTS_FOR_DUPLICATES_MAX: u32 = 40;

/// What an attempt leaves to be done.
#[derive(Default)]
pub(super) struct Left {
    pub(super) work: Vec<Work>,
    /// The deadline came, or all that is left is safe on disk and the program is ending: nothing more is sent.
    pub(super) is_stopped: bool,
}

impl Left {
    fn of(work: Vec<Work>, is_stopped: bool) -> Self {
        Self { work, is_stopped }
    }
}

/// Sends a parcel once. Returns what is still to be done about it, after the wait that it needs.
pub(super) async fn deliver<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, mut parcel: Parcel) -> Left {
    if parcel.batch.oldest + shared.queue.limits().age <= Instant::now() {
        parcel.batch.drop_all(reason::TOO_OLD);
        return Left::default();
    }
    if let Some(confirming) = shared.output.confirming() {
        let is_stopped = tokio::select! {
            () = shared.backlogs[lane.number].room_for_confirmation(confirming.requests_max) => false,
            () = lane.stop.deadline() => true,
        };
        if is_stopped {
            return Left::of(vec![Work::Parcel(Box::new(parcel))], true);
        }
        // Until it is confirmed, a restart must find it.
        parcel.batch = shared.backlogs[lane.number].keep(parcel.batch).await;
    }
    let url = shared.endpoints().pick();
    let is_long = parcel.batch.samples() >= LONG_WORK_SAMPLES;
    let request = parcel.request(|encoded| if is_long { aside(|| compress(encoded)) } else { compress(encoded) });
    shared.health().sent(request.body.len());
    let record = parcel.batch.record.clone();
    if let Some(record) = record.clone() {
        blocking(move || record.sending()).await;
    }
    let sent = tokio::select! {
        sent = shared.output.send(url, request) => sent,
        () = lane.stop.deadline() => {
            parcel.batch.attempt.is_maybe_resend = true;
            return Left::of(vec![Work::Parcel(Box::new(parcel))], true);
        }
    };
    let judgement = match sent {
        Ok(answer) => {
            parcel.wake();
            judge(shared, &parcel, &answer)
        }
        Err(failure) => no_answer(failure),
    };
    parcel.batch.attempt.is_maybe_resend |= judgement.is_maybe_received;
    match (record, received(&judgement)) {
        (Some(record), Received::Nothing) => blocking(move || record.not_received()).await,
        (Some(record), Received::WhatIsSettled) => record.partly_received(),
        (Some(_), Received::Maybe) | (None, _) => {}
    }
    settle(shared, lane, parcel, url, judgement).await
}

fn judge<O: Output>(shared: &Shared<O>, parcel: &Parcel, answer: &Answer) -> Judgement {
    let mut judgement = shared.output.classify(&parcel.encoded, parcel.batch.attempt, answer);
    if matches!(&judgement.verdict, Verdict::Each(fates) if fates.len() != parcel.encoded.items.len()) {
        judgement.verdict = Verdict::All(Fate::Retry);
    }
    judgement
}

/// What the receiver has of a request.
enum Received {
    Nothing,
    /// What is settled as such, and no more.
    WhatIsSettled,
    Maybe,
}

fn received(judgement: &Judgement) -> Received {
    let is_kept = |fate: &Fate| matches!(fate, Fate::Delivered | Fate::Duplicate(_));
    let is_any_kept = match &judgement.verdict {
        _ if judgement.is_maybe_received => return Received::Maybe,
        Verdict::Accepted(_) => return Received::Maybe,
        Verdict::TooLarge | Verdict::Spoilt(_) | Verdict::Anew => false,
        Verdict::Partly { .. } => true,
        Verdict::All(fate) => is_kept(fate),
        Verdict::Each(fates) => fates.iter().any(is_kept),
    };
    if is_any_kept { Received::WhatIsSettled } else { Received::Nothing }
}

fn no_answer(failure: Failure) -> Judgement {
    Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received: failure.is_maybe_received,
        next: Next::Backoff,
        problem: Some((failure.kind, failure.message)),
    }
}

async fn settle<O: Output>(
    shared: &Shared<O>,
    lane: &mut Lane<O>,
    parcel: Parcel,
    url: usize,
    judgement: Judgement,
) -> Left {
    let Judgement { verdict, is_maybe_received: _, next, problem } = judgement;
    shared.output.settle(&mut lane.state, &parcel.batch, &parcel.encoded, &verdict);
    let (kind, message) = problem.unwrap_or(("", String::new()));
    let message = format!("{}: {message}", shared.urls[url]);
    let settlement = super::parcel::settlement(&parcel.encoded, &verdict);
    shared.count_doubled(&parcel.batch, settlement.delivered);
    for (&reason, &samples) in &settlement.rejected {
        shared.tell_rejected(reason, samples, &message);
    }
    if settlement.delivered > 0 || !settlement.duplicate.is_empty() {
        shared.health().delivered();
    }
    match verdict {
        Verdict::TooLarge | Verdict::Spoilt(_) | Verdict::Anew => {
            put_otherwise(shared, lane, parcel, url, &verdict, next, (kind, &message)).await
        }
        Verdict::Accepted(receipt) => {
            shared.endpoints().succeeded(url);
            shared.hold_unconfirmed(lane.number, url, receipt, parcel.batch);
            Left::of(Vec::new(), leave_alone(lane, next).await)
        }
        Verdict::All(_) | Verdict::Each(_) | Verdict::Partly { .. } => {
            let is_whole_retry = verdict == Verdict::All(Fate::Retry);
            let left = parcel.settle(&verdict);
            if !is_whole_retry {
                shared.endpoints().succeeded(url);
            }
            match left {
                None => {
                    shared.health().settled();
                    Left::of(Vec::new(), leave_alone(lane, next).await)
                }
                // The receiver is well, has settled something, and waits for the rest.
                Some(parcel) if next == Next::Now && settlement.total() > 0 => {
                    Left::of(vec![Work::Parcel(Box::new(parcel))], false)
                }
                // What has no samples, such as metadata that was divided off, is not worth holding a lane up: it is on no disk, and
                // the output says it with another batch.
                Some(parcel) if parcel.encoded.samples() == 0 => Left::default(),
                Some(parcel) => {
                    let (parcel, is_stopped) = wait(shared, lane, parcel, url, kind, &message, next).await;
                    Left::of(vec![Work::Parcel(Box::new(parcel))], is_stopped)
                }
            }
        }
    }
}

/// What is to be done about a request that the receiver wants smaller, without what spoils it, or in other words.
async fn put_otherwise<O: Output>(
    shared: &Shared<O>,
    lane: &mut Lane<O>,
    mut parcel: Parcel,
    url: usize,
    verdict: &Verdict,
    next: Next,
    (kind, message): (&'static str, &str),
) -> Left {
    let mut is_stopped = false;
    lane.extra_requests += u32::from(*verdict != Verdict::TooLarge);
    // A receiver that is never content with how it is said gets time, as one that cannot take it.
    let is_lost = *verdict == Verdict::Anew && lane.extra_requests > EXTRA_REQUESTS_MAX;
    match if is_lost { Next::Backoff } else { next } {
        Next::Now => shared.endpoints().succeeded(url),
        // Too large for the receiver as busy as it is now: the halves are more requests, not fewer.
        next @ (Next::After(_) | Next::Backoff) => {
            (parcel, is_stopped) = wait(shared, lane, parcel, url, kind, message, next).await;
        }
    }
    let fate = match *verdict {
        Verdict::Anew => return Left::of(vec![Work::Batch(parcel.batch)], is_stopped),
        Verdict::Spoilt(fate) if lane.extra_requests > extra_requests_max(fate) => {
            settle_all(shared, lane, parcel, fate, message);
            return Left::of(Vec::new(), is_stopped);
        }
        Verdict::Spoilt(fate) => fate,
        _ => Fate::Rejected(reason::TOO_LARGE),
    };
    let samples = parcel.encoded.samples();
    match parcel.halve(fate) {
        Some(halves) => Left::of(halves.into(), is_stopped),
        None => {
            tell_if_rejected(shared, fate, samples, message);
            shared.health().settled();
            Left::of(Vec::new(), is_stopped)
        }
    }
}

fn extra_requests_max(fate: Fate) -> u32 {
    match fate {
        Fate::Duplicate(_) => EXTRA_REQUESTS_FOR_DUPLICATES_MAX,
        Fate::Delivered | Fate::Rejected(_) | Fate::Retry => EXTRA_REQUESTS_MAX,
    }
}

fn tell_if_rejected<O: Output>(shared: &Shared<O>, fate: Fate, samples: u64, message: &str) {
    if let Fate::Rejected(reason) = fate {
        shared.tell_rejected(reason, samples, message);
    }
}

/// Settles all of a parcel: which of its items spoils it would take too many requests to find.
fn settle_all<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, parcel: Parcel, fate: Fate, message: &str) {
    let verdict = Verdict::All(fate);
    shared.output.settle(&mut lane.state, &parcel.batch, &parcel.encoded, &verdict);
    tell_if_rejected(shared, fate, parcel.encoded.samples(), message);
    let left = parcel.settle(&verdict);
    debug_assert!(left.is_none(), "a verdict for all of it settles all of it");
    shared.health().settled();
}

/// After a success, a receiver may want to be left alone for a while. Returns whether the deadline came.
async fn leave_alone<O: Output>(lane: &mut Lane<O>, next: Next) -> bool {
    match next {
        Next::After(asked) => lane.stop.pause(asked.min(SenderOptions::RETRY_AFTER_MAX)).await,
        Next::Now | Next::Backoff => false,
    }
}

/// Notes a failure, sees to it that the samples are on disk where there is one, and waits before the next attempt: not at
/// all when another receiver is ready. Returns whether nothing more is to be sent.
async fn wait<O: Output>(
    shared: &Shared<O>,
    lane: &mut Lane<O>,
    mut parcel: Parcel,
    url: usize,
    kind: &'static str,
    message: &str,
    next: Next,
) -> (Parcel, bool) {
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
        return (parcel, false);
    }
    let backlog = &shared.backlogs[lane.number];
    lane.failing.get_or_insert_with(|| backlog.failing());
    parcel.batch = backlog.keep(parcel.batch).await;
    if lane.keep_rest(backlog, parcel.batch.record.is_some()).await {
        backlog.turn_on();
    }
    if lane.stop.is_ending() && parcel.batch.record.is_some() {
        return (parcel, true);
    }
    let limit = options.backoff_first.saturating_mul(1 << number.min(16)).min(options.backoff_max);
    let pause = retry_after
        .map(|asked| asked + crate::random::below(options.backoff_first))
        .unwrap_or_else(|| crate::random::below(limit));
    parcel.rest();
    // A sample is not sent after its age: no use in waiting longer than that.
    let left = (parcel.batch.oldest + shared.queue.limits().age).saturating_duration_since(Instant::now());
    let has_record = parcel.batch.record.is_some();
    let is_stopped = tokio::select! {
        is_stopped = lane.stop.pause(pause.min(left)) => is_stopped,
        () = lane.stop.told(), if has_record => true,
    };
    (parcel, is_stopped)
}
pub(super) fn compress(encoded: &Encoded) -> Request {
    let mut headers = encoded.headers.clone();
    let body = match encoded.compression {
        Compression::None => encoded.body.clone(),
        Compression::Gzip => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let room = Vec::with_capacity(encoded.body.len() / 8 + 64);
            let mut encoder = GzEncoder::new(room, flate2::Compression::fast());
            // Writing into a `Vec` does not fail.
            let _ = encoder.write_all(&encoded.body);
            Bytes::from(encoder.finish().unwrap_or_default())
        }
        Compression::Snappy => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            Bytes::from(snappy::compress(&encoded.body))
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

    pub(super) fn sent(&self, bytes: usize) {
        let mut status = self.status();
        status.requests += 1;
        status.bytes += bytes as u64;
    }

    pub(super) fn failed(&mut self, kind: &'static str, message: &str, waiting: u64) {
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
    pub(super) fn delivered(&self) {
        self.status().delivered_ms = Some(wall_ms());
    }

    /// A request is settled, one way or the other.
    pub(super) fn settled(&mut self) {
        self.status().failing = None;
        if let Some(ended) = self.trouble.fine() {
            tracing::info!(output = self.output, after_s = ended.lasted.as_secs(), "output delivers again");
        }
    }
}
