//! Rolling windows: a table with one row per key, current at every epoch.
//!
//! Time is cut into tiles. At watermark W a row counts while `tile_start(ts) >= tile_start(W) - size`, so the head of
//! the window is exact and its tail leaves by whole tiles. A row is late if its tile had left at the row's own watermark.
//! At the end of input, W is the largest accepted event time.
//!
//! State: per key, the accumulators of every tile that has rows; the sub-key is the tile's start in milliseconds.
//! The totals over a key's tiles, and the row that was last emitted for it, are derived: kept up as tiles change and
//! leave, and rebuilt at a restore, whose checkpoint was taken when everything had been emitted. Sums of doubles are always
//! made of the tiles' sums in the tiles' order, so that neither epochs nor restores show in them.

mod totals;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, ShardDelta, SubKeyRange};

use crate::accumulate::{Accumulators, Aggregate, AggregateError, Input, separate_late};
use crate::batch::DIFF;
use crate::codec::CodecError;
use crate::key::{EncodedKeys, KeyCodec};
use crate::operator::{Clock, Fired, Operator, OperatorError, Output};
use crate::state::{EntryId, KeyedState, SlotId, StateMemory};
use totals::Totals;

/// The most tiles that one call of [`Operator::fire`] lets go, and the most keys whose rows it emits.
pub const KEYS_PER_FIRING: usize = 4_096;

/// What to group and aggregate. Columns are positions in the input.
#[derive(Clone, Debug)]
pub struct RollingSpec {
    /// The event time column.
    pub time: usize,
    /// The length of the window, in milliseconds; a multiple of the tile.
    pub size_ms: i64,
    /// The length of a tile, in milliseconds; at least 1.
    pub tile_ms: i64,
    /// The grouping columns.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
}

impl RollingSpec {
    /// The start of the tile that an event time falls into.
    #[must_use]
    pub fn tile(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.tile_ms))
    }

    /// The start of the first tile that counts at this watermark.
    #[must_use]
    pub fn horizon(&self, watermark: i64) -> i64 {
        self.tile(watermark).saturating_sub(self.size_ms)
    }

    /// Whether a row of this event time comes too late at this watermark.
    #[must_use]
    pub fn late(&self, time: i64, watermark: i64) -> bool {
        self.tile(time) < self.horizon(watermark)
    }
}

/// The operator.
#[derive(Debug)]
pub struct Rolling {
    name: String,
    spec: RollingSpec,
    /// The number of the input's visible columns.
    visible: usize,
    codec: KeyCodec,
    /// The result's columns and `_diff`.
    schema: SchemaRef,
    tiles: KeyedState<Accumulators>,
    totals: Totals,
    /// Keys live with the split that their rows come from.
    partition_local: bool,
    // Scratch, kept for its memory.
    keys: EncodedKeys,
    starts: Vec<i64>,
    entries: Vec<EntryId>,
    slots: Vec<SlotId>,
}

