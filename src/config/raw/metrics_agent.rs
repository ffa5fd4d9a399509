//! `metrics_agent`.

use super::super::schema::{Section, Type};
use super::{SERVER_TLS, key};

/// `metrics_agent`.
pub static METRICS_AGENT: Section = Section {
    name: "metrics_agent",
    about: "A drop-in for Cloud Foundry's metrics-agent: see docs/metrics-agent.md. With it `outputs` may be left out; then no target is scraped but when the exporter is asked for it.",
    keys: &[
        key("listen", Type::Address, "Address and port of the exporter.").default("0.0.0.0:14726"),
        key(
            "tls_config",
            Type::Section(&SERVER_TLS),
            "TLS of the exporter and of the port for own metrics; it needs `client_ca_file`.",
        )
        .required(),
        key("metrics_listen", Type::Address, "Address and port for its own metrics.").default("127.0.0.1:14727"),
        key("targets_file", Type::Path, "Where the entries for discovery are written, YAML.").otherwise("they are not"),
        key("address", Type::Text, "The host that entries name: this machine's, as others reach it.").required(),
        key("instance_id", Type::Text, "Label and part of the source of each entry.").required(),
        key(
            "tags",
            Type::TextMap,
            "Labels for each entry, and for each metric from the ingress that does not have them.",
        ),
        key("ttl", Type::Duration, "A metric of the ingress that nobody sent for so long is forgotten.")
            .default("10m")
            .within("1s", "24h"),
        key("expiration_interval", Type::Duration, "Time between two looks for such metrics.")
            .default("1m")
            .within("1s", "24h"),
        key("ingress", Type::Section(&INGRESS), "The gRPC port for Loggregator's envelopes.").otherwise("off"),
    ],
    foreign: &[],
};

/// `metrics_agent.ingress`.
pub static INGRESS: Section = Section {
    name: "ingress",
    about: "The gRPC port (`loggregator.v2.Ingress`) whose envelopes the exporter serves as metrics.",
    keys: &[
        key("listen", Type::Address, "Address and port.").default("127.0.0.1:3461"),
        key("tls_config", Type::Section(&SERVER_TLS), "TLS of the port; it needs `client_ca_file`.").required(),
        key("timer_tags", Type::Texts, "Tags of a timer that become labels of its histogram; the others are left out."),
    ],
    foreign: &[],
};
