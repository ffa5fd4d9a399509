//! `nomad_sd_configs` against a Nomad that asks for client certificates and a token.

use std::sync::Arc;

use promferry::discovery::{DropReason, TargetSet, discover_once};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::remote_discovery::{Running, configs, credentials, urls};
use crate::support::certificates::Ca;
use crate::support::exporter::Exporter;
use crate::support::fake_target::answer;
use crate::support::nomad_server::{Known, NomadServer, registration};
use crate::support::world::{Process, World, command, until};

/// A Nomad, and the files that a client of it needs.
struct Cluster {
    nomad: NomadServer,
    folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let (ca, folder) = (Ca::named("nomad agent ca"), tempfile::tempdir().unwrap());
        ca.write_to(folder.path());
        ca.client("promferry").write_to(folder.path(), "client");
        std::fs::write(folder.path().join("token"), "secret-token\n").unwrap();
        let tls = ca.server(&["client.global.nomad"]).server_config(Some(&ca));
        let nomad = NomadServer::start(tls).await;
        nomad.change(|known| known.token = Some("secret-token".to_owned()));
        Self { nomad, folder }
    }

    /// `nomad_sd_configs`, with more keys.
    fn sd(&self, keys: &str) -> String {
        let folder = self.folder.path().display();
        let keys = if keys.contains("authorization") || keys.contains("http_headers") {
            keys.to_owned()
        } else {
            format!("authorization: {{credentials_file: {folder}/token}}, {keys}")
        };
        format!(
            "nomad_sd_configs: [{{server: 'https://{}', refresh_interval: 1s, tls_config: {{ca_file: {folder}/ca.crt, \
             cert_file: {folder}/client.crt, key_file: {folder}/client.key, server_name: client.global.nomad}}, {keys}}}]",
            self.nomad.address
        )
    }

    fn register(&self, registered: &[Value]) {
        self.nomad.change(|known| known.registered = registered.to_vec());
    }

    fn fail(&self, path: &str, answer: Vec<u8>) {
        self.nomad.change(|known| known.faults.insert(path.to_owned(), answer));
    }

    /// Nothing fails any longer.
    fn mend(&self) {
        self.nomad.change(|known| known.faults.clear());
    }

    /// What a problem begins with.
    fn shown(&self) -> String {
        format!("job j: nomad_sd: https://{}:", self.nomad.address)
    }

    async fn once(&self, keys: &str) -> Arc<TargetSet> {
        discover_once(configs(&self.sd(keys)), credentials()).await
    }
}

fn web(address: &str) -> Value {
    registration("default", "web", address, 9100, &["prod", "v2"])
}

fn problem(text: &str) -> impl FnMut(&Arc<TargetSet>) -> bool + '_ {
    move |set| set.problems.iter().any(|problem| problem.contains(text))
}

