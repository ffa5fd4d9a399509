//! The aggregate endpoint from outside: what clients read, for what targets had.

pub mod client;
mod openmetrics;
pub mod strict;

use std::io::Read;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use promferry::config::checked;
use promferry::exposition::{Admission, Admit, Settings, Table};
use promferry::model::{Exemplar, Histogram, Labels, Origin, Point, PointsBuilder, STALE_NAN, Scrape};
use promferry::net::credentials::Credentials;
use promferry::net::server::{Handler, Limits, Server};
use promferry::net::tls::ServerTls;
use promferry::output::expose::{EXPOSITIONS_MAX, Expose};
use promferry::pipeline::{Counts, Intake, Ledger, Projection, SenderStatus};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use strict::Sample;
use tokio::sync::watch;
use tracing::Level;

use crate::support::certificates::{Ca, Pair};
use crate::support::logs::Logs;

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
const TEXT: &str = "text/plain;version=0.0.4;escaping=allow-utf-8";

/// A target, with the table that reads its bodies. `instance` is left out where it is empty.
struct Target {
    table: Table,
    origin: Arc<Origin>,
    at_ms: i64,
}

struct AddInstance(String);

impl Admit for AddInstance {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        if !self.0.is_empty() {
            labels.set("instance", self.0.as_str());
        }
        Admission::Keep
    }
}

impl Target {
    fn new(key: u64, instance: &str) -> Self {
        let labels: Labels = [("instance".to_owned(), instance.to_owned())].into_iter().collect();
        let admit = Box::new(AddInstance(instance.to_owned()));
        Self {
            table: Table::new(Settings::default(), admit, labels.clone()),
            origin: Arc::new(Origin { key, labels, url: format!("https://target-{key}/metrics") }),
            at_ms: 1_700_000_000_000,
        }
    }

    fn scrape(&mut self, body: &str) -> Arc<Scrape> {
        self.at_ms += 1000;
        self.table.begin(self.at_ms);
        self.table.feed(body.as_bytes()).unwrap();
        assert_eq!(self.table.finish_body().unwrap().bad_lines, 0, "{body}");
        self.table.accept();
        self.table.report("up", "", 1.0);
        self.taken(false)
    }

    fn failed(&mut self) -> Arc<Scrape> {
        self.at_ms += 1000;
        self.table.begin(self.at_ms);
        self.table.fail();
        self.table.report("up", "", 0.0);
        self.taken(false)
    }

    fn last(&mut self) -> Arc<Scrape> {
        let parsed = self.table.end();
        self.shared(parsed.points, parsed.series, true)
    }

    fn taken(&mut self, is_last: bool) -> Arc<Scrape> {
        let parsed = self.table.take();
        self.shared(parsed.points, parsed.series, is_last)
    }

    fn shared(
        &self,
        points: promferry::model::Points,
        series: Arc<promferry::model::SeriesSet>,
        is_last: bool,
    ) -> Arc<Scrape> {
        let (origin, at_ms) = (self.origin.clone(), self.at_ms);
        Arc::new(Scrape {
            origin,
            at_ms,
            series,
            points,
            exemplars: Box::default(),
            created: Default::default(),
            is_last,
        })
    }
}

struct Endpoint {
    expose: Arc<Expose>,
    ledger: Arc<Ledger>,
    ready: watch::Sender<bool>,
}

impl Endpoint {
    fn new() -> Self {
        Self::with_timestamps(false)
    }

    fn with_timestamps(timestamps: bool) -> Self {
        let config =
            checked::Expose { listen: "127.0.0.1:0".parse().unwrap(), path: "/metrics".into(), tls: None, timestamps };
        let ledger = Ledger::new("everything");
        let (ready, is_ready) = watch::channel(false);
        let status = Arc::<Mutex<SenderStatus>>::default();
        Self { expose: Expose::new("everything", &config, ledger.clone(), status, is_ready), ledger, ready }
    }

    fn offer(&self, scrape: Arc<Scrape>) {
        self.expose.offer(&scrape);
    }

    fn counts(&self) -> Counts {
        let counts = self.ledger.snapshot();
        assert_eq!((counts.imbalance(), counts.waiting), (0, 0));
        counts
    }

