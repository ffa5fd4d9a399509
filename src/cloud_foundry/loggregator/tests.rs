use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use super::messages::DeprecatedTag;
use super::*;
use crate::exposition::write::{self, Format};
use crate::model::{Labels, Origin, Scrape};

/// An envelope of the source `rep`, instance 0.
fn envelope(tags: &[(&str, &str)], message: Message) -> Envelope {
    let tag = |&(name, value): &(&str, &str)| Tag { name: name.to_owned(), value: value.to_owned() };
    Envelope {
        source_id: "rep".to_owned(),
        instance_id: "0".to_owned(),
        tags: tags.iter().map(tag).collect(),
        message: Some(message),
        ..Envelope::default()
    }
}

fn counter(name: &str, delta: u64, total: u64) -> Message {
    Message::Counter(Counter { name: name.to_owned(), delta, total })
}

fn gauge(name: &str, unit: &str, value: f64) -> Message {
    let value = Some(GaugeValue { unit: unit.to_owned(), value });
    Message::Gauge(Gauge { metrics: vec![GaugeEntry { name: name.to_owned(), value }] })
}

fn timer(name: &str, start: i64, stop: i64) -> Message {
    Message::Timer(Timer { name: name.to_owned(), start, stop })
}

/// As the exporter writes it, without HELP and TYPE.
fn written(scrape: &Scrape) -> String {
    let mut out = Vec::new();
    for point in scrape.points.iter() {
        let series = scrape.series.get(point.series);
        write::series(&mut out, series.name(), series.labels());
        let crate::model::Value::Float(value) = point.value else { panic!("no native histogram") };
        write::value(&mut out, Format::Text, value, None);
    }
    String::from_utf8(out).unwrap()
}

fn shown(collected: &Arc<Collected>) -> String {
    written(&View::bare(collected.clone()).scrape(1))
}

/// The labels that all metrics of `rep` end with, the name's base64 among them.
fn of_rep(base64: &str) -> String {
    format!("instance_id=\"0\",loggregator_name=\"{base64}\",source_id=\"rep\"")
}

fn with_tags(tags: &[(&str, &str)], timer_tags: &[&str]) -> Arc<Collected> {
    Collected::new(Settings {
        tags: tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        timer_tags: timer_tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Settings::default()
    })
}

#[test]
fn the_original_s_lines_come_out_byte_for_byte() {
    let agent =
        [("deployment", "cf"), ("index", "0e4cc47a-abc1-4360-b3f7-46ba7fc10000"), ("instance_group", "diego-cell")];
    let collected = with_tags(&agent, &[]);
    let source_id = "0e4cc47a-abc1-4360-b3f7-46ba7fc10001".to_owned();
    let tags = [
        ("index", "7"),
        ("origin", "loggr"),
        ("app_name", "my \"app\"\\x"),
        ("dash-ed.tag", "v"),
        ("__reserved", "x"),
        ("empty", ""),
    ];
    let cpu = Envelope { source_id: source_id.clone(), ..envelope(&tags, gauge("cpu", "percentage", 12.5)) };
    collected.fold(&cpu);
    let requests = counter("http.total-requests", 0, 7);
    collected.fold(&Envelope { source_id, instance_id: "1".to_owned(), ..envelope(&[("origin", "loggr")], requests) });
    let expected = r#"cpu{app_name="my \"app\"\\x",dash_ed_tag="v",deployment="cf",index="7",instance_group="diego-cell",instance_id="0",loggregator_name="Y3B1",origin="loggr",source_id="0e4cc47a-abc1-4360-b3f7-46ba7fc10001",unit="percentage"} 12.5
http_total_requests{deployment="cf",index="0e4cc47a-abc1-4360-b3f7-46ba7fc10000",instance_group="diego-cell",instance_id="1",loggregator_name="aHR0cC50b3RhbC1yZXF1ZXN0cw==",origin="loggr",source_id="0e4cc47a-abc1-4360-b3f7-46ba7fc10001"} 7
"#;
    assert_eq!(shown(&collected), expected);
    let scrape = View::bare(collected.clone()).scrape(1);
    let family = scrape.series.get(0).family();
    assert_eq!((family.help, family.kind), ("Metrics Agent collected metric", crate::model::MetricType::Gauge));
    // Each envelope counts again, as it did.
    collected.fold(&cpu);
    let counts = collected.counts();
    let flaws: Vec<SourceCounts> = counts.sources.values().copied().collect();
    assert_eq!(flaws, [SourceCounts { modified_tags: 3, invalid_labels: 4 }]);
    assert_eq!((counts.envelopes, counts.metrics, counts.dropped.len()), (3, 2, 0));
}

