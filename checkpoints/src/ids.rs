//! Identifiers shared by every layer, as newtypes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point of the job's only clock: a totally ordered, hybrid logical time in milliseconds.
///
/// Epochs order effects; they say nothing about event time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The number of a claim of the job: every process that takes over a job has a greater one than all before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// The number of shards that the key space of every operator is divided into. Part of the durable format.
pub const SHARDS: u16 = 1024;

/// One of the [`SHARDS`] parts of the key space.
///
/// The shard of a key is made from its hash, so that any worker can tell it. Only operators whose keys live where a
/// source's split is read number their shards by that split ([`Shard::of_split`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of an encoded key: the top ten bits of its xxh3-64 hash (seed 0).
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        Self::of_hash(key_hash(key))
    }

    /// The shard of a hash made by [`key_hash`].
    #[inline]
    #[must_use]
    pub fn of_hash(hash: u64) -> Self {
        Self((hash >> 54) as u16)
    }

    /// The shard of all keys that come from a split of a source; `None` from the 1,024th split on.
    #[must_use]
    pub fn of_split(split: u32) -> Option<Self> {
        u16::try_from(split)
            .ok()
            .filter(|split| *split < SHARDS)
            .map(Self)
    }

    /// The hash of a key, put into this shard: [`Shard::of_hash`] of the result is this shard.
    #[must_use]
    pub fn place(self, hash: u64) -> u64 {
        (hash & (u64::MAX >> 10)) | (u64::from(self.0) << 54)
    }

    /// The worker that owns this shard of hashed keys among `workers`.
    #[must_use]
    pub fn owner(self, workers: usize) -> usize {
        usize::from(self.0) * workers / usize::from(SHARDS)
    }
}

/// The hash that shards are made from: xxh3-64, seed 0. Pinned by a golden test; part of the durable format.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The stable name of a stateful operator or outbox, such as `activity_1m/window` or `sink/hot`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(pub String);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_hash_is_of_its_shard_and_keeps_its_other_bits() {
        for shard in [0, 1, 7, 1_023].map(Shard) {
            for hash in [0, 1, u64::MAX, key_hash(b"u0000042")] {
                let placed = shard.place(hash);
                assert_eq!(Shard::of_hash(placed), shard);
                assert_eq!(placed << 10, hash << 10);
            }
        }
    }

    #[test]
    fn splits_have_shards_as_far_as_there_are_any() {
        assert_eq!(Shard::of_split(1_023), Some(Shard(1_023)));
        assert_eq!(Shard::of_split(1_024), None);
        assert_eq!(Shard::of_split(70_000), None);
    }
}
