//! Checkpoints in a local directory.
//!
//! A put writes a temporary file, syncs it, renames it and syncs the directory: in this order, since a name that becomes durable
//! before its content would lead to an empty file. A swap of HEAD does the same under a short lock. A failed sync is
//! never repeated on the same file. After a failed sync of a directory nothing that follows can be trusted, so the store refuses all
//! further work.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use super::{
    CheckpointStore, Listed, StoreError, SwapError,
    filesystem::{Filesystem, milliseconds, object_path},
};
use crate::{
    head::{Head, Tag},
    paths,
};

const TEMPORARY_PREFIX: &str = ".tmp-";
const TEMPORARY_AGE_MS_MAX: u64 = 3_600_000;
const LOCK: &str = ".lock";
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Temporary names differ within the process by this count, between processes by id and start time.
static TEMPORARY_COUNT: AtomicU64 = AtomicU64::new(0);

/// Checkpoints in a directory of a file system.
pub struct LocalStore<F> {
    filesystem: F,
    root: PathBuf,
    poisoned: AtomicBool,
}

impl<F> fmt::Debug for LocalStore<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl<F: Filesystem> LocalStore<F> {
    /// Opens the directory, creating what is missing, and removes temporary files that a crash left behind.
    ///
    /// # Errors
    /// If the directory cannot be created or written.
    pub fn open(filesystem: F, root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self {
            filesystem,
            root: root.into(),
            poisoned: AtomicBool::new(false),
        };
        let name = store.root.display().to_string();
        store
            .prepare()
            .map_err(|error| StoreError::determinate("open", name, error))?;
        Ok(store)
    }

    /// Opens a directory that is there, and changes nothing in it.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn existing(filesystem: F, root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self {
            filesystem,
            root: root.into(),
            poisoned: AtomicBool::new(false),
        };
        match store.filesystem.list(&store.root) {
            Ok(_) => Ok(store),
            Err(error) => {
                let name = store.root.display().to_string();
                Err(StoreError::determinate("open", name, error))
            }
        }
    }

    fn prepare(&self) -> io::Result<()> {
        self.create_dirs(&self.root.clone())?;
        for folder in [paths::MANIFESTS, paths::STATE] {
            self.create_dirs(&self.root.join(folder))?;
            self.remove_old_temporaries(&self.root.join(folder))?;
        }
        self.remove_old_temporaries(&self.root)
    }

    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        let ancestors: Vec<_> = path.ancestors().collect();
        for pair in ancestors.windows(2).rev() {
            let (child, parent) = (pair[0], pair[1]);
            if self.filesystem.list(child).is_err() {
                self.filesystem.create_dir(child)?;
                self.filesystem.sync_dir(parent)?;
            }
        }
        Ok(())
    }

    fn remove_old_temporaries(&self, dir: &Path) -> io::Result<()> {
        let now_ms = milliseconds(SystemTime::now());
        for file in self.filesystem.list(dir)? {
            let old = now_ms.saturating_sub(file.modified_ms) > TEMPORARY_AGE_MS_MAX;
            if file.name.starts_with(TEMPORARY_PREFIX) && old {
                self.filesystem.remove(&dir.join(file.name))?;
            }
        }
        Ok(())
    }

    /// Write, sync, rename, sync the directory.
    fn write_durably(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let action = "write";
        let path = object_path(&self.root, name);
        let dir = path.parent().unwrap_or(&self.root);
        let temporary = dir.join(temporary_name());
        let written = self
            .filesystem
            .write(&temporary, bytes)
            .and_then(|file| self.filesystem.sync(file))
            .and_then(|()| self.filesystem.rename(&temporary, &path));
        if let Err(error) = written {
            // Best effort: what stays is removed when the store is opened an hour later.
            let _ = self.filesystem.remove(&temporary);
            return Err(StoreError::determinate(action, name, error));
        }
        self.filesystem.sync_dir(dir).map_err(|error| {
            self.poisoned.store(true, Ordering::SeqCst);
            StoreError::indeterminate(action, name, error)
        })
    }

    fn usable(&self, action: &'static str, name: &str) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::SeqCst) {
            let reason = "a directory could not be synced before; the process has to start again";
            return Err(StoreError::determinate(action, name, reason));
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.usable("read", name)?;
        let read = self.filesystem.read(&object_path(&self.root, name));
        read.map_err(|error| read_error(name, error))
    }
}

fn read_error(name: &str, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound {
            name: name.to_owned(),
        },
        _ => StoreError::determinate("read", name, error),
    }
}

impl<F: Filesystem> CheckpointStore for LocalStore<F> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.usable("write", name)?;
        self.write_durably(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.read(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.usable("read", name)?;
        let path = object_path(&self.root, name);
        let read = self.filesystem.read_range(&path, range.clone());
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StoreError::outside(name, range),
            _ => read_error(name, error),
        })
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.usable("delete", name)?;
        match self.filesystem.remove(&object_path(&self.root, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::determinate("delete", name, error))
            }
            _ => Ok(()),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.usable("list", folder)?;
        let files = self
            .filesystem
            .list(&object_path(&self.root, folder))
            .map_err(|error| StoreError::determinate("list", folder, error))?;
        let visible = files.into_iter().filter(|file| !file.name.starts_with('.'));
        let mut listed: Vec<_> = visible
            .map(|file| Listed {
                name: format!("{folder}{}", file.name),
                bytes: file.bytes,
                modified_ms: file.modified_ms,
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        match self.read(paths::HEAD) {
            Ok(bytes) => Ok(Some((Head::from_bytes(&bytes)?, tag(&bytes)))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        let lock = self.root.join(LOCK);
        let _guard = self
            .filesystem
            .lock(&lock, LOCK_TIMEOUT)
            .map_err(|error| StoreError::determinate("swap", paths::HEAD, error))?;
        let current = self.head()?;
        if current.as_ref().map(|(_, tag)| tag) != expected {
            return Err(SwapError::Lost {
                current: current.map(|(head, _)| head),
            });
        }
        let bytes = new.to_bytes()?;
        self.write_durably(paths::HEAD, &bytes)?;
        Ok(tag(&bytes))
    }

    fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

fn tag(bytes: &[u8]) -> Tag {
    Tag(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)))
}

fn temporary_name() -> String {
    let count = TEMPORARY_COUNT.fetch_add(1, Ordering::Relaxed);
    let now_ms = milliseconds(SystemTime::now());
    format!("{TEMPORARY_PREFIX}{}-{now_ms}-{count}", process::id())
}
