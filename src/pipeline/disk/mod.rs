//! What waits on disk while an output cannot deliver: one folder an output.
//!
//! A batch becomes a record of a segment: labels and typed points (`payload`), under a head with checksums (`segment`).
//! A record is *in hand* while a [`Batch`] for it is in memory; else the index (`log`) holds its token of the ledger and
//! where it is. So every sample on disk stands in the ledger exactly once, as waiting.
//!
//! Promises
//! - No input in the folder makes it panic, or yields a sample that was not written. A damaged record costs itself: where its
//!   head is sound, its samples count as `dropped{corrupt}`, else its bytes count as corrupt.
//! - Records of a lane come back in the order in which their samples were first written; one that is written anew, because
//!   a part of it is settled, keeps its place.
//! - No write takes the bytes of all segments above `max_bytes`; a segment is at most 16 MiB and an eighth of that, unless one
//!   record alone is larger: that has a segment of its own, up to 64 MiB.
//! - A disk that is full, read-only or broken is an error with a sentence; what was there before stays sound.
//!
//! What can be lost or come again
//! - `kill -9`, with or without `is_synced`: no record that [`Disk::write`] has returned for. Records whose done mark was not
//!   written yet (it is, at the next [`Disk::maintain`]) come again, as attempted; and in the instant between writing a rest
//!   anew and marking the old record, both may stay.
//! - Power loss with `is_synced`: likewise, and the state bytes (attempted, done) that the kernel had not written back:
//!   such a record comes again, perhaps as one that was never attempted.
//! - Power loss without `is_synced`: besides, whatever the kernel had not written back, usually the last thirty seconds.
//!
//! Left out on purpose: compression (the receiver's outage is short, reading back should be cheap), and any reading of
//! other programs' files: they are named once in the log and left alone.

mod handle;
mod log;
pub mod payload;
pub mod segment;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use handle::Record;

use super::batch::Batch;
use super::ledger::Ledger;
use super::queue::{Overflow, Pick};
use log::Inner;

/// How much a disk queue holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Time that a sample may wait, in memory and on disk. Over a restart it is measured by the wall clock.
    pub age: Duration,
    /// What happens above `bytes`.
    pub overflow: Overflow,
    /// Whether each record is written through to the medium before [`Disk::write`] returns.
    pub is_synced: bool,
}

/// How a disk queue is doing, for pages and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskState {
    /// Records that are left, in hand or not.
    pub records: u64,
    /// Samples of them that are not settled.
    pub samples: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Files.
    pub segments: u64,
    /// Records that were found damaged since the start; their samples count as `dropped{corrupt}`.
    pub corrupt_records: u64,
    /// Bytes that were found at the start and belong to no record.
    pub corrupt_bytes: u64,
    /// The error of the last operation on the disk, or `None` when it worked.
    pub failing: Option<String>,
}

/// Why something did not go to disk, or a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder is in use.
    #[error(
        "{}: another process has this disk queue open; every output of every process needs a folder of its own (queue.disk.path)",
        .folder.display()
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder was written by a newer program.
    #[error(
        "{}: this segment has version {found}, and this program reads up to version {supported}; the folder is left untouched: let \
         the program that wrote it deliver what is there, or name another folder (queue.disk.path)",
        .file.display()
    )]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        supported: u32,
    },
    /// `max_bytes` are in use, and nothing may go for what comes.
    #[error("{}: the disk queue is full, {bytes} bytes (queue.disk.max_bytes)", .folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
        /// The limit.
        bytes: u64,
    },
    /// The record would be larger than one may be.
    #[error("{}: a batch of {bytes} bytes is too large for the disk queue, which takes {max} bytes at once", .folder.display())]
    TooLarge {
        /// The folder.
        folder: PathBuf,
        /// What it takes.
        bytes: u64,
        /// What it may take.
        max: u64,
    },
    /// The batch has no record here.
    #[error("the batch is not on disk, and cannot be put back")]
    NoRecord,
    /// The queue was closed.
    #[error("{}: the disk queue is closed", .folder.display())]
    Closed {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused something.
    #[error("{}: {}; {doing} failed: {source}", .path.display(), words(.source))]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

fn words(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full",
        ErrorKind::QuotaExceeded => "the disk quota is used up",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        ErrorKind::PermissionDenied => "this user may not do that",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "there is no such place",
        ErrorKind::FileTooLarge => "the file would be larger than the system allows",
        _ if error.raw_os_error() == Some(libc::EIO) => "the disk is failing",
        _ => "the disk does not work as it should",
    }
}

