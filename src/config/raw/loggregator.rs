//! `outputs[].loggregator`.

use super::super::schema::{Section, Type};
use super::{NO_PROXY, TLS, key};

/// `outputs[].loggregator`.
pub static LOGGREGATOR: Section = Section {
    name: "loggregator",
    about: "An agent of Cloud Foundry's Loggregator on this machine, by its gRPC port. See docs/loggregator.md.",
    keys: &[
        key("address", Type::Text, "The agent's host and port.").default("127.0.0.1:3458"),
        key(
            "source_id",
            Type::Text,
            "The source of samples that have no label `source_id`, and whose target has none.",
        )
        .default("promferry"),
        key(
            "tls_config",
            Type::Section(&TLS),
            "TLS towards the agent, which asks for a certificate. `server_name` is `metron` where it is not given.",
        )
        .required(),
        key("timeout", Type::Duration, "From connecting to the last byte of the answer.")
            .default("10s")
            .within("1ms", "1h"),
    ],
    foreign: &[
        ("url", "write \"address\", a host and a port"),
        ("urls", "write \"address\", a host and a port: there is one agent on a machine"),
        ("gzip", "not supported: agents read messages as they are"),
        ("headers", "not supported: agents read no metadata"),
        ("origin", "write_relabel_configs can give samples a label \"origin\""),
        ("proxy_url", NO_PROXY),
    ],
};
