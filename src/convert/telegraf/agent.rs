//! `[agent]` and `[global_tags]`.

use std::time::Duration;

use super::labels::is_label;
use super::options::{Options, Taken};
use crate::convert::note::Place;
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

/// Telegraf's interval where none is given.
const INTERVAL: Duration = Duration::from_secs(10);

/// The longest interval of ours.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest time that a request, or a batch, may take.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// Options of `[agent]` that have no counterpart, and why.
const LOST: [(&str, &str); 9] = [
    ("collection_offset", "each target has an offset of its own, from a hash of its address"),
    ("logfile", "logs go to stderr; let whoever starts promferry write them to a file"),
    ("logfile_rotation_interval", "logs go to stderr"),
    ("logfile_rotation_max_size", "logs go to stderr"),
    ("log_with_timezone", "times in logs are UTC"),
    ("logtarget", "logs go to stderr"),
    ("structured_log_message_key", "logs are JSON lines as they are, where stderr is no terminal"),
    ("statefile", "nothing has a state that is kept; what waits is kept by queue.disk"),
    ("logformat", "choose it with promferry run --log-format"),
];

/// What changes nothing that arrives.
const HARMLESS: [&str; 8] = [
    "round_interval",
    "precision",
    "quiet",
    "debug",
    "logfile_rotation_max_archives",
    "snmp_translator",
    "skip_processors_after_aggregators",
    "config_url_retry_attempts",
];

/// How an output's requests are made up, and what is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    pub(super) batch_size: Option<Node>,
    pub(super) flush_interval: Option<Node>,
    pub(super) flush_jitter: Option<Node>,
    pub(super) limit: Option<Node>,
    /// The folder below which outputs keep what waits.
    pub(super) folder: Option<Text>,
}

impl Buffers {
    pub(super) fn read(options: &Options<'_>) -> Self {
        let duration = |key: &str| {
            let (node, length) = options.duration(key)?;
            within(options, key, node, length, HOUR)
        };
        Self {
            batch_size: options.count("metric_batch_size"),
            flush_interval: duration("flush_interval"),
            flush_jitter: duration("flush_jitter"),
            limit: options.count("metric_buffer_limit"),
            folder: None,
        }
    }

    /// `batch` and `queue` of an output, where it does not say otherwise itself.
    pub(super) fn write(&self, own: Self, name: &str, map: &mut Map) {
        let mut batch = Map::default();
        batch.add_some("max_samples", own.batch_size.or_else(|| self.batch_size.clone()));
        batch.add_some("flush_interval", own.flush_interval.or_else(|| self.flush_interval.clone()));
        batch.add_some("flush_jitter", own.flush_jitter.or_else(|| self.flush_jitter.clone()));
        map.add_map("batch", batch);
        let mut queue = Map::default();
        queue.add_some("max_samples", own.limit.or_else(|| self.limit.clone()));
        if let Some(folder) = own.folder.as_ref().or(self.folder.as_ref()) {
            let path = Text::joined([folder, &Text::literal(format!("/{name}"))]);
            queue.add("disk", Node::Map(Map::from_iter([("path", Node::text(&path))])));
        }
        map.add_map("queue", queue);
    }
}

/// A duration that is not longer than it may be.
pub(super) fn within(
    options: &Options<'_>,
    key: &str,
    taken: Taken<Node>,
    length: Option<Duration>,
    max: Duration,
) -> Option<Node> {
    match length {
        Some(length) if length > max || length < Duration::from_millis(1) => {
            let max = max.as_secs() / 3600;
            options.lose(&taken.place, format!("{key}: it is from 1ms to {max}h here"));
            None
        }
        _ => Some(taken.value),
    }
}

/// The name of the machine in what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// There is no tag `host`.
    Omitted,
    /// The machine's name.
    Machine,
    /// This text.
    Named(Text),
}

/// What concerns all inputs and outputs.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) interval: Node,
    /// Where no variable is in it.
    pub(super) interval_length: Option<Duration>,
    pub(super) jitter: Option<Node>,
    pub(super) buffers: Buffers,
    pub(super) host: Host,
    /// Tags for every metric, `host` not among them.
    pub(super) tags: Vec<(String, Text)>,
    /// Where they are.
    pub(super) tags_place: Option<Place>,
    pub(super) keeps_local_tags: bool,
    pub(super) keeps_global_tags: bool,
}

impl Agent {
    /// `global` takes the notes.
    pub(super) fn read(agent: &Options<'_>, tags: &Options<'_>, global: &mut Map) -> Self {
        let mut interval = (Node::word("10s"), Some(INTERVAL));
        if let Some((taken, length)) = agent.duration("interval")
            && let Some(node) = within(agent, "interval", taken, length, INTERVAL_MAX)
        {
            interval = (node, length);
        }
        let jitter = agent
            .duration("collection_jitter")
            .and_then(|(taken, length)| within(agent, "collection_jitter", taken, length, INTERVAL_MAX));
        let mut buffers = Buffers::read(agent);
        buffers.folder = folder(agent);
        let mut found: Vec<(String, Text)> = Vec::new();
        for key in tags.keys() {
            if let Some(text) = tags.text(key).filter(|text| is_label(tags, key, &text.place)) {
                found.retain(|(name, _)| name != key);
                found.push((key.to_owned(), text.value));
            }
        }
        let host = host(agent, &mut found);
        if agent.is_on("debug") {
            agent.remark(&agent.place, "debug: run promferry with --log-level debug");
        }
        let this = Self {
            interval: interval.0,
            interval_length: interval.1,
            jitter,
            buffers,
            host,
            tags: found,
            tags_place: tags.keys().next().map(|_| tags.place.clone()),
            keeps_local_tags: agent.is_on("always_include_local_tags"),
            keeps_global_tags: agent.is_on("always_include_global_tags"),
        };
        agent.ignore(&HARMLESS);
        agent.lose_rest("[agent]", &LOST);
        agent.tell(global);
        tags.tell(global);
        this
    }
}

/// As Telegraf: the host's name wins over a global tag `host`.
fn host(agent: &Options<'_>, tags: &mut Vec<(String, Text)>) -> Host {
    let is_omitted = agent.is_on("omit_hostname");
    let named = agent.text("hostname").map(|taken| taken.value);
    let tag = tags.iter().position(|(name, _)| name == "host").map(|at| tags.remove(at).1);
    match (is_omitted, named, tag) {
        (false, Some(name), _) => Host::Named(name),
        (false, None, _) => Host::Machine,
        (true, _, Some(tag)) => Host::Named(tag),
        (true, _, None) => Host::Omitted,
    }
}

fn folder(agent: &Options<'_>) -> Option<Text> {
    let strategy = agent.fixed("buffer_strategy");
    let folder = agent.text("buffer_directory");
    match strategy.as_ref().map(|taken| taken.value.as_str()) {
        None | Some("memory") => None,
        Some("disk" | "disk_write_through") => match folder {
            Some(folder) => Some(folder.value),
            None => {
                let place = strategy.map_or_else(|| agent.place.clone(), |taken| taken.place);
                agent.lose(&place, "buffer_strategy: write queue: {disk: {path: …}} below each output");
                None
            }
        },
        Some(_) => {
            let place = strategy.map_or_else(|| agent.place.clone(), |taken| taken.place);
            agent.lose(&place, "buffer_strategy: there are memory and disk");
            None
        }
    }
}
