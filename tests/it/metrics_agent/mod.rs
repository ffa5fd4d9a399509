//! `promferry run --metrics-agent`: the environment in; the answers, the targets file and the own metrics out, as the original
//! has them.

pub mod client;
mod now;

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::expose::client::ask_over;
use crate::support::certificates::Ca;
use crate::support::exporter::Exporter;
use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};
use crate::support::loggregator_client::{Client, Envelope, counter, envelope, gauge};
use crate::support::world::{Process, command, outcome, until, written};
use client::{Agent, SERVER_NAME, Vm};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The announcement of a plain HTTP endpoint on loopback.
fn at(source_id: &str, port: u16) -> String {
    format!("port: {port}\nsource_id: {source_id}\n")
}

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Waits until the exporter answers for a source with this status.
async fn until_status(agent: &Agent<'_>, source_id: &str, status: u16) {
    let path = format!("/metrics?id={source_id}");
    until(&format!("{status} for {source_id}"), async || (agent.get(&path).await.0 == status).then_some(())).await;
}

#[tokio::test]
async fn a_source_is_scraped_when_it_is_asked_for_and_passed_on_as_it_is() {
    let vm = Vm::new();
    let body = "# TYPE b counter\nb{z=\"1\",source_id=\"theirs\"} 10000015838\n# HELP a What it is.\n# TYPE a gauge\n\
        a{x=\"2\"} 1e-7 1520879607789\na{x=\"1\"} 15000000\nno.metric at all\nbare NaN\n\
        # TYPE h histogram\nh_sum 3\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\na{x=\"3\"} 1\n\
        # TYPE nothing gauge\n{\"my.dotted\"} 1\n";
    let rep = vm.world.ca.server(&["rep.service.internal"]).server_config(Some(&vm.world.ca));
    let rep = Exporter::start(rep, move |_| body.to_owned()).await;
    let tls = "scheme: https\nserver_name: rep.service.internal\nheaders: {X-Token: abc}\nlabels: {team: a}\n";
    // Who asks for it decides when: its own interval says nothing.
    vm.world.deploy("rep", "v1", &format!("{}{tls}scrape_interval: 0s\n", at("rep", rep.port())));
    let agent = vm.run().await;
    assert_eq!(rep.bodies().len(), 0, "nobody has asked yet");

    let expected = "# HELP a What it is.\n# TYPE a gauge\na{x=\"2\"} 1e-07 1520879607789\na{x=\"1\"} 1.5e+07\na{x=\"3\"} 1\n\
        # TYPE b counter\nb{source_id=\"theirs\",z=\"1\"} 1.0000015838e+10\n# TYPE bare untyped\nbare NaN\n\
        # TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
        # TYPE my_dotted untyped\nmy_dotted 1\n";
    let answer = agent.ask("GET", "/metrics?id=rep", &[]).await;
    assert_eq!((answer.status, &*answer.body), (200, expected));
    assert_eq!(answer.header("content-type"), Some(TEXT));
    assert_eq!(answer.header("content-length"), Some(&*expected.len().to_string()));
    let quoted = agent.ask("GET", "/metrics?id=rep", &["accept: text/plain;escaping=allow-utf-8"]).await;
    assert_eq!(quoted.header("content-type"), Some(&*TEXT.replace("underscores", "allow-utf-8")));
    assert!(quoted.body.ends_with("# TYPE \"my.dotted\" untyped\n{\"my.dotted\"} 1\n"), "{}", quoted.body);
    let gzip = agent.ask("GET", "/metrics?id=rep", &["accept-encoding: zstd, gzip", "accept: application/json"]).await;
    assert_eq!((gzip.header("content-encoding"), &*gzip.body), (Some("gzip"), expected));
    assert_eq!(gzip.header("content-type"), Some(TEXT));
    for encoding in ["br, zstd", "gzip;q=0"] {
        let plain = agent.ask("GET", "/metrics?id=rep", &[&format!("accept-encoding: {encoding}")]).await;
        assert_eq!((plain.header("content-encoding"), &*plain.body), (None, expected), "{encoding}");
    }
    // Formats that the original ignores too.
    for accept in [
        "application/openmetrics-text;version=1.0.0",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ] {
        let text = agent.ask("GET", "/metrics?id=rep", &[&format!("accept: {accept}")]).await;
        assert_eq!((text.header("content-type"), &*text.body), (Some(TEXT), expected), "{accept}");
    }
    assert_eq!((rep.bodies().len(), rep.connections()), (7, 1), "one scrape a request, over one connection");
    let head = rep.heads().pop().unwrap();
    assert!(head.starts_with("GET /metrics HTTP/1.1\r\n") && head.contains("x-token: abc\r\n"), "{head}");
    assert_eq!(rep.clients()[0], vm.world.scraper.certificate);
}

