//! A job from start to end: claim it, restore it, run it, stop it.

mod prepare;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tidewright_checkpoints::manifest::{CheckpointKind, Manifest};

pub use self::prepare::prepare;
use crate::control::socket::{self, Answer, Request};
use crate::dataflow;
use crate::runtime::context::JobContext;
use crate::runtime::stats::Stats;
use crate::runtime::summary::Summary;

/// What a run starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The job's last checkpoint, if there is one.
    Latest,
    /// A manifest of the store.
    Manifest(String),
    /// Nothing: sources begin where their configuration says.
    Nothing,
}

impl FromStr for Restore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "latest" => Self::Latest,
            "none" => Self::Nothing,
            "" => return Err("expected `latest`, `none` or the name of a manifest".to_owned()),
            name => Self::Manifest(name.to_owned()),
        })
    }
}

/// How a job is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads.
    pub workers: usize,
    /// Where checkpoints go, instead of what the job file says.
    pub checkpoint_store: Option<String>,
    /// What to start from.
    pub restore: Restore,
    /// Sources end where they end at the start.
    pub bounded: bool,
    /// Append sinks may receive rows again.
    pub allow_duplicates: bool,
    /// Where the job answers requests, if it has an embedded sink.
    pub socket: Option<PathBuf>,
}

/// A run that could not begin or go on; the message says what, where and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

impl RunError {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A job that has been claimed and may be run.
pub struct PreparedJob {
    context: Arc<JobContext>,
    socket: Option<PathBuf>,
    location: String,
}

/// How a run has ended.
#[derive(Debug)]
pub struct Done {
    /// What it has come to.
    pub summary: Summary,
    undelivered: bool,
}

/// How long a job that is stopped waits for its sinks after the final checkpoint; what is left is in the checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// The longest nap of a worker without work.
const PARK_MAX: Duration = Duration::from_millis(100);

/// The checkpoint is the one after the end of all input.
fn has_ended(manifest: &Manifest) -> bool {
    let mut splits = manifest.sources.values().flat_map(|splits| splits.values());
    manifest.kind == CheckpointKind::Final && splits.all(|split| split.finished)
}

impl PreparedJob {
    /// What a user wants to know at the start.
    #[must_use]
    pub fn opening(&self) -> String {
        let from = match &self.context.restored {
            None => "nothing restored".to_owned(),
            Some(restored) => format!(
                "going on from the checkpoint of epoch {} (generation {})",
                restored.manifest.epoch, restored.manifest.generation
            ),
        };
        let ended = match &self.context.restored {
            Some(restored) if has_ended(&restored.manifest) => {
                "; its input had ended and all windows were closed: rows that still come are late"
            }
            _ => "",
        };
        format!(
            "job {}: {} worker(s), checkpoints in {}, generation {}, {from}{ended}",
            self.context.plan.name, self.context.workers, self.location, self.context.generation
        )
    }

    /// What the job tells while it runs.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.context.stats.clone()
    }

    /// Runs the job until its input ends or somebody stops it.
    ///
    /// # Errors
    /// If threads or the socket cannot be made. Whatever stops a running job for good ends the process with its cause.
    pub fn run(self) -> Result<Done, RunError> {
        self.stop_on_signals()?;
        let _listening = self.listen()?;
        let context = self.context.clone();
        let config = timely::Config::process(context.workers);
        let guards =
            timely::execute(config, move |worker| work(worker, &context)).map_err(RunError::of)?;
        let mut undelivered = false;
        for result in guards.join() {
            undelivered |= result.map_err(RunError)?;
        }
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
        Ok(Done {
            summary: Summary::of(&self.context.stats),
            undelivered,
        })
    }

