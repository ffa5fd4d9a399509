//! Telegraf's configuration as one of ours, as far as it is about Prometheus endpoints.
//!
//! - `options` reads a section, and names what nobody took.
//! - `agent`, `input`, `output` and what stands below that are Telegraf's sections; `filter` is what they share, `endpoint` and
//!   `connection` what they connect to.
//! - `plan` is what inputs and outputs have to agree on.
//!
//! It follows Telegraf 1.37. What arrives from the result is what arrived from Telegraf, tag for tag, but for what
//! docs/convert.md lists.

mod agent;
mod connection;
mod documents;
mod endpoint;
mod events;
mod expose;
mod file;
mod filter;
mod input;
mod labels;
mod options;
mod output;
mod plan;
mod remote_write;

use agent::Agent;
use input::{Input, Jobs};
use options::Options;
use output::{Given, Output};
use plan::Plan;

use super::note::{Note, Place};
use super::toml::{self, Entry, Table, Value};
use super::yaml::{Map, Node};
use super::{Conversion, SourceFile};
use crate::config::Problems;

/// Sections of inputs and outputs, at most.
const SECTIONS_MAX: usize = 10_000;

/// Sections of all files, sorted out.
#[derive(Default)]
struct Sections {
    agent: Vec<Entry>,
    agent_place: Option<Place>,
    tags: Vec<Entry>,
    tags_place: Option<Place>,
    inputs: Vec<(String, Place, Table)>,
    outputs: Vec<(String, Place, Table)>,
    lost: Vec<Note>,
}

