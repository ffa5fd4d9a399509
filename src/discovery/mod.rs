//! Discovery: from scrape configurations to the set of targets, kept up to date.
//!
//! Mechanisms: `static_configs`; `file_sd_configs` and `prom_scraper_sd_configs`, whose files are looked at when an event hints
//! at a change, and at every `refresh_interval` whatever events say (see `files`, `watch` and `last_good`); and those that ask
//! over the network, each a task (see `remote`).
//!
//! Promises
//! - A new, changed or removed file is noticed within a second where the kernel tells of file events, and within
//!   `refresh_interval` anywhere.
//! - The last good state stays: a broken file keeps its target, and touches no other file.
//! - A target is the same `Arc` for as long as nothing about it changed.
//! - What is wrong is logged when it begins, when its cause changes and when it ends; not at each look.
//!
//! Looking runs on one thread of its own, because files wait for disks. Left out on purpose: discovery never
//! asks whether a target answers.

mod dns_sd;
mod engine;
mod file_sd;
mod http_sd;
mod last_good;
mod nats_sd;
mod nomad_sd;
mod prom_scraper;
mod remote;
mod request;
mod resolve;
mod shard;
mod static_sd;
#[cfg(test)]
mod testing;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch as channel;
use tracing::subscriber::NoSubscriber;

use crate::config::checked::ScrapeConfig;
use crate::net::credentials::Credentials;
use crate::target::Target;

pub use crate::files::read_all;
use engine::Engine;
pub use remote::Network;
use remote::Remotes;
pub use resolve::{DropReason, Dropped};

/// The shortest interval between scrapes.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The longest interval between scrapes.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long events are gathered before a scan. Counted from the first of them, so that a storm of events delays nothing.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// What is not scraped is kept for the status page up to this number.
const DROPPED_MAX: usize = 10_000;

/// All targets at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSet {
    /// What is scraped, in the order of the configuration and of files' names. URL and labels together are unique.
    pub targets: Vec<Arc<Target>>,
    /// What was discovered and is not scraped; of 10,000 at most it is kept why.
    pub dropped: Vec<Dropped>,
    /// How many were discovered and are not scraped.
    pub dropped_total: usize,
    /// Files that announce targets, by path.
    pub files: Vec<FileReport>,
    /// What is wrong beyond single files, as sentences: a glob that is none, a folder that cannot be looked into.
    pub problems: Vec<String>,
}

/// A file that announces targets.
#[derive(Clone, Debug, PartialEq)]
pub struct FileReport {
    /// Its path as the glob gives it, links not resolved.
    pub path: PathBuf,
    /// What it is good for.
    pub status: FileStatus,
}

/// What a file that announces targets is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum FileStatus {
    /// It announces targets.
    Good {
        /// How many.
        targets: usize,
    },
    /// It announces nothing, which is no error: why.
    Off(&'static str),
    /// It cannot be used.
    Broken {
        /// `FILE:LINE:COLUMN: what is wrong`.
        problem: String,
        /// What that means now.
        consequence: &'static str,
    },
}

/// How changes of files are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Noticing {
    /// By file events, and at every `refresh_interval`.
    #[default]
    Events,
    /// At every `refresh_interval` only.
    Polling,
}

/// Looks once and returns what is found and what is wrong, for commands that end. Asks nobody over the network, and says so
/// among the problems where it should. Logs nothing: whoever asked prints it.
pub fn discover_files(configs: Vec<Arc<ScrapeConfig>>) -> Arc<TargetSet> {
    look_quietly(Engine::new(configs, Remotes::new(None, Arc::new(|| {}))))
}

/// Looks once, over the network too. Must be called in a runtime.
pub async fn discover_once(configs: Vec<Arc<ScrapeConfig>>, credentials: Arc<Credentials>) -> Arc<TargetSet> {
    let network = Network { credentials, runtime: Handle::current() };
    let engine = Engine::new(configs, Remotes::new(Some(network), Arc::new(|| {})));
    engine.first_words().await;
    look_quietly(engine)
}

fn look_quietly(mut engine: Engine) -> Arc<TargetSet> {
    tracing::subscriber::with_default(NoSubscriber::new(), || {
        engine.rescan(false);
        engine.set()
    })
}

/// The running discovery. It ends when this is dropped.
#[derive(Debug)]
pub struct Discovery {
    messages: mpsc::Sender<Message>,
}

#[derive(Debug)]
enum Message {
    /// A file may have changed, or what is said over the network.
    Changed,
    Reload(Vec<Arc<ScrapeConfig>>),
    Stop,
}

