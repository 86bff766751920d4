//! Expressions over only the columns that they need.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;

/// An expression and the columns that it reads. DataFusion filters *all* columns of a batch for the right
/// side of an `AND`, so handing it only what it reads is what makes a filter over wide rows cheap.
#[derive(Debug)]
pub(super) struct Narrowed {
    expr: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Narrowed {
    pub(super) fn new(
        expr: &Arc<dyn PhysicalExpr>,
        input: &Schema,
    ) -> Result<Self, DataFusionError> {
        let used: BTreeSet<_> = collect_columns(expr).iter().map(Column::index).collect();
        let columns: Vec<_> = used.into_iter().collect();
        let schema = Arc::new(input.project(&columns)?);
        // By position: after a join, names need not be unique.
        let renumbered = expr.clone().transform_up(|node| {
            let Some(column) = node.downcast_ref::<Column>() else {
                return Ok(Transformed::no(node));
            };
            let position = columns.partition_point(|&used| used < column.index());
            Ok(Transformed::yes(
                Arc::new(Column::new(column.name(), position)) as _,
            ))
        })?;
        Ok(Self {
            expr: renumbered.data,
            columns,
            schema,
        })
    }

    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue, DataFusionError> {
        if let (Some(_), [column]) = (self.expr.downcast_ref::<Column>(), self.columns.as_slice()) {
            return Ok(ColumnarValue::Array(rows.column(*column).clone()));
        }
        let columns = self
            .columns
            .iter()
            .map(|&column| rows.column(column).clone())
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let narrow = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        self.expr.evaluate(&narrow)
    }
}
