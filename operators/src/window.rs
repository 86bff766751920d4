//! Tumbling windows: a stream with one row per group and closed window; with allowed lateness a table (revisions.rs).
//!
//! Time is cut into panes of one size, beginning at multiples of it. A row belongs to the pane that its event time
//! falls into; it is late if that pane closed at the row's own watermark. A pane closes when the relation's watermark
//! reaches its end plus the allowed lateness, and all panes close at the end of input. A source's watermark is never
//! ahead of the `_wm` of rows still to come, so no accepted row belongs to a pane that was closed before.
//!
//! State: the key's columns are the group's input columns, the sub-key is the pane's start in milliseconds.

mod revisions;

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidewright_checkpoints::{Epoch, ShardDelta, SubKeyRange};

use crate::accumulate::{Accumulators, Aggregate, AggregateError, Input, separate_late};
use crate::codec::CodecError;
use crate::key::{EncodedKeys, KeyCodec};
use crate::operator::{Clock, Fired, Operator, OperatorError, Output};
use crate::state::{EntryId, KeyedState, StateMemory};
use revisions::Revisions;

/// The most rows that one call of [`Operator::fire`] emits.
pub const ROWS_PER_FIRING: usize = 8_192;

/// A column of a window's GROUP BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupColumn {
    /// A column of the input.
    Input(usize),
    /// The first instant of the window.
    WindowStart,
    /// The first instant after the window.
    WindowEnd,
}

/// What to group and aggregate. Columns are positions in the input.
#[derive(Clone, Debug)]
pub struct WindowSpec {
    /// The event time column.
    pub time: usize,
    /// The size of a window, in milliseconds; at least 1.
    pub size_ms: i64,
    /// How long after its end a window still accepts rows, in milliseconds.
    pub lateness_ms: i64,
    /// The grouping columns and the window's own.
    pub groups: Vec<GroupColumn>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
}

impl WindowSpec {
    /// The start of the pane that an event time falls into. The last instant of time is left out of panes of a
    /// millisecond, because a half-open range of panes couldn't reach it.
    #[must_use]
    pub fn pane(&self, time: i64) -> i64 {
        let start = time.saturating_sub(time.rem_euclid(self.size_ms));
        start.min(i64::MAX - 1)
    }

    /// Whether a row of this event time comes too late at this watermark.
    #[must_use]
    pub fn late(&self, time: i64, watermark: i64) -> bool {
        let end = self.pane(time).saturating_add(self.size_ms);
        end.saturating_add(self.lateness_ms) <= watermark
    }

    /// The panes that are closed at this watermark: they accept no more rows.
    #[must_use]
    pub fn closed(&self, watermark: i64) -> SubKeyRange {
        Self::over(watermark, self.size_ms.saturating_add(self.lateness_ms))
    }

    /// The panes whose end has come at this watermark.
    #[must_use]
    pub fn ended(&self, watermark: i64) -> SubKeyRange {
        Self::over(watermark, self.size_ms)
    }

    /// The panes that began this long before the watermark, or longer.
    fn over(watermark: i64, wait: i64) -> SubKeyRange {
        let end = match watermark {
            i64::MIN | i64::MAX => watermark,
            known => known.saturating_sub(wait).saturating_add(1),
        };
        SubKeyRange {
            start: i64::MIN,
            end,
        }
    }

    fn key_columns(&self) -> Vec<usize> {
        let columns = self.groups.iter();
        let columns = columns.filter_map(|group| match group {
            GroupColumn::Input(column) => Some(*column),
            GroupColumn::WindowStart | GroupColumn::WindowEnd => None,
        });
        columns.collect()
    }
}

/// The operator.
#[derive(Debug)]
pub struct Window {
    name: String,
    spec: WindowSpec,
    /// The number of the input's visible columns.
    visible: usize,
    codec: KeyCodec,
    schema: SchemaRef,
    state: KeyedState<Accumulators>,
    /// Of windows with allowed lateness.
    revisions: Option<Revisions>,
    /// Keys live with the split that their rows come from.
    partition_local: bool,
    // Scratch, kept for its memory.
    keys: EncodedKeys,
    panes: Vec<i64>,
    entries: Vec<EntryId>,
}

impl Window {
    /// Windows over an input with these visible columns. `result` has the groups in order, then the aggregates.
    ///
    /// # Errors
    /// If a column cannot be a key, an aggregate doesn't exist for its types, or the sizes are impossible.
    pub fn new(
        name: String,
        input: &Schema,
        result: SchemaRef,
        spec: WindowSpec,
    ) -> Result<Self, OperatorError> {
        if spec.size_ms < 1 || spec.lateness_ms < 0 {
            let reason = "a window of less than 1 ms, or a negative lateness,".to_owned();
            return Err(AggregateError::Unsupported(reason).of(&name));
        }
        let accumulators = Accumulators::new(input, &spec.aggregates);
        Ok(Self {
            codec: KeyCodec::new(input, &spec.key_columns())
                .map_err(|error| error.working(&name))?,
            state: KeyedState::new(accumulators.map_err(|error| error.of(&name))?),
            visible: input.fields().len(),
            revisions: (spec.lateness_ms > 0).then(|| Revisions::of(&result)),
            schema: result,
            partition_local: false,
            keys: EncodedKeys::default(),
            panes: Vec::new(),
            entries: Vec::new(),
            spec,
            name,
        })
    }

