//! `outputs[].splunk_hec`.

use super::super::schema::{Section, Type};
use super::outputs::{GZIP, HEADERS, TIMEOUT};
use super::{NO_BEARER, NO_BEARER_FILE, NO_PROXY, TLS, key};

/// `outputs[].splunk_hec`.
pub static SPLUNK_HEC: Section = Section {
    name: "splunk_hec",
    about: "Splunk's HTTP Event Collector, into a metrics index. One of `token` and `token_file` is needed. `{{label}}` in a template stands for the value of a label.",
    keys: &[
        key("urls", Type::Texts, "Collectors, such as `https://splunk:8088`; a failing one is set aside for a while.")
            .required(),
        key("token", Type::Text, "The collector's token.").secret(),
        key("token_file", Type::Path, "File that holds the token; read again when it changes."),
        key("index", Type::Text, "Metrics index, a template; one with labels needs `allowed_indexes`.")
            .verbatim()
            .otherwise("the token's"),
        key("allowed_indexes", Type::Texts, "What a template for `index` may come to; samples for another are rejected."),
        key("sourcetype", Type::Text, "Template.").verbatim().otherwise("the token's"),
        key("source", Type::Text, "Template.").verbatim().otherwise("the token's"),
        key("host", Type::Text, "Template; one that comes to nothing leaves it to Splunk.")
            .verbatim()
            .default("{{instance}}"),
        key("multi_metric", Type::Switch, "Samples of one label set and time are one event, for Splunk 8 and above.")
            .default("true"),
        key(
            "rename_reserved",
            Type::Switch,
            "The labels `host`, `index`, `source`, `sourcetype` and `time` become the dimensions `label_host` and so on.",
        )
        .default("false"),
        key("ack", Type::Switch, "Samples are delivered when the indexer has acknowledged them; see docs/splunk.md.")
            .default("false"),
        key("ack_timeout", Type::Duration, "What is not acknowledged by then is sent again.")
            .default("5m")
            .within("1s", "1h"),
        key("tls_config", Type::Section(&TLS), "TLS towards the collectors."),
        HEADERS,
        TIMEOUT,
        GZIP,
    ],
    foreign: &[
        ("url", "write \"urls\", a list"),
        ("endpoint", "the OpenTelemetry Collector's word; write \"urls\", a list"),
        ("default_token", "Vector's word; write \"token\" or \"token_file\""),
        ("basic_auth", "a collector knows tokens only; write \"token\" or \"token_file\""),
        ("authorization", "a collector knows tokens only; write \"token\" or \"token_file\""),
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("channel", "not supported: each process makes one of its own"),
        ("splunkmetric_multimetric", "Telegraf's word; write \"multi_metric\""),
        ("splunkmetric_hec_routing", "Telegraf's word; that is always so"),
        ("max_samples", "belongs one level up, under \"batch\" or \"queue\""),
        ("flush_interval", "belongs one level up, under \"batch\""),
        ("proxy_url", NO_PROXY),
    ],
};
