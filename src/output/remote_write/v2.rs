//! `io.prometheus.write.v2.Request`, of remote write 2.0: prompb/io/prometheus/write/v2/types.proto of Prometheus (2.0-rc.4, where
//! start times are a field of each sample).
//!
//! Every text of a request stands once in its table of symbols, which comes first; series refer to them by number. The table is
//! that of the chunks in the batch: while these stay the same, so does the table, and what refers to it. Exemplars' labels, which
//! are new each time, come behind.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::merge::{Group, Run, Used};
use super::rendered::{Pieces, Rendered, Shelf};
use super::sample::Fields;
use super::v1::{bytes_key, type_number};
use crate::model::{Chunk, Labels, METRIC_NAME};
use crate::output::protobuf::{fixed64, listed_bytes, nested, varint};

// The numbers of fields.
mod number {
    pub const SYMBOLS: u32 = 4;
    pub const TIMESERIES: u32 = 5;
    pub const LABELS: u32 = 1;
    pub const SAMPLES: u32 = 2;
    pub const HISTOGRAMS: u32 = 3;
    pub const EXEMPLARS: u32 = 4;
    pub const METADATA: u32 = 5;
    pub const EXEMPLAR_LABELS: u32 = 1;
    pub const EXEMPLAR_VALUE: u32 = 2;
    pub const EXEMPLAR_TIME: u32 = 3;
    pub const METADATA_TYPE: u32 = 1;
    pub const METADATA_HELP: u32 = 3;
    pub const METADATA_UNIT: u32 = 4;
}

/// Where samples stand.
const FIELDS: Fields = Fields { floats: number::SAMPLES, histograms: number::HISTOGRAMS, has_start: true };

/// Texts, each once, as they stand in a message.
struct Symbols {
    written: Vec<u8>,
    /// Where each one's own bytes are in `written`, and how many.
    places: Vec<(u32, u32)>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Default for Symbols {
    /// The first is the empty one.
    fn default() -> Self {
        let (written, hasher) = (Vec::new(), RandomState::default());
        let mut symbols = Self { written, places: Vec::new(), numbers: HashTable::new(), hasher };
        symbols.number("");
        symbols
    }
}

impl Symbols {
    fn text(&self, number: u32) -> &[u8] {
        text(&self.written, &self.places, number)
    }

    /// The number of a text that may be new.
    fn number(&mut self, symbol: &str) -> u32 {
        if let Some(known) = self.find(symbol) {
            return known;
        }
        let number = self.places.len() as u32;
        listed_bytes(&mut self.written, number::SYMBOLS, symbol.as_bytes());
        self.places.push(((self.written.len() - symbol.len()) as u32, symbol.len() as u32));
        let Self { written, places, numbers, hasher } = self;
        let hash = |bytes: &[u8]| hasher.hash_one(bytes);
        numbers.insert_unique(hash(symbol.as_bytes()), number, |&known| hash(text(written, places, known)));
        number
    }

    fn find(&self, symbol: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(symbol.as_bytes());
        self.numbers.find(hash, |&known| self.text(known) == symbol.as_bytes()).copied()
    }

    /// Forgets all but the first `len`.
    fn truncate(&mut self, len: usize) {
        for number in (len..self.places.len()).map(|number| number as u32) {
            let hash = self.hasher.hash_one(self.text(number));
            if let Ok(entry) = self.numbers.find_entry(hash, |&known| known == number) {
                entry.remove();
            }
        }
        self.places.truncate(len);
        let end = self.places.last().map_or(0, |(start, len)| start + len);
        self.written.truncate(end as usize);
    }
}

fn text<'w>(written: &'w [u8], places: &[(u32, u32)], number: u32) -> &'w [u8] {
    let (start, len) = places[number as usize];
    &written[start as usize..(start + len) as usize]
}

/// The symbols of some chunks, and how series refer to them.
#[derive(Default)]
pub struct Table {
    symbols: Symbols,
    shelf: Shelf,
}

impl Table {
    /// Of everything in these chunks.
    pub(super) fn of_chunks(chunks: &[&Arc<Chunk>]) -> Self {
        let mut table = Self::default();
        chunks.iter().for_each(|chunk| table.add(chunk, None));
        table
    }

