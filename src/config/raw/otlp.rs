//! `outputs[].otlp`.

use super::super::schema::{Section, Type};
use super::outputs::HEADERS;
use super::{AUTHORIZATION, BASIC_AUTH, NO_BEARER, NO_BEARER_FILE, NO_OAUTH, NO_PROXY, TLS, key};

/// `outputs[].otlp`.
pub static OTLP: Section = Section {
    name: "otlp",
    about: "A receiver of OTLP metrics, such as an OpenTelemetry Collector. One kind of credentials at most. See docs/otlp.md.",
    keys: &[
        key(
            "protocol",
            Type::Choice(&["http/protobuf", "http/json", "grpc"]),
            "As in `OTEL_EXPORTER_OTLP_PROTOCOL`.",
        )
        .default("http/protobuf"),
        key(
            "urls",
            Type::Texts,
            "Receivers, such as `https://collector:4318`, or `https://collector:4317` for `grpc`; a failing one is set aside for a while.",
        )
        .required(),
        key("path", Type::Text, "Path below each URL, unless that ends in it already; not for `grpc`.")
            .default("/v1/metrics"),
        key(
            "temporality",
            Type::Choice(&["cumulative", "delta"]),
            "Whether counters and histograms say what they have counted since they began, or since the sample before.",
        )
        .default("cumulative"),
        key(
            "start_time",
            Type::Choice(&["observed", "created"]),
            "Since when a series counts, where its target does not say so: what its samples show, or nothing; with `cumulative`.",
        )
        .default("observed"),
        key(
            "prometheus_compatible",
            Type::Switch,
            "Follows OpenTelemetry's page \"Prometheus and OpenMetrics Compatibility\"; else metrics and labels are passed on as plain as can be.",
        )
        .default("true"),
        key(
            "resource_labels",
            Type::TextMap,
            "Labels that become attributes of the resource, each with the attribute's name; an empty name makes it one of data points again. `job` is `service.name` and `instance` is `service.instance.id` where they are not here.",
        ),
        key("resource_attributes", Type::TextMap, "Attributes that every resource has; they win over what labels say."),
        key("tls_config", Type::Section(&TLS), "TLS towards the receivers."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key(
            "authorization",
            Type::Section(&AUTHORIZATION),
            "An `Authorization` header, for example with a bearer token.",
        ),
        HEADERS,
        key("timeout", Type::Duration, "From connecting to the last byte of the answer.")
            .default("30s")
            .within("1ms", "1h"),
        key("compression", Type::Choice(&["gzip", "none"]), "How requests are compressed.").default("gzip"),
    ],
    foreign: &[
        ("url", "write \"urls\", a list"),
        ("endpoint", "the OpenTelemetry Collector's word; write \"urls\", a list"),
        ("metrics_endpoint", "the OpenTelemetry Collector's word; write \"urls\", a list, and \"path\""),
        ("service_address", "Telegraf's word; write \"urls\", a list, and protocol: grpc"),
        ("encoding", "the OpenTelemetry Collector's word; write protocol: http/protobuf or http/json"),
        ("encoding_type", "Telegraf's word; write protocol: http/protobuf or http/json"),
        ("tls", "the OpenTelemetry Collector's word; write \"tls_config\""),
        ("insecure", "the OpenTelemetry Collector's word; write an http URL for a receiver without TLS"),
        ("auth", "the OpenTelemetry Collector's word; write basic_auth or authorization"),
        ("sending_queue", "the OpenTelemetry Collector's word; there is \"queue\" one level up"),
        ("retry_on_failure", "the OpenTelemetry Collector's word; what fails is tried again until it is too old: see max_age under \"queue\""),
        ("gzip", "write compression: gzip or none"),
        ("temporality_preference", "OpenTelemetry's word; write \"temporality\""),
        ("attributes", "Telegraf's word; write \"resource_attributes\""),
        ("resource_to_telemetry_conversion", "of Prometheus exporters; write prometheus_compatible: false for labels as attributes of data points"),
        ("add_metric_suffixes", "not supported: names stay as they are"),
        ("keepalive", "not supported: an idle connection is looked after"),
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("max_samples", "belongs one level up, under \"batch\" or \"queue\""),
        ("flush_interval", "belongs one level up, under \"batch\""),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
    ],
};
