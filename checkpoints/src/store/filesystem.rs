//! The few file operations that durability is made of, so that the same protocol runs on a disk and on a model of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::part;

/// Files and directories as POSIX has them: what is not synced may be lost or reordered by a crash.
pub trait Filesystem: Send + Sync + 'static {
    /// A file that has been written and is not yet synced.
    type Written;
    /// A lock that ends when dropped, and with the process.
    type Lock;

    /// Creates a directory in an existing one, if missing; the new entry is durable once `parent` is synced.
    ///
    /// # Errors
    /// As the operating system reports them; so for all operations.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a new file with this content. It fails if the file exists.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<Self::Written>;
    /// Makes a file's content durable. It takes the file: a failed sync cannot be tried again, because the kernel may have dropped
    /// the pages and would then report success.
    fn sync(&self, file: Self::Written) -> io::Result<()>;
    /// Renames a file within its directory, replacing the target; durable once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A part of a file's content; [`io::ErrorKind::UnexpectedEof`] if it does not lie within.
    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        part(self.read(path)?, &range).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<FileInfo>>;
    /// Takes a lock between processes, waiting at most `timeout`.
    fn lock(&self, path: &Path, timeout: Duration) -> io::Result<Self::Lock>;
}

/// One file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name without the directory.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// When it was last written: milliseconds since 1970.
    pub modified_ms: u64,
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFilesystem;

impl Filesystem for DiskFilesystem {
    type Written = File;
    type Lock = File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        Ok(file)
    }

    fn sync(&self, file: File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        // A damaged length must not ask for more memory than there is.
        if file.metadata()?.len() < range.end || range.end < range.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = range.end - range.start;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.seek(SeekFrom::Start(range.start))?;
        let read = file.take(length).read_to_end(&mut bytes)?;
        match read as u64 == length {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A file may be renamed or removed while the directory is read.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push(FileInfo {
                    name,
                    bytes: metadata.len(),
                    modified_ms: milliseconds(metadata.modified()?),
                });
            }
        }
        Ok(files)
    }

    fn lock(&self, path: &Path, timeout: Duration) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        let deadline = Instant::now() + timeout;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => return Err(lock_held(path)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The error of a lock that another process holds far too long: it has been stopped in the middle of a swap.
pub(crate) fn lock_held(path: &Path) -> io::Error {
    let message = format!(
        "another process holds {} and does not let go; if it is stopped, end it",
        path.display()
    );
    io::Error::new(io::ErrorKind::TimedOut, message)
}

/// Milliseconds since 1970; 0 before.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The path of a named object below the root.
pub(crate) fn object_path(root: &Path, name: &str) -> PathBuf {
    root.join(name)
}
