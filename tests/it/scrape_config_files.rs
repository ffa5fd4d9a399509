//! `scrape_config_files`: scrape configurations in files of their own.

use std::path::Path;

use promferry::config::{self, Source};

use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, command, outcome, until};

/// Writes a file and the folders that it is in.
fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const OUTPUTS: &str = "outputs: [{name: lines, file: {path: samples.jsonl}}]\nadmin: {listen: \"127.0.0.1:0\"}\n";

/// What is loaded, or what is wrong with it, with `FOLDER` for the folder.
fn load(folder: &Path, main: &str) -> Result<config::checked::Config, Vec<String>> {
    write(folder, "promferry.yml", &format!("{main}\n{OUTPUTS}"));
    let loaded = config::load(&Source::File(folder.join("promferry.yml")), &|name| match name {
        "HOST" => Some("h".to_owned()),
        _ => None,
    });
    let here = folder.display().to_string();
    loaded.map_err(|problems| problems.to_string().replace(&here, "FOLDER").lines().map(str::to_owned).collect())
}

#[test]
fn they_are_appended_with_the_defaults_of_global_and_paths_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let job = |name: &str| {
        format!("scrape_configs: [{{job_name: \"{name}\", static_configs: [{{targets: [\"${{HOST}}:1\"]}}]}}]")
    };
    write(here, "teams/b/jobs.yml", &job("b"));
    write(
        here,
        "teams/a/jobs.yml",
        "scrape_configs:\n- job_name: a\n  scrape_timeout: 3s\n  tls_config: {ca_file: ca.crt}\n  file_sd_configs: [{files: [targets/*.json]}]\n",
    );
    write(here, "teams/c/jobs.yml", "");
    write(here, "more.yml", &job("${NAME:-more}"));
    write(here, "teams/a/other.txt", "nonsense: [");
    let config = load(
        here,
        "global: {scrape_interval: 7s, external_labels: {x: y}}\nscrape_configs: [{job_name: main}]\n\
         scrape_config_files: [more.yml, 'teams/*/*.yml', 'FOLDER/none/*.yml', '*or?.yml', 'teams/a/*.yml']",
    )
    .unwrap();
    let names: Vec<&str> = config.scrapes.iter().map(|scrape| scrape.job_name.as_str()).collect();
    assert_eq!(names, ["main", "more", "a", "b"]);
    assert_eq!(config.scrapes[1].discovery.static_groups[0].targets, ["h:1"]);
    let a = &config.scrapes[2];
    assert_eq!((a.scrape_interval.as_secs(), a.scrape_timeout.as_secs()), (7, 3));
    assert_eq!(a.external_labels.get("x"), Some("y"));
    assert_eq!(a.tls.ca_file, Some(here.join("teams/a/ca.crt")));
    assert_eq!(a.discovery.files[0].files, [here.join("teams/a/targets/*.json").display().to_string()]);
}

