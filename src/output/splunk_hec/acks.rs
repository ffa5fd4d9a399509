//! Which acknowledgement numbers are out, and which of them cannot be told apart.
//!
//! A number belongs to a channel on one indexer, and says nothing of which. When the same number is given twice while the
//! first is out, there are two indexers behind one address without a cookie that leads back to one of them, or an indexer
//! has begun to count anew. The answer about that number could then be about the other request, and a batch would count as
//! delivered that is not: such numbers are never confirmed, their batches are sent again after `ack_timeout`, and from then on each request has a
//! channel of its own, in which there is one number only.
//!
//! Bounded: a number is forgotten after [`KEPT`], and there are [`NUMBERS_MAX`] at most.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::Receipt;

/// A number is out for so much longer than it is waited for.
const KEPT: Duration = Duration::from_secs(60);

/// Numbers that are out at most; more of them are never confirmed.
const NUMBERS_MAX: usize = 16_384;

/// The numbers that are out.
#[derive(Debug)]
pub(super) struct Acks {
    /// A number is out for so long.
    kept: Duration,
    /// By receiver, number and route.
    numbers: HashMap<(usize, u64, String), Out>,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    until: Instant,
    is_ambiguous: bool,
}

impl Acks {
    /// None is out; each will be waited for for so long.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { kept: timeout + KEPT, numbers: HashMap::new() }
    }

    /// The receiver with this index has given a receipt. Returns whether its number can be told from all that are out.
    pub(super) fn given(&mut self, url: usize, receipt: &Receipt) -> bool {
        let now = Instant::now();
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.retain(|_, out| out.until > now);
        }
        let is_full = self.numbers.len() >= NUMBERS_MAX;
        let until = now + self.kept;
        match self.numbers.get_mut(&key(url, receipt)) {
            Some(out) => {
                let is_ambiguous = out.until > now;
                *out = Out { until, is_ambiguous };
                !is_ambiguous
            }
            None if is_full => false,
            None => {
                self.numbers.insert(key(url, receipt), Out { until, is_ambiguous: false });
                true
            }
        }
    }

    /// Whether the answer about a number is about one request alone.
    pub(super) fn is_known(&self, url: usize, receipt: &Receipt) -> bool {
        self.numbers.get(&key(url, receipt)).is_some_and(|out| !out.is_ambiguous)
    }

    /// A number was confirmed, and may be given again.
    pub(super) fn confirmed(&mut self, url: usize, receipt: &Receipt) {
        self.numbers.remove(&key(url, receipt));
    }
}

fn key(url: usize, receipt: &Receipt) -> (usize, u64, String) {
    (url, receipt.number, receipt.route.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(number: u64, route: &str) -> Receipt {
        Receipt { number, route: route.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_given_twice_is_never_confirmed() {
        let mut acks = Acks::new(Duration::from_secs(300));
        assert!(acks.given(0, &receipt(0, "")) && acks.given(0, &receipt(1, "")));
        assert!(acks.given(1, &receipt(0, "")) && acks.given(0, &receipt(0, "indexer=b")), "these are others");
        assert!(acks.is_known(0, &receipt(0, "")));
        assert!(!acks.given(0, &receipt(0, "")), "without a confirmation in between");
        assert!(!acks.is_known(0, &receipt(0, "")) && acks.is_known(0, &receipt(1, "")));
        acks.confirmed(0, &receipt(1, ""));
        assert!(acks.given(0, &receipt(1, "")), "an indexer counts anew");
        tokio::time::advance(Duration::from_secs(361)).await;
        assert!(acks.given(0, &receipt(0, "")), "nobody waits for the old one any more");
        assert!(!acks.is_known(0, &receipt(9, "")));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many() {
        let mut acks = Acks::new(Duration::from_secs(300));
        assert!((0..NUMBERS_MAX as u64).all(|number| acks.given(0, &receipt(number, ""))));
        assert!(!acks.given(0, &receipt(u64::MAX, "")) && !acks.is_known(0, &receipt(u64::MAX, "")));
        tokio::time::advance(Duration::from_secs(361)).await;
        assert!(acks.given(0, &receipt(u64::MAX, "")));
    }
}
