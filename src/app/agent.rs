//! The drop-in for metrics-agent, wired to discovery, to scrapes on request, and to the outputs.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, Snapshots};
use crate::cloud_foundry::exporter::Proxied;
use crate::cloud_foundry::loggregator::View;
use crate::cloud_foundry::metrics_agent::{Agent, Parts};
use crate::config::checked::MetricsAgent;
use crate::model::{Labels, Origin, PointsBuilder, STALE_NAN, Scrape, wall_ms};
use crate::net::authority;
use crate::net::credentials::Credentials;
use crate::net::host::machine_name;
use crate::scrape::{Admit, Emit, Schedule, ScrapeNow, Scrapes, Targets};

/// The job that metrics of envelopes are delivered under.
const JOB: &str = "metrics_agent";

/// What an agent is wired to.
pub(super) struct Wiring {
    pub(super) targets: watch::Receiver<Targets>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) admit: Admit,
    pub(super) scrapes: Arc<Scrapes>,
    pub(super) emit: Emit,
    /// Whether there are outputs.
    pub(super) has_outputs: watch::Receiver<bool>,
    pub(super) snapshots: Arc<dyn Snapshots>,
    pub(super) external_labels: Labels<'static>,
}

/// An agent at work, and the delivery of its envelopes' metrics.
pub(super) struct Running {
    agent: Agent,
    /// Told when the metrics end, and the task that tells so downstream.
    delivery: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Running {
    /// Starts an agent on a port that is open already.
    pub(super) async fn start(config: &MetricsAgent, listener: TcpListener, wiring: Wiring) -> Result<Self, String> {
        let Wiring { targets, credentials, admit, scrapes, emit, has_outputs, snapshots, external_labels } = wiring;
        let now = ScrapeNow::new(targets.clone(), credentials.clone(), admit, scrapes);
        let asked = now.clone();
        let parts = Parts {
            listener,
            targets,
            proxy: Arc::new(move |id| {
                let now = asked.clone();
                Box::pin(async move {
                    match now.scrape(&id).await {
                        None => Proxied::Unknown,
                        Some(Ok(scrape)) => Proxied::Scraped(scrape),
                        Some(Err(reason)) => Proxied::Failed(reason),
                    }
                })
            }),
            failures: Arc::new(move || now.failures()),
            promferry: Arc::new(move || admin::self_metrics(&*snapshots)),
        };
        let agent = Agent::start(config, &credentials, parts).await?;
        let delivery = config.ingress.as_ref().zip(agent.collected().cloned()).map(|(ingress, collected)| {
            let origin = origin(external_labels, authority(&config.address, agent.exporter().port()));
            let view = View::target(collected, origin.clone());
            let (end, ended) = watch::channel(false);
            (end, tokio::spawn(deliver(view, origin, ingress.scrape_interval, emit, has_outputs, ended)))
        });
        Ok(Self { agent, delivery })
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The metrics of envelopes are not delivered any more; without a word where the process ends.
    pub(super) async fn end_delivery(&mut self, is_shutdown: bool) {
        if let Some((end, delivering)) = self.delivery.take() {
            // Told and aborted, it could still have its last word between the two.
            if is_shutdown {
                delivering.abort();
            } else {
                end.send_replace(true);
            }
            let _ = delivering.await;
        }
    }

    /// Lets answers that were begun end within `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.end_delivery(false).await;
        self.agent.stop(grace).await;
    }
}

fn origin(mut labels: Labels<'static>, instance: String) -> Arc<Origin> {
    labels.set("job", JOB);
    labels.set("instance", instance.clone());
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(instance.as_bytes());
    Arc::new(Origin { key: hasher.finish(), labels, url: format!("https://{instance}/metrics") })
}

/// Reads the metrics at each interval, as if they were scraped, until they end: then their series do.
async fn deliver(
    view: View,
    origin: Arc<Origin>,
    interval: Duration,
    emit: Emit,
    has_outputs: watch::Receiver<bool>,
    mut ended: watch::Receiver<bool>,
) {
    let mut schedule = Schedule::new(origin.key, &machine_name(), interval, Duration::ZERO);
    loop {
        let tick = schedule.next(wall_ms());
        tokio::select! {
            () = tokio::time::sleep(tick.wait) => {}
            _ = ended.wait_for(|is_ended| *is_ended) => break,
        }
        let at_ms = schedule.sample_ms(tick, wall_ms());
        if *has_outputs.borrow() {
            emit(view.scrape(at_ms));
        }
    }
    emit(last(&view.scrape(schedule.now_ms(wall_ms()))));
}

/// The end of all series of a scrape.
fn last(scrape: &Scrape) -> Arc<Scrape> {
    let mut points = PointsBuilder::default();
    let mut live: Vec<u32> = scrape.points.iter().map(|point| point.series).collect();
    live.sort_unstable();
    live.dedup();
    live.into_iter().for_each(|series| points.push_float(series, STALE_NAN, None));
    Arc::new(Scrape {
        origin: scrape.origin.clone(),
        at_ms: scrape.at_ms,
        series: scrape.series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: true,
    })
}
