//! What is wrong, in one sentence: the thing to look at first, and behind it the rest in the order in which to look.
//!
//! Causes stand before what follows from them: an output that loses samples before one that fails, a certificate of ours before
//! the targets that refuse it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;

use super::page::words::{count, counted, days_left, size, validity};
use super::snapshot::{
    CertificateSnapshot, DiscoveryProblem, FileSnapshot, FileState, Health, MemorySnapshot, OutputSnapshot,
    RECENT_STEP, Readiness, RegistrarSnapshot, ScrapeCounts, Snapshots, TargetSnapshot, Targets, Trouble,
};
use crate::net::certificate::Validity;
use crate::pipeline::Reasons;

/// Steps of [`RECENT_STEP`] that are "lately": five minutes.
const LATELY_STEPS: usize = 30;

/// Causes why targets are down that are told one by one; where there are more, only the first.
const CAUSES_MAX: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Samples are lost, or nothing is watched: now.
    Critical,
    /// Something is wrong, or will be.
    Warning,
    /// All well, or something to know.
    Ok,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Ok => "ok",
        }
    }
}

/// One sentence, and where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Holds texts from outside, not escaped.
    pub(super) text: String,
    /// Relative to the page at `/`.
    pub(super) href: String,
}

/// Everything at one moment.
pub(super) struct Overview {
    pub(super) targets: Targets,
    pub(super) outputs: Vec<OutputSnapshot>,
    pub(super) files: Vec<FileSnapshot>,
    pub(super) certificates: Vec<CertificateSnapshot>,
    pub(super) memory: MemorySnapshot,
    pub(super) scrapes: ScrapeCounts,
    pub(super) registrar: Option<RegistrarSnapshot>,
    pub(super) readiness: Readiness,
    pub(super) troubles: Vec<Trouble>,
    /// Targets that are scraped when somebody asks, where they are.
    pub(super) on_request: Option<usize>,
    /// Milliseconds since 1970.
    pub(super) started_ms: i64,
    pub(super) now_ms: i64,
}

impl Overview {
    pub(super) fn of(snapshots: &dyn Snapshots, now_ms: i64) -> Self {
        Self {
            targets: snapshots.targets(),
            outputs: snapshots.outputs(),
            files: snapshots.files(),
            certificates: snapshots.certificates(),
            memory: snapshots.memory(),
            scrapes: snapshots.scrapes(),
            registrar: snapshots.registrar(),
            readiness: snapshots.readiness(),
            troubles: snapshots.troubles(),
            on_request: snapshots.on_request(),
            started_ms: snapshots.started_ms(),
            now_ms,
        }
    }

    /// How many targets are of this health.
    pub(super) fn count(&self, health: Health) -> usize {
        self.targets.active.iter().filter(|target| target.health == health).count()
    }

    /// Problems of discovery that are not those of a file in [`files`](Self::files).
    pub(super) fn other_problems(&self) -> Vec<&DiscoveryProblem> {
        let files: HashSet<_> = self.files.iter().map(|file| file.path.as_os_str()).collect();
        let problems = self.targets.problems.iter();
        problems.filter(|problem| !files.contains(OsStr::new(&problem.source))).collect()
    }

    /// How many files can be used, announce nothing, are broken.
    pub(super) fn count_files(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for file in &self.files {
            counts[match file.state {
                FileState::Good(_) => 0,
                FileState::Off(_) => 1,
                FileState::Broken { .. } => 2,
            }] += 1;
        }
        counts
    }
}

