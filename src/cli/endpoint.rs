//! An endpoint to scrape as somebody types it on a command line: its URL, and the files of its TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::writer::{Map, Node, quoted as scalar};
use crate::net::{form_decoded, vcap};

// No group of its own: its name would be that of the subcommand's arguments.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct TlsArguments {
    /// Certificate authorities to trust; the system's otherwise
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The client certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// The name to ask for and to verify, where it is not the host
    #[arg(long, value_name = "NAME")]
    pub(super) server_name: Option<String>,
    /// Take any certificate
    #[arg(long)]
    pub(super) insecure_skip_verify: bool,
}

impl TlsArguments {
    /// `tls_config`; nothing is in it where nothing was given. Paths are written by `file`.
    pub(super) fn section(&self, file: fn(&Path) -> Result<Node, String>) -> Result<Map, String> {
        let mut section = Map::default();
        for (key, path) in [("ca_file", &self.ca), ("cert_file", &self.cert), ("key_file", &self.key)] {
            section.add_some(key, path.as_deref().map(file).transpose()?);
        }
        section.add_some("server_name", self.server_name.as_deref().map(text));
        if self.insecure_skip_verify {
            section.add("insecure_skip_verify", Node::word(true));
        }
        Ok(section)
    }

    /// The first of the flags that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let all = [
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--server-name", self.server_name.is_some()),
            ("--insecure-skip-verify", self.insecure_skip_verify),
        ];
        all.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}

/// A text that is meant as it stands: what looks like a variable is none.
pub(super) fn text(text: &str) -> Node {
    Node::Scalar(quoted(text))
}

/// The same, as an item of a list.
pub(super) fn quoted(text: &str) -> String {
    scalar(&text.replace("${", "$${"))
}

/// The path of a file as a value that means the same wherever the configuration is.
pub(super) fn file(path: &Path) -> Result<Node, String> {
    match std::path::absolute(path) {
        Ok(absolute) if vcap::reference(path).is_none() => file_as_typed(&absolute),
        _ => file_as_typed(path),
    }
}

/// The path of a file, of a configuration that nobody sees.
pub(super) fn file_as_typed(path: &Path) -> Result<Node, String> {
    path.to_str().map(text).ok_or_else(|| format!("{}: a path that is not UTF-8", path.display()))
}

/// The parts of a URL that is scraped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// As typed: the configuration's reader says what is wrong with it.
    pub(super) scheme: String,
    /// Host and port.
    pub(super) address: String,
    pub(super) path: String,
    /// Parameters of the query, in the order of their names.
    pub(super) params: BTreeMap<String, Vec<String>>,
}

impl Endpoint {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// The end of a sentence. It never repeats the URL; with [`NO_CREDENTIALS`] nobody else may either.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        // First of all: another complaint is told with the URL.
        if holds_credentials(rest) {
            return Err(NO_CREDENTIALS);
        }
        if scheme.is_empty() {
            return Err("a URL starts with http:// or https://");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut params = BTreeMap::<String, Vec<String>>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Decoded: they are encoded again where they are sent.
            params.entry(form_decoded(name)).or_default().push(form_decoded(value));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let port = match scheme {
            _ if has_port => "",
            "https" => ":443",
            _ => ":80",
        };
        let path = if path.is_empty() { "/metrics" } else { path };
        Ok(Self { scheme: scheme.to_owned(), address: format!("{authority}{port}"), path: path.to_owned(), params })
    }

    /// The keys of a scrape configuration that say it, but for `static_configs`.
    pub(super) fn write(&self, scrape: &mut Map) {
        scrape.add("scheme", text(&self.scheme));
        scrape.add("metrics_path", text(&self.path));
        let mut params = Map::default();
        for (name, values) in &self.params {
            params.add(name, Node::Scalars(values.iter().map(|value| quoted(value)).collect()));
        }
        scrape.add_map("params", params);
    }
}

/// Why a URL is refused that has a user in it.
pub(super) const NO_CREDENTIALS: &str = "credentials in a URL are not taken; put them into a configuration";

/// Whether there is a user in front of the host, behind `://`. A password may hold any character: more is refused rather than
/// less.
fn holds_credentials(rest: &str) -> bool {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let is_port = |port: &str| port.contains(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = authority.rsplit_once(':').is_none_or(|(_, port)| is_port(port));
    place.contains('@') || query.contains('@') && (!is_host || !place.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_one_with_a_user_is_refused() {
        let parts = |url: &str| {
            let Endpoint { scheme, address, path, params } = Endpoint::parse(url)?;
            Ok(format!("{scheme} {address} {path} {params:?}"))
        };
        let cases = [
            ("https://10.0.0.5:14726/metrics", Ok("https 10.0.0.5:14726 /metrics {}")),
            ("https://[::1]", Ok("https [::1]:443 /metrics {}")),
            ("http://a?b=c&b=d&e=", Ok("http a:80 /metrics {\"b\": [\"c\", \"d\"], \"e\": [\"\"]}")),
            ("http://a:1/x/y?mail=a@b", Ok("http a:1 /x/y {\"mail\": [\"a@b\"]}")),
            (
                "http://a:1/x?match%5B%5D=a%20b%2Bc+d&debug&&e=%zz",
                Ok("http a:1 /x {\"debug\": [\"\"], \"e\": [\"%zz\"], \"match[]\": [\"a b+c d\"]}"),
            ),
            ("u:p@a:1/metrics", Err(NO_CREDENTIALS)),
            ("://u:p@a:1/metrics", Err(NO_CREDENTIALS)),
            ("10.0.0.5:14726", Err("a URL starts with http:// or https://")),
            ("u:p@10.0.0.5:14726", Err(NO_CREDENTIALS)),
            ("https://u:p@a/", Err(NO_CREDENTIALS)),
            ("https://u:p/q@a/", Err(NO_CREDENTIALS)),
            ("https://u:p?q@a/", Err(NO_CREDENTIALS)),
            ("https://u:p/q?r@a/", Err(NO_CREDENTIALS)),
        ];
        for (url, expected) in cases {
            assert_eq!(parts(url).as_deref(), expected.as_ref().map(|text| *text), "{url}");
        }
    }
}
