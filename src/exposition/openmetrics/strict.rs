//! The strict reader: accepts what OpenMetrics 1.0 allows and refuses what it forbids.
//!
//! Grammar ([`line`]), names that clash ([`names`]), what a family may consist of and in which order ([`family`]), and what a
//! type demands of one point ([`point`]). A text is a stream: kept are the families' names and, of the family that is being
//! read, a hash of each metric; both have limits.
//!
//! Where the specification leaves room or contradicts its own test suite, this reader does as the suite does:
//! - a double quote in `HELP` need not be escaped;
//! - points of one metric may have the same timestamp;
//! - a `HELP` or `UNIT` may be empty, but then a space stands before the nothing.
//!
//! What it decides by itself: names in quotes (`{"a.b",x="y"}`), which Prometheus 3 negotiates, are accepted, because no text
//! of the ABNF has a quote in their places; a label without a value is none; the metrics of an info family are told apart by
//! all labels, and when they have timestamps, may come again.
//!
//! Reading goes on after a bad line. Nothing is then said of what its family lacks, because the bad line may have been it.

mod family;
mod line;
mod names;
mod point;

use std::io::{self, BufRead};

use super::Eof;
use crate::exposition::BadLine;
use crate::exposition::text::{Line, LineError, Sample, each_line, normalise};
use crate::model::FamilyRef;
use family::Open;
use line::Read;
use names::Names;

/// What `each` is given of a line.
type Told<'a> = Result<(&'a Sample<'a>, FamilyRef<'a>), BadLine>;

/// Reads an exposition strictly and gives each sample with its family, or what is wrong, to `each`.
///
/// A rule about several lines is told with the first line of what breaks it, perhaps after later lines were. The first line
/// behind `# EOF` is bad, and what follows it is not read. A line of more than `line_length_max` bytes, or more families or
/// metrics than are kept, end the reading with [`io::ErrorKind::InvalidData`].
pub fn parse_strict(
    input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) -> io::Result<()> {
    let mut reader = Reader { names: Names::default(), open: None, eof: Eof::default(), too_much: None };
    let lines = each_line(input, line_length_max, |number, line| {
        if !reader.eof.is_over(number, line, &mut each) && reader.too_much.is_none() {
            reader.read(number, line, &mut each);
        }
    })?;
    if let Some(text) = reader.too_much {
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    reader.close(&mut each);
    reader.eof.check(lines, &mut each);
    Ok(())
}

/// Where a reader is in a text.
struct Reader {
    names: Names,
    /// The family that the last line belonged to.
    open: Option<Open>,
    eof: Eof,
    /// The limit that the text has broken.
    too_much: Option<String>,
}

/// A line of which a rule is broken or not.
#[derive(Clone, Copy)]
struct Place<'a> {
    number: u64,
    line: &'a [u8],
}

impl Place<'_> {
    fn bad(self, error: LineError) -> BadLine {
        match self.line {
            [.., b'\r', b'\n'] if error.at + 2 == self.line.len() => {
                let found = "a carriage return".to_owned();
                BadLine { line: self.number, column: error.column(), found, expected: error.expected }
            }
            line => BadLine::new(self.number, line, error),
        }
    }
}

impl Reader {
    fn read(&mut self, number: u64, line: &[u8], each: &mut impl FnMut(Told<'_>)) {
        let place = Place { number, line };
        let result = line::parse_line(line).and_then(|read| self.apply(place, read, each));
        if let Err(error) = result {
            let may_be_sample = !matches!(line, [b'#' | b'\n', ..]);
            if let Some(open) = self.open.as_mut().filter(|_| may_be_sample) {
                open.has_bad_line();
            }
            each(Err(place.bad(error)));
        }
    }

    fn apply(&mut self, place: Place<'_>, read: Read<'_>, each: &mut impl FnMut(Told<'_>)) -> Result<(), LineError> {
        let places = read.places;
        match read.line {
            Line::Eof => self.eof.came(),
            Line::Help { name, text } => self.of_metadata(place, &name, each)?.set_help(&text)?,
            Line::Type { name, kind } => self.of_metadata(place, &name, each)?.set_kind(kind, places.word)?,
            Line::Unit { name, unit } => self.of_metadata(place, &name, each)?.set_unit(&unit, places.word)?,
            Line::Sample(mut sample) => {
                let is_ours = self.open.as_ref().is_some_and(|open| open.has_part(&sample.name));
                if !is_ours {
                    self.enter(place, &sample.name, true, each)?;
                }
                let Some(open) = &mut self.open else { return Ok(()) };
                self.too_much = open.begin(&mut self.names, &mut |bad| each(Err(bad)));
                open.sample(place, &sample, &places, &mut |bad| each(Err(bad)))?;
                self.too_much = self.too_much.take().or(open.too_much());
                normalise(&mut sample.labels, open.kind());
                each(Ok((&sample, open.family())));
            }
            Line::Blank | Line::Comment => {}
        }
        Ok(())
    }

    /// The family that a metadata line is about, which the line may open.
    fn of_metadata(
        &mut self,
        place: Place<'_>,
        name: &str,
        each: &mut impl FnMut(Told<'_>),
    ) -> Result<&mut Open, LineError> {
        if self.open.as_ref().is_none_or(|open| open.name() != name) {
            self.enter(place, name, false, each)?;
        }
        let none = LineError { at: 0, expected: "a family" };
        self.open.as_mut().ok_or(none)
    }

    /// Opens another family.
    fn enter(
        &mut self,
        place: Place<'_>,
        name: &str,
        is_sample: bool,
        each: &mut impl FnMut(Told<'_>),
    ) -> Result<(), LineError> {
        if is_sample && let Some(open) = self.open.as_ref().filter(|open| open.name() == name) {
            return Err(LineError { at: 0, expected: point::names_of(open.kind()) });
        }
        self.close(each);
        if self.names.contains(name) {
            let at = if is_sample { 0 } else { "# TYPE ".len() };
            return Err(LineError {
                at,
                expected: "a family that was not there before (all lines of one stand together)",
            });
        }
        self.open = Some(Open::new(name, place));
        Ok(())
    }

    /// Ends the family that is open.
    fn close(&mut self, each: &mut impl FnMut(Told<'_>)) {
        if let Some(mut open) = self.open.take() {
            let too_much = open.begin(&mut self.names, &mut |bad| each(Err(bad)));
            self.too_much = self.too_much.take().or(too_much);
            open.end(&mut |bad| each(Err(bad)));
        }
    }
}
