//! The wire format of protobuf: varints and fields, of messages that are whole and in memory.
//!
//! Knows nothing about what the fields mean. Nothing is copied, nothing is read beyond the message, and whatever is wrong is
//! an [`Error`] that names the byte. Fields that nobody asks for are passed over; groups, which went out of use before the
//! exposition format was made, are refused.
//!
//! The format: <https://protobuf.dev/programming-guides/encoding/>.

/// Why a body, or a metric in it, cannot be read: at which byte, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {problem}")]
pub struct Error {
    /// Bytes of the body before the place.
    pub at: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a body. The sentence is complete without the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A varint goes on for longer than 64 bits.
    #[error("a number is longer than the ten bytes that 64 bits take")]
    LongVarint,
    /// A field's number or wire type does not exist.
    #[error("{tag} is no field of protobuf: the number is from 1 to 536870911, the wire type 0, 1, 2 or 5")]
    Tag {
        /// What stands there.
        tag: u64,
    },
    /// A field ends behind its message.
    #[error("a field goes on behind the end of its message")]
    Truncated,
    /// A length reaches behind the end of the message.
    #[error("field {field} says that it has {len} bytes, and its message has {left} more")]
    Length {
        /// The field's number.
        field: u32,
        /// What it says.
        len: u64,
        /// What is left.
        left: usize,
    },
    /// A field is encoded as another type.
    #[error("field {field} is no {expected}")]
    Type {
        /// The field's number.
        field: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// Text is not UTF-8.
    #[error("field {field} is no text in UTF-8")]
    Utf8 {
        /// The field's number.
        field: u32,
    },
    /// A message is too long to be held back.
    #[error("a message of {len} bytes is longer than the {max} bytes that one may have")]
    LongMessage {
        /// What it says.
        len: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// The body ends too early.
    #[error("the body ends within a message, of which {read} bytes came")]
    CutBody {
        /// Bytes of the message that came, its length included.
        read: usize,
    },
    /// The bytes are protobuf, and no metric that makes sense; the rest of the body can still be read.
    #[error("{0}")]
    Metric(String),
}

impl Problem {
    /// Whether what follows in the body can still be trusted.
    pub fn is_of_one_metric(&self) -> bool {
        matches!(self, Self::Metric(_))
    }
}

impl Error {
    /// Bytes that are protobuf, and no metric.
    pub(super) fn metric(at: u64, reason: impl Into<String>) -> Self {
        Self { at, problem: Problem::Metric(reason.into()) }
    }
}

/// The most bytes of a varint.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// The varint at the start of `bytes`, and how long it is; `None` where `bytes` end too early.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Problem> {
    match bytes.first() {
        None => return Ok(None),
        Some(&byte) if byte < 0x80 => return Ok(Some((u64::from(byte), 1))),
        Some(_) => {}
    }
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        // Of the tenth byte only one bit is left.
        if at == VARINT_BYTES_MAX - 1 && byte > 1 {
            return Err(Problem::LongVarint);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    Ok(None)
}

/// A message, or what is left of it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Bytes of the body before `bytes`.
    at: u64,
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub(super) number: u32,
    /// Bytes of the body before it.
    pub(super) at: u64,
    value: Value<'a>,
    /// All of it, tag and length included.
    pub(super) raw: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32,
    Bytes(Message<'a>),
}

impl<'a> Message<'a> {
    /// The message `bytes`, before which the body has `at` bytes.
    pub fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at }
    }

