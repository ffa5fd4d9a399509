//! The index template of ours: what is in it, and whether it may be installed over what is there.
//!
//! The templates are the files that docs/elasticsearch.md shows, with the names, times and options of the configuration.

use serde_json::{Value as Json, json};

use super::index::IndexName;
use super::plan::name_hash;
use super::receiver::Product;
use super::shapes::COUNTER;
use crate::config::checked::{DocumentShape, Elasticsearch as Settings, Lifecycle};
use crate::net::text::escaped;

/// It rises whenever a template in docs/ changes: a newer program updates what an older one made, and never the other way.
pub(super) const VERSION: u64 = 1;

/// Who made a template, as `_meta.managed_by` of it says.
const MAKER: &str = "promferry";

/// Seconds that a time series data stream looks back at most.
pub(super) const LOOK_BACK_MAX_S: u64 = 7 * 86_400;

/// Seconds that it looks back where nothing is said.
pub(super) const LOOK_BACK_DEFAULT_S: u64 = 2 * 3600;

const TIME_SERIES: &str = include_str!("../../../docs/elasticsearch-template.json");
const TELEGRAF: &str = include_str!("../../../docs/elasticsearch-telegraf-template.json");
const METRICBEAT: &str = include_str!("../../../docs/elasticsearch-metricbeat-template.json");

/// A template, and what of the configuration is not in it because the receiver has no such thing.
#[derive(Debug)]
pub(super) struct Template {
    /// Its name.
    pub name: String,
    /// As `PUT /_index_template/NAME` takes it.
    pub body: Json,
    /// A sentence for each thing that is left out.
    pub left_out: Vec<String>,
}

/// The template for these settings.
///
/// # Errors
/// When the receiver is too old for it; one sentence.
pub(super) fn template(settings: &Settings, product: Option<Product>) -> Result<Template, String> {
    let is_time_series = settings.shape == DocumentShape::TimeSeries;
    let is_opensearch = matches!(product, Some(Product::OpenSearch(_)));
    if let Some(Product::Elasticsearch((major, minor))) = product
        && is_time_series
        && !product.is_some_and(Product::has_passthrough)
    {
        return Err(format!(
            "the index template of shape timeseries needs Elasticsearch 8.13, and this is {major}.{minor}; it is not \
             installed"
        ));
    }
    let text = match settings.shape {
        DocumentShape::TimeSeries => TIME_SERIES,
        DocumentShape::Telegraf | DocumentShape::TelegrafV1 => TELEGRAF,
        DocumentShape::Metricbeat => METRICBEAT,
    };
    // A test reads all of them.
    let mut body: Json = serde_json::from_str(text).unwrap_or_default();
    let pattern = IndexName::new(&settings.index).pattern();
    body["index_patterns"] = json!([pattern]);
    if settings.is_data_stream() {
        let is_routed = settings.routing.is_some() && !is_time_series;
        body["data_stream"] = if is_routed { json!({"allow_custom_routing": true}) } else { json!({}) };
    }
    let options = &mut body["template"]["settings"];
    if is_time_series {
        let look_back_s = settings.max_age.as_secs().clamp(LOOK_BACK_DEFAULT_S, LOOK_BACK_MAX_S);
        options["index.look_back_time"] = json!(time(look_back_s));
    }
    let mut left_out = Vec::new();
    match &settings.lifecycle {
        Lifecycle::None => {}
        _ if is_opensearch => left_out.push(
            "lifecycle is left out: OpenSearch has no such thing; attach an ISM policy to the index pattern".to_owned(),
        ),
        Lifecycle::Retention(age) => {
            body["template"]["lifecycle"] = json!({"data_retention": time(age.as_secs())});
        }
        Lifecycle::Policy(policy) => options["index.lifecycle.name"] = json!(policy),
    }
    if is_opensearch {
        for_opensearch(&mut body, product.is_some_and(Product::has_disable_objects));
    }
    let digest = format!("{:016x}", name_hash(body.to_string().as_bytes()));
    body["_meta"] = json!({"managed_by": MAKER, "version": VERSION, "digest": digest});
    Ok(Template { name: name(&pattern), body, left_out })
}

/// `promferry-metrics-default` for `metrics-default*`.
fn name(pattern: &str) -> String {
    format!("{MAKER}-{}", pattern.trim_end_matches(['*', '-', '.', '_']))
}

/// Seconds as Elasticsearch writes them, in the largest unit without a rest.
fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

/// OpenSearch has no time series, no passthrough objects, and another word for names with dots that mean no objects.
fn for_opensearch(body: &mut Json, has_disable_objects: bool) {
    if let Some(options) = body["template"]["settings"].as_object_mut() {
        options.retain(|name, _| name != "index.mode" && name != "index.look_back_time");
    }
    let mappings = &mut body["template"]["mappings"];
    if let Some(templates) = mappings["dynamic_templates"].as_array_mut() {
        templates.retain(|template| template.get(COUNTER).is_none());
    }
    simplify(mappings, has_disable_objects);
}

fn simplify(node: &mut Json, has_disable_objects: bool) {
    for item in node.as_array_mut().into_iter().flatten() {
        simplify(item, has_disable_objects);
    }
    let Some(fields) = node.as_object_mut() else { return };
    let is_flat = fields.get("type").is_some_and(|kind| kind == "passthrough") || fields.contains_key("subobjects");
    if is_flat && has_disable_objects {
        fields.insert("disable_objects".to_owned(), json!(true));
    }
    let foreign = ["subobjects", "time_series_dimension", "time_series_metric", "priority"];
    fields.retain(|name, value| !foreign.contains(&name.as_str()) || value.is_object());
    if fields.get("type").is_some_and(|kind| kind == "passthrough") {
        fields.insert("type".to_owned(), json!("object"));
    }
    fields.values_mut().for_each(|value| simplify(value, has_disable_objects));
}

