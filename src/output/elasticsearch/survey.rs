//! What documents will meet: the index or data stream, or the template that would make it, and what is missing there.
//!
//! It is read from answers of the receiver, which may refuse to tell: then nothing is known, and nothing is complained of.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::receiver::{Known, Product};
use super::shapes::{COUNTER, GAUGE};
use super::template::{LOOK_BACK_DEFAULT_S, LOOK_BACK_MAX_S};
use crate::config::checked::{DocumentShape, Elasticsearch as Settings};
use crate::net::text::{escaped, prometheus_duration};

/// Fields of an index where its settings do not say otherwise.
const FIELDS_DEFAULT: u64 = 1000;

/// Fields that an index should have room for.
const FIELDS_WANTED: u64 = 10_000;

/// What an index is, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether it takes time series.
    pub is_time_series: bool,
    /// Whether it is behind a data stream; a template alone does not tell.
    pub is_data_stream: bool,
    /// Seconds before its making that it takes documents of.
    pub look_back_s: u64,
    /// The oldest document that it takes, in milliseconds since 1970, where it exists and has such a bound.
    pub oldest_ms: Option<i64>,
    /// Fields that it has room for.
    pub fields_max: u64,
    /// Whether new values are kept as 64-bit floats.
    pub maps_double: bool,
    /// Whether it has our dynamic templates.
    pub has_templates: bool,
}

impl Facts {
    /// Reads the answer to `POST /_index_template/_simulate_index/NAME`; `None` where no template matches.
    pub(super) fn of_template(answer: &Json) -> Option<Self> {
        let template = answer.get("template")?;
        Some(Self::new(&template["settings"], &template["mappings"]))
    }

    /// Reads the answer to `GET /NAME?flat_settings=true`: of several indices behind a data stream, the newest is the one
    /// that is written to.
    pub(super) fn of_index(answer: &Json) -> Option<Self> {
        let indices = answer.as_object()?;
        let created = |index: &Json| text(&index["settings"], "index.creation_date").parse::<i64>().unwrap_or(0);
        let (_, newest) = indices.iter().max_by_key(|(name, index)| (created(index), name.as_str()))?;
        let starts = indices.values().map(|index| text(&index["settings"], "index.time_series.start_time"));
        Some(Self {
            is_data_stream: newest.get("data_stream").is_some(),
            oldest_ms: starts.filter_map(|time| Some(time.parse::<Timestamp>().ok()?.as_millisecond())).min(),
            ..Self::new(&newest["settings"], &newest["mappings"])
        })
    }

    fn new(settings: &Json, mappings: &Json) -> Self {
        let templates = mappings["dynamic_templates"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has = |name: &str| templates.iter().any(|template| template.get(name).is_some());
        let is_double = |template: &Json| {
            let mut named = template.as_object().into_iter().flatten();
            named.any(|(_, template)| template["mapping"]["type"] == "double")
        };
        let fields_max = text(settings, "index.mapping.total_fields.limit").parse();
        Self {
            is_time_series: text(settings, "index.mode") == "time_series",
            is_data_stream: false,
            look_back_s: seconds(&text(settings, "index.look_back_time")).unwrap_or(LOOK_BACK_DEFAULT_S),
            oldest_ms: None,
            fields_max: fields_max.unwrap_or(FIELDS_DEFAULT),
            maps_double: templates.iter().any(is_double),
            has_templates: has(COUNTER) && has(GAUGE),
        }
    }
}

/// A setting, whether the receiver nests them or not; empty where there is none.
fn text(settings: &Json, name: &str) -> String {
    let nested = || name.split('.').try_fold(settings, |node, part| node.get(part));
    match settings.get(name).or_else(nested) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A time as Elasticsearch writes it: `2h`, `7d`; whole seconds of it.
fn seconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "d" => number.checked_mul(86_400),
        "h" => number.checked_mul(3600),
        "m" => number.checked_mul(60),
        "s" => Some(number),
        "ms" => Some(number / 1000),
        _ => None,
    }
}

/// What the receiver says of where documents go. `None` in `Some` is nothing there; `None` that it does not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// The index or data stream.
    pub index: Option<Option<Facts>>,
    /// What the templates would make of a new index.
    pub template: Option<Option<Facts>>,
}

impl Survey {
    /// What is known by it.
    pub(super) fn known(&self, product: Option<Product>) -> Known {
        let in_force = self.index.clone().flatten().or_else(|| self.template.clone().flatten());
        let is_nothing = self.index == Some(None) && self.template == Some(None);
        Known {
            product,
            is_time_series: in_force.as_ref().map(|facts| facts.is_time_series).or(is_nothing.then_some(false)),
            has_templates: in_force.map(|facts| facts.has_templates).or(is_nothing.then_some(false)),
        }
    }

