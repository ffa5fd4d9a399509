//! `promferry probe`: one scrape, explained.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{self, Endpoint, NO_CREDENTIALS, TlsArguments};
use super::{FAILED, USAGE, source};
use crate::config::writer::{self, Map, Node};
use crate::config::{self, Source, YAML_VARIABLE};
use crate::discovery::{discover_files, discover_once};
use crate::net::connect::TlsInfo;
use crate::net::credentials::Credentials;
use crate::net::text;
use crate::scrape::{Probe, probe};
use crate::target::Target;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What to scrape, such as https://10.0.16.4:14726/metrics
    #[arg(required_unless_present = "source_id", conflicts_with = "source_id")]
    url: Option<String>,
    /// Scrape the targets that the configuration finds with this source_id
    #[arg(long = "source", value_name = "ID")]
    source_id: Option<String>,
    #[command(flatten)]
    source: source::Arguments,
    #[command(flatten)]
    tls: TlsArguments,
    /// Time for all of it
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    super::block_on(probe_all(arguments))
}

async fn probe_all(arguments: Arguments) -> u8 {
    let credentials = Arc::new(Credentials::new(Duration::ZERO));
    let targets = match targets(&arguments, &credentials).await {
        Ok(targets) => targets,
        Err(code) => return code,
    };
    let mut code = 0;
    for target in targets {
        println!("{}", target.origin.url);
        match probe(&target, &credentials).await {
            Ok(probe) => print(&probe),
            Err(error) => {
                println!("  failed       {error}");
                code = FAILED;
            }
        }
    }
    code
}

async fn targets(arguments: &Arguments, credentials: &Arc<Credentials>) -> Result<Vec<Arc<Target>>, u8> {
    let Some(id) = &arguments.source_id else {
        let url = arguments.url.as_deref().unwrap_or_default();
        return by_url(url, arguments);
    };
    let set = discover_once(arguments.source.load()?.scrapes, credentials.clone()).await;
    let found: Vec<_> =
        set.targets.iter().filter(|target| target.origin.labels.get("source_id") == Some(id)).cloned().collect();
    if found.is_empty() {
        let count = set.targets.len();
        eprintln!(
            "promferry: none of the {count} targets has the source_id {}; see promferry targets",
            config::quoted(id)
        );
        return Err(FAILED);
    }
    Ok(found)
}

/// The target of a URL: written as a configuration, so that it means here what it means there.
fn by_url(url: &str, arguments: &Arguments) -> Result<Vec<Arc<Target>>, u8> {
    let endpoint = Endpoint::parse(url).map_err(|complaint| {
        match complaint {
            // Not repeated: it holds a password.
            NO_CREDENTIALS => eprintln!("promferry: {complaint}"),
            _ => eprintln!("promferry: {}: {complaint}", config::quoted(url)),
        }
        USAGE
    })?;
    let tls = arguments.tls.section().map_err(|error| {
        eprintln!("promferry: {error}");
        USAGE
    })?;
    let timeout = format!("{}s", arguments.timeout);
    let mut scrape = Map::from_iter([
        ("job_name", Node::word("probe")),
        ("scrape_interval", Node::word(&timeout)),
        ("scrape_timeout", Node::word(&timeout)),
    ]);
    endpoint.write(&mut scrape);
    scrape.add_map("tls_config", tls);
    let targets = Node::Scalars(vec![endpoint::quoted(&endpoint.address)]);
    scrape.add("static_configs", Node::List(vec![Map::from_iter([("targets", targets)])]));
    let nowhere = Map::from_iter([
        ("name", Node::word("none")),
        ("file", Node::Map(Map::from_iter([("path", Node::verbatim("-"))]))),
    ]);
    let root = Map::from_iter([("scrape_configs", Node::List(vec![scrape])), ("outputs", Node::List(vec![nowhere]))]);
    let yaml = writer::document(&root);
    let loaded = config::load(&Source::Variable, &|name| (name == YAML_VARIABLE).then(|| yaml.clone()));
    let config = loaded.map_err(|problems| {
        for problem in problems.0 {
            eprintln!("promferry: {}", problem.message);
        }
        USAGE
    })?;
    let set = discover_files(config.scrapes);
    for dropped in &set.dropped {
        eprintln!("promferry: {}", dropped.reason);
    }
    if set.targets.is_empty() { Err(USAGE) } else { Ok(set.targets.clone()) }
}

fn print(probe: &Probe) {
    let Probe { head, counts, native_histograms, exemplars, duration } = probe;
    println!("  address      {}", head.peer.address);
    if let Some(url) = &head.redirected_to {
        println!("  redirected   to {url}");
    }
    match &head.peer.tls {
        Some(tls) => print_tls(tls),
        None => println!("  TLS          none"),
    }
    let format = head.content_type.as_deref().unwrap_or("no Content-Type");
    let (bytes, time) = (text::bytes(counts.body_bytes), text::duration(*duration));
    println!("  answer       {}, {format}, {bytes} in {time}", head.status);
    let by = if head.is_fallback { "fallback_scrape_protocol" } else { "its Content-Type" };
    println!("  format       {}, by {by}", head.format);
    println!("  samples      {}, {} after relabelling", counts.samples_scraped, counts.samples_post_relabelling);
    if *native_histograms > 0 {
        println!("  histograms   {native_histograms} native ones among the samples");
    }
    if *exemplars > 0 {
        println!("  exemplars    {exemplars}");
    }
    if counts.duplicates > 0 {
        println!("  duplicates   {} samples of series that came before in the same body, left out", counts.duplicates);
    }
    if counts.bad_lines > 0 {
        println!("  bad lines    {}, skipped; the first of them:", counts.bad_lines);
        for line in &counts.first_bad_lines {
            println!("    {line}");
        }
    }
}

fn print_tls(tls: &TlsInfo) {
    println!("  TLS          {}, asked for \"{}\"", tls.version, tls.server_name);
    let Some(certificate) = &tls.certificate else { return };
    println!("  certificate  {}, signed by {}", certificate.subject, certificate.issuer);
    let names = if certificate.names.is_empty() { "none".to_owned() } else { certificate.names.join(", ") };
    println!("  names on it  {names}");
    let days = certificate.days_left(jiff::Timestamp::now());
    println!("  valid until  {}, {days} days from now", certificate.not_after);
    println!("  pin_sha256   {}", certificate.pin);
}
