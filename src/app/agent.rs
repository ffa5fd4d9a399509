//! The drop-in for metrics-agent, wired to discovery and to scrapes on request.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::{self, Snapshots};
use crate::cloud_foundry::exporter::Proxied;
use crate::cloud_foundry::metrics_agent::{Agent, Parts};
use crate::config::checked::MetricsAgent;
use crate::net::credentials::Credentials;
use crate::scrape::{Admit, ScrapeNow, Targets};

/// Starts an agent on a port that is open already.
pub(super) async fn start(
    config: &MetricsAgent,
    listener: TcpListener,
    targets: watch::Receiver<Targets>,
    credentials: &Arc<Credentials>,
    admit: Admit,
    snapshots: Arc<dyn Snapshots>,
) -> Result<Agent, String> {
    let now = ScrapeNow::new(targets.clone(), credentials.clone(), admit);
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
    Agent::start(config, credentials, parts).await
}
