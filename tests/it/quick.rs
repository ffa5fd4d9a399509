//! `promferry run` without a configuration: flags say what is scraped and where it goes.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::bulk_server::{BulkServer, Request};
use crate::support::certificates::{Ca, write};
use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, command, outcome, until, written};

/// A promferry that scrapes over mutual TLS.
const MUTUAL: [&str; 6] = ["--ca", "ca.crt", "--cert", "scrape.crt", "--key", "scrape.key"];

async fn run(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<&str> = ["run"].iter().chain(arguments).copied().collect();
    let (code, out, err) = outcome(command(&arguments).current_dir(world.folder())).await;
    let folder = world.folder().display().to_string();
    (code, out.replace(&folder, "FOLDER"), err.replace(&folder, "FOLDER"))
}

/// What is wrong with flags.
async fn refused(arguments: &[&str]) -> String {
    let (code, out, err) = run(&World::new(), arguments).await;
    assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
    err.trim_end().to_owned()
}

async fn start(world: &World, arguments: &[&str]) -> Process {
    let all: Vec<&str> = ["run"].iter().chain(arguments).copied().collect();
    let mut command = command(&all);
    command.current_dir(world.folder());
    Process::start(command).await
}

fn mutual(world: &World) -> Arc<ServerConfig> {
    world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca))
}

/// Waits until the aggregate endpoint serves series of these names.
async fn until_served(promferry: &Process, names: [&str; 2]) {
    until("both targets are served", async || {
        let served = promferry.aggregate("expose").await;
        let has = |name: &&str| served.keys().any(|series| series.name == **name);
        names.iter().all(has).then_some(())
    })
    .await;
}

#[tokio::test]
async fn flags_alone_scrape_over_mutual_tls_and_deliver_to_every_output() {
    let world = World::new();
    let [first, second] = [
        Exporter::start(mutual(&world), |nth| format!("a {nth}\n")).await,
        Exporter::start(mutual(&world), |nth| format!("b {nth}\n")).await,
    ];
    let es_ca = Ca::named("search");
    es_ca.write_to(&world.path("jobs"));
    let search = BulkServer::start_tls(Vec::new(), es_ca.server(&["127.0.0.1"]).server_config(None)).await;
    write(world.folder(), "password", "s3cret");
    let urls = [first.address, second.address].map(|address| format!("https://{address}/metrics"));
    let to_search = format!("elasticsearch=https://{}", search.address);
    let mut arguments = vec!["--scrape", &urls[0], "--scrape", &urls[1], "--interval", "1s", "--admin", ":0"];
    arguments.extend(MUTUAL);
    arguments.extend(["--to", &to_search, "--to-ca", "jobs/ca.crt", "--username", "elastic"]);
    arguments.extend(["--password-file", "password", "--to", "expose=:0", "--to", "file=lines.jsonl"]);
    let promferry = start(&world, &arguments).await;
    until_served(&promferry, ["a", "b"]).await;
    // Flags are all there is to read again, and they say the same.
    let before = promferry.outputs().await;
    promferry.signal("HUP");
    until("it is reloaded", async || promferry.log.of("configuration reloaded").pop()).await;
    let after = promferry.outputs().await;
    assert_eq!(before["expose"]["urls"], after["expose"]["urls"]);
    assert_eq!(promferry.log.complaints(), Vec::<String>::new());
    let ended = promferry.terminate().await;
    assert!(ended.status.success());
    let lines = written(&world.path("lines.jsonl"));
    assert!(!lines.is_empty());
    let delivered = |output| ended.count(output, "delivered");
    assert!(delivered("elasticsearch") > 0);
    assert_eq!(delivered("elasticsearch"), search.store().samples());
    // "elastic:s3cret"
    let is_known = |request: &Request| request.headers["authorization"] == "Basic ZWxhc3RpYzpzM2NyZXQ=";
    assert!(search.store().requests.iter().all(is_known));

    // The printed configuration does the same, wherever it lies.
    arguments.push("--print-config");
    let (_, yaml, _) = outcome(command(&[&["run"], &arguments[..]].concat()).current_dir(world.folder())).await;
    let printed = write(&world.path("jobs"), "printed.yml", &yaml);
    let checked = outcome(&mut command(&["check", "-c", printed.to_str().unwrap()])).await;
    let fine = "scrape_configs: 1, outputs: 3: nothing is wrong with them\n".to_owned();
    assert_eq!(checked, (0, fine, String::new()));
    let promferry = Process::start(command(&["run", "-c", printed.to_str().unwrap()])).await;
    until_served(&promferry, ["a", "b"]).await;
    assert_eq!(promferry.log.complaints(), Vec::<String>::new());
    let names: Vec<String> = promferry.outputs().await.into_keys().collect();
    assert_eq!(names, ["elasticsearch", "expose", "file"]);
}

