//! Contiguous ranges of shards.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ids::{SHARDS, Shard};

/// The shards from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct ShardRange {
    /// The first shard inside.
    pub start: u32,
    /// The first shard outside; at most 65,536.
    pub end: u32,
}

impl ShardRange {
    /// Every shard that a [`Shard`] can name: those of hashed keys and those of source splits.
    pub const ALL: Self = Self {
        start: 0,
        end: 1 << 16,
    };

    /// The shards of hashed keys that a worker owns: those whose [`Shard::owner`] it is.
    #[must_use]
    pub fn owned_by(worker: usize, workers: usize) -> Self {
        let first = |worker: usize| (worker * usize::from(SHARDS)).div_ceil(workers.max(1)) as u32;
        Self {
            start: first(worker),
            end: first(worker + 1),
        }
    }

    /// Whether the shard is inside.
    #[must_use]
    pub fn contains(self, shard: Shard) -> bool {
        (self.start..self.end).contains(&u32::from(shard.0))
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// What both have in common; may be empty.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The parts of this range before and after the other; each may be empty.
    #[must_use]
    pub fn without(self, other: Self) -> [Self; 2] {
        let before = Self {
            start: self.start,
            end: self.end.min(other.start),
        };
        let after = Self {
            start: self.start.max(other.end),
            end: self.end,
        };
        [before, after]
    }

    /// How many shards of hashed keys are inside, at least one: the weight for sharing out bytes.
    pub(crate) fn hashed_width(self) -> u64 {
        let end = self.end.min(u32::from(SHARDS));
        u64::from(end.saturating_sub(self.start).max(1))
    }
}

impl From<Shard> for ShardRange {
    fn from(shard: Shard) -> Self {
        let start = u32::from(shard.0);
        Self {
            start,
            end: start + 1,
        }
    }
}

impl From<Range<u16>> for ShardRange {
    fn from(range: Range<u16>) -> Self {
        Self {
            start: range.start.into(),
            end: range.end.into(),
        }
    }
}

impl From<(u32, u32)> for ShardRange {
    fn from((start, end): (u32, u32)) -> Self {
        Self { start, end }
    }
}

impl From<ShardRange> for (u32, u32) {
    fn from(range: ShardRange) -> Self {
        (range.start, range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_owns_exactly_the_shards_of_its_range() {
        for workers in 1..=9 {
            for shard in (0..SHARDS).map(Shard) {
                for worker in 0..workers {
                    assert_eq!(
                        ShardRange::owned_by(worker, workers).contains(shard),
                        shard.owner(workers) == worker,
                    );
                }
            }
        }
    }

    #[test]
    fn taking_a_range_out_leaves_what_is_before_and_after() {
        let range = ShardRange::from(10..20);
        let left = |other: Range<u16>| {
            let parts = range.without(other.into());
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(<(u32, u32)>::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(left(12..15), [(10, 12), (15, 20)]);
        assert_eq!(left(0..15), [(15, 20)]);
        assert_eq!(left(15..30), [(10, 15)]);
        assert_eq!(left(0..30), []);
    }
}
