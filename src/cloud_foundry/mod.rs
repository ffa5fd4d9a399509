//! Cloud Foundry's own ways of telling others about endpoints.
//!
//! `entry` is what metrics-agent writes into its targets file and what travels over NATS.

pub mod entry;
mod go_yaml;