impl Rolling {
    /// Rolling windows over an input with these visible columns. `result` has the keys in order, then the aggregates.
    ///
    /// # Errors
    /// If a column cannot be a key, an aggregate doesn't exist for its types, or the sizes are impossible.
    pub fn new(
        name: String,
        input: &Schema,
        result: &Schema,
        spec: RollingSpec,
    ) -> Result<Self, OperatorError> {
        if spec.tile_ms < 1 || spec.size_ms < spec.tile_ms {
            let reason =
                "a tile of less than 1 ms, or a rolling window shorter than its tile,".to_owned();
            return Err(AggregateError::Unsupported(reason).of(&name));
        }
        let make = || Accumulators::new(input, &spec.aggregates).map_err(|error| error.of(&name));
        let mut fields: Vec<_> = result.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DIFF, DataType::Int8, false)));
        Ok(Self {
            codec: KeyCodec::new(input, &spec.keys).map_err(|error| error.working(&name))?,
            tiles: KeyedState::new(make()?),
            totals: Totals::new(make()?, make()?),
            schema: Arc::new(Schema::new(fields)),
            visible: input.fields().len(),
            partition_local: false,
            keys: EncodedKeys::default(),
            starts: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
            spec,
            name,
        })
    }

    /// The same, for rows that stay on the worker which reads their split: all rows of a key come from one split, and
    /// the state of the key is kept with that split's.
    #[must_use]
    pub fn partition_local(self) -> Self {
        Self {
            tiles: self.tiles.in_splits(),
            partition_local: true,
            ..self
        }
    }

    fn working(&self, error: CodecError) -> OperatorError {
        error.working(&self.name)
    }

    fn input<'a>(&self, rows: &'a RecordBatch) -> Result<Input<'a>, OperatorError> {
        let input = Input::new(rows, self.visible, self.spec.time);
        input.map_err(|error| self.working(error))
    }

    /// Adds rows that are not late.
    fn add(&mut self, rows: &RecordBatch, epoch: Epoch) -> Result<(), OperatorError> {
        let input = self.input(rows)?;
        let encoded = self.codec.encode_batch(rows, &mut self.keys);
        encoded.map_err(|error| error.working(&self.name))?;
        if self.partition_local {
            let placed = self.keys.place_in_splits(rows);
            placed.map_err(|error| error.working(&self.name))?;
        }
        let loaded = self.tiles.prepare(&self.keys, epoch);
        self.derive(loaded)?;
        self.starts.clear();
        let starts = input.times.iter().map(|time| self.spec.tile(*time));
        self.starts.extend(starts);
        self.tiles
            .entries(&self.keys, &self.starts, &mut self.entries);
        let updated = self.tiles.columns_mut().update(&self.entries, &input);
        updated.map_err(|error| error.of(&self.name))?;
        self.slots.clear();
        let slots = self.entries.iter().map(|entry| self.tiles.slot_of(*entry));
        self.slots.extend(slots);
        for slot in &self.slots {
            self.tiles.pin(*slot);
        }
        let added = self
            .totals
            .add(self.tiles.slot_bound(), &self.slots, &input);
        added.map_err(|error| error.of(&self.name))
    }

    /// Rebuilds the totals of keys that came from disk or from a checkpoint.
    fn derive(&mut self, loaded: Result<Vec<SlotId>, CodecError>) -> Result<(), OperatorError> {
        let slots = loaded.map_err(|error| self.working(error))?;
        if slots.is_empty() {
            return Ok(());
        }
        for slot in &slots {
            self.tiles.pin(*slot);
        }
        let rebuilt = self.totals.rebuild(&slots, &self.tiles);
        rebuilt.map_err(|error| error.of(&self.name))
    }

    /// Lets tiles go that no longer count, as many as one call may; returns whether there may be more.
    fn expire(&mut self, horizon: i64) -> bool {
        let gone = SubKeyRange {
            start: i64::MIN,
            end: horizon,
        };
        let mut entries = Vec::new();
        self.tiles.peek_range(gone, KEYS_PER_FIRING, &mut entries);
        for entry in &entries {
            let slot = self.tiles.slot_of(*entry);
            self.totals.part_leaves(slot, self.tiles.columns(), *entry);
        }
        self.tiles.drop_range(gone, entries.len());
        entries.len() == KEYS_PER_FIRING
    }

    /// Emits the changes of as many keys as one call may; returns whether there are more.
    fn emit(&mut self, output: &mut Output) -> Result<bool, AggregateError> {
        let slots = self.totals.take_changed(KEYS_PER_FIRING);
        let change = self.totals.settle(&slots, &self.tiles)?;
        let losses = self.rows(&self.tiles, &change.losses, self.totals.emitted(), -1)?;
        let gains = self.rows(&self.tiles, &change.gains, self.totals.current(), 1)?;
        match (losses.num_rows(), gains.num_rows()) {
            (0, 0) => {}
            (0, _) => output.rows.push(gains),
            (_, 0) => output.rows.push(losses),
            _ => {
                let rows = concat_batches(&self.schema, [&losses, &gains]);
                output.rows.push(rows.map_err(CodecError::from)?);
            }
        }
        self.totals.emitted_now(&change)?;
        for slot in &change.gone {
            self.tiles.unpin(*slot);
        }
        Ok(self.totals.has_changed())
    }

    /// The rows of these keys, with their results from `values`.
    fn rows(
        &self,
        tiles: &KeyedState<Accumulators>,
        slots: &[SlotId],
        values: &Accumulators,
        diff: i8,
    ) -> Result<RecordBatch, AggregateError> {
        let keys = slots.iter().map(|slot| tiles.key(*slot));
        let mut columns: Vec<ArrayRef> = self.codec.decode(keys)?;
        columns.extend(values.finish(slots)?);
        columns.push(Arc::new(Int8Array::from_value(diff, slots.len())));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        Ok(rows.map_err(CodecError::from)?)
    }
}

