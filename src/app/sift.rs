//! Which of the discovered targets are used: all but our own endpoints, which would feed on themselves.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::discovery::TargetSet;
use crate::net::host;
use crate::scrape::Targets;

/// Where the endpoints are that serve what was scraped.
pub(super) type Listeners = Arc<[SocketAddr]>;

/// Publishes the targets that are used, as the target set and the listeners change. The first value is there at once.
pub(super) fn sift(
    mut targets: watch::Receiver<Arc<TargetSet>>,
    mut listeners: watch::Receiver<Listeners>,
) -> watch::Receiver<Targets> {
    let mut refused = HashSet::new();
    let mut look = move |set: &TargetSet, listeners: &Listeners| -> Targets {
        let (ours, others): (Vec<_>, Vec<_>) = set.targets.iter().cloned().partition(|target| {
            listeners.iter().any(|listener| host::is_listener(&target.host, target.port, *listener))
        });
        for target in &ours {
            if refused.insert(target.origin.key) {
                let (job, url) = (target.job(), &target.origin.url);
                tracing::warn!(
                    job,
                    url,
                    "a target is promferry's own endpoint, and is not scraped: it would feed on itself"
                );
            }
        }
        others.into()
    };
    let first = look(&targets.borrow_and_update(), &listeners.borrow_and_update());
    let (publish, sifted) = watch::channel(first);
    tokio::spawn(async move {
        loop {
            let is_over = tokio::select! {
                changed = targets.changed() => changed.is_err(),
                changed = listeners.changed() => changed.is_err(),
                () = publish.closed() => true,
            };
            if is_over {
                return;
            }
            let next = look(&targets.borrow_and_update(), &listeners.borrow_and_update());
            publish.send_replace(next);
        }
    });
    sifted
}
