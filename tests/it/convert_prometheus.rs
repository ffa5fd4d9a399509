//! `promferry convert prometheus`: what comes out, to the letter, and that it is a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use promferry::config::{load_text, yaml};
use promferry::convert::{self, SourceFile};

use crate::convert::{value_of, variables};
use crate::support::elasticsearch::now_ms;
use crate::support::exporter::Exporter;
use crate::support::prometheus::{Prometheus, Version};
use crate::support::random::Random;
use crate::support::remote_write::{Labels, Stored, WriteServer};
use crate::support::world::{World, command, outcome, until_within};

const ENDING: &str = ".prometheus.yml";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/convert/prometheus")
}

/// Files that are converted, without their ending.
fn sources() -> Vec<String> {
    let names = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(ENDING).map(str::to_owned)).collect();
    names.sort();
    assert!(names.len() >= 5, "the configurations are where they are looked for");
    names
}

async fn convert(path: &str) -> (i32, String, String) {
    outcome(command(&["convert", "prometheus", path]).current_dir(golden())).await
}

/// `WRITE_DOCS=1 cargo test --test it convert_prometheus::` writes what is expected.
#[tokio::test]
async fn every_key_becomes_what_is_expected() {
    for source in sources() {
        let (code, out, err) = convert(&format!("{source}{ENDING}")).await;
        for (ending, found) in [(".yml", out), (".err", format!("{err}exit {code}\n"))] {
            let file = golden().join(format!("{source}{ending}"));
            if std::env::var_os("WRITE_DOCS").is_some() {
                std::fs::write(file, found).unwrap();
                continue;
            }
            let expected = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(found == expected, "{}: expected\n{expected}\nfound\n{found}", file.display());
        }
    }
}

#[tokio::test]
async fn every_result_passes_the_check() {
    for source in sources() {
        let (_, out, _) = convert(&format!("{source}{ENDING}")).await;
        let world = World::new();
        let mut check = command(&["check", "-c", "promferry.yml"]);
        for name in variables(&out) {
            check.env(&name, if name.ends_with("URL") { "http://localhost/" } else { value_of(&name) });
        }
        world.configure(&with_files(&out, world.folder()));
        let (code, _, err) = outcome(check.current_dir(world.folder())).await;
        assert_eq!((code, err.as_str()), (0, ""), "{source}:\n{out}");
    }
}

/// The files that a configuration names are there.
fn with_files(yaml: &str, folder: &Path) -> String {
    let absolute = ["/etc/", "/var/run/"].iter().fold(yaml.to_owned(), |yaml, foreign| yaml.replace(foreign, "etc/"));
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    for word in absolute
        .split(|c| !is_path(c))
        .filter(|word| !word.starts_with('/') && word.contains('/') && !word.ends_with('/'))
    {
        let path = folder.join(word);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            std::fs::write(path, "a file").unwrap();
        }
    }
    std::fs::write(folder.join("ca.crt"), "a file").unwrap();
    absolute
}

#[tokio::test]
async fn no_credential_is_repeated() {
    for source in sources() {
        let (_, out, err) = convert(&format!("{source}{ENDING}")).await;
        assert!(!out.contains("clear-") && !err.contains("clear-"), "{source}:\n{out}{err}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_where_it_was_typed() {
    let world = World::new();
    let cases = [
        (
            "scrape_configs: [{job_name: a, scrape_interval: 15x}]",
            "prometheus.yml:1:49: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"\n",
        ),
        ("scrape_configs: 5", "prometheus.yml:1:17: scrape_configs: expected a list, found a single value\n"),
        (
            "scrape_configs:\n- job_name: a\n  honor_labels: [x]",
            "prometheus.yml:3:17: honor_labels: expected a single value, found a list\n",
        ),
        ("remote_write: {url: x}", "prometheus.yml:1:15: outputs: expected a list, found a mapping\n"),
        (
            "a: b: c",
            "prometheus.yml:1:5: not YAML: a colon where no key can be; is the line above a key without its colon, or a value with \": \" not quoted?\n",
        ),
        ("- a", "prometheus.yml:1:1: expected a mapping, with keys such as scrape_configs\n"),
        ("scrape_config_files: ['[']", "scrape_config_files: \"[\": is not a pattern\n"),
    ];
    for (text, expected) in cases {
        std::fs::write(world.path("prometheus.yml"), text).unwrap();
        let (code, out, err) =
            outcome(command(&["convert", "prometheus", "prometheus.yml"]).current_dir(world.folder())).await;
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", expected), "{text}");
    }
}

/// Whatever is read, nothing panics, and what comes out is YAML, and a configuration that loads where it does not wait for variables.
#[test]
fn no_text_panics_it_and_every_result_loads() {
    let texts: Vec<String> = sources()
        .iter()
        .map(|name| std::fs::read_to_string(golden().join(format!("{name}{ENDING}"))).unwrap())
        .collect();
    let pieces = [
        "\"", "'", "[", "]", "{", "}", ": ", "- ", "\n", "\n  ", "${A}", "$", "&a ", "*a", "<<: ", "!!str ", "#",
        "\u{7}", "é", "0", "~", "null", "\t",
    ];
    let mut random = Random::new(11);
    let (mut converted, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len() as u64 + 1) as usize;
            let end = (at + random.below(12) as usize).min(text.len());
            let piece = pieces[random.below(pieces.len() as u64) as usize];
            match random.below(3) {
                0 => _ = text.splice(at..end, piece.chars()),
                1 => _ = text.drain(at..end),
                _ => text.splice(at..at, piece.chars()).for_each(drop),
            }
        }
        let text: String = text.into_iter().collect();
        let file = SourceFile { name: "a.yml".to_owned(), text: text.clone().into_bytes() };
        match convert::prometheus(&file, &[]) {
            Ok(conversion) => {
                converted += 1;
                let read = yaml::parse(&"promferry.yml".into(), conversion.yaml.as_bytes(), &yaml::MAIN_FILE);
                assert!(read.is_ok(), "{text}\nbecame\n{}\n{:?}", conversion.yaml, read.err());
                if variables(&conversion.yaml).is_empty()
                    && let Err(problems) = load_text("promferry.yml", &conversion.yaml)
                {
                    panic!("{text}\nbecame\n{}\n{problems}", conversion.yaml);
                }
            }
            Err(problems) => {
                refused += 1;
                assert!(problems.0.iter().all(|problem| &*problem.file == "a.yml"), "{problems}");
            }
        }
    }
    assert!(converted > 300 && refused > 300, "both happen: {converted}, {refused}");
}