    /// Bytes of the body before what is left of it.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Its bytes from one place in the body to another; `None` where they are not all its own.
    pub(super) fn between(&self, start: u64, end: u64) -> Option<&'a [u8]> {
        let offset = |at: u64| usize::try_from(at.checked_sub(self.at)?).ok();
        self.bytes.get(offset(start)?..offset(end)?)
    }

    /// Takes the next field.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Error> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let (at, all) = (self.at, self.bytes);
        let tag = self.varint()?;
        let bad_tag = Error { at, problem: Problem::Tag { tag } };
        let number = match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => number,
            _ => return Err(bad_tag),
        };
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let len_at = self.at;
                let len = self.varint()?;
                let left = self.bytes.len();
                let Some((head, tail)) = usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len))
                else {
                    return Err(Error { at: len_at, problem: Problem::Length { field: number, len, left } });
                };
                let inner = Message::new(head, self.at);
                (self.bytes, self.at) = (tail, self.at + len);
                Value::Bytes(inner)
            }
            5 => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            _ => return Err(bad_tag),
        };
        Ok(Some(Field { number, at, value, raw: &all[..all.len() - self.bytes.len()] }))
    }

    /// Takes fields up to the next one of this number.
    pub(super) fn next_of(&mut self, number: u32) -> Result<Option<Field<'a>>, Error> {
        while let Some(field) = self.next()? {
            if field.number == number {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    /// Takes a varint, which must be there.
    #[inline]
    fn varint(&mut self) -> Result<u64, Error> {
        match varint(self.bytes) {
            Ok(Some((value, used))) => {
                self.bytes = &self.bytes[used..];
                self.at += used as u64;
                Ok(value)
            }
            Ok(None) => Err(Error { at: self.at, problem: Problem::Truncated }),
            Err(problem) => Err(Error { at: self.at, problem }),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((head, tail)) = self.bytes.split_first_chunk() else {
            return Err(Error { at: self.at, problem: Problem::Truncated });
        };
        (self.bytes, self.at) = (tail, self.at + N as u64);
        Ok(*head)
    }
}

/// The number that protobuf's `sint32` and `sint64` encode as `value`.
fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// One NaN stands for all, as where text is read: the one that ends a series is not a target's to send.
#[inline]
fn double(bytes: [u8; 8]) -> f64 {
    let value = f64::from_le_bytes(bytes);
    if value.is_nan() { f64::NAN } else { value }
}

impl<'a> Field<'a> {
    /// A `uint64`, `int64`, enum or bool.
    #[inline]
    pub(super) fn uint64(&self) -> Result<u64, Error> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.is_no("whole number")),
        }
    }

    /// An `int64`.
    pub(super) fn int64(&self) -> Result<i64, Error> {
        self.uint64().map(|value| value as i64)
    }

    /// A `uint32`; as the wire format has it, higher bits are lost.
    pub(super) fn uint32(&self) -> Result<u32, Error> {
        self.uint64().map(|value| value as u32)
    }

    /// A `sint32`; as the wire format has it, higher bits are lost.
    pub(super) fn sint32(&self) -> Result<i32, Error> {
        self.uint32().map(|value| zigzag(u64::from(value)) as i32)
    }

    /// A `double`.
    #[inline]
    pub(super) fn double(&self) -> Result<f64, Error> {
        match self.value {
            Value::Fixed64(bytes) => Ok(double(bytes)),
            _ => Err(self.is_no("double")),
        }
    }

    /// A message within this one.
    #[inline]
    pub(super) fn message(&self) -> Result<Message<'a>, Error> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => Err(self.is_no("message")),
        }
    }

    /// A `string`.
    pub(super) fn text(&self) -> Result<&'a str, Error> {
        match self.value {
            Value::Bytes(text) => match std::str::from_utf8(text.bytes) {
                Ok(text) => Ok(text),
                Err(error) => {
                    let at = text.at + error.valid_up_to() as u64;
                    Err(Error { at, problem: Problem::Utf8 { field: self.number } })
                }
            },
            _ => Err(self.is_no("text")),
        }
    }

    /// One of `repeated sint64`, or many of them where they are packed.
    pub(super) fn each_sint64(&self, mut each: impl FnMut(i64) -> Result<(), Error>) -> Result<(), Error> {
        match self.value {
            Value::Varint(value) => each(zigzag(value)),
            Value::Bytes(mut packed) => {
                while !packed.bytes.is_empty() {
                    each(zigzag(packed.varint()?))?;
                }
                Ok(())
            }
            _ => Err(self.is_no("list of whole numbers")),
        }
    }

    /// One of `repeated double`, or many of them where they are packed.
    pub(super) fn each_double(&self, mut each: impl FnMut(f64) -> Result<(), Error>) -> Result<(), Error> {
        match self.value {
            Value::Fixed64(bytes) => each(double(bytes)),
            Value::Bytes(mut packed) => {
                while !packed.bytes.is_empty() {
                    each(double(packed.fixed()?))?;
                }
                Ok(())
            }
            _ => Err(self.is_no("list of doubles")),
        }
    }

    fn is_no(&self, expected: &'static str) -> Error {
        Error { at: self.at, problem: Problem::Type { field: self.number, expected } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_at_most_64_bits() {
        let ten = |last: u8| [&[0xff; 9][..], &[last]].concat();
        assert_eq!(varint(&[]), Ok(None));
        assert_eq!(varint(&[0x7f, 0xff]), Ok(Some((127, 1))));
        assert_eq!(varint(&[0x80]), Ok(None));
        assert_eq!(varint(&[0xac, 0x02]), Ok(Some((300, 2))));
        assert_eq!(varint(&[0x80, 0x00]), Ok(Some((0, 2))));
        assert_eq!(varint(&ten(0x01)), Ok(Some((u64::MAX, 10))));
        assert_eq!(varint(&ten(0x02)), Err(Problem::LongVarint));
        assert_eq!(varint(&ten(0x80)), Err(Problem::LongVarint));
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }

    #[test]
    fn fields_are_read_with_their_places() {
        // Field 1 = 300, field 2 = "hé", field 3 = 1.5, field 4 (fixed32), field 5 = packed -1, 1.
        let bytes = [
            &[0x08, 0xac, 0x02][..],
            &[0x12, 0x03, b'h', 0xc3, 0xa9],
            &[0x19, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f],
            &[0x25, 1, 2, 3, 4],
            &[0x2a, 2, 1, 2],
        ]
        .concat();
        let mut message = Message::new(&bytes, 100);
        let mut next = || message.next().expect("well-formed").expect("a field");
        let field = next();
        assert_eq!((field.number, field.at, field.uint64()), (1, 100, Ok(300)));
        let field = next();
        assert_eq!((field.at, field.text(), field.raw.len()), (103, Ok("hé"), 5));
        assert!(field.double().is_err() && field.uint64().is_err());
        assert_eq!(next().double(), Ok(1.5));
        assert_eq!(next().number, 4);
        let mut list = Vec::new();
        let push = |value| {
            list.push(value);
            Ok(())
        };
        next().each_sint64(push).expect("a list");
        assert_eq!(list, [-1, 1]);
        assert!(message.next().expect("the end").is_none());
    }

    #[test]
    fn what_is_malformed_is_named_with_its_byte() {
        let first = |bytes: &[u8]| match Message::new(bytes, 10).next() {
            Err(error) => error.to_string(),
            Ok(field) => panic!("{field:?}"),
        };
        assert_eq!(first(&[0x80]), "byte 10: a field goes on behind the end of its message");
        assert_eq!(first(&[0x08, 0xff]), "byte 11: a field goes on behind the end of its message");
        assert_eq!(first(&[0x09, 1, 2]), "byte 11: a field goes on behind the end of its message");
        assert_eq!(first(&[0x12, 5, 1]), "byte 11: field 2 says that it has 5 bytes, and its message has 1 more");
        assert!(first(&[0x0b]).starts_with("byte 10: 11 is no field of protobuf"));
        assert!(first(&[0x00]).starts_with("byte 10: 0 is no field of protobuf"));
        assert!(first(&[0x07]).starts_with("byte 10: 7 is no field of protobuf"));
        let text = Message::new(&[0x0a, 2, b'a', 0xff], 0).next().expect("a field").expect("a field");
        assert_eq!(text.text().expect_err("no text").to_string(), "byte 3: field 1 is no text in UTF-8");
        assert_eq!(text.uint64().expect_err("no number").to_string(), "byte 0: field 1 is no whole number");
    }
}
