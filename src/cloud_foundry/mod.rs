//! What promferry takes over on a Cloud Foundry VM: the ways in and out of metrics-agent and prom_scraper.
//!
//! `entry` is what metrics-agent writes into its targets file and what travels over NATS.

pub mod entry;
mod go_yaml;
pub mod loggregator;