#[tokio::test]
async fn answers_are_those_of_the_original() {
    let vm = Vm::new();
    let good = FakeTarget::start(Step::Answer(ok("up_and_well 1\n"))).await;
    let boom = FakeTarget::start(Step::Answer(answer("500 Internal Server Error", "", b"boom\n"))).await;
    let html = FakeTarget::start(Step::Answer(answer("200 OK", "content-type: text/html\r\n", b"<html>"))).await;
    let prose = FakeTarget::start(Step::Answer(ok("this is no exposition\n"))).await;
    let empty = FakeTarget::start(Step::Answer(ok(""))).await;
    let moved = format!("location: http://{}/metrics\r\n", good.address);
    let moved = FakeTarget::start(Step::Answer(answer("302 Found", &moved, b""))).await;
    let down = closed_port().await;
    let targets =
        [("good", &good), ("boom", &boom), ("html", &html), ("prose", &prose), ("empty", &empty), ("moved", &moved)];
    for (name, target) in targets {
        vm.world.deploy(name, "v1", &at(name, target.address.port()));
    }
    vm.world.deploy("down", "v1", &at("down", down));
    vm.world.deploy("twice", "v1", &at("good", down));
    vm.world.deploy("odd", "v1", &at("\"a b/c\"", good.address.port()));
    vm.world.deploy("broken", "v1", "port: [1\n");
    vm.world.deploy("no_port", "v1", "port: 0\nsource_id: no_port\n");
    let agent = vm.run().await;

    // Of two with the same id the last is served: `good` is `twice`, and down.
    let failed = |reason: &str| (500, format!("An error has occurred while serving metrics:\n\n{reason}\n"));
    let refused = format!("nothing listens on 127.0.0.1:{down} (connection refused)");
    for (path, expected) in [
        ("/metrics", (200, String::new())),
        ("/metrics?id=", (200, String::new())),
        ("/metrics?id=moved", (200, "# TYPE up_and_well untyped\nup_and_well 1\n".to_owned())),
        ("/metrics?id=empty", (200, String::new())),
        ("/metrics?id=a%20b%2Fc&x=1", (200, "# TYPE up_and_well untyped\nup_and_well 1\n".to_owned())),
        ("/metrics?id=moved&id=nobody", (200, "# TYPE up_and_well untyped\nup_and_well 1\n".to_owned())),
        ("/metrics?id=nobody&id=moved", (404, String::new())),
        ("/metrics?id=no_port", (404, String::new())),
        ("/metrics?id=broken", (404, String::new())),
        ("/metrics?id=down", failed(&refused)),
        ("/metrics?id=good", failed(&refused)),
        (
            "/metrics?id=boom",
            failed(&format!("http://{}/metrics answered 500 Internal Server Error: \"boom\"", boom.address)),
        ),
        (
            "/metrics?id=html",
            failed(&format!(
                "http://{}/metrics answered with an HTML page (text/html), which is no exposition: \"<html>\"",
                html.address
            )),
        ),
        ("/", (404, "404 page not found\n".to_owned())),
        ("/health", (404, "404 page not found\n".to_owned())),
        ("/metrics/", (404, "404 page not found\n".to_owned())),
    ] {
        assert_eq!(agent.get(path).await, expected, "{path}");
    }
    let prose = agent.get("/metrics?id=prose").await;
    assert!(prose.1.contains("\n\nthe body is no exposition: none of its lines is a sample; line 1, "), "{}", prose.1);

    let unknown = agent.ask("GET", "/metrics?id=nobody", &[]).await;
    assert_eq!((unknown.header("content-length"), unknown.header("content-type")), (Some("0"), None));
    let own = agent.ask("GET", "/metrics", &["accept-encoding: gzip"]).await;
    assert_eq!((own.header("content-length"), own.header("content-type")), (Some("0"), Some(TEXT)));
    for path in ["/", "/metrics?id=boom"] {
        let other = agent.ask("GET", path, &[]).await;
        let (kind, sniffing) = (other.header("content-type"), other.header("x-content-type-options"));
        assert_eq!((kind, sniffing), (Some("text/plain; charset=utf-8"), Some("nosniff")), "{path}");
    }
    // Methods are not looked at.
    assert_eq!(agent.ask("POST", "/metrics?id=moved", &["content-length: 0"]).await.body.lines().count(), 2);
    assert_eq!(agent.ask("PUT", "/metrics?id=nobody", &["content-length: 0"]).await.status, 404);
    let head = agent.ask("HEAD", "/metrics?id=moved", &[]).await;
    assert_eq!((head.status, head.header("content-length"), &*head.body), (200, Some("41"), ""));

    // A client that cannot be answered, and one that the certificate is not for.
    let (head, body) = agent.ask_http2("GET", "/metrics?id=moved").await;
    assert_eq!((head.status.as_u16(), &*body), (200, "# TYPE up_and_well untyped\nup_and_well 1\n"));
    assert_eq!(
        (&head.headers["content-type"], &head.headers["content-length"]),
        (&TEXT.parse().unwrap(), &"41".parse().unwrap())
    );
    let (head, body) = agent.ask_http2("HEAD", "/metrics?id=moved").await;
    assert_eq!((head.status.as_u16(), &head.headers["content-length"], &*body), (200, &"41".parse().unwrap(), ""));
    let (head, body) = agent.ask_http2("GET", "/metrics?id=nobody").await;
    assert_eq!((head.status.as_u16(), &*body, head.headers.get("content-type")), (404, "", None));
    assert_eq!(agent.ask_http2("GET", "/metrics?id=down").await.0.status, 500);
}

