//! Requests that a receiver has accepted and must yet confirm.
//!
//! They are asked about by a task of their own, so that a lane that waits for something else does not let the receiver forget
//! them. What is confirmed is delivered; what is not by the output's timeout goes back to its lane and is sent again, as a
//! resend: the receiver may have it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Output, Receipt, Shared, Stop};
use crate::pipeline::batch::Batch;
use crate::pipeline::ledger::Settlement;

/// The first question comes so long after a request; each one that brings nothing doubles it.
const ASK_AFTER: Duration = Duration::from_secs(1);
const ASK_AFTER_MAX: Duration = Duration::from_secs(10);

/// Receipts in one question, at most.
const RECEIPTS_MAX: usize = 500;

/// The requests of one output that are not confirmed.
#[derive(Default)]
pub(super) struct Unconfirmed {
    held: Mutex<Vec<Held>>,
    added: Notify,
    ids: AtomicU64,
}

struct Held {
    /// Its own: a receiver may give a number twice.
    id: u64,
    lane: usize,
    url: usize,
    receipt: Receipt,
    batch: Batch,
    since: Instant,
}

#[derive(Default)]
struct Question {
    ids: Vec<u64>,
    receipts: Vec<Receipt>,
}

impl Unconfirmed {
    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, is_meant: impl Fn(&Held) -> bool) -> Vec<Held> {
        self.lock().extract_if(.., |held| is_meant(held)).collect()
    }

    /// What to ask whom: ids and receipts by receiver and route.
    fn questions(&self) -> BTreeMap<(usize, String), Question> {
        let mut questions = BTreeMap::<_, Question>::new();
        for held in self.lock().iter() {
            let question = questions.entry((held.url, held.receipt.route.clone())).or_default();
            if question.ids.len() < RECEIPTS_MAX {
                question.ids.push(held.id);
                question.receipts.push(held.receipt.clone());
            }
        }
        questions
    }
}

impl<O: Output> Shared<O> {
    /// Holds a batch until it is confirmed.
    pub(super) fn hold_unconfirmed(&self, lane: usize, url: usize, receipt: Receipt, batch: Batch) {
        self.backlogs[lane].count_unconfirmed(1);
        let id = self.unconfirmed.ids.fetch_add(1, Relaxed);
        self.unconfirmed.lock().push(Held { id, lane, url, receipt, batch, since: Instant::now() });
        self.unconfirmed.added.notify_one();
    }
}

/// Asks until the deadline comes or no worker is left; then what is not confirmed is stowed away.
pub(super) async fn confirm<O: Output>(shared: Arc<Shared<O>>, stop: Stop, timeout: Duration) {
    let shared = &*shared;
    let ended = async || {
        tokio::select! {
            () = stop.deadline() => {}
            () = shared.is_over() => {}
        }
    };
    let mut pause = ASK_AFTER;
    loop {
        let is_empty = shared.unconfirmed.lock().is_empty();
        let wait = async {
            match is_empty {
                true => shared.unconfirmed.added.notified().await,
                false => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = ended() => break,
        }
        if is_empty {
            pause = ASK_AFTER;
            continue;
        }
        let confirmed = tokio::select! {
            confirmed = ask(shared) => confirmed,
            () = ended() => break,
        };
        pause = if confirmed > 0 { ASK_AFTER } else { (pause * 2).min(ASK_AFTER_MAX) };
        give_up_old(shared, timeout);
    }
    for held in shared.unconfirmed.take(|_| true) {
        shared.backlogs[held.lane].stow(resend(held.batch)).await;
        shared.backlogs[held.lane].count_unconfirmed(-1);
    }
}

/// Asks about all of them once. Returns how many are confirmed.
async fn ask<O: Output>(shared: &Shared<O>) -> usize {
    let mut confirmed = 0;
    for ((url, _), question) in shared.unconfirmed.questions() {
        let answers = match shared.output.confirm(url, &question.receipts).await {
            Ok(answers) => answers,
            Err(failure) => {
                let message = format!("{}: {}", shared.urls[url], failure.message);
                shared.health().failed(failure.kind, &message, shared.queue.ledger().snapshot().waiting);
                continue;
            }
        };
        let stored: HashSet<u64> =
            question.ids.into_iter().zip(answers).filter(|(_, is_stored)| *is_stored).map(|(id, _)| id).collect();
        // This may be cancelled at an `await`: there is none between taking a batch and settling it.
        let mut lanes = BTreeSet::new();
        for held in shared.unconfirmed.take(|held| stored.contains(&held.id)) {
            confirmed += 1;
            lanes.extend(held.batch.record.is_some().then_some(held.lane));
            settle(shared, held);
        }
        for lane in lanes {
            shared.backlogs[lane].maintain().await;
        }
    }
    confirmed
}

fn settle<O: Output>(shared: &Shared<O>, held: Held) {
    let Held { lane, mut batch, .. } = held;
    let samples = batch.waiting.samples();
    shared.count_doubled(&batch, samples);
    batch.settle(&Settlement::delivered(samples));
    shared.health().delivered();
    shared.health().settled();
    shared.backlogs[lane].count_unconfirmed(-1);
}

/// What was not confirmed in time is sent again.
fn give_up_old<O: Output>(shared: &Shared<O>, timeout: Duration) {
    for held in shared.unconfirmed.take(|held| held.since.elapsed() >= timeout) {
        let message = format!(
            "{}: did not confirm within {} s that a request is stored; it is sent again, and may be stored twice",
            shared.urls[held.url],
            timeout.as_secs()
        );
        shared.health().failed("unconfirmed", &message, shared.queue.ledger().snapshot().waiting);
        let backlog = &shared.backlogs[held.lane];
        backlog.give_back(resend(held.batch));
        backlog.count_unconfirmed(-1);
    }
}

/// The receiver may have it.
fn resend(mut batch: Batch) -> Batch {
    batch.attempt.number += 1;
    batch.attempt.is_maybe_resend = true;
    batch
}
