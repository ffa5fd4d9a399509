//! The admin port from outside, over snapshots whose every text is hostile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use promferry::admin::{
    CertificateSnapshot, DiscoveryProblem, DroppedTarget, FileSnapshot, FileState, Health, MemorySnapshot,
    OutputSnapshot, QueueSnapshot, Readiness, RecentMark, RegistrarSnapshot, ScrapeCounts, ScrapeMark, ServedSnapshot,
    Server, Snapshots, TargetSnapshot, Targets,
};
use promferry::config::checked;
use promferry::memory::{Accounts, Used};
use promferry::model::Labels;
use promferry::net::certificate::Validity;
use promferry::net::credentials::Credentials;
use promferry::pipeline::disk::DiskState;
use promferry::pipeline::{Counts, Overflow, QueueLimits, SenderStatus, Settlement, reason};
use serde_json::{Value, json};

use crate::expose::client::{Answer, ask};
use crate::expose::strict;

/// A text that means something to HTML, JSON, exposition formats and terminals.
pub(crate) const HOSTILE: &str = "<script>alert('x')</script>\"&\\\n\u{1b}[2J";

/// The same as a page shows it.
const ESCAPED: &str = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\\\\n\\u{1b}[2J";

#[derive(Default)]
pub(crate) struct Fixed {
    is_ready: AtomicBool,
    pub(crate) targets: Mutex<Targets>,
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels<'static> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn target(job: &str, health: Health, error: &str) -> TargetSnapshot {
    TargetSnapshot {
        id: job.len() as u64,
        advice: (health == Health::Down).then_some("Start it."),
        job: job.to_owned(),
        discovered: labels(&[("__address__", "10.0.0.1:9090"), ("__scheme__", "https")]),
        labels: labels(&[("instance", "10.0.0.1:9090"), ("job", job)]),
        url: format!("https://{job}.internal:9090/metrics"),
        health,
        error: error.to_owned(),
        scraped_ms: (health != Health::Unknown).then_some(1_700_000_000_123),
        duration: Duration::from_micros(12_345),
        samples: 42,
        interval: Duration::from_secs(90),
        timeout: Duration::from_millis(1500),
        file: Some(PathBuf::from("/var/vcap/jobs/gorouter/config/prom_scraper_config.yml")),
        failures: 0,
        certificate: Some(Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 }),
    }
}

impl Snapshots for Fixed {
    fn targets(&self) -> Targets {
        self.targets.lock().unwrap().clone()
    }

    fn histories(&self, ids: &[u64]) -> Vec<Vec<ScrapeMark>> {
        ids.iter()
            .map(|_| vec![ScrapeMark { millis: 3, samples: Some(9) }, ScrapeMark { millis: 1, samples: None }])
            .collect()
    }

    fn files(&self) -> Vec<FileSnapshot> {
        let broken = FileState::Broken { problem: HOSTILE.to_owned(), consequence: "what it last said stays" };
        vec![
            FileSnapshot { path: PathBuf::from("/jobs/a.yml"), state: FileState::Good(1) },
            FileSnapshot { path: PathBuf::from(HOSTILE), state: broken },
            FileSnapshot { path: PathBuf::from("/jobs/off.yml"), state: FileState::Off("it has no port") },
        ]
    }

    fn configuration(&self) -> Arc<str> {
        HOSTILE.into()
    }

    fn started_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn certificates(&self) -> Vec<CertificateSnapshot> {
        let one = |shown_as, not_after: Option<i64>| CertificateSnapshot {
            shown_as,
            file: HOSTILE.to_owned(),
            validity: not_after.map(|not_after| Validity { not_before: 0, not_after }),
            problem: Some(HOSTILE.to_owned()),
        };
        vec![one("client", Some(1_700_000_000)), one("listener", None)]
    }

