//! What all processes of a job must know alike before they build its dataflow: decided once, by the one that claims the job.

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::claim::{self, ClaimRequest, Claimed};
use tidewright_checkpoints::manifest::{FileEntry, Manifest};
use tidewright_checkpoints::restore;
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{Epoch, Generation};

use super::{Restore, RunError};
use crate::cluster::Cluster;
use crate::runtime::epoch::wall_clock_ms;
use crate::runtime::failure::EXIT_FENCED;

/// Where a run of a job starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartPoint {
    /// The claim.
    pub generation: Generation,
    /// Who holds it: unique to this run.
    pub holder: String,
    /// HEAD's epoch: everything up to it is durable.
    pub newest: Epoch,
    /// Wall clock at the claim, milliseconds since 1970.
    pub started_ms: u64,
    /// The first new epoch.
    pub start: u64,
    /// The manifest to restore; nothing if absent.
    pub restored: Option<String>,
    /// Or a checkpoint that process 0 has copied from another job: its files are in the store, and nobody has published it yet.
    pub adopted: Option<Manifest>,
    /// Files that process 0 has added to the checkpoint.
    pub grafted: Vec<FileEntry>,
    /// HEAD's manifest, if it can be read: it tells what has been delivered.
    pub latest: Option<String>,
}

/// What process 0 has decided, which sees the same store.
///
/// # Errors
/// If it does not, or another process has claimed the job meanwhile.
pub fn of_leader(cluster: &Cluster, store: &dyn CheckpointStore) -> Result<StartPoint, RunError> {
    let start = serde_json::from_value(cluster.await_start());
    let start: StartPoint = start.map_err(RunError::of)?;
    start.check_store(store)?;
    Ok(start)
}

/// Claims the job and chooses what it starts from: `savepoint`, if there is one.
///
/// # Errors
/// If the job cannot be claimed.
pub fn claim(
    store: &dyn CheckpointStore,
    job: &str,
    restore: &Restore,
    savepoint: Option<&Manifest>,
) -> Result<(StartPoint, Claimed), RunError> {
    let now_ms = wall_clock_ms();
    // The stores have seen the savepoint's generation, which another clock may have made.
    let after = savepoint.map_or(0, |savepoint| savepoint.generation.0.saturating_add(1));
    let request = ClaimRequest {
        holder: claim::unique_holder(&holder()),
        now_ms: now_ms.max(after),
        accept_missing_head: *restore != Restore::Latest,
    };
    let claimed = claim::claim(store, &request).map_err(RunError::of)?;
    let newest = claimed.head.epoch;
    let newest = savepoint.map_or(newest, |savepoint| newest.max(savepoint.epoch));
    let start = StartPoint {
        generation: claimed.generation(),
        holder: request.holder,
        newest,
        started_ms: now_ms,
        start: now_ms.max(newest.0 + 1),
        restored: match restore {
            // A savepoint each process reads for itself.
            Restore::Nothing | Restore::Savepoint(_) | Restore::LatestOf { .. } => None,
            Restore::Latest => claimed.head.manifest.clone(),
            Restore::Manifest(name) => Some(name.clone()),
        },
        adopted: None,
        grafted: Vec::new(),
        latest: readable(store, job, &claimed, restore)?,
    };
    Ok((start, claimed))
}

/// Who holds the job, for people.
fn holder() -> String {
    let uname = rustix::system::uname();
    format!(
        "process {} on {}",
        std::process::id(),
        uname.nodename().to_string_lossy()
    )
}

/// The manifest that HEAD names. A damaged one stops only those who want to start from it.
fn readable(
    store: &dyn CheckpointStore,
    job: &str,
    claimed: &Claimed,
    restore: &Restore,
) -> Result<Option<String>, RunError> {
    let Some(name) = &claimed.head.manifest else {
        return Ok(None);
    };
    match restore::load_manifest(store, job, name) {
        Ok(_) => Ok(Some(name.clone())),
        // Loading it fails as well then, with an offer of the checkpoint before.
        Err(_) if *restore == Restore::Latest => Ok(None),
        Err(error) => {
            tracing::warn!(%error, "the latest checkpoint cannot be read: stores may show older rows until the job has caught up");
            Ok(None)
        }
    }
}

impl StartPoint {
    /// Checks that this process sees the checkpoint store that the claim was made in.
    pub fn check_store(&self, store: &dyn CheckpointStore) -> Result<(), RunError> {
        let head = store.head().map_err(RunError::of)?.map(|(head, _)| head);
        match head {
            Some(head) if (head.generation, &head.holder) == (self.generation, &self.holder) => {
                Ok(())
            }
            Some(head) if head.generation > self.generation => Err(RunError::with_code(
                format!("the job has been claimed by {} meanwhile", head.holder),
                EXIT_FENCED,
            )),
            found => Err(RunError::of(format!(
                "{} is not the checkpoint store that process 0 has claimed the job in: {}. All processes must share one store, \
                 such as s3:// or a folder that all of them mount",
                store.location(),
                found.map_or_else(
                    || "it has no HEAD".to_owned(),
                    |head| format!("its HEAD is held by {}", head.holder)
                )
            ))),
        }
    }

    /// The manifest that tells what has been delivered.
    pub fn latest(
        &self,
        store: &dyn CheckpointStore,
        job: &str,
    ) -> Result<Option<Manifest>, RunError> {
        let manifest = |name: &String| restore::load_manifest(store, job, name);
        self.latest
            .as_ref()
            .map(manifest)
            .transpose()
            .map_err(RunError::of)
    }
}
