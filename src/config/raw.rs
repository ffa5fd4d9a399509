//! What may be typed: every section and key of the main configuration, with its default, its bounds and a line of docs.
//!
//! These tables drive the reader and are the source of docs/config.md. The words are Prometheus' wherever it has one.
//! Keys that are known elsewhere and not here are listed too: each gets a sentence of its own, not just "no such key".

mod common;
mod dogstatsd;
mod loggregator;
mod metrics_agent;
mod nats;
mod otlp;
mod outputs;
mod remote_write;
mod scrape;
mod signalfx;
mod splunk_hec;

pub use common::{AUTHORIZATION, BASIC_AUTH, HTTP_HEADER, RELABEL, TLS};
pub use dogstatsd::{DOGSTATSD, MAPPING};
pub use loggregator::LOGGREGATOR;
pub use metrics_agent::{INGRESS, METRICS_AGENT};
pub use nats::{NATS_SD, REGISTER, TARGETS_FILE};
pub use otlp::OTLP;
pub use outputs::{ADMIN, BATCH, DISK, ELASTICSEARCH, EXPOSE, FILE, LIFECYCLE, OUTPUT, QUEUE, SERVER_TLS};
pub use remote_write::{MESSAGES, METADATA, REMOTE_WRITE};
pub use scrape::{DNS_SD, FILE_SD, HTTP_SD, NOMAD_SD, PROM_SCRAPER_FILES, PROM_SCRAPER_SD, SCRAPE, STATIC};
pub use signalfx::SIGNALFX;
pub use splunk_hec::SPLUNK_HEC;

use super::detect::WORDS as DETECT;
use super::negotiation::{ESCAPINGS, PROTOCOLS, VALIDATIONS};
use super::schema::{Key, Section, Type};

const fn key(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key::new(name, kind, about)
}

/// The whole file.
pub static ROOT: Section = Section {
    name: "configuration",
    about: "The keys at the top.",
    keys: &[
        key(
            "global",
            Type::Section(&GLOBAL),
            "What concerns the whole process, and defaults for every scrape configuration.",
        ),
        key("scrape_configs", Type::Sections(&SCRAPE), "What is scraped."),
        key(
            "scrape_config_files",
            Type::Texts,
            "Files with more `scrape_configs`; `*` stands for any part of a name. Relative paths in one start from its folder.",
        ),
        key("outputs", Type::Sections(&OUTPUT), "Where it goes; at least one.")
            .otherwise("an error, unless there is `metrics_agent`"),
        key("register", Type::Section(&REGISTER), "Announces over NATS where this process can be scraped."),
        key("targets_file", Type::Section(&TARGETS_FILE), "Keeps a file of the discovered targets for Prometheus."),
        key("admin", Type::Section(&ADMIN), "The port for status page, self-metrics and API; `null` turns it off.")
            .otherwise("on, with its defaults"),
        key("metrics_agent", Type::Section(&METRICS_AGENT), "A drop-in for Cloud Foundry's metrics-agent.")
            .otherwise("off"),
    ],
    foreign: &[
        ("rule_files", "not supported: promferry evaluates no rules; leave them to the server that stores the samples"),
        ("alerting", "not supported: promferry evaluates no rules; leave alerts to the server that stores the samples"),
        (
            "remote_write",
            "stands under \"outputs\", with a name: outputs: [{name: …, remote_write: {url: …}}]; write_relabel_configs stand beside it",
        ),
        ("remote_read", "not supported: promferry stores no samples to be queried"),
        ("storage", "not supported: promferry stores no samples to be queried"),
        ("tracing", "not supported: promferry sends no traces"),
        ("otlp", "not supported: promferry receives no OTLP"),
        ("runtime", "not supported: these are settings of Go's runtime"),
        ("agent", "a section of Telegraf's; intervals are under \"global\", batches and queues under each output"),
        ("inputs", "a section of Telegraf's; write the endpoints under \"scrape_configs\""),
        ("global_tags", "a section of Telegraf's; write \"external_labels\" under \"global\""),
        ("receivers", "a section of the OpenTelemetry Collector's; write the endpoints under \"scrape_configs\""),
        ("exporters", "a section of the OpenTelemetry Collector's; write them under \"outputs\""),
    ],
};

