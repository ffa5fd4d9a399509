//! `[[inputs.prometheus]]` as entries of `scrape_configs`.

use super::agent::{Agent, INTERVAL_MAX, within};
use super::connection::{HARMLESS, NO_CLIENT, Secrets, client_tls};
use super::endpoint::Endpoint;
use super::filter::{Filter, Names as Seen};
use super::labels::{is_label, own_labels_go};
use super::options::{Options, Taken};
use super::plan::{Plan, Profile};
use crate::convert::names::UniqueNames;
use crate::convert::secret::is_secret;
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

/// Options without a counterpart, and why.
const LOST: [(&str, &str); 11] = [
    ("enable_request_metrics", "scrape_metrics: true would make up and scrape_duration_seconds instead"),
    (
        "content_type_override",
        "an answer is read as its content type says; fallback_scrape_protocol is for those without",
    ),
    ("kubernetes_services", NO_KUBERNETES),
    ("monitor_kubernetes_pods", NO_KUBERNETES),
    ("consul", "Consul is not asked; have a tool write the targets to a file and name it under file_sd_configs"),
    ("collection_offset", "each target has an offset of its own, from a hash of its address"),
    ("time_source", "a sample's time is its own, else that of the scrape's start"),
    ("precision", "times keep their milliseconds"),
    ("always_include_local_tags", "known under [agent] alone"),
    ("labels", "all inputs are converted; promferry does not choose among them"),
    ("bearer_token", "of no use beside other credentials"),
];

const NO_KUBERNETES: &str =
    "Kubernetes is not asked; have a tool write the targets to a file and name it under file_sd_configs";

/// Options of Kubernetes' that mean nothing without `monitor_kubernetes_pods` or `kubernetes_services`.
const OF_KUBERNETES: [&str; 21] = [
    "pod_scrape_scope",
    "node_ip",
    "pod_scrape_interval",
    "monitor_kubernetes_pods_namespace",
    "pod_namespace_label_name",
    "kube_config",
    "kubernetes_label_selector",
    "kubernetes_field_selector",
    "monitor_kubernetes_pods_method",
    "monitor_kubernetes_pods_scheme",
    "monitor_kubernetes_pods_path",
    "monitor_kubernetes_pods_port",
    "namespace_annotation_pass",
    "namespace_annotation_drop",
    "pod_annotation_include",
    "pod_annotation_exclude",
    "pod_label_include",
    "pod_label_exclude",
    "cache_refresh_interval",
    "precision",
    "response_timeout",
];

/// URLs of an input, at most.
const URLS_MAX: usize = 10_000;

/// The name of an entry, and what variables are named after, which is the same for all entries of an input.
#[derive(Clone, Copy)]
struct Names<'n> {
    job: &'n str,
    owner: &'n str,
}

/// How targets are found.
#[derive(Clone, Copy)]
enum Found<'f, 't> {
    /// These, which differ from the first in their address alone.
    Listed(&'f Endpoint, &'f [&'f Endpoint]),
    /// By HTTP service discovery.
    Asked(&'f Options<'t>),
}

/// An input, read as far as others need to know of it.
pub(super) struct Input<'t> {
    pub(super) options: Options<'t>,
    pub(super) profile: Profile,
    /// The tag that holds the URL; `None` for no such tag.
    pub(super) url_tag: Option<String>,
    pub(super) tags: Vec<(String, Text)>,
    pub(super) filter: Filter,
    pub(super) endpoints: Vec<Endpoint>,
}

impl<'t> Input<'t> {
    pub(super) fn read(options: Options<'t>) -> Self {
        let filter = Filter::read(&options);
        let mut endpoints = Vec::new();
        for url in options.texts("urls") {
            if endpoints.len() == URLS_MAX {
                options.lose(
                    &url.place,
                    format!("urls: only {URLS_MAX} are carried over; write more into a file for file_sd_configs"),
                );
                break;
            }
            match Endpoint::read(&url.value, &url.place) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(why) => options.lose(&url.place, format!("urls: {why}")),
            }
        }
        let url_tag = match options.entry("url_tag") {
            None => Some("url".to_owned()),
            // Set to nothing, there is no such tag.
            Some(_) => options.fixed("url_tag").map(|taken| taken.value),
        };
        let tags = options.text_map("tags").into_iter().filter(|(name, taken)| is_label(&options, name, &taken.place));
        let tags = tags.map(|(name, taken)| (name.to_owned(), taken.value)).collect();
        let profile = Profile::of_input(&options);
        Self { options, profile, url_tag, tags, filter, endpoints }
    }

