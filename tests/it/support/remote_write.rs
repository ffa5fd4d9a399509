//! A stand-in for a Prometheus that receives remote write, over real sockets, written from the specifications and from
//! storage/remote/write_handler.go. It goes wrong as a script says; without one it answers as the real one.
//!
//! Of a 1.0 request it stores all or nothing: one sample that is out of order rolls all of it back. Of a 2.0 request it stores what
//! it can, and says how much. It notes whatever a sender must not do.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::bulk_server::{Act, answer};
use messages::{RequestV2, Sample, WriteRequest};

#[path = "../../../src/output/remote_write/messages.rs"]
pub mod messages;

/// The labels of a series, sorted.
pub type Labels = Vec<(String, String)>;

/// What came of one series in a request, in either version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    pub histograms: Vec<messages::Histogram>,
    /// Labels, value, time.
    pub exemplars: Vec<(Labels, f64, i64)>,
    /// Type, help, unit: of 2.0 alone.
    pub metadata: Option<(i32, String, String)>,
}

/// A request, read.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub is_v2: bool,
    pub series: Vec<Series>,
    /// Of 1.0 alone.
    pub metadata: Vec<messages::MetricMetadata>,
}

impl Request {
    /// Samples in it, histograms included.
    pub fn samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len() + series.histograms.len()).sum()
    }
}

/// A stored value: the bits of a float, or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    Float(u64),
    Histogram(Box<messages::Histogram>),
}

/// What happens on one request.
pub type Step = Box<dyn FnOnce(&mut Tsdb, &Request) -> Act + Send>;

/// What happens on each request that no script is about.
type Otherwise = Arc<dyn Fn(&mut Tsdb, &Request) -> Act + Send + Sync>;

/// All of it.
#[derive(Default)]
pub struct Tsdb {
    pub series: BTreeMap<Labels, Vec<(i64, Stored)>>,
    pub exemplars: Vec<(Labels, i64)>,
    pub requests: Vec<Request>,
    /// What a sender must not do.
    pub violations: Vec<String>,
    /// It does not know 2.0, and says so, or does not even look.
    pub knows_v1_only: Option<V1Only>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1Only {
    /// 415.
    SaysSo,
    /// Reads everything as a message of 1.0.
    IsBlind,
}

impl Tsdb {
    /// How many samples it has.
    pub fn samples(&self) -> usize {
        self.series.values().map(Vec::len).sum()
    }

    /// Takes a request as the real one does.
    pub fn take(&mut self, request: &Request) -> Vec<u8> {
        match (request.is_v2, self.knows_v1_only) {
            (true, Some(V1Only::SaysSo)) => answer(415, "", "unsupported message\n"),
            (true, Some(V1Only::IsBlind)) => answer(204, "", ""),
            (true, None) => self.take_v2(request),
            (false, _) => self.take_v1(request),
        }
    }

    fn take_v1(&mut self, request: &Request) -> Vec<u8> {
        let mut staged = Vec::new();
        for series in &request.series {
            for (at_ms, value) in values(series) {
                if let Err(error) = self.appendable(&series.labels, at_ms, &value) {
                    return answer(400, "", &format!("{error}\n"));
                }
                staged.push((series.labels.clone(), at_ms, value));
            }
        }
        staged.into_iter().for_each(|(labels, at_ms, value)| self.append(labels, at_ms, value));
        self.take_exemplars(request);
        answer(204, "", "")
    }

