//! The two encodings of OTLP's messages, protobuf and JSON, behind one set of words, so that what is said is written once.
//!
//! Protobuf is proto3's wire format. JSON is proto3's mapping with OTLP's deviations: names are in lowerCamelCase, enumerations
//! are numbers, identifiers of traces are hexadecimal; 64-bit integers are text, and so are NaN and the infinities.
//! (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding".)
//!
//! The length of a message stands before it and is known behind it: room for it is left, of a size that nearly always fits, and
//! a length that needs less of it is padded, which the format allows. Else what was written would be moved once a level.

use prost::encoding::{WireType, encode_varint};

use crate::output::json;
use crate::output::protobuf;

/// A field of a message: its number in protobuf, and its name in JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub number: u32,
    pub name: &'static str,
}

/// Makes a field.
pub(super) const fn field(number: u32, name: &'static str) -> Field {
    Field { number, name }
}

/// How large a message is expected to be: how much room is left for its length.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// Below 128 bytes.
    Tiny,
    /// Below 16 KiB.
    Small,
    /// Below 256 MiB.
    Large,
}

impl Size {
    const fn room(self) -> usize {
        match self {
            Self::Tiny => 1,
            Self::Small => 2,
            Self::Large => 4,
        }
    }
}

/// An encoding. Each function appends to the message in hand.
pub(super) trait Wire {
    /// A text that is not empty.
    fn text(out: &mut Vec<u8>, field: Field, text: &str);
    /// A `fixed64` or `int64` that is not negative.
    fn fixed64(out: &mut Vec<u8>, field: Field, value: u64);
    /// A `double`.
    fn double(out: &mut Vec<u8>, field: Field, value: f64);
    /// An `int64`, as in a value of any type.
    fn int(out: &mut Vec<u8>, field: Field, value: i64);
    /// A `uint32`, or an enumeration.
    fn number(out: &mut Vec<u8>, field: Field, value: u32);
    /// A `sint32`.
    fn signed(out: &mut Vec<u8>, field: Field, value: i32);
    /// A `bool` that is true.
    fn yes(out: &mut Vec<u8>, field: Field);
    /// The identifier of a trace or a span.
    fn id(out: &mut Vec<u8>, field: Field, id: &[u8]);
    /// A list of `fixed64` that is not empty.
    fn fixed64s(out: &mut Vec<u8>, field: Field, values: &[u64]);
    /// A list of `uint64` that is not empty.
    fn uint64s(out: &mut Vec<u8>, field: Field, values: &[u64]);
    /// A list of `double` that is not empty.
    fn doubles(out: &mut Vec<u8>, field: Field, values: &[f64]);
    /// A message.
    fn message<T>(out: &mut Vec<u8>, field: Field, size: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T;
    /// A list of messages, each of which is an [`entry`](Self::entry) of the same field.
    fn list<T>(out: &mut Vec<u8>, field: Field, write: impl FnOnce(&mut Vec<u8>) -> T) -> T;
    /// A message of a list.
    fn entry<T>(out: &mut Vec<u8>, field: Field, size: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T;
    /// A message of a list, as it was written before by [`fragment`](Self::fragment).
    fn written(out: &mut Vec<u8>, field: Field, fragment: &[u8]);
    /// What a message holds, for [`written`](Self::written).
    fn fragment(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>));
}

/// Protobuf.
#[derive(Debug)]
pub(super) struct Proto;

impl Proto {
    /// The first byte of a field: all of OTLP's have numbers below 16.
    const fn key(field: Field, kind: WireType) -> u8 {
        (field.number << 3) as u8 | kind as u8
    }

    #[inline]
    fn bytes(out: &mut Vec<u8>, field: Field, bytes: &[u8]) {
        Self::head(out, field, bytes.len());
        out.extend_from_slice(bytes);
    }

    /// What stands before so many bytes.
    #[inline]
    fn head(out: &mut Vec<u8>, field: Field, len: usize) {
        let key = Self::key(field, WireType::LengthDelimited);
        match u8::try_from(len) {
            Ok(short @ ..0x80) => out.extend_from_slice(&[key, short]),
            _ => {
                out.push(key);
                encode_varint(len as u64, out);
            }
        }
    }

