//! Outboxes as operators: they take a relation's rows and put their changes into checkpoints like any other state.
//!
//! The outbox itself is shared with the delivery operator of the same worker: deliveries depend on the durable frontier,
//! which depends on the checkpoint that these operators take part in, so one operator for both would be a cycle.

use std::{cell::RefCell, rc::Rc};

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use tidewright_checkpoints::{Epoch, ShardDelta};
use tidewright_operators::codec::{CodecError, RowCodec};
use tidewright_operators::key::KeyCodec;
use tidewright_operators::{Clock, DIFF, Fired, Operator, OperatorError, Output};

use super::append_outbox::AppendOutbox;
use super::mutant::Mutant;
use super::outbox::{KeyedOutbox, Pending};

/// The visible column that tells rows that went away, where a table's changes go to an append sink.
pub const DELETED: &str = "_deleted";

/// A keyed sink's outbox.
pub struct KeyedOutboxOperator {
    name: String,
    outbox: Rc<RefCell<KeyedOutbox>>,
    rows: RowCodec,
    key: KeyCodec,
    delivered: Epoch,
    eager: bool,
    last_epoch: Epoch,
}

impl KeyedOutboxOperator {
    /// Feeds `outbox` with rows of `schema` by `key`. Restored entries at or below `delivered` are garbage.
    ///
    /// # Errors
    /// If a column's type has no durable form.
    pub fn new(
        name: String,
        outbox: Rc<RefCell<KeyedOutbox>>,
        schema: &SchemaRef,
        key: &[usize],
        delivered: Epoch,
        eager: bool,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            name,
            outbox,
            rows: RowCodec::new(schema.clone())?,
            key: KeyCodec::new(schema, key)?,
            delivered,
            eager,
            last_epoch: Epoch(0),
        })
    }
}

impl Operator for KeyedOutboxOperator {
    fn apply(
        &mut self,
        _port: usize,
        rows: RecordBatch,
        clock: &Clock,
        _output: &mut Output,
    ) -> Result<(), OperatorError> {
        let losses = losses(&rows);
        let encoder = self
            .rows
            .encoder(&rows)
            .map_err(|error| error.working(&self.name))?;
        let keys = self
            .key
            .encoder(&rows)
            .map_err(|error| error.working(&self.name))?;
        let mut outbox = self.outbox.borrow_mut();
        let (mut key, mut row) = (Vec::new(), Vec::new());
        for at in 0..rows.num_rows() {
            key.clear();
            row.clear();
            keys.encode(at, &mut key);
            encoder.encode(at, &mut row);
            let deleted = losses.as_ref().is_some_and(|losses| losses.value(at));
            outbox.put(
                &key,
                Pending {
                    epoch: clock.epoch,
                    deleted,
                    row: row.as_slice().into(),
                },
            );
        }
        Ok(())
    }

