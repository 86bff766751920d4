//! The form of a column between processes: nearly what it is in memory.
//!
//! A column begins with a byte of flags. If [`NULLS`] is set, a bitmap of the values that are *not* null follows, lowest
//! bit first. Then the values, also in place of nulls:
//!
//! | type | form |
//! |---|---|
//! | `Boolean` | a bitmap |
//! | `Utf8View` | the length of each in bytes, 1, 2 or 4 bytes wide as [`WIDTH`] says (0 for a null); then all texts |
//! | others | as in memory, little endian |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, StringViewArray,
    StringViewBuilder,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int32Type, Int64Type, TimeUnit,
    TimestampMillisecondType, UInt32Type,
};

use crate::codec::CodecError;
use crate::codec::bytes::Reader;

/// Some values are null.
const NULLS: u8 = 1;
/// The logarithm of the width of lengths in bytes: 0, 1 or 2.
const WIDTH: u8 = 0b110;
const WIDTH_SHIFT: u32 = 1;

/// Texts of up to this many bytes stand in their view.
const INLINE: usize = 12;

const _: () = assert!(
    cfg!(target_endian = "little"),
    "numbers are sent as they are in memory"
);

/// Calls a function with the Arrow type of a column of numbers; gives `None` for other columns.
macro_rules! numbers {
    ($data_type:expr, $function:ident, $($argument:expr),*) => {
        match $data_type {
            DataType::Int8 => Some($function::<Int8Type>($($argument),*)),
            DataType::Int32 => Some($function::<Int32Type>($($argument),*)),
            DataType::UInt32 => Some($function::<UInt32Type>($($argument),*)),
            DataType::Int64 => Some($function::<Int64Type>($($argument),*)),
            DataType::Float64 => Some($function::<Float64Type>($($argument),*)),
            DataType::Date32 => Some($function::<Date32Type>($($argument),*)),
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                Some($function::<TimestampMillisecondType>($($argument),*))
            }
            DataType::Decimal128(..) => Some($function::<Decimal128Type>($($argument),*)),
            _ => None,
        }
    };
}

/// What tells the type apart from others: its form, precision and scale. The form is 0 for a type that has none.
pub(super) fn code(data_type: &DataType) -> [u8; 3] {
    match data_type {
        DataType::Boolean => [1, 0, 0],
        DataType::Utf8View => [2, 0, 0],
        DataType::Int8 => [3, 0, 0],
        DataType::Int32 => [4, 0, 0],
        DataType::UInt32 => [5, 0, 0],
        DataType::Int64 => [6, 0, 0],
        DataType::Float64 => [7, 0, 0],
        DataType::Date32 => [8, 0, 0],
        DataType::Timestamp(TimeUnit::Millisecond, None) => [9, 0, 0],
        DataType::Decimal128(precision, scale) => [10, *precision, scale.cast_unsigned()],
        _ => [0; 3],
    }
}

/// Whether a column of this type can be sent.
pub(super) fn has_form(data_type: &DataType) -> bool {
    code(data_type)[0] != 0
}

/// Appends the bytes of a column whose type [`has_form`].
pub(super) fn encode(column: &ArrayRef, into: &mut Vec<u8>) {
    let flags = into.len();
    into.push(0);
    if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        into[flags] |= NULLS;
        encode_bits(nulls.inner(), into);
    }
    match column.data_type() {
        DataType::Boolean => encode_bits(column.as_boolean().values(), into),
        DataType::Utf8View => {
            let width = encode_text(column.as_string_view(), into);
            into[flags] |= width << WIDTH_SHIFT;
        }
        numbers => {
            numbers!(numbers, encode_numbers, column, into);
        }
    }
}

/// Reads a column of so many rows.
pub(super) fn decode(
    reader: &mut Reader<'_>,
    data_type: &DataType,
    rows: usize,
) -> Result<ArrayRef, CodecError> {
    let flags = reader.byte()?;
    if flags & !(NULLS | WIDTH) != 0 {
        return Err(CodecError::Malformed("unknown flags of a column"));
    }
    let nulls = if flags & NULLS == 0 {
        None
    } else {
        Some(NullBuffer::new(decode_bits(reader, rows)?))
    };
    Ok(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(decode_bits(reader, rows)?, nulls)),
        DataType::Utf8View => {
            let width = (flags & WIDTH) >> WIDTH_SHIFT;
            Arc::new(decode_text(reader, width, rows, nulls.as_ref())?)
        }
        other => numbers!(other, decode_numbers, reader, other, rows, nulls)
            .unwrap_or_else(|| Err(CodecError::Type(other.clone())))?,
    })
}

