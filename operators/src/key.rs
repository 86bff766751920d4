//! The durable form of keys.
//!
//! A key is the concatenation of its columns' values. Different keys have different bytes, and no key is a prefix
//! of another key of the same columns; a null is a value of its own. A key depends on its columns' types alone, not on
//! where they stand in a batch, so that two inputs of a join agree.
//!
//! | type | null | value |
//! |---|---|---|
//! | `Utf8View` | byte 0 | length in bytes plus one as LEB128, then UTF-8 |
//! | others | byte 0 | byte 1, then the form of [`crate::codec`] |
//!
//! `-0.0` is stored as `0.0`, and every NaN as one NaN: they are equal in a `GROUP BY`.
//!
//! The shard is made of a hash of these bytes, so the form carries no version of its own: it changes only together
//! with the format of state files.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Schema, UInt32Type};
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::Shard;
use tidewright_checkpoints::ids::key_hash;

use crate::batch::SPLIT;
use crate::codec::CodecError;
use crate::codec::bytes::{Reader, write_unsigned};
use crate::codec::column::{Column, ColumnBuilder, ColumnType};

/// Encodes and decodes the keys of one relation.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    columns: Vec<(usize, ColumnType)>,
}

impl KeyCodec {
    /// A codec for keys made of these columns of the schema, in this order. There may be none: one key for all rows.
    ///
    /// # Errors
    /// [`CodecError::Type`] if a column's type cannot be part of a key, [`CodecError::Batch`] if a column is missing.
    pub fn new(schema: &Schema, columns: &[usize]) -> Result<Self, CodecError> {
        let typed = |position: &usize| match schema.fields().get(*position) {
            Some(field) => Ok((*position, ColumnType::of(field.data_type())?)),
            None => Err(CodecError::Batch {
                column: *position,
                expected: DataType::Null,
                found: "no column".to_owned(),
            }),
        };
        Ok(Self {
            columns: columns.iter().map(typed).collect::<Result<_, _>>()?,
        })
    }

    /// An encoder of the keys of one batch.
    ///
    /// # Errors
    /// [`CodecError::Batch`] if a column is missing or has another type.
    pub fn encoder<'a>(&self, batch: &'a RecordBatch) -> Result<KeyEncoder<'a>, CodecError> {
        let columns = self.columns.iter();
        let columns = columns.map(|(position, kind)| Column::of(batch, *position, *kind));
        Ok(KeyEncoder {
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// Encodes and hashes the keys of all rows of a batch, in place of what `keys` held.
    ///
    /// # Errors
    /// [`CodecError::Batch`] if a column is missing or has another type.
    pub fn encode_batch(
        &self,
        batch: &RecordBatch,
        keys: &mut EncodedKeys,
    ) -> Result<(), CodecError> {
        keys.clear();
        let encoder = self.encoder(batch)?;
        if let [Column::Text(column)] = encoder.columns[..] {
            keys.encode_text(column);
        } else {
            for row in 0..batch.num_rows() {
                encoder.encode(row, &mut keys.bytes);
                keys.end_key();
            }
        }
        Ok(())
    }

    /// Decodes keys back into their columns, in the codec's order.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] if the bytes are no key of these columns.
    pub fn decode<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let kinds = self.columns.iter();
        let mut builders: Vec<_> = kinds.map(|(_, kind)| kind.builder()).collect();
        for key in keys {
            let mut reader = Reader::new(key);
            for builder in &mut builders {
                decode_column(&mut reader, builder)?;
            }
            reader.finish()?;
        }
        Ok(builders.into_iter().map(ColumnBuilder::finish).collect())
    }
}

fn decode_column(reader: &mut Reader<'_>, builder: &mut ColumnBuilder) -> Result<(), CodecError> {
    let tag = reader.length()?;
    match (tag, builder) {
        (0, builder) => builder.append_null(),
        (tag, ColumnBuilder::Text(builder)) => builder.append_value(reader.text(tag - 1)?),
        (1, builder) => builder.read(reader)?,
        _ => {
            return Err(CodecError::Malformed(
                "a null marker that is neither 0 nor 1",
            ));
        }
    }
    Ok(())
}

/// Encodes keys of one batch; made by [`KeyCodec::encoder`].
#[derive(Debug)]
pub struct KeyEncoder<'a> {
    columns: Vec<Column<'a>>,
}

impl KeyEncoder<'_> {
    /// Appends the encoded key of a row.
    ///
    /// # Panics
    /// If `row` is not a row of the batch.
    pub fn encode(&self, row: usize, into: &mut Vec<u8>) {
        for column in &self.columns {
            if column.is_null(row) {
                into.push(0);
                continue;
            }
            match column {
                Column::Text(array) => write_text(array.value(row), into),
                Column::Float64(array) => {
                    into.push(1);
                    into.extend_from_slice(&canonical(array.value(row)).to_le_bytes());
                }
                other => {
                    into.push(1);
                    other.write(row, into);
                }
            }
        }
    }
}

fn write_text(text: &str, into: &mut Vec<u8>) {
    write_unsigned(text.len() as u128 + 1, into);
    into.extend_from_slice(text.as_bytes());
}

fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    }
}

/// The encoded keys of a batch's rows, and their hashes. Keep one and use it for batch after batch.
#[derive(Debug, Default)]
pub struct EncodedKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
}

impl EncodedKeys {
    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn key(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// Puts every key into the shard of the split that its row came from: for operators whose keys live there.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] if the rows do not tell their split, or it has no shard.
    pub fn place_in_splits(&mut self, rows: &RecordBatch) -> Result<(), CodecError> {
        let splits = rows.column_by_name(SPLIT);
        let splits = splits
            .and_then(|column| column.as_primitive_opt::<UInt32Type>())
            .ok_or(CodecError::Malformed("rows that do not tell their split"))?;
        for (hash, split) in self.hashes.iter_mut().zip(splits.values()) {
            let shard = Shard::of_split(*split);
            *hash = shard
                .ok_or(CodecError::Malformed("a split that has no shard"))?
                .place(*hash);
        }
        Ok(())
    }

    /// The hashes of the keys, as [`key_hash`] makes them, in row order.
    #[must_use]
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Every key with its hash, in row order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut start = 0;
        self.ends.iter().zip(&self.hashes).map(move |(end, hash)| {
            let key = &self.bytes[start..*end];
            start = *end;
            (key, *hash)
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
    }

    fn end_key(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        self.hashes.push(key_hash(&self.bytes[start..]));
        self.ends.push(self.bytes.len());
    }

    /// A single text column, what most keys are. A view of up to 12 bytes holds its text behind four bytes of length,
    /// so the last of these, overwritten, makes view and key the same bytes.
    fn encode_text(&mut self, column: &StringViewArray) {
        self.ends.reserve(column.len());
        self.hashes.reserve(column.len());
        for (row, view) in column.views().iter().enumerate() {
            let length = *view as u32 as usize;
            if column.is_null(row) {
                self.bytes.push(0);
                self.end_key();
            } else if length <= 12 {
                let mut inline = view.to_le_bytes();
                inline[3] = length as u8 + 1;
                let key = &inline[3..4 + length];
                self.hashes.push(key_hash(key));
                self.bytes.extend_from_slice(key);
                self.ends.push(self.bytes.len());
            } else {
                write_text(column.value(row), &mut self.bytes);
                self.end_key();
            }
        }
    }
}

#[cfg(test)]
mod tests;
