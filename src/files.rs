//! Globs over folders that others change while we look, and files that others write.
//!
//! The layout to be at home in is BOSH's: `/var/vcap/jobs/NAME` is a link to `/var/vcap/data/jobs/NAME/HASH`, and a deploy
//! swaps it. So links are followed everywhere, and a file is known by the path that the glob gives, never by the one that it
//! resolves to: its last good state outlives the swap.
//!
//! A glob is matched name by name, as Go's `filepath.Glob` does: a wildcard never crosses a slash, and only folders that a
//! wildcard stands for are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};

/// Bytes of one discovery file, at most.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that one scan takes, at most.
const FILES_MAX: usize = 10_000;

/// Names that are looked at in one folder, at most.
const FOLDER_NAMES_MAX: usize = 100_000;

/// A checked glob.
#[derive(Clone, Debug)]
pub(crate) struct PathGlob {
    /// The part before the first wildcard.
    prefix: PathBuf,
    parts: Vec<Part>,
}

/// One name of a path.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Just this name.
    Name(OsString),
    /// Any that matches.
    Glob(GlobMatcher),
}

impl Part {
    /// Whether `name` is meant.
    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        match self {
            Self::Name(exact) => exact == name,
            Self::Glob(glob) => glob.is_match(Path::new(name)),
        }
    }
}

/// What globs led to.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Paths that exist, as the globs give them.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Folders that could not be looked into, and why; what was known below them stays.
    pub(crate) unreadable: BTreeMap<PathBuf, String>,
    /// Folders to watch, links resolved, and the names in them that matter.
    pub(crate) watches: BTreeMap<PathBuf, Vec<Part>>,
    /// There were more than [`FILES_MAX`] files.
    pub(crate) is_cut: bool,
}

impl PathGlob {
    /// Whether it is one path, without a wildcard.
    pub(crate) fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Name(_)))
    }

    /// Reads a glob with `*`, `?`, `[…]` and `{a,b}`; the error says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut prefix = if text.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
        let mut parts = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            let is_plain = !name.contains(['*', '?', '[', '{', '\\']);
            if is_plain && parts.is_empty() {
                prefix.push(name);
            } else if is_plain {
                parts.push(Part::Name(name.into()));
            } else {
                let glob = GlobBuilder::new(name).literal_separator(true).build();
                let glob =
                    glob.map_err(|error| format!("\"{}\" is not a glob: {}", text.escape_debug(), error.kind()))?;
                parts.push(Part::Glob(glob.compile_matcher()));
            }
        }
        if parts.is_empty() {
            // One file by name: its folder is where the search starts.
            let name = prefix.file_name().ok_or_else(|| "the glob is empty".to_owned())?;
            parts.push(Part::Name(name.to_owned()));
            prefix.pop();
        }
        if prefix.as_os_str().is_empty() {
            prefix.push(".");
        }
        Ok(Self { prefix, parts })
    }

    /// Adds what the glob finds to `scan`.
    pub(crate) fn find(&self, scan: &mut Scan) {
        let mut folder = self.prefix.as_path();
        let mut missing = None;
        // Where the folder is not there (yet), the nearest one above it tells when it comes.
        loop {
            match is_folder(folder) {
                Ok(true) => break,
                Ok(false) => missing = folder.file_name(),
                Err(reason) => {
                    scan.unreadable.insert(folder.to_owned(), reason);
                    return;
                }
            }
            match folder.parent() {
                Some(parent) => folder = parent,
                None => return,
            }
        }
        if let Some(missing) = missing {
            scan.watch(folder, Part::Name(missing.to_owned()));
            return;
        }
        // The folder itself may be a link that is swapped.
        if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name())
            && !parent.as_os_str().is_empty()
        {
            scan.watch(parent, Part::Name(name.to_owned()));
        }
        descend(folder.to_owned(), &self.parts, scan);
    }
}

fn descend(folder: PathBuf, parts: &[Part], scan: &mut Scan) {
    let [part, below @ ..] = parts else { return };
    scan.watch(&folder, part.clone());
    let names = match part {
        Part::Name(name) => vec![name.clone()],
        Part::Glob(_) => match list(&folder, part) {
            Ok(names) => names,
            Err(reason) => {
                scan.unreadable.insert(folder, reason);
                return;
            }
        },
    };
    for name in names {
        let path = folder.join(name);
        if !below.is_empty() {
            match is_folder(&path) {
                Ok(true) => descend(path, below, scan),
                Ok(false) => {}
                Err(reason) => {
                    scan.unreadable.insert(path, reason);
                }
            }
            continue;
        }
        match fs::metadata(&path) {
            Err(error) if is_absence(&error) => {}
            // What cannot be looked at is found all the same: reading it gives the reason.
            _ if scan.files.len() >= FILES_MAX && !scan.files.contains(&path) => scan.is_cut = true,
            _ => {
                scan.watch_behind_link(&path);
                scan.files.insert(path);
            }
        }
    }
}

