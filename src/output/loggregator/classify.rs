//! What an agent's answer means. An agent takes a batch or does not; it refuses no single envelope, so nothing is lost by what it
//! says but a batch that is too large and cannot be made smaller.

use std::time::Duration;

use crate::net::grpc::{Code, Status};
use crate::pipeline::{Answer, Fate, Judgement, Next, Verdict};

/// After a call, the agent is left alone for so long for each envelope in it: 50,000 a second at most.
const PACE: Duration = Duration::from_micros(20);

/// Says what an answer means for a batch of so many envelopes.
pub(super) fn classify(envelopes: usize, answer: &Answer) -> Judgement {
    let status =
        Status::read_from(&answer.headers).unwrap_or_else(|| Status::new(Code::Unknown, "an answer without a status"));
    let retry = |kind, does: &str| Judgement {
        verdict: Verdict::All(Fate::Retry),
        is_maybe_received: matches!(
            status.code,
            Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted
        ),
        next: Next::Backoff,
        problem: Some((kind, format!("{does} ({status})"))),
    };
    match status.code {
        Code::Ok => {
            let pace = PACE.saturating_mul(u32::try_from(envelopes).unwrap_or(u32::MAX));
            Judgement { next: Next::After(pace), ..Judgement::delivered() }
        }
        Code::ResourceExhausted if is_about_size(&status.message) => Judgement {
            verdict: Verdict::TooLarge,
            next: Next::Now,
            ..retry("too_large", "takes no batch of this size; see max_bytes under batch")
        },
        Code::ResourceExhausted => retry("busy", "has no room now"),
        Code::Unimplemented => retry("unimplemented", "takes no envelopes; is this the gRPC port of an agent?"),
        Code::Unauthenticated | Code::PermissionDenied => retry("refused", "does not let us in"),
        Code::InvalidArgument | Code::Internal => retry("not_understood", "does not understand the batch"),
        Code::Unavailable => retry("unavailable", "is not ready"),
        _ => retry("failed", "does not take the batch"),
    }
}

/// grpc-go says `received message larger than max (N vs. M)`, promferry `a message of N bytes; at most M are taken`.
fn is_about_size(message: &str) -> bool {
    message.contains("larger than max") || message.contains("a message of ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn of(code: Code, message: &str) -> Judgement {
        let mut headers = HeaderMap::new();
        Status::new(code, message).write_to(&mut headers);
        classify(1000, &Answer { status: StatusCode::OK, headers, body: Bytes::new() })
    }

    #[test]
    fn nothing_is_lost_by_what_an_agent_says() {
        let taken = of(Code::Ok, "");
        assert_eq!(taken, Judgement { next: Next::After(Duration::from_millis(20)), ..Judgement::delivered() });
        let large = of(Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)");
        assert_eq!((large.verdict, large.next), (Verdict::TooLarge, Next::Now));
        for code in [Code::ResourceExhausted, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::Unknown] {
            let judged = of(code, "x\n");
            assert_eq!((judged.verdict, judged.next), (Verdict::All(Fate::Retry), Next::Backoff));
            assert!(judged.problem.unwrap().1.ends_with(&format!("({}: \"x\\n\")", code.name())));
        }
        assert!(of(Code::Unavailable, "").is_maybe_received && !of(Code::Unimplemented, "").is_maybe_received);
    }
}
