//! Brings changes of jobs about: [`crate::control::change`] decides, this writes down and acts.

use super::crew::{self, Crew, Start};
use super::process::ProcessId;
use super::{Supervisor, now_ms, words};
use crate::control::change::{Change, ChangeKind, Phase, Step, TRIES};
use crate::control::checkpoints;
use crate::control::client::{self, ClientError};
use crate::control::lifecycle::{Desired, Lifecycle, Observed};
use crate::control::protocol::{Answer, Request};
use crate::control::registry::RegistryError;
use crate::control::registry::records::{Job, Version};
use crate::control::status::JobStatus;
use crate::control::submission;

/// What a start has to do with what the job has in its checkpoint store.
pub(super) struct Beginning {
    /// The version's options for its first start count.
    pub first: bool,
    /// Whatever a later claim has published is of the version's own making.
    pub begun_after: Option<u64>,
}

impl Supervisor {
    /// Looks at the processes that are to take a job over.
    pub(super) fn observe_successors(&mut self, job: &Job) -> Result<Observed, RegistryError> {
        let Some(Change {
            phase: Phase::TakingOver {
                attempt, processes, ..
            },
            version,
            ..
        }) = &job.change
        else {
            return Ok(Observed::default());
        };
        let version = self.registry.version(&job.name, *version)?;
        let seen = self.crews.observe(&Crew {
            job,
            attempt: *attempt,
            processes,
            memory_limit: version.memory_limit_bytes,
        });
        Ok(seen)
    }

    /// Takes a step of a change. `lifecycle`: the job's life as it is by now; `over`: none of its processes is left.
    pub(super) fn act(
        &mut self,
        job: &Job,
        change: &Change,
        lifecycle: Lifecycle,
        over: bool,
        step: Step,
    ) -> Result<(), RegistryError> {
        let mut next = Job {
            lifecycle,
            ..job.clone()
        };
        if over {
            next.processes.clear();
        }
        match (&step, &change.phase) {
            (Step::TakeOver, Phase::Asked { tries }) => {
                return self.take_over(job, change, tries.saturating_sub(1));
            }
            (Step::Kill, Phase::TakingOver { processes, .. }) => {
                processes.iter().for_each(ProcessId::kill);
                return Ok(());
            }
            (Step::Done, _) => {
                let state = next.lifecycle.state.name();
                let runs = format!("version {} is {state}", change.version);
                return self.settle(job, next, change, Ok(runs));
            }
            (Step::Back(words), _) => return self.go_back(job, next, change, words),
            (Step::Fail(words), phase) => {
                let told = told(phase, &next, change, words);
                return self.settle(job, next, change, Err(told));
            }
            _ => note(&mut next, change, &step, now_ms()),
        }
        if self.registry.replace(job, &next, now_ms())? {
            if over {
                self.crews.forget(&job.processes);
            }
            if let (Phase::TakingOver { processes, .. }, Step::Switch | Step::Again) =
                (&change.phase, &step)
            {
                self.crews.forget(processes);
            }
            let state = next.change.as_ref().map(Change::state);
            tracing::info!(job = job.name, version = change.version, ?state, "change");
        }
        Ok(())
    }

    /// Starts processes that take the job over, notes them, and only then lets them go.
    fn take_over(&mut self, job: &Job, change: &Change, tries: u8) -> Result<(), RegistryError> {
        let now_ms = now_ms();
        let asking = |phase| {
            let mut next = job.clone();
            next.change_to(phase);
            next
        };
        let version = self.registry.version(&job.name, change.version)?;
        let first = match change.kind {
            ChangeKind::Shape => self.beginning(job, &version).is_ok_and(|it| it.first),
            ChangeKind::File | ChangeKind::Beginning => true,
        };
        let answer = client::ask_once(&self.folders.socket(job.id), &Request::Status {});
        let Some(status) = answered(answer).filter(|_| !first || !version.once.begins_elsewhere())
        else {
            // It does not answer now, and may never again: it is stopped, which has its limit. Or there is nothing yet to
            // read ahead.
            let mut next = asking(Phase::Stopping);
            next.lifecycle.want(Desired::Suspended, false);
            self.registry.replace(job, &next, now_ms)?;
            return Ok(());
        };
        let start = Start {
            job,
            version: &version,
            attempt: job.attempt.saturating_add(1),
            opening: words::taking_over(version.version),
            first,
            takes_over: true,
        };
        let started = match self.crews.spawn(&start, now_ms) {
            Ok(started) => started,
            Err(error) => {
                let words = format!("its processes cannot be started: {error}");
                let told = told(&change.phase, job, change, &words);
                return self.settle(job, job.clone(), change, Err(told));
            }
        };
        let next = asking(Phase::TakingOver {
            tries,
            attempt: start.attempt,
            processes: started.iter().map(|one| one.id.clone()).collect(),
            generation: status.generation,
        });
        let message = serde_json::to_string(&version.overrides)?;
        if self.registry.replace(job, &next, now_ms)? {
            self.crews.release(started, &message);
            tracing::info!(job = job.name, version = version.version, "is taken over");
        } else {
            crew::abandon(started);
        }
        Ok(())
    }

