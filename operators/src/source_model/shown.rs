//! Rows as text, to be compared.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int8Type, Int64Type, TimestampMillisecondType,
};
use arrow::record_batch::RecordBatch;

use super::{Emitted, EpochRows, Row, batch};

/// A row's values as text: decimals unscaled, doubles exact.
pub(crate) fn cells(batch: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &ArrayRef| {
        if column.is_null(row) {
            return "null".to_owned();
        }
        match column.data_type() {
            DataType::Utf8View => column.as_string_view().value(row).to_owned(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
            DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
            DataType::Timestamp(..) => column
                .as_primitive::<TimestampMillisecondType>()
                .value(row)
                .to_string(),
            _ => column
                .as_primitive::<Decimal128Type>()
                .value(row)
                .to_string(),
        }
    };
    batch.columns().iter().map(cell).collect()
}

pub(crate) fn all_cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let rows = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| cells(batch, row)));
    rows.collect()
}

/// The late rows of all epochs, and those that a predicate over (event time, watermark) calls late, both in order.
pub(crate) fn late_rows(
    epochs: &[EpochRows],
    emitted: &[Emitted],
    late: impl Fn(i64, i64) -> bool,
) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let mut found: Vec<_> = emitted
        .iter()
        .flat_map(|epoch| &epoch.late)
        .cloned()
        .collect();
    found.retain(|batch| batch.num_rows() > 0);
    let rows = epochs
        .iter()
        .flat_map(|epoch| epoch.batches.iter().flatten());
    let expected: Vec<Row> = rows
        .filter(|row| late(row.time, row.watermark))
        .cloned()
        .collect();
    let expected = batch(&expected);
    let found = concat_batches(expected.schema_ref(), &found).unwrap();
    let position = expected.num_columns() - 2;
    // `_split` is an UInt32, which `cells` doesn't know.
    let places = |batch: &RecordBatch| {
        let splits = batch
            .column(position)
            .as_primitive::<arrow::datatypes::UInt32Type>()
            .clone();
        let offsets = batch
            .column(position + 1)
            .as_primitive::<Int64Type>()
            .clone();
        let mut places: Vec<_> = (0..batch.num_rows())
            .map(|row| (splits.value(row), offsets.value(row), row))
            .collect();
        places.sort_unstable();
        let visible = batch.project(&(0..position).collect::<Vec<_>>()).unwrap();
        let visible = visible.project(&[0, 1, 2, 3, 4, 5, 7]).unwrap();
        let show = |(split, offset, row): (u32, i64, usize)| {
            let mut cells = cells(&visible, row);
            cells.extend([split.to_string(), offset.to_string()]);
            cells
        };
        places.into_iter().map(show).collect()
    };
    (places(&found), places(&expected))
}
