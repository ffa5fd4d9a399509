//! What an answer means for each document of a request.
//!
//! Nothing counts as delivered that the receiver did not say it has. What an operator can cure (credentials, a proxy, a
//! full disk) is retried and nothing is lost; what no resend can cure is rejected, with its reason, and holds up nothing.
//!
//! A 409 is judged by its circumstances. A data stream has one document for a label set and a time, so a document that is
//! sent again meets itself: `duplicate{resend}`. At its first send it met another one: an exporter that repeats its own
//! timestamp (`duplicate{same_timestamp}`), or two sources that write the same labels, and then it is lost:
//! `rejected{conflict}`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::StatusCode;
use http::header::LOCATION;
use serde_json::Value as Json;

use super::answer::{BulkAnswer, ItemAnswer, read, words};
use super::encode::OWN_TIME;
use crate::model::Labels;
use crate::net::text::excerpt;
use crate::output::http::next;
use crate::pipeline::{Answer, Attempt, Encoded, Fate, Judgement, Next, Verdict};

/// Duplicate: an earlier attempt was received, though no answer said so.
const RESEND: &str = "resend";
/// Duplicate: the target gave a timestamp for which the stream has a document already.
const SAME_TIMESTAMP: &str = "same_timestamp";
/// Rejected: another document has these labels and this time.
const CONFLICT: &str = "conflict";
/// Rejected: the value does not fit its field.
const MAPPING: &str = "mapping";
/// Rejected: outside of the stream's time bounds.
const TIMESTAMP: &str = "timestamp";
/// Rejected: the index has as many fields as it may.
const FIELD_LIMIT: &str = "field_limit";
/// Rejected: no such index, and none may be made.
const INDEX_MISSING: &str = "index_missing";
/// Rejected: the receiver keeps it as a failure, beside the stream.
const FAILURE_STORE: &str = "failure_store";
/// Rejected: the receiver fails on this document each time.
const SERVER_ERROR: &str = "server_error";
/// Rejected: for another reason of the document's.
const DOCUMENT: &str = "document";
/// Rejected: the receiver does not understand the request.
const BAD_REQUEST: &str = "bad_request";

/// A document that alone fails with an internal error is given up after so many attempts: it would hold up its lane.
const SERVER_ERRORS_MAX: u32 = 5;

/// Characters of a receiver's sentence, or of a label set, that are passed on.
const QUOTED_CHARS_MAX: usize = 300;

/// Says what an answer means. `credentials` is what the request was signed with, for people.
pub(super) fn classify(credentials: &str, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
    match answer.status.as_u16() {
        200..=299 => judge_items(encoded, attempt, answer),
        413 => Judgement {
            verdict: Verdict::TooLarge,
            next: Next::Now,
            ..whole(answer, Fate::Retry, "too_large", "refuses a request of this size; see its http.max_content_length")
        },
        429 => {
            let judgement = whole(answer, Fate::Retry, "busy", "is busy");
            if is_maybe_too_large(encoded, attempt) {
                // Busy all the same: it gets its time before the smaller ones come.
                return Judgement { verdict: Verdict::TooLarge, ..judgement };
            }
            judgement
        }
        401 | 403 => whole(answer, Fate::Retry, "credentials", &format!("refuses {credentials}")),
        300..=399 => {
            let location = answer.headers.get(LOCATION).map_or(&b"nowhere"[..], |value| value.as_bytes());
            let to = excerpt(location, QUOTED_CHARS_MAX);
            let sentence = format!("redirects to {to}, which is not followed; write the right address into urls");
            whole(answer, Fate::Retry, "redirect", &sentence)
        }
        404 | 405 | 407 | 410 | 421 | 426 => whole(
            answer,
            Fate::Retry,
            "no_bulk",
            "takes no bulk requests at this address; see urls, and proxies between",
        ),
        408 | 500..=599 => {
            let judgement = whole(answer, Fate::Retry, "unavailable", "cannot take requests now");
            Judgement { is_maybe_received: true, ..judgement }
        }
        _ => whole(answer, Fate::Rejected(BAD_REQUEST), BAD_REQUEST, "does not understand the request"),
    }
}

