//! Batches of changes: visible columns, then `_diff`.

#[cfg(test)]
pub(crate) mod fleet;
pub(crate) mod optional;
pub(crate) mod touched;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::batch::DIFF;

/// The schema of a table's changes: its visible columns, then `_diff`.
#[must_use]
pub fn change_schema(visible: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = visible.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DIFF, DataType::Int8, false)));
    Arc::new(Schema::new(fields))
}

/// The `_diff` column of a batch of changes that has `visible` columns before it.
///
/// # Errors
/// If the batch is no batch of changes.
pub fn diffs(rows: &RecordBatch, visible: usize) -> Result<&Int8Array, ArrowError> {
    let schema = rows.schema_ref();
    if schema
        .fields()
        .get(visible)
        .is_none_or(|field| field.name() != DIFF)
    {
        return Err(ArrowError::SchemaError(format!(
            "column {visible} should be {DIFF}"
        )));
    }
    let column = rows.column(visible);
    column.as_primitive_opt::<Int8Type>().ok_or_else(|| {
        ArrowError::SchemaError(format!(
            "{DIFF} should be Int8, it is {}",
            column.data_type()
        ))
    })
}

/// A batch of changes: `losses` rows that are lost, and behind them rows that are gained.
///
/// # Errors
/// If the columns don't fit the schema, which is one made by [`change_schema`].
pub fn change_batch(
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    losses: usize,
    gains: usize,
) -> Result<RecordBatch, ArrowError> {
    let diffs = std::iter::repeat_n(-1, losses).chain(std::iter::repeat_n(1, gains));
    columns.push(Arc::new(diffs.collect::<Int8Array>()));
    RecordBatch::try_new(schema.clone(), columns)
}

/// The rows in which some key column is null: these match nothing.
pub(crate) fn null_rows(rows: &RecordBatch, key: &[usize]) -> Option<NullBuffer> {
    key.iter().fold(None, |nulls: Option<NullBuffer>, &column| {
        NullBuffer::union(nulls.as_ref(), rows.column(column).nulls())
    })
}

/// Rows that one call of a stateful operator emits at most, about.
pub(crate) const FIRED_ROWS: usize = 8_192;
