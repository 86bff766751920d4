//! Watches a running job: takes a sample each second, and answers how it fares by what all of its processes have measured.
//! Process 0 hears from the others (`report.rs`), and it alone judges.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::report;
use crate::cluster::{Cluster, Reports};
use crate::control::status::JobStatus;
use crate::metrics::health::Health;
use crate::metrics::lag::Lag;
use crate::metrics::measurements::Measurements;
use crate::metrics::window::{SAMPLE_EVERY_MS, Sample, Window};
use crate::runtime::context::JobContext;

/// What is known about how a job fares.
pub struct Vitals {
    /// What watches outlives the job, what the job has open must not.
    context: Weak<JobContext>,
    /// What was measured at the job's end.
    last: OnceLock<Measurements>,
    window: Mutex<Window>,
    reports: Arc<Reports>,
}

/// The job is watched until this is dropped.
pub struct Watching {
    /// Nothing is sent: its end is the message.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process.
            let _ = thread.join();
        }
    }
}

impl Vitals {
    /// Watches from now on.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn watch(
        context: &Arc<JobContext>,
        cluster: Option<&Cluster>,
    ) -> io::Result<(Arc<Self>, Watching)> {
        let vitals = Arc::new(Self {
            context: Arc::downgrade(context),
            last: OnceLock::new(),
            window: Mutex::default(),
            reports: cluster.map(Cluster::reports).unwrap_or_default(),
        });
        let (end, ended) = channel::<()>();
        let watcher = vitals.clone();
        let leads = context.place.leads();
        let thread = thread::Builder::new()
            .name("vitals".to_owned())
            .spawn(move || {
                let pause = Duration::from_millis(SAMPLE_EVERY_MS);
                while leads && ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let sample = Sample::of(&watcher.processes());
                    watcher.window().push(sample);
                }
            })?;
        let watching = Watching {
            end: Some(end),
            thread: Some(thread),
        };
        Ok((vitals, watching))
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process has measured; once the job has ended, up to then.
    #[must_use]
    pub fn own(&self) -> Option<Measurements> {
        match self.context.upgrade() {
            Some(context) => Some(Measurements::take(&context)),
            None => self.last.get().cloned(),
        }
    }

    /// Keeps what has been measured, at the job's end.
    pub fn keep_last(&self) {
        if let Some(own) = self.own() {
            // A job ends once.
            let _ = self.last.set(own);
        }
    }

    /// What this process has measured now, and the others said last.
    fn processes(&self) -> Vec<Measurements> {
        let others = report::measured(&self.reports);
        self.own().into_iter().chain(others).collect()
    }

    /// What all processes have measured, with the verdict in the first.
    #[must_use]
    pub fn measurements(&self) -> Vec<Measurements> {
        let mut processes = self.processes();
        let health = Health::of(&processes, &self.window());
        if let Some(first) = processes.first_mut().filter(|first| first.process == 0) {
            first.health = Some(health);
        }
        processes
    }

    /// How the job fares.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::of(&self.processes(), &self.window())
    }

    /// The job's status, over all its processes.
    #[must_use]
    pub fn status(&self, context: &JobContext) -> JobStatus {
        report::status(context, &self.reports, self.health())
    }

    /// How far the job is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let own = self.own().unwrap_or_default();
        Lag::of(&own, &self.window())
    }
}
