//! A worker: takes batches of its lane, and works on each until all of it is settled.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::backlog::{Backlog, Failing, LONG_WORK_SAMPLES, aside};
use super::parcel::Parcel;
use super::{Output, Shared, Stop, exchange};
use crate::pipeline::batch::Batch;
use crate::pipeline::ledger::reason;
use crate::pipeline::queue::{Pick, Take};
use crate::pipeline::sender::Ordering;

/// After a batch from disk a worker pauses for as long as the batch took, at most this long: a receiver that comes back meets
/// all of its senders at once.
const PACE_MAX: Duration = Duration::from_secs(1);

/// What a worker knows from one request to the next.
pub(super) struct Lane<O: Output> {
    /// The lane of the queue.
    pub(super) number: usize,
    pub(super) state: O::State,
    pub(super) stop: Stop,
    /// While the batch in hand could not be sent.
    pub(super) failing: Option<Failing>,
    /// What is still to be done with the batch in hand, the next of it last.
    pending: Vec<Work>,
    /// Of the batch that was taken last: requests that brought nothing but a division, or another try in other words.
    pub(super) extra_requests: u32,
    /// Of the last bodies: batches are taken so that they will fit.
    bytes_a_sample: f64,
}

/// What a worker has still to do with samples that it took.
pub(super) enum Work {
    Batch(Batch),
    Parcel(Box<Parcel>),
}

impl Work {
    fn into_batch(self) -> Batch {
        match self {
            Work::Batch(batch) => batch,
            Work::Parcel(parcel) => parcel.batch,
        }
    }

    /// On disk too, where that works. Returns whether it is.
    async fn kept(self, backlog: &Backlog) -> (Self, bool) {
        match self {
            Work::Batch(batch) => {
                let batch = backlog.keep(batch).await;
                let is_kept = batch.record.is_some();
                (Work::Batch(batch), is_kept)
            }
            Work::Parcel(mut parcel) => {
                parcel.batch = backlog.keep(parcel.batch).await;
                let is_kept = parcel.batch.record.is_some();
                (Work::Parcel(parcel), is_kept)
            }
        }
    }
}

impl<O: Output> Lane<O> {
    /// Brings what was split off behind a batch in hand to the disk, after that: nothing that comes later may be there before
    /// it. Returns whether all of it is there.
    pub(super) async fn keep_rest(&mut self, backlog: &Backlog, is_kept: bool) -> bool {
        let mut is_kept = is_kept;
        let mut kept = Vec::with_capacity(self.pending.len());
        while is_kept && let Some(work) = self.pending.pop() {
            let (work, is_there) = work.kept(backlog).await;
            kept.push(work);
            is_kept = is_there;
        }
        self.pending.extend(kept.into_iter().rev());
        is_kept
    }
}

/// Runs a task of a sender to its end. A panic costs the batch in hand, whose token counts it as abandoned, and the task's state.
pub(super) async fn supervise<T: Future<Output = ()> + Send + 'static>(output: String, task: impl Fn() -> T) {
    while let Err(error) = tokio::spawn(task()).await {
        tracing::error!(
            output,
            %error,
            "a sender's lane failed by a bug of ours; the batch in hand is dropped as abandoned, and it starts anew"
        );
    }
}

