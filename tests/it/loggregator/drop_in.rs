//! `run --prom-scraper`: prom_scraper's environment, jobs that announce themselves, and an agent that comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::output::{Agent, Place};
use crate::expose::client::ask_over;
use crate::support::exporter::Exporter;
use crate::support::fake_target::{FakeTarget, Step, ok};
use crate::support::loggregator_client::{Envelope, Said};
use crate::support::world::{Process, World, command, outcome, until};

/// Says what an envelope says, without its time and value.
fn about(envelope: &Envelope) -> String {
    let said = match envelope.message.as_ref().unwrap() {
        Said::Counter(counter) => format!("counter {}", counter.name),
        Said::Gauge(gauge) => {
            let (name, value) = gauge.metrics.iter().next().unwrap();
            format!("gauge {name} {:?}", value.unit)
        }
        other => panic!("{other:?}"),
    };
    let tags: BTreeMap<_, _> = envelope.tags.iter().collect();
    format!("{} {} {tags:?} {said}", envelope.source_id, envelope.instance_id)
}

/// What the process says of itself to who has a certificate.
async fn own_metrics(world: &World, process: &Process) -> String {
    let pair = world.ca.client("scraper");
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(world.ca.roots());
    let config = builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap();
    let stream = TcpStream::connect(process.admin).await.unwrap();
    let name = ServerName::try_from("prom_scraper_metrics").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    ask_over(stream, "GET", "/metrics", &["host: 127.0.0.1"]).await.unwrap().body
}

/// An address of loopback that nobody has now.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_original_s_environment_brings_its_envelopes() {
    let world = World::new();
    let place = Place::new();
    let good = Exporter::start(world.ca.server(&["odd.service.internal"]).server_config(Some(&world.ca)), |nth| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"0.1\"}} {nth}\nh_bucket{{le=\"+Inf\"}} {nth}\nh_sum 1\nh_count {nth}\n\
             # TYPE g gauge\ng{{source_id=\"some-app\",unit=\"ms\"}} 7 1000\n"
        )
    })
    .await;
    world.deploy(
        "odd",
        "1",
        &format!(
            "port: {}\nscheme: https\nserver_name: odd.service.internal\nsource_id: odd-good\ninstance_id: inst-good\n\
             labels: {{deployment: mine, origin: odd}}\n",
            good.port()
        ),
    );
    let bare = FakeTarget::start(Step::Answer(ok("# TYPE c counter\nc_total 12.9\n"))).await;
    world.deploy("bare", "1", &format!("port: {}\n", bare.address.port()));
    world.deploy("off", "1", "port: 1\nscrape_interval: 0s\n");

    let address = free_address().await;
    world.ca.server(&["prom_scraper_metrics"]).write_to(world.folder(), "metrics");
    let file = |name: &str| world.path(name);
    let mut promferry = command(&["run", "--prom-scraper"]);
    promferry
        .env("CLIENT_KEY_PATH", place.folder.path().join("client.key"))
        .env("CLIENT_CERT_PATH", place.folder.path().join("client.crt"))
        .env("CA_CERT_PATH", place.folder.path().join("ca.crt"))
        .env("SCRAPE_KEY_PATH", file("scrape.key"))
        .env("SCRAPE_CERT_PATH", file("scrape.crt"))
        .env("SCRAPE_CA_CERT_PATH", file("ca.crt"))
        .env("LOGGREGATOR_AGENT_ADDR", address.to_string())
        .env("DEFAULT_SOURCE_ID", "prom_scraper")
        .env("CONFIG_GLOBS", file("jobs/*/config/prom_scraper_config.yml"))
        .env("SCRAPE_INTERVAL", "200ms")
        .env("METRICS_PORT", "0")
        .env("METRICS_CA_FILE_PATH", file("ca.crt"))
        .env("METRICS_CERT_FILE_PATH", file("metrics.crt"))
        .env("METRICS_KEY_FILE_PATH", file("metrics.key"));
    let process = Process::start(promferry).await;
    until("it cannot deliver", async || process.log.of("output cannot deliver; samples wait and are sent again").pop())
        .await;

    let agent = Agent::new();
    let server = agent.listen(&place, address).await;
    let tags = |more: &str| format!("{{\"deployment\": \"mine\", {more}\"origin\": \"odd\"}}");
    let odd = |tags: &str, said: &str| format!("odd-good inst-good {tags} {said}");
    let expected = BTreeSet::from([
        odd(&tags("\"le\": \"0.1\", "), "counter h_bucket"),
        odd(&tags("\"le\": \"+Inf\", "), "counter h_bucket"),
        odd(&tags(""), "gauge h_sum \"\""),
        odd(&tags(""), "counter h_count"),
        format!("some-app inst-good {} gauge g \"ms\"", tags("")),
        "prom_scraper  {} counter c_total".to_owned(),
    ]);
    until("all series are there", async || {
        let taken: BTreeSet<String> = agent.notes().taken.iter().map(about).collect();
        assert!(taken.is_subset(&expected), "{taken:#?}");
        (taken == expected).then_some(())
    })
    .await;
    let metrics = own_metrics(&world, &process).await;
    for expected in [
        "\nscrape_targets_total 2\n",
        "\nfailed_scrapes_total{scrape_target_source_id=\"\"} 0\n",
        "\nfailed_scrapes_total{scrape_target_source_id=\"odd-good\"} 0\n",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    let ended = process.terminate().await;
    server.stop(Duration::ZERO).await;
    assert!(ended.status.success());
    let taken = agent.notes().taken.len() as u64;
    assert_eq!((ended.count("loggregator", "delivered"), ended.count("loggregator", "dropped")), (taken, 0));
    assert_eq!(ended.count("loggregator", "offered"), taken + ended.count("loggregator", "skipped"));
    // What was scraped before the agent came is there with the time at which it was scraped.
    let notes = agent.notes();
    let first = notes.taken.iter().map(|envelope| envelope.timestamp).min().unwrap();
    assert!(first / 1_000_000 <= good.times_ms()[0] + 1000, "{first}");
}

