//! The loop against an output that writes a line a sample and a receiver that answers by a script.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::model::{
    ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet, Value,
};
use crate::pipeline::{Attempt, Pick, Reasons, Slice};
use crate::pipeline::{Counts, Ledger, Overflow, QueueLimits};

mod confirm;
mod disk;
mod divided;
mod noted;

/// What the receiver does with one request.
enum Say {
    /// Accepted under this number, and stored so many seconds later; `None` is never.
    Accept(u64, Option<u64>),
    /// Accepted under this number after so many seconds, and never stored.
    AcceptLate(u64, u64),
    /// Delivered, and leave it alone for so many seconds.
    Slow(&'static str),
    /// As [`Say::Each`], and the rest is wanted at once.
    EachAndGoOn(Vec<Fate>),
    Status(u16),
    StatusAfter(u16, &'static str),
    /// Too busy for a request of this size.
    BusyForSo(&'static str),
    /// Each line of the body is judged by its position.
    Each(Vec<Fate>),
    Nothing,
    Hang,
    /// The answer is one that a bug of the output's cannot take.
    Bug,
}

struct Lines {
    ordering: Ordering,
    urls: usize,
    script: Mutex<VecDeque<Say>>,
    seen: Mutex<Vec<(usize, String, u128)>>,
    began: Instant,
    /// When what was accepted is stored, by number.
    stored: Mutex<HashMap<u64, Option<Instant>>>,
    confirming: Option<Confirming>,
    is_idempotent: bool,
}

impl Output for Lines {
    type State = ();
    type Cache = ();

    fn ordering(&self) -> Ordering {
        self.ordering
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    fn confirming(&self) -> Option<Confirming> {
        self.confirming
    }

    async fn confirm(&self, _: usize, receipts: &[Receipt]) -> Result<Vec<bool>, Failure> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stored = |receipt: &Receipt| stored[&receipt.number].is_some_and(|at| at <= Instant::now());
        Ok(receipts.iter().map(is_stored).collect())
    }

    fn urls(&self) -> Vec<String> {
        (0..self.urls).map(|at| format!("test://{at}")).collect()
    }

    async fn start(&self) -> Result<(), String> {
        Ok(())
    }

    fn encode(&self, _: &(), _: &mut (), batch: &Batch) -> Encoded {
        let mut encoded = Encoded { ..Encoded::default() };
        let (mut start, mut body) = (0, Vec::new());
        let numbered = batch.slices.iter().flat_map(|slice| {
            let first = start;
            start += slice.scrape.samples() as u32;
            slice.positions().map(move |at| first + at).zip(slice.points())
        });
        for (number, (point, series)) in numbered {
            match point.value {
                Value::Float(value) if !value.is_nan() => {
                    body.extend_from_slice(format!("{} {value}\n", series.name()).as_bytes());
                    encoded.items.push(Item { end: body.len(), samples: 1, mark: 0 });
                    encoded.points.push(number);
                }
                _ => *encoded.skipped.entry(reason::NAN).or_default() += 1,
            }
        }
        encoded.body = body.into();
        encoded
    }

    async fn send(&self, url: usize, request: Request) -> Result<Answer, Failure> {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        self.seen.lock().unwrap().push((url, body, self.began.elapsed().as_millis()));
        let say = self.script.lock().unwrap().pop_front().unwrap_or(Say::Status(200));
        let goes_on = matches!(say, Say::EachAndGoOn(_));
        let answer = |status: u16| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        match say {
            Say::Status(status) => Ok(answer(status)),
            Say::BusyForSo(after) => {
                let mut answer = answer(429);
                answer.headers.insert("too-large", HeaderValue::from_static("yes"));
                answer.headers.insert("retry-after", HeaderValue::from_static(after));
                Ok(answer)
            }
            Say::StatusAfter(status, after) => {
                let mut answer = answer(status);
                answer.headers.insert("retry-after", HeaderValue::from_static(after));
                Ok(answer)
            }
            Say::Accept(number, after) => {
                let at = after.map(|seconds| Instant::now() + Duration::from_secs(seconds));
                self.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(number, at);
                Ok(Answer { body: number.to_string().into(), ..answer(202) })
            }
            Say::AcceptLate(number, after) => {
                self.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(number, None);
                tokio::time::sleep(Duration::from_secs(after)).await;
                Ok(Answer { body: number.to_string().into(), ..answer(202) })
            }
            Say::Slow(after) => {
                let mut answer = answer(200);
                answer.headers.insert("retry-after", HeaderValue::from_static(after));
                Ok(answer)
            }
            Say::Each(fates) | Say::EachAndGoOn(fates) => {
                let word = |fate: &Fate| match fate {
                    Fate::Delivered => 'd',
                    Fate::Rejected(_) => 'x',
                    _ => 'r',
                };
                let body: String = fates.iter().map(word).collect();
                Ok(Answer { body: body.into(), ..answer(if goes_on { 206 } else { 200 }) })
            }
            Say::Nothing => {
                Err(Failure { kind: "closed", message: "closed before an answer".into(), is_maybe_received: true })
            }
            Say::Hang => std::future::pending().await,
            Say::Bug => Ok(answer(299)),
        }
    }

    fn classify(&self, _: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let verdict = match answer.status.as_u16() {
            202 => Verdict::Accepted(Receipt {
                number: str::from_utf8(&answer.body).unwrap().parse().unwrap(),
                route: String::new(),
            }),
            200 | 206 if !answer.body.is_empty() => {
                let fate = |word: &u8| match word {
                    b'd' => Fate::Delivered,
                    b'x' => Fate::Rejected("bad"),
                    _ => Fate::Retry,
                };
                Verdict::Each(answer.body.iter().map(fate).collect())
            }
            200 if attempt.is_maybe_resend && self.is_idempotent => Verdict::All(Fate::Duplicate("resend")),
            200 => Verdict::All(Fate::Delivered),
            299 => panic!("on purpose"),
            413 => {
                return Judgement { verdict: Verdict::TooLarge, ..Judgement::delivered() };
            }
            429 if answer.headers.contains_key("too-large") => Verdict::TooLarge,
            400 => Verdict::All(Fate::Rejected("bad")),
            _ => Verdict::All(Fate::Retry),
        };
        Judgement {
            verdict,
            is_maybe_received: answer.status == StatusCode::GATEWAY_TIMEOUT,
            next: match after {
                Some(after) => Next::After(Duration::from_secs(after)),
                None if answer.status == StatusCode::PARTIAL_CONTENT => Next::Now,
                None => Next::Backoff,
            },
            problem: Some(("status", "said no".into())),
        }
    }
}

impl Lines {
    fn new(script: Vec<Say>) -> Self {
        Self {
            ordering: Ordering::Free,
            urls: 1,
            script: Mutex::new(script.into()),
            seen: Mutex::default(),
            began: Instant::now(),
            stored: Mutex::default(),
            confirming: None,
            is_idempotent: true,
        }
    }
}

struct Run {
    output: Arc<Lines>,
    queue: Arc<Queue>,
    ledger: Arc<Ledger>,
    deadline: watch::Sender<Option<Instant>>,
    status: Arc<Mutex<SenderStatus>>,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(ordering: Ordering, urls: usize, script: Vec<Say>) -> Self {
        Self::with(ordering, urls, script, 1000, Duration::from_secs(3600))
    }

    fn with(ordering: Ordering, urls: usize, script: Vec<Say>, body_bytes_max: usize, age: Duration) -> Self {
        Self::of(Lines { ordering, urls, ..Lines::new(script) }, body_bytes_max, age)
    }

    fn of(output: Lines, body_bytes_max: usize, age: Duration) -> Self {
        Self::with_disk(output, body_bytes_max, age, Ledger::new("test"), None)
    }

    fn with_disk(
        output: Lines,
        body_bytes_max: usize,
        age: Duration,
        ledger: Arc<Ledger>,
        disk: Option<Arc<Disk>>,
    ) -> Self {
        Self::with_lanes(output, body_bytes_max, age, ledger, disk, 1)
    }

    fn with_lanes(
        output: Lines,
        body_bytes_max: usize,
        age: Duration,
        ledger: Arc<Ledger>,
        disk: Option<Arc<Disk>>,
        lanes: usize,
    ) -> Self {
        let output = Arc::new(output);
        let limits = QueueLimits { samples: 100, bytes: 1 << 20, age, overflow: Overflow::DropOldest };
        let queue = Queue::new(ledger.clone(), limits, lanes);
        let options = SenderOptions {
            name: "test".into(),
            take: Take { samples: 10, age: Duration::from_secs(1) },
            flush_jitter: Duration::ZERO,
            body_bytes_max,
            workers: lanes,
            is_fresh_first: true,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        };
        let (deadline, watched) = watch::channel(None);
        let status = Arc::<Mutex<SenderStatus>>::default();
        let task = tokio::spawn(run(output.clone(), queue.clone(), disk, options, status.clone(), watched));
        Self { output, queue, ledger, deadline, status, task }
    }

    /// As [`end`](Self::end), where something may be left on disk.
    async fn leave(self, seconds: u64) -> Counts {
        self.queue.close();
        self.deadline.send_replace(Some(Instant::now() + Duration::from_secs(seconds)));
        self.task.await.unwrap();
        let counts = self.ledger.snapshot();
        assert_eq!(counts.imbalance(), 0, "{counts:?}");
        counts
    }

    /// Closes the queue, gives it `seconds`, and returns the ledger and the bodies that were sent.
    async fn end(self, seconds: u64) -> (Counts, Vec<(usize, String, u128)>) {
        self.queue.close();
        self.deadline.send_replace(Some(Instant::now() + Duration::from_secs(seconds)));
        self.task.await.unwrap();
        let counts = self.ledger.snapshot();
        assert_eq!((counts.imbalance(), counts.waiting), (0, 0), "{counts:?}");
        (counts, std::mem::take(&mut self.output.seen.lock().unwrap()))
    }
}

/// A scrape of gauges `a`, `b`, … with one label that tells them apart, so that it can be divided.
pub(super) fn scrape(values: &[f64]) -> Arc<Scrape> {
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "f", kind: MetricType::Gauge, ..Family::default() });
    let mut points = PointsBuilder::default();
    for (at, value) in values.iter().enumerate() {
        let name = char::from(b'a' + at as u8).to_string();
        let number = chunk.push(family, &name, [("n", name.as_str())].into_iter());
        points.push_float(number, *value, None);
    }
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 7, labels: Labels::new(), url: String::new() }),
        at_ms: 1,
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