#[tokio::test]
async fn entries_are_written_for_discovery_byte_for_byte() {
    let vm = Vm::new();
    let down = "port: 21999\nsource_id: down\ninstance_id: theirs\nlabels: {a: 1, \"n\": \"007\", text: 'a b: c', \"yes\": no}\n";
    vm.world.deploy("down", "v1", down);
    vm.world.deploy("own", "v1", "port: 21998\nlabels: {deployment: mine, instance_id: mine}\n");
    let agent = vm.run().await;
    let expected = "\
- targets:
    - 10.0.1.5:14726
  labels:
    deployment: cf
    index: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
    instance_group: diego-cell
    instance_id: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
  source: metrics_agent_exporter__0e4cc47a-abc1-4360-b3f7-46ba7fc10000
- targets:
    - 10.0.1.5:14726
  labels:
    __param_id: down
    a: \"1\"
    deployment: cf
    index: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
    instance_group: diego-cell
    instance_id: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
    \"n\": \"007\"
    source_id: down
    text: 'a b: c'
    \"yes\": \"no\"
  source: down__0e4cc47a-abc1-4360-b3f7-46ba7fc10000
- targets:
    - 10.0.1.5:14726
  labels:
    __param_id: own
    deployment: mine
    index: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
    instance_group: diego-cell
    instance_id: mine
    source_id: own
  source: own__0e4cc47a-abc1-4360-b3f7-46ba7fc10000
"
    .replace("14726", &agent.exporter().port().to_string());
    until("the targets file", async || vm.world.path("metric_targets.yml").exists().then_some(())).await;
    assert_eq!(vm.targets_file(), expected);

    // Better than the original: a job that goes is gone, and one that comes is there.
    vm.world.undeploy("own");
    let without = expected.split("- targets:\n").take(3).collect::<Vec<_>>().join("- targets:\n");
    until("the entry is gone", async || (vm.targets_file() == without).then_some(())).await;
    let ended = agent.process.terminate().await;
    assert_eq!((ended.status.code(), vm.targets_file()), (Some(0), without), "it ends in order, and the file stays");
    let files = std::fs::read_dir(vm.world.folder()).unwrap().map(|file| file.unwrap().file_name());
    assert!(files.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "no temporary file is left");
}

