//! A model of a disk on which a crash drops and reorders everything that was not synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::Rng;
use crate::store::{
    FileInfo, Filesystem, LocalStore, StoreError,
    filesystem::{lock_held, milliseconds},
};

/// The message of every error after the power has failed.
pub(super) const POWER_FAILURE: &str = "the power is out";

/// A step of the protocol to leave out or to fail, to show that tests notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStep {
    /// Syncing a file.
    File,
    /// Syncing a directory.
    Directory,
}

/// A disk; it outlives the processes that use it.
#[derive(Clone, Debug, Default)]
pub struct Unsynced {
    disk: Arc<Mutex<Disk>>,
}

impl Unsynced {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file system as a process sees it from now until the next crash.
    #[must_use]
    pub fn filesystem(&self, omit: Option<SyncStep>) -> UnsyncedFilesystem {
        let boot = self.disk().boot;
        UnsyncedFilesystem {
            disk: Arc::clone(&self.disk),
            boot,
            omit,
        }
    }

    /// A checkpoint store on this disk, the same code as on a real one.
    ///
    /// # Errors
    /// If the power is out.
    pub fn store(&self) -> Result<LocalStore<UnsyncedFilesystem>, StoreError> {
        LocalStore::open(self.filesystem(None), "/job")
    }

    /// Lets the power fail after so many more operations: all later ones are errors until [`Self::crash`].
    pub fn fail_after(&self, operations: u64) {
        self.disk().operations_left = Some(operations);
    }

    /// Lets the next such step fail, once: what was to be synced is not.
    pub fn fail_next(&self, step: SyncStep) {
        self.disk().failing = Some(step);
    }

    /// Crashes and comes back with what was synced, and a random part of the rest, in random order.
    pub fn crash(&self, seed: u64) {
        self.disk().crash(&mut Rng::new(seed));
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's view of the disk; it ends with the crash.
#[derive(Clone, Debug)]
pub struct UnsyncedFilesystem {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
    omit: Option<SyncStep>,
}

/// A file written and not yet synced.
#[derive(Debug)]
pub struct WrittenFile(usize);

/// A lock on the disk.
#[derive(Debug)]
pub struct DiskLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.locks.remove(&self.path);
    }
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<FileState>,
    dirs: BTreeMap<PathBuf, DirState>,
    locks: BTreeSet<PathBuf>,
    boot: u64,
    operations_left: Option<u64>,
    failing: Option<SyncStep>,
}

#[derive(Debug)]
struct FileState {
    content: Vec<u8>,
    synced: bool,
    modified_ms: u64,
}

#[derive(Debug, Default)]
struct DirState {
    entries: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<EntryChange>,
    /// Whether the directory's own entry in its parent is durable.
    linked: bool,
}

#[derive(Clone, Debug)]
enum EntryChange {
    Link {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
        file: usize,
    },
    Unlink {
        name: String,
    },
}

fn apply(entries: &mut BTreeMap<String, usize>, change: &EntryChange) {
    match change {
        EntryChange::Link { name, file } => {
            entries.insert(name.clone(), *file);
        }
        EntryChange::Rename { from, to, file } => {
            entries.remove(from);
            entries.insert(to.clone(), *file);
        }
        EntryChange::Unlink { name } => {
            entries.remove(name);
        }
    }
}

impl Disk {
    fn crash(&mut self, rng: &mut Rng) {
        self.boot += 1;
        self.operations_left = None;
        self.locks.clear();
        let lost: Vec<PathBuf> = self
            .dirs
            .iter()
            .filter(|(_, dir)| !dir.linked && rng.percent(50))
            .map(|(path, _)| path.clone())
            .collect();
        self.dirs
            .retain(|path, _| !lost.iter().any(|lost| path.starts_with(lost)));
        for dir in self.dirs.values_mut() {
            let mut pending = std::mem::take(&mut dir.pending);
            rng.shuffle(&mut pending);
            for change in pending {
                if rng.percent(50) {
                    apply(&mut dir.durable, &change);
                }
            }
            dir.entries = dir.durable.clone();
            dir.linked = true;
        }
        for file in self.files.iter_mut().filter(|file| !file.synced) {
            damage(&mut file.content, rng);
            file.synced = true;
        }
    }