    fn outputs(&self) -> Vec<OutputSnapshot> {
        let settled = Settlement {
            delivered: 70,
            duplicate: [("version_conflict", 1)].into(),
            rejected: [("mapping", 2)].into(),
            dropped: [("queue_full", 3)].into(),
            skipped: [("nan", 4), ("stale_marker", 5)].into(),
        };
        let limits = QueueLimits {
            samples: 1_000_000,
            bytes: 64 << 20,
            age: Duration::from_secs(7200),
            overflow: Overflow::DropOldest,
        };
        let search = OutputSnapshot {
            recent: vec![RecentMark { delivered: 30, lost: 2 }, RecentMark { delivered: 40, lost: 3 }],
            waited: Some(Duration::from_secs(3)),
            name: HOSTILE.to_owned(),
            kind: "elasticsearch",
            urls: vec!["https://es:9200".to_owned()],
            counts: Counts { offered: 90, restored: 10, settled, waiting: 15, maybe_doubled: 7 },
            queue: Some(QueueSnapshot { samples: 15, bytes: 4096, limits }),
            disk: Some(DiskState {
                records: 2,
                samples: 12,
                bytes: 8192,
                segments: 1,
                corrupt_records: 3,
                corrupt_bytes: 33,
                failing: Some(HOSTILE.to_owned()),
            }),
            status: SenderStatus {
                failing: Some(format!("https://es:9200 answered {HOSTILE}")),
                delivered_ms: Some(1_700_000_000_000),
                requests: 9,
                failures: 2,
                bytes: 12_345,
            },
            served: None,
        };
        let expose = OutputSnapshot {
            recent: vec![RecentMark { delivered: 30, lost: 2 }, RecentMark { delivered: 40, lost: 3 }],
            waited: Some(Duration::from_secs(3)),
            name: "everything".to_owned(),
            kind: "expose",
            urls: vec!["http://127.0.0.1:9699/metrics".to_owned()],
            counts: Counts::default(),
            queue: None,
            disk: None,
            status: SenderStatus::default(),
            served: Some(ServedSnapshot { targets: 3, expositions: 2, duplicates: 1, ..ServedSnapshot::default() }),
        };
        vec![search, expose]
    }

    fn scrapes(&self) -> ScrapeCounts {
        ScrapeCounts {
            scrapes: 11,
            failures: 1,
            samples: 420,
            body_bytes: 9000,
            bad_lines: 2,
            duplicates: 0,
            paused: 6,
        }
    }

    fn memory(&self) -> MemorySnapshot {
        let accounts = Accounts { samples: 1, series: 2, tables: 3, bodies: 4 };
        MemorySnapshot { used: Used { accounts, rest: 50 }, limit: Some(100) }
    }

    fn registrar(&self) -> Option<RegistrarSnapshot> {
        Some(RegistrarSnapshot { is_connected: true, entries: 4, sent: 5, failed: 2 })
    }

    fn readiness(&self) -> Readiness {
        match self.is_ready.load(Ordering::Relaxed) {
            true => Readiness::Ready,
            false => Readiness::Waiting("2 of 3 targets have not been scraped yet".to_owned()),
        }
    }
}

pub(crate) async fn start(snapshots: &Arc<Fixed>) -> Server {
    let config =
        checked::Admin { listen: "127.0.0.1:0".parse().unwrap(), tls: None, stands_in_for_prom_scraper: false };
    Server::start(&config, &Arc::new(Credentials::default()), snapshots.clone()).await.unwrap()
}

/// Three targets, one of each health, and everything else that a page shows.
pub(crate) fn full() -> Arc<Fixed> {
    let fixed = Fixed::default();
    *fixed.targets.lock().unwrap() = Targets {
        active: vec![
            target("fine", Health::Up, ""),
            target("new", Health::Unknown, ""),
            target("broken", Health::Down, HOSTILE),
        ],
        dropped: vec![DroppedTarget {
            job: "fine".to_owned(),
            discovered: labels(&[("__address__", HOSTILE)]),
            reason: "relabel_configs[0] (keep) dropped it".to_owned(),
        }],
        dropped_counts: [("fine".to_owned(), 1)].into(),
        problems: vec![DiscoveryProblem { source: format!("/jobs/{HOSTILE}:2:18"), message: HOSTILE.to_owned() }],
    };
    Arc::new(fixed)
}

