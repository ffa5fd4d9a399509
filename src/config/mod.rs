//! The configuration: what the user typed, and what the program uses.
//!
//! `load` reads YAML with positions and variables, `raw` says which keys there are and collects every error of a file,
//! `checked` is the result: it cannot be wrong. Nothing here acts.

pub mod checked;
mod common;
pub mod fields;
mod load;
mod output;
mod problem;
pub mod raw;
pub mod schema;
mod scrape;
pub mod values;
mod variables;
pub mod yaml;

pub use fields::NamedFile;
pub use load::{FILE_VARIABLE, Source, SourceError, YAML_VARIABLE, load, load_with_files};
pub use problem::{Pos, Problem, Problems, quoted};
pub use variables::Environment;
