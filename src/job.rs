//! A job from start to end: claim it, restore it, run it, stop it.

mod answers;
mod beginning;
mod done;
mod error;
mod fit;
mod joined;
pub mod logged;
mod memory;
mod options;
mod prepare;
mod rebuild;
mod report;
mod resent;
mod restore;
mod shadow;
mod start;
mod start_point;
mod take_over;
mod taps;
mod vitals;
mod worker;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tidewright_checkpoints::manifest::Manifest;

pub use self::fit::{check_latest_of, check_replay, check_savepoint, check_upgrade};
pub use self::options::{Restore, RunOptions};
pub use self::shadow::drop_shadow;
pub use self::start::{SourceOffsets, StartFrom, StartOverride};
use self::taps::Tapping;
use self::vitals::{Vitals, Watching};
pub use self::{done::Done, error::RunError, prepare::prepare, rebuild::Differences};
use crate::cluster::Cluster;
use crate::control::endpoint::{self, MetricsAddress};
use crate::control::socket;
use crate::metrics::exposition::Exposition;
use crate::runtime::context::{JobContext, Place};
use crate::runtime::stats::Stats;
use crate::runtime::summary::Part;
pub use crate::runtime::upgrade::Allowed;
use crate::runtime::watch;

/// A job that has been claimed and may be run.
pub struct PreparedJob {
    context: Arc<JobContext>,
    cluster: Option<Cluster>,
    socket: Option<PathBuf>,
    socket_required: bool,
    metrics: Option<MetricsAddress>,
    vitals: Arc<Vitals>,
    watching: Option<Watching>,
    /// What it goes on from, for people.
    origin: Option<String>,
    location: String,
    /// How the sinks of views that have been rebuilt differ from what they held.
    differences: Differences,
}

/// The checkpoint is one after the end of all input.
fn has_ended(manifest: &Manifest) -> bool {
    let mut splits = manifest.sources.values().flat_map(|splits| splits.values());
    !manifest.sources.is_empty() && splits.all(|split| split.finished)
}

impl PreparedJob {
    /// What a user wants to know at the start.
    #[must_use]
    pub fn opening(&self) -> String {
        let from = match &self.origin {
            None => "nothing restored".to_owned(),
            Some(origin) => format!("going on from {origin}"),
        };
        let ended = match &self.context.restored {
            Some(restored) if has_ended(restored) => {
                "; its input had ended and all windows were closed: rows that still come are late"
            }
            _ => "",
        };
        let held = if self.context.hold.is_on() {
            "; a replay: keyed sinks get nothing until it has reached the offsets that were delivered before"
        } else {
            ""
        };
        let place = &self.context.place;
        let workers = match place.processes {
            1 => format!("{} worker(s)", place.threads),
            processes => format!(
                "process {} of {processes} with {} worker(s) each",
                place.process, place.threads
            ),
        };
        format!(
            "job {}: {workers}, checkpoints in {}, generation {}, {from}{ended}{held}",
            self.context.plan.name, self.location, self.context.generation
        )
    }

    /// How the sinks of views that have been rebuilt differ from what they held.
    #[must_use]
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Where this process stands among those of the job.
    #[must_use]
    pub fn place(&self) -> Place {
        self.context.place
    }

