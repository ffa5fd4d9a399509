//! What an answer means for each event of a request.
//!
//! Nothing counts as delivered that the collector did not say it has. It reads events in order and stops at the first that
//! it does not take: those before are indexed, that one is refused, and those behind were not looked at. So the one is
//! rejected, and those behind are sent again by themselves; nothing is doubled. What an operator can cure (a token, an
//! index that is not there, a proxy) is retried, and nothing is lost.

use std::time::Duration;

use http::header::LOCATION;

use super::answer::{HecAnswer, read, receipt, words};
use super::layout::Layout;
use crate::net::text::excerpt;
use crate::output::http::retry_after;
use crate::pipeline::{Answer, Encoded, Failure, Fate, Judgement, Next, SenderOptions, Verdict};

/// Rejected: the collector cannot read the event.
const INVALID_DATA: &str = "invalid_data";
/// Rejected: the token may not write to the event's index, or there is none.
const INCORRECT_INDEX: &str = "incorrect_index";
/// Rejected: the collector says that the event is missing, or is empty.
const EVENT_BLANK: &str = "event_blank";
/// Rejected: the collector does not take the event's dimensions or metrics.
const INDEXED_FIELDS: &str = "indexed_fields";
/// Rejected: for a reason that is not known here.
const BAD_EVENT: &str = "bad_event";

/// A body above this that is refused at its first event is halved before anything is rejected: Splunk Cloud refuses what is
/// larger than it takes in just these words. It also bounds what it costs when every event is refused.
const HALVED_BYTES_MIN: usize = 64 << 10;

/// After an answer that warns of a queue near its limit, the collector is left alone for so long, or as it asks.
const SLOW_DOWN: Duration = Duration::from_secs(2);

/// Where a token has no acknowledgement, each attempt is stored: they are rare until somebody has put it right.
const UNACKNOWLEDGED_PAUSE: Duration = SenderOptions::RETRY_AFTER_MAX;

/// Characters of an event, or of an address, that are quoted.
const QUOTED_CHARS_MAX: usize = 300;

/// Says what an answer means. With `is_acknowledging`, what is taken is yet to be confirmed.
pub(super) fn classify(layout: &Layout, is_acknowledging: bool, encoded: &Encoded, answer: &Answer) -> Judgement {
    let status = answer.status.as_u16();
    let said = read(&answer.body);
    match said.as_ref().map(|said| said.code) {
        _ if status == 413 => Judgement {
            verdict: Verdict::TooLarge,
            next: Next::Now,
            ..retry(answer, "too_large", "refuses a request of this size; see max_content_length in its limits.conf")
        },
        Some(code @ (0 | 24 | 25)) if answer.status.is_success() => taken(is_acknowledging, code, answer),
        Some(6 | 7 | 12 | 13 | 15) => match said {
            Some(said) => refused(layout, encoded, answer, &said),
            None => unknown(answer),
        },
        Some(code) => match (explain(code), said) {
            // A collector that says what is wrong has taken nothing, unless it failed in the middle.
            (Some((kind, does)), _) => Judgement { is_maybe_received: code == 8, ..retry(answer, kind, does) },
            // A code that is newer than this: only what it says of one event can be acted on.
            (None, Some(said)) if said.invalid_event.is_some() => refused(layout, encoded, answer, &said),
            (None, _) => unknown(answer),
        },
        None => unknown(answer),
    }
}

fn taken(is_acknowledging: bool, code: u64, answer: &Answer) -> Judgement {
    let next = match code {
        0 => Next::Now,
        _ => Next::After(retry_after(&answer.headers).unwrap_or(SLOW_DOWN)),
    };
    let judgement = Judgement { next, ..Judgement::delivered() };
    match (is_acknowledging, receipt(answer)) {
        (false, _) => judgement,
        (true, Some(receipt)) => Judgement { verdict: Verdict::Accepted(receipt), ..judgement },
        (true, None) => Judgement {
            is_maybe_received: true,
            next: Next::After(UNACKNOWLEDGED_PAUSE),
            ..retry(
                answer,
                "ack",
                "takes requests without acknowledging them, so that they do not count as delivered; enable indexer \
                 acknowledgement for the token, or set ack: false",
            )
        },
    }
}

