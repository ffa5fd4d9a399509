//! Writes YAML as a person would: in blocks, short things on one line, comments where they belong.
//!
//! Promise: what is written is read back by [`yaml`](super::yaml) as the same tree, whatever is in its texts; nothing in them
//! moves a cursor or hides what follows.
//!
//! A comment may be a note, a value of the caller's own that [`notes`] finds again. Who has none leaves the parameter out.

use std::convert::Infallible;
use std::fmt::Display;

/// Columns of a line, beyond which a list or a mapping is written over several.
const WIDTH: usize = 120;

/// A value.
#[derive(Clone, Debug)]
pub enum Node<N = Infallible> {
    /// Written as it is: a number, a duration, a word, or a text that was quoted.
    Scalar(String),
    /// A list of scalars, on one line where it fits.
    Scalars(Vec<String>),
    /// A mapping, on one line where it fits.
    Map(Map<N>),
    /// A mapping, over several lines.
    Block(Map<N>),
    /// A list of mappings.
    List(Vec<Map<N>>),
}

impl<N> Node<N> {
    /// What is no text to YAML, or a word that needs no quotes.
    pub fn word(word: impl ToString) -> Self {
        Self::Scalar(word.to_string())
    }

    /// A text that is read as it stands.
    pub fn verbatim(text: &str) -> Self {
        Self::Scalar(quoted(text))
    }

    /// A list of words that need no quotes.
    pub fn words<'t>(words: impl IntoIterator<Item = &'t str>) -> Self {
        Self::Scalars(words.into_iter().map(str::to_owned).collect())
    }
}

/// A mapping, with what is said between its keys.
#[derive(Clone, Debug)]
pub struct Map<N = Infallible>(Vec<Line<N>>);

#[derive(Clone, Debug)]
enum Line<N> {
    Comment(String),
    Note(N),
    Pair(String, Node<N>),
}

impl<N> Default for Map<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N> Map<N> {
    /// Adds a key.
    pub fn add(&mut self, key: impl Into<String>, node: Node<N>) {
        self.0.push(Line::Pair(key.into(), node));
    }

    /// Adds a key, where there is a value.
    pub fn add_some(&mut self, key: &str, node: Option<Node<N>>) {
        if let Some(node) = node {
            self.add(key, node);
        }
    }

    /// Adds a mapping, unless nothing is in it.
    pub fn add_map(&mut self, key: &str, map: Map<N>) {
        match map.has_keys() {
            true => self.add(key, Node::Map(map)),
            false => self.0.extend(map.0),
        }
    }

    /// Adds a list of mappings, those left out in which nothing is; and nothing, where none is left.
    pub fn add_list(&mut self, key: &str, mut list: Vec<Map<N>>) {
        list.retain(|map| !map.0.is_empty());
        if !list.is_empty() {
            self.add(key, Node::List(list));
        }
    }

    /// Adds a comment.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.0.push(Line::Comment(text.into()));
    }

    /// Adds notes.
    pub fn notes(&mut self, notes: impl IntoIterator<Item = N>) {
        self.0.extend(notes.into_iter().map(Line::Note));
    }

    /// Adds all of another one; lists of mappings that both have under one key become one.
    pub fn join(&mut self, other: Self) {
        for line in other.0 {
            let held = self.0.iter_mut().find_map(|held| match (held, &line) {
                (Line::Pair(key, Node::List(list)), Line::Pair(other, Node::List(_))) if key == other => Some(list),
                _ => None,
            });
            match (held, line) {
                (Some(held), Line::Pair(_, Node::List(more))) => held.extend(more),
                (_, line) => self.0.push(line),
            }
        }
    }

    /// Whether a key is in it.
    pub fn has_keys(&self) -> bool {
        self.0.iter().any(|line| matches!(line, Line::Pair(..)))
    }
}

impl<N> FromIterator<(&'static str, Node<N>)> for Map<N> {
    fn from_iter<I: IntoIterator<Item = (&'static str, Node<N>)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, node)| Line::Pair(key.to_owned(), node)).collect())
    }
}

/// The notes in a tree, in its order.
pub fn notes<N: Clone>(map: &Map<N>) -> Vec<N> {
    let mut found = Vec::new();
    collect(map, &mut found);
    found
}

fn collect<N: Clone>(map: &Map<N>, found: &mut Vec<N>) {
    for line in &map.0 {
        match line {
            Line::Note(note) => found.push(note.clone()),
            Line::Pair(_, Node::Map(map) | Node::Block(map)) => collect(map, found),
            Line::Pair(_, Node::List(list)) => list.iter().for_each(|map| collect(map, found)),
            Line::Pair(..) | Line::Comment(_) => {}
        }
    }
}

/// The text of a document.
pub fn document<N: Display>(map: &Map<N>) -> String {
    let mut out = String::new();
    block(&mut out, map, 0, false);
    out
}

