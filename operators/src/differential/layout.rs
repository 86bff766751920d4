//! What an arrangement of groups holds, and how results are read from it.
//!
//! ```text
//!  (group, 0)  ── (nothing)  the group's tally: its rows, and the slots of counts and sums
//!  (group, 1)  ── value      the rows that hold this value, in value order; of a max from the greatest
//!  (group, 2)  ── ...
//! ```
//!
//! One arrangement serves all aggregates of a view: counts, sums and means are read from one tally, a least
//! or greatest value is the first of its section.

mod results;

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::exact_sum;
use super::row::{EncodedRow, RowEncoding};
use super::tally::Tally;
use crate::accumulate::{Aggregate, AggregateFunction};

pub(super) use results::Cell;

/// An aggregate with its place in the group's state.
pub(super) struct Column {
    argument: Option<usize>,
    filter: Option<usize>,
    /// The result's type.
    pub(super) data_type: DataType,
    kind: Kind,
}

enum Kind {
    /// All rows of the group.
    Rows,
    /// The counted rows are in a slot.
    Count { slot: u16 },
    /// The counted rows are in a slot, their sum in those behind it.
    Sum { slot: u16, number: Number },
    /// As a sum, with the factor to the result's scale.
    Mean {
        slot: u16,
        number: Number,
        factor: i128,
    },
    /// Values are in a section.
    Extreme { section: u16, order: RowEncoding },
}

/// How a sum is laid out in slots.
#[derive(Clone, Copy)]
enum Number {
    /// Integers below 2^64: one slot.
    Narrow,
    /// Wider integers: their lower 64 bits, then the rest.
    Wide,
    /// An exact sum of doubles.
    Double,
}

/// Decimals of up to so many digits are below 2^64.
const NARROW_DIGITS: u8 = 18;

impl Number {
    fn of(data_type: &DataType) -> Result<Self, ArrowError> {
        match data_type {
            DataType::Int32 | DataType::Int64 => Ok(Self::Narrow),
            DataType::Decimal128(digits, _) if *digits <= NARROW_DIGITS => Ok(Self::Narrow),
            DataType::Decimal128(_, _) => Ok(Self::Wide),
            DataType::Float64 => Ok(Self::Double),
            other => Err(ArrowError::SchemaError(format!("{other} cannot be summed"))),
        }
    }

    fn slots(self) -> u16 {
        match self {
            Self::Narrow => 1,
            Self::Wide => 2,
            Self::Double => exact_sum::SLOTS,
        }
    }
}

/// Hands out slots and sections.
#[derive(Default)]
pub(super) struct Allocation {
    slots: u16,
    sections: u16,
}

impl Allocation {
    fn slots(&mut self, slots: u16) -> Result<u16, ArrowError> {
        let first = self.slots;
        self.slots = first.checked_add(slots).ok_or_else(|| {
            ArrowError::InvalidArgumentError("too many aggregates in one view".to_owned())
        })?;
        Ok(first)
    }

    /// The tally has section 0.
    fn section(&mut self) -> u16 {
        self.sections += 1;
        self.sections
    }
}

impl Column {
    /// # Errors
    /// If the function cannot take or give these types.
    pub(super) fn new(
        aggregate: &Aggregate,
        input: &Schema,
        allocation: &mut Allocation,
    ) -> Result<Self, ArrowError> {
        let argument = |function: &str| {
            let column = aggregate.argument.ok_or_else(|| {
                ArrowError::InvalidArgumentError(format!("{function} needs an argument"))
            })?;
            Ok::<_, ArrowError>(input.field(column).data_type().clone())
        };
        let kind = match aggregate.function {
            AggregateFunction::Count if aggregate.argument.or(aggregate.filter).is_none() => {
                Kind::Rows
            }
            AggregateFunction::Count => Kind::Count {
                slot: allocation.slots(1)?,
            },
            AggregateFunction::Sum => {
                let number = Number::of(&argument("sum")?)?;
                Kind::Sum {
                    slot: allocation.slots(1 + number.slots())?,
                    number,
                }
            }
            AggregateFunction::Avg => {
                let argument = argument("avg")?;
                let number = Number::of(&argument)?;
                let factor = mean_factor(&argument, &aggregate.data_type)?;
                Kind::Mean {
                    slot: allocation.slots(1 + number.slots())?,
                    number,
                    factor,
                }
            }
            AggregateFunction::Min => extreme(argument("min")?, false, allocation)?,
            AggregateFunction::Max => extreme(argument("max")?, true, allocation)?,
            AggregateFunction::First | AggregateFunction::Last => {
                let reason = "a table's rows have no order in which one is first or last";
                return Err(ArrowError::InvalidArgumentError(reason.to_owned()));
            }
        };
        let column = Self {
            argument: aggregate.argument,
            filter: aggregate.filter,
            data_type: aggregate.data_type.clone(),
            kind,
        };
        column.check_result_type(input)?;
        Ok(column)
    }

