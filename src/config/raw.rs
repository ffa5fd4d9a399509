//! What may be typed: every section and key of the main configuration, with its default, its bounds and one line of docs.
//!
//! These tables drive the reader and are the source of docs/config.md. The words are Prometheus' wherever it has one. Keys
//! that are known elsewhere and not here are listed too: each gets a sentence of its own instead of "no such key".

use super::schema::{Key, Section, Type};

const fn key(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key::new(name, kind, about)
}

/// The whole file.
pub static ROOT: Section = Section {
    name: "configuration",
    about: "The whole file.",
    keys: &[
        key(
            "global",
            Type::Section(&GLOBAL),
            "What concerns the whole process, and defaults for every scrape configuration.",
        ),
        key("scrape_configs", Type::Sections(&SCRAPE), "What is scraped."),
        key("outputs", Type::Sections(&OUTPUT), "Where it goes; at least one.").required(),
        key("admin", Type::Section(&ADMIN), "The port for status page, self-metrics and API; `null` turns it off.")
            .otherwise("on, with its defaults"),
    ],
    foreign: &[
        ("rule_files", "not supported: promferry evaluates no rules; leave them to the server that stores the samples"),
        ("alerting", "not supported: promferry evaluates no rules; leave alerts to the server that stores the samples"),
        (
            "remote_write",
            "not supported as a section of its own; outputs are listed under \"outputs\" (remote_write is not among them yet)",
        ),
        ("remote_read", "not supported: promferry stores no samples to be queried"),
        ("storage", "not supported: promferry stores no samples to be queried"),
        ("tracing", "not supported: promferry sends no traces"),
        ("otlp", "not supported: promferry receives no OTLP"),
        ("runtime", "not supported: these are settings of Go's runtime"),
        ("scrape_config_files", "not supported yet; write the entries under \"scrape_configs\""),
        ("agent", "a section of Telegraf's; intervals are under \"global\", batches and queues under each output"),
        ("inputs", "a section of Telegraf's; write the endpoints under \"scrape_configs\""),
        ("global_tags", "a section of Telegraf's; write \"external_labels\" under \"global\""),
        ("receivers", "a section of the OpenTelemetry Collector's; write the endpoints under \"scrape_configs\""),
        ("exporters", "a section of the OpenTelemetry Collector's; write them under \"outputs\""),
    ],
};

/// The words of a target limit, which stand in three sections.
const TARGET_LIMIT: Key =
    key("target_limit", Type::Count, "Targets at most; 0 is no limit. Beyond it none of them is scraped.");

/// `global`.
pub static GLOBAL: Section = Section {
    name: "global",
    about: "What concerns the whole process, and defaults for every scrape configuration.",
    keys: &[
        key("scrape_interval", Type::Duration, "Time between two scrapes of a target.").default("15s").within("1ms", "24h"),
        key("scrape_timeout", Type::Duration, "Time that one scrape may take, connecting included. At most `scrape_interval`; the default is lowered to it.")
            .default("10s").within("1ms", "24h"),
        key("scrape_jitter", Type::Duration, "A random delay below this at each scrape, on top of the target's fixed offset.").default("0s").within("", "24h"),
        key("external_labels", Type::TextMap, "Labels for every sample that does not have them."),
        key("body_size_limit", Type::Size, "Bytes of an exposition after inflating; beyond it the scrape fails. 0 is no limit.").default("64MiB"),
        key("sample_limit", Type::Count, "Samples of a scrape after relabelling; beyond it the scrape fails. 0 is no limit.").default("0"),
        key("label_limit", Type::Count, "Labels of a sample; beyond it the scrape fails. 0 is no limit.").default("0"),
        key("label_name_length_limit", Type::Count, "Bytes of a label's name; beyond it the scrape fails. 0 is no limit.").default("0"),
        key("label_value_length_limit", Type::Count, "Bytes of a label's value; beyond it the scrape fails. 0 is no limit.").default("0"),
        TARGET_LIMIT.default("0"),
        key("shutdown_timeout", Type::Duration, "From SIGTERM to the end of the process, at most. Cloud Foundry kills after 10 s.").default("8s").within("0s", "1h"),
    ],
    foreign: &[
        ("evaluation_interval", "not supported: promferry evaluates no rules"),
        ("rule_query_offset", "not supported: promferry evaluates no rules"),
        ("query_log_file", "not supported: promferry answers no queries"),
        ("keep_dropped_targets", "not supported yet"),
        ("scrape_failure_log_file", "not supported: a failing scrape is logged on stderr, once a cause"),
        ("detect", "not supported yet; write the labels under \"external_labels\""),
        ("memory_limit", "not supported yet; bound each output by \"queue\": {max_bytes: …}"),
        ("scrape_protocols", NO_PROTOCOLS),
        ("metric_name_validation_scheme", NO_VALIDATION),
        ("metric_name_escaping_scheme", NO_VALIDATION),
        ("always_scrape_classic_histograms", NO_NATIVE),
        ("convert_classic_histograms_to_nhcb", NO_NATIVE),
        ("scrape_native_histograms", NO_NATIVE),
        ("extra_scrape_metrics", NO_EXTRA),
        ("interval", "Telegraf's word; write \"scrape_interval\""),
        ("collection_jitter", "Telegraf's word; write \"scrape_jitter\""),
    ],
};

