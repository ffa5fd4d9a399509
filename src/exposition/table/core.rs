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

use std::collections::HashSet;
use std::sync::Arc;

use super::super::body::{BadLine, Counts, Refusal, Settings, Skipped};
use super::super::context::is_part_of;
use super::super::format::Format;
use super::super::text::LineError;
use super::contexts::{Contexts, Effect};
use super::intern::{Interner, NONE};
use super::keys::Keys;
use super::lines::{Key, Line, Lines, NUMBERS_MAX, What};
use super::samples::{Observed, Samples};
use super::{Admission, Admit};
use crate::model::{Created, Exemplar, Family, Labels, MetricType};

/// Lines or series that may be garbage before a table is made anew, beyond as many as are in use.
const GARBAGE_MIN: usize = 1024;
/// What a line that was never seen before costs beside its text, in bytes, before its target is steady.
/// Measured up to 290, where tables have just doubled.
const NEW_LINE_BYTES: usize = 320;
/// What a label that no other new line has costs, in bytes. Measured up to 90.
const NEW_LABEL_BYTES: usize = 96;

/// What a line costs that comes again in one body: nothing limits how short it is in the body.
const REPEATED_LINE_BYTES: usize = 64;

/// How long a line is where nothing is known of a body. Most are longer.
const BYTES_A_LINE: usize = 64;

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

