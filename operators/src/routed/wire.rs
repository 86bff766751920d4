//! The form of a batch between processes.
//!
//! Columns are agreed at planning and never sent: both processes run the same plan, and the receiver knows the visible
//! columns of the edge that a batch comes by. A batch says only which hidden columns follow them, and a fingerprint of
//! all its columns' types.
//!
//! | part | form |
//! |---|---|
//! | number of rows | 8 bytes |
//! | fingerprint of the columns' types | 4 bytes |
//! | hidden columns | 1 byte, a bit for each of [`HIDDEN`], lowest first |
//! | columns | one after the other, each as the module `column` describes it |
//!
//! Integers are little endian. This form lives as long as a message and has no version: processes of one job are of one
//! release.

mod column;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::batch::{DIFF, OFFSET, OP, SPLIT, VERSION_TIME, WATERMARK};
use crate::codec::CodecError;
use crate::codec::bytes::Reader;

/// The hidden columns, in the order in which they stand behind the visible ones.
const HIDDEN: [(&str, DataType); 6] = [
    (OP, DataType::Int8),
    (VERSION_TIME, DataType::Int64),
    (WATERMARK, DataType::Int64),
    (SPLIT, DataType::UInt32),
    (OFFSET, DataType::Int64),
    (DIFF, DataType::Int8),
];

/// The fingerprint of a batch that cannot be sent: no batch has it, so the receiver refuses it.
const UNSENDABLE: u32 = 0;

/// Appends the bytes of a batch. A batch with a column that has no form is refused by the receiver; see
/// [`WireSchema::new`] for the check beforehand.
pub(super) fn encode(batch: &RecordBatch, into: &mut Vec<u8>) {
    into.extend_from_slice(&(batch.num_rows() as u64).to_le_bytes());
    let sendable = batch
        .columns()
        .iter()
        .all(|it| column::has_form(it.data_type()));
    let types = batch.columns().iter().map(|column| column.data_type());
    let fingerprint = if sendable {
        fingerprint(types)
    } else {
        UNSENDABLE
    };
    into.extend_from_slice(&fingerprint.to_le_bytes());
    into.push(hidden(batch.schema_ref()));
    if sendable {
        for column in batch.columns() {
            column::encode(column, into);
        }
    }
}

/// Which of [`HIDDEN`] a batch ends in, as bits.
fn hidden(schema: &Schema) -> u8 {
    let mut names = schema
        .fields()
        .iter()
        .rev()
        .map(|field| field.name())
        .peekable();
    let mut bits = 0;
    for (bit, (name, _)) in HIDDEN.iter().enumerate().rev() {
        if names.next_if(|last| last == name).is_some() {
            bits |= 1 << bit;
        }
    }
    bits
}

/// FNV-1a of what tells column types apart.
fn fingerprint<'a>(types: impl Iterator<Item = &'a DataType>) -> u32 {
    let mut hash = 0x811c_9dc5u32;
    for data_type in types {
        for byte in column::code(data_type) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash.max(UNSENDABLE + 1)
}

/// The columns of an edge of the dataflow, as its receiver knows them.
#[derive(Clone, Debug)]
pub struct WireSchema {
    visible: SchemaRef,
    /// Complete columns with their fingerprint, for each set of hidden columns that has come. One edge has few.
    seen: Vec<(u8, SchemaRef, u32)>,
}

impl WireSchema {
    /// An edge whose batches have these visible columns.
    ///
    /// # Errors
    /// [`CodecError::Type`] if a column's type has no form between processes.
    pub fn new(visible: &Schema) -> Result<Self, CodecError> {
        let mut types = visible.fields().iter().map(|field| field.data_type());
        if let Some(other) = types.find(|data_type| !column::has_form(data_type)) {
            return Err(CodecError::Type(other.clone()));
        }
        // A table's deletes hold nulls in any column, so nothing is said about nulls here.
        let fields = visible.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Self {
            visible: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            seen: Vec::new(),
        })
    }

    /// Reads the bytes of one batch.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] if the bytes are not what a sender of the same plan makes.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<RecordBatch, CodecError> {
        let mut reader = Reader::new(bytes);
        let rows = usize::try_from(u64::from_le_bytes(reader.array()?))
            .map_err(|_| CodecError::Malformed("an impossible number of rows"))?;
        let found = u32::from_le_bytes(reader.array()?);
        let (schema, expected) = self.complete(reader.byte()?)?;
        if found != expected {
            return Err(CodecError::Malformed(
                "a batch from another process has other columns than were agreed at planning",
            ));
        }
        let columns = schema.fields().iter();
        let columns = columns.map(|field| column::decode(&mut reader, field.data_type(), rows));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        reader.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    fn complete(&mut self, hidden: u8) -> Result<(SchemaRef, u32), CodecError> {
        if let Some((_, schema, fingerprint)) = self.seen.iter().find(|seen| seen.0 == hidden) {
            return Ok((Arc::clone(schema), *fingerprint));
        }
        if usize::from(hidden) >> HIDDEN.len() != 0 {
            return Err(CodecError::Malformed("hidden columns that do not exist"));
        }
        let mut fields: Vec<_> = self.visible.fields().iter().cloned().collect();
        for (bit, (name, data_type)) in HIDDEN.iter().enumerate() {
            if hidden & (1 << bit) != 0 {
                fields.push(Arc::new(Field::new(*name, data_type.clone(), false)));
            }
        }
        let fingerprint = fingerprint(fields.iter().map(|field| field.data_type()));
        let schema = Arc::new(Schema::new(fields));
        self.seen.push((hidden, Arc::clone(&schema), fingerprint));
        Ok((schema, fingerprint))
    }
}
