//! A real Elasticsearch node, looked at with the official client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use elasticsearch::Elasticsearch;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use elasticsearch::http::{Method, StatusCode};
use promferry::model::{Scrape, Value};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The node that `PROMFERRY_TEST_ELASTICSEARCH` names.
pub struct Node {
    /// `host:port`.
    pub address: String,
    client: Elasticsearch,
}

/// What a sample is about: time in milliseconds, labels as JSON with sorted names, the metric's name.
pub type Key = (i64, String, String);

/// Samples by what they are about; values by their bits.
pub type Samples = BTreeMap<Key, u64>;

impl Node {
    /// The node, or `None`, after a word about it, where the tests run without one. A panic where one is required.
    pub fn from_env() -> Option<Self> {
        let Ok(url) = std::env::var("PROMFERRY_TEST_ELASTICSEARCH") else {
            let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|engine| engine == "elasticsearch"), "there is no Elasticsearch");
            println!("skipped: no Elasticsearch (tests/run starts one)");
            return None;
        };
        let client = Elasticsearch::new(Transport::single_node(&url).expect("a URL"));
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Some(Self { address, client })
    }

    /// A name that no other test and no other run uses.
    pub fn unused_name(prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{prefix}-{}-{}-{}", std::process::id(), now_ms(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks something, and expects a status of success.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Json>) -> Json {
        let body = body.map(|body| body.to_string());
        let asked = self.client.transport().send(method, path, HeaderMap::new(), None::<&()>, body, None);
        let answer = asked.await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let (status, body) = (answer.status_code(), answer.text().await.expect("a body"));
        assert!(status == StatusCode::OK || status == StatusCode::CREATED, "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// Installs the template of docs/elasticsearch.md for the time series data stream `name`. `more` are fields with
    /// mappings of their own.
    pub async fn install_time_series_template(&self, name: &str, more: Json) {
        let mut template: Json = serde_json::from_str(include_str!("../../../docs/elasticsearch-template.json"))
            .expect("the template in the docs is JSON");
        template["index_patterns"] = json!([name]);
        let fields = template["template"]["mappings"]["properties"]["metrics"].as_object_mut().expect("an object");
        if more.is_object() {
            fields.insert("properties".to_owned(), more);
        }
        self.ask(Method::Put, &format!("/_index_template/{name}"), Some(template)).await;
    }

    /// Installs the template of docs/elasticsearch.md for Telegraf's documents, for the indices `name-*`.
    pub async fn install_telegraf_template(&self, name: &str) {
        let mut template: Json =
            serde_json::from_str(include_str!("../../../docs/elasticsearch-telegraf-template.json"))
                .expect("the template in the docs is JSON");
        template["index_patterns"] = json!([format!("{name}-*")]);
        self.ask(Method::Put, &format!("/_index_template/{name}"), Some(template)).await;
    }

    /// Every document of an index or a data stream.
    pub async fn documents(&self, index: &str) -> Vec<Json> {
        self.ask(Method::Post, &format!("/{index}/_refresh"), None).await;
        let opened = self.ask(Method::Post, &format!("/{index}/_pit?keep_alive=1m"), None).await;
        let mut documents = Vec::new();
        let mut after = Json::Null;
        loop {
            let mut query = json!({
                "size": 5000,
                "pit": {"id": opened["id"], "keep_alive": "1m"},
                "sort": [{"_shard_doc": "asc"}],
                "track_total_hits": false,
            });
            if !after.is_null() {
                query["search_after"] = after;
            }
            let mut page = self.ask(Method::Post, "/_search", Some(query)).await;
            let Some(hits) = page["hits"]["hits"].as_array_mut().filter(|hits| !hits.is_empty()) else {
                return documents;
            };
            after = hits.last().map_or(Json::Null, |hit| hit["sort"].clone());
            documents.extend(hits.iter_mut().map(|hit| hit["_source"].take()));
        }
    }

    /// Every sample of an index or data stream that holds documents of the shape `timeseries`.
    pub async fn samples(&self, index: &str) -> Samples {
        let mut samples = Samples::new();
        for document in self.documents(index).await {
            let time = document["@timestamp"].as_str().expect("a time");
            let time_ms = time.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond();
            let labels: BTreeMap<&String, &Json> = document["labels"].as_object().into_iter().flatten().collect();
            let labels = serde_json::to_string(&labels).expect("JSON");
            for (name, value) in document["metrics"].as_object().expect("metrics") {
                let bits = value.as_f64().expect("a number").to_bits();
                let before = samples.insert((time_ms, labels.clone(), name.clone()), bits);
                assert_eq!(before, None, "twice: {time} {labels} {name}");
            }
        }
        samples
    }

    /// The fields below `metrics` of each index behind `name`, oldest index first.
    pub async fn metric_fields(&self, name: &str) -> Vec<Json> {
        let answer = self.ask(Method::Get, &format!("/{name}/_mapping"), None).await;
        let indices: BTreeMap<&String, &Json> = answer.as_object().expect("indices").iter().collect();
        indices.values().map(|index| index["mappings"]["properties"]["metrics"]["properties"].clone()).collect()
    }

    /// An address that leads to the node and loses the answer to the first `_bulk` request, closing the connection. Before it
    /// does, the data stream `rolls_over` gets a new index.
    pub async fn behind_a_lost_answer(&self, rolls_over: Option<&str>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let is_done = Arc::new(AtomicBool::new(false));
        let (upstream, client) = (self.address.clone(), self.client.clone());
        let rolls_over = rolls_over.map(str::to_owned);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = TcpStream::connect(&upstream).await.expect("the node");
                let node = Self { address: upstream.clone(), client: client.clone() };
                let (is_done, rolls_over) = (is_done.clone(), rolls_over.clone());
                tokio::spawn(async move {
                    pass_on(stream, server, &is_done, async {
                        if let Some(name) = rolls_over {
                            node.ask(Method::Post, &format!("/{name}/_rollover"), None).await;
                        }
                    })
                    .await;
                });
            }
        });
        address
    }

    /// Removes what a test left.
    pub async fn remove(&self, what: &str) {
        self.ask(Method::Delete, what, None).await;
    }
}

