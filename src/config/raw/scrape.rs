//! `scrape_configs` and what finds targets.

use super::super::negotiation::PROTOCOLS;
use super::super::schema::{Section, Type};
use super::{
    ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, AUTHORIZATION, BASIC_AUTH, HTTP_HEADER, METRIC_NAME_ESCAPING_SCHEME,
    METRIC_NAME_VALIDATION_SCHEME, NATS_SD, NO_AZURE, NO_BEARER, NO_BEARER_FILE, NO_BUCKET_LIMIT, NO_EXTRA, NO_NHCB,
    NO_OAUTH, NO_PROXY, NO_SD, RELABEL, SCRAPE_NATIVE_HISTOGRAMS, SCRAPE_PROTOCOLS, TARGET_LIMIT, TLS, key,
};

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
        key("scrape_timeout", Type::Duration, "Time that a scrape may take, at most `scrape_interval`.")
            .otherwise("as in `global`, lowered to `scrape_interval`")
            .within("1ms", "24h"),
        key("scrape_jitter", Type::Duration, "A random delay below this at each scrape, on top of a fixed offset.")
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
            .otherwise("true, but false for targets from `prom_scraper_sd_configs` and `nats_sd_configs`"),
        key("enable_compression", Type::Switch, "Whether compressed answers are asked for.").default("true"),
        SCRAPE_PROTOCOLS.otherwise("as in `global`"),
        key(
            "fallback_scrape_protocol",
            Type::Choice(&PROTOCOLS),
            "How an answer is read whose content type is missing or none of these. (In Prometheus 3, which has no default, such a scrape fails.)",
        )
        .default("PrometheusText0.0.4"),
        SCRAPE_NATIVE_HISTOGRAMS.otherwise("as in `global`"),
        ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS.otherwise("as in `global`"),
        METRIC_NAME_ESCAPING_SCHEME.otherwise("as in `global`; what its own `metric_name_validation_scheme` implies"),
        METRIC_NAME_VALIDATION_SCHEME.otherwise("as in `global`"),
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
            "A line that cannot be read is skipped and counted, or fails the scrape.",
        )
        .default("skip"),
        key("scrape_metrics", Type::Switch, "Whether `up`, `scrape_duration_seconds` and their like are made.")
            .default("true"),
        key("body_size_limit", Type::Size, "As in `global`.").otherwise("as in `global`"),
        key("sample_limit", Type::Count, "As in `global`.").otherwise("as in `global`"),
        key("growth_limit", Type::Size, "As in `global`.").otherwise("as in `global`"),
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
        key("http_sd_configs", Type::Sections(&HTTP_SD), "Targets that a server lists, in Prometheus' JSON."),
        key("dns_sd_configs", Type::Sections(&DNS_SD), "Targets that names stand for."),
        key("nats_sd_configs", Type::Sections(&NATS_SD), "Targets that registrars announce over NATS."),
        key("nomad_sd_configs", Type::Sections(&NOMAD_SD), "Services that are registered with Nomad."),
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
        ("convert_classic_histograms_to_nhcb", NO_NHCB),
        ("scrape_classic_histograms", "Prometheus' old word; write \"always_scrape_classic_histograms\""),
        ("native_histogram_bucket_limit", NO_BUCKET_LIMIT),
        ("native_histogram_min_bucket_factor", NO_BUCKET_LIMIT),
        ("extra_scrape_metrics", NO_EXTRA),
        ("keep_dropped_targets", "not supported yet"),
        ("scrape_failure_log_file", "not supported: a failing scrape is logged on stderr, once a cause"),
        ("sigv4", NO_AZURE),
        ("azuread", NO_AZURE),
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

/// Where BOSH jobs announce their endpoints, as the original scraper has it: the default of
/// `prom_scraper_sd_configs[].files`.
pub const PROM_SCRAPER_FILES: [&str; 2] =
    ["/var/vcap/jobs/*/config/prom_scraper_config.yml", "/var/vcap/jobs/*/config/metric_port.yml"];

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

