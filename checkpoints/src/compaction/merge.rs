//! Writing several state files as few.

use std::{collections::BTreeSet, sync::Arc};

use super::CompactionJob;
use crate::{
    ids::{OperatorId, Shard},
    manifest::{FileEntry, OLDEST_LEVEL},
    shard_merge::ShardMerge,
    shard_range::ShardRange,
    state_file::{StateFile, StateFileBuilder, StateFileError, StateFileHeader},
};

/// The merged files with the ranges that they stand for: together the job's shards.
pub(super) fn merge(
    job: &CompactionJob,
    inputs: &[(FileEntry, Arc<StateFile>)],
    header: &StateFileHeader,
) -> Result<Vec<(ShardRange, Vec<u8>)>, StateFileError> {
    let operators: BTreeSet<&OperatorId> = inputs
        .iter()
        .flat_map(|(_, file)| file.operators())
        .collect();
    let shards: BTreeSet<Shard> = inputs
        .iter()
        .flat_map(|(entry, file)| file.shards().filter(|shard| entry.shards.contains(*shard)))
        .collect();
    let mut files = Vec::new();
    let mut builder = StateFileBuilder::new(header);
    let mut start = job.shards.start;
    for shard in shards {
        if builder.size_bytes() as u64 >= job.file_bytes_max {
            let end = u32::from(shard.0);
            let full = std::mem::replace(&mut builder, StateFileBuilder::new(header));
            files.push((ShardRange { start, end }, full.finish()));
            start = end;
        }
        for operator in &operators {
            let delta =
                merge_shard(inputs, operator, shard)?.into_delta(shard, job.level == OLDEST_LEVEL);
            if !(delta.drops.is_empty() && delta.entries.is_empty()) {
                builder.push(operator, &delta);
            }
        }
    }
    if !builder.is_empty() {
        let rest = ShardRange {
            start,
            end: job.shards.end,
        };
        files.push((rest, builder.finish()));
    }
    Ok(files)
}

fn merge_shard(
    inputs: &[(FileEntry, Arc<StateFile>)],
    operator: &OperatorId,
    shard: Shard,
) -> Result<ShardMerge, StateFileError> {
    let this = u32::from(shard.0);
    let mut merged = ShardMerge::default();
    for (_, file) in inputs
        .iter()
        .filter(|(entry, _)| entry.shards.contains(shard))
    {
        let range = ShardRange {
            start: this,
            end: this + 1,
        };
        for delta in file.deltas(operator, range) {
            merged.apply(delta?);
        }
    }
    Ok(merged)
}
