//! An output that sends by how much a value rose: what it leaves out, the first value, it must know of later.

use super::*;

#[derive(Default)]
struct Rises {
    seen: Mutex<Vec<String>>,
}

impl Output for Rises {
    type State = Option<f64>;
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

    fn encode(&self, last: &Option<f64>, (): &mut (), batch: &Batch) -> Encoded {
        let (mut encoded, mut last, mut body) = (Encoded::default(), *last, String::new());
        for (number, (point, _)) in (0..).zip(batch.slices.iter().flat_map(Slice::points)) {
            let Value::Float(value) = point.value else { continue };
            match last.replace(value) {
                Some(last) => {
                    body += &format!("{};", value - last);
                    encoded.items.push(Item { end: body.len(), samples: 1, mark: 0 });
                    encoded.points.push(number);
                }
                None => {
                    *encoded.skipped.entry(reason::FIRST_DELTA).or_default() += 1;
                    encoded.noted.push(number);
                }
            }
        }
        encoded.body = body.into();
        encoded
    }

    async fn send(&self, _: usize, request: Request) -> Result<Answer, Failure> {
        self.seen.lock().unwrap().push(String::from_utf8(request.body.to_vec()).unwrap());
        Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() })
    }

    fn classify(&self, _: &Encoded, _: Attempt, _: &Answer) -> Judgement {
        Judgement::delivered()
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn settle(&self, last: &mut Option<f64>, batch: &Batch, encoded: &Encoded, _: &Verdict) {
        self.settle_points(last, batch, &encoded.points);
    }

    fn settle_noted(&self, last: &mut Option<f64>, batch: &Batch, encoded: &Encoded) {
        self.settle_points(last, batch, &encoded.noted);
    }
}

impl Rises {
    fn settle_points(&self, last: &mut Option<f64>, batch: &Batch, numbers: &[u32]) {
        for (_, point, _) in batch.points_at(numbers) {
            let Value::Float(value) = point.value else { continue };
            *last = Some(value);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_and_noted_is_known_at_the_next_request() {
    for (batches, expected) in
        [(vec![vec![5.0], vec![7.0], vec![4.0, 9.0]], vec!["2;", "-3;5;"]), (vec![vec![1.0, 4.0, 4.5]], vec!["3;0.5;"])]
    {
        let (output, ledger) = (Arc::new(Rises::default()), Ledger::new("test"));
        let limits = QueueLimits {
            samples: 100,
            bytes: 1 << 30,
            age: Duration::from_secs(3600),
            overflow: Overflow::DropOldest,
        };
        let queue = Queue::new(ledger.clone(), limits, 1);
        let samples: usize = batches.iter().map(Vec::len).sum();
        for values in &batches {
            queue.push(&scrape(values));
        }
        queue.close();
        let options = SenderOptions {
            name: "test".into(),
            take: Take { samples: 1, age: Duration::from_secs(1) },
            flush_jitter: Duration::ZERO,
            body_bytes_max: 1 << 20,
            workers: 1,
            is_fresh_first: false,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
        };
        let (_deadline, watched) = watch::channel(None);
        run(output.clone(), queue, None, options, Arc::default(), watched).await;
        assert_eq!(*output.seen.lock().unwrap(), expected);
        let counts = ledger.snapshot();
        assert_eq!((counts.settled.skipped[reason::FIRST_DELTA], counts.imbalance()), (1, 0));
        assert_eq!(counts.settled.delivered, samples as u64 - 1);
    }
}