    #[inline]
    fn bits(out: &mut Vec<u8>, field: Field, bits: u64) {
        let mut written = [Self::key(field, WireType::SixtyFourBit); 9];
        written[1..].copy_from_slice(&bits.to_le_bytes());
        out.extend_from_slice(&written);
    }
}

impl Wire for Proto {
    fn text(out: &mut Vec<u8>, field: Field, text: &str) {
        if !text.is_empty() {
            Self::bytes(out, field, text.as_bytes());
        }
    }

    #[inline]
    fn fixed64(out: &mut Vec<u8>, field: Field, value: u64) {
        Self::bits(out, field, value);
    }

    #[inline]
    fn double(out: &mut Vec<u8>, field: Field, value: f64) {
        Self::bits(out, field, value.to_bits());
    }

    fn int(out: &mut Vec<u8>, field: Field, value: i64) {
        out.push(Self::key(field, WireType::Varint));
        encode_varint(value as u64, out);
    }

    fn number(out: &mut Vec<u8>, field: Field, value: u32) {
        protobuf::varint(out, field.number, u64::from(value));
    }

    fn signed(out: &mut Vec<u8>, field: Field, value: i32) {
        protobuf::zigzag(out, field.number, i64::from(value));
    }

    fn yes(out: &mut Vec<u8>, field: Field) {
        protobuf::varint(out, field.number, 1);
    }

    fn id(out: &mut Vec<u8>, field: Field, id: &[u8]) {
        Self::bytes(out, field, id);
    }

    fn fixed64s(out: &mut Vec<u8>, field: Field, values: &[u64]) {
        Self::head(out, field, 8 * values.len());
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }

    fn uint64s(out: &mut Vec<u8>, field: Field, values: &[u64]) {
        Self::message(out, field, Size::Small, |out| values.iter().for_each(|value| encode_varint(*value, out)));
    }

    fn doubles(out: &mut Vec<u8>, field: Field, values: &[f64]) {
        Self::head(out, field, 8 * values.len());
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }

    #[inline]
    fn message<T>(out: &mut Vec<u8>, field: Field, size: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let room = size.room();
        out.extend_from_slice(&[Self::key(field, WireType::LengthDelimited), 0, 0, 0, 0][..=room]);
        let place = out.len() - room;
        let written = write(out);
        let mut len = out.len() - place - room;
        if len >> (7 * room) == 0 {
            // Of all bytes but the last, the highest bit says that there are more.
            for (at, byte) in out[place..place + room].iter_mut().enumerate() {
                *byte = (len & 0x7f) as u8 | if at + 1 < room { 0x80 } else { 0 };
                len >>= 7;
            }
        } else {
            let mut length = Vec::with_capacity(10);
            encode_varint(len as u64, &mut length);
            out.splice(place..place + room, length);
        }
        written
    }

    fn list<T>(out: &mut Vec<u8>, _: Field, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(out)
    }

    #[inline]
    fn entry<T>(out: &mut Vec<u8>, field: Field, size: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        Self::message(out, field, size, write)
    }

    #[inline]
    fn written(out: &mut Vec<u8>, field: Field, fragment: &[u8]) {
        Self::bytes(out, field, fragment);
    }

    fn fragment(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        write(out);
    }
}

/// JSON. A comma stands behind each member, and is taken off again behind the last one.
#[derive(Debug)]
pub(super) struct Json;

impl Json {
    fn name(out: &mut Vec<u8>, field: Field) {
        out.push(b'"');
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b"\":");
    }

    fn float(out: &mut Vec<u8>, value: f64) {
        match value {
            _ if value.is_finite() => json::number(out, value),
            _ if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
            _ if value > 0.0 => out.extend_from_slice(b"\"Infinity\""),
            _ => out.extend_from_slice(b"\"-Infinity\""),
        }
    }

    fn quoted(out: &mut Vec<u8>, value: impl itoa::Integer) {
        out.push(b'"');
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b'"');
    }

    fn closed<T>(out: &mut Vec<u8>, [open, close]: [u8; 2], write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        out.push(open);
        let written = write(out);
        out.pop_if(|last| *last == b',');
        out.extend_from_slice(&[close, b',']);
        written
    }

    fn array<T: Copy>(out: &mut Vec<u8>, field: Field, values: &[T], one: impl Fn(&mut Vec<u8>, T)) {
        Self::list(out, field, |out| {
            for value in values {
                one(out, *value);
                out.push(b',');
            }
        });
    }
}

