//! From flags to the text of a configuration.

use std::path::Path;

use super::super::endpoint::{self, Endpoint, NO_CREDENTIALS, file, text};
use super::{Arguments, OFF, Quick};
use crate::config::quoted;
use crate::config::schema::advice;
use crate::config::writer::{Map, Node, document};

/// The name of the first group of targets, their label `job`.
const JOB: &str = "scrape";

/// Where OTLP is spoken over gRPC, by convention.
const OTLP_GRPC_PORT: &str = ":4317";

/// The kinds of `--to`, each with how it is written.
const KINDS: [(&str, &str); 10] = [
    ("elasticsearch", "elasticsearch=https://HOST:9200"),
    ("opensearch", "opensearch=https://HOST:9200"),
    ("splunk_hec", "splunk_hec=https://HOST:8088"),
    ("remote_write", "remote_write=https://HOST:9090/api/v1/write"),
    ("otlp", "otlp=https://HOST:4318"),
    ("signalfx", "signalfx=REALM"),
    ("dogstatsd", "dogstatsd, or dogstatsd=HOST:8125"),
    ("expose", "expose, or expose=:9699"),
    ("file", "file=PATH"),
    ("stdout", "stdout"),
];

pub(super) fn quick(arguments: &Arguments) -> Result<Quick, String> {
    if arguments.scrape.is_empty() {
        return Err("promferry: --scrape is missing: what is scraped, such as --scrape https://10.0.0.5:14726/metrics"
            .to_owned());
    }
    if arguments.to.is_empty() {
        return Err(
            "promferry: --to is missing: where it goes, such as --to elasticsearch=https://es:9200, or --to stdout"
                .to_owned(),
        );
    }
    let (scrape_configs, scrapes) = scrapes(arguments)?;
    let (outputs, flags) = outputs(arguments)?;
    let mut root = Map::default();
    root.comment("Made by promferry run --print-config. The keys are explained in docs/config.md.");
    let interval = arguments.interval.as_deref();
    root.add_map("global", interval.map(|interval| ("scrape_interval", word(interval))).into_iter().collect());
    root.add("scrape_configs", Node::List(scrape_configs));
    root.add("outputs", Node::List(outputs));
    root.add_some("admin", arguments.admin.as_deref().map(admin));
    Ok(Quick { text: document(&root), scrapes, outputs: flags, to_ca: arguments.to_ca.clone() })
}

fn admin(address: &str) -> Node {
    match address {
        OFF => Node::word("null"),
        _ => Node::Map(Map::from_iter([("listen", text(&listen(address)))])),
    }
}

/// A text that needs no quotes where it is what it should be.
fn word(typed: &str) -> Node {
    let is_plain = typed.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !typed.is_empty();
    if is_plain { Node::word(typed) } else { text(typed) }
}

/// An address to listen on; on loopback, where it has no host.
fn listen(address: &str) -> String {
    if address.starts_with(':') { format!("127.0.0.1{address}") } else { address.to_owned() }
}

/// An entry for each way in which targets are asked, with its flags.
fn scrapes(arguments: &Arguments) -> Result<(Vec<Map>, Vec<String>), String> {
    let mut groups: Vec<(Endpoint, Vec<String>, Vec<&str>)> = Vec::new();
    for url in &arguments.scrape {
        let endpoint = Endpoint::parse(url).map_err(|complaint| match complaint {
            NO_CREDENTIALS => format!("promferry: --scrape: {complaint}"),
            _ => format!("promferry: --scrape {}: {complaint}; write https://… where it speaks TLS", shown(url)),
        })?;
        let address = endpoint.address.clone();
        let is_alike = |(held, ..): &&mut (Endpoint, _, _)| {
            (&held.scheme, &held.path, &held.params) == (&endpoint.scheme, &endpoint.path, &endpoint.params)
        };
        match groups.iter_mut().find(is_alike) {
            Some((_, addresses, urls)) => {
                addresses.push(address);
                urls.push(url);
            }
            None => groups.push((endpoint, vec![address], vec![url])),
        }
    }
    let tls = arguments.tls.section(file).map_err(|error| format!("promferry: {error}"))?;
    let has_tls = groups.iter().any(|(endpoint, ..)| endpoint.scheme == "https");
    if let (false, Some(flag)) = (has_tls, arguments.tls.given()) {
        return Err(format!("promferry: {flag} is of no use: no URL of --scrape begins with https://"));
    }
    let mut flags = Vec::new();
    let mut maps = Vec::new();
    for (nth, (endpoint, addresses, urls)) in groups.into_iter().enumerate() {
        let mut map = Map::default();
        map.add("job_name", text(&numbered(JOB, nth)));
        endpoint.write(&mut map);
        if endpoint.scheme == "https" {
            map.add_map("tls_config", tls.clone());
        }
        let targets = Node::Scalars(addresses.iter().map(|address| endpoint::quoted(address)).collect());
        map.add("static_configs", Node::List(vec![Map::from_iter([("targets", targets)])]));
        maps.push(map);
        flags.push(match &urls[..] {
            [url] => format!("--scrape {}", shown(url)),
            _ => "--scrape".to_owned(),
        });
    }
    Ok((maps, flags))
}

