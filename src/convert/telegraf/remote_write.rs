//! `outputs.http` with `data_format = "prometheusremotewrite"`.

use super::agent::{HOUR, within};
use super::connection::{HARMLESS, NO_CLIENT, Secrets, client_tls, plain_headers};
use super::endpoint::Endpoint;
use super::filter::Rules;
use super::options::Taken;
use super::output::{Output, Written};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

const LOST: [(&str, &str); 3] = [
    ("non_retryable_statuscodes", "which answers are final follows from the specification"),
    ("aws_service", "requests are not signed; put a signing proxy, such as aws-sigv4-proxy, between"),
    ("google_application_credentials", "use authorization"),
];

pub(super) fn write(output: &Output<'_>, name: &str) -> Option<Written> {
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
    let mut map = Map::default();
    let secrets = Secrets { options, owner: name };
    let address = match (endpoint.has_secret(), endpoint.has_query()) {
        (true, _) => {
            let whole = Taken { value: endpoint.tag(), place: endpoint.place.clone() };
            secrets.safe(&whole, "url: a parameter", "URL", None)
        }
        (false, true) => endpoint.tag(),
        (false, false) => endpoint.base(),
    };
    map.add("url", Node::text(&address));
    if let Some((taken, length)) = options.duration("timeout") {
        map.add_some("remote_timeout", within(options, "timeout", taken, length, HOUR));
    }
    options.tell(&mut map);
    map.add_map("tls_config", client_tls(options));
    let (headers, authorization) = secrets.headers("headers");
    let (user, password) = (options.text("username"), options.text("password"));
    let here = |value: &Text| Taken { value: value.clone(), place: endpoint.place.clone() };
    if let Some(value) = authorization {
        map.add_some("authorization", secrets.header_credentials(&value).map(Node::Map));
    } else if let Some(basic) = secrets.basic(user.as_ref(), password.as_ref()) {
        map.add("basic_auth", Node::Map(basic));
    } else if let Some((user, password)) = &endpoint.user {
        let password = password.as_ref().map(here);
        map.add_some("basic_auth", secrets.basic(Some(&here(user)), password.as_ref()).map(Node::Map));
    }
    map.add_map("headers", plain_headers(&headers));
    options.ignore(&["data_format", "method", "use_batch_format", "response_timeout", "content_encoding", "region"]);
    options.ignore(&["prometheus_string_as_label", "prometheus_sort_metrics"]);
    options.ignore(&HARMLESS);
    let reasons: Vec<_> = LOST.iter().chain(&NO_CLIENT).copied().collect();
    options.lose_rest("outputs.http", &reasons);
    options.tell(&mut map);
    Some(Written { key: "remote_write", section: map, rules: Rules::default(), place: None, has_queue: true })
}
