//! A stand-in for Splunk's HTTP Event Collector over real sockets, written from its documentation and from what was measured
//! of it (docs/splunk.md). It goes wrong as a script says; without one it answers as the real one.
//!
//! It reads the objects of a body in order and indexes each until one is refused, whose number it gives; it keeps
//! acknowledgement numbers for each channel of each indexer; and it counts what was indexed, sample by sample.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::bulk_server::{Act, Request, answer, read_request};
use super::samples::{Samples, Series, canonical};

pub const TOKEN: &str = "5F8A1C7E-1F0B-4E8C-9C53-0C9A7E0D2A11";

/// How it is set up.
pub struct Rules {
    /// The token that is good.
    pub token: String,
    pub is_token_enabled: bool,
    /// The token acknowledges.
    pub is_acknowledging: bool,
    /// Indexes that the token may write to.
    pub indexes: Vec<&'static str>,
    /// Bytes of a body, and what is said of more: Enterprise's 413, or Cloud's code 6 about object 0.
    pub body_bytes_max: usize,
    pub is_cloud: bool,
    /// Indexers behind the address; without a way back, a request goes to any.
    pub indexers: usize,
    /// A cookie leads back to one.
    pub is_sticky: bool,
    /// Questions that are answered with false before one with true.
    pub questions_before_ack: u32,
    /// What `GET …/health` answers.
    pub health: (u16, u64),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            is_token_enabled: true,
            is_acknowledging: false,
            indexes: vec!["metrics"],
            body_bytes_max: 838_860_800,
            is_cloud: false,
            indexers: 1,
            is_sticky: false,
            questions_before_ack: 0,
            health: (200, 17),
        }
    }
}

/// What an indexer knows of a channel.
#[derive(Default)]
struct Channel {
    next: u64,
    /// Numbers that nobody was told to be true yet, and questions left until they are.
    pending: HashMap<u64, u32>,
}

/// What happens on one request with events.
pub type Step = Box<dyn FnOnce(&mut Hec, &Request) -> Act + Send>;

/// All of it.
#[derive(Default)]
pub struct Hec {
    pub rules: Rules,
    /// How often each sample was indexed, with its values.
    indexed: BTreeMap<(Series, i64), Vec<String>>,
    /// The index of each event, in order.
    pub indexes: Vec<String>,
    /// Requests with events, in order.
    pub requests: Vec<Request>,
    /// Questions for acknowledgements, in order.
    pub questions: Vec<Request>,
    channels: HashMap<(usize, String), Channel>,
    turn: u64,
}

