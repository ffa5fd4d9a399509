//! The targets file: what Prometheus reads is what was discovered, whole at every moment.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use promferry::cloud_foundry::targets_file::{follow, render};
use promferry::config::checked::{Config, TargetsFile};
use promferry::config::{Source, YAML_VARIABLE, load};
use promferry::discovery::discover_files;
use promferry::target::Target;
use tokio::sync::watch;

use crate::support::world::until;

/// What a job's file, a list and a pasted group say.
const CONFIGURATION: &str = r#"
scrape_configs:
  - job_name: agents
    scheme: https
    params: {id: [all]}
    static_configs:
      - targets: ["b:2", "a:1"]
      - {targets: ["c:3"], labels: {__param_id: rep, n: "007", text: 'a b: c "q" <x> & é', "yes": "no", job: other}}
      - {targets: ["a:1"], labels: {__scrape_interval__: 5s, __scheme__: http, __metrics_path__: /m, __meta_x: y}}
  - job_name: more
    static_configs: [{targets: ["d:4"]}]
    relabel_configs: [{target_label: added, replacement: x}]
outputs: [{name: o, file: {path: out}}]
admin: null
"#;

fn configured(targets_file: &str) -> (TargetsFile, Vec<Arc<Target>>) {
    let yaml = format!("{CONFIGURATION}targets_file: {targets_file}\n");
    let config: Config = load(&Source::Variable, &|name| (name == YAML_VARIABLE).then(|| yaml.clone())).unwrap();
    let set = discover_files(config.scrapes);
    assert_eq!(set.targets.len(), 5, "{:?}", set.dropped);
    (config.targets_file.unwrap(), set.targets.clone())
}

const JSON: &str = concat!(
    r#"[{"targets":["a:1","b:2","d:4"],"labels":{}},"#,
    r#"{"targets":["a:1"],"labels":{"__metrics_path__":"/m","__scheme__":"http","__scrape_interval__":"5s"}},"#,
    r#"{"targets":["c:3"],"labels":{"__param_id":"rep","job":"other","n":"007","text":"a b: c \"q\" <x> & é","yes":"no"}}]"#,
);

#[test]
fn it_has_what_was_found_and_not_what_the_configuration_gives() {
    let (file, mut targets) = configured("{path: t.json}");
    assert_eq!(render(&file, &targets), JSON);
    targets.reverse();
    assert_eq!(render(&file, &targets), JSON, "in whatever order they are found");
    assert_eq!(render(&file, &[]), "[]");
    let (file, targets) = configured("{path: t.json, jobs: [more]}");
    assert_eq!(render(&file, &targets), r#"[{"targets":["d:4"],"labels":{}}]"#);
    let (file, targets) = configured("{path: t.yml, format: yaml, jobs: [more]}");
    assert_eq!(render(&file, &targets), "- targets:\n    - d:4\n  labels: {}\n");
    assert_eq!(render(&file, &[]), "[]\n");
}

/// What Prometheus would read of it is read here by `file_sd_configs`.
#[test]
fn it_reads_back_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("t.json", "json"), ("t.yml", "yaml")] {
        let (file, targets) = configured(&format!("{{path: {name}, format: {format}}}"));
        std::fs::write(folder.path().join(name), render(&file, &targets)).unwrap();
        let glob = folder.path().join(name).display().to_string();
        let yaml = format!(
            "outputs: [{{name: o, file: {{path: o}}}}]\nscrape_configs: [{{job_name: read, file_sd_configs: [{{files: ['{glob}']}}]}}]"
        );
        let config = load(&Source::Variable, &|name| (name == YAML_VARIABLE).then(|| yaml.clone())).unwrap();
        let read = discover_files(config.scrapes);
        assert_eq!((read.targets.len(), read.problems.len()), (5, 0), "{:?}", read.files);
        let rep = read.targets.iter().find(|target| target.host == "c").unwrap();
        assert_eq!((rep.path_and_query.as_str(), rep.job()), ("/metrics?id=rep", "other"));
        assert_eq!(rep.origin.labels.get("text"), Some("a b: c \"q\" <x> & é"));
    }
}

fn content(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn it_is_written_when_something_changes_and_else_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    let (mut file, targets) = configured("{path: t.json, jobs: [more]}");
    file.path.clone_from(&path);
    let (publish, watched) = watch::channel(Arc::from([]));
    let following = tokio::spawn(follow(file.clone(), watched.clone(), Duration::ZERO));
    until("the file is there", async || (content(&path) == "[]").then_some(())).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    publish.send_replace(targets.into());
    until("the file has the target", async || content(&path).contains("d:4").then_some(())).await;
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    publish.send_modify(|_| {});
    drop(publish);
    following.await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

/// At a start nobody was heard yet: a file of the run before stays for a while.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_there_is_held_until_all_had_time_to_announce_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    std::fs::write(&path, "from before").unwrap();
    let (mut file, _) = configured("{path: t.json}");
    file.path.clone_from(&path);
    let (_publish, watched) = watch::channel(Arc::from([]));
    let hold = Duration::from_secs(45);
    let following = tokio::spawn(follow(file, watched, hold));
    tokio::time::sleep(hold - Duration::from_millis(1)).await;
    assert_eq!(content(&path), "from before");
    until("the file is written", async || (content(&path) == "[]").then_some(())).await;
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_took_away_or_overwrote_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut file, targets) = configured("{path: t.json}");
    file.path = folder.path().join("t.json");
    let path = file.path.clone();
    let (_sender, receiver) = watch::channel(targets.into());
    let following = tokio::spawn(follow(file, receiver, Duration::ZERO));
    let is_there = async || (std::fs::read_to_string(&path).ok().as_deref() == Some(JSON)).then_some(());
    until("the file is written", is_there).await;
    std::fs::remove_file(&path).unwrap();
    until("the file is written anew", is_there).await;
    std::fs::write(&path, "[").unwrap();
    until("the file is whole again", is_there).await;
    following.abort();
}
