//! How the sending of what waited on disk goes on, for the log: it may take hours, and whoever waits for it wants to know.
//!
//! Only what takes longer than [`FIRST_AFTER`] is told of; then every [`EVERY`], and at its end. Nothing runs for it: it is looked
//! at when a batch from disk is done.

use std::time::Duration;

use tokio::time::Instant;

/// From the first batch to the first line.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// From line to line.
const EVERY: Duration = Duration::from_secs(30);

/// What an output sends from its disk, since it began to.
#[derive(Debug, Default)]
pub(super) struct Replay(Option<Going>);

#[derive(Debug)]
struct Going {
    began: Instant,
    /// What was left then.
    left: u64,
    sent: u64,
    next_line: Instant,
    is_told: bool,
}

/// What is worth a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It goes on.
    Going {
        /// Samples a second, since it began.
        rate: u64,
        /// As what is left became less so far; `None` while it does not, because more comes than is sent.
        seconds_left: Option<u64>,
    },
    /// Nothing is left on disk.
    Over {
        /// Samples since it began.
        sent: u64,
        /// Since it began.
        took: Duration,
    },
}

impl Replay {
    /// A batch from disk is done; `left` samples are there still. `has_failed`: not at the first try, so it begins anew.
    pub(super) fn note(&mut self, samples: u64, left: u64, has_failed: bool) -> Option<News> {
        let now = Instant::now();
        let is_told = self.0.as_ref().is_some_and(|going| going.is_told);
        if has_failed {
            self.0 = None;
        }
        let fresh = Going { began: now, left, sent: 0, next_line: now + FIRST_AFTER, is_told };
        let going = self.0.get_or_insert(fresh);
        going.sent += samples;
        let (took, sent) = (now - going.began, going.sent);
        if left == 0 {
            let is_told = going.is_told;
            self.0 = None;
            return is_told.then_some(News::Over { sent, took });
        }
        if now < going.next_line {
            return None;
        }
        (going.is_told, going.next_line) = (true, now + EVERY);
        let became_less = going.left.saturating_sub(left) as f64 / took.as_secs_f64();
        let seconds_left = (became_less > 0.0).then(|| (left as f64 / became_less) as u64);
        Some(News::Going { rate: (sent as f64 / took.as_secs_f64()) as u64, seconds_left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_told_of_and_its_end_too() {
        let mut replay = Replay::default();
        let mut left = 100_000;
        let mut told = Vec::new();
        while left > 0 {
            tokio::time::advance(Duration::from_secs(1)).await;
            left -= 1000;
            told.extend(replay.note(1000, left, false).map(|news| (left, news)));
        }
        // The first batch is done at second 0.
        let going = |left, rate, seconds_left| (left, News::Going { rate, seconds_left: Some(seconds_left) });
        assert_eq!(
            told,
            [
                going(89_000, 1100, 89),
                going(59_000, 1025, 59),
                going(29_000, 1014, 29),
                (0, News::Over { sent: 100_000, took: Duration::from_secs(99) })
            ]
        );
        assert_eq!(replay.note(5, 0, false), None, "what is over at once is not told of");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_since_the_receiver_was_last_back() {
        let mut replay = Replay::default();
        assert_eq!(replay.note(10, 990, false), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(replay.note(10, 980, true), None, "an hour without it");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(replay.note(10, 970, false), Some(News::Going { rate: 2, seconds_left: Some(970) }));
        tokio::time::advance(Duration::from_secs(30)).await;
        let more = Some(News::Going { rate: 0, seconds_left: None });
        assert_eq!(replay.note(10, 2000, false), more, "more comes than is sent");
        assert_eq!(replay.note(970, 0, true), Some(News::Over { sent: 970, took: Duration::ZERO }));
    }
}
