//! promferry as an app on Cloud Foundry: configuration in a variable, certificates of a bound service, a port of the platform's,
//! several instances that share the machines.

use std::collections::BTreeMap;

use serde_json::json;

use crate::expose::client::ask;
use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, command, outcome, until};

const MACHINES: usize = 12;

/// The exporters of some machines, and what an app is told of them.
async fn start(world: &World) -> (Vec<Exporter>, String, String) {
    let mut machines = Vec::new();
    for number in 0..MACHINES {
        let tls = world.ca.server(&["metrics_agent_metrics"]).server_config(Some(&world.ca));
        machines.push(Exporter::start(tls, move |_| format!("machine {number}\n")).await);
    }
    let addresses: Vec<String> = machines.iter().map(|machine| machine.address.to_string()).collect();
    let config = json!({
        "global": {
            "scrape_interval": "1s",
            "shard": {"index": "${CF_INSTANCE_INDEX:-0}", "count": "${INSTANCES}", "replicas": "${REPLICAS:-1}"},
        },
        "scrape_configs": [{
            "job_name": "machines",
            "scheme": "https",
            "tls_config": {
                "ca_file": "vcap:scrape/ca", "cert_file": "vcap:scrape/client/cert", "key_file": "vcap:scrape/client/key",
                "server_name": "metrics_agent_metrics",
            },
            "static_configs": [{"targets": addresses}],
        }],
        "outputs": [{"name": "aggregate", "expose": {"listen": "0.0.0.0:${PORT}", "insecure": true}}],
        "admin": {"listen": "127.0.0.1:0"},
    });
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    let services = json!({"user-provided": [{"name": "scrape", "credentials": {
        "ca": read("ca.crt"), "client": {"cert": read("scrape.crt"), "key": read("scrape.key")},
    }}]});
    (machines, config.to_string(), services.to_string())
}

async fn instance(config: &str, services: &str, index: usize, instances: usize, replicas: usize) -> Process {
    let mut app = command(&["run"]);
    let port = free_port();
    app.env("PROMFERRY_CONFIG_YAML", config).env("VCAP_SERVICES", services).env("PORT", port.to_string());
    app.env("CF_INSTANCE_INDEX", index.to_string()).env("INSTANCES", instances.to_string());
    app.env("REPLICAS", replicas.to_string());
    let app = Process::start(app).await;
    let healthy = ask(([127, 0, 0, 1], port).into(), "GET", "/-/healthy", &[]).await;
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "promferry is healthy\n"));
    app
}

/// A port that was free a moment ago: the platform, too, gives out numbers and not sockets.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The values of `machine`, by series, once there is nothing but healthy targets.
async fn machines(app: &Process) -> Vec<String> {
    until("all of its machines are up", async || {
        let targets = app.ask("/api/v1/targets").await["data"]["activeTargets"].as_array().unwrap().clone();
        targets.iter().all(|target| target["health"] == "up").then_some(())
    })
    .await;
    let aggregate = app.aggregate("aggregate").await;
    aggregate.into_iter().filter(|(series, _)| series.name == "machine").map(|(_, value)| value).collect()
}

#[tokio::test]
async fn instances_share_the_machines_and_certificates_come_from_a_bound_service() {
    let world = World::new();
    let (_machines, config, services) = start(&world).await;
    for replicas in [1, 2] {
        let mut scraped = BTreeMap::<String, usize>::new();
        for index in 0..3 {
            let app = instance(&config, &services, index, 3, replicas).await;
            for machine in machines(&app).await {
                *scraped.entry(machine).or_default() += 1;
            }
            let others = app.ask("/api/v1/targets").await["data"]["droppedTargets"].as_array().unwrap().len();
            assert!(others > 0 && others < MACHINES, "{others}");
            assert_eq!(app.terminate().await.log.complaints(), [""; 0]);
        }
        assert_eq!(scraped.len(), MACHINES);
        assert!(scraped.values().all(|instances| *instances == replicas), "{scraped:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_bound_is_told_by_check() {
    let world = World::new();
    let (_machines, config, services) = start(&world).await;
    let check = async |services: Option<String>| {
        let mut check = command(&["check"]);
        check
            .env("PROMFERRY_CONFIG_YAML", &config)
            .env("PORT", "8080")
            .env("INSTANCES", "1")
            .env_remove("VCAP_SERVICES");
        if let Some(services) = services {
            check.env("VCAP_SERVICES", services);
        }
        outcome(&mut check).await
    };
    let (code, _, told) = check(Some(services.clone())).await;
    assert_eq!((code, told.as_str()), (0, ""));
    let (code, _, told) = check(Some(services.replace("\"scrape\"", "\"other\""))).await;
    let lines: Vec<_> = told.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(code, 2);
    assert_eq!(lines[0], "ca_file: \"vcap:scrape/ca\": no service of this name is bound; there are other");
    assert_eq!(lines.len(), 3);
    let (code, _, told) = check(None).await;
    assert!(code == 2 && told.contains("VCAP_SERVICES is not set; is this an app on Cloud Foundry?"), "{told}");
    assert!(!told.contains("PRIVATE"), "{told}");
}
