//! The decoder: records in, columns out.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use serde::de::{DeserializeSeed, Deserializer};

use super::{
    DecodeError,
    column::Column,
    visitor::{Fields, Nested, ObjectVisitor, ValueSeed},
};

/// Decodes JSON objects into columns.
///
/// A field that is missing or null becomes null, of a repeated field the first one counts, fields that the schema does
/// not have are skipped, and an object or array for a string column is kept as its JSON text.
///
/// ```
/// use std::sync::Arc;
/// use arrow::{array::AsArray, datatypes::{DataType, Field, Int64Type, Schema}};
/// use tidewright::decode::Decoder;
///
/// let schema = Arc::new(Schema::new(vec![Field::new("quantity", DataType::Int64, true)]));
/// let mut decoder = Decoder::new(&schema, 1024)?;
/// decoder.push(br#"{"user_id":"u1","quantity":3}"#)?;
/// assert!(decoder.push(br#"{"quantity":"three"}"#).is_err());
/// assert_eq!(decoder.finish()[0].as_primitive::<Int64Type>().values(), &[3]);
/// # Ok::<(), tidewright::decode::DecodeError>(())
/// ```
pub struct Decoder {
    columns: Vec<Column>,
    /// The columns that may not be null.
    required: Vec<usize>,
    fields: Fields,
    /// Per column the number of the last record that had it.
    seen: Vec<u64>,
    record: u64,
    rows: usize,
    /// The column whose value is being decoded, for messages.
    current: Option<usize>,
}