/// The one sentence, and behind it what else there is to say, the worst first.
pub(super) fn headline(overview: &Overview) -> (Finding, Vec<Finding>) {
    let mut findings = Vec::new();
    outputs(overview, &mut findings);
    troubles(overview, &mut findings);
    memory(overview, &mut findings);
    no_targets(overview, &mut findings);
    own_certificates_unusable(overview, &mut findings);
    down(overview, &mut findings);
    own_certificates_ending(overview, &mut findings);
    files(overview, &mut findings);
    target_certificates(overview, &mut findings);
    if overview.registrar.is_some_and(|registrar| !registrar.is_connected) {
        findings.push(finding(
            Severity::Warning,
            "#registrar",
            "The registrar has no connection to NATS: nobody learns of the targets here.",
        ));
    }
    losses_of_old(overview, &mut findings);
    notes(overview, &mut findings);
    // Stable: among equals the order above stays.
    findings.sort_by_key(|finding| finding.severity);
    match findings.first() {
        Some(worst) if worst.severity < Severity::Ok => (findings.remove(0), findings),
        _ => (all_well(overview), findings),
    }
}

fn finding(severity: Severity, href: impl Into<String>, text: impl Into<String>) -> Finding {
    Finding { severity, text: text.into(), href: href.into() }
}

fn all_well(overview: &Overview) -> Finding {
    let (up, unknown) = (overview.count(Health::Up), overview.count(Health::Unknown));
    let verb = |number| if number == 1 { "is" } else { "are" };
    let outputs = overview.outputs.len();
    let deliver = if outputs == 1 { "delivers" } else { "deliver" };
    let text = match (up, unknown) {
        (0, _) => match &overview.readiness {
            Readiness::Waiting(why) => format!("Starting: {}.", why.trim_end_matches('.')),
            Readiness::Ready if overview.on_request.is_some() => {
                let targets = overview.on_request.unwrap_or_default();
                format!("All well: {} {} scraped when somebody asks.", counted(targets, "target"), verb(targets))
            }
            Readiness::Ready => format!("{} found, none scraped yet.", counted(unknown, "target")),
        },
        (up, 0) => {
            format!("All well: {} {} up, {} {deliver}.", counted(up, "target"), verb(up), counted(outputs, "output"))
        }
        (up, unknown) => format!(
            "All well: {} {} up, {} not scraped yet, {} {deliver}.",
            counted(up, "target"),
            verb(up),
            count(unknown as u64),
            counted(outputs, "output")
        ),
    };
    finding(Severity::Ok, "#targets", text)
}

/// The fragment of an output's part of the page.
pub(super) fn output_anchor(output: &OutputSnapshot) -> String {
    format!("output-{}", super::page::html::anchor(&output.name))
}

fn sum(reasons: &Reasons) -> u64 {
    reasons.values().fold(0, |sum, samples| sum.saturating_add(*samples))
}

/// Samples that an output lost since the start.
pub(super) fn lost(output: &OutputSnapshot) -> u64 {
    sum(&output.counts.settled.dropped).saturating_add(sum(&output.counts.settled.rejected))
}

/// Samples that it lost within the last minutes.
pub(super) fn lost_lately(output: &OutputSnapshot) -> u64 {
    output.recent.iter().rev().take(LATELY_STEPS).fold(0, |sum, mark| sum.saturating_add(mark.lost))
}

fn link(output: &OutputSnapshot) -> String {
    format!("#{}", output_anchor(output))
}

fn outputs(overview: &Overview, findings: &mut Vec<Finding>) {
    use Severity::{Critical, Warning};
    for output in &overview.outputs {
        let lost = lost_lately(output);
        if lost > 0 {
            let minutes = RECENT_STEP.as_secs() * LATELY_STEPS as u64 / 60;
            let cause = output.status.failing.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            let text = format!(
                "Output {} is losing samples, {} in the last {minutes} minutes{cause}",
                output.name,
                count(lost)
            );
            findings.push(finding(Critical, link(output), sentence(text)));
        }
    }
    for output in &overview.outputs {
        let imbalance = output.counts.imbalance();
        if imbalance != 0 {
            let text = format!(
                "The ledger of output {} does not add up, by {imbalance} samples: a bug, please report it.",
                output.name
            );
            findings.push(finding(Critical, link(output), text));
        }
        if let (Some(error), 0) = (&output.status.failing, lost_lately(output)) {
            let waiting = counted(usize::try_from(output.counts.waiting).unwrap_or(usize::MAX), "sample");
            let text = format!("Output {} does not deliver, {waiting} wait: {error}", output.name);
            findings.push(finding(Critical, link(output), sentence(text)));
        }
        if let Some(error) = output.disk.as_ref().and_then(|disk| disk.failing.as_ref()) {
            let text = format!("The disk queue of output {} does not work: {error}", output.name);
            findings.push(finding(Warning, link(output), sentence(text)));
        }
    }
    // Who asks for a scrape gets it.
    if overview.outputs.is_empty() && overview.on_request.is_none() {
        findings.push(finding(Warning, "#outputs", "No output is configured: what is scraped goes nowhere."));
    }
}

