//! How many samples a second one thread encodes for each output: ten steady targets of a thousand samples
//! each, in each shape; the same with gzip or Snappy, as it goes over the wire; and targets that were never seen. For remote write,
//! which merges scrapes of a target, also with five of them in a batch.

mod common;

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode};
use promferry::config::checked::{
    self, Auth, DocumentShape, DogstatsdAddress, HttpOutput, OtlpProtocol, OtlpTemporality, SignalfxProtocol,
    WriteMessage,
};
use promferry::net::credentials::Credentials;
use promferry::net::tls::TlsSettings;
use promferry::output::dogstatsd::{self, Dogstatsd};
use promferry::output::otlp::Otlp;
use promferry::output::remote_write::RemoteWrite;
use promferry::output::signalfx::Signalfx;
use promferry::pipeline::{Answer, Attempt, Batch, Compression, Encoded, Fate, Output, Verdict, snappy};

use common::{batches, batches_of, elasticsearch, http, splunk};

fn compressed(encoded: &Encoded) -> Vec<u8> {
    if encoded.compression == Compression::Snappy {
        return snappy::compress(&encoded.body);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(encoded.body.len() / 8), flate2::Compression::fast());
    encoder.write_all(&encoded.body).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// The output, with the message of one version. It connects to nothing.
fn remote_write(message: WriteMessage) -> RemoteWrite {
    let settings = checked::RemoteWrite {
        http: http(),
        message,
        send_exemplars: true,
        send_native_histograms: true,
        metadata_interval: None,
        lanes: 1,
    };
    RemoteWrite::new(&settings, &Credentials::default())
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
    measure_rises(criterion, &batches);
    for (name, protocol) in [("otlp", SignalfxProtocol::Otlp), ("datapoints", SignalfxProtocol::Datapoints)] {
        measure(criterion, &batches, &format!("signalfx {name}"), &signalfx(protocol));
    }
    for (name, multi_metric) in [("splunk multi-metric", true), ("splunk single", false)] {
        measure(criterion, &batches, name, &splunk(multi_metric));
    }
    for (name, protocol) in [("otlp protobuf", OtlpProtocol::HttpProtobuf), ("otlp json", OtlpProtocol::HttpJson)] {
        measure(criterion, &batches, name, &otlp(protocol));
    }
    measure_starts(criterion, &batches);
    for rounds in [1, 5] {
        let batches = batches_of(rounds);
        for (version, message) in [("1.0", WriteMessage::V1), ("2.0", WriteMessage::V2)] {
            measure(criterion, &batches, &format!("remote write {version}, {rounds} a batch"), &remote_write(message));
        }
    }
}

fn measure<O: Output>(criterion: &mut Criterion, batches: &[Batch], name: &str, output: &O) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(batches[0].samples()));
    let mut rounds = batches.iter().cycle();
    let (state, mut cache) = (O::State::default(), O::Cache::default());
    group.bench_function(BenchmarkId::new("steady", name), |bencher| {
        bencher.iter(|| black_box(output.encode(&state, &mut cache, rounds.next().expect("a cycle"))));
    });
    group.bench_function(BenchmarkId::new("steady and compressed", name), |bencher| {
        bencher.iter(|| black_box(compressed(&output.encode(&state, &mut cache, rounds.next().expect("a cycle")))));
    });
    group.bench_function(BenchmarkId::new("never seen", name), |bencher| {
        bencher.iter(|| black_box(output.encode(&state, &mut O::Cache::default(), rounds.next().expect("a cycle"))));
    });
    group.finish();
}

/// The output to Splunk Observability Cloud. It connects to nothing.
fn signalfx(protocol: SignalfxProtocol) -> Signalfx {
    let http = HttpOutput {
        urls: Vec::new(),
        tls: TlsSettings::default(),
        auth: Auth::None,
        headers: Vec::new(),
        timeout: Duration::from_secs(60),
        gzip: true,
    };
    Signalfx::new(&checked::Signalfx { http, protocol }, &Credentials::default())
}

/// The output of lines over UDP, for an agent that takes all of them. It opens no socket.
fn lines() -> Dogstatsd {
    Dogstatsd::new(&checked::Dogstatsd {
        address: DogstatsdAddress::Udp { host: "127.0.0.1".to_owned(), port: 8125 },
        max_payload: 1432,
        namespace: String::new(),
        tags: Vec::new(),
        exclude_labels: Vec::new(),
        timestamps: false,
        buckets: true,
        quantiles: true,
        mappings: Vec::new(),
    })
}

/// Lines of DogStatsD, which have rises of what was sent before.
fn measure_rises(criterion: &mut Criterion, batches: &[Batch]) {
    let (output, mut cache, mut state) = (lines(), dogstatsd::Cache::default(), dogstatsd::State::default());
    let first = output.encode(&state, &mut cache, &batches[0]);
    output.settle_noted(&mut state, &batches[0], &first);
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(batches[0].samples()));
    let mut rounds = batches.iter().skip(1).cycle();
    group.bench_function(BenchmarkId::new("steady", "dogstatsd"), |bencher| {
        bencher.iter(|| black_box(output.encode(&state, &mut cache, rounds.next().expect("a cycle"))));
    });
    let second = output.encode(&state, &mut cache, &batches[1]);
    let verdict = output.classify(&second, Attempt::default(), &taken(&second)).verdict;
    group.bench_function(BenchmarkId::new("settle", "dogstatsd"), |bencher| {
        bencher.iter(|| output.settle(&mut state, &batches[1], &second, &verdict));
    });
    group.finish();
}

/// The output to a receiver of OTLP, which is not asked.
fn otlp(protocol: OtlpProtocol) -> Otlp {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let settings = checked::Otlp {
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

/// What is remembered of the series of OTLP.
fn measure_starts(criterion: &mut Criterion, batches: &[Batch]) {
    let output = otlp(OtlpProtocol::HttpProtobuf);
    let mut state = Default::default();
    let encoded = output.encode(&state, &mut Default::default(), &batches[0]);
    let delivered = Verdict::All(Fate::Delivered);
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(batches[0].samples()));
    group.bench_function(BenchmarkId::new("settle", "otlp"), |bencher| {
        bencher.iter(|| output.settle(&mut state, &batches[0], &encoded, &delivered));
    });
    group.finish();
}

/// The answer of a kernel that took all of it.
fn taken(encoded: &Encoded) -> Answer {
    Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: encoded.body.len().to_string().into() }
}

criterion_group!(benches, encode);
criterion_main!(benches);
