//! What a run starts from: a checkpoint of the job, or a savepoint of any.

use tidewright_checkpoints::Generation;
use tidewright_checkpoints::manifest::CheckpointKind;
use tidewright_checkpoints::restore::{self as checkpoint, Restored, Which};
use tidewright_checkpoints::savepoint;
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_operators::StateMemory;

use super::{Restore, RunError};

/// The checkpoint of a manifest, whole and verified. Where state has a limit, its files don't stay in memory.
pub fn load(
    store: &dyn CheckpointStore,
    job: &str,
    manifest: Option<&String>,
    memory: Option<&StateMemory>,
) -> Result<Option<Restored>, RunError> {
    let scratch = memory.map(StateMemory::directory);
    match manifest {
        None => Ok(None),
        Some(name) => checkpoint::load_into(store, job, &Which::Path(name.clone()), scratch)
            .map_err(RunError::of),
    }
}

/// The savepoint to start from, whole and verified. It is read before the job is claimed: a damaged one disturbs nobody.
pub fn load_savepoint(restore: &Restore) -> Result<Option<Restored>, RunError> {
    let Restore::Savepoint(url) = restore else {
        return Ok(None);
    };
    let store = store::open_existing(url).map_err(RunError::of)?;
    savepoint::load(&*store).map(Some).map_err(RunError::of)
}

/// Copies a savepoint's state into the job's own store, so that nothing depends on the savepoint any more.
pub fn adopt(
    savepoint: Restored,
    store: &dyn CheckpointStore,
    job: &str,
    generation: Generation,
) -> Result<Restored, RunError> {
    savepoint::adopt(savepoint, store, job, generation).map_err(|error| {
        RunError::of(format!(
            "the savepoint cannot be copied into the checkpoint store {}: {error}",
            store.location()
        ))
    })
}

/// What a run goes on from, for people.
pub fn origin(restored: &Restored) -> String {
    let manifest = &restored.manifest;
    let what = match manifest.kind {
        CheckpointKind::Savepoint => format!("savepoint of job {}", manifest.job),
        CheckpointKind::Periodic | CheckpointKind::Final => "checkpoint".to_owned(),
    };
    format!(
        "the {what} of epoch {} (generation {})",
        manifest.epoch, manifest.generation
    )
}
