//! Records and rows that could not be processed, on their way to the dead-letter sink.

use std::sync::Arc;

/// One record or row that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The source or view where it failed.
    pub relation: Arc<str>,
    /// The record's place, such as `topic events, partition 3, offset 17`; empty for rows of views.
    pub origin: String,
    /// Why, for people: names the field or expression.
    pub reason: String,
    /// The original bytes of the record; for rows of views the row as JSON.
    pub payload: Vec<u8>,
}
