//! Restoring: finding a checkpoint, verifying every byte of it, and handing out its deltas.

mod loader;

use std::{collections::BTreeSet, sync::Arc};

pub(crate) use loader::Stored;
pub use loader::{Loader, Owned};

use crate::{
    claim::newest_manifest,
    ids::{Epoch, OperatorId, Shard},
    manifest::{FileEntry, MANIFEST_VERSION, Manifest},
    paths,
    sealed::SealError,
    section::ShardDelta,
    shard_merge::ShardMerge,
    shard_range::ShardRange,
    state_file::{StateFile, StateFileError},
    store::{CheckpointStore, StoreError},
};

/// Which checkpoint to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that HEAD names.
    Latest,
    /// A manifest by its name, such as `manifests/1763900000123-1763900000999.json`.
    Path(String),
}

/// Why a checkpoint cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something that the checkpoint needs is missing or damaged.
    #[error("checkpoint {manifest} cannot be restored: {source}{}", offer(.previous.as_ref()))]
    Damaged {
        /// The manifest of the checkpoint.
        manifest: String,
        /// What is wrong, with the name of the file.
        source: Box<RestoreError>,
        /// The manifest of the checkpoint before it, if there is one.
        previous: Option<String>,
    },
    /// The store has manifests, but no HEAD says which one counts.
    #[error(
        "the checkpoint store {location} has no HEAD; its newest checkpoint is {newest_manifest}"
    )]
    MissingHead {
        /// The store.
        location: String,
        /// The newest manifest there is.
        newest_manifest: String,
    },
    /// A savepoint is missing, incomplete or damaged.
    #[error("savepoint {location} cannot be restored: {source}")]
    Savepoint {
        /// The place.
        location: String,
        /// What is wrong, with the name of the file.
        source: Box<RestoreError>,
    },
    /// There is no savepoint, but something else or nothing.
    #[error("{0}")]
    NoSavepoint(&'static str),
    /// A manifest is damaged.
    #[error("manifest {name}: {source}")]
    Manifest {
        /// The manifest's name.
        name: String,
        /// What is wrong with it.
        source: SealError,
    },
    /// A manifest has a form that this release does not know, or belongs to another job.
    #[error("manifest {name}: {reason}")]
    Foreign {
        /// The manifest's name.
        name: String,
        /// Why it is refused.
        reason: String,
    },
    /// A state file is not the one that the manifest names.
    #[error(
        "state file {name}: {found_bytes} bytes with checksum {found_crc32c:08x} found, {expected_bytes} with {expected_crc32c:08x} expected"
    )]
    Mismatch {
        /// The file's name.
        name: String,
        /// Its size, in bytes.
        found_bytes: u64,
        /// Its checksum.
        found_crc32c: u32,
        /// Its size as the manifest has it, in bytes.
        expected_bytes: u64,
        /// Its checksum as the manifest has it.
        expected_crc32c: u32,
    },
    /// A state file is damaged.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// Files that are not to be held in memory cannot be kept elsewhere.
    #[error("state file {name} cannot be kept in {directory} while it is restored: {error}")]
    Scratch {
        /// The file's name.
        name: String,
        /// The folder.
        directory: String,
        /// What went wrong.
        error: String,
    },
    /// A file is missing or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn offer(previous: Option<&String>) -> String {
    match previous {
        Some(previous) => {
            format!("; the checkpoint before it is {previous} (--restore {previous})")
        }
        None => "; there is no checkpoint before it".to_owned(),
    }
}

/// A verified checkpoint, its files in memory or in scratch files; shared by the workers while they restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The manifest's name.
    pub name: String,
    /// The manifest.
    pub manifest: Manifest,
    /// The state files in the order in which they apply, each with the entry that says which shards are read from it.
    pub files: Vec<(FileEntry, Arc<StateFile>)>,
}

impl Restored {
    /// All shards that have state.
    #[must_use]
    pub fn shards(&self) -> BTreeSet<Shard> {
        let shards = |(entry, file): &(FileEntry, Arc<StateFile>)| {
            let range = entry.shards;
            let shards = file.shards().filter(|shard| range.contains(*shard));
            shards.collect::<Vec<_>>()
        };
        self.files.iter().flat_map(shards).collect()
    }

    /// The entries of one shard of an operator, sorted by key and sub-key, with nothing that is no longer there.
    ///
    /// # Errors
    /// [`StateFileError`] for malformed sections.
    pub fn merged(
        &self,
        operator: &OperatorId,
        shard: Shard,
    ) -> Result<ShardDelta, StateFileError> {
        let mut merged = ShardMerge::default();
        let files = self.files.iter().rev();
        for (_, file) in files.filter(|(entry, _)| entry.shards.contains(shard)) {
            file.merge_into(&mut merged, operator, shard)?;
        }
        Ok(merged.into_delta(shard, true))
    }

    /// The operator's deltas of these shards, file by file from oldest to newest: of each shard in the order in which
    /// they apply.
    ///
    /// # Errors
    /// The iterator yields [`StateFileError`] for malformed sections.
    pub fn deltas(
        &self,
        operator: &OperatorId,
        shards: impl Into<ShardRange>,
    ) -> impl Iterator<Item = Result<ShardDelta, StateFileError>> {
        let shards = shards.into();
        self.files
            .iter()
            .flat_map(move |(entry, file)| file.deltas(operator, entry.shards.intersect(shards)))
    }
}

