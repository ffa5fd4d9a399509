//! Reads the messages of a delimited protobuf body into a table.
//!
//! The key of a sample is a hash of its metric's labels as they are encoded, and of which part of the metric it is. So a steady
//! body costs varints, doubles and a hash a metric: no label is made a string, and no name is looked at. What a family says of
//! itself is its comment. The order of what may go wrong is that of [`parse_all`](super::super::protobuf::parse_all), so that both read the same.

use super::super::body::Refusal;
use super::super::protobuf::{
    Content, Error, FamilyView, MESSAGE_BYTES_MAX, Message, Messages, Metric, Part, labels_of, read_exemplar,
    representations,
};
use super::super::text::LineExemplar;
use super::contexts::Effect;
use super::core::{Core, Owner, Placed};
use super::lines::Key;
use super::samples::Observed;
use crate::model::{Family, Histogram, MetricType};

/// The body that is being read: what of it is held back.
pub(super) struct ProtobufBody {
    messages: Messages,
}

impl ProtobufBody {
    /// Nothing came yet.
    pub(super) fn new() -> Self {
        Self { messages: Messages::new(MESSAGE_BYTES_MAX) }
    }

    /// A new body is going to come.
    pub(super) fn restart(&mut self) {
        self.messages.restart();
    }

    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        self.messages.bytes()
    }

    /// Reads a piece of the body.
    pub(super) fn read(&mut self, core: &mut Core, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some(message) = self.messages.take(&mut bytes)? {
            match FamilyView::read(message) {
                Ok(Some(family)) => read_family(core, &family)?,
                Ok(None) => {}
                Err(error) => skip(core, error)?,
            }
            core.check_sample_limit()?;
        }
        Ok(())
    }

    /// Says whether the body may end here.
    pub(super) fn finish(&self) -> Result<(), Refusal> {
        Ok(self.messages.finish()?)
    }
}

/// Counts a metric that is left out; any other error ends the body.
fn skip(core: &mut Core, error: Error) -> Result<(), Refusal> {
    if !error.problem.is_of_one_metric() {
        return Err(error.into());
    }
    core.skip(|_| error.into());
    Ok(())
}

fn read_family(core: &mut Core, view: &FamilyView<'_>) -> Result<(), Refusal> {
    let family = view.family;
    let key = family_key(core, &family);
    if !core.comment(key) {
        core.add_comment(key, Effect::Family(family), key.len as usize)?;
    }
    let mut metrics = view.metrics();
    while let Some(message) = metrics.next()? {
        core.line += 1;
        match MetricReader::new(core, message, family).and_then(|mut reader| reader.read(core)) {
            Ok(()) => {}
            Err(Stop::Refusal(refusal)) => return Err(refusal),
            Err(Stop::Metric(error)) => {
                skip(core, error)?;
                hold(core, message, &family);
            }
        }
    }
    Ok(())
}

fn family_key(core: &Core, family: &Family<'_>) -> Key {
    let texts = [family.name, family.help, family.unit];
    let hash = texts.iter().fold(core.comment_seed(), |hash, text| piece_hash(core, hash, text.as_bytes()));
    let len = texts.map(str::len).iter().sum::<usize>() as u32;
    Key { hash: core.keys.join(hash, family.kind as u64), len }
}

/// The hash of one more piece, whose length counts too.
#[inline]
fn piece_hash(core: &Core, before: u64, piece: &[u8]) -> u64 {
    core.keys.join(core.keys.hash(before, piece), piece.len() as u64)
}

/// Why the rest of a metric is not read.
enum Stop {
    /// The body is refused.
    Refusal(Refusal),
    /// The metric is left out.
    Metric(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.problem.is_of_one_metric() { Self::Metric(error) } else { Self::Refusal(error.into()) }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// One metric on its way into a table.
struct MetricReader<'a> {
    metric: Metric<'a>,
    family: Family<'a>,
    labels: Key,
    created_ms: Option<i64>,
}

impl<'a> MetricReader<'a> {
    #[inline]
    fn new(core: &Core, message: Message<'a>, family: Family<'a>) -> Result<Self, Stop> {
        let metric = Metric::read(message, family.kind)?;
        let mut hash = core.seed();
        let len = metric.each_label(|bytes| hash = piece_hash(core, hash, bytes))?;
        let labels = Key { hash, len: len as u32 };
        Ok(Self { metric, family, labels, created_ms: metric.created_ms() })
    }

