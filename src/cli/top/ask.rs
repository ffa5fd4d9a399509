//! What the admin port says, as far as it is shown. A process of an older version may lack any of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::Arguments;
use crate::net::credentials::Credentials;
use crate::net::error::{Cause, NetError, Stage};
use crate::net::http::HttpClient;
use crate::net::text;
use crate::net::tls::TlsSettings;
use crate::net::{Scheme, Url};

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one answer: of 10,000 targets it has some 15 MB.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// Targets that are taken from an answer, more than an honest one of that size has: one of `{}` alone would need gigabytes here.
const TARGETS_MAX: usize = 100_000;
/// And outputs.
const OUTPUTS_MAX: usize = 1000;
/// Characters of an answer that is not understood.
const EXCERPT_CHARS_MAX: usize = 200;

/// What was seen, or a sentence with why nothing was.
pub(super) type Asked = Result<Seen, String>;

/// One look.
pub(super) struct Seen {
    /// When, for differences, and for people.
    pub(super) at: Instant,
    pub(super) time: Timestamp,
    pub(super) version: Option<String>,
    pub(super) started: Option<Timestamp>,
    /// What is awaited before it is ready.
    pub(super) waiting_for: Option<String>,
    /// `ok`, `warning` or `critical`, and the sentence.
    pub(super) headline: Option<(String, String)>,
    /// Samples scraped since the start.
    pub(super) samples_scraped: Option<u64>,
    pub(super) dropped: Option<u64>,
    pub(super) memory: Option<(u64, Option<u64>)>,
    pub(super) targets: Vec<Target>,
    pub(super) outputs: Vec<Output>,
}

/// One target.
pub(super) struct Target {
    pub(super) url: String,
    /// Its `source_id`, by which jobs are known on a platform, or else its job.
    pub(super) source: String,
    /// All labels as one text, for filtering.
    pub(super) labels: String,
    pub(super) health: Health,
    pub(super) error: String,
    pub(super) advice: Option<String>,
    pub(super) scraped: Option<Timestamp>,
    pub(super) took: Duration,
    pub(super) samples: Option<u64>,
}

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Down,
    Unknown,
    Up,
}

/// One output.
pub(super) struct Output {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) delivered: u64,
    /// Rejected and dropped.
    pub(super) lost: u64,
    pub(super) waiting: u64,
    /// Of the queue, the fuller of samples and bytes.
    pub(super) fill_percent: Option<u64>,
    /// How long the oldest sample has waited, in seconds.
    pub(super) lag_seconds: Option<f64>,
    /// Delivered a second, in the last step that is over.
    pub(super) recent_rate: Option<f64>,
    pub(super) failing: Option<String>,
}

/// Asks one admin port.
pub(super) struct Client {
    http: HttpClient,
    base: Url,
    /// The URL as it was typed, escaped.
    address: String,
}

impl Client {
    /// The error is a sentence about the arguments.
    pub(super) fn new(arguments: &Arguments) -> Result<Self, String> {
        let base = parse(&arguments.url)?;
        let credentials = Arc::new(Credentials::default());
        let tls = credentials.client(&TlsSettings {
            ca_file: arguments.ca.clone(),
            cert_file: arguments.cert.clone(),
            key_file: arguments.key.clone(),
            server_name: arguments.server_name.clone(),
            insecure_skip_verify: arguments.insecure_skip_verify,
            ..TlsSettings::default()
        });
        let address = text::escaped(&format!("{}://{}", base.scheme.as_str(), base.authority()));
        Ok(Self { http: HttpClient::new(TIMEOUT, tls, ANSWER_BYTES_MAX), base, address })
    }

    /// Scheme, host and port, for people.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Looks once.
    pub(super) async fn ask(&self) -> Asked {
        // An older process has no status.
        let status = self.get("/api/v1/status").await?.unwrap_or_default();
        let targets = self.known(self.get("/api/v1/targets?state=active").await?)?;
        let outputs = self.known(self.get("/api/v1/outputs").await?)?;
        Ok(Seen::new(&status, &targets, &outputs))
    }

