//! URLs of Telegraf's inputs and outputs, taken apart.

use std::net::Ipv6Addr;

use crate::convert::note::Place;
use crate::convert::secret::is_secret;
use crate::convert::text::{Text, is_mark};
use crate::net::form_decoded;

/// A URL without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) is_https: bool,
    /// User and password.
    pub(super) user: Option<(Text, Option<Text>)>,
    /// Host, and port where there is one.
    pub(super) address: Text,
    /// The path; empty where there is none.
    pub(super) path: Text,
    /// The query, decoded.
    pub(super) params: Vec<(String, Text)>,
    /// The query as it is typed, with its question mark.
    query: Text,
    /// Where it stands.
    pub(super) place: Place,
    /// Whether a port is in it, and nothing that is written in another way when a request is made of it.
    is_plain: bool,
}

impl Endpoint {
    /// # Errors
    /// Why it cannot be carried over. The sentence does not repeat the URL, which may hold a credential.
    pub(super) fn read(text: &Text, place: &Place) -> Result<Self, &'static str> {
        let opaque = text.opaque().ok_or("it holds characters that no URL has")?;
        if is_variable(text) {
            return Err(
                "a URL in a variable has to be taken apart: host and port, scheme and path have keys of their own",
            );
        }
        let (scheme, rest) = opaque.split_once("://").ok_or("a URL begins with http:// or https://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "unix" | "http+unix" | "https+unix" => return Err("sockets are not supported, only http:// and https://"),
            _ => return Err("only http:// and https:// are supported, written out, not in a variable"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        if !is_address(text, address) {
            return Err("its host or its port is none");
        }
        if rest.chars().any(char::is_control) {
            return Err("it holds a control character");
        }
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        Ok(Self {
            is_https,
            user: user.map(|user| credentials(text, user)),
            address: text.cleared(address),
            path: text.cleared(&path.chars().map(encoded).collect::<String>()),
            params: query.map(|query| params(text, query)).unwrap_or_default(),
            query: query.map(|query| text.cleared(&format!("?{query}"))).unwrap_or_default(),
            place: place.clone(),
            is_plain: query.is_none() && has_port(address) && path.chars().all(stays) && !path.starts_with("//"),
        })
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The path that Telegraf asks for.
    pub(super) fn metrics_path(&self) -> Text {
        if self.path.is_empty() { Text::literal("/metrics") } else { self.path.clone() }
    }

    /// Telegraf's tag `url`: no credentials, and a path always.
    pub(super) fn tag(&self) -> Text {
        let path = self.metrics_path();
        Text::joined([&Text::literal(format!("{}://", self.scheme())), &self.address, &path, &self.query])
    }

    /// The URL without credentials and query.
    pub(super) fn base(&self) -> Text {
        Text::joined([&Text::literal(format!("{}://", self.scheme())), &self.address, &self.path])
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> Text {
        Text::joined([&Text::literal(format!("{}://", self.scheme())), &self.address])
    }

    /// Whether a query is in it.
    pub(super) fn has_query(&self) -> bool {
        !self.query.is_empty()
    }

    /// Whether a parameter of it is named like a credential.
    pub(super) fn has_secret(&self) -> bool {
        self.params.iter().any(|(name, _)| is_secret(name))
    }

    /// Whether it is what a target's URL looks like to us: [`Self::tag`] then needs no label.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }
}

/// Whether a variable holds the URL, or its beginning.
pub(super) fn is_variable(text: &Text) -> bool {
    text.opaque().is_some_and(|opaque| opaque.starts_with(is_mark) && !opaque.contains("://"))
}

fn credentials(text: &Text, user: &str) -> (Text, Option<Text>) {
    let (user, password) = user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
    let decoded = |part: &str| text.cleared(&form_decoded(&part.replace('+', "%2B")));
    (decoded(user), password.map(decoded))
}

/// As Go writes a path: what is not printed in ASCII is encoded.
fn encoded(c: char) -> String {
    match c.is_ascii_graphic() || is_mark(c) {
        true => c.to_string(),
        false => c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect(),
    }
}

fn params(text: &Text, query: &str) -> Vec<(String, Text)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (text.cleared(&form_decoded(name)).typed(), text.cleared(&form_decoded(value)))
    });
    decoded.collect()
}

/// Whether there is a host, and no port but one from 1 to 65535; a variable may stand for anything.
fn is_address(text: &Text, address: &str) -> bool {
    let (host, port) = match address.rsplit_once(']') {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || is_mark(c);
    let is_host = match host.strip_prefix('[') {
        Some(v6) => v6.chars().any(is_mark) || v6.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(is_name),
    };
    let is_port = |port: &str| match text.cleared(port).fixed() {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    };
    let ends_well = address.ends_with(']') || !address.contains(']') || port.is_some();
    is_host && port.is_none_or(is_port) && ends_well
}

fn has_port(address: &str) -> bool {
    let after_host = address.rsplit_once(']').map_or(address, |(_, after)| after);
    after_host.split_once(':').is_some_and(|(_, port)| !port.is_empty())
}

fn stays(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/-._~:@!$&'()*+,;=".contains(c) || is_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Endpoint, &'static str> {
        Endpoint::read(&Text::read(text).unwrap(), &Place { file: "a.conf".into(), line: 1 })
    }

    #[test]
    fn a_url_is_taken_apart() {
        let cases = [
            ("https://10.0.0.5:14726/metrics", "10.0.0.5:14726", "/metrics", "https://10.0.0.5:14726/metrics", true),
            ("http://a:1", "a:1", "/metrics", "http://a:1/metrics", true),
            ("http://a:1/", "a:1", "/", "http://a:1/", true),
            ("HTTP://a/x", "a", "/x", "http://a/x", false),
            ("http://[::1]:9/x?b=1&a=%20", "[::1]:9", "/x", "http://[::1]:9/x?b=1&a=%20", false),
            ("http://a:1/ü b", "a:1", "/%C3%BC%20b", "http://a:1/%C3%BC%20b", false),
            ("http://[::1]/x", "[::1]", "/x", "http://[::1]/x", false),
            ("http://u:p@a:1/x#f", "a:1", "/x", "http://a:1/x", true),
            ("https://${H:-a:b}:1/$P", "${H:-a:b}:1", "/${P}", "https://${H:-a:b}:1/${P}", true),
        ];
        for (url, address, path, tag, is_plain) in cases {
            let endpoint = read(url).unwrap();
            assert_eq!(endpoint.address.typed(), address, "{url}");
            assert_eq!(endpoint.metrics_path().typed(), path, "{url}");
            assert_eq!(endpoint.tag().typed(), tag, "{url}");
            assert_eq!(endpoint.is_plain(), is_plain, "{url}");
        }
        let endpoint = read("http://u%40:${P}@a:1/?t=a+b").unwrap();
        assert_eq!(endpoint.user, Some((Text::literal("u@"), Some(Text::variable("P")))));
        assert_eq!(endpoint.params, [("t".to_owned(), Text::literal("a b"))]);
        for url in [
            "",
            "a",
            "ftp://a",
            "unix:///a",
            "${S}://a",
            "http://",
            "http:///x",
            "${URL}",
            "http://a b:1/",
            "http://a:0/",
            "http://a:99999/",
            "http://[::1/",
            "http://[x]:1/",
            "http://[::1]x/",
            "http://a:b:1/",
            "http://a:1/\u{7}",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
