//! Joins of tables on their whole common key.
//!
//! State: key, then 0 for the left row and 1 for the right one, encoded.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, ShardDelta};

use crate::changes::optional::OptionalRows;
use crate::changes::touched::TouchedKeys;
use crate::changes::{FIRED_ROWS, change_batch, change_schema, diffs, null_rows};
use crate::codec::CodecError;
use crate::key::{EncodedKeys, KeyCodec};
use crate::operator::{Clock, Fired, Operator, OperatorError, Output};
use crate::state::{BytesColumn, KeyedState, SlotId, StateMemory};

/// Which rows a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Only matches.
    Inner,
    /// Every row of the left side; nulls where the right has no match.
    Left,
}

/// What a [`KeyJoin`] joins. Positions are among visible columns.
#[derive(Clone, Debug)]
pub struct KeyJoinSpec {
    /// A name for people, such as `customer/join`.
    pub name: String,
    /// The left table's visible columns.
    pub left: SchemaRef,
    /// Its key, in join order.
    pub left_key: Vec<usize>,
    /// The right table's visible columns.
    pub right: SchemaRef,
    /// Its key, in join order.
    pub right_key: Vec<usize>,
    /// Inner or left.
    pub kind: JoinKind,
    /// The result's visible columns: the left's, then the right's.
    pub schema: SchemaRef,
}

/// Joins the changes of two tables (ports 0 and 1) on their whole common key.
///
/// Per epoch and key it emits at most the loss of the old joined row and the gain of the new one, and
/// nothing if they are equal. Null in a key matches nothing.
#[derive(Debug)]
pub struct KeyJoin {
    name: String,
    kind: JoinKind,
    change_schema: SchemaRef,
    sides: [Side; 2],
    keys: EncodedKeys,
    state: KeyedState<BytesColumn>,
    touched: TouchedKeys<Before>,
}

/// How the rows of one side are read.
#[derive(Debug)]
struct Side {
    visible: usize,
    key_columns: Vec<usize>,
    key: KeyCodec,
    row: OptionalRows,
}

impl Side {
    fn new(schema: &Schema, key: &[usize]) -> Result<Self, CodecError> {
        Ok(Self {
            visible: schema.fields().len(),
            key_columns: key.to_vec(),
            key: KeyCodec::new(schema, key)?,
            row: OptionalRows::new(schema)?,
        })
    }

    fn matched_by(mut self, other_key: &[usize]) -> Self {
        self.row = self.row.matched_by(&self.key_columns, other_key);
        self
    }
}

/// The rows of a key before the epoch, and which sides the epoch has brought a row for.
#[derive(Debug, Default)]
struct Before {
    rows: [Option<Box<[u8]>>; 2],
    gained: [bool; 2],
}

impl Before {
    fn of(state: &KeyedState<BytesColumn>, key: &[u8], hash: u64) -> Self {
        let slot = state.find_slot(key, hash);
        let row = |side| {
            slot.and_then(|slot| side_row(state, slot, side))
                .map(Into::into)
        };
        Self {
            rows: [0, 1].map(row),
            gained: [false; 2],
        }
    }
}

/// A left row, and the right one if there is.
type Joined<'a> = (&'a [u8], Option<&'a [u8]>);

const RIGHT: usize = 1;

impl KeyJoin {
    /// # Errors
    /// If a column's type cannot be kept, or the keys differ in their types.
    pub fn new(spec: &KeyJoinSpec) -> Result<Self, CodecError> {
        check_key_types(&spec.left, &spec.left_key, &spec.right, &spec.right_key)?;
        Ok(Self {
            name: spec.name.clone(),
            kind: spec.kind,
            change_schema: change_schema(&spec.schema),
            sides: [
                Side::new(&spec.left, &spec.left_key)?,
                Side::new(&spec.right, &spec.right_key)?.matched_by(&spec.left_key),
            ],
            keys: EncodedKeys::default(),
            state: KeyedState::default(),
            touched: TouchedKeys::default(),
        })
    }

    fn change(&mut self, port: usize, rows: &RecordBatch, epoch: Epoch) -> Result<(), CodecError> {
        let side = &self.sides[port];
        let diffs = diffs(rows, side.visible)?.values();
        side.key.encode_batch(rows, &mut self.keys)?;
        self.state.prepare(&self.keys, epoch)?;
        let encoder = side.row.codec().encoder(rows)?;
        // A left row with a null key is never matched, since no right row is kept under that key.
        let ignored = (port == RIGHT)
            .then(|| null_rows(rows, &side.key_columns))
            .flatten();
        let mut value = Vec::new();
        for (row, (key, hash)) in self.keys.iter().enumerate() {
            if ignored.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let state = &self.state;
            let before = self
                .touched
                .touch(key, hash, || Before::of(state, key, hash));
            // A loss may come behind the gain that replaces it.
            if diffs[row] > 0 {
                before.gained[port] = true;
                value.clear();
                encoder.encode(row, &mut value);
                let entry = self.state.entry(key, hash, port as i64);
                self.state.columns_mut().set(entry, &value);
            } else if !before.gained[port]
                && let Some(entry) = self.state.find(key, hash, port as i64)
            {
                self.state.remove(entry);
            }
        }
        Ok(())
    }

