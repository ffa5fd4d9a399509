//! A mapping of `prometheus.yml` as one of ours, key by key.
//!
//! The table of our keys decides: what is in it is carried over as it stands, what it knows of elsewhere is named with the table's own
//! sentence. So a key that promferry learns is carried over from that day on.
//!
//! Each mapping is written twice: as text, and as a tree in which everything keeps its place in the file that is converted. The
//! reader of configurations looks at the tree, so what it complains of is told where it was typed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use crate::config::schema::{Key, Section, Type, listed};
use crate::config::yaml::{Entry, Kind, Node as Tree};
use crate::config::{Pos, quoted as shown, values};
use crate::convert::names::UniqueNames;
use crate::convert::note::{Note, Place, Weight};
use crate::convert::secret::{is_secret, variable_name};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node, quoted};

/// Keys that we lack, and without which the same samples arrive.
const HARMLESS: [&str; 18] = [
    "alerting",
    "enable_http2",
    "evaluation_interval",
    "failed_request_logging",
    "follow_redirects",
    "keep_dropped_targets",
    "max_samples_per_send",
    "max_version",
    "otlp",
    "query_log_file",
    "remote_read",
    "round_robin_dns",
    "rule_files",
    "rule_query_offset",
    "runtime",
    "scrape_failure_log_file",
    "storage",
    "tracing",
];

/// Keys whose usual value says nothing, so that it is not named.
const SILENT: [&str; 2] = ["enable_http2", "follow_redirects"];

/// A mapping that was carried over.
#[derive(Default)]
pub(super) struct Written {
    pub(super) tree: Vec<Entry>,
    pub(super) map: Map,
}

impl Written {
    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    fn put(&mut self, key: &str, at: Pos, kind: Kind, node: Node) {
        self.tree.push(Entry { key: key.to_owned(), at, value: Tree { at, kind } });
        self.map.add(key, node);
    }

    /// A value that needs no quotes.
    pub(super) fn word(&mut self, key: &str, at: Pos, word: impl ToString) {
        let text = word.to_string();
        self.put(key, at, scalar(text.clone()), Node::word(text));
    }

    /// A text, as it is typed in our configuration.
    pub(super) fn text(&mut self, key: &str, at: Pos, typed: String) {
        let node = Node::verbatim(&typed);
        self.put(key, at, scalar(typed), node);
    }

    fn texts(&mut self, key: &str, at: Pos, typed: Vec<(Pos, String)>) {
        let node = Node::Scalars(typed.iter().map(|(_, text)| quoted(text)).collect());
        let items = typed.into_iter().map(|(at, text)| Tree { at, kind: scalar(text) });
        self.put(key, at, Kind::Sequence(items.collect()), node);
    }

    /// A mapping; what is said of one that is empty stays.
    pub(super) fn section(&mut self, key: &str, at: Pos, section: Written) {
        if !section.is_empty() {
            self.tree.push(Entry { key: key.to_owned(), at, value: Tree { at, kind: Kind::Mapping(section.tree) } });
        }
        self.map.add_map(key, section.map);
    }

    /// A list of mappings; what is said of those that are empty stays.
    pub(super) fn sections(&mut self, key: &str, at: Pos, sections: Vec<(Pos, Written)>) {
        let (mut items, mut maps) = (Vec::new(), Vec::new());
        for (at, section) in sections {
            if !section.is_empty() {
                items.push(Tree { at, kind: Kind::Mapping(section.tree) });
            }
            maps.push(section.map);
        }
        match items.is_empty() {
            true => maps.into_iter().for_each(|map| self.map.add_map(key, map)),
            false => self.put(key, at, Kind::Sequence(items), Node::List(maps)),
        }
    }

    /// `remote_write`, which is none: the reader will say so of the key that it becomes.
    pub(super) fn wrong_output(&mut self, entry: &Entry) {
        self.tree.push(Entry { key: "outputs".to_owned(), ..entry.clone() });
    }

    /// A value that is none: the reader of configurations will say so.
    pub(super) fn wrong(&mut self, entry: &Entry) {
        self.tree.push(entry.clone());
    }
}

