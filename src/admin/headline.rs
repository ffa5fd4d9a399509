//! What is wrong, in one sentence: the thing to look at first, and behind it the rest in the order in which to look.
//!
//! Causes stand before what follows from them: an output that loses samples before one that fails, a certificate of ours before
//! the targets that refuse it.

use std::collections::HashMap;

use super::page::words::{count, counted, days_left, size, validity};
use super::snapshot::{
    CertificateSnapshot, FileSnapshot, FileState, Health, MemorySnapshot, OutputSnapshot, RECENT_STEP, Readiness,
    RegistrarSnapshot, ScrapeCounts, Snapshots, TargetSnapshot, Targets,
};
use crate::pipeline::Reasons;

/// A certificate with fewer days left is spoken of.
pub(super) const DAYS_LEFT_MIN: i64 = 14;

/// Steps of [`RECENT_STEP`] that are "lately": five minutes.
const LATELY_STEPS: usize = 30;

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
            started_ms: snapshots.started_ms(),
            now_ms,
        }
    }

    /// How many targets are of this health.
    pub(super) fn count(&self, health: Health) -> usize {
        self.targets.active.iter().filter(|target| target.health == health).count()
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
    if overview.outputs.is_empty() {
        findings.push(finding(Warning, "#outputs", "No output is configured: what is scraped goes nowhere."));
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
    if !overview.targets.active.is_empty() {
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
        let text = match (one.not_after, &one.problem) {
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
        let Some(end) = one.not_after.filter(|end| days_left(*end, overview.now_ms) >= 0) else { continue };
        let (kind, file) = (one.shown_as, &one.file);
        let text = match &one.problem {
            Some(problem) => format!("Our {kind} certificate {file} has newer files that are not used: {problem}"),
            None if days_left(end, overview.now_ms) < DAYS_LEFT_MIN => {
                format!("Our {kind} certificate {file}: {}", validity(end, overview.now_ms))
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
        let text = format!("{what} down: {}", first.error);
        return findings.push(finding(severity, format!("targets/{:016x}", first.id), sentence(text)));
    }
    let mut causes: HashMap<String, (usize, usize)> = HashMap::new();
    for (at, target) in down.iter().enumerate() {
        causes.entry(cause(target)).or_insert((0, at)).0 += 1;
    }
    // The most frequent one; among equals the first, so that the sentence stands still.
    let (most, at) = causes.into_values().max_by_key(|(times, at)| (*times, usize::MAX - at)).unwrap_or_default();
    let of = match down.len() == all {
        true => format!("All {} targets are down", count(all as u64)),
        false => format!("{} of {} targets are down", count(down.len() as u64), count(all as u64)),
    };
    let example = down.get(at).map(|target| {
        let address = crate::net::text::escaped(authority(&target.url));
        without_address(&target.error, &address)
    });
    let example = example.unwrap_or_default();
    let text = match most {
        1 => format!("{of}, for different reasons."),
        most if most == down.len() => format!("{of}, for the same reason: {example}"),
        most => format!("{of}, {} for the same reason: {example}", count(most as u64)),
    };
    findings.push(finding(severity, "./?health=down#targets", sentence(text)));
}

fn files(overview: &Overview, findings: &mut Vec<Finding>) {
    let mut broken = overview.files.iter().filter_map(|file| match &file.state {
        FileState::Broken { problem, consequence } => Some(format!("{problem}; {consequence}")),
        _ => None,
    });
    let is_of_file = |source: &str| overview.files.iter().any(|file| file.path.to_str() == Some(source));
    let others: Vec<_> = overview.targets.problems.iter().filter(|problem| !is_of_file(&problem.source)).collect();
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
        target
            .certificate_not_after
            .filter(|end| target.health != Health::Down && days_left(*end, overview.now_ms) < DAYS_LEFT_MIN)
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
