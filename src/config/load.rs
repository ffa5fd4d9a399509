//! From YAML to [`Config`]: where the text comes from, and the order in which its sections are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checked::{Config, OutputKind};
use super::common::refuse_same;
use super::fields::{Fields, NamedFile, Reader};
use super::problem::{Pos, Problem, Problems};
use super::raw::{ROOT, SCRAPE_FILE};
use super::scrape_files::{self, Part};
use super::shown::Shown;
use super::variables::Environment;
use super::yaml::Node;
use super::{metrics_agent, nats, output, scrape, yaml};
use crate::net::text::io_words;

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file. It is read anew at each load.
    File(PathBuf),
    /// In the variable [`YAML_VARIABLE`].
    Variable,
}

/// The variable that names the file, where `-c` does not.
pub const FILE_VARIABLE: &str = "PROMFERRY_CONFIG";

/// The variable that holds the whole YAML; for platforms where a file is hard to bring along.
pub const YAML_VARIABLE: &str = "PROMFERRY_CONFIG_YAML";

/// Nobody said where the configuration is, or two did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Neither option nor variable.
    #[error("no configuration: give -c FILE, or set {FILE_VARIABLE} to its path, or {YAML_VARIABLE} to its text")]
    None,
    /// Both variables, and no option to decide.
    #[error("{FILE_VARIABLE} and {YAML_VARIABLE} are both set; unset one of them, or give -c FILE")]
    Both,
}

impl Source {
    /// `-c FILE` if given, else what the environment says. A variable that is set to nothing is not set.
    pub fn find(option: Option<PathBuf>, environment: Environment<'_>) -> Result<Self, SourceError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        match (option, set(FILE_VARIABLE), set(YAML_VARIABLE)) {
            (Some(path), _, _) => Ok(Self::File(path)),
            (None, Some(_), Some(_)) => Err(SourceError::Both),
            (None, Some(path), None) => Ok(Self::File(path.into())),
            (None, None, Some(_)) => Ok(Self::Variable),
            (None, None, None) => Err(SourceError::None),
        }
    }

    /// How messages call it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Variable => YAML_VARIABLE.to_owned(),
        }
    }

    /// The folder that relative paths start from.
    fn folder(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new("")),
            Self::Variable => Path::new(""),
        }
    }

    fn read(&self, environment: Environment<'_>) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => read_file(path),
            Self::Variable => Ok(environment(YAML_VARIABLE).unwrap_or_default().into_bytes()),
        }
    }
}

/// A file of the configuration, a byte more than it may have at most: that tells that it has more.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let bytes_max = yaml::MAIN_FILE.input_bytes_max as u64;
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Loads the configuration: complete and checked, or everything that is wrong with it. The labels of its surroundings are not
/// in it yet; `crate::detect` adds them.
pub fn load(source: &Source, environment: Environment<'_>) -> Result<Config, Problems> {
    load_with_files(source, environment).map(|(config, _)| config)
}

/// As [`load`], and which files it names. Those are not looked at: they may come later than the configuration.
pub fn load_with_files(source: &Source, environment: Environment<'_>) -> Result<(Config, Vec<NamedFile>), Problems> {
    let file: Arc<str> = source.name().into();
    let problem = |message: String| Problem { file: file.clone(), at: Pos::default(), message };
    let text = source.read(environment).map_err(|error| problem(format!("cannot be read: {}", io_words(&error))))?;
    let tree = yaml::parse(&file, &text, &yaml::MAIN_FILE)?;
    let tree = tree.ok_or_else(|| problem("the configuration is empty; at least \"outputs\" is needed".to_owned()))?;

    read(Reader::new(file, source.folder().to_path_buf(), environment), &tree, environment)
}

/// As [`load`], of a text that the program itself brings along; `name` is what messages call it.
pub fn load_text(name: &str, text: &str) -> Result<Config, Problems> {
    let file: Arc<str> = name.into();
    let tree = yaml::parse(&file, text.as_bytes(), &yaml::MAIN_FILE)?;
    let empty = || Problem { file: file.clone(), at: Pos::default(), message: "it is empty".to_owned() };
    let tree = tree.ok_or_else(empty)?;
    read(Reader::new(file.clone(), PathBuf::new(), &|_| None), &tree, &|_| None).map(|(config, _)| config)
}

