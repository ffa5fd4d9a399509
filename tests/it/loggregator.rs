//! Loggregator's ingress, over real sockets with mutual TLS, spoken to by a client that is not ours.

mod drop_in;
mod load;
mod output;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use promferry::cloud_foundry::loggregator::{Collected, Ingress, Settings, View};
use promferry::model::{Scrape, Value};
use promferry::net::credentials::Credentials;
use promferry::net::grpc::{CallError, Client as OurClient, ClientSettings, Code};
use promferry::net::tls::{ServerTls, TlsSettings};
use tempfile::TempDir;
use tonic::codegen::tokio_stream;

use crate::support::certificates::Ca;
use crate::support::loggregator_client::{Client, EnvelopeBatch, Event, Log, Said, counter, envelope, gauge};

/// An ingress with certificates in a folder.
pub struct Agent {
    pub ca: Ca,
    pub folder: TempDir,
    pub credentials: Credentials,
    pub collected: Arc<Collected>,
    pub ingress: Ingress,
}

impl Agent {
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let ca = Ca::named("loggregator_ca");
        let client_ca_file = Some(ca.write_to(folder.path()));
        let (cert_file, key_file) = ca.server(&["metrics-agent"]).write_to(folder.path(), "agent");
        let credentials = Credentials::new(Duration::ZERO);
        let tls = credentials.listener(&ServerTls { cert_file, key_file, client_ca_file });
        let collected = Collected::new(Settings::default());
        let ingress = Ingress::start("127.0.0.1:0".parse().unwrap(), tls, collected.clone()).await.unwrap();
        Self { ca, folder, credentials, collected, ingress }
    }

    /// A client that is welcome.
    pub async fn client(&self) -> Client {
        Client::connect(self.ingress.listens_on(), &self.ca, Some(&self.ca.client("cell"))).await.unwrap()
    }

    /// The product's own client, which sends any bytes.
    fn our_client(&self) -> OurClient {
        let (cert_file, key_file) = self.ca.client("ours").write_to(self.folder.path(), "ours");
        let tls = TlsSettings {
            ca_file: Some(self.folder.path().join("ca.crt")),
            cert_file: Some(cert_file),
            key_file: Some(key_file),
            server_name: Some("metrics-agent".to_owned()),
            ..TlsSettings::default()
        };
        let address = self.ingress.listens_on();
        OurClient::new(ClientSettings {
            host: address.ip().to_string(),
            port: address.port(),
            tls: Some(self.credentials.client(&tls)),
            timeout: Duration::from_secs(30),
            answer_bytes_max: 1 << 20,
        })
    }
}

/// Names and values of what was collected.
pub fn values(scrape: &Scrape) -> Vec<(String, f64)> {
    let value = |value| match value {
        Value::Float(value) => value,
        Value::Histogram(_) => panic!("a native histogram"),
    };
    let points = scrape.points.iter();
    points.map(|point| (scrape.series.get(point.series).name().to_owned(), value(point.value))).collect()
}

fn one(name: &str, value: f64) -> (String, f64) {
    (name.to_owned(), value)
}

#[tokio::test]
async fn each_of_the_three_calls_delivers() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let sent = |number: u64| envelope("rep", &[("a", "1")], counter("c", number, 0));
    client.send(vec![sent(1), sent(2)]).await.unwrap();
    client.sender(tokio_stream::iter([sent(10), envelope("rep", &[], gauge("g", "ms", 0.5))])).await.unwrap();
    let batches = [EnvelopeBatch { batch: vec![sent(100), sent(200)] }, EnvelopeBatch { batch: vec![sent(1000)] }];
    client.batch_sender(tokio_stream::iter(batches), None).await.unwrap();
    let other = [Said::Log(Log { payload: b"line".to_vec(), kind: 1 }), Said::Event(Event::default())];
    client.send(other.into_iter().map(|said| envelope("rep", &[], said)).collect()).await.unwrap();
    let view = View::bare(agent.collected.clone());
    assert_eq!(values(&view.scrape(1)), [one("c", 1313.0), one("g", 0.5)]);
    let counts = agent.collected.counts();
    assert_eq!((counts.envelopes, counts.dropped.len()), (9, 0));
}

