//! Configurations of other programs as one of ours: text in, text out, with what was lost.
//!
//! A converter reads what it converts into sections whose settings know their places, and makes a tree of YAML in which what
//! could not be carried over is a [`Note`]. So a loss is a comment where it would stand, and a line for whoever typed the
//! command, always both. A credential that stands in the clear is in neither: it becomes a variable.
//!
//! Nothing here acts: no file is opened, no variable is looked up, no name is resolved. The result does not depend on the machine.

mod glob;
mod metrics_agent;
mod names;
mod note;
mod prometheus;
mod secret;
mod telegraf;
mod text;
mod toml;
mod yaml;

pub use metrics_agent::{Variables, convert as metrics_agent};
pub use note::{Note, Place, Weight};
pub use prometheus::{convert as prometheus, parts as prometheus_parts};
pub use telegraf::convert as telegraf;
pub use toml::FILE_BYTES_MAX;

/// A file that is converted.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What messages call it.
    pub name: String,
    /// What it holds.
    pub text: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The configuration.
    pub yaml: String,
    /// What is to be known of it, by file and line.
    pub notes: Vec<Note>,
}

impl Conversion {
    fn new(root: &yaml::Map) -> Self {
        let mut notes = yaml::notes(root);
        notes.sort_by(|one, other| one.place.cmp(&other.place));
        notes.dedup();
        Self { yaml: yaml::document(root), notes }
    }

    /// How many notes tell of something that was not carried over.
    pub fn losses(&self) -> usize {
        self.notes.iter().filter(|note| note.weight == Weight::Loss).count()
    }
}
