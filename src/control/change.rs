//! Changing a job while it runs: another shape, another job file, a replay. Whatever it is, it is a new version of the job, and
//! this pure state machine brings the job from the version that runs to that one, or back.
//!
//! ```text
//! asked ──> taking over ── the old processes have ended ──────────────┐
//!   │         │  └─ the new ones can't, twice ──> nothing has changed  ├──> starting ──> done: it runs
//!   └──────> stopping ── the old processes have ended ────────────────┘       └── it does not start: back to the old version
//! ```
//! Taking over, the new version's processes read the job's state while the old ones run, and have them stop when they are
//! ready ([decision 9](../../docs/decisions/0009-a-job-is-taken-over-by-a-process-that-has-read-ahead.md)). Where nothing runs
//! that could be asked, or nothing can be read ahead, the old processes stop first.
//!
//! Each phase is noted before its first step is taken, so a server that is killed goes on where it was.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lifecycle::{Desired, Exit, JobState, Lifecycle, Observed};
use super::supervisor::process::ProcessId;

/// How often it is tried to take a job over, and to start it, before the change is given up: one failure may be the server's,
/// which was killed before it let the processes go.
pub const TRIES: u8 = 2;

/// How long a new version has to run until it has started, in milliseconds: what it writes to is opened with the first rows, so
/// a store that cannot be used ends it a moment after it has begun.
const PROVEN_AFTER_MS: u64 = 1_000;

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The operation that asked for it.
    pub operation: String,
    /// The version that the job is to run.
    pub version: u32,
    /// The version that it goes on with should that one not start; none if there was none.
    pub back: Option<Back>,
    /// What the new version differs in.
    pub kind: ChangeKind,
    /// How far it is.
    pub phase: Phase,
}

/// What a new version differs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Workers and processes: whatever state one version makes is also the other's.
    Shape,
    /// The job file.
    File,
    /// What it begins with: there is nothing to read ahead.
    Beginning,
}

/// What a job goes back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The version.
    pub version: u32,
    /// What that version had published when, see `Job::begun_after`.
    pub begun_after: Option<u64>,
}

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been done.
    Asked {
        /// How often it may be tried to take the job over.
        tries: u8,
    },
    /// Processes of the new version read ahead, and then have those of the old one stop.
    TakingOver {
        /// How often it may be tried after this time.
        tries: u8,
        /// The number of their start.
        attempt: u64,
        /// They, by their index.
        processes: Vec<ProcessId>,
        /// The claim of the process that they take over from.
        generation: u64,
    },
    /// The processes of the old version stop.
    Stopping,
    /// The new version is the job's, and has to show that it runs.
    Starting {
        /// How often it may be tried after this time.
        tries: u8,
    },
}

/// How far a change is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// Nothing has been done.
    Asked,
    /// Processes of the new version read ahead.
    TakingOver,
    /// The processes of the old version stop.
    Stopping,
    /// The new version starts.
    Starting,
}

/// What to do next about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the job lives on as it would.
    Wait,
    /// Start processes that take the job over.
    TakeOver,
    /// Have the old processes stop.
    Stop,
    /// End the processes that were to take over.
    Kill,
    /// Try once more to take over.
    Again,
    /// The processes that took over are the job's.
    Promote,
    /// Nothing runs: the new version is the job's, and starts.
    Switch,
    /// Start the new version once more.
    Retry,
    /// The new version runs.
    Done,
    /// It won't: the job goes on with what it had.
    Back(String),
    /// It is over without its effect, and the job stays as it is.
    Fail(String),
}

impl Change {
    /// A change that was just asked for.
    #[must_use]
    pub fn asked(operation: String, version: u32, back: Option<Back>, kind: ChangeKind) -> Self {
        let phase = match back {
            Some(_) => Phase::Asked { tries: TRIES },
            // There is nothing to stop.
            None => Phase::Starting { tries: TRIES - 1 },
        };
        Self {
            operation,
            version,
            back,
            kind,
            phase,
        }
    }