    fn known(&self, data: Option<Value>) -> Result<Value, String> {
        data.ok_or_else(|| self.is_another("404 Not Found"))
    }

    /// What is under `data` in the answer; `None` where nothing is there.
    async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let url = Url { path_and_query: path.to_owned(), ..self.base.clone() };
        let answer =
            self.http.send(&url, Request::new(Bytes::new())).await.map_err(|error| self.unreachable(&error))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => {
                let body = text::excerpt(&answer.body, EXCERPT_CHARS_MAX);
                return Err(self.is_another(&format!("{status}: {body}")));
            }
        }
        let read: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let data = read.and_then(|mut value| value.get_mut("data").map(Value::take));
        data.map(Some).ok_or_else(|| self.is_another(&format!("\"{}\"", text::excerpt(&answer.body, 40))))
    }

    fn is_another(&self, answer: &str) -> String {
        format!(
            "{} does not answer as the admin port of promferry does ({answer}); give its address with --url",
            self.address
        )
    }

    fn unreachable(&self, error: &NetError) -> String {
        match &error.cause {
            Cause::Refused => format!(
                "nothing listens on {} (connection refused); is promferry running there? Its log says where its admin port is, give \
                 that with --url",
                error.address
            ),
            // They say what to do in the words of a configuration.
            _ if matches!(error.stage, Stage::Handshake) => format!(
                "{} cannot be asked: {error}; here the options are --ca, --cert, --key and --server-name",
                self.address
            ),
            _ => format!("{} cannot be asked: {error}", self.address),
        }
    }
}

/// A URL of scheme, host and port; a path is not taken.
fn parse(typed: &str) -> Result<Url, String> {
    if typed.contains('@') {
        // Not repeated: it holds a password.
        return Err("--url: credentials in a URL are not taken".to_owned());
    }
    let wrong = |what: &str| Err(format!("--url \"{}\": {what}", text::excerpt(typed.as_bytes(), EXCERPT_CHARS_MAX)));
    let (scheme, rest) = match typed.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return wrong("a URL starts with http:// or https://"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#']) {
        return wrong("write scheme, host and port, such as http://127.0.0.1:9698");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return wrong("the port is not a number up to 65535"),
        },
        _ => (authority, scheme.default_port()),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    Ok(Url { scheme, host, port, path_and_query: "/".to_owned() })
}

impl Seen {
    fn new(status: &Value, targets: &Value, outputs: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let headline = &status["headline"];
        let memory = &outputs["memory"];
        Self {
            at: Instant::now(),
            time: Timestamp::now(),
            version: text(&status["version"]),
            started: time(&status["startTime"]),
            waiting_for: text(&status["waitingFor"]),
            headline: text(&headline["severity"]).zip(text(&headline["text"])),
            samples_scraped: status["scrapes"]["samples"].as_u64(),
            dropped: status["targets"]["dropped"].as_u64(),
            memory: memory["used"].as_u64().map(|used| (used, memory["limit"].as_u64())),
            targets: list(&targets["activeTargets"]).iter().take(TARGETS_MAX).map(Target::new).collect(),
            outputs: list(&outputs["outputs"]).iter().take(OUTPUTS_MAX).map(Output::new).collect(),
        }
    }

    /// Targets in this health.
    pub(super) fn count(&self, health: Health) -> usize {
        self.targets.iter().filter(|target| target.health == health).count()
    }
}

impl Target {
    fn new(said: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = said["labels"].as_object().into_iter().flatten();
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}=\"{}\"", text(value))).collect();
        Self {
            url: text(&said["scrapeUrl"]),
            source: said["labels"]["source_id"]
                .as_str()
                .map(str::to_owned)
                .unwrap_or_else(|| text(&said["scrapePool"])),
            labels: labels.join(","),
            health: match said["health"].as_str() {
                Some("up") => Health::Up,
                Some("down") => Health::Down,
                _ => Health::Unknown,
            },
            error: text(&said["lastError"]),
            advice: said["advice"].as_str().filter(|advice| !advice.is_empty()).map(str::to_owned),
            scraped: time(&said["lastScrape"]),
            took: Duration::try_from_secs_f64(said["lastScrapeDuration"].as_f64().unwrap_or_default())
                .unwrap_or_default(),
            samples: said["samples"].as_u64(),
        }
    }
}

