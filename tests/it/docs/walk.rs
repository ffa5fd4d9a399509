//! Types what a document says, from top to bottom, as somebody would who has cloned the repository and built it.
//!
//! A walk is the part "Before you start", when there is one, and one other part. All its blocks `sh run` and `console run` go to
//! one shell, one after another; each block `sh background` is a terminal of its own, with the folder and the variables that the
//! first one has. Three things are not as on somebody's machine: `cargo build` finds that everything is built, ports of
//! 127.0.0.1 are others, because tests run at the same time, and on 9090 listens a receiver of remote write.
//!
//! What is shown behind a prompt is compared: `…` stands for anything in a line, and alone for any lines. A command is typed
//! again until it answers so, for 30 s.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::markdown::{Block, documents, root};
use super::shell::dialogue;
use crate::support::remote_write::WriteServer;
use crate::support::world::until;

/// The heading of what every walk begins with.
const BEFORE: &str = "Before you start";
/// What the shell says when a command has ended, before the command's exit code.
const ENDED: &str = "--ended--";
/// A command is typed again until it answers as shown, or for so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Where the documents have a receiver of remote write.
const RECEIVER: &str = "9090";

#[tokio::test]
async fn a_telegraf_user_types_the_quick_start() {
    walk("docs/quick-start.md", "A Telegraf user").await;
}

#[tokio::test]
async fn a_prometheus_user_types_the_quick_start() {
    walk("docs/quick-start.md", "A Prometheus or vmagent user").await;
}

#[tokio::test]
async fn a_bosh_operator_types_the_quick_start() {
    walk("docs/quick-start.md", "A BOSH operator").await;
}

#[tokio::test]
async fn somebody_with_one_endpoint_types_the_quick_start() {
    walk("docs/quick-start.md", "One endpoint, one receiver").await;
}

/// What is to be typed is typed by one of the tests above.
#[test]
fn every_part_with_something_to_type_is_walked() {
    let own = include_str!("walk.rs");
    let mut left_out = Vec::new();
    for document in documents() {
        let path = document.path.display().to_string();
        for block in document.blocks.iter().filter(|block| is_typed(block) && block.part != BEFORE) {
            if !own.contains(&format!("walk(\"{path}\", \"{}\")", block.part)) {
                left_out.push(block.place.clone());
            }
        }
    }
    assert_eq!(left_out, [""; 0]);
}

fn is_typed(block: &Block) -> bool {
    let how = block.words.split(' ').next().unwrap_or_default();
    how == "run" || how == "background"
}

/// What the documents take for granted, and a machine may lack that only builds; `tests/run` brings it along.
fn has_tools() -> bool {
    let runs = |tool: &&str| std::process::Command::new(tool).arg("--help").output().is_ok();
    let has = ["bash", "curl", "openssl"].iter().all(runs);
    if !has {
        let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
        // Its tests need curl as well, and bring it along.
        assert!(!required.split(',').any(|engine| engine == "ruby"), "bash, curl or openssl is missing");
        println!("skipped: there is no bash, curl or openssl");
    }
    has
}

async fn walk(path: &str, part: &str) {
    if !has_tools() {
        return;
    }
    let document = documents().into_iter().find(|document| document.path == Path::new(path)).expect(path);
    let blocks = document.blocks.iter().filter(|block| is_typed(block) && (block.part == BEFORE || block.part == part));
    let blocks = blocks.cloned().collect::<Vec<_>>();
    assert!(blocks.iter().any(|block| block.part == part), "{path} has nothing to type under \"{part}\"");

    let receiver = WriteServer::start(None, Vec::new()).await;
    let ports = ports(&blocks, receiver.address.port());
    let clone = clone();
    let mut terminal = Terminal::open(clone.path()).await;
    let mut others = Vec::new();
    for block in &blocks {
        let text = with_ports(&block.text, &ports);
        if block.words.starts_with("background") {
            let ready = block.words.strip_prefix("background until ").unwrap_or("promferry is running");
            others.push(terminal.other(&text, ready, &block.place).await);
        } else if block.language == "console" {
            for (typed, answer) in dialogue(&text).unwrap() {
                terminal.converse(&typed, &answer, &block.place).await;
            }
        } else {
            let (code, said) = terminal.enter(&text).await;
            assert_eq!(code, 0, "{}: {text}\n{}", block.place, said.join("\n"));
        }
    }
    for other in others.into_iter().rev() {
        other.end().await;
    }
}

/// For each port that is shown, one that is free: promferry's and its peers' are numbers of four digits from 9000 on.
fn ports(blocks: &[Block], receiver: u16) -> BTreeMap<String, String> {
    let numbers = blocks.iter().flat_map(|block| block.text.split(|c: char| !c.is_ascii_digit()));
    let mut ports = BTreeMap::new();
    // All are held until all are chosen.
    let mut held = Vec::new();
    for shown in numbers.filter(|number| number.len() == 4 && number.starts_with('9')) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = if shown == RECEIVER { receiver } else { listener.local_addr().unwrap().port() };
        ports.entry(shown.to_owned()).or_insert(free.to_string());
        held.push(listener);
    }
    ports
}

/// The text with the other ports: whole numbers are looked at, for a free port may end in one that is shown.
fn with_ports(text: &str, ports: &BTreeMap<String, String>) -> String {
    let (mut out, mut number) = (String::new(), String::new());
    // The end is no digit either.
    for c in text.chars().map(Some).chain([None]) {
        match c {
            Some(c) if c.is_ascii_digit() => number.push(c),
            other => {
                out.push_str(ports.get(&number).unwrap_or(&number));
                number.clear();
                out.extend(other);
            }
        }
    }
    out
}

