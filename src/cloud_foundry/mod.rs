//! What promferry takes over on a Cloud Foundry VM: the ways in and out of metrics-agent and prom_scraper.

pub mod loggregator;
