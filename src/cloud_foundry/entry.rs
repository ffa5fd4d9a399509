//! An entry of metrics-agent's targets file, which the registrar publishes on NATS too.
//!
//! Written as metrics-agent and metrics-discovery-registrar write it, byte for byte: see `go_yaml`. Read from others, who are
//! not trusted: sizes are capped, and what is wrong is an error with its place. Keys that we do not know are left out, as the
//! original does.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::go_yaml::{push_key, push_line, push_value, sorted_keys};
use crate::config::yaml::{self, DISCOVERY_FILE, Kind, Limits, Node};
use crate::config::{Pos, Problem, quoted};

/// For one message: 64 KiB. What metrics-agent sends has some hundred bytes.
const MESSAGE: Limits = Limits { input_bytes_max: 64 << 10, depth_max: 8, nodes_max: 4 << 10 };

/// Labels of one entry, at most.
const LABELS_MAX: usize = 128;

/// Targets with the same labels, and who announces them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `host:port` of each.
    pub targets: Vec<String>,
    /// Labels for each of them; `__param_id` asks the exporter for one of its sources.
    pub labels: BTreeMap<String, String>,
    /// Who announces them: `SOURCE_ID__INSTANCE_ID`. A later entry of the same source replaces this one.
    pub source: String,
}

/// Why a message is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct EntryError {
    at: Pos,
    message: String,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Pos { line: 0, .. } => f.write_str(&self.message),
            Pos { line, column } => write!(f, "line {line}, column {column}: {}", self.message),
        }
    }
}

impl Entry {
    /// One message: the keys at the margin.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.push(&mut out, "", "");
        out
    }

    /// Reads one message, of 64 KiB at most. An entry without a source is an error.
    pub fn from_yaml(message: &[u8]) -> Result<Self, EntryError> {
        let error = |(at, message)| EntryError { at, message };
        if message.len() > MESSAGE.input_bytes_max {
            return Err(error((Pos::default(), format!("it is larger than {} bytes", MESSAGE.input_bytes_max))));
        }
        let root = yaml::parse(&"".into(), message, &MESSAGE)
            .map_err(|problem| error((problem.at, problem.message)))?
            .ok_or_else(|| error((Pos::default(), "it is empty".to_owned())))?;
        read_entry(&root).map_err(error)
    }

    fn push(&self, out: &mut String, first: &str, next: &str) {
        push_group(out, first, next, &self.targets, &self.labels);
        let _ = write!(out, "{next}source: ");
        push_line(out, &self.source);
        out.push('\n');
    }
}

/// Targets and labels, each key behind its margin.
pub(super) fn push_group(
    out: &mut String,
    first: &str,
    next: &str,
    targets: &[String],
    labels: &BTreeMap<String, String>,
) {
    let _ = write!(out, "{first}targets:");
    if targets.is_empty() {
        out.push_str(" []");
    }
    for target in targets {
        out.push_str("\n    - ");
        push_line(out, target);
    }
    let _ = write!(out, "\n{next}labels:");
    if labels.is_empty() {
        out.push_str(" {}");
    }
    for key in sorted_keys(labels.keys().map(String::as_str)) {
        out.push('\n');
        push_key(out, key, 4);
        out.push(' ');
        push_value(out, labels.get(key).map_or("", String::as_str), 8);
    }
    out.push('\n');
}

/// The targets file: a list of all entries.
pub fn entries_to_yaml(entries: &[Entry]) -> String {
    let mut out = String::new();
    for entry in entries {
        entry.push(&mut out, "- ", "  ");
    }
    if entries.is_empty() {
        out.push_str("[]\n");
    }
    out
}

