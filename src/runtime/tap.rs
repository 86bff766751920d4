//! Taps: rows of a relation, shown as they pass to whoever listens.
//!
//! ```text
//! workers ──offer──> a queue per listener ──next──> the thread that answers the client
//!                       ↑        └─────── share ──> process 0, whose client it is: `job/taps.rs`
//!                      feed <── shares of the other processes
//! ```
//! A job must not notice that somebody watches. While nobody does, a batch costs one load of an atomic number. A listener is shown at
//! most [`RATE_MAX`] rows a second, and none while its queue is full; it is told how many rows it was not shown.

mod listener;
mod sampling;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::listener::Listener;
pub use self::listener::{Feed, Listening, Passed, Share};
pub use self::sampling::{RATE_DEFAULT, RATE_MAX, Sampling};

/// Listeners of a process at most.
pub const LISTENERS_MAX: usize = 8;
/// How long a job that has ended waits for those who are shown its last rows. Who reads takes far less.
const FAREWELL_LIMIT: Duration = Duration::from_millis(500);
/// How often it looks whether they have gone.
const FAREWELL_STEP: Duration = Duration::from_millis(5);

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
        let listening = Listening::new(tap.clone(), sampling, self.listeners.clone());
        let mut listeners = tap.listeners();
        listeners.push(listening.listener().clone());
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
                listener.end();
            }
        }
    }

    /// After [`Self::end`]: waits a moment for those who take their last rows. Nobody is waited for who has stopped reading.
    pub fn see_off(&self) {
        let deadline = Instant::now() + FAREWELL_LIMIT;
        while self.listeners.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            thread::sleep(FAREWELL_STEP);
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

    /// A listener has gone.
    fn forget(&self, gone: &Arc<Listener>) {
        let mut listeners = self.listeners();
        listeners.retain(|listener| !Arc::ptr_eq(listener, gone));
        self.open.store(listeners.len(), Ordering::Relaxed);
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
