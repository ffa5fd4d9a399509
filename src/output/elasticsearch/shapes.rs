//! What a document looks like: which labels, which measurement, which field a series becomes.
//!
//! docs/elasticsearch.md shows each shape. The Telegraf shapes follow `plugins/parsers/prometheus` (`metric_v1.go`,
//! `metric_v2.go`) and `plugins/outputs/elasticsearch` of Telegraf 1.37.

use std::borrow::Cow;

use crate::config::checked::{DocumentShape, TelegrafTags};
use crate::exposition::write;
use crate::model::{MetricType, Origin, SeriesRef};
use crate::output::json::string;

/// A shape, and what it needs besides the series.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Which one.
    pub document: DocumentShape,
    /// Telegraf's tag `host`: this machine's name. An empty one is left out.
    pub host: String,
    /// Whether there is Telegraf's tag `url`.
    pub has_url: bool,
    /// What all metrics are called with `metric_version = 2`: a JSON string.
    pub measurement: Vec<u8>,
}

/// Where a series' value goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Only series of one measurement share a document; empty where it does not matter.
    pub measurement: &'a str,
    /// The field of the value.
    pub field: Cow<'a, str>,
}

/// Names and values.
pub(super) type Pairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

impl Shape {
    /// `machine` is this machine's name.
    pub fn new(document: DocumentShape, tags: &TelegrafTags, machine: String) -> Self {
        let mut measurement = Vec::new();
        string(&mut measurement, &tags.measurement);
        Self { document, host: if tags.host { machine } else { String::new() }, has_url: tags.url, measurement }
    }

    /// Whether documents name the metrics of their label set by a hash, as a dimension of its own.
    pub(super) fn has_names_hash(&self) -> bool {
        self.document == DocumentShape::TimeSeries
    }

    /// Where the value of `series` goes; `labels` becomes the labels of its document, in the order of their names.
    pub(super) fn place<'a>(&'a self, series: SeriesRef<'a>, origin: &'a Origin, labels: &mut Pairs<'a>) -> Place<'a> {
        labels.clear();
        labels.extend(series.labels().map(|(name, value)| (name, Cow::Borrowed(value))));
        match self.document {
            DocumentShape::TimeSeries | DocumentShape::Metricbeat => {
                Place { measurement: "", field: series.name().into() }
            }
            DocumentShape::Telegraf => {
                if let Some(at) = bound_of(series, labels) {
                    let text = number(&labels[at].1);
                    labels[at].1 = text;
                }
                self.add_tags(origin, labels);
                Place { measurement: telegraf_family(series).0, field: series.name().into() }
            }
            DocumentShape::TelegrafV1 => {
                let bound = bound_of(series, labels).map(|at| labels.remove(at).1);
                self.add_tags(origin, labels);
                v1_place(series, bound)
            }
        }
    }

    /// `url` is the target's, whatever a label says; `host` is only added, as Telegraf does with global tags.
    fn add_tags<'a>(&'a self, origin: &'a Origin, labels: &mut Pairs<'a>) {
        if self.has_url {
            labels.retain(|(name, _)| *name != "url");
        }
        let url = if self.has_url { origin.url.as_str() } else { "" };
        for (name, value) in [("host", self.host.as_str()), ("url", url)] {
            if let Err(at) = labels.binary_search_by(|(held, _)| (*held).cmp(name))
                && !value.is_empty()
            {
                labels.insert(at, (name, Cow::Borrowed(value)));
            }
        }
    }

    /// The text between the time and the first label.
    pub(super) fn open_labels(&self) -> &'static [u8] {
        match self.document {
            DocumentShape::TimeSeries => b"\"labels\":{",
            DocumentShape::Metricbeat => b"\"prometheus\":{\"labels\":{",
            DocumentShape::Telegraf | DocumentShape::TelegrafV1 => b"\"tag\":{",
        }
    }

    /// The text behind the last field.
    pub(super) fn close(&self) -> &'static [u8] {
        match self.document {
            DocumentShape::Metricbeat => b"}}}\n",
            DocumentShape::TimeSeries | DocumentShape::Telegraf | DocumentShape::TelegrafV1 => b"}}\n",
        }
    }

    /// Writes the text between the last label and the first field. `measurement` is a JSON string.
    pub(super) fn open_fields(&self, out: &mut Vec<u8>, measurement: &[u8]) {
        let measurement = match self.document {
            DocumentShape::Telegraf => &self.measurement,
            _ => measurement,
        };
        match self.document {
            DocumentShape::TimeSeries | DocumentShape::Metricbeat => out.extend_from_slice(b"},\"metrics\":{"),
            DocumentShape::Telegraf | DocumentShape::TelegrafV1 => {
                for text in [b"},\"measurement_name\":", measurement, b",", measurement, b":{"] {
                    out.extend_from_slice(text);
                }
            }
        }
    }
}