#[tokio::test]
async fn envelopes_are_served_as_the_original_does() {
    let vm = Vm::new();
    let down = closed_port().await;
    vm.world.deploy("scraped", "v1", &at("scraped", down));
    let agent = vm.run().await;
    let mut loggregator = Client::connect(agent.ingress(), &vm.ca, Some(&vm.client)).await.unwrap();
    let source = "0e4cc47a-abc1-4360-b3f7-46ba7fc10001";
    let tags = [("app_name", "my \"app\"\\x"), ("dash-ed.tag", "v"), ("index", "7"), ("origin", "loggr")];
    let requests = envelope(source, &[("origin", "loggr")], counter("http.total-requests", 7, 0));
    let batch = vec![
        envelope(source, &tags, gauge("cpu", "percentage", 12.5)),
        Envelope { instance_id: "1".into(), ..requests },
        envelope("scraped", &[], gauge("comes_otherwise", "", 1.0)),
    ];
    loggregator.send(batch).await.unwrap();
    let expected = "# HELP cpu Metrics Agent collected metric\n# TYPE cpu gauge\n\
        cpu{app_name=\"my \\\"app\\\"\\\\x\",dash_ed_tag=\"v\",deployment=\"cf\",index=\"7\",instance_group=\"diego-cell\",\
        instance_id=\"0\",loggregator_name=\"Y3B1\",origin=\"loggr\",source_id=\"0e4cc47a-abc1-4360-b3f7-46ba7fc10001\",\
        unit=\"percentage\"} 12.5\n\
        # HELP http_total_requests Metrics Agent collected metric\n# TYPE http_total_requests counter\n\
        http_total_requests{deployment=\"cf\",index=\"0e4cc47a-abc1-4360-b3f7-46ba7fc10000\",instance_group=\"diego-cell\",\
        instance_id=\"1\",loggregator_name=\"aHR0cC50b3RhbC1yZXF1ZXN0cw==\",origin=\"loggr\",\
        source_id=\"0e4cc47a-abc1-4360-b3f7-46ba7fc10001\"} 7\n";
    assert_eq!(agent.get("/metrics").await, (200, expected.to_owned()));
    assert_eq!(agent.get("/metrics?id=").await, (200, expected.to_owned()));
    assert!(agent.own("/metrics").await.body.contains("\ningress 3\n"));
    vm.world.undeploy("scraped");
    until_status(&agent, "scraped", 404).await;
    until("envelopes of a source that is scraped no more", async || {
        loggregator.send(vec![envelope("scraped", &[], gauge("comes_now", "", 1.0))]).await.unwrap();
        agent.get("/metrics").await.1.contains("comes_now").then_some(())
    })
    .await;
}

