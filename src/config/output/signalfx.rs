//! `outputs[].signalfx`.

use crate::config::checked::{Auth, HttpOutput, Signalfx, SignalfxProtocol};
use crate::config::fields::Fields;
use crate::config::http::{plain_headers, secret, token, url};
use crate::config::tls::client_tls;
use crate::config::values::Complaint;
use crate::net::{Scheme, Url};

/// The header that holds the token.
const TOKEN_HEADER: &str = "x-sf-token";

pub fn signalfx(fields: &Fields<'_>) -> Signalfx {
    let mut headers = plain_headers(fields);
    if headers.iter().any(|(name, _)| name == TOKEN_HEADER) {
        fields.note("headers", "X-SF-Token cannot be set: write \"token\" or \"token_file\"");
    }
    if !fields.has("token") && !fields.has("token_file") {
        fields.missing("token");
    }
    headers.extend(secret(fields, ["token", "token_file"], token).map(|token| (TOKEN_HEADER.to_owned(), token)));
    let protocols = [("otlp", SignalfxProtocol::Otlp), ("datapoints", SignalfxProtocol::Datapoints)];
    Signalfx {
        http: HttpOutput {
            urls: receiver(fields).into_iter().collect(),
            tls: client_tls(fields),
            auth: Auth::None,
            headers,
            timeout: fields.duration("timeout"),
            gzip: fields.switch("gzip"),
        },
        protocol: fields.choice("protocol", &protocols).unwrap_or(SignalfxProtocol::Otlp),
    }
}

fn receiver(fields: &Fields<'_>) -> Option<Url> {
    fields.at_most_one_of(&["realm", "url"]);
    let host =
        fields.read_optional("realm", realm).map(|realm| format!("ingest.{realm}.observability.splunkcloud.com"));
    let of_realm = host.map(|host| Url { scheme: Scheme::Https, host, port: 443, path_and_query: "/".to_owned() });
    let given = fields.optional_text("url").and_then(|text| {
        let url = url(&text).map_err(|message| fields.note("url", message)).ok()?;
        Some(Url { path_and_query: without_ingest_path(&url.path_and_query), ..url })
    });
    if !fields.has("realm") && !fields.has("url") {
        fields.missing("realm");
    }
    given.or(of_realm)
}

fn realm(text: &str) -> Result<String, Complaint> {
    let is_realm = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match text {
        _ if text.contains(['.', '/']) => {
            Err("is an address; write the realm alone, such as us0, or \"url\"".to_owned())
        }
        _ if !text.is_empty() && text.len() <= 63 && text.bytes().all(is_realm) => Ok(text.to_owned()),
        _ => Err("is not a realm, such as us0 or eu0".to_owned()),
    }
}

/// People paste addresses with the ingest's own path.
fn without_ingest_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let own = ["/v2/datapoint", "/v2/datapoint/otlp"];
    let base = own.iter().find_map(|own| path.strip_suffix(own)).unwrap_or(path);
    if base.is_empty() { "/".to_owned() } else { base.to_owned() }
}
