//! What the admin port shows, as the program hands it over.
//!
//! Snapshots are taken when somebody asks. They hold no secrets: URLs come without credentials and queries that carry them,
//! headers do not come at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::Used;
use crate::model::Labels;
use crate::net::certificate::Validity;
use crate::pipeline::disk::DiskState;
use crate::pipeline::{Counts, QueueLimits, SenderStatus};

/// Where the admin port asks; `app` implements it. Each call is one consistent look, and must not wait.
pub trait Snapshots: Send + Sync + 'static {
    /// All targets now.
    fn targets(&self) -> Targets;

    /// The last scrapes of the targets with these [`id`](TargetSnapshot::id)s, oldest first, in the order of `ids`; none for a target
    /// that is gone. At most 60 each.
    fn histories(&self, ids: &[u64]) -> Vec<Vec<ScrapeMark>>;

    /// Files that announce targets, in the order in which they were found.
    fn files(&self) -> Vec<FileSnapshot>;

    /// The configuration in force as YAML, secrets left out.
    fn configuration(&self) -> Arc<str>;

    /// When the process started, milliseconds since 1970.
    fn started_ms(&self) -> i64;

    /// All outputs now, in the order of the configuration.
    fn outputs(&self) -> Vec<OutputSnapshot>;

    /// Counters over all scrapes since the start.
    fn scrapes(&self) -> ScrapeCounts;

    /// Certificates of ours, ordered.
    fn certificates(&self) -> Vec<CertificateSnapshot>;

    /// What the process uses of memory.
    fn memory(&self) -> MemorySnapshot;

    /// The registrar; `None` where there is none.
    fn registrar(&self) -> Option<RegistrarSnapshot>;

    /// Whether the first round of scrapes is done.
    fn readiness(&self) -> Readiness;

    /// What of the configuration on disk could not be put in force at the last reload, and goes on so.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// How many targets there are that are only scraped when somebody asks for them; `None` where targets are scraped at their
    /// intervals, and are among [`targets`](Self::targets).
    fn on_request(&self) -> Option<usize> {
        None
    }

    /// Whether the metrics have prom_scraper's own names too.
    fn stands_in_for_prom_scraper(&self) -> bool {
        false
    }
}

/// Something that a reload could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whether something is not done now that the configuration in force asks for.
    pub is_loss: bool,
    /// What it is, as a sentence.
    pub text: String,
}

/// What the registrar announces over NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarSnapshot {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Entries of the last round.
    pub entries: usize,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that could not be sent.
    pub failed: u64,
}

/// Whether the program is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Every target that was found at the start has been scraped, well or not.
    Ready,
    /// Not yet; a sentence says what is awaited.
    Waiting(String),
}

/// Targets and what discovery could not use.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// What is scraped.
    pub active: Vec<TargetSnapshot>,
    /// What relabelling or a limit dropped. The list may be cut; the counts are not.
    pub dropped: Vec<DroppedTarget>,
    /// How many were dropped, by job.
    pub dropped_counts: BTreeMap<String, usize>,
    /// Files and answers that cannot be read now; what they last said goes on.
    pub problems: Vec<DiscoveryProblem>,
}

/// One target that is scraped.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// Tells it from all others, also after a restart: for links.
    pub id: u64,
    /// The `job_name` of its scrape configuration (Prometheus' "scrape pool").
    pub job: String,
    /// Before relabelling.
    pub discovered: Labels<'static>,
    /// After it.
    pub labels: Labels<'static>,
    /// What is asked for, without credentials.
    pub url: String,
    /// How its last scrape went.
    pub health: Health,
    /// Why the last scrape failed, as a sentence; empty where it did not.
    pub error: String,
    /// What helps against that, as a sentence; `None` where the error says it, or nothing general helps.
    pub advice: Option<&'static str>,
    /// When the last scrape began, milliseconds since 1970; `None` before the first.
    pub scraped_ms: Option<i64>,
    /// How long it took.
    pub duration: Duration,
    /// Samples after relabelling in it.
    pub samples: u64,
    /// Time between scrapes.
    pub interval: Duration,
    /// Time that one may take.
    pub timeout: Duration,
    /// The file that announced it.
    pub file: Option<PathBuf>,
    /// Scrapes of it that failed.
    pub failures: u64,
    /// When the certificate that it showed is valid; `None` where TLS is not spoken.
    pub certificate: Option<Validity>,
}

