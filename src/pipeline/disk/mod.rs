//! What waits on disk while an output cannot deliver.

use std::sync::atomic::{AtomicU64, Ordering};

/// A batch on disk.
#[derive(Debug)]
pub struct Record {
    unsettled: AtomicU64,
}

impl Record {
    /// So many of its samples are settled; with the last of them it is done with.
    pub(super) fn settle(&self, samples: u64) {
        self.unsettled.fetch_sub(samples, Ordering::Relaxed);
    }
}
