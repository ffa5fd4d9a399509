//! `promferry top` beside a running process, beside one that is not there, and beside one that lies.

use std::net::TcpListener;

use serde_json::json;

use crate::support::exporter::Exporter;
use crate::support::fake_target::{FakeTarget, Step, answer};
use crate::support::terminal::Terminal;
use crate::support::world::{Process, World, command, outcome, until};

const CONFIG: &str = r#"
scrape_configs:
  - job_name: platform
    scrape_interval: 1s
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
outputs:
  - name: lines
    file: {path: "FOLDER/samples.jsonl"}
admin: {listen: "127.0.0.1:0"}
"#;

/// A process with one target that is up, and one where nobody listens.
async fn running(world: &World) -> (Process, Exporter) {
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, |nth| format!("a {nth}\nb 2\n")).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.deploy("gorouter", "1", &format!("port: {}\n", exporter.port()));
    world.deploy("rep", "1", &format!("port: {}\n", closed.port()));
    world.configure(CONFIG);
    let process = world.run().await;
    until("both were scraped", async || {
        let targets = process.targets().await;
        let health = |source: &str| Some(targets.get(source)?["health"].as_str()?.to_owned());
        (health("gorouter")? == "up" && health("rep")? == "down").then_some(())
    })
    .await;
    (process, exporter)
}

/// One view, as a script gets it.
async fn once(arguments: &[&str]) -> (i32, String, String) {
    outcome(&mut command(&[&["top", "--once"][..], arguments].concat())).await
}

