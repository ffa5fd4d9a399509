//! Requests as opentelemetry-proto decodes them, protobuf and JSON alike, against the expositions that they were made of.

mod any;
mod composite;
mod delta;
mod native;
mod resource;

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, metric::Data, number_data_point,
};
use prost::Message;
use tokio::time::Instant;

use super::*;
use crate::exposition::{Admission, Admit, Format as Exposition, Settings, Table};

use crate::model::{Labels, Origin};
use crate::output::otlp::state;
use crate::pipeline::{Batch, Ledger};

/// 2027-01-02T03:04:05.000Z.
const AT_MS: i64 = 1_798_859_045_000;

struct Own;

impl Admit for Own {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        for (name, value) in [("job", "app"), ("instance", "10.0.0.1:9100")] {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        Admission::Keep
    }
}

/// A target that answers in OpenMetrics.
struct Target {
    table: Table,
    key: u64,
}

impl Target {
    fn new() -> Self {
        Self::with_key(1)
    }

    fn with_key(key: u64) -> Self {
        Self { table: Table::new(Settings::default(), Box::new(Own), Labels::new()), key }
    }

    fn read(&mut self, at_ms: i64, format: Exposition, body: &[u8]) -> Arc<Scrape> {
        self.table.begin(at_ms);
        self.table.read_as(format);
        self.table.feed(body).unwrap();
        let counts = self.table.finish_body().unwrap();
        assert_eq!(counts.bad_lines, 0, "{:?}", String::from_utf8_lossy(body));
        self.table.accept();
        let parsed = self.table.take();
        let labels = Labels::from_iter([("instance", "10.0.0.1:9100"), ("job", "app")]).into_owned();
        Arc::new(Scrape {
            origin: Arc::new(Origin { key: self.key, labels, url: "https://10.0.0.1:9100/metrics".to_owned() }),
            at_ms,
            series: parsed.series,
            points: parsed.points,
            exemplars: parsed.exemplars,
            created: parsed.created,
            is_last: false,
        })
    }

    /// A scrape of these lines of OpenMetrics, so many seconds after the first.
    fn scrape(&mut self, seconds: i64, lines: &str) -> Arc<Scrape> {
        self.read(AT_MS + 1000 * seconds, Exposition::OpenMetrics, format!("{lines}\n# EOF\n").as_bytes())
    }
}

fn encoder() -> Encoder {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Encoder {
        format: Format::Protobuf,
        temporality: Temporality::Cumulative,
        observes_starts: true,
        compression: Compression::None,
        path: "/v1/metrics".to_owned(),
        labels: LabelRules {
            is_compatible: true,
            resource_labels: [("instance", "service.instance.id"), ("job", "service.name")].map(pair).into(),
            resource_attributes: Vec::new(),
        },
        rules: None,
    }
}

fn delta() -> Encoder {
    Encoder { temporality: Temporality::Delta, ..encoder() }
}

fn plain() -> Encoder {
    let usual = encoder();
    Encoder { labels: LabelRules { is_compatible: false, ..usual.labels }, ..usual }
}

/// What a lane does: one request after another, all of which are taken.
struct Lane {
    encoder: Encoder,
    state: Cumulative,
    caches: [Cache; 2],
}

impl Lane {
    fn new(encoder: Encoder) -> Self {
        Self { encoder, state: Cumulative::default(), caches: Default::default() }
    }

