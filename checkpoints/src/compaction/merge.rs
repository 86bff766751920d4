//! Writing several state files as few.

use super::{
    CompactionJob,
    inputs::{Inputs, Piece},
};
use crate::{
    ids::{OperatorId, Shard},
    manifest::OLDEST_LEVEL,
    restore::RestoreError,
    shard_merge::ShardMerge,
    shard_range::ShardRange,
    state_file::{StateFileBuilder, StateFileError, StateFileHeader},
};

/// Hands out the merged files, one after the other, with the ranges that they stand for: together the job's shards.
pub(super) fn merge(
    job: &CompactionJob,
    inputs: &Inputs<'_>,
    header: &StateFileHeader,
    mut out: impl FnMut(ShardRange, Vec<u8>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let operators = inputs.operators();
    // A file that grows as it is made takes its memory twice.
    let capacity = inputs.bytes().min(job.file_bytes_max);
    let capacity = usize::try_from(capacity).unwrap_or_default();
    let empty = || StateFileBuilder::with_capacity(header, capacity);
    let mut builder = empty();
    let mut start = job.shards.start;
    for shards in inputs.pieces() {
        let piece = inputs.read(&shards)?;
        for shard in shards {
            if builder.size_bytes() as u64 >= job.file_bytes_max {
                let end = u32::from(shard.0);
                let full = std::mem::replace(&mut builder, empty());
                out(ShardRange { start, end }, full.finish())?;
                start = end;
            }
            for operator in &operators {
                let merged = merge_shard(&piece, operator, shard)?;
                let delta = merged.into_delta(shard, job.level == OLDEST_LEVEL);
                if !(delta.drops.is_empty() && delta.entries.is_empty()) {
                    builder.push(operator, &delta);
                }
            }
        }
    }
    if builder.is_empty() {
        return Ok(());
    }
    let rest = ShardRange {
        start,
        end: job.shards.end,
    };
    out(rest, builder.finish())
}

fn merge_shard(
    piece: &Piece,
    operator: &OperatorId,
    shard: Shard,
) -> Result<ShardMerge, StateFileError> {
    let mut merged = ShardMerge::default();
    let files = piece.iter().rev();
    for (_, file) in files.filter(|(shards, _)| shards.contains(shard)) {
        file.merge_into(&mut merged, operator, shard)?;
    }
    Ok(merged)
}
