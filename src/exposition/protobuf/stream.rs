//! Messages out of a body that comes in pieces, each with its length before it.
//!
//! At most one message is held back, and of it no more than has come: a length alone costs nothing. A message that is whole
//! in its piece is not copied.

use super::wire::{Error, Message, Problem, VARINT_BYTES_MAX, varint};

/// Bytes that are kept from body to body for a message that is held back.
const KEPT_BYTES: usize = 64 << 10;

/// The place in a body, and the message whose end has not come yet.
#[derive(Debug)]
pub struct Messages {
    message_bytes_max: usize,
    /// A message in the making, its length before it.
    partial: Vec<u8>,
    /// Whether `partial` was given out, and is to be forgotten.
    is_given: bool,
    /// Bytes of the body before the message that is expected next, or is in the making.
    at: u64,
}

impl Messages {
    /// A message has at most so many bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, partial: Vec::new(), is_given: false, at: 0 }
    }

    /// Starts at the beginning of a body, and gives back memory that only a long message needed.
    pub fn restart(&mut self) {
        (self.is_given, self.at) = (false, 0);
        self.partial.clear();
        self.partial.shrink_to(KEPT_BYTES);
    }

    /// Bytes of memory that it has.
    pub fn bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Takes the next message off the front of `bytes`, or, when its end is not there, all of them.
    pub fn take<'m, 'b: 'm>(&'m mut self, bytes: &mut &'b [u8]) -> Result<Option<Message<'m>>, Error> {
        if std::mem::take(&mut self.is_given) {
            self.at += self.partial.len() as u64;
            self.partial.clear();
        }
        if self.partial.is_empty() {
            if let Some((head, whole)) = self.frame(bytes)?
                && let Some((message, tail)) = bytes.split_at_checked(whole)
            {
                let at = self.at + head as u64;
                self.at += whole as u64;
                *bytes = tail;
                return Ok(Some(Message::new(&message[head..], at)));
            }
            self.partial.extend_from_slice(std::mem::take(bytes));
            return Ok(None);
        }
        // First the length, then no more than the message.
        while self.frame(&self.partial)?.is_none() {
            let Some((&byte, tail)) = bytes.split_first() else { return Ok(None) };
            self.partial.push(byte);
            *bytes = tail;
        }
        let Some((head, whole)) = self.frame(&self.partial)? else { return Ok(None) };
        let (more, tail) = bytes.split_at(bytes.len().min(whole - self.partial.len()));
        self.partial.extend_from_slice(more);
        *bytes = tail;
        if self.partial.len() < whole {
            return Ok(None);
        }
        self.is_given = true;
        Ok(Some(Message::new(&self.partial[head..], self.at + head as u64)))
    }

    /// The body has ended: nothing may be held back.
    pub fn finish(&self) -> Result<(), Error> {
        let read = if self.is_given { 0 } else { self.partial.len() };
        if read == 0 { Ok(()) } else { Err(Error { at: self.at, problem: Problem::CutBody { read } }) }
    }

    /// How many bytes the length at the start of `bytes` has, and how many it has with its message; `None` where the length
    /// is not all there.
    fn frame(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
        let error = |problem| Error { at: self.at, problem };
        let max = self.message_bytes_max;
        match varint(&bytes[..bytes.len().min(VARINT_BYTES_MAX)]).map_err(error)? {
            Some((len, head)) => match usize::try_from(len) {
                Ok(len) if len <= max => Ok(Some((head, len.saturating_add(head)))),
                _ => Err(error(Problem::LongMessage { len, max })),
            },
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each message's length and place, or the error.
    fn read(body: &[u8], piece: usize) -> Result<Vec<(usize, u64)>, String> {
        let mut messages = Messages::new(300);
        let mut read = Vec::new();
        for mut bytes in body.chunks(piece) {
            while let Some(mut message) = messages.take(&mut bytes).map_err(|error| error.to_string())? {
                let at = message.at();
                let len = std::iter::from_fn(|| message.next().expect("bools")).count() * 2;
                read.push((len, at));
            }
            assert!(bytes.is_empty());
        }
        messages.finish().map_err(|error| error.to_string())?;
        Ok(read)
    }

    #[test]
    fn messages_come_whole_whatever_the_pieces() {
        let mut body = vec![4, 8, 1, 8, 1, 0, 2, 8, 1, 0x80, 0x02];
        body.extend([8, 1].repeat(128));
        for piece in 1..=body.len() {
            assert_eq!(read(&body, piece), Ok(vec![(4, 1), (0, 6), (2, 7), (256, 11)]), "pieces of {piece}");
        }
        for len in 0..body.len() {
            let is_whole = [0, 5, 6, 9].contains(&len);
            for piece in [1, 3, body.len()] {
                assert_eq!(read(&body[..len], piece).is_ok(), is_whole, "{len} bytes in pieces of {piece}");
            }
        }
        assert_eq!(read(&body[..20], 7), Err("byte 9: the body ends within a message, of which 11 bytes came".into()));
    }

    #[test]
    fn a_length_costs_nothing_before_its_bytes_come() {
        for piece in [1, 2, 20] {
            let told = "byte 3: a message of 301 bytes is longer than the 300 bytes that one may have";
            assert_eq!(read(&[2, 8, 1, 0xad, 0x02, 1], piece).as_ref().map_err(String::as_str).err(), Some(told));
            let endless = [0xff; 11];
            assert!(read(&endless, piece).expect_err("no length").contains("longer than the ten bytes"));
        }
        let mut messages = Messages::new(usize::MAX - 10);
        let mut bytes: &[u8] = &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 7];
        assert!(messages.take(&mut bytes).is_ok_and(|message| message.is_none()));
        assert!(messages.bytes() < 1000, "{} bytes are kept for a length", messages.bytes());
    }
}
