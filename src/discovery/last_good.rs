//! Files that announce targets, and the last good state of each.
//!
//! A file is read at every scan and parsed when its content has changed. A broken one keeps what it said last, and that is
//! told once; a file that is gone takes what it said along. A file that is still being written is left alone for a moment:
//! the first half of a file may well be valid, and say something else.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{debug, info, warn};

use crate::config::{Pos, Problem};

use super::prom_scraper::{self, Announcement};
use super::resolve::Group;
use super::{FileReport, FileStatus, file_sd};
use crate::files::{self, Scan};

/// How long a file must have been left alone before a change in it is taken for whole.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// How often a change is put off; after that it is taken as it is.
const PUT_OFF_MAX: u32 = 4;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum FileKind {
    PromScraper,
    FileSd,
}

/// What a good file says.
#[derive(Debug)]
pub(super) enum Said {
    Announcement(Announcement),
    Groups(Vec<Group>),
}

/// All files, by kind and path.
#[derive(Debug, Default)]
pub(super) struct Files {
    held: HashMap<(FileKind, PathBuf), Held>,
    hasher: foldhash::quality::RandomState,
}

#[derive(Debug, Default)]
struct Held {
    /// A hash of the content that was looked at last, good or not.
    seen: Option<u64>,
    last_good: Option<Said>,
    problem: Option<Problem>,
    put_off: u32,
}

/// What a scan led to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Something is said otherwise than before.
    pub(super) has_changed: bool,
    /// A file is still being written: look again after [`SETTLE`].
    pub(super) is_unsettled: bool,
}

impl Files {
    /// Reads the files that scans found, and forgets those that they did not. `may_put_off`: whether somebody will look again.
    pub(super) fn update(&mut self, scans: &[(FileKind, &Scan)], may_put_off: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let before = self.held.len();
        self.held.retain(|(kind, path), _| {
            scans.iter().any(|(scanned, scan)| {
                scanned == kind
                    && (scan.files.contains(path) || scan.unreadable.keys().any(|folder| path.starts_with(folder)))
            })
        });
        outcome.has_changed = self.held.len() != before;
        // Several globs may find the same file; it is looked at once.
        let found: BTreeSet<(FileKind, &PathBuf)> =
            scans.iter().flat_map(|(kind, scan)| scan.files.iter().map(|path| (*kind, path))).collect();
        for (kind, path) in found {
            let one = self.look(kind, path, may_put_off);
            outcome.has_changed |= one.has_changed;
            outcome.is_unsettled |= one.is_unsettled;
        }
        outcome
    }

    /// What a file said when it was last good.
    pub(super) fn said(&self, kind: FileKind, path: &Path) -> Option<&Said> {
        self.held.get(&(kind, path.to_owned()))?.last_good.as_ref()
    }

    /// The state of each file, by path.
    pub(super) fn reports(&self) -> Vec<FileReport> {
        let report = |((kind, path), held): (&(FileKind, PathBuf), &Held)| FileReport {
            path: path.clone(),
            status: held.status(*kind),
        };
        let mut reports: Vec<FileReport> = self.held.iter().map(report).collect();
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        reports
    }

    fn look(&mut self, kind: FileKind, path: &Path, may_put_off: bool) -> Outcome {
        let unchanged = Outcome::default();
        let content = match files::read(path) {
            Ok(Some(content)) => content,
            Ok(None) => {
                // It went between the scan and now.
                let has_changed = self.held.remove(&(kind, path.to_owned())).is_some();
                return Outcome { has_changed, ..unchanged };
            }
            Err(reason) => {
                let held = self.held.entry((kind, path.to_owned())).or_default();
                held.seen = None;
                let file = path.to_string_lossy().into();
                return held.settle(kind, Err(Problem { file, at: Pos::default(), message: reason }));
            }
        };
        let hash = self.hasher.hash_one(&content.bytes);
        let held = self.held.entry((kind, path.to_owned())).or_default();
        if held.seen == Some(hash) {
            held.put_off = 0;
            return unchanged;
        }
        if may_put_off && held.put_off < PUT_OFF_MAX && is_fresh(content.modified) {
            held.put_off += 1;
            return Outcome { is_unsettled: true, ..unchanged };
        }
        held.put_off = 0;
        held.seen = Some(hash);
        held.settle(kind, parse(kind, path, &content.bytes))
    }
}

/// Whether a file was written just now. A time in the future says nothing.
fn is_fresh(modified: Option<SystemTime>) -> bool {
    modified.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age < SETTLE)
}

fn parse(kind: FileKind, path: &Path, content: &[u8]) -> Result<Said, Problem> {
    let file: Arc<str> = path.to_string_lossy().into();
    match kind {
        FileKind::FileSd => file_sd::parse(path, &file, content).map(Said::Groups),
        FileKind::PromScraper => {
            let announcement = prom_scraper::parse(&file, content)?;
            if let Announcement::Endpoint(endpoint) = &announcement
                && !endpoint.unknown_keys.is_empty()
            {
                let keys = endpoint.unknown_keys.join(", ");
                debug!(file = %file.escape_debug(), keys = %keys.escape_debug(), "unknown keys are left alone");
            }
            Ok(Said::Announcement(announcement))
        }
    }
}

impl Held {
    /// Takes what a look brought, and tells the edges.
    fn settle(&mut self, kind: FileKind, parsed: Result<Said, Problem>) -> Outcome {
        match parsed {
            Ok(said) => {
                if let Some(was) = self.problem.take() {
                    info!(file = %was.file.escape_debug(), "the file is good again");
                }
                self.last_good = Some(said);
            }
            Err(problem) if self.problem.as_ref() == Some(&problem) => return Outcome::default(),
            Err(problem) => {
                warn!(problem = %problem, "{}", self.consequence(kind));
                self.problem = Some(problem);
            }
        }
        Outcome { has_changed: true, is_unsettled: false }
    }

    /// What a broken file means now.
    fn consequence(&self, kind: FileKind) -> &'static str {
        match (&self.last_good, kind) {
            (Some(Said::Announcement(Announcement::Endpoint(_))), _) => {
                "this file is skipped; its target from the last good version is still being scraped"
            }
            (Some(Said::Groups(_)), _) => {
                "this file is skipped; its targets from the last good version are still being scraped"
            }
            (Some(Said::Announcement(Announcement::Off(_) | Announcement::Paused(_))), _) => {
                "this file is skipped; its last good version announced nothing"
            }
            (None, FileKind::PromScraper) => {
                "this file is skipped; there is no good version of it, so its target is not scraped"
            }
            (None, FileKind::FileSd) => {
                "this file is skipped; there is no good version of it, so its targets are not scraped"
            }
        }
    }

    fn status(&self, kind: FileKind) -> FileStatus {
        if let Some(problem) = &self.problem {
            return FileStatus::Broken { problem: problem.to_string(), consequence: self.consequence(kind) };
        }
        match &self.last_good {
            Some(Said::Announcement(Announcement::Off(why))) => FileStatus::Off(why),
            Some(Said::Announcement(Announcement::Paused(_))) => FileStatus::Off(prom_scraper::PAUSED),
            Some(Said::Announcement(Announcement::Endpoint(_))) => FileStatus::Good { targets: 1 },
            Some(Said::Groups(groups)) => {
                FileStatus::Good { targets: groups.iter().map(|group| group.targets.len()).sum() }
            }
            None => FileStatus::Off("it is still being written"),
        }
    }
}
