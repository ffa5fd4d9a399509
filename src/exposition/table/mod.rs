//! The predicting table of one target: bodies in, points out.
//!
//! Line *i* of a body is nearly always line *i* of the body before, with another value. The table keeps for each line the
//! length and a keyed hash of everything before the value, with the comments in force mixed in; when the next line begins
//! with the same, its series is known without looking at a name, a label or a quote, and only the number is read. What was
//! not predicted is looked up; what was never seen is parsed, shown to [`Admit`], and remembered, a dropped line too. So a
//! steady scrape costs a hash and a float a sample, and the memory that its values are handed on in: which series they are of
//! is shared with the scrape before. From the first line on that comes otherwise each series is stamped, and so it is known
//! which are gone.
//!
//! [`core`] knows no formats; [`text_body`] reads the two of lines.
//!
//! A scrape is [`begin`](Table::begin), [`read_as`](Table::read_as) where it is not text, [`feed`](Table::feed) as the body
//! arrives, [`finish_body`](Table::finish_body), then [`accept`](Table::accept) or [`fail`](Table::fail) (which may come at any
//! time after `begin`), [`report`](Table::report) for each of the target's own series, and [`take`](Table::take).
//!
//! Promises
//! - What a body means depends on that body and its format alone: not on the pieces that it comes in, nor on the bodies before it.
//! - At most one line of the body is held back, of at most [`Settings::line_length_max`] bytes; of protobuf one message, of at
//!   most [`MESSAGE_BYTES_MAX`](super::protobuf::MESSAGE_BYTES_MAX).
//! - A failed scrape leaves liveness as it was, and then every live series gets its marker.
//! - Memory is bounded by a small multiple of the largest of the recent bodies, whatever the target alternates between. A steady
//!   target has 16 bytes a line, 4 a series and some 250 a family, beside the chunks, which the scrapes share, and the column of
//!   series that they share (4 a series): 36 bytes a series with 17 series a family. One that changes has some 60 more a line.
//! - Two lines are taken for one another only when 64-bit keyed hashes collide (see [`keys::Keys`]); two label sets never are.
//!
//! Left out: any decision about what makes a scrape fail but for the limits here and the missing end of an OpenMetrics body.

mod alike;
mod contexts;
mod core;
mod intern;
mod keys;
mod lines;
mod plain;
mod protobuf_body;
mod samples;
mod slots;
mod text_body;

use std::sync::Arc;

use self::core::Core;
use self::protobuf_body::ProtobufBody;
use self::text_body::TextBody;
use super::body::{Counts, Refusal, Settings};
use super::format::Format;
use super::text;
use crate::memory::{Charge, Kind};
use crate::model::{
    Created, Exemplar, Family, Labels, METRIC_NAME, MetricType, Points, STALE_NAN, SeriesRef, SeriesSet,
};

/// What becomes of a line that was not seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is a series, with the labels as they are now.
    Keep,
    /// It is left out, now and whenever it comes again.
    Drop,
    /// The scrape fails, for this reason (a limit on labels).
    Refuse(String),
}

/// Turns the labels of a line into those of a series.
pub trait Admit {
    /// Called once for each new line, with the labels as the target wrote them, the metric's name among them as
    /// [`METRIC_NAME`]; changes them to the final ones. Must give the same answer for the same labels.
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission;

    /// The labels that [`admit`](Self::admit) adds, if it keeps every line that has none of these and adds them, and does no
    /// more. It is not asked about each line then. `None` promises nothing.
    fn only_adds(&self) -> Option<&Labels<'static>> {
        None
    }
}

/// A scrape as it leaves the table.
#[derive(Debug)]
pub struct Parsed {
    /// The samples in the order of the body, then stale markers, then the target's own series.
    pub points: Points,
    /// What they are about; the same as the last time when no series is new.
    pub series: Arc<SeriesSet>,
    /// Exemplars of the samples, in the order of the body.
    pub exemplars: Box<[Exemplar]>,
    /// Since when series count, where the body says so apart from its samples.
    pub created: Arc<[Created]>,
}

/// One of the target's own series.
struct Report {
    name: String,
    series: u32,
}

/// See the [module](self).
pub struct Table {
    core: Core,
    body: TextBody,
    protobuf: ProtobufBody,
    is_protobuf: bool,
    own_labels: Labels<'static>,
    reports: Vec<Report>,
    next_report: usize,
    /// The line whose end has not come yet.
    partial: Vec<u8>,
    charge: Charge,
    /// Bytes of the table as it was when the scrape before had been taken.
    settled_bytes: usize,
}

impl Table {
    /// A table that knows nothing yet. `own_labels` are those of the target's own series (`up` and its like).
    pub fn new(settings: Settings, admit: Box<dyn Admit + Send>, own_labels: Labels<'static>) -> Self {
        Self {
            core: Core::new(settings, admit),
            body: TextBody::default(),
            protobuf: ProtobufBody::new(),
            is_protobuf: false,
            own_labels,
            reports: Vec::new(),
            next_report: 0,
            partial: Vec::new(),
            charge: Charge::new(Kind::Tables, 0),
            settled_bytes: 0,
        }
    }

