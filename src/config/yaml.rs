//! A YAML document as a tree that knows where everything stands.
//!
//! Promises
//! - Scalars are kept as typed: `2.0`, `0123` and `true` are texts until a reader gives them a type.
//! - A document is bounded before it is a tree: bytes, depth, and nodes and text after aliases are expanded.
//! - A key that stands twice, a second document, an unknown tag and a key that is no scalar are errors.
//! - No error repeats the source: it may hold a secret.
//!
//! Anchors, aliases and the merge key `<<` work as in Prometheus' own reader. JSON is read too, being YAML.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Tag};

use super::problem::{Pos, Problem, quoted};

/// Limits on one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the input; texts after aliases are expanded may take twice as many.
    pub input_bytes_max: usize,
    /// Sequences and mappings within each other.
    pub depth_max: usize,
    /// Scalars, sequences and mappings, after aliases are expanded.
    pub nodes_max: usize,
}

/// For files of others: 1 MiB, about 100,000 values.
pub const DISCOVERY_FILE: Limits = Limits { input_bytes_max: 1 << 20, depth_max: 32, nodes_max: 1 << 17 };

/// For the main configuration: 8 MiB, about a million values.
pub const MAIN_FILE: Limits = Limits { input_bytes_max: 8 << 20, depth_max: 32, nodes_max: 1 << 20 };

/// A value, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first character; of an alias, the alias.
    pub at: Pos,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Anything else that is neither a sequence nor a mapping.
    Scalar {
        /// As typed, quotes and escapes resolved.
        text: String,
        /// Whether it stood without quotes and not as a block.
        is_plain: bool,
    },
    /// `[…]`, or lines with `-`.
    Sequence(Vec<Node>),
    /// `{…}`, or lines with `key:`; each key once, in the order of the file.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Pos,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// What it is, for a message: "a list".
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

/// Reads one document; `None` where there is none: an empty file, blank lines, comments, a lone `---`, `null`.
///
/// `file` is only for the message. The first thing that is wrong ends it: what follows a syntax error cannot be told.
pub fn parse(file: &Arc<str>, input: &[u8], limits: &Limits) -> Result<Option<Node>, Problem> {
    read(input, limits).map_err(|Fault { at, message }| Problem { file: file.clone(), at, message })
}

struct Fault {
    at: Pos,
    message: String,
}

fn fault<T>(at: Pos, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
}

fn read(input: &[u8], limits: &Limits) -> Result<Option<Node>, Fault> {
    if input.len() > limits.input_bytes_max {
        return fault(Pos::default(), format!("the file is larger than {} bytes", limits.input_bytes_max));
    }
    let text = match std::str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => return fault(end_of(&input[..error.valid_up_to()]), "a byte that is not UTF-8"),
    };
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: limits.depth_max,
        block_nesting_limit: limits.depth_max,
    };
    let mut builder = Builder::new(limits);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, pos(&span.start))?,
            Err(error) => return fault(pos(error.marker()), syntax_words(error.kind(), limits)),
        }
    }
    Ok(builder.root)
}

/// What usually lies behind a syntax error; the parser's own words for the rest. They never repeat the source.
fn syntax_words(kind: &ErrorKind, limits: &Limits) -> String {
    let words = match kind {
        ErrorKind::RecursionLimitExceeded => return format!("nested deeper than {} levels", limits.depth_max),
        ErrorKind::ExpectedBlockMappingKey => "this line is not indented as the keys above it",
        ErrorKind::ExpectedBlockSequenceEntry => "this line is in a list and does not begin with \"-\"",
        ErrorKind::MappingValueNotAllowed => {
            "a colon where no key can be; is the line above a key without its colon, or a value with \": \" not quoted?"
        }
        ErrorKind::ExpectedFlowMappingSeparator => {
            "expected \",\" or \"}\"; within braces, a value such as \"${NAME}\" needs its quotes"
        }
        ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed | ErrorKind::TabInIndentation => {
            "a tab where only spaces can be"
        }
        ErrorKind::UnexpectedCharacter { .. } => "a value cannot begin with this character; quote the value",
        _ => return format!("not YAML: {kind}"),
    };
    format!("not YAML: {words}")
}

fn pos(mark: &Marker) -> Pos {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: small(mark.line()), column: small(mark.col()).saturating_add(1) }
}

/// The place right behind valid UTF-8.
fn end_of(valid: &[u8]) -> Pos {
    let text = String::from_utf8_lossy(valid);
    let line = text.matches('\n').count();
    let column = text.rsplit('\n').next().unwrap_or("").chars().count();
    pos(&Marker::new(0, line + 1, column))
}

