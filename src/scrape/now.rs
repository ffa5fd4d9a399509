//! One scrape of one source, now, because somebody asks for it: behind `?id=` of metrics-agent's exporter.
//!
//! Promises
//! - Only targets of the current set that a job announced are scraped, by their `source_id`; of two with the same one the last.
//! - Whoever asks while a scrape of that source is under way gets its outcome: a source is scraped once at a time.
//! - At most [`CONCURRENT_SCRAPES_MAX`] scrapes at a time. One that finds no room within its target's timeout fails; a slow target
//!   takes one place, and delays nobody else.
//! - Samples are as the target has them: no label is added, no rule is applied. A line that cannot be read costs itself.
//!
//! Between scrapes a target keeps its connection and nothing else. A scrape whose askers went away goes on to its end, which
//! its timeout bounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::manager::{Admit, Scrapes};
use super::run::{Fault, Scraped, scrape_as_is};
use super::status::{Edges, Watched};
use crate::exposition::Counts;
use crate::model::{Scrape, wall_ms};
use crate::net::credentials::Credentials;
use crate::net::text::prometheus_duration;
use crate::target::Target;

/// Scrapes on request at a time, over all sources.
pub const CONCURRENT_SCRAPES_MAX: usize = 32;

/// The targets among which are those that may be asked for.
pub type Targets = Arc<[Arc<Target>]>;

/// What a scrape came to: its samples, or one sentence.
type Outcome = Result<Arc<Scrape>, Arc<str>>;

/// Scrapes on request.
pub struct ScrapeNow {
    credentials: Arc<Credentials>,
    admit: Admit,
    slots: Arc<Semaphore>,
    known: Mutex<Known>,
}

/// The sources of the target set that was looked at last.
struct Known {
    targets: watch::Receiver<Targets>,
    /// Where scrapes are counted.
    scrapes: Arc<Scrapes>,
    sources: HashMap<Box<str>, Arc<Source>>,
}

struct Source {
    watched: Arc<Watched>,
    /// The same for as long as the source is known, whatever its target becomes.
    failures: Arc<AtomicU64>,
    kept: Mutex<Kept>,
}

/// What a source has between its scrapes.
struct Kept {
    /// Taken by the scrape that is under way.
    client: Option<Client>,
    edges: Edges,
    /// Where the outcome of the scrape that is under way will be; closed without one where that panicked.
    under_way: Option<watch::Receiver<Option<Outcome>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is replaced, never half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScrapeNow {
    /// Scrapes these targets, as they come and go. A scrape that `admit` refuses fails: memory is short. What comes of them is
    /// counted in `scrapes`.
    pub fn new(
        mut targets: watch::Receiver<Targets>,
        credentials: Arc<Credentials>,
        admit: Admit,
        scrapes: Arc<Scrapes>,
    ) -> Arc<Self> {
        targets.mark_changed();
        Arc::new(Self {
            credentials,
            admit,
            slots: Arc::new(Semaphore::new(CONCURRENT_SCRAPES_MAX)),
            known: Mutex::new(Known { targets, scrapes, sources: HashMap::new() }),
        })
    }

    /// Scrapes a source, or joins the scrape of it that is under way. `None` where no target has this `source_id`.
    ///
    /// # Errors
    /// Why the scrape failed: one sentence.
    pub async fn scrape(&self, source_id: &str) -> Option<Outcome> {
        let source = lock(&self.known).find(source_id)?;
        let mut outcome = self.join(&source);
        let seen = outcome.wait_for(Option::is_some).await;
        let seen = seen.ok().and_then(|seen| seen.clone());
        Some(seen.unwrap_or_else(|| Err("scraping it failed by a bug of promferry's".into())))
    }

    /// Scrapes that failed, by source, in the order of their names; 0 for one that was never asked for.
    pub fn failures(&self) -> Vec<(Box<str>, u64)> {
        let mut known = lock(&self.known);
        known.catch_up();
        let failures = known.sources.iter().map(|(id, source)| (id.clone(), source.failures.load(Ordering::Relaxed)));
        let mut failures: Vec<_> = failures.collect();
        failures.sort();
        failures
    }

    /// Where the outcome of the scrape under way will be, which is begun where there is none.
    fn join(&self, source: &Arc<Source>) -> watch::Receiver<Option<Outcome>> {
        let mut kept = lock(&source.kept);
        let alive = kept.under_way.as_ref().filter(|under_way| under_way.has_changed().is_ok());
        if let Some(under_way) = alive {
            return under_way.clone();
        }
        let (tell, outcome) = watch::channel(None);
        kept.under_way = Some(outcome.clone());
        let client =
            kept.client.take().unwrap_or_else(|| Client::new(source.watched.target.clone(), &self.credentials));
        drop(kept);
        let (source, slots, admit) = (source.clone(), self.slots.clone(), self.admit.clone());
        tokio::spawn(async move {
            let (at_ms, began) = (wall_ms(), Instant::now());
            let (scraped, client) = source.scrape(client, at_ms, &slots, &admit).await;
            source.note(at_ms, began.elapsed(), &scraped);
            source.settle(scraped, client, &tell);
        });
        outcome
    }
}

impl Known {
    fn find(&mut self, source_id: &str) -> Option<Arc<Source>> {
        self.catch_up();
        self.sources.get(source_id).cloned()
    }

