//! A gRPC client: one connection to one server, and calls that are answered once.
//!
//! Promises
//! - A connection is made when a call needs one and there is none, and is kept. A certificate that was rolled is used from the
//!   next call on: that makes a new connection, while calls over the old one end there.
//! - The name that TLS verifies is apart from the address.
//! - A call that failed is reported, with all that is known of how far it came; only the caller knows whether it may be sent
//!   twice. The one thing that is done again here is what was never sent: a request on a connection that had just ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;

use super::frame::{Frames, header};
use super::status::{Code, Status, timeout_text};
use super::{ACCEPTED_ENCODINGS, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_TIMEOUT, is_grpc};
use crate::net::connect::{Deadline, Endpoint, Stream, connect};
use crate::net::credentials::ClientCredentials;
use crate::net::error::{Cause, Circumstances, NetError, Stage};
use crate::net::http::USER_AGENT_VALUE;
use crate::net::text::escaped;
use crate::net::tls::ClientTls;
use crate::net::url::authority;

/// Bytes of an answer's header, and of its trailers.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A server is asked so often, while calls are under way, whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// It answers within so long, or the connection ends.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Whom a client calls.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, or `None` for plain HTTP/2.
    pub tls: Option<ClientCredentials>,
    /// For a whole call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of an answer, before and after inflating.
    pub answer_bytes_max: usize,
}

/// The answer of a call that went well.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The message.
    pub message: Bytes,
    /// Header fields of the answer and its trailers, together.
    pub metadata: HeaderMap,
}

/// Why a call came to nothing. Its `Display` is one sentence.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The server answers that it did not go well.
    #[error("{address} answers {status}")]
    Status {
        /// `host:port`, escaped.
        address: String,
        /// What it says.
        status: Status,
        /// Header fields of the answer and its trailers, together.
        metadata: Box<HeaderMap>,
    },
    /// No whole answer came.
    #[error("{0}")]
    Net(NetError),
}

/// Calls one server.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    connection: Mutex<Option<Connection>>,
}

/// A connection that is kept.
#[derive(Debug)]
struct Connection {
    sender: http2::SendRequest<Outgoing>,
    /// What the credentials were.
    made_with: Option<Arc<ClientTls>>,
    /// Why it ended, where the connection itself says so.
    trouble: Trouble,
}

type Trouble = Arc<SyncMutex<Option<Cause>>>;

impl Client {
    /// Connects to nothing yet.
    pub fn new(settings: ClientSettings) -> Self {
        Self { settings, connection: Mutex::default() }
    }

    /// `host:port`, escaped for people.
    pub fn address(&self) -> String {
        escaped(&authority(&self.settings.host, self.settings.port))
    }

    /// Calls the method with this path, such as `/package.Service/Method`, with these messages, and waits for the one answer.
    ///
    /// # Errors
    /// When the server says so, and when no whole answer came.
    pub async fn call(&self, path: &'static str, metadata: &HeaderMap, messages: &[Bytes]) -> Result<Reply, CallError> {
        self.call_with(path, metadata, messages, false).await
    }

    /// The same with one message that is compressed with gzip.
    ///
    /// # Errors
    /// As of [`call`](Self::call). A server that does not inflate says that the method is not there.
    pub async fn call_gzipped(
        &self,
        path: &'static str,
        metadata: &HeaderMap,
        message: Bytes,
    ) -> Result<Reply, CallError> {
        self.call_with(path, metadata, &[message], true).await
    }