#[test]
fn a_delta_adds_and_a_total_replaces() {
    let collected = with_tags(&[], &[]);
    let fold = |delta, total| {
        collected.fold(&envelope(&[("b", "2"), ("a", "1")], counter("c", delta, total)));
        let shown = shown(&collected);
        shown.trim_end().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(fold(5, 0), 5.0);
    assert_eq!(fold(3, 0), 8.0);
    assert_eq!(fold(1, 100), 100.0);
    assert_eq!(fold(2, 0), 102.0);
    assert_eq!(fold(0, 0), 0.0, "neither: the total is zero");
    assert_eq!(fold(0, u64::MAX), 18446744073709551615.0);
    assert_eq!(fold(2, 0), 1.0, "around, as a counter of 64 bits does");
}

#[test]
fn tags_come_in_any_order_and_mean_the_same() {
    let collected = with_tags(&[], &[]);
    collected.fold(&envelope(&[("a", "1"), ("b", "2")], counter("c", 1, 0)));
    collected.fold(&envelope(&[("b", "2"), ("a", "1")], counter("c", 1, 0)));
    // What cannot be a label makes no other metric.
    collected.fold(&envelope(&[("b", "2"), ("a", "1"), ("e", "")], counter("c", 1, 0)));
    collected.fold(&envelope(&[("__x", "3"), ("b", "2"), ("a", "1")], counter("c", 1, 0)));
    collected.fold(&envelope(&[("a", "2"), ("b", "1")], counter("c", 1, 0)));
    let name = of_rep("Yw==");
    assert_eq!(shown(&collected), format!("c{{a=\"1\",b=\"2\",{name}}} 4\nc{{a=\"2\",b=\"1\",{name}}} 1\n"));
}

#[test]
fn old_tags_win_and_an_origin_stands_in_for_the_source() {
    let collected = with_tags(&[], &[]);
    let old = |name: &str, data| DeprecatedTag { name: name.to_owned(), value: Some(Value { data: Some(data) }) };
    let mut sent = envelope(&[("a", "new"), ("origin", "o")], gauge("g", "", -0.5));
    sent.deprecated_tags = vec![
        old("a", value::Data::Text("old".to_owned())),
        old("i", value::Data::Integer(-3)),
        old("d", value::Data::Decimal(2.5)),
    ];
    sent.source_id.clear();
    sent.instance_id.clear();
    collected.fold(&sent);
    let labels = r#"a="old",d="2.5",i="-3",loggregator_name="Zw==",origin="o",source_id="o""#;
    assert_eq!(shown(&collected), format!("g{{{labels}}} -0.5\n"));
    assert_eq!(collected.counts().origin_mappings, 1);
}

#[test]
fn ids_in_tags_win() {
    let collected = with_tags(&[], &[]);
    collected
        .fold(&envelope(&[("source_id", "s"), ("instance_id", "i"), ("loggregator_name", "x")], gauge("g", "", 1.0)));
    assert_eq!(shown(&collected), "g{instance_id=\"i\",loggregator_name=\"Zw==\",source_id=\"s\"} 1\n");
}

#[test]
fn a_timer_is_a_histogram_of_the_tags_that_are_kept() {
    let collected = with_tags(&[("deployment", "cf")], &["peer_type", "deployment", "le"]);
    let second = 1_000_000_000;
    for (request, took) in [(1, 0.005), (2, 0.01), (3, 0.5), (4, 100.0), (5, -1.0)] {
        let id = request.to_string();
        let tags = [("request_id", id.as_str()), ("peer_type", "Client"), ("uri", "/x"), ("le", "9")];
        let stop = 7 * second + (took * second as f64) as i64;
        collected.fold(&envelope(&tags, timer("http", 7 * second, stop)));
    }
    let labels = |le: &str| {
        let le = if le.is_empty() { String::new() } else { format!("le=\"{le}\",") };
        format!(
            "deployment=\"cf\",instance_id=\"0\",{le}loggregator_name=\"aHR0cA==\",peer_type=\"Client\",source_id=\"rep\""
        )
    };
    let mut expected = String::new();
    for (le, count) in [("0.01", 3), ("0.2", 3), ("1", 4), ("15", 4), ("60", 4), ("+Inf", 5)] {
        expected += &format!("http_seconds_bucket{{{}}} {count}\n", labels(le));
    }
    expected += &format!("http_seconds_sum{{{}}} 99.515\n", labels(""));
    expected += &format!("http_seconds_count{{{}}} 5\n", labels(""));
    assert_eq!(shown(&collected), expected);
    assert_eq!(collected.counts().metrics, 1, "an id of a request makes no metric");
}

#[test]
fn a_gauge_with_another_unit_is_the_same_gauge() {
    let collected = with_tags(&[], &[]);
    collected.fold(&envelope(&[("unit", "tag")], gauge("g", "ms", 1.0)));
    collected.fold(&envelope(&[("unit", "tag")], gauge("g", "s", 2.0)));
    assert_eq!(shown(&collected), format!("g{{{},unit=\"s\"}} 2\n", of_rep("Zw==")));
}

#[test]
fn one_envelope_has_many_gauges() {
    let collected = with_tags(&[], &[]);
    let Message::Gauge(mut all) = gauge("b", "", 1.0) else { panic!() };
    all.metrics.push(GaugeEntry { name: "a".to_owned(), value: None });
    all.metrics.push(GaugeEntry::default());
    collected.fold(&envelope(&[], Message::Gauge(all)));
    assert_eq!(shown(&collected), format!("a{{{}}} 0\nb{{{}}} 1\n", of_rep("YQ=="), of_rep("Yg==")));
    assert_eq!(collected.counts().dropped.into_iter().collect::<Vec<_>>(), [("no_name", 1)]);
    let metrics = vec![GaugeEntry { name: "a".to_owned(), value: None }; 1001];
    collected.fold(&envelope(&[], Message::Gauge(Gauge { metrics })));
    assert_eq!(collected.counts().dropped["too_many_gauges"], 1);
}

#[test]
fn logs_events_and_scraped_sources_are_no_metrics() {
    let collected = with_tags(&[], &[]);
    collected.ignore_sources(HashSet::from(["rep".to_owned()]));
    for message in [Message::Log(Nothing {}), Message::Event(Nothing {}), gauge("g", "", 1.0)] {
        collected.fold(&envelope(&[], message));
    }
    collected.fold(&Envelope::default());
    let counts = collected.counts();
    assert_eq!((counts.envelopes, counts.ignored, counts.metrics), (4, 1, 0));
    assert_eq!(shown(&collected), "");
}

#[test]
fn a_family_has_one_type() {
    let collected = with_tags(&[], &[]);
    collected.fold(&envelope(&[], gauge("x_seconds", "", 1.0)));
    collected.fold(&envelope(&[], counter("x_seconds", 1, 0)));
    collected.fold(&envelope(&[], timer("x", 0, 1)));
    let counts = collected.counts();
    assert_eq!((counts.metrics, counts.dropped["type_clash"]), (1, 2));
}

#[test]
fn a_client_can_cost_no_more_than_the_limits() {
    let limits = Limits {
        metrics_max: 3,
        tags_max: 2,
        name_bytes_max: 8,
        value_bytes_max: 16,
        sources_max: 1,
        ..Limits::default()
    };
    let collected = Collected::new(Settings { limits, ..Settings::default() });
    let fold = |tags: &[(&str, &str)], name: &str| collected.fold(&envelope(tags, counter(name, 1, 0)));
    fold(&[("a", "1"), ("b", "2"), ("c", "3")], "n");
    fold(&[("a2345678", "1234567890123456")], "n");
    fold(&[("a23456789", "1")], "n");
    fold(&[("a", "12345678901234567")], "n");
    fold(&[], "n23456789");
    // Empty tags make three keys of one metric, and a fourth is too many.
    for empty in ["x", "y", "z", "ä"] {
        fold(&[(empty, "")], "m");
    }
    let counts = collected.counts();
    let dropped: Vec<_> = counts.dropped.into_iter().collect();
    assert_eq!(dropped, [("metrics_limit", 2), ("text_too_long", 3), ("too_many_tags", 1)]);
    assert_eq!(counts.metrics, 2);
}

#[test]
fn sources_that_come_late_are_counted_together() {
    let limits = Limits { sources_max: 1, ..Limits::default() };
    let collected = Collected::new(Settings { limits, ..Settings::default() });
    for source in ["a", "b", "c", "a"] {
        let source_id = source.to_owned();
        collected.fold(&Envelope { source_id, ..envelope(&[], counter("m.m", 1, 0)) });
    }
    let modified = collected.counts().sources.into_iter().map(|(source, counts)| (source, counts.modified_tags));
    assert_eq!(modified.collect::<Vec<_>>(), [(String::new(), 2), ("a".to_owned(), 2)]);
}

#[test]
fn the_table_is_as_large_as_it_may_be() {
    let limits = Limits { bytes_max: 100_000, ..Limits::default() };
    let collected = Collected::new(Settings { limits, ..Settings::default() });
    let value = "v".repeat(1000);
    for number in 0..1000 {
        collected.fold(&envelope(&[("a", &value)], gauge(&format!("g{number}"), "", 1.0)));
    }
    let counts = collected.counts();
    assert!(counts.bytes <= 100_000 && (60..90).contains(&counts.metrics), "{counts:?}");
    assert_eq!(counts.dropped["bytes_limit"], 1000 - counts.metrics as u64);
}

#[tokio::test(start_paused = true)]
async fn what_no_envelope_comes_for_expires() {
    let collected = with_tags(&[], &[]);
    let bytes = collected.counts().bytes;
    let fold = |name: &str| collected.fold(&envelope(&[], counter(name, 1, 0)));
    let view = View::target(
        collected.clone(),
        Arc::new(Origin { key: 1, labels: [("job", "loggregator")].into_iter().collect(), url: String::new() }),
    );
    fold("goes");
    fold("stays");
    tokio::time::advance(Duration::from_secs(599)).await;
    collected.fold(&envelope(&[("e", "")], counter("stays", 1, 0)));
    let first = view.scrape(1);
    tokio::time::advance(Duration::from_secs(1)).await;
    collected.sweep();
    assert_eq!(collected.counts().metrics, 2, "ten minutes, and not less");
    tokio::time::advance(Duration::from_secs(1)).await;
    collected.sweep();
    let second = view.scrape(2);
    let third = view.scrape(3);
    assert_eq!((first.samples(), second.samples(), third.samples()), (2, 2, 1));
    let stays = "stays{instance_id=\"0\",job=\"loggregator\",loggregator_name=\"c3RheXM=\",source_id=\"rep\"} 2\n";
    assert_eq!(written(&third), stays);
    let gone = second.points.get(1);
    assert!(gone.value.is_stale() && second.series.get(gone.series).name() == "goes");
    tokio::time::advance(Duration::from_secs(601)).await;
    collected.sweep();
    assert_eq!((collected.counts().metrics, collected.counts().bytes), (0, bytes), "nothing is left behind");
    fold("goes");
    assert_eq!(shown(&collected), format!("goes{{{}}} 1\n", of_rep("Z29lcw==")), "from zero");
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_comes_back_with_another_type_has_no_end_beside_its_value() {
    let collected = with_tags(&[], &[]);
    let view = View::target(collected.clone(), Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }));
    collected.fold(&envelope(&[], gauge("a", "", 1.0)));
    assert_eq!(view.scrape(1).samples(), 1);
    tokio::time::advance(Duration::from_secs(601)).await;
    collected.sweep();
    collected.fold(&envelope(&[], counter("a", 7, 0)));
    let scrape = view.scrape(2);
    assert_eq!((scrape.samples(), written(&scrape)), (1, format!("a{{{}}} 7\n", of_rep("YQ=="))));
}

