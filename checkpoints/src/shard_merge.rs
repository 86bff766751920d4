//! Merging the deltas of a shard: the newest entry wins.

use crate::{
    ids::Shard,
    section::{Entry, ShardDelta, SubKeyRange},
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
