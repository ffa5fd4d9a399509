//! YAML in the documents: ours goes through the reader of configurations.

use std::collections::BTreeSet;
use std::sync::Arc;

use promferry::config::raw::{ROOT, SECTIONS};
use promferry::config::yaml::{Kind, MAIN_FILE, Node, parse};
use promferry::config::{Source, YAML_VARIABLE, load};

/// What the documents take from the environment.
const VARIABLES: &[(&str, &str)] = &[
    ("HOST_IP", "10.0.16.4"),
    ("NATS_PASSWORD", "x"),
    ("NOMAD_ADDR", "unix:///secrets/api.sock"),
    ("PORT", "8080"),
    (
        "VCAP_SERVICES",
        r#"{"user-provided": [{"name": "scrape", "credentials": {"ca": "x", "cert": "x", "key": "x"}}]}"#,
    ),
];

/// Stands in for what a section on its own lacks.
const AN_OUTPUT: &str = "outputs: [{name: stand-in, file: {path: '-'}}]\n";

/// Sections of a configuration, such as `outputs:` alone.
pub fn check_sections(text: &str) -> Result<(), String> {
    let keys = keys(text)?;
    if let Some(unknown) = keys.iter().find(|key| ROOT.key(key).is_none()) {
        return Err(format!("\"{unknown}\" is no section of promferry.yml; say `yaml in KEY` or `yaml of PROGRAM`"));
    }
    let lacks_outputs = !keys.contains("outputs") && !keys.contains("metrics_agent");
    let whole = if lacks_outputs { format!("{text}\n{AN_OUTPUT}") } else { text.to_owned() };
    loads(&whole)
}

/// Keys of the section `name`: of a scrape configuration, `tls_config` or an output.
pub fn check_keys(text: &str, name: &str) -> Result<(), String> {
    let section = SECTIONS.iter().find(|section| section.name == name).ok_or(format!("there is no section {name}"))?;
    let keys = keys(text)?;
    if let Some(unknown) = keys.iter().find(|key| section.key(key).is_none()) {
        return Err(format!("\"{unknown}\" is no key of {name}"));
    }
    let margin = text.len() - text.trim_start_matches(' ').len();
    let body = |depth: usize| {
        text.lines()
            .map(|line| format!("{}{}\n", " ".repeat(depth), line.get(margin..).unwrap_or(line.trim())))
            .collect::<String>()
    };
    // What each output cannot do without, beside what is shown.
    let needed = |defaults: &[(&str, &str)]| {
        let lacking = defaults.iter().filter(|(key, _)| !keys.contains(*key));
        lacking.map(|(key, value)| format!("    {key}: {value}\n")).collect::<String>()
    };
    let output = |defaults| format!("outputs:\n- name: o\n  {name}:\n{}{}", needed(defaults), body(4));
    match name {
        "scrape_configs" => loads(&format!("scrape_configs:\n- job_name: j\n{}{AN_OUTPUT}", body(2))),
        "elasticsearch" => loads(&output(&[("urls", "['https://es:9200']")])),
        "splunk_hec" => loads(&output(&[("urls", "['https://splunk:8088']"), ("token", "x")])),
        "dogstatsd" => loads(&output(&[])),
        _ => Err(format!("nobody said what `yaml in {name}` stands in")),
    }
}

/// It is YAML, and that is all that can be said here.
pub fn check_foreign(text: &str) -> Result<(), String> {
    tree(text).map(|_| ())
}

fn loads(yaml: &str) -> Result<(), String> {
    let variable = |name: &str| match name {
        YAML_VARIABLE => Some(yaml.to_owned()),
        _ => VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    };
    load(&Source::Variable, &variable).map(|_| ()).map_err(|problems| format!("{problems}\n{yaml}"))
}

fn keys(text: &str) -> Result<BTreeSet<String>, String> {
    match tree(text)?.kind {
        Kind::Mapping(entries) => Ok(entries.into_iter().map(|entry| entry.key).collect()),
        _ => Err("it is no mapping".to_owned()),
    }
}

fn tree(text: &str) -> Result<Node, String> {
    let file = Arc::from("block");
    let read = parse(&file, text.as_bytes(), &MAIN_FILE).map_err(|problem| problem.to_string())?;
    read.ok_or("there is nothing in it".to_owned())
}