#[test]
fn scrapes_of_the_same_metrics_share_their_series() {
    let collected = with_tags(&[], &[]);
    let view = View::bare(collected.clone());
    for name in ["b", "a"] {
        collected.fold(&envelope(&[], counter(name, 1, 0)));
    }
    let first = view.scrape(1);
    collected.fold(&envelope(&[], counter("a", 1, 0)));
    let second = view.scrape(2);
    assert!(Arc::ptr_eq(&first.series, &second.series) && Arc::ptr_eq(first.points.series(), second.points.series()));
    let values = |scrape: &Scrape| {
        written(scrape).lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (values(&first), values(&second)),
        (vec!["1".to_owned(), "1".to_owned()], vec!["2".to_owned(), "1".to_owned()])
    );
    collected.fold(&envelope(&[], counter("c", 1, 0)));
    let third = view.scrape(3);
    assert_eq!((third.samples(), third.series.get(2).name()), (3, "c"));
}

#[test]
fn labels_of_the_target_yield_to_the_metric_s_own() {
    let collected = with_tags(&[], &[]);
    let labels: Labels<'static> = [("job", "loggregator"), ("instance", "vm")].into_iter().collect();
    collected.fold(&envelope(&[("job", "diego")], gauge("g", "", 1.0)));
    let view = View::target(collected, Arc::new(Origin { key: 1, labels, url: String::new() }));
    let expected = r#"g{instance="vm",instance_id="0",job="diego",loggregator_name="Zw==",source_id="rep"} 1"#;
    assert_eq!(written(&view.scrape(1)), format!("{expected}\n"));
}

