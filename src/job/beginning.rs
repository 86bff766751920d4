//! What the processes of a job begin with. Process 0 claims the job, makes the checkpoint that they all restore where there is none
//! yet, and tells the others; each loads its part.
//!
//! ```text
//! process 0    claim ──> tell ──> load
//!           or claim ──> copy the checkpoint of a shadow's job ──> tell
//!           or claim ──> load ──> add rebuilt views ─────────────> tell
//! the others   ························································> load
//! ```

use std::collections::BTreeMap;

use tidewright_checkpoints::claim::Claimed;
use tidewright_checkpoints::manifest::FileEntry;
use tidewright_checkpoints::restore::{Loader, Restored};
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_jobs::plan::Plan;
use tidewright_operators::StateMemory;

use super::rebuild::Rebuilt;
use super::start_point::{self, StartPoint};
use super::{Allowed, Restore, RunError, RunOptions, restore};
use crate::cluster::Cluster;
use crate::runtime::upgrade::{Operator, Upgrade};

/// What this process begins with.
pub struct Beginning {
    /// What all processes know alike.
    pub start: StartPoint,
    /// The claim, where this is process 0.
    pub claimed: Option<Claimed>,
    /// The checkpoint, of which this process has at least its part.
    pub restored: Option<Restored>,
    /// What that is, for people.
    pub origin: Option<String>,
    /// What becomes of its state.
    pub upgrade: Upgrade,
}

/// What that is decided from.
pub struct Ingredients<'a> {
    /// The job's checkpoint store.
    pub store: &'a dyn CheckpointStore,
    /// The job.
    pub plan: &'a Plan,
    /// Its operators with state, by name.
    pub operators: &'a BTreeMap<String, Operator>,
    /// What the user says.
    pub options: &'a RunOptions,
    /// The limit of state in memory.
    pub memory: Option<&'a StateMemory>,
    /// The other processes, if there are any.
    pub cluster: Option<&'a Cluster>,
    /// A checkpoint of another place that this process has read.
    pub savepoint: Option<Restored>,
    /// Reads what this process needs.
    pub loader: Loader,
    /// Views that process 0 has made again.
    pub rebuilt: Option<&'a Rebuilt>,
}

impl Ingredients<'_> {
    /// Decides it, or waits until process 0 has.
    ///
    /// # Errors
    /// If the job cannot be claimed, or state cannot be read or does not fit.
    pub fn begin(self) -> Result<Beginning, RunError> {
        match self.cluster {
            Some(cluster) if cluster.index() != 0 => self.follow(cluster),
            _ => self.lead(),
        }
    }

    fn lead(mut self) -> Result<Beginning, RunError> {
        let restore = &self.options.restore;
        let savepoint = self.savepoint.take();
        let manifest = savepoint.as_ref().map(|savepoint| &savepoint.manifest);
        let (mut start, claimed) =
            start_point::claim(self.store, &self.plan.name, restore, manifest)?;
        let copies = matches!(restore, Restore::LatestOf { .. });
        let makes = copies || self.rebuilt.is_some();
        if !makes {
            self.announce(&start)?;
        }
        let origin = savepoint.as_ref().map(restore::origin);
        let mut restored = match savepoint {
            None => self.published(&start)?,
            // The process that publishes checkpoints takes the files over.
            Some(savepoint) => {
                let job = &self.plan.name;
                let adopted = restore::adopt(savepoint, self.store, job, start.generation);
                Some(adopted?)
            }
        };
        let origin = origin.or_else(|| restored.as_ref().map(restore::origin));
        let upgrade = self.decide(restored.as_ref(), &self.options.allowed)?;
        if copies {
            let adopted = restored.as_ref();
            start.adopted = adopted.map(|restored| restored.manifest.clone());
        }
        if let (Some(rebuilt), Some(restored)) = (self.rebuilt, &mut restored) {
            start.grafted = self.graft(rebuilt, restored, &upgrade, &start)?;
        }
        if makes {
            self.announce(&start)?;
        }
        Ok(Beginning {
            start,
            claimed: Some(claimed),
            restored,
            origin,
            upgrade,
        })
    }

    fn follow(mut self, cluster: &Cluster) -> Result<Beginning, RunError> {
        let start = start_point::of_leader(cluster, self.store)?;
        let mut restored = match (&start.adopted, self.savepoint.take()) {
            (Some(manifest), _) => {
                let manifest = manifest.clone();
                let loaded = self.loader.load_unpublished(self.store, manifest);
                Some(loaded.map_err(RunError::of)?)
            }
            // A savepoint each process reads for itself.
            (None, Some(savepoint)) => Some(savepoint),
            (None, None) => self.published(&start)?,
        };
        let mut allowed = self.options.allowed.clone();
        // A checkpoint of another job, and nothing of what it has sent is in the stores of this one.
        allowed.outboxes_anew |= start.adopted.is_some();
        let upgrade = self.decide(restored.as_ref(), &allowed)?;
        if let Some(restored) = &mut restored {
            let added = self.loader.add(self.store, restored, &start.grafted);
            added.map_err(RunError::of)?;
        }
        Ok(Beginning {
            origin: restored.as_ref().map(restore::origin),
            start,
            claimed: None,
            restored,
            upgrade,
        })
    }

    /// Adds rebuilt views to the checkpoint; the files in which they are.
    fn graft(
        &self,
        rebuilt: &Rebuilt,
        restored: &mut Restored,
        upgrade: &Upgrade,
        start: &StartPoint,
    ) -> Result<Vec<FileEntry>, RunError> {
        let known = restored.manifest.files.len();
        let at = (start.generation, start.start);
        rebuilt.graft_into(restored, upgrade, self.store, at, self.memory)?;
        let files = restored.manifest.files.iter().skip(known);
        Ok(files.cloned().collect())
    }

    /// The job's own checkpoint that the start names.
    fn published(&mut self, start: &StartPoint) -> Result<Option<Restored>, RunError> {
        let job = &self.plan.name;
        let name = start.restored.as_ref();
        let loaded = name.map(|name| self.loader.load(self.store, job, name));
        loaded.transpose().map_err(RunError::of)
    }

    fn decide(&self, restored: Option<&Restored>, allowed: &Allowed) -> Result<Upgrade, RunError> {
        let manifest = restored.map(|restored| &restored.manifest);
        Upgrade::decide(self.operators, manifest, allowed).map_err(RunError::of)
    }

    fn announce(&self, start: &StartPoint) -> Result<(), RunError> {
        if let Some(cluster) = self.cluster {
            cluster.announce(&serde_json::to_value(start).map_err(RunError::of)?);
        }
        Ok(())
    }
}