#[tokio::test]
async fn services_come_change_and_go_with_prometheus_labels() {
    let cluster = Cluster::start().await;
    cluster.register(&[web("10.0.0.1"), registration("default", "cache", "fd00::7", 6379, &[])]);
    let mut running = Running::start(&cluster.sd(""));
    let set = running.until("the services", |set| set.targets.len() == 2).await;
    assert_eq!(urls(&set), ["http://[fd00::7]:6379/metrics", "http://10.0.0.1:9100/metrics"]);
    assert_eq!(set.problems, [] as [&str; 0]);
    let meta = |at: usize| {
        let labels = set.targets[at].discovered.iter().filter(|(name, _)| name.starts_with("__meta"));
        labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(
        meta(1),
        [
            "__meta_nomad_address=10.0.0.1",
            "__meta_nomad_dc=dc1",
            "__meta_nomad_namespace=default",
            "__meta_nomad_node_id=6e2f4bd5",
            "__meta_nomad_service=web",
            "__meta_nomad_service_address=10.0.0.1",
            "__meta_nomad_service_id=_nomad-task-web-10.0.0.1",
            "__meta_nomad_service_port=9100",
            "__meta_nomad_tags=,prod,v2,",
        ]
    );
    assert!(!meta(0).iter().any(|label| label.starts_with("__meta_nomad_tags")), "{:?}", meta(0));

    let cache = set.targets[0].clone();
    cluster.register(&[registration("default", "cache", "fd00::7", 6379, &[]), web("10.0.0.2"), web("10.0.0.3")]);
    let set = running.until("the new instances", |set| set.targets.len() == 3).await;
    assert_eq!(urls(&set)[1..], ["http://10.0.0.2:9100/metrics", "http://10.0.0.3:9100/metrics"]);
    assert!(Arc::ptr_eq(&set.targets[0], &cache), "what did not change is the same target");

    cluster.register(&[web("10.0.0.3")]);
    running.until("the end of the others", |set| urls(set) == ["http://10.0.0.3:9100/metrics"]).await;
    cluster.register(&[]);
    running.until("the end of all", |set| set.targets.is_empty() && set.problems.is_empty()).await;
}

#[tokio::test]
async fn requests_say_what_is_configured() {
    let cluster = Cluster::start().await;
    cluster.register(&[
        registration("default", "web/x", "10.0.0.1", 1, &["a"]),
        registration("team", "web/x", "10.0.0.2", 2, &["a", "b"]),
    ]);
    let header = "http_headers: {X-Nomad-Token: {secrets: [secret-token]}}";
    let set = cluster.once(&format!("{header}, namespace: '*', region: eu, tag_separator: '|'")).await;
    assert_eq!(urls(&set), ["http://10.0.0.1:1/metrics", "http://10.0.0.2:2/metrics"]);
    assert_eq!(set.targets[1].discovered.get("__meta_nomad_tags"), Some("|a|b|"));
    let asked = |known: &mut Known| {
        let heads = std::mem::take(&mut known.heads);
        heads.iter().map(|head| head.lines().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        cluster.nomad.change(asked),
        [
            "GET /v1/services?namespace=%2A&region=eu&stale= HTTP/1.1",
            "GET /v1/service/web%2Fx?namespace=default&region=eu&stale= HTTP/1.1",
            "GET /v1/service/web%2Fx?namespace=team&region=eu&stale= HTTP/1.1",
        ]
    );
    cluster.once("namespace: team, region: '', allow_stale: false").await;
    let team = ["GET /v1/services?namespace=team HTTP/1.1", "GET /v1/service/web%2Fx?namespace=team HTTP/1.1"];
    assert_eq!(cluster.nomad.change(asked), team);
}

/// An answer that is larger than any that is taken.
fn huge() -> Vec<u8> {
    answer("200 OK", "", &[b"[\"".as_slice(), &vec![b'x'; 5 << 20], b"\"]"].concat())
}

fn json_answer(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

#[tokio::test]
async fn while_there_is_no_list_everything_stays_and_is_told() {
    let said = |why: &str| format!("its answer is no list of services: {why}");
    let no_leader = answer("500 Internal Server Error", "", b"No cluster leader\nmore");
    let moved = answer("301 Moved", "location: /ui/\r\n", b"");
    let cases = [
        (no_leader, "answered 500 Internal Server Error with \"No cluster leader\"".to_owned()),
        (moved, "answered 301 Moved Permanently; redirects are not followed here".to_owned()),
        (json_answer("<html>"), "it answered no JSON: expected value at line 1 column 1".to_owned()),
        (json_answer("{}"), said("the answer: expected a list, found an object")),
        (json_answer("[7]"), said("expected an object, found a number")),
        (json_answer(r#"[{"Services": [{"ServiceName": 7}]}]"#), said("ServiceName: expected a text, found a number")),
        (json_answer(r#"[{"Services": [{}]}]"#), said("a service has no ServiceName")),
        (huge(), "4 MiB".to_owned()),
    ];
    let mut running = JoinSet::new();
    for (fault, told) in cases {
        running.spawn(async move {
            let cluster = Cluster::start().await;
            cluster.register(&[web("10.0.0.1")]);
            let mut running = Running::start(&cluster.sd(""));
            let first = running.until("the service", |set| !set.targets.is_empty()).await.targets[0].clone();
            cluster.fail("/v1/services", fault);
            let set = running.until(&told, problem(&told)).await;
            let problem = &set.problems[0];
            assert!(problem.starts_with(&cluster.shown()), "{problem}");
            assert!(problem.ends_with("; what it said before stays"), "{problem}");
            assert!(Arc::ptr_eq(&set.targets[0], &first), "{told}");
            cluster.mend();
            running.until("the end of the problem", |set| set.problems.is_empty()).await;
        });
    }
    running.join_all().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_and_a_new_one_is_taken_from_its_file() {
    let cluster = Cluster::start().await;
    cluster.register(&[web("10.0.0.1")]);
    let mut running = Running::start(&cluster.sd(""));
    running.until("the service", |set| !set.targets.is_empty()).await;
    cluster.nomad.change(|known| known.token = Some("another".to_owned()));
    let told = "answered 403 Forbidden with \"Permission denied\"; \"authorization\" must give an ACL token that is valid \
                and allows \"read-job\" in namespace \"default\"; what it said before stays";
    let set = running.until("the refusal", problem("403")).await;
    assert_eq!(set.problems, [format!("{} {told}", cluster.shown())]);
    std::fs::write(cluster.folder.path().join("token"), "another").unwrap();
    running.until("the new token", |set| set.problems.is_empty() && set.targets.len() == 1).await;
}

#[tokio::test]
async fn one_bad_service_costs_no_other() {
    let said = |why: &str| format!("its answer is no list of instances: instance 1: {why}");
    let failed = answer("500 Internal Server Error", "", b"rpc error: \x1b[31m");
    let cases = [
        (failed, r#"answered 500 Internal Server Error with "rpc error: \u{1b}[31m""#.to_owned()),
        (json_answer(r#"[{"Port": "x"}]"#), said("Port: expected a whole number, found a text")),
        (json_answer(r#"[{"Tags": "x"}]"#), said("Tags: expected a list, found a text")),
        (json_answer(r#"[{"Tags": [1]}]"#), said("Tags: expected texts, found a number")),
        (json_answer("[3]"), said("expected an object, found a number")),
        (huge(), "4 MiB".to_owned()),
    ];
    let mut running = JoinSet::new();
    for (fault, told) in cases {
        running.spawn(async move {
            let cluster = Cluster::start().await;
            let cache = |address: &str| registration("default", "cache", address, 6379, &[]);
            cluster.register(&[web("10.0.0.1"), cache("10.0.0.9")]);
            let mut running = Running::start(&cluster.sd(""));
            running.until("the services", |set| set.targets.len() == 2).await;
            cluster.fail("/v1/service/cache", fault);
            cluster.register(&[web("10.0.0.2"), cache("10.0.0.99")]);
            let expected = ["http://10.0.0.9:6379/metrics", "http://10.0.0.2:9100/metrics"];
            let set = running.until(&told, |set| urls(set) == expected && problem(&told)(set)).await;
            let problem = &set.problems[0];
            assert!(problem.starts_with(&format!("{} service \"cache\": ", cluster.shown())), "{problem}");
            assert!(problem.ends_with("; what was known of it stays"), "{problem}");
            cluster.mend();
            let set = running.until("the good answer", |set| set.problems.is_empty()).await;
            assert_eq!(urls(&set)[0], "http://10.0.0.99:6379/metrics");
        });
    }
    running.join_all().await;
}

/// One that fails by taking its time would leave none for others.
#[tokio::test]
async fn a_service_that_failed_is_asked_for_last() {
    let cluster = Cluster::start().await;
    cluster.register(&[web("10.0.0.1"), registration("default", "cache", "10.0.0.9", 6379, &[])]);
    cluster.fail("/v1/service/cache", answer("500 Internal Server Error", "", b""));
    let mut running = Running::start(&cluster.sd(""));
    running.until("the first round", problem("500")).await;
    let web_at = |nth: u8| format!("10.0.0.{nth}");
    cluster.register(&[web(&web_at(2)), registration("default", "cache", "10.0.0.9", 6379, &[])]);
    running.until("the second round", |set| urls(set) == ["http://10.0.0.2:9100/metrics"]).await;
    let heads = cluster.nomad.change(|known| known.heads.clone());
    let paths = heads.iter().map(|head| head.split([' ', '?']).nth(1).unwrap().trim_start_matches("/v1/").to_owned());
    let paths: Vec<String> = paths.take(6).collect();
    assert_eq!(paths, ["services", "service/cache", "service/web", "services", "service/web", "service/cache"]);
}

#[tokio::test]
async fn many_bad_services_are_summed_up() {
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..9).map(|at| format!("s{at}")).collect();
    let registered: Vec<Value> = names.iter().map(|name| registration("team", name, "h", 1, &[])).collect();
    cluster.register(&registered);
    names.iter().for_each(|name| cluster.fail(&format!("/v1/service/{name}"), answer("404 Not Found", "", b"")));
    let set = cluster.once("namespace: team").await;
    let one = |at| format!("service \"s{at}\" in namespace \"team\": answered 404 Not Found");
    let told = format!("{} {}; {}; {}; and so on with 6 more", cluster.shown(), one(0), one(1), one(2));
    assert_eq!(set.problems, [told]);
}

#[tokio::test]
async fn nomad_restarts_and_so_does_the_configuration() {
    let mut cluster = Cluster::start().await;
    cluster.register(&[web("10.0.0.1")]);
    let mut running = Running::start(&cluster.sd(""));
    let first = running.until("the service", |set| !set.targets.is_empty()).await.targets[0].clone();
    cluster.nomad.stop().await;
    let set = running.until("the outage", |set| !set.problems.is_empty()).await;
    assert!(set.problems[0].ends_with("; what it said before stays"), "{:?}", set.problems);
    assert!(Arc::ptr_eq(&set.targets[0], &first));

    // A reload during the outage keeps what is known, with whatever else it brings.
    let more = format!("{}\n  static_configs: [{{targets: ['other:1']}}]", cluster.sd(""));
    running.discovery.reload(configs(&more));
    let set = running.until("the other target", |set| set.targets.len() == 2).await;
    assert!(set.targets.iter().any(|target| Arc::ptr_eq(target, &first)));

    cluster.register(&[web("10.0.0.5")]);
    cluster.nomad.start_again().await;
    let set = running.until("the end of the outage", |set| set.problems.is_empty()).await;
    assert!(urls(&set).contains(&"http://10.0.0.5:9100/metrics"), "{:?}", urls(&set));
}

#[tokio::test]
async fn what_cannot_be_scraped_or_is_too_much_is_told() {
    let cluster = Cluster::start().await;
    let odd = |address: &str, port: i64| {
        let mut one = web(address);
        one["Port"] = json!(port);
        one
    };
    cluster.register(&[
        web("10.0.0.1"),
        odd("", 1),
        odd("10.0.0.2", 0),
        odd("10.0.0.3", 70_000),
        odd("http://evil/", 1),
    ]);
    let set = cluster.once("").await;
    assert_eq!(urls(&set), ["http://10.0.0.1:9100/metrics"]);
    let reasons: Vec<String> = set.dropped.iter().map(|dropped| dropped.reason.to_string()).collect();
    assert_eq!(
        reasons,
        [
            "\":1\" is not an address: the host is missing",
            "\"10.0.0.2:0\" is not an address: a port is a whole number from 1 to 65535",
            "\"10.0.0.3:70000\" is not an address: a port is a whole number from 1 to 65535",
            "\"[http://evil/]:1\" is not an address: write host:port, without http:// and without a path",
        ]
    );

    cluster.register(&[web("10.0.0.1"), web("10.0.0.2"), web("10.0.0.3")]);
    let set = cluster.once("target_limit: 2").await;
    assert!(set.targets.is_empty());
    assert!(set.dropped.iter().all(|dropped| dropped.reason == DropReason::TargetLimit { found: 3, limit: 2 }));

    let services: Vec<Value> = (0..10_001).map(|at| json!({"ServiceName": format!("s{at}")})).collect();
    let list = json!([{"Namespace": "default", "Services": services}]).to_string();
    cluster.fail("/v1/services", answer("200 OK", "", list.as_bytes()));
    let set = cluster.once("").await;
    assert_eq!(set.problems, [format!("{} it lists 10001 services; at most 10000 are taken", cluster.shown())]);
}

/// Services of 3 MiB of tags each: the others are still found.
#[tokio::test]
async fn services_that_are_too_large_together_are_left_out_one_by_one() {
    let cluster = Cluster::start().await;
    let large = "x".repeat(3 << 20);
    let mut registered: Vec<Value> =
        (10..22).map(|at| registration("default", &format!("s{at}"), "h", at, &[])).collect();
    for one in &mut registered {
        one["ID"] = json!(large);
    }
    registered.push(web("10.0.0.1"));
    cluster.register(&registered);
    let set = cluster.once("").await;
    let left_out = "it is left out: at most 100000 instances with 32 MiB are taken of all services together";
    assert_eq!(set.problems, [format!("{} service \"s20\": {left_out}; service \"s21\": {left_out}", cluster.shown())]);
    assert_eq!(set.targets.len(), 11);
    assert!(urls(&set).contains(&"http://10.0.0.1:9100/metrics"));
}

/// The whole program: what is registered is scraped, also while Nomad is away, and what is not any longer is not.
#[tokio::test]
async fn the_main_job_scrapes_what_is_registered_and_goes_on_while_nomad_is_away() {
    let world = World::new();
    let tls = |names: &[&str]| world.ca.server(names).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls(&["127.0.0.1"]), |nth| format!("a {nth}\n")).await;
    let mut nomad = NomadServer::start(tls(&["client.global.nomad"])).await;
    let at = |service: &str, tags: &[&str]| registration("team", service, "127.0.0.1", exporter.port(), tags);
    nomad.change(|known| known.registered = vec![at("api", &["metrics", "source=api"]), at("other", &[])]);
    let files = "ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key";
    world.configure(&format!(
        "global: {{scrape_interval: 400ms}}
scrape_configs:
  - job_name: services
    scheme: https
    tls_config: {{{files}}}
    nomad_sd_configs:
      - {{server: 'https://{}', namespace: '*', refresh_interval: 1s, tls_config: {{{files}, server_name: client.global.nomad}}}}
    relabel_configs:
      - {{source_labels: [__meta_nomad_tags], regex: '.*,metrics,.*', action: keep}}
      - {{source_labels: [__meta_nomad_tags], regex: '.*,source=([^,]+),.*', target_label: source_id}}
      - {{regex: __meta_nomad_(namespace|service), action: labelmap, replacement: nomad_$1}}
outputs: [{{name: lines, file: {{path: samples.jsonl}}}}]
admin: {{listen: '127.0.0.1:0'}}\n",
        nomad.address
    ));
    let mut command = command(&["run", "-c", "promferry.yml"]);
    command.current_dir(world.folder());
    let promferry = Process::start(command).await;
    promferry.until_up(&["api"]).await;
    let labels = promferry.targets().await["api"]["labels"].clone();
    assert_eq!((&labels["nomad_service"], &labels["nomad_namespace"]), (&json!("api"), &json!("team")));

    nomad.stop().await;
    until("the outage is told", async || (promferry.metric("promferry_discovery_problems").await > 0.0).then_some(()))
        .await;
    let scraped = exporter.bodies().len();
    until("it is scraped on", async || (exporter.bodies().len() > scraped + 1).then_some(())).await;

    nomad.change(|known| known.registered.clear());
    nomad.start_again().await;
    promferry.until_up(&[]).await;
    until("all is well", async || (promferry.metric("promferry_discovery_problems").await == 0.0).then_some(())).await;
}