/// A node whose memory for indexing is smaller than a request says that it is busy, each time. After some attempts the
/// request is made smaller, down to a size that any node takes.
fn is_maybe_too_large(encoded: &Encoded, attempt: Attempt) -> bool {
    const BUSY_ATTEMPTS_MAX: u32 = 4;
    const ANY_NODE_TAKES_BYTES: usize = 64 << 10;
    attempt.number >= BUSY_ATTEMPTS_MAX && encoded.body.len() > ANY_NODE_TAKES_BYTES && encoded.items.len() > 1
}

/// The same for all documents, and a sentence: what the receiver does, its status, its own words.
fn whole(answer: &Answer, fate: Fate, kind: &'static str, does: &str) -> Judgement {
    let mut sentence = format!("{does} ({})", answer.status.as_u16());
    let said = words(&answer.body);
    if !said.is_empty() && answer.status != StatusCode::PAYLOAD_TOO_LARGE {
        let _ = write!(sentence, ": {}", excerpt(said.as_bytes(), QUOTED_CHARS_MAX));
    }
    Judgement {
        verdict: Verdict::All(fate),
        is_maybe_received: false,
        next: next(&answer.headers),
        problem: Some((kind, sentence)),
    }
}

fn judge_items(encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
    let items = match read(&answer.body, encoded.items.len()) {
        BulkAnswer::AllWell => return Judgement::delivered(),
        BulkAnswer::Each(items) => items,
        BulkAnswer::Unreadable(why) => {
            let sentence = format!("gives an answer that {why}; is this Elasticsearch?");
            let judgement = whole(answer, Fate::Retry, "answer", &sentence);
            return Judgement { is_maybe_received: true, ..judgement };
        }
    };
    let fate = |(item, answer): (&crate::pipeline::Item, &ItemAnswer)| judge_item(item.mark, answer, attempt);
    let fates: Vec<Fate> = encoded.items.iter().zip(&items).map(fate).collect();
    Judgement {
        problem: problem(encoded, &items, &fates),
        verdict: Verdict::Each(fates),
        is_maybe_received: false,
        next: next(&answer.headers),
    }
}

fn judge_item(mark: u32, answer: &ItemAnswer, attempt: Attempt) -> Fate {
    match answer.status {
        200..=299 if answer.is_in_failure_store => Fate::Rejected(FAILURE_STORE),
        200..=299 => Fate::Delivered,
        409 if attempt.is_maybe_resend => Fate::Duplicate(RESEND),
        409 if mark == OWN_TIME => Fate::Duplicate(SAME_TIMESTAMP),
        409 => Fate::Rejected(CONFLICT),
        401 | 403 | 408 | 429 | 502..=504 => Fate::Retry,
        _ if answer.kind == "es_rejected_execution_exception" || lacks_pipeline(answer) => Fate::Retry,
        400..=499 => Fate::Rejected(refusal(answer)),
        // An internal error, or no status at all.
        _ if attempt.number >= SERVER_ERRORS_MAX => Fate::Rejected(SERVER_ERROR),
        _ => Fate::Retry,
    }
}

/// Whether the ingest pipeline that was asked for is not there. It can be made, and nothing is lost until then.
fn lacks_pipeline(answer: &ItemAnswer) -> bool {
    answer.reason.starts_with("pipeline with id [") && answer.reason.ends_with("does not exist")
}

/// Why a document is refused for good.
fn refusal(answer: &ItemAnswer) -> &'static str {
    let says = |text: &str| answer.reason.contains(text);
    match answer.kind.as_str() {
        "timestamp_error" => TIMESTAMP,
        _ if says("time series index @timestamp value") => TIMESTAMP,
        _ if says("Limit of total fields") => FIELD_LIMIT,
        "index_not_found_exception" => INDEX_MISSING,
        "mapper_parsing_exception" | "document_parsing_exception" | "strict_dynamic_mapping_exception" => MAPPING,
        "illegal_argument_exception" if says("mapper [") || says("object mapping") => MAPPING,
        _ if answer.status == 404 => INDEX_MISSING,
        _ => DOCUMENT,
    }
}