    /// Starts a scrape, whose samples without a time of their own are of `at_ms`.
    /// A scrape that was begun and came to no end is as if it had not been.
    pub fn begin(&mut self, at_ms: i64) {
        self.core.samples.abandon();
        self.core.compact_if_due(self.reports.iter_mut().map(|report| &mut report.series));
        self.core.begin(at_ms);
        self.body = TextBody::default();
        self.protobuf.restart();
        self.is_protobuf = false;
        self.partial.clear();
        self.next_report = 0;
    }

    /// The format of the body that is going to be [fed](Self::feed); text where nobody says.
    pub fn read_as(&mut self, format: Format) {
        self.core.start(format);
        self.body = TextBody::new(format);
        self.is_protobuf = format == Format::Protobuf;
    }

    /// Reads a piece of the body, which may end anywhere.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.core.counts.body_bytes += bytes.len() as u64;
        if self.is_protobuf {
            self.protobuf.read(&mut self.core, bytes)?;
            self.charge_growth();
            return Ok(());
        }
        if !self.partial.is_empty() {
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.hold_back(&bytes[..end])?;
            if self.partial.last() != Some(&b'\n') {
                return Ok(());
            }
            bytes = &bytes[end..];
            self.read_partial()?;
        }
        let used = self.read(bytes)?;
        self.hold_back(&bytes[used..])
    }

    /// Reads what is left when the body is complete, and says what the body was made of.
    pub fn finish_body(&mut self) -> Result<Counts, Refusal> {
        if !self.partial.is_empty() {
            self.partial.push(b'\n');
            self.read_partial()?;
        }
        self.body.finish()?;
        self.protobuf.finish()?;
        if self.core.samples.tally().repeats {
            self.core.counts.duplicates = self.core.samples.settle_repeats();
        }
        Ok(self.counts())
    }

    /// What was read so far of the scrape that has begun.
    pub fn counts(&self) -> Counts {
        self.core.counts()
    }

    /// The scrape is good: series that it no longer has get a stale marker.
    pub fn accept(&mut self) {
        self.core.accept();
    }

    /// The scrape has failed: what was read of it is forgotten, and every live series gets a stale marker.
    pub fn fail(&mut self) {
        self.core.fail();
        self.partial.clear();
    }

    /// Adds one of the target's own series, such as `up`: a gauge with the target's labels, untouched by relabelling. A
    /// series of the body that has the same labels gives way to it.
    pub fn report(&mut self, name: &str, help: &str, value: f64) {
        let at = self.next_report;
        if self.reports.get(at).is_none_or(|report| report.name != name) {
            let mut labels = self.own_labels.clone();
            labels.set(METRIC_NAME, name.to_owned());
            let family = Family { name, help, kind: MetricType::Gauge, unit: "" };
            let (series, slot) = self.core.interner.intern(&labels, || family, None);
            self.core.samples.know(slot, series);
            self.reports.truncate(at);
            self.reports.push(Report { name: name.to_owned(), series });
        }
        self.next_report += 1;
        self.core.samples.report(self.reports[at].series, value);
    }

    /// The scrape as it is handed on.
    pub fn take(&mut self) -> Parsed {
        if self.core.samples.is_open() {
            // It came to no end.
            self.fail();
        }
        self.core.settle_created();
        let (points, exemplars) = self.core.samples.finish(self.core.lines.last().map(|line| line.what));
        let parsed =
            Parsed { points, series: self.core.interner.flush(), exemplars, created: self.core.take_created() };
        self.core.settle_if_due();
        self.settled_bytes = self.core.bytes() + self.partial.capacity() + self.protobuf.bytes();
        self.charge.resize(self.settled_bytes);
        parsed
    }

    /// The markers of a target that goes away: for every live series, and for the target's own. There may be none.
    pub fn end(&mut self) -> Parsed {
        self.fail();
        for report in self.reports.drain(..) {
            self.core.samples.report(report.series, STALE_NAN);
        }
        self.take()
    }

    /// The series that the last scrape had, if it was good. Not between [`begin`](Self::begin) and [`take`](Self::take): new
    /// series are not in the set until then.
    pub fn live_series(&self) -> impl Iterator<Item = SeriesRef<'_>> {
        self.core.samples.live().map(|series| self.core.interner.set().get(series))
    }

    /// The same, and the target's own series: what there is, for comparing final labels after a reload. One that is both
    /// comes twice.
    pub fn all_series(&self) -> impl Iterator<Item = SeriesRef<'_>> {
        self.live_series().chain(self.reports.iter().map(|report| self.core.interner.set().get(report.series)))
    }

    fn hold_back(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let line = text::strip_newline(bytes);
        let max = self.core.settings.line_length_max;
        // One more for the carriage return, which is no part of the line.
        if self.partial.len() + line.len() > max + 1 {
            return Err(Refusal::LineTooLong { line: self.core.line + 1, max });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn read_partial(&mut self) -> Result<(), Refusal> {
        let mut line = std::mem::take(&mut self.partial);
        let result = self.read(&line);
        line.clear();
        self.partial = line;
        result.map(|_| ())
    }

    /// Reads all whole lines in `bytes`; gives how many bytes they were.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let used = self.body.read(&mut self.core, bytes)?;
        self.charge_growth();
        Ok(used)
    }

    /// What a hostile body adds counts while it comes.
    fn charge_growth(&mut self) {
        self.charge.resize(self.settled_bytes + self.core.growth() + self.protobuf.bytes());
    }
}
