//! Merging the deltas of a shard: the newest entry wins.

use crate::{
    ids::Shard,
    section::{Entry, ShardDelta, SubKeyRange},
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
    /// Takes in a delta that applies before all so far.
    pub fn take_older(&mut self, delta: ShardDelta) {
        let entries = delta.entries.into_iter();
        let drops = &self.drops;
        self.entries
            .extend(entries.filter(|entry| !contains(drops, entry.sub_key)));
        self.drop_older(delta.drops);
    }

    /// As [`Self::take_older`], of a delta that is still to be decoded: `decode` is told of which sub-keys nothing is left,
    /// appends the entries of others and the delta's drops.
    pub(crate) fn decode_older<E>(
        &mut self,
        decode: impl FnOnce(
            &dyn Fn(i64) -> bool,
            &mut Vec<SubKeyRange>,
            &mut Vec<Entry>,
        ) -> Result<(), E>,
    ) -> Result<(), E> {
        let known = &self.drops;
        let mut drops = Vec::new();
        decode(
            &|sub_key| contains(known, sub_key),
            &mut drops,
            &mut self.entries,
        )?;
        self.drop_older(drops);
        Ok(())
    }

    fn drop_older(&mut self, drops: Vec<SubKeyRange>) {
        if !drops.is_empty() {
            let mut all = std::mem::take(&mut self.drops);
            all.extend(drops.into_iter().filter(|range| range.start < range.end));
            self.drops = joined(all);
        }
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
