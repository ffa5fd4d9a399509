//! The aggregate endpoint: the latest scrape of each target, served as one exposition.
//!
//! It has no queue: a scrape is delivered when it enters the table, and stays until the target's next one takes its place. A
//! failed scrape does so too (it holds `up 0`), and a target's last scrape takes the target out. A sample that clients do not
//! see, because another one has its name and labels, was delivered all the same; [`Served`] counts it.
//!
//! Promises
//! - One valid exposition: each family once, HELP and TYPE once, no series twice; `# EOF` in OpenMetrics.
//! - Taking a scrape in never waits for a client; a client sees each target's scrape whole, never half of two.
//! - The text is never in memory as a whole. Memory for one exposition is eight bytes a sample and a piece of text, and
//!   [`EXPOSITIONS_MAX`] are served at a time.
//!
//! Exemplars are served in OpenMetrics, where it has a place for them: at the total of a counter and at buckets, up to its limit
//! on their length. The others are left out, and so are all of them in text format 0.0.4, which has none.
//!
//! Left out on purpose: native histograms, which neither text format can say (skipped as `unsupported_type`); and judging
//! values: a counter that is negative is served as the target has it.

mod accept;
mod body;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, watch};

use crate::config::checked;
use crate::exposition::merge::{Index, Outcome, Pieces, Plan, Style, Timestamps};
use crate::exposition::write::Format;
use crate::model::{Scrape, Value};
use crate::net::server::{Response, text};
use crate::pipeline::{Intake, Ledger, Reasons, SenderStatus, Settlement, reason};
use crate::telemetry::Recurrence;
use accept::Accepted;
use body::{Exposition, Unsaid};

/// Expositions that are served at a time; who comes when all are taken is told to come again.
pub const EXPOSITIONS_MAX: usize = 8;

/// What has been served. Those of the last exposition may fall, the rest only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Targets in the table now.
    pub targets: u64,
    /// Expositions that were sent to their end.
    pub expositions: u64,
    /// Requests refused because [`EXPOSITIONS_MAX`] were under way.
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

/// The aggregate endpoint.
pub struct Expose {
    path: String,
    timestamps: Timestamps,
    is_ready: watch::Receiver<bool>,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// What responses under way share with the endpoint.
struct Shared {
    name: String,
    ledger: Arc<Ledger>,
    status: Arc<Mutex<SenderStatus>>,
    /// By the origin's key: the order in which the first of two targets wins, the same in every run.
    table: Mutex<BTreeMap<u64, Entry>>,
    served: Mutex<Served>,
    edges: Mutex<Edges>,
}

struct Entry {
    scrape: Arc<Scrape>,
    text: Option<Arc<Index>>,
    openmetrics: Option<Arc<Index>>,
}

impl Entry {
    fn index(&mut self, format: Format) -> &mut Option<Arc<Index>> {
        match format {
            Format::Text => &mut self.text,
            Format::OpenMetrics => &mut self.openmetrics,
        }
    }
}

/// What the log was told of. Clients ask for different formats, and a flaw may be in one only: it has no clear end.
#[derive(Default)]
struct Edges {
    duplicates: Recurrence,
    type_clashes: Recurrence,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is replaced or added to, never half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Expose {
    /// An endpoint with nothing to serve yet. `is_ready` is what `/-/ready` tells.
    pub fn new(
        name: &str,
        config: &checked::Expose,
        ledger: Arc<Ledger>,
        status: Arc<Mutex<SenderStatus>>,
        is_ready: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            path: config.path.clone(),
            timestamps: if config.timestamps { Timestamps::All } else { Timestamps::None },
            is_ready,
            slots: Arc::new(Semaphore::new(EXPOSITIONS_MAX)),
            shared: Arc::new(Shared {
                name: name.to_owned(),
                ledger,
                status,
                table: Mutex::default(),
                served: Mutex::default(),
                edges: Mutex::default(),
            }),
        })
    }

    /// Counters, now.
    pub fn served(&self) -> Served {
        let targets = lock(&self.shared.table).len() as u64;
        Served { targets, ..*lock(&self.shared.served) }
    }

