//! Families and metrics as `io.prometheus.client` has them: views that borrow from a message and allocate nothing.
//!
//! The numbers of the fields are those of client_model's `io/prometheus/client/metrics.proto` (0.6.2 and later). What they
//! mean is what Prometheus 3 makes of them (`model/textparse/protobufparse.go`): a counter's samples bear the family's name
//! as it stands, a summary and a classic histogram become series as in the text format, in its order. A field that is
//! missing has its default value; a metric that has nothing of its family's type is an error of that metric.

use super::super::scan::LABELS_MAX;
use super::super::text::LineExemplar;
use super::histogram::Histogram;
use super::wire::{Error, Field, Message};
use crate::model::{Family, Labels, METRIC_NAME, MetricType};

/// A `MetricFamily`.
#[derive(Clone, Copy, Debug)]
pub struct FamilyView<'a> {
    /// Name, help, type and unit.
    pub family: Family<'a>,
    message: Message<'a>,
}

impl<'a> FamilyView<'a> {
    /// Reads what a family says of itself; `None` where it has no metric, so that nothing depends on it.
    pub fn read(message: Message<'a>) -> Result<Option<Self>, Error> {
        let mut family = Family { kind: MetricType::Counter, ..Family::default() };
        let (mut rest, mut has_metric, mut kind) = (message, false, Some(MetricType::Counter));
        while let Some(field) = rest.next()? {
            match field.number {
                1 => family.name = field.text()?,
                2 => family.help = field.text()?,
                3 => kind = kind_of(field.uint64()?),
                4 => {
                    field.message()?;
                    has_metric = true;
                }
                5 => family.unit = field.text()?,
                _ => {}
            }
        }
        if !has_metric {
            return Ok(None);
        }
        if family.name.is_empty() {
            return Err(Error::metric(message.at(), "a family has no name; it is left out"));
        }
        family.kind = kind.ok_or_else(|| {
            let name = family.name.escape_debug();
            Error::metric(
                message.at(),
                format!("the family \"{name}\" is of a type that is unknown here; it is left out"),
            )
        })?;
        Ok(Some(Self { family, message }))
    }

    /// The messages of its metrics, for [`Metric::read`].
    pub fn metrics(&self) -> MetricMessages<'a> {
        MetricMessages(self.message)
    }
}

fn kind_of(number: u64) -> Option<MetricType> {
    Some(match number {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Unknown,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        _ => return None,
    })
}

/// The metrics of a family that are still to come.
pub struct MetricMessages<'a>(Message<'a>);

impl<'a> MetricMessages<'a> {
    /// Takes the next one.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Message<'a>>, Error> {
        match self.0.next_of(4)? {
            Some(field) => field.message().map(Some),
            None => Ok(None),
        }
    }
}

/// What a metric has of its family's type.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A counter, a gauge or an untyped one.
    Single(Single<'a>),
    Summary(Summary<'a>),
    Histogram(Histogram<'a>),
}

/// One value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single<'a> {
    value: f64,
    exemplar: Option<Message<'a>>,
    created_ms: Option<i64>,
}

/// Quantiles, sum and count.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    message: Message<'a>,
    count: u64,
    sum: f64,
    created_ms: Option<i64>,
}

/// A `Metric`.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    message: Message<'a>,
    /// All of its labels as they are encoded, if they stand together.
    label_bytes: Option<&'a [u8]>,
    /// Its own timestamp in milliseconds since 1970. Zero is none, as in Prometheus.
    pub own_ms: Option<i64>,
    pub content: Content<'a>,
}

impl<'a> Metric<'a> {
    /// Reads a metric of a family of this type, and nothing of its labels.
    #[inline]
    pub fn read(message: Message<'a>, kind: MetricType) -> Result<Self, Error> {
        let wanted = match kind {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
            _ => 5,
        };
        let (mut rest, mut content, mut own_ms) = (message, None, None);
        let (mut start, mut end, mut is_apart) = (message.at(), message.at(), false);
        while let Some(field) = rest.next()? {
            match field.number {
                1 => {
                    (start, is_apart) = match (start == end, end == field.at) {
                        (true, _) => (field.at, is_apart),
                        (false, is_next) => (start, is_apart || !is_next),
                    };
                    end = field.at + field.raw.len() as u64;
                }
                6 => own_ms = Some(field.int64()?).filter(|&ms| ms != 0),
                number if number == wanted => content = Some(field.message()?),
                _ => {}
            }
        }
        // The smallest number stands for "none" in the packed column of points.
        if own_ms == Some(i64::MIN) {
            return Err(Error::metric(
                message.at(),
                "the timestamp of a metric is out of range; the metric is left out",
            ));
        }
        let Some(content) = content else {
            let word = kind.as_openmetrics();
            let reason = format!("a metric in a family of type {word} has no {word}; it is left out");
            return Err(Error::metric(message.at(), reason));
        };
        let content = match kind {
            MetricType::Summary => Content::Summary(Summary::read(content)?),
            MetricType::Histogram | MetricType::GaugeHistogram => Content::Histogram(Histogram::read(content)?),
            _ => Content::Single(Single::read(content)?),
        };
        let label_bytes = if is_apart { None } else { message.between(start, end) };
        Ok(Self { message, label_bytes, own_ms, content })
    }

