//! What a receiver does not take, and what it does not understand.

use std::collections::BTreeSet;

use promferry::config::checked::WriteMessage;
use promferry::net::credentials::Credentials;
use promferry::output::remote_write::RemoteWrite;
use promferry::pipeline::Reasons;
use tracing::Level;

use super::{AT_MS, Outcome, Tls, VERSIONS, run, says, start, stored, stores};
use crate::support::bulk_server::{Act, answer};
use crate::support::delivery::Target;
use crate::support::logs::Logs;
use crate::support::remote_write::{Labels, Request, Step, Stored, Tsdb, V1Only, WriteServer};

/// A receiver that has newer samples of these series (by their place in the first scrape), and the outcome of sending to it.
async fn with_newer(message: WriteMessage, series: usize, scrapes: i64, bad: &[usize]) -> Outcome {
    with_newer_after(Vec::new(), message, series, scrapes, bad).await
}

/// The same, after what a script says.
async fn with_newer_after(
    script: Vec<Step>,
    message: WriteMessage,
    series: usize,
    scrapes: i64,
    bad: &[usize],
) -> Outcome {
    let tls = Tls::new();
    let server = WriteServer::start(Some(tls.server()), script).await;
    let target = Target::new(1, series);
    let scrapes: Vec<_> = (0..scrapes).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
    let labels: Vec<Labels> = stored(&scrapes).into_keys().collect();
    for &at in bad {
        server.tsdb().series.insert(labels[at].clone(), vec![(AT_MS + 1_000_000, Stored::Float(0))]);
    }
    let output = start(&tls.settings(&server, message), 100_000);
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    Outcome { server, scrapes, counts }
}

/// What is there of series that have nothing against it.
fn is_all_but_the_bad(outcome: &Outcome) {
    let tsdb = outcome.server.tsdb();
    let mut expected = stored(&outcome.scrapes);
    let is_bad = |samples: &Vec<(i64, Stored)>| samples.last().is_some_and(|(at_ms, _)| *at_ms > AT_MS + 500_000);
    let bad: BTreeSet<&Labels> =
        tsdb.series.iter().filter(|(_, samples)| is_bad(samples)).map(|(key, _)| key).collect();
    expected.retain(|labels, _| !bad.contains(labels));
    let good: Vec<_> = tsdb.series.iter().filter(|(labels, _)| !bad.contains(labels)).collect();
    assert!(good == expected.iter().collect::<Vec<_>>());
    assert_eq!(tsdb.violations, [""; 0]);
}

#[tokio::test]
async fn one_bad_series_of_many_is_found_and_the_others_are_stored() {
    for scrapes in [1, 3] {
        for bad in [&[0][..], &[511], &[17, 300, 301]] {
            let outcome = with_newer(WriteMessage::V1, 512, scrapes, bad).await;
            is_all_but_the_bad(&outcome);
            let refused = bad.len() as u64 * scrapes as u64;
            let rejected = Reasons::from([("out_of_order", refused)]);
            outcome.counts_are(outcome.counts.offered - refused, Reasons::new(), rejected, "bisected");
            // Each of them takes two requests for each halving of 512, and then two for each halving of its three samples.
            let requests = outcome.server.tsdb().requests.len();
            assert!(requests <= bad.len() * (1 + 2 * 9 + 4), "{requests} for {bad:?} in {scrapes}");
        }
    }
}

#[tokio::test]
async fn a_resend_of_what_was_not_stored_loses_no_more_than_the_bad_series() {
    // A proxy that says 503, for a receiver that has never seen the request.
    for scrapes in [1, 3] {
        for bad in [&[0][..], &[511], &[17, 300]] {
            let script = vec![says(503, "", "no upstream")];
            let outcome = with_newer_after(script, WriteMessage::V1, 512, scrapes, bad).await;
            is_all_but_the_bad(&outcome);
            let refused = bad.len() as u64 * scrapes as u64;
            let assumed = Reasons::from([("assumed", refused)]);
            outcome.counts_are(outcome.counts.offered - refused, assumed, Reasons::new(), "bisected");
        }
    }
}

#[tokio::test]
async fn a_resend_of_what_was_stored_takes_few_requests() {
    let script = vec![stores(|| Act::Close(Vec::new()))];
    let outcome = with_newer_after(script, WriteMessage::V1, 1024, 3, &[]).await;
    outcome.is_complete("stored");
    let settled = &outcome.counts.settled;
    assert_eq!((&settled.rejected, outcome.counts.imbalance()), (&Reasons::new(), 0));
    assert_eq!(settled.delivered + settled.duplicate["assumed"], 3072);
    let requests = outcome.server.tsdb().requests.len();
    assert!(requests < 64, "{requests}");
}

