//! What a run starts from: a checkpoint of the job, or a savepoint of any.

use tidewright_checkpoints::Generation;
use tidewright_checkpoints::manifest::{CheckpointKind, Manifest};
use tidewright_checkpoints::restore::{self as checkpoint, Loader, RestoreError, Restored, Which};
use tidewright_checkpoints::savepoint;
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::plan::Plan;
use tidewright_operators::StateMemory;

use super::{Restore, RunError};
use crate::dataflow;
use crate::runtime::context::Place;
use crate::runtime::replay;

/// Reads the state that this process needs. Where state has a limit, its files don't stay in memory.
pub fn loader(plan: &Plan, place: Place, memory: Option<&StateMemory>) -> Loader {
    // A single process needs everything.
    let owned = (place.processes > 1).then(|| dataflow::owned(plan, place));
    Loader::new(owned, memory.map(StateMemory::directory))
}

/// What is to be restored, now that the job's own store can be looked into: a shadow that has checkpoints goes on from those.
///
/// # Errors
/// If the store cannot be read.
pub fn resolve(restore: Restore, own: &dyn CheckpointStore) -> Result<Restore, RunError> {
    let Restore::LatestOf { job, anew } = restore else {
        return Ok(restore);
    };
    let head = own.head().map_err(RunError::of)?;
    if !anew && head.is_some_and(|(head, _)| head.manifest.is_some()) {
        return Ok(Restore::Latest);
    }
    Ok(Restore::LatestOf { job, anew })
}

/// How often the latest checkpoint of a running job is looked for: it goes away while it is read, where few are kept.
const ATTEMPTS_MAX: u32 = 10;

/// The latest checkpoint of another job below the same URL.
fn latest_of(job: &str, url: &str, memory: Option<&StateMemory>) -> Result<Restored, RunError> {
    let mut loader = of_all(memory);
    look(job, url, |store| {
        checkpoint::load_with(store, job, &Which::Latest, &mut loader)
    })
}

/// Its manifest.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn latest_manifest(job: &str, url: &str) -> Result<Manifest, RunError> {
    look(job, url, |store| {
        let name = store.head()?.and_then(|(head, _)| head.manifest);
        let manifest = name.map(|name| checkpoint::load_manifest(store, job, &name));
        manifest.transpose()
    })
}

/// Looks for what a running job may replace meanwhile.
fn look<T>(
    job: &str,
    url: &str,
    mut found: impl FnMut(&dyn CheckpointStore) -> Result<Option<T>, RestoreError>,
) -> Result<T, RunError> {
    let store = store::open(&store::job_url(url, job)).map_err(RunError::of)?;
    let mut attempt = 1;
    loop {
        match found(&*store) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {
                return Err(RunError::of(format!(
                    "the job {job} has no checkpoint in {} that a shadow could start from: wait for its first one, or leave \
                     --restore out",
                    store.location()
                )));
            }
            Err(_) if attempt < ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(RunError::of(error)),
        }
    }
}

/// The savepoint, or another job's checkpoint, to start from, verified. It is read before the job is claimed: a damaged one
/// disturbs nobody. Process 0 reads all of it, because it takes the files over. Another job's latest checkpoint it alone reads: that
/// job goes on meanwhile, so each process would find another one; the others read what process 0 has copied. Where state has a limit, its files don't stay in memory. `url` is where the
/// checkpoints of all jobs are.
pub fn load_savepoint(
    restore: &Restore,
    url: &str,
    place: Place,
    loader: &mut Loader,
    memory: Option<&StateMemory>,
) -> Result<Option<Restored>, RunError> {
    match restore {
        Restore::Savepoint(location) => {
            let store = store::open_existing(location).map_err(RunError::of)?;
            let loaded = match place.leads() {
                true => savepoint::load_with(&*store, &mut of_all(memory)),
                false => savepoint::load_with(&*store, loader),
            };
            loaded.map(Some).map_err(RunError::of)
        }
        Restore::LatestOf { job, .. } if place.leads() => latest_of(job, url, memory).map(Some),
        Restore::LatestOf { .. } | Restore::Latest | Restore::Manifest(_) | Restore::Nothing => {
            Ok(None)
        }
    }
}

/// Reads everything, whichever workers are here.
pub fn of_all(memory: Option<&StateMemory>) -> Loader {
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

/// Nothing of what a checkpoint has sent is in the stores of a shadow.
pub fn forget_stores(manifest: &mut Manifest) {
    manifest.delivered.clear();
    replay::forget(manifest);
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