    fn take_v2(&mut self, request: &Request) -> Vec<u8> {
        let (mut floats, mut histograms, mut errors) = (0, 0, Vec::new());
        for series in &request.series {
            for (at_ms, value) in values(series) {
                match self.appendable(&series.labels, at_ms, &value) {
                    Err(error) => errors.push(format!("{error} for series {:?}", series.labels)),
                    Ok(()) => {
                        match value {
                            Stored::Float(_) => floats += 1,
                            Stored::Histogram(_) => histograms += 1,
                        }
                        self.append(series.labels.clone(), at_ms, value);
                    }
                }
            }
        }
        let exemplars = self.take_exemplars(request);
        let headers = format!(
            "X-Prometheus-Remote-Write-Samples-Written: {floats}\r\nX-Prometheus-Remote-Write-Histograms-Written: \
             {histograms}\r\nX-Prometheus-Remote-Write-Exemplars-Written: {exemplars}\r\n"
        );
        let status = if errors.is_empty() { 204 } else { 400 };
        answer(status, &headers, &errors.join("\n"))
    }

    fn take_exemplars(&mut self, request: &Request) -> usize {
        let all = request.series.iter().flat_map(|series| series.exemplars.iter());
        let before = self.exemplars.len();
        self.exemplars.extend(all.map(|(labels, _, at_ms)| (labels.clone(), *at_ms)));
        self.exemplars.len() - before
    }

    /// As `memSeries.appendable`: the newest sample may come once more.
    fn appendable(&self, labels: &Labels, at_ms: i64, value: &Stored) -> Result<(), &'static str> {
        match self.series.get(labels).and_then(|samples| samples.last()) {
            Some((last_ms, _)) if at_ms < *last_ms => Err("out of order sample"),
            Some((last_ms, last)) if at_ms == *last_ms && last != value => Err("duplicate sample for timestamp"),
            _ => Ok(()),
        }
    }

    fn append(&mut self, labels: Labels, at_ms: i64, value: Stored) {
        let samples = self.series.entry(labels).or_default();
        if samples.last().is_none_or(|(last_ms, _)| *last_ms < at_ms) {
            samples.push((at_ms, value));
        }
    }

    /// What the specifications' senders must not do.
    fn examine(&mut self, request: &Request) {
        let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
        let (content_type, version) = match request.is_v2 {
            true => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
            false => ("application/x-protobuf", "0.1.0"),
        };
        let expected = [
            ("content-type", content_type),
            ("x-prometheus-remote-write-version", version),
            ("content-encoding", "snappy"),
        ];
        for (name, expected) in expected {
            if header(name) != expected {
                self.violations.push(format!("{name}: {}", header(name)));
            }
        }
        if header("user-agent").is_empty() {
            self.violations.push("no user agent".to_owned());
        }
        for series in &request.series {
            let is_empty = |(name, value): &(String, String)| name.is_empty() || value.is_empty();
            let is_named = series.labels.iter().any(|(name, _)| name == "__name__");
            let is_sorted = series.labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
            if !is_named || !is_sorted || series.labels.iter().any(is_empty) {
                self.violations.push(format!("labels {:?}", series.labels));
            }
            let times: Vec<i64> = values(series).map(|(at_ms, _)| at_ms).collect();
            if !times.is_sorted() {
                self.violations.push(format!("times {times:?} of {:?}", series.labels));
            }
            if request.is_v2 && series.samples.is_empty() == series.histograms.is_empty() {
                self.violations.push(format!("not just one kind of samples: {series:?}"));
            }
        }
    }
}

fn values(series: &Series) -> impl Iterator<Item = (i64, Stored)> {
    let floats = series.samples.iter().map(|sample| (sample.timestamp, Stored::Float(sample.value.to_bits())));
    let histogram = |one: &messages::Histogram| (one.timestamp, Stored::Histogram(Box::new(one.clone())));
    floats.chain(series.histograms.iter().map(histogram))
}

/// The server. It ends with the test's runtime.
pub struct WriteServer {
    /// Where it listens.
    pub address: SocketAddr,
    tsdb: Arc<Mutex<Tsdb>>,
}

impl WriteServer {
    /// Starts it. Each request takes a step of the script; after the last one all is well.
    pub async fn start(tls: Option<Arc<ServerConfig>>, script: Vec<Step>) -> Self {
        Self::listen(tls, script, Arc::new(|tsdb, request| Act::Answer(tsdb.take(request)))).await
    }