/// The working folder, where a relative path has no folder before its name: the system knows no path that is empty.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Whether a folder is there; the error says why that cannot be told.
fn is_folder(path: &Path) -> Result<bool, String> {
    match fs::metadata(or_here(path)) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// The names in a folder that `part` matches, sorted. A folder that is gone has none.
fn list(folder: &Path, part: &Part) -> Result<Vec<OsString>, String> {
    let entries = match fs::read_dir(or_here(folder)) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut names = Vec::new();
    for (seen, entry) in entries.enumerate() {
        if seen >= FOLDER_NAMES_MAX {
            return Err(format!("it holds more than {FOLDER_NAMES_MAX} names"));
        }
        let name = entry.map_err(|error| error.to_string())?.file_name();
        if part.matches(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Scan {
    fn watch(&mut self, folder: &Path, part: Part) {
        if let Ok(resolved) = fs::canonicalize(or_here(folder)) {
            self.watches.entry(resolved).or_default().push(part);
        }
    }

    /// A file may be a link itself; what it leads to is changed in another folder.
    fn watch_behind_link(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(resolved) = fs::canonicalize(path)
            && let (Some(folder), Some(name)) = (resolved.parent(), resolved.file_name())
        {
            self.watches.entry(folder.to_owned()).or_default().push(Part::Name(name.to_owned()));
        }
    }
}

/// A file's content, and when it was last written.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) modified: Option<SystemTime>,
}

/// Reads a regular file of at most [`FILE_BYTES_MAX`]; `None` when it is gone. Never waits: not for the other end of a pipe, and
/// not for a device.
pub(crate) fn read(path: &Path) -> Result<Option<Content>, String> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => file,
        Err(error) if is_absence(&error) => return Ok(None),
        // A socket cannot be opened.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err("it is not a regular file".into()),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    let metadata = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more: the size may have changed since it was asked for.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    Ok(Some(Content { bytes, modified: metadata.modified().ok() }))
}

/// What the globs find now, by path: the content of each file, or why it cannot be read. What is no glob finds nothing.
pub fn read_all(globs: &[String]) -> Vec<(PathBuf, Result<Vec<u8>, String>)> {
    let mut scan = Scan::default();
    globs.iter().filter_map(|glob| PathGlob::new(glob).ok()).for_each(|glob| glob.find(&mut scan));
    let read = |path: PathBuf| match read(&path) {
        Ok(content) => Some((path, Ok(content?.bytes))),
        Err(reason) => Some((path, Err(reason))),
    };
    let folders = scan.unreadable.into_iter().map(|(folder, reason)| (folder, Err(reason)));
    scan.files.into_iter().filter_map(read).chain(folders).collect()
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(glob: &str) -> Vec<PathBuf> {
        let mut scan = Scan::default();
        PathGlob::new(glob).unwrap().find(&mut scan);
        scan.files.into_iter().collect()
    }

    #[test]
    fn a_wildcard_stays_within_its_name_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("data/a/1/config/deep")).unwrap();
        fs::create_dir_all(at("jobs")).unwrap();
        fs::write(at("data/a/1/config/x.yml"), "port: 1").unwrap();
        fs::write(at("data/a/1/config/deep/x.yml"), "port: 1").unwrap();
        std::os::unix::fs::symlink(at("data/a/1"), at("jobs/a")).unwrap();
        std::os::unix::fs::symlink(at("data/gone"), at("jobs/gone")).unwrap();
        let root = folder.path().display();
        let expected = vec![at("jobs/a/config/x.yml")];
        assert_eq!(found(&format!("{root}/jobs/*/config/x.yml")), expected);
        assert_eq!(found(&format!("{root}//jobs/{{a,b}}/./config/[xyz].y?l")), expected);
        assert_eq!(found(&format!("{root}/jobs/**/x.yml")), Vec::<PathBuf>::new(), "`**` is `*`, as in Go");
        assert_eq!(found(&format!("{root}/jobs/a/config/x.yml")), expected);
        assert_eq!(found(&format!("{root}/jobs/a/config/y.yml")), Vec::<PathBuf>::new());
        assert_eq!(found(&format!("{root}/missing/*/x.yml")), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_would_tell_of_a_change_is_to_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let watched = || {
            let mut scan = Scan::default();
            PathGlob::new(&format!("{}/jobs/*/config/x.yml", root.display())).unwrap().find(&mut scan);
            scan.watches.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(watched(), std::slice::from_ref(&root), "the folder that the jobs' folder will come into");
        fs::create_dir_all(root.join("data/a/1/config")).unwrap();
        fs::create_dir_all(root.join("jobs")).unwrap();
        std::os::unix::fs::symlink("../data/a/1", root.join("jobs/a")).unwrap();
        let all =
            ["", "data/a/1", "data/a/1/config", "jobs"].map(|path| root.join(path).components().collect::<PathBuf>());
        assert_eq!(watched(), all);
    }

    #[test]
    fn globs_that_are_none() {
        assert_eq!(
            PathGlob::new("/a/[b/c.yml").unwrap_err(),
            "\"/a/[b/c.yml\" is not a glob: unclosed character class; missing ']'"
        );
        assert!(PathGlob::new("/a/{b/c,d}/e").is_err());
        assert_eq!(PathGlob::new("").unwrap_err(), "the glob is empty");
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::write(at("fits"), vec![b'#'; FILE_BYTES_MAX as usize]).unwrap();
        fs::write(at("large"), vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(read(&at("fits")).unwrap().unwrap().bytes.len() as u64, FILE_BYTES_MAX);
        assert_eq!(read(&at("large")).err().unwrap(), "it is larger than 1 MiB");
        assert_eq!(read(folder.path()).err().unwrap(), "it is not a regular file");
        assert_eq!(read(&at("socket")).err().unwrap(), "it is not a regular file");
        assert_eq!(read(Path::new("/dev/zero")).err().unwrap(), "it is not a regular file");
        assert!(read(&at("missing")).unwrap().is_none());
        assert!(read(&at("fits/below")).unwrap().is_none());
    }
}
