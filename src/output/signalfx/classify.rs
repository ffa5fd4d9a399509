//! What the ingest's answer means. It takes a request as a whole or not at all, and says little: `"OK"`, or a sentence.

use crate::net::text::excerpt;
use crate::output::http::next;
use crate::output::otlp::is_page;
use crate::pipeline::{Answer, Fate, Judgement, Next, Verdict};

/// Rejected: the ingest cannot read it, or does not take it.
const INVALID: &str = "invalid";

/// Characters of an answer that are quoted.
const QUOTED_CHARS_MAX: usize = 300;

/// Says what an answer means.
pub fn classify(answer: &Answer) -> Judgement {
    let retry = |kind, does: &str| Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received: false,
        next: next(&answer.headers),
        problem: Some((kind, format!("{does} ({})", words(answer)))),
    };
    match answer.status.as_u16() {
        200..=299 if is_page(&answer.headers) => Judgement {
            is_maybe_received: true,
            ..retry("answer", "answers with a page, as no ingest does; see url, and proxies between")
        },
        200..=299 => Judgement::delivered(),
        400 => Judgement {
            verdict: Verdict::Spoilt(Fate::Rejected(INVALID)),
            next: Next::Now,
            ..retry(INVALID, "does not take the datapoints")
        },
        401 => retry("token", "does not know the token; see token and realm"),
        403 => retry("token", "does not let the token in; it needs the scope INGEST"),
        402 => retry("quota", "takes no more: the organization's limit is reached"),
        404 | 405 => retry("address", "has no ingest at this address; see realm and url"),
        413 => Judgement {
            verdict: Verdict::TooLarge,
            next: Next::Now,
            ..retry("too_large", "takes no request of this size; see max_bytes under batch")
        },
        415 => retry("answer", "does not take this type of content; see url, and proxies between"),
        429 => retry("busy", "takes no more for now: a limit of the token or the organization"),
        // A proxy that gave up on it, or it failed in the middle.
        500 | 502 | 504 => Judgement { is_maybe_received: true, ..retry("unavailable", "failed") },
        500..=599 => retry("unavailable", "is not ready"),
        _ => retry("answer", "answers as no ingest does; see url, and proxies between"),
    }
}

/// Status and beginning of an answer, for people.
fn words(answer: &Answer) -> String {
    let status = answer.status.to_string();
    match excerpt(&answer.body, QUOTED_CHARS_MAX) {
        said if said.is_empty() => status,
        said => format!("{status}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    };
    use std::time::Duration;

    fn of(status: u16, body: &'static str) -> Judgement {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        let status = StatusCode::from_u16(status).unwrap();
        classify(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn a_page_of_a_proxy_is_no_delivery() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))]);
        let judged = classify(&Answer { status: StatusCode::OK, headers, body: Bytes::from_static(b"<html>Log in") });
        assert_eq!((judged.verdict, judged.is_maybe_received), (Verdict::All(Fate::Retry), true));
        assert!(judged.problem.unwrap().1.ends_with("(200 OK: <html>Log in)"));
    }

    #[test]
    fn what_can_be_cured_is_retried() {
        assert_eq!(of(200, "\"OK\""), Judgement::delivered());
        for status in [401, 402, 403, 404, 405, 408, 415, 429, 500, 502, 503, 504, 301] {
            let judged = of(status, "no\n");
            let after = Next::After(Duration::from_secs(7));
            assert_eq!((judged.verdict, judged.next), (Verdict::All(Fate::Retry), after), "{status}");
            let (_, said) = judged.problem.unwrap();
            assert!(said.contains(&status.to_string()) && said.ends_with(": no)"), "{said}");
        }
        let doubled = [500, 502, 503, 504, 429].map(|status| of(status, "").is_maybe_received);
        assert_eq!(doubled, [true, true, false, true, false]);
        assert_eq!(
            (of(400, "bad").verdict, of(413, "").verdict),
            (Verdict::Spoilt(Fate::Rejected(INVALID)), Verdict::TooLarge)
        );
        assert_eq!(
            of(429, "").problem.unwrap().1,
            "takes no more for now: a limit of the token or the organization (429 Too Many Requests)"
        );
    }
}
