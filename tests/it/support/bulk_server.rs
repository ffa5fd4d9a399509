//! A stand-in for Elasticsearch that answers `_bulk` over real sockets, and goes wrong as a script says.
//!
//! It keeps documents as a time series data stream does: one for a label set, its metrics' names and a time; the second is
//! answered with 409. Without a script it answers as the real one.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `POST /m/_bulk?…`, without the version.
    pub line: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Inflated.
    pub body: String,
}

impl Request {
    /// The lines above the documents, in order.
    pub fn actions(&self) -> Vec<Json> {
        self.body.lines().step_by(2).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The documents, in order.
    pub fn documents(&self) -> Vec<Json> {
        self.body.lines().skip(1).step_by(2).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// What the server does about a request, once it has read it.
pub enum Act {
    /// Sends these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Nothing, ever.
    Hang,
}

/// What happens on one request.
pub type Step = Box<dyn FnOnce(&mut Store, &Request) -> Act + Send>;

/// What happens on each request that no script is about.
type Otherwise = Arc<dyn Fn(&mut Store, &Request) -> Act + Send + Sync>;

/// What the server says to a request that is no bulk request, if it says anything of its own.
pub type About = fn(&Request) -> Option<Vec<u8>>;

/// What the server has.
#[derive(Default)]
pub struct Store {
    /// By what makes a document one point of a time series.
    pub documents: BTreeMap<String, Json>,
    /// Bulk requests, in order.
    pub requests: Vec<Request>,
    /// Answers other requests; where it does not, they are answered as the real one does.
    pub about: Option<About>,
}

impl Store {
    /// How many samples the documents hold.
    pub fn samples(&self) -> u64 {
        let fields = |document: &Json| document["metrics"].as_object().map_or(0, |metrics| metrics.len() as u64);
        self.documents.values().map(fields).sum()
    }

    /// Takes the documents in, and answers as the real one does. `refuse` says of a document (by position) that it is not
    /// taken, with status, type and reason.
    pub fn bulk(
        &mut self,
        request: &Request,
        refuse: impl Fn(usize) -> Option<(u16, &'static str, &'static str)>,
    ) -> Json {
        let mut items = Vec::new();
        let actions = request.actions();
        for (at, document) in request.documents().into_iter().enumerate() {
            let of_series =
                ["@timestamp", "labels", "_metric_names_hash"].map(|key| document[key].to_string()).join(" ");
            let key = actions[at]["create"]["_id"].as_str().map_or(of_series, str::to_owned);
            let refused = refuse(at).or_else(|| {
                let is_there = self.documents.contains_key(&key);
                is_there.then_some((409, "version_conflict_engine_exception", "document already exists"))
            });
            items.push(match refused {
                Some((status, kind, reason)) => {
                    json!({"create": {"_id": null, "status": status, "error": {"type": kind, "reason": reason}}})
                }
                None => {
                    self.documents.insert(key, document);
                    json!({"create": {"status": 201}})
                }
            });
        }
        let errors = items.iter().any(|item| item["create"].get("error").is_some());
        json!({"errors": errors, "took": 1, "items": items})
    }
}

/// An answer in HTTP/1.1.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Answers as the real one.
pub fn well(store: &mut Store, request: &Request) -> Act {
    Act::Answer(answer(200, "", &store.bulk(request, |_| None).to_string()))
}

/// The server. It ends with the test's runtime.
pub struct BulkServer {
    /// Where it listens.
    pub address: SocketAddr,
    store: Arc<Mutex<Store>>,
}

impl BulkServer {
    /// Starts it. Each request takes a step of the script; after the last one all is well.
    pub async fn start(script: Vec<Step>) -> Self {
        Self::listen(script, Arc::new(well), None).await
    }

    /// Starts it. All requests are answered by this function.
    pub async fn start_with(answer: impl Fn(&mut Store, &Request) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(Vec::new(), Arc::new(answer), None).await
    }

    /// Starts it behind TLS.
    pub async fn start_tls(script: Vec<Step>, tls: Arc<ServerConfig>) -> Self {
        Self::listen(script, Arc::new(well), Some(tls.into())).await
    }

    async fn listen(script: Vec<Step>, otherwise: Otherwise, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let store: Arc<Mutex<Store>> = Arc::default();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        tokio::spawn({
            let store = store.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (store, script, otherwise) = (store.clone(), script.clone(), otherwise.clone());
                    match tls.clone() {
                        None => tokio::spawn(serve(stream, store, script, otherwise)),
                        Some(tls) => tokio::spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, store, script, otherwise).await;
                            }
                        }),
                    };
                }
            }
        });
        Self { address, store }
    }

    /// What it has.
    pub fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().expect("no test panics while it holds this")
    }
}

/// A step of a script.
pub fn step(act: impl FnOnce(&mut Store, &Request) -> Act + Send + 'static) -> Step {
    Box::new(act)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    store: Arc<Mutex<Store>>,
    script: Arc<Mutex<VecDeque<Step>>>,
    otherwise: Otherwise,
) {
    while let Some(request) = read_request(&mut stream).await {
        let act = {
            let mut store = store.lock().expect("no test panics while it holds this");
            if !request.line.contains("_bulk") {
                let said = store.about.and_then(|about| about(&request));
                Act::Answer(said.unwrap_or_else(|| about(&request)))
            } else {
                store.requests.push(request.clone());
                let step = script.lock().expect("no step panics").pop_front();
                match step {
                    Some(step) => step(&mut store, &request),
                    None => otherwise(&mut store, &request),
                }
            }
        };
        match act {
            Act::Answer(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// What the real one says when it is looked at: there is no data stream yet, and the template of the docs.
fn about(request: &Request) -> Vec<u8> {
    if request.line == "GET /" {
        return answer(200, "x-elastic-product: Elasticsearch\r\n", r#"{"version":{"number":"9.5.3"}}"#);
    }
    if request.line.starts_with("POST /_index_template/_simulate_index/") {
        return answer(200, "", include_str!("../../../docs/elasticsearch-template.json"));
    }
    answer(404, "", r#"{"error":{"type":"index_not_found_exception","reason":"no such index"},"status":404}"#)
}

/// `None` when the client has gone.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut read = Vec::new();
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..head_end].to_vec()).expect("ASCII");
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    while read.len() < head_end + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let body = &read[head_end..];
    let mut text = String::new();
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        GzDecoder::new(body).read_to_string(&mut text).expect("gzip of UTF-8");
    } else {
        text = String::from_utf8(body.to_vec()).expect("UTF-8");
    }
    Some(Request { line, headers, body: text })
}
