//! Certificates that change while the program runs: no restart, and nothing broken takes the place of what worked.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;

use crate::expose::client::{ask, ask_over};
use crate::support::bulk_server::BulkServer;
use crate::support::certificates::{Ca, Pair, write};
use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, until};

/// A target on the platform's authority, and a program that scrapes it.
async fn start(world: &World) -> (Exporter, Process) {
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, |nth| format!("scrape_number {nth}\n")).await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    world.ca.server(&["promferry", "127.0.0.1"]).write_to(world.folder(), "serve");
    world.configure(
        r#"
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
outputs:
  - name: everything
    expose:
      listen: "127.0.0.1:0"
      tls_config: {cert_file: serve.crt, key_file: serve.key, client_ca_file: ca.crt}
admin: {listen: "127.0.0.1:0"}
"#,
    );
    let promferry = world.run().await;
    promferry.until_up(&["gorouter"]).await;
    (exporter, promferry)
}

async fn until_scraped(exporter: &Exporter, times: usize) {
    let before = exporter.bodies().len();
    until("it is scraped", async || (exporter.bodies().len() >= before + times).then_some(())).await;
}

/// Complaints without what differs from run to run.
fn masked(world: &World, exporter: &Exporter, complaints: Vec<String>) -> Vec<String> {
    let (folder, address) = (world.folder().display().to_string(), exporter.address.to_string());
    complaints.into_iter().map(|told| told.replace(&folder, "FOLDER").replace(&address, "TARGET")).collect()
}

