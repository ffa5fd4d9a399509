//! Each answer, in the collector's words and in those of the log.

use http::{HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::config::checked::Template;
use crate::pipeline::{Item, Receipt};

fn layout(index: &str, allowed: &[&str]) -> Layout {
    Layout {
        index: Template::new(index).unwrap(),
        allowed_indexes: allowed.iter().map(|name| (*name).to_owned()).collect(),
        sourcetype: Template::default(),
        source: Template::default(),
        host: Template::default(),
        is_multi_metric: true,
        rename_reserved: false,
    }
}

/// Items of two samples each with these marks, and this many bytes.
fn encoded(marks: &[u32], bytes: usize) -> Encoded {
    let size = bytes / marks.len();
    Encoded {
        body: vec![b'e'; size * marks.len()].into(),
        items: marks.iter().zip(1..).map(|(&mark, at)| Item { end: at * size, samples: 2, mark }).collect(),
        points: (0..2 * marks.len() as u32).collect(),
        ..Encoded::default()
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    let header =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.iter().map(header).collect(),
        body: body.to_owned().into(),
    }
}

fn says(status: u16, body: &str) -> Judgement {
    classify(&layout("", &[]), false, &encoded(&[0; 4], 400), &answer(status, &[], body))
}

fn sentence(judgement: &Judgement) -> &str {
    judgement.problem.as_ref().map_or("", |(_, sentence)| sentence)
}

#[test]
fn every_code_that_is_about_the_whole_request_waits_and_says_what_helps() {
    #[rustfmt::skip]
    let cases: &[(u64, u16, &str, &str, &str)] = &[
        (1, 403, "Token disabled", "token", "refuses the token because it is disabled; enable it in Splunk's settings of the collector"),
        (2, 401, "Token is required", "token", "got no token; look for a proxy that takes the header Authorization away"),
        (3, 401, "Invalid authorization", "token", "cannot read the header Authorization; write the token alone, as Splunk shows it"),
        (4, 403, "Invalid token", "token", "does not know the token; correct it"),
        (5, 400, "No data", "empty", "got an empty request; look for a proxy that takes bodies away"),
        (8, 500, "Internal server error", "internal", "failed inside; see splunkd.log there"),
        (9, 503, "Server is busy", "busy", "is busy"),
        (10, 400, "Data channel is missing", "channel", "misses the channel; look for a proxy that takes the header X-Splunk-Request-Channel away"),
        (11, 400, "Invalid data channel", "channel", "does not take the channel; look for a proxy that changes the header X-Splunk-Request-Channel"),
        (14, 400, "ACK is disabled", "ack", "has no acknowledgement for this token; enable it for the token, or set ack: false"),
        (16, 400, "Query string authorization is not enabled", "query", "takes no token from the address; look for a proxy that adds a query"),
        (17, 200, "HEC is healthy", "answer", "answers with its health to a request with events; see urls, and proxies between"),
        (18, 503, "HEC is unhealthy, queues are full", "busy", "is unhealthy: its queues are full"),
        (19, 503, "HEC is unhealthy, ack service unavailable", "busy", "is unhealthy: its acknowledgement service is unavailable"),
        (20, 503, "HEC is unhealthy, queues are full, ack service unavailable", "busy", "is unhealthy: its queues are full, and its acknowledgement service is unavailable"),
        (21, 400, "Invalid token", "token", "does not know the token; correct it"),
        (22, 400, "Token disabled", "token", "refuses the token because it is disabled; enable it in Splunk's settings of the collector"),
        (23, 503, "Server is shutting down", "shutdown", "is shutting down"),
        (26, 429, "HEC queue is at capacity", "busy", "is busy: its queue is full"),
        (27, 429, "ACK channel is at capacity", "busy", "is busy: it keeps as many acknowledgements of this channel as it can"),
        (28, 400, "Data channel is missing", "channel", "misses the channel; look for a proxy that takes the header X-Splunk-Request-Channel away"),
        (404, 404, "The requested URL was not found on this server.", "address", "has no collector at this address; see urls"),
        (404, 405, "The requested URL was not found on this server.", "address", "has no collector at this address; see urls"),
    ];
    for (code, status, text, kind, expected) in cases {
        let body = format!("{{\"text\":\"{text}\",\"code\":{code}}}");
        let judgement = says(*status, &body);
        let told = format!("{expected} ({status}, code {code}: {text})");
        assert_eq!(judgement.problem, Some((*kind, told)));
        assert_eq!((judgement.verdict, judgement.next), (Verdict::All(Fate::Retry), Next::Backoff), "{code}");
        assert_eq!(judgement.is_maybe_received, *code == 8, "{code}");
    }
}

#[test]
fn a_success_is_a_success_and_a_warning_of_full_queues_slows_down() {
    assert_eq!(says(200, r#"{"text":"Success","code":0}"#), Judgement::delivered());
    for code in [24, 25] {
        let body = format!("{{\"text\":\"is approaching its capacity limit\",\"code\":{code}}}");
        let slower = |next| Judgement { next: Next::After(next), ..Judgement::delivered() };
        assert_eq!(says(200, &body), slower(SLOW_DOWN));
        let asked = answer(200, &[("retry-after", "7")], &body);
        let judgement = classify(&layout("", &[]), false, &encoded(&[0], 100), &asked);
        assert_eq!(judgement, slower(Duration::from_secs(7)));
    }
}

#[test]
fn a_receiver_that_says_when_is_asked_then() {
    for (status, body) in [(429, r#"{"text":"HEC queue is at capacity","code":26}"#), (503, "")] {
        let answer = answer(status, &[("retry-after", "30")], body);
        let judgement = classify(&layout("", &[]), false, &encoded(&[0], 100), &answer);
        assert_eq!(judgement.next, Next::After(Duration::from_secs(30)));
    }
}

#[test]
fn what_is_taken_is_yet_to_be_acknowledged() {
    let classify = |answer: &Answer| classify(&layout("", &[]), true, &encoded(&[0; 4], 400), answer);
    let headers = [("x-splunk-request-channel", "c"), ("set-cookie", "indexer=a; Path=/"), ("retry-after", "3")];
    let judgement = classify(&answer(200, &headers, r#"{"text":"Success","code":0,"ackId":0}"#));
    let receipt = Receipt { number: 0, route: "c indexer=a".to_owned() };
    assert_eq!(judgement, Judgement { verdict: Verdict::Accepted(receipt.clone()), ..Judgement::delivered() });
    let judgement = classify(&answer(200, &headers, r#"{"text":"ACK is approaching","code":25,"ackId":0}"#));
    assert_eq!((judgement.verdict, judgement.next), (Verdict::Accepted(receipt), Next::After(Duration::from_secs(3))));
    // Without a number there is nothing to ask for, and nothing was acknowledged.
    let judgement = classify(&answer(200, &[], r#"{"text":"Success","code":0}"#));
    assert_eq!((&judgement.verdict, judgement.is_maybe_received), (&Verdict::All(Fate::Retry), true));
    assert_eq!(judgement.next, Next::After(UNACKNOWLEDGED_PAUSE));
    assert!(sentence(&judgement).starts_with("takes requests without acknowledging them, "), "{judgement:?}");
}

#[test]
fn an_event_that_is_refused_is_rejected_alone_and_those_behind_it_are_sent_at_once() {
    let cases = [
        (6, "invalid_data", "cannot be read"),
        (12, "event_blank", "is said to be empty"),
        (13, "event_blank", "is said to be empty"),
        (15, "indexed_fields", "has dimensions or metrics that are not taken"),
        (99, "bad_event", "is not taken"),
    ];
    for (code, reason, what) in cases {
        for at in 0..4 {
            let judgement = says(400, &format!("{{\"text\":\"T\",\"code\":{code},\"invalid-event-number\":{at}}}"));
            let fates = (0..4).map(|item: usize| match item {
                _ if item < at => Fate::Delivered,
                _ if item == at => Fate::Rejected(reason),
                _ => Fate::Retry,
            });
            assert_eq!(judgement.verdict, Verdict::Each(fates.collect()), "{code} {at}");
            assert_eq!((judgement.next, judgement.is_maybe_received), (Next::Now, false));
            let told = format!("event {} of 4 {what} (400, code {code}: T): {}", at + 1, "e".repeat(100));
            assert_eq!(judgement.problem, Some((reason, told)));
        }
    }
}

#[test]
fn a_large_request_that_is_refused_at_its_first_event_is_halved_before_anything_is_rejected() {
    let large = encoded(&[0; 4], HALVED_BYTES_MIN + 4);
    for (code, at, is_halved) in [(6, 0, true), (15, 0, true), (6, 1, false)] {
        let body = format!("{{\"text\":\"T\",\"code\":{code},\"invalid-event-number\":{at}}}");
        let judgement = classify(&layout("", &[]), false, &large, &answer(400, &[], &body));
        assert_eq!(judgement.verdict == Verdict::TooLarge, is_halved, "{code} {at}");
        assert_eq!((judgement.next, judgement.is_maybe_received), (Next::Now, false));
    }
    let one = encoded(&[0], 10 * HALVED_BYTES_MIN);
    let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#;
    let judgement = classify(&layout("", &[]), false, &one, &answer(400, &[], body));
    assert_eq!(judgement.verdict, Verdict::Each(vec![Fate::Rejected("invalid_data")]), "it cannot be made smaller");
    for body in ["", body] {
        assert_eq!(says(413, body).verdict, Verdict::TooLarge);
    }
}

#[test]
fn a_refusal_that_does_not_say_which_event_is_narrowed_down() {
    let body = r#"{"text":"Invalid data format","code":6}"#;
    let judgement = says(400, body);
    assert_eq!((judgement.verdict, judgement.is_maybe_received), (Verdict::TooLarge, true), "some may be indexed");
    let judgement = classify(&layout("", &[]), false, &encoded(&[0], 100), &answer(400, &[], body));
    assert_eq!(judgement.verdict, Verdict::Each(vec![Fate::Rejected("invalid_data")]));
    for number in ["4", "18446744073709551615"] {
        let judgement = says(400, &format!("{{\"text\":\"T\",\"code\":6,\"invalid-event-number\":{number}}}"));
        assert_eq!((&judgement.verdict, judgement.is_maybe_received), (&Verdict::All(Fate::Retry), true));
        assert!(sentence(&judgement).starts_with("refuses an event that was not sent"), "{judgement:?}");
    }
}

#[test]
fn an_index_that_is_wrong_for_all_waits_for_somebody_to_put_it_right() {
    let tell =
        |index: &str, body: &str| classify(&layout(index, &[]), false, &encoded(&[0; 4], 400), &answer(400, &[], body));
    for body in
        [r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#, r#"{"text":"Incorrect index","code":7}"#]
    {
        let judgement = tell("metrics", body);
        assert_eq!((&judgement.verdict, judgement.next), (&Verdict::All(Fate::Retry), Next::Backoff));
        let told = "does not take events for the index \"metrics\": make it, as a metrics index, and allow it for the token \
                    (400, code 7: Incorrect index)";
        assert_eq!(judgement.problem, Some(("index", told.to_owned())));
        assert!(sentence(&tell("", body)).starts_with("does not take events for the token's default index: "));
    }
}

#[test]
fn one_wrong_index_of_several_does_not_hold_up_the_others() {
    let layout = layout("{{tenant}}", &["red", "blue"]);
    let encoded = encoded(&[1, 2, 1, 2, 1], 500);
    // The number behind the event is given.
    let body = r#"{"text":"Incorrect index","code":7,"invalid-event-number":2}"#;
    let judgement = classify(&layout, false, &encoded, &answer(400, &[], body));
    let rejected = Fate::Rejected("incorrect_index");
    assert_eq!(judgement.verdict, Verdict::Each(vec![Fate::Delivered, rejected, Fate::Retry, rejected, Fate::Retry]));
    assert_eq!(judgement.next, Next::Now);
    assert!(sentence(&judgement).starts_with("does not take events for the index \"blue\": "), "{judgement:?}");
    let judgement = classify(&layout, false, &encoded, &answer(400, &[], r#"{"text":"Incorrect index","code":7}"#));
    assert_eq!((judgement.verdict, judgement.is_maybe_received), (Verdict::TooLarge, true));
}

#[test]
fn what_is_no_collector_waits_and_is_named() {
    let html = "<html>\u{1b}[31mLog in</html>";
    #[rustfmt::skip]
    let cases: &[(u16, &str, &str, bool)] = &[
        (200, html, "gives an answer that is not a collector's; see urls, and proxies between (200: <html>\\u{1b}[31mLog in</html>)", true),
        (200, "", "gives an answer that is not a collector's; see urls, and proxies between (200)", true),
        (302, "", "redirects to nowhere, which is not followed; write the right address into urls (302)", false),
        (400, "", "refuses the request in words that are not known here; see urls, and proxies between (400)", false),
        (400, r#"{"text":"New","code":77}"#, "refuses the request in words that are not known here; see urls, and proxies between (400, code 77: New)", false),
        (401, "", "refuses the token, in words that are not a collector's; see proxies between (401)", false),
        (404, html, "has no collector at this address; see urls, and proxies between (404: <html>\\u{1b}[31mLog in</html>)", false),
        (405, "", "has no collector at this address; see urls, and proxies between (405)", false),
        (408, "", "cannot take requests now (408)", true),
        (429, "", "is busy (429)", false),
        (502, "", "cannot take requests now (502)", true),
        (504, html, "cannot take requests now (504: <html>\\u{1b}[31mLog in</html>)", true),
        (500, r#"{"text":"Success","code":0}"#, "cannot take requests now (500, code 0: Success)", true),
    ];
    for (status, body, expected, is_maybe_received) in cases {
        let judgement = says(*status, body);
        assert_eq!(sentence(&judgement), *expected);
        assert_eq!((judgement.verdict, judgement.next), (Verdict::All(Fate::Retry), Next::Backoff));
        assert_eq!(judgement.is_maybe_received, *is_maybe_received, "{status} {body}");
    }
}

#[test]
fn what_comes_instead_of_acknowledgements_is_told() {
    let failure = unacknowledged(&answer(400, &[], r#"{"text":"ACK is disabled","code":14}"#));
    assert_eq!(failure.kind, "ack");
    assert_eq!(
        failure.message,
        "asked for acknowledgements, has no acknowledgement for this token; enable it for the token, or set ack: false (400, \
         code 14: ACK is disabled)"
    );
    assert_eq!(
        unacknowledged(&answer(503, &[], "")).message,
        "asked for acknowledgements, cannot take requests now (503)"
    );
}
