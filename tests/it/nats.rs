//! Discovery over a real nats-server, with mutual TLS and a password: what one process announces, another scrapes.

use serde_json::json;

use crate::support::certificates::Ca;
use crate::support::exporter::Exporter;
use crate::support::nats_server::NatsServer;
use crate::support::world::{Process, World, command, outcome, until, written};

/// A password with what means something in URLs, in JSON and in NATS' configuration.
const PASSWORD: &str = "p@ss:w/rd%\\\"x";

/// The same in a URL.
const PASSWORD_IN_URL: &str = "p%40ss:w/rd%25%5C%22x";

/// Clients of `nats_ca` with the password; the server's certificate has a name, and no address.
const SERVER: &str = r#"
tls { cert_file: "FOLDER/nats.crt", key_file: "FOLDER/nats.key", ca_file: "FOLDER/nats_clients.crt", verify: true, timeout: 5 }
authorization { user: "nats", password: "p@ss:w/rd%\\\"x" }
"#;

const TLS: &str =
    "tls_config: {ca_file: ca.crt, cert_file: client.crt, key_file: client.key, server_name: nats.service.cf.internal}";

async fn server(world: &World, clients: &Ca) -> Option<NatsServer> {
    world.ca.server(&["nats.service.cf.internal"]).write_to(world.folder(), "nats");
    std::fs::write(world.path("nats_clients.crt"), clients.pem()).unwrap();
    clients.client("nats client").write_to(world.folder(), "client");
    NatsServer::start(world.folder(), SERVER).await
}

/// A process that scrapes one target, serves it, and announces that.
async fn announcer(world: &World, nats: &NatsServer) -> (Exporter, Process) {
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, |nth| format!("scrape_number {nth}\n")).await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s, external_labels: {{source_id: agent, index: "007"}}}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
register:
  servers: ["nats://nats:{PASSWORD_IN_URL}@127.0.0.1:{}"]
  {TLS}
  interval: 1s
  address: 127.0.0.1
  files: ["FOLDER/data/*/metric_targets.yml"]
outputs:
  - name: everything
    expose: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        nats.port
    ));
    let announcer = world.run().await;
    announcer.until_up(&["gorouter"]).await;
    (exporter, announcer)
}

/// A process that scrapes what is announced. A source is forgotten 4 s after its last message.
async fn discoverer(world: &World, nats: &NatsServer) -> Process {
    std::fs::write(world.path("password"), format!("{PASSWORD}\n")).unwrap();
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: agents
    honor_labels: true
    nats_sd_configs:
      - servers: ["127.0.0.1:{}"]
        username: nats
        password_file: password
        {TLS}
        expiry: 4s
targets_file: {{path: targets.json}}
outputs:
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        nats.port
    ));
    world.run().await
}

/// When `scrape_number` was scraped, in milliseconds since 1970, in order.
fn scrapes(world: &World) -> Vec<i64> {
    let samples = written(&world.path("samples.jsonl"));
    let ours = samples.into_keys().filter(|(series, _)| series.name == "scrape_number");
    let mut scrapes: Vec<_> = ours.map(|(_, at_ms)| at_ms).collect();
    scrapes.sort_unstable();
    scrapes
}

/// Stale markers so far: the file output has no form for them, and counts them.
async fn stale_markers(process: &Process) -> u64 {
    process.outputs().await["lines"]["ledger"]["skipped"]["stale_marker"].as_u64().unwrap_or(0)
}

/// Waits until scrapes have gone on for so long.
async fn until_scraped_for(world: &World, time_ms: i64) {
    let last = || scrapes(world).last().copied().unwrap_or(0);
    let from = last();
    until("scrapes go on", async || (last() >= from + time_ms).then_some(())).await;
}