    /// The change is over.
    fn settle(
        &mut self,
        job: &Job,
        mut next: Job,
        change: &Change,
        outcome: Result<String, String>,
    ) -> Result<(), RegistryError> {
        next.change = None;
        tracing::info!(job = job.name, ?outcome, "change is over");
        let operation = &change.operation;
        if self
            .registry
            .settle(job, &next, operation, outcome, now_ms())?
        {
            if next.processes.is_empty() {
                self.crews.forget(&job.processes);
            }
            if let Phase::TakingOver { processes, .. } = &change.phase {
                self.crews.forget(processes);
            }
        }
        Ok(())
    }

    /// The new version does not start: the job goes on with the one before, unless its state is the new one's already.
    fn go_back(
        &mut self,
        job: &Job,
        mut next: Job,
        change: &Change,
        words: &str,
    ) -> Result<(), RegistryError> {
        let version = self.registry.version(&job.name, job.version)?;
        let has_published = match (job.begun_after, self.generations(job, &version)) {
            _ if change.kind == ChangeKind::Shape => false,
            (Some(begun_after), Ok(found)) => found.published > begun_after,
            // It was not even started, or nothing can be said.
            (None, _) => false,
            (Some(_), Err(error)) => {
                tracing::warn!(job = job.name, error, "the checkpoint store cannot be read");
                false
            }
        };
        let Some(back) = change.back.as_ref().filter(|_| !has_published) else {
            let told = format!(
                "version {} ends by itself: {words}. The job's state has become its own, so the server goes on starting it; \
                 mend the job file and upgrade again",
                change.version
            );
            return self.settle(job, next, change, Err(told));
        };
        next.version = back.version;
        next.begun_after = back.begun_after;
        next.lifecycle = next.lifecycle.begun_again(now_ms());
        let told = format!(
            "version {} does not start: {words}\nThe job goes on with version {}",
            change.version, back.version
        );
        self.settle(job, next, change, Err(told))
    }

    /// Whether a start of a version is its first one, as far as the job's state goes.
    pub(super) fn beginning(&self, job: &Job, version: &Version) -> Result<Beginning, String> {
        let is_changing = job.change.is_some();
        if !is_changing && version.once.is_none() {
            return Ok(Beginning {
                first: false,
                begun_after: job.begun_after,
            });
        }
        let found = self.generations(job, version)?;
        Ok(match job.begun_after {
            None => Beginning {
                first: true,
                begun_after: Some(found.claimed),
            },
            Some(begun_after) => Beginning {
                first: found.published <= begun_after,
                begun_after: Some(begun_after),
            },
        })
    }

    fn generations(
        &self,
        job: &Job,
        version: &Version,
    ) -> Result<checkpoints::Generations, String> {
        let compiled = submission::compile_version(version, &self.allowed)
            .map_err(|refused| refused.to_string())?;
        let folder = self.folders.working(&job.name, version.shadow.as_deref());
        checkpoints::generations(&compiled, &folder)
    }
}

/// What a step makes of a job's entry.
fn note(next: &mut Job, change: &Change, step: &Step, now_ms: u64) {
    let starting = |tries| Phase::Starting { tries };
    match (step, &change.phase) {
        (Step::Stop, _) => {
            next.lifecycle.want(Desired::Suspended, false);
            next.change_to(Phase::Stopping);
        }
        (Step::Again, Phase::TakingOver { tries, .. }) => {
            next.change_to(Phase::Asked { tries: *tries });
        }
        (
            Step::Promote,
            Phase::TakingOver {
                attempt,
                processes,
                generation,
                ..
            },
        ) => {
            next.attempt = *attempt;
            next.processes.clone_from(processes);
            next.now_runs(change, Some(*generation), now_ms);
            next.change_to(starting(TRIES - 1));
        }
        (Step::Switch, _) => {
            next.now_runs(change, None, now_ms);
            next.change_to(starting(TRIES - 1));
        }
        (Step::Retry, Phase::Starting { tries }) => {
            next.lifecycle = next.lifecycle.begun_again(now_ms);
            next.change_to(starting(tries.saturating_sub(1)));
        }
        // The state machine asks for nothing else in these phases.
        _ => {}
    }
}

fn answered(answer: Result<Answer, ClientError>) -> Option<Box<JobStatus>> {
    match answer {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// Why a change had no effect, and what runs now.
fn told(phase: &Phase, job: &Job, change: &Change, words: &str) -> String {
    let is_wanted = job.lifecycle.desired == Desired::Running;
    if job.lifecycle.state.is_terminal() || !is_wanted {
        return words.to_owned();
    }
    match phase {
        Phase::Starting { .. } => format!(
            "version {} does not start, and the server goes on trying: {words}",
            change.version
        ),
        _ => format!(
            "version {} does not start: {words}\nThe job goes on with version {}",
            change.version, job.version
        ),
    }
}