#[tokio::test]
async fn a_target_that_gets_a_new_certificate_of_the_same_authority_is_scraped_on() {
    let world = World::new();
    let (exporter, promferry) = start(&world).await;
    exporter.rotate(world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca))).await;
    until_scraped(&exporter, 3).await;
    assert_eq!(promferry.terminate().await.log.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_new_authority_is_trusted_when_its_file_is_there_and_not_before() {
    let (world, new) = (World::new(), Ca::named("new_ca"));
    let (exporter, promferry) = start(&world).await;
    exporter.rotate(new.server(&["127.0.0.1"]).server_config(Some(&world.ca))).await;
    until("it is down", async || (promferry.targets().await["gorouter"]["health"] == "down").then_some(())).await;

    // Half of a file is no authority; the old one goes on.
    std::fs::write(world.path("ca.crt"), &new.pem()[..200]).unwrap();
    let refused = "credentials cannot be used; the last good ones go on";
    until("half a file is refused", async || promferry.log.of(refused).pop()).await;
    write(world.folder(), "ca.crt", &(new.pem() + &world.ca.pem()));
    promferry.until_up(&["gorouter"]).await;
    until_scraped(&exporter, 3).await;

    let ended = promferry.terminate().await;
    assert_eq!(ended.log.of("credentials changed; the new ones are in use").len(), 1);
    assert_eq!(ended.log.of("target is up again").len(), 1);
    let complaints = masked(&world, &exporter, ended.log.complaints());
    let down = "target is down: TLS with TARGET: the server's certificate \"127.0.0.1\" was issued by \"CN=new_ca\", and ca_file \
                FOLDER/ca.crt holds only \"CN=metric_scraper_ca\"";
    let half = "ca_file FOLDER/ca.crt: a PEM section has no end; the file is cut short";
    assert_eq!(complaints, [down.to_owned(), format!("{refused}: {half}")]);
}

#[tokio::test]
async fn a_new_pair_is_shown_when_both_halves_are_there_and_the_old_one_until_then() {
    let world = World::new();
    let (exporter, promferry) = start(&world).await;
    let new = world.ca.client("new_scraper");

    write(world.folder(), "scrape.crt", &new.certificate_pem);
    let refused = "credentials cannot be used; the last good ones go on";
    until("half a pair is refused", async || promferry.log.of(refused).pop()).await;
    until_scraped(&exporter, 3).await;
    assert!(exporter.clients().iter().all(|shown| *shown == world.scraper.certificate), "the old one goes on");
    write(world.folder(), "scrape.key", &new.key_pem);
    until("the new one is shown", async || (exporter.clients().last() == Some(&new.certificate)).then_some(())).await;
    until_scraped(&exporter, 3).await;

    let ended = promferry.terminate().await;
    assert_eq!(ended.log.of("credentials changed; the new ones are in use").len(), 1);
    assert_eq!(
        masked(&world, &exporter, ended.log.complaints()),
        [format!(
            "{refused}: cert_file FOLDER/scrape.crt and key_file FOLDER/scrape.key do not belong together: the key is of \
             another certificate"
        )]
    );
    let clients = exporter.clients();
    let shown_first = clients.iter().position(|shown| *shown == new.certificate).unwrap();
    assert!(clients[shown_first..].iter().all(|shown| *shown == new.certificate), "no way back");
}

/// The certificate that the aggregate endpoint shows, after an exposition came over its connection.
async fn shown_by_aggregate(promferry: &Process, ca: &Ca, client: &Pair) -> CertificateDer<'static> {
    let outputs = promferry.outputs().await;
    let url = outputs["everything"]["urls"][0].as_str().unwrap();
    let (address, path) = url.split_at(url.find('/').unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_client_auth_cert(vec![client.certificate.clone()], key)
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("promferry").unwrap(), stream).await.unwrap();
    let answer = ask_over(&mut stream, "GET", path, &[]).await.unwrap();
    assert!(answer.body.contains("\nup{"), "{}", answer.body);
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn the_aggregate_endpoint_shows_a_new_certificate_when_both_halves_are_there() {
    let world = World::new();
    let (exporter, promferry) = start(&world).await;
    let client = world.ca.client("prometheus");
    let old = shown_by_aggregate(&promferry, &world.ca, &client).await;

    let new = world.ca.server(&["promferry", "127.0.0.1"]);
    write(world.folder(), "serve.key", &new.key_pem);
    let refused = "credentials cannot be used; the last good ones go on";
    until("half a pair is refused", async || {
        assert_eq!(shown_by_aggregate(&promferry, &world.ca, &client).await, old);
        promferry.log.of(refused).pop()
    })
    .await;
    write(world.folder(), "serve.crt", &new.certificate_pem);
    until("the new one is shown", async || {
        let shown = shown_by_aggregate(&promferry, &world.ca, &client).await;
        assert!(shown == old || shown == new.certificate);
        (shown == new.certificate).then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.of("credentials changed; the new ones are in use").len(), 1);
    assert_eq!(
        masked(&world, &exporter, ended.log.complaints()),
        [format!(
            "{refused}: cert_file FOLDER/serve.crt and key_file FOLDER/serve.key do not belong together: the key is of another \
             certificate"
        )]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_rolls_in_the_middle_of_a_scrape_costs_nothing_and_the_next_one_shows_the_new() {
    let world = World::new();
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    let body = move |nth| {
        if nth == 2 {
            asked.send(()).unwrap();
            may_go.recv().unwrap();
        }
        format!("scrape_number {nth}\n")
    };
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, body).await;
    world.configure(&format!(
        r#"
global: {{scrape_interval: 2s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: ["{}"], labels: {{source_id: gorouter}}}}]
outputs: [{{name: lines, file: {{path: lines.json}}}}]
admin: {{listen: "127.0.0.1:0"}}
"#,
        exporter.address
    ));
    let promferry = world.run().await;
    tokio::task::spawn_blocking(move || is_asked.recv().unwrap()).await.unwrap();
    let new = world.ca.client("metric_scraper");
    write(world.folder(), "scrape.key", &new.key_pem);
    write(world.folder(), "scrape.crt", &new.certificate_pem);
    go.send(()).unwrap();
    until_scraped(&exporter, 2).await;
    let clients = exporter.clients();
    assert_eq!(clients[..2], [world.scraper.certificate.clone(), world.scraper.certificate.clone()]);
    assert!(clients[2..].iter().all(|shown| *shown == new.certificate));

    let target = promferry.targets().await["gorouter"].clone();
    assert!(target["certificateNotAfter"].as_str().unwrap().ends_with('Z'), "{target}");
    let metrics = ask(promferry.admin, "GET", "/metrics", &[]).await.body;
    let file = world.path("scrape.crt");
    let own = format!("certificate_expiry_timestamp_seconds{{shown_as=\"client\",file=\"{}\"}} ", file.display());
    for metric in [own.as_str(), "target_certificate_expiry_timestamp_seconds{job=\"platform\"} "] {
        assert!(metrics.contains(&format!("\npromferry_{metric}")), "{metric}: {metrics}");
    }
    assert_eq!(promferry.terminate().await.log.complaints(), [""; 0]);
}

#[tokio::test]
async fn an_output_shows_a_new_pair_as_soon_as_it_is_there() {
    let (world, new) = (World::new(), Ca::named("new_ca"));
    // The receiver trusts only clients of the new authority.
    let receiver = BulkServer::start_tls(Vec::new(), world.ca.server(&["127.0.0.1"]).server_config(Some(&new))).await;
    world.ca.client("writer").write_to(world.folder(), "write");
    world.configure(&format!(
        r#"
scrape_configs: [{{job_name: nobody, static_configs: [{{targets: ["127.0.0.1:1"]}}], scrape_interval: 1s}}]
outputs:
  - name: search
    elasticsearch:
      urls: ["https://{}"]
      tls_config: {{ca_file: ca.crt, cert_file: write.crt, key_file: write.key}}
    batch: {{flush_interval: 50ms, flush_jitter: 0s}}
admin: {{listen: "127.0.0.1:0"}}
"#,
        receiver.address
    ));
    let promferry = world.run().await;
    until("it is refused", async || promferry.outputs().await["search"]["failing"].is_string().then_some(())).await;
    new.client("writer").write_to(world.folder(), "write");
    until("it delivers", async || {
        (promferry.outputs().await["search"]["ledger"]["delivered"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let ended = promferry.terminate().await;
    assert_eq!(ended.log.of("credentials changed; the new ones are in use").len(), 1);
    assert_eq!(ended.count("search", "dropped") + ended.count("search", "rejected"), 0);
}
