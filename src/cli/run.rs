//! `promferry run`: logging, configuration, runtime, stages, signals, drain.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{FAILED, source};
use crate::app::{Account, App};
use crate::config::{self, checked::Config};
use crate::pipeline::{Counts, Reasons};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: source::Arguments,
}

/// When after a start or a reload there may be something to give back: most targets were scraped once; those with the usual
/// intervals are steady; and all but those with unusual ones.
const SETTLING_TIMES: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300)];

pub(super) fn main(arguments: Arguments, started: fn()) -> u8 {
    let config = match arguments.source.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    super::block_on(run(config, &arguments.source, started))
}

async fn run(config: Config, source: &source::Arguments, started: fn()) -> u8 {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        eprintln!("promferry: cannot listen to signals");
        return FAILED;
    };
    let mut app = match App::start(config).await {
        Ok(app) => app,
        Err(error) => {
            eprintln!("promferry: {error}");
            return FAILED;
        }
    };
    let (admin, exposed) = listeners(&app);
    let memory_limit = app.memory_limit();
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
            () = reload(&mut app, source) => {}
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

async fn reload(app: &mut App, source: &source::Arguments) {
    let loaded = source.source().map(|source| config::load(&source, &source::environment));
    match loaded {
        Ok(Ok(config)) => {
            app.reload(config).await;
            let (admin, exposed) = listeners(app);
            tracing::info!(admin, exposed, memory_limit = app.memory_limit(), "configuration reloaded");
        }
        Ok(Err(problems)) => {
            let error = problems.to_string();
            tracing::error!(error, "the configuration cannot be used; the one in force stays");
        }
        // It has said so on stderr.
        Err(_) => {}
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
