//! The examples for those who watch promferry: alerting rules and a Grafana dashboard, held against the metrics of a real process, by
//! a real Prometheus.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tokio::net::TcpSocket;
use tokio::process::Command;

use crate::main_job::body;
use crate::support::exporter::Exporter;
use crate::support::prometheus::{Prometheus, Version};
use crate::support::world::{World, outcome, until};

/// Panels and queries that have nothing to show where all that can happen to a machine does not.
const NOTHING_TO_SHOW: [&str; 5] = [
    // One has to lose samples for it.
    "promferry_output_samples_rejected_total",
    "promferry_output_samples_dropped_total",
    "promferry_output_samples_duplicate_total",
    // Nothing is announced over NATS.
    "promferry_registrar_",
    // It was started once.
    "changes(",
];

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

fn dashboard() -> Json {
    serde_json::from_str(&read("examples/grafana/promferry.json")).unwrap()
}

/// All values of this key, at any depth.
fn all<'j>(json: &'j Json, key: &str, into: &mut Vec<&'j Json>) {
    match json {
        Json::Object(members) => {
            into.extend(members.get(key));
            members.values().for_each(|value| all(value, key, into));
        }
        Json::Array(items) => items.iter().for_each(|item| all(item, key, into)),
        _ => {}
    }
}

/// Each expression of the dashboard as Grafana sends it when everything is chosen.
fn expressions(dashboard: &Json) -> Vec<String> {
    let mut found = Vec::new();
    all(dashboard, "expr", &mut found);
    let filled_in = |expression: &&Json| {
        let known = [
            ("$job", ".*"),
            ("$instance", ".*"),
            ("$output", ".*"),
            ("$__rate_interval", "30s"),
            ("$__interval", "30s"),
            ("$__range", "1h"),
        ];
        let text =
            known.iter().fold(expression.as_str().unwrap().to_owned(), |text, (name, value)| text.replace(name, value));
        assert!(!text.contains('$'), "a variable that is not known here: {text}");
        text
    };
    found.iter().map(filled_in).collect()
}

/// Words that can only be names of self-metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("promferry_") || word.starts_with("process_")).collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let docs = read("docs/operating.md");
    let (_, table) = docs.split_once("## Metrics").unwrap();
    // tests/it/admin.rs holds that table against what is exposed, both ways.
    let documented = metrics_in(table);
    let (dashboard, rules) = (dashboard(), read("examples/alerts.yml"));
    let mut queries = expressions(&dashboard);
    let mut definitions = Vec::new();
    all(&dashboard, "definition", &mut definitions);
    queries.extend(definitions.iter().map(|definition| definition.as_str().unwrap().to_owned()));
    let used: BTreeSet<&str> = queries.iter().flat_map(|query| metrics_in(query)).chain(metrics_in(&rules)).collect();
    assert!(used.len() > 40, "they are where they are looked for: {used:?}");
    assert_eq!(used.difference(&documented).collect::<Vec<_>>(), [&""; 0]);
    // An operator who opens the dashboard misses nothing.
    assert_eq!(documented.difference(&used).collect::<Vec<_>>(), [&""; 0]);
}

#[test]
fn the_dashboard_is_ready_to_be_imported() {
    let dashboard = dashboard();
    let mut sources = Vec::new();
    all(&dashboard, "datasource", &mut sources);
    for source in sources {
        let uid = source["uid"].as_str().unwrap();
        assert!(["${datasource}", "-- Grafana --"].contains(&uid), "{uid} is somebody's");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "output"]);
    // Grafana gives it a number.
    assert_eq!(dashboard["id"], Json::Null);

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for place in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} lies on another panel", panel["title"]);
        }
        assert_ne!(panel["title"], "");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
}