#[tokio::test]
async fn what_is_announced_is_scraped_and_nothing_flaps_while_nats_is_away() {
    let (world, clients) = (World::new(), Ca::named("nats_ca"));
    let Some(mut nats) = server(&world, &clients).await else { return };
    let (_exporter, announcer) = announcer(&world, &nats).await;
    let discoverer = discoverer(&world, &nats).await;
    discoverer.until_up(&["agent"]).await;

    let target = discoverer.targets().await.remove("agent").unwrap();
    let found = &target["discoveredLabels"];
    assert_eq!(found["__meta_nats_source"], "promferry__007");
    assert_eq!((&target["labels"]["index"], &target["labels"]["job"]), (&json!("007"), &json!("agents")));
    let address = found["__address__"].as_str().unwrap();
    let expected = format!(r#"[{{"targets":["{address}"],"labels":{{"index":"007","source_id":"agent"}}}}]"#);
    let file = || std::fs::read_to_string(world.path("targets.json")).unwrap_or_default();
    until("the targets file is written", async || (file() == expected).then_some(())).await;

    // NATS goes for longer than a source is kept. Meanwhile its clients' authority is another, and their certificates too.
    nats.stop().await;
    let incomplete = "discovery is incomplete";
    let told = until("that NATS is away is told", async || discoverer.log.of(incomplete).pop()).await;
    let problem = format!(
        "job agents: nats_sd: nothing listens on 127.0.0.1:{} (connection refused); the targets of 1 source stay as they are",
        nats.port
    );
    assert_eq!(told["problem"], problem.as_str());
    until_scraped_for(&world, 5000).await;
    let others = Ca::named("other_nats_ca");
    std::fs::write(world.path("nats_clients.crt"), others.pem()).unwrap();
    others.client("nats client").write_to(world.folder(), "client");
    nats.resume().await;
    until("both are connected again", async || {
        let is_back = discoverer.log.of("a problem of discovery is over").len() == 1;
        (is_back && announcer.log.of("announcing over NATS").len() == 2).then_some(())
    })
    .await;
    until_scraped_for(&world, 5000).await;

    // One target, from the first to the last scrape.
    assert_eq!(discoverer.log.of("targets changed").len(), 1);
    assert_eq!(file(), expected);
    assert_eq!(stale_markers(&discoverer).await, 0);
    assert!(announcer.metric("promferry_registrar_messages_total").await >= 8.0);
    assert_eq!(announcer.metric("promferry_registrar_connected").await, 1.0);

    // Who ends is forgotten all the same.
    announcer.terminate().await;
    until("the target goes", async || discoverer.targets().await.is_empty().then_some(())).await;
    until("the targets file is empty", async || (file() == "[]").then_some(())).await;
    until("its series are stale", async || (stale_markers(&discoverer).await > 0).then_some(())).await;
    let log = format!("{:?}", discoverer.terminate().await.log.lines());
    assert!(!log.contains(PASSWORD) && !log.contains("p@ss"), "{log}");
}

#[tokio::test]
async fn files_of_others_are_announced_and_a_broken_one_costs_no_other() {
    let (world, clients) = (World::new(), Ca::named("nats_ca"));
    let Some(nats) = server(&world, &clients).await else { return };
    for (job, text) in [
        (
            "one",
            "- {targets: [\"127.0.0.1:1\"], labels: {source_id: one, __param_id: a/b}, source: one__1}\n- targets: []\n",
        ),
        ("two", "- targets: [\n"),
    ] {
        std::fs::create_dir_all(world.path(&format!("data/{job}"))).unwrap();
        std::fs::write(world.path(&format!("data/{job}/metric_targets.yml")), text).unwrap();
    }
    let (_exporter, announcer) = announcer(&world, &nats).await;
    let discoverer = discoverer(&world, &nats).await;
    let targets = until("both are found", async || {
        let targets = discoverer.targets().await;
        (targets.len() == 2).then_some(targets)
    })
    .await;
    assert_eq!(targets["one"]["scrapeUrl"], "http://127.0.0.1:1/metrics?id=a%2Fb");
    let told = |announcer: &Process| announcer.log.of("some entries are not announced");
    until("what is wrong is told", async || (told(&announcer).len() == 2).then_some(())).await;
    let problems: Vec<String> = told(&announcer)
        .iter()
        .map(|line| line["problem"].as_str().unwrap().replace(&world.folder().display().to_string(), "FOLDER"))
        .collect();
    assert_eq!(
        problems,
        [
            "FOLDER/data/one/metric_targets.yml:2:3: source is missing; it says whose entry this is",
            "FOLDER/data/two/metric_targets.yml:1:12: not YAML: unclosed bracket '['"
        ]
    );
    std::fs::write(world.path("data/two/metric_targets.yml"), "").unwrap();
    std::fs::write(world.path("data/one/metric_targets.yml"), "").unwrap();
    until("it is told that all is well", async || announcer.log.of("all entries are announced again").pop()).await;
}

#[tokio::test]
async fn the_drop_in_for_metrics_agent_is_found_with_each_of_its_sources() {
    let (world, clients) = (World::new(), Ca::named("nats_ca"));
    let Some(nats) = server(&world, &clients).await else { return };
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, |nth| format!("scrape_number {nth}\n")).await;
    let announcement = format!("port: {}\nscheme: https\nsource_id: rep\nlabels: {{origin: rep}}\n", exporter.port());
    world.deploy("rep", "1", &announcement);
    world.ca.server(&["metrics_agent_metrics"]).write_to(world.folder(), "agent");
    world.configure(&format!(
        r#"
scrape_configs:
  - job_name: platform
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs: [{{files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]}}]
metrics_agent:
  listen: "127.0.0.1:0"
  metrics_listen: "127.0.0.1:0"
  tls_config: {{cert_file: agent.crt, key_file: agent.key, client_ca_file: ca.crt}}
  address: 127.0.0.1
  instance_id: seven
  tags: {{deployment: cf}}
register:
  servers: ["tls://nats:{PASSWORD_IN_URL}@127.0.0.1:{}"]
  {TLS}
  interval: 1s
admin: {{listen: "127.0.0.1:0"}}
"#,
        nats.port
    ));
    let agent = world.run().await;
    world.configure(&format!(
        r#"
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: agents
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key, server_name: metrics_agent_metrics}}
    nats_sd_configs:
      - servers: ["nats://nats:{PASSWORD_IN_URL}@127.0.0.1:{}"]
        {TLS}