    /// The first signal asks for a final checkpoint, the second ends the process at once.
    fn stop_on_signals(&self) -> Result<(), RunError> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let stop = &self.context.stop;
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
                .map_err(RunError::of)?;
        }
        Ok(())
    }

    /// Answers requests for rows of embedded stores, if there are any.
    fn listen(&self) -> Result<Option<socket::Listening>, RunError> {
        let stores = dataflow::embedded_paths(&self.context);
        // The socket's thread outlives the job; the stores must not.
        let context = Arc::downgrade(&self.context);
        let Some(path) = self.socket.as_ref().filter(|_| !stores.is_empty()) else {
            return Ok(None);
        };
        let respond = move |Request::Get { relation, key }: Request| match stores.get(&relation) {
            None => Answer::Refused(format!(
                "no embedded sink is named {relation} or fed from it; there are: {}",
                stores.keys().cloned().collect::<Vec<_>>().join(", ")
            )),
            Some((path, view)) => match read(&context, path, view, &key) {
                Ok(Some(row)) => Answer::Row(row),
                Ok(None) => Answer::NotFound(format!("{relation} has no row with the key {key}")),
                Err(error) => Answer::Refused(error),
            },
        };
        socket::listen(path, Arc::new(respond))
            .map(Some)
            .map_err(|error| {
                RunError(format!(
                    "cannot listen at {}: {error}. Name another place with --socket",
                    path.display()
                ))
            })
    }
}

/// A row of an embedded store of a job that still runs.
fn read(
    context: &Weak<JobContext>,
    path: &Path,
    view: &str,
    key: &str,
) -> Result<Option<serde_json::Value>, String> {
    let context = context.upgrade().ok_or("the job has ended")?;
    let store = context
        .stores
        .open(path)
        .map_err(|error| error.to_string())?;
    store.get(view, key).map_err(|error| error.to_string())
}

impl Done {
    /// What a user wants to know at the end.
    #[must_use]
    pub fn closing(&self) -> String {
        let summary = &self.summary;
        let events: u64 = summary.events_in.values().sum();
        let rest = if self.undelivered {
            "; some rows are not delivered yet: they are in the checkpoint and go out at the next start"
        } else {
            ""
        };
        format!(
            "stopped after {:.1} s: {events} events, final checkpoint at epoch {}{rest}",
            summary.wall_seconds, summary.durable_epoch
        )
    }
}

/// One worker thread; true if it ended before everything was delivered.
fn work(worker: &mut timely::worker::Worker, context: &Arc<JobContext>) -> bool {
    let probes = dataflow::build(worker, context);
    let leads = worker.index() == 0;
    let mut ended_at = None;
    while worker.has_dataflows() {
        worker.step_or_park(Some(PARK_MAX));
        if leads {
            observe(context, &probes);
        }
        // Bounded runs wait for their sinks; a stopped job has everything else in its checkpoint.
        let durable = probes.durable.with_frontier(|frontier| frontier.is_empty());
        if durable && context.stop.load(Ordering::Relaxed) {
            let since = *ended_at.get_or_insert_with(Instant::now);
            if since.elapsed() > STOP_PATIENCE {
                return true;
            }
        }
    }
    if leads {
        observe(context, &probes);
    }
    false
}

/// Writes what the frontiers say into the job's measures.
fn observe(context: &JobContext, probes: &dataflow::Probes) {
    let stats = &context.stats;
    let reached = |probe: &timely::dataflow::ProbeHandle<u64>, end: u64| {
        probe.with_frontier(|frontier| frontier.first().map_or(end, |next| next.saturating_sub(1)))
    };
    let last = stats.durable.get();
    stats
        .computed
        .raise(reached(&probes.computed, stats.ingested.get()));
    // A job without sinks has nothing to deliver beyond its checkpoints.
    let mut delivered = last;
    for (sink, probe) in &probes.delivered {
        let epoch = reached(probe, last);
        if epoch >= context.start {
            stats.delivered[sink].raise(epoch);
        }
        delivered = delivered.min(epoch);
    }
    if delivered >= context.start {
        for (at, records) in stats.ingest_times.take_through(delivered) {
            stats.delivery_times.record(at.elapsed(), records);
        }
    }
}