    /// What is sent of these scrapes, and what is not. Each sample is in one place; protobuf and JSON say the same.
    fn encode(&mut self, scrapes: &[Arc<Scrape>]) -> (Vec<ResourceMetrics>, Encoded) {
        let slices: Vec<Slice> = scrapes.iter().cloned().map(Slice::whole).collect();
        let samples: u64 = slices.iter().map(Slice::samples).sum();
        let mut requests = Vec::new();
        let mut encoded = Encoded::default();
        for (format, cache) in [Format::Json, Format::Protobuf].into_iter().zip(&mut self.caches) {
            self.encoder.format = format;
            encoded = self.encoder.encode(&self.state, cache, &slices);
            let rejected: u64 = encoded.rejected.iter().map(|one| one.samples).sum();
            assert_eq!(encoded.samples() + encoded.skipped.values().sum::<u64>() + rejected, samples, "{encoded:?}");
            assert_eq!(encoded.points.len() as u64, encoded.samples());
            let mut numbers = encoded.points.clone();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), encoded.points.len(), "each sample once");
            assert_eq!(encoded.items.last().map_or(0, |item| item.end), encoded.body.len());
            requests.push(match format {
                Format::Protobuf => ExportMetricsServiceRequest::decode(encoded.body.clone()).unwrap(),
                Format::Json if encoded.body.is_empty() => ExportMetricsServiceRequest::default(),
                Format::Json => serde_json::from_slice(&encoded.body)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&encoded.body))),
            });
        }
        // It does not read NaN and infinities from text, as JSON has them.
        let unread = ["Some(AsDouble(NaN))", "Some(AsDouble(inf))", "Some(AsDouble(-inf))"];
        let from_proto = unread.iter().fold(format!("{:?}", requests[1]), |text, value| text.replace(value, "None"));
        if !from_proto.contains("NaN") && !from_proto.contains("inf") {
            let (json, proto) = (format!("{:?}", requests[0]), from_proto);
            let at = json.bytes().zip(proto.bytes()).take_while(|(one, other)| one == other).count();
            let around = at.saturating_sub(200)..;
            assert_eq!(json.get(around.clone()), proto.get(around));
        }
        let resources = requests.remove(1).resource_metrics;
        let points: usize = metrics(&resources).iter().map(|metric| points_of(metric)).sum();
        assert_eq!(encoded.items.iter().map(|item| item.mark as usize).sum::<usize>(), points);
        assert_eq!(encoded.items.len(), resources.len());
        (resources, encoded)
    }

    /// The same, and then it is settled.
    fn send(&mut self, scrapes: &[Arc<Scrape>]) -> (Vec<ResourceMetrics>, Encoded) {
        let (resources, encoded) = self.encode(scrapes);
        let ledger = Ledger::new("test");
        let slices: Vec<Slice> = scrapes.iter().cloned().map(Slice::whole).collect();
        let waiting = ledger.offer(slices.iter().map(Slice::samples).sum());
        let batch = Batch::new(slices, waiting, Instant::now());
        state::settle(&mut self.state, self.encoder.temporality, &batch, &encoded.noted);
        state::settle(&mut self.state, self.encoder.temporality, &batch, &encoded.points);
        (resources, encoded)
    }
}

fn metrics(resources: &[ResourceMetrics]) -> Vec<&Metric> {
    resources.iter().flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics).collect()
}

fn points_of(metric: &Metric) -> usize {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::Histogram(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        Data::Summary(data) => data.data_points.len(),
    }
}

fn metric<'m>(resources: &'m [ResourceMetrics], name: &str) -> &'m Metric {
    let mut found = metrics(resources).into_iter().filter(|metric| metric.name == name);
    let metric = found.next().unwrap_or_else(|| panic!("there is no {name}: {resources:?}"));
    assert!(found.next().is_none(), "there is one {name}");
    metric
}

fn numbers(metric: &Metric) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => &data.data_points,
        Data::Sum(data) => &data.data_points,
        other => panic!("{other:?}"),
    }
}

fn histogram<'m>(resources: &'m [ResourceMetrics], name: &str) -> &'m HistogramDataPoint {
    match metric(resources, name).data.as_ref().unwrap() {
        Data::Histogram(data) if data.data_points.len() == 1 => &data.data_points[0],
        other => panic!("{other:?}"),
    }
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        ref other => panic!("{other:?}"),
    }
}

