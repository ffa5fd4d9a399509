//! Elasticsearch that goes wrong, over real sockets, through the real sender.
//!
//! In each case: the ledger adds up, it says what the receiver has, what is logged is one sentence, and another output that
//! gets the same scrapes sees nothing of it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use promferry::config::checked::{Auth, Elasticsearch as Settings};
use promferry::net::Scheme;
use promferry::net::credentials::{Credentials, Secret};
use promferry::net::tls::TlsSettings;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{Counts, Fanout, Reasons, SenderOptions};
use serde_json::Value as Json;
use tracing::Level;

use crate::support::bulk_server::{Act, BulkServer, Request, Step, Store, answer, step, well};
use crate::support::certificates::Ca;
use crate::support::delivery::{Delivery, Target, elasticsearch, options};
use crate::support::logs::Logs;

const AT_MS: i64 = 1_798_859_045_000;
/// Samples of one scrape, and the documents that they become.
const SAMPLES: usize = 80;
const DOCUMENTS: usize = 40;

/// What one case came to.
struct Outcome {
    server: BulkServer,
    counts: Counts,
    /// Each `error` at that level, without the receiver's URL.
    warnings: Vec<String>,
    losses: Vec<String>,
}

impl Outcome {
    fn requests(&self) -> usize {
        self.server.store().requests.len()
    }

    /// Everything was delivered, after a time of failing for this one reason.
    fn recovered(&self, warning: &str) {
        assert_eq!(self.counts.settled.delivered, self.counts.offered, "{:?}", self.counts);
        assert_eq!(self.server.store().samples(), self.counts.offered);
        assert_eq!(self.warnings, [warning]);
        assert_eq!(self.losses, [""; 0]);
    }

    /// The receiver had taken everything before an answer said so.
    fn had_it_already(&self, warning: &str) {
        assert_eq!(
            self.counts.settled.duplicate,
            Reasons::from([("resend", self.counts.offered)]),
            "{:?}",
            self.counts
        );
        assert_eq!(self.server.store().samples(), self.counts.offered);
        assert_eq!(self.warnings, [warning]);
        assert_eq!(self.losses, [""; 0]);
    }
}

/// Sends two scrapes of one target through a server that follows `script`, and the same ones to a healthy server.
async fn run(script: Vec<Step>) -> Outcome {
    run_with(script, |_| {}).await
}

async fn run_with(script: Vec<Step>, adjust: impl FnOnce(&mut Settings)) -> Outcome {
    let target = Target::new(1, SAMPLES);
    let scrapes = [target.scrape(AT_MS), target.scrape(AT_MS + 1000)];
    let logs = Logs::listen();
    let server = BulkServer::start(script).await;
    let address = server.address.to_string();
    let mut settings = elasticsearch(std::slice::from_ref(&address), "metrics-promferry-default");
    adjust(&mut settings);
    // Files are looked at each time: a test does not wait.
    let credentials = Credentials::new(Duration::ZERO);
    let output = Delivery::start(Elasticsearch::new(&settings, &credentials), options());

    let healthy = BulkServer::start(Vec::new()).await;
    let other = elasticsearch(&[healthy.address.to_string()], "m");
    let other = Delivery::start(Elasticsearch::new(&other, &credentials), options());

    let fanout = Fanout::new(vec![output.queue.clone(), other.queue.clone()]);
    scrapes.iter().for_each(|scrape| fanout.offer(scrape));
    let others = other.finish().await;
    assert_eq!(others.settled.delivered, others.offered, "another output sees nothing of it: {others:?}");
    assert_eq!(healthy.store().samples(), others.offered);
    let counts = output.finish().await;

    let prefix = format!("http://{address}/: ");
    let errors = |level, message: &str| -> Vec<String> {
        let lines = logs.at(level).into_iter().filter(|(said, _)| said == message);
        lines.map(|(_, error)| error.replace(&prefix, "").replace(&address, "SERVER")).collect()
    };
    let warnings = errors(Level::WARN, "output cannot deliver; samples wait and are sent again");
    assert_eq!(logs.at(Level::WARN).len(), warnings.len(), "{:?}", logs.at(Level::WARN));
    let recoveries = logs.at(Level::INFO).iter().filter(|(said, _)| said == "output delivers again").count();
    assert_eq!(recoveries, warnings.len().min(1), "whoever reads that it fails reads that it is over");
    let losses = errors(Level::ERROR, "samples rejected");
    assert_eq!(logs.at(Level::ERROR).len(), losses.len(), "{:?}", logs.at(Level::ERROR));
    Outcome { server, counts, warnings, losses }
}

