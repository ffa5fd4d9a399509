//! What a receiver is, and what may therefore be written to it.

use serde_json::Value as Json;

use super::encode::Dialect;
use crate::config::checked::{BulkAction, DocumentShape, Elasticsearch as Settings};
use crate::net::text::excerpt;
use crate::pipeline::Answer;

/// A product with a bulk API, and its version as (major, minor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// Elasticsearch.
    Elasticsearch((u64, u64)),
    /// OpenSearch.
    OpenSearch((u64, u64)),
}

/// The oldest versions that are supported.
const ELASTICSEARCH_MIN: u64 = 8;
/// See [`ELASTICSEARCH_MIN`].
const OPENSEARCH_MIN: u64 = 2;

impl Product {
    /// Whether it has passthrough objects, without which labels are no dimensions by themselves.
    pub(super) fn has_passthrough(self) -> bool {
        matches!(self, Self::Elasticsearch(version) if version >= (8, 13))
    }

    /// Whether it can keep names with dots flat. When OpenSearch learnt it is not known for sure; 3.5 was tried.
    pub(super) fn has_disable_objects(self) -> bool {
        matches!(self, Self::OpenSearch(version) if version >= (3, 5))
    }

    /// Whether it can refuse what is no data stream.
    pub(super) fn has_require_data_stream(self) -> bool {
        matches!(self, Self::Elasticsearch(version) if version >= (8, 13))
    }

    fn has_failure_store(self) -> bool {
        matches!(self, Self::Elasticsearch(version) if version >= (8, 15))
    }
}

/// What an answer to `GET /` says: the product where it can be told, and what is doubtful about it.
pub(super) fn identify(credentials: &str, answer: &Answer) -> (Option<Product>, Option<String>) {
    match answer.status.as_u16() {
        200 => {}
        401 => return (None, Some(format!("refuses {credentials} (401)"))),
        // It may be that these credentials may write, and not look.
        403 => return (None, None),
        status => return (None, Some(format!("answers {status} to GET /; is this Elasticsearch?"))),
    }
    let about: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    let number = about["version"]["number"].as_str().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u64>().ok());
    let version = parts.next().flatten().map(|major| (major, parts.next().flatten().unwrap_or(0)));
    let is_opensearch = about["version"]["distribution"] == "opensearch";
    if !is_opensearch && !answer.headers.contains_key("x-elastic-product") {
        let doubt = "does not say that it is Elasticsearch (the header X-Elastic-Product is missing)";
        return (None, Some(doubt.to_owned()));
    }
    let (name, oldest) = match is_opensearch {
        true => ("OpenSearch", OPENSEARCH_MIN),
        false => ("Elasticsearch", ELASTICSEARCH_MIN),
    };
    let product = version.map(|version| match is_opensearch {
        true => Product::OpenSearch(version),
        false => Product::Elasticsearch(version),
    });
    let is_old = version.is_some_and(|(major, _)| major < oldest);
    let doubt = || format!("is {name} {}; {oldest} and above are supported", excerpt(number.as_bytes(), 20));
    (product, is_old.then(doubt))
}

/// What is known of the receivers of an output; `None` until they were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What they are.
    pub product: Option<Product>,
    /// Whether documents go to a time series data stream.
    pub is_time_series: Option<bool>,
    /// Whether our dynamic templates are in force.
    pub has_templates: Option<bool>,
}

impl Known {
    /// What is known by a later look, and by this one what that one could not tell.
    pub(super) fn updated(self, later: Self) -> Self {
        Self {
            product: later.product.or(self.product),
            is_time_series: later.is_time_series.or(self.is_time_series),
            has_templates: later.has_templates.or(self.has_templates),
        }
    }

    /// What may be written. Where nothing is known it is what the receiver takes that the shape was made for: a time
    /// series data stream refuses an id, and any other index takes one.
    pub(super) fn dialect(&self, settings: &Settings) -> Dialect {
        let is_time_series = self.is_time_series.unwrap_or(settings.shape == DocumentShape::TimeSeries);
        Dialect {
            ids: settings.has_ids && settings.action == BulkAction::Create && !is_time_series,
            routing: settings.routing.is_some() && !is_time_series,
            templates: self.has_templates == Some(true),
            require_data_stream: settings.require_data_stream
                && self.product.is_none_or(Product::has_require_data_stream),
            failure_store: self.product.is_none_or(Product::has_failure_store),
        }
    }

    /// Whether a resend is no second document: the receiver, or an id, tells that it is the same.
    pub(super) fn is_idempotent(&self, settings: &Settings) -> bool {
        settings.action == BulkAction::Create && (self.is_time_series == Some(true) || self.dialect(settings).ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode};

    fn about(status: u16, is_elastic: bool, body: &'static str) -> (Option<Product>, Option<String>) {
        let header = (http::HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));
        let status = StatusCode::from_u16(status).unwrap();
        let headers = is_elastic.then_some(header).into_iter().collect();
        identify("the API key", &Answer { status, headers, body: body.into() })
    }

    #[test]
    fn a_receiver_is_known_by_its_answer() {
        let well = |product| (Some(product), None);
        let elastic = |number| about(200, true, number);
        assert_eq!(elastic(r#"{"version":{"number":"9.5.3"}}"#), well(Product::Elasticsearch((9, 5))));
        assert_eq!(
            about(200, false, r#"{"version":{"number":"3.5.0","distribution":"opensearch"}}"#),
            well(Product::OpenSearch((3, 5)))
        );
        assert_eq!(about(403, false, ""), (None, None));
        let doubt = |(_, doubt): (Option<Product>, Option<String>)| doubt.unwrap();
        assert_eq!(doubt(about(401, false, "")), "refuses the API key (401)");
        assert_eq!(doubt(about(404, false, "")), "answers 404 to GET /; is this Elasticsearch?");
        assert_eq!(
            doubt(elastic(r#"{"version":{"number":"7.17.0"}}"#)),
            "is Elasticsearch 7.17.0; 8 and above are supported"
        );
        assert_eq!(
            doubt(about(200, false, r#"{"version":{"number":"1.3.2","distribution":"opensearch"}}"#)),
            "is OpenSearch 1.3.2; 2 and above are supported"
        );
        assert_eq!(
            doubt(about(200, false, "<html>")),
            "does not say that it is Elasticsearch (the header X-Elastic-Product is missing)"
        );
    }

    #[test]
    fn what_a_version_lacks_is_not_asked_for() {
        let new = Product::Elasticsearch((8, 15));
        assert!(new.has_passthrough() && new.has_require_data_stream() && new.has_failure_store());
        for old in [Product::Elasticsearch((8, 12)), Product::OpenSearch((3, 5))] {
            assert!(!old.has_passthrough() && !old.has_require_data_stream() && !old.has_failure_store());
        }
    }
}
