//! `outputs.prometheus_client`.

use std::net::IpAddr;

use super::filter::Rules;
use super::options::Options;
use super::output::{Output, Written};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

const LOST: [(&str, &str); 11] = [
    ("http_headers", "answers have no headers of one's own"),
    ("metric_types", "types are what exporters say"),
    ("tls_key_pwd", "keys that need a password cannot be read; write the key without one, with mode 0600"),
    ("tls_cipher_suites", "the cipher suites cannot be chosen; only those that are held to be secure are used"),
    ("tls_min_version", "TLS 1.2 and 1.3 are spoken"),
    ("tls_max_version", "TLS 1.2 and 1.3 are spoken"),
    ("tls_allowed_dns_names", "clients are known by their authority, not by their names"),
    ("startup_error_behavior", "a port that cannot be listened on is an error at the start"),
    ("metricpass", "expressions of CEL are not supported; write relabel rules"),
    ("use_socket_activation", "ports are opened by promferry itself"),
    ("name_sanitization", "names stay as exporters have them"),
];

/// What is never served for longer than its scrape, or never was: samples are the exporters' alone.
const HARMLESS: [&str; 9] = [
    "expiration_interval",
    "collectors_exclude",
    "metric_version",
    "read_timeout",
    "write_timeout",
    "string_as_label",
    "log_level",
    "alias",
    "data_format",
];

pub(super) fn write(output: &Output<'_>) -> Option<Written> {
    let options = &output.options;
    let mut map = Map::default();
    let listen = options.text("listen");
    let place = listen.as_ref().map_or(&options.place, |listen| &listen.place);
    let text = listen.as_ref().map_or_else(|| Text::literal(":9273"), |listen| listen.value.clone());
    let (address, is_loopback) = match address(&text) {
        Some(address) => address,
        None => {
            options.lose(place, "listen: write an address and a port, such as \"0.0.0.0:9273\"");
            (Text::literal("127.0.0.1:9273"), true)
        }
    };
    let (tls, has_clients) = listener_tls(options);
    let (address, is_loopback) = match is_protected(options, has_clients) && !is_loopback {
        true => (on_loopback(&address), true),
        false => (address, is_loopback),
    };
    map.add("listen", Node::text(&address));
    if let Some(path) = options.text("path") {
        let is_fine =
            |path: &str| path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && !"?#".contains(c));
        match path.value.fixed() {
            Some(text) if !is_fine(text) || text.starts_with("/-/") => {
                options.lose(&path.place, "path: is not one that begins with a slash; it is /metrics here");
            }
            _ => map.add("path", Node::text(&path.value)),
        }
    }
    map.add_map("tls_config", tls);
    if !is_loopback && !has_clients {
        map.comment("As Telegraf: whoever reaches the port may read it.");
        map.add("insecure", Node::word(true));
    }
    if options.is_on("export_timestamp") {
        map.add("timestamps", Node::word(true));
    }
    options.ignore(&HARMLESS);
    options.ignore(&["basic_password", "metric_batch_size", "metric_buffer_limit", "flush_interval", "flush_jitter"]);
    options.lose_rest("outputs.prometheus_client", &LOST);
    options.tell(&mut map);
    Some(Written {
        key: "expose",
        section: map,
        rules: Rules::default(),
        place: Some(address.typed()),
        has_queue: false,
    })
}

/// Whether it asks for something of its readers that cannot be carried over. Without client certificates it is then not opened
/// to everybody instead.
fn is_protected(options: &Options<'_>, has_clients: bool) -> bool {
    let (user, range) = (options.text("basic_username"), options.texts("ip_range"));
    let user = user.map(|user| ("basic_username", user.place));
    let range = range.into_iter().next().map(|range| ("ip_range", range.place));
    let found: Vec<_> = user.into_iter().chain(range).collect();
    for (key, place) in &found {
        let text = match has_clients {
            true => "the endpoint knows client certificates only",
            false => {
                "the endpoint knows client certificates only, so it listens on loopback here; for others write client_ca_file and an \
                 address that they reach"
            }
        };
        options.lose(place, format!("{key}: {text}"));
    }
    !found.is_empty() && !has_clients
}

fn on_loopback(address: &Text) -> Text {
    let opaque = address.opaque().unwrap_or_default();
    let port = opaque.rsplit_once(':').map_or("9273", |(_, port)| port);
    Text::joined([&Text::literal("127.0.0.1:"), &address.cleared(port)])
}

/// `tls_config`, and whether clients have to show certificates.
fn listener_tls(options: &Options<'_>) -> (Map, bool) {
    let mut tls = Map::default();
    let mut authorities = options.texts("tls_allowed_cacerts").into_iter();
    let (Some(cert), Some(key)) = (options.text("tls_cert"), options.text("tls_key")) else {
        if let Some(authority) = authorities.next() {
            let text = "tls_allowed_cacerts: clients show certificates only where tls_cert and tls_key are given";
            options.lose(&authority.place, text);
        }
        return (tls, false);
    };
    tls.add("cert_file", Node::text(&cert.value));
    tls.add("key_file", Node::text(&key.value));
    let first = authorities.next();
    let has_clients = first.is_some();
    tls.add_some("client_ca_file", first.map(|authority| Node::text(&authority.value)));
    if let Some(second) = authorities.next() {
        let text = "tls_allowed_cacerts: put all authorities into the first file, one behind the other";
        options.lose(&second.place, text);
    }
    (tls, has_clients)
}

/// The address, and whether only this machine reaches it.
fn address(text: &Text) -> Option<(Text, bool)> {
    let opaque = text.opaque()?;
    let opaque = opaque.strip_prefix("tcp://").unwrap_or(&opaque);
    let (host, port) = opaque.rsplit_once(':')?;
    let is_port = text.cleared(port).fixed().is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match text.cleared(bare).fixed() {
        Some("") => return is_port.then(|| (text.cleared(&format!("0.0.0.0:{port}")), false)),
        Some("localhost") => true,
        Some(host) => host.parse::<IpAddr>().ok()?.is_loopback(),
        None => false,
    };
    is_port.then(|| (text.cleared(opaque), is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let cases = [
            (":9273", Some(("0.0.0.0:9273", false))),
            ("tcp://:9273", Some(("0.0.0.0:9273", false))),
            ("127.0.0.1:1", Some(("127.0.0.1:1", true))),
            ("[::1]:1", Some(("[::1]:1", true))),
            ("10.0.0.1:$PORT", Some(("10.0.0.1:${PORT}", false))),
            ("host:1", None),
            ("9273", None),
            ("vsock://:9273", None),
            (":0", None),
        ];
        for (listen, expected) in cases {
            let found = address(&Text::read(listen).unwrap());
            let found = found.map(|(text, is_loopback)| (text.typed(), is_loopback));
            assert_eq!(found, expected.map(|(text, is_loopback)| (text.to_owned(), is_loopback)), "{listen}");
        }
    }
}
