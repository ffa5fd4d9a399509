//! Samples as lines in a file, or on stdout.
//!
//! It has a queue and a ledger like any other output, and one task that writes in order. A write may block (a full pipe, a slow
//! disk), so it runs on a thread for such work, and at the shutdown's deadline nobody waits for it.
//!
//! Promises
//! - A sample is delivered when the system has taken its line. Nothing is synced to the disk.
//! - Lines are whole: what a failed write left is cut off again, or closed with a line break where it cannot be.
//! - When the file cannot be written, one warning says why; samples wait in the queue under its limits, and the file is opened
//!   again until it can. A file that another program moved away is made anew.
//!
//! The JSON form has a line a sample, as `promferry parse --json`. The text form is a series of expositions, one a scrape, each
//! family with HELP and TYPE once a scrape. Stale markers have no form here and are skipped, and in the text form native
//! histograms.

mod encode;
mod sink;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::checked::FileOutput;
use crate::model::wall_ms;
use crate::pipeline::{self, Batch, Pick, Queue, SenderStatus, Settlement, Slice, Take, reason};
use crate::telemetry::Edge;
use encode::{Encoder, Piece};
use sink::{Sink, SinkError};

/// Bytes that are written at a time, and that are in memory.
const PIECE_BYTES: u64 = 256 << 10;

/// Samples that are taken from the queue at a time.
const BATCH_SAMPLES: u64 = 10_000;

/// How long a sample may wait for others to be written with it: waking a thread for each scrape costs more than its lines.
const GATHER_TIME: Duration = Duration::from_secs(1);

/// The first wait after a failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// No wait is longer.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Writes what comes out of the queue (its first lane) until it is closed and drained, or the deadline comes.
///
/// `deadline` holds `None` until the shutdown begins; what still waits when it comes is dropped and counted.
pub async fn run(
    config: &FileOutput,
    name: &str,
    queue: Arc<Queue>,
    status: Arc<Mutex<SenderStatus>>,
    mut deadline: watch::Receiver<Option<Instant>>,
) {
    let mut output = Output {
        name,
        config,
        queue: &queue,
        status,
        trouble: Edge::default(),
        worker: Some(Box::new(Worker::new(config))),
    };
    let expired = async {
        pipeline::past(&mut deadline).await;
        // What the other branch holds is let go next: it counts as dropped by the shutdown.
        queue.ledger().end();
    };
    tokio::select! {
        () = output.write_all() => {}
        () = expired => {}
    }
    queue.drop_all(reason::SHUTDOWN);
}

struct Output<'o> {
    name: &'o str,
    config: &'o FileOutput,
    queue: &'o Queue,
    status: Arc<Mutex<SenderStatus>>,
    trouble: Edge,
    /// `None` only while a thread has it.
    worker: Option<Box<Worker>>,
}

impl Output<'_> {
    async fn write_all(&mut self) {
        let take = Take { samples: BATCH_SAMPLES, age: GATHER_TIME };
        while let Some(batch) = self.queue.next(0, take, Pick::Oldest).await {
            self.write_batch(batch).await;
        }
    }

    async fn write_batch(&mut self, mut batch: Batch) {
        let slices: Arc<[Slice]> = std::mem::take(&mut batch.slices).into();
        let mut step = Step::Begin;
        let mut wait = RETRY_FIRST;
        loop {
            let worker = self.worker.take().unwrap_or_else(|| Box::new(Worker::new(self.config)));
            let for_thread = slices.clone();
            let Ok((worker, result)) = tokio::task::spawn_blocking(move || worker.step(step, &for_thread)).await else {
                tracing::error!(
                    output = self.name,
                    "writing failed by a bug of ours; these samples are dropped as abandoned"
                );
                return;
            };
            self.worker = Some(worker);
            match result {
                Ok(None) => return,
                Ok(Some(written)) => {
                    self.delivered(&mut batch, written);
                    step = Step::Next;
                    wait = RETRY_FIRST;
                }
                Err(error) => {
                    self.failed(&error);
                    if batch.oldest.elapsed() >= self.queue.limits().age {
                        return batch.drop_all(reason::TOO_OLD);
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                    step = Step::Again;
                }
            }
        }
    }

    fn delivered(&mut self, batch: &mut Batch, written: Written) {
        let Written { piece, bytes } = written;
        batch.settle(&Settlement { delivered: piece.samples, skipped: piece.skipped, ..Settlement::default() });
        if let Some(ended) = self.trouble.fine() {
            tracing::info!(output = self.name, seconds = ended.lasted.as_secs_f64(), "the file can be written again");
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.failing = None;
        if bytes > 0 {
            status.requests += 1;
            status.bytes += bytes;
            status.delivered_ms = Some(wall_ms());
        }
    }

    fn failed(&mut self, error: &SinkError) {
        let message = error.to_string();
        if self.trouble.is_news(&message) {
            tracing::warn!(
                output = self.name,
                error = message,
                "the file cannot be written; samples wait in the queue, and it is tried again"
            );
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.failures += 1;
        status.failing = Some(message);
    }
}

/// What a thread is to do with a batch.
#[derive(Clone, Copy)]
enum Step {
    /// Write its first piece.
    Begin,
    /// Write the next one.
    Next,
    /// Write the last one again: it failed.
    Again,
}

/// A piece that the system has taken.
struct Written {
    piece: Piece,
    bytes: u64,
}

/// What is needed to write, handed to a thread and back.
struct Worker {
    sink: Sink,
    encoder: Encoder,
    /// The piece in hand, as it will be sent again when it fails.
    text: Vec<u8>,
    piece: Option<Piece>,
}

impl Worker {
    fn new(config: &FileOutput) -> Self {
        Self {
            sink: Sink::new(config.path.clone(), config.rotate_bytes, config.rotate_keep),
            encoder: Encoder::new(config.format),
            text: Vec::new(),
            piece: None,
        }
    }

    /// Writes one piece of a batch; `None` when there is none left. May block.
    fn step(mut self: Box<Self>, step: Step, slices: &[Slice]) -> (Box<Self>, Result<Option<Written>, SinkError>) {
        let result = self.write(step, slices);
        (self, result)
    }

    fn write(&mut self, step: Step, slices: &[Slice]) -> Result<Option<Written>, SinkError> {
        if matches!(step, Step::Begin) {
            self.encoder.begin();
            // What a batch left that was given up.
            self.piece = None;
        }
        if self.piece.is_none() {
            let mut piece = Piece::default();
            let is_line_left = self.encoder.advance(slices, &mut piece.skipped).is_some();
            if !is_line_left {
                return Ok((!piece.skipped.is_empty()).then_some(Written { piece, bytes: 0 }));
            }
            self.piece = Some(piece);
            self.text.clear();
        }
        // Only when there is something to write: a file is not rotated for nothing.
        let (room, is_new_file) = self.sink.prepare()?;
        if let Some(piece) = self.piece.as_mut().filter(|_| self.text.is_empty()) {
            if is_new_file {
                self.encoder.begin_file();
            }
            self.encoder.write(slices, &mut self.text, room.min(PIECE_BYTES) as usize, piece);
        }
        self.sink.write(&self.text)?;
        Ok(self.piece.take().map(|piece| Written { piece, bytes: self.text.len() as u64 }))
    }
}