/// Passes bytes on in both directions, up to the first answer to a `_bulk` request; then it does `first`, and ends.
async fn pass_on(mut client: TcpStream, mut server: TcpStream, is_done: &AtomicBool, first: impl Future<Output = ()>) {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut is_bulk = false;
    loop {
        tokio::select! {
            read = client.read_buf(&mut sent) => {
                let Ok(1..) = read else { return };
                is_bulk |= memchr::memmem::find(&sent, b"/_bulk?").is_some();
                if server.write_all(&sent).await.is_err() {
                    return;
                }
                sent.clear();
            }
            read = server.read_buf(&mut received) => {
                let Ok(1..) = read else { return };
                if is_bulk && !is_done.swap(true, Ordering::SeqCst) {
                    return first.await;
                }
                if client.write_all(&received).await.is_err() {
                    return;
                }
                received.clear();
            }
        }
    }
}

/// The samples of scrapes, as [`Node::samples`] reads them.
pub fn samples_of<'a>(scrapes: impl IntoIterator<Item = &'a Scrape>) -> Samples {
    let mut samples = Samples::new();
    for scrape in scrapes {
        for point in scrape.points.iter() {
            let series = scrape.series.get(point.series);
            let labels: BTreeMap<&str, &str> = series.labels().collect();
            let labels = serde_json::to_string(&labels).expect("JSON");
            let Value::Float(value) = point.value else { continue };
            samples.insert((scrape.time_ms(&point), labels, series.name().to_owned()), value.to_bits());
        }
    }
    samples
}

/// Checks that both hold the same, and shows the first difference where they do not.
pub fn assert_same(found: &Samples, expected: &Samples) {
    let differs = expected.iter().find(|(key, bits)| found.get(key) != Some(*bits));
    if let Some((key, bits)) = differs {
        let read = found.get(key).map(|bits| f64::from_bits(*bits));
        panic!("{key:?} is {} and was read back as {read:?}", f64::from_bits(*bits));
    }
    assert_eq!(found.len(), expected.len(), "there is more than was sent");
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}
