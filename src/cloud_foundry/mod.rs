//! What promferry takes over on a Cloud Foundry VM: the ways in and out of metrics-agent and prom_scraper.
//!
//! `entry` is what metrics-agent writes into its targets file and what travels over NATS; `exporter` answers for its sources;
//! `loggregator` takes envelopes; `metrics_agent` is all of these together, and its environment; `prom_scraper` is the environment of
//! the other.
//! `registrar` announces entries
//! over NATS, as metrics-discovery-registrar does; `targets_file` writes what is discovered, as scrape-config-generator does.

pub mod entry;
mod environment;
pub mod exporter;
mod go_yaml;
pub mod loggregator;
pub mod metrics_agent;
pub mod prom_scraper;
pub mod registrar;
pub mod targets_file;
mod whole_file;

pub use environment::{EnvironmentError, FromEnvironment, GO_SETTINGS};
