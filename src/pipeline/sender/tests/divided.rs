//! A receiver that takes a request as a whole or not at all, and one that wants it in other words.

use super::*;

/// Bodies have a head, a line a sample, and are spoilt by the lines that hold a minus. It speaks new words until it is told off.
#[derive(Default)]
struct Picky {
    knows_old_words_only: bool,
    understands_nothing: bool,
    refuses: u64,
    seen: Mutex<Vec<String>>,
}

impl Output for Picky {
    /// Whether the old words are to be used.
    type State = bool;
    type Cache = ();

    fn ordering(&self) -> Ordering {
        Ordering::PerSeries
    }

    fn urls(&self) -> Vec<String> {
        vec!["test://".into()]
    }

    async fn start(&self) -> Result<(), String> {
        Ok(())
    }

    fn encode(&self, is_old: &bool, (): &mut (), batch: &Batch) -> Encoded {
        let head = if *is_old { "old:" } else { "new:" };
        let mut body = head.as_bytes().to_vec();
        let mut encoded = Encoded { head: head.len(), compression: Compression::Snappy, ..Encoded::default() };
        for (number, (point, series)) in batch.slices.iter().flat_map(|slice| slice.positions().zip(slice.points())) {
            let Value::Float(value) = point.value else { continue };
            body.extend_from_slice(format!(" {}{value}", series.name()).as_bytes());
            encoded.items.push(Item { end: body.len(), samples: 1, mark: 0 });
            encoded.points.push(number);
        }
        encoded.body = body.into();
        encoded
    }

    async fn send(&self, _: usize, request: Request) -> Result<Answer, Failure> {
        assert_eq!(request.headers["content-encoding"], "snappy");
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        self.seen.lock().unwrap().push(String::from_utf8(body).unwrap());
        Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() })
    }

    fn classify(&self, encoded: &Encoded, _: Attempt, _: &Answer) -> Judgement {
        let is_new = encoded.body.starts_with(b"new");
        let verdict = match encoded.body.contains(&b'-') {
            _ if self.understands_nothing || (is_new && self.knows_old_words_only) => Verdict::Anew,
            true => Verdict::Spoilt(Fate::Rejected("bad")),
            false => Verdict::Partly { refused: self.refuses },
        };
        Judgement { verdict, ..Judgement::delivered() }
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn settle(&self, is_old: &mut bool, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        assert_eq!(batch.samples(), encoded.samples(), "the batch is what the request was made of");
        *is_old |= *verdict == Verdict::Anew;
    }
}

/// Sends one scrape of these values, and ends after `seconds`.
async fn send(picky: Picky, values: &[f64], seconds: u64) -> (Counts, Vec<String>) {
    let (output, ledger) = (Arc::new(picky), Ledger::new("test"));
    let limits =
        QueueLimits { samples: 10_000, bytes: 1 << 30, age: Duration::from_secs(3600), overflow: Overflow::DropOldest };
    let queue = Queue::new(ledger.clone(), limits, 1);
    let options = SenderOptions {
        name: "test".into(),
        take: Take { samples: 10_000, age: Duration::from_secs(1) },
        flush_jitter: Duration::ZERO,
        body_bytes_max: 1 << 20,
        workers: 1,
        is_fresh_first: false,
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(30),
    };
    queue.push(&super::scrape(values));
    queue.close();
    let (_deadline, watched) = watch::channel(Some(Instant::now() + Duration::from_secs(seconds)));
    run(output.clone(), queue, None, options, Arc::default(), watched).await;
    let counts = ledger.snapshot();
    assert_eq!((counts.imbalance(), counts.waiting), (0, 0), "{counts:?}");
    (counts, std::mem::take(&mut output.seen.lock().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn what_spoils_a_request_is_found_and_the_rest_arrives_in_order() {
    let (counts, seen) = send(Picky::default(), &[1.0, 2.0, -3.0, 4.0, 5.0], 10).await;
    assert_eq!((counts.settled.delivered, counts.settled.rejected["bad"]), (4, 1));
    let taken: Vec<_> = seen.iter().filter(|body| !body.contains('-')).collect();
    assert_eq!(taken, ["new: a1 b2", "new: d4 e5"]);
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn looking_for_what_spoils_a_request_has_an_end() {
    let values: Vec<f64> = (1..=100).map(|n| f64::from(n) * if n < 100 { -1.0 } else { 1.0 }).collect();
    let (counts, seen) = send(Picky::default(), &values, 10).await;
    assert_eq!(counts.offered, 100);
    assert_eq!(counts.settled.rejected["bad"] + counts.settled.delivered, 100);
    assert!(seen.len() <= EXTRA_REQUESTS_MAX_AND_LAST, "{}", seen.len());
}

/// Each division but the last leads to another request.
const EXTRA_REQUESTS_MAX_AND_LAST: usize = 202;

#[tokio::test(start_paused = true)]
async fn a_receiver_that_wants_other_words_is_given_them() {
    let picky = Picky { knows_old_words_only: true, ..Picky::default() };
    let (counts, seen) = send(picky, &[1.0, 2.0], 10).await;
    assert_eq!(seen, ["new: a1 b2", "old: a1 b2"]);
    assert_eq!(counts.settled.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_understands_nothing_gets_time() {
    let (counts, seen) = send(Picky { understands_nothing: true, ..Picky::default() }, &[1.0], 60).await;
    assert_eq!(counts.settled.dropped[reason::SHUTDOWN], 1);
    assert!((201..220).contains(&seen.len()), "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn how_many_were_refused_is_counted_without_saying_which() {
    let counts = |refuses, values: &'static [f64]| async move {
        send(Picky { refuses, ..Picky::default() }, values, 10).await.0.settled
    };
    let settled = counts(1, &[1.0, 2.0, 3.0]).await;
    assert_eq!((settled.delivered, settled.rejected[reason::PARTIAL_UNATTRIBUTED]), (2, 1));
    let settled = counts(9, &[1.0, 2.0, 3.0]).await;
    assert_eq!((settled.delivered, settled.rejected[reason::PARTIAL_UNATTRIBUTED]), (0, 3));
    assert_eq!(counts(0, &[1.0]).await, crate::pipeline::Settlement::delivered(1));
}
