//! Telegraf's metric filters as relabel rules.
//!
//! First names and tags decide about a metric, then fields and tags are taken out of it (Telegraf 1.37, `models/filter.go`).
//! With `metric_version = 2` a metric's name is its measurement, `prometheus`, and fields are what Prometheus calls names; with 1
//! names are those of families, and fields tell the parts of histograms and summaries apart.

use super::options::{Options, Taken};
use crate::convert::glob::{Globs, literal};
use crate::convert::note::{Note, Place};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

/// The label by which [`Filter::rules`] remembers that one of several tags passed.
const PASSED: &str = "__tmp_tagpass";

/// What metrics look like where a filter sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `metric_version = 1`: names are families'.
    Families,
    /// `metric_version = 2`: all have this name.
    One(String),
    /// Inputs differ.
    Mixed,
}

/// One list of patterns, or one of a tag's.
#[derive(Clone, Debug)]
struct Patterns {
    key: String,
    globs: Globs,
    place: Place,
}

/// The filters of an input or an output.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    name_pass: Option<Patterns>,
    name_drop: Option<Patterns>,
    tag_pass: Vec<(String, Patterns)>,
    tag_drop: Vec<(String, Patterns)>,
    field_include: Option<Patterns>,
    field_exclude: Option<Patterns>,
    tag_include: Option<Patterns>,
    tag_exclude: Option<Patterns>,
}

impl Filter {
    pub(super) fn read(options: &Options<'_>) -> Self {
        for key in ["namepass_separator", "namedrop_separator"] {
            if let Some(taken) = options.text(key) {
                options.lose(&taken.place, format!("{key}: patterns have no separators; a * takes any character"));
            }
        }
        Self {
            name_pass: list(options, &["namepass"]),
            name_drop: list(options, &["namedrop"]),
            tag_pass: tags(options, "tagpass"),
            tag_drop: tags(options, "tagdrop"),
            field_include: list(options, &["pass", "fieldpass", "fieldinclude"]),
            field_exclude: list(options, &["drop", "fielddrop", "fieldexclude"]),
            tag_include: list(options, &["taginclude"]),
            tag_exclude: list(options, &["tagexclude"]),
        }
    }

    /// Whether a tag of this name is left in a metric.
    pub(super) fn keeps_tag(&self, name: &str) -> bool {
        self.tag_include.as_ref().is_none_or(|include| include.globs.matches(name))
            && !self.tag_exclude.as_ref().is_some_and(|exclude| exclude.globs.matches(name))
    }

    /// The tags whose values decide.
    pub(super) fn deciding_tags(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.tag_pass.iter().chain(&self.tag_drop).map(|(tag, patterns)| (tag.as_str(), &patterns.place))
    }

    /// The rules, in order. `kept` are labels that `taginclude` does not take away.
    pub(super) fn rules(&self, names: &Names, kept: &[&str]) -> Rules {
        let mut rules = Rules::default();
        self.name_rules(names, &mut rules);
        self.tag_rules(&mut rules);
        self.field_rules(names, &mut rules);
        if let Some(include) = &self.tag_include {
            let kept = ["__name__", "le", "quantile"].iter().chain(kept).map(|name| literal(name));
            let parts: Vec<_> = kept.chain([include.globs.regex.clone()]).collect();
            let goes = |name: &&str| !include.globs.matches(name);
            if *names != Names::Families && ["le", "quantile"].iter().any(goes) {
                rules.say(&include.key, &include.place, "le and quantile stay: they tell buckets and quantiles apart");
            }
            rules.add(&[("action", "labelkeep"), ("regex", &parts.join("|"))]);
        }
        if let Some(exclude) = &self.tag_exclude {
            if ["le", "quantile"].iter().any(|name| exclude.globs.matches(name)) {
                rules.lose(exclude, "le and quantile would go too; without them buckets and quantiles are no series");
            } else {
                rules.add(&[("action", "labeldrop"), ("regex", &exclude.globs.regex)]);
            }
        }
        rules
    }

    fn name_rules(&self, names: &Names, rules: &mut Rules) {
        let lists = [(&self.name_pass, "keep"), (&self.name_drop, "drop")];
        for (patterns, action) in lists {
            let Some(patterns) = patterns else { continue };
            match names {
                Names::Mixed => rules.lose(patterns, "inputs have metric_version 1 and 2, and their names differ"),
                Names::Families => {
                    // The parts of a family have its name and an ending.
                    let parts = if patterns.globs.is_open_ended { "" } else { "(_bucket|_sum|_count)?" };
                    let regex = match parts {
                        "" => patterns.globs.regex.clone(),
                        parts => format!("({}){parts}", patterns.globs.regex),
                    };
                    rules.add(&[("source_labels", "[__name__]"), ("regex", &regex), ("action", action)]);
                }
                Names::One(name) => {
                    let passes = patterns.globs.matches(name) == (action == "keep");
                    let text = match passes {
                        true => format!("it lets everything pass: with metric_version = 2 every name is \"{name}\""),
                        false => format!("it stops everything: with metric_version = 2 every name is \"{name}\""),
                    };
                    rules.say(&patterns.key, &patterns.place, &text);
                    if !passes {
                        rules.add(&[("action", "drop")]);
                    }
                }
            }
        }
    }

