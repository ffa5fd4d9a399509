//! What a new line has in common with the new lines before.
//!
//! A target's new lines come in groups that differ in a label's value or in the name. Where the admission only adds labels, such
//! a line is its neighbour with other values: what is the same is compared with the bytes before and not looked at again. Two
//! neighbours are kept, the last one with labels and the last one without, because those of a histogram take turns.
//!
//! Not a grammar of its own: a line that is read here is written as one that [`super::plain`] has read, but for the values.

use super::super::body::Refusal;
use super::super::scan::name_len;
use super::super::text;
use super::core::{Core, NewAlike, Owner, Placed};
use super::lines::Key;
use super::plain;
use crate::model::{PreparedLabels, part_label, same};

/// A label of the line before.
#[derive(Clone, Copy)]
struct Label {
    /// Where its value starts and ends in `Neighbour::text`.
    start: u32,
    end: u32,
    /// Its place among the labels of the series.
    place: u32,
    /// Whether it is the bound or quantile of its family, of which there are several ways to write the same.
    is_part: bool,
}

/// A value that is another than on the line before.
#[derive(Clone, Copy)]
struct Change {
    /// Which label it is.
    nth: u32,
    /// Where it starts and ends behind the name.
    start: u32,
    end: u32,
}

/// A line that the next one may be like.
#[derive(Default)]
struct Neighbour {
    is_set: bool,
    /// Whether there is a label that is the bound or quantile in some families, and in which.
    has_parts: bool,
    part: Option<&'static str>,
    /// The line from behind its name up to the value.
    text: Vec<u8>,
    labels: Vec<Label>,
    /// Those of the series, if a line of the other kind came behind it.
    prepared: PreparedLabels,
}

/// The last new lines, if the next one may be alike.
#[derive(Default)]
pub(super) struct Alike {
    context: u32,
    owner: Owner,
    /// The metric's name on the last of them; empty where nothing is known of it.
    name: Vec<u8>,
    /// The family's name in the last comment that was new and plainly written: that of the next one too, and of the samples.
    family: Vec<u8>,
    /// The line without labels, and the one with.
    neighbours: [Neighbour; 2],
    /// The one whose labels were looked at last.
    last: usize,
    /// What is new on the line that is being looked at.
    changes: Vec<Change>,
}

/// How the beginning of a line is alike.
#[derive(Clone, Copy)]
pub(super) struct Likeness {
    name_len: usize,
    is_same_name: bool,
    is_labelled: bool,
    owner: Owner,
    /// Bytes before the value.
    pub(super) len: usize,
}

impl Neighbour {
    /// It is another line from now on, which differs in these values.
    fn change(&mut self, text: &[u8], changes: &[Change]) {
        let Some(first) = changes.first() else { return };
        self.text.clear();
        self.text.extend_from_slice(text);
        let mut changes = changes.iter().peekable();
        let mut shift = 0u32;
        for (nth, label) in (0..).zip(&mut self.labels).skip(first.nth as usize) {
            let end = label.end;
            (label.start, label.end) = (label.start.wrapping_add(shift), end.wrapping_add(shift));
            if let Some(change) = changes.next_if(|change| change.nth == nth) {
                (label.start, label.end) = (change.start, change.end);
                shift = change.end.wrapping_sub(end);
            }
        }
    }
}

impl Alike {
    /// The name on the last line that was new and plainly written: mostly that of the next one too.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The family's name in the last comment that was new and plainly written; empty before the first.
    pub(super) fn family(&self) -> &[u8] {
        &self.family
    }

    /// A new comment that was plainly written has this name.
    pub(super) fn set_family(&mut self, name: &str) {
        if !same(&self.family, name.as_bytes()) {
            self.family.clear();
            self.family.extend_from_slice(name.as_bytes());
        }
    }

    /// The next line is like none.
    pub(super) fn forget(&mut self) {
        self.neighbours.iter_mut().for_each(|neighbour| neighbour.is_set = false);
        self.name.clear();
    }

