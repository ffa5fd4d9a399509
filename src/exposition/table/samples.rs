//! The points of the scrape that is being read, and which series are live.
//!
//! While a scrape comes as predicted, its values are pushed and nothing else is touched: whose they are, and who is live, is as
//! it was. As soon as it differs, the samples so far are caught up on, and from then on each sample stamps its slot with the
//! scrape that it was seen in. A scrape that came wholly as predicted leaves all stamps as they are.
//!
//! A *slot* is a label set: the number of the first series that was made of it. Only where a target changes a series' metadata
//! has a slot several series.

mod twice;

use std::collections::HashSet;
use std::sync::Arc;

use super::lines::What;
use super::slots::{Aliases, NEVER, STEP, TIMED, Tally, WAS_LIVE};
use crate::model::{Exemplar, Histogram, Points, PointsBuilder, STALE_NAN, Values, room};

/// No series.
const NONE: u32 = u32::MAX;
/// A sample's value.
#[derive(Debug)]
pub(super) enum Observed {
    Float(f64),
    Histogram(Box<Histogram>),
}

pub(super) struct Samples {
    points: PointsBuilder,
    /// The series of the points of the last scrape, if it had its body's samples and the target's own and nothing else.
    column: Option<Arc<[u32]>>,
    exemplars: Vec<(u32, Exemplar)>,
    /// The stamp of each slot.
    stamps: Vec<u32>,
    aliases: Aliases,
    /// Slots whose last sample was a native histogram.
    histograms: HashSet<u32>,
    /// Slots that this scrape gave to another series or made histograms, or no more, and what they were.
    turned: Vec<(u32, (u32, bool))>,
    tally: Tally,
    honor_timestamps: bool,
    track_timestamps: bool,
    at_ms: i64,
    /// Whether a scrape has begun and was neither accepted nor failed.
    is_open: bool,
    /// Whether this scrape has come as predicted up to now: nothing is stamped.
    is_even: bool,
    /// Whether the scrape before may be repeated without a look at stamps.
    is_plain: bool,
    /// Points of the last scrape: memory to be reserved.
    expected: usize,
    /// The stamp of the last scrape that was not even.
    now: u32,
    /// The last good one: what is younger is no added series.
    last_good: u32,
    /// The one whose series are live, or [`NEVER`]; how many they are.
    live: u32,
    live_count: u64,
    /// Slots whose line was bad.
    held: Vec<u32>,
    /// Points of the body.
    body_points: usize,
    /// The target's own series so far, and series of the body that they replace.
    reported: Vec<u32>,
    replaced: Vec<u32>,
}

