//! A small HTTP/1.1 server: the aggregate endpoint, the admin port, the demo's targets.
//!
//! Promises
//! - Whoever reaches the port can hold at most a slot, and that for a limited time: connections, handshakes, requests and
//!   stalled answers all have limits.
//! - A handler that panics costs its connection and nothing else.
//! - Certificates are looked at for each connection, so a rotated one is shown at once.
//!
//! Left out: request bodies (none is ever read), HTTP/2, upgrades.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;

use super::credentials::ListenerCredentials;

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

/// What a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// From accepting to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the end of the handshake, or of the answer before, to the end of a request's header: both an idle connection
    /// and a slow request end with it.
    pub request_timeout: Duration,
    /// How long an answer may make no progress.
    pub write_timeout: Duration,
    /// Bytes of a request's header.
    pub header_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            header_bytes_max: 16 << 10,
        }
    }
}

/// A listener at work.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Opens a port.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
    }

    /// Serves on it, over TLS where `tls` is given.
    pub fn start(
        listener: TcpListener,
        tls: Option<ListenerCredentials>,
        limits: Limits,
        handler: Handler,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { tls, limits, handler, stopped });
        Ok(Self { address, stop, task: tokio::spawn(accept(listener, shared)) })
    }

    /// The address that it has, the port among it.
    pub fn listens_on(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets answers that were begun end within `grace`, and closes the rest.
    pub async fn stop(self, grace: Duration) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(grace, self.task).await.is_err() {
            abort.abort();
        }
    }
}

struct Shared {
    tls: Option<ListenerCredentials>,
    limits: Limits,
    handler: Handler,
    stopped: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(shared.limits.connections_max));
    let mut stopped = shared.stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let shared = shared.clone();
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(stream, peer, &shared).await {
                tracing::debug!(%peer, error, "a client's connection ended early");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: &Shared) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let stream = Stalling::new(stream, shared.limits.write_timeout);
    let Some(tls) = &shared.tls else { return serve(stream, peer, shared).await };
    let config = tls.current().map_err(|error| error.to_string())?.config.clone();
    let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
    let mut stopped = shared.stopped.clone();
    let stream = tokio::select! {
        stream = tokio::time::timeout(shared.limits.handshake_timeout, handshake) => stream,
        // No answer was begun: nothing is waited for.
        _ = stopped.wait_for(|is_stopped| *is_stopped) => return Ok(()),
    };
    let stream = stream.map_err(|_| "the handshake took too long")?.map_err(|error| error.to_string())?;
    serve(stream, peer, shared).await
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, shared: &Shared) -> Result<(), String> {
    let service = service_fn(|request: http::Request<Incoming>| {
        let (head, _) = request.into_parts();
        let answer = (shared.handler)(Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            peer,
        });
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

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_the_end() {
        let server = start(Limits::default()).await;
        let _idle = TcpStream::connect(server.listens_on()).await.unwrap();
        let address = server.listens_on();
        server.stop(Duration::from_secs(60)).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
