//! The admin port: status page, self-metrics, API, health.
//!
//! Promises
//! - It reads [`Snapshots`] and changes nothing: only GET and HEAD are answered.
//! - Whatever comes from outside is escaped for where it stands; no page loads anything from elsewhere.
//! - A browser that was led here by a name it does not know (DNS rebinding) is refused by the `Host` that it sends.

mod api;
mod headline;
mod metrics;
mod page;
mod process;
mod snapshot;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::Semaphore;

use crate::config::checked;
use crate::net::credentials::Credentials;
use crate::net::server::{self, Limits, Request, Response, full, text};

use headline::Overview;
pub use snapshot::{
    CertificateSnapshot, DiscoveryProblem, DroppedTarget, FileSnapshot, FileState, Health, MemorySnapshot,
    OutputSnapshot, QueueSnapshot, RECENT_STEP, Readiness, RecentMark, RegistrarSnapshot, ScrapeCounts, ScrapeMark,
    ServedSnapshot, Snapshots, TargetSnapshot, Targets, Trouble,
};

/// Connections at a time: people and one or two scrapers.
const CONNECTIONS_MAX: usize = 32;

/// Answers under way get this long when the port closes.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What a browser may do with the pages: show them with our own style, script and icons, ask this port again, send the search.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The admin port at work.
pub struct Server(server::Server);

impl Server {
    /// Opens the port.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub async fn start(
        config: &checked::Admin,
        credentials: &Arc<Credentials>,
        snapshots: Arc<dyn Snapshots>,
    ) -> Result<Self, String> {
        let tls = config.tls.as_ref().map(|tls| credentials.listener(tls));
        let listener = server::Server::bind(config.listen).await?;
        let turns = Arc::new(Semaphore::new(1));
        let handler: server::Handler = Arc::new(move |request| {
            let (snapshots, turns) = (snapshots.clone(), turns.clone());
            Box::pin(answer_aside(snapshots, turns, request))
        });
        let limits = Limits { connections_max: CONNECTIONS_MAX, ..Limits::default() };
        let server = server::Server::start(listener, tls, limits, handler);
        Ok(Self(server.map_err(|error| format!("cannot listen on {}: {error}", config.listen))?))
    }

    /// Its address.
    pub fn listens_on(&self) -> SocketAddr {
        self.0.listens_on()
    }

    /// Closes it.
    pub async fn stop(self) {
        self.0.stop(STOP_GRACE).await;
    }
}

/// The self-metrics of this moment, as OpenMetrics; nothing where they cannot be written, which is a bug.
pub fn self_metrics(snapshots: &dyn Snapshots) -> String {
    metrics::exposition(snapshots).unwrap_or_default()
}

/// Answers one request on a thread where nobody waits: with 10,000 targets an answer takes longer than a scrape may be late. One
/// at a time, so that many who ask take no more than one processor's turn from the scrapes.
async fn answer_aside(snapshots: Arc<dyn Snapshots>, turns: Arc<Semaphore>, request: Request) -> Response {
    // These are small, and who asks for a process's health is not kept waiting.
    if request.path.starts_with("/-/") || request.path.starts_with("/assets/") {
        return answer(&*snapshots, &request);
    }
    let turn = turns.acquire_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        // Given back when it is done, also where nobody waits for it any more.
        let _turn = turn;
        answer(&*snapshots, &request)
    });
    match made.await {
        Ok(response) => response,
        // As without a thread of its own: it costs the connection.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "promferry is ending\n"),
    }
}

/// Answers one request.
pub fn answer(snapshots: &dyn Snapshots, request: &Request) -> Response {
    let mut response = if !is_host_known(&request.headers) {
        text(
            StatusCode::MISDIRECTED_REQUEST,
            "this port answers to an IP address or localhost only; the Host header has another name\n",
        )
    } else if request.method != Method::GET && request.method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else {
        route(snapshots, request)
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const HTML: &str = "text/html; charset=utf-8";

fn route(snapshots: &dyn Snapshots, request: &Request) -> Response {
    const JSON: &str = "application/json";
    let query = request.query.as_deref().unwrap_or_default();
    if let Some(id) = request.path.strip_prefix("/targets/") {
        return target(snapshots, id);
    }
    if let Some((content_type, content)) = request.path.strip_prefix("/assets/").and_then(page::asset) {
        return typed(StatusCode::OK, content_type, content);
    }
    match request.path.as_str() {
        "/" => written(page::page(snapshots, query, now_ms()), HTML),
        "/config" => written(page::configuration(snapshots, now_ms()), HTML),
        "/metrics" => written(metrics::exposition(snapshots), metrics::CONTENT_TYPE),
        "/-/healthy" => text(StatusCode::OK, "promferry is healthy\n"),
        "/-/ready" => match snapshots.readiness() {
            Readiness::Ready => text(StatusCode::OK, "promferry is ready\n"),
            Readiness::Waiting(why) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("promferry is not ready: {why}\n"))
            }
        },
        "/api/v1/status" => typed(StatusCode::OK, JSON, api::status(&Overview::of(snapshots, now_ms()))),
        "/api/v1/outputs" => typed(StatusCode::OK, JSON, api::outputs(&snapshots.outputs(), &snapshots.memory())),
        "/api/v1/targets" => match api::TargetQuery::parse(query) {
            Ok(query) => typed(StatusCode::OK, JSON, api::targets(&snapshots.targets(), &query)),
            Err(error) => typed(StatusCode::BAD_REQUEST, JSON, api::bad_data(&error)),
        },
        _ => text(StatusCode::NOT_FOUND, "nothing is here; the page at / says what there is\n"),
    }
}

/// The page of one target; 404 with a page that says so where it is not there.
fn target(snapshots: &dyn Snapshots, id: &str) -> Response {
    match page::target(snapshots, id, now_ms()) {
        Ok((true, page)) => typed(StatusCode::OK, HTML, page),
        Ok((false, page)) => typed(StatusCode::NOT_FOUND, HTML, page),
        Err(error) => written(Err(error), HTML),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn written(body: Result<String, std::fmt::Error>, content_type: &'static str) -> Response {
    match body {
        Ok(body) => typed(StatusCode::OK, content_type, body),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "this could not be written: a bug\n"),
    }
}

/// Whether a request was sent to an address or to localhost. No `Host` at all (HTTP/1.0) is nobody's browser.
fn is_host_known(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| host.to_str().is_ok_and(is_address_or_localhost))
}

fn is_address_or_localhost(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_known_hosts() {
        for host in ["127.0.0.1", "127.0.0.1:9698", "10.0.0.1:1", "[::1]", "[::1]:9698", "localhost", "LocalHost:80"] {
            assert!(is_address_or_localhost(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "[evil]:1", "[::1", "1"]
        {
            assert!(!is_address_or_localhost(host), "{host}");
        }
    }
}
