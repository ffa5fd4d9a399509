//! One sender loop, the same for all pushing outputs.
//!
//! It takes batches from a lane of the queue, has the output encode them, compresses, sends, has the answer classified,
//! and settles: it does all the waiting, resending, splitting and counting, so that an output is pure functions and a small
//! state. Each lane is a task with one request in flight; a failed batch blocks its lane, so what is in one lane stays in
//! order.
//!
//! Invariants
//! - A batch is frozen at its first send: a resend carries the same samples, less those that are settled.
//! - `settle` sees each verdict once, in the order of the requests of its lane.
//! - Every sample of a batch is settled, or still stands in the batch's token.

mod endpoints;
mod exchange;
mod parcel;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{Attempt, Batch};
use super::ledger::{Reasons, reason};
use super::queue::{Queue, Take};
use endpoints::Endpoints;
use exchange::Health;
use parcel::Parcel;

/// Whether samples of one series must arrive in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// A target always uses the same lane.
    PerSeries,
    /// Any order will do: several requests may be in flight.
    Free,
}

/// An output that sends requests.
pub trait Output: Send + Sync + 'static {
    /// What delivery depends on from one request to the next; one a lane. It advances only in [`settle`](Self::settle).
    type State: Default + Send;

    /// What makes encoding cheap and may be forgotten at any time; one a lane of the queue, whoever works on it.
    type Cache: Default + Send;

    /// What the receiver needs.
    fn ordering(&self) -> Ordering;

    /// The receivers, for people: no secrets.
    fn urls(&self) -> Vec<String>;

    /// Looks at the receiver before the first batch. An error is one sentence; it is logged, and sending goes on.
    fn start(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Makes a request of a batch. Pure: the same batch and state give the same request.
    fn encode(&self, state: &Self::State, cache: &mut Self::Cache, batch: &Batch) -> Encoded;

    /// Sends a request to the receiver with this index in [`urls`](Self::urls).
    fn send(&self, url: usize, request: Request) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Says what an answer means for the items of a request. Pure.
    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement;

    /// Whether confirmations are waited for: such an output answers with [`Verdict::Accepted`].
    fn confirming(&self) -> Option<Confirming> {
        None
    }

    /// Asks the receiver with this index whether what it took is stored, for receipts of one route. One answer for each.
    fn confirm(&self, _url: usize, receipts: &[Receipt]) -> impl Future<Output = Result<Vec<bool>, Failure>> + Send {
        std::future::ready(Ok(vec![false; receipts.len()]))
    }

    /// Whether the receiver knows what it has, so that a resend is stored once. Where not, what a resend delivers is counted as
    /// maybe stored twice.
    fn is_idempotent(&self) -> bool;

    /// Advances the state by what a request came to.
    fn settle(&self, _state: &mut Self::State, _encoded: &Encoded, _verdict: &Verdict) {}
}

/// How a body is compressed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1.
    Gzip,
}

/// A batch as an output wrote it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Path and query below the receiver's URL, starting with `/` or empty.
    pub path_and_query: String,
    /// Headers, besides those of compression and credentials.
    pub headers: HeaderMap,
    /// The body before compression.
    pub body: Vec<u8>,
    /// What the body is made of, in order. Where there are several, any of them may be left out of a resend.
    pub items: Vec<Item>,
    /// The points in the items, one item's after another's, numbered as [`Batch::keep`] has it: which samples stand or fall with
    /// an item.
    pub points: Vec<u32>,
    /// Samples that this receiver is not sent.
    pub skipped: Reasons,
    /// How the body is compressed.
    pub compression: Compression,
}

/// A part of a body that the receiver judges by itself, such as a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it ends in the body; it starts where the one before ends.
    pub end: usize,
    /// Samples in it.
    pub samples: u32,
    /// For the output alone: what it has to know about the item when the answer comes.
    pub mark: u32,
}

/// A request, ready to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query below the receiver's URL.
    pub path_and_query: String,
    /// Headers, `content-encoding` among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Adds or replaces a header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, inflated, capped.
    pub body: Bytes,
}

