//! All integration tests, in one binary.

mod config;
mod discovery;
mod exposition;
mod relabel;