#[tokio::test]
async fn an_output_that_comes_back_waits_until_it_has_left() {
    let (place, world) = (Place::new(), World::new());
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let target = Exporter::start(tls, |nth| format!("# TYPE g gauge\ng {nth}\n"));
    let (target, address) = (target.await, free_address().await);
    let file = |name: &str| place.folder.path().join(name).display().to_string();
    let without = format!(
        "global: {{scrape_interval: 50ms}}\nscrape_configs:\n- job_name: j\n  scheme: https\n  scrape_metrics: false\n  \
         tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}\n  \
         static_configs: [{{targets: ['{}']}}]\nadmin: null\noutputs:\n- {{name: kept, file: {{path: kept.jsonl}}}}\n",
        target.address
    );
    let with = format!(
        "{without}- name: firehose\n  batch: {{flush_interval: 1ms, flush_jitter: 0s}}\n  \
         loggregator: {{address: '{address}', tls_config: {{ca_file: '{}', cert_file: '{}', key_file: '{}'}}}}\n",
        file("ca.crt"),
        file("client.crt"),
        file("client.key")
    );
    world.configure(&with);
    let process = world.run().await;
    until("it waits before it tries again", async || {
        process.log.of("output cannot deliver; samples wait and are sent again").pop()
    })
    .await;
    let agent = Agent::new();
    let server = agent.listen(&place, address).await;
    for (nth, yaml) in [&without, &with].into_iter().enumerate() {
        world.configure(yaml);
        process.signal("HUP");
        until("the reload", async || process.log.of("configuration reloaded").get(nth).cloned()).await;
    }
    let before = target.bodies().len();
    until("more scrapes", async || (target.bodies().len() > before + 5).then_some(())).await;
    let ended = process.terminate().await;
    server.stop(Duration::ZERO).await;
    assert!(ended.status.success());
    let times: Vec<i64> = agent.notes().taken.iter().map(|envelope| envelope.timestamp).collect();
    assert!(times.len() > 5 && times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn all_that_is_missing_is_told_at_once() {
    let (code, _, stderr) = outcome(&mut command(&["run", "--prom-scraper"])).await;
    assert_eq!(code, 2);
    let names = "LOGGREGATOR_AGENT_ADDR, DEFAULT_SOURCE_ID, CA_CERT_PATH, CLIENT_CERT_PATH, CLIENT_KEY_PATH";
    let expected = format!("missing required environment variables: {names}; set them as prom_scraper's job does\n");
    assert_eq!(stderr, expected);
    let (code, _, stderr) = outcome(&mut command(&["run", "--prom-scraper", "-c", "x.yml"])).await;
    assert!(
        code == 2 && stderr.starts_with("promferry: --prom-scraper reads everything from the environment"),
        "{stderr}"
    );
}
