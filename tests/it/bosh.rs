//! The BOSH release: templates rendered with BOSH's semantics, and what comes of them given to the executable.
//!
//! Ruby renders (`tests/bosh`); without it these tests say so, and pass. `tests/run` brings it along and requires it.

mod operations;
mod properties;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::certificates::Ca;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn job() -> PathBuf {
    root().join("bosh/jobs/promferry")
}

/// Whether there is Ruby, and curl, which a script of the job uses; a word where there is not. A panic where they are required.
fn has_ruby() -> bool {
    let runs = |tool| Command::new(tool).arg("--version").output().is_ok_and(|said| said.status.success());
    let has = runs("ruby") && runs("curl");
    if !has {
        assert!(!is_required("ruby"), "there is no Ruby, or no curl");
        println!("skipped: no Ruby, or no curl (tests/run installs them)");
    }
    has
}

/// Whether `tests/run` says that an engine is there.
fn is_required(engine: &str) -> bool {
    let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name == engine)
}

/// Runs a Ruby script of `tests/bosh` that ends well; what it says.
fn ruby(script: &str, arguments: &[&Path], input: &str) -> String {
    let mut command = Command::new("ruby");
    command.arg(root().join("tests/bosh").join(script)).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// An instance, as BOSH tells of it.
fn instance() -> Json {
    json!({"deployment": "cf", "name": "router", "index": 2, "id": "0e4cc47a-abc1-4360-b3f7-46ba7fc10000",
           "ip": "10.0.16.4", "address": "10.0.16.4", "az": "z1", "bootstrap": false})
}

/// A job whose templates are filled in.
struct Rendered {
    /// Texts by their paths below the job's folder.
    files: BTreeMap<String, String>,
    /// Properties that templates asked for.
    asked: BTreeSet<String>,
    /// Properties of the spec.
    known: BTreeSet<String>,
}

impl Rendered {
    fn new(properties: &Json, links: &Json) -> Result<Self, String> {
        Self::all(&[(properties, links)]).remove(0)
    }

    /// Renders with each of these properties and links, in one run of Ruby.
    fn all(requests: &[(&Json, &Json)]) -> Vec<Result<Self, String>> {
        let request = |(properties, links): &(&Json, &Json)| json!({"job": job(), "properties": properties, "spec": instance(), "links": links});
        let requests = Json::Array(requests.iter().map(request).collect());
        let answers: Vec<Json> = serde_json::from_str(&ruby("render.rb", &[], &requests.to_string())).unwrap();
        answers.iter().map(Self::read).collect()
    }

    fn read(answer: &Json) -> Result<Self, String> {
        if let Some(error) = answer["error"].as_str() {
            return Err(error.to_owned());
        }
        let names = |key: &str| serde_json::from_value(answer[key].clone()).unwrap();
        let files = serde_json::from_value(answer["files"].clone()).unwrap();
        Ok(Self { files, asked: names("asked"), known: names("known") })
    }

    /// A rendering that goes well, without links.
    fn of(properties: Json) -> Self {
        Self::new(&properties, &json!({})).unwrap_or_else(|error| panic!("{error}"))
    }

    fn file(&self, path: &str) -> &str {
        self.files.get(path).unwrap_or_else(|| panic!("there is no {path}"))
    }

    fn config(&self) -> &str {
        self.file("config/promferry.yml")
    }
}

/// A VM: BOSH's folders, below a folder of our own instead of `/`.
struct Vm(TempDir);

impl Vm {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["jobs", "data", "sys/log/promferry", "sys/run/bpm/promferry", "packages/promferry/bin"] {
            std::fs::create_dir_all(folder.path().join("var/vcap").join(path)).unwrap();
        }
        let executable = folder.path().join("var/vcap/packages/promferry/bin/promferry");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_promferry"), executable).unwrap();
        Self(folder)
    }

    /// A path of the VM here.
    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Writes the files of the job. `/var/vcap` in them becomes the folder's.
    fn deploy(&self, rendered: &Rendered) {
        use std::os::unix::fs::PermissionsExt as _;
        for (path, text) in &rendered.files {
            let target = self.path(&format!("/var/vcap/jobs/promferry/{path}"));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(&target, self.moved(text)).unwrap();
            let mode = if path.starts_with("bin/") { 0o750 } else { 0o640 };
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn moved(&self, text: &str) -> String {
        text.replace("/var/vcap", self.path("/var/vcap").to_str().unwrap())
    }

    /// Runs a script or program with nothing said to it in the environment; exit code, stdout and stderr with `/var/vcap` in
    /// them as on a VM.
    fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).stdin(Stdio::null());
        for name in ["RUST_LOG", "PROMFERRY_CONFIG", "PROMFERRY_CONFIG_YAML"] {
            command.env_remove(name);
        }
        let ended = command.output().unwrap();
        let here = self.path("/var/vcap");
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(here.to_str().unwrap(), "/var/vcap");
        (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
    }

    fn check(&self) -> (i32, String, String) {
        let config = self.path("/var/vcap/jobs/promferry/config/promferry.yml");
        self.run(env!("CARGO_BIN_EXE_promferry"), &["check", "-c", config.to_str().unwrap()])
    }
}

/// Certificates of a platform, PEM.
struct Pems {
    ca: String,
    certificate: String,
    key: String,
}

impl Pems {
    fn new() -> Self {
        let ca = Ca::named("platform");
        let pair = ca.client("promferry");
        Self { ca: ca.pem(), certificate: pair.certificate_pem, key: pair.key_pem }
    }

    /// Properties of a `tls` towards a server.
    fn client(&self) -> Json {
        json!({"ca_cert": self.ca, "cert": self.certificate, "key": self.key})
    }

    /// Properties of a `tls` of a listener.
    fn server(&self) -> Json {
        json!({"client_ca_cert": self.ca, "cert": self.certificate, "key": self.key})
    }
}

/// The links of a cf-deployment, as nats-release's `nats-tls` and loggregator-release's `doppler` provide them.
fn links(pems: &Pems) -> Json {
    let doppler = json!({"cert": pems.certificate, "key": pems.key});
    json!({
        "nats-tls": {
            "instances": [{"name": "nats", "index": 0, "id": "a", "address": "10.0.16.9"}],
            "properties": {"nats": {"hostname": "nats.service.cf.internal", "port": 4224, "user": "nats",
                                    "password": "link-password", "external": {"tls": {"ca": pems.ca}}}},
        },
        "loggregator": {
            "instances": [],
            "properties": {"loggregator": {"tls": {"ca_cert": pems.ca, "doppler": doppler}}, "metron_endpoint": {"grpc_port": 3458}},
        },
    })
}