#[test]
fn an_envelope_that_cannot_be_read_is_lost_alone() {
    let collected = with_tags(&[], &[]);
    let good = envelope(&[], counter("c", 1, 0)).encode_to_vec();
    let large = envelope(&[("a", &"v".repeat(1 << 20))], counter("c", 1, 0)).encode_to_vec();
    collected.fold_encoded([&good[..], &[0xff, 1, 2], &large, &good].into_iter());
    let counts = collected.counts();
    assert_eq!(counts.dropped.into_iter().collect::<Vec<_>>(), [("too_large", 1), ("undecodable", 1)]);
    assert_eq!((counts.envelopes, shown(&collected)), (4, format!("c{{{}}} 2\n", of_rep("Yw=="))));
    collected.fold_encoded(std::iter::repeat_n(&good[..], 1000));
    assert_eq!((collected.counts().envelopes, shown(&collected)), (1004, format!("c{{{}}} 1002\n", of_rep("Yw=="))));
}

/// Marsaglia's xorshift64: the same numbers at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 12] =
            ["", "a", "b", "a.b", "a_b", "__x", "source_id", "le", "unit", "5", "é\n\"\\", "loggregator_name"];
        TEXTS[self.below(TEXTS.len())].to_owned()
    }

    fn envelope(&mut self) -> Envelope {
        let mut tags: Vec<Tag> = Vec::new();
        for _ in 0..self.below(4) {
            tags.push(Tag { name: self.text(), value: self.text() });
        }
        let (name, unit) = (self.text(), self.text());
        let message = match self.below(5) {
            0 => Message::Log(Nothing {}),
            1 => counter(&name, self.below(3) as u64, self.below(2) as u64),
            2 => timer(&name, 0, i64::MAX - self.below(2) as i64),
            3 => timer(&format!("{name}_x"), i64::MAX, i64::MIN),
            _ => gauge(&name, &unit, [f64::NAN, -0.0, 1.0][self.below(3)]),
        };
        Envelope {
            source_id: self.text(),
            instance_id: self.text(),
            tags,
            message: Some(message),
            ..Envelope::default()
        }
    }
}

