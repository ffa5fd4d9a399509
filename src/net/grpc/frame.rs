//! Messages in a stream of bytes.

use std::io::Read as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;

use super::status::{Code, Status};

/// Bytes of the header of a message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// A message with its header.
pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + message.len());
    out.extend_from_slice(&header(message.len(), false));
    out.extend_from_slice(message);
    out.freeze()
}

/// The header of a message of so many bytes.
pub(super) fn header(len: usize, is_compressed: bool) -> [u8; HEADER_BYTES] {
    let mut header = [u8::from(is_compressed), 0, 0, 0, 0];
    // A message is shorter than 4 GiB: whoever makes one has a limit far below.
    (&mut header[1..]).put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    header
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of a message, before and after inflating.
    message_bytes_max: usize,
    is_gzip: bool,
    /// What has come and was not looked at.
    data: Bytes,
    /// The beginning of a message whose end has not come.
    begun: BytesMut,
}

impl Frames {
    pub fn new(message_bytes_max: usize, is_gzip: bool) -> Self {
        Self { message_bytes_max, is_gzip, data: Bytes::new(), begun: BytesMut::new() }
    }

    /// Takes what came. All messages before were taken.
    pub fn push(&mut self, data: Bytes) {
        debug_assert!(self.data.is_empty(), "the messages before were taken");
        self.data = data;
    }

    /// Bytes that are held until the rest of their message comes.
    pub fn held_bytes(&self) -> usize {
        self.begun.len()
    }

    /// Whether all that came was whole messages.
    pub fn is_between_messages(&self) -> bool {
        self.begun.is_empty() && self.data.is_empty()
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// When it is too large, or compressed in a way that was not announced. Nothing after it can be read.
    pub fn next(&mut self) -> Result<Option<Bytes>, Status> {
        // Most messages come whole: they are not copied.
        if self.begun.is_empty()
            && let Some(total) = self.total_of(&self.data)?
            && self.data.len() >= total
        {
            let whole = self.data.split_to(total);
            return self.opened(whole).map(Some);
        }
        loop {
            let total = self.total_of(&self.begun)?;
            if total.is_some_and(|total| self.begun.len() == total) {
                let whole = std::mem::take(&mut self.begun).freeze();
                return self.opened(whole).map(Some);
            }
            if self.data.is_empty() {
                return Ok(None);
            }
            let missing = total.unwrap_or(HEADER_BYTES) - self.begun.len();
            let some = self.data.split_to(missing.min(self.data.len()));
            self.begun.extend_from_slice(&some);
        }
    }

    /// How long a message is with its header, where all of that has come.
    fn total_of(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some([_, length @ ..]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if len > self.message_bytes_max {
            let max = self.message_bytes_max;
            let message = format!("a message of {len} bytes; at most {max} are taken");
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        Ok(Some(HEADER_BYTES + len))
    }

    /// A message without its header, inflated.
    fn opened(&self, mut whole: Bytes) -> Result<Bytes, Status> {
        let header = whole.split_to(HEADER_BYTES);
        match (header[0], self.is_gzip) {
            (0, _) => Ok(whole),
            (1, true) => self.inflated(&whole),
            (1, false) => {
                Err(Status::new(Code::Internal, "a message is compressed, and grpc-encoding does not say how"))
            }
            _ => Err(Status::new(Code::Internal, "this is not how messages of gRPC begin")),
        }
    }

    fn inflated(&self, bytes: &[u8]) -> Result<Bytes, Status> {
        let mut out = Vec::new();
        let limit = self.message_bytes_max as u64;
        match GzDecoder::new(bytes).take(limit + 1).read_to_end(&mut out) {
            Err(_) => Err(Status::new(Code::Internal, "a message is damaged: it is not gzip")),
            Ok(_) if out.len() as u64 > limit => {
                let message = format!("a message inflates to more than {limit} bytes");
                Err(Status::new(Code::ResourceExhausted, message))
            }
            Ok(_) => Ok(out.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn all(frames: &mut Frames, pieces: &[&[u8]]) -> Result<Vec<Bytes>, Status> {
        let mut messages = Vec::new();
        for piece in pieces {
            frames.push(Bytes::copy_from_slice(piece));
            while let Some(message) = frames.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let wire = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        for size in 1..wire.len() {
            let mut frames = Frames::new(300, false);
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            assert_eq!(all(&mut frames, &pieces).unwrap(), [&b"one"[..], b"", &[7; 300]], "{size}");
            assert!(frames.is_between_messages());
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_before_it_comes() {
        let mut frames = Frames::new(10, false);
        let refused = all(&mut frames, &[&[0, 0, 0], &[0, 11]]).unwrap_err();
        assert_eq!(refused.to_string(), "RESOURCE_EXHAUSTED: \"a message of 11 bytes; at most 10 are taken\"");
        assert!(all(&mut Frames::new(10, false), &[&[0, 0xff, 0xff, 0xff, 0xff]]).is_err());
    }

    #[test]
    fn gzip_is_inflated_up_to_the_limit() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            let mut framed = framed(&encoder.finish().unwrap()).to_vec();
            framed[0] = 1;
            framed
        };
        let (good, bomb) = (gzip(&[1; 1000]), gzip(&[0; 1001]));
        assert_eq!(all(&mut Frames::new(1000, true), &[&good]).unwrap(), [&[1; 1000][..]]);
        assert_eq!(all(&mut Frames::new(1000, true), &[&bomb]).unwrap_err().code, Code::ResourceExhausted);
        assert_eq!(all(&mut Frames::new(1000, true), &[&good[..20]]).unwrap(), Vec::<Bytes>::new());
        assert_eq!(all(&mut Frames::new(1000, true), &[&[1, 0, 0, 0, 1, 9]]).unwrap_err().code, Code::Internal);
        assert_eq!(all(&mut Frames::new(1000, false), &[&good]).unwrap_err().code, Code::Internal);
        assert_eq!(all(&mut Frames::new(1000, false), &[&[2, 0, 0, 0, 0]]).unwrap_err().code, Code::Internal);
    }
}
