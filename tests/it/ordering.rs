//! Outputs that need the samples of a series in order get them so: through failures of every kind, the disk, and restarts with
//! other lanes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use promferry::pipeline::disk::{Disk, Limits};
use promferry::pipeline::{
    Answer, Attempt, Batch, Counts, Encoded, Failure, Fate, Item, Judgement, Ledger, Next, Ordering, Output, Overflow,
    Queue, QueueLimits, Request, SenderOptions, Take, Verdict, run_sender,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::delivery::{Target, options};
use crate::support::random::Random;

const TARGETS: u64 = 10;
const SERIES: usize = 24;
const SAMPLES: u64 = TARGETS * SERIES as u64;

/// A receiver that takes nothing that is older than what it has of a series, and fails at random.
#[derive(Clone)]
struct Receiver(Arc<Mutex<State>>);

struct State {
    random: Random,
    /// Of ten requests, so many fail.
    failing: u64,
    /// The times that it has, by series, in the order in which they came.
    taken: BTreeMap<String, Vec<i64>>,
    /// What it was sent that it had.
    again: u64,
    /// What came too late. Looked at in the end: a panic in a lane is caught.
    disorder: Vec<String>,
}

impl Receiver {
    fn new(seed: u64) -> Self {
        let state =
            State { random: Random::new(seed), failing: 0, taken: BTreeMap::new(), again: 0, disorder: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Takes these items, each a line.
    fn take<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        for line in lines {
            let (series, at_ms) = line.rsplit_once('\t').unwrap();
            let (times, at_ms) = (self.taken.entry(series.to_owned()).or_default(), at_ms.parse().unwrap());
            if times.contains(&at_ms) {
                self.again += 1;
                continue;
            }
            if times.last().is_some_and(|last| *last > at_ms) {
                self.disorder.push(format!("{at_ms} after {times:?} of {series}"));
            }
            times.push(at_ms);
        }
    }
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
            for (position, (_, series)) in slice.positions().zip(slice.points()) {
                let labels: Vec<_> = series.labels().collect();
                let line = format!("{} {labels:?}\t{}\n", series.name(), slice.scrape.at_ms);
                body.extend_from_slice(line.as_bytes());
                items.push(Item { end: body.len(), samples: 1, mark: 0 });
                points.push(before + position);
            }
            before += slice.scrape.samples() as u32;
        }
        Encoded { body: body.into(), items, points, ..Encoded::default() }
    }

    async fn send(&self, _: usize, request: Request) -> Result<Answer, Failure> {
        let mut state = self.state();
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        let lines = text.lines().count();
        let fails = state.random.below(10) < state.failing;
        let answer = |status, body: String| Answer { status, headers: HeaderMap::new(), body: body.into() };
        let failure =
            |is_maybe_received| Err(Failure { kind: "closed", message: "it closed".to_owned(), is_maybe_received });
        match state.random.below(6) {
            _ if !fails => state.take(text.lines()),
            0 => return failure(false),
            1 => {
                state.take(text.lines());
                return failure(true);
            }
            2 => return failure(true),
            3 if lines > 1 => return Ok(answer(StatusCode::PAYLOAD_TOO_LARGE, String::new())),
            4 => {
                let some = state.random.below(lines as u64 + 1) as usize;
                state.take(text.lines().take(some));
                return Ok(answer(StatusCode::PARTIAL_CONTENT, some.to_string()));
            }
            _ => return Ok(answer(StatusCode::TOO_MANY_REQUESTS, String::new())),
        }
        Ok(answer(StatusCode::OK, String::new()))
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, answer: &Answer) -> Judgement {
        let problem = Some(("busy", "it is busy".to_owned()));
        let retry =
            Judgement { verdict: Verdict::All(Fate::Retry), is_maybe_received: false, next: Next::Backoff, problem };
        match answer.status {
            StatusCode::OK => Judgement::delivered(),
            StatusCode::PAYLOAD_TOO_LARGE => Judgement { verdict: Verdict::TooLarge, next: Next::Now, ..retry },
            StatusCode::PARTIAL_CONTENT => {
                let some: usize = std::str::from_utf8(&answer.body).unwrap().parse().unwrap();
                let fate = |at| if at < some { Fate::Delivered } else { Fate::Retry };
                Judgement { verdict: Verdict::Each((0..encoded.items.len()).map(fate).collect()), ..retry }
            }
            _ => retry,
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

/// One run of a program with this output: so many seconds with a scrape of each target each, and how it ends.
struct Run {
    lanes: usize,
    /// Of ten requests, so many fail.
    failing: u64,
    seconds: std::ops::Range<i64>,
    is_killed: bool,
}

/// Returns the ledger. One that is killed ends with its runtime, wherever each of its tasks is.
fn run(receiver: &Receiver, folder: &Path, targets: &[Target], run: Run) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run_within(receiver, folder, targets, run))
}

async fn run_within(receiver: &Receiver, folder: &Path, targets: &[Target], run: Run) -> Counts {
    receiver.state().failing = run.failing;
    let ledger = Ledger::new("ordered");
    let age = Duration::from_secs(7200);
    let limits = Limits { bytes: 64 << 20, age, overflow: Overflow::DropOldest, is_synced: false };
    let disk = Disk::open(folder, limits, run.lanes, &ledger).unwrap();
    let limits = QueueLimits { samples: 1_000_000, bytes: 64 << 20, age, overflow: Overflow::DropOldest };
    let queue = Queue::new(ledger.clone(), limits, run.lanes);
    let options = SenderOptions {
        take: Take { samples: SERIES as u64 * 3, age: Duration::from_millis(1500) },
        workers: run.lanes,
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(4),
        ..options()
    };
    let (deadline, watched) = watch::channel(None);
    let status = Arc::default();
    let sender = run_sender(Arc::new(receiver.clone()), queue.clone(), Some(disk), options, status, watched);
    let mut sender = tokio::spawn(sender);
    for second in run.seconds {
        targets.iter().for_each(|target| queue.push(&target.scrape(second * 1000 + 1)));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            ended = &mut sender => panic!("it ended: {ended:?}"),
        }
        assert_eq!(ledger.snapshot().imbalance(), 0);
    }
    if run.is_killed {
        return ledger.snapshot();
    }
    deadline.send_replace(Some(Instant::now() + Duration::from_secs(60)));
    queue.close();
    sender.await.unwrap();
    let counts = ledger.snapshot();
    assert_eq!(counts.imbalance(), 0, "{counts:?}");
    counts
}

