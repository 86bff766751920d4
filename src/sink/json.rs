//! Rows as JSON objects, one line each.
//!
//! Decimals are numbers with all their digits, timestamps ISO 8601 text in UTC with milliseconds, days `YYYY-MM-DD`; NULL
//! and doubles that are not finite are `null`. Columns keep their order.

use std::fmt::Write;

use super::cell::{Cell, Cells};

/// Appends a row as a JSON object.
pub fn write_row(out: &mut String, cells: &Cells<'_>, row: usize) {
    let mut object = Object::begin(out);
    object.row(cells, row);
    object.end();
}

/// A JSON object being written.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: Cell<'_>) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        write_text(self.out, name);
        self.out.push(':');
        write_cell(self.out, value);
    }

    /// Adds every column of a row.
    pub fn row(&mut self, cells: &Cells<'_>, row: usize) {
        for (name, value) in cells.row(row) {
            self.field(name, value);
        }
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// Appends a value.
pub fn write_cell(out: &mut String, value: Cell<'_>) {
    match value {
        Cell::Null => out.push_str("null"),
        Cell::Float(number) if !number.is_finite() => out.push_str("null"),
        Cell::Text(text) => write_text(out, text),
        Cell::Timestamp(_) | Cell::Day(_) => push(out, format_args!("\"{value}\"")),
        Cell::Boolean(_) | Cell::Integer(_) | Cell::Float(_) | Cell::Decimal { .. } => {
            push(out, format_args!("{value}"));
        }
    }
}

/// Appends text in quotes, escaped as RFC 8259 demands and no further.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[clean_from..at]);
        clean_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => push(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[clean_from..]);
    out.push('"');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Cells, write_row, write_text};
    use crate::sink::testing::every_type;

    #[test]
    fn a_row_of_every_type_is_the_expected_object() {
        let batch = every_type();
        let cells = Cells::of(&batch).unwrap();
        let rows: Vec<String> = (0..2)
            .map(|row| {
                let mut out = String::new();
                write_row(&mut out, &cells, row);
                out
            })
            .collect();
        assert_eq!(
            rows[0],
            r#"{"user_id":"u\"1","flag":true,"small":-7,"big":9007199254740993,"ratio":0.1,"seen":"2026-01-01T00:00:00.001Z","day":"2024-02-29","price":-12.05}"#
        );
        assert_eq!(
            rows[1],
            r#"{"user_id":"u2","flag":null,"small":null,"big":null,"ratio":null,"seen":null,"day":null,"price":null}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_itself(text in any::<String>()) {
            let mut out = String::new();
            write_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