/// A sample that is not known and [alike](Core::add_alike) the one before.
pub(super) struct NewAlike<'l> {
    /// The metric's name.
    pub(super) name: &'l [u8],
    /// Whether that is the last one that was looked at.
    pub(super) is_same_name: bool,
    pub(super) owner: Owner,
    pub(super) value: f64,
    pub(super) own_ms: Option<i64>,
    /// How long the line is.
    pub(super) bytes: usize,
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

    /// Makes room for a piece of the body that has so many bytes, of which no line is known: they come as they are, and memory
    /// that grows with them bit by bit is copied again and again.
    pub(super) fn make_room(&mut self, bytes: usize) {
        let lines = bytes / BYTES_A_LINE;
        self.lines.make_room(lines);
        self.samples.make_room(lines);
        self.contexts.make_room(lines / 2, bytes / 2);
        self.interner.make_room(lines, bytes / 2);
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

    /// A comment came that is not known. Gives false if it is not the one that was [added](Self::add_comment) last.
    pub(super) fn comment_again(&mut self, key: Key) -> Result<bool, Refusal> {
        let Some((_, comment)) = self.last_comment.filter(|(last, _)| *last == key) else { return Ok(false) };
        self.weigh(REPEATED_LINE_BYTES)?;
        self.differ();
        self.lines.add(Line::new(key, What::comment(comment)));
        self.enter_after(comment);
        Ok(true)
    }

    /// A comment came that is not known, of so many bytes.
    pub(super) fn add_comment(&mut self, key: Key, effect: Effect<'_>, bytes: usize) -> Result<(), Refusal> {
        self.grow(bytes)?;
        self.differ();
        let comment = self.contexts.add(effect, self.context);
        self.last_comment = Some((key, comment));
        self.lines.add(Line::new(key, What::comment(comment)));
        self.enter_after(comment);
        Ok(())
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

    /// Labels of nothing, for [`add_sample`](Self::add_sample): with the memory of those before.
    pub(super) fn take_spare(&mut self) -> Labels<'static> {
        std::mem::take(&mut self.spare)
    }

    /// A sample came that is not known: one of `name` in this family, with these labels, the name among them, in so many bytes.
    pub(super) fn add_sample(
        &mut self,
        key: Key,
        (name, owner): (&str, Owner),
        labels: Labels<'_>,
        value: Observed,
        own_ms: Option<i64>,
        bytes: usize,
    ) -> Result<Placed, Refusal> {
        self.grow(bytes)?;
        self.differ();
        // A shorter life than the caller's: that of the admission's texts.
        let mut labels = labels;
        let mut placed = match self.admit.admit(&mut labels) {
            Admission::Keep => {
                let final_name = labels.metric_name();
                let is_renamed = !std::ptr::eq(final_name, name) && final_name != name;
                let context = (owner != Owner::Nobody && !is_renamed).then_some(self.context);
                let family = || match family_of(&self.contexts, self.context, (name.as_bytes(), owner)) {
                    family if is_renamed => renamed(family, name, final_name),
                    family => family,
                };
                let (series, slot) = self.interner.intern(&labels, family, context);
                self.samples.know(slot, series);
                Placed::Series(series)
            }
            Admission::Drop => Placed::Dropped,
            Admission::Refuse(reason) => return Err(Refusal::Labels { line: self.line, reason }),
        };
        self.spare = labels.recycle();
        let what = match placed {
            Placed::Series(series) => {
                let is_histogram = matches!(value, Observed::Histogram(_));
                placed = Placed::Series(self.place(series, value, own_ms));
                What::sample(series, is_histogram, self.samples.is_timed(own_ms))
            }
            Placed::Dropped => {
                self.dropped += 1;
                What::DROPPED
            }
        };
        self.lines.add(Line::new(key, what));
        self.check_sample_limit()?;
        Ok(placed)
    }

    /// The labels that the admission adds to every series, if it does no more.
    pub(super) fn only_adds(&self) -> Option<&Labels<'static>> {
        self.admit.only_adds()
    }

    /// Changes the labels of the series that was made last, for [`add_alike`](Self::add_alike).
    pub(super) fn change_last(&mut self, place: usize, value: &[u8]) {
        self.interner.change_last(place, value);
    }

    /// A sample came that is not known, and whose labels are those of the series that was made last, but for values that were
    /// [changed](Self::change_last). The admission is not asked: it [only adds](Self::only_adds).
    pub(super) fn add_alike(&mut self, key: Key, line: NewAlike<'_>) -> Result<Placed, Refusal> {
        let NewAlike { name, is_same_name, owner, value, own_ms, bytes } = line;
        self.grow(bytes)?;
        self.differ();
        let context = (owner != Owner::Nobody).then_some(self.context);
        let family = || family_of(&self.contexts, self.context, (name, owner));
        let (series, slot) = self.interner.intern_alike(name, is_same_name, family, context);
        // Not even any more.
        self.samples.add_known(slot, series, value, own_ms);
        self.lines.add(Line::new(key, What::sample(series, false, self.samples.is_timed(own_ms))));
        self.check_sample_limit()?;
        Ok(Placed::Series(series))
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

    /// Counts bytes that a scrape keeps beside its values: what is new, and buckets of native histograms.
    pub(super) fn weigh(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.growth = self.growth.saturating_add(bytes);
        self.check_growth()
    }

    /// Says whether the scrape may go on adding. To be asked where a sample came that was known, and may have come before.
    #[inline]
    pub(super) fn check_growth(&self) -> Result<(), Refusal> {
        match self.settings.growth_max {
            max if self.growth() > max => Err(Refusal::Growth { line: self.line, max }),
            _ => Ok(()),
        }
    }

    /// Counts what is going to be remembered, and labels that are new since the last time.
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let labels = self.interner.new_labels();
        let new_labels = labels - self.known_labels;
        self.known_labels = labels;
        self.weigh(NEW_LINE_BYTES + bytes + new_labels * NEW_LABEL_BYTES)?;
        let max = self.settings.growth_max;
        let has_room = self.interner.series_len() < NUMBERS_MAX
            && self.contexts.comments() < NUMBERS_MAX
            && self.contexts.text_bytes() + bytes <= u32::MAX as usize;
        if has_room { Ok(()) } else { Err(Refusal::Growth { line: self.line, max }) }
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

    /// Bytes that the scrape has added so far.
    pub(super) fn growth(&self) -> usize {
        self.growth.saturating_add(self.lines.repeats().saturating_mul(REPEATED_LINE_BYTES))
    }

    /// Makes the table anew when most of it is garbage. Between scrapes. The target's own series stay, whose numbers change.
    pub(super) fn compact_if_due<'r>(&mut self, reports: impl Iterator<Item = &'r mut u32>) {
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

/// The family that a sample belongs to under a context.
fn family_of<'a>(contexts: &'a Contexts, context: u32, (name, owner): (&'a [u8], Owner)) -> Family<'a> {
    match owner {
        Owner::Family(_) => contexts.family(context),
        Owner::Nobody => Family { name: std::str::from_utf8(name).unwrap_or_default(), ..Family::default() },
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
