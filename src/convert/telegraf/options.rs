//! The settings of one section, each taken once; what nobody took is told at the end.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use crate::config::values;
use crate::convert::note::{Note, Place};
use crate::convert::text::Text;
use crate::convert::toml::{Entry, Table, Value};
use crate::convert::yaml::{Map, Node};

/// One section of a Telegraf configuration.
pub(super) struct Options<'t> {
    table: &'t Table,
    /// Where it begins.
    pub(super) place: Place,
    taken: RefCell<HashSet<&'t str>>,
    notes: RefCell<Vec<Note>>,
}

/// A setting that was read.
#[derive(Clone, Debug)]
pub(super) struct Taken<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'t> Options<'t> {
    pub(super) fn new(table: &'t Table, place: Place) -> Self {
        Self { table, place, taken: RefCell::default(), notes: RefCell::default() }
    }

    /// Notes that something is not carried over.
    pub(super) fn lose(&self, place: &Place, text: impl Into<String>) {
        self.notes.borrow_mut().push(Note::loss(place, text));
    }

    /// Notes what is to be known.
    pub(super) fn remark(&self, place: &Place, text: impl Into<String>) {
        self.notes.borrow_mut().push(Note::remark(place, text));
    }

    /// Takes over what was noted of a section below this one.
    pub(super) fn absorb(&self, section: &Options<'_>) {
        self.notes.borrow_mut().append(&mut section.notes.borrow_mut());
    }

    /// Puts what was noted so far where the result is now.
    pub(super) fn tell(&self, map: &mut Map) {
        map.notes(self.notes.take());
    }

