//! The examples are configurations that load.

use std::path::Path;

use promferry::config::{self, Source};

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut loaded = 0;
    for folder in [examples.clone(), examples.join("cloud-foundry")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("manifest.yml") {
                continue;
            }
            if let Err(problems) = config::load(&Source::File(path), &|_| None) {
                panic!("{problems}");
            }
            loaded += 1;
        }
    }
    assert!(loaded >= 2, "the examples are where they are looked for");
}

#[test]
fn the_configuration_in_the_readme_loads() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promferry.yml");
    std::fs::write(&path, yaml).unwrap();
    if let Err(problems) = config::load(&Source::File(path), &|_| None) {
        panic!("{problems}");
    }
}
