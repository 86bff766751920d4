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

    /// The worker that owns this shard among `workers`.
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