/// A `prometheus.yml` with what people write. Relative paths start from FOLDER.
const REAL: &str = r#"
global:
  scrape_interval: 1s
  external_labels: {site: here, code: external}
scrape_configs:
  - job_name: apps
    scheme: https
    tls_config: &tls {ca_file: FOLDER/ca.crt, cert_file: FOLDER/scrape.crt, key_file: FOLDER/scrape.key}
    static_configs:
      - targets: ["FIRST", "SECOND"]
        labels: {group: one, price: "${1}$x", path: "${HOME}"}
    relabel_configs:
      - {source_labels: [__address__], regex: '(.*):(\d+)', target_label: host, replacement: '${1}'}
    metric_relabel_configs:
      - {source_labels: [__name__], regex: 'go_.*', action: drop}
      - {regex: 'index|empty', action: labeldrop}
  - job_name: honest
    honor_labels: true
    honor_timestamps: false
    scheme: https
    tls_config: *tls
    metrics_path: /other
    params: {x: [y, z]}
    static_configs: [targets: ["FIRST"]]
  - job_name: files
    scheme: https
    tls_config: *tls
    file_sd_configs: [files: [FOLDER/targets-*.json]]
    relabel_configs:
      - {source_labels: [__meta_filepath], regex: '.*/(targets-.*)', target_label: file}
  - job_name: probed
    scheme: https
    tls_config: *tls
    params: {module: [http_2xx]}
    static_configs: [targets: ["https://example.com/a?b=c"]]
    relabel_configs:
      - {source_labels: [__address__], target_label: __param_target}
      - {source_labels: [__param_target], target_label: instance}
      - {target_label: __address__, replacement: FIRST}
  - job_name: limited
    scheme: https
    tls_config: *tls
    sample_limit: 2
    static_configs: [targets: ["FIRST"]]
  - job_name: broken
    scheme: https
    tls_config: *tls
    static_configs: [targets: ["BROKEN"]]
  - job_name: unencrypted
    static_configs: [targets: ["FIRST"]]
remote_write:
  - url: http://RECEIVER/api/v1/write
    name: store
    queue_config: {batch_send_deadline: 1s, capacity: 100, max_samples_per_send: 50}
    write_relabel_configs:
      - {source_labels: [__name__], regex: 'dropped_.*', action: drop}
"#;

/// What their target says. A label that its own would hide, and times.
fn body() -> String {
    format!(
        "# TYPE go_goroutines gauge\ngo_goroutines 12\n# TYPE requests_total counter\n\
         requests_total{{code=\"200\",job=\"router\",instance=\"i-1\",index=\"6\",empty=\"\"}} 1027\n\
         requests_total{{code=\"500\",job=\"router\"}} 3\n# TYPE latency_seconds histogram\n\
         latency_seconds_bucket{{le=\"0.5\"}} 1\nlatency_seconds_bucket{{le=\"1.0\"}} 2\nlatency_seconds_bucket{{le=\"+Inf\"}} 3\n\
         latency_seconds_sum 1.5\nlatency_seconds_count 3\nnan_gauge NaN\ndropped_thing 1\nuntyped{{a=\"ä\\\"\\\\\\n\"}} -1e-9\n\
         with_time 5 {}\n",
        now_ms()
    )
}

