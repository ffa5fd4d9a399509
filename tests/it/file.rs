//! The file output from outside: what stands in files, and what became of each sample.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use promferry::config::checked::{FileFormat, FileOutput};
use promferry::model::{
    ChunkBuilder, Family, Histogram, HistogramSpan, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape,
    SeriesSet,
};
use promferry::output::file;
use promferry::pipeline::{Counts, Ledger, Overflow, Queue, QueueLimits, SenderStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Level;

use crate::support::logs::Logs;

/// Three families: a counter of two series, a gauge, and a native histogram.
fn series() -> Arc<SeriesSet> {
    let mut builder = ChunkBuilder::default();
    let counter = Family { name: "requests_total", help: "All of\nthem.", kind: MetricType::Counter, unit: "" };
    let counter = builder.family(counter);
    let gauge = builder.family(Family { name: "temperature", kind: MetricType::Gauge, ..Family::default() });
    builder.push(counter, "requests_total", [("code", "200")].into_iter());
    builder.push(gauge, "temperature", std::iter::empty());
    builder.push(counter, "requests_total", [("code", "5\"0\n0")].into_iter());
    let histogram = Family { name: "delay_seconds", help: "Delay.", kind: MetricType::Histogram, unit: "" };
    let histogram = builder.family(histogram);
    builder.push(histogram, "delay_seconds", [("code", "200")].into_iter());
    Arc::new(SeriesSet::new(vec![builder.finish()]))
}

/// `requests_total{code="200"} value`, and other samples of these series.
fn scrape(series: &Arc<SeriesSet>, value: f64) -> Arc<Scrape> {
    let histogram = Histogram {
        schema: 3,
        count: 7.0,
        sum: 0.25,
        positive_spans: [HistogramSpan { offset: -2, length: 2 }].into(),
        positive_counts: [3.0, 4.0].into(),
        ..Histogram::stale()
    };
    let mut points = PointsBuilder::default();
    points.push_float(0, value, None);
    points.push_float(1, -value, Some(7));
    points.push_float(2, f64::NAN, None);
    points.push_float(1, STALE_NAN, None);
    points.push_histogram(3, histogram, None);
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
        at_ms: 1000,
        series: series.clone(),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

struct Output {
    queue: Arc<Queue>,
    status: Arc<Mutex<SenderStatus>>,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Output {
    fn start(config: FileOutput) -> Self {
        let limits = QueueLimits {
            samples: 1_000_000,
            bytes: 64 << 20,
            age: Duration::from_secs(3600),
            overflow: Overflow::DropOldest,
        };
        let queue = Queue::new(Ledger::new("disk"), limits, 1);
        let status = Arc::<Mutex<SenderStatus>>::default();
        let (deadline, watched) = watch::channel(None);
        let (taken, shared) = (queue.clone(), status.clone());
        let task = tokio::spawn(async move { file::run(&config, "disk", taken, shared, watched).await });
        Self { queue, status, deadline, task }
    }

    fn counts(&self) -> Counts {
        let counts = self.queue.ledger().snapshot();
        assert_eq!(counts.imbalance(), 0);
        counts
    }

    async fn settled(&self) {
        until(|| (self.counts().waiting == 0).then_some(())).await;
    }

    async fn failing(&self) -> String {
        until(|| self.status.lock().unwrap().failing.clone()).await
    }

    async fn end(self) -> Counts {
        self.deadline.send_replace(Some(Instant::now() + Duration::from_secs(30)));
        self.queue.close();
        self.task.await.unwrap();
        let counts = self.queue.ledger().snapshot();
        assert_eq!((counts.imbalance(), counts.waiting), (0, 0));
        counts
    }
}

/// Waits for a condition, for ten minutes at most (of the test's clock, which some tests let run ahead).
async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            match condition() {
                Some(met) => return met,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(600), poll).await.expect("the condition is met in time")
}

fn to(path: &Path, format: FileFormat) -> FileOutput {
    FileOutput { path: Some(path.to_owned()), format, rotate_bytes: 0, rotate_keep: 0 }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

const CANNOT_BE_WRITTEN: &str = "the file cannot be written; samples wait in the queue, and it is tried again";

const JSON: &str = "{\"name\":\"requests_total\",\"labels\":{\"code\":\"200\"},\"value\":\"1.5\",\"timestamp_ms\":1000}\n\
    {\"name\":\"temperature\",\"labels\":{},\"value\":\"-1.5\",\"timestamp_ms\":7}\n\
    {\"name\":\"requests_total\",\"labels\":{\"code\":\"5\\\"0\\n0\"},\"value\":\"NaN\",\"timestamp_ms\":1000}\n\
    {\"name\":\"delay_seconds\",\"labels\":{\"code\":\"200\"},\"histogram\":{\"schema\":3,\"count\":\"7\",\"sum\":\"0.25\",\
    \"zero_threshold\":\"0\",\"zero_count\":\"0\",\"positive_spans\":[{\"offset\":-2,\"length\":2}],\
    \"positive_counts\":[\"3\",\"4\"]},\"timestamp_ms\":1000}\n";

const TEXT: &str = "# HELP requests_total All of\\nthem.\n# TYPE requests_total counter\n\
    requests_total{code=\"200\"} 1.5 1000\n# TYPE temperature gauge\ntemperature -1.5 7\n\
    requests_total{code=\"5\\\"0\\n0\"} NaN 1000\n";

#[tokio::test]
async fn each_sample_is_a_line_and_what_has_no_form_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    // Only JSON has a form for native histograms.
    let [stale, histograms] = [("stale_marker", 2), ("unsupported_type", 2)];
    for (format, expected, delivered, skipped) in [
        (FileFormat::Json, JSON, 8, BTreeMap::from([stale])),
        (FileFormat::Text, TEXT, 6, BTreeMap::from([stale, histograms])),
    ] {
        let path = folder.path().join(expected.len().to_string());
        let output = Output::start(to(&path, format));
        output.queue.push(&scrape(&series(), 1.5));
        output.queue.push(&scrape(&series(), 1.5));
        let status = output.status.clone();
        let counts = output.end().await;
        assert_eq!(fs::read_to_string(&path).unwrap(), expected.repeat(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "readable by owner and group only");
        assert_eq!((counts.settled.delivered, counts.settled.skipped), (delivered, skipped));
        assert_eq!(status.lock().unwrap().bytes, 2 * expected.len() as u64);
    }
}

/// What a line has in common with the one before is copied from there: scrapes of one series set follow one another, and one
/// of another set comes between them.
#[tokio::test]
async fn lines_of_several_scrapes_in_one_batch_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (series(), series());
    for (format, expected) in [(FileFormat::Json, JSON), (FileFormat::Text, TEXT)] {
        let path = folder.path().join(expected.len().to_string());
        let output = Output::start(to(&path, format));
        let values = ["1.5", "2.25", "3.75", "4.5", "5.5"];
        for (value, series) in values.iter().zip([&one, &one, &other, &one, &one]) {
            output.queue.push(&scrape(series, value.parse().unwrap()));
        }
        let status = output.status.clone();
        output.end().await;
        assert_eq!(status.lock().unwrap().requests, 1, "it was one batch");
        assert_eq!(fs::read_to_string(&path).unwrap(), values.map(|value| expected.replace("1.5", value)).concat());
    }
}

#[tokio::test]
async fn a_file_of_its_size_is_rotated_between_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.json");
    let config = FileOutput { rotate_bytes: JSON.len() as u64 - 1, rotate_keep: 2, ..to(&path, FileFormat::Json) };
    let output = Output::start(config);
    for round in 0..5 {
        output.queue.push(&scrape(&series(), f64::from(round) + 0.5));
        output.settled().await;
    }
    assert_eq!(output.end().await.settled.delivered, 20);
    for (file, value) in [(path.clone(), "4.5"), (numbered(&path, 1), "3.5"), (numbered(&path, 2), "2.5")] {
        assert_eq!(fs::read_to_string(&file).unwrap(), JSON.replace("1.5", value));
    }
    assert!(!numbered(&path, 3).exists());
}

#[tokio::test]
async fn a_scrape_larger_than_a_file_goes_to_several_and_heads_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.prom");
    let config = FileOutput { rotate_bytes: 1, rotate_keep: 9, ..to(&path, FileFormat::Text) };
    let output = Output::start(config);
    output.queue.push(&scrape(&series(), 1.5));
    assert_eq!(output.end().await.settled.delivered, 3);
    let head = "# HELP requests_total All of\\nthem.\n# TYPE requests_total counter\n";
    assert_eq!(
        fs::read_to_string(numbered(&path, 2)).unwrap(),
        format!("{head}requests_total{{code=\"200\"}} 1.5 1000\n")
    );
    assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "# TYPE temperature gauge\ntemperature -1.5 7\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{head}requests_total{{code=\"5\\\"0\\n0\"}} NaN 1000\n"));
}

