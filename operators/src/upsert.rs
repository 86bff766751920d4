//! Table sources: from upserts and deletes by key to changes of a keyed table.
//!
//! A key normally lives in one split. Where it is seen in several, each split's latest record (greatest
//! offset) competes, and the greatest (`_ts`, split) wins; a delete competes like a row, so a delete that
//! is older than another split's row removes nothing. Of a key whose latest records are all deletes nothing
//! is kept: state stays bounded by the keys that exist. What that costs: a row in another split that is
//! older than such a delete and arrives in a later epoch brings the key back.
//!
//! State: key, then split, then one byte with the format's version, one that is 1 for a delete, `_ts` and
//! `_offset` (8 bytes each, little endian), then the encoded row of an upsert.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{ArrowPrimitiveType, Int8Type, Int64Type, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, ShardDelta};

use crate::batch::{OFFSET, OP, SPLIT, VERSION_TIME};
use crate::changes::touched::TouchedKeys;
use crate::changes::{FIRED_ROWS, change_batch, change_schema};
use crate::codec::mapping::RowMapping;
use crate::codec::{CodecError, RowCodec};
use crate::key::{EncodedKeys, KeyCodec};
use crate::operator::{Clock, Fired, Operator, OperatorError, Output};
use crate::state::{BytesColumn, EntryId, KeyedState, SlotId, StateMemory};

/// The version that every value in state starts with.
const FORMAT: u8 = 1;
/// Format, delete flag, time, offset.
const HEADER: usize = 18;

/// Resolves the records of a table source by key.
///
/// Port 0 takes batches of the visible columns, then `_op`, `_ts`, `_split`, `_offset`. Per epoch and
/// changed key it emits the loss of the old row and the gain of the new one, and nothing if they are equal.
#[derive(Debug)]
pub struct Upsert {
    name: String,
    visible: usize,
    change_schema: SchemaRef,
    key: KeyCodec,
    row: RowCodec,
    keys: EncodedKeys,
    state: KeyedState<BytesColumn>,
    /// With the row that each had before the epoch.
    touched: TouchedKeys<Option<Box<[u8]>>>,
}

/// A split's latest record of a key.
#[derive(Clone, Copy, Debug)]
struct Version<'a> {
    time: i64,
    offset: i64,
    /// The encoded row; `None` for a delete.
    row: Option<&'a [u8]>,
}

impl<'a> Version<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (header, row) = bytes.split_first_chunk::<HEADER>()?;
        let time = i64::from_le_bytes(*header[2..].first_chunk()?);
        let offset = i64::from_le_bytes(*header[10..].first_chunk()?);
        let row = match header {
            [FORMAT, 0, ..] => Some(row),
            [FORMAT, 1, ..] if row.is_empty() => None,
            _ => return None,
        };
        Some(Self { time, offset, row })
    }
}

impl Upsert {
    /// Resolves records with these visible columns by the key at these positions.
    ///
    /// # Errors
    /// If a column's type cannot be kept.
    pub fn new(name: &str, schema: SchemaRef, key: &[usize]) -> Result<Self, CodecError> {
        Ok(Self {
            name: name.to_owned(),
            visible: schema.fields().len(),
            change_schema: change_schema(&schema),
            key: KeyCodec::new(&schema, key)?,
            row: RowCodec::new(Arc::clone(&schema))?,
            keys: EncodedKeys::default(),
            state: KeyedState::default(),
            touched: TouchedKeys::default(),
        })
    }

    fn read(&mut self, rows: &RecordBatch, epoch: Epoch) -> Result<(), CodecError> {
        let ops = hidden::<Int8Type>(rows, self.visible, OP)?;
        let times = hidden::<Int64Type>(rows, self.visible + 1, VERSION_TIME)?;
        let splits = hidden::<UInt32Type>(rows, self.visible + 2, SPLIT)?;
        let offsets = hidden::<Int64Type>(rows, self.visible + 3, OFFSET)?;
        self.key.encode_batch(rows, &mut self.keys)?;
        self.state.prepare(&self.keys, epoch)?;
        let encoder = self.row.encoder(rows)?;
        let mut value = Vec::new();
        for (row, (key, hash)) in self.keys.iter().enumerate() {
            let split = i64::from(splits[row]);
            let known = self.state.find(key, hash, split);
            let known = known.and_then(|entry| Version::decode(self.state.columns().get(entry)));
            if known.is_some_and(|known| known.offset >= offsets[row]) {
                continue;
            }
            let state = &self.state;
            self.touched.touch(key, hash, || {
                let slot = state.find_slot(key, hash)?;
                Some(winner(state, slot)?.row?.into())
            });
            value.clear();
            value.extend([FORMAT, u8::from(ops[row] < 0)]);
            value.extend(times[row].to_le_bytes());
            value.extend(offsets[row].to_le_bytes());
            if ops[row] > 0 {
                encoder.encode(row, &mut value);
            }
            let entry = self.state.entry(key, hash, split);
            self.state.columns_mut().set(entry, &value);
        }
        Ok(())
    }

