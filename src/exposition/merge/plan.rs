//! What one exposition will hold: the live samples of all targets, their families merged and in order.
//!
//! A [`Plan`] holds indices into the scrapes, four bytes a sample, and no text of the exposition itself.
//!
//! Promises
//! - Each family is there once, in the order of names, with one type; where targets disagree it is unknown.
//! - No family's samples bear the name of another family: one of the two (the one whose type needs suffixes) is parted into
//!   families of its samples' names, of unknown type.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::write::Format;
use super::index::{Index, NONE, suffixes};
use crate::model::{Exemplar, MetricType, Scrape, Value};

/// A target's latest scrape, and where its live samples stand.
pub(super) struct View {
    pub(super) scrape: Arc<Scrape>,
    pub(super) index: Arc<Index>,
    /// The point of each place, or [`NONE`].
    pub(super) points: Box<[u32]>,
    /// Series and exemplar, by their numbers, in the order of series; empty where the format has no exemplars.
    exemplars: Box<[(u32, u32)]>,
}

impl View {
    /// Also says how many samples lost their place to another with the same name and labels.
    fn new(format: Format, scrape: Arc<Scrape>, index: Arc<Index>) -> (Self, u64) {
        let mut points = vec![NONE; index.series.len()].into_boxed_slice();
        let mut duplicates = 0;
        for (at, point) in scrape.points.iter().enumerate() {
            if point.value.is_stale() || matches!(point.value, Value::Histogram(_)) {
                continue;
            }
            let Some(place) = index.places.get(point.series as usize).and_then(|&place| points.get_mut(place as usize))
            else {
                continue;
            };
            // One series may come several times in a scrape, with times of its own: the last one counts.
            if *place == NONE || scrape.points.get(*place as usize).series == point.series {
                *place = at as u32;
            } else {
                duplicates += 1;
            }
        }
        let exemplars = match format {
            Format::Text => Box::default(),
            Format::OpenMetrics => last_of_each(&scrape.exemplars),
        };
        (Self { scrape, index, points, exemplars }, duplicates)
    }

    /// The exemplar of a series: the last one, where it has several.
    pub(super) fn exemplar(&self, series: u32) -> Option<&Exemplar> {
        let at = self.exemplars.binary_search_by_key(&series, |(series, _)| *series).ok()?;
        self.scrape.exemplars.get(self.exemplars[at].1 as usize)
    }
}

fn last_of_each(exemplars: &[Exemplar]) -> Box<[(u32, u32)]> {
    let mut found: Vec<(u32, u32)> =
        exemplars.iter().enumerate().map(|(at, exemplar)| (exemplar.series, at as u32)).collect();
    found.sort_unstable_by_key(|&(series, at)| (series, std::cmp::Reverse(at)));
    found.dedup_by_key(|(series, _)| *series);
    found.into()
}

/// A target's part of a merged family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Index into [`Plan::views`].
    pub(super) view: u32,
    /// Index into its [`Index::families`].
    pub(super) family: u32,
    /// Only the samples that bear the merged family's own name.
    pub(super) is_part: bool,
}

/// A family as it is served.
#[derive(Debug)]
pub(super) struct MergedFamily {
    pub(super) name: Box<str>,
    pub(super) kind: MetricType,
    pub(super) members: Box<[Member]>,
}

/// What one exposition will hold: see the [module](super).
pub struct Plan {
    pub(super) format: Format,
    pub(super) views: Vec<View>,
    /// In the order of names.
    pub(super) families: Vec<MergedFamily>,
    /// Samples left out within one target.
    pub duplicates: u64,
    /// Families that lost their type.
    pub type_clashes: TypeClashes,
}

/// Families that lost their type because targets disagree about it.
#[derive(Clone, Debug, Default)]
pub struct TypeClashes {
    /// How many.
    pub count: u64,
    /// The name of one of them.
    pub example: Option<Box<str>>,
}

impl TypeClashes {
    fn add(&mut self, name: &str) {
        self.count += 1;
        self.example.get_or_insert_with(|| name.into());
    }
}

