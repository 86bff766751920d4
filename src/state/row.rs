//! Single rows of a view, by the text of their key.

use crate::dataflow::read::ViewRows;
use crate::sink::cell::Cells;
use crate::sink::json;
use crate::sink::key::KeyTemplate;

use super::StateError;

/// The rows whose key, or its first columns, has this text, as JSON objects. Several columns are joined by `|`.
///
/// # Errors
/// [`StateError`] if the view has no key, or a column has no text.
pub fn find(rows: &ViewRows, key: &str) -> Result<Vec<String>, StateError> {
    if rows.key.is_empty() {
        return Err(StateError("no columns identify its rows".to_owned()));
    }
    let templates: Vec<_> = (1..=rows.key.len())
        .map(|columns| KeyTemplate::joined(&rows.key[..columns]))
        .collect();
    let mut found = Vec::new();
    for batch in &rows.batches {
        let cells = Cells::of(batch).map_err(StateError::of)?;
        for row in 0..batch.num_rows() {
            let is_key = |template: &KeyTemplate| {
                // A key with a null has no text, so nobody can have asked for it.
                template.render(&cells, row).is_ok_and(|text| text == key)
            };
            if templates.iter().any(is_key) {
                let mut text = String::new();
                json::write_row(&mut text, &cells, row);
                found.push(text);
            }
        }
    }
    Ok(found)
}
