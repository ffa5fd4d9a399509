//! A real Elasticsearch node: the index template that is installed, what becomes of metrics by it, and what is said where it is
//! missing.

use std::time::Duration;

use elasticsearch::http::Method;
use promferry::config::checked::{DocumentShape, Elasticsearch as Settings, Lifecycle};
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::Output as _;
use serde_json::{Value as Json, json};

use crate::elasticsearch::deliver;
use crate::support::delivery::{Target, elasticsearch};
use crate::support::elasticsearch::{Node, now_ms};

/// Settings that write to a stream of their own, and install its template.
fn managing(node: &Node) -> (String, Settings) {
    let name = Node::unused_name("metrics-promferry-managed");
    let mut settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    settings.manages_template = true;
    (name, settings)
}

async fn start(settings: &Settings) -> Result<(), String> {
    Elasticsearch::new(settings, &Credentials::default()).start().await
}

async fn check(settings: &Settings) -> Result<(), String> {
    Elasticsearch::new(settings, &Credentials::default()).check().await
}

/// Eight samples of now.
async fn deliver_eight(settings: &Settings) {
    let counts = deliver(settings, &[Target::new(1, 8).scrape(now_ms())]).await;
    assert_eq!(counts.settled.delivered, 8, "{counts:?}");
}

async fn template(node: &Node, name: &str) -> Json {
    let mut answer = node.ask(Method::Get, &format!("/_index_template/{name}"), None).await;
    answer["index_templates"][0]["index_template"].take()
}

async fn put_template(node: &Node, name: &str, body: Json) {
    node.ask(Method::Put, &format!("/_index_template/{name}"), Some(body)).await;
}

async fn clean_up(node: &Node, name: &str) {
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}

#[tokio::test]
async fn counters_and_gauges_are_known_as_such_also_after_a_rollover() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = managing(&node);
    let (target, now_ms) = (Target::new(1, 8), now_ms());
    assert_eq!(deliver(&settings, &[target.scrape(now_ms)]).await.settled.delivered, 8);
    node.ask(Method::Post, &format!("/{name}/_rollover"), None).await;
    // The new index takes what is later than the old one's end, half an hour after it was made.
    assert_eq!(deliver(&settings, &[target.scrape(now_ms + 40 * 60_000)]).await.settled.delivered, 8);
    let indices = node.metric_fields(&name).await;
    assert_eq!(indices.len(), 2);
    for fields in indices {
        // The first two are counters by their TYPE alone.
        for (metric, kind) in [
            ("requests", "counter"),
            ("errors", "counter"),
            ("queue", "gauge"),
            ("latency_bucket", "counter"),
            ("latency_sum", "counter"),
            ("latency_count", "counter"),
        ] {
            assert_eq!(fields[metric], json!({"type": "double", "time_series_metric": kind}), "{metric}: {fields}");
        }
    }
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn the_template_is_installed_and_updated_and_a_foreign_one_is_left_alone() {
    let Some(node) = Node::from_env() else { return };
    let (name, mut settings) = managing(&node);
    settings.lifecycle = Lifecycle::Retention(Duration::from_secs(30 * 86_400));
    check(&settings).await.expect("what is to be installed is what is needed");
    let all = node.ask(Method::Get, "/_index_template", None).await;
    assert!(!all.to_string().contains(&name), "a check installs nothing");

    start(&settings).await.expect("nothing is missing");
    let managed = format!("promferry-{name}");
    let installed = template(&node, &managed).await;
    assert_eq!((&installed["priority"], &installed["_meta"]["managed_by"]), (&json!(500), &json!("promferry")));
    assert_eq!(installed["index_patterns"], json!([name]));
    assert_eq!(installed["template"]["lifecycle"]["data_retention"], "30d");
    assert_eq!(installed["template"]["settings"]["index"]["look_back_time"], "2h");

    settings.max_age = Duration::from_secs(26 * 3600);
    start(&settings).await.expect("it is updated");
    let mut updated = template(&node, &managed).await;
    assert_eq!(updated["template"]["settings"]["index"]["look_back_time"], "26h");

    let with_meta = |template: &Json, meta: Json| json!({"index_patterns": [name], "data_stream": {}, "priority": 500, "_meta": meta, "template": template["template"]});
    let newer = json!({"managed_by": "promferry", "version": 1000});
    put_template(&node, &managed, with_meta(&updated, newer.clone())).await;
    start(&settings).await.expect("a newer program's will do");
    assert_eq!(template(&node, &managed).await["_meta"], newer);

    updated["template"]["settings"]["index"]["look_back_time"] = json!("3h");
    let foreign = json!({"managed_by": "somebody"});
    put_template(&node, &managed, with_meta(&updated, foreign.clone())).await;
    let said = start(&settings).await.expect_err("it is left alone");
    assert!(said.contains("was not made by promferry (its _meta.managed_by says so) and is left alone"), "{said}");
    assert!(said.contains("index.look_back_time of"), "and what it lacks is said: {said}");
    assert_eq!(template(&node, &managed).await["_meta"], foreign);
    node.remove(&format!("/_index_template/{managed}")).await;
}

