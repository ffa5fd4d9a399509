//! `promferry convert telegraf`: what comes out, to the letter, and that it is a configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use promferry::config::{load_text, yaml};
use promferry::convert::{self, SourceFile};

use crate::support::random::Random;
use crate::support::world::{World, command, outcome};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/convert")
}

/// Files and folders that are converted, by name.
fn sources() -> Vec<String> {
    let names = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".conf") || name == "telegraf.d").collect();
    names.sort();
    assert!(names.len() >= 12, "the configurations are where they are looked for");
    names
}

async fn convert(path: &str) -> (i32, String, String) {
    outcome(command(&["convert", "telegraf", path]).current_dir(golden())).await
}

/// `WRITE_DOCS=1 cargo test --test it convert::` writes what is expected.
#[tokio::test]
async fn every_option_becomes_what_is_expected() {
    for source in sources() {
        let (code, out, err) = convert(&source).await;
        let found = [(".yml", out), (".err", format!("{err}exit {code}\n"))];
        for (ending, found) in found {
            let file = golden().join(source.replace(".conf", "") + ending);
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
async fn the_example_of_pivotals_manual_loses_nothing() {
    let (code, out, err) = convert("pivotal.conf").await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("shape: telegraf_v1"), "{out}");
}

/// What `promferry check` says of each result, where variables are set and files are there.
#[tokio::test]
async fn every_result_passes_the_check() {
    for source in sources().into_iter().filter(|name| name != "broken.conf") {
        let (_, out, _) = convert(&source).await;
        let world = World::new();
        let mut check = command(&["check", "-c", "promferry.yml"]);
        for name in variables(&out) {
            check.env(&name, value_of(&name));
        }
        world.configure(&with_files(&out, world.folder()));
        let (code, _, err) = outcome(check.current_dir(world.folder())).await;
        assert_eq!((code, err.as_str()), (0, ""), "{source}:\n{out}");
    }
}

/// Variables without a default.
pub fn variables(yaml: &str) -> BTreeSet<String> {
    let names = yaml.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned());
    names.filter(|name| !name.contains(":-") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).collect()
}

pub fn value_of(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("INTERVAL") => "5s",
        _ if name.ends_with("SIZE") => "100",
        "ES_URL" => "http://localhost:9200",
        "CERTS" => "/etc/telegraf",
        _ => "value",
    }
}

/// Files below two folders of other machines are in this one.
fn with_files(yaml: &str, folder: &Path) -> String {
    let mut yaml = yaml.replace("${CERTS}", "/etc/telegraf");
    for foreign in ["/etc/telegraf/", "/var/vcap/certs/"] {
        for rest in yaml.clone().split(foreign).skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).next().unwrap();
            std::fs::write(folder.join(name), "a file").unwrap();
        }
        yaml = yaml.replace(foreign, &format!("{}/", folder.display()));
    }
    yaml
}

#[tokio::test]
async fn no_credential_is_repeated() {
    for source in sources() {
        let (_, out, err) = convert(&source).await;
        assert!(!out.contains("clear-") && !err.contains("clear-"), "{source}:\n{out}{err}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let world = World::new();
    std::fs::create_dir(world.path("empty")).unwrap();
    std::fs::write(world.path("latin1.conf"), b"[agent]\n# \xe9\n").unwrap();
    let cases = [
        (vec!["nowhere.conf"], "nowhere.conf: cannot be read: no such file or directory\n"),
        (vec!["empty"], "empty: there is no *.conf file in it\n"),
        (vec!["latin1.conf"], "latin1.conf:2:3: not UTF-8\n"),
    ];
    for (paths, expected) in cases {
        let arguments: Vec<_> = ["convert", "telegraf"].into_iter().chain(paths).collect();
        let (code, out, err) = outcome(command(&arguments).current_dir(world.folder())).await;
        assert_eq!((code, out.as_str(), err.to_lowercase()), (2, "", expected.to_lowercase()));
    }
}

/// The manual names every setting that the result of Pivotal's example has.
#[test]
fn the_manual_says_what_the_result_has_for_telegrafs_sake() {
    let manual = include_str!("../../docs/convert.md");
    let result = std::fs::read_to_string(golden().join("pivotal.yml")).unwrap();
    for setting in
        ["scrape_metrics: false", "honor_labels: true", "scrape_protocols: [PrometheusText0.0.4]", "telegraf_v1"]
    {
        assert!(manual.contains(setting) && result.contains(setting), "{setting}");
    }
}

/// Pieces that configurations are mutated with.
const PIECES: [&str; 24] = [
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[inputs.prometheus]]\n",
    "[[outputs.elasticsearch]]\n",
    "\n",
    "=",
    "{",
    "}",
    "${",
    "$A",
    "${A:-b}",
    "\\",
    "\u{7}",
    "é",
    "\u{feff}",
    "*",
    "[!a-",
    "{{",
    "%",
    ",",
    "#",
];

/// Whatever is read, nothing panics, and what comes out is YAML, and a configuration that loads where it does not wait for variables.
#[test]
fn no_text_panics_it_and_every_result_loads() {
    let texts: Vec<String> = sources()
        .iter()
        .filter(|name| name.ends_with(".conf"))
        .map(|name| std::fs::read_to_string(golden().join(name)).unwrap())
        .collect();
    let mut random = Random::new(7);
    let (mut converted, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len() as u64 + 1) as usize;
            let end = (at + random.below(12) as usize).min(text.len());
            let piece = PIECES[random.below(PIECES.len() as u64) as usize];
            match random.below(3) {
                0 => _ = text.splice(at..end, piece.chars()),
                1 => _ = text.drain(at..end),
                _ => text.splice(at..at, piece.chars()).for_each(drop),
            }
        }
        let text: String = text.into_iter().collect();
        let file = SourceFile { name: "a.conf".to_owned(), text: text.clone().into_bytes() };
        match convert::telegraf(&[file]) {
            Ok(conversion) => {
                converted += 1;
                let read = yaml::parse(&"promferry.yml".into(), conversion.yaml.as_bytes(), &yaml::MAIN_FILE);
                assert!(read.is_ok(), "{text}\nbecame\n{}\n{:?}", conversion.yaml, read.err());
                if !conversion.yaml.contains("${")
                    && let Err(problems) = load_text("promferry.yml", &conversion.yaml)
                {
                    panic!("{text}\nbecame\n{}\n{problems}", conversion.yaml);
                }
            }
            Err(problems) => {
                refused += 1;
                assert!(!problems.0.is_empty(), "{text}");
            }
        }
    }
    assert!(converted > 300 && refused > 300, "both happen: {converted}, {refused}");
}
