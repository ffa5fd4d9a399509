//! `promferry probe`: what it tells of a target, well or not, and what a hostile one cannot do to a terminal.

use std::net::TcpListener;
use std::sync::Arc;

use rcgen::date_time_ymd;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use serde_json::Value as Json;

use crate::support::certificates::{Ca, Pair};
use crate::support::exporter::Exporter;
use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};
use crate::support::world::{World, command, outcome};

/// Runs a probe in the world's folder; exit code, stdout and stderr.
async fn probe(world: &World, arguments: &[&str]) -> (i32, String, String) {
    outcome(command(&[&["probe"][..], arguments].concat()).current_dir(world.folder())).await
}

/// The object that it prints for scripts.
async fn json(world: &World, arguments: &[&str]) -> (i32, Json) {
    let (code, out, err) = probe(world, &[arguments, &["--json"]].concat()).await;
    assert_eq!(err, "");
    assert_eq!(out.lines().count(), 1, "{out}");
    (code, serde_json::from_str(&out).unwrap())
}

/// What stands in each row of this name.
fn rows<'o>(out: &'o str, name: &str) -> Vec<&'o str> {
    let named = |line: &'o str| line.trim_start().strip_prefix(name)?.strip_prefix(' ').map(str::trim_start);
    out.lines().filter(|line| line.starts_with("  ")).filter_map(named).collect()
}

fn row<'o>(out: &'o str, name: &str) -> &'o str {
    match rows(out, name).as_slice() {
        [row] => row,
        rows => panic!("{name}: {rows:?} in\n{out}"),
    }
}

/// Its advice, a sentence each.
fn advice(object: &Json) -> Vec<&str> {
    object["advice"].as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect()
}

const BODY: &str = "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{path=\"/a\",code=\"200\"} 1\n\
                    requests_total{path=\"/b\",code=\"200\"} 2\nrequests_total{path=\"/c\",code=\"500\"} 3\nbare 4\n";

async fn exporter(world: &World, name: &str) -> Exporter {
    let tls = world.ca.server(&[name]).server_config(Some(&world.ca));
    Exporter::start(tls, |_| BODY.to_owned()).await
}

/// Client certificate and authority of the world.
const MUTUAL: [&str; 6] = ["--ca", "ca.crt", "--cert", "scrape.crt", "--key", "scrape.key"];

#[tokio::test]
async fn a_scrape_is_explained() {
    let world = World::new();
    let exporter = exporter(&world, "gorouter_metrics").await;
    let url = format!("https://{}/metrics", exporter.address);
    let arguments = [&[url.as_str()][..], &MUTUAL, &["--server-name", "gorouter_metrics"]].concat();
    let (code, out, err) = probe(&world, &arguments).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with(&format!("{url}: up\n")), "{out}");
    assert_eq!(row(&out, "address"), exporter.address.to_string());
    assert!(row(&out, "TLS").starts_with("TLS 1.3, TLS13_"), "{out}");
    assert!(row(&out, "TLS").ends_with(", asked for \"gorouter_metrics\""), "{out}");
    assert_eq!(row(&out, "certificate"), "CN=gorouter_metrics, signed by CN=metric_scraper_ca");
    assert_eq!(row(&out, "names"), "gorouter_metrics");
    assert_eq!(row(&out, "key"), "EC P-256, ECDSA with SHA-256");
    assert_eq!(row(&out, "trusted"), "ca_file ca.crt, 1 authority");
    assert!(row(&out, "of them").starts_with("CN=metric_scraper_ca, "), "{out}");
    assert!(row(&out, "our own").ends_with("; the server asked for it"), "{out}");
    assert_eq!(row(&out, "format"), "text, by its Content-Type");
    let samples = "  samples      4, 4 after relabelling, in 2 families\n         3 requests_total (counter)\n         1 bare \
                   (no type)\n  labels       with the most values\n         3 path, such as \"/a\"\n         2 code, such as \
                   \"200\"\n";
    assert!(out.contains(samples), "{out}");
    assert!(row(&out, "advice").starts_with("Without a type (# TYPE): 1 of 2 families."), "{out}");
    // The address is no name: nobody is asked for it.
    let stages: Vec<_> = row(&out, "time").split(": ").nth(1).unwrap().split(", ").collect();
    let begins = ["connect ", "TLS ", "first byte ", "body "];
    assert!(stages.len() == 4 && stages.iter().zip(begins).all(|(stage, begin)| stage.starts_with(begin)), "{out}");

    // The same by what announces it.
    world.configure(
        "scrape_configs:\n  - job_name: platform\n    scheme: https\n    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, \
         key_file: scrape.key}\n    prom_scraper_sd_configs:\n      - files: [\"FOLDER/jobs/*/config/prom_scraper_config.yml\"]\n\
         outputs:\n  - name: lines\n    file: {path: samples.jsonl}\n",
    );
    world.deploy("gorouter", "1", &format!("port: {}\nserver_name: gorouter_metrics\n", exporter.port()));
    let (code, by_source, _) = probe(&world, &["--source", "gorouter", "-c", "promferry.yml"]).await;
    assert_eq!(code, 0);
    assert_eq!(row(&by_source, "samples"), "4, 4 after relabelling, in 2 families");
    let (code, _, err) = probe(&world, &["--source", "uaa", "-c", "promferry.yml"]).await;
    assert_eq!(code, 1);
    assert_eq!(err, "promferry: none of the 1 targets has the source_id \"uaa\"; see promferry targets\n");
}

