//! Elasticsearch and OpenSearch, by `POST /_bulk`; docs/elasticsearch.md is its manual.
//!
//! Promises
//! - Samples of one label set and time are one document, never two: a time series data stream would refuse the second.
//! - Each document is judged by itself: a refused one is rejected with its reason and holds up nothing; a busy receiver
//!   gets again what it was too busy for, and no more.
//! - No sample becomes another value: what JSON cannot say is skipped and counted, never 0.
//!
//! Leaves out on purpose, so far: installing templates, ids of our own, sniffing of nodes.

mod answer;
mod classify;
mod encode;
mod index;
mod plan;
mod shapes;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value as Json;

use super::http::Receivers;
use crate::config::checked;
use crate::net::credentials::Credentials;
use crate::net::host::machine_name;
use crate::net::text::{duration, excerpt};
use crate::pipeline::{Answer, Attempt, Batch, Compression, Encoded, Failure, Judgement, Ordering, Output, Request};
use encode::{Cache, Encoder};
use index::IndexName;
use shapes::Shape;

/// The oldest major version of Elasticsearch that is tested against.
const VERSION_MIN: u64 = 8;

/// How long the first look at all receivers may take; sending begins after it.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// The output.
#[derive(Debug)]
pub struct Elasticsearch {
    receivers: Receivers,
    credentials: String,
    encoder: Encoder,
}

impl Elasticsearch {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::Elasticsearch, credentials: &Credentials) -> Self {
        let receivers = Receivers::new(&settings.http, credentials);
        Self {
            credentials: receivers.credentials(),
            receivers,
            encoder: Encoder {
                shape: Shape { document: settings.shape, host: machine_name() },
                index: IndexName::new(&settings.index),
                action: settings.action,
                compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
            },
        }
    }

    /// Asks one receiver what it is. `None` when all is well.
    async fn look_at(&self, url: usize) -> Option<String> {
        let request = Request { path_and_query: "/".to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
        match self.receivers.send(url, Method::GET, request).await {
            Ok(answer) => doubts(&self.credentials, &answer),
            Err(failure) => Some(failure.message),
        }
    }
}

impl Output for Elasticsearch {
    type State = ();
    type Cache = Cache;

    fn ordering(&self) -> Ordering {
        Ordering::Free
    }

    fn urls(&self) -> Vec<String> {
        self.receivers.urls()
    }

    async fn start(&self) -> Result<(), String> {
        let urls = self.urls();
        let time_max = START_TIME_MAX / urls.len().max(1) as u32;
        let mut doubts = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let looked = tokio::time::timeout(time_max, self.look_at(at)).await;
            let doubt = looked.unwrap_or_else(|_| Some(format!("no answer to GET / within {}", duration(time_max))));
            doubts.extend(doubt.map(|doubt| format!("{url}: {doubt}")));
        }
        if doubts.is_empty() { Ok(()) } else { Err(doubts.join("; ")) }
    }

    fn encode(&self, (): &(), cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encoder.encode(cache, batch)
    }

    fn is_idempotent(&self) -> bool {
        self.encoder.action == crate::config::checked::BulkAction::Create
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        self.receivers.send(url, Method::POST, request).await
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        classify::classify(&self.credentials, encoded, attempt, answer)
    }
}

/// What is doubtful about the answer to `GET /`, if anything is.
fn doubts(credentials: &str, answer: &Answer) -> Option<String> {
    match answer.status.as_u16() {
        200 => {}
        401 => return Some(format!("refuses {credentials} (401)")),
        // It may be that these credentials may write, and not look.
        403 => return None,
        status => return Some(format!("answers {status} to GET /; is this Elasticsearch?")),
    }
    let about: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    let version = &about["version"];
    let number = version["number"].as_str().unwrap_or_default();
    let is_opensearch = version["distribution"] == "opensearch";
    if !is_opensearch && !answer.headers.contains_key("x-elastic-product") {
        return Some("does not say that it is Elasticsearch (the header X-Elastic-Product is missing)".to_owned());
    }
    let major: Option<u64> = number.split('.').next().and_then(|major| major.parse().ok());
    if !is_opensearch && major.is_some_and(|major| major < VERSION_MIN) {
        let number = excerpt(number.as_bytes(), 20);
        return Some(format!("is Elasticsearch {number}; {VERSION_MIN} and above are supported"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode};

    fn about(status: u16, product: Option<&'static str>, body: &'static str) -> Option<String> {
        let headers = product
            .map(|product| (http::HeaderName::from_static("x-elastic-product"), HeaderValue::from_static(product)));
        let status = StatusCode::from_u16(status).unwrap();
        doubts("the API key", &Answer { status, headers: headers.into_iter().collect(), body: body.into() })
    }

    #[test]
    fn a_receiver_is_known_by_its_answer() {
        let product = Some("Elasticsearch");
        assert_eq!(about(200, product, r#"{"version":{"number":"9.5.3"}}"#), None);
        assert_eq!(about(200, None, r#"{"version":{"number":"2.1.0","distribution":"opensearch"}}"#), None);
        assert_eq!(about(403, None, ""), None);
        assert_eq!(about(401, None, "").unwrap(), "refuses the API key (401)");
        assert_eq!(about(404, None, "").unwrap(), "answers 404 to GET /; is this Elasticsearch?");
        assert_eq!(
            about(200, product, r#"{"version":{"number":"7.17.0"}}"#).unwrap(),
            "is Elasticsearch 7.17.0; 8 and above are supported"
        );
        assert_eq!(
            about(200, None, "<html>").unwrap(),
            "does not say that it is Elasticsearch (the header X-Elastic-Product is missing)"
        );
    }
}
