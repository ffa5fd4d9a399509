//! What is learnt of a receiver before the first document, and how documents are written by it.

use promferry::config::checked::{DocumentShape, Elasticsearch as Settings, Lifecycle};
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use serde_json::Value as Json;

use crate::support::bulk_server::{BulkServer, Request, answer};
use crate::support::delivery::{Delivery, Target, elasticsearch, options};

const AT_MS: i64 = 1_798_859_045_000;

/// A server that says this of itself, and settings that write to it.
async fn server(about: fn(&Request) -> Option<Vec<u8>>) -> (BulkServer, Settings) {
    let server = BulkServer::start(Vec::new()).await;
    server.store().about = Some(about);
    let settings = elasticsearch(&[server.address.to_string()], "metrics-promferry-default");
    (server, settings)
}

/// What `check --connect` says, without the address.
async fn checked(settings: &Settings) -> String {
    let said = Elasticsearch::new(settings, &Credentials::default()).check().await;
    let prefix = format!("{}: ", settings.http.urls[0]);
    said.map_or_else(|said| said.replace(&prefix, ""), |()| String::new())
}

/// Sends one scrape, and returns the first request and its first action.
async fn sent(server: &BulkServer, settings: &Settings) -> (Request, Json) {
    let output = Delivery::start(Elasticsearch::new(settings, &Credentials::default()), options());
    output.queue.push(&Target::new(1, 8).scrape(AT_MS));
    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, counts.maybe_doubled), (8, 0), "{counts:?}");
    let request = server.store().requests[0].clone();
    let action = request.actions().remove(0);
    (request, action["create"].clone())
}

fn ok(body: &str) -> Option<Vec<u8>> {
    Some(answer(200, "", body))
}

fn opensearch(request: &Request) -> Option<Vec<u8>> {
    match request.line.as_str() {
        "GET /" => ok(r#"{"version":{"distribution":"opensearch","number":"3.5.0"}}"#),
        line if line.contains("_simulate_index") => {
            ok(r#"{"template":{"settings":{"index":{"mapping":{"total_fields":{"limit":"10000"}}}},
               "mappings":{"dynamic_templates":[{"metrics":{"mapping":{"type":"double"}}}]}}}"#)
        }
        _ => None,
    }
}

#[tokio::test]
async fn opensearch_has_no_time_series_so_documents_have_ids() {
    let (server, mut settings) = server(opensearch).await;
    assert_eq!(checked(&settings).await, "", "nothing is missing that it could have");
    settings.require_data_stream = true;
    assert_eq!(checked(&settings).await, "require_data_stream is left out: this version does not know it");
    let (request, action) = sent(&server, &settings).await;
    assert!(action["_id"].is_string() && action.get("dynamic_templates").is_none(), "{action}");
    assert!(
        !request.line.contains("require_data_stream") && !request.line.contains("failure_store"),
        "{}",
        request.line
    );
}

#[tokio::test]
async fn a_time_series_stream_gets_types_and_no_ids() {
    let (server, mut settings) = server(|_| None).await;
    settings.require_data_stream = true;
    assert_eq!(checked(&settings).await, "");
    let (request, action) = sent(&server, &settings).await;
    let typed = serde_json::json!({"metrics.requests": "promferry_counter", "metrics.errors": "promferry_counter"});
    assert_eq!(action, serde_json::json!({"dynamic_templates": typed}));
    assert!(request.line.ends_with(",items.*.failure_store&require_data_stream=true"), "{}", request.line);
}

#[tokio::test]
async fn a_stream_with_another_template_is_not_asked_for_types_that_it_has_not() {
    let (server, settings) = server(|request| {
        let is_asked = request.line.starts_with("GET /metrics-promferry-default?");
        is_asked.then(|| {
            let body = r#"{".ds-m-000001":{"settings":{"index.mode":"time_series","index.mapping.total_fields.limit":"10000"},
                "mappings":{"dynamic_templates":[{"other":{"mapping":{"type":"double"}}}]},"data_stream":"m"}}"#;
            answer(200, "", body)
        })
    })
    .await;
    assert_eq!(
        checked(&settings).await,
        "metrics-promferry-default was made before its index template was as it is now; a rollover makes an index by it: \
         POST /metrics-promferry-default/_rollover"
    );
    let (_, action) = sent(&server, &settings).await;
    assert_eq!(action, serde_json::json!({}));
}

#[tokio::test]
async fn credentials_that_may_only_write_are_not_complained_of() {
    let (server, settings) =
        server(|_| Some(answer(403, "", r#"{"error":{"reason":"unauthorized"},"status":403}"#))).await;
    assert_eq!(checked(&settings).await, "");
    let (_, action) = sent(&server, &settings).await;
    assert_eq!(action, serde_json::json!({}), "what the shape is made for");

    let mut managing = settings.clone();
    managing.manages_template = true;
    let said = checked(&managing).await;
    assert_eq!(
        said, "does not show the index template promferry-metrics-promferry-default: unauthorized (403)",
        "what was asked for cannot be done"
    );
}

#[tokio::test]
async fn privileges_that_are_missing_are_named() {
    let (_server, mut settings) = server(|request| {
        let is_asked = request.line == "POST /_security/user/_has_privileges";
        is_asked.then(|| {
            let wanted: Json = serde_json::from_str(&request.body).expect("JSON");
            assert_eq!(wanted["index"][0]["privileges"], serde_json::json!(["create_doc", "auto_configure"]));
            let body = r#"{"has_all_requested":false,"cluster":{"manage_index_templates":false},
                "index":{"metrics-promferry-default":{"create_doc":true,"auto_configure":false}}}"#;
            answer(200, "", body)
        })
    })
    .await;
    settings.manages_template = true;
    assert_eq!(
        checked(&settings).await,
        "requests without credentials: privileges for metrics-promferry-default are missing: auto_configure, \
         manage_index_templates"
    );
}

#[tokio::test]
async fn what_a_version_has_not_is_left_out_of_its_template() {
    let (_server, mut settings) = server(opensearch).await;
    (settings.manages_template, settings.lifecycle) = (true, Lifecycle::Policy("hot".to_owned()));
    assert_eq!(
        checked(&settings).await,
        "lifecycle is left out: OpenSearch has no such thing; attach an ISM policy to the index pattern"
    );
    let (_server, mut settings) = server(|request| {
        let body = r#"{"version":{"number":"8.12.2"}}"#;
        (request.line == "GET /").then(|| answer(200, "x-elastic-product: Elasticsearch\r\n", body))
    })
    .await;
    settings.manages_template = true;
    let said = checked(&settings).await;
    assert!(said.contains("needs Elasticsearch 8.13, and this is 8.12; it is not installed"), "{said}");
    settings.shape = DocumentShape::Telegraf;
    assert_eq!(checked(&settings).await, "");
}
