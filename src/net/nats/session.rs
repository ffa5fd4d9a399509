//! One connection to a NATS server: from `INFO` over TLS and `CONNECT` to messages, until it ends.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::protocol::{self, Decoder, Info, Login, Op, ProtocolError};
use super::{AuthHandle, CONNECT_TIME_MAX, Candidate, Event, NatsError, Shared};
use crate::net::certificate::Certificate;
use crate::net::connect::{Deadline, Endpoint, Stream, connect_plain, secure};
use crate::net::error::{Cause, Circumstances, NetError, Stage};

/// Bytes that are read at once, at least.
const READ_BYTES: usize = 8 << 10;

/// Messages that are kept while it is not sure that we may listen, at most.
const EARLY_MAX: usize = 16;

/// A connection that the server has taken our credentials for.
pub(super) struct Session<S = Stream> {
    stream: S,
    decoder: Decoder,
    info: Info,
    /// `host:port`, escaped.
    pub(super) address: String,
    /// `TLS 1.2`, `TLS 1.3` or `none`.
    pub(super) tls_version: &'static str,
    /// What we showed, for the sentence when it is refused.
    certificate: Option<Certificate>,
    heard_at: Instant,
    has_asked: bool,
    /// Messages that came before it was sure that we may listen.
    early: VecDeque<Bytes>,
}