/// The server answers with this status and stores nothing.
fn says(status: u16, headers: &'static str, body: &'static str) -> Step {
    step(move |_, _| Act::Answer(answer(status, headers, body)))
}

/// The server stores everything, and then does something else than saying so.
fn stores(act: impl FnOnce(Vec<u8>) -> Act + Send + 'static) -> Step {
    step(move |store, request| {
        let answered = answer(200, "", &store.bulk(request, |_| None).to_string());
        act(answered)
    })
}

#[tokio::test]
async fn all_well_is_one_request_and_no_word() {
    let outcome = run(Vec::new()).await;
    assert_eq!((outcome.requests(), outcome.counts.settled.delivered), (1, 2 * SAMPLES as u64));
    assert_eq!(outcome.warnings.len() + outcome.losses.len(), 0);
    let store = outcome.server.store();
    assert_eq!((store.documents.len(), store.samples()), (2 * DOCUMENTS, 2 * SAMPLES as u64));
    let request = &store.requests[0];
    assert_eq!(
        request.line,
        "POST /metrics-promferry-default/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
    );
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    assert_eq!(request.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again() {
    let outcome = run(vec![
        says(429, "retry-after: 0\r\n", r#"{"error":{"reason":"rejected execution of coordinating operation"}}"#),
        says(429, "retry-after: 0\r\n", ""),
        says(429, "", ""),
    ])
    .await;
    outcome.recovered("is busy (429): rejected execution of coordinating operation");
    assert_eq!(outcome.requests(), 4);
}

#[tokio::test]
async fn an_unavailable_receiver_is_asked_again() {
    let outcome = run(vec![says(503, "", "no master"), says(503, "", "no master"), says(503, "", "")]).await;
    outcome.recovered("cannot take requests now (503): no master");
}

#[tokio::test]
async fn a_changed_cause_is_told_once_more() {
    let outcome = run(vec![says(503, "", ""), says(429, "", ""), says(429, "", "")]).await;
    assert_eq!(outcome.warnings, ["cannot take requests now (503)", "is busy (429)"]);
    assert_eq!(outcome.counts.settled.delivered, outcome.counts.offered);
}

#[tokio::test]
async fn a_proxy_that_gives_up_too_early_doubles_nothing() {
    let outcome = run(vec![stores(|_| Act::Answer(answer(504, "", "upstream timed out")))]).await;
    outcome.had_it_already("cannot take requests now (504): upstream timed out");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_tried_again() {
    let outcome = run(vec![step(|_, _| Act::Close(Vec::new()))]).await;
    outcome.recovered("SERVER closed the connection without an answer");
}

#[tokio::test]
async fn a_connection_closed_after_storing_doubles_nothing() {
    let outcome = run(vec![stores(|_| Act::Close(Vec::new()))]).await;
    outcome.had_it_already("SERVER closed the connection without an answer");
}

#[tokio::test]
async fn an_answer_cut_short_doubles_nothing() {
    let outcome = run(vec![stores(|answer| Act::Close(answer[..answer.len() / 2].to_vec()))]).await;
    let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
    assert!(warning.starts_with("body of SERVER cut short after "), "{warning}");
    outcome.had_it_already(warning);
}

#[tokio::test]
async fn an_answer_that_claims_more_than_it_has_doubles_nothing() {
    let lie = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        Act::Close(text.replace("content-length: ", "content-length: 9").into_bytes())
    };
    let outcome = run(vec![stores(lie)]).await;
    let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
    assert!(warning.starts_with("body of SERVER cut short after "), "{warning}");
    outcome.had_it_already(warning);
}

#[tokio::test]
async fn an_answer_that_claims_less_than_it_has_doubles_nothing() {
    let lie = |bytes: Vec<u8>| {
        let body = bytes.len() - memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() - 4;
        let text = String::from_utf8(bytes).unwrap();
        Act::Answer(text.replace(&format!("content-length: {body}"), "content-length: 40").into_bytes())
    };
    let outcome = run(vec![stores(lie)]).await;
    let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
    assert!(warning.starts_with("gives an answer that is not JSON; is this Elasticsearch? (200): "), "{warning}");
    outcome.had_it_already(warning);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_when_its_time_is_over() {
    let outcome = run_with(vec![stores(|_| Act::Hang), stores(Act::Answer)], |settings| {
        settings.http.timeout = Duration::from_millis(300)
    })
    .await;
    outcome.had_it_already("SERVER sent no answer within 300ms");
}

#[tokio::test]
async fn an_answer_that_is_something_else_delivers_nothing() {
    let outcome = run(vec![says(200, "", "<html>Log in</html>"), says(200, "", "{}")]).await;
    outcome.recovered("gives an answer that is not JSON; is this Elasticsearch? (200): <html>Log in</html>");
}

#[tokio::test]
async fn an_answer_about_too_few_documents_delivers_nothing() {
    let outcome = run(vec![says(200, "", r#"{"errors":false,"items":[{"create":{"status":201}}]}"#)]).await;
    let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
    assert!(warning.starts_with("gives an answer that is about 1 documents, and 80 were sent;"), "{warning}");
    outcome.recovered(warning);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let endless = |bytes: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + (20 << 20), b' ');
        answer
    };
    let outcome = run(vec![step(move |_, _| Act::Close(endless(1 << 30)))]).await;
    outcome.recovered("the body of SERVER is larger than 8 MiB");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let outcome = run(vec![says(307, "location: http://elsewhere/\r\n", "")]).await;
    outcome.recovered("redirects to http://elsewhere/, which is not followed; write the right address into urls (307)");
}

#[tokio::test]
async fn too_large_is_halved_until_it_fits_and_nothing_is_lost() {
    const BYTES_MAX: usize = 3000;
    let limited = |store: &mut Store, request: &Request| match request.body.len() > BYTES_MAX {
        true => Act::Answer(answer(413, "", "")),
        false => well(store, request),
    };
    let outcome = run((0..1000).map(|_| step(limited)).collect()).await;
    assert_eq!(outcome.counts.settled.delivered, outcome.counts.offered);
    assert_eq!(outcome.server.store().samples(), outcome.counts.offered);
    assert_eq!(outcome.warnings.len() + outcome.losses.len(), 0, "a matter of course");
}

#[tokio::test]
async fn a_document_that_is_too_large_by_itself_is_rejected_and_the_others_are_not() {
    // The documents that hold all three metrics of a label set are the longest.
    let limited = |store: &mut Store, request: &Request| {
        let is_too_large = request.documents().iter().any(|document| document["metrics"].get("queue").is_some());
        if is_too_large { Act::Answer(answer(413, "", "")) } else { well(store, request) }
    };
    let outcome = run((0..1000).map(|_| step(limited)).collect()).await;
    let large = 2 * 10 * 5;
    assert_eq!(outcome.counts.settled.rejected, Reasons::from([("too_large", large)]));
    assert_eq!(outcome.counts.settled.delivered, outcome.counts.offered - large);
    assert_eq!(outcome.server.store().samples(), outcome.counts.settled.delivered);
    assert_eq!(outcome.losses, ["refuses a request of this size; see its http.max_content_length (413)"]);
}

#[tokio::test]
async fn only_documents_that_the_receiver_was_too_busy_for_are_sent_again() {
    let busy =
        |at: usize| at.is_multiple_of(3).then_some((429, "es_rejected_execution_exception", "rejected execution"));
    let outcome =
        run(vec![step(move |store, request| Act::Answer(answer(200, "", &store.bulk(request, busy).to_string())))])
            .await;
    outcome.recovered(
        "27 of 80 documents: the receiver is busy; they are sent again (429 es_rejected_execution_exception: rejected \
         execution)",
    );
    let store = outcome.server.store();
    let sent: Vec<Vec<Json>> = store.requests.iter().map(Request::documents).collect();
    assert_eq!(sent[1], sent[0].iter().step_by(3).cloned().collect::<Vec<_>>());
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn a_refused_document_is_rejected_with_its_reason_and_holds_up_nothing() {
    let refuse = |at: usize| match at {
        0 => Some((400, "document_parsing_exception", "[1:2] failed to parse field [metrics.requests] of type [ip]")),
        5 => {
            Some((400, "timestamp_error", "the document timestamp is outside of ranges of currently writable indices"))
        }
        _ => None,
    };
    let outcome =
        run(vec![step(move |store, request| Act::Answer(answer(200, "", &store.bulk(request, refuse).to_string())))])
            .await;
    let rejected: u64 = outcome.counts.settled.rejected.values().sum();
    assert_eq!(outcome.counts.settled.rejected.keys().collect::<Vec<_>>(), [&"mapping", &"timestamp"]);
    assert_eq!(outcome.counts.settled.delivered, outcome.counts.offered - rejected);
    assert_eq!(outcome.server.store().samples(), outcome.counts.settled.delivered);
    assert_eq!((outcome.requests(), outcome.warnings.len()), (1, 0));
    // One line for each reason; both explain all of it.
    assert_eq!(outcome.losses.iter().collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(
        outcome.losses[0],
        "1 of 80 documents: a value does not fit the mapping of its field; correct the index template and roll over (400 \
         document_parsing_exception: [1:2] failed to parse field [metrics.requests] of type [ip]); 1 of 80 documents: their \
         time is outside of the bounds of the data stream; raise index.look_back_time in its template to the output's \
         queue.max_age or above (400 timestamp_error: the document timestamp is outside of ranges of currently writable \
         indices)"
    );
}

#[tokio::test]
async fn two_sources_with_the_same_labels_are_told_apart_from_a_resend() {
    let target = Target::new(1, SAMPLES);
    let scrapes = [target.scrape(AT_MS), target.scrape(AT_MS)];
    // A healthy output would meet the same conflict: there is no second one here.
    let logs = Logs::listen();
    let server = BulkServer::start(Vec::new()).await;
    let settings = elasticsearch(&[server.address.to_string()], "m");
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::default()), options());
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    assert_eq!(counts.settled.delivered, SAMPLES as u64);
    assert_eq!(counts.settled.rejected, Reasons::from([("conflict", SAMPLES as u64)]));
    let losses = logs.at(Level::ERROR);
    assert_eq!(losses.len(), 1, "{losses:?}");
    let expected = "40 of 80 documents: another document has the same labels and time: two sources write the same labels, \
                    or relabelling dropped the one that told them apart, first with the labels \
                    {instance=\"10.0.16.1:9100\",job=\"test\",path=";
    assert!(losses[0].1.contains(expected), "{}", losses[0].1);
}

#[tokio::test]
async fn an_exporter_that_repeats_its_own_timestamp_writes_a_duplicate() {
    let target = Target::new(1, SAMPLES);
    let logs = Logs::listen();
    let server = BulkServer::start(Vec::new()).await;
    let settings = elasticsearch(&[server.address.to_string()], "m");
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::default()), options());
    for at_ms in [AT_MS, AT_MS + 1000] {
        output.queue.push(&target.scrape_with(at_ms, Some(AT_MS - 5)));
    }
    let counts = output.finish().await;
    assert_eq!(counts.settled.delivered, SAMPLES as u64);
    assert_eq!(counts.settled.duplicate, Reasons::from([("same_timestamp", SAMPLES as u64)]));
    assert_eq!(logs.at(Level::ERROR).len() + logs.at(Level::WARN).len(), 0);
}

#[tokio::test]
async fn credentials_that_are_refused_lose_nothing_and_heal_when_the_file_does() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"b2xk\n").unwrap();
    let path = file.path().to_owned();
    let rotated = path.clone();
    let check = |rotate: bool| {
        let rotated = rotated.clone();
        step(move |store, request| {
            if request.headers.get("authorization").is_some_and(|value| value == "ApiKey bmV3") {
                return well(store, request);
            }
            if rotate {
                // As a deploy does it: a new file in the place of the old one.
                let new = rotated.with_extension("new");
                std::fs::write(&new, "bmV3").unwrap();
                std::fs::rename(new, &rotated).unwrap();
            }
            Act::Answer(answer(401, "", r#"{"error":{"reason":"invalid API key"}}"#))
        })
    };
    let outcome = run_with(vec![check(false), check(true), check(false)], |settings| {
        settings.http.auth = Auth::Header { scheme: "ApiKey".to_owned(), credentials: Secret::File(path) };
    })
    .await;
    outcome.recovered("refuses the API key (401): invalid API key");
    assert_eq!(outcome.requests(), 3);
}

#[tokio::test]
async fn basic_credentials_and_headers_go_with_each_request() {
    let outcome = run_with(Vec::new(), |settings| {
        let password = Secret::Inline("pass:word".to_owned());
        settings.http.auth = Auth::Basic { username: "user".to_owned(), password };
        settings.http.headers = vec![("x-found".to_owned(), Secret::Inline("yes".to_owned()))];
        settings.http.gzip = false;
    })
    .await;
    let store = outcome.server.store();
    let headers = &store.requests[0].headers;
    assert_eq!(headers["authorization"], "Basic dXNlcjpwYXNzOndvcmQ=");
    assert_eq!((headers["x-found"].as_str(), headers.get("content-encoding")), ("yes", None));
}

#[tokio::test]
async fn a_client_certificate_that_comes_late_loses_nothing() {
    let logs = Logs::listen();
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Ca::new(), Ca::new());
    let server = BulkServer::start_tls(Vec::new(), servers.server(&["127.0.0.1"]).server_config(Some(&clients))).await;
    let mut settings = elasticsearch(&[server.address.to_string()], "m");
    settings.http.urls[0].scheme = Scheme::Https;
    settings.http.tls = TlsSettings {
        ca_file: Some(servers.write_to(folder.path())),
        cert_file: Some(folder.path().join("es.crt")),
        key_file: Some(folder.path().join("es.key")),
        ..TlsSettings::default()
    };
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::new(Duration::ZERO)), options());
    output.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
    output.failed_once().await;
    clients.client("promferry").write_to(folder.path(), "es");

    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, server.store().samples()), (SAMPLES as u64, SAMPLES as u64));
    let warnings = logs.at(Level::WARN);
    let failing: Vec<_> = warnings.iter().filter(|(said, _)| said.starts_with("output cannot deliver")).collect();
    assert_eq!(failing.len(), 1, "{warnings:?}");
    assert!(failing[0].1.contains("es.crt cannot be read: "), "{}", failing[0].1);
}

#[tokio::test]
async fn another_receiver_takes_over() {
    let logs = Logs::listen();
    let (sick, well) =
        (BulkServer::start((0..100).map(|_| says(503, "", "")).collect()).await, BulkServer::start(Vec::new()).await);
    let settings = elasticsearch(&[sick.address.to_string(), well.address.to_string()], "m");
    let options = SenderOptions { backoff_first: Duration::from_secs(3600), ..options() };
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::default()), options);
    let target = Target::new(1, SAMPLES);
    output.queue.push(&target.scrape(AT_MS));
    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, well.store().samples()), (SAMPLES as u64, SAMPLES as u64));
    assert_eq!((sick.store().requests.len(), logs.at(Level::WARN).len()), (1, 1));
}
