//! The rows that are encoded: the workload's events as they stand in front of an exchange, as a batch and as structs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int64Array, StringViewArray, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Int64Type, Schema, TimeUnit, TimestampMillisecondType,
    UInt32Type,
};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use tidewright_benches::Result;
use tidewright_benches::workload::events::Events;

/// Splits whose rows one reader joins into a batch.
const SPLITS: usize = 4;

/// A row as a struct. Money is in cents: as narrow as a program by hand would keep it.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    abomonation_derive::Abomonation,
    columnar::Columnar,
)]
pub struct Row {
    pub user_id: String,
    pub kind: String,
    pub category: String,
    pub ts: i64,
    pub price_cents: i64,
    pub quantity: i64,
    pub watermark: i64,
    pub split: u32,
    pub offset: i64,
}

#[derive(Deserialize)]
struct Json {
    user_id: String,
    r#type: String,
    category: String,
    ts: i64,
    quantity: i64,
}

/// So many rows, one split's behind the other's.
pub fn batch(rows: usize) -> Result<RecordBatch> {
    to_batch(&structs(rows)?)
}

fn structs(rows: usize) -> Result<Vec<Row>> {
    let mut structs = Vec::with_capacity(rows);
    let mut json = Vec::new();
    let mut watermark = i64::MIN;
    let mut events = Events::new(1);
    for row in 0..rows {
        let event = events.next_event();
        event.write_json(&mut json)?;
        let read: Json = serde_json::from_slice(&json)?;
        structs.push(Row {
            user_id: read.user_id,
            kind: read.r#type,
            category: read.category,
            ts: read.ts,
            price_cents: event.price_cents.into(),
            quantity: read.quantity,
            watermark,
            split: (row * SPLITS / rows) as u32,
            offset: 1_000_000 + row as i64,
        });
        watermark = watermark.max(event.ts - 5_000);
    }
    Ok(structs)
}

/// Structs as a batch.
pub fn to_batch(rows: &[Row]) -> Result<RecordBatch> {
    let text = |value: fn(&Row) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(value)))
    };
    let number = |value: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
    };
    let times = rows.iter().map(|row| row.ts);
    let prices = rows.iter().map(|row| i128::from(row.price_cents));
    let prices = Decimal128Array::from_iter_values(prices).with_precision_and_scale(12, 2)?;
    let splits = rows.iter().map(|row| row.split);
    let columns: Vec<ArrayRef> = vec![
        text(|row| &row.user_id),
        text(|row| &row.kind),
        text(|row| &row.category),
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
        Arc::new(prices),
        number(|row| row.quantity),
        number(|row| row.watermark),
        Arc::new(UInt32Array::from_iter_values(splits)),
        number(|row| row.offset),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema()), columns)?)
}

/// A batch as structs.
pub fn to_structs(batch: &RecordBatch) -> Vec<Row> {
    let text = |column: usize| batch.column(column).as_string_view();
    let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
    let times = batch.column(3).as_primitive::<TimestampMillisecondType>();
    let prices = batch.column(4).as_primitive::<Decimal128Type>();
    let splits = batch.column(7).as_primitive::<UInt32Type>();
    let row = |row: usize| Row {
        user_id: text(0).value(row).to_owned(),
        kind: text(1).value(row).to_owned(),
        category: text(2).value(row).to_owned(),
        ts: times.value(row),
        price_cents: prices.value(row) as i64,
        quantity: number(5)[row],
        watermark: number(6)[row],
        split: splits.value(row),
        offset: number(8)[row],
    };
    (0..batch.num_rows()).map(row).collect()
}

/// How many columns stand in front of the hidden ones.
pub const VISIBLE: usize = 6;

fn schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Schema::new(vec![
        Field::new("user_id", DataType::Utf8View, true),
        Field::new("type", DataType::Utf8View, true),
        Field::new("category", DataType::Utf8View, true),
        Field::new("ts", time, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("quantity", DataType::Int64, true),
        Field::new("_wm", DataType::Int64, false),
        Field::new("_split", DataType::UInt32, false),
        Field::new("_offset", DataType::Int64, false),
    ])
}
