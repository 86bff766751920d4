//! Reading the state files of checkpoints: each file once, and of a large one only what this process needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{RestoreError, Restored, load_manifest, of_job, read_file, whole};
use crate::{
    ids::{OperatorId, Shard},
    manifest::{FileEntry, Manifest},
    paths, scratch,
    state_file::{ReadRange, StateFile},
    store::{CheckpointStore, StoreError},
};

/// Whether this process needs the state of an operator's shard.
pub type Owned = Box<dyn Fn(&OperatorId, Shard) -> bool + Send + Sync>;

/// A file of this size is read whole whatever is wanted of it: several requests take longer.
const WHOLE_BYTES_MAX: u64 = 512 << 10;

/// Loads checkpoints, one after the other. Names are only ever written with one content, so what was read once is not read
/// again.
#[derive(Default)]
pub struct Loader {
    owned: Option<Owned>,
    scratch: Option<PathBuf>,
    known: BTreeMap<String, Arc<StateFile>>,
}

impl Loader {
    /// Everything is read, into memory.
    #[must_use]
    pub fn of_all() -> Self {
        Self::default()
    }

    /// Only what is owned is read; with a folder for scratch files, one file at a time is in memory.
    #[must_use]
    pub fn new(owned: Option<Owned>, scratch: Option<&Path>) -> Self {
        Self {
            owned,
            scratch: scratch.map(Path::to_owned),
            known: BTreeMap::new(),
        }
    }

    /// Loads and verifies the job's checkpoint of this manifest.
    ///
    /// # Errors
    /// [`RestoreError`] with the name of what is damaged or missing, and the checkpoint before.
    pub fn load(
        &mut self,
        store: &dyn CheckpointStore,
        job: &str,
        name: &str,
    ) -> Result<Restored, RestoreError> {
        whole(store, name, load_manifest(store, job, name), self)
    }

    /// Loads and verifies a checkpoint that nobody has published: its files are in the store.
    ///
    /// # Errors
    /// [`RestoreError`] with the name of what is damaged or missing.
    pub fn load_unpublished(
        &mut self,
        store: &dyn CheckpointStore,
        manifest: Manifest,
    ) -> Result<Restored, RestoreError> {
        let name = paths::manifest(manifest.generation, manifest.epoch);
        self.files(store, &name, manifest)
    }

    /// Reads further files, which are the checkpoint's newest from then on.
    ///
    /// # Errors
    /// [`RestoreError`] with the name of what is damaged or missing.
    pub fn add(
        &mut self,
        store: &dyn CheckpointStore,
        restored: &mut Restored,
        files: &[FileEntry],
    ) -> Result<(), RestoreError> {
        for entry in files {
            let file = self.file(store, &restored.manifest.job, entry)?;
            restored.manifest.files.push(entry.clone());
            restored.files.push((entry.clone(), file));
        }
        Ok(())
    }

    /// Reads what the job's latest checkpoint has and this does not, and forgets what it no longer has. Returns how many
    /// files were read, or were gone already.
    ///
    /// # Errors
    /// If there is a checkpoint that cannot be read, other than that it was replaced meanwhile.
    pub fn catch_up(
        &mut self,
        store: &dyn CheckpointStore,
        job: &str,
    ) -> Result<usize, RestoreError> {
        let Some(name) = store.head()?.and_then(|(head, _)| head.manifest) else {
            return Ok(0);
        };
        let manifest = load_manifest(store, job, &name)?;
        let named: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.name).collect();
        self.known.retain(|name, _| named.contains(&**name));
        let mut read = BTreeSet::new();
        for entry in &manifest.files {
            if !self.known.contains_key(&entry.name) {
                read.insert(&entry.name);
                match self.file(store, job, entry) {
                    // Merged and cleaned up since: a newer manifest names its successor.
                    Ok(_) | Err(RestoreError::Store(StoreError::NotFound { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(read.len())
    }

    /// Reads and verifies the state files of a manifest.
    pub(crate) fn files(
        &mut self,
        store: &dyn CheckpointStore,
        name: &str,
        manifest: Manifest,
    ) -> Result<Restored, RestoreError> {
        let mut files = Vec::with_capacity(manifest.files.len());
        for entry in &manifest.files {
            files.push((entry.clone(), self.file(store, &manifest.job, entry)?));
        }
        Ok(Restored {
            name: name.to_owned(),
            manifest,
            files,
        })
    }

    /// A file, read unless it is known.
    fn file(
        &mut self,
        store: &dyn CheckpointStore,
        job: &str,
        entry: &FileEntry,
    ) -> Result<Arc<StateFile>, RestoreError> {
        if let Some(known) = self.known.get(&entry.name) {
            return Ok(known.clone());
        }
        let file = match &self.owned {
            Some(owned) if entry.bytes > WHOLE_BYTES_MAX => read_parts(store, job, entry, owned)?,
            _ => read_file(store, job, entry)?,
        };
        let file = Arc::new(self.kept(file)?);
        self.known.insert(entry.name.clone(), file.clone());
        Ok(file)
    }

    /// Moves a file out of memory, if there is a folder for it.
    pub(crate) fn kept(&self, file: StateFile) -> Result<StateFile, RestoreError> {
        let Some(directory) = &self.scratch else {
            return Ok(file);
        };
        let name = file.name().to_owned();
        let kept = scratch::nameless_file(directory).and_then(|scratch| file.keep_in(scratch));
        kept.map_err(|error| RestoreError::Scratch {
            name,
            directory: directory.display().to_string(),
            error: error.to_string(),
        })
    }
}

/// Reads and verifies the owned sections of a state file.
fn read_parts(
    store: &dyn CheckpointStore,
    job: &str,
    entry: &FileEntry,
    owned: &Owned,
) -> Result<StateFile, RestoreError> {
    let length = usize::try_from(entry.bytes).unwrap_or(usize::MAX);
    let stored = Stored {
        store,
        name: &entry.name,
    };
    let (file, found_crc32c) = StateFile::open_parts(&entry.name, length, &stored, owned)?;
    if found_crc32c != entry.crc32c {
        return Err(RestoreError::Mismatch {
            name: entry.name.clone(),
            found_bytes: entry.bytes,
            found_crc32c,
            expected_bytes: entry.bytes,
            expected_crc32c: entry.crc32c,
        });
    }
    of_job(file, job)
}

/// A file of a store.
pub(crate) struct Stored<'s> {
    pub store: &'s dyn CheckpointStore,
    pub name: &'s str,
}

impl ReadRange for Stored<'_> {
    type Error = RestoreError;

    fn read(&self, range: Range<usize>) -> Result<Vec<u8>, RestoreError> {
        let range = range.start as u64..range.end as u64;
        Ok(self.store.get_range(self.name, range)?)
    }
}

#[cfg(test)]
mod tests;
