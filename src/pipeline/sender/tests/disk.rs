//! What waits goes to disk, and comes back.

use tempfile::TempDir;

use super::super::backlog::Backlog;
use super::*;
use crate::pipeline::Slice;
use crate::pipeline::disk::{self, Disk};

/// A run whose backlog is in `folder`.
fn run_in(folder: &TempDir, output: Lines) -> Run {
    run_with(folder, output, 1000, 1)
}

fn run_with(folder: &TempDir, output: Lines, body_bytes_max: usize, lanes: usize) -> Run {
    let ledger = Ledger::new("test");
    let limits = disk::Limits {
        bytes: 1 << 24,
        age: Duration::from_secs(3600),
        overflow: Overflow::DropOldest,
        is_synced: false,
    };
    let disk = Disk::open(folder.path(), limits, lanes, &ledger).unwrap();
    Run::with_lanes(output, body_bytes_max, Duration::from_secs(3600), ledger, Some(disk), lanes)
}

/// What a crash would leave now.
fn after_a_crash(folder: &TempDir) -> TempDir {
    let left = TempDir::new().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    left
}

fn of(ordering: Ordering, script: Vec<Say>) -> Lines {
    Lines { ordering, ..Lines::new(script) }
}

fn failures() -> Vec<Say> {
    (0..10_000).map(|_| Say::Status(503)).collect()
}

