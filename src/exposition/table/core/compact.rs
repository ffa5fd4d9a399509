//! How garbage leaves a table.

use super::super::intern::NONE;
use super::super::lines::{Line, What};
use super::Core;

/// Lines or series that may be garbage before a table is made anew, beyond as many as are in use.
const GARBAGE_MIN: usize = 1024;

impl Core {
    /// Makes the table anew when most of it is garbage. Between scrapes. The target's own series stay, whose numbers change.
    pub(in super::super) fn compact_if_due<'r>(&mut self, reports: impl Iterator<Item = &'r mut u32>) {
        let fade = |peak: usize, now: usize| now.max(peak - peak / 8);
        let reports: Vec<&mut u32> = reports.collect();
        let used_series = self.samples.live_count() + reports.len();
        self.peak_lines = fade(self.peak_lines, self.lines.order_len());
        self.peak_series = fade(self.peak_series, used_series.max(self.lines.order_len()));
        let contexts_due = self.contexts.len() > 2 * self.peak_lines + GARBAGE_MIN;
        let series_due = self.interner.series_len() > 2 * self.peak_series + GARBAGE_MIN;
        if contexts_due || series_due {
            self.compact(reports);
        }
    }

    fn compact(&mut self, reports: Vec<&mut u32>) {
        let mut is_kept = vec![false; self.interner.series_len()];
        let mut is_comment_kept = vec![false; self.contexts.comments()];
        for line in self.lines.last() {
            if let Some(series) = line.what.series() {
                is_kept[self.samples.slot_of(series) as usize] = true;
            } else if let Some(comment) = line.what.comment_number() {
                is_comment_kept[comment as usize] = true;
            }
        }
        for report in &reports {
            is_kept[self.samples.slot_of(**report) as usize] = true;
        }
        let samples = &self.samples;
        let numbers = self.interner.compact(|series| samples.is_kept(series, |slot| is_kept[slot as usize]));
        let comments = self.contexts.compact(|comment| is_comment_kept[comment as usize]);
        self.lines.compact(|line| {
            let what = match (line.what.series(), line.what.comment_number()) {
                // A line that stands for a series' former metadata goes with them.
                (Some(series), _) if numbers[series as usize] == NONE => return None,
                (Some(series), _) => {
                    What::sample(numbers[series as usize], line.what.is_histogram(), line.what.is_timed())
                }
                (_, Some(comment)) => What::comment(comments[comment as usize]),
                _ => line.what,
            };
            Some(Line { what, ..line })
        });
        for report in reports {
            *report = numbers[samples.series_of(samples.slot_of(*report)) as usize];
        }
        self.samples.compact(&numbers);
    }
}
