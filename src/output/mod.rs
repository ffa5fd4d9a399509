//! Where samples go: one file or folder an output.

pub mod expose;
pub mod file;
