//! The exporter of metrics-agent: its envelopes as metrics at `/metrics`, and behind `?id=` one scrape of a source, now.
//!
//! Answers are those of metrics-agent 3.2.33, byte for byte where a client could tell: 404 and nothing for a source that is not
//! known, 500 and a reason for one that cannot be scraped, any method, text format 0.0.4. See docs/metrics-agent.md.
//!
//! Promises
//! - At most [`ANSWERS_MAX`] expositions are being read at a time; of each one piece of text is in memory, and its samples.
//! - What is served is a valid exposition, whatever a source says: families are whole and in the order of their names, no
//!   series is there twice.
//!
//! Left out on purpose: OpenMetrics, which the original does not speak either (counters of envelopes have no `_total`, and would
//! lose their type), and protobuf: who asks for them is given text.

mod accept;
mod answer;
mod escape;
mod own;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use crate::exposition::merge::Index;
use crate::exposition::write::Format;
use crate::model::{Scrape, wall_ms};
use crate::net::form_decoded;
use crate::net::server::{Request, Response, full, text};
use accept::Accepted;
pub use own::{Failures, OwnMetrics, Promferry};

/// Expositions that are read by clients at a time; who comes when all are taken is told to come again.
pub const ANSWERS_MAX: usize = 64;

/// Expositions whose series are being put in order at a time: that takes memory for each series, for a moment.
const PREPARED_AT_ONCE: usize = 2;

/// What became of a request for a source.
#[derive(Clone, Debug)]
pub enum Proxied {
    /// There is no such source.
    Unknown,
    /// Its samples.
    Scraped(Arc<Scrape>),
    /// Why there are none: one sentence.
    Failed(Arc<str>),
}

/// Scrapes a source, now, by its id.
pub type Proxy = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Proxied> + Send>> + Send + Sync>;

/// The envelopes as one scrape of this time, in milliseconds since 1970; `None` where there is no way in for them.
pub type Envelopes = Arc<dyn Fn(i64) -> Option<Arc<Scrape>> + Send + Sync>;

/// The exporter.
pub struct Exporter {
    envelopes: Envelopes,
    /// How the envelopes' series stand in an exposition, as long as there are no others.
    index: Mutex<Option<Arc<Index>>>,
    proxy: Proxy,
    slots: Arc<Semaphore>,
    preparing: Arc<Semaphore>,
}

impl Exporter {
    /// One that has answered nobody yet.
    pub fn new(envelopes: Envelopes, proxy: Proxy) -> Arc<Self> {
        Arc::new(Self {
            envelopes,
            index: Mutex::default(),
            proxy,
            slots: Arc::new(Semaphore::new(ANSWERS_MAX)),
            preparing: Arc::new(Semaphore::new(PREPARED_AT_ONCE)),
        })
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request) -> Response {
        if request.path != "/metrics" {
            return not_found();
        }
        let accepted = Accepted::of(&request.headers);
        let is_head = request.method == Method::HEAD;
        match source_id(request.query.as_deref().unwrap_or_default()) {
            Some(id) => match (self.proxy)(id).await {
                Proxied::Unknown => unknown_source(),
                Proxied::Failed(reason) => failed(&reason),
                Proxied::Scraped(scrape) => self.exposition(Samples::Proxied(scrape), accepted, is_head).await,
            },
            None => self.exposition(Samples::Envelopes, accepted, is_head).await,
        }
    }