impl Plan {
    /// Merges the scrapes; where two have the same series, the first wins.
    pub fn new(format: Format, scrapes: Vec<(Arc<Scrape>, Arc<Index>)>) -> Self {
        let mut duplicates = 0;
        let views: Vec<View> = scrapes
            .into_iter()
            .map(|(scrape, index)| {
                let (view, lost) = View::new(format, scrape, index);
                duplicates += lost;
                view
            })
            .collect();
        let mut merger = Merger::new(format, &views);
        merger.part_clashing();
        let (families, type_clashes) = merger.finish();
        Self { format, views, families, duplicates, type_clashes }
    }
}

#[derive(Default)]
struct Merged {
    kinds: Vec<MetricType>,
    members: Vec<Member>,
}

impl Merged {
    fn add(&mut self, kind: MetricType, member: Member) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self.members.push(member);
    }
}

struct Merger<'v> {
    format: Format,
    views: &'v [View],
    by_name: HashMap<&'v str, Merged, RandomState>,
    type_clashes: TypeClashes,
}

impl<'v> Merger<'v> {
    fn new(format: Format, views: &'v [View]) -> Self {
        let mut by_name: HashMap<&str, Merged, RandomState> = HashMap::default();
        for (at, view) in views.iter().enumerate() {
            for (number, family) in view.index.families.iter().enumerate() {
                if view.points[family.range()].iter().any(|&point| point != NONE) {
                    let member = Member { view: at as u32, family: number as u32, is_part: false };
                    by_name.entry(family.name(&view.scrape.series)).or_default().add(family.kind, member);
                }
            }
        }
        Self { format, views, by_name, type_clashes: TypeClashes::default() }
    }

    /// Parts families until no name is claimed twice. Each round parts at least one that needs suffixes, so it ends.
    fn part_clashing(&mut self) {
        loop {
            let clashing: Vec<&str> = self.by_name.keys().copied().filter(|name| self.is_clashing(name)).collect();
            if clashing.is_empty() {
                return;
            }
            for name in clashing {
                self.part(name);
            }
        }
    }

    fn is_clashing(&self, name: &str) -> bool {
        let merged = &self.by_name[name];
        let needs_suffixes = |kind: &&MetricType| !suffixes(self.format, **kind).is_empty();
        let mut claimed = String::new();
        merged.kinds.iter().find(needs_suffixes).is_some_and(|&kind| {
            merged.kinds.len() > 1
                || suffixes(self.format, kind).iter().any(|suffix| {
                    claimed.clear();
                    claimed.push_str(name);
                    claimed.push_str(suffix);
                    self.by_name.contains_key(claimed.as_str())
                })
        })
    }

    fn part(&mut self, name: &'v str) {
        let Some(merged) = self.by_name.remove(name) else { return };
        for member in merged.members {
            let view = &self.views[member.view as usize];
            let family = &view.index.families[member.family as usize];
            let kind = if member.is_part { MetricType::Unknown } else { family.kind };
            if suffixes(self.format, kind).is_empty() {
                self.by_name.entry(name).or_default().add(kind, member);
                continue;
            }
            let mut names: Vec<&str> = view.index.series[family.range()]
                .iter()
                .zip(&view.points[family.range()])
                .filter(|(_, point)| **point != NONE)
                .map(|(&series, _)| view.scrape.series.get(series).name())
                .collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let part = Member { is_part: true, ..member };
                self.by_name.entry(name).or_default().add(MetricType::Unknown, part);
            }
        }
        // A counter whose name without `_total` is taken is a matter of naming, and no disagreement.
        let is_typed = |kind: &MetricType| !matches!(kind, MetricType::Counter | MetricType::Info);
        if merged.kinds.iter().any(|kind| is_typed(kind) && !suffixes(self.format, *kind).is_empty()) {
            self.type_clashes.add(name);
        }
    }

    fn finish(mut self) -> (Vec<MergedFamily>, TypeClashes) {
        let mut families: Vec<MergedFamily> = self
            .by_name
            .into_iter()
            .map(|(name, merged)| {
                let kind = match *merged.kinds {
                    [kind] => kind,
                    _ => {
                        self.type_clashes.add(name);
                        MetricType::Unknown
                    }
                };
                MergedFamily { name: name.into(), kind, members: merged.members.into() }
            })
            .collect();
        families.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        // Parting goes through a table in no order; who comes first must not depend on it.
        for family in &mut families {
            family.members.sort_unstable_by_key(|member| (member.view, member.family));
        }
        (families, self.type_clashes)
    }
}
