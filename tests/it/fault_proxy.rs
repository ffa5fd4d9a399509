//! A hundred thousand samples into a real Elasticsearch, through a proxy that goes wrong in every way that it knows: each
//! sample is stored exactly once, and the ledger says what the index holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{DocumentShape, Elasticsearch as Settings};
use promferry::model::Scrape;
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{Counts, SenderOptions, Take};
use serde_json::Value as Json;

use crate::support::delivery::{Delivery, Target, elasticsearch, options};
use crate::support::elasticsearch::{Node, Samples, assert_same, now_ms, samples_of};
use crate::support::proxy::{Fault, Proxy};

const TARGETS: u64 = 10;
const SERIES: usize = 1000;
const ROUNDS: i64 = 10;
const SAMPLES: u64 = TARGETS * SERIES as u64 * ROUNDS as u64;
/// A batch is a scrape, and its body is two of these or more: it is divided in the middle of a target's label sets.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Some hundred requests are needed where nothing goes wrong. Half of all do, and each kind of fault several times.
const FAULTS: usize = 100;

fn scrapes() -> Vec<Arc<Scrape>> {
    let start_ms = now_ms() - 60_000;
    let targets: Vec<Target> = (0..TARGETS).map(|number| Target::new(number, SERIES)).collect();
    (0..ROUNDS).flat_map(|round| targets.iter().map(move |target| target.scrape(start_ms + round * 1000))).collect()
}

/// Delivers the scrapes through a proxy, which recovers when it has done all that it does.
async fn deliver(node: &Node, settings: Settings, scrapes: &[Arc<Scrape>]) -> Counts {
    let proxy = Proxy::start(&node.address, 0x5eed, FAULTS).await;
    let mut http = elasticsearch(std::slice::from_ref(&proxy.address), "").http;
    // Those that are late are given up after this time.
    http.timeout = Duration::from_secs(2);
    let options = SenderOptions {
        take: Take { samples: SERIES as u64, ..options().take },
        body_bytes_max: BODY_BYTES_MAX,
        workers: 2,
        ..options()
    };
    let output = Delivery::start(Elasticsearch::new(&Settings { http, ..settings }, &Credentials::default()), options);
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let done = proxy.done();
    assert!(Fault::ALL.iter().all(|fault| done.contains_key(fault)), "{done:?}");
    assert_eq!(done.values().sum::<usize>(), FAULTS, "it recovered: {done:?}");
    counts
}

/// Everything is delivered, or was stored by a request whose answer was lost; nothing else became of any.
fn assert_all_arrived(counts: &Counts) {
    let settled = &counts.settled;
    let resent = settled.duplicate.get("resend").copied().unwrap_or_default();
    assert!(resent > 0, "an answer was lost, and the resend was not seen to be one: {counts:?}");
    assert_eq!((counts.offered, settled.delivered + resent), (SAMPLES, SAMPLES), "{counts:?}");
    assert_eq!(settled.duplicate.len(), 1, "{counts:?}");
    assert!(settled.rejected.is_empty() && settled.dropped.is_empty() && settled.skipped.is_empty(), "{counts:?}");
    assert_eq!(counts.maybe_doubled, 0);
}

#[tokio::test]
async fn every_sample_is_once_in_a_time_series_data_stream() {
    let Some(node) = Node::from_env() else { return };
    let name = Node::unused_name("metrics-promferry-faults");
    node.install_time_series_template(&name, Json::Null).await;
    let scrapes = scrapes();
    let settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    let counts = deliver(&node, settings, &scrapes).await;
    assert_all_arrived(&counts);
    assert_same(&node.samples(&name).await, &samples_of(scrapes.iter().map(Arc::as_ref)));
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/{name}")).await;
}

/// Without a time series' identity, it is the `_id` of ours that tells a resend from a second document.
#[tokio::test]
async fn every_sample_is_once_in_a_plain_data_stream() {
    let Some(node) = Node::from_env() else { return };
    let name = Node::unused_name("metrics-plain-faults");
    let scrapes = scrapes();
    let mut settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    (settings.shape, settings.manages_template) = (DocumentShape::Metricbeat, true);
    let counts = deliver(&node, settings, &scrapes).await;
    assert_all_arrived(&counts);
    assert_same(&metricbeat_samples(&node, &name).await, &samples_of(scrapes.iter().map(Arc::as_ref)));
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}

/// Every sample of a data stream of `metricbeat` documents. None may be there twice.
async fn metricbeat_samples(node: &Node, name: &str) -> Samples {
    let mut samples = Samples::new();
    for document in node.documents(name).await {
        let time: jiff::Timestamp = document["@timestamp"].as_str().expect("a time").parse().expect("RFC 3339");
        let fields = &document["prometheus"];
        let labels: BTreeMap<&String, &Json> = fields["labels"].as_object().into_iter().flatten().collect();
        let labels = serde_json::to_string(&labels).expect("JSON");
        for (metric, value) in fields["metrics"].as_object().expect("metrics") {
            let key = (time.as_millisecond(), labels.clone(), metric.clone());
            let before = samples.insert(key, value.as_f64().expect("a number").to_bits());
            assert_eq!(before, None, "twice: {document}");
        }
    }
    samples
}