/// Attributes as `name=value`.
fn texts(attributes: &[KeyValue]) -> Vec<String> {
    let text = |held: &KeyValue| match held.value.clone().and_then(|value| value.value) {
        Some(any_value::Value::StringValue(value)) => format!("{}={value}", held.key),
        Some(any_value::Value::IntValue(value)) => format!("{}={value} (int)", held.key),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(text).collect()
}

/// A time as seconds after the first scrape, or `None` where there is none.
fn seconds(nanoseconds: u64) -> Option<f64> {
    (nanoseconds > 0).then(|| (i128::from(nanoseconds) - i128::from(AT_MS) * 1_000_000) as f64 / 1e9)
}

#[test]
fn numbers_of_all_types_are_what_the_specification_says() {
    let text = "# TYPE requests counter\n# UNIT requests seconds\n# HELP requests All of them.\nrequests_total{path=\"/\"} 5\n\
                requests_total{path=\"/\\\"é\"} 7\n# TYPE queue gauge\nqueue -1.5\n# TYPE build info\n\
                build_info{version=\"1\"} 1\n# TYPE state stateset\nstate{state=\"up\"} 1\nstate{state=\"down\"} 0\n\
                # TYPE what unknown\nwhat NaN\n";
    // A family has its unit in its name.
    let text = text.replace("requests", "busy_seconds");
    let (sent, _) = Lane::new(encoder()).send(&[Target::new().scrape(0, &text)]);
    let busy = metric(&sent, "busy_seconds_total");
    assert_eq!((&*busy.description, &*busy.unit), ("All of them.", "s"));
    assert_eq!(texts(&busy.metadata), ["prometheus.type=counter"]);
    let Some(Data::Sum(sum)) = &busy.data else { panic!("{busy:?}") };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    let read =
        |point: &NumberDataPoint| (value(point), seconds(point.time_unix_nano), seconds(point.start_time_unix_nano));
    assert_eq!(
        read(&sum.data_points[0]),
        (5.0, Some(0.0), Some(0.0)),
        "a start that is not known is the first sample's"
    );
    assert_eq!(texts(&sum.data_points[1].attributes), ["path=/\"é"], "job and instance are the resource's");
    let Some(Data::Gauge(queue)) = &metric(&sent, "queue").data else { panic!("a gauge") };
    assert_eq!(read(&queue.data_points[0]), (-1.5, Some(0.0), None));
    for (name, points) in [("build_info", 1), ("state", 2)] {
        let Some(Data::Sum(sum)) = &metric(&sent, name).data else { panic!("{name}") };
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic, sum.data_points.len()), (2, false, points));
    }
    let what = metric(&sent, "what");
    assert!(matches!(what.data, Some(Data::Gauge(_))) && value(&numbers(what)[0]).is_nan());
    assert_eq!(texts(&what.metadata), ["prometheus.type=unknown"]);
    let (sent, _) = Lane::new(plain()).send(&[Target::new().scrape(0, &text)]);
    assert!(matches!(metric(&sent, "build_info").data, Some(Data::Gauge(_))));
    assert_eq!(metric(&sent, "busy_seconds_total").unit, "seconds");
    let attributes = texts(&numbers(metric(&sent, "queue"))[0].attributes);
    assert_eq!(attributes, ["instance=10.0.0.1:9100", "job=app"], "as it is, and the resource's too");
}

#[test]
fn a_start_survives_samples_and_moves_at_a_reset() {
    let mut target = Target::new();
    let mut lane = Lane::new(encoder());
    let starts = [(0, 5.0), (10, 7.0), (20, 7.0), (30, 2.0), (40, 3.0)].map(|(at, total)| {
        let scrape = target.scrape(at, &format!("# TYPE c counter\nc_total {total}"));
        let first = format!("{:?}", lane.encode(std::slice::from_ref(&scrape)).0);
        let (sent, _) = lane.send(&[scrape]);
        assert_eq!(format!("{sent:?}"), first, "what is not settled changes nothing");
        seconds(numbers(metric(&sent, "c_total"))[0].start_time_unix_nano)
    });
    assert_eq!(starts, [0.0, 0.0, 0.0, 20.0, 20.0].map(Some));
    let scrapes = [50, 60].map(|at| target.scrape(at, &format!("# TYPE c counter\nc_total {}", 70 - at)));
    let (sent, _) = lane.send(&scrapes);
    let starts: Vec<_> = metrics(&sent).iter().map(|metric| seconds(numbers(metric)[0].start_time_unix_nano)).collect();
    assert_eq!(starts, [Some(20.0), Some(50.0)], "also within one request");
    let unset = Encoder { observes_starts: false, ..encoder() };
    let (sent, _) = Lane::new(unset).send(&[target.scrape(70, "# TYPE c counter\nc_total 1")]);
    assert_eq!(numbers(metric(&sent, "c_total"))[0].start_time_unix_nano, 0);
}