/// What a reload could not do: it goes on until the next one, and nothing else would say so.
fn troubles(overview: &Overview, findings: &mut Vec<Finding>) {
    for trouble in &overview.troubles {
        let (severity, href) = match trouble.is_loss {
            true => (Severity::Critical, "#outputs"),
            false => (Severity::Warning, "config"),
        };
        findings.push(finding(severity, href, sentence(trouble.text.clone())));
    }
}

/// With a full stop, where it has none.
fn sentence(text: String) -> String {
    if text.ends_with(['.', '!', '?', '…']) { text } else { text + "." }
}

fn memory(overview: &Overview, findings: &mut Vec<Finding>) {
    let MemorySnapshot { used, limit: Some(limit) } = overview.memory else { return };
    let total = used.total();
    if total > limit {
        let text = format!(
            "Memory is above its limit, {} of {}: what waits is shed, then scrapes pause.",
            size(total),
            size(limit)
        );
        findings.push(finding(Severity::Critical, "#memory", text));
    } else if total > limit / 10 * 9 {
        let text = format!("Memory is near its limit: {} of {}.", size(total), size(limit));
        findings.push(finding(Severity::Warning, "#memory", text));
    }
}

fn no_targets(overview: &Overview, findings: &mut Vec<Finding>) {
    if !overview.targets.active.is_empty() || overview.on_request.is_some_and(|targets| targets > 0) {
        return;
    }
    let dropped: usize = overview.targets.dropped_counts.values().sum();
    let [good, off, broken] = overview.count_files();
    let text = if dropped > 0 {
        format!("Nothing is scraped: {} found, and dropped, all of them.", counted(dropped, "target"))
    } else if broken > 0 {
        format!("Nothing is scraped: {} that announce targets cannot be used.", counted(broken, "file"))
    } else if good + off > 0 {
        format!("Nothing is scraped: {} found, and none announces a target.", counted(good + off, "file"))
    } else {
        "Nothing is scraped: no target is configured or found, and no file that announces one.".to_owned()
    };
    findings.push(finding(Severity::Critical, "#discovery", text));
}

/// Ours that cannot be used now: targets and receivers may refuse us because of it, so it stands before them.
fn own_certificates_unusable(overview: &Overview, findings: &mut Vec<Finding>) {
    for one in &overview.certificates {
        let (kind, file) = (one.shown_as, &one.file);
        let text = match (one.validity.map(|validity| validity.not_after), &one.problem) {
            (None, Some(problem)) => format!("Our {kind} certificate {file} cannot be used: {problem}"),
            (None, None) => format!("Our {kind} certificate {file} is not loaded"),
            (Some(end), _) if days_left(end, overview.now_ms) < 0 => {
                format!("Our {kind} certificate {file} {}", validity(end, overview.now_ms))
            }
            (Some(_), _) => continue,
        };
        findings.push(finding(Severity::Critical, "#certificates", sentence(text)));
    }
}

/// Ours that are in use and will not be for long.
fn own_certificates_ending(overview: &Overview, findings: &mut Vec<Finding>) {
    for one in &overview.certificates {
        let Some(valid) = one.validity.filter(|valid| days_left(valid.not_after, overview.now_ms) >= 0) else {
            continue;
        };
        let (kind, file) = (one.shown_as, &one.file);
        let text = match &one.problem {
            Some(problem) => format!("Our {kind} certificate {file} has newer files that are not used: {problem}"),
            None if valid.ends_soon(overview.now_ms.div_euclid(1000)) => {
                format!("Our {kind} certificate {file}: {}", validity(valid.not_after, overview.now_ms))
            }
            None => continue,
        };
        findings.push(finding(Severity::Warning, "#certificates", sentence(text)));
    }
}