    fn check_result_type(&self, input: &Schema) -> Result<(), ArrowError> {
        let argument = self.argument.map(|column| input.field(column).data_type());
        let fits = match (&self.kind, &self.data_type) {
            (Kind::Rows | Kind::Count { .. }, DataType::Int64) => true,
            (Kind::Sum { number, .. }, DataType::Int64) => {
                matches!(number, Number::Narrow)
                    && !matches!(argument, Some(DataType::Decimal128(..)))
            }
            (Kind::Sum { .. }, DataType::Decimal128(_, scale)) => {
                matches!(argument, Some(DataType::Decimal128(_, of)) if of == scale)
            }
            (Kind::Sum { number, .. }, DataType::Float64) => matches!(number, Number::Double),
            (Kind::Mean { .. }, DataType::Decimal128(..)) => {
                matches!(argument, Some(DataType::Decimal128(..)))
            }
            (Kind::Mean { .. }, DataType::Float64) => {
                !matches!(argument, Some(DataType::Decimal128(..)))
            }
            (Kind::Extreme { .. }, result) => argument == Some(result),
            _ => false,
        };
        let error = || {
            format!(
                "an aggregate of {argument:?} does not give {}",
                self.data_type
            )
        };
        if fits {
            Ok(())
        } else {
            Err(ArrowError::SchemaError(error()))
        }
    }

    /// Where the values of a least or greatest value are.
    pub(super) fn section(&self) -> Option<u16> {
        match self.kind {
            Kind::Extreme { section, .. } => Some(section),
            _ => None,
        }
    }

    /// Adds a batch's rows to the tallies of their updates.
    pub(super) fn tally(
        &self,
        rows: &RecordBatch,
        diffs: &[i8],
        tallies: &mut [Tally],
    ) -> Result<(), ArrowError> {
        let (slot, number) = match self.kind {
            Kind::Rows | Kind::Extreme { .. } => return Ok(()),
            Kind::Count { slot } => (slot, None),
            Kind::Sum { slot, number } | Kind::Mean { slot, number, .. } => (slot, Some(number)),
        };
        let counted = self.counted(rows)?;
        for row in counted.set_indices() {
            tallies[row].add(slot, i128::from(diffs[row]));
        }
        let (Some(number), Some(argument)) = (number, self.argument) else {
            return Ok(());
        };
        let values = rows.column(argument);
        if let Some(values) = values.as_primitive_opt::<Float64Type>() {
            for row in counted.set_indices() {
                exact_sum::add(
                    &mut tallies[row],
                    slot + 1,
                    values.value(row),
                    diffs[row].into(),
                );
            }
            return Ok(());
        }
        let value_at = integers(values)?;
        for row in counted.set_indices() {
            let value = value_at(row) * i128::from(diffs[row]);
            match number {
                Number::Wide => {
                    tallies[row].add(slot + 1, i128::from(value as u64));
                    tallies[row].add(slot + 2, value >> 64);
                }
                _ => tallies[row].add(slot + 1, value),
            }
        }
        Ok(())
    }

    /// The section with the values of the counted rows, for an aggregate that has one.
    pub(super) fn section_values(
        &self,
        rows: &RecordBatch,
    ) -> Result<Vec<(usize, u16, EncodedRow)>, ArrowError> {
        let (Kind::Extreme { section, order }, Some(argument)) = (&self.kind, self.argument) else {
            return Ok(Vec::new());
        };
        let counted = self.counted(rows)?;
        let values = order.encode(&[rows.column(argument).clone()], rows.num_rows())?;
        let values = values
            .into_iter()
            .enumerate()
            .filter(|(row, _)| counted.value(*row));
        Ok(values.map(|(row, value)| (row, *section, value)).collect())
    }

    /// The rows that pass the filter and whose argument is not null.
    fn counted(&self, rows: &RecordBatch) -> Result<BooleanBuffer, ArrowError> {
        let mut counted = BooleanBuffer::new_set(rows.num_rows());
        if let Some(nulls) = self
            .argument
            .and_then(|column| rows.column(column).logical_nulls())
        {
            counted = &counted & nulls.inner();
        }
        if let Some(filter) = self.filter {
            let filter = rows.column(filter);
            let passes = filter.as_boolean_opt().ok_or_else(|| {
                ArrowError::SchemaError(format!("a filter is {}", filter.data_type()))
            })?;
            counted = &counted & passes.values();
            if let Some(nulls) = passes.nulls() {
                counted = &counted & nulls.inner();
            }
        }
        Ok(counted)
    }
}

fn extreme(
    argument: DataType,
    descending: bool,
    allocation: &mut Allocation,
) -> Result<Kind, ArrowError> {
    let order = SortOptions {
        descending,
        nulls_first: true,
    };
    Ok(Kind::Extreme {
        section: allocation.section(),
        order: RowEncoding::ordered(vec![argument], order)?,
    })
}

/// What a decimal sum is multiplied by before it is divided by the count.
fn mean_factor(argument: &DataType, result: &DataType) -> Result<i128, ArrowError> {
    let (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) = (argument, result) else {
        return Ok(1);
    };
    match to.cmp(from) {
        Ordering::Less => Err(ArrowError::SchemaError(format!(
            "avg of {argument} as {result}"
        ))),
        _ => Ok(10_i128.pow((to - from).unsigned_abs().into())),
    }
}

fn integers(values: &ArrayRef) -> Result<Box<dyn Fn(usize) -> i128 + '_>, ArrowError> {
    if let Some(values) = values.as_primitive_opt::<Int64Type>() {
        return Ok(Box::new(|row| values.value(row).into()));
    }
    if let Some(values) = values.as_primitive_opt::<Int32Type>() {
        return Ok(Box::new(|row| values.value(row).into()));
    }
    if let Some(values) = values.as_primitive_opt::<Decimal128Type>() {
        return Ok(Box::new(|row| values.value(row)));
    }
    Err(ArrowError::SchemaError(format!(
        "{} cannot be summed",
        values.data_type()
    )))
}