    /// Takes over the target set that is in force now. A target that is the same keeps what it has.
    fn catch_up(&mut self) {
        if !self.targets.has_changed().unwrap_or(false) {
            return;
        }
        let targets = self.targets.borrow_and_update().clone();
        let before = std::mem::take(&mut self.sources);
        for target in targets.iter() {
            let Some(id) = target.announced_source() else { continue };
            let known = before.get(id).or_else(|| self.sources.get(id));
            let source = match known {
                Some(source) if source.watched.target == *target => source.clone(),
                other => Arc::new(Source::new(self.scrapes.watch(target), other.map(|source| source.failures.clone()))),
            };
            self.sources.insert(id.into(), source);
        }
    }
}

impl Source {
    fn new(watched: Arc<Watched>, failures: Option<Arc<AtomicU64>>) -> Self {
        let kept = Kept { client: None, edges: Edges::default(), under_way: None };
        Self { watched, failures: failures.unwrap_or_default(), kept: Mutex::new(kept) }
    }

    async fn scrape(&self, mut client: Client, at_ms: i64, slots: &Semaphore, admit: &Admit) -> (Scraped, Client) {
        let target = &self.watched.target;
        let fault = |kind, error: String| Err(Fault { kind, error, advice: None });
        if !admit() {
            return (fault("memory", "memory is short, and targets are not scraped until it is not".into()), client);
        }
        let limit = target.timeout;
        let Ok(Ok(_slot)) = timeout(limit, slots.acquire()).await else {
            let limit = prometheus_duration(limit);
            let error = format!("{CONCURRENT_SCRAPES_MAX} scrapes are under way, and none ended within {limit}");
            return (fault("busy", error), client);
        };
        let scraped = scrape_as_is(target, &mut client, at_ms).await;
        (scraped, client)
    }

    fn note(&self, at_ms: i64, duration: Duration, scraped: &Scraped) {
        let outcome = match scraped {
            Ok((_, counts)) => Ok(counts.clone()),
            Err(fault) => Err((fault.clone(), Counts::default())),
        };
        self.watched.note(at_ms, duration, outcome);
    }

    /// Keeps what the next scrape needs, and tells those who wait for it.
    fn settle(&self, scraped: Scraped, client: Client, tell: &watch::Sender<Option<Outcome>>) {
        let (mut kept, target) = (lock(&self.kept), &self.watched.target);
        let outcome = match scraped {
            Ok((scrape, counts)) => {
                kept.edges.succeeded(target, &counts);
                Ok(scrape)
            }
            Err(Fault { kind, error, .. }) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                kept.edges.failed(target, kind, &error);
                Err(error.into())
            }
        };
        (kept.client, kept.under_way) = (Some(client), None);
        drop(kept);
        tell.send_replace(Some(outcome));
    }
}
