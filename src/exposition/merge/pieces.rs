//! The text of an exposition, written a piece at a time as a client takes it.
//!
//! At most one piece of [`PIECE_BYTES`] (and a line) is in memory, besides the plan; a client that reads slowly holds the scrapes
//! that it was promised, so the number of expositions at a time is limited where they are made.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::super::write::{self, Format};
use super::index::{LocalFamily, NONE, inner_label, is_bare, is_same_metric, metric_hash, takes_exemplar};
use super::plan::{Member, Plan};
use crate::model::{Labels, MetricType, Point, Scrape, SeriesRef, SeriesSet, Value};

/// Bytes of a piece, before compression.
const PIECE_BYTES: usize = 64 * 1024;

/// How an exposition is written, besides its format.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Which samples are written with their times.
    pub timestamps: Timestamps,
    /// The client reads names in quotes; else series with such names are left out.
    pub quoted_names: bool,
}

/// Which samples are written with their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// None.
    None,
    /// Those that came with one of their own.
    Own,
    /// All; those without one of their own with the scrape's.
    All,
}

impl Timestamps {
    fn of(self, scrape: &Scrape, point: &Point<'_>) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Own => point.own_ms,
            Self::All => Some(scrape.time_ms(point)),
        }
    }
}

/// What one exposition came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Samples written.
    pub samples: u64,
    /// Samples left out because another has their name and labels.
    pub duplicates: u64,
    /// The first of them that two targets have, and the two.
    pub duplicate: Option<String>,
    /// Samples whose names need quotes, which the client does not read.
    pub quoted: u64,
}

/// Writes a plan, from where it stopped.
struct Writer {
    plan: Plan,
    style: Style,
    family: usize,
    member: usize,
    /// The next place in the member's family, from 0.
    offset: usize,
    is_headed: bool,
    outcome: Outcome,
    keys: RandomState,
    /// The metrics of this family so far, where several targets have it: hash, member and place.
    owners: HashTable<(u64, u32, u32)>,
}

impl Writer {
    /// Writes until `out` holds a piece. Returns whether there is more.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        while self.family < self.plan.families.len() {
            let members = self.plan.families[self.family].members.len();
            while self.member < members {
                if !self.write_member(out) {
                    return true;
                }
                self.member += 1;
                self.offset = 0;
            }
            self.family += 1;
            (self.member, self.is_headed) = (0, false);
            self.owners.clear();
        }
        if self.plan.format == Format::OpenMetrics {
            out.extend_from_slice(write::EOF);
        }
        false
    }

    /// Writes samples of one target's part of a family. Returns whether it came to the end of them.
    fn write_member(&mut self, out: &mut Vec<u8>) -> bool {
        let Plan { format, views, families, .. } = &self.plan;
        let merged = &families[self.family];
        let Member { view, family, is_part } = merged.members[self.member];
        let view = &views[view as usize];
        let family = &view.index.families[family as usize];
        let set = &view.scrape.series;
        let may_be_quoted = !family.is_bare && !self.style.quoted_names;
        let is_shared = merged.members.len() > 1;
        for place in family.range().skip(self.offset) {
            if out.len() >= PIECE_BYTES {
                return false;
            }
            self.offset += 1;
            if view.points[place] == NONE {
                continue;
            }
            let series = set.get(view.index.series[place]);
            if is_part && series.name() != &*merged.name {
                continue;
            }
            if may_be_quoted && !is_bare(&series) {
                self.outcome.quoted += 1;
                continue;
            }
            if is_shared {
                let owner = owner(&self.plan, self.family, self.member, place, &self.keys, &mut self.owners);
                if owner != self.member {
                    self.outcome.duplicates += 1;
                    self.outcome.duplicate.get_or_insert_with(|| {
                        let other = &views[merged.members[owner].view as usize].scrape.origin;
                        example(&series, &other.url, &view.scrape.origin.url)
                    });
                    continue;
                }
            }
            if !self.is_headed {
                self.is_headed = true;
                write_header(&self.plan, self.family, out);
            }
            let point = view.scrape.points.get(view.points[place] as usize);
            if let Value::Float(value) = point.value {
                let at_ms = self.style.timestamps.of(&view.scrape, &point);
                write::series(out, series.name(), series.labels());
                let exemplar = view.exemplar(point.series).filter(|exemplar| {
                    takes_exemplar(merged.kind, &series, exemplar.value) && write::is_expressible(exemplar)
                });
                match exemplar {
                    Some(exemplar) => write::value_with_exemplar(out, value, at_ms, exemplar),
                    None => write::value(out, *format, value, at_ms),
                }
                self.outcome.samples += 1;
            }
        }
        true
    }
}