    fn read(&mut self, core: &mut Core) -> Result<(), Stop> {
        let (has_native, has_classic) = representations(&self.metric.content, &core.settings);
        if let Content::Histogram(histogram) = &self.metric.content
            && has_native
        {
            let native = histogram.native(self.family.kind == MetricType::GaugeHistogram)?;
            core.weigh(bytes_of(&native))?;
            let placed = self.add(core, Part::Native, Observed::Histogram(Box::new(native)))?;
            histogram.each_exemplar(|exemplar| add_exemplar(core, placed, exemplar))?;
        }
        let mut readings = self.metric.readings();
        while has_classic && let Some(reading) = readings.next()? {
            let placed = self.add(core, reading.part, Observed::Float(reading.value))?;
            if let Some(exemplar) = reading.exemplar
                && let Some(exemplar) = read_exemplar(exemplar)?
            {
                add_exemplar(core, placed, exemplar);
            }
        }
        Ok(())
    }

    #[inline]
    fn add(&self, core: &mut Core, part: Part, value: Observed) -> Result<Placed, Stop> {
        let key = part_key(core, self.labels, part);
        let placed = match core.sample(key, value, self.metric.own_ms) {
            Ok(placed) => placed,
            Err(value) => self.add_new(core, key, part, value)?,
        };
        if let (Placed::Series(series), Some(at_ms)) = (placed, self.created_ms)
            && part.is_counted()
        {
            core.add_created(series, at_ms);
        }
        Ok(placed)
    }

    fn add_new(&self, core: &mut Core, key: Key, part: Part, value: Observed) -> Result<Placed, Stop> {
        let labels = labels_of(&self.metric, part, &self.family, core.take_spare())?;
        let name = [self.family.name, part.suffix()].concat();
        let bytes = name.len() + key.len as usize;
        let owner = Owner::Family(self.family.kind);
        Ok(core.add_sample(key, (&name, owner), labels, value, self.metric.own_ms, bytes)?)
    }
}

/// Bytes that a native histogram takes: eight times as many as on the wire, where they are made to be many.
fn bytes_of(histogram: &Histogram) -> usize {
    let Histogram { positive_spans, positive_counts, negative_spans, negative_counts, custom_bounds, .. } = histogram;
    size_of::<Histogram>()
        + size_of_val(&**positive_spans)
        + size_of_val(&**positive_counts)
        + size_of_val(&**negative_spans)
        + size_of_val(&**negative_counts)
        + size_of_val(&**custom_bounds)
}

/// The key of a part of a metric with these labels.
#[inline]
fn part_key(core: &Core, labels: Key, part: Part) -> Key {
    let (number, bits) = part.number();
    Key { hash: core.keys.join(core.keys.join(labels.hash, u64::from(number)), bits), len: labels.len }
}

fn add_exemplar(core: &mut Core, placed: Placed, exemplar: LineExemplar<'_>) {
    if let Placed::Series(series) = placed {
        core.add_exemplar(series, exemplar.labels.into_owned(), exemplar.value, exemplar.at_ms);
    }
}

/// A metric is left out: its series, as far as they can be told, do not end.
fn hold(core: &mut Core, message: Message<'_>, family: &Family<'_>) {
    let Ok(reader) = MetricReader::new(core, message, *family) else { return };
    let mut readings = reader.metric.readings();
    core.hold(part_key(core, reader.labels, Part::Native));
    while let Ok(Some(reading)) = readings.next() {
        core.hold(part_key(core, reader.labels, reading.part));
    }
}
