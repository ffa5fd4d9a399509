//! What a table adds to what it knows: comments and samples that were never seen, and what they may cost.

use super::super::super::body::Refusal;
use super::super::Admission;
use super::super::contexts::{Contexts, Effect};
use super::super::lines::{Key, Line, NUMBERS_MAX, What};
use super::super::samples::Observed;
use super::{Core, Owner, Placed};
use crate::model::{Family, Labels};

/// What a line that was never seen before costs beside its text, in bytes, before its target is steady.
/// Measured up to 290, where tables have just doubled.
const NEW_LINE_BYTES: usize = 320;

/// What a label that no other new line has costs, in bytes. Measured up to 90.
const NEW_LABEL_BYTES: usize = 96;

/// What a line costs that comes again in one body: nothing limits how short it is in the body.
const REPEATED_LINE_BYTES: usize = 64;

/// How long a line is where nothing is known of a body. Most are longer.
const BYTES_A_LINE: usize = 64;

/// A sample that is not known and [alike](Core::add_alike) the one before.
pub(in super::super) struct NewAlike<'l> {
    /// The metric's name.
    pub(in super::super) name: &'l [u8],
    /// Whether that is the last one that was looked at.
    pub(in super::super) is_same_name: bool,
    pub(in super::super) owner: Owner,
    pub(in super::super) value: f64,
    pub(in super::super) own_ms: Option<i64>,
    /// How long the line is.
    pub(in super::super) bytes: usize,
}

impl Core {
    /// Makes room for a piece of the body that has so many bytes, of which no line is known: they come as they are, and memory
    /// that grows with them bit by bit is copied again and again.
    pub(in super::super) fn make_room(&mut self, bytes: usize) {
        let lines = bytes / BYTES_A_LINE;
        self.lines.make_room(lines);
        self.samples.make_room(lines);
        self.contexts.make_room(lines / 2, bytes / 2);
        self.interner.make_room(lines, bytes / 2);
    }

    /// A comment came that is not known. Gives false if it is not the one that was [added](Self::add_comment) last.
    pub(in super::super) fn comment_again(&mut self, key: Key) -> Result<bool, Refusal> {
        let Some((_, comment)) = self.last_comment.filter(|(last, _)| *last == key) else { return Ok(false) };
        self.weigh(REPEATED_LINE_BYTES)?;
        self.differ();
        self.lines.add(Line::new(key, What::comment(comment)));
        self.enter_after(comment);
        Ok(true)
    }

    /// A comment came that is not known, of so many bytes.
    pub(in super::super) fn add_comment(&mut self, key: Key, effect: Effect<'_>, bytes: usize) -> Result<(), Refusal> {
        self.grow(bytes)?;
        self.differ();
        let comment = self.contexts.add(effect, self.context);
        self.last_comment = Some((key, comment));
        self.lines.add(Line::new(key, What::comment(comment)));
        self.enter_after(comment);
        Ok(())
    }

    /// Labels of nothing, for [`add_sample`](Self::add_sample): with the memory of those before.
    pub(in super::super) fn take_spare(&mut self) -> Labels<'static> {
        std::mem::take(&mut self.spare)
    }

    /// A sample came that is not known: one of `name` in this family, with these labels, the name among them, in so many bytes.
    pub(in super::super) fn add_sample(
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
    pub(in super::super) fn only_adds(&self) -> Option<&Labels<'static>> {
        self.admit.only_adds()
    }

    /// Changes the labels of the series that was made last, for [`add_alike`](Self::add_alike).
    pub(in super::super) fn change_last(&mut self, place: usize, value: &[u8]) {
        self.interner.change_last(place, value);
    }

    /// A sample came that is not known, and whose labels are those of the series that was made last, but for values that were
    /// [changed](Self::change_last). The admission is not asked: it [only adds](Self::only_adds).
    pub(in super::super) fn add_alike(&mut self, key: Key, line: NewAlike<'_>) -> Result<Placed, Refusal> {
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

    /// Counts bytes that a scrape keeps beside its values: what is new, and buckets of native histograms.
    pub(in super::super) fn weigh(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.growth = self.growth.saturating_add(bytes);
        self.check_growth()
    }

    /// Says whether the scrape may go on adding. To be asked where a sample came that was known, and may have come before.
    #[inline]
    pub(in super::super) fn check_growth(&self) -> Result<(), Refusal> {
        match self.settings.growth_max {
            max if self.growth() > max => Err(Refusal::Growth { line: self.line, max }),
            _ => Ok(()),
        }
    }

    /// Bytes that the scrape has added so far.
    pub(in super::super) fn growth(&self) -> usize {
        self.growth.saturating_add(self.lines.repeats().saturating_mul(REPEATED_LINE_BYTES))
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
