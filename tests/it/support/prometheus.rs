//! A real Prometheus on loopback that takes remote write, and 3.x OTLP: what it has is asked of it in PromQL.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value as Json;
use tokio::process::{Child, Command};

use super::samples::{Samples, Series, canonical};
use super::world::until;
use crate::expose::client::ask;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's 2.42: remote write 1.
    Two,
    /// 3.x: remote write 2, native histograms, names of any characters.
    Three,
}

impl Version {
    /// The program; `None`, after a word about it, where the tests run without it. A panic where it is required.
    pub fn program(self) -> Option<PathBuf> {
        let (variable, engine) = match self {
            Self::Two => ("PROMFERRY_TEST_PROMETHEUS2", "prometheus2"),
            Self::Three => ("PROMFERRY_TEST_PROMETHEUS3", "prometheus3"),
        };
        let program = std::env::var_os(variable).map(PathBuf::from);
        if program.is_none() {
            let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|required| required == engine), "there is no {engine}");
            println!("skipped: no {engine} (tests/run fetches it)");
        }
        program
    }
}

/// One at work, or stopped. It is killed with the value; its data are in the folder that it was given.
pub struct Prometheus {
    version: Version,
    program: PathBuf,
    folder: PathBuf,
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Prometheus {
    /// Starts an empty one; `None`, after a word about it, where the tests run without it.
    pub async fn start(folder: &Path, version: Version) -> Option<Self> {
        Self::start_with(folder, version, "global: {scrape_interval: 1h}\n").await
    }

    /// Starts an empty one with this `prometheus.yml`.
    pub async fn start_with(folder: &Path, version: Version, config: &str) -> Option<Self> {
        let program = version.program()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = folder.join(format!("prometheus-{}", address.port()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let mut prometheus = Self { version, program, folder, address, child: None };
        prometheus.resume().await;
        Some(prometheus)
    }

    /// Where it takes samples.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Starts it again with the data that it had, and waits until it is ready.
    pub async fn resume(&mut self) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={}", self.address))
            .arg("--web.enable-remote-write-receiver")
            .arg(match self.version {
                Version::Two => "--enable-feature=exemplar-storage",
                Version::Three => {
                    "--enable-feature=exemplar-storage,native-histograms,created-timestamp-zero-ingestion"
                }
            })
            .args((self.version == Version::Three).then_some("--web.enable-otlp-receiver"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().append(true).create(true).open(path("log")).unwrap());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        until("Prometheus is ready", async || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", self.log());
            let is_there = tokio::net::TcpStream::connect(self.address).await.is_ok();
            (is_there && ask(self.address, "GET", "/-/ready", &[]).await.status == 200).then_some(())
        })
        .await;
        self.child = Some(child);
    }

    /// Ends it as the kernel does.
    pub async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.unwrap();
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The answer of its API to a path and its parameters.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Json {
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let answer = ask(self.address, "GET", &format!("/api/v1/{path}?{}", query.join("&")), &[]).await;
        let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
        assert_eq!((answer.status, &body["status"]), (200, &"success".into()), "{}", answer.body);
        body["data"].clone()
    }

    /// The value of each series that this expression gives at a moment, in milliseconds since 1970.
    pub async fn query(&self, expression: &str, at_ms: i64) -> BTreeMap<Series, String> {
        let data = self.api("query", &[("query", expression), ("time", &seconds(at_ms))]).await;
        let entries = data["result"].as_array().unwrap();
        entries.iter().map(|entry| (series(&entry["metric"]), text_of(&entry["value"][1]))).collect()
    }

    /// All samples that it has but its stale markers, which it shows to nobody.
    pub async fn samples(&self) -> Samples {
        let data = self.api("query", &[("query", "{__name__=~\".+\"}[1h]")]).await;
        let mut samples = Samples::new();
        for entry in data["result"].as_array().unwrap() {
            let series = series(&entry["metric"]);
            for sample in entry["values"].as_array().into_iter().flatten() {
                let at_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                samples.insert((series.clone(), at_ms), text_of(&sample[1]));
            }
        }
        samples
    }

    /// The sum of its own metrics of this name.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = ask(self.address, "GET", "/metrics", &[]).await;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        answer.body.lines().filter(of_name).map(value).sum()
    }
}

fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms / 1000, at_ms % 1000)
}

fn text_of(value: &Json) -> String {
    canonical(value.as_str().unwrap())
}

fn series(metric: &Json) -> Series {
    let mut labels: BTreeMap<String, String> = serde_json::from_value(metric.clone()).unwrap();
    Series { name: labels.remove("__name__").unwrap_or_default(), labels }
}
