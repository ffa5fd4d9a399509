//! Reads Telegraf's TOML into a tree in which every value knows its line.
//!
//! Telegraf replaces variables before it reads TOML, so that `port = ${PORT}` is none yet. Here, a variable that stands outside
//! quotes is put into quotes first; the places that are told are those of the file.

use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::note::Place;
use crate::config::{Pos, Problem};

/// Bytes of a file, at most.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// Settings of a file, at most.
const SETTINGS_MAX: usize = 50_000;

/// A table, its entries in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value. Numbers are kept as they are typed.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(String),
    Float(String),
    Switch(bool),
    /// A date or a time, which no setting is.
    Time,
    List(Vec<(Place, Value)>),
    Table(Table),
}

/// Reads a file.
///
/// # Errors
/// What is no TOML: line, column, a sentence.
pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Table, Problem> {
    let problem = |at: Pos, message: String| Problem { file: file.into(), at, message };
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("longer than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(problem(Pos::default(), message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        problem(position(&before, before.len()), "not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let quoted = Quoted::new(text);
    let table = DeTable::parse(&quoted.text).map_err(|error| {
        let at = quoted.original(error.span().map_or(0, |span| span.start));
        problem(position(text, at), format!("not TOML: {}", one_line(error.message())))
    })?;
    if settings(table.get_ref()) > SETTINGS_MAX {
        return Err(problem(Pos::default(), format!("more than {SETTINGS_MAX} settings")));
    }
    let reader = Reader { file: file.into(), lines: lines(&quoted.text) };
    Ok(reader.table(table.get_ref()))
}

/// Line and column of a byte.
fn position(text: &str, at: usize) -> Pos {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    Pos { line: count(before.matches('\n').count()), column: count(before[line_start..].chars().count()) }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where lines begin.
fn lines(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// How many settings there are, at whatever depth.
fn settings(table: &DeTable<'_>) -> usize {
    table.values().map(|value| 1 + settings_in(value.get_ref())).sum()
}

fn settings_in(value: &DeValue<'_>) -> usize {
    match value {
        DeValue::Table(table) => settings(table),
        DeValue::Array(list) => list.iter().map(|item| settings_in(item.get_ref())).sum(),
        _ => 0,
    }
}

struct Reader {
    file: Rc<str>,
    lines: Vec<usize>,
}

impl Reader {
    fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at);
        Place { file: self.file.clone(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
            key: AsRef::<str>::as_ref(key.get_ref()).to_owned(),
            place: self.place(key.span().start),
            value: self.value(value.get_ref()),
        };
        Table(entries.into_iter().map(entry).collect())
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Integer(match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string(),
                Err(_) => number.to_string(),
            }),
            DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
            DeValue::Boolean(switch) => Value::Switch(*switch),
            DeValue::Datetime(_) => Value::Time,
            DeValue::Array(list) => {
                let item = |item: &Spanned<DeValue<'_>>| (self.place(item.span().start), self.value(item.get_ref()));
                Value::List(list.iter().map(item).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// A text in which variables outside quotes have quotes.
struct Quoted {
    text: String,
    /// Where a quote was put, in `text`.
    added: Vec<usize>,
}

impl Quoted {
    fn new(text: &str) -> Self {
        let mut this = Self { text: String::with_capacity(text.len()), added: Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (piece, is_variable) = match first {
                '#' => (rest.find('\n').unwrap_or(rest.len()), false),
                '"' | '\'' => (string_length(rest, first), false),
                '$' => (variable_length(rest), variable_length(rest) > 1),
                _ => (first.len_utf8(), false),
            };
            let (piece, after) = rest.split_at(piece);
            // A default may hold a quote or a backslash: single quotes leave it as it is.
            let quote = if piece.contains('\'') { '"' } else { '\'' };
            if is_variable {
                this.quote(quote);
            }
            this.text.push_str(piece);
            if is_variable {
                this.quote(quote);
            }
            rest = after;
        }
        this
    }

    fn quote(&mut self, quote: char) {
        self.added.push(self.text.len());
        self.text.push(quote);
    }

    /// The place of a byte in the text as it was.
    fn original(&self, at: usize) -> usize {
        at - self.added.partition_point(|added| *added < at)
    }
}

/// Bytes of a string, its quotes included; of one that does not end, those of its line.
fn string_length(text: &str, quote: char) -> usize {
    let triple = if quote == '"' { "\"\"\"" } else { "'''" };
    let (delimiter, is_long) = match text.starts_with(triple) {
        true => (triple, true),
        false => (&triple[..1], false),
    };
    let bytes = text.as_bytes();
    let mut at = delimiter.len();
    while at < bytes.len() {
        if text.is_char_boundary(at) && text[at..].starts_with(delimiter) {
            return at + delimiter.len();
        }
        match bytes[at] {
            b'\n' if !is_long => return at,
            b'\\' if quote == '"' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Bytes of a variable; 1 where the dollar is only a dollar.
fn variable_length(text: &str) -> usize {
    let inside = text.get(1..).unwrap_or_default();
    if inside.starts_with('{') {
        let line = inside.split('\n').next().unwrap_or_default();
        return line.find('}').map_or(1, |end| end + 2);
    }
    1 + inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_outside_quotes_are_texts() {
        let text = "a = ${PORT} # $NOT\nb = [\"$X\", $Y, '''$Z\n''']\nc = '${V}'\nd = ${W:-'x'}\n";
        let expected = "a = '${PORT}' # $NOT\nb = [\"$X\", '$Y', '''$Z\n''']\nc = '${V}'\nd = \"${W:-'x'}\"\n";
        assert_eq!(Quoted::new(text).text, expected);
        assert_eq!(parse("a.conf", text.as_bytes()).unwrap().0.len(), 4);
    }

    #[test]
    fn entries_know_their_lines() {
        let text = "# c\n[agent]\n  interval = \"1s\"\n\n[[inputs.prometheus]]\n  urls = [\n    \"a\",\n    \"b\"]\n[[inputs.prometheus]]\n";
        let root = parse("a.conf", text.as_bytes()).unwrap();
        assert_eq!(root.0.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["agent", "inputs"]);
        let Value::Table(inputs) = &root.0[1].value else { panic!() };
        let Value::List(list) = &inputs.0[0].value else { panic!() };
        assert_eq!(list.iter().map(|(place, _)| place.line).collect::<Vec<_>>(), [5, 9]);
        let Value::Table(input) = &list[0].1 else { panic!() };
        let Value::List(urls) = &input.0[0].value else { panic!() };
        assert_eq!(urls.iter().map(|(place, _)| place.line).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let error = |text: &[u8]| parse("a.conf", text).unwrap_err().to_string();
        assert!(
            error(b"a = 1\nb = ${X} c\n").starts_with("a.conf:2:10: not TOML: "),
            "{}",
            error(b"a = 1\nb = ${X} c\n")
        );
        assert_eq!(error(b"a = \"\xff\""), "a.conf:1:6: not UTF-8");
        for text in ["\"", "'''", "$", "${", "[", "a = \"\\", "a = \"\\é", "\u{feff}é"] {
            let _ = parse("a.conf", text.as_bytes());
        }
    }
}