/// Converts the files, in this order.
///
/// # Errors
/// A file is no TOML, or its sections are none that Telegraf reads.
pub fn convert(files: &[SourceFile]) -> Result<Conversion, Problems> {
    let (mut sections, mut problems) = (Sections::default(), Vec::new());
    for file in files {
        match toml::parse(&file.name, &file.text) {
            Ok(table) => sections.add(table),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    Ok(Conversion::new(&sections.write(files)))
}

impl Sections {
    fn add(&mut self, table: Table) {
        for Entry { key, place, value } in table.0 {
            match (key.as_str(), value) {
                ("agent", Value::Table(table)) => {
                    self.agent_place.get_or_insert(place);
                    self.agent.extend(table.0);
                }
                ("global_tags" | "tags", Value::Table(table)) => {
                    self.tags_place.get_or_insert(place);
                    self.tags.extend(table.0);
                }
                ("inputs" | "plugins", Value::Table(table)) => {
                    table.0.into_iter().for_each(|entry| plugins(&mut self.inputs, entry, &mut self.lost));
                }
                ("outputs", Value::Table(table)) => {
                    table.0.into_iter().for_each(|entry| plugins(&mut self.outputs, entry, &mut self.lost));
                }
                ("processors" | "aggregators" | "secretstores", Value::Table(table)) => {
                    for entry in table.0 {
                        let plugin = entry.key.escape_debug();
                        let text = match key.as_str() {
                            "secretstores" => format!("{key}.{plugin}: secrets come from files or variables"),
                            _ => format!("{key}.{plugin}: metrics are filtered and relabelled, not computed"),
                        };
                        self.lost.push(Note::loss(&entry.place, text));
                    }
                }
                // The oldest form: inputs stand at the top.
                (_, value @ (Value::Table(_) | Value::List(_))) => {
                    plugins(&mut self.inputs, Entry { key, place, value }, &mut self.lost);
                }
                (key, _) => {
                    self.lost.push(Note::loss(&place, format!("{}: stands in no section", key.escape_debug())));
                }
            }
        }
    }

    fn write(&self, files: &[SourceFile]) -> Map {
        let nowhere = files.first().map_or_else(
            || Place { file: "".into(), line: 1 },
            |file| Place { file: file.name.as_str().into(), line: 1 },
        );
        let mut root = Map::default();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        root.comment(format!("Made by promferry convert telegraf {}", names.join(" ")));
        root.comment("The keys are explained in docs/config.md, what differs from Telegraf in docs/convert.md.");
        let mut global = Map::default();
        let (agent_table, tags_table) = (Table(self.agent.clone()), Table(self.tags.clone()));
        let place = |place: &Option<Place>| place.clone().unwrap_or_else(|| nowhere.clone());
        let agent_options = Options::new(&agent_table, place(&self.agent_place));
        let tags_options = Options::new(&tags_table, place(&self.tags_place));
        let mut notes = Map::default();
        let agent = Agent::read(&agent_options, &tags_options, &mut notes);

        let (inputs, other_inputs): (Vec<_>, Vec<_>) =
            self.inputs.iter().partition(|(plugin, ..)| plugin == "prometheus");
        let inputs: Vec<_> =
            inputs.into_iter().map(|(_, place, table)| Input::read(Options::new(table, place.clone()))).collect();
        let outputs =
            self.outputs.iter().map(|(plugin, place, table)| Output::read(plugin, Options::new(table, place.clone())));
        let (outputs, other_outputs): (Vec<_>, Vec<_>) = outputs.partition(Output::is_known);
        let plan = Plan::new(&agent, &inputs, &outputs);

        write_global(&agent, &plan, &mut global);
        global.add_map("", notes);
        root.add("global", Node::Block(global));
        let mut jobs = Jobs::default();
        let mut scrapes: Vec<Map> = inputs.iter().flat_map(|input| input.write(&agent, &plan, &mut jobs)).collect();
        scrapes.push(lost_inputs(&other_inputs, inputs.is_empty().then_some(&nowhere)));
        root.add_list("scrape_configs", scrapes);
        let mut given = Given::default();
        let mut entries: Vec<Map> = outputs.iter().flat_map(|output| output.write(&agent, &plan, &mut given)).collect();
        let mut left = Map::default();
        for output in &other_outputs {
            match output.plugin {
                "discard" => {
                    left.notes([Note::remark(&output.options.place, "outputs.discard: nothing is sent there")])
                }
                _ => left.notes([Note::loss(&output.options.place, output.why_unknown())]),
            }
        }
        if !entries.iter().any(Map::has_keys) {
            left.notes([Note::loss(
                &nowhere,
                "no output could be carried over; until one is written here, samples go to stdout",
            )]);
            left.add("name", Node::word("stdout"));
            left.add("file", Node::Map(Map::from_iter([("path", Node::verbatim("-"))])));
        }
        entries.push(left);
        root.add_list("outputs", entries);
        root.notes(self.lost.iter().cloned());
        root
    }
}

fn write_global(agent: &Agent, plan: &Plan, global: &mut Map) {
    global.add("scrape_interval", agent.interval.clone());
    global.add_some("scrape_jitter", agent.jitter.clone());
    global.comment("As Telegraf reads it: one format, so that names are the same whatever else a target could say.");
    global.add("scrape_protocols", Node::words(["PrometheusText0.0.4"]));
    let mut labels = Map::default();
    if plan.has_external_tags {
        agent.tags.iter().for_each(|(name, value)| labels.add(name.clone(), Node::text(value)));
    }
    if let Some(host) = &plan.external_host {
        labels.add("host", Node::text(host));
    }
    if labels.has_keys()
        && let Some(place) = &agent.tags_place
    {
        global.comment(format!("global_tags, {place}"));
    }
    global.add_map("external_labels", labels);
    global.notes(plan.notes.iter().cloned());
}

/// What is said of inputs that are none of ours.
fn lost_inputs(others: &[&(String, Place, Table)], none: Option<&Place>) -> Map {
    let mut map = Map::default();
    for (plugin, place, _) in others {
        let plugin = plugin.escape_debug();
        let text = format!("inputs.{plugin}: promferry scrapes Prometheus endpoints; an exporter can be one for it");
        map.notes([Note::loss(place, text)]);
    }
    if let Some(place) = none {
        map.notes([Note::loss(place, "there is no [[inputs.prometheus]]; nothing is scraped")]);
    }
    map
}

/// `[inputs.NAME]`, or `[[inputs.NAME]]` many times.
fn plugins(found: &mut Vec<(String, Place, Table)>, entry: Entry, lost: &mut Vec<Note>) {
    let name = entry.key;
    let mut add = |place: Place, table: Table| match found.len() < SECTIONS_MAX {
        true => found.push((name.clone(), place, table)),
        false => lost.push(Note::loss(&place, format!("only {SECTIONS_MAX} sections are converted"))),
    };
    match entry.value {
        Value::Table(table) => add(entry.place, table),
        Value::List(list) => {
            for (place, value) in list {
                if let Value::Table(table) = value {
                    add(place, table);
                }
            }
        }
        _ => lost.push(Note::loss(&entry.place, format!("{}: is no section", name.escape_debug()))),
    }
}
