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

mod any;
mod backlog;
mod confirm;
mod contract;
mod endpoints;
mod exchange;
mod parcel;
mod replay;
pub mod snappy;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::Batch;
use super::disk::Disk;
use super::ledger::reason;
use super::queue::{Queue, Take};
use crate::telemetry::Edge;
pub use any::AnyOutput;
use backlog::Backlog;
use confirm::Unconfirmed;
pub use contract::{
    Answer, Compression, Confirming, Encoded, Failure, Fate, Item, Judgement, Next, Ordering, Output, Receipt,
    Rejection, Request, Verdict,
};
use endpoints::Endpoints;
use exchange::Health;
use replay::{News, Replay};

/// A receiver that was not ready at the start is looked at again after so long, and each time after twice as long.
const START_AGAIN_AFTER: Duration = Duration::from_secs(30);
const START_AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);

/// Before the end, what could not be sent has so long to go to the disk.
const STOW_TIME: Duration = Duration::from_millis(500);

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
    /// After a failure, one of the workers sends what came last, and the others what has waited longest; for
    /// [`Ordering::Free`] alone.
    pub is_fresh_first: bool,
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
/// `deadline` holds `None` until the shutdown begins; what still waits when it comes goes to `disk`, or is dropped and counted.
pub async fn run<O: Output>(
    output: Arc<O>,
    queue: Arc<Queue>,
    disk: Option<Arc<Disk>>,
    options: SenderOptions,
    status: Arc<Mutex<SenderStatus>>,
    deadline: watch::Receiver<Option<Instant>>,
) {
    let stop = Stop::new(deadline, disk.is_some());
    let (ordering, name) = (output.ordering(), options.name.clone());
    let shared = Arc::new(Shared {
        endpoints: Mutex::new(Endpoints::new(output.urls().len())),
        health: Mutex::new(Health::new(options.name.clone(), status)),
        urls: output.urls(),
        caches: (0..queue.lanes()).map(|_| Mutex::default()).collect(),
        backlogs: Backlog::of(&queue, ordering, disk.as_ref()),
        unconfirmed: Unconfirmed::default(),
        is_over: watch::Sender::new(false),
        replay: Mutex::default(),
        disk: disk.clone(),
        ordering,
        output,
        options,
        queue: queue.clone(),
    });
    let mut trouble = Edge::default();
    let is_started = tokio::select! {
        is_started = start(&shared, &mut trouble) => is_started,
        () = stop.deadline() => false,
    };
    let mut helpers = JoinSet::new();
    if !is_started {
        helpers.spawn(start_again(shared.clone(), trouble));
    }
    if let Some(confirming) = shared.output.confirming() {
        let (shared, stop) = (shared.clone(), stop.clone());
        let confirm = move || confirm::confirm(shared.clone(), stop.clone(), confirming.timeout);
        helpers.spawn(worker::supervise(name.clone(), confirm));
    }
    for lane in 0..queue.lanes() {
        let shared = shared.clone();
        let spill = move || {
            let shared = shared.clone();
            async move { shared.backlogs[lane].spill(shared.options.take).await }
        };
        helpers.spawn(worker::supervise(name.clone(), spill));
    }
    let mut workers = JoinSet::new();
    for worker in 0..shared.options.workers.max(queue.lanes()) {
        let (shared, stop) = (shared.clone(), stop.clone());
        let work = move || worker::work(shared.clone(), worker, stop.clone());
        workers.spawn(worker::supervise(name.clone(), work));
    }
    while workers.join_next().await.is_some() {}
    shared.is_over.send_replace(true);
    shared.backlogs.iter().for_each(Backlog::end);
    while helpers.join_next().await.is_some() {}
    confirm::stow(&shared).await;
    for backlog in &shared.backlogs {
        backlog.finish(shared.options.take).await;
    }
    if let Some(disk) = disk {
        backlog::blocking(move || disk.close()).await;
    }
    queue.drop_all(reason::SHUTDOWN);
}

