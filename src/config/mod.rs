//! The configuration: what the user typed, and what the program uses.
//!
//! `load` reads YAML with positions and variables, `raw` says which keys there are and collects every error of a file,
//! `checked` is the result: it cannot be wrong. Nothing here acts.

pub mod checked;
mod problem;
pub mod yaml;

pub use problem::{Pos, Problem, Problems, quoted};