#[tokio::test]
async fn what_is_missing_is_said_and_an_old_index_asks_for_a_rollover() {
    let Some(node) = Node::from_env() else { return };
    let (name, mut settings) = managing(&node);
    settings.manages_template = false;
    let said = start(&settings).await.expect_err("there is no template");
    assert!(said.starts_with(&format!("http://{}/: no index template matches {name}: ", node.address)), "{said}");

    put_template(&node, &name, json!({"index_patterns": [name], "data_stream": {}, "priority": 400})).await;
    let said = start(&settings).await.expect_err("it lacks all");
    for missing in ["is no time series data stream", "has room for 1000 fields", "as float, of 32 bits"] {
        assert!(said.contains(missing), "{said}");
    }
    deliver_eight(&settings).await;

    settings.manages_template = true;
    let said = start(&settings).await.expect_err("the index was made before");
    assert!(said.contains(&format!("a rollover makes an index by it: POST /{name}/_rollover")), "{said}");
    deliver_eight(&settings).await;
    node.ask(Method::Post, &format!("/{name}/_rollover"), None).await;
    start(&settings).await.expect("all is well then");
    deliver_eight(&settings).await;
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/{name}")).await;
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}

#[tokio::test]
async fn the_templates_of_other_shapes_keep_values_exact() {
    let Some(node) = Node::from_env() else { return };
    for shape in [DocumentShape::Telegraf, DocumentShape::TelegrafV1, DocumentShape::Metricbeat] {
        let (name, mut settings) = managing(&node);
        settings.shape = shape;
        deliver_eight(&settings).await;
        let mapping = node.ask(Method::Get, &format!("/{name}/_mapping"), None).await.to_string();
        assert!(mapping.contains("\"double\"") && !mapping.contains("\"float\""), "{mapping}");
        start(&settings).await.expect("nothing is missing");
        clean_up(&node, &name).await;
    }
}

#[tokio::test]
async fn a_pipeline_that_is_not_there_is_said_before_documents_wait_for_it() {
    let Some(node) = Node::from_env() else { return };
    let (name, mut settings) = managing(&node);
    settings.pipeline = Some("no-such".to_owned());
    let said = check(&settings).await.expect_err("it is missing");
    assert!(said.ends_with("there is no ingest pipeline no-such; documents wait for it"), "{said}");
    settings.pipeline = Some(name.clone());
    node.ask(Method::Put, &format!("/_ingest/pipeline/{name}"), Some(json!({"processors": []}))).await;
    check(&settings).await.expect("it is there");
    settings.require_data_stream = true;
    deliver_eight(&settings).await;
    node.remove(&format!("/_ingest/pipeline/{name}")).await;
    clean_up(&node, &name).await;
}
