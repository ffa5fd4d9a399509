//! The configuration in force, as the status page shows it.

use crate::expose::client::ask;
use crate::support::world::{Process, World, until};

/// What the page of the configuration has to say.
async fn shown(promferry: &Process) -> String {
    let answer = ask(promferry.admin, "GET", "/config", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn configure(world: &World, job: &str) {
    world.configure(&format!(
        "scrape_configs:\n  - job_name: {job}\n    basic_auth: {{username: {job}-user, password: \"${{SECRET:-S3CR3T}}\"}}\n    \
         params: {{token: [S3CR3T]}}\n    scrape_interval: 1h\n    static_configs: [{{targets: [\"127.0.0.1:1\"]}}]\n\
         outputs: [{{name: lines, file: {{path: lines}}}}]\nadmin: {{listen: \"127.0.0.1:0\"}}\n"
    ));
}

#[tokio::test]
async fn it_is_the_one_of_the_last_reload_and_without_secrets() {
    let world = World::new();
    configure(&world, "first");
    let promferry = world.run().await;
    let page = shown(&promferry).await;
    assert!(page.contains("first-user") && page.contains("static_configs"), "{page}");
    configure(&world, "second");
    promferry.signal("HUP");
    until("it is reloaded", async || promferry.log.of("configuration reloaded").pop()).await;
    let reloaded = shown(&promferry).await;
    assert!(reloaded.contains("second-user") && !reloaded.contains("first-user"), "{reloaded}");
    for page in [page, reloaded] {
        assert!(!page.contains("S3CR3T") && page.contains("secret"), "{page}");
    }
    // Nor is it in what is said of the target.
    let target = promferry.targets().await.remove("").unwrap();
    let page = format!("/targets/{}", target["id"].as_str().unwrap());
    for path in ["/", &page, "/api/v1/targets"] {
        let answer = ask(promferry.admin, "GET", path, &[]).await;
        assert!(!answer.body.contains("S3CR3T") && answer.body.contains("?token="), "{path}: {}", answer.body);
    }
}
