//! Memory has a limit: an output that is down costs itself samples, and nobody else any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use promferry::memory::{Accounts, Budget};
use promferry::model::Scrape;
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{
    Answer, Attempt, Batch, Counts, Encoded, Failure, Fanout, Item, Judgement, Ledger, Ordering, Output, Overflow,
    Queue, QueueLimits, Request, SenderOptions, Shedding, Take, reason, run_sender,
};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::bulk_server::BulkServer;
use crate::support::delivery::{Delivery, Target, elasticsearch, options};
use crate::support::exporter::Exporter;
use crate::support::world::{Process, World, until};

/// An output whose receiver is there or not, and keeps what it is sent: how many samples of which target and time.
#[derive(Clone, Default)]
struct Receiver {
    is_down: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<(u64, i64, u64)>>>,
}

impl Output for Receiver {
    type State = ();
    type Cache = ();

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        vec!["https://receiver".to_owned()]
    }

    async fn start(&self) -> Result<(), String> {
        Ok(())
    }

    fn encode(&self, (): &(), (): &mut (), batch: &Batch) -> Encoded {
        let (mut body, mut items, mut points, mut before) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for slice in &batch.slices {
            let (key, at_ms, samples) = (slice.scrape.origin.key, slice.scrape.at_ms, slice.samples());
            body.extend_from_slice(format!("{key} {at_ms} {samples}\n").as_bytes());
            items.push(Item { end: body.len(), samples: samples as u32, mark: 0 });
            points.extend(slice.positions().map(|at| before + at));
            before += slice.scrape.samples() as u32;
        }
        Encoded { body: body.into(), items, points, ..Encoded::default() }
    }

    async fn send(&self, _: usize, request: Request) -> Result<Answer, Failure> {
        if self.is_down.load(Relaxed) {
            let message = "nothing listens there".to_owned();
            return Err(Failure { kind: "connect", message, is_maybe_received: false });
        }
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        let taken = text.lines().map(|line| {
            let numbers: Vec<i64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            (numbers[0] as u64, numbers[1], numbers[2] as u64)
        });
        self.taken.lock().unwrap().extend(taken);
        Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Default::default() })
    }

    fn classify(&self, _: &Encoded, _: Attempt, _: &Answer) -> Judgement {
        Judgement::delivered()
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

impl Receiver {
    fn taken(&self) -> Vec<(u64, i64, u64)> {
        self.taken.lock().unwrap().clone()
    }
}

/// The configuration's defaults but for the bytes.
fn limits(bytes: usize) -> QueueLimits {
    QueueLimits { samples: 1_000_000, bytes, age: Duration::from_secs(7200), overflow: Overflow::DropOldest }
}

fn queue(name: &str, limits: QueueLimits) -> Arc<Queue> {
    Queue::new(Ledger::new(name), limits, 1)
}

/// Accounts of all scrapes that somebody still holds, and of tables of a size to choose.
#[derive(Clone, Default)]
struct Held {
    scrapes: Arc<Mutex<Vec<Weak<Scrape>>>>,
    tables: Arc<AtomicU64>,
}

impl Held {
    fn add(&self, scrape: &Arc<Scrape>) {
        let mut scrapes = self.scrapes.lock().unwrap();
        scrapes.retain(|scrape| scrape.strong_count() > 0);
        scrapes.push(Arc::downgrade(scrape));
    }

    fn accounts(&self) -> Accounts {
        let scrapes = self.scrapes.lock().unwrap();
        let samples = scrapes.iter().filter_map(Weak::upgrade).map(|scrape| scrape.own_bytes() as u64).sum();
        Accounts { samples, tables: self.tables.load(Relaxed), ..Accounts::default() }
    }

    fn budget(&self, limit: u64) -> Arc<Budget> {
        let held = self.clone();
        Budget::measured_by(Some(limit), move || held.accounts())
    }
}

const TARGETS: u64 = 10;
const SAMPLES: u64 = 100;
const INTERVAL: Duration = Duration::from_secs(15);
const SCRAPES_AN_HOUR: i64 = 240;

/// What came of an hour in which one of two outputs was down, and of the minutes after it.
struct Hour {
    down: Receiver,
    down_counts: Counts,
    well: Receiver,
    well_counts: Counts,
}

/// Scrapes ten targets for an hour of paused time. Looks at every limit after each scrape.
async fn hour(down_bytes: usize, memory_limit: u64) -> Hour {
    let (down, well) = (Receiver::default(), Receiver::default());
    down.is_down.store(true, Relaxed);
    let queues = [queue("down", limits(down_bytes)), queue("well", limits(64 << 20))];
    let held = Held::default();
    let shedding = Shedding::new(held.budget(memory_limit));
    let (_deadline, watched) = watch::channel(None);
    let senders = [&down, &well].into_iter().zip(&queues).map(|(receiver, queue)| {
        shedding.watch(queue);
        let options = SenderOptions {
            name: "test".to_owned(),
            take: Take { samples: 10_000, age: Duration::from_secs(10) },
            flush_jitter: Duration::from_secs(1),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            ..options()
        };
        let run = run_sender(Arc::new(receiver.clone()), queue.clone(), None, options, Arc::default(), watched.clone());
        tokio::spawn(run)
    });
    let senders: Vec<_> = senders.collect();
    let fanout = Fanout::new(vec![queues[0].clone(), queues[1].clone()]);
    let targets: Vec<Target> = (0..TARGETS).map(|number| Target::new(number, SAMPLES as usize)).collect();
    let began = Instant::now();
    for nth in 0..SCRAPES_AN_HOUR {
        tokio::time::sleep_until(began + INTERVAL * nth as u32).await;
        for target in &targets {
            assert!(shedding.admits_scrape(), "no scrape is left out");
            let scrape = target.scrape(nth * 15_000 + 1);
            held.add(&scrape);
            fanout.offer(&scrape);
            drop(scrape);
            shedding.relieve();
            assert!(!shedding.budget().is_exceeded(), "at {nth}: {}", shedding.budget().used());
            for queue in &queues {
                let (samples, bytes) = queue.size();
                assert!(samples <= queue.limits().samples && bytes <= queue.limits().bytes, "{samples} {bytes}");
                assert_eq!(queue.ledger().snapshot().imbalance(), 0);
            }
        }
        assert_eq!(began.elapsed(), INTERVAL * nth as u32, "an output that is down makes no scrape late");
        // What was scraped a minute ago was delivered by the output that is well.
        let minute_ago = (nth - 4).max(0) as u64 * TARGETS * SAMPLES;
        assert!(queues[1].ledger().snapshot().settled.delivered >= minute_ago, "a gap at {nth}");
    }
    down.is_down.store(false, Relaxed);
    queues.iter().for_each(|queue| queue.close());
    for sender in senders {
        sender.await.unwrap();
    }
    let [down_counts, well_counts] = queues.map(|queue| queue.ledger().snapshot());
    Hour { down, down_counts, well, well_counts }
}

impl Hour {
    /// The healthy output has all of it; the other one has what it was sent first, and then the latest without a gap.
    fn assert_only_the_oldest_are_lost(&self, reason: &str) {
        let all = TARGETS * SAMPLES * SCRAPES_AN_HOUR as u64;
        assert_eq!((self.well_counts.offered, self.well_counts.settled.delivered), (all, all));
        assert_eq!(by_target(&self.well.taken()).len(), TARGETS as usize);
        for times in by_target(&self.well.taken()).values() {
            assert!(times.iter().copied().eq((0..SCRAPES_AN_HOUR).map(|nth| nth * 15_000 + 1)));
        }
        let Counts { offered, settled, waiting, .. } = &self.down_counts;
        let lost = settled.dropped.get(reason).copied().unwrap_or_default();
        assert_eq!((*offered, *waiting), (all, 0));
        assert!(lost > 0 && settled.delivered > 0, "{:?}", self.down_counts);
        assert_eq!(settled.delivered + lost, all, "{:?}", self.down_counts);
        for times in by_target(&self.down.taken()).values() {
            // The batch that was in hand all the time is the first; what else there is reaches to the end.
            let late: Vec<i64> = times.iter().copied().filter(|&at_ms| at_ms > 60_000).collect();
            let last = (SCRAPES_AN_HOUR - 1) * 15_000 + 1;
            assert!(late.iter().rev().copied().eq((0..late.len() as i64).map(|back| last - back * 15_000)), "{late:?}");
        }
    }
}

fn by_target(taken: &[(u64, i64, u64)]) -> BTreeMap<u64, BTreeSet<i64>> {
    let mut times = BTreeMap::<u64, BTreeSet<i64>>::new();
    for &(key, at_ms, samples) in taken {
        assert_eq!(samples, SAMPLES);
        assert!(times.entry(key).or_default().insert(at_ms), "twice: {key} {at_ms}");
    }
    times
}

#[tokio::test(start_paused = true)]
async fn an_output_down_for_an_hour_keeps_to_its_queue_and_costs_nobody_else_anything() {
    hour(1 << 20, 1 << 40).await.assert_only_the_oldest_are_lost(reason::QUEUE_FULL);
}

#[tokio::test(start_paused = true)]
async fn an_output_down_for_an_hour_keeps_to_the_memory_limit_and_costs_nobody_else_anything() {
    hour(64 << 20, 18 << 20).await.assert_only_the_oldest_are_lost(reason::MEMORY);
}

#[tokio::test(start_paused = true)]
async fn two_outputs_that_are_down_let_go_of_the_same_scrapes_and_of_no_more_than_is_needed() {
    let queues = ["a", "b"].map(|name| queue(name, limits(64 << 20)));
    let small = queue("small", limits(64 << 20));
    let held = Held::default();
    let shedding = Shedding::new(held.budget(18 << 20));
    // What is left beside the program itself, less the allocator's part.
    let room = ((18 << 20) - shedding.budget().used().rest) / 5 * 4;
    queues.iter().chain([&small]).for_each(|queue| shedding.watch(queue));
    let target = Target::new(1, SAMPLES as usize);
    let one = target.scrape(1);
    let own_bytes = one.own_bytes() as u64;
    small.push(&one);
    held.add(&one);
    drop(one);
    let scrapes = 2 * room / own_bytes;
    for nth in 0..scrapes {
        let scrape = target.scrape(nth as i64 + 2);
        held.add(&scrape);
        queues.iter().for_each(|queue| queue.push(&scrape));
        drop(scrape);
        shedding.relieve();
        assert!(!shedding.budget().is_exceeded());
    }
    let held = held.accounts().samples;
    assert!(held <= room && held > room - 2 * own_bytes, "{held} of {room}");
    let lost = queues.map(|queue| queue.ledger().snapshot().settled.dropped[reason::MEMORY]);
    assert!(lost[0] >= (scrapes / 2 - 2) * SAMPLES && lost[0].abs_diff(lost[1]) <= SAMPLES, "{lost:?}");
    assert_eq!(small.ledger().snapshot().waiting, SAMPLES, "a small queue is not the cause");
}

#[tokio::test(start_paused = true)]
async fn scrapes_pause_where_nothing_is_left_to_let_go_of_and_go_on_by_themselves() {
    let held = Held::default();
    let shedding = Shedding::new(held.budget(32 << 20));
    let queue = queue("down", limits(64 << 20));
    shedding.watch(&queue);
    let target = Target::new(1, SAMPLES as usize);
    while queue.size().1 < 2 << 20 {
        let scrape = target.scrape(1);
        held.add(&scrape);
        queue.push(&scrape);
    }
    assert!(shedding.admits_scrape());
    held.tables.store(13 << 20, Relaxed);
    assert!(!shedding.admits_scrape(), "the tables alone are too much");
    let counts = queue.ledger().snapshot();
    assert!(counts.settled.dropped[reason::MEMORY] > 0 && counts.waiting > 0, "the queue went first: {counts:?}");
    assert!(queue.size().1 <= 1 << 20);
    // Just below the limit: they do not go on and off.
    held.tables.store(47 << 18, Relaxed);
    assert!(!shedding.budget().is_exceeded() && !shedding.admits_scrape());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(shedding.admits_scrape());
    held.tables.store(13 << 20, Relaxed);
    assert!(!shedding.admits_scrape());
    // A reload that raises the limit, or well below it: at once.
    shedding.budget().set_limit(Some(64 << 20));
    assert!(shedding.admits_scrape());
    assert_eq!(queue.ledger().snapshot().imbalance(), 0);
}

#[tokio::test]
async fn two_hundred_targets_aligned_to_one_instant_lose_nothing() {
    let server = BulkServer::start(Vec::new()).await;
    let settings = elasticsearch(&[server.address.to_string()], "metrics-promferry-default");
    let options = SenderOptions { take: Take { samples: 10_000, age: Duration::from_secs(10) }, ..options() };
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::default()), options);
    let targets: Vec<Target> = (0..200).map(|number| Target::new(number, 1000)).collect();
    for target in &targets {
        output.queue.push(&target.scrape(1_700_000_000_000));
    }
    let counts = output.finish().await;
    assert_eq!((counts.offered, counts.settled.delivered), (200_000, 200_000), "{counts:?}");
    assert_eq!(server.store().samples(), 200_000);
}

