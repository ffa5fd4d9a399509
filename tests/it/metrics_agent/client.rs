//! An agent on a machine of its own, and clients of its exporter.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::expose::client::{Answer, ask_over};
use crate::support::certificates::{Ca, Pair, write};
use crate::support::world::{Process, World, command};

/// The name in the agent's certificate.
pub const SERVER_NAME: &str = "metrics_agent_metrics";

/// A machine on which an agent can run. Who may ask it has a certificate of `clients`.
pub struct Vm {
    pub world: World,
    /// Who signed the agent's certificate.
    pub ca: Ca,
    pub clients: Ca,
    pub client: Pair,
}

impl Vm {
    pub fn new() -> Self {
        let world = World::new();
        let (ca, clients) = (Ca::named("metric_ca"), Ca::named("prometheus_ca"));
        write(world.folder(), "clients.crt", &clients.pem());
        let vm = Self { client: clients.client("prometheus"), world, ca, clients };
        vm.new_certificate();
        vm
    }

    /// Gives the agent a new certificate, as a deploy does.
    pub fn new_certificate(&self) -> Pair {
        let pair = self.ca.server(&[SERVER_NAME, "metrics-agent"]);
        pair.write_to(self.world.folder(), "agent");
        pair
    }

    /// The environment of metrics-agent's job; ports are any that are free.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.world.path(name).display().to_string();
        vec![
            ("METRICS_EXPORTER_PORT", "0".into()),
            ("METRICS_PORT", "0".into()),
            ("METRICS_CA_FILE_PATH", path("clients.crt")),
            ("METRICS_CERT_FILE_PATH", path("agent.crt")),
            ("METRICS_KEY_FILE_PATH", path("agent.key")),
            ("CONFIG_GLOBS", path("jobs/*/config/prom_scraper_config.yml")),
            ("SCRAPE_CA_CERT_PATH", path("ca.crt")),
            ("SCRAPE_CERT_PATH", path("scrape.crt")),
            ("SCRAPE_KEY_PATH", path("scrape.key")),
            ("METRICS_TARGETS_FILE", path("metric_targets.yml")),
            ("ADDR", "10.0.1.5".into()),
            ("INSTANCE_ID", "0e4cc47a-abc1-4360-b3f7-46ba7fc10000".into()),
            ("AGENT_TAGS", "deployment:cf,index:0e4cc47a-abc1-4360-b3f7-46ba7fc10000,instance_group:diego-cell".into()),
            ("AGENT_PORT", "0".into()),
            ("AGENT_CA_FILE_PATH", path("clients.crt")),
            ("AGENT_CERT_FILE_PATH", path("agent.crt")),
            ("AGENT_KEY_FILE_PATH", path("agent.key")),
        ]
    }

    /// Starts `promferry run --metrics-agent` in that environment.
    pub async fn run(&self) -> Agent<'_> {
        let mut command = command(&["run", "--metrics-agent"]);
        command.env_clear().envs(self.environment());
        self.agent(Process::start(command).await)
    }

    /// An agent that was started otherwise.
    pub fn agent(&self, process: Process) -> Agent<'_> {
        Agent { vm: self, process }
    }

    /// A client's TLS: with this certificate, if any, and these protocols.
    pub fn tls(&self, pair: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.ca.roots());
        let mut config = match pair {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub fn targets_file(&self) -> String {
        std::fs::read_to_string(self.world.path("metric_targets.yml")).unwrap()
    }
}

/// A running agent.
pub struct Agent<'v> {
    vm: &'v Vm,
    pub process: Process,
}

impl Agent<'_> {
    fn port(&self, field: &str) -> u16 {
        let said = self.process.log.of("the drop-in for metrics-agent is running").pop().expect("it says so");
        said[field].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The exporter, by loopback.
    pub fn exporter(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port("exporter")))
    }

    pub fn ingress(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port("ingress")))
    }

    pub fn own_metrics(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port("own_metrics")))
    }

    /// A connection as a scraper has it.
    pub async fn connect(&self, address: SocketAddr, pair: Option<&Pair>, protocols: &[&str]) -> TlsStream<TcpStream> {
        let tls = TlsConnector::from(self.vm.tls(pair, protocols));
        let stream = TcpStream::connect(address).await.unwrap();
        tls.connect(ServerName::try_from(SERVER_NAME).unwrap(), stream).await.unwrap()
    }

    /// One request over HTTP/1.1.
    pub async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        self.ask_at(self.exporter(), method, path, headers).await
    }

    pub async fn ask_at(&self, address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
        let stream = self.connect(address, Some(&self.vm.client), &["http/1.1"]).await;
        ask_over(stream, method, path, headers).await.unwrap()
    }

    /// Status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask("GET", path, &[]).await;
        (answer.status, answer.body)
    }

    /// What the agent says of itself.
    pub async fn own(&self, path: &str) -> Answer {
        self.ask_at(self.own_metrics(), "GET", path, &[]).await
    }

    /// One request over HTTP/2: the answer, header lines in their order, then the body.
    pub async fn ask_http2(&self, method: &str, path: &str) -> (http::response::Parts, String) {
        let stream = self.connect(self.exporter(), Some(&self.vm.client), &["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(format!("https://{SERVER_NAME}{path}"));
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        let _ = connection.await;
        (head, String::from_utf8(body.to_vec()).unwrap())
    }
}