#[tokio::test]
async fn a_client_needs_a_certificate_of_the_right_authority() {
    let agent = Agent::start().await;
    let address = agent.ingress.listens_on();
    let stranger = Ca::new().client("stranger");
    for (pair, alert) in [(None, "CertificateRequired"), (Some(&stranger), "UnknownCA")] {
        // In TLS 1.3 a client learns of it with the first answer.
        let said = match Client::connect(address, &agent.ca, pair).await {
            Ok(mut client) => format!("{:?}", client.send(Vec::new()).await.expect_err("it is refused")),
            Err(error) => error,
        };
        let is_told = said.contains(alert) || said.contains("ConnectionReset") || said.contains("BrokenPipe");
        assert!(is_told, "{said}");
    }
    assert_eq!(agent.collected.counts().envelopes, 0);
    agent.client().await.send(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_answered_gets_a_status() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let unknown = client.unary("/loggregator.v2.Egress/Receiver", EnvelopeBatch::default()).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
    assert_eq!(unknown.message(), "there is no method /loggregator.v2.Egress/Receiver");

    let log = Log { payload: vec![b'x'; 11 << 20], kind: 0 };
    let oversized = client.send(vec![envelope("rep", &[], Said::Log(log))]).await.unwrap_err();
    assert_eq!(oversized.code(), tonic::Code::ResourceExhausted, "{oversized:?}");

    let endless = tokio_stream::pending();
    let late = client.batch_sender(endless, Some(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(late.code(), tonic::Code::DeadlineExceeded | tonic::Code::Cancelled), "{late:?}");

    client.send(vec![envelope("rep", &[], counter("c", 1, 0))]).await.unwrap();
    assert_eq!(values(&View::bare(agent.collected.clone()).scrape(1)), [one("c", 1.0)], "it goes on");
}

#[tokio::test]
async fn junk_is_refused_and_folded_in_not_at_all() {
    let agent = Agent::start().await;
    let client = agent.our_client();
    let call = async |messages: &[&'static [u8]]| {
        let messages: Vec<Bytes> = messages.iter().map(|message| Bytes::from_static(message)).collect();
        client.call("/loggregator.v2.Ingress/Send", &HeaderMap::new(), &messages).await
    };
    let code = |answer| match answer {
        Err(CallError::Status { status, .. }) => status.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(call(&[b"\x0a\x02\x2a\x00junk"]).await), Code::InvalidArgument);
    assert_eq!(code(call(&[]).await), Code::Internal, "no message");
    assert_eq!(code(call(&[b"", b""]).await), Code::Internal, "two messages");
    assert_eq!(agent.collected.counts().envelopes, 0);
    // An envelope that cannot be read, in a batch that can.
    let reply = call(&[b"\x0a\x03\xff\xff\xff\x0a\x09\x2a\x06\x0a\x01c\x10\x07\x18"]).await;
    assert_eq!(code(reply), Code::InvalidArgument, "the batch is cut short");
    call(&[b"\x0a\x03\xff\xff\xff\x0a\x07\x2a\x05\x0a\x01c\x10\x07"]).await.unwrap();
    let counts = agent.collected.counts();
    assert_eq!((counts.envelopes, counts.dropped["undecodable"]), (2, 1));
    assert_eq!(values(&View::bare(agent.collected.clone()).scrape(1)), [one("c", 7.0)]);
}

#[tokio::test]
async fn a_stream_ends_when_the_port_does() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let collected = agent.collected.clone();
    let streaming = tokio::spawn(async move { client.sender(tokio_stream::pending()).await });
    let mut other = agent.client().await;
    other.send(vec![envelope("rep", &[], counter("c", 1, 0))]).await.unwrap();
    agent.ingress.stop(Duration::from_secs(10)).await;
    let ended = streaming.await.unwrap().unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Unavailable, "{ended:?}");
    assert_eq!(collected.counts().envelopes, 1);
}