    /// What the job tells while it runs.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.context.stats.clone()
    }

    /// Gives this process's metrics whenever it is called; after the job's end those of its end.
    pub fn measured(&self) -> impl Fn() -> Exposition + Send + Sync + 'static {
        let vitals = self.vitals.clone();
        let leads = self.context.place.leads();
        move || {
            let mut exposition = Exposition::default();
            // Each process tells its own part.
            let own = match leads {
                true => vitals.measurements().into_iter().next(),
                false => vitals.own(),
            };
            own.iter().for_each(|own| exposition.add_job(own));
            exposition
        }
    }

    /// Serves this process's metrics from now on, if that was asked for. Returns where.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub fn serve_metrics(&self) -> Result<Option<SocketAddr>, RunError> {
        let Some(address) = self.metrics else {
            return Ok(None);
        };
        let measured = self.measured();
        let text = Arc::new(move || measured().text());
        let bound = endpoint::serve(address, text).map_err(RunError::of)?;
        Ok(Some(bound))
    }

    /// Runs the job until its input ends or somebody stops it.
    ///
    /// # Errors
    /// If threads or the socket cannot be made. Whatever stops a running job for good ends the process with its cause.
    pub fn run(mut self) -> Result<Done, RunError> {
        let tapping = Tapping::begin(&self.context, self.cluster.as_mut())?;
        let listening = self.listen(&tapping)?;
        let tell = self.cluster.as_ref().and_then(Cluster::tell_status);
        let reporting = tell.map(|tell| report::report(&self.context, tell));
        let reporting = reporting.transpose()?;
        let undelivered = self.execute()?;
        self.context.taps.end();
        drop((reporting, tapping));
        self.watching = None;
        let readers = std::mem::take(
            &mut *self
                .context
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for reader in readers {
            // A reader that panicked has ended the process already.
            let _ = reader.join();
        }
        // Whoever takes the job over waits for the end of the socket, and reads the stores then.
        self.context.stores.close();
        let done = self.finish(undelivered);
        // It must not wait for somebody who watches and has stopped reading.
        drop(listening);
        self.context.taps.see_off();
        let done = done?;
        self.vitals.keep_last();
        Ok(done)
    }

    /// Runs the workers of this process until the dataflow has ended; true if something is left to be delivered.
    fn execute(&mut self) -> Result<bool, RunError> {
        let context = self.context.clone();
        let threads = context.place.threads;
        let watching = watch::watch(context.pulses.clone()).map_err(RunError::of)?;
        let work = move |worker: &mut timely::worker::Worker| worker::work(worker, &context);
        let guards = match &mut self.cluster {
            None => timely::execute(timely::Config::process(threads), work),
            Some(cluster) => {
                let (builders, network) = cluster.allocators(threads).map_err(RunError::of)?;
                let config = timely::WorkerConfig::default();
                timely::execute::execute_from(builders, Box::new(network), config, work)
            }
        };
        let mut undelivered = false;
        for result in guards.map_err(RunError::of)?.join() {
            undelivered |= result.map_err(RunError::of)?;
        }
        drop(watching);
        Ok(undelivered)
    }

    /// Adds up what the processes have counted, and takes leave of the others.
    fn finish(&self, undelivered: bool) -> Result<Done, RunError> {
        let savepoint = self.context.savepoints.finish();
        let stats = &self.context.stats;
        let mut whole = Part::of(stats, undelivered);
        if let Some(cluster) = &self.cluster {
            let own = serde_json::to_value(&whole).map_err(RunError::of)?;
            let parts = cluster.part(own);
            if self.context.place.leads() && parts.len() + 1 < cluster.processes() {
                tracing::warn!("some processes did not tell what they have counted");
            }
            for part in parts {
                whole.add(serde_json::from_value(part).map_err(RunError::of)?);
            }
        }
        Ok(Done {
            savepoint,
            stopped: self.context.stop.load(Ordering::Relaxed),
            gave_up: self.context.tolerance.exceeded().map(str::to_owned),
            undelivered: whole.undelivered,
            summary: whole.summary(),
            place: self.context.place,
        })
    }

    /// Answers requests of other processes.
    fn listen(&self, tapping: &Tapping) -> Result<Option<socket::Listening>, RunError> {
        if !self.context.place.leads() {
            // Process 0 answers for the job.
            return Ok(None);
        }
        let Some(path) = &self.socket else {
            return Ok(None);
        };
        let responder = answers::responder(&self.context, self.vitals.clone(), tapping.elsewhere());
        match socket::listen(path, responder) {
            Ok(listening) => Ok(Some(listening)),
            Err(error) => {
                let message = format!(
                    "cannot listen at {}: {error}. Name another place with --socket",
                    path.display()
                );
                if self.socket_required {
                    return Err(RunError::of(message));
                }
                tracing::warn!("{message}; this run answers no requests");
                Ok(None)
            }
        }
    }
}

/// From now on the first signal asks for a final checkpoint, and the second ends the process at once. Another process that
/// asks for the same does not count as a signal.
fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<(), RunError> {
    let signalled = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, signalled.clone())
            .and_then(|_| signal_hook::flag::register(signal, signalled.clone()))
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(RunError::of)?;
    }
    Ok(())
}
