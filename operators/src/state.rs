//! The state of every keyed operator: (shard, key) -> ordered sub-keys -> a row of typed columns.
//!
//! A sub-key is what the operator makes it: a pane, a tile, a split, or 0 where a key has one entry. Key bytes are
//! interned to a *slot*, which holds its ordered sub-keys; every (slot, sub-key) is an *entry*, and an entry's number
//! is its row in the [`Columns`]. Entries are also listed by sub-key, so that a range of sub-keys can be read and
//! dropped over all keys. A key goes with its last entry.
//!
//! Where a state may grow larger than memory, what is said here holds for the keys in memory; the others are on disk
//! ([`spill`]).
//!
//! What changed since the last checkpoint is kept as it happens: changed entries in a list, removed ones as
//! tombstones, dropped ranges as one tombstone with the shards that it touched. So the cost of
//! [`KeyedState::checkpoint`] follows the change, never the total.

mod changes;
mod columns;
mod durable;
mod lists;
mod slots;
mod spill;

use tidewright_checkpoints::{Shard, SubKeyRange};

use crate::key::EncodedKeys;
use changes::Changes;
pub use columns::{BytesColumn, Columns};
use lists::Lists;
use slots::Slots;
use spill::Spill;
pub use spill::{SpillError, StateMemory};

/// The number of an entry, and its row in the columns. Valid until the entry goes.
pub type EntryId = u32;

/// The number of a key. Valid until the key goes.
pub type SlotId = u32;

/// Marks the record of an entry that doesn't exist.
const VACANT: SlotId = SlotId::MAX;

/// What is known of an entry besides its values.
#[derive(Clone, Copy, Debug)]
struct Record {
    sub_key: i64,
    slot: SlotId,
    /// Where the entry stands in its list.
    position: u32,
    /// In the list of changed entries.
    changed: bool,
    /// In some checkpoint, so that removing it needs a tombstone.
    durable: bool,
}

/// Keyed state over columns of type `C`.
#[derive(Debug, Default)]
pub struct KeyedState<C> {
    slots: Slots,
    records: Vec<Record>,
    vacant: Vec<EntryId>,
    lists: Lists,
    columns: C,
    changes: Changes,
    /// Keys are in the shards of the splits that they come from, not in those of their hashes.
    in_splits: bool,
    /// Between the first [`restore`](Self::restore) and [`restored`](Self::restored), entries are listed by shard too.
    restoring: bool,
    /// What is on disk, where keys may go there.
    spill: Option<Box<Spill>>,
}

impl<C: Columns> KeyedState<C> {
    /// An empty state over empty columns.
    #[must_use]
    pub fn new(columns: C) -> Self {
        Self {
            slots: Slots::default(),
            records: Vec::new(),
            vacant: Vec::new(),
            lists: Lists::default(),
            columns,
            changes: Changes::default(),
            in_splits: false,
            restoring: false,
            spill: None,
        }
    }

    /// The same, but for keys that live with the splits of a source: hashes are those that
    /// [`EncodedKeys::place_in_splits`] made.
    #[must_use]
    pub fn in_splits(self) -> Self {
        Self {
            in_splits: true,
            ..self
        }
    }

    /// The values; an entry's row is its number.
    #[must_use]
    pub fn columns(&self) -> &C {
        &self.columns
    }

    /// The values, to be changed for entries got from [`entry`](Self::entry) or [`entries`](Self::entries), or marked by
    /// [`touch`](Self::touch).
    pub fn columns_mut(&mut self) -> &mut C {
        &mut self.columns
    }

    /// The entry of a key and sub-key, made if there is none, and marked as changed. `hash` is the key's
    /// [`key_hash`](tidewright_checkpoints::ids::key_hash).
    pub fn entry(&mut self, key: &[u8], hash: u64, sub_key: i64) -> EntryId {
        let entry = self.find_or_make(key, hash, sub_key);
        self.columns.grow(self.records.len());
        self.touch(entry);
        entry
    }

    /// The entries of a batch of keys and as many sub-keys, made where there is none, and marked as changed.
    ///
    /// # Panics
    /// If there are not as many sub-keys as keys.
    pub fn entries(&mut self, keys: &EncodedKeys, sub_keys: &[i64], into: &mut Vec<EntryId>) {
        // One pass for each step: what rows have to fetch from memory does not depend on each other then, so the processor
        // fetches for several rows at once.
        assert_eq!(keys.len(), sub_keys.len());
        into.clear();
        into.extend(keys.iter().map(|(key, hash)| self.slots.intern(key, hash)));
        for (place, sub_key) in into.iter_mut().zip(sub_keys) {
            *place = self.sub_entry(*place, *sub_key);
        }
        self.columns.grow(self.records.len());
        for entry in into {
            self.touch(*entry);
        }
    }

    #[inline]
    fn find_or_make(&mut self, key: &[u8], hash: u64, sub_key: i64) -> EntryId {
        let slot = self.slots.intern(key, hash);
        self.sub_entry(slot, sub_key)
    }

    #[inline]
    fn sub_entry(&mut self, slot: SlotId, sub_key: i64) -> EntryId {
        match self.slots.get(slot).sub_keys.find(sub_key) {
            Some(entry) => entry,
            None => self.make(slot, sub_key),
        }
    }