/// What is to be done about a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is none.
    Create,
    /// What is there is ours, and made by other settings or by an older version.
    Update,
    /// What is there is what it should be, or made by a newer version.
    Keep,
    /// What is there is not ours. One sentence.
    LeaveAlone(String),
}

/// Decides by the answer to `GET /_index_template/NAME`, or by that there is none.
pub(super) fn decide(wanted: &Template, found: Option<&Json>) -> Decision {
    let Some(found) = found else { return Decision::Create };
    let meta = &found["index_templates"][0]["index_template"]["_meta"];
    if meta["managed_by"] != MAKER {
        return Decision::LeaveAlone(format!(
            "the index template {} was not made by promferry (its _meta.managed_by says so) and is left alone; rename it, or \
             set manage_template: false",
            escaped(&wanted.name)
        ));
    }
    let is_newer = meta["version"].as_u64().is_some_and(|version| version > VERSION);
    if is_newer || meta["digest"] == wanted.body["_meta"]["digest"] { Decision::Keep } else { Decision::Update }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::elasticsearch::tests::settings;

    fn made(adjust: impl FnOnce(&mut Settings), product: Option<Product>) -> Template {
        let mut settings = settings();
        adjust(&mut settings);
        template(&settings, product).unwrap()
    }

    #[test]
    fn what_is_installed_is_what_the_manual_shows() {
        for (shape, text) in [
            (DocumentShape::TimeSeries, TIME_SERIES),
            (DocumentShape::Telegraf, TELEGRAF),
            (DocumentShape::TelegrafV1, TELEGRAF),
            (DocumentShape::Metricbeat, METRICBEAT),
        ] {
            let mut shown: Json = serde_json::from_str(text).unwrap();
            let index = if shape == DocumentShape::TimeSeries { "metrics-promferry-default" } else { "m-%Y.%m.%d" };
            let mut made = made(|settings| (settings.shape, settings.index) = (shape, index.to_owned()), None).body;
            for body in [&mut shown, &mut made] {
                body.as_object_mut().unwrap().retain(|key, _| key != "_meta" && key != "index_patterns");
            }
            assert_eq!(made, shown, "{shape:?}");
            assert_eq!(made["priority"], 500);
        }
    }

    #[test]
    fn it_is_made_for_the_configuration() {
        let template = made(
            |settings| {
                settings.index = "metrics-{{deployment}}-x".to_owned();
                settings.max_age = Duration::from_secs(26 * 3600);
                settings.lifecycle = Lifecycle::Retention(Duration::from_secs(30 * 86_400));
            },
            Some(Product::Elasticsearch((9, 5))),
        );
        assert_eq!(template.name, "promferry-metrics");
        assert_eq!(template.body["index_patterns"], json!(["metrics-*"]));
        assert_eq!(template.body["template"]["settings"]["index.look_back_time"], "26h");
        assert_eq!(template.body["template"]["lifecycle"]["data_retention"], "30d");
        let long = made(|settings| settings.max_age = Duration::from_secs(30 * 86_400), None);
        assert_eq!(long.body["template"]["settings"]["index.look_back_time"], "7d");
        let policy = made(|settings| settings.lifecycle = Lifecycle::Policy("hot".to_owned()), None);
        assert_eq!(policy.body["template"]["settings"]["index.lifecycle.name"], "hot");
    }

    #[test]
    fn the_receiver_has_to_know_what_is_in_it() {
        let old = template(&settings(), Some(Product::Elasticsearch((8, 12)))).unwrap_err();
        assert!(old.contains("needs Elasticsearch 8.13, and this is 8.12"), "{old}");
        let mappings = |product| made(|_| {}, Some(product)).body["template"]["mappings"].take();
        let flat = mappings(Product::OpenSearch((3, 5)));
        assert_eq!(flat["properties"]["metrics"]["disable_objects"], true);
        assert!(mappings(Product::OpenSearch((2, 19)))["properties"]["metrics"].get("disable_objects").is_none());
        let text = flat.to_string();
        for foreign in ["time_series", "passthrough", "look_back", "subobjects", "promferry_counter"] {
            assert!(!text.contains(foreign), "{foreign}: {text}");
        }
    }

    #[test]
    fn only_what_is_ours_and_not_newer_is_replaced() {
        let wanted = made(|_| {}, None);
        let found = |meta: Json| json!({"index_templates": [{"index_template": {"_meta": meta}}]});
        let decide = |meta: Json| decide(&wanted, Some(&found(meta)));
        assert_eq!(super::decide(&wanted, None), Decision::Create);
        assert_eq!(decide(wanted.body["_meta"].clone()), Decision::Keep);
        assert_eq!(decide(json!({"managed_by": "promferry", "version": 1, "digest": "other"})), Decision::Update);
        assert_eq!(decide(json!({"managed_by": "promferry", "version": 99, "digest": "other"})), Decision::Keep);
        for foreign in [Json::Null, json!({"managed_by": "somebody"}), json!({"managed_by": ["promferry"]})] {
            assert!(matches!(decide(foreign), Decision::LeaveAlone(_)));
        }
    }
}
