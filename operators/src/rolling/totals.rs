//! What a rolling table derives from its tiles: the total of every key, and the row that was last emitted for it.
//!
//! All columns here are indexed by the key's slot; a key is pinned as long as it has anything here.

use arrow::array::BooleanArray;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::or;

use crate::accumulate::{Accumulators, AggregateError, Input};
use crate::codec::CodecError;
use crate::state::{Columns, EntryId, KeyedState, SlotId};

/// What is known of a key's total.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// In the list of changed keys.
    changed: bool,
    /// A tile left since the total was settled.
    part_left: bool,
    /// A row of this key was emitted and not taken back.
    emitted: bool,
}

/// Keys whose rows change with this emission.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Keys whose emitted row is taken back.
    pub(super) losses: Vec<SlotId>,
    /// Keys that get a row.
    pub(super) gains: Vec<SlotId>,
    /// Keys without rows: nothing is kept of them.
    pub(super) gone: Vec<SlotId>,
}

/// Totals and emitted rows.
#[derive(Debug)]
pub(super) struct Totals {
    current: Accumulators,
    emitted: Accumulators,
    marks: Vec<Mark>,
    changed: Vec<SlotId>,
}

impl Totals {
    pub(super) fn new(current: Accumulators, emitted: Accumulators) -> Self {
        Self {
            current,
            emitted,
            marks: Vec::new(),
            changed: Vec::new(),
        }
    }

    pub(super) fn current(&self) -> &Accumulators {
        &self.current
    }

    pub(super) fn emitted(&self) -> &Accumulators {
        &self.emitted
    }

    pub(super) fn is_emitted(&self, slot: SlotId) -> bool {
        self.marks[slot as usize].emitted
    }

    fn grow(&mut self, slots: usize) {
        if self.marks.len() < slots {
            self.marks.resize(slots, Mark::default());
            self.current.grow(slots);
            self.emitted.grow(slots);
        }
    }

    fn mark(&mut self, slot: SlotId) {
        let mark = &mut self.marks[slot as usize];
        if !mark.changed {
            mark.changed = true;
            self.changed.push(slot);
        }
    }

    /// Adds rows, each to the key at its position in `slots`; all slots are below `bound`.
    pub(super) fn add(
        &mut self,
        bound: usize,
        slots: &[SlotId],
        input: &Input<'_>,
    ) -> Result<(), AggregateError> {
        self.grow(bound);
        slots.iter().for_each(|slot| self.mark(*slot));
        self.current.update_totals(slots, input)
    }

    /// Takes a tile away from its key's total.
    pub(super) fn part_leaves(&mut self, slot: SlotId, tiles: &Accumulators, tile: EntryId) {
        self.mark(slot);
        self.marks[slot as usize].part_left = true;
        self.current.subtract(slot, tiles, tile);
    }

    /// At most so many keys that changed, no longer marked so.
    pub(super) fn take_changed(&mut self, limit: usize) -> Vec<SlotId> {
        let left = self.changed.len().saturating_sub(limit);
        let taken = self.changed.split_off(left);
        for slot in &taken {
            self.marks[*slot as usize].changed = false;
        }
        taken
    }

    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Brings the totals of changed keys up to date, and tells which rows change by that.
    pub(super) fn settle(
        &mut self,
        slots: &[SlotId],
        tiles: &KeyedState<Accumulators>,
    ) -> Result<Change, AggregateError> {
        let mut change = Change::default();
        let mut kept = Vec::new();
        for slot in slots {
            let parts = tiles.sub_keys(*slot);
            let mark = &mut self.marks[*slot as usize];
            let part_left = std::mem::take(&mut mark.part_left);
            match (mark.emitted, parts.is_empty()) {
                (true, false) => kept.push(*slot),
                (true, true) => change.losses.push(*slot),
                (false, false) => change.gains.push(*slot),
                (false, true) => {}
            }
            if parts.is_empty() {
                change.gone.push(*slot);
            } else {
                let rows = parts.iter().map(|(_, entry)| *entry);
                self.current
                    .remerge(*slot, tiles.columns(), rows, part_left)?;
            }
        }
        for slot in self.differing(kept)? {
            change.losses.push(slot);
            change.gains.push(slot);
        }
        Ok(change)
    }

