//! What a type demands of one point of a metric: which samples, with which labels and values.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::Place;
use super::line::Places;
use crate::exposition::BadLine;
use crate::exposition::text::{LineError, Sample};
use crate::exposition::value::number;
use crate::model::MetricType;

/// What a sample is to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The value of a gauge, or of something unknown.
    Value,
    Total,
    Created,
    Bucket,
    Sum,
    Count,
    Quantile,
    Info,
    State,
}

/// The suffixes that a type's samples have.
pub(super) fn suffixes(kind: MetricType) -> &'static [&'static str] {
    match kind {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Summary => &["", "_count", "_sum", "_created"],
        MetricType::Info => &["_info"],
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[""],
    }
}

/// What a sample may be called that has its family's bare name although the type forbids it.
pub(super) fn names_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "the name of a counter's sample, with _total or _created",
        MetricType::Histogram => "the name of a histogram's sample, with _bucket, _count, _sum or _created",
        MetricType::GaugeHistogram => "the name of a gauge histogram's sample, with _bucket, _gcount or _gsum",
        MetricType::Info => "the name of an info's sample, with _info",
        _ => "the name of a sample",
    }
}

impl Part {
    /// Which part a sample with this suffix is.
    pub(super) fn of(kind: MetricType, suffix: &str) -> Option<Self> {
        if !suffixes(kind).contains(&suffix) {
            return None;
        }
        Some(match (suffix, kind) {
            ("_total", _) => Self::Total,
            ("_created", _) => Self::Created,
            ("_bucket", _) => Self::Bucket,
            ("_sum" | "_gsum", _) => Self::Sum,
            ("_count" | "_gcount", _) => Self::Count,
            ("_info", _) => Self::Info,
            (_, MetricType::Summary) => Self::Quantile,
            (_, MetricType::StateSet) => Self::State,
            _ => Self::Value,
        })
    }