    fn make(&mut self, slot: SlotId, sub_key: i64) -> EntryId {
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.records.push(Record {
                sub_key,
                slot: VACANT,
                position: 0,
                changed: false,
                durable: false,
            });
            (self.records.len() - 1) as EntryId
        });
        let group = self.group(slot);
        let record = &mut self.records[entry as usize];
        record.sub_key = sub_key;
        record.slot = slot;
        record.durable = false;
        record.position = self.lists.push(group, sub_key, entry);
        self.slots.get_mut(slot).sub_keys.insert(sub_key, entry);
        entry
    }

    fn group(&self, slot: SlotId) -> Shard {
        if self.restoring {
            Shard::of_hash(self.slots.get(slot).hash)
        } else {
            lists::ALL
        }
    }

    /// Marks an entry as changed: the next checkpoint holds it.
    #[inline]
    pub fn touch(&mut self, entry: EntryId) {
        let record = &mut self.records[entry as usize];
        if !record.changed {
            record.changed = true;
            self.changes.entries.push(entry);
        }
    }

    /// The entry of a key and sub-key.
    #[must_use]
    pub fn find(&self, key: &[u8], hash: u64, sub_key: i64) -> Option<EntryId> {
        let slot = self.find_slot(key, hash)?;
        self.slots.get(slot).sub_keys.find(sub_key)
    }

    /// The slot of a key.
    #[must_use]
    pub fn find_slot(&self, key: &[u8], hash: u64) -> Option<SlotId> {
        self.slots.find(key, hash)
    }

    /// All slots, in no particular order.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> {
        self.slots.iter()
    }

    /// One more than the greatest slot so far.
    #[must_use]
    pub fn slot_bound(&self) -> usize {
        self.slots.bound()
    }

    /// The key of a slot.
    #[must_use]
    pub fn key(&self, slot: SlotId) -> &[u8] {
        &self.slots.get(slot).key
    }

    /// A key's sub-keys in ascending order, with their entries.
    #[must_use]
    pub fn sub_keys(&self, slot: SlotId) -> &[(i64, EntryId)] {
        self.slots.get(slot).sub_keys.all()
    }

    /// The slot of an entry.
    #[must_use]
    pub fn slot_of(&self, entry: EntryId) -> SlotId {
        self.records[entry as usize].slot
    }

    /// The sub-key of an entry.
    #[must_use]
    pub fn sub_key_of(&self, entry: EntryId) -> i64 {
        self.records[entry as usize].sub_key
    }

    /// The key of an entry.
    #[must_use]
    pub fn key_of(&self, entry: EntryId) -> &[u8] {
        self.key(self.slot_of(entry))
    }

    /// Keeps a key though it has no entries, until [`unpin`](Self::unpin). Pins are not checkpointed.
    pub fn pin(&mut self, slot: SlotId) {
        self.slots.get_mut(slot).pinned = true;
    }

    /// Lets a key go with its last entry again; at once if it has none.
    pub fn unpin(&mut self, slot: SlotId) {
        self.slots.get_mut(slot).pinned = false;
        self.slots.evict_if_unused(slot);
    }

    /// Removes an entry.
    pub fn remove(&mut self, entry: EntryId) {
        let record = self.records[entry as usize];
        if record.durable {
            let slot = self.slots.get(record.slot);
            self.changes.removed(&slot.key, slot.hash, record.sub_key);
        }
        self.release(&[entry]);
    }

    /// The least sub-key of all entries.
    #[must_use]
    pub fn first_sub_key(&self) -> Option<i64> {
        self.lists.first()
    }

    /// Adds to `into` the entries that [`drop_range`](Self::drop_range) with the same arguments drops: by ascending
    /// sub-key, at most `limit`.
    pub fn peek_range(&self, range: SubKeyRange, limit: usize, into: &mut Vec<EntryId>) {
        self.lists.peek(lists::ALL, range, limit, into);
    }

    /// Drops the entries of a range of sub-keys over all keys, at most `limit`, and returns how many. The checkpoint
    /// holds one tombstone for the range, however many entries went.
    pub fn drop_range(&mut self, range: SubKeyRange, limit: usize) -> usize {
        let dropped = self.lists.take(lists::ALL, range, limit);
        for entry in &dropped {
            let record = &self.records[*entry as usize];
            if record.durable {
                let hash = self.slots.get(record.slot).hash;
                self.changes.dropped(range, Shard::of_hash(hash));
            }
        }
        self.forget(&dropped);
        dropped.len()
    }

    fn release(&mut self, entries: &[EntryId]) {
        for entry in entries {
            let record = self.records[*entry as usize];
            let group = self.group(record.slot);
            if let Some(moved) = self.lists.remove(group, record.sub_key, record.position) {
                self.records[moved as usize].position = record.position;
            }
        }
        self.forget(entries);
    }

    /// Forgets entries that are not listed any more.
    fn forget(&mut self, entries: &[EntryId]) {
        for entry in entries {
            self.modified(*entry);
            let record = self.records[*entry as usize];
            let slot = self.slots.get_mut(record.slot);
            slot.sub_keys.remove(record.sub_key);
            self.slots.evict_if_unused(record.slot);
            // `changed` stays: the number is still in the list of changes, and must not get there twice.
            self.records[*entry as usize].slot = VACANT;
        }
        self.columns.reset(entries);
        self.vacant.extend_from_slice(entries);
    }

    /// The number of entries, in memory and on disk.
    #[must_use]
    pub fn len(&self) -> usize {
        let spilled = self.spill.as_ref().map_or(0, |spill| spill.entries());
        self.records.len() - self.vacant.len() + spilled
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let listed = size_of::<Record>() + 2 * size_of::<EntryId>();
        self.slots.bytes() + self.records.capacity() * listed + self.columns.bytes()
    }
}

#[cfg(test)]
mod tests;
