//! Reading the body of an answer: piece by piece, inflated as it arrives, within limits.
//!
//! Held at most: one read buffer, and for gzip an inflate window. Nothing is returned as read before its framing, and
//! for gzip its checksum, said so; what was handed on until then is the caller's to forget.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::body::Incoming;

use super::connect::Deadline;
use super::connection::HttpConnection;
use super::error::{Cause, NetError, Stage};
use super::text::escaped;

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes that came over the wire.
    pub wire_bytes: u64,
    /// Bytes that were handed on: after inflating.
    pub bytes: u64,
    /// The body was read to its end; the caller may have stopped before.
    pub is_whole: bool,
}

/// Reads the body that belongs to `headers`, handing on its pieces until `on_bytes` returns false. `limit` is on bytes
/// of the body, both as it comes over the wire and inflated.
///
/// # Errors
/// At [`Stage::Body`]: cut short, damaged, too large, too late, or of an encoding that nobody asked for.
pub async fn read_body(
    connection: &mut HttpConnection,
    headers: &HeaderMap,
    mut body: Incoming,
    limit: u64,
    deadline: Deadline,
    on_bytes: impl FnMut(&[u8]) -> bool,
) -> Result<Received, NetError> {
    let fail = |connection: &HttpConnection, cause, received| NetError {
        stage: Stage::Body,
        address: connection.address().to_owned(),
        cause,
        received,
        is_reused: false,
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(fail(connection, Cause::BodyTooLarge { limit, is_inflated: false }, 0));
    }
    let mut decoder = Decoder::new(headers, limit, on_bytes).map_err(|cause| fail(connection, cause, 0))?;
    let mut wire_bytes = 0;
    loop {
        let Some(piece) = connection.chunk(&mut body, wire_bytes, deadline).await? else { break };
        wire_bytes += piece.len() as u64;
        if wire_bytes > limit {
            return Err(fail(connection, Cause::BodyTooLarge { limit, is_inflated: false }, wire_bytes));
        }
        decoder.push(&piece).map_err(|cause| fail(connection, cause, wire_bytes))?;
        if decoder.sink().is_stopped {
            return Ok(Received { wire_bytes, bytes: decoder.sink().bytes, is_whole: false });
        }
    }
    let bytes = decoder.finish(wire_bytes).map_err(|cause| fail(connection, cause, wire_bytes))?;
    Ok(Received { wire_bytes, bytes, is_whole: true })
}

/// From the bytes of the wire to those of the body.
enum Decoder<F: FnMut(&[u8]) -> bool> {
    Plain(Sink<F>),
    Gzip(Box<MultiGzDecoder<Sink<F>>>),
}

impl<F: FnMut(&[u8]) -> bool> Decoder<F> {
    fn new(headers: &HeaderMap, limit: u64, on_bytes: F) -> Result<Self, Cause> {
        let sink = Sink { on_bytes, bytes: 0, limit, is_over: false, is_stopped: false };
        let encodings: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().collect();
        let encoding = match encodings.as_slice() {
            [] => b"identity".as_slice(),
            [encoding] => encoding.as_bytes().trim_ascii(),
            _ => return Err(Cause::UnknownEncoding("several".into())),
        };
        if encoding.eq_ignore_ascii_case(b"identity") || encoding.is_empty() {
            Ok(Self::Plain(sink))
        } else if encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip") {
            Ok(Self::Gzip(Box::new(MultiGzDecoder::new(sink))))
        } else {
            Err(Cause::UnknownEncoding(escaped(&String::from_utf8_lossy(encoding))))
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Cause> {
        let written = match self {
            Self::Plain(sink) => sink.write_all(piece),
            Self::Gzip(gzip) => gzip.write_all(piece),
        };
        self.judge(written)
    }

    fn finish(&mut self, wire_bytes: u64) -> Result<u64, Cause> {
        let finished = match self {
            // Nothing is nothing, whatever its encoding.
            Self::Gzip(gzip) if wire_bytes > 0 => gzip.try_finish(),
            _ => Ok(()),
        };
        self.judge(finished)?;
        Ok(self.sink().bytes)
    }

    fn judge(&mut self, written: io::Result<()>) -> Result<(), Cause> {
        let Err(_) = written else { return Ok(()) };
        let sink = self.sink();
        // Dropping a decoder flushes it: that goes nowhere.
        let is_stopped = std::mem::replace(&mut sink.is_stopped, true);
        match (sink.is_over, is_stopped) {
            (true, _) => Err(Cause::BodyTooLarge { limit: sink.limit, is_inflated: true }),
            (false, true) => Ok(()),
            (false, false) => Err(Cause::BadGzip),
        }
    }

    fn sink(&mut self) -> &mut Sink<F> {
        match self {
            Self::Plain(sink) => sink,
            Self::Gzip(gzip) => gzip.get_mut(),
        }
    }
}

/// A timeout or a cut body drops the decoder in the middle; what it would flush then is not the body.
impl<F: FnMut(&[u8]) -> bool> Drop for Decoder<F> {
    fn drop(&mut self) {
        self.sink().is_stopped = true;
    }
}

/// Hands bytes on, and counts them.
struct Sink<F: FnMut(&[u8]) -> bool> {
    on_bytes: F,
    bytes: u64,
    limit: u64,
    is_over: bool,
    is_stopped: bool,
}

impl<F: FnMut(&[u8]) -> bool> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_stopped {
            return Err(io::Error::other("stopped"));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        if !(self.on_bytes)(bytes) {
            self.is_stopped = true;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