/// What a clone looks like in which `cargo build --release` has been typed.
fn clone() -> TempDir {
    let clone = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "target" {
            symlink(entry.path(), clone.path().join(entry.file_name())).unwrap();
        }
    }
    let (built, tools) = (clone.path().join("target/release"), clone.path().join("target/bin"));
    std::fs::create_dir_all(&built).unwrap();
    std::fs::create_dir_all(&tools).unwrap();
    symlink(env!("CARGO_BIN_EXE_promferry"), built.join("promferry")).unwrap();
    std::fs::write(tools.join("cargo"), "#!/bin/sh\n[ \"$*\" = 'build --release' ]\n").unwrap();
    std::fs::set_permissions(tools.join("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    clone
}

/// A shell, in which one thing is typed after another.
struct Terminal {
    _shell: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What is typed next.
    typed: PathBuf,
    /// What another terminal takes over.
    state: PathBuf,
}

impl Terminal {
    async fn open(clone: &Path) -> Self {
        let path = format!("{}:{}", clone.join("target/bin").display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(clone).env("PATH", path).kill_on_drop(true);
        for name in ["RUST_LOG", "PROMFERRY_CONFIG", "PROMFERRY_CONFIG_YAML", "TMPDIR"] {
            bash.env_remove(name);
        }
        // Nobody's proxy is asked for what is on this machine.
        bash.env("no_proxy", "*");
        let mut shell = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(b"exec 2>&1\n").await.unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap()).lines();
        let (typed, state) = (clone.join("target/typed"), clone.join("target/state"));
        Self { _shell: shell, input, output, typed, state }
    }

    /// Types it; the exit code, and what was said.
    async fn enter(&mut self, text: &str) -> (i32, Vec<String>) {
        std::fs::write(&self.typed, text).unwrap();
        let line = format!(". {} </dev/null; printf '\\n{ENDED} %s\\n' $?\n", self.typed.display());
        self.input.write_all(line.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        loop {
            let line = self.output.next_line().await.unwrap().expect("the shell goes on");
            let Some(code) = line.strip_prefix(ENDED) else {
                said.push(line);
                continue;
            };
            // The line break that goes before the mark.
            if said.last().is_some_and(String::is_empty) {
                said.pop();
            }
            return (code.trim().parse().unwrap(), said);
        }
    }

    /// Types it until the answer is the one that is shown.
    async fn converse(&mut self, typed: &str, answer: &[String], place: &str) {
        let began = Instant::now();
        loop {
            let (_, said) = self.enter(typed).await;
            if is_like(answer, &said) {
                return;
            }
            let (shown, said) = (answer.join("\n"), said.join("\n"));
            assert!(began.elapsed() < ANSWER_TIME_MAX, "{place}: $ {typed}\n-- shown:\n{shown}\n-- said:\n{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Another terminal in which this is typed, after it said what it says when it is ready.
    async fn other(&mut self, text: &str, ready: &str, place: &str) -> Other {
        self.enter(&format!("{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {}", self.state.display())).await;
        let script = format!(". {}\n{text}", self.state.display());
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", &script]).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        let shell = bash.stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap()).spawn().unwrap();
        let mut other = Other { shell, log };
        until(&format!("{place}: \"{ready}\""), async || {
            let said = other.said();
            assert_eq!(other.shell.try_wait().unwrap(), None, "{place}: {said}");
            said.contains(ready).then_some(())
        })
        .await;
        other
    }
}

/// A terminal that is busy.
struct Other {
    shell: Child,
    log: tempfile::NamedTempFile,
}

impl Other {
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log.path()).unwrap()).into_owned()
    }

    /// Ctrl-C, which all processes of a terminal get.
    async fn end(mut self) {
        self.interrupt();
        until("it ends with Ctrl-C", async || self.shell.try_wait().unwrap()).await;
    }

    fn interrupt(&self) {
        if let Some(group) = self.shell.id() {
            let _ = std::process::Command::new("kill").args(["-INT", "--", &format!("-{group}")]).status();
        }
    }
}

impl Drop for Other {
    /// Also where the test failed: what the shell started is not killed with it.
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// Whether these lines are those that are shown.
fn is_like(shown: &[String], said: &[String]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((any, rest)) if any == "…" => (0..=said.len()).any(|skipped| is_like(rest, &said[skipped..])),
        Some((line, rest)) => said.first().is_some_and(|first| is_line_like(line, first)) && is_like(rest, &said[1..]),
    }
}

fn is_line_like(shown: &str, said: &str) -> bool {
    match shown.split_once('…') {
        None => shown == said,
        Some((begin, rest)) => said.strip_prefix(begin).is_some_and(|behind| {
            behind.char_indices().map(|(at, _)| at).chain([behind.len()]).any(|at| is_line_like(rest, &behind[at..]))
        }),
    }
}

#[test]
fn a_free_port_that_ends_in_one_that_is_shown_stays_whole() {
    let ports = [("9796", "49799"), ("9799", "40001")].map(|(shown, free)| (shown.to_owned(), free.to_owned()));
    assert_eq!(with_ports("a:9796 b:9799/19799 c9799", &ports.into()), "a:49799 b:40001/19799 c40001");
}

#[test]
fn what_is_shown_is_compared() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let is_like = |shown, said| is_like(&lines(shown), &lines(said));
    assert!(is_like("a\n…\nz", "a\nb\nz") && is_like("a\n…\nz", "a\nz") && is_like("up{…} 1", "up{job=\"x\"} 1"));
    assert!(!is_like("a\n…\nz", "a\nb") && !is_like("up{…} 1", "up{} 0") && !is_like("a", "a\nb") && !is_like("a", ""));
}
