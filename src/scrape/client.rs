//! One scrape's request: a GET whose format is known before its body is handed on, piece by piece as it arrives.
//!
//! Owns a target's kept-alive connection, what is sent with a request, and who gets to see it. What the bytes mean is
//! not its business, but for the format, which the answer's head says.
//!
//! Promises
//! - Everything, redirects included, happens before the deadline, and within the limits on header and body.
//! - Credentials, headers of the configuration or the target, and the client certificate go to the target's own scheme,
//!   host and port and nowhere else, whatever a redirect says.
//! - A body is either handed on whole, or the error says that it was not.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::accept;
use super::redirect::{self, REDIRECTS_MAX};
use crate::config::checked::ScrapeProtocol;
use crate::exposition::{ForeignProtobuf, Format, is_media_type};
use crate::net::authorization::Authorization;
use crate::net::body::{Received, read_body};
use crate::net::connect::{Deadline, Endpoint, PeerInfo};
use crate::net::connection::{HttpConnection, IdleConnection};
use crate::net::credentials::{ClientCredentials, CredentialError, Credentials, SecretHandle};
use crate::net::error::{Cause, NetError, Stage};
use crate::net::http::{CONNECTION_HEADERS, USER_AGENT_VALUE};
use crate::net::text::{escaped, excerpt};
use crate::net::tls::TlsSettings;
use crate::net::trace::Trace;
use crate::net::{Scheme, Url, without_secrets};
use crate::target::Target;

/// Characters of a refusal's body that are shown.
const EXCERPT_CHARS_MAX: usize = 200;
/// Bytes of a refusal's body that are read, so that its connection can be used again.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

/// What a target answered, beside its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// Always 200 where a scrape succeeded.
    pub status: StatusCode,
    /// The `Content-Type`, escaped.
    pub content_type: Option<String>,
    /// How the body is to be read.
    pub format: Format,
    /// The `Content-Type` does not say so: it is `fallback_scrape_protocol`.
    pub is_fallback: bool,
    /// Who answered.
    pub peer: PeerInfo,
    /// Whether the connection was there from an earlier scrape.
    pub is_reused: bool,
    /// How much it was.
    pub received: Received,
    /// Where a redirect led, when there was one.
    pub redirected_to: Option<Url>,
}

/// Why a scrape failed. Its `Display` is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// Between us and the target.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A header of the configuration or of the target cannot be sent.
    #[error("the header \"{name}\" cannot be sent: {reason}")]
    Header {
        /// Its name, escaped.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The path cannot stand in a request.
    #[error("\"{0}\" is no path that can be asked for")]
    Path(String),
    /// Another status than 200.
    #[error("{url} answered {status}{}", quoted(body))]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// How its body begins, escaped.
        body: String,
    },
    /// An HTML page: a login, a proxy's error, a wrong path.
    #[error("{url} answered with an HTML page (text/html), which is no exposition{}", quoted(body))]
    Html {
        /// What was asked.
        url: String,
        /// How it begins, escaped.
        body: String,
    },
    /// A content type that is known, and of something that cannot be read.
    #[error("the answer of {url} cannot be read: {reason}")]
    Foreign {
        /// What was asked.
        url: String,
        /// What it is.
        reason: ForeignProtobuf,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to {location}, which is not followed: {reason}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where to, escaped.
        location: String,
        /// Why not.
        reason: String,
    },
    /// The caller wanted no more.
    #[error("the body was read no further")]
    Stopped,
}

impl ScrapeError {
    /// A stable word for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Net(error) => error.kind(),
            Self::Header { .. } | Self::Path(_) => "request",
            Self::Status { .. } => "status",
            Self::Html { .. } => "html",
            Self::Foreign { .. } => "format",
            Self::Redirect { .. } => "redirect",
            Self::Stopped => "stopped",
        }
    }

    /// What an operator does about it; `None` where the sentence says it already.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Net(error) => return error.advice(),
            Self::Header { .. } | Self::Path(_) => {
                "Correct it where the target is announced, or in its scrape configuration."
            }
            Self::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                "Set basic_auth or authorization, or have the target admit us: it answers, and refuses us."
            }
            Self::Status { status: StatusCode::NOT_FOUND, .. } => {
                "Set metrics_path: the target answers, and has nothing there."
            }
            Self::Status { status, .. } if status.is_client_error() => {
                "Look into the target's own log, and its exporter's manual: it answers, and does not take this request."
            }
            Self::Status { .. } => "Look into the target's own log: it answers, and fails itself.",
            Self::Html { .. } => "Correct the port or metrics_path: this is a page for people.",
            Self::Foreign { .. } => "Set scrape_protocols to a text format.",
            Self::Redirect { .. } => "Set the address or metrics_path to where it leads.",
            Self::Stopped => return None,
        })
    }
}

