//! Typed reading of a YAML tree against a [`Section`], with all problems of a file collected in one go.
//!
//! Reading never fails: what is wrong is noted, and a stand-in (the default) is handed on, so that the rest of the file is
//! looked at too. [`Reader::finish`] tells at the end whether there were problems, and then nothing that was read is used.
//!
//! A message repeats a value only where a single value of the wrong form was typed, and never the value of a secret.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::problem::{Pos, Problem, Problems, quoted};
use super::schema::{Absent, Key, Section, Type, advice, listed};
use super::values::{self, Complaint};
use super::variables::{Environment, expand};
use super::yaml::{Entry, Kind, Node};
use crate::net::text::escaped;
use crate::net::vcap;

/// What the reading of one file shares: its name, its variables, its problems.
pub struct Reader<'a> {
    file: Arc<str>,
    folder: PathBuf,
    environment: Environment<'a>,
    problems: RefCell<Vec<Problem>>,
    files: RefCell<Vec<NamedFile>>,
}

/// A file that a configuration names: a certificate, a key, a secret. Reading does not look whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The key that names it.
    pub key: &'static str,
    /// Its path, joined to the configuration's folder.
    pub path: PathBuf,
    /// The configuration, as it was named.
    pub file: Arc<str>,
    /// Where the path stands in it.
    pub at: Pos,
}

impl<'a> Reader<'a> {
    /// Reads a file of that name: relative paths in it are joined to `folder`, variables are looked up.
    pub fn new(file: Arc<str>, folder: PathBuf, environment: Environment<'a>) -> Self {
        Self { file, folder, environment, problems: RefCell::default(), files: RefCell::default() }
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Opens `node` as a mapping with the keys of `section`; other keys are problems.
    pub fn open(&'a self, node: &'a Node, section: &'static Section) -> Fields<'a> {
        self.open_as(section.name, node, section)
    }

    fn open_as(&'a self, name: &str, node: &'a Node, section: &'static Section) -> Fields<'a> {
        let (entries, is_broken): (&[Entry], bool) = match &node.kind {
            Kind::Mapping(entries) => (entries, false),
            Kind::Null => (&[], false),
            _ => {
                self.note(node.at, format!("{name}: expected a mapping, found {}", node.kind_name()));
                (&[], true)
            }
        };
        for entry in entries.iter().filter(|entry| section.key(&entry.key).is_none()) {
            self.note(entry.at, format!("{}: {}", shown_key(&entry.key), section.complaint(&entry.key)));
        }
        Fields { reader: self, section, at: node.at, entries, is_broken }
    }

    /// Notes a problem.
    pub fn note(&self, at: Pos, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { file: self.file.clone(), at, message: message.into() });
    }

    /// Ends the reading: `value` and the files that were named, or what was wrong, in the order of the file.
    pub fn finish<T>(self, value: T) -> Result<(T, Vec<NamedFile>), Problems> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok((value, self.files.into_inner()));
        }
        // A key that is read twice, to be compared with others first, tells its problem twice.
        problems.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.message.cmp(&b.message)));
        problems.dedup();
        Err(Problems(problems))
    }
}

/// A key for a message: as it is where it is a word, else quoted.
fn shown_key(key: &str) -> String {
    let is_word =
        !key.is_empty() && key.len() <= 80 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    if is_word { key.to_owned() } else { quoted(key) }
}

/// One mapping that is being read.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    reader: &'a Reader<'a>,
    section: &'static Section,
    at: Pos,
    entries: &'a [Entry],
    is_broken: bool,
}

/// A text of a list or a mapping, and where it stands. It may be a secret, so it cannot be printed as it is.
pub struct Placed {
    /// The key, in a mapping; empty in a list.
    pub key: String,
    /// The text, variables expanded.
    pub text: String,
    /// Where the text stands.
    pub at: Pos,
}

impl<'a> Fields<'a> {
    /// Whether the key has a value.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The file that it stands in, for messages.
    pub fn file(&self) -> String {
        escaped(&self.reader.file)
    }

    /// Where the value of the key begins, or the mapping where it has none.
    pub fn place_of(&self, name: &str) -> Pos {
        self.value(name).map_or(self.at, |node| node.at)
    }

