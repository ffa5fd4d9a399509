//! The configuration: from what the user typed to what the program uses.
//!
//! - `yaml` makes a bounded tree in which every value knows its place.
//! - `raw` has the tables of keys, `schema` the words that they are written in; docs/config.md is written from them too.
//! - `fields` reads the tree against a table, expands `variables`, and collects every `problem` of a file.
//! - `scrape`, `negotiation`, `output`, `metrics_agent`, and what they share in `tls`, `http` and `common`, check what keys mean together.
//! - `detect` names the labels that surroundings have.
//! - `shown` is what of it people may see; `writer` writes that, and any other configuration.
//! - `checked` is the result: complete, and free of contradictions.
//!
//! Nothing here acts: no name is resolved, and no file is opened but the configuration itself, with those that
//! `scrape_config_files` makes parts of it.

pub mod checked;
mod common;
pub mod detect;
pub mod fields;
mod http;
mod load;
mod metrics_agent;
mod nats;
mod negotiation;
mod output;
mod problem;
pub mod raw;
pub mod schema;
mod scrape;
mod scrape_files;
mod shown;
mod template;
mod tls;
pub mod values;
mod variables;
pub mod writer;
pub mod yaml;

pub use fields::NamedFile;
pub use load::{FILE_VARIABLE, Source, SourceError, YAML_VARIABLE, check_trees, load, load_text, load_with_files};
pub use metrics_agent::check_tag;
pub use output::agent_address;
pub use problem::{Pos, Problem, Problems, quoted};
pub use shown::Shown;
pub use variables::Environment;