#[tokio::test]
async fn looking_for_bad_series_has_an_end() {
    let every: Vec<usize> = (0..1024).step_by(2).collect();
    let outcome = with_newer(WriteMessage::V1, 1024, 1, &every).await;
    let settled = &outcome.counts.settled;
    let rejected = settled.rejected["out_of_order"];
    assert_eq!(settled.delivered + rejected, 1024);
    assert!(rejected >= 512, "{rejected}");
    let requests = outcome.server.tsdb().requests.len();
    assert!(requests < 500, "{requests}");
    // What counts as delivered is there.
    assert_eq!(outcome.server.tsdb().samples() as u64, 512 + settled.delivered);
}

#[tokio::test]
async fn a_receiver_of_2_0_takes_the_rest_and_says_how_much() {
    let logs = Logs::listen();
    let outcome = with_newer(WriteMessage::V2, 64, 3, &[5, 6]).await;
    is_all_but_the_bad(&outcome);
    let rejected = Reasons::from([("partial_unattributed", 6)]);
    outcome.counts_are(64 * 3 - 6, Reasons::new(), rejected, "2.0");
    assert_eq!(outcome.server.tsdb().requests.len(), 1);
    let said = logs.field(Level::ERROR, "error");
    assert!(said.iter().any(|said| said.contains("out of order sample for series")), "{said:?}");
}

#[tokio::test]
async fn mimir_takes_the_rest_and_is_asked_again_only_where_that_is_exact() {
    const SAID: &str = "failed pushing to ingester: user=team: the sample has been rejected because another sample with a more \
                        recent timestamp has already been ingested and out-of-order samples are not allowed \
                        (err-mimir-sample-out-of-order)";
    for (scrapes, rejected) in [(1, "out_of_order"), (3, "partial_unattributed")] {
        let tls = Tls::new();
        let server = WriteServer::start_with(Some(tls.server()), |tsdb: &mut Tsdb, request: &Request| {
            // Of a 1.0 request it stores what it can, too.
            let taken = tsdb.take(&Request { is_v2: true, ..request.clone() });
            let is_refused = taken.starts_with(b"HTTP/1.1 400");
            Act::Answer(if is_refused { answer(400, "", SAID) } else { answer(200, "", "") })
        })
        .await;
        let target = Target::new(1, 64);
        let scrapes: Vec<_> = (0..scrapes).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
        let bad = stored(&scrapes).into_keys().next().unwrap();
        server.tsdb().series.insert(bad, vec![(AT_MS + 1_000_000, Stored::Float(0))]);
        let output = start(&tls.settings(&server, WriteMessage::V1), 10_000);
        scrapes.iter().for_each(|scrape| output.queue.push(scrape));
        let counts = output.finish().await;
        let outcome = Outcome { server, scrapes, counts };
        is_all_but_the_bad(&outcome);
        outcome.counts_are(outcome.counts.offered - 1, Reasons::new(), Reasons::from([(rejected, 1)]), rejected);
    }
}