#[tokio::test]
async fn samples_are_lines_on_stdout_where_that_is_asked_for() {
    let world = World::new();
    let exporter = Exporter::start(mutual(&world), |nth| format!("a {nth}\n")).await;
    let url = format!("https://{}", exporter.address);
    let mut arguments = vec!["run", "--scrape", &url, "--to", "stdout", "--interval", "1s", "--admin", "off"];
    arguments.extend(MUTUAL);
    let mut command = command(&arguments);
    let mut promferry =
        command.current_dir(world.folder()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(promferry.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.expect("a line comes");
    let line: Json = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
    let labels = json!({"instance": exporter.address.to_string(), "job": "scrape"});
    assert_eq!(line["labels"], labels);
}

#[tokio::test]
async fn what_flags_say_is_printed_as_a_configuration() {
    let mut arguments = vec!["--scrape", "https://10.0.0.5:14726/metrics", "--scrape", "https://10.0.0.6:14726"];
    arguments.extend(["--scrape", "http://a/${b}?c=${d}&c=e", "--interval", "20s", "--server-name", "metrics"]);
    arguments.extend(["--ca", "/c/ca.crt", "--cert", "/c/scrape.crt", "--key", "/c/scrape.key"]);
    arguments.extend(["--to", "elasticsearch=https://es:9200", "--api-key-file", "/c/key", "--to-ca", "/c/ca.crt"]);
    arguments.extend(["--to", "splunk_hec=http://s:8088", "--token-file", "/c/token", "--to", "otlp=http://o:4317"]);
    arguments.extend([
        "--to",
        "expose=:9699",
        "--to",
        "expose=[::1]:9700/federate",
        "--to",
        "file=/a",
        "--to",
        "file=/b",
    ]);
    arguments.extend(["--to", "stdout", "--to", "dogstatsd", "--admin", ":9798", "--print-config"]);
    let (code, out, err) = run(&World::new(), &arguments).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, PRINTED, ""));
}

const PRINTED: &str = r#"# Made by promferry run --print-config. The keys are explained in docs/config.md.
global: {scrape_interval: 20s}
scrape_configs:
  - job_name: scrape
    scheme: https
    metrics_path: /metrics
    tls_config: {ca_file: /c/ca.crt, cert_file: /c/scrape.crt, key_file: /c/scrape.key, server_name: metrics}
    static_configs:
      - {targets: ["10.0.0.5:14726", "10.0.0.6:14726"]}
  - job_name: scrape-2
    scheme: http
    metrics_path: "/$${b}"
    params: {c: ["$${d}", e]}
    static_configs:
      - {targets: ["a:80"]}
outputs:
  - name: elasticsearch
    elasticsearch: {urls: ["https://es:9200"], tls_config: {ca_file: /c/ca.crt}, api_key_file: /c/key}
  - name: splunk_hec
    splunk_hec: {urls: ["http://s:8088"], token_file: /c/token}
  - name: otlp
    otlp: {protocol: grpc, urls: ["http://o:4317"]}
  - name: expose
    expose: {listen: "127.0.0.1:9699"}
  - name: expose-2
    expose: {listen: "[::1]:9700", path: /federate}
  - name: file
    file: {path: /a}
  - name: file-2
    file: {path: /b}
  - name: stdout
    file: {path: "-"}
  - {name: dogstatsd, dogstatsd: {}}
admin: {listen: "127.0.0.1:9798"}
"#;

