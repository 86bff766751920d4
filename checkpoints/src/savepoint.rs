//! Savepoints: complete, self-contained copies of a checkpoint, that belong to whoever asked for them.
//!
//! ```text
//! savepoint.json      the checkpoint's manifest, of kind `savepoint`; written last: without it nothing here counts
//! state/...           the state files that it names, byte for byte, under their names
//! ```
//! A savepoint refers to nothing outside of its folder, so the folder can be moved, and no job ever deletes one. A job
//! that starts from a savepoint first copies its state files into its own store, under names of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::Generation,
    manifest::{CheckpointKind, FileEntry, Manifest},
    paths,
    restore::{self, Loader, RestoreError, Restored},
    sealed::SealError,
    state_file::StateFileError,
    store::{CheckpointStore, StoreError},
};

/// Why no savepoint was made. What had been copied is removed again, if the store allows it.
#[derive(Debug, thiserror::Error)]
pub enum SavepointError {
    /// The place is not empty.
    #[error("{location} cannot hold a savepoint: {reason}; name a folder of its own")]
    Occupied {
        /// The place.
        location: String,
        /// What is there.
        reason: &'static str,
    },
    /// A state file of the checkpoint is not what was written.
    #[error("state file {name} is damaged: its size or checksum is not the one in the manifest")]
    Damaged {
        /// The file's name.
        name: String,
    },
    /// The manifest has no written form.
    #[error(transparent)]
    Manifest(#[from] SealError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks that a place is free.
///
/// # Errors
/// [`SavepointError::Occupied`], or the store's.
pub fn check_free(target: &dyn CheckpointStore) -> Result<(), SavepointError> {
    let occupied = |reason| SavepointError::Occupied {
        location: target.location(),
        reason,
    };
    if target.head()?.is_some() {
        return Err(occupied("it is the checkpoint store of a job"));
    }
    match target.get(paths::SAVEPOINT) {
        Ok(_) => return Err(occupied("a savepoint is there already")),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if target.list(paths::STATE)?.is_empty() {
        Ok(())
    } else {
        Err(occupied(
            "state files are there, of a savepoint that was not completed",
        ))
    }
}

/// Copies a published checkpoint into a free place. Nothing may delete its files meanwhile. When this returns, the
/// savepoint is complete and durable. Says how many bytes it has.
///
/// # Errors
/// [`SavepointError`]; the place then holds no savepoint, unless the store cannot tell.
pub fn write(
    source: &dyn CheckpointStore,
    manifest: &Manifest,
    target: &dyn CheckpointStore,
) -> Result<u64, SavepointError> {
    check_free(target)?;
    let mut copied = BTreeSet::new();
    let written = copy(source, manifest, target, &mut copied).and_then(|bytes| {
        let manifest = Manifest {
            kind: CheckpointKind::Savepoint,
            ..manifest.clone()
        };
        let sealed = manifest.to_bytes()?;
        target.put(paths::SAVEPOINT, &sealed)?;
        Ok(bytes + sealed.len() as u64)
    });
    // A savepoint.json that may be there needs its files.
    if let Err(error) = &written
        && !matches!(error, SavepointError::Store(StoreError::Indeterminate { name, .. }) if name == paths::SAVEPOINT)
    {
        for name in copied {
            // Best effort: what stays is recognised as incomplete.
            let _ = target.delete(name);
        }
    }
    written
}

fn copy<'m>(
    source: &dyn CheckpointStore,
    manifest: &'m Manifest,
    target: &dyn CheckpointStore,
    copied: &mut BTreeSet<&'m str>,
) -> Result<u64, SavepointError> {
    let mut bytes = 0;
    for entry in &manifest.files {
        // A file that is used in parts has several entries.
        if !copied.insert(&entry.name) {
            continue;
        }
        let content = source.get(&entry.name)?;
        if !entry.matches(&content) {
            let name = entry.name.clone();
            return Err(SavepointError::Damaged { name });
        }
        target.put(&entry.name, &content)?;
        bytes += entry.bytes;
    }
    Ok(bytes)
}

/// Loads and verifies a savepoint, of whatever job.
///
/// # Errors
/// [`RestoreError`] with the place, and the name of what is damaged or missing.
pub fn load(store: &dyn CheckpointStore) -> Result<Restored, RestoreError> {
    load_with(store, &mut Loader::of_all())
}

/// As [`load`], of the files what this loader reads. Only a savepoint that was read whole can be adopted.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    store: &dyn CheckpointStore,
    loader: &mut Loader,
) -> Result<Restored, RestoreError> {
    read(store, loader).map_err(|source| RestoreError::Savepoint {
        location: store.location(),
        source: Box::new(source),
    })
}

/// What a savepoint says of itself, of whatever job. Its state files are not looked at.
///
/// # Errors
/// As [`load`], but for those of state files.
pub fn manifest(store: &dyn CheckpointStore) -> Result<Manifest, RestoreError> {
    read_manifest(store).map_err(|source| RestoreError::Savepoint {
        location: store.location(),
        source: Box::new(source),
    })
}

fn read(store: &dyn CheckpointStore, loader: &mut Loader) -> Result<Restored, RestoreError> {
    loader.files(store, paths::SAVEPOINT, read_manifest(store)?)
}

fn read_manifest(store: &dyn CheckpointStore) -> Result<Manifest, RestoreError> {
    restore::read_manifest(store, paths::SAVEPOINT).map_err(|error| match error {
        RestoreError::Store(StoreError::NotFound { .. }) => {
            RestoreError::NoSavepoint(what_is_there(store))
        }
        error => error,
    })
}

/// What a place without a savepoint is, for people.
fn what_is_there(store: &dyn CheckpointStore) -> &'static str {
    if matches!(
        store.head(),
        Ok(Some(_)) | Err(StoreError::Determinate { .. })
    ) {
        "it is the checkpoint store of a job; take a savepoint of the job, or name one of its manifests"
    } else if store
        .list(paths::STATE)
        .is_ok_and(|files| !files.is_empty())
    {
        "savepoint.json is missing: the savepoint was interrupted, or a part of it was removed"
    } else {
        "no savepoint is there"
    }
}

