//! `outputs[].signalfx`.

use super::super::schema::{Section, Type};
use super::outputs::{GZIP, HEADERS, TIMEOUT};
use super::{NO_PROXY, TLS, key};

/// `outputs[].signalfx`.
pub static SIGNALFX: Section = Section {
    name: "signalfx",
    about: "Splunk Observability Cloud, formerly SignalFx. One of `realm` and `url`, and one of `token` and `token_file`, are needed. See docs/signalfx.md.",
    keys: &[
        key("realm", Type::Text, "The realm of the organization, such as `us0` or `eu0`; its ingest is the receiver."),
        key("url", Type::Text, "Another receiver, such as a gateway, without the ingest's own path."),
        key("token", Type::Text, "An access token of the organization with the scope INGEST.").secret(),
        key("token_file", Type::Path, "File that holds the token; read again when it changes."),
        key(
            "protocol",
            Type::Choice(&["otlp", "datapoints"]),
            "What is spoken: OTLP over HTTP in protobuf, or the ingest's own JSON.",
        )
        .default("otlp"),
        key("tls_config", Type::Section(&TLS), "TLS towards the receiver."),
        HEADERS,
        TIMEOUT,
        GZIP,
    ],
    foreign: &[
        ("access_token", "the OpenTelemetry Collector's word; write \"token\" or \"token_file\""),
        ("ingest_url", "the OpenTelemetry Collector's word; write \"url\""),
        ("api_url", "not supported: only samples are sent"),
        ("sync_host_metadata", "not supported: only samples are sent"),
        ("translation_rules", "not supported; write_relabel_configs change names and labels"),
        ("exclude_metrics", "not supported; write_relabel_configs drop what is not to be sent"),
        ("include_metrics", "not supported; write_relabel_configs keep what is to be sent"),
        ("send_otlp_histograms", "not supported; see \"protocol\""),
        ("proxy_url", NO_PROXY),
    ],
};
