//! `promferry targets`: what the configuration finds now, and with `--watch` what comes of it.

mod json;
mod watch;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{FAILED, source, style};
use crate::config::checked::Config;
use crate::config::quoted;
use crate::discovery::{FileStatus, TargetSet, discover_once};
use crate::net::credentials::Credentials;
use crate::telemetry::Printable;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: source::Arguments,
    /// Print one object instead, for scripts; with --watch one a line. Its keys are documented
    #[arg(long)]
    json: bool,
    /// Stay, and print a line for what comes (+), goes (-), changes (~), is wrong (!) and is right again (=)
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    style: style::Arguments,
}

/// What is logged while watching: discovery's own lines say what is printed anyway.
pub(super) const LOG_WHILE_WATCHING: &str =
    "warn,h2=error,promferry::discovery::engine=off,promferry::discovery::last_good=off";

impl Arguments {
    pub(super) fn is_watching(&self) -> bool {
        self.watch
    }
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let config = match arguments.source.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match arguments.watch {
        true => super::block_on(watch::watch(config, arguments.json, arguments.style.style())),
        false => super::block_on(show(config, arguments.json)),
    }
}

async fn show(config: Config, is_json: bool) -> u8 {
    let set = discover_once(config.scrapes, Arc::new(Credentials::new(Duration::ZERO))).await;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match is_json {
        true => writeln!(out, "{}", style::json_line(&json::set(&set))),
        false => print(&mut out, &set),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("promferry: stdout: {error}");
            FAILED
        }
        _ if has_faults(&set) => FAILED,
        _ => 0,
    }
}

fn print(out: &mut impl Write, set: &TargetSet) -> io::Result<()> {
    for target in &set.targets {
        writeln!(out, "{} every {:?}", Printable(&target.origin.url), target.interval)?;
        writeln!(out, "  labels {}", target.origin.labels)?;
        if let Some(file) = &target.file {
            writeln!(out, "  announced by {}", Printable(&file.display().to_string()))?;
        }
    }
    for dropped in &set.dropped {
        writeln!(out, "not scraped: {}", dropped.reason)?;
        writeln!(out, "  job {}, discovered labels {}", quoted(&dropped.job), dropped.discovered)?;
    }
    for file in &set.files {
        let path = file.path.display().to_string();
        let path = Printable(&path);
        match &file.status {
            FileStatus::Good { .. } => {}
            FileStatus::Off(why) => writeln!(out, "{path} announces nothing: {why}")?,
            FileStatus::Broken { problem, consequence } => writeln!(out, "{problem}\n  {consequence}")?,
        }
    }
    for problem in &set.problems {
        writeln!(out, "{problem}")?;
    }
    let (found, dropped) = (set.targets.len(), set.dropped_total);
    let found = if found == 1 { "1 target is scraped".to_owned() } else { format!("{found} targets are scraped") };
    writeln!(out, "{found}, {dropped} {} not", if dropped == 1 { "is" } else { "are" })
}

/// Whether something announces targets that cannot be used.
fn has_faults(set: &TargetSet) -> bool {
    !set.problems.is_empty()
        || set.dropped.iter().any(|dropped| dropped.reason.is_fault())
        || set.files.iter().any(|file| matches!(file.status, FileStatus::Broken { .. }))
}
