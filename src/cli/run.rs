//! `promferry run`: logging, configuration, runtime, stages, signals, drain.

use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::quick::{self, Quick};
use super::{FAILED, USAGE, source};
use crate::app::{Account, App};
use crate::cloud_foundry::{metrics_agent, prom_scraper};
use crate::config::{self, checked::Config};
use crate::pipeline::{Counts, Reasons};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: source::Arguments,
    /// Take the place of Cloud Foundry's metrics-agent: everything is read from its environment
    #[arg(long)]
    metrics_agent: bool,
    /// Take the place of Cloud Foundry's prom_scraper: everything is read from its environment
    #[arg(long, conflicts_with = "metrics_agent")]
    prom_scraper: bool,
    #[command(flatten)]
    quick: quick::Arguments,
}

/// Where the configuration is read, now and at each reload.
enum Place {
    Source(source::Arguments),
    MetricsAgent,
    PromScraper,
    Flags(Quick),
}

impl Place {
    fn new(arguments: Arguments) -> Result<Self, u8> {
        if let Some(flag) = arguments.quick.given() {
            return Self::of_flags(flag, &arguments);
        }
        let (place, name, instead) = match (arguments.metrics_agent, arguments.prom_scraper) {
            (true, _) => (Self::MetricsAgent, "metrics-agent", "a section \"metrics_agent\""),
            (false, true) => (Self::PromScraper, "prom-scraper", "an output \"loggregator\""),
            (false, false) => return Ok(Self::Source(arguments.source)),
        };
        if arguments.source.names_a_file() {
            eprintln!(
                "promferry: --{name} reads everything from the environment, so -c cannot be given too; leave one of them out, \
                 or write {instead} into the file"
            );
            return Err(USAGE);
        }
        Ok(place)
    }

    /// From flags alone, of which `flag` is the first.
    fn of_flags(flag: &str, arguments: &Arguments) -> Result<Self, u8> {
        let others = [
            ("-c", arguments.source.names_a_file()),
            ("--metrics-agent", arguments.metrics_agent),
            ("--prom-scraper", arguments.prom_scraper),
        ];
        let quick = match others.iter().find(|(_, is_given)| *is_given) {
            Some((other, _)) => Err(format!(
                "promferry: {other} says what to do, and so does {flag}; leave one of them out, or write what the flags say into the file: --print-config shows it"
            )),
            None => Quick::new(&arguments.quick),
        };
        quick.map(Self::Flags).map_err(|error| {
            eprintln!("{error}");
            USAGE
        })
    }

    /// What helps against an error of the start, where that is another thing than with a file.
    fn remedy(&self, error: &str) -> &'static str {
        match self {
            Self::Flags(quick) if quick.is_admin_taken(error) => {
                "; perhaps another promferry runs here: give this one another port for its status page, --admin :PORT, or --admin off"
            }
            Self::Source(_) if error.contains("another process has this port already") => {
                "; perhaps another promferry runs here: stop it, or give this one another port"
            }
            _ => "",
        }
    }

    /// The checked configuration, or everything that is wrong with it; no sentence where stderr has it already.
    fn load(&self) -> Result<Config, Option<String>> {
        match self {
            Self::Source(arguments) => {
                let source = arguments.source().map_err(|_| None)?;
                let loaded = config::load(&source, &source::environment);
                let mut config = loaded.map_err(|problems| Some(problems.to_string()))?;
                for note in source::detect_labels(&mut config) {
                    tracing::warn!(note, "surroundings give fewer labels than global.detect asks for");
                }
                Ok(config)
            }
            Self::Flags(quick) => quick.load().map_err(Some),
            Self::MetricsAgent | Self::PromScraper => {
                let read = match self {
                    Self::PromScraper => prom_scraper::from_environment(&source::environment),
                    _ => metrics_agent::from_environment(&source::environment),
                };
                let read = read.map_err(|error| Some(error.to_string()))?;
                for note in &read.notes {
                    tracing::warn!(note, "the environment is not taken over whole");
                }
                Ok(read.config)
            }
        }
    }
}

/// Prints the configuration that flags are.
fn print(from: &Place) -> u8 {
    let Place::Flags(quick) = from else { return USAGE };
    match io::stdout().write_all(quick.text().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("promferry: stdout: {error}");
            FAILED
        }
        _ => 0,
    }
}

/// When after a start or a reload there may be something to give back: most targets were scraped once; those with the usual
/// intervals are steady; and all but those with unusual ones.
const SETTLING_TIMES: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300)];

