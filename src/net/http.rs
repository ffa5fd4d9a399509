//! An HTTP client for those who deliver: a request, its answer, and a few connections kept alive.
//!
//! Leaves out on purpose: resending, redirects, cookies. A request that failed is reported, with all that is known of
//! how far it came; only the sender knows whether it may be sent twice.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use tokio::time::Instant;

use super::body::read_body;
use super::connect::{Deadline, Endpoint, PeerInfo};
use super::connection::HttpConnection;
use super::credentials::ClientCredentials;
use super::error::{Cause, NetError, Stage};
use super::text::escaped;
use super::url::{Scheme, Url};

/// Connections to one server that are kept while nobody uses them.
const IDLE_MAX: usize = 4;
/// A connection that was idle for longer is not used again: something on the way may have forgotten it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(55);

/// Headers that belong to the connection and to the framing of a message: nobody else may set them.
pub const CONNECTION_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Any status: what it means is the sender's to say.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body, inflated.
    pub body: Bytes,
    /// Who answered.
    pub peer: PeerInfo,
}

/// Sends requests.
pub struct HttpClient {
    timeout: Duration,
    tls: ClientCredentials,
    answer_bytes_max: u64,
    idle: Mutex<HashMap<(Scheme, String, u16), Vec<Idle>>>,
}

struct Idle {
    connection: HttpConnection,
    since: Instant,
}

impl HttpClient {
    /// `timeout` is for a whole request, from connecting to the last byte of the answer; `answer_bytes_max` for the answer's
    /// body, before and after inflating. `tls` is for URLs of https.
    pub fn new(timeout: Duration, tls: ClientCredentials, answer_bytes_max: u64) -> Self {
        Self { timeout, tls, answer_bytes_max, idle: Mutex::default() }
    }

    /// Sends `request` to `url`, which decides its URI and `Host`. Over a connection that was kept alive where there is
    /// one; a request that fails there is not sent again, and [`NetError::is_reused`] says so.
    ///
    /// # Errors
    /// When no whole answer came. An answer of any status is no error.
    pub async fn send(&self, url: &Url, request: Request<Bytes>) -> Result<Answer, NetError> {
        let deadline = Deadline::after(self.timeout);
        let key = (url.scheme, url.host.clone(), url.port);
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.tls.current().map_err(|error| before_sending(url, Cause::Credentials(error)))?),
        };
        let endpoint = Endpoint {
            host: url.host.clone(),
            port: url.port,
            tls,
            server_name: self.tls.server_name().map(str::to_owned),
            trace: None,
        };
        let (mut connection, is_reused) = match self.take_idle(&key, &endpoint).await {
            Some(connection) => (connection, true),
            None => (HttpConnection::open(&endpoint, deadline).await?, false),
        };
        let request = addressed(request, url, connection.peer())?;
        let answer = self.exchange(&mut connection, request, deadline).await;
        let answer = answer.map_err(|error| NetError { is_reused, ..error })?;
        self.keep(key, connection);
        Ok(answer)
    }

    async fn exchange(
        &self,
        connection: &mut HttpConnection,
        request: Request<Bytes>,
        deadline: Deadline,
    ) -> Result<Answer, NetError> {
        let (head, body) = connection.send(request, deadline).await?.into_parts();
        let mut read = Vec::new();
        let keep = |bytes: &[u8]| {
            read.extend_from_slice(bytes);
            true
        };
        read_body(connection, &head.headers, body, self.answer_bytes_max, deadline, keep).await?;
        Ok(Answer { status: head.status, headers: head.headers, body: read.into(), peer: connection.peer().clone() })
    }

    async fn take_idle(&self, key: &(Scheme, String, u16), endpoint: &Endpoint) -> Option<HttpConnection> {
        loop {
            let mut idle = self.idle().get_mut(key)?.pop()?;
            let is_fresh = idle.since.elapsed() < IDLE_TIME_MAX;
            if is_fresh && idle.connection.is_made_with(endpoint.tls.as_ref()) && idle.connection.is_ready().await {
                return Some(idle.connection);
            }
        }
    }

    fn keep(&self, key: (Scheme, String, u16), connection: HttpConnection) {
        let mut idle = self.idle();
        let idle = idle.entry(key).or_default();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<(Scheme, String, u16), Vec<Idle>>> {
        // A panic cannot leave a list of connections half-changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The request with what belongs to its address.
fn addressed(mut request: Request<Bytes>, url: &Url, peer: &PeerInfo) -> Result<Request<Bytes>, NetError> {
    let bad = |_| before_sending(url, Cause::BadUrl(escaped(&url.path_and_query)));
    *request.uri_mut() = url.path_and_query.parse::<Uri>().map_err(bad)?;
    let host = HeaderValue::from_str(&url.host_header())
        .map_err(|_| before_sending(url, Cause::BadUrl(escaped(&url.host))))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
    if !peer.is_local {
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

/// How we name ourselves.
pub const USER_AGENT_VALUE: &str = concat!("promferry/", env!("CARGO_PKG_VERSION"));

fn before_sending(url: &Url, cause: Cause) -> NetError {
    NetError { stage: Stage::Resolve, address: escaped(&url.authority()), cause, received: 0, is_reused: false }
}
