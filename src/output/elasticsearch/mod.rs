//! Elasticsearch and OpenSearch, by `POST /_bulk`; docs/elasticsearch.md is its manual.
//!
//! Promises
//! - Samples of one label set and time are one document, never two: a time series data stream would refuse the second.
//! - A document that is sent again is not stored again: a time series data stream knows it, elsewhere it has an id.
//! - Each document is judged by itself: a refused one is rejected with its reason and holds up nothing; a busy receiver
//!   gets again what it was too busy for, and no more.
//! - No sample becomes another value: what JSON cannot say is skipped and counted, never 0.
//! - No template is touched that is not ours.
//!
//! What is learnt of the receivers at start decides how documents are written. Until then they are written for the receiver
//! that their shape is made for. A request that was made stays as it is, whatever is learnt.
//!
//! Leaves out on purpose: sniffing of nodes.

mod answer;
mod classify;
mod encode;
mod index;
mod look;
mod plan;
mod receiver;
mod shapes;
mod survey;
mod template;

use std::sync::{Mutex, PoisonError};

use http::Method;

use super::http::{Receivers, all_well};
use crate::config::checked;
use crate::net::credentials::Credentials;
use crate::net::host::machine_name;
use crate::pipeline::{Answer, Attempt, Batch, Compression, Encoded, Failure, Judgement, Ordering, Output, Request};
use encode::{Cache, Encoder};
use index::{IndexName, Routing};
use look::{Look, Purpose};
use receiver::Known;
use shapes::Shape;

/// The output.
#[derive(Debug)]
pub struct Elasticsearch {
    settings: checked::Elasticsearch,
    receivers: Receivers,
    credentials: String,
    encoder: Encoder,
    known: Mutex<Known>,
}

impl Elasticsearch {
    /// Connects to nothing yet.
    pub fn new(settings: &checked::Elasticsearch, credentials: &Credentials) -> Self {
        let receivers = Receivers::new(&settings.http, credentials);
        Self {
            credentials: receivers.credentials(),
            receivers,
            encoder: Encoder {
                shape: Shape::new(settings.shape, &settings.telegraf, machine_name()),
                index: IndexName::new(&settings.index),
                indexes_max: settings.max_indexes,
                action: settings.action,
                routing: settings.routing.as_deref().map(Routing::new),
                pipeline: settings.pipeline.clone(),
                compression: if settings.http.gzip { Compression::Gzip } else { Compression::None },
            },
            settings: settings.clone(),
            known: Mutex::default(),
        }
    }

    /// Looks whether it could deliver now, and changes nothing: address, credentials, privileges, template, pipeline.
    ///
    /// # Errors
    /// All that is missing, as sentences.
    pub async fn check(&self) -> Result<(), String> {
        self.look(Purpose::Check).await
    }

    async fn look(&self, purpose: Purpose) -> Result<(), String> {
        let look = Look { receivers: &self.receivers, settings: &self.settings, index: &self.encoder.index, purpose };
        let (known, doubts) = look.run().await;
        let mut held = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.updated(known);
        drop(held);
        all_well(&doubts)
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.look(Purpose::Start).await
    }

    fn encode(&self, (): &(), cache: &mut Cache, batch: &Batch) -> Encoded {
        self.encoder.encode(self.known().dialect(&self.settings), cache, batch)
    }

    fn is_idempotent(&self) -> bool {
        self.known().is_idempotent(&self.settings)
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        self.receivers.send(url, Method::POST, request).await
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        classify::classify(&self.credentials, encoded, attempt, answer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::receiver::Product;
    use super::*;
    use crate::config::checked::{Auth, BulkAction, DocumentShape, HttpOutput, Lifecycle, TelegrafTags};
    use crate::net::tls::TlsSettings;

    /// What the configuration makes of an empty section.
    pub(super) fn settings() -> checked::Elasticsearch {
        checked::Elasticsearch {
            http: HttpOutput {
                urls: Vec::new(),
                tls: TlsSettings::default(),
                auth: Auth::None,
                headers: Vec::new(),
                timeout: Duration::from_secs(60),
                gzip: true,
            },
            index: "metrics-promferry-default".to_owned(),
            max_indexes: 100,
            action: BulkAction::Create,
            shape: DocumentShape::TimeSeries,
            telegraf: TelegrafTags { measurement: "prometheus".to_owned(), host: true, url: true },
            has_ids: true,
            pipeline: None,
            routing: None,
            require_data_stream: false,
            manages_template: true,
            lifecycle: Lifecycle::None,
            max_age: Duration::from_secs(7200),
        }
    }

    #[test]
    fn what_is_known_decides_how_documents_are_written() {
        let nothing = Known::default();
        let stream = Known { is_time_series: Some(true), ..nothing };
        let index = Known { is_time_series: Some(false), ..nothing };
        let mut settings = settings();
        settings.routing = Some("a".to_owned());
        let ids = |known: Known, settings: &checked::Elasticsearch| known.dialect(settings).ids;
        assert_eq!([nothing, stream, index].map(|known| ids(known, &settings)), [false, false, true]);
        assert_eq!([nothing, stream, index].map(|known| known.dialect(&settings).routing), [false, false, true]);
        assert_eq!([nothing, stream, index].map(|known| known.is_idempotent(&settings)), [false, true, true]);

        settings.shape = DocumentShape::Telegraf;
        assert_eq!([nothing, stream, index].map(|known| ids(known, &settings)), [true, false, true]);
        settings.has_ids = false;
        assert_eq!([nothing, index].map(|known| known.is_idempotent(&settings)), [false, false]);
        (settings.has_ids, settings.action) = (true, BulkAction::Index);
        assert_eq!([nothing, index].map(|known| known.is_idempotent(&settings)), [false, false]);

        assert_eq!(stream.updated(nothing), stream, "nothing is unlearnt by a look that finds the receivers away");
        assert_eq!(stream.updated(index), index);

        settings.require_data_stream = true;
        let of = |product| Known { product: Some(product), ..nothing }.dialect(&settings);
        assert!(nothing.dialect(&settings).require_data_stream && nothing.dialect(&settings).failure_store);
        let opensearch = of(Product::OpenSearch((3, 5)));
        assert!(!opensearch.require_data_stream && !opensearch.failure_store);
    }
}
