//! TLS towards others, and listeners with theirs.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::Fields;
use super::http::host;
use super::values::Complaint;
use crate::net::tls::{ServerTls, TlsSettings, TlsVersion};

/// `tls_config` towards targets and receivers.
pub fn client_tls(fields: &Fields<'_>) -> TlsSettings {
    let Some(tls) = fields.section("tls_config") else { return TlsSettings::default() };
    let versions = [("TLS12", TlsVersion::Tls12), ("TLS13", TlsVersion::Tls13)];
    let settings = TlsSettings {
        ca_file: tls.path("ca_file"),
        cert_file: tls.path("cert_file"),
        key_file: tls.path("key_file"),
        server_name: tls.read_optional("server_name", host),
        min_version: tls.choice("min_version", &versions).unwrap_or_default(),
        insecure_skip_verify: tls.switch("insecure_skip_verify"),
        pin_sha256: tls.read_optional("pin_sha256", sha256),
    };
    match (tls.has("cert_file"), tls.has("key_file")) {
        (true, false) => tls.note("cert_file", "key_file is missing; a certificate needs its key"),
        (false, true) => tls.note("key_file", "cert_file is missing; a key needs its certificate"),
        _ => {}
    }
    settings
}

fn sha256(text: &str) -> Result<[u8; 32], Complaint> {
    let hex: String = text.chars().filter(|c| *c != ':').collect();
    let bytes = match hex.len() == 64 {
        true => (0..64).step_by(2).map(|i| hex_byte(hex.get(i..i + 2)?)).collect::<Option<Vec<u8>>>(),
        false => STANDARD.decode(text).ok(),
    };
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| "is not a SHA-256; write its 32 bytes as 64 hex digits or as base64".to_owned())
}

fn hex_byte(digits: &str) -> Option<u8> {
    // Without this, a sign would be taken for a digit.
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// `listen`, `tls_config` and `insecure`. Off loopback, clients must show a certificate or `insecure` be set.
pub fn listener(fields: &Fields<'_>) -> (SocketAddr, Option<ServerTls>) {
    let tls = fields.section("tls_config").map(|tls| server_tls(&tls));
    let listen = fields.read_optional("listen", address);
    let is_insecure = fields.switch("insecure");
    let asks_for_certificates = tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let is_open = !is_insecure && !asks_for_certificates;
    if let Some(listen) = listen.filter(|listen| is_open && !listen.ip().to_canonical().is_loopback()) {
        let remedy = "tls_config with client_ca_file is needed, or insecure: true";
        fields.note_value("listen", &listen.to_string(), format!("can be reached from other machines; {remedy}"));
    }
    (listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))), tls)
}

/// `tls_config` of a listener.
pub fn server_tls(tls: &Fields<'_>) -> ServerTls {
    ServerTls {
        cert_file: tls.path("cert_file").unwrap_or_default(),
        key_file: tls.path("key_file").unwrap_or_default(),
        client_ca_file: tls.path("client_ca_file"),
    }
}

/// An address and a port.
pub fn address(text: &str) -> Result<SocketAddr, Complaint> {
    let ip = text.rsplit_once(':').map(|(host, _)| host);
    let literal = match (text.strip_prefix("localhost:"), ip) {
        (Some(port), _) => format!("127.0.0.1:{port}"),
        (None, Some("")) => {
            return Err(format!("has no address; write \"0.0.0.0{}\" for all addresses", text.escape_debug()));
        }
        _ => text.to_owned(),
    };
    literal.parse().map_err(|_| "is not an address and a port, such as \"127.0.0.1:9698\" or \"[::1]:9698\"".to_owned())
}