impl Operator for Rolling {
    fn apply(
        &mut self,
        _port: usize,
        rows: RecordBatch,
        clock: &Clock,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let accepted = self
            .input(&rows)?
            .accepted(clock.watermark_before, |time, watermark| {
                self.spec.late(time, watermark)
            });
        let rows = separate_late(rows, accepted.as_ref(), output);
        match rows.map_err(|error| self.working(error))? {
            Some(rows) => self.add(&rows, clock.epoch),
            None => Ok(()),
        }
    }

    fn fire(&mut self, clock: &Clock, output: &mut Output) -> Result<Fired, OperatorError> {
        // A watermark at the end of time says that the input has ended, not what time it is.
        let watermark = if clock.end_of_input || clock.watermark == i64::MAX {
            clock.largest_event_time
        } else {
            clock.watermark
        };
        let horizon = self.spec.horizon(watermark);
        if self.expire(horizon) {
            return Ok(Fired::More);
        }
        let emitted = self.emit(output);
        if emitted.map_err(|error| error.of(&self.name))? {
            return Ok(Fired::More);
        }
        // Only when everything in memory is emitted: a key is emitted once per epoch.
        if !self.tiles.is_due(horizon) {
            return Ok(Fired::Done);
        }
        let loaded = self.tiles.load_due(horizon, KEYS_PER_FIRING);
        self.derive(loaded)?;
        self.expire(horizon);
        Ok(Fired::More)
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        self.tiles.checkpoint()
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        let restored = self.tiles.restore(&delta);
        restored.map_err(|error| error.restoring(&self.name))
    }

    fn restored(&mut self) -> Result<(), OperatorError> {
        self.tiles.restored();
        let slots: Vec<_> = self.tiles.slots().collect();
        self.derive(Ok(slots))
    }

    fn snapshot(&self, output: &mut Output) -> Result<(), OperatorError> {
        let snapshot = self.tiles.parts(|part| {
            let mut slots: Vec<_> = part.slots().collect();
            let mut totals = self.totals.fresh()?;
            let totals = if std::ptr::eq(part, &raw const self.tiles) {
                slots.retain(|slot| self.totals.is_emitted(*slot));
                &self.totals
            } else {
                totals.rebuild(&slots, part)?;
                &totals
            };
            for some in slots.chunks(KEYS_PER_FIRING) {
                let rows = self.rows(part, some, totals.emitted(), 1)?;
                output.rows.push(rows);
            }
            Ok(())
        });
        snapshot.map_err(|error: AggregateError| error.of(&self.name))
    }

    fn spill_to(&mut self, memory: &Arc<StateMemory>) -> Result<(), OperatorError> {
        let spilling = self.tiles.spill_to(memory, self.totals.bytes_per_key());
        spilling.map_err(|error| CodecError::from(error).working(&self.name))
    }

    fn trim(&mut self) -> Result<bool, OperatorError> {
        let totals = &self.totals;
        let coldest = self
            .tiles
            .coldest(totals.heap_bytes(), |slot| totals.is_changed(slot));
        self.totals.forget(&coldest);
        // When its first tile leaves.
        let wake = |tiles: &[(i64, EntryId)]| tiles.first().map(|(tile, _)| *tile);
        let spilled = self.tiles.spill(&coldest, wake);
        let tidied = spilled.and_then(|()| self.tiles.tidy());
        let read = tidied.map_err(|error| self.working(error))?;
        Ok(read || !coldest.is_empty())
    }

    fn state_bytes(&self) -> usize {
        self.tiles.bytes() + self.totals.bytes()
    }

    fn state_entries(&self) -> usize {
        self.tiles.len()
    }
}

#[cfg(test)]
mod tests;
