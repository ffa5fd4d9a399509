//! `promferry targets` for scripts, and `--watch` beside files that come, go, change and break.

use std::process::Stdio;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::certificates::write;
use crate::support::world::{World, command, outcome};

/// Jobs as BOSH has them, and a list of targets in a file.
const CONFIG: &str = r#"
scrape_configs:
  - job_name: platform
    scrape_interval: 5s
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
  - job_name: listed
    file_sd_configs: [{files: ["FOLDER/list.yml"]}]
    relabel_configs: [{source_labels: [dropped], regex: "yes", action: drop}]
outputs:
  - name: lines
    file: {path: samples.jsonl}
"#;

#[tokio::test]
async fn scripts_get_all_that_is_found_with_the_keys_of_the_docs() {
    let world = World::new();
    world.configure(CONFIG);
    world.deploy("gorouter", "1", "port: 9100\nlabels: {origin: \"a\\u009bb\"}\n");
    world.deploy("cc", "1", "---\n");
    world.deploy("rep", "1", "port: 9101\nscrape_interval: 15x\n");
    write(
        world.folder(),
        "list.yml",
        "- targets: [\"10.0.0.1:1\"]\n- targets: [\"10.0.0.2:1\"]\n  labels: {dropped: \"yes\"}\n",
    );
    let (code, out, err) =
        outcome(command(&["targets", "--json", "-c", "promferry.yml"]).current_dir(world.folder())).await;
    assert_eq!((code, err.as_str()), (1, ""), "a file is broken");
    assert!(!out.contains('\u{9b}') && out.lines().count() == 1, "{out}");
    let found: Json = serde_json::from_str(&out).unwrap();
    let documented = std::fs::read_to_string(format!("{}/docs/tools.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let keys = |object: &Json| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let first = |name: &str| keys(&found[name][0]);
    for key in [keys(&found), first("targets"), first("dropped"), first("files")].concat() {
        assert!(documented.contains(&format!("`{key}`")), "{key} is documented");
    }
    let of = |job: &str| found["targets"].as_array().unwrap().iter().find(|target| target["job"] == job).unwrap();
    let target = of("platform");
    assert_eq!((&target["url"], &target["job"]), (&"https://127.0.0.1:9100/metrics".into(), &"platform".into()));
    assert_eq!((&target["interval_seconds"], &target["timeout_seconds"]), (&5.0.into(), &5.0.into()));
    assert_eq!(
        (&target["labels"]["origin"], &target["discovered_labels"]["origin"]),
        (&"a\u{9b}b".into(), &"a\u{9b}b".into())
    );
    assert_eq!(target["discovered_labels"]["__scheme__"], "https");
    let file = |job: &str| world.announcement(job).display().to_string();
    assert_eq!(target["file"], file("gorouter"));
    assert_eq!(of("listed")["url"], "http://10.0.0.1:1/metrics");
    let dropped = &found["dropped"][0];
    assert_eq!((&dropped["job"], &dropped["reason"]), (&"listed".into(), &"relabel_configs drop it".into()));
    assert_eq!((&dropped["fault"], &found["dropped_total"]), (&false.into(), &1.into()));
    let status =
        |job: &str| found["files"].as_array().unwrap().iter().find(|report| report["path"] == file(job)).unwrap();
    assert_eq!(*status("gorouter"), json!({"path": file("gorouter"), "status": "good", "targets": 1}));
    assert_eq!(*status("cc"), json!({"path": file("cc"), "status": "off", "reason": "the file is empty"}));
    assert_eq!(status("rep")["status"], "broken");
    assert!(status("rep")["reason"].as_str().unwrap().contains(":2:18: scrape_interval"), "{found}");
}

/// `promferry targets --watch`, as it runs.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: String,
}

impl Watching {
    fn start(world: &World, arguments: &[&str]) -> Self {
        world.configure(CONFIG);
        let mut command = command(&[&["targets", "--watch", "-c", "promferry.yml"][..], arguments].concat());
        let piped = command.current_dir(world.folder()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, folder: world.folder().display().to_string() }
    }

    /// The next line.
    async fn raw(&mut self) -> String {
        let line = tokio::time::timeout(std::time::Duration::from_secs(30), self.lines.next_line()).await;
        line.expect("it says something").unwrap().expect("it goes on").replace(&self.folder, "FOLDER")
    }

    /// The next line without its time.
    async fn next(&mut self) -> String {
        let line = self.raw().await;
        let (time, said) = line.split_once(' ').unwrap();
        assert!(time.len() == "12:34:56Z".len() && time.ends_with('Z'), "{line}");
        said.to_owned()
    }

    /// Ends it as a keyboard does; what it printed beside.
    async fn interrupt(mut self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0), "{err}");
        err
    }
}

