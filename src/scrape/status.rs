//! How a target is doing, for pages and metrics, and when that is worth a line in the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::history::{History, Mark};
use super::run::Fault;
use crate::exposition::Counts;
use crate::net::certificate::Validity;
use crate::target::Target;
use crate::telemetry::Edge;

/// Whether the last scrape succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It did.
    Up,
    /// It did not.
    Down,
}

/// How a target is doing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether the last scrape succeeded.
    pub health: Health,
    /// Why it did not.
    pub fault: Option<Fault>,
    /// When the last scrape was planned, milliseconds since 1970.
    pub last_scrape_ms: Option<i64>,
    /// How long it took.
    pub last_duration: Duration,
    /// What the last body was made of.
    pub last: Counts,
    /// Scrapes that failed since the target is known.
    pub failures: u64,
    /// When the certificate that the target last showed is valid.
    pub certificate: Option<Validity>,
}

/// Counters over all targets since the start, those that are gone among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Scrapes ended.
    pub scrapes: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Samples scraped, before relabelling.
    pub samples: u64,
    /// Lines skipped because they could not be read.
    pub bad_lines: u64,
    /// Samples left out because their series had one of that time already in the same body.
    pub duplicates: u64,
    /// Bytes of bodies, after inflating.
    pub body_bytes: u64,
    /// Scrapes left out because memory was short; none of those above.
    pub paused: u64,
}

/// A target that is being scraped, and its status.
#[derive(Debug)]
pub struct Watched {
    /// The target.
    pub target: Arc<Target>,
    status: Mutex<Status>,
    history: Mutex<History>,
    totals: Arc<Mutex<Totals>>,
}

impl Watched {
    pub(super) fn new(target: Arc<Target>, status: Status, totals: Arc<Mutex<Totals>>) -> Arc<Self> {
        Arc::new(Self { target, status: Mutex::new(status), history: Mutex::default(), totals })
    }

    /// The same target with another configuration: what is known of it goes on.
    pub(super) fn retarget(&self, target: Arc<Target>) -> Arc<Self> {
        let history = Mutex::new(self.history.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Arc::new(Self { target, status: Mutex::new(self.status()), history, totals: self.totals.clone() })
    }

    /// Its last scrapes, oldest first; at most [`HISTORY_MAX`](super::HISTORY_MAX).
    pub fn history(&self) -> Vec<Mark> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Its status now.
    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a scrape that was left out because memory is short.
    pub(super) fn note_paused(&self) {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).paused += 1;
    }

    /// Notes when the target's certificate is valid.
    pub(super) fn note_certificate(&self, validity: Option<Validity>) {
        self.lock().certificate = validity;
    }

    /// Notes the end of a scrape.
    pub(super) fn note(&self, at_ms: i64, duration: Duration, outcome: Result<Counts, (Fault, Counts)>) {
        let mut status = self.lock();
        status.last_scrape_ms = Some(at_ms);
        status.last_duration = duration;
        let is_failure = outcome.is_err();
        status.failures += u64::from(is_failure);
        let counts = match outcome {
            Ok(counts) => {
                (status.health, status.fault) = (Health::Up, None);
                counts
            }
            Err((fault, counts)) => {
                (status.health, status.fault) = (Health::Down, Some(fault));
                counts
            }
        };
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.scrapes += 1;
        totals.failures += u64::from(is_failure);
        totals.samples += counts.samples_scraped;
        totals.bad_lines += counts.bad_lines;
        totals.duplicates += counts.duplicates;
        totals.body_bytes += counts.body_bytes;
        let millis = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let samples = (!is_failure).then(|| u32::try_from(counts.samples_post_relabelling).unwrap_or(u32::MAX));
        self.history.lock().unwrap_or_else(PoisonError::into_inner).add(Mark { millis, samples });
        status.last = counts;
    }
}

/// What was said about a target in the log: each edge once.
#[derive(Debug, Default)]
pub(super) struct Edges {
    failing: Edge,
    has_bad_lines: bool,
    has_duplicates: bool,
}

impl Edges {
    /// A scrape failed. Says so when the cause is new since the target was last up.
    pub(super) fn failed(&mut self, target: &Target, kind: &'static str, error: &str) {
        if self.failing.is_news(kind) {
            let (job, url) = (target.job(), &target.origin.url);
            let file = target.file.as_ref().map(|file| file.display().to_string());
            tracing::warn!(job, url, file, error, "target is down");
        }
    }

    /// A scrape succeeded. Says so when the one before did not, and names lines that were left out.
    pub(super) fn succeeded(&mut self, target: &Target, counts: &Counts) {
        let (job, url) = (target.job(), &target.origin.url);
        if let Some(ended) = self.failing.fine() {
            tracing::info!(job, url, failures = ended.times, "target is up again");
        }
        let has_bad_lines = counts.bad_lines > 0;
        if has_bad_lines && !self.has_bad_lines {
            let first = counts.first_bad_lines.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(job, url, lines = counts.bad_lines, first, "lines cannot be read and are skipped");
        }
        let has_duplicates = counts.duplicates > 0;
        if has_duplicates && !self.has_duplicates {
            let samples = counts.duplicates;
            tracing::warn!(job, url, samples, "series come twice in one scrape; the first sample of each is taken");
        }
        (self.has_bad_lines, self.has_duplicates) = (has_bad_lines, has_duplicates);
    }
}
