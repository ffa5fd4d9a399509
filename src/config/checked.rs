//! The configuration as the program uses it: complete, with every default filled in, and free of contradictions.
//!
//! Stages take these types in their constructors. `PartialEq` is how a reload finds out what has not changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Shown;
pub use super::detect::Detect;
pub use super::metrics_agent::{Ingress, MetricsAgent};
pub use super::negotiation::{Escaping, NameValidation, Negotiation, ScrapeProtocol};
pub use super::template::Template;
use crate::model::Labels;
use crate::net::authorization::Authorization;
use crate::net::credentials::{Credentials, Secret};
pub use crate::net::dns::Record as DnsRecord;
use crate::net::nats;
use crate::net::tls::{ServerTls, TlsSettings};
use crate::net::{Scheme, Url};
use crate::relabel::{Rename, Rules};

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What concerns the whole process.
    pub global: Global,
    /// What is scraped, in the order of the file; job names are unique.
    pub scrapes: Vec<Arc<ScrapeConfig>>,
    /// Where it goes; names are unique. None only beside `metrics_agent`.
    pub outputs: Vec<Arc<OutputConfig>>,
    /// Who is told over NATS where this process can be scraped.
    pub register: Option<Register>,
    /// A file of the discovered targets.
    pub targets_file: Option<TargetsFile>,
    /// The admin port, or `None` where it is off.
    pub admin: Option<Admin>,
    /// The drop-in for metrics-agent, or `None` where it is off.
    pub metrics_agent: Option<MetricsAgent>,
    /// How it was written, without secrets.
    pub shown: Shown,
}

/// What concerns the whole process.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// What the process may use of memory.
    pub memory_limit: MemoryLimit,
    /// From SIGTERM to the end of the process, at most.
    pub shutdown_timeout: Duration,
    /// Labels for every sample that does not have them; once `crate::detect` has looked, with what it found.
    pub external_labels: Labels<'static>,
    /// The surroundings that are asked for labels.
    pub detect: Detect,
}

/// What the process may use of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// So many hundredths of what its control group may use; no limit where that has none.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
    /// All there is.
    None,
}

impl MemoryLimit {
    /// The limit in bytes, where the control group may use `available`.
    pub fn bytes(self, available: Option<u64>) -> Option<u64> {
        match self {
            Self::Percent(percent) => available.map(|bytes| bytes / 100 * u64::from(percent)),
            Self::Bytes(bytes) => Some(bytes),
            Self::None => None,
        }
    }
}

/// The admin port: status page, self-metrics, API.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Loopback, unless `tls` or `insecure` is set.
    pub listen: SocketAddr,
    /// TLS, with or without client certificates.
    pub tls: Option<ServerTls>,
    /// Whether its metrics have prom_scraper's own names too; no key of the configuration.
    pub stands_in_for_prom_scraper: bool,
}

/// One entry of `scrape_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// The `job` label.
    pub job_name: String,
    /// Where targets come from.
    pub discovery: Discovery,
    /// The default scheme; a target's own wins.
    pub scheme: Scheme,
    /// The default path, starting with `/`.
    pub metrics_path: String,
    /// Query parameters, by name.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between scrapes.
    pub scrape_interval: Duration,
    /// Time that one scrape may take; at most the interval.
    pub scrape_timeout: Duration,
    /// Whether the timeout was inherited from a default: then it is lowered to a target's shorter interval silently.
    pub is_timeout_inherited: bool,
    /// On top of the hashed offset: a random delay below this at each tick.
    pub scrape_jitter: Duration,
    /// TLS towards targets.
    pub tls: TlsSettings,
    /// Credentials towards targets.
    pub auth: Auth,
    /// Headers for each request; values may be secrets.
    pub http_headers: Vec<(String, Secret)>,
    /// Whether redirects are followed; `None` where the file is silent: then only those of targets that are not announced by
    /// a job's file.
    pub follow_redirects: Option<bool>,
    /// Whether compressed answers are asked for.
    pub enable_compression: bool,
    /// Which formats are asked for, and what is made of the answers.
    pub negotiation: Negotiation,
    /// Labels of the exposition win over the target's.
    pub honor_labels: bool,
    /// Timestamps of the exposition are used.
    pub honor_timestamps: bool,
    /// Series with their own timestamps get stale markers too.
    pub track_timestamps_staleness: bool,
    /// What a line that cannot be read does.
    pub on_bad_line: OnBadLine,
    /// Whether `up` and its like are made.
    pub scrape_metrics: bool,
    /// Limits on one scrape.
    pub limits: Limits,
    /// Rules for targets.
    pub relabel: Rules,
    /// Rules for samples.
    pub metric_relabel: Rules,
    /// Labels for every sample that does not have them; from `global.external_labels`.
    pub external_labels: Labels<'static>,
    /// Which of the targets are this instance's; from `global.shard`. `None` where all are.
    pub shard: Option<Shard>,
}

