//! How a running job is doing: one JSON object for people's tools and for the control plane.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::runtime::context::JobContext;
use crate::runtime::stats::Stats;
use crate::runtime::summary::{Checkpoints, RowsOut, Summary};

/// The answer to `{"status":{}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job's name.
    pub job: String,
    /// The process.
    pub pid: u32,
    /// The claim of this process.
    pub generation: u64,
    /// Worker threads.
    pub workers: usize,
    /// When this process started the job: wall clock, milliseconds since 1970.
    pub started_ms: u64,
    /// What it is doing.
    pub state: RunState,
    /// Records read, by source.
    pub events_in: BTreeMap<String, u64>,
    /// Rows made by each view and delivered by each sink.
    pub rows_out: RowsOut,
    /// Rows that came too late.
    pub late: u64,
    /// Records and rows that could not be processed.
    pub dead_lettered: u64,
    /// How far the job has come.
    pub frontiers: Frontiers,
    /// The last delivered epoch, by sink; 0 before the first.
    pub delivered: BTreeMap<String, u64>,
    /// Published checkpoints.
    pub checkpoints: CheckpointStatus,
    /// CPU time of the process, user and system.
    pub cpu_seconds: f64,
    /// Largest resident set.
    pub peak_rss_bytes: u64,
}

/// What a process does with its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It reads its state and connects.
    #[default]
    Restoring,
    /// It processes records.
    Running,
    /// It has been asked to end, or its input has ended.
    Stopping,
}

impl RunState {
    fn of(context: &JobContext) -> Self {
        let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if set(&context.stop) || set(&context.drain) {
            Self::Stopping
        } else if context.built.load(Ordering::Relaxed) < context.place.threads {
            Self::Restoring
        } else {
            Self::Running
        }
    }
}

/// The four frontiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontiers {
    /// Closed by the sources.
    pub ingested: FrontierStatus,
    /// Completed by all operators.
    pub computed: FrontierStatus,
    /// Covered by a published checkpoint.
    pub durable: FrontierStatus,
    /// Acknowledged by the stores of all sinks.
    pub delivered: FrontierStatus,
}

/// The last epoch behind a frontier. 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontierStatus {
    /// The epoch.
    pub epoch: u64,
    /// When it was the current epoch: wall clock, milliseconds since 1970.
    pub wall_clock_ms: u64,
}

/// Published checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// How many, since this process started.
    pub count: u64,
    /// State files, manifests and compaction, since this process started.
    pub bytes: u64,
    /// The last one's epoch, also of an earlier process; 0 without one.
    pub last_epoch: u64,
    /// When this process published its last one: wall clock, milliseconds since 1970; `null` before.
    pub last_published_ms: Option<u64>,
    /// From marker to publication, median in milliseconds.
    pub p50_ms: Option<f64>,
    /// From marker to publication, 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
}

impl JobStatus {
    /// The status of a job in this process.
    #[must_use]
    pub fn of(context: &JobContext) -> Self {
        let stats = &*context.stats;
        let summary = Summary::of(stats);
        Self {
            job: context.plan.name.clone(),
            pid: std::process::id(),
            generation: context.generation.0,
            workers: context.workers,
            started_ms: u64::try_from(context.started_ms).unwrap_or(0),
            state: RunState::of(context),
            events_in: summary.events_in,
            rows_out: summary.rows_out,
            late: summary.late,
            dead_lettered: summary.dead_lettered,
            frontiers: frontiers(context),
            delivered: summary.delivered_epoch,
            checkpoints: checkpoints(stats, &summary.checkpoints),
            cpu_seconds: summary.cpu_seconds,
            peak_rss_bytes: summary.peak_rss_bytes,
        }
    }
}

fn frontiers(context: &JobContext) -> Frontiers {
    let stats = &*context.stats;
    // Epochs follow the wall clock, unless the restored ones were ahead of it.
    let ahead = context
        .start
        .saturating_sub(u64::try_from(context.started_ms).unwrap_or(0));
    let at = |epoch: u64| FrontierStatus {
        epoch,
        wall_clock_ms: epoch.saturating_sub(ahead),
    };
    let delivered = stats.delivered.values().map(|epoch| epoch.get()).min();
    // They are read one after the other while they move, and before the first epoch only the restored ones are known.
    let durable = stats.durable.get();
    let ingested = stats.ingested.get().max(durable);
    Frontiers {
        ingested: at(ingested),
        computed: at(stats.computed.get().clamp(durable, ingested)),
        durable: at(durable),
        delivered: at(delivered.unwrap_or(durable).min(durable)),
    }
}

fn checkpoints(stats: &Stats, published: &Checkpoints) -> CheckpointStatus {
    let last = stats.published_ms.get();
    CheckpointStatus {
        count: published.count,
        bytes: published.bytes,
        last_epoch: stats.durable.get(),
        last_published_ms: (last > 0).then_some(last),
        p50_ms: published.p50_ms,
        p99_ms: published.p99_ms,
    }
}
