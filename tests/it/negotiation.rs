//! Which formats a target is asked for, and what decides how its answer is read.

use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{Escaping, NameValidation, Negotiation, ScrapeProtocol};
use promferry::exposition::Format;
use promferry::model::Value;
use promferry::net::credentials::Credentials;
use promferry::scrape::{Found, probe};
use promferry::target::Target;

use crate::expose::client::ask;
use crate::support::fake_target::{FakeTarget, Step, answer, ok};
use crate::support::scraping::{client, configured, failure, scrape_within, target};
use crate::support::world::{Process, World, until};

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
/// In text, the comment and the blank line say nothing, and the time is in milliseconds.
const TEXT: &str = "# TYPE foo counter\nfoo_total 1 1700000000500\n\n# EOF\n";
const OPENMETRICS: &str = "# TYPE foo counter\nfoo_total 1 1700000000.5 # {trace_id=\"a\"} 1\n# EOF\n";

/// A target that answers with this body, after these lines of header.
async fn answering(header_lines: &str, body: &[u8]) -> FakeTarget {
    FakeTarget::start(Step::Answer(answer("200 OK", header_lines, body))).await
}

fn negotiating(server: &FakeTarget, change: impl FnOnce(&mut Negotiation)) -> Target {
    configured(target(server.address), |config| change(&mut config.negotiation))
}

/// One scrape of the target, or the sentence with which it fails.
async fn probed(target: Target) -> Result<Found, String> {
    probe(&Arc::new(target), &Credentials::new(Duration::ZERO)).await.outcome.map_err(|fault| fault.error)
}

fn native_histograms(found: &Found) -> usize {
    found.parsed.points.iter().filter(|point| matches!(point.value, Value::Histogram(_))).count()
}

