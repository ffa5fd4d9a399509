//! A value that is made from files, and made anew when their contents change.
//!
//! Owns the reading of files that others write: bounded, never waiting, whole or not at all. What is made of the
//! contents, and what is wrong with them, is for `tls` and `credentials` to say.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::bpm;
use super::certificate::{Certificate, sha256};
use super::credentials::{CredentialError, shown};
use super::vcap;

/// Bytes of a certificate, key or secret file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

type Build<T> = Box<dyn Fn(&Files) -> Result<T, CredentialError> + Send + Sync>;

/// Contents of the files that a value is made from.
#[derive(Default)]
pub(super) struct Files(Vec<(PathBuf, Result<Vec<u8>, CredentialError>)>);

impl Files {
    /// Reads files: pairs of the setting that names a file, and the file.
    pub(super) fn read(files: &[(&'static str, PathBuf)]) -> Self {
        Self(files.iter().map(|(key, path)| (path.clone(), read(key, path))).collect())
    }

    /// The contents of `path`, which the setting `key` names: never empty.
    ///
    /// # Errors
    /// When it could not be read, or is empty or blank.
    pub(super) fn get(&self, key: &'static str, path: &Path) -> Result<&[u8], CredentialError> {
        let read = self.0.iter().find(|(known, _)| known == path).map(|(_, read)| read);
        match read {
            Some(Ok(bytes)) if bytes.iter().all(u8::is_ascii_whitespace) => {
                Err(CredentialError::Empty { key, path: path.to_owned() })
            }
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(error.clone()),
            None => Err(CredentialError::malformed(key, path, "it was not read")),
        }
    }

    fn digest(&self) -> [u8; 32] {
        let mut all = Vec::new();
        for (_, read) in &self.0 {
            match read {
                Ok(bytes) => all.extend_from_slice(&sha256(bytes)),
                Err(error) => all.extend_from_slice(&sha256(error.to_string().as_bytes())),
            }
        }
        sha256(&all)
    }
}

/// What a watched value says of itself when it is replaced.
pub(super) trait Value {
    /// The certificate in it, whose end is worth a word.
    fn certificate(&self) -> Option<&Certificate>;
}

/// A value that is made from files, and made anew when they change.
pub(super) struct Watched<T> {
    files: Vec<(&'static str, PathBuf)>,
    build: Build<T>,
    recheck_after: Duration,
    checked: Option<Instant>,
    stamps: Vec<Option<Stamp>>,
    /// Of the contents that `value` or `fault` came from.
    digest: Option<[u8; 32]>,
    value: Option<Arc<T>>,
    /// Why the newest contents are not in use.
    fault: Option<CredentialError>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl<T: Value> Watched<T> {
    /// Made by `build` from the contents of `files`: pairs of the setting that names a file, and the file. Reads
    /// nothing yet.
    pub(super) fn new(
        files: Vec<(&'static str, PathBuf)>,
        recheck_after: Duration,
        build: impl Fn(&Files) -> Result<T, CredentialError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            stamps: vec![None; files.len()],
            files,
            build: Box::new(build),
            recheck_after,
            checked: None,
            digest: None,
            value: None,
            fault: None,
        }
    }

    /// The newest version that could be used.
    pub(super) fn current(&mut self) -> Result<Arc<T>, CredentialError> {
        if self.checked.is_none_or(|checked| checked.elapsed() >= self.recheck_after) {
            self.check();
            self.checked = Some(Instant::now());
        }
        match (&self.value, &self.fault) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(fault)) => Err(fault.clone()),
            (None, None) => Err(CredentialError::Unusable("they were not read".into())),
        }
    }

    /// The certificate that is in use, and why the newest files are not.
    pub(super) fn state(&mut self) -> (Option<Certificate>, Option<CredentialError>) {
        let current = self.current().ok();
        (current.and_then(|value| value.certificate().cloned()), self.fault.clone())
    }

    fn check(&mut self) {
        let stamps: Vec<Option<Stamp>> = self.files.iter().map(|(_, path)| Stamp::of(path)).collect();
        if self.digest.is_some() && stamps == self.stamps && !stamps.iter().flatten().any(Stamp::is_fresh) {
            return;
        }
        let files = Files::read(&self.files);
        let digest = files.digest();
        self.stamps = stamps;
        if self.digest == Some(digest) {
            return;
        }
        self.digest = Some(digest);
        match (self.build)(&files) {
            Ok(value) => self.accept(value),
            Err(fault) => self.refuse(fault),
        }
    }

    fn accept(&mut self, value: T) {
        if self.value.is_some() || self.fault.is_some() {
            let expires = value.certificate().map(|certificate| tracing::field::display(certificate.not_after));
            tracing::info!(files = %self.paths(), expires, "credentials changed; the new ones are in use");
        }
        self.value = Some(Arc::new(value));
        self.fault = None;
    }

    fn refuse(&mut self, fault: CredentialError) {
        if self.fault.as_ref() != Some(&fault) {
            let files = self.paths();
            match self.value {
                Some(_) => {
                    tracing::warn!(%files, error = %fault, "credentials cannot be used; the last good ones go on")
                }
                None => tracing::warn!(%files, error = %fault, "credentials cannot be used yet"),
            }
        }
        self.fault = Some(fault);
    }

    fn paths(&self) -> String {
        self.files.iter().map(|(_, path)| shown(path)).collect::<Vec<_>>().join(", ")
    }
}

/// What tells that a file may have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// A file that was written within the last two seconds may be written again within one tick of the file system's
    /// clock, and show the same stamp: its contents are read until the stamp is older.
    fn is_fresh(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(now).is_ok_and(|now| now - self.changed.0 <= 2)
    }
}

/// Reads a regular file without ever waiting for it, or the credential of a bound service.
fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, CredentialError> {
    if let Some(reference) = vcap::reference(path) {
        return vcap::read(reference).map_err(|reason| CredentialError::malformed(key, path, &reason));
    }
    let unreadable = |error: std::io::Error| {
        let words = super::text::io_words(&error);
        let is_hidden = error.kind() == std::io::ErrorKind::NotFound && bpm::hides(path);
        let reason = if is_hidden { format!("{words}; {}", bpm::REMEDY) } else { words };
        CredentialError::Unreadable { key, path: path.to_owned(), reason }
    };
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(CredentialError::malformed(key, path, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CredentialError::malformed(key, path, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}
