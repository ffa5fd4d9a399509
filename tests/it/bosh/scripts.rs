//! The job's scripts, run against the executable; and what the program says of files that bpm hides.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::{Pems, Rendered, Vm, has_ruby};
use crate::support::exporter::Exporter;
use crate::support::world::{World, command, outcome, until};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A VM with the job on it, and the ports that its promferry has to itself.
fn deployed(more: &[(&str, Json)]) -> (Vm, u16) {
    let (vm, admin) = (Vm::new(), free_port());
    let mut properties = json!({"admin": {"port": admin}, "expose": {"port": free_port()}});
    for (name, value) in more {
        properties[*name] = value.clone();
    }
    vm.deploy(&Rendered::of(properties));
    (vm, admin)
}

fn script(vm: &Vm, name: &str) -> (i32, String, String) {
    vm.run(vm.path(&format!("/var/vcap/jobs/promferry/bin/{name}")), &[])
}

#[test]
fn every_script_is_one() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let tls = json!({"admin": {"tls": pems.server()}, "announce": {"server_name": "x"}, "env": {"A": "it's $HOME"}});
    for properties in [json!({}), json!({"admin": {"enabled": false}}), tls] {
        let rendered = Rendered::of(properties);
        for name in ["pre-start", "post-start", "drain"] {
            let text = rendered.file(&format!("bin/{name}"));
            assert!(text.starts_with("#!/usr/bin/env bash\n"), "{name}: {text}");
            let said = Command::new("bash").args(["-n", "-c", text]).output().unwrap();
            assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
    let rendered = Rendered::of(json!({"env": {"A": "it's $HOME"}}));
    assert!(rendered.file("bin/pre-start").contains("export A=it\\'s\\ \\$HOME\n"));
    assert!(rendered.file("monit").contains("\"/var/vcap/jobs/bpm/bin/bpm start promferry\""));
}

/// An empty property means "not set", in a script as in the configuration.
#[test]
fn post_start_asks_where_the_admin_port_is_though_its_address_is_empty() {
    if !has_ruby() {
        return;
    }
    let rendered = Rendered::of(json!({"admin": {"address": ""}}));
    assert!(rendered.config().contains("listen: 127.0.0.1:9698"), "{}", rendered.config());
    assert!(rendered.file("bin/post-start").contains("host='127.0.0.1'\n"), "{}", rendered.file("bin/post-start"));
}

#[test]
fn pre_start_says_what_is_wrong_and_ends_the_deploy() {
    if !has_ruby() {
        return;
    }
    let (vm, _) = deployed(&[]);
    let (code, out, err) = script(&vm, "pre-start");
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "scrape_configs: 1, outputs: 1: nothing is wrong with them\n", "")
    );

    let variable = json!({"extra_configs": [{"job_name": "x", "static_configs": [{"targets": ["${HOST}:1"]}]}]});
    let (vm, _) = deployed(&[("scrape", variable.clone()), ("env", json!({"HOST": "10.0.0.1"}))]);
    assert_eq!(script(&vm, "pre-start").0, 0, "the variables of the process are there");

    let (vm, _) = deployed(&[("scrape", variable)]);
    let (code, _, err) = script(&vm, "pre-start");
    assert_eq!(code, 1);
    let (first, last) = err.trim_end().split_once('\n').unwrap();
    assert!(first.starts_with("/var/vcap/jobs/promferry/config/promferry.yml:") && first.contains("HOST"), "{err}");
    assert_eq!(
        last,
        "promferry: /var/vcap/jobs/promferry/config/promferry.yml cannot be used, for the reasons above; it is made from the \
         properties of the job promferry"
    );
}