#[tokio::test]
async fn jobs_come_and_go_while_it_runs() {
    let vm = Vm::new();
    let agent = vm.run().await;
    assert_eq!(agent.get("/metrics").await, (200, String::new()), "it runs without any job");
    let target = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    vm.world.deploy("job", "v1", &at("job", target.address.port()));
    until_status(&agent, "job", 200).await;
    until("the entry", async || vm.targets_file().contains("source: job__").then_some(())).await;
    vm.world.undeploy("job");
    until_status(&agent, "job", 404).await;
    until("no entry", async || (!vm.targets_file().contains("job__")).then_some(())).await;

    vm.world.deploy("loop", "v1", &at("loop", agent.exporter().port()));
    let refused = "a target is promferry's own endpoint, and is not scraped: it would feed on itself";
    until("the refusal", async || agent.process.log.of(refused).pop()).await;
    assert_eq!(agent.get("/metrics?id=loop").await.0, 404);
    assert!(!vm.targets_file().contains("loop"));
}

#[tokio::test]
async fn a_slow_source_costs_itself_the_timeout_and_others_nothing() {
    let vm = Vm::new();
    let silent = FakeTarget::start(Behaviour::Silent).await;
    let good = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    vm.world.deploy("silent", "v1", &at("silent", silent.address.port()));
    vm.world.deploy("good", "v1", &at("good", good.address.port()));
    vm.world.configure(&section("scrape_timeout: 1s", ""));
    let agent = vm.agent(vm.world.run().await);
    let slow = async {
        let answer = agent.get("/metrics?id=silent").await;
        (answer, std::time::Instant::now())
    };
    let others = async {
        for _ in 0..20 {
            assert_eq!(agent.get("/metrics?id=good").await.0, 200);
        }
        std::time::Instant::now()
    };
    let ((slow, slow_at), others_at) = tokio::join!(slow, others);
    assert!(others_at < slow_at, "20 others were answered meanwhile");
    assert_eq!(slow.0, 500);
    assert!(slow.1.contains(&format!("127.0.0.1:{}", silent.address.port())) && slow.1.contains("1s"), "{}", slow.1);
}

/// A configuration with the section, and more.
fn section(scrape: &str, more: &str) -> String {
    let tls = "{cert_file: agent.crt, key_file: agent.key, client_ca_file: clients.crt}";
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: jobs\n  {scrape}\n  prom_scraper_sd_configs:\n  \
         - files: ['FOLDER/jobs/*/config/prom_scraper_config.yml']\nmetrics_agent:\n  listen: '127.0.0.1:0'\n  metrics_listen: '127.0.0.1:0'\n  \
         address: 10.0.1.5\n  instance_id: i\n  tags: {{deployment: cf}}\n  targets_file: metric_targets.yml\n  \
         tls_config: {tls}\nadmin: {{listen: '127.0.0.1:0'}}\n{more}"
    )
}

#[tokio::test]
async fn with_outputs_targets_are_scraped_at_their_intervals_too() {
    let vm = Vm::new();
    let target = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    vm.world.deploy("job", "v1", &format!("{}scrape_interval: 1s\n", at("job", target.address.port())));
    // What others announce is theirs to announce, or two of us would do it for each other for ever.
    let others = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"source_id\": \"other\"}}}}]", target.address);
    std::fs::write(vm.world.path("others.json"), others).unwrap();
    let (alone, output) = (
        section("file_sd_configs: [{files: [others.json]}]", ""),
        "outputs: [{name: kept, file: {path: kept.jsonl}}]\n",
    );
    vm.world.configure(&alone);
    let agent = vm.agent(vm.world.run().await);
    assert_eq!(agent.get("/metrics?id=job").await.0, 200);
    assert_eq!(target.heads().len(), 1, "without outputs only for who asks");
    vm.world.configure(&format!("{alone}{output}"));
    agent.process.signal("HUP");
    agent.process.until_up(&["job", "other"]).await;
    assert_eq!(agent.get("/metrics?id=other").await.0, 404);
    assert!(!vm.targets_file().contains("other"));
    until("samples", async || (!written(&vm.world.path("kept.jsonl")).is_empty()).then_some(())).await;
    assert_eq!(
        agent.get("/metrics?id=job").await,
        (200, "# TYPE a untyped\na 1\n".to_owned()),
        "no target label, no up"
    );

    // The same port, with another section; then without.
    let port = agent.exporter().port();
    let moved =
        alone.replace("'127.0.0.1:0'\n  metrics", &format!("'127.0.0.1:{port}'\n  metrics")).replace("id: i", "id: j");
    vm.world.configure(&moved);
    agent.process.signal("HUP");
    until("the new section", async || vm.targets_file().contains("exporter__j").then_some(())).await;
    assert_eq!((agent.exporter().port(), agent.get("/metrics?id=job").await.0), (port, 200));
    let ended = agent.process.terminate().await;
    assert_eq!((ended.status.code(), ended.log.complaints()), (Some(0), Vec::<String>::new()));
}

