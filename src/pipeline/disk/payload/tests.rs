//! Made-up scrapes, there and back.

use std::collections::BTreeSet;

use super::*;
use crate::model::{ChunkBuilder, Created, Family, HistogramSpan, PointsBuilder, STALE_NAN, Scrape, SeriesRef};

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn text(&mut self) -> &'static str {
        self.pick::<&str>(&["", "a", "le", "ü\u{1}\"\\", "bytes", "x y", "\u{10ffff}"])
    }

    fn float(&mut self) -> f64 {
        let odd_nan = f64::from_bits(0xfff8_dead_beef_0001);
        let random = f64::from_bits(self.next());
        *self.pick(&[0.0, -0.0, 1.0, 1e9, 0.1, f64::MAX, f64::NEG_INFINITY, f64::NAN, odd_nan, STALE_NAN, random])
    }

    fn time(&mut self) -> i64 {
        let random = self.next() as i64;
        *self.pick(&[0, -1, 1_798_859_045_006, i64::MAX, i64::MIN + 1, random])
    }

    fn labels(&mut self) -> Labels<'static> {
        let mut labels = Labels::new();
        for name in ["a", "job", "le", "ü", "z\n"] {
            if self.below(2) == 0 {
                labels.set(name, self.text());
            }
        }
        labels
    }

    fn chunk(&mut self) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::default();
        for _ in 0..1 + self.below(12) {
            let family = Family { name: self.text(), help: self.text(), kind: *self.pick(&KINDS), unit: self.text() };
            let family = builder.family(family);
            for _ in 0..self.below(4) {
                let labels = self.labels();
                builder.push(family, self.text(), labels.iter());
            }
        }
        builder.finish()
    }

    fn histogram(&mut self) -> Histogram {
        let mut floats = || {
            let count = self.below(4);
            (0..count).map(|_| self.float()).collect()
        };
        let [positive_counts, negative_counts, custom_bounds] = [floats(), floats(), floats()];
        let mut spans = || {
            let count = self.below(3);
            (0..count).map(|_| HistogramSpan { offset: self.next() as i32, length: self.next() as u32 }).collect()
        };
        let [positive_spans, negative_spans] = [spans(), spans()];
        Histogram {
            schema: self.next() as i32,
            zero_threshold: self.float(),
            zero_count: self.float(),
            count: self.float(),
            sum: self.float(),
            is_float: self.below(2) == 0,
            is_gauge: self.below(2) == 0,
            positive_spans,
            positive_counts,
            negative_spans,
            negative_counts,
            custom_bounds,
        }
    }

    fn scrape(&mut self, origin: &Arc<Origin>, chunks: &[Arc<Chunk>]) -> Arc<Scrape> {
        let series = Arc::new(SeriesSet::new(chunks.to_vec()));
        let mut points = PointsBuilder::default();
        let (mut exemplars, mut created) = (Vec::new(), Vec::new());
        let has_own_times = self.below(2) == 0;
        for number in 0..series.len() as u32 {
            let own_ms = (has_own_times && self.below(3) == 0).then(|| self.time());
            match self.below(6) {
                0 => {}
                1 => points.push_histogram(number, self.histogram(), own_ms),
                _ => points.push_float(number, self.float(), own_ms),
            }
            if self.below(4) == 0 {
                let at_ms = (self.below(2) == 0).then(|| self.time());
                exemplars.push(Exemplar { series: number, labels: self.labels(), value: self.float(), at_ms });
            }
            if self.below(4) == 0 {
                created.push(Created { series: number, at_ms: self.time() });
            }
        }
        let mut order: Vec<u32> = (0..points.len() as u32).collect();
        if self.below(2) == 0 {
            order.reverse();
        }
        points.reorder(&order);
        Arc::new(Scrape {
            origin: origin.clone(),
            at_ms: self.time(),
            series,
            points: points.finish(),
            exemplars: exemplars.into(),
            created: created.into(),
            is_last: self.below(4) == 0,
        })
    }

    /// All of a scrape, or some groups of it, or none.
    fn slice(&mut self, scrape: Arc<Scrape>) -> Slice {
        let group = |at: &u32| scrape.series.get(scrape.points.get(*at as usize).series).group();
        let divisor = 1 + self.below(4);
        let positions = (0..scrape.points.len() as u32).filter(|at| group(at) % divisor == 0).collect();
        Slice::of(scrape, positions)
    }

    fn slices(&mut self) -> Vec<Slice> {
        let mut chunks = vec![self.chunk()];
        let mut origins = Vec::new();
        let slices = (0..self.below(6)).map(|_| {
            if self.below(3) == 0 {
                chunks.push(self.chunk());
            }
            if origins.is_empty() || self.below(2) == 0 {
                let (key, labels, url) = (self.next(), self.labels(), self.text().to_owned());
                origins.push(Arc::new(Origin { key, labels, url }));
            }
            let origin = self.pick(&origins).clone();
            let from = self.below(chunks.len() as u64) as usize;
            let scrape = self.scrape(&origin, &chunks[from..]);
            self.slice(scrape)
        });
        slices.collect()
    }
}