#[test]
fn what_is_wrong_is_told_with_the_file_that_it_stands_in() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "d/1.yml", "scrape_configs:\n- job_name: main\n- job_name: twice\n  scrape_interval: 15x\n");
    write(here, "d/2.yml", "scrape_configs: [{job_name: twice}]\noutputs: []\nscrape_config: []\n");
    write(here, "d/3.yml", "scrape_configs: [");
    write(here, "d/4.yml", "- a\n");
    write(here, "d/5.yml", "scrape_configs: [{job_name: \"${NO_SUCH}\"}]");
    std::fs::create_dir(here.join("d/6.yml")).unwrap();
    let main = "scrape_configs: [{job_name: main}]\nscrape_config_files: ['d/*.yml', missing.yml, '[', '']\nglobal: {scrape_interval: 0}";
    let only = "a file of scrape_config_files has only \"scrape_configs\"";
    let told = load(here, main).unwrap_err();
    let expected = [
        "FOLDER/promferry.yml:2:34: scrape_config_files: \"missing.yml\" is not there; only a pattern with a wildcard may find nothing".to_owned(),
        "FOLDER/promferry.yml:2:47: scrape_config_files: \"[\" is not a pattern".to_owned(),
        "FOLDER/promferry.yml:2:52: scrape_config_files: \"\" is not the path of a file".to_owned(),
        "FOLDER/promferry.yml:3:27: scrape_interval: \"0\" is below 1ms".to_owned(),
        "FOLDER/d/1.yml:2:13: job_name: \"main\" is used twice; the first is on line 1 of FOLDER/promferry.yml".to_owned(),
        "FOLDER/d/1.yml:4:20: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"".to_owned(),
        "FOLDER/d/2.yml:1:29: job_name: \"twice\" is used twice; the first is on line 3 of FOLDER/d/1.yml".to_owned(),
        format!("FOLDER/d/2.yml:2:1: outputs: stands in the main configuration; {only}"),
        "FOLDER/d/2.yml:3:1: scrape_config: no such key in scrape_config_files; did you mean \"scrape_configs\"?".to_owned(),
    ];
    assert_eq!(told[..expected.len()], expected);
    let rest = &told[expected.len()..];
    assert_eq!(rest.len(), 4, "{rest:#?}");
    assert!(rest[0].starts_with("FOLDER/d/3.yml:1:"), "{rest:#?}");
    assert_eq!(rest[1], "FOLDER/d/4.yml:1:1: scrape_config_files: expected a mapping, found a list");
    assert_eq!(
        rest[2],
        "FOLDER/d/5.yml:1:29: job_name: the variable NO_SUCH is not set; set it, or give a default: ${NO_SUCH:-default}"
    );
    assert!(rest[3].starts_with("FOLDER/d/6.yml: cannot be read: "), "{rest:#?}");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "large.yml", &"# x\n".repeat((8 << 20) / 4 + 1));
    let told = load(folder.path(), "scrape_config_files: [large.yml]").unwrap_err();
    assert!(told[0].starts_with("FOLDER/large.yml:") && told[0].contains("8"), "{told:?}");
}

/// A pattern without a folder, in a configuration that is named without one.
#[tokio::test]
async fn what_lies_in_the_working_folder_is_found_by_its_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "targets.json", r#"[{"targets": ["named:1"]}]"#);
    write(here, "others.yaml", "[{targets: ['matched:1']}]");
    write(here, "jobs.yml", "scrape_configs: [{job_name: b, static_configs: [{targets: ['part:1']}]}]");
    let main = "scrape_configs: [{job_name: a, file_sd_configs: [{files: [targets.json, '*.yaml']}]}]\nscrape_config_files: [jobs.yml]";
    write(here, "main.yml", &format!("{main}\n{OUTPUTS}"));
    let (code, out, err) = outcome(command(&["targets", "-c", "main.yml"]).current_dir(here)).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for target in ["named", "matched", "part"] {
        assert!(out.contains(&format!("http://{target}:1/metrics ")), "{out}");
    }
}

#[tokio::test]
async fn a_reload_notices_what_changed_in_them_and_a_broken_one_changes_nothing() {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let target = Exporter::start(tls, |nth| format!("a {nth}\n")).await;
    let job = |name: &str| {
        format!(
            "scrape_configs:\n- job_name: {name}\n  scheme: https\n  tls_config: {{ca_file: ../ca.crt, cert_file: ../scrape.crt, \
             key_file: ../scrape.key}}\n  static_configs: [{{targets: ['{}'], labels: {{source_id: {name}}}}}]\n",
            target.address
        )
    };
    write(world.folder(), "parts/one.yml", &job("one"));
    world.configure(&format!("global: {{scrape_interval: 400ms}}\nscrape_config_files: ['parts/*.yml']\n{OUTPUTS}"));
    let mut command = command(&["run", "-c", "promferry.yml"]);
    command.current_dir(world.folder());
    let promferry = Process::start(command).await;
    promferry.until_up(&["one"]).await;

    write(world.folder(), "parts/two.yml", &job("two"));
    promferry.signal("HUP");
    promferry.until_up(&["one", "two"]).await;

    write(world.folder(), "parts/one.yml", "scrape_configs: [{job_name: 1, scheme: ftp}]");
    promferry.signal("HUP");
    let told = until("the refusal", async || {
        promferry.log.of("the configuration cannot be used; the one in force stays").pop()
    })
    .await;
    let place = "parts/one.yml:1:40: scheme: \"ftp\" is not known here";
    assert!(told["error"].as_str().unwrap().starts_with(place), "{told}");
    promferry.until_up(&["one", "two"]).await;

    std::fs::remove_file(world.path("parts/one.yml")).unwrap();
    promferry.signal("HUP");
    promferry.until_up(&["two"]).await;
}
