//! The configuration in force, for people: what was typed, without anything that could be a secret.
//!
//! Promises
//! - The tree is shown as it was typed: what a variable holds never appears.
//! - Of a key that the table has as secret ([`Key::is_secret`]) nothing is shown, the default in `${NAME:-default}` included; of a
//!   mapping under such a key the names alone.
//! - Of what may carry a secret by its nature, only that part is left out: credentials and the query of a URL, the values of
//!   `params`, and labels that become such parameters (`__param_…`).
//! - What is left is YAML that says the same as the file: aliases are spelled out, comments are gone.
//!
//! Left out on purpose: defaults that nobody typed (docs/config.md has them), and what files hold that are named here.

use std::fmt;
use std::sync::Arc;

use super::schema::{Key, Section, Type};
use super::writer::{Map, Node as Written, document, quoted};
use super::yaml::{Entry, Kind, Node};

/// What stands where something is left out.
const HIDDEN: &str = "<secret>";

/// Labels of this beginning become parameters of the scrape's URL.
const PARAMETER: &str = "__param_";

/// The text of a configuration, without secrets. It does not count when configurations are compared: it is how they were
/// written, and not what they mean.
#[derive(Clone)]
pub struct Shown(Arc<str>);

impl Shown {
    /// A text of the program's own, which holds no secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Of trees that were read without a problem, each with the name of its file and the table of its keys; the main one
    /// comes first.
    pub(super) fn of<'t>(trees: impl IntoIterator<Item = (&'t str, &'t Node, &'static Section)>) -> Self {
        let mut text = String::new();
        for (file, tree, section) in trees {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            let mut root: Map = Map::default();
            root.comment(file);
            let tree = mapping(tree, section);
            text.push_str(&document(&root));
            text.push_str(&document(&tree));
        }
        Self(text.into())
    }

    /// YAML; a comment begins the part of each file.
    pub fn text(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl PartialEq for Shown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

fn entries(node: &Node) -> &[Entry] {
    match &node.kind {
        Kind::Mapping(entries) => entries,
        _ => &[],
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::Sequence(items) => items,
        _ => &[],
    }
}

/// A mapping with the keys of a section. A key that is not in the table cannot occur in what was read; it would not be shown.
fn mapping(node: &Node, section: &'static Section) -> Map {
    let is_parameter = writes_parameter(node);
    let mut map = Map::default();
    for entry in entries(node) {
        let Some(key) = section.key(&entry.key) else { continue };
        let is_hidden = key.is_secret || is_parameter && key.name == "replacement" || key.name == "params";
        let value = if is_hidden { hidden(&entry.value) } else { value(key, &entry.value) };
        map.add(key.name, value);
    }
    map
}

/// Whether a mapping is a relabel rule that makes a parameter of a URL.
fn writes_parameter(node: &Node) -> bool {
    let is_target = |entry: &Entry| entry.key == "target_label" && text_of(&entry.value).starts_with(PARAMETER);
    entries(node).iter().any(is_target)
}

fn text_of(node: &Node) -> &str {
    match &node.kind {
        Kind::Scalar { text, .. } => text,
        _ => "",
    }
}

fn value(key: &Key, node: &Node) -> Written {
    match (key.kind, &node.kind) {
        (_, Kind::Null) => Written::word("null"),
        (Type::Section(section), _) => Written::Map(mapping(node, section)),
        (Type::Sections(section), _) => list(items(node).iter().map(|item| mapping(item, section)).collect()),
        (Type::SectionMap(section), _) => named(node, |_, inner| Written::Map(mapping(inner, section))),
        (Type::TextMap, _) => named(node, |name, inner| match name.starts_with(PARAMETER) {
            true => hidden(inner),
            false => plain(key, inner),
        }),
        (Type::TextsMap, _) => named(node, |_, inner| plain(key, inner)),
        _ => plain(key, node),
    }
}

fn list(items: Vec<Map>) -> Written {
    if items.is_empty() { Written::word("[]") } else { Written::List(items) }
}

/// A mapping with names of the user's own.
fn named(node: &Node, value: impl Fn(&str, &Node) -> Written) -> Written {
    let mut map = Map::default();
    for entry in entries(node) {
        map.add(&entry.key, value(&entry.key, &entry.value));
    }
    Written::Map(map)
}

/// What is no section: a single value, or a list of such.
fn plain(key: &Key, node: &Node) -> Written {
    match &node.kind {
        Kind::Null => Written::word("null"),
        Kind::Sequence(items) => Written::Scalars(items.iter().map(|item| scalar(key, item)).collect()),
        _ => Written::Scalar(scalar(key, node)),
    }
}

fn scalar(key: &Key, node: &Node) -> String {
    let Kind::Scalar { text, is_plain } = &node.kind else { return "null".to_owned() };
    match without_credentials(text, key.is_verbatim) {
        Some(rest) => quoted(&rest),
        None if *is_plain && stays_plain(text) => text.clone(),
        None => quoted(text),
    }
}

/// Whether a text that stood without quotes needs none, within `{}` and `[]` too.
fn stays_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-+%:".contains(c))
        && !text.ends_with(':')
}

