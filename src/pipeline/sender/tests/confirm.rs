//! Requests that are accepted first and confirmed later.

use super::*;

const CONFIRMING: Confirming = Confirming { timeout: Duration::from_secs(60), requests_max: 2 };

fn run(script: Vec<Say>) -> Run {
    let output = Lines { confirming: Some(CONFIRMING), is_idempotent: false, ..Lines::new(script) };
    Run::of(output, 1000, Duration::from_secs(3600))
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_is_delivered_when_it_is_confirmed_and_not_before() {
    let run = run(vec![Say::Accept(7, Some(5))]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let counts = run.ledger.snapshot();
    assert_eq!((counts.settled.delivered, counts.waiting), (0, 2));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let counts = run.ledger.snapshot();
    assert_eq!((counts.settled.delivered, counts.waiting), (2, 0));
    let (counts, seen) = run.end(10).await;
    assert_eq!((seen.len(), counts.maybe_doubled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_in_time_is_sent_again_and_counts_as_maybe_doubled() {
    let run = run(vec![Say::Accept(1, None), Say::Accept(2, Some(1))]);
    run.queue.push(&scrape(&[1.0, 2.0]));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (counts, seen) = run.end(10).await;
    assert_eq!(bodies(&seen), ["a 1\nb 2\n"; 2]);
    assert!((60_000..72_000).contains(&seen[1].2), "{seen:?}");
    assert_eq!((counts.settled.delivered, counts.maybe_doubled), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_sent_than_may_wait_to_be_confirmed() {
    let run = run(vec![Say::Accept(1, Some(30)), Say::Accept(2, Some(30)), Say::Accept(3, Some(1))]);
    for _ in 0..3 {
        run.queue.push(&scrape(&[1.0; 10]));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(run.output.seen.lock().unwrap().len(), 2);
    tokio::time::sleep(Duration::from_secs(40)).await;
    let (counts, seen) = run.end(20).await;
    assert_eq!((seen.len(), counts.settled.delivered), (3, 30));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_confirmations_until_its_deadline() {
    let run = run(vec![Say::Accept(1, Some(3)), Say::Accept(2, None)]);
    run.queue.push(&scrape(&[1.0; 10]));
    run.queue.push(&scrape(&[2.0; 10]));
    let began = Instant::now();
    let (counts, _) = run.end(8).await;
    assert_eq!(began.elapsed(), Duration::from_secs(8));
    assert_eq!((counts.settled.delivered, counts.settled.dropped[reason::SHUTDOWN]), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_in_the_moment_of_the_deadline_is_accounted_for() {
    for _ in 0..32 {
        let run = run(vec![Say::AcceptLate(1, 4)]);
        run.queue.push(&scrape(&[1.0; 3]));
        let (counts, _) = run.end(4).await;
        assert_eq!(counts.settled.dropped, [(reason::SHUTDOWN, 3)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_fails_by_a_bug_does_not_hold_the_lane() {
    let run = run(vec![Say::Accept(1, Some(3)), Say::Accept(2, Some(1))]);
    run.queue.push(&scrape(&[1.0]));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The script's receiver panics over a number that it never gave.
    run.output.stored.lock().unwrap().remove(&1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (counts, seen) = run.end(5).await;
    assert_eq!((seen.len(), counts.settled.delivered, counts.maybe_doubled), (2, 1, 1));
}