/// `http_sd_configs[]`.
pub static HTTP_SD: Section = Section {
    name: "http_sd_configs",
    about: "Targets that a server lists: `[{\"targets\": [\"host:port\"], \"labels\": {…}}]`, at most 8 MiB. While it cannot answer, its last list stays.",
    keys: &[
        key("url", Type::Text, "What is asked, with GET; its query is never shown.").required().secret(),
        key("refresh_interval", Type::Duration, "Time between two requests.").default("60s").within("1s", "24h"),
        key("tls_config", Type::Section(&TLS), "TLS towards the server."),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password."),
        key("authorization", Type::Section(&AUTHORIZATION), "An `Authorization` header; excludes `basic_auth`."),
        key(
            "http_headers",
            Type::SectionMap(&HTTP_HEADER),
            "Headers for each request: a mapping with values for each name.",
        ),
        TARGET_LIMIT.default("0"),
    ],
    foreign: &[
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
        ("no_proxy", NO_PROXY),
        ("proxy_from_environment", NO_PROXY),
        ("proxy_connect_header", NO_PROXY),
        ("follow_redirects", NO_REDIRECTS),
        ("enable_http2", NO_HTTP2),
    ],
};

/// `dns_sd_configs[]`.
pub static DNS_SD: Section = Section {
    name: "dns_sd_configs",
    about: "Targets that names stand for, BOSH DNS names such as `q-s0.diego-cell.default.cf.bosh` among them. While no server answers, what a name stood for stays.",
    keys: &[
        key("names", Type::Texts, "The names that are looked up.").required(),
        key("type", Type::Choice(&["SRV", "A", "AAAA"]), "Which records.").default("SRV"),
        key("port", Type::Count, "The port of what is found; needed for A and AAAA, and not for SRV, which has ports.")
            .within("1", "65535"),
        key("refresh_interval", Type::Duration, "Time between two looks.").default("30s").within("1s", "24h"),
        key("servers", Type::Texts, "Servers that are asked, `address:port`; names are taken as they stand then.")
            .otherwise("those in /etc/resolv.conf, with its search list"),
        TARGET_LIMIT.default("0"),
    ],
    foreign: &[],
};

/// `nomad_sd_configs[]`.
pub static NOMAD_SD: Section = Section {
    name: "nomad_sd_configs",
    about: "Services that are registered with Nomad (`provider = \"nomad\"`), each instance a target. While Nomad cannot answer, what it said last stays.",
    keys: &[
        key("server", Type::Text, "Where Nomad's API is.").default("http://localhost:4646"),
        key("namespace", Type::Text, "The namespace whose services are found; `*` for all that the token may read.")
            .default("default"),
        key("region", Type::Text, "The region that is asked; empty for the agent's own.").default("global"),
        key("allow_stale", Type::Switch, "Whether any of Nomad's servers may answer, or only the leader.")
            .default("true"),
        key(
            "tag_separator",
            Type::Text,
            "What stands before, between and behind the tags of a service in `__meta_nomad_tags`.",
        )
        .default(","),
        key("refresh_interval", Type::Duration, "Time between two rounds of requests.")
            .default("60s")
            .within("1s", "24h"),
        key(
            "tls_config",
            Type::Section(&TLS),
            "TLS towards Nomad; its agents' certificates are for names such as `client.global.nomad`.",
        ),
        key("basic_auth", Type::Section(&BASIC_AUTH), "User name and password, of a proxy before Nomad."),
        key(
            "authorization",
            Type::Section(&AUTHORIZATION),
            "An `Authorization` header, which gives Nomad an ACL token; excludes `basic_auth`.",
        ),
        key(
            "http_headers",
            Type::SectionMap(&HTTP_HEADER),
            "Headers for each request, such as `X-Nomad-Token`: a mapping with values for each name.",
        ),
        TARGET_LIMIT.default("0"),
    ],
    foreign: &[
        ("token", NO_NOMAD_TOKEN),
        ("token_file", NO_NOMAD_TOKEN),
        ("bearer_token", NO_BEARER),
        ("bearer_token_file", NO_BEARER_FILE),
        ("oauth2", NO_OAUTH),
        ("proxy_url", NO_PROXY),
        ("no_proxy", NO_PROXY),
        ("proxy_from_environment", NO_PROXY),
        ("proxy_connect_header", NO_PROXY),
        ("follow_redirects", NO_REDIRECTS),
        ("enable_http2", NO_HTTP2),
    ],
};

const NO_NOMAD_TOKEN: &str = "Nomad takes an ACL token as Prometheus gives it: authorization: {credentials_file: …}";
const NO_REDIRECTS: &str = "not supported: redirects are not followed here, because credentials would go along";
const NO_HTTP2: &str = "not supported: the server is spoken to in HTTP/1.1";
