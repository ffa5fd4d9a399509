//! How many samples a second one thread encodes for Elasticsearch, for Splunk and in OTLP: ten steady targets of a thousand samples
//! each, in each shape; the same with gzip, as it goes over the wire; and targets that were never seen.

mod common;

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::write::GzEncoder;
use promferry::config::checked::{DocumentShape, Otlp as OtlpSettings, OtlpProtocol, OtlpTemporality};
use promferry::net::credentials::Credentials;
use promferry::output::otlp::Otlp;
use promferry::pipeline::{Batch, Encoded, Fate, Output, Verdict};

use common::{batches, elasticsearch, http, splunk};

fn gzip(encoded: &Encoded) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(encoded.body.len() / 8), flate2::Compression::fast());
    encoder.write_all(&encoded.body).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

fn encode(criterion: &mut Criterion) {
    let batches = batches();
    let shapes = [
        ("timeseries", DocumentShape::TimeSeries),
        ("telegraf", DocumentShape::Telegraf),
        ("telegraf_v1", DocumentShape::TelegrafV1),
    ];
    for (name, shape) in shapes {
        measure(criterion, &batches, name, &elasticsearch(shape));
    }
    for (name, multi_metric) in [("splunk multi-metric", true), ("splunk single", false)] {
        measure(criterion, &batches, name, &splunk(multi_metric));
    }
    for (name, protocol) in [("otlp protobuf", OtlpProtocol::HttpProtobuf), ("otlp json", OtlpProtocol::HttpJson)] {
        measure(criterion, &batches, name, &otlp(protocol));
    }
}

/// The output to a receiver of OTLP.
fn otlp(protocol: OtlpProtocol) -> Otlp {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let settings = OtlpSettings {
        protocol,
        http: http(),
        path: "/v1/metrics".to_owned(),
        temporality: OtlpTemporality::Cumulative,
        observes_starts: true,
        prometheus_compatible: true,
        resource_labels: [("instance", "service.instance.id"), ("job", "service.name")].map(pair).into(),
        resource_attributes: Vec::new(),
    };
    Otlp::new(&settings, &Credentials::default())
}

fn measure<O: Output>(criterion: &mut Criterion, batches: &[Batch], name: &str, output: &O) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(batches[0].samples()));
    let mut rounds = batches.iter().cycle();
    let (mut cache, mut state) = (O::Cache::default(), O::State::default());
    // What is remembered of series is there.
    let encoded = output.encode(&state, &mut cache, &batches[0]);
    let delivered = Verdict::All(Fate::Delivered);
    output.settle(&mut state, &batches[0], &encoded, &delivered);
    group.bench_function(BenchmarkId::new("steady", name), |bencher| {
        bencher.iter(|| black_box(output.encode(&state, &mut cache, rounds.next().expect("a cycle"))));
    });
    group.bench_function(BenchmarkId::new("steady and gzip", name), |bencher| {
        bencher.iter(|| black_box(gzip(&output.encode(&state, &mut cache, rounds.next().expect("a cycle")))));
    });
    group.bench_function(BenchmarkId::new("never seen", name), |bencher| {
        bencher.iter(|| black_box(output.encode(&state, &mut O::Cache::default(), rounds.next().expect("a cycle"))));
    });
    if size_of::<O::State>() > 0 {
        group.bench_function(BenchmarkId::new("settled", name), |bencher| {
            bencher.iter(|| output.settle(&mut state, &batches[0], &encoded, &delivered));
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
