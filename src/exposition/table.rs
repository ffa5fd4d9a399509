//! The predicting table of one target: bodies in, points out.
//!
//! Line *i* of a body is nearly always line *i* of the body before, with another value. The table keeps for each line the
//! length and a keyed hash of everything before the value, with the comments in force mixed in; when the next line begins
//! with the same, its series is known without looking at a name, a label or a quote, and only the number is read. What was
//! not predicted is looked up; what was never seen is parsed, shown to [`Admit`], and remembered, a dropped line too. So a
//! steady scrape costs a hash and a float a sample and allocates nothing.
//!
//! A scrape is [`begin`](Table::begin), [`feed`](Table::feed) as the body arrives, [`finish_body`](Table::finish_body), then
//! [`accept`](Table::accept) or [`fail`](Table::fail) (which may come at any time after `begin`), [`report`](Table::report) for
//! each of the target's own series, and [`take`](Table::take).
//!
//! Promises
//! - What a body means depends on that body alone: not on the chunks that it comes in, nor on the bodies before it.
//! - At most one line of the body is held back, of at most [`Settings::line_length_max`] bytes.
//! - A failed scrape leaves liveness as it was, and then every live series gets its marker.
//! - Memory is bounded by a small multiple of the largest of the recent bodies, whatever the target alternates between: some
//!   45 bytes a line and 30 a series, besides the chunks, which the scrapes share.
//! - Two lines are taken for one another only when 64-bit keyed hashes collide (see [`super::context::Keys`]); two label sets
//!   never are.
//!
//! Left out: native histograms and OpenMetrics, and any decision about what makes a scrape fail but for the limits here.

use std::sync::Arc;

use super::body::{BadLine, Counts, Refusal, Settings};
use super::context::{Contexts, Effect, Keys};
use super::format::Format;
use super::intern::Interner;
use super::lines::{Block, Known, Line, Lines};
use super::samples::Samples;
use super::text::{self, LineError};
use super::value;
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

struct Report {
    name: String,
    series: u32,
    slot: u32,
}

/// Lines or series that may be garbage before a table is made anew, beyond as many as are in use.
const GARBAGE_MIN: usize = 1024;
/// What a line that was never seen before costs beside its text, in bytes: measured at 240 for a comment, 310 for a series.
const NEW_LINE_BYTES: usize = 320;

/// See the [module](self).
pub struct Table {
    settings: Settings,
    format: Format,
    admit: Box<dyn Admit + Send>,
    own_labels: Labels<'static>,
    keys: Keys,
    contexts: Contexts,
    lines: Lines,
    interner: Interner,
    reports: Vec<Report>,
    samples: Samples,
    /// The line whose end has not come yet.
    partial: Vec<u8>,
    counts: Counts,
    scrape: Progress,
    /// Peaks of lines and series in use, which fade: what is much more is garbage.
    peak_lines: usize,
    peak_series: usize,
    charge: Charge,
    /// Bytes of the table as it was when the scrape before had been taken.
    settled_bytes: usize,
}

/// Comments that came one behind the other.
struct Comments {
    /// Where the first one starts.
    at: usize,
    /// Its line.
    first: Option<u32>,
    /// The seed of the context before it.
    seed: u64,
    lines: u32,
}

/// What is known of the current scrape only.
#[derive(Default)]
struct Progress {
    context: u32,
    context_seed: u64,
    line: u64,
    /// Samples that relabelling dropped.
    dropped: u64,
    /// Bytes that lines never seen before add to what is kept, estimated.
    growth: usize,
    next_report: usize,
}

impl Table {
    /// A table that knows nothing yet. `own_labels` are those of the target's own series (`up` and its like).
    pub fn new(settings: Settings, admit: Box<dyn Admit + Send>, own_labels: Labels<'static>) -> Self {
        let keys = Keys::new();
        let samples = Samples::new(settings.honor_timestamps, settings.track_timestamps_staleness);
        Self {
            settings,
            format: Format::Text,
            admit,
            own_labels,
            keys,
            contexts: Contexts::new(keys),
            lines: Lines::default(),
            interner: Interner::new(keys),
            reports: Vec::new(),
            samples,
            partial: Vec::new(),
            counts: Counts::default(),
            scrape: Progress::default(),
            peak_lines: 0,
            peak_series: 0,
            charge: Charge::new(Kind::Tables, 0),
            settled_bytes: 0,
        }
    }

