//! The registrar: announces over NATS where this process can be scraped, as metrics-discovery-registrar does.
//!
//! Each round publishes every entry as a message of its own; there is one at each interval, and one whenever a connection was
//! made. Entries are our own and those of other programs' `metric_targets.yml` files; of two with the same source the first
//! counts, ours before others'.
//!
//! Whatever happens to NATS stays here. What cannot be sent is counted and not kept: the next round says it again.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::entry::{Entry, entries_from_yaml};
use crate::config::checked::{Expose, Register};
use crate::model::Labels;
use crate::net::credentials::Credentials;
use crate::net::nats::{Client, Counts, Event};
use crate::net::{Scheme, authority};
use crate::telemetry::{Edge, Recurrence};

/// How long nothing may come before the server is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Entries of one round, at most.
const ENTRIES_MAX: usize = 10_000;

/// Events that wait to be told, at most.
const EVENTS_MAX: usize = 16;

/// A file of somebody else's: its path, and its content or why it cannot be read.
pub type OtherFile = (PathBuf, Result<Vec<u8>, String>);

/// Reads the files of others; may wait for disks.
pub type OtherFiles = Arc<dyn Fn() -> Vec<OtherFile> + Send + Sync>;

/// The registrar at work. It ends when this is dropped.
pub struct Registrar {
    client: Arc<Client>,
    entries: Arc<AtomicUsize>,
    /// Aborted with it.
    _tasks: JoinSet<()>,
}

/// How a registrar is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Entries of the last round.
    pub entries: usize,
    /// Messages so far.
    pub messages: Counts,
}

impl Registrar {
    /// Starts to announce what `own` holds at each round, and what stands in the files of others.
    pub fn start(
        config: &Register,
        credentials: &Credentials,
        own: watch::Receiver<Arc<Vec<Entry>>>,
        others: OtherFiles,
    ) -> Self {
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let client = Arc::new(Client::start(&config.nats, credentials, PING_INTERVAL, None, events));
        let entries = Arc::new(AtomicUsize::default());
        let rounds = Rounds {
            client: client.clone(),
            subject: config.subject.clone(),
            own,
            others,
            entries: entries.clone(),
            faults: Edge::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(tell(heard, config.subject.clone()));
        tasks.spawn(rounds.run(config.interval));
        Self { client, entries, _tasks: tasks }
    }

    /// How it is doing.
    pub fn state(&self) -> State {
        State {
            is_connected: self.client.is_connected(),
            entries: self.entries.load(Ordering::Relaxed),
            messages: self.client.counts(),
        }
    }
}

/// The entries that announce `expose` outputs: name, settings, and what each listens on.
pub fn exposed(
    config: &Register,
    external_labels: &Labels<'_>,
    machine: &str,
    outputs: &[(String, Expose, SocketAddr)],
) -> Vec<Entry> {
    let label = |name: &str| Some(external_labels.get_or_empty(name)).filter(|value| !value.is_empty());
    let instance = config.instance_id.as_deref().or(label("instance_id")).or(label("index")).unwrap_or(machine);
    let entry = |(name, expose, listens_on): &(String, Expose, SocketAddr)| {
        let host = config.address.clone().unwrap_or_else(|| listens_on.ip().to_string());
        let mut labels: BTreeMap<String, String> =
            external_labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let scheme = if expose.tls.is_some() { Scheme::Https } else { Scheme::Http };
        labels.insert("__scheme__".to_owned(), scheme.as_str().to_owned());
        if expose.path != "/metrics" {
            labels.insert("__metrics_path__".to_owned(), expose.path.clone());
        }
        let kind = if outputs.len() == 1 { "promferry".to_owned() } else { format!("promferry_{name}") };
        Entry { targets: vec![authority(&host, listens_on.port())], labels, source: format!("{kind}__{instance}") }
    };
    outputs.iter().map(entry).collect()
}

/// What is announced, again and again.
struct Rounds {
    client: Arc<Client>,
    subject: String,
    own: watch::Receiver<Arc<Vec<Entry>>>,
    others: OtherFiles,
    /// How many the last round had.
    entries: Arc<AtomicUsize>,
    /// What is wrong with the files of others.
    faults: Edge,
}

impl Rounds {
    async fn run(mut self, time_between: Duration) {
        let mut connected = self.client.connected();
        let mut ticks = interval(time_between);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = connected.changed() => match changed {
                    Ok(()) if *connected.borrow_and_update() => ticks.reset(),
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            let entries = self.gather().await;
            self.entries.store(entries.len(), Ordering::Relaxed);
            for entry in entries {
                self.client.publish(&self.subject, entry.to_yaml().as_bytes()).await;
            }
        }
    }

