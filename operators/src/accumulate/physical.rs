//! Values as accumulators keep them: every column type is one of four.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringViewArray, TimestampMillisecondArray,
};
use arrow::error::ArrowError;

use super::Reader;
use crate::codec::CodecError;
use crate::codec::bytes::{write_signed, write_unsigned};
use crate::codec::column::{Column, ColumnType};

/// A kept value.
pub(super) trait Physical: Clone + Debug + Send + 'static {
    /// The value, borrowed from a batch.
    type Ref<'a>: Copy;

    /// A row's value, which is not null.
    fn get(column: Column<'_>, row: usize) -> Self::Ref<'_>;
    fn own(value: Self::Ref<'_>) -> Self;
    fn borrow(&self) -> Self::Ref<'_>;
    fn compare(a: Self::Ref<'_>, b: Self::Ref<'_>) -> Ordering;
    fn write(&self, into: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>, kind: ColumnType) -> Result<Self, CodecError>;
    fn array(values: Vec<Option<Self::Ref<'_>>>, kind: ColumnType) -> Result<ArrayRef, ArrowError>;

    /// Bytes on the heap.
    fn heap(&self) -> usize {
        0
    }
}

/// Integers, times and booleans. Durable form: zigzag LEB128.
impl Physical for i64 {
    type Ref<'a> = i64;

    #[inline]
    fn get(column: Column<'_>, row: usize) -> i64 {
        match column {
            Column::Int64(values) => values.value(row),
            Column::Timestamp(values) => values.value(row),
            Column::Int32(values) => values.value(row).into(),
            Column::Date32(values) => values.value(row).into(),
            Column::Boolean(values) => values.value(row).into(),
            _ => unreachable!("the column's type was checked"),
        }
    }

    fn own(value: i64) -> i64 {
        value
    }

    fn borrow(&self) -> i64 {
        *self
    }

    fn compare(a: i64, b: i64) -> Ordering {
        a.cmp(&b)
    }

    fn write(&self, into: &mut Vec<u8>) {
        write_signed((*self).into(), into);
    }

    fn read(reader: &mut Reader<'_>, kind: ColumnType) -> Result<Self, CodecError> {
        match kind {
            ColumnType::Int32 | ColumnType::Date32 => reader.integer::<i32>().map(i64::from),
            ColumnType::Boolean => match reader.integer()? {
                value @ (0 | 1) => Ok(value),
                _ => Err(CodecError::Malformed("a boolean that is neither 0 nor 1")),
            },
            _ => reader.integer(),
        }
    }

    fn array(values: Vec<Option<i64>>, kind: ColumnType) -> Result<ArrayRef, ArrowError> {
        // Narrow types hold what came from, or was checked against, that type.
        let narrow = |value: Option<i64>| value.map(|value| value as i32);
        Ok(match kind {
            ColumnType::Int32 => Arc::new(Int32Array::from_iter(values.into_iter().map(narrow))),
            ColumnType::Date32 => Arc::new(Date32Array::from_iter(values.into_iter().map(narrow))),
            ColumnType::Boolean => Arc::new(BooleanArray::from_iter(
                values
                    .into_iter()
                    .map(|value| value.map(|value| value != 0)),
            )),
            ColumnType::Timestamp => Arc::new(TimestampMillisecondArray::from(values)),
            _ => Arc::new(Int64Array::from(values)),
        })
    }
}

/// Doubles, by total order. Durable form: 8 bytes, little endian.
impl Physical for f64 {
    type Ref<'a> = f64;

    fn get(column: Column<'_>, row: usize) -> f64 {
        match column {
            Column::Float64(values) => values.value(row),
            _ => unreachable!("the column's type was checked"),
        }
    }

    fn own(value: f64) -> f64 {
        value
    }

    fn borrow(&self) -> f64 {
        *self
    }

    fn compare(a: f64, b: f64) -> Ordering {
        a.total_cmp(&b)
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>, _: ColumnType) -> Result<Self, CodecError> {
        reader.array().map(Self::from_le_bytes)
    }

    fn array(values: Vec<Option<f64>>, _: ColumnType) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(Float64Array::from(values)))
    }
}

/// Decimals, unscaled. Durable form: zigzag LEB128.
impl Physical for i128 {
    type Ref<'a> = i128;

    fn get(column: Column<'_>, row: usize) -> i128 {
        match column {
            Column::Decimal(values) => values.value(row),
            _ => unreachable!("the column's type was checked"),
        }
    }

    fn own(value: i128) -> i128 {
        value
    }

    fn borrow(&self) -> i128 {
        *self
    }

    fn compare(a: i128, b: i128) -> Ordering {
        a.cmp(&b)
    }

    fn write(&self, into: &mut Vec<u8>) {
        write_signed(*self, into);
    }

    fn read(reader: &mut Reader<'_>, _: ColumnType) -> Result<Self, CodecError> {
        reader.signed()
    }

    fn array(values: Vec<Option<i128>>, kind: ColumnType) -> Result<ArrayRef, ArrowError> {
        let array = Decimal128Array::from(values);
        Ok(Arc::new(array.with_data_type(kind.data_type())))
    }
}

/// Text, by bytes. Durable form: length in bytes as LEB128, then UTF-8.
impl Physical for Box<str> {
    type Ref<'a> = &'a str;

    fn get(column: Column<'_>, row: usize) -> &str {
        match column {
            Column::Text(values) => values.value(row),
            _ => unreachable!("the column's type was checked"),
        }
    }

    fn own(value: &str) -> Self {
        value.into()
    }

    fn borrow(&self) -> &str {
        self
    }

    fn compare(a: &str, b: &str) -> Ordering {
        a.cmp(b)
    }

    fn write(&self, into: &mut Vec<u8>) {
        write_unsigned(self.len() as u128, into);
        into.extend_from_slice(self.as_bytes());
    }

    fn read(reader: &mut Reader<'_>, _: ColumnType) -> Result<Self, CodecError> {
        let length = reader.length()?;
        reader.text(length).map(Into::into)
    }

    fn array(values: Vec<Option<&str>>, _: ColumnType) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(StringViewArray::from_iter(values)))
    }

    fn heap(&self) -> usize {
        self.len()
    }
}
