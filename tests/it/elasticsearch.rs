//! A real Elasticsearch node: what is written through the sender is read back with the official client.

use std::sync::Arc;

use elasticsearch::http::Method;
use promferry::config::checked::{BulkAction, DocumentShape, Elasticsearch as Settings};
use promferry::model::Scrape;
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{Counts, Reasons};
use serde_json::{Value as Json, json};
use tracing::Level;

use crate::support::delivery::{Delivery, Target, elasticsearch, options};
use crate::support::elasticsearch::{Node, assert_same, now_ms, samples_of};
use crate::support::logs::Logs;

/// Sends scrapes through a sender of their own.
pub async fn deliver(settings: &Settings, scrapes: &[Arc<Scrape>]) -> Counts {
    let output = Delivery::start(Elasticsearch::new(settings, &Credentials::default()), options());
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    output.finish().await
}

/// A time series data stream with the template of the docs, and settings that write to it.
async fn time_series(node: &Node, metrics: Json) -> (String, Settings) {
    let name = Node::unused_name("metrics-promferry");
    node.install_time_series_template(&name, metrics).await;
    let settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    (name, settings)
}

async fn clean_up(node: &Node, name: &str) {
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/{name}")).await;
}

#[tokio::test]
async fn twenty_thousand_samples_are_read_back_as_they_were() {
    let Some(node) = Node::from_env() else { return };
    let logs = Logs::listen();
    let (name, settings) = time_series(&node, Json::Null).await;
    let start_ms = now_ms() - 60_000;
    let targets: Vec<Target> = (0..10).map(|number| Target::new(number, 200)).collect();
    let scrapes: Vec<Arc<Scrape>> =
        (0..10).flat_map(|round| targets.iter().map(move |target| target.scrape(start_ms + round * 1000))).collect();

    let counts = deliver(&settings, &scrapes).await;
    assert_eq!((counts.offered, counts.settled.delivered), (20_000, 20_000), "{counts:?}");
    let found = node.samples(&name).await;
    assert_eq!(found.len(), 20_000);
    assert_same(&found, &samples_of(scrapes.iter().map(Arc::as_ref)));
    assert_eq!(logs.at(Level::WARN).len() + logs.at(Level::ERROR).len(), 0);
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn a_resend_after_a_lost_answer_is_a_duplicate_and_stored_once() {
    let Some(node) = Node::from_env() else { return };
    let logs = Logs::listen();
    let (name, settings) = time_series(&node, Json::Null).await;
    let through = elasticsearch(&[node.behind_a_lost_answer(None).await], &settings.index);
    let scrapes = [Target::new(1, 400).scrape(now_ms() - 1000)];

    let counts = deliver(&through, &scrapes).await;
    assert_eq!(counts.settled.duplicate, Reasons::from([("resend", 400)]), "{counts:?}");
    assert_same(&node.samples(&name).await, &samples_of(scrapes.iter().map(Arc::as_ref)));
    let warnings = logs.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].1.ends_with("closed the connection without an answer"), "{warnings:?}");
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn documents_that_the_node_refuses_are_told_apart_from_the_others() {
    let Some(node) = Node::from_env() else { return };
    let logs = Logs::listen();
    // The node takes this gauge for something else: three metrics and two of the histogram share each of its documents.
    let (name, settings) = time_series(&node, json!({"queue": {"type": "ip"}})).await;
    let now_ms = now_ms();
    let (good, early) = (Target::new(1, 7), Target::new(2, 2));
    let scrapes = [good.scrape(now_ms - 1000), early.scrape_with(now_ms, Some(now_ms - 3 * 86_400_000))];

    let counts = deliver(&settings, &scrapes).await;
    assert_eq!(counts.settled.rejected, Reasons::from([("mapping", 4), ("timestamp", 2)]), "{counts:?}");
    assert_eq!(counts.settled.delivered, 3);
    assert_eq!(node.samples(&name).await.len(), 3);
    let losses = logs.at(Level::ERROR);
    assert_eq!(losses.iter().map(|(said, _)| said.as_str()).collect::<Vec<_>>(), ["samples rejected"; 2]);
    assert!(losses[0].1.contains("a value does not fit the mapping of its field"), "{losses:?}");
    assert!(losses[0].1.contains("their time is outside of the bounds of the data stream"), "{losses:?}");
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn labels_that_two_targets_share_are_a_conflict_and_an_exporters_own_repeated_time_is_not() {
    let Some(node) = Node::from_env() else { return };
    let logs = Logs::listen();
    let (name, settings) = time_series(&node, Json::Null).await;
    let (target, at_ms) = (Target::new(1, 40), now_ms() - 5000);

    let own = [at_ms, at_ms + 1000].map(|scrape_ms| target.scrape_with(scrape_ms, Some(at_ms)));
    let counts = deliver(&settings, &own).await;
    assert_eq!((counts.settled.delivered, counts.settled.duplicate["same_timestamp"]), (40, 40));
    assert_eq!(logs.at(Level::ERROR).len(), 0);

    let counts = deliver(&settings, &[target.scrape(at_ms)]).await;
    assert_eq!(counts.settled.rejected, Reasons::from([("conflict", 40)]));
    let losses = logs.at(Level::ERROR);
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert!(losses[0].1.contains("first with the labels {instance=\"10.0.16.1:9100\",job=\"test\","), "{losses:?}");
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn telegrafs_documents_go_to_the_index_of_their_day() {
    let Some(node) = Node::from_env() else { return };
    for (shape, documents) in [(DocumentShape::Telegraf, 7), (DocumentShape::TelegrafV1, 4)] {
        let name = Node::unused_name("my-computer-metric");
        let mut settings = elasticsearch(std::slice::from_ref(&node.address), &format!("{name}-%Y.%m.%d"));
        if shape == DocumentShape::TelegrafV1 {
            node.install_telegraf_template(&name).await;
        }
        (settings.action, settings.shape) = (BulkAction::Index, shape);
        // 2027-01-02T23:59:59.500Z, and a second later.
        let midnight_ms = 1_798_934_399_500;
        let target = Target::new(1, 8);
        let counts = deliver(&settings, &[target.scrape(midnight_ms), target.scrape(midnight_ms + 1000)]).await;
        assert_eq!(counts.settled.delivered, 16, "{counts:?}");

        for (day, at) in [("2027.01.02", "2027-01-02T23:59:59.500Z"), ("2027.01.03", "2027-01-03T00:00:00.500Z")] {
            let found = node.documents(&format!("{name}-{day}")).await;
            assert_eq!(found.len(), documents, "{found:?}");
            assert!(found.iter().all(|document| document["@timestamp"] == at), "{found:?}");
            let latency = found
                .iter()
                .find(|document| !document["tag"]["le"].is_string() && document.to_string().contains("latency"));
            let latency = latency.expect("sum and count in one document");
            assert_eq!(latency["tag"]["path"], "/v2/\"thing\"/0");
            assert_eq!(latency["tag"]["url"], "https://10.0.16.1:9100/metrics");
            let fields = match shape {
                DocumentShape::TelegrafV1 => ["latency", "sum"],
                _ => ["prometheus", "latency_sum"],
            };
            assert_eq!(latency["measurement_name"], fields[0]);
            assert!(latency[fields[0]][fields[1]].is_f64(), "{latency}");
        }
        let mapping = node.ask(Method::Get, &format!("/{name}-2027.01.02/_mapping"), None).await;
        let fields = &mapping[format!("{name}-2027.01.02")]["mappings"]["properties"];
        assert_eq!(fields["@timestamp"]["type"], "date", "a time is known as one, with a template or without");
        if shape == DocumentShape::TelegrafV1 {
            assert_eq!(fields["latency.0.1"]["type"], "double", "{fields}");
            node.remove(&format!("/_index_template/{name}")).await;
        } else {
            assert_eq!(
                fields["prometheus"]["properties"]["requests"]["type"], "float",
                "what docs/elasticsearch.md warns of"
            );
        }
        node.remove(&format!("/{name}-2027.01.02,{name}-2027.01.03")).await;
    }
}