fn series(series: SeriesRef<'_>) -> String {
    let labels: Vec<_> = series.labels().collect();
    format!("{:?} {:?} {:?} {:x} {:x}", series.name(), labels, series.family(), series.hash(), series.group())
}

fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn value(value: Value<'_>) -> String {
    let Value::Histogram(held) = value else {
        let Value::Float(value) = value else { unreachable!() };
        return bits(value);
    };
    let floats: Vec<String> = [held.zero_threshold, held.zero_count, held.count, held.sum]
        .into_iter()
        .chain(held.positive_counts.iter().copied())
        .chain(held.negative_counts.iter().copied())
        .chain(held.custom_bounds.iter().copied())
        .map(bits)
        .collect();
    let counts = [held.positive_counts.len(), held.negative_counts.len(), held.custom_bounds.len()];
    let spans = (&held.positive_spans, &held.negative_spans);
    format!("{} {} {} {spans:?} {counts:?} {floats:?}", held.schema, held.is_float, held.is_gauge)
}

/// Everything that an output can see of a slice.
fn seen(slice: &Slice) -> Vec<String> {
    let scrape = &slice.scrape;
    let mut lines = vec![format!("{:?} {} {}", scrape.origin, scrape.at_ms, scrape.is_last)];
    let (mut groups, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (point, of) in slice.points() {
        lines.push(format!("{} {:?} {}", series(of), point.own_ms, value(point.value)));
        groups.insert(of.group());
        numbers.insert(point.series);
    }
    let exemplars = scrape.exemplars.iter().filter(|exemplar| numbers.contains(&exemplar.series));
    lines.extend(exemplars.map(|held| {
        let of = series(scrape.series.get(held.series));
        format!("{of} {} {} {:?}", held.labels, bits(held.value), held.at_ms)
    }));
    let created = scrape.created.iter().filter(|created| numbers.contains(&created.series));
    lines.extend(created.map(|held| format!("{} created {}", series(scrape.series.get(held.series)), held.at_ms)));
    // All series of the groups, with a sample or not.
    lines.extend(scrape.series.iter().filter(|of| groups.contains(&of.group())).map(series));
    lines
}

fn there_and_back(slices: &[Slice]) -> (Vec<u8>, Vec<Slice>) {
    let mut payload = Vec::new();
    write(slices, &mut payload);
    let back = read(&payload).unwrap();
    (payload, back)
}

#[test]
fn everything_that_an_output_can_see_comes_back() {
    let mut random = Random(0x5eed);
    let mut samples = 0;
    for round in 0..400 {
        let slices = random.slices();
        let (payload, back) = there_and_back(&slices);
        let kept = slices.iter().filter(|slice| slice.samples() > 0);
        assert_eq!(back.iter().map(seen).collect::<Vec<_>>(), kept.map(seen).collect::<Vec<_>>(), "round {round}");
        assert!(back.iter().all(|slice| slice.selected().is_none()));
        assert_eq!(there_and_back(&back).0, payload, "round {round}: written again, it is the same");
        samples += back.iter().map(Slice::samples).sum::<u64>();
    }
    assert!(samples > 5_000, "{samples} samples");
}

#[test]
fn slices_of_one_target_share_its_series() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let origin = Arc::new(Origin { key: 1, labels: random.labels(), url: "u".into() });
    let (old, new) = (random.chunk(), random.chunk());
    let scrapes = [random.scrape(&origin, std::slice::from_ref(&old)), random.scrape(&origin, &[old, new])];
    let slices: Vec<Slice> = scrapes.into_iter().map(Slice::whole).collect();
    let (_, back) = there_and_back(&slices);
    let [first, second] = &back[..] else { panic!("both have samples") };
    assert!(Arc::ptr_eq(&first.scrape.series.chunks()[0], &second.scrape.series.chunks()[0]));
    assert!(Arc::ptr_eq(&first.scrape.origin, &second.scrape.origin));
}

