//! A drop-in for metrics-agent: the exporter, its own metrics, the way in for envelopes, and the targets file.
//!
//! docs/metrics-agent.md is the manual: what is the same as in the original, and what is better on purpose.

mod entries;
mod environment;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::entry::Entry;
use super::exporter::{Exporter, Failures, OwnMetrics, Promferry, Proxy};
use super::loggregator::{Collected, Ingress, Settings, View};
use crate::config::checked::MetricsAgent;
use crate::net::credentials::Credentials;
use crate::net::server::{Handler, Limits, Server};
use crate::target::Target;
pub use entries::entries;
pub use environment::from_environment;

/// Connections to the exporter at a time: a few scrapers, of which each may have one for every source.
const CONNECTIONS_MAX: usize = 512;

/// Requests at a time on one HTTP/2 connection: who takes no answers holds no more than half of all that may be under way.
const HTTP2_STREAMS_MAX: u32 = 32;

/// The targets among which are those that the exporter answers for: see [`Target::announced_source`].
pub type Targets = Arc<[Arc<Target>]>;

/// What an agent works with.
pub struct Parts {
    /// The exporter's port, open already.
    pub listener: TcpListener,
    /// The targets, as they come and go.
    pub targets: watch::Receiver<Targets>,
    /// Scrapes one of them.
    pub proxy: Proxy,
    /// Scrapes that failed.
    pub failures: Failures,
    /// promferry's own metrics.
    pub promferry: Promferry,
}

/// The agent at work.
pub struct Agent {
    exporter: Server,
    own: Server,
    ingress: Option<Ingress>,
    collected: Option<Arc<Collected>>,
    entries: watch::Receiver<Arc<Vec<Entry>>>,
    /// Aborted with it.
    _tasks: JoinSet<()>,
}

impl Agent {
    /// Starts everything.
    ///
    /// # Errors
    /// When a port cannot be had; one sentence that names the address.
    pub async fn start(config: &MetricsAgent, credentials: &Credentials, parts: Parts) -> Result<Self, String> {
        let Parts { listener, targets, proxy, failures, promferry } = parts;
        let tls = credentials.listener(&config.tls);
        let collected = config.ingress.as_ref().map(|ingress| Collected::new(settings(config, &ingress.timer_tags)));
        let own_listener = Server::bind(config.metrics_listen).await?;
        let ingress = match (&config.ingress, &collected) {
            (Some(ingress), Some(collected)) => {
                let tls = credentials.listener(&ingress.tls);
                Some(Ingress::start(ingress.listen, tls, collected.clone()).await?)
            }
            _ => None,
        };
        let own = OwnMetrics { collected: collected.clone(), failures, promferry };
        let answer: Handler = Arc::new(move |request| {
            let own = own.clone();
            Box::pin(async move { own.answer(&request) })
        });
        let failed = |address: SocketAddr| move |error| format!("cannot listen on {address}: {error}");
        let own = Server::start(own_listener, Some(tls.clone()), Limits::default(), answer);
        let own = own.map_err(failed(config.metrics_listen))?;

        let view = collected.clone().map(View::bare);
        let exporter = Exporter::new(Arc::new(move |at_ms| Some(view.as_ref()?.scrape(at_ms))), proxy);
        let answer: Handler = Arc::new(move |request| Box::pin(exporter.clone().answer(request)));
        let limits =
            Limits { connections_max: CONNECTIONS_MAX, http2_streams_max: HTTP2_STREAMS_MAX, ..Limits::default() };
        let exporter = Server::start(listener, Some(tls), limits, answer).map_err(failed(config.listen))?;

        let port = exporter.listens_on().port();
        let first = Arc::new(entries(config, port, &targets.borrow()));
        let (publish, entries) = watch::channel(first);
        let mut tasks = JoinSet::new();
        tasks.spawn(entries::follow(config.clone(), port, targets.clone(), publish));
        if let Some(collected) = collected.clone() {
            tasks.spawn(ignore_scraped(collected, targets));
        }
        Ok(Self { exporter, own, ingress, collected, entries, _tasks: tasks })
    }

    /// Where the exporter is.
    pub fn exporter(&self) -> SocketAddr {
        self.exporter.listens_on()
    }

    /// Where its own metrics are.
    pub fn own_metrics(&self) -> SocketAddr {
        self.own.listens_on()
    }

    /// Where envelopes come in.
    pub fn ingress(&self) -> Option<SocketAddr> {
        self.ingress.as_ref().map(Ingress::listens_on)
    }

    /// The metrics that came as envelopes.
    pub fn collected(&self) -> Option<&Arc<Collected>> {
        self.collected.as_ref()
    }

    /// The entries that tell others what it answers for, as they change.
    pub fn entries(&self) -> watch::Receiver<Arc<Vec<Entry>>> {
        self.entries.clone()
    }

    /// Takes no more connections, lets answers that were begun end within `grace`, and closes the rest. The targets file stays.
    pub async fn stop(self, grace: Duration) {
        let ingress = async {
            if let Some(ingress) = self.ingress {
                ingress.stop(grace).await;
            }
        };
        tokio::join!(self.exporter.stop(grace), self.own.stop(grace), ingress);
    }
}

fn settings(config: &MetricsAgent, timer_tags: &[String]) -> Settings {
    Settings {
        tags: config.tags.clone().into_iter().collect(),
        timer_tags: timer_tags.to_vec(),
        ttl: config.ttl,
        expiration_interval: config.expiration_interval,
        ..Settings::default()
    }
}

/// Envelopes of a source that is scraped are left out.
async fn ignore_scraped(collected: Arc<Collected>, mut targets: watch::Receiver<Targets>) {
    loop {
        let sources: HashSet<String> = {
            let targets = targets.borrow_and_update();
            targets.iter().filter_map(|target| target.announced_source()).map(str::to_owned).collect()
        };
        collected.ignore_sources(sources);
        if targets.changed().await.is_err() {
            return;
        }
    }
}
