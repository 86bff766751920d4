//! What a server and its running jobs have measured, in the form that Prometheus reads.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::client;
use super::folders::Folders;
use super::lifecycle::JobState;
use super::protocol::{Answer, Request};
use super::registry::records::Job;
use crate::metrics::catalogue as all;
use crate::metrics::exposition::Exposition;
use crate::metrics::measurements::Measurements;

/// A job that takes longer has no metrics this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Jobs that are asked at the same time.
const AT_A_TIME: usize = 16;

/// What a job said, if it has processes that could.
type Answered = Option<Option<Vec<Measurements>>>;

/// The metrics of these jobs: their states, and what those that run have measured.
pub fn text(jobs: &[Job], folders: &Folders) -> String {
    let mut exposition = Exposition::default();
    ask(jobs, folders, |job, answer| {
        add(&mut exposition, job, &answer);
        for process in answer.iter().flatten().flatten() {
            exposition.add_job(process);
        }
    });
    exposition.text()
}

/// What the server alone knows of these jobs: their processes export the rest themselves.
pub fn own(jobs: &[Job], folders: &Folders) -> Exposition {
    let mut exposition = Exposition::default();
    ask(jobs, folders, |job, answer| {
        add(&mut exposition, job, &answer);
    });
    exposition
}

fn ask(jobs: &[Job], folders: &Folders, mut told: impl FnMut(&Job, Answered)) {
    for some in jobs.chunks(AT_A_TIME) {
        let answers = thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|job| {
                    let socket = folders.socket(job.id);
                    let runs = !job.processes.is_empty();
                    runs.then(|| scope.spawn(move || measurements(socket)))
                })
                .collect();
            let answers = asked.into_iter().map(|asked| {
                // A thread that panicked has ended the server.
                asked.map(|asked| asked.join().ok().flatten())
            });
            answers.collect::<Vec<_>>()
        });
        for (job, answer) in some.iter().zip(answers) {
            told(job, answer);
        }
    }
}

/// What a job's processes have measured; `None` if it doesn't tell.
fn measurements(socket: PathBuf) -> Option<Vec<Measurements>> {
    let mut asked = client::ask(&socket, &Request::Metrics {}).ok()?;
    match asked.answer(Some(PATIENCE)) {
        Ok(Answer::Metrics(measured)) => Some(measured),
        _ => None,
    }
}

/// What the server knows of a job.
fn add(exposition: &mut Exposition, job: &Job, answer: &Answered) {
    let lifecycle = &job.lifecycle;
    for state in JobState::ALL {
        let is_it = f64::from(u8::from(lifecycle.state == state));
        exposition.add(&all::SERVER_JOB_STATE, &[&job.name, state.name()], is_it);
    }
    let name = [&*job.name];
    exposition.add(&all::SERVER_JOB_RESTARTS, &name, lifecycle.restarts as f64);
    exposition.add(
        &all::SERVER_JOB_FAILURES,
        &name,
        f64::from(lifecycle.failures),
    );
    if let Some(measured) = answer {
        let answers = f64::from(u8::from(measured.is_some()));
        exposition.add(&all::SERVER_JOB_ANSWERS, &name, answers);
    }
}
