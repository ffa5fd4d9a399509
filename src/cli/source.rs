//! Where the configuration is: `-c FILE`, `PROMFERRY_CONFIG`, or all of it in `PROMFERRY_CONFIG_YAML`.

use std::path::{Path, PathBuf};

use super::USAGE;
use crate::config::checked::Config;
use crate::config::{self, NamedFile, Source};
use crate::detect;

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

    /// The checked configuration, with the labels of its surroundings, and the files that it names.
    pub(super) fn load_with_files(&self) -> Result<(Config, Vec<NamedFile>), u8> {
        let (mut config, files) = config::load_with_files(&self.source()?, &environment).map_err(|problems| {
            eprintln!("{problems}");
            USAGE
        })?;
        detect_labels(&mut config).iter().for_each(|note| eprintln!("{note}"));
        Ok((config, files))
    }
}

/// Adds the labels of the surroundings; returns what somebody should know about them, a sentence each.
pub(super) fn detect_labels(config: &mut Config) -> Vec<String> {
    detect::apply(config, detect::Place { environment: &environment, root: Path::new("/") })
}

/// A variable of the process' environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
