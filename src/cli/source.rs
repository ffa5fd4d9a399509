//! Where the configuration is: `-c FILE`, `PROMFERRY_CONFIG`, or all of it in `PROMFERRY_CONFIG_YAML`.

use std::path::PathBuf;

use super::USAGE;
use crate::config::checked::Config;
use crate::config::{self, NamedFile, Source};

// No group of its own: its name would be that of the subcommand's arguments.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The configuration; otherwise the file that PROMFERRY_CONFIG names, or the YAML in PROMFERRY_CONFIG_YAML
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    /// Where the configuration is; says on stderr what to do when nobody said where.
    pub(super) fn source(&self) -> Result<Source, u8> {
        Source::find(self.config.clone(), &environment).map_err(|error| {
            eprintln!("promferry: {error}");
            USAGE
        })
    }

    /// Whether the command line names a file.
    pub(super) fn names_a_file(&self) -> bool {
        self.config.is_some()
    }

    /// The checked configuration; says on stderr everything that is wrong with it.
    pub(super) fn load(&self) -> Result<Config, u8> {
        self.load_with_files().map(|(config, _)| config)
    }

    /// The checked configuration and the files that it names.
    pub(super) fn load_with_files(&self) -> Result<(Config, Vec<NamedFile>), u8> {
        config::load_with_files(&self.source()?, &environment).map_err(|problems| {
            eprintln!("{problems}");
            USAGE
        })
    }
}

/// A variable of the process' environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