    /// A sentence for each thing that is missing. `name` is the index, `now_ms` the time.
    pub(super) fn doubts(&self, settings: &Settings, product: Option<Product>, name: &str, now_ms: i64) -> Vec<String> {
        let name = escaped(name);
        let doubts = |facts: &Facts| doubts(facts, settings, product, &name);
        let (index, template) = (self.index.clone().flatten(), self.template.clone().flatten());
        let time_series = index.as_ref().or(template.as_ref()).filter(|facts| facts.is_time_series);
        // A rollover does not help here: the new index takes what is later than the old one's end.
        let look_back = time_series.and_then(|facts| look_back_doubt(facts, settings.max_age, &name, now_ms));
        let mut found = match (index, template) {
            (Some(index), template) => {
                let of_index = doubts(&index);
                let is_outdated = template.is_some_and(|template| {
                    doubts(&template).len() < of_index.len() || template.has_templates && !index.has_templates
                });
                match is_outdated {
                    true => Vec::from([outdated(&index, &name, &of_index)]),
                    false => of_index,
                }
            }
            (None, Some(template)) => doubts(&template),
            (None, None) if self.template == Some(None) && self.index == Some(None) => Vec::from([format!(
                "no index template matches {name}: the receiver guesses how to keep values, as floats of 32 bits; set \
                 manage_template: true, or install a template of docs/elasticsearch.md"
            )]),
            (None, None) => Vec::new(),
        };
        found.extend(look_back);
        found
    }
}

/// An index that was made before its template was what it is now.
fn outdated(index: &Facts, name: &str, doubts: &[String]) -> String {
    let mut sentence = format!("{name} was made before its index template was as it is now");
    if !doubts.is_empty() {
        sentence.push_str(&format!(" ({})", doubts.join("; ")));
    }
    match index.is_data_stream {
        true => sentence.push_str(&format!("; a rollover makes an index by it: POST /{name}/_rollover")),
        false => sentence.push_str("; only a new index is made by it"),
    }
    sentence
}

fn doubts(facts: &Facts, settings: &Settings, product: Option<Product>, name: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    let is_opensearch = matches!(product, Some(Product::OpenSearch(_)));
    if settings.shape == DocumentShape::TimeSeries && !is_opensearch && !facts.is_time_series {
        doubts.push(format!(
            "{name} is no time series data stream (index.mode: time_series), so documents take more room, and metrics have no \
             types"
        ));
    }
    if facts.is_time_series && settings.routing.is_some() {
        doubts.push(format!("routing is left out: {name} is a time series data stream, where labels decide"));
    }
    if facts.fields_max < FIELDS_WANTED {
        doubts.push(format!(
            "{name} has room for {} fields (index.mapping.total_fields.limit), and each metric is one; {FIELDS_WANTED} are \
             better",
            facts.fields_max
        ));
    }
    if !facts.maps_double {
        doubts.push(format!(
            "no dynamic template of {name} keeps values as double: as float, of 32 bits, a counter above 16,777,216 is not exact"
        ));
    }
    doubts
}

