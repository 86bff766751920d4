//! Relational views on differential dataflow: joins of tables on any columns, aggregates of tables.
//!
//! ```text
//!  changes ──> encode ──> arrange by key ──┬──> join ────────┐
//!  changes ──> encode ──> arrange by key ──┘                 ├──> collect per epoch, decode ──> changes
//!  changes ──> tally  ──> arrange by group ──> group results ┘
//! ```
//!
//! Rows become bytes at the entrance and columns again at the exit. Arrangements coalesce their input per
//! (key, epoch); the exit consolidates per epoch, so that a row which comes and goes within an epoch is
//! never seen. The exchange is differential's own, by a hash of the key; results stay on the worker that
//! made them.
//!
//! Everything in here is derived: nothing of it is checkpointed. After a restore it is rebuilt from the
//! snapshots of the tables in front of it, and a [`gate`] behind it drops what the restored epoch has
//! already told. No handle to a trace outlives the operator that reads it, and each reader follows its
//! input's frontier: nothing holds compaction back.

mod aggregate;
mod collect;
mod exact_sum;
mod failures;
mod gate;
mod group;
mod input;
mod join;
mod layout;
mod row;
mod tally;

#[cfg(test)]
mod tests;

pub use aggregate::{TableAggregateSpec, table_aggregate};
pub use failures::Failures;
pub use gate::gate;
pub use join::{TableJoinSpec, table_join};