    /// Whether the tag with the URL is as the document shapes make it.
    pub(super) fn has_plain_urls(&self) -> bool {
        self.url_tag.as_deref() == Some("url")
            && self.filter.keeps_tag("url")
            && self.endpoints.iter().all(Endpoint::is_plain)
            && !self.filter.deciding_tags().any(|(tag, _)| tag == "url")
    }

    /// Whether its metrics have the tag `host` that the agent adds.
    pub(super) fn takes_host(&self, agent: &Agent) -> bool {
        self.keeps("host", agent.keeps_global_tags)
    }

    /// Whether all its metrics have a tag `host` of its own.
    pub(super) fn has_own_host(&self) -> bool {
        self.tags.iter().any(|(name, _)| name == "host")
    }

    /// Whether it has targets, as far as that was understood.
    pub(super) fn has_targets(&self) -> bool {
        !self.endpoints.is_empty() || self.options.section("http_service_discovery").is_some()
    }

    /// Whether a tag that is the same for all metrics is left in them.
    pub(super) fn keeps(&self, tag: &str, is_always_kept: bool) -> bool {
        is_always_kept || self.filter.keeps_tag(tag)
    }

    /// The scrape configurations.
    pub(super) fn write(&self, agent: &Agent, plan: &Plan, jobs: &mut Jobs) -> Vec<Map> {
        let mut groups: Vec<(&Endpoint, Vec<&Endpoint>)> = Vec::new();
        for endpoint in &self.endpoints {
            let is_alike = |other: &Endpoint| {
                (endpoint.is_https, &endpoint.user, endpoint.metrics_path(), &endpoint.params)
                    == (other.is_https, &other.user, other.metrics_path(), &other.params)
            };
            match groups.iter_mut().find(|(first, _)| is_alike(first)) {
                Some((_, group)) => group.push(endpoint),
                None => groups.push((endpoint, vec![endpoint])),
            }
        }
        let alias = self.options.fixed("alias").map(|alias| alias.value);
        let sd = self.options.section("http_service_discovery").filter(|sd| sd.is_on("enabled"));
        let ways = groups.iter().map(|(first, group)| Found::Listed(first, group));
        let ways: Vec<_> = ways.chain(sd.as_ref().map(Found::Asked)).collect();
        let (mut written, mut owner) = (Vec::new(), None);
        for way in ways {
            let job = jobs.name(alias.as_deref());
            let owner = owner.get_or_insert_with(|| job.clone());
            written.push(self.scrape_config(agent, plan, Names { job: &job, owner }, way));
        }
        self.lose_rest();
        match written.first_mut() {
            Some(first) => self.options.tell(first),
            None => {
                self.options.lose(&self.options.place, "inputs.prometheus: it names no URL that could be carried over");
                let mut only = Map::default();
                self.options.tell(&mut only);
                written.push(only);
            }
        }
        written
    }