/// Whether trees can be read that came from elsewhere than a file of ours: a main file's, and those of files with more
/// `scrape_configs`. Each comes with the name that messages call it. Every variable counts as set; no file is opened.
pub fn check_trees(main: (&str, &Node), parts: &[(&str, &Node)]) -> Result<(), Problems> {
    let stand_in = |name: &str| Some(if name.ends_with("URL") { "http://localhost" } else { "value" }.to_owned());
    let reader = |file: &str| Reader::new(file.into(), PathBuf::new(), &stand_in);
    let (main, tree) = (reader(main.0), main.1);
    let parts: Vec<_> = parts.iter().map(|(file, tree)| (reader(file), *tree)).collect();
    let more = parts.iter().flat_map(|(reader, tree)| reader.open(tree, &SCRAPE_FILE).sections("scrape_configs"));
    root(&main.open(tree, &ROOT), more);
    let readers = std::iter::once(main).chain(parts.into_iter().map(|(reader, _)| reader));
    let problems: Vec<_> = readers.filter_map(|reader| reader.finish(()).err()).flat_map(|wrong| wrong.0).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// Reads the main file, and those that it names as parts of it.
fn read(main: Reader<'_>, tree: &Node, environment: Environment<'_>) -> Result<(Config, Vec<NamedFile>), Problems> {
    let fields = main.open(tree, &ROOT);
    let parts = scrape_files::read(&fields, environment);
    let mut config = root(&fields, parts.iter().flat_map(Part::scrapes));
    let main_file = fields.file();
    config.shown = Shown::of(std::iter::once((&*main_file, tree, &ROOT)).chain(parts.iter().filter_map(Part::typed)));
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for reader in std::iter::once(main).chain(parts.into_iter().map(|part| part.reader)) {
        match reader.finish(()) {
            Ok(((), named)) => files.extend(named),
            Err(wrong) => problems.extend(wrong.0),
        }
    }
    if problems.is_empty() { Ok((config, files)) } else { Err(Problems(problems)) }
}

/// Not to be used where a problem was noted. `of_files` are the scrape configurations of other files.
fn root<'a>(fields: &Fields<'a>, of_files: impl Iterator<Item = Fields<'a>>) -> Config {
    let (global, defaults) = scrape::global(&fields.section_or_defaults("global"));
    let scrapes: Vec<_> = fields.sections("scrape_configs").into_iter().chain(of_files).collect();
    let outputs = fields.sections("outputs");
    let metrics_agent = fields.section("metrics_agent").map(|agent| metrics_agent::metrics_agent(&agent, &defaults));
    if metrics_agent.is_none() {
        fields.refuse_empty_list("outputs");
        if !fields.has("outputs") {
            fields.missing("outputs");
        }
    }
    refuse_what_is_used_twice(fields, &scrapes, &outputs);
    let is_on_request = metrics_agent.is_some() && outputs.is_empty();
    let scrape_config = |scrape| {
        let mut config = scrape::scrape_config(scrape, &defaults);
        config.discovery.prom_scraper.iter_mut().for_each(|sd| sd.ignores_interval = is_on_request);
        Arc::new(config)
    };
    let output = |fields| {
        let mut config = output::output(fields)?;
        if let OutputKind::Otlp(otlp) = &mut config.kind {
            let detected = global.detect.attributes().map(|attribute| (attribute.label, attribute.attribute));
            otlp.add_resource_labels(detected);
        }
        Some(Arc::new(config))
    };
    Config {
        outputs: outputs.iter().filter_map(output).collect(),
        global,
        metrics_agent,
        scrapes: scrapes.iter().map(scrape_config).collect(),
        register: nats::register(fields, &outputs),
        targets_file: nats::targets_file(fields, &scrapes),
        admin: output::admin(fields),
        shown: Shown::new(""),
    }
}

/// Names, ports that are listened on, files and folders that are written belong to one entry each.
fn refuse_what_is_used_twice(root: &Fields<'_>, scrapes: &[Fields<'_>], outputs: &[Fields<'_>]) {
    let of_outputs = |kind: &'static str| outputs.iter().filter_map(move |output| output.section(kind));
    refuse_same(scrapes, "job_name");
    refuse_same(outputs, "name");
    let agent = root.section("metrics_agent");
    let ingress = agent.and_then(|agent| agent.section("ingress"));
    let listeners = of_outputs("expose").chain(root.section("admin")).chain(agent).chain(ingress);
    refuse_same(&listeners.collect::<Vec<_>>(), "listen");
    refuse_same(&of_outputs("file").collect::<Vec<_>>(), "path");
    refuse_same(&of_outputs("queue").filter_map(|queue| queue.section("disk")).collect::<Vec<_>>(), "path");
}
