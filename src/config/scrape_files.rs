//! `scrape_config_files`: files of scrape configurations, as Prometheus has them.
//!
//! They are parts of the main configuration, and as trusted: variables are expanded, relative paths start from each file's own folder,
//! and one that cannot be read is an error like any other. What is wrong is told with the file that it stands in. They are read
//! at each load, so a reload notices what changed in them; nobody watches them. A file that two patterns find is read once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::{Fields, Reader};
use super::load::read_file;
use super::problem::{Pos, quoted};
use super::raw::SCRAPE_FILE;
use super::schema::Section;
use super::variables::Environment;
use super::yaml::{self, Node};
use crate::files::{PathGlob, Scan};
use crate::net::text::io_words;

/// A file, and what was wrong with it so far.
pub struct Part<'a> {
    /// Knows its name, its folder and its problems.
    pub reader: Reader<'a>,
    tree: Option<Node>,
}

impl Part<'_> {
    /// Its `scrape_configs`.
    pub fn scrapes(&self) -> Vec<Fields<'_>> {
        let tree = self.tree.iter();
        tree.flat_map(|tree| self.reader.open(tree, &SCRAPE_FILE).sections("scrape_configs")).collect()
    }

    /// Its name, and what stands in it.
    pub fn typed(&self) -> Option<(&str, &Node, &'static Section)> {
        Some((self.reader.file(), self.tree.as_ref()?, &SCRAPE_FILE))
    }
}

/// Reads the files that `scrape_config_files` finds, in the order of its patterns, then of their names.
pub fn read<'a>(root: &Fields<'_>, environment: Environment<'a>) -> Vec<Part<'a>> {
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    for pattern in root.texts("scrape_config_files") {
        let found = match pattern.text.as_str() {
            "" => Err("is not the path of a file".to_owned()),
            text => find(root.join(text)),
        };
        let found = found.unwrap_or_else(|complaint| {
            root.note_at(pattern.at, format!("scrape_config_files: {} {complaint}", quoted(&pattern.text)));
            Vec::new()
        });
        parts.extend(found.into_iter().filter(|path| seen.insert(path.clone())).map(|path| part(&path, environment)));
    }
    parts
}

/// The files that a pattern finds now. None is no error, but for a path without a wildcard.
fn find(pattern: PathBuf) -> Result<Vec<PathBuf>, String> {
    let glob = PathGlob::new(&pattern.to_string_lossy()).map_err(|_| "is not a pattern".to_owned())?;
    let mut scan = Scan::default();
    glob.find(&mut scan);
    if let Some((folder, reason)) = scan.unreadable.first_key_value() {
        return Err(format!("cannot be looked for: {}: {reason}", quoted(&folder.to_string_lossy())));
    }
    if scan.is_cut {
        return Err(format!("finds more than {} files", scan.files.len()));
    }
    if scan.files.is_empty() && glob.is_plain() {
        return Err("is not there; only a pattern with a wildcard may find nothing".to_owned());
    }
    Ok(scan.files.into_iter().collect())
}

fn part<'a>(path: &Path, environment: Environment<'a>) -> Part<'a> {
    let file: Arc<str> = path.to_string_lossy().into();
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let reader = Reader::new(file.clone(), folder, environment);
    let tree = match read_file(path) {
        Ok(text) => yaml::parse(&file, &text, &yaml::MAIN_FILE).unwrap_or_else(|problem| {
            reader.note(problem.at, problem.message);
            None
        }),
        Err(error) => {
            reader.note(Pos::default(), format!("cannot be read: {}", io_words(&error)));
            None
        }
    };
    Part { reader, tree }
}
