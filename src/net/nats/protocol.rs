//! What goes over a connection to NATS: lines, and payloads between them.
//!
//! Only what a subscriber and publisher without headers needs. A server's sizes are not trusted: each has a cap, and what is
//! above it ends the connection. Source: the client protocol of nats.io, and nats-server 2.9.10.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;

use crate::net::text::excerpt;

/// Bytes of a line other than `INFO`, at most.
pub const LINE_BYTES_MAX: usize = 4 << 10;

/// Bytes of an `INFO` line, at most; it lists the servers of a cluster.
pub const INFO_BYTES_MAX: usize = 64 << 10;

/// Bytes of a message, at most; the server's own default.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Something that a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// About itself: the first thing it says, and again when it changes.
    Info(Info),
    /// A message of our subscription.
    Msg(Bytes),
    /// Are you there?
    Ping,
    /// I am here.
    Pong,
    /// `+OK`, for which we do not ask.
    Ok,
    /// `-ERR`: its words, without quotes, escaped.
    Err(String),
}

/// What we need of an `INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// It speaks nothing but TLS from here on.
    pub tls_required: bool,
    /// It speaks TLS where it is asked to.
    pub tls_available: bool,
    /// It takes only clients that sign its nonce.
    pub wants_signature: bool,
    /// Bytes of a message that it takes.
    pub payload_bytes_max: usize,
}

/// What a server says is not NATS, or too much of it. The connection is of no use then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line without an end.
    #[error("sent a line of more than {0} bytes")]
    LineTooLong(usize),
    /// A message that would take too much memory.
    #[error("sent a message of {0} bytes; at most {PAYLOAD_BYTES_MAX} are taken")]
    PayloadTooLarge(u64),
    /// A message that does not end where it should.
    #[error("sent a message that is not as long as it says")]
    BadPayload,
    /// `INFO` with something else than JSON behind it.
    #[error("sent an INFO that cannot be read")]
    BadInfo,
    /// Messages with headers, which we say that we do not take.
    #[error("sent a message with headers, which are not supported")]
    Headers,
    /// No `INFO` where there has to be one.
    #[error("says something out of turn; does it speak NATS?")]
    OutOfTurn,
    /// Anything else; how it begins, escaped.
    #[error("does not speak NATS; it sent \"{0}\"")]
    Foreign(String),
}

/// Takes bytes as they come, gives what they say.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer in which there is no line break.
    searched: usize,
    /// Bytes of the message whose line was read.
    payload: Option<usize>,
}

impl Decoder {
    /// Where bytes that came are put behind those that wait.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether bytes wait that were not read.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next thing that the server says; `None` while it has not all come. To be called until then before more is put in:
    /// so the buffer has never more than one message, or line, and what came with its end.
    pub fn next_op(&mut self) -> Result<Option<Op>, ProtocolError> {
        loop {
            if let Some(bytes) = self.payload {
                return self.take_payload(bytes);
            }
            let Some(line) = self.take_line()? else { return Ok(None) };
            if let Some(op) = self.read_line(&line)? {
                return Ok(Some(op));
            }
        }
    }

    fn take_payload(&mut self, bytes: usize) -> Result<Option<Op>, ProtocolError> {
        match self.buffer.get(bytes..bytes + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError::BadPayload),
        }
        let payload = self.buffer.split_to(bytes).freeze();
        self.buffer.advance(2);
        self.payload = None;
        Ok(Some(Op::Msg(payload)))
    }

    /// A line without its end.
    fn take_line(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let end = memchr::memchr(b'\n', fresh).map(|at| self.searched + at);
        let is_info = self.buffer.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"INFO"));
        let limit = if is_info { INFO_BYTES_MAX } else { LINE_BYTES_MAX };
        if end.unwrap_or(self.buffer.len()) > limit {
            return Err(match is_control_word(&self.buffer) {
                true => ProtocolError::LineTooLong(limit),
                false => foreign(&self.buffer),
            });
        }
        let Some(end) = end else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        self.searched = 0;
        let mut line = self.buffer.split_to(end + 1).freeze();
        let is_crlf = line.ends_with(b"\r\n");
        line.truncate(end - usize::from(is_crlf));
        Ok(Some(line))
    }

    /// What a line says; `None` for that of a message, whose payload is next.
    fn read_line(&mut self, line: &[u8]) -> Result<Option<Op>, ProtocolError> {
        let end = line.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(line.len());
        let (word, rest) = line.split_at(end);
        let op = match word.to_ascii_uppercase().as_slice() {
            b"INFO" => Op::Info(read_info(rest)?),
            b"PING" => Op::Ping,
            b"PONG" => Op::Pong,
            b"+OK" => Op::Ok,
            b"-ERR" => Op::Err(excerpt(trim_quotes(rest), 200)),
            b"HMSG" => return Err(ProtocolError::Headers),
            b"MSG" => {
                let bytes = payload_bytes(rest).ok_or_else(|| foreign(line))?;
                let is_fine = usize::try_from(bytes).ok().filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX);
                self.payload = Some(is_fine.ok_or(ProtocolError::PayloadTooLarge(bytes))?);
                return Ok(None);
            }
            _ => return Err(foreign(line)),
        };
        Ok(Some(op))
    }
}

