//! `[[outputs.…]]` as entries of `outputs`.

use std::collections::HashSet;

use super::agent::{Agent, Buffers};
use super::filter::{Filter, Names, Rules, label_list};
use super::options::Options;
use super::plan::{Plan, Profile, renamed};
use super::{documents, events, expose, file, remote_write};
use crate::convert::glob::literal;
use crate::convert::names::UniqueNames;
use crate::convert::yaml::{Map, Node};

/// What an output writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Documents of Telegraf's shape.
    Documents,
    /// Events of Splunk's HTTP Event Collector.
    Events,
    /// Samples, by their Prometheus names.
    Samples,
}

/// An output, read as far as others need to know of it.
pub(super) struct Output<'t> {
    /// Telegraf's name of the plugin.
    pub(super) plugin: &'t str,
    pub(super) options: Options<'t>,
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    alias: Option<String>,
    buffers: Buffers,
}

/// What an entry of `outputs` consists of, besides its name.
pub(super) struct Written {
    /// The key of its kind.
    pub(super) key: &'static str,
    /// Below that key.
    pub(super) section: Map,
    /// Rules behind those of the filter.
    pub(super) rules: Rules,
    /// The file that it writes, or the port that it listens on.
    pub(super) place: Option<String>,
    /// Whether it waits for something, and may have a batch and a queue.
    pub(super) has_queue: bool,
}

/// What belongs to one output each.
#[derive(Default)]
pub(super) struct Given {
    names: UniqueNames,
    /// Files and ports.
    places: HashSet<String>,
}

impl<'t> Output<'t> {
    pub(super) fn read(plugin: &'t str, options: Options<'t>) -> Self {
        let format = options.fixed("data_format").map(|format| format.value);
        let kind = match (plugin, format.as_deref()) {
            ("elasticsearch" | "opensearch", _) => Kind::Documents,
            ("http", Some("splunkmetric")) => Kind::Events,
            _ => Kind::Samples,
        };
        let filter = Filter::read(&options);
        let alias = options.fixed("alias").map(|alias| alias.value);
        let buffers = Buffers::read(&options);
        Self { plugin, options, kind, filter, alias, buffers }
    }

    /// Whether there is anything like it.
    pub(super) fn is_known(&self) -> bool {
        let format = self.options.fixed("data_format").map(|format| format.value);
        match self.plugin {
            "elasticsearch" | "opensearch" | "prometheus_client" | "file" => true,
            "http" => matches!(format.as_deref(), Some("splunkmetric" | "prometheusremotewrite")),
            _ => false,
        }
    }

    /// Why it is left out.
    pub(super) fn why_unknown(&self) -> String {
        let plugin = self.plugin.escape_debug();
        match self.plugin {
            "http" => {
                "outputs.http: only data_format splunkmetric and prometheusremotewrite have a counterpart".to_owned()
            }
            _ => format!("outputs.{plugin}: promferry has no such output; docs/config.md lists those it has"),
        }
    }

    /// The entries. Documents of inputs that differ need one each.
    pub(super) fn write(&self, agent: &Agent, plan: &Plan, given: &mut Given) -> Vec<Map> {
        let base = self.name();
        let mut entries = Vec::new();
        match self.kind {
            Kind::Documents if plan.profiles.len() > 1 => {
                for profile in &plan.profiles {
                    let name = given.names.unique(&format!("{base}-{}", profile.word()), '-');
                    entries.extend(self.entry(agent, plan, (&name, given), Some(profile)));
                }
            }
            _ => {
                let name = given.names.unique(&base, '-');
                entries.extend(self.entry(
                    agent,
                    plan,
                    (&name, given),
                    plan.profiles.first().filter(|_| plan.profiles.len() == 1),
                ));
            }
        }
        match entries.first_mut() {
            Some(first) => self.options.tell(first),
            None => {
                let mut only = Map::default();
                self.options.tell(&mut only);
                entries.push(only);
            }
        }
        entries
    }

