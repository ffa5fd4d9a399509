//! TLS as an operator meets it: what works, and the sentence for each thing that does not.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use promferry::net::credentials::Credentials;
use promferry::net::tls::{ServerTls, TlsSettings, TlsVersion};
use rcgen::{KeyPair, date_time_ymd};
use tracing::Level;

use crate::support::certificates::{Ca, Pair, write};
use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};
use crate::support::logs::Logs;
use crate::support::scraping::{client, failure, scrape, scrape_within, target, tls_target};

const BODY: &str = "up_since 1\n";

async fn serving(pair: &Pair) -> FakeTarget {
    FakeTarget::start_tls(pair.server_config(None), Step::Answer(ok(BODY))).await
}

fn trusting(ca_file: &Path) -> TlsSettings {
    TlsSettings { ca_file: Some(ca_file.to_owned()), ..TlsSettings::default() }
}

fn showing(folder: &Path, ca: &Ca, pair: &Pair) -> TlsSettings {
    let (cert_file, key_file) = pair.write_to(folder, "client");
    TlsSettings { cert_file: Some(cert_file), key_file: Some(key_file), ..trusting(&ca.write_to(folder)) }
}

fn named(tls: TlsSettings, name: &str) -> TlsSettings {
    TlsSettings { server_name: Some(name.into()), ..tls }
}

#[tokio::test]
async fn the_name_to_verify_is_apart_from_the_address() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = serving(&ca.server(&["metrics_agent_metrics"])).await;
    let mut client =
        client(tls_target(server.address, named(trusting(&ca.write_to(folder.path())), "metrics_agent_metrics")));

    let (head, body) = scrape_within(&mut client, Duration::from_secs(30)).await.unwrap();

    assert_eq!(body, BODY);
    let tls = head.peer.tls.unwrap();
    assert_eq!((tls.version, tls.server_name.as_str()), ("TLS 1.3", "metrics_agent_metrics"));
    assert_eq!(tls.certificate.unwrap().names, ["metrics_agent_metrics"]);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_by_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = Ca::named("right ca").write_to(folder.path());
    let server = serving(&Ca::named("wrong ca").server(&["127.0.0.1"])).await;
    assert_eq!(
        failure(tls_target(server.address, trusting(&ca_file))).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" was issued by \"CN=wrong ca\", and ca_file {} holds only \
             \"CN=right ca\"",
            server.address,
            ca_file.display()
        )
    );
}

#[tokio::test]
async fn an_authority_that_was_renewed_is_told_from_a_foreign_one() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = Ca::new().write_to(folder.path());
    let server = serving(&Ca::new().server(&["127.0.0.1"])).await;
    assert_eq!(
        failure(tls_target(server.address, trusting(&ca_file))).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" was issued by \"CN=test ca\", and ca_file {} holds an \
             authority of that name with another key: one of the two is older than the other",
            server.address,
            ca_file.display()
        )
    );
}

#[tokio::test]
async fn certificates_outside_their_time_say_when() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let tls = trusting(&ca.write_to(folder.path()));
    let old = ca.server_with(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2020, 2, 3));
    let server = serving(&old).await;
    assert_eq!(
        failure(tls_target(server.address, tls.clone())).await,
        format!("TLS with {}: the server's certificate \"127.0.0.1\" expired at 2020-02-03T00:00:00Z", server.address)
    );
    let young = ca.server_with(&["127.0.0.1"], |params| params.not_before = date_time_ymd(3000, 1, 1));
    let server = serving(&young).await;
    assert_eq!(
        failure(tls_target(server.address, tls)).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" is not valid before 3000-01-01T00:00:00Z; is a clock wrong?",
            server.address
        )
    );
}

#[tokio::test]
async fn a_wrong_name_says_what_the_names_are() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = serving(&ca.server(&["gorouter", "gorouter.service.internal"])).await;
    assert_eq!(
        failure(tls_target(server.address, trusting(&ca.write_to(folder.path())))).await,
        format!(
            "TLS with {}: the server's certificate is for \"gorouter\", \"gorouter.service.internal\", not for \
             \"127.0.0.1\"; set server_name to a name that it has",
            server.address
        )
    );
}

