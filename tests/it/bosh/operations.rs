//! Ops files on a manifest, the runtime config, and the package.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use super::{Pems, Rendered, Vm, has_ruby, is_required, links, root, ruby};

/// The manifest of the tests with ops files applied to it, by their names.
fn manifest(operations: &[&str]) -> Json {
    let mut files = vec![root().join("tests/bosh/cf.yml")];
    files.extend(operations.iter().map(|name| root().join(format!("bosh/operations/{name}.yml"))));
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    serde_json::from_str(&ruby("interpolate.rb", &files, "")).unwrap()
}

fn named<'j>(list: &'j Json, name: &str) -> Option<&'j Json> {
    list.as_array().unwrap().iter().find(|entry| entry["name"] == name)
}

/// Variables, `((name.part))`, replaced by what a director would put there.
fn with_variables(value: &Json, pems: &Pems) -> Json {
    match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), with_variables(value, pems))).collect(),
        Json::Array(list) => list.iter().map(|value| with_variables(value, pems)).collect(),
        Json::String(text) if text.starts_with("((") => match text.trim_matches(['(', ')']) {
            name if name.ends_with(".private_key") => json!(pems.key),
            name if name.ends_with(".certificate") => json!(pems.certificate),
            name if name.ends_with(".ca") || name.ends_with("_ca") => json!(pems.ca),
            name if name.ends_with("_urls") => json!(["https://receiver.example.com:9200"]),
            _ => json!("a-word"),
        },
        other => other.clone(),
    }
}

/// Renders the job with the properties that an addon gives it, and lets `promferry check` look at the result.
fn job_of(addon: &Json, pems: &Pems) -> Rendered {
    let job = named(&addon["jobs"], "promferry").expect("the addon has the job");
    let properties = with_variables(&job["properties"], pems);
    let rendered = Rendered::new(&properties, &links(pems)).unwrap_or_else(|error| panic!("{error}"));
    let vm = Vm::new();
    vm.deploy(&rendered);
    let (code, out, err) = vm.check();
    assert_eq!((code, err.as_str()), (0, ""), "{out}\n{}", rendered.config());
    rendered
}

#[test]
fn ops_files_put_promferry_into_a_cf_deployment() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let outputs = |operations: &[&str]| {
        let manifest = manifest(operations);
        assert!(named(&manifest["releases"], "promferry").is_some());
        let rendered = job_of(named(&manifest["addons"], "promferry").unwrap(), &pems);
        let names = rendered.config().lines().filter_map(|line| line.strip_prefix("- name: "));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(outputs(&["colocate"]), ["expose"]);
    assert_eq!(outputs(&["colocate", "send-to-elasticsearch"]), ["elasticsearch"]);
    assert_eq!(outputs(&["colocate", "send-to-splunk"]), ["splunk_hec"]);
    assert_eq!(outputs(&["colocate", "expose-to-prometheus", "send-to-splunk"]), ["splunk_hec", "expose"]);
    assert_eq!(outputs(&["colocate", "replace-prom-scraper"]), ["loggregator"]);
    let all = [
        "colocate",
        "replace-metrics-agent",
        "replace-prom-scraper",
        "send-to-elasticsearch",
        "send-to-splunk",
        "expose-to-prometheus",
    ];
    assert_eq!(outputs(&all), ["elasticsearch", "splunk_hec", "loggregator", "expose"]);
    let twice = ["colocate", "send-to-splunk", "send-to-splunk"];
    assert_eq!(manifest(&twice), manifest(&twice[..2]), "an ops file may come twice");
}

#[test]
fn what_is_replaced_is_gone_and_its_ports_and_certificates_stay() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let manifest = manifest(&["colocate", "replace-metrics-agent", "replace-prom-scraper"]);
    let addons: Vec<&str> =
        manifest["addons"].as_array().unwrap().iter().filter_map(|addon| addon["name"].as_str()).collect();
    assert_eq!(addons, ["loggregator_agent", "bpm", "promferry"]);
    assert!(named(&manifest["instance_groups"][1]["jobs"], "scrape-config-generator").is_some(), "it is still served");
    assert!(named(&manifest["releases"], "metrics-discovery").is_some());
    let variable = named(&manifest["variables"], "metrics_agent_tls").unwrap();
    assert_eq!(variable["options"]["ca"], "metric_scraper_ca");
    let rendered = job_of(named(&manifest["addons"], "promferry").unwrap(), &pems);
    for part in [
        "listen: 0.0.0.0:14726\n",
        "metrics_listen: 127.0.0.1:14727\n",
        "listen: 127.0.0.1:3461\n",
        "- nats://nats.service.cf.internal:4224\n",
        "scrape_interval: 60s\n",
    ] {
        assert!(rendered.config().contains(part), "{part:?} is not in\n{}", rendered.config());
    }
}

