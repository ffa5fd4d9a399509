//! A stand-in for Splunk Observability Cloud's ingest over TLS, written from Splunk's "Send metrics and events using the API" and
//! its standards for names: it panics at what the real one would let go of without a word.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, NumberDataPoint};
use prost::Message as _;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub const TOKEN: &str = "Xu-3fWq7HnZ0bQk9Tt2a1A";

/// A datapoint: type, metric, dimensions as `name=value` with commas between, time, value.
pub type Datapoint = (String, String, String, i64, f64);

/// What was taken, and what goes wrong.
#[derive(Default)]
pub struct Ingest {
    /// What was taken, in order.
    pub taken: Vec<Datapoint>,
    /// Requests with datapoints that were taken, by path.
    pub requests: Vec<String>,
    /// Answers to the next requests, instead of taking them.
    pub failing: VecDeque<(u16, &'static str)>,
    /// A metric that makes a whole request bad.
    pub spoilt_by: Option<&'static str>,
    /// A token that is good beside [`TOKEN`].
    pub tokens: Vec<String>,
    times: BTreeMap<(String, String), i64>,
}

/// A listener on loopback.
pub struct IngestServer {
    pub address: SocketAddr,
    ingest: Arc<Mutex<Ingest>>,
}

impl IngestServer {
    pub async fn start(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ingest: Arc<Mutex<Ingest>> = Arc::default();
        ingest.lock().unwrap().tokens.push(TOKEN.to_owned());
        let (acceptor, kept) = (TlsAcceptor::from(tls), ingest.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, ingest) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(ingest.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, ingest }
    }

    pub fn ingest(&self) -> MutexGuard<'_, Ingest> {
        self.ingest.lock().unwrap()
    }
}

async fn answer(ingest: Arc<Mutex<Ingest>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes();
    if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut inflated = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut inflated).unwrap();
        body = inflated.into();
    }
    let mut ingest = ingest.lock().unwrap();
    let token = head.headers.get("x-sf-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let (status, words) = match ingest.failing.pop_front() {
        Some(failure) => failure,
        None if !ingest.tokens.iter().any(|good| good == token) => (401, "Unauthorized"),
        None => match (head.method.as_str(), head.uri.path()) {
            ("POST", "/v2/datapoint") => {
                assert_eq!(head.headers["content-type"], "application/json");
                ingest.datapoints(&body)
            }
            ("POST", "/v2/datapoint/otlp") => {
                assert_eq!(head.headers["content-type"], "application/x-protobuf");
                ingest.otlp(&body);
                (200, "")
            }
            _ => (404, "Not Found"),
        },
    };
    let mut response = Response::new(Full::from(words));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if status == 429 {
        response.headers_mut().insert("retry-after", "0".parse().unwrap());
    }
    Ok(response)
}

impl Ingest {
    /// Takes OTLP as Splunk does: attributes of the resource and of the data point are dimensions.
    fn otlp(&mut self, body: &[u8]) {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        for resource in request.resource_metrics {
            let of_resource = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let (kind, points) = match metric.data.unwrap() {
                    Data::Gauge(gauge) => ("gauge", numbers(gauge.data_points)),
                    Data::Sum(sum) => ("cumulative_counter", numbers(sum.data_points)),
                    Data::Histogram(histogram) => {
                        let points = histogram.data_points.into_iter();
                        let point = |p: HistogramDataPoint| (p.attributes, p.time_unix_nano, p.count as f64);
                        ("histogram", points.map(point).collect())
                    }
                    other => panic!("{other:?}"),
                };
                for (attributes, at_ns, value) in points {
                    let dimensions = of_resource.iter().chain(&attributes).map(dimension).collect();
                    let at_ms = at_ns as i64 / 1_000_000;
                    self.taken.push(checked((kind.to_owned(), metric.name.clone(), at_ms, value), dimensions));
                }
            }
        }
        self.requests.push("/v2/datapoint/otlp".to_owned());
    }

    fn datapoints(&mut self, body: &[u8]) -> (u16, &'static str) {
        let Json::Object(lists) = serde_json::from_slice(body).unwrap() else { panic!("no object") };
        let mut taken = Vec::new();
        for (kind, list) in &lists {
            assert!(["gauge", "counter", "cumulative_counter"].contains(&kind.as_str()), "{kind}");
            taken.extend(list.as_array().unwrap().iter().map(|datapoint| read(kind, datapoint)));
        }
        if taken.iter().any(|(_, metric, ..)| Some(metric.as_str()) == self.spoilt_by) {
            return (400, "\"Invalid datapoint\"");
        }
        for (_, metric, dimensions, at_ms, _) in &taken {
            let last = self.times.insert((metric.clone(), dimensions.clone()), *at_ms);
            assert!(last.is_none_or(|last| last < *at_ms), "{metric} {dimensions} at {at_ms} after {last:?}");
        }
        if !taken.is_empty() {
            self.requests.push("/v2/datapoint".to_owned());
        }
        self.taken.extend(taken);
        (200, "\"OK\"")
    }
}

fn read(kind: &str, datapoint: &Json) -> Datapoint {
    let fields = datapoint.as_object().unwrap();
    assert!(fields.keys().all(|key| ["metric", "value", "timestamp", "dimensions"].contains(&key.as_str())));
    let metric = fields["metric"].as_str().unwrap().to_owned();
    let none = serde_json::Map::new();
    let dimensions = fields.get("dimensions").map_or(&none, |dimensions| dimensions.as_object().unwrap());
    let dimensions =
        dimensions.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let (at_ms, value) = (fields["timestamp"].as_i64().unwrap(), fields["value"].as_f64().unwrap());
    checked((kind.to_owned(), metric, at_ms, value), dimensions)
}

type Attributes = Vec<KeyValue>;

fn numbers(points: Vec<NumberDataPoint>) -> Vec<(Attributes, u64, f64)> {
    let value = |value: Option<Number>| match value.unwrap() {
        Number::AsDouble(value) => value,
        Number::AsInt(value) => value as f64,
    };
    points.into_iter().map(|point| (point.attributes, point.time_unix_nano, value(point.value))).collect()
}

fn dimension(attribute: &KeyValue) -> (String, String) {
    let value = match attribute.value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    (attribute.key.clone(), value)
}

/// A datapoint whose name and dimensions are what Splunk takes.
fn checked((kind, metric, at_ms, value): (String, String, i64, f64), dimensions: Vec<(String, String)>) -> Datapoint {
    assert!((1..=256).contains(&metric.chars().count()), "{metric}");
    assert!(dimensions.len() <= 36, "{metric}");
    let dimensions: Vec<String> = dimensions
        .iter()
        .map(|(name, value)| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_part), "{name}");
            assert!(name.len() <= 128 && !["sf_", "aws_", "gcp_", "azure_"].iter().any(|own| name.starts_with(own)));
            assert!((1..=256).contains(&value.chars().count()), "{value}");
            format!("{name}={value}")
        })
        .collect();
    (kind, metric, dimensions.join(","), at_ms, value)
}
