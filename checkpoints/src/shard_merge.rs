//! Merging the deltas of a shard: the newest entry wins.

use crate::{
    ids::Shard,
    section::{Entry, ShardDelta, SubKeyRange, coalesce},
};

/// Several deltas of one shard as one delta with the same effect. They are taken in from the newest to the oldest, so that
/// what newer ones drop is known: most of a window's entries are gone by the time they are merged.
#[derive(Clone, Debug, Default)]
pub struct ShardMerge {
    /// What the deltas so far drop of older ones; sorted, apart from each other.
    drops: Vec<SubKeyRange>,
    /// Newest first.
    entries: Vec<Entry>,
}

impl ShardMerge {
    /// Takes in a delta that applies before all so far: `decode` appends its entries, but those of sub-keys of which nothing
    /// is left, and returns its drops.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn take_older<E>(
        &mut self,
        decode: impl FnOnce(&dyn Fn(i64) -> bool, &mut Vec<Entry>) -> Result<Vec<SubKeyRange>, E>,
    ) -> Result<(), E> {
        let known = &self.drops;
        let drops = decode(&|sub_key| contains(known, sub_key), &mut self.entries)?;
        let drops = drops.into_iter().filter(|range| range.start < range.end);
        self.drops.extend(drops);
        coalesce(&mut self.drops);
        Ok(())
    }

    /// The merged delta, sorted. If nothing older exists (`oldest`), drops and tombstones are left out.
    #[must_use]
    pub fn into_delta(self, shard: Shard, oldest: bool) -> ShardDelta {
        let Self { drops, mut entries } = self;
        // Stable, so that of equal places the first one is the newest.
        entries.sort_by(|a, b| a.key.cmp(&b.key).then(a.sub_key.cmp(&b.sub_key)));
        entries.dedup_by(|older, newer| older.sub_key == newer.sub_key && older.key == newer.key);
        if oldest {
            entries.retain(|entry| entry.value.is_some());
        }
        ShardDelta {
            shard,
            drops: if oldest { Vec::new() } else { drops },
            entries,
        }
    }
}

fn contains(ranges: &[SubKeyRange], sub_key: i64) -> bool {
    let behind = ranges.partition_point(|range| range.start <= sub_key);
    behind > 0 && sub_key < ranges[behind - 1].end
}
