//! Stateful and relational operators over Arrow batches.
//!
//! No client library, no tokio, no JSON. A stateful operator is a plain, deterministic [`Operator`]: rows and clock
//! in, rows out, its state checkpointed as shard deltas. One timely wrapper drives all of them, so each can be tested
//! without a dataflow.

pub mod accumulate;
pub mod batch;
pub mod changes;
pub mod codec;
pub mod differential;
pub mod expression;
pub mod key;
pub mod key_join;
pub mod lookup;
pub mod operator;
pub mod rolling;
pub mod route;
pub mod routed;
pub mod state;
pub mod upsert;
pub mod window;

#[cfg(test)]
mod source_model;

pub use accumulate::{Aggregate, AggregateFunction};
pub use batch::{DIFF, OFFSET, SPLIT, WATERMARK};
pub use codec::{CodecError, RowCodec};
pub use key::{EncodedKeys, KeyCodec};
pub use key_join::JoinKind;
pub use operator::{Clock, Fired, Operator, OperatorError, Output};
pub use rolling::{Rolling, RollingSpec};
pub use route::Router;
pub use routed::RoutedBatch;
pub use state::{BytesColumn, Columns, KeyedState, SpillError, StateMemory};
pub use window::{GroupColumn, Window, WindowSpec};