#[tokio::test]
async fn a_common_name_alone_does_not_count_and_a_pin_helps() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let pair = ca.server_with(&["gorouter"], |params| params.subject_alt_names.clear());
    let server = serving(&pair).await;
    assert_eq!(
        failure(tls_target(server.address, named(trusting(&ca.write_to(folder.path())), "gorouter"))).await,
        format!(
            "TLS with {}: the server's certificate carries only the common name \"gorouter\" and no subjectAltName; have it \
             reissued for \"gorouter\", or trust it alone with pin_sha256: {}",
            server.address,
            pair.pin()
        )
    );
    let pinned = TlsSettings { pin_sha256: Some(pair.pin().0), ..TlsSettings::default() };
    assert_eq!(scrape(&mut client(tls_target(server.address, pinned))).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn a_leaf_is_no_authority_and_a_pin_helps() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Ca::new().server(&["127.0.0.1"]);
    let server = serving(&pair).await;
    let (leaf_file, _) = pair.write_to(folder.path(), "server");
    assert_eq!(
        failure(tls_target(server.address, trusting(&leaf_file))).await,
        format!(
            "TLS with {}: ca_file {} holds the server's own certificate \"127.0.0.1\", which is no authority; to trust it \
             alone set pin_sha256: {}",
            server.address,
            leaf_file.display(),
            pair.pin()
        )
    );
    let pinned = TlsSettings { pin_sha256: Some(pair.pin().0), ..trusting(&leaf_file) };
    assert_eq!(scrape(&mut client(tls_target(server.address, pinned))).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn a_pin_trusts_one_certificate_and_no_other() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let pair = ca.server(&["127.0.0.1"]);
    let server = serving(&pair).await;
    let other = TlsSettings { pin_sha256: Some([7; 32]), ..trusting(&ca.write_to(folder.path())) };
    assert_eq!(
        failure(tls_target(server.address, other)).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" is not the one of pin_sha256; its SHA-256 is {}",
            server.address,
            pair.pin()
        )
    );
}

#[tokio::test]
async fn a_self_signed_server_says_its_pin_and_can_be_taken_unverified() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let pair = Pair::self_signed(&["127.0.0.1"]);
    let server = serving(&pair).await;
    let tls = trusting(&ca.write_to(folder.path()));
    assert_eq!(
        failure(tls_target(server.address, tls.clone())).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" is self-signed, and ca_file {} holds only \"CN=test ca\"; to \
             trust it alone set pin_sha256: {}",
            server.address,
            tls.ca_file.as_ref().unwrap().display(),
            pair.pin()
        )
    );
    let unverified = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    assert_eq!(scrape(&mut client(tls_target(server.address, unverified))).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_says_so_in_both_versions() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let tls = trusting(&ca.write_to(folder.path()));
    let pair = ca.server(&["127.0.0.1"]);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = pair.server_config_of(Some(&ca), &[version]);
        let server = FakeTarget::start_tls(config, Step::Answer(ok(BODY))).await;
        assert_eq!(
            failure(tls_target(server.address, tls.clone())).await,
            format!(
                "TLS with {}: the server wants a client certificate, and none is configured (cert_file, key_file)",
                server.address
            )
        );
    }
}

/// Older servers have no alert of that name.
#[tokio::test]
async fn a_general_alert_is_most_likely_about_the_client_certificate() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let handshake_failure = vec![21, 3, 3, 0, 2, 2, 40];
    let server = FakeTarget::start(Behaviour::Babble(handshake_failure)).await;
    assert_eq!(
        failure(tls_target(server.address, trusting(&ca.write_to(folder.path())))).await,
        format!(
            "TLS with {}: the server refuses the handshake; most likely it wants a client certificate, and none is \
             configured (cert_file, key_file)",
            server.address
        )
    );
}

