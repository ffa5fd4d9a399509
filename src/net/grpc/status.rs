//! How a call ended.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{GRPC_MESSAGE, GRPC_STATUS};
use crate::net::text::escaped;

/// Bytes of a message that are sent or kept, at most.
const MESSAGE_BYTES_MAX: usize = 1024;

/// gRPC's status codes ("Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

impl Code {
    /// The code of this number; one that is not known is [`Code::Unknown`].
    pub fn of(number: u64) -> Self {
        CODES.iter().find(|(code, _)| *code as u64 == number).map_or(Self::Unknown, |(code, _)| *code)
    }

    /// Its name as gRPC has it, such as `UNAVAILABLE`.
    pub fn name(self) -> &'static str {
        CODES[self as usize].1
    }

    /// What an answer of HTTP without `grpc-status` stands for ("HTTP to gRPC Status Code Mapping").
    pub(super) fn of_http(status: http::StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// A code, and a sentence for people. Its `Display` is `UNAVAILABLE: "the sentence"`, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What the other side says of it; may be empty. Not escaped.
    pub message: String,
}

impl Status {
    /// A status with a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Writes its header fields.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(self.code as u16));
        // What is left of it after encoding is ASCII that may stand in a header.
        if let Some(message) = HeaderValue::from_str(&percent_encoded(&self.message)).ok().filter(|m| !m.is_empty()) {
            headers.insert(GRPC_MESSAGE, message);
        }
    }

    /// The status in trailers, or in the header of an answer that is nothing else; `None` where there is none.
    pub fn read_from(headers: &HeaderMap) -> Option<Self> {
        let number = headers.get(GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse().ok());
        let message = headers.get(GRPC_MESSAGE).map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        Some(Self { code: number.map_or(Code::Unknown, Code::of), message })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": \"{}\"", escaped(&self.message)) }
    }
}

/// As gRPC wants it: bytes that are not printable ASCII, and `%`, as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes().take(MESSAGE_BYTES_MAX) {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// The reverse; what is no encoding stays as it is.
fn percent_decoded(bytes: &[u8]) -> String {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first().filter(|_| out.len() < MESSAGE_BYTES_MAX) {
        let encoded = match (byte, tail) {
            (b'%', [high, low, ..]) => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(encoded.unwrap_or(byte));
        rest = if encoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `grpc-timeout`: at most eight digits and a unit. `None` where it is neither.
pub(super) fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The same as a header has it: in the finest unit that has room.
pub(super) fn timeout_text(timeout: Duration) -> String {
    const MAX: u128 = 99_999_999;
    match (timeout.as_millis(), u128::from(timeout.as_secs())) {
        (millis, _) if millis <= MAX => format!("{millis}m"),
        (_, seconds) => format!("{}S", seconds.min(MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        for text in ["", "plain", "50% of \"it\"\r\n", "größe\0", "%zz%4"] {
            let status = Status::new(Code::Aborted, text);
            let mut headers = HeaderMap::new();
            status.write_to(&mut headers);
            assert_eq!(Status::read_from(&headers), Some(status), "{text:?}");
        }
        assert_eq!(percent_encoded("a%\n"), "a%25%0A");
        assert_eq!(percent_decoded(b"%4"), "%4");
        assert_eq!(percent_decoded(b"%ff"), "\u{fffd}");
    }

    #[test]
    fn codes_have_their_numbers() {
        for (at, (code, _)) in CODES.iter().enumerate() {
            assert_eq!((*code as usize, Code::of(at as u64)), (at, *code));
        }
        assert_eq!(Code::of(99), Code::Unknown);
        let shown = Status::new(Code::ResourceExhausted, "too\nmuch").to_string();
        assert_eq!(shown, "RESOURCE_EXHAUSTED: \"too\\nmuch\"");
    }

    #[test]
    fn timeouts_are_read_and_written() {
        assert_eq!(timeout_of("10S"), Some(Duration::from_secs(10)));
        assert_eq!(timeout_of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "-1S", "1s", "123456789S", "1é", "+1S"] {
            assert_eq!(timeout_of(bad), None, "{bad}");
        }
        assert_eq!(timeout_text(Duration::from_secs(10)), "10000m");
        assert_eq!(timeout_text(Duration::MAX), "99999999S");
    }
}