/// A configuration of one large target, which has time for its answer on a busy machine too.
fn configuration(port: u16, memory_limit: &str) -> String {
    format!(
        r#"
global: {{scrape_interval: 8s, memory_limit: {memory_limit}}}
scrape_configs:
  - job_name: large
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
outputs:
  - name: lines
    file: {{path: samples.jsonl}}
admin: {{listen: "127.0.0.1:0"}}
"#
    )
}

async fn paused(promferry: &Process) -> u64 {
    promferry.metric("promferry_scrapes_paused_total").await as u64
}

#[tokio::test]
async fn a_target_too_large_for_the_limit_is_paused_and_counted_until_a_reload_raises_it() {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let body: String = (0..100_000).map(|nth| format!("r{{path=\"{nth}\"}} 1\n")).collect();
    let exporter = Exporter::start(tls, move |_| body.clone()).await;
    world.configure(&configuration(exporter.port(), "24MiB"));
    let promferry = world.run().await;
    let told = until("scrapes pause", async || {
        let is_it = |line: &Json| line["message"].as_str().unwrap().contains("scrapes pause");
        promferry.log.lines().into_iter().find(is_it)
    })
    .await;
    until("the pause is counted", async || (paused(&promferry).await > 0).then_some(())).await;
    assert!(told["limit"] == 24 << 20 && told["used"].as_u64() > Some(24 << 20), "{told}");
    assert!(told["by"].as_str().unwrap().starts_with("samples "), "{told}");
    let before = promferry.outputs().await["lines"]["ledger"]["offered"].as_u64().unwrap();
    world.configure(&configuration(exporter.port(), "256MiB"));
    promferry.signal("HUP");
    until("scrapes go on", async || {
        let ledger = &promferry.outputs().await["lines"]["ledger"];
        let is_more = ledger["offered"].as_u64() > Some(before) && ledger["waiting"] == 0;
        is_more.then_some(())
    })
    .await;
    assert_eq!(promferry.log.of("scrapes go on: memory is below its limit").len(), 1);
    let ended = promferry.terminate().await;
    // The queue went first: of the one scrape before the pause.
    assert!(ended.count("lines", "dropped") <= 100_005, "{:?}", ended.log.of("drained"));
    assert!(ended.count("lines", "delivered") >= 100_005, "{:?}", ended.log.of("drained"));
}

