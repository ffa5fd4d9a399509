//! `prom_scraper_config.yml`: how a BOSH job announces its endpoint.
//!
//! One file a job, written by a template of somebody else's. A file that renders to nothing switches the job's endpoint off,
//! and so does a `scrape_interval` of zero or less; neither is an error. Keys that we do not know are left alone. All the
//! rest is checked here, so that what leaves this module can be scraped or is refused with its place in the file.
//!
//! Keys and their meaning: loggregator-agent-release, `src/pkg/scraper/config_provider.go` and the `prom_scraper` job.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::checked::PromScraperSd;
use crate::config::yaml::{self, DISCOVERY_FILE, Entry, Kind, Node};
use crate::config::{Pos, Problem, quoted, values};
use crate::model::Labels;
use crate::net::http::CONNECTION_HEADERS;
use crate::net::text::prometheus_duration;
use crate::net::vcap;
use crate::net::{Scheme, authority};
use crate::target::Header;

use super::request::{Params, parse_port, split_query};
use super::resolve::{Group, Own};

/// Request headers of one file, at most.
const HEADERS_MAX: usize = 64;

/// Bytes of all header names and values of one file, at most.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Announcement {
    /// Nothing is to be scraped, and that is no error: the reason.
    Off(&'static str),
    /// An endpoint.
    Endpoint(Box<Endpoint>),
    /// An endpoint that is not scraped at an interval; on request it may be.
    Paused(Box<Endpoint>),
}

/// Why a file that announces a paused endpoint is off.
pub(super) const PAUSED: &str = "its scrape_interval is zero or less";

impl Announcement {
    /// The endpoint, if it is to be scraped: at an interval, or on request where `ignores_interval`.
    pub(super) fn endpoint(&self, ignores_interval: bool) -> Option<&Endpoint> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint),
            Self::Paused(endpoint) if ignores_interval => Some(endpoint),
            Self::Paused(_) | Self::Off(_) => None,
        }
    }
}

/// An endpoint, as a file announces it; the host is the configuration's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Endpoint {
    port: u16,
    source_id: String,
    instance_id: String,
    scheme: Option<Scheme>,
    server_name: String,
    path: String,
    params: Params,
    headers: Vec<Header>,
    labels: Labels<'static>,
    interval: Option<Duration>,
    ca_path: String,
    client_cert_path: String,
    client_key_path: String,
    /// Keys that mean nothing to us.
    pub(super) unknown_keys: Vec<String>,
}

/// Reads a file. The first thing that is wrong is the error; it never repeats a header's value.
pub(super) fn parse(file: &Arc<str>, content: &[u8]) -> Result<Announcement, Problem> {
    let Some(root) = yaml::parse(file, content, &DISCOVERY_FILE)? else {
        return Ok(Announcement::Off("the file is empty"));
    };
    read(&root).map_err(|(at, message)| Problem { file: file.clone(), at, message })
}

type Fault = (Pos, String);

fn read(root: &Node) -> Result<Announcement, Fault> {
    let Kind::Mapping(entries) = &root.kind else {
        return Err((root.at, format!("expected keys such as \"port: 9100\", found {}", root.kind_name())));
    };
    let mut endpoint = Endpoint::default();
    let mut port = None;
    for entry in entries {
        match entry.key.as_str() {
            "port" => port = read_port(entry)?,
            "source_id" => endpoint.source_id = text(entry)?.to_owned(),
            "instance_id" => endpoint.instance_id = text(entry)?.to_owned(),
            "scheme" => endpoint.scheme = read_scheme(entry)?,
            "server_name" => endpoint.server_name = read_server_name(entry)?,
            "path" => {
                let (path, params) = split_query(text(entry)?);
                (endpoint.path, endpoint.params) = (path.to_owned(), params);
            }
            "headers" => endpoint.headers = read_headers(entry)?,
            "labels" => endpoint.labels = read_labels(entry)?,
            "scrape_interval" => endpoint.interval = read_interval(entry)?,
            "ca_path" => endpoint.ca_path = path(entry)?,
            "client_cert_path" => endpoint.client_cert_path = path(entry)?,
            "client_key_path" => endpoint.client_key_path = path(entry)?,
            unknown => endpoint.unknown_keys.push(unknown.to_owned()),
        }
    }
    endpoint.port = port.ok_or((root.at, "port: missing; write the port of the endpoint, 1 to 65535".to_owned()))?;
    for (given, other, missing) in [
        ("client_cert_path", &endpoint.client_cert_path, "client_key_path"),
        ("client_key_path", &endpoint.client_key_path, "client_cert_path"),
    ] {
        let has_other = !endpoint.client_cert_path.is_empty() && !endpoint.client_key_path.is_empty();
        if !other.is_empty() && !has_other {
            let at = entries.iter().find(|entry| entry.key == given).map_or(root.at, |entry| entry.at);
            return Err((at, format!("{given}: it needs {missing} beside it")));
        }
    }
    match endpoint.interval {
        Some(Duration::ZERO) => Ok(Announcement::Paused(Box::new(endpoint))),
        _ => Ok(Announcement::Endpoint(Box::new(endpoint))),
    }
}