    async fn ask(&self, method: Method, path: &str, accept: &'static str) -> (StatusCode, String) {
        let mut headers = HeaderMap::new();
        headers.insert("accept", accept.parse().unwrap());
        let response = self.expose.answer(&method, path, &headers).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The exposition, read strictly in both formats; gives the samples of each.
    async fn read(&self) -> [Vec<Sample>; 2] {
        let (_, text) = self.ask(Method::GET, "/metrics", TEXT).await;
        let (_, openmetrics) = self.ask(Method::GET, "/metrics", OPENMETRICS).await;
        [strict::read(false, &text), strict::read(true, &openmetrics)]
    }

    async fn serve(&self, tls: Option<&ServerTls>) -> Server {
        let expose = self.expose.clone();
        let handler: Handler = Arc::new(move |request| {
            let expose = expose.clone();
            Box::pin(async move { expose.answer(&request.method, &request.path, &request.headers).await })
        });
        let listener = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let tls = tls.map(|tls| Credentials::default().listener(tls));
        Server::start(listener, tls, Limits::default(), handler).unwrap()
    }
}

#[tokio::test]
async fn families_of_all_targets_are_merged_and_each_is_told_once() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape("# TYPE requests_total counter\nrequests_total{code=\"200\"} 1\n"));
    endpoint.offer(Target::new(2, "b").scrape(
        "# HELP temperature Now.\n# TYPE temperature gauge\ntemperature -0.5\n\
         # HELP requests_total All \\ \\n of \"them\".\n# TYPE requests_total counter\nrequests_total 2e9\n",
    ));
    let (status, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        "# HELP requests_total All \\\\ \\n of \"them\".\n# TYPE requests_total counter\n\
         requests_total{code=\"200\",instance=\"a\"} 1\nrequests_total{instance=\"b\"} 2e+09\n\
         # HELP temperature Now.\n# TYPE temperature gauge\ntemperature{instance=\"b\"} -0.5\n\
         # TYPE up gauge\nup{instance=\"a\"} 1\nup{instance=\"b\"} 1\n"
    );
    let (_, openmetrics) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    assert_eq!(
        openmetrics,
        "# HELP requests All \\\\ \\n of \\\"them\\\".\n# TYPE requests counter\n\
         requests_total{code=\"200\",instance=\"a\"} 1\nrequests_total{instance=\"b\"} 2e+09\n\
         # HELP temperature Now.\n# TYPE temperature gauge\ntemperature{instance=\"b\"} -0.5\n\
         # TYPE up gauge\nup{instance=\"a\"} 1\nup{instance=\"b\"} 1\n# EOF\n"
    );
    endpoint.read().await;
}

#[tokio::test]
async fn a_failed_scrape_leaves_up_and_a_gone_target_leaves_nothing() {
    let endpoint = Endpoint::new();
    let (mut a, mut b) = (Target::new(1, "a"), Target::new(2, "b"));
    let served = async |endpoint: &Endpoint| {
        let [text, _] = endpoint.read().await;
        text.into_iter().map(|s| format!("{} {} {}", s.name, s.labels["instance"], s.value)).collect::<Vec<_>>()
    };
    endpoint.offer(a.scrape("x 1\ny 2\n"));
    endpoint.offer(b.scrape("x 3\n"));
    assert_eq!(served(&endpoint).await, ["up a 1", "up b 1", "x a 1", "x b 3", "y a 2"]);
    endpoint.offer(a.failed());
    assert_eq!(served(&endpoint).await, ["up a 0", "up b 1", "x b 3"]);
    endpoint.offer(a.scrape("y 4\n"));
    assert_eq!(served(&endpoint).await, ["up a 1", "up b 1", "x b 3", "y a 4"]);
    endpoint.offer(a.last());
    assert_eq!(served(&endpoint).await, ["up b 1", "x b 3"]);
    assert_eq!(endpoint.expose.served().targets, 1);

    let counts = endpoint.counts();
    assert_eq!(counts.settled.delivered, 3 + 2 + 1 + 2);
    // x and y at the failure; y and up at the end.
    assert_eq!(counts.settled.skipped["stale_marker"], 4);
}

#[tokio::test]
async fn what_the_text_cannot_say_is_counted() {
    let endpoint = Endpoint::new();
    let scrape = Target::new(1, "a").scrape("x 1\n");
    let mut points = PointsBuilder::default();
    points.push_float(0, 7.0, None);
    points.push_float(1, STALE_NAN, None);
    points.push_histogram(1, Histogram { sum: 1.0, ..Histogram::stale() }, None);
    points.push_histogram(1, Histogram::stale(), None);
    endpoint.offer(Arc::new(Scrape {
        origin: scrape.origin.clone(),
        at_ms: 1,
        series: scrape.series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    }));
    let settled = endpoint.counts().settled;
    assert_eq!((settled.delivered, settled.skipped["stale_marker"], settled.skipped["unsupported_type"]), (1, 2, 1));
    let [text, openmetrics] = endpoint.read().await;
    assert_eq!((text.len(), openmetrics.len()), (1, 1));
}