/// A collection that is not closed yet.
struct Open {
    at: Pos,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<Key>, merged: Vec<Entry> },
}

struct Key {
    text: String,
    at: Pos,
    is_merge: bool,
}

/// What a node costs when it is copied.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    text_bytes: usize,
    depth: usize,
}

struct Builder<'l> {
    limits: &'l Limits,
    root: Option<Node>,
    open: Vec<Open>,
    anchored: HashMap<usize, (Node, Weight)>,
    nodes: usize,
    text_bytes: usize,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self { limits, root: None, open: Vec::new(), anchored: HashMap::new(), nodes: 0, text_bytes: 0 }
    }

    fn take(&mut self, event: Event<'_>, at: Pos) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = is_text_tag(tag.as_deref(), at)?;
                self.charge(Weight { nodes: 1, text_bytes: text.len(), depth: 0 }, at)?;
                let is_plain = style == ScalarStyle::Plain && !is_text;
                let kind = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if is_plain => Kind::Null,
                    _ => Kind::Scalar { text: text.into_owned(), is_plain },
                };
                self.put(Node { at, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Content::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => self.open(
                at,
                anchor,
                tag.as_deref(),
                Content::Mapping { entries: Vec::new(), key: None, merged: Vec::new() },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some((node, weight)) = self.anchored.get(&id) else {
                    return fault(at, "an alias within the value that it stands for");
                };
                let (mut node, weight) = (node.clone(), *weight);
                self.charge(weight, at)?;
                node.at = at;
                self.put(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Pos, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Fault> {
        is_text_tag(tag, at)?;
        self.charge(Weight { nodes: 1, text_bytes: 0, depth: 1 }, at)?;
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { at, anchor, content }) = self.open.pop() else { return Ok(()) };
        let kind = match content {
            Content::Sequence(items) => Kind::Sequence(items),
            Content::Mapping { entries, merged, .. } => {
                refuse_duplicates(&entries)?;
                Kind::Mapping(with_merged(entries, merged))
            }
        };
        self.put(Node { at, kind }, anchor)
    }

    /// Hands a finished node to the collection that it is in.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            let weight = weigh(&node);
            self.charge(weight, node.at)?;
            self.anchored.insert(anchor, (node.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else { return self.put_root(node) };
        match &mut open.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, key, merged } => match key.take() {
                None => *key = Some(as_key(node)?),
                Some(Key { is_merge: true, .. }) => merged.extend(entries_to_merge(node)?),
                Some(Key { text, at, .. }) => entries.push(Entry { key: text, at, value: node }),
            },
        }
        Ok(())
    }

    fn put_root(&mut self, node: Node) -> Result<(), Fault> {
        match (&self.root, &node.kind) {
            (_, Kind::Null) => Ok(()),
            (None, _) => {
                self.root = Some(node);
                Ok(())
            }
            (Some(_), _) => fault(node.at, "a second document; a file holds one"),
        }
    }

    fn charge(&mut self, weight: Weight, at: Pos) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(weight.nodes);
        self.text_bytes = self.text_bytes.saturating_add(weight.text_bytes);
        if self.nodes > self.limits.nodes_max {
            return fault(at, format!("more than {} values, aliases counted in full", self.limits.nodes_max));
        }
        let text_bytes_max = self.limits.input_bytes_max.saturating_mul(2);
        if self.text_bytes > text_bytes_max {
            return fault(at, format!("more than {text_bytes_max} bytes of text, aliases counted in full"));
        }
        if self.open.len() + weight.depth > self.limits.depth_max {
            return fault(at, format!("nested deeper than {} levels", self.limits.depth_max));
        }
        Ok(())
    }
}

/// Whether a tag says that a value is a text, as `!!str` does. Tags of programs are refused: they would be lost.
fn is_text_tag(tag: Option<&Tag>, at: Pos) -> Result<bool, Fault> {
    match tag.map(Tag::core_suffix) {
        None => Ok(false),
        Some(Some(suffix)) => Ok(suffix == "str"),
        Some(None) if tag.is_some_and(|tag| tag.parts() == ("", "!")) => Ok(true),
        Some(None) => fault(at, "a tag that is not YAML's own, such as !!str; leave it out"),
    }
}

fn as_key(node: Node) -> Result<Key, Fault> {
    match node.kind {
        Kind::Scalar { text, is_plain } => Ok(Key { is_merge: is_plain && text == "<<", text, at: node.at }),
        Kind::Null => fault(node.at, "a key is missing before the colon"),
        _ => fault(node.at, "a key must be a single value"),
    }
}

