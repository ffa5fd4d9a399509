//! Where samples go: one file or folder an output.

pub mod elasticsearch;
pub mod http;