/// Reads a targets file of somebody else's, of 1 MiB at most: its entries, and what is wrong with single ones, which are left
/// out.
///
/// # Errors
/// When it is no list of entries at all.
pub fn entries_from_yaml(file: &Arc<str>, content: &[u8]) -> Result<(Vec<Entry>, Vec<Problem>), Problem> {
    let problem = |(at, message)| Problem { file: file.clone(), at, message };
    let Some(root) = yaml::parse(file, content, &DISCOVERY_FILE)? else { return Ok(Default::default()) };
    let Kind::Sequence(items) = &root.kind else {
        return Err(problem((root.at, format!("expected a list of entries, found {}", root.kind_name()))));
    };
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match read_entry(item) {
            Ok(entry) => entries.push(entry),
            Err(fault) => problems.push(problem(fault)),
        }
    }
    Ok((entries, problems))
}

type Fault = (Pos, String);

fn read_entry(root: &Node) -> Result<Entry, Fault> {
    let Kind::Mapping(pairs) = &root.kind else {
        return Err((root.at, format!("expected targets, labels and source, found {}", root.kind_name())));
    };
    let mut entry = Entry::default();
    for pair in pairs {
        let wrong = |expected: &str| {
            (pair.value.at, format!("{}: expected {expected}, found {}", pair.key, pair.value.kind_name()))
        };
        match (pair.key.as_str(), &pair.value.kind) {
            ("targets" | "labels" | "source", Kind::Null) => {}
            ("targets", Kind::Sequence(items)) => {
                entry.targets = items.iter().map(|item| text("targets", item)).collect::<Result<_, _>>()?;
            }
            ("targets", _) => return Err(wrong("a list")),
            ("labels", Kind::Mapping(labels)) => entry.labels = read_labels(labels)?,
            ("labels", _) => return Err(wrong("names and values")),
            ("source", _) => entry.source = text("source", &pair.value)?,
            _ => {}
        }
    }
    match entry.source.is_empty() {
        true => Err((root.at, "source is missing; it says whose entry this is".to_owned())),
        false => Ok(entry),
    }
}

fn read_labels(pairs: &[yaml::Entry]) -> Result<BTreeMap<String, String>, Fault> {
    let mut labels = BTreeMap::new();
    for pair in pairs {
        if pair.key.is_empty() || pair.key == "__name__" {
            return Err((pair.at, format!("labels: {} is not the name of a label", quoted(&pair.key))));
        }
        if labels.len() == LABELS_MAX {
            return Err((pair.at, format!("labels: there are more than {LABELS_MAX}")));
        }
        labels.insert(pair.key.clone(), text("labels", &pair.value)?);
    }
    Ok(labels)
}