/// Why a target is down, with what differs between targets left out: its own address, and numbers.
fn cause(target: &TargetSnapshot) -> String {
    let address = crate::net::text::escaped(authority(&target.url));
    let mut out = String::with_capacity(target.error.len());
    let text = without_address(&target.error, &address);
    let mut was_digit = false;
    for c in text.chars() {
        let is_digit = c.is_ascii_digit();
        match (is_digit, was_digit) {
            (true, true) => {}
            (true, false) => out.push('0'),
            (false, _) => out.push(c),
        }
        was_digit = is_digit;
    }
    out
}

fn without_address(error: &str, address: &str) -> String {
    if address.is_empty() { error.to_owned() } else { error.replace(address, "…") }
}

/// `host:port` of a URL.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn down(overview: &Overview, findings: &mut Vec<Finding>) {
    let all = overview.targets.active.len();
    let down: Vec<&TargetSnapshot> =
        overview.targets.active.iter().filter(|target| target.health == Health::Down).collect();
    let Some(first) = down.first() else { return };
    let severity = if down.len() * 2 >= all { Severity::Critical } else { Severity::Warning };
    if down.len() == 1 {
        let what =
            if all == 1 { "The one target is".to_owned() } else { format!("1 of {} targets is", count(all as u64)) };
        let name = name(first).map(|name| format!("{name}: ")).unwrap_or_default();
        let text = format!("{what} down: {name}{}", first.error);
        return findings.push(finding(severity, format!("targets/{:016x}", first.id), sentence(text)));
    }
    let mut causes: HashMap<String, (usize, usize)> = HashMap::new();
    for (at, target) in down.iter().enumerate() {
        causes.entry(cause(target)).or_insert((0, at)).0 += 1;
    }
    // The most frequent one first; among equals the first, so that the sentence stands still.
    let mut causes: Vec<(usize, usize)> = causes.into_values().collect();
    causes.sort_unstable_by_key(|(times, at)| (Reverse(*times), *at));
    let example = |at: usize| {
        let target = down.get(at).copied().unwrap_or(first);
        without_address(&target.error, &crate::net::text::escaped(authority(&target.url)))
    };
    let (most, at) = causes.first().copied().unwrap_or_default();
    let of = match down.len() == all {
        true => format!("All {} targets are down", count(all as u64)),
        false => format!("{} of {} targets are down", count(down.len() as u64), count(all as u64)),
    };
    let are_all_told = causes.len() <= CAUSES_MAX;
    let text = match most {
        1 if are_all_told => format!("{of}, each for a reason of its own"),
        1 => format!("{of}, each for a reason of its own; the first: {}", example(at)),
        most if most == down.len() => format!("{of}, for the same reason: {}", example(at)),
        most => format!("{of}, {} for the same reason: {}", count(most as u64), example(at)),
    };
    findings.push(finding(severity, "./?health=down#targets", sentence(text)));
    let told = if are_all_told { causes.as_slice() } else { &[] };
    // The headline has named the first one, where it holds for several.
    for (times, at) in told.iter().skip(usize::from(most > 1)) {
        let Some(target) = down.get(*at) else { continue };
        findings.push(match times {
            1 => {
                let name = name(target).map(|name| format!("{name}: ")).unwrap_or_default();
                let href = format!("targets/{:016x}", target.id);
                finding(severity, href, sentence(format!("{name}{}", target.error)))
            }
            times => {
                let text = format!("{} targets: {}", count(*times as u64), example(*at));
                finding(severity, "./?health=down#targets", sentence(text))
            }
        });
    }
}

/// The name by which an operator knows a target: its `source_id`.
pub(super) fn name(target: &TargetSnapshot) -> Option<&str> {
    target.labels.get("source_id")
}

