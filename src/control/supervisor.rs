//! Keeps jobs as they are wanted: one thread that looks at every job, asks [`super::lifecycle`] what to do, writes that
//! down, and only then does it. So whatever moment the server is killed at, the next one finds either a step that was
//! not begun, or one that it can see the effect of.

mod changes;
mod crew;
mod errands;
pub mod process;
mod words;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use self::crew::{Crew, Crews, Start};
use self::errands::Errands;
use self::process::ProcessId;
use super::change::Step;
use super::client;
use super::files::AllowedFiles;
use super::folders::Folders;
use super::lifecycle::{Action, Exit, JobState, Lifecycle, Observed, Policy};
use super::protocol::{Answer, Request};
use super::registry::records::{Job, Operation, OperationKind, Version};
use super::registry::{Registry, RegistryError};
use super::status::RunState;

/// How often jobs are looked at.
const TICK: Duration = Duration::from_millis(200);
/// A job that says nothing for so long is asked again at the next look.
const READY_TIMEOUT: Duration = Duration::from_millis(500);
/// How often old operations are forgotten.
const FORGET_EVERY_MS: u64 = 3600 * 1000;

/// Wakes the supervisor when something was changed, so that nobody waits for the next look.
#[derive(Clone, Debug)]
pub struct Wake(SyncSender<()>);

