//! Labels from the surroundings, on samples as an output gets them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use promferry::config::detect::CHOICES;
use promferry::config::{self, Source, YAML_VARIABLE};
use promferry::detect::{Place, apply};
use promferry::model::Labels;
use tokio::process::Command;

use crate::support::exporter::Exporter;
use crate::support::samples::Series;
use crate::support::world::{Process, World, command, outcome, until, written};

const VCAP: &str = r#"{"application_id": "fa05", "application_name": "my \"app\"", "application_uris": ["a.example"],
    "organization_id": "c0134", "organization_name": "org", "space_id": "06450", "space_name": "space", "process_id": "fa05",
    "process_type": "web", "limits": {"mem": 64}, "version": null}"#;

/// Everything that a platform may tell by variables.
const VARIABLES: [(&str, &str); 13] = [
    ("VCAP_APPLICATION", VCAP),
    ("CF_INSTANCE_INDEX", "1"),
    ("CF_INSTANCE_GUID", "41653aa4"),
    ("CF_INSTANCE_IP", "10.0.32.7"),
    ("NOMAD_JOB_NAME", "metrics"),
    ("NOMAD_GROUP_NAME", "agents"),
    ("NOMAD_TASK_NAME", "promferry"),
    ("NOMAD_ALLOC_ID", "6af5"),
    ("NOMAD_DC", "dc1"),
    ("NOMAD_REGION", "global"),
    ("NOMAD_NAMESPACE", "default"),
    ("K8S_POD_NAME", "promferry-x"),
    ("K8S_NODE_NAME", "node-1"),
];

