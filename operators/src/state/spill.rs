//! State larger than memory: keys that were not used of late are moved to local disk, and come back when they are asked for.
//!
//! ```text
//!             prepare(keys of a batch), load_due(sub-key)
//!           ┌──────────────────────────────────────────────┐
//!  in memory: slots, entries, columns        on disk: place ─> packed entries, wakes
//!           └──────────────────────────────────────────────┘
//!             coldest(..), then spill(..), between batches
//! ```
//! A key moves whole, with all its sub-keys. Everything else in this module's parent works on what is in memory, so an
//! operator asks for the keys of a batch before it works on them. What changed since the last checkpoint stays in memory
//! until the checkpoint has encoded it, and so do the keys that the epoch at hand has asked for; hence nothing on disk is
//! ever missing in checkpoints, and [`checkpoint`](KeyedState::checkpoint) reads no disk.
//!
//! Reading is synchronous: a look-up in the store takes microseconds, and a batch is a bounded piece of work.

mod leave;
mod memory;
mod packed;
pub(super) mod residents;
mod scan;
pub(super) mod store;

use std::sync::Arc;

use tidewright_checkpoints::Epoch;

use super::{Columns, KeyedState, SlotId};
use crate::codec::CodecError;
use crate::key::EncodedKeys;
use memory::Share;
pub use memory::StateMemory;
use store::{Place, Row, Store, key_at, place_of};

/// The most keys that are moved at once, about: one piece of a worker's time.
const KEYS_AT_ONCE: usize = 8_192;

/// State cannot be kept on local disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "state that doesn't fit into memory cannot be kept in {directory}: {reason}; free space there, name another folder \
     with state.directory, or raise state.memory"
)]
pub struct SpillError {
    directory: String,
    reason: String,
}

impl SpillError {
    fn new(directory: &str, reason: String) -> Self {
        Self {
            directory: directory.to_owned(),
            reason,
        }
    }
}

/// What a state knows of its keys on disk.
#[derive(Debug)]
pub(super) struct Spill {
    store: Store,
    share: Share,
    /// What the operator keeps per key beside the state, in bytes.
    beside: usize,
    /// No key on disk is wanted before this sub-key.
    next_wake: i64,
    /// Keys and entries that are on disk only.
    slots: usize,
    entries: usize,
    /// The disk was read since somebody asked.
    read: bool,
}

impl Spill {
    pub(super) fn entries(&self) -> usize {
        self.entries
    }
}

impl<C: Columns> KeyedState<C> {
    /// Lets cold keys of an empty state go to disk when the process uses more than its limit. `beside` is what the operator
    /// keeps per key beside the state, in bytes.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn spill_to(&mut self, memory: &Arc<StateMemory>, beside: usize) -> Result<(), SpillError> {
        let store = Store::create(memory.directory(), memory.cache())?;
        self.slots.residents = Some(Box::default());
        self.spill = Some(Box::new(Spill {
            store,
            share: Share::of(memory.clone()),
            beside,
            next_wake: i64::MAX,
            slots: 0,
            entries: 0,
            read: false,
        }));
        Ok(())
    }

    /// Brings the keys of a batch into memory, where they stay at least until rows of another epoch are prepared. Returns
    /// those that came from disk. Call it before anything else is done with these keys; without a limit it does nothing.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn prepare(&mut self, keys: &EncodedKeys, epoch: Epoch) -> Result<Vec<SlotId>, CodecError> {
        let Some(residents) = &mut self.slots.residents else {
            return Ok(Vec::new());
        };
        residents.begin_round(epoch.0 as u32);
        self.ask(keys.iter())
    }

    pub(super) fn ask<'k>(
        &mut self,
        keys: impl Iterator<Item = (&'k [u8], u64)>,
    ) -> Result<Vec<SlotId>, CodecError> {
        let Some(spill) = &self.spill else {
            return Ok(Vec::new());
        };
        let mut missing = Vec::new();
        for (key, hash) in keys {
            let slot = self.slots.find(key, hash);
            match (slot, &mut self.slots.residents) {
                (Some(slot), Some(residents)) => residents.ask(slot),
                _ if spill.slots > 0 => missing.push(place_of(key, hash)),
                _ => {}
            }
        }
        self.load(missing, None)
    }

    /// Whether keys on disk may be wanted at a sub-key before this one.
    #[must_use]
    pub fn is_due(&self, before: i64) -> bool {
        self.spill
            .as_ref()
            .is_some_and(|spill| spill.next_wake < before)
    }

    /// Brings keys into memory that are wanted at a sub-key before this one, those with the least sub-keys first, at most
    /// `limit`. Returns those that came. Call it before ranges are read or dropped, until [`is_due`](Self::is_due) is false.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn load_due(&mut self, before: i64, limit: usize) -> Result<Vec<SlotId>, CodecError> {
        if !self.is_due(before) {
            return Ok(Vec::new());
        }
        let Some(spill) = &mut self.spill else {
            return Ok(Vec::new());
        };
        let (places, next) = spill.store.take_wakes(before, limit)?;
        spill.next_wake = next.unwrap_or(i64::MAX);
        self.load(places, Some(before))
    }

    /// Reads places that are on disk only, and forgets that they are there; with `due_before` only those that are really
    /// wanted before this sub-key, since a key may have been put to sleep anew after its wake was noted.
    fn load(
        &mut self,
        mut places: Vec<Place>,
        due_before: Option<i64>,
    ) -> Result<Vec<SlotId>, CodecError> {
        places.retain(|place| self.is_spilled(place));
        let Some(spill) = &mut self.spill else {
            return Ok(Vec::new());
        };
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = spill.store.get(places)?;
        if let Some(before) = due_before {
            rows.retain(|(_, packed)| packed::wake(packed) < before);
        }
        spill.read = true;
        spill.slots -= rows.len();
        spill.share.memory().count_fetched(rows.len());
        let before = self.records.len() - self.vacant.len();
        let slots = self.unpack(&rows)?;
        let unpacked = self.records.len() - self.vacant.len() - before;
        if let Some(spill) = &mut self.spill {
            spill.entries -= unpacked;
        }
        if let Some(residents) = &mut self.slots.residents {
            slots
                .iter()
                .for_each(|slot| residents.came_back(*slot, due_before.is_none()));
        }
        Ok(slots)
    }

    /// Whether a place, if the store has it, is neither in memory nor gone.
    fn is_spilled(&self, place: &[u8]) -> bool {
        let (key, hash) = key_at(place);
        let residents = self.slots.residents.as_ref();
        self.slots.find(key, hash).is_none()
            && residents.is_some_and(|residents| !residents.gone.contains(place))
    }

    /// Makes keys of rows; they are in checkpoints.
    fn unpack(&mut self, rows: &[Row]) -> Result<Vec<SlotId>, CodecError> {
        let mut slots = Vec::with_capacity(rows.len());
        let mut values = Vec::new();
        for (place, packed) in rows {
            let (key, hash) = key_at(place);
            let slot = self.slots.intern(key, hash);
            for entry in packed::entries(packed) {
                let (sub_key, value) = entry?;
                let entry = self.make(slot, sub_key);
                self.records[entry as usize].durable = true;
                values.push((entry, value));
            }
            slots.push(slot);
        }
        self.columns.grow(self.records.len());
        for (entry, value) in values {
            self.columns.decode(entry, value)?;
        }
        Ok(slots)
    }
}
