//! Taps: rows of a relation, shown as they pass to whoever listens.
//!
//! ```text
//! workers ──offer──> a queue per listener ──next──> the thread that answers the client
//! ```
//! A job must not notice that somebody watches. While nobody does, a batch costs one load of an atomic number. A listener is shown at
//! most [`RATE_MAX`] rows a second, and none while its queue is full; it is told how many rows it was not shown.

mod sampling;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use self::sampling::Sampler;
pub use self::sampling::{RATE_DEFAULT, RATE_MAX, Sampling};

/// Listeners of a process at most.
pub const LISTENERS_MAX: usize = 8;
/// Rows that wait for a listener at most.
const QUEUE_ROWS_MAX: usize = 1_000;
/// While rows of so many bytes wait for a listener, it gets no more.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// The relations of a job in this process that can be listened to.
#[derive(Debug)]
pub struct Taps {
    relations: BTreeMap<String, Arc<Tap>>,
    listeners: Arc<AtomicUsize>,
    over: AtomicBool,
}

/// Why nothing is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// There is no such relation.
    #[error("the job has no view or source named {0}; there are: {1}")]
    Unknown(String, String),
    /// Enough.
    #[error("{LISTENERS_MAX} taps of this job are open already: end one of them first")]
    TooMany,
    /// Too late.
    #[error("the job has ended")]
    Over,
}

impl Taps {
    /// Taps of the relations with these names.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let taps = names.into_iter().map(|name| (name.clone(), Arc::default()));
        Self {
            relations: taps.collect(),
            listeners: Arc::default(),
            over: AtomicBool::new(false),
        }
    }

    /// The tap of a relation, for the workers.
    #[must_use]
    pub fn of(&self, relation: &str) -> Arc<Tap> {
        self.relations.get(relation).cloned().unwrap_or_default()
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn listen(&self, relation: &str, sampling: Sampling) -> Result<Listening, TapError> {
        let Some(tap) = self.relations.get(relation) else {
            let names: Vec<_> = self.relations.keys().cloned().collect();
            return Err(TapError::Unknown(relation.to_owned(), names.join(", ")));
        };
        let one_more = |count| (count < LISTENERS_MAX).then_some(count + 1);
        let counted = self
            .listeners
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map_err(|_| TapError::TooMany)?;
        let listening = Listening {
            tap: tap.clone(),
            listener: Arc::new(Listener::new(sampling)),
            count: self.listeners.clone(),
        };
        let mut listeners = tap.listeners();
        listeners.push(listening.listener.clone());
        tap.open.store(listeners.len(), Ordering::Relaxed);
        // Under the lock, so that whoever ends the taps sees this listener, or this sees the end.
        let over = self.over.load(Ordering::Relaxed);
        drop(listeners);
        if over {
            return Err(TapError::Over);
        }
        Ok(listening)
    }

    /// The job ends: listeners get what is in their queues and no more.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        for tap in self.relations.values() {
            for listener in tap.listeners().iter() {
                listener.queue().over = true;
                listener.arrived.notify_all();
            }
        }
    }
}

/// Where the rows of one relation pass.
#[derive(Debug, Default)]
pub struct Tap {
    open: AtomicUsize,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

/// A row as it is shown.
#[derive(Debug)]
pub struct Shown {
    /// The row, or the change that it belongs to.
    pub text: String,
    /// The other row of that change, in the same batch.
    pub other: Option<usize>,
}

impl Tap {
    /// Whether anybody listens.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Offers a batch of so many rows; `show` is asked only for those that a listener gets.
    pub fn offer(&self, rows: usize, show: impl Fn(usize) -> Shown) {
        let listeners = self.listeners().clone();
        let now = Instant::now();
        for listener in listeners {
            listener.offer(rows, now, &show);
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who is shown rows.
#[derive(Debug)]
struct Listener {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Queue {
    sampler: Sampler,
    lines: VecDeque<Line>,
    bytes: usize,
    /// Rows that have passed.
    passed: u64,
    over: bool,
}

#[derive(Debug)]
struct Line {
    text: String,
    rows: u64,
}

impl Listener {
    fn new(sampling: Sampling) -> Self {
        Self {
            queue: Mutex::new(Queue {
                sampler: Sampler::new(sampling, Instant::now()),
                lines: VecDeque::new(),
                bytes: 0,
                passed: 0,
                over: false,
            }),
            arrived: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue is locked only to choose and to append: no worker waits while another one makes text.
    fn offer(&self, rows: usize, now: Instant, show: &impl Fn(usize) -> Shown) {
        let (chosen, mut room) = self.queue().choose(rows, now);
        let mut lines = Vec::new();
        let mut others = BTreeSet::new();
        for &row in &chosen {
            if room == 0 {
                break;
            }
            if others.contains(&row) {
                continue;
            }
            let shown = show(row);
            room = room.saturating_sub(shown.text.len());
            others.extend(shown.other);
            lines.push(Line {
                rows: 1 + u64::from(shown.other.is_some()),
                text: shown.text,
            });
        }
        let mut queue = self.queue();
        queue.passed += rows as u64;
        queue.sampler.give_back(chosen.len() - lines.len());
        queue.bytes += lines.iter().map(|line| line.text.len()).sum::<usize>();
        queue.lines.extend(lines);
        self.arrived.notify_all();
    }
}

impl Queue {
    /// The rows to show, and how many bytes of them there is room for, about.
    fn choose(&mut self, rows: usize, now: Instant) -> (Vec<usize>, usize) {
        let bytes = QUEUE_BYTES_MAX.saturating_sub(self.bytes);
        let room = match bytes {
            0 => 0,
            _ => QUEUE_ROWS_MAX.saturating_sub(self.lines.len()),
        };
        (self.sampler.choose(rows, room, now), bytes)
    }
}

/// An open tap; it closes when it is dropped.
#[derive(Debug)]
pub struct Listening {
    tap: Arc<Tap>,
    listener: Arc<Listener>,
    count: Arc<AtomicUsize>,
}

/// What has passed since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What is shown of it.
    pub lines: Vec<String>,
    /// How many rows that is: a changed row of a table is two, its old image and its new one.
    pub shown: u64,
    /// Rows that have passed since the tap was opened.
    pub passed: u64,
    /// Nothing more will come.
    pub over: bool,
}

impl Listening {
    /// At most so many lines, as soon as there are any; none if none come in this time.
    #[must_use]
    pub fn next(&self, lines_max: usize, patience: Duration) -> Passed {
        let waits = |queue: &mut Queue| queue.lines.is_empty() && !queue.over;
        let arrived = &self.listener.arrived;
        let waited = arrived.wait_timeout_while(self.listener.queue(), patience, waits);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = lines_max.min(queue.lines.len());
        let lines: Vec<Line> = queue.lines.drain(..taken).collect();
        queue.bytes -= lines.iter().map(|line| line.text.len()).sum::<usize>();
        Passed {
            shown: lines.iter().map(|line| line.rows).sum(),
            lines: lines.into_iter().map(|line| line.text).collect(),
            passed: queue.passed,
            over: queue.over && queue.lines.is_empty(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.tap.listeners();
        listeners.retain(|listener| !Arc::ptr_eq(listener, &self.listener));
        self.tap.open.store(listeners.len(), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
