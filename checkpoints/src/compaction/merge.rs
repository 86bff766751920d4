//! Merging the deltas of shards: the newest entry wins.

use std::{collections::BTreeSet, sync::Arc};

use super::CompactionJob;
use crate::{
    ids::{OperatorId, Shard},
    manifest::{FileEntry, OLDEST_LEVEL},
    section::{Entry, ShardDelta, SubKeyRange},
    shard_range::ShardRange,
    state_file::{StateFile, StateFileBuilder, StateFileError, StateFileHeader},
};

/// Several deltas of one shard as one delta with the same effect.
#[derive(Clone, Debug, Default)]
pub struct ShardMerge {
    /// How many deltas were taken in.
    deltas: u32,
    /// Dropped ranges with the number of their delta: they concern entries of lower numbers.
    drops: Vec<(SubKeyRange, u32)>,
    /// Entries with the number of their delta, in the order in which they came.
    entries: Vec<(Entry, u32)>,
}

impl ShardMerge {
    /// Takes in a delta that applies after all before it.
    pub fn apply(&mut self, delta: ShardDelta) {
        let number = self.deltas;
        self.deltas += 1;
        let drops = delta.drops.into_iter();
        let drops = drops.filter(|range| range.start < range.end);
        self.drops.extend(drops.map(|range| (range, number)));
        let entries = delta.entries.into_iter();
        self.entries.extend(entries.map(|entry| (entry, number)));
    }

    /// The merged delta, sorted. If nothing older exists (`oldest`), drops and tombstones are left out.
    #[must_use]
    pub fn into_delta(self, shard: Shard, oldest: bool) -> ShardDelta {
        let Self {
            drops, mut entries, ..
        } = self;
        // Most of a window's entries are gone by the time they are merged: what need not be sorted goes first.
        entries.retain(|(entry, number)| {
            !drops.iter().any(|(range, later)| {
                later > number && (range.start..range.end).contains(&entry.sub_key)
            })
        });
        // Stable, so that of equal places the last one is the newest.
        entries.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key).then(a.sub_key.cmp(&b.sub_key)));
        let mut merged: Vec<Entry> = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter().peekable();
        while let Some((entry, _)) = entries.next() {
            let renewed = entries
                .peek()
                .is_some_and(|(next, _)| next.sub_key == entry.sub_key && next.key == entry.key);
            let needless = oldest && entry.value.is_none();
            if !(renewed || needless) {
                merged.push(entry);
            }
        }
        let drops = match oldest {
            true => Vec::new(),
            false => joined(drops.into_iter().map(|(range, _)| range).collect()),
        };
        ShardDelta {
            shard,
            drops,
            entries: merged,
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