    /// Bytes of the body before it.
    pub fn at(&self) -> u64 {
        self.message.at()
    }

    /// Adds its labels to `labels`, where no label of that name may be yet.
    pub fn labels(&self, labels: &mut Labels<'a>) -> Result<(), Error> {
        read_labels(self.message, labels)
    }

    /// Gives its labels as they are encoded, piece by piece, and returns how many bytes they are. What is the same in them
    /// is the same label set in the same order.
    #[inline]
    pub fn each_label(&self, mut each: impl FnMut(&[u8])) -> Result<usize, Error> {
        if let Some(bytes) = self.label_bytes {
            each(bytes);
            return Ok(bytes.len());
        }
        let (mut rest, mut len) = (self.message, 0);
        while let Some(field) = rest.next_of(1)? {
            each(field.raw);
            len += field.raw.len();
        }
        Ok(len)
    }

    /// Since when it counts, in milliseconds since 1970.
    pub fn created_ms(&self) -> Option<i64> {
        match self.content {
            Content::Single(single) => single.created_ms,
            Content::Summary(summary) => summary.created_ms,
            Content::Histogram(histogram) => histogram.created_ms,
        }
    }

    /// Its samples that are floats; of a histogram those of the classic one.
    pub fn readings(&self) -> Readings<'a> {
        match self.content {
            Content::Single(single) => Readings { step: Step::Single(single), ..Readings::new(single.value, 0.0) },
            Content::Summary(summary) => {
                Readings { step: Step::Quantiles(summary.message), ..Readings::new(summary.sum, summary.count as f64) }
            }
            Content::Histogram(histogram) => {
                let (sum, count) = (histogram.sum, histogram.count());
                Readings { step: Step::Buckets(histogram.message), ..Readings::new(sum, count) }
            }
        }
    }
}

impl<'a> Single<'a> {
    fn read(mut message: Message<'a>) -> Result<Self, Error> {
        let mut single = Self::default();
        while let Some(field) = message.next()? {
            match field.number {
                1 => single.value = field.double()?,
                2 => single.exemplar = Some(field.message()?),
                3 => single.created_ms = timestamp_ms(&field)?,
                _ => {}
            }
        }
        Ok(single)
    }
}

impl<'a> Summary<'a> {
    fn read(message: Message<'a>) -> Result<Self, Error> {
        let mut summary = Self { message, count: 0, sum: 0.0, created_ms: None };
        let mut rest = message;
        while let Some(field) = rest.next()? {
            match field.number {
                1 => summary.count = field.uint64()?,
                2 => summary.sum = field.double()?,
                4 => summary.created_ms = timestamp_ms(&field)?,
                _ => {}
            }
        }
        Ok(summary)
    }
}

/// Which sample of a metric it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// The only one.
    Single,
    /// A summary's quantile.
    Quantile(f64),
    /// A classic histogram's bucket, by its upper bound.
    Bucket(f64),
    Sum,
    Count,
    /// The native histogram.
    Native,
}

impl Part {
    /// What the series' name has behind the family's.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Single | Self::Quantile(_) | Self::Native => "",
            Self::Bucket(_) => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// The label that the series has beside the metric's.
    pub fn label(self) -> Option<(&'static str, f64)> {
        match self {
            Self::Quantile(quantile) => Some(("quantile", quantile)),
            Self::Bucket(bound) => Some(("le", bound)),
            _ => None,
        }
    }

    /// A number of its kind, and the bits of its label's: together they are no other part's.
    pub fn number(self) -> (u8, u64) {
        match self {
            Self::Single => (0, 0),
            Self::Quantile(quantile) => (1, quantile.to_bits()),
            Self::Bucket(bound) => (2, bound.to_bits()),
            Self::Sum => (3, 0),
            Self::Count => (4, 0),
            Self::Native => (5, 0),
        }
    }

    /// Whether it counts since the metric was created; a quantile does not.
    pub fn is_counted(self) -> bool {
        !matches!(self, Self::Quantile(_))
    }
}

/// A sample that is a float.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub part: Part,
    pub value: f64,
    /// For [`read_exemplar`].
    pub exemplar: Option<Message<'a>>,
}