outputs:
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        nats.port
    ));
    let discoverer = world.run().await;
    discoverer.until_up(&["", "rep"]).await;
    let targets = discoverer.targets().await;
    assert_eq!(targets[""]["discoveredLabels"]["__meta_nats_source"], "metrics_agent_exporter__seven");
    assert_eq!(targets["rep"]["discoveredLabels"]["__meta_nats_source"], "rep__seven");
    assert!(targets["rep"]["scrapeUrl"].as_str().unwrap().ends_with("/metrics?id=rep"), "{targets:?}");
    assert_eq!(targets["rep"]["labels"]["deployment"], "cf");
    until("its samples arrive", async || (scrapes(&world).len() > 2).then_some(())).await;
    assert_eq!(agent.metric("promferry_registrar_entries").await, 2.0);
    assert_eq!(
        [discoverer.terminate().await, agent.terminate().await].map(|ended| ended.log.complaints().len()),
        [0, 0]
    );
}

#[tokio::test]
async fn who_may_not_listen_is_told_so() {
    let world = World::new();
    let settings =
        r#"authorization { users: [{user: a, password: b, permissions: {subscribe: {deny: "metrics.>"}}}] }"#;
    let Some(nats) = NatsServer::start(world.folder(), settings).await else { return };
    let config = world.configure(&format!(
        "outputs: [{{name: o, file: {{path: out}}}}]\nscrape_configs:\n- {{job_name: j, nats_sd_configs: [{{servers: ['a:b@127.0.0.1:{}']}}]}}\n",
        nats.port
    ));
    let (_, out, err) = outcome(&mut command(&["targets", "-c", config.to_str().unwrap()])).await;
    let expected = format!(
        "job j: nats_sd: 127.0.0.1:{} does not let us listen: Permissions Violation for Subscription to \"metrics.scrape_targets\"",
        nats.port
    );
    assert!(out.contains(&expected), "{out}{err}");
}

#[tokio::test]
async fn a_wrong_password_is_told_in_one_sentence_without_it() {
    let (world, clients) = (World::new(), Ca::named("nats_ca"));
    let Some(nats) = server(&world, &clients).await else { return };
    let configured = |servers: &str, tls: &str| {
        world.configure(&format!(
            "outputs: [{{name: o, file: {{path: out}}}}]\nadmin: null\nscrape_configs:\n- job_name: j\n  nats_sd_configs:\n  - servers: [\"{servers}\"]\n    {tls}\n"
        ))
    };
    let told = async |servers: &str, tls: &str| {
        let config = configured(servers, tls);
        let (code, out, err) = outcome(&mut command(&["targets", "-c", config.to_str().unwrap()])).await;
        let said = out + &err;
        assert!(!said.contains("wr0ng") && !said.contains("p@ss"), "{said}");
        (code, said.replace(&nats.port.to_string(), "PORT").replace(&world.folder().display().to_string(), "FOLDER"))
    };
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", nats.port);
    let refused = "job j: nats_sd: 127.0.0.1:PORT refuses our credentials: Authorization Violation";
    for (login, tls, expected) in [
        ("nats:wr0ng", TLS, refused),
        ("wr0ng", TLS, refused),
        (
            &format!("nats:{PASSWORD_IN_URL}"),
            "tls_config: {ca_file: ca.crt, cert_file: client.crt, key_file: client.key}",
            "job j: nats_sd: TLS with 127.0.0.1:PORT: the server's certificate is for \"nats.service.cf.internal\", not for \"127.0.0.1\"; set server_name to a name that it has",
        ),
        (
            &format!("nats:{PASSWORD_IN_URL}"),
            "tls_config: {ca_file: ca.crt, server_name: nats.service.cf.internal}",
            "client certificate, and none is configured (cert_file, key_file)",
        ),
    ] {
        let (_, said) = told(&url(login), tls).await;
        let line = said.lines().find(|line| line.contains("nats_sd")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(expected), "{line}\n{expected}");
    }
}
