//! Records back into memory, and out of it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Entry, Inner, Key, Work};
use crate::pipeline::batch::{Batch, Slice};
use crate::pipeline::disk::handle::{Place, Record};
use crate::pipeline::disk::segment::{Frame, State};
use crate::pipeline::disk::{Pick, payload};
use crate::pipeline::ledger::reason;

/// Why a record was not read.
enum Unread {
    /// It is not what was written, or never will be read.
    Corrupt(String),
    /// The system refused it for now.
    Later(io::Error),
}

impl Inner {
    pub(in crate::pipeline::disk) fn put_back(&self, mut batch: Batch) {
        let Some(record) = batch.record.take() else { return };
        if batch.attempt.is_maybe_resend {
            record.set_attempted();
        }
        let Place { lane, is_old } = record.place();
        let (segment, frame) = record.release();
        let Batch { waiting, oldest, .. } = batch;
        let mut log = self.log();
        if let Some(segment) = log.segments.get_mut(&segment) {
            segment.in_hand -= 1;
        }
        if log.is_closed {
            return waiting.leave();
        }
        let key = Key { sequence: frame.sequence, segment, offset: frame.offset };
        log.index[lane].insert(key, Entry { frame, waiting, oldest, is_old });
        self.count_waiting(&log, lane);
    }

    pub(in crate::pipeline::disk) fn take(self: &Arc<Self>, lane: usize, pick: Pick) -> Option<Batch> {
        loop {
            let mut log = self.log();
            if log.is_closed {
                return None;
            }
            let entries = log.index.get_mut(lane)?;
            let (key, entry) = match pick {
                Pick::Oldest => entries.pop_first()?,
                Pick::Newest => entries.pop_last()?,
            };
            self.count_waiting(&log, lane);
            if self.is_too_old(&entry) {
                self.discard(&mut log, lane, key, entry, reason::TOO_OLD);
                continue;
            }
            let file = self.file(&mut log, key.segment, false);
            if let Some(segment) = log.segments.get_mut(&key.segment) {
                segment.in_hand += 1;
            }
            drop(log);
            match file.map_err(unread).and_then(|file| read(&file, &entry.frame)) {
                Ok(slices) => {
                    let Entry { frame, waiting, oldest, is_old } = entry;
                    let mut batch = Batch::new(slices, waiting, oldest);
                    batch.attempt.is_maybe_resend = frame.state == State::Attempted;
                    batch.record = Some(Record::new(self.clone(), key.segment, frame, Place { lane, is_old }));
                    self.reads_again();
                    return Some(batch);
                }
                Err(unread) => self.not_read(lane, key, entry, unread)?,
            }
        }
    }

    fn reads_again(&self) {
        if self.tally().state.failing.is_some() {
            self.publish(&mut self.log(), Work::Read, None);
        }
    }

    /// `None` when it is of no use to go on now.
    fn not_read(&self, lane: usize, key: Key, entry: Entry, unread: Unread) -> Option<()> {
        let mut log = self.log();
        if let Some(segment) = log.segments.get_mut(&key.segment) {
            segment.in_hand -= 1;
        }
        match unread {
            Unread::Corrupt(error) => {
                self.tell_corrupt(&mut log, key.segment, &error);
                self.tally().state.corrupt_records += 1;
                self.discard(&mut log, lane, key, entry, reason::CORRUPT);
                Some(())
            }
            Unread::Later(source) => {
                let error = self.io_error(key.segment, "reading a record", source);
                match log.is_closed {
                    true => entry.waiting.leave(),
                    false => drop(log.index[lane].insert(key, entry)),
                }
                self.count_waiting(&log, lane);
                self.publish(&mut log, Work::Read, Some(&error));
                None
            }
        }
    }
}

fn read(file: &File, frame: &Frame) -> Result<Vec<Slice>, Unread> {
    let payload = frame.payload(file).map_err(unread)?;
    let payload = payload.ok_or_else(|| Unread::Corrupt("a record's checksum is wrong".to_owned()))?;
    let slices = payload::read(&payload).map_err(|error| Unread::Corrupt(error.to_string()))?;
    let samples: u64 = slices.iter().map(Slice::samples).sum();
    match samples == u64::from(frame.samples) {
        true => Ok(slices),
        false => Err(Unread::Corrupt("a record has not as many samples as it says".to_owned())),
    }
}

fn unread(error: io::Error) -> Unread {
    let is_lost = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(libc::EIO);
    match is_lost {
        true => Unread::Corrupt(error.to_string()),
        false => Unread::Later(error),
    }
}
