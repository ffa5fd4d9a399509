//! `promferry probe`: one scrape, explained.
//!
//! The target is not trusted: what is kept of it is bounded by the limits of a scrape, and what is printed is cut and escaped.

mod advice;
mod json;
mod page;
mod survey;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::endpoint::{self, Endpoint, NO_CREDENTIALS, TlsArguments};
use super::{FAILED, USAGE, source, style};
use crate::config::writer::{self, Map, Node};
use crate::config::{self, Source, YAML_VARIABLE};
use crate::discovery::{discover_files, discover_once};
use crate::net::credentials::Credentials;
use crate::scrape::{Probe, probe};
use crate::target::Target;
use survey::Survey;

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
    /// Print an object a target instead, for scripts; its keys are documented
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    style: style::Arguments,
}

/// All that is known of one probe.
struct Report<'p> {
    target: &'p Target,
    probe: &'p Probe,
    /// What the body is made of, where there is one.
    survey: Option<Survey<'p>>,
    advice: Vec<String>,
    now: Timestamp,
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
        let probe = probe(&target, &credentials).await;
        if probe.outcome.is_err() {
            code = FAILED;
        }
        match print(&target, &probe, &arguments) {
            Ok(()) => {}
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return code,
            Err(error) => {
                eprintln!("promferry: stdout: {error}");
                return FAILED;
            }
        }
    }
    code
}

fn print(target: &Target, probe: &Probe, arguments: &Arguments) -> io::Result<()> {
    let now = Timestamp::now();
    let survey = probe.outcome.as_ref().ok().map(|found| Survey::of(&found.parsed));
    let advice = advice::advice(target, probe, survey.as_ref(), now);
    let report = Report { target, probe, survey, advice, now };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match arguments.json {
        true => writeln!(out, "{}", style::json_line(&json::object(&report)))?,
        false => page::print(&mut out, arguments.style.style(), &report)?,
    }
    out.flush()
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
    let tls = arguments.tls.section(endpoint::file_as_typed).map_err(|error| {
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