pub(super) fn main(arguments: Arguments, started: fn()) -> u8 {
    let is_print = arguments.quick.is_print();
    let from = match Place::new(arguments) {
        Ok(from) => from,
        Err(code) => return code,
    };
    let loaded = match &from {
        Place::Flags(quick) if !is_print => quick.load_and_look().map_err(Some),
        from => from.load(),
    };
    match loaded {
        Ok(_) if is_print => print(&from),
        Ok(config) => super::block_on(run(config, &from, started)),
        Err(problems) => {
            problems.inspect(|problems| eprintln!("{problems}"));
            USAGE
        }
    }
}

async fn run(config: Config, from: &Place, started: fn()) -> u8 {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        eprintln!("promferry: cannot listen to signals");
        return FAILED;
    };
    let mut app = match App::start(config).await {
        Ok(app) => app,
        Err(error) => {
            eprintln!("promferry: {error}{}", from.remedy(&error));
            return FAILED;
        }
    };
    let (admin, exposed) = listeners(&app);
    let memory_limit = app.memory_limit();
    tell_agent(&app);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin, exposed, memory_limit, "promferry is running");
    let mut began = Instant::now();
    let mut settling = SETTLING_TIMES.iter();
    let mut settled = settling.next();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {}
            () = until(settled.map(|&time| began + time)) => {
                settled = settling.next();
                started();
                continue;
            }
        }
        // An output that goes may take its time: the end does not wait for it.
        tokio::select! {
            () = reload(&mut app, from) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        began = Instant::now();
        settling = SETTLING_TIMES.iter();
        settled = settling.next();
    }
    tracing::info!("draining");
    let drained = app.shutdown();
    tokio::select! {
        accounts = drained => accounts.iter().for_each(log_account),
        _ = terminate.recv() => tracing::warn!("told twice to end: not draining"),
        _ = interrupt.recv() => tracing::warn!("told twice to end: not draining"),
    }
    0
}

/// Ends at a time, or never.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Where the admin port and the aggregate endpoints listen: where a port is 0, only the log can tell.
fn listeners(app: &App) -> (String, String) {
    let exposed: Vec<String> = app.exposed().iter().map(|(output, address)| format!("{output}={address}")).collect();
    (app.admin().map(|address| address.to_string()).unwrap_or_default(), exposed.join(" "))
}

/// Where the drop-in for metrics-agent listens, if it is on.
fn tell_agent(app: &App) {
    if let Some(agent) = app.agent() {
        let ingress = agent.ingress().map(|address| address.to_string());
        let (exporter, own_metrics) = (agent.exporter().to_string(), agent.own_metrics().to_string());
        tracing::info!(exporter, own_metrics, ingress, "the drop-in for metrics-agent is running");
    }
}

async fn reload(app: &mut App, from: &Place) {
    match from.load() {
        Ok(config) => {
            app.reload(config).await;
            let (admin, exposed) = listeners(app);
            tell_agent(app);
            tracing::info!(admin, exposed, memory_limit = app.memory_limit(), "configuration reloaded");
        }
        Err(Some(error)) => {
            tracing::error!(error, "the configuration cannot be used; the one in force stays");
            app.refused(&error);
        }
        Err(None) => {}
    }
}

/// One line an output. It adds up: what came in, offered and restored, is what became of it and what waits on, on disk.
fn log_account(account: &Account) {
    let counts = &account.counts;
    let sum = |reasons: &Reasons| reasons.values().sum::<u64>();
    tracing::info!(
        output = account.output.name,
        offered = counts.offered,
        restored = counts.restored,
        delivered = counts.settled.delivered,
        duplicate = sum(&counts.settled.duplicate),
        rejected = sum(&counts.settled.rejected),
        dropped = sum(&counts.settled.dropped),
        skipped = sum(&counts.settled.skipped),
        waiting = counts.waiting,
        maybe_doubled = counts.maybe_doubled,
        reasons = reasons(counts),
        "drained"
    );
}

/// Why samples were not delivered: `dropped shutdown 12, skipped stale_marker 3`.
fn reasons(counts: &Counts) -> String {
    let settled = &counts.settled;
    let fates = [
        ("duplicate", &settled.duplicate),
        ("rejected", &settled.rejected),
        ("dropped", &settled.dropped),
        ("skipped", &settled.skipped),
    ];
    let all = fates
        .iter()
        .flat_map(|(fate, reasons)| reasons.iter().map(move |(reason, samples)| format!("{fate} {reason} {samples}")));
    all.collect::<Vec<_>>().join(", ")
}
