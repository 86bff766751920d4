//! Columns under construction: one typed builder per field, which can take a row back.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float64Array,
        Int32Array, Int64Array, NullBufferBuilder, StringViewArray, TimestampMillisecondArray,
        builder::make_view,
    },
    buffer::{Buffer, NullBuffer},
    compute::kernels::cast_utils::{Parser, string_to_timestamp_nanos},
    datatypes::{DataType, Date32Type, Field, TimeUnit},
};

use super::{
    DecodeError,
    number::{DecimalError, parse_decimal},
};

/// Why a value was refused. The column is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its JSON type is not one that the column takes.
    Type,
    /// Its type is right but the value does not fit.
    Value,
}

impl From<DecimalError> for Refused {
    fn from(error: DecimalError) -> Self {
        match error {
            DecimalError::Syntax => Self::Type,
            DecimalError::Range => Self::Value,
        }
    }
}

/// Views address their buffer with 32 bits; Arrow reads them as signed.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

enum Values {
    Boolean(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Text(Text),
    Timestamp(Vec<i64>),
    Date(Vec<i32>),
    Decimal(Vec<i128>, u8, i8),
}

#[derive(Default)]
struct Text {
    views: Vec<u128>,
    /// The strings that are too long to live in their view.
    bytes: Vec<u8>,
}

impl Text {
    #[inline]
    fn push(&mut self, value: &str) -> Result<(), Refused> {
        let offset = self.bytes.len();
        if value.len() > 12 {
            if offset + value.len() > TEXT_BYTES_MAX {
                return Err(Refused::Value);
            }
            self.bytes.extend_from_slice(value.as_bytes());
        }
        // The offset of an inline view is not part of it, so the truncation below cannot matter.
        self.views
            .push(make_view(value.as_bytes(), 0, offset as u32));
        Ok(())
    }

    #[inline]
    fn with_last<R>(&self, show: impl FnOnce(&str) -> R) -> Option<R> {
        let view = self.views.last()?;
        let length = *view as u32 as usize;
        let inline = view.to_le_bytes();
        let bytes = if length <= 12 {
            &inline[4..4 + length]
        } else {
            // The offset is the last of the view's four numbers.
            let offset = (*view >> 96) as usize;
            self.bytes.get(offset..offset + length)?
        };
        std::str::from_utf8(bytes).ok().map(show)
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let capacity = self.views.len();
        let views = std::mem::replace(&mut self.views, Vec::with_capacity(capacity));
        let bytes_capacity = self.bytes.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(bytes_capacity));
        let buffers: Vec<Buffer> = if bytes.is_empty() {
            Vec::new()
        } else {
            vec![bytes.into()]
        };
        // SAFETY: every view was made by `make_view` from a `&str`, either inline or pointing at that string's bytes in
        // the one buffer (which only grows until here), or is the all-zero view of an empty string. `nulls` has one bit per view.
        Arc::new(unsafe { StringViewArray::new_unchecked(views.into(), buffers, nulls) })
    }
}

/// A column under construction.
pub(super) struct Column {
    pub(super) name: Box<str>,
    pub(super) nullable: bool,
    /// Set once a string column has met an object or array: from then on its values are read as raw JSON.
    pub(super) raw: bool,
    values: Values,
    nulls: NullBufferBuilder,
}

