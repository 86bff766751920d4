//! Projections.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_physical_expr::PhysicalExpr;

use super::halves::{Piece, by_halves};
use super::{Evaluated, Expression, ExpressionError, Failure, rejected};

/// Computes columns.
#[derive(Debug)]
pub struct Projection {
    expressions: Vec<Expression>,
    visible_before: usize,
    schema: SchemaRef,
    /// The last batch's schema, and that of its result: hidden columns rarely change.
    known: Option<(SchemaRef, SchemaRef)>,
}

impl Projection {
    /// A projection from batches whose visible columns are `input` to batches whose visible columns are
    /// `output`.
    ///
    /// # Errors
    /// If an expression does not fit the columns or gives another type than `output` says.
    pub fn new(
        exprs: &[Arc<dyn PhysicalExpr>],
        input: &Schema,
        output: SchemaRef,
    ) -> Result<Self, ExpressionError> {
        if exprs.len() != output.fields().len() {
            let (expressions, columns) = (exprs.len(), output.fields().len());
            return Err(ExpressionError::Width {
                expressions,
                columns,
            });
        }
        let planned = exprs.iter().zip(output.fields());
        let expressions = planned.map(|(expr, field)| {
            let expression = Expression::new(expr, input)?;
            if expression.data_type == *field.data_type() {
                return Ok(expression);
            }
            let Expression {
                text: expression,
                data_type: found,
                ..
            } = expression;
            Err(ExpressionError::Type {
                expression,
                found,
                expected: field.data_type().clone(),
            })
        });
        let expressions = expressions.collect::<Result<_, _>>()?;
        let visible_before = input.fields().len();
        Ok(Self {
            expressions,
            visible_before,
            schema: output,
            known: None,
        })
    }

    /// Projects one batch.
    ///
    /// # Errors
    /// If Arrow cannot put the batch together.
    pub fn apply(&mut self, rows: RecordBatch) -> Result<Evaluated, ArrowError> {
        let schema = self.result_schema(rows.schema_ref());
        let mut good = Vec::new();
        let mut out = Vec::new();
        for piece in by_halves(&rows, &|part| self.project(part, &schema)) {
            match piece {
                Piece::Good(part) => good.push(part),
                Piece::Bad { row, failure } => out.push(rejected(&rows, row, failure)),
            }
        }
        let rows = match good.as_slice() {
            [] => RecordBatch::new_empty(schema),
            [part] => part.clone(),
            parts => concat_batches(&schema, parts)?,
        };
        Ok(Evaluated {
            rows,
            rejected: out,
        })
    }

    fn project(&self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
        let visible = self
            .expressions
            .iter()
            .map(|expression| expression.evaluate_array(rows));
        let hidden = rows.columns()[self.visible_before..]
            .iter()
            .map(|column| Ok(column.clone()));
        let columns = visible.chain(hidden).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
            let texts: Vec<_> = self.expressions.iter().map(|e| e.text.as_str()).collect();
            Failure {
                expression: texts.join(", "),
                reason: error.to_string(),
            }
        })
    }

    fn result_schema(&mut self, input: &SchemaRef) -> SchemaRef {
        match &self.known {
            Some((before, after)) if Arc::ptr_eq(before, input) => after.clone(),
            _ => {
                let visible = self.schema.fields().iter();
                let hidden = input.fields().iter().skip(self.visible_before);
                let fields: Vec<_> = visible.chain(hidden).cloned().collect();
                let schema = Arc::new(Schema::new(fields));
                self.known = Some((input.clone(), schema.clone()));
                schema
            }
        }
    }
}