/// Several instances share the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one this is, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// How many of them scrape each target; at most `count`.
    pub replicas: usize,
}

/// The mechanisms of one scrape configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// `static_configs`.
    pub static_groups: Vec<StaticGroup>,
    /// `file_sd_configs`.
    pub files: Vec<FileSd>,
    /// `prom_scraper_sd_configs`.
    pub prom_scraper: Vec<PromScraperSd>,
    /// `http_sd_configs`.
    pub http: Vec<HttpSd>,
    /// `dns_sd_configs`.
    pub dns: Vec<DnsSd>,
    /// `nats_sd_configs`.
    pub nats: Vec<NatsSd>,
    /// `nomad_sd_configs`.
    pub nomad: Vec<NomadSd>,
}

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSd {
    /// What is asked; its query may be a secret.
    pub url: Url,
    /// TLS towards it.
    pub tls: TlsSettings,
    /// Credentials towards it.
    pub auth: Auth,
    /// Headers for each request; values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// Time between two requests.
    pub refresh_interval: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
}

/// One entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSd {
    /// The names that are looked up.
    pub names: Vec<String>,
    /// Which records.
    pub record: DnsRecord,
    /// The port of what is found; for SRV records it is theirs.
    pub port: u16,
    /// Servers that are asked; those of the system where there are none.
    pub servers: Vec<SocketAddr>,
    /// Time between two looks.
    pub refresh_interval: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
}

/// One entry of `nats_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct NatsSd {
    /// Where and how.
    pub nats: nats::Settings,
    /// What is listened to.
    pub subject: String,
    /// How long a source is kept after its last message.
    pub expiry: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
}

/// One entry of `nomad_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct NomadSd {
    /// Where its API is; the path is what stands before `/v1`.
    pub server: Url,
    /// The namespace whose services are found; `*` for all.
    pub namespace: String,
    /// The region that is asked; empty for the server's own.
    pub region: String,
    /// Whether any server may answer, or only the leader.
    pub allow_stale: bool,
    /// What stands before, between and behind the tags of a service in their label.
    pub tag_separator: String,
    /// TLS towards it.
    pub tls: TlsSettings,
    /// Credentials towards it: an ACL token.
    pub auth: Auth,
    /// Headers for each request; values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// Time between two rounds.
    pub refresh_interval: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
}

/// `register`.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Where and how.
    pub nats: nats::Settings,
    /// Where it is published.
    pub subject: String,
    /// Time between two rounds.
    pub interval: Duration,
    /// The host name or address of `expose` outputs; `None` where what they listen on is one.
    pub address: Option<String>,
    /// What tells this process from others; `None` for what its labels, or its machine, say.
    pub instance_id: Option<String>,
    /// Globs of files with entries of others; relative ones are already joined to the configuration's folder.
    pub files: Vec<String>,
}

/// `targets_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetsFile {
    /// The file.
    pub path: PathBuf,
    /// What is written.
    pub format: TargetsFileFormat,
    /// Names of the scrape configurations whose targets are in it; all where there is none.
    pub jobs: Vec<String>,
}

