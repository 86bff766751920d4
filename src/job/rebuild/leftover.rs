//! What is left of the shadow that has made views again.

use std::sync::Arc;
use std::thread;

use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::plan::Plan;

use super::SHADOW;
use crate::job::{RunError, shadow};

/// The shadow when its state and its rows have been taken over.
pub struct Leftover {
    plan: Plan,
    store: Arc<dyn CheckpointStore>,
}

impl Leftover {
    /// Of a plan, with its checkpoints below `url`.
    ///
    /// # Errors
    /// If their store cannot be opened.
    pub fn of(url: &str, plan: &Plan) -> Result<Self, RunError> {
        let place = store::job_url(url, &plan.name);
        let store = store::open(&place).map_err(RunError::of)?;
        let plan = plan.clone();
        Ok(Self { plan, store })
    }

    /// Removes it while the job begins, which does not wait for that.
    pub fn remove_meanwhile(self) {
        let removal = move || match shadow::remove(&self.plan, &self.store) {
            Ok(()) => tracing::info!("{} is removed", self.plan.name),
            Err(error) => tracing::warn!(
                "{} is left, to be removed with `tidewright shadow drop JOB.yaml {SHADOW}`: {error}",
                self.plan.name
            ),
        };
        let thread = thread::Builder::new().name("shadow".to_owned());
        if let Err(error) = thread.spawn(removal) {
            tracing::warn!("the shadow is left: {error}");
        }
    }
}
