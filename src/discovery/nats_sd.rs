//! `nats_sd_configs`: targets that registrars announce over NATS, as on Cloud Foundry.
//!
//! Each message is an entry of one source, said anew every 15 s; the newest one of a source counts. Messages are not trusted:
//! a wrong one is told of and touches no other, and of the labels that steer a scrape only the query's parameters, the path and
//! `https` are taken.
//!
//! Promises
//! - A source is forgotten `expiry` after its last message, and not while there is no connection: nobody can be heard then.
//!   Behind a gap, also one in which this process stood still, each source has the whole of its `expiry` again.
//! - Sources and their bytes are bounded; those that were there first stay.
//! - What comes in a burst is told in one go, within [`GATHERING`].

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::cloud_foundry::entry::Entry;
use crate::config::checked::NatsSd;
use crate::model::Labels;
use crate::net::credentials::Credentials;
use crate::net::nats::{Client, Event};
use crate::telemetry::{Edge, Recurrence};

use super::remote::{Said, Tell};
use super::resolve::{Group, Own};

/// How long a command that looks once listens: a registrar speaks every 15 s.
pub(super) const LISTENING: Duration = Duration::from_secs(16);

/// How long changes are gathered before they are told.
const GATHERING: Duration = Duration::from_millis(250);

/// How long nothing may come before the server is asked, at most: a dead connection must be found before sources expire.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Sources, at most.
const SOURCES_MAX: usize = 10_000;

/// Targets of all of them, at most.
const TARGETS_MAX: usize = 100_000;

/// Bytes of all their messages, at most, the labels counted once for each target.
const BYTES_MAX: usize = 32 << 20;

/// A look for sources that are gone that comes later than this counts as behind a gap.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Events that wait to be looked at, at most.
const WAITING_MAX: usize = 16;

/// Listens for ever.
pub(super) async fn run(sd: NatsSd, credentials: &Credentials, tell: Tell) {
    let (events, mut heard) = mpsc::channel(WAITING_MAX);
    let ping_interval = PING_INTERVAL_MAX.min(sd.expiry / 4);
    let _client = Client::start(&sd.nats, credentials, ping_interval, Some(&sd.subject), events);
    let mut listener = Listener::new(sd);
    loop {
        tokio::select! {
            Some(event) = heard.recv() => listener.take(event),
            () = at(listener.sources.check_at()) => listener.expire(),
            () = at(listener.tell_at) => {
                listener.tell_at = None;
                tell.tell(listener.said());
            }
        }
    }
}

/// Waits until then; for ever where there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What is known, and when it is told.
struct Listener {
    subject: String,
    sources: Sources,
    problem: Option<String>,
    tell_at: Option<Instant>,
    losses: Recurrence,
    /// The next connection is worth a line: one that comes and goes is told of once in a while.
    is_news: bool,
    refusals: Edge,
}

