//! The way to receivers: HTTP, or gRPC.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};

use super::answer::taken;
use super::classify::is_success;
use crate::config::checked::{HttpOutput, Otlp, OtlpProtocol};
use crate::net::Scheme;
use crate::net::authorization::Signature;
use crate::net::credentials::Credentials;
use crate::net::error::Stage;
use crate::net::grpc::{CallError, Client, ClientSettings, Code, Reply, Status};
use crate::net::text::escaped;
use crate::output::http::Receivers;
use crate::pipeline::{Answer, Failure, Request};
use crate::telemetry::Edge;

/// The method of the service.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Bytes of an answer over gRPC.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The receivers of one output.
#[derive(Debug)]
pub(super) struct Way {
    route: Route,
    /// What receivers have to say of requests that they take.
    warnings: Mutex<Edge>,
}

#[derive(Debug)]
enum Route {
    Http(Receivers),
    Grpc { urls: Vec<String>, clients: Vec<Client>, signature: Signature },
}

impl Way {
    /// Connects to nothing and reads no file yet.
    pub fn new(settings: &Otlp, credentials: &Credentials) -> Self {
        let route = match settings.protocol {
            OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
                Route::Http(Receivers::new(&settings.http, credentials))
            }
            OtlpProtocol::Grpc => Route::grpc(&settings.http, credentials),
        };
        Self { route, warnings: Mutex::default() }
    }

    /// Whether it is gRPC.
    pub fn is_grpc(&self) -> bool {
        matches!(self.route, Route::Grpc { .. })
    }

    /// The receivers, for people.
    pub fn urls(&self) -> Vec<String> {
        match &self.route {
            Route::Http(receivers) => receivers.urls(),
            Route::Grpc { urls, .. } => urls.clone(),
        }
    }

    /// Sends a request. Over gRPC, what was answered is an answer of HTTP, with `grpc-status` among its header fields.
    pub async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        let answer = match &self.route {
            Route::Http(receivers) => receivers.send(url, Method::POST, request).await,
            Route::Grpc { clients, signature, .. } => match clients.get(url) {
                Some(client) => call(client, signature, request).await,
                None => Err(before_sending("url", format!("there is no URL {url}"))),
            },
        };
        if let Ok(answer) = answer.as_ref()
            && is_success(self.is_grpc(), answer)
        {
            self.hear(url, answer);
        }
        answer
    }

    /// A receiver may take all of a request and have something to say of it.
    fn hear(&self, url: usize, answer: &Answer) {
        let said = taken(answer);
        if said.rejected > 0 || said.message.is_empty() {
            return;
        }
        // A panic cannot leave it half-changed.
        if self.warnings.lock().unwrap_or_else(PoisonError::into_inner).is_news(&said.message) {
            let url = self.urls().into_iter().nth(url).unwrap_or_default();
            tracing::warn!(url, message = said.message, "receiver takes the samples and has something to say");
        }
    }
}

impl Route {
    fn grpc(settings: &HttpOutput, credentials: &Credentials) -> Self {
        let client = |url: &crate::net::Url| {
            Client::new(ClientSettings {
                host: url.host.clone(),
                port: url.port,
                tls: (url.scheme == Scheme::Https).then(|| credentials.client(&settings.tls)),
                timeout: settings.timeout,
                answer_bytes_max: ANSWER_BYTES_MAX,
            })
        };
        let headers = settings.headers.iter().map(|(name, secret)| (name.clone(), credentials.secret(secret)));
        Self::Grpc {
            urls: settings.urls.iter().map(|url| escaped(&url.to_string())).collect(),
            clients: settings.urls.iter().map(client).collect(),
            signature: Signature { authorization: settings.auth.handle(credentials), headers: headers.collect() },
        }
    }
}

async fn call(client: &Client, signature: &Signature, request: Request) -> Result<Answer, Failure> {
    let mut metadata = HeaderMap::new();
    signature.apply(&mut metadata).map_err(|error| before_sending("credentials", error.to_string()))?;
    let called = match request.headers.contains_key(CONTENT_ENCODING) {
        true => client.call_gzipped(EXPORT, &metadata, request.body).await,
        false => client.call(EXPORT, &metadata, &[request.body]).await,
    };
    let answer = |metadata, body| Answer { status: StatusCode::OK, headers: metadata, body };
    match called {
        Ok(Reply { message, metadata }) => Ok(answer(metadata, message)),
        Err(CallError::Status { status, mut metadata, address }) => match Status::read_from(&metadata) {
            // It has taken the request, and its answer cannot be read.
            Some(Status { code: Code::Ok, .. }) => Ok(answer(*metadata, Bytes::new())),
            // What it says is no answer of gRPC. Somebody between may say so, or the answer is garbled.
            None if is_answer_of_grpc(&metadata) => Err(Failure {
                kind: "answer",
                message: format!("{address}: the answer cannot be read ({status})"),
                is_maybe_received: true,
            }),
            _ => {
                status.write_to(&mut metadata);
                Ok(answer(*metadata, Bytes::new()))
            }
        },
        Err(CallError::Net(error)) => Err(Failure {
            kind: error.kind(),
            message: error.to_string(),
            is_maybe_received: error.stage >= Stage::Header,
        }),
    }
}

fn is_answer_of_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    value.starts_with(b"application/grpc")
}

fn before_sending(kind: &'static str, message: String) -> Failure {
    Failure { kind, message, is_maybe_received: false }
}