impl Session {
    /// Connects, within [`CONNECT_TIME_MAX`], and subscribes.
    pub(super) async fn open(server: &Candidate, subject: Option<&str>) -> Result<Self, NatsError> {
        let deadline = Deadline::after(CONNECT_TIME_MAX);
        let name = server.tls.server_name().map(str::to_owned);
        let endpoint =
            Endpoint { host: server.host.clone(), port: server.port, tls: None, server_name: name, trace: None };
        let (stream, peer) = connect_plain(&endpoint, deadline).await?;
        let mut session = Session::new(stream, endpoint.address());
        let info = deadline.run(session.greeting()).await;
        session.info = info.unwrap_or_else(|_| Err(NatsError::Silent(endpoint.address())))?;
        if server.wants_tls && !session.info.tls_required && !session.info.tls_available {
            return Err(NatsError::NoTls(session.address));
        }
        if server.wants_tls || session.info.tls_required {
            if !session.decoder.is_empty() {
                return Err(NatsError::BeforeTls(session.address));
            }
            let tls = server.tls.current()?;
            let (stream, peer) = secure(session.stream, peer, &endpoint, &tls, deadline).await?;
            let info = session.info;
            session = Session::new(stream, endpoint.address());
            session.info = info;
            session.certificate.clone_from(&tls.certificate);
            session.tls_version = peer.tls.map_or("none", |tls| tls.version);
        }
        let taken = deadline.run(session.log_in(&server.auth, subject)).await;
        taken.unwrap_or_else(|_| Err(NatsError::Dead { address: endpoint.address(), time: CONNECT_TIME_MAX }))?;
        Ok(session)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S, address: String) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            info: Info::default(),
            address,
            tls_version: "none",
            certificate: None,
            heard_at: Instant::now(),
            has_asked: false,
            early: VecDeque::new(),
        }
    }

    /// Bytes of a message that the server and we take.
    pub(super) fn payload_bytes_max(&self) -> usize {
        self.info.payload_bytes_max.min(protocol::PAYLOAD_BYTES_MAX)
    }

    /// The first thing that a server says.
    async fn greeting(&mut self) -> Result<Info, NatsError> {
        match self.read_op().await? {
            Op::Info(info) => Ok(info),
            Op::Err(words) => Err(NatsError::Ended { address: self.address.clone(), words }),
            _ => Err(self.out_of_turn()),
        }
    }

    /// Shows our credentials, subscribes, and waits until the server has taken them.
    async fn log_in(&mut self, auth: &AuthHandle, subject: Option<&str>) -> Result<(), NatsError> {
        let is_tls = self.tls_version != "none";
        let mut said = match auth {
            AuthHandle::None => protocol::connect(&Login::None, is_tls),
            AuthHandle::User { name, password } => {
                protocol::connect(&Login::User { name, password: &password.current()? }, is_tls)
            }
            AuthHandle::Token(token) => protocol::connect(&Login::Token(&token.current()?), is_tls),
        };
        said.extend(b"PING\r\n");
        self.write(&said).await?;
        if let Some(words) = self.until_pong().await? {
            return Err(NatsError::Refused {
                address: self.address.clone(),
                words,
                has_credentials: !matches!(auth, AuthHandle::None),
                wants_signature: self.info.wants_signature,
            });
        }
        let Some(subject) = subject else { return Ok(()) };
        let mut said = protocol::subscribe(subject);
        said.extend(b"PING\r\n");
        self.write(&said).await?;
        match self.until_pong().await? {
            Some(words) => Err(NatsError::Forbidden { address: self.address.clone(), words }),
            None => Ok(()),
        }
    }

    /// Waits until the server has taken all that was said; gives its words where it objects.
    async fn until_pong(&mut self) -> Result<Option<String>, NatsError> {
        loop {
            match self.read_op().await? {
                Op::Pong => return Ok(None),
                Op::Err(words) => return Ok(Some(words)),
                Op::Info(info) => self.info = info,
                Op::Ping => self.write(b"PONG\r\n").await?,
                Op::Ok => {}
                // They are said again soon; what is too much is left out.
                Op::Msg(_) if self.early.len() >= EARLY_MAX => {}
                Op::Msg(payload) => self.early.push_back(payload),
            }
        }
    }

    /// The next thing worth telling. Until it comes, sends what waits in `frames` and sees to it that the server is there.
    pub(super) async fn next(
        &mut self,
        frames: &mut mpsc::Receiver<Bytes>,
        shared: &Shared,
        ping_interval: Duration,
    ) -> Result<Event, NatsError> {
        if let Some(payload) = self.early.pop_front() {
            return Ok(Event::Message(payload));
        }
        loop {
            while let Some(op) = self.decode()? {
                match op {
                    Op::Msg(payload) => return Ok(Event::Message(payload)),
                    Op::Ping => self.write_within(b"PONG\r\n", ping_interval).await?,
                    Op::Err(words) if is_objection(&words) => return Ok(Event::Objection(words)),
                    Op::Err(words) => return Err(NatsError::Ended { address: self.address.clone(), words }),
                    Op::Info(_) | Op::Pong | Op::Ok => {}
                }
            }
            tokio::select! {
                read = self.stream.read_buf(self.decoder.buffer()) => self.heard(read)?,
                Some(frame) = frames.recv() => {
                    let written = self.write_within(&frame, ping_interval).await;
                    let count = if written.is_ok() { &shared.sent } else { &shared.failed };
                    count.fetch_add(1, Ordering::Relaxed);
                    written?;
                }
                () = tokio::time::sleep_until(self.heard_at + ping_interval * (1 + u32::from(self.has_asked))) => {
                    if self.has_asked {
                        return Err(NatsError::Dead { address: self.address.clone(), time: ping_interval });
                    }
                    self.has_asked = true;
                    self.write_within(b"PING\r\n", ping_interval).await?;
                }
            }
        }
    }

    async fn read_op(&mut self) -> Result<Op, NatsError> {
        loop {
            if let Some(op) = self.decode()? {
                return Ok(op);
            }
            let read = self.stream.read_buf(self.decoder.buffer()).await;
            self.heard(read)?;
        }
    }

    fn decode(&mut self) -> Result<Option<Op>, NatsError> {
        let op = self.decoder.next_op();
        self.decoder.buffer().reserve(READ_BYTES);
        op.map_err(|error| NatsError::Protocol { address: self.address.clone(), error })
    }

    fn heard(&mut self, read: std::io::Result<usize>) -> Result<(), NatsError> {
        match read {
            Ok(0) => Err(NatsError::Closed(self.address.clone())),
            Ok(_) => {
                (self.heard_at, self.has_asked) = (Instant::now(), false);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), NatsError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| self.failed(&error))
    }

    /// A server that takes nothing is as dead as one that says nothing.
    async fn write_within(&mut self, bytes: &[u8], time: Duration) -> Result<(), NatsError> {
        let address = self.address.clone();
        timeout(time, self.write(bytes)).await.unwrap_or(Err(NatsError::Dead { address, time }))
    }

    fn failed(&self, error: &std::io::Error) -> NatsError {
        let is_tls = self.tls_version != "none";
        let circumstances = Circumstances { is_tls, certificate: self.certificate.as_ref(), first: [0; 5] };
        let address = self.address.clone();
        match circumstances.of_io(error) {
            Cause::CutShort | Cause::Closed => NatsError::Closed(address),
            // TLS 1.3 tells late whether it takes a certificate: at the first read.
            cause => NetError { stage: Stage::Handshake, address, cause, received: 0, is_reused: false }.into(),
        }
    }

    fn out_of_turn(&self) -> NatsError {
        NatsError::Protocol { address: self.address.clone(), error: ProtocolError::OutOfTurn }
    }
}