/// Whether what waits as long as it may will still be taken.
fn look_back_doubt(facts: &Facts, max_age: Duration, name: &str, now_ms: i64) -> Option<String> {
    let age = prometheus_duration(max_age);
    if max_age.as_secs() > LOOK_BACK_MAX_S {
        return Some(format!(
            "queue.max_age is {age}, and a time series data stream is sure to take documents of the last 7d only; older ones may \
             be refused for good"
        ));
    }
    let is_old_enough = facts.oldest_ms.is_some_and(|oldest_ms| {
        let reaches_ms = u128::try_from(now_ms.saturating_sub(oldest_ms)).unwrap_or(0);
        reaches_ms >= max_age.as_millis()
    });
    let is_short = facts.look_back_s < max_age.as_secs() && !is_old_enough;
    is_short.then(|| {
        let look_back = prometheus_duration(Duration::from_secs(facts.look_back_s));
        format!(
            "index.look_back_time of {name} is {look_back}, and queue.max_age {age}: after an outage, documents in between are \
             refused for good"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::checked::Lifecycle;
    use crate::output::elasticsearch::template::template;
    use crate::output::elasticsearch::tests::settings;

    const NOW_MS: i64 = 1_798_859_045_006;

    /// What a simulation says of the template of ours.
    fn ours() -> Json {
        let mut body = template(&settings(), None).unwrap().body;
        json!({"template": body["template"].take(), "overlapping": []})
    }

    fn survey(index: Option<Json>, template: Option<Json>) -> Survey {
        Survey {
            index: Some(index.and_then(|answer| Facts::of_index(&answer))),
            template: Some(template.and_then(|answer| Facts::of_template(&answer))),
        }
    }

    fn doubts(survey: &Survey) -> Vec<String> {
        survey.doubts(&settings(), None, "m", NOW_MS)
    }

    #[test]
    fn the_template_of_ours_lacks_nothing() {
        let survey = survey(None, Some(ours()));
        assert_eq!(doubts(&survey), [""; 0]);
        let known = survey.known(None);
        assert_eq!((known.is_time_series, known.has_templates), (Some(true), Some(true)));
    }

    #[test]
    fn no_template_is_one_sentence() {
        let survey = survey(None, None);
        assert_eq!(doubts(&survey).len(), 1);
        assert!(doubts(&survey)[0].starts_with("no index template matches m: "));
        assert_eq!(survey.known(None).is_time_series, Some(false), "documents get ids");
        assert_eq!(doubts(&Survey::default()), [""; 0], "a receiver that does not tell is not complained of");
        assert_eq!(Survey::default().known(None).is_time_series, None);
    }

    #[test]
    fn each_thing_that_is_missing_is_said() {
        let plain = json!({"template": {"settings": {"index": {"number_of_shards": "1"}}, "mappings": {}}});
        let said = doubts(&survey(None, Some(plain)));
        let expected = ["m is no time series", "m has room for 1000 fields", "no dynamic template of m"];
        assert_eq!(said.len(), expected.len(), "{said:?}");
        assert!(said.iter().zip(expected).all(|(said, expected)| said.starts_with(expected)), "{said:?}");
        let opensearch = survey(None, Some(ours())).doubts(&settings(), Some(Product::OpenSearch((3, 5))), "m", NOW_MS);
        assert_eq!(opensearch, [""; 0]);
    }

    /// An index behind a data stream, with this look-back and the oldest time that it takes.
    fn index(look_back: &str, oldest_ms: i64) -> Json {
        let mut made = ours()["template"].take();
        made["settings"]["index.look_back_time"] = json!(look_back);
        made["settings"]["index.creation_date"] = json!(NOW_MS.to_string());
        made["settings"]["index.time_series.start_time"] =
            json!(Timestamp::from_millisecond(oldest_ms).unwrap().to_string());
        made["data_stream"] = json!("m");
        json!({".ds-m-000001": made})
    }

    #[test]
    fn what_waits_as_long_as_it_may_must_be_taken() {
        let mut waits_long = settings();
        waits_long.max_age = Duration::from_secs(4 * 3600);
        let doubts = |oldest_ms, settings: &Settings| {
            survey(Some(index("2h", oldest_ms)), None).doubts(settings, None, "m", NOW_MS)
        };
        assert_eq!(doubts(NOW_MS - 2 * 3_600_000, &settings()), [""; 0]);
        let said = doubts(NOW_MS - 2 * 3_600_000, &waits_long);
        assert!(said[0].starts_with("index.look_back_time of m is 2h, and queue.max_age 4h: "), "{said:?}");
        assert_eq!(doubts(NOW_MS - 4 * 3_600_000, &waits_long), [""; 0], "older indices take it");
        let younger = survey(Some(index("2h", NOW_MS - 2 * 3_600_000)), Some(ours()));
        let said = younger.doubts(&waits_long, None, "m", NOW_MS);
        assert!(said.len() == 1 && !said[0].contains("rollover"), "{said:?}");
        waits_long.max_age = Duration::from_secs(8 * 86_400);
        assert!(doubts(0, &waits_long)[0].starts_with("queue.max_age is 8d, "));
    }

    #[test]
    fn an_index_that_is_older_than_its_template_asks_for_a_rollover() {
        let mut old = index("2h", NOW_MS - 7_200_000);
        old[".ds-m-000001"]["mappings"]["dynamic_templates"] = json!([{"x": {"mapping": {"type": "double"}}}]);
        let survey = survey(Some(old), Some(ours()));
        assert_eq!(
            doubts(&survey),
            [
                "m was made before its index template was as it is now; a rollover makes an index by it: POST /m/_rollover"
            ]
        );
        assert_eq!(survey.known(None).has_templates, Some(false), "the index that is written to decides");
    }

    #[test]
    fn no_answer_is_a_panic() {
        for answer in [json!(null), json!([]), json!({}), json!({"a": 7}), json!({"template": []})] {
            let _ = (Facts::of_index(&answer), Facts::of_template(&answer));
        }
        for text in ["", "h", "99999999999999999999d", "18446744073709551615d", "-1s", "1é"] {
            let _ = seconds(text);
        }
        assert_eq!((seconds("90m"), seconds("1500ms"), seconds("7d")), (Some(5400), Some(1), Some(604_800)));
        assert_eq!(settings().lifecycle, Lifecycle::None);
    }
}
