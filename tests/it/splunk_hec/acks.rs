//! Indexer acknowledgement: delivered is what was acknowledged, and nothing else.
//!
//! The sender asks for the first time a second after a request: these tests take a few seconds, and wait for nothing but that.

use std::time::Duration;

use promferry::net::credentials::Credentials;
use promferry::output::splunk_hec::{SplunkHec, check};
use promferry::pipeline::{Attempt, Batch, Ledger, Output as _, Receipt, Request, Slice, Verdict};
use tokio::time::Instant;
use tracing::Level;

use super::{AT_MS, SAMPLES, samples, settings, template};
use crate::support::bulk_server::{self, Act, answer};
use crate::support::delivery::{Delivery, Target, options};
use crate::support::hec_server::{Hec, HecServer, Rules, TOKEN, step, well};
use crate::support::logs::Logs;
use crate::support::samples::assert_same;

fn acknowledging() -> Rules {
    Rules { is_acknowledging: true, ..Rules::default() }
}

fn output(server: &HecServer, ack_timeout: Duration) -> SplunkHec {
    let mut settings = settings(server.address);
    settings.ack_timeout = Some(ack_timeout);
    SplunkHec::new(&settings, &Credentials::default())
}

#[tokio::test]
async fn samples_are_delivered_when_they_are_acknowledged_and_not_before() {
    let server = HecServer::start(Rules { questions_before_ack: 1, ..acknowledging() }, Vec::new()).await;
    let output = Delivery::start(output(&server, Duration::from_secs(300)), options());
    let scrapes = [Target::new(1, SAMPLES).scrape(AT_MS)];
    output.queue.push(&scrapes[0]);
    let ledger = output.queue.ledger().clone();
    let settled_too_early = async {
        while server.hec().questions.len() < 2 {
            assert_eq!(ledger.snapshot().settled.delivered, 0, "it was not acknowledged");
            tokio::task::yield_now().await;
        }
    };
    let (counts, ()) = tokio::join!(output.finish(), settled_too_early);
    let hec = server.hec();
    assert_same(&hec.samples(), &samples(&scrapes));
    assert_eq!((counts.settled.delivered, hec.doubled(), counts.maybe_doubled), (counts.offered, 0, 0));
    // The look at the start, a question with no as its answer, and one with yes.
    assert_eq!((hec.requests.len(), hec.questions.len()), (1, 3));
    let channel = hec.used_channels().pop_first().unwrap();
    for question in &hec.questions {
        assert_eq!(question.line, format!("POST /services/collector/ack?channel={channel}"));
        assert_eq!(question.headers["x-splunk-request-channel"], channel);
        assert_eq!(question.body, "{\"acks\":[0]}");
    }
}

#[tokio::test]
async fn a_cookie_leads_back_to_the_indexer_that_took_it() {
    let server = HecServer::start(Rules { indexers: 2, is_sticky: true, ..acknowledging() }, Vec::new()).await;
    let output = Delivery::start(output(&server, Duration::from_secs(300)), options());
    let target = Target::new(1, SAMPLES);
    let scrapes: Vec<_> = (0..4).map(|second| target.scrape(AT_MS + second * 1000)).collect();
    for scrape in &scrapes {
        let before = server.hec().requests.len();
        output.queue.push(scrape);
        // A request of its own: it goes to any indexer.
        while server.hec().requests.len() == before {
            tokio::task::yield_now().await;
        }
    }
    let counts = output.finish().await;
    let hec = server.hec();
    assert_same(&hec.samples(), &samples(&scrapes));
    assert_eq!((counts.settled.delivered, hec.doubled(), hec.requests.len()), (counts.offered, 0, 4));
    let cookies: Vec<_> = hec.questions.iter().filter_map(|question| question.headers.get("cookie")).collect();
    assert!(cookies.iter().any(|cookie| *cookie == "indexer=0") && cookies.iter().any(|cookie| *cookie == "indexer=1"));
}

