//! `first` and `last` by (event time, split, offset). Durable form: 0 without a row, else 1, event time (zigzag
//! LEB128), split (LEB128), offset (zigzag LEB128), then 0 if the value is null, else 1 and the value.

use std::cmp::Ordering;

use arrow::array::ArrayRef;

use super::input::Place;
use super::physical::Physical;
use super::{Accumulator, Argument, CodecError, Failure, Overflow, Reader, Upkeep, same};
use crate::codec::bytes::{write_signed, write_unsigned};
use crate::codec::column::{Column, ColumnType};

#[derive(Clone, Debug)]
struct Row<P> {
    place: Place,
    value: Option<P>,
}

/// The value of the first or the last row.
///
/// Rows that an operator made have no position, and a union can bring one record twice: if even the position is the
/// same, the values decide, null being less than all others, so that the result never depends on arrival.
#[derive(Debug)]
pub(super) struct Edge<P> {
    rows: Vec<Option<Row<P>>>,
    kind: ColumnType,
    wins: Ordering,
    heap: usize,
}

/// An accumulator for values of this type.
pub(super) fn of(kind: ColumnType, last: bool) -> Box<dyn Accumulator> {
    match kind {
        ColumnType::Float64 => Box::new(Edge::<f64>::new(kind, last)),
        ColumnType::Decimal(..) => Box::new(Edge::<i128>::new(kind, last)),
        ColumnType::Text => Box::new(Edge::<Box<str>>::new(kind, last)),
        _ => Box::new(Edge::<i64>::new(kind, last)),
    }
}

impl<P: Physical> Edge<P> {
    fn new(kind: ColumnType, last: bool) -> Self {
        let wins = if last {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        Self {
            rows: Vec::new(),
            kind,
            wins,
            heap: 0,
        }
    }

    fn offer(&mut self, row: u32, place: Place, value: Option<P::Ref<'_>>) {
        let wins = self.rows[row as usize].as_ref().is_none_or(|kept| {
            let by_value = || match (value, &kept.value) {
                (Some(value), Some(kept)) => P::compare(value, kept.borrow()),
                (value, kept) => value.is_some().cmp(&kept.is_some()),
            };
            place.cmp(&kept.place).then_with(by_value) == self.wins
        });
        if wins {
            let value = value.map(P::own);
            self.set(row, Some(Row { place, value }));
        }
    }

    fn set(&mut self, row: u32, new: Option<Row<P>>) {
        let heap = |row: &Option<Row<P>>| {
            let value = row.as_ref().and_then(|row| row.value.as_ref());
            value.map_or(0, P::heap)
        };
        let kept = &mut self.rows[row as usize];
        self.heap = self.heap + heap(&new) - heap(kept);
        *kept = new;
    }

    fn value(column: Column<'_>, row: usize) -> Option<P::Ref<'_>> {
        (!column.is_null(row)).then(|| P::get(column, row))
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Row<P>, CodecError> {
        let place = Place {
            time: reader.integer()?,
            split: u32::try_from(reader.unsigned()?)
                .map_err(|_| CodecError::Malformed("an impossible split"))?,
            offset: reader.integer()?,
        };
        let value = match reader.boolean()? {
            true => Some(P::read(reader, self.kind)?),
            false => None,
        };
        Ok(Row { place, value })
    }
}

impl<P: Physical> Accumulator for Edge<P> {
    fn grow(&mut self, rows: usize) {
        if self.rows.len() < rows {
            self.rows.resize(rows, None);
        }
    }

    fn reset(&mut self, row: u32) {
        self.set(row, None);
    }

    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow> {
        if let Some(column) = argument.column {
            argument.selection.each(|row| {
                let place = argument.input.place(row);
                self.offer(rows[row], place, Self::value(column, row));
            });
        }
        Ok(())
    }

    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow> {
        if let Some(row) = &same::<Self>(other).rows[from as usize] {
            self.offer(into, row.place, row.value.as_ref().map(P::borrow));
        }
        Ok(())
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::Remerge
    }

    fn skips_nulls(&self) -> bool {
        false
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        let Some(Row { place, value }) = &self.rows[row as usize] else {
            into.push(0);
            return;
        };
        into.push(1);
        write_signed(place.time.into(), into);
        write_unsigned(place.split.into(), into);
        write_signed(place.offset.into(), into);
        into.push(value.is_some().into());
        if let Some(value) = value {
            value.write(into);
        }
    }

    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let new = match reader.boolean()? {
            true => Some(self.read(reader)?),
            false => None,
        };
        self.set(row, new);
        Ok(())
    }

    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure> {
        let value = |row: &u32| {
            let row = self.rows[*row as usize].as_ref();
            row.and_then(|row| row.value.as_ref()).map(P::borrow)
        };
        Ok(P::array(rows.iter().map(value).collect(), self.kind)?)
    }

    fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Option<Row<P>>>() + self.heap
    }

    fn row_bytes(&self) -> usize {
        size_of::<Option<Row<P>>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap
    }
}