/// The value of an entry without the white space around it that templates leave; nothing is the empty text.
fn text(entry: &Entry) -> Result<&str, Fault> {
    match &entry.value.kind {
        Kind::Null => Ok(""),
        Kind::Scalar { text, .. } => Ok(text.trim()),
        _ => Err(wrong(entry, &format!("expected a single value, found {}", entry.value.kind_name()))),
    }
}

/// The path of a file; a job cannot name what is bound to us.
fn path(entry: &Entry) -> Result<String, Fault> {
    match text(entry)? {
        path if path.starts_with(vcap::PREFIX) => Err(wrong(entry, "the path of a file is expected here")),
        path => Ok(path.to_owned()),
    }
}

fn wrong(entry: &Entry, message: &str) -> Fault {
    (entry.value.at, format!("{}: {message}", printable(&entry.key)))
}

fn wrong_value(entry: &Entry, value: &str, message: &str) -> Fault {
    wrong(entry, &format!("{} {message}", quoted(value)))
}

/// A key of somebody else's, for a message: without the quotes where it is plain.
fn printable(key: &str) -> String {
    let is_plain = key.len() <= 80 && key.bytes().all(|b| b.is_ascii_graphic());
    if is_plain { key.to_owned() } else { quoted(key) }
}

fn mapping(entry: &Entry) -> Result<&[Entry], Fault> {
    match &entry.value.kind {
        Kind::Null => Ok(&[]),
        Kind::Mapping(entries) => Ok(entries),
        // Templates render an unset hash so.
        Kind::Scalar { text, .. } if text.trim().is_empty() => Ok(&[]),
        _ => Err(wrong(entry, &format!("expected names and values, found {}", entry.value.kind_name()))),
    }
}

fn read_port(entry: &Entry) -> Result<Option<u16>, Fault> {
    let value = text(entry)?;
    if value.is_empty() {
        return Err(wrong(entry, "it has no value; write the port of the endpoint, 1 to 65535"));
    }
    let port = parse_port(value);
    port.map(Some).ok_or_else(|| wrong_value(entry, value, "is not a port; write a whole number from 1 to 65535"))
}

fn read_scheme(entry: &Entry) -> Result<Option<Scheme>, Fault> {
    match text(entry)? {
        "" => Ok(None),
        "http" => Ok(Some(Scheme::Http)),
        "https" => Ok(Some(Scheme::Https)),
        other => Err(wrong_value(entry, other, "is not a scheme; write \"http\" or \"https\"")),
    }
}

fn read_server_name(entry: &Entry) -> Result<String, Fault> {
    let name = text(entry)?;
    if !name.is_empty() && rustls::pki_types::ServerName::try_from(name).is_err() {
        return Err(wrong_value(
            entry,
            name,
            "is neither a DNS name nor an address; write the name that the endpoint's certificate has",
        ));
    }
    Ok(name.to_owned())
}

fn read_interval(entry: &Entry) -> Result<Option<Duration>, Fault> {
    let value = text(entry)?;
    if value.is_empty() {
        return Ok(None);
    }
    let nanos = values::signed_duration_ns(value).map_err(|why| wrong_value(entry, value, &why))?;
    let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    let is_fine = interval.is_zero() || (super::INTERVAL_MIN..=super::INTERVAL_MAX).contains(&interval);
    is_fine.then_some(Some(interval)).ok_or_else(|| {
        wrong_value(entry, value, "is out of range; an interval is from 1ms to 24h, or 0 for an endpoint that is off")
    })
}