#[tokio::test]
async fn what_is_refused_as_a_whole_is_rejected_and_explained() {
    let table = [
        (401, "unauthorized", "does not know us; see basic_auth and authorization (401)"),
        (403, "forbidden", "does not allow us to write"),
        (
            404,
            "not_found",
            "a Prometheus wants --web.enable-remote-write-receiver, and its path is /api/v1/write (404)",
        ),
        (410, "refused", "refuses requests (410)"),
    ];
    for (status, reason, sentence) in table {
        for message in VERSIONS {
            let logs = Logs::listen();
            let outcome = run(message, vec![says(status, "", "")], |_| {}).await;
            outcome.counts_are(0, Reasons::new(), Reasons::from([(reason, 48)]), reason);
            assert_eq!(outcome.server.tsdb().requests.len(), 1, "nothing is tried again");
            let said = logs.field(Level::ERROR, "error");
            assert!(said.len() == 1 && said[0].contains(sentence), "{said:?}");
            assert!(said[0].starts_with(&format!("https://{}/api/v1/write: ", outcome.server.address)), "{said:?}");
            assert!(!said[0].contains("s3cret"), "the query may be a secret: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_receiver_of_1_0_is_spoken_to_in_1_0() {
    for kind in [V1Only::SaysSo, V1Only::IsBlind] {
        let logs = Logs::listen();
        let tls = Tls::new();
        let server = WriteServer::start(Some(tls.server()), Vec::new()).await;
        server.tsdb().knows_v1_only = Some(kind);
        let mut settings = tls.settings(&server, WriteMessage::V2);
        settings.lanes = 3;
        let targets: Vec<Target> = (1..=9).map(|number| Target::new(number, 16)).collect();
        let output = start(&settings, 48);
        let mut scrapes = Vec::new();
        for nth in 0..6 {
            for target in &targets {
                let scrape = target.scrape(AT_MS + 1000 * nth);
                output.queue.push(&scrape);
                scrapes.push(scrape);
            }
            tokio::task::yield_now().await;
        }
        let counts = output.finish().await;
        let outcome = Outcome { server, scrapes, counts };
        outcome.is_complete("in 1.0");
        outcome.counts_are(outcome.counts.offered, Reasons::new(), Reasons::new(), "in 1.0");
        let tsdb = outcome.server.tsdb();
        let in_v2 = tsdb.requests.iter().filter(|request| request.is_v2).count();
        assert!((1..=3).contains(&in_v2), "each lane learns it once: {in_v2}");
        let told = logs.at(Level::INFO).into_iter();
        let told = told.filter(|(said, _)| said.starts_with("the receiver does not take remote write 2.0")).count();
        assert_eq!(told, 1);
    }
}

#[tokio::test]
async fn a_batch_that_is_divided_before_it_is_said_otherwise_is_whole() {
    // Too large in 2.0, and then not understood: the halves are written anew, each once.
    let script = vec![says(413, "", ""), says(415, "", "")];
    let outcome = run(WriteMessage::V2, script, |_| {}).await;
    outcome.is_complete("divided");
    outcome.counts_are(48, Reasons::new(), Reasons::new(), "divided");
    let versions: Vec<bool> = outcome.server.tsdb().requests.iter().map(|request| request.is_v2).collect();
    assert_eq!(versions[..3], [true, true, false]);
}

#[tokio::test]
async fn a_receiver_can_be_looked_at_without_writing() {
    let tls = Tls::new();
    let server = WriteServer::start(Some(tls.server()), Vec::new()).await;
    for message in VERSIONS {
        let look = async || RemoteWrite::new(&tls.settings(&server, message), &Credentials::default()).check().await;
        assert_eq!(look().await, Ok(()));
        server.tsdb().knows_v1_only = Some(V1Only::SaysSo);
        assert_eq!(look().await, Ok(()), "1.0 will do");
        server.tsdb().knows_v1_only = None;
    }
    assert!(server.tsdb().requests.is_empty() && server.tsdb().violations.is_empty());

    let elsewhere = crate::support::bulk_server::BulkServer::start(Vec::new()).await;
    let mut settings = tls.settings(&server, WriteMessage::V1);
    settings.http.urls[0].scheme = promferry::net::Scheme::Http;
    settings.http.urls[0].port = elsewhere.address.port();
    let said = RemoteWrite::new(&settings, &Credentials::default()).check().await.unwrap_err();
    let url = format!("http://{}/api/v1/write", elsewhere.address);
    assert!(said.starts_with(&format!("{url}: has nothing that takes remote write at this address: ")), "{said}");
    drop(elsewhere);
    settings.http.urls[0].port = 1;
    let said = RemoteWrite::new(&settings, &Credentials::default()).check().await.unwrap_err();
    assert!(said.starts_with("http://127.0.0.1:1/api/v1/write: ") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn one_sample_of_a_series_is_rejected_without_the_others() {
    // The receiver has another value for the time of the second scrape: out of order for the first, and taken from the third on.
    let tls = Tls::new();
    let server = WriteServer::start(Some(tls.server()), Vec::new()).await;
    let target = Target::new(1, 16);
    let scrapes: Vec<_> = (0..3).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
    let bad = stored(&scrapes).into_keys().next().unwrap();
    server.tsdb().series.insert(bad, vec![(AT_MS + 1000, Stored::Float(7))]);
    let output = start(&tls.settings(&server, WriteMessage::V1), 10_000);
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let outcome = Outcome { server, scrapes, counts };
    let rejected = Reasons::from([("out_of_order", 1), ("duplicate_timestamp", 1)]);
    outcome.counts_are(46, Reasons::new(), rejected, "one of each");
    assert_eq!(outcome.server.tsdb().violations, [""; 0]);
}