/// Whatever comes: the exposition is valid and has no series twice, and in the end nothing is left.
#[tokio::test(start_paused = true)]
async fn whatever_comes_the_table_stays_whole() {
    let mut random = Random(42);
    let limits = Limits { metrics_max: 200, bytes_max: 100_000, sources_max: 3, ..Limits::default() };
    let timer_tags = vec!["a".to_owned(), "le".to_owned(), "unit".to_owned()];
    let tags = vec![("b".to_owned(), "default".to_owned())];
    let collected = Collected::new(Settings { limits, tags, timer_tags, ..Settings::default() });
    let views = [
        View::bare(collected.clone()),
        View::target(
            collected.clone(),
            Arc::new(Origin { key: 1, labels: [("job", "l"), ("le", "t")].into_iter().collect(), url: String::new() }),
        ),
    ];
    for round in 0..100i64 {
        let mut batch = Vec::new();
        for _ in 0..random.below(20) {
            prost::encoding::message::encode(1, &random.envelope(), &mut batch);
        }
        if random.below(4) == 0 && !batch.is_empty() {
            let at = random.below(batch.len());
            batch[at] ^= 1 << random.below(8);
        }
        let before = collected.counts().envelopes;
        let is_batch = collected.fold_batch(&batch);
        assert!(is_batch || collected.counts().envelopes == before, "all or nothing");
        tokio::time::advance(Duration::from_secs(random.below(100) as u64)).await;
        collected.sweep();
        let counts = collected.counts();
        assert!(counts.metrics <= 200 && counts.bytes <= 100_000 && counts.sources.len() <= 4, "{counts:?}");
        for view in &views {
            let scrape = view.scrape(round);
            let mut seen = HashSet::new();
            for line in written(&scrape).lines() {
                let series = line.rsplit_once(' ').unwrap().0.to_owned();
                assert!(crate::exposition::text::parse_line(line.as_bytes()).is_ok(), "{line}");
                assert!(seen.insert(series), "twice: {line}");
            }
        }
    }
    tokio::time::advance(Duration::from_secs(700)).await;
    collected.sweep();
    let counts = collected.counts();
    assert_eq!((counts.metrics, counts.bytes), (0, 0));
    assert!(counts.dropped.len() > 2, "{counts:?}");
}
