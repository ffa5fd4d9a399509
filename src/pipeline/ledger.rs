//! One output's account of every sample it was handed.
//!
//! Invariant, in every snapshot:
//! `offered + restored = delivered + duplicate + rejected + dropped + skipped + waiting`.
//!
//! It is kept by construction: samples are offered only against a [`Waiting`] token, and a token can only be settled,
//! divided, joined, or, when code fails to do either, dropped, which counts them as `dropped{abandoned}`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::recent::{Recent, Step};
use crate::telemetry::Recurrence;

/// Samples by reason.
pub type Reasons = BTreeMap<&'static str, u64>;

/// The reasons that the pipeline itself gives; outputs add their own.
pub mod reason {
    /// Skipped: not a number, and the receiver has no way to say so.
    pub const NAN: &str = "nan";
    /// Skipped: an infinity, and the receiver has no way to say so.
    pub const INFINITE: &str = "infinite";
    /// Skipped: a stale marker, which the receiver has no notion of.
    pub const STALE_MARKER: &str = "stale_marker";
    /// Skipped: `write_relabel_configs` dropped the series.
    pub const WRITE_RELABEL: &str = "write_relabel";
    /// Skipped: the receiver has no such type.
    pub const UNSUPPORTED_TYPE: &str = "unsupported_type";
    /// Skipped: the first sample of a counter, to a receiver that is sent by how much counters rise.
    pub const FIRST_DELTA: &str = "first_delta";
    /// Dropped: the queue was full.
    pub const QUEUE_FULL: &str = "queue_full";
    /// Dropped: the process reached its `memory_limit`.
    pub const MEMORY: &str = "memory";
    /// Dropped: the queue was full, and the disk did not take what waits.
    pub const DISK_FULL: &str = "disk_full";
    /// Dropped: what is on disk cannot be read back.
    pub const CORRUPT: &str = "corrupt";
    /// Dropped: waited longer than `max_age`.
    pub const TOO_OLD: &str = "too_old";
    /// Dropped: still waiting when the shutdown's deadline came.
    pub const SHUTDOWN: &str = "shutdown";
    /// Dropped: the program failed to say what became of them. A bug.
    pub const ABANDONED: &str = "abandoned";
    /// Rejected: one item alone is larger than the receiver takes.
    pub const TOO_LARGE: &str = "too_large";
    /// Rejected: the receiver says how many it refused, and not which.
    pub const PARTIAL_UNATTRIBUTED: &str = "partial_unattributed";
}

/// What became of samples that were waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The receiver has them.
    pub delivered: u64,
    /// The receiver had them already.
    pub duplicate: Reasons,
    /// The receiver refused them for good.
    pub rejected: Reasons,
    /// Let go by a policy of ours: loss.
    pub dropped: Reasons,
    /// Not for this receiver: no loss.
    pub skipped: Reasons,
}

impl Settlement {
    /// All `samples` delivered.
    pub fn delivered(samples: u64) -> Self {
        Self { delivered: samples, ..Self::default() }
    }

    /// All `samples` dropped for one reason.
    pub fn dropped(reason: &'static str, samples: u64) -> Self {
        Self { dropped: Reasons::from([(reason, samples)]), ..Self::default() }
    }

    /// How many samples it is about.
    pub fn total(&self) -> u64 {
        self.had() + self.lost() + sum(&self.skipped)
    }

    /// How many the receiver has: delivered, and duplicates.
    pub fn had(&self) -> u64 {
        self.delivered + sum(&self.duplicate)
    }

    /// How many are lost: rejected and dropped.
    pub fn lost(&self) -> u64 {
        sum(&self.rejected) + sum(&self.dropped)
    }
}

fn sum(reasons: &Reasons) -> u64 {
    reasons.values().sum()
}