    /// The entry of a key, which counts as taken.
    pub(super) fn entry(&self, key: &str) -> Option<&'t Entry> {
        // In `telegraf.d` a later file's setting stands in for an earlier one's.
        let entry = self.table.0.iter().rfind(|entry| entry.key == key)?;
        self.taken.borrow_mut().insert(&entry.key);
        Some(entry)
    }

    /// All keys, in the order of the file.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.table.0.iter().map(|entry| entry.key.as_str())
    }

    /// The key that is set, of one that has several names.
    pub(super) fn any<'k>(&self, keys: &[&'k str]) -> &'k str {
        let is_set = |key: &&&str| self.table.0.iter().any(|entry| entry.key == ***key);
        keys.iter().find(is_set).or(keys.first()).copied().unwrap_or_default()
    }

    /// A text; one that is empty is as good as none.
    pub(super) fn text(&self, key: &str) -> Option<Taken<Text>> {
        let entry = self.entry(key)?;
        let value = match &entry.value {
            Value::Text(text) => self.read(&entry.place, key, text)?,
            Value::Integer(number) | Value::Float(number) => Text::literal(number),
            _ => return self.wrong(entry, "a text"),
        };
        (!value.is_empty()).then(|| Taken { value, place: entry.place.clone() })
    }

    /// A text in which variables cannot stand.
    pub(super) fn fixed(&self, key: &str) -> Option<Taken<String>> {
        let taken = self.text(key)?;
        match taken.value.fixed() {
            Some(text) => Some(Taken { value: text.to_owned(), place: taken.place }),
            None => {
                self.lose(&taken.place, format!("{key}: a variable cannot stand here; write the value itself"));
                None
            }
        }
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&self, key: &str) -> Vec<Taken<Text>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let items = match &entry.value {
            Value::List(items) => items.iter().map(|(place, value)| (place, value)).collect(),
            value => vec![(&entry.place, value)],
        };
        let mut texts = Vec::new();
        for (place, value) in items {
            let Value::Text(text) = value else {
                _ = self.wrong::<()>(entry, "a list of texts");
                return Vec::new();
            };
            let value = self.read(place, key, text).filter(|text| !text.is_empty());
            texts.extend(value.map(|value| Taken { value, place: place.clone() }));
        }
        texts
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, key: &str) -> Option<Taken<bool>> {
        let entry = self.entry(key)?;
        let value = match &entry.value {
            Value::Switch(value) => *value,
            Value::Text(text) if text == "true" || text == "false" => text == "true",
            _ => return self.wrong(entry, "true or false"),
        };
        Some(Taken { value, place: entry.place.clone() })
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.switch(key).is_some_and(|taken| taken.value)
    }

    /// A whole number from 1; 0 is as good as none.
    pub(super) fn count(&self, key: &str) -> Option<Node> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Text(text) => {
                let text = self.read(&entry.place, key, text)?;
                match text.fixed() {
                    Some("") => None,
                    Some(_) => self.wrong(entry, "a whole number"),
                    None => Some(Node::text(&text)),
                }
            }
            Value::Integer(number) => match values::count(number) {
                Ok(0) => None,
                Ok(number) => Some(Node::word(number)),
                Err(_) => self.wrong(entry, "a whole number"),
            },
            _ => self.wrong(entry, "a whole number"),
        }
    }

    /// A duration, and its length where no variable is in it. Bare numbers are seconds. 0 is as good as none.
    pub(super) fn duration(&self, key: &str) -> Option<(Taken<Node>, Option<Duration>)> {
        let entry = self.entry(key)?;
        let typed = match &entry.value {
            Value::Integer(number) => format!("{number}s"),
            Value::Float(number) => self.seconds(entry, number)?,
            Value::Text(text) => {
                let text = self.read(&entry.place, key, text)?;
                match text.fixed() {
                    None => {
                        let node = Node::text(&text);
                        return Some((Taken { value: node, place: entry.place.clone() }, None));
                    }
                    Some("") => return None,
                    Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => format!("{text}s"),
                    Some(text) if text.parse::<f64>().is_ok() => self.seconds(entry, text)?,
                    Some(text) => text.to_owned(),
                }
            }
            _ => return self.wrong(entry, "a duration"),
        };
        match values::duration(&typed) {
            Ok(length) if length.is_zero() => None,
            Ok(length) => Some((Taken { value: Node::word(typed), place: entry.place.clone() }, Some(length))),
            Err(_) => self.wrong(entry, "a duration"),
        }
    }

    fn seconds(&self, entry: &Entry, number: &str) -> Option<String> {
        let seconds = number.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
        match seconds {
            Some(length) if length.subsec_nanos() == 0 => Some(format!("{}s", length.as_secs())),
            Some(length) if length.as_micros().is_multiple_of(1000) => Some(format!("{}ms", length.as_millis())),
            Some(length) => Some(format!("{}us", length.as_micros())),
            None => self.wrong(entry, "a duration"),
        }
    }

    /// A size. Bare numbers are bytes; `KB` is 1000 bytes, `KiB` 1024. 0 is as good as none.
    pub(super) fn size(&self, key: &str) -> Option<Node> {
        let entry = self.entry(key)?;
        let text = match &entry.value {
            Value::Integer(number) => number.clone(),
            Value::Text(text) => text.clone(),
            _ => return self.wrong(entry, "a size"),
        };
        let text = self.read(&entry.place, key, &text)?;
        let Some(text) = text.fixed() else { return Some(Node::text(&text)) };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let units = [("", 0, 1), ("B", 0, 1), ("KB", 1, 1000), ("MB", 2, 1000), ("GB", 3, 1000), ("TB", 4, 1000)];
        let binary = [("KiB", 1), ("MiB", 2), ("GiB", 3), ("TiB", 4)].map(|(unit, power)| (unit, power, 1024));
        let found = units.iter().chain(&binary).find(|(name, ..)| *name == unit.trim());
        let bytes = found
            .and_then(|(_, power, base)| number.parse::<u64>().ok()?.checked_mul(u64::checked_pow(*base, *power)?));
        match bytes {
            Some(0) => None,
            Some(_) if unit.contains("iB") => Some(Node::word(text.replace(' ', ""))),
            Some(bytes) => Some(Node::word(format!("{bytes}B"))),
            None if text.is_empty() => None,
            None => self.wrong(entry, "a size"),
        }
    }

    /// The texts of a table.
    pub(super) fn text_map(&self, key: &str) -> Vec<(&'t str, Taken<Text>)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::Table(table) = &entry.value else {
            _ = self.wrong::<()>(entry, "a table");
            return Vec::new();
        };
        let options = Options::new(table, entry.place.clone());
        let pairs = table.0.iter().filter_map(|entry| {
            let text = match &entry.value {
                Value::Switch(value) => {
                    Some(Taken { value: Text::literal(value.to_string()), place: entry.place.clone() })
                }
                _ => options.text(&entry.key),
            };
            Some((entry.key.as_str(), text?))
        });
        let pairs = pairs.collect();
        self.notes.borrow_mut().extend(options.notes.take());
        pairs
    }

    /// A table below this one.
    pub(super) fn section(&self, key: &str) -> Option<Options<'t>> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Table(table) => Some(Options::new(table, entry.place.clone())),
            _ => self.wrong(entry, "a table"),
        }
    }

    /// Leaves settings out that change nothing.
    pub(super) fn ignore(&self, keys: &[&str]) {
        keys.iter().for_each(|key| _ = self.entry(key));
    }

    /// Names the settings that were not taken, with the reason where there is one.
    pub(super) fn lose_rest(&self, what: &str, reasons: &[(&str, &str)]) {
        for entry in &self.table.0 {
            if self.taken.borrow().contains(entry.key.as_str()) || is_off(&entry.value) {
                continue;
            }
            let key = entry.key.escape_debug();
            match reasons.iter().find(|(name, _)| *name == entry.key) {
                Some((_, reason)) => self.lose(&entry.place, format!("{key}: {reason}")),
                None => self.lose(&entry.place, format!("{key}: not known as an option of {what}")),
            }
        }
    }

    fn read(&self, place: &Place, key: &str, text: &str) -> Option<Text> {
        let read = Text::read(text).ok();
        if read.is_none() {
            self.lose(
                place,
                format!("{key}: there are only ${{NAME}} and ${{NAME:-default}} here, and no dollar right before them"),
            );
        }
        read
    }

    fn wrong<T>(&self, entry: &Entry, expected: &str) -> Option<T> {
        self.lose(&entry.place, format!("{}: is not {expected}", entry.key.escape_debug()));
        None
    }
}

/// Whether a value asks for nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::Integer(number) | Value::Float(number) => number.parse() == Ok(0.0),
        Value::Switch(is_on) => !is_on,
        Value::List(list) => list.is_empty(),
        Value::Table(table) => table.0.iter().all(|entry| is_off(&entry.value)),
        Value::Time => false,
    }
}
