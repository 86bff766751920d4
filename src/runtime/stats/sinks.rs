//! How the stores of sinks fare, over the writers of all workers of a process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::sink::driver::SinkStatus;

/// The writers of each sink.
#[derive(Debug, Default)]
pub struct SinkStatuses(Mutex<BTreeMap<String, Vec<Arc<SinkStatus>>>>);

impl SinkStatuses {
    /// A writer of a sink has begun.
    pub fn add(&self, sink: &str, status: Arc<SinkStatus>) {
        self.lock().entry(sink.to_owned()).or_default().push(status);
    }

    /// The writers of a sink in this process.
    #[must_use]
    pub fn of(&self, sink: &str) -> Vec<Arc<SinkStatus>> {
        self.lock().get(sink).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Arc<SinkStatus>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
