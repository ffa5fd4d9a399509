//! The main job as an operator has it: jobs announce themselves, and every sample of theirs is at every output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::bulk_server::BulkServer;
use crate::support::certificates::Ca;
use crate::support::exporter::Exporter;
use crate::support::samples::{self, Samples, Series, canonical};
use crate::support::world::{Process, World, until, written};

/// What promferry adds to each scrape.
const REPORTED: [&str; 5] = [
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
    "up",
];

/// A deployment's configuration with all outputs, scraping twice a second.
fn configuration(search: &BulkServer) -> String {
    format!(
        r#"
global:
  scrape_interval: 1s
  external_labels: {{deployment: cf}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config:
      ca_file: ca.crt
      cert_file: scrape.crt
      key_file: scrape.key
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
outputs:
  - name: everything
    expose: {{listen: "127.0.0.1:0"}}
  - name: lines
    file: {{path: samples.jsonl}}
  - name: search
    elasticsearch: {{urls: ["http://{}"]}}
    batch: {{flush_interval: 50ms, flush_jitter: 0s}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        search.address
    )
}

/// All kinds of metrics and values; each moves from scrape to scrape.
pub fn body(nth: u64) -> String {
    format!(
        r#"# HELP requests_total Requests that were answered.
# TYPE requests_total counter
requests_total{{code="200",method="GET"}} {}
requests_total{{code="500",method="GET"}} {nth}
# TYPE temperature gauge
temperature {}
# TYPE latency_seconds histogram
latency_seconds_bucket{{le="0.5"}} {nth}
latency_seconds_bucket{{le="+Inf"}} {}
latency_seconds_sum {}
latency_seconds_count {}
# TYPE ratio gauge
ratio NaN
# TYPE limit gauge
limit +Inf
"#,
        nth * 10,
        -(nth as f64) / 7.0,
        nth * 2,
        nth as f64 * 1e-9,
        nth * 2,
    )
}

/// A job, and what its samples must look like.
pub struct Job {
    pub name: &'static str,
    pub exporter: Exporter,
    /// The labels that its samples have on top of their own.
    labels: BTreeMap<String, String>,
}

impl Job {
    pub fn new(name: &'static str, exporter: Exporter, labels: &[(&str, &str)]) -> Self {
        let instance = exporter.address.to_string();
        let common = [("job", "platform"), ("deployment", "cf"), ("instance", &instance)];
        let labels =
            common.iter().chain(labels).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name, exporter, labels }
    }

    /// The samples that a body must come out as, without those that promferry adds.
    fn expected(&self, body: &str) -> BTreeMap<Series, String> {
        let mut samples = BTreeMap::new();
        for (mut series, value) in samples::of_body(body) {
            series.labels.extend(self.labels.clone());
            samples.insert(series, value);
        }
        samples
    }

    /// Its scrapes in `samples`, by time.
    pub fn scrapes(&self, samples: &Samples) -> BTreeMap<i64, BTreeMap<Series, String>> {
        let instance = self.exporter.address.to_string();
        let mut scrapes = BTreeMap::<_, BTreeMap<_, _>>::new();
        for ((series, at_ms), value) in samples.iter().filter(|((series, _), _)| series.label("instance") == instance) {
            scrapes.entry(*at_ms).or_default().insert(series.clone(), value.clone());
        }
        scrapes
    }

    /// Each body that was served is there, whole, in order, with its report, and nothing else.
    pub fn assert_all_there(&self, samples: &Samples) {
        let bodies = self.exporter.bodies();
        let scrapes = self.scrapes(samples);
        // One that is under way when the program ends is given up.
        assert!(scrapes.len() == bodies.len() || scrapes.len() + 1 == bodies.len(), "{}", self.name);
        for (nth, (scrape, body)) in scrapes.into_values().zip(&bodies).enumerate() {
            let expected = self.expected(body);
            let added = if nth == 0 { expected.len() } else { 0 };
            self.assert_scrape(scrape, expected, added);
        }
    }

    fn assert_scrape(&self, mut scrape: BTreeMap<Series, String>, expected: BTreeMap<Series, String>, added: usize) {
        let mut report = BTreeMap::new();
        for name in REPORTED {
            let value = scrape.remove(&Series { name: name.to_owned(), labels: self.labels.clone() });
            report.insert(name, value.unwrap_or_else(|| panic!("no {name} of {}", self.name)));
        }
        assert_eq!(scrape, expected);
        let seconds: f64 = report["scrape_duration_seconds"].parse().unwrap();
        assert!(seconds > 0.0 && seconds < 0.5, "{seconds}");
        assert_eq!(report["up"], "1");
        assert_eq!(report["scrape_samples_scraped"], expected.len().to_string());
        assert_eq!(report["scrape_samples_post_metric_relabeling"], expected.len().to_string());
        assert_eq!(report["scrape_series_added"], added.to_string());
    }

    /// One of its scrapes is what the aggregate endpoint serves of it.
    fn assert_served(&self, served: &BTreeMap<Series, String>) {
        let of_us: BTreeMap<_, _> = served
            .iter()
            .filter(|(series, _)| series.label("instance") == self.exporter.address.to_string())
            .filter(|(series, _)| !REPORTED.contains(&series.name.as_str()))
            .map(|(series, value)| (series.clone(), canonical(value)))
            .collect();
        let is_there = self.exporter.bodies().iter().any(|body| self.expected(body) == of_us);
        assert!(is_there, "{of_us:?} is no scrape of {}", self.name);
        for name in REPORTED {
            assert!(served.contains_key(&Series { name: name.to_owned(), labels: self.labels.clone() }), "{name}");
        }
    }

    /// Where its scrapes lie in their interval, as most of them have it: one that is late has another time.
    fn offset_ms(&self, samples: &Samples) -> i64 {
        let mut seen = BTreeMap::<i64, usize>::new();
        self.scrapes(samples).keys().for_each(|at_ms| *seen.entry(at_ms % 500).or_default() += 1);
        seen.into_iter().max_by_key(|(_, times)| *times).unwrap().0
    }
}

/// Starts the jobs of a machine, each of its own kind.
async fn deploy_jobs(world: &World) -> [Job; 4] {
    // As most are: the platform's authority, and a name that is not the address.
    let server = |name: &str| world.ca.server(&[name]).server_config(Some(&world.ca));
    let exporter = Exporter::start(server("gorouter_metrics"), body).await;
    world.deploy(
        "gorouter",
        "4f2a91",
        &format!(
            "---\nport: {}\nsource_id: gorouter\ninstance_id: 6\nserver_name: gorouter_metrics\nlabels:\n  origin: gorouter\n  \
             version: 2.0\n  shard: 0123\n",
            exporter.port()
        ),
    );
    let labels = [("source_id", "gorouter"), ("instance_id", "6"), ("origin", "gorouter"), ("version", "2.0")];
    let gorouter = Job::new("gorouter", exporter, &[&labels[..], &[("shard", "0123")]].concat());

    // With everything of its own: authorities for both sides, headers, a path with parameters.
    let (own, clients) = (Ca::named("uaa_ca"), Ca::named("uaa_client_ca"));
    let exporter = Exporter::start(own.server(&["uaa_metrics"]).server_config(Some(&clients)), body).await;
    std::fs::create_dir(world.path("uaa")).unwrap();
    own.write_to(&world.path("uaa"));
    clients.client("uaa_scraper").write_to(&world.path("uaa"), "scrape");
    let announcement = format!(
        "port: {}\nsource_id: uaa\nscheme: https\nserver_name: uaa_metrics\npath: /deep/metrics?kind=a\nheaders: {{X-Token: abc}}\n\
         ca_path: FOLDER/uaa/ca.crt\nclient_cert_path: FOLDER/uaa/scrape.crt\nclient_key_path: FOLDER/uaa/scrape.key\n",
        exporter.port()
    );
    world.deploy("uaa", "1", &announcement.replace("FOLDER", &world.folder().display().to_string()));
    let uaa = Job::new("uaa", exporter, &[("source_id", "uaa")]);

    // With as little as there can be: its name is the job's.
    let exporter = Exporter::start(server("127.0.0.1"), body).await;
    world.deploy("rep", "1", &format!("port: {}\n", exporter.port()));
    let rep = Job::new("rep", exporter, &[("source_id", "rep")]);

    let exporter = Exporter::start(server("127.0.0.1"), body).await;
    world.deploy("bbs", "1", &format!("port: {}\nscrape_interval: 0.5s\n", exporter.port()));
    let bbs = Job::new("bbs", exporter, &[("source_id", "bbs")]);

    // Switched off, both ways.
    world.deploy("cc", "1", "---\n\n");
    world.deploy("route_emitter", "1", "port: 9\nscrape_interval: 0\n");
    [gorouter, uaa, rep, bbs]
}

#[tokio::test]
async fn every_sample_of_every_job_is_at_every_output() {
    let (world, search) = (World::new(), BulkServer::start(Vec::new()).await);
    let jobs = deploy_jobs(&world).await;
    world.configure(&configuration(&search));
    let promferry = world.run().await;
    promferry.until_up(&["gorouter", "uaa", "rep", "bbs"]).await;
    until("each job is scraped four times", async || {
        jobs.iter().all(|job| job.exporter.bodies().len() >= 4).then_some(())
    })
    .await;
    let served = promferry.aggregate("everything").await;
    jobs.iter().for_each(|job| job.assert_served(&served));
    let head = &jobs[1].exporter.heads()[0];
    assert!(head.starts_with("GET /deep/metrics?kind=a HTTP/1.1\r\n") && head.contains("x-token: abc\r\n"), "{head}");
    let ended = promferry.terminate().await;
    assert!(ended.status.success());
    assert_eq!(ended.log.complaints(), [""; 0]);

    let lines = written(&world.path("samples.jsonl"));
    jobs.iter().for_each(|job| job.assert_all_there(&lines));
    let offsets: BTreeSet<i64> = jobs.iter().map(|job| job.offset_ms(&lines)).collect();
    assert!(offsets.len() > 1, "all are scraped at once: {offsets:?}");

    let total = lines.len() as u64;
    for output in ["everything", "lines", "search"] {
        assert_eq!(ended.count(output, "offered"), total, "{output}");
    }
    assert_eq!((ended.count("everything", "delivered"), ended.count("lines", "delivered")), (total, total));
    // Documents have no way to say what is no number: those are skipped, and only those.
    let (finite, others): (Samples, Samples) =
        lines.into_iter().partition(|(_, value)| value.parse::<f64>().unwrap().is_finite());
    let store = search.store();
    samples::assert_same(&samples::of_bulk(store.requests.iter().map(|request| request.body.as_str())), &finite);
    assert_eq!(store.samples(), finite.len() as u64);
    assert_eq!(ended.count("search", "delivered"), finite.len() as u64);
    assert_eq!(ended.count("search", "skipped"), others.len() as u64);
    let half = others.len() / 2;
    let drained = ended.log.of("drained").into_iter().find(|line| line["output"] == "search").unwrap();
    assert_eq!(drained["reasons"], format!("skipped infinite {half}, skipped nan {half}"));
}

/// The instances whose series the aggregate endpoint serves.
async fn served_instances(promferry: &Process) -> BTreeSet<String> {
    promferry.aggregate("everything").await.keys().map(|series| series.label("instance").to_owned()).collect()
}

fn assert_noticed(began: Instant) {
    assert!(began.elapsed() < Duration::from_secs(1), "noticed only after {:?}", began.elapsed());
}

/// A job on the platform's authority that answers to its address.
async fn exporter(world: &World) -> Exporter {
    Exporter::start(world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca)), body).await
}