#[tokio::test]
async fn scripts_get_an_object_with_the_keys_of_the_docs() {
    let world = World::new();
    let exporter = exporter(&world, "localhost").await;
    let url = format!("https://localhost:{}/metrics?x=y", exporter.port());
    let (code, object) = json(&world, &[&[url.as_str()][..], &MUTUAL].concat()).await;
    assert_eq!(code, 0, "{object}");
    let keys = |object: &Json| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let documented = std::fs::read_to_string(format!("{}/docs/tools.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for key in [keys(&object), keys(&object["tls"]), keys(&object["answer"]), keys(&object["samples"])].concat() {
        assert!(documented.contains(&format!("`{key}`")), "{key} is documented");
    }
    assert_eq!((&object["url"], &object["up"], &object["error"]), (&url.into(), &true.into(), &Json::Null));
    let phases: Vec<_> = object["phases"].as_array().unwrap().iter().map(|phase| &phase["phase"]).collect();
    assert_eq!(phases, ["resolve", "connect", "tls_handshake", "first_byte", "body"]);
    assert!(object["phases"].as_array().unwrap().iter().all(|phase| phase["complete"] == true));
    let sum: f64 = object["phases"].as_array().unwrap().iter().map(|phase| phase["seconds"].as_f64().unwrap()).sum();
    assert!(sum > 0.0 && sum <= object["seconds"].as_f64().unwrap(), "{object}");
    let tls = &object["tls"];
    assert_eq!((&tls["version"], &tls["server_name"]), (&"TLS 1.3".into(), &"localhost".into()));
    assert_eq!(tls["chain"][0]["names"], serde_json::json!(["localhost"]));
    assert_eq!((&tls["trusted"]["by"], &tls["trusted"]["file"]), (&"ca_file".into(), &"ca.crt".into()));
    assert_eq!(tls["trusted"]["authorities"][0]["subject"], "CN=metric_scraper_ca");
    assert_eq!(
        (&tls["client_certificate_asked"], &tls["client_certificate"]["file"]),
        (&true.into(), &"scrape.crt".into())
    );
    assert_eq!((&object["answer"]["status"], &object["answer"]["bytes"]), (&200.into(), &BODY.len().into()));
    assert_eq!((&object["samples"]["scraped"], &object["samples"]["families"]), (&4.into(), &2.into()));
    assert_eq!(object["families"][0], serde_json::json!({"name": "requests_total", "type": "counter", "samples": 3}));
    assert_eq!(
        object["labels"][0],
        serde_json::json!({"name": "path", "values": 3, "at_least": false, "example": "/a"})
    );
}

#[tokio::test]
async fn a_certificate_that_expired_is_shown_with_what_to_do() {
    let world = World::new();
    let expired = world.ca.server_with(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2025, 3, 4));
    let target = FakeTarget::start_tls(expired.server_config(None), Step::Answer(ok("a 1\n"))).await;
    let url = format!("https://{}/metrics", target.address);
    let (code, out, err) = probe(&world, &[&url, "--ca", "ca.crt"]).await;
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.starts_with(&format!("{url}: down\n")), "{out}");
    assert!(row(&out, "time").contains(": connect ") && row(&out, "time").contains(", TLS failed after "), "{out}");
    assert!(row(&out, "TLS").starts_with("not agreed on, "), "{out}");
    assert_eq!(row(&out, "certificate"), "CN=127.0.0.1, signed by CN=metric_scraper_ca");
    assert!(row(&out, "valid").contains(" to 2025-03-04T00:00:00Z, ended "), "{out}");
    let tail = format!(
        "  failed       TLS with {}: the server's certificate \"127.0.0.1\" expired at 2025-03-04T00:00:00Z\n  advice       \
         Have the certificate renewed where the target runs, and the target restarted if it does not read it again.\n",
        target.address
    );
    assert!(out.ends_with(&tail), "{out}");
}

