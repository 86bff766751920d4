//! How much of a process's keyed state is in memory: one account for all operators of all workers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The least part of the limit that is freed at once, so that keys go to disk in large transactions.
const SLACK_BYTES_MAX: usize = 1 << 20;
/// The smallest page cache of a store.
const CACHE_BYTES_MIN: usize = 64 << 10;

/// The limit of a process's keyed state, what of it is used, and where the rest goes.
///
/// A quarter of the limit is for the page caches of the stores on disk, the rest for keys in memory. Every state keeps
/// the account of its own bytes; one that has more than its even share frees what is too much.
#[derive(Debug)]
pub struct StateMemory {
    directory: PathBuf,
    states: usize,
    /// For keys in memory.
    limit: usize,
    /// For the page cache of one store.
    cache: usize,
    used: AtomicUsize,
    spilled: AtomicU64,
    fetched: AtomicU64,
}

impl StateMemory {
    /// A limit in bytes for so many states, with a folder for what is beyond it.
    #[must_use]
    pub fn new(limit: usize, states: usize, directory: &Path) -> Self {
        let states = states.max(1);
        Self {
            directory: directory.to_owned(),
            states,
            limit: limit - limit / 4,
            cache: (limit / 4 / states).max(CACHE_BYTES_MIN),
            used: AtomicUsize::new(0),
            spilled: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
        }
    }

    /// How often a key was moved to disk.
    #[must_use]
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// How often a key was brought back.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Bytes of keyed state in memory, as the states counted them when they were last trimmed.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The folder for what is not in memory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The page cache of one store, in bytes.
    pub(super) fn cache(&self) -> usize {
        self.cache
    }

    pub(super) fn count_spilled(&self, keys: usize) {
        self.spilled.fetch_add(keys as u64, Ordering::Relaxed);
    }

    pub(super) fn count_fetched(&self, keys: usize) {
        self.fetched.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

/// The bytes of one state in the account of the process.
#[derive(Debug)]
pub(super) struct Share {
    memory: std::sync::Arc<StateMemory>,
    bytes: usize,
}

impl Share {
    pub(super) fn of(memory: std::sync::Arc<StateMemory>) -> Self {
        Self { memory, bytes: 0 }
    }

    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// Puts down what the state uses now, and tells how many bytes it should free.
    pub(super) fn excess(&mut self, bytes: usize) -> usize {
        self.put_down(bytes);
        let memory = &self.memory;
        let used = memory.used.load(Ordering::Relaxed);
        let even = memory.limit / memory.states;
        if used <= memory.limit || bytes <= even {
            return 0;
        }
        let slack = SLACK_BYTES_MAX.min(memory.limit / 16);
        (used - memory.limit + slack).min(bytes - even)
    }

    /// Two additions that wrap are one that may be negative.
    fn put_down(&mut self, bytes: usize) {
        let change = bytes.wrapping_sub(self.bytes);
        self.memory.used.fetch_add(change, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.put_down(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_has_more_than_its_share_frees_what_is_too_much() {
        let memory = Arc::new(StateMemory::new(1_600, 2, Path::new("unused")));
        let (mut large, mut small) = (Share::of(memory.clone()), Share::of(memory.clone()));
        assert_eq!(large.excess(900), 0, "there is room");
        assert_eq!(small.excess(400), 0, "the other one is to blame");
        assert_eq!(large.excess(900), 175, "100 too much, and a sixteenth more");
        assert_eq!(large.excess(725), 0);
        drop(large);
        assert_eq!(memory.used.load(Ordering::Relaxed), 400);
        assert_eq!(small.excess(3_000), 1_875);
    }
}