/// What a targets file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetsFileFormat {
    /// As scrape-config-generator writes it.
    #[default]
    Json,
    /// The same, as YAML.
    Yaml,
}

/// One entry of `static_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticGroup {
    /// `host:port`, as typed.
    pub targets: Vec<String>,
    /// Labels for each of them.
    pub labels: Labels<'static>,
}

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSd {
    /// Globs of JSON and YAML files; relative ones are already joined to the configuration's folder.
    pub files: Vec<String>,
    /// Time between two looks where no event came.
    pub refresh_interval: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
}

/// One entry of `prom_scraper_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct PromScraperSd {
    /// Globs of `prom_scraper_config.yml` files.
    pub files: Vec<String>,
    /// The host that their ports are on.
    pub host: String,
    /// Time between two looks where no event came.
    pub refresh_interval: Duration,
    /// Targets at most; 0 is no limit.
    pub target_limit: usize,
    /// Whether a file's own `scrape_interval` says nothing, an endpoint that it switches off included: where targets are
    /// scraped on request only.
    pub ignores_interval: bool,
}

/// Credentials of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password, or the file that holds it.
        password: Secret,
    },
    /// `Authorization: TYPE CREDENTIALS`; a bearer token, or Elasticsearch's `ApiKey`.
    Header {
        /// The word before the credentials.
        scheme: String,
        /// The credentials, or the file that holds them.
        credentials: Secret,
    },
}

impl Auth {
    /// The same, its secrets from the store that re-reads their files.
    pub fn handle(&self, store: &Credentials) -> Authorization {
        match self {
            Self::None => Authorization::None,
            Self::Basic { username, password } => {
                Authorization::Basic { username: username.clone(), password: store.secret(password) }
            }
            Self::Header { scheme, credentials } => {
                Authorization::Header { scheme: scheme.clone(), credentials: store.secret(credentials) }
            }
        }
    }
}

/// What a line that cannot be read does to its scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadLine {
    /// It is left out, counted and named.
    #[default]
    Skip,
    /// The scrape fails.
    Fail,
}

/// Limits on one scrape; 0 is no limit, as in Prometheus, except where a default is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body, after inflating; 64 MiB.
    pub body_bytes: u64,
    /// Bytes of one line; 1 MiB.
    pub line_bytes: usize,
    /// Samples after relabelling.
    pub samples: usize,
    /// Bytes that a scrape may add to what is kept of its target; 64 MiB.
    pub growth_bytes: usize,
    /// Labels of a sample.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Targets of this configuration after relabelling.
    pub targets: usize,
}

/// One entry of `outputs`.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Where it delivers to.
    pub kind: OutputKind,
    /// How requests are made up.
    pub batch: Batch,
    /// What is kept while it cannot deliver.
    pub queue: Queue,
    /// Rules for the samples of this output.
    pub write_relabel: Rules,
}

/// Which output, and its own settings.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputKind {
    /// Elasticsearch's `_bulk`.
    Elasticsearch(Box<Elasticsearch>),
    /// Splunk's HTTP Event Collector.
    SplunkHec(Box<SplunkHec>),
    /// Prometheus remote write.
    RemoteWrite(Box<RemoteWrite>),
    /// A receiver of OTLP.
    Otlp(Box<Otlp>),
    /// Loggregator's agent.
    Loggregator(Box<Loggregator>),
    /// DogStatsD.
    Dogstatsd(Box<Dogstatsd>),
    /// Splunk Observability Cloud.
    Signalfx(Box<Signalfx>),
    /// The aggregate endpoint.
    Expose(Expose),
    /// A file, or stdout.
    File(FileOutput),
}

impl OutputKind {
    /// Whether samples of one series may arrive in any order.
    pub fn takes_any_order(&self) -> bool {
        match self {
            Self::Elasticsearch(_) | Self::SplunkHec(_) => true,
            Self::RemoteWrite(_)
            | Self::Loggregator(_)
            | Self::Dogstatsd(_)
            | Self::Signalfx(_)
            | Self::Otlp(_)
            | Self::Expose(_)
            | Self::File(_) => false,
        }
    }
}

