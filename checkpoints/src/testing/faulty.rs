//! A store that fails at random, by a seed.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::Rng;
use crate::{
    head::{Head, Tag},
    store::{CheckpointStore, Listed, StoreError, SwapError},
};

/// How often what goes wrong, in percent of the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing is done, and the error says so.
    pub fail: u64,
    /// Nothing is done, but the error leaves it open.
    pub time_out_undone: u64,
    /// It is done, and the error leaves it open.
    pub time_out_done: u64,
    /// It takes longer.
    pub delay: u64,
    /// By how much at most, in milliseconds.
    pub delay_ms_max: u64,
}

/// Wraps a store and makes its calls fail.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn CheckpointStore>,
    faults: Faults,
    rng: Mutex<Rng>,
}

enum Fault {
    None,
    Fail,
    TimeOutUndone,
    TimeOutDone,
}

impl Faulty {
    /// The same seed and the same calls give the same faults.
    #[must_use]
    pub fn new(inner: Arc<dyn CheckpointStore>, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            faults,
            rng: Mutex::new(Rng::new(seed)),
        }
    }

    fn draw(&self) -> Fault {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let delay_ms = match rng.percent(self.faults.delay) {
            true => rng.below(self.faults.delay_ms_max + 1),
            false => 0,
        };
        let drawn = rng.below(100);
        drop(rng);
        thread::sleep(Duration::from_millis(delay_ms));
        let fail = self.faults.fail;
        let undone = fail + self.faults.time_out_undone;
        let done = undone + self.faults.time_out_done;
        match drawn {
            drawn if drawn < fail => Fault::Fail,
            drawn if drawn < undone => Fault::TimeOutUndone,
            drawn if drawn < done => Fault::TimeOutDone,
            _ => Fault::None,
        }
    }

    /// Calls that change nothing either work or fail.
    fn read<T>(
        &self,
        name: &str,
        call: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.draw() {
            Fault::None => call(),
            _ => Err(StoreError::determinate("read", name, "injected failure")),
        }
    }

    fn write<T, E: From<StoreError>>(
        &self,
        name: &str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let timed_out = || StoreError::indeterminate("write", name, "injected time-out");
        match self.draw() {
            Fault::None => call(),
            Fault::Fail => Err(StoreError::determinate("write", name, "injected failure").into()),
            Fault::TimeOutUndone => Err(timed_out().into()),
            Fault::TimeOutDone => {
                call()?;
                Err(timed_out().into())
            }
        }
    }
}

impl CheckpointStore for Faulty {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(name, || self.inner.put(name, bytes))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.read(name, || self.inner.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.read(name, || self.inner.get_range(name, range))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.write(name, || self.inner.delete(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.read(folder, || self.inner.list(folder))
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        self.read(crate::paths::HEAD, || self.inner.head())
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        self.write(crate::paths::HEAD, || self.inner.swap_head(expected, new))
    }

    fn location(&self) -> String {
        format!("faulty {}", self.inner.location())
    }
}
