//! Starts and stops the loops: one task a target.
//!
//! Promises
//! - A target that did not change is not touched by a reload: its connection, table and ticks go on.
//! - A target that goes is stopped before one that comes is started, and ends with stale markers; at shutdown it ends
//!   without.
//! - One slow target delays no other, and scrapes of one target never overlap.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::run::Scraper;
use super::schedule::Schedule;
use super::status::{Health, Status, Totals, Watched};
use crate::model::{Scrape, wall_ms};
use crate::net::credentials::Credentials;
use crate::target::Target;

/// Where scrapes go. Must never wait.
pub type Emit = Arc<dyn Fn(Arc<Scrape>) + Send + Sync>;

/// Whether a scrape may begin now: not while memory is short. Must never wait.
pub type Admit = Arc<dyn Fn() -> bool + Send + Sync>;

/// The running loops, as pages and metrics see them.
#[derive(Default)]
pub struct Scrapes {
    watched: Mutex<Arc<[Arc<Watched>]>>,
    /// A first list of targets was there.
    has_targets: AtomicBool,
    totals: Arc<Mutex<Totals>>,
}

impl Scrapes {
    /// All targets that are being scraped, ordered by job and instance.
    pub fn all(&self) -> Arc<[Arc<Watched>]> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counters since the start.
    pub fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first round is done: discovery has looked, and each target that it found was tried once.
    pub fn is_first_round_done(&self) -> bool {
        self.has_targets.load(Ordering::Acquire)
            && self.all().iter().all(|watched| watched.status().health != Health::Unknown)
    }

    /// A target that is scraped on request: its scrapes are among those that are counted here.
    pub(super) fn watch(&self, target: &Arc<Target>) -> Arc<Watched> {
        Watched::new(target.clone(), Status::default(), self.totals.clone())
    }

    fn replace(&self, mut watched: Vec<Arc<Watched>>) {
        watched.sort_by(|a, b| {
            (a.target.job(), a.target.instance(), &a.target.origin.url).cmp(&(
                b.target.job(),
                b.target.instance(),
                &b.target.origin.url,
            ))
        });
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched.into();
        self.has_targets.store(true, Ordering::Release);
    }
}

/// What a loop is told.
#[derive(Clone)]
enum Order {
    Scrape(Arc<Watched>),
    /// The target is gone: end its series.
    End,
    /// The process ends.
    Stop,
}

struct Running {
    watched: Arc<Watched>,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// Starts and stops the loops.
pub struct Manager {
    emit: Emit,
    admit: Admit,
    credentials: Arc<Credentials>,
    machine: Arc<str>,
    scrapes: Arc<Scrapes>,
    /// By the target's key.
    running: HashMap<u64, Running>,
}

impl Manager {
    /// No loops yet. A scrape that `admit` refuses is left out and counted. `machine` is this host's name, a part of each target's offset.
    pub fn new(emit: Emit, admit: Admit, credentials: Arc<Credentials>, machine: &str) -> Self {
        Self { emit, admit, credentials, machine: machine.into(), scrapes: Arc::default(), running: HashMap::new() }
    }

    /// The loops, for pages and metrics.
    pub fn scrapes(&self) -> Arc<Scrapes> {
        self.scrapes.clone()
    }

    /// From now on these are the targets; their keys are distinct.
    pub async fn apply(&mut self, targets: &[Arc<Target>]) {
        let wanted: HashMap<u64, &Arc<Target>> = targets.iter().map(|target| (target.origin.key, target)).collect();
        let gone: Vec<u64> = self.running.keys().copied().filter(|key| !wanted.contains_key(key)).collect();
        let gone: Vec<Running> = gone.iter().filter_map(|key| self.running.remove(key)).collect();
        stop(gone, &Order::End).await;
        for (key, target) in wanted {
            match self.running.get_mut(&key) {
                Some(running) if running.watched.target == *target => {}
                Some(running) => {
                    running.watched = running.watched.retarget(target.clone());
                    running.order.send_replace(Order::Scrape(running.watched.clone()));
                }
                None => {
                    let started = self.start(target);
                    self.running.insert(key, started);
                }
            }
        }
        self.scrapes.replace(self.running.values().map(|running| running.watched.clone()).collect());
    }

