//! What the API shows of jobs, checkpoints, logs and tokens. Times are milliseconds since 1970.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::change::ChangeState;
use crate::control::lifecycle::{Desired, JobState};
use crate::control::registry::records::{Job, Operation, Origin, Role, Token, Version};

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
    /// The change under way.
    pub change: Option<ChangeView>,
    /// The job that it is a shadow of.
    pub shadow_of: Option<String>,
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

/// A change of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// The operation.
    pub operation: String,
    /// The version that the job is to run.
    pub version: u32,
    /// How far it is.
    pub state: ChangeState,
}

/// A version of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// From 1.
    pub version: u32,
    /// How it came about.
    pub origin: Origin,
    /// When.
    pub submitted_ms: u64,
    /// By which token.
    pub submitted_by: String,
    /// Worker threads of each process.
    pub workers: u16,
    /// Processes.
    pub processes: u16,
    /// The job file's name, as submitted.
    pub file_name: String,
    /// The job runs it, or ran it last.
    pub current: bool,
}

/// All versions of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// The first one first.
    pub versions: Vec<VersionView>,
}

impl VersionList {
    /// What is shown of a job's versions.
    #[must_use]
    pub fn of(job: &Job, versions: Vec<Version>) -> Self {
        let view = |version: Version| VersionView {
            version: version.version,
            origin: version.origin,
            submitted_ms: version.submitted_ms,
            submitted_by: version.submitted_by,
            workers: version.workers,
            processes: version.processes,
            file_name: version.file_name,
            current: version.version == job.version,
        };
        Self {
            versions: versions.into_iter().map(view).collect(),
        }
    }
}

/// An upgrade that was begun.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UpgradeView {
    /// The operation.
    pub operation: Operation,
    /// What looks wrong with the file but does no harm, and what becomes of the job's state.
    pub warnings: Vec<String>,
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
            change: job.change.as_ref().map(|change| ChangeView {
                operation: change.operation.clone(),
                version: change.version,
                state: change.state(),
            }),
            shadow_of: shadow_of(job, version),
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

fn shadow_of(job: &Job, version: &Version) -> Option<String> {
    let suffix = format!(".shadow.{}", version.shadow.as_ref()?);
    job.name.strip_suffix(&suffix).map(str::to_owned)
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
