//! Views that have been made again, and how they take the place of what the job has.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use tidewright_checkpoints::graft::{Target, graft};
use tidewright_checkpoints::restore::{Loader, Restored};
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{Epoch, Generation};
use tidewright_jobs::plan::{Plan, SinkPlan};
use tidewright_operators::StateMemory;

use super::Differences;
use crate::dataflow;
use crate::job::RunError;
use crate::runtime::upgrade::{Upgrade, kept_as};
use crate::sink::EmbeddedStores;

/// Views that have been made again, up to where the job has stopped.
pub struct Rebuilt {
    /// The manifest that the shadow ends at: only there its state fits.
    pub manifest: String,
    /// How the sinks differ.
    pub differences: Differences,
    /// Has read ahead of the job's state.
    pub loader: Loader,
    /// The shadow's plan.
    pub plan: Plan,
    /// The shadow's state.
    pub restored: Restored,
}

impl Rebuilt {
    /// Puts the views' state into the job's checkpoint, under the names that the upgrade has found for it.
    ///
    /// # Errors
    /// If the checkpoint is another one by now, or a file cannot be copied.
    pub fn graft_into(
        &self,
        restored: &mut Restored,
        upgrade: &Upgrade,
        store: &dyn CheckpointStore,
        (generation, start): (Generation, u64),
        memory: Option<&StateMemory>,
    ) -> Result<(), RunError> {
        if restored.name != self.manifest {
            return Err(RunError::of(format!(
                "another process has taken the job on to {} meanwhile, which the rebuilt views do not fit: stop it and start over",
                restored.name
            )));
        }
        let mut names = Vec::new();
        for name in &upgrade.grafted {
            let there = kept_as(&self.restored.manifest, name).map_err(RunError::of)?;
            names.push((there, upgrade.id(name)));
        }
        let mut target = Target {
            restored,
            store,
            generation,
            epoch: Epoch(start.saturating_sub(1)),
            scratch: memory.map(StateMemory::directory),
        };
        graft(&mut target, &self.restored, &names).map_err(RunError::of)
    }

    /// What the shadow's stores hold of sinks whose table is not in state, as rows of the job's sinks.
    ///
    /// # Errors
    /// If a store cannot be read.
    pub fn brought_over(
        &self,
        resync: &BTreeSet<String>,
        stores: &EmbeddedStores,
    ) -> Result<BTreeMap<String, Vec<RecordBatch>>, RunError> {
        let sinks = self.plan.sinks.iter();
        let sinks = sinks.filter(|sink| !resync.contains(&sink.name));
        let read = |sink: &SinkPlan| {
            let rows = dataflow::brought_over(&self.plan, sink, stores).map_err(RunError::of)?;
            Ok((sink.name.clone(), rows))
        };
        sinks.map(read).collect()
    }
}