    /// Starts it. All requests are answered by this function.
    pub async fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&mut Tsdb, &Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(tls, Vec::new(), Arc::new(answer)).await
    }

    async fn listen(tls: Option<Arc<ServerConfig>>, script: Vec<Step>, otherwise: Otherwise) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tsdb: Arc<Mutex<Tsdb>> = Arc::default();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let server = tsdb.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tsdb, script, otherwise) = (server.clone(), script.clone(), otherwise.clone());
                match tls.clone().map(TlsAcceptor::from) {
                    None => tokio::spawn(serve(stream, tsdb, script, otherwise)),
                    Some(tls) => tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, tsdb, script, otherwise).await;
                        }
                    }),
                };
            }
        });
        Self { address, tsdb }
    }

    /// What it has.
    pub fn tsdb(&self) -> MutexGuard<'_, Tsdb> {
        self.tsdb.lock().expect("no test panics while it holds this")
    }
}

/// A step of a script.
pub fn step(act: impl FnOnce(&mut Tsdb, &Request) -> Act + Send + 'static) -> Step {
    Box::new(act)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tsdb: Arc<Mutex<Tsdb>>,
    script: Arc<Mutex<VecDeque<Step>>>,
    otherwise: Otherwise,
) {
    while let Some(request) = read_request(&mut stream).await {
        let act = {
            let mut tsdb = tsdb.lock().expect("no test panics while it holds this");
            tsdb.examine(&request);
            if request.series.is_empty() && request.metadata.is_empty() {
                // The look at the start, which no script is about.
                Act::Answer(tsdb.take(&request))
            } else {
                tsdb.requests.push(request.clone());
                let step = script.lock().expect("no step panics").pop_front();
                match step {
                    Some(step) => step(&mut tsdb, &request),
                    None => otherwise(&mut tsdb, &request),
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

/// `None` when the client has gone.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
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
    let line = lines.next().unwrap_or_default();
    let path = line.strip_prefix("POST ").expect("POST").trim_end_matches(" HTTP/1.1").to_owned();
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    while read.len() < head_end + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let body = snap::raw::Decoder::new().decompress_vec(&read[head_end..]).expect("Snappy's block format");
    let is_v2 = headers.get("content-type").is_some_and(|kind| kind.contains("proto=io.prometheus.write.v2.Request"));
    let request = Request { path, headers, is_v2, ..Request::default() };
    Some(if is_v2 { read_v2(request, &body) } else { read_v1(request, &body) })
}

fn read_v1(request: Request, body: &[u8]) -> Request {
    let read = WriteRequest::decode(body).expect("a WriteRequest");
    let labels = |labels: Vec<messages::Label>| labels.into_iter().map(|label| (label.name, label.value)).collect();
    let series = read.timeseries.into_iter().map(|series| Series {
        labels: labels(series.labels),
        samples: series.samples,
        histograms: series.histograms,
        exemplars: series.exemplars.into_iter().map(|one| (labels(one.labels), one.value, one.timestamp)).collect(),
        metadata: None,
    });
    Request { series: series.collect(), metadata: read.metadata, ..request }
}

fn read_v2(request: Request, body: &[u8]) -> Request {
    let read = RequestV2::decode(body).expect("a Request");
    let text = |number: u32| read.symbols[number as usize].clone();
    let labels = |refs: &[u32]| -> Labels { refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect() };
    let series = read.timeseries.iter().map(|series| Series {
        labels: labels(&series.labels_refs),
        samples: series.samples.clone(),
        histograms: series.histograms.clone(),
        exemplars: series.exemplars.iter().map(|one| (labels(&one.labels_refs), one.value, one.timestamp)).collect(),
        metadata: series.metadata.map(|one| (one.kind, text(one.help_ref), text(one.unit_ref))),
    });
    Request { series: series.collect(), ..request }
}
