//! `promferry demo`: the main job with nothing to set up.
//!
//! Everything is real but the jobs: certificates, mutual TLS, files in a BOSH layout, the configuration, the pipeline. On purpose
//! one job's certificate has expired, and one job does not run. All of it is in one temporary folder, which is removed at the end.

mod body;
mod world;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};

use super::{FAILED, source};
use crate::app::{Account, App};
use crate::config::{self, Source};
use crate::exposition::write::CONTENT_TYPE_TEXT;
use crate::net::credentials::Credentials;
use crate::net::server::{self, Handler, Limits, Server};
use crate::net::tls::ServerTls;
use crate::scrape::Health;
use tokio::net::TcpSocket;
use world::{Certificates, Folder, JOBS, Job, State};

/// The ports that the documentation names, of the admin port and of the aggregate endpoint.
const PORTS: [u16; 2] = [9698, 9699];

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// End by itself after so many seconds; otherwise with Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    super::block_on(async {
        match demo(arguments).await {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("promferry demo: {error}");
                FAILED
            }
        }
    })
}

async fn demo(arguments: Arguments) -> Result<(), String> {
    let folder = Folder::create().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let jobs = start_jobs(folder.path()).await?;
    let file = folder.path().join("promferry.yml");
    let app = match start(folder.path(), &file, PORTS.map(free_port)).await {
        Ok(app) => app,
        // Somebody took a port since it was looked at: another demo that starts now.
        Err(_) => start(folder.path(), &file, [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 2]).await?,
    };
    introduce(&app, folder.path(), &file);

    let ended = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("cannot listen to signals: {error}"))?;
    tokio::select! {
        () = watch(&app) => {}
        () = ended => {}
        _ = tokio::signal::ctrl_c() => println!(),
        _ = terminate.recv() => {}
    }
    println!("draining…");
    let accounts = app.shutdown().await;
    print_ledger(&accounts);
    for job in jobs.servers {
        job.stop(Duration::from_secs(1)).await;
    }
    println!("{} is removed", folder.path().display());
    Ok(())
}

/// The jobs at work.
struct Jobs {
    servers: Vec<Server>,
    /// Ports of jobs that do not run: nobody else gets them, and nobody answers there.
    _stopped: Vec<TcpSocket>,
}

/// Starts the jobs and announces them.
async fn start_jobs(folder: &Path) -> Result<Jobs, String> {
    let certificates = Certificates::create(folder).map_err(|error| format!("cannot make certificates: {error}"))?;
    let credentials = Credentials::new(Duration::from_secs(1));
    let (mut servers, mut stopped) = (Vec::new(), Vec::new());
    for (job, pair) in JOBS.iter().zip(&certificates.servers) {
        let announce =
            |port| world::announce(folder, job, port).map_err(|error| format!("cannot announce a job: {error}"));
        if job.state == State::Stopped {
            let (socket, port) = bound().map_err(|error| format!("cannot have a port: {error}"))?;
            announce(port)?;
            stopped.push(socket);
            continue;
        }
        let tls = ServerTls {
            cert_file: pair.cert.clone(),
            key_file: pair.key.clone(),
            client_ca_file: Some(certificates.ca.clone()),
        };
        let listener = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let server = Server::start(listener, Some(credentials.listener(&tls)), Limits::default(), job_handler(job))
            .map_err(|error| format!("cannot start a job: {error}"))?;
        announce(server.listens_on().port())?;
        servers.push(server);
    }
    Ok(Jobs { servers, _stopped: stopped })
}

/// A port on which nobody listens.
fn bound() -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

fn job_handler(job: &'static Job) -> Handler {
    let began = Instant::now();
    Arc::new(move |request| {
        let answer = if request.path == "/metrics" {
            let mut answer = server::Response::new(server::full(body::exposition(job.name, began.elapsed())));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_TEXT));
            answer
        } else {
            server::text(StatusCode::NOT_FOUND, "try /metrics\n")
        };
        Box::pin(std::future::ready(answer))
    })
}

