//! `certs-example/make.sh`, judged by openssl: what a target or a scraper would refuse, the script must not make.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAMES: [&str; 4] = ["metrics_agent_metrics", "prom_scraper_metrics", "cc.service.internal", "localhost"];

fn make(dir: &Path, names: &[&str]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("certs-example/make.sh");
    Command::new(script).arg(dir).args(names).output().expect("certs-example/make.sh can be run")
}

fn made(dir: &Path, names: &[&str]) {
    let output = make(dir, names);
    assert!(output.status.success(), "make.sh: {}", String::from_utf8_lossy(&output.stderr));
}

fn openssl(args: &[&str]) -> Output {
    Command::new("openssl").args(args).output().expect("openssl is installed")
}

/// Whether `file` verifies against the folder's CA under these options of `openssl verify`.
fn verifies(dir: &Path, file: &str, options: &[&str]) -> bool {
    let ca = dir.join("metric_scraper_ca.crt");
    let leaf = dir.join(file);
    // No other CA, so that only the folder's can make it true.
    let mut args = vec!["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", ca.to_str().unwrap()];
    args.extend(options);
    args.push(leaf.to_str().unwrap());
    openssl(&args).status.success()
}

#[test]
fn each_certificate_serves_its_end_of_a_scrape_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("certs");
    made(&dir, &[]);
    assert!(verifies(&dir, "server.crt", &["-purpose", "sslserver"]));
    assert!(verifies(&dir, "client.crt", &["-purpose", "sslclient"]));
    assert!(!verifies(&dir, "server.crt", &["-purpose", "sslclient"]), "the server's is server_auth only");
    assert!(!verifies(&dir, "client.crt", &["-purpose", "sslserver"]), "the client's is client_auth only");

    let other = temp.path().join("other");
    made(&other, &[]);
    fs::copy(other.join("server.crt"), dir.join("foreign.crt")).unwrap();
    assert!(!verifies(&dir, "foreign.crt", &["-purpose", "sslserver"]), "each run makes a CA of its own");
}

#[test]
fn the_server_has_the_names_asked_for_underscores_included() {
    let temp = tempfile::tempdir().unwrap();
    let usual = temp.path().join("usual");
    made(&usual, &[]);
    for name in NAMES {
        assert!(verifies(&usual, "server.crt", &["-verify_hostname", name]), "{name}");
    }
    assert!(!verifies(&usual, "server.crt", &["-verify_hostname", "gorouter_metrics"]));

    let own = temp.path().join("own");
    made(&own, &["gorouter_metrics"]);
    assert!(verifies(&own, "server.crt", &["-verify_hostname", "gorouter_metrics"]));
    assert!(!verifies(&own, "server.crt", &["-verify_hostname", NAMES[0]]));

    let refused = make(&temp.path().join("refused"), &["a,IP:10.0.0.1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!temp.path().join("refused").exists());
}

#[test]
fn keys_fit_their_certificates_and_are_their_owners_alone() {
    let temp = tempfile::tempdir().unwrap();
    made(temp.path(), &[]);
    for name in ["metric_scraper_ca", "server", "client"] {
        let key = temp.path().join(format!("{name}.key"));
        let certificate = temp.path().join(format!("{name}.crt"));
        let mode = fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}.key");
        let of_key = openssl(&["pkey", "-pubout", "-in", key.to_str().unwrap()]);
        let of_certificate = openssl(&["x509", "-noout", "-pubkey", "-in", certificate.to_str().unwrap()]);
        assert!(of_key.status.success() && of_certificate.status.success());
        assert_eq!(of_key.stdout, of_certificate.stdout, "{name}");
    }
    let files = fs::read_dir(temp.path()).unwrap().count();
    assert_eq!(files, 6, "nothing else is left behind");
}

#[test]
fn nothing_is_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("client.key"), "precious").unwrap();
    let output = make(temp.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("client.key is there already"), "{said}");
    assert_eq!(fs::read_to_string(temp.path().join("client.key")).unwrap(), "precious");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}