fn entries_to_merge(node: Node) -> Result<Vec<Entry>, Fault> {
    let wrong = || fault(node.at, "<< takes a mapping or a list of mappings");
    match node.kind {
        Kind::Mapping(entries) => Ok(entries),
        Kind::Sequence(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.kind {
                    Kind::Mapping(entries) => all.extend(entries),
                    _ => return wrong(),
                }
            }
            Ok(all)
        }
        _ => wrong(),
    }
}

/// A mapping's own keys win over merged ones, and earlier merged ones over later.
fn with_merged(mut entries: Vec<Entry>, merged: Vec<Entry>) -> Vec<Entry> {
    if !merged.is_empty() {
        let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        entries.extend(merged.into_iter().filter(|entry| known.insert(entry.key.clone())));
    }
    entries
}

fn refuse_duplicates(entries: &[Entry]) -> Result<(), Fault> {
    let mut by_key: Vec<&Entry> = entries.iter().collect();
    by_key.sort_by(|a, b| a.key.cmp(&b.key).then(a.at.cmp(&b.at)));
    let repeated = by_key.windows(2).filter_map(|pair| match pair {
        [first, second] if first.key == second.key => Some((first, second)),
        _ => None,
    });
    match repeated.min_by_key(|(_, second)| second.at) {
        None => Ok(()),
        Some((first, second)) => fault(
            second.at,
            format!(
                "{} stands twice; the first is on line {}, column {}",
                quoted(&second.key),
                first.at.line,
                first.at.column
            ),
        ),
    }
}