impl Output {
    fn new(said: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ledger = &said["ledger"];
        let queue = &said["queue"];
        let percent = |used: &str, most: &str| {
            let most = queue[most].as_u64().filter(|most| *most > 0)?;
            Some(queue[used].as_u64()?.saturating_mul(100).div_ceil(most))
        };
        let recent = &said["recent"];
        // The last step is not over.
        let last = list(&recent["delivered"]).iter().rev().nth(1).and_then(Value::as_f64);
        let step = recent["stepSeconds"].as_f64().filter(|step| *step > 0.0);
        Self {
            name: text(&said["name"]),
            kind: text(&said["kind"]),
            delivered: sum(&ledger["delivered"]),
            lost: sum(&ledger["rejected"]).saturating_add(sum(&ledger["dropped"])),
            waiting: sum(&ledger["waiting"]),
            fill_percent: percent("samples", "maxSamples").max(percent("bytes", "maxBytes")),
            lag_seconds: said["oldestWaitingSeconds"].as_f64(),
            recent_rate: last.zip(step).map(|(delivered, step)| delivered / step),
            failing: said["failing"].as_str().map(str::to_owned),
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A count, or the sum of counts by reason.
fn sum(value: &Value) -> u64 {
    match value {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).fold(0, u64::saturating_add),
        count => count.as_u64().unwrap_or_default(),
    }
}

/// What Go writes for no time is none.
fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let read = |typed| parse(typed).map(|url| (url.scheme, url.host, url.port));
        assert_eq!(read("http://127.0.0.1:9698/"), Ok((Scheme::Http, "127.0.0.1".into(), 9698)));
        assert_eq!(read("https://[::1]:1"), Ok((Scheme::Https, "::1".into(), 1)));
        assert_eq!(read("https://[::1]"), Ok((Scheme::Https, "::1".into(), 443)));
        for wrong in ["localhost:1", "ftp://x", "http://", "http://a:b", "http://a:70000", "http://a/b", "http://a?b"] {
            assert!(read(wrong).unwrap_err().starts_with(&format!("--url \"{wrong}\": ")), "{wrong}");
        }
        for secret in ["http://u:geheim@h:1", "u:geheim@h:1", "ftp://u:geheim@h", "http://u:ge/heim@h:1"] {
            assert_eq!(read(secret).unwrap_err(), "--url: credentials in a URL are not taken");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_left_out() {
        let seen = Seen::new(&Value::Null, &json!({"activeTargets": [{}, 1]}), &json!({"outputs": [{"ledger": []}]}));
        assert_eq!((seen.targets.len(), seen.outputs.len(), seen.headline), (2, 1, None));
        assert_eq!((seen.targets[0].health, seen.targets[0].samples), (Health::Unknown, None));
        assert_eq!((seen.outputs[0].delivered, seen.outputs[0].fill_percent), (0, None));
        let said = json!({
            "lastScrape": "0001-01-01T00:00:00Z", "lastScrapeDuration": -1.0, "health": "down", "labels": {"a": "b"},
        });
        let target = Target::new(&said);
        assert_eq!((target.scraped, target.took, target.labels.as_str()), (None, Duration::ZERO, "a=\"b\""));
    }

    #[test]
    fn an_output_is_as_full_as_the_fuller_of_its_limits() {
        let output = Output::new(&json!({
            "ledger": {"delivered": 7, "rejected": {"a": 1, "b": 2}, "dropped": {}, "waiting": 5},
            "queue": {"samples": 5, "maxSamples": 1000, "bytes": 30, "maxBytes": 100},
            "recent": {"stepSeconds": 10, "delivered": [10, 50, 3]},
            "oldestWaitingSeconds": 2.5,
        }));
        assert_eq!((output.delivered, output.lost, output.waiting, output.fill_percent), (7, 3, 5, Some(30)));
        assert_eq!((output.recent_rate, output.lag_seconds), (Some(5.0), Some(2.5)));
    }
}
