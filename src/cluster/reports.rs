//! How the other processes are doing, as they told last.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

/// The last report of each other process, by index. Only process 0 gets any.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<usize, Value>>);

impl Reports {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<usize, Value> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note(&self, process: usize, report: Value) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(process, report);
    }
}
