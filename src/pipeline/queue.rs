//! One bounded queue between the fan-out and one output.
//!
//! A queue holds `Arc<Scrape>`s, never encoded bytes: a scrape that five outputs share is in memory once.
//!
//! Invariants
//! - `samples <= limits.samples` and `bytes <= limits.bytes`, always; bytes include the chunks of series that it keeps alive.
//! - `push` never waits. When full, a policy decides what is dropped, and the ledger counts it.
//! - A target's scrapes are always in the same lane, in order.
//! - `next` returns `None` only after `close`, and only when the lane is empty: the sender's end *is* the proof that the
//!   queue was drained.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::batch::{Batch, Slice};
use super::ledger::{Ledger, Waiting, reason};
use crate::model::{Scrape, SeriesSet};

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Lets go of what has waited longest: a dashboard needs now more than an hour ago.
    DropOldest,
    /// Refuses what comes.
    DropNewest,
}

/// The samples of a batch came within this part of the age that they may have, or within the age of a complete batch.
const BATCH_AGE_PART: u32 = 16;

/// How much a queue holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples.
    pub samples: u64,
    /// Bytes of memory.
    pub bytes: usize,
    /// Time that a sample may wait, in the queue and while it is being resent.
    pub age: Duration,
    /// What happens above that.
    pub overflow: Overflow,
}

/// Which end of what waits goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// What has waited longest.
    Oldest,
    /// What came last.
    Newest,
}

/// When a batch is complete: at whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    /// Samples in it.
    pub samples: u64,
    /// Time that its oldest sample has waited.
    pub age: Duration,
}

/// One bounded queue.
pub struct Queue {
    ledger: Arc<Ledger>,
    limits: Limits,
    state: Mutex<State>,
    /// One a lane.
    ready: Box<[Notify]>,
}

struct State {
    lanes: Box<[Lane]>,
    samples: u64,
    /// Of the scrapes themselves, and of the chunks that they keep alive.
    bytes: usize,
    /// How many queued scrapes keep a chunk alive, by its id.
    chunks: HashMap<u64, u32>,
    is_closed: bool,
    /// Why samples are dropped that do not fit.
    overflow: &'static str,
}

struct Lane {
    entries: VecDeque<Entry>,
    samples: u64,
    /// The fewest samples that a taker which waits, or has waited, wants at once.
    enough: u64,
}

struct Entry {
    slice: Slice,
    waiting: Waiting,
    since: Instant,
}

impl Queue {
    /// An empty queue of `lanes` lanes (at least one).
    pub fn new(ledger: Arc<Ledger>, limits: Limits, lanes: usize) -> Arc<Self> {
        let lanes = lanes.max(1);
        Arc::new(Self {
            ledger,
            limits,
            state: Mutex::new(State {
                lanes: (0..lanes).map(|_| Lane { entries: VecDeque::new(), samples: 0, enough: u64::MAX }).collect(),
                samples: 0,
                bytes: 0,
                chunks: HashMap::new(),
                is_closed: false,
                overflow: reason::QUEUE_FULL,
            }),
            ready: (0..lanes).map(|_| Notify::new()).collect(),
        })
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.ready.len()
    }

    /// The ledger that it counts in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Samples and bytes in it now.
    pub fn size(&self) -> (u64, usize) {
        let state = self.lock();
        (state.samples, state.bytes)
    }

    /// Takes a scrape in, or drops something as the policy says. Never waits.
    pub fn push(&self, scrape: &Arc<Scrape>) {
        let slice = Slice::whole(scrape.clone());
        let samples = slice.samples();
        let waiting = self.ledger.offer(samples);
        if samples == 0 {
            return;
        }
        let mut state = self.lock();
        let entry_bytes = scrape.own_bytes() + size_of::<Entry>();
        let needed = |state: &State| entry_bytes + state.new_chunk_bytes(&scrape.series);
        let fits = |state: &State| {
            state.samples + samples <= self.limits.samples && state.bytes + needed(state) <= self.limits.bytes
        };
        if state.is_closed {
            return waiting.drop_all(reason::SHUTDOWN);
        }
        let alone = entry_bytes + scrape.series.chunks().iter().map(|chunk| chunk.bytes()).sum::<usize>();
        if samples > self.limits.samples || alone > self.limits.bytes {
            // An empty queue would not hold it: nobody else has to go for it.
            return waiting.drop_all(state.overflow);
        }
        while !fits(&state) {
            let oldest = match self.limits.overflow {
                Overflow::DropOldest => state.take_oldest(),
                Overflow::DropNewest => None,
            };
            match oldest {
                Some(entry) => entry.waiting.drop_all(state.overflow),
                None => return waiting.drop_all(state.overflow),
            }
        }
        let lane = (scrape.origin.key % self.ready.len() as u64) as usize;
        let was_empty = state.lanes[lane].entries.is_empty();
        state.insert(lane, Entry { slice, waiting, since: Instant::now() });
        let is_enough = state.lanes[lane].samples >= state.lanes[lane].enough;
        drop(state);
        // In between, whoever waits knows when the first one is due.
        if was_empty || is_enough {
            self.ready[lane].notify_one();
        }
    }

