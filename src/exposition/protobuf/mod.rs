//! The delimited protobuf exposition: `io.prometheus.client.MetricFamily`, each with its length before it.
//!
//! [`parse_all`] is one look at a body. What is scraped again and again goes through a [`Table`](super::Table), which reads
//! with the same views. `wire` is protobuf itself, `stream` makes messages of pieces, `family` and `histogram` say what the
//! messages mean. There is no generated code: five messages are read where they lie, and nothing is built of them.
//!
//! What is wrong with the bytes ends the body, for whatever follows cannot be trusted; what is wrong with a metric costs
//! that metric ([`Problem::is_of_one_metric`]).
//!
//! Left out: Prometheus' check that a unit is the end of the name, and its merging of empty buckets (`Compact`): what a
//! target says is passed on as it says it.

mod family;
mod histogram;
mod stream;
mod wire;

use std::borrow::Cow;
use std::io::{self, Read};

use super::body::Settings;
use super::text::LineExemplar;
use super::write;
use crate::model::{Family, FamilyRef, Histogram, Labels, METRIC_NAME, MetricType, Value};

pub(super) use family::{Content, FamilyView, Metric, Part, read_exemplar};
pub(super) use stream::Messages;
pub(super) use wire::Message;

pub use histogram::{BUCKETS_MAX, EXEMPLARS_MAX, SPANS_MAX};
pub use wire::{Error, Problem};

/// The most bytes of one message, which is a family with all of its metrics: some 200,000 series.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A sample of a protobuf exposition.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// The labels, the metric's name among them as [`METRIC_NAME`].
    pub labels: Labels<'a>,
    /// The value.
    pub reading: Reading,
    /// Its own timestamp in milliseconds since 1970.
    pub own_ms: Option<i64>,
    /// Exemplars: at most one, but for a native histogram.
    pub exemplars: Vec<LineExemplar<'a>>,
    /// Since when it counts, in milliseconds since 1970.
    pub created_ms: Option<i64>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

impl Sample<'_> {
    /// The metric's name.
    pub fn name(&self) -> &str {
        self.labels.get_or_empty(METRIC_NAME)
    }

    /// The value, as the model has it.
    pub fn value(&self) -> Value<'_> {
        match &self.reading {
            Reading::Float(value) => Value::Float(*value),
            Reading::Histogram(histogram) => Value::Histogram(histogram),
        }
    }
}

/// Whether a body that starts so is delimited protobuf: a length, then a name, then a byte that no text has there.
pub fn is_likely(start: &[u8]) -> bool {
    let name = || {
        let (_, used) = wire::varint(start).ok()??;
        let (b'\n', rest) = start.get(used..)?.split_first()? else { return None };
        let (len, used) = wire::varint(rest).ok()??;
        let end = used.checked_add(usize::try_from(len).ok()?)?;
        // Help, or the type.
        rest.get(end).filter(|&&tag| tag == 0x12 || tag == 0x18)
    };
    name().is_some()
}

/// Reads an exposition and gives each sample with its family, or the error of a metric that is left out, to `each`.
///
/// Of `settings` those for native histograms count. A body whose bytes are wrong ends the reading with
/// [`io::ErrorKind::InvalidData`] and an [`Error`] in it.
pub fn parse_all(
    mut input: impl Read,
    settings: &Settings,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), Error>),
) -> io::Result<()> {
    let invalid = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut messages = Messages::new(MESSAGE_BYTES_MAX);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let len = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut bytes = &piece[..len];
        while let Some(message) = messages.take(&mut bytes).map_err(invalid)? {
            recover(read_family(message, settings, &mut each), &mut each).map_err(invalid)?;
        }
    }
    messages.finish().map_err(invalid)
}

/// Gives the error of a metric to `each`, and any other back.
fn recover(
    read: Result<(), Error>,
    each: &mut impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), Error>),
) -> Result<(), Error> {
    match read {
        Err(error) if error.problem.is_of_one_metric() => {
            each(Err(error));
            Ok(())
        }
        read => read,
    }
}

fn read_family(
    message: Message<'_>,
    settings: &Settings,
    each: &mut impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), Error>),
) -> Result<(), Error> {
    let Some(view) = FamilyView::read(message)? else { return Ok(()) };
    let mut metrics = view.metrics();
    while let Some(message) = metrics.next()? {
        recover(read_metric(message, view.family, settings, each), each)?;
    }
    Ok(())
}

fn read_metric(
    message: Message<'_>,
    family: Family<'_>,
    settings: &Settings,
    each: &mut impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), Error>),
) -> Result<(), Error> {
    let metric = Metric::read(message, family.kind)?;
    let sample = |part: Part, reading| -> Result<_, Error> {
        let labels = labels_of(&metric, part, &family, Labels::new())?;
        let created_ms = metric.created_ms().filter(|_| part.is_counted());
        Ok(Sample { labels, reading, own_ms: metric.own_ms, exemplars: Vec::new(), created_ms })
    };
    let (has_native, has_classic) = representations(&metric.content, settings);
    if let Content::Histogram(histogram) = &metric.content
        && has_native
    {
        let native = histogram.native(family.kind == MetricType::GaugeHistogram)?;
        let mut sample = sample(Part::Native, Reading::Histogram(Box::new(native)))?;
        histogram.each_exemplar(|exemplar| sample.exemplars.push(exemplar))?;
        each(Ok((&sample, family)));
    }
    let mut readings = metric.readings();
    while has_classic && let Some(reading) = readings.next()? {
        let mut sample = sample(reading.part, Reading::Float(reading.value))?;
        sample.exemplars.extend(reading.exemplar.map(read_exemplar).transpose()?.flatten());
        each(Ok((&sample, family)));
    }
    Ok(())
}

/// Whether a metric is read as a native histogram, and whether it gives samples that are floats.
pub(super) fn representations(content: &Content<'_>, settings: &Settings) -> (bool, bool) {
    match content {
        Content::Histogram(histogram) if settings.native_histograms && histogram.is_native() => {
            (true, settings.classic_histograms_too && histogram.is_classic())
        }
        _ => (false, true),
    }
}

/// The labels of a part of a metric, added to none; an error where the metric has the part's label itself.
pub(super) fn labels_of<'a>(
    metric: &Metric<'a>,
    part: Part,
    family: &Family<'a>,
    mut labels: Labels<'a>,
) -> Result<Labels<'a>, Error> {
    metric.labels(&mut labels)?;
    if let Some((name, value)) = part.label() {
        if labels.get(name).is_some() {
            let reason = format!("a metric has a label \"{name}\", which its type needs; it is left out");
            return Err(Error::metric(metric.at(), reason));
        }
        let mut text = Vec::new();
        write::openmetrics_float(&mut text, value);
        labels.set(name, String::from_utf8(text).unwrap_or_default());
    }
    let name = match part.suffix() {
        "" => Cow::Borrowed(family.name),
        suffix => Cow::Owned([family.name, suffix].concat()),
    };
    labels.set(METRIC_NAME, name);
    Ok(labels)
}