/// The disk queue of one output.
///
/// Every method may block on the disk, unless it says otherwise: callers use `spawn_blocking`.
pub struct Disk {
    inner: Arc<Inner>,
}

impl Disk {
    /// Opens a folder, making it where it is missing, and takes up what an earlier run has left there. With another number of
    /// `lanes` than then, all of that belongs to lane 0, in its order.
    pub fn open(folder: &Path, limits: Limits, lanes: usize, ledger: &Arc<Ledger>) -> Result<Arc<Self>, DiskError> {
        Ok(Arc::new(Self { inner: Inner::open(folder, limits, lanes, ledger)? }))
    }

    /// Makes a record of a batch; it is in hand, and `batch.record` is set. Where the batch has a record and less left than
    /// that, it gets a new one in its place. A batch without a sample needs none. After an error the batch is as it was, and
    /// the next call tries again from a sound place.
    pub fn write(&self, lane: usize, batch: &mut Batch) -> Result<(), DiskError> {
        let is_there = batch.record.as_ref().is_some_and(|record| record.holds(batch));
        if is_there || batch.waiting.samples() == 0 {
            return Ok(());
        }
        self.inner.replace_record(lane, batch, false)
    }

    /// Takes a batch that has a record out of memory; it may be taken again. Where the record holds more than the batch has
    /// left, what is left is written anew first.
    pub fn put_back(&self, mut batch: Batch) -> Result<(), Box<(Batch, DiskError)>> {
        if batch.waiting.samples() == 0 {
            return Ok(());
        }
        let Some(record) = batch.record.clone() else { return Err(Box::new((batch, DiskError::NoRecord))) };
        if !record.holds(&batch)
            && let Err(error) = self.inner.replace_record(record.lane(), &mut batch, true)
        {
            return Err(Box::new((batch, error)));
        }
        drop(record);
        self.inner.put_back(batch);
        Ok(())
    }

    /// Reads the oldest or newest record of a lane that is not in hand. What is too old, or damaged, is dropped on the way.
    pub fn take(&self, lane: usize, pick: Pick) -> Option<Batch> {
        if !self.may_take(lane) {
            return None;
        }
        self.inner.take(lane, pick)
    }

    /// Whether the lane has a record that is not in hand. Never blocks on the disk.
    pub fn has_waiting(&self, lane: usize) -> bool {
        self.inner.tally().waiting.get(lane).is_some_and(|records| *records > 0)
    }

    /// Whether no record of the lane is left, in hand or not. Never blocks on the disk.
    pub fn is_drained(&self, lane: usize) -> bool {
        self.inner.tally().lanes.get(lane).is_none_or(|records| *records == 0)
    }

    /// `false` while records of an earlier number of lanes are left and lane 0 drains them. Never blocks on the disk.
    pub fn may_take(&self, lane: usize) -> bool {
        lane == 0 || self.inner.tally().old == 0
    }

    /// Marks the records that are settled, drops those that are too old, and removes segments of which nothing is left.
    pub fn maintain(&self) {
        self.inner.maintain();
    }

    /// How it is doing. Never blocks on the disk.
    pub fn state(&self) -> DiskState {
        self.inner.tally().state.clone()
    }

    /// Ends it: what is in the index stays on disk, and nothing more is taken or written. What is in hand can still be put
    /// back.
    pub fn close(&self) {
        self.inner.maintain();
        self.inner.close();
    }
}

#[cfg(test)]
impl Disk {
    /// Nothing that needs the disk comes back before what this gives is let go of.
    pub(crate) fn stall(&self) -> impl Sized + '_ {
        self.inner.stall()
    }
}

#[cfg(test)]
mod tests;