    /// Whether a line that begins with these bytes may be alike.
    #[inline]
    pub(super) fn may_be(&self, line: &[u8]) -> bool {
        self.neighbours.iter().any(|neighbour| neighbour.is_set) && line.first().is_some_and(|first| *first > b'#')
    }

    /// Reads what is before a sample's value, if the line is alike.
    pub(super) fn read(&mut self, core: &Core, line: &[u8]) -> Option<Likeness> {
        let (name_len, is_same_name) = match line.split_at_checked(self.name.len()) {
            Some((name, [b' ' | b'{', ..])) if !name.is_empty() && same(name, &self.name) => (name.len(), true),
            _ => (likely_name_len(line, &self.family)?, false),
        };
        let (name, text) = line.split_at(name_len);
        let is_labelled = text.first() == Some(&b'{');
        let neighbour = &self.neighbours[usize::from(is_labelled)];
        if !neighbour.is_set {
            return None;
        }
        let is_same_family = is_same_name && self.context == core.context();
        let owner = if is_same_family { self.owner } else { core.owner(name) };
        if neighbour.has_parts && owner.part() != neighbour.part {
            return None;
        }
        let held = neighbour.text.as_slice();
        let mut labels = (0..).zip(&neighbour.labels);
        let (mut at, mut before) = (0, 0);
        self.changes.clear();
        loop {
            let same = same_len(text.get(at..)?, held.get(before..)?);
            (at, before) = (at + same, before + same);
            if before == held.len() {
                return Some(Likeness { name_len, is_same_name, is_labelled, owner, len: name_len + at });
            }
            // What differs must be a value, which may have begun alike.
            let (nth, label) = labels.find(|(_, label)| before <= label.end as usize)?;
            let start = at.checked_sub(before.checked_sub(label.start as usize)?)?;
            let value = text.get(start..)?;
            let value = &value[..plain::value_len(value)?];
            if !value.is_ascii() {
                std::str::from_utf8(value).ok()?;
            }
            (at, before) = (start + value.len(), label.end as usize);
            self.changes.push(Change { nth, start: start as u32, end: at as u32 });
        }
    }

