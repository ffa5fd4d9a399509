//! Reads why a receiver refuses samples.
//!
//! The specification gives receivers no words for it. These are those of Prometheus (storage/interface.go), Mimir
//! (pkg/util/globalerror), Cortex (pkg/ingester) and Thanos (pkg/receive/writer.go); what is worded otherwise is refused for a
//! reason that is not known. What is read here decides how samples are counted, and nothing else.

use crate::pipeline::Answer;

/// Bytes of an answer that are looked at.
const LOOKED_AT_BYTES_MAX: usize = 64 << 10;

/// Why samples are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The receiver has a newer sample of the series.
    OutOfOrder,
    /// It has another value of the series at this time.
    Duplicate,
    /// Too old, or too far in the future.
    OutOfBounds,
    /// Labels, limits, or whatever else.
    Unknown,
}

impl Cause {
    /// The ledger's word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::Duplicate => "duplicate_timestamp",
            Self::OutOfBounds => "out_of_bounds",
            Self::Unknown => super::classify::REFUSED,
        }
    }

    /// What the receiver does, and what helps.
    pub fn explain(self) -> &'static str {
        match self {
            Self::OutOfOrder => {
                "has newer samples of a series already; does something else write the same series? Labels of its own, as under \
                 external_labels, tell them apart"
            }
            Self::Duplicate => {
                "has another value of a series for the same time; does something else write the same series? Labels of its own, as \
                 under external_labels, tell them apart"
            }
            Self::OutOfBounds => "takes no samples that are so old, or so far in the future; are the clocks right?",
            Self::Unknown => "refuses samples",
        }
    }
}

/// A receiver's "no" to samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub cause: Cause,
    /// Whether the samples that it has nothing against are taken.
    pub rest_is_taken: bool,
    /// How many it refuses, where it says so; 0 where it does not.
    pub samples: u64,
}

impl Refusal {
    /// Reads an answer.
    pub fn read(answer: &Answer) -> Self {
        let looked_at = &answer.body[..answer.body.len().min(LOOKED_AT_BYTES_MAX)];
        let text = String::from_utf8_lossy(looked_at).to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let cause = if has(&["out of order exemplar"]) && !has(&["out of order sample"]) {
            Cause::Unknown
        } else if has(&["duplicate sample", "sample-duplicate-timestamp", "repeated timestamp"]) {
            Cause::Duplicate
        } else if has(&["too old", "too-old", "out of bounds", "too far in the", "too-far-in-"]) {
            Cause::OutOfBounds
        } else if has(&["out of order", "out-of-order"]) {
            Cause::OutOfOrder
        } else {
            Cause::Unknown
        };
        // Mimir, Cortex and Thanos, in this order.
        let rest_is_taken =
            has(&["err-mimir-"]) || has(&["user="]) && has(&["series="]) || answer.status.as_u16() == 409;
        Self { cause, rest_is_taken, samples: counted(&text) }
    }
}

/// The sum of what stands in each `add N samples: CAUSE`, as Thanos says it, once for each of its replicas.
fn counted(text: &str) -> u64 {
    let mut counted: Vec<(u64, &str)> = Vec::new();
    for rest in text.split("add ").skip(1) {
        let Some((number, rest)) = rest.split_once(" samples: ") else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        let cause = rest.split([';', ':', '\n']).next().unwrap_or_default().trim();
        if !counted.contains(&(number.into(), cause)) {
            counted.push((number.into(), cause));
        }
    }
    counted.iter().map(|(number, _)| number).sum()
}