fn weigh(node: &Node) -> Weight {
    let all = |children: &mut dyn Iterator<Item = (&Node, usize)>| {
        children.fold(Weight { nodes: 1, text_bytes: 0, depth: 1 }, |sum, (child, key_bytes)| {
            let child = weigh(child);
            Weight {
                nodes: sum.nodes + child.nodes + usize::from(key_bytes > 0),
                text_bytes: sum.text_bytes + child.text_bytes + key_bytes,
                depth: sum.depth.max(child.depth + 1),
            }
        })
    };
    match &node.kind {
        Kind::Null => Weight { nodes: 1, ..Weight::default() },
        Kind::Scalar { text, .. } => Weight { nodes: 1, text_bytes: text.len(), depth: 0 },
        Kind::Sequence(items) => all(&mut items.iter().map(|item| (item, 0))),
        Kind::Mapping(entries) => all(&mut entries.iter().map(|entry| (&entry.value, entry.key.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Option<Node>, String> {
        parse(&"f".into(), text.as_bytes(), &DISCOVERY_FILE).map_err(|problem| problem.to_string())
    }

    /// The tree on one line, each value with its place.
    fn show(node: &Node) -> String {
        let content = match &node.kind {
            Kind::Null => "null".to_owned(),
            Kind::Scalar { text, is_plain: true } => text.clone(),
            Kind::Scalar { text, is_plain: false } => quoted(text),
            Kind::Sequence(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Kind::Mapping(entries) => {
                let shown =
                    entries.iter().map(|e| format!("{}@{}:{} {}", e.key, e.at.line, e.at.column, show(&e.value)));
                format!("{{{}}}", shown.collect::<Vec<_>>().join(" "))
            }
        };
        format!("{content}@{}:{}", node.at.line, node.at.column)
    }

    #[test]
    fn scalars_stay_as_typed_and_know_their_place() {
        let cases = [
            ("port: 0123\n", "{port@1:1 0123@1:7}@1:1"),
            ("\n---\na: 2.0\nb: 'x'", "{a@3:1 2.0@3:4 b@4:1 \"x\"@4:4}@3:1"),
            ("a:\nb: ~\nc: null\nd: 'null'\n", "{a@1:1 null@1:2 b@2:1 null@2:4 c@3:1 null@3:4 d@4:1 \"null\"@4:4}@1:1"),
            ("- [a, true]\n- {k: 1e3}\n", "[[a@1:4 true@1:7]@1:3 {k@2:4 1e3@2:7}@2:3]@1:1"),
            ("{\"targets\": [\"h:1\"],\n\t\"labels\": {}}", "{targets@1:2 [\"h:1\"@1:14]@1:13 labels@2:2 {}@2:12}@1:1"),
            ("text: |\n  a\n  b\n", "{text@1:1 \"a\\nb\\n\"@2:3}@1:1"),
            ("n: !!str 5", "{n@1:1 \"5\"@1:10}@1:1"),
            ("\u{feff}a: é b", "{a@1:1 é b@1:4}@1:1"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_text(text).unwrap().as_ref().map(show).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_is_told_from_something() {
        for text in ["", "\n", "---", "---\n", "\n\n---\n\n", "# only\n", "~", "---\n---\n", "\u{feff}"] {
            assert_eq!(parse_text(text), Ok(None), "{text:?}");
        }
        for text in ["''", "{}", "[]", "---\n---\na"] {
            assert!(parse_text(text).unwrap().is_some(), "{text:?}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let cases = [
            ("a: &x [1]\nb: *x\n", "{a@1:1 [1@1:8]@1:7 b@2:1 [1@1:8]@2:4}@1:1"),
            (
                "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n",
                "{a@1:1 {k@1:8 1@1:11 l@1:14 2@1:17}@1:7 b@2:1 {k@2:13 3@2:16 l@1:14 2@1:17}@2:4}@1:1",
            ),
            (
                "- &x {k: 1}\n- &y {k: 2, m: 3}\n- <<: [*x, *y]",
                "[{k@1:7 1@1:10}@1:6 {k@2:7 2@2:10 m@2:13 3@2:16}@2:6 {k@1:7 1@1:10 m@2:13 3@2:16}@3:3]@1:1",
            ),
            ("'<<': 1", "{<<@1:1 1@1:7}@1:1"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_text(text).unwrap().as_ref().map(show).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place_and_without_its_text() {
        let cases: &[(&str, &str)] = &[
            ("a: 1\nb: 2\na: 3\n", "f:3:1: \"a\" stands twice; the first is on line 1, column 1"),
            ("a: 1\n---\nb: 2\n", "f:3:1: a second document; a file holds one"),
            ("a: [1, 2\nb: 3", "f:2:2: not YAML: illegal placement of ':' indicator"),
            ("a: *nope", "f:1:4: not YAML: while parsing node, found unknown anchor"),
            ("a:\n  b: 1\n c: 2\n", "f:3:2: not YAML: this line is not indented as the keys above it"),
            ("- a\nb: 1\n", "f:2:1: not YAML: this line is in a list and does not begin with \"-\""),
            (
                "a:\n  b:1\n  c: 2\n",
                "f:3:4: not YAML: a colon where no key can be; is the line above a key without its colon, or a value with \": \" not quoted?",
            ),
            (
                "{a: ${X}}",
                "f:1:6: not YAML: expected \",\" or \"}\"; within braces, a value such as \"${NAME}\" needs its quotes",
            ),
            ("a:\n\tb: 1\n", "f:2:2: not YAML: a tab where only spaces can be"),
            ("a: @x\n", "f:1:4: not YAML: a value cannot begin with this character; quote the value"),
            ("a: &x [*x]", "f:1:8: an alias within the value that it stands for"),
            ("a: !vault s3cret", "f:1:11: a tag that is not YAML's own, such as !!str; leave it out"),
            ("[a]: 1", "f:1:1: a key must be a single value"),
            (": 1", "f:1:1: a key is missing before the colon"),
            ("<<: 1", "f:1:5: << takes a mapping or a list of mappings"),
            ("a: \"s3cret", "f:1:4: not YAML: unclosed quote"),
        ];
        let told: Vec<_> = cases.iter().map(|(text, _)| parse_text(text).unwrap_err()).collect();
        assert_eq!(told, cases.iter().map(|(_, expected)| *expected).collect::<Vec<_>>());
        let not_utf8 = parse(&"f".into(), b"a: 1\nb: \xff", &DISCOVERY_FILE).unwrap_err();
        assert_eq!(not_utf8.to_string(), "f:2:4: a byte that is not UTF-8");
    }

    #[test]
    fn every_limit_holds() {
        let limits = Limits { input_bytes_max: 400, depth_max: 4, nodes_max: 40 };
        let refused = |text: &str| parse(&"f".into(), text.as_bytes(), &limits).unwrap_err().message;
        assert_eq!(refused(&"#".repeat(401)), "the file is larger than 400 bytes");
        assert_eq!(refused(&format!("[{}]", "a,".repeat(41))), "more than 40 values, aliases counted in full");
        assert_eq!(refused("a: &a [[x]]\nb: &b [*a]\nc: &c [*b]"), "nested deeper than 4 levels");
        let long = "x".repeat(200);
        assert_eq!(
            refused(&format!("a: &a {long}\nb: [*a, *a, *a]")),
            "more than 800 bytes of text, aliases counted in full"
        );
        assert_eq!(
            refused("a: &a [x,x,x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]"),
            "more than 40 values, aliases counted in full"
        );
        assert_eq!(refused("[[[[[1]]]]]"), "nested deeper than 4 levels");
    }
}
