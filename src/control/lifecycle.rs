//! The life of a job as one pure state machine: what is wanted and what is seen decide the next state and the next
//! step. It knows no process, no clock and no database; [`super::supervisor`] observes, asks here, and acts.
//!
//! ```text
//!            ready              failure             delay is over
//! created ─────────> running ─────────> restarting ───────────────> (started again)
//!    │                  │ │  one process of several failed,
//!    │                  │ │  or memory over its limit: failing ──> restarting
//!    │ stop, cancel     │ └─ end of input ──> finished
//!    └──> cancelling <──┘    can't get better by itself ──> failed
//!              └──> suspended (stop), finished (drain), canceled (cancel);
//!                   restarting, if it fails and only a good end will do
//! ```
//!
//! The names are Flink's job states.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Submitted; its processes start.
    Created,
    /// Its processes run.
    Running,
    /// It ended against expectation and starts again from its last checkpoint.
    Restarting,
    /// It cannot go on, and its remaining processes are being ended.
    Failing,
    /// It cannot go on, and starting it again would not help.
    Failed,
    /// Asked to end.
    Cancelling,
    /// Ended because somebody canceled it.
    Canceled,
    /// Its input has ended and everything is delivered.
    Finished,
    /// Stopped with a final checkpoint; the next submission goes on from there.
    Suspended,
}

impl JobState {
    /// No process runs, and none will until the job is submitted again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Canceled | Self::Finished | Self::Suspended
        )
    }

    /// The name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Canceled => "canceled",
            Self::Finished => "finished",
            Self::Suspended => "suspended",
        }
    }
}

/// What somebody wants of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It runs.
    Running,
    /// It stops with a final checkpoint.
    Suspended,
    /// Its input ends, all windows close, and it stops when everything is delivered.
    Drained,
    /// It ends; whatever it was doing is done again should it ever be submitted again.
    Canceled,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself: its input has ended.
    Finished,
    /// In good order, because somebody asked it to.
    Stopped,
    /// With an error that a restart may mend.
    Failed,
    /// With an error that stays until somebody changes something.
    Hopeless,
}

/// What is seen of a job's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How many run.
    pub alive: usize,
    /// All of them run, and the job answers.
    pub ready: bool,
    /// How those that ended have ended; the worst counts, with its last words.
    pub ended: Option<(Exit, String)>,
    /// What is said of a process that uses more memory than it may.
    pub over_memory: Option<String>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Wait,
    /// Start all processes.
    Start,
    /// End all processes at once.
    Kill,
}

/// Times that the state machine goes by, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// From the first failure to the restart; doubles with each further one.
    pub restart_delay_ms: u64,
    /// The longest delay.
    pub restart_delay_max_ms: u64,
    /// After this time without a failure the next one counts as the first.
    pub stable_after_ms: u64,
    /// How long a process may take to stop in good order before it is killed.
    pub stop_patience_ms: u64,
}

/// This many failures in a row are a crash loop.
pub const CRASH_LOOP_FAILURES: u32 = 3;
/// Delays are spread by up to this share, so that jobs that fell together don't come back together.
pub const JITTER: f64 = 0.25;

/// Everything that decisions rest on besides what is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// What is wanted.
    pub desired: Desired,
    /// Only a good end will do: a job that fails while it stops is started again and asked again, because a savepoint or the
    /// end of its input was wanted with it.
    #[serde(default)]
    pub insist: bool,
    /// Where it is.
    pub state: JobState,
    /// Since when: milliseconds since 1970.
    pub since_ms: u64,
    /// Not started before this time.
    pub start_at_ms: u64,
    /// After this time a process that was asked to end is killed.
    pub stop_by_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Starts after the first one, of this submission.
    pub restarts: u64,
    /// Why it last ended against expectation.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_ms: Option<u64>,
}

impl Lifecycle {
    /// A job that was just submitted.
    #[must_use]
    pub fn submitted(now_ms: u64) -> Self {
        Self {
            desired: Desired::Running,
            insist: false,
            state: JobState::Created,
            since_ms: now_ms,
            start_at_ms: now_ms,
            stop_by_ms: None,
            failures: 0,
            restarts: 0,
            last_error: None,
            last_error_ms: None,
        }
    }

    /// It fails again and again.
    #[must_use]
    pub fn is_crash_looping(&self) -> bool {
        self.failures >= CRASH_LOOP_FAILURES && !self.state.is_terminal()
    }

    /// Wants something else. A job that has ended stays as it is.
    pub fn want(&mut self, desired: Desired, insist: bool) {
        if !self.state.is_terminal() {
            self.desired = desired;
            self.insist = insist;
            // Another kind of stop is asked for anew.
            self.stop_by_ms = None;
        }
    }

    /// The job goes on with other processes, which may be there already or start at once. What it has suffered stays known.
    #[must_use]
    pub fn begun_again(&self, now_ms: u64) -> Self {
        let mut next = self.clone();
        next.enter(JobState::Restarting, now_ms);
        Self {
            desired: match next.desired {
                // A stop for the sake of a change.
                Desired::Suspended => Desired::Running,
                desired => desired,
            },
            insist: false,
            start_at_ms: now_ms,
            stop_by_ms: None,
            failures: 0,
            ..next
        }
    }

