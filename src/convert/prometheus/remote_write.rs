//! `remote_write` as outputs.

use super::section::{Carrier, Written, escaped, single};
use crate::config::Pos;
use crate::config::raw::{BATCH, OUTPUT, QUEUE, REMOTE_WRITE};
use crate::config::values;
use crate::config::yaml::{Entry, Kind, Node as Tree};
use crate::convert::names::UniqueNames;
use crate::convert::secret::is_secret;

/// The most lanes that an output has.
const LANES_MAX: u64 = 64;

/// Samples that a queue holds where nothing is said.
const QUEUE_SAMPLES: u64 = 1_000_000;

/// Of `remote_write`, what stands one level up here, or elsewhere.
const ELSEWHERE: [&str; 4] = ["name", "write_relabel_configs", "queue_config", "http_headers"];

/// The outputs; `None` where something is no mapping.
pub(super) fn outputs(carrier: &Carrier<'_>, items: &[Tree]) -> Option<Vec<(Pos, Written)>> {
    let mut names = UniqueNames::default();
    let output = |item: &Tree| match &item.kind {
        Kind::Mapping(entries) => Some((item.at, output(carrier, item.at, entries, &mut names))),
        _ => None,
    };
    items.iter().filter(|item| !matches!(item.kind, Kind::Null)).map(output).collect()
}

fn output(carrier: &Carrier<'_>, at: Pos, entries: &[Entry], names: &mut UniqueNames) -> Written {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut written = Written::default();
    let given = find("name").and_then(|name| single(&name.value)).filter(|name| !name.is_empty());
    let name = names.unique(given.unwrap_or("remote_write"), '_');
    let typed = escaped(&name);
    written.text("name", find("name").map_or(at, |name| name.value.at), typed);
    let mut section = Written::default();
    for entry in entries.iter().filter(|entry| !ELSEWHERE.contains(&entry.key.as_str())) {
        carrier.entry(&mut section, &name, entry, &REMOTE_WRITE);
    }
    match (find("http_headers"), find("headers")) {
        (Some(more), Some(_)) => {
            carrier.lose(&mut section, more.at, "http_headers: of no use beside headers; write them there")
        }
        (Some(headers), None) => http_headers(carrier, &mut section, &name, headers),
        (None, _) => {}
    }
    let (mut batch, mut queue) = (Written::default(), Written::default());
    if let Some((entry, Kind::Mapping(settings))) = find("queue_config").map(|entry| (entry, &entry.value.kind)) {
        let mut parts = Parts { carrier, section: &mut section, batch: &mut batch, queue: &mut queue };
        parts.read(settings, entry.at);
    }
    written.section("remote_write", at, section);
    if let Some(rules) = find("write_relabel_configs") {
        carrier.entry(&mut written, &name, rules, &OUTPUT);
    }
    written.section("batch", at, batch);
    written.section("queue", at, queue);
    written
}

/// `http_headers`, which has lists of values, as `headers`, which has one each.
fn http_headers(carrier: &Carrier<'_>, section: &mut Written, owner: &str, entry: &Entry) {
    let Kind::Mapping(headers) = &entry.value.kind else { return section.wrong(entry) };
    let mut plain = Written::default();
    for header in headers {
        let name = header.key.escape_debug();
        let Some((kind, value)) = only_value(&header.value) else {
            let text = format!("http_headers: {name}: here, a header has one value, which is not in a file");
            carrier.lose(&mut plain, header.at, text);
            continue;
        };
        let typed = match kind == "secrets" || is_secret(&header.key) {
            true => {
                let key = format!("http_headers: {name}");
                carrier.secret(&mut plain, owner, header.value.at, (&key, &header.key), value, "")
            }
            false => carrier.typed(&mut plain, header.value.at, "http_headers", value),
        };
        plain.text(&header.key, header.at, typed);
    }
    section.section("headers", entry.at, plain);
}

/// The only value that a header has, and under which word.
fn only_value(header: &Tree) -> Option<(&str, &str)> {
    match &header.kind {
        Kind::Mapping(kinds) => match kinds.as_slice() {
            [Entry { key, value: Tree { kind: Kind::Sequence(values), .. }, .. }] if key != "files" => {
                let [value] = values.as_slice() else { return None };
                Some((key, single(value)?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Where the settings of `queue_config` stand here.
struct Parts<'p, 'c> {
    carrier: &'p Carrier<'c>,
    section: &'p mut Written,
    batch: &'p mut Written,
    queue: &'p mut Written,
}

impl Parts<'_, '_> {
    fn read(&mut self, settings: &[Entry], at: Pos) {
        let count = |key: &str| {
            let entry = settings.iter().find(|entry| entry.key == key)?;
            values::count(single(&entry.value)?).ok()
        };
        for setting in settings {
            let renamed = |key: &str| Entry { key: key.to_owned(), ..setting.clone() };
            match setting.key.as_str() {
                "max_samples_per_send" => self.carrier.entry(self.batch, "", &renamed("max_samples"), &BATCH),
                "batch_send_deadline" => self.carrier.entry(self.batch, "", &renamed("flush_interval"), &BATCH),
                "sample_age_limit" => self.carrier.entry(self.queue, "", &renamed("max_age"), &QUEUE),
                // What does not fit into Prometheus' queue waits in its log of writes, so a small one loses nothing.
                "capacity" if count("capacity").is_some_and(|samples| samples <= QUEUE_SAMPLES) => {}
                "capacity" => self.carrier.entry(self.queue, "", &renamed("max_samples"), &QUEUE),
                "max_shards" | "min_shards" | "min_backoff" | "max_backoff" | "retry_on_http_429" => {}
                key => {
                    let text = format!("queue_config: {}: not known as one of its keys", key.escape_debug());
                    self.carrier.lose(self.queue, setting.at, text);
                }
            }
        }
        let shards = count("max_shards").or(count("min_shards").filter(|shards| *shards > 4));
        if let Some(shards) = shards.filter(|shards| *shards > 0) {
            self.section.word("lanes", at, shards.min(LANES_MAX));
        }
    }
}
