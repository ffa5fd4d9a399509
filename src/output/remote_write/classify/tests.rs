//! A table of answers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::pipeline::Item;

/// Two series of floats and one of histograms; `samples` of each.
fn request(message: WriteMessage, samples: u32) -> Encoded {
    let version = if message == WriteMessage::V1 { "0.1.0" } else { "2.0.0" };
    let item = |(end, mark)| Item { end, samples: if mark == mark::METADATA { 0 } else { samples }, mark };
    let marks = [(1, mark::FLOATS), (2, mark::FLOATS), (3, mark::HISTOGRAMS), (4, mark::METADATA)];
    Encoded {
        headers: HeaderMap::from_iter([(VERSION, HeaderValue::from_static(version))]),
        body: Bytes::from_static(b"abcd"),
        items: marks.map(item).into(),
        points: (0..3 * samples).collect(),
        ..Encoded::default()
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
    let header = |&(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let headers = headers.iter().map(header).collect();
    Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) }
}

const FIRST: Attempt = Attempt { number: 0, is_maybe_resend: false };
const RESEND: Attempt = Attempt { number: 1, is_maybe_resend: true };

fn judge(message: WriteMessage, samples: u32, attempt: Attempt, answer: &Answer) -> Judgement {
    classify(&request(message, samples), attempt, answer)
}

fn verdict(message: WriteMessage, samples: u32, attempt: Attempt, answer: &Answer) -> Verdict {
    judge(message, samples, attempt, answer).verdict
}

const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

#[test]
fn a_receiver_of_1_0_has_it_or_says_why_not() {
    let retry = Verdict::All(Fate::Retry);
    let rejected = |reason| Verdict::All(Fate::Rejected(reason));
    let table = [
        (200, "", Verdict::All(Fate::Delivered), ""),
        (204, "", Verdict::All(Fate::Delivered), ""),
        (429, "slow down", retry.clone(), "asks for patience (429: slow down)"),
        (500, "", retry.clone(), "fails (500)"),
        (503, "a\u{1b}[1mb", retry.clone(), "fails (503: a\\u{1b}[1mb)"),
        (
            500,
            "native histograms are disabled\n",
            retry.clone(),
            "takes no native histograms: see its feature flags, or set send_native_histograms: false (500: native histograms \
             are disabled)",
        ),
        (302, "", retry, "leads elsewhere; write the address that is meant as \"url\" (302)"),
        (413, "", Verdict::TooLarge, "refuses a request of this size; see max_bytes under batch (413)"),
        (401, "", rejected("unauthorized"), "does not know us; see basic_auth and authorization (401)"),
        (408, "", rejected("refused"), "refuses requests (408)"),
        (415, "", rejected("unsupported_message"), "does not take this message; see protobuf_message (415)"),
        (
            404,
            "",
            rejected("not_found"),
            "has nothing that takes remote write at this address: a Prometheus wants --web.enable-remote-write-receiver, and \
             its path is /api/v1/write (404)",
        ),
    ];
    for (status, body, expected, sentence) in table {
        for attempt in [FIRST, RESEND] {
            let judged = judge(WriteMessage::V1, 2, attempt, &answer(status, &[], body));
            assert_eq!(judged.verdict, expected, "{status}");
            assert_eq!(judged.problem.map_or(String::new(), |(_, said)| said), sentence);
            assert_eq!(judged.is_maybe_received, status >= 500, "{status}");
        }
    }
    let patient = judge(WriteMessage::V1, 2, FIRST, &answer(429, &[("retry-after", "7")], ""));
    assert_eq!(patient.next, Next::After(std::time::Duration::from_secs(7)));
}

