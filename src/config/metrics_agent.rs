//! `metrics_agent`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::common::name_text;
use super::fields::{Fields, Placed};
use super::http::host;
use super::scrape::Defaults;
use super::tls::{address, server_tls};
use crate::net::tls::ServerTls;

/// Tags of an agent, at most.
const TAGS_MAX: usize = 64;

/// The drop-in for Cloud Foundry's metrics-agent.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsAgent {
    /// Where the exporter listens.
    pub listen: SocketAddr,
    /// TLS of the exporter and of the port for own metrics. Clients must show a certificate.
    pub tls: ServerTls,
    /// Where its own metrics are.
    pub metrics_listen: SocketAddr,
    /// Where the entries are written; `None` for nowhere.
    pub targets_file: Option<PathBuf>,
    /// The host of the entries' targets, without brackets.
    pub address: String,
    /// Label of each entry, and the end of its source.
    pub instance_id: String,
    /// Labels for each entry, and for each metric of the ingress that does not have them.
    pub tags: BTreeMap<String, String>,
    /// A metric of the ingress that nobody sent for so long is forgotten.
    pub ttl: Duration,
    /// Time between two looks for such metrics.
    pub expiration_interval: Duration,
    /// The port for envelopes; `None` where it is off.
    pub ingress: Option<Ingress>,
}

/// The gRPC port for Loggregator's envelopes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its TLS. Clients must show a certificate.
    pub tls: ServerTls,
    /// Tags of a timer that become labels of its histogram.
    pub timer_tags: Vec<String>,
    /// Time between two readings of its metrics for outputs: `global.scrape_interval`.
    pub scrape_interval: Duration,
}

/// The section.
pub fn metrics_agent(fields: &Fields<'_>, defaults: &Defaults) -> MetricsAgent {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    MetricsAgent {
        listen: fields.read_optional("listen", address).unwrap_or(any),
        tls: mutual_tls(fields),
        metrics_listen: fields.read_optional("metrics_listen", address).unwrap_or(any),
        targets_file: fields.optional_text("targets_file").map(|path| fields.join(&path)),
        address: fields.read_optional("address", host).unwrap_or_default(),
        instance_id: fields.read_optional("instance_id", name_text).unwrap_or_default(),
        tags: tags(fields),
        ttl: fields.duration("ttl"),
        expiration_interval: fields.duration("expiration_interval"),
        ingress: fields.section("ingress").map(|ingress| Ingress {
            listen: ingress.read_optional("listen", address).unwrap_or(any),
            tls: mutual_tls(&ingress),
            timer_tags: ingress.texts("timer_tags").into_iter().map(|tag| tag.text).collect(),
            scrape_interval: defaults.interval(),
        }),
    }
}

/// `tls_config` of a port that no one may use without a certificate.
fn mutual_tls(fields: &Fields<'_>) -> ServerTls {
    let Some(section) = fields.section("tls_config") else {
        fields.missing("tls_config");
        return ServerTls { cert_file: PathBuf::new(), key_file: PathBuf::new(), client_ca_file: None };
    };
    if !section.has("client_ca_file") {
        fields.note("tls_config", "client_ca_file is missing; clients of this port must show a certificate");
    }
    server_tls(&section)
}

fn tags(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for Placed { key, text, at } in fields.text_map("tags") {
        match check_tag(&key) {
            Ok(()) if tags.len() == TAGS_MAX => {
                fields.note_at(at, format!("tags: these are more than the {TAGS_MAX} that there may be"));
                break;
            }
            Ok(()) => drop(tags.insert(key, text)),
            Err(complaint) => fields.note_at(at, format!("tags: {} {complaint}", super::quoted(&key))),
        }
    }
    tags
}

/// What is wrong with the name of a tag, as the end of a sentence that begins with it.
pub fn check_tag(name: &str) -> Result<(), &'static str> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit());
    match is_name && !name.starts_with("__") {
        true => Ok(()),
        false => Err("is not the name of a label; use letters, digits and `_`, no digit in front, and no `__`"),
    }
}