fn is_control_word(line: &[u8]) -> bool {
    let is = |word: &str| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    ["INFO ", "MSG ", "-ERR ", "HMSG "].into_iter().any(is)
}

fn foreign(bytes: &[u8]) -> ProtocolError {
    ProtocolError::Foreign(excerpt(bytes.get(..200).unwrap_or(bytes), 60))
}

fn read_info(text: &[u8]) -> Result<Info, ProtocolError> {
    let Ok(Value::Object(info)) = serde_json::from_slice(text) else { return Err(ProtocolError::BadInfo) };
    let is = |name: &str| info.get(name).and_then(Value::as_bool).unwrap_or(false);
    let limit = info.get("max_payload").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
    Ok(Info {
        tls_required: is("tls_required"),
        tls_available: is("tls_available"),
        wants_signature: info.get("nonce").and_then(Value::as_str).is_some_and(|nonce| !nonce.is_empty()),
        payload_bytes_max: limit.filter(|bytes| *bytes > 0).unwrap_or(PAYLOAD_BYTES_MAX),
    })
}

/// The last of `SUBJECT SID [REPLY-TO] BYTES`.
fn payload_bytes(arguments: &[u8]) -> Option<u64> {
    let words = std::str::from_utf8(arguments).ok()?.split_ascii_whitespace().collect::<Vec<_>>();
    let bytes = words.last().filter(|_| matches!(words.len(), 3 | 4))?;
    bytes.parse().ok().filter(|_| bytes.bytes().all(|b| b.is_ascii_digit()))
}

fn trim_quotes(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// Whether messages can be published on a subject: words with dots between them, without wildcards.
pub fn is_subject(text: &str) -> bool {
    const SUBJECT_BYTES_MAX: usize = 1024;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>');
    text.len() <= SUBJECT_BYTES_MAX && text.split('.').all(is_word)
}

/// `CONNECT`; it holds the credentials.
pub fn connect(login: &Login<'_>, is_tls: bool) -> Vec<u8> {
    let mut options = serde_json::json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": is_tls,
        "name": "promferry",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        // INFO may come again.
        "protocol": 1,
        "headers": false,
    });
    match login {
        Login::None => {}
        Login::User { name, password } => {
            options["user"] = (*name).into();
            options["pass"] = (*password).into();
        }
        Login::Token(token) => options["auth_token"] = (*token).into(),
    }
    format!("CONNECT {options}\r\n").into_bytes()
}

/// Credentials as they stand in `CONNECT`.
pub enum Login<'a> {
    /// None.
    None,
    /// A user and a password.
    User {
        /// The user.
        name: &'a str,
        /// The password.
        password: &'a str,
    },
    /// A token.
    Token(&'a str),
}

/// `SUB`, for the one subscription of a connection.
pub fn subscribe(subject: &str) -> Vec<u8> {
    format!("SUB {subject} 1\r\n").into_bytes()
}