impl Wake {
    /// Look now.
    pub fn now(&self) {
        match self.0.try_send(()) {
            // It is about to look, or the server is ending.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// What looks after all jobs.
pub struct Supervisor {
    registry: Arc<Registry>,
    folders: Folders,
    allowed: AllowedFiles,
    policy: Policy,
    crews: Crews,
    errands: Errands,
    wake: Wake,
    forget_at_ms: u64,
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Supervisor {
    /// Starts the thread, which ends with the process; jobs go on.
    ///
    /// # Errors
    /// If the thread or the program's own path cannot be had.
    pub fn start(
        registry: Arc<Registry>,
        folders: Folders,
        allowed: AllowedFiles,
        policy: Policy,
        log_json: bool,
    ) -> io::Result<Wake> {
        let (wake, woken) = sync_channel(1);
        let wake = Wake(wake);
        let mut supervisor = Self {
            registry,
            crews: Crews::new(folders.clone(), log_json)?,
            folders,
            allowed,
            policy,
            errands: Errands::default(),
            wake: wake.clone(),
            forget_at_ms: 0,
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run(&woken))?;
        Ok(wake)
    }

    fn run(&mut self, woken: &Receiver<()>) {
        loop {
            if let Err(error) = self.look() {
                tracing::error!(%error, "the supervisor cannot use the registry; it tries again");
            }
            match woken.recv_timeout(TICK) {
                // It holds a sender itself, so that it is never disconnected.
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn look(&mut self) -> Result<(), RegistryError> {
        let now_ms = now_ms();
        if now_ms >= self.forget_at_ms {
            self.registry.forget_old(now_ms)?;
            self.forget_at_ms = now_ms.saturating_add(FORGET_EVERY_MS);
        }
        for job in self.registry.jobs()? {
            let over = job.lifecycle.state.is_terminal();
            if !over || !job.processes.is_empty() || job.change.is_some() {
                self.attend(&job)?;
            }
        }
        for operation in self.registry.open_operations()? {
            if !self.errands.is_under_way(&operation) {
                self.run_errand(operation)?;
            }
        }
        Ok(())
    }

    /// Asks a job for what an operation wants of it, once it can answer.
    fn run_errand(&self, operation: Operation) -> Result<(), RegistryError> {
        let job = match self.registry.job(&operation.job) {
            Ok((job, _)) => job,
            // Removed since the operations were read, which ended them.
            Err(RegistryError::NoSuchJob(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        match (job.lifecycle.state, operation.kind) {
            (state, kind) if state.is_terminal() && kind.is_change() => Ok(()),
            (state, _) if state.is_terminal() => {
                let reason = "the job has ended; if it left a savepoint, its log says where";
                self.registry
                    .operation_failed(&operation.id, reason, false, now_ms())
            }
            (JobState::Cancelling, kind) if kind != OperationKind::Savepoint => {
                self.ask(operation, &job)
            }
            (JobState::Running, OperationKind::Savepoint) => self.ask(operation, &job),
            _ => Ok(()),
        }
    }

    fn ask(&self, operation: Operation, job: &Job) -> Result<(), RegistryError> {
        let socket = self.folders.socket(job.id);
        self.errands
            .run(operation, socket, self.registry.clone(), &self.wake);
        Ok(())
    }

    fn attend(&mut self, job: &Job) -> Result<(), RegistryError> {
        let (_, version) = self.registry.job(&job.name)?;
        // First, so that who ended because the old processes had is not seen before them.
        let successors = self.observe_successors(job)?;
        let seen = self.observe(job, &version);
        if let Some(change) = &job.change {
            let step = change.before(&job.lifecycle, &seen, &successors);
            if step != Step::Wait {
                let lifecycle = job.lifecycle.clone();
                return self.act(job, change, lifecycle, seen.alive == 0, step);
            }
        }
        let (lifecycle, action) = self.decide(&job.lifecycle, &seen);
        if let Some(change) = &job.change {
            let step = change.after(&lifecycle, &seen, now_ms());
            if step != Step::Wait {
                return self.act(job, change, lifecycle, seen.alive == 0, step);
            }
        }
        if action == Action::Start {
            return self.begin(job, &version, lifecycle);
        }
        let mut next = Job {
            lifecycle,
            ..job.clone()
        };
        let over = seen.alive == 0;
        if over {
            next.processes.clear();
        }
        if next != *job && !self.registry.replace(job, &next, now_ms())? {
            // Somebody wants something else meanwhile: decided anew at the next look.
            return Ok(());
        }
        if next.lifecycle.state != job.lifecycle.state {
            tracing::info!(job = job.name, state = next.lifecycle.state.name(), "state");
        }
        if over {
            self.crews.forget(&job.processes);
        }
        if action == Action::Kill {
            for process in &job.processes {
                process.kill();
            }
        }
        Ok(())
    }

    fn decide(&self, lifecycle: &Lifecycle, seen: &Observed) -> (Lifecycle, Action) {
        // Random enough for a spread: the low bits of a fresh id.
        let jitter = f64::from(uuid::Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX);
        lifecycle.next(seen, now_ms(), &self.policy, jitter)
    }

    /// Looks at a job's processes.
    fn observe(&mut self, job: &Job, version: &Version) -> Observed {
        let mut seen = self.crews.observe(&Crew {
            job,
            attempt: job.attempt,
            processes: &job.processes,
            memory_limit: version.memory_limit_bytes,
        });
        let all = seen.alive > 0 && seen.alive == job.processes.len();
        // Once it runs, it is not asked again and again.
        let known = matches!(
            job.lifecycle.state,
            JobState::Running | JobState::Cancelling
        );
        seen.ready = all && (known || self.is_ready(job));
        seen
    }

    /// Whether the job says at its control socket that it runs. Another process at that place doesn't count.
    fn is_ready(&self, job: &Job) -> bool {
        let answer = client::ask(&self.folders.socket(job.id), &Request::Status {})
            .and_then(|mut asked| asked.answer(Some(READY_TIMEOUT)));
        let Ok(Answer::Status(status)) = answer else {
            return false;
        };
        let is_ours = |process: &ProcessId| u32::try_from(process.pid) == Ok(status.pid);
        status.state != RunState::Restoring && job.processes.iter().any(is_ours)
    }

    /// Starts a job's processes, notes them, and only then lets them go.
    fn begin(
        &mut self,
        job: &Job,
        version: &Version,
        lifecycle: Lifecycle,
    ) -> Result<(), RegistryError> {
        let now_ms = now_ms();
        let beginning = match self.beginning(job, version) {
            Ok(beginning) => beginning,
            Err(error) => {
                let words = format!("its checkpoint store cannot be read: {error}");
                return self.cannot_begin(job, &lifecycle, words);
            }
        };
        let start = Start {
            job,
            version,
            attempt: job.attempt.saturating_add(1),
            opening: words::opening(version.version, job.lifecycle.restarts),
            first: beginning.first,
            takes_over: false,
        };
        let started = match self.crews.spawn(&start, now_ms) {
            Ok(started) => started,
            Err(error) => {
                let words = format!("its processes cannot be started: {error}");
                return self.cannot_begin(job, &lifecycle, words);
            }
        };
        let next = Job {
            begun_after: beginning.begun_after,
            lifecycle,
            processes: started.iter().map(|one| one.id.clone()).collect(),
            attempt: start.attempt,
            ..job.clone()
        };
        let message = serde_json::to_string(&version.overrides)?;
        if self.registry.replace(job, &next, now_ms)? {
            self.crews.release(started, &message);
            let pids: Vec<_> = next.processes.iter().map(|process| process.pid).collect();
            tracing::info!(job = job.name, ?pids, "started");
        } else {
            crew::abandon(started);
        }
        Ok(())
    }

    /// Not even a process could be started: as if one had failed.
    fn cannot_begin(
        &mut self,
        job: &Job,
        lifecycle: &Lifecycle,
        words: String,
    ) -> Result<(), RegistryError> {
        let seen = Observed {
            ended: Some((Exit::Failed, words)),
            ..Observed::default()
        };
        let (lifecycle, _) = self.decide(lifecycle, &seen);
        if let Some(change) = &job.change {
            let step = change.after(&lifecycle, &seen, now_ms());
            if step != Step::Wait {
                return self.act(job, change, lifecycle, true, step);
            }
        }
        let next = Job {
            lifecycle,
            ..job.clone()
        };
        self.registry.replace(job, &next, now_ms())?;
        Ok(())
    }
}

/// What a supervised process writes when it ends because its input has ended.
pub const OUTCOME_FINISHED: &str = "finished";
/// What it writes when it ends because somebody stopped it.
pub const OUTCOME_STOPPED: &str = "stopped";
/// What it writes when it stopped by itself, and people must say whether it is to go on.
pub const OUTCOME_GAVE_UP: &str = "gave up";
