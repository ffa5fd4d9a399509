//! What waits on disk while an output cannot deliver. Its shape only: nothing makes a `Disk` yet.
#![allow(missing_docs)]

use super::batch::Batch;
use super::queue::Pick;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("full")]
    Full {},
    #[error("other")]
    Other,
}
pub struct Disk;
impl Disk {
    pub fn write(&self, _lane: usize, _batch: &mut Batch) -> Result<(), DiskError> {
        Err(DiskError::Other)
    }
    pub fn put_back(&self, batch: Batch) -> Result<(), (Batch, DiskError)> {
        Err((batch, DiskError::Other))
    }
    pub fn take(&self, _lane: usize, _pick: Pick) -> Option<Batch> {
        None
    }
    pub fn is_drained(&self, _lane: usize) -> bool {
        true
    }
    pub fn has_waiting(&self, _lane: usize) -> bool {
        false
    }
    pub fn may_take(&self, _lane: usize) -> bool {
        true
    }
    pub fn maintain(&self) {}
    pub fn close(&self) {}
}

/// A batch on disk.
#[derive(Debug)]
pub struct Record;

impl Record {
    pub(super) fn settle(&self, _samples: u64) {}
    pub fn sending(&self) {}
    pub fn not_received(&self) {}
}
