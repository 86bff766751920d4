//! Rows as items.
//!
//! Numbers and decimals are `N` (exact), booleans `BOOL`, text, timestamps and days `S` (ISO 8601). Doubles that are not finite
//! are absent, like NULL. In keys, which can be only `S` or `N` here, booleans are `S`.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::DataType;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType};

use super::Item;
use crate::sink::{
    KeyedBatch, SinkContext,
    cell::{Cell, Cells},
    iso8601::Timestamp,
    verdict::{TOMBSTONE_TTL_MS, field},
};

/// The item of a row, or of its tombstone.
///
/// # Errors
/// Why DynamoDB could not hold it: a key attribute is null, empty or not finite.
pub(super) fn of_row(
    context: &SinkContext,
    batch: &KeyedBatch,
    cells: &Cells<'_>,
    row: usize,
    ttl_ms: Option<i64>,
) -> Result<Item, String> {
    let mut item = Item::new();
    for column in &context.key {
        let name = cells.names()[*column];
        item.insert(
            name.to_owned(),
            key_attribute(name, cells.cell(*column, row))?,
        );
    }
    let mut insert = |name: &str, value| item.insert(name.to_owned(), value);
    insert(
        field::VERSION,
        AttributeValue::S(batch.versions[row].to_string()),
    );
    insert(field::JOB, AttributeValue::S(context.job.to_string()));
    insert(
        field::AS_OF,
        AttributeValue::S(Timestamp(batch.as_of_ms).to_string()),
    );
    let deleted = batch.deleted.value(row);
    if let Some(ttl_ms) = if deleted {
        Some(TOMBSTONE_TTL_MS)
    } else {
        ttl_ms
    } {
        insert(
            field::EXPIRES,
            AttributeValue::N(expires_s(ttl_ms).to_string()),
        );
    }
    if deleted {
        insert(field::DELETED, AttributeValue::Bool(true));
        return Ok(item);
    }
    for (column, (name, value)) in cells.row(row).enumerate() {
        if !context.key.contains(&column)
            && let Some(value) = attribute(value)
        {
            item.insert(name.to_owned(), value);
        }
    }
    Ok(item)
}

/// A row's key for messages.
pub(super) fn key_text(context: &SinkContext, cells: &Cells<'_>, row: usize) -> String {
    let values: Vec<_> = context
        .key
        .iter()
        .map(|column| cells.cell(*column, row).to_string())
        .collect();
    values.join("|")
}

/// The type of a key attribute for a column of this type.
pub(super) fn key_type(data_type: &DataType) -> ScalarAttributeType {
    match data_type {
        DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Decimal128(_, _) => {
            ScalarAttributeType::N
        }
        _ => ScalarAttributeType::S,
    }
}

fn key_attribute(name: &str, value: Cell<'_>) -> Result<AttributeValue, String> {
    match value {
        Cell::Null => Err(format!("key column {name} is null")),
        Cell::Text("") => Err(format!("key column {name} is empty")),
        Cell::Boolean(value) => Ok(AttributeValue::S(value.to_string())),
        value => {
            attribute(value).ok_or_else(|| format!("key column {name} is not a finite number"))
        }
    }
}

fn attribute(value: Cell<'_>) -> Option<AttributeValue> {
    match value {
        Cell::Null => None,
        Cell::Float(number) if !number.is_finite() => None,
        Cell::Boolean(value) => Some(AttributeValue::Bool(value)),
        Cell::Integer(_) | Cell::Float(_) | Cell::Decimal { .. } => {
            Some(AttributeValue::N(value.to_string()))
        }
        Cell::Text(_) | Cell::Timestamp(_) | Cell::Day(_) => {
            Some(AttributeValue::S(value.to_string()))
        }
    }
}

fn expires_s(ttl_ms: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_secs()
        .saturating_add(ttl_ms.unsigned_abs().div_ceil(1000))
}
