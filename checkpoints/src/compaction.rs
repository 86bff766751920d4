//! Compaction: merging state files, outside the workers and never from live state.
//!
//! Files have levels. New ones are at level 0; when a level holds [`Policy::runs_max`] checkpoints, all its files become one file
//! of the next level, so each entry is copied once per level and the number of files stays logarithmic. The files at
//! [`OLDEST_LEVEL`] are the base of the state: newer ones are merged into it when they have grown to
//! [`Policy::oldest_ratio_percent`] of it, in pieces of at most about [`Policy::file_bytes_max`], each for a range
//! of shards. Only there can tombstones be forgotten.
//!
//! For every shard, files are ordered by epoch and levels fall with age; a merge always takes the oldest files of a level (or,
//! into the base, all files), so nothing older ever comes to lie above something newer. Whatever workers publish meanwhile is newer than all
//! inputs.
//!
//! The policy follows the method of log-structured merge trees with tiered levels (O'Neil et al. 1996; "tiering" in
//! Dayan et al., Monkey, 2017) and a levelled last level.

mod inputs;
mod merge;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use inputs::Inputs;

use crate::{
    ids::{Epoch, Generation},
    manifest::{FileEntry, Manifest, OLDEST_LEVEL},
    paths,
    restore::RestoreError,
    shard_range::ShardRange,
    state_file::StateFileHeader,
    store::CheckpointStore,
};

/// When to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A level with this many checkpoints is merged.
    pub runs_max: usize,
    /// A level with this many files is merged as well: many workers write many files. One merge takes no more.
    pub files_max: usize,
    /// The base is rewritten when newer files have this many percent of its bytes.
    pub oldest_ratio_percent: u64,
    /// Files of about this size are not made larger, in bytes.
    pub file_bytes_max: u64,
    /// Shards are read together until their sections have so many bytes: enough for few requests, little enough for memory.
    pub piece_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // Twice as many would save half of what merging costs once more, but manifests name more files, and a restore reads them.
            runs_max: 24,
            files_max: 96,
            oldest_ratio_percent: 100,
            file_bytes_max: 32 << 20,
            piece_bytes: 16 << 20,
        }
    }
}

/// Which files to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionJob {
    /// The files, narrowed to the shards to merge, in the order in which they apply.
    pub inputs: Vec<FileEntry>,
    /// The shards that the result stands for.
    pub shards: ShardRange,
    /// The level of the result; [`OLDEST_LEVEL`] forgets tombstones.
    pub level: u8,
    /// The size beyond which the result is split, in bytes.
    pub file_bytes_max: u64,
    /// How much of the inputs is read at once, in bytes, unless a shard has more.
    pub piece_bytes: u64,
}

/// What came of a compaction: `outputs` may stand where `inputs` stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// As in the job.
    pub inputs: Vec<FileEntry>,
    /// The new files; none if nothing was left.
    pub outputs: Vec<FileEntry>,
}

impl Compacted {
    /// The bytes that compaction wrote.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.outputs.iter().map(|file| file.bytes).sum()
    }
}

/// Decides what to merge next, by the default policy. Pure.
#[must_use]
pub fn plan_compaction(manifest: &Manifest) -> Option<CompactionJob> {
    plan_with(manifest, &Policy::default())
}

/// Decides what to merge next. Pure.
#[must_use]
pub fn plan_with(manifest: &Manifest, policy: &Policy) -> Option<CompactionJob> {
    let level = (0..OLDEST_LEVEL).find(|level| is_full(manifest, *level, policy))?;
    let (inputs, shards, level) = match range_due(manifest, policy) {
        Some(shards) => (narrowed(manifest, shards), shards, OLDEST_LEVEL),
        None => {
            let inputs = oldest_runs(manifest, level, policy.files_max);
            let shards = hull(&inputs);
            (inputs, shards, level + 1)
        }
    };
    Some(CompactionJob {
        inputs,
        shards,
        level,
        file_bytes_max: policy.file_bytes_max,
        piece_bytes: policy.piece_bytes,
    })
}

/// The files of a level's oldest checkpoints: as many checkpoints as have together at most so many files, but one at least. So
/// a merge ends in time even where many files have come while the one before it went on.
fn oldest_runs(manifest: &Manifest, level: u8, files_max: usize) -> Vec<FileEntry> {
    let mut runs: BTreeMap<Epoch, Vec<FileEntry>> = BTreeMap::new();
    for file in of_level(manifest, level) {
        runs.entry(file.last_epoch).or_default().push(file.clone());
    }
    let mut files = Vec::new();
    for run in runs.into_values() {
        if !files.is_empty() && files.len() + run.len() > files_max {
            break;
        }
        files.extend(run);
    }
    files
}

fn of_level(manifest: &Manifest, level: u8) -> impl Iterator<Item = &FileEntry> {
    manifest
        .files
        .iter()
        .filter(move |file| file.level == level)
}

