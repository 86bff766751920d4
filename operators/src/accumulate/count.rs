//! `count`. Durable form: zigzag LEB128.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};

use super::{Accumulator, Argument, CodecError, Failure, Overflow, Reader, Upkeep, same};
use crate::codec::bytes::write_signed;

/// How many rows counted.
#[derive(Debug, Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn grow(&mut self, rows: usize) {
        if self.counts.len() < rows {
            self.counts.resize(rows, 0);
        }
    }

    fn reset(&mut self, row: u32) {
        self.counts[row as usize] = 0;
    }

    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow> {
        argument
            .selection
            .each(|row| self.counts[rows[row] as usize] += 1);
        Ok(())
    }

    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow> {
        self.counts[into as usize] += same::<Self>(other).counts[from as usize];
        Ok(())
    }

    fn subtract(&mut self, from: u32, other: &dyn Accumulator, part: u32) {
        self.counts[from as usize] -= same::<Self>(other).counts[part as usize];
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::Subtract
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        write_signed(self.counts[row as usize].into(), into);
    }

    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        self.counts[row as usize] = reader.integer()?;
        Ok(())
    }

    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure> {
        let counts = rows.iter().map(|row| self.counts[*row as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }

    fn row_bytes(&self) -> usize {
        size_of::<i64>()
    }
}