#[tokio::test]
async fn the_same_series_of_two_targets_is_served_once() {
    let endpoint = Endpoint::new();
    let histogram = |n: u32, le: &str| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"{le}\"}} {n}\nh_bucket{{le=\"+Inf\"}} {n}\nh_sum {n}\nh_count {n}\n"
        )
    };
    endpoint.offer(Target::new(2, "").scrape(&format!("x 2\nonly_b 2\n{}", histogram(2, "5.0"))));
    endpoint.offer(Target::new(1, "").scrape(&format!("x 1\n{}", histogram(1, "1.0"))));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    assert_eq!(
        text,
        "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n\
         # TYPE only_b untyped\nonly_b 2\n# TYPE up gauge\nup 1\n# TYPE x untyped\nx 1\n",
        "the first by key wins, and a histogram is of one target"
    );
    // x, up, and the four samples of the histogram.
    assert_eq!(endpoint.expose.served().duplicates_last, 6);
    endpoint.read().await;
    assert_eq!(endpoint.expose.served().duplicates, 18);
}

#[tokio::test]
async fn series_that_write_relabelling_made_equal_are_served_once() {
    let endpoint = Endpoint::new();
    let rules = |labels: &mut Labels<'_>| {
        labels.set("x", "");
        true
    };
    let projection = Projection::new(Box::new(rules), endpoint.ledger.clone(), endpoint.expose.clone());
    let mut target = Target::new(1, "");
    for (body, served, duplicates) in
        [("m{x=\"1\"} 1\nm{x=\"2\"} 2\n", "m 1", 1), ("m{x=\"2\"} 3\n", "m 3", 0), ("m{x=\"1\"} 4\n", "m 4", 0)]
    {
        projection.offer(&target.scrape(body));
        let (_, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
        assert_eq!(text.lines().filter(|line| line.starts_with("m ")).collect::<Vec<_>>(), [served]);
        assert_eq!(endpoint.expose.served().duplicates_last, duplicates);
        endpoint.read().await;
    }
    endpoint.counts();
}

#[tokio::test]
async fn each_flaw_is_logged_once() {
    let logs = Logs::listen();
    let endpoint = Endpoint::new();
    let (mut a, mut b) = (Target::new(1, ""), Target::new(2, ""));
    for _ in 0..3 {
        endpoint.offer(a.scrape("# TYPE x gauge\nx 1\n"));
        endpoint.offer(b.scrape("# TYPE x counter\nx 2\n"));
        endpoint.read().await;
    }
    let warned: Vec<String> = logs.at(Level::WARN).into_iter().map(|(message, _)| message).collect();
    assert_eq!(
        warned,
        [
            "the same series comes more than once; the aggregate endpoint serves the first",
            "targets disagree about a metric's type; the aggregate endpoint serves it as untyped",
        ]
    );
}

#[tokio::test]
async fn a_clash_of_types_is_served_once_as_untyped() {
    let endpoint = Endpoint::new();
    let histogram = "# TYPE x histogram\nx_bucket{le=\"+Inf\"} 1\nx_sum 1\nx_count 1\n";
    endpoint.offer(Target::new(1, "a").scrape("# TYPE x gauge\nx 1\n# TYPE y counter\ny_total 1\n"));
    endpoint.offer(Target::new(2, "b").scrape("# TYPE x counter\nx 2\n# TYPE y gauge\ny 5\n"));
    endpoint.offer(Target::new(3, "c").scrape(histogram));
    endpoint.offer(Target::new(4, "d").scrape("# TYPE x_sum gauge\nx_sum 4\n"));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(
        types,
        ["up gauge", "x untyped", "x_bucket untyped", "x_count untyped", "x_sum untyped", "y gauge", "y_total counter"]
    );
    // The histogram, x and x_sum.
    assert_eq!(endpoint.expose.served().type_clashes_last, 3);
    let [text, openmetrics] = endpoint.read().await;
    assert_eq!((text.len(), openmetrics.len()), (12, 12), "all samples are served");
}

