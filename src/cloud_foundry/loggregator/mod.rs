//! Loggregator v2, the way in: a gRPC port that takes envelopes, and the table that they are folded into.
//!
//! [`Ingress`] is the port, [`Collected`] the table, and a [`View`] reads the table as scrapes: the exporter has one, and
//! outputs have one with the labels of a target. docs/loggregator.md is the manual.
//!
//! Promises
//! - Envelopes become metrics as in metrics-agent: a counter's total replaces, its delta adds; timers are histograms.
//! - A client can cost no more than [`Limits`] allow. What is dropped for them is counted, with the reason.
//! - A known series costs two hashes and a look-up for each envelope, and no memory.
//!
//! Leaves out on purpose: logs and events, which are no metrics.

mod ingress;
mod messages;
mod row;
mod settings;
mod state;
mod table;
mod view;

pub use ingress::Ingress;
pub use messages::{Counter, Envelope, Gauge, GaugeEntry, GaugeValue, Message, Nothing, Tag, Timer, Value, value};
pub use settings::{Counts, Limits, Settings, SourceCounts};
pub use table::Collected;
pub use view::View;

#[cfg(test)]
mod tests;