    /// Waits until a batch is complete and takes it, from this end of what waits. `None` when the queue is closed and the lane
    /// is empty. A lane may have several takers. Cancel safe.
    pub async fn next(&self, lane: usize, take: Take, pick: Pick) -> Option<Batch> {
        loop {
            let wait = {
                let mut state = self.lock();
                state.expire(lane, self.limits.age);
                let due = state.lanes[lane].entries.front().map(|oldest| oldest.since + take.age);
                let is_full = state.lanes[lane].samples >= take.samples;
                if due.is_some_and(|due| is_full || state.is_closed || due <= Instant::now()) {
                    let batch = state.take_batch(lane, take, pick, self.limits.age);
                    if !state.lanes[lane].entries.is_empty() {
                        self.ready[lane].notify_one();
                    }
                    return batch;
                }
                if state.is_closed {
                    // A lane may have several takers: each passes the word on.
                    self.ready[lane].notify_one();
                    return None;
                }
                let enough = &mut state.lanes[lane].enough;
                *enough = take.samples.min(*enough);
                due
            };
            match wait {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.ready[lane].notified()).await;
                }
                None => self.ready[lane].notified().await,
            }
        }
    }

    /// Nothing more comes; what is here may still be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        for ready in &self.ready {
            ready.notify_one();
        }
    }

    /// Drops the scrape that has waited longest, for the sake of the memory limit. Gives how many samples it had; 0 where the
    /// queue is empty.
    pub(super) fn shed_oldest(&self) -> u64 {
        let Some(entry) = self.lock().take_oldest() else { return 0 };
        let samples = entry.waiting.samples();
        entry.waiting.drop_all(reason::MEMORY);
        samples
    }

    /// Why samples count as dropped from now on that do not fit.
    pub fn set_overflow(&self, reason: &'static str) {
        self.lock().overflow = reason;
    }

    /// Drops everything that still waits here.
    pub fn drop_all(&self, reason: &'static str) {
        let mut state = self.lock();
        while let Some(entry) = state.take_oldest() {
            entry.waiting.drop_all(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new_chunk_bytes(&self, series: &SeriesSet) -> usize {
        series.chunks().iter().filter(|chunk| !self.chunks.contains_key(&chunk.id())).map(|chunk| chunk.bytes()).sum()
    }

    fn insert(&mut self, lane: usize, entry: Entry) {
        let scrape = &entry.slice.scrape;
        self.bytes += scrape.own_bytes() + size_of::<Entry>() + self.new_chunk_bytes(&scrape.series);
        for chunk in scrape.series.chunks() {
            *self.chunks.entry(chunk.id()).or_default() += 1;
        }
        self.samples += entry.waiting.samples();
        self.lanes[lane].samples += entry.waiting.samples();
        self.lanes[lane].entries.push_back(entry);
    }

    fn take(&mut self, lane: usize, pick: Pick) -> Option<Entry> {
        let entries = &mut self.lanes[lane].entries;
        let entry = match pick {
            Pick::Oldest => entries.pop_front(),
            Pick::Newest => entries.pop_back(),
        }?;
        self.lanes[lane].samples -= entry.waiting.samples();
        self.samples -= entry.waiting.samples();
        let scrape = &entry.slice.scrape;
        self.bytes -= scrape.own_bytes() + size_of::<Entry>();
        for chunk in scrape.series.chunks() {
            if let Some(users) = self.chunks.get_mut(&chunk.id()) {
                *users -= 1;
                if *users == 0 {
                    self.chunks.remove(&chunk.id());
                    self.bytes -= chunk.bytes();
                }
            }
        }
        Some(entry)
    }

    fn take_oldest(&mut self) -> Option<Entry> {
        let front = |lane: &Lane| lane.entries.front().map(|entry| entry.since);
        let lane = (0..self.lanes.len())
            .filter(|&at| front(&self.lanes[at]).is_some())
            .min_by_key(|&at| front(&self.lanes[at]))?;
        self.take(lane, Pick::Oldest)
    }

    fn expire(&mut self, lane: usize, age: Duration) {
        let now = Instant::now();
        while self.lanes[lane].entries.front().is_some_and(|entry| entry.since + age <= now) {
            if let Some(entry) = self.take(lane, Pick::Oldest) {
                entry.waiting.drop_all(reason::TOO_OLD);
            }
        }
    }

    /// Whole scrapes up to `take.samples`; one that is larger by itself comes alone and is split by the sender. All of a batch is
    /// dropped when its oldest sample is as old as `age`: so its samples came within a small part of that.
    fn take_batch(&mut self, lane: usize, take: Take, pick: Pick, age: Duration) -> Option<Batch> {
        let span = take.age.max(age / BATCH_AGE_PART);
        let mut batch: Option<Batch> = None;
        let mut first = None;
        loop {
            let entries = &self.lanes[lane].entries;
            let next = if pick == Pick::Oldest { entries.front() } else { entries.back() };
            let held = batch.as_ref().map_or(0, |batch| batch.waiting.samples());
            let is_apart = |next: &Entry| {
                let first = first.unwrap_or(next.since);
                held + next.waiting.samples() > take.samples
                    || next.since.max(first).duration_since(next.since.min(first)) > span
            };
            if held > 0 && next.is_some_and(is_apart) {
                break;
            }
            let Some(entry) = self.take(lane, pick) else { break };
            match &mut batch {
                None => {
                    first = Some(entry.since);
                    batch = Some(Batch::new(vec![entry.slice], entry.waiting, entry.since));
                }
                Some(batch) => {
                    batch.slices.push(entry.slice);
                    batch.waiting.join(entry.waiting);
                    batch.oldest = batch.oldest.min(entry.since);
                }
            }
        }
        if let (Pick::Newest, Some(batch)) = (pick, &mut batch) {
            batch.slices.reverse();
        }
        batch
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.drop_all(reason::SHUTDOWN);
    }
}
