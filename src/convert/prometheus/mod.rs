//! `prometheus.yml` as one of ours.
//!
//! - `section` carries mappings over by the tables of our keys, and moves credentials to variables.
//! - `scrape` is `global` and `scrape_configs`, `remote_write` the outputs.
//!
//! It follows Prometheus 3. What its remote write would send is what ours sends; what it does beside scraping and sending is named
//! and left to it.

mod remote_write;
mod scrape;
mod section;

use std::cell::RefCell;
use std::path::Path;

use section::{Carrier, Variables, Written, single};

use super::{Conversion, SourceFile};
use crate::config::raw::{ROOT, SCRAPE_FILE};
use crate::config::yaml::{self, Entry, Kind, Node as Tree};
use crate::config::{Pos, Problem, Problems, check_trees};

/// The patterns of `scrape_config_files`, relative to the file's folder. The files that they find are converted along with it.
///
/// # Errors
/// The file is no YAML.
pub fn parts(main: &SourceFile) -> Result<Vec<String>, Problems> {
    let entries = read(main)?;
    let files = entries.iter().find(|entry| entry.key == "scrape_config_files");
    Ok(match files.map(|files| &files.value.kind) {
        Some(Kind::Sequence(items)) => items.iter().filter_map(single).map(str::to_owned).collect(),
        _ => Vec::new(),
    })
}

/// Converts a `prometheus.yml` and the files that its `scrape_config_files` finds.
///
/// # Errors
/// A file is no YAML, or something in it is nothing that Prometheus or we would read: with its place.
pub fn convert(main: &SourceFile, parts: &[SourceFile]) -> Result<Conversion, Problems> {
    let mut problems = Vec::new();
    let mut read = |file: &SourceFile| {
        read(file).unwrap_or_else(|wrong| {
            problems.extend(wrong.0);
            Vec::new()
        })
    };
    let entries = read(main);
    let parts: Vec<_> = parts.iter().map(|part| (part, read(part))).collect();
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let variables = RefCell::default();
    let folder = Path::new(&main.name).parent().unwrap_or(Path::new(""));
    let parts: Vec<_> = parts.iter().map(|(part, entries)| Part::new(part, entries, folder, &variables)).collect();
    let carrier = Carrier { file: main.name.as_str().into(), folder: Path::new(""), variables: &variables };
    let root = root(&carrier, &entries, &parts);
    let tree = |written: &Written| Tree { at: Pos::default(), kind: Kind::Mapping(written.tree.clone()) };
    let trees: Vec<_> = parts.iter().map(|part| (part.name, tree(&part.written))).collect();
    let trees: Vec<_> = trees.iter().map(|(name, tree)| (*name, tree)).collect();
    check_trees((&main.name, &tree(&root)), &trees)?;
    Ok(Conversion::new(&root.map))
}

/// The keys at the top of a file.
fn read(file: &SourceFile) -> Result<Vec<Entry>, Problems> {
    let name = file.name.as_str().into();
    let tree = yaml::parse(&name, &file.text, &yaml::MAIN_FILE)?;
    match tree.map(|tree| (tree.at, tree.kind)) {
        None => Ok(Vec::new()),
        Some((_, Kind::Mapping(entries))) => Ok(entries),
        Some((at, _)) => {
            let message = "expected a mapping, with keys such as scrape_configs".to_owned();
            Err(Problem { file: name, at, message }.into())
        }
    }
}

/// A file that `scrape_config_files` finds.
struct Part<'p> {
    name: &'p str,
    /// Its `scrape_configs` alone.
    written: Written,
}

impl<'p> Part<'p> {
    fn new(file: &'p SourceFile, entries: &[Entry], main_folder: &Path, variables: &RefCell<Variables>) -> Self {
        let folder = Path::new(&file.name).parent().unwrap_or(Path::new(""));
        let folder = folder.strip_prefix(main_folder).unwrap_or(folder);
        let carrier = Carrier { file: file.name.as_str().into(), folder, variables };
        let mut written = Written::default();
        for entry in entries {
            match (&*entry.key, &entry.value.kind) {
                ("scrape_configs", Kind::Sequence(items)) => put_scrapes(&carrier, &mut written, entry, items),
                _ => carrier.entry(&mut written, "", entry, &SCRAPE_FILE),
            }
        }
        Self { name: &file.name, written }
    }
}

fn put_scrapes(carrier: &Carrier<'_>, written: &mut Written, entry: &Entry, items: &[Tree]) {
    match scrape::scrapes(carrier, items) {
        Some(scrapes) => written.sections("scrape_configs", entry.at, scrapes),
        None => written.wrong(entry),
    }
}

fn root(carrier: &Carrier<'_>, entries: &[Entry], parts: &[Part<'_>]) -> Written {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key && !matches!(entry.value.kind, Kind::Null));
    let start = Pos { line: 1, column: 1 };
    let mut root = Written::default();
    root.map.comment(format!("Made by promferry convert prometheus {}", carrier.file));
    root.map.comment("The keys are explained in docs/config.md, what differs from Prometheus in docs/convert.md.");
    match find("global").map(|entry| (entry, &entry.value.kind)) {
        Some((entry, Kind::Mapping(keys))) => root.section("global", entry.at, scrape::global(carrier, keys, entry.at)),
        Some((entry, _)) => root.wrong(entry),
        None => root.section("global", start, scrape::global(carrier, &[], start)),
    }
    let mut scrapes = Written::default();
    match find("scrape_configs").map(|entry| (entry, &entry.value.kind)) {
        Some((entry, Kind::Sequence(items))) => put_scrapes(carrier, &mut scrapes, entry, items),
        Some((entry, _)) => scrapes.wrong(entry),
        None => {}
    }
    root.tree.append(&mut scrapes.tree);
    root.map.join(scrapes.map);
    for part in parts {
        root.map.join(part.written.map.clone());
    }
    outputs(carrier, find("remote_write"), &mut root);
    for entry in entries {
        if !["global", "scrape_configs", "scrape_config_files", "remote_write"].contains(&entry.key.as_str()) {
            carrier.entry(&mut root, "", entry, &ROOT);
        }
    }
    root
}

fn outputs(carrier: &Carrier<'_>, entry: Option<&Entry>, root: &mut Written) {
    match entry.map(|entry| (entry, &entry.value.kind)) {
        Some((entry, Kind::Sequence(items))) if !items.is_empty() => match remote_write::outputs(carrier, items) {
            Some(outputs) => root.sections("outputs", entry.at, outputs),
            None => root.wrong_output(entry),
        },
        Some((entry, kind)) if !matches!(kind, Kind::Sequence(_)) => root.wrong_output(entry),
        _ => {
            let start = Pos { line: 1, column: 1 };
            let text = "there is no remote_write: Prometheus stores samples itself, which promferry does not; they are served here for one \
                        that scrapes them with honor_labels: true, until an output is written";
            let mut expose = scrape::expose(start);
            carrier.lose(&mut expose, start, text);
            root.sections("outputs", start, vec![(start, expose)]);
        }
    }
}