fn files(overview: &Overview, findings: &mut Vec<Finding>) {
    let mut broken = overview.files.iter().filter_map(|file| match &file.state {
        FileState::Broken { problem, consequence } => Some(format!("{problem}; {consequence}")),
        _ => None,
    });
    let others = overview.other_problems();
    if let Some(first) = broken.next() {
        let text = match broken.count() {
            0 => format!("A file that announces targets is broken: {first}"),
            more => format!("{} files that announce targets are broken, the first: {first}", more + 1),
        };
        findings.push(finding(Severity::Warning, "#discovery", sentence(text)));
    }
    if let Some(first) = others.first() {
        let source = if first.source.is_empty() { String::new() } else { format!("{}: ", first.source) };
        let text = match others.len() {
            1 => format!("Discovery has a problem: {source}{}", first.message),
            more => format!("Discovery has {more} problems, the first: {source}{}", first.message),
        };
        findings.push(finding(Severity::Warning, "#discovery", sentence(text)));
    }
}

fn target_certificates(overview: &Overview, findings: &mut Vec<Finding>) {
    let ends = |target: &TargetSnapshot| {
        let ends_soon = |valid: &Validity| valid.ends_soon(overview.now_ms.div_euclid(1000));
        target
            .certificate
            .filter(|valid| target.health != Health::Down && ends_soon(valid))
            .map(|valid| valid.not_after)
    };
    let soon: Vec<(i64, &TargetSnapshot)> =
        overview.targets.active.iter().filter_map(|target| Some((ends(target)?, target))).collect();
    let Some((end, first)) = soon.iter().min_by_key(|(end, _)| end) else { return };
    let left = validity(*end, overview.now_ms);
    let (text, href) = match soon.len() {
        1 => (format!("The certificate of {}: {left}.", first.url), format!("targets/{:016x}", first.id)),
        more => (
            format!("The certificates of {more} targets end soon; the first, of {}: {left}.", first.url),
            "./?sort=certificate#targets".to_owned(),
        ),
    };
    findings.push(finding(Severity::Warning, href, text));
}

fn losses_of_old(overview: &Overview, findings: &mut Vec<Finding>) {
    for output in &overview.outputs {
        let lost = lost(output);
        if lost > 0 && lost_lately(output) == 0 {
            let lately = if output.recent.is_empty() { "" } else { ", none of them lately" };
            let text = format!("Output {} lost {} samples since the start{lately}.", output.name, count(lost));
            findings.push(finding(Severity::Ok, link(output), text));
        }
    }
}