fn is_full(manifest: &Manifest, level: u8, policy: &Policy) -> bool {
    let runs: BTreeSet<Epoch> = of_level(manifest, level)
        .map(|file| file.last_epoch)
        .collect();
    let files = of_level(manifest, level).count();
    // The last level below the base has nowhere to go but into the base.
    level + 1 < OLDEST_LEVEL && (runs.len() >= policy.runs_max || files >= policy.files_max)
}

fn hull(files: &[FileEntry]) -> ShardRange {
    ShardRange {
        start: files
            .iter()
            .map(|file| file.shards.start)
            .min()
            .unwrap_or(0),
        end: files.iter().map(|file| file.shards.end).max().unwrap_or(0),
    }
}

fn narrowed(manifest: &Manifest, shards: ShardRange) -> Vec<FileEntry> {
    manifest
        .files
        .iter()
        .filter_map(|file| file.narrowed(shards))
        .collect()
}

/// The first range of shards whose newer files have grown enough for a merge into the base.
fn range_due(manifest: &Manifest, policy: &Policy) -> Option<ShardRange> {
    base_ranges(manifest, policy).into_iter().find(|shards| {
        let files = narrowed(manifest, *shards);
        let (base, newer): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.level == OLDEST_LEVEL);
        let bytes = |files: Vec<&FileEntry>| files.iter().map(|file| file.live_bytes).sum::<u64>();
        let newer = bytes(newer);
        newer > 0 && newer * 100 >= bytes(base) * policy.oldest_ratio_percent
    })
}

/// The ranges in which the base is rewritten: one for each of its files, or one for all if all is small.
fn base_ranges(manifest: &Manifest, policy: &Policy) -> Vec<ShardRange> {
    let mut starts: Vec<u32> = of_level(manifest, OLDEST_LEVEL)
        .map(|file| file.shards.start)
        .collect();
    starts.sort_unstable();
    if starts.is_empty() || manifest.state_bytes() <= policy.file_bytes_max {
        return vec![ShardRange::ALL];
    }
    starts[0] = ShardRange::ALL.start;
    let ends = starts[1..].iter().copied().chain([ShardRange::ALL.end]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| ShardRange { start: *start, end })
        .collect()
}

/// Reads the inputs, a few shards at a time, merges them and stores the result under names of this generation. Nothing refers to the new files until a
/// manifest is published with them.
///
/// # Errors
/// [`RestoreError`] if an input is missing or damaged, or the store fails.
pub fn run(
    job: &CompactionJob,
    store: &Arc<dyn CheckpointStore>,
    job_name: &str,
    generation: Generation,
) -> Result<Compacted, RestoreError> {
    let inputs = Inputs::open(job, &**store, job_name)?;
    let first = job
        .inputs
        .iter()
        .map(|file| file.first_epoch)
        .min()
        .unwrap_or_default();
    let last = job
        .inputs
        .iter()
        .map(|file| file.last_epoch)
        .max()
        .unwrap_or_default();
    let header = StateFileHeader {
        job: job_name.to_owned(),
        generation,
        epoch: last,
        worker: 0,
        workers: 0,
    };
    let mut outputs = Vec::new();
    merge::merge(job, &inputs, &header, |shards, content| {
        let name = paths::merged(generation, first, last, shards);
        store.put(&name, &content)?;
        outputs.push(FileEntry {
            level: job.level,
            first_epoch: first,
            shards,
            ..FileEntry::fresh(name, &content, last)
        });
        Ok(())
    })?;
    Ok(Compacted {
        inputs: job.inputs.clone(),
        outputs,
    })
}

/// The files of a compaction are not (any more) in the manifest.
#[derive(Debug, thiserror::Error)]
#[error("the merged file {name} is not in the manifest for these shards")]
pub struct DoesNotApply {
    /// The input that was not found.
    pub name: String,
}

/// Puts the outputs in the place of the inputs. Pure.
///
/// # Errors
/// [`DoesNotApply`], with the manifest unchanged, if an input is not in it.
pub fn apply(manifest: &mut Manifest, compacted: &Compacted) -> Result<(), DoesNotApply> {
    let mut files = manifest.files.clone();
    for input in &compacted.inputs {
        let covers = |file: &FileEntry| {
            file.name == input.name && file.shards.intersect(input.shards) == input.shards
        };
        let Some(place) = files.iter().position(covers) else {
            return Err(DoesNotApply {
                name: input.name.clone(),
            });
        };
        let file = files.swap_remove(place);
        let left = file.shards.without(input.shards);
        files.extend(left.into_iter().filter_map(|shards| file.narrowed(shards)));
    }
    files.extend(compacted.outputs.iter().cloned());
    manifest.files = files;
    manifest.sort_files();
    Ok(())
}

#[cfg(test)]
mod tests;
