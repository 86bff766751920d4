//! A store whose latest checkpoint is read before anybody needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{CheckpointStore, Listed, StoreError, SwapError};
use crate::{
    head::{Head, Tag},
    manifest::Manifest,
    restore::{self, RestoreError},
};

/// Keeps the state files of a job's latest checkpoint in memory, as of the last [`catch_up`](Self::catch_up).
///
/// Names are only ever written with one content, so what was read once need not be read again.
pub struct ReadAhead {
    store: Arc<dyn CheckpointStore>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl ReadAhead {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn CheckpointStore>) -> Self {
        Self {
            store,
            files: Mutex::default(),
        }
    }

    /// Reads what the job's latest checkpoint has and this does not, and forgets what it no longer has. Returns that
    /// checkpoint's manifest, and how many files were read.
    ///
    /// # Errors
    /// If there is a checkpoint that cannot be read, other than that it was replaced meanwhile.
    pub fn catch_up(&self, job: &str) -> Result<(Option<Manifest>, usize), RestoreError> {
        let Some(name) = self.store.head()?.and_then(|(head, _)| head.manifest) else {
            return Ok((None, 0));
        };
        let manifest = restore::load_manifest(&*self.store, job, &name)?;
        let named: BTreeSet<&String> = manifest.files.iter().map(|file| &file.name).collect();
        self.files().retain(|name, _| named.contains(name));
        let known: BTreeSet<String> = self.files().keys().cloned().collect();
        let mut read = 0;
        for name in named.into_iter().filter(|name| !known.contains(*name)) {
            match self.store.get(name) {
                Ok(bytes) => {
                    self.files().insert(name.clone(), bytes);
                    read += 1;
                }
                // Merged and cleaned up since: a newer manifest names its successor.
                Err(StoreError::NotFound { .. }) => read += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((Some(manifest), read))
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Nothing that holds the lock leaves it half done.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckpointStore for ReadAhead {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let known = self.files().get(name).cloned();
        known.map_or_else(|| self.store.get(name), Ok)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.files().remove(name);
        self.store.delete(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.store.list(folder)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        self.store.head()
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        self.store.swap_head(expected, new)
    }

    fn location(&self) -> String {
        self.store.location()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Epoch, Generation},
        manifest::{FileEntry, tests::sample},
        testing::{MemoryStore, conformance},
    };

    #[test]
    fn it_is_a_store_like_any_other() {
        conformance(&ReadAhead::new(Arc::new(MemoryStore::default()))).unwrap();
    }

    /// Publishes a checkpoint of these files.
    fn publish(store: &dyn CheckpointStore, epoch: u64, files: &[&str]) {
        let mut manifest = sample();
        manifest.epoch = Epoch(epoch);
        let entry =
            |name: &&str| FileEntry::fresh((*name).to_owned(), name.as_bytes(), Epoch(epoch));
        manifest.files = files.iter().map(entry).collect();
        for name in files {
            store.put(name, name.as_bytes()).unwrap();
        }
        let name = format!("manifests/{epoch}");
        store.put(&name, &manifest.to_bytes().unwrap()).unwrap();
        let before = store.head().unwrap().map(|(_, tag)| tag);
        let head = Head {
            generation: Generation(1),
            epoch: Epoch(epoch),
            manifest: Some(name),
            holder: "test".to_owned(),
        };
        store.swap_head(before.as_ref(), &head).unwrap();
    }

    #[test]
    fn files_are_read_once_and_forgotten_when_no_manifest_names_them() {
        let below = Arc::new(MemoryStore::default());
        let ahead = ReadAhead::new(below.clone());
        let job = sample().job;
        assert_eq!(
            ahead.catch_up(&job).unwrap(),
            (None, 0),
            "no checkpoint yet"
        );
        publish(&*below, 1, &["state/a", "state/b"]);
        assert_eq!(ahead.catch_up(&job).unwrap().1, 2);
        assert_eq!(ahead.catch_up(&job).unwrap().1, 0);
        publish(&*below, 2, &["state/b", "state/c"]);
        let (manifest, read) = ahead.catch_up(&job).unwrap();
        assert_eq!((manifest.unwrap().epoch, read), (Epoch(2), 1));
        // What is in memory is served although the store has lost it; what was forgotten is not.
        for name in ["state/a", "state/b"] {
            below.delete(name).unwrap();
        }
        assert_eq!(ahead.get("state/b").unwrap(), b"state/b");
        assert!(ahead.get("state/a").is_err());
        assert!(ReadAhead::new(below.clone()).get("state/b").is_err());
        assert!(ahead.catch_up("another job").is_err());
    }
}
