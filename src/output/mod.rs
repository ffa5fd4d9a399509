//! Where samples go. An output is a file or a folder here; what they share of HTTP is in `http`, of JSON in `json`.
//!
//! Pushing outputs implement [`pipeline::Output`](crate::pipeline::Output) and are driven by the one sender loop; `expose` and
//! `file` are no senders, and register the same way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::checked::{self, FileOutput, OnFull, OutputConfig, OutputKind};
use crate::net::credentials::Credentials;
use crate::net::server::{Handler, Limits, Server};
use expose::Expose;

use crate::pipeline::disk::{Disk, DiskState};
use crate::pipeline::recent::Step;
use crate::pipeline::{
    self, AnyOutput, Counts, Intake, Ledger, Output, Overflow, Projection, Queue, QueueLimits, SenderOptions,
    SenderStatus, Take,
};

mod cumulative;
mod disk;
pub mod dogstatsd;
pub mod elasticsearch;
mod expected;
pub mod expose;
pub mod file;
pub mod http;
mod json;
pub mod loggregator;
pub mod otlp;
mod protobuf;
pub mod remote_write;
pub mod signalfx;
pub mod splunk_hec;

/// An output at work.
pub struct Running {
    /// What it was made of; a reload leaves it alone while this is the same.
    pub config: Arc<OutputConfig>,
    /// Where the fan-out hands it scrapes.
    pub intake: Arc<dyn Intake>,
    /// Its account.
    pub ledger: Arc<Ledger>,
    /// Where it listens, for one that does.
    pub listens_on: Option<SocketAddr>,
    queue: Option<Arc<Queue>>,
    expose: Option<Arc<Expose>>,
    disk: OpenDisk,
    status: Arc<Mutex<SenderStatus>>,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
    /// Goes with the value: see [`Predecessor`].
    presence: watch::Sender<()>,
}

/// An output that is about to go, as the one that takes its place sees it.
#[derive(Clone)]
pub struct Predecessor(watch::Receiver<()>);

impl Predecessor {
    /// Whether it is still there.
    pub fn is_there(&self) -> bool {
        self.0.has_changed().is_ok()
    }

