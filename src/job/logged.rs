//! How a run begins and ends, as events of the log: the sentence that people read, and its figures as fields.

use super::{Done, PreparedJob};

/// The target of what a run says about itself.
pub const LOG_TARGET: &str = "tidewright::run";

impl PreparedJob {
    /// Logs [`PreparedJob::opening`].
    pub fn log_opening(&self) {
        let place = &self.context.place;
        tracing::info!(
            target: LOG_TARGET,
            job = self.context.plan.name,
            process = place.process,
            processes = place.processes,
            workers = place.threads,
            checkpoints = self.location,
            generation = self.context.generation.0,
            origin = self.origin,
            "{}",
            self.opening()
        );
    }
}

impl Done {
    /// Logs [`Done::closing`].
    pub fn log_closing(&self) {
        let summary = &self.summary;
        let savepoint = self.savepoint.as_ref().and_then(|made| made.as_ref().ok());
        tracing::info!(
            target: LOG_TARGET,
            process = self.place.process,
            events = summary.events_in.values().sum::<u64>(),
            late = summary.late,
            dead_lettered = summary.dead_lettered,
            wall_seconds = summary.wall_seconds,
            durable_epoch = summary.durable_epoch,
            savepoint = savepoint.map(|taken| &*taken.location),
            "{}",
            self.closing()
        );
    }
}
