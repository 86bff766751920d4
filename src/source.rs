//! Sources: connectors that turn splits of records into decoded batches.
//!
//! A [`SplitReader`] owns the splits of one source that fall to one worker, and lives on a thread of its own. It decodes
//! records straight into Arrow columns and stamps the hidden columns ([`tidewright_operators::batch`]).

mod assemble;
pub mod datagen;
mod ends;
pub mod files;
pub mod identity;
pub mod kafka;
mod open;
mod partitioner;
#[cfg(test)]
mod testing;
pub mod watermark;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;

pub use self::{
    assemble::batch_schema,
    ends::{End, SplitEnds},
    open::{ALIGN_MS, OpenContext, open, owner_of_split, splits},
};
use crate::dead_letter::DeadLetter;

/// How far one split has been read: everything that a later start needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitProgress {
    /// The split's number: the Kafka partition, the position in the generator, a hash of a file's name.
    pub split: u32,
    /// The split's name in manifests and messages: the partition, the file's name.
    pub name: Arc<str>,
    /// The offset of the next record. For files a byte position; for generators the record's number.
    pub next_offset: i64,
    /// The largest event time seen, minus the bound; `i64::MIN` before the first row; in milliseconds.
    pub watermark: i64,
    /// Its position stood at the end, confirmed by its broker, for all of `idle_after`.
    pub idle: bool,
    /// It has reached the end that was seen at the start.
    pub caught_up: bool,
    /// It has ended (bounded run, generator with a count, files): no record will follow.
    pub finished: bool,
    /// Records between the position and the end, where known.
    pub lag: Option<i64>,
    /// The timestamp of the last record in its log, in milliseconds since 1970; `None` before the first, or without any.
    pub timestamp: Option<i64>,
}

/// Where to begin with a split: from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitStart {
    /// The split's name.
    pub name: Arc<str>,
    /// The offset of the next record.
    pub next_offset: i64,
    /// Its watermark then.
    pub watermark: i64,
    /// Whether it was idle.
    pub idle: bool,
}

/// Where reading a split ends although its input goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The first offset that is not read.
    pub offset: i64,
    /// The split counts as ended then; otherwise it only stands still.
    pub finished: bool,
    /// Standing still there, it does not hold the watermark.
    pub idle: bool,
}

/// What one poll brings.
#[derive(Debug)]
pub struct SourceBatch {
    /// Rows of the used columns with their hidden columns; rows of one split in offset order. May be empty.
    pub rows: RecordBatch,
    /// Records that could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// Progress of every split that changed since the last batch (all owned splits in the first one).
    pub splits: Vec<SplitProgress>,
    /// Records read, dead letters and deletes included.
    pub records: u64,
    /// Bytes of the records, before decoding.
    pub bytes: usize,
    /// When the records were taken from the client.
    pub ingested_at: Instant,
}

/// What a reader is asked for between polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderRequest {
    /// Stop (true) or resume (false) reading records; the client stays served.
    Pause(bool),
    /// The source's watermark over all workers: splits more than the alignment bound ahead of it pause by themselves.
    Watermark(i64),
    /// These positions are covered by a durable checkpoint: (split, next offset).
    Commit(Vec<(u32, i64)>),
}

/// A source cannot go on; the job stops with this message.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {message}")]
pub struct SourceError {
    /// The source's name in the job file.
    pub source_name: String,
    /// What happened, where, and how to mend it.
    pub message: String,
}

impl SourceError {
    fn new(source: &str, message: &dyn fmt::Display) -> Self {
        Self {
            source_name: source.to_owned(),
            message: message.to_string(),
        }
    }
}

/// Reads the splits of one source that belong to one worker.
pub trait SplitReader: Send {
    /// Waits at most `timeout` for records and decodes what has come; `None` if nothing changed at all. The first call
    /// returns a batch that names all owned splits, even without rows.
    ///
    /// # Errors
    /// If the source cannot go on: offsets out of range, a recreated topic, a file that shrank.
    fn poll(&mut self, timeout: Duration) -> Result<Option<SourceBatch>, SourceError>;

    /// Takes a request into account, without blocking.
    fn request(&mut self, request: ReaderRequest);
}
