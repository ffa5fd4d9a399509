//! All integration tests, in one binary.

mod admin;
mod certs_example;
mod cli;
mod config;
mod discovery;
mod elasticsearch;
mod elasticsearch_faults;
mod elasticsearch_main_job;
mod examples;
mod expose;
mod exposition;
mod faults;
mod file;
mod http_client;
mod lost_log;
mod main_job;
mod receiver_faults;
mod relabel;
mod reload;
mod retarget;
mod rotation;
mod scrape_client;
mod structure;
mod successor;
mod support;
mod tls;
