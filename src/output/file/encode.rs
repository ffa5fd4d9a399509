//! Scrapes as lines: JSON, or exposition text with times.

use std::collections::HashSet;

use crate::config::checked::FileFormat;
use crate::exposition::json;
use crate::exposition::write::{self, Format};
use crate::model::{SeriesRef, Value};
use crate::pipeline::{Reasons, Slice, reason};

/// Writes the scrapes of a batch, a piece at a time.
pub(super) struct Encoder {
    format: FileFormat,
    slice: usize,
    point: usize,
    /// The families of this scrape that have their HELP and TYPE in this file.
    headed: HashSet<Box<str>>,
    last_family: Box<str>,
}

/// A sample that has a line.
pub(super) struct Line<'s> {
    series: SeriesRef<'s>,
    value: Value<'s>,
    at_ms: i64,
}

/// What a piece holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) samples: u64,
    pub(super) skipped: Reasons,
}

impl Encoder {
    pub(super) fn new(format: FileFormat) -> Self {
        Self { format, slice: 0, point: 0, headed: HashSet::new(), last_family: Box::default() }
    }

    /// The next batch begins.
    pub(super) fn begin(&mut self) {
        self.slice = 0;
        self.begin_scrape();
    }

    /// What follows goes to another file: families need their HELP and TYPE again.
    pub(super) fn begin_file(&mut self) {
        self.headed.clear();
        self.last_family = Box::default();
    }

    fn begin_scrape(&mut self) {
        self.point = 0;
        self.begin_file();
    }

    /// Goes on to the next sample that has a line, and counts those without. `None` at the end of the batch.
    pub(super) fn advance<'s>(&mut self, slices: &'s [Slice], skipped: &mut Reasons) -> Option<Line<'s>> {
        while let Some(slice) = slices.get(self.slice) {
            let scrape = &slice.scrape;
            while let Some(at) = slice.position(self.point) {
                let point = scrape.points.get(at);
                let series = scrape.series.get(point.series);
                match point.value {
                    value if value.is_stale() => *skipped.entry(reason::STALE_MARKER).or_default() += 1,
                    Value::Histogram(_) if self.format == FileFormat::Text => {
                        *skipped.entry(reason::UNSUPPORTED_TYPE).or_default() += 1;
                    }
                    value => return Some(Line { series, value, at_ms: scrape.time_ms(&point) }),
                }
                self.point += 1;
            }
            self.slice += 1;
            self.begin_scrape();
        }
        None
    }

    /// Writes whole lines, at least one where there is one, until `out` has `bytes` of them.
    pub(super) fn write(&mut self, slices: &[Slice], out: &mut Vec<u8>, bytes: usize, piece: &mut Piece) {
        let mut json = json::Lines::default();
        while let Some(Line { series, value, at_ms }) = self.advance(slices, &mut piece.skipped) {
            match (self.format, value) {
                (FileFormat::Json, value) => json.line(out, series, value, at_ms),
                (FileFormat::Text, Value::Float(value)) => self.text(out, &series, value, at_ms),
                // None that gets here: it was skipped.
                (FileFormat::Text, Value::Histogram(_)) => {}
            }
            self.point += 1;
            piece.samples += 1;
            if out.len() >= bytes {
                return;
            }
        }
    }

    fn text(&mut self, out: &mut Vec<u8>, series: &SeriesRef<'_>, value: f64, at_ms: i64) {
        self.header(out, series);
        write::series(out, series.name(), series.labels());
        write::value(out, Format::Text, value, Some(at_ms));
    }

    fn header(&mut self, out: &mut Vec<u8>, series: &SeriesRef<'_>) {
        let (name, kind) = write::text_family(series);
        if name == &*self.last_family {
            return;
        }
        self.last_family = name.into();
        if self.headed.insert(name.into()) {
            let help = series.family().help;
            if !help.is_empty() {
                write::help(out, Format::Text, name, help);
            }
            write::kind(out, Format::Text, name, kind);
        }
    }
}