#[tokio::test]
async fn the_accept_header_is_what_prometheus_sends() {
    use Escaping::{AllowUtf8, Dots, Underscores, Values};
    use ScrapeProtocol::{OpenMetricsText0_0_1, PrometheusProto, PrometheusText0_0_4, PrometheusText1_0_0};
    let (default, native) = (ScrapeProtocol::defaults(false), ScrapeProtocol::defaults(true));
    for (protocols, escaping, expected) in [
        (
            default.clone(),
            Dots,
            "application/openmetrics-text;version=1.0.0;escaping=dots;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=dots;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
                .to_owned(),
        ),
        (
            native,
            AllowUtf8,
            format!(
                "{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
        ),
        (vec![PrometheusText0_0_4], Values, "text/plain;version=0.0.4;q=0.6,*/*;q=0.5".to_owned()),
        (
            vec![PrometheusText1_0_0, PrometheusProto, OpenMetricsText0_0_1],
            Underscores,
            format!(
                "text/plain;version=1.0.0;escaping=underscores;q=0.6,{PROTOBUF};q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,*/*;q=0.3"
            ),
        ),
        (vec![PrometheusText1_0_0], Values, "text/plain;version=1.0.0;escaping=values;q=0.6,*/*;q=0.5".to_owned()),
    ] {
        let server = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
        let target = negotiating(&server, |negotiation| {
            (negotiation.protocols, negotiation.escaping) = (protocols, escaping);
        });
        scrape_within(&mut client(target), Duration::from_secs(30)).await.unwrap();
        let heads = server.heads();
        let sent = heads[0].lines().find_map(|line| line.strip_prefix("accept: "));
        assert_eq!(sent, Some(expected.as_str()));
    }
}

#[tokio::test]
async fn the_content_type_decides_and_else_the_fallback() {
    let (text, open) = (ScrapeProtocol::PrometheusText0_0_4, ScrapeProtocol::OpenMetricsText1_0_0);
    for (header_lines, fallback, expected, is_fallback) in [
        ("content-type: text/plain\r\n", open, Format::Text, false),
        ("content-type: text/plain; version=1.0.0; escaping=values\r\n", open, Format::Text, false),
        ("content-type: APPLICATION/OpenMetrics-Text; charset=\"utf-8\"\r\n", text, Format::OpenMetrics, false),
        ("", text, Format::Text, true),
        ("", open, Format::OpenMetrics, true),
        ("content-type: \r\n", ScrapeProtocol::PrometheusText1_0_0, Format::Text, true),
        ("content-type: application/json\r\n", ScrapeProtocol::OpenMetricsText0_0_1, Format::OpenMetrics, true),
        ("content-type: application/octet-stream\r\n", ScrapeProtocol::PrometheusProto, Format::Protobuf, true),
        (&format!("content-type: {PROTOBUF}\r\n"), text, Format::Protobuf, false),
        ("content-type: application/vnd.google.protobuf\r\n", text, Format::Protobuf, false),
    ] {
        let server = answering(header_lines, b"").await;
        let target = negotiating(&server, |negotiation| negotiation.fallback = fallback);
        let (head, _) = scrape_within(&mut client(target), Duration::from_secs(30)).await.unwrap();
        assert_eq!((head.format, head.is_fallback), (expected, is_fallback), "{header_lines}");
    }
}

#[tokio::test]
async fn the_format_is_known_before_the_body() {
    let server = answering("content-type: application/openmetrics-text\r\n", OPENMETRICS.as_bytes()).await;
    let mut client = client(target(server.address));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let answer = client.get(deadline).await.unwrap();
    assert_eq!(answer.format(), Format::OpenMetrics);
    // Whoever does not want the body leaves a connection that cannot be used again.
    drop(answer);
    let head = client.get(deadline).await.unwrap().read(|_| true).await.unwrap();
    assert_eq!((head.is_reused, server.connections()), (false, 2));
}

#[tokio::test]
async fn text_is_read_as_text_though_openmetrics_was_asked_for() {
    for header_lines in ["content-type: text/plain; version=0.0.4\r\n", "", "content-type: application/json\r\n"] {
        let server = answering(header_lines, TEXT.as_bytes()).await;
        let target = negotiating(&server, |negotiation| {
            negotiation.protocols = vec![ScrapeProtocol::OpenMetricsText1_0_0];
        });
        let probe = probed(target).await.unwrap();
        assert_eq!(
            (probe.counts.samples_scraped, probe.counts.bad_lines, probe.parsed.exemplars.len()),
            (1, 0, 0),
            "{header_lines}"
        );
    }
}

#[tokio::test]
async fn openmetrics_is_read_as_openmetrics_though_text_was_asked_for() {
    let asked = |server: &FakeTarget| {
        negotiating(server, |negotiation| negotiation.protocols = vec![ScrapeProtocol::PrometheusText0_0_4])
    };
    let header_lines = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let server = answering(header_lines, OPENMETRICS.as_bytes()).await;
    let probe = probed(asked(&server)).await.unwrap();
    assert_eq!((probe.counts.samples_scraped, probe.counts.bad_lines, probe.parsed.exemplars.len()), (1, 0, 1));
    let cut = OPENMETRICS.strip_suffix("# EOF\n").unwrap();
    let server = answering(header_lines, cut.as_bytes()).await;
    let sentence = probed(asked(&server)).await.unwrap_err();
    assert!(sentence.contains("# EOF"), "{sentence}");
}

#[tokio::test]
async fn a_fallback_of_openmetrics_is_read_as_such() {
    let open = |server: &FakeTarget| {
        negotiating(server, |negotiation| negotiation.fallback = ScrapeProtocol::OpenMetricsText1_0_0)
    };
    let server = answering("", OPENMETRICS.as_bytes()).await;
    assert_eq!(probed(open(&server)).await.unwrap().parsed.exemplars.len(), 1);
    let server = answering("content-type: application/json\r\n", b"a 1\n").await;
    let sentence = probed(open(&server)).await.unwrap_err();
    assert!(sentence.contains("# EOF"), "{sentence}");
}

#[tokio::test]
async fn a_protobuf_that_is_another_message_or_framing_fails_by_its_name() {
    for (parameters, reason) in [
        (
            "proto=io.prometheus.client.MetricFamily; encoding=text",
            "it says that its protobuf has encoding=\"text\", and only encoding=delimited can be read",
        ),
        (
            "encoding=delimited; proto=\"my.Message\"",
            "it says that its protobuf has proto=\"my.Message\", and only proto=io.prometheus.client.MetricFamily can be read",
        ),
    ] {
        let server =
            answering(&format!("content-type: application/vnd.google.protobuf; {parameters}\r\n"), b"\x01").await;
        let expected = format!("the answer of http://{}/metrics cannot be read: {reason}", server.address);
        assert_eq!(failure(target(server.address)).await, expected);
    }
}

#[tokio::test]
async fn a_name_that_legacy_validation_forbids_fails_the_scrape() {
    let body = "a_total 1\n{\"a.b\"} 1\n";
    for (body, sentence) in [
        (body, "line 2: the metric name \"a.b\" is none that metric_name_validation_scheme: legacy allows; "),
        (
            "a{\"b.c\"=\"1\"} 1\n",
            "line 1: the label name \"b.c\" is none that metric_name_validation_scheme: legacy allows; ",
        ),
    ] {
        let server = FakeTarget::start(Step::Answer(ok(body))).await;
        let legacy = negotiating(&server, |negotiation| negotiation.validation = NameValidation::Legacy);
        let told = probed(legacy).await.unwrap_err();
        assert_eq!(told, format!("{sentence}metric_relabel_configs can rename or drop it"));
        probed(target(server.address)).await.unwrap();
    }
    // What relabelling made of it counts.
    let server = FakeTarget::start(Step::Answer(ok(body))).await;
    let mut legacy = negotiating(&server, |negotiation| negotiation.validation = NameValidation::Legacy);
    legacy = configured(legacy, |config| {
        let drop = promferry::relabel::RuleSpec {
            source_labels: vec!["__name__".into()],
            regex: Some("a\\.b".into()),
            action: Some("drop".into()),
            ..Default::default()
        };
        config.metric_relabel = promferry::relabel::Rules::new(vec![promferry::relabel::Rule::new(drop).unwrap()]);
    });
    assert_eq!(probed(legacy).await.unwrap().counts.samples_post_relabelling, 1);
}

/// The executable, with one target and an aggregate endpoint and a file.
async fn running(world: &World, server: &FakeTarget, keys: &str) -> Process {
    world.configure(&format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n- job_name: j\n  static_configs: [{{targets: [\"{}\"]}}]\n  {keys}\n\
         outputs:\n- {{name: everything, expose: {{listen: \"127.0.0.1:0\"}}}}\n\
         - {{name: lines, file: {{path: lines.txt, format: text}}}}\n\
         admin: {{listen: \"127.0.0.1:0\"}}\n",
        server.address
    ));
    world.run().await
}

/// What the aggregate endpoint serves in OpenMetrics once it has this series.
async fn openmetrics_with(process: &Process, series: &str) -> String {
    let outputs = process.outputs().await;
    let (address, path) = {
        let url = outputs["everything"]["urls"][0].as_str().unwrap();
        url.split_at(url.find('/').unwrap())
    };
    until(series, async || {
        let accept = "accept: application/openmetrics-text;version=1.0.0";
        let served = ask(address.parse().unwrap(), "GET", path, &[accept]).await.body;
        served.contains(series).then_some(served)
    })
    .await
}

#[tokio::test]
async fn what_a_target_says_in_openmetrics_is_served_in_openmetrics() {
    let body = "# TYPE foo_seconds counter\n# UNIT foo_seconds seconds\n# HELP foo_seconds Foo.\n\
         foo_seconds_total{a=\"b\"} 1.5 # {trace_id=\"x\"} 0.5 1700000000.25\n# TYPE on stateset\n\
         on{on=\"no\"} 0\non{on=\"yes\"} 1\n# EOF\n";
    let header_lines = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let (world, server) = (World::new(), answering(header_lines, body.as_bytes()).await);
    let process = running(&world, &server, "").await;
    let served = openmetrics_with(&process, "foo_seconds_total").await;
    let own = format!("instance=\"{}\",job=\"j\"", server.address);
    for line in [
        "# TYPE foo_seconds counter\n# UNIT foo_seconds seconds\n".to_owned(),
        "# HELP foo_seconds Foo.\n".to_owned(),
        format!("foo_seconds_total{{a=\"b\",{own}}} 1.5 # {{trace_id=\"x\"}} 0.5 1700000000.250\n"),
        format!("# TYPE on stateset\non{{{own},on=\"no\"}} 0\non{{{own},on=\"yes\"}} 1\n"),
    ] {
        assert!(served.contains(&line), "{line}{served}");
    }
    crate::expose::strict::read(true, &served);
    assert_eq!(process.terminate().await.log.complaints(), Vec::<String>::new());
}

/// A protobuf field: a number, and bytes or a varint.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2)[..], &varint(content.len() as u64), content].concat()
}

fn whole(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn double(number: u64, value: f64) -> Vec<u8> {
    [&varint(number << 3 | 1)[..], &value.to_le_bytes()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A histogram `h` of two observations, in a native bucket and a classic one (`io.prometheus.client.MetricFamily`).
fn histogram_family() -> Vec<u8> {
    let bucket = [whole(1, 2), double(2, 1.0)].concat();
    let (schema, span, delta) = (whole(5, 0), field(12, &[whole(1, 0), whole(2, 1)].concat()), whole(13, 4));
    let zero = double(6, 1e-128);
    let histogram = [whole(1, 2), double(2, 1.5), field(3, &bucket), schema, zero, span, delta].concat();
    let family = [field(1, b"h"), whole(3, 4), field(4, &field(7, &histogram))].concat();
    [varint(family.len() as u64), family].concat()
}

#[tokio::test]
async fn a_native_histogram_is_counted_where_it_cannot_be_expressed_and_its_classic_buckets_are_there_if_wanted() {
    let (world, server) =
        (World::new(), answering(&format!("content-type: {PROTOBUF}\r\n"), &histogram_family()).await);
    let keys = "scrape_native_histograms: true\n  always_scrape_classic_histograms: true";
    let process = running(&world, &server, keys).await;
    let served = openmetrics_with(&process, "h_bucket").await;
    assert!(
        served.contains(&format!("h_bucket{{instance=\"{}\",job=\"j\",le=\"+Inf\"}} 2\n", server.address)),
        "{served}"
    );
    crate::expose::strict::read(true, &served);
    let log = process.terminate().await.log;
    let told = log.of("native histograms are skipped: this output cannot express them");
    let outputs: std::collections::BTreeSet<_> = told.iter().map(|line| line["output"].as_str().unwrap()).collect();
    assert_eq!((told.len(), outputs.into_iter().collect::<Vec<_>>()), (2, vec!["everything", "lines"]), "{told:?}");
    for line in log.of("drained") {
        assert!(line["reasons"].to_string().contains("skipped unsupported_type"), "{line}");
    }
}

#[tokio::test]
async fn a_native_histogram_is_a_classic_one_where_native_ones_are_not_wanted() {
    let server = answering(&format!("content-type: {PROTOBUF}\r\n"), &histogram_family()).await;
    let probe = probed(target(server.address)).await.unwrap();
    // Two buckets, sum and count.
    assert_eq!((probe.head.format, native_histograms(&probe), probe.counts.samples_scraped), (Format::Protobuf, 0, 4));
    let native = |also_classic: bool| {
        negotiating(&server, |negotiation| {
            (negotiation.native_histograms, negotiation.always_classic_histograms) = (true, also_classic);
        })
    };
    let probe = probed(native(false)).await.unwrap();
    assert_eq!((native_histograms(&probe), probe.counts.samples_scraped), (1, 1));
    let probe = probed(native(true)).await.unwrap();
    assert_eq!((native_histograms(&probe), probe.counts.samples_scraped), (1, 5));
}
