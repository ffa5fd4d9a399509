//! promferry carries Prometheus metrics off TLS-secured endpoints.
//!
//! The way of the data: `discovery` finds targets, `scrape` reads each into a [`model::Scrape`], `pipeline` fans it out into
//! one bounded queue an output, and `output` encodes and delivers. Downstream never calls upstream; what goes back is
//! counters and watched values. `app` joins the stages, `cli` is what the user types.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod cloud_foundry;
pub mod config;
pub mod convert;
pub mod detect;
pub mod discovery;
pub mod exposition;
mod files;
pub mod memory;
pub mod model;
pub mod net;
pub mod output;
pub mod pipeline;
pub mod random;
pub mod relabel;
pub mod scrape;
pub mod target;
pub mod telemetry;
