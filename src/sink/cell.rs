//! One value of a batch, typed: what the stores' own representations are made from.

use std::fmt;

use arrow::{
    array::{
        Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
        Int64Array, StringArray, StringViewArray, TimestampMillisecondArray,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit,
        TimestampMillisecondType,
    },
    record_batch::RecordBatch,
};

use super::{
    SinkError,
    iso8601::{Day, Timestamp},
};

/// A value. Its `Display` is the plain text that text stores hold: exact decimals, ISO 8601 times, `true` and `false`, nothing
/// for NULL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A double.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// A moment.
    Timestamp(Timestamp),
    /// A day.
    Day(Day),
    /// A decimal: `units` divided by ten to the power of `scale`.
    Decimal {
        /// The unscaled value.
        units: i128,
        /// Digits behind the point; negative for trailing zeros.
        scale: i8,
    },
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // `Debug` is the shortest text that reads back as the same double, with an exponent where it is long.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::Timestamp(value) => value.fmt(f),
            Self::Day(value) => value.fmt(f),
            Self::Decimal { units, scale } => write_decimal(f, *units, *scale),
        }
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, units: i128, scale: i8) -> fmt::Result {
    if scale <= 0 {
        let zeros = if units == 0 {
            0
        } else {
            usize::from(scale.unsigned_abs())
        };
        return write!(f, "{units}{:0<zeros$}", "");
    }
    let digits_behind = usize::from(scale.unsigned_abs());
    let digits = format!(
        "{:0>width$}",
        units.unsigned_abs(),
        width = digits_behind + 1
    );
    let (whole, behind) = digits.split_at(digits.len() - digits_behind);
    let sign = if units < 0 { "-" } else { "" };
    write!(f, "{sign}{whole}.{behind}")
}

/// A column whose type has been looked at once.
#[derive(Clone, Copy, Debug)]
enum TypedColumn<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Utf8(&'a StringArray),
    Utf8View(&'a StringViewArray),
    Timestamp(&'a TimestampMillisecondArray),
    Date32(&'a Date32Array),
    Decimal128(&'a Decimal128Array, i8),
}

impl<'a> TypedColumn<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>()),
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Timestamp(array.as_primitive::<TimestampMillisecondType>())
            }
            DataType::Date32 => Self::Date32(array.as_primitive::<Date32Type>()),
            DataType::Decimal128(_, scale) => {
                Self::Decimal128(array.as_primitive::<Decimal128Type>(), *scale)
            }
            _ => return None,
        })
    }

    fn array(&self) -> &'a dyn Array {
        match self {
            Self::Boolean(array) => *array,
            Self::Int32(array) => *array,
            Self::Int64(array) => *array,
            Self::Float64(array) => *array,
            Self::Utf8(array) => *array,
            Self::Utf8View(array) => *array,
            Self::Timestamp(array) => *array,
            Self::Date32(array) => *array,
            Self::Decimal128(array, _) => *array,
        }
    }

    fn cell(&self, row: usize) -> Cell<'a> {
        if self.array().is_null(row) {
            return Cell::Null;
        }
        match self {
            Self::Boolean(array) => Cell::Boolean(array.value(row)),
            Self::Int32(array) => Cell::Integer(i64::from(array.value(row))),
            Self::Int64(array) => Cell::Integer(array.value(row)),
            Self::Float64(array) => Cell::Float(array.value(row)),
            Self::Utf8(array) => Cell::Text(array.value(row)),
            Self::Utf8View(array) => Cell::Text(array.value(row)),
            Self::Timestamp(array) => Cell::Timestamp(Timestamp(array.value(row))),
            Self::Date32(array) => Cell::Day(Day(i64::from(array.value(row)))),
            Self::Decimal128(array, scale) => Cell::Decimal {
                units: array.value(row),
                scale: *scale,
            },
        }
    }
}

/// Whether rows can hold values of this type on their way into a store.
#[must_use]
pub fn is_supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Utf8
            | DataType::Utf8View
            | DataType::Timestamp(TimeUnit::Millisecond, _)
            | DataType::Date32
            | DataType::Decimal128(_, _)
    )
}

/// The columns of a batch, ready to be read cell by cell.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    names: Vec<&'a str>,
    columns: Vec<TypedColumn<'a>>,
    rows: usize,
}

impl<'a> Cells<'a> {
    /// The cells of a batch.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if a column's type is none that a plan can contain.
    pub fn of(batch: &'a RecordBatch) -> Result<Self, SinkError> {
        let schema = batch.schema_ref();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let column = TypedColumn::of(array.as_ref()).ok_or_else(|| {
                SinkError::Fatal(format!(
                    "column {} has the type {}, which no sink can write",
                    field.name(),
                    field.data_type()
                ))
            })?;
            columns.push(column);
        }
        Ok(Self {
            names: schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect(),
            columns,
            rows: batch.num_rows(),
        })
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns' names, in order.
    #[must_use]
    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// One value. Panics if there is no such row or column.
    #[must_use]
    pub fn cell(&self, column: usize, row: usize) -> Cell<'a> {
        self.columns[column].cell(row)
    }

    /// The values of a row with their columns' names, in order.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (&'a str, Cell<'a>)> + '_ {
        self.names
            .iter()
            .zip(&self.columns)
            .map(move |(name, column)| (*name, column.cell(row)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cell;

    #[test]
    fn decimals_are_exact_text() {
        for (units, scale, expected) in [
            (12_345, 2, "123.45"),
            (-5, 2, "-0.05"),
            (0, 3, "0.000"),
            (7, 0, "7"),
            (7, -2, "700"),
            (0, -2, "0"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(Cell::Decimal { units, scale }.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_double_reads_back_as_itself(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = Cell::Float(value).to_string();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