    fn fire(&mut self, clock: &Clock, _output: &mut Output) -> Result<Fired, OperatorError> {
        self.last_epoch = clock.epoch;
        if self.eager {
            self.outbox.borrow_mut().release(clock.epoch);
        }
        Ok(Fired::Done)
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        let mut outbox = self.outbox.borrow_mut();
        let deltas = outbox.seal(self.last_epoch);
        if Mutant::Release.is_asked_for() {
            outbox.set_durable(self.last_epoch);
        }
        deltas
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        self.outbox
            .borrow_mut()
            .restore(delta, self.delivered)
            .map_err(|reason| OperatorError::Restore {
                operator: self.name.clone(),
                reason,
            })
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn state_entries(&self) -> usize {
        0
    }
}

/// A table's changes in the open epoch: the last image of each key, in the order in which keys came.
struct EpochChanges {
    key: KeyCodec,
    places: HashMap<Box<[u8]>, usize>,
    rows: Vec<Box<[u8]>>,
}

/// An append sink's outbox.
pub struct AppendOutboxOperator {
    name: String,
    outbox: Rc<RefCell<AppendOutbox>>,
    rows: RowCodec,
    visible: Vec<usize>,
    /// Of a table: its key, and the changes of the open epoch by key.
    changes: Option<EpochChanges>,
    last_epoch: Epoch,
}

/// The schema that an append sink is given for a relation: a table's changes tell which rows went away.
#[must_use]
pub fn append_schema(schema: &SchemaRef, is_table: bool) -> SchemaRef {
    if !is_table {
        return schema.clone();
    }
    let mut fields = schema.fields().to_vec();
    fields.push(Field::new(DELETED, DataType::Boolean, false).into());
    Schema::new(fields).into()
}

impl AppendOutboxOperator {
    /// Feeds `outbox` with rows of `schema`; `table_key` makes them a table's changes.
    ///
    /// # Errors
    /// If a column's type has no durable form.
    pub fn new(
        name: String,
        outbox: Rc<RefCell<AppendOutbox>>,
        schema: &SchemaRef,
        table_key: Option<&[usize]>,
    ) -> Result<Self, CodecError> {
        let changes = table_key.map(|key| {
            KeyCodec::new(schema, key).map(|key| EpochChanges {
                key,
                places: HashMap::new(),
                rows: Vec::new(),
            })
        });
        let changes = changes.transpose()?;
        Ok(Self {
            name,
            outbox,
            rows: RowCodec::new(append_schema(schema, changes.is_some()))?,
            visible: (0..schema.fields().len()).collect(),
            changes,
            last_epoch: Epoch(0),
        })
    }
}

impl Operator for AppendOutboxOperator {
    fn apply(
        &mut self,
        _port: usize,
        rows: RecordBatch,
        _clock: &Clock,
        _output: &mut Output,
    ) -> Result<(), OperatorError> {
        let losses = losses(&rows);
        let rows = visible(&self.name, &rows, &self.visible)?;
        let rows = match &losses {
            Some(losses) if self.changes.is_some() => self.with_deleted(&rows, losses)?,
            _ => rows,
        };
        let encoder = self
            .rows
            .encoder(&rows)
            .map_err(|error| error.working(&self.name))?;
        let encode = |at: usize| {
            let mut row = Vec::new();
            encoder.encode(at, &mut row);
            Box::<[u8]>::from(row)
        };
        let Some(changes) = &mut self.changes else {
            let mut outbox = self.outbox.borrow_mut();
            let mut row = Vec::new();
            for at in 0..rows.num_rows() {
                row.clear();
                encoder.encode(at, &mut row);
                outbox.push(&row);
            }
            return Ok(());
        };
        let keys = changes
            .key
            .encoder(&rows)
            .map_err(|error| error.working(&self.name))?;
        let mut key = Vec::new();
        for at in 0..rows.num_rows() {
            key.clear();
            keys.encode(at, &mut key);
            let lost = losses.as_ref().is_some_and(|losses| losses.value(at));
            match changes.places.get(key.as_slice()) {
                // The gain of the same epoch decides.
                Some(_) if lost => {}
                Some(place) => changes.rows[*place] = encode(at),
                None => {
                    changes
                        .places
                        .insert(key.as_slice().into(), changes.rows.len());
                    changes.rows.push(encode(at));
                }
            }
        }
        Ok(())
    }

    fn fire(&mut self, clock: &Clock, _output: &mut Output) -> Result<Fired, OperatorError> {
        self.last_epoch = clock.epoch;
        if let Some(changes) = &mut self.changes {
            changes.places.clear();
            let mut outbox = self.outbox.borrow_mut();
            changes.rows.drain(..).for_each(|row| outbox.push(&row));
        }
        Ok(Fired::Done)
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        let mut outbox = self.outbox.borrow_mut();
        let deltas = outbox.seal(self.last_epoch);
        if Mutant::Release.is_asked_for() {
            outbox.set_durable(self.last_epoch);
        }
        deltas
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        self.outbox
            .borrow_mut()
            .restore(delta)
            .map_err(|reason| OperatorError::Restore {
                operator: self.name.clone(),
                reason,
            })
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn state_entries(&self) -> usize {
        0
    }
}

impl AppendOutboxOperator {
    fn with_deleted(
        &self,
        rows: &RecordBatch,
        losses: &BooleanArray,
    ) -> Result<RecordBatch, OperatorError> {
        let mut columns = rows.columns().to_vec();
        columns.push(std::sync::Arc::new(losses.clone()));
        RecordBatch::try_new(self.rows.schema().clone(), columns).map_err(|source| {
            OperatorError::Arrow {
                operator: self.name.clone(),
                source,
            }
        })
    }
}

/// Which rows of a table's changes went away; `None` for a stream's rows.
fn losses(rows: &RecordBatch) -> Option<BooleanArray> {
    let diff = rows.column_by_name(DIFF)?.as_primitive_opt::<Int8Type>()?;
    Some(diff.values().iter().map(|diff| Some(*diff < 0)).collect())
}

fn visible(
    name: &str,
    rows: &RecordBatch,
    columns: &[usize],
) -> Result<RecordBatch, OperatorError> {
    rows.project(columns)
        .map_err(|source| OperatorError::Arrow {
            operator: name.to_owned(),
            source,
        })
}
