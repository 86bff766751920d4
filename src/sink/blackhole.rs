//! Nowhere: takes rows and forgets them, for measurements.

use super::{AppendBatch, AppendWriter, Fence, KeyedBatch, KeyedWriter, SinkError, WriteReport};
use tidewright_checkpoints::Epoch;

/// Takes rows and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlackholeWriter;

impl KeyedWriter for BlackholeWriter {
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        fence.check()?;
        Ok(WriteReport {
            applied: batch.rows.num_rows() as u64,
            ..WriteReport::default()
        })
    }
}

impl AppendWriter for BlackholeWriter {
    fn keeps_marker(&self) -> bool {
        false
    }

    fn recover(&mut self) -> Result<Option<Epoch>, SinkError> {
        Ok(None)
    }

    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        fence.check()?;
        Ok(WriteReport {
            applied: batch.row_count(),
            ..WriteReport::default()
        })
    }
}