/// A snapshot of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to this output after the fan-out.
    pub offered: u64,
    /// Found on disk at start.
    pub restored: u64,
    /// What became of them.
    pub settled: Settlement,
    /// In the queue, on disk, or being sent.
    pub waiting: u64,
    /// Outside of the equation: delivered by a resend, and the receiver may have had them already and cannot tell.
    pub maybe_doubled: u64,
}

impl Counts {
    /// What the equation's left side has more than its right one: zero, always.
    pub fn imbalance(&self) -> i128 {
        i128::from(self.offered) + i128::from(self.restored)
            - i128::from(self.settled.total())
            - i128::from(self.waiting)
    }
}

/// One output's account.
#[derive(Debug)]
pub struct Ledger {
    output: String,
    state: Mutex<State>,
    /// Loss for each reason is logged when it begins, and again when there was none for a while; so are native histograms that
    /// an output cannot express.
    losses: Mutex<BTreeMap<&'static str, Recurrence>>,
    is_ending: AtomicBool,
}

/// Since when samples count as waiting is told apart by this: it bounds how many different times are kept.
const AGE_STEP: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct State {
    counts: Counts,
    recent: Recent,
    /// How many wait since when, none of them zero: together `counts.waiting`.
    ages: BTreeMap<Instant, u64>,
    began: Instant,
}

impl State {
    fn new() -> Self {
        let began = Instant::now();
        Self { counts: Counts::default(), recent: Recent::new(began), ages: BTreeMap::new(), began }
    }

    /// Adds samples that wait since then. Gives the time under which they are kept: not later, and less than an
    /// [`AGE_STEP`] before it.
    fn wait(&mut self, samples: u64, since: Instant) -> Instant {
        let beyond = since.saturating_duration_since(self.began).as_nanos() % AGE_STEP.as_nanos();
        let since = since - Duration::from_nanos(beyond as u64);
        if samples > 0 {
            self.counts.waiting += samples;
            *self.ages.entry(since).or_default() += samples;
        }
        since
    }

    /// Takes out samples that wait since then.
    fn end_wait(&mut self, samples: u64, since: Instant) {
        self.counts.waiting -= samples;
        if let Some(left) = self.ages.get_mut(&since) {
            *left = left.saturating_sub(samples);
            if *left == 0 {
                self.ages.remove(&since);
            }
        }
    }
}

impl Ledger {
    /// An empty account of the output of this name.
    pub fn new(output: &str) -> Arc<Self> {
        Arc::new(Self {
            output: output.to_owned(),
            state: Mutex::new(State::new()),
            losses: Mutex::default(),
            is_ending: AtomicBool::new(false),
        })
    }

    /// The shutdown's deadline has passed: what is let go from now on counts as `dropped{shutdown}`.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Whether loss for `reason`, or what is skipped for it, is news.
    pub(super) fn is_new_loss(&self, reason: &'static str) -> bool {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default().is_news()
    }

    /// Takes `samples` in; they wait until the token is settled.
    pub fn offer(self: &Arc<Self>, samples: u64) -> Waiting {
        let mut state = self.lock();
        state.counts.offered += samples;
        let since = state.wait(samples, Instant::now());
        Waiting { ledger: self.clone(), samples, since }
    }

    /// Takes in `samples` that were found on disk and wait `since` then; they wait until the token is settled.
    pub fn restore(self: &Arc<Self>, samples: u64, since: Instant) -> Waiting {
        let mut state = self.lock();
        state.counts.restored += samples;
        let since = state.wait(samples, since);
        Waiting { ledger: self.clone(), samples, since }
    }

    /// So many delivered samples may be stored twice.
    pub(super) fn maybe_doubled(&self, samples: u64) {
        self.lock().counts.maybe_doubled += samples;
    }