/// For a sentence.
fn shown(url: &Url) -> String {
    escaped(&without_secrets(&url.to_string()))
}

fn quoted(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": \"{body}\"") }
}

/// A target's connection and credentials.
pub struct Client {
    target: Arc<Target>,
    tls: Option<ClientCredentials>,
    /// TLS without the target's names and certificates, for where a redirect leads.
    foreign_tls: ClientCredentials,
    /// The `Accept` header.
    accept: HeaderValue,
    auth: Authorization,
    headers: Vec<(String, SecretHandle)>,
    connection: Option<IdleConnection>,
    /// Notes what a scrape goes through, where somebody wants to know.
    trace: Option<Arc<Trace>>,
}

impl Client {
    /// Not connected yet; reads no file yet.
    pub fn new(target: Arc<Target>, credentials: &Credentials) -> Self {
        let config = &target.config;
        let foreign =
            TlsSettings { cert_file: None, key_file: None, server_name: None, pin_sha256: None, ..target.tls.clone() };
        Self {
            tls: (target.scheme == Scheme::Https).then(|| credentials.client(&target.tls)),
            foreign_tls: credentials.client(&foreign),
            headers: config
                .http_headers
                .iter()
                .map(|(name, secret)| (name.clone(), credentials.secret(secret)))
                .collect(),
            accept: accept(&target),
            auth: config.auth.handle(credentials),
            connection: None,
            trace: None,
            target,
        }
    }

    /// The same, and `trace` notes what its scrapes go through.
    pub fn traced(target: Arc<Target>, credentials: &Credentials, trace: Arc<Trace>) -> Self {
        Self { trace: Some(trace), ..Self::new(target, credentials) }
    }

    fn enter(&self, stage: Stage) {
        if let Some(trace) = &self.trace {
            trace.enter(stage);
        }
    }

    /// The answer came whole, whatever it says.
    fn is_over(&self) {
        if let Some(trace) = &self.trace {
            trace.end(true);
        }
    }

