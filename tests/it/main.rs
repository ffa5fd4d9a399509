//! All integration tests, in one binary.

mod certs_example;
mod config;
mod discovery;
mod elasticsearch_faults;
mod examples;
mod expose;
mod exposition;
mod relabel;
mod structure;
mod support;
