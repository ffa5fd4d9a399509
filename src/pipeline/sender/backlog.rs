//! What of a lane waits outside of its queue, and from where its workers take the next batch.
//!
//! Without a disk, workers take from the queue. With one, a lane has two modes. *Off*: workers take from the queue, and
//! nothing is written. *On*, from the first failed send until the disk has nothing left: the [`spill`](Backlog::spill) task
//! moves every batch from the queue to the disk when it is complete, and workers take from the disk alone. So what waits is on
//! disk but for the batch that is filling up, and the order of a lane is the disk's.
//!
//! Invariants
//! - While the mode is on, nobody but `spill` takes from the queue, and only `spill` turns it off: when it holds nothing and
//!   the disk has nothing left.
//! - A disk that fails costs nothing by itself: what it did not take stays in memory, and the queue's limits decide.
//! - What calls the disk is never cancelled: a batch that went in comes back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ordering, Stop};
use crate::pipeline::batch::Batch;
use crate::pipeline::disk::{Disk, DiskError};
use crate::pipeline::ledger::reason;
use crate::pipeline::queue::{Pick, Queue, Take};

/// After a failure the disk is left alone for so long.
const DISK_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often what is too old on disk is looked for.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);

/// What of one lane waits outside of its queue.
pub(super) struct Backlog {
    lane: usize,
    ordering: Ordering,
    queue: Arc<Queue>,
    disk: Option<Arc<Disk>>,
    state: Mutex<State>,
    /// Workers whose batch in hand could not be sent.
    failing: Arc<AtomicUsize>,
    /// Changes with everything that somebody may wait for. All lanes of an output share it: after a restart with another number
    /// of lanes, the first one sends what the others must wait for.
    changed: Arc<watch::Sender<()>>,
}

#[derive(Default)]
struct State {
    is_on: bool,
    /// No worker is left.
    is_over: bool,
    /// To be sent before anything else.
    returned: VecDeque<Batch>,
    /// Requests that were accepted and are not confirmed.
    unconfirmed: usize,
    retry_disk_at: Option<Instant>,
    /// The disk has something that it does not give now. Where order does not matter, it holds nobody up meanwhile.
    unreadable_until: Option<Instant>,
}

impl Backlog {
    /// One for each lane of a queue.
    pub(super) fn of(queue: &Arc<Queue>, ordering: Ordering, disk: Option<&Arc<Disk>>) -> Box<[Self]> {
        let changed = Arc::new(watch::Sender::new(()));
        (0..queue.lanes()).map(|lane| Self::new(lane, ordering, queue, disk, &changed)).collect()
    }

    fn new(
        lane: usize,
        ordering: Ordering,
        queue: &Arc<Queue>,
        disk: Option<&Arc<Disk>>,
        changed: &Arc<watch::Sender<()>>,
    ) -> Self {
        let is_on = disk.is_some_and(|disk| disk.has_waiting(lane) || !disk.may_take(lane));
        Self {
            lane,
            ordering,
            queue: queue.clone(),
            disk: disk.cloned(),
            state: Mutex::new(State { is_on, ..State::default() }),
            failing: Arc::default(),
            changed: changed.clone(),
        }
    }

