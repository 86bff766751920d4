//! Sinks: connectors that make rows visible in a store, each effect exactly once.
//!
//! A sink's outbox hands over only rows of durable checkpoints, again and again until they are acknowledged. A writer
//! makes that idempotent: keyed writers by comparing versions in the store, append writers by a marker that is written
//! together with the data.

pub mod blackhole;
pub mod cell;
pub mod context;
pub mod driver;
pub mod dynamodb;
pub mod embedded;
pub mod files;
pub mod iso8601;
pub mod json;
pub mod kafka;
pub mod key;
pub mod open;
pub mod redis;
pub mod rows;
pub mod stdout;
#[cfg(test)]
pub(crate) mod testing;
pub mod ttl;
pub mod verdict;

use std::fmt;

use arrow::{array::BooleanArray, record_batch::RecordBatch};
use tidewright_checkpoints::{Epoch, Generation};

pub use self::{
    context::SinkContext,
    driver::{Delivery, DeliveryEvent, Driver, DriverOptions, SinkStatus, Work},
    embedded::{EmbeddedStore, EmbeddedStores},
    open::{Writer, open},
};
use crate::dead_letter::DeadLetter;

/// The version of a written row: ordered by generation, then epoch, then sequence. Its text is a fixed-width digit
/// string, so that stores can compare it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The claim of the job that writes.
    pub generation: Generation,
    /// The epoch in which the row changed.
    pub epoch: Epoch,
    /// Tells apart versions within an epoch.
    pub sequence: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:015}{:015}{:06}",
            self.generation.0, self.epoch.0, self.sequence
        )
    }
}

/// Rows for a keyed store: at most one per key.
#[derive(Clone, Debug)]
pub struct KeyedBatch {
    /// The relation's visible columns. Of deleted rows only the key columns matter.
    pub rows: RecordBatch,
    /// Which rows are deletes.
    pub deleted: BooleanArray,
    /// The version of each row.
    pub versions: Vec<Version>,
    /// When the rows' latest input was ingested: wall clock, milliseconds since 1970 (`_as_of`).
    pub as_of_ms: i64,
}

/// Rows for an append-only store.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    /// Everything up to and including this checkpoint's epoch, so the marker to write with the rows.
    pub through: Epoch,
    /// The relation's visible columns, in order. May be empty: then only the marker moves.
    pub rows: Vec<RecordBatch>,
}

impl AppendBatch {
    /// The number of rows.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }
}

/// What a write has come to.
#[derive(Debug, Default)]
pub struct WriteReport {
    /// Rows that this call made visible.
    pub applied: u64,
    /// Rows that were there already, from an earlier attempt.
    pub already_there: u64,
    /// Rows that the store refuses for good, with the reason; they count as delivered when these are accepted.
    pub refused: Vec<DeadLetter>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It may work later: the store is down, slow or throttling. Whether the write happened is unknown.
    #[error("{0}")]
    Transient(String),
    /// A greater generation has written to this store: this process has lost the job and must stop.
    #[error("fenced: {0}")]
    Fenced(String),
    /// It will not work: wrong type of key, missing table, a row of another job, refused credentials.
    #[error("{0}")]
    Fatal(String),
}

/// Whether this process may still write: asked before every call that writes.
///
/// True only if HEAD named this process's generation within the last ten seconds, by a clock that counts suspended time.
pub trait Fence: Send + Sync {
    /// # Errors
    /// [`SinkError::Fenced`] if another process has claimed the job, [`SinkError::Transient`] if HEAD cannot be read.
    fn check(&self) -> Result<(), SinkError>;
}

/// Writes rows to a keyed store; compares versions there.
pub trait KeyedWriter: Send {
    /// Makes the rows visible: stored lower = applied; same generation, equal or newer = already there; greater generation
    /// = fenced; foreign job = fatal. Blocks until the store has answered for every row. Calling again with the same
    /// rows is harmless.
    ///
    /// # Errors
    /// If any row is not known to be visible; the whole batch is sent again after a [`SinkError::Transient`].
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError>;
}

/// Appends rows together with a marker that tells how far the log goes.
pub trait AppendWriter: Send {
    /// Whether the store keeps a marker. Without one (a terminal), rows come again after a crash.
    fn keeps_marker(&self) -> bool {
        true
    }

    /// The rows of a batch that [`append`](Self::append) would refuse. Asked after [`recover`](Self::recover), for a batch that the
    /// marker covers: if the process ended between the append and the acknowledgement of its dead letters, they are still owed.
    ///
    /// # Errors
    /// If the rows cannot be judged.
    fn refusals(&self, _batch: &AppendBatch) -> Result<Vec<DeadLetter>, SinkError> {
        Ok(Vec::new())
    }

    /// The marker: the epoch up to which rows have been appended, by any generation; `None` if there never was one. Shuts out
    /// earlier writers first (Kafka: `init_transactions`) and removes half-written data (files: truncate).
    ///
    /// # Errors
    /// If the store cannot be asked.
    fn recover(&mut self) -> Result<Option<Epoch>, SinkError>;

    /// Appends the rows and moves the marker, both or neither. Blocks until the store has acknowledged.
    ///
    /// # Errors
    /// On [`SinkError::Transient`] the caller recovers and, if the marker is behind, appends again.
    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError>;
}
