//! Sums of integers and decimals. Durable form: the count as LEB128, then, unless it is 0, the sum as zigzag LEB128.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array};

use super::super::{Argument, CodecError, Failure, Reader, Upkeep, same};
use super::{Accumulator, Overflow};
use crate::codec::bytes::{write_signed, write_unsigned};
use crate::codec::column::Column;

/// What a sum is read as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Integer,
    /// Precision and scale of the result; the scale is the argument's.
    Decimal(u8, i8),
    IntegerMean,
    /// As DataFusion does it: the sum times `factor` (from the argument's scale to the result's), divided by the count,
    /// towards zero.
    DecimalMean {
        precision: u8,
        scale: i8,
        factor: i128,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sum: i128,
    count: i64,
}

/// Sums in 128 bits. More than 2^63 integers would be needed to leave them; decimals leave them only far outside
/// the precision that any result type has.
#[derive(Debug)]
pub(in super::super) struct ExactSum {
    totals: Vec<Total>,
    reading: Reading,
}

impl ExactSum {
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            totals: Vec::new(),
            reading,
        }
    }

    #[inline]
    fn add(&mut self, row: u32, value: i128) -> Result<(), Overflow> {
        let total = &mut self.totals[row as usize];
        total.sum = total.sum.checked_add(value).ok_or(Overflow)?;
        total.count += 1;
        Ok(())
    }

    fn read<T>(
        &self,
        rows: &[u32],
        read: impl Fn(Total) -> Result<T, Overflow>,
    ) -> Result<Vec<Option<T>>, Overflow> {
        let read = |row: &u32| match self.totals[*row as usize] {
            Total { count: 0, .. } => Ok(None),
            total => read(total).map(Some),
        };
        rows.iter().map(read).collect()
    }
}

/// The value, if it has at most so many digits.
fn within(value: i128, precision: u8) -> Result<i128, Overflow> {
    let limit = 10u128.checked_pow(precision.into()).ok_or(Overflow)?;
    if value.unsigned_abs() < limit {
        Ok(value)
    } else {
        Err(Overflow)
    }
}

impl Accumulator for ExactSum {
    fn grow(&mut self, rows: usize) {
        if self.totals.len() < rows {
            self.totals.resize(rows, Total::default());
        }
    }

    fn reset(&mut self, row: u32) {
        self.totals[row as usize] = Total::default();
    }

    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow> {
        let selection = &argument.selection;
        match argument.column {
            Some(Column::Int64(values)) => {
                selection.try_each(|row| self.add(rows[row], values.values()[row].into()))
            }
            Some(Column::Int32(values)) => {
                selection.try_each(|row| self.add(rows[row], values.values()[row].into()))
            }
            Some(Column::Decimal(values)) => {
                selection.try_each(|row| self.add(rows[row], values.values()[row]))
            }
            _ => unreachable!("made for integers and decimals only"),
        }
    }

    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow> {
        let part = same::<Self>(other).totals[from as usize];
        let total = &mut self.totals[into as usize];
        total.sum = total.sum.checked_add(part.sum).ok_or(Overflow)?;
        total.count += part.count;
        Ok(())
    }

    fn subtract(&mut self, from: u32, other: &dyn Accumulator, part: u32) {
        let part = same::<Self>(other).totals[part as usize];
        let total = &mut self.totals[from as usize];
        total.sum = total.sum.wrapping_sub(part.sum);
        total.count -= part.count;
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::Subtract
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        let total = self.totals[row as usize];
        write_unsigned(total.count.cast_unsigned().into(), into);
        if total.count != 0 {
            write_signed(total.sum, into);
        }
    }

    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let count = reader.count()?;
        let sum = if count == 0 { 0 } else { reader.signed()? };
        self.totals[row as usize] = Total { sum, count };
        Ok(())
    }

    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure> {
        Ok(match self.reading {
            Reading::Integer => {
                let read = |total: Total| i64::try_from(total.sum).map_err(|_| Overflow);
                Arc::new(Int64Array::from(self.read(rows, read)?))
            }
            Reading::IntegerMean => {
                let read = |total: Total| Ok(total.sum as f64 / total.count as f64);
                Arc::new(Float64Array::from(self.read(rows, read)?))
            }
            Reading::Decimal(precision, scale) => {
                let values = self.read(rows, |total| within(total.sum, precision))?;
                Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale)?)
            }
            Reading::DecimalMean {
                precision,
                scale,
                factor,
            } => {
                let read = |total: Total| {
                    let scaled = total.sum.checked_mul(factor).ok_or(Overflow)?;
                    within(scaled / i128::from(total.count), precision)
                };
                let values = self.read(rows, read)?;
                Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale)?)
            }
        })
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total>()
    }

    fn row_bytes(&self) -> usize {
        size_of::<Total>()
    }
}
