//! `outputs[].loggregator`.

use crate::config::checked::Loggregator;
use crate::config::common::name_text;
use crate::config::fields::Fields;
use crate::config::http::host;
use crate::config::tls::client_tls;
use crate::config::values::Complaint;
use crate::net::tls::TlsSettings;

/// The name that all agents' certificates have.
pub const AGENT_NAME: &str = "metron";

pub fn loggregator(fields: &Fields<'_>) -> Loggregator {
    let (host, port) = fields.read_optional("address", address).unwrap_or_default();
    let tls = client_tls(fields);
    if let Some(tls) = fields.section("tls_config").filter(|tls| !tls.has("cert_file") && !tls.has("key_file")) {
        tls.missing("cert_file");
    }
    Loggregator {
        host,
        port,
        tls: TlsSettings { server_name: tls.server_name.or_else(|| Some(AGENT_NAME.to_owned())), ..tls },
        source_id: fields.read_optional("source_id", name_text).unwrap_or_default(),
        timeout: fields.duration("timeout"),
    }
}

/// A host and a port.
pub fn address(text: &str) -> Result<(String, u16), Complaint> {
    let parts = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    match parts.filter(|(_, port)| *port > 0) {
        Some((name, port)) if !name.contains(':') || name.starts_with('[') => Ok((host(name)?, port)),
        _ => Err("is not a host and a port, such as \"127.0.0.1:3458\"".to_owned()),
    }
}
