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

/// The metrics of these jobs: their states, and what those that run have measured.
pub fn text(jobs: &[Job], folders: &Folders) -> String {
    let mut exposition = Exposition::default();
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
            add(&mut exposition, job, answer);
        }
    }
    exposition.text()
}

/// What a job's processes have measured; `None` if it doesn't tell.
fn measurements(socket: PathBuf) -> Option<Vec<Measurements>> {
    let mut asked = client::ask(&socket, &Request::Metrics {}).ok()?;
    match asked.answer(Some(PATIENCE)) {
        Ok(Answer::Metrics(measured)) => Some(measured),
        _ => None,
    }
}

/// `answer`: what the job said, if it has processes that could.
fn add(exposition: &mut Exposition, job: &Job, answer: Option<Option<Vec<Measurements>>>) {
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
        for process in measured.iter().flatten() {
            exposition.add_job(process);
        }
    }
}
