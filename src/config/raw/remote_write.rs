//! `outputs[].remote_write`.

use super::super::schema::{Section, Type};
use super::outputs::HEADERS;
use super::{AUTHORIZATION, BASIC_AUTH, NO_AZURE, NO_BEARER, NO_BEARER_FILE, NO_OAUTH, NO_PROXY, TLS, key};

/// The words of Prometheus' `protobuf_message`.
pub const MESSAGES: [&str; 2] = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];

/// `outputs[].remote_write`.
pub static REMOTE_WRITE: Section = Section {
    name: "remote_write",
    about: "Prometheus remote write, 1.0 or 2.0, to whatever receives it. One kind of credentials at most. See docs/remote-write.md.",
    keys: &[
        key("url", Type::Text, "Where requests go, with the whole path: `https://prometheus:9090/api/v1/write`.")
            .secret()
            .required(),
        key(
            "protobuf_message",
            Type::Choice(&MESSAGES),
            "The message of remote write 1.0, or of 2.0; where the receiver does not take the latter, 1.0 is spoken.",
        )
        .default("prometheus.WriteRequest"),
        key("remote_timeout", Type::Duration, "From connecting to the last byte of the answer.")
            .default("30s")
            .within("1ms", "1h"),
        key("send_exemplars", Type::Switch, "Whether exemplars are sent.").default("false"),
        key("send_native_histograms", Type::Switch, "Whether native histograms are sent; else they are skipped.")
            .otherwise("`true` with the message of 2.0, `false` with that of 1.0"),
        key("metadata_config", Type::Section(&METADATA), "Types, help and units, with the message of 1.0."),
        key(
            "lanes",
            Type::Count,
            "Requests in flight, at most. A target always uses the same lane, and a failing request holds up its lane alone.",
        )
        .default("4")
        .within("1", "64"),
        key("tls_config", Type::Section(&TLS), "TLS towards the receiver."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key(
            "authorization",
            Type::Section(&AUTHORIZATION),
            "An `Authorization` header, for example with a bearer token.",
        ),
        HEADERS,
    ],
    foreign: &[
        ("urls", "write \"url\": one address, as in Prometheus; each further receiver is an output of its own"),
        ("name", "belongs one level up, beside \"remote_write\""),
        ("write_relabel_configs", "belongs one level up, beside \"remote_write\""),
        (
            "queue_config",
            "not supported; under \"batch\", one level up, max_samples_per_send is called max_samples and batch_send_deadline \
             flush_interval; under \"queue\" capacity is called max_samples and sample_age_limit max_age; for max_shards write \
             \"lanes\"; waits between tries are always there, and 429 is always retried",
        ),
        ("timeout", "write \"remote_timeout\", as in Prometheus"),
        ("compression", "not supported: bodies are compressed with Snappy, as the specification has it"),
        ("gzip", "not supported: bodies are compressed with Snappy, as the specification has it"),
        ("http_headers", "write headers: {NAME: VALUE}"),
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("oauth2", NO_OAUTH),
        ("sigv4", "not supported; put a signing proxy, such as aws-sigv4-proxy, between"),
        ("azuread", NO_AZURE),
        ("google_iam", "not supported; use authorization"),
        ("proxy_url", NO_PROXY),
        ("proxy_from_environment", NO_PROXY),
        ("no_proxy", NO_PROXY),
        ("round_robin_dns", "not supported: the addresses of a name are tried one after another"),
        ("follow_redirects", "not supported: requests are not sent elsewhere; write the address that is meant as \"url\""),
        ("enable_http2", "not supported: requests go over HTTP/1.1, one connection a lane"),
        ("http_config", "no key of Prometheus'; write basic_auth, authorization, tls_config and headers here"),
        ("lane", "write \"lanes\""),
        ("max_shards", "write \"lanes\""),
        ("max_samples", "belongs one level up, under \"batch\" or \"queue\""),
        ("max_samples_per_send", "write max_samples under \"batch\", one level up"),
        ("batch_send_deadline", "write flush_interval under \"batch\", one level up"),
        ("flush_interval", "belongs one level up, under \"batch\""),
    ],
};

/// `outputs[].remote_write.metadata_config`.
pub static METADATA: Section = Section {
    name: "metadata_config",
    about: "Types, help and units of families, as messages of their own; remote write 2.0 has them with every series.",
    keys: &[
        key("send", Type::Switch, "Whether they are sent.").default("true"),
        key("send_interval", Type::Duration, "Time between two times that a lane sends those of a family.")
            .default("1m")
            .within("1s", "24h"),
    ],
    foreign: &[("max_samples_per_send", "not supported: they go along with samples")],
};
