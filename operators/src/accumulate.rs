//! Aggregates over typed columns: one row of every accumulator per entry of a keyed state.
//!
//! Results are what SQL says: nulls and rows whose filter isn't true don't count, a sum, mean, least or greatest value
//! of no rows is null, and `first`/`last` take the value, null or not, of the row with the least or greatest (event
//! time, split, offset). Integer and decimal sums are exact and judged when they are read, so whether they overflow
//! depends on the rows and not on their order.
//!
//! Durable form of an entry: one byte with the format's version, then each accumulator's, in the plan's order.

mod count;
mod edge;
mod extreme;
mod input;
mod members;
mod physical;
mod sum;

use std::any::Any;
use std::fmt::Debug;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::codec::column::ColumnType;
use crate::operator::OperatorError;
use count::Count;
use input::Argument;
pub(crate) use input::{Input, separate_late};
pub use members::Accumulators;

/// The version that every encoded entry starts with.
pub const ACCUMULATOR_FORMAT: u8 = 1;

/// The aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not null.
    Count,
    /// The sum; null without rows.
    Sum,
    /// The mean; null without rows.
    Avg,
    /// The least value. Of doubles by total order: NaN is the greatest.
    Min,
    /// The greatest value.
    Max,
    /// The value of the row with the least (event time, split, offset).
    First,
    /// The value of the row with the greatest (event time, split, offset).
    Last,
}

/// One aggregate: everything it reads is a column of its input.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function.
    pub function: AggregateFunction,
    /// The argument's column; `None` for `count(*)`.
    pub argument: Option<usize>,
    /// A boolean column: only rows where it is true count.
    pub filter: Option<usize>,
    /// The result's type, as DataFusion gives it.
    pub data_type: DataType,
}

/// An aggregate cannot be made or computed.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The function doesn't exist for these types.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A sum left the range of its type.
    #[error("{aggregate} overflows {data_type}")]
    Overflow {
        /// The aggregate.
        aggregate: String,
        /// The type that is too small.
        data_type: DataType,
    },
    /// A batch has other columns than announced, or Arrow refused.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl AggregateError {
    /// The error of the operator that computes the aggregate.
    #[must_use]
    pub fn of(self, operator: &str) -> OperatorError {
        match self {
            Self::Unsupported(reason) => {
                CodecError::Arrow(ArrowError::NotYetImplemented(reason)).working(operator)
            }
            Self::Overflow {
                aggregate,
                data_type,
            } => OperatorError::Overflow {
                operator: operator.to_owned(),
                aggregate,
                data_type: data_type.to_string(),
            },
            Self::Codec(error) => error.working(operator),
        }
    }
}

/// The sum left its type's range; which and whose, the caller knows.
#[derive(Clone, Copy, Debug)]
struct Overflow;

/// How a total over parts is kept right when a part leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upkeep {
    /// The part is subtracted, exactly.
    Subtract,
    /// Rows are added as they come; when a part leaves, the total is merged anew from the others.
    Remerge,
    /// The total is always merged anew, in the parts' order: double sums depend on the order of addition.
    AlwaysMerge,
}

/// One column of accumulators. Rows are entries of a keyed state.
trait Accumulator: Any + Debug + Send {
    fn grow(&mut self, rows: usize);
    fn reset(&mut self, row: u32);
    /// Adds the argument's selected values, row `i` of the batch to `rows[i]`.
    fn update(&mut self, rows: &[u32], argument: &Argument<'_>) -> Result<(), Overflow>;
    /// Adds a row of an accumulator of the same kind.
    fn merge(&mut self, into: u32, other: &dyn Accumulator, from: u32) -> Result<(), Overflow>;
    /// Takes away a row that was merged or updated before; only for [`Upkeep::Subtract`].
    fn subtract(&mut self, _from: u32, _other: &dyn Accumulator, _part: u32) {}
    fn upkeep(&self) -> Upkeep;
    /// Whether rows with a null argument don't count.
    fn skips_nulls(&self) -> bool {
        true
    }
    fn encode(&self, row: u32, into: &mut Vec<u8>);
    fn decode(&mut self, row: u32, reader: &mut Reader<'_>) -> Result<(), CodecError>;
    fn finish(&self, rows: &[u32]) -> Result<ArrayRef, Failure>;
    fn bytes(&self) -> usize;
    /// Bytes of one row, without its own allocations.
    fn row_bytes(&self) -> usize;
    /// Bytes of all rows' own allocations.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Why a result cannot be given.
#[derive(Debug)]
enum Failure {
    Overflow,
    Arrow(ArrowError),
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<Overflow> for Failure {
    fn from(Overflow: Overflow) -> Self {
        Self::Overflow
    }
}

/// The same kind of accumulator behind a reference to any.
#[expect(
    clippy::expect_used,
    reason = "only accumulators of one plan are merged, member by member"
)]
fn same<A: Accumulator>(other: &dyn Accumulator) -> &A {
    let other: &dyn Any = other;
    other.downcast_ref().expect("accumulators of the same plan")
}

/// The accumulator for an aggregate of an argument of this type.
fn accumulator(
    aggregate: &Aggregate,
    argument: Option<ColumnType>,
) -> Result<Box<dyn Accumulator>, AggregateError> {
    use AggregateFunction::{Avg, Count as CountRows, First, Last, Max, Min, Sum};
    let result = ColumnType::of(&aggregate.data_type)?;
    let made = match (aggregate.function, argument) {
        (CountRows, _) if result == ColumnType::Int64 => Some(Box::new(Count::default()) as _),
        (Sum, Some(kind)) => sum::of(kind, result),
        (Avg, Some(kind)) => sum::mean_of(kind, result),
        (Min, Some(kind)) if kind == result => Some(extreme::of(kind, false)),
        (Max, Some(kind)) if kind == result => Some(extreme::of(kind, true)),
        (First, Some(kind)) if kind == result => Some(edge::of(kind, false)),
        (Last, Some(kind)) if kind == result => Some(edge::of(kind, true)),
        _ => None,
    };
    made.ok_or_else(|| {
        let argument = argument.map(|kind| kind.data_type().to_string());
        AggregateError::Unsupported(format!(
            "{:?}({}) as {}",
            aggregate.function,
            argument.unwrap_or_default(),
            aggregate.data_type
        ))
    })
}

#[cfg(test)]
mod tests;