    fn fail_if_told(&mut self, step: SyncStep) -> io::Result<()> {
        if self.failing == Some(step) {
            self.failing = None;
            return Err(io::Error::other("the disk reports a failed write"));
        }
        Ok(())
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut DirState> {
        self.dirs.get_mut(path).ok_or_else(not_found)
    }

    fn change(&mut self, path: &Path, change: EntryChange) -> io::Result<()> {
        let dir = self.dir(parent(path))?;
        apply(&mut dir.entries, &change);
        dir.pending.push(change);
        Ok(())
    }

    fn file_at(&mut self, path: &Path) -> io::Result<usize> {
        let dir = self.dir(parent(path))?;
        dir.entries.get(&name(path)).copied().ok_or_else(not_found)
    }
}

/// What may be left of content that was never synced.
fn damage(content: &mut Vec<u8>, rng: &mut Rng) {
    match rng.below(4) {
        0 => content.clear(),
        1 => content.truncate(rng.below(content.len() as u64) as usize),
        2 => content.fill(0),
        _ => {}
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl UnsyncedFilesystem {
    /// One operation on the disk, if this process still runs and the power is on.
    fn operate<T>(&self, operation: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let powered = disk.operations_left != Some(0);
        if disk.boot != self.boot || !powered {
            return Err(io::Error::other(POWER_FAILURE));
        }
        if let Some(left) = &mut disk.operations_left {
            *left -= 1;
        }
        disk.dirs.entry(PathBuf::from("/")).or_default().linked = true;
        operation(&mut disk)
    }
}

impl Filesystem for UnsyncedFilesystem {
    type Written = WrittenFile;
    type Lock = DiskLock;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|disk| {
            disk.dir(parent(path))?;
            disk.dirs.entry(path.to_owned()).or_default();
            Ok(())
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<WrittenFile> {
        self.operate(|disk| {
            if disk.file_at(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = disk.files.len();
            disk.files.push(FileState {
                content: bytes.to_owned(),
                synced: false,
                modified_ms: milliseconds(SystemTime::now()),
            });
            disk.change(
                path,
                EntryChange::Link {
                    name: name(path),
                    file,
                },
            )?;
            Ok(WrittenFile(file))
        })
    }

    fn sync(&self, file: WrittenFile) -> io::Result<()> {
        self.operate(|disk| {
            disk.fail_if_told(SyncStep::File)?;
            disk.files[file.0].synced |= self.omit != Some(SyncStep::File);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|disk| {
            let file = disk.file_at(from)?;
            let (from, name) = (name(from), name(to));
            disk.change(
                to,
                EntryChange::Rename {
                    from,
                    to: name,
                    file,
                },
            )
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|disk| {
            disk.fail_if_told(SyncStep::Directory)?;
            if self.omit == Some(SyncStep::Directory) {
                return Ok(());
            }
            let dir = disk.dir(path)?;
            dir.pending.clear();
            dir.durable = dir.entries.clone();
            for (child, dir) in &mut disk.dirs {
                dir.linked |= child.parent() == Some(path);
            }
            Ok(())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.operate(|disk| {
            let file = disk.file_at(path)?;
            Ok(disk.files[file].content.clone())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(|disk| {
            disk.file_at(path)?;
            disk.change(path, EntryChange::Unlink { name: name(path) })
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileInfo>> {
        self.operate(|disk| {
            let entries = disk.dir(path)?.entries.clone();
            let info = |(name, file): (String, usize)| FileInfo {
                name,
                bytes: disk.files[file].content.len() as u64,
                modified_ms: disk.files[file].modified_ms,
            };
            Ok(entries.into_iter().map(info).collect())
        })
    }

    fn lock(&self, path: &Path, timeout: Duration) -> io::Result<DiskLock> {
        let deadline = Instant::now() + timeout;
        while !self.operate(|disk| Ok(disk.locks.insert(path.to_owned())))? {
            if Instant::now() >= deadline {
                return Err(lock_held(path));
            }
            thread::yield_now();
        }
        Ok(DiskLock {
            disk: Arc::clone(&self.disk),
            path: path.to_owned(),
        })
    }
}
