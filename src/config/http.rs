//! What requests are made of: credentials, headers, URLs and their parts.

use std::collections::HashMap;
use std::net::IpAddr;

use super::checked::Auth;
use super::common::name_text;
use super::fields::{Fields, Placed};
use super::problem::{Pos, quoted};
use super::values::{self, Complaint};
use crate::net::credentials::Secret;
use crate::net::{Scheme, Url};

/// `basic_auth` or `authorization`; that only one is given is checked elsewhere.
pub fn auth(fields: &Fields<'_>) -> Auth {
    let basic = fields.section("basic_auth").map(|basic| basic_auth(&basic));
    let header = fields.section("authorization").map(|header| authorization(&header));
    basic.or(header).unwrap_or_default()
}

fn basic_auth(fields: &Fields<'_>) -> Auth {
    let username = fields.read_optional("username", |name| match name.contains(':') {
        true => Err("has a colon, which a user name cannot have".to_owned()),
        false => name_text(name),
    });
    let password = secret(fields, ["password", "password_file"], header_value);
    Auth::Basic { username: username.unwrap_or_default(), password: password.unwrap_or(Secret::Inline(String::new())) }
}

fn authorization(fields: &Fields<'_>) -> Auth {
    let scheme = fields.read_optional("type", |scheme| match scheme.eq_ignore_ascii_case("basic") {
        true => Err("is not for here; use basic_auth".to_owned()),
        false if is_token(scheme) => Ok(scheme.to_owned()),
        false => Err("is not a word that a header can begin with".to_owned()),
    });
    let credentials = secret(fields, ["credentials", "credentials_file"], token);
    if !fields.has("credentials") && !fields.has("credentials_file") {
        fields.missing("credentials");
    }
    let credentials = credentials.unwrap_or(Secret::Inline(String::new()));
    Auth::Header { scheme: scheme.unwrap_or_default(), credentials }
}

/// A secret, typed under the first name or in the file under the second; both is a problem.
pub fn secret(
    fields: &Fields<'_>,
    [name, file_name]: [&str; 2],
    check: impl Fn(&str) -> Result<String, Complaint>,
) -> Option<Secret> {
    fields.at_most_one_of(&[name, file_name]);
    let inline = fields.read_optional(name, check).map(Secret::Inline);
    fields.path(file_name).map(Secret::File).or(inline)
}

/// What stands behind the first word of an `Authorization` header.
pub fn token(text: &str) -> Result<String, Complaint> {
    if text.is_empty() { Err("is empty".to_owned()) } else { header_value(text) }
}

/// Headers that the connection is made of, or that have a key of their own.
const RESERVED_HEADERS: &[(&str, &str)] = &[
    // All of `net::http::CONNECTION_HEADERS`, and those that have a key of their own.
    ("host", "it is made of the address"),
    ("content-length", "it is made of the body"),
    ("content-type", "it is made of the body"),
    ("content-encoding", "it is made of the body"),
    ("transfer-encoding", "it is made of the body"),
    ("connection", "it belongs to the connection"),
    ("keep-alive", "it belongs to the connection"),
    ("upgrade", "it belongs to the connection"),
    ("te", "it belongs to the connection"),
    ("trailer", "it belongs to the connection"),
    ("proxy-connection", "it belongs to the connection"),
    ("accept-encoding", "enable_compression decides about it"),
    ("authorization", "use basic_auth or authorization"),
];

/// `http_headers`, in Prometheus' shape.
pub fn http_headers(fields: &Fields<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    let mut seen = HashMap::new();
    for (name, at, header) in fields.section_map("http_headers") {
        let Some(name) = header_name(fields, name, at, &mut seen) else { continue };
        let inline = header.texts("values").into_iter().chain(header.texts("secrets"));
        headers.extend(inline.filter_map(|value| inline_header(fields, &name, value)));
        headers.extend(header.paths("files").into_iter().map(|path| (name.clone(), Secret::File(path))));
    }
    headers
}

/// `headers`: a value for each name.
pub fn plain_headers(fields: &Fields<'_>) -> Vec<(String, Secret)> {
    let mut seen = HashMap::new();
    let headers = fields.text_map("headers").into_iter().filter_map(|value| {
        let name = header_name(fields, &value.key, value.at, &mut seen)?;
        inline_header(fields, &name, value)
    });
    headers.collect()
}

