//! A client of NATS: one connection, kept up for as long as the client lives, for one subscription or for publishing.
//!
//! Promises
//! - All servers are tried, in random order, again and again for ever: with pauses that grow from 100 ms to 5 s, each a random
//!   part of that.
//! - A connection that is dead is found within two `ping_interval`s of the last byte that came.
//! - What a server states about sizes is not trusted: see `protocol`. What waits to be published is bounded, and is not kept
//!   for the next connection: what is published here is said anew every few seconds.
//! - Certificates and secrets are those of the moment at which a connection is made.
//! - Credentials, also those of a server's URL, never get into an error.
//!
//! Left out on purpose: logging, which is for whoever uses it; nkeys, JWT credentials, headers, queue groups, `handshake_first`, and the other servers of a cluster
//! that a server names: only those of the configuration are connected to.

pub mod protocol;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::credentials::{ClientCredentials, CredentialError, Credentials, Secret, SecretHandle};
use super::error::NetError;
use super::text::duration;
use super::tls::TlsSettings;
use crate::random;
use protocol::ProtocolError;
use session::Session;

/// The port where an address names none.
pub const DEFAULT_PORT: u16 = 4222;

/// From connecting until the server has taken our credentials.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Pauses between two rounds over all servers: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Messages that wait to be sent, at most; whoever publishes waits for room.
const WAITING_MAX: usize = 16;

/// Where servers are, and how they are spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At least one.
    pub servers: Vec<Server>,
    /// For servers that have none of their own.
    pub auth: Auth,
    /// TLS, which a server then has to offer; without it, TLS with the system's authorities where a server wants it.
    pub tls: Option<TlsSettings>,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// It has to offer TLS, as with the scheme `tls`.
    pub wants_tls: bool,
    /// Credentials that stood in its URL.
    pub auth: Auth,
}

/// Credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// User and password.
    User {
        /// The user.
        name: String,
        /// The password, or the file that holds it.
        password: Secret,
    },
    /// A token, or the file that holds it.
    Token(Secret),
}

/// Why there is no connection, or none any more. `Display` is one sentence, without credentials.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Between us and the server.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A certificate, key or secret cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// What the server says is not NATS.
    #[error("{address} {error}")]
    Protocol {
        /// `host:port`, escaped.
        address: String,
        /// What it is.
        error: ProtocolError,
    },
    /// The server does not begin.
    #[error("{0} sent no INFO within {time}; does it speak NATS? handshake_first is not supported", time = duration(CONNECT_TIME_MAX))]
    Silent(String),
    /// The server does not take us.
    #[error("{address} refuses {}: {words}{}", if *has_credentials { "our credentials" } else { "us without credentials" },
        if *wants_signature { "; it may want nkeys or a JWT, which are not supported" } else { "" })]
    Refused {
        /// `host:port`, escaped.
        address: String,
        /// What it says, escaped.
        words: String,
        /// There were some.
        has_credentials: bool,
        /// It asks for signatures.
        wants_signature: bool,
    },
    /// The server does not let us subscribe.
    #[error("{address} does not let us listen: {words}")]
    Forbidden {
        /// `host:port`, escaped.
        address: String,
        /// What it says, escaped.
        words: String,
    },
    /// TLS is wanted and not offered.
    #[error("{0} does not offer TLS, which tls_config or the scheme tls asks for")]
    NoTls(String),
    /// Somebody put words into the server's mouth.
    #[error("{0} sent more than INFO before TLS; something between the two may have put that in")]
    BeforeTls(String),
    /// The server ended it.
    #[error("{address} ended the connection: {words}")]
    Ended {
        /// `host:port`, escaped.
        address: String,
        /// What it says, escaped.
        words: String,
    },
    /// The server is gone.
    #[error("{0} closed the connection")]
    Closed(String),
    /// Nothing comes or goes any more.
    #[error("{address} did not answer within {time}; the connection is given up", time = duration(*time))]
    Dead {
        /// `host:port`, escaped.
        address: String,
        /// How long it was waited for.
        time: Duration,
    },
}

/// What happens to a client. Texts are sentences for people, escaped and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a connection; messages may come from now on.
    Connected {
        /// With whom: `host:port`.
        server: String,
        /// `TLS 1.2`, `TLS 1.3` or `none`.
        tls: &'static str,
    },
    /// A message's payload, of 1 MiB at most.
    Message(Bytes),
    /// The server does not allow something to be published, and goes on all the same.
    Objection(String),
    /// The connection is gone, and why; some messages may be missed from now on.
    Lost(String),
    /// No server could be connected to: why, for each of them. Told after each round.
    Unreachable(String),
}

