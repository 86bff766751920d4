//! Stateless operators: filters and projections over batches.
//!
//! Expressions are DataFusion physical expressions over the *visible* columns; hidden columns pass unseen.
//! DataFusion evaluates a whole batch or fails as a whole, so a batch that fails is evaluated again by
//! halves until the rows that fail stand alone: they come out as [`RejectedRow`]s, and the others go on. A
//! row's fate does not depend on the batch that it is in: it is rejected exactly if its expressions fail on
//! it alone.

mod checked;
mod filter;
mod halves;
mod narrow;
mod projection;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

pub use filter::Filter;
use narrow::Narrowed;
pub use projection::Projection;

/// An expression that cannot be evaluated on its input's schema, whatever the rows.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// DataFusion refused it.
    #[error("{expression}: {source}")]
    DataFusion {
        /// The expression.
        expression: String,
        /// The cause.
        source: DataFusionError,
    },
    /// It gives another type than the plan says.
    #[error("{expression} is {found}, the plan says {expected}")]
    Type {
        /// The expression.
        expression: String,
        /// Its type.
        found: DataType,
        /// What the plan says.
        expected: DataType,
    },
    /// A projection has another number of expressions than columns.
    #[error("a projection of {expressions} expressions cannot make {columns} columns")]
    Width {
        /// How many expressions.
        expressions: usize,
        /// How many columns.
        columns: usize,
    },
}

/// A row on which an expression failed.
#[derive(Clone, Debug)]
pub struct RejectedRow {
    /// The input row, with its hidden columns.
    pub row: RecordBatch,
    /// The expression.
    pub expression: String,
    /// Why it failed.
    pub reason: String,
}

/// The result of a stateless operator.
#[derive(Debug)]
pub struct Evaluated {
    /// The rows that go on.
    pub rows: RecordBatch,
    /// The rows on which an expression failed.
    pub rejected: Vec<RejectedRow>,
}

/// Which expression failed, and why.
struct Failure {
    expression: String,
    reason: String,
}

/// An expression with checked arithmetic over the columns that it needs.
#[derive(Debug)]
struct Expression {
    /// As the plan has it: for people.
    text: String,
    narrowed: Narrowed,
    data_type: DataType,
    /// A decimal that was computed may have more digits than its type: Arrow checks its 128 bits only.
    checks_digits: bool,
}

impl Expression {
    fn new(expr: &Arc<dyn PhysicalExpr>, input: &Schema) -> Result<Self, ExpressionError> {
        let text = expr.to_string();
        let failed = |source| ExpressionError::DataFusion {
            expression: text.clone(),
            source,
        };
        let data_type = expr.data_type(input).map_err(failed)?;
        let checked = checked::checked(expr, input).map_err(failed)?;
        let narrowed = Narrowed::new(&checked, input).map_err(failed)?;
        let checks_digits = matches!(data_type, DataType::Decimal128(..)) && !expr.is::<Column>();
        Ok(Self {
            text,
            narrowed,
            data_type,
            checks_digits,
        })
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue, Failure> {
        self.try_evaluate(rows).map_err(|error| Failure {
            expression: self.text.clone(),
            reason: reason(&error),
        })
    }

    fn try_evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue, DataFusionError> {
        let value = self.narrowed.evaluate(rows)?;
        if let (true, DataType::Decimal128(digits, _)) = (self.checks_digits, &self.data_type) {
            let array = value.to_array(rows.num_rows())?;
            array
                .as_primitive::<Decimal128Type>()
                .validate_decimal_precision(*digits)?;
            return Ok(ColumnarValue::Array(array));
        }
        Ok(value)
    }

    fn evaluate_array(&self, rows: &RecordBatch) -> Result<ArrayRef, Failure> {
        self.evaluate(rows)?
            .into_array(rows.num_rows())
            .map_err(|error| Failure {
                expression: self.text.clone(),
                reason: reason(&error),
            })
    }
}

/// The part of an error that says something about the row.
fn reason(error: &DataFusionError) -> String {
    let message = error.strip_backtrace();
    let end = message
        .find("This issue was likely caused by a bug")
        .unwrap_or(message.len());
    message[..end].trim_end().to_owned()
}

fn rejected(rows: &RecordBatch, row: usize, failure: Failure) -> RejectedRow {
    RejectedRow {
        row: rows.slice(row, 1),
        expression: failure.expression,
        reason: failure.reason,
    }
}