/// Takes batches and sends them, until there is nothing more to be sent.
pub(super) async fn work<O: Output>(shared: Arc<Shared<O>>, worker: usize, stop: Stop) {
    let number = worker % shared.queue.lanes();
    let is_fresh = worker == 0 && shared.options.is_fresh_first && shared.ordering == Ordering::Free;
    let pick = if is_fresh { Pick::Newest } else { Pick::Oldest };
    let mut lane = Lane {
        number,
        state: O::State::default(),
        stop,
        failing: None,
        pending: Vec::new(),
        extra_requests: 0,
        bytes_a_sample: 0.0,
    };
    let backlog = &shared.backlogs[number];
    while let Some(batch) = backlog.next(shared.take(&lane), pick, &lane.stop).await {
        let (is_from_disk, samples) = (batch.record.is_some(), batch.samples());
        let began = Instant::now();
        let has_record = is_from_disk || shared.output.confirming().is_some();
        let is_stopped = drain(&shared, &mut lane, batch).await;
        let has_failed = lane.failing.take().is_some();
        if has_failed || has_record {
            backlog.maintain().await;
        }
        if is_stopped {
            return;
        }
        if is_from_disk {
            shared.tell_replay(samples, has_failed);
        }
        if is_from_disk && pick == Pick::Oldest {
            let took = began.elapsed();
            let pause = if shared.ordering == Ordering::Free { took } else { took / 4 };
            lane.stop.pause(pause.min(PACE_MAX)).await;
        }
    }
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

/// Works until all of a batch is settled or waits to be confirmed. Returns whether nothing more is to be sent; what is left then
/// is on disk, or dropped and counted.
async fn drain<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, batch: Batch) -> bool {
    lane.pending.push(Work::Batch(batch));
    lane.extra_requests = 0;
    while let Some(work) = lane.pending.pop() {
        match work {
            Work::Batch(batch) => {
                let parcel = encode(shared, lane, batch);
                lane.pending.extend(parcel.map(|parcel| Work::Parcel(Box::new(parcel))));
            }
            Work::Parcel(parcel) => {
                let left = exchange::deliver(shared, lane, *parcel).await;
                // What is left comes before what was split off behind it.
                lane.pending.extend(left.work.into_iter().rev());
                if left.is_stopped {
                    let left: Vec<Work> = lane.pending.drain(..).rev().collect();
                    for batch in joined(left) {
                        shared.backlogs[lane.number].stow(batch).await;
                    }
                    return true;
                }
            }
        }
    }
    false
}

/// Parts of one record become one batch again: written anew one by one, they would have one place in the order of records.
fn joined(left: Vec<Work>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for batch in left.into_iter().map(Work::into_batch) {
        match batches.last_mut() {
            Some(last) if last.is_of_record_of(&batch) => last.join(batch),
            _ => batches.push(batch),
        }
    }
    batches
}

/// Encodes a batch; one whose body is too large goes back as two.
fn encode<O: Output>(shared: &Shared<O>, lane: &mut Lane<O>, batch: Batch) -> Option<Parcel> {
    // What comes from disk shares no series with anything: there is nothing to keep about it.
    let mut passing = O::Cache::default();
    let mut kept = shared.caches[lane.number].lock().unwrap_or_else(PoisonError::into_inner);
    let cache = if batch.record.is_some() { &mut passing } else { &mut *kept };
    let mut work = || catch_unwind(AssertUnwindSafe(|| shared.output.encode(&lane.state, cache, &batch)));
    let encoded = if batch.samples() >= LONG_WORK_SAMPLES { aside(work) } else { work() };
    let Ok(encoded) = encoded else {
        *kept = O::Cache::default();
        let samples = batch.samples();
        batch.drop_all(reason::ABANDONED);
        tracing::error!(
            output = shared.options.name,
            samples,
            "encoding failed by a bug of ours; these samples are dropped as abandoned"
        );
        return None;
    };
    drop(kept);
    if !encoded.body.is_empty() {
        lane.bytes_a_sample = encoded.body.len() as f64 / batch.samples().max(1) as f64;
    }
    if encoded.body.len() > shared.options.body_bytes_max {
        return match batch.split() {
            Ok([first, second]) => {
                lane.pending.extend([Work::Batch(second), Work::Batch(first)]);
                None
            }
            // One label set alone: the receiver decides.
            Err(batch) => Some(Parcel::new(encoded, batch)),
        };
    }
    for refused in &encoded.rejected {
        shared.tell_rejected(refused.reason, refused.samples, &refused.why);
    }
    if !encoded.noted.is_empty() {
        shared.output.settle_noted(&mut lane.state, &batch, &encoded);
    }
    let parcel = Parcel::new(encoded, batch);
    // Where all of it was skipped there is nothing to send.
    (!parcel.encoded.items.is_empty()).then_some(parcel)
}