    /// The next state and step. `jitter` is uniform in [0, 1).
    #[must_use]
    pub fn next(
        &self,
        seen: &Observed,
        now_ms: u64,
        policy: &Policy,
        jitter: f64,
    ) -> (Self, Action) {
        let mut next = self.clone();
        let action = match (&seen.ended, seen.alive) {
            _ if self.state.is_terminal() && seen.alive == 0 => Action::Wait,
            // Nothing may run here, whoever started it.
            _ if self.state.is_terminal() => Action::Kill,
            (ended, 1..) => next.while_running(seen, ended.as_ref(), now_ms, policy),
            (Some((exit, words)), 0) => {
                next.after_the_end(*exit, words, now_ms, policy, jitter);
                Action::Wait
            }
            (None, 0) => next.before_the_start(now_ms),
        };
        (next, action)
    }

    fn enter(&mut self, state: JobState, now_ms: u64) {
        if self.state != state {
            self.state = state;
            self.since_ms = now_ms;
        }
    }

    fn before_the_start(&mut self, now_ms: u64) -> Action {
        match self.desired {
            Desired::Canceled => self.enter(JobState::Canceled, now_ms),
            Desired::Suspended if !self.insist => self.enter(JobState::Suspended, now_ms),
            _ if now_ms >= self.start_at_ms => return Action::Start,
            _ => {}
        }
        Action::Wait
    }

    fn while_running(
        &mut self,
        seen: &Observed,
        ended: Option<&(Exit, String)>,
        now_ms: u64,
        policy: &Policy,
    ) -> Action {
        if let Some(words) = &seen.over_memory {
            self.note_error(words, now_ms);
            self.enter(JobState::Failing, now_ms);
        }
        if let Some((Exit::Failed | Exit::Hopeless, words)) = ended
            && self.state != JobState::Failing
        {
            self.note_error(words, now_ms);
            self.enter(JobState::Failing, now_ms);
        }
        if self.state == JobState::Failing {
            return Action::Kill;
        }
        if self.desired == Desired::Running && ended.is_none() {
            return self.keep_running(seen.ready, now_ms, policy);
        }
        if self.desired != Desired::Running && ended.is_none() {
            match (
                self.state == JobState::Cancelling || seen.ready,
                self.insist,
            ) {
                // In this state it is asked at its socket.
                (true, _) => self.enter(JobState::Cancelling, now_ms),
                (false, true) => {}
                // It can't answer yet, and has done nothing that a checkpoint would have to keep.
                (false, false) => return Action::Kill,
            }
            if self.insist {
                // It takes as long as it takes.
                return Action::Wait;
            }
        }
        // Asked to end, or some have ended by themselves and the others should soon.
        let stop_by_ms = now_ms.saturating_add(policy.stop_patience_ms);
        let stop_by_ms = *self.stop_by_ms.get_or_insert(stop_by_ms);
        if now_ms >= stop_by_ms {
            Action::Kill
        } else {
            Action::Wait
        }
    }

    fn keep_running(&mut self, ready: bool, now_ms: u64, policy: &Policy) -> Action {
        if ready {
            self.enter(JobState::Running, now_ms);
        }
        let stable_from = self.since_ms.saturating_add(policy.stable_after_ms);
        if self.state == JobState::Running && now_ms >= stable_from {
            self.failures = 0;
        }
        Action::Wait
    }

    fn after_the_end(
        &mut self,
        exit: Exit,
        words: &str,
        now_ms: u64,
        policy: &Policy,
        jitter: f64,
    ) {
        let noted = self.state == JobState::Failing;
        self.stop_by_ms = None;
        if matches!(exit, Exit::Failed | Exit::Hopeless) && !noted {
            self.note_error(words, now_ms);
        }
        match (self.desired, exit) {
            (_, Exit::Finished) => self.enter(JobState::Finished, now_ms),
            (Desired::Canceled, _) => self.enter(JobState::Canceled, now_ms),
            (Desired::Suspended, Exit::Stopped) => self.enter(JobState::Suspended, now_ms),
            // A final checkpoint that failed costs nothing: the job goes on from the one before.
            (Desired::Suspended, _) if !self.insist => self.enter(JobState::Suspended, now_ms),
            (_, Exit::Hopeless) => self.enter(JobState::Failed, now_ms),
            (_, exit) => {
                // Somebody stopped the process behind our back, as at the machine's shutdown: no failure.
                if exit != Exit::Stopped {
                    self.failures = self.failures.saturating_add(1);
                }
                let delay_ms = delay_ms(self.failures.max(1), policy, jitter);
                self.start_at_ms = now_ms.saturating_add(delay_ms);
                self.restarts = self.restarts.saturating_add(1);
                self.enter(JobState::Restarting, now_ms);
            }
        }
    }

    fn note_error(&mut self, words: &str, now_ms: u64) {
        self.last_error = Some(words.to_owned());
        self.last_error_ms = Some(now_ms);
    }
}

/// Exponential backoff: doubles per failure up to the longest delay, then up to [`JITTER`] more.
fn delay_ms(failures: u32, policy: &Policy, jitter: f64) -> u64 {
    let doublings = failures.saturating_sub(1).min(32);
    let delay_ms = policy
        .restart_delay_ms
        .saturating_mul(1 << doublings)
        .min(policy.restart_delay_max_ms);
    delay_ms.saturating_add((delay_ms as f64 * JITTER * jitter) as u64)
}

#[cfg(test)]
mod tests;