/// No answer came.
#[derive(Clone, Debug)]
pub struct Failure {
    /// A short, stable word for the cause: `connect`, `tls`, `timeout`, …
    pub kind: &'static str,
    /// One sentence for the operator.
    pub message: String,
    /// Whether the receiver may have taken the request all the same.
    pub is_maybe_received: bool,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// The receiver had it already.
    Duplicate(&'static str),
    /// The receiver refuses it for good.
    Rejected(&'static str),
    /// The receiver may take it later.
    Retry,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same for all items.
    All(Fate),
    /// One for each item, in order. A list of another length counts as `All(Retry)`.
    Each(Vec<Fate>),
    /// The request must be made smaller.
    TooLarge,
    /// Taken, and to be confirmed: until then the samples wait. See [`Output::confirm`].
    Accepted(Receipt),
}

/// What a receiver gives for a request that it has yet to confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The receiver's number for the request.
    pub number: u64,
    /// What leads back to the one that took it, such as cookies; receipts with the same route are asked about together.
    pub route: String,
}

/// How long confirmations are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirming {
    /// A request that is not confirmed by then is sent again.
    pub timeout: Duration,
    /// Requests of a lane that wait for it at most; then the lane sends nothing more.
    pub requests_max: usize,
}

/// When a request is tried again, or the next one is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: the receiver is well.
    Now,
    /// When the receiver asks for it. After a success, this is how long it wants to be left alone.
    After(Duration),
    /// After a random while, longer each time.
    Backoff,
}

/// A verdict, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What became of the items.
    pub verdict: Verdict,
    /// What is to be retried may have been taken all the same: a proxy gave up on a receiver that went on.
    pub is_maybe_received: bool,
    /// When to try again what is left.
    pub next: Next,
    /// What went wrong, as (a short stable word, one sentence); `None` where nothing did.
    pub problem: Option<(&'static str, String)>,
}

impl Judgement {
    /// All items delivered.
    pub fn delivered() -> Self {
        Self { verdict: Verdict::All(Fate::Delivered), is_maybe_received: false, next: Next::Now, problem: None }
    }
}

/// How one output is driven.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// The output's name.
    pub name: String,
    /// When a batch is complete.
    pub take: Take,
    /// A random delay below this on top of the batch's age.
    pub flush_jitter: Duration,
    /// Bytes of a body before compression, at most.
    pub body_bytes_max: usize,
    /// Tasks: lanes of the queue for [`Ordering::PerSeries`], requests in flight for [`Ordering::Free`].
    pub workers: usize,
    /// The first wait after a failure is random below this; it doubles with each further one.
    pub backoff_first: Duration,
    /// No wait is longer, unless the receiver asks for it.
    pub backoff_max: Duration,
}

impl SenderOptions {
    /// A receiver's `Retry-After` is heeded up to this.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
}

/// How an output is doing, for pages and metrics.
#[derive(Clone, Debug, Default)]
pub struct SenderStatus {
    /// The cause of the failure in force, or `None` while it delivers.
    pub failing: Option<String>,
    /// When something was last delivered, milliseconds since 1970.
    pub delivered_ms: Option<i64>,
    /// Requests sent.
    pub requests: u64,
    /// Requests that brought no answer, or one that asks for a resend.
    pub failures: u64,
    /// Bytes of bodies sent, as they went over the wire.
    pub bytes: u64,
}

/// Drives one output until its queue is closed and drained, or the deadline comes.
///
/// `deadline` holds `None` until the shutdown begins; what still waits when it comes is dropped and counted.
pub async fn run<O: Output>(
    output: Arc<O>,
    queue: Arc<Queue>,
    options: SenderOptions,
    status: Arc<Mutex<SenderStatus>>,
    deadline: watch::Receiver<Option<Instant>>,
) {
    let shared = Arc::new(Shared {
        endpoints: Mutex::new(Endpoints::new(output.urls().len())),
        health: Mutex::new(Health::new(options.name.clone(), status)),
        urls: output.urls(),
        caches: (0..queue.lanes()).map(|_| Mutex::default()).collect(),
        output,
        options,
        queue: queue.clone(),
    });
    let mut expired = deadline.clone();
    tokio::select! {
        () = start(&shared) => {}
        () = past(&mut expired) => {}
    }
    let mut lanes = tokio::task::JoinSet::new();
    for worker in 0..shared.options.workers.max(queue.lanes()) {
        lanes.spawn(supervise(shared.clone(), worker % queue.lanes(), deadline.clone()));
    }
    while lanes.join_next().await.is_some() {}
    queue.drop_all(reason::SHUTDOWN);
}

struct Shared<O: Output> {
    output: Arc<O>,
    /// By lane of the queue. Two workers of a lane encode one after the other, so that a target is cached once.
    caches: Box<[Mutex<O::Cache>]>,
    options: SenderOptions,
    queue: Arc<Queue>,
    urls: Vec<String>,
    endpoints: Mutex<Endpoints>,
    health: Mutex<Health>,
}