    /// Ends all loops, without stale markers. A scrape in flight is given up.
    pub async fn shutdown(self) {
        stop(self.running.into_values().collect(), &Order::Stop).await;
    }

    fn start(&self, target: &Arc<Target>) -> Running {
        let watched = Watched::new(target.clone(), Status::default(), self.scrapes.totals.clone());
        let (order, orders) = watch::channel(Order::Scrape(watched.clone()));
        let run = Loop {
            orders,
            emit: self.emit.clone(),
            admit: self.admit.clone(),
            credentials: self.credentials.clone(),
            machine: self.machine.clone(),
        };
        Running { task: tokio::spawn(run.supervise(watched.clone())), watched, order }
    }
}

async fn stop(running: Vec<Running>, order: &Order) {
    for loop_ in &running {
        loop_.order.send_replace(order.clone());
    }
    for loop_ in running {
        // It is a supervisor: it ends with its loop, and does not fail.
        let _ = loop_.task.await;
    }
}

#[derive(Clone)]
struct Loop {
    orders: watch::Receiver<Order>,
    emit: Emit,
    admit: Admit,
    credentials: Arc<Credentials>,
    machine: Arc<str>,
}

impl Loop {
    /// Runs until it is told to end. A panic costs the target its table and one scrape, and nobody else anything.
    async fn supervise(self, watched: Arc<Watched>) {
        while let Err(error) = tokio::spawn(self.clone().run(watched.clone())).await {
            let url = &watched.target.origin.url;
            tracing::error!(url, %error, "scraping a target failed by a bug of ours; it starts anew");
        }
    }

    async fn run(mut self, mut current: Arc<Watched>) {
        let mut schedule = self.schedule(&current.target);
        let mut scraper = Scraper::new(current.clone(), self.client(&current.target));
        loop {
            let tick = schedule.next(wall_ms());
            let is_due = tokio::select! {
                () = tokio::time::sleep(tick.wait) => true,
                _ = self.orders.wait_for(|order| !order.is_about(&current)) => false,
            };
            if is_due && !(self.admit)() {
                current.note_paused();
            } else if is_due {
                let at_ms = schedule.sample_ms(tick, wall_ms());
                // Boxed: what a scrape needs, a waiting target need not keep.
                tokio::select! {
                    scrapes = Box::pin(scraper.scrape(at_ms)) => scrapes.into_iter().for_each(|scrape| (self.emit)(scrape)),
                    // What was read of a scrape that is given up is forgotten by the next one's begin.
                    _ = self.orders.wait_for(|order| !matches!(order, Order::Scrape(_))) => {}
                }
            }
            // A manager that is gone can give no order: as if it had said stop.
            let order = if self.orders.has_changed().is_err() { Order::Stop } else { self.orders.borrow().clone() };
            match order {
                Order::Scrape(watched) if Arc::ptr_eq(&watched, &current) => {}
                Order::Scrape(watched) => {
                    schedule = self.schedule(&watched.target).after(&schedule);
                    let client = self.client(&watched.target);
                    scraper = scraper.retarget(watched.clone(), client);
                    current = watched;
                }
                Order::End => {
                    (self.emit)(scraper.end(schedule.now_ms(wall_ms())));
                    return;
                }
                Order::Stop => return,
            }
        }
    }

    fn schedule(&self, target: &Target) -> Schedule {
        Schedule::new(target.origin.key, &self.machine, target.interval, target.config.scrape_jitter)
    }

    fn client(&self, target: &Arc<Target>) -> Client {
        Client::new(target.clone(), &self.credentials)
    }
}

impl Order {
    fn is_about(&self, watched: &Arc<Watched>) -> bool {
        matches!(self, Order::Scrape(ordered) if Arc::ptr_eq(ordered, watched))
    }
}