/// Loads and verifies a checkpoint into memory. `None` only if this job never published one.
///
/// # Errors
/// [`RestoreError`] with the name of what is damaged or missing, and the checkpoint before.
pub fn load(
    store: &dyn CheckpointStore,
    job: &str,
    which: &Which,
) -> Result<Option<Restored>, RestoreError> {
    load_with(store, job, which, &mut Loader::of_all())
}

/// As [`load`], of the files what this loader reads.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    store: &dyn CheckpointStore,
    job: &str,
    which: &Which,
    loader: &mut Loader,
) -> Result<Option<Restored>, RestoreError> {
    let Some(name) = choose(store, which)? else {
        return Ok(None);
    };
    loader.load(store, job, &name).map(Some)
}

/// Loads and verifies the checkpoint of a manifest, of whatever job.
///
/// # Errors
/// As [`load`].
pub fn load_named(store: &dyn CheckpointStore, name: &str) -> Result<Restored, RestoreError> {
    whole(
        store,
        name,
        read_manifest(store, name),
        &mut Loader::of_all(),
    )
}

/// A checkpoint with all its files, or the one before as an offer.
fn whole(
    store: &dyn CheckpointStore,
    name: &str,
    manifest: Result<Manifest, RestoreError>,
    loader: &mut Loader,
) -> Result<Restored, RestoreError> {
    let restored = manifest.and_then(|manifest| loader.files(store, name, manifest));
    restored.map_err(|source| RestoreError::Damaged {
        previous: previous(store, name),
        manifest: name.to_owned(),
        source: Box::new(source),
    })
}

fn choose(store: &dyn CheckpointStore, which: &Which) -> Result<Option<String>, RestoreError> {
    if let Which::Path(name) = which {
        return Ok(Some(name.clone()));
    }
    if let Some((head, _)) = store.head()? {
        return Ok(head.manifest);
    }
    match newest_manifest(store)? {
        None => Ok(None),
        Some(newest_manifest) => Err(RestoreError::MissingHead {
            location: store.location(),
            newest_manifest,
        }),
    }
}

/// Reads and verifies a manifest.
///
/// # Errors
/// [`RestoreError`] if it is missing, damaged, of a later release or of another job.
pub fn load_manifest(
    store: &dyn CheckpointStore,
    job: &str,
    name: &str,
) -> Result<Manifest, RestoreError> {
    let manifest = read_manifest(store, name)?;
    if manifest.job != job {
        return Err(RestoreError::Foreign {
            name: name.to_owned(),
            reason: format!("it belongs to the job {}, not to {job}", manifest.job),
        });
    }
    Ok(manifest)
}

/// Reads and verifies a manifest of whatever job.
///
/// # Errors
/// [`RestoreError`] if it is missing, damaged or of a later release.
pub fn read_manifest(store: &dyn CheckpointStore, name: &str) -> Result<Manifest, RestoreError> {
    let bytes = store.get(name)?;
    let manifest = Manifest::from_bytes(&bytes).map_err(|source| RestoreError::Manifest {
        name: name.to_owned(),
        source,
    })?;
    if manifest.format_version != MANIFEST_VERSION {
        let version = manifest.format_version;
        return Err(RestoreError::Foreign {
            name: name.to_owned(),
            reason: format!("its version {version} is not known to this release"),
        });
    }
    Ok(manifest)
}

/// Reads and verifies one state file of a manifest.
pub(crate) fn read_file(
    store: &dyn CheckpointStore,
    job: &str,
    entry: &FileEntry,
) -> Result<StateFile, RestoreError> {
    let bytes = store.get(&entry.name)?;
    // The file's own checksums come first, since they tell which part is damaged.
    let (found_bytes, found_crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
    let file = StateFile::open(entry.name.clone(), bytes)?;
    if (found_bytes, found_crc32c) != (entry.bytes, entry.crc32c) {
        return Err(RestoreError::Mismatch {
            name: entry.name.clone(),
            found_bytes,
            found_crc32c,
            expected_bytes: entry.bytes,
            expected_crc32c: entry.crc32c,
        });
    }
    of_job(file, job)
}

/// The file, if it is one of this job.
pub(crate) fn of_job(file: StateFile, job: &str) -> Result<StateFile, RestoreError> {
    match &file.header().job {
        own if own == job => Ok(file),
        other => Err(RestoreError::Foreign {
            name: file.name().to_owned(),
            reason: format!("it belongs to the job {other}, not to {job}"),
        }),
    }
}

/// The manifest of the checkpoint before this one, for an offer: failing to find it is no further error.
fn previous(store: &dyn CheckpointStore, name: &str) -> Option<String> {
    let epoch_of = |name: &str| paths::origin(name).map(|(_, epoch)| epoch);
    let limit: Epoch = epoch_of(name)?;
    let listed = store.list(paths::MANIFESTS).ok()?;
    let older = listed
        .into_iter()
        .filter(|listed| epoch_of(&listed.name).is_some_and(|epoch| epoch < limit));
    older
        .max_by_key(|listed| epoch_of(&listed.name))
        .map(|listed| listed.name)
}