    /// Encodes every row anew that was encoded with the columns of `from`.
    fn bring_from(&mut self, from: &SchemaRef) -> Result<(), CodecError> {
        let mapping = RowMapping::new(from, self.row.schema())?;
        self.state.load_all()?;
        let slots: Vec<_> = self.state.slots().collect();
        let entries = slots.iter().flat_map(|slot| self.state.sub_keys(*slot));
        let entries: Vec<_> = entries.map(|(_, entry)| *entry).collect();
        for some in entries.chunks(FIRED_ROWS) {
            let value = |entry: &EntryId| self.state.columns().get(*entry).to_vec();
            // Deletes have no row.
            let rows = some.iter().map(|entry| (*entry, value(entry)));
            let rows: Vec<_> = rows.filter(|(_, value)| value.len() > HEADER).collect();
            let old = rows.iter().map(|(_, value)| &value[HEADER..]);
            let new = mapping.apply(old)?;
            for ((entry, mut value), row) in rows.into_iter().zip(new) {
                value.truncate(HEADER);
                value.extend(row);
                self.state.columns_mut().set(entry, &value);
            }
            some.iter().for_each(|entry| self.state.touch(*entry));
        }
        Ok(())
    }

    /// Forgets a key that all splits have deleted.
    fn prune(&mut self, slot: SlotId) {
        let entries: Vec<_> = self
            .state
            .sub_keys(slot)
            .iter()
            .map(|(_, entry)| *entry)
            .collect();
        let deleted = |entry: &u32| {
            Version::decode(self.state.columns().get(*entry)).is_some_and(|v| v.row.is_none())
        };
        if entries.iter().all(deleted) {
            entries
                .into_iter()
                .for_each(|entry| self.state.remove(entry));
        }
    }

    fn emit(&self, losses: &[&[u8]], gains: &[&[u8]]) -> Result<RecordBatch, CodecError> {
        let rows = self.row.decode(losses.iter().chain(gains).copied())?;
        let columns = rows.columns().to_vec();
        Ok(change_batch(
            &self.change_schema,
            columns,
            losses.len(),
            gains.len(),
        )?)
    }
}

/// The version that counts among the splits' latest.
fn winner(state: &KeyedState<BytesColumn>, slot: SlotId) -> Option<Version<'_>> {
    let versions = state
        .sub_keys(slot)
        .iter()
        .filter_map(|(split, entry)| Some((*split, Version::decode(state.columns().get(*entry))?)));
    versions
        .max_by_key(|(split, version)| (version.time, *split))
        .map(|(_, version)| version)
}

fn hidden<'a, T: ArrowPrimitiveType>(
    rows: &'a RecordBatch,
    position: usize,
    name: &str,
) -> Result<&'a [T::Native], ArrowError> {
    let field = rows.schema_ref().fields().get(position);
    let column = field
        .filter(|field| field.name() == name)
        .map(|_| rows.column(position));
    let values = column.and_then(|column| column.as_primitive_opt::<T>());
    values.map(|values| &values.values()[..]).ok_or_else(|| {
        ArrowError::SchemaError(format!(
            "column {position} should be {name}, {}",
            T::DATA_TYPE
        ))
    })
}

impl Operator for Upsert {
    fn apply(
        &mut self,
        _port: usize,
        rows: RecordBatch,
        clock: &Clock,
        _output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.read(&rows, clock.epoch)
            .map_err(|error| error.working(&self.name))
    }

    fn fire(&mut self, _clock: &Clock, output: &mut Output) -> Result<Fired, OperatorError> {
        let touched = self.touched.take(FIRED_ROWS / 2);
        let (mut losses, mut gains) = (Vec::new(), Vec::new());
        for touched in &touched {
            let slot = self.state.find_slot(&touched.key, touched.hash);
            let new = slot.and_then(|slot| winner(&self.state, slot)?.row);
            let old = touched.remembered.as_deref();
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
        for touched in &touched {
            if let Some(slot) = self.state.find_slot(&touched.key, touched.hash) {
                self.prune(slot);
            }
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
        let values = delta.entries.iter();
        let mut values = values.filter_map(|entry| entry.value.as_deref());
        let restored = match values.all(|value| Version::decode(value).is_some()) {
            true => self.state.restore(&delta),
            false => Err(CodecError::Malformed("no version of a row")),
        };
        restored.map_err(|error| error.restoring(&self.name))
    }

    fn restored(&mut self) -> Result<(), OperatorError> {
        self.state.restored();
        Ok(())
    }

    fn migrate(&mut self, from: &SchemaRef) -> Result<(), OperatorError> {
        self.bring_from(from)
            .map_err(|error| error.restoring(&self.name))
    }

    fn snapshot(&self, output: &mut Output) -> Result<(), OperatorError> {
        let emitted = self.state.parts(|part| {
            let rows = part.slots();
            let rows: Vec<_> = rows.filter_map(|slot| winner(part, slot)?.row).collect();
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
