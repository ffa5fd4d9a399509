//! Nomad's API for services, as far as discovery asks for it, over TLS with client certificates.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fake_target::answer;

/// What Nomad knows, and how it fails.
#[derive(Default)]
pub struct Known {
    /// The ACL token that is asked for.
    pub token: Option<String>,
    /// Registrations, as `/v1/service/NAME` answers them.
    pub registered: Vec<Value>,
    /// What is sent in the place of the answer for a path without query.
    pub faults: HashMap<String, Vec<u8>>,
    /// The heads of all requests, in order.
    pub heads: Vec<String>,
}

/// An agent that ends with the value, and forgets nothing of its [`Known`].
pub struct NomadServer {
    pub address: SocketAddr,
    pub known: Arc<Mutex<Known>>,
    tls: Arc<ServerConfig>,
    task: JoinSet<()>,
}

impl NomadServer {
    pub async fn start(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, known) = (listener.local_addr().unwrap(), Arc::<Mutex<Known>>::default());
        let mut server = Self { address, known, tls, task: JoinSet::new() };
        server.serve(listener);
        server
    }

    /// Changes what it knows.
    pub fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap())
    }

    /// Ends, with all connections.
    pub async fn stop(&mut self) {
        self.task.shutdown().await;
    }

    /// Is there again, at the same address.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (acceptor, known) = (TlsAcceptor::from(self.tls.clone()), self.known.clone());
        self.task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, known) = (acceptor.clone(), known.clone());
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            let said = reply(&known, String::from_utf8(std::mem::take(&mut head)).unwrap());
                            if stream.write_all(&said).await.is_err() || stream.flush().await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
    }
}

/// A registration with an address of its own.
pub fn registration(namespace: &str, service: &str, address: &str, port: u16, tags: &[&str]) -> Value {
    json!({
        "ID": format!("_nomad-task-{service}-{address}"), "ServiceName": service, "Namespace": namespace,
        "NodeID": "6e2f4bd5", "Datacenter": "dc1", "JobID": "j", "AllocID": "a", "Tags": tags,
        "Address": address, "Port": port, "CreateIndex": 3, "ModifyIndex": 4,
    })
}

fn reply(known: &Mutex<Known>, head: String) -> Vec<u8> {
    let mut known = known.lock().unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let token = header("x-nomad-token: ").or(header("authorization: bearer "));
    known.heads.push(head);
    if let Some(fault) = known.faults.get(path) {
        return fault.clone();
    }
    if known.token.is_some() && known.token != token {
        return answer("403 Forbidden", "", b"Permission denied");
    }
    let namespace = query.split('&').find_map(|pair| pair.strip_prefix("namespace=")).unwrap_or("default");
    let namespace = namespace.replace("%2A", "*");
    let seen = known.registered.iter().filter(|one| namespace == "*" || one["Namespace"] == namespace.as_str());
    let body = match path.strip_prefix("/v1/service/") {
        Some(name) => seen.filter(|one| one["ServiceName"] == name.replace("%2F", "/")).cloned().collect(),
        None => {
            let mut namespaces = HashMap::<&str, Vec<Value>>::new();
            for one in seen {
                let stub = json!({"ServiceName": one["ServiceName"], "Tags": one["Tags"]});
                namespaces.entry(one["Namespace"].as_str().unwrap()).or_default().push(stub);
            }
            namespaces.iter().map(|(name, services)| json!({"Namespace": name, "Services": services})).collect()
        }
    };
    answer("200 OK", "content-type: application/json\r\n", Value::Array(body).to_string().as_bytes())
}
