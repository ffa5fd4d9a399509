//! `outputs[].dogstatsd`.

use super::super::schema::{Section, Type};
use super::key;

/// `outputs[].dogstatsd`.
pub static DOGSTATSD: Section = Section {
    name: "dogstatsd",
    about: "Datadog's agent, or another that takes DogStatsD. Delivered means handed to the kernel. See docs/dogstatsd.md.",
    keys: &[
        key(
            "address",
            Type::Text,
            "`host:port` for UDP, or `unix:///path` for a Unix datagram socket, such as `unix:///var/run/datadog/dsd.socket`.",
        )
        .default("127.0.0.1:8125"),
        key("max_payload", Type::Size, "Bytes of a datagram; a sample whose lines are longer is rejected.")
            .otherwise("`1432B` over UDP, `8KiB` over a Unix socket")
            .within("256B", "65507B"),
        key("namespace", Type::Text, "Stands before each name, with a point between them; `circle.nomad` for example."),
        key("tags", Type::TextMap, "Tags for every line; a label of the same name wins."),
        key(
            "exclude_labels",
            Type::Texts,
            "Labels that become no tags. Counters that are left with the same tags are counted together by the agent.",
        ),
        key(
            "timestamps",
            Type::Switch,
            "Whether lines have the time of their sample (DogStatsD 1.3); the agent does not aggregate such lines.",
        )
        .default("false"),
        key(
            "histograms",
            Type::Choice(&["buckets", "totals"]),
            "What is sent of classic histograms: all of it, or `_sum` and `_count` alone.",
        )
        .default("buckets"),
        key(
            "summaries",
            Type::Choice(&["quantiles", "totals"]),
            "What is sent of summaries: all of it, or `_sum` and `_count` alone.",
        )
        .default("quantiles"),
        key("mappings", Type::Sections(&MAPPING), "Other names for metrics. What none of them matches keeps its own."),
    ],
    foreign: &[
        ("host", "write \"address\", a host and a port"),
        ("port", "write \"address\", a host and a port"),
        ("socket", "write \"address\", such as unix:///var/run/datadog/dsd.socket"),
        ("url", "write \"address\", such as 127.0.0.1:8125 or unix:///var/run/datadog/dsd.socket"),
        ("prefix", "write \"namespace\""),
        ("max_packet_size", "write \"max_payload\""),
        ("api_key", "samples go through an agent, which has the key"),
        ("site", "samples go through an agent, which knows the site"),
        ("sample_rate", "not supported: nothing is left out"),
        ("tls_config", "not supported: DogStatsD has no TLS; the agent is on this machine"),
    ],
};

/// `outputs[].dogstatsd.mappings[]`.
pub static MAPPING: Section = Section {
    name: "mappings",
    about: "Each mapping whose `regex` matches a metric's name sends the sample once, under another name.",
    keys: &[
        key("regex", Type::Text, "Matches the whole name, as `write_relabel_configs` leave it.").verbatim().required(),
        key("replacement", Type::Text, "The new name, behind the namespace; `$1` is what the first group matched.")
            .verbatim()
            .required(),
        key("type", Type::Choice(&["gauge", "count"]), "As what it is sent: its value, or by how much it rose.")
            .otherwise("what the metric's type says"),
        key("multiply", Type::Text, "The value, or the rise, is multiplied by this number.").default("1"),
        key("add", Type::Text, "This number is added then; to gauges alone. `1 - x` is `multiply: -1, add: 1`.")
            .default("0"),
        key(
            "sum",
            Type::Switch,
            "Samples of one scrape with the same labels that come to the same name are one gauge, their sum.",
        )
        .default("false"),
    ],
    foreign: &[
        ("match", "write \"regex\""),
        ("name", "write \"replacement\""),
        ("tags", "write_relabel_configs can set labels, which become tags"),
        ("source_labels", "a mapping is about names; labels are what write_relabel_configs are for"),
        ("action", "a mapping is about names; what is not to be sent is dropped by write_relabel_configs"),
    ],
};