/// The same for all events, and a sentence: what the receiver does, its status, its own words.
fn retry(answer: &Answer, kind: &'static str, does: &str) -> Judgement {
    Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received: false,
        next: retry_after(&answer.headers).map_or(Next::Backoff, Next::After),
        problem: Some((kind, format!("{does} ({})", words(answer)))),
    }
}

/// What a code means that is about the whole request: a short word, and what the receiver does and what helps.
pub(super) fn explain(code: u64) -> Option<(&'static str, &'static str)> {
    Some(match code {
        1 | 22 => {
            ("token", "refuses the token because it is disabled; enable it in Splunk's settings of the collector")
        }
        2 => ("token", "got no token; look for a proxy that takes the header Authorization away"),
        3 => ("token", "cannot read the header Authorization; write the token alone, as Splunk shows it"),
        4 | 21 => ("token", "does not know the token; correct it"),
        5 => ("empty", "got an empty request; look for a proxy that takes bodies away"),
        8 => ("internal", "failed inside; see splunkd.log there"),
        9 => ("busy", "is busy"),
        10 | 28 => {
            ("channel", "misses the channel; look for a proxy that takes the header X-Splunk-Request-Channel away")
        }
        11 => {
            ("channel", "does not take the channel; look for a proxy that changes the header X-Splunk-Request-Channel")
        }
        14 => ("ack", "has no acknowledgement for this token; enable it for the token, or set ack: false"),
        16 => ("query", "takes no token from the address; look for a proxy that adds a query"),
        17 => ("answer", "answers with its health to a request with events; see urls, and proxies between"),
        18 => ("busy", "is unhealthy: its queues are full"),
        19 => ("busy", "is unhealthy: its acknowledgement service is unavailable"),
        20 => ("busy", "is unhealthy: its queues are full, and its acknowledgement service is unavailable"),
        23 => ("shutdown", "is shutting down"),
        26 => ("busy", "is busy: its queue is full"),
        27 => ("busy", "is busy: it keeps as many acknowledgements of this channel as it can"),
        404 => ("address", "has no collector at this address; see urls"),
        _ => return None,
    })
}

/// Why an answer about acknowledgements has none. Nothing is confirmed by it.
pub(super) fn unacknowledged(answer: &Answer) -> Failure {
    let explained = read(&answer.body).and_then(|said| explain(said.code));
    let (kind, message) = match explained {
        Some((kind, does)) => (kind, format!("{does} ({})", words(answer))),
        None => unknown(answer).problem.unwrap_or_default(),
    };
    Failure { kind, message: format!("asked for acknowledgements, {message}"), is_maybe_received: false }
}

/// What is not a collector's answer, or one that is not known.
fn unknown(answer: &Answer) -> Judgement {
    match answer.status.as_u16() {
        300..=399 => {
            let location = answer.headers.get(LOCATION).map_or(&b"nowhere"[..], |value| value.as_bytes());
            let to = excerpt(location, QUOTED_CHARS_MAX);
            let does = format!("redirects to {to}, which is not followed; write the right address into urls");
            retry(answer, "redirect", &does)
        }
        401 | 403 => {
            retry(answer, "token", "refuses the token, in words that are not a collector's; see proxies between")
        }
        404 | 405 | 407 | 410 | 421 | 426 => {
            retry(answer, "address", "has no collector at this address; see urls, and proxies between")
        }
        429 => retry(answer, "busy", "is busy"),
        408 | 500..=599 => {
            Judgement { is_maybe_received: true, ..retry(answer, "unavailable", "cannot take requests now") }
        }
        200..=299 => Judgement {
            is_maybe_received: true,
            ..retry(answer, "answer", "gives an answer that is not a collector's; see urls, and proxies between")
        },
        _ => retry(
            answer,
            "answer",
            "refuses the request in words that are not known here; see urls, and proxies between",
        ),
    }
}