fn scalar(text: String) -> Kind {
    Kind::Scalar { text, is_plain: false }
}

/// Carries over what stands in one file.
pub(super) struct Carrier<'c> {
    /// How messages call the file.
    pub(super) file: Rc<str>,
    /// What relative paths in it begin with, to start from the folder of the main file.
    pub(super) folder: &'c Path,
    /// Variables that were made for credentials, in all files.
    pub(super) variables: &'c RefCell<Variables>,
}

impl Carrier<'_> {
    pub(super) fn place(&self, at: Pos) -> Place {
        Place { file: self.file.clone(), line: at.line }
    }

    pub(super) fn lose(&self, written: &mut Written, at: Pos, text: impl Into<String>) {
        written.map.notes([Note::loss(&self.place(at), text)]);
    }

    pub(super) fn remark(&self, written: &mut Written, at: Pos, text: impl Into<String>) {
        written.map.notes([Note::remark(&self.place(at), text)]);
    }

    /// All keys of a mapping.
    pub(super) fn section(&self, owner: &str, entries: &[Entry], section: &'static Section) -> Written {
        let mut written = Written::default();
        entries.iter().for_each(|entry| self.entry(&mut written, owner, entry, section));
        written
    }

    /// One key of a mapping. `owner` is what variables for credentials are named after.
    pub(super) fn entry(&self, written: &mut Written, owner: &str, entry: &Entry, section: &'static Section) {
        match (section.key(&entry.key), &entry.value.kind) {
            (_, Kind::Null) => {}
            (None, _) => self.foreign(written, owner, entry, section),
            (Some(key), Kind::Scalar { text, .. }) if is_single(key.kind) => {
                // An empty text says nothing, but in a rule it is one.
                if !text.is_empty() || key.is_verbatim {
                    self.single(written, owner, entry, key, text);
                }
            }
            (Some(key), Kind::Sequence(items)) => match key.kind {
                Type::Texts | Type::Choices(_) => self.list(written, owner, entry, key, items),
                Type::Sections(section) => match self.items(owner, items, section) {
                    Some(list) => written.sections(key.name, entry.at, list),
                    None => written.wrong(entry),
                },
                _ => written.wrong(entry),
            },
            (Some(key), Kind::Mapping(entries)) => match key.kind {
                Type::Section(below) => {
                    let below = self.section(owner, entries, below);
                    written.section(key.name, entry.at, below);
                }
                Type::SectionMap(below) => self.section_map(written, owner, entry, entries, below),
                Type::TextMap | Type::TextsMap => self.map(written, owner, entry, key, entries),
                _ => written.wrong(entry),
            },
            (Some(_), Kind::Scalar { .. }) => written.wrong(entry),
        }
    }

    /// A list of mappings; `None` where something else is in it.
    fn items(&self, owner: &str, items: &[Tree], section: &'static Section) -> Option<Vec<(Pos, Written)>> {
        let item = |item: &Tree| match &item.kind {
            Kind::Mapping(entries) => Some((item.at, self.section(owner, entries, section))),
            _ => None,
        };
        items.iter().filter(|item| !matches!(item.kind, Kind::Null)).map(item).collect()
    }

    /// A key that is none of ours.
    fn foreign(&self, written: &mut Written, owner: &str, entry: &Entry, section: &'static Section) {
        let key = entry.key.as_str();
        match (key, single(&entry.value)) {
            ("bearer_token", Some(token)) => {
                let token = self.secret(
                    written,
                    owner,
                    entry.value.at,
                    (key, "TOKEN"),
                    token,
                    "authorization.credentials_file",
                );
                written.section("authorization", entry.at, one("credentials", entry.at, token));
            }
            ("bearer_token_file", Some(file)) => {
                let file = self.path(file);
                written.section("authorization", entry.at, one("credentials_file", entry.at, file));
            }
            ("username_file", Some(_)) => {
                let variable = self.variable(owner, "USERNAME", "");
                let text = format!("username_file: not supported; put what it holds into the variable {variable}");
                self.lose(written, entry.at, text);
                written.text("username", entry.at, format!("${{{variable}}}"));
            }
            ("scrape_classic_histograms", Some(_)) => {
                let entry = Entry { key: "always_scrape_classic_histograms".to_owned(), ..entry.clone() };
                self.entry(written, owner, &entry, section);
            }
            _ if is_off(&entry.value) || SILENT.contains(&key) => {}
            _ => {
                let known = section.foreign.iter().find(|(foreign, _)| *foreign == key);
                let why = known.map_or("not known as a key of Prometheus'", |(_, sentence)| sentence);
                let text = format!("{}: {why}", key.escape_debug());
                let is_harmless = HARMLESS.contains(&key);
                let weight = if is_harmless { Weight::Remark } else { Weight::Loss };
                written.map.notes([Note { place: self.place(entry.at), text, weight }]);
            }
        }
    }

    /// A key with one value.
    fn single(&self, written: &mut Written, owner: &str, entry: &Entry, key: &'static Key, text: &str) {
        let at = entry.value.at;
        if let Some(why) = refused(key, text) {
            return match why {
                Refused::Zero => {}
                Refused::For(why) => self.lose(written, at, format!("{}: {} {why}", key.name, shown(text))),
            };
        }
        match key.kind {
            _ if key.name == "url" => self.url(written, owner, entry, text),
            _ if key.is_secret => {
                let use_for = if key.name == "password" { "PASSWORD" } else { "TOKEN" };
                let file = format!("{}_file", key.name);
                let secret = self.secret(written, owner, at, (key.name, use_for), text, &file);
                written.text(key.name, at, secret);
            }
            Type::Path => written.text(key.name, at, self.path(text)),
            Type::Text if key.is_verbatim => written.text(key.name, at, text.to_owned()),
            Type::Text | Type::Address => {
                let typed = self.typed(written, at, key.name, text);
                written.text(key.name, at, typed);
            }
            _ if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => {
                written.word(key.name, at, text);
            }
            _ => written.text(key.name, at, escaped(text)),
        }
    }

    /// A list of texts.
    fn list(&self, written: &mut Written, owner: &str, entry: &Entry, key: &'static Key, items: &[Tree]) {
        let mut texts = Vec::new();
        for item in items {
            let Some(text) = single(item) else { return written.wrong(entry) };
            let typed = match (key.kind, key.name) {
                (Type::Choices(words), _) if !words.contains(&text) => {
                    let why = format!("{}: {} is not known here; there are {}", key.name, shown(text), listed(words));
                    self.lose(written, item.at, why);
                    continue;
                }
                (_, "files") => self.path(text),
                _ if key.is_secret => self.secret(written, owner, item.at, (key.name, "HEADER"), text, "files"),
                _ => self.typed(written, item.at, key.name, text),
            };
            if text == "localhost:9090" && key.name == "targets" {
                let text = "localhost:9090 is Prometheus itself, mostly; promferry's own metrics are on 127.0.0.1:9698";
                self.remark(written, item.at, text);
            }
            texts.push((item.at, typed));
        }
        if !texts.is_empty() {
            written.texts(key.name, entry.at, texts);
        }
    }

    /// A mapping of names to texts, or to lists of them.
    fn map(&self, written: &mut Written, owner: &str, entry: &Entry, key: &'static Key, entries: &[Entry]) {
        let mut below = Written::default();
        for value in entries {
            // The exporter for SNMP has parameters that are called `auth`, which name what stands in its own configuration.
            let is_secret = key.name != "labels" && is_secret(&value.key) && value.key != "auth";
            let text = |written: &mut Written, at, text| match is_secret {
                true => {
                    let what = format!("{}: {}", key.name, value.key.escape_debug());
                    self.secret(written, owner, at, (&what, &value.key), text, "")
                }
                false => self.typed(written, at, key.name, text),
            };
            match (&value.value.kind, key.kind) {
                (Kind::Null, Type::TextMap) => below.text(&value.key, value.value.at, String::new()),
                (Kind::Scalar { text: raw, .. }, Type::TextMap) => {
                    let typed = text(&mut below, value.value.at, raw);
                    below.text(&value.key, value.value.at, typed);
                }
                (Kind::Sequence(items), Type::TextsMap) if items.iter().all(|item| single(item).is_some()) => {
                    let typed =
                        items.iter().filter_map(|item| Some((item.at, text(&mut below, item.at, single(item)?))));
                    let typed = typed.collect();
                    below.texts(&value.key, value.value.at, typed);
                }
                (Kind::Null, _) => {}
                _ => return written.wrong(entry),
            }
        }
        written.section(key.name, entry.at, below);
    }

    /// `http_headers`: the values of each header.
    fn section_map(
        &self,
        written: &mut Written,
        owner: &str,
        entry: &Entry,
        entries: &[Entry],
        section: &'static Section,
    ) {
        let mut below = Written::default();
        for header in entries {
            let Kind::Mapping(kinds) = &header.value.kind else { return written.wrong(entry) };
            let mut values = Written::default();
            for kind in kinds {
                let Kind::Sequence(items) = &kind.value.kind else { return written.wrong(entry) };
                match kind.key.as_str() {
                    "values" if !is_secret(&header.key) => {
                        let texts: Option<Vec<_>> =
                            items.iter().map(|item| Some((item.at, escaped(single(item)?)))).collect();
                        match texts {
                            Some(texts) => values.texts("values", kind.at, texts),
                            None => return written.wrong(entry),
                        }
                    }
                    _ => {
                        let owner = format!("{owner}_{}", header.key);
                        self.entry(&mut values, &owner, kind, section);
                    }
                }
            }
            below.section(&header.key, header.at, values);
        }
        written.section(&entry.key, entry.at, below);
    }

    /// A URL without its credentials: they get keys of their own, or it is a credential as a whole.
    fn url(&self, written: &mut Written, owner: &str, entry: &Entry, text: &str) {
        let at = entry.value.at;
        let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
        let names =
            query.into_iter().flat_map(|query| query.split('&')).map(|pair| pair.split('=').next().unwrap_or(pair));
        let has_secret = names.into_iter().any(is_secret);
        let authority = base.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or(rest)));
        let user = authority.and_then(|(scheme, authority)| Some((scheme, authority.rsplit_once('@')?)));
        let mut rest = text.to_owned();
        if let Some((scheme, (user, host))) = user {
            rest = format!("{scheme}://{host}{}", &text[scheme.len() + 3 + user.len() + 1 + host.len()..]);
            let (name, password) = user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password)));
            let decoded = |text: &str| crate::net::form_decoded(&text.replace('+', "%2B"));
            let mut basic = one("username", at, escaped(&decoded(name)));
            if let Some(password) = password {
                let password = self.secret(
                    written,
                    owner,
                    at,
                    ("url", "PASSWORD"),
                    &decoded(password),
                    "basic_auth.password_file",
                );
                basic.text("password", at, password);
            }
            written.section("basic_auth", at, basic);
        }
        let typed = match has_secret {
            true => self.secret(written, owner, at, ("url: a parameter", "URL"), &rest, ""),
            false => self.typed(written, at, "url", &rest),
        };
        written.text("url", at, typed);
    }

    /// A text that is read as it stands, as Prometheus reads it.
    pub(super) fn typed(&self, written: &mut Written, at: Pos, key: &str, text: &str) -> String {
        if names_a_variable(text) {
            let text = format!(
                "{key}: ${{…}} stays as it is, as in Prometheus; where something fills it in beforehand, write ${{NAME}} with one dollar"
            );
            self.remark(written, at, text);
        }
        escaped(text)
    }

    /// A path, from the folder of the main file.
    pub(super) fn path(&self, text: &str) -> String {
        match text.starts_with('/') || text.is_empty() {
            true => escaped(text),
            false => escaped(&self.folder.join(text).to_string_lossy()),
        }
    }

    /// The variable that stands for a credential; says that it has to be set.
    pub(super) fn secret(
        &self,
        written: &mut Written,
        owner: &str,
        at: Pos,
        (key, use_for): (&str, &str),
        secret: &str,
        file: &str,
    ) -> String {
        let variable = match secret.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if is_name(name) => name.to_owned(),
            _ => self.variable(owner, use_for, secret),
        };
        let instead = match file {
            "" => String::new(),
            file => format!(", or into a file and write {file}"),
        };
        self.lose(written, at, format!("{key}: in the clear; put it into the variable {variable}{instead}"));
        format!("${{{variable}}}")
    }

    /// A name that stands for this credential and no other.
    fn variable(&self, owner: &str, use_for: &str, secret: &str) -> String {
        self.variables.borrow_mut().name(variable_name(owner, use_for), secret)
    }
}

