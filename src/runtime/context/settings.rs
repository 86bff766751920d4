//! Settings of a run.

use std::{collections::BTreeMap, time::Duration};

use tidewright_jobs::JobSettings;
use tidewright_jobs::job::{Delivery, StartAfter};

/// Settings of a run, from the job file and the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Length of an epoch.
    pub epoch_tick: Duration,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Bytes between ingested and computed.
    pub in_flight_bytes: usize,
    /// Bytes in a sink's outbox before sources wait.
    pub outbox_bytes: usize,
    /// Streams wait for tables on a fresh start.
    pub tables_first: bool,
    /// How each sink is served.
    pub delivery: BTreeMap<String, Delivery>,
    /// How many old checkpoints are kept.
    pub keep: usize,
}

impl Settings {
    /// The settings of a compiled job.
    #[must_use]
    pub fn of(job: &JobSettings) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            epoch_tick: Duration::from_millis(job.epoch_tick_ms),
            checkpoint_interval: Duration::from_millis(job.checkpoint.interval_ms),
            in_flight_bytes: bytes(job.in_flight_bytes.min(in_flight_within(job))),
            outbox_bytes: bytes(job.outbox_bytes),
            tables_first: job.start_after == StartAfter::Tables,
            delivery: job.delivery.iter().cloned().collect(),
            keep: job.checkpoint.keep as usize,
        }
    }

    /// How a sink is served.
    #[must_use]
    pub fn delivery(&self, sink: &str) -> Delivery {
        self.delivery.get(sink).copied().unwrap_or_default()
    }
}

/// What an epoch asks for is in memory whatever the limit of state says, so an epoch must be much smaller than the limit.
fn in_flight_within(job: &JobSettings) -> u64 {
    const LEAST: u64 = 1 << 20;
    let state = job.state.as_ref();
    state.map_or(u64::MAX, |state| (state.memory_bytes / 16).max(LEAST))
}
