//! All integration tests, in one binary.

mod certs_example;
mod config;
mod discovery;
mod examples;
mod exposition;
mod relabel;
mod structure;
