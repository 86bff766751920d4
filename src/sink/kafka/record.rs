//! Rows as records.

use crate::sink::{
    SinkContext,
    cell::{Cell, Cells},
    json,
};

/// Bytes that a record's framing may take: batch header (61), lengths and deltas.
const OVERHEAD: usize = 128;

/// A row as a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Absent if the relation has no key, or its only key column is NULL.
    pub(super) key: Option<String>,
    pub(super) value: String,
}

impl Record {
    /// The record of a row.
    pub(super) fn of(context: &SinkContext, cells: &Cells<'_>, row: usize) -> Self {
        let mut value = String::new();
        json::write_row(&mut value, cells, row);
        Self {
            key: key(&context.key, cells, row),
            value,
        }
    }

    /// Its size, framing included, at most.
    pub(super) fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, String::len) + self.value.len() + OVERHEAD
    }
}

fn key(columns: &[usize], cells: &Cells<'_>, row: usize) -> Option<String> {
    match columns {
        [] => None,
        [column] => match cells.cell(*column, row) {
            Cell::Null => None,
            value => Some(value.to_string()),
        },
        columns => {
            let mut array = String::from("[");
            for (position, column) in columns.iter().enumerate() {
                if position > 0 {
                    array.push(',');
                }
                json::write_cell(&mut array, cells.cell(*column, row));
            }
            array.push(']');
            Some(array)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::key;
    use crate::sink::{cell::Cells, testing::every_type};

    #[test]
    fn the_key_is_plain_text_or_an_array() {
        let batch = every_type();
        let cells = Cells::of(&batch).unwrap();
        assert_eq!(key(&[], &cells, 0), None);
        assert_eq!(key(&[0], &cells, 0).as_deref(), Some("u\"1"));
        assert_eq!(key(&[0, 2], &cells, 0).as_deref(), Some(r#"["u\"1",-7]"#));
        assert_eq!(key(&[2], &cells, 1), None);
        assert_eq!(key(&[0, 2], &cells, 1).as_deref(), Some(r#"["u2",null]"#));
    }
}