/// A refusal: status, code, text.
type Refusal = (u16, u64, &'static str);

impl Hec {
    /// Samples that were indexed, each as often as it was.
    pub fn indexed(&self) -> u64 {
        self.indexed.values().map(|values| values.len() as u64).sum()
    }

    /// Samples that were indexed more than once.
    pub fn doubled(&self) -> u64 {
        self.indexed.values().filter(|values| values.len() > 1).count() as u64
    }

    /// What was indexed; a sample always with one value.
    pub fn samples(&self) -> Samples {
        let one = |(key, values): (&(Series, i64), &Vec<String>)| {
            assert!(values.iter().all(|value| *value == values[0]), "{key:?} {values:?}");
            (key.clone(), values[0].clone())
        };
        self.indexed.iter().map(one).collect()
    }

    /// The channels are forgotten, as when they are idle for too long.
    pub fn forget_channels(&mut self) {
        self.channels.clear();
    }

    /// The channels that requests with events came on.
    pub fn used_channels(&self) -> BTreeSet<String> {
        self.requests.iter().filter_map(|request| request.headers.get("x-splunk-request-channel").cloned()).collect()
    }

    /// Takes events in, and answers as the real one does. `refuse` says of an object (by number) what is wrong with it.
    pub fn take(&mut self, request: &Request, refuse: impl Fn(usize, &Json) -> Option<Refusal>) -> Vec<u8> {
        if let Some(refusal) = self.refuses_credentials(request) {
            return said(refusal, "");
        }
        if request.body.len() > self.rules.body_bytes_max {
            return match self.rules.is_cloud {
                true => said((400, 6, "Invalid data format"), ",\"invalid-event-number\":0"),
                false => answer(413, "", "<html>Request Entity Too Large</html>"),
            };
        }
        if request.body.is_empty() {
            return said((400, 5, "No data"), "");
        }
        let channel = request.headers.get("x-splunk-request-channel").cloned().unwrap_or_default();
        if self.rules.is_acknowledging && channel.is_empty() {
            return said((400, 10, "Data channel is missing"), "");
        }
        if !channel.is_empty() && !is_guid(&channel) {
            return said((400, 11, "Invalid data channel"), "");
        }
        for (number, object) in serde_json::Deserializer::from_str(&request.body).into_iter::<Json>().enumerate() {
            let Ok(object) = object else {
                return said((400, 6, "Invalid data format"), &format!(",\"invalid-event-number\":{number}"));
            };
            if let Some(refusal) = refuse(number, &object).or_else(|| self.refuses(&object)) {
                let number = if refusal.1 == 7 { number + 1 } else { number };
                return said(refusal, &format!(",\"invalid-event-number\":{number}"));
            }
            const ENVELOPE: [&str; 7] = ["time", "event", "host", "source", "sourcetype", "index", "fields"];
            if object.as_object().unwrap().keys().any(|key| !ENVELOPE.contains(&key.as_str())) {
                // It and all behind it are not indexed, and nobody is told.
                break;
            }
            self.index(&object);
        }
        if !self.rules.is_acknowledging {
            return said((200, 0, "Success"), "");
        }
        let (indexer, cookie) = self.route(request);
        let channel = self.channels.entry((indexer, channel)).or_default();
        let number = channel.next;
        channel.next += 1;
        channel.pending.insert(number, self.rules.questions_before_ack);
        let body = format!("{{\"text\":\"Success\",\"code\":0,\"ackId\":{number}}}");
        answer(200, &cookie, &body)
    }

    fn refuses_credentials(&self, request: &Request) -> Option<Refusal> {
        let Some(authorization) = request.headers.get("authorization") else {
            return Some((401, 2, "Token is required"));
        };
        match authorization.strip_prefix("Splunk ") {
            None => Some((401, 3, "Invalid authorization")),
            Some(token) if token != self.rules.token => Some((403, 4, "Invalid token")),
            Some(_) if !self.rules.is_token_enabled => Some((403, 1, "Token disabled")),
            Some(_) => None,
        }
    }

    fn refuses(&self, object: &Json) -> Option<Refusal> {
        let index = object.get("index").map_or(self.rules.indexes[0], |index| index.as_str().unwrap_or("?"));
        let fields = object.get("fields").and_then(Json::as_object);
        match object.get("event") {
            None => Some((400, 12, "Event field is required")),
            Some(event) if event == "" => Some((400, 13, "Event field cannot be blank")),
            _ if !self.rules.indexes.contains(&index) => Some((400, 7, "Incorrect index")),
            _ if fields.is_none_or(|fields| fields.values().any(|value| value.is_object() || value.is_array())) => {
                Some((400, 15, "Error in handling indexed fields"))
            }
            _ => None,
        }
    }

    fn index(&mut self, object: &Json) {
        self.indexes.push(object.get("index").map_or("", |index| index.as_str().unwrap()).to_owned());
        let time = object["time"].to_string();
        let at_ms = (time.parse::<f64>().expect("epoch seconds") * 1000.0).round() as i64;
        let fields = object["fields"].as_object().unwrap();
        let is_metric = |name: &str| name.starts_with("metric_name") || name == "_value";
        let labels: BTreeMap<String, String> = fields
            .iter()
            .filter(|(name, _)| !is_metric(name) && !name.starts_with('_'))
            .map(|(name, value)| (name.clone(), value.as_str().expect("a dimension is text").to_owned()))
            .collect();
        let multi = fields.iter().filter_map(|(name, value)| Some((name.strip_prefix("metric_name:")?, value)));
        let single = fields.get("metric_name").and_then(Json::as_str).zip(fields.get("_value"));
        for (name, value) in multi.chain(single) {
            let value = value.as_f64().expect("a number").to_string();
            let series = Series { name: name.to_owned(), labels: labels.clone() };
            self.indexed.entry((series, at_ms)).or_default().push(canonical(&value));
        }
    }

    /// The indexer that gets a request, and the header that leads back to it.
    fn route(&mut self, request: &Request) -> (usize, String) {
        let cookie = request.headers.get("cookie").and_then(|cookie| cookie.strip_prefix("indexer="));
        let indexer = match cookie.filter(|_| self.rules.is_sticky) {
            Some(indexer) => indexer.parse().expect("a number"),
            None => {
                // The same sequence each time, in which neighbours often differ (Knuth's MMIX generator).
                self.turn = self.turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.turn >> 33) as usize % self.rules.indexers
            }
        };
        let set =
            if self.rules.is_sticky { format!("set-cookie: indexer={indexer}; Path=/\r\n") } else { String::new() };
        (indexer, set)
    }

    fn acknowledge(&mut self, request: &Request) -> Vec<u8> {
        if let Some(refusal) = self.refuses_credentials(request) {
            return said(refusal, "");
        }
        if !self.rules.is_acknowledging {
            return said((400, 14, "ACK is disabled"), "");
        }
        let Some((_, channel)) = request.line.split_once("?channel=") else {
            return said((400, 10, "Data channel is missing"), "");
        };
        let (indexer, cookie) = self.route(request);
        let asked: Json = serde_json::from_str(&request.body).expect("JSON");
        let mut known = self.channels.get_mut(&(indexer, channel.to_owned()));
        let mut acks = serde_json::Map::new();
        for number in asked["acks"].as_array().expect("a list").iter().map(|number| number.as_u64().unwrap()) {
            let left = known.as_mut().and_then(|channel| channel.pending.get_mut(&number));
            let is_true = match left {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                Some(_) => true,
                None => false,
            };
            if let Some(channel) = known.as_mut().filter(|_| is_true) {
                channel.pending.remove(&number);
            }
            acks.insert(number.to_string(), is_true.into());
        }
        answer(200, &cookie, &serde_json::json!({ "acks": acks }).to_string())
    }

    fn answer(&mut self, request: &Request, script: &mut VecDeque<Step>) -> Act {
        let (method, target) = request.line.split_once(' ').unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let health = self.rules.health;
        Act::Answer(match (method, path) {
            ("POST", "/services/collector" | "/services/collector/event" | "/services/collector/event/1.0") => {
                self.requests.push(request.clone());
                return script.pop_front().unwrap_or_else(|| step(well))(self, request);
            }
            ("POST", "/services/collector/ack") => {
                self.questions.push(request.clone());
                self.acknowledge(request)
            }
            ("GET", "/services/collector/health" | "/services/collector/health/1.0") => {
                said((health.0, health.1, "HEC is as it is"), "")
            }
            ("GET" | "POST", "/services/collector/raw") => panic!("metrics are no raw text"),
            (_, path) => {
                let status = if path.starts_with("/services/collector") { 405 } else { 404 };
                said((status, 404, "The requested URL was not found on this server."), "")
            }
        })
    }
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(is_hex)
}

