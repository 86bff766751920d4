//! The contract of stores that hold a job's checkpoints, and the choice of one by its URL.

pub(crate) mod filesystem;
mod local;
mod s3;

use std::{error::Error, fmt, ops::Range, sync::Arc};

pub use filesystem::{DiskFilesystem, FileInfo, Filesystem};
pub use local::LocalStore;
pub use s3::S3Store;

use crate::head::{Head, Tag};

/// Holds the named, immutable objects of one job and its HEAD.
///
/// All calls block; they are made from threads that may wait. The contract is checked on every implementation by
/// [`crate::testing::conformance`].
pub trait CheckpointStore: Send + Sync + fmt::Debug {
    /// Stores bytes under a name. Durable on return. A name is only ever written with one content, so a second put, after
    /// an error, is harmless. A reader sees all of the bytes or none.
    ///
    /// # Errors
    /// [`StoreError::Determinate`] if nothing is visible under the name, [`StoreError::Indeterminate`] otherwise.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// The bytes under a name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there are none.
    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError>;

    /// A part of the bytes under a name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there are none; and if the part does not lie within them.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        part(self.get(name)?, &range).ok_or_else(|| StoreError::outside(name, range))
    }

    /// Removes a name; it is no error if it is not there. May come undone by a crash.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// All objects in a folder ([`crate::paths::STATE`], [`crate::paths::MANIFESTS`]), ordered by name.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError>;

    /// HEAD and the tag that a swap compares; `None` if there never was a swap.
    ///
    /// # Errors
    /// If the store cannot be reached or HEAD is damaged.
    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError>;

    /// Replaces HEAD if it still has the expected tag (`None`: if there is no HEAD). Durable on return. Use
    /// [`crate::head::swap`], which also clears up outcomes that this call has to leave open.
    ///
    /// # Errors
    /// [`SwapError::Lost`] if HEAD is not the expected one.
    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError>;

    /// Where it is, for people; without secrets.
    fn location(&self) -> String;
}

/// A part of bytes, if it lies within them.
pub(crate) fn part(mut bytes: Vec<u8>, range: &Range<u64>) -> Option<Vec<u8>> {
    let start = usize::try_from(range.start).ok()?;
    let end = usize::try_from(range.end).ok()?;
    bytes.get(start..end)?;
    bytes.truncate(end);
    bytes.drain(..start);
    Some(bytes)
}

/// One object in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its full name, with the folder.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// When it was last written, by the store's clock: milliseconds since 1970.
    pub modified_ms: u64,
}

/// Why a call failed, and whether it may have had its effect all the same.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no object with this name.
    #[error("{name} is not in the checkpoint store")]
    NotFound {
        /// The object's name.
        name: String,
    },
    /// It certainly has not happened.
    #[error("cannot {action} {name}: {source}")]
    Determinate {
        /// What was tried.
        action: &'static str,
        /// The object's name.
        name: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It may have happened, or may yet happen.
    #[error("cannot tell whether it succeeded to {action} {name}: {source}")]
    Indeterminate {
        /// What was tried.
        action: &'static str,
        /// The object's name.
        name: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// An error after which nothing has happened.
    pub fn determinate(
        action: &'static str,
        name: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Determinate {
            action,
            name: name.into(),
            source: source.into(),
        }
    }

    /// An error that leaves open what has happened.
    pub fn indeterminate(
        action: &'static str,
        name: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Indeterminate {
            action,
            name: name.into(),
            source: source.into(),
        }
    }

    /// Fewer bytes are there than were asked for.
    pub(crate) fn outside(name: &str, range: Range<u64>) -> Self {
        let Range { start, end } = range;
        Self::determinate("read", name, format!("it has no bytes {start} to {end}"))
    }

    /// Whether the call certainly had no effect.
    #[must_use]
    pub fn is_determinate(&self) -> bool {
        !matches!(self, Self::Indeterminate { .. })
    }
}

/// Why HEAD was not swapped.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// HEAD is not what was expected: somebody else has moved it. This process no longer holds the job.
    #[error("HEAD was moved by {}", holder(.current.as_ref()))]
    Lost {
        /// HEAD as it is now, where known.
        current: Option<Head>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn holder(current: Option<&Head>) -> String {
    current.map_or_else(
        || "somebody else".to_owned(),
        |head| format!("{} (generation {})", head.holder, head.generation),
    )
}

/// Opens the store of one job: `file:///absolute/path` or `s3://bucket/prefix`.
///
/// S3 takes endpoint, region and credentials from the standard `AWS_*` variables of the environment; plain HTTP is
/// allowed if the endpoint says so.
///
/// # Errors
/// [`OpenError`] if the URL is not understood or the place cannot be used.
pub fn open(url: &str) -> Result<Arc<dyn CheckpointStore>, OpenError> {
    open_on(DiskFilesystem, url)
}

/// As [`open`], with a local folder on another file system.
///
/// # Errors
/// As [`open`].
pub fn open_on<F: Filesystem>(
    filesystem: F,
    url: &str,
) -> Result<Arc<dyn CheckpointStore>, OpenError> {
    open_with(url, |root| LocalStore::open(filesystem, root))
}

/// Opens a store only to read from it: like [`open`], but a local folder must be there and is left as it is.
///
/// # Errors
/// [`OpenError`] if the URL is not understood or the place is not there.
pub fn open_existing(url: &str) -> Result<Arc<dyn CheckpointStore>, OpenError> {
    open_with(url, |root| LocalStore::existing(DiskFilesystem, root))
}

fn open_with<F: Filesystem>(
    url: &str,
    open_local: impl FnOnce(&str) -> Result<LocalStore<F>, StoreError>,
) -> Result<Arc<dyn CheckpointStore>, OpenError> {
    let not_understood = |reason| OpenError {
        url: url.to_owned(),
        reason,
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(not_understood(
            "a URL such as file:///var/lib/tidewright or s3://bucket/prefix is expected".to_owned(),
        ));
    };
    match scheme {
        "file" if rest.starts_with('/') => open_local(rest)
            .map(|store| Arc::new(store) as _)
            .map_err(|error| not_understood(error.to_string())),
        "file" => Err(not_understood(
            "file URLs need an absolute path: file:///path".to_owned(),
        )),
        "s3" => S3Store::open(rest)
            .map(|store| Arc::new(store) as _)
            .map_err(|error| not_understood(error.to_string())),
        other => Err(not_understood(format!(
            "{other}:// is not supported, only file:// and s3:// are"
        ))),
    }
}

/// The URL of a job's own folder below a URL that several jobs share.
#[must_use]
pub fn job_url(base: &str, job: &str) -> String {
    format!("{}/{job}", base.trim_end_matches('/'))
}

/// A checkpoint store that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint store {url}: {reason}")]
pub struct OpenError {
    /// The URL as given.
    pub url: String,
    /// Why not.
    pub reason: String,
}
