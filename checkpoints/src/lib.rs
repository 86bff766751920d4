//! What is durable and what may be trusted: the checkpoint side of Tidewright.
//!
//! This crate knows state files, manifests, the job's HEAD and the stores that hold them. It knows nothing of
//! timely, Kafka, Arrow or SQL. Decisions are pure functions over observed facts; I/O executes them.

pub mod ids;
pub mod section;

pub use ids::{Epoch, Generation, OperatorId, SHARDS, Shard};
pub use section::{Entry, ShardDelta, SubKeyRange};