#[test]
fn a_start_that_the_target_says_is_taken() {
    let created = (AT_MS - 5000) / 1000;
    let text = format!(
        "# TYPE c counter\nc_total{{a=\"1\"}} 5\nc_created{{a=\"1\"}} {created}.25\nc_total{{a=\"2\"}} 6\nc_created{{a=\"2\"}} 99e9\n\
         c_created{{a=\"3\"}} {created}\n# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 1\nh_count 1\nh_sum 1\nh_created {created}"
    );
    let (sent, encoded) = Lane::new(encoder()).send(&[Target::new().scrape(0, &text)]);
    let starts: Vec<_> =
        numbers(metric(&sent, "c_total")).iter().map(|point| seconds(point.start_time_unix_nano)).collect();
    assert_eq!(starts, [Some(-4.75), Some(0.0)], "one in the future is none");
    assert_eq!(seconds(histogram(&sent, "h").start_time_unix_nano), Some(-5.0));
    assert_eq!(metrics(&sent).len(), 2, "they are no metrics");
    assert_eq!(encoded.skipped, Reasons::from([(METADATA_ONLY, 1)]), "what it is about is not there");
}

#[test]
fn a_marker_is_a_point_without_a_value() {
    let mut target = Target::new();
    let mut lane = Lane::new(encoder());
    let all = "# TYPE c counter\nc_total 5\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n\
               # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 1\ns_sum 1\n# TYPE g gauge\ng 1";
    lane.send(&[target.scrape(0, all)]);
    let (sent, encoded) = lane.send(&[target.scrape(10, "# TYPE g gauge\ng 1")]);
    assert_eq!((encoded.samples(), encoded.skipped.len()), (9, 0));
    let total = &numbers(metric(&sent, "c_total"))[0];
    assert_eq!((total.flags, total.value.is_none(), seconds(total.time_unix_nano)), (1, true, Some(10.0)));
    let ended = histogram(&sent, "h");
    assert_eq!((ended.flags, ended.count, ended.bucket_counts.len()), (1, 0, 0), "one for all of it");
    let Some(Data::Summary(summary)) = &metric(&sent, "s").data else { panic!("a summary") };
    assert_eq!(summary.data_points.iter().map(|point| point.flags).collect::<Vec<_>>(), [1]);
    assert_eq!(value(&numbers(metric(&sent, "g"))[0]), 1.0);
    // A bucket alone that is gone ends nothing.
    lane.send(&[target.scrape(20, all)]);
    let fewer = all.replace("h_bucket{le=\"1\"} 1\n", "");
    let (sent, encoded) = lane.send(&[target.scrape(30, &fewer)]);
    assert_eq!((histogram(&sent, "h").flags, histogram(&sent, "h").explicit_bounds.len()), (0, 0));
    assert_eq!(encoded.skipped.len(), 0);
}

#[test]
fn exemplars_go_with_their_points() {
    let trace = "0102030405060708090a0b0c0d0e0f10";
    let text = format!(
        "# TYPE c counter\nc_total 5 # {{trace_id=\"{trace}\",span_id=\"00000000000000aa\",user=\"x\"}} 0.5 {}\n\
         c_total{{a=\"b\"}} 5 # {{trace_id=\"none\"}} 1\n\
         # TYPE h histogram\nh_bucket{{le=\"1\"}} 1 # {{a=\"b\"}} 0.5\nh_bucket{{le=\"+Inf\"}} 1\nh_count 1\nh_sum 0.5",
        AT_MS / 1000
    );
    let (sent, _) = Lane::new(encoder()).send(&[Target::new().scrape(0, &text)]);
    let totals = numbers(metric(&sent, "c_total"));
    let first = &totals[0].exemplars[0];
    assert_eq!((first.trace_id[15], first.span_id.as_slice()), (0x10, &[0, 0, 0, 0, 0, 0, 0, 0xaa][..]));
    assert_eq!(
        (texts(&first.filtered_attributes), seconds(first.time_unix_nano)),
        (vec!["user=x".to_owned()], Some(0.0))
    );
    assert_eq!(texts(&totals[1].exemplars[0].filtered_attributes), ["trace_id=none"], "it is no identifier");
    assert_eq!(texts(&histogram(&sent, "h").exemplars[0].filtered_attributes), ["a=b"]);
}
