//! OpenMetrics text 1.0.0, and 0.0.1.
//!
//! [`parse_line`] and [`parse_all`] read it as a scrape does: leniently, a line at a time. [`parse_strict`] holds a text to the
//! letter of the specification, for whoever writes an exporter.

pub(super) mod line;
mod strict;

use std::io::{self, BufRead};

use super::BadLine;
use super::context::Metadata;
use super::text::{Line, Sample, each_line, normalise};
use crate::model::FamilyRef;

pub use line::parse_line;
pub use strict::parse_strict;

/// What is said of a text that does not end with `# EOF`, in the place of the line that is missing.
const NO_EOF: (&str, &str) = ("the end of the text", "\"# EOF\"");

/// Reads an exposition line by line and gives each sample with its family, or the line that is no sample, to `each`.
///
/// This is for one look at a text, read as a scrape reads it. What is scraped again and again goes through a
/// [`Table`](super::Table). A missing `# EOF` is a bad line behind the last one, and so is the first line behind `# EOF`; what
/// follows that is not read. A line of more than `line_length_max` bytes ends the reading with
/// [`io::ErrorKind::InvalidData`].
pub fn parse_all(
    input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) -> io::Result<()> {
    let mut metadata = Metadata::default();
    let mut eof = Eof::default();
    let lines = each_line(input, line_length_max, |number, line| {
        if eof.is_over(number, line, &mut each) {
            return;
        }
        match parse_line(line) {
            Ok(Line::Blank | Line::Comment) => {}
            Ok(Line::Eof) => eof.came(),
            Ok(Line::Help { name, text }) => metadata.set_help(&name, &text),
            Ok(Line::Type { name, kind }) => metadata.set_kind(&name, kind),
            Ok(Line::Unit { name, unit }) => metadata.set_unit(&name, &unit),
            Ok(Line::Sample(mut sample)) => {
                let name = sample.name.clone();
                let family = metadata.family_of(&name);
                normalise(&mut sample.labels, family.kind);
                each(Ok((&sample, family)));
            }
            Err(error) => each(Err(BadLine::new(number, line, error))),
        }
    })?;
    eof.check(lines, &mut each);
    Ok(())
}

/// Watches over `# EOF`: it must be there, and be the last line.
#[derive(Default)]
struct Eof {
    has_come: bool,
    was_told: bool,
}

impl Eof {
    /// This line is `# EOF`.
    fn came(&mut self) {
        self.has_come = true;
    }

    /// Whether this line is behind `# EOF`; the first such line is bad.
    fn is_over<T>(&mut self, number: u64, line: &[u8], each: &mut impl FnMut(Result<T, BadLine>)) -> bool {
        if self.has_come && !self.was_told {
            self.was_told = true;
            let error = super::text::LineError { at: 0, expected: "nothing (the text ends with \"# EOF\")" };
            each(Err(BadLine::new(number, line, error)));
        }
        self.has_come
    }

    /// All `lines` were read.
    fn check<T>(&self, lines: u64, each: &mut impl FnMut(Result<T, BadLine>)) {
        if !self.has_come {
            let (found, expected) = NO_EOF;
            each(Err(BadLine { line: lines + 1, column: 1, found: found.to_owned(), expected }));
        }
    }
}