/// How publishing went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were handed to a connection.
    pub sent: u64,
    /// Messages that were not: no connection, or too large for the server.
    pub failed: u64,
}

/// A client at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    waiting: mpsc::Sender<Bytes>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    sent: AtomicU64,
    failed: AtomicU64,
    payload_bytes_max: AtomicUsize,
    is_connected: watch::Sender<bool>,
}

impl Client {
    /// Starts to connect, and subscribes to `subject` where there is one (see [`protocol::is_subject`]). `ping_interval` is how
    /// long nothing may come before the server is asked. What happens goes to `events`; while that is full, nothing is read.
    pub fn start(
        settings: &Settings,
        credentials: &Credentials,
        ping_interval: Duration,
        subject: Option<&str>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let shared = Arc::new(Shared {
            sent: AtomicU64::default(),
            failed: AtomicU64::default(),
            payload_bytes_max: AtomicUsize::default(),
            is_connected: watch::Sender::new(false),
        });
        let (waiting, frames) = mpsc::channel(WAITING_MAX);
        let servers = settings.servers.iter().map(|server| Candidate::new(server, settings, credentials)).collect();
        let keeper = Keeper {
            servers,
            ping_interval,
            subject: subject.map(str::to_owned),
            events,
            shared: shared.clone(),
            frames,
        };
        Self { shared, waiting, task: tokio::spawn(keeper.run()) }
    }

    /// Publishes a message where there is a connection, and else counts it as failed. Waits while others wait to be sent.
    pub async fn publish(&self, subject: &str, payload: &[u8]) {
        let is_fine = self.is_connected() && payload.len() <= self.shared.payload_bytes_max.load(Ordering::Relaxed);
        if !is_fine || self.waiting.send(protocol::publish(subject, payload)).await.is_err() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How publishing went so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { sent: read(&self.shared.sent), failed: read(&self.shared.failed) }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        *self.shared.is_connected.borrow()
    }

