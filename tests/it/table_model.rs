//! The predicting table against a model of it that predicts nothing: whatever comes in a row, the samples, markers, families,
//! exemplars and live series are what each body and the liveness before it say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use promferry::exposition::{Admission, Admit, Format, Parsed, Settings, Table};
use promferry::model::{Labels, METRIC_NAME, MetricType, SeriesRef, Value};

use super::support::protobuf::{self as pb, Message};
use super::support::random::Random;

const AT_MS: i64 = 1_700_000_000_000;
const LINE_MAX: usize = 200;
const OWN: [&str; 2] = ["up", "own"];

/// Drops, refuses, renames, and takes a label away so that what was two becomes one.
struct Rules;

impl Admit for Rules {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        if labels.get("drop").is_some() {
            return Admission::Drop;
        }
        if labels.get("refuse").is_some() {
            return Admission::Refuse("refused".to_owned());
        }
        if labels.get("to").is_some() {
            labels.remove("to");
            labels.set(METRIC_NAME, "renamed");
        }
        labels.remove("id");
        Admission::Keep
    }
}

#[derive(Clone, Debug)]
struct Family {
    name: String,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
    /// The comments in force over it: a line that is read under others is another.
    under: String,
}

#[derive(Clone, Debug)]
struct Sample {
    labels: BTreeMap<&'static str, String>,
    value: f64,
    own_ms: Option<i64>,
    exemplar: Option<f64>,
    /// Its value is no number.
    is_bad: bool,
}

type Key = String;
/// Type, name and help of a family.
type Meta = (MetricType, String, String);

/// A sample as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    key: Key,
    meta: Meta,
    is_native: bool,
    /// `None` for a marker.
    value: Option<f64>,
    own_ms: Option<i64>,
}

#[derive(Default)]
struct Model {
    live: BTreeMap<Key, (Meta, bool)>,
    /// Series that the last good scrape had, or a failed one since.
    known: BTreeSet<Key>,
    /// Lines of the last good scrape that were samples.
    lines: BTreeSet<String>,
}

