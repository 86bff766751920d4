//! The checkpoints in a job's store.

use std::path::Path;

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
    let url = absolute(&compiled.job.checkpoint.store, job_folder);
    let store = store::open(&store::job_url(&url, &compiled.plan.name))
        .map_err(|error| error.to_string())?;
    let checkpoints = read(&*store, &compiled.plan.name)?;
    Ok(CheckpointList {
        store: store.location(),
        checkpoints,
    })
}

/// As the job's process sees it, which runs in its folder.
fn absolute(url: &str, job_folder: &Path) -> String {
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