fn announcement(exporter: &Exporter) -> String {
    format!("port: {}\nlabels: {{origin: gorouter}}\n", exporter.port())
}

#[tokio::test]
async fn a_deploy_that_swaps_a_link_is_noticed_within_a_second_and_the_old_series_end() {
    let (world, search) = (World::new(), BulkServer::start(Vec::new()).await);
    let (old, new) = (exporter(&world).await, exporter(&world).await);
    world.deploy("gorouter", "1", &announcement(&old));
    world.configure(&configuration(&search));
    let promferry = world.run().await;
    promferry.until_up(&["gorouter"]).await;
    assert_eq!(served_instances(&promferry).await, BTreeSet::from([old.address.to_string()]));

    let began = Instant::now();
    world.deploy("gorouter", "2", &announcement(&new));
    let url = format!("https://{}/metrics", new.address);
    until("the new port", async || (promferry.targets().await["gorouter"]["scrapeUrl"] == url).then_some(())).await;
    assert_noticed(began);
    assert!(!served_instances(&promferry).await.contains(&old.address.to_string()), "it is gone at once");
    promferry.until_up(&["gorouter"]).await;
    assert_eq!(served_instances(&promferry).await, BTreeSet::from([new.address.to_string()]));
    let scrapes_of_old = old.bodies().len();
    until("the new one goes on", async || (new.bodies().len() >= 3).then_some(())).await;
    assert_eq!(old.bodies().len(), scrapes_of_old, "nobody asks the old one any more");

    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints(), [""; 0]);
    // One marker for each series that the old one had.
    let markers = (samples::of_body(&body(1)).len() + REPORTED.len()) as u64;
    assert_eq!(ended.count("lines", "skipped"), markers);
    assert_eq!(ended.count("everything", "offered"), ended.count("lines", "delivered") + markers);
}