#[tokio::test]
async fn what_is_forgotten_is_sent_again_and_counted_as_maybe_doubled() {
    let forget = step(|hec: &mut Hec, request: &bulk_server::Request| {
        let answered = hec.take(request, |_, _| None);
        hec.forget_channels();
        Act::Answer(answered)
    });
    let server = HecServer::start(acknowledging(), vec![step(well), forget]).await;
    let logs = Logs::listen();
    let output = Delivery::start(output(&server, Duration::from_millis(1500)), options());
    let target = Target::new(1, SAMPLES);
    let scrapes = [target.scrape(AT_MS), target.scrape(AT_MS + 1000)];
    output.queue.push(&scrapes[0]);
    while output.queue.ledger().snapshot().settled.delivered == 0 {
        tokio::task::yield_now().await;
    }
    output.queue.push(&scrapes[1]);
    let counts = output.finish().await;
    let hec = server.hec();
    assert_same(&hec.samples(), &samples(&scrapes));
    let again = SAMPLES as u64;
    assert_eq!((counts.settled.delivered, hec.doubled(), counts.maybe_doubled), (2 * again, again, again));
    let warnings = logs.at(Level::WARN);
    assert!(warnings.iter().any(|(_, error)| error.contains("did not confirm within")), "{warnings:?}");
}

