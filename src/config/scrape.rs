//! `global` and `scrape_configs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::checked::{
    Detect, Discovery, DnsRecord, DnsSd, FileSd, Global, HttpSd, Limits, MemoryLimit, NomadSd, OnBadLine,
    PromScraperSd, ScrapeConfig, Shard, StaticGroup,
};
use super::common::{labels, name_text, rules};
use super::detect::CHOICES;
use super::fields::Fields;
use super::http::{auth, host, http_headers, url, url_path, url_with_query};
use super::nats::nats_sd;
use super::negotiation::{self, negotiation};
use super::problem::quoted;
use super::raw::PROM_SCRAPER_FILES;
use super::tls::client_tls;
use super::values::{self, PercentOrSize};
use crate::model::Labels;
use crate::net::{Scheme, Url};

/// Bytes of one line of an exposition, at most.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What scrape configurations inherit from `global`.
pub struct Defaults {
    interval: Duration,
    timeout: Duration,
    jitter: Duration,
    limits: Limits,
    negotiation: negotiation::Inherited,
    external_labels: Labels<'static>,
    shard: Option<Shard>,
}

impl Defaults {
    /// `global.scrape_interval`.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

/// `global`: what concerns the process, and what scrape configurations inherit.
pub fn global(fields: &Fields<'_>) -> (Global, Defaults) {
    let interval = fields.duration("scrape_interval");
    let timeout = fields.optional_duration("scrape_timeout");
    if fields.has("scrape_timeout") {
        refuse_timeout_above(fields, timeout, fields.optional_duration("scrape_interval"));
    }
    let limits = Limits {
        body_bytes: body_limit(fields.size("body_size_limit")),
        line_bytes: LINE_BYTES_MAX,
        samples: fields.count("sample_limit"),
        growth_bytes: growth_limit(fields.size("growth_limit")),
        labels: fields.count("label_limit"),
        label_name_bytes: fields.count("label_name_length_limit"),
        label_value_bytes: fields.count("label_value_length_limit"),
        targets: fields.count("target_limit"),
    };
    let defaults = Defaults {
        interval,
        timeout: timeout.unwrap_or_default().min(interval),
        jitter: fields.duration("scrape_jitter"),
        limits,
        negotiation: negotiation::inherited(fields),
        external_labels: labels(fields, "external_labels"),
        shard: fields.section("shard").and_then(|fields| shard(&fields)),
    };
    let global = Global {
        memory_limit: memory_limit(fields),
        shutdown_timeout: fields.duration("shutdown_timeout"),
        external_labels: defaults.external_labels.clone(),
        detect: detect(fields),
    };
    (global, defaults)
}

fn detect(fields: &Fields<'_>) -> Detect {
    Detect {
        surroundings: fields.choices("detect", &CHOICES).unwrap_or_default(),
        decided: fields.text_map("external_labels").into_iter().map(|label| label.key).collect(),
    }
}

fn shard(fields: &Fields<'_>) -> Option<Shard> {
    let (count, replicas) = (fields.count("count"), fields.count("replicas"));
    let index = fields.optional_count("index")?;
    if count > 0 && index >= count {
        let message = format!("{index} is not an instance; with count: {count} they are 0 to {}", count - 1);
        fields.note("index", message);
    }
    if replicas > count {
        fields.note("replicas", format!("{replicas} is more than there are instances, which is {count}"));
    }
    Some(Shard { index, count, replicas })
}

/// The smallest `memory_limit`: below it the program would have no room for a single target.
const MEMORY_BYTES_MIN: u64 = 24 << 20;

fn memory_limit(fields: &Fields<'_>) -> MemoryLimit {
    let read = fields.read_optional("memory_limit", |text| match values::percent_or_size(text)? {
        PercentOrSize::Percent(percent) => Ok(MemoryLimit::Percent(percent)),
        PercentOrSize::Size(0) => Ok(MemoryLimit::None),
        PercentOrSize::Size(bytes @ MEMORY_BYTES_MIN..) => Ok(MemoryLimit::Bytes(bytes)),
        PercentOrSize::Size(_) => {
            Err("is less than the program needs for itself; write at least \"24MiB\", or 0 for no limit".to_owned())
        }
    });
    read.unwrap_or(MemoryLimit::None)
}

/// Either is `None` where it is wrong already.
fn refuse_timeout_above(fields: &Fields<'_>, timeout: Option<Duration>, interval: Option<Duration>) {
    if timeout.is_some_and(|timeout| interval.is_some_and(|interval| timeout > interval)) {
        let typed = fields.optional_text("scrape_timeout").unwrap_or_default();
        fields.note_value(
            "scrape_timeout",
            &typed,
            "is above scrape_interval; a scrape must end before the next one begins",
        );
    }
}

/// In Prometheus 0 is no limit: then nothing is above it.
fn body_limit(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}

fn growth_limit(bytes: u64) -> usize {
    if bytes == 0 { usize::MAX } else { usize::try_from(bytes).unwrap_or(usize::MAX) }
}

/// One entry of `scrape_configs`.
pub fn scrape_config(fields: &Fields<'_>, defaults: &Defaults) -> ScrapeConfig {
    let own_interval = fields.optional_duration("scrape_interval");
    let own_timeout = fields.optional_duration("scrape_timeout");
    let scrape_interval = own_interval.unwrap_or(defaults.interval);
    let is_interval_wrong = own_interval.is_none() && fields.has("scrape_interval");
    refuse_timeout_above(fields, own_timeout, Some(scrape_interval).filter(|_| !is_interval_wrong));
    fields.at_most_one_of(&["basic_auth", "authorization"]);
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let on_bad_line = [("skip", OnBadLine::Skip), ("fail", OnBadLine::Fail)];
    ScrapeConfig {
        job_name: fields.read_optional("job_name", name_text).unwrap_or_default(),
        discovery: discovery(fields),
        scheme: fields.choice("scheme", &schemes).unwrap_or_default(),
        metrics_path: fields.read_optional("metrics_path", url_path).unwrap_or_default(),
        params: params(fields),
        scrape_interval,
        scrape_timeout: own_timeout.unwrap_or(defaults.timeout).min(scrape_interval),
        is_timeout_inherited: own_timeout.is_none(),
        scrape_jitter: fields.optional_duration("scrape_jitter").unwrap_or(defaults.jitter),
        tls: client_tls(fields),
        auth: auth(fields),
        http_headers: http_headers(fields),
        follow_redirects: fields.optional_switch("follow_redirects"),
        enable_compression: fields.switch("enable_compression"),
        negotiation: negotiation(fields, &defaults.negotiation),
        honor_labels: fields.switch("honor_labels"),
        honor_timestamps: fields.switch("honor_timestamps"),
        track_timestamps_staleness: fields.switch("track_timestamps_staleness"),
        on_bad_line: fields.choice("on_bad_line", &on_bad_line).unwrap_or_default(),
        scrape_metrics: fields.switch("scrape_metrics"),
        limits: limits(fields, &defaults.limits),
        relabel: rules(fields, "relabel_configs"),
        metric_relabel: rules(fields, "metric_relabel_configs"),
        external_labels: defaults.external_labels.clone(),
        shard: defaults.shard,
    }
}

fn limits(fields: &Fields<'_>, inherited: &Limits) -> Limits {
    let count = |name: &str, inherited: usize| fields.optional_count(name).unwrap_or(inherited);
    Limits {
        body_bytes: fields.optional_size("body_size_limit").map_or(inherited.body_bytes, body_limit),
        line_bytes: inherited.line_bytes,
        samples: count("sample_limit", inherited.samples),
        growth_bytes: fields.optional_size("growth_limit").map_or(inherited.growth_bytes, growth_limit),
        labels: count("label_limit", inherited.labels),
        label_name_bytes: count("label_name_length_limit", inherited.label_name_bytes),
        label_value_bytes: count("label_value_length_limit", inherited.label_value_bytes),
        targets: count("target_limit", inherited.targets),
    }
}

fn params(fields: &Fields<'_>) -> BTreeMap<String, Vec<String>> {
    let params = fields.texts_map("params").into_iter();
    params.map(|(name, values)| (name, values.into_iter().map(|value| value.text).collect())).collect()
}

fn discovery(fields: &Fields<'_>) -> Discovery {
    let has_rules = fields.has("relabel_configs");
    Discovery {
        static_groups: fields.sections("static_configs").iter().map(|group| static_group(group, has_rules)).collect(),
        files: fields.sections("file_sd_configs").iter().map(file_sd).collect(),
        prom_scraper: fields.sections("prom_scraper_sd_configs").iter().map(prom_scraper_sd).collect(),
        http: fields.sections("http_sd_configs").iter().map(http_sd).collect(),
        dns: fields.sections("dns_sd_configs").iter().map(dns_sd).collect(),
        nats: fields.sections("nats_sd_configs").iter().map(nats_sd).collect(),
        nomad: fields.sections("nomad_sd_configs").iter().map(nomad_sd).collect(),
    }
}

/// What rules may still make an address of is taken as it is, as in Prometheus: targets of the blackbox exporter are URLs.
fn static_group(fields: &Fields<'_>, has_rules: bool) -> StaticGroup {
    let targets = fields.texts("targets").into_iter().filter_map(|target| {
        let complaint = match target.text.as_str() {
            "" => "is empty; write host:port",
            _ if has_rules => return Some(target.text),
            text if text.contains("://") => {
                // A URL may hold credentials: it is not repeated.
                let message =
                    "targets: expected host:port, found a URL; its scheme goes to scheme, its path to metrics_path";
                fields.note_at(target.at, message);
                return None;
            }
            text if text.contains(['/', '@', '?', '#']) || text.contains(char::is_whitespace) => "is not host:port",
            _ => return Some(target.text),
        };
        let shown = if target.text.contains('@') { "a target (not shown)".to_owned() } else { quoted(&target.text) };
        fields.note_at(target.at, format!("targets: {shown} {complaint}"));
        None
    });
    StaticGroup { targets: targets.collect(), labels: labels(fields, "labels") }
}

fn file_sd(fields: &Fields<'_>) -> FileSd {
    let endings = [".json", ".yml", ".yaml"];
    for file in fields.texts("files") {
        if !endings.iter().any(|ending| file.text.ends_with(ending)) {
            fields.note_at(file.at, format!("files: {} does not end in .json, .yml or .yaml", quoted(&file.text)));
        }
    }
    FileSd {
        files: globs(fields),
        refresh_interval: fields.duration("refresh_interval"),
        target_limit: fields.count("target_limit"),
    }
}

fn prom_scraper_sd(fields: &Fields<'_>) -> PromScraperSd {
    let files = if fields.has("files") { globs(fields) } else { PROM_SCRAPER_FILES.map(str::to_owned).to_vec() };
    PromScraperSd {
        files,
        host: fields.read_optional("host", host).unwrap_or_default(),
        refresh_interval: fields.duration("refresh_interval"),
        target_limit: fields.count("target_limit"),
        ignores_interval: false,
    }
}

fn http_sd(fields: &Fields<'_>) -> HttpSd {
    fields.at_most_one_of(&["basic_auth", "authorization"]);
    HttpSd {
        url: fields.read_optional("url", url_with_query).unwrap_or_else(nowhere),
        tls: client_tls(fields),
        auth: auth(fields),
        headers: http_headers(fields),
        refresh_interval: fields.duration("refresh_interval"),
        target_limit: fields.count("target_limit"),
    }
}

fn nomad_sd(fields: &Fields<'_>) -> NomadSd {
    fields.at_most_one_of(&["basic_auth", "authorization"]);
    let server = fields.optional_text("server").unwrap_or_default();
    let server = url(&server).map_err(|complaint| fields.note("server", complaint));
    NomadSd {
        server: server.unwrap_or_else(|()| nowhere()),
        namespace: fields.read_optional("namespace", name_text).unwrap_or_default(),
        region: fields
            .read_optional("region", |text| if text.is_empty() { Ok(String::new()) } else { name_text(text) })
            .unwrap_or_default(),
        allow_stale: fields.switch("allow_stale"),
        tag_separator: fields.optional_text("tag_separator").unwrap_or_default(),
        tls: client_tls(fields),
        auth: auth(fields),
        headers: http_headers(fields),
        refresh_interval: fields.duration("refresh_interval"),
        target_limit: fields.count("target_limit"),
    }
}

/// In the place of a URL that cannot be read.
fn nowhere() -> Url {
    Url { scheme: Scheme::Http, host: String::new(), port: 0, path_and_query: "/".to_owned() }
}

fn dns_sd(fields: &Fields<'_>) -> DnsSd {
    fields.refuse_empty_list("names");
    let records = [("SRV", DnsRecord::Srv), ("A", DnsRecord::A), ("AAAA", DnsRecord::Aaaa)];
    let record = fields.choice("type", &records).unwrap_or(DnsRecord::Srv);
    let port = fields.optional_count("port").and_then(|port| u16::try_from(port).ok());
    match record {
        DnsRecord::A | DnsRecord::Aaaa if !fields.has("port") => {
            fields.note("port", "is needed: such records have none")
        }
        DnsRecord::Srv if fields.has("port") => {
            fields.note("port", "is not for SRV records, which have ports of their own")
        }
        _ => {}
    }
    let read = |name: &str, complaint: fn(&str) -> Option<&'static str>| {
        let good = fields.texts(name).into_iter().filter(|one| {
            let complaint = complaint(&one.text);
            complaint
                .inspect(|complaint| fields.note_at(one.at, format!("{name}: {} {complaint}", quoted(&one.text))))
                .is_none()
        });
        good.map(|one| one.text).collect::<Vec<_>>()
    };
    let names = read("names", |name| host(name.trim_end_matches('.')).err().map(|_| "is not a name"));
    let servers = read("servers", |server| {
        server.parse::<SocketAddr>().err().map(|_| "is not an address and a port, such as \"169.254.0.2:53\"")
    });
    DnsSd {
        names,
        record,
        port: port.unwrap_or_default(),
        servers: servers.iter().filter_map(|server| server.parse().ok()).collect(),
        refresh_interval: fields.duration("refresh_interval"),
        target_limit: fields.count("target_limit"),
    }
}

/// `files`: at least one, joined to the configuration's folder.
pub fn globs(fields: &Fields<'_>) -> Vec<String> {
    fields.refuse_empty_list("files");
    let mut globs = Vec::new();
    for file in fields.texts("files") {
        if file.text.is_empty() {
            fields.note_at(file.at, "files: an empty path");
        } else if let Err(error) = globset::Glob::new(&file.text) {
            fields.note_at(file.at, format!("files: {} is not a pattern: {}", quoted(&file.text), error.kind()));
        } else {
            globs.push(fields.join(&file.text).to_string_lossy().into_owned());
        }
    }
    globs
}