/// How requests are made up. A batch ends at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Samples; 10,000, for Loggregator and DogStatsD 1,000.
    pub max_samples: usize,
    /// Bytes of the body before compression; 5 MiB, for remote write and OTLP 4 MiB, for Splunk 2 MiB, for Loggregator and DogStatsD 1 MiB.
    pub max_bytes: usize,
    /// Age of its oldest sample; 10 s, for remote write 5 s.
    pub flush_interval: Duration,
    /// A random delay below this on top of it; 1 s.
    pub flush_jitter: Duration,
}

/// What is kept while an output cannot deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Samples; 1,000,000.
    pub max_samples: usize,
    /// Bytes of memory, the series that it keeps alive included; 64 MiB.
    pub max_bytes: usize,
    /// Age; 2 h.
    pub max_age: Duration,
    /// What a full queue does.
    pub on_full: OnFull,
    /// What goes first when it delivers again.
    pub order: Order,
    /// Where what waits is kept beside memory; `None` for memory alone.
    pub disk: Option<Disk>,
}

/// What goes first when an output delivers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// What is scraped now, and what waits behind it.
    FreshFirst,
    /// Everything in the order in which it was scraped.
    OldestFirst,
}

/// A disk queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A folder for one output alone.
    pub path: PathBuf,
    /// Bytes on disk, at most; 1 GiB.
    pub max_bytes: u64,
    /// Whether each batch is on the disk itself before it counts as kept; else the system writes it when it sees fit.
    pub is_synced: bool,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Lets go of what has waited longest.
    #[default]
    DropOldest,
    /// Refuses what comes.
    DropNewest,
}

/// How an HTTP output reaches its receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOutput {
    /// All of them are used; a failing one is set aside.
    pub urls: Vec<Url>,
    /// TLS towards them.
    pub tls: TlsSettings,
    /// Credentials towards them.
    pub auth: Auth,
    /// Headers for each request; values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// From connecting to the last byte of the answer; 60 s.
    pub timeout: Duration,
    /// Whether bodies are sent as gzip.
    pub gzip: bool,
}

/// The Elasticsearch output.
#[derive(Clone, Debug, PartialEq)]
pub struct Elasticsearch {
    /// Where and how.
    pub http: HttpOutput,
    /// Index or data stream, with `%Y.%m.%d`-style parts from the sample's time in UTC, and labels: `{{label}}`.
    pub index: String,
    /// How many indices labels may name; 100.
    pub max_indexes: usize,
    /// `create` into a data stream, or `index` into an index.
    pub action: BulkAction,
    /// What a document looks like.
    pub shape: DocumentShape,
    /// What Telegraf's shapes add.
    pub telegraf: TelegrafTags,
    /// Whether documents have ids of ours where the receiver gives none that a resend repeats.
    pub has_ids: bool,
    /// The ingest pipeline that documents go through.
    pub pipeline: Option<String>,
    /// What decides a document's shard: a text, with labels: `{{label}}`.
    pub routing: Option<String>,
    /// Whether what is no data stream is refused.
    pub require_data_stream: bool,
    /// Whether the index template is installed, or only looked at.
    pub manages_template: bool,
    /// What becomes of old documents; a part of the template.
    pub lifecycle: Lifecycle,
    /// How long a document may wait before it is sent: the queue's `max_age`.
    pub max_age: Duration,
}

impl Elasticsearch {
    /// Whether the template of ours makes a data stream: of time series, or with one name for all times.
    pub fn is_data_stream(&self) -> bool {
        self.shape == DocumentShape::TimeSeries || self.action == BulkAction::Create && !self.index.contains('%')
    }
}

/// What becomes of old documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// Nothing of ours.
    #[default]
    None,
    /// The data stream lets go of what is older.
    Retention(Duration),
    /// An ILM policy of this name.
    Policy(String),
}

