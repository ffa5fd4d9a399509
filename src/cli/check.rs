//! `promferry check`: everything that is wrong with a configuration, in one go.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::{FAILED, USAGE, source};
use crate::config::checked::Config;
use crate::config::{NamedFile, Problem, quoted};
use crate::discovery::discover_once;
use crate::net::credentials::Credentials;
use crate::net::text::io_words;
use crate::output;
use crate::scrape::probe;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: source::Arguments,
    /// Also try each target that is found now, and each output
    #[arg(long)]
    connect: bool,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let (config, files) = match arguments.source.load_with_files() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut code = 0;
    for problem in files.iter().filter_map(unreadable) {
        eprintln!("{problem}");
        code = USAGE;
    }
    let (scrapes, outputs) = (config.scrapes.len(), config.outputs.len());
    let verdict =
        if code == 0 { "nothing is wrong with them" } else { "well formed, but they name files that cannot be read" };
    println!("scrape_configs: {scrapes}, outputs: {outputs}: {verdict}");
    if arguments.connect { code.max(super::block_on(connect(config))) } else { code }
}

/// What is wrong with a file that the configuration names.
fn unreadable(named: &NamedFile) -> Option<Problem> {
    let read = File::open(&named.path).and_then(|mut file| file.read(&mut [0]));
    let error = read.err()?;
    let path = quoted(&named.path.display().to_string());
    let message = format!("{}: {path} cannot be read: {}", named.key, io_words(&error));
    Some(Problem { file: named.file.clone(), at: named.at, message })
}

/// Tries each target and output; says what failed.
async fn connect(config: Config) -> u8 {
    let credentials = Credentials::new(Duration::ZERO);
    let set = discover_once(config.scrapes);
    let mut failed = 0;
    for target in &set.targets {
        match probe(target, &credentials).await {
            Ok(probe) => println!("{}: {} samples", target.origin.url, probe.counts.samples_scraped),
            Err(error) => {
                println!("{}: {error}", target.origin.url);
                failed += 1;
            }
        }
    }
    for output in &config.outputs {
        match output::try_once(output, &credentials).await {
            Ok(()) => println!("output {}: ready", output.name),
            Err(error) => {
                println!("output {}: {error}", output.name);
                failed += 1;
            }
        }
    }
    if failed > 0 { FAILED } else { 0 }
}