    /// Those keys whose result is not the emitted one.
    fn differing(&self, slots: Vec<SlotId>) -> Result<Vec<SlotId>, AggregateError> {
        let current = self.current.finish(&slots)?;
        let emitted = self.emitted.finish(&slots)?;
        let mut differ = BooleanArray::from(vec![false; slots.len()]);
        for (current, emitted) in current.iter().zip(&emitted) {
            let column = distinct(current, emitted).and_then(|column| or(&differ, &column));
            differ = column.map_err(CodecError::from)?;
        }
        let slots = slots.into_iter().zip(differ.values());
        Ok(slots
            .filter_map(|(slot, differs)| differs.then_some(slot))
            .collect())
    }

    /// Notes that a change was emitted.
    pub(super) fn emitted_now(&mut self, change: &Change) -> Result<(), AggregateError> {
        for slot in &change.gains {
            self.note_emitted(*slot)?;
        }
        self.current.reset(&change.gone);
        self.emitted.reset(&change.gone);
        for slot in &change.gone {
            self.marks[*slot as usize] = Mark::default();
        }
        Ok(())
    }

    fn note_emitted(&mut self, slot: SlotId) -> Result<(), AggregateError> {
        self.marks[slot as usize].emitted = true;
        let rows = std::iter::once(slot);
        self.emitted.replace(slot, &self.current, rows)
    }

    /// Rebuilds everything from restored tiles. At a checkpoint every total had been emitted.
    pub(super) fn rebuild(
        &mut self,
        slots: &[SlotId],
        tiles: &KeyedState<Accumulators>,
    ) -> Result<(), AggregateError> {
        self.grow(tiles.slot_bound());
        for slot in slots {
            let rows = tiles.sub_keys(*slot).iter().map(|(_, entry)| *entry);
            self.current.replace(*slot, tiles.columns(), rows)?;
            self.note_emitted(*slot)?;
        }
        Ok(())
    }

    /// Totals of the same kind without keys.
    pub(super) fn fresh(&self) -> Result<Self, CodecError> {
        Ok(Self::new(self.current.fresh()?, self.emitted.fresh()?))
    }

    /// Whether a key's row is still to be judged in this epoch.
    pub(super) fn is_changed(&self, slot: SlotId) -> bool {
        let mark = self.marks.get(slot as usize);
        mark.is_some_and(|mark| mark.changed)
    }

    /// Forgets keys that leave memory; [`rebuild`](Self::rebuild) brings them back.
    pub(super) fn forget(&mut self, slots: &[SlotId]) {
        // During a restore nothing is derived yet.
        let known = |slot: &SlotId| (*slot as usize) < self.marks.len();
        let slots: Vec<_> = slots.iter().copied().filter(known).collect();
        self.current.reset(&slots);
        self.emitted.reset(&slots);
        for slot in &slots {
            self.marks[*slot as usize] = Mark::default();
        }
    }

    /// Bytes that one key costs, without its own allocations.
    pub(super) fn bytes_per_key(&self) -> usize {
        size_of::<Mark>() + self.current.row_bytes() + self.emitted.row_bytes()
    }

    /// Bytes of all keys' own allocations.
    pub(super) fn heap_bytes(&self) -> usize {
        self.current.heap_bytes() + self.emitted.heap_bytes()
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let marks = self.marks.capacity() * size_of::<Mark>();
        let changed = self.changed.capacity() * size_of::<SlotId>();
        self.current.bytes() + self.emitted.bytes() + marks + changed
    }
}
