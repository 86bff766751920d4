//! All of a state, piece by piece, without bringing it into memory.

use tidewright_checkpoints::{SHARDS, Shard, SubKeyRange};

use super::store::{Place, Writes};
use super::{KEYS_AT_ONCE, packed};
use crate::codec::CodecError;
use crate::state::{Columns, KeyedState};

impl<C: Columns> KeyedState<C> {
    /// Visits the state in parts that together hold every key once: what is in memory, then pieces of what is on disk.
    ///
    /// # Errors
    /// What `visit` returns, or if the disk cannot be read.
    pub fn parts<E: From<CodecError>>(
        &self,
        mut visit: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        visit(self)?;
        let Some(spill) = self.spill.as_ref().filter(|spill| spill.slots > 0) else {
            return Ok(());
        };
        let mut after: Place = Box::default();
        loop {
            let rows = spill.store.scan(&after, None, KEYS_AT_ONCE);
            let mut rows = rows.map_err(CodecError::from)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            after = last.clone();
            rows.retain(|(place, _)| self.is_spilled(place));
            let mut part = Self::new(self.columns.fresh()?);
            part.unpack(&rows)?;
            visit(&part)?;
        }
    }

    /// Brings everything into memory, where it stays at least until it is asked for again.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn load_all(&mut self) -> Result<(), CodecError> {
        let mut after: Place = Box::default();
        while let Some(spill) = self.spill.as_ref().filter(|spill| spill.slots > 0) {
            let rows = spill.store.scan(&after, None, KEYS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else {
                break;
            };
            after = last.clone();
            let places = rows.into_iter().map(|(place, _)| place);
            self.load(places.collect(), None)?;
        }
        Ok(())
    }

    /// Drops a range of sub-keys of a shard from what is on disk only; of a restore, where dropped ranges may be any.
    pub(in crate::state) fn drop_spilled(
        &mut self,
        shard: Shard,
        range: SubKeyRange,
    ) -> Result<(), CodecError> {
        let end = (shard.0 + 1 < SHARDS).then(|| u64::from(shard.0 + 1) << 54);
        let mut after: Place = (u64::from(shard.0) << 54).to_be_bytes().into();
        while let Some(spill) = self.spill.as_mut().filter(|spill| spill.slots > 0) {
            let rows = spill.store.scan(&after, end, KEYS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else {
                break;
            };
            after = last.clone();
            let mut writes = Writes::default();
            for (place, packed) in rows {
                if self.is_spilled(&place) {
                    self.drop_from(place, &packed, range, &mut writes)?;
                }
            }
            self.write(writes)?;
        }
        Ok(())
    }

    fn drop_from(
        &mut self,
        place: Place,
        packed: &[u8],
        range: SubKeyRange,
        writes: &mut Writes,
    ) -> Result<(), CodecError> {
        let (mut kept, mut dropped) = (packed::start(packed::wake(packed)), 0);
        for entry in packed::entries(packed) {
            let (sub_key, value) = entry?;
            if (range.start..range.end).contains(&sub_key) {
                dropped += 1;
            } else {
                packed::push(&mut kept, sub_key, |into| into.extend_from_slice(value));
            }
        }
        if let Some(spill) = self.spill.as_mut().filter(|_| dropped > 0) {
            spill.entries -= dropped;
            if packed::entries(&kept).next().is_none() {
                spill.slots -= 1;
                writes.removed.push(place);
            } else {
                writes.slots.push((place, kept));
            }
        }
        Ok(())
    }
}
