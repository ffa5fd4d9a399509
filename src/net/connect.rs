//! Dialling: from a host and a port to a stream that is ready for a request, TLS included, under one deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Certificate;
use super::error::{Cause, Circumstances, NetError, Stage};
use super::host::is_own_address;
use super::text::{escaped, io_words};
use super::tls::ClientTls;
use super::trace::Trace;
use super::url::authority;

/// Addresses of a name that are tried, at most.
const ADDRESSES_MAX: usize = 16;

/// When a whole request must be over, and how long that was from its start: for the sentence when it is not.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    /// `total` from now.
    pub fn after(total: Duration) -> Self {
        Self { at: Instant::now() + total, total }
    }

    /// At a point in time, which was `total` away when the request began.
    pub fn new(at: Instant, total: Duration) -> Self {
        Self { at, total }
    }

    /// What `work` comes to, or that the time is over.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Cause> {
        tokio::time::timeout_at(self.at, work).await.map_err(|_| Cause::Timeout(self.total))
    }
}

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS as it is now, or `None` for plain text.
    pub tls: Option<Arc<ClientTls>>,
    /// The name to send and to verify, where it is not `host`.
    pub server_name: Option<String>,
    /// Notes what connecting goes through, where somebody wants to know.
    pub trace: Option<Arc<Trace>>,
}

/// Whom a connection is with.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The address that answered.
    pub address: SocketAddr,
    /// It is this machine.
    pub is_local: bool,
    /// What TLS says, where it is spoken.
    pub tls: Option<TlsInfo>,
}

/// What TLS says of a connection.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// An earlier session was resumed.
    pub is_resumed: bool,
    /// The name that was sent and verified.
    pub server_name: String,
    /// The server's certificate; `None` where it cannot be read.
    pub certificate: Option<Certificate>,
}

/// Connects.
///
/// # Errors
/// At the stages up to [`Stage::Handshake`].
pub(super) async fn connect(endpoint: &Endpoint, deadline: Deadline) -> Result<(Stream, PeerInfo), NetError> {
    let Some(tls) = &endpoint.tls else { return connect_plain(endpoint, deadline).await };
    // Before anybody is bothered with a connection that cannot come to anything.
    endpoint.server_name().map_err(|cause| endpoint.fail(Stage::Resolve, cause))?;
    let (stream, peer) = connect_plain(endpoint, deadline).await?;
    secure(stream, peer, endpoint, tls, deadline).await
}

/// Connects, and leaves TLS for later: see [`secure`].
///
/// # Errors
/// At the stages up to [`Stage::Connect`].
pub(super) async fn connect_plain(endpoint: &Endpoint, deadline: Deadline) -> Result<(Stream, PeerInfo), NetError> {
    let addresses = deadline.run(endpoint.resolve()).await.and_then(|found| found);
    let addresses = addresses.map_err(|cause| endpoint.fail(Stage::Resolve, cause))?;
    endpoint.enter(Stage::Connect);
    let (tcp, address) = dial(&addresses, deadline).await.map_err(|cause| endpoint.fail(Stage::Connect, cause))?;
    if let Some(trace) = &endpoint.trace {
        trace.connected(address);
    }
    let wire = Wire { tcp, seen: Arc::default() };
    let seen = wire.seen.clone();
    let peer = PeerInfo { address, is_local: is_own_address(address.ip()), tls: None };
    Ok((Stream { inner: Inner::Plain(wire), seen }, peer))
}

/// Begins TLS on a connection that is plain so far, and of which nothing waits to be read.
///
/// # Errors
/// At [`Stage::Handshake`].
pub(super) async fn secure(
    stream: Stream,
    peer: PeerInfo,
    endpoint: &Endpoint,
    tls: &ClientTls,
    deadline: Deadline,
) -> Result<(Stream, PeerInfo), NetError> {
    let Inner::Plain(Wire { tcp, .. }) = stream.inner else { return Ok((stream, peer)) };
    let name = endpoint.server_name().map_err(|cause| endpoint.fail(Stage::Resolve, cause))?;
    let server_name = escaped(&name.to_str());
    let wire = Wire { tcp, seen: Arc::default() };
    let wire_seen = wire.seen.clone();
    endpoint.enter(Stage::Handshake);
    let config = match &endpoint.trace {
        Some(trace) => trace.watch(tls, &server_name),
        None => tls.config.clone(),
    };
    let handshake = TlsConnector::from(config).connect(name, wire);
    let stream = match deadline.run(handshake).await {
        Err(timeout) => return Err(endpoint.fail(Stage::Handshake, timeout)),
        Ok(Err(error)) => {
            let circumstances =
                Circumstances { is_tls: true, certificate: tls.certificate.as_ref(), first: wire_seen.first() };
            return Err(endpoint.fail(Stage::Handshake, circumstances.of_io(&error)));
        }
        Ok(Ok(stream)) => stream,
    };
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    };
    if let Some(trace) = &endpoint.trace {
        trace.secured(version, session);
    }
    let tls = TlsInfo {
        version,
        is_resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        server_name,
        certificate: session.peer_certificates().and_then(|chain| Certificate::parse(chain.first()?)),
    };
    let stream = Stream { inner: Inner::Tls(Box::new(stream)), seen: Arc::default() };
    Ok((stream, PeerInfo { tls: Some(tls), ..peer }))
}