/// Nothing of a value, but how many there are and what they are called.
fn hidden(node: &Node) -> Written {
    match &node.kind {
        Kind::Null => Written::word("null"),
        Kind::Scalar { .. } => Written::verbatim(HIDDEN),
        Kind::Sequence(items) => Written::Scalars(items.iter().map(|_| quoted(HIDDEN)).collect()),
        Kind::Mapping(_) => named(node, |_, inner| hidden(inner)),
    }
}

/// A text without what is before an `@` in a URL and behind a `?`; `None` where it has neither. More is left out rather than less: a
/// password may hold any character. A text that says what it matches or how it is put together is no URL, whatever it looks like,
/// unless it says so with `://`.
fn without_credentials(text: &str, is_verbatim: bool) -> Option<String> {
    let start = match text.find("://") {
        Some(at) => at + "://".len(),
        None if is_verbatim => return None,
        None => 0,
    };
    let (head, rest) = text.split_at(start);
    let has_user = |part: &str| start > 0 || part.contains(':');
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) if has_user(user) => (true, place),
        _ => (false, rest),
    };
    // In front of an address that is no URL, a question mark is only itself; a path may have a query.
    let is_address = start > 0 || rest.starts_with('/');
    let (place, has_query) = match place.split_once('?') {
        Some((place, _)) if is_address => (place, true),
        _ => (place, false),
    };
    if !user && !has_query {
        return None;
    }
    let user = if user { format!("{HIDDEN}@") } else { String::new() };
    let query = if has_query { format!("?{HIDDEN}") } else { String::new() };
    Some(format!("{head}{user}{place}{query}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::problem::Pos;
    use super::super::raw::{ROOT, SECTIONS};
    use super::super::yaml::{MAIN_FILE, parse};
    use super::*;

    const MARK: &str = "S3CR3T";

    fn node(kind: Kind) -> Node {
        Node { at: Pos::default(), kind }
    }

    fn text(text: &str) -> Node {
        node(Kind::Scalar { text: text.to_owned(), is_plain: true })
    }

    fn mapping_of(pairs: Vec<(String, Node)>) -> Node {
        let entry = |(key, value)| Entry { key, at: Pos::default(), value };
        node(Kind::Mapping(pairs.into_iter().map(entry).collect()))
    }

    /// A mapping with every key of a section: a mark for what is secret, and the name of the key for what is not.
    fn full(section: &'static Section, open: &mut BTreeMap<&'static str, u32>) -> Node {
        let of = |key: &'static Key| {
            let leaf = if key.is_secret { MARK } else { key.name };
            *open.entry(key.name).or_default() += 1;
            let value = match key.kind {
                Type::Section(inner) => full(inner, open),
                Type::Sections(inner) => node(Kind::Sequence(vec![full(inner, open)])),
                Type::SectionMap(inner) => mapping_of(vec![("some-name".into(), full(inner, open))]),
                Type::Texts | Type::Choices(_) => node(Kind::Sequence(vec![text(leaf), text(leaf)])),
                Type::TextMap => mapping_of(vec![("some-name".into(), text(leaf)), ("__param_key".into(), text(MARK))]),
                Type::TextsMap => mapping_of(vec![("some-name".into(), node(Kind::Sequence(vec![text(MARK)])))]),
                _ => text(leaf),
            };
            (key.name.to_owned(), value)
        };
        mapping_of(section.keys.iter().map(of).collect())
    }

    fn shown(tree: &Node) -> String {
        Shown::of([("promferry.yml", tree, &ROOT)]).text().to_string()
    }

    fn read(yaml: &str) -> Node {
        parse(&"f".into(), yaml.as_bytes(), &MAIN_FILE).unwrap().unwrap()
    }

    /// What a tree says, without places and quotes.
    fn said(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "null".to_owned(),
            Kind::Scalar { text, .. } => quoted(text),
            Kind::Sequence(items) => format!("[{}]", items.iter().map(said).collect::<Vec<_>>().join(", ")),
            Kind::Mapping(entries) => {
                let pairs = entries.iter().map(|entry| format!("{}: {}", quoted(&entry.key), said(&entry.value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn no_secret_of_any_key_in_the_tables_is_shown() {
        let mut keys = BTreeMap::new();
        let tree = full(&ROOT, &mut keys);
        let all: usize = SECTIONS.iter().map(|section| section.keys.len()).sum();
        assert!(keys.values().sum::<u32>() as usize >= all, "not every section is under the root");
        assert!(said(&tree).matches(MARK).count() > 20);
        let text = shown(&tree);
        assert!(!text.contains(MARK), "{text}");
        for key in keys.keys() {
            assert!(text.contains(&format!("{key}:")), "{key} is not shown\n{text}");
        }
        // The same as references with a default, which is as secret.
        let with_default = said(&tree).replace(MARK, &format!("\"${{A:-{MARK}}}\""));
        assert!(!shown(&read(&with_default)).contains(MARK));
    }

    /// A key that is added with such a name must say that it is secret, or be listed here.
    #[test]
    fn what_sounds_like_a_secret_is_one() {
        let words = ["password", "secret", "token", "credential", "api_key", "headers"];
        let harmless = |key: &Key| key.name.ends_with("_file") || matches!(key.kind, Type::SectionMap(_));
        for section in SECTIONS {
            for key in section.keys.iter().filter(|key| words.iter().any(|word| key.name.contains(word))) {
                assert!(key.is_secret || harmless(key), "{}.{}", section.name, key.name);
            }
        }
    }

    #[test]
    fn what_is_shown_says_the_same_as_the_file() {
        let full = include_str!("../../tests/it/config/full.yml");
        let (typed, again) = (read(full), read(&shown(&read(full))));
        let names = |node: &Node| entries(node).iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
        assert_eq!(names(&typed), names(&again));
        // Where there is no secret nothing is lost, and what is shown is shown the same again.
        assert_eq!(shown(&again), shown(&typed));
        let plain = "global: {external_labels: {a: \"true\", b: '1', c: \"x: y\", d: null, \"e f\": \"\"}, scrape_interval: 15s}\n\
            scrape_configs: [{job_name: \"a\\u202Eb\", prom_scraper_sd_configs: [{}], static_configs: [], \
            metric_relabel_configs: [{regex: '[a-z]+://(.*)\\.b', replacement: '${1}'}]}]\nadmin: null\n";
        assert_eq!(said(&read(&shown(&read(plain)))), said(&read(plain)));
    }

    #[test]
    fn urls_lose_their_credentials_and_queries() {
        let cases = [
            ("https://es:9200/a/b", None),
            ("${ES_URL}", None),
            ("ops@example.com", None),
            ("10.0.0.1:9100", None),
            ("what?", None),
            ("https://u:p@es:9200/a", Some("https://<secret>@es:9200/a")),
            ("https://u:p/?@q@es:9200/a?b=c", Some("https://<secret>@es:9200/a?<secret>")),
            ("https://es/?api_key=x", Some("https://es/?<secret>")),
            ("${A:-https://u:p@es}", Some("${A:-https://<secret>@es}")),
            ("u:p@es:9200", Some("<secret>@es:9200")),
            ("/metrics?token=x", Some("/metrics?<secret>")),
        ];
        for (text, expected) in cases {
            assert_eq!(without_credentials(text, false).as_deref(), expected, "{text}");
        }
        assert_eq!(without_credentials("(a?):b@", true), None);
    }

    #[test]
    fn parameters_of_urls_are_left_out_wherever_they_come_from() {
        let yaml = "scrape_configs:\n  - params: {token: [S3CR3T]}\n    \
            static_configs: [{targets: [a], labels: {__param_token: S3CR3T, b: c}}]\n    \
            relabel_configs: [{target_label: __param_token, replacement: S3CR3T}, {target_label: b, replacement: c}]\n";
        let text = shown(&read(yaml));
        assert!(!text.contains(MARK), "{text}");
        assert!(text.contains("{target_label: b, replacement: c}"), "{text}");
    }
}
