//! The messages of `loggregator.v2`, as far as metrics need them.
//!
//! Maps are lists of entries here, which is the same on the wire: nothing is hashed that is read once. Where a key comes
//! twice the last one counts. Logs and events are skipped and not read.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What came from a source at one time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// When, in nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// Where from; the tag `origin` where it is empty.
    #[prost(string, tag = "2")]
    pub source_id: String,
    /// Which instance of the source.
    #[prost(string, tag = "8")]
    pub instance_id: String,
    /// Tags of old clients. They win over [`tags`](Self::tags).
    #[prost(message, repeated, tag = "3")]
    pub deprecated_tags: Vec<DeprecatedTag>,
    /// What describes it.
    #[prost(message, repeated, tag = "9")]
    pub tags: Vec<Tag>,
    /// What it says.
    #[prost(oneof = "Message", tags = "4, 5, 6, 7, 10")]
    pub message: Option<Message>,
}

/// An entry of a map of texts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tag {
    /// The key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An entry of a map of values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeprecatedTag {
    /// The key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// A text or a number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Which of them.
    #[prost(oneof = "value::Data", tags = "1, 2, 3")]
    pub data: Option<value::Data>,
}

/// What a [`Value`] may be.
pub mod value {
    /// A text or a number.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        /// A text.
        #[prost(string, tag = "1")]
        Text(String),
        /// A whole number.
        #[prost(int64, tag = "2")]
        Integer(i64),
        /// A number.
        #[prost(double, tag = "3")]
        Decimal(f64),
    }
}

/// What an envelope says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Message {
    /// A line of a log.
    #[prost(message, tag = "4")]
    Log(Nothing),
    /// A counter.
    #[prost(message, tag = "5")]
    Counter(Counter),
    /// Gauges.
    #[prost(message, tag = "6")]
    Gauge(Gauge),
    /// How long something took.
    #[prost(message, tag = "7")]
    Timer(Timer),
    /// Something happened.
    #[prost(message, tag = "10")]
    Event(Nothing),
}

/// A message whose fields are skipped.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Nothing {}

/// A counter: what was added, or all of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Counter {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Since the last envelope.
    #[prost(uint64, tag = "2")]
    pub delta: u64,
    /// Since the source began.
    #[prost(uint64, tag = "3")]
    pub total: u64,
}

/// Values that go up and down.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Gauge {
    /// By name.
    #[prost(message, repeated, tag = "1")]
    pub metrics: Vec<GaugeEntry>,
}

/// An entry of a map of gauges.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GaugeEntry {
    /// The gauge's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value; all zero where it is absent.
    #[prost(message, optional, tag = "2")]
    pub value: Option<GaugeValue>,
}

/// A value with its unit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GaugeValue {
    /// The unit, in any words.
    #[prost(string, tag = "1")]
    pub unit: String,
    /// The value.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// From when to when something took.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timer {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "2")]
    pub start: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "3")]
    pub stop: i64,
}

/// The number of the envelopes in an `EnvelopeBatch`.
const BATCH: u32 = 1;

/// The envelopes of an `EnvelopeBatch`, each as it came: a batch takes no more memory than its bytes, whatever it holds.
/// `None` where it is none.
pub(super) fn envelopes(batch: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut rest = batch;
    while !rest.is_empty() {
        next_envelope(&mut rest)?;
    }
    let mut rest = batch;
    Some(std::iter::from_fn(move || {
        while !rest.is_empty() {
            // That all of it can be read is known by now.
            if let Some(envelope) = next_envelope(&mut rest)? {
                return Some(envelope);
            }
        }
        None
    }))
}

/// The next field, where it is an envelope; others are skipped, as protobuf wants it.
fn next_envelope<'b>(rest: &mut &'b [u8]) -> Option<Option<&'b [u8]>> {
    let (number, wire_type) = decode_key(rest).ok()?;
    if (number, wire_type) != (BATCH, WireType::LengthDelimited) {
        return skip_field(wire_type, number, rest, DecodeContext::default()).ok().map(|()| None);
    }
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (envelope, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(Some(envelope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_into_envelopes_or_refused_as_a_whole() {
        let cut = |batch: &'static [u8]| envelopes(batch).map(|envelopes| envelopes.collect::<Vec<_>>());
        assert_eq!(cut(b""), Some(vec![]));
        assert_eq!(cut(b"\x0a\x02ab\x0a\x00\x10\x07\x0a\x01c"), Some(vec![&b"ab"[..], b"", b"c"]));
        assert_eq!(cut(b"\x0a\x02ab\x0a\x02c"), None, "cut short");
        assert_eq!(cut(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a"), None, "longer than anything");
        assert_eq!(cut(b"not protobuf"), None);
    }
}
