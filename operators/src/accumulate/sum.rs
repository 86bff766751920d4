//! `sum` and `avg`: exact for integers and decimals, in order of addition for doubles.

mod exact;
mod float;

use super::{Accumulator, Overflow};
use crate::codec::column::ColumnType;
pub(super) use exact::ExactSum;
use exact::Reading;
pub(super) use float::FloatSum;

/// The sum of an argument, if it exists for these types.
pub(super) fn of(argument: ColumnType, result: ColumnType) -> Option<Box<dyn Accumulator>> {
    use ColumnType::{Decimal, Float64, Int32, Int64};
    match (argument, result) {
        (Int32 | Int64, Int64) => Some(Box::new(ExactSum::new(Reading::Integer))),
        (Decimal(_, from), Decimal(precision, scale)) if from == scale => {
            Some(Box::new(ExactSum::new(Reading::Decimal(precision, scale))))
        }
        (Float64, Float64) => Some(Box::new(FloatSum::new(false))),
        _ => None,
    }
}

/// The mean of an argument, if it exists for these types.
pub(super) fn mean_of(argument: ColumnType, result: ColumnType) -> Option<Box<dyn Accumulator>> {
    use ColumnType::{Decimal, Float64, Int32, Int64};
    match (argument, result) {
        (Int32 | Int64, Float64) => Some(Box::new(ExactSum::new(Reading::IntegerMean))),
        (Decimal(_, from), Decimal(precision, scale)) => {
            let factor =
                10i128.checked_pow(u32::try_from(i16::from(scale) - i16::from(from)).ok()?)?;
            Some(Box::new(ExactSum::new(Reading::DecimalMean {
                precision,
                scale,
                factor,
            })))
        }
        (Float64, Float64) => Some(Box::new(FloatSum::new(true))),
        _ => None,
    }
}