    /// All entries of a round.
    async fn gather(&mut self) -> Vec<Entry> {
        let own = self.own.borrow_and_update().clone();
        let others = self.others.clone();
        let files = tokio::task::spawn_blocking(move || others()).await.unwrap_or_default();
        let mut problems = Vec::new();
        let mut entries = Vec::new();
        let mut sources = HashSet::new();
        entries.extend(own.iter().filter(|entry| sources.insert(entry.source.clone())).cloned());
        for (path, content) in files {
            let file: Arc<str> = path.to_string_lossy().into();
            let content = content.map_err(|reason| format!("{}: {reason}", file.escape_debug()));
            let read =
                content.and_then(|content| entries_from_yaml(&file, &content).map_err(|error| error.to_string()));
            match read {
                Ok((others, wrong)) => {
                    entries.extend(others.into_iter().filter(|entry| sources.insert(entry.source.clone())));
                    problems.extend(wrong.iter().map(ToString::to_string));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if entries.len() > ENTRIES_MAX {
            problems.push(format!("there are more than {ENTRIES_MAX} entries; the rest is not announced"));
            entries.truncate(ENTRIES_MAX);
        }
        self.tell_faults(&problems);
        entries
    }

    fn tell_faults(&mut self, problems: &[String]) {
        for problem in problems {
            if self.faults.is_news(problem) {
                tracing::warn!(problem, "some entries are not announced");
            }
        }
        if problems.is_empty() && self.faults.fine().is_some() {
            tracing::info!("all entries are announced again");
        }
    }
}

/// Tells of the connection, its edges only: one that comes and goes is told of once in a while.
async fn tell(mut events: mpsc::Receiver<Event>, subject: String) {
    let (mut unreachable, mut objections, mut losses) = (Edge::default(), Edge::default(), Recurrence::default());
    let mut is_news = true;
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { server, tls } => {
                unreachable.fine();
                if is_news {
                    tracing::info!(server, tls, subject, "announcing over NATS");
                }
            }
            Event::Objection(words) => {
                if objections.is_news(&words) {
                    tracing::warn!(error = words, "the NATS server does not let the registrar do this");
                }
            }
            Event::Lost(reason) => {
                is_news = losses.is_news();
                if is_news {
                    tracing::warn!(error = reason, "the registrar's connection to NATS is lost, and made again");
                }
            }
            Event::Unreachable(reasons) => {
                if unreachable.is_news(&reasons) {
                    is_news = true;
                    tracing::warn!(error = reasons, "the registrar cannot reach NATS; nothing is announced");
                }
            }
            Event::Message(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::nats::{Auth, Settings};
    use crate::net::tls::ServerTls;

    fn register(address: Option<&str>, instance_id: Option<&str>) -> Register {
        Register {
            nats: Settings { servers: Vec::new(), auth: Auth::None, tls: None },
            subject: "s".into(),
            interval: Duration::from_secs(15),
            address: address.map(str::to_owned),
            instance_id: instance_id.map(str::to_owned),
            files: Vec::new(),
        }
    }

    fn output(name: &str, listen: &str, path: &str, is_tls: bool) -> (String, Expose, SocketAddr) {
        let listen = listen.parse().unwrap();
        let tls =
            is_tls.then(|| ServerTls { cert_file: "c".into(), key_file: "k".into(), client_ca_file: Some("a".into()) });
        (name.to_owned(), Expose { listen, path: path.into(), tls, timestamps: false }, listen)
    }

    #[test]
    fn each_endpoint_is_announced_under_an_address_that_others_reach() {
        let labels: Labels<'static> = [("deployment", "cf"), ("index", "7")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let one = exposed(&register(None, None), &labels, "vm", &[output("all", "10.0.0.1:9699", "/metrics", true)]);
        let expected = "- targets:\n    - 10.0.0.1:9699\n  labels:\n    __scheme__: https\n    deployment: cf\n    \
            index: \"7\"\n  source: promferry__7\n";
        assert_eq!(super::super::entry::entries_to_yaml(&one), expected);

        let outputs = [output("a", "0.0.0.0:1", "/metrics", false), output("b", "[::]:2", "/x", true)];
        let two = exposed(&register(Some("fd00::1"), Some("me")), &Labels::new(), "vm", &outputs);
        let shown: Vec<_> = two.iter().map(|entry| (entry.source.as_str(), entry.targets[0].as_str())).collect();
        assert_eq!(shown, [("promferry_a__me", "[fd00::1]:1"), ("promferry_b__me", "[fd00::1]:2")]);
        assert_eq!(two[1].labels.get("__metrics_path__").map(String::as_str), Some("/x"));
        let bare = exposed(&register(None, None), &Labels::new(), "vm", &outputs[..1]);
        assert_eq!(bare[0].source, "promferry__vm");
    }
}