/// Writes the configuration and starts it.
async fn start(folder: &Path, file: &Path, ports: [SocketAddr; 2]) -> Result<App, String> {
    std::fs::write(file, configuration(folder, ports)).map_err(|error| format!("{}: {error}", file.display()))?;
    let source = Source::File(file.to_owned());
    let config = config::load(&source, &source::environment).map_err(|problems| problems.to_string())?;
    App::start(config).await
}

fn configuration(folder: &Path, [admin, aggregate]: [SocketAddr; 2]) -> String {
    let folder = folder.display();
    format!(
        "global: {{scrape_interval: 1s, external_labels: {{deployment: demo}}}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config:
      ca_file: {folder}/metric_scraper_ca.crt
      cert_file: {folder}/scrape.crt
      key_file: {folder}/scrape.key
    prom_scraper_sd_configs:
      - files: [\"{folder}/jobs/*/config/prom_scraper_config.yml\"]
outputs:
  - name: aggregate
    expose: {{listen: \"{aggregate}\"}}
  - name: samples
    file: {{path: {folder}/samples.jsonl, format: json, rotate_size: 16MiB, rotate_keep: 1}}
    batch: {{flush_interval: 1s, flush_jitter: 0s}}
admin: {{listen: \"{admin}\"}}
"
    )
}

/// The port that the documentation names, or any other where that is taken.
fn free_port(wanted: u16) -> SocketAddr {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted));
    let is_free = TcpListener::bind(wanted).is_ok();
    if is_free { wanted } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
}

fn introduce(app: &App, folder: &Path, file: &Path) {
    println!("promferry demo: five jobs in {}, scraped over mutual TLS every second", folder.display());
    for (_, address) in app.exposed() {
        println!("\n  the aggregate endpoint   curl -s http://{address}/metrics");
    }
    if let Some(address) = app.admin() {
        println!("  the status page          http://{address}/");
        println!("  promferry's own metrics  curl -s http://{address}/metrics");
    }
    println!("  every sample, as JSON    tail -f {}/samples.jsonl", folder.display());
    let program = std::env::current_exe().unwrap_or_else(|_| "promferry".into());
    println!("\ntry, in another terminal:");
    println!("  {} targets -c {}", program.display(), file.display());
    println!("  {} probe --source uaa -c {}", program.display(), file.display());
    println!(
        "  rm -r {}/jobs/rep                  # its series go from the aggregate endpoint within a second",
        folder.display()
    );
    println!("  echo 'port: x' > {}/jobs/gorouter/config/prom_scraper_config.yml", folder.display());
    println!("                                     # the file is named in the log, and its last good target stays");
    println!("\nCtrl-C ends it and prints what became of every sample.\n");
}

/// Tells what the first round brought, then waits for ever.
async fn watch(app: &App) {
    let scrapes = app.scrapes();
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while !scrapes.is_first_round_done() || scrapes.all().len() < JOBS.len() {
        look.tick().await;
    }
    for watched in scrapes.all().iter() {
        let status = watched.status();
        let source = watched.target.origin.labels.get_or_empty("source_id");
        match (status.health, status.fault) {
            (Health::Up, _) => println!("{source}: up, {} samples", status.last.samples_scraped),
            (_, fault) => {
                println!("{source}: down, which is on purpose here; promferry says why:");
                println!("  {}", fault.map(|fault| fault.error).unwrap_or_default());
            }
        }
    }
    println!();
    std::future::pending().await
}

fn print_ledger(accounts: &[Account]) {
    println!("\nthe ledger: offered = delivered + duplicate + rejected + dropped + skipped + waiting");
    for Account { output, counts } in accounts {
        let settled = &counts.settled;
        println!(
            "  {}: {} offered = {} delivered{}{}{}{} + {} waiting",
            output.name,
            counts.offered,
            settled.delivered,
            reasons("duplicate", &settled.duplicate),
            reasons("rejected", &settled.rejected),
            reasons("dropped", &settled.dropped),
            reasons("skipped", &settled.skipped),
            counts.waiting
        );
    }
}

fn reasons(word: &str, reasons: &crate::pipeline::Reasons) -> String {
    reasons.iter().map(|(reason, samples)| format!(" + {samples} {word} ({reason})")).collect()
}
