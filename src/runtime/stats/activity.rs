//! How operators and readers spend their time, by worker.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::Counter;

/// The time of all operators of a process. What is neither busy nor backpressured is idle.
#[derive(Debug, Default)]
pub struct Activity(Mutex<BTreeMap<(usize, String), Meter>>);

#[derive(Debug)]
struct Meter {
    since: Instant,
    /// In nanoseconds.
    busy: Counter,
    /// In nanoseconds.
    backpressured: Counter,
}

/// Counts the time for which an operator waits for others to take what it has.
#[derive(Debug)]
pub struct Waits {
    counter: Counter,
    since: Option<Instant>,
}

/// How one operator has spent its time on one worker, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorTime {
    /// The operator.
    pub operator: String,
    /// The worker.
    pub worker: usize,
    /// It worked.
    pub busy_s: f64,
    /// It had work, but waited until others had taken what it had made.
    pub backpressured_s: f64,
    /// It had nothing to do.
    pub idle_s: f64,
}

impl Activity {
    /// The nanoseconds for which an operator is busy.
    #[must_use]
    pub fn busy(&self, worker: usize, operator: &str) -> Counter {
        self.meter(worker, operator, |meter| meter.busy.clone())
    }

    /// The time for which an operator waits for others.
    #[must_use]
    pub fn waits(&self, worker: usize, operator: &str) -> Waits {
        Waits {
            counter: self.meter(worker, operator, |meter| meter.backpressured.clone()),
            since: None,
        }
    }

    fn meter<T>(&self, worker: usize, operator: &str, of: impl FnOnce(&Meter) -> T) -> T {
        let mut meters = self.lock();
        let meter = meters.entry((worker, operator.to_owned()));
        of(meter.or_insert_with(|| Meter {
            since: Instant::now(),
            busy: Counter::default(),
            backpressured: Counter::default(),
        }))
    }

    /// The time of all operators up to now.
    #[must_use]
    pub fn times(&self) -> Vec<OperatorTime> {
        let meters = self.lock();
        let times = meters.iter().map(|((worker, operator), meter)| {
            let seconds = |counter: &Counter| Duration::from_nanos(counter.get()).as_secs_f64();
            let (busy_s, backpressured_s) = (seconds(&meter.busy), seconds(&meter.backpressured));
            OperatorTime {
                operator: operator.clone(),
                worker: *worker,
                busy_s,
                backpressured_s,
                idle_s: (meter.since.elapsed().as_secs_f64() - busy_s - backpressured_s).max(0.0),
            }
        });
        times.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(usize, String), Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    /// From now on it waits, or does not.
    pub fn note(&mut self, waits: bool, now: Instant) {
        if let Some(since) = self.since {
            let waited = now.saturating_duration_since(since);
            self.counter
                .add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        }
        self.since = waits.then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_neither_busy_nor_backpressured_is_idle() {
        let activity = Activity::default();
        let mut waits = activity.waits(1, "source");
        activity.busy(1, "source").add(2_000_000);
        let start = Instant::now();
        waits.note(false, start);
        waits.note(true, start + Duration::from_millis(10));
        waits.note(true, start + Duration::from_millis(15));
        waits.note(false, start + Duration::from_millis(17));
        waits.note(false, start + Duration::from_millis(90));
        std::thread::sleep(Duration::from_millis(20));
        let time = &activity.times()[0];
        assert_eq!((&*time.operator, time.worker), ("source", 1));
        assert_eq!((time.busy_s, time.backpressured_s), (0.002, 0.007));
        assert!(time.idle_s >= 0.011, "{time:?}");
    }
}