#[tokio::test]
async fn what_does_not_fit_its_type_is_a_family_of_its_own() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape(
        "# HELP go_alloc_bytes Now.\n# TYPE go_alloc_bytes gauge\ngo_alloc_bytes 1\n\
         # HELP go_alloc_bytes_total Ever.\n# TYPE go_alloc_bytes_total counter\ngo_alloc_bytes_total 2\n\
         # TYPE bare counter\nbare 3\n\
         # TYPE made counter\nmade_total 4\nmade_created 5\n\
         # TYPE no_inf histogram\nno_inf_bucket{le=\"1\"} 1\nno_inf_sum 1\nno_inf_count 1\n\
         # TYPE h histogram\nh_count{x=\"1\"} 9\nh_bucket{x=\"2\",le=\"+Inf\"} 4\nh_bucket{x=\"1\",le=\"+Inf\"} 9\n\
         h_bucket{x=\"1\",le=\"10\"} 2\nh_bucket{x=\"1\",le=\"9\"} 1\nh_bucket{x=\"2\",le=\"odd\"} 4\nh_sum{x=\"2\"} 4\n\
         # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\ns{quantile=\"0.1\"} 0\ns{quantile=\"7\"} 0\n",
    ));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(
        types,
        [
            "bare unknown",
            "go_alloc_bytes gauge",
            "go_alloc_bytes_total unknown",
            "h_bucket unknown",
            "h_count unknown",
            "h_sum unknown",
            "made counter",
            "no_inf_bucket unknown",
            "no_inf_count unknown",
            "no_inf_sum unknown",
            "s unknown",
            "s_count unknown",
            "s_sum unknown",
            "up gauge"
        ]
    );
    let [text, openmetrics] = endpoint.read().await;
    assert_eq!((text.len(), openmetrics.len()), (21, 21), "all samples are served");
}

#[tokio::test]
async fn the_samples_of_a_metric_stand_together_and_bounds_rise() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape(
        "# TYPE h histogram\nh_count{x=\"1\"} 9\nh_bucket{x=\"2\",le=\"+Inf\"} 4\nh_bucket{x=\"1\",le=\"+Inf\"} 9\n\
         h_bucket{x=\"1\",le=\"10\"} 2\nh_bucket{x=\"1\",le=\"9\"} 1\nh_sum{x=\"2\"} 4\nh_count{x=\"2\"} 4\nh_sum{x=\"1\"} 3\n",
    ));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", OPENMETRICS).await;
    let lines: Vec<&str> = text.lines().take_while(|line| !line.contains("up")).collect();
    assert_eq!(
        lines,
        [
            "# TYPE h histogram",
            r#"h_bucket{instance="a",le="9.0",x="1"} 1"#,
            r#"h_bucket{instance="a",le="10.0",x="1"} 2"#,
            r#"h_bucket{instance="a",le="+Inf",x="1"} 9"#,
            r#"h_sum{instance="a",x="1"} 3"#,
            r#"h_count{instance="a",x="1"} 9"#,
            r#"h_bucket{instance="a",le="+Inf",x="2"} 4"#,
            r#"h_sum{instance="a",x="2"} 4"#,
            r#"h_count{instance="a",x="2"} 4"#,
        ]
    );
    endpoint.read().await;
}

#[tokio::test]
async fn times_are_written_only_on_demand() {
    for (timestamps, expected) in [(false, ["x 5", "x 5"]), (true, ["x 5 1500", "x 5 1.500"])] {
        let endpoint = Endpoint::with_timestamps(timestamps);
        endpoint.offer(Target::new(1, "").scrape("x 4 1000\nx 5 1500\n"));
        for (accept, expected) in [TEXT, OPENMETRICS].into_iter().zip(expected) {
            let (_, text) = endpoint.ask(Method::GET, "/metrics", accept).await;
            let line = text.lines().find(|line| line.starts_with("x ")).unwrap();
            assert_eq!(line, expected, "the series' latest value");
        }
    }
}

#[tokio::test]
async fn names_in_quotes_are_for_clients_that_read_them() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "").scrape("{\"a.b\"} 1\nc{\"d.e\"=\"f\"} 2\nc 3\n"));
    let (_, text) = endpoint.ask(Method::GET, "/metrics", "text/plain;version=0.0.4").await;
    assert_eq!(text, "# TYPE c untyped\nc 3\n# TYPE up gauge\nup 1\n");
    assert_eq!(endpoint.expose.served().quoted_names_last, 2);
    let (_, text) = endpoint.ask(Method::GET, "/metrics", "*/*").await;
    assert!(text.contains("{\"a.b\"} 1\n") && text.contains("c{\"d.e\"=\"f\"} 2\n"), "{text}");
}

