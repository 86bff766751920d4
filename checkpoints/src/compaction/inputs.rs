//! Reading the files of a merge, piece by piece, so that memory holds a few shards of them and not all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::CompactionJob;
use crate::{
    ids::{OperatorId, Shard},
    manifest::FileEntry,
    restore::{self, RestoreError, Stored},
    shard_range::ShardRange,
    state_file::StateFile,
    store::CheckpointStore,
};

/// Files of up to this share of a piece are read whole, and all if they are one piece together: several requests take longer.
const WHOLE_SHARE: u64 = 32;

/// A part of a merge's input: files in the order in which they apply, each with the shards that count of it.
pub(super) type Piece = Vec<(ShardRange, Arc<StateFile>)>;

/// The files of a merge.
pub(super) struct Inputs<'a> {
    store: &'a dyn CheckpointStore,
    files: BTreeMap<&'a str, File>,
    /// In the order in which they apply. A file that was narrowed in its middle has two entries.
    entries: &'a [FileEntry],
    piece_bytes: u64,
}

struct File {
    /// Whole, or only what it says of its sections.
    file: Arc<StateFile>,
    whole: bool,
}

impl<'a> Inputs<'a> {
    /// Reads and verifies small files, and of others what they say of their sections.
    pub fn open(
        job: &'a CompactionJob,
        store: &'a dyn CheckpointStore,
        job_name: &str,
    ) -> Result<Self, RestoreError> {
        let mut files = BTreeMap::new();
        let all: u64 = job.inputs.iter().map(|entry| entry.bytes).sum();
        for entry in &job.inputs {
            if !files.contains_key(&*entry.name) {
                let whole = all.min(entry.bytes * WHOLE_SHARE) <= job.piece_bytes;
                files.insert(&*entry.name, File::open(entry, whole, store, job_name)?);
            }
        }
        Ok(Self {
            store,
            files,
            entries: &job.inputs,
            piece_bytes: job.piece_bytes,
        })
    }

    /// The bytes of all entries, estimated where files are used in part.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.live_bytes).sum()
    }

    /// All operators that have sections.
    pub fn operators(&self) -> BTreeSet<OperatorId> {
        let operators = self.files.values().flat_map(|file| file.file.operators());
        operators.cloned().collect()
    }

    /// All shards that have sections, in order, those together that are to be read together.
    pub fn pieces(&self) -> Vec<Vec<Shard>> {
        let mut sizes: BTreeMap<Shard, u64> = BTreeMap::new();
        for entry in self.entries {
            let file = &self.files[&*entry.name].file;
            let counts = file
                .sizes()
                .filter(|(shard, _)| entry.shards.contains(*shard));
            for (shard, bytes) in counts {
                *sizes.entry(shard).or_default() += bytes;
            }
        }
        let mut pieces: Vec<Vec<Shard>> = Vec::new();
        let mut room = 0;
        for (shard, bytes) in sizes {
            match pieces.last_mut().filter(|_| bytes <= room) {
                Some(piece) => piece.push(shard),
                None => {
                    pieces.push(vec![shard]);
                    room = self.piece_bytes;
                }
            }
            room = room.saturating_sub(bytes);
        }
        pieces
    }

    /// Reads and verifies what is not in memory of these shards.
    pub fn read(&self, shards: &[Shard]) -> Result<Piece, RestoreError> {
        let counts = |name: &str, shard: Shard| {
            let mut of_file = self.entries.iter().filter(|entry| entry.name == name);
            shards.binary_search(&shard).is_ok()
                && of_file.any(|entry| entry.shards.contains(shard))
        };
        let mut files = BTreeMap::new();
        for (name, File { file, whole }) in &self.files {
            let read = match whole {
                true => file.clone(),
                false => {
                    let stored = Stored {
                        store: self.store,
                        name,
                    };
                    Arc::new(file.parts(&stored, &|_, shard| counts(name, shard))?)
                }
            };
            files.insert(*name, read);
        }
        let entries = self.entries.iter();
        Ok(entries
            .map(|entry| (entry.shards, files[&*entry.name].clone()))
            .collect())
    }
}

impl File {
    fn open(
        entry: &FileEntry,
        whole: bool,
        store: &dyn CheckpointStore,
        job_name: &str,
    ) -> Result<Self, RestoreError> {
        let file = match whole {
            true => restore::read_file(store, job_name, entry)?,
            false => {
                let length = usize::try_from(entry.bytes).unwrap_or(usize::MAX);
                let stored = Stored {
                    store,
                    name: &entry.name,
                };
                restore::of_job(
                    StateFile::open_index(&entry.name, length, &stored)?,
                    job_name,
                )?
            }
        };
        Ok(Self {
            file: Arc::new(file),
            whole,
        })
    }
}