#[tokio::test]
async fn one_view_shows_targets_and_outputs_what_is_wrong_first() {
    let world = World::new();
    let (process, exporter) = running(&world).await;
    let url = format!("http://{}", process.admin);
    let (code, out, err) = once(&["--url", &url]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(!out.contains('\u{1b}'), "stdout is no terminal: {out}");
    assert!(out.starts_with("promferry "), "{out}");
    assert!(out.contains(&format!(" at {url}, up ")), "{out}");
    assert!(out.contains("targets: 1 up, 1 down, 0 not scraped yet"), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let at =
        |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {out}"));
    assert!(lines[at("lines ")].starts_with("lines   file  fine "), "{out}");
    let up = at(&format!("gorouter  https://{}/metrics", exporter.address));
    assert!(lines[up].starts_with("up "), "{out}");
    // Beside its two samples there are `up` and its like.
    assert_eq!(lines[up].split_whitespace().nth(3), Some("2"), "{out}");
    let down = at("down  ");
    assert!(down < up, "{out}");
    assert!(lines[down + 1].starts_with("    nothing listens on 127.0.0.1:"), "{out}");
    assert!(lines[down + 2].starts_with("    Start the process, or correct the port"), "{out}");

    let (_, out, _) = once(&["--url", &url, "--filter", "GOROUTER", "--sort", "samples"]).await;
    assert!(out.contains(&exporter.address.to_string()) && !out.contains("down  "), "{out}");
    let (_, out, _) = once(&["--url", &url, "--filter", "nowhere"]).await;
    assert!(out.ends_with("none of 2 has the filter's text\n"), "{out}");
    let mut narrow = command(&["top", "--once", "--url", &url]);
    let (_, out, _) = outcome(narrow.env("COLUMNS", "40")).await;
    assert!(out.lines().all(|line| line.chars().count() <= 40) && out.contains("…\n"), "{out}");
    assert_eq!(process.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn an_admin_port_with_tls_is_asked_with_a_certificate() {
    let world = World::new();
    world.ca.server(&["127.0.0.1"]).write_to(world.folder(), "admin");
    world.configure(
        "outputs:\n  - name: lines\n    file: {path: FOLDER/samples.jsonl}\nadmin: {listen: \"127.0.0.1:0\", tls_config: \
         {cert_file: FOLDER/admin.crt, key_file: FOLDER/admin.key, client_ca_file: FOLDER/ca.crt}}\n",
    );
    let process = world.run().await;
    let url = format!("https://{}", process.admin);
    let file = |name: &str| world.path(name).display().to_string();
    let (ca, cert, key) = (file("ca.crt"), file("scrape.crt"), file("scrape.key"));
    let (code, out, err) = once(&["--url", &url, "--ca", &ca, "--cert", &cert, "--key", &key]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = once(&["--url", &url, "--insecure-skip-verify"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("the server wants a client certificate") && err.contains("--cert"), "{err}");
    let (code, _, err) = once(&["--url", &url, "--ca", &file("none.crt")]).await;
    assert_eq!(code, 1);
    assert!(err.contains("none.crt cannot be read"), "{err}");
}

#[tokio::test]
async fn a_process_that_is_not_there_is_a_sentence() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, out, err) = once(&["--url", &format!("http://{closed}")]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    let sentence = format!(
        "promferry: nothing listens on {closed} (connection refused); is promferry running there? Its log says where its admin \
         port is, give that with --url\n"
    );
    assert_eq!(err, sentence);
    let another = FakeTarget::start(Step::Answer(answer("200 OK", "", b"<html>\x1b[2J"))).await;
    let (code, _, err) = once(&["--url", &format!("http://{}", another.address)]).await;
    assert_eq!(code, 1);
    assert!(err.contains("does not answer as the admin port of promferry does (\"<html>\\u{1b}[2J\")"), "{err}");
    let (code, _, err) = once(&["--url", "127.0.0.1:9698"]).await;
    assert_eq!(
        (code, err.as_str()),
        (2, "promferry: --url \"127.0.0.1:9698\": a URL starts with http:// or https://\n")
    );
}

/// What a process says that has no `/api/v1/status` yet, and of a target whose texts are made to deceive.
async fn old_and_hostile() -> FakeTarget {
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x\r\ny";
    let target = json!({
        "scrapeUrl": format!("https://a/{hostile}"), "scrapePool": hostile, "labels": {hostile: hostile}, "health": "down",
        "lastError": hostile, "advice": hostile, "lastScrape": "2026-01-02T03:04:05Z", "lastScrapeDuration": 1e300,
    });
    let targets = json!({"data": {"activeTargets": vec![target; 50]}}).to_string();
    let output = json!({"name": hostile, "kind": hostile, "failing": hostile, "ledger": {"delivered": u64::MAX}});
    let outputs = json!({"data": {"outputs": [output]}}).to_string();
    let ok = |body: &str| Step::Answer(answer("200 OK", "", body.as_bytes()));
    let missing = Step::Answer(answer("404 Not Found", "", b"nothing is here"));
    let steps = (0..1000).flat_map(|_| [missing.clone(), ok(&targets), ok(&outputs)]);
    FakeTarget::start(crate::support::fake_target::Behaviour::Steps(steps.collect())).await
}

#[tokio::test]
async fn what_an_old_or_hostile_process_says_is_shown_as_far_as_it_goes() {
    let server = old_and_hostile().await;
    let (code, out, err) = once(&["--url", &format!("http://{}", server.address)]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(!out.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
    assert!(out.contains("targets that are down: 50; outputs that fail: 1\n"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("down ")).count(), 50, "{out}");
}

#[tokio::test]
async fn a_terminal_is_drawn_over_and_left_as_it_was() {
    let world = World::new();
    let (process, exporter) = running(&world).await;
    let url = format!("http://{}", process.admin);
    let mut top = command(&["top", "--url", &url]);
    top.env("TERM", "xterm").env_remove("NO_COLOR");
    let mut terminal = Terminal::start(top, 70, 20);
    let frame = terminal.until("both targets", |frame| frame.contains("up, 1 down")).await;
    let plain = |line: &str| {
        let mut out = String::new();
        let mut pieces = line.split('\u{1b}');
        out.push_str(pieces.next().unwrap());
        pieces.for_each(|piece| out.push_str(piece.split_once('m').unwrap().1));
        out
    };
    assert!(frame.split("\r\n").count() <= 20, "{frame}");
    assert!(frame.split("\r\n").all(|line| plain(line).chars().count() <= 70), "{frame}");
    assert!(frame.contains("\u{1b}[31mdown "), "{frame}");
    assert!(terminal.drawn().starts_with("\u{1b}[?1049h"), "an alternate screen");
    assert!(!terminal.is_as_before());

    terminal.press("s");
    terminal.until("the other order", |frame| frame.contains("s sort: duration")).await;
    terminal.press("/gorouq");
    terminal.until("q is a letter here", |frame| frame.contains("filter: gorouq_")).await;
    terminal.press("\u{7f}\r");
    let frame = terminal.until("one target", |frame| frame.contains("/ filter: \"gorou\"")).await;
    assert!(frame.contains(&exporter.address.to_string()) && !frame.contains("down  "), "{frame}");
    terminal.press("/");
    terminal.until("typing", |frame| frame.contains("filter: gorou_")).await;
    terminal.press("\u{1b}");
    terminal.until("all again", |frame| frame.contains("/ filter") && frame.contains("down  ")).await;

    // It outlives the process that it looks at, and says so.
    process.kill().await;
    let frame = terminal.until("the process is gone", |frame| frame.contains("nothing listens on")).await;
    assert!(frame.contains("down  "), "{frame}");
    terminal.press("q");
    let ended = until("it ends", async || terminal.child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
    assert!(terminal.is_as_before());
    until("the first screen is back", async || {
        terminal.drawn().ends_with("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_leaves_the_terminal_as_it_was() {
    let server = old_and_hostile().await;
    let top = command(&["top", "--url", &format!("http://{}", server.address), "--color", "never"]);
    let mut terminal = Terminal::start(top, 80, 24);
    let frame = terminal.until("many targets", |frame| frame.contains("\r\nand ")).await;
    assert!(frame.split("\r\n").count() <= 24, "{frame}");
    assert!(!frame.contains(|c: char| c.is_control() && !"\r\n".contains(c)), "{frame:?}");
    let id = terminal.child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = until("it ends", async || terminal.child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
    assert!(terminal.is_as_before());
}

#[tokio::test]
async fn a_stop_gives_the_terminal_to_the_shell_and_takes_it_back() {
    let server = old_and_hostile().await;
    let top = command(&["top", "--url", &format!("http://{}", server.address), "--color", "never"]);
    let mut terminal = Terminal::start(top, 80, 24);
    terminal.until("many targets", |frame| frame.contains("\r\nand ")).await;
    let id = terminal.child.id().unwrap();
    let signal = |word: &str| {
        let sent = std::process::Command::new("kill").args([word, &id.to_string()]).status();
        assert!(sent.unwrap().success());
    };
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    signal("-TSTP");
    until("it stands still", async || is_stopped().then_some(())).await;
    assert!(terminal.is_as_before());
    until("the first screen is back", async || terminal.drawn().ends_with("\u{1b}[?1049l").then_some(())).await;
    signal("-CONT");
    until("it is drawn again", async || {
        let drawn = terminal.drawn();
        let (_, again) = drawn.rsplit_once("\u{1b}[?1049h")?;
        (drawn.matches("\u{1b}[?1049h").count() == 2 && again.contains("\r\nand ")).then_some(())
    })
    .await;
    assert!(!terminal.is_as_before());
    signal("-QUIT");
    let ended = until("it ends", async || terminal.child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
    assert!(terminal.is_as_before());
}