/// Not moved below a folder of ours: what bpm hides is a matter of the VM's paths.
#[test]
fn pre_start_names_what_bpm_will_hide_and_goes_on() {
    if !has_ruby() {
        return;
    }
    let vm = Vm::new();
    let config = vm.path("/var/vcap/jobs/gorouter/config");
    std::fs::create_dir_all(&config).unwrap();
    let certs = "/var/vcap/jobs/gorouter/config/certs";
    let announcement = format!(
        "port: 9100\nscheme: https\nca_path: {certs}/ca.crt\nclient_cert_path: {certs}/c.crt\nclient_key_path: {certs}/c.key\n"
    );
    std::fs::write(config.join("prom_scraper_config.yml"), announcement).unwrap();
    let globs = vm.path("/var/vcap/jobs/*/config/prom_scraper_config.yml");
    let run = |volumes: Json| {
        let rendered = Rendered::of(json!({"scrape": {"globs": [globs]}, "bpm": {"volumes": volumes}}));
        let path = vm.path("/var/vcap/jobs/promferry.yml");
        std::fs::write(&path, rendered.config()).unwrap();
        let script = rendered
            .file("bin/pre-start")
            .replace("/var/vcap/jobs/promferry/config/promferry.yml", path.to_str().unwrap());
        let script = script.replace("/var/vcap/packages/promferry/bin/promferry", env!("CARGO_BIN_EXE_promferry"));
        vm.run("bash", &["-c", &script])
    };
    let (code, _, err) = run(json!([format!("{certs}/c.*")]));
    assert_eq!(code, 0);
    assert_eq!(
        err,
        "https://127.0.0.1:9100/metrics: ca_file \"/var/vcap/jobs/gorouter/config/certs/ca.crt\" is not visible under bpm: add it \
         to the property bpm.volumes of the job promferry; until then this target cannot be scraped, the others can\n"
    );
    let (code, _, err) = run(json!([format!("{certs}/*")]));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[tokio::test]
async fn a_file_that_bpm_hides_is_named_and_the_other_targets_go_on() {
    let world = World::new();
    let tls = world.ca.server(&["gorouter.internal"]).server_config(Some(&world.ca));
    let exporter = Exporter::start(tls, |nth| format!("a {nth}\n")).await;
    let port = exporter.address.port();
    let announced = |more: &str| format!("port: {port}\nscheme: https\nserver_name: gorouter.internal\n{more}");
    world.deploy("seen", "1", &announced(""));
    // It is on no machine that runs this test, as it is on none that bpm shows.
    world.deploy(
        "hidden",
        "1",
        &announced("ca_path: /var/vcap/jobs/not-here/config/ca.crt\nlabels: {which: hidden}\n"),
    );
    world.configure(
        "scrape_configs:\n  - job_name: platform\n    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}\n    \
         prom_scraper_sd_configs: [{files: [\"FOLDER/jobs/*/config/prom_scraper_config.yml\"]}]\n\
         outputs: [{name: lines, file: {path: lines}}]\n",
    );
    let url = format!("https://127.0.0.1:{port}/metrics");
    let check = |volumes: Option<&'static str>| {
        let mut command = command(&["check", "--connect", "-c", "promferry.yml"]);
        command.current_dir(world.folder());
        match volumes {
            Some(volumes) => command.env("PROMFERRY_BPM_VOLUMES", volumes),
            None => command.env_remove("PROMFERRY_BPM_VOLUMES"),
        };
        async move { outcome(&mut command).await }
    };
    let failed =
        format!("{url}: ca_file /var/vcap/jobs/not-here/config/ca.crt cannot be read: No such file or directory");
    let remedy = "not visible under bpm: add it to the property bpm.volumes of the job promferry";
    let seen = format!("{url}: 1 samples\n");

    let (code, out, _) = check(Some("/var/vcap/jobs/promferry")).await;
    assert_eq!(code, 1);
    assert!(out.contains(&format!("{failed}; {remedy}\n")), "{out}");
    assert!(out.contains(&seen), "the other goes on: {out}");

    for volumes in [None, Some("/var/vcap/jobs/*/config/ca.crt")] {
        let (_, out, err) = check(volumes).await;
        assert!(
            out.contains(&format!("{failed}\n")) && !err.contains("bpm"),
            "where bpm is not the reason it is not named: {out}{err}"
        );
    }
}

