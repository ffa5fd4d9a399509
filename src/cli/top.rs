//! `promferry top`: how the running process does, asked of its admin port and redrawn until somebody has seen enough.
//!
//! Plain ANSI sequences and no framework: what there is to do is to draw lines, and to read four keys. Where stdout is no terminal
//! it is drawn once, as with `--once`.

mod ask;
mod screen;
mod view;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{FAILED, System, USAGE, style};
use ask::{Asked, Client};
use screen::{Key, Screen};
use view::{Sort, View};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the admin port of the process is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9698")]
    url: String,
    /// Certificate authorities to trust; the system's otherwise
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name to ask for and to verify, where it is not the host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Take any certificate
    #[arg(long)]
    insecure_skip_verify: bool,
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// What comes first among the targets; the key s changes it
    #[arg(long, value_enum, default_value_t = Sort::Health, value_name = "ORDER")]
    sort: Sort,
    /// Only targets that have this in their URL, labels or error; the key / changes it
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Print one view, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    style: style::Arguments,
}

pub(super) fn main(arguments: Arguments, system: System) -> u8 {
    super::block_on(top(arguments, system))
}

async fn top(arguments: Arguments, system: System) -> u8 {
    let client = match Client::new(&arguments) {
        Ok(client) => client,
        Err(sentence) => {
            eprintln!("promferry: {sentence}");
            return USAGE;
        }
    };
    let first = match client.ask().await {
        Ok(seen) => seen,
        Err(sentence) => {
            eprintln!("promferry: {sentence}");
            return FAILED;
        }
    };
    let Arguments { sort, filter, interval, once, style, .. } = arguments;
    let view = View::new(client.address().to_owned(), sort, filter, style.style(), first);
    if once || !io::stdout().is_terminal() {
        return print_once(&view, system);
    }
    match live(Arc::new(client), view, Duration::from_secs(interval), system).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("promferry: {error}");
            FAILED
        }
    }
}

/// As wide as the terminal, or as `COLUMNS` says, and uncut otherwise; as long as it is.
fn print_once(view: &View, system: System) -> u8 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = columns.or((system.terminal_size)().map(|(width, _)| width)).filter(|width| *width > 0);
    let lines = view.lines(width.unwrap_or(usize::MAX), usize::MAX);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("promferry: stdout: {error}");
            FAILED
        }
        _ => 0,
    }
}

async fn live(client: Arc<Client>, mut view: View, interval: Duration, system: System) -> io::Result<()> {
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let mut quit = signal(SignalKind::quit())?;
    let mut suspended = signal(SignalKind::from_raw(libc::SIGTSTP))?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut looks = looks(client, interval);
    let mut screen = Screen::open(system)?;
    loop {
        screen.draw(&view)?;
        let [terminate, interrupt, hangup] = &mut ends;
        tokio::select! {
            look = looks.recv() => match look {
                Some(look) => view.note(look),
                None => return Ok(()),
            },
            key = screen.key() => match key {
                Some(Key::Quit) => return Ok(()),
                Some(key) => view.press(key),
                None => {}
            },
            _ = resized.recv() => {}
            // The shell gets its own screen and keys meanwhile.
            _ = suspended.recv() => screen.suspend()?,
            _ = quit.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// Looks again and again: a slow answer delays the next look, and no key.
fn looks(client: Arc<Client>, interval: Duration) -> mpsc::Receiver<Asked> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first is over.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if sender.send(client.ask().await).await.is_err() {
                return;
            }
        }
    });
    receiver
}