/// An answer in the collector's form; `more` is put behind the code.
pub fn said((status, code, text): Refusal, more: &str) -> Vec<u8> {
    answer(status, "", &format!("{{\"text\":\"{text}\",\"code\":{code}{more}}}"))
}

/// Answers as the real one.
pub fn well(hec: &mut Hec, request: &Request) -> Act {
    Act::Answer(hec.take(request, |_, _| None))
}

/// A step of a script.
pub fn step(act: impl FnOnce(&mut Hec, &Request) -> Act + Send + 'static) -> Step {
    Box::new(act)
}

/// The server. It ends with the test's runtime.
pub struct HecServer {
    pub address: SocketAddr,
    hec: Arc<Mutex<Hec>>,
}

impl HecServer {
    /// Starts it. Each request with events takes a step of the script; after the last one all is well.
    pub async fn start(rules: Rules, script: Vec<Step>) -> Self {
        Self::listen(rules, script, None).await
    }

    /// Starts it behind TLS.
    pub async fn start_tls(rules: Rules, script: Vec<Step>, tls: Arc<ServerConfig>) -> Self {
        Self::listen(rules, script, Some(tls.into())).await
    }

    async fn listen(rules: Rules, script: Vec<Step>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hec = Arc::new(Mutex::new(Hec { rules, ..Hec::default() }));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        tokio::spawn({
            let hec = hec.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (hec, script, tls) = (hec.clone(), script.clone(), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, hec, script).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, hec, script).await;
                                }
                            }
                        }
                    });
                }
            }
        });
        Self { address, hec }
    }

    /// What it has.
    pub fn hec(&self) -> MutexGuard<'_, Hec> {
        self.hec.lock().expect("no test panics while it holds this")
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    hec: Arc<Mutex<Hec>>,
    script: Arc<Mutex<VecDeque<Step>>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let act = {
            let mut hec = hec.lock().expect("no test panics while it holds this");
            hec.answer(&request, &mut script.lock().expect("no step panics"))
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
