//! `min` and `max`. Durable form: 0 without a value, else 1 and the value.

use std::cmp::Ordering;

use arrow::array::ArrayRef;

use super::physical::Physical;
use super::{Accumulator, Argument, CodecError, Failure, Overflow, Reader, Upkeep, same};
use crate::codec::column::ColumnType;

/// The least or the greatest value.
#[derive(Debug)]
pub(super) struct Extreme<P> {
    values: Vec<Option<P>>,
    kind: ColumnType,
    wins: Ordering,
    heap: usize,
}

/// An accumulator for values of this type.
pub(super) fn of(kind: ColumnType, greatest: bool) -> Box<dyn Accumulator> {
    match kind {
        ColumnType::Float64 => Box::new(Extreme::<f64>::new(kind, greatest)),
        ColumnType::Decimal(..) => Box::new(Extreme::<i128>::new(kind, greatest)),
        ColumnType::Text => Box::new(Extreme::<Box<str>>::new(kind, greatest)),
        _ => Box::new(Extreme::<i64>::new(kind, greatest)),
    }
}

impl<P: Physical> Extreme<P> {
    fn new(kind: ColumnType, greatest: bool) -> Self {
        let wins = if greatest {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        Self {
            values: Vec::new(),
            kind,
            wins,
            heap: 0,
        }
    }

    fn offer(&mut self, row: u32, value: P::Ref<'_>) {
        let kept = &self.values[row as usize];
        let wins = kept
            .as_ref()
            .is_none_or(|kept| P::compare(value, kept.borrow()) == self.wins);
        if wins {
            self.set(row, Some(P::own(value)));
        }
    }

    fn set(&mut self, row: u32, value: Option<P>) {
        let heap = |value: &Option<P>| value.as_ref().map_or(0, P::heap);
        let kept = &mut self.values[row as usize];
        self.heap = self.heap + heap(&value) - heap(kept);
        *kept = value;
    }
}

impl<P: Physical> Accumulator for Extreme<P> {
    fn grow(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.values.resize(rows, None);
        }
    }

    fn reset(&mut self, row: u32) {
        self.set(row, None);
    }

    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow> {
        if let Some(column) = argument.column {
            let offer = |row| self.offer(rows[row], P::get(column, row));
            argument.selection.each(offer);
        }
        Ok(())
    }

    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow> {
        if let Some(value) = &same::<Self>(other).values[from as usize] {
            self.offer(into, value.borrow());
        }
        Ok(())
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::Remerge
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        let value = &self.values[row as usize];
        into.push(value.is_some().into());
        if let Some(value) = value {
            value.write(into);
        }
    }

    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let value = match reader.boolean()? {
            true => Some(P::read(reader, self.kind)?),
            false => None,
        };
        self.set(row, value);
        Ok(())
    }

    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure> {
        let value = |row: &u32| self.values[*row as usize].as_ref().map(P::borrow);
        Ok(P::array(rows.iter().map(value).collect(), self.kind)?)
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<P>>() + self.heap
    }

    fn row_bytes(&self) -> usize {
        size_of::<Option<P>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap
    }
}