/// Sends one event, and gives the receipt for it.
async fn receipt(output: &SplunkHec) -> Receipt {
    let scrape = Target::new(1, 1).scrape(AT_MS);
    let batch = Batch::new(vec![Slice::whole(scrape)], Ledger::new("test").offer(1), Instant::now());
    let encoded = output.encode(&(), &mut Default::default(), &batch);
    let request = Request {
        path_and_query: encoded.path_and_query.clone(),
        headers: encoded.headers.clone(),
        body: encoded.body.clone(),
    };
    let answer = output.send(0, request).await.unwrap();
    match output.classify(&encoded, Attempt::default(), &answer).verdict {
        Verdict::Accepted(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_number_that_two_indexers_gave_confirms_neither_request_and_no_other_is_given_twice() {
    // Without a cookie: the first request goes to one, the second to the other.
    let server = HecServer::start(Rules { indexers: 2, ..acknowledging() }, Vec::new()).await;
    let output = output(&server, Duration::from_secs(300));
    let both = [receipt(&output).await, receipt(&output).await];
    assert_eq!((both[0].number, &both[0]), (0, &both[1]));
    let told = output.confirm(0, &both).await.unwrap_err();
    assert_eq!(told.kind, "stickiness");
    assert!(told.message.starts_with("gave one acknowledgement number to two requests"), "{}", told.message);
    assert_eq!(server.hec().questions.len(), 0, "the answer would mean nothing");
    // From then on a channel is one request's, and says true where that was taken.
    let others = [receipt(&output).await, receipt(&output).await];
    assert!(others[0].route != others[1].route && others.iter().all(|other| other.number == 0));
    for other in &others {
        let mut confirmed = vec![false];
        for _ in 0..20 {
            if confirmed == [false] {
                confirmed = output.confirm(0, std::slice::from_ref(other)).await.unwrap();
            }
        }
        assert_eq!(confirmed, [true]);
    }
    assert_eq!(server.hec().used_channels().len(), 3);
    assert!(output.confirm(0, &both).await.is_err(), "these never are");
}

#[tokio::test]
async fn a_token_without_acknowledgement_delivers_nothing_and_says_so() {
    let server = HecServer::start(Rules::default(), Vec::new()).await;
    let output = output(&server, Duration::from_secs(300));
    let told = output.start().await.unwrap_err();
    let expected = "asked for acknowledgements, has no acknowledgement for this token; enable it for the token, or set ack: \
                    false (400, code 14: ACK is disabled)";
    assert_eq!(told, format!("http://{}/: {expected}", server.address));
    let receipt = Receipt { number: 0, route: String::new() };
    assert!(output.confirm(0, &[receipt]).await.is_err(), "no such number was given");

    let logs = Logs::listen();
    let delivery = Delivery::start(output, options());
    delivery.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
    delivery.failed_once().await;
    let counts = delivery.queue.ledger().snapshot();
    assert_eq!((counts.settled.delivered, counts.waiting), (0, SAMPLES as u64));
    let warnings = logs.at(Level::WARN);
    assert!(
        warnings.iter().any(|(_, error)| error.contains("takes requests without acknowledging them, ")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_bad_answer_about_acknowledgements_confirms_nothing() {
    let server = HecServer::start(acknowledging(), Vec::new()).await;
    let output = output(&server, Duration::from_secs(300));
    let receipts = [receipt(&output).await];
    server.hec().rules.token = "another".to_owned();
    let told = "asked for acknowledgements, does not know the token; correct it (403, code 4: Invalid token)";
    assert_eq!(output.confirm(0, &receipts).await.unwrap_err().message, told);
    server.hec().rules.token = TOKEN.to_owned();
    assert_eq!(output.confirm(0, &receipts).await.unwrap(), [true]);
}

async fn checked(rules: Rules, is_acknowledging: bool) -> (Result<(), String>, HecServer) {
    let server = HecServer::start(rules, Vec::new()).await;
    let mut settings = settings(server.address);
    settings.ack_timeout = is_acknowledging.then_some(Duration::from_secs(300));
    let told = check(&settings, &Credentials::default()).await;
    let url = format!("http://{}/: ", server.address);
    (told.map_err(|told| told.replace(&url, "")), server)
}

#[tokio::test]
async fn check_sends_one_event_and_explains_what_does_not_work() {
    let (told, server) = checked(Rules::default(), false).await;
    assert_eq!(told, Ok(()));
    let sent = server.hec().samples();
    assert_eq!(sent.len(), 1);
    let ((series, _), value) = sent.first_key_value().unwrap();
    assert_eq!((series.name.as_str(), value.as_str()), ("promferry.check", "1"));
    assert_eq!(server.hec().indexes, ["metrics"]);

    let told = |told: &str| Err::<(), String>(told.to_owned());
    let (found, _) = checked(Rules { token: "other".to_owned(), ..Rules::default() }, false).await;
    assert_eq!(found, told("does not know the token; correct it (403, code 4: Invalid token)"));
    let (found, _) = checked(Rules { is_token_enabled: false, ..Rules::default() }, false).await;
    assert!(found.unwrap_err().starts_with("refuses the token because it is disabled; "));
    let (found, _) = checked(Rules { indexes: vec!["main"], ..Rules::default() }, false).await;
    assert!(found.unwrap_err().starts_with("does not take events for the index \"metrics\": "));
    let (found, _) = checked(Rules { health: (503, 18), ..Rules::default() }, false).await;
    assert_eq!(found, told("is unhealthy: its queues are full (503, code 18: HEC is as it is)"));
    let (found, _) = checked(Rules::default(), true).await;
    assert!(found.unwrap_err().starts_with("takes requests without acknowledging them, "));
}

#[tokio::test]
async fn check_tries_each_index_that_is_allowed() {
    let server = HecServer::start(Rules { indexes: vec!["red"], ..Rules::default() }, Vec::new()).await;
    let mut settings = settings(server.address);
    settings.index = template("{{tenant}}");
    settings.allowed_indexes = vec!["red".to_owned(), "blue".to_owned()];
    let told = check(&settings, &Credentials::default()).await.unwrap_err();
    assert!(told.contains("does not take events for the index \"blue\": "), "{told}");
    assert_eq!(server.hec().indexes, ["red"]);
}

#[tokio::test]
async fn check_waits_for_acknowledgements_and_sees_a_balancer_that_does_not_lead_back() {
    let (told, server) = checked(Rules { questions_before_ack: 1, ..acknowledging() }, true).await;
    assert_eq!(told, Ok(()));
    assert_eq!(server.hec().indexed(), 4);
    let (told, _) = checked(Rules { indexers: 2, is_sticky: true, ..acknowledging() }, true).await;
    assert_eq!(told, Ok(()));
    let (told, _) = checked(Rules { indexers: 2, ..acknowledging() }, true).await;
    let told = told.unwrap_err();
    assert!(
        told.starts_with("a balancer leads to several indexers and not back to the one that took a request; "),
        "{told}"
    );
}

#[tokio::test]
async fn an_acknowledgement_channel_that_is_full_slows_down_and_still_counts_only_what_is_acknowledged() {
    let full = step(|hec: &mut Hec, request: &bulk_server::Request| {
        hec.take(request, |_, _| None);
        Act::Answer(answer(200, "retry-after: 0\r\n", "{\"text\":\"ACK is nearly full\",\"code\":25,\"ackId\":0}"))
    });
    let server = HecServer::start(acknowledging(), vec![full]).await;
    let output = Delivery::start(output(&server, Duration::from_secs(300)), options());
    output.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, server.hec().doubled()), (counts.offered, 0));
}
