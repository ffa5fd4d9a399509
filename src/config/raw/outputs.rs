//! `outputs` and `admin`.

use super::super::schema::{Key, Section, Type};
use super::{
    AUTHORIZATION, BASIC_AUTH, DOGSTATSD, LOGGREGATOR, NO_BEARER, NO_BEARER_FILE, NO_OAUTH, NO_PROXY, OTLP, RELABEL,
    REMOTE_WRITE, SIGNALFX, SPLUNK_HEC, TLS, key,
};

/// `outputs[]`.
pub static OUTPUT: Section = Section {
    name: "outputs",
    about: "One entry for each place that samples go to. It needs exactly one of `elasticsearch`, `splunk_hec`, `remote_write`, `otlp`, `signalfx`, `loggregator`, `dogstatsd`, `expose` and `file`.",
    keys: &[
        key("name", Type::Text, "Its name in logs and metrics; each entry has its own.").required(),
        key("elasticsearch", Type::Section(&ELASTICSEARCH), "Elasticsearch or OpenSearch, through `_bulk`."),
        key("splunk_hec", Type::Section(&SPLUNK_HEC), "Splunk's HTTP Event Collector."),
        key("remote_write", Type::Section(&REMOTE_WRITE), "Prometheus remote write, 1.0 or 2.0."),
        key("otlp", Type::Section(&OTLP), "A receiver of OTLP metrics, such as an OpenTelemetry Collector."),
        key("signalfx", Type::Section(&SIGNALFX), "Splunk Observability Cloud."),
        key(
            "loggregator",
            Type::Section(&LOGGREGATOR),
            "Cloud Foundry's Loggregator, through the agent on this machine.",
        ),
        key("dogstatsd", Type::Section(&DOGSTATSD), "Datadog's agent, or another that takes DogStatsD."),
        key("expose", Type::Section(&EXPOSE), "The aggregate endpoint: the latest scrape of every target."),
        key("file", Type::Section(&FILE), "A file, or stdout."),
        key("batch", Type::Section(&BATCH), "How requests are made up; not for `expose`."),
        key("queue", Type::Section(&QUEUE), "What is kept while it cannot deliver; not for `expose`."),
        key("write_relabel_configs", Type::Sections(&RELABEL), "Rules for the samples of this output."),
    ],
    foreign: &[
        ("datadog", "write \"dogstatsd\": samples go through the agent"),
        ("statsd", "write \"dogstatsd\"; plain StatsD has no tags"),
        ("prometheus_client", "Telegraf's word; write \"expose\""),
        ("splunk", "write \"splunk_hec\""),
        ("opensearch", "write \"elasticsearch\"; OpenSearch has the same bulk API"),
    ],
};

// What every output has that sends requests over HTTP.
pub(super) const HEADERS: Key = key("headers", Type::TextMap, "Headers for each request.").secret();
pub(super) const TIMEOUT: Key = key("timeout", Type::Duration, "From connecting to the last byte of the answer.")
    .default("60s")
    .within("1ms", "1h");
pub(super) const GZIP: Key = key("gzip", Type::Switch, "Whether bodies are compressed.").default("true");

