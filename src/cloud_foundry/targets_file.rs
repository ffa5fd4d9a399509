//! `targets_file`: what is discovered, for Prometheus' `file_sd_configs`.
//!
//! It is what scrape-config-generator writes, and better where nobody can rely on it: the file is whole at every moment, its
//! order is always the same, it is only written where it is not what it should be, and without a target it is `[]`.
//!
//! Labels are those that discovery found, `__param_id` among them, so that Prometheus scrapes the same; left out are those that
//! the scrape configuration has given, such as its `job`, and what says where a target was found (`__meta_…`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::entry::push_group;
use super::whole_file::{LOOK_AGAIN_AFTER, keep};
use crate::config::checked::{ScrapeConfig, TargetsFile, TargetsFileFormat};
use crate::net::text::prometheus_duration;
use crate::target::Target;
use crate::telemetry::Edge;

/// The targets that are discovered now.
pub type Targets = Arc<[Arc<Target>]>;

/// Keeps the file for as long as targets come; it stays at the end. A file that is there already is not touched for `hold`: what
/// is announced over the network is not known at once, and Prometheus must not forget it for that time.
pub async fn follow(config: TargetsFile, mut targets: watch::Receiver<Targets>, hold: Duration) {
    if config.path.exists() {
        tokio::time::sleep(hold).await;
    }
    let mut failing = Edge::default();
    loop {
        let text = render(&config, &targets.borrow_and_update().clone());
        keep(&config.path, text, &mut failing).await;
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN_AFTER, targets.changed()).await {
            return;
        }
    }
}

/// The content of the file.
pub fn render(config: &TargetsFile, targets: &[Arc<Target>]) -> String {
    let mut groups = BTreeMap::<_, BTreeSet<&str>>::new();
    for target in targets {
        if config.jobs.is_empty() || config.jobs.contains(&target.config.job_name) {
            groups.entry(labels(target)).or_default().insert(target.discovered.get_or_empty("__address__"));
        }
    }
    let groups = groups.into_iter().map(|(labels, targets)| {
        let targets = targets.into_iter().map(str::to_owned).collect::<Vec<_>>();
        (targets, labels)
    });
    match config.format {
        TargetsFileFormat::Json => {
            // Texts are always good JSON.
            let targets_json = |texts: &Vec<String>| serde_json::to_string(texts).unwrap_or_default();
            let labels_json = |labels: &BTreeMap<_, _>| serde_json::to_string(labels).unwrap_or_default();
            let groups = groups.map(|(targets, labels)| {
                format!("{{\"targets\":{},\"labels\":{}}}", targets_json(&targets), labels_json(&labels))
            });
            format!("[{}]", groups.collect::<Vec<_>>().join(","))
        }
        TargetsFileFormat::Yaml => {
            let mut out = String::new();
            for (targets, labels) in groups {
                push_group(&mut out, "- ", "  ", &targets, &labels);
            }
            if out.is_empty() { "[]\n".to_owned() } else { out }
        }
    }
}

/// What discovery found of a target, beside its address.
fn labels(target: &Target) -> BTreeMap<String, String> {
    let is_found = |name: &str, value: &str| {
        name != "__address__" && !name.starts_with("__meta_") && !is_given(&target.config, name, value)
    };
    let found = target.discovered.iter().filter(|(name, value)| is_found(name, value));
    found.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whether the scrape configuration gives a label this value by itself.
fn is_given(config: &ScrapeConfig, name: &str, value: &str) -> bool {
    match name {
        "job" => value == config.job_name,
        "__scrape_interval__" => value == prometheus_duration(config.scrape_interval),
        "__scrape_timeout__" => value == prometheus_duration(config.scrape_timeout),
        "__metrics_path__" => value == config.metrics_path,
        "__scheme__" => value == config.scheme.as_str(),
        _ => {
            let values = name.strip_prefix("__param_").and_then(|name| config.params.get(name));
            values.and_then(|values| values.first()).is_some_and(|first| first == value)
        }
    }
}
