//! A small HTTP server: the aggregate endpoint, the admin port, metrics-agent's exporter, the demo's targets.
//!
//! It speaks HTTP/1.1, and HTTP/2 where [`Limits::http2_streams_max`] allows it and the client asks for it (ALPN). Who speaks
//! plain HTTP on a port for TLS is told so, in the words of Go's `net/http`.
//!
//! Promises
//! - Whoever reaches the port can hold at most a slot, and that for a limited time: connections, handshakes, requests and
//!   stalled answers all have limits.
//! - A handler that panics costs its connection (of HTTP/2, its request) and nothing else.
//! - Certificates are looked at for each connection, so a rotated one is shown at once.
//!
//! Left out: request bodies (none is ever read), HTTP/2 without TLS, upgrades.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::credentials::ListenerCredentials;
use super::listen::Listening;
use super::text::io_words;

/// A request, without a body.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: Method,
    /// The path, starting with `/`, as it came.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub peer: SocketAddr,
}

/// An answer.
pub type Response = http::Response<Body>;

/// Answers one request.
pub type Handler = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// The body of an answer, in one piece or made as fast as the client reads. Making a piece must not wait.
pub type Body = BoxBody<Bytes, Infallible>;

/// A body in one piece.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// An answer of plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// What is said to plain HTTP on a port for TLS: as Go's `net/http` has it, without any header.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Time between two signs of life that a client over HTTP/2 is asked for, and in which it must give one.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Bytes of one answer over HTTP/2 that wait for the client.
const HTTP2_SEND_BYTES_MAX: usize = 64 << 10;

/// What a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// From accepting to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the end of the handshake, or of the answer before, to the end of a request's header: both an idle connection
    /// and a slow request end with it. Over HTTP/2, from the handler's last answer to the next request.
    pub request_timeout: Duration,
    /// How long an answer may make no progress; over HTTP/2 also how long answers may last on a connection with no new request
    /// within `request_timeout`.
    pub write_timeout: Duration,
    /// Bytes of a request's header.
    pub header_bytes_max: usize,
    /// Requests at a time on one HTTP/2 connection; 0 where HTTP/2 is not spoken.
    pub http2_streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            header_bytes_max: 16 << 10,
            http2_streams_max: 0,
        }
    }
}

/// A listener at work.
pub struct Server(Listening);

impl Server {
    /// Opens a port. `[::]` is all addresses, those of IPv4 too, and only those where the system has no IPv6.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
        let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let bound = match TcpListener::bind(address).await {
            Err(error) if is_any && error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("cannot listen on {address}: another process has this port already"),
            _ => format!("cannot listen on {address}: {}", io_words(&error)),
        })
    }

    /// Serves on it, over TLS where `tls` is given. Files that cannot be used yet are told in the log: clients are refused until
    /// they can.
    pub fn start(
        listener: TcpListener,
        tls: Option<ListenerCredentials>,
        limits: Limits,
        handler: Handler,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if let Some(error) = tls.as_ref().and_then(|tls| tls.current().err()) {
            tracing::error!(%address, %error, "clients of this port are refused until its certificate can be used");
        }
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { tls, limits, handler, stopped });
        let serve = move |stream, peer| {
            let shared = shared.clone();
            async move { connection(stream, peer, &shared).await }
        };
        Listening::start(listener, limits.connections_max, stop, serve).map(Self)
    }

    /// The address that it has, the port among it.
    pub fn listens_on(&self) -> SocketAddr {
        self.0.address()
    }

    /// Takes no more connections, lets answers that were begun end within `grace`, and closes the rest.
    pub async fn stop(self, grace: Duration) {
        self.0.stop(grace).await;
    }
}

struct Shared {
    tls: Option<ListenerCredentials>,
    limits: Limits,
    handler: Handler,
    stopped: watch::Receiver<bool>,
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: &Shared) -> Result<(), String> {
    let limits = &shared.limits;
    let Some(tls) = &shared.tls else {
        return serve(Stalling::new(stream, limits.write_timeout), peer, shared).await;
    };
    let tls = tls.current().map_err(|error| error.to_string())?;
    let config = if limits.http2_streams_max > 0 { &tls.config_http2 } else { &tls.config };
    let handshake = handshake(stream, config.clone(), limits);
    let mut stopped = shared.stopped.clone();
    let stream = tokio::select! {
        stream = tokio::time::timeout(limits.handshake_timeout, handshake) => stream,
        // No answer was begun: nothing is waited for.
        _ = stopped.wait_for(|is_stopped| *is_stopped) => return Ok(()),
    };
    let stream = stream.map_err(|_| "the handshake took too long")?.map_err(|error| error.to_string())?;
    let stream = stream.ok_or("it spoke plain HTTP on a port for TLS")?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => serve_http2(stream, peer, shared).await,
        _ => serve(stream, peer, shared).await,
    }
}