    /// Notes a problem with the value of a key: `KEY: MESSAGE`.
    pub fn note(&self, name: &str, message: impl std::fmt::Display) {
        self.reader.note(self.place_of(name), format!("{name}: {message}"));
    }

    /// How many problems the file has so far: tells whether a part of it could be read as it is.
    pub fn problem_count(&self) -> usize {
        self.reader.problems.borrow().len()
    }

    /// Notes a problem at a place within this mapping.
    pub fn note_at(&self, at: Pos, message: impl Into<String>) {
        self.reader.note(at, message);
    }

    /// Notes a problem with the value of a key, which is repeated unless it is a secret: `KEY: "VALUE" COMPLAINT`.
    pub fn note_value(&self, name: &str, value: &str, complaint: impl std::fmt::Display) {
        let is_secret = self.section.key(name).is_none_or(|key| key.is_secret);
        let shown = if is_secret { "the value (not shown)".to_owned() } else { quoted(value) };
        self.note(name, format!("{shown} {complaint}"));
    }

    /// Notes a problem when more than one of the keys has a value; says which do, at the last of them.
    pub fn at_most_one_of(&self, names: &[&str]) {
        let mut given: Vec<&str> = names.iter().copied().filter(|name| self.has(name)).collect();
        given.sort_by_key(|name| self.place_of(name));
        if let Some((last, [.., first])) = given.split_last() {
            self.note(last, format!("{first} is given too; leave one of them out"));
        }
    }

    /// A text.
    pub fn optional_text(&self, name: &str) -> Option<String> {
        self.read_optional(name, as_text)
    }