    async fn call_with(
        &self,
        path: &'static str,
        metadata: &HeaderMap,
        messages: &[Bytes],
        is_gzip: bool,
    ) -> Result<Reply, CallError> {
        let deadline = Deadline::after(self.settings.timeout);
        let (mut sender, mut trouble) = self.sender(deadline, None).await.map_err(CallError::Net)?;
        let mut request = self.request(path, metadata, messages, is_gzip)?;
        for is_second in [false, true] {
            let sent = deadline.run(sender.try_send_request(request)).await;
            let mut failed = match sent {
                Err(timeout) => {
                    self.forget(&trouble).await;
                    return Err(self.failed(Stage::Header, timeout));
                }
                Ok(Ok(answer)) => {
                    let read = self.read(answer, &trouble, deadline).await;
                    if matches!(read, Err(CallError::Net(_))) {
                        self.forget(&trouble).await;
                    }
                    return read;
                }
                Ok(Err(failed)) => failed,
            };
            match failed.take_message() {
                // It was never sent.
                Some(again) if !is_second => request = again,
                unsent => {
                    let stage = if unsent.is_some() { Stage::Connect } else { Stage::Header };
                    return Err(self.failed(stage, cause_of(failed.error(), &trouble)));
                }
            }
            (sender, trouble) = self.sender(deadline, Some(&trouble)).await.map_err(CallError::Net)?;
        }
        Err(self.failed(Stage::Connect, Cause::Closed))
    }

    /// A connection: the one that is kept, or a new one where there is none, where it has ended, where it is the one with this
    /// `spent` trouble, or where the credentials have changed.
    async fn sender(
        &self,
        deadline: Deadline,
        spent: Option<&Trouble>,
    ) -> Result<(http2::SendRequest<Outgoing>, Trouble), NetError> {
        let settings = &self.settings;
        let tls = settings.tls.as_ref().map(ClientCredentials::current).transpose();
        let tls = tls.map_err(|error| self.net_error(Stage::Resolve, Cause::Credentials(error)))?;
        let held = deadline.run(self.connection.lock()).await;
        let mut held = held.map_err(|timeout| self.net_error(Stage::Connect, timeout))?;
        if let Some(connection) = &*held {
            let is_same = match (&connection.made_with, &tls) {
                (None, None) => true,
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            let is_spent = spent.is_some_and(|spent| Arc::ptr_eq(spent, &connection.trouble));
            if is_same && !is_spent && !connection.sender.is_closed() {
                return Ok((connection.sender.clone(), connection.trouble.clone()));
            }
        }
        let connection = self.open(tls, deadline).await?;
        let found = (connection.sender.clone(), connection.trouble.clone());
        *held = Some(connection);
        Ok(found)
    }

    /// Keeps the connection with this trouble no longer: the next call may have better luck with another one.
    async fn forget(&self, spent: &Trouble) {
        let mut held = self.connection.lock().await;
        held.take_if(|connection| Arc::ptr_eq(&connection.trouble, spent));
    }

    async fn open(&self, tls: Option<Arc<ClientTls>>, deadline: Deadline) -> Result<Connection, NetError> {
        let settings = &self.settings;
        let endpoint = Endpoint {
            host: settings.host.clone(),
            port: settings.port,
            tls: tls.as_deref().map(speaking_h2),
            server_name: settings.tls.as_ref().and_then(|tls| tls.server_name().map(str::to_owned)),
            trace: None,
        };
        let (stream, _) = connect(&endpoint, deadline).await?;
        let trouble = Trouble::default();
        let noting = Noting { stream, tls: tls.clone(), trouble: trouble.clone() };
        let shaking = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(noting));
        let shaken = deadline.run(shaking).await.map_err(|timeout| self.net_error(Stage::Handshake, timeout))?;
        let (sender, driver) = shaken.map_err(|error| self.net_error(Stage::Handshake, cause_of(&error, &trouble)))?;
        // It ends when the last sender is gone and the last call is over. Its error reaches the calls as well.
        tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(Connection { sender, made_with: tls, trouble })
    }