/// A configuration with nearly all that can be watched: targets up and down, outputs of three kinds, one of them failing onto a disk.
fn configuration(nobody: std::net::SocketAddr) -> String {
    format!(
        r#"
global: {{scrape_interval: 1s, memory_limit: 1GiB}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
    static_configs: [{{targets: ["{nobody}", "drop.me:1"]}}]
    relabel_configs: [{{source_labels: [__address__], regex: drop.me.*, action: drop}}]
outputs:
  - name: everything
    expose: {{listen: "127.0.0.1:0"}}
  - name: lines
    file: {{path: samples.jsonl}}
    write_relabel_configs: [{{source_labels: [__name__], regex: ratio, action: drop}}]
  - name: search
    elasticsearch: {{urls: ["http://{nobody}"]}}
    batch: {{flush_interval: 50ms, flush_jitter: 0s}}
    queue: {{disk: {{path: FOLDER/disk}}}}
admin: {{listen: "127.0.0.1:0"}}
"#
    )
}

/// One promferry works, another scrapes its self-metrics into a real Prometheus, and the dashboard is looked at.
#[tokio::test]
async fn every_query_of_the_dashboard_shows_something_of_a_process_at_work() {
    let watched = World::new();
    let Some(prometheus) = Prometheus::start(watched.folder(), Version::Two).await else { return };
    let exporter = Exporter::start(watched.ca.server(&["127.0.0.1"]).server_config(Some(&watched.ca)), body).await;
    watched.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    // Taken, and nobody listens on it.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    watched.configure(&configuration(nobody.local_addr().unwrap()));
    let promferry = watched.run().await;

    let watching = World::new();
    watching.configure(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: promferry\n    static_configs: [{{targets: ['{}']}}]\n\
         outputs:\n  - name: prometheus\n    remote_write: {{url: '{}'}}\n    batch: {{flush_interval: 50ms, flush_jitter: 0s}}\nadmin: null\n",
        promferry.admin,
        prometheus.url()
    ));
    let _watcher = watching.run().await;

    let expressions = expressions(&dashboard());
    assert!(expressions.len() > 50, "{}", expressions.len());
    let mut empty: Vec<&String> = expressions.iter().collect();
    until("each query has an answer", async || {
        let mut still = Vec::new();
        for expression in &empty {
            // What Prometheus cannot parse is a panic here.
            let data = prometheus.api("query", &[("query", expression)]).await;
            let may_be = NOTHING_TO_SHOW.iter().any(|name| expression.contains(name));
            if data["result"].as_array().unwrap().is_empty() && !may_be {
                still.push(*expression);
            }
        }
        empty = still;
        empty.is_empty().then_some(())
    })
    .await;
    // The ledger adds up in every scrape, as the panel shows it.
    let unaccounted = expressions
        .iter()
        .find(|expression| expression.contains("samples_waiting") && expression.contains(" - "))
        .unwrap();
    let data = prometheus.api("query", &[("query", &format!("max_over_time(abs({unaccounted})[1h:1s])"))]).await;
    assert_eq!(data["result"][0]["value"][1], "0");
}

/// Beside Prometheus 2, where tests/prometheus/get puts it.
fn promtool() -> Option<Command> {
    let program = Version::Two.program()?;
    Some(Command::new(program.with_file_name("promtool")))
}

#[tokio::test]
async fn promtool_accepts_the_rules_and_they_fire_when_they_must() {
    for arguments in [["check", "rules", "examples/alerts.yml"], ["test", "rules", "tests/prometheus/alerts_test.yml"]]
    {
        let Some(mut promtool) = promtool() else { return };
        let (code, stdout, stderr) = outcome(promtool.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"))).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
    }
}

/// A rule, from its name to the next.
fn rules(text: &str) -> Vec<(&str, &str)> {
    text.split("- alert: ").skip(1).map(|rule| rule.split_once('\n').unwrap()).collect()
}

#[test]
fn every_rule_says_what_it_means_and_is_tested() {
    let (text, tests) = (read("examples/alerts.yml"), read("tests/prometheus/alerts_test.yml"));
    let rules = rules(&text);
    assert!(rules.len() > 20);
    for (name, rule) in rules {
        for key in ["expr: ", "labels: {severity: ", "summary: ", "description: >-"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        // What rises only when something happens need not go on for a while.
        let is_edge = rule.contains("increase(") || rule.contains("changes(");
        assert!(is_edge || rule.contains("for: "), "{name}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "nothing shows that {name} fires");
    }
}

/// The other tests see that a query has an answer; here it is the right one.
#[tokio::test]
async fn the_dashboard_sees_a_queue_that_is_full_of_bytes_and_the_first_samples_that_are_lost() {
    let Some(mut promtool) = promtool() else { return };
    let expressions = expressions(&dashboard());
    let one = |part: &str| expressions.iter().find(|expression| expression.contains(part)).unwrap();
    let text = include_str!("../prometheus/dashboard_test.yml")
        .replace("QUEUE", one("promferry_output_queue_bytes_max"))
        .replace("LOST", one("offset 1h"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard_test.yml");
    std::fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = outcome(promtool.args(["test", "rules"]).arg(&path)).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}
