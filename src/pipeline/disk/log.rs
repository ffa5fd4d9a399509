//! The segments of a folder, and the index of the records that are not in hand.
//!
//! Two locks. `log` is held over every access to the disk but reading payloads. `tally` is only ever held for a moment, so
//! that settling and looking never wait for a disk; it is taken last.
//!
//! Invariants, while `log` is not held
//! - An entry of the index holds the token of all samples of its record, and no entry's record is in hand.
//! - A segment's `live` is the number of its records that are not done; where it is 0, nothing refers to the segment.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::handle::{Place, Record};
use super::payload::{self, SERIES_BYTES_MAX};
use super::segment::{self, FRAME_BYTES, Frame, HEADER_BYTES, PAYLOAD_BYTES_MAX, State};
use super::{DiskError, DiskState, Limits};
use crate::model::wall_ms;
use crate::pipeline::batch::Batch;
use crate::pipeline::ledger::{Ledger, Waiting, reason};
use crate::pipeline::queue::Overflow;
use crate::telemetry::Edge;

mod open;
mod take;

/// Bytes of a segment, unless one record alone is larger.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// Sealed segments that are kept open.
const OPEN_FILES_MAX: usize = 4;

/// What a [`Disk`](super::Disk) and its records share.
pub(super) struct Inner {
    folder: PathBuf,
    limits: Limits,
    ledger: Arc<Ledger>,
    lanes: usize,
    log: Mutex<Log>,
    tally: Mutex<Tally>,
    /// Held until the last record is gone.
    _lock: File,
}

/// What is known without the disk.
pub(super) struct Tally {
    /// Records that are left, by lane, in hand or not.
    pub(super) lanes: Box<[u64]>,
    /// Those of them that are not in hand, by lane.
    pub(super) waiting: Box<[usize]>,
    /// Those of them that were written for another number of lanes.
    pub(super) old: u64,
    pub(super) state: DiskState,
    notes: Vec<Note>,
}

/// A record is no longer in hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// All of it is settled; else it stays where it is.
    pub(super) is_done: bool,
}

struct Log {
    segments: BTreeMap<u64, Segment>,
    /// By lane.
    index: Box<[BTreeMap<Key, Entry>]>,
    /// The segment that is written to.
    active: Option<(u64, Arc<File>)>,
    /// Sealed segments that were used lately, the last one last.
    files: Vec<(u64, Arc<File>)>,
    /// Records that are done, and not marked so on disk.
    unmarked: Vec<(u64, u64)>,
    next_segment: u64,
    next_sequence: u64,
    bytes: u64,
    is_closed: bool,
    /// The work that failed last, unless it has worked since.
    failed: Option<Work>,
    trouble: Edge,
}

/// What is done with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Writing a record.
    Append,
    /// Marking records, and removing segments.
    Change,
    /// Reading a record.
    Read,
}

#[derive(Default)]
struct Segment {
    bytes: u64,
    /// Records that are not done.
    live: u64,
    in_hand: u64,
    /// The log has told of damage in it.
    is_told: bool,
}

/// Where a record is, in the order in which records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    sequence: u64,
    segment: u64,
    offset: u64,
}

struct Entry {
    frame: Frame,
    waiting: Waiting,
    /// On the clock of this process, which takes no steps; the time in `frame` is for the next one.
    oldest: Instant,
    is_old: bool,
}