/// Why a savepoint could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// A state file is malformed.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The job's own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a loaded savepoint the job's own: copies its state files into the job's store under names of this generation,
/// which no other process can have written or may delete. Afterwards nothing refers to the savepoint any more. A
/// savepoint of a job of another name becomes one of this job.
///
/// # Errors
/// [`AdoptError`]. Files that were copied are not named by any manifest then, and are cleaned up like others.
pub fn adopt(
    savepoint: Restored,
    store: &dyn CheckpointStore,
    job: &str,
    generation: Generation,
) -> Result<Restored, AdoptError> {
    let Restored {
        name,
        mut manifest,
        mut files,
    } = savepoint;
    let same_job = manifest.job == job;
    manifest.job = job.to_owned();
    let mut adopted: BTreeMap<String, FileEntry> = BTreeMap::new();
    for (number, (entry, file)) in (0..).zip(&mut files) {
        if let Some(known) = adopted.get(&entry.name) {
            *entry = FileEntry {
                shards: entry.shards,
                live_bytes: entry.live_bytes,
                ..known.clone()
            };
            continue;
        }
        let content = match same_job {
            true => file.bytes()?,
            false => file.of_job(job)?.into(),
        };
        let own = FileEntry {
            // Where a checkpoint has its workers: a number that no other file of this epoch has.
            name: paths::state(generation, entry.last_epoch, number),
            bytes: content.len() as u64,
            crc32c: crc32c::crc32c(&content),
            ..entry.clone()
        };
        store.put(&own.name, &content)?;
        adopted.insert(
            std::mem::replace(&mut entry.name, own.name.clone()),
            own.clone(),
        );
        *entry = own;
    }
    manifest.files = files.iter().map(|(entry, _)| entry.clone()).collect();
    Ok(Restored {
        name,
        manifest,
        files,
    })
}
