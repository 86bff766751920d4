//! Counts dead letters by where and why.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Counter;
use crate::dead_letter::{Cause, DeadLetter};

/// Dead letters so far.
#[derive(Debug, Default)]
pub struct DeadLetters {
    all: Counter,
    by_cause: Mutex<BTreeMap<(Arc<str>, Cause), u64>>,
}

impl DeadLetters {
    /// Counts some.
    pub fn count(&self, letters: &[DeadLetter]) {
        self.all.add(letters.len() as u64);
        let mut counts = self.by_cause.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            *counts
                .entry((letter.relation.clone(), letter.cause))
                .or_default() += 1;
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.all.get()
    }

    /// By source or view, and cause.
    #[must_use]
    pub fn by_cause(&self) -> BTreeMap<(Arc<str>, Cause), u64> {
        let counts = self.by_cause.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}
