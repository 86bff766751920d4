//! What a run starts from: a checkpoint of the job, or a savepoint of any.

use tidewright_checkpoints::Generation;
use tidewright_checkpoints::manifest::CheckpointKind;
use tidewright_checkpoints::restore::{Loader, Restored};
use tidewright_checkpoints::savepoint;
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::plan::Plan;
use tidewright_operators::StateMemory;

use super::{Restore, RunError};
use crate::dataflow;
use crate::runtime::context::Place;

/// Reads the state that this process needs. Where state has a limit, its files don't stay in memory.
pub fn loader(plan: &Plan, place: Place, memory: Option<&StateMemory>) -> Loader {
    // A single process needs everything.
    let owned = (place.processes > 1).then(|| dataflow::owned(plan, place));
    Loader::new(owned, memory.map(StateMemory::directory))
}

/// The savepoint to start from, verified. It is read before the job is claimed: a damaged one disturbs nobody. Process 0
/// reads all of it, because it takes the files over. Where state has a limit, its files don't stay in memory.
pub fn load_savepoint(
    restore: &Restore,
    place: Place,
    loader: &mut Loader,
    memory: Option<&StateMemory>,
) -> Result<Option<Restored>, RunError> {
    let Restore::Savepoint(url) = restore else {
        return Ok(None);
    };
    let store = store::open_existing(url).map_err(RunError::of)?;
    let loaded = match place.leads() {
        true => savepoint::load_with(&*store, &mut of_all(memory)),
        false => savepoint::load_with(&*store, loader),
    };
    loaded.map(Some).map_err(RunError::of)
}

/// Reads everything, whichever workers are here.
fn of_all(memory: Option<&StateMemory>) -> Loader {
    Loader::new(None, memory.map(StateMemory::directory))
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