fn read_headers(entry: &Entry) -> Result<Vec<Header>, Fault> {
    let mut headers: Vec<Header> = Vec::new();
    let mut bytes = 0;
    for header in mapping(entry)? {
        let refuse = |why: &str| Err((header.at, format!("headers: {} {why}", quoted(&header.key))));
        let name = header.key.to_ascii_lowercase();
        if hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return refuse("is not the name of a header");
        }
        if CONNECTION_HEADERS.contains(&name.as_str()) {
            return refuse("cannot be set; it belongs to the request itself");
        }
        if headers.iter().any(|held| held.name == name) {
            return refuse("stands twice, in different case");
        }
        let value = text(header)?;
        if hyper::header::HeaderValue::from_str(value).is_err() {
            return refuse("has a value with a control character in it");
        }
        bytes += name.len() + value.len();
        if headers.len() >= HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            return refuse(&format!(
                "is too much; at most {HEADERS_MAX} headers with {HEADER_BYTES_MAX} bytes together are sent"
            ));
        }
        headers.push(Header { name, value: value.to_owned() });
    }
    Ok(headers)
}

fn read_labels(entry: &Entry) -> Result<Labels<'static>, Fault> {
    let mut labels = Labels::new();
    for label in mapping(entry)? {
        let refuse = |why: &str| Err((label.at, format!("labels: {} {why}", quoted(&label.key))));
        let is_name = label.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !label.key.starts_with(|c: char| c.is_ascii_digit())
            && !label.key.is_empty();
        if !is_name {
            return refuse("is not the name of a label; use letters, digits and `_`, and no digit in front");
        }
        if label.key.starts_with("__") {
            return refuse("cannot be set by a job; names with `__` in front steer the scrape");
        }
        match &label.value.kind {
            Kind::Null => {}
            Kind::Scalar { text, .. } => labels.set(label.key.clone(), text.trim_end_matches(['\r', '\n']).to_owned()),
            _ => return refuse(&format!("expected a single value, found {}", label.value.kind_name())),
        }
    }
    Ok(labels)
}

impl Endpoint {
    /// The target of this endpoint, announced by `file`.
    pub(super) fn group(&self, sd: &PromScraperSd, file: &Path) -> Group {
        let job = bosh_job(file);
        let mut labels = self.labels.clone();
        let source_id = match self.source_id.as_str() {
            "" if labels.get("source_id").is_none() => job.as_str(),
            given => given,
        };
        if !source_id.is_empty() {
            labels.set("source_id", source_id.to_owned());
        }
        let scheme = self.scheme.map_or("", Scheme::as_str);
        let interval = self.interval.filter(|_| !sd.ignores_interval).map(prometheus_duration).unwrap_or_default();
        for (name, value) in [
            ("instance_id", self.instance_id.as_str()),
            ("__scheme__", scheme),
            ("__metrics_path__", &self.path),
            ("__scrape_interval__", &interval),
            ("__meta_prom_scraper_file", &file.to_string_lossy()),
            ("__meta_prom_scraper_job", &job),
            ("__meta_prom_scraper_source_id", &self.source_id),
            ("__meta_prom_scraper_instance_id", &self.instance_id),
            ("__meta_prom_scraper_port", &self.port.to_string()),
            ("__meta_prom_scraper_scheme", scheme),
            ("__meta_prom_scraper_server_name", &self.server_name),
            ("__meta_prom_scraper_path", &self.path),
        ] {
            // An absent key must not take away what the file's labels say.
            if !value.is_empty() {
                labels.set(name, value.to_owned());
            }
        }
        let some_path =
            |path: &str| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty() && !is_blank(path));
        Group {
            targets: vec![authority(&sd.host, self.port)],
            labels,
            file: Some(file.to_owned()),
            own: Own {
                announced: Some(self.labels.clone()),
                params: self.params.clone(),
                headers: self.headers.clone(),
                server_name: (!self.server_name.is_empty()).then(|| self.server_name.clone()),
                ca_file: some_path(&self.ca_path),
                cert_file: some_path(&self.client_cert_path),
                key_file: some_path(&self.client_key_path),
            },
        }
    }
}

/// Whether there is a file and nothing in it: BOSH renders an unset property so, and the job means that it is not set.
fn is_blank(path: &Path) -> bool {
    let mut start = Vec::new();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let read = opened.and_then(|file| match file.metadata()?.is_file() {
        true => file.take(BLANK_BYTES_MAX).read_to_end(&mut start),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    });
    read.is_ok() && start.iter().all(u8::is_ascii_whitespace)
}