impl<O: Output> Shared<O> {
    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start<O: Output>(shared: &Shared<O>) {
    if let Err(error) = shared.output.start().await {
        tracing::warn!(
            output = shared.options.name,
            error,
            "the output is not ready; samples wait and are sent all the same"
        );
    }
}

/// Returns when a deadline that may be set (the shutdown's) has passed; never, when whoever could set it is gone.
pub async fn past(deadline: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let at = *deadline.borrow_and_update();
        match at {
            Some(at) => return tokio::time::sleep_until(at).await,
            None if deadline.changed().await.is_err() => return std::future::pending().await,
            None => {}
        }
    }
}

/// Runs a lane to its end. A panic costs the batch in hand, whose token counts it as abandoned, and the lane's state.
async fn supervise<O: Output>(shared: Arc<Shared<O>>, number: usize, deadline: watch::Receiver<Option<Instant>>) {
    while let Err(error) = tokio::spawn(lane(shared.clone(), number, deadline.clone())).await {
        tracing::error!(
            output = shared.options.name,
            %error,
            "a sender's lane failed by a bug of ours; the batch in hand is dropped as abandoned, and it starts anew"
        );
    }
}

async fn lane<O: Output>(shared: Arc<Shared<O>>, lane: usize, mut deadline: watch::Receiver<Option<Instant>>) {
    let mut work = Lane { number: lane, state: O::State::default(), bytes_a_sample: 0.0 };
    loop {
        let take = shared.take(&work);
        let Some(batch) = shared.queue.next(lane, take).await else { return };
        let expired = async {
            past(&mut deadline).await;
            // What the other branch holds is let go next: it counts as dropped by the shutdown.
            shared.queue.ledger().end();
        };
        tokio::select! {
            () = drain(&shared, &mut work, batch) => {}
            () = expired => return,
        }
    }
}

struct Lane<O: Output> {
    number: usize,
    state: O::State,
    /// Of the last bodies: batches are taken so that they will fit.
    bytes_a_sample: f64,
}

/// What a lane has still to do with samples that it took from the queue.
enum Work {
    Batch(Batch),
    Parcel(Box<Parcel>),
}

impl<O: Output> Shared<O> {
    fn take(&self, lane: &Lane<O>) -> Take {
        let fitting = self.options.body_bytes_max as f64 / lane.bytes_a_sample.max(1.0);
        Take {
            samples: self.options.take.samples.min((fitting as u64).max(1)),
            age: self.options.take.age + crate::random::below(self.options.flush_jitter),
        }
    }
}

/// Works until all of a batch is settled. May be cancelled at any `await`.
async fn drain<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, batch: Batch) {
    let mut pending = vec![Work::Batch(batch)];
    while let Some(work) = pending.pop() {
        match work {
            Work::Batch(batch) => {
                let parcel = encode(shared, lane, batch, &mut pending);
                pending.extend(parcel.map(|parcel| Work::Parcel(Box::new(parcel))));
            }
            Work::Parcel(parcel) => {
                let left = exchange::deliver(shared, lane, *parcel).await;
                // What is left comes before what was split off behind it.
                pending.extend(left.into_iter().rev());
            }
        }
    }
}

/// Encodes a batch; one whose body is too large goes back as two.
fn encode<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, batch: Batch, pending: &mut Vec<Work>) -> Option<Parcel> {
    let mut cache = shared.caches[lane.number].lock().unwrap_or_else(PoisonError::into_inner);
    let encoded = catch_unwind(AssertUnwindSafe(|| shared.output.encode(&lane.state, &mut cache, &batch)));
    let Ok(encoded) = encoded else {
        *cache = O::Cache::default();
        let samples = batch.samples();
        tracing::error!(
            output = shared.options.name,
            samples,
            "encoding failed by a bug of ours; these samples are dropped as abandoned"
        );
        return None;
    };
    drop(cache);
    if !encoded.body.is_empty() {
        lane.bytes_a_sample = encoded.body.len() as f64 / batch.samples().max(1) as f64;
    }
    if encoded.body.len() > shared.options.body_bytes_max {
        return match batch.split() {
            Ok([first, second]) => {
                pending.extend([Work::Batch(second), Work::Batch(first)]);
                None
            }
            // One label set alone: the receiver decides.
            Err(batch) => Some(Parcel::new(encoded, batch)),
        };
    }
    let parcel = Parcel::new(encoded, batch);
    if parcel.encoded.items.is_empty() {
        // All of it was skipped: there is nothing to send.
        return None;
    }
    Some(parcel)
}

#[cfg(test)]
mod tests;