fn text(key: &str, node: &Node) -> Result<String, Fault> {
    match &node.kind {
        Kind::Null => Ok(String::new()),
        Kind::Scalar { text, .. } => Ok(text.clone()),
        _ => Err((node.at, format!("{key}: expected a single value, found {}", node.kind_name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(targets: &[&str], labels: &[(&str, &str)], source: &str) -> Entry {
        Entry {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            source: source.to_owned(),
        }
    }

    /// The file and the message that the real ones wrote.
    #[test]
    fn the_file_and_a_message_are_those_of_the_originals() {
        let common = [("deployment", "cf"), ("index", "0e4cc47a"), ("instance_group", "diego-cell")];
        let mut labels = vec![("__param_id", "down"), ("a", "1"), ("n", "007"), ("text", "a b: c"), ("yes", "no")];
        labels.extend(common);
        let own = entry(&["10.0.1.5:14726"], &common, "metrics_agent_exporter__0e4cc47a");
        let down = entry(&["10.0.1.5:14726"], &labels, "down__0e4cc47a");
        let file = "- targets:\n    - 10.0.1.5:14726\n  labels:\n    deployment: cf\n    index: 0e4cc47a\n    \
            instance_group: diego-cell\n  source: metrics_agent_exporter__0e4cc47a\n\
            - targets:\n    - 10.0.1.5:14726\n  labels:\n    __param_id: down\n    a: \"1\"\n    deployment: cf\n    \
            index: 0e4cc47a\n    instance_group: diego-cell\n    \"n\": \"007\"\n    text: 'a b: c'\n    \"yes\": \"no\"\n  \
            source: down__0e4cc47a\n";
        let message = "targets:\n    - 10.0.1.5:14726\nlabels:\n    deployment: cf\n    index: 0e4cc47a\n    \
            instance_group: diego-cell\nsource: metrics_agent_exporter__0e4cc47a\n";
        assert_eq!(entries_to_yaml(&[own.clone(), down.clone()]), file);
        assert_eq!(own.to_yaml(), message);
        assert_eq!(entries_from_yaml(&"f".into(), file.as_bytes()), Ok((vec![own.clone(), down], vec![])));
        assert_eq!(Entry::from_yaml(message.as_bytes()), Ok(own));
        let bare = entry(&[], &[], "s");
        assert_eq!(bare.to_yaml(), "targets: []\nlabels: {}\nsource: s\n");
        assert_eq!(Entry::from_yaml(b"{source: s, more: [1]}"), Ok(bare));
        assert_eq!(entries_to_yaml(&[]), "[]\n");
    }

    /// Texts, and what yaml.v3 v3.0.1 writes for them as the value of a label.
    const WRITTEN: &[(&str, &str)] = &[
        ("", "\"\""),
        ("plain text", "plain text"),
        ("no", "\"no\""),
        ("Y", "\"Y\""),
        ("off", "\"off\""),
        ("true", "\"true\""),
        ("yEs", "yEs"),
        ("null", "\"null\""),
        ("~", "\"~\""),
        ("007", "\"007\""),
        ("1_000", "\"1_000\""),
        ("0x1F", "\"0x1F\""),
        ("0xg", "0xg"),
        ("0b-1", "\"0b-1\""),
        ("-1.5e3", "\"-1.5e3\""),
        ("1e999", "1e999"),
        (".5", "\".5\""),
        (".", "."),
        (".inf", "\".inf\""),
        ("99999999999999999999", "\"99999999999999999999\""),
        ("1.2.3", "1.2.3"),
        ("10.0.1.5:14726", "10.0.1.5:14726"),
        ("12:30:45", "\"12:30:45\""),
        ("12:60", "12:60"),
        ("2024-02-29", "\"2024-02-29\""),
        ("2023-02-29", "2023-02-29"),
        ("2024-1-2T3:4:5Z", "\"2024-1-2T3:4:5Z\""),
        ("2024-1-2 3:4:5,5", "\"2024-1-2 3:4:5,5\""),
        ("a b: c \"q\" <x> & é", "'a b: c \"q\" <x> & é'"),
        ("it's # no comment", "'it''s # no comment'"),
        ("it's#none", "it's#none"),
        (" padded ", "' padded '"),
        ("- dash", "'- dash'"),
        ("-dash", "-dash"),
        ("--- a", "'--- a'"),
        ("{{x}}", "'{{x}}'"),
        ("@at", "'@at'"),
        ("ends:", "'ends:'"),
        ("<<", "<<"),
        ("a\tb", "\"a\\tb\""),
        ("\u{1b}[31m\0\r\u{7f}\u{85}", "\"\\e[31m\\0\\r\\x7F\\N\""),
        ("😀\u{fffe}", "\"\\U0001F600\\uFFFE\""),
        ("\u{feff}n", "\"\\uFEFF\\x6E\""),
        ("two\nlines", "|-\n        two\n        lines"),
        ("one\n", "|\n        one\n"),
        ("a\n\nb\n\n", "|+\n        a\n\n        b\n\n"),
        ("a \nb", "\"a \\nb\""),
    ];

    #[test]
    fn texts_are_written_as_go_does_and_read_back_as_they_were() {
        for (text, expected) in WRITTEN {
            let entry = entry(&[text], &[("k", text)], "s");
            let yaml = entry.to_yaml();
            let line_end = if expected.ends_with('\n') { "" } else { "\n" };
            let (_, value) = yaml.split_once("labels:\n    k: ").unwrap();
            assert_eq!(value, format!("{expected}{line_end}source: s\n"), "{text:?}");
            assert_eq!(Entry::from_yaml(yaml.as_bytes()), Ok(entry), "{text:?}");
        }
    }

    #[test]
    fn what_go_does_not_read_back_is_quoted() {
        for text in [" a\nb", "\ta\nb", "\n", "a\u{2028}b", "\u{2029}"] {
            let entry = entry(&[text], &[("k", text), ("<<", "x"), ("k\nl", text)], text);
            let yaml = entry.to_yaml();
            assert!(!yaml.contains('|'), "{yaml}");
            assert_eq!(Entry::from_yaml(yaml.as_bytes()), Ok(entry), "{text:?}");
        }
    }

    #[test]
    fn keys_stand_in_gos_natural_order() {
        let long = "k".repeat(129);
        let keys = ["a10", "a2", "a", "_", "B", "a_", "aa", "1", "10", "9", "9b", "a02", "\u{e9}", "a\r", &long];
        let labels: Vec<_> = keys.iter().map(|key| (*key, "v")).collect();
        let entry = entry(&[], &labels, "s");
        let yaml = entry.to_yaml();
        let expected =
            "_: v,\"1\": v,\"9\": v,9b: v,\"10\": v,B: v,a: v,? \"a\\r\",: v,a_: v,a2: v,a02: v,a10: v,aa: v,";
        let lines: String = yaml.lines().skip(2).map(|line| format!("{},", line.trim())).collect();
        assert_eq!(lines, format!("{expected}? {long},: v,é: v,source: s,"));
        assert_eq!(Entry::from_yaml(yaml.as_bytes()), Ok(entry));
    }

    #[test]
    fn what_is_no_entry_is_told_with_its_place() {
        let refused = |text: &str| Entry::from_yaml(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused(""), "it is empty");
        assert_eq!(refused("- a"), "line 1, column 1: expected targets, labels and source, found a list");
        assert_eq!(refused("targets: [a:1]"), "line 1, column 1: source is missing; it says whose entry this is");
        assert_eq!(
            refused("source: s\ntargets: a:1"),
            "line 2, column 10: targets: expected a list, found a single value"
        );
        assert_eq!(refused("labels: []"), "line 1, column 9: labels: expected names and values, found a list");
        assert_eq!(refused("labels: {a: {}}"), "line 1, column 13: labels: expected a single value, found a mapping");
        assert_eq!(
            refused("labels: {__name__: x}"),
            "line 1, column 10: labels: \"__name__\" is not the name of a label"
        );
        assert_eq!(refused("source: *x"), "line 1, column 9: not YAML: while parsing node, found unknown anchor");
        assert_eq!(refused(&"#".repeat(65_537)), "it is larger than 65536 bytes");
        let many: String = (0..129).map(|i| format!("l{i}: v,")).collect();
        assert!(refused(&format!("labels: {{{many}}}")).ends_with("labels: there are more than 128"));
    }

    #[test]
    fn one_wrong_entry_of_a_file_costs_no_other() {
        let text = "- {source: a, targets: [x:1]}\n- {targets: [y:1]}\n- 3\n- {source: c}\n";
        let (entries, problems) = entries_from_yaml(&"f".into(), text.as_bytes()).unwrap();
        assert_eq!(entries, [entry(&["x:1"], &[], "a"), entry(&[], &[], "c")]);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "f:2:3: source is missing; it says whose entry this is",
                "f:3:3: expected targets, labels and source, found a single value"
            ]
        );
        assert_eq!(entries_from_yaml(&"f".into(), b""), Ok((vec![], vec![])));
        let refused = entries_from_yaml(&"f".into(), b"a: 1").unwrap_err();
        assert_eq!(refused.to_string(), "f:1:1: expected a list of entries, found a mapping");
    }
}
