//! The entries that tell others what the exporter answers for: its own, and one for each source.

use std::sync::Arc;

use tokio::sync::watch;

use super::Targets;
use crate::cloud_foundry::entry::{Entry, entries_to_yaml};
use crate::cloud_foundry::whole_file::{LOOK_AGAIN_AFTER, keep};
use crate::config::checked::MetricsAgent;
use crate::net::authority;
use crate::target::Target;
use crate::telemetry::Edge;

/// The entries of an exporter at this port, in metrics-agent's order: its own, then those of the sources that jobs announced.
pub fn entries(config: &MetricsAgent, port: u16, targets: &[Arc<Target>]) -> Vec<Entry> {
    let own = of_source(config, port, "metrics_agent_exporter");
    let sources = targets.iter().filter_map(|target| of_target(config, port, target));
    std::iter::once(own).chain(sources).collect()
}

fn of_source(config: &MetricsAgent, port: u16, source_id: &str) -> Entry {
    let mut labels = config.tags.clone();
    labels.insert("instance_id".to_owned(), config.instance_id.clone());
    Entry {
        targets: vec![authority(&config.address, port)],
        labels,
        source: format!("{source_id}__{}", config.instance_id),
    }
}

fn of_target(config: &MetricsAgent, port: u16, target: &Target) -> Option<Entry> {
    let (source_id, own) = (target.announced_source()?, target.announced.as_ref()?);
    let mut entry = of_source(config, port, source_id);
    entry.labels.insert("source_id".to_owned(), source_id.to_owned());
    entry.labels.insert("__param_id".to_owned(), source_id.to_owned());
    // As in the original a file's labels win.
    entry.labels.extend(own.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    Some(entry)
}

/// Publishes the entries, and keeps them in `file`, for as long as targets come. The file stays at the end.
pub(super) async fn follow(
    config: MetricsAgent,
    port: u16,
    mut targets: watch::Receiver<Targets>,
    publish: watch::Sender<Arc<Vec<Entry>>>,
) {
    let mut failing = Edge::default();
    loop {
        let entries = entries(&config, port, &targets.borrow_and_update().clone());
        publish.send_if_modified(|held| {
            let is_new = **held != entries;
            if is_new {
                *held = Arc::new(entries);
            }
            is_new
        });
        let text = entries_to_yaml(&publish.borrow());
        if let Some(path) = &config.targets_file {
            keep(path, text, &mut failing).await;
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN_AFTER, targets.changed()).await {
            return;
        }
    }
}