    /// Scrapes, up to the body: all that is known of the answer before it.
    ///
    /// # Errors
    /// When the scrape failed.
    pub async fn get(&mut self, deadline: Instant) -> Result<Answer<'_>, ScrapeError> {
        let deadline = Deadline::new(deadline, self.target.timeout);
        let own = self.own_url();
        let mut url = own.clone();
        let mut redirects = 0;
        loop {
            let is_own = redirect::is_same_origin(&url, &own);
            let (mut connection, is_reused, answer) =
                if is_own { self.ask_own(&url, deadline).await? } else { self.ask_foreign(&url, deadline).await? };
            self.enter(Stage::Body);
            let (head, body) = answer.into_parts();
            if head.status.is_redirection()
                && let Some(location) = head.headers.get(http::header::LOCATION)
            {
                let next = self.follow(&url, location, redirects)?;
                if read_body(&mut connection, &head.headers, body, REFUSAL_BYTES_MAX, deadline, |_| true).await.is_ok()
                {
                    self.keep(connection, is_own).await;
                }
                url = next;
                redirects += 1;
                continue;
            }
            let content_type = head.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
            let is_html = content_type.as_ref().is_some_and(|value| is_media_type(value, "text/html"));
            if head.status != StatusCode::OK || is_html {
                let body = self.refusal(connection, is_own, &head.headers, body, deadline).await;
                let url = shown(&url);
                return Err(match head.status {
                    StatusCode::OK => ScrapeError::Html { url, body },
                    status => ScrapeError::Status { url, status, body },
                });
            }
            let said = match Format::from_content_type(content_type.as_deref()) {
                Ok(said) => said,
                Err(reason) => {
                    self.refusal(connection, is_own, &head.headers, body, deadline).await;
                    return Err(ScrapeError::Foreign { url: shown(&url), reason });
                }
            };
            let known = Head {
                status: head.status,
                content_type: content_type.map(|value| escaped(&value)),
                format: said.unwrap_or(format_of(self.target.config.negotiation.fallback)),
                is_fallback: said.is_none(),
                peer: connection.peer().clone(),
                is_reused,
                received: Received::default(),
                redirected_to: (redirects > 0).then_some(url),
            };
            return Ok(Answer { client: self, head: known, headers: head.headers, connection, is_own, body, deadline });
        }
    }

    fn own_url(&self) -> Url {
        Url {
            scheme: self.target.scheme,
            host: self.target.host.clone(),
            port: self.target.port,
            path_and_query: self.target.path_and_query.clone(),
        }
    }

    /// Asks the target itself, over the connection that there is. A connection that the target closed since the last
    /// scrape is replaced: once, and only while no byte of an answer came over it.
    async fn ask_own(
        &mut self,
        url: &Url,
        deadline: Deadline,
    ) -> Result<(HttpConnection, bool, Response<Incoming>), ScrapeError> {
        let tls =
            self.tls.as_ref().map(ClientCredentials::current).transpose().map_err(|error| unusable(url, error))?;
        if let Some(idle) = self.connection.take()
            && idle.is_made_with(tls.as_ref())
            && let Ok(mut connection) = idle.wake().await
            && connection.is_ready().await
        {
            let request = self.request(url, true, connection.peer())?;
            match connection.send(request, deadline).await {
                Ok(answer) => return Ok((connection, true, answer)),
                Err(error) if error.is_unanswered() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let server_name = self.target.tls.server_name.clone();
        let endpoint = Endpoint { host: url.host.clone(), port: url.port, tls, server_name, trace: self.trace.clone() };
        let mut connection = HttpConnection::open(&endpoint, deadline).await?;
        let request = self.request(url, true, connection.peer())?;
        self.enter(Stage::Header);
        let answer = connection.send(request, deadline).await?;
        Ok((connection, false, answer))
    }

    /// Asks where a redirect leads: a connection of its own, and nothing of the target's.
    async fn ask_foreign(
        &self,
        url: &Url,
        deadline: Deadline,
    ) -> Result<(HttpConnection, bool, Response<Incoming>), ScrapeError> {
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.foreign_tls.current().map_err(|error| unusable(url, error))?),
        };
        let endpoint =
            Endpoint { host: url.host.clone(), port: url.port, tls, server_name: None, trace: self.trace.clone() };
        let mut connection = HttpConnection::open(&endpoint, deadline).await?;
        let request = self.request(url, false, connection.peer())?;
        self.enter(Stage::Header);
        let answer = connection.send(request, deadline).await?;
        Ok((connection, false, answer))
    }

    fn request(&self, url: &Url, is_own: bool, peer: &PeerInfo) -> Result<Request<Bytes>, ScrapeError> {
        let path = || ScrapeError::Path(escaped(&url.path_and_query));
        let mut request = Request::builder()
            .uri(http::uri::PathAndQuery::try_from(url.path_and_query.as_str()).map_err(|_| path())?.as_str())
            .body(Bytes::new())
            .map_err(|_| path())?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        headers.insert(ACCEPT, self.accept.clone());
        if let Some(encoding) = accept::encoding(self.target.config.enable_compression, peer) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        }
        let timeout = self.target.timeout.as_secs_f64().to_string();
        insert(headers, "x-prometheus-scrape-timeout-seconds", timeout.as_bytes())?;
        if is_own {
            self.add_own(url, headers)?;
        }
        let host = HeaderValue::from_str(&url.host_header()).map_err(|_| path())?;
        headers.insert(HOST, host);
        Ok(request)
    }

    /// What only the target itself may see.
    fn add_own(&self, url: &Url, headers: &mut HeaderMap) -> Result<(), ScrapeError> {
        let read = |secret: &SecretHandle| secret.current().map_err(|error| unusable(url, error));
        if let Some(value) = self.auth.value().map_err(|error| unusable(url, error))? {
            insert(headers, AUTHORIZATION.as_str(), value.as_bytes())?;
        }
        for (name, secret) in &self.headers {
            insert(headers, name, read(secret)?.as_bytes())?;
        }
        for header in &self.target.headers {
            insert(headers, &header.name, header.value.as_bytes())?;
        }
        Ok(())
    }

    /// Where a redirect leads, if it is followed.
    fn follow(&self, url: &Url, location: &HeaderValue, redirects: usize) -> Result<Url, ScrapeError> {
        let leads_to = without_secrets(&excerpt(location.as_bytes(), EXCERPT_CHARS_MAX));
        let refuse = |reason: String| ScrapeError::Redirect { url: shown(url), location: leads_to.clone(), reason };
        match self.target.config.follow_redirects {
            Some(true) => {}
            Some(false) => return Err(refuse("follow_redirects is false".into())),
            None if self.target.announced.is_some() => {
                return Err(refuse(
                    "redirects of targets that a job announced are followed only with follow_redirects: true".into(),
                ));
            }
            None => {}
        }
        if redirects == REDIRECTS_MAX {
            return Err(refuse(format!("these were {REDIRECTS_MAX} redirects already")));
        }
        let next = location.to_str().ok().and_then(|location| redirect::resolve(url, location));
        let next = next.ok_or_else(|| refuse("it is no http or https address".into()))?;
        if url.scheme == Scheme::Https && next.scheme == Scheme::Http {
            return Err(refuse("it leads from https to http".into()));
        }
        Ok(next)
    }

    /// How the body of a refusal begins. Read to its end where it is short, so that the connection lives on.
    async fn refusal(
        &mut self,
        mut connection: HttpConnection,
        is_own: bool,
        headers: &HeaderMap,
        body: Incoming,
        deadline: Deadline,
    ) -> String {
        let mut begin = Vec::new();
        let keep = |bytes: &[u8]| {
            // A character takes at most four bytes.
            let room = (EXCERPT_CHARS_MAX * 4).saturating_sub(begin.len());
            begin.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            true
        };
        if read_body(&mut connection, headers, body, REFUSAL_BYTES_MAX, deadline, keep).await.is_ok() {
            self.keep(connection, is_own).await;
        }
        self.is_over();
        excerpt(&begin, EXCERPT_CHARS_MAX)
    }

    async fn keep(&mut self, connection: HttpConnection, is_own: bool) {
        if is_own {
            self.connection = connection.rest().await;
        }
    }
}