/// A server that sends this chain.
fn sends(leaf: &Pair, chain: Vec<CertificateDer<'static>>) -> Arc<ServerConfig> {
    let mut config = (*leaf.server_config(None)).clone();
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    config.into()
}

#[tokio::test]
async fn an_authority_of_the_chain_that_expired_is_not_the_targets_certificate() {
    let world = World::new();
    let between = world.ca.intermediate("between", |params| params.not_after = date_time_ymd(2025, 3, 4));
    let leaf = between.server(&["127.0.0.1"]);
    let config = sends(&leaf, vec![leaf.certificate.clone(), between.certificate()]);
    let target = FakeTarget::start_tls(config, Step::Answer(ok("a 1\n"))).await;
    let (code, out, _) = probe(&world, &[&format!("https://{}/metrics", target.address), "--ca", "ca.crt"]).await;
    assert_eq!(code, 1);
    let sentence =
        "an authority that the server sent with its certificate \"127.0.0.1\" expired at 2025-03-04T00:00:00Z";
    assert!(row(&out, "failed").ends_with(sentence), "{out}");
    assert!(row(&out, "advice").starts_with("Have what the target sends beside its certificate replaced"), "{out}");
}

#[tokio::test]
async fn what_nobody_signed_is_pinned_and_not_put_into_ca_file() {
    let world = World::new();
    let alone = Pair::self_signed(&["127.0.0.1"]);
    let target = FakeTarget::start_tls(alone.server_config(None), Step::Answer(ok("a 1\n"))).await;
    let (code, out, _) = probe(&world, &[&format!("https://{}/metrics", target.address), "--ca", "ca.crt"]).await;
    assert_eq!(code, 1);
    assert!(row(&out, "failed").ends_with(&format!("to trust it alone set pin_sha256: {}", alone.pin())), "{out}");
    assert!(rows(&out, "advice").is_empty(), "{out}");
}

#[tokio::test]
async fn a_chain_is_shown_whole_and_the_ends_of_its_parts_are_named() {
    let world = World::new();
    let mut soon = rcgen::date_time_ymd(1970, 1, 1);
    soon += std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    soon += std::time::Duration::from_secs(12 * 86_400 + 3600);
    let leaf = world.ca.server_with(&["127.0.0.1"], |params| params.not_after = soon);
    let ours = Ca::named("another");
    let extra = ours.server(&["intermediate"]);
    let config = sends(&leaf, vec![leaf.certificate.clone(), extra.certificate.clone()]);
    let target = FakeTarget::start_tls(config, Step::Answer(ok("# TYPE a gauge\na 1\n"))).await;
    let url = format!("https://{}/metrics", target.address);
    let (code, object) = json(&world, &[&url, "--ca", "ca.crt"]).await;
    assert_eq!(code, 0, "{object}");
    let subjects: Vec<_> = object["tls"]["chain"].as_array().unwrap().iter().map(|link| &link["subject"]).collect();
    assert_eq!(subjects, ["CN=127.0.0.1", "CN=intermediate"]);
    assert_eq!(object["tls"]["chain"][0]["days_left"], 12);
    assert_eq!(object["tls"]["client_certificate_asked"], false);
    let expected = ["The server's certificate \"127.0.0.1\" expires in 12 days: have it renewed."];
    assert_eq!(advice(&object), expected);
    // Nobody is trusted: that is said, with what would be better.
    let (_, object) = json(&world, &[&url, "--insecure-skip-verify"]).await;
    let last = *advice(&object).last().unwrap();
    assert!(
        last.starts_with("Anybody can pretend to be this target (insecure_skip_verify): set pin_sha256: "),
        "{last}"
    );
}

