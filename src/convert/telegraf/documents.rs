//! `outputs.elasticsearch` and `outputs.opensearch`.

use super::agent::{HOUR, within};
use super::connection::{HARMLESS, NO_CLIENT, Secrets, client_tls, plain_headers, split_word};
use super::endpoint::{Endpoint, is_variable};
use super::filter::Rules;
use super::options::{Options, Taken};
use super::output::{Output, Written};
use super::plan::{Plan, Profile};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

const LOST: [(&str, &str); 4] = [
    ("default_pipeline", "there is one pipeline for all documents"),
    ("default_tag_value", "a label that is missing is empty in an index' name"),
    ("template_index_settings", "manage_template makes a template of its own"),
    ("enable_sniffer", "write all nodes that are to be used under urls"),
];

const NO_REPLACEMENT: &str = "NaN and infinities are left out and counted as skipped, never replaced";

/// Bytes of an index' name that is looked at, at most.
const INDEX_BYTES_MAX: usize = 1024;

pub(super) fn write(output: &Output<'_>, plan: &Plan, profile: &Profile, name: &str) -> Option<Written> {
    let options = &output.options;
    let mut map = Map::default();
    let (urls, user) = urls(options);
    if urls.is_empty() {
        options.lose(&options.place, format!("outputs.{}: it names no URL that could be carried over", output.plugin));
        return None;
    }
    map.add("urls", Node::texts(&urls));
    index(output, plan, &mut map);
    map.add("shape", Node::word(profile.shape()));
    if profile.version == 2 && profile.measurement != "prometheus" {
        map.add("measurement", Node::verbatim(&profile.measurement));
    }
    let adds = [("host", plan.adds_host || plan.external_host.is_some()), ("url", plan.adds_url)];
    for (tag, adds) in adds {
        if !adds || !output.filter.keeps_tag(tag) {
            map.add(format!("add_{tag}"), Node::word(false));
        }
    }
    template(options, &mut map);
    if let Some(pipeline) = options.text("use_pipeline") {
        match pipeline.value.opaque().is_some_and(|text| text.contains("{{")) {
            true => options.lose(&pipeline.place, "use_pipeline: there is one pipeline for all documents"),
            false => map.add("pipeline", Node::text(&pipeline.value)),
        }
    }
    options.tell(&mut map);
    map.add_map("tls_config", client_tls(options));
    credentials(output, name, user, &mut map);
    options.tell(&mut map);
    if let Some((taken, length)) = options.duration("timeout") {
        map.add_some("timeout", within(options, "timeout", taken, length, HOUR));
    }
    if let Some(gzip) = options.switch("enable_gzip") {
        map.add("gzip", Node::word(gzip.value));
    }
    if let Some(float) = options.fixed("float_handling").filter(|float| float.value == "replace") {
        options.lose(&float.place, format!("float_handling: {NO_REPLACEMENT}"));
    }
    // Nodes are tried by sending to them, and what the default is already needs no key.
    options.ignore(&["health_check_interval", "health_check_timeout", "force_document_id", "use_optype_create"]);
    options.ignore(&[
        "data_format",
        "float_handling",
        "float_replacement_value",
        "template_name",
        "overwrite_template",
    ]);
    options.ignore(&HARMLESS);
    let reasons: Vec<_> = LOST.iter().chain(&NO_CLIENT).copied().collect();
    options.lose_rest(&format!("outputs.{}", output.plugin), &reasons);
    options.tell(&mut map);
    Some(Written { key: "elasticsearch", section: map, rules: Rules::default(), place: None, has_queue: true })
}

/// The nodes, and the credentials that stand in a URL.
fn urls(options: &Options<'_>) -> (Vec<Text>, Option<Endpoint>) {
    let (mut urls, mut user) = (Vec::new(), None);
    for url in options.texts("urls") {
        if is_variable(&url.value) {
            urls.push(url.value);
            continue;
        }
        match Endpoint::read(&url.value, &url.place) {
            Ok(endpoint) => {
                if endpoint.has_query() {
                    options.lose(&url.place, "urls: the query is left out");
                }
                urls.push(endpoint.base());
                match &user {
                    _ if endpoint.user.is_none() => {}
                    None => user = Some(endpoint),
                    Some(Endpoint { user: first, .. }) if *first == endpoint.user => {}
                    Some(_) => options.lose(&url.place, "urls: all nodes get the user and password of the first"),
                }
            }
            Err(why) => options.lose(&url.place, format!("urls: {why}")),
        }
    }
    (urls, user)
}

fn index(output: &Output<'_>, plan: &Plan, map: &mut Map) {
    let options = &output.options;
    let Some(name) = options.text("index_name") else {
        options.lose(&options.place, "index_name: is missing; index is given a name here");
        map.add("index", Node::verbatim("telegraf-%Y.%m.%d"));
        return;
    };
    let (mut text, has_variables) = name.value.resolved();
    if has_variables {
        options.lose(&name.place, "index_name: index has no variables; write the name itself");
    }
    if output.plugin == "opensearch" {
        text = go_template(options, &name, &text, plan);
    }
    let fixed = fitting(&text);
    if fixed != text {
        let text = "index_name: an index' name begins with a text of its own, in small letters, and has only %Y %y %m %d %H %V \
                    and {{tag}} in it; here it is another";
        options.lose(&name.place, text);
    }
    map.add("index", Node::verbatim(&fixed));
}

