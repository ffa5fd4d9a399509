//! One kept-alive HTTP/1.1 connection.
//!
//! It has no task of its own: whoever asks something of it drives it while they wait, so a request costs no hand-over
//! between threads. While nobody asks, nothing runs; a server that hangs up meanwhile is noticed by the next request. And
//! where it rests for long ([`IdleConnection`]) it has no buffers: of thousands of targets few are being asked at a time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::{Deadline, Endpoint, PeerInfo, Seen, Stream, connect};
use super::error::{Cause, Circumstances, NetError, Stage};
use super::tls::ClientTls;

/// Bytes of an answer's header.
pub const HEADER_BYTES_MAX: usize = 8 << 10;
/// Bytes that are read at once, where as much is there: two TLS records.
const READ_BYTES_MAX: usize = 32 << 10;
/// Fields in an answer's header.
const HEADER_FIELDS_MAX: usize = 100;

type Driver = Pin<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>;

/// A connection that requests are sent over, one after the other.
pub struct HttpConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` when it ended.
    driver: Option<Driver>,
    seen: Arc<Seen>,
    /// Bytes that had come when the latest request was sent.
    before_request: u64,
    address: String,
    tls: Option<Arc<ClientTls>>,
    peer: PeerInfo,
}

impl HttpConnection {
    /// Connects.
    ///
    /// # Errors
    /// At the stages up to [`Stage::Handshake`].
    pub async fn open(endpoint: &Endpoint, deadline: Deadline) -> Result<Self, NetError> {
        let (stream, peer) = connect(endpoint, deadline).await?;
        let (seen, address, tls) = (stream.seen(), endpoint.address(), endpoint.tls.clone());
        IdleConnection { stream, seen, address, tls, peer }.wake().await
    }

    /// Whom it is with.
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// `host:port`, escaped for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the TLS configuration that it was made with is still this one.
    pub fn is_made_with(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        is_same_tls(self.tls.as_ref(), tls)
    }

    /// Whether another request can be tried: the last answer was read to its end, and the server did not hang up as far
    /// as is known.
    pub async fn is_ready(&mut self) -> bool {
        // One poll: it notices what has come since, and waits for nothing.
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            Poll::Ready(())
        })
        .await;
        self.driver.is_some() && self.sender.is_ready()
    }

    /// What is left of it until the next request: the stream alone, without the buffers of requests and answers. `None` when
    /// no other request can be tried over it.
    pub async fn rest(mut self) -> Option<IdleConnection> {
        if !self.is_ready().await {
            return None;
        }
        let parts = Pin::into_inner(self.driver.take()?).into_parts();
        let Self { seen, address, tls, peer, .. } = self;
        // What came after an answer was not asked for.
        parts.read_buf.is_empty().then(|| IdleConnection { stream: parts.io.into_inner(), seen, address, tls, peer })
    }

    /// Sends a request and waits for the header of its answer.
    ///
    /// # Errors
    /// At [`Stage::Header`], or [`Stage::Handshake`] when the server refuses us late, as TLS 1.3 has it. The connection
    /// is of no use then.
    pub async fn send(&mut self, request: Request<Bytes>, deadline: Deadline) -> Result<Response<Incoming>, NetError> {
        self.before_request = self.seen.bytes();
        let answer = self.sender.send_request(request.map(Full::new));
        let driven = deadline.run(drive(&mut self.driver, answer)).await;
        let cause = match driven {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => self.circumstances().of_hyper(&error, HEADER_BYTES_MAX as u64),
            Err(timeout) => timeout,
        };
        let stage = match cause {
            Cause::WantsClientCertificate { .. }
            | Cause::RefusesClientCertificate { .. }
            | Cause::Alert(_)
            | Cause::TlsVersion => Stage::Handshake,
            _ => Stage::Header,
        };
        let received = self.seen.bytes() - self.before_request;
        Err(NetError { stage, address: self.address.clone(), cause, received, is_reused: false })
    }

    /// The next piece of the answer's body; `None` at its end. `received` are the body's bytes before it, for the
    /// error.
    ///
    /// # Errors
    /// At [`Stage::Body`]. The connection is of no use then.
    pub async fn chunk(
        &mut self,
        body: &mut Incoming,
        received: u64,
        deadline: Deadline,
    ) -> Result<Option<Bytes>, NetError> {
        loop {
            let driven = deadline.run(drive(&mut self.driver, body.frame())).await;
            let cause = match driven {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers say nothing to us.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => match self.circumstances().of_hyper(&error, HEADER_BYTES_MAX as u64) {
                    Cause::Closed | Cause::Reset => Cause::CutShort,
                    cause => cause,
                },
                Err(timeout) => timeout,
            };
            return Err(NetError {
                stage: Stage::Body,
                address: self.address.clone(),
                cause,
                received,
                is_reused: false,
            });
        }
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            is_tls: self.tls.is_some(),
            certificate: self.tls.as_ref().and_then(|tls| tls.certificate.as_ref()),
            first: self.seen.first(),
        }
    }
}

/// A connection between two requests.
pub struct IdleConnection {
    stream: Stream,
    seen: Arc<Seen>,
    address: String,
    tls: Option<Arc<ClientTls>>,
    peer: PeerInfo,
}

impl IdleConnection {
    /// Whether the TLS configuration that it was made with is still this one.
    pub fn is_made_with(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        is_same_tls(self.tls.as_ref(), tls)
    }

    /// Makes it ready for a request. Whether the server is still there, [`HttpConnection::is_ready`] tells.
    ///
    /// # Errors
    /// None that is known: hyper's handshake of HTTP/1 exchanges nothing.
    pub async fn wake(self) -> Result<HttpConnection, NetError> {
        let Self { stream, seen, address, tls, peer } = self;
        let made = http1::Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_headers(HEADER_FIELDS_MAX)
            .handshake(TokioIo::new(stream))
            .await;
        match made {
            Ok((sender, driver)) => Ok(HttpConnection {
                sender,
                driver: Some(Box::pin(driver)),
                seen,
                before_request: 0,
                address,
                tls,
                peer,
            }),
            Err(error) => {
                let cause = Circumstances::default().of_hyper(&error, HEADER_BYTES_MAX as u64);
                Err(NetError { stage: Stage::Connect, address, cause, received: 0, is_reused: false })
            }
        }
    }
}

fn is_same_tls(made_with: Option<&Arc<ClientTls>>, tls: Option<&Arc<ClientTls>>) -> bool {
    match (made_with, tls) {
        (None, None) => true,
        (Some(made_with), Some(tls)) => Arc::ptr_eq(made_with, tls),
        _ => false,
    }
}

/// What `work` comes to, while the connection moves.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(connection) = driver
            && connection.as_mut().poll(cx).is_ready()
        {
            // An error of the connection reaches `work` as well.
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}