    /// Waits for a worker's next batch. `None` at the end: nothing is left, or what is left waits on disk, or the deadline came.
    pub(super) async fn next(&self, take: Take, pick: Pick, stop: &Stop) -> Option<Batch> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let is_ending = stop.is_ending();
            if let Some(batch) = self.take_returned() {
                return Some(batch);
            }
            let queued = async {
                match self.is_on() {
                    true => std::future::pending().await,
                    false => self.queue.next(self.lane, take, pick).await,
                }
            };
            if self.is_on() {
                if is_ending && self.unconfirmed() == 0 {
                    return None;
                }
                if let Some(batch) = self.take_from_disk(pick).await {
                    return Some(batch);
                }
            }
            tokio::select! {
                batch = queued => match batch {
                    None if self.unconfirmed() > 0 => {
                        // What is not confirmed in time comes back and is sent again.
                        tokio::select! {
                            _ = changed.changed() => {}
                            () = stop.deadline() => return None,
                        }
                    }
                    batch => return batch,
                },
                _ = changed.changed() => {}
                () = self.readable() => {}
                () = stop.told(), if !is_ending => {}
                () = stop.deadline() => return None,
            }
        }
    }

    /// Moves the queue's batches to the disk while the mode is on, until no worker is left.
    pub(super) async fn spill(&self, take: Take) {
        let Some(disk) = &self.disk else { return };
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.turn_off_when_drained(disk) {
                return;
            }
            if !self.is_on() {
                if disk.has_waiting(self.lane) && !self.is_unreadable() {
                    // It could not be read when it was taken, and went back.
                    self.turn_on();
                    continue;
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = self.readable() => {}
                }
                continue;
            }
            tokio::select! {
                batch = self.queue.next(self.lane, take, Pick::Oldest) => match batch {
                    Some(batch) => self.store(batch).await,
                    // Closed and empty: all of it is on disk.
                    None => {
                        if self.lock().is_over {
                            return;
                        }
                        let _ = changed.changed().await;
                    }
                },
                _ = changed.changed() => {}
                () = tokio::time::sleep(MAINTAIN_EVERY) => self.maintain().await,
            }
        }
    }

    /// Whether workers have nothing to wait for on disk.
    fn is_drained(&self, disk: &Disk) -> bool {
        match self.ordering {
            Ordering::PerSeries => disk.is_drained(self.lane) && disk.may_take(self.lane),
            // What waits for a confirmation holds nobody up.
            Ordering::Free => (!disk.has_waiting(self.lane) || self.is_unreadable()) && self.failing.load(Relaxed) == 0,
        }
    }

    /// Returns whether there is nothing more to do.
    fn turn_off_when_drained(&self, disk: &Disk) -> bool {
        let is_drained = self.is_drained(disk);
        let mut state = self.lock();
        if state.is_on && is_drained {
            state.is_on = false;
            drop(state);
            self.bump();
            return self.lock().is_over;
        }
        state.is_over && !state.is_on
    }

    /// Brings a batch to the disk. While that fails, it waits here; when the disk has nothing left, workers get it.
    async fn store(&self, mut batch: Batch) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            batch = match self.write_out(batch).await {
                None => return,
                Some(batch) => batch,
            };
            let retry = tokio::time::sleep(DISK_RETRY_AFTER);
            tokio::pin!(retry);
            loop {
                if self.lock().is_over || self.disk.as_ref().is_none_or(|disk| self.is_drained(disk)) {
                    let mut state = self.lock();
                    state.returned.push_back(batch);
                    state.is_on = false;
                    drop(state);
                    return self.bump();
                }
                tokio::select! {
                    () = &mut retry => break,
                    _ = changed.changed() => {}
                }
            }
        }
    }

    /// Brings a batch to the disk and lets go of it; gives back what of it was not written. One that is too large for a record
    /// becomes several.
    async fn write_out(&self, batch: Batch) -> Option<Batch> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Err(left) = self.write_part(part).await else { continue };
            match *left {
                (part, DiskError::Full { .. }) => part.drop_all(reason::QUEUE_FULL),
                (part, DiskError::TooLarge { .. }) => match part.split() {
                    Ok([first, second]) => parts.extend([second, first]),
                    // One label set alone.
                    Err(part) => part.drop_all(reason::DISK_FULL),
                },
                (part, _) => {
                    parts.push(part);
                    break;
                }
            }
        }
        parts.into_iter().rev().reduce(|mut rest, part| {
            rest.join(part);
            rest
        })
    }

    async fn write_part(&self, mut batch: Batch) -> Result<(), Box<(Batch, DiskError)>> {
        let Some(disk) = self.disk.clone() else { return Err(Box::new((batch, DiskError::NoRecord))) };
        let lane = self.lane;
        let written = blocking(move || {
            if batch.record.is_none()
                && let Err(error) = disk.write(lane, &mut batch)
            {
                return Err(Box::new((batch, error)));
            }
            disk.put_back(batch)
        })
        .await;
        self.note(written.as_ref().err().map(|left| &left.1));
        self.bump();
        written
    }

    /// Makes sure that a batch that a worker holds is on disk too, where there is one.
    pub(super) async fn keep(&self, mut batch: Batch) -> Batch {
        let Some(disk) = self.disk.clone() else { return batch };
        if batch.record.is_none() {
            if self.lock().retry_disk_at.is_some_and(|at| at > Instant::now()) {
                return batch;
            }
            let lane = self.lane;
            let (kept, written) = blocking(move || {
                let written = disk.write(lane, &mut batch);
                (batch, written)
            })
            .await;
            batch = kept;
            self.note(written.as_ref().err());
        }
        batch
    }

    /// From now on everything goes to the disk, behind what is there.
    pub(super) fn turn_on(&self) {
        self.lock().is_on = true;
        self.bump();
    }

    /// Notes that a worker cannot send what it has in hand, until the token is let go.
    pub(super) fn failing(&self) -> Failing {
        self.failing.fetch_add(1, Relaxed);
        Failing(self.failing.clone())
    }

    /// At the end: a batch goes to the disk, or is dropped and counted.
    pub(super) async fn stow(&self, batch: Batch) {
        if let Some(batch) = self.write_out(batch).await {
            batch.drop_all(reason::SHUTDOWN);
        }
    }

    /// At the end, when no worker is left: what still waits in the queue goes to the disk, or is dropped and counted.
    pub(super) async fn finish(&self, take: Take) {
        self.lock().is_over = true;
        self.bump();
        while let Some(batch) = self.take_returned() {
            self.stow(batch).await;
        }
        if self.disk.is_some() {
            // It is closed: what is there is complete.
            while let Some(batch) = self.queue.next(self.lane, take, Pick::Oldest).await {
                self.stow(batch).await;
            }
        }
    }

    /// Says that no worker is left, and wakes whoever waits.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.bump();
    }

    /// Gives a batch to the workers, before anything else.
    pub(super) fn give_back(&self, batch: Batch) {
        self.lock().returned.push_back(batch);
        self.bump();
    }

    /// Writes out what was settled, and lets go of what is done with.
    pub(super) async fn maintain(&self) {
        if let Some(disk) = self.disk.clone() {
            blocking(move || disk.maintain()).await;
            self.bump();
        }
    }

    /// One more, or one less, waits to be confirmed.
    pub(super) fn count_unconfirmed(&self, change: isize) {
        let mut state = self.lock();
        state.unconfirmed = state.unconfirmed.saturating_add_signed(change);
        drop(state);
        self.bump();
    }

    /// Waits until fewer than `most` requests are unconfirmed.
    pub(super) async fn room_for_confirmation(&self, most: usize) {
        let mut changed = self.changed.subscribe();
        while self.unconfirmed() >= most.max(1) {
            let _ = changed.changed().await;
        }
    }

    async fn take_from_disk(&self, pick: Pick) -> Option<Batch> {
        let lane = self.lane;
        let disk = self.disk.clone().filter(|disk| disk.may_take(lane) && disk.has_waiting(lane))?;
        if self.is_unreadable() {
            return None;
        }
        let (batch, has_waiting) = blocking(move || (disk.take(lane, pick), disk.has_waiting(lane))).await;
        if batch.is_none() {
            // What was there was dropped: it was too old, or damaged. Or it is still there.
            self.lock().unreadable_until = has_waiting.then(|| Instant::now() + DISK_RETRY_AFTER);
            self.bump();
        }
        batch
    }

    fn is_unreadable(&self) -> bool {
        self.lock().unreadable_until.is_some_and(|until| until > Instant::now())
    }

    /// Returns when what could not be read is to be tried again; never, where nothing is.
    async fn readable(&self) {
        let until = self.lock().unreadable_until.filter(|until| *until > Instant::now());
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Leaves a disk that failed alone for a while; it has told so itself. What does not fit into memory meanwhile is its loss.
    fn note(&self, error: Option<&DiskError>) {
        let is_failing =
            error.is_some_and(|error| !matches!(error, DiskError::Full { .. } | DiskError::TooLarge { .. }));
        let retry_at = is_failing.then(|| Instant::now() + DISK_RETRY_AFTER);
        let was_failing = std::mem::replace(&mut self.lock().retry_disk_at, retry_at).is_some();
        if was_failing != is_failing {
            self.queue.set_overflow(if is_failing { reason::DISK_FULL } else { reason::QUEUE_FULL });
        }
    }

    fn take_returned(&self) -> Option<Batch> {
        self.lock().returned.pop_front()
    }

    fn is_on(&self) -> bool {
        self.lock().is_on
    }

    fn unconfirmed(&self) -> usize {
        self.lock().unconfirmed
    }

    fn bump(&self) {
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that cannot send what it has in hand.
pub(super) struct Failing(Arc<AtomicUsize>);

impl Drop for Failing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Samples that are encoded, or compressed, in a millisecond or so; for more than these another thread is woken.
pub(super) const LONG_WORK_SAMPLES: u64 = 5_000;

/// Does work that takes a while, and lets another thread go on with everything else meanwhile: scrapes stay on time.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // A test's runtime has one thread, and no other work.
        _ => work(),
    }
}

/// Runs what may block on a disk beside the tasks that must not.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}
