//! Targets that behave as told, badly mostly.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What happens on one request.
#[derive(Clone)]
pub enum Step {
    /// These bytes are sent, and the connection stays.
    Answer(Vec<u8>),
    /// These bytes are sent, and the connection is closed.
    ThenClose(Vec<u8>),
    /// These bytes are sent, and the connection goes without a TLS `close_notify`.
    ThenVanish(Vec<u8>),
    /// These bytes are sent, and then nothing ever happens.
    ThenHang(Vec<u8>),
    /// These bytes are sent one by one, 2 ms apart.
    Trickle(Vec<u8>),
    /// The first bytes are sent, then the others over and over, for as long as they are taken.
    Endless(Vec<u8>, Vec<u8>),
}

/// What a target does with a connection.
#[derive(Clone)]
pub enum Behaviour {
    /// The nth request gets the nth step, the last step again and again.
    Steps(Vec<Step>),
    /// It accepts and stays silent, TLS or not.
    Silent,
    /// It accepts and closes.
    Close,
    /// As soon as something comes, these bytes are sent, and the connection is closed.
    Babble(Vec<u8>),
}

impl From<Step> for Behaviour {
    fn from(step: Step) -> Self {
        Self::Steps(vec![step])
    }
}

/// A listener on loopback that ends with the value.
pub struct FakeTarget {
    pub address: SocketAddr,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    bytes: AtomicU64,
    heads: Mutex<Vec<String>>,
}

impl FakeTarget {
    pub async fn start(behaviour: impl Into<Behaviour>) -> Self {
        Self::launch(None, behaviour.into()).await
    }

    pub async fn start_tls(tls: Arc<ServerConfig>, behaviour: impl Into<Behaviour>) -> Self {
        Self::launch(Some(TlsAcceptor::from(tls)), behaviour.into()).await
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// Bytes of answers that were taken by the network.
    pub fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::SeqCst)
    }

    /// The heads of all requests, in order.
    pub fn heads(&self) -> Vec<String> {
        self.counters.heads.lock().unwrap().clone()
    }

    async fn launch(tls: Option<TlsAcceptor>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(accept(listener, tls, behaviour, counters.clone()));
        Self { address, counters, task }
    }
}

impl Drop for FakeTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, behaviour: Behaviour, counters: Arc<Counters>) {
    let mut silent = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counters.connections.fetch_add(1, Ordering::SeqCst);
        let (behaviour, counters) = (behaviour.clone(), counters.clone());
        match behaviour {
            Behaviour::Silent => silent.push(stream),
            Behaviour::Close => drop(stream),
            Behaviour::Babble(bytes) => drop(tokio::spawn(babble(stream, bytes))),
            Behaviour::Steps(steps) => match tls.clone() {
                None => drop(tokio::spawn(serve(stream, steps, counters))),
                Some(tls) => {
                    tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, steps, counters).await;
                        }
                    });
                }
            },
        }
    }
}

async fn babble(mut stream: TcpStream, bytes: Vec<u8>) {
    let mut taken = [0; 4096];
    let _ = stream.read(&mut taken).await;
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, steps: Vec<Step>, counters: Arc<Counters>) {
    while let Some(head) = read_head(&mut stream).await {
        let number = {
            let mut heads = counters.heads.lock().unwrap();
            heads.push(head);
            heads.len() - 1
        };
        let mut send = async |bytes: &[u8]| {
            counters.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
        };
        match &steps[number.min(steps.len() - 1)] {
            Step::Answer(bytes) => {
                send(bytes).await;
            }
            Step::ThenClose(bytes) => {
                send(bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Step::ThenVanish(bytes) => {
                send(bytes).await;
                return;
            }
            Step::ThenHang(bytes) => {
                send(bytes).await;
                std::future::pending::<()>().await;
            }
            Step::Trickle(bytes) => {
                let mut ticks = tokio::time::interval(Duration::from_millis(2));
                for byte in bytes {
                    ticks.tick().await;
                    if !send(&[*byte]).await {
                        return;
                    }
                }
            }
            Step::Endless(first, again) => {
                send(first).await;
                while send(again).await {}
                return;
            }
        }
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An exposition with its length.
pub fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: text/plain; version=0.0.4\r\n", body.as_bytes())
}

/// An answer with its length. Each of the header lines ends with CRLF.
pub fn answer(status: &str, header_lines: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{header_lines}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
