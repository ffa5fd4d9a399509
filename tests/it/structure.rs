//! Which module may import which: data flows one way, and a room knows only the rooms that it was built on.

use std::path::{Path, PathBuf};

/// Room, and the rooms that it may name. Anyone may name `telemetry`, `random` and `memory`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("net", &[]),
    ("telemetry", &[]),
    ("random", &[]),
    ("memory", &[]),
    ("system", &[]),
    ("detect", &["config", "model"]),
    ("relabel", &["model"]),
    ("exposition", &["model"]),
    ("convert", &["config", "net"]),
    ("files", &[]),
    ("config", &["model", "relabel", "net", "files"]),
    ("target", &["model", "net", "config"]),
    ("cloud_foundry", &["target", "model", "net", "exposition", "config"]),
    ("discovery", &["target", "net", "relabel", "model", "config", "cloud_foundry", "files"]),
    ("scrape", &["target", "exposition", "relabel", "net", "model", "config"]),
    ("pipeline", &["model"]),
    ("output", &["pipeline", "model", "exposition", "net", "config"]),
    ("cloud_foundry", &["target", "model", "net", "exposition", "config"]),
    ("admin", &["pipeline", "model", "net", "config"]),
];

/// These join the rooms and may name them all.
const JOINERS: &[&str] = &["app", "cli", "main", "lib"];

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// The rooms that a line names: `crate::ROOM`, and each of `crate::{ROOM, ROOM::…}`.
fn named(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(list.split(", ").map(word)),
            None => rooms.push(word(rest)),
        }
    }
    rooms
}

#[test]
fn rooms_import_only_the_rooms_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "the sources are where they are looked for");

    let mut wrong = Vec::new();
    for file in files {
        let below = file.strip_prefix(&source).unwrap();
        let room = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if JOINERS.contains(&room.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room \"{room}\" is not in the table", below.display()));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for other in named(line) {
                let is_fine = other == room || ["telemetry", "random", "memory"].contains(&other.as_str());
                if !is_fine && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}:{}: {room} may not import {other}", below.display(), at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
