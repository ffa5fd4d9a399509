//! What outputs that speak HTTP share: receivers with their credentials, and what an answer's header says.

use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::config::checked::HttpOutput;
use crate::net::Url;
use crate::net::authorization::{Authorization, Signature};
use crate::net::credentials::Credentials;
use crate::net::error::Stage;
use crate::net::http::HttpClient;
use crate::net::text::{duration, escaped};
use crate::pipeline::{Answer, Failure, Next, Request};

/// Bytes of an answer's body, before and after inflating: 800 of them for each of ten thousand refused items. Two requests in
/// flight whose receiver says more than it should cost 16 MiB, and no more.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// The receivers of one output, and how requests to them are signed.
#[derive(Debug)]
pub struct Receivers {
    urls: Vec<Url>,
    client: HttpClient,
    signature: Signature,
    has_certificate: bool,
}

impl Receivers {
    /// Connects to nothing and reads no file yet.
    pub fn new(settings: &HttpOutput, credentials: &Credentials) -> Self {
        let headers = settings.headers.iter().map(|(name, secret)| (name.clone(), credentials.secret(secret)));
        Self {
            urls: settings.urls.clone(),
            client: HttpClient::new(settings.timeout, credentials.client(&settings.tls), ANSWER_BYTES_MAX),
            signature: Signature { authorization: settings.auth.handle(credentials), headers: headers.collect() },
            has_certificate: settings.tls.cert_file.is_some(),
        }
    }

    /// Their URLs, for people.
    pub fn urls(&self) -> Vec<String> {
        self.urls.iter().map(|url| escaped(&url.to_string())).collect()
    }

    /// What requests are signed with, for people.
    pub fn credentials(&self) -> String {
        match &self.signature.authorization {
            Authorization::Basic { .. } => "the user name or password of basic_auth".to_owned(),
            Authorization::Header { scheme, .. } if scheme.eq_ignore_ascii_case("ApiKey") => "the API key".to_owned(),
            Authorization::Header { scheme, .. } => format!("the credentials of type {}", escaped(scheme)),
            Authorization::None if self.has_certificate => "the client certificate".to_owned(),
            Authorization::None => "requests without credentials".to_owned(),
        }
    }

    /// Looks at one receiver after another, each for an equal share of `time_max`. `look` gets the index in
    /// [`urls`](Self::urls) and returns what is doubtful, if anything is; `silence` says of one that takes too long what it
    /// does. Returns a sentence for each doubt.
    pub async fn look_at_each<F: Future<Output = Option<String>>>(
        &self,
        time_max: Duration,
        silence: &str,
        look: impl Fn(usize) -> F,
    ) -> Vec<String> {
        let urls = self.urls();
        let share = time_max / urls.len().max(1) as u32;
        let mut doubts = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let looked = tokio::time::timeout(share, look(at)).await;
            let doubt = looked.unwrap_or_else(|_| Some(format!("{silence} within {}", duration(share))));
            doubts.extend(doubt.map(|doubt| format!("{url}: {doubt}")));
        }
        doubts
    }

    /// Sends a request to the receiver with this index in [`urls`](Self::urls), at a path below its URL.
    ///
    /// # Errors
    /// When no whole answer came; an answer of any status is no error.
    pub async fn send(&self, url: usize, method: Method, request: Request) -> Result<Answer, Failure> {
        let Some(base) = self.urls.get(url) else {
            return Err(before_sending("url", format!("there is no URL {url}")));
        };
        let url = below(base, &request.path_and_query);
        let mut message = http::Request::new(request.body);
        *message.method_mut() = method;
        *message.headers_mut() = request.headers;
        let signed = self.signature.apply(message.headers_mut());
        signed.map_err(|error| before_sending("credentials", error.to_string()))?;
        let answer = self.client.send(&url, message).await.map_err(|error| Failure {
            kind: error.kind(),
            message: error.to_string(),
            is_maybe_received: error.stage >= Stage::Header,
        })?;
        Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// Doubts as one sentence.
///
/// # Errors
/// That sentence, where there are any.
pub fn all_well(doubts: &[String]) -> Result<(), String> {
    if doubts.is_empty() { Ok(()) } else { Err(doubts.join("; ")) }
}

fn before_sending(kind: &'static str, message: String) -> Failure {
    Failure { kind, message, is_maybe_received: false }
}

/// `base` with a path and query below its own path.
fn below(base: &Url, path_and_query: &str) -> Url {
    let path = base.path_and_query.split('?').next().unwrap_or("").trim_end_matches('/');
    Url { path_and_query: format!("{path}/{}", path_and_query.trim_start_matches('/')), ..base.clone() }
}

/// When a receiver that cannot take something wants it again.
pub fn next(headers: &HeaderMap) -> Next {
    retry_after(headers).map_or(Next::Backoff, Next::After)
}

/// `Retry-After`: seconds, or a date, which counts from the answer's own `Date` (RFC 9110, 10.2.3). Without that, from now.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?;
    let date = headers.get(DATE).and_then(|value| http_date(value.to_str().ok()?));
    let from = date.unwrap_or_else(Timestamp::now);
    Some(Duration::try_from(until.duration_since(from)).unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::checked::Auth;
    use crate::net::Scheme;
    use crate::net::tls::TlsSettings;

    #[test]
    fn a_path_goes_below_the_urls_own() {
        let below = |base: &str, path: &str| {
            let base = Url { scheme: Scheme::Https, host: "es".into(), port: 443, path_and_query: base.to_owned() };
            super::below(&base, path).to_string()
        };
        assert_eq!(below("/", "/m/_bulk?a=b"), "https://es:443/m/_bulk?a=b");
        assert_eq!(below("/es/", "/_bulk"), "https://es:443/es/_bulk");
        assert_eq!(below("", ""), "https://es:443/");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_receiver_takes_its_share_of_the_time_and_no_more() {
        let url =
            |host: &str| Url { scheme: Scheme::Http, host: host.into(), port: 80, path_and_query: "/".to_owned() };
        let settings = HttpOutput {
            urls: ["silent", "well", "ill"].map(url).into(),
            tls: TlsSettings::default(),
            auth: Auth::None,
            headers: Vec::new(),
            timeout: Duration::from_secs(60),
            gzip: true,
        };
        let receivers = Receivers::new(&settings, &Credentials::default());
        let start = tokio::time::Instant::now();
        let look = |at| async move {
            match at {
                0 => std::future::pending().await,
                1 => None,
                _ => Some("is ill".to_owned()),
            }
        };
        let doubts = receivers.look_at_each(Duration::from_secs(6), "says nothing", look).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        let sentence = "http://silent:80/: says nothing within 2s; http://ill:80/: is ill";
        assert_eq!(all_well(&doubts), Err(sentence.to_owned()));
        assert_eq!(all_well(&[]), Ok(()));
    }

    fn after(retry_after: &'static str, date: &'static str) -> Option<Duration> {
        let value = HeaderValue::from_static;
        super::retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value(retry_after)), (DATE, value(date))]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(after("120", date), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT", date), Some(Duration::from_secs(23)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT", ""), Some(Duration::ZERO));
        assert_eq!(after("soon", date), None);
        assert_eq!(after("-1", date), None);
        assert_eq!(super::retry_after(&HeaderMap::new()), None);
    }
}
