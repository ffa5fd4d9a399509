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

mod contract;
mod endpoints;
mod exchange;
mod parcel;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::Batch;
use super::ledger::reason;
use super::queue::{Queue, Take};
pub use contract::{
    Answer, Compression, Confirming, Encoded, Failure, Fate, Item, Judgement, Next, Ordering, Output, Receipt,
    Rejection, Request, Verdict,
};
use endpoints::Endpoints;
use exchange::Health;
use parcel::Parcel;

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
    for refused in &encoded.rejected {
        if shared.queue.ledger().is_new_loss(refused.reason) {
            let (samples, reason, error) = (refused.samples, refused.reason, &refused.why);
            tracing::error!(output = shared.options.name, samples, reason, error, "samples rejected");
        }
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
