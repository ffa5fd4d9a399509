//! Mechanisms that ask somebody else than the file system. Each runs as a task of its own, and tells its whole state whenever
//! that changed; the engine takes the latest one along at its next look.
//!
//! Promises
//! - The same settings in several scrape configurations, or before and after a reload, are one task.
//! - The last good state stays: a task that cannot ask says why, and what it found before is still scraped.
//! - One that is slow or wrong delays no file and no other task.
//!
//! A new mechanism is a variant of [`Remote`], an arm in each `match` here, and a function that tells for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::checked::{DnsSd, HttpSd, NatsSd, NomadSd, ScrapeConfig};
use crate::net::credentials::Credentials;

use super::resolve::Group;
use super::{dns_sd, http_sd, nats_sd, nomad_sd};

/// One entry of a scrape configuration whose answer comes over the network.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Remote {
    /// Of `http_sd_configs`.
    Http(Box<HttpSd>),
    /// Of `dns_sd_configs`.
    Dns(DnsSd),
    /// Of `nats_sd_configs`.
    Nats(Box<NatsSd>),
    /// Of `nomad_sd_configs`.
    Nomad(Box<NomadSd>),
}

impl Remote {
    /// Those of a scrape configuration.
    pub(super) fn all(config: &ScrapeConfig) -> Vec<Self> {
        let http = config.discovery.http.iter().cloned().map(|sd| Self::Http(Box::new(sd)));
        let dns = config.discovery.dns.iter().cloned().map(Self::Dns);
        let nats = config.discovery.nats.iter().cloned().map(|sd| Self::Nats(Box::new(sd)));
        let nomad = config.discovery.nomad.iter().cloned().map(|sd| Self::Nomad(Box::new(sd)));
        http.chain(dns).chain(nats).chain(nomad).collect()
    }

    /// Targets at most; 0 is no limit.
    pub(super) fn target_limit(&self) -> usize {
        match self {
            Self::Http(sd) => sd.target_limit,
            Self::Dns(sd) => sd.target_limit,
            Self::Nats(sd) => sd.target_limit,
            Self::Nomad(sd) => sd.target_limit,
        }
    }

    /// How long a command that looks once waits for what there is.
    fn patience(&self) -> Patience {
        match self {
            Self::Http(_) => Patience::FirstWord(http_sd::TIMEOUT),
            Self::Dns(_) => Patience::FirstWord(dns_sd::TIMEOUT),
            Self::Nats(_) => Patience::Listening(nats_sd::LISTENING),
            Self::Nomad(_) => Patience::FirstWord(nomad_sd::FIRST_WORD_MAX),
        }
    }

    async fn run(self, credentials: Arc<Credentials>, tell: Tell) {
        match self {
            Self::Http(sd) => http_sd::run(*sd, &credentials, tell).await,
            Self::Dns(sd) => dns_sd::run(sd, tell).await,
            Self::Nats(sd) => nats_sd::run(*sd, &credentials, tell).await,
            Self::Nomad(sd) => nomad_sd::run(*sd, &credentials, tell).await,
        }
    }
}

/// When a mechanism has said all that it knows.
enum Patience {
    /// With its first word, which comes within this time.
    FirstWord(Duration),
    /// After this time, in which others speak; or with its first word, where that is a problem.
    Listening(Duration),
}

/// What a mechanism knows now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The latest state that was good.
    pub(super) groups: Vec<Group>,
    /// Why the state is not as it should be, as a sentence that names the mechanism and what stays.
    pub(super) problem: Option<String>,
}

/// Where a mechanism tells what it knows. Each telling replaces the one before.
#[derive(Clone)]
pub(super) struct Tell {
    said: Arc<Mutex<Option<Arc<Said>>>>,
    wake: Wake,
}

impl Tell {
    /// This is the state now.
    pub(super) fn tell(&self, said: Said) {
        *lock(&self.said) = Some(Arc::new(said));
        (self.wake)();
    }
}

/// Called when some mechanism has told something. Must not wait.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the tasks need of the process.
#[derive(Clone)]
pub struct Network {
    /// Certificates and secrets.
    pub credentials: Arc<Credentials>,
    /// Where they run.
    pub runtime: Handle,
}

