//! One output behind its queue and sender, fed with made-up scrapes.

use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{
    Auth, BulkAction, DocumentShape, Elasticsearch as Settings, HttpOutput, Lifecycle, TelegrafTags,
};
use promferry::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet};
use promferry::net::tls::TlsSettings;
use promferry::net::{Scheme, Url};
use promferry::pipeline::{
    Counts, Ledger, Output, Overflow, Queue, QueueLimits, SenderOptions, SenderStatus, Take, run_sender,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longer than any test may take.
pub const TEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Settings of an Elasticsearch output at these addresses (`host:port`).
pub fn elasticsearch(addresses: &[String], index: &str) -> Settings {
    let url = |address: &String| {
        let (host, port) = address.rsplit_once(':').expect("host:port");
        let port = port.parse().expect("a port");
        Url { scheme: Scheme::Http, host: host.to_owned(), port, path_and_query: "/".to_owned() }
    };
    Settings {
        http: HttpOutput {
            urls: addresses.iter().map(url).collect(),
            tls: TlsSettings::default(),
            auth: Auth::None,
            headers: Vec::new(),
            timeout: Duration::from_secs(30),
            gzip: true,
        },
        index: index.to_owned(),
        max_indexes: 100,
        action: BulkAction::Create,
        shape: DocumentShape::TimeSeries,
        telegraf: TelegrafTags { measurement: "prometheus".to_owned(), host: true, url: true },
        has_ids: true,
        pipeline: None,
        routing: None,
        require_data_stream: false,
        manages_template: false,
        lifecycle: Lifecycle::None,
        max_age: Duration::from_secs(7200),
    }
}

/// Options of a sender that hurries.
pub fn options() -> SenderOptions {
    SenderOptions {
        name: "search".to_owned(),
        take: Take { samples: 10_000, age: Duration::from_millis(1) },
        flush_jitter: Duration::ZERO,
        body_bytes_max: 5 << 20,
        workers: 1,
        is_fresh_first: true,
        backoff_first: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
    }
}

/// An output at work.
pub struct Delivery {
    /// Its queue.
    pub queue: Arc<Queue>,
    task: JoinHandle<()>,
    status: Arc<std::sync::Mutex<SenderStatus>>,
    _deadline: watch::Sender<Option<tokio::time::Instant>>,
}

impl Delivery {
    /// Starts the output's sender.
    pub fn start(output: impl Output, options: SenderOptions) -> Self {
        Self::start_with_lanes(output, options, 1)
    }

    /// The same with so many lanes.
    pub fn start_with_lanes(output: impl Output, options: SenderOptions, lanes: usize) -> Self {
        let limits = QueueLimits {
            samples: 1_000_000,
            bytes: 64 << 20,
            age: Duration::from_secs(7200),
            overflow: Overflow::DropOldest,
        };
        let queue = Queue::new(Ledger::new(&options.name), limits, lanes);
        let status: Arc<std::sync::Mutex<SenderStatus>> = Arc::default();
        let (deadline, watched) = watch::channel(None);
        let task = tokio::spawn(run_sender(Arc::new(output), queue.clone(), None, options, status.clone(), watched));
        Self { queue, task, status, _deadline: deadline }
    }

    /// Waits until a request failed.
    pub async fn failed_once(&self) {
        let wait = async {
            while self.status.lock().expect("no panic while it is held").failures == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(TEST_TIME_MAX, wait).await.expect("a request fails");
    }

    /// Waits until all of it is settled, and returns the ledger, which must add up.
    pub async fn finish(self) -> Counts {
        self.queue.close();
        tokio::time::timeout(TEST_TIME_MAX, self.task).await.expect("it ends").expect("it does not panic");
        let counts = self.queue.ledger().snapshot();
        assert_eq!((counts.imbalance(), counts.waiting), (0, 0), "{counts:?}");
        counts
    }
}

/// A target whose scrapes have the same `series` each time: counters, gauges and histograms; each label set has two metrics
/// or more.
pub struct Target {
    origin: Arc<Origin>,
    set: Arc<SeriesSet>,
}

impl Target {
    /// A target of this number.
    pub fn new(number: u64, series: usize) -> Self {
        let instance = format!("10.0.16.{number}:9100");
        let labels = Labels::from_iter([("instance", instance.as_str()), ("job", "test")]).into_owned();
        let mut chunk = ChunkBuilder::default();
        let kinds = [("requests", MetricType::Counter), ("errors", MetricType::Counter), ("queue", MetricType::Gauge)];
        let families = kinds.map(|(name, kind)| chunk.family(Family { name, kind, ..Family::default() }));
        let histogram = chunk.family(Family { name: "latency", kind: MetricType::Histogram, ..Family::default() });
        for at in 0..series {
            let (set, member) = (at / 8, at % 8);
            let mut all = labels.clone();
            all.set("path", format!("/v2/\"thing\"/{set}"));
            let (family, name) = match member {
                0..=2 => (families[member], kinds[member].0),
                3..=5 => {
                    all.set("le", ["0.1", "1", "+Inf"][member - 3]);
                    (histogram, "latency_bucket")
                }
                6 => (histogram, "latency_sum"),
                _ => (histogram, "latency_count"),
            };
            chunk.push(family, name, all.iter());
        }
        let url = format!("https://{instance}/metrics");
        Self {
            origin: Arc::new(Origin { key: number, labels, url }),
            set: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        }
    }

    /// A scrape at this time. Values are of all kinds, and of all lengths.
    pub fn scrape(&self, at_ms: i64) -> Arc<Scrape> {
        self.scrape_with(at_ms, None)
    }

    /// A scrape at this time, whose samples have a time of their own.
    pub fn scrape_with(&self, at_ms: i64, own_ms: Option<i64>) -> Arc<Scrape> {
        let mut points = PointsBuilder::default();
        for number in 0..self.set.len() as u32 {
            let seed = f64::from(number) + at_ms as f64 / 1000.0;
            let value = match number % 4 {
                0 => seed.trunc(),
                1 => seed / 7.0,
                2 => 9_007_199_254_740_991.0 - f64::from(number),
                _ => -seed * 1e-9,
            };
            points.push_float(number, value, own_ms);
        }
        Arc::new(Scrape {
            origin: self.origin.clone(),
            at_ms,
            series: self.set.clone(),
            points: points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}
