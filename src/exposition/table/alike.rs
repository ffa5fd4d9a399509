//! What a new line has in common with the new line before.
//!
//! A target's new lines come in groups that differ in a label's value or in the name. Where the admission only adds labels, such
//! a line is its neighbour with other values: what is the same is compared with the bytes before and not looked at again.
//!
//! Not a grammar of its own: a line that is read here is written as one that [`super::plain`] has read, but for the values.

use super::super::body::Refusal;
use super::super::scan::name_len;
use super::super::text;
use super::core::{Core, Owner, Placed};
use super::lines::Key;
use super::plain;
use crate::model::{part_label, same};

/// A label of the line before.
#[derive(Clone, Copy)]
struct Label {
    /// Where its value starts and ends in `Alike::text`.
    start: u32,
    end: u32,
    /// Its place among the labels of the series.
    place: u32,
    /// Whether it is the bound or quantile of its family, of which there are several ways to write the same.
    is_part: bool,
    /// Whether the value is another than on the line before.
    is_new: bool,
}

/// The last new line, if the next one may be alike.
#[derive(Default)]
pub(super) struct Alike {
    is_set: bool,
    /// Whether there is a bound or quantile, which may be one under this name and context only.
    has_parts: bool,
    context: u32,
    owner: Owner,
    name: Vec<u8>,
    /// The line from behind its name up to the value.
    text: Vec<u8>,
    labels: Vec<Label>,
    /// The labels of the line that is being looked at.
    found: Vec<Label>,
}

impl Alike {
    /// The name on the last line that was new and plainly written: mostly that of the next one too.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The next line is like none.
    pub(super) fn forget(&mut self) {
        self.is_set = false;
    }

    /// Reads what is before a sample's value; gives how long the metric's name is, if the line is alike.
    pub(super) fn read(&mut self, core: &Core, head: &[u8]) -> Option<usize> {
        if !self.is_set || self.has_parts && self.context != core.context() {
            return None;
        }
        let name_len = match head.split_at_checked(self.name.len()) {
            Some((name, [b' ' | b'{', ..])) if name == self.name => name.len(),
            _ if self.has_parts => return None,
            _ => name_len(head, true)?,
        };
        let text = &head[name_len..];
        self.found.clear();
        let (mut at, mut before) = (0, 0);
        for &label in &self.labels {
            let fixed = self.text.get(before..label.start as usize)?;
            let rest = text.get(at..)?;
            let rest = rest.split_at_checked(fixed.len()).filter(|(begin, _)| same(begin, fixed))?.1;
            at += fixed.len();
            before = label.end as usize;
            let held = self.text.get(label.start as usize..before)?;
            let is_same = rest.get(held.len()) == Some(&b'"') && same(&rest[..held.len()], held);
            let len = if is_same { held.len() } else { plain::value_len(rest)? };
            if !is_same && !rest[..len].is_ascii() {
                std::str::from_utf8(&rest[..len]).ok()?;
            }
            self.found.push(Label { start: at as u32, end: (at + len) as u32, is_new: !is_same, ..label });
            at += len;
        }
        let (rest, held) = (text.get(at..)?, self.text.get(before..)?);
        same(rest, held).then_some(name_len)
    }

    /// Adds the sample of the line that was just read, which is the one that the next may be like.
    pub(super) fn add(
        &mut self,
        core: &mut Core,
        key: Key,
        (head, name_len): (&[u8], usize),
        (value, own_ms, bytes): (f64, Option<i64>, usize),
    ) -> Result<Placed, Refusal> {
        let (name, text) = head.split_at(name_len);
        let is_same_name = same(name, &self.name);
        if !is_same_name {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        if !is_same_name || self.context != core.context() {
            (self.context, self.owner) = (core.context(), core.owner(&self.name));
        }
        for label in self.found.iter().filter(|label| label.is_new) {
            let value = &text[label.start as usize..label.end as usize];
            let normal = if label.is_part { normal_number(value) } else { None };
            core.change_last(label.place as usize, normal.as_deref().map_or(value, str::as_bytes))?;
        }
        let placed = core.add_alike(key, (&self.name, self.owner), value, own_ms, bytes)?;
        std::mem::swap(&mut self.labels, &mut self.found);
        self.text.clear();
        self.text.extend_from_slice(text);
        Ok(placed)
    }

    /// The next line may be like this one, which was plainly written and whose series was made last, of the family that owns
    /// it. That is so if the admission only adds labels, and none that the line has.
    pub(super) fn set(&mut self, core: &Core, (head, name_len): (&[u8], usize), owner: Owner) {
        self.is_set = false;
        let Some(added) = core.only_adds() else { return };
        let (name, text) = head.split_at(name_len);
        self.name.clear();
        self.name.extend_from_slice(name);
        (self.context, self.owner) = (core.context(), owner);
        self.text.clear();
        self.text.extend_from_slice(text);
        self.has_parts = false;
        self.labels.clear();
        let mut at = 1;
        while let Some(len) = self.text.get(at..).and_then(|text| memchr::memchr(b'=', text)) {
            let name = &self.text[at..at + len];
            let start = at + len + 2;
            let Some(end) = self.text.get(start..).and_then(plain::value_len).map(|len| start + len) else { return };
            let is_it = |held: &[u8]| held == name;
            let Some(place) = core.interner.last_labels().position(|(held, _)| is_it(held)) else { return };
            if added.iter().any(|(held, _)| is_it(held.as_bytes())) {
                return;
            }
            let is_part = match owner {
                Owner::Family(kind) => part_label(kind).is_some_and(|part| is_it(part.as_bytes())),
                Owner::Nobody => false,
            };
            self.has_parts |= matches!(name, b"le" | b"quantile");
            let (start, end) = (start as u32, end as u32);
            self.labels.push(Label { start, end, place: place as u32, is_part, is_new: false });
            at = end as usize + 2;
        }
        self.is_set = true;
    }
}

/// A number as Prometheus keeps it, if it is one and written otherwise.
fn normal_number(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?;
    if plain::is_normal_number(value) { None } else { text::normal_number(value) }
}