/// `name` for the first, `name-2` for the second.
fn numbered(name: &str, before: usize) -> String {
    if before == 0 { name.to_owned() } else { format!("{name}-{}", before + 1) }
}

/// A value of a flag for a message: without a query, which may hold a secret.
fn shown(value: &str) -> String {
    let plain = value.split('?').next().unwrap_or_default();
    if plain.chars().all(|c| c.is_ascii_graphic() && c != '"') && plain.len() <= 80 {
        plain.to_owned()
    } else {
        quoted(plain)
    }
}

/// One `--to`.
struct Output<'a> {
    /// As it was typed.
    kind: &'a str,
    place: &'a str,
    flag: String,
    /// The section of its kind, and the keys in it.
    section: &'static str,
    keys: Map,
}

fn outputs(arguments: &Arguments) -> Result<(Vec<Map>, Vec<String>), String> {
    let mut outputs = Vec::new();
    for to in &arguments.to {
        let (kind, place) = to.split_once('=').unwrap_or((to, ""));
        let is_word = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let flag = match place {
            // A URL alone, whose password may have a `=` in it.
            _ if may_hold_credentials(to) && !is_word => "--to".to_owned(),
            _ if may_hold_credentials(place) => format!("--to {}", shown(kind)),
            "" => format!("--to {}", shown(kind)),
            _ => format!("--to {}={}", shown(kind), shown(place)),
        };
        let read = output(kind, place).map_err(|complaint| format!("promferry: {flag}: {complaint}"))?;
        outputs.push(Output { kind, place, flag, section: read.0, keys: read.1 });
    }
    credentials(arguments, &mut outputs)?;
    let mut maps = Vec::new();
    for (nth, output) in outputs.iter().enumerate() {
        let before = outputs[..nth].iter().filter(|other| other.kind == output.kind).count();
        let section = if output.keys.has_keys() { Node::Map(output.keys.clone()) } else { Node::word("{}") };
        maps.push(Map::from_iter([("name", text(&numbered(output.kind, before))), (output.section, section)]));
    }
    Ok((maps, outputs.into_iter().map(|output| output.flag).collect()))
}

/// The section of a kind, and what is in it.
fn output(kind: &str, place: &str) -> Result<(&'static str, Map), String> {
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let Some((_, example)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return Err(match kind {
            "loggregator" => "needs certificates of its own; write it into a configuration".to_owned(),
            _ => format!("no such kind of output{}", advice_for(kind, &names)),
        });
    };
    if place.is_empty() && !matches!(kind, "stdout" | "expose" | "dogstatsd") {
        return Err(format!("where to? write --to {example}"));
    }
    if kind != "file" && may_hold_credentials(place) {
        return Err("credentials in a URL are not taken; give --username and --password-file".to_owned());
    }
    let urls = || ("urls", Node::Scalars(vec![endpoint::quoted(place)]));
    Ok(match kind {
        "elasticsearch" | "opensearch" => ("elasticsearch", Map::from_iter([urls()])),
        "splunk_hec" => ("splunk_hec", Map::from_iter([urls()])),
        "remote_write" => ("remote_write", Map::from_iter([("url", text(place))])),
        "otlp" => {
            let is_grpc = place.trim_end_matches('/').ends_with(OTLP_GRPC_PORT);
            let protocol = is_grpc.then(|| ("protocol", Node::word("grpc")));
            ("otlp", protocol.into_iter().chain([urls()]).collect())
        }
        "signalfx" => {
            let key = if place.contains("://") { "url" } else { "realm" };
            ("signalfx", Map::from_iter([(key, text(place))]))
        }
        "dogstatsd" => ("dogstatsd", optional("address", place)),
        "expose" => {
            let (address, path) = place.split_at(place.find('/').unwrap_or(place.len()));
            let mut keys = optional("listen", &listen(address));
            keys.add_some("path", (!path.is_empty()).then(|| text(path)));
            ("expose", keys)
        }
        "file" if place != "-" => ("file", Map::from_iter([("path", file(Path::new(place))?)])),
        "stdout" if !place.is_empty() => return Err("takes no value; for a file, write --to file=PATH".to_owned()),
        _ => ("file", Map::from_iter([("path", text("-"))])),
    })
}