    /// The label that belongs to the sample and not to its metric.
    pub(super) fn own_label(self, family: &str) -> Option<&str> {
        match self {
            Self::Bucket => Some("le"),
            Self::Quantile => Some("quantile"),
            Self::State => Some(family),
            _ => None,
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The value of a sample's own label.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Own<'a> {
    None,
    /// `le` or `quantile`.
    Number(f64),
    State(&'a str),
}

impl<'a> Own<'a> {
    /// Reads a sample's own label, and refuses what must be no label of the metric.
    pub(super) fn of(
        part: Part,
        kind: MetricType,
        family: &str,
        sample: &'a Sample<'_>,
        places: &Places,
    ) -> Result<Self, LineError> {
        let wrong = |expected| Err(LineError { at: places.labels, expected });
        let text = part.own_label(family).map(|name| sample.labels.get(name));
        match (part, text) {
            (Part::Bucket, text) => match text.flatten().and_then(whole_number) {
                Some(le) if le == f64::INFINITY && text != Some(Some("+Inf")) => wrong("le=\"+Inf\" in this spelling"),
                Some(le) if !le.is_nan() => Ok(Self::Number(le)),
                _ => wrong("a label le that is a number"),
            },
            (Part::Quantile, text) => match text.flatten().and_then(whole_number) {
                Some(quantile) if (0.0..=1.0).contains(&quantile) => Ok(Self::Number(quantile)),
                _ => wrong("a label quantile from 0 to 1"),
            },
            (Part::State, text) => match text.flatten() {
                Some(state) => Ok(Self::State(state)),
                None => wrong("a label with the family's name, whose value is the state"),
            },
            _ if matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram)
                && sample.labels.get("le").is_some() =>
            {
                wrong("labels without le (only buckets have it)")
            }
            _ if kind == MetricType::Summary && sample.labels.get("quantile").is_some() => {
                wrong("labels without quantile (only quantiles have it)")
            }
            _ => Ok(Self::None),
        }
    }
}

/// A label's value that is a number and nothing else.
fn whole_number(text: &str) -> Option<f64> {
    number(text.as_bytes()).filter(|(_, used)| *used == text.len()).map(|(value, _)| value)
}

/// Whether a part may have this value.
pub(super) fn check_value(part: Part, kind: MetricType, value: f64, at: usize) -> Result<(), LineError> {
    let is_count = value >= 0.0 && value.is_finite() && value.fract() == 0.0;
    let (is_right, expected) = match part {
        Part::Value => (true, ""),
        Part::Total => (value >= 0.0, "a counter's value (not negative, not NaN)"),
        Part::Created => (value.is_finite(), "a time in seconds"),
        Part::Bucket | Part::Count => (is_count, "a count (a whole number, not negative)"),
        Part::Sum if kind == MetricType::GaugeHistogram => (!value.is_nan(), "a sum (not NaN)"),
        Part::Sum => (value >= 0.0, "a sum (not negative, not NaN)"),
        Part::Quantile => (value >= 0.0 || value.is_nan(), "a quantile's value (not negative)"),
        Part::Info => (value == 1.0, "1 (the value of an info)"),
        Part::State => (value == 0.0 || value == 1.0, "0 or 1 (the values of a state)"),
    };
    if is_right { Ok(()) } else { Err(LineError { at, expected }) }
}

/// Whether a part may have the exemplar that it has.
pub(super) fn check_exemplar(part: Part, own: &Own<'_>, sample: &Sample<'_>, places: &Places) -> Result<(), LineError> {
    let Some(exemplar) = &sample.exemplar else { return Ok(()) };
    match (part, own) {
        (Part::Total, _) => Ok(()),
        (Part::Bucket, Own::Number(le)) if exemplar.value <= *le => Ok(()),
        (Part::Bucket, _) => Err(LineError {
            at: places.exemplar_value,
            expected: "an exemplar's value that is not above its bucket's le",
        }),
        _ => {
            let expected = "the end of the line (only buckets and a counter's _total have exemplars)";
            Err(LineError { at: places.exemplar, expected })
        }
    }
}

/// One point of a metric while it is read.
pub(super) struct Point {
    kind: MetricType,
    /// The line that it starts with.
    first: (u64, String),
    /// The parts that it has, a bit each.
    parts: u16,
    /// `le` and count of the last bucket.
    bucket: Option<(f64, f64)>,
    count: Option<f64>,
    has_negative_le: bool,
    has_negative_sum: bool,
    /// Hashes of its states, or of its quantiles.
    held: HashSet<u64, RandomState>,
}

impl Point {
    pub(super) fn new(kind: MetricType, place: Place<'_>) -> Self {
        let first = place.bad(LineError { at: 0, expected: "" });
        Self {
            kind,
            first: (first.line, first.found),
            parts: 0,
            bucket: None,
            count: None,
            has_negative_le: false,
            has_negative_sum: false,
            held: HashSet::default(),
        }
    }

    /// How many states or quantiles it has.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn has_part(&self, part: Part) -> bool {
        self.parts & part.bit() != 0
    }

    /// Whether it has this sample already.
    pub(super) fn has(&self, part: Part, own: &Own<'_>) -> bool {
        match part {
            Part::Bucket => self.is_full(),
            Part::Quantile | Part::State => self.held.contains(&self.hash(own)),
            _ => self.has_part(part),
        }
    }

    /// Whether the `+Inf` bucket is there.
    fn is_full(&self) -> bool {
        self.bucket.is_some_and(|(le, _)| le == f64::INFINITY)
    }

    fn hash(&self, own: &Own<'_>) -> u64 {
        match own {
            Own::None => 0,
            // One zero, whatever its sign.
            Own::Number(number) => self.held.hasher().hash_one((number + 0.0).to_bits()),
            Own::State(state) => self.held.hasher().hash_one(state),
        }
    }

    /// Adds a sample whose value is allowed.
    pub(super) fn add(&mut self, part: Part, own: &Own<'_>, value: f64, places: &Places) -> Result<(), LineError> {
        if part == Part::Bucket {
            return self.add_bucket(own, value, places);
        }
        if self.has(part, own) {
            return Err(LineError { at: 0, expected: "a sample that the metric does not have yet" });
        }
        self.parts |= part.bit();
        match part {
            Part::Quantile | Part::State => {
                self.held.insert(self.hash(own));
            }
            Part::Sum => self.has_negative_sum = value < 0.0,
            Part::Count => {
                self.count = Some(value);
                if self.is_full() && self.bucket.is_some_and(|(_, bucket)| bucket != value) {
                    return Err(LineError { at: places.value, expected: "the count of the +Inf bucket" });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_bucket(&mut self, own: &Own<'_>, value: f64, places: &Places) -> Result<(), LineError> {
        let Own::Number(le) = *own else { return Ok(()) };
        if self.bucket.is_some_and(|(last, _)| le <= last) {
            return Err(LineError { at: places.labels, expected: "a bucket with a higher le than the one before" });
        }
        if self.bucket.is_some_and(|(_, last)| value < last) {
            return Err(LineError {
                at: places.value,
                expected: "a count that is not below that of the bucket before",
            });
        }
        self.has_negative_le |= le < 0.0;
        self.parts |= Part::Bucket.bit();
        self.bucket = Some((le, value));
        if le == f64::INFINITY && self.count.is_some_and(|count| count != value) {
            return Err(LineError { at: places.value, expected: "the count of the metric's _count" });
        }
        Ok(())
    }

    /// It has no more samples: says what it lacks.
    pub(super) fn end(self, each: &mut impl FnMut(BadLine)) {
        if let Some(expected) = self.lacks() {
            let (line, found) = self.first;
            each(BadLine { line, column: 1, found, expected });
        }
    }

    fn lacks(&self) -> Option<&'static str> {
        let (has_sum, has_count) = (self.has_part(Part::Sum), self.has_part(Part::Count));
        match self.kind {
            MetricType::Counter if !self.has_part(Part::Total) => Some("a counter that has its _total"),
            MetricType::Histogram | MetricType::GaugeHistogram if !self.is_full() => {
                Some("a histogram whose last bucket is le=\"+Inf\"")
            }
            MetricType::Histogram if has_sum != has_count => Some("a histogram with both _sum and _count, or neither"),
            MetricType::GaugeHistogram if has_sum != has_count => {
                Some("a gauge histogram with both _gsum and _gcount, or neither")
            }
            MetricType::Histogram if has_sum && self.has_negative_le => {
                Some("a histogram without _sum and _count (it has buckets below zero)")
            }
            MetricType::GaugeHistogram if self.has_negative_sum && !self.has_negative_le => {
                Some("a gauge histogram whose _gsum is not negative (it has no buckets below zero)")
            }
            _ => None,
        }
    }
}
