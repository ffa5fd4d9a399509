//! A healthy target in the running program, and room for something that goes wrong beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::Value as Json;

use super::bulk_server::BulkServer;
use super::certificates::write;
use super::exporter::Exporter;
use super::samples::Samples;
use super::world::{Ended, Process, World, until, written};

/// What a fault may cost, on top of what the program has with a healthy target alone.
const MEMORY_MAX: u64 = 16 << 20;
/// Samples of the healthy target in each scrape, with those that promferry adds.
const HEALTHY_SAMPLES: usize = 25;

/// A machine with one healthy target, and a job `faulty` without targets until its file comes.
pub struct Bench {
    pub world: World,
    pub healthy: Exporter,
    pub promferry: Process,
    pub search: BulkServer,
    idle_memory: u64,
}

impl Bench {
    /// Starts it all, and waits until a scrape of the healthy target is everywhere. `job` are lines of the faulty one's.
    pub async fn start(world: World, job: &str, search: BulkServer, output: &str) -> Self {
        let healthy = Exporter::start(tls(&world), |nth| {
            let lines = (1..HEALTHY_SAMPLES - 5).map(|series| format!("moving{{series=\"{series}\"}} {nth}{series}\n"));
            format!("scrape_number {nth}\n{}", lines.collect::<String>())
        })
        .await;
        world.deploy("healthy", "1", &format!("port: {}\n", healthy.port()));
        world.configure(&format!(
            r#"
scrape_configs:
  - job_name: platform
    scrape_interval: 400ms
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
  - job_name: faulty
    {job}
    file_sd_configs: [{{files: [faulty.json]}}]
outputs:
  - name: everything
    expose: {{listen: "127.0.0.1:0"}}
  - name: lines
    file: {{path: samples.jsonl}}
  - name: search
    elasticsearch: {{urls: ["http://{}"]{output}}}
    batch: {{flush_interval: 50ms, flush_jitter: 0s}}
admin: {{listen: "127.0.0.1:0"}}
"#,
            search.address
        ));
        let promferry = world.run().await;
        let mut bench = Self { world, healthy, promferry, search, idle_memory: 0 };
        bench.until_healthy_was_scraped(1).await;
        until("all of it is delivered", async || {
            let outputs = bench.promferry.outputs().await;
            let is_idle = |output: &Json| output["ledger"]["waiting"] == 0 && output["ledger"]["offered"] != 0;
            outputs.values().all(is_idle).then_some(())
        })
        .await;
        bench.idle_memory = bench.promferry.peak_memory();
        bench
    }

    /// Waits for so many more scrapes of the healthy target. All ledgers add up at each look.
    pub async fn until_healthy_was_scraped(&self, times: usize) {
        let before = self.healthy.bodies().len();
        until("the healthy target is scraped", async || {
            self.promferry.outputs().await;
            (self.healthy.bodies().len() >= before + times).then_some(())
        })
        .await;
    }

    /// How often the faulty target's `up` was this. Looked at many times: no line is parsed.
    fn times_up_was(&self, value: &str) -> usize {
        let lines = std::fs::read_to_string(self.world.path("samples.jsonl")).unwrap_or_default();
        let marks = ["\"name\":\"up\"", "\"job\":\"faulty\"", &format!("\"value\":\"{value}\"")];
        lines.lines().filter(|line| marks.iter().all(|mark| line.contains(mark))).count()
    }

    pub async fn until_up_was(&self, value: &str, times: usize) {
        let before = self.times_up_was(value);
        until(&format!("up is {value}"), async || {
            self.promferry.outputs().await;
            (self.times_up_was(value) >= before + times).then_some(())
        })
        .await;
    }

    pub fn announce(&self, address: SocketAddr) {
        write(self.world.folder(), "faulty.json", &format!(r#"[{{"targets": ["{address}"]}}]"#));
    }

    /// Ends the program, and looks at what is the same whatever was wrong.
    pub async fn finish(self) -> (Ended, Samples, BulkServer) {
        let grown = self.promferry.peak_memory().saturating_sub(self.idle_memory);
        assert!(grown <= MEMORY_MAX, "{} KiB more than idle", grown >> 10);
        let ended = self.promferry.terminate().await;
        assert!(ended.status.success());
        let lines = written(&self.world.path("samples.jsonl"));
        assert_all_of_healthy(&self.healthy, &lines);
        assert_eq!(ended.count("lines", "delivered"), lines.len() as u64);
        let offered = ["everything", "lines", "search"].map(|output| ended.count(output, "offered"));
        assert!(offered.iter().all(|count| *count == offered[0]), "{offered:?}");
        assert_eq!(ended.count("everything", "delivered"), offered[0]);
        (ended, lines, self.search)
    }
}

/// The platform's way: a certificate for the address, and one is wanted of the client.
pub fn tls(world: &World) -> Arc<ServerConfig> {
    world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca))
}

/// Each body that the healthy target sent is there, whole, and it never was down.
fn assert_all_of_healthy(healthy: &Exporter, lines: &Samples) {
    let mut scrapes = BTreeMap::<i64, Vec<(&str, &str)>>::new();
    for ((series, at_ms), value) in lines.iter().filter(|((series, _), _)| series.label("source_id") == "healthy") {
        scrapes.entry(*at_ms).or_default().push((&series.name, value));
    }
    let bodies = healthy.bodies().len();
    // One that is under way when the program ends is given up.
    assert!(scrapes.len() == bodies || scrapes.len() + 1 == bodies, "{} of {bodies}", scrapes.len());
    for (nth, scrape) in scrapes.values().enumerate() {
        assert_eq!(scrape.len(), HEALTHY_SAMPLES);
        assert!(scrape.contains(&("scrape_number", &(nth + 1).to_string())), "{nth}: {scrape:?}");
        assert!(scrape.contains(&("up", "1")), "{nth}: {scrape:?}");
    }
}
