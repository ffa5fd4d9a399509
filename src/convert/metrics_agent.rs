//! metrics-agent's environment as a `promferry.yml`.
//!
//! What the variables mean is known in one place, which `promferry run --metrics-agent` reads too: what is written here is the
//! configuration that comes of them. This file knows where variables are found, and how that configuration is typed.

use std::collections::BTreeMap;
use std::path::Path;

use super::note::{Note, Place, Weight};
use super::text::Text;
use super::yaml::{Map, Node};
use super::{Conversion, SourceFile};
use crate::config::checked::{Config, MetricsAgent, ScrapeConfig};
use crate::config::yaml::{self, Entry, Kind, Node as Tree};
use crate::config::{Pos, Problem, Problems, quoted};
use crate::net::text::duration;
use crate::net::tls::ServerTls;

/// The process whose variables are meant, in a `bpm.yml`.
const PROCESS: &str = "metrics-agent";

/// Variables, and where they were found. Nothing prints them: there are credentials in many an environment.
pub struct Variables {
    source: Place,
    held: BTreeMap<String, (String, Place)>,
}

impl Variables {
    /// Those of a `bpm.yml`: of its process `metrics-agent`, or of the only one that it has.
    ///
    /// # Errors
    /// It is none.
    pub fn of_bpm(file: &SourceFile) -> Result<Self, Problems> {
        let wrong = |at: Pos, message: String| Problems::from(Problem { file: file.name.as_str().into(), at, message });
        if memchr::memmem::find(&file.text, b"<%").is_some() {
            let message = "this is a template; what BOSH made of it is /var/vcap/jobs/metrics-agent/config/bpm.yml";
            return Err(wrong(Pos::default(), message.to_owned()));
        }
        let tree = yaml::parse(&file.name.as_str().into(), &file.text, &yaml::DISCOVERY_FILE)?;
        let processes = tree.as_ref().and_then(|tree| get(tree, "processes"));
        let Some(Kind::Sequence(processes)) = processes.map(|processes| &processes.kind) else {
            return Err(wrong(Pos::default(), "there is no list \"processes\"; a bpm.yml is expected".to_owned()));
        };
        let is_it = |process: &&Tree| get(process, "name").and_then(text).is_some_and(|name| name == PROCESS);
        let process = match (processes.iter().find(is_it), processes.as_slice()) {
            (Some(process), _) | (None, [process]) => process,
            _ => {
                let message = format!("none of its processes is called \"{PROCESS}\"");
                return Err(wrong(Pos::default(), message));
            }
        };
        let mut variables = Self::of_source(&file.name);
        match get(process, "env").map(|env| (env.at, &env.kind)) {
            None | Some((_, Kind::Null)) => {}
            Some((_, Kind::Mapping(entries))) => {
                for Entry { key, at, value } in entries {
                    let (Some(value), line) = (text(value), at.line) else {
                        return Err(wrong(*at, format!("{} is not a single value", quoted(key))));
                    };
                    variables.add(key, value, line);
                }
            }
            Some((at, _)) => return Err(wrong(at, "env: expected a mapping of variables".to_owned())),
        }
        Ok(variables)
    }

    /// Those of a file with a `NAME=VALUE` a line, as systemd and Docker read it, or of `/proc/PID/environ`.
    ///
    /// # Errors
    /// A line is something else.
    pub fn of_lines(file: &SourceFile) -> Result<Self, Problems> {
        let text = String::from_utf8_lossy(&file.text);
        let mut variables = Self::of_source(&file.name);
        let mut problems = Vec::new();
        if text.contains('\0') {
            // As the process has them: nothing is a quote or a comment there, and bash's functions are no settings.
            for (entry, number) in text.split('\0').zip(1..) {
                if let Some((name, value)) = entry.split_once('=') {
                    variables.add(name, value, number);
                }
            }
            return Ok(variables);
        }
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("export ").unwrap_or(line).split_once('=') {
                Some((name, value)) if is_name(name.trim()) => {
                    variables.add(name.trim(), unquoted(value.trim()), number)
                }
                _ => problems.push(Problem {
                    file: file.name.as_str().into(),
                    at: Pos { line: number, column: 1 },
                    message: "expected NAME=VALUE".to_owned(),
                }),
            }
        }
        if problems.is_empty() { Ok(variables) } else { Err(Problems(problems)) }
    }

    /// Those of this process.
    pub fn of_process(environment: impl Iterator<Item = (String, String)>) -> Self {
        let mut variables = Self::of_source("environment");
        environment.for_each(|(name, value)| variables.add(&name, &value, 0));
        variables
    }

    fn of_source(name: &str) -> Self {
        Self { source: Place { file: name.into(), line: 0 }, held: BTreeMap::new() }
    }

    fn add(&mut self, name: &str, value: &str, line: u32) {
        let place = Place { file: self.source.file.clone(), line };
        self.held.insert(name.to_owned(), (value.to_owned(), place));
    }

    /// What a variable holds.
    pub fn get(&self, name: &str) -> Option<String> {
        self.held.get(name).map(|(value, _)| value.clone())
    }

    /// Where the variable is that a sentence begins with.
    fn place(&self, sentence: &str) -> Place {
        let name = sentence.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        self.held.get(name).map_or_else(|| self.source.clone(), |(_, place)| place.clone())
    }
}

