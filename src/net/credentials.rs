//! Secrets and certificates that may change while the program runs.
//!
//! Whoever needs one holds a handle and asks it for the current value each time. Equal settings share one value, so
//! that a thousand targets with the same certificate load it once and share their TLS sessions.
//!
//! Promises
//! - A handle looks at its files at most once in `recheck_after`, when it is asked: metadata first, contents only where
//!   that changed. Symlinks are followed, so a swapped link is a change. Nothing runs while nobody asks.
//! - What does not fit together (half a write, a key of another certificate, an empty file) is refused with a reason; the
//!   last good value goes on. One warning when that begins, one line when it is over.
//! - A file that is missing at the start is an error of whoever asks, and heals when it appears.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::certificate::{Certificate, Validity};
use super::text::escaped;
use super::tls::{ClientTls, ListenerTls, ServerTls, TlsSettings};
use super::watched::{Files, Value, Watched};

/// A password, token or key: typed into the configuration, or in a file that is re-read when it changes. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Secret {
    /// Typed into the configuration.
    Inline(String),
    /// In a file; white space around it is left out.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("***"),
            Self::File(path) => write!(f, "*** (from {})", path.display()),
        }
    }
}

/// Why a certificate, key or secret cannot be used. Quotes no contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{key} {} cannot be read: {reason}", shown(path))]
    Unreadable {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file has no contents.
    #[error("{key} {} is empty", shown(path))]
    Empty {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is PEM of something else, or no PEM.
    #[error("{key} {} holds no {what} in PEM form", shown(path))]
    Lacks {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
    },
    /// The file is damaged, or of a kind that cannot be used.
    #[error("{key} {}: {reason}", shown(path))]
    Malformed {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are of two different pairs.
    #[error(
        "cert_file {} and key_file {} do not belong together: the key is of another certificate",
        shown(cert_file),
        shown(key_file)
    )]
    Mismatch {
        /// The certificate.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
    },
    /// Only one of certificate and key is named.
    #[error("{set} is set and {missing} is not; a client certificate needs both")]
    HalfAPair {
        /// What is there.
        set: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The system trusts nobody.
    #[error("the system has no certificate authorities to trust; set ca_file")]
    NoSystemAuthorities,
    /// rustls refuses the settings.
    #[error("the TLS settings cannot be used: {0}")]
    Unusable(String),
}

impl CredentialError {
    pub(super) fn malformed(key: &'static str, path: &Path, reason: impl fmt::Display) -> Self {
        Self::Malformed { key, path: path.to_owned(), reason: escaped(&reason.to_string()) }
    }

    pub(super) fn unusable(error: rustls::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

pub(super) fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// All credentials of the process, by their settings.
#[derive(Debug)]
pub struct Credentials {
    recheck_after: Duration,
    clients: Mutex<Shared<TlsSettings, ClientTls>>,
    listeners: Mutex<Shared<ServerTls, ListenerTls>>,
    secrets: Mutex<Shared<PathBuf, Arc<str>>>,
}

impl Default for Credentials {
    /// Files are looked at once a second at most.
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

/// Whether TLS towards servers can be made of the files of these settings, as they are now. Writes nothing into the log.
///
/// # Errors
/// The first thing that is in the way.
pub fn check_client(settings: &TlsSettings) -> Result<(), CredentialError> {
    ClientTls::build(settings, &Files::read(&client_files(settings))).map(drop)
}

/// The files that TLS towards servers is made from.
fn client_files(settings: &TlsSettings) -> Vec<(&'static str, PathBuf)> {
    let files = [("ca_file", &settings.ca_file), ("cert_file", &settings.cert_file), ("key_file", &settings.key_file)];
    // With these two nobody asks who signed.
    let is_ca_unused = settings.insecure_skip_verify || settings.pin_sha256.is_some();
    let used = files.into_iter().filter(|(key, _)| !(*key == "ca_file" && is_ca_unused));
    used.filter_map(|(key, path)| Some((key, path.clone()?))).collect()
}

impl Credentials {
    /// A store whose handles look at their files when they are asked, and not again within `recheck_after`.
    pub fn new(recheck_after: Duration) -> Self {
        Self { recheck_after, clients: Mutex::default(), listeners: Mutex::default(), secrets: Mutex::default() }
    }

    /// TLS towards servers. Reads nothing yet. The system's authorities, where they are asked for, are read once.
    pub fn client(&self, settings: &TlsSettings) -> ClientCredentials {
        let server_name = settings.server_name.as_deref().map(Arc::from);
        // The name is the connection's: what is shared does not hold it.
        let settings = TlsSettings { server_name: None, ..settings.clone() };
        let files = client_files(&settings);
        let made_from = settings.clone();
        let build = move |files: &Files| ClientTls::build(&made_from, files);
        let shared = share(&self.clients, settings, || Watched::new(files, self.recheck_after, build));
        ClientCredentials { shared, server_name }
    }

    /// TLS of a listener. Reads nothing yet.
    pub fn listener(&self, settings: &ServerTls) -> ListenerCredentials {
        let mut files = vec![("cert_file", settings.cert_file.clone()), ("key_file", settings.key_file.clone())];
        files.extend(settings.client_ca_file.clone().map(|path| ("client_ca_file", path)));
        let made_from = settings.clone();
        let build = move |files: &Files| ListenerTls::build(&made_from, files);
        ListenerCredentials(share(&self.listeners, settings.clone(), || Watched::new(files, self.recheck_after, build)))
    }

    /// A secret. Reads nothing yet.
    pub fn secret(&self, secret: &Secret) -> SecretHandle {
        let path = match secret {
            Secret::Inline(value) => return SecretHandle(Source::Inline(value.as_str().into())),
            Secret::File(path) => path.clone(),
        };
        let made_from = path.clone();
        let build = move |files: &Files| secret_text(&made_from, files);
        let handle =
            share(&self.secrets, path.clone(), || Watched::new(vec![("secret file", path)], self.recheck_after, build));
        SecretHandle(Source::File(handle))
    }
}

/// A certificate of ours, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnCertificate {
    /// What it is shown to: `client` to those we connect to, `listener` to those who connect to us.
    pub shown_as: &'static str,
    /// Its `cert_file`.
    pub file: PathBuf,
    /// When the one in use is valid; `None` while there is none.
    pub validity: Option<Validity>,
    /// Why the newest files are not in use.
    pub problem: Option<String>,
}

impl Credentials {
    /// Every certificate of ours that somebody holds, ordered, each file once. Looks at the files as any other holder does.
    pub fn certificates(&self) -> Vec<OwnCertificate> {
        let clients = held(&self.clients).into_iter().filter_map(|(settings, handle)| {
            Some(OwnCertificate::of("client", settings.cert_file?, lock(&handle).state()))
        });
        let listeners = held(&self.listeners).into_iter();
        let listeners = listeners
            .map(|(settings, handle)| OwnCertificate::of("listener", settings.cert_file, lock(&handle).state()));
        let mut all: Vec<_> = clients.chain(listeners).collect();
        all.sort();
        all.dedup_by(|next, kept| (next.shown_as, &next.file) == (kept.shown_as, &kept.file));
        all
    }
}

impl OwnCertificate {
    fn of(
        shown_as: &'static str,
        file: PathBuf,
        (certificate, fault): (Option<Certificate>, Option<CredentialError>),
    ) -> Self {
        let validity = certificate.map(|certificate| certificate.validity());
        Self { shown_as, file, validity, problem: fault.map(|fault| fault.to_string()) }
    }
}

/// TLS towards a server, as it is now.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    shared: Handle<ClientTls>,
    server_name: Option<Arc<str>>,
}

impl ClientCredentials {
    /// The current configuration. It is a new `Arc` whenever it changed.
    ///
    /// # Errors
    /// Only while no version of the files could be used yet.
    pub fn current(&self) -> Result<Arc<ClientTls>, CredentialError> {
        lock(&self.shared).current()
    }

    /// The name to send and to verify, where it is not the host that is connected to.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

/// TLS of a listener, as it is now.
#[derive(Clone, Debug)]
pub struct ListenerCredentials(Handle<ListenerTls>);

impl ListenerCredentials {
    /// The current configuration. It is a new `Arc` whenever it changed.
    ///
    /// # Errors
    /// Only while no version of the files could be used yet.
    pub fn current(&self) -> Result<Arc<ListenerTls>, CredentialError> {
        lock(&self.0).current()
    }
}

/// A secret, as it is now.
#[derive(Clone)]
pub struct SecretHandle(Source);

#[derive(Clone)]
enum Source {
    Inline(Arc<str>),
    File(Handle<Arc<str>>),
}

impl SecretHandle {
    /// The current value, without white space around it.
    ///
    /// # Errors
    /// Only while the file could not be read yet.
    pub fn current(&self) -> Result<Arc<str>, CredentialError> {
        match &self.0 {
            Source::Inline(value) => Ok(value.clone()),
            Source::File(file) => lock(file).current().map(|value| Arc::clone(value.as_ref())),
        }
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn secret_text(path: &Path, files: &Files) -> Result<Arc<str>, CredentialError> {
    let bytes = files.get("secret file", path)?;
    let text =
        std::str::from_utf8(bytes).map_err(|_| CredentialError::malformed("secret file", path, "it is not text"))?;
    Ok(text.trim().into())
}

impl Value for ClientTls {
    fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

impl Value for ListenerTls {
    fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

impl Value for Arc<str> {
    fn certificate(&self) -> Option<&Certificate> {
        None
    }
}

type Handle<T> = Arc<Mutex<Watched<T>>>;
type Shared<K, T> = HashMap<K, Weak<Mutex<Watched<T>>>>;

/// The handle of these settings: the one that is in use, or a new one. Forgets those that nobody holds.
fn share<K: Eq + Hash, T>(all: &Mutex<Shared<K, T>>, key: K, make: impl FnOnce() -> Watched<T>) -> Handle<T> {
    let mut all = lock(all);
    if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
        return known;
    }
    all.retain(|_, handle| handle.strong_count() > 0);
    let handle = Arc::new(Mutex::new(make()));
    all.insert(key, Arc::downgrade(&handle));
    handle
}

/// Those that somebody holds. The list is not locked while their files are looked at.
fn held<K: Clone, T>(all: &Mutex<Shared<K, T>>) -> Vec<(K, Handle<T>)> {
    lock(all).iter().filter_map(|(key, handle)| Some((key.clone(), handle.upgrade()?))).collect()
}

/// Nothing that is guarded here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