    async fn exposition(self: Arc<Self>, samples: Samples, accepted: Accepted, is_head: bool) -> Response {
        let Ok(permit) = self.slots.clone().try_acquire_owned() else {
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{ANSWERS_MAX} expositions are being read now; come again when one is done\n"),
            );
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        };
        let turn = self.preparing.clone().acquire_owned().await;
        let exporter = self.clone();
        // Ordering many series takes longer than a task may keep its thread.
        let made = tokio::task::spawn_blocking(move || {
            // It goes on to its end without a client that goes away, and has its turn until then.
            let _turn = turn;
            let (scrape, index) = exporter.prepare(samples, accepted)?;
            Some(answer::Exposition::new(scrape, index, accepted, permit))
        });
        match made.await {
            Ok(exposition) => answer::response(exposition, accepted, is_head),
            Err(_) => failed("the exposition could not be made: a bug of promferry's"),
        }
    }

    /// The samples with names that the client reads, and their order.
    fn prepare(&self, samples: Samples, accepted: Accepted) -> Option<(Arc<Scrape>, Arc<Index>)> {
        let new_index = |scrape: &Scrape| Arc::new(Index::new(Format::Text, &scrape.series));
        match samples {
            Samples::Proxied(scrape) => {
                let scrape = if accepted.quoted_names { scrape } else { escape::underscored(scrape) };
                let index = new_index(&scrape);
                Some((scrape, index))
            }
            // They may be many, and mostly stay the same. Their names were made plain when they came.
            Samples::Envelopes => {
                let scrape = (self.envelopes)(wall_ms())?;
                let held = || self.index.lock().unwrap_or_else(PoisonError::into_inner);
                let known = held().clone().filter(|index| index.is_of(&scrape.series));
                let index = known.unwrap_or_else(|| {
                    let index = new_index(&scrape);
                    *held() = Some(index.clone());
                    index
                });
                Some((scrape, index))
            }
        }
    }
}

/// What an answer is made of.
enum Samples {
    Envelopes,
    Proxied(Arc<Scrape>),
}

/// What `id` asks for: the first one counts, and an empty one is the agent's own.
fn source_id(query: &str) -> Option<String> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, id) = pairs.find(|(name, _)| form_decoded(name) == "id")?;
    Some(form_decoded(id)).filter(|id| !id.is_empty())
}

/// As Go's `http.NotFound` has it.
fn not_found() -> Response {
    no_sniffing(text(StatusCode::NOT_FOUND, "404 page not found\n"))
}

fn unknown_source() -> Response {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// As `promhttp` has it, with a reason of ours.
fn failed(reason: &str) -> Response {
    let body = format!("An error has occurred while serving metrics:\n\n{reason}\n");
    no_sniffing(text(StatusCode::INTERNAL_SERVER_ERROR, body))
}

fn no_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_counts_and_is_decoded() {
        let id = |query: &str| source_id(query).unwrap_or_default();
        for (query, expected) in [
            ("id=rep", "rep"),
            ("id=a&id=b", "a"),
            ("x=1&id=a%2Fb+c&y", "a/b c"),
            ("%69d=a", "a"),
            ("id=&id=b", ""),
            ("id", ""),
            ("", ""),
            ("ids=a", ""),
            ("id==", "="),
        ] {
            assert_eq!(id(query), expected, "{query}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_that_go_away_do_not_make_more_expositions_be_prepared_at_once() {
        use std::sync::mpsc;
        use tokio::sync::mpsc::unbounded_channel;

        let (begun, mut begins) = unbounded_channel();
        let (go_on, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let envelopes: Envelopes = Arc::new(move |_| {
            let _ = begun.send(());
            let _ = held.lock().unwrap().recv();
            None
        });
        let exporter = Exporter::new(envelopes, Arc::new(|_| Box::pin(async { Proxied::Unknown })));
        let accepted = Accepted { quoted_names: false, is_gzip: false };
        let ask = || tokio::spawn(exporter.clone().exposition(Samples::Envelopes, accepted, false));
        for _ in 0..PREPARED_AT_ONCE {
            let asked = ask();
            begins.recv().await.unwrap();
            asked.abort();
            assert!(asked.await.is_err(), "it goes away");
        }
        assert_eq!(exporter.preparing.available_permits(), 0, "its exposition is still being prepared");
        let patient = ask();
        for _ in 0..=PREPARED_AT_ONCE {
            go_on.send(()).unwrap();
        }
        assert_eq!(patient.await.unwrap().status(), StatusCode::OK);
    }
}