/// The names of variables that were made for credentials.
#[derive(Default)]
pub(super) struct Variables {
    names: UniqueNames,
    /// By the name that was wished for and the credential: the name that it has.
    given: HashMap<(String, String), String>,
}

impl Variables {
    fn name(&mut self, wish: String, secret: &str) -> String {
        let Self { names, given } = self;
        let unique = given.entry((wish, secret.to_owned()));
        let unique = unique.or_insert_with_key(|(wish, _)| names.unique(wish, '_'));
        unique.clone()
    }
}

/// A mapping with one text.
pub(super) fn one(key: &str, at: Pos, typed: String) -> Written {
    let mut written = Written::default();
    written.text(key, at, typed);
    written
}

/// The text of a single value; nothing is an empty one.
pub(super) fn single(value: &Tree) -> Option<&str> {
    match &value.kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn is_single(kind: Type) -> bool {
    !matches!(
        kind,
        Type::Texts
            | Type::Choices(_)
            | Type::TextMap
            | Type::TextsMap
            | Type::Section(_)
            | Type::Sections(_)
            | Type::SectionMap(_)
    )
}

/// Why a value of a known key is not carried over.
enum Refused {
    /// It says that there is none.
    Zero,
    /// The end of a sentence that begins with the value.
    For(String),
}

/// What Prometheus takes and we do not. What neither takes is left to the reader of configurations.
fn refused(key: &Key, text: &str) -> Option<Refused> {
    let (min, max) = key.bounds;
    let compared = |value: Option<u128>, bound: &str, read: &dyn Fn(&str) -> Option<u128>| {
        Some(value?.cmp(&read(bound).filter(|_| !bound.is_empty())?))
    };
    let outside = |read: &dyn Fn(&str) -> Option<u128>| {
        let value = read(text);
        if value == Some(0) && !min.is_empty() {
            return Some(Refused::Zero);
        }
        match (compared(value, min, read), compared(value, max, read)) {
            (Some(std::cmp::Ordering::Less), _) => Some(Refused::For(format!("is below {min}"))),
            (_, Some(std::cmp::Ordering::Greater)) => Some(Refused::For(format!("is above {max}"))),
            _ => None,
        }
    };
    match key.kind {
        Type::Choice(words) if !words.contains(&text) => {
            Some(Refused::For(format!("is not known here; choices are {}", listed(words))))
        }
        Type::Duration => outside(&|text| values::duration(text).ok().map(|length| length.as_nanos())),
        Type::Count => outside(&|text| values::count(text).ok().map(u128::from)),
        _ => None,
    }
}

/// As it is typed in our configuration, where no variable is meant.
pub(super) fn escaped(text: &str) -> String {
    Text::literal(text).typed()
}

fn names_a_variable(text: &str) -> bool {
    let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    names.into_iter().any(|(name, _)| is_name(name))
}

fn is_name(name: &str) -> bool {
    let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_word && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a value asks for nothing.
fn is_off(value: &Tree) -> bool {
    match &value.kind {
        Kind::Null => true,
        Kind::Scalar { text, .. } => matches!(text.as_str(), "" | "0" | "0s" | "false"),
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(entries) => entries.is_empty(),
    }
}