#[tokio::test(start_paused = true)]
async fn samples_wait_for_a_missing_folder_and_one_line_says_so() {
    let logs = Logs::listen();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/samples.json");
    let output = Output::start(to(&path, FileFormat::Json));
    output.queue.push(&scrape(&series(), 1.5));
    let failing = output.failing().await;
    assert_eq!(failing, format!("cannot open {}: No such file or directory (os error 2)", path.display()));
    while output.status.lock().unwrap().failures < 5 {
        output.queue.push(&scrape(&series(), 2.5));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fs::create_dir(folder.path().join("later")).unwrap();
    output.settled().await;
    assert_eq!(output.status.lock().unwrap().failing, None);
    let counts = output.end().await;
    assert!(counts.settled.dropped.is_empty());
    let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
    assert_eq!(lines, counts.settled.delivered);
    assert_eq!(logs.at(Level::WARN), [(CANNOT_BE_WRITTEN.to_owned(), failing)]);
    assert_eq!(logs.at(Level::INFO), [("the file can be written again".to_owned(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_drops_what_still_waits_at_the_deadline() {
    let logs = Logs::listen();
    let output = Output::start(to(Path::new("/dev/full"), FileFormat::Json));
    output.queue.push(&scrape(&series(), 1.5));
    output.queue.push(&scrape(&series(), 2.5));
    let failing = output.failing().await;
    assert_eq!(failing, "cannot write to /dev/full: No space left on device (os error 28)");
    let begun = Instant::now();
    let counts = output.end().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(30), "it ends at the deadline");
    assert_eq!(counts.settled.dropped, [("shutdown", 10)].into());
    assert_eq!(logs.at(Level::WARN), [(CANNOT_BE_WRITTEN.to_owned(), failing)]);
}

#[tokio::test]
async fn a_write_that_blocks_holds_neither_the_program_nor_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let output = Output::start(to(&path, FileFormat::Json));
    output.queue.push(&scrape(&series(), 1.5));
    output.deadline.send_replace(Some(Instant::now() + Duration::from_millis(50)));
    output.queue.close();
    output.task.await.unwrap();
    let counts = output.queue.ledger().snapshot();
    assert_eq!((counts.settled.dropped["shutdown"], counts.imbalance()), (5, 0));
    // Lets the thread that waits for a reader go, so that the runtime can end.
    drop(fs::File::open(&path).unwrap());
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("samples.json"), folder.path().join("moved"));
    let output = Output::start(to(&path, FileFormat::Json));
    output.queue.push(&scrape(&series(), 1.5));
    output.settled().await;
    fs::rename(&path, &moved).unwrap();
    output.queue.push(&scrape(&series(), 1.5));
    output.end().await;
    assert_eq!(fs::read_to_string(&moved).unwrap(), JSON);
    assert_eq!(fs::read_to_string(&path).unwrap(), JSON);
}

#[tokio::test]
async fn half_a_line_of_an_earlier_process_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.json");
    fs::write(&path, "{\"name\":\"cut off").unwrap();
    let output = Output::start(to(&path, FileFormat::Json));
    output.queue.push(&scrape(&series(), 1.5));
    output.end().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{{\"name\":\"cut off\n{JSON}"));
}

#[tokio::test]
async fn what_waits_at_the_shutdown_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.json");
    let output = Output::start(to(&path, FileFormat::Json));
    for _ in 0..10_000 {
        output.queue.push(&scrape(&series(), 1.5));
    }
    let counts = output.end().await;
    assert_eq!((counts.settled.delivered, counts.settled.dropped.len()), (40_000, 0));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waited_too_long_is_let_go_and_the_next_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/samples.json");
    let output = Output::start(to(&path, FileFormat::Json));
    output.queue.push(&scrape(&series(), 8.5));
    output.failing().await;
    tokio::time::sleep(Duration::from_secs(3500)).await;
    output.queue.push(&scrape(&series(), 1.5));
    until(|| output.counts().settled.dropped.get("too_old").copied()).await;
    fs::create_dir(folder.path().join("later")).unwrap();
    let counts = output.end().await;
    assert_eq!((counts.settled.dropped["too_old"], counts.settled.delivered), (5, 4));
    assert_eq!(fs::read_to_string(&path).unwrap(), JSON);
}
