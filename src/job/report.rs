//! Process 0 answers for the whole job: the others tell it now and then how they are doing.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::RunError;
use crate::cluster::{Reports, TellLeader};
use crate::control::status::JobStatus;
use crate::runtime::context::JobContext;

/// How often process 0 is told: so old may be what it answers.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Process 0 is told until this is dropped.
pub(super) struct Reporting {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Tells process 0 how this process is doing, from now on.
pub(super) fn report(context: &Arc<JobContext>, tell: TellLeader) -> Result<Reporting, RunError> {
    let (end, ended) = channel();
    let context: Weak<JobContext> = Arc::downgrade(context);
    let thread = thread::Builder::new()
        .name("report".to_owned())
        .spawn(move || {
            while let Some(context) = context.upgrade() {
                // It is made of numbers and text: always JSON.
                tell(serde_json::to_value(JobStatus::of(&context)).unwrap_or_default());
                drop(context);
                if ended.recv_timeout(TELL_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })
        .map_err(RunError::of)?;
    Ok(Reporting {
        end: Some(end),
        thread: Some(thread),
    })
}

impl Drop for Reporting {
    fn drop(&mut self) {
        // Nothing may follow the goodbye to process 0.
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, the process has ended.
            let _ = thread.join();
        }
    }
}

/// How the job is doing, over all its processes.
pub(super) fn status(context: &JobContext, reports: &Reports) -> JobStatus {
    let told = reports.all().into_values();
    let told = told.filter_map(|report| serde_json::from_value(report).ok());
    JobStatus::of(context).with_others(told.collect(), context.place.processes)
}
