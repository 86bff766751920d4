//! Process 0 answers for the whole job: the others tell it now and then how they are doing.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::RunError;
use crate::cluster::{Reports, TellLeader};
use crate::control::status::JobStatus;
use crate::metrics::health::Health;
use crate::metrics::measurements::Measurements;
use crate::runtime::context::JobContext;

/// How often process 0 is told: so old may be what it answers.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What process 0 is told.
#[derive(Serialize, Deserialize)]
struct Report {
    status: JobStatus,
    measured: Measurements,
}

impl Report {
    fn of(context: &JobContext) -> Self {
        let mut measured = Measurements::take(context);
        // Process 0 knows the others.
        measured.splits.retain(|split| split.is_here);
        Self {
            status: JobStatus::of(context),
            measured,
        }
    }
}

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
                tell(serde_json::to_value(Report::of(&context)).unwrap_or_default());
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

/// What the other processes told last, in their order.
fn told(reports: &Reports) -> impl Iterator<Item = Report> {
    let told = reports.all().into_values();
    told.filter_map(|report| serde_json::from_value(report).ok())
}

/// How the job is doing, over all its processes.
pub(super) fn status(context: &JobContext, reports: &Reports, health: Health) -> JobStatus {
    let told = told(reports).map(|report| report.status);
    JobStatus {
        health,
        ..JobStatus::of(context).with_others(told.collect(), context.place.processes)
    }
}

/// What the other processes have measured.
pub(super) fn measured(reports: &Reports) -> impl Iterator<Item = Measurements> {
    told(reports).map(|report| report.measured)
}
