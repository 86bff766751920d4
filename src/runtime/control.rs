//! Control records: what every worker tells every other at the close of each of its epochs.
//!
//! They are broadcast inside the epoch, so when an epoch completes all workers know the same offsets, watermarks and
//! checkpoint markers, without a coordinator.

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::Epoch;

/// Closes one worker's epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The worker that closes its epoch.
    pub worker: usize,
    /// The epoch that it opens next: its peers follow it there.
    pub opens: u64,
    /// Splits whose progress changed since the control record before; all owned splits in the first one.
    pub splits: Vec<SplitReport>,
    /// Records read in this epoch: whether there is something to checkpoint.
    pub records: u64,
    /// The worker knows all of its splits: its readers have reported for the first time.
    pub ready: bool,
    /// An outbox of the worker's process holds more than it may: sources wait. A hint about when to act, not about results.
    pub outbox_full: bool,
    /// The input has ended, and everything that the worker's process had to deliver is delivered.
    pub settled: bool,
    /// Worker 0 alone: a checkpoint is to be taken at this epoch.
    pub marker: Option<MarkerKind>,
    /// Worker 0 alone: all sources are to end where they are.
    pub drain: bool,
}

/// Progress of one split at the close of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// Position of the source in the plan.
    pub source: usize,
    /// The split's number.
    pub split: u32,
    /// The split's name.
    pub name: String,
    /// The offset of the next record.
    pub next_offset: i64,
    /// Largest event time seen minus the bound, in milliseconds.
    pub watermark: i64,
    /// It does not hold the watermark.
    pub idle: bool,
    /// It has reached the end that was seen at the start.
    pub caught_up: bool,
    /// No record will follow.
    pub finished: bool,
    /// Records behind the end, where known.
    pub lag: Option<i64>,
    /// Records behind the end, where known, also while the reader waits for somebody to take its batches.
    pub behind: Option<i64>,
    /// What was in the split up to this time has been read, as far as known: milliseconds since 1970.
    pub read_through_ms: Option<u64>,
}

/// Why a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkerKind {
    /// The interval is over.
    Periodic,
    /// Somebody asked for a savepoint, whether anything has changed or not.
    Savepoint,
    /// The job ends with it: no later epoch becomes durable.
    Final,
}

/// What one completed epoch means for every relation: made once per worker, the same on all of them.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The completed epoch.
    pub epoch: Epoch,
    /// Per node of the plan.
    pub relations: std::sync::Arc<[RelationClock]>,
    /// The checkpoint to take at this epoch.
    pub marker: Option<Marker>,
}

impl Tick {
    /// Some relation's watermark moves in this epoch.
    #[must_use]
    pub fn moves_time(&self) -> bool {
        self.relations
            .iter()
            .any(|relation| relation.watermark > relation.watermark_before)
    }
}

/// A relation's event time around one epoch, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationClock {
    /// The watermark after the epoch before.
    pub watermark_before: i64,
    /// The watermark after this epoch; `i64::MAX` once its input has ended.
    pub watermark: i64,
    /// The largest event time that any of its splits has seen.
    pub largest_event_time: i64,
    /// All of its splits have ended.
    pub end_of_input: bool,
}

/// A checkpoint to take, with the cut that it stands for.
#[derive(Clone, Debug)]
pub struct Marker {
    /// Why.
    pub kind: MarkerKind,
    /// Positions of all splits at this epoch.
    pub splits: std::sync::Arc<[SplitReport]>,
}