#[tokio::test]
async fn what_failed_says_what_to_change() {
    let world = World::new();
    let exporter = exporter(&world, "gorouter_metrics").await;
    let url = format!("https://{}/metrics", exporter.address);
    let (code, out, _) = probe(&world, &[&url, "--ca", "ca.crt"]).await;
    assert_eq!(code, 1);
    assert!(out.contains("is for \"gorouter_metrics\", not for \"127.0.0.1\"; set server_name"), "{out}");
    let (code, out, _) = probe(&world, &[&url, "--ca", "ca.crt", "--server-name", "gorouter_metrics"]).await;
    assert_eq!(code, 1);
    assert!(row(&out, "failed").contains("the server wants a client certificate, and none is configured"), "{out}");
    assert_eq!(row(&out, "our own"), "none, and the server asked for one");
    let (code, _, err) = probe(&world, &["https://user:secret@127.0.0.1/metrics"]).await;
    assert_eq!(code, 2);
    assert!(!err.contains("secret"), "{err}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, object) = json(&world, &[&format!("http://{closed}")]).await;
    assert_eq!((code, &object["up"], &object["address"]), (1, &false.into(), &Json::Null));
    assert_eq!(object["error"]["kind"], "connect");
    assert_eq!((&object["phases"][0]["phase"], &object["phases"][0]["complete"]), (&"connect".into(), &false.into()));
    assert_eq!(advice(&object), [object["error"]["advice"].as_str().unwrap()]);
    assert_eq!((&object["tls"], &object["answer"], &object["samples"]), (&Json::Null, &Json::Null, &Json::Null));
}

#[tokio::test]
async fn a_slow_answer_fails_in_the_phase_that_was_slow() {
    let world = World::new();
    let silent = FakeTarget::start(Step::ThenHang(Vec::new())).await;
    let (code, object) = json(&world, &[&format!("http://{}/metrics", silent.address), "--timeout", "1"]).await;
    assert_eq!((code, &object["error"]["kind"]), (1, &"timeout".into()));
    let phases: Vec<_> = object["phases"].as_array().unwrap().iter().collect();
    assert_eq!((&phases[0]["phase"], &phases[0]["complete"]), (&"connect".into(), &true.into()));
    assert_eq!((&phases[1]["phase"], &phases[1]["complete"]), (&"first_byte".into(), &false.into()));
    assert!(phases[1]["seconds"].as_f64().unwrap() > 0.5, "{object}");
    // A handshake that never comes.
    let mute = FakeTarget::start(Behaviour::Silent).await;
    let url = format!("https://{}/metrics", mute.address);
    let (code, out, _) = probe(&world, &[&url, "--timeout", "1", "--ca", "ca.crt"]).await;
    assert_eq!(code, 1);
    assert!(row(&out, "time").contains(", TLS failed after "), "{out}");
    // An answer that is no exposition came whole.
    let lost = FakeTarget::start(Step::Answer(answer("404 Not Found", "", b"no"))).await;
    let (code, object) = json(&world, &[&format!("http://{}/metrics", lost.address)]).await;
    assert_eq!((code, &object["error"]["kind"]), (1, &"status".into()));
    assert!(object["phases"].as_array().unwrap().iter().all(|phase| phase["complete"] == true), "{object}");
}

#[tokio::test]
async fn a_hostile_target_moves_no_cursor() {
    let world = World::new();
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}\u{7}";
    let body = format!(
        "# HELP a {hostile}\n# TYPE a gauge\na{{x=\"{hostile}\"}} 1\na{{x=\"y\"}} 2\n{{\"{hostile}\"}} 3\n{hostile} 4\n\
         b{{l=\"{}\"}} 1\n",
        "v".repeat(5000)
    );
    // A header cannot hold those below 0x20.
    let head = "content-type: text/plain; version=1.0.0; x=\u{9b}31m\u{202e}\r\n";
    let target = FakeTarget::start(Step::Answer(answer("200 OK", head, body.as_bytes()))).await;
    let named = Pair::self_signed(&["127.0.0.1"]);
    let refused = FakeTarget::start_tls(named.server_config(None), Step::Answer(ok("a 1\n"))).await;
    for url in [format!("http://{}/metrics", target.address), format!("https://{}/metrics", refused.address)] {
        for arguments in [&[url.as_str()][..], &[&url, "--json"], &[&url, "--ca", "ca.crt"]] {
            let (_, out, err) = probe(&world, arguments).await;
            let is_obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!out.contains(is_obeyed) && !err.contains(is_obeyed), "{out:?} {err:?}");
            assert!(out.lines().all(|line| line.len() < 4000), "{out}");
        }
    }
    let (code, out, _) = probe(&world, &[&format!("http://{}/metrics", target.address)]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("x, such as \"\\u{1b}[2J\\u{9b}31m\\u{202e}\\u{7}\"\n"), "{out}");
}