/// The samples of a metric that are still to come.
pub struct Readings<'a> {
    step: Step<'a>,
    sum: f64,
    count: f64,
    /// Whether the bucket of all observations was among the classic ones.
    has_infinity: bool,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Single(Single<'a>),
    Quantiles(Message<'a>),
    Buckets(Message<'a>),
    Sum,
    Count,
    End,
}

impl<'a> Readings<'a> {
    fn new(sum: f64, count: f64) -> Self {
        Self { step: Step::End, sum, count, has_infinity: false }
    }

    /// Takes the next one.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Reading<'a>>, Error> {
        let float = |part, value| Reading { part, value, exemplar: None };
        Ok(match &mut self.step {
            Step::Buckets(rest) => match rest.next_of(3)? {
                Some(field) => {
                    let reading = bucket(field.message()?)?;
                    self.has_infinity |= reading.part == Part::Bucket(f64::INFINITY);
                    Some(reading)
                }
                None => {
                    self.step = Step::Sum;
                    if self.has_infinity {
                        return self.next();
                    }
                    Some(float(Part::Bucket(f64::INFINITY), self.count))
                }
            },
            Step::Quantiles(rest) => match rest.next_of(3)? {
                Some(field) => Some(quantile(field.message()?)?),
                None => {
                    self.step = Step::Sum;
                    return self.next();
                }
            },
            Step::Single(single) => {
                let reading = Reading { exemplar: single.exemplar, ..float(Part::Single, single.value) };
                self.step = Step::End;
                Some(reading)
            }
            Step::Sum => {
                self.step = Step::Count;
                Some(float(Part::Sum, self.sum))
            }
            Step::Count => {
                self.step = Step::End;
                Some(float(Part::Count, self.count))
            }
            Step::End => None,
        })
    }
}

/// A `Bucket`.
fn bucket(mut message: Message<'_>) -> Result<Reading<'_>, Error> {
    let (mut count, mut float_count, mut bound, mut exemplar) = (0, 0.0, 0.0, None);
    while let Some(field) = message.next()? {
        match field.number {
            1 => count = field.uint64()?,
            2 => bound = field.double()?,
            3 => exemplar = Some(field.message()?),
            4 => float_count = field.double()?,
            _ => {}
        }
    }
    let value = if float_count > 0.0 { float_count } else { count as f64 };
    Ok(Reading { part: Part::Bucket(bound), value, exemplar })
}

/// A `Quantile`.
fn quantile(mut message: Message<'_>) -> Result<Reading<'_>, Error> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok(Reading { part: Part::Quantile(quantile), value, exemplar: None })
}

/// Reads an `Exemplar`; `None` where its labels make no sense, which is no reason to leave out the sample.
pub fn read_exemplar(message: Message<'_>) -> Result<Option<LineExemplar<'_>>, Error> {
    let mut exemplar = LineExemplar { labels: Labels::new(), value: 0.0, at_ms: None };
    let mut rest = message;
    while let Some(field) = rest.next()? {
        match field.number {
            2 => exemplar.value = field.double()?,
            3 => exemplar.at_ms = timestamp_ms(&field)?,
            _ => {}
        }
    }
    match read_labels(message, &mut exemplar.labels) {
        Ok(()) => Ok(Some(exemplar)),
        Err(error) if error.problem.is_of_one_metric() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the `LabelPair`s that a message has as its field 1.
fn read_labels<'a>(message: Message<'a>, labels: &mut Labels<'a>) -> Result<(), Error> {
    let mut rest = message;
    let mut empty = 0;
    while let Some(field) = rest.next_of(1)? {
        let mut pair = field.message()?;
        let (mut name, mut value) = ("", "");
        while let Some(field) = pair.next()? {
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
        }
        let count = labels.len();
        if name.is_empty() || name == METRIC_NAME {
            let reason = "a label has no name, or that of the metric's name; the metric is left out";
            return Err(Error::metric(field.at, reason));
        }
        if labels.get(name).is_some() {
            let name = name.escape_debug();
            return Err(Error::metric(
                field.at,
                format!("the label \"{name}\" is there twice; the metric is left out"),
            ));
        }
        if count + empty == LABELS_MAX {
            return Err(Error::metric(
                field.at,
                format!("there are more than {LABELS_MAX} labels; the metric is left out"),
            ));
        }
        empty += usize::from(value.is_empty());
        labels.set(name, value);
    }
    Ok(())
}

/// A `google.protobuf.Timestamp` in milliseconds since 1970; `None` where no `i64` holds it.
pub(super) fn timestamp_ms(field: &Field<'_>) -> Result<Option<i64>, Error> {
    let mut message = field.message()?;
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(field) = message.next()? {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanos = i64::from(field.int64()? as i32),
            _ => {}
        }
    }
    Ok(seconds.checked_mul(1000).and_then(|ms| ms.checked_add(nanos / 1_000_000)))
}
