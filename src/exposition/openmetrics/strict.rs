//! The strict reader: accepts what OpenMetrics 1.0 allows and refuses what it forbids.
//!
//! Grammar ([`line`]), names that clash ([`names`]), what a family may consist of and in which order ([`family`]), and what a
//! type demands of one point ([`point`]). A text is a stream: kept are the families' names and, of the family that is being
//! read, a hash of each metric; both have limits.
//!
//! Where the specification leaves room or contradicts its own test suite, this reader does as the suite does:
//! - a double quote in `HELP` need not be escaped;
//! - points of one metric may have the same timestamp, as if it had lost digits;
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

use super::{BEHIND_EOF, no_eof};
use crate::exposition::BadLine;
use crate::exposition::text::{Line, LineError, Sample, each_line, normalise, strip_newline};
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
    let mut reader = Reader { names: Names::default(), open: None, has_ended: false, too_much: None };
    let mut is_over = false;
    let lines = each_line(input, line_length_max, |number, line| {
        if is_over || reader.too_much.is_some() {
            return;
        }
        if reader.has_ended {
            is_over = true;
            each(Err(BadLine::new(number, line, BEHIND_EOF)));
        } else {
            reader.read(number, line, &mut each);
        }
    })?;
    reader.close(&mut each);
    if let Some(text) = reader.too_much {
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if !reader.has_ended {
        each(Err(no_eof(lines)));
    }
    Ok(())
}

/// Where a reader is in a text.
struct Reader {
    names: Names,
    /// The family that the last line belonged to.
    open: Option<Open>,
    /// Whether `# EOF` came.
    has_ended: bool,
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
        let mut bad = BadLine::new(self.number, self.line, error);
        // Leniently it is a part of the line's end.
        if strip_newline(self.line).get(error.at..) == Some(b"\r") {
            bad.found = "a carriage return".to_owned();
        }
        bad
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
            if line.starts_with(b"# EOF") {
                // Meant as one: nothing is said of one that is missing.
                self.has_ended = true;
            }
            each(Err(place.bad(error)));
        }
    }

    fn apply(&mut self, place: Place<'_>, read: Read<'_>, each: &mut impl FnMut(Told<'_>)) -> Result<(), LineError> {
        let places = read.places;
        match read.line {
            Line::Eof => self.has_ended = true,
            Line::Help { name, text } => self.of_metadata(place, &name, each)?.set_help(&text)?,
            Line::Type { name, kind } => self.of_metadata(place, &name, each)?.set_kind(kind, places.word)?,
            Line::Unit { name, unit } => self.of_metadata(place, &name, each)?.set_unit(&unit, places.word)?,
            Line::Sample(mut sample) => {
                let open = match self.open.take() {
                    Some(open) if open.has_part(&sample.name) => open,
                    Some(open) if open.name() == sample.name => {
                        let expected = point::names_of(open.kind());
                        self.open = Some(open);
                        return Err(LineError { at: 0, expected });
                    }
                    other => self.enter(other, place, &sample.name, 0, each)?,
                };
                let open = self.open.insert(open);
                let too_many = open.begin(&mut self.names, &mut |bad| each(Err(bad)));
                self.too_much = self.too_much.take().or(too_many);
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
        let open = match self.open.take() {
            Some(open) if open.name() == name => open,
            other => self.enter(other, place, name, "# TYPE ".len(), each)?,
        };
        Ok(self.open.insert(open))
    }

    /// Another family, whose name stands `at` a place in the line, instead of the one before.
    fn enter(
        &mut self,
        before: Option<Open>,
        place: Place<'_>,
        name: &str,
        at: usize,
        each: &mut impl FnMut(Told<'_>),
    ) -> Result<Open, LineError> {
        self.open = before;
        self.close(each);
        if self.names.contains(name) {
            let expected = "a family that was not there before (all lines of one stand together)";
            return Err(LineError { at, expected });
        }
        Ok(Open::new(name, place))
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