/// One scrape that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeMark {
    /// How long it took, in milliseconds.
    pub millis: u32,
    /// Samples after relabelling; `None` where it failed.
    pub samples: Option<u32>,
}

/// A file that announces targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSnapshot {
    /// Its path.
    pub path: PathBuf,
    /// What it is good for.
    pub state: FileState,
}

/// What a file that announces targets is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It announces so many targets.
    Good(usize),
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

/// A certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSnapshot {
    /// `client` or `listener`.
    pub shown_as: &'static str,
    /// Its file, escaped for people.
    pub file: String,
    /// When the one in use is valid; `None` while there is none.
    pub validity: Option<Validity>,
    /// Why the newest files are not in use, as a sentence.
    pub problem: Option<String>,
}

/// How a target's last scrape went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// It failed.
    Down,
    /// There was none yet.
    Unknown,
    /// It went well.
    Up,
}

impl Health {
    /// Prometheus' word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        }
    }
}

/// A target that is not scraped.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    /// The `job_name` of its scrape configuration.
    pub job: String,
    /// Before relabelling.
    pub discovered: Labels<'static>,
    /// Why it was dropped, as a sentence.
    pub reason: String,
}

/// Something that discovery cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryProblem {
    /// The file or URL, with line and column where they are known.
    pub source: String,
    /// What is wrong and what happens now.
    pub message: String,
}

/// Counters over all scrapes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeCounts {
    /// Scrapes begun.
    pub scrapes: u64,
    /// Scrapes that failed.
    pub failures: u64,
    /// Samples scraped, before relabelling.
    pub samples: u64,
    /// Bytes of bodies, after inflating.
    pub body_bytes: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// Samples left out because the scrape had that series and time already.
    pub duplicates: u64,
    /// Scrapes left out because memory was short.
    pub paused: u64,
}

/// What the process uses of memory, estimated, and what it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySnapshot {
    /// By account.
    pub used: Used,
    /// Bytes; `None` for no limit.
    pub limit: Option<u64>,
}

/// One output.
#[derive(Clone, Debug)]
pub struct OutputSnapshot {
    /// Its name.
    pub name: String,
    /// Its kind, as the configuration has it: `elasticsearch`, `expose`, `file`, …
    pub kind: &'static str,
    /// Where it delivers to, without credentials; an address it listens on, or a path.
    pub urls: Vec<String>,
    /// Its account of every sample.
    pub counts: Counts,
    /// What became of samples lately, in steps of [`RECENT_STEP`], oldest first; the last one is not over. At most 60.
    pub recent: Vec<RecentMark>,
    /// How long its oldest sample has waited, as [`Ledger::waited`](crate::pipeline::Ledger::waited) tells it; `None` where none
    /// waits.
    pub waited: Option<Duration>,
    /// Its queue; `None` for an output that has none (`expose`).
    pub queue: Option<QueueSnapshot>,
    /// Its disk queue; `None` for an output without.
    pub disk: Option<DiskState>,
    /// How delivery goes.
    pub status: SenderStatus,
    /// Counters of the aggregate endpoint; `None` for other outputs.
    pub served: Option<ServedSnapshot>,
}

/// How long one [`RecentMark`] is.
pub const RECENT_STEP: Duration = crate::pipeline::recent::STEP;

/// What became of an output's samples within [`RECENT_STEP`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentMark {
    /// The receiver took them, or had them.
    pub delivered: u64,
    /// Rejected or dropped.
    pub lost: u64,
}

/// A queue and its limits.
#[derive(Clone, Copy, Debug)]
pub struct QueueSnapshot {
    /// Samples in it.
    pub samples: u64,
    /// Bytes in it.
    pub bytes: usize,
    /// What it may hold.
    pub limits: QueueLimits,
}

/// What the aggregate endpoint has served. Those of the last exposition may fall, the rest only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServedSnapshot {
    /// Targets in its table now.
    pub targets: u64,
    /// Expositions that were sent to their end.
    pub expositions: u64,
    /// Requests refused because too many were under way.
    pub refused: u64,
    /// Samples served, over all expositions.
    pub samples: u64,
    /// Samples left out because another has the same name and labels, over all expositions.
    pub duplicates: u64,
    /// The same, in the last exposition.
    pub duplicates_last: u64,
    /// Families served as untyped because targets disagree about their type, in the last exposition.
    pub type_clashes_last: u64,
    /// Samples left out because their names need quotes, which the client did not say it reads; in the last exposition.
    pub quoted_names_last: u64,
}
