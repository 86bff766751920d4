//! The oracle: the same SQL as a batch, by DataFusion, over the records that the engine must accept.
//!
//! ```text
//!  lines in files ──┬── tidewright run --bounded ──> files, changelogs folded ──┐
//!                   └── accept (own code) ──> batch (DataFusion) ───────────────┴── compare
//! ```
//! The only code that both sides share is the SQL front end's part for window functions. What a record is worth
//! (decoding, watermarks, lateness) is worked out anew in [`accept`].

mod accept;
mod batch;
mod cells;
mod compare;
mod declared;
mod engine;
mod expected;
mod generate;
mod generated;
mod live;
mod partition_local;
mod prefix;
mod relations;
mod seeds;
pub mod shop_batch;
mod stored;
mod variations;
