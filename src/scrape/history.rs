//! A target's last scrapes, for the small picture of them on a page.

/// Scrapes that are kept for a target.
pub const HISTORY_MAX: usize = 60;

/// One scrape that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How long it took, in milliseconds.
    pub millis: u32,
    /// Samples after relabelling; `None` where it failed.
    pub samples: Option<u32>,
}

/// The last [`HISTORY_MAX`] scrapes; 8 bytes each, and nothing before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// A ring once it is full; `samples` is [`FAILED`] for a scrape that failed.
    marks: Vec<(u32, u32)>,
    next: usize,
}

const FAILED: u32 = u32::MAX;

impl History {
    /// Adds a scrape; the oldest goes where there are too many.
    pub(super) fn add(&mut self, mark: Mark) {
        let kept = (mark.millis, mark.samples.map_or(FAILED, |samples| samples.min(FAILED - 1)));
        match self.marks.get_mut(self.next) {
            Some(oldest) => *oldest = kept,
            None => {
                // Four at a time: most of the room that doubling takes would never be used.
                self.marks.reserve_exact(if self.marks.len() == self.marks.capacity() { 4 } else { 0 });
                self.marks.push(kept);
            }
        }
        self.next = (self.next + 1) % HISTORY_MAX;
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<Mark> {
        let (newer, older) = self.marks.split_at(self.next.min(self.marks.len()));
        let mark = |&(millis, samples): &(u32, u32)| Mark { millis, samples: (samples != FAILED).then_some(samples) };
        older.iter().chain(newer).map(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sixty_are_kept_in_order() {
        let mut history = History::default();
        assert_eq!(history.all(), []);
        for millis in 0..150 {
            history.add(Mark { millis, samples: (millis % 2 == 0).then_some(u32::MAX) });
            let kept = history.all();
            assert_eq!(kept.len(), HISTORY_MAX.min(millis as usize + 1));
            assert_eq!(kept.last().unwrap().millis, millis);
            assert!(kept.is_sorted_by_key(|mark| mark.millis));
        }
        assert_eq!(history.all()[58], Mark { millis: 148, samples: Some(u32::MAX - 1) });
        assert_eq!(history.all()[59], Mark { millis: 149, samples: None });
    }
}
