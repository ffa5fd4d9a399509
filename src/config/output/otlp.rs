//! `outputs[].otlp`.

use std::collections::BTreeMap;

use super::urls;
use crate::config::checked::{HttpOutput, Otlp, OtlpProtocol, OtlpTemporality};
use crate::config::fields::Fields;
use crate::config::http::{auth, plain_headers, url_path};
use crate::config::tls::client_tls;
use crate::net::Url;

/// Labels that become attributes of the resource, in any case: what an instance of a service is told from others by.
const RESOURCE_LABELS: [(&str, &str); 2] = [("instance", "service.instance.id"), ("job", "service.name")];

/// Entries of `resource_labels`, and of `resource_attributes`, at most.
const ATTRIBUTES_MAX: usize = 128;

/// Bytes of an attribute's name.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;

pub fn otlp(fields: &Fields<'_>) -> Otlp {
    let protocols = [
        ("http/protobuf", OtlpProtocol::HttpProtobuf),
        ("http/json", OtlpProtocol::HttpJson),
        ("grpc", OtlpProtocol::Grpc),
    ];
    let protocol = fields.choice("protocol", &protocols).unwrap_or_default();
    let temporalities = [("cumulative", OtlpTemporality::Cumulative), ("delta", OtlpTemporality::Delta)];
    let temporality = fields.choice("temporality", &temporalities).unwrap_or_default();
    if temporality == OtlpTemporality::Delta && fields.has("start_time") {
        fields.note("start_time", "of no use with temporality: delta, where each sample counts since the one before");
    }
    fields.at_most_one_of(&["basic_auth", "authorization"]);
    let path = path(fields, protocol);
    let headers = plain_headers(fields);
    if protocol == OtlpProtocol::Grpc {
        let reserved = |name: &str| name.starts_with("grpc-") || name.ends_with("-bin");
        for (name, _) in headers.iter().filter(|(name, _)| reserved(name)) {
            fields.note("headers", format!("{name} is one of gRPC's own, or would be bytes; it cannot be set"));
        }
    }
    Otlp {
        protocol,
        http: HttpOutput {
            urls: receivers(fields, protocol, &path),
            tls: client_tls(fields),
            auth: auth(fields),
            headers,
            timeout: fields.duration("timeout"),
            gzip: fields.choice("compression", &[("gzip", true), ("none", false)]).unwrap_or(true),
        },
        path,
        temporality,
        observes_starts: fields.choice("start_time", &[("observed", true), ("created", false)]).unwrap_or(true),
        prometheus_compatible: fields.switch("prometheus_compatible"),
        resource_labels: resource_labels(fields),
        resource_attributes: attributes(fields, "resource_attributes").into_iter().collect(),
    }
}

fn path(fields: &Fields<'_>, protocol: OtlpProtocol) -> String {
    if protocol == OtlpProtocol::Grpc && fields.has("path") {
        fields.note("path", "of no use with protocol: grpc, whose paths are the service's");
    }
    fields.read_optional("path", url_path).unwrap_or_default().trim_end_matches('/').to_owned()
}

/// The addresses without the path that requests go to, which people paste along.
fn receivers(fields: &Fields<'_>, protocol: OtlpProtocol, path: &str) -> Vec<Url> {
    let urls = urls(fields);
    let is_grpc = protocol == OtlpProtocol::Grpc;
    if is_grpc && urls.iter().any(|url| url.path_and_query != "/") {
        fields.note("urls", "have a path, and gRPC's paths are the service's; write the host and the port alone");
    }
    let stripped = urls.into_iter().map(|url| {
        let whole = url.path_and_query.trim_end_matches('/');
        let base = whole.strip_suffix(path).unwrap_or(whole);
        let path_and_query = if base.is_empty() { "/".to_owned() } else { base.to_owned() };
        if is_grpc { url } else { Url { path_and_query, ..url } }
    });
    stripped.collect()
}

fn resource_labels(fields: &Fields<'_>) -> Vec<(String, String)> {
    let usual = RESOURCE_LABELS.map(|(label, name)| (label.to_owned(), name.to_owned()));
    let mut labels = BTreeMap::from(usual);
    labels.extend(attributes(fields, "resource_labels"));
    let mut names: Vec<&String> = labels.values().filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("two labels become the attribute \"{}\"; a resource has one of each", twice[0]);
        fields.note("resource_labels", message);
    }
    labels.into_iter().collect()
}

fn attributes(fields: &Fields<'_>, name: &'static str) -> BTreeMap<String, String> {
    let entries = fields.text_map(name);
    if entries.len() > ATTRIBUTES_MAX {
        fields.note(name, format!("has more than {ATTRIBUTES_MAX} entries"));
    }
    let mut made = BTreeMap::new();
    for entry in entries {
        let is_too_long = entry.key.len().max(entry.text.len()) > ATTRIBUTE_NAME_BYTES_MAX && name == "resource_labels";
        if entry.key.is_empty() || is_too_long || entry.key.len() > ATTRIBUTE_NAME_BYTES_MAX {
            let message = format!("{name}: a name is empty, or longer than {ATTRIBUTE_NAME_BYTES_MAX} bytes");
            fields.note_at(entry.at, message);
        }
        made.insert(entry.key, entry.text);
    }
    made
}