impl Column {
    /// # Errors
    /// If columns of this type cannot be decoded.
    pub(super) fn new(field: &Field, capacity: usize) -> Result<Self, DecodeError> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(capacity)),
            DataType::Int32 => Values::Int32(Vec::with_capacity(capacity)),
            DataType::Int64 => Values::Int64(Vec::with_capacity(capacity)),
            DataType::Float64 => Values::Float64(Vec::with_capacity(capacity)),
            DataType::Utf8View => Values::Text(Text {
                views: Vec::with_capacity(capacity),
                bytes: Vec::new(),
            }),
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                Values::Timestamp(Vec::with_capacity(capacity))
            }
            DataType::Date32 => Values::Date(Vec::with_capacity(capacity)),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal(Vec::with_capacity(capacity), *precision, *scale)
            }
            other => {
                return Err(DecodeError::new(&format!(
                    "field `{}`: values of type {other} cannot be decoded from JSON",
                    field.name()
                )));
            }
        };
        Ok(Self {
            name: field.name().as_str().into(),
            nullable: field.is_nullable(),
            raw: false,
            values,
            nulls: NullBufferBuilder::new(capacity),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text(_))
    }

    /// Whether values are taken from their text instead of being parsed first.
    #[inline]
    pub(super) fn wants_raw(&self) -> bool {
        self.raw || matches!(self.values, Values::Decimal(..))
    }

    /// What a value must be, for messages.
    pub(super) fn expected(&self) -> String {
        match &self.values {
            Values::Boolean(_) => "a boolean".into(),
            Values::Int32(_) => "an int (32 bits)".into(),
            Values::Int64(_) => "a bigint (64 bits)".into(),
            Values::Float64(_) => "a double".into(),
            Values::Text(_) => "a string".into(),
            Values::Timestamp(_) => "milliseconds since 1970 or an RFC 3339 timestamp".into(),
            Values::Date(_) => "a date such as \"2026-11-23\"".into(),
            Values::Decimal(_, precision, scale) => format!("a decimal({precision},{scale})"),
        }
    }

    #[inline]
    pub(super) fn push_bool(&mut self, value: bool) -> Result<(), Refused> {
        let Values::Boolean(values) = &mut self.values else {
            return Err(Refused::Type);
        };
        values.append(value);
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub(super) fn push_i64(&mut self, value: i64) -> Result<(), Refused> {
        match &mut self.values {
            Values::Int64(values) | Values::Timestamp(values) => values.push(value),
            Values::Int32(values) => values.push(value.try_into().map_err(|_| Refused::Value)?),
            Values::Float64(values) => values.push(value as f64),
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub(super) fn push_u64(&mut self, value: u64) -> Result<(), Refused> {
        match (i64::try_from(value), &mut self.values) {
            (Ok(value), _) => self.push_i64(value),
            (Err(_), Values::Float64(_)) => self.push_f64(value as f64),
            (Err(_), Values::Int32(_) | Values::Int64(_) | Values::Timestamp(_)) => {
                Err(Refused::Value)
            }
            (Err(_), _) => Err(Refused::Type),
        }
    }

    #[inline]
    pub(super) fn push_f64(&mut self, value: f64) -> Result<(), Refused> {
        let Values::Float64(values) = &mut self.values else {
            return Err(Refused::Type);
        };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub(super) fn push_str(&mut self, value: &str) -> Result<(), Refused> {
        match &mut self.values {
            Values::Text(text) => text.push(value)?,
            Values::Timestamp(values) => {
                let nanos = string_to_timestamp_nanos(value).map_err(|_| Refused::Value)?;
                values.push(nanos.div_euclid(1_000_000));
            }
            Values::Date(values) => values.push(Date32Type::parse(value).ok_or(Refused::Value)?),
            Values::Decimal(values, precision, scale) => {
                values.push(parse_decimal(value, *precision, *scale)?);
            }
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Takes a value as the text that it had in the record: a number for a decimal, an object for a string.
    pub(super) fn push_raw(&mut self, json: &str) -> Result<(), Refused> {
        match (json.as_bytes().first(), &self.values) {
            (Some(b'n'), _) => {
                self.push_null();
                Ok(())
            }
            (Some(b'"'), _) => {
                let text: String = sonic_rs::from_str(json).map_err(|_| Refused::Type)?;
                self.push_str(&text)
            }
            (Some(b'-' | b'0'..=b'9'), Values::Decimal(..))
            | (Some(b'{' | b'['), Values::Text(_)) => self.push_str(json),
            _ => Err(Refused::Type),
        }
    }

    #[cold]
    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Text(text) => text.views.push(0),
            Values::Decimal(values, ..) => values.push(0),
        }
        self.nulls.append_null();
    }

    #[cold]
    pub(super) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Text(text) => text.views.truncate(rows),
            Values::Decimal(values, ..) => values.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    /// Whether the last row's value is null.
    #[inline]
    pub(super) fn last_is_null(&self) -> bool {
        self.nulls
            .len()
            .checked_sub(1)
            .is_none_or(|last| !self.nulls.is_valid(last))
    }

    /// The last row's value, if it is an instant or a bigint.
    #[inline]
    pub(super) fn last_i64(&self) -> Option<i64> {
        match &self.values {
            Values::Int64(values) | Values::Timestamp(values) if !self.last_is_null() => {
                values.last().copied()
            }
            _ => None,
        }
    }

    /// Shows the last row's value, if it is a text.
    #[inline]
    pub(super) fn with_last_text<R>(&self, show: impl FnOnce(&str) -> R) -> Option<R> {
        match &self.values {
            Values::Text(text) if !self.last_is_null() => text.with_last(show),
            _ => None,
        }
    }

    /// The last row's value, if it is a boolean.
    pub(super) fn last_bool(&self) -> Option<bool> {
        match &self.values {
            Values::Boolean(values) if !self.last_is_null() => {
                Some(values.get_bit(values.len() - 1))
            }
            _ => None,
        }
    }

    /// The finished array; the column is empty again.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let capacity = self.len();
        let nulls = self.nulls.finish();
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(take(values, capacity), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(take(values, capacity), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(take(values, capacity), nulls)),
            Values::Text(text) => text.finish(nulls),
            Values::Timestamp(values) => Arc::new(TimestampMillisecondArray::new(
                take(values, capacity),
                nulls,
            )),
            Values::Date(values) => Arc::new(Date32Array::new(take(values, capacity), nulls)),
            Values::Decimal(values, precision, scale) => {
                let array = Decimal128Array::new(take(values, capacity), nulls);
                Arc::new(array.with_data_type(DataType::Decimal128(*precision, *scale)))
            }
        }
    }
}

fn take<T: arrow::datatypes::ArrowNativeType>(
    values: &mut Vec<T>,
    capacity: usize,
) -> arrow::buffer::ScalarBuffer<T> {
    std::mem::replace(values, Vec::with_capacity(capacity)).into()
}
