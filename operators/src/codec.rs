//! The durable form of rows.
//!
//! A row is one byte with the format's version, a bitmap of nulls (a set bit is a null, column 0 in the lowest bit of
//! the first byte), then the values that are not null, in column order:
//!
//! | type | form |
//! |---|---|
//! | `Boolean` | one byte, 0 or 1 |
//! | `Int32`, `Int64`, `Date32` | zigzag, then LEB128 |
//! | `Timestamp(ms)` | 8 bytes, little endian |
//! | `Float64` | 8 bytes: the bits, little endian |
//! | `Decimal128` | the unscaled value: zigzag, then LEB128 |
//! | `Utf8View` | length in bytes as LEB128, then UTF-8 |
//!
//! The form says nothing about its schema: whoever stores rows keeps a fingerprint of it. Decoding accepts exactly
//! what encoding makes, and nothing else.

pub(crate) mod bytes;
pub(crate) mod column;
pub(crate) mod mapping;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::operator::OperatorError;
use crate::state::SpillError;
use bytes::Reader;
use column::{Column, ColumnBuilder, ColumnType};

/// The version that every row starts with.
pub const ROW_FORMAT: u8 = 1;

/// A value has no durable form, or bytes are not one.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Columns of this type cannot be kept.
    #[error("columns of type {0} cannot be kept in state")]
    Type(DataType),
    /// A batch doesn't have the columns that it was announced with.
    #[error("a batch has {found} where column {column} should be {expected}")]
    Batch {
        /// The column's position.
        column: usize,
        /// The announced type.
        expected: DataType,
        /// What is there.
        found: String,
    },
    /// The row was written in a form that this version doesn't know.
    #[error("row format {0} is unknown")]
    Version(u8),
    /// The bytes end too early, go on too long, or hold impossible values.
    #[error("malformed bytes: {0}")]
    Malformed(&'static str),
    /// The decoded values don't fit the schema.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// State that doesn't fit into memory cannot be kept elsewhere.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

impl CodecError {
    /// The error of an operator that cannot read the state it was given.
    #[must_use]
    pub fn restoring(self, operator: &str) -> OperatorError {
        match self {
            Self::Spill(_) => self.working(operator),
            other => OperatorError::Restore {
                operator: operator.to_owned(),
                reason: other.to_string(),
            },
        }
    }

    /// The error of an operator that cannot encode or decode its rows at work.
    #[must_use]
    pub fn working(self, operator: &str) -> OperatorError {
        let source = match self {
            Self::Spill(source) => {
                return OperatorError::Spill {
                    operator: operator.to_owned(),
                    source,
                };
            }
            Self::Arrow(source) => source,
            other => ArrowError::ExternalError(Box::new(other)),
        };
        OperatorError::Arrow {
            operator: operator.to_owned(),
            source,
        }
    }
}

/// Encodes and decodes rows of one schema.
#[derive(Clone, Debug)]
pub struct RowCodec {
    schema: SchemaRef,
    types: Vec<ColumnType>,
}

impl RowCodec {
    /// A codec for rows of this schema.
    ///
    /// # Errors
    /// [`CodecError::Type`] if a column's type has no durable form.
    pub fn new(schema: SchemaRef) -> Result<Self, CodecError> {
        let types = schema.fields().iter();
        let types = types.map(|field| ColumnType::of(field.data_type()));
        Ok(Self {
            types: types.collect::<Result<_, _>>()?,
            schema,
        })
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// An encoder of the rows of one batch. The batch may have more (hidden) columns behind those of the schema.
    ///
    /// # Errors
    /// [`CodecError::Batch`] if a column is missing or has another type.
    pub fn encoder<'a>(&self, batch: &'a RecordBatch) -> Result<RowEncoder<'a>, CodecError> {
        let columns = self.types.iter().enumerate();
        let columns = columns.map(|(position, kind)| Column::of(batch, position, *kind));
        Ok(RowEncoder {
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// Decodes rows into a batch, in the given order.
    ///
    /// # Errors
    /// If a row's bytes are not what [`RowEncoder::encode`] makes, or hold a null where the schema allows none.
    pub fn decode<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<RecordBatch, CodecError> {
        let mut count = 0;
        let rows = rows.into_iter().inspect(|_| count += 1);
        let columns = self.decode_where(|_| true, rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }

    /// Decodes those columns of the rows whose positions are wanted.
    ///
    /// # Errors
    /// If a row's bytes are not what [`RowEncoder::encode`] makes.
    pub(crate) fn decode_where<'a>(
        &self,
        wanted: impl Fn(usize) -> bool,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let places = self.types.iter().enumerate();
        let mut places: Vec<_> = places
            .map(|(position, kind)| Place {
                kind: *kind,
                builder: wanted(position).then(|| kind.builder()),
            })
            .collect();
        for row in rows {
            decode_row(row, &mut places)?;
        }
        let builders = places.into_iter().filter_map(|place| place.builder);
        Ok(builders.map(ColumnBuilder::finish).collect())
    }
}

/// Where the values of a column go; nowhere if nobody wants them.
struct Place {
    kind: ColumnType,
    builder: Option<ColumnBuilder>,
}

fn decode_row(row: &[u8], places: &mut [Place]) -> Result<(), CodecError> {
    let mut reader = Reader::new(row);
    let version = reader.byte()?;
    if version != ROW_FORMAT {
        return Err(CodecError::Version(version));
    }
    let nulls = reader.take(places.len().div_ceil(8))?;
    let unused = places.len() % 8;
    if unused != 0 && nulls.last().is_some_and(|last| last >> unused != 0) {
        return Err(CodecError::Malformed("null bits behind the last column"));
    }
    for (position, place) in places.iter_mut().enumerate() {
        let null = nulls[position / 8] & (1 << (position % 8)) != 0;
        match &mut place.builder {
            Some(builder) if null => builder.append_null(),
            Some(builder) => builder.read(&mut reader)?,
            None if null => {}
            None => place.kind.pass(&mut reader)?,
        }
    }
    reader.finish()
}

/// Encodes rows of one batch; made by [`RowCodec::encoder`].
#[derive(Debug)]
pub struct RowEncoder<'a> {
    columns: Vec<Column<'a>>,
}

impl RowEncoder<'_> {
    /// Appends the encoded row.
    ///
    /// # Panics
    /// If `row` is not a row of the batch.
    pub fn encode(&self, row: usize, into: &mut Vec<u8>) {
        into.push(ROW_FORMAT);
        let bitmap = into.len();
        into.resize(bitmap + self.columns.len().div_ceil(8), 0);
        for (position, column) in self.columns.iter().enumerate() {
            if column.is_null(row) {
                into[bitmap + position / 8] |= 1 << (position % 8);
            } else {
                column.write(row, into);
            }
        }
    }
}

/// The type of a batch's column, or what is there instead.
pub(crate) fn found(batch: &RecordBatch, position: usize) -> String {
    match batch.columns().get(position) {
        Some(column) => column.data_type().to_string(),
        None => "no column".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