    /// Waits until it has delivered what it had, or has given up.
    async fn gone(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// The disk queue of an output, once it is open.
type OpenDisk = Arc<OnceLock<Arc<Disk>>>;

/// How an output is doing.
#[derive(Clone, Debug)]
pub struct State {
    /// What became of its samples.
    pub counts: Counts,
    /// What became of them lately, oldest first.
    pub recent: Vec<Step>,
    /// How long the oldest that waits has waited; see [`Ledger::waited`].
    pub waited: Option<Duration>,
    /// Where it listens, for one that does.
    pub listens_on: Option<SocketAddr>,
    /// Samples and bytes in its queue, and its limits; `None` for one without.
    pub queued: Option<(u64, usize, QueueLimits)>,
    /// Its disk queue; `None` for one without, or while it is not open.
    pub disk: Option<DiskState>,
    /// Its requests, for one that sends.
    pub status: SenderStatus,
    /// What the aggregate endpoint has served; `None` for other outputs.
    pub served: Option<expose::Served>,
}

impl Running {
    /// Starts an output. Only a listener can fail to: one sentence says why.
    /// `is_ready` is what a listener's `/-/ready` tells; a predecessor may take `shutdown_timeout` to leave its disk queue.
    /// Where samples of one series must arrive in order, nothing is sent before `predecessor` is gone.
    pub async fn start(
        config: Arc<OutputConfig>,
        credentials: &Arc<Credentials>,
        is_ready: watch::Receiver<bool>,
        shutdown_timeout: Duration,
        predecessor: Option<Predecessor>,
    ) -> Result<Self, String> {
        let ledger = Ledger::new(&config.name);
        let status = Arc::<Mutex<SenderStatus>>::default();
        let (deadline, watched) = watch::channel(None);
        let start = Start {
            config: &config,
            ledger: &ledger,
            status: &status,
            deadline: watched,
            credentials,
            is_ready,
            shutdown_timeout,
            predecessor: predecessor.filter(|_| !config.kind.takes_any_order()),
        };
        let Started { intake, queue, expose, disk, listens_on, task } = match &config.kind {
            OutputKind::Elasticsearch(elastic) => {
                start.sender(elasticsearch::Elasticsearch::new(elastic, credentials), ELASTICSEARCH_REQUESTS)
            }
            OutputKind::SplunkHec(splunk) => {
                start.sender(splunk_hec::SplunkHec::new(splunk, credentials), SPLUNK_REQUESTS)
            }
            OutputKind::RemoteWrite(write) => {
                start.sender(remote_write::RemoteWrite::new(write, credentials), write.lanes)
            }
            OutputKind::Loggregator(agent) => {
                start.sender(loggregator::Loggregator::new(agent, credentials), LOGGREGATOR_LANES)
            }
            OutputKind::Otlp(receiver) => start.sender(otlp::Otlp::new(receiver, credentials), OTLP_LANES),
            OutputKind::Signalfx(ingest) => start.sender(signalfx::Signalfx::new(ingest, credentials), SIGNALFX_LANES),
            OutputKind::Dogstatsd(agent) => start.sender(dogstatsd::Dogstatsd::new(agent), DOGSTATSD_LANES),
            OutputKind::Expose(expose) => start.expose(expose).await?,
            OutputKind::File(file) => start.file(file),
        };
        let intake = match config.write_relabel.is_empty() {
            true => intake,
            false => {
                let rules = config.write_relabel.clone();
                Projection::new(Box::new(move |labels| rules.apply(labels)), ledger.clone(), intake)
            }
        };
        let presence = watch::Sender::new(());
        Ok(Self { intake, ledger, listens_on, queue, expose, disk, status, deadline, task, presence, config })
    }

    /// What the one that takes its place waits for.
    pub fn predecessor(&self) -> Predecessor {
        Predecessor(self.presence.subscribe())
    }

    /// Its queue, for one that has one.
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref()
    }

    /// How it is doing, read as one snapshot of its ledger.
    pub fn state(&self) -> State {
        State {
            counts: self.ledger.snapshot(),
            recent: self.ledger.recent(),
            waited: self.ledger.waited(),
            listens_on: self.listens_on,
            queued: self.queue.as_ref().map(|queue| {
                let (samples, bytes) = queue.size();
                (samples, bytes, *queue.limits())
            }),
            disk: self.disk.get().map(|disk| disk.state()),
            served: self.expose.as_ref().map(|expose| expose.served()),
            status: self.status.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Takes nothing more in, delivers what waits, and ends by `deadline`; what still waits then is dropped and counted. Where a
    /// disk does not answer, it ends a second later, and what is on its way there stays waiting.
    pub async fn shutdown(mut self, deadline: Instant) -> (Arc<OutputConfig>, Counts) {
        self.deadline.send_replace(Some(deadline));
        if let Some(queue) = &self.queue {
            queue.close();
        }
        match tokio::time::timeout_at(deadline + DISK_TIME_MAX, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(output = self.config.name, %error, "the output ended by a bug of ours"),
            Err(_) => {
                tracing::error!(
                    output = self.config.name,
                    "the output does not end, and is left behind: its disk does not answer"
                );
                self.ledger.end();
                self.task.abort();
            }
        }
        if let Some(queue) = &self.queue {
            queue.drop_all(pipeline::reason::SHUTDOWN);
        }
        (self.config.clone(), self.ledger.snapshot())
    }
}

/// After the deadline, a disk has so long to answer.
const DISK_TIME_MAX: Duration = Duration::from_secs(1);

/// Looks whether an output could deliver now. Splunk is sent an event of its own, `promferry.check`; others get nothing.
///
/// # Errors
/// One sentence.
pub async fn try_once(config: &OutputConfig, credentials: &Credentials) -> Result<(), String> {
    match &config.kind {
        OutputKind::Elasticsearch(elastic) => elasticsearch::Elasticsearch::new(elastic, credentials).check().await,
        OutputKind::SplunkHec(splunk) => splunk_hec::check(splunk, credentials).await,
        OutputKind::RemoteWrite(write) => remote_write::RemoteWrite::new(write, credentials).check().await,
        OutputKind::Loggregator(agent) => loggregator::Loggregator::new(agent, credentials).check().await,
        OutputKind::Otlp(receiver) => otlp::Otlp::new(receiver, credentials).check().await,
        OutputKind::Signalfx(ingest) => signalfx::Signalfx::new(ingest, credentials).check().await,
        OutputKind::Dogstatsd(agent) => dogstatsd::Dogstatsd::new(agent).check().await,
        OutputKind::Expose(expose) => Server::bind(expose.listen).await.map(|_| ()),
        OutputKind::File(_) => Ok(()),
    }
}

/// Requests in flight to one Elasticsearch: one that is resent does not hold fresh samples back.
const ELASTICSEARCH_REQUESTS: usize = 2;

/// Requests in flight to one collector, for the same reason.
const SPLUNK_REQUESTS: usize = 2;

/// Lanes to an agent. It is on this machine, and answers before there is a next batch: one call at a time is enough.
const LOGGREGATOR_LANES: usize = 1;

/// Lanes to a receiver of OTLP: a round trip is waited for after each request of a lane.
const OTLP_LANES: usize = 4;

/// Lanes to Splunk's ingest, which is far away: a request takes a tenth of a second.
const SIGNALFX_LANES: usize = 4;

/// Lanes to an agent that answers nothing: there is one socket.
const DOGSTATSD_LANES: usize = 1;

/// What differs from output to output.
struct Started {
    intake: Arc<dyn Intake>,
    queue: Option<Arc<Queue>>,
    expose: Option<Arc<Expose>>,
    disk: OpenDisk,
    listens_on: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Started {
    fn queued(queue: Arc<Queue>, task: JoinHandle<()>) -> Self {
        Self {
            intake: queue.clone(),
            queue: Some(queue),
            expose: None,
            disk: OpenDisk::default(),
            listens_on: None,
            task,
        }
    }
}

struct Start<'a> {
    config: &'a Arc<OutputConfig>,
    ledger: &'a Arc<Ledger>,
    status: &'a Arc<Mutex<SenderStatus>>,
    deadline: watch::Receiver<Option<Instant>>,
    credentials: &'a Arc<Credentials>,
    is_ready: watch::Receiver<bool>,
    shutdown_timeout: Duration,
    predecessor: Option<Predecessor>,
}

impl Start<'_> {
    fn queue(&self, lanes: usize) -> Arc<Queue> {
        let queue = &self.config.queue;
        let limits = QueueLimits {
            samples: queue.max_samples as u64,
            bytes: queue.max_bytes,
            age: queue.max_age,
            overflow: match queue.on_full {
                OnFull::DropOldest => Overflow::DropOldest,
                OnFull::DropNewest => Overflow::DropNewest,
            },
        };
        Queue::new(self.ledger.clone(), limits, lanes)
    }

    fn sender(self, output: impl Output, workers: usize) -> Started {
        self.any_sender(AnyOutput::new(output), workers)
    }

    fn any_sender(self, output: AnyOutput, workers: usize) -> Started {
        let batch = &self.config.batch;
        let lanes = match output.ordering() {
            pipeline::Ordering::PerSeries => workers,
            pipeline::Ordering::Free => 1,
        };
        let queue = self.queue(lanes);
        let options = SenderOptions {
            name: self.config.name.clone(),
            take: Take { samples: batch.max_samples as u64, age: batch.flush_interval },
            flush_jitter: batch.flush_jitter,
            body_bytes_max: batch.max_bytes,
            workers,
            is_fresh_first: self.config.queue.order == checked::Order::FreshFirst,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        };
        let open_disk = OpenDisk::default();
        let run = {
            let (config, queue, opened) = (self.config.clone(), queue.clone(), open_disk.clone());
            let (status, deadline) = (self.status.clone(), self.deadline.clone());
            let (shutdown_timeout, predecessor) = (self.shutdown_timeout, self.predecessor);
            let mut at_the_end = deadline.clone();
            async move {
                if let Some(predecessor) = predecessor {
                    tokio::select! {
                        () = predecessor.gone() => {}
                        () = pipeline::past(&mut at_the_end) => {}
                    }
                }
                // Scrapes are taken in meanwhile: a predecessor may still have the folder.
                let disk = match &config.queue.disk {
                    Some(disk) => disk::open(&config.name, disk, &queue, shutdown_timeout, &deadline).await,
                    None => None,
                };
                if let Some(disk) = &disk {
                    opened.get_or_init(|| disk.clone());
                }
                pipeline::run_sender(Arc::new(output), queue, disk, options, status, deadline).await;
            }
        };
        Started { disk: open_disk, ..Started::queued(queue, tokio::spawn(run)) }
    }

    fn file(&self, file: &FileOutput) -> Started {
        let queue = self.queue(1);
        let (config, name) = (file.clone(), self.config.name.clone());
        let (taken, status, deadline) = (queue.clone(), self.status.clone(), self.deadline.clone());
        let run = async move { file::run(&config, &name, taken, status, deadline).await };
        Started::queued(queue, tokio::spawn(run))
    }

    async fn expose(&self, config: &checked::Expose) -> Result<Started, String> {
        let name = &self.config.name;
        let listener =
            Server::bind(config.listen).await.map_err(|error| format!("output {name}: expose.listen: {error}"))?;
        let tls = config.tls.as_ref().map(|tls| self.credentials.listener(tls));
        let expose = Expose::new(name, config, self.ledger.clone(), self.status.clone(), self.is_ready.clone());
        let answering = expose.clone();
        let handler: Handler = Arc::new(move |request| {
            let expose = answering.clone();
            Box::pin(async move { expose.answer(&request.method, &request.path, &request.headers).await })
        });
        let server = Server::start(listener, tls, Limits::default(), handler)
            .map_err(|error| format!("output {name}: {error}"))?;
        let listens_on = server.listens_on();
        let mut deadline = self.deadline.clone();
        let task = tokio::spawn(async move {
            // Until the shutdown begins, or whoever could begin it is gone.
            let at = deadline.wait_for(Option::is_some).await.ok().and_then(|at| *at);
            server.stop(at.unwrap_or_else(Instant::now).duration_since(Instant::now())).await;
        });
        Ok(Started {
            intake: expose.clone(),
            queue: None,
            expose: Some(expose),
            disk: OpenDisk::default(),
            listens_on: Some(listens_on),
            task,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::{ChunkBuilder, Family, Labels, Origin, PointsBuilder, Scrape, SeriesSet};

    fn scrape() -> Arc<Scrape> {
        let mut chunk = ChunkBuilder::default();
        let family = chunk.family(Family { name: "f", ..Family::default() });
        let mut points = PointsBuilder::default();
        points.push_float(chunk.push(family, "f", std::iter::empty()), 1.0, None);
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

    #[tokio::test]
    async fn a_disk_that_does_not_answer_does_not_hold_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("promferry.yml");
        let keys = "elasticsearch: {urls: [\"http://127.0.0.1:1\"]}\n    queue: {disk: {path: queue}}";
        std::fs::write(&file, format!("outputs:\n  - name: out\n    {keys}\n")).unwrap();
        let config = config::load(&config::Source::File(file), &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let credentials = Arc::new(Credentials::new(Duration::from_secs(1)));
        let (_ready, is_ready) = watch::channel(true);
        let running = Running::start(config.outputs[0].clone(), &credentials, is_ready, Duration::from_secs(8), None)
            .await
            .unwrap();
        let disk = loop {
            match running.disk.get() {
                Some(disk) => break disk.clone(),
                None => tokio::task::yield_now().await,
            }
        };
        running.intake.offer(&scrape());
        let stalled = disk.stall();
        let (_, counts) = running.shutdown(Instant::now()).await;
        drop(stalled);
        assert_eq!((counts.offered, counts.imbalance()), (1, 0), "{counts:?}");
    }
}
