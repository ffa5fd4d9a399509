//! `outputs.http` with `data_format = "splunkmetric"`: Splunk's HTTP Event Collector.

use super::agent::{HOUR, within};
use super::connection::{HARMLESS, NO_CLIENT, Secrets, client_tls, plain_headers, split_word};
use super::endpoint::Endpoint;
use super::filter::Rules;
use super::output::{Output, Written};
use super::plan::Profile;
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

const LOST: [(&str, &str); 6] = [
    ("non_retryable_statuscodes", "which answers are final follows from what Splunk says; see docs/splunk.md"),
    ("splunkmetric_omit_event_tag", "events always say that they are metrics"),
    ("username", "a collector knows tokens only"),
    ("password", "a collector knows tokens only"),
    ("aws_service", "requests are not signed"),
    ("google_application_credentials", "a collector knows tokens only"),
];

/// Paths of a collector's own, which need not be said.
const PATHS: [&str; 4] = ["", "/services/collector", "/services/collector/event", "/services/collector/event/1.0"];

/// `profile` is that of its samples, where all are alike.
pub(super) fn write(output: &Output<'_>, profile: Option<&Profile>, name: &str) -> Option<Written> {
    let options = &output.options;
    let url = options.text("url");
    let endpoint = match url.as_ref().map(|url| Endpoint::read(&url.value, &url.place)) {
        Some(Ok(endpoint)) => endpoint,
        wrong => {
            let place = url.as_ref().map_or(&options.place, |url| &url.place);
            let why = wrong.and_then(Result::err).unwrap_or("it is missing");
            options.lose(place, format!("url: {why}; this output is left out"));
            return None;
        }
    };
    let place = url.map_or_else(|| options.place.clone(), |url| url.place);
    if endpoint.has_query() || endpoint.user.is_some() {
        options.lose(&place, "url: user, password and query are left out");
    }
    let path = endpoint.path.fixed().map(|path| path.trim_end_matches('/'));
    if !path.is_some_and(|path| PATHS.contains(&path)) {
        options
            .lose(&place, "url: events go to /services/collector/event below a collector's address; look at the path");
    }
    let mut map = Map::default();
    map.add("urls", Node::texts([&endpoint.origin()]));
    let secrets = Secrets { options, owner: name };
    let (headers, authorization) = secrets.headers("headers");
    let token = match authorization {
        Some(value) => secrets.safe(&split_word(&value).1, "headers: Authorization", "TOKEN", Some("token_file")),
        None => {
            options.lose(&options.place, "headers: there is no Authorization; a collector wants a token");
            Text::variable("SPLUNK_TOKEN")
        }
    };
    map.add("token", Node::text(&token));
    map.add("host", Node::verbatim("{{host}}"));
    map.add("multi_metric", Node::word(options.is_on("splunkmetric_multimetric")));
    if let Some(routing) = options.switch("splunkmetric_hec_routing").filter(|routing| !routing.value) {
        options.lose(&routing.place, "splunkmetric_hec_routing: events always have the collector's form");
    }
    options.tell(&mut map);
    map.add_map("tls_config", client_tls(options));
    map.add_map("headers", plain_headers(&headers));
    if let Some((taken, length)) = options.duration("timeout") {
        map.add_some("timeout", within(options, "timeout", taken, length, HOUR));
    }
    if options.fixed("content_encoding").is_none_or(|encoding| encoding.value != "gzip") {
        map.add("gzip", Node::word(false));
    }
    options.ignore(&["data_format", "method", "use_batch_format", "response_timeout", "region"]);
    options.ignore(&HARMLESS);
    let reasons: Vec<_> = LOST.iter().chain(&NO_CLIENT).copied().collect();
    options.lose_rest("outputs.http", &reasons);
    let rules = rules(output, profile);
    options.tell(&mut map);
    Some(Written { key: "splunk_hec", section: map, rules, place: None, has_queue: true })
}

/// Telegraf calls a metric by measurement and field, and takes the tag `host` out of the dimensions.
fn rules(output: &Output<'_>, profile: Option<&Profile>) -> Rules {
    let mut rules = Rules::default();
    match profile {
        Some(profile) if profile.version == 2 => {
            let name = profile.measurement.replace('$', "$$");
            rules.add(&[
                ("source_labels", "[__name__]"),
                ("target_label", "__name__"),
                ("replacement", &format!("{name}.$1")),
            ]);
        }
        _ => {
            let place = &output.options.place;
            let text = "splunkmetric: with metric_version = 1 Telegraf calls a metric NAME.counter or NAME.gauge; here it is NAME";
            output.options.lose(place, text);
        }
    }
    rules.add(&[("action", "labeldrop"), ("regex", "host")]);
    rules
}
