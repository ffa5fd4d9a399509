//! All integration tests, in one binary.

mod certs_example;
mod config;
mod discovery;
mod docs;
mod examples;
mod exposition;
mod expose;
mod relabel;
mod structure;
