//! What a receiver's answer means.
//!
//! The specification decides what is tried again: 429 and 5xx, and nothing else of what is refused. Prometheus takes all of a 1.0
//! request or nothing, so one bad series is looked for by dividing. Mimir, Cortex and Thanos take what they can of it, and with
//! 2.0 all receivers do, and say how much.

use http::HeaderMap;

use super::encode::{VERSION, mark};
use super::refusal::{Cause, Refusal};
use crate::config::checked::WriteMessage;
use crate::net::text::excerpt;
use crate::output::http::next;
use crate::pipeline::{Answer, Attempt, Encoded, Fate, Judgement, Next, Verdict};

/// Duplicate: an attempt before this one may have been taken, and now the receiver says that it has something as new.
const ASSUMED: &str = "assumed";
/// Rejected: credentials are missing or wrong.
const UNAUTHORIZED: &str = "unauthorized";
/// Rejected: the credentials are not allowed to write.
const FORBIDDEN: &str = "forbidden";
/// Rejected: nothing takes remote write at this address.
const NOT_FOUND: &str = "not_found";
/// Rejected: the receiver takes neither message.
const UNSUPPORTED_MESSAGE: &str = "unsupported_message";
/// Rejected: for a reason that is not known here.
pub(super) const REFUSED: &str = "refused";

/// Characters of a receiver's words that are passed on.
const QUOTED_CHARS_MAX: usize = 500;

/// The message that a request is.
fn message(encoded: &Encoded) -> WriteMessage {
    match encoded.headers.get(VERSION).map(|version| version.as_bytes()) {
        Some(b"2.0.0") => WriteMessage::V2,
        _ => WriteMessage::V1,
    }
}

/// Says what an answer means for the samples of a request.
pub(super) fn classify(encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
    let message = message(encoded);
    let status = answer.status.as_u16();
    match status {
        200..300 => taken(message, encoded, answer),
        429 => retry(answer, "busy", "asks for patience"),
        500.. => failing(answer),
        413 => Judgement {
            verdict: Verdict::TooLarge,
            next: Next::Now,
            ..retry(answer, "too_large", "refuses a request of this size; see max_bytes under batch")
        },
        415 if message == WriteMessage::V2 => anew(answer, false),
        400 | 409 | 422 => refused(message, encoded, attempt, answer),
        300..400 => retry(answer, "redirect", "leads elsewhere; write the address that is meant as \"url\""),
        _ => {
            let (reason, does) = explain(status);
            Judgement { verdict: Verdict::All(Fate::Rejected(reason)), next: Next::Now, ..retry(answer, reason, does) }
        }
    }
}

/// Of a status that is about the whole request, what the receiver does and what helps.
pub(super) fn explain(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => (UNAUTHORIZED, "does not know us; see basic_auth and authorization"),
        403 => {
            (FORBIDDEN, "does not allow us to write; see basic_auth, authorization and what they are good for there")
        }
        404 => (
            NOT_FOUND,
            "has nothing that takes remote write at this address: a Prometheus wants --web.enable-remote-write-receiver, and \
             its path is /api/v1/write",
        ),
        405 => (NOT_FOUND, "takes no POST at this address; see the path of url"),
        415 => (UNSUPPORTED_MESSAGE, "does not take this message; see protobuf_message"),
        _ => (REFUSED, "refuses requests"),
    }
}

fn taken(message: WriteMessage, encoded: &Encoded, answer: &Answer) -> Judgement {
    if message == WriteMessage::V1 {
        return Judgement::delivered();
    }
    let Some(written) = Counts::written(&answer.headers) else { return anew(answer, true) };
    let sent = Counts::sent(encoded);
    match written.missing_of(sent) {
        0 => Judgement::delivered(),
        refused => {
            partly(answer, refused, &format!("says that it wrote {} samples of {}", sent.all() - refused, sent.all()))
        }
    }
}

/// A receiver that does not say what it wrote has read the message of 2.0 as an empty one of 1.0; should it have understood all
/// the same, what comes now is a resend. (Remote-Write 2.0, "Required Written Response Headers".)
fn anew(answer: &Answer, is_maybe_received: bool) -> Judgement {
    Judgement {
        verdict: Verdict::Anew,
        is_maybe_received,
        next: Next::Now,
        ..retry(answer, "v1_only", "does not take the message of remote write 2.0")
    }
}

