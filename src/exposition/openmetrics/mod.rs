//! OpenMetrics text 1.0.0, and 0.0.1.
//!
//! [`parse_line`] and [`parse_all`] read it as a scrape does: leniently, a line at a time. [`parse_strict`] holds a text to the
//! letter of the specification, for whoever writes an exporter.

pub(super) mod line;
mod strict;

use std::io::{self, BufRead};

use super::BadLine;
use super::context::Metadata;
use super::text::{Kind, Line, LineError, Sample, each_line, strip_cr, strip_newline, tell};
use crate::model::FamilyRef;

pub use line::parse_line;
pub use strict::parse_strict;

/// Reads an exposition line by line and gives each sample with its family, or the line that is no sample, to `each`.
///
/// This is for one look at a text, read as a scrape reads it. What is scraped again and again goes through a
/// [`Table`](super::Table). A missing `# EOF` is a bad line behind the last one, and so is every line behind `# EOF` that means
/// something. A line of more than `line_length_max` bytes ends the reading with [`io::ErrorKind::InvalidData`].
pub fn parse_all(
    input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) -> io::Result<()> {
    let mut metadata = Metadata::default();
    let mut has_ended = false;
    let lines = each_line(input, line_length_max, |number, line| {
        if has_ended {
            if line::kind_of(strip_cr(strip_newline(line))) != Kind::Nothing {
                each(Err(BadLine::new(number, line, BEHIND_EOF)));
            }
            return;
        }
        let read = parse_line(line);
        has_ended = matches!(read, Ok(Line::Eof));
        tell(&mut metadata, read.map_err(|error| BadLine::new(number, line, error)), &mut each);
    })?;
    if !has_ended {
        each(Err(no_eof(lines)));
    }
    Ok(())
}

/// What is wrong with a line behind `# EOF`.
pub(super) const BEHIND_EOF: LineError = LineError { at: 0, expected: "nothing behind \"# EOF\"" };

/// What is wrong with a text of so many lines that does not end with `# EOF`: the line that is missing.
fn no_eof(lines: u64) -> BadLine {
    BadLine { line: lines + 1, column: 1, found: "the end of the text".to_owned(), expected: "\"# EOF\"" }
}