#[tokio::test]
async fn a_client_certificate_of_a_foreign_authority_is_named() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server =
        FakeTarget::start_tls(ca.server(&["127.0.0.1"]).server_config(Some(&ca)), Step::Answer(ok(BODY))).await;
    let tls = showing(folder.path(), &ca, &Ca::named("foreign ca").client("prom_scraper"));
    assert_eq!(
        failure(tls_target(server.address, tls)).await,
        format!(
            "TLS with {}: the server does not trust who issued our client certificate \"prom_scraper\": \"CN=foreign ca\"",
            server.address
        )
    );
    let tls = showing(folder.path(), &ca, &ca.client("prom_scraper"));
    assert_eq!(scrape(&mut client(tls_target(server.address, tls))).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn plain_http_and_tls_are_told_apart() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let tls = trusting(&ca.write_to(folder.path()));
    let plain = FakeTarget::start(Behaviour::Babble(answer("400 Bad Request", "", b""))).await;
    assert_eq!(
        failure(tls_target(plain.address, tls.clone())).await,
        format!("TLS with {}: the server answers in plain HTTP; set scheme: http", plain.address)
    );
    let ssh = FakeTarget::start(Behaviour::Babble(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())).await;
    assert_eq!(
        failure(tls_target(ssh.address, tls)).await,
        format!("TLS with {}: the server does not speak TLS", ssh.address)
    );
    let server = serving(&ca.server(&["127.0.0.1"])).await;
    assert_eq!(
        failure(target(server.address)).await,
        format!("{} speaks TLS, and the scheme is http; set scheme: https", server.address)
    );
}

#[tokio::test]
async fn a_server_of_an_older_version_is_refused() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let config = ca.server(&["127.0.0.1"]).server_config_of(None, &[&rustls::version::TLS12]);
    let server = FakeTarget::start_tls(config, Step::Answer(ok(BODY))).await;
    let tls = TlsSettings { min_version: TlsVersion::Tls13, ..trusting(&ca.write_to(folder.path())) };
    assert_eq!(
        failure(tls_target(server.address, tls)).await,
        format!("TLS with {}: the server speaks no version of TLS that is allowed here (min_version)", server.address)
    );
}

#[tokio::test]
async fn a_server_certificate_that_is_not_for_servers_is_refused() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let pair = ca.server_with(&["127.0.0.1"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let server = serving(&pair).await;
    assert_eq!(
        failure(tls_target(server.address, trusting(&ca.write_to(folder.path())))).await,
        format!(
            "TLS with {}: the server's certificate \"127.0.0.1\" is not for servers: its extended key usage lacks serverAuth",
            server.address
        )
    );
}

#[tokio::test]
async fn a_second_connection_resumes_the_session() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = FakeTarget::start_tls(ca.server(&["127.0.0.1"]).server_config(None), Step::ThenClose(ok(BODY))).await;
    let mut client = client(tls_target(server.address, trusting(&ca.write_to(folder.path()))));
    let mut is_resumed = Vec::new();
    for _ in 0..2 {
        let (head, _) = scrape_within(&mut client, Duration::from_secs(30)).await.unwrap();
        is_resumed.push(head.peer.tls.unwrap().is_resumed);
    }
    assert_eq!((is_resumed, server.connections()), (vec![false, true], 2));
}

#[tokio::test]
async fn keys_come_in_three_forms() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server =
        FakeTarget::start_tls(ca.server(&["127.0.0.1"]).server_config(Some(&ca)), Step::Answer(ok(BODY))).await;
    let elliptic = KeyPair::generate().unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let (sec1, pkcs1) = (inner_key(&elliptic.serialize_der()), inner_key(&rsa.serialize_der()));
    let pkcs8 = elliptic.serialize_pem();
    let elliptic = ca.client_with_key("elliptic", elliptic);
    let rsa = ca.client_with_key("rsa", rsa);
    for (pair, key_pem) in
        [(&elliptic, pkcs8), (&elliptic, pem("EC PRIVATE KEY", &sec1)), (&rsa, pem("RSA PRIVATE KEY", &pkcs1))]
    {
        let tls = showing(folder.path(), &ca, pair);
        write(folder.path(), "client.key", &key_pem);
        assert_eq!(scrape(&mut client(tls_target(server.address, tls))).await.as_deref(), Ok(BODY), "{key_pem}");
    }
}

