//! What inputs and outputs have to agree on: where tags that are the same for all metrics are added, and how documents of
//! inputs that differ are told apart.

use super::agent::{Agent, Host};
use super::input::Input;
use super::options::Options;
use super::output::{Kind, Output};
use crate::convert::note::Note;
use crate::convert::text::Text;

/// The label that tells inputs apart whose documents differ.
pub(super) const ROUTING: &str = "telegraf_shape";

/// The variable that has the machine's name.
const HOST_VARIABLE: &str = "HOSTNAME";

/// What documents of an input look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// `metric_version`, 1 or 2.
    pub(super) version: u8,
    /// What metrics of version 2 are called.
    pub(super) measurement: String,
}

impl Profile {
    pub(super) fn of_input(options: &Options<'_>) -> Self {
        let version = options.text("metric_version");
        let is_two = version.as_ref().is_some_and(|version| version.value.fixed() == Some("2"));
        if let Some(version) = &version
            && !matches!(version.value.fixed(), Some("0" | "1" | "2"))
        {
            options.lose(&version.place, "metric_version: it is 1 or 2");
        }
        let version = if is_two { 2 } else { 1 };
        Self { version, measurement: renamed(options, version, "prometheus") }
    }

    /// The shape of documents.
    pub(super) fn shape(&self) -> &'static str {
        if self.version == 1 { "telegraf_v1" } else { "telegraf" }
    }

    /// A word for it.
    pub(super) fn word(&self) -> String {
        match (self.version, self.measurement.as_str()) {
            (1, _) => "v1".to_owned(),
            (_, "prometheus") => "v2".to_owned(),
            (_, name) => format!("v2-{name}"),
        }
    }
}

/// A measurement as `name_override`, `name_prefix` and `name_suffix` make it.
pub(super) fn renamed(options: &Options<'_>, version: u8, measurement: &str) -> String {
    let [name, prefix, suffix] = ["name_override", "name_prefix", "name_suffix"].map(|key| options.fixed(key));
    if version == 1 {
        for (key, taken) in [("name_override", name), ("name_prefix", prefix), ("name_suffix", suffix)] {
            if let Some(taken) = taken {
                let text = format!("{key}: with metric_version = 1 the name of a metric stays as its exporter has it");
                options.lose(&taken.place, text);
            }
        }
        return measurement.to_owned();
    }
    let name = name.map_or_else(|| measurement.to_owned(), |taken| taken.value);
    let text = |part: Option<super::options::Taken<String>>| part.map(|taken| taken.value).unwrap_or_default();
    format!("{}{name}{}", text(prefix), text(suffix))
}

/// What was agreed on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What documents look like, each once.
    pub(super) profiles: Vec<Profile>,
    /// Document shapes add the tag `url`, and it is right.
    pub(super) adds_url: bool,
    /// Targets have a label with their URL.
    pub(super) has_url_labels: bool,
    /// Document shapes add the machine's name as `host`.
    pub(super) adds_host: bool,
    /// The label `host` of targets.
    pub(super) host_of_inputs: Option<Text>,
    /// The external label `host`.
    pub(super) external_host: Option<Text>,
    /// Global tags are external labels; else each input has them.
    pub(super) has_external_tags: bool,
    /// What is to be said about all of it.
    pub(super) notes: Vec<Note>,
}

impl Plan {
    pub(super) fn new(agent: &Agent, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> Self {
        let is_document = |output: &Output<'_>| output.kind == Kind::Documents;
        let decides =
            |tag: &str| outputs.iter().any(|output| output.filter.deciding_tags().any(|(name, _)| name == tag));
        let all_documents = outputs.iter().all(is_document);
        let adds_url = inputs.iter().all(Input::has_plain_urls);
        let all_host = inputs.iter().all(|input| input.takes_host(agent));
        let any_host = inputs.iter().any(|input| input.takes_host(agent) && !input.has_own_host());
        let is_machine = agent.host == Host::Machine;
        let adds_host = is_machine && all_documents && all_host && !decides("host");
        let label = match &agent.host {
            Host::Omitted => None,
            _ if adds_host || !any_host => None,
            Host::Machine => Some(Text::variable(HOST_VARIABLE)),
            Host::Named(name) => Some(name.clone()),
        };
        // An event's host is a label of the target, not of all that is sent.
        let is_external = all_host && !outputs.iter().any(|output| output.kind == Kind::Events);
        let mut notes = Vec::new();
        if let (true, Some(_), Some(input)) = (is_machine, &label, inputs.first()) {
            let text = format!(
                "host: set the variable {HOST_VARIABLE} to the machine's name; only elasticsearch adds it by itself"
            );
            notes.push(Note::loss(&input.options.place, text));
        }
        let keeps_tag = |tag: &str| inputs.iter().all(|input| input.keeps(tag, agent.keeps_global_tags));
        let mut profiles: Vec<Profile> = Vec::new();
        for input in inputs.iter().filter(|input| input.has_targets()) {
            if !profiles.contains(&input.profile) {
                profiles.push(input.profile.clone());
            }
        }
        let (external_host, host_of_inputs) = if is_external { (label, None) } else { (None, label) };
        Self {
            profiles,
            adds_url,
            has_url_labels: !adds_url || !all_documents || decides("url"),
            adds_host,
            host_of_inputs,
            external_host,
            has_external_tags: agent.tags.iter().all(|(name, _)| keeps_tag(name)),
            notes,
        }
    }

    /// The label that tells inputs apart, where their documents differ.
    pub(super) fn routing_label(&self) -> Option<&'static str> {
        (self.profiles.len() > 1).then_some(ROUTING)
    }
}
