//! What targets say in OpenMetrics, served in both formats: exemplars, units, and the types that text format 0.0.4 lacks.

use std::sync::Arc;

use http::Method;
use promferry::exposition::{Format, Settings, Table};
use promferry::model::{
    ChunkBuilder, Exemplar, Family, Histogram, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet,
};
use tracing::Level;

use super::{AddInstance, Endpoint, OPENMETRICS, TEXT, Target};
use crate::support::logs::Logs;

/// Names and values.
type Pairs<'g> = &'g [(&'g str, &'g str)];
/// Labels, value, time.
type Hung<'g> = (Pairs<'g>, f64, Option<i64>);
/// A series as a target that speaks OpenMetrics has it, and its exemplar.
type Given<'g> = (&'g str, Pairs<'g>, f64, Option<Hung<'g>>);

/// A scrape of families: name, type, unit, series.
fn scrape(key: u64, families: &[(&str, MetricType, &str, &[Given<'_>])]) -> Arc<Scrape> {
    let (mut chunk, mut points, mut exemplars) = (ChunkBuilder::default(), PointsBuilder::default(), Vec::new());
    for &(name, kind, unit, series) in families {
        let family = chunk.family(Family { name, help: "", kind, unit });
        for &(name, labels, value, exemplar) in series {
            let series = chunk.push(family, name, labels.iter().copied());
            points.push_float(series, value, None);
            exemplars.extend(exemplar.map(|(labels, value, at_ms)| Exemplar {
                series,
                labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
                value,
                at_ms,
            }));
        }
    }
    Arc::new(Scrape {
        origin: Arc::new(Origin { key, labels: Labels::new(), url: format!("https://target-{key}/metrics") }),
        at_ms: 1,
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: exemplars.into(),
        created: Default::default(),
        is_last: false,
    })
}

/// Every type, exemplars where they may be and where they may not.
fn everything() -> Arc<Scrape> {
    let trace: Option<Hung<'_>> = Some((&[("span_id", "\"1\""), ("trace_id", "abc")], 0.5, Some(1_700_000_000_500)));
    let above: Option<Hung<'_>> = Some((&[], 7.0, None));
    scrape(
        1,
        &[
            (
                "sent_bytes",
                MetricType::Counter,
                "bytes",
                &[("sent_bytes_total", &[], 3.0, trace), ("sent_bytes_created", &[], 1e9, trace)],
            ),
            (
                "took_seconds",
                MetricType::Histogram,
                "seconds",
                &[
                    ("took_seconds_bucket", &[("le", "1.0")], 1.0, above),
                    ("took_seconds_bucket", &[("le", "+Inf")], 2.0, above),
                    ("took_seconds_count", &[], 2.0, trace),
                    ("took_seconds_sum", &[], 7.5, None),
                ],
            ),
            (
                "waits",
                MetricType::GaugeHistogram,
                "",
                &[
                    ("waits_bucket", &[("le", "1.0")], 1.0, trace),
                    ("waits_bucket", &[("le", "+Inf")], 1.0, None),
                    ("waits_gcount", &[], 1.0, None),
                    ("waits_gsum", &[], 0.5, None),
                ],
            ),
            ("build", MetricType::Info, "", &[("build_info", &[("version", "1")], 1.0, None)]),
            (
                "state",
                MetricType::StateSet,
                "",
                &[("state", &[("state", "off")], 0.0, None), ("state", &[("state", "on")], 1.0, trace)],
            ),
            ("load", MetricType::Gauge, "", &[("load", &[], 0.25, trace)]),
            ("what", MetricType::Unknown, "", &[("what", &[], 4.0, None)]),
        ],
    )
}

#[tokio::test]
async fn every_type_is_served_in_the_words_of_each_format() {
    let endpoint = Endpoint::new();
    endpoint.offer(everything());
    let (_, openmetrics) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    assert_eq!(
        openmetrics,
        "# TYPE build info\nbuild_info{version=\"1\"} 1\n\
         # TYPE load gauge\nload 0.25\n\
         # TYPE sent_bytes counter\n# UNIT sent_bytes bytes\n\
         sent_bytes_total 3 # {span_id=\"\\\"1\\\"\",trace_id=\"abc\"} 0.5 1700000000.500\nsent_bytes_created 1e+09\n\
         # TYPE state stateset\nstate{state=\"off\"} 0\nstate{state=\"on\"} 1\n\
         # TYPE took_seconds histogram\n# UNIT took_seconds seconds\ntook_seconds_bucket{le=\"1.0\"} 1\n\
         took_seconds_bucket{le=\"+Inf\"} 2 # {} 7\ntook_seconds_sum 7.5\ntook_seconds_count 2\n\
         # TYPE waits gaugehistogram\n\
         waits_bucket{le=\"1.0\"} 1 # {span_id=\"\\\"1\\\"\",trace_id=\"abc\"} 0.5 1700000000.500\n\
         waits_bucket{le=\"+Inf\"} 1\nwaits_gsum 0.5\nwaits_gcount 1\n\
         # TYPE what unknown\nwhat 4\n# EOF\n"
    );
    let (_, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    assert_eq!(
        text,
        "# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
         # TYPE load gauge\nload 0.25\n\
         # TYPE sent_bytes_created gauge\nsent_bytes_created 1e+09\n\
         # TYPE sent_bytes_total counter\nsent_bytes_total 3\n\
         # TYPE state gauge\nstate{state=\"off\"} 0\nstate{state=\"on\"} 1\n\
         # TYPE took_seconds histogram\ntook_seconds_bucket{le=\"1.0\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 2\n\
         took_seconds_sum 7.5\ntook_seconds_count 2\n\
         # TYPE waits_bucket untyped\nwaits_bucket{le=\"1.0\"} 1\nwaits_bucket{le=\"+Inf\"} 1\n\
         # TYPE waits_gcount untyped\nwaits_gcount 1\n# TYPE waits_gsum untyped\nwaits_gsum 0.5\n\
         # TYPE what untyped\nwhat 4\n"
    );
    endpoint.read().await;
}

#[tokio::test]
async fn an_exemplar_that_openmetrics_forbids_is_left_out() {
    let endpoint = Endpoint::new();
    let long = "x".repeat(121);
    let series: &[Given<'_>] = &[
        ("c_total", &[("n", "1")], 1.0, Some((&[("trace_id", &long[..120])], 1.0, None))),
        ("c_total", &[("n", "2")], 1.0, Some((&[("trace_id", &long)], 1.0, None))),
        ("c_total", &[("n", "3")], 1.0, Some((&[("trace.id", "a")], 1.0, None))),
    ];
    endpoint.offer(scrape(1, &[("c", MetricType::Counter, "", series)]));
    let [_, openmetrics] = endpoint.read().await;
    let with: Vec<_> = openmetrics.iter().filter(|sample| sample.exemplar.is_some()).map(|s| &s.labels["n"]).collect();
    assert_eq!(with, ["1"]);
}

#[tokio::test]
async fn a_counter_is_one_family_whatever_format_it_came_in() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape("# HELP foo_total Foos.\n# TYPE foo_total counter\nfoo_total 1\n"));
    let series: &[Given<'_>] = &[("foo_total", &[("instance", "b")], 2.0, None)];
    endpoint.offer(scrape(2, &[("foo", MetricType::Counter, "", series)]));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    let expected = "foo_total{instance=\"a\"} 1\nfoo_total{instance=\"b\"} 2\n# TYPE up gauge\nup{instance=\"a\"} 1\n";
    assert_eq!(text, format!("# HELP foo_total Foos.\n# TYPE foo_total counter\n{expected}"));
    let (_, openmetrics) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    assert_eq!(openmetrics, format!("# HELP foo Foos.\n# TYPE foo counter\n{expected}# EOF\n"));
    assert_eq!(endpoint.expose.served().type_clashes_last, 0);
}

/// Whoever scrapes us in OpenMetrics and serves it again says what we said.
#[tokio::test]
async fn what_is_served_in_openmetrics_reads_back_to_the_same() {
    let endpoint = Endpoint::new();
    endpoint.offer(everything());
    let (_, served) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    let mut table = Table::new(Settings::default(), Box::new(AddInstance(String::new())), Labels::new());
    table.begin(1);
    table.read_as(Format::OpenMetrics);
    table.feed(served.as_bytes()).unwrap();
    let counts = table.finish_body().unwrap();
    assert_eq!(counts.first_bad_lines, [], "{served}");
    table.accept();
    let parsed = table.take();
    assert_eq!(parsed.exemplars.len(), 3);
    let again = Endpoint::new();
    again.offer(Arc::new(Scrape {
        origin: everything().origin.clone(),
        at_ms: 1,
        series: parsed.series,
        points: parsed.points,
        exemplars: parsed.exemplars,
        created: parsed.created,
        is_last: false,
    }));
    assert_eq!(again.ask(Method::GET, "/metrics", OPENMETRICS).await.1, served);
    let text = endpoint.ask(Method::GET, "/metrics", TEXT).await.1;
    assert_eq!(again.ask(Method::GET, "/metrics", TEXT).await.1, text);
}

#[tokio::test]
async fn native_histograms_are_told_once_with_what_would_help() {
    let logs = Logs::listen();
    let endpoint = Endpoint::new();
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "h", kind: MetricType::Histogram, ..Family::default() });
    chunk.push(family, "h", std::iter::empty());
    let series = Arc::new(SeriesSet::new(vec![chunk.finish()]));
    for at_ms in [1, 2] {
        let mut points = PointsBuilder::default();
        points.push_histogram(0, Histogram { sum: 1.0, ..Histogram::stale() }, None);
        endpoint.offer(Arc::new(Scrape { at_ms, series: series.clone(), points: points.finish(), ..empty() }));
    }
    assert_eq!(endpoint.counts().settled.skipped["unsupported_type"], 2);
    let told: Vec<_> = logs.at(Level::WARN).into_iter().map(|(message, _)| message).collect();
    assert_eq!(told, ["native histograms are skipped: this output cannot express them"]);
    assert_eq!(logs.field(Level::WARN, "output"), ["everything"]);
    let remedy = logs.field(Level::WARN, "remedy").concat();
    assert!(remedy.starts_with("always_scrape_classic_histograms: true "), "{remedy}");
}

fn empty() -> Scrape {
    Scrape {
        origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
        at_ms: 0,
        series: Arc::new(SeriesSet::new(Vec::new())),
        points: PointsBuilder::default().finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    }
}
