//! The table of metrics that envelopes are folded into.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use prost::Message as _;
use tokio::time::Instant;

use super::messages::{Envelope, GaugeEntry, Message, envelopes, value};
use super::row::{Flaws, Part, Row, source_of};
use super::settings::{Counts, Settings};
use super::state::{Change, KEY_BYTES, Key, METRIC_BYTES, NONE, Reading, State};
use crate::model::MetricType;

/// The metrics that envelopes came to. Shared by all clients' calls and all [`View`](super::View)s.
#[derive(Debug)]
pub struct Collected {
    settings: Settings,
    /// Keyed per process: tags are an outsider's text.
    hasher: RandomState,
    began: Instant,
    state: Mutex<State>,
}

/// Why envelopes are dropped.
mod reason {
    pub const METRICS: &str = "metrics_limit";
    pub const BYTES: &str = "bytes_limit";
    pub const TAGS: &str = "too_many_tags";
    pub const LENGTH: &str = "text_too_long";
    pub const NO_NAME: &str = "no_name";
    pub const TYPE_CLASH: &str = "type_clash";
    pub const UNDECODABLE: &str = "undecodable";
    pub const TOO_LARGE: &str = "too_large";
}

/// Bytes of one envelope; what is larger is dropped. Its tags take up to 24 times as much while it is read.
const ENVELOPE_BYTES_MAX: usize = 1 << 20;

