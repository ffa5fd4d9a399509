//! Which of several receivers is asked next.

use std::time::Duration;

use tokio::time::Instant;

/// Receivers by index; one that failed is set aside for a while, longer each time.
pub(super) struct Endpoints {
    next: usize,
    states: Vec<State>,
}

#[derive(Clone, Copy)]
struct State {
    aside_until: Option<Instant>,
    failures: u32,
}

const ASIDE_FIRST: Duration = Duration::from_secs(1);
const ASIDE_MAX: Duration = Duration::from_secs(60);

impl Endpoints {
    pub(super) fn new(count: usize) -> Self {
        Self { next: 0, states: vec![State { aside_until: None, failures: 0 }; count.max(1)] }
    }

    /// The next one in turn that is not set aside, or, where all are, the one that comes back first.
    pub(super) fn pick(&mut self) -> usize {
        let now = Instant::now();
        let count = self.states.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        let is_ready = |at: &usize| self.states[*at].aside_until.is_none_or(|until| until <= now);
        let picked = in_turn.clone().find(is_ready).or_else(|| in_turn.min_by_key(|&at| self.states[at].aside_until));
        let picked = picked.unwrap_or(0);
        self.next = (picked + 1) % count;
        picked
    }

    /// It answered.
    pub(super) fn succeeded(&mut self, at: usize) {
        self.states[at] = State { aside_until: None, failures: 0 };
    }

    /// It did not answer, or said that it cannot now, and perhaps for how long. Returns whether another one is ready.
    pub(super) fn failed(&mut self, at: usize, retry_after: Option<Duration>) -> bool {
        let now = Instant::now();
        let state = &mut self.states[at];
        let aside = ASIDE_FIRST.saturating_mul(1 << state.failures.min(10)).min(ASIDE_MAX);
        let aside = retry_after.map_or(aside, |asked| asked.max(aside));
        *state = State { aside_until: Some(now + aside), failures: state.failures.saturating_add(1) };
        self.states.iter().any(|state| state.aside_until.is_none_or(|until| until <= now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_one_is_set_aside_and_comes_back() {
        let mut endpoints = Endpoints::new(2);
        assert_eq!((endpoints.pick(), endpoints.pick()), (0, 1));
        assert!(endpoints.failed(0, None), "the other one is ready");
        assert_eq!((endpoints.pick(), endpoints.pick()), (1, 1));
        assert!(!endpoints.failed(1, None), "none is ready");
        tokio::time::advance(ASIDE_FIRST).await;
        assert_eq!((endpoints.pick(), endpoints.pick()), (0, 1));
    }
}