impl Discovery {
    /// Looks once, then keeps the returned set up to date. The first set has all that files say; what is asked over the network
    /// comes when it comes.
    ///
    /// The error is that of starting a thread.
    pub fn start(
        configs: Vec<Arc<ScrapeConfig>>,
        noticing: Noticing,
        network: Network,
    ) -> std::io::Result<(Self, channel::Receiver<Arc<TargetSet>>)> {
        let (messages, inbox) = mpsc::channel();
        let has_events = Arc::new(AtomicBool::new(false));
        let mut engine = Engine::new(configs, Remotes::new(Some(network), wake(&messages, &has_events)));
        engine.rescan(false);
        let (publish, receiver) = channel::channel(engine.set());
        let worker = Worker { engine, noticing, watcher: None, has_events, messages: messages.clone(), inbox, publish };
        std::thread::Builder::new().name("discovery".into()).spawn(move || worker.run())?;
        Ok((Self { messages }, receiver))
    }

    /// Goes over to another configuration. Files that it names too keep their last good state.
    pub fn reload(&self, configs: Vec<Arc<ScrapeConfig>>) {
        // The other end lives until `Stop`.
        self.messages.send(Message::Reload(configs)).unwrap_or_default();
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // The thread is not waited for: it may hang in a file system that does, and the process must end all the same.
        self.messages.send(Message::Stop).unwrap_or_default();
    }
}

struct Worker {
    engine: Engine,
    noticing: Noticing,
    /// Made when there is something to watch.
    watcher: Option<watch::Watcher>,
    /// An event came, and its message was not taken yet.
    has_events: Arc<AtomicBool>,
    messages: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    publish: channel::Sender<Arc<TargetSet>>,
}

impl Worker {
    fn run(mut self) {
        let mut scanned_at = Instant::now();
        let mut rested_at = scanned_at;
        let mut soon = self.arm().then(|| scanned_at + DEBOUNCE);
        loop {
            let due = match (soon, self.engine.refresh_interval().map(|interval| scanned_at + interval)) {
                (Some(soon), Some(refresh)) => Some(soon.min(refresh)),
                (soon, refresh) => soon.or(refresh),
            };
            match self.receive(due) {
                Ok(Message::Changed) => {
                    soon = Some(soon.unwrap_or_else(|| (Instant::now() + DEBOUNCE).max(rested_at)));
                }
                Ok(Message::Reload(configs)) => {
                    self.engine.reload(configs);
                    soon = Some(Instant::now());
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let started = Instant::now();
                    let is_early = self.look();
                    scanned_at = Instant::now();
                    // A large layout under a storm of events must not keep a core busy.
                    let pause = DEBOUNCE.max(10 * scanned_at.duration_since(started)).min(Duration::from_secs(1));
                    rested_at = scanned_at + pause;
                    soon = is_early.then_some(rested_at);
                }
            }
        }
    }

    fn receive(&self, due: Option<Instant>) -> Result<Message, RecvTimeoutError> {
        match due {
            Some(due) => self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Scans, and hands on what is new. Returns whether to look again soon.
    fn look(&mut self) -> bool {
        self.has_events.store(false, Ordering::Release);
        let is_unsettled = self.engine.rescan(true);
        let set = self.engine.set();
        self.publish.send_if_modified(|held| {
            let is_new = !Arc::ptr_eq(held, &set);
            *held = set;
            is_new
        });
        self.arm() || is_unsettled
    }

    /// Watches what the last scan went through. Returns whether something may have changed unseen since that scan.
    fn arm(&mut self) -> bool {
        let watches = self.engine.watches();
        if self.noticing == Noticing::Polling || (watches.is_empty() && self.watcher.is_none()) {
            return false;
        }
        let (messages, has_events) = (&self.messages, &self.has_events);
        let watcher = self.watcher.get_or_insert_with(|| {
            let wake = wake(messages, has_events);
            watch::Watcher::new(move || wake())
        });
        watcher.arm(watches)
    }
}

/// Asks for another look. One message stands for all events until it is taken.
fn wake(messages: &mpsc::Sender<Message>, has_events: &Arc<AtomicBool>) -> remote::Wake {
    let (messages, has_events) = (messages.clone(), has_events.clone());
    Arc::new(move || {
        if !has_events.swap(true, Ordering::AcqRel) {
            messages.send(Message::Changed).unwrap_or_default();
        }
    })
}
