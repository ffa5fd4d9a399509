//! Where samples go: one file or folder an output.

pub mod elasticsearch;
pub mod expose;
pub mod file;
pub mod http;