    /// Starts a scrape, whose samples without a time of their own are of `at_ms`.
    /// A scrape that was begun and came to no end is as if it had not been.
    pub fn begin(&mut self, at_ms: i64) {
        self.samples.abandon();
        self.format = Format::Text;
        self.compact_if_due();
        self.samples.begin(at_ms);
        self.counts = Counts::default();
        self.partial.clear();
        self.lines.restart();
        self.scrape = Progress::default();
        self.enter(Contexts::START);
    }

    /// The format of the body that is going to be [fed](Self::feed); text where nobody says.
    pub fn read_as(&mut self, format: Format) {
        self.format = format;
    }

    /// Reads a piece of the body, which may end anywhere.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.counts.body_bytes += bytes.len() as u64;
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
        if self.samples.tally().repeats {
            self.counts.duplicates = self.samples.settle_repeats();
        }
        Ok(self.counts())
    }

    /// What was read so far of the scrape that has begun.
    pub fn counts(&self) -> Counts {
        let tally = self.samples.tally();
        Counts {
            samples_scraped: tally.samples + self.scrape.dropped,
            samples_post_relabelling: tally.samples,
            series_added: tally.added,
            ..self.counts.clone()
        }
    }

    /// The scrape is good: series that it no longer has get a stale marker.
    pub fn accept(&mut self) {
        self.samples.accept();
        self.lines.accept();
    }

    /// The scrape has failed: what was read of it is forgotten, and every live series gets a stale marker.
    pub fn fail(&mut self) {
        self.samples.fail();
        self.lines.restart();
        self.partial.clear();
    }

    /// Adds one of the target's own series, such as `up`: a gauge with the target's labels, untouched by relabelling. A
    /// series of the body that has the same labels gives way to it.
    pub fn report(&mut self, name: &str, help: &str, value: f64) {
        let at = self.scrape.next_report;
        if self.reports.get(at).is_none_or(|report| report.name != name) {
            let mut labels = self.own_labels.clone();
            labels.set(METRIC_NAME, name.to_owned());
            let family = Family { name, help, kind: MetricType::Gauge, unit: "" };
            let (series, slot) = self.interner.intern(&labels, family);
            self.samples.know(slot, series);
            self.reports.truncate(at);
            self.reports.push(Report { name: name.to_owned(), series, slot });
        }
        self.scrape.next_report += 1;
        let Report { series, slot, .. } = self.reports[at];
        self.samples.report(series, slot, value);
    }

    /// The scrape as it is handed on.
    pub fn take(&mut self) -> Parsed {
        self.samples.leave_out_replaced();
        let parsed = Parsed {
            points: self.samples.points().finish(),
            series: self.interner.flush(),
            exemplars: Box::default(),
            created: Arc::default(),
        };
        self.settled_bytes = self.bytes();
        self.charge.resize(self.settled_bytes);
        parsed
    }

    /// Bytes of memory that it has, besides the chunks.
    fn bytes(&self) -> usize {
        self.lines.bytes()
            + self.samples.bytes()
            + self.interner.bytes()
            + self.contexts.bytes()
            + self.partial.capacity()
    }

    /// The markers of a target that goes away: for every live series, and for the target's own. There may be none.
    pub fn end(&mut self) -> Parsed {
        self.fail();
        for report in self.reports.drain(..) {
            self.samples.points().push_float(report.series, STALE_NAN, None);
        }
        self.take()
    }

    /// The series that the last scrape had, if it was good. Not between [`begin`](Self::begin) and [`take`](Self::take): new
    /// series are not in the set until then.
    pub fn live_series(&self) -> impl Iterator<Item = SeriesRef<'_>> {
        self.samples.live().map(|series| self.interner.set().get(series))
    }

    /// The same, and the target's own series: what there is, for comparing final labels after a reload. One that is both
    /// comes twice.
    pub fn all_series(&self) -> impl Iterator<Item = SeriesRef<'_>> {
        self.live_series().chain(self.reports.iter().map(|report| self.interner.set().get(report.series)))
    }

    fn hold_back(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let line = text::strip_newline(bytes);
        // One more for the carriage return, which is no part of the line.
        if self.partial.len() + line.len() > self.settings.line_length_max + 1 {
            return Err(self.too_long());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn too_long(&self) -> Refusal {
        Refusal::LineTooLong { line: self.scrape.line + 1, max: self.settings.line_length_max }
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
        let mut at = 0;
        loop {
            at += self.read_predicted(&bytes[at..]);
            let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else { break };
            self.read_other(&bytes[at..=at + end])?;
            at += end + 1;
        }
        self.check_sample_limit()?;
        // What a hostile body adds counts while it comes.
        self.charge.resize(self.settled_bytes + self.scrape.growth);
        Ok(at)
    }

    fn check_sample_limit(&self) -> Result<(), Refusal> {
        match self.settings.sample_limit {
            limit if limit > 0 && self.samples.tally().samples > limit => Err(Refusal::SampleLimit { limit }),
            _ => Ok(()),
        }
    }

    /// Reads lines for as long as they come as predicted; gives how many bytes they were.
    fn read_predicted(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut comments: Option<Comments> = None;
        while let Some(&Line { hash, len, known }) = self.lines.predicted() {
            let rest = &bytes[at..];
            let is_comment = matches!(known, Known::Comment(_));
            if is_comment && let Some(used) = self.read_block(rest) {
                at += used;
                comments = None;
                continue;
            }
            let Some((head, tail)) = rest.split_at_checked(len as usize) else { break };
            // A comment that is not remembered needs no hash to be told from a sample.
            if !is_comment && matches!(head.first(), Some(b'#' | b'\n')) {
                break;
            }
            let seed = if is_comment { self.keys.seed() } else { self.scrape.context_seed };
            if self.keys.hash(seed, head) != hash {
                break;
            }
            let used = if let Known::Comment(comment) = known {
                let used = match tail {
                    [b'\n', ..] => 1,
                    [b'\r', b'\n', ..] => 2,
                    _ => break,
                };
                let start =
                    Comments { at, first: self.lines.predicted_number(), seed: self.scrape.context_seed, lines: 0 };
                comments.get_or_insert(start).lines += 1;
                self.enter_after(comment);
                used
            } else {
                let Some(used) = self.read_value(known, len, tail) else { break };
                if let Some(comments) = comments.take() {
                    self.remember_block(&comments, &bytes[comments.at..at + head.len()]);
                }
                used
            };
            at += head.len() + used;
            self.scrape.line += 1;
            self.lines.came(1);
        }
        at
    }

    /// Reads the rest of a sample's line, from the value on; gives how many bytes it was, line break included.
    #[inline(always)]
    fn read_value(&mut self, known: Known, prefix: u32, rest: &[u8]) -> Option<usize> {
        let (value, own_ms, used) = value::value_line(rest)?;
        if prefix as usize + used > self.settings.line_length_max {
            return None;
        }
        match known {
            Known::Series { series, slot } => self.samples.add(series, slot, value, own_ms),
            _ => self.scrape.dropped += 1,
        }
        Some(used)
    }

    /// Reads comments and the sample behind them in one go; gives how many bytes they were.
    #[inline]
    fn read_block(&mut self, bytes: &[u8]) -> Option<usize> {
        let (block, known) = self.lines.predicted_block()?;
        let (head, tail) = bytes.split_at_checked(block.len as usize)?;
        if self.keys.hash(self.scrape.context_seed, head) != block.hash {
            return None;
        }
        let prefix = self.lines.get(block.sample).len;
        let used = self.read_value(known, prefix, tail)?;
        self.enter(block.context);
        self.scrape.line += u64::from(block.lines);
        self.lines.came(block.lines as usize);
        Some(head.len() + used)
    }

    fn remember_block(&mut self, comments: &Comments, bytes: &[u8]) {
        if let (Some(first), Some(sample)) = (comments.first, self.lines.predicted_number()) {
            let hash = self.keys.hash(comments.seed, bytes);
            let (len, lines, context) = (bytes.len() as u32, comments.lines + 1, self.scrape.context);
            self.lines.set_block(first, Block { hash, len, lines, sample, context });
        }
    }

    /// Reads one line, line break included, that did not come as predicted.
    fn read_other(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let bare = text::strip_cr(text::strip_newline(line));
        if bare.len() > self.settings.line_length_max {
            return Err(self.too_long());
        }
        self.scrape.line += 1;
        match text::kind_of(bare) {
            // Not remembered: some programs write the time into their comments.
            text::Kind::Nothing => return Ok(()),
            text::Kind::Metadata => {
                return self.read_metadata(bare);
            }
            text::Kind::Sample => {}
        }
        let start = text::value_start(bare);
        let hash = self.keys.hash(self.scrape.context_seed, &bare[..start]);
        let Some(number) = self.lines.find(hash, start) else { return self.read_new(bare, hash, start) };
        let known = self.lines.get(number).known;
        let Some((value, own_ms, _)) = value::value_line(&line[start..]) else {
            if let Known::Series { slot, .. } = known {
                self.samples.hold(slot);
            }
            // The full parser knows what is wrong with it.
            let error = text::parse_line(bare).err().unwrap_or(LineError { at: start, expected: "a number" });
            self.add_bad_line(bare, error);
            return Ok(());
        };
        match known {
            Known::Series { series, slot } => self.samples.add(series, slot, value, own_ms),
            Known::Dropped => self.scrape.dropped += 1,
            Known::Comment(_) => {}
        }
        self.lines.came_instead(number);
        Ok(())
    }

    fn read_metadata(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let hash = self.keys.hash(self.keys.seed(), line);
        if let Some(number) = self.lines.find(hash, line.len())
            && let Known::Comment(comment) = self.lines.get(number).known
        {
            self.enter_after(comment);
            self.lines.came_instead(number);
            return Ok(());
        }
        let effect = match text::parse_line(line) {
            Ok(text::Line::Help { name, text }) => Effect::Help { name: name.into(), text: text.into() },
            Ok(text::Line::Type { name, kind }) => Effect::Type { name: name.into(), kind },
            Ok(_) => return Ok(()),
            Err(error) => {
                self.add_bad_line(line, error);
                return Ok(());
            }
        };
        self.grow(line)?;
        let comment = self.contexts.add(effect);
        self.lines.add(Line { hash, len: line.len() as u32, known: Known::Comment(comment) });
        self.enter_after(comment);
        Ok(())
    }

    /// Counts a line that is going to be remembered.
    fn grow(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.scrape.growth += NEW_LINE_BYTES + line.len();
        match self.settings.growth_max {
            max if self.scrape.growth > max => Err(Refusal::Growth { line: self.scrape.line, max }),
            _ => Ok(()),
        }
    }

    /// Parses, admits and remembers a sample's line that was never seen.
    fn read_new(&mut self, line: &[u8], hash: u64, start: usize) -> Result<(), Refusal> {
        let mut sample = match text::parse_line(line) {
            Ok(text::Line::Sample(sample)) => sample,
            Ok(_) => return Ok(()),
            Err(error) => {
                self.add_bad_line(line, error);
                return Ok(());
            }
        };
        self.grow(line)?;
        let name = sample.name;
        let family = self.contexts.metadata(self.scrape.context).family_of(&name);
        text::normalise(&mut sample.labels, family.kind);
        let known = match self.admit.admit(&mut sample.labels) {
            Admission::Keep => {
                let final_name = sample.labels.get_or_empty(METRIC_NAME);
                let family = if final_name == name { family } else { renamed(family, &name, final_name) };
                let (series, slot) = self.interner.intern(&sample.labels, family);
                self.samples.know(slot, series);
                Known::Series { series, slot }
            }
            Admission::Drop => Known::Dropped,
            Admission::Refuse(reason) => return Err(Refusal::Labels { line: self.scrape.line, reason }),
        };
        match known {
            Known::Series { series, slot } => self.samples.add(series, slot, sample.value, sample.own_ms),
            _ => self.scrape.dropped += 1,
        }
        self.lines.add(Line { hash, len: start as u32, known });
        self.check_sample_limit()
    }

    fn add_bad_line(&mut self, line: &[u8], error: LineError) {
        self.counts.bad_lines += 1;
        if self.counts.first_bad_lines.len() < Counts::BAD_LINES_KEPT {
            self.counts.first_bad_lines.push(BadLine::new(self.scrape.line, line, error));
        }
    }

    #[inline]
    fn enter_after(&mut self, comment: u32) {
        let context = self.contexts.after(comment, self.scrape.context);
        self.enter(context);
    }

    #[inline]
    fn enter(&mut self, context: u32) {
        self.scrape.context = context;
        self.scrape.context_seed = self.contexts.seed(context);
    }

    /// Makes the table anew when most of it is garbage.
    fn compact_if_due(&mut self) {
        let fade = |peak: usize, now: usize| now.max(peak - peak / 8);
        let used_series = self.samples.live_count() + self.reports.len();
        self.peak_lines = fade(self.peak_lines, self.lines.order_len());
        self.peak_series = fade(self.peak_series, used_series.max(self.lines.order_len()));
        let lines_due = self.lines.len() > 2 * self.peak_lines + GARBAGE_MIN;
        let contexts_due = self.contexts.len() > 2 * self.peak_lines + GARBAGE_MIN;
        let series_due = self.interner.series_len() > 2 * self.peak_series + GARBAGE_MIN;
        if lines_due || contexts_due || series_due {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut is_kept = vec![false; self.samples.slots_len()];
        let mut is_comment_kept = vec![false; self.contexts.len()];
        for line in self.lines.last() {
            match line.known {
                Known::Series { slot, .. } => is_kept[slot as usize] = true,
                Known::Comment(comment) => is_comment_kept[comment as usize] = true,
                Known::Dropped => {}
            }
        }
        for report in &self.reports {
            is_kept[report.slot as usize] = true;
        }
        let samples = &self.samples;
        let slots = self.interner.compact(|slot| {
            let keep = is_kept[slot as usize] || samples.is_live(slot);
            keep.then(|| samples.series_of(slot))
        });
        let comments = self.contexts.compact(|comment| is_comment_kept[comment as usize]);
        self.lines.compact(|line| {
            let known = match line.known {
                // A line that stands for a series' former metadata goes with them.
                Known::Series { series, slot } if samples.series_of(slot) != series => return None,
                Known::Series { slot, .. } => {
                    let slot = slots[slot as usize];
                    Known::Series { series: slot, slot }
                }
                Known::Comment(comment) => Known::Comment(comments[comment as usize]),
                Known::Dropped => Known::Dropped,
            };
            Some(Line { known, ..*line })
        });
        self.samples.compact(&slots);
        for report in &mut self.reports {
            report.slot = slots[report.slot as usize];
            report.series = report.slot;
        }
    }
}

/// The family of a series that relabelling gave another name: the same one where the name is still made of it, else one of
/// the new name.
fn renamed<'a>(family: Family<'a>, name: &str, final_name: &'a str) -> Family<'a> {
    let suffix = name.strip_prefix(family.name).unwrap_or_default();
    match final_name.strip_suffix(suffix) {
        Some(stem) if !stem.is_empty() => Family { name: stem, ..family },
        _ => Family { name: final_name, ..Family::default() },
    }
}