    /// Adds the sample of the line that was just read, which is the one that the next may be like.
    pub(super) fn add(
        &mut self,
        core: &mut Core,
        key: Key,
        (likeness, head): (Likeness, &[u8]),
        (value, own_ms, bytes): (f64, Option<i64>, usize),
    ) -> Result<Placed, Refusal> {
        let (name, text) = head.split_at(likeness.name_len);
        if !likeness.is_same_name {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        (self.context, self.owner) = (core.context(), likeness.owner);
        self.turn_to(core, likeness.is_labelled);
        let neighbour = &mut self.neighbours[self.last];
        neighbour.part = likeness.owner.part();
        for change in &self.changes {
            let Label { place, is_part, .. } = neighbour.labels[change.nth as usize];
            let value = &text[change.start as usize..change.end as usize];
            let normal = if is_part { normal_number(value) } else { None };
            core.change_last(place as usize, normal.as_deref().map_or(value, str::as_bytes));
        }
        neighbour.change(text, &self.changes);
        let line = NewAlike { name, is_same_name: likeness.is_same_name, owner: likeness.owner, value, own_ms, bytes };
        core.add_alike(key, line)
    }

    /// The labels of the series that the next one is like are those of this kind of neighbour.
    fn turn_to(&mut self, core: &mut Core, is_labelled: bool) {
        let next = usize::from(is_labelled);
        if next != self.last {
            core.interner.swap_prepared(&mut self.neighbours[self.last].prepared);
            core.interner.swap_prepared(&mut self.neighbours[next].prepared);
            self.last = next;
        }
    }

    /// A line comes that is not alike: its labels will take the place of those of its kind.
    pub(super) fn make_way(&mut self, core: &mut Core, is_labelled: bool) {
        self.turn_to(core, is_labelled);
        self.neighbours[self.last].is_set = false;
    }

    /// The next line may be like this one, which was plainly written and whose series was made last, of the family that owns
    /// it. That is so if the admission only adds labels, and none that the line has.
    pub(super) fn set(&mut self, core: &Core, (head, name_len): (&[u8], usize), owner: Owner) {
        let (name, text) = head.split_at(name_len);
        self.name.clear();
        let Some(added) = core.only_adds() else { return };
        (self.context, self.owner) = (core.context(), owner);
        let neighbour = &mut self.neighbours[self.last];
        neighbour.text.clear();
        neighbour.text.extend_from_slice(text);
        (neighbour.part, neighbour.has_parts) = (owner.part(), false);
        neighbour.labels.clear();
        let mut at = 1;
        loop {
            // Some programs write a blank behind the comma.
            at += usize::from(neighbour.text.get(at) == Some(&b' '));
            let rest = neighbour.text.get(at..).unwrap_or_default();
            let Some(len) = memchr::memchr(b'=', rest) else { break };
            let label = &neighbour.text[at..at + len];
            let start = at + len + 2;
            let Some(value) = neighbour.text.get(start..) else { return };
            if value.first() == Some(&b'"') {
                // Without a value it is no label.
                at = start + 2;
                continue;
            }
            let Some(end) = plain::value_len(value).map(|len| start + len) else { return };
            let is_it = |held: &[u8]| held == label;
            let Some(place) = core.interner.last_labels().position(|(held, _)| is_it(held)) else { return };
            if added.iter().any(|(held, _)| is_it(held.as_bytes())) {
                return;
            }
            let is_part = owner.part().is_some_and(|part| is_it(part.as_bytes()));
            neighbour.has_parts |= matches!(label, b"le" | b"quantile");
            let (start, end) = (start as u32, end as u32);
            neighbour.labels.push(Label { start, end, place: place as u32, is_part });
            at = end as usize + 2;
        }
        neighbour.is_set = true;
        self.name.extend_from_slice(name);
    }
}

impl Owner {
    /// The label in which the series of this family differ by their part.
    fn part(self) -> Option<&'static str> {
        match self {
            Self::Family(kind) => part_label(kind),
            Self::Nobody => None,
        }
    }
}

/// How long the name is that a line begins with, in front of a blank or brace; probably it begins with this
/// one, which may be in a line as it is.
fn likely_name_len(line: &[u8], likely: &[u8]) -> Option<usize> {
    let len = match line.split_at_checked(likely.len()) {
        Some((begin, rest)) if !likely.is_empty() && same(begin, likely) => {
            likely.len() + if matches!(rest.first(), Some(b' ' | b'{')) { 0 } else { name_len(rest, true)? }
        }
        _ => name_len(line, true)?,
    };
    matches!(line.get(len), Some(b' ' | b'{')).then_some(len)
}

/// How many bytes two texts have in common from their beginning on.
#[inline]
fn same_len(one: &[u8], other: &[u8]) -> usize {
    let len = one.len().min(other.len());
    let (one, other) = (&one[..len], &other[..len]);
    let differ = |one: &[u8; 8], other: &[u8; 8]| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    let place = |bits: u64| bits.trailing_zeros() as usize / 8;
    for (nth, (a, b)) in one.as_chunks().0.iter().zip(other.as_chunks().0).enumerate() {
        let bits = differ(a, b);
        if bits != 0 {
            return 8 * nth + place(bits);
        }
    }
    match (one.last_chunk(), other.last_chunk()) {
        // Those before are the same.
        (Some(a), Some(b)) => len - 8 + place(differ(a, b)),
        _ => one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(len),
    }
}

/// A number as Prometheus keeps it, if it is one and written otherwise.
fn normal_number(value: &[u8]) -> Option<String> {
    if plain::is_normal_number(value) { None } else { text::normal_number(std::str::from_utf8(value).ok()?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_up_to_where_they_differ() {
        let text: Vec<u8> = (0..40).collect();
        for len in 0..text.len() {
            for other_len in 0..text.len() {
                assert_eq!(same_len(&text[..len], &text[..other_len]), len.min(other_len));
            }
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert_eq!(same_len(&text[..len], &other), at, "of {len}");
            }
        }
    }
}
