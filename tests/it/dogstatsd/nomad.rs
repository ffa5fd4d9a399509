//! The example that takes the place of CircleCI's nomad-metrics, as it is, against agents of Nomad and of Datadog.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::dogstatsd::{Agent, Place};
use crate::support::exporter::Exporter;
use crate::support::world::{World, until};

/// A leader's metrics, as go-metrics writes them, these among others.
fn server() -> String {
    let gauges = [
        ("nomad_nomad_broker_total_ready", 0),
        ("nomad_nomad_job_status_dead", 3),
        ("nomad_nomad_job_status_pending", 2),
        ("nomad_nomad_job_status_running", 40),
        ("nomad_raft_fsm_lastSnapshotDuration", 0),
    ];
    let mut body = String::new();
    for (name, value) in gauges {
        body += &format!("# HELP {name} {name}\n# TYPE {name} gauge\n{name}{{host=\"services-1\"}} {value}\n");
    }
    for (name, status) in [("nomad_nomad_job_summary_running", 1), ("nomad_nomad_job_summary_complete", 7)] {
        body += &format!("# HELP {name} {name}\n# TYPE {name} gauge\n");
        body += &format!(
            "{name}{{exported_job=\"build-1\",host=\"services-1\",namespace=\"default\",task_group=\"build\"}} {status}\n"
        );
    }
    let name = "nomad_nomad_rpc_query";
    body + &format!("# HELP {name} {name}\n# TYPE {name} counter\n{name}{{host=\"services-1\"}} 4018\n")
}

fn client(eligibility: &str) -> String {
    let labels = format!(
        "datacenter=\"default\",host=\"builder-1\",node_class=\"linux-64bit\",node_id=\"3e1b8a6e-9a6b-0c9b-3a2e-0d5f8f1b2c11\",\
         node_pool=\"default\",node_scheduling_eligibility=\"{eligibility}\",node_status=\"ready\""
    );
    let gauges = [
        ("nomad_client_allocated_cpu", "2048"),
        ("nomad_client_allocated_disk", "600"),
        ("nomad_client_allocated_memory", "4096"),
        ("nomad_client_allocations_running", "2"),
        ("nomad_client_unallocated_cpu", "7152"),
        ("nomad_client_unallocated_disk", "98304"),
        ("nomad_client_unallocated_memory", "11823"),
        ("nomad_client_uptime", "86412"),
    ];
    let gauge = |(name, value)| format!("# HELP {name} {name}\n# TYPE {name} gauge\n{name}{{{labels}}} {value}\n");
    gauges.into_iter().map(gauge).collect()
}

fn server_gauges() -> BTreeMap<String, f64> {
    let gauges = [("jobs.dead", 3.0), ("jobs.pending", 2.0), ("jobs.running", 40.0), ("poll_failure", 0.0)];
    gauges.map(|(name, value)| (format!("circle.nomad.server_agent.{name}{{}}"), value)).into()
}

fn client_gauges(drain: bool) -> BTreeMap<String, f64> {
    let resources = [
        ("available.cpu", 7152.0),
        ("available.disk", 98_304.0),
        ("available.memory", 11_823.0),
        ("total.cpu", 9200.0),
        ("total.disk", 98_904.0),
        ("total.memory", 15_919.0),
        ("used.cpu", 2048.0),
        ("used.disk", 600.0),
        ("used.memory", 4096.0),
    ];
    let named =
        |(name, value)| (format!("circle.nomad.client_agent.resources.{name}{{drain:{drain},status:ready}}"), value);
    resources.into_iter().map(named).chain([("circle.nomad.client_agent.poll_failure{}".to_owned(), 0.0)]).collect()
}

#[tokio::test]
async fn the_example_sends_what_nomad_metrics_sent() {
    let world = World::new();
    let nomad = |name: &str| world.ca.server(&[name]).server_config(Some(&world.ca));
    let servers = Exporter::start(nomad("server.global.nomad"), |_| server()).await;
    let clients =
        Exporter::start(nomad("client.global.nomad"), |nth| client(if nth < 3 { "eligible" } else { "ineligible" }))
            .await;
    let agent = Agent::udp(0).await;
    let Place::Udp(address) = agent.place else { panic!("it is at a port") };
    std::fs::write(world.path("token"), "e8f5c2a0-token\n").unwrap();

    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nomad-dogstatsd.yml");
    let mut yaml = std::fs::read_to_string(example).unwrap();
    let mut replaced = |from: &str, to: &str, times: usize| {
        assert!(yaml.matches(from).count() >= 1, "{from}");
        yaml = yaml.replacen(from, to, times);
    };
    replaced("127.0.0.1:4646", &servers.address.to_string(), 1);
    replaced("127.0.0.1:4646", &clients.address.to_string(), 1);
    replaced("127.0.0.1:8125", &address.to_string(), 1);
    replaced("/etc/ssl/nomad/ca.pem", "FOLDER/ca.crt", 2);
    replaced("/etc/ssl/nomad/cert.pem", "FOLDER/scrape.crt", 2);
    replaced("/etc/ssl/nomad/key.pem", "FOLDER/scrape.key", 2);
    replaced("/etc/nomad/metrics.token", "FOLDER/token", 2);
    replaced("scrape_interval: 10s", "scrape_interval: 200ms\n  scrape_timeout: 200ms", 1);
    replaced("flush_interval: 1s", "flush_interval: 50ms", 1);
    world.configure(&format!("{yaml}\nadmin: {{listen: \"127.0.0.1:0\"}}\n"));
    let process = world.run().await;

    let draining: BTreeMap<_, _> =
        server_gauges().into_iter().chain(client_gauges(false)).chain(client_gauges(true)).collect();
    until("all gauges, and the same under drain", async || (agent.gauges() == draining).then_some(())).await;
    assert!(agent.lines().iter().all(|line| line.kind == "g"), "nomad-metrics sends gauges");
    let head = &servers.heads()[0];
    assert!(head.starts_with("GET /v1/metrics?format=prometheus ") && head.contains("e8f5c2a0-token"), "{head}");

    // Whoever answers there now is not Nomad.
    clients.rotate(nomad("somebody.else")).await;
    let failure = "circle.nomad.client_agent.poll_failure{}";
    until("the failure", async || (agent.gauges()[failure] == 1.0).then_some(())).await;
    assert_eq!(agent.gauges()["circle.nomad.server_agent.poll_failure{}"], 0.0);
    let ended = process.terminate().await;
    assert_eq!(ended.count("datadog", "dropped"), 0);
}