impl Inner {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Every change is made of additions that cannot panic half-way.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how many records of a lane are not in hand, after each change to its index.
    fn count_waiting(&self, log: &Log, lane: usize) {
        self.tally().waiting[lane] = log.index[lane].len();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples of a record are settled, and, with a note, it is no longer in hand.
    pub(super) fn settled(&self, place: Place, samples: u64, note: Option<Note>) {
        let mut tally = self.tally();
        tally.state.samples -= samples;
        if let Some(note) = note {
            tally.forget(place);
            tally.notes.push(note);
        }
    }

    /// Writes a batch as a record, in place of the one that it has, if it has one.
    pub(super) fn replace_record(
        self: &Arc<Self>,
        lane: usize,
        batch: &mut Batch,
        is_at_end: bool,
    ) -> Result<(), DiskError> {
        let record = self.append(lane, batch, is_at_end)?;
        if let Some(old) = batch.record.replace(record) {
            old.settle(batch.waiting.samples());
        }
        Ok(())
    }

    fn append(self: &Arc<Self>, lane: usize, batch: &Batch, is_at_end: bool) -> Result<Arc<Record>, DiskError> {
        debug_assert_eq!(batch.samples(), batch.waiting.samples(), "a token stands for its samples");
        let mut record = vec![0; FRAME_BYTES];
        let series_bytes = payload::write(&batch.slices, &mut record);
        for (bytes, max) in [(record.len() - FRAME_BYTES, PAYLOAD_BYTES_MAX), (series_bytes, SERIES_BYTES_MAX)] {
            if bytes > max {
                let (bytes, max) = (bytes as u64, max as u64);
                return Err(DiskError::TooLarge { folder: self.folder.clone(), bytes, max });
            }
        }
        // Each takes two bytes at least.
        let samples = batch.waiting.samples() as u32;
        let old = batch.record.as_ref();
        let place = old.map_or(Place { lane: lane.min(self.lanes - 1), is_old: false }, |old| old.place());
        let oldest_ms = old.map_or_else(|| wall_of(batch.oldest), |old| old.oldest_ms());
        let is_attempted = batch.attempt.is_maybe_resend || old.is_some_and(|old| old.is_maybe_received());

        let mut log = self.log();
        if log.is_closed && !is_at_end {
            return Err(DiskError::Closed { folder: self.folder.clone() });
        }
        let written = self.make_room(&mut log, record.len() as u64).and_then(|()| {
            // The number of a lane is kept only where it will mean something.
            let lane = if place.is_old { u32::MAX } else { place.lane as u32 };
            let sequence = old.map_or(log.next_sequence, |old| old.sequence());
            let (segment, end) = self.writable(&mut log, record.len() as u64)?;
            let mut frame = Frame::new(end, &record, samples, lane, sequence, oldest_ms);
            frame.state = if is_attempted { State::Attempted } else { State::Fresh };
            frame.seal(&mut record, segment);
            self.append_bytes(&mut log, segment, end, &record)?;
            Ok((segment, frame))
        });
        let result = written.map(|(segment, frame)| {
            log.next_sequence = log.next_sequence.max(frame.sequence + 1);
            self.tally().remember(place, u64::from(samples));
            Record::new(self.clone(), segment, frame, place)
        });
        self.publish(&mut log, Work::Append, result.as_ref().err());
        result
    }

    /// The segment to write to, and its end. A new one is begun where the record would take the last one past its limit.
    fn writable(&self, log: &mut Log, bytes: u64) -> Result<(u64, u64), DiskError> {
        if let Some((number, _)) = log.active
            && let Some(segment) = log.segments.get(&number)
            && (segment.bytes + bytes <= self.segment_bytes_max() || segment.bytes <= HEADER_BYTES as u64)
        {
            return Ok((number, segment.bytes));
        }
        log.seal();
        let number = log.next_segment;
        let file = segment::create(&self.folder, number, self.lanes as u32, self.limits.is_synced)
            .map_err(|source| self.io_error(number, "making it", source))?;
        log.next_segment += 1;
        let bytes = HEADER_BYTES as u64;
        log.segments.insert(number, Segment { bytes, ..Segment::default() });
        log.bytes += bytes;
        log.active = Some((number, Arc::new(file)));
        Ok((number, bytes))
    }

    fn append_bytes(&self, log: &mut Log, number: u64, end: u64, record: &[u8]) -> Result<(), DiskError> {
        let Some((_, file)) = log.active.clone() else { return Err(DiskError::NoRecord) };
        if let Err((source, is_sound)) = segment::append(&file, end, record, self.limits.is_synced) {
            if !is_sound {
                log.seal();
            }
            return Err(self.io_error(number, "writing a record", source));
        }
        if let Some(segment) = log.segments.get_mut(&number) {
            segment.bytes += record.len() as u64;
            segment.live += 1;
            segment.in_hand += 1;
        }
        log.bytes += record.len() as u64;
        Ok(())
    }

    fn segment_bytes_max(&self) -> u64 {
        SEGMENT_BYTES_MAX.min(self.limits.bytes / 8)
    }

    /// Lets go of what waits longest, where that is the policy, until so many bytes more may be written.
    fn make_room(&self, log: &mut Log, bytes: u64) -> Result<(), DiskError> {
        let full = || DiskError::Full { folder: self.folder.clone(), bytes: self.limits.bytes };
        let needed = bytes + HEADER_BYTES as u64;
        if needed > self.limits.bytes {
            return Err(full());
        }
        if log.bytes + needed <= self.limits.bytes {
            return Ok(());
        }
        self.sweep(log)?;
        while log.bytes + needed > self.limits.bytes {
            let oldest = log.segments.iter().find(|(_, segment)| segment.in_hand == 0).map(|(number, _)| *number);
            match (self.limits.overflow, oldest) {
                (Overflow::DropOldest, Some(number)) => self.evict(log, number)?,
                _ => return Err(full()),
            }
        }
        Ok(())
    }

    fn evict(&self, log: &mut Log, number: u64) -> Result<(), DiskError> {
        self.remove(log, number)?;
        for lane in 0..log.index.len() {
            let gone: Vec<_> = log.index[lane].extract_if(.., |key, _| key.segment == number).collect();
            for (_, entry) in gone {
                self.let_go(lane, entry, reason::QUEUE_FULL);
            }
            self.count_waiting(log, lane);
        }
        Ok(())
    }

    /// Settles an entry that was taken out of the index.
    fn let_go(&self, lane: usize, entry: Entry, reason: &'static str) {
        let mut tally = self.tally();
        tally.state.samples -= entry.waiting.samples();
        tally.forget(Place { lane, is_old: entry.is_old });
        drop(tally);
        entry.waiting.drop_all(reason);
    }

    /// The same, and its record is done.
    fn discard(&self, log: &mut Log, lane: usize, key: Key, entry: Entry, reason: &'static str) {
        self.let_go(lane, entry, reason);
        if let Some(segment) = log.segments.get_mut(&key.segment) {
            segment.live -= 1;
        }
        log.unmarked.push((key.segment, key.offset));
    }

    /// Removes a segment's file, and all that is known of it but the index.
    fn remove(&self, log: &mut Log, number: u64) -> Result<(), DiskError> {
        match std::fs::remove_file(segment::path_of(&self.folder, number)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(self.io_error(number, "removing it", source));
            }
            _ => {}
        }
        log.bytes -= log.segments.remove(&number).map_or(0, |segment| segment.bytes);
        log.files.retain(|(held, _)| *held != number);
        log.unmarked.retain(|(held, _)| *held != number);
        if log.active.as_ref().is_some_and(|(held, _)| *held == number) {
            log.active = None;
        }
        Ok(())
    }