impl Decoder {
    /// A decoder for the fields of `schema`, with room for `capacity` rows.
    ///
    /// # Errors
    /// If a field's type cannot be decoded from JSON.
    pub fn new(schema: &SchemaRef, capacity: usize) -> Result<Self, DecodeError> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column::new(field, capacity))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            fields: Fields::new(&columns),
            required: (0..columns.len())
                .filter(|index| !columns[*index].nullable)
                .collect(),
            seen: vec![0; columns.len()],
            columns,
            record: 0,
            rows: 0,
            current: None,
        })
    }

    /// Rows decoded since the last [`finish`](Self::finish).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends one JSON object as a row. A refused record leaves no trace.
    ///
    /// # Errors
    /// If it is not one valid JSON object, a value does not have its column's type, or a required one is null.
    pub fn push(&mut self, json: &[u8]) -> Result<(), DecodeError> {
        self.push_object(json)?;
        match self.missing(|_| true) {
            None => Ok(()),
            Some(column) => Err(self.refuse_null(column)),
        }
    }

    /// Appends one JSON object of which only `columns` count; the others become null.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_only(&mut self, json: &[u8], columns: &[usize]) -> Result<(), DecodeError> {
        self.push_object(json)?;
        match self.missing(|column| columns.contains(&column)) {
            None => {
                self.clear_others(columns);
                Ok(())
            }
            Some(column) => Err(self.refuse_null(column)),
        }
    }

    /// Appends a row whose only value comes from one JSON value, or from bare text for a string column.
    ///
    /// # Errors
    /// If the value does not have the column's type.
    pub fn push_value(&mut self, text: &[u8], column: usize) -> Result<(), DecodeError> {
        let text = checked(text)?;
        let target = &mut self.columns[column];
        let decoded = {
            let mut parser = sonic_rs::Deserializer::from_str(text);
            ValueSeed(target)
                .deserialize(&mut parser)
                .and_then(|()| parser.end())
        };
        if let Err(error) = decoded {
            target.truncate(self.rows);
            let bare = target.is_text() && target.push_str(text).is_ok();
            if !bare {
                self.current = Some(column);
                return Err(self.describe(&error));
            }
        }
        if self.columns[column].last_is_null() {
            return Err(self.refuse_null(column));
        }
        for (index, other) in self.columns.iter_mut().enumerate() {
            if index != column {
                other.push_null();
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Makes every column but these null in the last row.
    pub fn clear_others(&mut self, columns: &[usize]) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if !columns.contains(&index) && !column.last_is_null() {
                column.truncate(self.rows - 1);
                column.push_null();
            }
        }
    }

    /// Takes the last row back.
    pub fn pop(&mut self) {
        self.rows = self.rows.saturating_sub(1);
        self.roll_back();
    }

    /// The name of a column.
    #[must_use]
    pub fn name(&self, column: usize) -> &str {
        &self.columns[column].name
    }

    /// Whether the last row's value is null.
    #[must_use]
    pub fn last_is_null(&self, column: usize) -> bool {
        self.columns[column].last_is_null()
    }

    /// The last row's value of a timestamp (in milliseconds) or bigint column; `None` if null.
    #[must_use]
    pub fn last_i64(&self, column: usize) -> Option<i64> {
        self.columns[column].last_i64()
    }

    /// Shows the last row's value of a text column; `None` if null.
    #[inline]
    pub fn with_last_text<R>(&self, column: usize, show: impl FnOnce(&str) -> R) -> Option<R> {
        self.columns[column].with_last_text(show)
    }

    /// The last row's value of a boolean column; `None` if null.
    #[must_use]
    pub fn last_bool(&self, column: usize) -> Option<bool> {
        self.columns[column].last_bool()
    }

    /// The decoded columns; the decoder is empty again.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.columns.iter_mut().map(Column::finish).collect()
    }

    fn push_object(&mut self, json: &[u8]) -> Result<(), DecodeError> {
        let text = checked(json)?;
        while let Err(error) = self.parse(text) {
            self.roll_back();
            // A string column that met an object starts over and keeps it as text; that happens once a column.
            let column = self.current.map(|index| &mut self.columns[index]);
            match column {
                Some(column) if error.is_nested() && !column.raw => column.raw = true,
                _ => return Err(self.describe(&error)),
            }
        }
        for (column, seen) in self.columns.iter_mut().zip(&self.seen) {
            if *seen != self.record {
                column.push_null();
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn parse(&mut self, text: &str) -> Result<(), sonic_rs::Error> {
        self.record += 1;
        self.current = None;
        let mut parser = sonic_rs::Deserializer::from_str(text);
        parser.deserialize_map(ObjectVisitor {
            columns: &mut self.columns,
            fields: &mut self.fields,
            seen: &mut self.seen,
            record: self.record,
            current: &mut self.current,
        })?;
        parser.end()
    }

    fn roll_back(&mut self) {
        for column in &mut self.columns {
            if column.len() > self.rows {
                column.truncate(self.rows);
            }
        }
    }

    /// The first required column that is null in the last row, of those that count.
    #[inline]
    fn missing(&self, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let mut counting = self.required.iter().copied().filter(|index| counts(*index));
        counting.find(|index| self.columns[*index].last_is_null())
    }

    #[cold]
    fn refuse_null(&mut self, column: usize) -> DecodeError {
        let error = DecodeError::new(&format!(
            "field `{}`: is missing or null, expected {}",
            self.columns[column].name,
            self.columns[column].expected()
        ));
        self.rows = self.columns[column].len() - 1;
        self.roll_back();
        error
    }

    #[cold]
    fn describe(&self, error: &sonic_rs::Error) -> DecodeError {
        let message = error.to_string();
        // sonic-rs draws the place on further lines.
        let message = message.lines().next().unwrap_or_default();
        DecodeError::new(&match self.current {
            Some(column) => format!("field `{}`: {message}", self.columns[column].name),
            None => message.to_owned(),
        })
    }
}

/// Objects and arrays inside each other at most. The parser skips values by recursion, so that a record of brackets
/// alone could otherwise overflow the stack.
const DEPTH_MAX: usize = 128;

/// The record as text that the parser may be given.
///
/// # Errors
/// If it is not UTF-8 or nested more deeply than [`DEPTH_MAX`].
#[inline]
fn checked(json: &[u8]) -> Result<&str, DecodeError> {
    let (mut all, mut opening) = (0, 0);
    // By pieces in which a byte can count, so that the compiler looks at many bytes at once.
    for piece in json.chunks(usize::from(u8::MAX)) {
        let mut opens = 0u8;
        for byte in piece {
            all |= byte;
            // Brackets and braces differ in one bit.
            opens += u8::from(byte | 0x20 == b'{');
        }
        opening += usize::from(opens);
    }
    // Only where there are many is it worth a look where they are.
    if opening > DEPTH_MAX && depth(json) > DEPTH_MAX {
        return Err(DecodeError::new(&format!(
            "nested more than {DEPTH_MAX} levels deep"
        )));
    }
    if all.is_ascii() {
        // SAFETY: no byte has the top bit set, so they are ASCII, which is UTF-8.
        return Ok(unsafe { str::from_utf8_unchecked(json) });
    }
    str::from_utf8(json).map_err(|error| DecodeError::new(&format!("not UTF-8: {error}")))
}

/// The greatest number of objects and arrays inside each other. An end that closes nothing does not count, so text that is
/// not JSON gets at least the depth that a parser could descend to.
#[cold]
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