const FILE: &str = "FOLDER/jobs/gorouter/config/prom_scraper_config.yml";

#[tokio::test]
async fn watching_tells_what_comes_changes_breaks_and_goes() {
    let world = World::new();
    world.deploy("gorouter", "1", "port: 9100\n");
    let mut watching = Watching::start(&world, &[]);
    let labels = "{instance=\"127.0.0.1:9100\",job=\"platform\",source_id=\"gorouter\"}";
    let added = format!("+ https://127.0.0.1:9100/metrics every 5s {labels}, announced by {FILE}");
    assert_eq!(watching.next().await, added);
    assert_eq!(watching.next().await, ". watching 1 targets; 0 are not scraped");

    // A deploy swaps the job's link.
    world.deploy("gorouter", "2", "port: 9100\nscrape_interval: 10s\n");
    let changed = watching.next().await;
    assert!(changed.starts_with("~ https://127.0.0.1:9100/metrics: every 10s, was 5s"), "{changed}");
    world.deploy("gorouter", "3", "port: 9100\nscrape_interval: 10s\nlabels: {a: b}\n");
    let changed = watching.next().await;
    assert!(changed.starts_with("~ https://127.0.0.1:9100/metrics: labels are {a=\"b\","), "{changed}");

    world.deploy("gorouter", "4", "port: 9100\nscrape_interval: 10x\n");
    let wrong = watching.next().await;
    assert!(wrong.starts_with(&format!("! {FILE}:2:18: scrape_interval: \"10x\" is not a duration; ")), "{wrong}");
    world.deploy("gorouter", "3", "port: 9100\nscrape_interval: 10s\nlabels: {a: b}\n");
    assert_eq!(watching.next().await, format!("= {FILE} is right again"));

    // A list that is written whole, twice.
    write(world.folder(), "list.yml", "- targets: [\"10.0.0.1:1\"]\n");
    let listed =
        "+ http://10.0.0.1:1/metrics every 15s {instance=\"10.0.0.1:1\",job=\"listed\"}, announced by FOLDER/list.yml";
    assert_eq!(watching.next().await, listed);
    write(world.folder(), "list.yml", "[]\n");
    assert_eq!(watching.next().await, "- http://10.0.0.1:1/metrics {instance=\"10.0.0.1:1\",job=\"listed\"}");
    world.undeploy("gorouter");
    let removed = watching.next().await;
    assert!(removed.starts_with("- https://127.0.0.1:9100/metrics {a=\"b\","), "{removed}");
    assert_eq!(watching.interrupt().await, "", "nothing is told twice");
}

#[tokio::test]
async fn watching_for_scripts_is_an_object_a_line() {
    let world = World::new();
    let mut watching = Watching::start(&world, &["--json"]);
    let mut next = async || serde_json::from_str::<Json>(&watching.raw().await).unwrap();
    let first = next().await;
    assert_eq!((&first["event"], &first["targets"]), (&"watching".into(), &0.into()));
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
    world.deploy("gorouter", "1", "port: 9100\n");
    let added = next().await;
    assert_eq!((&added["event"], &added["target"]["labels"]["source_id"]), (&"added".into(), &"gorouter".into()));
    world.deploy("gorouter", "2", "port: 9100\nscrape_interval: 10s\n");
    let changed = next().await;
    assert_eq!(changed["event"], "changed");
    let seconds = [&changed["before"], &changed["target"]].map(|target| target["interval_seconds"].as_f64().unwrap());
    assert_eq!(seconds, [5.0, 10.0]);
    world.deploy("gorouter", "3", "port: 0\n");
    let wrong = next().await;
    assert_eq!(wrong["event"], "wrong");
    assert!(wrong["message"].as_str().unwrap().starts_with(&format!("{FILE}:1:7: ")), "{wrong}");
    world.undeploy("gorouter");
    let events = [next().await, next().await].map(|event| event["event"].clone());
    assert_eq!(events, ["removed", "right"]);
    watching.interrupt().await;
}

#[tokio::test]
async fn watching_ends_when_nobody_reads_it() {
    let world = World::new();
    let mut watching = Watching::start(&world, &[]);
    watching.next().await;
    let Watching { mut child, lines, .. } = watching;
    drop(lines);
    world.deploy("gorouter", "1", "port: 9100\n");
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}
