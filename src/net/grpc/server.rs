//! A gRPC server for calls that are answered once: unary ones, and streams of requests.
//!
//! Promises
//! - Whoever reaches the port can hold at most a slot, and that for a limited time: connections, handshakes, streams, idle
//!   connections and messages all have limits, and so has what all calls together hold of messages that are not whole.
//! - Messages of a stream are handed over one by one, as they come; a stream is never held whole.
//! - A service that panics costs its call and nothing else.
//! - Certificates are looked at for each connection, so a rotated one is shown at once.
//!
//! A stream may last as long as its client pleases, and be silent: that the client is still there, pings tell.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::frame::{Frames, framed};
use super::status::{Code, Status, timeout_of};
use super::{ACCEPTED_ENCODINGS, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_TIMEOUT, is_grpc};
use crate::net::credentials::ListenerCredentials;
use crate::net::listen::Listening;
use crate::net::tls::ListenerTls;

/// What a server offers.
pub trait Service: Send + Sync + 'static {
    /// Begins a call of the method with this path, such as `/package.Service/Method`. `None` where there is no such method.
    fn begin(&self, path: &str) -> Option<Box<dyn Call>>;
}

/// A call at work. Nothing in it waits: what a message is for is done when the method returns.
pub trait Call: Send {
    /// How many messages it takes.
    fn shape(&self) -> Shape;

    /// Takes the next message.
    ///
    /// # Errors
    /// They end the call.
    fn message(&mut self, message: Bytes) -> Result<(), Status>;

    /// All messages have come: the answer.
    ///
    /// # Errors
    /// They are the answer.
    fn end(self: Box<Self>) -> Result<Bytes, Status>;
}

/// How many messages a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    Unary,
    /// Any number, over any time.
    Stream,
}

/// What a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// Calls at a time of one connection; one more waits for another to end.
    pub streams_max: u32,
    /// From accepting to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// A connection without a call is closed after so long.
    pub idle_timeout: Duration,
    /// How long a unary call may take.
    pub unary_timeout: Duration,
    /// A client is asked so often whether it is still there.
    pub ping_interval: Duration,
    /// It answers within so long, or the connection ends.
    pub ping_timeout: Duration,
    /// Bytes of a message, before and after inflating.
    pub message_bytes_max: usize,
    /// Bytes that all calls together may hold of messages whose end has not come.
    pub begun_bytes_max: usize,
    /// Bytes of a call's header.
    pub header_bytes_max: u32,
    /// Bytes that may be on their way in one call.
    pub stream_window_bytes: u32,
    /// Bytes that may be on their way in one connection.
    pub connection_window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            streams_max: 100,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            unary_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            // As the original.
            message_bytes_max: 10 << 20,
            begun_bytes_max: 64 << 20,
            header_bytes_max: 16 << 10,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 2 << 20,
        }
    }
}

/// A listener at work.
pub struct Server(Listening);

impl Server {
    /// Serves on a port, over TLS where `tls` is given.
    ///
    /// # Errors
    /// When the port's address cannot be told.
    pub fn start(
        listener: TcpListener,
        tls: Option<ListenerCredentials>,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            tls,
            config: Mutex::default(),
            limits,
            service,
            stopped,
            begun_bytes: AtomicUsize::new(0),
        });
        let serve = move |stream, _| {
            let shared = shared.clone();
            async move { connection(stream, &shared).await }
        };
        Listening::start(listener, limits.connections_max, stop, serve).map(Self)
    }

    /// The address that it has, the port among it.
    pub fn listens_on(&self) -> SocketAddr {
        self.0.address()
    }

    /// Takes no more connections, ends streams with `UNAVAILABLE`, lets unary calls end within `grace`, and closes the rest.
    pub async fn stop(self, grace: Duration) {
        self.0.stop(grace).await;
    }
}

struct Shared {
    tls: Option<ListenerCredentials>,
    /// What was made of the credentials last: the same with the protocol that is spoken here.
    config: Mutex<Option<(Arc<ListenerTls>, Arc<ServerConfig>)>>,
    limits: Limits,
    service: Arc<dyn Service>,
    stopped: watch::Receiver<bool>,
    begun_bytes: AtomicUsize,
}

async fn connection(stream: TcpStream, shared: &Arc<Shared>) -> Result<(), String> {
    let Some(tls) = &shared.tls else { return serve(stream, shared).await };
    let config = shared.config_of(tls.current().map_err(|error| error.to_string())?);
    let handshake = TlsAcceptor::from(config).accept(stream);
    let mut stopped = shared.stopped.clone();
    let stream = tokio::select! {
        stream = tokio::time::timeout(shared.limits.handshake_timeout, handshake) => stream,
        _ = stopped.wait_for(|is_stopped| *is_stopped) => return Ok(()),
    };
    let stream = stream.map_err(|_| "the handshake took too long")?.map_err(|error| error.to_string())?;
    serve(stream, shared).await
}