#[tokio::test]
async fn a_half_written_file_keeps_its_last_good_target_and_is_named_once() {
    let (world, search) = (World::new(), BulkServer::start(Vec::new()).await);
    let (old, new) = (exporter(&world).await, exporter(&world).await);
    world.deploy("gorouter", "1", &announcement(&old));
    world.configure(&configuration(&search));
    let promferry = world.run().await;
    promferry.until_up(&["gorouter"]).await;

    let file = world.announcement("gorouter");
    let whole = announcement(&new);
    std::fs::write(&file, &whole[..whole.len() - 4]).unwrap();
    let skipped = "this file is skipped; its target from the last good version is still being scraped";
    let line = until("it is named", async || promferry.log.of(skipped).pop()).await;
    assert_eq!(line["problem"], format!("{}:2:9: not YAML: unclosed bracket '{{'", file.display()));
    let before = old.bodies().len();
    until("the old one goes on", async || (old.bodies().len() >= before + 3).then_some(())).await;
    assert_eq!(new.bodies().len(), 0);

    let began = Instant::now();
    std::fs::write(&file, &whole).unwrap();
    let url = format!("https://{}/metrics", new.address);
    until("the new port", async || (promferry.targets().await["gorouter"]["scrapeUrl"] == url).then_some(())).await;
    assert_noticed(began);
    promferry.until_up(&["gorouter"]).await;
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.of("the file is good again").len(), 1);
    assert_eq!(ended.log.complaints().len(), 1, "{:?}", ended.log.complaints());
}

#[tokio::test]
async fn a_job_that_goes_takes_its_series_along_and_a_new_one_comes() {
    let (world, search) = (World::new(), BulkServer::start(Vec::new()).await);
    let (going, staying, coming) = (exporter(&world).await, exporter(&world).await, exporter(&world).await);
    world.deploy("gorouter", "1", &announcement(&going));
    world.deploy("rep", "1", &announcement(&staying));
    world.configure(&configuration(&search));
    let promferry = world.run().await;
    promferry.until_up(&["gorouter", "rep"]).await;

    let began = Instant::now();
    world.undeploy("gorouter");
    until("it is gone", async || {
        (served_instances(&promferry).await == BTreeSet::from([staying.address.to_string()])).then_some(())
    })
    .await;
    assert_noticed(began);
    let began = Instant::now();
    world.deploy("uaa", "1", &announcement(&coming));
    until("the new one is found", async || promferry.targets().await.contains_key("uaa").then_some(())).await;
    assert_noticed(began);
    promferry.until_up(&["rep", "uaa"]).await;
    assert_eq!(promferry.terminate().await.log.complaints(), [""; 0]);
}
