//! Answers, by the tables of the specification.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::pipeline::Item;

fn encoded() -> Encoded {
    let item = |samples, mark| Item { end: 0, samples, mark };
    Encoded { items: vec![item(20, 4), item(10, 6)], ..Encoded::default() }
}

fn over_http(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Judgement {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    http(&encoded(), &Answer { status, headers, body: Bytes::from_static(body) })
}

fn over_grpc(code: Code, message: &str, details: Option<&'static str>) -> Judgement {
    let mut headers = HeaderMap::new();
    Status::new(code, message).write_to(&mut headers);
    if let Some(details) = details {
        headers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
    }
    grpc(&encoded(), &Answer { status: StatusCode::OK, headers, body: Bytes::new() })
}

fn reason(judgement: &Judgement) -> &'static str {
    match judgement.verdict {
        Verdict::All(Fate::Rejected(reason)) => reason,
        Verdict::All(Fate::Retry) => "retry",
        Verdict::All(Fate::Delivered) => "delivered",
        Verdict::TooLarge => "too_large",
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn http_statuses_mean_what_the_specification_says() {
    for (status, expected) in [
        (200, "delivered"),
        (202, "delivered"),
        (307, "retry"),
        (400, "bad_data"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "no_service"),
        (405, "no_service"),
        (408, "bad_data"),
        (413, "too_large"),
        (415, "no_service"),
        (422, "bad_data"),
        (429, "retry"),
        (500, "receiver_failed"),
        (501, "no_service"),
        (502, "retry"),
        (503, "retry"),
        (504, "retry"),
        (505, "receiver_failed"),
    ] {
        let judgement = over_http(status, &[], b"");
        assert_eq!(reason(&judgement), expected, "{status}");
        assert_eq!(judgement.is_maybe_received, (502..=504).contains(&status), "{status}");
        if let Some((_, sentence)) = judgement.problem {
            assert!(sentence.ends_with(&format!("(HTTP status {status})")), "{sentence}");
        }
    }
    let asked = over_http(429, &[("retry-after", "7")], b"");
    assert_eq!(asked.next, Next::After(Duration::from_secs(7)));
    assert_eq!(over_http(503, &[], b"").next, Next::Backoff);
    let page = over_http(200, &[("content-type", "text/html; charset=utf-8")], b"<html>");
    assert_eq!((reason(&page), page.is_maybe_received), ("retry", true));
    let away = over_http(302, &[("location", "https://login/")], b"").problem.unwrap();
    assert_eq!(
        away.1,
        "redirects to https://login/, which is not followed; write the right address into urls (HTTP status 302)"
    );
}

#[test]
fn grpc_codes_mean_what_the_specification_says() {
    use Code::*;
    for (code, expected) in [
        (Ok, "delivered"),
        (Cancelled, "retry"),
        (Unknown, "receiver_failed"),
        (InvalidArgument, "bad_data"),
        (DeadlineExceeded, "retry"),
        (NotFound, "no_service"),
        (AlreadyExists, "bad_data"),
        (PermissionDenied, "unauthorized"),
        (ResourceExhausted, "exhausted"),
        (FailedPrecondition, "bad_data"),
        (Aborted, "retry"),
        (OutOfRange, "retry"),
        (Unimplemented, "no_service"),
        (Internal, "receiver_failed"),
        (Unavailable, "retry"),
        (DataLoss, "retry"),
        (Unauthenticated, "unauthorized"),
    ] {
        assert_eq!(reason(&over_grpc(code, "x", None)), expected, "{code:?}");
    }
    // A RetryInfo of 2 s, and one of nothing.
    let delays = [
        ("EgRidXN5GjEKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBQoDCAIQ", None),
        (
            "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAI",
            Some(Next::After(Duration::from_secs(2))),
        ),
        ("GiwKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SAA", Some(Next::Backoff)),
    ];
    for (details, next) in delays {
        let judgement = over_grpc(ResourceExhausted, "busy", Some(details));
        assert_eq!(reason(&judgement), if next.is_some() { "retry" } else { "exhausted" }, "{details}");
        assert_eq!(judgement.next, next.unwrap_or(Next::Now));
    }
    let none = grpc(&encoded(), &Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() });
    assert_eq!(reason(&none), "receiver_failed");
}

#[test]
fn a_request_that_is_too_large_is_known_by_the_words_of_each_server() {
    for (code, message) in [
        (Code::ResourceExhausted, "grpc: received message larger than max (5000 vs. 4194304)"),
        (Code::ResourceExhausted, "grpc: received message after decompression larger than max 4194304"),
        (Code::ResourceExhausted, "Received message larger than max (5000 vs. 4194304)"),
        (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
        (Code::ResourceExhausted, "Received message exceeds the maximum configured message size."),
        (Code::OutOfRange, "Error, decoded message length too large: found 5000 bytes, the limit is: 4194304 bytes"),
    ] {
        assert_eq!(reason(&over_grpc(code, message, None)), "too_large", "{message}");
    }
    let old = over_grpc(Code::Unimplemented, "grpc: Decompressor is not installed for grpc-encoding \"gzip\"", None);
    assert!(old.problem.unwrap().1.contains("write compression: none"));
}

#[test]
fn refused_points_are_refused_samples_in_proportion() {
    let partial = |rejected: u64| {
        let text = format!(r#"{{"partialSuccess":{{"rejectedDataPoints":"{rejected}","errorMessage":"old"}}}}"#);
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        http(&encoded(), &Answer { status: StatusCode::OK, headers, body: text.into() })
    };
    assert_eq!(partial(0), Judgement::delivered(), "it may have something to say, and takes all");
    for (rejected, refused) in [(1, 3), (5, 15), (9, 27), (10, 30), (u64::MAX, 30)] {
        let judgement = partial(rejected);
        assert_eq!(judgement.verdict, Verdict::Partly { refused });
        let (kind, sentence) = judgement.problem.unwrap();
        assert_eq!(
            (kind, sentence),
            ("partial_success", format!("refuses {} of 10 data points: old", rejected.min(10)))
        );
    }
}