    /// Answers one request. Nothing of the request's body is read.
    pub async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response {
        let is_head = method == Method::HEAD;
        if !is_head && method != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        } else if path == self.path {
            self.expose(is_head, Accepted::of(headers)).await
        } else if path == "/-/healthy" {
            text(StatusCode::OK, "promferry is healthy\n")
        } else if path == "/-/ready" && *self.is_ready.borrow() {
            text(StatusCode::OK, "promferry is ready\n")
        } else if path == "/-/ready" {
            text(StatusCode::SERVICE_UNAVAILABLE, "the first round of scrapes is not done yet\n")
        } else {
            text(StatusCode::NOT_FOUND, format!("nothing is here; metrics are at {}\n", self.path))
        }
    }

    async fn expose(&self, is_head: bool, accepted: Accepted) -> Response {
        lock(&self.shared.status).requests += u64::from(!is_head);
        let mut response = Response::new(Unsaid.boxed());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(accepted.content_type()));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if accepted.is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if is_head {
            return response;
        }
        let Ok(permit) = self.slots.clone().try_acquire_owned() else {
            lock(&self.shared.served).refused += 1;
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{EXPOSITIONS_MAX} expositions are being read now; come again when one is done\n"),
            );
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        };
        let shared = self.shared.clone();
        // Ordering the series of many targets for the first time takes longer than a task may keep its thread.
        let Ok(plan) = tokio::task::spawn_blocking(move || shared.plan(accepted.format)).await else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the exposition could not be made: a bug\n");
        };
        let style = Style { timestamps: self.timestamps, quoted_names: accepted.quoted_names };
        let body = Exposition::new(Pieces::new(plan, style, accepted.is_gzip), self.shared.clone(), permit);
        response.map(|_| body.boxed())
    }
}

impl Intake for Expose {
    fn offer(&self, scrape: &Arc<Scrape>) {
        let mut waiting = self.shared.ledger.offer(scrape.samples() as u64);
        let (mut stale, mut histograms) = (0, 0);
        for point in scrape.points.iter() {
            stale += u64::from(point.value.is_stale());
            histograms += u64::from(matches!(point.value, Value::Histogram(_)) && !point.value.is_stale());
        }
        let delivered = waiting.samples() - stale - histograms;
        let replaced = {
            let mut table = lock(&self.shared.table);
            let key = scrape.origin.key;
            if scrape.is_last {
                table.remove(&key).map(|entry| entry.scrape)
            } else if let Some(entry) = table.get_mut(&key) {
                Some(std::mem::replace(&mut entry.scrape, scrape.clone()))
            } else {
                table.insert(key, Entry { scrape: scrape.clone(), text: None, openmetrics: None });
                None
            }
        };
        // Freed outside the lock.
        drop(replaced);
        let skipped = [(reason::STALE_MARKER, stale), (reason::UNSUPPORTED_TYPE, histograms)];
        let skipped: Reasons = skipped.into_iter().filter(|(_, samples)| *samples > 0).collect();
        waiting.settle(&Settlement { delivered, skipped, ..Settlement::default() });
        if delivered > 0 {
            lock(&self.shared.status).delivered_ms = Some(scrape.at_ms);
        }
    }
}

impl Shared {
    /// What an exposition of this moment will hold.
    fn plan(&self, format: Format) -> Plan {
        let latest: Vec<_> =
            lock(&self.table).values_mut().map(|entry| (entry.scrape.clone(), entry.index(format).clone())).collect();
        let mut made = Vec::new();
        let scrapes = latest.into_iter().map(|(scrape, held)| {
            let index = held.filter(|held| held.is_of(&scrape.series)).unwrap_or_else(|| {
                let index = Arc::new(Index::new(format, &scrape.series));
                made.push((scrape.origin.key, index.clone()));
                index
            });
            (scrape, index)
        });
        let scrapes = scrapes.collect();
        self.keep(format, made);
        Plan::new(format, scrapes)
    }

    /// Keeps indices for the next exposition, where their target is still about the same series.
    fn keep(&self, format: Format, made: Vec<(u64, Arc<Index>)>) {
        let mut table = lock(&self.table);
        for (key, index) in made {
            if let Some(entry) = table.get_mut(&key).filter(|entry| index.is_of(&entry.scrape.series)) {
                *entry.index(format) = Some(index);
            }
        }
    }

    fn count_bytes(&self, bytes: u64) {
        lock(&self.status).bytes += bytes;
    }

    /// An exposition came to its end.
    fn count_outcome(&self, plan: &Plan, outcome: &Outcome) {
        let mut served = lock(&self.served);
        served.expositions += 1;
        served.samples += outcome.samples;
        served.duplicates += outcome.duplicates;
        served.duplicates_last = outcome.duplicates;
        served.type_clashes_last = plan.type_clashes.count;
        served.quoted_names_last = outcome.quoted;
        drop(served);
        self.log_edges(plan, outcome);
    }

    fn log_edges(&self, plan: &Plan, outcome: &Outcome) {
        let mut edges = lock(&self.edges);
        if outcome.duplicates > 0 && edges.duplicates.is_news() {
            tracing::warn!(
                output = self.name,
                samples = outcome.duplicates,
                example = outcome.duplicate.as_deref().unwrap_or("within one target, after write_relabel_configs"),
                "the same series comes more than once; the aggregate endpoint serves the first"
            );
        }
        if plan.type_clashes.count > 0 && edges.type_clashes.is_news() {
            tracing::warn!(
                output = self.name,
                families = plan.type_clashes.count,
                example = plan.type_clashes.example.as_deref().unwrap_or_default(),
                "targets disagree about a metric's type; the aggregate endpoint serves it as untyped"
            );
        }
    }
}
