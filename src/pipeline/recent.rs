//! What became of an output's samples lately, in steps of ten seconds: enough for a small picture of the last ten minutes.
//!
//! It is brought up to date when something is settled and when somebody asks, and never by a timer: an idle process sleeps.
//! Steps are counted on the monotonic clock from the ledger's beginning, so a wall clock that is set makes no gap.
//!
//! Invariant: `steps` holds the step `newest` and those right before it, without a gap, [`STEPS_MAX`] at most.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::Settlement;

/// How long a step is.
pub const STEP: Duration = Duration::from_secs(10);

/// How many steps are kept: the last one, which is not over, and those before.
pub const STEPS_MAX: usize = 60;

/// Samples that were settled within [`STEP`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The receiver took them, or had them.
    pub delivered: u64,
    /// Rejected or dropped.
    pub lost: u64,
}

/// The last steps of one output.
#[derive(Debug)]
pub(super) struct Recent {
    /// When the step with the number 0 began.
    began: Instant,
    /// The number of the last of `steps`.
    newest: u64,
    steps: VecDeque<Step>,
}

impl Recent {
    /// Begins with the first step, at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, newest: 0, steps: VecDeque::from([Step::default()]) }
    }

    /// Counts what became of samples at `now`.
    pub(super) fn count(&mut self, settlement: &Settlement, now: Instant) {
        let step = Step { delivered: settlement.had(), lost: settlement.lost() };
        if step == Step::default() {
            return;
        }
        self.advance(now);
        if let Some(last) = self.steps.back_mut() {
            last.delivered += step.delivered;
            last.lost += step.lost;
        }
    }

    /// The steps up to `now`, oldest first.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        self.advance(now);
        self.steps.iter().copied().collect()
    }

    fn advance(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.began).as_secs() / STEP.as_secs();
        // After a long sleep nothing of what was is left.
        for _ in 0..number.saturating_sub(self.newest).min(STEPS_MAX as u64) {
            if self.steps.len() == STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back(Step::default());
        }
        self.newest = number.max(self.newest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Reasons;
    use super::*;

    #[test]
    fn steps_are_counted_over_gaps_and_the_oldest_go() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut recent = Recent::new(start);
        let step = |delivered, lost| Step { delivered, lost };
        let delivered = Settlement {
            delivered: 3,
            duplicate: Reasons::from([("resend", 1)]),
            skipped: Reasons::from([("nan", 100)]),
            ..Settlement::default()
        };
        let lost = Settlement {
            rejected: Reasons::from([("a", 1), ("b", 2)]),
            dropped: Reasons::from([("c", 4)]),
            ..Settlement::default()
        };
        recent.count(&delivered, start);
        recent.count(&lost, after(9));
        recent.count(&delivered, after(10));
        // What only was skipped is neither.
        recent.count(&Settlement { skipped: Reasons::from([("nan", 1)]), ..Settlement::default() }, after(15));
        assert_eq!(recent.steps(after(19)), [step(4, 7), step(4, 0)]);
        recent.count(&lost, after(45));
        assert_eq!(recent.steps(after(55)), [step(4, 7), step(4, 0), step(0, 0), step(0, 0), step(0, 7), step(0, 0)]);

        let full = recent.steps(after(599));
        assert_eq!((full.len(), full[0], full[4]), (STEPS_MAX, step(4, 7), step(0, 7)));
        let moved = recent.steps(after(600));
        assert_eq!((moved.len(), moved[0], moved[3]), (STEPS_MAX, step(4, 0), step(0, 7)));
        // A clock that seems to go back changes nothing; a very long sleep leaves zeros.
        assert_eq!(recent.steps(after(300)), moved);
        assert_eq!(recent.steps(after(1_000_000_000)), [step(0, 0); STEPS_MAX]);
    }
}