/// The tasks at work.
pub(super) struct Remotes {
    /// `None` where nobody is asked: then each mechanism has a problem that says so.
    network: Option<Network>,
    wake: Wake,
    running: Vec<Running>,
}

struct Running {
    remote: Remote,
    said: Arc<Mutex<Option<Arc<Said>>>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remotes {
    /// None yet.
    pub(super) fn new(network: Option<Network>, wake: Wake) -> Self {
        Self { network, wake, running: Vec::new() }
    }

    /// From now on these run, and no others.
    pub(super) fn apply(&mut self, wanted: Vec<Remote>) {
        self.running.retain(|running| wanted.contains(&running.remote));
        let Some(network) = &self.network else { return };
        for remote in wanted {
            if self.running.iter().any(|running| running.remote == remote) {
                continue;
            }
            let said = Arc::<Mutex<Option<Arc<Said>>>>::default();
            let tell = Tell { said: said.clone(), wake: self.wake.clone() };
            let (asked, credentials) = (remote.clone(), network.credentials.clone());
            let run = move |tell| asked.clone().run(credentials.clone(), tell);
            let task = network.runtime.spawn(keep_running(tell, run));
            self.running.push(Running { remote, said, task });
        }
    }

    /// What one of them says now; `None` before its first word.
    pub(super) fn said(&self, remote: &Remote) -> Option<Arc<Said>> {
        let running = self.running.iter().find(|running| running.remote == *remote)?;
        lock(&running.said).clone()
    }

    /// Whether there is a network to ask.
    pub(super) fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// Waits until each has said all that it knows, as far as a command that looks once can wait.
    pub(super) async fn first_words(&self) {
        let begin = tokio::time::Instant::now();
        for running in &self.running {
            let (time_max, is_whole) = match running.remote.patience() {
                Patience::FirstWord(time_max) => (time_max, true),
                Patience::Listening(time) => (time, false),
            };
            let has_spoken = async {
                while lock(&running.said).as_ref().is_none_or(|said| !is_whole && said.problem.is_none()) {
                    tokio::time::sleep(FIRST_WORD_LOOK).await;
                }
            };
            // Who says nothing in time has said nothing: that is told as a problem.
            let _ = tokio::time::timeout_at(begin + time_max + FIRST_WORD_LOOK, has_spoken).await;
        }
    }
}

/// Runs a mechanism, and again after a panic, which costs it what it remembers; what it said last stays until it says something.
async fn keep_running<F: Future<Output = ()> + Send + 'static>(tell: Tell, run: impl Fn(Tell) -> F) {
    loop {
        // Aborted with this task.
        let mut one = JoinSet::new();
        one.spawn(run(tell.clone()));
        let Some(Err(error)) = one.join_next().await else { return };
        tracing::error!(%error, "a mechanism of discovery failed by a bug of ours; it starts anew");
        let groups = lock(&tell.said).as_ref().map(|said| said.groups.clone()).unwrap_or_default();
        tell.tell(Said { groups, problem: Some("a mechanism failed by a bug of ours, and starts anew".to_owned()) });
        tokio::time::sleep(PAUSE_AFTER_PANIC).await;
    }
}

/// What panics at once must not keep a core busy.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(5);

/// Time between two looks whether a mechanism has spoken.
const FIRST_WORD_LOOK: Duration = Duration::from_millis(20);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mechanism_that_panics_is_told_and_starts_anew_and_its_last_state_stays() {
        let (runs, said) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<Option<Arc<Said>>>>::default());
        let tell = Tell { said: said.clone(), wake: Arc::new(|| {}) };
        let group = || Group { targets: vec!["a:1".to_owned()], ..Group::default() };
        let run = {
            let runs = runs.clone();
            move |tell: Tell| {
                let nth = runs.fetch_add(1, Ordering::SeqCst);
                async move {
                    if nth == 0 {
                        tell.tell(Said { groups: vec![group()], problem: None });
                        panic!("on purpose");
                    }
                    std::future::pending().await
                }
            }
        };
        let task = tokio::spawn(keep_running(tell, run));
        tokio::time::sleep(PAUSE_AFTER_PANIC * 2).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        let held = lock(&said).clone().unwrap();
        assert_eq!((&held.groups[..], held.problem.is_some()), (&[group()][..], true));
        task.abort();
    }
}