/// A generator of the same numbers in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

#[tokio::test]
async fn whatever_targets_have_the_exposition_is_valid_and_leaves_nothing_out() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    const SUFFIXES: [&str; 8] = ["", "_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum"];
    const TYPES: [&str; 8] =
        ["counter", "gauge", "histogram", "summary", "untyped", "info", "stateset", "gaugehistogram"];
    let mut exemplars = 0;
    for round in 0..200 {
        let endpoint = Endpoint::new();
        let mut offered = std::collections::HashSet::new();
        for key in 0..3 {
            let instance = numbers.pick(&["", "a", "b"]);
            let mut body = String::new();
            for _ in 0..1 + numbers.below(6) {
                let family = format!("f{}{}", numbers.below(2), numbers.pick(&SUFFIXES));
                body.push_str(&format!("# TYPE {family} {}\n", numbers.pick(&TYPES)));
                for _ in 0..1 + numbers.below(6) {
                    let label =
                        numbers.pick(&["", "le=\"1\"", "le=\"+Inf\"", "quantile=\"0.5\"", "f0=\"s\"", "f0=\"t\""]);
                    let other = numbers.pick(&["", "x=\"1\",", "x=\"2\","]);
                    body.push_str(&format!("{family}{}{{{other}{label}}} 1\n", numbers.pick(&SUFFIXES)));
                }
            }
            let mut scrape = Arc::into_inner(Target::new(key, instance).scrape(&body)).expect("nobody else has it");
            let values = [0.5, 1.5, f64::NAN];
            let exemplar = |point: Point<'_>| Exemplar {
                series: point.series,
                labels: Labels::new(),
                value: values[numbers.below(values.len())],
                at_ms: None,
            };
            scrape.exemplars = scrape.points.iter().map(exemplar).collect();
            let scrape = Arc::new(scrape);
            for point in scrape.points.iter() {
                let series = scrape.series.get(point.series);
                offered.insert((series.name().to_owned(), series.labels().collect::<Labels>().to_string()));
            }
            endpoint.offer(scrape);
        }
        let before = endpoint.expose.served();
        let [text, openmetrics] = endpoint.read().await;
        exemplars += openmetrics.iter().filter(|sample| sample.exemplar.is_some()).count();
        let served = endpoint.expose.served();
        let expected = endpoint.counts().settled.delivered;
        assert_eq!((served.samples - before.samples) + served.duplicates, 2 * expected, "round {round}");
        // A metric of a histogram or summary is of one target, so some of its series may be left out; nothing else is.
        let all_there = |samples: &[Sample]| samples.len() as u64 + served.duplicates >= offered.len() as u64;
        assert!(all_there(&text) && all_there(&openmetrics), "round {round}");
    }
    assert!(exemplars > 20, "{exemplars} exemplars");
}

#[tokio::test]
async fn pieces_are_small_and_of_one_moment() {
    let endpoint = Endpoint::new();
    let mut target = Target::new(1, "a");
    let body = |value: u32| (0..20_000).map(|n| format!("series_{}{{n=\"{n}\"}} {value}\n", n % 7)).collect::<String>();
    endpoint.offer(target.scrape(&body(1)));
    let mut headers = HeaderMap::new();
    for gzip in [false, true] {
        if gzip {
            headers.insert("accept-encoding", "gzip".parse().unwrap());
        }
        let mut response = endpoint.expose.answer(&Method::GET, "/metrics", &headers).await.into_body();
        let mut pieces: Vec<Bytes> = Vec::new();
        while let Some(frame) = response.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
            endpoint.offer(target.scrape(&body(2)));
        }
        assert!(pieces.iter().all(|piece| piece.len() < 72 * 1024));
        let mut bytes = pieces.concat();
        if gzip {
            let deflated = bytes;
            bytes = Vec::new();
            flate2::read::GzDecoder::new(&deflated[..]).read_to_end(&mut bytes).unwrap();
        } else {
            assert!(pieces.len() > 5, "{} pieces of {} bytes", pieces.len(), bytes.len());
        }
        let samples = strict::read(false, &String::from_utf8(bytes).unwrap());
        assert_eq!(samples.len(), 20_001);
        let first = &samples[0].value;
        assert!(samples.iter().all(|sample| sample.name == "up" || sample.value == *first));
        endpoint.offer(target.scrape(&body(1)));
    }
}

