//! What a table knows, and how a body reader asks and tells it, whatever the body's format is.
//!
//! A reader takes a body apart into comments (all that says something about families) and samples. For each it makes a
//! [`Key`], a hash of what does not change in it, seeded by [`Core::seed`] for a sample and by [`Core::comment_seed`] for a comment.
//! - [`Core::comment`] enters the context that a known comment leads to; one that is not known is told with
//!   [`Core::add_comment`].
//! - [`Core::sample`] adds a value to a known series; for one that is not known the reader reads labels and tells them with
//!   [`Core::add_sample`]. Both say which series it was, for [`Core::add_exemplar`] and [`Core::add_created`].
//!
//! Keys are equal only where the meaning is equal: labels, family and the part of it. A reader that has several samples in one
//! piece of its body gives each a hash of its own. A reader that is in a hurry may look at [`Core::lines`] itself, as
//! [`super::text_body`] does.

mod added;
mod compact;

use std::collections::HashSet;
use std::sync::Arc;

pub(super) use self::added::NewAlike;
use super::super::body::{BadLine, Counts, Refusal, Settings, Skipped};
use super::super::context::is_part_of;
use super::super::format::Format;
use super::super::text::LineError;
use super::Admit;
use super::contexts::Contexts;
use super::intern::Interner;
use super::keys::Keys;
use super::lines::{Key, Line, Lines, What};
use super::samples::{Observed, Samples};
use crate::model::{Created, Exemplar, Labels, MetricType};

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is one of this series.
    Series(u32),
    /// The relabelling dropped it.
    Dropped,
}

/// Which family a sample belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Owner {
    /// The one that the comments describe, which is of this type.
    Family(MetricType),
    /// None but an untyped one of its own name.
    #[default]
    Nobody,
}

pub(super) struct Core {
    pub(super) settings: Settings,
    admit: Box<dyn Admit + Send>,
    pub(super) keys: Keys,
    pub(super) contexts: Contexts,
    pub(super) lines: Lines,
    pub(super) interner: Interner,
    pub(super) samples: Samples,
    pub(super) counts: Counts,
    context: u32,
    seed: u64,
    comment_seed: u64,
    /// Lines so far.
    pub(super) line: u64,
    /// Samples that relabelling dropped.
    pub(super) dropped: u64,
    /// Bytes that lines never seen before add to what is kept, estimated.
    growth: usize,
    /// Labels that are counted in it.
    known_labels: usize,
    /// The comment that was added last in this scrape.
    last_comment: Option<(Key, u32)>,
    /// Labels of nothing: memory to be used again.
    spare: Labels<'static>,
    created: Vec<Created>,
    last_created: Arc<[Created]>,
    /// Peaks of lines and series in use, which fade: what is much more is garbage.
    peak_lines: usize,
    peak_series: usize,
}

impl Core {
    pub(super) fn new(settings: Settings, admit: Box<dyn Admit + Send>) -> Self {
        let keys = Keys::new();
        let samples = Samples::new(settings.honor_timestamps, settings.track_timestamps_staleness);
        Self {
            settings,
            admit,
            keys,
            contexts: Contexts::new(keys),
            lines: Lines::default(),
            interner: Interner::new(keys),
            samples,
            counts: Counts::default(),
            context: 0,
            seed: 0,
            comment_seed: 0,
            line: 0,
            dropped: 0,
            growth: 0,
            known_labels: 0,
            last_comment: None,
            spare: Labels::new(),
            created: Vec::new(),
            last_created: Arc::default(),
            peak_lines: 0,
            peak_series: 0,
        }
    }

    /// Starts a scrape.
    pub(super) fn begin(&mut self, at_ms: i64) {
        self.samples.begin(at_ms);
        self.lines.restart();
        if !self.samples.is_even() {
            self.lines.differ();
        }
        self.counts = Counts::default();
        self.created.clear();
        (self.line, self.dropped, self.growth) = (0, 0, 0);
        self.known_labels = self.interner.new_labels();
        self.last_comment = None;
        self.start(Format::Text);
    }

    /// The body is in this format. Before its first line.
    pub(super) fn start(&mut self, format: Format) {
        // The seed of comments: those of one format say nothing in another.
        self.comment_seed = self.keys.hash(self.keys.seed(), &[format as u8]);
        let context = self.contexts.start(format);
        self.enter(context);
    }

    // ---- what body readers use ----

    /// The seed of the keys of samples under the comments so far.
    #[inline]
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The seed of the keys of comments.
    pub(super) fn comment_seed(&self) -> u64 {
        self.comment_seed
    }

    /// The family that a sample of this name belongs to, by its name.
    pub(super) fn owner(&self, name: &[u8]) -> Owner {
        let (family, kind) = self.contexts.name_and_kind(self.context);
        if is_part_of(family, kind, name) { Owner::Family(kind) } else { Owner::Nobody }
    }

    /// A comment came. Gives false if it is not known.
    pub(super) fn comment(&mut self, key: Key) -> bool {
        if let Some(line) = self.lines.predicted_line().filter(|line| line.is(key))
            && let Some(comment) = line.what.comment_number()
        {
            self.lines.came_alone();
            self.enter_after(comment);
            return true;
        }
        let Some(what) = self.lines.find(key) else { return false };
        let Some(comment) = what.comment_number() else { return false };
        self.differ();
        self.lines.came_instead(Line::new(key, what));
        self.enter_after(comment);
        true
    }

