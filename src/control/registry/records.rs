//! What the registry remembers, as JSON.

mod once;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::once::{Once, Replay, ReplayFrom};
use crate::control::change::{Change, ChangeKind, Phase};
use crate::control::protocol::StopSavepoint;
use crate::control::{lifecycle::Lifecycle, supervisor::process::ProcessId};

/// A job: the name is its identity, here as in the checkpoint store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// A small number for names of files that must be short.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The version that runs or ran last.
    pub version: u32,
    /// When the name was first submitted: milliseconds since 1970.
    pub created_ms: u64,
    /// What is wanted of it and where it is.
    pub lifecycle: Lifecycle,
    /// Its processes by their index, all of one start, until all have been seen to end.
    pub processes: Vec<ProcessId>,
    /// Which start they are of: names their files. 0 for what format 1 has noted.
    #[serde(default)]
    pub attempt: u64,
    /// The latest version that there is, perhaps one that never ran; 0 stands for [`Job::version`].
    #[serde(default)]
    pub last_version: u32,
    /// What a claim after this one has published is of the running version's own making; not known if absent.
    #[serde(default)]
    pub begun_after: Option<u64>,
    /// The change under way.
    #[serde(default)]
    pub change: Option<Change>,
}

impl Job {
    /// A job that has just got its first version.
    #[must_use]
    pub fn new(id: u64, name: &str, now_ms: u64) -> Self {
        Self {
            id,
            name: name.to_owned(),
            version: 1,
            created_ms: now_ms,
            lifecycle: Lifecycle::submitted(now_ms),
            processes: Vec::new(),
            attempt: 0,
            last_version: 0,
            begun_after: None,
            change: None,
        }
    }

    /// The number of the version that comes next; the first one's if there is none.
    #[must_use]
    pub fn next_version(&self) -> u32 {
        self.version.max(self.last_version).saturating_add(1)
    }

    /// It runs the version of a change from now on. `begun_after`: see there; a version that differs in its shape alone goes on
    /// with what the one before has published.
    pub fn now_runs(&mut self, change: &Change, begun_after: Option<u64>, now_ms: u64) {
        self.version = change.version;
        if change.kind != ChangeKind::Shape {
            self.begun_after = begun_after;
        }
        self.lifecycle = self.lifecycle.begun_again(now_ms);
    }

    /// The change is in another phase.
    pub fn change_to(&mut self, phase: Phase) {
        if let Some(change) = &mut self.change {
            change.phase = phase;
        }
    }
}

/// One submission of a job. References such as `${env:NAME}` stay as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub version: u32,
    /// The job file's name, for messages.
    pub file_name: String,
    /// The job file.
    pub text: String,
    /// Its changed values, (dotted path, value).
    pub overrides: Vec<(String, String)>,
    /// Worker threads of each process.
    pub workers: u16,
    /// Processes; one in what format 1 has noted.
    #[serde(default = "one")]
    pub processes: u16,
    /// Resident memory of all processes together at which they are ended, in bytes; unlimited if absent.
    pub memory_limit_bytes: Option<u64>,
    /// When: milliseconds since 1970.
    pub submitted_ms: u64,
    /// By which token.
    pub submitted_by: String,
    /// How it came about.
    #[serde(default)]
    pub origin: Origin,
    /// It is the shadow of this name of the job that its file names.
    #[serde(default)]
    pub shadow: Option<String>,
    /// What only its first start does.
    #[serde(default)]
    pub once: Once,
}

/// How a version of a job came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The job was submitted.
    #[default]
    Submitted,
    /// It got other workers or processes.
    Rescaled,
    /// It got another job file.
    Upgraded,
    /// It reads its input again.
    Replayed,
}

fn one() -> u16 {
    1
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Stops a job with a final checkpoint.
    Stop,
    /// Ends a job.
    Cancel,
    /// Takes a savepoint of a job that goes on.
    Savepoint,
    /// Gives a job other workers or processes.
    Rescale,
    /// Gives a job another job file.
    Upgrade,
    /// Reads a job's input again.
    Replay,
}

impl OperationKind {
    /// It makes a new version of the job.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Rescale | Self::Upgrade | Self::Replay)
    }

    /// How the version that it makes came about.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Self::Rescale => Origin::Rescaled,
            Self::Upgrade => Origin::Upgraded,
            Self::Replay => Origin::Replayed,
            Self::Stop | Self::Cancel | Self::Savepoint => Origin::Submitted,
        }
    }
}

/// What an operation leaves behind besides its effect on the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wants {
    /// A savepoint: `false`, `true` (below the job's checkpoint store), or its URL.
    #[schema(value_type = SavepointChoice)]
    pub savepoint: StopSavepoint,
    /// The job's input ends first, so that all windows close.
    pub drain: bool,
}

/// Whether a savepoint is made: `false`, `true` (below the job's checkpoint store), or a URL of a folder of its own.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes StopSavepoint in the OpenAPI document")]
pub enum SavepointChoice {
    /// None, or one at the default place.
    Wanted(bool),
    /// One here.
    To(String),
}

impl Wants {
    /// Whether only a good end of the job will do.
    #[must_use]
    pub fn insist(&self) -> bool {
        self.drain || self.savepoint_wanted()
    }

    /// Whether a savepoint is wanted.
    #[must_use]
    pub fn savepoint_wanted(&self) -> bool {
        self.savepoint != StopSavepoint::Wanted(false)
    }
}

/// A savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SavepointView {
    /// The URL of its folder.
    pub location: String,
    /// The epoch of its cut.
    pub epoch: u64,
    /// The size of all its files, in bytes.
    pub bytes: u64,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Over, without its effect.
    Failed,
}

/// Something that takes a while, as a resource to poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// The job that it works on.
    pub job: String,
    /// What it does.
    pub kind: OperationKind,
    /// And what it leaves behind.
    pub wants: Wants,
    /// The version of the job that it makes, if it makes one.
    #[serde(default)]
    pub version: Option<u32>,
    /// How far it is.
    pub state: OperationState,
    /// When it was asked for: milliseconds since 1970.
    pub created_ms: u64,
    /// When it was over: milliseconds since 1970.
    pub finished_ms: Option<u64>,
    /// Why it failed, or what is worth knowing of its success.
    pub message: Option<String>,
    /// The savepoint that was made.
    pub savepoint: Option<SavepointView>,
}

/// What the holder of a token may do; each role may do everything that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Submits, stops and cancels jobs.
    Operator,
    /// Makes and revokes tokens.
    Admin,
}

impl Role {
    /// The name as in JSON and in the OpenAPI document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("{text} is no role; there are viewer, operator and admin"))
    }
}

/// A token, by what may be shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its name; unique.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made: milliseconds since 1970.
    pub created_ms: u64,
}

/// The first request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotent {
    /// SHA-256 of what was asked, as hexadecimal digits.
    pub request: String,
    /// The job that came of it.
    pub job: String,
    /// When: milliseconds since 1970.
    pub created_ms: u64,
}
