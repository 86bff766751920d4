//! A stream enriched by a table, as of arrival.
//!
//! State: the table's rows by key, encoded. Port 0 comes before port 1 in every epoch, so a stream's row
//! sees the table as it is at the end of the row's epoch.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, ShardDelta};

use crate::changes::optional::OptionalRows;
use crate::changes::touched::TouchedKeys;
use crate::changes::{diffs, null_rows};
use crate::codec::CodecError;
use crate::key::{EncodedKeys, KeyCodec};
use crate::key_join::{JoinKind, check_key_types};
use crate::operator::{Clock, Fired, Operator, OperatorError, Output};
use crate::state::{BytesColumn, EntryId, KeyedState, StateMemory};

/// What a [`Lookup`] compares and emits. Positions are among visible columns.
#[derive(Clone, Debug)]
pub struct LookupSpec {
    /// A name for people, such as `enriched/lookup`.
    pub name: String,
    /// The stream's visible columns.
    pub input: SchemaRef,
    /// The stream's columns that are compared with the table's key, in the order of that key.
    pub input_key: Vec<usize>,
    /// The table's visible columns.
    pub table: SchemaRef,
    /// The table's key.
    pub table_key: Vec<usize>,
    /// Inner or left.
    pub kind: JoinKind,
    /// The result's visible columns: the stream's, then the table's.
    pub schema: SchemaRef,
}

/// Enriches a stream (port 1) by the row that a table (port 0, changes) has for its key.
///
/// The result's columns are the stream's visible ones, the table's, then the stream's hidden ones. Null in
/// a key matches nothing.
#[derive(Debug)]
pub struct Lookup {
    spec: LookupSpec,
    table_key: KeyCodec,
    input_key: KeyCodec,
    table_row: OptionalRows,
    keys: EncodedKeys,
    state: KeyedState<BytesColumn>,
    /// The table's keys of this epoch; whether the epoch has brought a row.
    gained: TouchedKeys<bool>,
}

impl Lookup {
    /// # Errors
    /// If a column's type cannot be kept, or the keys differ in their types.
    pub fn new(spec: LookupSpec) -> Result<Self, CodecError> {
        check_key_types(&spec.input, &spec.input_key, &spec.table, &spec.table_key)?;
        Ok(Self {
            table_key: KeyCodec::new(&spec.table, &spec.table_key)?,
            input_key: KeyCodec::new(&spec.input, &spec.input_key)?,
            table_row: OptionalRows::new(&spec.table)?.matched_by(&spec.table_key, &spec.input_key),
            keys: EncodedKeys::default(),
            state: KeyedState::default(),
            gained: TouchedKeys::default(),
            spec,
        })
    }

    fn change(&mut self, rows: &RecordBatch, epoch: Epoch) -> Result<(), CodecError> {
        let diffs = diffs(rows, self.spec.table.fields().len())?.values();
        self.table_key.encode_batch(rows, &mut self.keys)?;
        self.state.prepare(&self.keys, epoch)?;
        let encoder = self.table_row.codec().encoder(rows)?;
        let nulls = null_rows(rows, &self.spec.table_key);
        let mut value = Vec::new();
        for (row, (key, hash)) in self.keys.iter().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            // A loss may come behind the gain that replaces it.
            let gained = self.gained.touch(key, hash, || false);
            if diffs[row] > 0 {
                *gained = true;
                value.clear();
                encoder.encode(row, &mut value);
                let entry = self.state.entry(key, hash, 0);
                self.state.columns_mut().set(entry, &value);
            } else if !*gained && let Some(entry) = self.state.find(key, hash, 0) {
                self.state.remove(entry);
            }
        }
        Ok(())
    }

    fn enrich(&mut self, rows: &RecordBatch, epoch: Epoch) -> Result<RecordBatch, CodecError> {
        self.input_key.encode_batch(rows, &mut self.keys)?;
        self.state.prepare(&self.keys, epoch)?;
        let nulls = null_rows(rows, &self.spec.input_key);
        let keys = self.keys.iter().enumerate();
        let found = keys.map(|(row, (key, hash))| match &nulls {
            Some(nulls) if nulls.is_null(row) => None,
            _ => self.state.find(key, hash, 0),
        });
        let found: Vec<Option<EntryId>> = found.collect();
        if self.spec.kind == JoinKind::Left || found.iter().all(Option::is_some) {
            return self.joined(rows.columns().to_vec(), rows.schema_ref(), &found);
        }
        let matched = (0..).zip(&found).filter(|(_, entry)| entry.is_some());
        let matched: UInt32Array = matched.map(|(row, _)| row).collect::<Vec<u32>>().into();
        let columns = rows
            .columns()
            .iter()
            .map(|column| take(column, &matched, None));
        let columns = columns.collect::<Result<_, _>>()?;
        let found: Vec<_> = found.into_iter().filter(Option::is_some).collect();
        self.joined(columns, rows.schema_ref(), &found)
    }

    /// Puts the table's columns between the stream's visible and hidden ones.
    fn joined(
        &self,
        mut columns: Vec<ArrayRef>,
        schema: &Schema,
        found: &[Option<EntryId>],
    ) -> Result<RecordBatch, CodecError> {
        let visible = self.spec.input.fields().len();
        let rows = found
            .iter()
            .map(|entry| entry.map(|entry| self.state.columns().get(entry)));
        let table = self.table_row.decode_beside(&columns, rows)?;
        columns.splice(visible..visible, table);
        let fields = self
            .spec
            .schema
            .fields()
            .iter()
            .chain(schema.fields().iter().skip(visible));
        let schema = Schema::new(fields.cloned().collect::<Vec<_>>());
        Ok(RecordBatch::try_new(schema.into(), columns)?)
    }
}

impl Operator for Lookup {
    fn apply(
        &mut self,
        port: usize,
        rows: RecordBatch,
        clock: &Clock,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let result = if port == 0 {
            self.change(&rows, clock.epoch)
        } else {
            self.enrich(&rows, clock.epoch).map(|rows| {
                if rows.num_rows() > 0 {
                    output.rows.push(rows);
                }
            })
        };
        result.map_err(|error| error.working(&self.spec.name))
    }

    fn fire(&mut self, _clock: &Clock, _output: &mut Output) -> Result<Fired, OperatorError> {
        self.gained.clear();
        Ok(Fired::Done)
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        self.state.checkpoint()
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        self.state
            .restore(&delta)
            .map_err(|error| error.restoring(&self.spec.name))
    }

    fn restored(&mut self) -> Result<(), OperatorError> {
        self.state.restored();
        Ok(())
    }

    fn spill_to(&mut self, memory: &Arc<StateMemory>) -> Result<(), OperatorError> {
        let spilling = self.state.spill_to(memory, 0);
        spilling.map_err(|error| CodecError::from(error).working(&self.spec.name))
    }

    fn trim(&mut self) -> Result<bool, OperatorError> {
        let trimmed = self.state.trim();
        trimmed.map_err(|error| error.working(&self.spec.name))
    }

    fn state_bytes(&self) -> usize {
        self.state.bytes()
    }

    fn state_entries(&self) -> usize {
        self.state.len()
    }
}
