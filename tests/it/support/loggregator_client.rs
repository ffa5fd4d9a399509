//! A client of Loggregator that shares nothing with the product: tonic, over tokio-rustls, with messages of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Context, Future, Pin, Service, tokio_stream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::certificates::{Ca, Pair};

#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    #[prost(string, tag = "2")]
    pub source_id: String,
    #[prost(string, tag = "8")]
    pub instance_id: String,
    #[prost(map = "string, message", tag = "3")]
    pub deprecated_tags: HashMap<String, Value>,
    #[prost(map = "string, string", tag = "9")]
    pub tags: HashMap<String, String>,
    #[prost(oneof = "Said", tags = "4, 5, 6, 7, 10")]
    pub message: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Said {
    #[prost(message, tag = "4")]
    Log(Log),
    #[prost(message, tag = "5")]
    Counter(Counter),
    #[prost(message, tag = "6")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Timer(Timer),
    #[prost(message, tag = "10")]
    Event(Event),
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "Data", tags = "1, 2, 3")]
    pub data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "2")]
    Integer(i64),
    #[prost(double, tag = "3")]
    Decimal(f64),
}

#[derive(Clone, PartialEq, Message)]
pub struct Log {
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Counter {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub delta: u64,
    #[prost(uint64, tag = "3")]
    pub total: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    #[prost(map = "string, message", tag = "1")]
    pub metrics: HashMap<String, GaugeValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GaugeValue {
    #[prost(string, tag = "1")]
    pub unit: String,
    #[prost(double, tag = "2")]
    pub value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Timer {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub start: i64,
    #[prost(int64, tag = "3")]
    pub stop: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Event {
    #[prost(string, tag = "1")]
    pub title: String,
    #[prost(string, tag = "2")]
    pub body: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnvelopeBatch {
    #[prost(message, repeated, tag = "1")]
    pub batch: Vec<Envelope>,
}

/// The answer of all three methods.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Done {}

/// An envelope of this source with these tags.
pub fn envelope(source_id: &str, tags: &[(&str, &str)], said: Said) -> Envelope {
    Envelope {
        timestamp: 1_798_859_045_006_000_000,
        source_id: source_id.to_owned(),
        instance_id: "0".to_owned(),
        tags: tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        message: Some(said),
        ..Envelope::default()
    }
}

pub fn counter(name: &str, delta: u64, total: u64) -> Said {
    Said::Counter(Counter { name: name.to_owned(), delta, total })
}

pub fn gauge(name: &str, unit: &str, value: f64) -> Said {
    let value = GaugeValue { unit: unit.to_owned(), value };
    Said::Gauge(Gauge { metrics: HashMap::from([(name.to_owned(), value)]) })
}

/// Connects over TLS.
struct Connector {
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (address, config) = (self.address, self.config.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("metrics-agent").unwrap();
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}

/// A client of the ingress.
#[derive(Clone)]
pub struct Client(tonic::client::Grpc<Channel>);

impl Client {
    /// Connects to a server whose certificate is of `ca`, showing `pair`.
    pub async fn connect(address: SocketAddr, ca: &Ca, pair: Option<&Pair>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(ca.roots());
        let mut config = match pair {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = Connector { address, config: Arc::new(config) };
        let channel = Endpoint::from_static("http://metrics-agent").connect_with_connector(connector).await;
        Ok(Self(tonic::client::Grpc::new(channel.map_err(|error| format!("{error:?}"))?)))
    }

    /// `Send`.
    pub async fn send(&mut self, batch: Vec<Envelope>) -> Result<(), Status> {
        self.unary("/loggregator.v2.Ingress/Send", EnvelopeBatch { batch }).await
    }

    /// A unary call of any method.
    pub async fn unary(&mut self, path: &'static str, batch: EnvelopeBatch) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unknown(format!("{error:?}")))?;
        let codec = ProstCodec::<EnvelopeBatch, Done>::default();
        self.0.unary(Request::new(batch), PathAndQuery::from_static(path), codec).await.map(|_| ())
    }

    /// `Sender`, until the stream ends.
    pub async fn sender<S>(&mut self, envelopes: S) -> Result<(), Status>
    where
        S: tokio_stream::Stream<Item = Envelope> + Send + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unknown(format!("{error:?}")))?;
        let path = PathAndQuery::from_static("/loggregator.v2.Ingress/Sender");
        let codec = ProstCodec::<Envelope, Done>::default();
        self.0.client_streaming(Request::new(envelopes), path, codec).await.map(|_| ())
    }

    /// `BatchSender`, until the stream ends, or for this time at most where one is given.
    pub async fn batch_sender<S>(&mut self, batches: S, timeout: Option<std::time::Duration>) -> Result<(), Status>
    where
        S: tokio_stream::Stream<Item = EnvelopeBatch> + Send + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unknown(format!("{error:?}")))?;
        let path = PathAndQuery::from_static("/loggregator.v2.Ingress/BatchSender");
        let codec = ProstCodec::<EnvelopeBatch, Done>::default();
        let mut request = Request::new(batches);
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        self.0.client_streaming(request, path, codec).await.map(|_| ())
    }
}