    /// Nobody may stop the job now: its processes are being exchanged, which takes a moment.
    #[must_use]
    pub fn is_exchanging(&self) -> bool {
        !matches!(self.phase, Phase::Starting { .. })
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> ChangeState {
        match self.phase {
            Phase::Asked { .. } => ChangeState::Asked,
            Phase::TakingOver { .. } => ChangeState::TakingOver,
            Phase::Stopping => ChangeState::Stopping,
            Phase::Starting { .. } => ChangeState::Starting,
        }
    }

    /// What to do before the job's own life goes on. `old`: its processes; `new`: those that take over, looked at first.
    #[must_use]
    pub fn before(&self, job: &Lifecycle, old: &Observed, new: &Observed) -> Step {
        if job.state.is_terminal() || job.desired == Desired::Canceled {
            return self.over(job, new);
        }
        match &self.phase {
            Phase::Asked { .. } if job.state == JobState::Running && old.ready => match self.kind {
                ChangeKind::Shape | ChangeKind::File => Step::TakeOver,
                ChangeKind::Beginning => Step::Stop,
            },
            // Whatever is there can't be asked yet, and has done nothing that would have to be kept.
            Phase::Asked { .. } => Step::Stop,
            Phase::TakingOver { tries, .. } => taking_over(*tries, old, new),
            Phase::Starting { .. } if job.desired != Desired::Running => {
                Step::Fail("the job was asked to stop meanwhile".to_owned())
            }
            Phase::Stopping | Phase::Starting { .. } => Step::Wait,
        }
    }

    /// What to do when the job's own life has gone on to `next`.
    #[must_use]
    pub fn after(&self, next: &Lifecycle, seen: &Observed, now_ms: u64) -> Step {
        let over = seen.alive == 0;
        let proven_from = next.since_ms.saturating_add(PROVEN_AFTER_MS);
        match (&self.phase, next.state) {
            (Phase::Stopping, JobState::Finished | JobState::Canceled) => Step::Wait,
            (Phase::Stopping, state) if state.is_terminal() => Step::Switch,
            (Phase::Starting { .. }, JobState::Running) if now_ms < proven_from => Step::Wait,
            (Phase::Starting { .. }, JobState::Running | JobState::Finished) => Step::Done,
            (Phase::Starting { tries }, JobState::Restarting) if over && seen.ended.is_some() => {
                match tries {
                    0 => self.failed_to_start(next),
                    _ => Step::Retry,
                }
            }
            // Starting it again would not help.
            (Phase::Starting { .. }, JobState::Failed) => self.failed_to_start(next),
            _ => Step::Wait,
        }
    }

    fn failed_to_start(&self, next: &Lifecycle) -> Step {
        let words = next.last_error.clone();
        let words = words.unwrap_or_else(|| "no error is known".to_owned());
        match self.back {
            Some(_) => Step::Back(words),
            None => Step::Fail(words),
        }
    }

    /// The job is over, or is to be.
    fn over(&self, job: &Lifecycle, new: &Observed) -> Step {
        if new.alive > 0 {
            return Step::Kill;
        }
        let starting = matches!(self.phase, Phase::Starting { .. });
        if starting && job.state == JobState::Finished {
            return Step::Done;
        }
        let how = match job.desired {
            Desired::Canceled => "was canceled",
            _ if job.state == JobState::Finished => "has finished",
            _ => "has ended",
        };
        Step::Fail(format!("the job {how} meanwhile"))
    }
}

/// Processes of both versions, or what is left of them.
fn taking_over(tries: u8, old: &Observed, new: &Observed) -> Step {
    let finished = matches!(old.ended, Some((Exit::Finished, _)));
    match (&new.ended, new.alive) {
        // The job's own life says so at once.
        _ if old.alive == 0 && finished => Step::Wait,
        (Some(_), 1..) => Step::Kill,
        (None, 1..) if old.alive == 0 => Step::Promote,
        (None, 1..) => Step::Wait,
        // They found nobody to take over from, or were never let go.
        (_, 0) if old.alive == 0 => Step::Switch,
        (_, 0) if tries > 0 => Step::Again,
        (ended, 0) => Step::Fail(match ended {
            Some((_, words)) => words.clone(),
            None => "no error is known".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