    /// Notes what came back from hand, and removes segments that are done with.
    fn sweep(&self, log: &mut Log) -> Result<(), DiskError> {
        let notes = std::mem::take(&mut self.tally().notes);
        for note in notes {
            let Some(segment) = log.segments.get_mut(&note.segment) else { continue };
            segment.in_hand -= 1;
            if note.is_done {
                segment.live -= 1;
                log.unmarked.push((note.segment, note.offset));
            }
        }
        let done: Vec<u64> =
            log.segments.iter().filter(|(_, held)| held.live == 0).map(|(number, _)| *number).collect();
        done.into_iter().try_for_each(|number| self.remove(log, number))
    }

    fn write_marks(&self, log: &mut Log) -> Result<(), DiskError> {
        while let Some((number, offset)) = log.unmarked.last().copied() {
            self.write_state(log, number, offset, State::Done)?;
            log.unmarked.pop();
        }
        Ok(())
    }

    fn write_state(&self, log: &mut Log, number: u64, offset: u64, state: State) -> Result<(), DiskError> {
        self.file(log, number, true)
            .and_then(|file| segment::write_state(&file, offset, state))
            .map_err(|source| self.io_error(number, "marking a record", source))
    }

    /// Writes a record's state. Whether it worked.
    pub(super) fn mark(&self, number: u64, offset: u64, state: State) -> bool {
        let mut log = self.log();
        let result = self.write_state(&mut log, number, offset, state);
        self.publish(&mut log, Work::Change, result.as_ref().err());
        result.is_ok()
    }