impl Listener {
    fn new(sd: NatsSd) -> Self {
        Self {
            subject: sd.subject,
            sources: Sources::new(sd.expiry),
            problem: None,
            tell_at: None,
            losses: Recurrence::default(),
            is_news: true,
            refusals: Edge::default(),
        }
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Connected { server, tls } => {
                if std::mem::take(&mut self.is_news) {
                    tracing::info!(server, tls, subject = self.subject, "listening to NATS for targets");
                }
                self.sources.resume(now);
                self.set_problem(None);
                // Also where nothing changed: it is the first word of this mechanism.
                self.tell_at = Some(now);
            }
            Event::Message(message) => match self.sources.take(&message, now) {
                Ok(has_changed) if has_changed => self.tell_soon(now),
                Ok(_) => {}
                Err(reason) => {
                    if self.refusals.is_news(&reason) {
                        tracing::warn!(
                            subject = self.subject,
                            reason,
                            "a message on NATS is no entry, and is left out"
                        );
                    }
                }
            },
            // Who may not listen is not connected.
            Event::Objection(_) => {}
            Event::Lost(reason) => {
                self.sources.pause();
                self.is_news = self.losses.is_news();
                if self.is_news {
                    tracing::warn!(error = reason, "the connection to NATS is lost; targets stay as they are");
                }
            }
            Event::Unreachable(reasons) => {
                let stay = match self.sources.held.len() {
                    0 => String::new(),
                    1 => "; the targets of 1 source stay as they are".to_owned(),
                    count => format!("; the targets of {count} sources stay as they are"),
                };
                self.is_news = true;
                self.set_problem(Some(format!("nats_sd: {reasons}{stay}")));
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        if self.sources.expire(now) {
            self.tell_soon(now);
        }
    }

    fn set_problem(&mut self, problem: Option<String>) {
        if self.problem != problem {
            self.problem = problem;
            self.tell_at = Some(Instant::now());
        }
    }

    fn tell_soon(&mut self, now: Instant) {
        self.tell_at.get_or_insert(now + GATHERING);
    }

    fn said(&self) -> Said {
        let full = self.sources.left_out.then(|| {
            let limit = BYTES_MAX >> 20;
            format!(
                "nats_sd: more than {SOURCES_MAX} sources, {TARGETS_MAX} targets or {limit} MiB; the rest is left out"
            )
        });
        Said { groups: self.sources.groups(), problem: self.problem.clone().or(full) }
    }
}

/// The newest entry of each source.
#[derive(Debug)]
struct Sources {
    expiry: Duration,
    held: BTreeMap<String, Held>,
    /// Bytes of their messages, with the labels once for each target, and their targets.
    bytes: usize,
    targets: usize,
    /// There is a connection: who is silent is gone.
    is_listening: bool,
    /// Nobody expires before.
    check_at: Option<Instant>,
    /// There was no room for some, since the last time that somebody expired.
    left_out: bool,
}

#[derive(Debug)]
struct Held {
    entry: Entry,
    bytes: usize,
    heard_at: Instant,
}

impl Sources {
    fn new(expiry: Duration) -> Self {
        let held = BTreeMap::new();
        Self { expiry, held, bytes: 0, targets: 0, is_listening: false, check_at: None, left_out: false }
    }

    /// Takes a message. Returns whether there is something to tell; the error says why it is no entry.
    fn take(&mut self, message: &[u8], now: Instant) -> Result<bool, String> {
        let entry = Entry::from_yaml(message).map_err(|error| error.to_string())?;
        let before = self.held.get(&entry.source).map(|held| (held.bytes, held.entry.targets.len()));
        let (freed_bytes, freed_targets) = before.unwrap_or_default();
        let bytes = message.len().max(expanded_bytes(&entry));
        let all_bytes = self.bytes - freed_bytes + bytes;
        let targets = self.targets - freed_targets + entry.targets.len();
        let is_one_more = before.is_none() && self.held.len() >= SOURCES_MAX;
        if all_bytes > BYTES_MAX || targets > TARGETS_MAX || is_one_more {
            return Ok(!std::mem::replace(&mut self.left_out, true));
        }
        (self.bytes, self.targets) = (all_bytes, targets);
        self.check_at.get_or_insert(now + self.expiry);
        match self.held.get_mut(&entry.source) {
            Some(held) => {
                let has_changed = held.entry != entry;
                *held = Held { entry, bytes, heard_at: now };
                Ok(has_changed)
            }
            None => {
                self.held.insert(entry.source.clone(), Held { entry, bytes, heard_at: now });
                Ok(true)
            }
        }
    }

    /// There is a connection again: whoever is there will say so, and has the time for it.
    fn resume(&mut self, now: Instant) {
        self.is_listening = true;
        self.held.values_mut().for_each(|held| held.heard_at = now);
        self.check_at = (!self.held.is_empty()).then(|| now + self.expiry);
    }

    /// Nobody can be heard.
    fn pause(&mut self) {
        self.is_listening = false;
    }

