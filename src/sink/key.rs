//! A row's key as text.
//!
//! A key with one column is that column's text as it is. With several, two different keys must not give one text: in each
//! value the character that the following separator begins with, and `%`, are written as `%` and two hexadecimal digits per
//! byte.

use std::fmt::Write;

use arrow::datatypes::Schema;

use super::cell::{Cell, Cells};

/// How a key becomes text: literal parts and columns.
#[derive(Clone, Debug)]
pub struct KeyTemplate {
    parts: Vec<Part>,
    /// Characters that are escaped in values; empty for keys with one column.
    escaped: Vec<char>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column(usize),
}

/// The key of a row has no text, because this column is NULL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key column {0} is null")]
pub struct NullKey(pub String);

impl KeyTemplate {
    /// Reads a template such as `profile:{user_id}`; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// A message for the user, if a brace is left open, a name is no key column, a key column is missing, or two columns have
    /// nothing between them.
    pub fn parse(template: &str, schema: &Schema, key: &[usize]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = template.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '{' | '}' if rest.peek() == Some(&character) => {
                    rest.next();
                    literal.push(character);
                }
                '{' => {
                    let name: String = rest.by_ref().take_while(|next| *next != '}').collect();
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Column(key_column(template, &name, schema, key)?));
                }
                '}' => return Err(format!("key template {template:?} has a `}}` too many")),
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self::checked(template, parts, schema, key)
    }

    /// The key columns with `|` between them.
    #[must_use]
    pub fn joined(key: &[usize]) -> Self {
        let mut parts = Vec::new();
        for column in key {
            if !parts.is_empty() {
                parts.push(Part::Literal("|".to_owned()));
            }
            parts.push(Part::Column(*column));
        }
        let escaped = escaped_characters(&parts);
        Self { parts, escaped }
    }

    fn checked(
        template: &str,
        parts: Vec<Part>,
        schema: &Schema,
        key: &[usize],
    ) -> Result<Self, String> {
        for column in key {
            if !parts.contains(&Part::Column(*column)) {
                let name = schema.field(*column).name();
                return Err(format!(
                    "key template {template:?} lacks the key column {name}: add {{{name}}}"
                ));
            }
        }
        let adjacent = |pair: &[Part]| matches!(pair, [Part::Column(_), Part::Column(_)]);
        if parts.windows(2).any(adjacent) {
            return Err(format!(
                "key template {template:?} needs a separator between its columns"
            ));
        }
        let escaped = escaped_characters(&parts);
        Ok(Self { parts, escaped })
    }

    /// The text of a row's key.
    ///
    /// # Errors
    /// If a key column is NULL.
    pub fn render(&self, cells: &Cells<'_>, row: usize) -> Result<String, NullKey> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Column(column) => match cells.cell(*column, row) {
                    Cell::Null => return Err(NullKey(cells.names()[*column].to_owned())),
                    value => self.push_value(&mut text, &value),
                },
            }
        }
        Ok(text)
    }

    /// The text of a key whose columns are texts already; `None` if one is missing.
    pub fn render_texts<'v>(&self, value: impl Fn(usize) -> Option<&'v str>) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Column(column) => self.push_value(&mut text, &value(*column)?),
            }
        }
        Some(text)
    }

    /// What every key begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal,
            _ => "",
        }
    }

    fn push_value(&self, text: &mut String, value: &dyn std::fmt::Display) {
        if self.escaped.is_empty() {
            // Writing into a string cannot fail.
            let _ = write!(text, "{value}");
            return;
        }
        for character in value.to_string().chars() {
            if self.escaped.contains(&character) {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(character);
            }
        }
    }
}

fn key_column(template: &str, name: &str, schema: &Schema, key: &[usize]) -> Result<usize, String> {
    let names = || {
        let names: Vec<_> = key
            .iter()
            .map(|at| schema.field(*at).name().as_str())
            .collect();
        names.join(", ")
    };
    key.iter()
        .copied()
        .find(|at| schema.field(*at).name() == name)
        .ok_or_else(|| {
            format!(
                "key template {template:?} names {name:?}; the key columns are: {}",
                names()
            )
        })
}