/// `outputs[].elasticsearch`.
pub static ELASTICSEARCH: Section = Section {
    name: "elasticsearch",
    about: "Elasticsearch or OpenSearch, through `_bulk`. One kind of credentials at most.",
    keys: &[
        key("urls", Type::Texts, "Nodes, such as `https://es:9200`; a failing one is set aside for a while.")
            .required(),
        key(
            "index",
            Type::Text,
            "Data stream or index; `%Y %y %m %d %H %V` are parts of the sample's time in UTC, `{{label}}` is a label.",
        )
        .verbatim()
        .default("metrics-promferry-default"),
        key("max_indexes", Type::Count, "How many indices labels may name; samples beyond are rejected.")
            .default("100")
            .within("1", "10000"),
        key(
            "action",
            Type::Choice(&["create", "index"]),
            "`create` never overwrites; data streams allow nothing else.",
        )
        .default("create"),
        key(
            "shape",
            Type::Choice(&["timeseries", "telegraf", "telegraf_v1", "metricbeat"]),
            "What documents look like; see docs/elasticsearch.md.",
        )
        .default("timeseries"),
        key(
            "measurement",
            Type::Text,
            "With the shape `telegraf`: what all metrics are called, Telegraf's `name_override`.",
        )
        .default("prometheus"),
        key(
            "add_host",
            Type::Switch,
            "With Telegraf's shapes: a tag `host`, the machine's name, where there is no label of that name.",
        )
        .default("true"),
        key("add_url", Type::Switch, "With Telegraf's shapes: a tag `url`, the target's, whatever a label says.")
            .default("true"),
        key(
            "ids",
            Type::Choice(&["auto", "none"]),
            "`auto`: with `create`, documents have ids that a resend repeats, except in time series data streams.",
        )
        .default("auto"),
        key("manage_template", Type::Switch, "Installs or updates the index template; else it is only looked at.")
            .default("false"),
        key("lifecycle", Type::Section(&LIFECYCLE), "What becomes of old documents; with `manage_template`."),
        key("pipeline", Type::Text, "Ingest pipeline that documents go through."),
        key("routing", Type::Text, "What decides a document's shard, with labels as in `index`; not for time series.")
            .verbatim(),
        key("require_data_stream", Type::Switch, "Refuses documents where no template makes a data stream.")
            .default("false"),
        key("tls_config", Type::Section(&TLS), "TLS towards the nodes."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key(
            "authorization",
            Type::Section(&AUTHORIZATION),
            "An `Authorization` header, for example with a bearer token.",
        ),
        key("api_key", Type::Text, "API key, in the base64 form that Elasticsearch gives out.").secret(),
        key("api_key_file", Type::Path, "File that holds the API key; read again when it changes."),
        HEADERS,
        TIMEOUT,
        GZIP,
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
        ("template_name", "not supported: the template is named after \"index\"; see manage_template"),
        ("overwrite_template", "not supported: manage_template updates templates of its own, and no others"),
        ("use_pipeline", "Telegraf's word; write \"pipeline\""),
        ("use_optype_create", "Telegraf's word; write action: create, which is the default"),
        ("force_document_id", "Telegraf's word; write ids: auto, which is the default"),
        ("data_stream", "write its name as \"index\""),
        ("max_samples", "belongs one level up, under \"batch\" or \"queue\""),
        ("flush_interval", "belongs one level up, under \"batch\""),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
    ],
};

/// `outputs[].elasticsearch.lifecycle`.
pub static LIFECYCLE: Section = Section {
    name: "lifecycle",
    about: "What becomes of old documents. One of the two.",
    keys: &[
        key("data_retention", Type::Duration, "The data stream lets go of what is older.").within("1h", ""),
        key("ilm_policy", Type::Text, "An ILM policy of this name, which is made beforehand."),
    ],
    foreign: &[],
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
    about: "TLS of a listener, under `expose`, `admin`, `metrics_agent` and its `ingress`. Files are read again when they change.",
    keys: &[
        key("cert_file", Type::Path, "Certificate chain, PEM.").required(),
        key("key_file", Type::Path, "Its key, PEM.").required(),
        key("client_ca_file", Type::Path, "Clients must show a certificate of one of these authorities."),
    ],
    foreign: &[
        ("ca_file", "of a listener, the authorities of clients are called \"client_ca_file\""),
        ("client_auth_type", "not supported: certificates are asked for where \"client_ca_file\" is given"),
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
        key("max_samples", Type::Count, "Samples.")
            .otherwise("`4000`; `1000` for `loggregator` and `dogstatsd`")
            .within("1", ""),
        key("max_bytes", Type::Size, "Bytes of the body before compression.")
            .otherwise(
                "`5MiB`; `4MiB` for `remote_write`, `otlp` and `signalfx`, `2MiB` for `splunk_hec`, `1MiB` for `loggregator` and `dogstatsd`",
            )
            .within("1KiB", "1GiB"),
        key("flush_interval", Type::Duration, "Age of its oldest sample.")
            .otherwise("`10s`; `5s` for `remote_write`")
            .within("1ms", "1h"),
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
        key("order", Type::Choice(&["fresh_first", "oldest_first"]), "What goes first when it delivers again.")
            .otherwise("`fresh_first` where the receiver takes samples in any order"),
        key("disk", Type::Section(&DISK), "What waits is kept on disk too; not for `file`.").otherwise("memory alone"),
    ],
    foreign: &[],
};

/// `outputs[].queue.disk`.
pub static DISK: Section = Section {
    name: "disk",
    about: "What waits is kept on disk too, from the first failure until all of it is delivered, and over a restart.",
    keys: &[
        key("path", Type::Path, "A folder for this output alone; it is made where it is missing.").required(),
        key("max_bytes", Type::Size, "Bytes on disk at most; a full one does what `on_full` says.")
            .default("1GiB")
            .within("1MiB", ""),
        key("fsync", Type::Choice(&["batch", "never"]), "When what is written must have reached the disk itself.")
            .default("batch"),
    ],
    foreign: &[("max_size", "write \"max_bytes\""), ("max_age", "belongs one level up, under \"queue\"")],
};
