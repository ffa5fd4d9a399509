//! Staying: what comes, goes and changes, a line each.
//!
//! It finds targets as `run` does, with its events and its last good states, and scrapes none.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::json;
use crate::cli::FAILED;
use crate::cli::style::{Style, json_line};
use crate::config::checked::Config;
use crate::config::quoted;
use crate::discovery::{Discovery, FileReport, FileStatus, Network, Noticing, TargetSet};
use crate::net::credentials::Credentials;
use crate::net::text::{self, prometheus_duration};
use crate::target::Target;
use crate::telemetry::Printable;

/// Watches until it is told to end, or until nobody reads what it says.
pub(super) async fn watch(config: Config, is_json: bool, style: Style) -> u8 {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        eprintln!("promferry: cannot listen to signals");
        return FAILED;
    };
    let network = Network { credentials: Arc::new(Credentials::default()), runtime: Handle::current() };
    let started = Discovery::start(config.scrapes, Noticing::Events, network);
    let (_discovery, mut sets) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("promferry: cannot start a thread: {}", text::io_words(&error));
            return FAILED;
        }
    };
    let mut known = Arc::new(TargetSet::default());
    let mut is_first = true;
    loop {
        let now = sets.borrow_and_update().clone();
        match print(&known, &now, is_first, is_json, style) {
            Ok(()) => {}
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
            Err(error) => {
                eprintln!("promferry: stdout: {}", text::io_words(&error));
                return FAILED;
            }
        }
        (known, is_first) = (now, false);
        tokio::select! {
            changed = sets.changed() => if changed.is_err() {
                eprintln!("promferry: discovery has ended");
                return FAILED;
            },
            _ = terminate.recv() => return 0,
            _ = interrupt.recv() => return 0,
        }
    }
}

fn print(before: &TargetSet, now: &TargetSet, is_first: bool, is_json: bool, style: Style) -> io::Result<()> {
    let time = Timestamp::now();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let watching = is_first.then_some(Change::Watching { targets: now.targets.len(), dropped: now.dropped_total });
    for change in changes(before, now).into_iter().chain(watching) {
        if is_json {
            writeln!(out, "{}", json_line(&change.object(time)))?;
        } else {
            let sign = match &change {
                Change::Added(_) | Change::Right(_) => style.good(change.sign()),
                Change::Removed(_) | Change::Changed { .. } => style.warning(change.sign()),
                Change::Wrong(_) => style.bad(change.sign()),
                Change::Off(_) | Change::Watching { .. } => style.plain(change.sign()),
            };
            writeln!(out, "{} {sign} {change}", style.faint(time.strftime("%H:%M:%SZ")))?;
        }
    }
    out.flush()
}

/// What became otherwise. `Display` is the line for people, without time and sign.
enum Change<'s> {
    Added(&'s Target),
    Removed(&'s Target),
    Changed {
        before: &'s Target,
        now: &'s Target,
    },
    /// Something cannot be used.
    Wrong(String),
    /// It is no longer wrong.
    Right(String),
    /// A file announces nothing, which is no error.
    Off(String),
    /// What there is at the start was told.
    Watching {
        targets: usize,
        dropped: usize,
    },
}

impl Change<'_> {
    fn sign(&self) -> char {
        match self {
            Self::Added(_) => '+',
            Self::Removed(_) => '-',
            Self::Changed { .. } => '~',
            Self::Wrong(_) => '!',
            Self::Right(_) => '=',
            Self::Off(_) | Self::Watching { .. } => '.',
        }
    }

    fn object(&self, time: Timestamp) -> Value {
        let time = format!("{time:.3}");
        match self {
            Self::Added(target) => json!({"time": time, "event": "added", "target": json::target(target)}),
            Self::Removed(target) => json!({"time": time, "event": "removed", "target": json::target(target)}),
            Self::Changed { before, now } => {
                let (before, target) = (json::target(before), json::target(now));
                json!({"time": time, "event": "changed", "target": target, "before": before})
            }
            Self::Wrong(message) => json!({"time": time, "event": "wrong", "message": message}),
            Self::Right(message) => json!({"time": time, "event": "right", "message": message}),
            Self::Off(message) => json!({"time": time, "event": "off", "message": message}),
            Self::Watching { targets, dropped } => {
                json!({"time": time, "event": "watching", "targets": targets, "dropped_total": dropped})
            }
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(target) => {
                let (url, every) = (Printable(&target.origin.url), prometheus_duration(target.interval));
                write!(f, "{url} every {every} {}", target.origin.labels)?;
                target
                    .file
                    .as_ref()
                    .map_or(Ok(()), |file| write!(f, ", announced by {}", Printable(&file.display().to_string())))
            }
            Self::Removed(target) => write!(f, "{} {}", Printable(&target.origin.url), target.origin.labels),
            Self::Changed { before, now } => {
                write!(f, "{}: {}", Printable(&now.origin.url), differences(before, now).join(", "))
            }
            Self::Wrong(sentence) | Self::Right(sentence) | Self::Off(sentence) => {
                write!(f, "{}", Printable(sentence))
            }
            Self::Watching { targets, dropped } => write!(f, "watching {targets} targets; {dropped} are not scraped"),
        }
    }
}

