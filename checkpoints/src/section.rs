//! What one operator adds to a checkpoint: the changes of its keyed state since the checkpoint before.

use crate::{ids::Shard, small_bytes::SmallBytes};

/// A half-open range of sub-keys, dropped for all keys of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubKeyRange {
    /// The first sub-key that is dropped.
    pub start: i64,
    /// The first sub-key that is kept.
    pub end: i64,
}

/// Sorts ranges and joins those that overlap or touch.
pub fn coalesce(ranges: &mut Vec<SubKeyRange>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
}

/// One changed entry: `value` is `None` where the entry was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The encoded key.
    pub key: SmallBytes,
    /// The sub-key: a pane, a tile, a split or a sequence number.
    pub sub_key: i64,
    /// The encoded value, or `None` for a tombstone.
    pub value: Option<SmallBytes>,
}

/// The changes of one shard of one operator between two checkpoints.
///
/// Applied in this order: first `drops` to what older deltas left, then `entries`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardDelta {
    /// The shard.
    pub shard: Shard,
    /// Ranges of sub-keys that went away, whatever their key.
    pub drops: Vec<SubKeyRange>,
    /// Entries written or removed; each (key, sub-key) at most once.
    pub entries: Vec<Entry>,
}

impl ShardDelta {
    /// About how many bytes it takes in a state file, rather too many.
    #[must_use]
    pub fn bytes_about(&self) -> usize {
        let entry = |entry: &Entry| {
            entry.key.len() + entry.value.as_ref().map_or(0, |value| value.len()) + 8
        };
        16 * (1 + self.drops.len()) + self.entries.iter().map(entry).sum::<usize>()
    }
}