/// Writes the lines of a mapping. Those of a list's item begin behind its dash, so the first is not indented.
fn block<N: Display>(out: &mut String, map: &Map<N>, indent: usize, is_item: bool) {
    let mut is_first = is_item;
    // The dash of an item stands before its first key; what is said before that, before the dash.
    let first_key = map.0.iter().position(|line| matches!(line, Line::Pair(..))).unwrap_or(map.0.len());
    for (at, line) in map.0.iter().enumerate() {
        let comment_indent = if is_item && at < first_key { indent - 2 } else { indent };
        match line {
            Line::Comment(text) => comment(out, text, comment_indent),
            Line::Note(note) => comment(out, &note.to_string(), comment_indent),
            Line::Pair(key, node) => {
                match std::mem::take(&mut is_first) {
                    true => out.push_str(&format!("{:1$}- ", "", indent - 2)),
                    false => out.push_str(&" ".repeat(indent)),
                }
                out.push_str(&quoted(key));
                out.push(':');
                value(out, node, indent, key.len());
            }
        }
    }
}

fn value<N: Display>(out: &mut String, node: &Node<N>, indent: usize, key_length: usize) {
    let room = WIDTH.saturating_sub(indent + key_length + 2);
    match node {
        Node::Scalar(text) => out.push_str(&format!(" {text}\n")),
        Node::Scalars(texts) => {
            let line = format!("[{}]", texts.join(", "));
            if line.chars().count() <= room || texts.is_empty() {
                out.push_str(&format!(" {line}\n"));
                return;
            }
            out.push('\n');
            texts.iter().for_each(|text| out.push_str(&format!("{:indent$}  - {text}\n", "")));
        }
        Node::Map(map) => match flow(map).filter(|line| line.chars().count() <= room) {
            Some(line) => out.push_str(&format!(" {line}\n")),
            None => {
                out.push('\n');
                block(out, map, indent + 2, false);
            }
        },
        Node::Block(map) => {
            out.push('\n');
            block(out, map, indent + 2, false);
        }
        Node::List(list) => {
            out.push('\n');
            for map in list {
                match flow(map).filter(|line| line.chars().count() + indent + 4 <= WIDTH && !has_list(map)) {
                    Some(line) => out.push_str(&format!("{:indent$}  - {line}\n", "")),
                    None => block(out, map, indent + 4, true),
                }
            }
        }
    }
}

fn has_list<N>(map: &Map<N>) -> bool {
    map.0.iter().any(|line| matches!(line, Line::Pair(_, Node::List(_) | Node::Map(_))))
}

/// A mapping on one line, where nothing in it needs more.
fn flow<N>(map: &Map<N>) -> Option<String> {
    let mut pairs = Vec::new();
    for line in &map.0 {
        let Line::Pair(key, node) = line else { return None };
        let value = match node {
            Node::Scalar(text) => text.clone(),
            Node::Scalars(texts) => format!("[{}]", texts.join(", ")),
            Node::Map(map) => flow(map)?,
            Node::List(_) | Node::Block(_) => return None,
        };
        pairs.push(format!("{}: {value}", quoted(key)));
    }
    Some(format!("{{{}}}", pairs.join(", ")))
}

fn comment(out: &mut String, text: &str, indent: usize) {
    let room = WIDTH.saturating_sub(indent + 2).max(40);
    let mut line = String::new();
    let mut end = |line: &mut String| {
        out.push_str(format!("{:indent$}# {line}", "").trim_end());
        out.push('\n');
        line.clear();
    };
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            end(&mut line);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().flat_map(|c| if prints(c) { vec![c] } else { c.escape_default().collect() }));
    }
    end(&mut line);
}

/// `text` as a scalar that is a text, whatever it looks like, within `{}` and `[]` too.
pub fn quoted(text: &str) -> String {
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    if begins_well && text.chars().all(is_plain_char) && !means_something_else(text) {
        return text.to_owned();
    }
    let prefers_single = text.contains(['\\', '"']) && !text.contains('\'');
    if prefers_single && text.chars().all(prints) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if prints(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Words that YAML, in one of its versions, does not take for a text.
fn means_something_else(text: &str) -> bool {
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a character is seen as what it is.
fn prints(c: char) -> bool {
    c == ' ' || matches!(c, '\'' | '"' | '\\') || (!c.is_control() && c.escape_debug().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let cases = [
            ("abc", "abc"),
            ("/a/b-c.pem", "/a/b-c.pem"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("10", "\"10\""),
            ("10.0.0.1:80", "\"10.0.0.1:80\""),
            ("${A}", "\"${A}\""),
            (r"a\.b", r"'a\.b'"),
            (r#"it's "so""#, r#""it's \"so\"""#),
            ("a\nb\u{202e}", "\"a\\U0000000ab\\U0000202e\""),
            ("# no", "\"# no\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn short_things_are_on_one_line_and_comments_where_they_belong() {
        let rule = Map::<String>::from_iter([("action", Node::word("labeldrop")), ("regex", Node::verbatim("a|b"))]);
        let mut item = Map::default();
        item.comment("An output.");
        item.add("name", Node::verbatim("search"));
        item.notes(["a.conf:3: not carried over: alias: \u{1b} it".to_owned()]);
        item.add_list("rules", vec![rule]);
        let mut root = Map::default();
        root.add_list("outputs", vec![item]);
        let expected = "outputs:\n  # An output.\n  - name: search\n    \
                        # a.conf:3: not carried over: alias: \\u{1b} it\n    rules:\n      - {action: labeldrop, regex: \"a|b\"}\n";
        assert_eq!(document(&root), expected);
        assert_eq!(notes(&root).len(), 1);
    }
}
