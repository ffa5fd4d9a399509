//! When a target is scraped, and which time its samples carry.
//!
//! A target's ticks lie on a fixed grid of the wall clock: an offset in its interval, from a hash of the target and of this
//! machine, plus whole intervals. So load is spread, the same after a restart, and different on two machines that scrape
//! the same targets. Each tick is computed from the clock anew: ticks never drift, a late scrape skips ticks, and a clock
//! that was set is followed.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;

/// The ticks of one target.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
    jitter: Duration,
    last_tick_ms: i64,
    last_sample_ms: i64,
}

/// A tick to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Its planned time with jitter, milliseconds since 1970.
    pub planned_ms: i64,
    /// How long it is until then.
    pub wait: Duration,
}

impl Schedule {
    /// The schedule of the target with this key on the machine of this name. `interval` is at least one millisecond.
    pub fn new(key: u64, machine: &str, interval: Duration, jitter: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut hasher = FixedState::with_seed(key).build_hasher();
        hasher.write(machine.as_bytes());
        let offset_ms = (hasher.finish() % interval_ms.unsigned_abs()) as i64;
        Self { interval_ms, offset_ms, jitter, last_tick_ms: i64::MIN, last_sample_ms: i64::MIN }
    }

    /// Goes on from another schedule's last sample: times never go back over a reload.
    pub fn after(mut self, before: &Schedule) -> Self {
        self.last_sample_ms = before.last_sample_ms;
        self
    }

    /// The next tick after `now_ms`; never the same one twice, also when the timer woke a little early.
    pub fn next(&mut self, now_ms: i64) -> Tick {
        let since = (now_ms - self.offset_ms).div_euclid(self.interval_ms);
        let mut tick_ms = self.offset_ms + (since + 1) * self.interval_ms;
        if tick_ms == self.last_tick_ms {
            tick_ms += self.interval_ms;
        }
        self.last_tick_ms = tick_ms;
        let jitter = crate::random::below(self.jitter);
        let planned_ms = tick_ms + jitter.as_millis() as i64;
        let wait = Duration::from_millis(planned_ms.saturating_sub(now_ms).unsigned_abs());
        Tick { planned_ms, wait }
    }

    /// The time that samples carry: the planned one when the real start is within min(2 ms, interval / 100) of it
    /// (Prometheus' rule), else the real one; always above the one before.
    pub fn sample_ms(&mut self, tick: Tick, started_ms: i64) -> i64 {
        let tolerance_ms = (self.interval_ms / 100).min(2);
        let at_ms = if (started_ms - tick.planned_ms).abs() <= tolerance_ms { tick.planned_ms } else { started_ms };
        self.last_sample_ms = at_ms.max(self.last_sample_ms.saturating_add(1));
        self.last_sample_ms
    }

    /// The time of something said about the target outside of a scrape: now, but above the last sample.
    pub fn now_ms(&mut self, now_ms: i64) -> i64 {
        self.last_sample_ms = now_ms.max(self.last_sample_ms.saturating_add(1));
        self.last_sample_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1000;

    fn schedule(interval_s: u64) -> Schedule {
        Schedule::new(42, "vm", Duration::from_secs(interval_s), Duration::ZERO)
    }

    #[test]
    fn ticks_lie_on_one_grid_whatever_the_start() {
        let first = schedule(15).next(1_000_000 * S).planned_ms;
        for late in [0, 1, 7_499, 14_999, 15_000, 100_001] {
            let tick = schedule(15).next(first + late);
            assert_eq!((tick.planned_ms - first) % (15 * S), 0);
            assert!(tick.planned_ms > first + late && tick.planned_ms <= first + late + 15 * S);
            assert_eq!(tick.wait.as_millis() as i64, tick.planned_ms - first - late);
        }
    }

    #[test]
    fn offsets_spread_targets_and_machines() {
        let offset = |key, machine| Schedule::new(key, machine, Duration::from_secs(10), Duration::ZERO).offset_ms;
        let mut seconds = [0; 10];
        for key in 0..1000 {
            seconds[(offset(key, "vm") / S) as usize] += 1;
        }
        assert!(seconds.iter().all(|&count| (50..150).contains(&count)), "{seconds:?}");
        assert_ne!(offset(1, "vm-a"), offset(1, "vm-b"));
    }

    #[test]
    fn ten_thousand_targets_do_not_start_in_a_burst() {
        let mut seconds = [0; 15];
        for target in 0..10_000u64 {
            let identity = format!("https://10.0.{}.{}:9100/metrics", target / 250, target % 250);
            let mut hasher = FixedState::with_seed(7).build_hasher();
            hasher.write(identity.as_bytes());
            let wait =
                Schedule::new(hasher.finish(), "vm", Duration::from_secs(15), Duration::ZERO).next(1_234_567).wait;
            seconds[wait.as_secs() as usize % 15] += 1;
        }
        let mean = 10_000.0 / 15.0;
        assert!(seconds.iter().all(|&count| f64::from(count) < 1.5 * mean), "{seconds:?}");
    }

    #[test]
    fn a_timer_that_wakes_early_does_not_scrape_twice_and_a_late_one_skips() {
        let mut schedule = schedule(10);
        let first = schedule.next(0).planned_ms;
        assert_eq!(schedule.next(first - 1).planned_ms, first + 10 * S);
        assert_eq!(schedule.next(first + 35 * S).planned_ms, first + 40 * S);
    }

    #[test]
    fn a_sample_carries_the_planned_time_when_the_start_was_near() {
        let mut schedule = schedule(10);
        let tick = schedule.next(0);
        assert_eq!(schedule.sample_ms(tick, tick.planned_ms + 2), tick.planned_ms);
        let tick = schedule.next(tick.planned_ms + 2);
        assert_eq!(schedule.sample_ms(tick, tick.planned_ms + 3), tick.planned_ms + 3);
    }

    #[test]
    fn times_never_go_back_even_when_the_clock_does() {
        let mut schedule = schedule(10);
        let tick = schedule.next(1_000 * S);
        let before = schedule.sample_ms(tick, tick.planned_ms);
        let tick = schedule.next(500 * S);
        assert!(tick.planned_ms <= 510 * S, "the grid follows the clock");
        assert_eq!(schedule.sample_ms(tick, tick.planned_ms), before + 1);
        assert_eq!(schedule.now_ms(0), before + 2);
    }

    #[test]
    fn jitter_is_part_of_the_planned_time() {
        let mut schedule = Schedule::new(1, "vm", Duration::from_secs(10), Duration::from_secs(1));
        let plain = Schedule::new(1, "vm", Duration::from_secs(10), Duration::ZERO).next(0).planned_ms;
        let tick = schedule.next(0);
        assert!((plain..plain + S).contains(&tick.planned_ms));
        assert_eq!(schedule.sample_ms(tick, tick.planned_ms + 1), tick.planned_ms);
    }
}