impl Shared {
    fn config_of(&self, tls: Arc<ListenerTls>) -> Arc<ServerConfig> {
        let mut held = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = held.as_ref().filter(|(made_of, _)| Arc::ptr_eq(made_of, &tls)) {
            return config.clone();
        }
        let mut config = ServerConfig::clone(&tls.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        *held = Some((tls, config.clone()));
        config
    }
}

/// The calls of a connection.
#[derive(Default)]
struct Activity {
    calls: AtomicUsize,
    changed: Notify,
}

/// One of them.
struct Active(Arc<Activity>);

impl Active {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.calls.fetch_add(1, Ordering::Relaxed);
        activity.changed.notify_one();
        Self(activity.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

async fn serve<S>(stream: S, shared: &Arc<Shared>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let service = {
        let (shared, activity) = (shared.clone(), activity.clone());
        service_fn(move |request| {
            let active = Active::new(&activity);
            let shared = shared.clone();
            async move {
                let answer = answer(request, &shared).await;
                drop(active);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let limits = &shared.limits;
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopped = shared.stopped.clone();
    loop {
        let is_idle = activity.calls.load(Ordering::Relaxed) == 0;
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            () = activity.changed.notified() => {}
            () = tokio::time::sleep(limits.idle_timeout), if is_idle => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    // Where it was idle, the client says goodbye too; where it is the end, `stop` has its own limit.
    let ended = tokio::time::timeout(limits.unary_timeout, connection).await;
    ended.map_err(|_| "the client does not leave")?.map_err(|error| error.to_string())
}

/// Answers one request.
async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Answer> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST || !is_grpc(&head.headers) {
        let mut refused = Response::new(Answer::default());
        *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return refused;
    }
    let outcome = match prepare(&head.headers, head.uri.path(), shared) {
        Err(status) => Err(status),
        Ok(Prepared { call, frames, timeout }) => {
            let running = run(call, frames, body, shared);
            match timeout {
                None => running.await,
                Some(timeout) => tokio::time::timeout(timeout, running)
                    .await
                    .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "the time for this call is over"))),
            }
        }
    };
    outcome.map_or_else(|status| Answer::refusing(&status), |message| Answer::with(framed(&message)))
}

/// A call, before its first message.
struct Prepared {
    call: Box<dyn Call>,
    frames: Frames,
    timeout: Option<Duration>,
}

fn prepare(headers: &HeaderMap, path: &str, shared: &Shared) -> Result<Prepared, Status> {
    let call = shared.service.begin(path);
    let call = call.ok_or_else(|| Status::new(Code::Unimplemented, format!("there is no method {path}")))?;
    let is_gzip = match headers.get(GRPC_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            return Err(Status::new(Code::Unimplemented, "messages are taken as they are, or compressed with gzip"));
        }
    };
    let asked = match headers.get(GRPC_TIMEOUT).map(|value| value.to_str().ok().and_then(timeout_of)) {
        None => None,
        Some(Some(timeout)) => Some(timeout),
        Some(None) => return Err(Status::new(Code::InvalidArgument, "grpc-timeout is not a time")),
    };
    let timeout = match call.shape() {
        Shape::Unary => Some(asked.unwrap_or(shared.limits.unary_timeout).min(shared.limits.unary_timeout)),
        Shape::Stream => asked,
    };
    Ok(Prepared { call, frames: Frames::new(shared.limits.message_bytes_max, is_gzip), timeout })
}

/// Hands a call its messages.
async fn run(
    mut call: Box<dyn Call>,
    mut frames: Frames,
    mut body: Incoming,
    shared: &Shared,
) -> Result<Bytes, Status> {
    let is_unary = call.shape() == Shape::Unary;
    let mut begun = Begun { total: &shared.begun_bytes, bytes: 0 };
    let mut messages = 0u64;
    let mut stopped = shared.stopped.clone();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = stopped.wait_for(|is_stopped| *is_stopped), if !is_unary => {
                return Err(Status::new(Code::Unavailable, "the server ends"));
            }
        };
        let data = match frame {
            None => break,
            // Nobody hears the answer.
            Some(Err(_)) => return Err(Status::new(Code::Cancelled, "the call was broken off")),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
        };
        frames.push(data);
        while let Some(message) = frames.next()? {
            messages += 1;
            if is_unary && messages > 1 {
                return Err(Status::new(Code::Internal, "more than one message in a call that takes one"));
            }
            call.message(message)?;
        }
        begun.now(frames.held_bytes(), shared.limits.begun_bytes_max)?;
    }
    if !frames.is_between_messages() {
        return Err(Status::new(Code::Internal, "the call ends in the middle of a message"));
    }
    if is_unary && messages == 0 {
        return Err(Status::new(Code::Internal, "no message in a call that takes one"));
    }
    call.end()
}

/// What one call holds of a message whose end has not come, as a part of what all do.
struct Begun<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl Begun<'_> {
    fn now(&mut self, bytes: usize, total_max: usize) -> Result<(), Status> {
        if bytes == self.bytes {
            return Ok(());
        }
        // Wraps around below zero as it should: the total holds at least what is taken off.
        let change = bytes.wrapping_sub(self.bytes);
        let total = self.total.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        let has_grown = bytes > self.bytes;
        self.bytes = bytes;
        if has_grown && total > total_max {
            return Err(Status::new(Code::ResourceExhausted, "too many messages are being received at once"));
        }
        Ok(())
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The body of an answer: a message, or none, and trailers.
#[derive(Default)]
struct Answer {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// Answers with one message.
    fn with(message: Bytes) -> Response<Self> {
        let mut trailers = HeaderMap::new();
        Status::new(Code::Ok, "").write_to(&mut trailers);
        Self { message: Some(message), trailers: Some(trailers) }.response(HeaderMap::new())
    }

    /// Answers with a status alone, which stands in the header then.
    fn refusing(status: &Status) -> Response<Self> {
        let mut headers = HeaderMap::new();
        status.write_to(&mut headers);
        Self::default().response(headers)
    }

    fn response(self, headers: HeaderMap) -> Response<Self> {
        let mut response = Response::new(self);
        *response.headers_mut() = headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(super::CONTENT_TYPE));
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
        response
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.message.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }
}
