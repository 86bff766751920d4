//! Sums of doubles. Durable form: the count as LEB128, then, unless it is 0, the sum's 8 bytes, little endian.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};

use super::super::{Argument, CodecError, Failure, Reader, Upkeep, same};
use super::{Accumulator, Overflow};
use crate::codec::bytes::write_unsigned;
use crate::codec::column::Column;

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sum: f64,
    count: i64,
}

impl Total {
    fn add(&mut self, sum: f64, count: i64) {
        self.sum += sum;
        self.count += count;
    }
}

/// Sums, added in the order of the rows.
#[derive(Debug)]
pub(in super::super) struct FloatSum {
    totals: Vec<Total>,
    mean: bool,
}

impl FloatSum {
    pub(super) fn new(mean: bool) -> Self {
        Self {
            totals: Vec::new(),
            mean,
        }
    }
}

impl Accumulator for FloatSum {
    fn grow(&mut self, rows: usize) {
        if self.totals.len() < rows {
            self.totals.resize(rows, Total::default());
        }
    }

    fn reset(&mut self, row: u32) {
        self.totals[row as usize] = Total::default();
    }

    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow> {
        let Some(Column::Float64(values)) = argument.column else {
            unreachable!("made for doubles only");
        };
        let values = values.values();
        argument
            .selection
            .each(|row| self.totals[rows[row] as usize].add(values[row], 1));
        Ok(())
    }

    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow> {
        let part = same::<Self>(other).totals[from as usize];
        self.totals[into as usize].add(part.sum, part.count);
        Ok(())
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::AlwaysMerge
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        let total = self.totals[row as usize];
        write_unsigned(total.count.cast_unsigned().into(), into);
        if total.count != 0 {
            into.extend_from_slice(&total.sum.to_le_bytes());
        }
    }

    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let count = reader.count()?;
        let sum = if count == 0 {
            0.0
        } else {
            f64::from_le_bytes(reader.array()?)
        };
        self.totals[row as usize] = Total { sum, count };
        Ok(())
    }

    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure> {
        let read = |row: &u32| match self.totals[*row as usize] {
            Total { count: 0, .. } => None,
            Total { sum, count } if self.mean => Some(sum / count as f64),
            Total { sum, .. } => Some(sum),
        };
        Ok(Arc::new(Float64Array::from_iter(rows.iter().map(read))))
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total>()
    }

    fn row_bytes(&self) -> usize {
        size_of::<Total>()
    }
}