/// The name, if it is one, or the nearest that is.
fn fitting(name: &str) -> String {
    let mut out = String::new();
    let mut rest = &name[..name.floor_char_boundary(INDEX_BYTES_MAX.min(name.len()))];
    while let Some(c) = rest.chars().next() {
        let label = rest.strip_prefix("{{").and_then(|inside| inside.split_once("}}"));
        if let Some((label, after)) = label {
            let is_name = !label.trim().is_empty() && !label.contains(['{', '}']);
            out.push_str(&if is_name { format!("{{{{{label}}}}}") } else { String::new() });
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        let refused = c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:{}".contains(c);
        let is_lone_percent = c == '%' && !rest.starts_with(['Y', 'y', 'm', 'd', 'H', 'V']);
        match c {
            '%' if !is_lone_percent => {
                out.push('%');
                out.extend(rest.chars().next());
                rest = &rest[1..];
            }
            _ if refused || is_lone_percent => out.push('_'),
            _ => out.extend(c.to_lowercase()),
        }
    }
    let begins_well = !out.is_empty() && !out.starts_with(['%', '{', '-', '_', '+', '.']);
    let out = if begins_well { out } else { format!("telegraf-{out}") };
    // 255 bytes, of which a part of the time takes 2 more than its letters.
    if out.len() + 2 * out.matches('%').count() > 255 { "telegraf-%Y.%m.%d".to_owned() } else { out }
}

/// `{{.Time.Format "2006-01-02"}}` and `{{.Tag "host"}}` in our words.
fn go_template(options: &Options<'_>, name: &Taken<Text>, text: &str, plan: &Plan) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((action, after)) = behind.split_once("}}") else {
            rest = behind;
            continue;
        };
        rest = after;
        let action = action.trim().trim_matches('-').trim().replace('`', "\"").replace("\\\"", "\"");
        let argument = |word: &str| action.strip_prefix(word)?.trim().strip_prefix('"')?.strip_suffix('"');
        let one_measurement = match plan.profiles.as_slice() {
            [only] if only.version == 2 => Some(only.measurement.as_str()),
            _ => None,
        };
        let ours = match (argument(".Tag"), argument(".Time.Format"), action.as_str()) {
            (Some(tag), ..) => Some(format!("{{{{{tag}}}}}")),
            (_, Some(layout), _) => time_layout(layout),
            (.., ".Name") => one_measurement.map(str::to_owned),
            _ => None,
        };
        match ours {
            Some(ours) => out.push_str(&ours),
            None => options.lose(&name.place, "index_name: a part of the template has no counterpart and is left out"),
        }
    }
    out + rest
}

/// Go's layout of a time as `%Y` and so on.
fn time_layout(layout: &str) -> Option<String> {
    let parts = [("2006", "%Y"), ("06", "%y"), ("01", "%m"), ("02", "%d"), ("15", "%H")];
    let (mut out, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        match parts.iter().find(|(part, _)| rest.starts_with(part)) {
            Some((part, ours)) => {
                out.push_str(ours);
                rest = &rest[part.len()..];
            }
            None if "-._".contains(c) => {
                out.push(c);
                rest = &rest[1..];
            }
            None => return None,
        }
    }
    Some(out)
}

fn template(options: &Options<'_>, map: &mut Map) {
    if !options.is_on("manage_template") {
        // Neither counts then, in Telegraf either.
        options.ignore(&["template_index_settings"]);
        return;
    }
    map.add("manage_template", Node::word(true));
    let place = options.entry("manage_template").map_or(&options.place, |entry| &entry.place);
    let text = "manage_template: the template is promferry's, named after the index, and keeps values as double; one that Telegraf \
                made stays where it is";
    options.lose(place, text);
}

fn credentials(output: &Output<'_>, name: &str, in_url: Option<Endpoint>, map: &mut Map) {
    let options = &output.options;
    let secrets = Secrets { options, owner: name };
    let (headers, authorization) = secrets.headers("headers");
    let (user, password) = (options.text("username"), options.text("password"));
    if let Some(token) = options.text("auth_bearer_token") {
        map.add("authorization", Node::Map(secrets.authorization("Bearer", &token)));
    } else if let Some(value) = authorization {
        match split_word(&value) {
            ("ApiKey", key) => {
                let key = secrets.safe(&key, "headers: Authorization", "API_KEY", Some("api_key_file"));
                map.add("api_key", Node::text(&key));
            }
            _ => {
                map.add_some("authorization", secrets.header_credentials(&value).map(Node::Map));
            }
        }
    } else if let Some(basic) = secrets.basic(user.as_ref(), password.as_ref()) {
        map.add("basic_auth", Node::Map(basic));
    } else if let Some(Endpoint { user: Some((user, password)), place, .. }) = in_url {
        let here = |value: Text| Taken { value, place: place.clone() };
        let password = password.map(here);
        map.add_some("basic_auth", secrets.basic(Some(&here(user)), password.as_ref()).map(Node::Map));
    }
    map.add_map("headers", plain_headers(&headers));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indices_fit() {
        let cases = [
            ("my-computer-metric-%Y.%m.%d", "my-computer-metric-%Y.%m.%d"),
            ("m-{{host}}-%V", "m-{{host}}-%V"),
            ("{{host}}", "telegraf-{{host}}"),
            ("Metrics %q", "metrics__q"),
            ("%Y", "telegraf-%Y"),
            ("", "telegraf-"),
            ("a{{}}b", "ab"),
        ];
        for (name, expected) in cases {
            assert_eq!(fitting(name), expected, "{name}");
        }
        assert_eq!(time_layout("2006-01-02").as_deref(), Some("%Y-%m-%d"));
        assert_eq!(time_layout("Jan"), None);
    }
}
