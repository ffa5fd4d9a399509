//! Addresses, made from parts.

use std::fmt;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where a request goes. Holds no credentials: those are parsed off where a URL is read, and refused. A query may be a secret,
/// and is not in what is printed for debugging.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Host name or address, without brackets.
    pub host: String,
    /// The port, given or the scheme's.
    pub port: u16,
    /// Path and query, starting with `/`.
    pub path_and_query: String,
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default().to_owned();
        fmt::Display::fmt(&Url { path_and_query: path, ..self.clone() }, f)
    }
}

impl Url {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// The value of `Host`: without the port where it is the scheme's.
    pub fn host_header(&self) -> String {
        match (self.port == self.scheme.default_port(), self.host.contains(':')) {
            (false, _) => self.authority(),
            (true, false) => self.host.clone(),
            (true, true) => format!("[{}]", self.host),
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A part of a query, decoded: `+` is a blank, `%XX` a byte; what is no UTF-8 then is replaced.
pub fn form_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push((hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0)) as u8);
                rest = tail;
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What stands in the place of a value that is not shown.
pub const HIDDEN: &str = "<secret>";

/// Whether a parameter of a query sounds as if its value were a secret.
pub fn is_secret_parameter(name: &str) -> bool {
    const PARTS: [&str; 9] =
        ["token", "secret", "passw", "passphrase", "credential", "auth", "signature", "apikey", "accesskey"];
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    matches!(name.as_str(), "key" | "pass" | "pwd" | "sig" | "sas") || PARTS.iter().any(|part| name.contains(part))
}

/// A URL for people: the values of parameters that sound secret are left out. All else stays: it tells targets apart.
pub fn without_secrets(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_parameter(&form_decoded(name)) => {
            format!("{name}={HIDDEN}")
        }
        _ => pair.to_owned(),
    });
    format!("{place}?{}", pairs.collect::<Vec<_>>().join("&"))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path_and_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_sound_secret_have_no_value_for_people() {
        for (url, expected) in [
            ("https://a:1/m?id=u%20p&format=prom", "https://a:1/m?id=u%20p&format=prom"),
            ("https://a:1/m", "https://a:1/m"),
            (
                "https://a/m?id=1&access_token=s3&key=s3&X-Api%2DKey=s3",
                "https://a/m?id=1&access_token=<secret>&key=<secret>&X-Api%2DKey=<secret>",
            ),
            ("https://a/m?Password=s3=s3&token=&auth", "https://a/m?Password=<secret>&token=&auth"),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }
}