/// One sentence for each reason for which documents were refused, or are to be sent again.
fn problem(encoded: &Encoded, items: &[ItemAnswer], fates: &[Fate]) -> Option<(&'static str, String)> {
    // By reason: how many documents, and the first of them.
    let mut reasons: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    for (at, fate) in fates.iter().enumerate() {
        let reason = match fate {
            Fate::Rejected(reason) => reason,
            Fate::Retry => retry_kind(&items[at]),
            Fate::Delivered | Fate::Duplicate(_) => continue,
        };
        reasons.entry(reason).or_insert((0, at)).0 += 1;
    }
    let mut sentences = String::new();
    for (reason, (documents, first)) in &reasons {
        let join = if sentences.is_empty() { "" } else { "; " };
        let of = fates.len();
        let _ = write!(sentences, "{join}{documents} of {of} documents: {}", explain(reason));
        if *reason == CONFLICT {
            let _ = write!(sentences, ", first with the labels {}", labels(encoded.item(*first)));
        }
        let ItemAnswer { status, kind, reason: said, .. } = &items[*first];
        let words =
            [kind.as_str(), said].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(": ");
        let _ = write!(sentences, " ({})", excerpt(format!("{status} {words}").as_bytes(), QUOTED_CHARS_MAX));
    }
    // The first one that is to be sent again names the trouble that the output is in.
    let retried = fates.iter().position(|fate| *fate == Fate::Retry).map(|at| retry_kind(&items[at]));
    let kind = retried.or_else(|| reasons.keys().next().copied())?;
    Some((kind, sentences))
}

fn retry_kind(answer: &ItemAnswer) -> &'static str {
    match answer.status {
        _ if lacks_pipeline(answer) => "pipeline",
        401 | 403 => "forbidden",
        429 => "busy",
        _ => "unavailable",
    }
}

fn explain(reason: &str) -> &'static str {
    match reason {
        CONFLICT => {
            "another document has the same labels and time: two sources write the same labels, or relabelling dropped the one that told them apart"
        }
        MAPPING => "a value does not fit the mapping of its field; correct the index template and roll over",
        TIMESTAMP => {
            "their time is outside of the bounds of the data stream; raise index.look_back_time in its template to the output's queue.max_age or above"
        }
        FIELD_LIMIT => {
            "the index has as many fields as it may; raise index.mapping.total_fields.limit, or send fewer metrics"
        }
        INDEX_MISSING => "the index or data stream does not exist and is not made by itself; install its template",
        FAILURE_STORE => "the receiver put them into the failure store of the data stream; the reasons are there",
        SERVER_ERROR => "the receiver failed on them each time",
        DOCUMENT => "the receiver does not take them",
        "forbidden" => {
            "the credentials do not allow writing, or the index is read-only, as on a full disk; they are sent again"
        }
        "busy" => "the receiver is busy; they are sent again",
        "pipeline" => "there is no such ingest pipeline; they are sent again",
        _ => "the receiver cannot take them now; they are sent again",
    }
}

