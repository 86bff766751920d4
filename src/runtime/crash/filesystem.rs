//! Crash points around the steps in which a state file becomes durable in a local folder.

use std::{fs::File, io, ops::Range, path::Path, time::Duration};

use tidewright_checkpoints::{
    paths,
    store::{DiskFilesystem, FileInfo, Filesystem},
};

use super::crash_point;

/// The real file system. Its steps count for files of the state folder alone.
#[derive(Default)]
pub struct CrashingFilesystem(DiskFilesystem);

/// A file that is not synced, and whether it is a state file.
pub struct Written {
    file: File,
    is_state: bool,
}

impl Filesystem for CrashingFilesystem {
    type Written = Written;
    type Lock = File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<Written> {
        let file = self.0.write(path, bytes)?;
        let is_state = is_in_state(path);
        crash_if(is_state, "state-file-written");
        Ok(Written { file, is_state })
    }

    fn sync(&self, Written { file, is_state }: Written) -> io::Result<()> {
        self.0.sync(file)?;
        crash_if(is_state, "state-file-synced");
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)?;
        crash_if(is_in_state(to), "state-file-renamed");
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)?;
        crash_if(path.ends_with(paths::STATE), "state-folder-synced");
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.0.read_range(path, range)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileInfo>> {
        self.0.list(path)
    }

    fn lock(&self, path: &Path, timeout: Duration) -> io::Result<File> {
        self.0.lock(path, timeout)
    }
}

fn is_in_state(path: &Path) -> bool {
    path.parent()
        .is_some_and(|folder| folder.ends_with(paths::STATE))
}

fn crash_if(is_state: bool, step: &str) {
    if is_state {
        crash_point(step);
    }
}