async fn get(path: &str) -> Answer {
    let server = start(&full()).await;
    ask(server.listens_on(), "GET", path, &[]).await
}

pub(crate) fn parsed(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn the_page_puts_problems_first_and_escapes_everything() {
    let page = get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none';"));
    let body = &page.body;
    assert!(!body.contains("<script>") && !body.contains('\u{1b}') && !body.contains("@import"));
    assert!(!body.contains("style="), "inline style");
    assert!(body.contains(ESCAPED) && !body.contains("alert('"));
    let at = |text: &str| body.find(text).unwrap_or_else(|| panic!("{text} is in\n{body}"));
    assert!(at("https://broken.internal") < at("https://new.internal"));
    assert!(at("https://new.internal") < at("https://fine.internal"));
    assert!(at("announced by /var/vcap/jobs/gorouter/config/prom_scraper_config.yml") < at("Dropped targets (1)"));
    at("none is in use");
    at("valid until 2027-01-15T08:00:00Z");
    at("<b>What to do:</b> Start it.");
    at("Discovery problems (1)");
    at("Not ready: 2 of 3 targets have not been scraped yet.");
    at("stale_marker 5");
    at("15 of 1,000,000 samples");
    at("On disk: 12 samples, 8 KiB in 1 file");
    at("100 = 100");
    at("60 bytes of 100 bytes, estimated");
}

#[tokio::test]
async fn targets_are_told_as_prometheus_tells_them() {
    let answer = parsed(&get("/api/v1/targets").await);
    let discovered = json!({"__address__": "10.0.0.1:9090", "__scheme__": "https"});
    let active = |job: &str, health: &str, error: &str, scraped: &str| {
        json!({
            "discoveredLabels": discovered, "labels": {"instance": "10.0.0.1:9090", "job": job}, "scrapePool": job,
            "scrapeUrl": format!("https://{job}.internal:9090/metrics"),
            "globalUrl": format!("https://{job}.internal:9090/metrics"),
            "lastError": error, "lastScrape": scraped, "lastScrapeDuration": 0.012345, "health": health,
            "scrapeInterval": "1m30s", "scrapeTimeout": "1s500ms", "certificateNotAfter": "2027-01-15T08:00:00Z",
            "id": format!("{:016x}", job.len()), "advice": (health == "down").then_some("Start it."), "failures": 0, "samples": 42,
            "file": "/var/vcap/jobs/gorouter/config/prom_scraper_config.yml",
        })
    };
    let scraped = "2023-11-14T22:13:20.123Z";
    let expected = json!({"status": "success", "data": {
        "activeTargets": [
            active("fine", "up", "", scraped),
            active("new", "unknown", "", "0001-01-01T00:00:00Z"),
            active("broken", "down", HOSTILE, scraped),
        ],
        "droppedTargets": [{"discoveredLabels": {"__address__": HOSTILE}, "scrapePool": "fine"}],
        "droppedTargetCounts": {"fine": 1},
    }});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn targets_can_be_asked_for_by_state_and_pool() {
    for (query, active, dropped) in [
        ("state=active", 3, 0),
        ("state=dropped", 0, 1),
        ("state=any", 3, 1),
        ("scrapePool=broken", 1, 0),
        ("state=active&scrapePool=none", 0, 0),
    ] {
        let data = parsed(&get(&format!("/api/v1/targets?{query}")).await)["data"].take();
        let lengths = ["activeTargets", "droppedTargets"].map(|list| data[list].as_array().unwrap().len());
        assert_eq!(lengths, [active, dropped], "{query}");
    }
    let wrong = get("/api/v1/targets?state=up").await;
    assert_eq!(wrong.status, 400);
    let error: Value = serde_json::from_str(&wrong.body).unwrap();
    assert_eq!((&error["status"], &error["errorType"]), (&json!("error"), &json!("bad_data")));
}

#[tokio::test]
async fn outputs_are_told_with_ledger_queue_and_trouble() {
    let mut data = parsed(&get("/api/v1/outputs").await)["data"].take();
    let outputs = data["outputs"].take();
    assert_eq!(
        outputs[0]["ledger"],
        json!({"offered": 90, "restored": 10, "delivered": 70, "duplicate": {"version_conflict": 1}, "waiting": 15,
            "rejected": {"mapping": 2}, "dropped": {"queue_full": 3}, "skipped": {"nan": 4, "stale_marker": 5}})
    );
    assert_eq!(
        outputs[0]["queue"],
        json!({"samples": 15, "bytes": 4096, "maxSamples": 1_000_000, "maxBytes": 67_108_864, "maxAge": "2h"})
    );
    assert_eq!(
        outputs[0]["disk"],
        json!({"records": 2, "samples": 12, "bytes": 8192, "segments": 1, "corruptRecords": 3, "corruptBytes": 33,
            "failing": HOSTILE})
    );
    assert_eq!((&outputs[0]["maybeDoubled"], &outputs[1]["disk"]), (&json!(7), &Value::Null));
    assert_eq!(
        data["memory"],
        json!({"limit": 100, "used": 60, "samples": 1, "series": 2, "tables": 3, "bodies": 4, "rest": 50})
    );
    assert_eq!(outputs[0]["failing"], format!("https://es:9200 answered {HOSTILE}"));
    assert_eq!(outputs[0]["lastDelivery"], "2023-11-14T22:13:20.000Z");
    assert_eq!((&outputs[1]["queue"], &outputs[1]["lastDelivery"]), (&Value::Null, &Value::Null));
    assert_eq!(outputs[1]["served"]["targets"], 3);
    assert_eq!(outputs[0]["recent"], json!({"stepSeconds": 10, "delivered": [30, 40], "lost": [2, 3]}));
    assert_eq!(outputs[0]["oldestWaitingSeconds"], 3.0);
}

#[tokio::test]
async fn self_metrics_are_openmetrics_and_the_ledger_adds_up() {
    let answer = get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let samples = strict::read(true, &answer.body);
    let sum = |name: &str| {
        let of_search = |sample: &&strict::Sample| sample.labels.get("output").is_none_or(|output| output == HOSTILE);
        let values = samples.iter().filter(|sample| sample.name == name).filter(of_search);
        values.map(|sample| sample.value.parse::<f64>().unwrap()).sum::<f64>()
    };
    let fates = ["delivered", "duplicate", "rejected", "dropped", "skipped"];
    let settled: f64 = fates.iter().map(|fate| sum(&format!("promferry_output_samples_{fate}_total"))).sum();
    let incoming = sum("promferry_output_samples_offered_total") + sum("promferry_output_samples_restored_total");
    assert_eq!(incoming, settled + sum("promferry_output_samples_waiting"));
    assert_eq!((incoming, sum("promferry_output_samples_maybe_doubled_total")), (100.0, 7.0));
    assert_eq!((sum("promferry_memory_bytes"), sum("promferry_memory_limit_bytes")), (60.0, 100.0));
    assert_eq!(sum("promferry_scrapes_paused_total"), 6.0);
    let registrar = ["connected", "entries", "messages_total"].map(|name| sum(&format!("promferry_registrar_{name}")));
    assert_eq!(registrar, [1.0, 4.0, 7.0]);
    let disk = ["records", "samples", "bytes", "segments", "failing", "corrupt_records_total", "corrupt_bytes_total"];
    let disk = disk.map(|name| sum(&format!("promferry_output_disk_{name}")));
    assert_eq!(disk, [2.0, 12.0, 8192.0, 1.0, 1.0, 3.0, 33.0]);
    assert_eq!((sum("promferry_targets"), sum("promferry_scrapes_total")), (3.0, 11.0));
    assert_eq!(sum("promferry_output_failing"), 1.0);
    let exposed = samples.iter().find(|sample| sample.name == "promferry_expose_targets").unwrap();
    assert_eq!((exposed.labels["output"].as_str(), exposed.value.as_str()), ("everything", "3"));
    assert_eq!(sum("promferry_output_last_delivery_seconds"), 1.7e9);
    assert!(sum("process_resident_memory_bytes") > 1e6 && sum("process_open_fds") > 3.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - sum("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    assert_eq!(sum("promferry_build_info"), 1.0);
}

/// Both ways: what is exposed is in docs/operating.md, and what is there is exposed.
#[tokio::test]
async fn docs_name_every_metric_and_reason() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (_, table) = docs.split_once("## Metrics").unwrap();
    let words = table.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        let is_whole = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_whole && (word.starts_with("promferry_") || word.starts_with("process_"))
    };
    let documented: std::collections::BTreeSet<&str> = words.filter(is_name).collect();
    let answer = get("/metrics").await;
    let samples = strict::read(true, &answer.body);
    let exposed: std::collections::BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(documented, exposed);
    for reason in [
        reason::NAN,
        reason::INFINITE,
        reason::STALE_MARKER,
        reason::WRITE_RELABEL,
        reason::UNSUPPORTED_TYPE,
        reason::FIRST_DELTA,
        reason::QUEUE_FULL,
        reason::MEMORY,
        reason::DISK_FULL,
        reason::CORRUPT,
        reason::TOO_OLD,
        reason::SHUTDOWN,
        reason::ABANDONED,
        reason::TOO_LARGE,
    ] {
        assert!(docs.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[tokio::test]
async fn a_program_with_nothing_to_show_has_pages_too() {
    let server = start(&Arc::default()).await;
    for path in ["/", "/config", "/metrics", "/api/v1/status", "/api/v1/targets", "/api/v1/outputs"] {
        assert_eq!(ask(server.listens_on(), "GET", path, &[]).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn it_is_healthy_at_once_and_ready_later() {
    let snapshots = full();
    let server = start(&snapshots).await;
    let address = server.listens_on();
    assert_eq!(ask(address, "GET", "/-/healthy", &[]).await.status, 200);
    let waiting = ask(address, "GET", "/-/ready", &[]).await;
    assert_eq!(waiting.status, 503);
    assert_eq!(waiting.body, "promferry is not ready: 2 of 3 targets have not been scraped yet\n");
    snapshots.is_ready.store(true, Ordering::Relaxed);
    assert_eq!(ask(address, "GET", "/-/ready", &[]).await.status, 200);
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn other_methods_paths_and_host_names_are_refused() {
    let server = start(&full()).await;
    let address = server.listens_on();
    let post = ask(address, "POST", "/", &["content-length: 0"]).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("get, head")));
    assert_eq!(ask(address, "GET", "/-/quit", &[]).await.status, 404);
    let head = ask(address, "HEAD", "/api/v1/targets", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for host in ["host: localhost:9698", "host: [::1]:9698", "host: 10.1.2.3"] {
        assert_eq!(ask(address, "GET", "/metrics", &[host]).await.status, 200, "{host}");
    }
    for host in ["host: rebound.example:9698", "host: 127.0.0.1.rebound.example", "host:"] {
        let refused = ask(address, "GET", "/metrics", &[host]).await;
        assert_eq!(refused.status, 421, "{host}");
        assert!(!refused.body.contains("promferry_"));
    }
    let two = ask(address, "GET", "/metrics", &["host: 127.0.0.1", "host: rebound.example"]).await;
    assert!(two.status == 421 || two.status == 400, "{}", two.status);
}
