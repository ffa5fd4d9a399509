//! What promferry takes over on a Cloud Foundry VM: the ways in and out of metrics-agent and prom_scraper.
//!
//! `entry` is what metrics-agent writes into its targets file and what travels over NATS; `exporter` answers for its sources;
//! `loggregator` takes envelopes; `metrics_agent` is all of these together, and its environment; `prom_scraper` is the environment of
//! the other.

pub mod entry;
mod environment;
pub mod exporter;
mod go_yaml;
pub mod loggregator;
pub mod metrics_agent;
pub mod prom_scraper;
mod whole_file;

pub use environment::{EnvironmentError, FromEnvironment};
