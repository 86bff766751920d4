//! The checkpoints in a job's store.

use std::{path::Path, sync::Arc};

use tidewright_checkpoints::head::Head;
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::store::{self, CheckpointStore, StoreError};
use tidewright_checkpoints::{CheckpointKind, RestoreError, paths, restore};
use tidewright_jobs::Compiled;

use super::api::views::{CheckpointList, CheckpointView};

/// A job's checkpoints, the newest first.
///
/// # Errors
/// If the store cannot be read, or a manifest is damaged.
pub fn list(compiled: &Compiled, job_folder: &Path) -> Result<CheckpointList, String> {
    let store = open(compiled, job_folder)?;
    let checkpoints = read(&*store, &compiled.plan.name)?;
    Ok(CheckpointList {
        store: store.location(),
        checkpoints,
    })
}

/// Claims of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The last one.
    pub claimed: u64,
    /// The one that has published the latest checkpoint; 0 without one.
    pub published: u64,
}

/// Who claimed the job last, and who has published last.
///
/// # Errors
/// If the store cannot be read, or the latest manifest is damaged.
pub fn generations(compiled: &Compiled, job_folder: &Path) -> Result<Generations, String> {
    let store = open(compiled, job_folder)?;
    loop {
        let Some((head, _)) = store.head().map_err(|error| error.to_string())? else {
            return Ok(Generations::default());
        };
        let manifest = head.manifest.as_ref();
        let manifest =
            manifest.map(|name| restore::load_manifest(&*store, &compiled.plan.name, name));
        match manifest.transpose() {
            Ok(manifest) => {
                return Ok(Generations {
                    claimed: head.generation.0,
                    published: manifest.map_or(0, |manifest| manifest.generation.0),
                });
            }
            // HEAD has moved on since it was read.
            Err(RestoreError::Store(StoreError::NotFound { .. })) if moved_on(&*store, &head) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn moved_on(store: &dyn CheckpointStore, from: &Head) -> bool {
    let now = store.head().ok().flatten();
    now.is_some_and(|(now, _)| now != *from)
}

fn open(compiled: &Compiled, job_folder: &Path) -> Result<Arc<dyn CheckpointStore>, String> {
    let url = absolute(&compiled.job.checkpoint.store, job_folder);
    store::open(&store::job_url(&url, &compiled.plan.name)).map_err(|error| error.to_string())
}

/// As the job's process sees it, which runs in its folder.
pub fn absolute(url: &str, job_folder: &Path) -> String {
    match url.strip_prefix("file://") {
        Some(path) => format!("file://{}", job_folder.join(path).display()),
        None => url.to_owned(),
    }
}

fn read(store: &dyn CheckpointStore, job: &str) -> Result<Vec<CheckpointView>, String> {
    let head = store.head().map_err(|error| error.to_string())?;
    let latest = head.and_then(|(head, _)| head.manifest);
    let listed = store
        .list(paths::MANIFESTS)
        .map_err(|error| error.to_string())?;
    let mut views = Vec::new();
    for listed in listed {
        match restore::load_manifest(store, job, &listed.name) {
            Ok(manifest) => {
                let is_latest = latest.as_ref() == Some(&listed.name);
                views.push(view(listed.name, &manifest, is_latest));
            }
            // Cleaned up since it was listed.
            Err(RestoreError::Store(StoreError::NotFound { .. })) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    views.sort_by(|one, other| (other.epoch, &other.name).cmp(&(one.epoch, &one.name)));
    Ok(views)
}

fn view(name: String, manifest: &Manifest, latest: bool) -> CheckpointView {
    let kind = match manifest.kind {
        CheckpointKind::Periodic => "periodic",
        CheckpointKind::Savepoint => "savepoint",
        CheckpointKind::Final => "final",
    };
    CheckpointView {
        name,
        epoch: manifest.epoch.0,
        kind: kind.to_owned(),
        created_ms: manifest.created_ms,
        generation: manifest.generation.0,
        workers: manifest.workers,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        latest,
    }
}
