//! All integration tests, in one binary.

mod admin;
mod certs_example;
mod config;
mod expose;
mod exposition;
mod file;
mod structure;
