//! All integration tests, in one binary.

mod certs_example;
mod config;
mod discovery;
mod elasticsearch_faults;
mod examples;
mod expose;
mod exposition;
mod faults;
mod http_client;
mod main_job;
mod receiver_faults;
mod relabel;
mod reload;
mod rotation;
mod scrape_client;
mod structure;
mod support;
mod tls;
