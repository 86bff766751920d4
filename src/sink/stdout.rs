//! JSON lines on a stream of this process, for development: rows come again after a crash, since a terminal keeps no marker.

use std::io::{self, Write};

use tidewright_checkpoints::Epoch;

use super::{
    AppendBatch, AppendWriter, Fence, KeyedBatch, KeyedWriter, SinkContext, SinkError, WriteReport,
    cell::{Cell, Cells},
    json,
    verdict::field,
};

/// Writes rows as JSON lines to standard output, or another stream in tests.
pub struct StdoutWriter<W> {
    place: String,
    out: W,
}

impl StdoutWriter<io::Stdout> {
    /// Writes to standard output.
    #[must_use]
    pub fn new(context: &SinkContext) -> Self {
        Self::to(io::stdout(), context)
    }
}

impl<W: Write> StdoutWriter<W> {
    /// Writes to a stream.
    #[must_use]
    pub fn to(out: W, context: &SinkContext) -> Self {
        Self {
            place: context.place("stdout"),
            out,
        }
    }

    fn print(&mut self, lines: &str) -> Result<(), SinkError> {
        let printed = self
            .out
            .write_all(lines.as_bytes())
            .and_then(|()| self.out.flush());
        printed.map_err(|error| SinkError::Fatal(format!("{}: {error}", self.place)))
    }
}

impl<W: Write + Send> KeyedWriter for StdoutWriter<W> {
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let cells = Cells::of(&batch.rows)?;
        let mut lines = String::new();
        for row in 0..cells.rows() {
            let mut object = json::Object::begin(&mut lines);
            object.row(&cells, row);
            object.field(field::VERSION, Cell::Text(&batch.versions[row].to_string()));
            if batch.deleted.value(row) {
                object.field(field::DELETED, Cell::Boolean(true));
            }
            object.end();
            lines.push('\n');
        }
        fence.check()?;
        self.print(&lines)?;
        Ok(WriteReport {
            applied: cells.rows() as u64,
            ..WriteReport::default()
        })
    }
}

impl<W: Write + Send> AppendWriter for StdoutWriter<W> {
    fn keeps_marker(&self) -> bool {
        false
    }

    fn recover(&mut self) -> Result<Option<Epoch>, SinkError> {
        Ok(None)
    }

    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let mut lines = String::new();
        for rows in &batch.rows {
            let cells = Cells::of(rows)?;
            for row in 0..cells.rows() {
                json::write_row(&mut lines, &cells, row);
                lines.push('\n');
            }
        }
        fence.check()?;
        self.print(&lines)?;
        Ok(WriteReport {
            applied: batch.row_count(),
            ..WriteReport::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{AppendWriter, KeyedWriter, StdoutWriter};
    use crate::sink::testing::{Owner, appended, context, keyed};

    #[test]
    fn rows_are_printed_one_object_a_line() {
        let mut out = Vec::new();
        let mut writer = StdoutWriter::to(&mut out, &context("job"));
        writer.append(&appended(1, &["u1", "u2"]), &Owner).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"user_id\":\"u1\",\"clicks\":0}\n{\"user_id\":\"u2\",\"clicks\":1}\n"
        );
    }

    #[test]
    fn a_deleted_row_says_so() {
        let mut out = Vec::new();
        let mut writer = StdoutWriter::to(&mut out, &context("job"));
        writer.write(&keyed(1, 5, &[("u1", None)]), &Owner).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["_deleted"], true);
        assert_eq!(line["user_id"], "u1");
    }
}
