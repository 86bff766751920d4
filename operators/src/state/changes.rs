//! What happened since the last checkpoint.

use std::collections::BTreeMap;

use tidewright_checkpoints::{Entry, SHARDS, Shard, ShardDelta, SubKeyRange};

use super::EntryId;

/// A range that was dropped, and the shards that lost durable entries by it.
#[derive(Debug)]
struct Dropped {
    range: SubKeyRange,
    shards: [u64; SHARDS as usize / 64],
}

/// A durable entry that was removed.
#[derive(Debug)]
struct Removed {
    key: Box<[u8]>,
    hash: u64,
    sub_key: i64,
}

/// The changes that the next checkpoint encodes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Changed entries, each once; some may have gone since.
    pub(super) entries: Vec<EntryId>,
    removed: Vec<Removed>,
    dropped: Vec<Dropped>,
}

impl Changes {
    pub(super) fn removed(&mut self, key: &[u8], hash: u64, sub_key: i64) {
        self.removed.push(Removed {
            key: key.into(),
            hash,
            sub_key,
        });
    }

    pub(super) fn dropped(&mut self, range: SubKeyRange, shard: Shard) {
        if self.dropped.last().is_none_or(|last| last.range != range) {
            let shards = [0; SHARDS as usize / 64];
            self.dropped.push(Dropped { range, shards });
        }
        if let Some(last) = self.dropped.last_mut() {
            last.shards[usize::from(shard.0) / 64] |= 1 << (shard.0 % 64);
        }
    }

    pub(super) fn dropped_ranges(&self) -> impl Iterator<Item = SubKeyRange> {
        self.dropped.iter().map(|dropped| dropped.range)
    }

    /// Deltas that hold the dropped ranges.
    pub(super) fn drops(&self) -> Deltas {
        let mut deltas = Deltas::default();
        for dropped in &self.dropped {
            for shard in (0..SHARDS).map(Shard) {
                if dropped.shards[usize::from(shard.0) / 64] & (1 << (shard.0 % 64)) != 0 {
                    deltas.of(shard).drops.push(dropped.range);
                }
            }
        }
        for delta in deltas.by_shard.values_mut() {
            coalesce(&mut delta.drops);
        }
        deltas
    }

    /// Adds a tombstone for every removed entry that didn't come back (then its new value says all) and that no
    /// dropped range of its shard covers.
    pub(super) fn tombstones(
        &mut self,
        deltas: &mut Deltas,
        lives: impl Fn(&[u8], u64, i64) -> bool,
    ) {
        for Removed { key, hash, sub_key } in self.removed.drain(..) {
            let drops = &deltas.of(Shard::of_hash(hash)).drops;
            let covered = drops
                .iter()
                .any(|range| (range.start..range.end).contains(&sub_key));
            if !covered && !lives(&key, hash, sub_key) {
                deltas.push(&key, hash, sub_key, None);
            }
        }
    }
}

/// Sorts ranges and joins those that overlap or touch.
fn coalesce(ranges: &mut Vec<SubKeyRange>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
}

/// Deltas that are being filled.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    by_shard: BTreeMap<Shard, ShardDelta>,
}

impl Deltas {
    fn of(&mut self, shard: Shard) -> &mut ShardDelta {
        self.by_shard.entry(shard).or_insert_with(|| ShardDelta {
            shard,
            ..ShardDelta::default()
        })
    }

    pub(super) fn push(&mut self, key: &[u8], hash: u64, sub_key: i64, value: Option<&[u8]>) {
        self.of(Shard::of_hash(hash)).entries.push(Entry {
            key: key.into(),
            sub_key,
            value: value.map(Into::into),
        });
    }

    /// The deltas that say something, by ascending shard.
    pub(super) fn finish(self) -> Vec<ShardDelta> {
        let deltas = self.by_shard.into_values();
        deltas
            .filter(|delta| !delta.drops.is_empty() || !delta.entries.is_empty())
            .collect()
    }
}
