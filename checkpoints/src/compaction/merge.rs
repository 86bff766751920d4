//! Merging the deltas of shards: the newest entry wins.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::CompactionJob;
use crate::{
    ids::{OperatorId, Shard},
    manifest::{FileEntry, OLDEST_LEVEL},
    section::{Entry, ShardDelta, SubKeyRange},
    shard_range::ShardRange,
    state_file::{StateFile, StateFileBuilder, StateFileError, StateFileHeader},
};

type Bytes = Box<[u8]>;

/// Several deltas of one shard as one delta with the same effect.
#[derive(Clone, Debug, Default)]
pub struct ShardMerge {
    drops: Vec<SubKeyRange>,
    entries: BTreeMap<(Bytes, i64), Option<Bytes>>,
}

impl ShardMerge {
    /// Takes in a delta that applies after all before it.
    pub fn apply(&mut self, delta: ShardDelta) {
        let drops = delta
            .drops
            .into_iter()
            .filter(|range| range.start < range.end);
        let drops: Vec<_> = drops.collect();
        if !drops.is_empty() {
            let dropped = |sub_key: i64| {
                drops
                    .iter()
                    .any(|range| (range.start..range.end).contains(&sub_key))
            };
            self.entries.retain(|(_, sub_key), _| !dropped(*sub_key));
            self.drops.extend(&drops);
            self.drops = joined(std::mem::take(&mut self.drops));
        }
        for Entry {
            key,
            sub_key,
            value,
        } in delta.entries
        {
            self.entries.insert((key, sub_key), value);
        }
    }

    /// The merged delta, sorted. If nothing older exists (`oldest`), drops and tombstones are left out.
    #[must_use]
    pub fn into_delta(self, shard: Shard, oldest: bool) -> ShardDelta {
        let entries = self
            .entries
            .into_iter()
            .filter(|(_, value)| !oldest || value.is_some());
        ShardDelta {
            shard,
            drops: if oldest { Vec::new() } else { self.drops },
            entries: entries
                .map(|((key, sub_key), value)| Entry {
                    key,
                    sub_key,
                    value,
                })
                .collect(),
        }
    }
}

/// The same ranges, sorted, those that touch made one.
fn joined(mut ranges: Vec<SubKeyRange>) -> Vec<SubKeyRange> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<SubKeyRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

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
