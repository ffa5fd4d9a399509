//! Opens an output's disk queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::checked;
use crate::pipeline::Queue;
use crate::pipeline::disk::{self, Disk, DiskError};

/// After a reload the output's predecessor has the folder until it has drained, and so much longer at most.
const PREDECESSOR_GRACE: Duration = Duration::from_secs(5);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Opens the disk queue of the output `name`; `None` where that fails: what waits is then kept in memory alone, and an error in
/// the log says so.
pub(super) async fn open(
    name: &str,
    config: &checked::Disk,
    queue: &Queue,
    shutdown_timeout: Duration,
    deadline: &watch::Receiver<Option<Instant>>,
) -> Option<Arc<Disk>> {
    let began = Instant::now();
    loop {
        let folder = config.path.clone();
        let limits = disk::Limits {
            bytes: config.max_bytes,
            age: queue.limits().age,
            overflow: queue.limits().overflow,
            is_synced: config.is_synced,
        };
        let (lanes, ledger) = (queue.lanes(), queue.ledger().clone());
        let opening = move || Disk::open(&folder, limits, lanes, &ledger);
        let opened = tokio::task::spawn_blocking(opening)
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match opened {
            Ok(disk) => return Some(disk),
            Err(DiskError::Taken { .. })
                if began.elapsed() < shutdown_timeout + PREDECESSOR_GRACE && deadline.borrow().is_none() =>
            {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(
                    output = name,
                    error,
                    "the disk queue cannot be used; what waits is kept in memory alone"
                );
                return None;
            }
        }
    }
}