#[tokio::test]
async fn an_output_that_is_down_is_shed_first_and_the_other_one_has_all() {
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    let body: String = (0..10_000).map(|nth| format!("requests_total{{path=\"/v2/apps/{nth}\"}} {nth}\n")).collect();
    let exporter = Exporter::start(tls, move |_| body.clone()).await;
    let down = "  - {name: down, elasticsearch: {urls: [\"http://127.0.0.1:1\"]}, batch: {flush_interval: 100ms}}\n";
    let yaml = configuration(exporter.port(), "24MiB").replace("outputs:\n", &format!("outputs:\n{down}"));
    world.configure(&yaml.replace("scrape_interval: 8s", "scrape_interval: 150ms"));
    let promferry = world.run().await;
    until("the output that is down lets go of samples", async || {
        promferry.outputs().await["down"]["ledger"]["dropped"]["memory"].as_u64().filter(|&dropped| dropped > 100_000)
    })
    .await;
    assert_eq!(paused(&promferry).await, 0, "{:?}", promferry.log.complaints());
    // A look may fall between a scrape and what is let go of for it.
    let (used, limit) = ("promferry_memory_bytes", "promferry_memory_limit_bytes");
    assert!(promferry.metric(used).await <= 1.1 * promferry.metric(limit).await);
    let ended = promferry.terminate().await;
    let [offered, delivered] = ["offered", "delivered"].map(|field| ended.count("lines", field));
    assert!(offered > 100_000 && offered == delivered, "{:?}", ended.log.of("drained"));
}