/// The key inside PKCS#8: its last element but for attributes, an octet string (RFC 5208).
fn inner_key(pkcs8: &[u8]) -> Vec<u8> {
    let (contents, _) = der_element(pkcs8);
    let (_, rest) = der_element(contents);
    let (_, rest) = der_element(rest);
    der_element(rest).0.to_vec()
}

/// The contents of the first DER element, and what follows it.
fn der_element(der: &[u8]) -> (&[u8], &[u8]) {
    let (at, length) = match der[1] {
        long @ 0x81.. => {
            let octets = usize::from(long & 0x7f);
            (2 + octets, der[2..2 + octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
        }
        short => (2, usize::from(short)),
    };
    (&der[at..at + length], &der[at + length..])
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

#[tokio::test]
async fn files_that_cannot_be_used_say_which_and_why() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = serving(&ca.server(&["127.0.0.1"])).await;
    let pair = ca.client("client");
    let fails = async |file: &str, contents: &str| {
        let tls = showing(folder.path(), &ca, &pair);
        let path = write(folder.path(), file, contents).display().to_string();
        failure(tls_target(server.address, tls)).await.replace(&path, "FILE")
    };
    assert_eq!(fails("client.crt", "").await, "cert_file FILE is empty");
    assert_eq!(fails("client.key", "\n").await, "key_file FILE is empty");
    assert_eq!(fails("ca.crt", "no pem\n").await, "ca_file FILE holds no certificate in PEM form");
    assert_eq!(fails("client.key", &pair.certificate_pem).await, "key_file FILE holds no private key in PEM form");
    let half = &pair.certificate_pem[..pair.certificate_pem.len() / 2];
    assert_eq!(fails("client.crt", half).await, "cert_file FILE: a PEM section has no end; the file is cut short");
    assert_eq!(
        fails("client.key", &pem("ENCRYPTED PRIVATE KEY", b"x")).await,
        "key_file FILE: the key is encrypted; one without a passphrase is needed"
    );
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(fails("ca.crt", &large).await, "ca_file FILE: it is larger than 1 MiB");
    assert_eq!(
        fails("client.key", &ca.client("other").key_pem).await,
        format!(
            "cert_file {} and key_file FILE do not belong together: the key is of another certificate",
            folder.path().join("client.crt").display()
        )
    );
}

#[tokio::test]
async fn a_missing_file_is_an_error_until_it_appears() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = serving(&ca.server(&["127.0.0.1"])).await;
    let ca_file = folder.path().join("ca.crt");
    let mut client = client(tls_target(server.address, trusting(&ca_file)));
    assert_eq!(
        scrape(&mut client).await.unwrap_err(),
        format!("ca_file {} cannot be read: No such file or directory", ca_file.display())
    );
    ca.write_to(folder.path());
    assert_eq!(scrape(&mut client).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn a_half_written_pair_waits_for_its_other_half() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let settings = showing(folder.path(), &ca, &ca.client("old"));
    let credentials = Credentials::new(Duration::ZERO);
    let handle = credentials.client(&settings);
    let shown = || handle.current().unwrap().certificate.clone().unwrap().common_name.unwrap();
    assert_eq!(shown(), "old");
    let before = handle.current().unwrap();

    let new = ca.client("new");
    write(folder.path(), "client.crt", &new.certificate_pem);
    assert_eq!(shown(), "old", "the key is not there yet");
    write(folder.path(), "client.crt", &new.certificate_pem[..100]);
    assert_eq!(shown(), "old", "nor is all of the certificate");
    assert!(std::sync::Arc::ptr_eq(&before, &handle.current().unwrap()));

    new.write_to(folder.path(), "client");
    assert_eq!(shown(), "new");
}

#[test]
fn a_rotation_is_logged_at_its_edges_only() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let settings = showing(folder.path(), &ca, &ca.client("old"));
    let credentials = Credentials::new(Duration::ZERO);
    let handle = credentials.client(&settings);
    let logs = Logs::listen();
    let ask = || (0..3).for_each(|_| drop(handle.current()));

    ask();
    let new = ca.client("new");
    write(folder.path(), "client.crt", &new.certificate_pem);
    ask();
    new.write_to(folder.path(), "client");
    ask();

    let at = |name: &str| folder.path().join(name).display().to_string();
    let mismatch = format!(
        "cert_file {} and key_file {} do not belong together: the key is of another certificate",
        at("client.crt"),
        at("client.key")
    );
    let refused = "credentials cannot be used; the last good ones go on".to_owned();
    assert_eq!(logs.at(Level::WARN), [(refused, mismatch)]);
    let accepted = "credentials changed; the new ones are in use".to_owned();
    assert_eq!(logs.at(Level::INFO), [(accepted, String::new())]);
    assert_eq!(logs.field(Level::INFO, "expires"), ["4096-01-01T00:00:00Z"]);
}

#[tokio::test]
async fn equal_settings_share_one_configuration_whatever_the_name() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let settings = showing(folder.path(), &ca, &ca.client("client"));
    let credentials = Credentials::default();
    let one = credentials.client(&settings);
    let other = credentials.client(&named(settings, "another"));
    assert!(std::sync::Arc::ptr_eq(&one.current().unwrap(), &other.current().unwrap()));
    assert_eq!((one.server_name(), other.server_name()), (None, Some("another")));
}