/// Of series that tell of the scrape itself, what is not compared: of any target's, and of those whose scrapes fail halfway, of which
/// Prometheus counts the samples before the failure, and promferry none.
const VARIES: [&str; 2] = ["scrape_duration_seconds", "scrape_series_added"];
const VARIES_HALFWAY: [&str; 2] = ["scrape_samples_scraped", "scrape_samples_post_metric_relabeling"];

/// Each series that a receiver has, and which values. Any NaN is the same but for a stale marker, which is left out.
fn series(server: &WriteServer) -> BTreeMap<Labels, BTreeSet<u64>> {
    const STALE: u64 = 0x7ff0_0000_0000_0002;
    let tsdb = server.tsdb();
    let values = |(labels, stored): (&Labels, &Vec<(i64, Stored)>)| {
        let label = |name: &str| labels.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value);
        let is_halfway = ["broken", "limited"].contains(&label("job")) && VARIES_HALFWAY.contains(&label("__name__"));
        let varies = VARIES.contains(&label("__name__")) || is_halfway;
        let floats = stored.iter().filter_map(|(_, value)| match value {
            Stored::Float(bits) if !varies && *bits != STALE => Some(f64::from_bits(*bits)),
            _ => None,
        });
        let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        let mut values: BTreeSet<u64> = floats.map(bits).collect();
        // On a busy machine a scrape of a target that is well may take too long.
        if label("__name__") == "up" || VARIES_HALFWAY.contains(&label("__name__")) {
            let is_well = values.iter().any(|bits| *bits != 0);
            values.retain(|bits| !is_well || *bits != 0);
        }
        (labels.clone(), values)
    };
    tsdb.series.iter().map(values).collect()
}

/// Waits until each target was scraped three times.
async fn filled(server: &WriteServer) {
    until_within(Duration::from_secs(60), "three scrapes of each of 8 targets", async || {
        let tsdb = server.tsdb();
        let is_up = |labels: &Labels| labels.iter().any(|(name, value)| name == "__name__" && value == "up");
        let ups = tsdb.series.iter().filter(|(labels, samples)| is_up(labels) && samples.len() >= 3).count();
        (ups == 8).then_some(())
    })
    .await;
}

/// A real Prometheus, and promferry with what its configuration became, on the same targets: the same series with the same values.
async fn the_same_series_arrive(version: Version) {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let first = Exporter::start(tls.clone(), |_| body()).await;
    let second = Exporter::start(tls.clone(), |_| "second 2\n".to_owned()).await;
    let broken = Exporter::start(tls, |_| "good 1\nbad line\n".to_owned()).await;
    let targets = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"of\": \"file\"}}}}]", second.address);
    std::fs::write(world.path("targets-a.json"), targets).unwrap();
    let (theirs, ours) = (WriteServer::start(None, Vec::new()).await, WriteServer::start(None, Vec::new()).await);
    let text = |receiver: &WriteServer| {
        let names = [
            ("FOLDER", world.folder().display().to_string()),
            ("FIRST", first.address.to_string()),
            ("SECOND", second.address.to_string()),
            ("BROKEN", broken.address.to_string()),
            ("RECEIVER", receiver.address.to_string()),
        ];
        names.iter().fold(REAL.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    let Some(prometheus) = Prometheus::start_with(world.folder(), version, &text(&theirs)).await else { return };
    filled(&theirs).await;
    drop(prometheus);

    std::fs::write(world.path("ours.yml"), text(&ours)).unwrap();
    let mut convert = command(&["convert", "prometheus", "ours.yml"]);
    let (code, yaml, err) = outcome(convert.current_dir(world.folder())).await;
    assert_eq!((code, err.lines().count()), (0, 1), "a word about ${{HOME}}: {err}");
    world.configure(&format!("{yaml}admin: {{listen: \"127.0.0.1:0\"}}\n"));
    let process = world.run().await;
    filled(&ours).await;
    process.terminate().await;

    let (theirs, ours) = (series(&theirs), series(&ours));
    let differs = |one: &BTreeMap<Labels, BTreeSet<u64>>, other: &BTreeMap<Labels, BTreeSet<u64>>| {
        let found = one.iter().filter(|(labels, values)| other.get(*labels) != Some(values));
        found.map(|pair| format!("{pair:?}")).collect::<Vec<_>>()
    };
    let (missing, added) = (differs(&theirs, &ours), differs(&ours, &theirs));
    assert!(missing.is_empty() && added.is_empty(), "missing {missing:#?}\nadded {added:#?}\n{yaml}");
    assert!(theirs.len() > 60, "{theirs:#?}");
}

#[tokio::test]
async fn the_same_series_arrive_as_from_prometheus_2() {
    the_same_series_arrive(Version::Two).await;
}

#[tokio::test]
async fn the_same_series_arrive_as_from_prometheus_3() {
    the_same_series_arrive(Version::Three).await;
}
