//! From mTLS targets, through the executable, into a real Elasticsearch, and back with the official client.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value as Json;

use crate::support::elasticsearch::Node;
use crate::support::exporter::Exporter;
use crate::support::samples::{Samples, Series, assert_same, canonical, of_body};
use crate::support::world::{World, until, written};

const TARGETS: usize = 10;
const SERIES: usize = 1000;
/// Scrapes of each target that are waited for. The last one may be given up: 20,000 samples of theirs at least.
const SCRAPES: usize = 3;

/// 1000 samples: counters, gauges and a histogram, each another value in each body.
fn body(target: usize, nth: u64) -> String {
    let mut body = String::from("# TYPE requests_total counter\n");
    for series in 0..590 {
        writeln!(body, "requests_total{{path=\"/{series}\",code=\"200\"}} {}", nth * (series + 1)).unwrap();
    }
    body.push_str("# TYPE load gauge\n");
    for series in 0..398 {
        writeln!(body, "load{{worker=\"{series}\"}} {}", (nth as f64 + series as f64 / 7.0).sin() * 1e3).unwrap();
    }
    body.push_str("# TYPE seconds histogram\n");
    for bucket in 1..10 {
        writeln!(body, "seconds_bucket{{le=\"0.{bucket}\"}} {}", nth * bucket).unwrap();
    }
    writeln!(body, "seconds_bucket{{le=\"+Inf\"}} {}", nth * 10).unwrap();
    writeln!(body, "seconds_sum {}\nseconds_count {}", nth as f64 / 3.0 + target as f64, nth * 10).unwrap();
    body
}

/// What the data stream holds, as the file output has it.
async fn stored(node: &Node, name: &str) -> Samples {
    let mut samples = Samples::new();
    for ((at_ms, labels, metric), bits) in node.samples(name).await {
        let labels: BTreeMap<String, String> = match serde_json::from_str(&labels).unwrap() {
            Json::Object(labels) => {
                labels.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect()
            }
            other => panic!("{other}"),
        };
        samples.insert((Series { name: metric, labels }, at_ms), canonical(&f64::from_bits(bits).to_string()));
    }
    samples
}

#[tokio::test]
async fn twenty_thousand_samples_of_mtls_targets_are_read_back_as_they_were_served() {
    let Some(node) = Node::from_env() else { return };
    let name = Node::unused_name("metrics-promferry-main");
    let world = World::new();
    let mut exporters = Vec::new();
    for target in 0..TARGETS {
        let tls = world.ca.server(&["job_metrics"]).server_config(Some(&world.ca));
        let exporter = Exporter::start(tls, move |nth| body(target, nth)).await;
        let announcement = format!(
            "port: {}\nscheme: https\nserver_name: job_metrics\nlabels: {{shard: 0{target}}}\n",
            exporter.port()
        );
        world.deploy(&format!("job-{target}"), "1", &announcement);
        exporters.push(exporter);
    }
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
outputs:
  - name: search
    elasticsearch: {{urls: ["http://{}"], index: {name}, manage_template: true}}
    batch: {{flush_interval: 500ms, flush_jitter: 0s}}
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        node.address
    ));
    let process = world.run().await;
    until("each target is scraped three times", async || {
        exporters.iter().all(|exporter| exporter.bodies().len() >= SCRAPES).then_some(())
    })
    .await;
    let ended = process.terminate().await;
    assert!(ended.status.success());
    assert_eq!(ended.log.complaints(), Vec::<String>::new());

    let found = stored(&node, &name).await;
    assert!(found.len() >= TARGETS * SERIES * (SCRAPES - 1), "{}", found.len());
    assert_eq!(ended.count("search", "delivered"), found.len() as u64);
    assert_same(&found, &written(&world.path("samples.jsonl")));
    for (target, exporter) in exporters.iter().enumerate() {
        assert_served(&found, exporter, target);
    }
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}

/// Each body of the target is there, in order, every sample with its value and labels.
fn assert_served(found: &Samples, exporter: &Exporter, target: usize) {
    let instance = exporter.address.to_string();
    let mut scrapes = BTreeMap::<i64, BTreeMap<Series, String>>::new();
    for ((series, at_ms), value) in found.iter().filter(|((series, _), _)| series.label("instance") == instance) {
        if series.name != "up" && !series.name.starts_with("scrape_") {
            scrapes.entry(*at_ms).or_default().insert(series.clone(), value.clone());
        }
    }
    let bodies = exporter.bodies();
    // One that is under way when the program ends is given up.
    assert!((bodies.len() - 1..=bodies.len()).contains(&scrapes.len()), "{} of {}", scrapes.len(), bodies.len());
    for (scrape, body) in scrapes.into_values().zip(&bodies) {
        let labels = [
            ("instance", instance.clone()),
            ("job", "platform".to_owned()),
            ("shard", format!("0{target}")),
            ("source_id", format!("job-{target}")),
        ];
        let mut expected = BTreeMap::new();
        for (mut series, value) in of_body(body) {
            // As Prometheus, `le` is written as a float.
            if let Some(bound) = series.labels.get_mut("le").filter(|bound| !bound.contains(['.', 'I'])) {
                bound.push_str(".0");
            }
            series.labels.extend(labels.clone().map(|(name, value)| (name.to_owned(), value)));
            expected.insert(series, value);
        }
        assert_eq!(scrape.len(), SERIES);
        assert!(scrape == expected, "target {target}: other values or labels than were served");
    }
}
