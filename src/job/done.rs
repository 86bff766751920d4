//! How a run has ended.

use crate::runtime::context::Place;
use crate::runtime::savepoints::Outcome;
use crate::runtime::summary::Summary;

/// How a run has ended.
#[derive(Debug)]
pub struct Done {
    /// What it has come to: of the whole job where this is process 0, otherwise of this process.
    pub summary: Summary,
    /// The savepoint that it was stopped with.
    pub savepoint: Option<Outcome>,
    /// Somebody asked it to end; otherwise its input did.
    pub stopped: bool,
    /// It stopped by itself because too much of its input could not be processed: where, and what.
    pub gave_up: Option<String>,
    pub(super) undelivered: bool,
    pub(super) place: Place,
}

impl Done {
    /// What a user wants to know at the end.
    #[must_use]
    pub fn closing(&self) -> String {
        let summary = &self.summary;
        if !self.place.leads() {
            return format!(
                "process {} stopped after {:.1} s; process 0 tells what the job has come to",
                self.place.process, summary.wall_seconds
            );
        }
        let events: u64 = summary.events_in.values().sum();
        let rest = if self.undelivered {
            "; some rows are not delivered yet: they are in the checkpoint and go out at the next start"
        } else {
            ""
        };
        let savepoint = match &self.savepoint {
            None => String::new(),
            Some(Ok(taken)) => format!("\nsavepoint: {}", taken.location),
            Some(Err(error)) => format!("\nno savepoint was made: {error}"),
        };
        format!(
            "stopped after {:.1} s: {events} events, final checkpoint at epoch {}{rest}{savepoint}",
            summary.wall_seconds, summary.durable_epoch
        )
    }
}
