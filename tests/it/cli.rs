//! Commands, as somebody types them: what they print, and how they exit.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::expose::client::ask;
use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, command, outcome, until, written};

/// Runs a command in the world's folder; exit code, stdout and stderr, with `FOLDER` for the folder.
async fn run(world: &World, arguments: &[&str]) -> (i32, String, String) {
    run_as(world, command(arguments)).await
}

async fn run_as(world: &World, mut command: Command) -> (i32, String, String) {
    let folder = world.folder().display().to_string();
    let (code, out, err) = outcome(command.current_dir(world.folder())).await;
    (code, out.replace(&folder, "FOLDER"), err.replace(&folder, "FOLDER"))
}

async fn exporter(world: &World, name: &str) -> Exporter {
    let tls = world.ca.server(&[name]).server_config(Some(&world.ca));
    Exporter::start(tls, |nth| format!("a {nth}\nb{{x=\"y\"}} 2\n")).await
}

/// A configuration that is right, with the platform's jobs.
const GOOD: &str = r#"
scrape_configs:
  - job_name: platform
    scrape_interval: 5s
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
outputs:
  - name: lines
    file: {path: samples.jsonl}
admin: {listen: "127.0.0.1:0"}
"#;

#[tokio::test]
async fn check_says_everything_that_is_wrong_in_one_go() {
    let world = World::new();
    world.configure(
        "global:\n  scrape_interval: 15x\nscrape_configs:\n  - job_name: a\n    scrape_timeou: 3s\n    static_configs: [{targets: \
         [\"127.0.0.1:1\"]}]\noutputs:\n  - name: lines\n    file: {path: x, format: csv}\n",
    );
    let (code, out, err) = run(&world, &["check", "-c", "promferry.yml"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "promferry.yml:2:20: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \
         \"2m\"\n\
         promferry.yml:5:5: scrape_timeou: no such key in scrape_configs; did you mean \"scrape_timeout\"?\n\
         promferry.yml:9:29: format: \"csv\" is not known here; choices are \"json\" and \"text\"\n"
    );
    // Nothing is run with it either.
    assert_eq!(run(&world, &["run", "-c", "promferry.yml"]).await, (2, String::new(), err));
}

#[tokio::test]
async fn check_is_content_with_what_is_right_and_names_files_that_are_not_there() {
    let world = World::new();
    world.configure(GOOD);
    let fine = "scrape_configs: 1, outputs: 1: nothing is wrong with them\n";
    assert_eq!(run(&world, &["check", "-c", "promferry.yml"]).await, (0, fine.to_owned(), String::new()));
    std::fs::remove_file(world.path("ca.crt")).unwrap();
    let (code, _, err) = run(&world, &["check", "-c", "promferry.yml"]).await;
    assert_eq!(code, 2);
    assert_eq!(err, "promferry.yml:6:27: ca_file: \"ca.crt\" cannot be read: No such file or directory\n");
}

#[tokio::test]
async fn check_tries_targets_and_outputs_when_asked_to() {
    let world = World::new();
    let exporter = exporter(&world, "127.0.0.1").await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    world.configure(GOOD);
    let (code, out, err) = run(&world, &["check", "--connect", "-c", "promferry.yml"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = format!("https://{}/metrics: 2 samples\noutput lines: ready\n", exporter.address);
    let summary = "targets: 1, failed: 0; outputs: 1, failed: 0\n";
    assert!(out.ends_with(&format!("{lines}{summary}")), "{out}");
    // A port where nothing listens, for a moment.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.deploy("rep", "1", &format!("port: {}\n", closed.port()));
    let (code, out, _) = run(&world, &["check", "--connect", "-c", "promferry.yml"]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains(&format!("https://{closed}/metrics: nothing listens on {closed} (connection refused)\n")),
        "{out}"
    );
}

#[tokio::test]
async fn check_says_where_a_disk_queue_cannot_be() {
    let world = World::new();
    std::fs::write(world.path("taken"), "").unwrap();
    let configure = |paths: [&str; 2]| {
        let [a, b] = paths.map(|path| format!("queue: {{disk: {{path: {path}}}}}"));
        let search = "elasticsearch: {urls: [\"http://127.0.0.1:1\"]}";
        world.configure(&format!(
            "outputs:\n  - name: a\n    {search}\n    {a}\n  - name: b\n    {search}\n    {b}\nadmin: null\n"
        ));
    };
    configure(["same", "same"]);
    let (code, _, err) = run(&world, &["check", "-c", "promferry.yml"]).await;
    assert_eq!(code, 2);
    assert_eq!(err, "promferry.yml:7:26: path: \"same\" is used twice; the first is on line 4\n");
    configure(["taken/queue", "new/queue"]);
    let (code, out, err) = run(&world, &["check", "--connect", "-c", "promferry.yml"]).await;
    assert_eq!((code, err.as_str()), (1, ""));
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("output ")).collect();
    let disk = "queue.disk.path \"taken/queue\" cannot be made: \"taken\": Not a directory; the user that promferry runs as must \
                be able to write there";
    assert!(lines[0].starts_with("output a: ") && lines[0].ends_with(disk), "{out}");
    assert!(!lines[1].contains("disk"), "{out}");
    assert!(!world.path("new").exists(), "a check leaves nothing behind");
    assert!(out.ends_with("targets: 0, failed: 0; outputs: 2, failed: 2\n"), "{out}");
}

#[tokio::test]
async fn targets_lists_what_is_found_and_what_is_not_used() {
    let world = World::new();
    world.configure(GOOD);
    world.deploy("gorouter", "1", "port: 9100\nlabels: {origin: gorouter}\n");
    world.deploy("cc", "1", "---\n");
    let (code, out, err) = run(&world, &["targets", "-c", "promferry.yml"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "https://127.0.0.1:9100/metrics every 5s\n  labels {instance=\"127.0.0.1:9100\",job=\"platform\",origin=\"gorouter\",\
         source_id=\"gorouter\"}\n  announced by FOLDER/jobs/gorouter/config/prom_scraper_config.yml\n\
         FOLDER/jobs/cc/config/prom_scraper_config.yml announces nothing: the file is empty\n\
         1 target is scraped, 0 are not\n"
    );
    world.deploy("rep", "1", "port: 9101\nscrape_interval: 15x\n");
    let (code, out, _) = run(&world, &["targets", "-c", "promferry.yml"]).await;
    assert_eq!(code, 1, "a file that cannot be used is a fault");
    let broken = "FOLDER/jobs/rep/config/prom_scraper_config.yml:2:18: scrape_interval: \"15x\" is not a duration; ";
    assert!(out.contains(broken), "{out}");
}

/// `promferry parse` of this.
async fn parse(input: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&[&["parse"][..], arguments].concat());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let ended = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test]
async fn parse_reads_an_exposition() {
    let good = "# TYPE a counter\na 1\nb{x=\"y\"} NaN 1700\n";
    assert_eq!(parse(good, &[]).await, (0, "2 samples, all lines read\n".to_owned(), String::new()));
    let json = "{\"name\":\"a\",\"labels\":{},\"value\":\"1\"}\n\
                {\"name\":\"b\",\"labels\":{\"x\":\"y\"},\"value\":\"NaN\",\"timestamp_ms\":1700}\n";
    assert_eq!(parse(good, &["--json"]).await, (0, json.to_owned(), String::new()));
    let (code, out, err) = parse("a 1\nb{x= 2\n", &["--json"]).await;
    assert_eq!((code, out.as_str()), (1, "{\"name\":\"a\",\"labels\":{},\"value\":\"1\"}\n"));
    assert!(err.starts_with("stdin:2:6: \"2\" stands where a value in double quotes was expected\n"), "{err}");
}

#[tokio::test]
async fn completions_are_a_script_of_the_shell() {
    let (code, script, _) = run(&World::new(), &["completions", "bash"]).await;
    assert_eq!(code, 0);
    let mut bash = Command::new("bash");
    let (code, out, err) =
        outcome(bash.args(["-c", &format!("{script}\ncomplete -p promferry")]).stdin(Stdio::null())).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("promferry"), "{out}");
}

#[tokio::test]
async fn the_configuration_may_come_from_the_environment() {
    let world = World::new();
    let exporter = exporter(&world, "127.0.0.1").await;
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    let yaml = GOOD.replace("FOLDER", &world.folder().display().to_string()).replace("5s", "${EVERY:-5s}");
    let mut by_text = command(&["run"]);
    by_text.env("PROMFERRY_CONFIG_YAML", &yaml).env("EVERY", "500ms").current_dir(world.folder());
    let promferry = Process::start(by_text).await;
    promferry.until_up(&["gorouter"]).await;
    assert_eq!(promferry.targets().await["gorouter"]["scrapeInterval"], "500ms");
    assert_eq!(promferry.terminate().await.log.complaints(), [""; 0]);
    assert!(!written(&world.path("samples.jsonl")).is_empty());

    let path = world.configure(GOOD);
    let mut by_path = command(&["check"]);
    by_path.env("PROMFERRY_CONFIG", &path);
    assert_eq!(run_as(&world, by_path).await.0, 0);
    let mut by_both = command(&["check"]);
    by_both.env("PROMFERRY_CONFIG", &path).env("PROMFERRY_CONFIG_YAML", &yaml);
    let (code, _, err) = run_as(&world, by_both).await;
    assert_eq!(code, 2);
    assert!(err.contains("PROMFERRY_CONFIG") && err.contains("PROMFERRY_CONFIG_YAML"), "{err}");
    let (code, _, err) = run(&world, &["run"]).await;
    assert_eq!(code, 2);
    assert!(err.starts_with("promferry: no configuration: give -c FILE"), "{err}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    world.configure(&GOOD.replace("127.0.0.1:0", &address.to_string()));
    let (code, _, err) = run(&world, &["run", "-c", "promferry.yml"]).await;
    assert_eq!(code, 1);
    assert!(err.contains(&address.to_string()), "{err}");
}

/// A demo that runs, and the folder and aggregate endpoint that it told of.
struct Demo {
    child: Child,
    out: BufReader<tokio::process::ChildStdout>,
    folder: PathBuf,
    aggregate: String,
}

impl Demo {
    async fn start(arguments: &[&str]) -> Self {
        let mut command = command(&[&["demo"][..], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut told = String::new();
        let between = |text: &str, before: &str, after: &str| -> Option<String> {
            Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
        };
        loop {
            assert!(out.read_line(&mut told).await.unwrap() > 0, "{told}");
            let folder = between(&told, "five jobs in ", ",");
            if let Some((aggregate, folder)) = between(&told, "curl -s http://", "/metrics").zip(folder) {
                return Self { child, out, folder: folder.into(), aggregate };
            }
        }
    }

    /// What it printed until it told of the last job.
    async fn first_round(&mut self) -> String {
        let mut told = String::new();
        while told.matches(": up, ").count() + told.matches(": down, ").count() < 5 {
            assert!(self.out.read_line(&mut told).await.unwrap() > 0, "{told}");
        }
        told
    }

    fn interrupt(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    /// What it printed until it ended, well, with nothing left behind.
    async fn finish(mut self) -> String {
        let mut told = String::new();
        self.out.read_to_string(&mut told).await.unwrap();
        assert!(self.child.wait().await.unwrap().success(), "{told}");
        assert!(!self.folder.exists(), "the folder is removed");
        told
    }
}

#[tokio::test]
async fn demo_has_samples_explains_what_is_broken_and_ends_with_its_ledger() {
    let mut demo = Demo::start(&[]).await;
    let mut told = demo.first_round().await;
    let address = demo.aggregate.parse().unwrap();
    until("samples on the aggregate endpoint", async || {
        let body = ask(address, "GET", "/metrics", &[]).await.body;
        body.contains("gorouter_requests_total{").then_some(())
    })
    .await;
    demo.interrupt();
    told += &demo.finish().await;
    for job in ["gorouter", "rep", "loggregator_agent"] {
        assert!(told.contains(&format!("{job}: up, 28 samples\n")), "{told}");
    }
    assert!(told.contains("uaa: down, which is on purpose here; promferry says why:\n  TLS with 127.0.0.1:"), "{told}");
    assert!(told.contains("the server's certificate \"uaa_metrics\" expired at "), "{told}");
    assert!(
        told.contains("credhub: down, which is on purpose here; promferry says why:\n  nothing listens on "),
        "{told}"
    );
    let ledger = told.split_once("the ledger: ").expect("a ledger").1;
    for output in ["aggregate", "samples"] {
        let line = ledger.lines().find_map(|line| line.trim().strip_prefix(&format!("{output}: "))).unwrap();
        let counts: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(counts[0] > 0 && counts[0] == counts[1..].iter().sum::<u64>(), "{line}");
    }
}

#[tokio::test]
async fn demo_ends_by_itself_and_cleans_up() {
    let demo = Demo::start(&["--seconds", "1"]).await;
    let told = demo.finish().await;
    assert!(told.contains("the ledger: "), "{told}");
}
