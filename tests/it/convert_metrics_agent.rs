//! `promferry convert metrics-agent`: its environment as a file that does the same as `promferry run --metrics-agent`.

use std::collections::BTreeMap;

use promferry::cloud_foundry::metrics_agent::from_environment;
use promferry::config::{Source, load};

use crate::support::world::{World, command, outcome};

/// What BOSH gives to the original; names and values.
const WHOLE: &[(&str, &str)] = &[
    ("METRICS_EXPORTER_PORT", "14726"),
    ("METRICS_PORT", "14727"),
    ("METRICS_CA_FILE_PATH", "/m/ca"),
    ("METRICS_CERT_FILE_PATH", "/m/cert"),
    ("METRICS_KEY_FILE_PATH", "/m/key"),
    ("CONFIG_GLOBS", "/jobs/*/b.yml, /jobs/${x}/a.yml,"),
    ("SCRAPE_CA_CERT_PATH", "/s/ca"),
    ("SCRAPE_CERT_PATH", "/s/cert"),
    ("SCRAPE_KEY_PATH", "/s/key"),
    ("METRICS_TARGETS_FILE", "/data/metric_targets.yml"),
    ("ADDR", "fd00::5"),
    ("INSTANCE_ID", "007"),
    ("AGENT_TAGS", "deployment:cf,index:0e4c,url:http://a,price:${HOME}$,yes:no"),
    ("WHITELISTED_TIMER_TAGS", "peer_type,status_code"),
    ("AGENT_PORT", "3"),
    ("AGENT_CA_FILE_PATH", "/a/ca"),
    ("AGENT_CERT_FILE_PATH", "/a/cert"),
    ("AGENT_KEY_FILE_PATH", "/a/key"),
    ("TTL", "5m30s"),
    ("EXPIRATION_INTERVAL", "90s"),
];

/// Those without a default.
fn needed() -> Vec<(&'static str, &'static str)> {
    let is_needed =
        |name: &str| name.ends_with("_PATH") || ["METRICS_TARGETS_FILE", "ADDR", "INSTANCE_ID"].contains(&name);
    WHOLE.iter().filter(|(name, _)| is_needed(name)).copied().collect()
}

fn bpm(variables: &[(&str, &str)]) -> String {
    let lines =
        variables.iter().map(|(name, value)| format!("    {name}: {}\n", serde_json::to_string(value).unwrap()));
    format!("processes:\n- name: other\n- name: metrics-agent\n  executable: /x\n  env:\n{}", lines.collect::<String>())
}

/// Each way to say it gives a file that is read as the configuration that `run --metrics-agent` makes of the same variables.
#[tokio::test]
async fn the_file_says_what_the_environment_says() {
    for variables in [WHOLE.to_vec(), needed()] {
        let held: BTreeMap<_, _> = variables.iter().copied().collect();
        let expected = from_environment(&|name| held.get(name).map(|value| (*value).to_owned())).unwrap();
        assert_eq!(expected.notes, [""; 0]);
        let world = World::new();
        let lines =
            |end: &str| variables.iter().map(|(name, value)| format!("{name}={value}{end}")).collect::<String>();
        std::fs::write(world.path("bpm.yml"), bpm(&variables)).unwrap();
        std::fs::write(world.path("env"), format!("# a comment\n\nexport QUOTED=\"x\"\n{}", lines("\n"))).unwrap();
        std::fs::write(world.path("environ"), lines("\0")).unwrap();
        let ways: [&[&str]; 4] = [&["bpm.yml"], &["--env-file", "env"], &["--env-file", "environ"], &[]];
        for way in ways {
            let arguments = [["convert", "metrics-agent"].as_slice(), way].concat();
            let mut convert = command(&arguments);
            if way.is_empty() {
                convert.envs(variables.iter().copied());
            }
            let (code, yaml, err) = outcome(convert.current_dir(world.folder())).await;
            assert_eq!((code, err.as_str()), (0, ""), "{way:?}");
            let file = world.configure(&yaml);
            let read = load(&Source::File(file), &|_| None).unwrap_or_else(|wrong| panic!("{yaml}\n{wrong}"));
            assert_eq!(read, expected.config, "{way:?}\n{yaml}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_or_left_out_is_told_at_its_line() {
    let world = World::new();
    let whole = bpm(&[&needed()[..], &[("AGENT_TAGS", "a-b:c,d:e"), ("DEBUG_METRICS", "true")]].concat());
    let missing = whole.replace("ADDR", "ADDRESS");
    let cases = [
        (
            whole.as_str(),
            3,
            "bpm.yml:18: not carried over: AGENT_TAGS: \"a-b\" is not the name of a label; use letters, digits and `_`, no digit in front, and no `__`; \
             the tag is left out\nbpm.yml:19: DEBUG_METRICS: these are settings of Go's runtime, and mean nothing here\n\
             1 thing was not carried over; it is a comment in the configuration\n",
        ),
        (&missing, 2, "missing required environment variables: ADDR; set them as metrics-agent's job does\n"),
        ("processes: [{name: a}, {name: b}]", 2, "bpm.yml: none of its processes is called \"metrics-agent\"\n"),
        ("a: b", 2, "bpm.yml: there is no list \"processes\"; a bpm.yml is expected\n"),
        (
            "processes:\n- env: {A: <%= p('a') %>}",
            2,
            "bpm.yml: this is a template; what BOSH made of it is /var/vcap/jobs/metrics-agent/config/bpm.yml\n",
        ),
        ("processes:\n- name: x\n  env: {A: [s3cret]}", 2, "bpm.yml:3:9: \"A\" is not a single value\n"),
    ];
    for (text, expected_code, expected) in cases {
        std::fs::write(world.path("bpm.yml"), text).unwrap();
        let mut convert = command(&["convert", "metrics-agent", "bpm.yml"]);
        let (code, _, err) = outcome(convert.current_dir(world.folder())).await;
        assert_eq!((code, err.as_str()), (expected_code, expected), "{text}");
    }
    std::fs::write(world.path("env"), "A=1\nclear-text\n").unwrap();
    let mut convert = command(&["convert", "metrics-agent", "--env-file", "env"]);
    let (code, _, err) = outcome(convert.current_dir(world.folder())).await;
    assert_eq!((code, err.as_str()), (2, "env:2:1: expected NAME=VALUE\n"));
}
