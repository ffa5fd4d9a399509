//! A small HTTP/1.1 server: for what we expose, the admin port, example targets, and tests.
//!
//! Promises
//! - Whoever reaches the port can hold a bounded number of connections, for a bounded time in each of its states: TLS
//!   handshake, header, body, idle, an answer that is not read. All of it is in [`ServerLimits`].
//! - A panic in a handler costs its connection and nothing else.
//! - After the shutdown signal nothing is accepted any more, requests in flight end within `grace`, and then `serve` returns.
//!
//! Left out on purpose: HTTP/2, routing, sessions. A handler is one function.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::credentials::ListenerCredentials;
use super::text::io_words;

/// What a listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once; more wait in the kernel's backlog. 256.
    pub connections: usize,
    /// For the TLS handshake, and for the header of a connection's first request; 10 s each.
    pub handshake: Duration,
    /// From the end of an answer to the end of the next request's header; 3 min, above anybody's scrape interval.
    pub idle: Duration,
    /// For the body of a request to arrive, and for a reader of an answer to take a piece of it; 30 s each.
    pub stall: Duration,
    /// Bytes of a request's header; 32 KiB.
    pub header_bytes: usize,
    /// Bytes of a request's body; 1 MiB.
    pub body_bytes: usize,
    /// For requests in flight at shutdown; 3 s.
    pub grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            stall: Duration::from_secs(30),
            header_bytes: 32 << 10,
            body_bytes: 1 << 20,
            grace: Duration::from_secs(3),
        }
    }
}

/// A request, its body read.
#[derive(Debug)]
pub struct ServerRequest {
    /// GET, and so on.
    pub method: Method,
    /// The path, as it came.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub peer: SocketAddr,
    /// The certificate that it showed, verified, where the listener asks for one.
    pub client: Option<Arc<Certificate>>,
}

/// What answers requests.
pub type Handler = Arc<dyn Fn(ServerRequest) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// A [`Handler`] from an async function.
pub fn handler<F>(answer: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

/// Serves until `shutdown` is over, and then until the requests in flight are, or the grace is.
pub async fn serve(
    listener: TcpListener,
    tls: Option<ListenerCredentials>,
    limits: ServerLimits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (ending, ends) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            // Ended connections leave the set here; a panic in a handler ends here too.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((permit, stream, peer)) => {
                is_failing = false;
                let connection =
                    Connection { peer, limits, handler: handler.clone(), ends: ends.clone(), _permit: permit };
                connections.spawn(connection.run(stream, tls.clone()));
            }
            Err(error) => {
                if !is_failing {
                    tracing::warn!(error = io_words(&error), "a connection cannot be accepted; trying on");
                }
                is_failing = true;
                // Out of file descriptors, mostly: the next attempt fails at once as well.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Those that are left are ended by dropping the set.
    let _ = timeout(limits.grace, all).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((permit, stream, peer))
}

struct Connection {
    peer: SocketAddr,
    limits: ServerLimits,
    handler: Handler,
    ends: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, tcp: TcpStream, tls: Option<ListenerCredentials>) {
        // Costs a little time where it fails, and nothing else.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else { return self.serve(tcp, None).await };
        let tls = match tls.current() {
            Ok(tls) => tls,
            // The credentials said so in the log, once.
            Err(_) => return,
        };
        let handshake = TlsAcceptor::from(tls.config.clone()).accept(tcp);
        match timeout(self.limits.handshake, handshake).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let client = chain.and_then(|chain| Certificate::parse(chain.first()?)).map(Arc::new);
                self.serve(stream, client).await;
            }
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, error = io_words(&error), "tls handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "tls handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, client: Option<Arc<Certificate>>) {
        let Self { peer, limits, handler, mut ends, _permit } = self;
        let is_used = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            is_used.store(true, Ordering::Relaxed);
            answer(request, limits, handler.clone(), peer, client.clone())
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(limits.header_bytes.max(8192))
            .max_header_size(limits.header_bytes)
            .max_headers(100)
            .serve_connection(TokioIo::new(Unstalled::new(stream, limits.stall)), service);
        let mut connection = pin!(connection);
        let mut first_header = pin!(tokio::time::sleep(limits.handshake));
        let mut is_first = true;
        let mut is_ending = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection failed");
                    }
                    return;
                }
                () = &mut first_header, if is_first => {
                    if !is_used.load(Ordering::Relaxed) {
                        return;
                    }
                    is_first = false;
                }
                // A server that is gone ends its connections as well.
                _ = ends.wait_for(|is_ending| *is_ending), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    limits: ServerLimits,
    handler: Handler,
    peer: SocketAddr,
    client: Option<Arc<Certificate>>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let read = timeout(limits.stall, Limited::new(body, limits.body_bytes).collect()).await;
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body of the request is too large\n"));
        }
        Ok(Err(_)) => return Ok(refusal(StatusCode::BAD_REQUEST, "the body of the request cannot be read\n")),
        Err(_) => return Ok(refusal(StatusCode::REQUEST_TIMEOUT, "the body of the request took too long\n")),
    };
    let request = ServerRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body,
        peer,
        client,
    };
    let mut answer = handler(request).await;
    if is_head {
        // hyper sends no body to HEAD; one that streams need not be made.
        *answer.body_mut() = Body::empty();
    }
    Ok(answer)
}

/// An answer of text, after which the connection is closed.
fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut refusal = text_answer(status, text);
    refusal.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    refusal
}

/// An answer of plain text.
pub fn text_answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(Body::full(text));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    answer
}

/// The body of an answer: at once, or piece by piece.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Full(Bytes),
    Pieces(mpsc::Receiver<Piece>),
    Ended,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// Where the pieces of a [`Body`] come from. A body is whole only after [`BodySender::finish`]: where the sender is dropped before, whoever reads
/// the body is told that it was cut short.
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<Piece>);

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct NobodyReads;

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Kind::Ended)
    }

    /// These bytes, with a `Content-Length`.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() { Kind::Ended } else { Kind::Full(bytes) })
    }

    /// Pieces that are still being made; at most `pieces_max`, at least one, wait to be sent.
    pub fn streaming(pieces_max: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(pieces_max.max(1));
        (BodySender(sender), Self(Kind::Pieces(receiver)))
    }
}

impl BodySender {
    /// Waits until there is room.
    ///
    /// # Errors
    /// When whoever asked is gone.
    pub async fn send(&self, piece: impl Into<Bytes>) -> Result<(), NobodyReads> {
        self.0.send(Piece::Bytes(piece.into())).await.map_err(|_| NobodyReads)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When whoever asked is gone.
    pub async fn finish(self) -> Result<(), NobodyReads> {
        self.0.send(Piece::End).await.map_err(|_| NobodyReads)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.0 {
            Kind::Ended => return Poll::Ready(None),
            Kind::Full(bytes) => Some(Piece::Bytes(std::mem::take(bytes))),
            Kind::Pieces(pieces) => {
                let piece = ready!(pieces.poll_recv(cx));
                if let Some(Piece::Bytes(bytes)) = piece {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                piece
            }
        };
        self.0 = Kind::Ended;
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(io::Error::other("the body was given up"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct Unstalled<S> {
    stream: S,
    limit: Duration,
    /// Set while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, ended)
    }
}