    /// When to look for sources that are gone.
    fn check_at(&self) -> Option<Instant> {
        self.check_at.filter(|_| self.is_listening)
    }

    /// Forgets who was silent for too long. Returns whether there was somebody.
    fn expire(&mut self, now: Instant) -> bool {
        let Some(late_by) = self.check_at().and_then(|at| now.checked_duration_since(at)) else { return false };
        if late_by > LATE_MAX {
            // This process stood still, and has not read what was said meanwhile.
            self.resume(now);
            return false;
        }
        let before = self.held.len();
        self.held.retain(|_, held| now.duration_since(held.heard_at) < self.expiry);
        self.bytes = self.held.values().map(|held| held.bytes).sum();
        self.targets = self.held.values().map(|held| held.entry.targets.len()).sum();
        self.check_at = self.held.values().map(|held| held.heard_at + self.expiry).min();
        let has_changed = self.held.len() != before;
        // Who had no room may have it now, and says so if there is not.
        self.left_out &= !has_changed;
        has_changed
    }

    /// By source.
    fn groups(&self) -> Vec<Group> {
        self.held.values().map(|held| group(&held.entry)).collect()
    }
}

/// Bytes of the targets, each with the labels.
fn expanded_bytes(entry: &Entry) -> usize {
    let labels: usize = entry.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    entry.targets.iter().map(|target| target.len() + labels).sum()
}

fn group(entry: &Entry) -> Group {
    let mut labels = Labels::new();
    for (name, value) in entry.labels.iter().filter(|(name, value)| may_be_set(name, value)) {
        labels.set(name.clone(), value.clone());
    }
    let own = Own { announced: Some(labels.clone()), ..Own::default() };
    labels.set("__meta_nats_source", entry.source.clone());
    Group { targets: entry.targets.clone(), labels, own, ..Group::default() }
}

/// Whether somebody on NATS may set this label. The rest of those that steer a scrape are the configuration's: an interval
/// could be a millisecond, and plain HTTP would show credentials to anybody.
fn may_be_set(name: &str, value: &str) -> bool {
    match name {
        "__metrics_path__" => true,
        "__scheme__" => value == "https",
        _ if name.contains(char::is_control) => false,
        _ => name.starts_with("__param_") || !name.starts_with("__"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Duration = Duration::from_secs(45);

    fn message(source: &str, target: &str) -> Vec<u8> {
        format!("{{targets: [{target}], labels: {{a: b}}, source: {source}}}").into_bytes()
    }

    fn listening(now: Instant) -> Sources {
        let mut sources = Sources::new(EXPIRY);
        sources.resume(now);
        sources
    }

    fn targets(sources: &Sources) -> String {
        sources.groups().iter().flat_map(|group| group.targets.clone()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_newest_entry_of_a_source_counts_until_it_expires() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut sources = listening(start);
        assert_eq!(sources.take(&message("one", "a:1"), start), Ok(true));
        assert_eq!(sources.take(&message("two", "b:1"), after(10)), Ok(true));
        assert_eq!(sources.take(&message("one", "a:1"), after(15)), Ok(false), "said anew, nothing is new");
        assert_eq!(sources.take(&message("two", "b:2"), after(20)), Ok(true));
        assert_eq!(targets(&sources), "a:1 b:2");
        assert_eq!(sources.check_at(), Some(after(45)));
        assert!(!sources.expire(after(45)));
        assert_eq!(sources.check_at(), Some(after(60)));
        assert!(sources.expire(after(60)));
        assert_eq!(targets(&sources), "b:2");
        assert!(sources.expire(after(65)));
        assert_eq!((sources.check_at(), sources.bytes), (None, 0));
    }

    #[test]
    fn nobody_expires_while_there_is_no_connection_and_all_have_their_time_again_behind_it() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut sources = listening(start);
        sources.take(&message("one", "a:1"), start).unwrap();
        sources.pause();
        assert_eq!(sources.check_at(), None);
        assert!(!sources.expire(after(1000)));
        sources.resume(after(1000));
        assert_eq!(sources.check_at(), Some(after(1045)));
        assert!(!sources.expire(after(1044)));
        assert_eq!(targets(&sources), "a:1");
        assert!(sources.expire(after(1045)));
    }

    /// A paused VM, a stopped process: what was said meanwhile still waits in the socket.
    #[test]
    fn nobody_expires_because_this_process_stood_still() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut sources = listening(start);
        sources.take(&message("one", "a:1"), start).unwrap();
        assert!(!sources.expire(after(60)));
        assert_eq!((targets(&sources).as_str(), sources.check_at()), ("a:1", Some(after(105))));
        assert!(sources.expire(after(105)), "who is silent behind that is gone");
    }

    #[test]
    fn a_wrong_message_is_told_with_its_reason_and_touches_no_other() {
        let now = Instant::now();
        let mut sources = listening(now);
        sources.take(&message("one", "a:1"), now).unwrap();
        let wrong = sources.take(b"{source: one, targets: 3}", now);
        assert_eq!(wrong, Err("line 1, column 24: targets: expected a list, found a single value".to_owned()));
        assert_eq!(
            sources.take(b"targets: []", now).unwrap_err().split(';').next(),
            Some("line 1, column 1: source is missing")
        );
        assert_eq!(targets(&sources), "a:1");
    }

    #[test]
    fn sources_are_bounded_and_those_that_were_first_stay() {
        let now = Instant::now();
        let mut sources = listening(now);
        for at in 0..SOURCES_MAX {
            assert_eq!(sources.take(&message(&format!("s{at}"), "a:1"), now), Ok(true));
        }
        assert_eq!(sources.take(&message("more", "a:1"), now), Ok(true), "that there is no room is news once");
        assert_eq!(sources.take(&message("more", "a:1"), now), Ok(false));
        assert_eq!((sources.held.len(), sources.left_out), (SOURCES_MAX, true));
        assert_eq!(sources.take(&message("s1", "a:2"), now), Ok(true));
        assert!(sources.expire(now + EXPIRY));
        assert_eq!((sources.held.len(), sources.left_out), (0, false));

        let large = |source: usize| format!("{{source: s{source}, x: \"{}\"}}", "x".repeat(60_000)).into_bytes();
        for source in 0..600 {
            sources.take(&large(source), now).unwrap();
        }
        assert!(sources.left_out && sources.bytes <= BYTES_MAX && sources.held.len() > 500);

        let mut sources = listening(now);
        for source in 0..30 {
            let many = "a,".repeat(4000);
            sources.take(format!("{{source: s{source}, targets: [{many}]}}").as_bytes(), now).unwrap();
        }
        assert_eq!((sources.held.len(), sources.targets, sources.left_out), (25, TARGETS_MAX, true));

        // Each of its targets gets an entry's labels.
        let mut sources = listening(now);
        let entry = format!("{{source: s, targets: [{}], labels: {{a: {}}}}}", "a,".repeat(4000), "x".repeat(50_000));
        sources.take(entry.as_bytes(), now).unwrap();
        assert_eq!((sources.held.len(), sources.left_out), (0, true));
    }

    #[test]
    fn labels_that_steer_a_scrape_are_the_configurations() {
        let text = "{source: s, targets: [a:1], labels: {__param_id: rep, __metrics_path__: /m, __scheme__: https, job: j,\
            __scrape_interval__: 1ms, __scrape_timeout__: 1h, __meta_x: y, __address__: evil, __tmp: x, \"a\\n\": x}}";
        let labels = |text: &str| group(&Entry::from_yaml(text.as_bytes()).unwrap()).labels.to_string();
        assert_eq!(
            labels(text),
            "{__meta_nats_source=\"s\",__metrics_path__=\"/m\",__param_id=\"rep\",__scheme__=\"https\",job=\"j\"}"
        );
        assert_eq!(labels("{source: s, labels: {__scheme__: http}}"), "{__meta_nats_source=\"s\"}");
    }
}
