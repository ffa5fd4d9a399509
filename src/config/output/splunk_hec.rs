//! `outputs[].splunk_hec`.

use super::urls;
use crate::config::checked::{Auth, HttpOutput, SplunkHec, Template};
use crate::config::fields::Fields;
use crate::config::http::{plain_headers, secret, token};
use crate::config::problem::quoted;
use crate::config::tls::client_tls;
use crate::config::values::Complaint;
use crate::net::Url;
use crate::net::credentials::Secret;

/// Bytes of an index' name, at most. (Splunk, "Managing Indexers": "Create custom indexes".)
const INDEX_BYTES_MAX: usize = 80;

/// Values that a template for `index` may come to, at most.
const ALLOWED_INDEXES_MAX: usize = 1000;

pub fn splunk_hec(fields: &Fields<'_>) -> SplunkHec {
    let headers = plain_headers(fields);
    if headers.iter().any(|(name, _)| name == "x-splunk-request-channel") {
        fields.note("headers", "the channel cannot be set: each process makes one of its own");
    }
    let (index, allowed_indexes) = index(fields);
    let text = |name| fields.read_optional(name, envelope_template).unwrap_or_default();
    SplunkHec {
        http: HttpOutput {
            urls: collectors(fields),
            tls: client_tls(fields),
            auth: Auth::Header { scheme: "Splunk".to_owned(), credentials: hec_token(fields) },
            headers,
            timeout: fields.duration("timeout"),
            gzip: fields.switch("gzip"),
        },
        index,
        allowed_indexes,
        sourcetype: text("sourcetype"),
        source: text("source"),
        host: text("host"),
        multi_metric: fields.switch("multi_metric"),
        rename_reserved: fields.switch("rename_reserved"),
        ack_timeout: ack_timeout(fields),
    }
}

fn ack_timeout(fields: &Fields<'_>) -> Option<std::time::Duration> {
    let (is_wanted, timeout) = (fields.switch("ack"), fields.duration("ack_timeout"));
    if fields.has("ack_timeout") && !is_wanted {
        fields.note("ack_timeout", "of no use without ack: true");
    }
    is_wanted.then_some(timeout)
}

fn hec_token(fields: &Fields<'_>) -> Secret {
    let check = |text: &str| match text.split_once(' ') {
        Some((word, _)) if word.eq_ignore_ascii_case("splunk") => {
            Err("begins with the word of the header; write the token alone".to_owned())
        }
        _ => token(text),
    };
    let secret = secret(fields, ["token", "token_file"], check);
    if !fields.has("token") && !fields.has("token_file") {
        fields.missing("token");
    }
    secret.unwrap_or(Secret::Inline(String::new()))
}

/// The addresses without the collector's own path, which people paste along.
fn collectors(fields: &Fields<'_>) -> Vec<Url> {
    let placed = fields.texts("urls");
    for url in placed.iter().filter(|url| !url.text.contains(['?', '#', '@'])) {
        let other = [("raw", "text"), ("ack", "acknowledgements"), ("health", "its health")];
        let found = other.iter().find(|(path, _)| url.text.contains(&format!("/services/collector/{path}")));
        if let Some((_, what)) = found {
            let message =
                format!("urls: {} is a collector's address for {what}; leave the path out", quoted(&url.text));
            fields.note_at(url.at, message);
        }
    }
    let stripped = urls(fields).into_iter().map(|url| {
        let path = without_event_path(&url.path_and_query);
        Url { path_and_query: if path.is_empty() { "/".to_owned() } else { path.to_owned() }, ..url }
    });
    stripped.collect()
}

fn without_event_path(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let endings = ["/services/collector", "/services/collector/event", "/services/collector/event/1.0"];
    endings.iter().find_map(|ending| path.strip_suffix(ending)).unwrap_or(path)
}

fn index(fields: &Fields<'_>) -> (Template, Vec<String>) {
    let index = fields.read_optional("index", |text| {
        let template = Template::new(text)?;
        if let Some(name) = template.fixed() {
            index_name(name)?;
        }
        Ok(template)
    });
    let is_given = fields.has("allowed_indexes");
    fields.refuse_empty_list("allowed_indexes");
    let mut allowed = Vec::new();
    for placed in fields.texts("allowed_indexes") {
        match index_name(&placed.text) {
            Ok(()) => allowed.push(placed.text),
            Err(complaint) => {
                fields.note_at(placed.at, format!("allowed_indexes: {} {complaint}", quoted(&placed.text)))
            }
        }
    }
    if allowed.len() > ALLOWED_INDEXES_MAX {
        fields.note("allowed_indexes", format!("more than {ALLOWED_INDEXES_MAX} names"));
    }
    match &index {
        Some(template) if template.fixed().is_none() && !is_given => fields.note(
            "index",
            "a template needs \"allowed_indexes\": a label's value comes from outside, and is not to choose any index",
        ),
        Some(template) if template.fixed().is_some() && is_given => {
            fields.note("allowed_indexes", "of no use: \"index\" is no template");
        }
        None if is_given && !fields.has("index") => {
            fields.note("allowed_indexes", "of no use without a template as \"index\"");
        }
        _ => {}
    }
    (index.unwrap_or_default(), allowed)
}

/// User-defined names have lowercase letters, digits, `_` and `-`, and begin with none of the latter two; Splunk's own
/// begin with `_`.
fn index_name(name: &str) -> Result<(), Complaint> {
    let is_made_of_them = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    match name {
        "" => Err("is empty; leave it out for the token's index".to_owned()),
        _ if !is_made_of_them || name.starts_with('-') => {
            Err("is not the name of an index: those have lowercase letters, digits, _ and -".to_owned())
        }
        _ if name.len() > INDEX_BYTES_MAX => Err(format!("is longer than {INDEX_BYTES_MAX} bytes")),
        _ => Ok(()),
    }
}

fn envelope_template(text: &str) -> Result<Template, Complaint> {
    match text.chars().any(char::is_control) {
        true => Err("holds a control character".to_owned()),
        false => Template::new(text),
    }
}