impl Endpoint {
    /// `host:port`, escaped for people.
    pub fn address(&self) -> String {
        escaped(&authority(&self.host, self.port))
    }

    fn enter(&self, stage: Stage) {
        if let Some(trace) = &self.trace {
            trace.enter(stage);
        }
    }

    fn fail(&self, stage: Stage, cause: Cause) -> NetError {
        NetError { stage, address: self.address(), cause, received: 0, is_reused: false }
    }

    fn server_name(&self) -> Result<ServerName<'static>, Cause> {
        let name = self.server_name.as_ref().unwrap_or(&self.host);
        ServerName::try_from(name.clone()).map_err(|_| Cause::BadServerName(escaped(name)))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Cause> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        self.enter(Stage::Resolve);
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|error| Cause::NoAddress(io_words(&error)))?.take(ADDRESSES_MAX).collect();
        if found.is_empty() {
            return Err(Cause::NoAddress("it has no address".into()));
        }
        Ok(found)
    }
}

/// The first address that accepts. Each but the last gets its share of the time that is left, so that one that swallows
/// packets does not hide the next.
async fn dial(addresses: &[SocketAddr], deadline: Deadline) -> Result<(TcpStream, SocketAddr), Cause> {
    let mut failed = Cause::NoAddress("it has no address".into());
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.at.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Err(_) => failed = Cause::Timeout(deadline.total),
            Ok(Err(error)) => failed = Circumstances::default().of_io(&error),
            Ok(Ok(stream)) => {
                // Costs a little time where it fails, and nothing else.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
        }
    }
    Err(failed)
}

/// A connection, plain or TLS, that remembers how much it read.
pub(super) struct Stream {
    inner: Inner,
    seen: Arc<Seen>,
}

enum Inner {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// What came over a connection so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    bytes: AtomicU64,
    /// The first five, packed.
    first: AtomicU64,
}

impl Seen {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The first bytes; zeros where they did not come.
    pub(super) fn first(&self) -> [u8; 5] {
        let [a, b, c, d, e, ..] = self.first.load(Ordering::Relaxed).to_le_bytes();
        [a, b, c, d, e]
    }

    fn add(&self, read: &[u8]) {
        let before = self.bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
        for (at, byte) in (before..5).zip(read) {
            self.first.fetch_or(u64::from(*byte) << (at * 8), Ordering::Relaxed);
        }
    }
}

impl Stream {
    pub(super) fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// A write that failed because the server hung up: its parting words, an alert such as `certificate_required`, may
    /// still wait to be read, and say more.
    fn parting_words(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let Inner::Tls(stream) = &mut self.inner else { return error };
        let mut scratch = [0; 1024];
        let mut scratch = ReadBuf::new(&mut scratch);
        match Pin::new(stream).poll_read(cx, &mut scratch) {
            Poll::Ready(Err(said)) if said.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => said,
            _ => error,
        }
    }
}

/// The TCP connection, which remembers how it began.
struct Wire {
    tcp: TcpStream,
    seen: Arc<Seen>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        self.seen.add(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match &mut self.inner {
            // The wire counts.
            Inner::Plain(wire) => return Pin::new(wire).poll_read(cx, buf),
            Inner::Tls(stream) => ready!(Pin::new(stream).poll_read(cx, buf))?,
        }
        self.seen.add(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.inner {
            Inner::Plain(wire) => ready!(Pin::new(wire).poll_write(cx, buf)),
            Inner::Tls(stream) => ready!(Pin::new(stream).poll_write(cx, buf)),
        };
        Poll::Ready(written.map_err(|error| self.parting_words(cx, error)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.inner {
            Inner::Plain(wire) => ready!(Pin::new(wire).poll_write_vectored(cx, bufs)),
            Inner::Tls(stream) => ready!(Pin::new(stream).poll_write_vectored(cx, bufs)),
        };
        Poll::Ready(written.map_err(|error| self.parting_words(cx, error)))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(wire) => wire.is_write_vectored(),
            Inner::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.inner {
            Inner::Plain(wire) => ready!(Pin::new(wire).poll_flush(cx)),
            Inner::Tls(stream) => ready!(Pin::new(stream).poll_flush(cx)),
        };
        Poll::Ready(flushed.map_err(|error| self.parting_words(cx, error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