fn partly(answer: &Answer, refused: u64, does: &str) -> Judgement {
    Judgement { verdict: Verdict::Partly { refused }, next: Next::Now, ..retry(answer, "partly", does) }
}

fn failing(answer: &Answer) -> Judgement {
    let does = match answer.body.windows(NO_HISTOGRAMS.len()).any(|part| part == NO_HISTOGRAMS) {
        true => "takes no native histograms: see its feature flags, or set send_native_histograms: false",
        false => "fails",
    };
    // Of several stores or replicas, some may have it.
    Judgement { is_maybe_received: true, ..retry(answer, "failing", does) }
}

/// What a Prometheus before 3.0 says with a 500.
const NO_HISTOGRAMS: &[u8] = b"native histograms are disabled";

fn refused(message: WriteMessage, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
    let refusal = Refusal::read(answer);
    let judge = |verdict| Judgement {
        verdict,
        next: Next::Now,
        ..retry(answer, refusal.cause.reason(), refusal.cause.explain())
    };
    let is_old = matches!(refusal.cause, Cause::OutOfOrder | Cause::Duplicate);
    if attempt.is_maybe_resend && is_old {
        let assumed = Fate::Duplicate(ASSUMED);
        // Prometheus takes nothing of such a request: what was not stored before must not go with what it has.
        let is_nothing_taken = message == WriteMessage::V1 && !refusal.rest_is_taken;
        return judge(if is_nothing_taken { Verdict::Spoilt(assumed) } else { Verdict::All(assumed) });
    }
    match (message, Counts::written(&answer.headers)) {
        (WriteMessage::V2, Some(written)) => {
            match written.missing_of(Counts::sent(encoded)) {
                // It has something against exemplars.
                0 => Judgement::delivered(),
                refused => judge(Verdict::Partly { refused }),
            }
        }
        // A receiver of 1.0 alone may say that it cannot read it.
        (WriteMessage::V2, None) if refusal.cause == Cause::Unknown => anew(answer, false),
        _ => {
            // Sent again, a series' newest sample is taken as the one that is there; those before it are out of order.
            let is_harmless = encoded.items.iter().all(|item| item.samples <= 1);
            match refusal.rest_is_taken && !is_harmless {
                true => judge(Verdict::Partly { refused: refusal.samples.max(1) }),
                false => judge(Verdict::Spoilt(Fate::Rejected(refusal.cause.reason()))),
            }
        }
    }
}

/// The same for all samples, and a sentence: what the receiver does, its status, its own words.
fn retry(answer: &Answer, kind: &'static str, does: &str) -> Judgement {
    Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received: false,
        next: next(&answer.headers),
        problem: Some((kind, format!("{does} ({})", words(answer)))),
    }
}

/// `400: out of order sample`.
pub(super) fn words(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let start = &answer.body[..answer.body.len().min(4 * QUOTED_CHARS_MAX)];
    let text = excerpt(start, QUOTED_CHARS_MAX);
    if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
}

/// How many samples of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    floats: u64,
    histograms: u64,
}

impl Counts {
    /// In a request.
    fn sent(encoded: &Encoded) -> Self {
        let of = |mark| encoded.items.iter().filter(|item| item.mark == mark).map(|item| u64::from(item.samples)).sum();
        Self { floats: of(mark::FLOATS), histograms: of(mark::HISTOGRAMS) }
    }

    /// That a receiver says it wrote; `None` where it says nothing of the kind. One that says something, and not this, wrote none.
    fn written(headers: &HeaderMap) -> Option<Self> {
        let number = |kind: &str| -> Option<u64> {
            headers.get(format!("x-prometheus-remote-write-{kind}-written"))?.to_str().ok()?.trim().parse().ok()
        };
        let [floats, histograms, exemplars] = ["samples", "histograms", "exemplars"].map(number);
        let is_said = floats.is_some() || histograms.is_some() || exemplars.is_some();
        is_said.then(|| Self { floats: floats.unwrap_or(0), histograms: histograms.unwrap_or(0) })
    }

    fn all(self) -> u64 {
        self.floats + self.histograms
    }

    /// How many of those that were sent are not among these.
    fn missing_of(self, sent: Self) -> u64 {
        sent.floats.saturating_sub(self.floats) + sent.histograms.saturating_sub(self.histograms)
    }
}

#[cfg(test)]
mod tests;
