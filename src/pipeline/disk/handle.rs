//! A record that is in hand, as its batches hold it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::{Inner, Note};
use super::segment::{Frame, State};
use crate::pipeline::batch::Batch;

/// A batch on disk. Parts of a divided batch share it.
///
/// One that is let go before all of it is settled stays on disk, for the next run: whoever dropped its samples has not said
/// what became of them.
pub struct Record {
    inner: Arc<Inner>,
    segment: u64,
    frame: Frame,
    place: Place,
    unsettled: AtomicU64,
    attempts: Mutex<Attempts>,
}

/// Whom a record belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The lane that drains it.
    pub(super) lane: usize,
    /// It was written for another number of lanes.
    pub(super) is_old: bool,
}

/// What is known of attempts to send it.
struct Attempts {
    /// Sends of which nobody said that they were not received.
    open: u32,
    /// It came with the flag, or with a batch that may have been received.
    was_attempted: bool,
    /// A part of it was received: where it is found as it is, it was.
    has_taken_part: bool,
    /// The byte on disk says attempted.
    is_marked: bool,
}

impl Record {
    pub(super) fn new(inner: Arc<Inner>, segment: u64, frame: Frame, place: Place) -> Arc<Self> {
        let was_attempted = frame.state == State::Attempted;
        let attempts = Mutex::new(Attempts { open: 0, was_attempted, has_taken_part: false, is_marked: was_attempted });
        Arc::new(Self { inner, segment, frame, place, unsettled: AtomicU64::new(u64::from(frame.samples)), attempts })
    }

    /// So many of its samples are settled; with the last of them it is noted as to be marked done. Never blocks on the disk.
    pub(in crate::pipeline) fn settle(&self, samples: u64) {
        let rest = |unsettled: u64| Some(unsettled.saturating_sub(samples));
        let before = self.unsettled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).unwrap_or(0);
        if before > 0 {
            let is_done = before <= samples;
            self.inner.settled(self.place, before.min(samples), is_done.then(|| self.note(true)));
        }
    }

    /// Says on disk that it may have been received. To be called before each send of a batch of it.
    pub fn sending(&self) {
        let mut attempts = self.attempts();
        attempts.open = attempts.open.saturating_add(1);
        if !attempts.is_marked && self.unsettled.load(Ordering::Relaxed) > 0 {
            attempts.is_marked = self.inner.mark(self.segment, self.frame.offset, State::Attempted);
        }
    }

    /// Of the send before a part was received, which is settled, and the rest surely was not. The flag stays for as long as the
    /// record does; a rest that is written anew comes without it. Never blocks on the disk.
    pub fn partly_received(&self) {
        let mut attempts = self.attempts();
        attempts.open = attempts.open.saturating_sub(1);
        attempts.has_taken_part = true;
    }

    /// The send before surely was not received. The flag goes, unless it came with the record, or another send of a part of
    /// it was or may have been received.
    pub fn not_received(&self) {
        let mut attempts = self.attempts();
        attempts.open = attempts.open.saturating_sub(1);
        let is_fresh = attempts.open == 0 && !attempts.was_attempted && !attempts.has_taken_part;
        if is_fresh && attempts.is_marked && self.unsettled.load(Ordering::Relaxed) > 0 {
            attempts.is_marked = !self.inner.mark(self.segment, self.frame.offset, State::Fresh);
        }
    }

    /// Whether it is on disk exactly what the batch has left.
    pub(super) fn holds(&self, batch: &Batch) -> bool {
        u64::from(self.frame.samples) == batch.waiting.samples()
    }

    pub(super) fn lane(&self) -> usize {
        self.place.lane
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn sequence(&self) -> u64 {
        self.frame.sequence
    }

    pub(super) fn oldest_ms(&self) -> i64 {
        self.frame.oldest_ms
    }

    /// Whether it may have been received, as far as this record knows.
    pub(super) fn is_maybe_received(&self) -> bool {
        let attempts = self.attempts();
        attempts.was_attempted || attempts.open > 0
    }

    /// Says that a batch of it may have been received, on disk too.
    pub(super) fn set_attempted(&self) {
        let mut attempts = self.attempts();
        attempts.was_attempted = true;
        if !attempts.is_marked {
            attempts.is_marked = self.inner.mark(self.segment, self.frame.offset, State::Attempted);
        }
    }

    /// It goes back into the index: this handle stands for nothing any more.
    pub(super) fn release(&self) -> (u64, Frame) {
        self.unsettled.store(0, Ordering::Relaxed);
        let state = if self.is_maybe_received() { State::Attempted } else { State::Fresh };
        (self.segment, Frame { state, ..self.frame })
    }

    fn note(&self, is_done: bool) -> Note {
        Note { segment: self.segment, offset: self.frame.offset, is_done }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let left = self.unsettled.swap(0, Ordering::Relaxed);
        if left > 0 {
            self.inner.settled(self.place, left, Some(self.note(false)));
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, frame, unsettled, .. } = self;
        f.debug_struct("Record").field("segment", segment).field("frame", frame).field("unsettled", unsettled).finish()
    }
}
