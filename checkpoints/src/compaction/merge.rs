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
    state_file::{StateFileBuilder, StateFileError, StateFileHeader, Walk},
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
        let mut walks: Vec<_> = operators
            .iter()
            .map(|operator| (operator, walk(&piece, operator)))
            .collect();
        for shard in shards {
            if builder.size_bytes() as u64 >= job.file_bytes_max {
                let end = u32::from(shard.0);
                let full = std::mem::replace(&mut builder, empty());
                out(ShardRange { start, end }, full.finish())?;
                start = end;
            }
            for (operator, files) in &mut walks {
                let merged = merge_shard(files, shard)?;
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

/// The operator's sections in all files, newest first, with the shards that count of each.
fn walk<'a>(piece: &'a Piece, operator: &OperatorId) -> Vec<(ShardRange, Walk<'a>)> {
    let files = piece.iter().rev();
    files
        .map(|(shards, file)| (*shards, file.walk(operator)))
        .collect()
}

fn merge_shard(
    files: &mut [(ShardRange, Walk<'_>)],
    shard: Shard,
) -> Result<ShardMerge, StateFileError> {
    let mut merged = ShardMerge::default();
    for (_, file) in files
        .iter_mut()
        .filter(|(shards, _)| shards.contains(shard))
    {
        file.merge_into(&mut merged, shard)?;
    }
    Ok(merged)
}