/// A file that `scrape_config_files` finds.
pub static SCRAPE_FILE: Section = Section {
    name: "scrape_config_files",
    about: "A file with more scrape configurations.",
    keys: &[key("scrape_configs", Type::Sections(&SCRAPE), "What is scraped.")],
    foreign: &[
        ("global", ONLY_IN_MAIN),
        ("outputs", ONLY_IN_MAIN),
        ("admin", ONLY_IN_MAIN),
        ("scrape_config_files", ONLY_IN_MAIN),
    ],
};

const ONLY_IN_MAIN: &str =
    "stands in the main configuration; a file of scrape_config_files has only \"scrape_configs\"";

/// `global`.
pub static GLOBAL: Section = Section {
    name: "global",
    about: "What concerns the whole process, and defaults for every scrape configuration.",
    keys: &[
        key("scrape_interval", Type::Duration, "Time between two scrapes of a target.")
            .default("15s")
            .within("1ms", "24h"),
        key(
            "scrape_timeout",
            Type::Duration,
            "Time that a scrape may take, at most `scrape_interval`; the default is lowered to it.",
        )
        .default("10s")
        .within("1ms", "24h"),
        key("scrape_jitter", Type::Duration, "A random delay below this at each scrape, on top of a fixed offset.")
            .default("0s")
            .within("", "24h"),
        SCRAPE_PROTOCOLS.otherwise(DEFAULT_PROTOCOLS),
        SCRAPE_NATIVE_HISTOGRAMS.default("false"),
        ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS.default("false"),
        METRIC_NAME_ESCAPING_SCHEME.otherwise("`allow-utf-8`; `underscores` where names are `legacy`"),
        METRIC_NAME_VALIDATION_SCHEME.otherwise("`utf8`"),
        key("external_labels", Type::TextMap, "Labels for every sample that does not have them."),
        key(
            "detect",
            Type::Choices(&DETECT),
            "Surroundings whose names become labels as external labels do, which win over them: see [detect.md](detect.md).",
        ),
        key("shard", Type::Section(&SHARD), "Several instances share the targets.").otherwise("all targets are this one's"),
        key(
            "body_size_limit",
            Type::Size,
            "Bytes of an answer after inflating; beyond it the scrape fails. 0 is no limit.",
        )
        .default("64MiB"),
        key(
            "sample_limit",
            Type::Count,
            "Samples of a scrape after relabelling; beyond it the scrape fails. 0 is no limit.",
        )
        .default("0"),
        key(
            "growth_limit",
            Type::Size,
            "Memory that one scrape may add to what is kept of its target, taken as 320 bytes and the text for each series or comment that the target never had before, and 64 bytes for each line that comes again; beyond it the scrape fails. 0 is no limit.",
        )
        .default("64MiB"),
        key(
            "label_limit",
            Type::Count,
            "Labels of a sample; beyond it the scrape fails. 0 is no limit but 512, beyond which a line is a bad line.",
        )
        .default("0"),
        key(
            "label_name_length_limit",
            Type::Count,
            "Bytes of a label's name; beyond it the scrape fails. 0 is no limit.",
        )
        .default("0"),
        key(
            "label_value_length_limit",
            Type::Count,
            "Bytes of a label's value; beyond it the scrape fails. 0 is no limit.",
        )
        .default("0"),
        TARGET_LIMIT.default("0"),
        key(
            "memory_limit",
            Type::PercentOrSize,
            "What the process may use of memory: a part of its control group's limit (no limit where there is none), or a size of 24MiB or more. Above it queues let go of samples, the largest first, then scrapes pause. 0 is no limit.",
        )
        .default("80%"),
        key(
            "shutdown_timeout",
            Type::Duration,
            "From SIGTERM to the end of the process. Cloud Foundry kills after 10 s.",
        )
        .default("8s")
        .within("0s", "1h"),
    ],
    foreign: &[
        ("evaluation_interval", "not supported: promferry evaluates no rules"),
        ("rule_query_offset", "not supported: promferry evaluates no rules"),
        ("query_log_file", "not supported: promferry answers no queries"),
        ("keep_dropped_targets", "not supported yet"),
        ("scrape_failure_log_file", "not supported: a failing scrape is logged on stderr, once a cause"),
        ("fallback_scrape_protocol", "stands in the entries of \"scrape_configs\", as in Prometheus"),
        ("convert_classic_histograms_to_nhcb", NO_NHCB),
        ("extra_scrape_metrics", NO_EXTRA),
        ("interval", "Telegraf's word; write \"scrape_interval\""),
        ("collection_jitter", "Telegraf's word; write \"scrape_jitter\""),
    ],
};

