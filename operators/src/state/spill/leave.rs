//! Keys leave memory: which ones, and how.

use super::residents::Residents;
use super::store::{Writes, place_of};
use super::{KEYS_AT_ONCE, SpillError, packed};
use crate::codec::CodecError;
use crate::state::slots::BYTES_PER_SLOT;
use crate::state::{Columns, EntryId, KeyedState, Record, SlotId};

impl<C: Columns> KeyedState<C> {
    /// The keys that should go to disk now: none while the process is within its limit. Never those that `keep` holds,
    /// that the last epoch asked for, or that have changed since the last checkpoint. `beside` is what the operator keeps
    /// beside the state, in bytes, without what [`spill_to`](Self::spill_to) was told.
    pub fn coldest(&mut self, beside: usize, keep: impl Fn(SlotId) -> bool) -> Vec<SlotId> {
        let Some(mut spill) = self.spill.take() else {
            return Vec::new();
        };
        let used = self.bytes_used(spill.beside) + beside;
        let excess = spill.share.excess(used);
        let per_slot = Self::bytes_per_slot(spill.beside);
        let per_entry = self.bytes_per_entry();
        self.spill = Some(spill);
        let Some(mut residents) = self.slots.residents.take_if(|_| excess > 0) else {
            return Vec::new();
        };
        let (mut coldest, mut freed) = (Vec::new(), 0);
        residents.sweep(|slot| {
            if self.may_leave(slot) && !keep(slot) {
                freed += per_slot + self.slots.get(slot).sub_keys.all().len() * per_entry;
                coldest.push(slot);
            }
            freed >= excess || coldest.len() >= KEYS_AT_ONCE
        });
        self.slots.residents = Some(residents);
        coldest
    }

    /// Whether a key is in checkpoints as it is, and a restore from the next one would leave it so: what lives in a range
    /// that was dropped has to be in the checkpoint that holds the drop.
    fn may_leave(&self, slot: SlotId) -> bool {
        let entries = self.slots.get(slot).sub_keys.all();
        let stays = |(sub_key, entry): &(i64, EntryId)| {
            let mut dropped = self.changes.dropped_ranges();
            self.records[*entry as usize].changed
                || dropped.any(|range| (range.start..range.end).contains(sub_key))
        };
        !entries.is_empty() && !entries.iter().any(stays)
    }

    /// Moves keys that [`coldest`](Self::coldest) named to disk. `wake` tells at which sub-key a key has to be back, from
    /// its sub-keys.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn spill(
        &mut self,
        slots: &[SlotId],
        wake: impl Fn(&[(i64, EntryId)]) -> Option<i64>,
    ) -> Result<(), CodecError> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        for slot in slots {
            self.write_out(*slot, wake(self.sub_keys(*slot)), &mut writes);
        }
        let wakes = writes.wakes.iter().map(|(sub_key, _)| *sub_key);
        let first = wakes.min().unwrap_or(i64::MAX);
        let Some(spill) = &mut self.spill else {
            return Ok(());
        };
        spill.next_wake = spill.next_wake.min(first);
        self.write(writes)?;
        for slot in slots {
            self.leave(*slot);
        }
        Ok(())
    }

    fn write_out(&self, slot: SlotId, wake: Option<i64>, writes: &mut Writes) {
        let place = place_of(self.key(slot), self.slots.get(slot).hash);
        let resident = self
            .slots
            .residents
            .as_ref()
            .map(|residents| residents.get(slot));
        writes.wakes.extend(wake.map(|wake| (wake, place.clone())));
        let modified = resident.is_some_and(|resident| !resident.stored || resident.modified);
        // What the store has may be wanted at another sub-key.
        if modified || wake.is_some() {
            let mut packed = packed::start(wake.unwrap_or(i64::MAX));
            for (sub_key, entry) in self.sub_keys(slot) {
                packed::push(&mut packed, *sub_key, |into| {
                    self.columns.encode(*entry, into)
                });
            }
            writes.slots.push((place, packed));
        }
    }

    /// Writes, after what is gone has been removed.
    pub(super) fn write(&mut self, mut writes: Writes) -> Result<(), SpillError> {
        if let Some(residents) = &mut self.slots.residents {
            writes.removed.extend(residents.gone.drain());
        }
        match &self.spill {
            Some(spill) => spill.store.write(writes),
            None => Ok(()),
        }
    }

    /// Lets a key that has been written leave memory.
    fn leave(&mut self, slot: SlotId) {
        let entries: Vec<_> = self
            .sub_keys(slot)
            .iter()
            .map(|(_, entry)| *entry)
            .collect();
        if let Some(residents) = &mut self.slots.residents {
            residents.get_mut(slot).stored = false;
        }
        self.slots.get_mut(slot).pinned = false;
        self.release(&entries);
        if let Some(spill) = &mut self.spill {
            spill.slots += 1;
            spill.entries += entries.len();
            spill.share.memory().count_spilled(1);
        }
    }

    /// Removes from disk what is gone, once it is much. Returns whether the disk was read since the last call.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn tidy(&mut self) -> Result<bool, CodecError> {
        let gone = self.slots.residents.as_ref();
        if gone.is_some_and(|residents| residents.gone.len() >= KEYS_AT_ONCE) {
            self.write(Writes::default())?;
        }
        let spill = self.spill.as_mut();
        Ok(spill.is_some_and(|spill| std::mem::take(&mut spill.read)))
    }

    /// What most operators do to [`Operator::trim`](crate::Operator::trim): nothing is kept beside the state, and no sub-key
    /// is waited for.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn trim(&mut self) -> Result<bool, CodecError> {
        let coldest = self.coldest(0, |_| false);
        self.spill(&coldest, |_| None)?;
        Ok(self.tidy()? || !coldest.is_empty())
    }

    fn bytes_per_entry(&self) -> usize {
        let entries = self.records.len() - self.vacant.len();
        let listed = size_of::<Record>() + 2 * size_of::<EntryId>() + size_of::<(i64, EntryId)>();
        listed + self.columns.row_bytes() + self.columns.heap_bytes() / entries.max(1)
    }

    fn bytes_per_slot(beside: usize) -> usize {
        BYTES_PER_SLOT + Residents::BYTES_PER_SLOT + beside
    }

    /// Bytes of what is in memory, about; what is free to be used again doesn't count.
    fn bytes_used(&self, beside: usize) -> usize {
        let entries = self.records.len() - self.vacant.len();
        entries * self.bytes_per_entry()
            + self.slots.len() * Self::bytes_per_slot(beside)
            + self.slots.heap()
    }
}
