//! The accumulators of one operator side by side, as columns of its state.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};

use super::input::{Argument, Input, Selection};
use super::{ACCUMULATOR_FORMAT, Accumulator, Aggregate, AggregateError, Failure, Upkeep};
use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::codec::column::{Column, ColumnType};
use crate::state::Columns;

#[derive(Debug)]
struct Member {
    aggregate: Aggregate,
    argument: Option<ColumnType>,
    accumulator: Box<dyn Accumulator>,
}

impl Member {
    fn new(input: &Schema, aggregate: &Aggregate) -> Result<Self, AggregateError> {
        let typed = |position: usize| match input.fields().get(position) {
            Some(field) => ColumnType::of(field.data_type()),
            None => Err(CodecError::Batch {
                column: position,
                expected: DataType::Null,
                found: "no column".to_owned(),
            }),
        };
        let argument = aggregate.argument.map(typed).transpose()?;
        Ok(Self {
            accumulator: super::accumulator(aggregate, argument)?,
            aggregate: aggregate.clone(),
            argument,
        })
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) -> Result<(), AggregateError> {
        let column = match (self.aggregate.argument, self.argument) {
            (Some(position), Some(kind)) => Some(Column::of(input.batch, position, kind)?),
            _ => None,
        };
        let nulls = column.filter(|_| self.accumulator.skips_nulls());
        let nulls = nulls.and_then(Column::nulls);
        let argument = Argument {
            column,
            selection: Selection::new(input.batch, self.aggregate.filter, nulls)?,
            input,
        };
        let updated = self.accumulator.update(rows, &argument);
        updated.map_err(|overflow| self.failed(overflow.into()))
    }

    fn merge(
        &mut self,
        into: u32,
        parts: &Self,
        rows: impl Iterator<Item = u32>,
    ) -> Result<(), AggregateError> {
        for row in rows {
            let merged = self
                .accumulator
                .merge(into, parts.accumulator.as_ref(), row);
            merged.map_err(|overflow| self.failed(overflow.into()))?;
        }
        Ok(())
    }

    fn failed(&self, failure: Failure) -> AggregateError {
        match failure {
            Failure::Arrow(error) => AggregateError::Codec(error.into()),
            Failure::Overflow => AggregateError::Overflow {
                aggregate: format!("{:?}", self.aggregate.function).to_lowercase(),
                data_type: self.aggregate.data_type.clone(),
            },
        }
    }
}

/// All accumulators of an operator, as the columns of its state.
#[derive(Debug)]
pub struct Accumulators {
    members: Vec<Member>,
}

impl Accumulators {
    /// Accumulators for these aggregates of an input's columns.
    ///
    /// # Errors
    /// [`AggregateError::Unsupported`] if an aggregate doesn't exist for its types.
    pub fn new(input: &Schema, aggregates: &[Aggregate]) -> Result<Self, AggregateError> {
        let members = aggregates
            .iter()
            .map(|aggregate| Member::new(input, aggregate));
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
        })
    }

    /// Adds a batch, its row `i` to `rows[i]`.
    pub(crate) fn update(&mut self, rows: &[u32], input: &Input<'_>) -> Result<(), AggregateError> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.update(rows, input))
    }

    /// The same, but only for members that are kept by adding rows.
    pub(crate) fn update_totals(
        &mut self,
        rows: &[u32],
        input: &Input<'_>,
    ) -> Result<(), AggregateError> {
        let added = |member: &&mut Member| member.accumulator.upkeep() != Upkeep::AlwaysMerge;
        let mut members = self.members.iter_mut().filter(added);
        members.try_for_each(|member| member.update(rows, input))
    }

    /// Takes a part away from the members that can be subtracted.
    pub(crate) fn subtract(&mut self, from: u32, parts: &Self, part: u32) {
        for (member, other) in self.members.iter_mut().zip(&parts.members) {
            if member.accumulator.upkeep() == Upkeep::Subtract {
                let other = other.accumulator.as_ref();
                member.accumulator.subtract(from, other, part);
            }
        }
    }

    /// Merges anew, in the given order, the members that have to be: always, or because a part left.
    pub(crate) fn remerge(
        &mut self,
        into: u32,
        parts: &Self,
        rows: impl Iterator<Item = u32> + Clone,
        part_left: bool,
    ) -> Result<(), AggregateError> {
        for (member, other) in self.members.iter_mut().zip(&parts.members) {
            let needed = match member.accumulator.upkeep() {
                Upkeep::Subtract => false,
                Upkeep::Remerge => part_left,
                Upkeep::AlwaysMerge => true,
            };
            if needed {
                member.accumulator.reset(into);
                member.merge(into, other, rows.clone())?;
            }
        }
        Ok(())
    }

    /// Replaces a row by the merge of others, in the given order.
    pub(crate) fn replace(
        &mut self,
        into: u32,
        parts: &Self,
        rows: impl Iterator<Item = u32> + Clone,
    ) -> Result<(), AggregateError> {
        for (member, other) in self.members.iter_mut().zip(&parts.members) {
            member.accumulator.reset(into);
            member.merge(into, other, rows.clone())?;
        }
        Ok(())
    }

    /// The results of these rows, one array per aggregate.
    ///
    /// # Errors
    /// [`AggregateError::Overflow`] if a sum is out of its type's range.
    pub fn finish(&self, rows: &[u32]) -> Result<Vec<ArrayRef>, AggregateError> {
        let finish = |member: &Member| {
            let finished = member.accumulator.finish(rows);
            finished.map_err(|failure| member.failed(failure))
        };
        self.members.iter().map(finish).collect()
    }
}

impl Columns for Accumulators {
    fn grow(&mut self, rows: usize) {
        for member in &mut self.members {
            member.accumulator.grow(rows);
        }
    }

    fn reset(&mut self, rows: &[u32]) {
        for member in &mut self.members {
            rows.iter().for_each(|row| member.accumulator.reset(*row));
        }
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        into.push(ACCUMULATOR_FORMAT);
        for member in &self.members {
            member.accumulator.encode(row, into);
        }
    }

    fn decode(&mut self, row: u32, bytes: &[u8]) -> Result<(), CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != ACCUMULATOR_FORMAT {
            return Err(CodecError::Version(version));
        }
        for member in &mut self.members {
            member.accumulator.decode(row, &mut reader)?;
        }
        reader.finish()
    }

    fn bytes(&self) -> usize {
        let members = self.members.iter();
        members.map(|member| member.accumulator.bytes()).sum()
    }

    fn row_bytes(&self) -> usize {
        let members = self.members.iter();
        members.map(|member| member.accumulator.row_bytes()).sum()
    }

    fn heap_bytes(&self) -> usize {
        let members = self.members.iter();
        members.map(|member| member.accumulator.heap_bytes()).sum()
    }

    fn fresh(&self) -> Result<Self, CodecError> {
        let fresh = |member: &Member| {
            let made = super::accumulator(&member.aggregate, member.argument);
            Ok(Member {
                accumulator: made.map_err(|error| match error {
                    AggregateError::Codec(error) => error,
                    _ => CodecError::Malformed("an aggregate that existed exists no more"),
                })?,
                aggregate: member.aggregate.clone(),
                argument: member.argument,
            })
        };
        let members = self.members.iter().map(fresh);
        Ok(Self {
            members: members.collect::<Result<_, CodecError>>()?,
        })
    }
}