    fn scrape_config(&self, agent: &Agent, plan: &Plan, Names { job, owner }: Names<'_>, found: Found<'_, '_>) -> Map {
        let (urls, sd) = match found {
            Found::Listed(first, group) => (Some((first, group)), None),
            Found::Asked(sd) => (None, Some(sd)),
        };
        let options = &self.options;
        let mut map = Map::default();
        map.comment(format!("inputs.prometheus, {}", options.place));
        map.add("job_name", Node::verbatim(job));
        if let Some((first, _)) = urls {
            if first.is_https {
                map.add("scheme", Node::word("https"));
            }
            if first.metrics_path() != Text::literal("/metrics") {
                map.add("metrics_path", Node::text(&first.metrics_path()));
            }
            map.add_map("params", self.params(first, job));
        }
        self.times(agent, &mut map);
        options.tell(&mut map);
        map.add_map("tls_config", client_tls(options));
        self.credentials(job, owner, urls.map(|(first, _)| first), &mut map);
        options.tell(&mut map);
        map.comment("As Telegraf: labels of the exporter win over those given here, and no series are added.");
        map.add("honor_labels", Node::word(true));
        if options.is_on("ignore_timestamp") {
            map.add("honor_timestamps", Node::word(false));
        }
        map.add("scrape_metrics", Node::word(false));
        map.add_some("body_size_limit", options.size("content_length_limit"));
        let labels = self.labels(agent, plan);
        if let Some((_, group)) = urls {
            map.add_list("static_configs", self.static_configs(plan, &labels, group));
        }
        if let Some(sd) = sd {
            map.add_list("http_sd_configs", vec![http_sd(sd, options, owner)]);
        }
        options.tell(&mut map);
        map.comment("Telegraf has no labels job and instance. Ours are told by their values and go; those of the exporter stay.");
        map.add_list("relabel_configs", self.target_rules(plan, &labels, sd.is_some()).rules);
        let kept: Vec<_> = plan.routing_label().into_iter().collect();
        let mut rules = self.filter.rules(&self.profile.names(), &kept);
        self.tags_come_back(agent, &mut rules);
        options.tell(&mut map);
        map.notes(rules.notes);
        let own = own_labels_go(job, &labels, self.url_label(plan));
        map.add_list("metric_relabel_configs", own.rules.into_iter().chain(rules.rules).collect());
        map
    }

    /// The query; what is named like a credential becomes a variable.
    fn params(&self, endpoint: &Endpoint, job: &str) -> Map {
        let mut params = Map::default();
        let mut names: Vec<&String> = endpoint.params.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        let secrets = Secrets { options: &self.options, owner: job };
        for name in names {
            let values = endpoint.params.iter().filter(|(other, _)| other == name).zip(1..).map(|((_, value), nth)| {
                let taken = Taken { value: value.clone(), place: endpoint.place.clone() };
                match is_secret(name) {
                    true => {
                        // Not the variable of a header or a token that the input has besides.
                        let use_for = if nth == 1 { format!("query_{name}") } else { format!("query_{name}_{nth}") };
                        secrets.safe(&taken, &format!("urls: {}", name.escape_debug()), &use_for, None)
                    }
                    false => taken.value,
                }
            });
            let values: Vec<Text> = values.collect();
            params.add(name.clone(), Node::texts(&values));
        }
        params
    }

    fn times(&self, agent: &Agent, map: &mut Map) {
        let options = &self.options;
        let mut interval_length = agent.interval_length;
        if let Some((taken, length)) = options.duration("interval")
            && let Some(node) = within(options, "interval", taken, length, INTERVAL_MAX)
        {
            map.add("scrape_interval", node);
            interval_length = length;
        }
        // Before Telegraf 1.30.2, response_timeout was what timeout is now.
        let key = options.any(&["timeout", "response_timeout"]);
        if let Some((taken, length)) = options.duration(key) {
            let place = taken.place.clone();
            match (length, interval_length) {
                (Some(length), Some(interval)) if length > interval => {
                    options.remark(&place, format!("{key}: longer than the interval, to which a scrape is held here"));
                }
                _ => map.add_some("scrape_timeout", within(options, key, taken, length, INTERVAL_MAX)),
            }
        }
        if let Some((taken, length)) = options.duration("collection_jitter") {
            map.add_some("scrape_jitter", within(options, "collection_jitter", taken, length, INTERVAL_MAX));
        }
    }