impl Collected {
    /// An empty table.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, hasher: RandomState::default(), began: Instant::now(), state: Mutex::default() })
    }

    /// How it was made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// From now on, envelopes of these sources are left out: they are scraped, and would come twice. What is in the table of
    /// them goes with its [`ttl`](Settings::ttl).
    pub fn ignore_sources(&self, sources: HashSet<String>) {
        self.lock().ignored = sources;
    }

    /// What came in, and what became of it.
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        let sources = state.sources.iter().map(|(name, &at)| (name.clone(), state.source_counts[at as usize]));
        Counts {
            sources: sources.collect(),
            metrics: state.metrics.len() - state.free.len(),
            bytes: state.bytes,
            ..state.counts.clone()
        }
    }

    /// Folds an `EnvelopeBatch` in, as it came over the wire. Gives whether it was one; nothing of it is folded in where not.
    pub fn fold_batch(&self, batch: &[u8]) -> bool {
        let envelopes = envelopes(batch);
        let is_batch = envelopes.is_some();
        envelopes.into_iter().for_each(|envelopes| self.fold_encoded(envelopes));
        is_batch
    }

    /// Folds envelopes in, as they came over the wire. One that cannot be read is dropped and counted, and alone.
    pub fn fold_encoded<'e>(&self, envelopes: impl Iterator<Item = &'e [u8]>) {
        let now_s = self.now_s();
        let mut envelope = Envelope::default();
        let mut state = self.lock();
        for encoded in envelopes {
            envelope.clear();
            let reason = match encoded.len() {
                0..=ENVELOPE_BYTES_MAX => match envelope.merge(encoded) {
                    Ok(()) => {
                        self.fold_one(&mut state, &envelope, now_s);
                        continue;
                    }
                    Err(_) => reason::UNDECODABLE,
                },
                _ => reason::TOO_LARGE,
            };
            state.counts.envelopes += 1;
            state.drop_for(reason);
        }
    }

    /// Folds one envelope in.
    pub fn fold(&self, envelope: &Envelope) {
        let now_s = self.now_s();
        self.fold_one(&mut self.lock(), envelope, now_s);
    }

    /// Lets go of what no envelope came for within the [`ttl`](Settings::ttl), to the second.
    pub fn sweep(&self) {
        let now_s = self.now_s();
        let ttl_s = u32::try_from(self.settings.ttl.as_secs().max(1)).unwrap_or(u32::MAX);
        let state = &mut *self.lock();
        let expired: Vec<u32> =
            state.keys.extract_if(|key| now_s.saturating_sub(key.seen_s) > ttl_s).map(|key| key.metric).collect();
        for metric in expired {
            state.forget_key(metric);
        }
        state.shrink();
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fold_one(&self, state: &mut State, envelope: &Envelope, now_s: u32) {
        state.counts.envelopes += 1;
        let (source, is_origin) = source_of(envelope);
        state.counts.origin_mappings += u64::from(is_origin);
        let Some(message) = &envelope.message else { return };
        if matches!(message, Message::Log(_) | Message::Event(_)) {
            return;
        }
        if !state.ignored.is_empty() && state.ignored.contains(source) {
            state.counts.ignored += 1;
            return;
        }
        let is_timer = matches!(message, Message::Timer(_));
        let tags = match self.tags_hash(envelope, source, is_timer) {
            Ok(hash) => hash,
            Err(reason) => return state.drop_for(reason),
        };
        let scene = Scene { envelope, source, tags, now_s };
        let folded = match message {
            Message::Counter(counter) => {
                let part = Part { kind: MetricType::Counter, name: &counter.name, unit: "" };
                let change = Change::Counter { delta: counter.delta, total: counter.total };
                self.fold_part(state, &scene, part, change, true)
            }
            Message::Gauge(gauge) => self.fold_gauges(state, &scene, &gauge.metrics),
            Message::Timer(timer) => {
                let part = Part { kind: MetricType::Histogram, name: &timer.name, unit: "" };
                let nanoseconds = i128::from(timer.stop) - i128::from(timer.start);
                let change = Change::Timer { seconds: nanoseconds as f64 / 1e9 };
                self.fold_part(state, &scene, part, change, true)
            }
            Message::Log(_) | Message::Event(_) => Ok(()),
        };
        if let Err(reason) = folded {
            state.drop_for(reason);
        }
    }

    /// An envelope one of whose gauges is dropped counts as dropped, once.
    fn fold_gauges(&self, state: &mut State, scene: &Scene<'_>, gauges: &[GaugeEntry]) -> Result<(), &'static str> {
        let mut folded = Ok(());
        for (at, gauge) in gauges.iter().enumerate() {
            let (unit, value) = gauge.value.as_ref().map_or(("", 0.0), |held| (held.unit.as_str(), held.value));
            let part = Part { kind: MetricType::Gauge, name: &gauge.name, unit };
            folded = folded.and(self.fold_part(state, scene, part, Change::Gauge(value), at == 0));
        }
        folded
    }

    /// A hash of where an envelope comes from and of its tags, in whatever order they come.
    fn tags_hash(&self, envelope: &Envelope, source: &str, is_timer: bool) -> Result<u64, &'static str> {
        let limits = &self.settings.limits;
        if envelope.tags.len() + envelope.deprecated_tags.len() > limits.tags_max {
            return Err(reason::TAGS);
        }
        let mut sum = 0u64;
        let is_dropped = |name: &str| {
            name.starts_with("__") || is_timer && !self.settings.timer_tags.iter().any(|kept| kept == name)
        };
        let mut longest = 0;
        let mut longest_name = 0;
        for tag in envelope.tags.iter().filter(|tag| !is_dropped(&tag.name)) {
            longest_name = longest_name.max(tag.name.len());
            longest = longest.max(tag.value.len());
            sum = sum.wrapping_add(self.hash_of(&[&tag.name, &tag.value]));
        }
        for tag in envelope.deprecated_tags.iter().filter(|tag| !is_dropped(&tag.name)) {
            longest_name = longest_name.max(tag.name.len());
            let data = tag.value.as_ref().and_then(|value| value.data.as_ref());
            let hash = match data {
                None => self.hash_of(&[&tag.name, "", "none"]),
                Some(value::Data::Text(text)) => {
                    longest = longest.max(text.len());
                    self.hash_of(&[&tag.name, text, "text"])
                }
                Some(value::Data::Integer(integer)) => self.hasher.hash_one((&tag.name, integer)),
                Some(value::Data::Decimal(decimal)) => self.hasher.hash_one((&tag.name, decimal.to_bits(), 0u8)),
            };
            sum = sum.wrapping_add(hash);
        }
        let ids = source.len().max(envelope.instance_id.len());
        if longest_name > limits.name_bytes_max || longest.max(ids) > limits.value_bytes_max {
            return Err(reason::LENGTH);
        }
        let own = self.hash_of(&[source, &envelope.instance_id]);
        Ok(self.hasher.hash_one((own, sum)))
    }

    fn hash_of(&self, texts: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for text in texts {
            hasher.write(text.as_bytes());
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }

    fn fold_part(
        &self,
        state: &mut State,
        scene: &Scene<'_>,
        part: Part<'_>,
        change: Change,
        counts_tags: bool,
    ) -> Result<(), &'static str> {
        let limits = &self.settings.limits;
        if part.name.len() > limits.name_bytes_max || part.unit.len() > limits.value_bytes_max {
            return Err(reason::LENGTH);
        }
        let name = self.hash_of(&[part.name]);
        let hash = self.hasher.hash_one((scene.tags, name, part.kind));
        if let Some(key) = state.keys.find_mut(hash, |key| key.hash == hash) {
            key.seen_s = scene.now_s;
            let key = *key;
            if let Some(Some(metric)) = state.metrics.get_mut(key.metric as usize)
                && *metric.unit == *part.unit
            {
                metric.value.apply(change);
                state.count_flaws(key, counts_tags);
                return Ok(());
            }
            // A gauge with another unit is the same one, and has another label from now on.
            if let Ok(entry) = state.keys.find_entry(hash, |key| key.hash == hash) {
                entry.remove();
            }
            state.forget_key(key.metric);
        }
        let key = self.intern(state, scene, part, hash)?;
        if let Some(Some(metric)) = state.metrics.get_mut(key.metric as usize) {
            metric.value.apply(change);
        }
        state.count_flaws(key, counts_tags);
        Ok(())
    }

    /// Makes a key, and a metric where none has its name and labels.
    fn intern(&self, state: &mut State, scene: &Scene<'_>, part: Part<'_>, hash: u64) -> Result<Key, &'static str> {
        let settings = &self.settings;
        if state.keys.len() >= settings.limits.metrics_max {
            return Err(reason::METRICS);
        }
        let made = Row::new(scene.envelope, part, scene.source, &settings.tags, &settings.timer_tags);
        let (row, flaws) = made.ok_or(reason::NO_NAME)?;
        let needed = METRIC_BYTES + KEY_BYTES + row.bytes() + row.name().len();
        if state.bytes + needed > settings.limits.bytes_max {
            return Err(reason::BYTES);
        }
        if state.families.get(row.name()).is_some_and(|family| family.kind != part.kind) {
            return Err(reason::TYPE_CLASH);
        }
        let row_hash = self.hasher.hash_one(row.parts());
        let is_it = |&at: &u32| matches!(&state.metrics[at as usize], Some(metric) if *metric.row == row);
        let metric = match state.rows.find(row_hash, is_it) {
            Some(&at) => at,
            None => state.add_metric(row, row_hash, part),
        };
        if let Some(Some(held)) = state.metrics.get_mut(metric as usize) {
            held.keys += 1;
        }
        let source = match flaws {
            Flaws { is_name_modified: false, modified_tags: 0, invalid_tags: 0 } => NONE,
            _ => state.source(scene.source, settings.limits.sources_max),
        };
        let key = Key { hash, metric, seen_s: scene.now_s, source, flaws };
        state.keys.insert_unique(hash, key, |key| key.hash);
        state.bytes += KEY_BYTES;
        state.charge.resize(state.bytes);
        Ok(key)
    }

    /// Calls `take` with all metrics and their values, in no order, where the generation is no longer `known`; else `again` with
    /// the values of the metrics of these numbers. Returns the generation.
    pub(super) fn read(
        &self,
        known: Option<(u64, &[u32])>,
        mut again: impl FnMut(Reading),
        mut take: impl FnMut(u32, &Arc<Row>, Reading),
    ) -> u64 {
        let state = self.lock();
        match known {
            Some((generation, numbers)) if generation == state.generation => {
                numbers
                    .iter()
                    .filter_map(|&at| state.metrics[at as usize].as_ref())
                    .for_each(|metric| again(metric.value.read()));
            }
            _ => {
                for (at, metric) in state.metrics.iter().enumerate() {
                    if let Some(metric) = metric {
                        take(at as u32, &metric.row, metric.value.read());
                    }
                }
            }
        }
        state.generation
    }
}

/// What the parts of an envelope share.
struct Scene<'e> {
    envelope: &'e Envelope,
    source: &'e str,
    /// A hash of source and tags.
    tags: u64,
    now_s: u32,
}