/// Whether there may be a user in it. No receiver's URL has a use for an `@`.
fn may_hold_credentials(place: &str) -> bool {
    place.contains('@')
}

/// The closest word, or all of them.
fn advice_for(kind: &str, names: &[&str]) -> String {
    match advice(kind, names) {
        words if words.is_empty() => format!("; choices are {}", crate::config::schema::listed(names)),
        words => words,
    }
}

fn optional(key: &'static str, value: &str) -> Map {
    (!value.is_empty()).then(|| (key, text(value))).into_iter().collect()
}

/// Gives what the flags hold to the output that takes it. A secret goes to one receiver, and never to several.
fn credentials(arguments: &Arguments, outputs: &mut [Output<'_>]) -> Result<(), String> {
    if let Some(ca) = &arguments.to_ca {
        let mut is_used = false;
        for output in outputs.iter_mut().filter(|output| output.place.starts_with("https://")) {
            let ca = file(ca).map_err(|error| format!("promferry: --to-ca: {error}"))?;
            output.keys.add("tls_config", Node::Map(Map::from_iter([("ca_file", ca)])));
            is_used = true;
        }
        if !is_used {
            return Err("promferry: --to-ca is of no use: no URL of --to begins with https://".to_owned());
        }
    }
    if let (Some(username), Some(path)) = (&arguments.username, &arguments.password_file) {
        let output = the_one("--username", &["elasticsearch", "remote_write", "otlp"], outputs)?;
        let password = file(path).map_err(|error| format!("promferry: --password-file: {error}"))?;
        let basic = Map::from_iter([("username", text(username)), ("password_file", password)]);
        output.keys.add("basic_auth", Node::Map(basic));
    }
    if let Some(path) = &arguments.token_file {
        // Without one, these two can do nothing.
        let needs_it = ["splunk_hec", "signalfx"];
        let takers: &[&str] = match outputs.iter().any(|output| needs_it.contains(&output.section)) {
            true => &needs_it,
            false => &["splunk_hec", "signalfx", "remote_write", "otlp"],
        };
        let output = the_one("--token-file", takers, outputs)?;
        let token = file(path).map_err(|error| format!("promferry: --token-file: {error}"))?;
        match output.section {
            "splunk_hec" | "signalfx" => output.keys.add("token_file", token),
            _ => output.keys.add("authorization", Node::Map(Map::from_iter([("credentials_file", token)]))),
        }
    }
    if let Some(path) = &arguments.api_key_file {
        let output = the_one("--api-key-file", &["elasticsearch"], outputs)?;
        let key = file(path).map_err(|error| format!("promferry: --api-key-file: {error}"))?;
        output.keys.add("api_key_file", key);
    }
    Ok(())
}

/// The only output of these sections.
fn the_one<'o, 'a>(flag: &str, sections: &[&str], outputs: &'o mut [Output<'a>]) -> Result<&'o mut Output<'a>, String> {
    let mut takers: Vec<_> = outputs.iter_mut().filter(|output| sections.contains(&output.section)).collect();
    match (takers.pop(), takers.last()) {
        (Some(taker), None) => Ok(taker),
        (Some(taker), Some(other)) => Err(format!(
            "promferry: {flag} fits {} and {}, and a secret is for one receiver; leave it out, and write it into what \
             --print-config prints",
            other.flag, taker.flag
        )),
        (None, _) => {
            let words = crate::config::schema::listed(sections);
            Err(format!("promferry: {flag} is of no use: it is for {words}, and no --to is one of them"))
        }
    }
}
