//! Entries by sub-key, over all keys.

use std::collections::BTreeMap;

use tidewright_checkpoints::{Shard, SubKeyRange};

use super::EntryId;

/// The group of all entries while no restore is under way.
pub(super) const ALL: Shard = Shard(0);

/// Lists of entries by group and sub-key. The group is the shard during a restore, else [`ALL`].
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: BTreeMap<(Shard, i64), Vec<EntryId>>,
}

impl Lists {
    /// Adds an entry and returns its position.
    pub(super) fn push(&mut self, group: Shard, sub_key: i64, entry: EntryId) -> u32 {
        let list = self.lists.entry((group, sub_key)).or_default();
        list.push(entry);
        (list.len() - 1) as u32
    }

    /// Removes the entry at a position, and returns the entry that took its place, if any did.
    pub(super) fn remove(&mut self, group: Shard, sub_key: i64, position: u32) -> Option<EntryId> {
        let list = self.lists.get_mut(&(group, sub_key))?;
        list.swap_remove(position as usize);
        let moved = list.get(position as usize).copied();
        if list.is_empty() {
            self.lists.remove(&(group, sub_key));
        }
        moved
    }

    /// Removes the entries that [`peek`](Self::peek) with the same arguments adds, and returns them.
    pub(super) fn take(&mut self, group: Shard, range: SubKeyRange, limit: usize) -> Vec<EntryId> {
        let mut taken = Vec::new();
        while range.start < range.end && taken.len() < limit {
            let mut lists = self
                .lists
                .range_mut((group, range.start)..(group, range.end));
            let Some((place, list)) = lists.next() else {
                break;
            };
            let kept = list.len().saturating_sub(limit - taken.len());
            taken.extend(list.drain(kept..).rev());
            if kept == 0 {
                let place = *place;
                self.lists.remove(&place);
            }
        }
        taken
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.lists
            .first_key_value()
            .map(|((_, sub_key), _)| *sub_key)
    }

    /// Adds at most `limit` entries of a range, by ascending sub-key. Each list is read from its end, where removing
    /// is cheapest.
    pub(super) fn peek(
        &self,
        group: Shard,
        range: SubKeyRange,
        limit: usize,
        into: &mut Vec<EntryId>,
    ) {
        if range.start >= range.end {
            return;
        }
        let lists = self.lists.range((group, range.start)..(group, range.end));
        let entries = lists.flat_map(|(_, list)| list.iter().rev());
        into.extend(entries.take(limit));
    }
}