/// Whether the server goes on after this `-ERR`, as it does where a subject is not allowed.
fn is_objection(words: &str) -> bool {
    let starts = |start: &str| words.get(..start.len()).is_some_and(|word| word.eq_ignore_ascii_case(start));
    starts("Permissions Violation") || starts("Invalid Subject")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
    use tokio::sync::watch;

    use super::*;
    use crate::net::credentials::{Credentials, Secret};

    const ASK_AFTER: Duration = Duration::from_secs(10);

    struct World {
        session: Session<DuplexStream>,
        server: BufReader<DuplexStream>,
        shared: Shared,
        sender: mpsc::Sender<Bytes>,
        frames: mpsc::Receiver<Bytes>,
    }

    impl World {
        fn new(buffer_bytes: usize) -> Self {
            let (ours, theirs) = tokio::io::duplex(buffer_bytes);
            let (sender, frames) = mpsc::channel(16);
            let shared = Shared {
                sent: Default::default(),
                failed: Default::default(),
                payload_bytes_max: Default::default(),
                is_connected: watch::Sender::new(true),
            };
            let server = BufReader::new(theirs);
            Self { session: Session::new(ours, "nats:4222".into()), server, shared, sender, frames }
        }

        async fn says(&mut self, text: &str) {
            self.server.write_all(text.as_bytes()).await.unwrap();
        }

        async fn hears(&mut self) -> String {
            let mut line = String::new();
            self.server.read_line(&mut line).await.unwrap();
            line
        }

        async fn next(&mut self) -> String {
            match self.session.next(&mut self.frames, &self.shared, ASK_AFTER).await {
                Ok(Event::Message(payload)) => format!("message {}", String::from_utf8_lossy(&payload)),
                Ok(Event::Objection(words)) => format!("objection {words}"),
                Ok(other) => format!("{other:?}"),
                Err(error) => error.to_string(),
            }
        }
    }

    fn user() -> AuthHandle {
        let password = Credentials::default().secret(&Secret::Inline("s3cr@t".into()));
        AuthHandle::User { name: "me".into(), password }
    }

    #[tokio::test]
    async fn credentials_are_shown_and_a_subject_is_subscribed_to() {
        let mut world = World::new(4096);
        let subscribed = "MSG a.b 1 2\r\nhi\r\nPONG\r\n";
        world.says(&format!("INFO {{}}\r\nPING\r\nINFO {{\"max_payload\":5}}\r\nPONG\r\n{subscribed}")).await;
        assert!(world.session.greeting().await.is_ok_and(|info| !info.tls_required));
        world.session.log_in(&user(), Some("a.b")).await.unwrap();
        assert_eq!(world.session.payload_bytes_max(), 5);
        assert!(world.hears().await.contains("\"pass\":\"s3cr@t\""));
        for expected in ["PING\r\n", "PONG\r\n", "SUB a.b 1\r\n", "PING\r\n"] {
            assert_eq!(world.hears().await, expected);
        }
        assert_eq!(world.next().await, "message hi", "what came early is not lost");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_credentials() {
        for (info, auth, expected) in [
            ("{}", user(), "nats:4222 refuses our credentials: Authorization Violation"),
            ("{}", AuthHandle::None, "nats:4222 refuses us without credentials: Authorization Violation"),
            (
                "{\"nonce\":\"x\"}",
                user(),
                "nats:4222 refuses our credentials: Authorization Violation; it may want nkeys or a JWT, which are not \
                 supported",
            ),
        ] {
            let mut world = World::new(4096);
            world.says(&format!("INFO {info}\r\n-ERR 'Authorization Violation'\r\n")).await;
            world.session.info = world.session.greeting().await.unwrap();
            assert_eq!(world.session.log_in(&auth, None).await.unwrap_err().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn who_may_not_listen_is_told_so() {
        let mut world = World::new(4096);
        world.says("INFO {}\r\nPONG\r\n-ERR 'Permissions Violation for Subscription to \"a.b\"'\r\nPONG\r\n").await;
        world.session.greeting().await.unwrap();
        let told = world.session.log_in(&user(), Some("a.b")).await.unwrap_err().to_string();
        assert_eq!(told, "nats:4222 does not let us listen: Permissions Violation for Subscription to \"a.b\"");
    }

    #[tokio::test]
    async fn what_is_no_nats_server_is_told() {
        for (said, expected) in [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "nats:4222 does not speak NATS; it sent \"HTTP/1.1 400 Bad Request\""),
            ("PING\r\n", "nats:4222 says something out of turn; does it speak NATS?"),
            ("-ERR 'maximum connections exceeded'\r\n", "nats:4222 ended the connection: maximum connections exceeded"),
        ] {
            let mut world = World::new(4096);
            world.says(said).await;
            assert_eq!(world.session.greeting().await.unwrap_err().to_string(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_asked_and_then_given_up() {
        let mut world = World::new(4096);
        let began = Instant::now();
        assert_eq!(world.next().await, "nats:4222 did not answer within 10s; the connection is given up");
        assert_eq!(began.elapsed(), 2 * ASK_AFTER);
        assert_eq!(world.hears().await, "PING\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_is_kept() {
        let mut world = World::new(4096);
        world.says("PING\r\nINFO {\"ldm\":true}\r\n").await;
        let World { session, server, shared, frames, sender: _sender } = &mut world;
        let script = async {
            let mut line = String::new();
            server.read_line(&mut line).await.unwrap();
            assert_eq!(line, "PONG\r\n");
            for _ in 0..3 {
                line.clear();
                server.read_line(&mut line).await.unwrap();
                assert_eq!(line, "PING\r\n");
                server.write_all(b"PONG\r\n").await.unwrap();
            }
            server.write_all(b"MSG a 1 2\r\nhi\r\n").await.unwrap();
        };
        let (said, ()) = tokio::join!(session.next(frames, shared, ASK_AFTER), script);
        assert!(matches!(said, Ok(Event::Message(payload)) if payload == "hi"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_sent_and_counted_and_a_server_that_takes_nothing_is_given_up() {
        let mut world = World::new(64);
        world.sender.send(protocol::publish("a", b"one")).await.unwrap();
        world.sender.send(protocol::publish("a", &[b'x'; 100])).await.unwrap();
        assert_eq!(world.next().await, "nats:4222 did not answer within 10s; the connection is given up");
        assert_eq!((world.hears().await.as_str(), world.hears().await.as_str()), ("PUB a 3\r\n", "one\r\n"));
        assert_eq!((world.shared.sent.into_inner(), world.shared.failed.into_inner()), (1, 1));
    }

    #[tokio::test]
    async fn objections_go_on_and_errors_end() {
        let mut world = World::new(4096);
        let objection = "-ERR 'Permissions Violation for Subscription to \"a\"'\r\n";
        world.says(&format!("{objection}MSG a 1 1\r\nx\r\n-ERR 'Stale Connection'\r\n")).await;
        assert_eq!(world.next().await, "objection Permissions Violation for Subscription to \"a\"");
        assert_eq!(world.next().await, "message x");
        assert_eq!(world.next().await, "nats:4222 ended the connection: Stale Connection");
        world.says("MSG a 1 9999999\r\n").await;
        assert_eq!(world.next().await, "nats:4222 sent a message of 9999999 bytes; at most 1048576 are taken");
        let mut world = World::new(4096);
        world.server.shutdown().await.unwrap();
        assert_eq!(world.next().await, "nats:4222 closed the connection");
    }
}
