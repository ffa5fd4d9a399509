//! A BOSH VM with twelve jobs in the shapes that real ones have, and a deploy that swaps half of them while promferry runs.

use std::collections::BTreeSet;

use crate::main_job::{Job, body};
use crate::support::certificates::write;
use crate::support::exporter::Exporter;
use crate::support::world::{World, until, written};

/// The jobs that run, by the names under which they are scraped.
const RUNNING: [&str; 8] = ["cc", "credhub", "forwarder", "gorouter", "locket", "policy", "rep", "uaa"];

/// Those of them that a deploy replaces.
const REPLACED: [&str; 4] = ["credhub", "gorouter", "rep", "uaa"];

async fn start(world: &World, names: &[&str]) -> Exporter {
    Exporter::start(world.ca.server(names).server_config(Some(&world.ca)), body).await
}

/// A job as its authors wrote it. `FOLDER` in the announcement stands for the folder, `PORT` for the exporter's port.
struct Shape {
    name: &'static str,
    announcement: &'static str,
    labels: &'static [(&'static str, &'static str)],
}

const SHAPES: [Shape; 8] = [
    // A line of ERB leaves a blank one.
    Shape {
        name: "gorouter",
        announcement: "\n---\nport: PORT\nsource_id: gorouter\nscheme: https\nserver_name: gorouter_metrics\n",
        labels: &[("source_id", "gorouter")],
    },
    // Values with a newline at their end, and none at the end of the file.
    Shape {
        name: "uaa",
        announcement: "port: PORT\nsource_id: |\n  uaa\ninstance_id: |+\n  0e4cc47a-abc1-4360-b3f7-46ba7fc10000\n\nscheme: \"https\\n\"",
        labels: &[("source_id", "uaa"), ("instance_id", "0e4cc47a-abc1-4360-b3f7-46ba7fc10000")],
    },
    Shape { name: "rep", announcement: "port: \"PORT\"\n", labels: &[("source_id", "rep")] },
    Shape {
        name: "credhub",
        announcement: "---\nport: PORT\nsource_id: credhub\ninstance_id: 7\nlabels: {metrics_version: 2.0, origin: credhub, tls: true}\n",
        labels: &[
            ("source_id", "credhub"),
            ("instance_id", "7"),
            ("metrics_version", "2.0"),
            ("origin", "credhub"),
            ("tls", "true"),
        ],
    },
    Shape {
        name: "cc",
        announcement: "port: PORT\nsource_id: cc\npath: internal/v4/metrics?format=prom\nheaders: {Authorization: Bearer abc}\n",
        labels: &[("source_id", "cc")],
    },
    // Properties that are not set render empty files.
    Shape {
        name: "policy",
        announcement: "port: PORT\nsource_id: policy\nscheme: https\nca_path: FOLDER/empty.crt\nclient_cert_path: FOLDER/empty.crt\nclient_key_path: FOLDER/newline.key\n",
        labels: &[("source_id", "policy")],
    },
    Shape {
        name: "locket",
        announcement: "port: PORT\nsource_id: locket\nscrape_interval: 1s\n",
        labels: &[("source_id", "locket")],
    },
    // In `metric_port.yml`.
    Shape { name: "forwarder", announcement: "port: PORT\n", labels: &[("source_id", "forwarder")] },
];

impl Shape {
    async fn deploy(&self, world: &World, release: &str) -> Job {
        let exporter = start(world, &["127.0.0.1", "gorouter_metrics"]).await;
        let (folder, port) = (world.folder().display().to_string(), exporter.port().to_string());
        let text = self.announcement.replace("FOLDER", &folder).replace("PORT", &port);
        match self.name {
            "forwarder" => {
                let data = world.path("data/jobs/forwarder/1/config");
                std::fs::create_dir_all(&data).unwrap();
                std::fs::write(data.join("metric_port.yml"), text).unwrap();
                std::os::unix::fs::symlink(world.path("data/jobs/forwarder/1"), world.path("jobs/forwarder")).unwrap();
            }
            name => world.deploy(name, release, &text),
        }
        Job::new(self.name, exporter, self.labels)
    }
}

fn configure(world: &World) {
    write(world.folder(), "empty.crt", "");
    write(world.folder(), "newline.key", "\n");
    world.configure(
        r#"
global: {scrape_interval: 1s, external_labels: {deployment: cf}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml", "FOLDER/jobs/*/config/metric_port.yml"]
outputs:
  - name: lines
    file: {path: samples.jsonl}
admin: {listen: "127.0.0.1:0"}
"#,
    );
}

/// Four jobs that are switched off, each another way.
fn deploy_disabled(world: &World, release: &str) {
    for (name, announcement) in
        [("nats", ""), ("garden", "\n"), ("bbs", "---\n"), ("silk", "port: 9\nsource_id: silk\nscrape_interval: 0s\n")]
    {
        world.deploy(name, release, announcement);
    }
}

fn scraped<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> usize {
    jobs.into_iter().map(|job| job.exporter.bodies().len()).min().unwrap()
}

#[tokio::test]
async fn a_deploy_that_swaps_half_of_twelve_jobs_costs_nothing_but_their_restarts() {
    let world = World::new();
    configure(&world);
    let mut jobs = Vec::new();
    for shape in &SHAPES {
        jobs.push(shape.deploy(&world, "1").await);
    }
    deploy_disabled(&world, "1");
    let promferry = world.run().await;
    promferry.until_up(&RUNNING).await;
    until("each is scraped twice", async || (scraped(&jobs) >= 2).then_some(())).await;

    // As BOSH does it: the new release is there beside the old, the old process stops, the link is swapped, the new one starts.
    let (replaced, kept): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| REPLACED.contains(&job.name));
    let mut new = Vec::new();
    for shape in SHAPES.iter().filter(|shape| REPLACED.contains(&shape.name)) {
        new.push(shape.deploy(&world, "2").await);
    }
    // Two that were off are deployed anew too, and stay off.
    deploy_disabled(&world, "2");
    let addresses: BTreeSet<_> =
        new.iter().chain(&kept).map(|job| format!("https://{}", job.exporter.address)).collect();
    until("the new ones are scraped, and the old ones are not", async || {
        let targets = promferry.targets().await;
        let urls = targets.values().map(|target| target["scrapeUrl"].as_str().unwrap().to_owned());
        let found: BTreeSet<_> = urls.map(|url| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")).collect();
        (found == addresses).then_some(())
    })
    .await;
    let stopped: Vec<usize> = replaced.iter().map(|job| job.exporter.bodies().len()).collect();
    until("the new ones are scraped twice", async || (scraped(&new) >= 2).then_some(())).await;
    promferry.until_up(&RUNNING).await;
    assert_eq!(stopped, replaced.iter().map(|job| job.exporter.bodies().len()).collect::<Vec<_>>());
    let head = &kept.iter().find(|job| job.name == "cc").unwrap().exporter.heads()[0];
    assert!(head.starts_with("GET /internal/v4/metrics?format=prom HTTP/1.1\r\n"), "{head}");

    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints(), [""; 0], "nothing is wrong with a disabled job, nor with a deploy");
    let lines = written(&world.path("samples.jsonl"));
    kept.iter().chain(&replaced).chain(&new).for_each(|job| job.assert_all_there(&lines));
    // A marker for each series of the four that went, and for nothing else.
    let series: usize = replaced.iter().map(|job| job.scrapes(&lines).into_values().next().unwrap().len()).sum();
    assert_eq!(ended.count("lines", "skipped"), series as u64);
}
