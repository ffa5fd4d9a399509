//! How envelopes become metrics, what clients may cost, and what is counted of them.

use std::collections::BTreeMap;
use std::time::Duration;

/// How envelopes become metrics.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Labels of every metric whose envelope has no tag of the name: `AGENT_TAGS`.
    pub tags: Vec<(String, String)>,
    /// The tags that a timer keeps: `WHITELISTED_TIMER_TAGS`.
    pub timer_tags: Vec<String>,
    /// A metric goes when no envelope came for so long: `TTL`; 10 minutes.
    pub ttl: Duration,
    /// How often that is looked at: `EXPIRATION_INTERVAL`; 1 minute.
    pub expiration_interval: Duration,
    /// What clients may cost.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            timer_tags: Vec::new(),
            ttl: Duration::from_secs(600),
            expiration_interval: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

/// What clients may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Metrics; a histogram is one. 500,000.
    pub metrics_max: usize,
    /// Bytes of memory that the table keeps of them, as it reckons. 256 MiB.
    pub bytes_max: usize,
    /// Tags of an envelope. 64.
    pub tags_max: usize,
    /// Gauges of an envelope. 1,000.
    pub gauges_max: usize,
    /// Bytes of a metric's name, or of a tag's. 512.
    pub name_bytes_max: usize,
    /// Bytes of a tag's value, of a source's id or of a unit. 4096.
    pub value_bytes_max: usize,
    /// Sources that are counted by name; those that come later are counted together. 10,000.
    pub sources_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metrics_max: 500_000,
            bytes_max: 256 << 20,
            tags_max: 64,
            gauges_max: 1000,
            name_bytes_max: 512,
            value_bytes_max: 4096,
            sources_max: 10_000,
        }
    }
}

/// What came in, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Envelopes that came: `ingress`.
    pub envelopes: u64,
    /// Envelopes that were dropped, by reason; together they are `dropped{direction="ingress"}`.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Envelopes of sources that are scraped, which are left out.
    pub ignored: u64,
    /// Envelopes whose tag `origin` stood in for the source: `origin_mappings`.
    pub origin_mappings: u64,
    /// By source: `modified_tags` and `invalid_metric_label`, both with the label `originating_source_id`.
    pub sources: BTreeMap<String, SourceCounts>,
    /// Metrics in the table; a histogram is one.
    pub metrics: usize,
    /// Bytes of memory that they have.
    pub bytes: usize,
}

/// What was wrong with names and tags of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Names and tags' names in which characters became `_`.
    pub modified_tags: u64,
    /// Tags that cannot be labels, and were left out.
    pub invalid_labels: u64,
}