fn differences(before: &Target, now: &Target) -> Vec<String> {
    let mut all = Vec::new();
    if before.origin.labels != now.origin.labels {
        all.push(format!("labels are {}, were {}", now.origin.labels, before.origin.labels));
    }
    for (what, before, now) in [("every", before.interval, now.interval), ("timeout", before.timeout, now.timeout)] {
        if before != now {
            all.push(format!("{what} {}, was {}", prometheus_duration(now), prometheus_duration(before)));
        }
    }
    if before.file != now.file {
        let shown = |target: &Target| match &target.file {
            Some(file) => text::escaped(&file.display().to_string()),
            None => "the configuration".to_owned(),
        };
        all.push(format!("announced by {}, was by {}", shown(now), shown(before)));
    }
    if all.is_empty() {
        // Headers and credentials are not printed.
        all.push("it is asked in another way".to_owned());
    }
    all
}

/// What is otherwise in `now`: targets in its order, those that are gone, and what is wrong.
fn changes<'s>(before: &'s TargetSet, now: &'s TargetSet) -> Vec<Change<'s>> {
    let mut changes = changed_targets(before, now);
    let (was_wrong, is_wrong) = (faults(before), faults(now));
    // An answer for each fault that is no more, unless another one of the same place came.
    for (place, _) in was_wrong.iter().filter(|(place, _)| is_wrong.iter().all(|(wrong, _)| wrong != place)) {
        let is_file = |file: &FileReport| file.path.as_os_str() == place.as_str();
        let sentence = match (before.files.iter().any(is_file), now.files.iter().any(is_file)) {
            (_, true) => format!("{place} is right again"),
            (true, false) => format!("{place} is gone"),
            (false, false) => format!("over: {place}"),
        };
        changes.push(Change::Right(sentence));
    }
    for fault in is_wrong.iter().filter(|fault| !was_wrong.contains(fault)) {
        changes.push(Change::Wrong(fault.1.clone()));
    }
    for file in now.files.iter().filter(|file| !before.files.contains(file)) {
        if let FileStatus::Off(why) = &file.status {
            changes.push(Change::Off(format!("{} announces nothing: {why}", file.path.display())));
        }
    }
    changes
}

fn changed_targets<'s>(before: &'s TargetSet, now: &'s TargetSet) -> Vec<Change<'s>> {
    let identity = |target: &'s Arc<Target>| (target.origin.url.as_str(), target.origin.key);
    let known: HashMap<_, &Target> = before.targets.iter().map(|target| (identity(target), target.as_ref())).collect();
    let left: HashMap<_, &Target> = now.targets.iter().map(|target| (identity(target), target.as_ref())).collect();
    // One whose labels changed is another one at the same place.
    let mut gone: HashMap<&str, Vec<&Target>> = HashMap::new();
    for target in before.targets.iter().filter(|target| !left.contains_key(&identity(target))) {
        gone.entry(&target.origin.url).or_default().push(target);
    }
    let mut changes = Vec::new();
    for target in &now.targets {
        match known.get(&identity(target)) {
            Some(before) if **before == **target => {}
            Some(before) => changes.push(Change::Changed { before, now: target }),
            None => match gone.get_mut(target.origin.url.as_str()).and_then(Vec::pop) {
                Some(before) => changes.push(Change::Changed { before, now: target }),
                None => changes.push(Change::Added(target)),
            },
        }
    }
    let is_gone = |target: &&Arc<Target>| {
        gone.get(target.origin.url.as_str())
            .is_some_and(|gone| gone.iter().any(|left| std::ptr::eq(*left, target.as_ref())))
    };
    changes.extend(before.targets.iter().filter(is_gone).map(|target| Change::Removed(target)));
    changes
}

/// What is wrong: where, and the sentence.
fn faults(set: &TargetSet) -> Vec<(String, String)> {
    let files = set.files.iter().filter_map(|file| match &file.status {
        FileStatus::Broken { problem, consequence } => {
            Some((file.path.display().to_string(), format!("{problem}; {consequence}")))
        }
        _ => None,
    });
    let dropped = set.dropped.iter().filter(|dropped| dropped.reason.is_fault()).map(|dropped| {
        let address = dropped.discovered.get_or_empty("__address__");
        let place = format!("{} of job {}", quoted(address), quoted(&dropped.job));
        let sentence = format!("{place} is not scraped: {}", dropped.reason);
        (place, sentence)
    });
    let problems = set.problems.iter().map(|problem| (problem.clone(), problem.clone()));
    files.chain(dropped).chain(problems).collect()
}
