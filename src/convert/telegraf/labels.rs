//! The labels of an input's targets, and those that Telegraf would not have.

use super::agent::Agent;
use super::endpoint::Endpoint;
use super::filter::{Rules, label_list};
use super::input::Input;
use super::options::Options;
use super::plan::{Plan, ROUTING};
use crate::convert::glob::literal;
use crate::convert::note::Place;
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

/// The label of ours that holds a target's URL, until it is named as Telegraf does.
const URL_LABEL: &str = "telegraf_url";

/// What stands before the address in the label `instance` of our own.
const INSTANCE_PREFIX: &str = "target ";

/// Whether a tag of this name can be a label of a target; says so where it cannot.
pub(super) fn is_label(options: &Options<'_>, name: &str, place: &Place) -> bool {
    let is_fine = !name.is_empty() && !name.starts_with("__") && name != URL_LABEL && name != ROUTING;
    if !is_fine {
        options.lose(place, format!("tags: \"{}\" cannot be the name of a label here", name.escape_debug()));
    }
    is_fine
}

impl Input<'_> {
    /// Labels that every target of this input has; the URL's is not among them.
    pub(super) fn labels(&self, agent: &Agent, plan: &Plan) -> Vec<(String, Text)> {
        let mut labels: Vec<(String, Text)> = Vec::new();
        let mut add = |name: &str, value: &Text| {
            if !labels.iter().any(|(held, _)| held == name) {
                labels.push((name.to_owned(), value.clone()));
            }
        };
        let local = self.tags.iter().filter(|(name, _)| self.filter.keeps_tag(name));
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
    pub(super) fn url_label(&self, plan: &Plan) -> Option<&str> {
        let tag = self.url_tag.as_deref().filter(|tag| self.filter.keeps_tag(tag) || self.decides(tag))?;
        plan.has_url_labels.then_some(tag)
    }

    fn decides(&self, tag: &str) -> bool {
        self.filter.deciding_tags().any(|(name, _)| name == tag)
    }

    /// The targets: one entry, or one for each where they have their URL as a label.
    pub(super) fn static_configs(&self, plan: &Plan, labels: &[(String, Text)], group: &[&Endpoint]) -> Vec<Map> {
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
        match endpoint.has_secret() {
            false => endpoint.tag(),
            true => {
                self.options
                    .lose(&endpoint.place, "urls: the query is left out of the label, for it holds a credential");
                endpoint.base()
            }
        }
    }

    /// Rules that give tags back which the filter took away, for `always_include_local_tags`.
    pub(super) fn tags_come_back(&self, agent: &Agent, rules: &mut Rules) {
        if agent.keeps_local_tags {
            let gone: Vec<_> = self.tags.iter().filter(|(name, _)| !self.filter.keeps_tag(name)).cloned().collect();
            self.set(&gone, rules);
        }
    }

    /// The rules for targets.
    pub(super) fn target_rules(&self, plan: &Plan, labels: &[(String, Text)], is_discovered: bool) -> Rules {
        let mut rules = Rules::default();
        if is_discovered {
            self.label_discovered(plan, labels, &mut rules);
        }
        if !has(labels, "instance") {
            let ours = format!("{INSTANCE_PREFIX}$1");
            rules.add(&[("source_labels", "[__address__]"), ("target_label", "instance"), ("replacement", &ours)]);
        }
        rules
    }

    /// What targets from HTTP service discovery get, which have no `static_configs`.
    fn label_discovered(&self, plan: &Plan, labels: &[(String, Text)], rules: &mut Rules) {
        if self.url_label(plan).is_some() {
            rules.add(&[
                ("source_labels", "[__scheme__, __address__, __metrics_path__]"),
                ("regex", "(.*);(.*);(.*)"),
                ("target_label", URL_LABEL),
                ("replacement", "$1://$2$3"),
            ]);
        }
        self.set(labels, rules);
    }

    /// Rules that set labels.
    fn set(&self, labels: &[(String, Text)], rules: &mut Rules) {
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
}

/// Rules that take our labels `job` and `instance` away, by their values, and have the URL win over the exporter's.
pub(super) fn own_labels_go(job: &str, labels: &[(String, Text)], url: Option<&str>) -> Rules {
    let mut rules = Rules::default();
    for (label, regex) in [("job", literal(job)), ("instance", format!("{INSTANCE_PREFIX}.*"))] {
        if !has(labels, label) {
            rules.add(&[
                ("source_labels", &label_list(label)),
                ("regex", &regex),
                ("target_label", label),
                ("replacement", ""),
            ]);
        }
    }
    if let Some(tag) = url {
        rules.add(&[("source_labels", &label_list(URL_LABEL)), ("target_label", tag)]);
        rules.add(&[("action", "labeldrop"), ("regex", URL_LABEL)]);
    }
    rules
}

fn has(labels: &[(String, Text)], name: &str) -> bool {
    labels.iter().any(|(held, _)| held == name)
}
