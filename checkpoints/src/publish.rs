//! Publishing a checkpoint: from acknowledged files to a HEAD that names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    claim::Claimed,
    compaction::{self, Compacted},
    head::{self, Head, Tag},
    ids::{Epoch, Generation, OperatorId},
    manifest::{CheckpointKind, FileEntry, MANIFEST_VERSION, Manifest, SplitState},
    paths,
    sealed::SealError,
    store::{CheckpointStore, StoreError, SwapError},
};

/// A worker's word that its state up to an epoch is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The worker, from 0.
    pub worker: u32,
    /// The epoch up to which its state is durable.
    pub epoch: Epoch,
    /// All files that it wrote since the last published checkpoint, oldest first: one that completed for an epoch that other
    /// workers skipped belongs to the next checkpoint. Empty if nothing changed.
    pub files: Vec<FileEntry>,
}

/// Everything that one checkpoint brings.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The checkpoint's epoch.
    pub epoch: Epoch,
    /// Why it is taken.
    pub kind: CheckpointKind,
    /// The wall clock, milliseconds since 1970.
    pub created_ms: u64,
    /// How many workers there are.
    pub workers: u32,
    /// One per worker.
    pub acknowledgements: Vec<Acknowledgement>,
    /// As in [`Manifest::sources`].
    pub sources: BTreeMap<String, BTreeMap<String, SplitState>>,
    /// As in [`Manifest::watermarks`].
    pub watermarks: BTreeMap<String, i64>,
    /// As in [`Manifest::operators`].
    pub operators: BTreeMap<OperatorId, u64>,
    /// As in [`Manifest::delivered`].
    pub delivered: BTreeMap<String, Epoch>,
    /// As in [`Manifest::extra`].
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Why a checkpoint was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another process holds the job: this process has to end.
    #[error("this process has lost the job: {0}")]
    Fenced(SwapError),
    /// Not every worker has acknowledged this epoch exactly once.
    #[error("the checkpoint of epoch {epoch} is not acknowledged once by worker {worker}")]
    Incomplete {
        /// The checkpoint's epoch.
        epoch: Epoch,
        /// The first worker that is missing or double.
        worker: u32,
    },
    /// HEAD already is at this epoch or a later one.
    #[error("the checkpoint of epoch {epoch} is not after the published epoch {published}")]
    NotAfter {
        /// The checkpoint's epoch.
        epoch: Epoch,
        /// The epoch in HEAD.
        published: Epoch,
    },
    /// A compaction does not fit the files in the manifest.
    #[error(transparent)]
    Compaction(#[from] compaction::DoesNotApply),
    /// The manifest has no written form.
    #[error(transparent)]
    Manifest(#[from] SealError),
    /// The store failed. Publishing the same cut again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the manifest of a cut that follows `current`. Pure.
///
/// # Errors
/// [`PublishError::Incomplete`] or [`PublishError::Compaction`].
pub fn next_manifest(
    job: &str,
    generation: Generation,
    current: Option<&Manifest>,
    cut: Cut,
    compacted: &[Compacted],
) -> Result<Manifest, PublishError> {
    check_complete(&cut)?;
    let mut manifest = Manifest {
        format_version: MANIFEST_VERSION,
        job: job.to_owned(),
        generation,
        epoch: cut.epoch,
        kind: cut.kind,
        created_ms: cut.created_ms,
        workers: cut.workers,
        files: current.map_or_else(Vec::new, |current| current.files.clone()),
        sources: cut.sources,
        watermarks: cut.watermarks,
        operators: cut.operators,
        delivered: cut.delivered,
        extra: cut.extra,
    };
    for compacted in compacted {
        compaction::apply(&mut manifest, compacted)?;
    }
    let acknowledged = cut.acknowledgements.into_iter();
    manifest
        .files
        .extend(acknowledged.flat_map(|acknowledgement| acknowledgement.files));
    manifest.sort_files();
    Ok(manifest)
}

fn check_complete(cut: &Cut) -> Result<(), PublishError> {
    let mut missing: BTreeSet<u32> = (0..cut.workers).collect();
    for acknowledgement in &cut.acknowledgements {
        let worker = acknowledgement.worker;
        if acknowledgement.epoch != cut.epoch || !missing.remove(&worker) {
            return Err(PublishError::Incomplete {
                epoch: cut.epoch,
                worker,
            });
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(worker) => Err(PublishError::Incomplete {
            epoch: cut.epoch,
            worker: *worker,
        }),
    }
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The manifest's name.
    pub name: String,
    /// The epoch that is durable now.
    pub epoch: Epoch,
    /// The manifest's size, in bytes.
    pub manifest_bytes: u64,
}

/// Publishes one checkpoint after the other for the process that has claimed the job.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn CheckpointStore>,
    job: String,
    head: Head,
    tag: Tag,
    current: Option<Manifest>,
}

impl Publisher {
    /// Goes on from a claim. `current` is the manifest that state was restored from, `None` if the job starts from nothing.
    #[must_use]
    pub fn new(
        store: Arc<dyn CheckpointStore>,
        job: impl Into<String>,
        claimed: Claimed,
        current: Option<Manifest>,
    ) -> Self {
        Self {
            store,
            job: job.into(),
            head: claimed.head,
            tag: claimed.tag,
            current,
        }
    }

    /// HEAD as this process wrote it last.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The manifest that the next one follows.
    #[must_use]
    pub fn current(&self) -> Option<&Manifest> {
        self.current.as_ref()
    }

    /// Stores the cut's manifest, then swaps HEAD to it. All its files have to be durable already. When this returns, the epoch
    /// is durable.
    ///
    /// # Errors
    /// [`PublishError`]; after [`PublishError::Fenced`] the process has to end.
    pub fn publish(
        &mut self,
        cut: Cut,
        compacted: &[Compacted],
    ) -> Result<Published, PublishError> {
        if cut.epoch <= self.head.epoch {
            return Err(PublishError::NotAfter {
                epoch: cut.epoch,
                published: self.head.epoch,
            });
        }
        let current = self.current.as_ref();
        let generation = self.head.generation;
        let manifest = next_manifest(&self.job, generation, current, cut, compacted)?;
        let name = paths::manifest(generation, manifest.epoch);
        let bytes = manifest.to_bytes()?;
        self.store.put(&name, &bytes)?;
        self.swap(&name, manifest.epoch)?;
        let published = Published {
            name,
            epoch: manifest.epoch,
            manifest_bytes: bytes.len() as u64,
        };
        self.current = Some(manifest);
        Ok(published)
    }

    fn swap(&mut self, manifest: &str, epoch: Epoch) -> Result<(), PublishError> {
        let new = Head {
            epoch,
            manifest: Some(manifest.to_owned()),
            ..self.head.clone()
        };
        match head::swap(&*self.store, Some(&self.tag), &new) {
            Ok(tag) => {
                self.head = new;
                self.tag = tag;
                Ok(())
            }
            Err(lost @ SwapError::Lost { .. }) => Err(PublishError::Fenced(lost)),
            Err(SwapError::Store(error)) => Err(error.into()),
        }
    }
}
