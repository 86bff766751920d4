//! Looking at jobs: over a local socket, or at a server over REST.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::Duration,
};

use serde::Serialize;

use super::whole::whole;
use crate::cli::remote::exit_code;
use crate::control::api::measurements::MeasurementsView;
use crate::control::api::views::{JobList, JobView};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::control::remote::{Remote, RemoteError, path_part};
use crate::metrics::health::Health;
use crate::metrics::measurements::Measurements;
use crate::runtime::epoch::wall_clock_ms;

/// How often is looked.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// All jobs of the server.
    Jobs,
    /// One of them.
    Job(String),
    /// The job at the local socket.
    Socket,
}

/// What has been seen at a moment.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Seen {
    /// A server's jobs.
    Jobs(JobsSeen),
    /// One job.
    Job(Box<JobSeen>),
}

/// A server's jobs at a moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobsSeen {
    /// When that was: wall clock, milliseconds since 1970.
    pub(super) at_ms: u64,
    /// By name.
    pub(super) jobs: Vec<ServerJob>,
}

/// One of a server's jobs at a moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerJob {
    /// What the server says about it.
    pub(super) job: JobView,
    /// What it has measured, if it tells.
    pub(super) measured: Option<Measurements>,
}

/// One job at a moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobSeen {
    /// When that was: wall clock, milliseconds since 1970.
    pub(super) at_ms: u64,
    /// What all its processes have measured, if it tells.
    pub(super) measured: Option<Measurements>,
    /// How it fares.
    pub(super) health: Option<Health>,
    /// What a server says about it.
    pub(super) view: Option<JobView>,
}

impl Seen {
    /// When that was: wall clock, milliseconds since 1970.
    pub(super) fn at_ms(&self) -> u64 {
        match self {
            Self::Jobs(jobs) => jobs.at_ms,
            Self::Job(job) => job.at_ms,
        }
    }

    /// A server's jobs, if that is what has been seen.
    pub(super) fn jobs(&self) -> Option<&JobsSeen> {
        match self {
            Self::Jobs(jobs) => Some(jobs),
            Self::Job(_) => None,
        }
    }

    /// One job, if that is what has been seen.
    pub(super) fn job(&self) -> Option<&JobSeen> {
        match self {
            Self::Job(job) => Some(job),
            Self::Jobs(_) => None,
        }
    }
}

/// Where to look.
pub(super) enum Place {
    /// At the socket of a job.
    Socket(PathBuf),
    /// At a server.
    Server(Remote),
}

/// Why nothing can be seen.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    /// For people.
    pub(super) why: String,
    /// What a command ends with because of it.
    pub(super) code: u8,
}

impl From<String> for Unseen {
    fn from(why: String) -> Self {
        Self { why, code: 1 }
    }
}

impl From<RemoteError> for Unseen {
    fn from(error: RemoteError) -> Self {
        Self {
            why: error.to_string(),
            code: exit_code(&error),
        }
    }
}

impl Place {
    /// Looks; or why nothing can be seen.
    pub(super) fn look(&self, target: &Target) -> Result<Seen, Unseen> {
        let seen = match (self, target) {
            (Self::Socket(path), _) => return of_socket(path).map_err(Unseen::from),
            (Self::Server(server), Target::Job(name)) => of_server(server, name),
            (Self::Server(server), _) => jobs(server).map(Seen::Jobs),
        };
        seen.map_err(Unseen::from)
    }
}

fn of_socket(path: &Path) -> Result<Seen, String> {
    let ask = |request| match client::ask_once(path, &request) {
        Ok(Answer::Refused(reason)) => Err(reason),
        Ok(answer) => Ok(answer),
        Err(error) => Err(error.to_string()),
    };
    let measured = match ask(Request::Metrics {})? {
        Answer::Metrics(processes) => whole(processes),
        other => return Err(client::unexpected(&other)),
    };
    let health = match ask(Request::Health {})? {
        Answer::Health(health) => Some(health),
        other => return Err(client::unexpected(&other)),
    };
    Ok(Seen::Job(Box::new(JobSeen {
        at_ms: wall_clock_ms(),
        measured,
        health,
        view: None,
    })))
}

fn of_server(server: &Remote, name: &str) -> Result<Seen, RemoteError> {
    let view: JobView = server.get(&format!("/v1/jobs/{}", path_part(name)))?;
    Ok(Seen::Job(Box::new(JobSeen {
        at_ms: wall_clock_ms(),
        measured: measured(server, &view)?,
        health: view.health.clone(),
        view: Some(view),
    })))
}

fn jobs(server: &Remote) -> Result<JobsSeen, RemoteError> {
    let list: JobList = server.get("/v1/jobs")?;
    let with = |job: JobView| {
        let measured = measured(server, &job)?;
        Ok(ServerJob { job, measured })
    };
    let jobs = list.jobs.into_iter().map(with);
    Ok(JobsSeen {
        at_ms: wall_clock_ms(),
        jobs: jobs.collect::<Result<_, RemoteError>>()?,
    })
}

/// What a job has measured, if it runs and tells.
fn measured(server: &Remote, job: &JobView) -> Result<Option<Measurements>, RemoteError> {
    if job.processes.is_empty() {
        return Ok(None);
    }
    let path = format!("/v1/jobs/{}/measurements", path_part(&job.name));
    match server.get::<MeasurementsView>(&path) {
        Ok(answer) => Ok(whole(answer.processes)),
        // It has ended meanwhile, or is busy with its start.
        Err(RemoteError::Refused(problem)) if matches!(problem.status, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks again and again, at what the last message says, until nobody listens any more.
pub(super) fn keep_looking(
    place: &Place,
    mut target: Target,
    targets: &Receiver<Target>,
    seen: &SyncSender<(Target, Result<Seen, String>)>,
) {
    loop {
        let look = place.look(&target).map_err(|unseen| unseen.why);
        if seen.send((target.clone(), look)).is_err() {
            return;
        }
        match targets.recv_timeout(LOOK_EVERY) {
            Ok(other) => target = other,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
