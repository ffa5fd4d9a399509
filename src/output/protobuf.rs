//! Protobuf's wire format, written straight into a body: what encoders of several outputs share.
//!
//! Messages on the hot path are written by hand, from the labels as they are: making a value of each message first would cost
//! more than the writing. What is read, or written rarely, goes through `prost`.

use prost::encoding::{WireType, encode_key, encode_varint};

/// A field of bytes, or a text. One that is empty is left out, as protobuf wants it of a field that is not in a list.
pub(super) fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        listed_bytes(out, number, bytes);
    }
}

/// An entry of a list of bytes, or of texts: also one that is empty.
pub(super) fn listed_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number without a sign, or one of 64 bits as protobuf's `int64` has it, whose negative numbers are large ones. A zero is left
/// out.
pub(super) fn varint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        encode_key(number, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// A `sint32` or `sint64`. A zero is left out.
pub(super) fn zigzag(out: &mut Vec<u8>, number: u32, value: i64) {
    varint(out, number, ((value << 1) ^ (value >> 63)) as u64);
}

/// A `fixed64`, `sfixed64` or, by its bits, a `double`: also a zero.
pub(super) fn fixed64(out: &mut Vec<u8>, number: u32, bits: u64) {
    encode_key(number, WireType::SixtyFourBit, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// A field that is a message.
pub(super) fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(number, WireType::LengthDelimited, out);
    // Room for a length below 128, as most are; a longer one moves what was written.
    let start = out.len() + 1;
    out.push(0);
    write(out);
    let len = out.len() - start;
    if len < 128 {
        out[start - 1] = len as u8;
    } else {
        let mut length = Vec::with_capacity(10);
        encode_varint(len as u64, &mut length);
        out.splice(start - 1..start, length);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Inner {
        #[prost(string, repeated, tag = "1")]
        texts: Vec<String>,
        #[prost(sint32, tag = "2")]
        offset: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Outer {
        #[prost(message, repeated, tag = "1")]
        inner: Vec<Inner>,
        #[prost(int64, tag = "2")]
        at_ms: i64,
        #[prost(double, tag = "3")]
        value: f64,
        #[prost(bytes = "vec", tag = "17")]
        id: Vec<u8>,
    }

    #[test]
    fn what_is_written_is_read_by_prost() {
        for texts in [vec![String::new(), "a".to_owned()], vec!["long".repeat(40)], vec!["longer".repeat(4000)]] {
            for (offset, at_ms) in [(0, 0), (-7, -1), (i32::MIN, i64::MIN), (i32::MAX, 1 << 50)] {
                let inner = Inner { texts: texts.clone(), offset };
                let meant = Outer { inner: vec![inner; 2], at_ms, value: 1.5, id: vec![0; 3] };
                let mut out = Vec::new();
                for inner in &meant.inner {
                    nested(&mut out, 1, |out| {
                        inner.texts.iter().for_each(|text| listed_bytes(out, 1, text.as_bytes()));
                        zigzag(out, 2, inner.offset.into());
                    });
                }
                varint(&mut out, 2, at_ms as u64);
                fixed64(&mut out, 3, meant.value.to_bits());
                bytes(&mut out, 17, &meant.id);
                bytes(&mut out, 16, b"");
                assert_eq!(Outer::decode(&*out).unwrap(), meant);
                assert_eq!(out, meant.encode_to_vec());
            }
        }
    }
}