    fn joined<'a>(&self, [left, right]: [Option<&'a [u8]>; 2]) -> Option<Joined<'a>> {
        match self.kind {
            JoinKind::Inner => Some((left?, Some(right?))),
            JoinKind::Left => Some((left?, right)),
        }
    }

    fn current<'a>(&self, state: &'a KeyedState<BytesColumn>, slot: SlotId) -> Option<Joined<'a>> {
        self.joined([0, 1].map(|side| side_row(state, slot, side)))
    }

    fn emit(&self, losses: &[Joined<'_>], gains: &[Joined<'_>]) -> Result<RecordBatch, CodecError> {
        let rows = || losses.iter().chain(gains);
        let [left, right] = &self.sides;
        let left = left.row.codec().decode(rows().map(|(left, _)| *left))?;
        let mut columns = left.columns().to_vec();
        columns.extend(
            right
                .row
                .decode_beside(left.columns(), rows().map(|(_, right)| *right))?,
        );
        Ok(change_batch(
            &self.change_schema,
            columns,
            losses.len(),
            gains.len(),
        )?)
    }
}

fn side_row(state: &KeyedState<BytesColumn>, slot: SlotId, side: i64) -> Option<&[u8]> {
    let mut entries = state.sub_keys(slot).iter();
    let (_, entry) = entries.find(|(sub_key, _)| *sub_key == side)?;
    Some(state.columns().get(*entry))
}

/// Checks that two keys have the same types in the same order: only then equal values have equal bytes.
pub(crate) fn check_key_types(
    left: &Schema,
    left_key: &[usize],
    right: &Schema,
    right_key: &[usize],
) -> Result<(), CodecError> {
    let at = |schema: &Schema, column: Option<&usize>| {
        let field = column.and_then(|&column| schema.fields().get(column));
        field.map_or(DataType::Null, |field| field.data_type().clone())
    };
    for position in 0..left_key.len().max(right_key.len()) {
        let expected = at(left, left_key.get(position));
        let found = at(right, right_key.get(position));
        if expected != found {
            let found = found.to_string();
            return Err(CodecError::Batch {
                column: position,
                expected,
                found,
            });
        }
    }
    Ok(())
}

impl Operator for KeyJoin {
    fn apply(
        &mut self,
        port: usize,
        rows: RecordBatch,
        clock: &Clock,
        _output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.change(port, &rows, clock.epoch)
            .map_err(|error| error.working(&self.name))
    }

    fn fire(&mut self, _clock: &Clock, output: &mut Output) -> Result<Fired, OperatorError> {
        let touched = self.touched.take(FIRED_ROWS / 2);
        let (mut losses, mut gains) = (Vec::new(), Vec::new());
        for touched in &touched {
            let [left, right] = &touched.remembered.rows;
            let old = self.joined([left.as_deref(), right.as_deref()]);
            let slot = self.state.find_slot(&touched.key, touched.hash);
            let new = slot.and_then(|slot| self.current(&self.state, slot));
            if old != new {
                losses.extend(old);
                gains.extend(new);
            }
        }
        if !(losses.is_empty() && gains.is_empty()) {
            let changes = self.emit(&losses, &gains);
            output
                .rows
                .push(changes.map_err(|error| error.working(&self.name))?);
        }
        Ok(if self.touched.is_empty() {
            Fired::Done
        } else {
            Fired::More
        })
    }

    fn checkpoint(&mut self) -> Vec<ShardDelta> {
        self.state.checkpoint()
    }

    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError> {
        let mut sides = delta.entries.iter().map(|entry| entry.sub_key);
        let restored = match sides.all(|side| (0..2).contains(&side)) {
            true => self.state.restore(&delta),
            false => Err(CodecError::Malformed(
                "a side that is neither left nor right",
            )),
        };
        restored.map_err(|error| error.restoring(&self.name))
    }

    fn restored(&mut self) -> Result<(), OperatorError> {
        self.state.restored();
        Ok(())
    }

    fn snapshot(&self, output: &mut Output) -> Result<(), OperatorError> {
        let emitted = self.state.parts(|part| {
            let rows = part.slots();
            let rows: Vec<_> = rows.filter_map(|slot| self.current(part, slot)).collect();
            for gains in rows.chunks(FIRED_ROWS) {
                output.rows.push(self.emit(&[], gains)?);
            }
            Ok(())
        });
        emitted.map_err(|error: CodecError| error.working(&self.name))
    }

    fn spill_to(&mut self, memory: &Arc<StateMemory>) -> Result<(), OperatorError> {
        let spilling = self.state.spill_to(memory, 0);
        spilling.map_err(|error| CodecError::from(error).working(&self.name))
    }

    fn trim(&mut self) -> Result<bool, OperatorError> {
        let trimmed = self.state.trim();
        trimmed.map_err(|error| error.working(&self.name))
    }

    fn state_bytes(&self) -> usize {
        self.state.bytes()
    }

    fn state_entries(&self) -> usize {
        self.state.len()
    }
}
