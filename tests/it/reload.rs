//! Signals: what ends, ends in time and says what was lost; what is reloaded touches nothing that stays the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::expose::client::ask;
use crate::support::bulk_server::{Act, BulkServer, answer, step, well};
use crate::support::exporter::Exporter;
use crate::support::samples;
use crate::support::world::{Process, World, until, written};

const ADMIN: &str = "admin: {listen: \"127.0.0.1:0\"}\n";
const LINES: &str = "  - name: lines\n    file: {path: samples.jsonl}\n";
const EVERYTHING: &str = "  - name: everything\n    expose: {listen: \"127.0.0.1:0\"}\n";

/// An output that sends each sample at once.
fn search(name: &str, server: &BulkServer) -> String {
    format!(
        "  - name: {name}\n    elasticsearch: {{urls: [\"http://{}\"]}}\n    batch: {{flush_interval: 10ms, flush_jitter: 0s}}\n",
        server.address
    )
}

/// A scrape configuration with one target. `rules` are its `metric_relabel_configs`.
fn job(name: &str, target: &Exporter, rules: &str) -> String {
    format!(
        "  - job_name: {name}
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: [\"{}\"]}}]
    metric_relabel_configs: [{rules}]\n",
        target.address
    )
}

fn configuration(jobs: &[String], outputs: &[&str]) -> String {
    let (jobs, outputs) = (jobs.concat(), outputs.concat());
    format!("global: {{scrape_interval: 1s, shutdown_timeout: 1s}}\nscrape_configs:\n{jobs}outputs:\n{outputs}{ADMIN}")
}

async fn exporter(world: &World) -> Exporter {
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    Exporter::start(tls, |nth| format!("kept {nth}\nchanged{{path=\"a\"}} {nth}\nchanged{{path=\"b\"}} {nth}\n")).await
}

async fn until_scraped(exporter: &Exporter, times: usize) {
    let before = exporter.bodies().len();
    until("it is scraped", async || (exporter.bodies().len() >= before + times).then_some(())).await;
}

/// Sends SIGHUP, and waits until the new configuration is in force.
async fn reload(promferry: &Process) {
    let before = promferry.log.of("configuration reloaded").len();
    promferry.signal("HUP");
    until("it is reloaded", async || (promferry.log.of("configuration reloaded").len() > before).then_some(())).await;
}

fn reasons(log: &crate::support::world::Log, output: &str) -> String {
    let drained = log.of("drained").into_iter().find(|line| line["output"] == output).unwrap();
    drained["reasons"].as_str().unwrap().to_owned()
}

/// What `outputs` has in it hangs: the program ends in time all the same, and says what that cost.
async fn assert_ends_in_time(world: World, output: &str) {
    let target = exporter(&world).await;
    world.configure(&configuration(&[job("a", &target, "")], &[LINES, output]));
    let promferry = world.run().await;
    until_scraped(&target, 3).await;
    until("samples wait", async || {
        let ledger = &promferry.outputs().await["stuck"]["ledger"];
        (ledger["waiting"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    assert!(ended.status.success());
    assert!(ended.took >= Duration::from_secs(1), "it waits as long as it may");
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
    let lost = ended.count("stuck", "offered");
    assert_eq!(reasons(&ended.log, "stuck"), format!("dropped shutdown {lost}"));
    assert_eq!(ended.count("stuck", "dropped"), lost);
    assert_eq!(ended.log.of("samples dropped").len(), 1);
    // The other one has all of it.
    let lines = written(&world.path("samples.jsonl")).len() as u64;
    assert_eq!((ended.count("lines", "delivered"), ended.count("lines", "offered")), (lines, lines));
    assert_eq!(lines, lost);
}

#[tokio::test]
async fn an_output_that_hangs_does_not_hold_up_the_end() {
    let server = BulkServer::start((0..100).map(|_| step(|_, _| Act::Hang)).collect()).await;
    assert_ends_in_time(World::new(), &search("stuck", &server)).await;
    assert_eq!(server.store().samples(), 0);
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_does_not_hold_up_the_end() {
    let world = World::new();
    let made = std::process::Command::new("mkfifo").arg(world.path("pipe")).status().unwrap();
    assert!(made.success());
    assert_ends_in_time(world, "  - name: stuck\n    file: {path: pipe}\n").await;
}

/// An output whose receiver can be switched on, with a disk queue.
#[tokio::test]
async fn an_output_that_changes_in_an_outage_hands_its_disk_queue_over() {
    let world = World::new();
    let is_down = Arc::new(AtomicBool::new(true));
    let steps = (0..10_000).map(|_| {
        let is_down = is_down.clone();
        step(move |store, request| match is_down.load(Ordering::Relaxed) {
            true => Act::Answer(answer(503, "", "")),
            false => well(store, request),
        })
    });
    let server = BulkServer::start(steps.collect()).await;
    let target = exporter(&world).await;
    let search = format!("{}    queue: {{disk: {{path: queue}}}}\n", search("search", &server));
    let yaml = configuration(&[job("a", &target, "")], &[LINES, &search]);
    world.configure(&yaml);
    let promferry = world.run().await;
    let failing = async || promferry.outputs().await["search"]["failing"].is_string().then_some(());
    until("it fails", failing).await;
    until_scraped(&target, 2).await;

    world.configure(&yaml.replace("flush_interval: 10ms", "flush_interval: 20ms"));
    reload(&promferry).await;
    until("the successor has the folder", async || {
        let ledger = &promferry.outputs().await["search"]["ledger"];
        (ledger["restored"].as_u64() > Some(0)).then_some(())
    })
    .await;
    until_scraped(&target, 2).await;
    is_down.store(false, Ordering::Relaxed);
    until("all of it is delivered", async || {
        let ledger = &promferry.outputs().await["search"]["ledger"];
        (ledger["delivered"].as_u64() > Some(0) && ledger["waiting"] == 0).then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    let lines = written(&world.path("samples.jsonl")).len() as u64;
    assert_eq!(server.store().samples(), lines, "each sample once");
    assert!(ended.log.of("samples dropped").is_empty());
}

#[tokio::test]
async fn draining_says_what_waits_and_a_second_signal_ends_it_at_once() {
    let world = World::new();
    let server = BulkServer::start((0..100).map(|_| step(|_, _| Act::Hang)).collect()).await;
    let target = exporter(&world).await;
    let yaml = configuration(&[job("a", &target, "")], &[&search("stuck", &server)]);
    world.configure(&yaml.replace("shutdown_timeout: 1s", "shutdown_timeout: 1m"));
    let promferry = world.run().await;
    until_scraped(&target, 2).await;
    promferry.signal("TERM");
    let line = until("it says what waits", async || promferry.log.of("still draining").pop()).await;
    assert!(line["output"] == "stuck" && line["waiting"].as_u64() > Some(0), "{line}");
    assert!(line["seconds_left"].as_u64() < Some(60), "{line}");
    let ended = promferry.terminate().await;
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{:?}", ended.took);
    assert_eq!(ended.log.of("told twice to end: not draining").len(), 1);
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_is_explained_once() {
    let world = World::new();
    let target = exporter(&world).await;
    let good = configuration(&[job("a", &target, "")], &[LINES]);
    world.configure(&good);
    let promferry = world.run().await;
    promferry.until_up(&[""]).await;
    let before = promferry.outputs().await["lines"]["ledger"]["offered"].as_u64();

    world.configure(&good.replace("scrape_interval: 1s", "scrape_interval: 1"));
    promferry.signal("HUP");
    let refused = "the configuration cannot be used; the one in force stays";
    let line = until("it is refused", async || promferry.log.of(refused).pop()).await;
    let error = line["error"].as_str().unwrap();
    let place = format!("{}:1:27: ", world.path("promferry.yml").display());
    assert!(error.starts_with(&place) && error.contains("scrape_interval"), "{error}");
    // Whoever only looks at the page learns it too.
    let headline = promferry.headline().await;
    assert_eq!(headline["severity"], "warning", "{headline}");
    let first = error.lines().next().unwrap();
    assert!(headline["text"].as_str().unwrap().contains(first), "{headline}");
    until_scraped(&target, 3).await;
    assert!(promferry.outputs().await["lines"]["ledger"]["offered"].as_u64() > before);

    // So does a file that is gone.
    std::fs::remove_file(world.path("promferry.yml")).unwrap();
    promferry.signal("HUP");
    until("it is refused", async || (promferry.log.of(refused).len() == 2).then_some(())).await;
    world.configure(&good);
    reload(&promferry).await;
    assert_eq!(promferry.headline().await["severity"], "ok");
    until_scraped(&target, 2).await;
    assert_eq!(target.connections(), 1, "nothing was touched");
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints().len(), 2, "{:?}", ended.log.complaints());
    assert_eq!(ended.count("lines", "delivered"), written(&world.path("samples.jsonl")).len() as u64);
}

/// All else is well, and what it should have delivered goes nowhere: that must not look like health.
#[tokio::test]
async fn an_output_that_a_reload_cannot_start_is_the_headline_until_it_does() {
    let world = World::new();
    let target = exporter(&world).await;
    let jobs = [job("a", &target, "")];
    world.configure(&configuration(&jobs, &[LINES]));
    let promferry = world.run().await;
    promferry.until_up(&[""]).await;
    assert_eq!(promferry.headline().await["severity"], "ok");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let second = format!("  - name: second\n    expose: {{listen: \"{address}\"}}\n");
    world.configure(&configuration(&jobs, &[LINES, &second]));
    reload(&promferry).await;
    let headline = promferry.headline().await;
    let text = format!(
        "An output cannot start, and gets nothing: output second: expose.listen: cannot listen on {address}: another process has this port already."
    );
    assert_eq!((&headline["severity"], &headline["text"]), (&"critical".into(), &text.into()));

    drop(taken);
    reload(&promferry).await;
    assert_eq!(promferry.headline().await["severity"], "ok");
    assert!(promferry.outputs().await.contains_key("second"));
}

#[tokio::test]
async fn outputs_come_and_go_without_a_sample_lost_or_doubled_and_the_others_go_on() {
    let world = World::new();
    let (old, new) = (BulkServer::start(Vec::new()).await, BulkServer::start(Vec::new()).await);
    let target = exporter(&world).await;
    let jobs = [job("a", &target, "")];
    world.configure(&configuration(&jobs, &[EVERYTHING, LINES, &search("old", &old)]));
    let promferry = world.run().await;
    until_scraped(&target, 3).await;
    let before = promferry.outputs().await;

    world.configure(&configuration(&jobs, &[EVERYTHING, LINES, &search("new", &new)]));
    reload(&promferry).await;
    let after = promferry.outputs().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["everything", "lines", "new"]);
    assert_eq!(after["everything"]["urls"], before["everything"]["urls"], "it listens where it did");
    until_scraped(&target, 3).await;
    let after = promferry.outputs().await;
    for output in ["everything", "lines"] {
        let offered = |outputs: &BTreeMap<String, serde_json::Value>| outputs[output]["ledger"]["offered"].as_u64();
        assert!(offered(&after) > offered(&before), "its ledger goes on");
    }
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints(), [""; 0]);
    assert_eq!(target.connections(), 1, "targets are not touched");
    for (output, server) in [("old", &old), ("new", &new)] {
        let stored = server.store().samples();
        assert_eq!((ended.count(output, "offered"), ended.count(output, "delivered")), (stored, stored), "{output}");
        assert!(stored > 0);
    }
    let bodies: Vec<String> = [old.store(), new.store()]
        .iter()
        .flat_map(|store| store.requests.iter().map(|request| request.body.clone()).collect::<Vec<_>>())
        .collect();
    let both = samples::of_bulk(bodies.iter().map(String::as_str));
    samples::assert_same(&both, &written(&world.path("samples.jsonl")));
}

#[tokio::test]
async fn an_aggregate_endpoint_that_changes_keeps_its_port_whoever_is_connected() {
    let world = World::new();
    let target = exporter(&world).await;
    let jobs = [job("a", &target, "")];
    // A port that is free, now and most likely in a moment.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exposed = |path: &str| format!("  - name: everything\n    expose: {{listen: \"{address}\", path: {path}}}\n");
    world.configure(&configuration(&jobs, &[LINES, &exposed("/metrics")]));
    let promferry = world.run().await;
    until_scraped(&target, 2).await;
    assert!(promferry.aggregate("everything").await.len() > 3);
    // Somebody who has asked half of a question.
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nhost: a").await.unwrap();

    let began = Instant::now();
    world.configure(&configuration(&jobs, &[LINES, &exposed("/all")]));
    reload(&promferry).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(ask(address, "GET", "/metrics", &[]).await.status, 404);
    until_scraped(&target, 2).await;
    assert_eq!(ask(address, "GET", "/all", &[]).await.status, 200);
    assert!(promferry.aggregate("everything").await.len() > 3);
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints(), [""; 0]);
    assert_eq!(ended.count("lines", "delivered"), written(&world.path("samples.jsonl")).len() as u64);
}

#[tokio::test]
async fn series_whose_labels_change_end_and_the_others_do_not() {
    let world = World::new();
    let (touched, untouched) = (exporter(&world).await, exporter(&world).await);
    let job_b = job("b", &untouched, "");
    world.configure(&configuration(&[job("a", &touched, ""), job_b.clone()], &[EVERYTHING, LINES]));
    let promferry = world.run().await;
    until_scraped(&touched, 2).await;
    until_scraped(&untouched, 2).await;

    let rule =
        "{source_labels: [path], regex: (.+), target_label: route, replacement: r$1}, {regex: path, action: labeldrop}";
    world.configure(&configuration(&[job("a", &touched, rule), job_b], &[EVERYTHING, LINES]));
    reload(&promferry).await;
    until("the new labels are served", async || {
        let served = promferry.aggregate("everything").await;
        let of_a = |label: &str| {
            served.keys().filter(|series| series.label("job") == "a" && !series.label(label).is_empty()).count()
        };
        (of_a("route") == 2 && of_a("path") == 0).then_some(())
    })
    .await;
    until_scraped(&touched, 2).await;
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.complaints(), [""; 0]);
    assert_eq!(untouched.connections(), 1);
    // The two that changed, and neither `kept` nor `up` and its like, nor any of the other target.
    assert_eq!(reasons(&ended.log, "lines"), "skipped stale_marker 2");
    let lines = written(&world.path("samples.jsonl"));
    let count = |name: &str, job: &str| lines.keys().filter(|(s, _)| s.name == name && s.label("job") == job).count();
    for (job, exporter) in [("a", &touched), ("b", &untouched)] {
        let missing = exporter.bodies().len() - count("kept", job);
        assert!(missing <= 1, "{missing} scrapes of {job}; one that is under way at the end is given up");
        assert_eq!(count("changed", job), 2 * count("kept", job));
    }
}

#[tokio::test]
async fn a_job_that_a_reload_takes_away_ends_its_series() {
    let world = World::new();
    let (going, staying) = (exporter(&world).await, exporter(&world).await);
    let staying_job = job("b", &staying, "");
    world.configure(&configuration(&[job("a", &going, ""), staying_job.clone()], &[EVERYTHING, LINES]));
    let promferry = world.run().await;
    until_scraped(&going, 2).await;
    until_scraped(&staying, 2).await;
    world.configure(&configuration(&[staying_job], &[EVERYTHING, LINES]));
    reload(&promferry).await;
    until("its series are gone", async || {
        let served = promferry.aggregate("everything").await;
        served.keys().all(|series| series.label("job") == "b").then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    assert_eq!(reasons(&ended.log, "lines"), "skipped stale_marker 8", "three of its own, five about it");
    assert_eq!(staying.connections(), 1);
}

#[tokio::test]
async fn new_external_labels_end_every_series_that_did_not_have_them() {
    let world = World::new();
    let target = exporter(&world).await;
    let yaml = configuration(&[job("a", &target, "")], &[EVERYTHING, LINES]);
    world.configure(&yaml);
    let promferry = world.run().await;
    until_scraped(&target, 2).await;
    world.configure(&yaml.replace("global: {", "global: {external_labels: {deployment: cf}, "));
    reload(&promferry).await;
    until_scraped(&target, 2).await;
    until("the new labels are served", async || {
        let served = promferry.aggregate("everything").await;
        served.keys().all(|series| series.label("deployment") == "cf").then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    assert_eq!(reasons(&ended.log, "lines"), "skipped stale_marker 8", "three of its own, five about it");
}