    /// The same, for rows that stay on the worker which reads their split: all rows of a key come from one split, and
    /// the state of the key is kept with that split's.
    #[must_use]
    pub fn partition_local(self) -> Self {
        Self {
            state: self.state.in_splits(),
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

    /// Adds rows that are not late, at this watermark of the epoch before.
    fn add(
        &mut self,
        rows: &RecordBatch,
        watermark: i64,
        epoch: Epoch,
    ) -> Result<(), OperatorError> {
        let input = self.input(rows)?;
        let encoded = self.codec.encode_batch(rows, &mut self.keys);
        encoded.map_err(|error| error.working(&self.name))?;
        if self.partition_local {
            let placed = self.keys.place_in_splits(rows);
            placed.map_err(|error| error.working(&self.name))?;
        }
        let prepared = self.state.prepare(&self.keys, epoch);
        prepared.map_err(|error| error.working(&self.name))?;
        self.panes.clear();
        let panes = input.times.iter().map(|time| self.spec.pane(*time));
        self.panes.extend(panes);
        self.note_losses(watermark)?;
        self.state
            .entries(&self.keys, &self.panes, &mut self.entries);
        self.note_revised(watermark);
        let updated = self.state.columns_mut().update(&self.entries, &input);
        updated.map_err(|error| error.of(&self.name))
    }

    fn results(&self, entries: &[EntryId]) -> Result<RecordBatch, OperatorError> {
        let keys = entries.iter().map(|entry| self.state.key_of(*entry));
        let keys = self.codec.decode(keys);
        let mut keys = keys.map_err(|error| self.working(error))?.into_iter();
        let panes = |offset: i64| -> ArrayRef {
            let instants = entries
                .iter()
                .map(|entry| self.state.sub_key_of(*entry).saturating_add(offset));
            Arc::new(TimestampMillisecondArray::from_iter_values(instants))
        };
        let groups = self.spec.groups.iter().filter_map(|group| match group {
            GroupColumn::Input(_) => keys.next(),
            GroupColumn::WindowStart => Some(panes(0)),
            GroupColumn::WindowEnd => Some(panes(self.spec.size_ms)),
        });
        let mut columns: Vec<ArrayRef> = groups.collect();
        let aggregates = self.state.columns().finish(entries);
        columns.extend(aggregates.map_err(|error| error.of(&self.name))?);
        let options = RecordBatchOptions::new().with_row_count(Some(entries.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| self.working(error.into()))
    }
}

impl Operator for Window {
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
            Some(rows) => self.add(&rows, clock.watermark_before, clock.epoch),
            None => Ok(()),
        }
    }

    fn fire(&mut self, clock: &Clock, output: &mut Output) -> Result<Fired, OperatorError> {
        let watermark = if clock.end_of_input {
            i64::MAX
        } else {
            clock.watermark
        };
        if self.revisions.is_some() {
            return self.fire_table(clock.watermark_before, watermark, output);
        }
        let closed = self.spec.closed(watermark);
        let mut entries = Vec::new();
        let loaded = self.state.load_due(closed.end, ROWS_PER_FIRING);
        loaded.map_err(|error| self.working(error))?;
        self.state.peek_range(closed, ROWS_PER_FIRING, &mut entries);
        if !entries.is_empty() {
            output.rows.push(self.results(&entries)?);
            self.state.drop_range(closed, entries.len());
        }
        let more = entries.len() == ROWS_PER_FIRING || self.state.is_due(closed.end);
        Ok(if more { Fired::More } else { Fired::Done })
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        self.state.checkpoint()
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        let restored = self.state.restore(&delta);
        restored.map_err(|error| error.restoring(&self.name))
    }

    fn restored(&mut self) -> Result<(), OperatorError> {
        self.state.restored();
        Ok(())
    }

    fn spill_to(&mut self, memory: &Arc<StateMemory>) -> Result<(), OperatorError> {
        let spilling = self.state.spill_to(memory, 0);
        spilling.map_err(|error| CodecError::from(error).working(&self.name))
    }

    fn trim(&mut self) -> Result<bool, OperatorError> {
        let held = self.revisions.as_ref();
        if held.is_some_and(Revisions::holds_entries) {
            return Ok(false);
        }
        let coldest = self.state.coldest(0, |_| false);
        let published = held.map_or(i64::MIN, Revisions::published);
        let lateness = self.spec.lateness_ms;
        // When its first pane is to be published, or to go.
        let wake = |panes: &[(i64, EntryId)]| {
            let panes = panes.iter().map(|(pane, _)| match *pane < published {
                true => pane.saturating_add(lateness).min(i64::MAX - 1),
                false => *pane,
            });
            panes.min()
        };
        let spilled = self.state.spill(&coldest, wake);
        let tidied = spilled.and_then(|()| self.state.tidy());
        let read = tidied.map_err(|error| error.working(&self.name))?;
        Ok(read || !coldest.is_empty())
    }

    fn peek(&self, output: &mut Output) -> Result<(), OperatorError> {
        let all = SubKeyRange {
            start: i64::MIN,
            end: i64::MAX,
        };
        let mut entries = Vec::new();
        self.state.peek_range(all, usize::MAX, &mut entries);
        for entries in entries.chunks(ROWS_PER_FIRING) {
            output.rows.push(self.results(entries)?);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state.bytes()
    }

    fn state_entries(&self) -> usize {
        self.state.len()
    }
}

#[cfg(test)]
mod tests;
