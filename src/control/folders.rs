//! Where the server keeps everything: the one place that forms its paths.
//!
//! ```text
//! DATA/registry.redb           jobs, versions, operations, hashes of tokens
//! DATA/admin.token             the first admin token, for whoever may read this folder
//! DATA/run/ID.sock             control socket of a job
//! DATA/run/ID-ATTEMPT/         of one start of its processes: hosts, and I.outcome, how process I ended in its own words
//! DATA/jobs/NAME/              the job's working folder: job.yaml, logs/, and what its job file names by relative paths
//! ```

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The server's folder.
#[derive(Clone, Debug)]
pub struct Folders {
    data: PathBuf,
}

/// Unix sockets have short names: 108 bytes on Linux, of which `/run/ID.sock` needs some.
const DATA_BYTES_MAX: usize = 76;

impl Folders {
    /// Makes the folder if it isn't there; only its owner may look inside.
    ///
    /// # Errors
    /// If it cannot be made, or its path is too long for the sockets in it.
    pub fn open(data: &Path) -> io::Result<Self> {
        let data = std::path::absolute(data)?;
        let length = data.as_os_str().len();
        if length > DATA_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "its path has {length} bytes, and sockets in it need one of at most {DATA_BYTES_MAX}: choose a shorter \
                     one with --data"
                ),
            ));
        }
        let folders = Self { data };
        for folder in [
            folders.data.clone(),
            folders.data.join("run"),
            folders.data.join("jobs"),
        ] {
            make(&folder)?;
        }
        Ok(folders)
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry.redb")
    }

    /// The first admin token.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.data.join("admin.token")
    }

    /// A job's control socket.
    #[must_use]
    pub fn socket(&self, id: u64) -> PathBuf {
        self.data.join(format!("run/{id}.sock"))
    }

    fn start(&self, id: u64, attempt: u64) -> PathBuf {
        self.data.join(format!("run/{id}-{attempt}"))
    }

    /// Makes the folder for the files of a start, and removes those of other starts but for one.
    ///
    /// # Errors
    /// If I/O fails.
    pub fn open_start(&self, id: u64, attempt: u64, kept: u64) -> io::Result<()> {
        let kept = self.start(id, kept);
        for entry in fs::read_dir(self.data.join("run"))? {
            let entry = entry?;
            let name = entry.file_name();
            let of = name.to_str().and_then(|name| name.split_once('-'));
            let is_ours = of.and_then(|(id, _)| id.parse().ok()) == Some(id);
            if is_ours && entry.path() != kept {
                fs::remove_dir_all(entry.path())?;
            }
        }
        make(&self.start(id, attempt))
    }

    /// Where a job's process says how it ended.
    #[must_use]
    pub fn outcome(&self, id: u64, attempt: u64, index: usize) -> PathBuf {
        match attempt {
            // As format 1 of the registry had it.
            0 => self.data.join(format!("run/{id}.outcome")),
            _ => self.start(id, attempt).join(format!("{index}.outcome")),
        }
    }

    /// Where a start's processes find each other.
    #[must_use]
    pub fn hosts(&self, id: u64, attempt: u64) -> PathBuf {
        self.start(id, attempt).join("hosts")
    }

    /// Removes what a job's starts have left in `run`.
    ///
    /// # Errors
    /// If I/O fails.
    pub fn remove_starts(&self, id: u64) -> io::Result<()> {
        let (own, of_start) = (format!("{id}."), format!("{id}-"));
        for entry in fs::read_dir(self.data.join("run"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&of_start) {
                fs::remove_dir_all(entry.path())?;
            } else if name.starts_with(&own) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The folder of all jobs' working folders.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.data.join("jobs")
    }

    /// A job's working folder.
    #[must_use]
    pub fn job(&self, name: &str) -> PathBuf {
        self.jobs().join(name)
    }

    /// Where a job's processes run: what its file names by relative paths is here. A shadow shares it with its job.
    #[must_use]
    pub fn working(&self, name: &str, shadow: Option<&str>) -> PathBuf {
        let of = shadow.and_then(|shadow| name.strip_suffix(&format!(".shadow.{shadow}")));
        self.job(of.unwrap_or(name))
    }

    /// Offsets that a job's next start begins at.
    #[must_use]
    pub fn offsets(&self, name: &str) -> PathBuf {
        self.job(name).join("offsets.json")
    }

    /// A job's logs.
    #[must_use]
    pub fn logs(&self, name: &str) -> PathBuf {
        self.job(name).join("logs")
    }

    /// Writes the copy of a job file that its process reads, and returns its path.
    ///
    /// # Errors
    /// If I/O fails.
    pub fn write_job_file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        make(&self.job(name))?;
        make(&self.logs(name))?;
        let path = self.job(name).join("job.yaml");
        write_private(&path, text)?;
        Ok(path)
    }
}

/// Makes a folder, and those above it, that only its owner may look into.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Replaces a file that only its owner may read.
///
/// # Errors
/// If I/O fails.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, "")?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