#[tokio::test]
async fn outputs_have_the_metrics_of_envelopes_for_as_long_as_there_is_a_way_in() {
    let vm = Vm::new();
    let ingress = "  ingress: {listen: '127.0.0.1:0', tls_config: {cert_file: agent.crt, key_file: agent.key, client_ca_file: clients.crt}}\n";
    let alone = section("honor_labels: true", "outputs: [{name: all, expose: {listen: '127.0.0.1:0'}}]\n");
    let alone = alone.replace("global: {", "global: {external_labels: {site: x}, ");
    vm.world.configure(&alone.replace("admin:", &format!("{ingress}admin:")));
    let agent = vm.agent(vm.world.run().await);
    let mut loggregator = Client::connect(agent.ingress(), &vm.ca, Some(&vm.client)).await.unwrap();
    loggregator.send(vec![envelope("s", &[("job", "router")], counter("requests", 7, 0))]).await.unwrap();
    let requests = async || {
        let served = agent.process.aggregate("all").await;
        served.into_iter().find(|(series, _)| series.name == "requests")
    };
    let (series, value) = until("the metric", requests).await;
    assert_eq!(value, "7");
    let label = |name: &str| series.labels.iter().find(|(held, _)| *held == name).map(|(_, value)| value.as_str());
    assert_eq!(
        ["job", "site", "deployment", "source_id"].map(label),
        [Some("router"), Some("x"), Some("cf"), Some("s")]
    );
    assert_eq!(label("instance"), Some(&*format!("10.0.1.5:{}", agent.exporter().port())));

    vm.world.configure(&alone);
    agent.process.signal("HUP");
    until("the end of the metric", async || requests().await.is_none().then_some(())).await;
    let ended = agent.process.terminate().await;
    assert_eq!((ended.status.code(), ended.log.complaints()), (Some(0), Vec::<String>::new()));
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_answered() {
    let vm = Vm::new();
    let agent = vm.run().await;
    let stranger = Ca::named("prometheus_ca").client("prometheus");
    let server = vm.clients.server(&["a-server"]);
    for address in [agent.exporter(), agent.own_metrics()] {
        // Of TLS 1.3 the client learns it when it reads.
        for (pair, alert) in [(None, "CertificateRequired"), (Some(&stranger), ""), (Some(&server), "")] {
            let stream = agent.connect(address, pair, &["http/1.1"]).await;
            let error = ask_over(stream, "GET", "/metrics", &[]).await.err().expect("it is refused");
            assert!(error.to_string().contains(alert), "{error}");
        }
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut told = String::new();
        plain.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    }

    // A deploy brings another certificate, and a client authority: no restart is needed.
    let rolled = vm.new_certificate();
    until("the new certificate", async || {
        let stream = agent.connect(agent.exporter(), Some(&vm.client), &["h2"]).await;
        (stream.get_ref().1.peer_certificates().unwrap()[0] == rolled.certificate).then_some(())
    })
    .await;
    let next = Ca::named("next");
    crate::support::certificates::write(vm.world.folder(), "clients.crt", &next.pem());
    until("the new authority", async || {
        let stream = agent.connect(agent.exporter(), Some(&next.client("prometheus")), &["http/1.1"]).await;
        ask_over(stream, "GET", "/metrics", &[]).await.ok()
    })
    .await;
    let stream = agent.connect(agent.exporter(), Some(&vm.client), &["http/1.1"]).await;
    assert!(ask_over(stream, "GET", "/metrics", &[]).await.is_err(), "the old authority is no more");
}

#[tokio::test]
async fn the_second_port_has_the_names_of_the_original() {
    let vm = Vm::new();
    let down = closed_port().await;
    vm.world.deploy("down", "v1", &at("down", down));
    vm.world.deploy("quiet", "v1", &at("quiet", down));
    let agent = vm.run().await;
    let failed = "# TYPE failed_scrapes counter\nfailed_scrapes{scrape_source_id=\"down\"} 0\nfailed_scrapes{scrape_source_id=\"quiet\"} 0\n";
    let own = agent.own("/metrics").await;
    assert_eq!((own.status, own.header("content-type")), (200, Some(TEXT)));
    assert!(own.body.contains(failed), "{}", own.body);
    for line in [
        "dropped{direction=\"ingress\"} 0\n",
        "\ningress 0\n",
        "\norigin_mappings 0\n",
        "\npromferry_scrapes_total 0\n",
    ] {
        assert!(own.body.contains(line), "{line}: {}", own.body);
    }
    crate::expose::strict::read(false, &own.body);
    for _ in 0..2 {
        assert_eq!(agent.get("/metrics?id=down").await.0, 500);
    }
    let own = agent.own("/metrics").await.body;
    assert!(own.contains(&failed.replacen("} 0", "} 2", 1)), "{own}");
    assert!(own.contains("\npromferry_scrape_failures_total 2\n"), "{own}");
    assert_eq!(agent.own("/").await.status, 404);

    // The agent's own port is a source as any other: on BOSH it announces itself.
    let tls = format!(
        "scheme: https\nserver_name: {SERVER_NAME}\nca_path: FOLDER/agent_ca.crt\nclient_cert_path: FOLDER/p.crt\nclient_key_path: FOLDER/p.key\n"
    );
    crate::support::certificates::write(vm.world.folder(), "agent_ca.crt", &vm.ca.pem());
    vm.client.write_to(vm.world.folder(), "p");
    let tls = tls.replace("FOLDER", &vm.world.folder().display().to_string());
    vm.world.deploy("metrics_agent", "v1", &format!("{}{tls}", at("metrics_agent", agent.own_metrics().port())));
    until_status(&agent, "metrics_agent", 200).await;
}

#[tokio::test]
async fn all_that_is_wrong_with_the_environment_is_told_at_once() {
    let vm = Vm::new();
    let run = async |leave_out: &[&str], set: &[(&str, &str)]| {
        let mut command = command(&["run", "--metrics-agent"]);
        let kept = vm.environment().into_iter().filter(|(name, _)| !leave_out.contains(name));
        command.env_clear().envs(kept).envs(set.iter().copied());
        outcome(&mut command).await
    };
    let (code, stdout, stderr) = run(&["INSTANCE_ID", "AGENT_KEY_FILE_PATH"], &[("ADDR", ""), ("TTL", "soon")]).await;
    assert_eq!((code, &*stdout), (2, ""));
    let expected = "missing required environment variables: ADDR, INSTANCE_ID, AGENT_KEY_FILE_PATH; set them as metrics-agent's job does\n\
        TTL: \"soon\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"\n";
    assert_eq!(stderr, expected);

    let (code, _, stderr) = outcome(&mut command(&["run", "--metrics-agent", "-c", "x.yml"])).await;
    let expected = "promferry: --metrics-agent reads everything from the environment, so -c cannot be given too; leave one of them out, \
        or write a section \"metrics_agent\" into the file\n";
    assert_eq!((code, &*stderr), (2, expected));

    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = run(&[], &[("METRICS_EXPORTER_PORT", &port)]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("cannot listen on [::]:{port}: ")), "{stderr}");
}