    /// A sample came. Gives `None`, and the sample back, if it is not known.
    pub(super) fn sample(&mut self, key: Key, value: Observed, own_ms: Option<i64>) -> Result<Placed, Observed> {
        let is_timed = self.samples.is_timed(own_ms);
        let is_histogram = matches!(value, Observed::Histogram(_));
        let as_it_is = |what: What| match what.series() {
            Some(series) => What::sample(series, is_histogram, is_timed),
            None => what,
        };
        let predicted = self.lines.predicted_line().filter(|line| line.is(key));
        let what = match predicted {
            Some(line) => Some(line.what),
            None => self.lines.find(key),
        };
        let Some(what) = what.filter(|what| !what.is_comment()) else { return Err(value) };
        if predicted.is_some() && as_it_is(what) == what {
            self.lines.came(1);
        } else {
            self.differ();
            self.lines.came_instead(Line::new(key, as_it_is(what)));
        }
        match what.series() {
            Some(series) => Ok(Placed::Series(self.place(series, value, own_ms))),
            None => {
                self.dropped += 1;
                Ok(Placed::Dropped)
            }
        }
    }

    /// The sample with this key could not be read: its series, if it is known, does not end.
    pub(super) fn hold(&mut self, key: Key) {
        if let Some(series) = self.lines.find(key).and_then(What::series) {
            self.differ();
            self.samples.hold(series);
        }
    }

    /// An exemplar of the sample that came last, which is of this series.
    pub(super) fn add_exemplar(&mut self, series: u32, labels: Labels<'static>, value: f64, at_ms: Option<i64>) {
        self.samples.add_exemplar(Exemplar { series, labels, value, at_ms });
    }

    /// Since when a series counts.
    pub(super) fn add_created(&mut self, series: u32, at_ms: i64) {
        self.created.push(Created { series, at_ms });
    }

    /// A line cannot be read.
    pub(super) fn add_bad_line(&mut self, line: &[u8], error: LineError) {
        self.skip(|number| BadLine::new(number, line, error).into());
    }

    /// A line, or what is one in this format, is skipped.
    pub(super) fn skip(&mut self, told: impl FnOnce(u64) -> Skipped) {
        self.counts.bad_lines += 1;
        if self.counts.first_bad_lines.len() < Counts::BAD_LINES_KEPT {
            self.counts.first_bad_lines.push(told(self.line));
        }
    }

    pub(super) fn check_sample_limit(&self) -> Result<(), Refusal> {
        match self.settings.sample_limit {
            limit if limit > 0 && self.samples.len() as u64 > limit => Err(Refusal::SampleLimit { limit }),
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn enter_after(&mut self, comment: u32) {
        let context = self.contexts.after(comment, self.context);
        self.enter(context);
    }

    #[inline]
    pub(super) fn enter(&mut self, context: u32) {
        self.context = context;
        self.seed = self.contexts.seed(context);
    }

    pub(super) fn context(&self) -> u32 {
        self.context
    }

    /// Adds a sample; gives the series that it is counted under: where a body has a label set twice, that of the first.
    #[inline]
    pub(super) fn place(&mut self, series: u32, value: Observed, own_ms: Option<i64>) -> u32 {
        match (value, self.samples.is_even()) {
            (Observed::Float(value), true) => self.samples.add_timed_value(value, own_ms),
            (Observed::Float(value), false) => return self.samples.add(series, value, own_ms),
            (Observed::Histogram(value), true) => self.samples.add_even_histogram(*value, own_ms),
            (Observed::Histogram(value), false) => return self.samples.add_histogram(series, *value, own_ms),
        }
        series
    }

    /// The scrape is not as the one before.
    #[inline]
    fn differ(&mut self) {
        if self.lines.is_even() {
            self.samples.catch_up(self.lines.came_so_far().iter().map(|line| line.what));
            self.lines.differ();
        }
    }

    // ---- the end of a scrape ----

    /// What was read so far of the scrape that has begun.
    pub(super) fn counts(&self) -> Counts {
        let samples = self.samples.len() as u64;
        Counts {
            samples_scraped: samples + self.dropped + self.counts.duplicates,
            samples_post_relabelling: samples + self.counts.duplicates,
            series_added: self.samples.tally().added,
            ..self.counts.clone()
        }
    }

    /// The scrape is good.
    pub(super) fn accept(&mut self) {
        if !self.lines.is_complete() {
            self.differ();
        }
        self.samples.accept();
        self.lines.accept();
    }

    /// Gives back what a target does not need that has just become steady. After its scrape was taken.
    pub(super) fn settle_if_due(&mut self) {
        if self.lines.has_settled() {
            self.lines.settle();
            self.interner.settle();
            self.samples.shrink();
            self.contexts.shrink();
        }
    }

    /// The scrape has failed.
    pub(super) fn fail(&mut self) {
        self.samples.fail();
        self.lines.restart();
        self.created.clear();
    }

    /// Leaves out when series began to count that gave way to the target's own, and what is said of one again.
    pub(super) fn settle_created(&mut self) {
        if !self.samples.is_plain() {
            let mut told = HashSet::new();
            self.created.retain(|held| !self.samples.is_replaced(held.series) && told.insert(held.series));
        }
    }

    /// When series began to count: the same as the last time if nothing of it has changed.
    pub(super) fn take_created(&mut self) -> Arc<[Created]> {
        if *self.last_created != *self.created {
            self.last_created = self.created.as_slice().into();
        }
        Arc::clone(&self.last_created)
    }

    /// Bytes of memory that it has, besides the chunks.
    pub(super) fn bytes(&self) -> usize {
        self.lines.bytes()
            + self.samples.bytes()
            + self.interner.bytes()
            + self.contexts.bytes()
            + self.created.capacity() * size_of::<Created>()
    }
}