    fn name(&self) -> String {
        let given = self.alias.as_deref().unwrap_or(match self.plugin {
            "http" if self.kind == Kind::Events => "splunk",
            "http" => "remote_write",
            "prometheus_client" => "expose",
            other => other,
        });
        let fine = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
        given.chars().take(100).map(fine).collect()
    }

    /// `profile` is that of its samples, where all are alike.
    fn entry(
        &self,
        agent: &Agent,
        plan: &Plan,
        (name, given): (&str, &mut Given),
        profile: Option<&Profile>,
    ) -> Vec<Map> {
        let default = Profile { version: 1, measurement: "prometheus".to_owned() };
        let inputs = profile.unwrap_or(&default);
        let own = Profile {
            version: inputs.version,
            measurement: renamed(&self.options, inputs.version, &inputs.measurement),
        };
        let written: Vec<Written> = match (self.plugin, self.kind) {
            ("elasticsearch" | "opensearch", _) => documents::write(self, plan, &own, name).into_iter().collect(),
            ("http", Kind::Events) => events::write(self, profile.map(|_| &own), name).into_iter().collect(),
            ("http", _) => remote_write::write(self, name).into_iter().collect(),
            ("prometheus_client", _) => expose::write(self).into_iter().collect(),
            _ => file::write(self),
        };
        let mut entries = Vec::new();
        for (number, written) in written.into_iter().enumerate() {
            if written.place.as_ref().is_some_and(|place| !given.places.insert(place.clone())) {
                let text = "another output has this file or port already; this one is left out";
                self.options.lose(&self.options.place, text);
                continue;
            }
            let mut map = Map::default();
            map.comment(format!("outputs.{}, {}", self.plugin.escape_debug(), self.options.place));
            let name = if number == 0 { name.to_owned() } else { given.names.unique(name, '-') };
            map.add("name", Node::verbatim(&name));
            map.add(written.key, Node::Block(written.section));
            if written.has_queue {
                agent.buffers.write(self.buffers.clone(), &name, &mut map);
            }
            let rules = self.rules(plan, profile, &own, written.rules);
            map.notes(rules.notes);
            if self.kind != Kind::Documents {
                map.comment("Telegraf writes bounds and quantiles as 1, promferry as 1.0.");
            }
            map.add_list("write_relabel_configs", rules.rules);
            entries.push(map);
        }
        entries
    }

    fn rules(&self, plan: &Plan, profile: Option<&Profile>, own: &Profile, behind: Rules) -> Rules {
        let mut rules = Rules::default();
        if let (Some(label), Some(profile), Kind::Documents) = (plan.routing_label(), profile, self.kind) {
            let word = literal(&profile.word());
            rules.add(&[("source_labels", &label_list(label)), ("regex", &word), ("action", "keep")]);
        }
        if let Some(label) = plan.routing_label() {
            rules.add(&[("action", "labeldrop"), ("regex", label)]);
        }
        let names = match profile {
            None if plan.profiles.is_empty() => Names::Families,
            None => Names::Mixed,
            Some(profile) if profile.version == 1 => Names::Families,
            Some(profile) => Names::One(profile.measurement.clone()),
        };
        let filtered = self.filter.rules(&names, &[]);
        rules.rules.extend(filtered.rules);
        rules.notes.extend(filtered.notes);
        if self.kind == Kind::Samples && own.version == 2 && own.measurement != "prometheus" {
            let name = own.measurement.replace('$', "$$");
            rules.add(&[
                ("source_labels", "[__name__]"),
                ("target_label", "__name__"),
                ("replacement", &format!("{name}_$1")),
            ]);
        }
        if self.kind != Kind::Documents {
            // As Go writes a number; documents do so by themselves.
            for label in ["le", "quantile"] {
                rules.add(&[
                    ("source_labels", &label_list(label)),
                    ("regex", r"(.+)\.0"),
                    ("target_label", label),
                    ("replacement", "$1"),
                ]);
            }
        }
        rules.rules.extend(behind.rules);
        rules.notes.extend(behind.notes);
        rules
    }
}
