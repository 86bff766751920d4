//! How a running job is doing: one JSON object for people's tools and for the control plane.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::runtime::context::JobContext;
use crate::runtime::stats::Stats;
use crate::runtime::summary::{Checkpoints, RowsOut, Summary, add};

/// The answer to `{"status":{}}`: of the whole job. What other processes than the one that answers have counted may be half a
/// second old.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job's name.
    pub job: String,
    /// The process that answers, which is process 0.
    pub pid: u32,
    /// The claim of this run.
    pub generation: u64,
    /// Worker threads of all processes.
    pub workers: usize,
    /// When the job was started: wall clock, milliseconds since 1970.
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
    /// CPU time of all processes, user and system.
    pub cpu_seconds: f64,
    /// Largest resident sets of all processes, added up.
    pub peak_rss_bytes: u64,
    /// Each process that is known to run.
    #[serde(default)]
    pub processes: Vec<ProcessStatus>,
}

/// One process of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its number.
    pub process: usize,
    /// The machine that it runs on.
    pub host: String,
    /// The operating system's number of it.
    pub pid: u32,
    /// Its worker threads.
    pub workers: usize,
    /// What it is doing.
    pub state: RunState,
    /// Records that it has read.
    pub events_in: u64,
    /// The last epoch that its sources have closed.
    pub ingested_epoch: u64,
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Largest resident set.
    pub peak_rss_bytes: u64,
}

/// What a job does, or a process of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It reads its state and connects; of a job, any of its processes.
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

impl ProcessStatus {
    fn of(context: &JobContext, summary: &Summary) -> Self {
        let uname = rustix::system::uname();
        Self {
            process: context.place.process,
            host: uname.nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            workers: context.place.threads,
            state: RunState::of(context),
            events_in: summary.events_in.values().sum(),
            ingested_epoch: context.stats.ingested.get(),
            cpu_seconds: summary.cpu_seconds,
            peak_rss_bytes: summary.peak_rss_bytes,
        }
    }
}

impl JobStatus {
    /// The status of a job as far as this process knows it.
    #[must_use]
    pub fn of(context: &JobContext) -> Self {
        let stats = &*context.stats;
        let summary = Summary::of(stats);
        Self {
            processes: vec![ProcessStatus::of(context, &summary)],
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

    /// With what the others of so many processes have told. What operators have computed, what is durable and what is
    /// delivered every process sees of the whole job.
    #[must_use]
    pub fn with_others(mut self, others: Vec<Self>, processes: usize) -> Self {
        for other in others {
            add(&mut self.events_in, other.events_in);
            add(&mut self.rows_out.views, other.rows_out.views);
            add(&mut self.rows_out.sinks, other.rows_out.sinks);
            self.late += other.late;
            self.dead_lettered += other.dead_lettered;
            self.checkpoints.bytes += other.checkpoints.bytes;
            self.cpu_seconds += other.cpu_seconds;
            self.peak_rss_bytes += other.peak_rss_bytes;
            let ingested = &mut self.frontiers.ingested;
            if other.frontiers.ingested.epoch < ingested.epoch {
                *ingested = other.frontiers.ingested;
            }
            self.processes.extend(other.processes);
        }
        self.processes.sort_by_key(|process| process.process);
        // What the others have told may be older than what they have ingested since.
        let Frontiers {
            ingested, computed, ..
        } = &mut self.frontiers;
        if ingested.epoch < computed.epoch {
            *ingested = *computed;
        }
        let restoring = |process: &ProcessStatus| process.state == RunState::Restoring;
        if self.state == RunState::Running
            && (self.processes.len() < processes || self.processes.iter().any(restoring))
        {
            self.state = RunState::Restoring;
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What process `process` of a job tells.
    fn status(process: usize, ingested: u64, state: RunState) -> JobStatus {
        let at = |epoch| FrontierStatus {
            epoch,
            wall_clock_ms: epoch,
        };
        let of_process = ProcessStatus {
            process,
            host: "here".to_owned(),
            pid: 100 + process as u32,
            workers: 1,
            state,
            events_in: 10,
            ingested_epoch: ingested,
            cpu_seconds: 1.0,
            peak_rss_bytes: 1 << 20,
        };
        let rows = |rows: u64| BTreeMap::from([("v".to_owned(), rows)]);
        JobStatus {
            job: "shop".to_owned(),
            pid: of_process.pid,
            generation: 1,
            workers: 3,
            started_ms: 0,
            state,
            events_in: rows(10),
            rows_out: RowsOut {
                views: rows(5),
                sinks: rows(4),
            },
            late: 1,
            dead_lettered: 2,
            frontiers: Frontiers {
                ingested: at(ingested),
                computed: at(70),
                durable: at(60),
                delivered: at(50),
            },
            delivered: rows(50),
            checkpoints: CheckpointStatus {
                bytes: 7,
                ..CheckpointStatus::default()
            },
            cpu_seconds: 1.0,
            peak_rss_bytes: 1 << 20,
            processes: vec![of_process],
        }
    }

    #[test]
    fn counts_add_up_and_the_slowest_process_says_how_far_the_job_is() {
        let running = |process, ingested| status(process, ingested, RunState::Running);
        let whole = running(0, 90).with_others(vec![running(2, 95), running(1, 80)], 3);
        assert_eq!((whole.pid, whole.state), (100, RunState::Running));
        assert_eq!((whole.events_in["v"], whole.rows_out.views["v"]), (30, 15));
        assert_eq!(whole.rows_out.sinks["v"], 12);
        assert_eq!((whole.late, whole.dead_lettered), (3, 6));
        assert_eq!(
            (whole.checkpoints.bytes, whole.peak_rss_bytes),
            (21, 3 << 20)
        );
        assert_eq!(whole.frontiers.ingested.epoch, 80);
        assert_eq!(whole.frontiers.computed.epoch, 70);
        assert_eq!(whole.delivered["v"], 50);
        let processes: Vec<_> = whole.processes.iter().map(|told| told.process).collect();
        assert_eq!(processes, [0, 1, 2]);
        // It told before the others had computed what it has ingested since.
        let late = running(0, 90).with_others(vec![running(1, 65)], 2);
        assert_eq!(late.frontiers.ingested.epoch, 70);
    }

    #[test]
    fn a_job_runs_when_all_its_processes_do() {
        use RunState::{Restoring, Running, Stopping};
        let state = |own, others: &[RunState]| {
            let others = (1..).zip(others);
            let others = others.map(|(process, state)| status(process, 90, *state));
            status(0, 90, own).with_others(others.collect(), 3).state
        };
        assert_eq!(state(Running, &[]), Restoring);
        assert_eq!(state(Running, &[Running]), Restoring);
        assert_eq!(state(Running, &[Running, Restoring]), Restoring);
        assert_eq!(state(Running, &[Running, Running]), Running);
        assert_eq!(state(Stopping, &[Running, Restoring]), Stopping);
    }
}