    fn request(
        &self,
        path: &'static str,
        metadata: &HeaderMap,
        messages: &[Bytes],
        is_gzip: bool,
    ) -> Result<Request<Outgoing>, CallError> {
        let settings = &self.settings;
        let bad = |_| self.failed(Stage::Resolve, Cause::BadUrl(escaped(&settings.host)));
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let authority = authority(&settings.host, settings.port);
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().map_err(bad)?;
        let pieces = messages
            .iter()
            .flat_map(|message| [Bytes::copy_from_slice(&header(message.len(), is_gzip)), message.clone()]);
        let mut request = Request::new(Outgoing(pieces.filter(|piece| !piece.is_empty()).collect()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.extend(metadata.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(super::CONTENT_TYPE));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if is_gzip {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
        if let Ok(timeout) = HeaderValue::from_str(&timeout_text(settings.timeout)) {
            headers.insert(GRPC_TIMEOUT, timeout);
        }
        Ok(request)
    }

    /// Reads an answer: its one message, and how it ended.
    async fn read(
        &self,
        answer: http::Response<Incoming>,
        trouble: &Trouble,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        let (head, mut body) = answer.into_parts();
        let mut metadata = head.headers;
        if !head.status.is_success() || !is_grpc(&metadata) {
            let said = Status::read_from(&metadata);
            let message = format!("HTTP status {}, and no answer of gRPC", head.status.as_u16());
            let status = said.unwrap_or_else(|| Status::new(Code::of_http(head.status), message));
            return Err(self.refused(status, metadata));
        }
        let is_gzip = metadata.get(GRPC_ENCODING).is_some_and(|encoding| encoding.as_bytes() == b"gzip");
        let mut frames = Frames::new(self.settings.answer_bytes_max, is_gzip);
        let mut message = None;
        loop {
            let frame = deadline.run(body.frame()).await.map_err(|timeout| self.failed(Stage::Body, timeout))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| self.failed(Stage::Body, cause_of(&error, trouble)))?;
            match frame.into_data() {
                Ok(data) => frames.push(data),
                Err(frame) => {
                    metadata.extend(frame.into_trailers().unwrap_or_default());
                    continue;
                }
            }
            while let Some(next) = frames.next().map_err(|status| self.refused(status, metadata.clone()))? {
                message.get_or_insert(next);
            }
        }
        match (Status::read_from(&metadata), message) {
            (Some(Status { code: Code::Ok, .. }), Some(message)) => Ok(Reply { message, metadata }),
            (Some(Status { code: Code::Ok, .. }), None) => {
                Err(self.refused(Status::new(Code::Internal, "no message in the answer"), metadata))
            }
            (Some(status), _) => Err(self.refused(status, metadata)),
            (None, _) => Err(self.failed(Stage::Body, Cause::CutShort)),
        }
    }

    fn refused(&self, status: Status, metadata: HeaderMap) -> CallError {
        CallError::Status { address: self.address(), status, metadata: Box::new(metadata) }
    }

    fn failed(&self, stage: Stage, cause: Cause) -> CallError {
        CallError::Net(self.net_error(stage, cause))
    }

    fn net_error(&self, stage: Stage, cause: Cause) -> NetError {
        // A server may refuse us late, as TLS 1.3 has it.
        let stage = match cause {
            Cause::WantsClientCertificate { .. } | Cause::RefusesClientCertificate { .. } | Cause::Alert(_) => {
                Stage::Handshake
            }
            _ => stage,
        };
        NetError { stage, address: self.address(), cause, received: 0, is_reused: false }
    }
}

/// The same with the protocol that is spoken here.
fn speaking_h2(tls: &ClientTls) -> Arc<ClientTls> {
    let mut config = rustls::ClientConfig::clone(&tls.config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let verifier = tls.verifier.clone();
    Arc::new(ClientTls { config: Arc::new(config), certificate: tls.certificate.clone(), verifier })
}

fn cause_of(error: &hyper::Error, trouble: &Trouble) -> Cause {
    // hyper's error does not lead to that of the connection, where HTTP/2 is spoken.
    let noted = trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
    noted.unwrap_or_else(|| Circumstances::default().of_hyper(error, u64::from(HEADER_BYTES_MAX)))
}

/// A stream that notes why it failed.
struct Noting {
    stream: Stream,
    tls: Option<Arc<ClientTls>>,
    trouble: Trouble,
}

impl Noting {
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            let circumstances = Circumstances {
                is_tls: self.tls.is_some(),
                certificate: self.tls.as_ref().and_then(|tls| tls.certificate.as_ref()),
                first: self.stream.seen().first(),
            };
            let cause = circumstances.of_io(error);
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        }
        polled
    }
}

impl AsyncRead for Noting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(polled)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The body of a request: headers of messages and messages, in turn.
struct Outgoing(VecDeque<Bytes>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
