//! A job's endpoint as it should be: mutual TLS, keep-alive, and a body that is made anew for each scrape.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Makes the nth body, from 1 on.
type Body = Box<dyn Fn(u64) -> String + Send>;

/// A listener on loopback that ends with the value, its connections too.
pub struct Exporter {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    tls: Mutex<Arc<ServerConfig>>,
    body: Mutex<Body>,
    served: Mutex<Vec<Served>>,
    connections: Mutex<JoinSet<()>>,
    accepted: AtomicUsize,
}

struct Served {
    at_ms: i64,
    head: String,
    body: String,
    client: CertificateDer<'static>,
}

impl Exporter {
    pub async fn start(tls: Arc<ServerConfig>, body: impl Fn(u64) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            tls: Mutex::new(tls),
            body: Mutex::new(Box::new(body)),
            served: Mutex::default(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The bodies that were sent, in order.
    pub fn bodies(&self) -> Vec<String> {
        self.state.served.lock().unwrap().iter().map(|served| served.body.clone()).collect()
    }

    /// When the bodies were sent, in milliseconds since 1970, in order.
    pub fn times_ms(&self) -> Vec<i64> {
        self.state.served.lock().unwrap().iter().map(|served| served.at_ms).collect()
    }

    /// The heads of the requests, in order.
    pub fn heads(&self) -> Vec<String> {
        self.state.served.lock().unwrap().iter().map(|served| served.head.clone()).collect()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// The certificates that clients showed with each request, in order.
    pub fn clients(&self) -> Vec<CertificateDer<'static>> {
        self.state.served.lock().unwrap().iter().map(|served| served.client.clone()).collect()
    }

    /// Shows another certificate, or asks for others, from now on: those who are connected are cut off.
    pub async fn rotate(&self, tls: Arc<ServerConfig>) {
        *self.state.tls.lock().unwrap() = tls;
        let mut connections = std::mem::take(&mut *self.state.connections.lock().unwrap());
        connections.shutdown().await;
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Those who serve hold the state, and with it themselves.
        self.state.connections.lock().unwrap().abort_all();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let mut connections = state.connections.lock().unwrap();
        connections.spawn(serve(stream, state.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let tls = TlsAcceptor::from(state.tls.lock().unwrap().clone());
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let client = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let answer = {
            let mut served = state.served.lock().unwrap();
            let body = (state.body.lock().unwrap())(served.len() as u64 + 1);
            let answer = super::fake_target::ok(&body);
            let at_ms = super::elasticsearch::now_ms();
            served.push(Served { at_ms, head: String::from_utf8(head).unwrap(), body, client: client.clone() });
            answer
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