#[test]
fn an_ops_file_on_a_manifest_that_it_does_not_fit_says_so() {
    if !has_ruby() {
        return;
    }
    let (script, base) = (root().join("tests/bosh/interpolate.rb"), root().join("tests/bosh/cf.yml"));
    let file = root().join("bosh/operations/send-to-splunk.yml");
    let said = Command::new("ruby").args([&script, &base, &file]).output().unwrap();
    assert!(!said.status.success());
    let expected = "send-to-splunk.yml: /addons/name=promferry/jobs/name=promferry/properties/splunk_hec?: name=promferry is not there\n";
    assert_eq!(String::from_utf8(said.stderr).unwrap(), expected);
}

#[test]
fn the_runtime_config_gives_the_job_what_it_needs() {
    if !has_ruby() {
        return;
    }
    let config: Json =
        serde_json::from_str(&ruby("interpolate.rb", &[&root().join("bosh/runtime-config.yml")], "")).unwrap();
    let rendered = job_of(named(&config["addons"], "promferry").unwrap(), &Pems::new());
    assert!(rendered.config().contains("path: \"/var/vcap/data/promferry/queue/elasticsearch\""));
    assert!(rendered.config().contains("environment: production"));
}

#[test]
fn every_file_of_the_release_is_sound() {
    if !has_ruby() {
        return;
    }
    let mut folders = vec![root().join("bosh")];
    let mut yaml = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What bosh/build and `bosh create-release` leave behind.
            let is_left = ["dev_releases", ".dev_builds", "promferry.tgz"].iter().any(|name| path.ends_with(name));
            let is_yaml = path.extension().is_some_and(|ending| ending == "yml") || path.ends_with("spec");
            match path.is_dir() {
                true if !is_left => folders.push(path),
                false if is_yaml => yaml.push(path),
                _ => {}
            }
        }
    }
    assert!(yaml.len() >= 10, "{yaml:?}");
    for file in yaml {
        let script = "require 'yaml'; abort 'it is empty' unless YAML.safe_load(File.read(ARGV[0])) || ARGV[0].end_with?('blobs.yml')";
        let said = Command::new("ruby").args(["-e", script]).arg(&file).output().unwrap();
        assert!(said.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&said.stderr));
    }
    let packaging = std::fs::read_to_string(root().join("bosh/packages/promferry/packaging")).unwrap();
    assert!(packaging.starts_with("#!/usr/bin/env bash\n") && packaging.contains("set -euo pipefail\n"));
}

/// The package, put in place as a compilation VM does.
#[test]
fn the_package_is_one_executable() {
    let folder = tempfile::tempdir().unwrap();
    let sources = folder.path().join("source/promferry");
    std::fs::create_dir_all(&sources).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_promferry"), sources.join("promferry")).unwrap();
    let target = folder.path().join("target");
    let said = Command::new("bash")
        .arg(root().join("bosh/packages/promferry/packaging"))
        .current_dir(folder.path().join("source"))
        .env("BOSH_INSTALL_TARGET", &target)
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("promferry {}\n", env!("CARGO_PKG_VERSION")));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(target.join("bin/promferry")).unwrap().permissions().mode() & 0o777, 0o755);
}

/// The versions of glibc's symbols that a file names: `GLIBC_2.28` is 2, 28.
fn glibc_versions(file: &[u8]) -> Vec<(u32, u32)> {
    let pattern = regex::bytes::Regex::new(r"GLIBC_([0-9]+)\.([0-9]+)").unwrap();
    let number = |digits: &[u8]| std::str::from_utf8(digits).unwrap().parse().unwrap();
    pattern.captures_iter(file).map(|found| (number(&found[1]), number(&found[2]))).collect()
}

/// Jammy has glibc 2.35 and Noble 2.39; what is older than both by years runs on both.
#[test]
fn the_executable_for_stemcells_asks_for_glibc_2_28_at_most() {
    let path = root().join("bosh/src/promferry/promferry");
    let file = match std::fs::read(&path) {
        Ok(file) => file,
        Err(error) => {
            assert!(!is_required("zig"), "{}: {error}", path.display());
            println!("skipped: bosh/build has not run (tests/run runs it)");
            return;
        }
    };
    let versions = glibc_versions(&file);
    assert!(versions.len() > 3, "it is linked against glibc");
    let newest = versions.into_iter().max().unwrap();
    assert!(newest <= (2, 28), "{newest:?}");
    assert!(!file.windows(12).any(|bytes| bytes == b".debug_info\0"), "it is stripped");
    let said = Command::new(&path).arg("--version").output().unwrap();
    assert!(said.status.success());
    // One of this machine asks for whatever this machine has: what is looked at is there to be seen.
    assert!(!glibc_versions(&std::fs::read(env!("CARGO_BIN_EXE_promferry")).unwrap()).is_empty());
}