    /// As Telegraf: a header wins over a token's file, that over a token, and that over user and password, and these over those in a URL.
    fn credentials(&self, job: &str, owner: &str, first: Option<&Endpoint>, map: &mut Map) {
        let options = &self.options;
        let secrets = Secrets { options, owner };
        let (user, password) = (options.text("username"), options.text("password"));
        let (file, token) = (options.text("bearer_token"), options.text("bearer_token_string"));
        let (headers, authorization) = secrets.headers("http_headers");
        if let Some(value) = authorization {
            map.add_some("authorization", secrets.header_credentials(&value).map(Node::Map));
        } else if let Some(file) = file {
            let authorization = Map::from_iter([("credentials_file", Node::text(&file.value))]);
            map.add("authorization", Node::Map(authorization));
        } else if let Some(token) = token {
            let credentials = secrets.safe(&token, "bearer_token_string", "TOKEN", Some("credentials_file"));
            let authorization = Map::from_iter([("credentials", Node::text(&credentials))]);
            map.add("authorization", Node::Map(authorization));
        } else if let Some(basic) = secrets.basic(user.as_ref(), password.as_ref()) {
            map.add("basic_auth", Node::Map(basic));
        } else if let Some(Endpoint { user: Some((user, password)), place, .. }) = first {
            let here = |value: &Text| Taken { value: value.clone(), place: place.clone() };
            let password = password.as_ref().map(here);
            // Each entry has the user of its URLs.
            let secrets = Secrets { options, owner: job };
            map.add_some("basic_auth", secrets.basic(Some(&here(user)), password.as_ref()).map(Node::Map));
        }
        let mut sent = Map::default();
        for (name, value) in &headers {
            sent.add(name.clone(), Node::Map(Map::from_iter([("values", Node::texts([value]))])));
        }
        map.add_map("http_headers", sent);
    }

    fn lose_rest(&self) {
        let options = &self.options;
        options.ignore(&HARMLESS);
        options.ignore(&OF_KUBERNETES);
        options.ignore(&["bearer_token", "username", "password"]);
        let reasons: Vec<_> = LOST.iter().chain(&NO_CLIENT).copied().collect();
        options.lose_rest("inputs.prometheus", &reasons);
    }
}

fn http_sd(sd: &Options<'_>, options: &Options<'_>, owner: &str) -> Map {
    let mut map = Map::default();
    let read = sd.text("url").map(|url| (Endpoint::read(&url.value, &url.place), url));
    let url = match read {
        Some((Ok(endpoint), url)) if endpoint.has_secret() => {
            Secrets { options, owner }.safe(&url, "http_service_discovery: url: a parameter", "DISCOVERY_URL", None)
        }
        Some((Ok(Endpoint { user: None, .. }), url)) => url.value,
        _ => {
            options.lose(&sd.place, "http_service_discovery: write its url, and basic_auth where one is in it");
            Text::literal("http://localhost:9000/service-discovery")
        }
    };
    map.add("url", Node::text(&url));
    if let Some((taken, length)) = sd.duration("query_interval") {
        map.add_some("refresh_interval", within(sd, "query_interval", taken, length, INTERVAL_MAX));
    }
    options.remark(
        &sd.place,
        "http_service_discovery: targets are host:port; scheme and path come by __scheme__ and __metrics_path__",
    );
    options.absorb(sd);
    map
}

/// Names of jobs, each once.
#[derive(Default)]
pub(super) struct Jobs(UniqueNames);

impl Jobs {
    fn name(&mut self, alias: Option<&str>) -> String {
        let clean: String = alias.unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
        let base = match clean.as_str() {
            "" => "inputs.prometheus".to_owned(),
            alias => format!("inputs.prometheus.{alias}"),
        };
        self.0.unique(&base, '-')
    }
}

impl Profile {
    /// The names that a filter of the input sees: those that Telegraf's parser gives.
    fn names(&self) -> Seen {
        match self.version {
            1 => Seen::Families,
            _ => Seen::One("prometheus".to_owned()),
        }
    }
}
