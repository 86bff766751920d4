//! State into checkpoints and back.

use tidewright_checkpoints::ids::key_hash;
use tidewright_checkpoints::{Shard, ShardDelta};

use super::lists::{self, Lists};
use super::{Columns, EntryId, KeyedState, Record, VACANT};
use crate::codec::CodecError;

impl<C: Columns> KeyedState<C> {
    /// Encodes what changed since the last call, one delta per shard with changes, in ascending order.
    pub fn checkpoint(&mut self) -> Vec<ShardDelta> {
        self.touch_survivors();
        let mut changes = std::mem::take(&mut self.changes);
        let mut deltas = changes.drops();
        changes.tombstones(&mut deltas, |key, hash, sub_key| {
            self.find(key, hash, sub_key).is_some()
        });
        changes.entries.retain(|entry| {
            let record = &mut self.records[*entry as usize];
            record.changed = false;
            let lives = record.slot != VACANT;
            record.durable |= lives;
            if lives {
                deltas.expect(self.slots.get(record.slot).hash);
                if let Some(residents) = &mut self.slots.residents {
                    residents.get_mut(record.slot).modified = true;
                }
            }
            lives
        });
        deltas.reserve();
        let mut value = Vec::new();
        for entry in changes.entries {
            let record = &self.records[entry as usize];
            let slot = self.slots.get(record.slot);
            value.clear();
            self.columns.encode(entry, &mut value);
            deltas.push(&slot.key, slot.hash, record.sub_key, Some(&value));
        }
        deltas.finish()
    }

    /// Whatever lives inside a dropped range came after the drop, or was left by its limit; applying the delta drops
    /// it, so the delta has to hold it.
    fn touch_survivors(&mut self) {
        let mut survivors = Vec::new();
        for drop in self.changes.dropped_ranges() {
            self.lists
                .peek(lists::ALL, drop, usize::MAX, &mut survivors);
        }
        for entry in survivors {
            self.touch(entry);
        }
    }

    /// Applies one delta of a checkpoint, oldest first. Call [`restored`](Self::restored) after the last.
    ///
    /// # Errors
    /// If the bytes are not what these columns encode, or a key belongs to another shard.
    pub fn restore(&mut self, delta: &ShardDelta) -> Result<(), CodecError> {
        if !self.restoring {
            self.regroup(true);
        }
        for range in &delta.drops {
            let mut dropped = Vec::new();
            self.lists
                .peek(delta.shard, *range, usize::MAX, &mut dropped);
            self.release(&dropped);
            self.drop_spilled(delta.shard, *range)?;
        }
        if let Some(residents) = &mut self.slots.residents {
            residents.next_round();
            let in_splits = self.in_splits;
            let hash = |key: &[u8]| match in_splits {
                true => delta.shard.place(key_hash(key)),
                false => key_hash(key),
            };
            let keys = delta.entries.iter().map(|entry| &*entry.key);
            self.ask(keys.map(|key| (key, hash(key))))?;
        }
        for entry in &delta.entries {
            let mut hash = key_hash(&entry.key);
            if self.in_splits {
                hash = delta.shard.place(hash);
            } else if Shard::of_hash(hash) != delta.shard {
                return Err(CodecError::Malformed("a key of another shard"));
            }
            match &entry.value {
                Some(value) => self.restore_entry(&entry.key, hash, entry.sub_key, value)?,
                None => {
                    if let Some(old) = self.find(&entry.key, hash, entry.sub_key) {
                        self.release(&[old]);
                    }
                }
            }
        }
        Ok(())
    }

    fn restore_entry(
        &mut self,
        key: &[u8],
        hash: u64,
        sub_key: i64,
        value: &[u8],
    ) -> Result<(), CodecError> {
        let entry = self.find_or_make(key, hash, sub_key);
        self.columns.grow(self.records.len());
        self.records[entry as usize].durable = true;
        self.modified(entry);
        self.columns.reset(&[entry]);
        self.columns.decode(entry, value)
    }

    /// What the disk has of an entry's key is no longer what it is.
    pub(super) fn modified(&mut self, entry: EntryId) {
        if let Some(residents) = &mut self.slots.residents {
            let slot = self.records[entry as usize].slot;
            residents.get_mut(slot).modified = true;
        }
    }

    /// Ends a restore. Does nothing if there was none.
    pub fn restored(&mut self) {
        if self.restoring {
            self.regroup(false);
        }
    }

    /// Lists all entries anew: by shard and sub-key for a restore, whose range drops concern one shard each, and by
    /// sub-key alone for work.
    fn regroup(&mut self, restoring: bool) {
        self.restoring = restoring;
        self.lists = Lists::default();
        for entry in 0..self.records.len() {
            let Record { slot, sub_key, .. } = self.records[entry];
            if slot != VACANT {
                let group = self.group(slot);
                self.records[entry].position = self.lists.push(group, sub_key, entry as EntryId);
            }
        }
    }
}
