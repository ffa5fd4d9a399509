//! Small pictures of what happened lately, as SVG in the page.
//!
//! What went well stands on the ground, what failed hangs from the top: colour is never alone. Every picture has its words.

use std::fmt::{self, Write};
use std::time::Duration;

use super::words::{count, span};
use crate::admin::snapshot::{RECENT_STEP, RecentMark, ScrapeMark};

/// Marks in one picture, and units of width for each.
const MARKS: usize = 60;
const STEP: usize = 2;

/// Height of a picture, in units.
const HEIGHT: u64 = 20;

/// How far down what failed hangs.
const HANGING: u64 = 9;

/// The last scrapes: a line each, as high as it took long.
pub(super) fn scrapes(out: &mut String, marks: &[ScrapeMark], class: &str) -> fmt::Result {
    let marks = last(marks);
    let longest = marks.iter().map(|mark| u64::from(mark.millis)).max().unwrap_or_default().max(1);
    let (mut good, mut bad) = (String::new(), String::new());
    for (at, mark) in marks.iter().enumerate() {
        let x = place(marks.len(), at);
        match mark.samples {
            Some(_) => write!(good, "M{x} {HEIGHT}v-{}", height(u64::from(mark.millis), longest, HEIGHT - 3))?,
            None => write!(bad, "M{x} 0v{HANGING}")?,
        }
    }
    picture(out, class, &scrapes_in_words(marks), &good, &bad)
}

/// The same in words.
pub(super) fn scrapes_in_words(marks: &[ScrapeMark]) -> String {
    let marks = last(marks);
    let failed = marks.iter().filter(|mark| mark.samples.is_none()).count();
    let took = |mark: &ScrapeMark| Duration::from_millis(mark.millis.into());
    let good = || marks.iter().filter(|mark| mark.samples.is_some()).map(took);
    let mut words = match (marks.len(), failed) {
        (0, _) => return "no scrape yet".to_owned(),
        (1, 0) => "the one scrape went well".to_owned(),
        (1, _) => "the one scrape failed".to_owned(),
        (all, 0) => format!("all of the last {all} scrapes went well"),
        (all, failed) if failed == all => format!("all of the last {all} scrapes failed"),
        (all, failed) => format!("{failed} of the last {all} scrapes failed"),
    };
    if let Some((least, most)) = good().min().zip(good().max()) {
        let _ = write!(words, "; those that went well took {} to {}", span(least), span(most));
    }
    words
}

/// What an output delivered lately, and what it lost.
pub(super) fn deliveries(out: &mut String, marks: &[RecentMark]) -> fmt::Result {
    let marks = last(marks);
    let most = marks.iter().map(|mark| mark.delivered).max().unwrap_or_default().max(1);
    let (mut good, mut bad) = (String::new(), String::new());
    for (at, mark) in marks.iter().enumerate() {
        let x = place(marks.len(), at);
        if mark.delivered > 0 {
            write!(good, "M{x} {HEIGHT}v-{}", height(mark.delivered, most, HEIGHT - 3))?;
        }
        if mark.lost > 0 {
            write!(bad, "M{x} 0v{HANGING}")?;
        }
    }
    let sum = |of: fn(&RecentMark) -> u64| count(marks.iter().map(of).fold(0, u64::saturating_add));
    let over = span(RECENT_STEP * u32::try_from(marks.len()).unwrap_or_default());
    let words =
        format!("in the last {over}: {} samples delivered, {} lost", sum(|mark| mark.delivered), sum(|mark| mark.lost));
    picture(out, "spark", &words, &good, &bad)
}

fn picture(out: &mut String, class: &str, words: &str, good: &str, bad: &str) -> fmt::Result {
    let width = MARKS * STEP;
    write!(
        out,
        "<svg class=\"{class}\" role=\"img\" aria-label=\"{words}\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\">\
         <title>{words}</title><path class=\"base\" d=\"M0 {HEIGHT}h{width}\"/>"
    )?;
    for (class, path) in [("good", good), ("bad", bad)] {
        if !path.is_empty() {
            write!(out, "<path class=\"{class}\" d=\"{path}\"/>")?;
        }
    }
    out.push_str("</svg>");
    Ok(())
}

fn last<T>(marks: &[T]) -> &[T] {
    &marks[marks.len().saturating_sub(MARKS)..]
}

/// Where the mark at this place stands: the newest at the right end.
fn place(marks: usize, at: usize) -> usize {
    (MARKS - marks + at) * STEP + STEP / 2
}

/// At least one unit: something was there.
fn height(of: u64, most: u64, room: u64) -> u64 {
    1 + of.saturating_mul(room) / most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(millis: u32, is_good: bool) -> ScrapeMark {
        ScrapeMark { millis, samples: is_good.then_some(1) }
    }

    #[test]
    fn failed_scrapes_hang_and_the_newest_is_at_the_right() {
        let mut out = String::new();
        scrapes(&mut out, &[mark(10, true), mark(5, true), mark(1, false)], "spark").unwrap();
        assert!(out.contains("class=\"good\" d=\"M115 20v-18M117 20v-9\""), "{out}");
        assert!(out.contains("class=\"bad\" d=\"M119 0v9\""), "{out}");
        let words = "1 of the last 3 scrapes failed; those that went well took 5 ms to 10 ms";
        assert_eq!(out.matches(words).count(), 2, "{out}");
    }

    #[test]
    fn no_more_than_sixty_are_shown_and_numbers_may_be_any() {
        let mut out = String::new();
        scrapes(&mut out, &vec![mark(u32::MAX, true); 100], "spark").unwrap();
        assert_eq!(out.matches("v-18").count(), 60);
        assert!(out.contains("all of the last 60 scrapes went well"));
        let mut out = String::new();
        deliveries(&mut out, &[RecentMark { delivered: u64::MAX, lost: 0 }, RecentMark { delivered: 0, lost: 3 }])
            .unwrap();
        assert!(out.contains("M119 0v9"));
        let mut out = String::new();
        scrapes(&mut out, &[], "spark").unwrap();
        assert!(out.contains("no scrape yet"));
    }
}