fn encode_bits(bits: &BooleanBuffer, into: &mut Vec<u8>) {
    let bytes = bits.len().div_ceil(8);
    into.extend_from_slice(&bits.sliced().as_slice()[..bytes]);
}

fn decode_bits(reader: &mut Reader<'_>, rows: usize) -> Result<BooleanBuffer, CodecError> {
    let bytes = reader.take(rows.div_ceil(8))?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, rows))
}

fn encode_numbers<T: ArrowPrimitiveType>(column: &ArrayRef, into: &mut Vec<u8>) {
    into.extend_from_slice(column.as_primitive::<T>().values().inner().as_slice());
}

fn decode_numbers<T: ArrowPrimitiveType>(
    reader: &mut Reader<'_>,
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, CodecError> {
    let bytes = rows
        .checked_mul(size_of::<T::Native>())
        .ok_or(CodecError::Malformed("an impossible number of rows"))?;
    let values = ScalarBuffer::<T::Native>::from(Buffer::from(reader.take(bytes)?));
    let array = PrimitiveArray::<T>::try_new(values, nulls)?;
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

/// Appends lengths and texts, and returns the logarithm of the lengths' width.
fn encode_text(column: &StringViewArray, into: &mut Vec<u8>) -> u8 {
    // A view holds its length in the lowest four bytes. What stands in place of a null is of no account.
    let present = |row: usize| !column.is_null(row);
    let lengths = || {
        let views = column.views().iter().enumerate();
        views.map(|(row, view)| if present(row) { *view as u32 } else { 0 })
    };
    let longest = lengths().fold(0, u32::max);
    let width = if longest <= u32::from(u8::MAX) {
        into.extend(lengths().map(|length| length as u8));
        0
    } else if longest <= u32::from(u16::MAX) {
        into.extend(lengths().flat_map(|length| (length as u16).to_le_bytes()));
        1
    } else {
        into.extend(lengths().flat_map(u32::to_le_bytes));
        2
    };
    for (row, view) in column.views().iter().enumerate() {
        let length = *view as u32 as usize;
        if !present(row) {
            continue;
        }
        if length <= INLINE {
            // A copy of fixed length, cut to size, costs less than one of any length.
            let end = into.len() + length;
            into.extend_from_slice(&view.to_le_bytes()[4..]);
            into.truncate(end);
        } else {
            into.extend_from_slice(column.value(row).as_bytes());
        }
    }
    width
}

fn decode_text(
    reader: &mut Reader<'_>,
    width: u8,
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Result<StringViewArray, CodecError> {
    match width {
        0 => build_text(reader, rows, nulls, |[length]: [u8; 1]| length.into()),
        1 => build_text(reader, rows, nulls, |length| {
            u16::from_le_bytes(length).into()
        }),
        2 => build_text(reader, rows, nulls, |length| {
            u32::from_le_bytes(length) as usize
        }),
        _ => Err(CodecError::Malformed("lengths of an impossible width")),
    }
}

fn build_text<const N: usize>(
    reader: &mut Reader<'_>,
    rows: usize,
    nulls: Option<&NullBuffer>,
    length: impl Fn([u8; N]) -> usize,
) -> Result<StringViewArray, CodecError> {
    let bytes = rows
        .checked_mul(N)
        .ok_or(CodecError::Malformed("an impossible number of rows"))?;
    let (lengths, _) = reader.take(bytes)?.as_chunks::<N>();
    let total = lengths.iter().map(|bytes| length(*bytes)).sum();
    let text = reader.text(total)?;
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut start = 0;
    for (row, bytes) in lengths.iter().enumerate() {
        let end = start + length(*bytes);
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            builder.append_null();
        } else {
            let value = text.get(start..end).ok_or(CodecError::Malformed(
                "a text that begins or ends amid a character",
            ))?;
            builder.append_value(value);
        }
        start = end;
    }
    Ok(builder.finish())
}
