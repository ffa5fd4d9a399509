//! `global` and `scrape_configs`.

use super::section::{Carrier, Written, escaped, one, single};
use crate::config::Pos;
use crate::config::raw::{GLOBAL, SCRAPE};
use crate::config::yaml::{Entry, Kind, Node as Tree};

/// `global`, with what Prometheus has where nothing is said and we have something else.
pub(super) fn global(carrier: &Carrier<'_>, entries: &[Entry], at: Pos) -> Written {
    let mut written = Written::default();
    let has = |key: &str| entries.iter().any(|entry| entry.key == key && !matches!(entry.value.kind, Kind::Null));
    let is_zero = |key: &str| {
        entries.iter().any(|entry| entry.key == key && matches!(single(&entry.value), Some("0" | "0s" | "0ms" | "0m")))
    };
    if !has("scrape_interval") || is_zero("scrape_interval") {
        written.word("scrape_interval", at, "1m");
    }
    for entry in entries {
        match &entry.value.kind {
            Kind::Mapping(labels) if entry.key == "external_labels" => {
                let labels = external_labels(carrier, labels);
                written.section("external_labels", entry.at, labels);
            }
            _ => carrier.entry(&mut written, "global", entry, &GLOBAL),
        }
    }
    if !has("body_size_limit") {
        written.map.comment("As in Prometheus a target may answer whatever it likes; memory_limit holds.");
        written.word("body_size_limit", at, "0");
    }
    written.word("growth_limit", at, "0");
    written
}

/// Prometheus 3 replaces `$NAME` and `${NAME}` in the values of external labels, and there alone; one that is not set is empty.
fn external_labels(carrier: &Carrier<'_>, labels: &[Entry]) -> Written {
    let mut written = Written::default();
    for label in labels {
        match &label.value.kind {
            Kind::Scalar { text, .. } => match expanded(text) {
                Some(typed) => written.text(&label.key, label.value.at, typed),
                None => {
                    let name = label.key.escape_debug();
                    let text = format!("external_labels: {name}: variables can only be written ${{NAME}} here");
                    carrier.lose(&mut written, label.value.at, text);
                }
            },
            Kind::Null => written.text(&label.key, label.value.at, String::new()),
            _ => written.wrong(label),
        }
    }
    written
}

/// A value of an external label as we type it; `None` where it cannot be.
fn expanded(text: &str) -> Option<String> {
    let (mut typed, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        typed.push_str(&escaped(before));
        if let Some(behind) = after.strip_prefix('$') {
            // A dollar that stands before a brace would be read together with it.
            if behind.starts_with(['{', '$']) {
                return None;
            }
            typed.push('$');
            rest = behind;
            continue;
        }
        let (name, behind) = match after.strip_prefix('{') {
            Some(inside) => inside.split_once('}')?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match name {
            // Go takes these for variables of a shell.
            "" if after.starts_with(['*', '#', '@', '!', '?', '-']) => return None,
            "" if !after.starts_with('{') => typed.push('$'),
            _ if is_name && !name.is_empty() && !typed.ends_with('$') => typed.push_str(&format!("${{{name}:-}}")),
            _ => return None,
        }
        rest = behind;
    }
    typed.push_str(&escaped(rest));
    Some(typed)
}

/// `scrape_configs`: an entry each.
pub(super) fn scrapes(carrier: &Carrier<'_>, items: &[Tree]) -> Option<Vec<(Pos, Written)>> {
    let scrape = |item: &Tree| match &item.kind {
        Kind::Mapping(entries) => Some((item.at, scrape(carrier, item.at, entries))),
        _ => None,
    };
    items.iter().filter(|item| !matches!(item.kind, Kind::Null)).map(scrape).collect()
}

fn scrape(carrier: &Carrier<'_>, at: Pos, entries: &[Entry]) -> Written {
    let mut written = Written::default();
    let job = entries.iter().find(|entry| entry.key == "job_name");
    let owner = job.and_then(|job| single(&job.value)).unwrap_or("job").to_owned();
    if let Some(job) = job {
        carrier.entry(&mut written, &owner, job, &SCRAPE);
    }
    written.word("on_bad_line", at, "fail");
    for entry in entries.iter().filter(|entry| entry.key != "job_name") {
        match &entry.value.kind {
            Kind::Sequence(items) if entry.key == "dns_sd_configs" => dns(carrier, &mut written, &owner, entry, items),
            Kind::Mapping(below) if entry.key == "authorization" => {
                authorization(carrier, &mut written, &owner, entry, below)
            }
            _ => carrier.entry(&mut written, &owner, entry, &SCRAPE),
        }
    }
    written
}

/// Names of mail servers are not looked up.
fn dns(carrier: &Carrier<'_>, written: &mut Written, owner: &str, entry: &Entry, items: &[Tree]) {
    let is_mail = |item: &Tree| match &item.kind {
        Kind::Mapping(entries) => entries.iter().any(|entry| entry.key == "type" && single(&entry.value) == Some("MX")),
        _ => false,
    };
    let (mail, others): (Vec<_>, Vec<_>) = items.iter().cloned().partition(is_mail);
    for item in mail {
        carrier.lose(written, item.at, "dns_sd_configs: MX records are not looked up, only SRV, A and AAAA");
    }
    if !others.is_empty() {
        let value = Tree { at: entry.value.at, kind: Kind::Sequence(others) };
        carrier.entry(written, owner, &Entry { key: entry.key.clone(), at: entry.at, value }, &SCRAPE);
    }
}

/// Prometheus takes credentials that are none: then it sends no header.
fn authorization(carrier: &Carrier<'_>, written: &mut Written, owner: &str, entry: &Entry, below: &[Entry]) {
    let is_set = |entry: &Entry| {
        entry.key.starts_with("credentials") && single(&entry.value).is_some_and(|text| !text.is_empty())
    };
    if below.iter().any(is_set) {
        carrier.entry(written, owner, entry, &SCRAPE);
    }
}

/// A configuration that serves what is scraped, for where Prometheus stored it itself.
pub(super) fn expose(at: Pos) -> Written {
    let mut written = Written::default();
    written.word("name", at, "everything");
    written.section("expose", at, one("listen", at, "127.0.0.1:9699".to_owned()));
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_labels_have_variables_as_prometheus_3_reads_them() {
        let cases = [
            ("eu", Some("eu")),
            ("$REGION-1", Some("${REGION:-}-1")),
            ("a${REGION}b", Some("a${REGION:-}b")),
            ("a$$b", Some("a$b")),
            ("100$", Some("100$")),
            ("$${REGION}", None),
            ("$$${REGION}", None),
            ("$$$REGION", None),
            ("eu-$-1", None),
            ("${1}", None),
            ("${", None),
            ("é$É", Some("é$É")),
        ];
        for (text, expected) in cases {
            assert_eq!(expanded(text).as_deref(), expected, "{text}");
        }
    }
}