impl Wire for Json {
    fn text(out: &mut Vec<u8>, field: Field, text: &str) {
        if !text.is_empty() {
            Self::name(out, field);
            json::string(out, text);
            out.push(b',');
        }
    }

    fn fixed64(out: &mut Vec<u8>, field: Field, value: u64) {
        Self::name(out, field);
        Self::quoted(out, value);
        out.push(b',');
    }

    fn double(out: &mut Vec<u8>, field: Field, value: f64) {
        Self::name(out, field);
        Self::float(out, value);
        out.push(b',');
    }

    fn int(out: &mut Vec<u8>, field: Field, value: i64) {
        Self::name(out, field);
        Self::quoted(out, value);
        out.push(b',');
    }

    fn number(out: &mut Vec<u8>, field: Field, value: u32) {
        Self::name(out, field);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b',');
    }

    fn signed(out: &mut Vec<u8>, field: Field, value: i32) {
        Self::name(out, field);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b',');
    }

    fn yes(out: &mut Vec<u8>, field: Field) {
        Self::name(out, field);
        out.extend_from_slice(b"true,");
    }

    fn id(out: &mut Vec<u8>, field: Field, id: &[u8]) {
        Self::name(out, field);
        out.push(b'"');
        for byte in id {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        out.extend_from_slice(b"\",");
    }

    fn fixed64s(out: &mut Vec<u8>, field: Field, values: &[u64]) {
        Self::array(out, field, values, Self::quoted);
    }

    fn uint64s(out: &mut Vec<u8>, field: Field, values: &[u64]) {
        Self::array(out, field, values, Self::quoted);
    }

    fn doubles(out: &mut Vec<u8>, field: Field, values: &[f64]) {
        Self::array(out, field, values, Self::float);
    }

    fn message<T>(out: &mut Vec<u8>, field: Field, _: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        Self::name(out, field);
        Self::closed(out, *b"{}", write)
    }

    fn list<T>(out: &mut Vec<u8>, field: Field, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        Self::name(out, field);
        Self::closed(out, *b"[]", write)
    }

    fn entry<T>(out: &mut Vec<u8>, _: Field, _: Size, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        Self::closed(out, *b"{}", write)
    }

    fn written(out: &mut Vec<u8>, _: Field, fragment: &[u8]) {
        out.extend_from_slice(fragment);
        out.push(b',');
    }

    fn fragment(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        Self::closed(out, *b"{}", write);
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Bytes {
        #[prost(bytes = "vec", tag = "1")]
        bytes: Vec<u8>,
    }

    #[test]
    fn a_message_of_any_length_is_read_whatever_room_was_left() {
        for size in [Size::Tiny, Size::Small, Size::Large] {
            for len in [0, 1, 127, 128, 16_383, 16_384, 40_000] {
                let mut out = vec![0xff];
                Proto::message(&mut out, field(1, "bytes"), size, |out| out.resize(out.len() + len, 7));
                assert_eq!(Bytes::decode(&out[1..]).unwrap().bytes, vec![7; len], "{size:?} {len}");
            }
        }
    }

    #[test]
    fn json_says_what_json_can_say() {
        let mut out = Vec::new();
        Json::fragment(&mut out, |out| {
            Json::doubles(out, field(1, "d"), &[0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
            Json::uint64s(out, field(2, "u"), &[u64::MAX]);
            Json::list(out, field(3, "empty"), |_| ());
            Json::message(out, field(4, "m"), Size::Tiny, |out| {
                Json::text(out, field(1, "t"), "\"\n");
                Json::text(out, field(1, "none"), "");
                Json::id(out, field(2, "id"), &[0x0a, 0xff]);
                Json::signed(out, field(3, "s"), -3);
                Json::yes(out, field(4, "y"));
            });
        });
        let expected = r#"{"d":[0.5,"NaN","Infinity","-Infinity"],"u":["18446744073709551615"],"empty":[],"m":{"t":"\"\n","id":"0aff","s":-3,"y":true}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