#[test]
fn words_of_receivers_say_why_samples_are_refused() {
    let mimir = "failed pushing to ingester: user=anonymous: the sample has been rejected because another sample with a more \
                 recent timestamp has already been ingested and out-of-order samples are not allowed \
                 (err-mimir-sample-out-of-order). The affected sample has timestamp 2026-04-14T13:31:08.872Z and is from series x";
    let cortex = "user=1: err: duplicate sample for timestamp. timestamp=2021-04-19T20:20:20Z, series={__name__=\"a\"}";
    let thanos = "2 errors: store locally for endpoint a: add 3 samples: out of order sample; forwarding to b: add 3 samples: out \
                  of order sample; add 2 samples: out of bounds";
    let table = [
        (400, "out of order sample\n", "out_of_order", None),
        (400, "too old sample", "out_of_bounds", None),
        (400, "out of bounds: timestamp is too far in the future", "out_of_bounds", None),
        (
            400,
            "duplicate sample for timestamp 5; overrides not allowed: existing 1, new value 2",
            "duplicate_timestamp",
            None,
        ),
        (400, "invalid labels", "refused", None),
        (400, "", "refused", None),
        (422, "nothing that is known", "refused", None),
        (400, mimir, "out_of_order", Some(1)),
        (400, cortex, "duplicate_timestamp", Some(1)),
        (
            400,
            "received a series whose number of labels is beyond 30 (err-mimir-max-label-names-per-series)",
            "refused",
            Some(1),
        ),
        (409, "conflict", "refused", Some(1)),
        (409, thanos, "out_of_bounds", Some(5)),
    ];
    for (status, text, reason, rest_is_taken_but) in table {
        let answer = answer(status, &[], text);
        assert_eq!(verdict(WriteMessage::V1, 1, FIRST, &answer), Verdict::Spoilt(Fate::Rejected(reason)), "{text}");
        let of_several = match rest_is_taken_but {
            None => Verdict::Spoilt(Fate::Rejected(reason)),
            Some(refused) => Verdict::Partly { refused },
        };
        assert_eq!(verdict(WriteMessage::V1, 2, FIRST, &answer), of_several, "{text}");
        let is_assumed = reason == "out_of_order" || reason == "duplicate_timestamp";
        let resent = verdict(WriteMessage::V1, 2, RESEND, &answer);
        let expected = match (is_assumed, rest_is_taken_but) {
            (true, None) => Verdict::Spoilt(Fate::Duplicate("assumed")),
            (true, Some(_)) => Verdict::All(Fate::Duplicate("assumed")),
            (false, _) => of_several,
        };
        assert_eq!(resent, expected, "{text}");
    }
}

#[test]
fn a_receiver_of_2_0_says_what_it_wrote() {
    let [floats, histograms, exemplars] = WRITTEN;
    let judged = |status, headers: &[(&'static str, &'static str)], body| {
        judge(WriteMessage::V2, 2, FIRST, &answer(status, headers, body))
    };
    let all = judged(204, &[(floats, "4"), (histograms, "2")], "");
    assert_eq!(all, Judgement::delivered());
    let more = judged(200, &[(floats, "9"), (histograms, "2"), (exemplars, "0")], "");
    assert_eq!(more, Judgement::delivered(), "zero samples for start times are counted by some");
    let fewer = judged(200, &[(floats, "4")], "");
    assert_eq!(fewer.verdict, Verdict::Partly { refused: 2 });
    assert_eq!(fewer.problem.unwrap().1, "says that it wrote 4 samples of 6 (200)");
    let none = judged(200, &[(floats, "-1"), (exemplars, "0")], "");
    assert_eq!(none.verdict, Verdict::Partly { refused: 6 });

    let partly = judged(400, &[(floats, "3"), (histograms, "2")], "out of order sample for series {__name__=\"a\"}");
    assert_eq!(partly.verdict, Verdict::Partly { refused: 1 });
    assert!(partly.problem.unwrap().1.contains("has newer samples of a series already"));
    let exemplars_alone = judged(400, &[(floats, "4"), (histograms, "2"), (exemplars, "0")], "out of order exemplar");
    assert_eq!(exemplars_alone, Judgement::delivered(), "all samples are there");
    let failed = judged(500, &[(floats, "3")], "");
    assert_eq!(failed.verdict, Verdict::All(Fate::Retry));
    let resent = verdict(WriteMessage::V2, 2, RESEND, &answer(400, &[(floats, "2")], "out of order sample"));
    assert_eq!(
        resent,
        Verdict::All(Fate::Duplicate("assumed")),
        "the newest of each is taken as the one that is there"
    );
}

#[test]
fn what_does_not_speak_2_0_is_spoken_to_in_1_0() {
    let anew = |status, body| {
        let judged = judge(WriteMessage::V2, 2, FIRST, &answer(status, &[], body));
        (judged.verdict == Verdict::Anew, judged.is_maybe_received)
    };
    assert_eq!(anew(415, ""), (true, false));
    assert_eq!(anew(204, ""), (true, true), "it may have understood after all");
    assert_eq!(anew(400, "proto: wrong wireType"), (true, false));
    assert_eq!(anew(400, "out of order sample"), (false, false));
    assert_eq!(anew(404, ""), (false, false));
}

#[test]
fn no_answer_is_a_panic() {
    for text in [
        "add samples: ",
        "add 99999999999999999999 samples: x",
        "add -1 samples: y",
        "add 5 samples: ",
        "ADD 1 SAMPLES",
    ] {
        for status in [100, 199, 204, 302, 400, 409, 422, 429, 499, 500, 599, 999] {
            for message in [WriteMessage::V1, WriteMessage::V2] {
                let _ = verdict(message, 2, RESEND, &answer(status, &[(WRITTEN[0], "18446744073709551615")], text));
            }
        }
    }
}