#[tokio::test]
async fn colour_is_for_whoever_sees_it() {
    let world = World::new();
    let target = FakeTarget::start(Step::Answer(ok("a 1\nb{x= 2\n"))).await;
    let url = format!("http://{}/metrics", target.address);
    let (_, plain, _) = probe(&world, &[&url]).await;
    assert!(!plain.contains('\u{1b}'), "stdout is no terminal: {plain}");
    let (_, coloured, _) = probe(&world, &[&url, "--color", "always"]).await;
    assert!(coloured.contains("\u{1b}[32mup\u{1b}[0m"), "{coloured}");
    assert!(coloured.contains("\u{1b}[33m1, skipped; the first of them:\u{1b}[0m"), "{coloured}");
    let (_, plain, _) = probe(&world, &[&url, "--color", "never"]).await;
    assert!(!plain.contains('\u{1b}'), "{plain}");
}

#[tokio::test]
async fn labels_with_very_many_values_are_named() {
    let world = World::new();
    let body: String = (0..1500).map(|n| format!("a{{id=\"{n}\",b=\"c\"}} 1\n")).collect();
    let target = FakeTarget::start(Step::Answer(ok(&format!("# TYPE a gauge\n{body}a{{id=\"7\",b=\"c\"}} 1\n")))).await;
    let (code, object) = json(&world, &[&format!("http://{}/metrics", target.address)]).await;
    assert_eq!(code, 0);
    assert_eq!((&object["labels"][0]["name"], &object["labels"][0]["values"]), (&"id".into(), &1500.into()));
    assert_eq!(object["samples"]["duplicates"], 1);
    let advice = advice(&object);
    assert!(advice.iter().any(|sentence| sentence.starts_with("1 samples come twice")), "{advice:?}");
    assert!(advice.iter().any(|sentence| sentence.starts_with("The label \"id\" has 1500 values")), "{advice:?}");
}

#[tokio::test]
async fn a_redirect_and_a_compressed_body_are_told() {
    let world = World::new();
    let body = "# TYPE a gauge\na 1\n".repeat(100);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let elsewhere = Step::Answer(answer("302 Found", "location: /elsewhere\r\n", b""));
    let head = "content-type: text/plain; version=0.0.4\r\ncontent-encoding: gzip\r\n";
    let steps = vec![elsewhere, Step::Answer(answer("200 OK", head, &gzip))];
    let target = FakeTarget::start(Behaviour::Steps(steps)).await;
    let (code, object) = json(&world, &[&format!("http://{}/metrics", target.address)]).await;
    assert_eq!(code, 0, "{object}");
    assert_eq!(object["redirected_to"], format!("http://{}/elsewhere", target.address));
    let bytes = (&object["answer"]["bytes"], &object["answer"]["wire_bytes"]);
    assert_eq!(bytes, (&body.len().into(), &gzip.len().into()));
    let phases: Vec<_> = object["phases"].as_array().unwrap().iter().map(|phase| &phase["phase"]).collect();
    assert_eq!(phases, ["connect", "first_byte", "body"], "each once, over one connection");
    assert!(advice(&object)[0].starts_with("Each scrape is redirected to "), "{object}");
}
