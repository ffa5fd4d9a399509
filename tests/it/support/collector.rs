//! A stand-in for an OpenTelemetry Collector over real sockets with mutual TLS, for HTTP and gRPC on one port, written from OTLP's
//! specification: hyper, frames by hand, and opentelemetry-proto to read what comes. It goes wrong as a script says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::tokio_stream;

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What is done with one request.
#[derive(Clone, Debug)]
pub enum Say {
    /// It is taken, but for so many data points, with this sentence.
    Partial(i64, &'static str),
    /// HTTP: this status, with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// gRPC: this code, with this message and these details.
    Code(u8, &'static str, &'static str),
    /// It is taken, and the connection ends without an answer.
    Hangup,
}

/// What came.
#[derive(Debug, Default)]
pub struct Notes {
    /// Requests that were taken.
    pub taken: Vec<ExportMetricsServiceRequest>,
    /// Version and header of every request.
    pub heads: Vec<(Version, HeaderMap)>,
    /// What is done with the next requests; all behind them are taken.
    pub script: VecDeque<Say>,
}

/// It listens until it is dropped.
pub struct Collector {
    pub address: SocketAddr,
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Listens on a port of the system's choice.
    pub async fn start(tls: Arc<ServerConfig>, script: Vec<Say>) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, script)
    }

    /// Listens here.
    pub fn listen(listener: TcpListener, tls: Arc<ServerConfig>, script: Vec<Say>) -> Self {
        let address = listener.local_addr().unwrap();
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let notes = Arc::new(Mutex::new(Notes { script: script.into(), ..Notes::default() }));
        let shared = notes.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, notes) = (acceptor.clone(), shared.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request| answer(request, notes.clone()));
                    let io = TokioIo::new(stream);
                    let _ = match is_h2 {
                        true => {
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(io, service)
                                .await
                        }
                        false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
                    };
                });
            }
        });
        Self { address, notes, task }
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("hangs up")]
struct Gone;

async fn answer(request: Request<Incoming>, notes: Arc<Mutex<Notes>>) -> Result<Response<Body>, Gone> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
    let is_grpc =
        head.headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    assert_eq!(head.method, Method::POST);
    let mut notes = notes.lock().unwrap();
    notes.heads.push((head.version, head.headers.clone()));
    let say = notes.script.pop_front().unwrap_or(Say::Partial(0, ""));
    let request = match is_grpc {
        true => from_grpc(head.uri.path(), &head.headers, &body),
        false => from_http(head.uri.path(), &head.headers, &body),
    };
    let is_json = head.headers.get("content-type").is_some_and(|value| value == "application/json");
    match say {
        Say::Partial(rejected_data_points, message) => {
            notes.taken.push(request);
            let partial = ExportMetricsPartialSuccess { rejected_data_points, error_message: message.to_owned() };
            let is_partial = rejected_data_points > 0 || !message.is_empty();
            let response = ExportMetricsServiceResponse { partial_success: is_partial.then_some(partial) };
            Ok(match (is_grpc, is_json) {
                (true, _) => grpc(&response.encode_to_vec()),
                (false, true) => http(200, "application/json", serde_json::to_vec(&response).unwrap()),
                (false, false) => http(200, "application/x-protobuf", response.encode_to_vec()),
            })
        }
        Say::Status(status, headers) => {
            let mut answer = http(status, "text/plain", b"as the script says".to_vec());
            for (name, value) in headers {
                answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            Ok(answer)
        }
        Say::Code(code, message, details) => {
            let mut answer = http(200, "application/grpc", Vec::new());
            let headers = answer.headers_mut();
            headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
            headers.insert("grpc-message", HeaderValue::from_static(message));
            if !details.is_empty() {
                headers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
            }
            Ok(answer)
        }
        Say::Hangup => {
            notes.taken.push(request);
            Err(Gone)
        }
    }
}

fn http(status: u16, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    answer
}

fn grpc(message: &[u8]) -> Response<Body> {
    let framed = [&[0u8][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Frame::data(Bytes::from(framed)), Frame::trailers(trailers)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok)));
    let mut answer = Response::new(body.boxed());
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn from_grpc(path: &str, headers: &HeaderMap, body: &[u8]) -> ExportMetricsServiceRequest {
    assert_eq!(path, EXPORT);
    let (prefix, message) = body.split_at(5);
    assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len(), "one message");
    let is_gzip = headers.get("grpc-encoding").is_some_and(|value| value == "gzip");
    assert_eq!(prefix[0], u8::from(is_gzip));
    let message = if is_gzip { inflated(message) } else { message.to_vec() };
    ExportMetricsServiceRequest::decode(&*message).unwrap()
}

fn from_http(path: &str, headers: &HeaderMap, body: &[u8]) -> ExportMetricsServiceRequest {
    assert_eq!(path, "/otlp/v1/metrics");
    let is_gzip = headers.get("content-encoding").is_some_and(|value| value == "gzip");
    let body = if is_gzip { inflated(body) } else { body.to_vec() };
    match headers["content-type"].to_str().unwrap() {
        "application/x-protobuf" => ExportMetricsServiceRequest::decode(&*body).unwrap(),
        "application/json" => serde_json::from_slice(&body).unwrap(),
        other => panic!("{other}"),
    }
}