    /// All counts at one moment.
    pub fn snapshot(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// What became of samples lately, in steps of [`STEP`](super::recent::STEP), oldest first; the last one is not over. At most
    /// [`STEPS_MAX`](super::recent::STEPS_MAX), fewer after the start.
    pub fn recent(&self) -> Vec<Step> {
        self.lock().recent.steps(Instant::now())
    }

    /// How long the sample has waited that has waited longest: in the queue, in a request that is under way, is to be sent
    /// again, or is not confirmed, and on disk, where time before a restart counts too, by the wall clock. `None` where none waits.
    ///
    /// Samples that are sent together count as old as the oldest of them until the last of them is settled, and all as up to a
    /// tenth of a second older than they are.
    pub fn waited(&self) -> Option<Duration> {
        let state = self.lock();
        let (oldest, _) = state.ages.first_key_value()?;
        Some(oldest.elapsed())
    }

    fn settle(&self, settlement: &Settlement, since: Instant) {
        for (reason, samples) in settlement.dropped.iter().filter(|(_, samples)| **samples > 0) {
            if self.is_new_loss(reason) {
                tracing::error!(output = self.output, samples, reason, why = explain(reason), "samples dropped");
            }
        }
        let unsupported = settlement.skipped.get(reason::UNSUPPORTED_TYPE).copied().unwrap_or(0);
        if unsupported > 0 && self.is_new_loss(reason::UNSUPPORTED_TYPE) {
            tracing::warn!(
                output = self.output,
                samples = unsupported,
                remedy =
                    "always_scrape_classic_histograms: true gives their classic buckets too, where the target has them",
                "native histograms are skipped: this output cannot express them"
            );
        }
        let now = Instant::now();
        let mut state = self.lock();
        state.end_wait(settlement.total(), since);
        state.recent.count(settlement, now);
        let settled = &mut state.counts.settled;
        settled.delivered += settlement.delivered;
        for (into, from) in [
            (&mut settled.duplicate, &settlement.duplicate),
            (&mut settled.rejected, &settlement.rejected),
            (&mut settled.dropped, &settlement.dropped),
            (&mut settled.skipped, &settlement.skipped),
        ] {
            for (reason, samples) in from.iter().filter(|(_, samples)| **samples > 0) {
                *into.entry(reason).or_default() += samples;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made of additions that cannot panic half-way, so a poisoned lock holds sound counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why samples are dropped for a reason, and what would help.
fn explain(reason: &str) -> &'static str {
    match reason {
        reason::QUEUE_FULL => {
            "the queue is full: the output takes less than is scraped; see its errors, or raise queue.max_samples and queue.max_bytes"
        }
        reason::MEMORY => "the process has reached global.memory_limit; what waits longest goes first",
        reason::DISK_FULL => {
            "the queue is full and the disk did not take what waits; see the output's errors, and queue.disk"
        }
        reason::CORRUPT => "they were on disk and cannot be read back",
        reason::TOO_OLD => "they waited longer than queue.max_age",
        reason::SHUTDOWN => "they were still waiting when shutdown_timeout had passed",
        reason::ABANDONED => "the program lost track of them; this is a bug",
        _ => "",
    }
}

/// Samples that were offered and are not settled. Whoever holds the token holds the samples.
#[derive(Debug)]
#[must_use = "samples that are let go without being settled count as abandoned"]
pub struct Waiting {
    ledger: Arc<Ledger>,
    samples: u64,
    /// Since when the oldest of them waits.
    since: Instant,
}

impl Waiting {
    /// How many samples it stands for.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Says what became of some of them. More than there are is a bug: a debug build stops, a release build settles none
    /// of them here, and the rest counts as abandoned.
    pub fn settle(&mut self, settlement: &Settlement) {
        let total = settlement.total();
        debug_assert!(total <= self.samples, "settled {total} samples of {}", self.samples);
        if total <= self.samples {
            self.samples -= total;
            self.ledger.settle(settlement, self.since);
        }
    }

    /// Drops all of them for one reason.
    pub fn drop_all(mut self, reason: &'static str) {
        let settlement = Settlement::dropped(reason, self.samples);
        self.settle(&settlement);
    }

    /// They stay where they are, on disk: they wait beyond the end of this process.
    pub fn leave(mut self) {
        self.samples = 0;
    }

    /// Takes `samples` of them out into a token of their own (all of them, where there are fewer).
    pub fn take(&mut self, samples: u64) -> Waiting {
        let samples = samples.min(self.samples);
        self.samples -= samples;
        Waiting { ledger: self.ledger.clone(), samples, since: self.since }
    }

    /// Joins another token of the same ledger to this one.
    pub fn join(&mut self, mut other: Waiting) {
        debug_assert!(Arc::ptr_eq(&self.ledger, &other.ledger), "tokens of two ledgers");
        let joined = std::mem::take(&mut other.samples);
        let oldest = self.since.min(other.since);
        if self.since != other.since {
            let mut state = self.ledger.lock();
            for (samples, since) in [(self.samples, self.since), (joined, other.since)] {
                state.end_wait(samples, since);
                state.wait(samples, oldest);
            }
        }
        self.samples += joined;
        self.since = oldest;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.samples > 0 {
            let is_ending = self.ledger.is_ending.load(Ordering::Relaxed);
            let reason = if is_ending { reason::SHUTDOWN } else { reason::ABANDONED };
            self.ledger.settle(&Settlement::dropped(reason, self.samples), self.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_settled_or_waits_or_is_abandoned() {
        let ledger = Ledger::new("test");
        let mut all = ledger.offer(10);
        let part = all.take(4);
        all.settle(&Settlement { delivered: 3, skipped: Reasons::from([(reason::NAN, 2)]), ..Settlement::default() });
        let counts = ledger.snapshot();
        assert_eq!((counts.offered, counts.waiting, counts.imbalance()), (10, 5, 0));
        part.drop_all(reason::TOO_OLD);
        drop(all);
        let counts = ledger.snapshot();
        assert_eq!(counts.settled.dropped, Reasons::from([(reason::TOO_OLD, 4), (reason::ABANDONED, 1)]));
        assert_eq!((counts.waiting, counts.imbalance()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sample_that_waits_longest_tells_the_age() {
        let ledger = Ledger::new("test");
        assert_eq!(ledger.waited(), None);
        let second = Duration::from_secs(1);
        let mut first = ledger.offer(10);
        drop(ledger.offer(0));
        tokio::time::advance(second).await;
        let later = ledger.offer(5);
        tokio::time::advance(second).await;
        assert_eq!(ledger.waited(), Some(2 * second));
        // A part is as old as the whole.
        let part = first.take(4);
        first.drop_all(reason::QUEUE_FULL);
        assert_eq!(ledger.waited(), Some(2 * second));
        // Joined, all are as old as the oldest, whichever way round.
        let mut both = later;
        both.join(part);
        both.settle(&Settlement::delivered(8));
        assert_eq!((ledger.waited(), ledger.snapshot().waiting), (Some(2 * second), 1));
        let newest = ledger.offer(1);
        both.settle(&Settlement::delivered(1));
        assert_eq!(ledger.waited(), Some(Duration::ZERO));
        // What a run before wrote down is older than the ledger.
        let restored = ledger.restore(3, Instant::now() - 60 * second);
        assert_eq!(ledger.waited(), Some(60 * second));
        restored.drop_all(reason::TOO_OLD);
        newest.drop_all(reason::TOO_OLD);
        assert_eq!((ledger.waited(), ledger.lock().ages.len()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_in_which_nothing_happened_is_a_zero() {
        let ledger = Ledger::new("test");
        ledger.offer(4).drop_all(reason::QUEUE_FULL);
        let mut waiting = ledger.offer(3);
        tokio::time::advance(Duration::from_secs(25)).await;
        waiting.settle(&Settlement::delivered(3));
        let lost = Step { delivered: 0, lost: 4 };
        assert_eq!(ledger.recent(), [lost, Step::default(), Step { delivered: 3, lost: 0 }]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ledger.recent().len(), 4);
    }
}