/// The bulk operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// Refused when the document is there already; all that data streams allow.
    Create,
    /// Overwrites.
    Index,
}

/// What a document looks like; facts are in docs/elasticsearch.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentShape {
    /// One document a label set: `labels`, `metrics`.
    TimeSeries,
    /// Telegraf, `metric_version = 2`.
    Telegraf,
    /// Telegraf, `metric_version = 1`.
    TelegrafV1,
    /// Metricbeat's Prometheus module: one document a label set, below `prometheus`.
    Metricbeat,
}

/// What the shapes `telegraf` and `telegraf_v1` add to what the target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelegrafTags {
    /// What all metrics of the shape `telegraf` are called.
    pub measurement: String,
    /// The tag `host`, the machine's name, where there is no label of that name.
    pub host: bool,
    /// The tag `url`, the target's, whatever a label says.
    pub url: bool,
}

/// The output to Splunk's HTTP Event Collector.
#[derive(Clone, Debug, PartialEq)]
pub struct SplunkHec {
    /// Where and how. URLs are without the collector's own path.
    pub http: HttpOutput,
    /// The metrics index; empty for the token's.
    pub index: Template,
    /// What `index` may come to; empty where it is no template.
    pub allowed_indexes: Vec<String>,
    /// The source type; empty for the token's.
    pub sourcetype: Template,
    /// The source; empty for the token's.
    pub source: Template,
    /// The host; empty for Splunk's own choice.
    pub host: Template,
    /// Samples of one label set and time are one event.
    pub multi_metric: bool,
    /// Labels that are named as parts of the envelope get another name.
    pub rename_reserved: bool,
    /// Acknowledgements are waited for, for so long; `None` where they are not.
    pub ack_timeout: Option<Duration>,
}

/// The output to what receives Prometheus remote write.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWrite {
    /// Where and how: one URL, with its whole path, and perhaps a query that is a secret. Never gzip.
    pub http: HttpOutput,
    /// What is spoken first.
    pub message: WriteMessage,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent, or skipped.
    pub send_native_histograms: bool,
    /// Time between two times that a family's metadata is sent, with the first message; `None` for never.
    pub metadata_interval: Option<Duration>,
    /// Requests in flight, at most.
    pub lanes: usize,
}

impl RemoteWrite {
    /// The URL for people: without its query, which may be a secret.
    pub fn shown_url(&self) -> String {
        let without_query = |url: &Url| {
            let path = url.path_and_query.split('?').next().unwrap_or_default().to_owned();
            Url { path_and_query: path, ..url.clone() }.to_string()
        };
        self.http.urls.first().map(without_query).unwrap_or_default()
    }
}

/// A message of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMessage {
    /// `prometheus.WriteRequest`, of remote write 1.0.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`, of remote write 2.0.
    V2,
}

/// The output to an agent of Loggregator.
#[derive(Clone, Debug, PartialEq)]
pub struct Loggregator {
    /// The agent's host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS towards it.
    pub tls: TlsSettings,
    /// The source of samples that have none.
    pub source_id: String,
    /// For a whole call, from connecting to the last byte of the answer; 10 s.
    pub timeout: Duration,
}

/// The output to a receiver of OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// How it is spoken.
    pub protocol: OtlpProtocol,
    /// Where and how. URLs are without `path`; of gRPC, host and port alone.
    pub http: HttpOutput,
    /// Path below each URL; `/v1/metrics`.
    pub path: String,
    /// What counters and histograms say.
    pub temporality: OtlpTemporality,
    /// Whether the samples of a series show since when it counts, where its target does not say so.
    pub observes_starts: bool,
    /// Whether OpenTelemetry's page on compatibility with Prometheus is followed.
    pub prometheus_compatible: bool,
    /// Labels, each once and in their order, and the attributes of the resource that they become; an empty one is none.
    pub resource_labels: Vec<(String, String)>,
    /// Attributes that every resource has.
    pub resource_attributes: Vec<(String, String)>,
}