#[tokio::test]
async fn a_start_is_waited_for_and_the_end_too() {
    if !has_ruby() {
        return;
    }
    let (vm, _) = deployed(&[]);
    let config = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
    let mut process = command(&["run", "-c", config.to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
    let pid_file = vm.path("/var/vcap/sys/run/bpm/promferry/promferry.pid");
    std::fs::write(&pid_file, process.id().unwrap().to_string()).unwrap();

    let (code, out, err) = vm.run(vm.path("/var/vcap/jobs/promferry/bin/post-start"), &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "promferry: ready\n", ""));

    // Whoever started it collects it, as the system's first process does on a VM.
    let ended = tokio::spawn(async move { process.wait().await.unwrap() });
    let drain = vm.path("/var/vcap/jobs/promferry/bin/drain");
    let vm = std::sync::Arc::new(vm);
    let drained = tokio::task::spawn_blocking({
        let vm = vm.clone();
        move || vm.run(drain, &[])
    });
    let (code, out, err) = drained.await.unwrap();
    assert_eq!((code, out.as_str(), err.as_str()), (0, "0\n", ""), "BOSH reads a number and nothing else");
    assert_eq!(ended.await.unwrap().code(), Some(0));
    assert!(!pid_file.exists(), "as bpm wants it");
    assert_eq!(script(&vm, "drain").1, "0\n", "nothing to end is no error");
    let log = std::fs::read_to_string(vm.path("/var/vcap/sys/log/promferry/drain.log")).unwrap();
    let words: Vec<&str> = log.lines().filter_map(|line| line.split_once(' ')).map(|(_, words)| words).collect();
    assert!(words[0].starts_with("told process ") && words[1].ends_with(" has ended"), "{log}");
    assert_eq!(words[2], "promferry does not run");
}

#[tokio::test]
async fn in_place_of_metrics_agent_it_is_ready_at_once_and_lists_its_targets() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let agent = json!({"enabled": true, "port": free_port(), "metrics_port": free_port(), "tls": pems.server()});
    let (vm, _) = deployed(&[("metrics_agent", agent), ("post_start", json!({"timeout_seconds": 25}))]);
    std::fs::create_dir_all(vm.path("/var/vcap/data/promferry")).unwrap();
    let config = vm.path("/var/vcap/jobs/gorouter/config");
    std::fs::create_dir_all(&config).unwrap();
    // Nobody answers there: whether a target does is no matter of the start.
    std::fs::write(config.join("prom_scraper_config.yml"), "port: 1\nsource_id: gorouter\n").unwrap();
    let config = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
    let mut command = command(&["run", "-c", config.to_str().unwrap()]);
    let _process = command.stderr(Stdio::null()).spawn().unwrap();
    let (code, out, err) = script(&vm, "post-start");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "promferry: ready\n", ""));
    // Ready is that the ports answer; the file comes with the first look at the jobs.
    let file = vm.path("/var/vcap/data/promferry/metric_targets.yml");
    let has_job = |listed: &String| listed.contains("gorouter__");
    let listed = until("the targets", async || std::fs::read_to_string(&file).ok().filter(has_job)).await;
    for source in ["metrics_agent_exporter", "gorouter", "promferry"] {
        assert!(listed.contains(&format!("source: {source}__0e4cc47a-abc1-4360-b3f7-46ba7fc10000\n")), "{listed}");
    }
    assert!(listed.contains("instance_group: router\n"), "{listed}");
}

#[test]
fn a_start_that_does_not_come_ends_the_deploy_and_says_where_to_look() {
    if !has_ruby() {
        return;
    }
    let (vm, admin) = deployed(&[("post_start", json!({"timeout_seconds": 1}))]);
    let (code, out, err) = script(&vm, "post-start");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with(&format!("promferry: no answer on 127.0.0.1:{admin} within 1 s (")), "{err}");
    assert!(err.ends_with("); see /var/vcap/sys/log/promferry/promferry.stderr.log\n"), "{err}");

    let off = Rendered::of(json!({"admin": {"enabled": false}}));
    let (code, out, _) = vm.run("bash", &["-c", off.file("bin/post-start")]);
    assert_eq!((code, out.as_str()), (0, "promferry: admin.enabled is false, so nothing tells whether it is ready\n"));
}

/// Whatever is rendered names no file that BOSH does not put there.
#[test]
fn scripts_name_only_files_of_the_job() {
    if !has_ruby() {
        return;
    }
    let rendered = Rendered::of(json!({}));
    let job = Path::new("/var/vcap/jobs/promferry");
    for (name, text) in rendered.files.iter().filter(|(name, _)| name.starts_with("bin/")) {
        for word in text.split(|c: char| c.is_whitespace() || "\"';()=:".contains(c)) {
            let Ok(below) = Path::new(word).strip_prefix(job) else { continue };
            let is_there = below.as_os_str().is_empty() || rendered.files.contains_key(below.to_str().unwrap());
            assert!(is_there, "{name} names {word}");
        }
    }
}
