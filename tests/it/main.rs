//! All integration tests, in one binary.

mod certs_example;
mod config;
mod expose;
mod exposition;
mod file;
mod structure;
