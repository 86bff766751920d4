//! The one contract of all stateful operators.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, ShardDelta};

use crate::state::{SpillError, StateMemory};

/// What an operator knows about time while it works on one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The epoch.
    pub epoch: Epoch,
    /// The input relation's watermark after the epoch before, in milliseconds; `i64::MIN` at the start.
    pub watermark_before: i64,
    /// The input relation's watermark after this epoch; `i64::MAX` at the end of input. Never below `watermark_before`.
    pub watermark: i64,
    /// The input has ended with this epoch: windows close, rolling tables are evaluated at the largest event time.
    pub end_of_input: bool,
    /// The largest accepted event time of the input over all workers up to this epoch, in milliseconds; `i64::MIN` if
    /// there is none. Only meaningful at the end of input.
    pub largest_event_time: i64,
}

/// Rows that an operator makes.
#[derive(Debug, Default)]
pub struct Output {
    /// Result rows, with the hidden columns that the operator's kind carries.
    pub rows: Vec<RecordBatch>,
    /// Input rows that came too late, with their hidden columns.
    pub late: Vec<RecordBatch>,
}

/// Whether an operator has more to emit in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// Everything of this epoch is emitted.
    Done,
    /// There is more: call again. Keeps a full hour's closing windows from stalling the worker.
    More,
}

/// An operator cannot go on; the job stops.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Arrow refused an operation.
    #[error("{operator}: {source}")]
    Arrow {
        /// The operator.
        operator: String,
        /// The cause.
        source: arrow::error::ArrowError,
    },
    /// An integer or decimal sum left its type's range.
    #[error("{operator}: {aggregate} overflows {data_type}")]
    Overflow {
        /// The operator.
        operator: String,
        /// The aggregate.
        aggregate: String,
        /// The type that is too small.
        data_type: String,
    },
    /// State that doesn't fit into memory cannot be kept on disk.
    #[error("{operator}: {source}")]
    Spill {
        /// The operator.
        operator: String,
        /// The cause.
        source: SpillError,
    },
    /// Restored bytes don't have this operator's form.
    #[error("{operator}: the restored state is not in the expected form: {reason}")]
    Restore {
        /// The operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
}

/// A stateful operator, partitioned by key over the workers.
///
/// Called for one epoch after the other, each complete: [`apply`](Self::apply) for every batch, ports in ascending order,
/// then [`fire`](Self::fire) until it is done, then, at a marker, [`checkpoint`](Self::checkpoint).
/// Results may depend on nothing but these calls, and not on how rows are cut into batches.
pub trait Operator {
    /// Takes rows of the epoch that arrived at an input port.
    ///
    /// # Errors
    /// If the operator cannot go on.
    fn apply(
        &mut self,
        port: usize,
        rows: RecordBatch,
        clock: &Clock,
        output: &mut Output,
    ) -> Result<(), OperatorError>;

    /// Emits what the epoch's rows and its watermark bring about, in bounded pieces.
    ///
    /// # Errors
    /// If the operator cannot go on.
    fn fire(&mut self, clock: &Clock, output: &mut Output) -> Result<Fired, OperatorError>;

    /// Encodes what changed since the last call and forgets that it changed. Shards without changes are left out.
    fn checkpoint(&mut self) -> Vec<ShardDelta>;

    /// Applies one delta of a checkpoint, called oldest first and only with shards that this worker owns.
    ///
    /// # Errors
    /// If the bytes don't have this operator's form.
    fn restore(&mut self, delta: ShardDelta) -> Result<(), OperatorError>;

    /// Called once after the last [`restore`](Self::restore): rebuilds what is derived from the entries.
    ///
    /// # Errors
    /// If the restored entries contradict each other.
    fn restored(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Brings restored state, whose rows have the columns of `from`, into this operator's own form: columns are matched by name,
    /// those that `from` lacks are null. All of it counts as changed then. Called once, after [`restored`](Self::restored).
    ///
    /// # Errors
    /// If this operator's state cannot change its form.
    fn migrate(&mut self, _from: &SchemaRef) -> Result<(), OperatorError> {
        Err(OperatorError::Restore {
            operator: String::new(),
            reason: "its state cannot take another form".to_owned(),
        })
    }

    /// Emits the whole current result of a table as gains, to rebuild what is derived from it after a restore.
    /// Streams have none.
    ///
    /// # Errors
    /// If the operator cannot go on.
    fn snapshot(&self, _output: &mut Output) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Lets cold keys go to local disk when the process has more state in memory than its limit. Called before anything
    /// else, or never.
    ///
    /// # Errors
    /// If the disk cannot be written.
    fn spill_to(&mut self, _memory: &Arc<StateMemory>) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Moves cold keys to disk while there is more in memory than the limit. Called between any two other calls.
    /// Returns whether the disk was used since the last call: then others have their turn before it is called again.
    ///
    /// # Errors
    /// If the disk cannot be written.
    fn trim(&mut self) -> Result<bool, OperatorError> {
        Ok(false)
    }

    /// Emits what the state holds of the result, for people to read after a restore: a table's rows as gains, the windows that
    /// are still open with what they have so far.
    ///
    /// # Errors
    /// If the operator cannot go on.
    fn peek(&self, output: &mut Output) -> Result<(), OperatorError> {
        self.snapshot(output)
    }

    /// Bytes of state in memory, about.
    fn state_bytes(&self) -> usize;

    /// Entries in state.
    fn state_entries(&self) -> usize;
}
