//! File events, as a hint to look again soon.
//!
//! Events are never the truth: they are lost in a full queue, they do not cross links, and there may be none at all. They
//! only make the next scan come early.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::{info, warn};

use crate::files::Part;

/// Folders that are watched, at most; the kernel shares its watches among all processes of a user.
const WATCHES_MAX: usize = 8192;

/// Watches folders, and calls back when a name that matters has changed in one.
pub(super) struct Watcher {
    inner: Option<RecommendedWatcher>,
    /// What is watched, and which folder the path led to.
    armed: HashMap<PathBuf, Identity>,
    interests: Arc<Mutex<BTreeMap<PathBuf, Vec<Part>>>>,
    is_impaired: bool,
}

/// Device and inode: the path of a folder may come to lead to another one.
type Identity = (u64, u64);

impl Watcher {
    /// `changed` is called on another thread. Where events are not to be had, that is said once, and nothing is ever called.
    pub(super) fn new(changed: impl Fn() + Send + 'static) -> Self {
        let interests = Arc::new(Mutex::new(BTreeMap::new()));
        let held = interests.clone();
        let inner = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may have lost events.
            if event.is_ok_and(|event| !is_relevant(&event, &held.lock().unwrap_or_else(PoisonError::into_inner))) {
                return;
            }
            changed();
        });
        let mut watcher = Self { inner: None, armed: HashMap::new(), interests, is_impaired: false };
        match inner {
            Ok(inner) => watcher.inner = Some(inner),
            Err(error) => watcher.set_impaired(Some(error.to_string())),
        }
        watcher
    }

    /// Watches exactly these folders. Returns whether one is watched that was not before: what happened in it since the
    /// scan went unseen.
    pub(super) fn arm(&mut self, wanted: BTreeMap<PathBuf, Vec<Part>>) -> bool {
        let Some(inner) = &mut self.inner else { return false };
        let mut has_new = false;
        let mut failure =
            (wanted.len() > WATCHES_MAX).then(|| format!("there are more than {WATCHES_MAX} folders to watch"));
        self.armed.retain(|folder, identity| {
            let stays = wanted.contains_key(folder) && identity_of(folder) == Some(*identity);
            if !stays {
                // The folder may be gone, and its watch with it.
                inner.unwatch(folder).unwrap_or_default();
            }
            stays
        });
        for folder in wanted.keys().take(WATCHES_MAX) {
            let Some(identity) = identity_of(folder) else { continue };
            if self.armed.contains_key(folder) {
                continue;
            }
            match inner.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(folder.clone(), identity);
                    has_new = true;
                }
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => {
                    failure = Some(error.to_string());
                    if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
                        break;
                    }
                }
            }
        }
        *self.interests.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        self.set_impaired(failure);
        has_new
    }

    /// Says it when events stop or start to work.
    fn set_impaired(&mut self, failure: Option<String>) {
        match failure {
            Some(reason) if !self.is_impaired => {
                warn!(reason, "file events are not to be had; changed files are noticed at the next refresh_interval");
                self.is_impaired = true;
            }
            None if self.is_impaired => {
                info!("file events work again");
                self.is_impaired = false;
            }
            _ => {}
        }
    }
}

/// Whether an event is about a watched folder itself or a name in it that matters. Our own reading is not.
fn is_relevant(event: &Event, interests: &BTreeMap<PathBuf, Vec<Part>>) -> bool {
    if let EventKind::Access(access) = event.kind
        && access != AccessKind::Close(AccessMode::Write)
    {
        return false;
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            interests.contains_key(path)
                || path.parent().and_then(|folder| interests.get(folder)).is_some_and(|parts| {
                    path.file_name().is_some_and(|name| parts.iter().any(|part| part.matches(name)))
                })
        })
}

fn identity_of(folder: &Path) -> Option<Identity> {
    fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, ModifyKind};

    #[test]
    fn too_many_folders_are_told_once_and_so_is_the_end_of_it() {
        let mut watcher = Watcher::new(|| {});
        let many = || (0..=WATCHES_MAX).map(|n| (format!("/nowhere/{n}").into(), Vec::new())).collect();
        let lines = crate::discovery::testing::logged(|| {
            assert!(!watcher.arm(many()));
            assert!(!watcher.arm(many()));
            assert!(!watcher.arm(BTreeMap::new()));
        });
        assert_eq!(
            lines,
            [
                "WARN file events are not to be had; changed files are noticed at the next refresh_interval reason=\"there are more than 8192 folders to watch\"",
                "INFO file events work again",
            ]
        );
    }

    #[test]
    fn only_what_matters_is_relevant() {
        let interests: BTreeMap<PathBuf, Vec<Part>> =
            [("/jobs".into(), vec![Part::Name("a".into())]), ("/jobs/a".into(), vec![])].into();
        let relevant = |kind, path: &str| is_relevant(&Event::new(kind).add_path(path.into()), &interests);
        assert!(relevant(EventKind::Create(CreateKind::Any), "/jobs/a"));
        assert!(relevant(EventKind::Modify(ModifyKind::Any), "/jobs"));
        assert!(relevant(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/jobs/a"));
        assert!(!relevant(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/jobs/a"));
        assert!(!relevant(EventKind::Create(CreateKind::Any), "/jobs/b"));
        assert!(!relevant(EventKind::Create(CreateKind::Any), "/jobs/a/x"));
        assert!(is_relevant(&Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan), &interests));
    }
}