#[tokio::test]
async fn expositions_at_a_time_are_limited() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape("x 1\n"));
    let mut held = Vec::new();
    for _ in 0..EXPOSITIONS_MAX {
        held.push(endpoint.expose.answer(&Method::GET, "/metrics", &HeaderMap::new()).await);
    }
    let (status, text) = endpoint.ask(Method::GET, "/metrics", TEXT).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text, "8 expositions are being read now; come again when one is done\n");
    held.pop();
    assert_eq!(endpoint.ask(Method::GET, "/metrics", TEXT).await.0, StatusCode::OK);
}

#[tokio::test]
async fn it_answers_over_http_to_get_and_head() {
    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape("x 1\n"));
    let server = endpoint.serve(None).await;
    let address = server.listens_on();

    let plain = client::ask(address, "GET", "/metrics", &["accept-encoding: gzip;q=0"]).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    let zipped =
        client::ask(address, "GET", "/metrics", &["accept-encoding: gzip", &format!("accept: {OPENMETRICS}")]).await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("vary"), Some("accept, accept-encoding"));
    assert!(zipped.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0;"));
    assert_eq!(plain.body, "# TYPE up gauge\nup{instance=\"a\"} 1\n# TYPE x untyped\nx{instance=\"a\"} 1\n");
    assert_eq!(zipped.body, "# TYPE up gauge\nup{instance=\"a\"} 1\n# TYPE x unknown\nx{instance=\"a\"} 1\n# EOF\n");

    let head = client::ask(address, "HEAD", "/metrics", &[]).await;
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", None));
    let post = client::ask(address, "POST", "/metrics", &["content-length: 0"]).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("get, head")));
    let missing = client::ask(address, "GET", "/metrics/", &[]).await;
    assert_eq!((missing.status, missing.body.as_str()), (404, "nothing is here; metrics are at /metrics\n"));
    assert_eq!(client::ask(address, "GET", "/-/healthy", &[]).await.status, 200);
    assert_eq!(client::ask(address, "GET", "/-/ready", &[]).await.status, 503);
    endpoint.ready.send_replace(true);
    assert_eq!(client::ask(address, "GET", "/-/ready", &[]).await.status, 200);
}

/// What a client trusts, and the certificate that it shows.
fn client_config(authority: &Ca, shown: Option<&Pair>) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots());
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
        }
    })
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Ca::new(), Ca::named("another ca"));
    let (cert_file, key_file) = ours.server(&["localhost"]).write_to(folder.path(), "server");
    let settings = ServerTls { cert_file, key_file, client_ca_file: Some(ours.write_to(folder.path())) };

    let endpoint = Endpoint::new();
    endpoint.offer(Target::new(1, "a").scrape("x 1\n"));
    let server = endpoint.serve(Some(&settings)).await;
    let ask = async |shown: Option<&Pair>| {
        let stream = tokio::net::TcpStream::connect(server.listens_on()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(client_config(&ours, shown));
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
        client::ask_over(stream, "GET", "/metrics", &[]).await
    };
    let answer = ask(Some(&ours.client("scraper"))).await.unwrap();
    assert_eq!(strict::read(false, &answer.body).len(), 2);
    for refused in [None, Some(&other.client("scraper"))] {
        // An alert, or a reset that overtook it.
        assert!(ask(refused).await.is_err(), "served without a certificate of ours");
    }
    assert_eq!(endpoint.expose.served().expositions, 1);
}

/// The corpus is other people's text; it is read where `CORPUS` names its folder.
#[tokio::test]
async fn real_expositions_are_served_whole() {
    let Some(corpus) = std::env::var_os("CORPUS") else { return };
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "prom"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let endpoint = Endpoint::new();
    for (key, path) in files.iter().enumerate() {
        let mut target = Target::new(key as u64, &format!("t{key}"));
        let body = std::fs::read(path).unwrap();
        target.table.begin(1);
        target.table.feed(&body).unwrap();
        target.table.finish_body().unwrap();
        target.table.accept();
        endpoint.offer(target.taken(false));
    }
    let [text, openmetrics] = endpoint.read().await;
    let served = endpoint.expose.served();
    assert_eq!(text.len() as u64 + openmetrics.len() as u64, served.samples);
    assert_eq!(served.samples + served.duplicates, 2 * endpoint.counts().settled.delivered);
}