/// `PUB`, with its payload.
pub fn publish(subject: &str, payload: &[u8]) -> Bytes {
    let mut frame = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
    frame.extend_from_slice(payload);
    frame.extend_from_slice(b"\r\n");
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of bytes that arrive in pieces, and the error at the end.
    fn decode(bytes: &[u8], piece: usize) -> (Vec<Op>, Option<ProtocolError>) {
        let (mut decoder, mut ops) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.buffer().extend_from_slice(piece);
            loop {
                match decoder.next_op() {
                    Ok(Some(op)) => ops.push(op),
                    Ok(None) => break,
                    Err(error) => return (ops, Some(error)),
                }
            }
        }
        (ops, None)
    }

    #[test]
    fn what_a_server_says_is_read_however_it_is_cut() {
        let said =
            b"INFO {\"server_id\":\"x\",\"max_payload\":1000,\"tls_required\":true,\"nonce\":\"n\"} \r\nPING\r\n\
            msg a.b 1 5\r\n\r\nPIN\r\nMSG a.b 1 reply.to 0\r\n\r\n-ERR 'Authorization\x1b Violation'\r\n+OK\r\nPONG\n";
        let info = Info { tls_required: true, tls_available: false, wants_signature: true, payload_bytes_max: 1000 };
        let expected = vec![
            Op::Info(info),
            Op::Ping,
            Op::Msg("\r\nPIN".into()),
            Op::Msg("".into()),
            Op::Err("Authorization\\u{1b} Violation".into()),
            Op::Ok,
            Op::Pong,
        ];
        for piece in [1, 2, 3, 7, said.len()] {
            assert_eq!(decode(said, piece), (expected.clone(), None), "{piece}");
        }
    }

    #[test]
    fn sizes_that_a_server_states_are_not_trusted() {
        let refused = |bytes: &[u8]| decode(bytes, 4096).1.map(|error| error.to_string());
        let too_large = format!("MSG a 1 {}\r\n", PAYLOAD_BYTES_MAX + 1);
        let told = "sent a message of 1048577 bytes; at most 1048576 are taken";
        assert_eq!(refused(too_large.as_bytes()).as_deref(), Some(told));
        let told = "sent a message of 18446744073709551615 bytes; at most 1048576 are taken";
        assert_eq!(refused(format!("MSG a 1 {}\r\n", u64::MAX).as_bytes()).as_deref(), Some(told));
        let long = |word: &str, bytes| format!("{word}{}", "x".repeat(bytes));
        assert_eq!(refused(long("-ERR ", 5000).as_bytes()).as_deref(), Some("sent a line of more than 4096 bytes"));
        assert_eq!(refused(long("INFO ", 60_000).as_bytes()), None);
        assert_eq!(refused(long("INFO ", 66_000).as_bytes()).as_deref(), Some("sent a line of more than 65536 bytes"));
        let mut largest = format!("MSG a 1 {PAYLOAD_BYTES_MAX}\r\n").into_bytes();
        largest.resize(largest.len() + PAYLOAD_BYTES_MAX, b'x');
        largest.extend_from_slice(b"\r\n");
        let (ops, error) = decode(&largest, 10_000);
        assert!(matches!(ops.as_slice(), [Op::Msg(payload)] if payload.len() == PAYLOAD_BYTES_MAX), "{error:?}");
    }

    #[test]
    fn what_is_no_nats_is_told() {
        let refused = |bytes: &str| decode(bytes.as_bytes(), 7).1.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(refused("HTTP/1.1 400 Bad\x1b\r\n"), "does not speak NATS; it sent \"HTTP/1.1 400 Bad\\u{1b}\"");
        assert_eq!(refused(&"x".repeat(5000)), format!("does not speak NATS; it sent \"{}…\"", "x".repeat(60)));
        assert_eq!(refused("MSG a 1 -5\r\n"), "does not speak NATS; it sent \"MSG a 1 -5\"");
        assert_eq!(refused("MSG a 1 +5\r\n"), "does not speak NATS; it sent \"MSG a 1 +5\"");
        assert_eq!(refused("MSG a 5\r\n"), "does not speak NATS; it sent \"MSG a 5\"");
        assert_eq!(refused("MSG a 1 2\r\nabcd"), "sent a message that is not as long as it says");
        assert_eq!(refused("HMSG a 1 12 12\r\n"), "sent a message with headers, which are not supported");
        assert_eq!(refused("INFO x\r\n"), "sent an INFO that cannot be read");
    }

    #[test]
    fn what_we_say_is_framed() {
        assert_eq!(publish("a.b", b"x\r\ny").as_ref(), b"PUB a.b 4\r\nx\r\ny\r\n");
        assert_eq!(subscribe("a.b"), b"SUB a.b 1\r\n");
        let connect = String::from_utf8(connect(&Login::User { name: "u\"\r\n", password: "p@" }, true)).unwrap();
        let options = connect.strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix("\r\n")).unwrap();
        assert!(!options.contains(['\r', '\n']));
        let options: Value = serde_json::from_str(options).unwrap();
        assert_eq!((&options["user"], &options["pass"]), (&"u\"\r\n".into(), &"p@".into()));
        assert_eq!((&options["verbose"], &options["tls_required"]), (&false.into(), &true.into()));
    }

    #[test]
    fn subjects() {
        for subject in ["metrics.scrape_targets", "a", "a.b-c.D_1", "$SYS.x"] {
            assert!(is_subject(subject), "{subject}");
        }
        for subject in ["", ".", "a.", "a b", "a.*", ">", "a\r\nPUB", "a..b", &"a".repeat(1025)] {
            assert!(!is_subject(subject), "{subject}");
        }
    }
}
