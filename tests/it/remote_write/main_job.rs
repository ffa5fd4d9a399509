//! From mTLS targets, through the executable, into the receiver: what the file output has is what is stored; also over an outage,
//! lost answers and kill -9.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::support::bulk_server::{Act, answer};
use crate::support::exporter::Exporter;
use crate::support::remote_write::{Request, Stored, Tsdb, WriteServer};
use crate::support::samples::{Samples, Series, assert_same, canonical};
use crate::support::world::{World, command, outcome, until, written};

fn yaml(server: &WriteServer, keys: &str, queue: &str) -> String {
    format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
outputs:
  - name: prometheus
    remote_write:
      url: https://{}/api/v1/write
      tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
      {keys}
    batch: {{flush_interval: 300ms, flush_jitter: 0s}}
    queue: {{{queue}}}
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        server.address
    )
}

/// Targets with a counter and a gauge each, in jobs of their own.
async fn deployed(world: &World, targets: usize) -> Vec<Exporter> {
    let mut exporters = Vec::new();
    for number in 0..targets {
        let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
        let body = |nth| format!("# HELP jobs Jobs.\n# TYPE jobs counter\njobs{{Index=\"6\"}} {nth}\nload 0.{nth}\n");
        let exporter = Exporter::start(tls, body).await;
        world.deploy(&format!("job-{number}"), "1", &format!("port: {}\n", exporter.port()));
        exporters.push(exporter);
    }
    exporters
}

/// What the receiver has, without the markers that end series.
fn stored(tsdb: &Tsdb) -> Samples {
    let mut samples = Samples::new();
    for (labels, values) in &tsdb.series {
        let mut labels: std::collections::BTreeMap<_, _> = labels.iter().cloned().collect();
        let series = Series { name: labels.remove("__name__").unwrap(), labels };
        for (at_ms, value) in values {
            let Stored::Float(bits) = value else { panic!("floats only") };
            let is_new =
                samples.insert((series.clone(), *at_ms), canonical(&f64::from_bits(*bits).to_string())).is_none();
            assert!(is_new, "twice: {series:?} {at_ms}");
        }
    }
    samples
}

#[tokio::test]
async fn every_sample_is_stored_once_and_the_ledger_says_so() {
    for keys in ["lanes: 2", "protobuf_message: io.prometheus.write.v2.Request"] {
        let world = World::new();
        let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
        let server = WriteServer::start(Some(tls), Vec::new()).await;
        let exporters = deployed(&world, 3).await;
        world.configure(&yaml(&server, keys, ""));
        let process = world.run().await;
        until("targets are scraped five times", async || {
            exporters.iter().all(|exporter| exporter.bodies().len() >= 5).then_some(())
        })
        .await;
        let outputs = process.outputs().await;
        assert_eq!(outputs["prometheus"]["kind"], "remote_write");
        assert_eq!(outputs["prometheus"]["urls"][0], format!("https://{}/api/v1/write", server.address));
        let ended = process.terminate().await;
        assert!(ended.status.success());
        assert_eq!(ended.log.complaints(), Vec::<String>::new());
        let tsdb = server.tsdb();
        assert_eq!(tsdb.violations, [""; 0]);
        let lines = written(&world.path("samples.jsonl"));
        assert_same(&stored(&tsdb), &lines);
        assert_eq!(ended.count("prometheus", "delivered"), lines.len() as u64);
    }
}

/// Nothing is taken; what is taken is not answered; all is well.
const DOWN: u8 = 0;
const MUTE: u8 = 1;
const WELL: u8 = 2;

#[tokio::test]
async fn an_outage_and_kills_leave_nothing_out_of_order_and_nothing_refused() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let world = World::new();
        let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
        let mood = Arc::new(AtomicU8::new(DOWN));
        let of_server = mood.clone();
        let server = WriteServer::start_with(Some(tls), move |tsdb: &mut Tsdb, request: &Request| {
            match of_server.load(Relaxed) {
                DOWN => Act::Answer(answer(503, "", "")),
                MUTE => {
                    tsdb.take(request);
                    Act::Close(Vec::new())
                }
                _ => Act::Answer(tsdb.take(request)),
            }
        })
        .await;
        let exporters = deployed(&world, 3).await;
        let keys = format!("protobuf_message: {message}\n      lanes: 2");
        world.configure(&yaml(&server, &keys, "disk: {path: queue}"));
        let mut restored = 0;
        for mood_now in [DOWN, MUTE] {
            mood.store(mood_now, Relaxed);
            let process = world.run().await;
            until("records are on disk", async || {
                let records = process.outputs().await["prometheus"]["disk"]["records"].as_u64();
                (records >= Some(restored + 6)).then_some(())
            })
            .await;
            restored += 6;
            process.kill().await;
        }
        mood.store(WELL, Relaxed);
        let process = world.run().await;
        until("the disk is empty", async || {
            let output = process.outputs().await["prometheus"].clone();
            (output["disk"]["records"] == 0 && output["ledger"]["restored"].as_u64() > Some(0)).then_some(())
        })
        .await;
        let ended = process.terminate().await;
        drop(exporters);
        let tsdb = server.tsdb();
        assert_eq!(tsdb.violations, [""; 0], "{message}");
        let [rejected, dropped] = ["rejected", "dropped"].map(|field| ended.count("prometheus", field));
        assert_eq!((rejected, dropped), (0, 0), "{message}");
        // What was on its way when it was killed may be missing, and nothing is there that was not scraped.
        let (stored, lines) = (stored(&tsdb), written(&world.path("samples.jsonl")));
        let wrong: Vec<_> =
            lines.iter().filter(|(key, value)| stored.get(key).is_some_and(|there| there != *value)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(stored.len() as u64 >= ended.count("prometheus", "delivered"), "{message}");
    }
}

#[tokio::test]
async fn check_connect_looks_without_writing() {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let server = WriteServer::start(Some(tls), Vec::new()).await;
    let _exporters = deployed(&world, 1).await;
    // A target may take its time here.
    let config = world.configure(&yaml(&server, "lanes: 1", "").replace("scrape_interval: 1s", "scrape_interval: 10s"));
    let arguments = ["check", "--connect", "-c", config.to_str().unwrap()];
    let (code, out, err) = outcome(&mut command(&arguments)).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("output prometheus: ready\n"), "{out}");
    assert_eq!(server.tsdb().requests.len(), 0);
}