/// HELP, TYPE and UNIT, once; the first target that has a text gives it.
fn write_header(plan: &Plan, family: usize, out: &mut Vec<u8>) {
    let merged = &plan.families[family];
    let first = |text: for<'s> fn(&LocalFamily, &'s SeriesSet) -> &'s str| {
        let texts = merged.members.iter().map(|member| {
            let view = &plan.views[member.view as usize];
            text(&view.index.families[member.family as usize], &view.scrape.series)
        });
        texts.into_iter().find(|text| !text.is_empty())
    };
    if let Some(help) = first(LocalFamily::help) {
        write::help(out, plan.format, &merged.name, help);
    }
    write::kind(out, plan.format, &merged.name, merged.kind);
    if plan.format == Format::OpenMetrics
        && let Some(unit) = first(LocalFamily::unit)
        && merged.name.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_'))
        && !matches!(merged.kind, MetricType::Info | MetricType::StateSet)
    {
        write::unit(out, &merged.name, unit);
    }
}

/// The member whose metric this is: the first that has these labels.
fn owner(
    plan: &Plan,
    family: usize,
    member: usize,
    place: usize,
    keys: &RandomState,
    owners: &mut HashTable<(u64, u32, u32)>,
) -> usize {
    let merged = &plan.families[family];
    let inner = inner_label(merged.kind, &merged.name);
    let series_of = |member: u32, place: u32| -> SeriesRef<'_> {
        let view = &plan.views[merged.members[member as usize].view as usize];
        view.scrape.series.get(view.index.series[place as usize])
    };
    let (own, place) = (member as u32, place as u32);
    let series = series_of(own, place);
    let hash = metric_hash(keys, &series, inner);
    let is_it = |held: &(u64, u32, u32)| held.0 == hash && is_same_metric(&series_of(held.1, held.2), &series, inner);
    match owners.find(hash, is_it) {
        Some(owner) => owner.1 as usize,
        None => {
            owners.insert_unique(hash, (hash, own, place), |held| held.0);
            member
        }
    }
}

/// A series that two targets have, for the log.
fn example(series: &SeriesRef<'_>, first: &str, second: &str) -> String {
    let labels: Labels = series.labels().collect();
    format!("{}{labels} of {first} and of {second}", series.name())
}

/// How pieces are sent.
enum Encoding {
    Plain,
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

/// An exposition, piece by piece.
pub struct Pieces {
    writer: Writer,
    encoding: Encoding,
    /// The text of a piece before it is compressed; kept for the next one.
    text: Vec<u8>,
    is_done: bool,
}

impl Pieces {
    /// All of `plan`, as text or as gzip of it.
    pub fn new(plan: Plan, style: Style, is_gzip: bool) -> Self {
        let outcome = Outcome { duplicates: plan.duplicates, ..Outcome::default() };
        // Level 1: the link is short, and the text repeats itself so much that higher levels gain little.
        let gzip = || GzEncoder::new(Vec::with_capacity(PIECE_BYTES / 4), flate2::Compression::fast());
        Self {
            writer: Writer {
                plan,
                style,
                family: 0,
                member: 0,
                offset: 0,
                is_headed: false,
                outcome,
                keys: RandomState::default(),
                owners: HashTable::new(),
            },
            encoding: if is_gzip { Encoding::Gzip(Box::new(gzip())) } else { Encoding::Plain },
            text: Vec::new(),
            is_done: false,
        }
    }

    /// What is written, and what it came to; whole when it [is done](Self::is_done).
    pub fn outcome(&self) -> (&Plan, &Outcome) {
        (&self.writer.plan, &self.writer.outcome)
    }

    /// Whether the last piece was made.
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    /// The next bytes to send; `None` after the last.
    fn next(&mut self) -> Option<Bytes> {
        while !self.is_done {
            self.text.clear();
            self.text.reserve(PIECE_BYTES + PIECE_BYTES / 8);
            self.is_done = !self.writer.write(&mut self.text);
            let bytes = match &mut self.encoding {
                Encoding::Plain => std::mem::take(&mut self.text),
                Encoding::Gzip(encoder) => {
                    // Writing to a `Vec` does not fail.
                    let _ = encoder.write_all(&self.text);
                    if self.is_done {
                        let _ = encoder.try_finish();
                    }
                    std::mem::take(encoder.get_mut())
                }
            };
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
        None
    }
}