fn notes(overview: &Overview, findings: &mut Vec<Finding>) {
    let ScrapeCounts { bad_lines, duplicates, paused, .. } = overview.scrapes;
    for (number, what) in [
        (paused, "scrapes were left out because memory was short"),
        (bad_lines, "lines of targets could not be read"),
        (duplicates, "samples were in a scrape twice, and left out"),
    ] {
        if number > 0 {
            let text = format!("Since the start {} {what}.", count(number));
            findings.push(finding(Severity::Ok, "#process", text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::snapshot::RecentMark;
    use crate::memory::{Accounts, Used};
    use crate::model::Labels;
    use crate::pipeline::disk::DiskState;
    use crate::pipeline::{Counts, SenderStatus, Settlement};

    const DAY: i64 = 86_400;

    fn target(id: u64, health: Health, error: &str) -> TargetSnapshot {
        TargetSnapshot {
            id,
            job: "job".to_owned(),
            discovered: Labels::new(),
            labels: Labels::new(),
            url: format!("https://10.0.0.{id}:91/metrics"),
            health,
            error: error.replace("ADDRESS", &format!("10.0.0.{id}:91")),
            advice: None,
            scraped_ms: None,
            duration: Duration::ZERO,
            samples: 0,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            file: None,
            failures: 0,
            certificate: None,
        }
    }

    fn output(name: &str) -> OutputSnapshot {
        OutputSnapshot {
            name: name.to_owned(),
            kind: "file",
            urls: Vec::new(),
            counts: Counts::default(),
            recent: vec![RecentMark { delivered: 5, lost: 0 }; 60],
            waited: None,
            queue: None,
            disk: None,
            status: SenderStatus::default(),
            served: None,
        }
    }

    fn quiet() -> Overview {
        Overview {
            targets: Targets { active: (1..=4).map(|id| target(id, Health::Up, "")).collect(), ..Targets::default() },
            outputs: vec![output("a"), output("b c")],
            files: Vec::new(),
            certificates: Vec::new(),
            memory: MemorySnapshot::default(),
            scrapes: ScrapeCounts::default(),
            registrar: None,
            readiness: Readiness::Ready,
            troubles: Vec::new(),
            on_request: None,
            started_ms: 0,
            now_ms: 0,
        }
    }

    fn down(overview: &mut Overview, errors: &[&str]) {
        for (target, error) in overview.targets.active.iter_mut().zip(errors) {
            let id = target.id;
            *target = super::tests::target(id, Health::Down, error);
        }
    }

    /// A certificate of a year.
    fn valid_until(not_after: i64) -> Validity {
        Validity { not_before: not_after - 365 * DAY, not_after }
    }

    fn ours(not_after: Option<i64>, problem: Option<&str>) -> CertificateSnapshot {
        CertificateSnapshot {
            shown_as: "client",
            file: "/c.crt".to_owned(),
            validity: not_after.map(valid_until),
            problem: problem.map(str::to_owned),
        }
    }

    /// One thing that is wrong.
    type Wrong = fn(&mut Overview);

    /// In the order in which they are told: what is wrong, how bad that is, the sentence and its link.
    const WRONGS: &[(Wrong, Severity, &str, &str)] = &[
        (
            |all| {
                all.outputs[1].recent[59].lost = 1204;
                all.outputs[1].status.failing = Some("it is full".to_owned());
            },
            Severity::Critical,
            "Output b c is losing samples, 1,204 in the last 5 minutes: it is full.",
            "#output-b.20c",
        ),
        (
            |all| {
                all.outputs[0].status.failing = Some("nobody listens".to_owned());
                all.outputs[0].counts = Counts { offered: 7, waiting: 7, ..Counts::default() };
            },
            Severity::Critical,
            "Output a does not deliver, 7 samples wait: nobody listens.",
            "#output-a",
        ),
        (
            |all| all.troubles.push(Trouble { is_loss: true, text: "Output c cannot start".to_owned() }),
            Severity::Critical,
            "Output c cannot start.",
            "#outputs",
        ),
        (
            |all| {
                let accounts = Accounts { samples: 3 << 20, ..Accounts::default() };
                all.memory = MemorySnapshot { used: Used { accounts, rest: 0 }, limit: Some(2 << 20) };
            },
            Severity::Critical,
            "Memory is above its limit, 3 MiB of 2 MiB: what waits is shed, then scrapes pause.",
            "#memory",
        ),
        (
            |all| all.certificates.push(ours(Some(-3 * DAY), None)),
            Severity::Critical,
            "Our client certificate /c.crt expired 3 days ago.",
            "#certificates",
        ),
        (
            |all| down(all, &["nobody listens on ADDRESS"; 3]),
            Severity::Critical,
            "3 of 4 targets are down, for the same reason: nobody listens on …",
            "./?health=down#targets",
        ),
        (
            |all| all.troubles.push(Trouble { is_loss: false, text: "The file cannot be used: f:1".to_owned() }),
            Severity::Warning,
            "The file cannot be used: f:1.",
            "config",
        ),
        (
            |all| all.certificates.push(ours(Some(2 * DAY), None)),
            Severity::Warning,
            "Our client certificate /c.crt: 2 days left.",
            "#certificates",
        ),
        (
            |all| {
                let state = FileState::Broken { problem: "/f:1:2: no YAML".to_owned(), consequence: "it is skipped" };
                all.files.push(FileSnapshot { path: "/f".into(), state });
                let of_file = DiscoveryProblem { source: "/f".to_owned(), message: "told with its file".to_owned() };
                all.targets.problems.push(of_file);
            },
            Severity::Warning,
            "A file that announces targets is broken: /f:1:2: no YAML; it is skipped.",
            "#discovery",
        ),
        (
            |all| {
                let message = "answered 500".to_owned();
                all.targets.problems.push(DiscoveryProblem { source: "http://sd".to_owned(), message });
            },
            Severity::Warning,
            "Discovery has a problem: http://sd: answered 500.",
            "#discovery",
        ),
        (
            |all| all.targets.active[3].certificate = Some(valid_until(5 * DAY)),
            Severity::Warning,
            "The certificate of https://10.0.0.4:91/metrics: 5 days left.",
            "targets/0000000000000004",
        ),
        (
            |all| all.registrar = Some(RegistrarSnapshot { is_connected: false, entries: 0, sent: 0, failed: 0 }),
            Severity::Warning,
            "The registrar has no connection to NATS: nobody learns of the targets here.",
            "#registrar",
        ),
        (
            |all| all.scrapes.bad_lines = 1500,
            Severity::Ok,
            "Since the start 1,500 lines of targets could not be read.",
            "#process",
        ),
    ];

    #[test]
    fn each_thing_that_is_wrong_is_said_in_one_sentence() {
        for (wrong, severity, text, href) in WRONGS {
            let mut overview = quiet();
            wrong(&mut overview);
            let (first, rest) = headline(&overview);
            let told = Finding { severity: *severity, text: (*text).to_owned(), href: (*href).to_owned() };
            match severity {
                // Good to know, and all is well.
                Severity::Ok => assert_eq!(rest, [told]),
                _ => assert_eq!((first, rest), (told, Vec::new())),
            }
        }
    }

    #[test]
    fn everything_at_once_is_told_in_the_order_in_which_to_look() {
        let mut overview = quiet();
        for (wrong, ..) in WRONGS {
            wrong(&mut overview);
        }
        let (first, rest) = headline(&overview);
        let told: Vec<String> = std::iter::once(first).chain(rest).map(|finding| finding.text).collect();
        let expected: Vec<&str> = WRONGS.iter().map(|(_, _, text, _)| *text).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn all_well_says_how_much_is_well() {
        let mut overview = quiet();
        let well = |overview: &Overview| {
            let (first, rest) = headline(overview);
            assert_eq!((first.severity, rest), (Severity::Ok, Vec::new()));
            first.text
        };
        assert_eq!(well(&overview), "All well: 4 targets are up, 2 outputs deliver.");
        overview.targets.active[0].health = Health::Unknown;
        overview.outputs.truncate(1);
        assert_eq!(well(&overview), "All well: 3 targets are up, 1 not scraped yet, 1 output delivers.");
        overview.targets.active.truncate(1);
        overview.readiness = Readiness::Waiting("1 of 1 targets was not scraped yet".to_owned());
        assert_eq!(well(&overview), "Starting: 1 of 1 targets was not scraped yet.");
    }

    #[test]
    fn nothing_to_scrape_is_said_with_why() {
        let mut overview = quiet();
        overview.targets.active.clear();
        let said = |overview: &Overview| headline(overview).0.text;
        assert_eq!(
            said(&overview),
            "Nothing is scraped: no target is configured or found, and no file that announces one."
        );
        overview.files.push(FileSnapshot { path: "/f".into(), state: FileState::Off("it has no port") });
        assert_eq!(said(&overview), "Nothing is scraped: 1 file found, and none announces a target.");
        overview.targets.dropped_counts.insert("job".to_owned(), 3);
        assert_eq!(said(&overview), "Nothing is scraped: 3 targets found, and dropped, all of them.");
        overview.outputs.clear();
        assert_eq!(headline(&overview).1[0].text, "No output is configured: what is scraped goes nowhere.");
    }

    /// In the place of metrics-agent without outputs of its own, that is how it should be.
    #[test]
    fn targets_that_are_scraped_on_request_are_no_alarm() {
        let mut overview = quiet();
        overview.targets.active.clear();
        overview.outputs.clear();
        overview.files.push(FileSnapshot { path: "/f".into(), state: FileState::Good(2) });
        overview.on_request = Some(2);
        let (first, rest) = headline(&overview);
        assert_eq!((first.severity, rest), (Severity::Ok, Vec::new()));
        assert_eq!(first.text, "All well: 2 targets are scraped when somebody asks.");
        overview.on_request = Some(0);
        assert_eq!(headline(&overview).0.severity, Severity::Critical);
    }

    #[test]
    fn targets_that_are_down_are_told_by_their_most_frequent_cause() {
        let said = |errors: &[&str]| {
            let mut overview = quiet();
            down(&mut overview, errors);
            let first = headline(&overview).0;
            (first.severity, first.text, first.href)
        };
        let refused = "nobody listens on ADDRESS";
        assert_eq!(
            said(&[refused]),
            (
                Severity::Warning,
                "1 of 4 targets is down: nobody listens on 10.0.0.1:91.".to_owned(),
                "targets/0000000000000001".to_owned()
            )
        );
        assert_eq!(
            said(&["no answer within 1s", refused, refused]).1,
            "3 of 4 targets are down, 2 for the same reason: nobody listens on …"
        );
        // Numbers make no other reason.
        assert_eq!(
            said(&["answered 500", "answered 503", "answered 404", "answered 1"]).1,
            "All 4 targets are down, for the same reason: answered 500."
        );
        assert_eq!(
            said(&["one", "two", "three", "four"]).1,
            "All 4 targets are down, each for a reason of its own; the first: one."
        );
    }

    #[test]
    fn a_few_causes_are_told_one_by_one() {
        let mut overview = quiet();
        down(&mut overview, &["nobody listens on ADDRESS", "it expired"]);
        overview.targets.active[1].labels = [("source_id".to_owned(), "uaa".to_owned())].into_iter().collect();
        let (first, rest) = headline(&overview);
        assert_eq!(first.text, "2 of 4 targets are down, each for a reason of its own.");
        let told: Vec<(&str, &str)> =
            rest.iter().map(|finding| (finding.text.as_str(), finding.href.as_str())).collect();
        assert_eq!(
            told,
            [
                ("nobody listens on 10.0.0.1:91.", "targets/0000000000000001"),
                ("uaa: it expired.", "targets/0000000000000002")
            ]
        );
        down(&mut overview, &["it hangs", "it hangs", "it expired"]);
        let (first, rest) = headline(&overview);
        assert_eq!(first.text, "3 of 4 targets are down, 2 for the same reason: it hangs.");
        assert_eq!(rest[0].text, "it expired.");
    }

    #[test]
    fn what_was_lost_long_ago_is_no_alarm() {
        let mut overview = quiet();
        overview.outputs[0].counts.settled = Settlement {
            dropped: [("queue_full", 3)].into(),
            rejected: [("mapping", 2)].into(),
            ..Settlement::default()
        };
        overview.outputs[0].counts.offered = 5;
        overview.outputs[0].recent[0].lost = 5;
        let (first, rest) = headline(&overview);
        assert_eq!(first.text, "All well: 4 targets are up, 2 outputs deliver.");
        assert_eq!(rest[0].text, "Output a lost 5 samples since the start, none of them lately.");
    }

    #[test]
    fn a_ledger_or_a_disk_that_is_wrong_is_told() {
        let mut overview = quiet();
        overview.outputs[0].counts.offered = 5;
        let state = DiskState { failing: Some("no space left".to_owned()), ..DiskState::default() };
        overview.outputs[1].disk = Some(state);
        let (first, rest) = headline(&overview);
        assert_eq!(first.text, "The ledger of output a does not add up, by 5 samples: a bug, please report it.");
        assert_eq!(rest[0].text, "The disk queue of output b c does not work: no space left.");
    }
}
