//! Results of groups: from tallies and section values to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, new_empty_array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Column, Kind, Number};
use crate::differential::exact_sum;
use crate::differential::row::EncodedRow;
use crate::differential::tally::Tally;

/// A result of one aggregate for one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::differential) enum Cell {
    /// No value.
    Null,
    /// A count, or a sum or mean of integers or decimals, unscaled.
    Integer(i128),
    /// The bits of a double.
    Double(u64),
    /// An encoded least or greatest value.
    Value(EncodedRow),
    /// A sum that does not fit its type.
    Overflow,
}

impl Column {
    /// The result, from the group's tally and the first value of this aggregate's section.
    pub(in crate::differential) fn cell(&self, tally: &Tally, first: Option<EncodedRow>) -> Cell {
        match self.kind {
            Kind::Rows => Cell::Integer(tally.rows().into()),
            Kind::Count { slot } => Cell::Integer(tally.get(slot)),
            Kind::Extreme { .. } => first.map_or(Cell::Null, Cell::Value),
            Kind::Sum { slot, .. } | Kind::Mean { slot, .. } if tally.get(slot) == 0 => Cell::Null,
            Kind::Sum {
                slot,
                number: Number::Double,
            } => Cell::Double(exact_sum::finish(tally, slot + 1).to_bits()),
            Kind::Sum { slot, number } => self.integer(integer_sum(tally, slot + 1, number)),
            Kind::Mean {
                slot,
                number: Number::Double,
                ..
            } => {
                let sum = exact_sum::finish(tally, slot + 1);
                Cell::Double((sum / tally.get(slot) as f64).to_bits())
            }
            Kind::Mean {
                slot,
                number,
                factor,
            } => {
                let (sum, count) = (integer_sum(tally, slot + 1, number), tally.get(slot));
                if self.data_type == DataType::Float64 {
                    return sum.map_or(Cell::Overflow, |sum| {
                        Cell::Double((sum as f64 / count as f64).to_bits())
                    });
                }
                // Cut, not rounded, as DataFusion does.
                self.integer(
                    sum.and_then(|sum| sum.checked_mul(factor))
                        .map(|sum| sum / count),
                )
            }
        }
    }

    fn integer(&self, value: Option<i128>) -> Cell {
        let fits = |value: &i128| match self.data_type {
            DataType::Decimal128(digits, _) => value.unsigned_abs() < 10_u128.pow(digits.into()),
            _ => i64::try_from(*value).is_ok(),
        };
        value.filter(fits).map_or(Cell::Overflow, Cell::Integer)
    }

    /// The column of these results; an overflow is left out by the caller.
    pub(in crate::differential) fn build<'a>(
        &self,
        cells: impl Iterator<Item = &'a Cell>,
    ) -> Result<ArrayRef, ArrowError> {
        if let Kind::Extreme { order, .. } = &self.kind {
            let null = order.null()?;
            let values = cells.map(|cell| match cell {
                Cell::Value(value) => value,
                _ => &null,
            });
            let columns = order.decode(values)?;
            return Ok(columns
                .into_iter()
                .next()
                .unwrap_or_else(|| new_empty_array(&self.data_type)));
        }
        let integer = |cell: &Cell| match cell {
            Cell::Integer(value) => Some(*value),
            _ => None,
        };
        Ok(match self.data_type {
            DataType::Float64 => Arc::new(
                cells
                    .map(|cell| match cell {
                        Cell::Double(bits) => Some(f64::from_bits(*bits)),
                        _ => None,
                    })
                    .collect::<Float64Array>(),
            ),
            DataType::Decimal128(digits, scale) => {
                let values: Decimal128Array = cells.map(integer).collect();
                Arc::new(values.with_precision_and_scale(digits, scale)?)
            }
            // `integer` checked the range.
            _ => Arc::new(
                cells
                    .map(|cell| integer(cell).map(|value| value as i64))
                    .collect::<Int64Array>(),
            ),
        })
    }
}

fn integer_sum(tally: &Tally, slot: u16, number: Number) -> Option<i128> {
    let low = tally.get(slot);
    match number {
        Number::Wide => tally.get(slot + 1).checked_mul(1 << 64)?.checked_add(low),
        _ => Some(low),
    }
}