const NO_PROTOCOLS: &str = "not supported yet; the content type of the answer decides how it is read";
const NO_VALIDATION: &str = "not supported; metric names may hold any UTF-8";
const NO_NATIVE: &str = "not supported yet; histograms are read as the text format has them";
const NO_EXTRA: &str = "not supported yet; \"up\" and the other four series that Prometheus adds by default are made";
const NO_OAUTH: &str = "not supported yet; use basic_auth or authorization";
const NO_PROXY: &str = "not supported yet; targets and receivers are connected to directly";
const NO_AZURE: &str = "not supported; use basic_auth or authorization";
const NO_BEARER: &str = "Prometheus' old word; write authorization: {credentials: …}";
const NO_BEARER_FILE: &str = "Prometheus' old word; write authorization: {credentials_file: …}";
const NO_SD: &str = "not supported; have a tool write the targets to a file and name it under \"file_sd_configs\"";
const NO_SD_YET: &str =
    "not supported yet; have a tool write the targets to a file and name it under \"file_sd_configs\"";

/// `scrape_configs[]`.
pub static SCRAPE: Section = Section {
    name: "scrape_configs",
    about: "One entry for each group of targets that are scraped alike.",
    keys: &[
        key("job_name", Type::Text, "The `job` label of its targets; each entry has its own.").required(),
        key(
            "scheme",
            Type::Choice(&["http", "https"]),
            "How targets are spoken to, where they do not say it themselves.",
        )
        .default("http"),
        key("metrics_path", Type::Text, "The path of the request.").default("/metrics"),
        key("params", Type::TextsMap, "Query parameters: a list of values for each name."),
        key("scrape_interval", Type::Duration, "Time between two scrapes of a target.")
            .otherwise("as in `global`")
            .within("1ms", "24h"),
        key(
            "scrape_timeout",
            Type::Duration,
            "Time that one scrape may take, connecting included. At most `scrape_interval`.",
        )
        .otherwise("as in `global`, lowered to `scrape_interval`")
        .within("1ms", "24h"),
        key(
            "scrape_jitter",
            Type::Duration,
            "A random delay below this at each scrape, on top of the target's fixed offset.",
        )
        .otherwise("as in `global`")
        .within("", "24h"),
        key("tls_config", Type::Section(&TLS), "TLS towards targets."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key("authorization", Type::Section(&AUTHORIZATION), "An `Authorization` header; excludes `basic_auth`."),
        key(
            "http_headers",
            Type::SectionMap(&HTTP_HEADER),
            "Headers for each request: a mapping with values for each name.",
        ),
        key("follow_redirects", Type::Switch, "Whether redirects are followed, ten at most, never from https to http.")
            .otherwise("true, but false for targets from `prom_scraper_sd_configs`"),
        key("enable_compression", Type::Switch, "Whether compressed answers are asked for.").default("true"),
        key(
            "honor_labels",
            Type::Switch,
            "Labels of the exposition win over the target's; else they become `exported_…`.",
        )
        .default("false"),
        key("honor_timestamps", Type::Switch, "Timestamps of the exposition are used.").default("true"),
        key("track_timestamps_staleness", Type::Switch, "Series with timestamps of their own get stale markers too.")
            .default("false"),
        key(
            "on_bad_line",
            Type::Choice(&["skip", "fail"]),
            "What a line that cannot be read does: it is skipped and counted, or fails the scrape.",
        )
        .default("skip"),
        key("scrape_metrics", Type::Switch, "Whether `up`, `scrape_duration_seconds` and their like are made.")
            .default("true"),
        key("body_size_limit", Type::Size, "As in `global`.").otherwise("as in `global`"),
        key("sample_limit", Type::Count, "As in `global`.").otherwise("as in `global`"),
        key("label_limit", Type::Count, "As in `global`.").otherwise("as in `global`"),
        key("label_name_length_limit", Type::Count, "As in `global`.").otherwise("as in `global`"),
        key("label_value_length_limit", Type::Count, "As in `global`.").otherwise("as in `global`"),
        TARGET_LIMIT.otherwise("as in `global`"),
        key("static_configs", Type::Sections(&STATIC), "Targets that are listed here."),
        key("file_sd_configs", Type::Sections(&FILE_SD), "Targets that files list, in Prometheus' JSON or YAML."),
        key(
            "prom_scraper_sd_configs",
            Type::Sections(&PROM_SCRAPER_SD),
            "Targets that the jobs of a BOSH VM announce.",
        ),
        key(
            "relabel_configs",
            Type::Sections(&RELABEL),
            "Rules for targets, applied in order before they are scraped.",
        ),
        key(
            "metric_relabel_configs",
            Type::Sections(&RELABEL),
            "Rules for samples, applied in order after the scrape.",
        ),
    ],
    foreign: &[
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
        ("no_proxy", NO_PROXY),
        ("proxy_from_environment", NO_PROXY),
        ("proxy_connect_header", NO_PROXY),
        ("enable_http2", "not supported: endpoints are spoken to in HTTP/1.1"),
        ("scrape_protocols", NO_PROTOCOLS),
        ("fallback_scrape_protocol", "not supported yet; an answer without a known content type is read as text 0.0.4"),
        ("always_scrape_classic_histograms", NO_NATIVE),
        ("convert_classic_histograms_to_nhcb", NO_NATIVE),
        ("scrape_classic_histograms", NO_NATIVE),
        ("scrape_native_histograms", NO_NATIVE),
        ("native_histogram_bucket_limit", NO_NATIVE),
        ("native_histogram_min_bucket_factor", NO_NATIVE),
        ("extra_scrape_metrics", NO_EXTRA),
        ("metric_name_validation_scheme", NO_VALIDATION),
        ("metric_name_escaping_scheme", NO_VALIDATION),
        ("keep_dropped_targets", "not supported yet"),
        ("scrape_failure_log_file", "not supported: a failing scrape is logged on stderr, once a cause"),
        ("sigv4", NO_AZURE),
        ("azuread", NO_AZURE),
        ("http_sd_configs", NO_SD_YET),
        ("nats_sd_configs", NO_SD_YET),
        ("nomad_sd_configs", NO_SD_YET),
        ("dns_sd_configs", NO_SD_YET),
        ("kubernetes_sd_configs", NO_SD),
        ("consul_sd_configs", NO_SD),
        ("aws_sd_configs", NO_SD),
        ("azure_sd_configs", NO_SD),
        ("digitalocean_sd_configs", NO_SD),
        ("docker_sd_configs", NO_SD),
        ("dockerswarm_sd_configs", NO_SD),
        ("ec2_sd_configs", NO_SD),
        ("eureka_sd_configs", NO_SD),
        ("gce_sd_configs", NO_SD),
        ("hetzner_sd_configs", NO_SD),
        ("ionos_sd_configs", NO_SD),
        ("kuma_sd_configs", NO_SD),
        ("lightsail_sd_configs", NO_SD),
        ("linode_sd_configs", NO_SD),
        ("marathon_sd_configs", NO_SD),
        ("nerve_sd_configs", NO_SD),
        ("openstack_sd_configs", NO_SD),
        ("ovhcloud_sd_configs", NO_SD),
        ("puppetdb_sd_configs", NO_SD),
        ("scaleway_sd_configs", NO_SD),
        ("serverset_sd_configs", NO_SD),
        ("stackit_sd_configs", NO_SD),
        ("triton_sd_configs", NO_SD),
        ("uyuni_sd_configs", NO_SD),
        ("vultr_sd_configs", NO_SD),
    ],
};

/// `tls_config` towards targets and receivers.
pub static TLS: Section = Section {
    name: "tls_config",
    about: "TLS towards targets and receivers. Files are read again when they change.",
    keys: &[
        key("ca_file", Type::Path, "Certificate authorities to trust, PEM.").otherwise("the system's"),
        key("cert_file", Type::Path, "Client certificate chain, PEM; goes with `key_file`."),
        key("key_file", Type::Path, "Its key, PEM: PKCS#8, PKCS#1 or SEC1."),
        key("server_name", Type::Text, "The name to send and to verify.").otherwise("the host that is connected to"),
        key("min_version", Type::Choice(&["TLS12", "TLS13"]), "The oldest version that is spoken.").default("TLS12"),
        key("insecure_skip_verify", Type::Switch, "Any certificate is taken.").default("false"),
        key(
            "pin_sha256",
            Type::Text,
            "SHA-256 of the server's certificate (DER), in hex or base64; with it that certificate is trusted as it is.",
        ),
    ],
    foreign: &[
        ("ca", "not supported; write the certificate to a file and name it as \"ca_file\""),
        ("cert", "not supported; write the certificate to a file and name it as \"cert_file\""),
        ("key", "not supported; write the key to a file and name it as \"key_file\""),
        ("ca_ref", "not supported; use \"ca_file\""),
        ("cert_ref", "not supported; use \"cert_file\""),
        ("key_ref", "not supported; use \"key_file\""),
        ("max_version", "not supported; TLS 1.3 is the newest version that is spoken"),
    ],
};

/// `basic_auth`.
pub static BASIC_AUTH: Section = Section {
    name: "basic_auth",
    about: "`Authorization: Basic`.",
    keys: &[
        key("username", Type::Text, "User name.").required(),
        key("password", Type::Text, "Password.").secret().otherwise("empty"),
        key(
            "password_file",
            Type::Path,
            "File that holds the password; read again when it changes. Excludes `password`.",
        ),
    ],
    foreign: &[
        ("username_file", "not supported; write \"username\", which may be a variable"),
        ("username_ref", "not supported; write \"username\", which may be a variable"),
        ("password_ref", "not supported; use \"password_file\""),
    ],
};

/// `authorization`.
pub static AUTHORIZATION: Section = Section {
    name: "authorization",
    about: "`Authorization: TYPE CREDENTIALS`. One of `credentials` and `credentials_file` is needed.",
    keys: &[
        key("type", Type::Text, "The word before the credentials.").default("Bearer"),
        key("credentials", Type::Text, "The credentials.").secret(),
        key("credentials_file", Type::Path, "File that holds the credentials; read again when it changes."),
    ],
    foreign: &[("credentials_ref", "not supported; use \"credentials_file\"")],
};

/// `http_headers.NAME`.
pub static HTTP_HEADER: Section = Section {
    name: "http_headers",
    about: "The values of one header, under its name; each is sent in a line of its own.",
    keys: &[
        key("values", Type::Texts, "Values. They are not shown either: many headers hold credentials.").secret(),
        key("secrets", Type::Texts, "Values that are secret.").secret(),
        key("files", Type::Texts, "Files that hold a value each; read again when they change."),
    ],
    foreign: &[],
};

/// `static_configs[]`.
pub static STATIC: Section = Section {
    name: "static_configs",
    about: "Targets that are listed in the configuration.",
    keys: &[
        key("targets", Type::Texts, "`host:port` of each.").required(),
        key("labels", Type::TextMap, "Labels for each of them."),
    ],
    foreign: &[],
};

/// `file_sd_configs[]`.
pub static FILE_SD: Section = Section {
    name: "file_sd_configs",
    about: "Targets that files list: `[{targets: [\"host:port\"], labels: {…}}]` in JSON or YAML, at most 1 MiB each.",
    keys: &[
        key("files", Type::Texts, "Paths; `*` stands for any part of a name.").required(),
        key("refresh_interval", Type::Duration, "Time between two looks where no event of the file system came.")
            .default("5m")
            .within("1s", "24h"),
        TARGET_LIMIT.default("0"),
    ],
    foreign: &[],
};

/// `prom_scraper_sd_configs[]`.
pub static PROM_SCRAPER_SD: Section = Section {
    name: "prom_scraper_sd_configs",
    about: "Targets that the jobs of a BOSH VM announce in `prom_scraper_config.yml` files.",
    keys: &[
        key("files", Type::Texts, "Paths; `*` stands for any part of a name.").otherwise(
            "`/var/vcap/jobs/*/config/prom_scraper_config.yml` and `/var/vcap/jobs/*/config/metric_port.yml`",
        ),
        key("host", Type::Text, "The host that the announced ports are on.").default("127.0.0.1"),
        key("refresh_interval", Type::Duration, "Time between two looks where no event of the file system came.")
            .default("15s")
            .within("1s", "24h"),
        TARGET_LIMIT.default("0"),
    ],
    foreign: &[],
};

/// One relabel rule.
pub static RELABEL: Section = Section {
    name: "relabel_configs",
    about: "One rule, as in Prometheus; also of `metric_relabel_configs` and `write_relabel_configs`.",
    keys: &[
        key("source_labels", Type::Texts, "Labels whose values are joined and matched."),
        key("separator", Type::Text, "What joins them.").verbatim().otherwise("`;`"),
        key("target_label", Type::Text, "The label that is written.").verbatim(),
        key("regex", Type::Text, "RE2, matched against the whole of the joined values.").verbatim().otherwise("`(.*)`"),
        key("modulus", Type::Count, "For `hashmod`."),
        key("replacement", Type::Text, "What is written; `$1` is the first group.").verbatim().otherwise("`$1`"),
        key("action", Type::Text, "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase or uppercase.")
            .otherwise("`replace`"),
    ],
    foreign: &[],
};

/// `outputs[]`.
pub static OUTPUT: Section = Section {
    name: "outputs",
    about: "One entry for each place that samples go to. Exactly one of `elasticsearch`, `expose` and `file` is needed.",
    keys: &[
        key("name", Type::Text, "Its name in logs and metrics; each entry has its own.").required(),
        key("elasticsearch", Type::Section(&ELASTICSEARCH), "Elasticsearch or OpenSearch, through `_bulk`."),
        key("expose", Type::Section(&EXPOSE), "The aggregate endpoint: the latest scrape of every target."),
        key("file", Type::Section(&FILE), "A file, or stdout."),
        key("batch", Type::Section(&BATCH), "How requests are made up; not for `expose`."),
        key("queue", Type::Section(&QUEUE), "What is kept while it cannot deliver; not for `expose`."),
        key("write_relabel_configs", Type::Sections(&RELABEL), "Rules for the samples of this output."),
    ],
    foreign: &[
        ("splunk_hec", NO_OUTPUT),
        ("remote_write", NO_OUTPUT),
        ("otlp", NO_OUTPUT),
        ("signalfx", NO_OUTPUT),
        ("dogstatsd", NO_OUTPUT),
        ("loggregator", NO_OUTPUT),
        ("prometheus_client", "Telegraf's word; write \"expose\""),
        ("opensearch", "write \"elasticsearch\"; OpenSearch has the same bulk API"),
    ],
};

const NO_OUTPUT: &str = "not supported yet; outputs are elasticsearch, expose and file";

/// `outputs[].elasticsearch`.
pub static ELASTICSEARCH: Section = Section {
    name: "elasticsearch",
    about: "Elasticsearch or OpenSearch, through `_bulk`. At most one of `basic_auth`, `authorization`, `api_key` and `api_key_file`.",
    keys: &[
        key("urls", Type::Texts, "Nodes, such as `https://es:9200`. All are used; a failing one is set aside for a while.").required(),
        key("index", Type::Text, "Data stream or index. `%Y %y %m %d %H %V` stand for parts of the sample's time in UTC; it begins with a text of its own.")
            .verbatim().default("metrics-promferry-default"),
        key("action", Type::Choice(&["create", "index"]), "`create` never overwrites, and is all that data streams allow; `index` does.")
            .otherwise("`create`; `index` where `index` has a `%`"),
        key("shape", Type::Choice(&["timeseries", "telegraf", "telegraf_v1"]), "What documents look like; see docs/elasticsearch.md.").default("timeseries"),
        key("tls_config", Type::Section(&TLS), "TLS towards the nodes."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key("authorization", Type::Section(&AUTHORIZATION), "An `Authorization` header, for example with a bearer token."),
        key("api_key", Type::Text, "API key, in the base64 form that Elasticsearch gives out.").secret(),
        key("api_key_file", Type::Path, "File that holds the API key; read again when it changes."),
        key("headers", Type::TextMap, "Headers for each request.").secret(),
        key("timeout", Type::Duration, "From connecting to the last byte of the answer.").default("60s").within("1ms", "1h"),
        key("gzip", Type::Switch, "Whether bodies are compressed.").default("true"),
    ],
    foreign: &[
        ("url", "write \"urls\", a list"),
        ("index_name", "Telegraf's word; write \"index\""),
        ("username", "write basic_auth: {username: …, password: …}"),
        ("password", "write basic_auth: {username: …, password: …}"),
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("enable_gzip", "Telegraf's word; write \"gzip\""),
        ("enable_sniffer", "not supported: \"urls\" lists all nodes that are used"),
        ("health_check_interval", "not supported: a node is tried by sending to it"),
        ("manage_template", "not supported: index templates are made beforehand; see docs/elasticsearch.md"),
        ("template_name", "not supported: index templates are made beforehand; see docs/elasticsearch.md"),
        ("overwrite_template", "not supported: index templates are made beforehand; see docs/elasticsearch.md"),
        ("use_pipeline", "not supported yet; set index.default_pipeline in the index template"),
        ("pipeline", "not supported yet; set index.default_pipeline in the index template"),
        ("data_stream", "write its name as \"index\", and \"action\": create"),
        ("max_samples", "belongs one level up, under \"batch\" or \"queue\""),
        ("flush_interval", "belongs one level up, under \"batch\""),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
    ],
};

/// `outputs[].expose`.
pub static EXPOSE: Section = Section {
    name: "expose",
    about: "The aggregate endpoint. Off loopback it needs `client_ca_file`, or `insecure: true`.",
    keys: &[
        key("listen", Type::Address, "Address and port.").default("127.0.0.1:9699"),
        key("path", Type::Text, "The path that is served.").default("/metrics"),
        key("tls_config", Type::Section(&SERVER_TLS), "TLS of the listener.").otherwise("plain HTTP"),
        key("insecure", Type::Switch, "Anybody who reaches the port may read it.").default("false"),
        key("timestamps", Type::Switch, "Whether samples are written with their times.").default("false"),
    ],
    foreign: &[],
};

/// `admin`.
pub static ADMIN: Section = Section {
    name: "admin",
    about: "Status page, self-metrics and API. Off loopback it needs `client_ca_file`, or `insecure: true`.",
    keys: &[
        key("listen", Type::Address, "Address and port.").default("127.0.0.1:9698"),
        key("tls_config", Type::Section(&SERVER_TLS), "TLS of the listener.").otherwise("plain HTTP"),
        key("insecure", Type::Switch, "Anybody who reaches the port may read it.").default("false"),
    ],
    foreign: &[],
};

/// `tls_config` of a listener.
pub static SERVER_TLS: Section = Section {
    name: "listener tls_config",
    about: "TLS of a listener, under `expose` and `admin`. Files are read again when they change.",
    keys: &[
        key("cert_file", Type::Path, "Certificate chain, PEM.").required(),
        key("key_file", Type::Path, "Its key, PEM.").required(),
        key("client_ca_file", Type::Path, "Clients must show a certificate of one of these authorities."),
    ],
    foreign: &[
        ("ca_file", "of a listener, the authorities of clients are called \"client_ca_file\""),
        (
            "client_auth_type",
            "not supported: with \"client_ca_file\" clients must show a certificate, without it none is asked for",
        ),
        ("min_version", "not supported for listeners: they speak TLS 1.2 and 1.3"),
    ],
};

/// `outputs[].file`.
pub static FILE: Section = Section {
    name: "file",
    about: "A file, or stdout.",
    keys: &[
        key("path", Type::Path, "The file; `-` is stdout.").required(),
        key("format", Type::Choice(&["json", "text"]), "A line of JSON a sample, or exposition text with timestamps.")
            .default("json"),
        key("rotate_size", Type::Size, "Size at which a new file is begun; 0 is never.").default("0"),
        key("rotate_keep", Type::Count, "Rotated files that are kept.").default("5").within("", "1000"),
    ],
    foreign: &[],
};

/// `outputs[].batch`.
pub static BATCH: Section = Section {
    name: "batch",
    about: "How requests are made up; a batch ends at whichever limit comes first.",
    keys: &[
        key("max_samples", Type::Count, "Samples.").default("10000").within("1", ""),
        key("max_bytes", Type::Size, "Bytes of the body before compression.").default("5MiB").within("1KiB", "1GiB"),
        key("flush_interval", Type::Duration, "Age of its oldest sample.").default("10s").within("1ms", "1h"),
        key("flush_jitter", Type::Duration, "A random delay below this on top of it.").default("1s").within("", "1h"),
    ],
    foreign: &[],
};

/// `outputs[].queue`.
pub static QUEUE: Section = Section {
    name: "queue",
    about: "What is kept in memory while an output cannot deliver.",
    keys: &[
        key("max_samples", Type::Count, "Samples.").default("1000000").within("1", ""),
        key("max_bytes", Type::Size, "Bytes of memory, the series that it keeps alive included.")
            .default("64MiB")
            .within("1KiB", ""),
        key("max_age", Type::Duration, "Age of a sample; what is older is dropped and counted.")
            .default("2h")
            .within("1s", ""),
        key("on_full", Type::Choice(&["drop_oldest", "drop_newest"]), "What a full queue does.").default("drop_oldest"),
    ],
    foreign: &[("disk", "not supported yet; what waits is kept in memory")],
};

/// Every section, each once, in the order of the docs.
pub static SECTIONS: &[&Section] = &[
    &ROOT,
    &GLOBAL,
    &SCRAPE,
    &STATIC,
    &FILE_SD,
    &PROM_SCRAPER_SD,
    &TLS,
    &BASIC_AUTH,
    &AUTHORIZATION,
    &HTTP_HEADER,
    &RELABEL,
    &OUTPUT,
    &ELASTICSEARCH,
    &EXPOSE,
    &FILE,
    &BATCH,
    &QUEUE,
    &ADMIN,
    &SERVER_TLS,
];