fn bodies(seen: &[(usize, String, u128)]) -> Vec<&str> {
    seen.iter().map(|(_, body, _)| body.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_its_oldest_sample_is_old_enough_or_when_it_is_full() {
    let run = Run::start(Ordering::Free, 1, vec![]);
    run.queue.push(&scrape(&[1.0, STALE_NAN]));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(run.output.seen.lock().unwrap().as_slice(), [(0, "a 1\n".to_owned(), 1000)]);
    for _ in 0..5 {
        run.queue.push(&scrape(&[1.0, 2.0]));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (counts, seen) = run.end(10).await;
    assert_eq!(seen[1].2, 1500);
    assert_eq!((counts.settled.delivered, counts.settled.skipped[reason::NAN]), (11, 1));
}

#[tokio::test(start_paused = true)]
async fn a_resend_carries_the_same_samples_and_says_that_it_may_be_one() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Nothing, Say::Status(503)]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\n"; 3]);
    assert_eq!(counts.settled.duplicate["resend"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_leaves_open_whether_it_was_received_makes_the_next_one_a_resend() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Status(504)]);
    run.queue.push(&scrape(&[1.0]));
    let (counts, _) = run.end(100).await;
    assert_eq!(counts.settled.duplicate["resend"], 1);
}

#[tokio::test(start_paused = true)]
async fn only_the_items_that_may_be_taken_later_are_sent_again() {
    let fates = vec![Fate::Delivered, Fate::Retry, Fate::Rejected("bad")];
    let run = Run::start(Ordering::Free, 1, vec![Say::Each(fates)]);
    run.queue.push(&scrape(&[1.0, 2.0, 3.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\nc 3\n", "b 2\n"]);
    assert_eq!((counts.settled.delivered, counts.settled.rejected["bad"]), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_sample_does_not_go_for_the_age_of_another_in_its_batch() {
    let script = (0..10_000).map(|_| Say::Status(503)).collect();
    let run = Run::with(Ordering::PerSeries, 1, script, 1000, Duration::from_secs(3600));
    for _ in 0..9 {
        run.queue.push(&scrape(&[1.0]));
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    run.output.script.lock().unwrap().clear();
    let (counts, _) = run.end(100).await;
    assert_eq!((counts.settled.delivered, counts.settled.dropped), (5, [(reason::TOO_OLD, 4)].into()));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_heeded() {
    let run = Run::start(Ordering::Free, 1, vec![Say::StatusAfter(429, "20")]);
    run.queue.push(&scrape(&[1.0]));
    let (_, seen) = run.end(100).await;
    assert!((20_000..21_000).contains(&seen[1].2), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn another_receiver_is_asked_at_once() {
    let run = Run::start(Ordering::Free, 2, vec![Say::Status(503)]);
    run.queue.push(&scrape(&[1.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(seen.iter().map(|(url, _, at)| (*url, *at)).collect::<Vec<_>>(), [(0, 0), (1, 0)]);
    assert_eq!(counts.settled.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_time_is_given_it_while_another_one_is_asked() {
    let run = Run::start(Ordering::Free, 2, vec![Say::StatusAfter(429, "20")]);
    for _ in 0..3 {
        run.queue.push(&scrape(&[1.0]));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (counts, seen) = run.end(100).await;
    assert_eq!(seen.iter().map(|(url, _, _)| *url).collect::<Vec<_>>(), [0, 1, 1, 1]);
    assert_eq!((seen[0].2, seen[1].2, counts.settled.delivered), (1000, 1000, 3));
}

#[tokio::test(start_paused = true)]
async fn too_large_is_halved_until_it_fits() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Status(413), Say::Status(413)]);
    run.queue.push(&scrape(&[1.0, 2.0, 3.0, 4.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\nc 3\nd 4\n", "a 1\nb 2\n", "a 1\n", "b 2\n", "c 3\nd 4\n"]);
    assert_eq!(counts.settled.delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn a_scrape_larger_than_a_body_is_divided_by_label_sets() {
    let values: Vec<f64> = (0..20).map(f64::from).collect();
    let run = Run::with(Ordering::Free, 1, vec![], 30, Duration::from_secs(3600));
    run.queue.push(&scrape(&values));
    let (counts, seen) = run.end(100).await;
    assert!(seen.iter().all(|(_, body, _)| body.len() <= 30), "{seen:?}");
    let mut lines: Vec<String> = seen.iter().flat_map(|(_, body, _)| body.lines().map(str::to_owned)).collect();
    lines.sort();
    lines.dedup();
    assert_eq!((lines.len(), counts.settled.delivered), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_in_time_is_dropped_with_its_reason() {
    let say = (0..1000).map(|_| Say::Status(503)).collect();
    let run = Run::with(Ordering::PerSeries, 1, say, 1000, Duration::from_secs(60));
    run.queue.push(&scrape(&[1.0]));
    tokio::time::sleep(Duration::from_secs(120)).await;
    run.queue.push(&scrape(&[1.0, 2.0]));
    let (counts, _) = run.end(5).await;
    assert_eq!(counts.settled.dropped, Reasons::from([(reason::TOO_OLD, 1), (reason::SHUTDOWN, 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_does_not_hold_the_shutdown() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Hang]);
    run.queue.push(&scrape(&[1.0]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    run.queue.push(&scrape(&[1.0, 2.0]));
    let began = Instant::now();
    let (counts, _) = run.end(5).await;
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(counts.settled.dropped[reason::SHUTDOWN], 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_lets_the_oldest_go() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Hang]);
    for _ in 0..60 {
        run.queue.push(&scrape(&[1.0, 2.0]));
    }
    let (samples, bytes) = run.queue.size();
    assert!(samples <= 100 && bytes <= 1 << 20);
    let (counts, _) = run.end(0).await;
    assert_eq!(counts.settled.dropped[reason::QUEUE_FULL], 20);
}

#[tokio::test(start_paused = true)]
async fn a_scrape_that_an_empty_queue_would_not_hold_drives_nobody_out() {
    let run = Run::start(Ordering::Free, 1, vec![]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    run.queue.push(&scrape(&[1.0; 101]));
    let (counts, seen) = run.end(10).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\n"]);
    assert_eq!((counts.settled.delivered, counts.settled.dropped[reason::QUEUE_FULL]), (2, 101));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_too_busy_for_a_size_gets_its_time_before_the_halves() {
    let run = Run::start(Ordering::Free, 1, vec![Say::BusyForSo("20")]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\n", "a 1\n", "b 2\n"]);
    assert!((20_000..21_000).contains(&seen[1].2), "{seen:?}");
    assert_eq!(counts.settled.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bug_costs_the_batch_and_not_the_lane() {
    let run = Run::start(Ordering::PerSeries, 1, vec![Say::Bug]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    run.queue.push(&scrape(&[3.0]));
    let (counts, seen) = run.end(10).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\n", "a 3\n"]);
    assert_eq!((counts.settled.delivered, counts.settled.dropped[reason::ABANDONED]), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_all_rejected_is_no_delivery() {
    let run = Run::start(Ordering::Free, 1, vec![Say::Status(400)]);
    let status = run.status.clone();
    run.queue.push(&scrape(&[1.0]));
    let (counts, _) = run.end(10).await;
    assert_eq!(counts.settled.rejected["bad"], 1);
    assert_eq!(status.lock().unwrap().delivered_ms, None);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_has_taken_a_part_gets_the_rest_at_once() {
    let fates = vec![Fate::Delivered, Fate::Rejected("bad"), Fate::Retry];
    let run = Run::start(Ordering::Free, 1, vec![Say::EachAndGoOn(fates)]);
    let status = run.status.clone();
    run.queue.push(&scrape(&[1.0, 2.0, 3.0]));
    let (counts, seen) = run.end(100).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\nc 3\n", "c 3\n"]);
    assert_eq!((seen[0].2, seen[1].2, counts.settled.delivered), (0, 0, 2));
    assert_eq!(status.lock().unwrap().failures, 0, "that is no failure");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_settles_nothing_is_not_asked_at_once() {
    let fates = || Say::EachAndGoOn(vec![Fate::Retry]);
    let run = Run::start(Ordering::Free, 1, vec![fates(), fates(), fates()]);
    run.queue.push(&scrape(&[1.0]));
    let (counts, seen) = run.end(100).await;
    assert!(seen[3].2 > 0, "{seen:?}");
    assert_eq!(counts.settled.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_has_enough_is_left_alone_after_a_success() {
    let run = Run::start(Ordering::PerSeries, 1, vec![Say::Slow("20")]);
    for _ in 0..2 {
        run.queue.push(&scrape(&[1.0; 10]));
    }
    tokio::time::sleep(Duration::from_secs(21)).await;
    let (counts, seen) = run.end(100).await;
    assert_eq!((seen[0].2, seen[1].2, counts.settled.delivered), (0, 20_000, 20));
}

#[tokio::test(start_paused = true)]
async fn what_is_fresh_goes_first_where_order_does_not_matter_and_never_where_it_does() {
    for (ordering, expected) in
        [(Ordering::Free, ["a 1", "a 4", "a 3", "a 2"]), (Ordering::PerSeries, ["a 1", "a 2", "a 3", "a 4"])]
    {
        let run = Run::start(ordering, 1, vec![Say::StatusAfter(503, "100")]);
        for value in [1.0, 2.0, 3.0, 4.0] {
            run.queue.push(&scrape(&[value, 9.0, 9.0, 9.0, 9.0, 9.0]));
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(100)).await;
        let (counts, seen) = run.end(100).await;
        let firsts: Vec<&str> = seen[1..].iter().map(|(_, body, _)| body.split('\n').next().unwrap()).collect();
        assert_eq!((firsts, counts.settled.delivered), (expected.to_vec(), 24), "{ordering:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_resend_delivers_to_a_receiver_that_cannot_tell_counts_as_maybe_doubled() {
    let output = Lines { is_idempotent: false, ..Lines::new(vec![Say::Nothing]) };
    let run = Run::of(output, 1000, Duration::from_secs(3600));
    run.queue.push(&scrape(&[1.0, 2.0]));
    let (counts, _) = run.end(100).await;
    assert_eq!((counts.settled.delivered, counts.maybe_doubled), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_taker_that_gives_up_leaves_what_it_waited_for_to_the_next_one() {
    let age = Duration::from_secs(600);
    let limits = QueueLimits { samples: 100, bytes: 1 << 20, age, overflow: Overflow::DropOldest };
    let queue = Queue::new(Ledger::new("q"), limits, 1);
    let take = Take { samples: 50, age: Duration::from_secs(2) };
    let [mut first, mut second] = [(), ()].map(|()| Box::pin(queue.next(0, take, Pick::Oldest)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending());
    queue.push(&scrape(&[1.0]));
    // It has the word now, and knows when the sample is due.
    assert!(first.as_mut().poll(&mut context).is_pending());
    drop(first);
    let began = Instant::now();
    let taken = tokio::time::timeout(Duration::from_secs(60), second).await;
    assert_eq!(taken.ok().flatten().map(|batch| batch.waiting.samples()), Some(1));
    assert_eq!(began.elapsed(), take.age);
}
