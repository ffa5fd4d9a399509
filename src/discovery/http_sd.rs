//! `http_sd_configs`: targets that a server lists, in the JSON of `file_sd_configs`.
//!
//! An answer counts when its status is 200 and all of it can be read; until the next such answer the last one stays. No
//! redirects are followed: credentials would go along.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{Request, StatusCode};

use crate::config::checked::HttpSd;
use crate::net::authorization::Signature;
use crate::net::credentials::Credentials;
use crate::net::http::HttpClient;
use crate::net::text::escaped;

use super::file_sd;
use super::remote::{Said, Tell};
use super::resolve::Group;

/// From connecting to the last byte of an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer, before and after inflating: of ten thousand targets, 800 each.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Prometheus tells the server how often it asks by this header.
const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");

/// Asks at every refresh interval, for ever.
pub(super) async fn run(sd: HttpSd, credentials: &Credentials, tell: Tell) {
    let asking = Asking::new(sd, credentials);
    let mut held: Option<Said> = None;
    let mut ticks = tokio::time::interval(asking.sd.refresh_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let said = match asking.ask().await {
            Ok(groups) => Said { groups, problem: None },
            Err(error) => {
                let (groups, stays) = match &held {
                    Some(held) if !held.groups.is_empty() => (held.groups.clone(), "; what it said before stays"),
                    _ => (Vec::new(), ""),
                };
                Said { groups, problem: Some(format!("http_sd: {}: {error}{stays}", asking.shown)) }
            }
        };
        if held.as_ref() != Some(&said) {
            tell.tell(said.clone());
            held = Some(said);
        }
    }
}

struct Asking {
    sd: HttpSd,
    /// The URL for people: its query may be a secret.
    shown: String,
    client: HttpClient,
    signature: Signature,
}

impl Asking {
    fn new(sd: HttpSd, credentials: &Credentials) -> Self {
        let url = sd.url.to_string();
        Self {
            shown: escaped(url.split('?').next().unwrap_or("")),
            client: HttpClient::new(TIMEOUT, credentials.client(&sd.tls), ANSWER_BYTES_MAX),
            signature: Signature {
                authorization: sd.auth.handle(credentials),
                headers: sd.headers.iter().map(|(name, secret)| (name.clone(), credentials.secret(secret))).collect(),
            },
            sd,
        }
    }

    async fn ask(&self) -> Result<Vec<Group>, String> {
        let mut request = Request::new(Bytes::new());
        let headers = request.headers_mut();
        self.signature.apply(headers).map_err(|error| error.to_string())?;
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(INTERVAL_HEADER, HeaderValue::from(self.sd.refresh_interval.as_secs()));
        let answer = self.client.send(&self.sd.url, request).await.map_err(|error| error.to_string())?;
        if answer.status.is_redirection() {
            return Err(format!("answered {}; redirects are not followed here", answer.status));
        }
        if answer.status != StatusCode::OK {
            return Err(format!("answered {}", answer.status));
        }
        let groups = file_sd::parse_json(&answer.body).map_err(|(at, message)| match at.line {
            0 => message,
            line => format!("line {line}, column {}: {message}", at.column),
        });
        let mut groups = groups.map_err(|error| format!("its answer is no list of targets: {error}"))?;
        groups.iter_mut().for_each(|group| group.labels.set("__meta_url", self.shown.clone()));
        Ok(groups)
    }
}