fn targets() -> Vec<Target> {
    (0..TARGETS).map(|number| Target::new(number, SERIES)).collect()
}

#[test]
fn each_series_arrives_whole_and_in_order_over_restarts_with_other_lanes() {
    let (folder, receiver, targets) = (tempfile::tempdir().unwrap(), Receiver::new(0x6f72_6465), targets());
    let (mut waiting, mut began) = (0, 0);
    for (lanes, failing) in [(4, 9), (4, 7), (3, 10), (5, 4), (1, 10), (3, 6), (3, 10), (2, 0)] {
        let seconds = began..began + 20;
        began += 20;
        let counts = run(&receiver, folder.path(), &targets, Run { lanes, failing, seconds, is_killed: false });
        assert_eq!((counts.restored, counts.offered), (waiting, 20 * SAMPLES), "{counts:?}");
        assert_eq!(counts.settled.total(), counts.settled.delivered, "nothing else became of any: {counts:?}");
        assert!(failing < 10 || counts.waiting > 0, "there was an outage: {counts:?}");
        waiting = counts.waiting;
    }
    assert_eq!(waiting, 0);
    let state = receiver.state();
    assert_eq!(state.disorder.first(), None, "of {}", state.disorder.len());
    assert!(state.again > 0, "answers were lost");
    assert_eq!(state.taken.len() as u64, SAMPLES);
    for (series, times) in &state.taken {
        assert!(times.iter().copied().eq((0..began).map(|second| second * 1000 + 1)), "{series}: {times:?}");
    }
}

#[test]
fn each_series_arrives_in_order_over_ends_at_any_moment() {
    let (folder, receiver, targets) = (tempfile::tempdir().unwrap(), Receiver::new(0x6f72_6465), targets());
    let mut began = 0;
    for (lanes, failing) in [(4, 9), (4, 7), (4, 10), (2, 8), (2, 10), (4, 5)] {
        let seconds = began..began + 10;
        began += 10;
        run(&receiver, folder.path(), &targets, Run { lanes, failing, seconds, is_killed: true });
    }
    let seconds = began..began + 20;
    let last = run(&receiver, folder.path(), &targets, Run { lanes: 3, failing: 0, seconds, is_killed: false });
    assert!(last.restored > 0 && last.waiting == 0, "{last:?}");
    let state = receiver.state();
    assert_eq!(state.disorder.first(), None, "of {}", state.disorder.len());
    for (series, times) in &state.taken {
        // What was not flushed is lost: of each end a scrape or two.
        assert!(times.len() as i64 >= began + 20 - 6 * 3, "{series}: {times:?}");
    }
}
