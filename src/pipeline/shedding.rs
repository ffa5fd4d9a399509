//! What happens above the memory limit: queues let go of what waits longest, then scrapes pause.
//!
//! Promises
//! - The largest queue lets go first, and of no more than is needed: an output that is down does not cost the others their
//!   samples. Where two outputs are down, their queues hold the same scrapes, and they lose the same ones.
//! - What is let go is counted, as `dropped{memory}`.
//! - A queue that is small beside the limit is left alone: it is not the cause, and drains by itself.
//! - Scrapes pause only when no queue can let go of more, and go on by themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Queue;
use crate::memory::{Budget, Used};
use crate::telemetry::Recurrence;

/// A queue with fewer bytes than this part of the limit lets go of nothing.
const SMALL_QUEUE_PART: u64 = 32;

/// Scrapes that pause do so for as long, unless well less than the limit is used before: they do not go on and off.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// "Well less" is below the limit by this part of it.
const WELL_BELOW_PART: u64 = 20;

/// Keeps the process below its memory limit.
pub struct Shedding {
    budget: Arc<Budget>,
    queues: Mutex<Vec<Weak<Queue>>>,
    /// There was trouble that is not over: more is looked at than whether the limit is exceeded.
    is_troubled: AtomicBool,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    paused: Option<Instant>,
    shed: Told,
    pause: Told,
}

/// Trouble that comes and goes is told when it begins, and its end only where its beginning was told.
#[derive(Default)]
struct Told {
    recurrence: Recurrence,
    is_on: bool,
    is_told: bool,
}

impl Told {
    /// It is there. Whether to say so.
    fn begins(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.is_on, true);
        let is_news = is_new && self.recurrence.is_news();
        self.is_told |= is_news;
        is_news
    }

    /// It is not there. Whether to say so.
    fn ends(&mut self) -> bool {
        self.is_on = false;
        std::mem::take(&mut self.is_told)
    }
}

impl Shedding {
    /// Sheds by this budget.
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            queues: Mutex::default(),
            is_troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
        })
    }

    /// The budget.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// From now on this queue lets go of samples too, for as long as it is there.
    pub fn watch(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(queue));
    }

    /// Something was handed to the queues: lets go of what is above the limit, if anything is. Never waits.
    pub fn relieve(&self) {
        if self.budget.is_exceeded() || self.is_troubled.load(Ordering::Relaxed) {
            self.look(&mut self.trouble());
        }
    }

    /// Whether a scrape may begin. Lets go of what is above the limit first.
    pub fn admits_scrape(&self) -> bool {
        if !self.budget.is_exceeded() && !self.is_troubled.load(Ordering::Relaxed) {
            return true;
        }
        let mut trouble = self.trouble();
        self.look(&mut trouble);
        let is_over = match trouble.paused {
            // What there is to let go of is gone, and it is still too much.
            None => self.budget.is_exceeded(),
            Some(since) => self.budget.is_exceeded() || (since.elapsed() < PAUSE_MIN && !self.is_well_below()),
        };
        match (is_over, trouble.paused.is_some()) {
            (true, false) => {
                trouble.paused = Some(Instant::now());
                self.is_troubled.store(true, Ordering::Relaxed);
                if trouble.pause.begins() {
                    let (limit, used) = self.figures();
                    tracing::error!(
                        limit,
                        used = used.total(),
                        by = %used,
                        "memory_limit is exceeded and no queue can let go of more; scrapes pause and are counted. Raise the limit, or scrape less"
                    );
                }
            }
            (false, true) => {
                trouble.paused = None;
                if trouble.pause.ends() {
                    let (limit, used) = self.figures();
                    tracing::info!(limit, used = used.total(), "scrapes go on: memory is below its limit");
                }
            }
            _ => {}
        }
        !is_over
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn figures(&self) -> (u64, Used) {
        (self.budget.limit().unwrap_or(u64::MAX), self.budget.used())
    }

    fn is_well_below(&self) -> bool {
        self.budget.limit().is_none_or(|limit| self.budget.used().total() <= limit - limit / WELL_BELOW_PART)
    }

    fn look(&self, trouble: &mut Trouble) {
        if !self.budget.is_exceeded() {
            if self.is_well_below() && trouble.paused.is_none() {
                self.is_troubled.store(false, Ordering::Relaxed);
                if trouble.shed.ends() {
                    let (limit, used) = self.figures();
                    tracing::info!(limit, used = used.total(), "memory is below its limit again");
                }
            }
            return;
        }
        let (limit, used) = self.figures();
        let shed = self.shed(limit);
        if shed > 0 {
            self.is_troubled.store(true, Ordering::Relaxed);
            if trouble.shed.begins() {
                tracing::error!(
                    limit,
                    used = used.total(),
                    by = %used,
                    shed,
                    "memory_limit is exceeded; the largest queues let go of the samples that have waited longest"
                );
            }
        }
    }

    /// Lets go of scrapes until no more than the limit is used, or no queue is large. Gives how many samples that cost.
    fn shed(&self, limit: u64) -> u64 {
        let queues: Vec<Arc<Queue>> = {
            let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.iter().filter_map(Weak::upgrade).collect()
        };
        let mut shed = 0;
        while self.budget.is_exceeded() {
            let sizes = queues.iter().map(|queue| (queue.size().1 as u64, queue));
            let Some((bytes, largest)) = sizes.max_by_key(|(bytes, _)| *bytes) else { break };
            if bytes <= limit / SMALL_QUEUE_PART {
                break;
            }
            shed += largest.shed_oldest();
        }
        shed
    }
}