fn header_name(fields: &Fields<'_>, name: &str, at: Pos, seen: &mut HashMap<String, Pos>) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        fields.note_at(at, format!("{} is not the name of a header", quoted(name)));
        return None;
    }
    if let Some((_, why)) = RESERVED_HEADERS.iter().find(|(reserved, _)| *reserved == lower) {
        fields.note_at(at, format!("the header {} cannot be set here; {why}", quoted(name)));
        return None;
    }
    if let Some(first) = seen.insert(lower.clone(), at) {
        fields.note_at(at, format!("the header {} stands twice; the first is on line {}", quoted(name), first.line));
    }
    Some(lower)
}

fn inline_header(fields: &Fields<'_>, name: &str, value: Placed) -> Option<(String, Secret)> {
    match header_value(&value.text) {
        Ok(text) => Some((name.to_owned(), Secret::Inline(text))),
        Err(complaint) => {
            fields.note_at(value.at, format!("{name}: the value (not shown) {complaint}"));
            None
        }
    }
}

fn header_value(text: &str) -> Result<String, Complaint> {
    match text.chars().any(|c| c.is_control() && c != '\t') {
        true => Err("holds a line break or another control character".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The path of a URL, which begins with `/`.
pub fn url_path(text: &str) -> Result<String, Complaint> {
    match text.starts_with('/') {
        false => Err("is not a path that begins with \"/\"".to_owned()),
        true if text.contains('?') => Err("has a query; a path is expected".to_owned()),
        true if !is_visible(text) || text.contains('#') => Err("holds characters that a path cannot have".to_owned()),
        true => Ok(text.to_owned()),
    }
}

/// A host name or address; an IPv6 address with or without its brackets.
pub fn host(text: &str) -> Result<String, Complaint> {
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match text.parse::<IpAddr>().is_ok() || is_host_name(text) {
        true => Ok(text.to_owned()),
        false => Err("is not a host name or address".to_owned()),
    }
}

/// Underscores are no part of a host name by the book, but of Cloud Foundry's certificates.
fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// An `http` or `https` URL without credentials. The complaint is a whole sentence, without what may be a secret.
pub fn url(text: &str) -> Result<Url, String> {
    let shown = || quoted(text.split(['?', '#']).next().unwrap_or(""));
    if text.contains('@') {
        return Err(
            "the URL (not shown) holds an \"@\", as in user:password@; use basic_auth for credentials".to_owned()
        );
    }
    let example = "such as \"https://search.example:9200\"";
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(format!("{} is not an http or https URL, {example}", shown())),
    };
    if rest.contains(['?', '#']) {
        return Err(format!("{} has a query or a fragment, which is not supported", shown()));
    }
    if !is_visible(rest) {
        return Err(format!("{} holds characters that a URL cannot have", shown()));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) =
        split_authority(authority).ok_or_else(|| format!("{} has no valid host and port, {example}", shown()))?;
    let slash = if path.is_empty() { "/" } else { "" };
    let port = port.unwrap_or(scheme.default_port());
    Ok(Url { scheme, host: host.to_owned(), port, path_and_query: format!("{slash}{path}") })
}

/// An `http` or `https` URL without credentials, with or without a query. The complaint shows nothing of it: a query may be a
/// secret.
pub fn url_with_query(text: &str) -> Result<Url, Complaint> {
    let (base, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut url = url(base).map_err(|_| "is not an http or https URL without credentials".to_owned())?;
    if query.contains('#') || !is_visible(query) {
        return Err("has a query that holds characters that a URL cannot have".to_owned());
    }
    url.path_and_query.push_str(query);
    Ok(url)
}

/// Host, without brackets, and port.
pub fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, port)) => {
            ip.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
            (ip, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (Some(host).filter(|host| is_host_name(host))?, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        None => None,
        Some(port) => Some((host, Some(values::port(port).ok()?))),
    }
}

/// Whether a text has nothing but visible ASCII.
pub fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_cannot_be_configured() {
        for name in crate::net::http::CONNECTION_HEADERS {
            assert!(RESERVED_HEADERS.iter().any(|(reserved, _)| *reserved == name), "{name}");
        }
    }
}