fn segment_bytes(folder: &TempDir) -> u64 {
    let files = std::fs::read_dir(folder.path()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn while_all_goes_well_nothing_is_written() {
    for ordering in [Ordering::Free, Ordering::PerSeries] {
        let folder = TempDir::new().unwrap();
        let run = run_in(&folder, of(ordering, vec![]));
        for _ in 0..5 {
            run.queue.push(&scrape(&[1.0, 2.0]));
            seconds(2).await;
        }
        assert_eq!(segment_bytes(&folder), 0, "{ordering:?}");
        assert_eq!(run.end(1).await.0.settled.delivered, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn from_the_first_failure_on_everything_is_on_disk_and_a_restart_delivers_it_once_in_order() {
    for ordering in [Ordering::Free, Ordering::PerSeries] {
        let folder = TempDir::new().unwrap();
        let run = run_in(&folder, of(ordering, failures()));
        for value in 1..=8 {
            run.queue.push(&scrape(&[f64::from(value); 3]));
            seconds(2).await;
        }
        assert_eq!(run.queue.size().0, 0, "memory holds what fills up, and nothing else");
        let began = Instant::now();
        let counts = run.leave(100).await;
        assert!(began.elapsed() < Duration::from_secs(2), "all is safe: {:?}", began.elapsed());
        assert_eq!((counts.offered, counts.waiting, counts.settled.total()), (24, 24, 0), "{ordering:?}");

        let run = run_in(&folder, of(ordering, vec![]));
        assert_eq!(run.ledger.snapshot().restored, 24);
        seconds(60).await;
        let (counts, seen) = run.end(1).await;
        assert_eq!((counts.settled.delivered, counts.offered), (24, 0), "a refusal is no resend");
        let mut values: Vec<&str> = seen.iter().map(|(_, body, _)| &body[2..3]).collect();
        if ordering == Ordering::Free {
            values.sort_unstable();
        }
        assert_eq!(values.concat(), "12345678", "{ordering:?}");
        let run = run_in(&folder, of(ordering, vec![]));
        assert_eq!(run.ledger.snapshot().restored, 0);
        run.end(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_of_it_is_delivered_memory_is_enough_again() {
    for ordering in [Ordering::Free, Ordering::PerSeries] {
        let folder = TempDir::new().unwrap();
        let script = (0..4).map(|_| Say::Status(503)).collect();
        let run = run_in(&folder, of(ordering, script));
        for value in 1..=30 {
            run.queue.push(&scrape(&[f64::from(value); 3]));
            seconds(2).await;
        }
        seconds(20).await;
        assert_eq!(segment_bytes(&folder), 0, "{ordering:?}");
        let (counts, seen) = run.end(1).await;
        assert_eq!((counts.settled.delivered, seen.len()), (90, 34));
        if ordering == Ordering::PerSeries {
            let values: Vec<f64> = seen
                .iter()
                .skip(4)
                .map(|(_, body, _)| body.split([' ', '\n']).nth(1).unwrap().parse().unwrap())
                .collect();
            assert!(values.is_sorted(), "{values:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_received_is_known_to_be_a_resend_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let run = run_in(&folder, of(Ordering::Free, [Say::Nothing].into_iter().chain(failures()).collect()));
    run.queue.push(&scrape(&[1.0, 2.0]));
    seconds(10).await;
    assert_eq!(run.leave(10).await.waiting, 2);
    let run = run_in(&folder, of(Ordering::Free, vec![]));
    seconds(10).await;
    let (counts, _) = run.end(1).await;
    assert_eq!((counts.restored, counts.settled.duplicate["resend"]), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_left_of_a_batch_comes_back() {
    let folder = TempDir::new().unwrap();
    let fates = vec![Fate::Delivered, Fate::Retry, Fate::Rejected("bad")];
    let run = run_in(&folder, of(Ordering::Free, [Say::Each(fates)].into_iter().chain(failures()).collect()));
    run.queue.push(&scrape(&[1.0, 2.0, 3.0, STALE_NAN]));
    seconds(10).await;
    let counts = run.leave(10).await;
    assert_eq!((counts.waiting, counts.settled.total()), (1, 3));
    let run = run_in(&folder, of(Ordering::Free, vec![]));
    seconds(10).await;
    let (counts, seen) = run.end(1).await;
    assert_eq!((counts.restored, bodies(&seen)), (1, vec!["b 2\n"]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_a_part_was_taken_comes_back_after_a_crash_as_one_that_may_have_been_received() {
    let folder = TempDir::new().unwrap();
    let fates = vec![Fate::Delivered, Fate::Retry];
    let run = run_in(
        &folder,
        of(Ordering::Free, [Say::Status(503), Say::Each(fates)].into_iter().chain(failures()).collect()),
    );
    run.queue.push(&scrape(&[1.0, 2.0]));
    seconds(30).await;
    assert_eq!(run.ledger.snapshot().settled.delivered, 1);
    let left = after_a_crash(&folder);
    run.leave(1).await;
    let run = run_in(&left, of(Ordering::Free, vec![]));
    seconds(10).await;
    let (counts, _) = run.end(1).await;
    assert_eq!((counts.restored, counts.settled.duplicate["resend"]), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_record_of_which_a_part_was_taken_is_no_resend_after_an_orderly_end() {
    let folder = TempDir::new().unwrap();
    let script = [Say::Status(503), Say::Each(vec![Fate::Delivered, Fate::Retry])];
    let run = run_in(&folder, of(Ordering::Free, script.into_iter().chain(failures()).collect()));
    run.queue.push(&scrape(&[1.0, 2.0]));
    seconds(30).await;
    assert_eq!(run.leave(1).await.settled.delivered, 1);
    let run = run_in(&folder, of(Ordering::Free, vec![]));
    seconds(10).await;
    let (counts, seen) = run.end(1).await;
    assert_eq!((bodies(&seen), counts.settled.delivered), (vec!["b 2\n"], 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_hanging_receiver_has_when_the_deadline_comes_is_kept() {
    let folder = TempDir::new().unwrap();
    let run = run_in(&folder, of(Ordering::Free, vec![Say::Hang]));
    run.queue.push(&scrape(&[1.0]));
    seconds(2).await;
    run.queue.push(&scrape(&[2.0]));
    let counts = run.leave(5).await;
    assert_eq!((counts.waiting, counts.settled.total()), (2, 0));
    let run = run_in(&folder, of(Ordering::Free, vec![]));
    seconds(20).await;
    let (counts, _) = run.end(1).await;
    assert_eq!((counts.settled.delivered, counts.settled.duplicate["resend"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_is_on_disk_from_its_first_send() {
    let folder = TempDir::new().unwrap();
    let confirming = Confirming { timeout: Duration::from_secs(60), requests_max: 9 };
    let output = |script| Lines { confirming: Some(confirming), is_idempotent: false, ..Lines::new(script) };
    let run = run_in(&folder, output(vec![Say::Accept(1, Some(3)), Say::Accept(2, None)]));
    for value in [1.0, 2.0] {
        run.queue.push(&scrape(&[value]));
        seconds(2).await;
    }
    seconds(10).await;
    assert_eq!(run.ledger.snapshot().settled.delivered, 1);
    assert_eq!(run.leave(5).await.waiting, 1);
    let run = run_in(&folder, output(vec![Say::Accept(3, Some(1))]));
    seconds(20).await;
    let (counts, seen) = run.end(1).await;
    assert_eq!(
        (bodies(&seen), counts.restored, counts.settled.delivered, counts.maybe_doubled),
        (vec!["a 2\n"], 1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_costs_nothing_while_memory_lasts() {
    let folder = TempDir::new().unwrap();
    let script = (0..8).map(|_| Say::Status(503)).collect();
    let run = run_in(&folder, of(Ordering::PerSeries, script));
    // The folder goes away under it.
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::write(folder.path(), "a file in its place").unwrap();
    for value in 1..=20 {
        run.queue.push(&scrape(&[f64::from(value); 3]));
        seconds(2).await;
    }
    seconds(60).await;
    let (counts, _) = run.end(10).await;
    assert_eq!(counts.settled.delivered, 60);
    std::fs::remove_file(folder.path()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_batch_that_is_too_large_are_all_on_disk_before_what_comes_later() {
    for ordering in [Ordering::Free, Ordering::PerSeries] {
        let folder = TempDir::new().unwrap();
        let run = run_with(&folder, of(ordering, failures()), 8, 1);
        run.queue.push(&scrape(&[1.0; 6]));
        seconds(30).await;
        run.queue.push(&scrape(&[2.0; 2]));
        seconds(10).await;
        let left = after_a_crash(&folder);
        assert_eq!(run.leave(1).await.waiting, 8);
        for folder in [left, folder] {
            let run = run_in(&folder, of(ordering, vec![]));
            assert_eq!(run.ledger.snapshot().restored, 8, "{ordering:?}");
            seconds(60).await;
            let (_, seen) = run.end(1).await;
            let values: Vec<&str> = seen.iter().map(|(_, body, _)| &body[2..3]).collect();
            assert!(ordering == Ordering::Free || values.is_sorted(), "{values:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_now_is_tried_again_after_a_while_and_not_without_end() {
    let folder = TempDir::new().unwrap();
    let run = run_in(&folder, of(Ordering::Free, failures()));
    run.queue.push(&scrape(&[1.0]));
    seconds(5).await;
    assert_eq!(run.leave(1).await.waiting, 1);
    let run = run_in(&folder, of(Ordering::Free, vec![]));
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|name| name == "segment");
    let segment = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).find(is_segment).unwrap();
    let aside = folder.path().join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    // Not opened: it may lead anywhere.
    std::os::unix::fs::symlink(&aside, &segment).unwrap();
    // The clock stands while somebody works.
    seconds(7).await;
    run.queue.push(&scrape(&[2.0]));
    seconds(7).await;
    assert_eq!(bodies(&run.output.seen.lock().unwrap()), ["a 2\n"], "it holds up nothing else");
    std::fs::rename(&aside, &segment).unwrap();
    seconds(10).await;
    let (counts, seen) = run.end(1).await;
    assert_eq!((bodies(&seen), counts.settled.delivered), (vec!["a 2\n", "a 1\n"], 2));
}

#[tokio::test(start_paused = true)]
async fn with_another_number_of_lanes_what_is_on_disk_goes_before_what_comes() {
    let folder = TempDir::new().unwrap();
    let run = run_in(&folder, of(Ordering::PerSeries, failures()));
    run.queue.push(&scrape(&[1.0]));
    seconds(5).await;
    assert_eq!(run.leave(1).await.waiting, 1);
    let run = run_with(&folder, of(Ordering::PerSeries, vec![Say::StatusAfter(429, "20")]), 1000, 2);
    run.queue.push(&scrape(&[2.0]));
    seconds(60).await;
    let (counts, seen) = run.end(1).await;
    assert_eq!((bodies(&seen), counts.waiting), (vec!["a 1\n", "a 1\n", "a 2\n"], 0));
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_record_keep_their_order_over_several_ends() {
    let folder = TempDir::new().unwrap();
    let run = |script: Vec<Say>| run_with(&folder, of(Ordering::PerSeries, script), 14, 1);
    let first = run(failures());
    first.queue.push(&scrape(&[0.0; 3]));
    seconds(5).await;
    // Two scrapes in one record.
    for value in [1.0, 2.0] {
        first.queue.push(&scrape(&[value; 3]));
    }
    seconds(5).await;
    assert_eq!(first.leave(5).await.waiting, 9);
    // Each run delivers one sample of the first of them, and ends.
    for (before, left) in [(vec![Say::Status(200)], 3), (vec![], 2)] {
        let fates = [Fate::Delivered].into_iter().chain(vec![Fate::Retry; left - 1]).collect();
        let run = run(before.into_iter().chain([Say::Each(fates)]).chain(failures()).collect());
        seconds(10).await;
        assert_eq!(run.leave(5).await.settled.delivered % 3, 1);
    }
    let last = run(vec![]);
    seconds(10).await;
    let (counts, seen) = last.end(1).await;
    assert_eq!((bodies(&seen), counts.settled.delivered), (vec!["c 1\n", "a 2\nb 2\nc 2\n"], 4));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_for_a_record_becomes_several() {
    const LABEL_BYTES: usize = 1 << 20;
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "f", kind: MetricType::Gauge, ..Family::default() });
    let mut points = PointsBuilder::default();
    for number in 0..70_u8 {
        let long = char::from(b'0' + number).to_string().repeat(LABEL_BYTES);
        let series = chunk.push(family, "a", [("long", long.as_str())].into_iter());
        points.push_float(series, 1.0, None);
    }
    let large = Scrape {
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        origin: scrape(&[1.0]).origin.clone(),
        at_ms: 1,
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    };
    let (folder, ledger) = (TempDir::new().unwrap(), Ledger::new("test"));
    let limits = disk::Limits {
        bytes: 1 << 30,
        age: Duration::from_secs(3600),
        overflow: Overflow::DropOldest,
        is_synced: false,
    };
    let disk = Disk::open(folder.path(), limits, 1, &ledger).unwrap();
    let limits = QueueLimits { samples: 100, bytes: 1 << 30, age: limits.age, overflow: limits.overflow };
    let queue = Queue::new(ledger.clone(), limits, 1);
    let backlogs = Backlog::of(&queue, Ordering::PerSeries, Some(&disk));
    backlogs[0].stow(Batch::new(vec![Slice::whole(Arc::new(large))], ledger.offer(70), Instant::now())).await;
    assert_eq!((ledger.snapshot().waiting, disk.state().samples, disk.state().records), (70, 70, 2));
}
