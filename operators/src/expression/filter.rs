//! Filters.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{concat, filter_record_batch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

use super::halves::{Piece, by_halves};
use super::{Evaluated, Expression, ExpressionError, Failure, rejected};

/// Keeps the rows for which a predicate is true; null is not.
#[derive(Debug)]
pub struct Filter {
    predicate: Expression,
}

impl Filter {
    /// A filter over batches whose visible columns are `input`.
    ///
    /// # Errors
    /// If the predicate does not fit the columns or is not boolean.
    pub fn new(predicate: &Arc<dyn PhysicalExpr>, input: &Schema) -> Result<Self, ExpressionError> {
        let predicate = Expression::new(predicate, input)?;
        if predicate.data_type == DataType::Boolean {
            return Ok(Self { predicate });
        }
        let Expression {
            text: expression,
            data_type: found,
            ..
        } = predicate;
        Err(ExpressionError::Type {
            expression,
            found,
            expected: DataType::Boolean,
        })
    }

    /// Filters one batch. A batch of which all rows pass is handed through as it is.
    ///
    /// # Errors
    /// If Arrow cannot filter the batch.
    pub fn apply(&self, rows: RecordBatch) -> Result<Evaluated, ArrowError> {
        let mut masks = Vec::new();
        let mut out = Vec::new();
        for piece in by_halves(&rows, &|part| self.mask(part)) {
            match piece {
                Piece::Good(mask) => masks.push(mask),
                Piece::Bad { row, failure } => {
                    masks.push(BooleanArray::from(vec![false]));
                    out.push(rejected(&rows, row, failure));
                }
            }
        }
        Ok(Evaluated {
            rows: keep(rows, &masks)?,
            rejected: out,
        })
    }

    fn mask(&self, rows: &RecordBatch) -> Result<BooleanArray, Failure> {
        Ok(match self.predicate.evaluate(rows)? {
            ColumnarValue::Array(array) => array.as_boolean().clone(),
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => {
                BooleanArray::from(vec![true; rows.num_rows()])
            }
            ColumnarValue::Scalar(_) => BooleanArray::from(vec![false; rows.num_rows()]),
        })
    }
}

fn keep(rows: RecordBatch, masks: &[BooleanArray]) -> Result<RecordBatch, ArrowError> {
    let kept: usize = masks.iter().map(BooleanArray::true_count).sum();
    if kept == rows.num_rows() {
        return Ok(rows);
    }
    if kept == 0 {
        return Ok(rows.slice(0, 0));
    }
    match masks {
        [mask] => filter_record_batch(&rows, mask),
        _ => {
            let masks: Vec<_> = masks.iter().map(|mask| mask as &dyn Array).collect();
            filter_record_batch(&rows, concat(&masks)?.as_boolean())
        }
    }
}
