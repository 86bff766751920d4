//! One verdict about a job, with its reason in a sentence.
//!
//! A pure function of what the processes have measured now and within the last minute. **Degraded**: something gets worse, or a
//! sink's store is down; nothing is lost, and the job comes back by itself if the cause goes away. **Unhealthy**: something that should move has
//! stood still for the whole minute, or most of what is read is lost to the dead letters; somebody has to look. docs/metrics.md has the rules.

mod rules;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lag::Lag;
use super::measurements::Measurements;
use super::window::Window;

/// How a job fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The verdict: that of its worst problem.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// All that is wrong, the worst first.
    pub problems: Vec<Problem>,
}

/// The verdict, from good to bad.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does what it should.
    #[default]
    Healthy,
    /// Something gets worse, but nothing stands still.
    Degraded,
    /// Somebody has to look.
    Unhealthy,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which rule found it.
    pub problem: ProblemKind,
    /// The split (`source/split`), sink, source or view; empty if it is the job.
    pub subject: String,
    /// How bad it is.
    pub severity: Verdict,
    /// What it is, in one sentence.
    pub reason: String,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A sink's store is down: its circuit breaker is not closed.
    SinkDown,
    /// A sink takes less than comes: its outbox is full, so sources wait.
    SinkSlow,
    /// Records should be in a checkpoint by now.
    CheckpointOverdue,
    /// Records wait in a split, and none is read.
    SplitStalled,
    /// A split falls behind.
    LagGrowing,
    /// A quiet split holds the watermark back.
    WatermarkHeld,
    /// Most of what is read ends in the dead letters.
    DeadLettersMost,
    /// More and more ends in the dead letters.
    DeadLettersRising,
    /// A server's job does not answer.
    NotAnswering,
    /// A server's job has failed and starts again, or won't.
    Failing,
}

impl Verdict {
    /// All of them, from good to bad.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// Its name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl ProblemKind {
    /// Its name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SinkDown => "sink_down",
            Self::SinkSlow => "sink_slow",
            Self::CheckpointOverdue => "checkpoint_overdue",
            Self::SplitStalled => "split_stalled",
            Self::LagGrowing => "lag_growing",
            Self::WatermarkHeld => "watermark_held",
            Self::DeadLettersMost => "dead_letters_most",
            Self::DeadLettersRising => "dead_letters_rising",
            Self::NotAnswering => "not_answering",
            Self::Failing => "failing",
        }
    }
}

impl Health {
    /// The verdict about a job, by what its processes have measured, process 0 first.
    #[must_use]
    pub fn of(processes: &[Measurements], window: &Window) -> Self {
        let Some(first) = processes.first() else {
            return Self::default();
        };
        if !processes.iter().all(|process| process.running) {
            return Self {
                reason: "it reads its state and connects".to_owned(),
                ..Self::default()
            };
        }
        let lag = Lag::of(first, window);
        let found = [
            rules::sinks_down(processes),
            rules::sinks_slow(processes, window),
            rules::checkpoint_overdue(first),
            rules::splits(first, &lag, window),
            rules::watermarks_held(&lag, window),
            rules::dead_letters(window),
        ];
        Self::with(found.into_iter().flatten().collect(), || at_ease(&lag))
    }

    /// The verdict that follows from these problems; without any the reason is as given.
    #[must_use]
    pub fn with(mut problems: Vec<Problem>, healthy: impl FnOnce() -> String) -> Self {
        // Among equals those that explain others come first, which is the order of the rules.
        problems.sort_by_key(|problem| (std::cmp::Reverse(problem.severity), problem.problem));
        match problems.first() {
            None => Self {
                reason: healthy(),
                ..Self::default()
            },
            Some(worst) => Self {
                verdict: worst.severity,
                reason: worst.reason.clone(),
                problems,
            },
        }
    }
}

fn at_ease(lag: &Lag) -> String {
    match (lag.records_behind, lag.catch_up_seconds) {
        (0, _) => "it keeps up".to_owned(),
        (records, Some(seconds)) if seconds > 0.0 => {
            format!("it is {records} records behind and will have caught up in {seconds:.0} s")
        }
        (records, _) => format!("it keeps up, {records} records behind"),
    }
}

#[cfg(test)]
mod tests;