fn escaped_characters(parts: &[Part]) -> Vec<char> {
    let is_column = |part: &Part| matches!(part, Part::Column(_));
    let separators = parts.windows(3).filter_map(|window| match window {
        [before, Part::Literal(literal), after] if is_column(before) && is_column(after) => {
            literal.chars().next()
        }
        _ => None,
    });
    let mut escaped: Vec<char> = separators.collect();
    if !escaped.is_empty() {
        escaped.push('%');
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, StringViewArray},
        record_batch::RecordBatch,
    };
    use proptest::prelude::*;

    use super::{Cells, KeyTemplate, NullKey};

    fn pairs(rows: &[(Option<&str>, &str)]) -> RecordBatch {
        let a: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringViewArray>());
        let b: ArrayRef = Arc::new(
            rows.iter()
                .map(|row| Some(row.1))
                .collect::<StringViewArray>(),
        );
        RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true)]).unwrap()
    }

    fn check(template: &str, key: &[usize], row: (Option<&str>, &str), expected: &str) {
        let batch = pairs(&[row]);
        let template = KeyTemplate::parse(template, batch.schema_ref(), key).unwrap();
        let text = template.render(&Cells::of(&batch).unwrap(), 0);
        assert_eq!(text.as_deref(), Ok(expected));
    }

    #[test]
    fn a_template_puts_key_columns_into_their_places() {
        check("profile:{a}", &[0], (Some("u1"), ""), "profile:u1");
        check("profile:{a}", &[0], (Some("x:{y}%"), ""), "profile:x:{y}%");
        check("{{{a}}}", &[0], (Some("u1"), ""), "{u1}");
        check("p:{a}:{b}", &[0, 1], (Some("1:2"), "3"), "p:1%3A2:3");
    }

    #[test]
    fn a_key_of_texts_is_that_of_the_row() {
        let batch = pairs(&[(Some("1:2"), "3")]);
        let template = KeyTemplate::parse("p:{a}:{b}", batch.schema_ref(), &[0, 1]).unwrap();
        let values = [Some("1:2"), Some("3")];
        let text = template.render_texts(|column| values[column]);
        assert_eq!(text, template.render(&Cells::of(&batch).unwrap(), 0).ok());
        assert_eq!(template.render_texts(|_| None), None);
        assert_eq!(template.prefix(), "p:");
    }

    #[test]
    fn a_template_that_cannot_tell_keys_apart_is_refused() {
        let batch = pairs(&[]);
        for (template, key) in [
            ("p:{a}", &[0, 1][..]),
            ("{a}{b}", &[0, 1]),
            ("p:{b}", &[0]),
            ("p:{c}", &[0]),
            ("p:{a}}", &[0]),
            ("p", &[0]),
        ] {
            assert!(
                KeyTemplate::parse(template, batch.schema_ref(), key).is_err(),
                "{template}"
            );
        }
    }

    #[test]
    fn a_null_in_the_key_is_named() {
        let batch = pairs(&[(None, "x")]);
        let text = KeyTemplate::joined(&[0, 1]).render(&Cells::of(&batch).unwrap(), 0);
        assert_eq!(text, Err(NullKey("a".to_owned())));
    }

    proptest! {
        #[test]
        fn different_keys_have_different_texts(a in "[|%7Cé]{0,4}", b in "[|%7Cé]{0,4}", c in "[|%7Cé]{0,4}", d in "[|%7Cé]{0,4}") {
            let batch = pairs(&[(Some(&a), &b), (Some(&c), &d)]);
            let cells = Cells::of(&batch).unwrap();
            let template = KeyTemplate::joined(&[0, 1]);
            let equal = template.render(&cells, 0) == template.render(&cells, 1);
            prop_assert_eq!(equal, (a, b) == (c, d));
        }
    }
}