    /// A duration; the default where there is none.
    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, values::duration)
    }

    /// A duration.
    pub fn optional_duration(&self, name: &str) -> Option<Duration> {
        self.read_bounded(name, &values::duration)
    }

    /// A size in bytes; the default where there is none.
    pub fn size(&self, name: &str) -> u64 {
        self.read(name, values::size)
    }

    /// A size in bytes.
    pub fn optional_size(&self, name: &str) -> Option<u64> {
        self.read_bounded(name, &values::size)
    }

    /// A whole number; the default where there is none.
    pub fn count(&self, name: &str) -> usize {
        self.read(name, as_count)
    }

    /// A whole number.
    pub fn optional_count(&self, name: &str) -> Option<usize> {
        self.read_bounded(name, &as_count)
    }

    /// true or false; the default where there is none.
    pub fn switch(&self, name: &str) -> bool {
        self.read(name, values::switch)
    }

    /// true or false.
    pub fn optional_switch(&self, name: &str) -> Option<bool> {
        self.read_optional(name, values::switch)
    }

    /// The path of a file, joined to the configuration's folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.optional_text(name)?;
        self.named_file(name, &text, self.place_of(name))
    }

    /// A list of paths of files, joined to the configuration's folder.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        self.texts(name).iter().filter_map(|placed| self.named_file(name, &placed.text, placed.at)).collect()
    }

    fn named_file(&self, name: &str, text: &str, at: Pos) -> Option<PathBuf> {
        let key = self.known(name)?.name;
        if text.is_empty() {
            self.reader.note(at, format!("{name}: \"\" is not the path of a file"));
            return None;
        }
        // Secrets and certificates may be those of a bound service; what is written may not.
        let is_read = name.ends_with("_file") || name == "files";
        let path = if is_read && text.starts_with(vcap::PREFIX) { PathBuf::from(text) } else { self.join(text) };
        self.reader.files.borrow_mut().push(NamedFile { key, path: path.clone(), file: self.reader.file.clone(), at });
        Some(path)
    }

    /// `path`, joined to the configuration's folder where it is relative.
    pub fn join(&self, path: &str) -> PathBuf {
        self.reader.folder.join(Path::new(path))
    }

    /// One of a few words, by the name that the configuration uses for it.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        debug_assert!(
            matches!(self.known(name)?.kind, Type::Choice(words) if choices.iter().map(|(word, _)| word).eq(words)),
            "the choices for {name} are not those of the table"
        );
        self.read_optional(name, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                format!("is not known here; choices are {}", listed(&words))
            })
        })
    }

    /// A list of some of a few words, by the names that the configuration uses for them; `None` where there is none.
    pub fn choices<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        self.value(name)?;
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        debug_assert!(
            matches!(self.known(name)?.kind, Type::Choices(known) if known == words),
            "the choices for {name} are not those of the table"
        );
        let (mut seen, mut chosen) = (Vec::new(), Vec::new());
        for Placed { text, at, .. } in self.texts(name) {
            let complaint = match choices.iter().find(|(word, _)| *word == text) {
                None => format!("is not known here{}", advice(&text, &words)),
                Some(_) if seen.contains(&text) => "is there twice; leave one of them out".to_owned(),
                Some((_, value)) => {
                    chosen.push(*value);
                    seen.push(text);
                    continue;
                }
            };
            self.reader.note(at, format!("{name}: {} {complaint}", quoted(&text)));
        }
        Some(chosen)
    }

    /// A value of any form: `parse` says what is wrong with a text, as the end of a sentence that begins with it.
    pub fn read_optional<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Complaint>) -> Option<T> {
        let key = self.known(name)?;
        let text = match self.value(name) {
            Some(node) => self.scalar(key, node)?,
            None => match key.absent {
                Absent::Default(text) => return parse(text).ok(),
                Absent::Error => {
                    self.missing(name);
                    return None;
                }
                Absent::None | Absent::Described(_) => return None,
            },
        };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.note_value(name, &text, complaint);
                None
            }
        }
    }

    /// A list of texts; empty where there is none.
    pub fn texts(&self, name: &str) -> Vec<Placed> {
        let Some(key) = self.known(name) else { return Vec::new() };
        self.items(name).iter().filter_map(|item| self.placed(key, "", item)).collect()
    }

    /// A mapping of names to texts, in the order of the file.
    pub fn text_map(&self, name: &str) -> Vec<Placed> {
        let Some(key) = self.known(name) else { return Vec::new() };
        self.map_entries(name).iter().filter_map(|entry| self.placed(key, &entry.key, &entry.value)).collect()
    }

    /// A mapping of names to lists of texts, in the order of the file.
    pub fn texts_map(&self, name: &str) -> Vec<(String, Vec<Placed>)> {
        let Some(key) = self.known(name) else { return Vec::new() };
        let lists = self.map_entries(name).iter().filter_map(|entry| {
            let Kind::Sequence(items) = &entry.value.kind else {
                self.expected(&shown_key(&entry.key), "a list such as [\"a\", \"b\"]", &entry.value);
                return None;
            };
            Some((entry.key.clone(), items.iter().filter_map(|item| self.placed(key, "", item)).collect()))
        });
        lists.collect()
    }

    /// A mapping with keys of its own.
    pub fn section(&self, name: &str) -> Option<Fields<'a>> {
        let node = self.value(name)?;
        match self.known(name)?.kind {
            Type::Section(section) => Some(self.reader.open_as(name, node, section)),
            _ => None,
        }
    }

    /// A mapping with keys of its own, each with its default where the mapping is absent.
    pub fn section_or_defaults(&self, name: &str) -> Fields<'a> {
        let section = match self.known(name).map(|key| key.kind) {
            Some(Type::Section(section)) => section,
            _ => self.section,
        };
        self.section(name).unwrap_or(Fields { section, entries: &[], ..*self })
    }

    /// A list of mappings; empty where there is none.
    pub fn sections(&self, name: &str) -> Vec<Fields<'a>> {
        match self.known(name).map(|key| key.kind) {
            Some(Type::Sections(section)) => {
                self.items(name).iter().map(|item| self.reader.open_as(name, item, section)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A mapping of names to mappings, with the place of each name.
    pub fn section_map(&self, name: &str) -> Vec<(&'a str, Pos, Fields<'a>)> {
        match self.known(name).map(|key| key.kind) {
            Some(Type::SectionMap(section)) => {
                let open = |entry: &'a Entry| {
                    (entry.key.as_str(), entry.at, self.reader.open_as(&shown_key(&entry.key), &entry.value, section))
                };
                self.map_entries(name).iter().map(open).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Notes that a required key is not there.
    pub fn missing(&self, name: &str) {
        if !self.is_broken {
            self.reader.note(self.at, format!("{name} is missing in {}", self.section.name));
        }
    }

    /// The key's value as it stands in the tree; `null` is none.
    pub fn value(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.value)
            .filter(|node| node.kind != Kind::Null)
    }

    /// Notes a problem where the key has `[]` as its value.
    pub fn refuse_empty_list(&self, name: &str) {
        if self.value(name).is_some_and(|node| matches!(&node.kind, Kind::Sequence(items) if items.is_empty())) {
            self.note(name, "an empty list; at least one is needed");
        }
    }

    /// Whether there are keys that are refused with a sentence of their own; that may be all there is to say.
    pub fn has_foreign(&self) -> bool {
        self.entries.iter().any(|entry| self.section.foreign.iter().any(|(key, _)| *key == entry.key))
    }

    /// Whether the key is there with `null`, or with nothing, as its value.
    pub fn is_null(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name && entry.value.kind == Kind::Null)
    }

    fn read<T: Default + PartialOrd>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Complaint>) -> T {
        let default = || match self.known(name)?.absent {
            Absent::Default(text) => parse(text).ok(),
            _ => None,
        };
        self.read_bounded(name, &parse).or_else(default).unwrap_or_default()
    }

    fn read_bounded<T: PartialOrd>(&self, name: &str, parse: &dyn Fn(&str) -> Result<T, Complaint>) -> Option<T> {
        let (min, max) = self.known(name)?.bounds;
        self.read_optional(name, |text| match parse(text)? {
            value if parse(min).is_ok_and(|least| value < least) && !min.is_empty() => Err(format!("is below {min}")),
            value if parse(max).is_ok_and(|most| value > most) && !max.is_empty() => Err(format!("is above {max}")),
            value => Ok(value),
        })
    }

    /// The key's row. A reader that asks for a key that the table does not have is a bug, and a test reads every key.
    fn known(&self, name: &str) -> Option<&'static Key> {
        let key = self.section.key(name);
        debug_assert!(key.is_some(), "{name} is not in the table of {}", self.section.name);
        key
    }

    /// The text of a single value, variables expanded; a problem where it is something else.
    fn scalar(&self, key: &Key, node: &'a Node) -> Option<Cow<'a, str>> {
        let Kind::Scalar { text, .. } = &node.kind else {
            self.expected(key.name, "a single value", node);
            return None;
        };
        if key.is_verbatim {
            return Some(Cow::Borrowed(text));
        }
        match expand(text, self.reader.environment) {
            Ok(text) => Some(text),
            Err(unset) => {
                let name = unset.0;
                let message =
                    format!("the variable {name} is not set; set it, or give a default: ${{{name}:-default}}");
                self.reader.note(node.at, format!("{}: {message}", key.name));
                None
            }
        }
    }

    fn placed(&self, key: &Key, name: &str, node: &'a Node) -> Option<Placed> {
        let text = match node.kind {
            // As in Prometheus: a label with nothing behind it is a label with an empty value.
            Kind::Null => String::new(),
            _ => self.scalar(key, node)?.into_owned(),
        };
        Some(Placed { key: name.to_owned(), text, at: node.at })
    }

    fn items(&self, name: &str) -> &'a [Node] {
        match self.value(name) {
            None => {
                if self.known(name).is_some_and(|key| key.absent == Absent::Error) {
                    self.missing(name);
                }
                &[]
            }
            Some(Node { kind: Kind::Sequence(items), .. }) => items,
            Some(node) => {
                self.expected(name, "a list", node);
                &[]
            }
        }
    }

    fn map_entries(&self, name: &str) -> &'a [Entry] {
        match self.value(name) {
            None => &[],
            Some(Node { kind: Kind::Mapping(entries), .. }) => entries,
            Some(node) => {
                self.expected(name, "a mapping", node);
                &[]
            }
        }
    }

    fn expected(&self, name: &str, expected: &str, found: &Node) {
        self.reader.note(found.at, format!("{name}: expected {expected}, found {}", found.kind_name()));
    }
}

