//! What an answer means. (opentelemetry-proto, docs/specification.md: "OTLP/gRPC Response", "OTLP/HTTP Response".)
//!
//! What the specification says is to be tried again is, and nothing else: all other answers refuse a request for good. The one
//! exception is a request that is too large, which is divided.

use http::header::LOCATION;

use super::answer::{Taken, is_page, retry_delay, taken, words};
use crate::net::grpc::{Code, Status};
use crate::net::text::excerpt;
use crate::output::http::next;
use crate::pipeline::{Answer, Encoded, Fate, Judgement, Next, Verdict};

/// Rejected: the receiver cannot read it, or takes no such data.
const BAD_DATA: &str = "bad_data";
/// Rejected: the credentials are not taken.
const UNAUTHORIZED: &str = "unauthorized";
/// Rejected: there is no such service at this address.
const NO_SERVICE: &str = "no_service";
/// Rejected: the receiver has no room, and does not say when it will have some.
const EXHAUSTED: &str = "exhausted";
/// Rejected: the receiver failed in a way that is not to be tried again.
const RECEIVER_FAILED: &str = "receiver_failed";

/// Characters of an address that are quoted.
const QUOTED_CHARS_MAX: usize = 100;

/// Says what an answer over HTTP means.
pub(super) fn http(encoded: &Encoded, answer: &Answer) -> Judgement {
    let retry = |kind, is_maybe_received, does: &str| Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received,
        next: next(&answer.headers),
        problem: Some((kind, format!("{does} ({})", words(answer)))),
    };
    let refused = |reason, does: &str| refused(reason, format!("{does} ({})", words(answer)));
    match answer.status.as_u16() {
        200..=299 if is_page(&answer.headers) => {
            retry("answer", true, "answers with a page, as no receiver does; see urls, and proxies between")
        }
        200..=299 => delivered(encoded, &taken(answer)),
        300..=399 => {
            let location = answer.headers.get(LOCATION).map_or(&b"nowhere"[..], |value| value.as_bytes());
            let to = excerpt(location, QUOTED_CHARS_MAX);
            let does = format!("redirects to {to}, which is not followed; write the right address into urls");
            retry("redirect", false, &does)
        }
        413 => too_large(format!("takes no request of this size; see max_bytes under batch ({})", words(answer))),
        429 => retry("busy", false, "is busy"),
        502..=504 => retry("unavailable", true, "cannot take requests now"),
        401 | 403 | 407 => refused(UNAUTHORIZED, "does not let us in; see basic_auth, authorization and headers"),
        404 | 405 | 415 | 501 => {
            refused(NO_SERVICE, "takes no OTLP metrics at this address; see urls, path and protocol")
        }
        400..=499 => refused(BAD_DATA, "refuses the request"),
        _ => refused(RECEIVER_FAILED, "failed, and is not to be asked again"),
    }
}

/// Says what an answer over gRPC means.
pub(super) fn grpc(encoded: &Encoded, answer: &Answer) -> Judgement {
    let status =
        Status::read_from(&answer.headers).unwrap_or_else(|| Status::new(Code::Unknown, "an answer without a status"));
    let delay = retry_delay(&answer.headers);
    let retry = |kind, is_maybe_received, does: &str| Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received,
        next: delay.filter(|delay| !delay.is_zero()).map_or(Next::Backoff, Next::After),
        problem: Some((kind, format!("{does} ({status})"))),
    };
    let refused = |reason, does: &str| refused(reason, format!("{does} ({status})"));
    match status.code {
        Code::Ok => delivered(encoded, &taken(answer)),
        Code::ResourceExhausted | Code::OutOfRange if is_about_size(&status.message) => {
            too_large(format!("takes no request of this size; see max_bytes under batch ({status})"))
        }
        Code::ResourceExhausted if delay.is_some() => retry("busy", false, "is busy"),
        Code::ResourceExhausted => refused(EXHAUSTED, "has no room, and does not say when it will have some"),
        Code::Unavailable => retry("unavailable", true, "cannot take requests now"),
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::DataLoss => {
            retry("failed", true, "did not finish")
        }
        Code::OutOfRange => retry("failed", false, "does not take the request now"),
        Code::Unauthenticated | Code::PermissionDenied => {
            refused(UNAUTHORIZED, "does not let us in; see basic_auth, authorization and headers")
        }
        Code::Unimplemented if is_about_compression(&status.message) => {
            refused(NO_SERVICE, "does not read compressed requests; write compression: none")
        }
        Code::Unimplemented | Code::NotFound => {
            refused(NO_SERVICE, "takes no OTLP metrics at this address; see urls and protocol")
        }
        Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition => {
            refused(BAD_DATA, "refuses the request")
        }
        Code::Unknown | Code::Internal => refused(RECEIVER_FAILED, "failed, and is not to be asked again"),
    }
}

fn refused(reason: &'static str, message: String) -> Judgement {
    Judgement {
        verdict: Verdict::All(Fate::Rejected(reason)),
        is_maybe_received: false,
        next: Next::Now,
        problem: Some((reason, message)),
    }
}

fn too_large(message: String) -> Judgement {
    Judgement {
        verdict: Verdict::TooLarge,
        is_maybe_received: false,
        next: Next::Now,
        problem: Some(("too_large", message)),
    }
}

/// The receiver counts data points, and the ledger samples: as many hundredths of the samples are refused as of the points,
/// rounded up.
fn delivered(encoded: &Encoded, taken: &Taken) -> Judgement {
    if taken.rejected == 0 {
        return Judgement::delivered();
    }
    let points: u64 = encoded.items.iter().map(|item| u64::from(item.mark)).sum();
    let rejected = taken.rejected.min(points);
    let refused = (u128::from(rejected) * u128::from(encoded.samples())).div_ceil(u128::from(points.max(1)));
    let why = if taken.message.is_empty() { "it does not say why" } else { &taken.message };
    let message = format!("refuses {rejected} of {points} data points: {why}");
    Judgement {
        verdict: Verdict::Partly { refused: u64::try_from(refused).unwrap_or(u64::MAX) },
        problem: Some(("partial_success", message)),
        ..Judgement::delivered()
    }
}

/// In the words of gRPC's servers: grpc-go and grpc's core say `larger than max`, Java `exceeds maximum size`, .NET `exceeds the
/// maximum`, tonic `length too large`, and promferry `a message of N bytes; at most M are taken`.
fn is_about_size(message: &str) -> bool {
    ["larger than max", "exceeds maximum", "exceeds the maximum", "length too large", "a message of "]
        .iter()
        .any(|words| message.contains(words))
}

/// grpc-go says `Decompressor is not installed for grpc-encoding "gzip"`, others speak of `encoding` or `compression`.
fn is_about_compression(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["compress", "encoding"].iter().any(|word| message.contains(word))
}

/// Whether an answer says that a request was taken.
pub(super) fn is_success(is_grpc: bool, answer: &Answer) -> bool {
    match is_grpc {
        true => Status::read_from(&answer.headers).is_some_and(|status| status.code == Code::Ok),
        false => answer.status.is_success(),
    }
}

#[cfg(test)]
mod tests;