/// A BOSH job's folder is a link that a deployment swaps.
#[tokio::test]
async fn a_swapped_link_rotates_both_sides_without_a_restart() {
    use promferry::net::server::{Limits, Server, text};
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let deploy = |version: &str| {
        let release = folder.path().join(version);
        std::fs::create_dir(&release).unwrap();
        ca.write_to(&release);
        ca.client(&format!("client-{version}")).write_to(&release, "client");
        ca.server(&["localhost", &format!("server-{version}")]).write_to(&release, "server");
        symlink(&release, folder.path().join("next")).unwrap();
        std::fs::rename(folder.path().join("next"), folder.path().join("job")).unwrap();
    };
    deploy("v1");
    let file = |name: &str| folder.path().join("job").join(name);
    let credentials = Credentials::new(Duration::ZERO);
    let listener =
        ServerTls { cert_file: file("server.crt"), key_file: file("server.key"), client_ca_file: Some(file("ca.crt")) };
    let handler: promferry::net::server::Handler =
        std::sync::Arc::new(|_| Box::pin(async { text(http::StatusCode::OK, BODY) }));
    let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = Server::start(bound, Some(credentials.listener(&listener)), Limits::default(), handler).unwrap();
    let tls = TlsSettings {
        cert_file: Some(file("client.crt")),
        key_file: Some(file("client.key")),
        ..named(trusting(&file("ca.crt")), "localhost")
    };
    let mut client = client(tls_target(server.listens_on(), tls));

    let mut met = Vec::new();
    for version in ["v1", "v1", "v2"] {
        if !folder.path().join(version).exists() {
            deploy(version);
        }
        let (head, body) = scrape_within(&mut client, Duration::from_secs(30)).await.unwrap();
        assert_eq!(body, BODY);
        met.push((head.peer.tls.unwrap().certificate.unwrap().names[1].clone(), head.is_reused));
    }
    let expected = [("server-v1", false), ("server-v1", true), ("server-v2", false)];
    assert_eq!(met, expected.map(|(name, is_reused)| (name.to_owned(), is_reused)));
}