    /// Whether there is a connection, to be waited for.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.is_connected.subscribe()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server, and what a connection to it is made with.
#[derive(Clone, Debug)]
struct Candidate {
    host: String,
    port: u16,
    /// TLS is asked for, and not only taken where the server wants it.
    wants_tls: bool,
    tls: ClientCredentials,
    auth: AuthHandle,
}

/// Credentials, read anew for each connection.
#[derive(Clone, Debug)]
enum AuthHandle {
    None,
    User { name: String, password: SecretHandle },
    Token(SecretHandle),
}

impl Candidate {
    fn new(server: &Server, settings: &Settings, credentials: &Credentials) -> Self {
        let auth = match (&server.auth, &settings.auth) {
            (Auth::None, auth) | (auth, _) => match auth {
                Auth::None => AuthHandle::None,
                Auth::User { name, password } => {
                    AuthHandle::User { name: name.clone(), password: credentials.secret(password) }
                }
                Auth::Token(token) => AuthHandle::Token(credentials.secret(token)),
            },
        };
        Self {
            host: server.host.clone(),
            port: server.port,
            wants_tls: server.wants_tls || settings.tls.is_some(),
            tls: credentials.client(&settings.tls.clone().unwrap_or_default()),
            auth,
        }
    }
}

/// Keeps the connection up.
struct Keeper {
    servers: Vec<Candidate>,
    ping_interval: Duration,
    subject: Option<String>,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    frames: mpsc::Receiver<Bytes>,
}

impl Keeper {
    async fn run(mut self) {
        let (shortest, longest) = PAUSES;
        let mut pause = shortest;
        loop {
            match self.connect().await {
                Ok(session) => {
                    let began = Instant::now();
                    let error = self.serve(session).await;
                    self.tell(Event::Lost(error.to_string())).await;
                    // A server that takes us and lets us go at once is not asked in a hurry.
                    if began.elapsed() >= longest {
                        pause = shortest;
                    }
                }
                Err(reasons) => self.tell(Event::Unreachable(reasons)).await,
            }
            tokio::time::sleep(random::below(pause)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// One round over the servers. The reasons of all are one sentence, whatever the order was.
    async fn connect(&mut self) -> Result<Session, String> {
        random::shuffle(&mut self.servers);
        let mut reasons = Vec::new();
        for server in &self.servers {
            match Session::open(server, self.subject.as_deref()).await {
                Ok(session) => return Ok(session),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        reasons.sort();
        reasons.dedup();
        Err(reasons.join("; "))
    }

    async fn serve(&mut self, mut session: Session) -> NatsError {
        self.forget_waiting();
        self.shared.payload_bytes_max.store(session.payload_bytes_max(), Ordering::Relaxed);
        self.tell(Event::Connected { server: session.address.clone(), tls: session.tls_version }).await;
        self.shared.is_connected.send_replace(true);
        let error = loop {
            match session.next(&mut self.frames, &self.shared, self.ping_interval).await {
                // Who may not listen any more must not take silence for an answer.
                Ok(Event::Objection(words)) if self.subject.is_some() => {
                    break NatsError::Forbidden { address: session.address, words };
                }
                Ok(event) => self.tell(event).await,
                Err(error) => break error,
            }
        };
        self.shared.is_connected.send_replace(false);
        self.forget_waiting();
        error
    }

    async fn tell(&self, event: Event) {
        // Where nobody listens any more, the client is about to be dropped.
        let _ = self.events.send(event).await;
    }

    fn forget_waiting(&mut self) {
        while self.frames.try_recv().is_ok() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn accept(listener: &TcpListener, info: &str) -> BufReader<TcpStream> {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        stream.write_all(format!("INFO {info}\r\nPONG\r\nPONG\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn hears(stream: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    fn settings(ports: &[u16], tls: Option<TlsSettings>) -> Settings {
        let server = |port: &u16| Server { host: "127.0.0.1".into(), port: *port, wants_tls: false, auth: Auth::None };
        Settings { servers: ports.iter().map(server).collect(), auth: Auth::None, tls }
    }

    /// The next event that is not a failed round.
    async fn settled(events: &mut mpsc::Receiver<Event>) -> Event {
        loop {
            match events.recv().await {
                Some(Event::Unreachable(_)) => {}
                event => return event.unwrap(),
            }
        }
    }

    /// A port on which nobody listens.
    async fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn the_connection_is_made_again_and_what_was_not_sent_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = settings(&[closed_port().await, listener.local_addr().unwrap().port()], None);
        let (events, mut heard) = mpsc::channel(16);
        let client = Client::start(&settings, &Credentials::default(), Duration::from_secs(60), Some("a.b"), events);
        client.publish("p", b"nobody is there").await;
        assert_eq!(client.counts(), Counts { sent: 0, failed: 1 });
        let mut connected = client.connected();
        for round in 1..3 {
            let mut server = accept(&listener, "{\"max_payload\":10}").await;
            server.write_all(b"MSG a.b 1 2\r\nhi\r\n").await.unwrap();
            let came = settled(&mut heard).await;
            assert!(matches!(&came, Event::Connected { tls: "none", .. }), "{came:?}");
            assert_eq!(heard.recv().await, Some(Event::Message("hi".into())));
            connected.wait_for(|is_connected| *is_connected).await.unwrap();
            client.publish("p", b"too large a message").await;
            client.publish("p", b"fits").await;
            assert!(hears(&mut server).await.starts_with("CONNECT {"));
            for expected in ["PING", "SUB a.b 1", "PING", "PUB p 4", "fits"] {
                assert_eq!(hears(&mut server).await, expected);
            }
            drop(server);
            let gone = heard.recv().await;
            assert!(matches!(&gone, Some(Event::Lost(_))), "{gone:?}");
            assert_eq!(client.counts(), Counts { sent: round, failed: 1 + round });
        }
    }

    #[tokio::test]
    async fn no_credentials_are_sent_where_tls_is_asked_for_and_not_offered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(&[listener.local_addr().unwrap().port()], Some(TlsSettings::default()));
        settings.auth = Auth::Token(Secret::Inline("s3cret".into()));
        let (events, _heard) = mpsc::channel(16);
        let client = Client::start(&settings, &Credentials::default(), Duration::from_secs(60), None, events);
        let mut server = accept(&listener, "{}").await;
        assert_eq!(hears(&mut server).await, "", "the connection is closed without a word");
        drop(client);
        let candidate = Candidate::new(&settings.servers[0], &settings, &Credentials::default());
        let (session, server) = tokio::join!(Session::open(&candidate, None), accept(&listener, "{}"));
        let told = session.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.ends_with("does not offer TLS, which tls_config or the scheme tls asks for"), "{told}");
        drop(server);
        // Words behind INFO could be somebody else's, who is between the two.
        let begun = "{\"tls_available\":true}\r\n-ERR 'x'";
        let (session, _server) = tokio::join!(Session::open(&candidate, None), accept(&listener, begun));
        let told = session.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            told.ends_with("sent more than INFO before TLS; something between the two may have put that in"),
            "{told}"
        );
    }
}