    fn tag_rules(&self, rules: &mut Rules) {
        let values = |patterns: &Patterns, rules: &mut Rules| {
            let regex = patterns.globs.of_values();
            if regex.is_none() {
                rules.lose(patterns, "a pattern that takes nothing at all cannot be written as a rule");
            }
            regex
        };
        match self.tag_pass.as_slice() {
            [] => {}
            [(tag, patterns)] => {
                if let Some(regex) = values(patterns, rules) {
                    rules.add(&[("source_labels", &label_list(tag)), ("regex", &regex), ("action", "keep")]);
                }
            }
            several => {
                // One of them is enough.
                let found: Vec<_> =
                    several.iter().filter_map(|(tag, patterns)| Some((tag, values(patterns, rules)?))).collect();
                if found.len() == several.len() {
                    for (tag, regex) in found {
                        rules.add(&[
                            ("source_labels", &label_list(tag)),
                            ("regex", &regex),
                            ("target_label", PASSED),
                            ("replacement", "passed"),
                        ]);
                    }
                    rules.add(&[("source_labels", &label_list(PASSED)), ("regex", "passed"), ("action", "keep")]);
                    rules.add(&[("action", "labeldrop"), ("regex", PASSED)]);
                }
            }
        }
        for (tag, patterns) in &self.tag_drop {
            if let Some(regex) = values(patterns, rules) {
                rules.add(&[("source_labels", &label_list(tag)), ("regex", &regex), ("action", "drop")]);
            }
        }
    }

    fn field_rules(&self, names: &Names, rules: &mut Rules) {
        let lists = [(&self.field_include, "keep"), (&self.field_exclude, "drop")];
        for (patterns, action) in lists {
            let Some(patterns) = patterns else { continue };
            match names {
                Names::One(_) => {
                    let regex = patterns.globs.regex.as_str();
                    rules.add(&[("source_labels", "[__name__]"), ("regex", regex), ("action", action)]);
                }
                _ if patterns.globs.regex == ".*" && action == "keep" => {}
                Names::Families | Names::Mixed => rules.lose(
                    patterns,
                    "with metric_version = 1 fields are \"counter\", \"gauge\", \"sum\" and the like, which no rule sees",
                ),
            }
        }
    }
}

/// Rules, and what is to be said about them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) rules: Vec<Map>,
    pub(super) notes: Vec<Note>,
}

impl Rules {
    /// Adds a rule of these keys and values.
    pub(super) fn add(&mut self, pairs: &[(&'static str, &str)]) {
        let node = |key: &str, value: &str| match key {
            "source_labels" | "action" => Node::word(value),
            _ => Node::verbatim(value),
        };
        self.rules.push(pairs.iter().map(|(key, value)| (*key, node(key, value))).collect());
    }

    fn lose(&mut self, patterns: &Patterns, why: &str) {
        self.notes.push(Note::loss(&patterns.place, format!("{}: {why}", patterns.key)));
    }

    fn say(&mut self, key: &str, place: &Place, text: &str) {
        self.notes.push(Note::remark(place, format!("{key}: {text}")));
    }
}

/// `[NAME]` for `source_labels`.
pub(super) fn label_list(name: &str) -> String {
    format!("[{}]", crate::convert::yaml::quoted(name))
}

fn list(options: &Options<'_>, keys: &[&str]) -> Option<Patterns> {
    let mut found: Vec<Taken<Text>> = Vec::new();
    let mut said = "";
    for key in keys {
        let texts = options.texts(key);
        said = if said.is_empty() && !texts.is_empty() { key } else { said };
        found.extend(texts);
    }
    patterns(options, said, &found)
}

fn patterns(options: &Options<'_>, key: &str, texts: &[Taken<Text>]) -> Option<Patterns> {
    let place = texts.first()?.place.clone();
    let fixed: Option<Vec<String>> = texts.iter().map(|text| text.value.fixed().map(str::to_owned)).collect();
    let globs = match fixed {
        Some(fixed) => Globs::new(&fixed),
        None => Err("rules have no variables; write the patterns themselves"),
    };
    match globs {
        Ok(globs) => Some(Patterns { key: key.to_owned(), globs, place }),
        Err(why) => {
            options.lose(&place, format!("{key}: {why}"));
            None
        }
    }
}

/// The patterns of each tag.
fn tags(options: &Options<'_>, key: &str) -> Vec<(String, Patterns)> {
    let Some(section) = options.section(key) else { return Vec::new() };
    let mut found = Vec::new();
    for tag in section.keys() {
        let key = format!("{key}.{}", tag.escape_debug());
        found.extend(patterns(options, &key, &section.texts(tag)).map(|patterns| (tag.to_owned(), patterns)));
    }
    options.absorb(&section);
    found
}