    /// Of what these targets' samples use, and nothing else.
    pub(super) fn of_used(groups: &[Group<'_>]) -> Self {
        // Two sets of a target may share chunks: each is put in once, with what any of them uses.
        let (mut chunks, mut known): (Vec<(&Arc<Chunk>, Used)>, _) = (Vec::new(), HashMap::new());
        for group in groups {
            for (chunk, used) in group.widest.series.chunks().iter().zip(group.used()) {
                let at = *known.entry(chunk.id()).or_insert(chunks.len());
                match chunks.get_mut(at) {
                    Some((_, all)) => all.add(&used),
                    None => chunks.push((chunk, used)),
                }
            }
        }
        let mut table = Self::default();
        chunks.iter().for_each(|(chunk, used)| table.add(chunk, Some(used)));
        table
    }

    /// Whether it is of these chunks, in this order.
    pub(super) fn is_of(&self, chunks: &[&Arc<Chunk>]) -> bool {
        self.shelf.chunks.len() == chunks.len()
            && self.shelf.chunks.iter().zip(chunks).all(|(rendered, chunk)| rendered.chunk == chunk.id())
    }

    fn add(&mut self, chunk: &Chunk, used: Option<&Used>) {
        let symbols = &mut self.symbols;
        let is_name_used = |metric: u32| used.is_none_or(|used| used.names[metric as usize]);
        let is_pair_used = |pair: u32| used.is_none_or(|used| used.pairs[pair as usize]);
        let mut is_family_used = vec![false; chunk.families()];
        let names = Pieces::each(chunk.metrics(), |out, metric| {
            if is_name_used(metric) {
                let (name, family) = chunk.metric(metric);
                refer(out, symbols, (METRIC_NAME, name));
                is_family_used[family as usize] = true;
            }
        });
        let pairs = Pieces::each(chunk.pairs(), |out, pair| {
            if is_pair_used(pair) {
                refer(out, symbols, chunk.pair(pair));
            }
        });
        let families = Pieces::each(chunk.families(), |out, number| {
            let family = chunk.family(number);
            if !is_family_used[number as usize] {
                return;
            }
            let (kind, help, unit) =
                (type_number(family.kind), symbols.number(family.help), symbols.number(family.unit));
            if (kind, help, unit) != (0, 0, 0) {
                nested(out, number::METADATA, |out| {
                    varint(out, number::METADATA_TYPE, kind);
                    varint(out, number::METADATA_HELP, help.into());
                    varint(out, number::METADATA_UNIT, unit.into());
                });
            }
        });
        self.shelf.chunks.push(Rendered::new(chunk, names, pairs, families));
    }

    /// How many symbols it has.
    pub(super) fn len(&self) -> usize {
        self.symbols.places.len()
    }

    /// Puts in the labels of an exemplar.
    pub(super) fn add_labels(&mut self, labels: &Labels<'_>) {
        for (name, value) in labels.iter() {
            self.symbols.number(name);
            self.symbols.number(value);
        }
    }

    /// Forgets the symbols behind the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.symbols.truncate(len);
    }

    /// As it stands at the start of a request.
    pub(super) fn written(&self) -> &[u8] {
        &self.symbols.written
    }
}

/// The numbers of a label's name and value, one behind the other.
fn refer(out: &mut Vec<u8>, symbols: &mut Symbols, (name, value): (&str, &str)) {
    encode_varint(symbols.number(name).into(), out);
    encode_varint(symbols.number(value).into(), out);
}

/// Writes messages, with memory that is used again.
#[derive(Default)]
pub(super) struct Writer {
    tail: Vec<u8>,
    /// Where the last chunk stands in the table.
    at: usize,
}

impl Writer {
    /// Writes one series with its samples; its table has all symbols.
    pub fn series(&mut self, body: &mut Vec<u8>, table: &Table, run: &Run<'_, '_>) {
        self.tail.clear();
        let tail = &mut self.tail;
        // Floats go right into the body.
        let floats_len = FIELDS.len(run.samples);
        if floats_len.is_none() {
            FIELDS.write(tail, run.samples);
        }
        for (time_ms, exemplar) in run.exemplars {
            nested(tail, number::EXEMPLARS, |out| {
                nested(out, number::EXEMPLAR_LABELS, |out| {
                    for symbol in exemplar.labels.iter().flat_map(|(name, value)| [name, value]) {
                        encode_varint(table.symbols.find(symbol).unwrap_or_default().into(), out);
                    }
                });
                fixed64(out, number::EXEMPLAR_VALUE, exemplar.value.to_bits());
                varint(out, number::EXEMPLAR_TIME, *time_ms as u64);
            });
        }
        let Some(rendered) = table.shelf.of(run.series.chunk(), &mut self.at) else { return };
        let labels_len = rendered.labels_len(run.series);
        let metadata = rendered.families.get(run.series.family_number());
        let samples_len = floats_len.unwrap_or(0) + tail.len();
        body.push(bytes_key(number::TIMESERIES));
        encode_varint(
            (1 + encoded_len_varint(labels_len as u64) + labels_len + samples_len + metadata.len()) as u64,
            body,
        );
        body.push(bytes_key(number::LABELS));
        encode_varint(labels_len as u64, body);
        rendered.labels(body, run.series);
        if floats_len.is_some() {
            FIELDS.write(body, run.samples);
        }
        body.extend_from_slice(tail);
        body.extend_from_slice(metadata);
    }
}
