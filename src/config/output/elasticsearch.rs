//! `outputs[].elasticsearch`.

use std::time::Duration;

use super::super::checked::{Auth, BulkAction, DocumentShape, Elasticsearch, HttpOutput, Lifecycle, TelegrafTags};
use super::super::fields::Fields;
use super::super::http::{auth, plain_headers, secret, token};
use super::super::tls::client_tls;
use super::urls;

/// The section. How long its documents may wait is the queue's matter, and filled in by whoever reads that.
pub(super) fn elasticsearch(fields: &Fields<'_>) -> Elasticsearch {
    let shapes = [
        ("timeseries", DocumentShape::TimeSeries),
        ("telegraf", DocumentShape::Telegraf),
        ("telegraf_v1", DocumentShape::TelegrafV1),
        ("metricbeat", DocumentShape::Metricbeat),
    ];
    let actions = [("create", BulkAction::Create), ("index", BulkAction::Index)];
    let shape = fields.choice("shape", &shapes).unwrap_or(DocumentShape::TimeSeries);
    let elasticsearch = Elasticsearch {
        http: HttpOutput {
            urls: urls(fields),
            tls: client_tls(fields),
            auth: credentials(fields),
            headers: plain_headers(fields),
            timeout: fields.duration("timeout"),
            gzip: fields.switch("gzip"),
        },
        index: fields.read_optional("index", index_name).unwrap_or_default(),
        max_indexes: fields.count("max_indexes"),
        action: fields.choice("action", &actions).unwrap_or(BulkAction::Create),
        shape,
        telegraf: telegraf_tags(fields, shape),
        has_ids: fields.choice("ids", &[("auto", true), ("none", false)]).unwrap_or(true),
        pipeline: fields.read_optional("pipeline", not_empty),
        routing: fields.read_optional("routing", routing),
        require_data_stream: fields.switch("require_data_stream"),
        manages_template: fields.switch("manage_template"),
        lifecycle: lifecycle(fields),
        max_age: Duration::ZERO,
    };
    if elasticsearch.manages_template {
        check_template(fields, &elasticsearch);
    } else if fields.has("lifecycle") {
        fields.note("lifecycle", "is a part of the index template, which manage_template: true would install");
    }
    elasticsearch
}

fn telegraf_tags(fields: &Fields<'_>, shape: DocumentShape) -> TelegrafTags {
    let is_telegraf = matches!(shape, DocumentShape::Telegraf | DocumentShape::TelegrafV1);
    for key in ["add_host", "add_url"].iter().filter(|key| fields.has(key) && !is_telegraf) {
        fields.note(key, "of use only with the shapes telegraf and telegraf_v1; leave it out");
    }
    if fields.has("measurement") && shape != DocumentShape::Telegraf {
        fields.note("measurement", "of use only with the shape telegraf; leave it out");
    }
    TelegrafTags {
        measurement: fields.read_optional("measurement", not_empty).unwrap_or_default(),
        host: fields.switch("add_host"),
        url: fields.switch("add_url"),
    }
}

/// What does not go together with the template of ours.
fn check_template(fields: &Fields<'_>, elasticsearch: &Elasticsearch) {
    let is_time_series = elasticsearch.shape == DocumentShape::TimeSeries;
    if is_time_series && elasticsearch.action == BulkAction::Index {
        fields.note("action", "index is refused by the data stream that manage_template makes; leave it out");
    }
    if is_time_series && fields.has("routing") {
        fields.note(
            "routing",
            "is refused by the time series data stream that manage_template makes; labels decide there",
        );
    }
    if matches!(elasticsearch.lifecycle, Lifecycle::Retention(_)) && !elasticsearch.is_data_stream() {
        fields.note(
            "lifecycle",
            "data_retention needs a data stream, and index has parts of the time, or action is index; ilm_policy works there",
        );
    }
}

fn lifecycle(fields: &Fields<'_>) -> Lifecycle {
    let Some(fields) = fields.section("lifecycle") else { return Lifecycle::None };
    fields.at_most_one_of(&["data_retention", "ilm_policy"]);
    let policy = fields.read_optional("ilm_policy", not_empty).map(Lifecycle::Policy);
    policy.or(fields.optional_duration("data_retention").map(Lifecycle::Retention)).unwrap_or_default()
}

fn credentials(fields: &Fields<'_>) -> Auth {
    fields.at_most_one_of(&["basic_auth", "authorization", "api_key", "api_key_file"]);
    let other = auth(fields);
    match secret(fields, ["api_key", "api_key_file"], token) {
        Some(credentials) => Auth::Header { scheme: "ApiKey".to_owned(), credentials },
        None => other,
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err("is empty, or holds a control character".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn routing(text: &str) -> Result<String, String> {
    without_labels(text)?;
    not_empty(text)
}

/// The text without its `{{label}}`s.
fn without_labels(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((label, behind)) = behind.split_once("}}") else {
            return Err("has a {{ without its }}".to_owned());
        };
        if label.trim().is_empty() || label.contains(['{', '}']) {
            return Err("has braces without a label's name, such as {{deployment}}, between them".to_owned());
        }
        rest = behind;
    }
    if rest.contains("}}") {
        return Err("has a }} without its {{".to_owned());
    }
    out.push_str(rest);
    Ok(out)
}

/// Parts of the sample's time that an index name may hold.
const DATE_PARTS: &str = "YymdHV";

/// Bytes of an index name in Elasticsearch, at most; a part of the time is at most 4.
const INDEX_BYTES_MAX: usize = 255;

/// An index template: a prefix of its own, then anything that Elasticsearch takes in a name.
///
/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create>, "Path parameters".
fn index_name(text: &str) -> Result<String, String> {
    let plain = without_labels(text)?;
    let prefix = text.split(['%', '{']).next().unwrap_or("");
    if prefix.is_empty() {
        return Err("does not begin with a text of its own, such as \"metrics-%Y.%m.%d\"".to_owned());
    }
    if plain.split('%').skip(1).any(|part| !part.starts_with(|c| DATE_PARTS.contains(c))) {
        return Err("has a % that is not one of %Y %y %m %d %H %V".to_owned());
    }
    let literal: String =
        plain.split('%').enumerate().map(|(i, part)| if i == 0 { part } else { &part[1..] }).collect();
    if literal.chars().any(char::is_uppercase) {
        return Err("has a capital letter; names of indices are lowercase".to_owned());
    }
    if literal.chars().any(|c| c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:".contains(c)) {
        return Err(r#"has a character that Elasticsearch refuses: a blank or one of \ / * ? " < > | , # :"#.to_owned());
    }
    if text.starts_with(['-', '_', '+']) || text == "." || text == ".." {
        return Err("begins with -, _ or +, or is only dots; Elasticsearch refuses such names".to_owned());
    }
    if plain.len() + 2 * plain.matches('%').count() > INDEX_BYTES_MAX {
        return Err(format!("is longer than {INDEX_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}
