//! Knowing that this process still holds the job: asked before every write to a sink.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    head::Head,
    ids::Generation,
    store::{CheckpointStore, StoreError},
};

/// For how long a look at HEAD counts.
pub const LEASE: Duration = Duration::from_secs(10);

/// A clock that goes on while the machine or the process is suspended.
pub trait LeaseClock: Send + Sync {
    /// Time since some fixed point.
    fn now(&self) -> Duration;
}

/// `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl LeaseClock for BootClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// Why this process may not write.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process has claimed the job: this one has to stop.
    #[error("the job is held by {holder} (generation {generation}) now")]
    Fenced {
        /// The other process's generation; 0 if HEAD is gone.
        generation: Generation,
        /// The other process.
        holder: String,
    },
    /// HEAD cannot be read: unknown, so do not write now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The right to write, as long as HEAD named this process's generation within the last [`LEASE`].
pub struct Lease {
    store: Arc<dyn CheckpointStore>,
    generation: Generation,
    clock: Box<dyn LeaseClock>,
    state: Mutex<LeaseState>,
}

enum LeaseState {
    /// HEAD named this generation when it was last looked at, no earlier than this.
    Confirmed(Option<Duration>),
    /// Once lost, never regained.
    Lost(Generation, String),
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What a look at HEAD says about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Mine,
    Lost(Generation, String),
}

fn judge(head: Option<&Head>, mine: Generation) -> Verdict {
    match head {
        Some(head) if head.generation == mine => Verdict::Mine,
        Some(head) => Verdict::Lost(head.generation, head.holder.clone()),
        None => Verdict::Lost(Generation(0), "nobody: HEAD was deleted".to_owned()),
    }
}

impl Lease {
    /// A lease not yet confirmed: the first [`check`](Self::check) reads HEAD.
    #[must_use]
    pub fn new(store: Arc<dyn CheckpointStore>, generation: Generation) -> Self {
        Self::with_clock(store, generation, Box::new(BootClock))
    }

    /// A lease by another clock, for tests.
    #[must_use]
    pub fn with_clock(
        store: Arc<dyn CheckpointStore>,
        generation: Generation,
        clock: Box<dyn LeaseClock>,
    ) -> Self {
        Self {
            store,
            generation,
            clock,
            state: Mutex::new(LeaseState::Confirmed(None)),
        }
    }

    /// Whether this process may write right now; reads HEAD if the last look is too old.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub fn check(&self) -> Result<(), LeaseError> {
        // A panic under the lock cannot leave a half-written state behind.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let LeaseState::Confirmed(at) = *state {
            // Time before the read counts, because HEAD may move while the answer is under way.
            let now = self.clock.now();
            if at.is_some_and(|at| now.saturating_sub(at) < LEASE) {
                return Ok(());
            }
            let head = self.store.head()?.map(|(head, _)| head);
            *state = match judge(head.as_ref(), self.generation) {
                Verdict::Mine => LeaseState::Confirmed(Some(now)),
                Verdict::Lost(generation, holder) => LeaseState::Lost(generation, holder),
            };
        }
        match &*state {
            LeaseState::Confirmed(_) => Ok(()),
            LeaseState::Lost(generation, holder) => Err(LeaseError::Fenced {
                generation: *generation,
                holder: holder.clone(),
            }),
        }
    }

    /// The clock's time, to be taken before a swap of HEAD and given to [`confirm`](Self::confirm) after its success.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Takes a successful swap of HEAD, begun at `since`, for a look at HEAD.
    pub fn confirm(&self, since: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let LeaseState::Confirmed(at) = &mut *state {
            *at = (*at).max(Some(since));
        }
    }
}