fn configuration(global: &str, target: &Exporter) -> String {
    format!(
        "global: {{scrape_interval: 400ms, {global}}}
scrape_configs:
  - job_name: j
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: [\"{}\"]}}]
outputs:
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: \"127.0.0.1:0\"}}\n",
        target.address
    )
}

fn in_environment(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = command(arguments);
    command.env_clear().envs(variables.iter().copied());
    command
}

async fn exporter(world: &World) -> Exporter {
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    Exporter::start(tls, |nth| format!("plain {nth}\nown{{nomad_job_name=\"other\"}} {nth}\n")).await
}

/// The labels of the newest sample of this name that the output has, without those that every sample has.
async fn labels(world: &World, name: &str, is_wanted: impl Fn(&Series) -> bool) -> String {
    let series = until(name, async || {
        let samples = written(&world.path("samples.jsonl"));
        samples.into_keys().map(|(series, _)| series).find(|series| series.name == name && is_wanted(series))
    })
    .await;
    let shown = series.labels.iter().filter(|(name, _)| *name != "instance" && *name != "job");
    shown.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn samples_get_the_labels_of_what_the_process_runs_in() {
    let world = World::new();
    let target = exporter(&world).await;
    let asked = "detect: [cloud_foundry, nomad, kubernetes, host], external_labels: {nomad_region: mine, os_type: '', \
                 host_name: h, host_arch: a, nomad_namespace: ''}";
    let config = world.configure(&configuration(asked, &target));
    let run = ["run", "-c", config.to_str().unwrap()];
    let promferry = Process::start(in_environment(&run, &VARIABLES)).await;
    let cloud_foundry = "cloudfoundry_app_id=fa05 cloudfoundry_app_instance_guid=41653aa4 cloudfoundry_app_instance_id=1 \
        cloudfoundry_app_instance_ip=10.0.32.7 cloudfoundry_app_name=my \"app\" cloudfoundry_org_id=c0134 \
        cloudfoundry_org_name=org cloudfoundry_process_id=fa05 cloudfoundry_process_type=web cloudfoundry_space_id=06450 \
        cloudfoundry_space_name=space host_arch=a host_name=h k8s_node_name=node-1 k8s_pod_name=promferry-x \
        nomad_alloc_id=6af5 nomad_datacenter=dc1 nomad_group_name=agents";
    let expected =
        |job: &str| format!("{cloud_foundry} nomad_job_name={job} nomad_region=mine nomad_task_name=promferry");
    let any = |_: &Series| true;
    assert_eq!(labels(&world, "plain", any).await, expected("metrics"));
    assert_eq!(labels(&world, "up", any).await, expected("metrics"));
    assert_eq!(labels(&world, "own", any).await, expected("other"), "a sample's own label stays");
    let told = || promferry.log.of("surroundings give fewer labels than global.detect asks for");
    assert_eq!(told(), [] as [serde_json::Value; 0]);

    // What is asked for changes with the configuration.
    world.configure(&configuration("detect: [nomad, bosh]", &target));
    promferry.signal("HUP");
    let nomad = "nomad_alloc_id=6af5 nomad_datacenter=dc1 nomad_group_name=agents nomad_job_name=metrics \
                 nomad_namespace=default nomad_region=global nomad_task_name=promferry";
    let is_new = |series: &Series| series.label("nomad_namespace") == "default";
    assert_eq!(labels(&world, "plain", is_new).await, nomad);
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["note"].as_str().unwrap().starts_with("detect: bosh: nothing of it is here"), "{told:?}");
}

#[tokio::test]
async fn check_says_what_is_not_there_and_goes_on() {
    let world = World::new();
    let target = exporter(&world).await;
    world.configure(&configuration("detect: [bosh, cloud_foundry, nomad, kubernetes, host]", &target));
    let long = "x".repeat(1025);
    let check = async |variables: &[(&str, &str)]| {
        let mut command = in_environment(&["check", "-c", "promferry.yml"], variables);
        let (code, out, err) = outcome(command.current_dir(world.folder())).await;
        assert_eq!((code, out.as_str()), (0, "scrape_configs: 1, outputs: 1: nothing is wrong with them\n"));
        err.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let nothing = "nothing of it is here, so it gives no labels";
    assert_eq!(
        check(&[]).await,
        [
            format!(
                "detect: bosh: {nothing}: there are no names in /var/vcap/instance, and no variables PROMFERRY_BOSH_…, which the BOSH job sets"
            ),
            format!("detect: cloud_foundry: {nothing}: neither VCAP_APPLICATION nor CF_INSTANCE_… is set"),
            format!(
                "detect: nomad: {nothing}: no variable NOMAD_… is set that names a job, an allocation or where they run"
            ),
            format!(
                "detect: kubernetes: {nothing}: no variable K8S_… is set; a pod gets them by the downward API, as docs/detect.md shows"
            ),
        ]
    );
    let odd = [
        ("PROMFERRY_BOSH_ID", " \t"),
        ("PROMFERRY_BOSH_IP", "10.0.0.1\n"),
        ("VCAP_APPLICATION", r#"{"application_name": 7, "space_name": "s", "space_id": "a\u0007"}"#),
        ("NOMAD_DC", &long),
        ("K8S_POD_NAME", "a\u{1b}[31m"),
        ("K8S_POD_IP", "::1"),
    ];
    assert_eq!(
        check(&odd).await,
        [
            "detect: cloud_foundry: application_name in VCAP_APPLICATION is not a text; cloudfoundry_app_name is left out",
            "detect: cloud_foundry: space_id in VCAP_APPLICATION holds a control character; cloudfoundry_space_id is not taken from it",
            "detect: nomad: NOMAD_DC has 1025 bytes, and a label has at most 1024; nomad_datacenter is not taken from it",
            "detect: nomad: nothing of it is here, so it gives no labels: no variable NOMAD_… is set that names a job, an allocation or where they run",
            "detect: kubernetes: K8S_POD_NAME holds a control character; k8s_pod_name is not taken from it",
        ]
    );
    let large = format!("{{\"space_name\": \"{}\"}}", "x".repeat(100 << 10));
    for bad in ["[]", "{", "", "\"secret\"", &large] {
        let told = check(&[
            ("VCAP_APPLICATION", bad),
            ("CF_INSTANCE_INDEX", "0"),
            ("NOMAD_DC", "d"),
            ("K8S_POD_IP", "x"),
            ("PROMFERRY_BOSH_IP", "x"),
        ])
        .await;
        assert_eq!(told.len(), usize::from(!bad.is_empty()), "{told:?}");
        assert!(!told.concat().contains("secret") && told.concat().len() < 200, "{told:?}");
    }
}

/// Detects with a folder in the place of `/`; returns the external labels of the scrape configuration, and the notes.
fn detected(keys: &str, root: &Path, variables: &[(&str, &str)]) -> (String, Vec<String>) {
    let yaml = format!(
        "global: {{{keys}}}\nscrape_configs: [{{job_name: a}}, {{job_name: b}}]\noutputs: [{{name: o, file: {{path: '-'}}}}]"
    );
    let mut config = config::load(&Source::Variable, &|name| (name == YAML_VARIABLE).then(|| yaml.clone())).unwrap();
    let looked = AtomicUsize::new(0);
    let environment = |name: &str| {
        looked.fetch_add(1, Ordering::Relaxed);
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let notes = apply(&mut config, Place { environment: &environment, root });
    let global = config.global.external_labels.to_string();
    assert!(config.scrapes.iter().all(|scrape| scrape.external_labels.to_string() == global));
    assert!(keys.contains("detect: [") && !keys.contains("[]") || looked.into_inner() == 0, "nobody asked for it");
    (global, notes)
}

#[test]
fn boshs_files_come_first_and_what_the_job_rendered_fills_in() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("var/vcap/instance");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).unwrap();
    let rendered = [
        ("PROMFERRY_BOSH_DEPLOYMENT", "rendered"),
        ("PROMFERRY_BOSH_INSTANCE_GROUP", "rendered"),
        ("PROMFERRY_BOSH_ID", "rendered"),
        ("PROMFERRY_BOSH_AZ", "rendered"),
        ("PROMFERRY_BOSH_INDEX", "3"),
        ("PROMFERRY_BOSH_IP", "10.0.0.9"),
    ];
    let all = r#"{bosh_az="rendered",bosh_deployment="rendered",bosh_instance_group="rendered",bosh_instance_id="rendered",bosh_instance_index="3",bosh_instance_ip="10.0.0.9"}"#;
    assert_eq!(detected("detect: [bosh]", root.path(), &rendered), (all.to_owned(), vec![]));

    write("deployment", b"cf\n");
    write("name", b"router");
    write("id", b"0e4c");
    write("az", b"z1");
    let files = r#"{bosh_az="z1",bosh_deployment="cf",bosh_instance_group="router",bosh_instance_id="0e4c"#;
    assert_eq!(detected("detect: [bosh]", root.path(), &[]), (format!("{files}\"}}"), vec![]));
    let both = format!(r#"{files}",bosh_instance_index="3",bosh_instance_ip="10.0.0.9"}}"#);
    assert_eq!(detected("detect: [bosh]", root.path(), &rendered), (both, vec![]));

    // Whatever lies there, it is told, and what the job rendered stands in for it.
    write("deployment", b"\xff\xfe");
    write("name", &[b'x'; 5000]);
    write("az", b"a\nb");
    std::fs::remove_file(folder.join("id")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(folder.join("id")).status().unwrap();
    assert!(pipe.success());
    let (labels, notes) = detected("detect: [bosh]", root.path(), &rendered);
    assert_eq!(labels, all);
    assert_eq!(
        notes,
        [
            "detect: bosh: /var/vcap/instance/deployment is not UTF-8; bosh_deployment is not taken from it",
            "detect: bosh: /var/vcap/instance/name has more than 4096 bytes; bosh_instance_group is not taken from it",
            "detect: bosh: /var/vcap/instance/id is not a regular file; bosh_instance_id is not taken from it",
            "detect: bosh: /var/vcap/instance/az holds a control character; bosh_az is not taken from it",
        ]
    );
}

#[test]
fn nothing_is_looked_for_that_nobody_asked_for() {
    let root = tempfile::tempdir().unwrap();
    for keys in ["external_labels: {a: b}", "external_labels: {a: b}, detect: []"] {
        assert_eq!(detected(keys, root.path(), &VARIABLES), ("{a=\"b\"}".to_owned(), vec![]));
    }
}

#[test]
fn the_manual_has_each_label_with_its_attribute_and_each_can_be_found() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/sys/kernel/hostname", "machine\n");
    write("var/run/secrets/kubernetes.io/serviceaccount/namespace", "team");
    let bosh = ["DEPLOYMENT", "INSTANCE_GROUP", "ID", "AZ", "INDEX", "IP"].map(|name| format!("PROMFERRY_BOSH_{name}"));
    let more = ["NOMAD_ALLOC_INDEX", "K8S_POD_UID", "K8S_POD_IP", "K8S_CONTAINER_NAME", "K8S_CLUSTER_NAME"];
    let others = bosh.iter().map(String::as_str).chain(more).map(|name| (name, "x"));
    let variables: Vec<_> = VARIABLES.into_iter().chain(others).collect();

    let manual = include_str!("../../docs/detect.md");
    let rows = manual.lines().filter(|line| line.starts_with("| ") && line.contains(" | `"));
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut word = String::new();
    for row in rows.filter(|row| !row.contains("`global.")) {
        let cells: Vec<&str> =
            row.split('|').map(|cell| cell.trim().trim_end_matches(" ¹").trim_matches('`')).collect();
        word = if cells[1].is_empty() { word } else { cells[1].to_owned() };
        told.entry(word.clone()).or_default().push((cells[2].to_owned(), cells[3].to_owned()));
    }
    assert_eq!(told.len(), CHOICES.len());
    for (word, surroundings) in CHOICES {
        let known: Vec<_> =
            surroundings.attributes().iter().map(|one| (one.label.to_owned(), one.attribute.to_owned())).collect();
        assert_eq!(told[word], known, "{word}");
        let (labels, notes) = detected(&format!("detect: [{word}]"), root.path(), &variables);
        assert_eq!(notes, [] as [&str; 0]);
        let mut expected = Labels::new();
        known.iter().for_each(|(label, _)| expected.set(label.clone(), "x"));
        let names = |labels: &str| {
            labels
                .split(['{', ',', '}'])
                .filter_map(|one| one.split_once('='))
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&labels), names(&expected.to_string()), "{word}");
    }
}
