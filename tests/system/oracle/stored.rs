//! Rows of a keyed store, in the form in which they are compared.

use std::collections::BTreeMap;

use super::cells::{Cell, Column, Rows};

/// The rows that are not deleted. A column that a row has no field for is null.
pub fn rows<'r>(
    fields: impl Iterator<Item = &'r BTreeMap<String, String>>,
    columns: &[Column],
) -> Rows {
    let alive = fields.filter(|fields| !fields.contains_key("_deleted"));
    let cell = |fields: &BTreeMap<String, String>, column: &Column| match fields.get(&column.name) {
        None => Cell::Null,
        Some(text) if column.is_double => Cell::Double(text.parse().unwrap()),
        Some(text) => Cell::Text(text.clone()),
    };
    let rows = alive.map(|fields| columns.iter().map(|c| cell(fields, c)).collect());
    Rows {
        columns: columns.to_vec(),
        rows: rows.collect(),
    }
}
