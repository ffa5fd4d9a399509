//! From an mTLS target, through the executable, into the collector: what the file output has is what is indexed.

use crate::support::exporter::Exporter;
use crate::support::hec_server::{HecServer, Rules, TOKEN};
use crate::support::samples::assert_same;
use crate::support::world::{World, command, outcome, until, written};

fn yaml(server: &HecServer, keys: &str, queue: &str) -> String {
    format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
outputs:
  - name: splunk
    splunk_hec: {{urls: ["http://{}/services/collector"], token_file: token, index: metrics, {keys}}}
    batch: {{flush_interval: 100ms, flush_jitter: 0s}}
    queue: {{{queue}}}
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        server.address
    )
}

async fn world(server: &HecServer, keys: &str, queue: &str) -> (World, Exporter) {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let body =
        |nth| format!("# TYPE jobs counter\njobs{{index=\"6\",source=\"s\"}} {nth}\nload{{host=\"h\"}} 0.{nth}\n");
    let exporter = Exporter::start(tls, body).await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    std::fs::write(world.path("token"), format!("{TOKEN}\n")).unwrap();
    world.configure(&yaml(server, keys, queue));
    (world, exporter)
}

#[tokio::test]
async fn every_sample_is_indexed_once_and_the_ledger_says_so() {
    for (ack, rules) in
        [("ack: false", Rules::default()), ("ack: true", Rules { is_acknowledging: true, ..Rules::default() })]
    {
        let server = HecServer::start(rules, Vec::new()).await;
        let (world, exporter) = world(&server, ack, "").await;
        let process = world.run().await;
        until("the target is scraped five times", async || (exporter.bodies().len() >= 5).then_some(())).await;
        let outputs = process.outputs().await;
        assert_eq!(outputs["splunk"]["kind"], "splunk_hec");
        assert_eq!(outputs["splunk"]["urls"][0], format!("http://{}/", server.address));
        let ended = process.terminate().await;
        assert!(ended.status.success());
        assert_eq!(ended.log.complaints(), Vec::<String>::new());
        let hec = server.hec();
        let lines = written(&world.path("samples.jsonl"));
        assert_same(&hec.samples(), &lines);
        assert_eq!((hec.doubled(), ended.count("splunk", "delivered")), (0, lines.len() as u64));
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_survives_a_kill_and_is_sent_again() {
    // Nothing is ever acknowledged, until after the kill.
    let rules = Rules { is_acknowledging: true, questions_before_ack: u32::MAX, ..Rules::default() };
    let server = HecServer::start(rules, Vec::new()).await;
    let (world, exporter) = world(&server, "ack: true", "disk: {path: queue}").await;
    let process = world.run().await;
    until("three requests were taken", async || (server.hec().requests.len() >= 3).then_some(())).await;
    let outputs = process.outputs().await;
    assert_eq!(outputs["splunk"]["ledger"]["delivered"], 0);
    process.signal("KILL");
    drop(process);
    let taken = server.hec().samples();
    assert!(!taken.is_empty());

    server.hec().rules.questions_before_ack = 0;
    world.undeploy("gorouter");
    let process = world.run().await;
    let restored = until("what was found is delivered", async || {
        let ledger = process.outputs().await["splunk"]["ledger"].clone();
        let restored = ledger["restored"].as_u64().unwrap();
        (restored > 0 && ledger["delivered"] == restored).then_some(restored)
    })
    .await;
    let ended = process.terminate().await;
    drop(exporter);
    let hec = server.hec();
    // All that was taken is there once more, with the values that it had, and is counted as maybe stored twice.
    assert!(restored >= taken.len() as u64, "{restored} {}", taken.len());
    assert_eq!(hec.samples().len() as u64, restored);
    assert_eq!(hec.doubled(), taken.len() as u64);
    assert_eq!(ended.count("splunk", "delivered"), restored);
    assert!(ended.count("splunk", "maybe_doubled") >= hec.doubled());
}

#[tokio::test]
async fn check_connect_tries_the_collector() {
    let server = HecServer::start(Rules::default(), Vec::new()).await;
    let (world, _exporter) = world(&server, "ack: false", "").await;
    let config = world.path("promferry.yml");
    let arguments = ["check", "--connect", "-c", config.to_str().unwrap()];
    let (code, out, err) = outcome(&mut command(&arguments)).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("output splunk: ready\n"), "{out}");
    assert_eq!(server.hec().indexed(), 1);
    server.hec().rules.is_token_enabled = false;
    let (code, out, _) = outcome(&mut command(&arguments)).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("refuses the token because it is disabled; enable it in Splunk's settings of the collector"),
        "{out}"
    );
}
