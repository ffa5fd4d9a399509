//! `[[inputs.prometheus]]` as entries of `scrape_configs`.

use super::agent::{Agent, INTERVAL_MAX, within};
use super::connection::{HARMLESS, NO_CLIENT, Secrets, client_tls, is_secret};
use super::endpoint::Endpoint;
use super::filter::{Filter, Names as Seen, Rules, label_list};
use super::options::{Options, Taken};
use super::plan::{Plan, Profile};
use crate::convert::glob::literal;
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

/// The label of ours that holds a target's URL, until it is named as Telegraf does.
const URL_LABEL: &str = "telegraf_url";

/// What stands before the address in the label `instance` of our own.
const INSTANCE_PREFIX: &str = "target ";

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
        let tags = options.text_map("tags").into_iter().map(|(name, taken)| (name.to_owned(), taken.value)).collect();
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
        let mut relabel = Rules::default();
        if let Some(sd) = sd {
            map.add_list("http_sd_configs", vec![http_sd(sd, options)]);
            self.relabel_discovered(plan, &labels, &mut relabel);
        }
        let no_instance = format!("{INSTANCE_PREFIX}$1");
        relabel.add(&[("source_labels", "[__address__]"), ("target_label", "instance"), ("replacement", &no_instance)]);
        map.comment("Telegraf has no labels job and instance. Ours are told by their values and go; those of the exporter stay.");
        map.add_list("relabel_configs", relabel.rules);
        let kept: Vec<_> = plan.routing_label().into_iter().collect();
        let rules = self.filter.rules(&self.profile.names(), &kept);
        map.notes(rules.notes);
        map.add_list(
            "metric_relabel_configs",
            own_labels_go(job, self.url_label(plan)).into_iter().chain(rules.rules).collect(),
        );
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
            let values = endpoint.params.iter().filter(|(other, _)| other == name).map(|(_, value)| {
                let taken = Taken { value: value.clone(), place: endpoint.place.clone() };
                match is_secret(name) {
                    true => secrets.safe(&taken, &format!("urls: {}", name.escape_debug()), name, None),
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

    /// As Telegraf: a token's file wins over a token, and that over user and password, and these over those in a URL.
    fn credentials(&self, job: &str, owner: &str, first: Option<&Endpoint>, map: &mut Map) {
        let options = &self.options;
        let secrets = Secrets { options, owner };
        let (user, password) = (options.text("username"), options.text("password"));
        let (file, token) = (options.text("bearer_token"), options.text("bearer_token_string"));
        if let Some(file) = file {
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
        let (headers, authorization) = secrets.headers("http_headers");
        if let Some(value) = authorization
            && let Some((key, section)) = secrets.from_header(&value)
        {
            map.add(key, Node::Map(section));
        }
        let mut sent = Map::default();
        for (name, value) in &headers {
            sent.add(name.clone(), Node::Map(Map::from_iter([("values", Node::texts([value]))])));
        }
        map.add_map("http_headers", sent);
    }

    /// Labels that every target of this input has; the URL's is not among them.
    fn labels(&self, agent: &Agent, plan: &Plan) -> Vec<(String, Text)> {
        let mut labels: Vec<(String, Text)> = Vec::new();
        let mut add = |name: &str, value: &Text| {
            if !labels.iter().any(|(held, _)| held == name) {
                labels.push((name.to_owned(), value.clone()));
            }
        };
        let local = self.tags.iter().filter(|(name, _)| self.keeps(name, agent.keeps_local_tags));
        local.for_each(|(name, value)| add(name, value));
        if !plan.has_external_tags {
            let global = agent.tags.iter().filter(|(name, _)| self.keeps(name, agent.keeps_global_tags));
            global.for_each(|(name, value)| add(name, value));
        }
        if let Some(host) = &plan.host_of_inputs
            && self.takes_host(agent)
        {
            add("host", host);
        }
        if let Some(label) = plan.routing_label() {
            add(label, &Text::literal(self.profile.word()));
        }
        for (tag, place) in self.filter.deciding_tags() {
            if labels.iter().any(|(name, _)| name == tag) {
                let tag = tag.escape_debug();
                let text = format!(
                    "tagpass or tagdrop: Telegraf looks at {tag} of the exporter alone, and here at its own value too"
                );
                self.options.lose(place, text);
            }
        }
        labels
    }

    /// What the label with the URL is called, where one is needed.
    fn url_label(&self, plan: &Plan) -> Option<&str> {
        let tag = self.url_tag.as_deref().filter(|tag| self.filter.keeps_tag(tag) || self.decides(tag))?;
        plan.has_url_labels.then_some(tag)
    }

    fn decides(&self, tag: &str) -> bool {
        self.filter.deciding_tags().any(|(name, _)| name == tag)
    }

    fn static_configs(&self, plan: &Plan, labels: &[(String, Text)], group: &[&Endpoint]) -> Vec<Map> {
        let label_map = |url: Option<Text>| {
            let mut map = Map::default();
            labels.iter().for_each(|(name, value)| map.add(name.clone(), Node::text(value)));
            map.add_some(URL_LABEL, url.as_ref().map(Node::text));
            map
        };
        let entry = |targets: Node, labels: Map| {
            let mut map = Map::default();
            map.add("targets", targets);
            map.add_map("labels", labels);
            map
        };
        match self.url_label(plan) {
            None => vec![entry(Node::texts(group.iter().map(|endpoint| &endpoint.address)), label_map(None))],
            Some(_) => {
                let one = |endpoint: &&Endpoint| {
                    entry(Node::texts([&endpoint.address]), label_map(Some(self.without_secrets(endpoint))))
                };
                group.iter().map(one).collect()
            }
        }
    }

    /// The URL for a label: a credential in its query would be one in every document.
    fn without_secrets(&self, endpoint: &Endpoint) -> Text {
        match endpoint.params.iter().any(|(name, _)| is_secret(name)) {
            false => endpoint.tag(),
            true => {
                self.options
                    .lose(&endpoint.place, "urls: the query is left out of the label, for it holds a credential");
                Text::joined([&endpoint.base()])
            }
        }
    }

    /// What targets from HTTP service discovery get, which have no `static_configs`.
    fn relabel_discovered(&self, plan: &Plan, labels: &[(String, Text)], rules: &mut Rules) {
        if self.url_label(plan).is_some() {
            rules.add(&[
                ("source_labels", "[__scheme__, __address__, __metrics_path__]"),
                ("regex", "(.*);(.*);(.*)"),
                ("target_label", URL_LABEL),
                ("replacement", "$1://$2$3"),
            ]);
        }
        for (name, value) in labels {
            match value.fixed() {
                Some(value) => {
                    let value = value.replace('$', "$$");
                    rules.add(&[("target_label", name), ("replacement", &value)]);
                }
                None => {
                    let name = name.escape_debug();
                    let text = format!("tags: {name}: rules have no variables; write the value itself as replacement");
                    self.options.lose(&self.options.place, text);
                }
            }
        }
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

/// Rules that take our labels `job` and `instance` away, by their values, and have the URL win over the exporter's.
fn own_labels_go(job: &str, url: Option<&str>) -> Vec<Map> {
    let mut rules = Rules::default();
    for (label, regex) in [("job", literal(job)), ("instance", format!("{INSTANCE_PREFIX}.*"))] {
        rules.add(&[
            ("source_labels", &label_list(label)),
            ("regex", &regex),
            ("target_label", label),
            ("replacement", ""),
        ]);
    }
    if let Some(tag) = url {
        rules.add(&[("source_labels", &label_list(URL_LABEL)), ("target_label", tag)]);
        rules.add(&[("action", "labeldrop"), ("regex", URL_LABEL)]);
    }
    rules.rules
}

fn http_sd(sd: &Options<'_>, options: &Options<'_>) -> Map {
    let mut map = Map::default();
    match sd.text("url") {
        Some(url) if Endpoint::read(&url.value, &url.place).is_ok_and(|endpoint| endpoint.user.is_none()) => {
            map.add("url", Node::text(&url.value));
        }
        _ => {
            options.lose(&sd.place, "http_service_discovery: write its url");
            map.add("url", Node::verbatim("http://localhost:9000/service-discovery"));
        }
    }
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
pub(super) struct Jobs(Vec<String>);

impl Jobs {
    fn name(&mut self, alias: Option<&str>) -> String {
        let clean: String = alias.unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
        let base = match clean.as_str() {
            "" => "inputs.prometheus".to_owned(),
            alias => format!("inputs.prometheus.{alias}"),
        };
        unique(&mut self.0, base)
    }
}

/// `base`, or `base-2` and so on where that was given away.
pub(super) fn unique(given: &mut Vec<String>, base: String) -> String {
    let mut name = base.clone();
    let mut number = 1;
    while given.contains(&name) {
        number += 1;
        name = format!("{base}-{number}");
    }
    given.push(name.clone());
    name
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
