//! What the benches of outputs share: ten steady targets of a thousand samples each, and the outputs.
//!
//! Every target has 60 scrapes in which all values move, their lengths too.

use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{
    Auth, BulkAction, DocumentShape, Elasticsearch as Settings, HttpOutput, Lifecycle, SplunkHec as SplunkSettings,
    TelegrafTags, Template,
};
use promferry::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet};
use promferry::net::credentials::Credentials;
use promferry::net::tls::TlsSettings;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::output::splunk_hec::SplunkHec;
use promferry::pipeline::{Batch, Ledger, Slice};
use tokio::time::Instant;

const TARGETS: u64 = 10;
const SAMPLES: usize = 1000;
const SCRAPES: usize = 60;

/// Where and how; nothing is sent.
pub fn http() -> HttpOutput {
    HttpOutput {
        urls: Vec::new(),
        tls: TlsSettings::default(),
        auth: Auth::None,
        headers: Vec::new(),
        timeout: Duration::from_secs(60),
        gzip: true,
    }
}

/// The output, for documents of a shape. It connects to nothing.
pub fn elasticsearch(shape: DocumentShape) -> Elasticsearch {
    let settings = Settings {
        http: http(),
        index: "metrics-promferry-default".to_owned(),
        max_indexes: 100,
        action: BulkAction::Create,
        shape,
        telegraf: TelegrafTags { measurement: "prometheus".to_owned(), host: true, url: true },
        has_ids: true,
        pipeline: None,
        routing: None,
        require_data_stream: false,
        manages_template: false,
        lifecycle: Lifecycle::None,
        max_age: Duration::from_secs(7200),
    };
    Elasticsearch::new(&settings, &Credentials::default())
}

/// The output, for events of many metrics or of one. It connects to nothing.
pub fn splunk(multi_metric: bool) -> SplunkHec {
    let template = |text| Template::new(text).expect("a template");
    let settings = SplunkSettings {
        http: http(),
        index: template("metrics"),
        allowed_indexes: Vec::new(),
        sourcetype: template("prometheus"),
        source: template("{{job}}"),
        host: template("{{instance}}"),
        multi_metric,
        rename_reserved: false,
        ack_timeout: None,
    };
    SplunkHec::new(&settings, &Credentials::default())
}

/// The usual mixture: counters by code and path, gauges by shard, histograms.
fn series(target: u64) -> Arc<SeriesSet> {
    let mut chunk = ChunkBuilder::default();
    let instance = format!("10.0.16.{target}:9100");
    let mut push = |kind, family: &str, name: &str, extra: &[(&str, &str)]| {
        let mut labels = Labels::from_iter([
            ("deployment", "cf"),
            ("index", "6f0a1f3c-7f5c-4b2e-9b56-0f5d8f2c9a11"),
            ("instance", instance.as_str()),
            ("job", "gorouter"),
        ]);
        extra.iter().for_each(|(name, value)| labels.set(*name, *value));
        let family = chunk.family(Family { name: family, kind, ..Family::default() });
        chunk.push(family, name, labels.iter());
    };
    for n in 0..SAMPLES / 50 {
        let path = format!("/v2/thing/{n}");
        for code in ["200", "201", "302", "400", "404", "500", "502", "503"] {
            for name in ["requests_total", "request_bytes_total", "response_bytes_total"] {
                push(MetricType::Counter, name, name, &[("code", code), ("path", &path)]);
            }
        }
        for name in ["queue_length", "queue_age_seconds", "connections", "workers"] {
            push(MetricType::Gauge, name, name, &[("path", &path)]);
        }
        for le in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"] {
            for name in ["latency_seconds", "wait_seconds"] {
                push(MetricType::Histogram, name, &format!("{name}_bucket"), &[("le", le), ("path", &path)]);
            }
        }
        push(MetricType::Histogram, "latency_seconds", "latency_seconds_sum", &[("path", &path)]);
        push(MetricType::Histogram, "latency_seconds", "latency_seconds_count", &[("path", &path)]);
    }
    Arc::new(SeriesSet::new(vec![chunk.finish()]))
}

fn scrape(target: u64, series: &Arc<SeriesSet>, round: usize) -> Arc<Scrape> {
    let mut points = PointsBuilder::default();
    for number in 0..series.len() as u32 {
        let moved = (round as f64 + 1.0) * (1.0 + f64::from(number % 97));
        let value = if number % 5 == 0 { moved / 7.0 } else { (moved * f64::from(number)).trunc() };
        points.push_float(number, value, None);
    }
    let url = format!("https://10.0.16.{target}:9100/metrics");
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: target, labels: Labels::new(), url }),
        at_ms: 1_798_859_045_000 + round as i64 * 1000,
        series: series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

/// A batch a round: one scrape of each target, the same series in all rounds.
pub fn batches() -> Vec<Batch> {
    batches_of(1)
}

/// The same with so many rounds in each batch.
pub fn batches_of(rounds: usize) -> Vec<Batch> {
    let ledger = Ledger::new("bench");
    let sets: Vec<_> = (0..TARGETS).map(series).collect();
    let of_round = |round| sets.iter().zip(0..).map(move |(set, target)| Slice::whole(scrape(target, set, round)));
    let batch = |first| {
        let slices: Vec<Slice> = (first..first + rounds).flat_map(of_round).collect();
        let samples = slices.iter().map(|slice| slice.samples()).sum();
        Batch::new(slices, ledger.offer(samples), Instant::now())
    };
    (0..SCRAPES).step_by(rounds).map(batch).collect()
}