/// What the workers of an output share.
struct Shared<O: Output> {
    output: Arc<O>,
    ordering: Ordering,
    /// By lane of the queue. Two workers of a lane encode one after the other, so that a target is cached once.
    caches: Box<[Mutex<O::Cache>]>,
    /// By lane of the queue.
    backlogs: Box<[Backlog]>,
    unconfirmed: Unconfirmed,
    disk: Option<Arc<Disk>>,
    replay: Mutex<Replay>,
    /// No worker is left.
    is_over: watch::Sender<bool>,
    options: SenderOptions,
    queue: Arc<Queue>,
    urls: Vec<String>,
    endpoints: Mutex<Endpoints>,
    health: Mutex<Health>,
}

impl<O: Output> Shared<O> {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a resend delivered to a receiver that cannot tell whether it had it.
    fn count_doubled(&self, batch: &Batch, delivered: u64) {
        if batch.attempt.is_maybe_resend && !self.output.is_idempotent() {
            self.queue.ledger().maybe_doubled(delivered);
        }
    }

    /// A batch of so many samples from disk is done. Says in the log how what is left there comes along.
    fn tell_replay(&self, samples: u64, has_failed: bool) {
        let Some(disk) = &self.disk else { return };
        let (output, left) = (&self.options.name, disk.state().samples);
        let news = self.replay.lock().unwrap_or_else(PoisonError::into_inner).note(samples, left, has_failed);
        match news {
            Some(News::Going { rate, seconds_left }) => {
                tracing::info!(output, left, rate, seconds_left, "sending what waits on disk");
            }
            Some(News::Over { sent, took }) => {
                tracing::info!(output, sent, took_s = took.as_secs(), "all that waited on disk is sent");
            }
            None => {}
        }
    }

    /// Logs that samples were rejected for a reason, where that is news.
    fn tell_rejected(&self, reason: &'static str, samples: u64, error: &str) {
        if self.queue.ledger().is_new_loss(reason) {
            tracing::error!(output = self.options.name, samples, reason, error, "samples rejected");
        }
    }

    async fn is_over(&self) {
        // The sender of the watch is in `self`: it is not gone.
        let _ = self.is_over.subscribe().wait_for(|is_over| *is_over).await;
    }
}

/// Looks at the receiver. Returns whether it is ready.
async fn start<O: Output>(shared: &Shared<O>, trouble: &mut Edge) -> bool {
    let output = &shared.options.name;
    match shared.output.start().await {
        Ok(()) => {
            if trouble.fine().is_some() {
                tracing::info!(output, "the output is ready");
            }
            true
        }
        Err(error) => {
            if trouble.is_news(&error) {
                tracing::warn!(output, error, "the output is not ready; samples wait and are sent all the same");
            }
            false
        }
    }
}

/// Looks again at a receiver that was not ready, until it is.
async fn start_again<O: Output>(shared: Arc<Shared<O>>, mut trouble: Edge) {
    let mut pause = START_AGAIN_AFTER;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.is_over() => return,
        }
        pause = (pause * 2).min(START_AGAIN_AFTER_MAX);
        tokio::select! {
            is_ready = start(&shared, &mut trouble) => if is_ready { return },
            () = shared.is_over() => return,
        }
    }
}

/// When sending ends.
#[derive(Clone)]
struct Stop {
    deadline: watch::Receiver<Option<Instant>>,
    /// So long before the deadline: what is left must still go to the disk.
    reserve: Duration,
}

impl Stop {
    fn new(deadline: watch::Receiver<Option<Instant>>, has_disk: bool) -> Self {
        Self { deadline, reserve: if has_disk { STOW_TIME } else { Duration::ZERO } }
    }

    /// Whether the shutdown has begun.
    fn is_ending(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    /// Returns when the shutdown begins; never, when whoever could begin it is gone.
    async fn told(&self) {
        if self.deadline.clone().wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns when nothing more is to be sent.
    async fn deadline(&self) {
        self.told().await;
        let at = *self.deadline.borrow();
        if let Some(at) = at {
            tokio::time::sleep_until(at.checked_sub(self.reserve).unwrap_or(at)).await;
        }
    }

    /// Waits. Returns whether the deadline came before.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.deadline() => true,
        }
    }
}

/// Returns when a deadline that may be set (the shutdown's) has passed; never, when whoever could set it is gone.
pub async fn past(deadline: &mut watch::Receiver<Option<Instant>>) {
    Stop::new(deadline.clone(), false).deadline().await;
}

#[cfg(test)]
mod tests;
