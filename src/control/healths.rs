//! How the jobs of a server fare: those that run are asked each second, so that whoever wants to know need not wait for them.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::client;
use super::folders::Folders;
use super::lifecycle::{JobState, Lifecycle};
use super::protocol::{Answer, Request};
use super::registry::Registry;
use super::registry::records::Job;
use crate::metrics::health::{Health, Problem, ProblemKind, Verdict};

/// How often jobs are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A job that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A job that has not answered so often in a row is told to be silent.
const SILENCES_MAX: u32 = 3;

/// What jobs said last, by number.
#[derive(Debug, Default)]
pub struct Healths(Mutex<BTreeMap<u64, Said>>);

#[derive(Clone, Debug, Default)]
struct Said {
    health: Option<Health>,
    silences: u32,
}

impl Healths {
    /// Asks jobs from now on, on a thread that ends with the process.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn watch(registry: Arc<Registry>, folders: Folders) -> io::Result<Arc<Self>> {
        let healths = Arc::new(Self::default());
        let watcher = healths.clone();
        thread::Builder::new()
            .name("healths".to_owned())
            .spawn(move || {
                loop {
                    match registry.jobs() {
                        Ok(jobs) => watcher.look(&jobs, &folders),
                        Err(error) => tracing::warn!(%error, "jobs are not asked how they fare"),
                    }
                    thread::sleep(ASK_EVERY);
                }
            })?;
        Ok(healths)
    }

    fn look(&self, jobs: &[Job], folders: &Folders) {
        let runs = |job: &&Job| job.lifecycle.state == JobState::Running;
        let running: Vec<_> = jobs.iter().filter(runs).collect();
        self.lock()
            .retain(|id, _| running.iter().any(|job| job.id == *id));
        for job in running {
            let answer = ask(&folders.socket(job.id));
            let mut said = self.lock();
            let said = said.entry(job.id).or_default();
            match answer {
                Some(health) => {
                    *said = Said {
                        health: Some(health),
                        silences: 0,
                    }
                }
                None => said.silences = said.silences.saturating_add(1),
            }
        }
    }

    /// How a job fares; `None` if nobody wants it to run, or it has just begun.
    #[must_use]
    pub fn of(&self, job: &Job) -> Option<Health> {
        let said = self.lock().get(&job.id).cloned();
        judge(&job.lifecycle, said.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask(socket: &Path) -> Option<Health> {
    let mut asked = client::ask(socket, &Request::Health {}).ok()?;
    match asked.answer(Some(PATIENCE)) {
        Ok(Answer::Health(health)) => Some(health),
        _ => None,
    }
}

/// The verdict from outside of a job: a job that does not run as wanted cannot speak for itself.
fn judge(lifecycle: &Lifecycle, said: Said) -> Option<Health> {
    let problem = |problem, severity, reason: String| {
        let subject = String::new();
        let problem = Problem {
            problem,
            subject,
            severity,
            reason,
        };
        Some(Health::with(vec![problem], String::new))
    };
    let error = lifecycle
        .last_error
        .as_deref()
        .unwrap_or("nobody knows why");
    match lifecycle.state {
        JobState::Running if said.silences >= SILENCES_MAX => problem(
            ProblemKind::NotAnswering,
            Verdict::Unhealthy,
            "its process does not answer".to_owned(),
        ),
        JobState::Running => said.health,
        JobState::Restarting | JobState::Failing if lifecycle.is_crash_looping() => problem(
            ProblemKind::Failing,
            Verdict::Unhealthy,
            format!(
                "it has failed {} times in a row: {error}",
                lifecycle.failures
            ),
        ),
        JobState::Restarting | JobState::Failing => problem(
            ProblemKind::Failing,
            Verdict::Degraded,
            format!("it has failed and starts again: {error}"),
        ),
        JobState::Failed => problem(
            ProblemKind::Failing,
            Verdict::Unhealthy,
            format!("it has failed for good: {error}"),
        ),
        JobState::Created
        | JobState::Cancelling
        | JobState::Canceled
        | JobState::Finished
        | JobState::Suspended => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lifecycle: &Lifecycle, silences: u32, expected: Option<(Verdict, &str)>) {
        let health = Some(Health {
            reason: "it keeps up".to_owned(),
            ..Health::default()
        });
        let health = judge(lifecycle, Said { health, silences });
        let found = health
            .as_ref()
            .map(|health| (health.verdict, &*health.reason));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_job_that_runs_speaks_for_itself_and_one_that_does_not_is_judged() {
        let lifecycle = |state, failures| Lifecycle {
            state,
            failures,
            last_error: Some("disk full".to_owned()),
            ..Lifecycle::submitted(0)
        };
        let keeps_up = Some((Verdict::Healthy, "it keeps up"));
        check(&lifecycle(JobState::Running, 0), 2, keeps_up);
        let silent = Some((Verdict::Unhealthy, "its process does not answer"));
        check(&lifecycle(JobState::Running, 0), 3, silent);
        let again = Some((
            Verdict::Degraded,
            "it has failed and starts again: disk full",
        ));
        check(&lifecycle(JobState::Restarting, 1), 0, again);
        let looping = Some((
            Verdict::Unhealthy,
            "it has failed 3 times in a row: disk full",
        ));
        check(&lifecycle(JobState::Restarting, 3), 0, looping);
        let lost = Some((Verdict::Unhealthy, "it has failed for good: disk full"));
        check(&lifecycle(JobState::Failed, 1), 0, lost);
        check(&lifecycle(JobState::Suspended, 0), 0, None);
    }
}