/// The labels of a document of ours.
fn labels(item: &[u8]) -> String {
    let document = item.split(|byte| *byte == b'\n').nth(1).and_then(|line| serde_json::from_slice::<Json>(line).ok());
    let at = |path: &str| document.as_ref().and_then(|document| document.pointer(path));
    let labels = at("/labels").or_else(|| at("/tag")).or_else(|| at("/prometheus/labels"));
    let pairs = labels.and_then(Json::as_object).into_iter().flatten();
    let labels: Labels<'_> = pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
    excerpt(labels.to_string().as_bytes(), QUOTED_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::pipeline::Item;

    const FIRST: Attempt = Attempt { number: 0, is_maybe_resend: false };
    const RESENT: Attempt = Attempt { number: 1, is_maybe_resend: true };

    fn encoded(marks: &[u32]) -> Encoded {
        let mut body = Vec::new();
        let item = |&mark: &u32| {
            body.extend_from_slice(
                b"{\"create\":{}}\n{\"labels\":{\"a\":\"\\u001b[31m\",\"b\":\"2\"},\"metrics\":{\"m\":1.0}}\n",
            );
            Item { end: body.len(), samples: 1, mark }
        };
        Encoded { items: marks.iter().map(item).collect(), body: body.into(), ..Encoded::default() }
    }

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    /// An answer of 200 with one item each: status, type, reason.
    fn bulk(items: &[(u16, &str, &str)]) -> Answer {
        let item = |(status, kind, reason): &(u16, &str, &str)| match kind.is_empty() {
            true => serde_json::json!({"create": {"status": status}}),
            false => {
                serde_json::json!({"create": {"_id": null, "status": status, "error": {"type": kind, "reason": reason}}})
            }
        };
        let items: Vec<Json> = items.iter().map(item).collect();
        answer(200, &serde_json::json!({"errors": true, "items": items}).to_string())
    }

    fn judge(marks: &[u32], attempt: Attempt, answer: &Answer) -> Judgement {
        classify("the API key", &encoded(marks), attempt, answer)
    }

    fn sentence(judgement: &Judgement) -> &str {
        judgement.problem.as_ref().map_or("", |(_, sentence)| sentence)
    }

    #[test]
    fn each_document_has_its_own_fate() {
        let judgement = judge(
            &[0; 5],
            FIRST,
            &bulk(&[
                (201, "", ""),
                (429, "es_rejected_execution_exception", "queue is full"),
                (400, "document_parsing_exception", "[1:2] failed to parse field [metrics.m] of type [long]"),
                (200, "", ""),
                (503, "unavailable_shards_exception", "primary shard is not active"),
            ]),
        );
        assert_eq!(
            judgement.verdict,
            Verdict::Each(vec![Fate::Delivered, Fate::Retry, Fate::Rejected(MAPPING), Fate::Delivered, Fate::Retry])
        );
        assert_eq!(
            judgement.problem,
            Some((
                "busy",
                "1 of 5 documents: the receiver is busy; they are sent again (429 es_rejected_execution_exception: queue is \
                 full); 1 of 5 documents: a value does not fit the mapping of its field; correct the index template and roll \
                 over (400 document_parsing_exception: [1:2] failed to parse field [metrics.m] of type [long]); 1 of 5 \
                 documents: the receiver cannot take them now; they are sent again (503 unavailable_shards_exception: primary \
                 shard is not active)"
                    .to_owned()
            ))
        );
    }

    #[test]
    fn a_conflict_is_judged_by_its_circumstances() {
        let conflict = bulk(&[(409, "version_conflict_engine_exception", "exists"); 2]);
        let marks = [0, OWN_TIME];
        let resent = judge(&marks, RESENT, &conflict);
        assert_eq!(resent.verdict, Verdict::Each(vec![Fate::Duplicate(RESEND); 2]));
        assert_eq!(resent.problem, None);

        let first = judge(&marks, FIRST, &conflict);
        assert_eq!(first.verdict, Verdict::Each(vec![Fate::Rejected(CONFLICT), Fate::Duplicate(SAME_TIMESTAMP)]));
        let expected = r#"first with the labels {a="\u{1b}[31m",b="2"} (409 version_conflict"#;
        assert!(sentence(&first).contains(expected), "{}", sentence(&first));

        // Documents that were refused as too many were not stored: they meet another document.
        let busy_before = Attempt { number: 3, is_maybe_resend: false };
        assert_eq!(judge(&[0, 0], busy_before, &conflict).verdict, Verdict::Each(vec![Fate::Rejected(CONFLICT); 2]));
    }

    #[test]
    fn a_document_in_the_failure_store_is_not_in_the_stream() {
        let body = r#"{"errors":false,"items":[{"create":{"status":201,"failure_store":"used"}}]}"#;
        let judgement = judge(&[0], FIRST, &answer(200, body));
        assert_eq!(judgement.verdict, Verdict::Each(vec![Fate::Rejected(FAILURE_STORE)]));
        let expected = "1 of 1 documents: the receiver put them into the failure store of the data stream; the reasons are \
                        there (201)";
        assert_eq!(sentence(&judgement), expected);
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let cases = [
            (400, "timestamp_error", "the document timestamp is outside of ranges", TIMESTAMP),
            (400, "illegal_argument_exception", "time series index @timestamp value [1] must be larger", TIMESTAMP),
            (
                400,
                "document_parsing_exception",
                "[1:9] failed to parse: Limit of total fields [9] has been",
                FIELD_LIMIT,
            ),
            (400, "illegal_argument_exception", "mapper [m] cannot be changed from type [long]", MAPPING),
            (400, "strict_dynamic_mapping_exception", "introduction of [m] is not allowed", MAPPING),
            (400, "illegal_argument_exception", "no write index", DOCUMENT),
            (404, "index_not_found_exception", "no such index", INDEX_MISSING),
            (418, "", "", DOCUMENT),
        ];
        for (status, kind, reason, expected) in cases {
            let judgement = judge(&[0], FIRST, &bulk(&[(status, kind, reason)]));
            assert_eq!(judgement.verdict, Verdict::Each(vec![Fate::Rejected(expected)]), "{kind}: {reason}");
            assert!(sentence(&judgement).starts_with(&format!("1 of 1 documents: {}", explain(expected))));
        }
    }

    #[test]
    fn what_an_operator_can_cure_is_retried() {
        for (status, kind) in
            [(403, "cluster_block_exception"), (403, "security_exception"), (401, "security_exception")]
        {
            assert_eq!(judge(&[0], FIRST, &bulk(&[(status, kind, "")])).verdict, Verdict::Each(vec![Fate::Retry]));
        }
        let no_pipeline = bulk(&[(400, "illegal_argument_exception", "pipeline with id [p] does not exist")]);
        assert_eq!(judge(&[0], FIRST, &no_pipeline).verdict, Verdict::Each(vec![Fate::Retry]));
        let internal = bulk(&[(500, "null_pointer_exception", "")]);
        assert_eq!(judge(&[0], FIRST, &internal).verdict, Verdict::Each(vec![Fate::Retry]));
        let fifth = Attempt { number: SERVER_ERRORS_MAX, is_maybe_resend: false };
        assert_eq!(judge(&[0], fifth, &internal).verdict, Verdict::Each(vec![Fate::Rejected(SERVER_ERROR)]));
    }

    #[test]
    fn a_whole_request_has_one_fate_and_one_sentence() {
        let error = r#"{"error":{"type":"t","reason":"unable to\u001b authenticate"},"status":401}"#;
        let retry = Verdict::All(Fate::Retry);
        let cases = [
            (401, error, &retry, false, r"refuses the API key (401): unable to\u{1b} authenticate"),
            (403, "", &retry, false, "refuses the API key (403)"),
            (429, "", &retry, false, "is busy (429)"),
            (503, "<html>", &retry, true, "cannot take requests now (503): <html>"),
            (504, "", &retry, true, "cannot take requests now (504)"),
            (408, "", &retry, true, "cannot take requests now (408)"),
            (404, "", &retry, false, "takes no bulk requests at this address; see urls, and proxies between (404)"),
            (
                400,
                r#"{"error":"bad"}"#,
                &Verdict::All(Fate::Rejected(BAD_REQUEST)),
                false,
                "does not understand the request (400): bad",
            ),
            (
                413,
                "",
                &Verdict::TooLarge,
                false,
                "refuses a request of this size; see its http.max_content_length (413)",
            ),
            (
                302,
                "",
                &retry,
                false,
                "redirects to nowhere, which is not followed; write the right address into urls (302)",
            ),
            (204, "", &retry, true, "gives an answer that is not JSON; is this Elasticsearch? (204)"),
        ];
        for (status, body, verdict, is_maybe_received, expected) in cases {
            let judgement = judge(&[0, 0], FIRST, &answer(status, body));
            assert_eq!((&judgement.verdict, judgement.is_maybe_received), (verdict, is_maybe_received), "{status}");
            assert_eq!(sentence(&judgement), expected);
        }
    }

    #[test]
    fn a_node_that_is_always_too_busy_gets_smaller_requests_and_nothing_is_given_up() {
        let busy = answer(429, "");
        let judge = |items, number| {
            let encoded = encoded(&vec![0; items]);
            classify("", &encoded, Attempt { number, is_maybe_resend: false }, &busy).verdict
        };
        assert_eq!(judge(2000, 3), Verdict::All(Fate::Retry));
        assert_eq!(judge(2000, 4), Verdict::TooLarge);
        let many = classify("", &encoded(&vec![0; 2000]), Attempt { number: 4, is_maybe_resend: false }, &busy);
        assert_ne!(many.next, Next::Now, "it gets its time");
        assert_eq!(judge(2, 4), Verdict::All(Fate::Retry), "small already");
    }

    #[test]
    fn an_answer_about_other_documents_is_no_delivery() {
        let judgement = judge(&[0, 0], FIRST, &answer(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#));
        assert_eq!((judgement.verdict, judgement.is_maybe_received), (Verdict::All(Fate::Retry), true));
    }

    #[test]
    fn a_long_answer_becomes_a_short_sentence() {
        let reason = "x".repeat(100_000);
        let judgement = judge(&[0], FIRST, &bulk(&[(400, "t", &reason)]));
        assert!(sentence(&judgement).len() < 600, "{}", sentence(&judgement).len());
    }

    #[test]
    fn retry_after_is_passed_on() {
        let mut busy = answer(429, "");
        busy.headers.insert("retry-after", HeaderValue::from_static("7"));
        assert_eq!(judge(&[0], FIRST, &busy).next, Next::After(std::time::Duration::from_secs(7)));
    }
}