/// A line of an environment's file may have quotes around its value.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn get<'t>(tree: &'t Tree, key: &str) -> Option<&'t Tree> {
    match &tree.kind {
        Kind::Mapping(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
        _ => None,
    }
}

fn text(value: &Tree) -> Option<&str> {
    match &value.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::Null => Some(""),
        _ => None,
    }
}

/// Writes the configuration that came of the variables. `notes` is what was said of them, and whether something was left out.
pub fn convert(config: &Config, notes: &[(String, Weight)], variables: &Variables) -> Conversion {
    let mut root = Map::default();
    root.comment(format!("Made by promferry convert metrics-agent, from {}", variables.source.file));
    root.comment("It does what promferry run --metrics-agent does. With outputs, what is scraped goes there too.");
    root.notes(notes.iter().map(|(text, weight)| Note {
        place: variables.place(text),
        text: text.clone(),
        weight: *weight,
    }));
    if let Some(scrape) = config.scrapes.first() {
        root.add("global", Node::Block(global(scrape)));
        root.add_list("scrape_configs", config.scrapes.iter().map(|scrape| scrape_config(scrape)).collect());
    }
    if let Some(agent) = &config.metrics_agent {
        root.add("metrics_agent", Node::Block(metrics_agent(agent)));
    }
    if config.admin.is_none() {
        root.comment("No status page, as in the original; without this line it is on 127.0.0.1:9698.");
        root.add("admin", Node::word("null"));
    }
    Conversion::new(&root)
}

fn global(scrape: &ScrapeConfig) -> Map {
    Map::from_iter([
        ("scrape_interval", Node::word(duration(scrape.scrape_interval))),
        ("scrape_timeout", Node::word(duration(scrape.scrape_timeout))),
    ])
}

fn scrape_config(scrape: &ScrapeConfig) -> Map {
    let mut map = Map::default();
    map.add("job_name", literal(&scrape.job_name));
    map.add("honor_labels", Node::word(scrape.honor_labels));
    map.add_some("follow_redirects", scrape.follow_redirects.map(Node::word));
    map.add("scrape_protocols", Node::words(["PrometheusText0.0.4"]));
    let mut tls = Map::default();
    let files =
        [("ca_file", &scrape.tls.ca_file), ("cert_file", &scrape.tls.cert_file), ("key_file", &scrape.tls.key_file)];
    files.into_iter().for_each(|(key, file)| tls.add_some(key, file.as_deref().map(path)));
    map.add_map("tls_config", tls);
    let list = |files: &[String]| Node::texts(&files.iter().map(Text::literal).collect::<Vec<_>>());
    let sds = scrape.discovery.prom_scraper.iter();
    map.add_list("prom_scraper_sd_configs", sds.map(|sd| Map::from_iter([("files", list(&sd.files))])).collect());
    map
}

fn metrics_agent(agent: &MetricsAgent) -> Map {
    let mut map = Map::default();
    map.add("listen", literal(&agent.listen.to_string()));
    map.add("metrics_listen", literal(&agent.metrics_listen.to_string()));
    map.add("tls_config", server_tls(&agent.tls));
    map.add_some("targets_file", agent.targets_file.as_deref().map(path));
    map.add("address", literal(&agent.address));
    map.add("instance_id", literal(&agent.instance_id));
    let mut tags = Map::default();
    agent.tags.iter().for_each(|(name, value)| tags.add(name.clone(), literal(value)));
    map.add_map("tags", tags);
    map.add("ttl", Node::word(duration(agent.ttl)));
    map.add("expiration_interval", Node::word(duration(agent.expiration_interval)));
    if let Some(ingress) = &agent.ingress {
        let mut section = Map::default();
        section.add("listen", literal(&ingress.listen.to_string()));
        section.add("tls_config", server_tls(&ingress.tls));
        if !ingress.timer_tags.is_empty() {
            let tags: Vec<_> = ingress.timer_tags.iter().map(Text::literal).collect();
            section.add("timer_tags", Node::texts(&tags));
        }
        map.add("ingress", Node::Block(section));
    }
    map
}

fn server_tls(tls: &ServerTls) -> Node {
    let mut map = Map::default();
    map.add("cert_file", path(&tls.cert_file));
    map.add("key_file", path(&tls.key_file));
    map.add_some("client_ca_file", tls.client_ca_file.as_deref().map(path));
    Node::Map(map)
}

fn path(path: &Path) -> Node {
    literal(&path.to_string_lossy())
}

fn literal(text: &str) -> Node {
    Node::text(&Text::literal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Variables, Problems> {
        Variables::of_lines(&SourceFile { name: "file".into(), text: text.into() })
    }

    #[test]
    fn a_file_of_lines_has_quotes_and_comments() {
        let variables = read("# all\r\nexport A='x y'\r\n\nB=\"\"\nC = 1\n").unwrap();
        let get = |name: &str| variables.get(name);
        assert_eq!((get("A"), get("B"), get("C")), (Some("x y".into()), Some(String::new()), Some("1".into())));
        assert_eq!(read("A=1\nsecret").err().unwrap().to_string(), "file:2:1: expected NAME=VALUE");
    }

    #[test]
    fn the_environment_of_a_process_is_taken_as_it_is() {
        let variables = read("A='x' \0BASH_FUNC_f%%=() {  :\n}\0#B=1\0C=two\nlines\0").unwrap();
        let get = |name: &str| variables.get(name);
        assert_eq!((get("A"), get("C")), (Some("'x' ".into()), Some("two\nlines".into())));
    }
}
