//! What one process of a job has measured up to a moment: typed, so that it can go to the exposition, to verdicts, and to
//! other processes.

mod take;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frontiers::Frontiers;
use super::health::Health;
use super::watermarks::RelationWatermark;
use crate::dead_letter::Cause;
pub use crate::runtime::stats::OperatorTime;

/// What one process of a job has measured. Times are milliseconds since 1970 unless their name says otherwise. Unknown
/// fields of another release are ignored, missing ones are zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measurements {
    /// The job.
    pub job: String,
    /// Which of the job's processes this is.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// When this was measured.
    pub at_ms: u64,
    /// When this process started the job.
    pub started_ms: u64,
    /// The claim.
    pub generation: u64,
    /// Worker threads of this process.
    pub workers: usize,
    /// All workers have restored their state.
    pub running: bool,
    /// Records read, by source.
    pub records_in: BTreeMap<String, u64>,
    /// Rows made, by view.
    pub view_rows: BTreeMap<String, u64>,
    /// Rows that came too late, by view.
    pub late_rows: BTreeMap<String, u64>,
    /// Records and rows that could not be processed.
    pub dead_letters: Vec<DeadLetterCount>,
    /// The splits of the whole job, those of other processes as of their last control record.
    pub splits: Vec<Split>,
    /// The watermarks of sources and views.
    pub watermarks: Vec<RelationWatermark>,
    /// How far the job has come.
    pub frontiers: Frontiers,
    /// How operators spend their time.
    pub operators: Vec<OperatorTime>,
    /// The sinks.
    pub sinks: Vec<Sink>,
    /// The checkpoints. Process 0 publishes them.
    pub checkpoints: Checkpoints,
    /// From ingestion to delivery in all sinks.
    pub delivery_latency: Distribution,
    /// Keys moved to local disk, where state may be larger than memory.
    pub state_spilled: u64,
    /// Keys brought back.
    pub state_fetched: u64,
    /// The verdict about the job, from process 0.
    pub health: Option<Health>,
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// Dead letters of one source or view for one cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterCount {
    /// The source or view.
    pub relation: String,
    /// Why.
    pub cause: Cause,
    /// How many.
    pub count: u64,
}

/// A split of a source: a Kafka partition, a file, a part of a generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// The source.
    pub source: String,
    /// The split's name.
    pub split: String,
    /// It is read by a worker of this process.
    pub is_here: bool,
    /// The offset of the next record.
    pub next_offset: i64,
    /// Records between the position and the end, where known.
    pub records_behind: Option<u64>,
    /// What was in the split so many seconds ago has been read; zero at the end, `null` if nobody knows.
    pub seconds_behind: Option<f64>,
    /// Largest event time seen minus the bound; `null` before the first.
    pub watermark_ms: Option<i64>,
    /// It does not hold the watermark.
    pub idle: bool,
    /// No record will follow.
    pub finished: bool,
    /// Its source's watermark is where this split's is, and waits for it.
    pub holds_watermark: bool,
    /// It is not read on purpose: tables are read first, or it is too far ahead of the source in event time.
    pub held: bool,
}

/// A sink in this process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sink {
    /// The sink.
    pub sink: String,
    /// Rows delivered.
    pub rows: u64,
    /// When the last delivered epoch was the current one; 0 before the first.
    pub delivered_ms: u64,
    /// Rows that wait in the outbox.
    pub outbox_rows: u64,
    /// Bytes of them.
    pub outbox_bytes: u64,
    /// From so many bytes on, sources wait.
    pub outbox_limit_bytes: u64,
    /// What is known about the store.
    pub breaker: Breaker,
    /// Since when attempts fail.
    pub failing_since_ms: Option<u64>,
    /// The error of the last attempt, if it failed.
    pub error: Option<String>,
    /// Attempts that failed and were made again.
    pub failed_attempts: u64,
    /// Rows that the store refused for good.
    pub refused_rows: u64,
}

/// The circuit breaker in front of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// It works.
    #[default]
    Closed,
    /// One attempt is being made, to see whether it works again.
    HalfOpen,
    /// It is down: left alone for a while.
    Open,
}

/// Published checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoints {
    /// How many, since this process started.
    pub count: u64,
    /// State files, manifests and compaction, since this process started.
    pub written_bytes: u64,
    /// State files and manifest of the last one.
    pub last_bytes: u64,
    /// From marker to publication, of the last one.
    pub last_duration_s: f64,
    /// When this process published the last one.
    pub last_published_ms: Option<u64>,
    /// For how long the oldest record that no checkpoint covers has been waiting for one; `null` if all are covered.
    pub uncovered_s: Option<f64>,
    /// Time between checkpoints.
    pub interval_ms: u64,
    /// From marker to publication.
    pub durations: Distribution,
}

/// Durations, counted in the buckets of [`BUCKETS_S`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Distribution {
    /// How many are in each bucket; the last one is for all that are longer.
    pub counts: Vec<u64>,
    /// Their sum in seconds.
    pub sum_s: f64,
}

/// Upper bounds of the buckets of distributions, in seconds.
pub const BUCKETS_S: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

impl Distribution {
    /// Sorts durations in microseconds, each with how often there were, into buckets.
    #[must_use]
    pub fn of(durations: &[(u64, u64)]) -> Self {
        let mut counts = vec![0; BUCKETS_S.len() + 1];
        let mut sum_s = 0.0;
        for (micros, count) in durations {
            let seconds = *micros as f64 / 1e6;
            counts[BUCKETS_S.partition_point(|bound| *bound < seconds)] += count;
            sum_s += seconds * *count as f64;
        }
        Self { counts, sum_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_into_the_bucket_whose_bound_they_do_not_exceed() {
        let distribution = Distribution::of(&[(5_000, 2), (5_001, 1), (700_000_000, 3)]);
        assert_eq!(distribution.counts[..3], [2, 1, 0]);
        assert_eq!(distribution.counts.last(), Some(&3));
        assert_eq!(distribution.counts.iter().sum::<u64>(), 6);
        assert!((distribution.sum_s - 2_100.015_001).abs() < 1e-6);
    }

    #[test]
    fn measurements_of_another_release_can_be_read() {
        let read: Measurements = serde_json::from_str(r#"{"job":"a","news":1}"#).expect("is read");
        assert_eq!((read.job.as_str(), read.processes), ("a", 0));
    }
}