/// Dynamic templates of ours: a metric that only rises, and one that goes up and down.
pub(super) const COUNTER: &str = "promferry_counter";
/// See [`COUNTER`].
pub(super) const GAUGE: &str = "promferry_gauge";

/// Ends of names that the template of ours takes for counters.
pub(super) const COUNTER_ENDINGS: [&str; 4] = ["_total", "_count", "_sum", "_bucket"];

/// The dynamic template of a metric by its TYPE, where its name alone would choose the other one.
pub(super) fn template_beside_pattern(series: SeriesRef<'_>) -> Option<&'static str> {
    let is_created = series.name().ends_with("_created");
    let is_counter = match series.family().kind {
        MetricType::Counter => !is_created,
        MetricType::Histogram | MetricType::Summary => series.name() != series.family().name && !is_created,
        MetricType::Gauge | MetricType::GaugeHistogram | MetricType::Info | MetricType::StateSet => false,
        MetricType::Unknown => return None,
    };
    let is_counter_by_name = COUNTER_ENDINGS.iter().any(|ending| series.name().ends_with(ending));
    (is_counter != is_counter_by_name).then_some(if is_counter { COUNTER } else { GAUGE })
}

/// Where the label is that tells a bucket or a quantile from its siblings.
fn bound_of(series: SeriesRef<'_>, labels: &Pairs<'_>) -> Option<usize> {
    let family = series.family();
    let wanted = match family.kind {
        MetricType::Histogram | MetricType::GaugeHistogram if part_of(series) == Some("bucket") => "le",
        MetricType::Summary if series.name() == family.name => "quantile",
        _ => return None,
    };
    labels.iter().position(|(name, _)| *name == wanted)
}

/// What stands behind the family's name and an underscore.
fn part_of<'a>(series: SeriesRef<'a>) -> Option<&'a str> {
    series.name().strip_prefix(series.family().name)?.strip_prefix('_')
}

/// Name and type of the family that a series is of in text format 0.0.4, so that documents are the same whatever format a
/// target answers in: there a counter has its sample's name, and when a series began is a gauge of its own.
fn telegraf_family(series: SeriesRef<'_>) -> (&str, MetricType) {
    let family = series.family();
    let has_created = matches!(family.kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary);
    match family.kind {
        _ if has_created && part_of(series) == Some("created") => (series.name(), MetricType::Gauge),
        MetricType::Counter | MetricType::Info => (series.name(), family.kind),
        _ => (family.name, family.kind),
    }
}

fn v1_place<'a>(series: SeriesRef<'a>, bound: Option<Cow<'a, str>>) -> Place<'a> {
    let (name, kind) = telegraf_family(series);
    let field = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary => {
            let field = match bound {
                Some(bound) => Cow::Owned(number(&bound).into_owned()),
                None => part_of(series).unwrap_or("value").into(),
            };
            return Place { measurement: name, field };
        }
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => "gauge",
        MetricType::Unknown => "value",
    };
    Place { measurement: series.name(), field: field.into() }
}

/// A bound as Go's `fmt.Sprint` writes it: `1.0` becomes `1`. What is no number stays.
fn number<'a>(text: &str) -> Cow<'a, str> {
    let Ok(value) = text.parse::<f64>() else { return Cow::Owned(text.to_owned()) };
    let mut out = Vec::new();
    write::float(&mut out, value);
    Cow::Owned(String::from_utf8(out).unwrap_or_default())
}
