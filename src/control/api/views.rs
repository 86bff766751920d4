//! What the API shows of jobs, checkpoints, logs and tokens. Times are milliseconds since 1970.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::lifecycle::{Desired, JobState};
use crate::control::registry::records::{Job, Role, Token, Version};

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// What is wanted of it.
    pub desired: Desired,
    /// Since when it is in this state.
    pub since_ms: u64,
    /// The version that runs or ran last.
    pub version: u32,
    /// When that version was submitted.
    pub submitted_ms: u64,
    /// Worker threads of each process.
    pub workers: u16,
    /// How many processes it has while it runs.
    pub process_count: u16,
    /// Those that are there, by their index.
    pub processes: Vec<ProcessView>,
    /// Starts after the first one, since it was submitted.
    pub restarts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// It fails again and again.
    pub crash_looping: bool,
    /// When it starts again, if it waits for that.
    pub next_start_ms: Option<u64>,
    /// Why it last ended against expectation.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_ms: Option<u64>,
    /// Resident memory of all processes together at which they are ended, in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// A process of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// The operating system's number for it.
    pub pid: i32,
    /// When it began.
    pub started_ms: u64,
    /// Its resident memory, in bytes; `null` once it has ended.
    pub resident_bytes: Option<u64>,
}

impl JobView {
    /// What is shown of a job.
    #[must_use]
    pub fn of(job: &Job, version: &Version) -> Self {
        let lifecycle = &job.lifecycle;
        let waits = lifecycle.state == JobState::Restarting && job.processes.is_empty();
        let processes = job.processes.iter().map(|process| ProcessView {
            pid: process.pid,
            started_ms: process.started_ms,
            resident_bytes: process.resident_bytes(),
        });
        Self {
            name: job.name.clone(),
            state: lifecycle.state,
            desired: lifecycle.desired,
            since_ms: lifecycle.since_ms,
            version: job.version,
            submitted_ms: version.submitted_ms,
            workers: version.workers,
            process_count: version.processes,
            processes: processes.collect(),
            restarts: lifecycle.restarts,
            failures: lifecycle.failures,
            crash_looping: lifecycle.is_crash_looping(),
            next_start_ms: waits.then_some(lifecycle.start_at_ms),
            last_error: lifecycle.last_error.clone(),
            last_error_ms: lifecycle.last_error_ms,
            memory_limit_bytes: version.memory_limit_bytes,
        }
    }
}

/// All jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// By name.
    pub jobs: Vec<JobView>,
}

/// A job that was submitted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SubmittedView {
    /// The job.
    pub job: JobView,
    /// What looks wrong with its file but does no harm.
    pub warnings: Vec<String>,
}

/// A checkpoint that can be restored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointView {
    /// Its manifest's name in the store.
    pub name: String,
    /// The epoch of its cut.
    pub epoch: u64,
    /// Why it was taken: `periodic`, `savepoint` or `final`.
    pub kind: String,
    /// When it was made.
    pub created_ms: u64,
    /// The claim of the process that made it.
    pub generation: u64,
    /// How many workers the job had.
    pub workers: u32,
    /// What restoring it reads, in bytes.
    pub bytes: u64,
    /// Whether the job goes on from this one.
    pub latest: bool,
}

/// A job's checkpoints.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointList {
    /// Where they are.
    pub store: String,
    /// The newest first.
    pub checkpoints: Vec<CheckpointView>,
}

/// A part of a job's log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// Whole lines; empty if there are no more yet.
    pub text: String,
    /// What to ask for next.
    pub next: String,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name: letters, digits, `-`, `_`, `.` and `@`.
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._@-]+$")]
    pub name: String,
    /// What its holder may do.
    pub role: Role,
}

/// A token that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// Its name.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The token. It is shown this once and stored only as a hash.
    pub token: String,
}

/// All tokens.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<Token>,
}
