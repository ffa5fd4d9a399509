//! Where a redirect leads: `Location` against the address that was asked (RFC 9110, RFC 3986).

use crate::net::{Scheme, Url};

/// Redirects of one scrape that are followed.
pub(super) const REDIRECTS_MAX: usize = 10;

/// Whether both are at the same scheme, host and port: the same server, to whom the same may be told.
pub(super) fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme == b.scheme && a.host.eq_ignore_ascii_case(&b.host) && a.port == b.port
}

/// The address that `location` means, seen from `from`; `None` where it is none of http or https. Names of users are
/// not understood, and refused.
pub(super) fn resolve(from: &Url, location: &str) -> Option<Url> {
    let location = location.split('#').next().unwrap_or_default().trim();
    if location.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'\\') {
        return None;
    }
    if let Some(rest) = strip_prefix_ignore_case(location, "http://") {
        return absolute(Scheme::Http, rest);
    }
    if let Some(rest) = strip_prefix_ignore_case(location, "https://") {
        return absolute(Scheme::Https, rest);
    }
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(from.scheme, rest);
    }
    let end_of_scheme = location.find(':').unwrap_or(usize::MAX);
    if end_of_scheme < location.find(['/', '?']).unwrap_or(usize::MAX) {
        return None;
    }
    let path = from.path_and_query.split('?').next().unwrap_or_default();
    let path_and_query = match location.as_bytes().first() {
        None => from.path_and_query.clone(),
        Some(b'/') => location.to_owned(),
        Some(b'?') => format!("{path}{location}"),
        Some(_) => format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    Some(Url { path_and_query, ..from.clone() })
}

fn absolute(scheme: Scheme, rest: &str) -> Option<Url> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = match port? {
        "" => scheme.default_port(),
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    if host.is_empty() || host.contains(['@', '[', ']', '%']) {
        return None;
    }
    let path_and_query = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(Url { scheme, host: host.to_owned(), port, path_and_query })
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| text.get(prefix.len()..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(location: &str) -> Option<String> {
        let url = Url { scheme: Scheme::Https, host: "a".into(), port: 9100, path_and_query: "/x/metrics?id=1".into() };
        resolve(&url, location).map(|url| url.to_string())
    }

    #[test]
    fn locations_are_resolved_as_browsers_do() {
        for (location, expected) in [
            ("https://b/m", "https://b:443/m"),
            ("HTTP://b:81?x", "http://b:81/?x"),
            ("//b:9/m", "https://b:9/m"),
            ("/m?y#z", "https://a:9100/m?y"),
            ("?y", "https://a:9100/x/metrics?y"),
            ("other", "https://a:9100/x/other"),
            ("https://[::1]:7/m", "https://[::1]:7/m"),
            ("", "https://a:9100/x/metrics?id=1"),
        ] {
            assert_eq!(from(location).as_deref(), Some(expected), "{location}");
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for location in [
            "ftp://b/m",
            "javascript:alert(1)",
            "https://user@b/",
            "https://b:0/",
            "https://b:99999/",
            "https:///m",
            "https://[::1/m",
            "https://[b]/",
            "/a\r\nb",
            "\\\\b\\m",
        ] {
            assert_eq!(from(location), None, "{location}");
        }
    }
}
