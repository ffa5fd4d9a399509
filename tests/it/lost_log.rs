//! Whoever reads the log may go: the program goes on.

use std::process::Stdio;
use std::time::Duration;

use crate::support::world::{World, command, until};

const CONFIG: &str = "
scrape_configs:
  - job_name: nobody
    scrape_interval: 20ms
    scrape_timeout: 20ms
    static_configs: [{targets: [\"127.0.0.1:1\"]}]
outputs: [{name: file, file: {path: FOLDER/samples.jsonl}}]
admin: null
";

#[tokio::test]
async fn a_log_that_nobody_takes_any_more_ends_nothing() {
    let world = World::new();
    let config = world.configure(CONFIG);
    let mut run = command(&["run", "-c", config.to_str().unwrap()]);
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());

    let size = || std::fs::metadata(world.path("samples.jsonl")).map_or(0, |file| file.len());
    until("samples are written", async || (size() > 0).then_some(())).await;
    let before = size();
    until("more samples are written", async || (size() > before).then_some(())).await;
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0));
}