#[tokio::test]
async fn what_is_wrong_is_told_with_its_flag_and_without_secrets() {
    let a = ["--scrape", "https://a"];
    let with = |more: &[&'static str]| [&a[..], more].concat();
    let to = |place: &'static str| with(&["--to", place]);
    let cases = [
        (with(&[]), "--to is missing: where it goes, such as --to elasticsearch=https://es:9200, or --to stdout"),
        (
            vec!["--to", "stdout"],
            "--scrape is missing: what is scraped, such as --scrape https://10.0.0.5:14726/metrics",
        ),
        (
            vec!["--scrape", "htps://a", "--to", "stdout"],
            "--scrape htps://a: scheme: \"htps\" is not known here; choices are \"http\" and \"https\"",
        ),
        (
            vec!["--scrape", "a:1", "--to", "stdout"],
            "--scrape a:1: a URL starts with http:// or https://; write https://… where it speaks TLS",
        ),
        (
            vec!["--scrape", "https://u:s3cret@a", "--to", "stdout"],
            "--scrape: credentials in a URL are not taken; put them into a configuration",
        ),
        (
            vec!["--scrape", "https://u:s3/cr?et@a", "--to", "stdout"],
            "--scrape: credentials in a URL are not taken; put them into a configuration",
        ),
        (
            vec!["--scrape", "u:s3cret@a:9100/metrics", "--to", "stdout"],
            "--scrape: credentials in a URL are not taken; put them into a configuration",
        ),
        (
            to("https://u:s3cret@es:9200"),
            "--to: no such kind of output; choices are \"elasticsearch\", \"opensearch\", \"splunk_hec\", \"remote_write\", \
             \"otlp\", \"signalfx\", \"dogstatsd\", \"expose\", \"file\" and \"stdout\"",
        ),
        (
            to("https://u:s3=cret@es:9200"),
            "--to: no such kind of output; choices are \"elasticsearch\", \"opensearch\", \"splunk_hec\", \"remote_write\", \
             \"otlp\", \"signalfx\", \"dogstatsd\", \"expose\", \"file\" and \"stdout\"",
        ),
        (
            vec!["--scrape", "https://a:x", "--to", "stdout"],
            "--scrape: \"a:x\" is not an address: a port is a whole number from 1 to 65535",
        ),
        (
            to("elasticsearch=https://u:s3/cr?et@es:9200"),
            "--to elasticsearch: credentials in a URL are not taken; give --username and --password-file",
        ),
        (
            to("elasticsearch=es:9200"),
            "--to elasticsearch=es:9200: urls: \"es:9200\" is not an http or https URL, such as \"https://search.example:9200\"",
        ),
        (to("elasticsearch"), "--to elasticsearch: where to? write --to elasticsearch=https://HOST:9200"),
        (
            to("elasticserch=https://x"),
            "--to elasticserch=https://x: no such kind of output; did you mean \"elasticsearch\"?",
        ),
        (to("stdout=x"), "--to stdout=x: takes no value; for a file, write --to file=PATH"),
        (to("loggregator"), "--to loggregator: needs certificates of its own; write it into a configuration"),
        (
            to("splunk_hec=https://x"),
            "--to splunk_hec=https://x: token is missing in splunk_hec; give --token-file FILE",
        ),
        (
            to("expose=0.0.0.0:9699"),
            "--to expose=0.0.0.0:9699: listen: \"0.0.0.0:9699\" can be reached from other machines; tls_config with client_ca_file is \
             needed, or insecure: true",
        ),
        (with(&["--to", "stdout", "--to", "file=-"]), "--to file=-: path: \"-\" is used twice"),
        (
            with(&["--to", "splunk_hec=https://x", "--to", "signalfx=us0", "--token-file", "t"]),
            "--token-file fits --to splunk_hec=https://x and --to signalfx=us0, and a secret is for one receiver; leave it \
             out, and write it into what --print-config prints",
        ),
        (
            with(&["--to", "stdout", "--api-key-file", "t"]),
            "--api-key-file is of no use: it is for \"elasticsearch\", and no --to is one of them",
        ),
        (with(&["--to", "stdout", "--to-ca", "ca.crt"]), "--to-ca is of no use: no URL of --to begins with https://"),
        (
            vec!["--scrape", "http://a", "--to", "stdout", "--ca", "ca.crt"],
            "--ca is of no use: no URL of --scrape begins with https://",
        ),
        (
            with(&["--to", "stdout", "--interval", "15x"]),
            "--interval: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"",
        ),
        (
            with(&["--to", "stdout", "--admin", "9698"]),
            "--admin: listen: \"9698\" is not an address and a port, such as \"127.0.0.1:9698\" or \"[::1]:9698\"",
        ),
        (
            with(&["--to", "stdout", "--ca", "none.crt"]),
            "--ca: ca_file: \"FOLDER/none.crt\" cannot be read: No such file or directory",
        ),
        (
            with(&["--to", "stdout", "--ca", "scrape.key"]),
            "--scrape: ca_file FOLDER/scrape.key holds no certificate in PEM form",
        ),
        (
            with(&["--to", "stdout", "-c", "f.yml"]),
            "-c says what to do, and so does --scrape; leave one of them out, or write what the flags say into the file: --print-config \
             shows it",
        ),
    ];
    for (arguments, expected) in cases {
        let sentence = refused(&arguments).await;
        assert_eq!(sentence, format!("promferry: {expected}"), "{arguments:?}");
        assert!(!sentence.contains("s3"), "{sentence}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let admin = address.to_string();
    let (code, _, err) =
        run(&World::new(), &["--scrape", "http://127.0.0.1:1", "--to", "stdout", "--admin", &admin]).await;
    assert_eq!(code, 1);
    let sentence = format!(
        "promferry: admin.listen: cannot listen on {address}: another process has this port already; perhaps another promferry runs here: give this \
         one another port for its status page, --admin :PORT, or --admin off"
    );
    assert!(err.lines().any(|line| line == sentence), "{err}");
}