#[test]
fn whatever_is_read_is_refused_or_sound() {
    let mut random = Random(0xfeed);
    let (mut refused, mut sound) = (0, 0);
    for _ in 0..40 {
        let (payload, _) = there_and_back(&random.slices());
        for cut in 0..payload.len() {
            assert!(read(&payload[..cut]).is_err(), "cut at {cut} of {}", payload.len());
        }
        for _ in 0..400 {
            let mut damaged = payload.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(damaged.len() as u64) as usize;
                damaged[at] = random.next() as u8;
            }
            match read(&damaged) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
                Ok(slices) => {
                    let lines: usize = slices.iter().map(|slice| seen(slice).len()).sum();
                    sound += usize::from(lines > 0);
                    if sound % 8 == 0 {
                        let (first, back) = there_and_back(&slices);
                        assert_eq!(
                            there_and_back(&back).0,
                            first,
                            "what was read is the same after it is written again"
                        );
                    }
                }
            }
        }
    }
    assert!(refused > 1_000 && sound > 1_000, "{refused} refused, {sound} sound");
}

#[test]
fn what_a_few_bytes_claim_takes_no_memory() {
    // A list of 2^60 texts.
    let mut payload = Vec::new();
    number(&mut payload, 1 << 60);
    payload.extend_from_slice(&[0; 100]);
    assert_eq!(read(&payload).unwrap_err().to_string(), "byte 9: a list has more items than bytes are left");
    // One large text that very many chunks hold.
    let mut payload = Vec::new();
    number(&mut payload, 1);
    text(&mut payload, &"x".repeat(16 << 20));
    number(&mut payload, 0);
    number(&mut payload, 100);
    for _ in 0..100 {
        payload.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
    }
    payload.extend_from_slice(&[0; 3]);
    assert!(read(&payload).unwrap_err().to_string().ends_with("the series take too much memory"));
}

/// What version 1 wrote, byte by byte: a counter `a{b="c"}` of `http://t` with an exemplar.
#[test]
fn a_payload_of_version_1_is_read() {
    let payload = [
        &[4, 1, b'a', 0, 1, b'b', 1, b'c'][..], // texts
        &[1, 2, 3],                             // pairs
        &[1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0],     // chunks
        &[1, 1, 0],                             // sets
        &[1, 7, 0, 0, 0, 0, 0, 0, 0, 8],        // origins
        b"http://t",
        &[0, 1, 0, 0, 20, 0, 1, 0, 2, 0x40, 0x08], // slices: 3.0 at 10
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3f, 1, 24],
    ]
    .concat();
    let slices = read(&payload).unwrap();
    let scrape = &slices[0].scrape;
    let (point, of) = slices[0].points().next().unwrap();
    assert_eq!((point.value, series(of)), (Value::Float(3.0), series(scrape.series.get(0))));
    assert_eq!((of.name(), of.family().kind, of.label("b")), ("a", MetricType::Counter, Some("c")));
    assert_eq!((scrape.at_ms, scrape.exemplars[0].at_ms, scrape.created.len()), (10, Some(12), 0));
    assert_eq!(there_and_back(&slices).0, payload, "what has no created timestamp is written as it was in version 1");
}