/// A connection over TLS, or none where plain HTTP came and was answered.
async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    limits: &Limits,
) -> io::Result<Option<TlsStream<Stalling>>> {
    // A record of TLS begins with a number, a request of HTTP with the letters of a method.
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        stream.write_all(PLAIN_HTTP_ANSWER).await?;
        stream.shutdown().await?;
        // Closing on what was sent and not read would take the answer away again.
        let mut rest = stream.take(limits.header_bytes_max as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    TlsAcceptor::from(config).accept(Stalling::new(stream, limits.write_timeout)).await.map(Some)
}

/// The handler's answer to one request. Nothing of the request's body is read.
fn answer(
    shared: &Shared,
    peer: SocketAddr,
    request: http::Request<Incoming>,
) -> Pin<Box<dyn Future<Output = Response> + Send>> {
    let (head, _) = request.into_parts();
    (shared.handler)(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        peer,
    })
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, shared: &Shared) -> Result<(), String> {
    let service = service_fn(|request| {
        let answer = answer(shared, peer, request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.request_timeout)
        .max_buf_size(shared.limits.header_bytes_max.max(8 << 10))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopped = shared.stopped.clone();
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(|error| error.to_string())
}

async fn serve_http2(stream: TlsStream<Stalling>, peer: SocketAddr, shared: &Shared) -> Result<(), String> {
    let limits = &shared.limits;
    let (busy, requests) = watch::channel(Requests::default());
    let service = service_fn(|request| {
        let (answer, busy) = (answer(shared, peer, request), Busy::new(&busy));
        async move {
            let answer = answer.await;
            drop(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopped = shared.stopped.clone();
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = idle(requests.clone(), limits.request_timeout) => {}
        _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
    }
    // A client that has asked nothing may not even speak HTTP/2: it is not waited for.
    if !requests.borrow().were_any {
        return Ok(());
    }
    connection.as_mut().graceful_shutdown();
    let ended = tokio::time::timeout(limits.write_timeout, connection).await;
    ended.map_err(|_| "answers were not taken in time")?.map_err(|error| error.to_string())
}

/// The requests of an HTTP/2 connection.
#[derive(Default)]
struct Requests {
    /// Whose answers are being made.
    under_way: usize,
    were_any: bool,
}

/// Counts a request for as long as its answer is being made.
struct Busy(watch::Sender<Requests>);

impl Busy {
    fn new(requests: &watch::Sender<Requests>) -> Self {
        requests.send_modify(|requests| {
            requests.under_way += 1;
            requests.were_any = true;
        });
        Self(requests.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.under_way -= 1);
    }
}

/// Ends when no request has been under way for `timeout`.
async fn idle(mut requests: watch::Receiver<Requests>, timeout: Duration) {
    loop {
        if requests.wait_for(|requests| requests.under_way == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(timeout, requests.changed()).await.is_err() {
            return;
        }
    }
}

/// A stream whose writes fail when they make no progress for a while.
struct Stalling {
    inner: TcpStream,
    timeout: Duration,
    since: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    fn new(inner: TcpStream, timeout: Duration) -> Self {
        Self { inner, timeout, since: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.since = None;
            return polled;
        }
        let timeout = self.timeout;
        let since = self.since.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match since.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stalling {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(limits: Limits) -> Server {
        let handler: Handler = Arc::new(|request| {
            Box::pin(async move {
                match request.path.as_str() {
                    "/panic" => panic!("on purpose"),
                    path => text(StatusCode::OK, format!("{} {path}", request.method)),
                }
            })
        });
        let listener = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        Server::start(listener, None, limits, handler).unwrap()
    }

    /// Sends `request` and returns all that comes until the server closes.
    async fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.listens_on()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn answers_and_survives_a_panic() {
        let server = start(Limits::default()).await;
        assert_eq!(ask(&server, "GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await, "");
        let whole = ask(&server, "GET /x?y=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\nGET /x"), "{whole}");
        let head = ask(&server, "HEAD /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        server.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_silent_one_ends() {
        let server =
            start(Limits { connections_max: 1, request_timeout: Duration::from_millis(50), ..Limits::default() }).await;
        let mut silent = TcpStream::connect(server.listens_on()).await.unwrap();
        // The silent one has the only slot once the server has accepted it, which it does before the next one.
        assert_eq!(ask(&server, "").await, "");
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).await.unwrap();
        let after = ask(&server, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(after.starts_with("HTTP/1.1 200"), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_is_idle_when_no_request_came_for_a_while() {
        let (busy, requests) = watch::channel(Requests::default());
        let timeout = Duration::from_secs(75);
        let began = tokio::time::Instant::now();
        let idle = tokio::spawn(idle(requests, timeout));
        tokio::time::sleep(Duration::from_secs(70)).await;
        let (one, two) = (Busy::new(&busy), Busy::new(&busy));
        tokio::time::sleep(Duration::from_secs(200)).await;
        drop(one);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(!idle.is_finished() && busy.borrow().were_any, "an answer is being made");
        drop(two);
        idle.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 70 + 200 + 200 + 75);
    }

    #[tokio::test]
    async fn a_port_that_is_in_use_is_told_in_plain_words() {
        let server = start(Limits::default()).await;
        let address = server.listens_on();
        let told = Server::bind(address).await.unwrap_err();
        assert_eq!(told, format!("cannot listen on {address}: another process has this port already"));
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_the_end() {
        let server = start(Limits::default()).await;
        let _idle = TcpStream::connect(server.listens_on()).await.unwrap();
        let address = server.listens_on();
        server.stop(Duration::from_secs(60)).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
