//! All integration tests, in one binary.

mod certs_example;
mod config;
mod elasticsearch;
mod elasticsearch_faults;
mod examples;
mod exposition;
mod structure;
mod support;
