//! Whether this process may still write to its sinks.

use std::{sync::Arc, time::Duration};

use tidewright_checkpoints::Generation;
use tidewright_checkpoints::lease::{Lease, LeaseError};
use tidewright_checkpoints::store::CheckpointStore;

use crate::sink::{Fence, SinkError};

/// Asks the job's HEAD, at most every few seconds.
#[derive(Debug)]
pub struct HeadFence(Lease);

impl HeadFence {
    /// The fence of the process with this claim.
    #[must_use]
    pub fn new(store: Arc<dyn CheckpointStore>, generation: Generation) -> Self {
        Self(Lease::new(store, generation))
    }

    /// The lease's clock, to be read before a swap of HEAD.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.now()
    }

    /// A swap of HEAD that began at `since` has succeeded.
    pub fn confirm(&self, since: Duration) {
        self.0.confirm(since);
    }
}

impl Fence for HeadFence {
    fn check(&self) -> Result<(), SinkError> {
        self.0.check().map_err(|error| match error {
            LeaseError::Fenced { .. } => SinkError::Fenced(error.to_string()),
            LeaseError::Store(error) => {
                SinkError::Transient(format!("cannot read the job's HEAD: {error}"))
            }
        })
    }
}