impl Otlp {
    /// Adds labels that become attributes of the resource; what is configured about a label or an attribute stays.
    pub fn add_resource_labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        for (label, attribute) in labels {
            let is_taken = self.resource_labels.iter().any(|(held, name)| held == label || name == attribute);
            if !is_taken {
                self.resource_labels.push((label.to_owned(), attribute.to_owned()));
            }
        }
        self.resource_labels.sort();
    }
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    #[default]
    HttpProtobuf,
    /// JSON over HTTP.
    HttpJson,
    /// gRPC.
    Grpc,
}

/// What counters and histograms say in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpTemporality {
    /// What they have counted since they began.
    #[default]
    Cumulative,
    /// What they have counted since the sample before.
    Delta,
}

/// The output over DogStatsD.
#[derive(Clone, Debug, PartialEq)]
pub struct Dogstatsd {
    /// Where the agent listens.
    pub address: DogstatsdAddress,
    /// Bytes of a datagram, at most.
    pub max_payload: usize,
    /// Stands before each metric's name; with its point, or empty.
    pub namespace: String,
    /// Tags of every line whose series has no such label.
    pub tags: Vec<(String, String)>,
    /// Labels that become no tags.
    pub exclude_labels: Vec<String>,
    /// Whether lines have the time of their sample.
    pub timestamps: bool,
    /// Whether buckets of histograms are sent.
    pub buckets: bool,
    /// Whether quantiles of summaries are sent.
    pub quantiles: bool,
    /// Other names: each that matches gives one.
    pub mappings: Vec<Mapping>,
}

/// The output to Splunk Observability Cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Signalfx {
    /// Where and how. The URL is without the ingest's own path; the token is among the headers.
    pub http: HttpOutput,
    /// What is spoken there.
    pub protocol: SignalfxProtocol,
}

/// What the ingest is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalfxProtocol {
    /// OTLP over HTTP, protobuf.
    Otlp,
    /// Its own JSON.
    Datapoints,
}

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DogstatsdAddress {
    /// A UDP port.
    Udp {
        /// Host name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix datagram socket.
    Unix(PathBuf),
}

impl DogstatsdAddress {
    /// Whether it has to be looked up.
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Udp { host, .. } if host.parse::<std::net::IpAddr>().is_err())
    }
}

impl std::fmt::Display for DogstatsdAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp { host, port } => f.write_str(&crate::net::text::escaped(&crate::net::authority(host, *port))),
            Self::Unix(path) => write!(f, "unix://{}", crate::net::text::escaped(&path.to_string_lossy())),
        }
    }
}

/// A rule that gives samples another name, and may change what they say.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// Which names are meant, and what they become.
    pub rename: Rename,
    /// As what they are sent; `None` for what their type says.
    pub stat: Option<Stat>,
    /// Values, or rises, are multiplied by this.
    pub multiply: f64,
    /// Then this is added; to gauges alone.
    pub add: f64,
    /// Samples of one scrape with the same labels that come to the same name are one gauge, their sum.
    pub is_sum: bool,
}

/// As what a sample is sent to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// Its value.
    Gauge,
    /// By how much it rose.
    Count,
}

/// The aggregate endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Expose {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The path; `/metrics`.
    pub path: String,
    /// TLS, with or without client certificates.
    pub tls: Option<ServerTls>,
    /// Whether samples are written with their times.
    pub timestamps: bool,
}

/// The file output.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOutput {
    /// The file, or `None` for stdout.
    pub path: Option<PathBuf>,
    /// What is written.
    pub format: FileFormat,
    /// Size in bytes at which the file is rotated; 0 is never.
    pub rotate_bytes: u64,
    /// Rotated files that are kept.
    pub rotate_keep: usize,
}

/// What the file output writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A line a sample, as `promferry parse --json` has it.
    Json,
    /// Exposition text 0.0.4 with timestamps.
    Text,
}
