//! `promferry convert prometheus`: what comes out, to the letter, and that it is a configuration.

use std::path::{Path, PathBuf};

use promferry::config::{load_text, yaml};
use promferry::convert::{self, SourceFile};

use crate::convert::{value_of, variables};
use crate::support::random::Random;
use crate::support::world::{World, command, outcome};

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
