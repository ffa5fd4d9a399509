//! All integration tests, in one binary.

mod certs_example;
mod config;
mod exposition;
mod http_client;
mod scrape_client;
mod structure;
mod support;
mod tls;
