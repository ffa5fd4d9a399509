//! What the user types. One file a subcommand; errors are printed once, here at the edge.
//!
//! Exit codes: 0 fine, 1 failed while running, 2 usage or configuration, 3 converted with losses.

mod check;
mod completions;
mod convert;
mod demo;
mod endpoint;
mod parse;
mod probe;
mod quick;
mod run;
mod source;
mod style;
mod targets;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::telemetry::{self, LogFormat};

/// Threads that `TOKIO_WORKER_THREADS` may ask for.
const WORKERS_MAX: usize = 64;

/// Something failed while running.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// Something could not be carried over.
const LOSSES: u8 = 3;

/// Carries Prometheus metrics off TLS-secured endpoints.
#[derive(Parser)]
#[command(name = "promferry", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written on stderr: human on a terminal, JSON otherwise, unless said here
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Which log lines are written: error, warn, info, debug, trace, or a filter as in RUST_LOG
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Scrape and deliver, until SIGTERM; SIGHUP reloads the configuration
    Run(run::Arguments),
    /// Say everything that is wrong with the configuration
    Check(check::Arguments),
    /// Scrape one endpoint once, and explain what happened
    Probe(probe::Arguments),
    /// List the targets that the configuration finds now
    Targets(targets::Arguments),
    /// Show how the running process does, until q is pressed
    Top(top::Arguments),
    /// Write the configuration that does what another program's does
    Convert(convert::Arguments),
    /// Show the main job with nothing to set up
    Demo(demo::Arguments),
    /// Read an exposition on stdin, and say what is wrong with it
    Parse(parse::Arguments),
    /// Print the completions of a shell
    Completions(completions::Arguments),
}

/// What only the binary can ask of the system.
#[derive(Clone, Copy)]
pub struct System {
    /// Called, more than once perhaps, when the work of a start or a reload is done: what only that needed can be given back.
    pub give_back: fn(),
    /// Columns and lines of the terminal that stdout is; `None` where it is none, or does not know.
    pub terminal_size: fn() -> Option<(usize, usize)>,
    /// With true, keys reach stdin as they are pressed and are not shown; with false it is as it was. Whether that worked.
    pub set_keys: fn(bool) -> bool,
    /// Stops the process until somebody lets it go on.
    pub stop: fn(),
}

/// Runs the program; the exit code is the process's.
pub fn main(system: System) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    // What ends by itself speaks to whoever typed it: only warnings are added to that.
    let is_quiet =
        !matches!(arguments.command, Command::Run(_) | Command::Demo(_)) && std::env::var_os("RUST_LOG").is_none();
    let quiet = match &arguments.command {
        Command::Targets(arguments) if arguments.is_watching() => targets::LOG_WHILE_WATCHING,
        _ => "warn",
    };
    let level = arguments.log_level.as_deref().or(is_quiet.then_some(quiet));
    if let Err(error) = telemetry::init(arguments.log_format, level) {
        eprintln!("promferry: {error}");
        return ExitCode::from(USAGE);
    }
    let code = match arguments.command {
        Command::Run(arguments) => run::main(arguments, system.give_back),
        Command::Check(arguments) => check::main(arguments),
        Command::Probe(arguments) => probe::main(arguments),
        Command::Targets(arguments) => targets::main(arguments),
        Command::Top(arguments) => top::main(arguments, system),
        Command::Convert(arguments) => convert::main(arguments),
        Command::Demo(arguments) => demo::main(arguments),
        Command::Parse(arguments) => parse::main(arguments),
        Command::Completions(arguments) => completions::main(arguments),
    };
    ExitCode::from(code)
}

/// Runs what has an exit code of its own. One worker, unless `TOKIO_WORKER_THREADS` says otherwise: two wake each other more
/// than they help (a fifth more CPU with 10,000 targets), and what takes long is done aside.
fn block_on(work: impl Future<Output = u8>) -> u8 {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|text| text.parse().ok());
    let workers = wanted.filter(|workers| (1..=WORKERS_MAX).contains(workers)).unwrap_or(1);
    match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A blocked file system must not hold the process beyond its deadline.
            runtime.shutdown_timeout(Duration::from_millis(100));
            code
        }
        Err(error) => {
            eprintln!("promferry: cannot start: {error}");
            FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// Two structs of arguments of the same name made every subcommand with a configuration panic.
    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