/// `global.shard`.
pub static SHARD: Section = Section {
    name: "shard",
    about: "Several instances with the same configuration share the targets, by rendezvous hashing: when `count` changes, only what must moves.",
    keys: &[
        key(
            "index",
            Type::Count,
            "Which instance this is, from 0; for an app on Cloud Foundry `${CF_INSTANCE_INDEX}`.",
        )
        .required(),
        key("count", Type::Count, "How many instances there are.").required().within("1", "1000"),
        key("replicas", Type::Count, "How many of them scrape each target.").default("1").within("1", ""),
    ],
    foreign: &[],
};

/// The words of a target limit, which stand in three sections.
const TARGET_LIMIT: Key =
    key("target_limit", Type::Count, "Targets at most; beyond it none of them is scraped. 0 is no limit.");

/// What stands in `global` and in scrape configurations.
const SCRAPE_PROTOCOLS: Key = key(
    "scrape_protocols",
    Type::Choices(&PROTOCOLS),
    "The formats that targets are asked for, best first. What comes is read as its content type says, whatever was asked for.",
);
const DEFAULT_PROTOCOLS: &str = "the last four, in this order; all five with `scrape_native_histograms`";
const SCRAPE_NATIVE_HISTOGRAMS: Key = key(
    "scrape_native_histograms",
    Type::Switch,
    "Whether native histograms are read, which only protobuf has; else such a histogram is read as a classic one.",
);
const ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS: Key = key(
    "always_scrape_classic_histograms",
    Type::Switch,
    "Whether a histogram that is read as a native one gives its classic buckets too: for outputs that have no native histograms.",
);
const METRIC_NAME_ESCAPING_SCHEME: Key = key(
    "metric_name_escaping_scheme",
    Type::Choice(&ESCAPINGS),
    "What targets are asked to make of names that need quotes (`escaping=` in the `Accept` header).",
);
const METRIC_NAME_VALIDATION_SCHEME: Key = key(
    "metric_name_validation_scheme",
    Type::Choice(&VALIDATIONS),
    "Which names series may have; with `legacy` a scrape fails that has another after relabelling.",
);

const NO_NHCB: &str = "not supported yet; classic histograms stay as they are";
const NO_BUCKET_LIMIT: &str = "not supported yet; native histograms are taken with the resolution that they have";
const NO_EXTRA: &str = "not supported yet; \"up\" and the other four series that Prometheus adds by default are made";
const NO_OAUTH: &str = "not supported yet; use basic_auth or authorization";
const NO_PROXY: &str = "not supported yet; targets and receivers are connected to directly";
const NO_AZURE: &str = "not supported; use basic_auth or authorization";
const NO_BEARER: &str = "Prometheus' old word; write authorization: {credentials: …}";
const NO_BEARER_FILE: &str = "Prometheus' old word; write authorization: {credentials_file: …}";
const NO_SD: &str = "not supported; have a tool write the targets to a file and name it under \"file_sd_configs\"";

/// Every section, each once, in the order of the docs.
pub static SECTIONS: &[&Section] = &[
    &ROOT,
    &GLOBAL,
    &SHARD,
    &SCRAPE,
    &STATIC,
    &FILE_SD,
    &PROM_SCRAPER_SD,
    &HTTP_SD,
    &DNS_SD,
    &NATS_SD,
    &NOMAD_SD,
    &TLS,
    &BASIC_AUTH,
    &AUTHORIZATION,
    &HTTP_HEADER,
    &RELABEL,
    &OUTPUT,
    &ELASTICSEARCH,
    &LIFECYCLE,
    &SPLUNK_HEC,
    &REMOTE_WRITE,
    &METADATA,
    &OTLP,
    &SIGNALFX,
    &LOGGREGATOR,
    &DOGSTATSD,
    &MAPPING,
    &EXPOSE,
    &FILE,
    &BATCH,
    &QUEUE,
    &DISK,
    &REGISTER,
    &TARGETS_FILE,
    &ADMIN,
    &SERVER_TLS,
    &METRICS_AGENT,
    &INGRESS,
];
