//! `file_sd_configs`: files of targets, as Prometheus reads them.
//!
//! A JSON or YAML list of `{targets: [host:port, …], labels: {…}}`. As in Prometheus, any other key is an error, so that a
//! slip of the pen does not lose labels; only `source`, which Cloud Foundry's metrics-agent writes, is let through.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::config::yaml::{self, DISCOVERY_FILE, Entry, Kind, Node};
use crate::config::{Pos, Problem, quoted};
use crate::model::Labels;

use super::resolve::{Group, Own};

type Fault = (Pos, String);

/// Bytes of all targets together, at most, each with the labels of its group: a small text may say much.
const ALL_BYTES_MAX: usize = 128 << 20;

/// Bytes that a target takes beside its address and its group's labels, about.
const TARGET_BYTES: usize = 256;

/// Reads a file; its ending tells the format. The first thing that is wrong is the error.
pub(super) fn parse(path: &Path, file: &Arc<str>, content: &[u8]) -> Result<Vec<Group>, Problem> {
    let problem = |(at, message): Fault| Problem { file: file.clone(), at, message };
    let groups = match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => parse_json(content),
        Some("yml" | "yaml") => match yaml::parse(file, content, &DISCOVERY_FILE)? {
            Some(root) => read_yaml(&root).and_then(bounded),
            None => Ok(Vec::new()),
        },
        _ => Err((Pos::default(), "its name must end in .json, .yml or .yaml".to_owned())),
    };
    let mut groups = groups.map_err(problem)?;
    for group in &mut groups {
        group.labels.set("__meta_filepath", path.to_string_lossy().into_owned());
        group.file = Some(path.to_owned());
    }
    Ok(groups)
}

fn group(targets: Vec<String>, labels: Labels<'static>) -> Group {
    Group { targets, labels, file: None, own: Own::default() }
}

fn unknown_key(key: &str) -> String {
    format!("{} is not a key of a target group; there are targets and labels", quoted(key))
}

const NO_NAME: &str = "labels: a label's name is empty";

fn read_yaml(root: &Node) -> Result<Vec<Group>, Fault> {
    let Kind::Sequence(groups) = &root.kind else {
        return Err((root.at, format!("expected a list of target groups, found {}", root.kind_name())));
    };
    groups.iter().map(read_yaml_group).collect()
}

fn read_yaml_group(node: &Node) -> Result<Group, Fault> {
    let Kind::Mapping(entries) = &node.kind else {
        return Err((node.at, format!("expected a target group with targets and labels, found {}", node.kind_name())));
    };
    let (mut targets, mut labels) = (Vec::new(), Labels::new());
    for entry in entries {
        match (entry.key.as_str(), &entry.value.kind) {
            ("source", _) | ("targets" | "labels", Kind::Null) => {}
            ("targets", Kind::Sequence(items)) => {
                targets = items.iter().map(|item| scalar("targets", item)).collect::<Result<_, _>>()?;
            }
            ("labels", Kind::Mapping(pairs)) => labels = read_yaml_labels(pairs)?,
            ("targets", _) => {
                return Err((entry.value.at, format!("targets: expected a list, found {}", entry.value.kind_name())));
            }
            ("labels", _) => {
                let found = entry.value.kind_name();
                return Err((entry.value.at, format!("labels: expected names and values, found {found}")));
            }
            (other, _) => return Err((entry.at, unknown_key(other))),
        }
    }
    Ok(group(targets, labels))
}

fn read_yaml_labels(pairs: &[Entry]) -> Result<Labels<'static>, Fault> {
    let mut labels = Labels::new();
    for pair in pairs {
        if pair.key.is_empty() {
            return Err((pair.at, NO_NAME.to_owned()));
        }
        labels.set(pair.key.clone(), scalar("labels", &pair.value)?);
    }
    Ok(labels)
}

fn scalar(key: &str, node: &Node) -> Result<String, Fault> {
    match &node.kind {
        Kind::Null => Ok(String::new()),
        Kind::Scalar { text, .. } => Ok(text.clone()),
        _ => Err((node.at, format!("{key}: expected a single value, found {}", node.kind_name()))),
    }
}

/// JSON is read by a JSON reader: a YAML one would take more than Prometheus does. It has places for syntax errors only; any
/// other error names the group.
pub(super) fn parse_json(content: &[u8]) -> Result<Vec<Group>, Fault> {
    let root: Value = serde_json::from_slice(content).map_err(|error| {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Pos { line: small(error.line()), column: small(error.column()) };
        let text = error.to_string();
        // The crate's text ends in the place, which is told already.
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        (at, format!("not JSON: {reason}"))
    })?;
    let whole = |message: String| (Pos::default(), message);
    let Value::Array(groups) = root else {
        return Err(whole(format!("expected a list of target groups, found {}", json_kind(&root))));
    };
    let numbered = groups.into_iter().enumerate();
    let groups = numbered.map(|(at, value)| json_group(value).map_err(|why| whole(format!("group {}: {why}", at + 1))));
    groups.collect::<Result<_, _>>().and_then(bounded)
}

