//! What a tap shows of the rows that pass: streams row by row, tables change by change.
//!
//! ```text
//! {"row":{..}}                                     a row of a stream
//! {"change":"insert","row":{..}}                   a row that a table gains
//! {"change":"update","row":{..},"before":{..}}     a row of a table that changes
//! {"change":"delete","row":{..}}                   a row that a table loses
//! ```

use std::sync::Arc;

use arrow::array::{Array, Int8Array, Scalar};
use arrow::compute::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tidewright_jobs::plan::{Node, RelationKind};
use tidewright_operators::changes::diffs;

use crate::runtime::tap::{Shown, Tap};
use crate::sink::SinkError;
use crate::sink::cell::Cells;
use crate::sink::json;

/// Where the rows of a relation can be watched.
pub struct Watched {
    tap: Arc<Tap>,
    name: String,
    visible: usize,
    table_key: Option<Vec<usize>>,
}

impl Watched {
    /// The relation that a node makes.
    pub fn new(tap: Arc<Tap>, name: &str, node: &Node) -> Self {
        Self {
            tap,
            name: name.to_owned(),
            visible: node.schema.fields().len(),
            table_key: match &node.kind {
                RelationKind::Table { key } => Some(key.clone()),
                RelationKind::Stream { .. } | RelationKind::Bag => None,
            },
        }
    }

    /// Some of its rows pass.
    pub fn pass(&self, rows: &RecordBatch) {
        if self.tap.is_open()
            && let Err(error) = self.show(rows)
        {
            tracing::warn!(relation = self.name, %error, "rows cannot be shown");
        }
    }

    fn show(&self, rows: &RecordBatch) -> Result<(), SinkError> {
        let unreadable = |error: ArrowError| SinkError::Fatal(error.to_string());
        let columns: Vec<usize> = (0..self.visible).collect();
        let visible = rows.project(&columns).map_err(unreadable)?;
        let cells = Cells::of(&visible)?;
        let Some(key) = &self.table_key else {
            self.tap.offer(rows.num_rows(), |row| Shown {
                text: text(&cells, None, row, None),
                other: None,
            });
            return Ok(());
        };
        let diffs = diffs(rows, self.visible).map_err(unreadable)?;
        let changes = Changes {
            rows: &visible,
            diffs,
            key,
        };
        self.tap.offer(rows.num_rows(), |row| {
            let other = changes.counterpart(row);
            let (change, now, before) = match (changes.is_gain(row), other) {
                (true, None) => ("insert", row, None),
                (false, None) => ("delete", row, None),
                (true, Some(lost)) => ("update", row, Some(lost)),
                (false, Some(gained)) => ("update", gained, Some(row)),
            };
            Shown {
                text: text(&cells, Some(change), now, before),
                other,
            }
        });
        Ok(())
    }
}

/// A batch of a table's changes.
struct Changes<'a> {
    rows: &'a RecordBatch,
    diffs: &'a Int8Array,
    key: &'a [usize],
}

impl Changes<'_> {
    fn is_gain(&self, row: usize) -> bool {
        self.diffs.value(row) > 0
    }

    /// The row with the same key that goes where this one comes, or the other way round. An epoch has at most one of each.
    fn counterpart(&self, row: usize) -> Option<usize> {
        let opposite = -self.diffs.value(row);
        let wanted = Scalar::new(Int8Array::from(vec![opposite]));
        let mut found = not_distinct(self.diffs, &wanted).ok()?;
        for &column in self.key {
            if found.true_count() == 0 {
                return None;
            }
            let column = self.rows.column(column);
            let same = not_distinct(column, &Scalar::new(column.slice(row, 1)));
            // Columns of keys can be compared, or the table could not be grouped by them.
            found = and(&found, &same.ok()?).ok()?;
        }
        found.values().set_indices().next()
    }
}

fn text(cells: &Cells<'_>, change: Option<&str>, row: usize, before: Option<usize>) -> String {
    let mut text = match change {
        None => String::from("{"),
        Some(change) => format!("{{\"change\":\"{change}\","),
    };
    text.push_str("\"row\":");
    json::write_row(&mut text, cells, row);
    if let Some(before) = before {
        text.push_str(",\"before\":");
        json::write_row(&mut text, cells, before);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use tidewright_operators::{DIFF, WATERMARK};

    use super::*;
    use crate::runtime::tap::{RATE_MAX, Sampling, Taps};

    /// What a tap shows of rows with a user, a nullable number and a hidden column.
    fn shown(table: bool, hidden: (&str, ArrayRef), rows: &[(&str, Option<i64>)]) -> Vec<String> {
        let fields = vec![
            Field::new("user", DataType::Utf8View, false),
            Field::new("n", DataType::Int64, true),
        ];
        let visible = Schema::new(fields.clone());
        let mut fields = fields;
        fields.push(Field::new(hidden.0, hidden.1.data_type().clone(), false));
        let users: StringViewArray = rows.iter().map(|(user, _)| Some(*user)).collect();
        let numbers: Int64Array = rows.iter().map(|(_, number)| *number).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(users), Arc::new(numbers), hidden.1];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
        let taps = Taps::new(&["v".to_owned()]);
        let sampling = Sampling::new(1, RATE_MAX).expect("in range");
        let listening = taps.listen("v", sampling).expect("opens");
        let watched = Watched {
            tap: taps.of("v"),
            name: "v".to_owned(),
            visible: visible.fields().len(),
            table_key: table.then(|| vec![0, 1]),
        };
        watched.pass(&batch);
        let passed = listening.next(100, Duration::ZERO);
        assert_eq!(passed.shown, passed.passed, "every row is accounted for");
        passed.lines
    }

    #[test]
    fn rows_of_a_stream_are_shown_without_hidden_columns() {
        let marks: ArrayRef = Arc::new(Int64Array::from(vec![5, 6]));
        let lines = shown(false, (WATERMARK, marks), &[("a", Some(1)), ("b", None)]);
        let expected = [
            r#"{"row":{"user":"a","n":1}}"#,
            r#"{"row":{"user":"b","n":null}}"#,
        ];
        assert_eq!(lines, expected);
    }

    /// The key is both columns here, so that a null in a key is seen to match.
    #[test]
    fn changes_of_a_table_are_inserts_updates_and_deletes() {
        let rows = [
            ("gone", Some(1)),
            ("changed", None),
            ("changed", None),
            ("new", Some(1)),
            ("gone", Some(2)),
        ];
        let diffs: ArrayRef = Arc::new(Int8Array::from(vec![-1, -1, 1, 1, 1]));
        let expected = [
            r#"{"change":"delete","row":{"user":"gone","n":1}}"#,
            r#"{"change":"update","row":{"user":"changed","n":null},"before":{"user":"changed","n":null}}"#,
            r#"{"change":"insert","row":{"user":"new","n":1}}"#,
            r#"{"change":"insert","row":{"user":"gone","n":2}}"#,
        ];
        assert_eq!(shown(true, (DIFF, diffs), &rows), expected);
    }
}
