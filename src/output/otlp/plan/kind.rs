//! What a series means to OTLP, by its family's type and its name. (OpenTelemetry specification, "Prometheus and OpenMetrics
//! Compatibility".)

use crate::model::{MetricType, SeriesRef};

/// Rejected: a series of a histogram or summary that is no part of one.
pub(in crate::output::otlp) const BAD_SERIES: &str = "bad_series";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::output::otlp) enum Kind {
    Gauge,
    Sum { is_monotonic: bool },
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl Kind {
    /// What a counter is.
    pub const MONOTONIC: Self = Self::Sum { is_monotonic: true };
}

/// What a series means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning<'a> {
    /// Data points of a metric of its own name.
    Number(Kind),
    /// A part of the data points of the metric with this name.
    Part(Kind, &'a str, PointPart),
    /// `target_info`.
    Info,
    /// Since when others count.
    Created,
    /// There is no such type.
    Unsupported,
    /// It is no part of what it says to be.
    Refused(&'static str),
}

/// Which part of a data point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PointPart {
    Bucket(f64),
    Quantile(f64),
    Sum,
    Count,
    Native,
}

/// What a series means, to receivers that want it as the specification does, or as plain as can be.
pub(super) fn meaning(series: SeriesRef<'_>, is_compatible: bool) -> Meaning<'_> {
    let family = series.family();
    if is_compatible && series.name() == "target_info" {
        return Meaning::Info;
    }
    match family.kind {
        MetricType::Counter if suffix(series, &["_created"]) == Some("_created") => Meaning::Created,
        MetricType::Counter => Meaning::Number(Kind::MONOTONIC),
        MetricType::Gauge | MetricType::Unknown => Meaning::Number(Kind::Gauge),
        MetricType::Info | MetricType::StateSet if is_compatible => Meaning::Number(Kind::Sum { is_monotonic: false }),
        MetricType::Info | MetricType::StateSet => Meaning::Number(Kind::Gauge),
        MetricType::GaugeHistogram if is_compatible => Meaning::Unsupported,
        MetricType::GaugeHistogram => Meaning::Number(Kind::Gauge),
        MetricType::Histogram => composite(series, Kind::Histogram),
        MetricType::Summary => composite(series, Kind::Summary),
    }
}

const HISTOGRAM_PARTS: &[&str] = &["_bucket", "_sum", "_count", "_created"];
const SUMMARY_PARTS: &[&str] = &["_sum", "_count", "_created"];

fn composite(series: SeriesRef<'_>, kind: Kind) -> Meaning<'_> {
    let suffixes = if kind == Kind::Histogram { HISTOGRAM_PARTS } else { SUMMARY_PARTS };
    let suffix = suffix(series, suffixes).unwrap_or_default();
    let base = series.name().strip_suffix(suffix).unwrap_or_default();
    let number = |label| series.label(label).and_then(|text| text.parse::<f64>().ok()).filter(|bound| !bound.is_nan());
    let part = match suffix {
        "_created" => return Meaning::Created,
        "_sum" => PointPart::Sum,
        "_count" => PointPart::Count,
        "_bucket" => match number("le") {
            Some(bound) => PointPart::Bucket(bound),
            None => return Meaning::Refused(BAD_SERIES),
        },
        _ if kind == Kind::Histogram => {
            return Meaning::Part(Kind::ExponentialHistogram, base, PointPart::Native);
        }
        _ => match number("quantile") {
            Some(quantile) => PointPart::Quantile(quantile),
            None => return Meaning::Refused(BAD_SERIES),
        },
    };
    Meaning::Part(kind, base, part)
}

/// What stands behind the family's name; where rules have renamed the series, which of these it ends in.
fn suffix<'a>(series: SeriesRef<'a>, suffixes: &[&'static str]) -> Option<&'a str> {
    let name = series.name();
    let behind = name.strip_prefix(series.family().name).filter(|rest| rest.is_empty() || suffixes.contains(rest));
    behind.or_else(|| {
        let suffix = suffixes.iter().find(|suffix| name.ends_with(*suffix))?;
        Some(&name[name.len() - suffix.len()..])
    })
}

/// Whether the values of a series only rise until they start again, and its start is kept in mind: a counter's, and of a
/// histogram or summary the count, or, with `with_parts`, every part of a histogram.
pub(in crate::output::otlp) fn is_counted(series: SeriesRef<'_>, with_parts: bool) -> bool {
    match series.family().kind {
        MetricType::Counter => suffix(series, &["_created"]) != Some("_created"),
        MetricType::Histogram => match suffix(series, HISTOGRAM_PARTS) {
            Some("_created") => false,
            Some("_bucket" | "_sum") => with_parts,
            _ => true,
        },
        MetricType::Summary => suffix(series, SUMMARY_PARTS) == Some("_count"),
        _ => false,
    }
}
