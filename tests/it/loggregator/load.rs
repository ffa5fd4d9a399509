//! Ten thousand envelopes a second to `promferry run --metrics-agent`, all of which must be on its exporter. `tests/run` sends
//! them for half a minute.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::codegen::tokio_stream::Stream;

use crate::metrics_agent::client::Vm;
use crate::support::loggregator_client::{Client, EnvelopeBatch, counter, envelope, gauge};
use crate::support::samples::of_body;

const CLIENTS: u64 = 4;
const BATCHES_A_SECOND: u64 = 100;
/// Envelopes of a batch: as many as make ten thousand a second.
const BATCH: u64 = 10_000 / CLIENTS / BATCHES_A_SECOND;
/// Series of a client.
const SERIES: u64 = 250;

struct Received(mpsc::Receiver<EnvelopeBatch>);

impl Stream for Received {
    type Item = EnvelopeBatch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EnvelopeBatch>> {
        self.0.poll_recv(cx)
    }
}

/// For how long: seconds in `PROMFERRY_TEST_LOAD_S`.
fn seconds() -> u64 {
    let set = std::env::var("PROMFERRY_TEST_LOAD_S").ok();
    set.map_or(3, |seconds| seconds.parse().expect("PROMFERRY_TEST_LOAD_S is a number of seconds"))
}

fn batch(client: u64, number: u64) -> EnvelopeBatch {
    let client = client.to_string();
    let one = |at: u64| {
        let series = ((number * BATCH + at) % SERIES).to_string();
        let tags = [
            ("deployment", "cf"),
            ("job", "diego-cell"),
            ("index", "0e4cc47a-abc1-4360-b3f7-46ba7fc10000"),
            ("ip", "10.0.16.4"),
            ("origin", "rep"),
            ("client", client.as_str()),
            ("series", series.as_str()),
        ];
        // Every fifth one is a gauge, whose last value must be there.
        let said = if at.is_multiple_of(5) {
            gauge("level", "ms", (number * BATCH + at) as f64)
        } else {
            counter("events", 1, 0)
        };
        envelope("rep", &tags, said)
    };
    EnvelopeBatch { batch: (0..BATCH).map(one).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_envelopes_a_second_are_all_there() {
    let vm = Vm::new();
    let agent = vm.run().await;
    let batches = seconds() * BATCHES_A_SECOND;
    let began = Instant::now();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Client::connect(agent.ingress(), &vm.ca, Some(&vm.client)).await.unwrap();
        clients.push(tokio::spawn(async move {
            let (sender, receiver) = mpsc::channel(16);
            let streaming = tokio::spawn(async move { client.batch_sender(Received(receiver), None).await });
            for at in 0..batches {
                let due = began + Duration::from_secs(at) / BATCHES_A_SECOND as u32;
                tokio::time::sleep_until(due).await;
                sender.send(batch(number, at)).await.expect("the stream goes on");
            }
            drop(sender);
            streaming.await.unwrap().expect("the stream ends well");
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let sent = CLIENTS * batches * BATCH;
    let own = agent.own("/metrics").await.body;
    for counted in [format!("\ningress {sent}\n"), "\ndropped{direction=\"ingress\"} 0\n".to_owned()] {
        assert!(own.contains(&counted), "{counted} is not in {own}");
    }
    let served = of_body(&agent.get("/metrics").await.1);
    let of = |name: &str| {
        let values = served.iter().filter(|(series, _)| series.name == name);
        values.map(|(_, value)| value.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("events").iter().sum::<f64>(), (sent / 5 * 4) as f64, "each one counts");
    assert_eq!(of("level").len() as u64, CLIENTS * SERIES / 5);
    let last = of("level").into_iter().fold(0.0, f64::max);
    assert_eq!(last, (batches * BATCH - 5) as f64);
}