fn key_of(name: &str, labels: impl Iterator<Item = (String, String)>) -> Key {
    let mut labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

fn key_of_series(series: SeriesRef<'_>) -> Key {
    key_of(series.name(), series.labels().map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn meta_of_series(series: SeriesRef<'_>) -> Meta {
    let family = series.family();
    (family.kind, family.name.to_owned(), family.help.to_owned())
}

impl Sample {
    fn admitted(&self, family: &Family) -> Option<(Key, Meta)> {
        if self.labels.contains_key("drop") {
            return None;
        }
        let name = if self.labels.contains_key("to") { "renamed" } else { &family.name };
        let labels = self.labels.iter().filter(|(name, _)| !["to", "id"].contains(*name));
        let key = key_of(name, labels.map(|(name, value)| (String::from(*name), value.clone())));
        Some((key, (family.kind, name.to_owned(), family.help.to_owned())))
    }

    /// What stands before its value, with what is in force there.
    fn line(&self, family: &Family, format: Format) -> String {
        format!("{format:?} {} {} {:?}", family.under, family.name, self.labels)
    }
}

/// The families as the format means them: of lines, a second one of the same name goes on with what was said of the first.
fn meant(families: &[Family], format: Format) -> Vec<Family> {
    let mut meant: Vec<Family> = families.to_vec();
    let mut in_force: Option<Family> = None;
    for family in meant.iter_mut().filter(|_| format != Format::Protobuf) {
        let has_comments = !family.help.is_empty() || family.kind != MetricType::Unknown;
        if let Some(before) = in_force.as_ref().filter(|before| before.name == family.name) {
            family.help = if family.help.is_empty() { before.help } else { family.help };
            family.kind = if family.kind == MetricType::Unknown { before.kind } else { family.kind };
        }
        if has_comments {
            in_force = Some(family.clone());
        }
        family.under = in_force.iter().map(|held| format!("{} {} {:?}", held.name, held.help, held.kind)).collect();
    }
    meant
}

fn is_native(family: &Family, format: Format) -> bool {
    family.kind == MetricType::Histogram && format == Format::Protobuf
}

// ---- bodies --------------------------------------------------------------------------------------------------------

fn write_lines(families: &[Family], format: Format) -> Vec<u8> {
    let mut out = String::new();
    for family in families {
        let name = &family.name;
        if !family.help.is_empty() {
            writeln!(out, "# HELP {name} {}", family.help).unwrap();
        }
        if family.kind != MetricType::Unknown {
            let kind = if format == Format::Text { family.kind.as_text() } else { family.kind.as_openmetrics() };
            writeln!(out, "# TYPE {name} {kind}").unwrap();
        }
        for sample in &family.samples {
            let labels: Vec<String> = sample.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            match labels.is_empty() {
                true => write!(out, "{name} ").unwrap(),
                false => write!(out, "{name}{{{}}} ", labels.join(",")).unwrap(),
            }
            write!(out, "{}{}", sample.value, if sample.is_bad { "x" } else { "" }).unwrap();
            if let Some(ms) = sample.own_ms {
                match format {
                    Format::Text => write!(out, " {ms}").unwrap(),
                    _ => write!(out, " {}.{:03}", ms / 1000, ms % 1000).unwrap(),
                }
            }
            if let Some(value) = sample.exemplar.filter(|_| format == Format::OpenMetrics) {
                write!(out, " # {{trace=\"t\"}} {value}").unwrap();
            }
            out.push('\n');
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out.into_bytes()
}

fn write_protobuf(families: &[Family]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let kind = match family.kind {
            MetricType::Counter => pb::COUNTER,
            MetricType::Gauge => pb::GAUGE,
            MetricType::Histogram => pb::HISTOGRAM,
            _ => pb::UNTYPED,
        };
        let mut message = Message::new().text(1, &family.name).text(2, family.help).uint(3, kind);
        for sample in &family.samples {
            let labels = sample.labels.iter();
            let mut metric = labels.fold(Message::new(), |metric, (name, value)| metric.label(name, value));
            let value = Message::new().double(1, sample.value);
            metric = match family.kind {
                MetricType::Counter => {
                    let exemplar = |value| Message::new().label("trace", "t").double(2, value);
                    let value = sample.exemplar.iter().fold(value, |held, &value| held.message(2, exemplar(value)));
                    metric.message(3, value.time_ms(3, 1_600_000_000_000))
                }
                MetricType::Gauge => metric.message(2, value),
                MetricType::Histogram => {
                    let held = Message::new().uint(1, 3).double(2, sample.value).sint(5, 1).double(6, 0.001);
                    metric.message(7, held.span(12, 0, 2).packed_sints(13, &[1, 1]))
                }
                _ => metric.message(5, value),
            };
            if let Some(ms) = sample.own_ms {
                metric = metric.uint(6, ms as u64);
            }
            message = message.message(4, metric);
        }
        out.extend(message.delimited());
    }
    out
}

fn write_body(families: &[Family], format: Format) -> Vec<u8> {
    if format == Format::Protobuf { write_protobuf(families) } else { write_lines(families, format) }
}

/// Makes bodies, each out of the one before.
struct Maker {
    random: Random,
    families: Vec<Family>,
    format: Format,
    count: u64,
}

const KINDS: [MetricType; 4] = [MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Unknown];
const FORMATS: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

impl Maker {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.below(all.len() as u64) as usize]
    }

    fn is_one_in(&mut self, many: u64) -> bool {
        self.random.below(many) == 0
    }

    fn sample(&mut self) -> Sample {
        let mut labels = BTreeMap::new();
        for (name, many) in [("a", 2), ("b", 2), ("drop", 8), ("to", 8), ("id", 6)] {
            if self.is_one_in(many) {
                labels.insert(name, self.random.below(3).to_string());
            }
        }
        Sample { labels, value: 0.0, own_ms: None, exemplar: None, is_bad: false }
    }

    fn family(&mut self) -> Family {
        let name = match self.random.below(7) {
            0 => "up".to_owned(),
            number => format!("f{number}"),
        };
        let samples = (0..self.random.below(6)).map(|_| self.sample()).collect();
        let (help, kind) = (self.one_of(&["", "one", "two"]), self.one_of(&KINDS));
        let mut family = Family { name, help, kind, samples, under: String::new() };
        if family.name == "up" {
            let own = [("instance", "i".to_owned()), ("job", "j".to_owned())];
            family.samples.iter_mut().take(1).for_each(|sample| sample.labels = own.clone().into());
        }
        family
    }

    fn change(&mut self) {
        let at = self.random.below(self.families.len().max(1) as u64) as usize;
        let what = self.random.below(12);
        let Some(family) = self.families.get(at).cloned() else {
            let family = self.family();
            return self.families.push(family);
        };
        let sample_at = self.random.below(family.samples.len().max(1) as u64) as usize;
        match what {
            0 => self.families[at].help = self.one_of(&["", "one", "two"]),
            1 => self.families[at].kind = self.one_of(&KINDS),
            2 => self.format = self.one_of(&FORMATS),
            3 => drop(self.families.remove(at)),
            4 => self.families.insert(at, family),
            5 => self.families.rotate_left(at),
            6 => {
                let family = self.family();
                self.families.insert(at, family);
            }
            7 => {
                let sample = self.sample();
                self.families[at].samples.insert(sample_at, sample);
            }
            8 if self.is_one_in(4) => self.families.clear(),
            9 if self.is_one_in(3) => {
                // Many that never come again.
                let mut flood = Family {
                    name: "flood".into(),
                    help: "",
                    kind: MetricType::Gauge,
                    samples: vec![],
                    under: "".into(),
                };
                for _ in 0..400 {
                    self.count += 1;
                    let mut sample = self.sample();
                    sample.labels = [("a", self.count.to_string())].into();
                    flood.samples.push(sample);
                }
                self.families.retain(|family| family.name != "flood");
                self.families.insert(at.min(self.families.len()), flood);
            }
            _ => {
                let Some(sample) = family.samples.get(sample_at) else { return };
                match what {
                    8 => drop(self.families[at].samples.remove(sample_at)),
                    9 => self.families[at].samples.insert(sample_at, sample.clone()),
                    10 => {
                        let own_ms = self.one_of(&[None, Some(AT_MS - 5000), Some(AT_MS - 1), Some(AT_MS)]);
                        self.families[at].samples[sample_at].own_ms = own_ms;
                    }
                    _ => {
                        let exemplar = self.one_of(&[None, Some(1.5), Some(2.5)]);
                        self.families[at].samples[sample_at].exemplar = exemplar;
                    }
                }
            }
        }
        if self.families.len() > 12 {
            self.families.truncate(6);
        }
    }

    /// A body of the same series has other values; some line that was read before may be bad.
    fn set_values(&mut self, lines: &BTreeSet<String>) {
        let is_any_bad = self.format != Format::Protobuf && self.is_one_in(6);
        let (format, count, random) = (self.format, &mut self.count, &mut self.random);
        let heads = meant(&self.families, format);
        for (family, head) in self.families.iter_mut().zip(&heads) {
            for sample in &mut family.samples {
                *count += 1;
                sample.value = *count as f64;
                let line = sample.line(head, format);
                sample.is_bad = is_any_bad && lines.contains(&line) && random.below(5) == 0;
            }
        }
    }
}

// ---- the model -----------------------------------------------------------------------------------------------------

struct Expected {
    body: Vec<Seen>,
    markers: Vec<Seen>,
    exemplars: Vec<(Key, Meta, f64)>,
    added: u64,
}

impl Model {
    fn marker((key, (meta, is_native)): (&Key, &(Meta, bool))) -> Seen {
        Seen { key: key.clone(), meta: meta.clone(), is_native: *is_native, value: None, own_ms: None }
    }

    /// The scrape was good.
    fn accept(&mut self, families: &[Family], format: Format, settings: &Settings) -> Expected {
        let own: Vec<Key> = OWN.iter().map(|name| own_key(name)).collect();
        let mut came: Vec<(Seen, Option<f64>)> = Vec::new();
        let mut held = BTreeSet::new();
        self.lines.clear();
        for family in &meant(families, format) {
            for sample in &family.samples {
                let admitted = sample.admitted(family);
                if sample.is_bad {
                    held.extend(admitted.map(|(key, _)| key));
                    continue;
                }
                self.lines.insert(sample.line(family, format));
                let Some((key, meta)) = admitted else { continue };
                let is_native = is_native(family, format);
                let own_ms = sample.own_ms.filter(|_| settings.honor_timestamps);
                let exemplar = sample.exemplar.filter(|_| match format {
                    Format::Text => false,
                    Format::OpenMetrics => true,
                    Format::Protobuf => family.kind == MetricType::Counter,
                });
                came.push((Seen { key, meta, is_native, value: Some(sample.value), own_ms }, exemplar));
            }
        }
        let mut places: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (at, (seen, _)) in came.iter().enumerate() {
            places.entry(seen.key.clone()).or_default().push(at);
        }
        let added = places.keys().filter(|key| !self.known.contains(*key)).count() as u64;
        self.known = places.keys().cloned().collect();
        let mut live = BTreeMap::new();
        let mut slots: Vec<Option<(Seen, Option<f64>)>> = vec![None; came.len()];
        for (key, group) in &places {
            let meta = came[group[0]].0.meta.clone();
            let is_untimed = |at: &usize| came[*at].0.own_ms.is_none() || settings.track_timestamps_staleness;
            let mut by_time: Vec<_> = group.iter().map(|&at| came[at].clone()).collect();
            by_time.sort_by_key(|(seen, _)| seen.own_ms.unwrap_or(AT_MS));
            by_time.dedup_by_key(|(seen, _)| seen.own_ms.unwrap_or(AT_MS));
            // What comes first says what the series is.
            let is_native = came[group[0]].0.is_native;
            if group.iter().any(is_untimed) {
                live.insert(key.clone(), (meta.clone(), is_native));
            }
            for (&place, (seen, exemplar)) in group.iter().zip(by_time) {
                slots[place] = Some((Seen { meta: meta.clone(), ..seen }, exemplar));
            }
        }
        for key in &held {
            if let Some(was) = self.live.get(key).filter(|_| !places.contains_key(key)) {
                live.insert(key.clone(), was.clone());
                self.known.insert(key.clone());
            }
        }
        let is_gone = |key: &Key| !places.contains_key(key) && !live.contains_key(key);
        let markers = self.live.iter().filter(|(key, _)| is_gone(key)).map(Self::marker).collect();
        live.retain(|key, _| !own.contains(key));
        self.live = live;
        let slots: Vec<_> = slots.into_iter().flatten().filter(|(seen, _)| !own.contains(&seen.key)).collect();
        let exemplars = slots.iter().filter_map(|(seen, value)| Some((seen.key.clone(), seen.meta.clone(), (*value)?)));
        Expected {
            exemplars: exemplars.collect(),
            body: slots.into_iter().map(|(seen, _)| seen).collect(),
            markers,
            added,
        }
    }

    fn fail(&mut self) -> Expected {
        let markers = self.live.iter().map(Self::marker).collect();
        self.live.clear();
        Expected { body: vec![], markers, exemplars: vec![], added: 0 }
    }
}

fn own_key(name: &str) -> Key {
    key_of(name, [("instance".to_owned(), "i".to_owned()), ("job".to_owned(), "j".to_owned())].into_iter())
}

// ---- the table -----------------------------------------------------------------------------------------------------

fn seen(parsed: &Parsed) -> Vec<Seen> {
    let seen = |point: promferry::model::Point<'_>| {
        let series = parsed.series.get(point.series);
        let (is_native, value) = match point.value {
            Value::Float(value) => (false, value),
            Value::Histogram(histogram) => (true, histogram.sum),
        };
        let value = (!point.value.is_stale()).then_some(value);
        let (key, meta) = (key_of_series(series), meta_of_series(series));
        Seen { key, meta, is_native, value, own_ms: point.own_ms }
    };
    parsed.points.iter().map(seen).collect()
}

fn sorted(mut all: Vec<Seen>) -> Vec<Seen> {
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

fn check(parsed: &Parsed, expected: Expected, own: &[f64]) -> Result<(), String> {
    let mut points = seen(parsed);
    let reported = points.split_off(points.len() - own.len());
    for ((report, name), value) in reported.iter().zip(OWN).zip(own) {
        let meta = (MetricType::Gauge, name.to_owned(), "Own.".to_owned());
        let wanted = Seen { key: own_key(name), meta, is_native: false, value: Some(*value), own_ms: None };
        same("own series", report, &wanted)?;
    }
    let body = points.len().min(expected.body.len());
    let markers = points.split_off(body);
    for (at, (point, wanted)) in points.iter().zip(&expected.body).enumerate() {
        same(&format!("point {at}"), point, wanted)?;
    }
    same("points", &points.len(), &expected.body.len())?;
    same("markers", &sorted(markers), &sorted(expected.markers))?;
    let exemplars = parsed.exemplars.iter().map(|exemplar| {
        let series = parsed.series.get(exemplar.series);
        (key_of_series(series), meta_of_series(series), exemplar.value)
    });
    // Theirs is the order of the body, also where the samples' is that of their times.
    let told = |exemplars: Vec<(Key, Meta, f64)>| {
        let mut told: Vec<String> = exemplars.iter().map(|exemplar| format!("{exemplar:?}")).collect();
        told.sort();
        told
    };
    same("exemplars", &told(exemplars.collect()), &told(expected.exemplars))?;
    let with_sample: BTreeSet<u32> = parsed.points.iter().map(|point| point.series).collect();
    let created: Vec<u32> = parsed.created.iter().map(|created| created.series).collect();
    let of_none: Vec<&u32> = created.iter().filter(|series| !with_sample.contains(series)).collect();
    same("created timestamps of no sample", &of_none, &vec![])?;
    let once: BTreeSet<u32> = created.iter().copied().collect();
    same("created timestamps", &created.len(), &once.len())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}\n   found {found:?}\n  wanted {wanted:?}")) }
}

fn run(seed: u64, steps: u64) -> Result<(), String> {
    let random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut maker = Maker { random, families: vec![], format: Format::Text, count: 0 };
    let settings = Settings {
        line_length_max: LINE_MAX,
        honor_timestamps: !maker.is_one_in(4),
        track_timestamps_staleness: maker.is_one_in(3),
        native_histograms: true,
        ..Settings::default()
    };
    let own = [("instance", "i"), ("job", "j")].into_iter().collect();
    let mut table = Table::new(settings.clone(), Box::new(Rules), own);
    let mut model = Model::default();
    let mut repeat = 0;
    let mut is_added_known = true;
    for step in 0..steps {
        match (repeat, maker.random.below(6)) {
            (1.., _) => repeat -= 1,
            (0, 0) if maker.is_one_in(4) => repeat = 12,
            (0, 0..3) => {}
            _ => (0..=maker.random.below(3)).for_each(|_| maker.change()),
        }
        maker.set_values(&model.lines);
        let (families, format) = (maker.families.clone(), maker.format);
        let body = write_body(&families, format);
        let piece = if maker.is_one_in(3) { 1 + maker.random.below(90) as usize } else { usize::MAX };
        let end = if repeat > 0 { 99 } else { maker.random.below(24) };
        let told = |error: String| {
            let body = String::from_utf8_lossy(&body);
            let body = body.lines().filter(|line| !line.starts_with("flood")).collect::<Vec<_>>().join("\n");
            format!("seed {seed}, step {step}, end {end}, {format:?}: {error}\n{body}")
        };
        table.begin(AT_MS);
        table.read_as(format);
        let cut = if end < 5 { maker.random.below(body.len() as u64 + 1) as usize } else { body.len() };
        for bytes in body[..cut].chunks(piece) {
            table.feed(bytes).map_err(|refusal| told(refusal.to_string()))?;
        }
        // Refused, unless that stands behind the end of an OpenMetrics body: then the scrape fails for another reason.
        let _ = match end {
            0 => table.feed(b"\nf1{refuse=\"1\"} 1\n"),
            1 => table.feed(&vec![b'y'; 2 * LINE_MAX]),
            _ => Ok(()),
        };
        if end == 4 {
            // Nobody says how it ended.
            is_added_known = false;
            continue;
        }
        let expected = match end {
            0..3 => {
                table.fail();
                is_added_known = false;
                model.fail()
            }
            3 => {
                // It is taken as it is: that is a failure too.
                is_added_known = false;
                model.fail()
            }
            _ => {
                let counts = table.finish_body().map_err(|refusal| told(refusal.to_string()))?;
                table.accept();
                let expected = model.accept(&families, format, &settings);
                if is_added_known {
                    same("series added", &counts.series_added, &expected.added).map_err(&told)?;
                }
                is_added_known = true;
                expected
            }
        };
        let own: &[f64] = if end == 3 { &[] } else { &[step as f64, 7.0] };
        for (name, value) in OWN.iter().zip(own) {
            table.report(name, "Own.", *value);
        }
        check(&table.take(), expected, own).map_err(&told)?;
        let live: BTreeMap<Key, Meta> =
            table.live_series().map(|series| (key_of_series(series), meta_of_series(series))).collect();
        let wanted = model.live.iter().map(|(key, (meta, _))| (key.clone(), meta.clone())).collect();
        same("live series", &live, &wanted).map_err(&told)?;
        if !own.is_empty() {
            same("all series", &table.all_series().count(), &(live.len() + own.len())).map_err(&told)?;
        }
    }
    Ok(())
}

#[test]
fn what_the_table_says_is_what_a_model_without_memory_of_lines_says() {
    let sequences = std::env::var("SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    for seed in 1..=sequences {
        if let Err(error) = run(seed, 80) {
            panic!("{error}");
        }
    }
}