/// An answer whose body is still to be read.
pub struct Answer<'c> {
    client: &'c mut Client,
    head: Head,
    headers: HeaderMap,
    connection: HttpConnection,
    is_own: bool,
    body: Incoming,
    deadline: Deadline,
}

impl Answer<'_> {
    /// How the body is to be read.
    pub fn format(&self) -> Format {
        self.head.format
    }

    /// Reads the body. Its pieces go to `on_bytes` as they arrive, until that returns false.
    ///
    /// # Errors
    /// When the scrape failed; what `on_bytes` got until then is not a whole body.
    pub async fn read(mut self, on_bytes: impl FnMut(&[u8]) -> bool) -> Result<Head, ScrapeError> {
        let limit = match self.client.target.config.limits.body_bytes {
            0 => u64::MAX,
            limit => limit,
        };
        let Self { body, deadline, .. } = self;
        self.head.received = read_body(&mut self.connection, &self.headers, body, limit, deadline, on_bytes).await?;
        if !self.head.received.is_whole {
            return Err(ScrapeError::Stopped);
        }
        self.client.is_over();
        self.client.keep(self.connection, self.is_own).await;
        Ok(self.head)
    }
}

fn accept(target: &Target) -> HeaderValue {
    let negotiation = &target.config.negotiation;
    let header = accept::formats(&negotiation.protocols, negotiation.escaping);
    // It is made of words of ours.
    HeaderValue::try_from(header).unwrap_or(HeaderValue::from_static("*/*"))
}

fn format_of(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::PrometheusProto => Format::Protobuf,
        ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::OpenMetricsText0_0_1 => Format::OpenMetrics,
        ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::PrometheusText0_0_4 => Format::Text,
    }
}

fn unusable(url: &Url, error: CredentialError) -> ScrapeError {
    let address = escaped(&url.authority());
    ScrapeError::Net(NetError {
        stage: Stage::Resolve,
        address,
        cause: Cause::Credentials(error),
        received: 0,
        is_reused: false,
    })
}

/// Sets a header, whose value is taken for a secret.
fn insert(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), ScrapeError> {
    let refuse = |reason| ScrapeError::Header { name: escaped(name), reason };
    if CONNECTION_HEADERS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(refuse("it belongs to the connection"));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse("its name is not a header's name"))?;
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| refuse("its value holds a line break or another control character"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
