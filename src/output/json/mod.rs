//! What outputs share that write a JSON object for all samples of one label set and time: which values JSON can say, numbers,
//! text that is escaped once, and the samples of a scrape by the item (document, event) that they become part of.
//!
//! - [`Plans`]: what is known of each target, and for how long.
//! - [`Outline`]: the items of one target, all of their text but time and values.
//! - [`Groups`]: the points of one scrape by item.
//!
//! Leaves out on purpose: what an item looks like, and which series have no place in one. Their outputs know.

mod groups;
mod outline;
mod plans;

use crate::model::Value;
use crate::pipeline::{Reasons, reason};

pub use crate::exposition::json::string;
pub use groups::Groups;
pub use outline::{Group, Outline, Slot, Tag};
pub use plans::Plans;

/// Counts what JSON cannot say.
#[derive(Debug, Default)]
pub struct Skipped {
    nan: u64,
    infinite: u64,
    stale_marker: u64,
    unsupported_type: u64,
}

impl Skipped {
    /// Whether a value can be written; counts it where not.
    pub fn takes(&mut self, value: Value<'_>) -> bool {
        let counter = match value {
            Value::Float(value) if value.is_finite() => return true,
            value if value.is_stale() => &mut self.stale_marker,
            Value::Histogram(_) => &mut self.unsupported_type,
            Value::Float(value) if value.is_nan() => &mut self.nan,
            Value::Float(_) => &mut self.infinite,
        };
        *counter += 1;
        false
    }

    /// The counts that are not zero.
    pub fn into_reasons(self) -> Reasons {
        let all = [
            (reason::NAN, self.nan),
            (reason::INFINITE, self.infinite),
            (reason::STALE_MARKER, self.stale_marker),
            (reason::UNSUPPORTED_TYPE, self.unsupported_type),
        ];
        all.into_iter().filter(|(_, samples)| *samples > 0).collect()
    }
}

/// Appends a finite float so that it reads back as the same one; a whole number has neither point nor exponent.
pub fn number(out: &mut Vec<u8>, value: f64) {
    match whole(value) {
        Some(whole) => out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes()),
        None => out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
    }
}

/// Appends a finite float so that it reads back as the same one, always with a point or an exponent.
pub fn number_with_point(out: &mut Vec<u8>, value: f64) {
    match whole(value) {
        Some(whole) => {
            out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
            out.extend_from_slice(b".0");
        }
        None => number(out, value),
    }
}

/// A whole number, the usual case. Up to 2^53 they convert exactly; a negative zero must keep its sign.
#[inline]
fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    let is_whole = whole as f64 == value && whole.unsigned_abs() <= 1 << 53 && (whole != 0 || value.is_sign_positive());
    is_whole.then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_they_were() {
        let exact =
            [0.0, -0.0, 1.0, -7.0, 0.1, 1e16, 9_007_199_254_740_993.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.5e-7];
        for value in exact {
            for (write, has_point) in [(number as fn(&mut Vec<u8>, f64), false), (number_with_point, true)] {
                let mut out = Vec::new();
                write(&mut out, value);
                let text = String::from_utf8(out).unwrap();
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
                assert!(text.contains(['.', 'e']) || !has_point, "{text}");
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }
        }
        let mut out = Vec::new();
        number(&mut out, -7.0);
        out.push(b' ');
        number_with_point(&mut out, -7.0);
        assert_eq!(out, b"-7 -7.0");
    }
}
