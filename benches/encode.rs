//! How many samples a second one thread encodes for each output: ten steady targets of a thousand samples
//! each, in each shape; the same with gzip or Snappy, as it goes over the wire; and targets that were never seen. For remote write,
//! which merges scrapes of a target, also with five of them in a batch.

mod common;

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::write::GzEncoder;
use promferry::config::checked::{DocumentShape, RemoteWrite as RemoteWriteSettings, WriteMessage};
use promferry::net::credentials::Credentials;
use promferry::output::remote_write::RemoteWrite;
use promferry::pipeline::{Batch, Compression, Encoded, Output};

use common::{batches, batches_of, elasticsearch, http, splunk};

fn compressed(encoded: &Encoded) -> Vec<u8> {
    if encoded.compression == Compression::Snappy {
        return snap::raw::Encoder::new().compress_vec(&encoded.body).expect("it is below 4 GiB");
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(encoded.body.len() / 8), flate2::Compression::fast());
    encoder.write_all(&encoded.body).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// The output, with the message of one version. It connects to nothing.
fn remote_write(message: WriteMessage) -> RemoteWrite {
    let settings = RemoteWriteSettings {
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
    for (name, multi_metric) in [("splunk multi-metric", true), ("splunk single", false)] {
        measure(criterion, &batches, name, &splunk(multi_metric));
    }
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

criterion_group!(benches, encode);
criterion_main!(benches);