    fn file(&self, log: &mut Log, number: u64, is_write: bool) -> io::Result<Arc<File>> {
        if let Some((_, file)) = log.active.as_ref().filter(|(active, _)| *active == number) {
            return Ok(file.clone());
        }
        if let Some(at) = log.files.iter().position(|(held, _)| *held == number) {
            log.files[at..].rotate_left(1);
        } else {
            let path = segment::path_of(&self.folder, number);
            let open = |is_write| {
                let file = OpenOptions::new().read(true).write(is_write).custom_flags(libc::O_NOFOLLOW).open(&path);
                file.map(Arc::new)
            };
            match open(true) {
                Ok(file) => log.files.push((number, file)),
                // What is on a read-only disk can still be read back.
                Err(_) if !is_write => return open(false),
                Err(error) => return Err(error),
            }
            if log.files.len() > OPEN_FILES_MAX {
                log.files.remove(0);
            }
        }
        log.files.last().map(|(_, file)| file.clone()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn tell_corrupt(&self, log: &mut Log, number: u64, error: &str) {
        let Some(segment) = log.segments.get_mut(&number) else { return };
        if !std::mem::replace(&mut segment.is_told, true) {
            let file = segment::path_of(&self.folder, number).display().to_string();
            tracing::error!(file, error, "a segment of the disk queue is damaged; what is damaged is left out");
        }
    }

    pub(super) fn maintain(&self) {
        let mut log = self.log();
        for lane in 0..log.index.len() {
            // Nearly in the order of age; what is not is found when it is taken.
            while let Some(first) = log.index[lane].first_entry().filter(|first| self.is_too_old(first.get())) {
                let (key, entry) = first.remove_entry();
                self.discard(&mut log, lane, key, entry, reason::TOO_OLD);
            }
            self.count_waiting(&log, lane);
        }
        let result = self.sweep(&mut log).and_then(|()| self.write_marks(&mut log));
        self.publish(&mut log, Work::Change, result.as_ref().err());
    }

    pub(super) fn close(&self) {
        let mut log = self.log();
        log.is_closed = true;
        for lane in 0..log.index.len() {
            std::mem::take(&mut log.index[lane]).into_values().for_each(|entry| entry.waiting.leave());
            self.count_waiting(&log, lane);
        }
    }

    fn is_too_old(&self, entry: &Entry) -> bool {
        entry.oldest.elapsed() >= self.limits.age
    }

    fn io_error(&self, number: u64, doing: &'static str, source: io::Error) -> DiskError {
        DiskError::Io { path: segment::path_of(&self.folder, number), doing, source }
    }

    #[cfg(test)]
    pub(super) fn stall(&self) -> impl Sized + '_ {
        self.log()
    }

    /// Writes to another file from now on.
    #[cfg(test)]
    pub(super) fn replace_active(&self, file: File) {
        if let Some((_, active)) = &mut self.log().active {
            *active = Arc::new(file);
        }
    }

    /// Brings the figures up to date, and tells of trouble at its edges.
    fn publish(&self, log: &mut Log, work: Work, error: Option<&DiskError>) {
        let mut tally = self.tally();
        tally.state.bytes = log.bytes;
        tally.state.segments = log.segments.len() as u64;
        match error {
            Some(error) => tally.state.failing = Some(error.to_string()),
            // A disk that is full can still be read: that it can says nothing of the trouble.
            None if log.failed == Some(work) || work == Work::Append => tally.state.failing = None,
            None => return,
        }
        drop(tally);
        let folder = self.folder.display();
        if let Some(error) = error {
            log.failed = Some(work);
            // Full by its own limit is a policy at work; the ledger counts it.
            if let DiskError::Io { doing, source, .. } = error
                && log.trouble.is_news(&format!("{doing}: {}", source.kind()))
            {
                let error = error.to_string();
                tracing::error!(%folder, error, "the disk queue does not work; what it does not take stays in memory, and it is tried again");
            }
        } else {
            log.failed = None;
            if let Some(ended) = log.trouble.fine() {
                tracing::info!(%folder, after_s = ended.lasted.as_secs(), "the disk queue works again");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // No sample that is safe on disk may count as abandoned. Nobody is left that could hold the lock: this never waits.
        let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        for entries in &mut log.index {
            std::mem::take(entries).into_values().for_each(|entry| entry.waiting.leave());
        }
    }
}

impl Tally {
    fn remember(&mut self, place: Place, samples: u64) {
        self.state.records += 1;
        self.state.samples += samples;
        self.lanes[place.lane] += 1;
        self.old += u64::from(place.is_old);
    }

    fn forget(&mut self, place: Place) {
        self.state.records -= 1;
        self.lanes[place.lane] -= 1;
        self.old -= u64::from(place.is_old);
    }
}

impl Log {
    /// Nothing more is written to the active segment.
    fn seal(&mut self) {
        self.active = None;
    }
}

/// Time that has passed since then by the wall clock; none, where that is in the future.
fn since(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(wall_ms().saturating_sub(ms)).unwrap_or(0))
}

fn wall_of(at: Instant) -> i64 {
    wall_ms().saturating_sub(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// That moment on the clock of this process, or as far back as the clock reaches.
fn instant_of(ms: i64) -> Instant {
    let now = Instant::now();
    let halves = std::iter::successors(Some(since(ms)), |age| Some(*age / 2));
    halves.take(64).find_map(|age| now.checked_sub(age)).unwrap_or(now)
}