/// One event is refused; those before it are indexed.
fn refused(layout: &Layout, encoded: &Encoded, answer: &Answer, said: &HecAnswer) -> Judgement {
    let (reason, what) = match said.code {
        6 => (INVALID_DATA, "cannot be read"),
        7 => (INCORRECT_INDEX, "is for an index that is not there, or that the token may not write to"),
        12 | 13 => (EVENT_BLANK, "is said to be empty"),
        15 => (INDEXED_FIELDS, "has dimensions or metrics that are not taken"),
        _ => (BAD_EVENT, "is not taken"),
    };
    let items = encoded.items.len();
    let number = said.invalid_event.map(|number| match said.code {
        // Of a wrong index, the number behind it is given.
        7 => number.saturating_sub(1),
        _ => number,
    });
    let at = match number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)) {
        Some(at) if at < items => at,
        Some(_) => {
            let does = "refuses an event that was not sent; see proxies between";
            return Judgement { is_maybe_received: true, ..retry(answer, "answer", does) };
        }
        None if items == 1 => 0,
        None if said.code == 7 && is_one_index(encoded) => 0,
        // It is among them, and some may be indexed.
        None => return Judgement { is_maybe_received: true, ..halve(answer) },
    };
    if said.code == 7 {
        return wrong_index(layout, encoded, answer, at);
    }
    if at == 0 && items > 1 && encoded.body.len() > HALVED_BYTES_MIN {
        return halve(answer);
    }
    let fate = |item: usize| match item.cmp(&at) {
        std::cmp::Ordering::Less => Fate::Delivered,
        std::cmp::Ordering::Equal => Fate::Rejected(reason),
        std::cmp::Ordering::Greater => Fate::Retry,
    };
    Judgement {
        verdict: Verdict::Each((0..items).map(fate).collect()),
        is_maybe_received: false,
        next: Next::Now,
        problem: Some((reason, sentence(encoded, answer, at, what))),
    }
}

fn halve(answer: &Answer) -> Judgement {
    let does = "refuses a request at its first event: it may be too large, and is halved";
    Judgement { verdict: Verdict::TooLarge, next: Next::Now, ..retry(answer, "too_large", does) }
}

/// Where all go to one index, somebody has to put that right, and they wait. Of several, the others go on without it.
fn wrong_index(layout: &Layout, encoded: &Encoded, answer: &Answer, at: usize) -> Judgement {
    let wrong = encoded.items[at].mark;
    let fate = |(item, mark): (usize, u32)| match mark == wrong && wrong != 0 {
        _ if item < at => Fate::Delivered,
        true => Fate::Rejected(INCORRECT_INDEX),
        false => Fate::Retry,
    };
    let verdict = match (at, wrong) {
        (0, 0) => Verdict::All(Fate::Retry),
        _ => Verdict::Each(encoded.items.iter().map(|item| item.mark).enumerate().map(fate).collect()),
    };
    let name = match layout.index_name(wrong) {
        "" => "the token's default index".to_owned(),
        name => format!("the index \"{name}\""),
    };
    let does = format!("does not take events for {name}: make it, as a metrics index, and allow it for the token");
    let problem = Some(("index", format!("{does} ({})", words(answer))));
    let next = if wrong == 0 { Next::Backoff } else { Next::Now };
    Judgement { verdict, is_maybe_received: false, next, problem }
}

fn is_one_index(encoded: &Encoded) -> bool {
    encoded.items.windows(2).all(|pair| pair[0].mark == pair[1].mark)
}

fn sentence(encoded: &Encoded, answer: &Answer, at: usize, what: &str) -> String {
    let (number, of) = (at + 1, encoded.items.len());
    let event = excerpt(encoded.item(at), QUOTED_CHARS_MAX);
    format!("event {number} of {of} {what} ({}): {event}", words(answer))
}

#[cfg(test)]
mod tests;
