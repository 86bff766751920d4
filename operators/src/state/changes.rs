//! What happened since the last checkpoint.

use tidewright_checkpoints::section::coalesce;
use tidewright_checkpoints::{Entry, SHARDS, Shard, ShardDelta, SmallBytes, SubKeyRange};

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
    key: SmallBytes,
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
        for delta in &mut deltas.deltas {
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

/// Deltas that are being filled.
#[derive(Debug)]
pub(super) struct Deltas {
    /// In the order in which their shards were first met.
    deltas: Vec<ShardDelta>,
    /// By shard, the delta's position plus one, and the number of entries that it is going to get.
    places: Box<[(u16, u32)]>,
}

impl Default for Deltas {
    fn default() -> Self {
        Self {
            deltas: Vec::new(),
            places: vec![(0, 0); usize::from(SHARDS)].into(),
        }
    }
}

impl Deltas {
    #[inline]
    fn of(&mut self, shard: Shard) -> &mut ShardDelta {
        let place = &mut self.places[usize::from(shard.0)].0;
        if *place == 0 {
            self.deltas.push(ShardDelta {
                shard,
                ..ShardDelta::default()
            });
            *place = self.deltas.len() as u16;
        }
        &mut self.deltas[usize::from(*place) - 1]
    }

    /// Announces an entry of this hash's shard.
    #[inline]
    pub(super) fn expect(&mut self, hash: u64) {
        self.places[usize::from(Shard::of_hash(hash).0)].1 += 1;
    }

    /// Makes room for the announced entries.
    pub(super) fn reserve(&mut self) {
        for shard in 0..SHARDS {
            let expected = std::mem::take(&mut self.places[usize::from(shard)].1);
            if expected > 0 {
                self.of(Shard(shard))
                    .entries
                    .reserve_exact(expected as usize);
            }
        }
    }

    #[inline]
    pub(super) fn push(&mut self, key: &[u8], hash: u64, sub_key: i64, value: Option<&[u8]>) {
        self.of(Shard::of_hash(hash)).entries.push(Entry {
            key: key.into(),
            sub_key,
            value: value.map(Into::into),
        });
    }

    /// The deltas that say something, by ascending shard.
    pub(super) fn finish(self) -> Vec<ShardDelta> {
        let mut deltas = self.deltas;
        deltas.retain(|delta| !delta.drops.is_empty() || !delta.entries.is_empty());
        deltas.sort_unstable_by_key(|delta| delta.shard);
        deltas
    }
}
