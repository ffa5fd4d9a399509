//! Request targets and addresses, made from parts that nobody vouches for.
//!
//! Whatever a label or a file holds, the result is one path and one query for one host: nothing in it can name another host
//! or scheme, or end the request line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::net::form_decoded;

/// Query parameters, by name.
pub(super) type Params = BTreeMap<String, Vec<String>>;

/// Bytes of path and query together, at most.
const PATH_AND_QUERY_BYTES_MAX: usize = 8192;

/// Bytes of a host name, at most (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Puts path and query together; what may not stand there is percent-encoded, a `%XX` in the path stays.
pub(super) fn path_and_query(path: &str, params: &Params) -> Result<String, String> {
    // Several slashes in front could be read as the start of another host.
    let mut out = String::from("/");
    for (at, byte) in path.trim_start_matches('/').bytes().enumerate() {
        let is_escape = || {
            let digits = path.trim_start_matches('/').as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        match byte {
            b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                out.push(char::from(byte));
            }
            b'%' if is_escape() => out.push('%'),
            other => push_encoded(&mut out, other),
        }
    }
    let mut mark = '?';
    for (name, values) in params {
        for value in values {
            out.push(mark);
            mark = '&';
            push_form(&mut out, name);
            out.push('=');
            push_form(&mut out, value);
        }
    }
    match out.len() {
        0..=PATH_AND_QUERY_BYTES_MAX => Ok(out),
        length => {
            Err(format!("path and query have {length} bytes; at most {PATH_AND_QUERY_BYTES_MAX} are sent in a request"))
        }
    }
}

/// One name of a path, encoded: no slash of it divides the path.
pub(super) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    name.bytes().for_each(|byte| push_encoded(&mut out, byte));
    out
}

/// Splits `/path?a=b&c` into the path and its parameters, decoded.
pub(super) fn split_query(path: &str) -> (&str, Params) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut params = Params::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        params.entry(form_decoded(name)).or_default().push(form_decoded(value));
    }
    (path, params)
}

/// Splits `host`, `host:port` or `[v6]:port`; the port is `None` where there is none.
pub(super) fn host_and_port(address: &str) -> Result<(&str, Option<u16>), String> {
    let wrong = |why: &str| Err(format!("\"{}\" is not an address: {why}", address.escape_debug()));
    if address.contains('/') {
        return wrong("write host:port, without http:// and without a path");
    }
    let (host, port) = if let Some(inner) = address.strip_prefix('[') {
        let Some((host, after)) = inner.split_once(']') else { return wrong("the bracket is not closed") };
        let is_v6 = host.contains(':') && host.bytes().all(|b| b.is_ascii_alphanumeric() || b":.%".contains(&b));
        if !is_v6 {
            return wrong("what stands in brackets is no IPv6 address");
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return wrong("only a colon and a port may follow the bracket"),
        }
    } else {
        let (host, port) = address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
        if port.is_some_and(|port| port.contains(':')) {
            return wrong("an IPv6 address goes in brackets, as in [::1]:9100");
        }
        if host.is_empty() {
            return wrong("the host is missing");
        }
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return wrong("a host has only letters, digits, `-`, `.` and `_`");
        }
        (host, port)
    };
    if host.len() > HOST_BYTES_MAX {
        return wrong("a host name has at most 253 characters");
    }
    match port.map(parse_port) {
        None => Ok((host, None)),
        Some(Some(port)) => Ok((host, Some(port))),
        Some(None) => wrong("a port is a whole number from 1 to 65535"),
    }
}

/// A port as people write it: digits only, 1 to 65535.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().filter(|&port| port != 0)
}

fn push_encoded(out: &mut String, byte: u8) {
    match byte {
        b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
        _ => write!(out, "%{byte:02X}").unwrap_or_default(),
    }
}

/// As Go's `url.QueryEscape`.
fn push_form(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            other => push_encoded(out, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_a_path() {
        let path = |path: &str| path_and_query(path, &Params::new()).unwrap();
        assert_eq!(path("/metrics"), "/metrics");
        assert_eq!(path("metrics"), "/metrics");
        assert_eq!(path(""), "/");
        assert_eq!(path("//evil.example/x"), "/evil.example/x");
        assert_eq!(path("http://evil.example/x"), "/http://evil.example/x");
        assert_eq!(path("/a b\r\nHost: x"), "/a%20b%0D%0AHost:%20x");
        assert_eq!(path("/a%20b%zz%2"), "/a%20b%25zz%252");
        assert_eq!(path("/a?b#c\\d\u{e9}"), "/a%3Fb%23c%5Cd%C3%A9");
        assert_eq!(path_and_query(&"a".repeat(9000), &Params::new()).unwrap_err(), {
            "path and query have 9001 bytes; at most 8192 are sent in a request"
        });
    }

    #[test]
    fn a_query_is_split_decoded_and_encoded_again() {
        let (path, params) = split_query("/m?format=prom%20text&a&b=1&b=2+3&x=%zz&&=");
        assert_eq!(path, "/m");
        assert_eq!(path_and_query(path, &params).unwrap(), "/m?=&a=&b=1&b=2+3&format=prom+text&x=%25zz");
    }

    #[test]
    fn addresses() {
        assert_eq!(host_and_port("a_b.service.internal:9100"), Ok(("a_b.service.internal", Some(9100))));
        assert_eq!(host_and_port("10.0.0.1"), Ok(("10.0.0.1", None)));
        assert_eq!(host_and_port("[::1]:80"), Ok(("::1", Some(80))));
        assert_eq!(host_and_port("[fe80::1%eth0]"), Ok(("fe80::1%eth0", None)));
        for wrong in [
            "", ":80", "a:0", "a:65536", "a:", "a:+1", "::1", "[::1", "[a]:1", "[::1]x", "a/b:1", "u@h:1", "a b", "é:1",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            host_and_port("http://a:1").unwrap_err(),
            "\"http://a:1\" is not an address: write host:port, without http:// and without a path"
        );
    }
}