#[tokio::test]
async fn what_means_nothing_here_is_told_and_left_out() {
    let vm = Vm::new();
    let mut command = command(&["run", "--metrics-agent"]);
    let more = [("PPROF_PORT", "0"), ("DEBUG_METRICS", "true"), ("TTL", "5m")];
    command.env_clear().envs(vm.environment()).envs(more);
    let agent = vm.agent(Process::start(command).await);
    let told = agent.process.log.of("the environment is not taken over whole");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["note"], "DEBUG_METRICS, PPROF_PORT: these are settings of Go's runtime, and mean nothing here");
}

#[tokio::test]
async fn a_certificate_that_is_not_there_is_told_and_taken_when_it_comes() {
    let vm = Vm::new();
    let (certificate, away) = (vm.world.path("agent.crt"), vm.world.path("away.crt"));
    std::fs::rename(&certificate, &away).unwrap();
    let agent = vm.run().await;
    let told = agent.process.log.of("clients of this port are refused until its certificate can be used");
    let expected = format!("cert_file {} cannot be read: No such file or directory", certificate.display());
    let own = [agent.exporter().port(), agent.own_metrics().port()];
    let is_told = |port: u16| {
        told.iter()
            .any(|line| line["address"].as_str().unwrap().ends_with(&format!(":{port}")) && line["error"] == *expected)
    };
    assert!(own.into_iter().all(is_told), "{told:?}");
    std::fs::rename(away, certificate).unwrap();
    let tls = tokio_rustls::TlsConnector::from(vm.tls(Some(&vm.client), &["http/1.1"]));
    until("an answer", async || {
        let stream = TcpStream::connect(agent.exporter()).await.unwrap();
        let stream = tls.connect(SERVER_NAME.try_into().unwrap(), stream).await.ok()?;
        ask_over(stream, "GET", "/metrics", &[]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_and_everything_else_works() {
    let vm = Vm::new();
    std::fs::create_dir(vm.world.path("metric_targets.yml")).unwrap();
    let agent = vm.run().await;
    let told = "the targets file cannot be written; it is tried again every 15 s";
    until("the complaint", async || agent.process.log.of(told).pop()).await;
    assert_eq!(agent.get("/metrics").await.0, 200);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_does_not_hold_the_end() -> io::Result<()> {
    let vm = Vm::new();
    let agent = vm.run().await;
    let _idle = agent.connect(agent.exporter(), Some(&vm.client), &["h2"]).await;
    let _silent = TcpStream::connect(agent.exporter()).await?;
    let ended = agent.process.terminate().await;
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < std::time::Duration::from_secs(5), "{:?}", ended.took);
    Ok(())
}

#[tokio::test]
async fn a_port_that_was_in_use_is_tried_again_at_the_next_reload() {
    let vm = Vm::new();
    vm.world.configure("scrape_configs: []\noutputs: [{name: kept, file: {path: kept.jsonl}}]\nadmin: null\n");
    let process = vm.world.run().await;
    let busy = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [metrics, admin] = busy.each_ref().map(|listener| listener.local_addr().unwrap());
    let wanted = section("", "")
        .replace("metrics_listen: '127.0.0.1:0'", &format!("metrics_listen: '{metrics}'"))
        .replace("admin: {listen: '127.0.0.1:0'}", &format!("admin: {{listen: '{admin}'}}"));
    vm.world.configure(&wanted);
    process.signal("HUP");
    until("the reload", async || process.log.of("configuration reloaded").pop()).await;
    for told in ["the drop-in for metrics-agent cannot start, and is off", "the admin port cannot be had, and is off"] {
        assert_eq!(process.log.of(told).len(), 1, "{told}");
    }
    drop(busy);
    process.signal("HUP");
    until("the second reload", async || process.log.of("configuration reloaded").get(1).cloned()).await;
    assert_eq!(process.log.of("the drop-in for metrics-agent is running").len(), 1);
    let agent = vm.agent(process);
    assert_eq!(agent.get("/metrics").await.0, 200);
    TcpStream::connect(admin).await.unwrap();
}
