//! Typed access to the columns that rows and keys are made of.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBuilder, Date32Array, Date32Builder, Decimal128Array,
    Decimal128Builder, Float64Array, Float64Builder, Int32Array, Int32Builder, Int64Array,
    Int64Builder, StringViewArray, StringViewBuilder, TimestampMillisecondArray,
    TimestampMillisecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::bytes::{Reader, write_signed, write_unsigned};
use super::{CodecError, found};

/// The types that occur in plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Boolean,
    Int32,
    Int64,
    Float64,
    Text,
    Timestamp,
    Date32,
    Decimal(u8, i8),
}

impl ColumnType {
    pub(crate) fn of(data_type: &DataType) -> Result<Self, CodecError> {
        Ok(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::Float64 => Self::Float64,
            DataType::Utf8View => Self::Text,
            DataType::Timestamp(TimeUnit::Millisecond, None) => Self::Timestamp,
            DataType::Date32 => Self::Date32,
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            other => return Err(CodecError::Type(other.clone())),
        })
    }

    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Text => DataType::Utf8View,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Date32 => DataType::Date32,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        }
    }

    /// Reads over what [`Column::write`] wrote.
    pub(crate) fn pass(self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        match self {
            Self::Boolean => reader.boolean().map(drop),
            Self::Int32 | Self::Int64 | Self::Date32 | Self::Decimal(..) => {
                reader.signed().map(drop)
            }
            Self::Float64 | Self::Timestamp => reader.array::<8>().map(drop),
            Self::Text => {
                let length = reader.length()?;
                reader.take(length).map(drop)
            }
        }
    }

    pub(crate) fn builder(self) -> ColumnBuilder {
        match self {
            Self::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            Self::Int32 => ColumnBuilder::Int32(Int32Builder::new()),
            Self::Int64 => ColumnBuilder::Int64(Int64Builder::new()),
            Self::Float64 => ColumnBuilder::Float64(Float64Builder::new()),
            Self::Text => ColumnBuilder::Text(StringViewBuilder::new()),
            Self::Timestamp => ColumnBuilder::Timestamp(TimestampMillisecondBuilder::new()),
            Self::Date32 => ColumnBuilder::Date32(Date32Builder::new()),
            Self::Decimal(..) => {
                ColumnBuilder::Decimal(Decimal128Builder::new().with_data_type(self.data_type()))
            }
        }
    }
}

/// A column of a batch, its type resolved once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Text(&'a StringViewArray),
    Timestamp(&'a TimestampMillisecondArray),
    Date32(&'a Date32Array),
    Decimal(&'a Decimal128Array),
}

impl<'a> Column<'a> {
    /// The column at a position of a batch, which has to be of the announced type.
    pub(crate) fn of(
        batch: &'a RecordBatch,
        position: usize,
        kind: ColumnType,
    ) -> Result<Self, CodecError> {
        let column = batch.columns().get(position);
        column
            .filter(|column| *column.data_type() == kind.data_type())
            .and_then(|column| Self::downcast(column, kind))
            .ok_or_else(|| CodecError::Batch {
                column: position,
                expected: kind.data_type(),
                found: found(batch, position),
            })
    }

    fn downcast(column: &'a ArrayRef, kind: ColumnType) -> Option<Self> {
        let any = column.as_any();
        match kind {
            ColumnType::Boolean => any.downcast_ref().map(Self::Boolean),
            ColumnType::Int32 => any.downcast_ref().map(Self::Int32),
            ColumnType::Int64 => any.downcast_ref().map(Self::Int64),
            ColumnType::Float64 => any.downcast_ref().map(Self::Float64),
            ColumnType::Text => any.downcast_ref().map(Self::Text),
            ColumnType::Timestamp => any.downcast_ref().map(Self::Timestamp),
            ColumnType::Date32 => any.downcast_ref().map(Self::Date32),
            ColumnType::Decimal(..) => any.downcast_ref().map(Self::Decimal),
        }
    }

    pub(crate) fn nulls(self) -> Option<&'a NullBuffer> {
        match self {
            Self::Boolean(array) => array.nulls(),
            Self::Int32(array) => array.nulls(),
            Self::Int64(array) => array.nulls(),
            Self::Float64(array) => array.nulls(),
            Self::Text(array) => array.nulls(),
            Self::Timestamp(array) => array.nulls(),
            Self::Date32(array) => array.nulls(),
            Self::Decimal(array) => array.nulls(),
        }
    }

    #[inline]
    pub(crate) fn is_null(self, row: usize) -> bool {
        self.nulls().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of a row that is not null, in the form documented in [`crate::codec`].
    #[inline]
    pub(crate) fn write(self, row: usize, into: &mut Vec<u8>) {
        match self {
            Self::Boolean(array) => into.push(u8::from(array.value(row))),
            Self::Int32(array) => write_signed(array.value(row).into(), into),
            Self::Int64(array) => write_signed(array.value(row).into(), into),
            Self::Date32(array) => write_signed(array.value(row).into(), into),
            Self::Decimal(array) => write_signed(array.value(row), into),
            Self::Float64(array) => into.extend_from_slice(&array.value(row).to_le_bytes()),
            Self::Timestamp(array) => into.extend_from_slice(&array.value(row).to_le_bytes()),
            Self::Text(array) => {
                let text = array.value(row).as_bytes();
                write_unsigned(text.len() as u128, into);
                into.extend_from_slice(text);
            }
        }
    }
}

/// A column that is being decoded.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Text(StringViewBuilder),
    Timestamp(TimestampMillisecondBuilder),
    Date32(Date32Builder),
    Decimal(Decimal128Builder),
}

impl ColumnBuilder {
    /// Reads what [`Column::write`] wrote.
    #[inline]
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        match self {
            Self::Boolean(builder) => builder.append_value(reader.boolean()?),
            Self::Int32(builder) => builder.append_value(reader.integer()?),
            Self::Int64(builder) => builder.append_value(reader.integer()?),
            Self::Date32(builder) => builder.append_value(reader.integer()?),
            Self::Decimal(builder) => builder.append_value(reader.signed()?),
            Self::Float64(builder) => builder.append_value(f64::from_le_bytes(reader.array()?)),
            Self::Timestamp(builder) => builder.append_value(i64::from_le_bytes(reader.array()?)),
            Self::Text(builder) => {
                let length = reader.length()?;
                builder.append_value(reader.text(length)?);
            }
        }
        Ok(())
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Date32(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
        }
    }

    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) => Arc::new(builder.finish()),
            Self::Float64(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Date32(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish()),
        }
    }
}
