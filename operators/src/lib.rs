//! Stateful and relational operators over Arrow batches.
//!
//! No client library, no tokio, no JSON. A stateful operator is a plain, deterministic [`Operator`]: rows and clock
//! in, rows out, its state checkpointed as shard deltas. One timely wrapper drives all of them, so each can be tested
//! without a dataflow.

pub mod batch;
pub mod operator;

pub use batch::{DIFF, OFFSET, SPLIT, WATERMARK};
pub use operator::{Clock, Fired, Operator, OperatorError, Output};