/// What is blank for longer than this is broken rather than unset.
const BLANK_BYTES_MAX: u64 = 64;

/// The BOSH job that a file belongs to: the folder that holds `config/FILE`, or the file's own folder elsewhere.
fn bosh_job(file: &Path) -> String {
    let mut folder = file.parent();
    if folder.and_then(Path::file_name).is_some_and(|name| name == "config") {
        folder = folder.and_then(Path::parent);
    }
    folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Announcement, String> {
        parse(&"f.yml".into(), text.as_bytes()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_job_cannot_name_what_is_bound_to_us() {
        let refused = parse_text("port: 1\nca_path: vcap:scrape/ca").unwrap_err();
        assert_eq!(refused, "f.yml:2:10: ca_path: the path of a file is expected here");
    }

    fn endpoint(text: &str) -> Endpoint {
        match parse_text(text) {
            Ok(Announcement::Endpoint(endpoint)) => *endpoint,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn sd(host: &str, ignores_interval: bool) -> PromScraperSd {
        let refresh_interval = Duration::from_secs(15);
        PromScraperSd { files: Vec::new(), host: host.to_owned(), refresh_interval, target_limit: 0, ignores_interval }
    }

    #[test]
    fn a_file_that_renders_to_nothing_is_off() {
        for text in ["", "\n", "---", "---\n", "\n\n---\n\n", "# nothing\n", "--- \n...\n", "null", "~\n"] {
            assert_eq!(parse_text(text), Ok(Announcement::Off("the file is empty")), "{text:?}");
        }
        for interval in ["0", "0s", "-1s", "\"0\"", "0ms"] {
            let text = format!("port: 1\nscrape_interval: {interval}");
            let said = parse_text(&text).unwrap();
            assert!(said.endpoint(false).is_none(), "{interval}");
            let asked = said.endpoint(true).expect(interval).group(&sd("::1", true), "f".as_ref());
            assert_eq!(asked.labels.get("__scrape_interval__"), None, "{interval}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "\n---\nport: \"9100\"\nsource_id: gorouter\ninstance_id: 12\nscheme: https\nserver_name: a_b.service.internal\n\
            path: stats/prometheus?format=text&x=1\nheaders: {X-Token: secret, Accept-Language: en}\n\
            labels: {version: 2.0, on: true, empty: , text: \"line\\n\"}\nscrape_interval: 1m30s\nca_path: /ca\n\
            client_cert_path: /cert\nclient_key_path: /key\nsomething: {else: 1}";
        let read = endpoint(text);
        assert_eq!(read.unknown_keys, ["something"]);
        let group =
            read.group(&sd("10.0.0.1", false), Path::new("/var/vcap/jobs/router/config/prom_scraper_config.yml"));
        assert_eq!(group.targets, ["10.0.0.1:9100"]);
        assert_eq!(
            group.labels.to_string(),
            "{__meta_prom_scraper_file=\"/var/vcap/jobs/router/config/prom_scraper_config.yml\",\
             __meta_prom_scraper_instance_id=\"12\",__meta_prom_scraper_job=\"router\",\
             __meta_prom_scraper_path=\"stats/prometheus\",__meta_prom_scraper_port=\"9100\",\
             __meta_prom_scraper_scheme=\"https\",__meta_prom_scraper_server_name=\"a_b.service.internal\",\
             __meta_prom_scraper_source_id=\"gorouter\",__metrics_path__=\"stats/prometheus\",__scheme__=\"https\",\
             __scrape_interval__=\"1m30s\",instance_id=\"12\",on=\"true\",source_id=\"gorouter\",text=\"line\",version=\"2.0\"}"
        );
        assert_eq!(group.own.params, split_query("?format=text&x=1").1);
        assert_eq!(format!("{:?}", group.own.headers), "[x-token: ***, accept-language: ***]");
        assert_eq!(group.own.ca_file, Some("/ca".into()));
        assert_eq!(group.own.cert_file, Some("/cert".into()));
        assert_eq!(group.own.key_file, Some("/key".into()));
        assert_eq!(group.own.server_name.as_deref(), Some("a_b.service.internal"));
    }

    #[test]
    fn the_job_directory_stands_for_a_missing_source_id() {
        let source_id = |text: &str, file: &str| {
            endpoint(text).group(&sd("::1", false), Path::new(file)).labels.get_or_empty("source_id").to_owned()
        };
        let bosh = "/var/vcap/jobs/nats/config/metric_port.yml";
        assert_eq!(source_id("port: 1", bosh), "nats");
        assert_eq!(source_id("port: 1\nsource_id: \"\"", bosh), "nats");
        assert_eq!(source_id("port: 1\nlabels: {source_id: own}", bosh), "own");
        assert_eq!(source_id("port: 1\nsource_id: key\nlabels: {source_id: own}", bosh), "key");
        assert_eq!(source_id("port: 1", "/etc/scrape/nats/p.yml"), "nats");
        assert_eq!(endpoint("port: 1").group(&sd("::1", false), Path::new(bosh)).targets, ["[::1]:1"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let refused = |text: &str| parse_text(text).expect_err(text);
        assert_eq!(
            refused("port: 1\nscrape_interval: 15x"),
            "f.yml:2:18: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\""
        );
        assert!(
            refused("port: 1\nscrape_interval: 15")
                .starts_with("f.yml:2:18: scrape_interval: \"15\" is not a duration")
        );
        assert_eq!(
            refused("port: 1\nscrape_interval: 10us"),
            "f.yml:2:18: scrape_interval: \"10us\" is out of range; an interval is from 1ms to 24h, or 0 for an endpoint that is off"
        );
        for port in ["0", "65536", "-1", "9100.0", "0x50", "abc", "\"\\e[31m\""] {
            let told = refused(&format!("port: {port}"));
            assert!(told.starts_with("f.yml:1:7: port: \"") && told.ends_with("from 1 to 65535"), "{told}");
            assert!(!told.contains('\u{1b}'));
        }
        assert_eq!(refused("source_id: a"), "f.yml:1:1: port: missing; write the port of the endpoint, 1 to 65535");
        assert_eq!(refused("port:"), "f.yml:1:5: port: it has no value; write the port of the endpoint, 1 to 65535");
        assert_eq!(refused("- 1"), "f.yml:1:1: expected keys such as \"port: 9100\", found a list");
        assert_eq!(refused("port: [1]"), "f.yml:1:7: port: expected a single value, found a list");
        assert_eq!(
            refused("port: 1\nscheme: ftp"),
            "f.yml:2:9: scheme: \"ftp\" is not a scheme; write \"http\" or \"https\""
        );
        assert!(refused("port: 1\nserver_name: \"a b\"").starts_with("f.yml:2:14: server_name: \"a b\" is neither"));
        assert_eq!(
            refused("port: 1\nclient_cert_path: /a"),
            "f.yml:2:1: client_cert_path: it needs client_key_path beside it"
        );
    }

    #[test]
    fn headers_and_labels_cannot_do_harm() {
        let refused = |text: &str| parse_text(text).expect_err(text);
        for name in ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "te", "Trailer"] {
            assert_eq!(
                refused(&format!("port: 1\nheaders:\n  {name}: s3cret")),
                format!("f.yml:3:3: headers: \"{name}\" cannot be set; it belongs to the request itself")
            );
        }
        assert_eq!(
            refused("port: 1\nheaders: {a: \"s3cret\\r\\nHost: x\"}"),
            "f.yml:2:11: headers: \"a\" has a value with a control character in it"
        );
        assert_eq!(
            refused("port: 1\nheaders: {\"a b\": x}"),
            "f.yml:2:11: headers: \"a b\" is not the name of a header"
        );
        assert_eq!(
            refused("port: 1\nheaders: {a: x, A: y}"),
            "f.yml:2:17: headers: \"A\" stands twice, in different case"
        );
        let large = format!("port: 1\nheaders: {{a: {}}}", "x".repeat(HEADER_BYTES_MAX));
        assert!(refused(&large).ends_with("at most 64 headers with 16384 bytes together are sent"));
        assert_eq!(
            refused("port: 1\nlabels: {__address__: evil}"),
            "f.yml:2:10: labels: \"__address__\" cannot be set by a job; names with `__` in front steer the scrape"
        );
        for name in ["a-b", "1a", "é", "\"\"", "\"a\\nb\""] {
            let told = refused(&format!("port: 1\nlabels: {{{name}: x}}"));
            assert!(told.contains("is not the name of a label"), "{told}");
        }
        assert_eq!(
            refused("port: 1\nlabels: {a: [1]}"),
            "f.yml:2:10: labels: \"a\" expected a single value, found a list"
        );
        assert_eq!(endpoint("port: 1\nlabels: \"\"\nheaders:").labels, Labels::new());
    }
}