fn bounded(groups: Vec<Group>) -> Result<Vec<Group>, Fault> {
    let bytes = groups.iter().map(|group| {
        let labels: usize = group.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let addresses: usize = group.targets.iter().map(String::len).sum();
        group.targets.len().saturating_mul(labels + TARGET_BYTES).saturating_add(addresses)
    });
    match bytes.fold(0, usize::saturating_add) {
        0..=ALL_BYTES_MAX => Ok(groups),
        bytes => {
            let (bytes, limit) = (bytes >> 20, ALL_BYTES_MAX >> 20);
            let message =
                format!("its targets take {bytes} MiB with the labels of their groups; at most {limit} MiB are taken");
            Err((Pos::default(), message))
        }
    }
}

fn json_group(value: Value) -> Result<Group, String> {
    let Value::Object(entries) = value else {
        return Err(format!("expected targets and labels, found {}", json_kind(&value)));
    };
    let (mut targets, mut labels) = (Vec::new(), Labels::new());
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("source", _) | ("targets" | "labels", Value::Null) => {}
            ("targets", Value::Array(items)) => {
                targets = items.into_iter().map(|item| json_text("targets", item)).collect::<Result<_, _>>()?;
            }
            ("labels", Value::Object(pairs)) => {
                for (name, value) in pairs {
                    if name.is_empty() {
                        return Err(NO_NAME.to_owned());
                    }
                    labels.set(name, json_text("labels", value)?);
                }
            }
            ("targets", other) => return Err(format!("targets: expected a list, found {}", json_kind(&other))),
            ("labels", other) => return Err(format!("labels: expected names and values, found {}", json_kind(&other))),
            (other, _) => return Err(unknown_key(other)),
        }
    }
    Ok(group(targets, labels))
}

fn json_text(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{key}: expected a text in double quotes, found {}", json_kind(&other))),
    }
}

/// What a value is, for people.
pub(super) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(file: &str, text: &str) -> Result<Vec<(Vec<String>, String)>, String> {
        parse(Path::new(file), &file.into(), text.as_bytes())
            .map(|groups| groups.into_iter().map(|group| (group.targets, group.labels.to_string())).collect())
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x", "__param_id": "\ud83d\ude00"}}, {"targets": []}, {}]"#;
        let yaml =
            "- targets: ['a:1', b:2]\n  labels: {env: x, __param_id: \"\u{1f600}\"}\n  source: s\n- targets:\n- {}\n";
        let expected = |file: &str| {
            let meta = format!("__meta_filepath=\"{file}\"");
            Ok(vec![
                (vec!["a:1".to_owned(), "b:2".to_owned()], format!("{{{meta},__param_id=\"\u{1f600}\",env=\"x\"}}")),
                (vec![], format!("{{{meta}}}")),
                (vec![], format!("{{{meta}}}")),
            ])
        };
        assert_eq!(parse_text("t.json", json), expected("t.json"));
        assert_eq!(parse_text("t.yml", yaml), expected("t.yml"));
        assert_eq!(parse_text("t.yaml", ""), Ok(vec![]));
        assert_eq!(parse_text("t.json", "[]"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let refused = |file: &str, text: &str| parse_text(file, text).expect_err(text);
        assert_eq!(refused("t.json", "[\n {\"targets\": [,]}]"), "t.json:2:15: not JSON: expected value");
        assert_eq!(refused("t.json", ""), "t.json:1:0: not JSON: EOF while parsing a value");
        assert_eq!(refused("t.json", "[{}, 3]"), "t.json: group 2: expected targets and labels, found a number");
        assert_eq!(
            refused("t.json", r#"[{"targets": [1]}]"#),
            "t.json: group 1: targets: expected a text in double quotes, found a number"
        );
        assert_eq!(
            refused("t.json", r#"[{"target": []}]"#),
            "t.json: group 1: \"target\" is not a key of a target group; there are targets and labels"
        );
        assert_eq!(refused("t.json", "{}"), "t.json: expected a list of target groups, found an object");
        assert_eq!(refused("t.yml", "targets: []"), "t.yml:1:1: expected a list of target groups, found a mapping");
        assert_eq!(refused("t.yml", "- targets: a:1"), "t.yml:1:12: targets: expected a list, found a single value");
        assert_eq!(
            refused("t.yml", "- targets: []\n  lables: {}"),
            "t.yml:2:3: \"lables\" is not a key of a target group; there are targets and labels"
        );
        assert_eq!(
            refused("t.yml", "- labels: {a: {}}"),
            "t.yml:1:15: labels: expected a single value, found a mapping"
        );
        assert_eq!(refused("t.txt", "[]"), "t.txt: its name must end in .json, .yml or .yaml");
    }

    /// Each target gets its group's labels: a small answer could take all memory.
    #[test]
    fn a_group_whose_labels_would_be_too_much_for_all_its_targets_is_refused() {
        let group = |targets: usize, label_bytes: usize| {
            let targets = vec!["\"a:1\""; targets].join(",");
            format!("[{{\"targets\": [{targets}], \"labels\": {{\"a\": \"{}\"}}}}]", "x".repeat(label_bytes))
        };
        let told = "its targets take 512 MiB with the labels of their groups; at most 128 MiB are taken";
        for file in ["t.json", "t.yml"] {
            assert!(parse_text(file, &group(1000, 100_000)).is_ok());
            let refused = parse_text(file, &group(2000, 268_300)).map(|groups| groups.len());
            assert_eq!(refused, Err(format!("{file}: {told}")));
        }
        assert!(parse_json(group(100_000, 500).as_bytes()).is_ok());
        assert!(parse_json(group(1_000_000, 0).as_bytes()).is_err(), "targets without labels are not free either");
    }
}