impl Samples {
    pub(super) fn new(honor_timestamps: bool, track_timestamps: bool) -> Self {
        Self {
            points: PointsBuilder::default(),
            column: None,
            exemplars: Vec::new(),
            stamps: Vec::new(),
            aliases: Aliases::default(),
            histograms: HashSet::new(),
            turned: Vec::new(),
            tally: Tally::default(),
            honor_timestamps,
            track_timestamps,
            at_ms: 0,
            is_open: false,
            is_even: false,
            is_plain: false,
            expected: 0,
            now: STEP,
            last_good: STEP,
            live: NEVER,
            live_count: 0,
            held: Vec::new(),
            body_points: 0,
            reported: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Starts a scrape. It may come as predicted only if the one before ended well and every series had one sample.
    pub(super) fn begin(&mut self, at_ms: i64) {
        self.is_open = true;
        self.is_even = self.is_plain && self.live != NEVER;
        self.at_ms = at_ms;
        self.points.clear();
        self.points.reserve(self.expected);
        self.exemplars.clear();
        self.tally = Tally::default();
        self.held.clear();
        self.reported.clear();
        self.replaced.clear();
        if !self.is_even {
            self.next_stamp();
        }
    }

    /// Whether nothing was stamped in this scrape.
    pub(super) fn is_even(&self) -> bool {
        self.is_even
    }

    /// The scrape is not as predicted: stamps what came of it so far.
    pub(super) fn catch_up(&mut self, came: impl Iterator<Item = What> + Clone) {
        if !self.is_even {
            return;
        }
        self.is_even = false;
        self.next_stamp();
        let series = came.clone().filter_map(What::series);
        self.points.name(series);
        for (what, series) in came.filter_map(|what| Some((what, what.series()?))) {
            // Whether it is a histogram is as it was, else it would not have come as predicted.
            self.see(self.aliases.slot_of(series), what.is_timed());
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Samples of the body so far.
    pub(super) fn len(&self) -> usize {
        if self.is_open { self.points.len() } else { self.body_points }
    }

    /// How many series are live.
    pub(super) fn live_count(&self) -> usize {
        self.live_count as usize
    }

    /// The live series.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        (0..self.stamps.len() as u32).filter(|&slot| self.is_live(slot)).map(|slot| self.aliases.series_of(slot))
    }

    /// Makes room for so many series and their samples.
    pub(super) fn make_room(&mut self, samples: usize) {
        room::in_list(&mut self.stamps, samples);
        self.points.make_room(samples);
    }

    /// Makes room for a series that the interner has just made, or knew.
    pub(super) fn know(&mut self, slot: u32, series: u32) {
        if series as usize >= self.stamps.len() {
            self.stamps.resize(series as usize + 1, 0);
        }
        if slot != series {
            self.aliases.slots.insert(series, slot);
        }
    }

    /// [Knows](Self::know) a series and [adds](Self::add) a sample of it.
    pub(super) fn add_known(&mut self, slot: u32, series: u32, value: f64, own_ms: Option<i64>) {
        if slot != series || series as usize != self.stamps.len() {
            self.know(slot, series);
            self.add(series, value, own_ms);
            return;
        }
        let is_timed = self.is_timed(own_ms);
        self.stamps.push(self.tally.see(0, (self.now, self.live, self.last_good), is_timed));
        self.points.push_float(series, value, self.honored(own_ms));
    }

    /// Whether a sample with this time of its own has one that keeps its series from a marker.
    #[inline]
    pub(super) fn is_timed(&self, own_ms: Option<i64>) -> bool {
        own_ms.is_some() && self.honor_timestamps && !self.track_timestamps
    }

    /// The values so far, to be added to and [put back](Self::put_values).
    #[inline]
    pub(super) fn take_values(&mut self) -> Values {
        self.points.take_values()
    }

    /// The values so far, some of them predicted ones that came: whose they are says [`name`](Self::name).
    #[inline]
    pub(super) fn put_values(&mut self, values: Values) {
        self.points.put_values(values);
    }

    /// The time of a sample, if those in the body count.
    #[inline]
    pub(super) fn honored(&self, own_ms: Option<i64>) -> Option<i64> {
        if self.honor_timestamps { own_ms } else { None }
    }

    /// Adds a float that was predicted, with perhaps a time of its own; whose it is says [`name`](Self::name).
    pub(super) fn add_timed_value(&mut self, value: f64, own_ms: Option<i64>) {
        self.points.push_timed_value(value, self.honored(own_ms));
    }

    /// Whether a float with perhaps this time of its own is of this kind.
    pub(super) fn is_float(&self, what: What, own_ms: Option<i64>) -> bool {
        what.series().is_some_and(|series| what == What::sample(series, false, self.is_timed(own_ms)))
    }

    /// The lines by which samples came that have no series yet. As long as a scrape is even, none needs one.
    pub(super) fn name(&mut self, lines: impl Iterator<Item = What>) {
        if self.is_even {
            return;
        }
        if self.aliases.slots.is_empty() && self.histograms.is_empty() {
            self.name_simple(lines);
            return;
        }
        for (what, series) in lines.filter_map(|what| Some((what, what.series()?))) {
            let series = self.stamp(series, what.is_timed(), what.is_histogram());
            self.points.push_series(series);
        }
    }

    /// The same, where every series is a slot of its own and none has native histograms.
    fn name_simple(&mut self, lines: impl Iterator<Item = What>) {
        // On its own, not behind `self`: this goes over all samples of a target that changes a little.
        let mut tally = self.tally;
        let mut carried = 0;
        for (what, series) in lines.filter_map(|what| Some((what, what.series()?))) {
            let stamp = &mut self.stamps[series as usize];
            if *stamp & !WAS_LIVE == self.live && !what.is_timed() {
                // Nearly all are: live before, and now.
                *stamp = self.now | WAS_LIVE;
                carried += 1;
            } else if *stamp < self.now {
                *stamp = tally.see(*stamp, (self.now, self.live, self.last_good), what.is_timed());
            } else {
                *stamp = tally.see_again(*stamp, what.is_timed());
            }
            self.points.push_series(series);
        }
        tally.carried += carried;
        tally.live += carried;
        self.tally = tally;
    }

    /// Adds a native histogram that was predicted, in a scrape that is even.
    pub(super) fn add_even_histogram(&mut self, value: Histogram, own_ms: Option<i64>) {
        self.points.push_histogram_value(value, self.honored(own_ms));
    }

    /// Adds a sample of the body in a scrape that is not even; gives the series that it is counted under.
    #[inline]
    pub(super) fn add(&mut self, series: u32, value: f64, own_ms: Option<i64>) -> u32 {
        let series = self.stamp(series, self.is_timed(own_ms), false);
        self.points.push_float(series, value, self.honored(own_ms));
        series
    }

    /// The same, of a native histogram.
    pub(super) fn add_histogram(&mut self, series: u32, value: Histogram, own_ms: Option<i64>) -> u32 {
        let series = self.stamp(series, self.is_timed(own_ms), true);
        self.points.push_histogram(series, value, self.honored(own_ms));
        series
    }

    /// Notes that a sample came; gives the series that it is counted under.
    #[inline]
    fn stamp(&mut self, series: u32, is_timed: bool, is_histogram: bool) -> u32 {
        let slot = self.aliases.slot_of(series);
        let stamp = &mut self.stamps[slot as usize];
        if *stamp >= self.now {
            // Which of them stay is decided when all are known.
            *stamp = self.tally.see_again(*stamp, is_timed);
            return self.aliases.series_of(slot);
        }
        let was = (self.aliases.series_of(slot), !self.histograms.is_empty() && self.histograms.contains(&slot));
        if was != (series, is_histogram) {
            self.turned.push((slot, was));
            self.turn(slot, (series, is_histogram));
        }
        self.see(slot, is_timed);
        series
    }

    /// From now on a slot's samples are given to this series, and are native histograms or not.
    fn turn(&mut self, slot: u32, (series, is_histogram): (u32, bool)) {
        if self.aliases.series_of(slot) != series {
            self.aliases.series.insert(slot, series);
        }
        match is_histogram {
            true => self.histograms.insert(slot),
            false => self.histograms.remove(&slot),
        };
    }

    /// Stamps a slot that this scrape has not seen yet.
    #[inline]
    fn see(&mut self, slot: u32, is_timed: bool) {
        let stamp = &mut self.stamps[slot as usize];
        *stamp = self.tally.see(*stamp, (self.now, self.live, self.last_good), is_timed);
    }

    /// Adds an exemplar of the sample that was added last.
    pub(super) fn add_exemplar(&mut self, exemplar: Exemplar) {
        self.exemplars.push((self.points.len() as u32 - 1, exemplar));
    }

    /// The line of a series was bad: it is not there, and not gone.
    pub(super) fn hold(&mut self, series: u32) {
        self.held.push(self.aliases.slot_of(series));
    }

    /// The scrape is good: adds a marker for every live series that it does not have.
    pub(super) fn accept(&mut self) {
        self.body_points = self.points.len();
        self.is_open = false;
        if self.is_even {
            return;
        }
        for at in 0..self.held.len() {
            if self.is_live(self.held[at]) {
                self.see(self.held[at], false);
            }
        }
        if self.tally.carried != self.live_count {
            // This scrape's stamps are younger, so whoever still bears the old one did not come.
            self.mark_live();
        }
        (self.live, self.live_count, self.last_good) = (self.now, self.tally.live, self.now);
        self.turned = Vec::new();
        // A slot that was held is live without a line that says so.
        self.is_plain = !self.tally.repeats && self.held.is_empty();
    }

    /// The scrape has failed: its samples are forgotten, and every live series gets a marker, after which none is live.
    pub(super) fn fail(&mut self) {
        self.points.clear();
        self.exemplars.clear();
        self.abandon();
        self.mark_live();
        (self.live, self.live_count) = (NEVER, 0);
        self.body_points = self.points.len();
        (self.is_plain, self.is_even) = (false, false);
    }

    fn mark_live(&mut self) {
        // Most are not: many are looked at in one go.
        const MANY: usize = 32;
        let is_live = |stamp: &u32| *stamp & !WAS_LIVE == self.live;
        let parts = self.stamps.chunks(MANY).enumerate();
        let parts = parts.filter(|(_, part)| part.iter().fold(false, |any, stamp| any | is_live(stamp)));
        let slots = parts.flat_map(|(at, part)| (at * MANY..).zip(part));
        let slots = slots.filter(|(_, stamp)| is_live(stamp)).map(|(slot, _)| slot as u32);
        for slot in slots {
            let series = self.aliases.series_of(slot);
            if self.histograms.contains(&slot) {
                self.points.push_histogram(series, Histogram::stale(), None);
            } else {
                self.points.push_float(series, STALE_NAN, None);
            }
        }
    }

    /// Takes back what an unfinished scrape did to liveness.
    pub(super) fn abandon(&mut self) {
        if !self.is_open {
            return;
        }
        self.is_open = false;
        if self.is_even {
            // No point has a series yet.
            self.points.clear();
            self.is_even = false;
            return;
        }
        // Markers are of what was handed on.
        for (slot, was) in std::mem::take(&mut self.turned) {
            self.turn(slot, was);
        }
        for stamp in self.stamps.iter_mut().filter(|stamp| **stamp >= self.now) {
            // Younger than before the last good scrape, and not live: known.
            *stamp = if *stamp & WAS_LIVE != 0 { self.live } else { self.last_good | TIMED };
        }
    }

    fn next_stamp(&mut self) {
        if self.now > NEVER - 3 * STEP {
            // After a thousand million scrapes: the live ones stay live, the rest become old.
            for stamp in &mut self.stamps {
                *stamp = if *stamp & !WAS_LIVE == self.live { STEP } else { 0 };
            }
            self.live = if self.live == NEVER { NEVER } else { STEP };
            (self.now, self.last_good) = (STEP, STEP);
        }
        self.now += STEP;
    }

    fn is_live(&self, slot: u32) -> bool {
        self.stamps[slot as usize] & !WAS_LIVE == self.live
    }

    /// The points of the scrape and its exemplars. `order` is what the body was made of if it came as predicted.
    pub(super) fn finish(&mut self, order: impl Iterator<Item = What>) -> (Points, Box<[Exemplar]>) {
        let is_plain = self.is_plain && self.points.len() == self.body_points + self.reported.len();
        let body = self.body_points;
        let is_as_before = |column: &&Arc<[u32]>| {
            column.len() == self.points.len() && column.get(body..).is_some_and(|own| own == self.reported)
        };
        let points = match self.column.as_ref().filter(|_| self.is_even && is_plain).filter(is_as_before) {
            Some(column) => self.points.finish_as(column),
            None => {
                if self.is_even {
                    self.points.name(order.filter_map(What::series).chain(self.reported.iter().copied()));
                }
                self.leave_out_replaced();
                self.points.finish()
            }
        };
        self.expected = points.len();
        self.column = is_plain.then(|| Arc::clone(points.series()));
        self.reported.clear();
        (points, std::mem::take(&mut self.exemplars).into_iter().map(|(_, exemplar)| exemplar).collect())
    }

    /// Whether each of the body's series has one sample, and none of them gives way.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Bytes of memory that it has, besides what the scrapes share.
    pub(super) fn bytes(&self) -> usize {
        let aliases = (self.aliases.slots.capacity() + self.aliases.series.capacity()) * 2 * size_of::<u32>();
        self.stamps.capacity() * size_of::<u32>() + aliases + self.histograms.capacity() * size_of::<u32>()
    }

    /// Whether a scrape has begun and was neither accepted nor failed.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether this is the series that its slot's last sample was given to, and `keep` holds for the slot or it is live.
    pub(super) fn is_kept(&self, series: u32, keep: impl Fn(u32) -> bool) -> bool {
        let slot = self.aliases.slot_of(series);
        self.aliases.series_of(slot) == series && (keep(slot) || self.is_live(slot))
    }

    /// The slot of a series.
    pub(super) fn slot_of(&self, series: u32) -> u32 {
        self.aliases.slot_of(series)
    }

    /// The series that a slot's last sample was given to.
    pub(super) fn series_of(&self, slot: u32) -> u32 {
        self.aliases.series_of(slot)
    }

    /// Gives memory back that is not used.
    pub(super) fn shrink(&mut self) {
        self.stamps.shrink_to_fit();
    }

    /// Keeps the series that [are kept](Self::is_kept), under the new numbers that `numbers` has for them or [`NONE`].
    pub(super) fn compact(&mut self, numbers: &[u32]) {
        let kept = (0..).zip(numbers).filter(|(_, number)| **number != NONE);
        let slots: Vec<u32> = kept.map(|(series, _)| self.aliases.slot_of(series)).collect();
        self.stamps = slots.iter().map(|&slot| self.stamps[slot as usize]).collect();
        let histograms = (0..).zip(&slots).filter(|(_, slot)| self.histograms.contains(slot));
        self.histograms = histograms.map(|(number, _)| number).collect();
        self.aliases = Aliases::default();
        self.column = None;
        self.is_plain = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_survives_the_end_of_the_stamps() {
        let mut samples = Samples::new(true, false);
        samples.now = NEVER - 4 * STEP - 3;
        samples.know(0, 0);
        samples.know(1, 1);
        for round in 0..6 {
            samples.begin(0);
            samples.catch_up(std::iter::empty());
            samples.add(0, 1.0, None);
            if round == 0 {
                samples.add(1, 1.0, None);
            }
            let tally = samples.tally();
            samples.accept();
            let markers = samples.points.len() - usize::from(round == 0) - 1;
            assert_eq!((tally.repeats, markers), (false, usize::from(round == 1)), "round {round}");
            assert_eq!(samples.live().collect::<Vec<_>>(), if round == 0 { vec![0, 1] } else { vec![0] });
            samples.finish(std::iter::empty());
        }
        assert!(samples.now < 100, "the stamps have started again");
    }
}
