//! The workers' signs of life: each beats whenever it has come a step further. `watch` looks at them.
//!
//! What lies between two beats is bounded: one batch, one shard of restored state, one piece of firing, one operator's part
//! of a checkpoint, one question to a broker while a source is opened; elsewhere one step of timely.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

thread_local! {
    static OWN: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// The sign of life of one worker.
#[derive(Debug)]
pub struct Pulse {
    beats: AtomicU64,
    /// Where the operating system tells of the worker's thread.
    thread: Option<PathBuf>,
    /// What it is inside of, for people.
    inside: Mutex<Option<Arc<str>>>,
}

/// The pulses of the workers of this process, by worker.
#[derive(Debug, Default)]
pub struct Pulses(Mutex<BTreeMap<usize, Arc<Pulse>>>);

/// This thread is a worker until this is dropped.
#[derive(Debug)]
pub struct Alive {
    pulses: Arc<Pulses>,
    worker: usize,
}

/// The worker is inside of something until this is dropped.
#[derive(Debug)]
pub struct Inside(());

impl Pulses {
    /// From now on this thread is that worker.
    #[must_use]
    pub fn begin(self: &Arc<Self>, worker: usize) -> Alive {
        let pulse = Arc::new(Pulse {
            beats: AtomicU64::new(0),
            // `PID/task/TID`
            thread: fs::read_link("/proc/thread-self").ok(),
            inside: Mutex::default(),
        });
        self.all().insert(worker, pulse.clone());
        OWN.set(Some(pulse));
        Alive {
            pulses: self.clone(),
            worker,
        }
    }

    /// All workers at work.
    #[must_use]
    pub fn at_work(&self) -> Vec<(usize, Arc<Pulse>)> {
        let all = self.all();
        all.iter()
            .map(|(worker, pulse)| (*worker, pulse.clone()))
            .collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Pulse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        OWN.set(None);
        self.pulses.all().remove(&self.worker);
    }
}

impl Pulse {
    /// How often it has beaten.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// What the worker is inside of, for people.
    #[must_use]
    pub fn inside(&self) -> Option<Arc<str>> {
        self.place().clone()
    }

    /// How long its thread has run, or waited for a processor. `None` where the operating system does not tell.
    #[must_use]
    pub fn active(&self) -> Option<Duration> {
        let path = Path::new("/proc").join(self.thread.as_ref()?);
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        let mut nanoseconds = text.split_whitespace().map_while(|part| part.parse().ok());
        let (ran, waited): (u64, u64) = (nanoseconds.next()?, nanoseconds.next()?);
        Some(Duration::from_nanos(ran.saturating_add(waited)))
    }

    fn place(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// This thread, if it is a worker, has come a step further.
pub fn beat() {
    OWN.with_borrow(|own| {
        if let Some(pulse) = own {
            pulse.beat();
        }
    });
}

/// As [`beat`]; and until the result is dropped, the worker is inside of this.
pub fn inside(what: &Arc<str>) -> Inside {
    set(Some(what.clone()));
    Inside(())
}

impl Drop for Inside {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(inside: Option<Arc<str>>) {
    OWN.with_borrow(|own| {
        if let Some(pulse) = own {
            pulse.beat();
            *pulse.place() = inside;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_seen_from_its_beginning_to_its_end() {
        let pulses = Arc::new(Pulses::default());
        beat();
        assert!(pulses.at_work().is_empty());
        let alive = pulses.begin(3);
        let (worker, pulse) = pulses.at_work().remove(0);
        assert_eq!((worker, pulse.beats(), pulse.inside()), (3, 0, None));
        let within = inside(&"a join".into());
        assert_eq!((pulse.beats(), pulse.inside()), (1, Some("a join".into())));
        drop(within);
        beat();
        assert_eq!((pulse.beats(), pulse.inside()), (3, None));
        drop(alive);
        assert!(pulses.at_work().is_empty());
        beat();
        assert_eq!(pulse.beats(), 3);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_computes_is_told_from_one_that_sleeps() {
        let pulses = Arc::new(Pulses::default());
        let _alive = pulses.begin(0);
        let (_, pulse) = pulses.at_work().remove(0);
        let active = || pulse.active().expect("Linux tells");
        let before = active();
        std::thread::sleep(Duration::from_millis(200));
        let slept = active() - before;
        let before = active();
        let since = std::time::Instant::now();
        while since.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(());
        }
        let computed = active() - before;
        assert!(slept * 10 < computed, "{slept:?}, {computed:?}");
    }
}