fn as_text(text: &str) -> Result<String, Complaint> {
    Ok(text.to_owned())
}

fn as_count(text: &str) -> Result<usize, Complaint> {
    let number = values::count(text)?;
    usize::try_from(number).map_err(|_| "is too large a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::yaml::{DISCOVERY_FILE, parse};
    use super::*;

    static INNER: Section = Section {
        name: "inner",
        about: "",
        keys: &[
            Key::new("secret", Type::Duration, "").secret().within("", "1m"),
            Key::new("regex", Type::Text, "").verbatim(),
        ],
        foreign: &[("outer", "not here; it belongs one level up")],
    };
    static OUTER: Section = Section {
        name: "outer",
        about: "",
        keys: &[
            Key::new("interval", Type::Duration, "").default("15s").within("1ms", "24h"),
            Key::new("port", Type::Count, "").required(),
            Key::new("on", Type::Switch, "").default("true"),
            Key::new("format", Type::Choice(&["json", "text"]), ""),
            Key::new("labels", Type::TextMap, ""),
            Key::new("list", Type::Texts, ""),
            Key::new("inner", Type::Section(&INNER), ""),
            Key::new("inners", Type::Sections(&INNER), ""),
        ],
        foreign: &[],
    };

    /// What was read, and what was wrong.
    fn read(text: &str) -> (String, String) {
        let node = parse(&"f".into(), text.as_bytes(), &DISCOVERY_FILE).unwrap().unwrap();
        let environment = |name: &str| (name == "SET").then(|| "20s".to_owned());
        let reader = Reader::new("f".into(), "/etc".into(), &environment);
        let fields = reader.open(&node, &OUTER);
        let mut seen = format!("{:?} {} {}", fields.duration("interval"), fields.count("port"), fields.switch("on"));
        seen += &format!(" {:?}", fields.choice("format", &[("json", 1), ("text", 2)]));
        for placed in fields.text_map("labels").iter().chain(&fields.texts("list")) {
            seen += &format!(" {}={}@{}", placed.key, placed.text, placed.at.column);
        }
        for inner in fields.sections("inners").iter().chain(&fields.section("inner")) {
            seen += &format!(" {:?} {:?}", inner.optional_duration("secret"), inner.optional_text("regex"));
        }
        let problems = reader.finish(()).err().map(|problems| problems.to_string()).unwrap_or_default();
        (seen, problems)
    }

    #[test]
    fn values_have_their_types_defaults_and_variables() {
        let cases = [
            ("port: 1", "15s 1 true None"),
            ("{port: 2, interval: \"${SET}\", on: no, format: text}", "20s 2 false Some(2)"),
            (
                "{port: 2, labels: {a: 2.0, b: 0123, c: true, d: , e: \"${SET}\"}}",
                "15s 2 true None a=2.0@23 b=0123@31 c=true@40 d=@47 e=20s@54",
            ),
            (
                "{port: 2, list: [a, 1], inner: {regex: \"${SET}\", secret: 1s}}",
                "15s 2 true None =a@18 =1@21 Some(1s) Some(\"${SET}\")",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), ((*expected).to_owned(), String::new()), "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_in_the_order_of_the_file_and_without_secrets() {
        let text = "intervall: 1s\ninterval: 15x\non: maybe\nformat: jsn\nlabels: [a]\nlist: a\n\
            inner: {secret: s3cret, outer: 1}\ninners: [s3cret, {regex: [s3cret], secret: \"${NONE}\"}]\n\"\\n\": 1\n";
        let expected = [
            "f:1:1: intervall: no such key in outer; did you mean \"interval\"?",
            "f:1:1: port is missing in outer",
            "f:2:11: interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"",
            "f:3:5: on: \"maybe\" is neither true nor false",
            "f:4:9: format: \"jsn\" is not known here; choices are \"json\" and \"text\"",
            "f:5:9: labels: expected a mapping, found a list",
            "f:6:7: list: expected a list, found a single value",
            "f:7:17: secret: the value (not shown) is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"",
            "f:7:25: outer: not here; it belongs one level up",
            "f:8:10: inners: expected a mapping, found a single value",
            "f:8:26: regex: expected a single value, found a list",
            "f:8:44: secret: the variable NONE is not set; set it, or give a default: ${NONE:-default}",
            "f:9:1: \"\\n\": no such key in outer; choices are \"interval\", \"port\", \"on\", \"format\", \"labels\", \"list\", \"inner\" and \"inners\"",
        ];
        assert_eq!(read(text).1.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(read("{port: 1, interval: 25h}").1, "f:1:21: interval: \"25h\" is above 24h");
        assert_eq!(read("{port: 1, interval: 0}").1, "f:1:21: interval: \"0\" is below 1ms");
        assert_eq!(read("{port: 1, inner: {secret: 1h}}").1, "f:1:27: secret: the value (not shown) is above 1m");
    }
}
