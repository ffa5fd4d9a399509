//! An operator's machine in a temporary folder: BOSH's layout, certificates, a configuration, and the running executable.
//!
//! All that is learned of the program is learned from outside: its log, its admin port, its aggregate endpoint, its files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::certificates::{Ca, Pair, write};
use super::samples::{self, Samples, Series};
use crate::expose::client::ask;
use crate::expose::strict;

/// Longer than anything that is waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Where a job's announcement is, in its folder.
const ANNOUNCEMENT: &str = "config/prom_scraper_config.yml";

/// Looks again and again until there is something to see; panics when it does not come.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(WAIT_MAX, what, look).await
}

/// As [`until`], of what takes its time by itself.
pub async fn until_within<T>(wait_max: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < wait_max, "it did not come: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A machine: a folder that is removed with the value.
pub struct World {
    folder: TempDir,
    /// Who signs the certificates of targets and of promferry; its certificate is `ca.crt` in the folder.
    pub ca: Ca,
    /// promferry's certificate: `scrape.crt` and `scrape.key`.
    pub scraper: Pair,
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ca = Ca::named("metric_scraper_ca");
        ca.write_to(folder.path());
        let scraper = ca.client("metric_scraper");
        scraper.write_to(folder.path(), "scrape");
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        Self { folder, ca, scraper }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Deploys a job as BOSH does: a new folder with all files in it, then `jobs/JOB` is made to point there, in one step.
    pub fn deploy(&self, job: &str, release: &str, announcement: &str) {
        let data = self.path(&format!("data/jobs/{job}/{release}"));
        std::fs::create_dir_all(data.join("config")).unwrap();
        std::fs::write(data.join(ANNOUNCEMENT), announcement).unwrap();
        let link = self.path("link");
        std::os::unix::fs::symlink(data, &link).unwrap();
        std::fs::rename(link, self.path(&format!("jobs/{job}"))).unwrap();
    }

    /// Where a job's announcement is, through its link.
    pub fn announcement(&self, job: &str) -> PathBuf {
        self.path(&format!("jobs/{job}")).join(ANNOUNCEMENT)
    }

    /// Takes a job away as BOSH does: the link goes.
    pub fn undeploy(&self, job: &str) {
        std::fs::remove_file(self.path(&format!("jobs/{job}"))).unwrap();
    }

    /// Writes `promferry.yml`; `FOLDER` in it stands for the folder.
    pub fn configure(&self, yaml: &str) -> PathBuf {
        let yaml = yaml.replace("FOLDER", &self.folder().display().to_string());
        write(self.folder(), "promferry.yml", &yaml)
    }

    /// Starts `promferry run -c promferry.yml`, and waits until it says that it runs.
    pub async fn run(&self) -> Process {
        let config = self.path("promferry.yml");
        Process::start(command(&["run", "-c", config.to_str().unwrap()])).await
    }
}

/// The executable, with an environment in which nothing is said to it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promferry"));
    command.args(arguments).args(["--log-format", "json"]).kill_on_drop(true).stdin(Stdio::null());
    for name in ["RUST_LOG", "PROMFERRY_CONFIG", "PROMFERRY_CONFIG_YAML"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command that ends by itself.
pub async fn outcome(command: &mut Command) -> (i32, String, String) {
    outcome_within(WAIT_MAX, command).await
}

/// As [`outcome`], of what takes its time by itself.
pub async fn outcome_within(wait_max: Duration, command: &mut Command) -> (i32, String, String) {
    let ended = tokio::time::timeout(wait_max, command.output()).await.expect("it ends by itself");
    let Output { status, stdout, stderr } = ended.unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What a process logged: an object a line.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Json>>>);

impl Log {
    /// All lines until now.
    pub fn lines(&self) -> Vec<Json> {
        self.0.lock().unwrap().clone()
    }

    /// The lines with this message.
    pub fn of(&self, message: &str) -> Vec<Json> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// What was worse than information, as `message: error`.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.lines();
        let cause = |line: &Json| ["error", "problem"].map(|field| text(&line[field]).to_owned()).concat();
        let bad = lines.iter().filter(|line| line["level"] != "info");
        bad.map(|line| format!("{}: {}", text(&line["message"]), cause(line))).collect()
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// A running promferry. It is killed with the value.
pub struct Process {
    child: Child,
    reading: JoinHandle<()>,
    pub log: Log,
    pub admin: SocketAddr,
}

/// A promferry that has ended.
pub struct Ended {
    pub status: ExitStatus,
    /// From the signal to the end.
    pub took: Duration,
    pub log: Log,
}

impl Process {
    /// Starts it, and waits until it says that it runs.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = log.clone();
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                // What is no object of the log is worse than anything in it.
                let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({"level": "none", "message": line}));
                kept.0.lock().unwrap().push(line);
            }
        });
        let running = until("promferry is running", async || {
            assert_eq!(child.try_wait().unwrap(), None, "{:?}", log.lines());
            log.of("promferry is running").pop()
        })
        .await;
        // Where it is off, nobody is there.
        let admin = text(&running["admin"]).parse().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self { child, reading, log, admin }
    }

    /// The answer of the admin port.
    pub async fn ask(&self, path: &str) -> Json {
        let answer = ask(self.admin, "GET", path, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The targets, by `source_id`.
    pub async fn targets(&self) -> BTreeMap<String, Json> {
        let answer = self.ask("/api/v1/targets").await;
        let targets = answer["data"]["activeTargets"].as_array().unwrap();
        targets.iter().map(|target| (text(&target["labels"]["source_id"]).to_owned(), target.clone())).collect()
    }

    /// Waits until these sources have been scraped well, and are all that there is.
    pub async fn until_up(&self, sources: &[&str]) {
        until(&format!("{sources:?} are up"), async || {
            let targets = self.targets().await;
            let is_up = |source: &&str| targets.get(*source).is_some_and(|target| target["health"] == "up");
            (targets.len() == sources.len() && sources.iter().all(is_up)).then_some(())
        })
        .await;
    }

    /// The first sentence of the page.
    pub async fn headline(&self) -> Json {
        self.ask("/api/v1/status").await["data"]["headline"].take()
    }

    /// The outputs by name. Each ledger must add up.
    pub async fn outputs(&self) -> BTreeMap<String, Json> {
        let answer = self.ask("/api/v1/outputs").await;
        let outputs = answer["data"]["outputs"].as_array().unwrap();
        let outputs: BTreeMap<String, Json> =
            outputs.iter().map(|output| (text(&output["name"]).to_owned(), output.clone())).collect();
        for output in outputs.values() {
            assert_balanced(&output["ledger"]);
        }
        outputs
    }

    /// The sum of the self-metrics of this name.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = ask(self.admin, "GET", "/metrics", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let samples = strict::read(true, &answer.body);
        samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value.parse::<f64>().unwrap()).sum()
    }

    /// What the aggregate endpoint of this output serves; it must be a valid exposition.
    pub async fn aggregate(&self, output: &str) -> BTreeMap<Series, String> {
        let outputs = self.outputs().await;
        let url = text(&outputs[output]["urls"][0]);
        let (address, path) = url.split_at(url.find('/').unwrap());
        let answer = ask(address.parse().unwrap(), "GET", path, &["accept: text/plain"]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        strict::read(false, &answer.body)
            .into_iter()
            .map(|s| (Series { name: s.name, labels: s.labels }, s.value))
            .collect()
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The most memory that it has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Ends it as the kernel does: it learns nothing of it.
    pub async fn kill(mut self) -> Log {
        self.child.kill().await.unwrap();
        self.reading.await.unwrap();
        self.log
    }

    /// Tells it to end, waits until it has, and looks at the ledgers that it leaves.
    pub async fn terminate(mut self) -> Ended {
        self.signal("TERM");
        let began = Instant::now();
        let status = tokio::time::timeout(WAIT_MAX, self.child.wait()).await.expect("it ends").unwrap();
        let took = began.elapsed();
        self.reading.await.unwrap();
        let ended = Ended { status, took, log: self.log };
        ended.log.of("drained").iter().for_each(assert_balanced);
        ended
    }
}

impl Ended {
    /// The ledger that it left for this output: the field of its last line.
    pub fn count(&self, output: &str, field: &str) -> u64 {
        let line = self.log.of("drained").into_iter().rfind(|line| line["output"] == output);
        line.expect("it says so")[field].as_u64().unwrap()
    }
}

/// The ledger equation. A count is a number, or numbers by reason.
pub fn assert_balanced(ledger: &Json) {
    let sum = |name: &str| match &ledger[name] {
        Json::Object(reasons) => reasons.values().map(|count| count.as_u64().unwrap()).sum(),
        count => count.as_u64().unwrap_or(0),
    };
    let incoming = sum("offered") + sum("restored");
    let settled: u64 = ["delivered", "duplicate", "rejected", "dropped", "skipped", "waiting"].map(sum).iter().sum();
    assert_eq!(incoming, settled, "{ledger}");
}

/// What a file output has written.
pub fn written(path: &Path) -> Samples {
    samples::of_lines(&std::fs::read_to_string(path).unwrap_or_default())
}
